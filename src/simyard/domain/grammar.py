"""Log grammars: how the progress of a solver is read from what it prints.

A grammar is data (the `[log]` part of a catalogue entry). `Reader` takes lines in order and gives
points; it holds no file and can be fed as the file grows.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase


class Pick(StrEnum):
    """Which value of a series counts where a step prints it more than once."""

    FIRST = "first"  # several correctors a step: the first residual is the honest one
    LAST = "last"
    MAX = "max"


@dataclass(frozen=True, kw_only=True)
class SeriesRule:
    group: str  # "residuals", "forces", ...
    label: str  # may hold the pattern's group names: "{field}"
    pattern: str  # with a group `y`
    pick: Pick = Pick.LAST
    unit: str = ""
    log_scale: bool = False


@dataclass(frozen=True, kw_only=True)
class Grammar:
    sources: tuple[str, ...]  # file name patterns in order of preference
    x_label: str  # what a step counts: "iteration", "time"
    x_pattern: str  # with a group `x`; begins a new step
    x_counts_on: bool = False  # x is the number of the step: what is printed starts again and again
    series: tuple[SeriesRule, ...] = field(default_factory=tuple)

    def source_rank(self, path: str) -> int | None:
        """How well a file suits as the source (0 is best); None where it does not."""
        name = path.rsplit("/", 1)[-1]
        for rank, pattern in enumerate(self.sources):
            if fnmatchcase(name, pattern):
                return rank
        return None


@dataclass
class Series:
    key: str  # stable: "residuals/Ux"
    label: str
    group: str
    unit: str
    log_scale: bool
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)


class Reader:
    """Turns lines into series. Values that are no numbers (nan, inf) are kept as such."""

    def __init__(self, grammar: Grammar) -> None:
        self.series: dict[str, Series] = {}
        self.steps = 0
        self._grammar = grammar
        self._x_pattern = re.compile(grammar.x_pattern)
        self._rules = [(rule, re.compile(rule.pattern)) for rule in grammar.series]
        self._x: float | None = None

    def feed(self, line: str) -> None:
        """One line, without its newline."""
        begun = self._x_pattern.search(line)
        if begun:
            x = _number(begun["x"])
            if x is not None:
                self.steps += 1
                self._x = self.steps if self._grammar.x_counts_on else x
            return
        if self._x is None:
            return
        for rule, pattern in self._rules:
            found = pattern.search(line)
            if found:
                y = _number(found["y"])
                if y is not None:
                    self._point(rule, found.groupdict(), self._x, y)

    def _point(self, rule: SeriesRule, names: Mapping[str, str], x: float, y: float) -> None:
        label = rule.label.format_map(names)
        key = f"{rule.group}/{label}"
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(
                key=key, label=label, group=rule.group, unit=rule.unit, log_scale=rule.log_scale
            )
        if series.x and series.x[-1] == x:
            if rule.pick is Pick.LAST or (rule.pick is Pick.MAX and y > series.y[-1]):
                series.y[-1] = y
            return
        series.x.append(x)
        series.y.append(y)


def _number(text: str | None) -> float | None:
    """None too where the pattern's group took no part."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Bucket:
    x: float  # of the bucket's last point
    low: float
    high: float
    last: float


def buckets(series: Series, start: float, end: float, most: int) -> Iterator[Bucket]:
    """At most `most` buckets of the points with start <= x <= end, in order; one point each if few.

    Non-finite values do not count for low and high while the bucket has a finite one.
    """
    points = [(x, y) for x, y in zip(series.x, series.y, strict=True) if start <= x <= end]
    size = max(1, -(-len(points) // most))
    for i in range(0, len(points), size):
        part = points[i : i + size]
        finite = [y for _, y in part if y - y == 0] or [part[-1][1]]
        yield Bucket(x=part[-1][0], low=min(finite), high=max(finite), last=part[-1][1])
