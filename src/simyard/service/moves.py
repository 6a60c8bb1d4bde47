"""Applying events to runs, and writing down what follows: the run's state, the job's state, the
words of the API and the journal, all in the caller's transaction.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from simyard.domain import lifecycle
from simyard.domain.lifecycle import (
    CLUSTER_HISTORY,
    CLUSTER_WORDS,
    FINAL,
    JOB_HISTORY,
    JOB_WORDS,
    STOPPING_WORD,
    Event,
    State,
)
from simyard.domain.outcome import Outcome
from simyard.domain.runs import WELL, Ending, Run, charge_micros, reason
from simyard.service import quotas
from simyard.store import events, jobs, runs, usage
from simyard.store.database import Transaction
from simyard.store.events import Entry
from simyard.store.jobs import Standing, Word
from simyard.store.usage import Used

JOB = "job"
CLUSTER = "cluster"
_TELLS_HOW = (State.COLLECTING, State.COMPLETED)  # states whose words carry a reason


@dataclass(frozen=True)
class Happening:
    """Something that happens to a run."""

    run: Run
    event: Event
    at: datetime | None = None  # when, if that is known better than by now
    ending: Ending | None = None  # with ENDED


def apply(tx: Transaction, happenings: Sequence[Happening]) -> list[Run]:
    """Let things happen to runs, at most one to each. Returns the runs as they are then.

    Raises IllegalTransition for a command that a state does not allow; an observation that
    changes nothing does nothing. Many at once cost much less than one by one.
    """
    after: list[Run] = []
    moved: list[tuple[Happening, State]] = []
    for happening in happenings:
        state = lifecycle.after(happening.run.state, happening.event)
        after.append(dataclasses.replace(happening.run, state=state))
        if state is not happening.run.state:
            moved.append((happening, state))
    if not moved:
        return after
    runs.set_states(tx.conn, [(happening.run.id, state) for happening, state in moved])
    endings = [(h.run, h.ending, h.at or tx.now()) for h, _ in moved if h.ending is not None]
    if endings:
        runs.set_ended(tx.conn, endings)
        _charge(tx, endings)
    at = {happening.run.job_id: happening.at for happening, _ in moved}
    entries = [
        Entry(
            "run.state",
            happening.at or tx.now(),
            happening.run.job_id,
            happening.run.number,
            {"state": state.value},
        )
        for happening, state in moved
    ]
    states = runs.states_of(tx.conn, list(at))
    changes = []
    for before in jobs.standings(tx.conn, list(at)):
        state = lifecycle.of_job(states[before.job_id])
        reason = _reason(runs.endings(tx.conn, before.job_id)) if state in _TELLS_HOW else None
        changes.append(Change(before, state, reason, at[before.job_id]))
    record(tx, changes, entries)
    return after


def _charge(tx: Transaction, endings: Sequence[tuple[Run, Ending, datetime]]) -> None:
    """Write down what runs that ended have used, and give back what was reserved for them. In the
    transaction of their end: never twice, never not at all.
    """
    rows = []
    projects: dict[int, str] = {}
    for run, _, at in endings:
        job = jobs.by_id(tx.conn, run.job_id)
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
    for change in changes:
        before, state = change.before, change.state
        if before.state is state:
            continue
        if before.state in FINAL and state not in FINAL:
            reopened.append(before.job_id)
            before = dataclasses.replace(before, status="", cluster_status="")
        standing = dataclasses.replace(before, state=state)
        word = JOB_WORDS.get(state)
        if state is State.COLLECTING and change.reason != WELL:
            word = STOPPING_WORD  # a run failed: that is where the reason is first told
        if word is not None and _is_later(JOB_HISTORY, word, before.status):
            words.append(Word(before.job_id, JOB, word, change.reason, change.at or tx.now()))
            standing = dataclasses.replace(standing, status=word)
        for word in CLUSTER_WORDS.get(state, ()):
            if _is_later(CLUSTER_HISTORY, word, standing.cluster_status):
                words.append(Word(before.job_id, CLUSTER, word, None, change.at or tx.now()))
                standing = dataclasses.replace(standing, cluster_status=word)
        standings.append(standing)
        if state in FINAL and before.state not in FINAL:
            completed.append(before.job_id)
        data = {
            "state": state.value,
            "status": standing.status,
            "clusterStatus": standing.cluster_status,
            "reason": change.reason,
        }
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


def _reason(ends: list[tuple[Ending, Outcome | None]]) -> str:
    """What is said of a job whose runs ended like this: the first that is not well."""
    said = (reason(ending, outcome) for ending, outcome in ends)
    return next((text for text in said if text != WELL), WELL)
