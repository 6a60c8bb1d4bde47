"""Log grammars: how the progress of a solver, and its end, are read from what it prints.

A grammar is data (the `[grammar]` part of a catalogue entry). `Reader` takes lines in order and
gives points; it holds no file and can be fed as the file grows. `Rules` are data too (the `[rules]`
part); `domain/verdict.py` judges by them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from fnmatch import fnmatchcase

from simyard.domain.outcome import Verdict
from simyard.domain.records import dataclass


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
class TableRule:
    """Columns of numbers under a line that names them: each is a series."""

    group: str
    header: str  # matches the line that names the columns; the columns are what it names
    x: str = ""  # the column to chart against; "": the step that the grammar's x_pattern began
    width: int = 0  # characters of a column whose name may hold blanks; 0: blanks part them
    skip: tuple[str, ...] = ()  # columns that are not worth a chart
    log_scale: bool = False


@dataclass(frozen=True, kw_only=True)
class Grammar:
    sources: tuple[str, ...]  # file name patterns in order of preference
    x_label: str  # what a step counts: "iteration", "time"
    x_pattern: str = ""  # with a group `x`; begins a new step; "": tables have their own
    x_counts_on: bool = False  # x is the number of the step: what is printed starts again and again
    end_pattern: str = ""  # what follows belongs to no step and to no table: averages, summaries
    series: tuple[SeriesRule, ...] = field(default_factory=tuple)
    tables: tuple[TableRule, ...] = field(default_factory=tuple)
    # What the log says near its start of what residuals are to fall below: groups `label`, a
    # series' or a pattern in quotes, and `y`.
    target_pattern: str = ""
    last_x_file: str = ""  # the end of the path of the input that says what the last step is ...
    last_x_pattern: str = ""  # ... and where, with a group `x`

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
    steps: list[int] = field(default_factory=list)  # of a log: in which each was printed last


class Reader:
    """Turns lines into series. Values that are no numbers (nan, inf) are kept as such."""

    def __init__(self, grammar: Grammar) -> None:
        self.series: dict[str, Series] = {}
        self.steps = 0
        self.changes = 0  # points that were added or took another value
        self._grammar = grammar
        self._x_pattern = re.compile(grammar.x_pattern) if grammar.x_pattern else None
        self._end_pattern = re.compile(grammar.end_pattern) if grammar.end_pattern else None
        self._rules = [(rule, re.compile(rule.pattern)) for rule in grammar.series]
        self._headers = [(rule, re.compile(rule.header)) for rule in grammar.tables]
        self._x: float | None = None
        self._table: tuple[TableRule, list[str]] | None = None

    def feed(self, line: str) -> None:
        """One line, without its newline."""
        if self._end_pattern and self._end_pattern.search(line):
            self._x = self._table = None
            return
        begun = self._x_pattern.search(line) if self._x_pattern else None
        if begun:
            x = number(begun["x"])
            if x is not None:
                self._begin(x)
        if self._x is not None:
            for rule, pattern in self._rules:
                found = pattern.search(line)
                if found:
                    y = number(found["y"])
                    if y is not None:
                        self._point(rule, found.groupdict(), self._x, y)
        if self._headers and not begun:
            self._row(line)

    def _begin(self, x: float) -> None:
        self.steps += 1
        self._x = self.steps if self._grammar.x_counts_on else x

    def _row(self, line: str) -> None:
        """A line of a table, or one that begins it."""
        for rule, header in self._headers:
            if header.search(line):
                self._table = rule, _cells(line, rule.width)
                return
        if self._table is None:
            return
        rule, names = self._table
        cells = _cells(line, rule.width)
        values = [number(cell) for cell in cells[: len(names)]]
        if len(cells) < len(names) or None in values[:2]:
            return
        row = dict(zip(names, values, strict=True))
        if rule.x:
            x = row.pop(rule.x, None)
            if x is None:
                return
            self._begin(x)
        if self._x is None:
            return
        for name, y in row.items():
            if y is not None and name not in rule.skip:
                self._add(rule.group, name, "", rule.log_scale, Pick.LAST, self._x, y)

    def _point(self, rule: SeriesRule, names: Mapping[str, str], x: float, y: float) -> None:
        label = rule.label.format_map(names)
        self._add(rule.group, label, rule.unit, rule.log_scale, rule.pick, x, y)

    def _add(
        self, group: str, label: str, unit: str, log_scale: bool, pick: Pick, x: float, y: float
    ) -> None:
        key = f"{group}/{label}"
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series(
                key=key, label=label, group=group, unit=unit, log_scale=log_scale
            )
        if series.x and series.x[-1] == x:
            if pick is Pick.LAST or (pick is Pick.MAX and y > series.y[-1]):
                series.y[-1] = y
                series.steps[-1] = self.steps
                self.changes += 1
            return
        series.x.append(x)
        series.y.append(y)
        series.steps.append(self.steps)
        self.changes += 1


_MOST_COLUMNS = 60
_FORTRAN = str.maketrans("Dd", "ee")  # 1.5D-03


def number(text: str | None) -> float | None:
    """A number as solvers print it; None where it is none, or the pattern's group took no part."""
    try:
        return None if text is None else float(text.translate(_FORTRAN))
    except ValueError:
        return None


def _cells(line: str, width: int) -> list[str]:
    """The columns of a line: those of a fixed width, or those that blanks part."""
    if not width:
        return line.split(maxsplit=_MOST_COLUMNS)[:_MOST_COLUMNS]
    line = line.rstrip()
    last = min(len(line), width * _MOST_COLUMNS)
    return [line[i : i + width].strip() for i in range(0, last, width)]


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


# --- how an end is read ---------------------------------------------------------------------------


class Kind(StrEnum):
    """What a line says about the end of a program."""

    NOISE = "noise"  # struck out before anything else is looked for
    END = "end"  # it came to its end in order
    CONVERGED = "converged"
    STOPPED = "stopped"  # it ended early because it was asked to
    WARNING = "warning"  # goes with a good end, and is shown
    EXPLAINS = "explains"  # the reason, if the exit code says that it failed
    SUSPECT = "suspect"  # a step failed: counts with exit code 0 too unless all ended well later
    FATAL = "fatal"  # counts whatever the exit code is


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A line that tells something, or one that is missing.

    Of several that are found in one program's output the first in the rules counts: special ones go
    before general ones.
    """

    kind: Kind
    pattern: str = ""
    absent: str = ""  # in place of `pattern`: counts where no line matches this
    cause: str = ""  # machine-readable; the key of the advice
    message: str = ""  # a sentence without its full stop; may hold the pattern's group names
    verdict: Verdict = Verdict.FAILED  # of a fatal mark
    next_line: bool = False  # the line that tells is the one after it that is not empty


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A second start of the same thing before the first one ended."""

    open: str  # a group `key`, if it has one, says what is the same
    close: str
    cause: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What the last value of a series may be. Values that are no numbers break every bound."""

    pattern: str  # with a group `y`
    message: str  # may hold the pattern's group names
    above: float | None = None  # |y| above it is bad
    below: float | None = None
    cause: str = "divergence"
    verdict: Verdict = Verdict.DIVERGED
    unless: str = ""  # void where a line matches this


@dataclass(frozen=True, kw_only=True)
class Count:
    """Items that are there at the end against those that were made: atoms, particles."""

    created: str  # with a group `n`; of several the largest counts
    final: str  # with a group `n`; the last counts
    least_part: float
    cause: str
    message: str  # may hold {created} and {final}
    unless: str = ""  # void where a line matches this


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """How it is seen that a result file is whole. Files that the run did not write do not count."""

    path: str  # file name pattern; with a "/" it is matched against the path from its end
    message: str  # may hold {path}
    begins_with: str = ""  # only files whose head matches this count
    holds: str = ""  # what the file's head must match
    ends_with: str = ""  # what the file's end must match
    least_bytes: int = 0
    cause: str = "output"
    verdict: Verdict = Verdict.INCOMPLETE


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Numbers in a result file that nobody can mean."""

    path: str  # as in Artifact
    begin: str  # matches the line before the numbers
    end: str  # matches the first line after them
    above: float  # |number| above it is bad
    message: str  # may hold {path} and {y}
    number: str = r"[-+]?\d+\.\d*(?:[EeDd][-+]?\d+)?"  # what of a line is a number to look at
    cause: str = "divergence"
    verdict: Verdict = Verdict.DIVERGED


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the end of a program's run is judged by what it printed and wrote."""

    detect: tuple[str, ...] = ()  # patterns of a line that it prints once, at its start
    speaks: tuple[str, ...] = ()  # patterns of other lines that nobody else prints
    sources: tuple[str, ...] = ()  # name patterns of log files to read beside process_output.log
    need_end: bool = False  # once it began, only an end mark proves that it came to its end
    begun_by: str = ""  # the line with which it began; "": the one that detects it
    steady_by: str = ""  # a line that only runs have which are to converge
    marks: tuple[Mark, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    bounds: tuple[Bound, ...] = ()
    counts: tuple[Count, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    numbers: tuple[Numbers, ...] = ()


class Weight(StrEnum):
    """What the verdict does to a run of an analysis."""

    DECIDES = "decides"  # a run that is judged no good counts as failed
    WARNS = "warns"  # the exit code decides; the verdict is shown


@dataclass(frozen=True, kw_only=True)
class ExitCode:
    """What an exit code says where no line says more."""

    words: str
    cause: str = "exit"


@dataclass(frozen=True, kw_only=True)
class Endings:
    """What holds for the ends of all programs."""

    rules: Rules = field(default_factory=Rules)  # tried after the program's own
    advice: Mapping[str, str] = field(default_factory=dict)  # what to do, by cause
    codes: Mapping[str, ExitCode] = field(default_factory=dict)  # by exit code
