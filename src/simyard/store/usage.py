"""What was used, and what it costs. Rows are written once and never change."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from simyard.domain.records import dataclass
from simyard.store import counters
from simyard.store.prepared import Prepared
from simyard.store.schema import blobs, usage

_INSERT = Prepared(usage.insert())


@dataclass(frozen=True, kw_only=True)
class Used:
    """One attempt that ran."""

    ended_at: datetime
    user_id: int
    project: str  # code, "" for none
    job: str  # code
    run_number: int
    core_type: str
    core_microseconds: int
    charge_micros: int


def record(conn: Connection, rows: Sequence[Used]) -> None:
    _INSERT.run_many(conn, [vars(row) for row in rows])
    for row in rows:
        holders = [counters.user(row.user_id)]
        if row.project:
            holders.append(counters.project(row.project))
        for holder in holders:
            counters.add(conn, counters.used(holder, row.ended_at), row.core_microseconds)


@dataclass(frozen=True, kw_only=True)
class Total:
    """What was used in a span of time."""

    users: int  # who had something running
    jobs: int
    core_microseconds: int
    charge_micros: int


def total(conn: Connection, *, start: datetime, end: datetime) -> Total:
    """Over attempts that ended from `start` on and before `end`."""
    row = conn.execute(
        select(
            func.count(usage.c.user_id.distinct()),
            func.count(usage.c.job.distinct()),
            func.coalesce(func.sum(usage.c.core_microseconds), 0),
            func.coalesce(func.sum(usage.c.charge_micros), 0),
        ).where(usage.c.ended_at >= start, usage.c.ended_at < end)
    ).one()
    users, jobs, core_microseconds, charge = row
    return Total(
        users=users, jobs=jobs, core_microseconds=int(core_microseconds), charge_micros=int(charge)
    )


def stored_bytes(conn: Connection) -> int:
    """Content that the installation keeps now, each blob counted once."""
    return int(conn.scalar(select(func.coalesce(func.sum(blobs.c.size_bytes), 0))) or 0)
