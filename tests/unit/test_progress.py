"""When it is told how far a run is: where that is something else, to those who listen."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from coroutines import finished
from simyard.api import progress as module
from simyard.api.events import Topics
from simyard.api.progress import Progress, rounded
from simyard.domain.convergence import Convergence, Eta, State

NOTHING = Convergence(State.UNKNOWN, "Not known: there are 3 steps yet, and 12 are needed.")


def found(progress: float | None = None, seconds: float = 100.0, **more: Any) -> Convergence:
    known: dict[str, Any] = {"state": State.CONVERGING, "sentence": "p falls", **more}
    return Convergence(eta=Eta(seconds, seconds, None), progress=progress, **known)


class Ground:
    """Hub and watches, which say what the test says."""

    def __init__(self) -> None:
        self.listeners = frozenset({1})
        self.asked_for: list[list[int]] = []  # the viewers, each time that runs were listed
        self._somebody = asyncio.Event()
        self.position = 7
        clock = datetime(2026, 3, 2, tzinfo=UTC)
        self.site: Any = SimpleNamespace(db=SimpleNamespace(commits=0), clock=lambda: clock)
        self.series = SimpleNamespace(can_read=lambda job: not job.code.startswith("python"))
        self.watches: dict[str, Any] = {}  # by code of a job: those that are followed
        self.told: list[Any] = []
        self.reads = 0
        self._executing: list[Any] = []
        me: Any = self
        self.progress = Progress(me, me)

    def executing(self, *codes: str, viewers: frozenset[int] = frozenset({1, 2})) -> None:
        """Whose runs they are is the code's last letter."""
        self._executing = [
            SimpleNamespace(
                job=SimpleNamespace(code=code, owner_id=ord(code[-1])),
                run=SimpleNamespace(number=1, token=f"of {code}"),
                viewers=viewers,
            )
            for code in codes
        ]
        self.site.db.commits += 1

    async def turns(self, *each: Convergence | None) -> list[float | None]:
        """The progress that is told while the watch of each run finds one of these after the
        other.
        """
        self.told.clear()
        for one in each:
            for watch in self.watches.values():
                watch.found = one
            await self.progress.turn()
        return [event.data["progress"] for event in self.told]

    # --- the hub ---

    async def read(self, work: Callable[..., Any]) -> Any:
        self.reads += 1
        return work(None)

    def list_executing(self, _conn: object, viewers: list[int], *_: Any, **__: Any) -> list[Any]:
        self.asked_for.append(viewers)
        return list(self._executing)

    def hear(self) -> None:
        self.listeners = frozenset({1})
        self._somebody.set()

    async def until_heard(self) -> None:
        await self._somebody.wait()

    def wanted(self) -> dict[int, Topics]:
        return dict.fromkeys(self.listeners, Topics(every_job=True))

    def tell_progress(self, viewers: frozenset[int], event: Any) -> None:
        self.told.append(event)

    # --- the watches ---

    def follow(self, watcher: object, job: Any, run: Any) -> Any:
        assert job.code not in self.watches
        self.watches[job.code] = SimpleNamespace(found=None)
        return self.watches[job.code]

    def unfollow(self, watcher: object, job: str, number: int) -> None:
        del self.watches[job]


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Ground:
    made = Ground()
    monkeypatch.setattr(module, "executing", made.list_executing)
    return made


def test_only_what_is_something_else_is_told(ground: Ground) -> None:
    async def tell() -> None:
        ground.executing("hTrNa")
        assert await ground.turns(None, None, NOTHING, NOTHING) == []
        assert await ground.turns(found(0.1), found(0.1), found(0.2)) == [0.1, 0.2]
        # The clock goes on while the log does not: two digits of the time left are the same.
        assert await ground.turns(found(0.2, 100.4), found(0.2, 99.7)) == []
        assert await ground.turns(found(0.2, 140.0)) == [0.2]
        assert await ground.turns(found(0.2, state=State.STALLED)) == [0.2]
        assert await ground.turns(NOTHING, NOTHING) == [None]  # the log was written from the start
        event = ground.told[0]
        assert (event.id, event.name, event.key) == (7, "run", ("run", "hTrNa", 1))
        assert event.data["job"] == "hTrNa" and event.data["run"] == "1"
        assert event.data["convergence"]["state"] == "unknown" and "state" not in event.data

    finished(tell())


def test_time_left_has_two_digits() -> None:
    assert rounded(found(seconds=1234.5)).eta == Eta(1200.0, 1200.0, None)
    assert rounded(found(seconds=0.123)).eta == Eta(0.12, 0.12, None)
    assert rounded(NOTHING) == NOTHING


def test_only_runs_that_somebody_hears_of_are_looked_at(ground: Ground) -> None:
    async def follow() -> None:
        ground.executing("hTrNa", "python")
        await ground.progress.turn()
        assert set(ground.watches) == {"hTrNa"}
        await ground.turns(found(0.1), found(0.2), found(0.3))
        assert ground.reads == 1  # nothing was written: who sees what is the same
        ground.executing("hTrNa", "other", viewers=frozenset({2}))
        assert await ground.turns(found(0.4)) == []
        assert not ground.watches
        ground.listeners = frozenset({1, 2})
        await ground.progress.turn()
        assert set(ground.watches) == {"hTrNa", "other"}
        assert await ground.turns(found(0.5)) == [0.5, 0.5]
        ground.executing("other")
        assert await ground.turns(found(0.6)) == [0.6]

    finished(follow())


def test_of_many_runs_those_on_a_screen_come_first(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FOLLOWED_MOST", 2)

    async def follow() -> None:
        ground.executing("4x", "3x", "2x", "1x")
        await ground.progress.turn()
        assert set(ground.watches) == {"4x", "3x"}
        ground.progress.shown(["1x"])
        await ground.progress.turn()
        assert set(ground.watches) == {"4x", "1x"}

    finished(follow())


def test_who_has_many_runs_leaves_room_for_others(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FOLLOWED_MOST", 3)

    async def follow() -> None:
        ground.executing("5x", "4x", "3x", "2x", "1y")
        ground.progress.shown(["5x", "4x", "3x", "2x"])
        await ground.progress.turn()
        assert set(ground.watches) == {"5x", "4x", "1y"}

    finished(follow())


def test_nothing_is_looked_at_while_nobody_listens(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.0)

    async def listen() -> None:
        ground.executing("hTrNa")
        await ground.progress.turn()
        ground.listeners = frozenset()
        reads = ground.reads
        task = asyncio.create_task(ground.progress.forever())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ground.watches
        assert ground.reads == reads and not task.done()
        ground.hear()
        async with asyncio.timeout(10):
            while not ground.watches:
                await asyncio.sleep(0)
        assert ground.asked_for == [[1], [1]]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ground.watches, "the server stops"

    finished(listen())


def test_who_leaves_while_runs_are_listed_does_not_spoil_the_list(ground: Ground) -> None:
    async def come_again() -> None:
        ground.executing("hTrNa")
        read = ground.read

        async def meanwhile(work: Callable[..., Any]) -> Any:
            ground.listeners = frozenset()
            found = await read(work)
            ground.listeners = frozenset({1})
            return found

        ground.read = meanwhile  # type: ignore[method-assign]
        await ground.progress.turn()
        assert ground.asked_for == [[1]]
        assert set(ground.watches) == {"hTrNa"}

    finished(come_again())
