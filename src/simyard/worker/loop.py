"""The worker of one server process."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from simyard.domain.errors import SimyardError
from simyard.service import load, snapshots
from simyard.service.reconcile import Reconciler
from simyard.service.site import Site

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # how often everything is looked at although there is no news
_TIDY_SECONDS = 3600.0
_THREADS = 8


class News:
    """What happened since somebody last looked. Filled from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._tokens: set[str] = set()
        self._any = False

    def wake(self) -> None:
        """Something is owed."""
        with self._condition:
            self._any = True
            self._condition.notify()

    def token(self, token: str) -> None:
        """The engine has news of this attempt."""
        with self._condition:
            self._tokens.add(token)
            self._any = True
            self._condition.notify()

    def take(self, timeout: float) -> set[str]:
        """Wait for news, at most so long, and take all of it."""
        with self._condition:
            if not self._any and timeout > 0:
                self._condition.wait(timeout)
            tokens, self._tokens, self._any = self._tokens, set(), False
            return tokens


class Worker:
    """One thread that looks, and a few that do what takes time."""

    def __init__(self, site: Site, news: News) -> None:
        self._site = site
        self._news = news
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="effect")
        # Optimizers take their time: nobody who stops or collects waits behind one.
        self._thinking = ThreadPoolExecutor(1, thread_name_prefix="optimizer")
        self._reconciler = Reconciler(site, self._hand_over, self._thinking.submit)
        self._snapshots: Future[None] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the effects under way and stop. Runs go on."""
        self._stopping = True
        self._news.wake()
        self._thread.join()
        for pool in (self._thinking, self._pool):
            pool.shutdown(wait=True, cancel_futures=True)

    def _hand_over(self, call: Callable[[], None]) -> None:
        self._pool.submit(call)

    def _make_snapshots(self) -> None:
        """In a thread of its own, unless it is busy with earlier ones."""
        if self._snapshots is None or self._snapshots.done():
            self._snapshots = self._pool.submit(self._try_snapshots)

    def _try_snapshots(self) -> None:
        try:
            snapshots.make_owed(self._site, lambda: self._stopping)
        except SimyardError as error:
            log.warning("snapshots wait: %s", error)
        except Exception:
            log.exception("a snapshot failed; it is tried again")

    def _run(self) -> None:
        self._site.book.current()  # nothing is granted before it is known what is installed
        look_at = again_at = 0.0
        tidy_at = measure_at = time.monotonic()
        while not self._stopping:
            try:
                tokens = self._news.take(min(look_at, again_at) - time.monotonic())
                now = time.monotonic()
                look = now >= look_at
                if look:
                    look_at = now + _LOOK_SECONDS
                if look:
                    self._make_snapshots()
                if now >= measure_at:
                    measure_at = now + load.EVERY_SECONDS
                    self._site.load.measure(self._site.clock())
                if now >= tidy_at:
                    tidy_at = now + _TIDY_SECONDS
                    self._hand_over(self._reconciler.tidy)
                if not self._stopping:
                    again = self._reconciler.turn(None if look else tokens)
                    again_at = look_at if again is None else time.monotonic() + again
            except SimyardError as error:
                log.warning("the worker waits: %s", error)
                time.sleep(_LOOK_SECONDS)
            except Exception:
                log.exception("a turn of the worker failed; it goes on")
                time.sleep(_LOOK_SECONDS)
