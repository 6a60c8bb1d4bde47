"""The verdict on a run: from how its processes ended, what its logs say and what it left behind.

`Judge` is fed logs as bytes, in pieces of any size, and asked once at the end. The order in which
things count: what the platform saw (a stop, a limit, a kill for memory, a full disk); a line that
says that it failed; a line that says that it was asked to stop; the exit code; what contradicts a
good exit code (numbers, cut results, no end, no convergence).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from simyard.domain.grammar import Kind, Mark, number
from simyard.domain.loglines import (
    LONGEST_LINE,
    SPEAKS,
    File,
    Lines,
    OutOfTime,
    Program,
    RuleBook,
    Shapes,
    Watch,
    shown,
    text_of,
)
from simyard.domain.outcome import Evidence, Outcome, Verdict
from simyard.domain.records import dataclass
from simyard.domain.runs import Cause, Ending, signal_in_words

_LONGEST_WAIT = 1 << 16  # bytes of a line whose end has not come
_MOST_SERIES = 4096
_MOST_SECTIONS = 1000  # starts of programs that are told from each other
_AT_ONCE = 16  # programs that may print into one file at once
_GROUP = 200  # characters of a named group that go into a message
_FULL_PART = 0.01  # of a disk: less free than that, and less than the next, is a full disk
_FULL_BYTES = 64 << 20
_RULED = b" \t\r-=*_#+~|"  # of lines that are drawn between others
_SIGNALS = 128  # shells give 128 + n for a child that signal n ended

# A program often blames its input for what the machine refused it; the system's text is plainer.
_VAGUE = ("input", "crash", "mpi")
_PLAIN = ("memory", "disk")


# --- what was found -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that shows that a result is no good, beside the logs."""

    verdict: Verdict
    cause: str
    message: str
    evidence: Evidence | None = None


@dataclass(frozen=True)
class _Hit:
    evidence: Evidence
    groups: Mapping[str, str | None]
    order: tuple[int, int]  # which file, in the order of reading, and the offset in it

    def tells(self, text: str) -> str:
        return filled(text, self.groups).removesuffix(".")


def filled(text: str, groups: Mapping[str, str | None]) -> str:
    """A message with the groups of its pattern."""
    values = {name: (value or "").strip()[:_GROUP] for name, value in groups.items()}
    try:
        return text.format_map(values)
    except (LookupError, ValueError, AttributeError):
        return text


@dataclass(frozen=True)
class _Latest:
    """The last line of its shape."""

    watches: tuple[Watch, ...]
    line: bytes
    number: int
    offset: int


@dataclass
class _Section:
    """What one program printed into one file, from its start to the next program's."""

    program: Program
    path: str
    begun: bool = False  # its banner was seen
    works: bool = False  # the line with which it begins to compute was seen
    whole: bool = True  # no part of it was left out
    steady: bool = False
    ends: int = 0
    marks: dict[int, _Hit] = field(default_factory=dict)  # by rank
    present: set[int] = field(default_factory=set)  # ranks of `absent` that were there
    bounds: dict[tuple[int, str], _Hit] = field(default_factory=dict)  # the last of each series
    void: set[tuple[str, int]] = field(default_factory=set)  # rules whose `unless` was there
    created: dict[int, int] = field(default_factory=dict)
    final: dict[int, _Hit] = field(default_factory=dict)
    overlaps: dict[int, _Hit] = field(default_factory=dict)
    latest: dict[bytes, "_Latest"] = field(default_factory=dict)  # by shape; read by `settle`

    def hits(self, *kinds: Kind) -> Iterator[tuple[Mark, _Hit]]:
        """In the order of the rules."""
        for rank in sorted(self.marks):
            mark = self.program.rules.marks[rank]
            if mark.kind in kinds:
                yield mark, self.marks[rank]

    def last(self, kind: Kind) -> _Hit | None:
        return max((hit for _, hit in self.hits(kind)), key=lambda h: h.order, default=None)

    @property
    def must_end(self) -> bool:
        rules = self.program.rules
        return rules.need_end and self.begun and (self.works or not rules.begun_by)


# --- judging --------------------------------------------------------------------------------------


class Judge:
    """Reads the logs of one run and says what became of it.

    codes: the programs that the job asked for. Others are known by what they print at their start.
    expired: asked now and then; once it is true, `feed` raises OutOfTime.
    """

    def __init__(
        self, book: RuleBook, codes: Iterable[str] = (), expired: Callable[[], bool] = lambda: False
    ) -> None:
        self._book = book
        self._asked = list(dict.fromkeys(code for code in codes if code in book.programs))
        self._expired = expired
        self._sections: list[_Section] = []
        self._generic: dict[int, _Hit] = {}
        self._files = 0
        self._file: File | None = None
        self._section: _Section | None = None
        self._last_line: Evidence | None = None
        self._complete = True
        self._common = Shapes(book.common, self._tick)
        self._shapes: dict[str, Shapes] = {}  # of the programs that were asked for or seen

    def programs(self) -> list[str]:
        """Codes of the programs that were asked for or seen, the first first."""
        seen = (s.program.code for s in self._sections if s.begun)
        return list(dict.fromkeys([*self._asked, *seen]))

    def begin(self, path: str, *, own: bool = True, offset: int = 0, line: int = 1) -> None:
        """What is fed now is of this file, from this byte and line on.

        own: whether it is the log of the job's own programs; of another file only that counts which
        follows the banner of a known program.
        """
        self.finish()
        self._file = File(path, generic=own, offset=offset, line=line)
        self._files += 1
        self._section = None
        if own and len(self._asked) == 1:
            self._open(self._asked[0], begun=False)

    def feed(self, data: bytes) -> None:
        """More of the file, in pieces of any size. Raises OutOfTime."""
        file = self._file
        assert file is not None
        data = file.rest + data
        cut = data.rfind(b"\n")
        file.rest = data[cut + 1 :]
        if cut >= 0:
            self._look(file, data[:cut])
        if len(file.rest) > _LONGEST_WAIT:
            file.dropped += len(file.rest) - LONGEST_LINE
            file.rest = file.rest[:LONGEST_LINE]

    def skip(self, size: int) -> None:
        """So many bytes of the file are left out here, up to the beginning of a line."""
        file = self._file
        assert file is not None
        kept = len(file.rest) + file.dropped
        file.rest, file.dropped = b"", 0
        file.offset += kept + size
        file.line = 0
        if self._section:
            self._section.whole = False

    def finish(self) -> None:
        """The file is at its end."""
        file = self._file
        if file is not None and file.rest:
            rest, file.rest = file.rest, b""
            self._look(file, rest)
        self._file = None

    def stop_short(self) -> None:
        """Not everything was read: what is missing in it proves nothing."""
        self._complete = False
        self._file = None

    # --- reading

    def _tick(self) -> None:
        if self._expired():
            raise OutOfTime

    def _open(self, code: str, *, begun: bool) -> None:
        assert self._file is not None
        self._section = _Section(self._book.programs[code], self._file.path, begun=begun)
        if code not in self._shapes:
            self._shapes[code] = Shapes(self._book.of_program[code], self._tick)
        self._sections.append(self._section)

    def _look(self, file: File, data: bytes) -> None:
        """At whole lines, the last one without its newline."""
        self._tick()
        lines = Lines(file, data)
        different = set(lines.shapes)
        self._common.learn(different)
        interesting = self._common.each
        start = 0
        if not interesting.keys().isdisjoint(different):
            for i in [i for i, shape in enumerate(lines.shapes) if shape in interesting]:
                for watch in interesting[lines.shapes[i]]:
                    if watch.rank >= 0:
                        self._note_generic(file, watch, lines, i)
                        continue
                    if watch.rank == SPEAKS and self._is_of(watch.role):
                        continue
                    self._look_closer(lines, start, i)
                    start = i
                    self._banner(watch.role)
        self._look_closer(lines, start, len(lines.shapes))
        self._common.forget()
        self._remember_last(lines)
        file.offset += len(data) + 1 + file.dropped
        file.dropped = 0
        if file.line:
            file.line += len(lines.shapes)

    def _remember_last(self, lines: Lines) -> None:
        """The last line of the first file that has words or numbers in it."""
        if self._last_line is not None and self._file and self._last_line.path != self._file.path:
            return
        for i in range(len(lines.lines) - 1, max(-1, len(lines.lines) - 50), -1):
            if lines.lines[i].strip(_RULED):
                self._last_line = lines.evidence(i)
                return

    def _is_of(self, code: str) -> bool:
        return self._section is not None and self._section.program.code == code

    def _banner(self, code: str) -> None:
        section = self._section
        if section is not None and section.program.code == code and not section.begun:
            section.begun = True
        elif section is not None and len(self._sections) >= _MOST_SECTIONS:
            section.whole = False
        else:
            self._open(code, begun=True)

    def _note_generic(self, file: File, watch: Watch, lines: Lines, i: int) -> None:
        if file.generic and watch.role == "mark" and watch.rank not in self._generic:
            found = watch.find(self._common.clean(lines.text(i)))
            if found:
                mark = self._book.generic.rules.marks[watch.rank]
                self._generic[watch.rank] = self._hit(mark, found, lines, i, self._common)

    def _look_closer(self, lines: Lines, start: int, end: int) -> None:
        """At the lines from start to end, by the rules of the program that printed them."""
        section = self._section
        if section is None or start >= end:
            return
        known = self._shapes[section.program.code]
        shapes = lines.shapes[start:end]
        different = set(shapes)
        known.learn(different)
        each, last = known.each, known.last
        if not each.keys().isdisjoint(different):
            for i in [i for i, shape in enumerate(shapes, start) if shape in each]:
                for watch in each[lines.shapes[i]]:
                    self._note(section, watch, lines, i)
        if not last.keys().isdisjoint(different):
            where = dict(zip(shapes, range(start, end), strict=True))
            for shape in different & last.keys():
                i = where[shape]
                latest = _Latest(last[shape], lines.lines[i], lines.number(i), lines.start(i))
                section.latest[shape] = latest
            if len(section.latest) > _MOST_SERIES:
                self._settle(section)
        known.forget()

    def _hit(
        self, mark: Mark | None, found: re.Match[str], lines: Lines, i: int, shapes: Shapes
    ) -> _Hit:
        shown = lines.after(i, shapes.clean) if mark and mark.next_line else i
        evidence = lines.evidence(shown)
        order = (self._files, lines.start(i))
        return _Hit(evidence, {**found.groupdict(), "line": evidence.text}, order)

    def _note(self, section: _Section, watch: Watch, lines: Lines, i: int) -> None:
        if watch.role == "close":
            self._opened(section, watch.rank)[:1] = []
        else:
            self._note_match(section, watch, lines, i)

    def _note_match(self, section: _Section, watch: Watch, lines: Lines, i: int) -> None:
        """Where the line itself says something beside that it is there."""
        rank = watch.rank
        mark = section.program.rules.marks[rank] if watch.role == "mark" else None
        ends = mark is not None and mark.kind is Kind.END
        if mark is not None and not ends and rank in section.marks:
            return
        shapes = self._shapes[section.program.code]
        found = watch.find(shapes.clean(lines.text(i)))
        if found is None:
            return
        if mark is not None:
            if ends:
                section = self._which_ends(section)
                section.ends += 1
            section.marks[rank] = self._hit(mark, found, lines, i, shapes)
        elif watch.role == "created":
            n = int(number(found["n"]) or 0)
            section.created[rank] = max(n, section.created.get(rank, 0))
        elif watch.role == "open":
            key = found.groupdict().get("key") or ""
            opened = self._opened(section, rank)
            if key in opened:
                section.overlaps.setdefault(rank, self._hit(None, found, lines, i, shapes))
            if len(opened) < _MOST_SERIES:
                opened.append(key)

    def _which_ends(self, section: _Section) -> _Section:
        """Two that print into one file may end in any order."""
        if section.ends:
            for other in reversed(self._sections[-_AT_ONCE:]):
                same = other.program is section.program and other.path == section.path
                if same and not other.ends:
                    return other
        return section

    def _opened(self, section: _Section, rank: int) -> list[str]:
        assert self._file is not None
        return self._file.opened.setdefault((section.program.code, rank), [])

    def _settle(self, section: _Section) -> None:
        """Read the last lines of what only the last line counts of."""
        clean = self._shapes[section.program.code].clean
        for latest in sorted(section.latest.values(), key=lambda line: line.offset):
            text = clean(text_of(latest.line))
            evidence = Evidence(
                path=section.path,
                line=latest.number,
                offset=latest.offset,
                text=shown(text_of(latest.line)),
            )
            for watch in latest.watches:
                found = watch.find(text)
                if found is None:
                    continue
                order = (0, latest.offset)
                hit = _Hit(evidence, {**found.groupdict(), "line": evidence.text}, order)
                self._note_last(section, watch.role, watch.rank, hit)
        section.latest.clear()

    def _note_last(self, section: _Section, role: str, rank: int, hit: _Hit) -> None:
        if role == "begun":
            section.works = True
        elif role == "steady":
            section.steady = True
        elif role == "absent":
            section.present.add(rank)
        elif role == "final":
            section.final[rank] = hit
        elif role == "bound":
            names = {k: v for k, v in hit.groups.items() if k not in ("y", "line")}
            key = (rank, repr(names))
            if key in section.bounds or len(section.bounds) < _MOST_SERIES:
                section.bounds[key] = hit
        else:
            section.void.add((role, rank))

    # --- the verdict

    def outcome(self, ending: Ending, findings: Sequence[Finding] = ()) -> Outcome:
        """What became of the run."""
        for section in self._sections:
            self._settle(section)
        found = (
            self._by_facts(ending)
            or self._by_fatal_marks(ending)
            or self._by_stop(ending)
            or self._by_exit_code(ending)
            or self._by_doubts()
            or self._by_numbers()
            or next(
                (self._outcome(f.verdict, f.cause, f.message, f.evidence) for f in findings), None
            )
            or self._by_absence()
        )
        return found or self._good()

    def _outcome(
        self, verdict: Verdict, cause: str, message: str, evidence: Evidence | None = None
    ) -> Outcome:
        advice = self._book.endings.advice.get(cause, "")
        return Outcome(
            verdict=verdict, cause=cause, message=message, advice=advice, evidence=evidence
        )

    def _by_facts(self, ending: Ending) -> Outcome | None:
        """What the platform did or saw."""
        usage = ending.usage
        if ending.cause is Cause.STOPPED:
            hit = next((s.last(Kind.STOPPED) for s in reversed(self._sections)), None)
            return self._outcome(
                Verdict.STOPPED, "", "it was stopped by the user", hit.evidence if hit else None
            )
        if ending.cause is not Cause.EXITED:
            cause = str(ending.limit) if ending.limit else str(ending.cause)
            message = ending.message or _SAYS.get(ending.cause, "it was ended")
            return self._outcome(Verdict.FAILED, cause, message, self._shown_for(cause))
        if usage is None:
            return None
        if usage.oom_kills:
            message = "its memory was full, and the system killed " + (
                "one of its processes"
                if usage.oom_kills == 1
                else f"{usage.oom_kills} of its processes"
            )
            return self._outcome(Verdict.FAILED, "memory", message, self._shown_for("memory"))
        if usage.free_bytes is not None and usage.free_bytes < min(
            _FULL_BYTES, _FULL_PART * (usage.disk_bytes or 0)
        ):
            message = f"its disk was full ({usage.free_bytes} bytes free), results may be cut short"
            return self._outcome(Verdict.FAILED, "disk", message, self._shown_for("disk"))
        return None

    def _shown_for(self, cause: str) -> Evidence | None:
        """The line of a log that tells of the same."""
        hits = [hit for s in self._sections for mark, hit in s.hits(*_BAD) if mark.cause == cause]
        hits += [hit for mark, hit in self._general(*_BAD) if mark.cause == cause]
        return hits[0].evidence if hits else None

    def _general(self, *kinds: Kind) -> Iterator[tuple[Mark, _Hit]]:
        for rank in sorted(self._generic):
            mark = self._book.generic.rules.marks[rank]
            if mark.kind in kinds:
                yield mark, self._generic[rank]

    def _said(self, mark: Mark, hit: _Hit, verdict: Verdict) -> Outcome:
        return self._outcome(verdict, mark.cause, hit.tells(mark.message), hit.evidence)

    def _by_fatal_marks(self, ending: Ending) -> Outcome | None:
        """The first program that failed: those after it may have failed for it."""
        found = next((f for s in self._sections for f in s.hits(Kind.FATAL)), None)
        general = next(self._general(Kind.FATAL), None)
        plain = next((f for f in self._general(*_BAD) if f[0].cause in _PLAIN), None)
        if found is not None and found[0].cause in _VAGUE and plain is not None:
            found = plain
        found = found or (general if ending.exit_code == 0 else None)
        return self._said(*found, found[0].verdict) if found else None

    def _by_stop(self, ending: Ending) -> Outcome | None:
        if (ending.exit_code or 0) > _SIGNALS:
            return None
        for section in reversed(self._sections):
            for mark, hit in section.hits(Kind.STOPPED):
                return self._said(mark, hit, Verdict.STOPPED)
        return None

    def _by_exit_code(self, ending: Ending) -> Outcome | None:
        code = ending.exit_code
        if code == 0:
            return None
        reasons = (Kind.EXPLAINS, Kind.SUSPECT, Kind.FATAL)
        own = (found for s in reversed(self._sections) for found in s.hits(*reasons))
        for mark, hit in (*own, *self._general(*reasons)):
            return self._said(mark, hit, Verdict.FAILED)
        known = self._book.endings.codes.get(str(code))
        words = known.words if known else signal_in_words(code)
        message = f"{ending.step or 'the command'} ended with exit code {code}"
        return self._outcome(
            Verdict.FAILED,
            known.cause if known else "exit",
            f"{message} ({words})" if words else message,
            self._last_line,
        )

    def _by_doubts(self) -> Outcome | None:
        """A step that failed although the whole ended with 0."""
        for section in self._sections:
            for rank, hit in section.overlaps.items():
                overlap = section.program.rules.overlaps[rank]
                return self._outcome(
                    Verdict.SUSPECT, overlap.cause, hit.tells(overlap.message), hit.evidence
                )
            for mark, hit in section.hits(Kind.SUSPECT):
                return self._said(mark, hit, Verdict.SUSPECT)
        good_end = self._sections[-1].last(Kind.END) if self._sections else None
        for mark, hit in self._general(Kind.SUSPECT):
            if good_end is None or hit.order > good_end.order:
                return self._said(mark, hit, Verdict.SUSPECT)
        return None

    def _by_numbers(self) -> Outcome | None:
        for section in self._sections:
            for (rank, _), hit in section.bounds.items():
                bound = section.program.rules.bounds[rank]
                y = number(hit.groups["y"])
                if y is None or ("no bound", rank) in section.void:
                    continue
                if (
                    y - y != 0
                    or (bound.above is not None and abs(y) > bound.above)
                    or (bound.below is not None and y < bound.below)
                ):
                    message = hit.tells(bound.message)
                    return self._outcome(bound.verdict, bound.cause, message, hit.evidence)
            for rank, hit in section.final.items():
                count = section.program.rules.counts[rank]
                created, final = section.created.get(rank, 0), int(number(hit.groups["n"]) or 0)
                if final < count.least_part * created and ("no count", rank) not in section.void:
                    message = filled(count.message, {"created": str(created), "final": str(final)})
                    return self._outcome(Verdict.DIVERGED, count.cause, message, hit.evidence)
        return None

    def _by_absence(self) -> Outcome | None:
        """What should be there and is not. Proves nothing where not all was read."""
        if not self._complete:
            return None
        for section in self._sections:
            if not (section.begun and section.whole):
                continue
            for rank, mark in enumerate(section.program.rules.marks):
                if mark.absent and rank not in section.present:
                    return self._outcome(mark.verdict, mark.cause, mark.message)
            if section.must_end and not section.ends:
                return self._outcome(
                    Verdict.INCOMPLETE,
                    "incomplete",
                    "its log breaks off before its end",
                    self._last_line,
                )
        last = self._sections[-1] if self._sections else None
        if last and last.whole and last.steady and last.last(Kind.CONVERGED) is None:
            end = last.last(Kind.END)
            return self._outcome(
                Verdict.NOT_CONVERGED,
                "convergence",
                "it came to its last iteration without having converged",
                end.evidence if end else None,
            )
        return None

    def _good(self) -> Outcome:
        for section in reversed(self._sections):
            for mark, hit in section.hits(Kind.WARNING):
                return self._said(mark, hit, Verdict.COMPLETED)
        for section in reversed(self._sections):
            for kind, message in _GOOD:
                shown = section.last(kind)
                if shown is not None:
                    return self._outcome(Verdict.COMPLETED, "", message, shown.evidence)
        return self._outcome(Verdict.COMPLETED, "", "it ended with exit code 0")


_BAD = (Kind.FATAL, Kind.EXPLAINS, Kind.SUSPECT)
_GOOD = ((Kind.CONVERGED, "it converged"), (Kind.END, "it came to its end"))
_SAYS = {
    Cause.WALLTIME: "the walltime was exceeded",
    Cause.INTERRUPTED: "it was interrupted",
    Cause.REFUSED: "it could not be started",
    Cause.LIMIT: "it used more than it may",
}
