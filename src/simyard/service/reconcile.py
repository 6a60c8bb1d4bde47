"""Doing what runs owe: the body of the worker's loop.

`turn` looks at the database and the engine once: it admits, grants cores, records what the engine
saw, and hands every run that owes something to `drive`. `drive` does what the run's state owes
until there is nothing left to do but wait. Every effect is safe to repeat, so nothing here needs to
know whether it is the first try, and a restart is no special case.
"""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from simyard.domain.catalogue import Notice
from simyard.domain.errors import NotFound, SimyardError, StorageFull, Unavailable
from simyard.domain.faults import crash_point
from simyard.domain.files import File
from simyard.domain.jobs import Job
from simyard.domain.lifecycle import Event, State
from simyard.domain.runs import Cause, Ending, Run
from simyard.engines.protocol import Observation, Phase
from simyard.service import collecting, idempotency, moves, staging
from simyard.service.site import Site
from simyard.service.staging import CannotStart, StopWanted
from simyard.store import events, files, jobs, runs
from simyard.store import idempotency as idempotency_store
from simyard.store.database import Transaction

log = logging.getLogger(__name__)

# States whose attempt the engine may have news of.
WATCHED = (State.SUBMITTING, State.RUNNING, State.STOPPING)
# States that owe something which `drive` can do.
DRIVEN = (State.STAGING, State.SUBMITTING, State.STOPPING, State.COLLECTING, State.COMPLETED)

_EVENTS_KEPT = timedelta(days=30)
_ORPHAN_SECONDS = 3600.0  # a blob that nobody recorded in this time belongs to nobody
_DELETE_AT_ONCE = 200
_ADMIT_AT_ONCE = 1000
_LET_IN_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 60.0
_GIVE_UP_AFTER = 5  # unexpected failures in a row, while nothing has started yet


class Reconciler:
    """What is known between turns: which runs somebody is busy with, and which have to wait. All
    else is in the database.

    hand_over: runs a call in another thread, soon.
    """

    def __init__(self, site: Site, hand_over: Callable[[Callable[[], None]], None]) -> None:
        self._site = site
        self._hand_over = hand_over
        self._lock = threading.Lock()
        self._busy: set[int] = set()
        self._again: set[int] = set()  # runs that got news while somebody was busy with them
        self._failures: dict[int, int] = {}  # in a row
        self._not_before: dict[int, float] = {}  # monotonic seconds
        self._full = False  # whether every core was taken when the queue was last looked at
        self._let_in_at = 0.0

    def turn(self, news: Iterable[str] | None) -> float | None:
        """Look once. news: tokens that the engine has something new about; None looks at all.

        Returns after how many seconds another look is wanted, whatever the news; None: whenever.
        """
        site = self._site
        heard = None if news is None else set(news)
        active = site.db.read(runs.in_states, *DRIVEN, State.RUNNING)
        watched = [
            run
            for run in active
            if run.state in WATCHED and run.token and (heard is None or run.token in heard)
        ]
        seen = site.engine.observe([run.token for run in watched if run.token])
        changed = {run.id: seen[run.token] for run in watched if run.token and _tells(run, seen)}
        too_early = self._full and time.monotonic() < self._let_in_at + _LET_IN_SECONDS
        if changed or (not too_early and self._somebody_waits()):
            site.db.write(self._advance, changed)
            active = site.db.read(runs.in_states, *DRIVEN)
        for run in active:
            # An attempt that was handed over is asked for again once a second, not at any news.
            if run.state in DRIVEN and (heard is None or run.state is not State.SUBMITTING):
                self._dispatch(run.id)
        # While every core is taken, a crowd that submits is let into the queue together.
        return _LET_IN_SECONDS if too_early else None

    def _somebody_waits(self) -> bool:
        self._let_in_at = time.monotonic()
        return bool(self._site.db.read(runs.in_states, State.PENDING, State.QUEUED, most=1))

    def _advance(self, tx: Transaction, changed: dict[int, Observation]) -> None:
        """Write down what was seen, then let in what waits."""
        for run_id, seen in changed.items():
            run = runs.by_id(tx.conn, run_id)
            if run is not None:
                self._record(tx, run, seen)
        if changed:
            crash_point("observe.recorded")
        self._admit_and_grant(tx)

    # --- the queue --------------------------------------------------------------------------------

    def _admit_and_grant(self, tx: Transaction) -> None:
        """Queue what was submitted, and grant cores in the order of the queue while there are any.
        The first in the queue is never passed by a smaller one.
        """
        pending = runs.in_states(tx.conn, State.PENDING, most=_ADMIT_AT_ONCE)
        if pending:
            moves.admit(tx, pending)
        free = self._site.machine.cores - runs.cores_held(tx.conn)
        for run in runs.in_states(tx.conn, State.QUEUED, most=max(free, 0)):
            if run.cores > free:
                break
            free -= run.cores
            self._begin_attempt(tx, run)
            moves.apply(tx, run, Event.GRANTED)
            crash_point("queue.granted")
        self._full = free <= 0

    def _begin_attempt(self, tx: Transaction, run: Run) -> None:
        site = self._site
        try:
            programs = staging.programs(site, site.book.current(), jobs.by_id(tx.conn, run.job_id))
        except CannotStart:
            programs = []  # staging ends the run with the reason
        name = site.engine.capabilities().name
        runs.new_attempt(
            tx.conn, run, uuid.uuid4().hex, engine=name, programs=programs, now=tx.now()
        )

    # --- observations -----------------------------------------------------------------------------

    def _record(self, tx: Transaction, run: Run, seen: Observation) -> None:
        """Write down what the engine saw of a run."""
        if seen.started_at is not None and run.started_at is None:
            runs.set_started(tx.conn, run, at=seen.started_at)
            run = moves.apply(tx, run, Event.STARTED, at=seen.started_at)
        if seen.phase is Phase.ENDED and seen.ending is not None:
            _end(tx, run, seen.ending, at=seen.ended_at)
        elif seen.phase is Phase.VANISHED:
            if run.state is State.STOPPING:
                _end(tx, run, Ending(cause=Cause.STOPPED))
            elif run.started_at is not None:
                message = "its folder was removed while it ran"
                _end(tx, run, Ending(cause=Cause.INTERRUPTED, message=message))
            else:
                # Nothing of it ever ran and nothing will: the one case for another attempt.
                self._begin_attempt(tx, run)
                moves.apply(tx, run, Event.VANISHED)

    # --- effects ----------------------------------------------------------------------------------

    def _dispatch(self, run_id: int) -> None:
        with self._lock:
            if run_id in self._busy:
                self._again.add(run_id)
                return
            if time.monotonic() < self._not_before.get(run_id, 0.0):
                return
            self._busy.add(run_id)
        self._hand_over(lambda: self._drive_alone(run_id))

    def _drive_alone(self, run_id: int) -> None:
        try:
            self.drive(run_id)
            failed = None
        except Exception as error:
            failed = error
        with self._lock:
            self._busy.discard(run_id)
            again = run_id in self._again
            self._again.discard(run_id)
            if failed is None:
                self._failures.pop(run_id, None)
                self._not_before.pop(run_id, None)
            else:
                count = self._failures[run_id] = self._failures.get(run_id, 0) + 1
                self._not_before[run_id] = time.monotonic() + min(2.0**count, _LONGEST_WAIT_SECONDS)
        if failed is not None:
            self._failed(run_id, failed, count)
        if again:
            self._site.wake()

    def _failed(self, run_id: int, error: Exception, count: int) -> None:
        """An effect did not work. It is tried again, later each time; the user is told why."""
        if isinstance(error, StorageFull | Unavailable):
            log.warning("run %d waits: %s", run_id, error)
            notice = Notice(code="waiting", message=f"This job waits: {error}")
            if count == 1 and isinstance(error, StorageFull):
                with contextlib.suppress(SimyardError):
                    self._site.db.write(_notice, run_id, notice)
            return
        log.error("run %d: an effect failed", run_id, exc_info=error)
        if count >= _GIVE_UP_AFTER:
            message = f"the platform could not lay it out ({type(error).__name__}: {error})"
            ending = Ending(cause=Cause.REFUSED, message=message)
            with contextlib.suppress(SimyardError):
                self._site.db.write(_refused, run_id, ending)

    def drive(self, run_id: int) -> None:
        """Do what the run's state owes, until it owes nothing or only time can help."""
        site = self._site
        while True:
            run = site.db.read(runs.by_id, run_id)
            if run is None:
                return
            job = site.db.read(jobs.by_id, run.job_id)
            match run.state:
                case State.STAGING:
                    self._stage(job, run)
                case State.SUBMITTING:
                    self._submit(job, run)
                    return
                case State.STOPPING:
                    if not self._stop(run):
                        return
                case State.COLLECTING:
                    self._collect(job, run)
                case State.COMPLETED:
                    if not self._clear(run):
                        return
                case _:
                    return

    def _stage(self, job: Job, run: Run) -> None:
        site = self._site

        def stop_wanted() -> bool:
            now = site.db.read(runs.by_id, run.id)
            return now is None or now.state is not State.STAGING

        try:
            inputs = self._inputs(job)
            staging.stage(site, site.book.current(), job, run, inputs, stop_wanted)
        except StopWanted:
            return
        except CannotStart as error:
            ending = Ending(cause=Cause.REFUSED, message=str(error))
            site.db.write(_ended, run.id, ending)
            return
        site.db.write(_observed, run.id, Event.STAGED)
        crash_point("stage.recorded")

    def _inputs(self, job: Job) -> dict[str, File]:
        named = [code for _, code in job.definition.files()]
        return self._site.db.read(files.by_codes, named, owner_id=job.owner_id)

    def _submit(self, job: Job, run: Run) -> None:
        site = self._site
        try:
            spec = staging.attempt(site, site.book.current(), job, run, self._inputs(job))
        except CannotStart as error:
            site.db.write(_ended, run.id, Ending(cause=Cause.REFUSED, message=str(error)))
            site.wake()
            return
        crash_point("start.asked")
        site.engine.submit(spec)
        crash_point("start.handed-over")

    def _stop(self, run: Run) -> bool:
        """Whether the run has ended."""
        site = self._site
        if run.token is None:  # it never got as far as an attempt
            site.db.write(_ended, run.id, Ending(cause=Cause.STOPPED))
            return True
        site.engine.cancel(run.token)
        crash_point("stop.asked")
        seen = site.engine.observe([run.token])[run.token]
        if seen.phase not in (Phase.ENDED, Phase.VANISHED):
            return False
        site.db.write(self._advance, {run.id: seen})
        return True

    def _collect(self, job: Job, run: Run) -> None:
        site = self._site
        assert run.ending is not None
        if run.token is not None and not run.ending.successful:
            folder = site.engine.folder(run.token)
            staging.say(folder, run.ending.reason)
        outputs = (
            collecting.collect(site, job, run, ran=run.started_at is not None)
            if run.token is not None
            else []
        )
        site.db.write(_completed, run.id, job, outputs)
        crash_point("collect.recorded")

    def _clear(self, run: Run) -> bool:
        """Whether nothing of the run is left on the machine."""
        site = self._site
        if run.token is not None:
            try:
                site.engine.remove(run.token)
            except NotFound:
                return False
        crash_point("clear.removed")
        site.db.write(_observed, run.id, Event.CLEARED)
        return True

    # --- housekeeping -----------------------------------------------------------------------------

    def tidy(self, *, orphan_seconds: float = _ORPHAN_SECONDS) -> None:
        """Remove what nothing shows any more: deleted blobs, blobs that were never recorded,
        folders of attempts that nobody knows, old journal entries and old idempotency keys.
        """
        site = self._site
        for key in site.db.read(files.blobs_to_delete, _DELETE_AT_ONCE):
            site.blobs.store.delete(key)
            site.db.write(_forget_blob, key)
        self._sweep_blobs(orphan_seconds)
        self._sweep_folders()
        site.db.write(_prune)

    def _sweep_blobs(self, orphan_seconds: float) -> None:
        site = self._site
        today = site.clock()
        for day in (today - timedelta(days=1), today):
            old = [
                key for key, age in site.blobs.store.keys(f"{day:%Y%m%d}") if age >= orphan_seconds
            ]
            for i in range(0, len(old), 500):
                part = old[i : i + 500]
                for key in set(part) - site.db.read(files.known_keys, part):
                    log.info("blob %s was never recorded; it is removed", key)
                    site.blobs.store.delete(key)

    def _sweep_folders(self) -> None:
        site = self._site
        tokens = site.engine.tokens()
        for i in range(0, len(tokens), 500):
            part = tokens[i : i + 500]
            known = site.db.read(runs.all_tokens, part)
            for token in part:
                if known.get(token, State.CLOSED) is State.CLOSED:
                    try:
                        site.engine.remove(token)
                    except NotFound:
                        log.info("attempt %s is unknown and still alive; it is told to end", token)


def _tells(run: Run, seen: dict[str, Observation]) -> bool:
    """Whether an observation says something that is not written down yet."""
    found = seen[run.token or ""]
    if found.phase is Phase.RUNNING:
        return run.started_at is None or run.state is State.SUBMITTING
    return found.phase in (Phase.ENDED, Phase.VANISHED)


def _observed(tx: Transaction, run_id: int, event: Event) -> None:
    run = runs.by_id(tx.conn, run_id)
    if run is not None:
        moves.apply(tx, run, event)


def _ended(tx: Transaction, run_id: int, ending: Ending) -> None:
    run = runs.by_id(tx.conn, run_id)
    if run is not None:
        _end(tx, run, ending)


def _end(tx: Transaction, run: Run, ending: Ending, *, at: datetime | None = None) -> None:
    """Nothing of the run is alive, and this is how it came to that. The first ending counts."""
    if run.ending is None:
        runs.set_ended(tx.conn, run, ending, at=at or tx.now())
        moves.apply(tx, run, Event.ENDED)


def _refused(tx: Transaction, run_id: int, ending: Ending) -> None:
    run = runs.by_id(tx.conn, run_id)
    if run is not None and run.state is State.STAGING:
        _end(tx, run, ending)


def _notice(tx: Transaction, run_id: int, notice: Notice) -> None:
    run = runs.by_id(tx.conn, run_id)
    if run is not None:
        job = jobs.by_id(tx.conn, run.job_id)
        if notice not in job.notices:
            jobs.set_notices(tx.conn, job.id, (*job.notices, notice))


def _completed(tx: Transaction, run_id: int, job: Job, outputs: list[collecting.Output]) -> None:
    run = runs.by_id(tx.conn, run_id)
    if run is None or run.state is not State.COLLECTING:
        return
    collecting.record(tx, job, run, outputs)
    size = sum(output.size_bytes for output in outputs)
    runs.set_completed(tx.conn, run, output_count=len(outputs), output_bytes=size, at=tx.now())
    jobs.add_storage(tx.conn, job.id, size)
    moves.apply(tx, run, Event.STORED)


def _forget_blob(tx: Transaction, key: str) -> None:
    files.blob_deleted(tx.conn, key)


def _prune(tx: Transaction) -> None:
    events.prune(tx.conn, before=tx.now() - _EVENTS_KEPT)
    idempotency_store.prune(tx.conn, before=tx.now() - idempotency.KEPT)
