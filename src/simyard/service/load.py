"""The load of this machine: measured twice a minute, kept in memory for a day."""

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from simyard.domain.errors import NotFound
from simyard.domain.runs import Attempt
from simyard.domain.users import User
from simyard.store import tasks
from simyard.store.database import Transaction

EVERY_SECONDS = 30.0
_KEPT = 24 * 3600 // int(EVERY_SECONDS)


@dataclass(frozen=True, slots=True)
class Measurement:
    at: datetime
    load: float  # runnable processes, averaged over a minute
    cores: int
    memory_used_bytes: int
    memory_total_bytes: int


class LoadBook:
    """The newest measurements, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[Measurement] = deque(maxlen=_KEPT)

    def measure(self, now: datetime) -> None:
        total, available = _memory()
        self._kept.append(
            Measurement(
                at=now,
                load=round(os.getloadavg()[0], 2),
                cores=os.cpu_count() or 1,
                memory_used_bytes=total - available,
                memory_total_bytes=total,
            )
        )

    @property
    def newest(self) -> Measurement | None:
        """None right after a start."""
        return self._kept[-1] if self._kept else None

    def during(
        self, attempts: Sequence[Attempt], now: datetime, *, last_hours: int | None = None
    ) -> list[Measurement]:
        """What was measured while any of the attempts ran."""
        times = [(one.started_at, one.ended_at or now) for one in attempts if one.started_at]
        first = now - timedelta(hours=last_hours) if last_hours is not None else None
        return [
            one
            for one in list(self._kept)
            if (first is None or one.at >= first)
            and any(start <= one.at <= end for start, end in times)
        ]


def _memory() -> tuple[int, int]:
    """Bytes in all, and bytes that programs can still have (proc(5), MemAvailable)."""
    found = {}
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) * 1024
    return found["MemTotal"], found["MemAvailable"]


def keep(tx: Transaction, user: User, job: str) -> str:
    """Keep the question for the load of a job as a task. Returns its token."""
    return tasks.insert(tx.conn, user.id, job, now=tx.now())


def kept(conn: Connection, user: User, token: str) -> str:
    """The job that was asked about. Raises NotFound, also for somebody else's task."""
    result = tasks.result_as(conn, token, user.id, str)
    if result is None:
        raise NotFound
    return result
