"""Where in a log there are errors, warnings and steps, for a map beside it.

What counts is told by the catalogue: the marks by which the end of a run is judged, and what begins
a step. A log is read once as it grows, a slice of time after another; what was counted is kept in
blocks that double in size where there would be too many.
"""

import re
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import field

from simyard.domain.catalogue import Analysis, Catalogue
from simyard.domain.grammar import Grammar, Kind
from simyard.domain.jobs import Job
from simyard.domain.loglines import File, Lines, Program, Shapes, Watch, Watches, shown
from simyard.domain.needles import needles
from simyard.domain.records import dataclass
from simyard.service.logs import Log, keep
from simyard.service.site import Site
from simyard.service.verdicts import program_of, rule_book

SECONDS = 0.3  # of a call
_KEPT = 32
_PIECE_BYTES = 1 << 18
_LONGEST_LINE = 1 << 16  # what is kept of a line whose end has not come
_FIRST_BLOCK = 1 << 10
_MOST_BLOCKS = 1 << 14
_BAD = (Kind.FATAL, Kind.SUSPECT, Kind.EXPLAINS)
_ERROR, _WARNING, _STEP = range(3)
_KINDS = 3


@dataclass(frozen=True)
class FirstError:
    offset: int  # of the line's first byte
    line: int
    text: str


@dataclass(frozen=True)
class Marks:
    """Counts for parts of equal size, from the beginning of the log to its end."""

    errors: Sequence[int]
    warnings: Sequence[int]
    steps: Sequence[int]
    first_error: FirstError | None
    size: int
    scanned_to: int
    done: bool


@dataclass
class _Scan:
    """How far a log was read, and what was in it."""

    analyses: tuple[Analysis, ...]  # of the catalogue: with others it is read again
    shapes: Shapes
    file: File
    at: int = 0  # bytes that were read
    block: int = _FIRST_BLOCK
    counts: "tuple[array[int], ...]" = field(
        default_factory=lambda: tuple(array("I") for _ in range(_KINDS))
    )
    first_error: FirstError | None = None

    def feed(self, data: bytes, *, last: bool) -> None:
        self.at += len(data)
        data = self.file.rest + data
        cut = len(data) if last else data.rfind(b"\n") + 1
        self.file.rest = data[cut:]
        if cut:
            self._look(data[:cut].removesuffix(b"\n"), cut)
        if len(self.file.rest) > _LONGEST_LINE:
            self.file.dropped += len(self.file.rest) - _LONGEST_LINE
            self.file.rest = self.file.rest[:_LONGEST_LINE]

    def _look(self, data: bytes, size: int) -> None:
        lines = Lines(self.file, data)
        self.shapes.learn(set(lines.shapes))
        interesting = self.shapes.each
        for i, shape in enumerate(lines.shapes):
            watches = interesting.get(shape)
            if watches:
                text = self.shapes.clean(lines.text(i))
                kinds = {watch.rank for watch in watches if watch.find(text)}
                if kinds:
                    self._count(lines.start(i), min(kinds))
                if _ERROR in kinds and self.first_error is None:
                    text = shown(lines.text(i))
                    self.first_error = FirstError(lines.start(i), lines.number(i), text)
        self.shapes.forget()
        self.file.offset += size + self.file.dropped
        self.file.dropped = 0
        self.file.line += len(lines.lines)

    def _count(self, offset: int, kind: int) -> None:
        while offset // self.block >= _MOST_BLOCKS:
            self.block *= 2
            self.counts = tuple(_halved(counts) for counts in self.counts)
        counts, place = self.counts[kind], offset // self.block
        counts.extend([0] * (place + 1 - len(counts)))
        counts[place] += 1

    def parts(self, kind: int, size: int, count: int) -> list[int]:
        found = [0] * count
        for place, number in enumerate(self.counts[kind]):
            if number:
                found[min(count - 1, place * self.block * count // max(1, size))] += number
        return found


def _halved(counts: "array[int]") -> "array[int]":
    return array("I", (sum(counts[i : i + 2]) for i in range(0, len(counts), 2)))


class MarkBook:
    """What was counted in the logs that somebody looked at. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: OrderedDict[str, tuple[threading.Lock, list[_Scan]]] = OrderedDict()
        self._lock = threading.Lock()

    def marks(self, job: Job, log: Log, parts: int, *, seconds: float = SECONDS) -> Marks:
        """What is known of a log after so much time of reading on."""
        key = f"{job.code}:{log.identity}"
        lock, held = keep(self._kept, self._lock, key, _nothing, _KEPT)
        until = time.monotonic() + seconds
        with lock:
            catalogue = self._site.book.current()
            analyses = catalogue.analyses
            if not held or held[0].analyses is not analyses or held[0].at > log.size:
                held[:] = [_scan(job, catalogue)]
            scan = held[0]
            while scan.at < log.size and time.monotonic() < until:
                data = log.source.read(scan.at, min(_PIECE_BYTES, log.size - scan.at))
                if not data:
                    break
                is_end = scan.at + len(data) >= log.size
                scan.feed(data, last=is_end and not log.is_live)
            return Marks(
                errors=scan.parts(_ERROR, log.size, parts),
                warnings=scan.parts(_WARNING, log.size, parts),
                steps=scan.parts(_STEP, log.size, parts),
                first_error=scan.first_error,
                size=log.size,
                scanned_to=scan.at,
                done=scan.at >= log.size,
            )


def _scan(job: Job, catalogue: Catalogue) -> _Scan:
    book = rule_book(catalogue)
    asked = [catalogue.analysis(sent.code) for sent in job.definition.analyses]
    analyses = [analysis for analysis in asked if analysis is not None]
    codes = [code for code in map(program_of, analyses) if code in book.programs]
    programs = [*(book.programs[code] for code in dict.fromkeys(codes)), book.generic]
    watches = [watch for program in programs for watch in _told_by(program)]
    watches += _steps([a.grammar for a in analyses if a.grammar is not None])
    plain = r"(?i)\bwarning\b"  # whatever the program
    watches.append(Watch("mark", _WARNING, re.compile(plain).search))
    noise = [pattern for program in programs for pattern in program.noise]
    shapes = Shapes(Watches(watches, noise), _patient)
    return _Scan(catalogue.analyses, shapes, File("", generic=True))


def _told_by(program: Program) -> Iterator[Watch]:
    for watch in program.watches:
        if watch.role == "mark":
            kind = program.rules.marks[watch.rank].kind
            if kind in _BAD or kind is Kind.WARNING:
                rank = _ERROR if kind in _BAD else _WARNING
                yield Watch("mark", rank, watch.find, watch.needles)


def _nothing() -> tuple[threading.Lock, list[_Scan]]:
    return threading.Lock(), []


def _patient() -> None:
    """Each piece is small enough to be looked at to its end."""


def _steps(grammars: Sequence[Grammar]) -> Iterator[Watch]:
    for grammar in grammars:
        if grammar.x_pattern:
            pattern = grammar.x_pattern
            yield Watch("mark", _STEP, re.compile(pattern).search, needles(pattern))
