"""Doing a thing once although it is asked for twice.

A creating request may carry an Idempotency-Key. What it created is recorded in the same
transaction, so a client that lost the reply (or whose server was killed) may ask again with the
same key: it gets what was created the first time.
"""

from datetime import timedelta

from sqlalchemy import Connection

from simyard.domain.errors import KeyReused
from simyard.domain.records import dataclass
from simyard.domain.users import User
from simyard.store import idempotency as store
from simyard.store.database import Transaction
from simyard.store.idempotency import Done

KEPT = timedelta(days=7)
KEY_LENGTH = 255


@dataclass(frozen=True)
class Once:
    """A request that must not take effect twice."""

    user: User
    key: str
    fingerprint: bytes  # tells this request from another that uses the same key


def already_done(conn: Connection, once: Once | None, noun: str) -> str | None:
    """The code of what this request created before; None if it is new.

    Raises KeyReused where the key came with a different request.
    """
    if once is None:
        return None
    done = store.find(conn, once.user.id, once.key)
    if done is None:
        return None
    if done.fingerprint != once.fingerprint or done.noun != noun:
        raise KeyReused("This Idempotency-Key was used before with a different request.")
    return done.code


def note(tx: Transaction, once: Once | None, noun: str, code: str) -> None:
    """Record the effect, in its own transaction."""
    if once is not None:
        done = Done(once.fingerprint, noun, code)
        store.record(tx.conn, once.user.id, once.key, done, now=tx.now())
