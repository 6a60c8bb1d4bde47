"""Whether a run converges and how long it still takes: its residuals before
`domain/convergence.py`, with what its log and its inputs tell beside them.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from sqlalchemy import Connection

from simyard.domain import convergence
from simyard.domain.convergence import RECENT, Convergence, Course, Curve, way_done
from simyard.domain.errors import NotFound, Refused
from simyard.domain.grammar import Grammar, Kind, Series, number
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.service import edits, live
from simyard.service.logs import Log, keep, open_log
from simyard.service.series import Reading, SeriesBook
from simyard.service.site import Site
from simyard.service.verdicts import program_of, rule_book
from simyard.store import jobs, runs

_KEPT = 256
_HEAD_BYTES = 1 << 18  # of a log, in which targets stand
_END_BYTES = 1 << 14  # in which it stands that it has converged
_AGAIN_SECONDS = 30.0  # between two looks at an input that may be edited
_MARGIN = 0.1  # of the time that a step takes
_NEW_SECONDS = 120.0  # what was found out longer ago is not shown as what is so now


@dataclass(frozen=True)
class Executing:
    """A run that executes."""

    job: Job
    run: Run
    viewers: frozenset[int]  # internal ids of those who see the job


def executing(
    conn: Connection, viewer_ids: Sequence[int], known: Mapping[str, Job], *, most: int
) -> list[Executing]:
    """The newest runs of no study that execute and that any of these see.

    known: jobs that need not be read again, by token of a run.
    """
    found = runs.executing(conn, viewer_ids, most=most)
    viewers = jobs.viewers_of(conn, sorted({run.job_id for run in found}))
    return [
        Executing(
            known.get(run.token or "") or jobs.by_id(conn, run.job_id),
            run,
            frozenset(viewers.get(run.job_id, ())),
        )
        for run in found
    ]


@dataclass
class _Known:
    """What was found out about a run beside its residuals."""

    targets: Mapping[str, float] = field(default_factory=dict)
    targets_at: int = -1  # bytes of the log that were looked at for them
    last_x: float | None = None
    looked_at: float = float("-inf")
    last_x_path: str | None = None
    newest: Convergence | None = None  # while it executed
    found_at: float = float("-inf")


@dataclass(frozen=True)
class _Picked:
    """What is needed of a run's series."""

    curves: Sequence[Curve]
    others: Sequence[Curve]  # that blow up where a run does
    clock: tuple[int, float] | None  # steps, and seconds that they took by the log
    steps: int
    reached: tuple[float, float] | None  # the first x and the last
    path: str
    grammar: Grammar | None
    has_courant: bool
    changes: int


class ConvergenceBook:
    """What was found out about recent runs. Thread-safe."""

    def __init__(self, site: Site, series: SeriesBook) -> None:
        self._site, self._series = site, series
        self._kept: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def of_run(self, job: Job, run: Run) -> Convergence:
        """What can be told of a run now. Reads what is new: call it in a thread."""
        return self.look(job, run)[0]

    def look(self, job: Job, run: Run) -> tuple[Convergence, int]:
        """As `of_run`, and `Reading.changes`."""
        picked = self._series.read(job, run, _pick)
        return self._judge(job, run, picked), picked.changes

    def newest(self, run: Run) -> Convergence | None:
        """What somebody who watched has found out of a run that executes, not long ago. Reads
        nothing.
        """
        with self._lock:
            known = self._kept.get(_key(run))
        if known is None or time.monotonic() - known.found_at > _NEW_SECONDS:
            return None
        return known.newest

    def _judge(self, job: Job, run: Run, picked: _Picked) -> Convergence:
        if picked.grammar is None:
            return convergence.judge([], Course())
        known = keep(self._kept, self._lock, _key(run), _Known, _KEPT)
        said = self._read_log(job, run, picked, picked.grammar, known)
        is_over = run.completed_at is not None
        if not is_over:
            self._look_for_end(run, picked.grammar, known)
        course = Course(
            step=picked.grammar.x_label,
            targets=known.targets,
            said=said,
            last_x=known.last_x,
            seconds_a_step=None if is_over else self._pace(run, picked),
            is_over=is_over,
            is_in_time=picked.has_courant or picked.grammar.x_counts_on,
        )
        found = convergence.judge(picked.curves, course, picked.others)
        if is_over:
            return found
        if picked.reached is not None and known.last_x is not None:
            found = replace(found, progress=way_done(*picked.reached, known.last_x))
        known.newest, known.found_at = found, time.monotonic()
        return found

    def _read_log(
        self, job: Job, run: Run, picked: _Picked, grammar: Grammar, known: _Known
    ) -> str:
        """The line in which a run says that it has converged. Keeps its targets, too."""
        try:
            with open_log(self._site, run, picked.path) as log:
                head = min(log.size, _HEAD_BYTES)
                if grammar.target_pattern and known.targets_at < head:
                    text = log.source.read(0, head).decode("utf-8", "replace")
                    found = re.finditer(grammar.target_pattern, text)
                    each = ((match["label"], number(match["y"])) for match in found)
                    known.targets = {label: y for label, y in each if y is not None}
                    known.targets_at = head
                return self._said(job, log)
        except NotFound:
            return ""

    def _said(self, job: Job, log: Log) -> str:
        catalogue = self._site.book.current()
        book = rule_book(catalogue)
        asked = [catalogue.analysis(sent.code) for sent in job.definition.analyses]
        codes = {program_of(analysis) for analysis in asked if analysis is not None}
        marks = [m for c in codes & book.programs.keys() for m in book.programs[c].rules.marks]
        patterns = [mark.pattern for mark in marks if mark.kind is Kind.CONVERGED and mark.pattern]
        if not patterns:
            return ""
        at = max(0, log.size - _END_BYTES)
        lines = log.source.read(at, _END_BYTES).decode("utf-8", "replace").splitlines()
        told = (line for line in reversed(lines) if any(re.search(p, line) for p in patterns))
        return next(told, "").strip()

    def _look_for_end(self, run: Run, grammar: Grammar, known: _Known) -> None:
        """The last x, as an input in the run's folder has it now."""
        now = time.monotonic()
        if not grammar.last_x_file or now - known.looked_at < _AGAIN_SECONDS:
            return
        known.looked_at = now
        try:
            folder = live.folder(self._site, run)
        except Refused:
            return
        if known.last_x_path is None:
            found = edits.find(folder, grammar.last_x_file)
            # Of several cases nobody knows which one computes.
            known.last_x_path = found[0] if len(found) == 1 else ""
        text = edits.read(folder, known.last_x_path) if known.last_x_path else None
        match = re.search(grammar.last_x_pattern, text) if text is not None else None
        known.last_x = number(match["x"]) if match else None

    def _pace(self, run: Run, picked: _Picked) -> tuple[float, float] | None:
        """Seconds that a step takes: of late by the log's clock, and over the whole run."""
        paces = []
        if picked.clock is not None:
            steps, seconds = picked.clock
            paces.append(seconds / steps)
        if run.started_at is not None and picked.steps:
            passed = (self._site.clock() - run.started_at).total_seconds()
            paces.append(max(0.0, passed) / picked.steps)
        if not paces:
            return None
        return min(paces) * (1 - _MARGIN), max(paces) * (1 + _MARGIN)


def _key(run: Run) -> str:
    return f"{run.id}:{run.token}"


def _pick(reading: Reading) -> _Picked:
    logs = [each for each in reading.series if each.log_scale]
    drawn = [each.x for each in reading.series if each.x]
    return _Picked(
        curves=[_curve(each) for each in logs if each.group == "residuals"],
        others=[_curve(each) for each in logs if each.group != "residuals"],
        clock=next(filter(None, map(_clock, reading.series)), None),
        steps=max((len(each.y) for each in reading.series), default=0),
        reached=(min(x[0] for x in drawn), max(x[-1] for x in drawn)) if drawn else None,
        path=reading.path,
        grammar=reading.grammar,
        has_courant=any(each.group == "Courant" for each in reading.series),
        changes=reading.changes,
    )


def _curve(series: Series) -> Curve:
    label = series.label if series.group == "residuals" else f"{series.group} {series.label}"
    return Curve(series.key, label, series.x[-RECENT:], series.y[-RECENT:])


def _clock(series: Series) -> tuple[int, float] | None:
    if series.group != "clock" or series.unit != "s":
        return None
    last = series.y[-RECENT:]
    passed = last[-1] - last[0] if len(last) > 1 else 0.0
    return (len(last) - 1, passed) if passed > 0 else None
