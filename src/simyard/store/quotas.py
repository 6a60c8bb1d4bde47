"""What a user has in the queue and on the machine, and the core-time that is kept free for it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, func, literal_column, select, update
from sqlalchemy.engine import Connection

from simyard.domain.lifecycle import HOLDS_CORES, State
from simyard.domain.records import dataclass
from simyard.store.prepared import Prepared, any_of, one_of
from simyard.store.schema import runs

WAITING = (State.PENDING, State.QUEUED)

# Words are spelled out so that the partial index on what users are owed is found.
_UNFINISHED = runs.c.state != literal_column(f"'{State.CLOSED.value}'")
_IS_QUEUED = runs.c.state == literal_column(f"'{State.QUEUED.value}'")
_IS_WAITING = one_of(runs.c.state, [state.value for state in WAITING])
_HOLDS = one_of(runs.c.state, sorted(state.value for state in HOLDS_CORES))
_MINE = runs.c.owner_id == bindparam("owner")

_RUNNING = Prepared(select(runs.c.job_id).where(_MINE, _HOLDS, _UNFINISHED).distinct())
_WAITS = Prepared(
    select(func.count().label("waiting")).select_from(
        select(runs.c.job_id)
        .where(_MINE, _IS_WAITING, _UNFINISHED)
        .limit(bindparam("most"))
        .subquery()
    )
)
_JOBS_WAITING = Prepared(
    select(func.count(runs.c.job_id.distinct()).label("waiting")).where(
        _MINE, _IS_WAITING, _UNFINISHED
    )
)


def jobs_running(conn: Connection, user_id: int) -> set[int]:
    """Internal ids of the user's jobs that hold cores now. No more than there are cores."""
    return {row.job_id for row in _RUNNING.rows(conn, owner=user_id)}


def jobs_waiting(conn: Connection, user_id: int) -> int:
    """How many jobs of the user wait for cores: counted in an index."""
    return int(_JOBS_WAITING.scalar(conn, owner=user_id))


@dataclass(frozen=True)
class Place:
    """A run that holds cores, or that waits for some."""

    cores: int
    started_at: datetime | None
    # What it may take from its start; None: not known.
    reserved_core_microseconds: int | None


_PLACES = select(runs.c.cores, runs.c.started_at, runs.c.reserved_core_microseconds).where(
    _UNFINISHED, runs.c.engine == bindparam("engine")
)
_BEFORE = runs.c.low_priority <= bindparam("low_priority")
_HOLDING = Prepared(_PLACES.where(_HOLDS))
# One state at a time: so they come in the index's order, and not all are looked at.
_AHEAD = [
    Prepared(
        _PLACES.where(runs.c.state == literal_column(f"'{state.value}'"), _BEFORE)
        .order_by(runs.c.low_priority, runs.c.id)
        .limit(bindparam("most"))
    )
    for state in (State.QUEUED, State.PENDING)
]
_PLANNED = Prepared(
    select(runs.c.id)
    .where(
        _UNFINISHED,
        runs.c.state == literal_column(f"'{State.PLANNED.value}'"),
        runs.c.engine == bindparam("engine"),
        _BEFORE,
    )
    .limit(literal_column("1"))
)


def holding(conn: Connection, engine: str) -> list[Place]:
    """The runs of an engine that hold cores. On this machine no more than it has."""
    return [Place(*row) for row in _HOLDING.rows(conn, engine=engine)]


def ahead(conn: Connection, engine: str, *, low_priority: bool, most: int) -> list[Place]:
    """The first of an engine's runs that wait and are served before one that is submitted now."""
    found: list[Place] = []
    for part in _AHEAD:
        values = {"engine": engine, "low_priority": low_priority, "most": most - len(found)}
        found += (Place(*row) for row in part.rows(conn, **values))
    return found


def more_may_come(conn: Connection, engine: str, *, low_priority: bool) -> bool:
    """Whether runs of studies wait for their slots that will be served before it too."""
    return _PLANNED.first(conn, engine=engine, low_priority=low_priority) is not None


def runs_waiting(conn: Connection, user_id: int, *, most: int) -> int:
    """How many runs of the user wait for cores, counted up to `most`."""
    return int(_WAITS.scalar(conn, owner=user_id, most=most))


# --- the queue, user by user ----------------------------------------------------------------------

_NEXT_OWNER = Prepared(
    select(func.min(runs.c.owner_id).label("owner")).where(
        runs.c.owner_id > bindparam("after"), _UNFINISHED
    )
)
_QUEUE = Prepared(
    select(runs.c.low_priority, runs.c.id, runs.c.job_id)
    .where(_MINE, _IS_QUEUED, _UNFINISHED, runs.c.engine == bindparam("engine"))
    .order_by(runs.c.low_priority, runs.c.id)
    .limit(bindparam("most"))
)


def queue(conn: Connection, engine: str, *, jobs_running_most: int, most: int) -> list[int]:
    """Internal ids of an engine's queued runs that may start now, in the order of the queue,
    without those of users who have as many jobs running as they may. Looks at the first `most` of
    each user, however many there are behind them.
    """
    found: list[tuple[bool, int]] = []
    owner: int | None = _NEXT_OWNER.scalar(conn, after=0)
    while owner is not None:
        running: set[int] | None = None
        for row in _QUEUE.rows(conn, owner=owner, engine=engine, most=most):
            if running is None:
                running = jobs_running(conn, owner)
            if row.job_id not in running and len(running) >= jobs_running_most:
                continue
            running.add(row.job_id)
            found.append((row.low_priority, row.id))
        owner = _NEXT_OWNER.scalar(conn, after=owner)
    return [run_id for _, run_id in sorted(found)[:most]]


# --- reservations ---------------------------------------------------------------------------------

_RESERVED = Prepared(
    select(runs.c.id, runs.c.owner_id, runs.c.reserved_core_microseconds).where(
        any_of(runs.c.id, "wanted"), runs.c.reserved_core_microseconds.is_not(None)
    )
)
_RELEASE = Prepared(
    update(runs).where(any_of(runs.c.id, "wanted")).values(reserved_core_microseconds=None)
)
_OF_JOB = Prepared(
    select(func.coalesce(func.sum(runs.c.reserved_core_microseconds), 0).label("reserved")).where(
        runs.c.job_id == bindparam("job")
    )
)


def reserved_for_job(conn: Connection, job_id: int) -> int:
    """Core-time in microseconds that is kept free for a job's runs."""
    return int(_OF_JOB.scalar(conn, job=job_id))


def release(conn: Connection, run_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Give up what is kept free for these runs. Returns of each for which something was: whose it
    is, and how much.
    """
    found = {
        row.id: (row.owner_id, row.reserved_core_microseconds)
        for row in _RESERVED.rows(conn, wanted=run_ids)
    }
    if found:
        _RELEASE.run(conn, wanted=list(found))
    return found
