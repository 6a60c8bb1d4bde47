"""Figures about the whole installation, for those who look after it."""

from sqlalchemy import Connection

from simyard.domain.lifecycle import State
from simyard.store import runs


def runs_by_state(conn: Connection) -> dict[State, int]:
    """Unfinished runs; states without any are missing."""
    return runs.counts(conn)


def cores_held(conn: Connection) -> int:
    """Cores that are set aside for runs."""
    return runs.cores_held(conn)
