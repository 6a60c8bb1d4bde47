"""Archives of live folders: asked for, then made or failed."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from simyard.domain.records import dataclass
from simyard.store import codes
from simyard.store.schema import files, snapshots


@dataclass(frozen=True)
class Snapshot:
    id: int  # internal
    code: str  # of the archive, once it is there
    run_id: int
    asked_at: datetime


def ask(conn: Connection, run_id: int, *, now: datetime) -> str:
    """Returns the code that the archive will have."""
    code = codes.unused(conn, files, codes.FILE_LETTERS)
    conn.execute(snapshots.insert().values(code=code, run_id=run_id, asked_at=now))
    return code


_OWED = (
    select(snapshots.c.id, snapshots.c.code, snapshots.c.run_id, snapshots.c.asked_at)
    .where(snapshots.c.done_at.is_(None))
    .order_by(snapshots.c.id)
    .limit(100)
)


def owed(conn: Connection) -> list[Snapshot]:
    """Those that are still to be made, oldest first."""
    return [Snapshot(*row) for row in conn.execute(_OWED)]


def owed_to(conn: Connection, run_id: int) -> str | None:
    """The code of the snapshot of this run that is still to be made."""
    query = select(snapshots.c.code).where(
        snapshots.c.run_id == run_id, snapshots.c.done_at.is_(None)
    )
    code: str | None = conn.scalar(query.limit(1))
    return code


_LAST = (
    select(snapshots.c.code)
    .where(
        snapshots.c.run_id == bindparam("run"),
        snapshots.c.done_at.is_not(None),
        snapshots.c.failure.is_(None),
    )
    .order_by(snapshots.c.id.desc())
    .limit(1)
)


def last_of(conn: Connection, run_id: int) -> str | None:
    """The newest archive of a run that was made."""
    code: str | None = conn.scalar(_LAST, {"run": run_id})
    return code


def done(conn: Connection, ids: Sequence[int], *, failure: str | None, now: datetime) -> None:
    conn.execute(
        update(snapshots)
        .where(snapshots.c.id.in_(ids), snapshots.c.done_at.is_(None))
        .values(done_at=now, failure=failure)
    )
