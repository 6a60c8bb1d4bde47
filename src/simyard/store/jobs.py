"""Jobs, who sees them, and their history."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)

from simyard.domain.catalogue import Notice
from simyard.domain.jobs import Job, JobDefinition, JobFilter, JobSummary, Phase
from simyard.domain.lifecycle import FINAL, State
from simyard.domain.lists import Found
from simyard.domain.records import dataclass
from simyard.domain.runs import StatusEntry
from simyard.domain.users import User
from simyard.store import codes, files, listing
from simyard.store.prepared import Prepared, any_of
from simyard.store.schema import (
    AnyRow,
    Instant,
    attempts,
    is_active,
    job_custom_fields,
    job_tags,
    job_views,
    jobs,
    runs,
    snapshots,
    statuses,
    studies,
    users,
)

_encode = msgspec.json.encode
_definition = msgspec.json.Decoder(JobDefinition)
_notices = msgspec.json.Decoder(tuple[Notice, ...])
_names = msgspec.json.Decoder(tuple[str, ...])

_JOBS = select(
    jobs.c.id,
    jobs.c.code,
    jobs.c.owner_id,
    users.c.email,
    jobs.c.definition,
    jobs.c.state,
    jobs.c.created_at,
    jobs.c.submitted_at,
    jobs.c.storage_bytes,
    jobs.c.notices,
).join(users, users.c.id == jobs.c.owner_id)


def _job(row: AnyRow) -> Job:
    return Job(
        id=row.id,
        code=row.code,
        owner_id=row.owner_id,
        owner_email=row.email,
        definition=_definition.decode(row.definition),
        state=State(row.state),
        created_at=row.created_at,
        submitted_at=row.submitted_at,
        storage_bytes=row.storage_bytes,
        notices=_notices.decode(row.notices),
    )


def size_of(definition: JobDefinition) -> int:
    """Bytes that a definition takes in the database."""
    return len(_encode(definition))


def insert(
    conn: Connection,
    *,
    owner: User,
    definition: JobDefinition,
    analysis_names: tuple[str, ...],
    notices: tuple[Notice, ...],
    storage_bytes: int,
    now: datetime,
) -> Job:
    """A draft, visible to its owner."""
    code = codes.unused(conn, jobs, codes.JOB_LETTERS)
    result = conn.execute(
        jobs.insert().values(
            code=code,
            owner_id=owner.id,
            name=definition.name,
            definition=_encode(definition),
            analysis_names=_encode(analysis_names).decode(),
            notices=_encode(notices).decode(),
            state=State.DRAFT.value,
            status="",
            cluster_status="",
            storage_bytes=storage_bytes,
            created_at=now,
        )
    )
    (job_id,) = result.inserted_primary_key or (0,)
    _let_see(conn, job_id, owner.id, completed=False)
    job = visible(conn, code, owner.id)
    assert job is not None
    return job


def redefine(
    conn: Connection,
    job_id: int,
    *,
    definition: JobDefinition,
    analysis_names: tuple[str, ...],
    notices: tuple[Notice, ...],
    storage_bytes: int,
) -> None:
    """Put another definition in the place of a draft's."""
    conn.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            name=definition.name,
            definition=_encode(definition),
            analysis_names=_encode(analysis_names).decode(),
            notices=_encode(notices).decode(),
            storage_bytes=storage_bytes,
        )
    )


def set_definition(conn: Connection, job_id: int, definition: JobDefinition) -> None:
    """For changes that leave everything else of a job as it is."""
    conn.execute(update(jobs).where(jobs.c.id == job_id).values(definition=_encode(definition)))


# --- who sees it ----------------------------------------------------------------------------------

_NEW_VIEW = Prepared(job_views.insert())
_VIEWS = select(job_views.c.viewer_id, job_views.c.ordinal, job_views.c.completed).where(
    job_views.c.job_id == bindparam("job")
)
_VIEWERS = (
    select(job_views.c.job_id, users.c.email)
    .join(users, users.c.id == job_views.c.viewer_id)
    .join(jobs, jobs.c.id == job_views.c.job_id)
    .where(job_views.c.viewer_id != jobs.c.owner_id)
    .order_by(users.c.email)
)
_VIEWERS_OF_ONE = Prepared(_VIEWERS.where(job_views.c.job_id == bindparam("job")))
_VIEWERS_OF_MANY = Prepared(_VIEWERS.where(any_of(job_views.c.job_id, "wanted")))


def _let_see(conn: Connection, job_id: int, viewer_id: int, *, completed: bool) -> None:
    ordinal = listing.append(conn, listing.jobs_of(viewer_id))
    if completed:
        listing.put(conn, listing.completed_jobs_of(viewer_id), ordinal)
    row = {"viewer_id": viewer_id, "ordinal": ordinal, "job_id": job_id, "completed": completed}
    _NEW_VIEW.run(conn, **row)


def share(conn: Connection, job: Job, viewer_id: int) -> bool:
    """Let somebody see a job. Returns False where he did already."""
    if visible_id(conn, job.code, viewer_id) is not None:
        return False
    _let_see(conn, job.id, viewer_id, completed=job.state in FINAL)
    return True


def unshare(conn: Connection, job: Job, viewer_id: int) -> bool:
    """Take a job out of somebody's sight. Returns False where he did not see it."""
    for view in conn.execute(_VIEWS, {"job": job.id}).all():
        if view.viewer_id == viewer_id:
            _close_view(conn, view)
            conn.execute(
                delete(job_views).where(
                    job_views.c.job_id == job.id, job_views.c.viewer_id == viewer_id
                )
            )
            return True
    return False


def _close_view(conn: Connection, view: AnyRow) -> None:
    listing.remove(conn, listing.jobs_of(view.viewer_id), view.ordinal)
    if view.completed:
        listing.remove(conn, listing.completed_jobs_of(view.viewer_id), view.ordinal)


def _viewers_of_one(conn: Connection, job_id: int) -> tuple[str, ...]:
    """The addresses of those who see a job and do not own it."""
    return tuple(row.email for row in _VIEWERS_OF_ONE.rows(conn, job=job_id))


def _shared_with(conn: Connection, job_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The same of many jobs."""
    found: dict[int, list[str]] = {}
    for row in _VIEWERS_OF_MANY.rows(conn, wanted=job_ids):
        found.setdefault(row.job_id, []).append(row.email)
    return {job_id: tuple(emails) for job_id, emails in found.items()}


def viewers(conn: Connection, job_id: int) -> list[int]:
    """Internal ids of everybody who sees a job."""
    return [row.viewer_id for row in conn.execute(_VIEWS, {"job": job_id})]


_EVERY_VIEW = Prepared(
    select(job_views.c.job_id, job_views.c.viewer_id).where(any_of(job_views.c.job_id, "wanted"))
)


def viewers_of(conn: Connection, job_ids: Sequence[int]) -> dict[int, list[int]]:
    """Internal ids of everybody who sees these jobs, by job. At most some thousands at once."""
    found: dict[int, list[int]] = {}
    for row in _EVERY_VIEW.rows(conn, wanted=job_ids):
        found.setdefault(row.job_id, []).append(row.viewer_id)
    return found


_COMPLETE = Prepared(
    update(job_views).where(any_of(job_views.c.job_id, "wanted")).values(completed=True)
)
_OPEN_VIEWS = Prepared(
    select(job_views.c.viewer_id, job_views.c.ordinal).where(
        any_of(job_views.c.job_id, "wanted"),
        job_views.c.completed.is_(False),
    )
)


def complete_views(conn: Connection, job_ids: Sequence[int]) -> None:
    """Put jobs among the completed ones of everybody who sees them. Idempotent."""
    for view in _OPEN_VIEWS.rows(conn, wanted=job_ids):
        listing.put(conn, listing.completed_jobs_of(view.viewer_id), view.ordinal)
    _COMPLETE.run(conn, wanted=job_ids)


_REOPEN = Prepared(
    update(job_views).where(any_of(job_views.c.job_id, "wanted")).values(completed=False)
)
_DONE_VIEWS = Prepared(
    select(job_views.c.viewer_id, job_views.c.ordinal).where(
        any_of(job_views.c.job_id, "wanted"),
        job_views.c.completed.is_(True),
    )
)


def reopen_views(conn: Connection, job_ids: Sequence[int]) -> None:
    """Take jobs from among the completed ones of everybody who sees them. Idempotent."""
    for view in _DONE_VIEWS.rows(conn, wanted=job_ids):
        listing.remove(conn, listing.completed_jobs_of(view.viewer_id), view.ordinal)
    _REOPEN.run(conn, wanted=job_ids)


_SEEN = _JOBS.join(job_views, job_views.c.job_id == jobs.c.id).where(
    jobs.c.code == bindparam("code"), job_views.c.viewer_id == bindparam("viewer")
)
_VISIBLE = Prepared(_SEEN)


def visible(conn: Connection, code: str, viewer_id: int) -> Job | None:
    """The job, if this viewer may see it."""
    row = _VISIBLE.first(conn, code=code, viewer=viewer_id)
    return _job(row) if row else None


_others = job_views.alias()
_LABELLED = Prepared(
    _SEEN.add_columns(
        exists().where(job_tags.c.job_id == jobs.c.id).label("is_tagged"),
        exists()
        .where(_others.c.job_id == jobs.c.id, _others.c.viewer_id != jobs.c.owner_id)
        .label("is_shared"),
    )
)


@dataclass(frozen=True)
class Labelled:
    """A job with what is attached to it."""

    job: Job
    tags: tuple[str, ...]
    shared_with: tuple[str, ...]  # emails


def labelled(conn: Connection, code: str, viewer_id: int) -> Labelled | None:
    """The job with its labels, if this viewer may see it."""
    row = _LABELLED.first(conn, code=code, viewer=viewer_id)
    if row is None:
        return None
    return Labelled(
        job=_job(row),
        tags=tags(conn, row.id) if row.is_tagged else (),
        shared_with=_viewers_of_one(conn, row.id) if row.is_shared else (),
    )


_BY_ID = Prepared(_JOBS.where(jobs.c.id == bindparam("job")))


def by_id(conn: Connection, job_id: int) -> Job:
    return _job(_BY_ID.rows(conn, job=job_id)[0])


_BY_IDS = Prepared(_JOBS.where(any_of(jobs.c.id, "wanted")))


def by_ids(conn: Connection, job_ids: Collection[int]) -> dict[int, Job]:
    """Those of these jobs that there are. At most some thousands at once."""
    return {row.id: _job(row) for row in _BY_IDS.rows(conn, wanted=list(job_ids))}


@dataclass(frozen=True)
class Standing:
    """A job's state and the newest words of its two histories, "" where there are none."""

    job_id: int
    state: State
    status: str = ""
    cluster_status: str = ""
    submitted_at: datetime | None = None  # None: not now


_STANDINGS = Prepared(
    select(jobs.c.id, jobs.c.state, jobs.c.status, jobs.c.cluster_status).where(
        any_of(jobs.c.id, "wanted")
    )
)


def standings(conn: Connection, job_ids: Sequence[int]) -> list[Standing]:
    """Where these jobs are now. At most some thousands at once."""
    return [
        Standing(row.id, State(row.state), row.status, row.cluster_status)
        for row in _STANDINGS.rows(conn, wanted=job_ids)
    ]


_VISIBLE_ID = Prepared(
    select(jobs.c.id)
    .join(job_views, job_views.c.job_id == jobs.c.id)
    .where(jobs.c.code == bindparam("code"), job_views.c.viewer_id == bindparam("viewer"))
)


def visible_id(conn: Connection, code: str, viewer_id: int) -> int | None:
    """Internal id of a job that this viewer may see."""
    row = _VISIBLE_ID.first(conn, code=code, viewer=viewer_id)
    return row.id if row else None


_LAST_OF_OWNER = (
    _JOBS.join(job_views, job_views.c.job_id == jobs.c.id)
    .where(
        job_views.c.viewer_id == bindparam("owner"),
        jobs.c.owner_id == bindparam("owner"),
        job_views.c.completed.is_(True),
    )
    .order_by(job_views.c.ordinal.desc())
    .limit(bindparam("most"))
)


def last_of_owner(conn: Connection, owner_id: int, *, most: int) -> Iterator[Job]:
    """The newest of somebody's own jobs that came to their end, one by one."""
    rows = conn.execute(_LAST_OF_OWNER, {"owner": owner_id, "most": most})
    return (_job(row) for row in rows)


def id_of(conn: Connection, code: str) -> int | None:
    """Internal id of a job, whoever sees it."""
    return conn.scalar(select(jobs.c.id).where(jobs.c.code == code))


SEARCH_MOST = 10_000
_SUMMARY = (
    select(
        jobs.c.id,
        jobs.c.code,
        jobs.c.name,
        users.c.email,
        jobs.c.analysis_names,
        jobs.c.created_at,
        jobs.c.status,
        jobs.c.cluster_status,
        jobs.c.storage_bytes,
    )
    .select_from(job_views)
    .join(jobs, jobs.c.id == job_views.c.job_id)
    .join(users, users.c.id == jobs.c.owner_id)
    .order_by(job_views.c.ordinal.desc())
)


def page(
    conn: Connection, viewer_id: int, wanted: JobFilter, *, offset: int, size: int
) -> Found[JobSummary]:
    """What the viewer may see of what is wanted, newest first. The count is exact, but for
    searches that find more than SEARCH_MOST.
    """
    phase, status = wanted.phase, wanted.status
    if status == "Completed":
        phase, status = (None, "no") if phase is Phase.NOT_COMPLETED else (Phase.COMPLETED, None)
    mine = job_views.c.viewer_id == viewer_id
    if wanted.active or status:
        # Through the few active jobs, not through all that the viewer sees: a sum is not looked
        # up in an index.
        active = select(jobs.c.id).where(is_active(jobs.c.status))
        if status:
            active = active.where(jobs.c.status == status)
        mine = (job_views.c.viewer_id + 0 == viewer_id) & job_views.c.job_id.in_(active)
    if phase is not None:
        mine &= job_views.c.completed.is_(phase is Phase.COMPLETED)
    if status is not None or wanted.text or wanted.active:
        return _search(conn, mine, status, wanted.text, offset=offset, size=size)
    every, done = listing.jobs_of(viewer_id), listing.completed_jobs_of(viewer_id)
    match phase:
        case None:
            count = listing.total(conn, every)
            place = listing.place(conn, every, offset, newest_first=True)
        case Phase.COMPLETED:
            count = listing.total(conn, done)
            place = listing.place(conn, done, offset, newest_first=True)
        case Phase.NOT_COMPLETED:
            count = listing.total(conn, every) - listing.total(conn, done)
            place = listing.place(conn, every, offset, newest_first=True, without=done)
    if place is None:
        return Found(count, [])
    query = (
        _SUMMARY.where(mine, job_views.c.ordinal <= place.ordinal).offset(place.skip).limit(size)
    )
    return Found(count, _summaries(conn, query))


def _search(
    conn: Connection,
    mine: ColumnElement[bool],
    status: str | None,
    text: str,
    *,
    offset: int,
    size: int,
) -> Found[JobSummary]:
    query = _SUMMARY.where(mine)
    if status == "":
        query = query.where(jobs.c.status == "")
    if text:
        query = query.where(jobs.c.name.icontains(text[: files.SEARCH_LENGTH], autoescape=True))
    matches = query.with_only_columns(jobs.c.id).order_by(None).limit(SEARCH_MOST + 1)
    count = conn.scalar(select(func.count()).select_from(matches.subquery())) or 0
    shown = min(count, SEARCH_MOST)
    found = _summaries(conn, query.offset(offset).limit(size)) if offset < shown else []
    return Found(shown, found, is_capped=count > SEARCH_MOST)


def _summaries(conn: Connection, query: Select[Any]) -> list[JobSummary]:
    rows = conn.execute(query).all()
    shared = _shared_with(conn, [row.id for row in rows]) if rows else {}
    return [
        JobSummary(
            code=row.code,
            name=row.name,
            owner_email=row.email,
            analysis_names=_names.decode(row.analysis_names),
            created_at=row.created_at,
            status=row.status,
            cluster_status=row.cluster_status,
            storage_bytes=row.storage_bytes,
            shared_with=shared.get(row.id, ()),
        )
        for row in rows
    ]


_SET_STATE = Prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        state=bindparam("new_state"),
        status=bindparam("new_status"),
        cluster_status=bindparam("new_cluster"),
        submitted_at=func.coalesce(bindparam("submitted", type_=Instant), jobs.c.submitted_at),
    )
)


_AMEND = Prepared(
    update(statuses)
    .where(
        statuses.c.id
        == select(func.max(statuses.c.id))
        .where(statuses.c.job_id == bindparam("job"), statuses.c.track == bindparam("track_"))
        .scalar_subquery()
    )
    .values(reason=bindparam("why"))
)


def amend_word(conn: Connection, job_id: int, track: str, why: str) -> None:
    """Give the newest word of a history another reason."""
    _AMEND.run(conn, job=job_id, track_=track, why=why)


def set_standings(conn: Connection, standings: Sequence[Standing]) -> None:
    _SET_STATE.run_many(
        conn,
        [
            {
                "job": standing.job_id,
                "new_state": standing.state.value,
                "new_status": standing.status,
                "new_cluster": standing.cluster_status,
                "submitted": standing.submitted_at,
            }
            for standing in standings
        ],
    )


def set_notices(conn: Connection, job_id: int, notices: tuple[Notice, ...]) -> None:
    conn.execute(update(jobs).where(jobs.c.id == job_id).values(notices=_encode(notices).decode()))


def drop_notice(conn: Connection, job: Job, code: str) -> None:
    """Take down the notices of this code that a job had when it was read. Those that came since
    stay.
    """
    if any(notice.code == code for notice in job.notices):
        now = by_id(conn, job.id).notices
        set_notices(conn, job.id, tuple(notice for notice in now if notice.code != code))


_ADD_STORAGE = Prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(storage_bytes=jobs.c.storage_bytes + bindparam("more"))
)


def add_storage(conn: Connection, job_id: int, size_bytes: int) -> None:
    _ADD_STORAGE.run(conn, job=job_id, more=size_bytes)


def delete_job(conn: Connection, job: Job, *, now: datetime) -> None:
    """Remove a job with its outputs and history. Its inputs stay."""
    files.delete_outputs(conn, job.id, job.owner_id, now=now)
    files.unlink_inputs(conn, job.id)
    for view in conn.execute(_VIEWS, {"job": job.id}).all():
        _close_view(conn, view)
    for table in (job_views, job_tags, job_custom_fields):
        conn.execute(delete(table).where(table.c.job_id == job.id))
    conn.execute(delete(statuses).where(statuses.c.job_id == job.id))
    of_job = select(runs.c.id).where(runs.c.job_id == job.id)
    conn.execute(delete(snapshots).where(snapshots.c.run_id.in_(of_job)))
    conn.execute(delete(attempts).where(attempts.c.run_id.in_(of_job)))
    conn.execute(delete(studies).where(studies.c.job_id == job.id))
    conn.execute(delete(runs).where(runs.c.job_id == job.id))
    conn.execute(delete(jobs).where(jobs.c.id == job.id))


# --- tags and custom fields -----------------------------------------------------------------------

_TAGS = Prepared(
    select(job_tags.c.name)
    .where(job_tags.c.job_id == bindparam("job"))
    .order_by(job_tags.c.normalized)
)


def tags(conn: Connection, job_id: int) -> tuple[str, ...]:
    return tuple(row.name for row in _TAGS.rows(conn, job=job_id))


def set_tags(conn: Connection, job_id: int, names: Mapping[str, str]) -> None:
    """Put these tags (normalized name -> name) in the place of all that it has."""
    conn.execute(delete(job_tags).where(job_tags.c.job_id == job_id))
    rows = [{"job_id": job_id, "normalized": k, "name": v} for k, v in names.items()]
    if rows:
        conn.execute(job_tags.insert(), rows)


def custom_fields(conn: Connection, job_id: int) -> dict[str, Any]:
    query = (
        select(job_custom_fields.c.name, job_custom_fields.c.value)
        .where(job_custom_fields.c.job_id == job_id)
        .order_by(job_custom_fields.c.name)
    )
    return {row.name: msgspec.json.decode(row.value) for row in conn.execute(query)}


def set_custom_fields(conn: Connection, job_id: int, values: Mapping[str, Any]) -> None:
    """Set these; None takes a field away; others stay."""
    column = job_custom_fields.c
    conn.execute(
        delete(job_custom_fields).where(column.job_id == job_id, column.name.in_(list(values)))
    )
    rows = [
        {"job_id": job_id, "name": name, "value": _encode(value).decode()}
        for name, value in values.items()
        if value is not None
    ]
    if rows:
        conn.execute(job_custom_fields.insert(), rows)


# --- history --------------------------------------------------------------------------------------

_ADD_STATUS = Prepared(statuses.insert())


@dataclass(frozen=True)
class Word:
    """A new line of a job's history."""

    job_id: int
    track: str
    word: str
    reason: str | None
    at: datetime


def add_words(conn: Connection, words: Sequence[Word]) -> None:
    _ADD_STATUS.run_many(
        conn,
        [
            {
                "job_id": word.job_id,
                "track": word.track,
                "word": word.word,
                "reason": word.reason,
                "at": word.at,
            }
            for word in words
        ],
    )


_ENTRY = (statuses.c.id, statuses.c.word, statuses.c.reason, statuses.c.at)
_HISTORY = Prepared(
    select(*_ENTRY)
    .where(statuses.c.job_id == bindparam("job"), statuses.c.track == bindparam("track"))
    .order_by(statuses.c.id.desc())
)
_VISIBLE_HISTORY = Prepared(
    select(*_ENTRY)  # nulls, where there is no entry yet
    .select_from(jobs)
    .join(job_views, job_views.c.job_id == jobs.c.id)
    .outerjoin(
        statuses, (statuses.c.job_id == jobs.c.id) & (statuses.c.track == bindparam("track"))
    )
    .where(jobs.c.code == bindparam("code"), job_views.c.viewer_id == bindparam("viewer"))
    .order_by(statuses.c.id.desc())
)


def history(conn: Connection, job_id: int, track: str) -> list[StatusEntry]:
    """Newest first. A dozen rows at most for a job, so pages are cut by the caller."""
    return [_entry(row) for row in _HISTORY.rows(conn, job=job_id, track=track)]


def visible_history(
    conn: Connection, code: str, viewer_id: int, track: str
) -> list[StatusEntry] | None:
    """The same of a job that this viewer may see, or None."""
    rows = _VISIBLE_HISTORY.rows(conn, code=code, viewer=viewer_id, track=track)
    return [_entry(row) for row in rows if row.id is not None] if rows else None


def _entry(row: Any) -> StatusEntry:
    return StatusEntry(id=row.id, word=row.word, reason=row.reason, at=row.at)
