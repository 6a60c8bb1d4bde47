"""Drafts of jobs."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, select, update

from simyard.domain.drafts import Draft, DraftSummary
from simyard.domain.lists import Found
from simyard.store import codes
from simyard.store.schema import drafts

_LETTERS = 6
_OPEN = drafts.c.job.is_(None)
_BY_CODE = select(drafts).where(
    drafts.c.code == bindparam("code"), drafts.c.owner_id == bindparam("owner")
)
_HELD = select(func.count(), func.coalesce(func.sum(drafts.c.size_bytes), 0)).where(
    drafts.c.owner_id == bindparam("owner"), _OPEN
)
_PAGE = (
    select(drafts.c.code, drafts.c.name, drafts.c.version, drafts.c.updated_at)
    .where(drafts.c.owner_id == bindparam("owner"), _OPEN)
    .order_by(drafts.c.updated_at.desc(), drafts.c.id.desc())
    .offset(bindparam("offset"))
    .limit(bindparam("size"))
)


def insert(conn: Connection, *, owner_id: int, name: str, body: bytes, now: datetime) -> Draft:
    code = codes.unused(conn, drafts, _LETTERS)
    conn.execute(
        drafts.insert().values(
            code=code,
            owner_id=owner_id,
            name=name,
            version=1,
            updated_at=now,
            size_bytes=len(body),
            body=body,
        )
    )
    made = by_code(conn, code, owner_id)
    assert made is not None
    return made


def by_code(conn: Connection, code: str, owner_id: int) -> Draft | None:
    """The draft, if it is this user's."""
    row = conn.execute(_BY_CODE, {"code": code, "owner": owner_id}).first()
    if row is None:
        return None
    return Draft(
        id=row.id,
        code=row.code,
        name=row.name,
        version=row.version,
        updated_at=row.updated_at,
        body=row.body,
        job=row.job,
    )


def held(conn: Connection, owner_id: int) -> tuple[int, int]:
    """How many drafts a user has, and their bytes. Without those that were submitted."""
    count, size = conn.execute(_HELD, {"owner": owner_id}).one()
    return count, size


def page(conn: Connection, owner_id: int, *, offset: int, size: int) -> Found[DraftSummary]:
    """A user's drafts, the last changed first: never more than `domain.drafts.MOST`."""
    count, _ = held(conn, owner_id)
    rows = conn.execute(_PAGE, {"owner": owner_id, "offset": offset, "size": size})
    return Found(
        count,
        [
            DraftSummary(
                code=row.code, name=row.name, version=row.version, updated_at=row.updated_at
            )
            for row in rows
        ],
    )


def change(conn: Connection, draft: Draft, *, name: str, body: bytes, now: datetime) -> None:
    conn.execute(
        update(drafts)
        .where(drafts.c.id == draft.id)
        .values(
            name=name, version=draft.version + 1, updated_at=now, size_bytes=len(body), body=body
        )
    )


def use(conn: Connection, draft: Draft, job: str, *, now: datetime) -> None:
    """Say which job came of it."""
    conn.execute(update(drafts).where(drafts.c.id == draft.id).values(job=job, updated_at=now))


def remove(conn: Connection, draft: Draft) -> None:
    conn.execute(delete(drafts).where(drafts.c.id == draft.id))


def prune(conn: Connection, *, before: datetime) -> None:
    """Forget those that were submitted before this."""
    conn.execute(delete(drafts).where(drafts.c.job.is_not(None), drafts.c.updated_at < before))
