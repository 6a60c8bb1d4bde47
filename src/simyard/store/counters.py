"""What users and projects have of what is limited, counted where it changes.

A counter is exact: it changes in the transaction of what it counts. Nobody has to add up a table
to know how much is stored, or how much of a month's core-hours is gone.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, select, update

from simyard.store.prepared import Prepared
from simyard.store.schema import counters


def stored(user_id: int) -> str:
    """Bytes of the user's files, those in the trash among them; content that several of them show
    counts once.
    """
    return f"stored:{user_id}"


def user(user_id: int) -> str:
    """Who uses cores: a user."""
    return f"user:{user_id}"


def project(code: str) -> str:
    """Who uses cores: a project."""
    return f"project:{code}"


def used(holder: str, at: datetime) -> str:
    """Microseconds of cores that were used by runs that ended in the month (UTC) of this moment."""
    return f"used:{holder}:{at.astimezone(UTC):%Y-%m}"


def reserved(holder: str) -> str:
    """Microseconds of cores that queued and running runs may still use."""
    return f"reserved:{holder}"


_VALUE = Prepared(select(counters.c.value).where(counters.c.name == bindparam("counter")))
_NEW = Prepared(counters.insert())
_ADD = Prepared(
    update(counters)
    .where(counters.c.name == bindparam("counter"))
    .values(value=counters.c.value + bindparam("more"))
)


def value(conn: Connection, name: str) -> int:
    """0 for one that nobody has added to."""
    return _VALUE.scalar(conn, counter=name) or 0


def add(conn: Connection, name: str, more: int) -> None:
    """Count more, or less where it is negative."""
    if more and _ADD.run(conn, counter=name, more=more) == 0:
        _NEW.run(conn, name=name, value=more)
