"""The journal: one row for every change of state, in the transaction that made it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, delete

from simyard.store.schema import events

_INSERT = events.insert()
_PRUNE = delete(events).where(events.c.at < bindparam("before"))


@dataclass(frozen=True)
class Entry:
    kind: str  # "job.state", "run.state", "job.created", "job.deleted"
    at: datetime
    job_id: int | None = None
    run_number: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)  # fit for JSON


def append(conn: Connection, entries: Sequence[Entry]) -> None:
    conn.execute(
        _INSERT,
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
    conn.execute(_PRUNE, {"before": before})
