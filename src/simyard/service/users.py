"""Users and keys."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection

from simyard.blobs.keyring import Keyring
from simyard.domain.errors import Invalid, KeyExpired, Unauthenticated
from simyard.domain.users import Role, User
from simyard.store import users as store
from simyard.store.database import Transaction

_KEY_BYTES = 20  # 40 hex digits, as clients expect


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

    Returns the key; it cannot be shown again. `role` counts for a new user only.
    """
    address = email.strip().lower()
    if address.count("@") != 1 or address.startswith("@") or address.endswith("@"):
        raise Invalid.at("email", "Enter a valid email address.")
    now = tx.now()
    user = store.by_email(tx.conn, address)
    if user is None:
        name = address.split("@")[0]
        user = store.insert(tx.conn, email=address, full_name=name, role=role, now=now)
    store.insert_key(
        tx.conn,
        user,
        digest=keyring.api_key_digest(key),
        label=label,
        now=now,
        expires_at=now + lifetime if lifetime else None,
    )
    return key


def authenticate(conn: Connection, keyring: Keyring, key: str, now: datetime) -> User:
    """The user of a key. Raises Unauthenticated, or KeyExpired for one that was good once."""
    found = store.key_by_digest(conn, keyring.api_key_digest(key))
    if found is None or found.revoked_at is not None:
        raise Unauthenticated("Invalid token.")
    if found.expires_at is not None and found.expires_at <= now:
        raise KeyExpired("API key is no longer active")
    return found.user


def nobody_yet(conn: Connection) -> bool:
    """Whether this installation has no user."""
    return not store.exist(conn)
