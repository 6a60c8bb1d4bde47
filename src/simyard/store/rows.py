"""The jobs list as the console asks for it: narrowed in any way, in either order, and flat.

Statuses alone are found by the sums and indexes of the list (store/listing.py). Whatever else it is
narrowed to is looked for among SCAN_MOST entries at a time: a page may end before it is full, and
says where the search goes on.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    false,
    func,
    or_,
    select,
)

from simyard.domain.jobs import JobDefinition
from simyard.domain.lifecycle import JOB_HISTORY
from simyard.domain.records import dataclass
from simyard.domain.rows import COMPLETED, Owner, Position, RowFilter
from simyard.domain.runs import StatusEntry
from simyard.store import files, listing
from simyard.store.prepared import Prepared, any_of
from simyard.store.schema import (
    AnyRow,
    is_active,
    job_tags,
    job_views,
    jobs,
    projects,
    runs,
    statuses,
    users,
)

SCAN_MOST = 5000  # entries that one search looks at
FEW = 2000  # active jobs that are looked through one by one

_UNFINISHED = frozenset(JOB_HISTORY) - {COMPLETED}
_LOOKED_THROUGH = 50  # entries in which one of the viewer's own is looked for
_ACTIVE = _UNFINISHED - {""}
_definition = msgspec.json.Decoder(JobDefinition)
_list = msgspec.json.Decoder(list[Any])


@dataclass(frozen=True)
class Entry:
    ordinal: int
    job_id: int


@dataclass(frozen=True, kw_only=True)
class Page:
    entries: list[Entry]
    after: int | None  # where the next page goes on
    before: int | None
    count: int | None
    is_exact: bool = True
    is_partial: bool = False
    at: int | None = None


@dataclass(frozen=True)
class _Narrowed:
    """A filter as the list has it."""

    viewer_id: int
    completed: bool | None  # None: both
    words: frozenset[str]  # statuses that must be asked for beside that; none: any
    others: tuple[ColumnElement[bool], ...]
    floor: int = 0  # no entry with a lower number matches

    @property
    def is_listed(self) -> bool:
        """Whether sums say all of it."""
        return not self.words and not self.others

    @property
    def is_active(self) -> bool:
        """Whether only jobs on their way are asked for."""
        return bool(self.words) and "" not in self.words and COMPLETED not in self.words

    @property
    def sums(self) -> tuple[str, str]:
        """The list that it is a part of, and the part of that which is left out."""
        every, done = listing.jobs_of(self.viewer_id), listing.completed_jobs_of(self.viewer_id)
        if self.completed is None:
            return every, ""
        return (done, "") if self.completed else (every, done)

    def entries(self) -> Select[Any]:
        """Numbers of entries, with what only the list itself can tell of them."""
        query = select(job_views.c.ordinal).where(job_views.c.viewer_id == self.viewer_id)
        if self.floor:
            query = query.where(job_views.c.ordinal >= self.floor)
        if self.completed is None:
            return query
        return query.where(job_views.c.completed.is_(self.completed))

    def matching(self) -> Select[Any]:
        query = self.entries().add_columns(job_views.c.job_id)
        if self.is_listed:
            return query
        query = query.join(jobs, jobs.c.id == job_views.c.job_id).where(*self.others)
        return query.where(jobs.c.status.in_(sorted(self.words))) if self.words else query


def _narrowed(
    conn: Connection, viewer_id: int, wanted: RowFilter, owner_id: int | None
) -> _Narrowed:
    words: frozenset[str] = wanted.statuses
    completed = None
    if words == {COMPLETED}:
        completed, words = True, frozenset()
    elif words and COMPLETED not in words:
        completed, words = False, words if words != _UNFINISHED else frozenset()
    elif words == _UNFINISHED | {COMPLETED}:
        words = frozenset()
    others = tuple(_conditions(viewer_id, wanted, owner_id))
    floor = _floor(conn, viewer_id, wanted.since) if wanted.since is not None else 0
    return _Narrowed(viewer_id, completed, words, others, floor)


_OWN = Prepared(
    select(job_views.c.ordinal, jobs.c.owner_id, jobs.c.created_at)
    .join(jobs, jobs.c.id == job_views.c.job_id)
    .where(job_views.c.viewer_id == bindparam("viewer"), job_views.c.ordinal >= bindparam("least"))
    .order_by(job_views.c.ordinal)
    .limit(_LOOKED_THROUGH)
)


def _floor(conn: Connection, viewer_id: int, since: datetime) -> int:
    """A number below which all jobs are older. A viewer's own jobs come into his list when they are
    created, and what was shared with him before one of them is older than it.
    """
    low, high = 0, listing.next_ordinal(conn, listing.jobs_of(viewer_id))
    while low < high:
        middle = (low + high) // 2
        rows = _OWN.rows(conn, viewer=viewer_id, least=middle)
        own = next((row for row in rows if row.owner_id == viewer_id), None)
        if own is not None and own.created_at < since:
            low = own.ordinal + 1
        else:
            high = middle
    return low


first_runs = runs.alias()


def _conditions(
    viewer_id: int, wanted: RowFilter, owner_id: int | None
) -> Iterable[ColumnElement[bool]]:
    if wanted.verdicts:
        yield exists().where(
            first_runs.c.job_id == jobs.c.id,
            first_runs.c.number == 1,
            first_runs.c.inputs.is_(None),  # a study's runs have outcomes, not the study
            first_runs.c.completed_at.is_not(None),
            func.json_extract(first_runs.c.outcome, "$.verdict").in_(sorted(wanted.verdicts)),
        )
    if wanted.is_study is not None:
        has_points = exists().where(
            first_runs.c.job_id == jobs.c.id,
            first_runs.c.number == 1,
            first_runs.c.inputs.is_not(None),
        )
        yield has_points if wanted.is_study else ~has_points
    if wanted.text:
        yield jobs.c.name.icontains(wanted.text[: files.SEARCH_LENGTH], autoescape=True)
    if wanted.tags:
        yield exists().where(
            job_tags.c.job_id == jobs.c.id, job_tags.c.normalized.in_(sorted(wanted.tags))
        )
    if wanted.analyses:
        named = (msgspec.json.encode(name).decode() for name in sorted(wanted.analyses))
        yield or_(*(jobs.c.analysis_names.contains(name, autoescape=True) for name in named))
    if wanted.owner is Owner.ME:
        yield jobs.c.owner_id == viewer_id
    if wanted.owner is Owner.SHARED:
        yield jobs.c.owner_id != viewer_id
    if wanted.owner_email:
        yield jobs.c.owner_id == owner_id if owner_id is not None else false()
    if wanted.since is not None:
        yield jobs.c.created_at >= wanted.since


# --- pages ----------------------------------------------------------------------------------------


def can_jump(conn: Connection, viewer_id: int, wanted: RowFilter) -> bool:
    """Whether places in the list can be counted."""
    narrowed = _narrowed(conn, viewer_id, wanted, None)
    return narrowed.is_listed or (narrowed.is_active and active_are_few(conn))


def page(
    conn: Connection,
    viewer_id: int,
    wanted: RowFilter,
    position: Position,
    *,
    owner_id: int | None,
    newest_first: bool,
    size: int,
) -> Page:
    """What the viewer may see of what is wanted. owner_id: whose address the filter has, None
    where it is nobody's. The order is that in which jobs came into his list.
    """
    narrowed = _narrowed(conn, viewer_id, wanted, owner_id)
    if narrowed.is_active and active_are_few(conn):
        return _of_few(conn, narrowed, position, newest_first=newest_first, size=size)
    forwards = position.before is None
    down = newest_first is forwards  # reading numbers downwards
    start = position.after if forwards else position.before
    is_first = start is None
    count, bound, skip = _total(conn, narrowed), None, 0
    if narrowed.is_listed and position.at:
        name, without = narrowed.sums
        place = listing.place(conn, name, position.at, newest_first=newest_first, without=without)
        if place is None:
            return Page(entries=[], after=None, before=None, count=count, at=position.at)
        start, skip = place.ordinal + (1 if newest_first else -1), place.skip
    elif count is None:
        bound = _bound(conn, narrowed, start, down=down)
    query = _between(narrowed.matching(), start, bound, down=down)
    found = [
        Entry(ordinal, job_id)
        for ordinal, job_id in conn.execute(query.offset(skip).limit(size + 1))
    ]
    shown, more = found[:size], len(found) > size
    is_exact = True
    if count is None and is_first:
        matching = query.order_by(None).with_only_columns(func.count())
        count = (conn.scalar(matching) or 0) if more else len(found)
        is_exact = bound is None
    goes_on = shown[-1].ordinal if more else bound  # the same way
    at = None
    if forwards:
        if is_first:
            at = position.at or 0
        after = goes_on
        before = _edge(shown[:1], start, down=not down) if at != 0 else None
    else:
        shown.reverse()
        before = goes_on
        after = _edge(shown[-1:], start, down=not down)
    return Page(
        entries=shown,
        after=after,
        before=before,
        count=count,
        is_exact=is_exact,
        is_partial=not more and bound is not None,
        at=at,
    )


def _total(conn: Connection, narrowed: _Narrowed) -> int | None:
    """How many match, where that is known beforehand."""
    if narrowed.others or not (narrowed.is_listed or narrowed.words == {""}):
        return None
    name, without = narrowed.sums
    count = listing.total(conn, name) - (listing.total(conn, without) if without else 0)
    if narrowed.is_listed:
        return count
    if not active_are_few(conn):
        return None
    return max(0, count - len(_active(conn, narrowed.viewer_id, _ACTIVE)))


def _edge(shown: Sequence[Entry], start: int | None, *, down: bool) -> int | None:
    """Where whoever turns round goes on: behind what was shown, or else with where it began."""
    if shown:
        return shown[0].ordinal
    return None if start is None else start + (1 if down else -1)


def _between(
    query: Select[Any], start: int | None, bound: int | None, *, down: bool
) -> Select[Any]:
    """From `start` on (itself not), to `bound` (itself too)."""
    ordinal = job_views.c.ordinal
    if start is not None:
        query = query.where(ordinal < start if down else ordinal > start)
    if bound is not None:
        query = query.where(ordinal >= bound if down else ordinal <= bound)
    return query.order_by(ordinal.desc() if down else ordinal)


def _bound(conn: Connection, narrowed: _Narrowed, start: int | None, *, down: bool) -> int | None:
    """The last entry that a search looks at; None where the list ends before."""
    query = _between(narrowed.entries(), start, None, down=down)
    found: int | None = conn.scalar(query.offset(SCAN_MOST - 1).limit(1))
    return found


def active_are_few(conn: Connection) -> bool:
    query = select(jobs.c.id).where(is_active(jobs.c.status)).offset(FEW).limit(1)
    return conn.scalar(query) is None


def _of_few(
    conn: Connection, narrowed: _Narrowed, position: Position, *, newest_first: bool, size: int
) -> Page:
    """Through the active jobs, not through all that the viewer sees: sums are not looked up in an
    index.
    """
    found = _active(conn, narrowed.viewer_id, narrowed.words, narrowed.others)
    found.sort(key=lambda entry: entry.ordinal, reverse=newest_first)
    sign = -1 if newest_first else 1
    first = position.at or 0
    if position.after is not None:
        first = sum(entry.ordinal * sign <= position.after * sign for entry in found)
    end = min(first + size, len(found))
    if position.before is not None:
        end = sum(entry.ordinal * sign < position.before * sign for entry in found)
        first = max(end - size, 0)
    shown = found[first:end]
    return Page(
        entries=shown,
        after=shown[-1].ordinal if shown and end < len(found) else None,
        before=shown[0].ordinal if shown and first else None,
        count=len(found),
        at=first,
    )


def _active(
    conn: Connection,
    viewer_id: int,
    words: frozenset[str],
    others: Sequence[ColumnElement[bool]] = (),
) -> list[Entry]:
    query = (
        select(job_views.c.ordinal, jobs.c.id)
        .select_from(jobs)
        .join(job_views, job_views.c.job_id == jobs.c.id)
        .where(
            is_active(jobs.c.status),
            jobs.c.status.in_(sorted(words)),
            job_views.c.viewer_id + 0 == viewer_id,
            *others,
        )
    )
    return [Entry(ordinal, job_id) for ordinal, job_id in conn.execute(query)]


_BY_CODES = Prepared(
    select(job_views.c.ordinal, job_views.c.job_id, jobs.c.code)
    .select_from(jobs)
    .join(job_views, job_views.c.job_id == jobs.c.id)
    # A sum is not looked up in an index: through the jobs that are named, not all that he sees.
    .where(any_of(jobs.c.code, "codes"), job_views.c.viewer_id + 0 == bindparam("viewer"))
)


def by_codes(conn: Connection, viewer_id: int, codes: Sequence[str]) -> dict[str, Entry]:
    """Those of these jobs that the viewer may see, in the order in which they are named."""
    rows = _BY_CODES.rows(conn, codes=codes, viewer=viewer_id)
    found = {row.code: Entry(row.ordinal, row.job_id) for row in rows}
    return {code: found[code] for code in codes if code in found}


def codes_of(conn: Connection, entries: Sequence[Entry]) -> list[str]:
    """The ids of jobs on the wire, in this order; without those that are gone meanwhile."""
    query = select(jobs.c.id, jobs.c.code).where(any_of(jobs.c.id, "wanted"))
    found = dict(conn.execute(query, {"wanted": [e.job_id for e in entries]}).all())
    return [found[entry.job_id] for entry in entries if entry.job_id in found]


# --- what a row shows -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a job's own row says, and what is attached to it."""

    id: int
    code: str
    name: str
    definition: JobDefinition
    status: str
    cluster_status: str
    notices: int
    owner_id: int
    owner_email: str
    owner_name: str
    created_at: datetime
    submitted_at: datetime | None
    tags: tuple[str, ...]
    project: str | None
    history: list[StatusEntry]  # oldest first


_SHOWN = (
    select(
        jobs.c.id,
        jobs.c.code,
        jobs.c.name,
        jobs.c.definition,
        jobs.c.status,
        jobs.c.cluster_status,
        jobs.c.notices,
        jobs.c.owner_id,
        users.c.email,
        users.c.full_name,
        jobs.c.created_at,
        jobs.c.submitted_at,
    )
    .join(users, users.c.id == jobs.c.owner_id)
    .where(any_of(jobs.c.id, "wanted"))
)
_TAGS = Prepared(
    select(job_tags.c.job_id, job_tags.c.name)
    .where(any_of(job_tags.c.job_id, "wanted"))
    .order_by(job_tags.c.job_id, job_tags.c.normalized)
)
_HISTORY = Prepared(
    select(statuses.c.job_id, statuses.c.id, statuses.c.word, statuses.c.reason, statuses.c.at)
    .where(any_of(statuses.c.job_id, "wanted"), statuses.c.track == bindparam("track"))
    .order_by(statuses.c.job_id, statuses.c.id)
)
_PROJECTS = Prepared(
    select(projects.c.code, projects.c.name).where(any_of(projects.c.code, "codes"))
)


def shown(conn: Connection, job_ids: Sequence[int], track: str) -> list[Shown]:
    """What is shown of these jobs, in this order. track: of the history."""
    tags: dict[int, list[str]] = {}
    for row in _TAGS.rows(conn, wanted=job_ids):
        tags.setdefault(row.job_id, []).append(row.name)
    history: dict[int, list[StatusEntry]] = {}
    for row in _HISTORY.rows(conn, wanted=job_ids, track=track):
        entry = StatusEntry(id=row.id, word=row.word, reason=row.reason, at=row.at)
        history.setdefault(row.job_id, []).append(entry)
    rows: dict[int, tuple[AnyRow, JobDefinition]] = {}
    for job in conn.execute(_SHOWN, {"wanted": job_ids}):  # one by one: definitions may be large
        rows[job.id] = job, _definition.decode(job.definition)
    codes = {definition.project_id for _, definition in rows.values()} - {None}
    names = {row.code: row.name for row in _PROJECTS.rows(conn, codes=sorted(filter(None, codes)))}
    return [
        Shown(
            id=job.id,
            code=job.code,
            name=job.name,
            definition=definition,
            status=job.status,
            cluster_status=job.cluster_status,
            notices=len(_list.decode(job.notices)),
            owner_id=job.owner_id,
            owner_email=job.email,
            owner_name=job.full_name,
            created_at=job.created_at,
            submitted_at=job.submitted_at,
            tags=tuple(tags.get(job.id, ())),
            project=names.get(definition.project_id or ""),
            history=history.get(job.id, []),
        )
        for job, definition in (rows[job_id] for job_id in job_ids if job_id in rows)
    ]
