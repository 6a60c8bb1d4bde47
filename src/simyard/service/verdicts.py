"""The verdict on a run that ended: its logs and results, read from its folder, before the judge.

What is read is bounded in files, bytes and time. A run that could not be read to its end is not
called bad for what was not seen.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

from simyard.domain.catalogue import Analysis, Catalogue, fold
from simyard.domain.errors import NotFound
from simyard.domain.grammar import Artifact, Numbers, Rules, Weight, number
from simyard.domain.jobs import Job
from simyard.domain.loglines import OutOfTime, RuleBook
from simyard.domain.outcome import Evidence, Outcome
from simyard.domain.records import dataclass, replace
from simyard.domain.runs import Ending, Run
from simyard.domain.verdict import Finding, Judge, filled
from simyard.service import restarting, staging, workfolder
from simyard.service.site import Site
from simyard.service.workfolder import Found

_SECONDS = 10.0
_LOGS = 64
_END_BYTES = 64 << 20  # read of a log from each of its ends
_PIECE_BYTES = 1 << 20
_SEEN_FILES = 50_000
_RESULTS = 2000
_EDGE_BYTES = 4096  # of a result file, from each end
_NUMBER_BYTES = 16 << 20  # of a result file, from its end
_BLANK = bytes(byte if byte == 10 else 32 for byte in range(256))
_CLOCK_SECONDS = 2  # what is older than the start by less may be of the run

log = logging.getLogger(__name__)


def judge(site: Site, work: Path, job: Job, run: Run, ending: Ending) -> Outcome:
    """What became of a run of which nothing is alive and whose folder is still there. Reads only.
    Takes at most about ten seconds, and never raises for what the run left or a site's rules hold.
    """
    catalogue = site.book.current()
    asked = [catalogue.analysis(sent.code) for sent in job.definition.analyses]
    analyses = [analysis for analysis in asked if analysis is not None]
    try:
        written = _written(site, work, run)
        begins = (
            restarting.log_begins_at(site.engine_of(run).folder(run.token)) if run.token else (0, 0)
        )
        outcome = judge_folder(
            catalogue, analyses, work, written, ending, log_begins=begins, since=_start(run)
        )
    except Exception:  # a run must be able to end whatever is wrong here
        log.exception("run %s of job %s: its exit code decides", run.number, job.code)
        outcome = judge_unread(site, ending)
    only_warns = bool(analyses) and all(a.verdict is Weight.WARNS for a in analyses)
    return replace(outcome, only_warns=only_warns)


def judge_unread(site: Site, ending: Ending) -> Outcome:
    """What can be said of a run that left nothing to read."""
    return Judge(RuleBook({}, site.book.current().endings)).outcome(ending)


def judge_folder(
    catalogue: Catalogue,
    analyses: Iterable[Analysis],
    work: Path,
    written: Iterable[Found],
    ending: Ending,
    *,
    seconds: float = _SECONDS,
    log_begins: tuple[int, int] = (0, 0),
    since: float = 0.0,
) -> Outcome:
    """As `judge`, of a work folder and the files in it that the run wrote.

    log_begins: bytes and lines of the job's log that are of earlier attempts.
    since: files that were modified before this time do not count: what a run unpacks keeps its own.
    """
    until = time.monotonic() + seconds

    def expired() -> bool:
        return time.monotonic() > until

    book = rule_book(catalogue)
    codes = [code for code in map(program_of, analyses) if code in book.programs]
    found = list(written)
    jury = Judge(book, codes, expired)
    _read_logs(jury, book, codes, work, found, log_begins, since, ending.asides)
    results = Results(work, found, expired, since)
    rules = [book.programs[code].rules for code in jury.programs()]
    return jury.outcome(ending, results.findings(rules))


def program_of(analysis: Analysis) -> str:
    """The code under which the rules of an analysis are known."""
    return fold(analysis.rules_of or analysis.code)


_kept: tuple[tuple[Analysis, ...], RuleBook] | None = None
_making = threading.Lock()


def rule_book(catalogue: Catalogue) -> RuleBook:
    """The catalogue's rules, compiled once. Raises re.error where a site's cannot be."""
    global _kept  # noqa: PLW0603  one book for the process
    with _making:
        kept = _kept
        if kept is None or kept[0] is not catalogue.analyses:
            rules = {fold(a.code): a.rules for a in catalogue.analyses if a.rules is not None}
            kept = _kept = catalogue.analyses, RuleBook(rules, catalogue.endings)
    return kept[1]


def _start(run: Run) -> float:
    return run.started_at.timestamp() - _CLOCK_SECONDS if run.started_at else 0.0


def _written(site: Site, work: Path, run: Run) -> Iterator[Found]:
    """Files that the run made or changed: not the inputs."""
    assert run.token is not None
    manifest = staging.read_manifest(site.engine_of(run).folder(run.token))
    since = _start(run)
    for count, found in enumerate(workfolder.walk(work)):
        if count >= _SEEN_FILES:
            return
        entry = manifest.get(found.path)
        untouched = entry is not None and entry[:3] == [found.size, found.ctime_ns, found.inode]
        if not untouched and found.ctime_ns / 1e9 >= since:
            yield found


# --- logs -----------------------------------------------------------------------------------------


def _read_logs(
    jury: Judge,
    book: RuleBook,
    codes: list[str],
    work: Path,
    written: list[Found],
    log_begins: tuple[int, int],
    since: float,
    asides: Sequence[tuple[int, int]],
) -> None:
    """The job's log first, then those of its steps, the oldest first."""
    programs = codes or list(book.programs)
    fits = _fitting(tuple(name for code in programs for name in book.programs[code].rules.sources))
    steps = [f for f in written if f.path != staging.LOG_NAME and fits(f.path)]
    steps.sort(key=lambda found: (found.ctime_ns, found.path))
    try:
        for path, own in [
            (staging.LOG_NAME, True),
            *((f.path, bool(codes)) for f in steps[-_LOGS:]),
        ]:
            try:
                file = workfolder.open_file(work, path)
            except NotFound:
                continue
            try:
                is_of_job = path == staging.LOG_NAME
                if is_of_job or os.fstat(file).st_mtime >= since:
                    begins, blank = (log_begins, asides) if is_of_job else ((0, 0), ())
                    _read_log(jury, file, workfolder.shown(path), own, *begins, blank)
            finally:
                os.close(file)
    except OutOfTime:
        jury.stop_short()


def _read_log(
    jury: Judge,
    file: int,
    path: str,
    own: bool,
    start: int,
    lines: int,
    asides: Sequence[tuple[int, int]],
) -> None:
    """From this byte on, which so many lines come before."""
    jury.begin(path, own=own, offset=start, line=lines + 1)
    size = os.fstat(file).st_size
    if size - start <= 2 * _END_BYTES:
        _feed(jury, file, start, size, asides)
    else:
        _feed(jury, file, start, start + _END_BYTES, asides)
        middle = size - _END_BYTES
        middle += os.pread(file, _PIECE_BYTES, middle).find(b"\n") + 1
        jury.skip(middle - start - _END_BYTES)
        _feed(jury, file, middle, size, asides)
    jury.finish()


def _feed(jury: Judge, file: int, start: int, end: int, asides: Sequence[tuple[int, int]]) -> None:
    while start < end and (data := os.pread(file, min(_PIECE_BYTES, end - start), start)):
        for first, last in asides:
            i, j = (min(max(0, at - start), len(data)) for at in (first, last))
            if i < j:  # blank, so that lines and offsets stay what they are
                data = data[:i] + data[i:j].translate(_BLANK) + data[j:]
        start += len(data)
        jury.feed(data)


@lru_cache(maxsize=256)
def _fitting(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a path fits one of these: a pattern without a "/" is of the name, one with it of the
    path's end.
    """
    both: tuple[list[str], list[str]] = [], []
    for pattern in dict.fromkeys(patterns):
        both["/" in pattern].append(translate(f"*/{pattern}" if "/" in pattern else pattern))
    of_name, of_path = (re.compile("|".join(each) or "(?!)").match for each in both)
    return lambda path: bool(of_name(path.rsplit("/", 1)[-1]) or of_path(f"/{path}"))


# --- results --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Results:
    """The files that a run wrote, to be looked at for what shows that they are no good."""

    work: Path
    written: list[Found]
    expired: Callable[[], bool]
    since: float  # what was modified before does not count

    def findings(self, rules: Iterable[Rules]) -> list[Finding]:
        """The first of each kind."""
        rules = list(rules)
        kinds: list[Iterator[Finding]] = [
            (f for one in rules for rule in one.numbers for f in self._absurd(rule)),
            (f for one in rules for rule in one.artifacts for f in self._cut(rule)),
        ]
        return [finding for kind in kinds for finding in _first(kind)]

    def _files(self, pattern: str) -> Iterator[tuple[str, int, int]]:
        """Path, size and a descriptor that is open until the next is asked for."""
        count = 0
        fits = _fitting((pattern,))
        for found in self.written:
            if found.path == staging.LOG_NAME or not fits(found.path):
                continue
            count += 1
            if count > _RESULTS or self.expired():
                return
            try:
                file = workfolder.open_file(self.work, found.path)
            except NotFound:
                continue
            try:
                seen = os.fstat(file)
                if seen.st_mtime >= self.since:
                    yield workfolder.shown(found.path), seen.st_size, file
            finally:
                os.close(file)

    def _cut(self, rule: Artifact) -> Iterator[Finding]:
        for path, size, file in self._files(rule.path):
            begin = os.pread(file, _EDGE_BYTES, 0).decode("utf-8", "replace")
            if rule.begins_with and not re.search(rule.begins_with, begin):
                continue
            at = max(0, size - _EDGE_BYTES)
            end = os.pread(file, _EDGE_BYTES, at)
            whole = (
                size >= rule.least_bytes
                and re.search(rule.holds, begin)
                and re.search(rule.ends_with, end.decode("utf-8", "replace"))
            )
            if not whole:
                yield _finding(rule, path, {"path": path}, at, end)

    def _absurd(self, rule: Numbers) -> Iterator[Finding]:
        begins, ends = re.compile(rule.begin), re.compile(rule.end)
        numbers = re.compile(rule.number)
        for path, size, file in self._files(rule.path):
            at = max(0, size - _NUMBER_BYTES)
            inside = False
            while at < size and not self.expired():
                data = os.pread(file, _PIECE_BYTES, at)
                data = data[: data.rfind(b"\n") + 1] or data
                if not data:
                    break
                for line in data.split(b"\n"):
                    text = line[:_EDGE_BYTES].decode("utf-8", "replace")
                    if begins.search(text):
                        inside = True
                    elif inside and ends.search(text):
                        inside = False
                    elif inside:
                        bad = next(filter(_beyond(rule.above), numbers.findall(text)), None)
                        if bad is not None:
                            names = {"path": path, "y": bad}
                            yield _finding(rule, path, names, at + data.find(line), line)
                            return
                at += len(data)


def _beyond(limit: float) -> Callable[[str], bool]:
    def beyond(text: str) -> bool:
        y = number(text)
        return y is not None and not abs(y) <= limit  # nan is beyond everything

    return beyond


def _first(findings: Iterator[Finding]) -> list[Finding]:
    found = next(findings, None)
    return [found] if found else []


def _finding(
    rule: Artifact | Numbers, path: str, names: dict[str, str], at: int, data: bytes
) -> Finding:
    """With the last line of the data, which begin at this offset."""
    line = data.rstrip(b"\n").rfind(b"\n") + 1
    text = data[line:].decode("utf-8", "replace").strip()[:500]
    return Finding(
        verdict=rule.verdict,
        cause=rule.cause,
        message=filled(rule.message, names),
        evidence=Evidence(path=path, line=0, offset=at + line, text=text),
    )
