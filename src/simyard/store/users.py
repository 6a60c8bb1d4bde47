"""Users, their API keys and sessions, invitations and projects."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, or_, select, update

from simyard.domain.users import ApiKey, Invitation, Project, Role, Session, User
from simyard.store import codes
from simyard.store.prepared import Prepared
from simyard.store.schema import (
    AnyRow,
    api_keys,
    invitations,
    login_links,
    projects,
    sessions,
    users,
)

_USER = (users.c.id, users.c.code, users.c.email, users.c.full_name, users.c.role, users.c.left_at)


def _user(row: AnyRow) -> User:
    return User(
        id=row.id,
        code=row.code,
        email=row.email,
        full_name=row.full_name,
        role=Role(row.role),
        is_active=row.left_at is None,
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


def by_code(conn: Connection, code: str) -> User | None:
    row = conn.execute(select(*_USER).where(users.c.code == code)).first()
    return _user(row) if row else None


_BY_ID = select(*_USER).where(users.c.id == bindparam("user"))


def by_id(conn: Connection, user_id: int) -> User:
    return _user(conn.execute(_BY_ID, {"user": user_id}).one())


def every(conn: Connection) -> list[User]:
    """All that ever were members, by address. Some hundreds at most."""
    return [_user(row) for row in conn.execute(select(*_USER).order_by(users.c.email))]


def exist(conn: Connection) -> bool:
    return conn.execute(select(func.min(users.c.id))).scalar() is not None


def change(
    conn: Connection, user: User, *, full_name: str, role: Role, left_at: datetime | None
) -> None:
    values = {"full_name": full_name, "role": role.value, "left_at": left_at}
    conn.execute(update(users).where(users.c.id == user.id).values(**values))


# --- keys -----------------------------------------------------------------------------------------


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


_KEYS = select(
    *_USER,
    api_keys.c.id.label("key_id"),
    api_keys.c.digest,
    api_keys.c.label,
    api_keys.c.created_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
).join(users, users.c.id == api_keys.c.user_id)
_KEY = Prepared(_KEYS.where(api_keys.c.digest == bindparam("digest")))


def _key(row: AnyRow) -> ApiKey:
    return ApiKey(
        id=row.key_id,
        digest=row.digest,
        user=_user(row),
        label=row.label,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def key_by_digest(conn: Connection, digest: bytes) -> ApiKey | None:
    row = _KEY.first(conn, digest=digest)
    return _key(row) if row else None


def keys_of(conn: Connection, user_id: int) -> list[ApiKey]:
    """Newest first, those that are over among them."""
    query = _KEYS.where(api_keys.c.user_id == user_id).order_by(api_keys.c.id.desc())
    return [_key(row) for row in conn.execute(query)]


def revoke_key(conn: Connection, key_id: int, *, now: datetime) -> None:
    still = api_keys.c.revoked_at.is_(None)
    conn.execute(update(api_keys).where(api_keys.c.id == key_id, still).values(revoked_at=now))


# --- sessions -------------------------------------------------------------------------------------

_SESSION = Prepared(
    select(
        *_USER,
        sessions.c.expires_at,
        api_keys.c.expires_at.label("key_expires_at"),
        api_keys.c.revoked_at.label("key_revoked_at"),
    )
    .join(users, users.c.id == sessions.c.user_id)
    .outerjoin(api_keys, api_keys.c.id == sessions.c.api_key_id)
    .where(sessions.c.digest == bindparam("digest"))
)


def session_by_digest(conn: Connection, digest: bytes) -> Session | None:
    """None where it was ended, or the key that it was made from was revoked."""
    row = _SESSION.first(conn, digest=digest)
    if row is None or row.key_revoked_at is not None:
        return None
    until = row.expires_at
    if row.key_expires_at is not None:
        until = min(until, row.key_expires_at)
    return Session(user=_user(row), expires_at=until)


def insert_session(
    conn: Connection,
    user: User,
    *,
    digest: bytes,
    key_id: int | None,
    now: datetime,
    expires_at: datetime,
) -> None:
    values = {"digest": digest, "user_id": user.id, "api_key_id": key_id}
    conn.execute(sessions.insert().values(**values, created_at=now, expires_at=expires_at))


def end_session(conn: Connection, digest: bytes) -> None:
    conn.execute(delete(sessions).where(sessions.c.digest == digest))


def end_sessions(conn: Connection, user: User, *, until: datetime | None = None) -> None:
    """A user's sessions and the links that would open one; `until`: those that are over by then."""
    for table in (sessions, login_links):
        query = delete(table).where(table.c.user_id == user.id)
        conn.execute(query if until is None else query.where(table.c.expires_at <= until))


def insert_login_link(
    conn: Connection, user: User, *, digest: bytes, now: datetime, expires_at: datetime
) -> None:
    values = {"digest": digest, "user_id": user.id, "created_at": now, "expires_at": expires_at}
    conn.execute(login_links.insert().values(**values))


def take_login_link(conn: Connection, digest: bytes, *, now: datetime) -> User | None:
    """Whose link this is; None where it is too old, or was taken before."""
    query = select(login_links.c.user_id, login_links.c.expires_at)
    row = conn.execute(query.where(login_links.c.digest == digest)).first()
    conn.execute(delete(login_links).where(login_links.c.digest == digest))
    return by_id(conn, row.user_id) if row is not None and row.expires_at > now else None


# --- invitations ----------------------------------------------------------------------------------

_INVITATIONS = select(
    invitations.c.id,
    invitations.c.code,
    invitations.c.email,
    invitations.c.role,
    users.c.email.label("invited_by"),
    invitations.c.created_at,
    invitations.c.expires_at,
).join(users, users.c.id == invitations.c.invited_by)


def _invitation(row: AnyRow) -> Invitation:
    return Invitation(
        id=row.id,
        code=row.code,
        email=row.email,
        role=Role(row.role),
        invited_by=row.invited_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def insert_invitation(
    conn: Connection,
    *,
    code: str,
    email: str,
    role: Role,
    digest: bytes,
    invited_by: User,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Open an invitation; an older one to the same address is closed."""
    conn.execute(
        update(invitations)
        .where(invitations.c.email == email, invitations.c.closed_at.is_(None))
        .values(closed_at=now)
    )
    conn.execute(
        invitations.insert().values(
            code=code,
            email=email,
            role=role.value,
            digest=digest,
            invited_by=invited_by.id,
            created_at=now,
            expires_at=expires_at,
        )
    )


def new_invitation_code(conn: Connection) -> str:
    return codes.unused(conn, invitations, 8)


def open_invitations(conn: Connection, *, now: datetime) -> list[Invitation]:
    query = (
        _INVITATIONS.where(invitations.c.closed_at.is_(None), invitations.c.expires_at > now)
        .order_by(invitations.c.id.desc())
        .limit(10_000)
    )
    return [_invitation(row) for row in conn.execute(query)]


def invitation_by(
    conn: Connection, *, code: str = "", digest: bytes = b"", now: datetime | None = None
) -> Invitation | None:
    """By its code or by the digest of what opens it; with `now` only while it is open."""
    query = _INVITATIONS.where(or_(invitations.c.code == code, invitations.c.digest == digest))
    if now is not None:
        query = query.where(invitations.c.closed_at.is_(None), invitations.c.expires_at > now)
    row = conn.execute(query).first()
    return _invitation(row) if row else None


def close_invitation(conn: Connection, invitation_id: int, *, now: datetime) -> None:
    conn.execute(update(invitations).where(invitations.c.id == invitation_id).values(closed_at=now))


def close_invitations(conn: Connection, user: User, *, now: datetime) -> None:
    """Those that somebody has made, and those to his address."""
    his = or_(invitations.c.invited_by == user.id, invitations.c.email == user.email)
    still = invitations.c.closed_at.is_(None)
    conn.execute(update(invitations).where(his, still).values(closed_at=now))


# --- projects -------------------------------------------------------------------------------------


def _project(row: AnyRow) -> Project:
    return Project(
        id=row.id,
        code=row.code,
        name=row.name,
        external_id=row.external_id,
        created_at=row.created_at,
        is_open=row.closed_at is None,
        core_hours_per_month=_hours(row.monthly_core_microseconds),
    )


_HOUR_MICROSECONDS = 3_600_000_000


def _hours(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / _HOUR_MICROSECONDS


def _microseconds(hours: float | None) -> int | None:
    return None if hours is None else round(hours * _HOUR_MICROSECONDS)


def insert_project(
    conn: Connection,
    *,
    name: str,
    external_id: str,
    core_hours_per_month: float | None,
    now: datetime,
) -> Project:
    code = codes.unused(conn, projects, 6)
    conn.execute(
        projects.insert().values(
            code=code,
            name=name,
            external_id=external_id,
            monthly_core_microseconds=_microseconds(core_hours_per_month),
            created_at=now,
        )
    )
    return _project(conn.execute(select(projects).where(projects.c.code == code)).one())


def all_projects(conn: Connection) -> list[Project]:
    """By name. Some thousands at most."""
    return [_project(row) for row in conn.execute(select(projects).order_by(projects.c.name))]


def project_named(conn: Connection, text: str) -> Project | None:
    """A project by its id, by the organisation's own id, or by its name, in this order."""
    query = select(projects).where(
        or_(projects.c.code == text, projects.c.external_id == text, projects.c.name == text)
    )
    found = [_project(row) for row in conn.execute(query)] if text else []
    order = sorted(found, key=lambda p: (p.code != text, p.external_id != text, p.id))
    return order[0] if order else None


def change_project(
    conn: Connection,
    project: Project,
    *,
    name: str,
    external_id: str,
    core_hours_per_month: float | None,
    closed_at: datetime | None,
) -> None:
    values = {
        "name": name,
        "external_id": external_id,
        "monthly_core_microseconds": _microseconds(core_hours_per_month),
        "closed_at": closed_at,
    }
    conn.execute(update(projects).where(projects.c.id == project.id).values(**values))
