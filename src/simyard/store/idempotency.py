"""What an Idempotency-Key has brought about, recorded with the effect itself."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select

from simyard.domain.records import dataclass
from simyard.store.schema import idempotency

_BY_KEY = select(idempotency.c.fingerprint, idempotency.c.noun, idempotency.c.code).where(
    idempotency.c.user_id == bindparam("user"), idempotency.c.key == bindparam("key")
)
_PRUNE = delete(idempotency).where(idempotency.c.created_at < bindparam("before"))


@dataclass(frozen=True)
class Done:
    fingerprint: bytes  # of the request that was carried out
    noun: str  # "job", "file"
    code: str  # of what it created


def find(conn: Connection, user_id: int, key: str) -> Done | None:
    row = conn.execute(_BY_KEY, {"user": user_id, "key": key}).first()
    return Done(row.fingerprint, row.noun, row.code) if row else None


def record(conn: Connection, user_id: int, key: str, done: Done, *, now: datetime) -> None:
    conn.execute(
        idempotency.insert().values(
            user_id=user_id,
            key=key,
            fingerprint=done.fingerprint,
            noun=done.noun,
            code=done.code,
            created_at=now,
        )
    )


def prune(conn: Connection, *, before: datetime) -> None:
    conn.execute(_PRUNE, {"before": before})
