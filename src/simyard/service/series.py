"""Series of a run (residuals, forces, ...) read from its logs by the grammar of its analysis.

A log is read once as it grows: what was read of a live run is kept, and the next question goes on
from there. A finished run is read from its stored outputs.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import field, replace
from heapq import nsmallest
from typing import TypeVar

from simyard.domain.errors import NotFound, Refused
from simyard.domain.files import File
from simyard.domain.grammar import Grammar, Reader, Series
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.engines.protocol import Folder
from simyard.service import live, workfolder
from simyard.service.site import Site
from simyard.store import files as store

T = TypeVar("T")

LOGS_KEPT = 128  # places in logs that are remembered
TRIED = 3  # logs of a run, where the first tell nothing
_READ_BYTES = 1 << 20
_MOST_BYTES = 256 << 20  # of one log by one look, some seconds: the next one goes on
_LONGEST_LINE = 1 << 16
_CANDIDATES = 20_000


@dataclass
class _Progress:
    """How far a run's log was read."""

    token: str
    reader: Reader
    offset: int = 0
    rest: bytes = b""  # the beginning of a line whose end is not written yet
    inode: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def feed(self, data: bytes) -> None:
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()[-_LONGEST_LINE:]
        for line in lines:
            self.reader.feed(line.decode("utf-8", "replace").rstrip("\r"))


@dataclass(frozen=True)
class Reading:
    """The series of a run while they are looked at."""

    series: list[Series]
    whole_steps: int  # to which no point will come any more
    changes: int  # another number whenever there is more
    path: str  # of the log that they are from
    grammar: Grammar | None


_NOTHING = Reading([], 0, 0, "", None)


def _reading(
    progress: _Progress, path: str, grammar: Grammar, *, is_whole: bool = False
) -> Reading:
    reader = progress.reader
    steps = reader.steps if is_whole else max(0, reader.steps - 1)
    return Reading(list(reader.series.values()), steps, reader.changes, path, grammar)


def _copies(reading: Reading) -> list[Series]:
    return [
        replace(each, x=list(each.x), y=list(each.y), steps=list(each.steps))
        for each in reading.series
    ]


class SeriesBook:
    """What was read of the logs of recent runs. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: OrderedDict[tuple[int, str], _Progress] = OrderedDict()
        self._lock = threading.Lock()

    def series(self, job: Job, run: Run) -> list[Series]:
        """All series of a run so far; empty where its analyses have no grammar or it has not
        begun. Reads what is new: call it in a thread.
        """
        return self.read(job, run, _copies)

    def known(self, job: Job, run: Run) -> list[Series]:
        """The same; nothing where somebody else reads a log of it now."""
        return self.read(job, run, _copies, waits=False)

    def read(self, job: Job, run: Run, look: Callable[[Reading], T], *, waits: bool = True) -> T:
        """What `look` gives for all series of a run so far, as `series`. Nothing of them may be
        kept: they grow as soon as it returns. waits: for others who read the same log.
        """
        grammars = self._grammars(job)
        if not grammars or run.token is None:
            return look(_NOTHING)
        try:
            folder = live.folder(self._site, run)
        except Refused:
            return self._finished(run, grammars, look, waits=waits)
        there = ((f.path, f.size) for f in workfolder.walk(folder.work, workfolder.Bound()))

        def read(path: str, progress: _Progress, grammar: Grammar) -> None:
            self._read_live(folder, path, progress, grammar)

        return self._first_that_tells(run, _best(there, grammars), read, look, waits=waits)

    def _first_that_tells(
        self,
        run: Run,
        logs: list[tuple[str, Grammar]],
        read: Callable[[str, _Progress, Grammar], None],
        look: Callable[[Reading], T],
        *,
        waits: bool,
        is_stored: bool = False,
    ) -> T:
        """What `look` gives for the first of these logs that has series. Where it may not wait and
        somebody else reads one, nothing: the next one may tell something else.
        """
        for path, grammar in logs:
            progress = self._progress(run, f"stored:{path}" if is_stored else path, grammar)
            if not progress.lock.acquire(blocking=waits):
                break
            try:
                read(path, progress, grammar)
                if progress.reader.series:
                    return look(_reading(progress, path, grammar, is_whole=is_stored))
            finally:
                progress.lock.release()
        return look(_NOTHING)

    def _read_live(self, folder: Folder, path: str, progress: _Progress, grammar: Grammar) -> None:
        try:
            file = workfolder.open_file(folder.work, path)
        except NotFound:
            return
        try:
            seen = os.fstat(file)
            if seen.st_ino != progress.inode or seen.st_size < progress.offset:
                # Another file, or written from the start.
                progress.reader = Reader(grammar)
                progress.offset, progress.rest, progress.inode = 0, b"", seen.st_ino
            end = min(seen.st_size, progress.offset + _MOST_BYTES)
            while data := os.pread(file, min(_READ_BYTES, end - progress.offset), progress.offset):
                progress.offset += len(data)
                progress.feed(data)
        finally:
            os.close(file)

    def _finished(
        self, run: Run, grammars: list[Grammar], look: Callable[[Reading], T], *, waits: bool
    ) -> T:
        site = self._site
        outputs = {
            file.relative_path: file
            for file in site.db.read(
                store.page_of_run, run.job_id, run.number, offset=0, size=_CANDIDATES
            ).items
        }
        sizes = ((path, file.blob.size_bytes) for path, file in outputs.items())

        def read(path: str, progress: _Progress, _grammar: Grammar) -> None:
            if progress.offset == 0:
                self._read_stored(outputs[path], progress)

        best = _best(sizes, grammars)
        return self._first_that_tells(run, best, read, look, waits=waits, is_stored=True)

    def _read_stored(self, file: File, progress: _Progress) -> None:
        with self._site.blobs.open(file.blob) as source:
            for part in source.read_range(0, file.blob.size_bytes):
                progress.offset += len(part)
                progress.feed(bytes(part))
        progress.feed(b"\n")

    def _progress(self, run: Run, path: str, grammar: Grammar) -> _Progress:
        key = (run.id, path)
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.token != run.token:
                kept = self._kept[key] = _Progress(run.token or "", Reader(grammar))
            self._kept.move_to_end(key)
            while len(self._kept) > LOGS_KEPT:
                self._kept.popitem(last=False)
            return kept

    def can_read(self, job: Job) -> bool:
        """Whether the logs of its runs may have series."""
        return bool(self._grammars(job))

    def _grammars(self, job: Job) -> list[Grammar]:
        catalogue = self._site.book.current()
        found = [catalogue.analysis(sent.code) for sent in job.definition.analyses]
        return [a.grammar for a in found if a is not None and a.grammar is not None]


def _best(files: Iterable[tuple[str, int]], grammars: list[Grammar]) -> list[tuple[str, Grammar]]:
    """The files that may tell most, the first first: by the grammar's order of preference, then by
    size. More than one, since only reading shows whether one tells anything.
    """
    found = (
        (rank, -size, path, grammar)
        for path, size in files
        for grammar in grammars
        if (rank := grammar.source_rank(path)) is not None
    )
    return [(path, grammar) for *_, path, grammar in nsmallest(TRIED, found, key=lambda f: f[:3])]
