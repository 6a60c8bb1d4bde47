"""Runs that somebody watches: each file is read once, and each run looked at once, for all of them.

A file of a run on this machine tells when it grows (inotify); one that other machines write to, or
that cannot be watched, is looked at four times a second, while somebody watches. Who watches has
only his place: what he gets next is made once for all who are at the same place.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

from simyard.api.events import body_of
from simyard.api.series import convergence_of, rows_of
from simyard.domain.convergence import Convergence
from simyard.domain.errors import SimyardError
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.service import following, metrics
from simyard.service.convergence import ConvergenceBook
from simyard.service.following import Follower, Seen
from simyard.service.metrics import Use
from simyard.service.series import SeriesBook
from simyard.service.site import Site

T = TypeVar("T")

log = logging.getLogger(__name__)

ROUND_SECONDS = 0.1  # between two looks at a file that changed
_MOMENT_SECONDS = 0.01  # in which a solver prints more than one line of a step
_TOLD_SECONDS = 1.0  # between looks at a file that tells when it changes
_POLL_SECONDS = 0.25  # and at one that does not
_SERIES_SECONDS = 1.0
_GATHER_SECONDS = 0.25
_METRICS_SECONDS = 2.0
_CONVERGENCE_SECONDS = 5.0  # between two sentences about the same state
_BUSY_PART = 10  # a run whose series take long is looked at less often, ...
_PAUSE_SECONDS = 30.0  # ... but so often
_RETRY_SECONDS = 2.0
_PIECES = 8  # that are kept of a file or of series


class Watcher(Protocol):
    """One client."""

    def wake(self) -> None:
        """There is something new."""


@dataclass(frozen=True)
class Part:
    """What is sent to all who are at the same place."""

    to: int  # where they are then
    body: bytes  # an event without its id
    has_more: bool = False


class Parts(Generic[T]):
    """The last ones that were made. Who asks for one that is being made waits for it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, asyncio.Future[T]] = OrderedDict()

    async def get(self, key: object, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = asyncio.ensure_future(make())
            while len(self._kept) > _PIECES:
                self._kept.popitem(last=False)
        try:
            made = await asyncio.shield(found)  # one who leaves does not take it from the others
        except BaseException:
            if found.done() and self._kept.get(key) is found:
                del self._kept[key]
            raise
        if made is None and self._kept.get(key) is found:
            del self._kept[key]  # there may be something later
        return made


# --- a file ---------------------------------------------------------------------------------------


class FileWatch:
    """A file of a run that somebody watches."""

    def __init__(self, watches: "Watches", run: Run, path: str) -> None:
        self.watchers: set[Watcher] = set()
        self._watches = watches
        self._follower = Follower(watches.site, run, path)
        self._parts: Parts[Part | None] = Parts()
        self._told = asyncio.Event()
        self._again = True
        self.looks = 0  # that were taken
        self._task = asyncio.get_running_loop().create_task(self._forever())

    @property
    def seen(self) -> Seen:
        return self._follower.seen

    def nudge(self) -> None:
        """Something happened to the run."""
        self._again = True
        self._told.set()

    async def part(self, start: int) -> Part | None:
        """What comes from a byte on."""
        seen = self.seen
        if start >= seen.ready:
            return None
        return await self._parts.get((seen.version, start), lambda: self._make(start))

    async def _make(self, start: int) -> Part | None:
        piece = await self._watches.quickly(self._follower.piece, start)
        if piece is None:
            return None
        if piece.text is None:
            return Part(piece.end, body_of("gap", {"from": piece.start, "to": piece.end}))
        data = {"from": piece.start, "to": piece.end, "text": piece.text}
        return Part(piece.end, body_of("log", data))

    async def _forever(self) -> None:
        loop = asyncio.get_running_loop()
        inotify = self._watches.inotify
        try:
            while True:
                began = loop.time()
                self._told.clear()
                again, self._again = self._again, False
                # Before it is looked at, so that nothing is missed.
                descriptor = self._follower.descriptor
                tells = descriptor is not None and inotify.watch(descriptor, self._told.set)
                changed = await self._look(again)
                self.looks += 1
                if changed or again:
                    for watcher in self.watchers:
                        watcher.wake()
                    await asyncio.sleep(max(0.0, began + ROUND_SECONDS - loop.time()))
                if self.seen.is_final:
                    await self._told.wait()
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TOLD_SECONDS if tells else _POLL_SECONDS):
                        await self._told.wait()
                        await asyncio.sleep(_MOMENT_SECONDS)
        finally:
            inotify.forget(self._told.set)

    async def _look(self, again: bool) -> bool:
        try:
            before = self.seen.ready
            changed = await self._watches.quickly(lambda: self._follower.look(again=again))
            await self.part(before)  # which most wait for: they find it made
            return changed
        except Exception as error:
            unknown = None if isinstance(error, SimyardError) else error
            log.error("a watched file is looked at again: %s", error, exc_info=unknown)
            await asyncio.sleep(_RETRY_SECONDS)
            self._again = True
            return False

    def close(self) -> None:
        self._task.cancel()
        self._watches.release(self._follower.close)


# --- a run ----------------------------------------------------------------------------------------


@dataclass
class Told:
    """The newest of something, and how many there were."""

    body: bytes = b""
    serial: int = 0

    def say(self, body: bytes) -> bool:
        """Returns whether that is new."""
        if body == self.body:
            return False
        self.body, self.serial = body, self.serial + 1
        return True


class RunWatch:
    """What is told of a run that somebody watches, beside its files."""

    def __init__(self, watches: "Watches", job: Job, run: Run) -> None:
        self.watchers: set[Watcher] = set()
        self.series_watchers: set[object] = set()  # who want its series, some of them only these
        self.found: Convergence | None = None  # what was found out of them last
        self.changes = -1  # another number whenever there are more points
        self.is_final = False  # its series are whole
        self.use, self.convergence = Told(), Told()
        self._watches, self._job, self._run = watches, job, run
        self._parts: Parts[Part | None] = Parts()
        self._nudged = asyncio.Event()
        self._again = True
        self._state, self._told_at = "", float("-inf")
        self._spent_seconds = 0.0  # of the processor, by the last look at its series
        self._task = asyncio.get_running_loop().create_task(self._forever())

    def nudge(self) -> None:
        """Something happened to the run, or somebody wants more of it."""
        self._again = True
        self._nudged.set()

    async def part(self, step: int) -> Part | None:
        """The points behind a step."""
        return await self._parts.get((self.changes, step), lambda: self._make(step))

    async def _make(self, step: int) -> Part | None:
        series = self._watches.series
        rows = await self._watches.slowly(
            series.read, self._job, self._run, lambda reading: rows_of(reading, step)
        )
        return rows and Part(rows.index, body_of("series", rows.data), rows.has_more)

    async def _forever(self) -> None:
        loop = asyncio.get_running_loop()
        metrics_at = float("-inf")
        while True:
            began = loop.time()
            self._nudged.clear()
            is_new = False
            try:
                if self._again:
                    self._again = False
                    await self._look_again()
                if self.series_watchers:
                    is_new = await self._look()
                if self.watchers and began - metrics_at >= _METRICS_SECONDS:
                    metrics_at = began
                    use = await self._watches.quickly(metrics.newest, self._watches.site, self._run)
                    is_new |= use is not None and self.use.say(body_of("metrics", _use_of(use)))
            except Exception as error:
                unknown = None if isinstance(error, SimyardError) else error
                log.error("a watched run is looked at again: %s", error, exc_info=unknown)
                self._again = True
                is_new = self.is_final = self._run.completed_at is not None
                await asyncio.sleep(_RETRY_SECONDS)
            if is_new:
                for watcher in self.watchers:
                    watcher.wake()
            pause = self._pause(loop.time() - began)
            await asyncio.sleep(_GATHER_SECONDS)  # nudges of one moment are answered together
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._is_still() else pause):
                    await self._nudged.wait()

    def _pause(self, took: float) -> float:
        """Seconds to the next look. Runs that are only followed share the processor time of one."""
        if not self.watchers:
            took = max(took, len(self._watches) * self._spent_seconds)
        least = _SERIES_SECONDS - _GATHER_SECONDS
        return max(least, min(_BUSY_PART * took, _PAUSE_SECONDS))

    def _is_still(self) -> bool:
        return self._run.completed_at is not None and (self.is_final or not self.series_watchers)

    async def _look_again(self) -> None:
        """At the run itself."""
        run = await self._watches.quickly(following.present, self._watches.site, self._run)
        if run is not None:
            self._run = run

    async def _look(self) -> bool:
        """At its series. Returns whether there is something to tell."""
        run = self._run
        read = self._watches.slowly if self.watchers else self._watches.aside
        found, changes = await read(self._read, run)
        self.found = found
        is_new = changes != self.changes
        self.changes = changes
        is_final = run.completed_at is not None
        is_new |= is_final and not self.is_final
        self.is_final = is_final
        now = asyncio.get_running_loop().time()
        if found.state != self._state or now - self._told_at >= _CONVERGENCE_SECONDS:
            self._state, self._told_at = found.state, now
            is_new |= self.convergence.say(body_of("convergence", convergence_of(found)))
        return is_new

    def _read(self, run: Run) -> tuple[Convergence, int]:
        """In a thread."""
        began = time.thread_time()
        try:
            return self._watches.convergence.look(self._job, run)
        finally:
            self._spent_seconds = time.thread_time() - began

    def close(self) -> None:
        self._task.cancel()


def _use_of(use: Use) -> dict[str, Any]:
    return {"seconds": use.seconds, "used": use.used, "limits": use.limits}


# --- all of them ----------------------------------------------------------------------------------


class Watches:
    """What is watched now. All of it belongs to the event loop; files are read in threads."""

    def __init__(self, site: Site, series: SeriesBook, convergence: ConvergenceBook) -> None:
        self.site, self.series, self.convergence = site, series, convergence
        self.inotify = Inotify()
        # By code of the job and number of the run: ids come again, those who watch may stay long.
        self._files: dict[tuple[str, int, str], FileWatch] = {}
        self._runs: dict[tuple[str, int], RunWatch] = {}
        self._quick = ThreadPoolExecutor(4, thread_name_prefix="watched files")
        self._slow = ThreadPoolExecutor(2, thread_name_prefix="watched runs")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="followed runs")

    def __len__(self) -> int:
        """Runs that are watched."""
        return len(self._runs)

    async def quickly(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._quick, work, *args)

    async def slowly(self, work: Callable[..., T], *args: object) -> T:
        """What may take long, as reading a whole log does; tails do not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._slow, work, *args)

    async def aside(self, work: Callable[..., T], *args: object) -> T:
        """The same for runs whose page nobody looks at: the others do not wait for them."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work, *args)

    def release(self, close: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the server stops
            self._quick.submit(close)

    def join(
        self, watcher: Watcher, job: Job, run: Run, path: str, *, series: bool
    ) -> tuple[FileWatch, RunWatch]:
        key = (job.code, run.number)
        file = self._files.get((*key, path))
        if file is None:
            file = self._files[*key, path] = FileWatch(self, run, path)
        file.watchers.add(watcher)
        watched = self.follow(watcher, job, run) if series else self._watched(job, run)
        watched.watchers.add(watcher)
        return file, watched

    def follow(self, watcher: object, job: Job, run: Run) -> RunWatch:
        """The series of a run, and what is found out of them; who follows is not woken."""
        watched = self._watched(job, run)
        watched.series_watchers.add(watcher)
        watched.nudge()
        return watched

    def _watched(self, job: Job, run: Run) -> RunWatch:
        key = (job.code, run.number)
        watched = self._runs.get(key)
        if watched is None:
            watched = self._runs[key] = RunWatch(self, job, run)
        return watched

    def leave(self, watcher: Watcher, job: str, number: int, path: str) -> None:
        """job: its code. Idempotent."""
        file = self._files.get((job, number, path))
        if file is not None:
            file.watchers.discard(watcher)
            if not file.watchers:
                file.close()
                del self._files[job, number, path]
        watched = self._runs.get((job, number))
        if watched is not None:
            watched.watchers.discard(watcher)
        self.unfollow(watcher, job, number)

    def unfollow(self, watcher: object, job: str, number: int) -> None:
        """As `leave`."""
        watched = self._runs.get((job, number))
        if watched is not None:
            watched.series_watchers.discard(watcher)
            if not (watched.watchers or watched.series_watchers):
                watched.close()
                del self._runs[job, number]

    def close(self) -> None:
        """When nobody watches any more: the server stops."""
        self._quick.shutdown(cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)
        self._aside.shutdown(wait=False, cancel_futures=True)
        self.inotify.close()


# --- growth ---------------------------------------------------------------------------------------

_MODIFY = 0x2  # the numbers are those of inotify(7)
_ONE_SHOT = 0x80000000
_EVENT = struct.Struct("iIII")


class Inotify:
    """Tells once of each file that is watched when it grows. Of the event loop only."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = -1
        self._waiting: dict[int, set[Callable[[], None]]] = {}  # by watch

    def watch(self, descriptor: int, tell: Callable[[], None]) -> bool:
        """Returns False where the file cannot be watched."""
        if self._file < 0 and not self._open():
            return False
        path = f"/proc/self/fd/{descriptor}".encode()
        mark = self._libc.inotify_add_watch(self._file, path, ctypes.c_uint32(_MODIFY | _ONE_SHOT))
        if mark < 0:
            return False
        self._waiting.setdefault(mark, set()).add(tell)
        return True

    def forget(self, tell: Callable[[], None]) -> None:
        for mark, waiting in list(self._waiting.items()):
            waiting.discard(tell)
            if not waiting:
                del self._waiting[mark]
                self._libc.inotify_rm_watch(self._file, mark)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> bool:
        self._file = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file >= 0:
            asyncio.get_running_loop().add_reader(self._file, self._read)
        return self._file >= 0

    def _read(self) -> None:
        try:
            data = os.read(self._file, 1 << 14)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            mark, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            for tell in self._waiting.pop(mark, ()):
                tell()
