"""Runs and their attempts."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    update,
)

from simyard.domain.lifecycle import FINAL, HOLDS_CORES, HOLDS_SLOT, LOCAL, State
from simyard.domain.outcome import Outcome, Verdict
from simyard.domain.outputs import Outputs
from simyard.domain.records import dataclass
from simyard.domain.runs import Again, Attempt, Ended, Ending, Kind, Restart, Run, Sample
from simyard.domain.studies import Value
from simyard.store.prepared import Prepared, Values, any_of, one_of
from simyard.store.schema import AnyRow, attempts, job_views, runs

_encode = msgspec.json.encode
_ending = msgspec.json.Decoder(Ending)
_outcome = msgspec.json.Decoder(Outcome)
_samples = msgspec.json.Decoder(list[Sample])
_restart = msgspec.json.Decoder(Restart)
_values = msgspec.json.Decoder(tuple[Value, ...])
_outputs = msgspec.json.Decoder(Outputs)
_KINDS = {kind.value: kind for kind in Kind}

_RUNS = select(*(column for column in runs.c if column is not runs.c.samples))


def _run(row: AnyRow) -> Run:
    return Run(
        id=row.id,
        job_id=row.job_id,
        number=row.number,
        state=State(row.state),
        cores=row.cores,
        core_type=row.core_type,
        price_micros=row.price_micros,
        engine=row.engine,
        started_at=row.started_at,
        completed_at=row.completed_at,
        output_count=row.output_count,
        output_bytes=row.output_bytes,
        outputs_version=row.outputs_version,
        ending=_ending.decode(row.ending) if row.ending else None,
        outcome=_outcome.decode(row.outcome) if row.outcome else None,
        token=row.token,
        restart=_restart.decode(row.restart) if row.restart else None,
        kind=_KINDS[row.kind],
        parent=row.parent_number,
        is_nominal=row.is_nominal,
        is_optimal=row.is_optimal,
        inputs=_values.decode(row.inputs) if row.inputs is not None else None,
        outputs=_outputs.decode(row.outputs) if row.outputs else None,
    )


@dataclass(frozen=True, kw_only=True)
class NewRun:
    number: int = 1
    kind: Kind = Kind.CASE
    parent: int | None = None  # number of the run that it belongs to
    is_nominal: bool = False
    inputs: str | None = None  # as `pack_values` made it; None: it is no study's
    restart: str | None = None  # as `pack_restart` made it: what is different from its job


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What holds for each run of a job from its submit on."""

    cores: int  # set aside for it while it runs
    core_type: str
    price_micros: int
    low_priority: bool
    engine: str = LOCAL
    reserved_core_microseconds: int = 0  # kept free for each in the budgets


_INSERT = Prepared(runs.insert())


def insert(
    conn: Connection,
    job_id: int,
    new: Iterable[NewRun],
    *,
    owner_id: int,
    terms: Terms,
    state: State,
) -> None:
    """Runs of a job that was just submitted, or that has got more. Numbers have no gaps."""
    shared = {
        "job_id": job_id,
        "owner_id": owner_id,
        "state": state.value,
        "reserved_core_microseconds": terms.reserved_core_microseconds or None,
        "low_priority": terms.low_priority,
        "cores": terms.cores,
        "core_type": terms.core_type,
        "price_micros": terms.price_micros,
        "engine": terms.engine,
        "output_count": 0,
        "output_bytes": 0,
        "is_optimal": False,
    }
    _INSERT.run_many(
        conn,
        [
            {
                **shared,
                "number": run.number,
                "kind": run.kind.value,
                "parent_number": run.parent,
                "is_nominal": run.is_nominal,
                "inputs": run.inputs,
                "restart": run.restart,
            }
            for run in new
        ],
    )


def pack_values(values: Sequence[Value]) -> str:
    """The values of a run as they are stored: packed before the writer is asked."""
    return _encode(values).decode()


def unpack_values(packed: str) -> tuple[Value, ...]:
    return _values.decode(packed)


_BY_ID = Prepared(_RUNS.where(runs.c.id == bindparam("run")))


def by_id(conn: Connection, run_id: int) -> Run | None:
    row = _BY_ID.first(conn, run=run_id)
    return _run(row) if row else None


_BY_IDS = Prepared(_RUNS.where(any_of(runs.c.id, "wanted")))
_BY_TOKENS = Prepared(_RUNS.where(any_of(runs.c.token, "wanted")))


def by_ids(conn: Connection, run_ids: Sequence[int]) -> dict[int, Run]:
    return {row.id: _run(row) for row in _BY_IDS.rows(conn, wanted=run_ids)}


def by_tokens(conn: Connection, tokens: Sequence[str]) -> list[Run]:
    """The runs whose present attempts these are."""
    return [_run(row) for row in _BY_TOKENS.rows(conn, wanted=tokens)]


_BY_NUMBER = Prepared(
    _RUNS.where(runs.c.job_id == bindparam("job"), runs.c.number == bindparam("number"))
)


def by_number(conn: Connection, job_id: int, number: int) -> Run | None:
    row = _BY_NUMBER.first(conn, job=job_id, number=number)
    return _run(row) if row else None


_FIRST_ONES = Prepared(
    _RUNS.where(any_of(runs.c.job_id, "wanted"), runs.c.number == literal_column("1"))
)


def first_ones(conn: Connection, job_ids: Sequence[int]) -> dict[int, Run]:
    """The first run of each of these jobs, by job; nothing of drafts."""
    return {row.job_id: _run(row) for row in _FIRST_ONES.rows(conn, wanted=job_ids)}


_BY_NUMBERS = Prepared(
    _RUNS.where(runs.c.job_id == bindparam("job"), any_of(runs.c.number, "wanted")).order_by(
        runs.c.number
    )
)


def by_numbers(conn: Connection, job_id: int, numbers: Sequence[int]) -> list[Run]:
    """Those of these runs of a job that there are, by number."""
    return [_run(row) for row in _BY_NUMBERS.rows(conn, job=job_id, wanted=numbers)]


_OVER = Prepared(
    select(func.count().label("over")).where(
        runs.c.job_id == bindparam("job"), one_of(runs.c.state, sorted(FINAL))
    )
)


def over(conn: Connection, job_id: int) -> int:
    """How many runs of a job are at their end."""
    return int(_OVER.scalar(conn, job=job_id))


_COUNT = Prepared(select(func.max(runs.c.number)).where(runs.c.job_id == bindparam("job")))


def count(conn: Connection, job_id: int) -> int:
    """How many runs a job has. They are numbered without gaps, so the last number says it."""
    return _COUNT.scalar(conn, job=job_id) or 0


_COMPLETED_NUMBERS = Prepared(
    select(runs.c.number)
    .where(runs.c.job_id == bindparam("job"), runs.c.completed_at.is_not(None))
    .order_by(runs.c.number)
)


def completed_numbers(conn: Connection, job_id: int) -> list[int]:
    """The numbers of the runs of a job whose outputs are stored."""
    return [row.number for row in _COMPLETED_NUMBERS.rows(conn, job=job_id)]


_NOMINAL = Prepared(
    _RUNS.where(runs.c.job_id == bindparam("job"), runs.c.is_nominal == literal_column("1"))
)


def nominal(conn: Connection, job_id: int) -> Run | None:
    """The nominal run of a job that has one."""
    row = _NOMINAL.first(conn, job=job_id)
    return _run(row) if row else None


_PAGE = Prepared(
    _RUNS.where(runs.c.job_id == bindparam("job"), runs.c.number > bindparam("after"))
    .order_by(runs.c.number)
    .limit(bindparam("size"))
)


def page(conn: Connection, job_id: int, *, offset: int, size: int) -> list[Run]:
    rows = _PAGE.rows(conn, job=job_id, after=offset, size=size)
    return [_run(row) for row in rows]


def every(conn: Connection, job_id: int) -> list[Run]:
    """All runs of a job by number. A study's may be many: where they can come page by page, use
    `page`.
    """
    return page(conn, job_id, offset=0, size=count(conn, job_id))


_each_job = func.json_each(bindparam("wanted", type_=Values())).table_valued("value")
_each_state = func.json_each(bindparam("states", type_=Values())).table_valued("value")
_STATES = Prepared(
    # A look into the index for each state: a job may have very many runs.
    select(_each_job.c.value.label("job_id"), _each_state.c.value.label("state")).where(
        exists().where(runs.c.job_id == _each_job.c.value, runs.c.state == _each_state.c.value)
    )
)
_EVERY_STATE = [state.value for state in State]


def states_of(conn: Connection, job_ids: Sequence[int]) -> dict[int, list[State]]:
    """The different states that the runs of each of these jobs are in."""
    found: dict[int, list[State]] = {job_id: [] for job_id in job_ids}
    for job_id, state in _STATES.rows(conn, wanted=job_ids, states=_EVERY_STATE):
        found[job_id].append(State(state))
    return found


_ENDINGS = Prepared(
    select(runs.c.number, runs.c.ending, runs.c.outcome)
    .where(runs.c.job_id == bindparam("job"), runs.c.ending.is_not(None))
    .order_by(runs.c.number)
)


def endings(conn: Connection, job_id: int) -> list[Ended]:
    """How the runs of a job ended so far, and what was judged of them."""
    return [
        Ended(
            number=row.number,
            ending=_ending.decode(row.ending),
            outcome=_outcome.decode(row.outcome) if row.outcome else None,
        )
        for row in _ENDINGS.rows(conn, job=job_id)
    ]


_SECONDS = (
    select(runs.c.started_at, runs.c.completed_at, runs.c.outcome)
    .where(
        runs.c.job_id == bindparam("job"),
        runs.c.started_at.is_not(None),
        runs.c.completed_at.is_not(None),
    )
    .order_by(runs.c.number.desc())
    .limit(bindparam("most"))
)


def seconds_of(conn: Connection, job_id: int, *, most: int) -> list[float]:
    """How long those of the last runs of a job took that came to their own good end, from their
    start until their outputs were stored.
    """
    rows = conn.execute(_SECONDS, {"job": job_id, "most": most})
    return [
        (row.completed_at - row.started_at).total_seconds()
        for row in rows
        if row.outcome and _outcome.decode(row.outcome).verdict is Verdict.COMPLETED
    ]


# --- the queue ------------------------------------------------------------------------------------


@cache
def _in_states(*wanted: State) -> Select[Any]:
    # Spelled out so that the partial index on unfinished runs is used.
    words = [state.value for state in wanted]
    closed: ColumnElement[str] = literal_column(f"'{State.CLOSED.value}'")
    return _RUNS.where(one_of(runs.c.state, words), runs.c.state != closed)


@cache
def _queue(*wanted: State) -> Prepared:
    ordered = _in_states(*wanted).order_by(runs.c.low_priority, runs.c.id)
    return Prepared(ordered.limit(bindparam("most")))


def in_states(conn: Connection, *wanted: State, most: int = 100_000) -> list[Run]:
    """Runs in any of these (unfinished) states, in the order of the queue."""
    return [_run(row) for row in _queue(*wanted).rows(conn, most=most)]


_QUEUED = Prepared(
    _in_states(State.QUEUED)
    .where(runs.c.engine == bindparam("engine"))
    .order_by(runs.c.low_priority, runs.c.id)
    .limit(bindparam("most"))
)


def queued(conn: Connection, engine: str, *, most: int) -> list[Run]:
    """The first runs in the queue for an engine."""
    return [_run(row) for row in _QUEUED.rows(conn, engine=engine, most=most)]


_EXECUTING = Prepared(
    _in_states(State.RUNNING)
    .where(
        runs.c.inputs.is_(None),
        exists().where(
            job_views.c.job_id == runs.c.job_id, any_of(job_views.c.viewer_id, "viewers")
        ),
    )
    .order_by(runs.c.id.desc())
    .limit(bindparam("most"))
)


def executing(conn: Connection, viewer_ids: Sequence[int], *, most: int) -> list[Run]:
    """Runs of no study that execute and that any of these see, those that were made last first."""
    return [_run(row) for row in _EXECUTING.rows(conn, viewers=viewer_ids, most=most)]


_HELD = Prepared(
    _in_states(*sorted(HOLDS_CORES))
    .where(runs.c.engine == literal_column(f"'{LOCAL}'"))
    .with_only_columns(func.sum(runs.c.cores))
)


def cores_held(conn: Connection) -> int:
    """Cores of this machine that are set aside for runs now."""
    return _HELD.scalar(conn) or 0


_ENGINE = Prepared(
    select(runs.c.engine).where(
        runs.c.job_id == bindparam("job"), runs.c.number == literal_column("1")
    )
)


def engine_of(conn: Connection, job_id: int) -> str | None:
    """What runs a job's runs: one engine for all of them."""
    found: str | None = _ENGINE.scalar(conn, job=job_id)
    return found


_ELSEWHERE = Prepared(
    select(_each_job.c.value.label("job_id")).where(
        exists().where(
            runs.c.job_id == _each_job.c.value,
            runs.c.number == literal_column("1"),
            runs.c.engine != literal_column(f"'{LOCAL}'"),
        )
    )
)


def elsewhere(conn: Connection, job_ids: Sequence[int]) -> set[int]:
    """Those of these jobs whose cores a scheduler gives."""
    return {row.job_id for row in _ELSEWHERE.rows(conn, wanted=job_ids)}


_COUNTS = (
    _in_states(*(state for state in State if state is not State.CLOSED))
    .with_only_columns(runs.c.state, func.count())
    .group_by(runs.c.state)
)


def counts(conn: Connection) -> dict[State, int]:
    """Unfinished runs by state."""
    return {State(state): number for state, number in conn.execute(_COUNTS)}


# --- the slots of a study -------------------------------------------------------------------------

_HOLDING = Prepared(
    select(func.count().label("holding")).where(
        runs.c.job_id == bindparam("job"),
        one_of(runs.c.state, sorted(state.value for state in HOLDS_SLOT)),
    )
)
_OF_JOB_IN_STATE = _RUNS.where(
    runs.c.job_id == bindparam("job"), runs.c.state == bindparam("state")
).order_by(runs.c.number)
_NEXT = Prepared(_OF_JOB_IN_STATE.limit(bindparam("most")))


def slots_held(conn: Connection, job_id: int) -> int:
    """How many runs of a job have a slot."""
    return int(_HOLDING.scalar(conn, job=job_id))


_WITH_SLOT = Prepared(
    _RUNS.where(
        runs.c.job_id == bindparam("job"),
        one_of(runs.c.state, sorted(state.value for state in HOLDS_SLOT)),
    ).order_by(runs.c.number)
)


def with_slot(conn: Connection, job_id: int) -> list[Run]:
    """The runs of a job of which something may be there: those that a stop is for."""
    return [_run(row) for row in _WITH_SLOT.rows(conn, job=job_id)]


def in_state(conn: Connection, job_id: int, state: State, *, most: int) -> list[Run]:
    """The first runs of a job that are in this state, by number."""
    return [_run(row) for row in _NEXT.rows(conn, job=job_id, state=state.value, most=most)]


_OPTIMAL = _RUNS.where(runs.c.job_id == bindparam("job"), runs.c.is_optimal.is_(True))
_SET_OPTIMAL = Prepared(
    update(runs).where(runs.c.id == bindparam("run")).values(is_optimal=bindparam("best"))
)


def optimal(conn: Connection, job_id: int) -> list[Run]:
    """The runs of a job that are marked as optimal."""
    query = _OPTIMAL.order_by(runs.c.number)
    return [_run(row) for row in conn.execute(query, {"job": job_id})]


def set_optimal(conn: Connection, marks: Mapping[int, bool]) -> None:
    """Run id -> whether it is optimal now."""
    _SET_OPTIMAL.run_many(conn, [{"run": run, "best": best} for run, best in marks.items()])


# --- changes --------------------------------------------------------------------------------------

_SET_STATE = Prepared(
    update(runs).where(runs.c.id == bindparam("run")).values(state=bindparam("new_state"))
)
_STARTED = Prepared(
    update(runs).where(runs.c.id == bindparam("run")).values(started_at=bindparam("at"))
)
_ENDED = Prepared(
    update(runs).where(runs.c.id == bindparam("run")).values(ending=bindparam("text"))
)
_SAMPLES = select(runs.c.samples).where(runs.c.id == bindparam("run"))
_COMPLETED = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(
        completed_at=bindparam("at"),
        outcome=bindparam("text"),
        samples=bindparam("points"),
        outputs=bindparam("told"),
    )
)
_OUTPUTS = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(
        output_count=runs.c.output_count + bindparam("more"),
        output_bytes=runs.c.output_bytes + bindparam("more_bytes"),
        outputs_version=runs.c.outputs_version + 1,
    )
)
_OUTPUTS_BY_NUMBER = Prepared(
    update(runs)
    .where(runs.c.job_id == bindparam("job"), runs.c.number == bindparam("number_"))
    .values(
        output_count=runs.c.output_count + bindparam("more"),
        output_bytes=runs.c.output_bytes + bindparam("more_bytes"),
        outputs_version=runs.c.outputs_version + 1,
    )
)
_ATTEMPT_STARTED = Prepared(
    update(attempts)
    .where(attempts.c.token == bindparam("attempt"))
    .values(started_at=bindparam("at"))
)
_ATTEMPT_ENDED = Prepared(
    update(attempts)
    .where(attempts.c.token == bindparam("attempt"))
    .values(ending=bindparam("text"), ended_at=bindparam("at"))
)
_ATTEMPT_ENDING = Prepared(
    update(attempts)
    .where(attempts.c.token == bindparam("attempt"))
    .values(ending=bindparam("text"))
)
_LAST_ATTEMPT = Prepared(
    select(func.max(attempts.c.number)).where(attempts.c.run_id == bindparam("run"))
)
_NEW_ATTEMPT = Prepared(attempts.insert())
_PRESENT_ATTEMPT = Prepared(
    update(runs).where(runs.c.id == bindparam("run")).values(token=bindparam("attempt"))
)
_ANOTHER_ATTEMPT: dict[Any, Any] = {
    runs.c.restart: bindparam("text"),
    runs.c.reserved_core_microseconds: bindparam("reserved"),
    runs.c.token: None,
    runs.c.started_at: None,
    runs.c.completed_at: None,
    runs.c.ending: None,
    runs.c.outcome: None,
}
_THIS_RUN = runs.c.id == bindparam("run")
_RESTART = Prepared(
    update(runs)
    .where(_THIS_RUN)
    .values({**_ANOTHER_ATTEMPT, runs.c.samples: None, runs.c.is_optimal: False})
)
_EXTRACT = Prepared(update(runs).where(_THIS_RUN).values(_ANOTHER_ATTEMPT))
_EXTRACTED = Prepared(
    update(runs)
    .where(_THIS_RUN)
    .values(
        started_at=bindparam("began"),
        completed_at=bindparam("at"),
        ending=bindparam("before"),
        outcome=bindparam("text"),
        outputs=bindparam("told"),
    )
)


def set_states(conn: Connection, states: Sequence[tuple[int, State]]) -> None:
    """(run id, state) of each."""
    _SET_STATE.run_many(conn, [{"run": run, "new_state": state.value} for run, state in states])


def set_started(conn: Connection, started: Sequence[tuple[Run, datetime]]) -> None:
    """Runs and when their payload began."""
    _STARTED.run_many(conn, [{"run": run.id, "at": at} for run, at in started])
    _ATTEMPT_STARTED.run_many(conn, [{"attempt": run.token, "at": at} for run, at in started])


def set_ended(conn: Connection, ended: Sequence[tuple[Run, Ending, datetime]]) -> None:
    """Runs, how they ended and when."""
    texts = [(run, _encode(ending).decode(), at) for run, ending, at in ended]
    _ENDED.run_many(conn, [{"run": run.id, "text": text} for run, text, _ in texts])
    _ATTEMPT_ENDED.run_many(
        conn, [{"attempt": run.token, "text": text, "at": at} for run, text, at in texts]
    )


def set_ending(conn: Connection, run: Run, ending: Ending) -> None:
    """A run has ended in another way than was written down; when it ended stays."""
    text = _encode(ending).decode()
    _ENDED.run(conn, run=run.id, text=text)
    _ATTEMPT_ENDING.run(conn, attempt=run.token, text=text)


def pack_restart(restart: Restart) -> str:
    return _encode(restart).decode()


def set_restart(
    conn: Connection, run: Run, restart: Restart, *, reserved_core_microseconds: int
) -> None:
    """Forget how a run ended, so that another attempt can begin. Its outputs and the record of its
    attempts stay.
    """
    statement = _EXTRACT if restart.kind is Again.EXTRACT else _RESTART
    text = pack_restart(restart)
    statement.run(conn, run=run.id, text=text, reserved=reserved_core_microseconds or None)


@dataclass(frozen=True)
class Judged:
    """What is kept of a run that ended, as it is stored: packed before the writer is asked."""

    outcome: str | None
    samples: bytes | None
    outputs: str | None


def pack(
    outcome: Outcome | None, samples: Sequence[Sample] = (), outputs: Outputs | None = None
) -> Judged:
    return Judged(
        outcome=_encode(outcome).decode() if outcome else None,
        samples=zlib.compress(_encode(samples)) if samples else None,
        outputs=_encode(outputs).decode() if outputs else None,
    )


def set_completed(conn: Connection, run: Run, judged: Judged, *, at: datetime) -> None:
    """The outputs of a run are stored, this is said of it and this is what it used. Of one whose
    outputs were only read again, all else is as it was.
    """
    before = run.restart
    if before is not None and before.kind is Again.EXTRACT and before.ending is not None:
        _EXTRACTED.run(
            conn,
            run=run.id,
            began=before.started_at,
            at=before.completed_at,
            before=_encode(before.ending).decode(),
            text=judged.outcome,
            told=judged.outputs,
        )
        return
    packed = {"text": judged.outcome, "points": judged.samples, "told": judged.outputs}
    _COMPLETED.run(conn, run=run.id, at=at, **packed)


_CLOSE_PLANNED = Prepared(
    update(runs)
    .where(any_of(runs.c.id, "wanted"), runs.c.state == bindparam("planned"))
    .values(
        state=bindparam("closed"),
        ending=bindparam("text"),
        outcome=bindparam("judged"),
        completed_at=bindparam("at"),
    )
)


def close_planned(
    conn: Connection, planned: Sequence[Run], ending: Ending, outcome: Outcome, *, at: datetime
) -> None:
    """End runs that are planned still, without anything in between."""
    _CLOSE_PLANNED.run(
        conn,
        wanted=[run.id for run in planned],
        planned=State.PLANNED.value,
        closed=State.CLOSED.value,
        text=_encode(ending).decode(),
        judged=_encode(outcome).decode(),
        at=at,
    )


def samples(conn: Connection, run_id: int) -> list[Sample]:
    """What a run that ended used over its time; empty where nobody saw it."""
    packed = conn.scalar(_SAMPLES, {"run": run_id})
    return _samples.decode(zlib.decompress(packed)) if packed else []


def add_outputs(conn: Connection, run: Run, *, count: int, size_bytes: int) -> None:
    """Count files that were added to a run's outputs."""
    _OUTPUTS.run(conn, run=run.id, more=count, more_bytes=size_bytes)


def change_outputs(
    conn: Connection, job_id: int, number: int, *, count: int, size_bytes: int
) -> None:
    """Count files that were taken from a run's outputs (negative) or given back. With nothing to
    count: one of them has another name.
    """
    values = {"job": job_id, "number_": number, "more": count, "more_bytes": size_bytes}
    _OUTPUTS_BY_NUMBER.run(conn, **values)


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
    last = _LAST_ATTEMPT.scalar(conn, run=run.id)
    _NEW_ATTEMPT.run(
        conn,
        run_id=run.id,
        number=(last or 0) + 1,
        token=token,
        engine=engine,
        programs=_encode(programs).decode(),
        created_at=now,
    )
    _PRESENT_ATTEMPT.run(conn, run=run.id, attempt=token)


_ATTEMPTS = (
    select(
        runs.c.number.label("run_number"),
        attempts.c.number,
        attempts.c.token,
        attempts.c.engine,
        attempts.c.created_at,
        attempts.c.started_at,
        attempts.c.ended_at,
    )
    .join(runs, runs.c.id == attempts.c.run_id)
    .where(runs.c.job_id == bindparam("job"), runs.c.number > bindparam("after"))
    .order_by(runs.c.number, attempts.c.number)
    .limit(bindparam("size"))
)


def attempts_of(conn: Connection, job_id: int, *, after: int, size: int) -> list[Attempt]:
    """Attempts of a job's runs from the one after `after` on; few runs have more than one."""
    rows = conn.execute(_ATTEMPTS, {"job": job_id, "after": after, "size": size})
    return [Attempt(**row._mapping) for row in rows]  # noqa: SLF001


_JOB_OF = (
    select(runs.c.job_id)
    .join(attempts, attempts.c.run_id == runs.c.id)
    .where(attempts.c.token == bindparam("token"))
)


def job_of_attempt(conn: Connection, token: str) -> int | None:
    """Internal id of the job that an attempt belongs to."""
    return conn.scalar(_JOB_OF, {"token": token})


def all_tokens(conn: Connection, tokens: Sequence[str]) -> dict[str, State]:
    """Which of these attempts are recorded, and in what state their runs are."""
    query = (
        select(attempts.c.token, runs.c.state)
        .join(runs, runs.c.id == attempts.c.run_id)
        .where(attempts.c.token.in_(tokens))
    )
    return {token: State(state) for token, state in conn.execute(query)}
