"""Who watches what: one look for all who watch the same, none of what others watch."""

import asyncio
from types import SimpleNamespace
from typing import Any

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

    asyncio.run(look())
