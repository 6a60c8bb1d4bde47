"""Sessions of browsers: opened with a key or a link, from then on known by a token in a cookie."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from simyard.blobs.keyring import Keyring
from simyard.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from simyard.domain.records import dataclass
from simyard.domain.users import Caller, Session, User, email_address
from simyard.service import users
from simyard.store import users as store
from simyard.store.database import Transaction

LIFETIME = timedelta(days=14)
LINK_LIFETIME = timedelta(minutes=15)
_BAD_KEY = "This key opens nothing here: it is misspelt, has expired or was revoked."
_BAD_LINK = (
    "This link was used before or is too old. `simyard keys link` prints a new one; a key does too."
)
_NONE = "There is no session, or it is over."


@dataclass(frozen=True)
class NewSession:
    """A session with the token that its browser is to keep."""

    token: str
    session: Session


def open_with_key(tx: Transaction, keyring: Keyring, key: str, *, before: str | None) -> NewSession:
    """A session that ends with this key at the latest. before: the token of the one that it takes
    the place of.

    Raises Invalid for a key that is not in force, and Forbidden for that of a run: what it may do
    ends with the run, and is not for people.
    """
    now = tx.now()
    if keyring.token_of(key) is not None:
        raise Forbidden("The key of a run opens no session.")
    try:
        users.authenticate(tx.conn, keyring, key, now)
    except Unauthenticated:
        raise Invalid.at("key", _BAD_KEY) from None
    found = store.key_by_digest(tx.conn, keyring.api_key_digest(key))
    assert found is not None
    return _open(tx, keyring, found.user, found.id, found.expires_at, before)


def open_with_link(
    tx: Transaction, keyring: Keyring, link: str, *, before: str | None
) -> NewSession:
    """A session of whoever the link was made for. The link is good once. Raises Invalid."""
    user = store.take_login_link(tx.conn, keyring.api_key_digest(link), now=tx.now())
    if user is None or not user.is_active:
        raise Invalid.at("link", _BAD_LINK)
    return _open(tx, keyring, user, None, None, before)


def _open(
    tx: Transaction,
    keyring: Keyring,
    user: User,
    key_id: int | None,
    key_ends_at: datetime | None,
    before: str | None,
) -> NewSession:
    now, token = tx.now(), users.new_key()
    if before is not None:
        end(tx, keyring, before)
    store.end_sessions(tx.conn, user, until=now)
    until = now + LIFETIME
    store.insert_session(
        tx.conn,
        user,
        digest=keyring.api_key_digest(token),
        key_id=key_id,
        now=now,
        expires_at=until,
    )
    return NewSession(token, Session(user=user, expires_at=min(until, key_ends_at or until)))


def end(tx: Transaction, keyring: Keyring, token: str) -> None:
    """Idempotent."""
    store.end_session(tx.conn, keyring.api_key_digest(token))


def session(conn: Connection, keyring: Keyring, token: str, now: datetime) -> Session:
    """Raises Unauthenticated."""
    found = store.session_by_digest(conn, keyring.api_key_digest(token))
    if found is None or found.expires_at <= now or not found.user.is_active:
        raise Unauthenticated(_NONE)
    return found


def authenticate(
    conn: Connection, keyring: Keyring, token: str, now: datetime
) -> tuple[Caller, datetime | None]:
    """Whose session this is, and until when. Raises Unauthenticated."""
    found = session(conn, keyring, token, now)
    return Caller(user=found.user), found.expires_at


def make_link(tx: Transaction, keyring: Keyring, email: str) -> str:
    """A token that opens one session of this member, within LINK_LIFETIME. Raises NotFound where
    there is no such member.
    """
    user = store.by_email(tx.conn, email_address(email) or "")
    if user is None or not user.is_active:
        raise NotFound(f"Nobody here has the address {email}.")
    now, token = tx.now(), users.new_key()
    store.end_sessions(tx.conn, user, until=now)
    store.insert_login_link(
        tx.conn,
        user,
        digest=keyring.api_key_digest(token),
        now=now,
        expires_at=now + LINK_LIFETIME,
    )
    return token


def address(base: str, link: str) -> str:
    """Where a browser goes with a link. What is behind the # never leaves it: no log has it."""
    return f"{base}/login#t={link}"
