"""Runs and their attempts."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, select, update

from simyard.domain.lifecycle import HOLDS_CORES, State
from simyard.domain.runs import Ending, Run
from simyard.store.schema import AnyRow, attempts, runs

_encode = msgspec.json.encode
_ending = msgspec.json.Decoder(Ending)

_RUNS = select(runs)


def _run(row: AnyRow) -> Run:
    return Run(
        id=row.id,
        job_id=row.job_id,
        number=row.number,
        state=State(row.state),
        cores=row.cores,
        started_at=row.started_at,
        completed_at=row.completed_at,
        output_count=row.output_count,
        output_bytes=row.output_bytes,
        ending=_ending.decode(row.ending) if row.ending else None,
        token=row.token,
    )


def insert(
    conn: Connection, job_id: int, *, count: int, cores: int, low_priority: bool, state: State
) -> None:
    """The runs of a job that was just submitted, numbered from 1."""
    conn.execute(
        runs.insert(),
        [
            {
                "job_id": job_id,
                "number": number,
                "state": state.value,
                "low_priority": low_priority,
                "cores": cores,
                "output_count": 0,
                "output_bytes": 0,
            }
            for number in range(1, count + 1)
        ],
    )


_BY_ID = _RUNS.where(runs.c.id == bindparam("run"))


def by_id(conn: Connection, run_id: int) -> Run | None:
    row = conn.execute(_BY_ID, {"run": run_id}).first()
    return _run(row) if row else None


_BY_NUMBER = _RUNS.where(runs.c.job_id == bindparam("job"), runs.c.number == bindparam("number"))


def by_number(conn: Connection, job_id: int, number: int) -> Run | None:
    row = conn.execute(_BY_NUMBER, {"job": job_id, "number": number}).first()
    return _run(row) if row else None


_COUNT = select(func.max(runs.c.number)).where(runs.c.job_id == bindparam("job"))


def count(conn: Connection, job_id: int) -> int:
    """How many runs a job has. They are numbered without gaps, so the last number says it."""
    return conn.scalar(_COUNT, {"job": job_id}) or 0


_PAGE = (
    _RUNS.where(runs.c.job_id == bindparam("job"), runs.c.number > bindparam("after"))
    .order_by(runs.c.number)
    .limit(bindparam("size"))
)


def page(conn: Connection, job_id: int, *, offset: int, size: int) -> list[Run]:
    rows = conn.execute(_PAGE, {"job": job_id, "after": offset, "size": size})
    return [_run(row) for row in rows]


def states(conn: Connection, job_id: int) -> list[State]:
    """The different states that the runs of a job are in."""
    query = select(runs.c.state).where(runs.c.job_id == job_id).distinct()
    return [State(state) for state in conn.scalars(query)]


def endings(conn: Connection, job_id: int) -> list[Ending]:
    query = select(runs.c.ending).where(runs.c.job_id == job_id, runs.c.ending.is_not(None))
    return [_ending.decode(text) for text in conn.scalars(query.order_by(runs.c.number))]


# --- the queue ------------------------------------------------------------------------------------


def _in_states(wanted: Iterable[State]) -> Select[Any]:
    # Spelled out so that the partial index on unfinished runs is used.
    return _RUNS.where(
        runs.c.state.in_([state.value for state in wanted]),
        runs.c.state != State.CLOSED.value,
    )


def in_states(conn: Connection, *wanted: State, most: int = 100_000) -> list[Run]:
    """Runs in any of these (unfinished) states, in the order of the queue."""
    query = _in_states(wanted).order_by(runs.c.low_priority, runs.c.id).limit(most)
    return [_run(row) for row in conn.execute(query)]


def cores_held(conn: Connection) -> int:
    """Cores that are set aside for runs now."""
    held = _in_states(HOLDS_CORES).with_only_columns(func.sum(runs.c.cores))
    return conn.scalar(held) or 0


def counts(conn: Connection) -> dict[State, int]:
    """Unfinished runs by state."""
    query = (
        _in_states(set(State) - {State.CLOSED})
        .with_only_columns(runs.c.state, func.count())
        .group_by(runs.c.state)
    )
    return {State(state): number for state, number in conn.execute(query)}


# --- changes --------------------------------------------------------------------------------------

_SET_STATE = update(runs).where(runs.c.id == bindparam("run")).values(state=bindparam("new_state"))


def set_state(conn: Connection, run_id: int, state: State) -> None:
    conn.execute(_SET_STATE, {"run": run_id, "new_state": state.value})


def set_started(conn: Connection, run: Run, *, at: datetime) -> None:
    conn.execute(update(runs).where(runs.c.id == run.id).values(started_at=at))
    conn.execute(update(attempts).where(attempts.c.token == run.token).values(started_at=at))


def set_ended(conn: Connection, run: Run, ending: Ending, *, at: datetime) -> None:
    text = _encode(ending).decode()
    conn.execute(update(runs).where(runs.c.id == run.id).values(ending=text))
    conn.execute(
        update(attempts).where(attempts.c.token == run.token).values(ending=text, ended_at=at)
    )


def set_completed(
    conn: Connection, run: Run, *, output_count: int, output_bytes: int, at: datetime
) -> None:
    conn.execute(
        update(runs)
        .where(runs.c.id == run.id)
        .values(completed_at=at, output_count=output_count, output_bytes=output_bytes)
    )


def new_attempt(
    conn: Connection,
    run: Run,
    token: str,
    *,
    engine: str,
    programs: Sequence[dict[str, str]],
    now: datetime,
) -> None:
    """Begin another attempt at a run. Only ever one is alive: the caller makes sure of that."""
    last = conn.scalar(select(func.max(attempts.c.number)).where(attempts.c.run_id == run.id))
    conn.execute(
        attempts.insert().values(
            run_id=run.id,
            number=(last or 0) + 1,
            token=token,
            engine=engine,
            programs=_encode(programs).decode(),
            created_at=now,
        )
    )
    conn.execute(update(runs).where(runs.c.id == run.id).values(token=token))


def all_tokens(conn: Connection, tokens: Sequence[str]) -> dict[str, State]:
    """Which of these attempts are recorded, and in what state their runs are."""
    query = (
        select(attempts.c.token, runs.c.state)
        .join(runs, runs.c.id == attempts.c.run_id)
        .where(attempts.c.token.in_(tokens))
    )
    return {token: State(state) for token, state in conn.execute(query)}
