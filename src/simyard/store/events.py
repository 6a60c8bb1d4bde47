"""The journal: one row for every change of state, in the transaction that made it."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select

from simyard.domain.records import dataclass
from simyard.store.prepared import Prepared
from simyard.store.schema import events, jobs

_INSERT = Prepared(events.insert())
_NEWEST = select(func.max(events.c.id))
# Times follow the ids but for moments, so an index of them would only cost. The newest stays
# whatever its age, so that no id is ever given a second time.
_FIRST_KEPT = (
    select(events.c.id).where(events.c.at >= bindparam("before")).order_by(events.c.id).limit(1)
)
_PRUNE = delete(events).where(
    events.c.id < func.coalesce(_FIRST_KEPT.scalar_subquery(), _NEWEST.scalar_subquery())
)


@dataclass(frozen=True)
class Entry:
    kind: str  # "job.state", "run.state", "run.files", "job.created", "job.deleted", ...
    at: datetime
    job_id: int | None = None
    run_number: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)  # fit for JSON


def append(conn: Connection, entries: Sequence[Entry]) -> None:
    _INSERT.run_many(
        conn,
        [
            {
                "at": entry.at,
                "kind": entry.kind,
                "job_id": entry.job_id,
                "run_number": entry.run_number,
                "data": msgspec.json.encode(entry.data).decode(),
            }
            for entry in entries
        ],
    )


def prune(conn: Connection, *, before: datetime) -> None:
    """Remove the oldest entries, up to the first that is not older than this."""
    conn.execute(_PRUNE, {"before": before})


# --- reading it again -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """An entry as it was written, and which job has its number now."""

    id: int
    at: datetime
    kind: str
    job_id: int | None
    run_number: int | None
    data: dict[str, Any]
    job_code: str | None  # None where there is no such job any more
    job_name: str | None


def newest(conn: Connection) -> int:
    """Id of the newest entry, 0 where there never was one."""
    return conn.scalar(_NEWEST) or 0


_FIRST = (
    select(events.c.id, events.c.at)
    .where(events.c.id > bindparam("after"))
    .order_by(events.c.id)
    .limit(1)
)


def first_after(conn: Connection, after: int) -> tuple[int, datetime] | None:
    """Id and time of the first entry that is still there behind an id."""
    row = conn.execute(_FIRST, {"after": after}).first()
    return (row.id, row.at) if row else None


_BETWEEN = (
    select(
        events.c.id,
        events.c.at,
        events.c.kind,
        events.c.job_id,
        events.c.run_number,
        events.c.data,
        jobs.c.code,
        jobs.c.name,
    )
    .outerjoin(jobs, jobs.c.id == events.c.job_id)
    .where(events.c.id > bindparam("after"), events.c.id <= bindparam("upto"))
    .order_by(events.c.id)
    .limit(bindparam("most"))
)
_object = msgspec.json.Decoder(dict[str, Any])


def between(conn: Connection, after: int, upto: int, *, most: int) -> list[Written]:
    """Entries behind one id up to another, in the order in which they were written."""
    rows = conn.execute(_BETWEEN, {"after": after, "upto": upto, "most": most})
    return [
        Written(
            id=row.id,
            at=row.at,
            kind=row.kind,
            job_id=row.job_id,
            run_number=row.run_number,
            data=_object.decode(row.data),
            job_code=row.code,
            job_name=row.name,
        )
        for row in rows
    ]


_CREATIONS = (
    select(events.c.job_id, func.max(events.c.id).label("id"))
    .where(events.c.id > bindparam("after"), events.c.kind == "job.created")
    .group_by(events.c.job_id)
)


def creations(conn: Connection, after: int) -> dict[int, int]:
    """Jobs that were created behind an id, and the id of the entry that says so. The number of a
    deleted job may be another's by now: what was written before that was about the one before.
    """
    return {row.job_id: row.id for row in conn.execute(_CREATIONS, {"after": after})}
