"""Applying events to runs, and writing down what follows: the run's state, the job's state, the
words of the API and the journal, all in the caller's transaction.
"""

import dataclasses
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

JOB = "job"
CLUSTER = "cluster"


def apply(tx: Transaction, run: Run, event: Event, *, at: datetime | None = None) -> Run:
    """Let something happen to a run. Returns the run as it is then.

    at: when it happened, if that is known better than by now. Raises IllegalTransition for a
    command that the state does not allow; an observation that changes nothing does nothing.
    """
    state = lifecycle.after(run.state, event)
    if state is run.state:
        return run
    runs.set_state(tx.conn, run.id, state)
    moved = dataclasses.replace(run, state=state)
    record_job(tx, run.job_id, lifecycle.of_job(runs.states(tx.conn, run.job_id)), at=at)
    events.append(
        tx.conn,
        "run.state",
        at=at or tx.now(),
        job_id=run.job_id,
        run_number=run.number,
        state=state.value,
    )
    return moved


def record_job(tx: Transaction, job_id: int, state: State, *, at: datetime | None = None) -> None:
    """The job is in this state now: write its words and the journal, if that is news.

    A history tells every word once. Where a run had to begin again before anything of it had
    started, what was said before still holds.
    """
    before, status, cluster_status = jobs.standing(tx.conn, job_id)
    if before is state:
        return
    word, reason = JOB_WORDS.get(state), None
    if state in (State.COLLECTING, State.COMPLETED):
        reason = _reason(runs.endings(tx.conn, job_id))
        if state is State.COLLECTING and reason != _WELL:
            word = STOPPING_WORD  # a run failed: that is where the reason is first told
    if word is not None and _is_later(JOB_HISTORY, word, status):
        jobs.add_status(tx.conn, job_id, JOB, word, reason, at=at or tx.now())
        status = word
    for cluster_word in CLUSTER_WORDS.get(state, ()):
        if _is_later(CLUSTER_HISTORY, cluster_word, cluster_status):
            jobs.add_status(tx.conn, job_id, CLUSTER, cluster_word, None, at=at or tx.now())
            cluster_status = cluster_word
    jobs.set_state(tx.conn, job_id, state, status=status, cluster_status=cluster_status)
    events.append(
        tx.conn, "job.state", at=at or tx.now(), job_id=job_id, state=state.value, reason=reason
    )


def _is_later(history: tuple[str, ...], word: str, than: str) -> bool:
    return history.index(word) > history.index(than)


_WELL = "Completed successfully"


def _reason(endings: list[Ending]) -> str:
    """What is said of a job whose runs ended like this: the first that is not well."""
    for ending in endings:
        if not ending.successful:
            return ending.reason
    return _WELL
