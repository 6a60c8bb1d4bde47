"""Users and their API keys."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select

from simyard.domain.users import ApiKey, Role, User
from simyard.store import codes
from simyard.store.schema import AnyRow, api_keys, users

_USER = (users.c.id, users.c.code, users.c.email, users.c.full_name, users.c.role)


def _user(row: AnyRow) -> User:
    return User(
        id=row.id, code=row.code, email=row.email, full_name=row.full_name, role=Role(row.role)
    )


def insert(conn: Connection, *, email: str, full_name: str, role: Role, now: datetime) -> User:
    code = codes.unused(conn, users, 5)
    values = {"code": code, "email": email, "full_name": full_name, "role": role.value}
    result = conn.execute(users.insert().values(**values, created_at=now))
    (user_id,) = result.inserted_primary_key or (0,)
    return User(id=user_id, code=code, email=email, full_name=full_name, role=role)


def by_email(conn: Connection, email: str) -> User | None:
    row = conn.execute(select(*_USER).where(users.c.email == email)).first()
    return _user(row) if row else None


def exist(conn: Connection) -> bool:
    return conn.execute(select(func.min(users.c.id))).scalar() is not None


def insert_key(
    conn: Connection,
    user: User,
    *,
    digest: bytes,
    label: str,
    now: datetime,
    expires_at: datetime | None,
) -> None:
    conn.execute(
        api_keys.insert().values(
            user_id=user.id, digest=digest, label=label, created_at=now, expires_at=expires_at
        )
    )


_KEY = (
    select(*_USER, api_keys.c.expires_at, api_keys.c.revoked_at)
    .join(users, users.c.id == api_keys.c.user_id)
    .where(api_keys.c.digest == bindparam("digest"))
)


def key_by_digest(conn: Connection, digest: bytes) -> ApiKey | None:
    row = conn.execute(_KEY, {"digest": digest}).first()
    if row is None:
        return None
    return ApiKey(user=_user(row), expires_at=row.expires_at, revoked_at=row.revoked_at)
