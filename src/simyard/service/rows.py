"""The jobs list of the console: rows, counts, and the small charts in them."""

import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from threading import Lock
from typing import Generic, TypeVar

from sqlalchemy import Connection

from simyard.domain import jobs as rules
from simyard.domain.errors import Invalid
from simyard.domain.grammar import Series, buckets
from simyard.domain.jobs import Job, JobDefinition
from simyard.domain.lifecycle import FINAL, JOB_WORDS, State
from simyard.domain.records import dataclass
from simyard.domain.rows import (
    COMPLETED,
    OUTCOMES,
    STATUSES,
    Facets,
    FacetValue,
    JobRow,
    Position,
    RowAnalysis,
    RowFilter,
    RowPage,
    StudyTally,
)
from simyard.domain.runs import Run, StatusEntry, charge_micros
from simyard.domain.users import User, email_address
from simyard.service import moves
from simyard.service.convergence import ConvergenceBook
from simyard.service.results import Status, judged
from simyard.service.series import SeriesBook
from simyard.service.site import Site
from simyard.store import facets as facet_store
from simyard.store import jobs as job_store
from simyard.store import rows as store
from simyard.store import runs, studies, users
from simyard.store.rows import Entry, Shown

PAGE_MOST = 200
_TALLIED_MOST = 2000  # runs of a study that is counted whole
_TALLIES_KEPT = 2000
_TALLIED_AT_ONCE = 10_000  # runs, for one page
_SPARKS_KEPT = 2000
_SPARK_POINTS = 40
_SPARKS_SECONDS = 0.3  # until no further log is begun
_FACETS_KEPT = 200
_TAGS_SHOWN = 100

K = TypeVar("K")
V = TypeVar("V")


class _Kept(Generic[K, V]):
    """The last few of what was found. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[K, tuple[object, V]] = OrderedDict()

    def get(self, key: K, stamp: object) -> V | None:
        with self._lock:
            known, found = self._kept.get(key, (None, None))
            return found if known == stamp else None

    def put(self, key: K, stamp: object, found: V) -> V:
        with self._lock:
            self._kept[key] = stamp, found
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found


@dataclass(frozen=True)
class _Tally:
    """What is added up over the runs of a study."""

    done: int
    failed: int
    core_microseconds: int
    charge_micros: int


@dataclass(frozen=True)
class Spark:
    """The course of a run in a few points."""

    key: str  # of the series
    is_log: bool  # the points are decimal logarithms
    points: tuple[float | None, ...]  # None: no finite number


class RowBook:
    """Rows, and what is remembered for them. Thread-safe; takes some milliseconds."""

    def __init__(self, site: Site, series: SeriesBook, convergence: ConvergenceBook) -> None:
        self._site = site
        self._series = series
        self._convergence = convergence
        self._tallies: _Kept[int, _Tally] = _Kept(_TALLIES_KEPT)
        self._sparks: _Kept[int, Spark] = _Kept(_SPARKS_KEPT)
        self._facets: _Kept[int, Facets] = _Kept(_FACETS_KEPT)

    def page(
        self,
        conn: Connection,
        viewer: User,
        wanted: RowFilter,
        position: Position,
        *,
        newest_first: bool = True,
        size: int = 100,
    ) -> RowPage:
        """A page of the viewer's list. Raises Invalid at `at` where places are not counted."""
        if position.at is not None and not store.can_jump(conn, viewer.id, wanted):
            raise Invalid.at("at", "Only a list that is narrowed by status alone can be jumped in.")
        found = store.page(
            conn,
            viewer.id,
            wanted,
            position,
            owner_id=_owner_id(conn, wanted),
            newest_first=newest_first,
            size=size,
        )
        return RowPage(
            rows=self._rows(conn, viewer, found.entries),
            after=found.after,
            before=found.before,
            count=found.count,
            is_exact=found.is_exact,
            is_partial=found.is_partial,
            at=found.at,
        )

    def by_codes(self, conn: Connection, viewer: User, codes: Sequence[str]) -> list[JobRow]:
        """Those of these jobs that the viewer may see, in this order."""
        return self._rows(conn, viewer, list(store.by_codes(conn, viewer.id, codes).values()))

    def facets(self, conn: Connection, viewer: User) -> Facets:
        """Counts to narrow the list by. The same until something is written."""
        commits = self._site.db.commits
        known = self._facets.get(viewer.id, commits)
        if known is not None:
            return known
        return self._facets.put(viewer.id, commits, _facets(conn, viewer))

    def sparks(self, conn: Connection, viewer: User, codes: Sequence[str]) -> dict[str, Spark]:
        """The courses of jobs of one run, by job. What takes longer than there is time for, and
        what has none, is missing.
        """
        found: dict[str, Spark] = {}
        entries = store.by_codes(conn, viewer.id, codes)
        first = runs.first_ones(conn, [entry.job_id for entry in entries.values()])
        end = time.monotonic() + _SPARKS_SECONDS
        for code, entry in entries.items():
            run = first.get(entry.job_id)
            if run is None or run.inputs is not None or run.token is None:
                continue
            known = self._sparks.get(run.id, run.token)
            if known is None and time.monotonic() < end:
                job = job_store.visible(conn, code, viewer.id)
                known = self._spark(job, run) if job is not None else None
            if known is not None:
                found[code] = known
        return found

    def _spark(self, job: Job, run: Run) -> Spark | None:
        spark = spark_of(self._series.known(job, run))
        if spark is not None and run.state in FINAL:
            self._sparks.put(run.id, run.token, spark)
        return spark

    # --- rows ---

    def _rows(self, conn: Connection, viewer: User, entries: Sequence[Entry]) -> list[JobRow]:
        job_ids = [entry.job_id for entry in entries]
        if not job_ids:
            return []
        first = runs.first_ones(conn, job_ids)
        left = _TALLIED_AT_ONCE
        rows = []
        for shown in store.shown(conn, job_ids, moves.JOB):
            study = shown.definition.study
            tally = None
            run = first.get(shown.id)
            if study is not None and not study.is_plain and run is not None:
                total, over = runs.count(conn, shown.id), runs.over(conn, shown.id)
                sums = self._tally(conn, shown, total, over, left)
                left -= 0 if sums is None else total
                tally = (total, over, sums)
            rows.append(self._row(viewer, shown, run, tally))
        return rows

    def _tally(
        self, conn: Connection, shown: Shown, total: int, over: int, left: int
    ) -> _Tally | None:
        """None for a study that has too many runs to be counted on the way."""
        if total > min(_TALLIED_MOST, left):
            return None
        standing = studies.of_job(conn, shown.id)
        stamp = (shown.code, standing, total, over, shown.status)
        known = self._tallies.get(shown.id, stamp)
        if known is not None:
            return known
        every = runs.every(conn, shown.id)
        ends = [judged(run)[0] for run in every]
        used = [_core_microseconds(run, None) for run in every]
        charges = [charge_micros(n, r.price_micros) for n, r in zip(used, every, strict=True)]
        tally = _Tally(
            done=ends.count(Status.DONE),
            failed=ends.count(Status.FAILED),
            core_microseconds=sum(used),
            charge_micros=sum(charges),
        )
        return self._tallies.put(shown.id, stamp, tally)

    def _row(
        self,
        viewer: User,
        shown: Shown,
        run: Run | None,
        tally: tuple[int, int, _Tally | None] | None,
    ) -> JobRow:
        definition = shown.definition
        is_study = definition.study is not None and not definition.study.is_plain
        own = None if is_study else run
        is_over = own is not None and own.completed_at is not None
        outcome = own.outcome if own is not None and is_over else None
        started, ended = _times(shown.history)
        used: int | None = 0
        charge: int | None = 0
        convergence = None
        if own is not None:
            if own.state is State.RUNNING:
                convergence = self._convergence.newest(own)
            started, ended = own.started_at, own.completed_at
            used = _core_microseconds(own, self._site.clock())
            charge = charge_micros(used, own.price_micros)
        if tally is not None:
            sums = tally[2]
            used, charge = (sums.core_microseconds, sums.charge_micros) if sums else (None, None)
        cores, core_type = _hardware(definition)
        return JobRow(
            code=shown.code,
            name=shown.name,
            status=shown.status,
            cluster_status=shown.cluster_status,
            reason=shown.history[-1].reason if shown.history else None,
            verdict=outcome.verdict if outcome else None,
            is_good=own is not None and is_over and own.has_good_result,
            cause=outcome.cause if outcome else "",
            message=outcome.message if outcome else "",
            analyses=tuple(
                RowAnalysis(code=a.code, version=a.version) for a in definition.analyses
            ),
            cores=run.cores if run else cores,
            core_type=run.core_type if run else core_type,
            slots=rules.slots(definition),
            walltime_hours=min(
                (h for a in definition.analyses if (h := a.hardware.walltime_hours) is not None),
                default=None,
            ),
            is_study=is_study,
            study=tally
            and StudyTally(
                total=tally[0],
                over=tally[1],
                done=tally[2].done if tally[2] else None,
                failed=tally[2].failed if tally[2] else None,
            ),
            convergence=convergence,
            owner_email=shown.owner_email,
            owner_name=shown.owner_name,
            is_mine=shown.owner_id == viewer.id,
            tags=shown.tags,
            project=shown.project,
            created_at=shown.created_at,
            submitted_at=shown.submitted_at,
            started_at=started,
            ended_at=ended,
            core_microseconds=used,
            charge_micros=charge,
            notices=shown.notices,
        )


def _owner_id(conn: Connection, wanted: RowFilter) -> int | None:
    found = users.by_email(conn, email_address(wanted.owner_email) or "")
    return found.id if found else None


def _hardware(definition: JobDefinition) -> tuple[int, str]:
    """Of the analysis that asks for most cores."""
    largest = max((a.hardware for a in definition.analyses), key=lambda h: h.cores_per_slot)
    return largest.cores_per_slot, largest.core_type


def _core_microseconds(run: Run, now: datetime | None) -> int:
    """What a run has used of its cores; now: also one that is not at its end."""
    end = run.completed_at or now
    if run.started_at is None or end is None:
        return 0
    return max(0, round((end - run.started_at).total_seconds() * 1e6)) * run.cores


def _times(history: Sequence[StatusEntry]) -> tuple[datetime | None, datetime | None]:
    """When a job began to execute and when it came to its end, the last time that it was sent on
    its way.
    """
    started = ended = None
    for entry in history:
        if entry.word == JOB_WORDS[State.PENDING]:
            started = ended = None
        elif entry.word == JOB_WORDS[State.RUNNING]:
            started = started or entry.at
        elif entry.word == COMPLETED:
            ended = entry.at
    return started, ended


# --- counts and charts ----------------------------------------------------------------------------


def _facets(conn: Connection, viewer: User) -> Facets:
    found = facet_store.count(conn, viewer.id)
    words = found.statuses or {}
    return Facets(
        total=found.total,
        looked_at=found.looked_at,
        statuses=[
            FacetValue(value, word or "Draft", words[word])
            for value, (word,) in ((v, w) for v, w in STATUSES.items() if len(w) == 1)
            if words.get(word)
        ],
        outcomes=[
            FacetValue(value, verdict.value, found.outcomes[verdict.value])
            for value, (verdict,) in ((v, o) for v, o in OUTCOMES.items() if len(o) == 1)
            if found.outcomes.get(verdict.value)
        ],
        analyses=_most_first(found.analyses),
        tags=_most_first(found.tags)[:_TAGS_SHOWN],
        has_statuses=found.statuses is not None,
    )


def _most_first(counts: dict[str, int]) -> list[FacetValue]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [FacetValue(name, name, count) for name, count in ordered]


def spark_of(found: Sequence[Series]) -> Spark | None:
    """The series that tells most of a run: the residual of the pressure, or another residual, or
    else the first there is.
    """
    told = [series for series in found if series.y]
    if not told:
        return None

    def rank(series: Series) -> tuple[bool, bool]:
        return not series.log_scale, series.key.rsplit("/", 1)[-1] not in ("p", "p_rgh")

    series = min(told, key=rank)
    values = (b.last for b in buckets(series, -math.inf, math.inf, _SPARK_POINTS))
    return Spark(series.key, series.log_scale, tuple(_point(y, series.log_scale) for y in values))


def _point(y: float, is_log: bool) -> float | None:
    if not math.isfinite(y) or (is_log and y <= 0):
        return None
    return round(math.log10(y), 3) if is_log else y
