"""Logs for `verdict.py`: which of their lines are worth a look, and where each of them stands.

Logs are long and few of their lines are new: lines that differ in digits only are looked at once.
So patterns may not tell one digit from another, which reading the catalogue checks.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import field
from itertools import accumulate

from simyard.domain.grammar import Endings, Kind, Rules
from simyard.domain.needles import needles
from simyard.domain.outcome import Evidence
from simyard.domain.records import dataclass

LONGEST_LINE = 4096  # what is looked at of a line, in bytes
_CACHE_BYTES = 4 << 20
_MOST_SHAPES = 16_384  # of lines that are worth a look
_TEXT = 500  # characters of a line that are kept as evidence

_DIGITS = bytes.maketrans(b"0123456789", b"0000000000")
# A line that says nothing: empty, or a rule of dashes. MPI puts the rank before empty lines too.
_BLANK = re.compile(r"^\s*(\[\d+\])?[^A-Za-z0-9]*$")


class OutOfTime(Exception):
    """There was more to look at than time."""


# --- rules, compiled ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Watch:
    """One pattern of the rules and what it is for."""

    role: str  # "mark", "absent", "begun", "steady", "open", "close", "created", "final", "bound"
    rank: int  # its place among those of its role
    find: Callable[[str], re.Match[str] | None]
    needles: tuple[str, ...] = ()  # every line that it finds holds one of these; (): not known


# The ranks of what a program is known by; the role of such a line is the program's code.
BANNER = -1
SPEAKS = -2
_IN_ORDER = (
    "mark",
    "open",
    "close",
    "created",
)  # roles of which every line counts; of others the last does


def _watch(role: str, rank: int, pattern: str) -> Watch:
    compiled = re.compile(pattern)
    only_at_start = pattern.startswith("^") and "|" not in pattern
    find = compiled.match if only_at_start else compiled.search
    return Watch(role, rank, find, needles(pattern))


class Program:
    """The rules of one program."""

    def __init__(self, code: str, rules: Rules) -> None:
        self.code = code
        self.rules = rules
        self.banners = [
            *(_watch(code, BANNER, pattern) for pattern in rules.detect),
            *(_watch(code, SPEAKS, pattern) for pattern in rules.speaks),
        ]
        self.noise = [re.compile(m.pattern) for m in rules.marks if m.kind is Kind.NOISE]
        self.watches = list(_watches(rules))


def _watches(rules: Rules) -> Iterator[Watch]:
    def each(role: str, patterns: Iterable[str]) -> Iterator[tuple[str, int, str]]:
        return ((role, rank, pattern) for rank, pattern in enumerate(patterns))

    wanted = [
        *each("mark", ("" if m.kind is Kind.NOISE else m.pattern for m in rules.marks)),
        *each("absent", (m.absent for m in rules.marks)),
        *each("begun", [rules.begun_by]),
        *each("steady", [rules.steady_by]),
        *each("open", (overlap.open for overlap in rules.overlaps)),
        *each("close", (overlap.close for overlap in rules.overlaps)),
        *each("created", (count.created for count in rules.counts)),
        *each("final", (count.final for count in rules.counts)),
        *each("no count", (count.unless for count in rules.counts)),
        *each("bound", (bound.pattern for bound in rules.bounds)),
        *each("no bound", (bound.unless for bound in rules.bounds)),
    ]
    return (_watch(role, rank, pattern) for role, rank, pattern in wanted if pattern)


class Watches:
    """Patterns that are looked for together, by the strings that tell where to try them.

    noise: what is taken out of a line before it is looked at. Nothing in it changes.
    """

    def __init__(self, watches: Sequence[Watch], noise: Sequence[re.Pattern[str]]) -> None:
        self.noise = noise
        self.always = [watch for watch in watches if not watch.needles]
        self.by_needle: dict[str, list[Watch]] = {}
        for watch in watches:
            for needle in watch.needles:
                self.by_needle.setdefault(needle, []).append(watch)


class RuleBook:
    """The rules of a catalogue, compiled. Nothing in it changes. Raises re.error."""

    def __init__(self, rules: Mapping[str, Rules], endings: Endings) -> None:
        self.endings = endings
        self.programs = {code: Program(code, one) for code, one in rules.items()}
        self.generic = Program("", endings.rules)
        banners = [watch for program in self.programs.values() for watch in program.banners]
        noise = self.generic.noise
        self.common = Watches([*self.generic.watches, *banners], noise)
        self.of_program = {
            code: Watches(program.watches, [*noise, *program.noise])
            for code, program in self.programs.items()
        }


# --- lines ----------------------------------------------------------------------------------------


@dataclass
class File:
    """How far a log was read."""

    path: str
    generic: bool  # whether the rules for all programs hold in it
    offset: int = 0  # of the first byte that was not looked at
    line: int = 1  # its number; 0: not counted any more
    rest: bytes = b""  # the beginning of a line whose end has not come
    dropped: int = 0  # bytes of that line that were not kept
    opened: dict[tuple[str, int], list[str]] = field(default_factory=dict)  # for overlaps


class Lines:
    """Some whole lines of a file, and where each of them stands."""

    def __init__(self, file: File, data: bytes) -> None:
        self.lines = data.split(b"\n")
        self.shapes = data.translate(_DIGITS).split(b"\n")
        self._lengths = list(map(len, self.lines))
        if max(self._lengths) > LONGEST_LINE:
            self.shapes = [shape[:LONGEST_LINE] for shape in self.shapes]
        self._lengths[0] += file.dropped
        self._path, self._offset, self._line = file.path, file.offset, file.line
        self._starts: list[int] = []

    def text(self, i: int) -> str:
        return text_of(self.lines[i])

    def number(self, i: int) -> int:
        return self._line + i if self._line else 0

    def start(self, i: int) -> int:
        """The offset of its first byte."""
        if not self._starts:
            self._starts = list(accumulate(self._lengths, initial=self._offset))
        return self._starts[i] + i  # the newlines before it

    def evidence(self, i: int) -> Evidence:
        return Evidence(
            path=self._path, line=self.number(i), offset=self.start(i), text=shown(self.text(i))
        )

    def after(self, i: int, clean: Callable[[str], str]) -> int:
        """The next line that says something, if it is among these."""
        for j in range(i + 1, min(i + 6, len(self.lines))):
            if not _BLANK.match(clean(self.text(j))):
                return j
        return i


def shown(text: str) -> str:
    """A line as it is kept for people."""
    return text.strip()[:_TEXT]


def text_of(line: bytes) -> str:
    return line[:LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")


class Shapes:
    """Which lines are worth a look: by shape, which is the line with its digits made equal."""

    def __init__(self, watches: Watches, check: Callable[[], None]) -> None:
        self._watches, self._check = watches, check
        self.each: dict[bytes, tuple[Watch, ...]] = {}  # every such line counts
        self.last: dict[bytes, tuple[Watch, ...]] = {}  # the last one does
        self._boring: set[bytes] = set()
        self._bytes = 0

    def learn(self, shapes: Set[bytes]) -> None:
        new = shapes - self._boring - self.each.keys() - self.last.keys()
        if self._bytes > _CACHE_BYTES:
            self._boring, self._bytes = set(), 0
        for shape in new:
            self._check()
            text = self.clean(text_of(shape))
            by_needle = self._watches.by_needle
            worth = [w for needle in by_needle if needle in text for w in by_needle[needle]]
            found = [w for w in dict.fromkeys([*self._watches.always, *worth]) if w.find(text)]
            self._bytes += len(shape)
            each = tuple(watch for watch in found if watch.role in _IN_ORDER or watch.rank < 0)
            last = tuple(watch for watch in found if watch not in each)
            if each:
                self.each[shape] = each
            if last:
                self.last[shape] = last
            if not found:
                self._boring.add(shape)

    def clean(self, text: str) -> str:
        for pattern in self._watches.noise:
            text = pattern.sub("", text)
        return text

    def forget(self) -> None:
        """Bounded memory, whatever the log."""
        if len(self.each) + len(self.last) > _MOST_SHAPES:
            self.each, self.last = {}, {}
