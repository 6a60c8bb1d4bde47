"""The journal: one row for every change of state, in the transaction that made it."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, delete

from simyard.store.schema import events

_INSERT = events.insert()
_PRUNE = delete(events).where(events.c.at < bindparam("before"))


def append(
    conn: Connection,
    kind: str,
    *,
    at: datetime,
    job_id: int | None = None,
    run_number: int | None = None,
    **data: object,
) -> None:
    conn.execute(
        _INSERT,
        {
            "at": at,
            "kind": kind,
            "job_id": job_id,
            "run_number": run_number,
            "data": msgspec.json.encode(data).decode(),
        },
    )


def prune(conn: Connection, *, before: datetime) -> None:
    conn.execute(_PRUNE, {"before": before})
