"""Who a key belongs to, and the first keys."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from simyard.blobs.keyring import Keyring
from simyard.domain.errors import Invalid, KeyExpired, NotFound, Unauthenticated
from simyard.domain.lifecycle import HOLDS_CORES
from simyard.domain.users import ApiKey, Caller, Role, email_address
from simyard.store import jobs, runs
from simyard.store import users as store
from simyard.store.database import Clock, Database, Transaction

REMEMBERED_SECONDS = 1.0
_KNOWN_MOST = 10_000  # keys
_KEY_BYTES = 20  # 40 hex digits, as clients expect
NO_ADDRESS = "Enter a valid email address."
_LEFT = "User inactive or deleted."
_OVER = "API key is no longer active"  # api-v2 reference, section 1.2

# While something of a run can be alive, its key opens what its owner may see and do.
_KEY_HOLDS = HOLDS_CORES


def new_key() -> str:
    """A key that nobody has."""
    return secrets.token_hex(_KEY_BYTES)


def create_key(
    tx: Transaction,
    keyring: Keyring,
    email: str,
    key: str,
    *,
    role: Role = Role.MEMBER,
    label: str = "",
    lifetime: timedelta | None = None,
) -> str:
    """Make this (new) key one of the user of this address, who is created if he is new.

    Returns the key; it cannot be shown again. `role` counts for a new user only. Raises Invalid.
    """
    address = email_address(email)
    if address is None:
        raise Invalid.at("email", NO_ADDRESS)
    now = tx.now()
    user = store.by_email(tx.conn, address)
    if user is None:
        name = address.split("@")[0]
        user = store.insert(tx.conn, email=address, full_name=name, role=role, now=now)
    elif not user.is_active:
        raise Invalid.at("email", f"{address} is no longer a member; invite him again.")
    store.insert_key(
        tx.conn,
        user,
        digest=keyring.api_key_digest(key),
        label=label,
        now=now,
        expires_at=now + lifetime if lifetime else None,
    )
    return key


def keys_of(conn: Connection, email: str) -> list[ApiKey]:
    """All keys of a member, newest first. Raises NotFound where there is no such member."""
    user = store.by_email(conn, email_address(email) or "")
    if user is None:
        raise NotFound(f"Nobody here has the address {email}.")
    return store.keys_of(conn, user.id)


def revoke_key(tx: Transaction, email: str, code: str) -> None:
    """End a key at once, by its id. Idempotent. Raises NotFound."""
    for key in keys_of(tx.conn, email):
        if key.code == code:
            store.revoke_key(tx.conn, key.id, now=tx.now())
            return
    raise NotFound(f"{email} has no key {code}.")


def authenticate(
    conn: Connection, keyring: Keyring, key: str, now: datetime
) -> tuple[Caller, datetime | None]:
    """Who sends a key, and until when it is good. Raises Unauthenticated, or KeyExpired for one
    that was good once.
    """
    token = keyring.token_of(key)
    if token is not None:
        return _running_job(conn, token), None
    found = store.key_by_digest(conn, keyring.api_key_digest(key))
    if found is None or found.revoked_at is not None:
        raise Unauthenticated("Invalid token.")
    if not found.user.is_active:
        raise Unauthenticated(_LEFT)
    if found.expires_at is not None and found.expires_at <= now:
        raise KeyExpired(_OVER)
    return Caller(user=found.user), found.expires_at


Ask = Callable[[Connection, Keyring, str, datetime], tuple[Caller, datetime | None]]


class Callers:
    """Who sends which key, remembered for a moment: scripts ask the same every few seconds.

    What this process writes counts at once: nothing is remembered past its next commit. What
    another process writes (`simyard keys revoke`) counts after REMEMBERED_SECONDS at most.
    """

    def __init__(
        self, db: Database, keyring: Keyring, clock: Clock, ask: Ask = authenticate
    ) -> None:
        """ask: who that is, and until when, by the database."""
        self._db, self._keyring, self._clock, self._ask = db, keyring, clock, ask
        self._known: dict[str, tuple[Caller, datetime]] = {}  # until when
        self._commits = -1  # of the database when this was known

    def identify(self, key: str) -> Caller:
        """Raises as asking does. For one thread at a time."""
        now, commits = self._clock(), self._db.commits
        if self._commits != commits or len(self._known) > _KNOWN_MOST:
            self._known.clear()
            self._commits = commits
        known = self._known.get(key)
        if known is not None and now < known[1]:
            return known[0]
        caller, until = self._db.read(self._ask, self._keyring, key, now)
        soon = now + timedelta(seconds=REMEMBERED_SECONDS)
        self._known[key] = (caller, min(soon, until) if until else soon)
        return caller


def _running_job(conn: Connection, token: str) -> Caller:
    """Raises KeyExpired once nothing of the attempt can be alive."""
    run = next(iter(runs.by_tokens(conn, [token])), None)
    if run is None or run.state not in _KEY_HOLDS:
        raise KeyExpired(_OVER)
    owner = store.by_id(conn, jobs.by_id(conn, run.job_id).owner_id)
    if not owner.is_active:
        raise Unauthenticated(_LEFT)
    return Caller(user=owner, job_id=run.job_id)


def nobody_yet(conn: Connection) -> bool:
    """Whether this installation has no user."""
    return not store.exist(conn)
