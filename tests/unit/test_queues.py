"""When a run gets its cores (domain/queues.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.queues import Share, seconds_until

HOUR = 3600.0


def share(cores: int, hours: float) -> Share:
    return Share(cores, hours * HOUR)


@pytest.mark.parametrize(
    ("cores", "held", "ahead", "hours"),
    [
        (4, [], [], 0),
        (1, [share(3, 5)], [], 0),
        (2, [share(3, 5)], [], 5),
        (4, [share(2, 1), share(2, 3)], [], 3),
        (1, [share(4, 0)], [], 0),  # it is at its walltime
        (1, [share(3, 5)], [share(4, 2)], 7),  # the first is not passed
        (1, [share(3, 5)], [share(3, 2)], 5),  # ... and then both fit
        (2, [share(2, 1)], [share(2, 3)], 1),
        (4, [share(1, 1)], [share(3, 1), share(1, 2)], 3),
        (2, [share(6, 1)], [], 1),  # the machine was larger once
        (5, [], [], None),
        (1, [], [share(9, 1)], None),
    ],
)
def test_seconds_until(
    cores: int, held: list[Share], ahead: list[Share], hours: float | None
) -> None:
    found = seconds_until(cores, 4, held, ahead)
    assert found == (None if hours is None else hours * HOUR)


@given(
    st.lists(st.builds(Share, st.integers(1, 8), st.integers(0, 100)), max_size=12),
    st.builds(Share, st.integers(1, 8), st.integers(0, 100)),
)
def test_one_more_ahead_is_never_sooner(ahead: list[Share], one: Share) -> None:
    before = seconds_until(3, 8, [], ahead)
    after = seconds_until(3, 8, [], [*ahead, one])
    assert before is not None and after is not None and after >= before
