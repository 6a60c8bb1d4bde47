"""Applying events to runs, and writing down what follows: the run's state, the job's state, the
words of the API and the journal, all in the caller's transaction.
"""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from simyard.domain import lifecycle
from simyard.domain.lifecycle import (
    CLUSTER_HISTORY,
    CLUSTER_WORDS,
    JOB_HISTORY,
    JOB_WORDS,
    STOPPING_WORD,
    Event,
    State,
)
from simyard.domain.runs import Ending, Run
from simyard.store import events, jobs, runs
from simyard.store.database import Transaction
from simyard.store.events import Entry
from simyard.store.jobs import Standing, Word

JOB = "job"
CLUSTER = "cluster"
_WELL = "Completed successfully"


def apply(tx: Transaction, run: Run, event: Event, *, at: datetime | None = None) -> Run:
    """Let something happen to a run. Returns the run as it is then.

    at: when it happened, if that is known better than by now. Raises IllegalTransition for a
    command that the state does not allow; an observation that changes nothing does nothing.
    """
    state = lifecycle.after(run.state, event)
    if state is run.state:
        return run
    runs.set_state(tx.conn, [run.id], state)
    (before,) = jobs.standings(tx.conn, [run.job_id])
    job_state = lifecycle.of_job(runs.states_of(tx.conn, [run.job_id])[run.job_id])
    reason = None
    if job_state in (State.COLLECTING, State.COMPLETED):
        reason = _reason(runs.endings(tx.conn, run.job_id))
    record(tx, [(before, job_state)], reason=reason, at=at, moved=[(run, state)])
    return dataclasses.replace(run, state=state)


def admit(tx: Transaction, pending: Sequence[Run]) -> None:
    """Let many runs that were just submitted into the queue: what `apply` does, at once."""
    state = lifecycle.after(State.PENDING, Event.ADMITTED)
    runs.set_state(tx.conn, [run.id for run in pending], state)
    job_ids = sorted({run.job_id for run in pending})
    states = runs.states_of(tx.conn, job_ids)
    changes = [
        (before, lifecycle.of_job(states[before.job_id]))
        for before in jobs.standings(tx.conn, job_ids)
    ]
    record(tx, changes, moved=[(run, state) for run in pending])


def record(
    tx: Transaction,
    changes: Sequence[tuple[Standing, State]],
    *,
    reason: str | None = None,
    at: datetime | None = None,
    moved: Sequence[tuple[Run, State]] = (),
) -> None:
    """Jobs come to new states, and runs too: write their words and the journal.

    A history tells every word once. Where a run had to begin again before anything of it had
    started, what was said before still holds.
    """
    entries = [
        Entry("run.state", at or tx.now(), run.job_id, run.number, {"state": state.value})
        for run, state in moved
    ]
    words: list[Word] = []
    standings: list[Standing] = []
    for before, state in changes:
        if before.state is state:
            continue
        standing = dataclasses.replace(before, state=state)
        word = JOB_WORDS.get(state)
        if state is State.COLLECTING and reason != _WELL:
            word = STOPPING_WORD  # a run failed: that is where the reason is first told
        if word is not None and _is_later(JOB_HISTORY, word, before.status):
            words.append(Word(before.job_id, JOB, word, reason, at or tx.now()))
            standing = dataclasses.replace(standing, status=word)
        for word in CLUSTER_WORDS.get(state, ()):
            if _is_later(CLUSTER_HISTORY, word, standing.cluster_status):
                words.append(Word(before.job_id, CLUSTER, word, None, at or tx.now()))
                standing = dataclasses.replace(standing, cluster_status=word)
        standings.append(standing)
        data = {"state": state.value, "reason": reason}
        entries.append(Entry("job.state", at or tx.now(), before.job_id, None, data))
    jobs.add_words(tx.conn, words)
    if standings:
        jobs.set_standings(tx.conn, standings)
    if entries:
        events.append(tx.conn, entries)


def _is_later(history: tuple[str, ...], word: str, than: str) -> bool:
    return history.index(word) > history.index(than)


def _reason(endings: list[Ending]) -> str:
    """What is said of a job whose runs ended like this: the first that is not well."""
    for ending in endings:
        if not ending.successful:
            return ending.reason
    return _WELL
