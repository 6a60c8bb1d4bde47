"""Who watches what: one look for all who watch the same, none of what others watch."""

from types import SimpleNamespace
from typing import Any

from coroutines import finished
from simyard.api.watching import Watches


class Viewer:
    def wake(self) -> None:
        """Nothing is told here."""


def test_a_run_that_got_the_number_of_a_deleted_one_is_not_taken_for_it() -> None:
    """Of the deleted one somebody may be left who reads slowly."""
    unused: Any = SimpleNamespace()

    async def look() -> None:
        watches = Watches(unused, unused, unused)
        run: Any = SimpleNamespace(id=7, number=1)
        deleted: Any = SimpleNamespace(code="dEletd")
        job: Any = SimpleNamespace(code="nEwjob")
        late, one, two = Viewer(), Viewer(), Viewer()
        before = watches.join(late, deleted, run, "a.log", series=False)
        first = watches.join(one, job, run, "a.log", series=False)
        assert watches.join(two, job, run, "a.log", series=False) == first
        assert first[0] is not before[0] and first[1] is not before[1]
        watches.leave(late, "dEletd", 1, "a.log")
        watches.leave(one, "nEwjob", 1, "a.log")
        assert first[0].watchers == first[1].watchers == {two}
        watches.leave(two, "nEwjob", 1, "a.log")
        watches.close()

    finished(look())


def test_runs_that_are_only_followed_share_the_time_of_one() -> None:
    unused: Any = SimpleNamespace()

    async def follow() -> None:
        watches = Watches(unused, unused, unused)
        runs: list[Any] = [SimpleNamespace(id=n, number=n) for n in range(1, 11)]
        job: Any = SimpleNamespace(code="hTrNa")
        viewer = Viewer()
        followed = [watches.follow(viewer, job, run) for run in runs]
        for spent, pauses in {0.001: [0.75, 3.0], 0.03: [3.0, 3.0], 1.0: [30.0, 30.0]}.items():
            followed[0]._spent_seconds = spent
            assert [followed[0]._pause(took) for took in (0.001, 0.3)] == pauses
        _, seen = watches.join(viewer, job, runs[0], "a.log", series=True)
        assert seen is followed[0]
        assert [seen._pause(took) for took in (0.001, 0.3, 10.0)] == [0.75, 3.0, 30.0]
        watches.leave(viewer, "hTrNa", 1, "a.log")
        for run in runs[1:]:
            watches.unfollow(viewer, "hTrNa", run.number)
        assert len(watches) == 0
        watches.close()

    finished(follow())
