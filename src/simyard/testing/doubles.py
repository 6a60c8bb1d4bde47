"""Engines that behave badly, as far as the protocol allows it: for tests of what stands on engines.

Each is put around a real one and passes the conformance suite (engines.py). What it does is drawn
from a seed, call by call: the same calls in the same order meet the same.

    SlowEngine    every call that may takes long; news come late or never
    LosingEngine  asks for a start and news get lost; some attempts vanish before they start
    LyingEngine   tells old observations again, also in the wrong order; sends news of nobody
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from simyard.domain.lifecycle import Wait
from simyard.domain.runs import Sample, Usage, Waiting
from simyard.engines.protocol import (
    AttemptSpec,
    Bind,
    Capabilities,
    Engine,
    Folder,
    Observation,
    Phase,
    Request,
)

OnNews = Callable[[str], None]
_LIE = Waiting(Wait.QUEUE, "it was there a moment ago")


class Around:
    """An engine that hands everything on to another.

    make: opens the other one; called with what takes its news. name: what it calls itself.
    """

    def __init__(
        self, make: Callable[[OnNews], Engine], on_news: OnNews, *, name: str, seed: int = 0
    ) -> None:
        self._name = name
        self._tell = on_news
        self._chance = random.Random(seed)  # noqa: S311  reproducible is what it has to be
        self._ear = random.Random(seed)  # noqa: S311  of news, which come whenever they like
        self._inner = make(self._hear)

    def _hear(self, token: str) -> None:
        """News of the other one."""
        self._tell(token)

    def capabilities(self) -> Capabilities:
        return replace(self._inner.capabilities(), name=self._name)

    def prepare(self, token: str, request: Request) -> Folder:
        return self._inner.prepare(token, request)

    def folder(self, token: str) -> Folder:
        return self._inner.folder(token)

    def shown(self, token: str, source: Path, name: str) -> Bind:
        return self._inner.shown(token, source, name)

    def submit(self, attempt: AttemptSpec) -> None:
        self._inner.submit(attempt)

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        return self._inner.observe(tokens)

    def cancel(self, token: str, *, signal: int | None = None, after_seconds: float = 0.0) -> None:
        self._inner.cancel(token, signal=signal, after_seconds=after_seconds)

    def samples(self, token: str) -> list[Sample]:
        return self._inner.samples(token)

    def usage(self, token: str) -> Usage | None:
        return self._inner.usage(token)

    def remove(self, token: str) -> None:
        self._inner.remove(token)

    def tokens(self) -> list[str]:
        return self._inner.tokens()

    def aside(self, name: str) -> Path:
        return self._inner.aside(name)

    def asides(self) -> list[str]:
        return self._inner.asides()

    def remove_aside(self, name: str) -> None:
        self._inner.remove_aside(name)

    def close(self) -> None:
        self._inner.close()


class SlowEngine(Around):
    """delay_seconds: how long a call that may take time takes at most, some of it before anything
    is done and some after. deaf: how many of the news never come; the others come up to four delays
    late.
    """

    def __init__(
        self,
        make: Callable[[OnNews], Engine],
        on_news: OnNews,
        *,
        delay_seconds: float = 0.05,
        deaf: float = 0.5,
        seed: int = 0,
        name: str = "slow",
    ) -> None:
        self._delay = delay_seconds
        self._deaf = deaf
        self._lock = threading.Lock()
        self._late: list[threading.Timer] = []
        self._closed = False
        super().__init__(make, on_news, name=name, seed=seed)

    def _hear(self, token: str) -> None:
        if self._ear.random() < self._deaf:
            return
        timer = threading.Timer(self._ear.uniform(0, 4 * self._delay), self._tell, [token])
        timer.daemon = True
        with self._lock:
            if not self._closed:
                self._late = [late for late in self._late if late.is_alive()]
                self._late.append(timer)
                timer.start()

    def _wait(self) -> None:
        time.sleep(self._chance.uniform(self._delay / 4, self._delay / 2))

    def prepare(self, token: str, request: Request) -> Folder:
        self._wait()
        made = super().prepare(token, request)
        self._wait()
        return made

    def submit(self, attempt: AttemptSpec) -> None:
        self._wait()
        super().submit(attempt)
        self._wait()

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        self._wait()
        seen = super().observe(tokens)
        self._wait()  # what it tells is old by now
        return seen

    def cancel(self, token: str, *, signal: int | None = None, after_seconds: float = 0.0) -> None:
        self._wait()
        super().cancel(token, signal=signal, after_seconds=after_seconds)
        self._wait()

    def samples(self, token: str) -> list[Sample]:
        self._wait()
        return super().samples(token)

    def usage(self, token: str) -> Usage | None:
        self._wait()
        return super().usage(token)

    def remove(self, token: str) -> None:
        self._wait()
        super().remove(token)
        self._wait()

    def tokens(self) -> list[str]:
        self._wait()
        found = super().tokens()
        self._wait()
        return found

    def asides(self) -> list[str]:
        self._wait()
        return super().asides()

    def remove_aside(self, name: str) -> None:
        self._wait()
        super().remove_aside(name)

    def close(self) -> None:
        self._wait()
        with self._lock:
            self._closed = True
            for late in self._late:
                late.cancel()
        super().close()


class LosingEngine(Around):
    """loses: how many asks for a start come to nothing, until somebody asks again. vanish: how many
    attempts are gone instead of starting, for good. deaf: how many of the news never come.
    """

    def __init__(
        self,
        make: Callable[[OnNews], Engine],
        on_news: OnNews,
        *,
        loses: float = 0.5,
        vanish: float = 0.25,
        deaf: float = 0.5,
        seed: int = 0,
        name: str = "losing",
    ) -> None:
        self._loses, self._vanishing, self._deaf = loses, vanish, deaf
        self._lock = threading.Lock()
        self._fresh: set[str] = set()  # laid out by us, and not handed on
        super().__init__(make, on_news, name=name, seed=seed)

    def _hear(self, token: str) -> None:
        if self._ear.random() >= self._deaf:
            super()._hear(token)

    def prepare(self, token: str, request: Request) -> Folder:
        made = super().prepare(token, request)
        with self._lock:
            self._fresh.add(token)
        return made

    def submit(self, attempt: AttemptSpec) -> None:
        token = attempt.token
        with self._lock:
            if self._chance.random() < self._loses:
                return
            is_fresh = token in self._fresh
            self._fresh.discard(token)
            if is_fresh and self._chance.random() < self._vanishing:
                # Only what was certainly never asked for: nothing of it is on its way.
                self._inner.remove(token)
                return
        super().submit(attempt)

    def remove(self, token: str) -> None:
        super().remove(token)
        with self._lock:
            self._fresh.discard(token)


class LyingEngine(Around):
    """lies: how many observations of what runs or has ended are not the present truth.

    What it tells was true once, or says that it does not know. Never that something ended or
    vanished which has not, and never WAITING of what it may have to be asked for again.
    gossip: how often a call brings news of nobody, or of anybody once more.
    """

    def __init__(
        self,
        make: Callable[[OnNews], Engine],
        on_news: OnNews,
        *,
        lies: float = 0.5,
        gossip: float = 0.3,
        seed: int = 0,
        name: str = "lying",
    ) -> None:
        self._lies, self._gossip = lies, gossip
        self._lock = threading.Lock()
        self._ran: dict[str, Observation] = {}  # RUNNING, as it was true
        super().__init__(make, on_news, name=name, seed=seed)

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        order = list(tokens)
        self._chance.shuffle(order)
        seen = super().observe(order)
        told = {token: self._tale(token, found) for token, found in seen.items()}
        if tokens and self._chance.random() < self._gossip:
            about = self._chance.choice([f"{self._chance.getrandbits(128):032x}", order[0]])
            for _ in range(2):
                self._tell(about)
        return told

    def _tale(self, token: str, found: Observation) -> Observation:
        with self._lock:
            if found.started_at is not None and token not in self._ran:
                self._ran[token] = Observation(phase=Phase.RUNNING, started_at=found.started_at)
            ran = self._ran.get(token)
            if ran is None or self._chance.random() >= self._lies:
                return found
            return self._chance.choice(
                [
                    ran,
                    Observation(phase=Phase.UNKNOWN),
                    Observation(phase=Phase.WAITING, waiting=_LIE),
                ]
            )

    def prepare(self, token: str, request: Request) -> Folder:
        self._forget(token)
        return super().prepare(token, request)

    def remove(self, token: str) -> None:
        super().remove(token)
        self._forget(token)

    def _forget(self, token: str) -> None:
        with self._lock:
            self._ran.pop(token, None)


def _conform(slow: SlowEngine, losing: LosingEngine, lying: LyingEngine) -> Sequence[Engine]:
    """Only for the type checker: a drift from the protocol shows here."""
    return slow, losing, lying
