"""Applying events to runs, and writing down what follows: the run's state, the job's state, the
words of the API and the journal, all in the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from simyard.domain import lifecycle
from simyard.domain.lifecycle import (
    CLUSTER_HISTORY,
    FINAL,
    JOB_HISTORY,
    JOB_WORDS,
    STOPPING_WORD,
    UNTOLD,
    WAIT_WORDS,
    Event,
    State,
)
from simyard.domain.records import dataclass, replace
from simyard.domain.runs import (
    FAILED,
    WELL,
    Cause,
    Ended,
    Ending,
    Run,
    Waiting,
    charge_micros,
    reason,
)
from simyard.service import aims, quotas
from simyard.store import events, jobs, runs, studies, usage
from simyard.store.database import Transaction
from simyard.store.events import Entry
from simyard.store.jobs import Standing, Word
from simyard.store.usage import Used

JOB = "job"
CLUSTER = "cluster"
_NO_RUNS = "Completed: there were no runs"
_AT_ITS_END = (State.DRAFT, State.COLLECTING, State.COMPLETED, State.CLOSED)


@dataclass(frozen=True)
class Happening:
    """Something that happens to a run."""

    run: Run
    event: Event
    at: datetime | None = None  # when, if that is known better than by now
    ending: Ending | None = None  # with ENDED
    waiting: Waiting | None = None  # with WAITS


def apply(tx: Transaction, happenings: Sequence[Happening]) -> list[Run]:
    """Let things happen to runs, at most one to each. Returns the runs as they are then.

    Raises IllegalTransition for a command that a state does not allow; an observation that
    changes nothing does nothing. Many at once cost much less than one by one.
    """
    after: list[Run] = []
    moved: list[tuple[Happening, State]] = []
    for happening in happenings:
        state = lifecycle.after(happening.run.state, happening.event)
        if state is happening.run.state:
            after.append(happening.run)
            continue
        ending = happening.ending or happening.run.ending
        after.append(replace(happening.run, state=state, ending=ending))
        moved.append((happening, state))
    if not moved:
        return after
    runs.set_states(tx.conn, [(happening.run.id, state) for happening, state in moved])
    endings = [(h.run, h.ending, h.at or tx.now()) for h, _ in moved if h.ending is not None]
    if endings:
        runs.set_ended(tx.conn, endings)
        _charge(tx, endings)
    entries = [
        Entry(
            "run.state",
            happening.at or tx.now(),
            happening.run.job_id,
            happening.run.number,
            {"state": state.value, **_told(happening.waiting)},
        )
        for happening, state in moved
    ]
    waiting = {h.run.job_id: h.waiting for h, _ in moved if h.waiting is not None}
    follow(tx, {happening.run.job_id: happening.at for happening, _ in moved}, entries, waiting)
    return after


def follow(
    tx: Transaction,
    job_ids: Mapping[int, datetime | None],
    entries: Sequence[Entry] = (),
    waiting: Mapping[int, Waiting] = MappingProxyType({}),
) -> None:
    """Bring jobs to where their runs are, and write these entries into the journal. job_ids: with
    the time at which that came about, if it is known better than by now. waiting: what jobs in the
    queue of a scheduler wait for. Idempotent.
    """
    states = runs.states_of(tx.conn, list(job_ids))
    standings = jobs.standings(tx.conn, list(job_ids))
    reached = {
        before.job_id: lifecycle.of_job(states[before.job_id], executed=_has_executed(before))
        for before in standings
    }
    ended = [job_id for job_id, state in reached.items() if state in _AT_ITS_END]
    more_to_come = studies.open_ones(tx.conn, ended) if ended else ()
    changes = []
    for before in standings:
        state = reached[before.job_id]
        if before.job_id in more_to_come:
            state = State.RUNNING if _has_executed(before) else before.state
            if state in FINAL:
                state = State.PENDING  # it was at its end, and goes on
        elif state is State.DRAFT:
            _end_at_once(tx, before, _NO_RUNS)
            continue
        elif state is State.CLOSED and before.state not in FINAL:
            # A study that was closed when all its runs were over.
            _end_at_once(tx, before, _reason_at_end(tx, before.job_id))
            continue
        reason = None
        if state is State.COLLECTING and state is not before.state:
            reason = _reason(runs.endings(tx.conn, before.job_id))
        elif state is State.COMPLETED and state is not before.state:
            reason = _reason_at_end(tx, before.job_id)
        elif state is State.WAITING and before.job_id in waiting:
            reason = waiting[before.job_id].reason
        wait = waiting.get(before.job_id)
        changes.append(Change(before, state, reason, job_ids[before.job_id], wait))
    record(tx, changes, entries)


def _end_at_once(tx: Transaction, before: Standing, reason: str) -> None:
    """End a job of which nothing is left by the time that this is known."""
    record(tx, [Change(before, State.COMPLETED, reason)])
    (now,) = jobs.standings(tx.conn, [before.job_id])
    record(tx, [Change(now, State.CLOSED)])


def _has_executed(before: Standing) -> bool:
    """Whether a run of the job was seen to execute since it was submitted or last reopened."""
    word = "" if before.state in FINAL else before.status
    return JOB_HISTORY.index(word) >= JOB_HISTORY.index(JOB_WORDS[State.RUNNING])


def _charge(tx: Transaction, endings: Sequence[tuple[Run, Ending, datetime]]) -> None:
    """Write down what runs that ended have used, and give back what was reserved for them. In the
    transaction of their end: never twice, never not at all.
    """
    rows = []
    projects: dict[int, str] = {}
    of = jobs.by_ids(tx.conn, {run.job_id for run, _, _ in endings})
    for run, _, at in endings:
        job = of[run.job_id]
        projects[run.id] = job.definition.project_id or ""
        if run.started_at is None:
            continue  # nothing of it ever ran
        used = max(0, (at - run.started_at) // timedelta(microseconds=1)) * run.cores
        rows.append(
            Used(
                ended_at=at,
                user_id=job.owner_id,
                project=job.definition.project_id or "",
                job=job.code,
                run_number=run.number,
                core_type=run.core_type,
                core_microseconds=used,
                charge_micros=charge_micros(used, run.price_micros),
            )
        )
    if rows:
        usage.record(tx.conn, rows)
    quotas.release(tx, projects)


@dataclass(frozen=True)
class Change:
    """A job comes to a state."""

    before: Standing
    state: State
    reason: str | None = None
    at: datetime | None = None
    waiting: Waiting | None = None


def tell_waiting(tx: Transaction, job_id: int, waiting: Waiting) -> None:
    """What a job in the queue of a scheduler waits for is another thing now, or has another reason:
    it is told with the word that tells of it.
    """
    (now,) = jobs.standings(tx.conn, [job_id])
    word = WAIT_WORDS[waiting.wait]
    if now.state is not State.WAITING:
        return
    if now.status == word:
        jobs.amend_word(tx.conn, job_id, JOB, waiting.reason)
    elif _is_later(JOB_HISTORY, word, now.status):
        jobs.add_words(tx.conn, [Word(job_id, JOB, word, waiting.reason, tx.now())])
        now = replace(now, status=word)
        jobs.set_standings(tx.conn, [now])
    else:
        return  # it waits for its turn again; a history tells every word once
    data = _state_data(now, waiting.reason)
    events.append(tx.conn, [Entry("job.state", tx.now(), job_id, None, data)])


def _told(waiting: Waiting | None) -> dict[str, str]:
    return {} if waiting is None else {"waitsFor": waiting.wait.value, "reason": waiting.reason}


def _state_data(standing: Standing, reason: str | None) -> dict[str, str | None]:
    return {
        "state": standing.state.value,
        "status": standing.status,
        "clusterStatus": standing.cluster_status,
        "reason": reason,
    }


def record(tx: Transaction, changes: Sequence[Change], entries: Sequence[Entry] = ()) -> None:
    """Write the words and the journal of jobs that come to new states, and further entries.

    A history tells every word once. Where a run had to begin again before anything of it had
    started, what was said before still holds. Where one is restarted, all is told again.
    """
    journal = list(entries)
    words: list[Word] = []
    standings: list[Standing] = []
    completed: list[int] = []
    reopened: list[int] = []
    untold = [
        c.before.job_id for c in changes if c.state in UNTOLD and c.state is not c.before.state
    ]
    elsewhere = runs.elsewhere(tx.conn, untold) if untold else ()
    for change in changes:
        before, state = change.before, change.state
        if before.state is state:
            continue
        if before.state in FINAL and state not in FINAL:
            reopened.append(before.job_id)
            before = replace(before, status="", cluster_status="")
        standing = replace(before, state=state)
        job_words, cluster_words = lifecycle.job_words(state), lifecycle.cluster_words(state)
        if state is State.COLLECTING and change.reason != WELL:
            job_words = (STOPPING_WORD,)  # a run failed: that is where the reason is first told
        elif change.waiting is not None and state is State.WAITING:
            job_words = (WAIT_WORDS[change.waiting.wait],)
        elif state in UNTOLD and before.job_id in elsewhere:
            job_words = cluster_words = ()  # no cores are granted yet
        for word in job_words:
            if _is_later(JOB_HISTORY, word, standing.status):
                words.append(Word(before.job_id, JOB, word, change.reason, change.at or tx.now()))
                standing = replace(standing, status=word)
        for word in cluster_words:
            if _is_later(CLUSTER_HISTORY, word, standing.cluster_status):
                words.append(Word(before.job_id, CLUSTER, word, None, change.at or tx.now()))
                standing = replace(standing, cluster_status=word)
        standings.append(standing)
        if state in FINAL and before.state not in FINAL:
            completed.append(before.job_id)
        data = _state_data(standing, change.reason)
        journal.append(Entry("job.state", change.at or tx.now(), before.job_id, None, data))
    if words:
        jobs.add_words(tx.conn, words)
    if standings:
        jobs.set_standings(tx.conn, standings)
    if completed:
        jobs.complete_views(tx.conn, completed)
    if reopened:
        jobs.reopen_views(tx.conn, reopened)
    if journal:
        events.append(tx.conn, journal)


def _is_later(history: tuple[str, ...], word: str, than: str) -> bool:
    return history.index(word) > history.index(than)


def _reason(ends: Sequence[Ended]) -> str:
    """What is said of a job whose runs ended like this: of one run, how it ended; of many, how many
    of them are well, and how the first of the others ended.
    """
    if len(ends) == 1:
        return reason(ends[0].ending, ends[0].outcome)
    others = [(end, text) for end in ends if (text := reason(end.ending, end.outcome)) != WELL]
    if not others:
        return WELL
    well = len(ends) - len(others)
    first = next(((e.number, t) for e, t in others if e.ending.cause is not Cause.STOPPED), None)
    if first is None:
        return f"Stopped by the user; {well} of {len(ends)} runs completed"
    number, why = first[0], first[1].removeprefix(FAILED).strip()
    if not well:
        return f"{FAILED} none of {len(ends)} runs completed. Run {number}: {why}"
    return f"{well} of {len(ends)} runs completed. Run {number} failed: {why}"


def _reason_at_end(tx: Transaction, job_id: int) -> str:
    """The same of a job whose outputs are stored: also that an optimisation has found nothing."""
    said = _reason(runs.endings(tx.conn, job_id))
    standing = studies.of_job(tx.conn, job_id) if said == WELL else None
    if standing is None or standing.closed_because is None:
        return said
    study = jobs.by_id(tx.conn, job_id).definition.study
    assert study is not None
    found, _ = aims.aims(study)
    if study.dry_run or not found.goals or runs.optimal(tx.conn, job_id):
        return said
    outputs = (run.outputs for run in runs.every(tx.conn, job_id) if run.outputs)
    told = {value.name for each in outputs for value in each.values if value.number is not None}
    wanted = [*(goal.name for goal in found.goals), *(limit.name for limit in found.limits)]
    missing = [name for name in wanted if name not in told]
    if missing:
        return f"Completed: there is no best run, since none told a number for {missing[0]}"
    return "Completed: there is no best run, since none has all objectives within the constraints"
