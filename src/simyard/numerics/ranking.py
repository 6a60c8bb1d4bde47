"""Which runs of a study are the best: feasible first, then by the objectives.

Deb's rules (K. Deb, "An efficient constraint handling method for genetic algorithms", 2000): a
feasible run beats an infeasible one, of two infeasible ones the smaller total violation is better.
Standard library only: marking the best run needs no extra packages.
"""

import math
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from simyard.domain.records import dataclass

Outputs = Mapping[str, float | None]
Score = tuple[float, ...]  # one number per goal, small is good

DIRECTIONS = ("minimize", "maximize", "target")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """An objective."""

    name: str
    direction: str = "minimize"  # one of DIRECTIONS
    target: float | None = None  # what the output is to be near to; with "target" only

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f"{self.name}: direction must be one of {', '.join(DIRECTIONS)},"
                f" not {self.direction!r}"
            )
        if (self.direction == "target") is not _finite(self.target):
            raise ValueError(
                f'{self.name}: a target must be a number, and goes with direction "target" only'
            )


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A constraint: an output must lie within [lower, upper]."""

    name: str
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.lower, self.upper) if end is not None]
        if not ends or not all(_finite(end) for end in ends):
            raise ValueError(f"{self.name}: a constraint needs a lower or an upper limit, a number")
        if ends[0] > ends[-1]:
            raise ValueError(
                f"{self.name}: lower limit {ends[0]:g} is above the upper one {ends[-1]:g}"
            )


def _finite(value: float | None) -> bool:
    largest = sys.float_info.max
    return value is not None and -largest <= value <= largest  # isfinite fails on a huge int


def violation(limits: Sequence[Limit], outputs: Outputs) -> float | None:
    """By how much the limits are broken in sum; 0.0: feasible; None: a needed output is missing."""
    total = 0.0
    for limit in limits:
        value = outputs.get(limit.name)
        if value is None or not _finite(value):
            return None
        if limit.lower is not None:
            total += max(limit.lower - value, 0.0)
        if limit.upper is not None:
            total += max(value - limit.upper, 0.0)
    return total


def score(goals: Sequence[Goal], outputs: Outputs) -> Score | None:
    """The goals as numbers that are to be small; None: an objective's output is missing."""
    found = []
    for goal in goals:
        value = outputs.get(goal.name)
        if value is None or not _finite(value):
            return None
        if goal.target is not None:
            value = abs(value - goal.target)
        found.append(-value if goal.direction == "maximize" else value)
    return tuple(found)


def feasible_scores(
    points: Sequence[Outputs | None], goals: Sequence[Goal], limits: Sequence[Limit]
) -> dict[int, Score]:
    """Scores by index, of the points that keep all limits and have all outputs."""
    found = {}
    for i, outputs in enumerate(points):
        if outputs is not None and violation(limits, outputs) == 0:
            values = score(goals, outputs)
            if values is not None:
                found[i] = values
    return found


def best(
    points: Sequence[Outputs | None], goals: Sequence[Goal], limits: Sequence[Limit] = ()
) -> list[int]:
    """Indexes of the optimal points, in order. A point that is None failed.

    One goal: exactly one index, the earliest of equals. Several: every feasible point that no
    feasible point dominates. No goal, or nothing feasible: nothing is optimal.
    """
    found = feasible_scores(points, goals, limits)
    if not found or not goals:
        return []
    if len(goals) == 1:
        return [min(found, key=lambda i: (found[i], i))]
    indexes = list(found)
    return [indexes[i] for i in front([found[i] for i in indexes])]


def with_one_more(
    front_before: Sequence[Outputs],
    new: Outputs | None,
    goals: Sequence[Goal],
    limits: Sequence[Limit],
) -> tuple[bool, list[int]]:
    """Whether one more point is optimal beside those that are, and the indexes of those that are so
    no more. In time proportional to their number.
    """
    found = feasible_scores([*front_before, new], goals, limits)
    mine = found.pop(len(front_before), None)
    if mine is None or not goals:
        return False, []
    if any(_dominates(other, mine, single=len(goals) == 1) for other in found.values()):
        return False, []
    return True, [i for i, other in found.items() if _dominates(mine, other, single=False)]


def _dominates(one: Score, other: Score, *, single: bool) -> bool:
    """single: the earlier of equals counts."""
    return _no_worse(one, other) and (single or one != other)


def improved(
    points: Sequence[Outputs | None], goals: Sequence[Goal], limits: Sequence[Limit] = ()
) -> list[bool]:
    """Whether each point was better than all before it, or not comparable with them.

    While nothing is feasible, a smaller violation is better. An equal point is no improvement.
    """
    feasible = feasible_scores(points, goals, limits)
    stairs, known = _Staircase(), list[Score]()
    least, none_yet = math.inf, True
    found = []
    for i, outputs in enumerate(points):
        mine = feasible.get(i)
        if mine is None:
            broken = violation(limits, outputs) if outputs is not None and none_yet else None
            better = broken is not None and 0 < broken < least
            least = broken if better and broken is not None else least
        elif len(mine) <= 2:
            better = stairs.admit(*(*mine, 0.0, 0.0)[:2])
        else:
            better = not any(_no_worse(other, mine) for other in known)
            if better:
                known = [other for other in known if not _no_worse(mine, other)] + [mine]
        none_yet = none_yet and mine is None
        found.append(better)
    return found


def _no_worse(one: Score, other: Score) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def front(scores: Sequence[Score]) -> list[int]:
    """Indexes of the scores that no other one dominates, in order; equals stay together.

    A score dominates another if it is nowhere larger and somewhere smaller. Up to three goals
    n scores take O(n log n) comparisons; with more it is O(n x size of the front).
    """
    same: dict[Score, list[int]] = {}
    for i, values in enumerate(scores):
        same.setdefault(values, []).append(i)
    ordered = sorted(same)  # nothing is dominated by what comes after it
    few = not ordered or len(ordered[0]) <= 3
    kept = _front_of_few(ordered) if few else _front_of_many(ordered)
    return sorted(i for values in kept for i in same[values])


class _Staircase:
    """The front of pairs, by bisection."""

    def __init__(self) -> None:
        self._firsts: list[float] = []  # rising
        self._seconds: list[float] = []  # falling

    def admit(self, first: float, second: float) -> bool:
        """Takes the pair in, unless one that is there is nowhere larger."""
        at = bisect_right(self._firsts, first)
        if at and self._seconds[at - 1] <= second:
            return False
        start = end = bisect_left(self._firsts, first)
        while end < len(self._firsts) and self._seconds[end] >= second:
            end += 1
        self._firsts[start:end] = [first]
        self._seconds[start:end] = [second]
        return True


def _front_of_few(ordered: Sequence[Score]) -> list[Score]:
    """What came before is not larger in the first number: the other two decide."""
    stairs = _Staircase()
    return [values for values in ordered if stairs.admit(*(*values, 0.0, 0.0)[1:3])]


def _front_of_many(ordered: Sequence[Score]) -> list[Score]:
    kept: list[Score] = []
    for values in ordered:
        if not any(_no_worse(other, values) for other in kept):
            kept.append(values)
    return kept


def hypervolume(scores: Sequence[Score], reference: Score) -> float:
    """The area that scores of two goals dominate, up to a reference that is worse than all."""
    if len(reference) != 2:
        raise ValueError(f"the hypervolume is for 2 objectives, not {len(reference)}")
    area, height = 0.0, reference[1]
    for first, second in sorted(scores):
        if first < reference[0] and second < height:
            area += (reference[0] - first) * (height - second)
            height = second
    return area
