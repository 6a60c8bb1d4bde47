"""Jobs, who sees them, and their history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select, update

from simyard.domain.catalogue import Notice
from simyard.domain.jobs import Job, JobDefinition, JobSummary
from simyard.domain.lifecycle import State
from simyard.domain.runs import StatusEntry
from simyard.domain.users import User
from simyard.store import codes, files, listing
from simyard.store.schema import AnyRow, Instant, attempts, job_views, jobs, runs, statuses, users

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
    ordinal = listing.append(conn, listing.jobs_of(owner.id))
    conn.execute(job_views.insert().values(viewer_id=owner.id, ordinal=ordinal, job_id=job_id))
    job = visible(conn, code, owner.id)
    assert job is not None
    return job


_VISIBLE = _JOBS.join(job_views, job_views.c.job_id == jobs.c.id).where(
    jobs.c.code == bindparam("code"), job_views.c.viewer_id == bindparam("viewer")
)


def visible(conn: Connection, code: str, viewer_id: int) -> Job | None:
    """The job, if this viewer may see it."""
    row = conn.execute(_VISIBLE, {"code": code, "viewer": viewer_id}).first()
    return _job(row) if row else None


_BY_ID = _JOBS.where(jobs.c.id == bindparam("job"))


def by_id(conn: Connection, job_id: int) -> Job:
    return _job(conn.execute(_BY_ID, {"job": job_id}).one())


@dataclass(frozen=True)
class Standing:
    """A job's state and the newest words of its two histories, "" where there are none."""

    job_id: int
    state: State
    status: str = ""
    cluster_status: str = ""
    submitted_at: datetime | None = None  # None: not now


_STANDINGS = select(jobs.c.id, jobs.c.state, jobs.c.status, jobs.c.cluster_status).where(
    jobs.c.id.in_(bindparam("wanted", expanding=True))
)


def standings(conn: Connection, job_ids: Sequence[int]) -> list[Standing]:
    """Where these jobs are now. At most some thousands at once."""
    return [
        Standing(row.id, State(row.state), row.status, row.cluster_status)
        for row in conn.execute(_STANDINGS, {"wanted": job_ids})
    ]


_VISIBLE_ID = (
    select(jobs.c.id)
    .join(job_views, job_views.c.job_id == jobs.c.id)
    .where(jobs.c.code == bindparam("code"), job_views.c.viewer_id == bindparam("viewer"))
)


def visible_id(conn: Connection, code: str, viewer_id: int) -> int | None:
    """Internal id of a job that this viewer may see."""
    return conn.scalar(_VISIBLE_ID, {"code": code, "viewer": viewer_id})


def page(
    conn: Connection, viewer_id: int, *, offset: int, size: int
) -> tuple[int, list[JobSummary]]:
    """What the viewer may see, newest first, with the exact count."""
    name = listing.jobs_of(viewer_id)
    place = listing.place(conn, name, offset, newest_first=True)
    if place is None:
        return listing.total(conn, name), []
    query = (
        select(
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
        .where(job_views.c.viewer_id == viewer_id, job_views.c.ordinal <= place.ordinal)
        .order_by(job_views.c.ordinal.desc())
        .offset(place.skip)
        .limit(size)
    )
    return listing.total(conn, name), [
        JobSummary(
            code=row.code,
            name=row.name,
            owner_email=row.email,
            analysis_names=_names.decode(row.analysis_names),
            created_at=row.created_at,
            status=row.status,
            cluster_status=row.cluster_status,
            storage_bytes=row.storage_bytes,
        )
        for row in conn.execute(query)
    ]


_SET_STATE = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        state=bindparam("new_state"),
        status=bindparam("new_status"),
        cluster_status=bindparam("new_cluster"),
        submitted_at=func.coalesce(bindparam("submitted", type_=Instant), jobs.c.submitted_at),
    )
)


def set_standings(conn: Connection, standings: Sequence[Standing]) -> None:
    conn.execute(
        _SET_STATE,
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


_ADD_STORAGE = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(storage_bytes=jobs.c.storage_bytes + bindparam("more"))
)


def add_storage(conn: Connection, job_id: int, size_bytes: int) -> None:
    conn.execute(_ADD_STORAGE, {"job": job_id, "more": size_bytes})


def delete_job(conn: Connection, job: Job, *, now: datetime) -> None:
    """Remove a job with its outputs and history. Its inputs stay."""
    files.delete_outputs(conn, job.id, job.owner_id, now=now)
    files.unlink_inputs(conn, job.id)
    views = conn.execute(
        select(job_views.c.viewer_id, job_views.c.ordinal).where(job_views.c.job_id == job.id)
    ).all()
    for view in views:
        listing.remove(conn, listing.jobs_of(view.viewer_id), view.ordinal // listing.CHUNK, 1)
    conn.execute(delete(job_views).where(job_views.c.job_id == job.id))
    conn.execute(delete(statuses).where(statuses.c.job_id == job.id))
    of_job = select(runs.c.id).where(runs.c.job_id == job.id)
    conn.execute(delete(attempts).where(attempts.c.run_id.in_(of_job)))
    conn.execute(delete(runs).where(runs.c.job_id == job.id))
    conn.execute(delete(jobs).where(jobs.c.id == job.id))


# --- history --------------------------------------------------------------------------------------

_ADD_STATUS = statuses.insert()


@dataclass(frozen=True)
class Word:
    """A new line of a job's history."""

    job_id: int
    track: str
    word: str
    reason: str | None
    at: datetime


def add_words(conn: Connection, words: Sequence[Word]) -> None:
    conn.execute(
        _ADD_STATUS,
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


_HISTORY = (
    select(statuses.c.word, statuses.c.reason, statuses.c.at)
    .where(statuses.c.job_id == bindparam("job"), statuses.c.track == bindparam("track"))
    .order_by(statuses.c.id.desc())
)


def history(conn: Connection, job_id: int, track: str) -> list[StatusEntry]:
    """Newest first. A dozen rows at most for a job, so pages are cut by the caller."""
    return [
        StatusEntry(word=row.word, reason=row.reason, at=row.at)
        for row in conn.execute(_HISTORY, {"job": job_id, "track": track})
    ]
