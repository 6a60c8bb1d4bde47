"""Doing what runs owe: the body of the worker's loop.

`turn` looks once: it takes the reports of effects that were carried out and what the engine saw,
writes all of it down in one transaction, lets in who waits and grants cores, and then hands out
what the states owe now. An effect runs in a thread of its own, touches no row, and ends in a
report. Every effect is safe to repeat, so nothing here needs to know whether it is the first try,
and a restart is no special case.
"""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from simyard.domain.catalogue import Notice
from simyard.domain.errors import NotFound, SimyardError, StorageFull, Unavailable, disk_is_full
from simyard.domain.faults import crash_point
from simyard.domain.files import File
from simyard.domain.jobs import Job
from simyard.domain.lifecycle import LOCAL, Event, State
from simyard.domain.outcome import Outcome, Verdict
from simyard.domain.records import dataclass, replace
from simyard.domain.runs import WELL, Again, Cause, Ending, Run, Waiting, reason
from simyard.engines.protocol import Observation, Phase
from simyard.service import (
    collecting,
    drafts,
    idempotency,
    moves,
    optimising,
    quotas,
    restarting,
    staging,
    stopping,
    studies,
    told,
    uploads,
    verdicts,
)
from simyard.service.moves import Happening
from simyard.service.site import Site
from simyard.service.staging import CannotStart, StopWanted
from simyard.store import drafts as draft_store
from simyard.store import events, files, jobs, runs, tasks
from simyard.store import idempotency as idempotency_store
from simyard.store import studies as study_store
from simyard.store import uploads as upload_store
from simyard.store.database import Transaction

log = logging.getLogger(__name__)

# States whose attempt the engine may have news of.
WATCHED = (State.SUBMITTING, State.WAITING, State.RUNNING, State.STOPPING)
# States that owe an effect.
DRIVEN = (State.STAGING, State.SUBMITTING, State.STOPPING, State.COLLECTING, State.COMPLETED)

_EVENTS_KEPT = timedelta(days=30)
_TASKS_KEPT = timedelta(days=1)
_ORPHAN_SECONDS = 3600.0  # a blob that nobody recorded in this time belongs to nobody
_DELETE_AT_ONCE = 200
_ADMIT_AT_ONCE = 1000
_LET_IN_SECONDS = 0.1
_WAITING = "waiting"  # code of the notice on a job that needs room on the disk
_LONGEST_WAIT_SECONDS = 60.0
_GIVE_UP_AFTER = 5  # unexpected failures in a row, while nothing has started yet


_NOTHING = runs.pack(None)
_RENDERED = Outcome(
    verdict=Verdict.COMPLETED,
    cause="",
    message="its templates were rendered; nothing was executed",
)


@dataclass(frozen=True)
class Report:
    """What an effect has brought about."""

    run_id: int
    event: Event
    ending: Ending | None = None  # with ENDED; with STORED where another one was written down
    at: datetime | None = None
    job: Job | None = None  # with STORED
    outputs: Sequence[collecting.Output] = ()  # with STORED
    judged: runs.Judged = _NOTHING  # with STORED


class Reconciler:
    """What is known between turns: which runs somebody is busy with, and which have to wait. All
    else is in the database.

    hand_over: runs a call in another thread, soon; hand_over_question: likewise, one that may take
    seconds.
    """

    def __init__(
        self,
        site: Site,
        hand_over: Callable[[Callable[[], None]], None],
        hand_over_question: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._site = site
        self._hand_over = hand_over
        self._hand_over_question = hand_over_question or hand_over
        self._lock = threading.Lock()
        self._busy: set[int] = set()
        self._again: set[int] = set()  # runs that got news while somebody was busy with them
        self._reports: list[Report] = []
        self._failures: dict[int, int] = {}  # in a row
        self._not_before: dict[int, float] = {}  # monotonic seconds
        # Runs whose outputs an earlier server had not stored; None: nobody has looked yet.
        self._left: set[int] | None = None
        self._asked: set[int] = set()  # jobs whose optimizer somebody is asking
        self._ask_after: dict[int, float] = {}  # monotonic seconds
        self._full = False  # whether every core was taken when the queue was last looked at
        self._let_in_at = 0.0
        self._told_waiting: dict[int, Waiting] = {}  # by job; of those that ended too, for a while
        self._unrecorded: dict[str, float] = {}  # blobs, and when they were first seen so

    def turn(self, news: Iterable[str] | None) -> float | None:
        """Look once. news: tokens that the engine has something new about; None looks at all.

        Returns after how many seconds another look is wanted, whatever the news; None: whenever.
        """
        site = self._site
        with self._lock:
            reports, self._reports = self._reports, []
            again, self._again = self._again - self._busy, self._again & self._busy
        if news is None:
            looked_at = site.db.read(runs.in_states, *DRIVEN, State.WAITING, State.RUNNING)
            if self._left is None:
                self._left = {run.id for run in looked_at if run.state is State.COLLECTING}
        else:
            looked_at = site.db.read(runs.in_states, State.STOPPING)
            tokens = list(news)
            if tokens:
                looked_at += site.db.read(runs.by_tokens, tokens)
        watched = {run.token: run for run in looked_at if run.token and run.state in WATCHED}
        seen = self._observe(watched.values())
        observed = {watched[t].id: found for t, found in seen.items() if _tells(watched[t], found)}
        # While every core is taken, a crowd that submits is let into the queue together.
        too_early = self._full and time.monotonic() < self._let_in_at + _LET_IN_SECONDS
        moved: list[Run] = []
        of: dict[int, Job] = {}
        let_in = not too_early and self._somebody_waits()
        waiting = self._waiting(watched, seen)
        if reports or observed or waiting or let_in:
            try:
                moved, of = site.db.write(self._advance, reports, observed, waiting, let_in)
                self._told_waiting.update(waiting)
            except BaseException:
                with self._lock:  # nothing was written: they are still to be reported
                    self._reports = reports + self._reports
                    self._again |= again
                raise
        for study in site.db.read(study_store.owing):
            self._dispatch_question(study)
        owing = {run.id: run for run in looked_at if news is None or run.state is State.STOPPING}
        owing.update(site.db.read(runs.by_ids, list(again)) if again else {})
        owing.update((run.id, run) for run in moved)
        for run in owing.values():
            if run.state in DRIVEN:
                self._dispatch(run, of.get(run.job_id))
        return _LET_IN_SECONDS if too_early else None

    def _observe(self, watched: Iterable[Run]) -> dict[str, Observation]:
        """What the engines know of these runs. Of one that is not there any more nothing is."""
        tokens: dict[str, list[str]] = {}
        for run in watched:
            if run.token and run.engine in self._site.engines:
                tokens.setdefault(run.engine, []).append(run.token)
        seen: dict[str, Observation] = {}
        for name, wanted in tokens.items():
            seen.update(self._site.engines[name].observe(wanted))
        return seen

    def _waiting(
        self, watched: Mapping[str, Run], seen: Mapping[str, Observation]
    ) -> dict[int, Waiting]:
        """What jobs in schedulers' queues wait for, where that was not told yet: of each the run
        with the lowest number says it.
        """
        first: dict[int, Run] = {}
        for token, found in seen.items():
            run = watched[token]
            if found.waiting is None or run.state is not State.WAITING:
                continue
            if run.job_id not in first or run.number < first[run.job_id].number:
                first[run.job_id] = run
        now = {run.job_id: seen[run.token or ""].waiting for run in first.values()}
        return {
            job_id: waiting
            for job_id, waiting in now.items()
            if waiting is not None and self._told_waiting.get(job_id) != waiting
        }

    def _somebody_waits(self) -> bool:
        self._let_in_at = time.monotonic()
        return bool(self._site.db.read(runs.in_states, State.PENDING, State.QUEUED, most=1))

    # --- writing down -----------------------------------------------------------------------------

    def _advance(
        self,
        tx: Transaction,
        reports: Sequence[Report],
        observed: Mapping[int, Observation],
        waiting: Mapping[int, Waiting],
        let_in: bool,
    ) -> tuple[list[Run], dict[int, Job]]:
        """Write down what was done and seen, then let in what waits, if that was asked for or
        cores came free. Returns the runs that came to new states, and the jobs of those that owe
        an effect now, by id.
        """
        known = runs.by_ids(tx.conn, [*observed, *(report.run_id for report in reports)])
        started = [
            (run, found.started_at)
            for run_id, found in observed.items()
            if (run := known.get(run_id)) and found.started_at and run.started_at is None
        ]
        if started:
            runs.set_started(tx.conn, started)
            begun = moves.apply(tx, [Happening(run, Event.STARTED, at) for run, at in started])
            for run, (_, at) in zip(begun, started, strict=True):
                known[run.id] = replace(run, started_at=at)
        then: dict[int, Happening] = {}  # one of each run
        for run_id, found in observed.items():
            if (run := known.get(run_id)) and (happening := self._observed(tx, run, found)):
                then[run_id] = happening
        for report in reports:
            run = known.get(report.run_id)
            if run is None or run.state not in DRIVEN or run.id in then:
                continue
            if happening := self._reported(tx, run, report):
                then[run.id] = happening
        known.update((run.id, run) for run in moves.apply(tx, list(then.values())))
        for job_id, what in waiting.items():
            moves.tell_waiting(tx, job_id, what)
        if observed:
            crash_point("observe.recorded")
        ended = [h.run for h in then.values() if h.event is Event.ENDED]
        studies.give_slots(tx, self._site, {run.job_id for run in ended if run.inputs is not None})
        freed = bool(ended)
        granted = self._let_in(tx) if let_in or freed else []
        # They have a new attempt, and its token, since a moment ago.
        begin = [*granted, *(run.id for run in known.values() if run.state is State.STAGING)]
        known.update(runs.by_ids(tx.conn, begin) if begin else {})
        driven = {run.job_id for run in known.values() if run.state in DRIVEN}
        return list(known.values()), jobs.by_ids(tx.conn, driven) if driven else {}

    def _observed(self, tx: Transaction, run: Run, found: Observation) -> Happening | None:
        """What follows from what the engine saw of a run."""
        if found.phase is Phase.ENDED and found.ending is not None:
            return _end(run, found.ending, at=found.ended_at)
        if found.phase is Phase.WAITING:
            return Happening(run, Event.WAITS, waiting=found.waiting)
        if found.phase is not Phase.VANISHED:
            return None
        if run.state is State.STOPPING:
            return _end(run, Ending(cause=Cause.STOPPED))
        if run.started_at is not None:
            there = run.token and self._site.engine_of(run).folder(run.token).root.is_dir()
            message = (
                "its supervisor process was killed before its first step"
                if there
                else "its folder was removed while it ran"
            )
            return _end(run, Ending(cause=Cause.INTERRUPTED, message=message))
        # Nothing of it ever ran and nothing will: the one case for another attempt.
        self._begin_attempt(tx, run)
        return Happening(run, Event.VANISHED)

    def _reported(self, tx: Transaction, run: Run, report: Report) -> Happening | None:
        """What follows from an effect that was carried out."""
        if report.event is Event.ENDED and report.ending is not None:
            return _end(run, report.ending, at=report.at)
        if report.event is Event.STORED and run.state is State.COLLECTING:
            assert report.job is not None
            if report.ending is not None:
                runs.set_ending(tx.conn, run, report.ending)
            if not collecting.record(
                tx, self._site.shared, report.job, run, report.outputs, report.judged
            ):
                return None
            if run.inputs is not None:
                _tell_study(tx, run, report.job)
            jobs.drop_notice(tx.conn, report.job, _WAITING)
            if run.started_at is None:
                quotas.waits_no_more(tx, jobs.by_id(tx.conn, run.job_id))
            quotas.tell_if_over(tx, self._site, run.job_id)
        return Happening(run, report.event, report.at)

    # --- the queue --------------------------------------------------------------------------------

    def _let_in(self, tx: Transaction) -> list[int]:
        """Queue what was submitted, and grant cores in the order of the queue while there are any.
        The first in the queue is never passed by a smaller one, unless its owner has as many jobs
        running as he may. Returns who got cores.
        """
        pending = runs.in_states(tx.conn, State.PENDING, most=_ADMIT_AT_ONCE)
        moves.apply(tx, [Happening(run, Event.ADMITTED) for run in pending])
        free = self._site.machine.cores - runs.cores_held(tx.conn)
        granted: list[Happening] = []
        for run in quotas.queue(tx.conn, self._site, LOCAL, free) if free > 0 else ():
            if run.cores > free:
                break
            free -= run.cores
            self._begin_attempt(tx, run)
            granted.append(Happening(run, Event.GRANTED))
        for name in self._site.schedulers:  # its scheduler has a queue of its own
            for run in quotas.queue(tx.conn, self._site, name, _ADMIT_AT_ONCE):
                self._begin_attempt(tx, run)
                granted.append(Happening(run, Event.GRANTED))
        moves.apply(tx, granted)
        self._full = free <= 0
        if granted:
            crash_point("queue.granted")
        return [happening.run.id for happening in granted]

    def _begin_attempt(self, tx: Transaction, run: Run) -> None:
        site, job = self._site, jobs.by_id(tx.conn, run.job_id)
        quotas.waits_no_more(tx, job)
        try:
            programs = staging.programs(site, site.book.current(), job, run)
        except (CannotStart, Unavailable):
            programs = []  # staging ends the run with the reason, or waits
        runs.new_attempt(
            tx.conn, run, uuid.uuid4().hex, engine=run.engine, programs=programs, now=tx.now()
        )

    # --- effects ----------------------------------------------------------------------------------

    def _dispatch(self, run: Run, job: Job | None) -> None:
        """job: the run's, if somebody knows it as it is now."""
        with self._lock:
            # What was done and is not written down yet must not be done again: its run may go on
            # to its next state meanwhile, and a layout would be taken from under it.
            told = any(report.run_id == run.id for report in self._reports)
            if told or run.id in self._busy:
                self._again.add(run.id)
                return
            if time.monotonic() < self._not_before.get(run.id, 0.0):
                return
            self._busy.add(run.id)
        self._hand_over(lambda: self._carry_out(run, job))

    def _dispatch_question(self, study: study_store.Standing) -> None:
        """Have the optimizer of a study asked what is to run next, once at a time."""
        with self._lock:
            if study.job_id in self._asked or time.monotonic() < self._ask_after.get(
                study.job_id, 0.0
            ):
                return
            self._asked.add(study.job_id)
        self._hand_over_question(lambda: self._ask(study))

    def _ask(self, study: study_store.Standing) -> None:
        site = self._site
        try:
            answer = optimising.ask(site, study)
            site.db.write(optimising.record, site, answer)
        except (StorageFull, Unavailable) as error:
            log.warning("the optimizer of job %d waits: %s", study.job_id, error)
            self._ask_after[study.job_id] = time.monotonic() + _LONGEST_WAIT_SECONDS / 10
        except Exception as error:
            log.error("the optimizer of job %d failed", study.job_id, exc_info=error)
            with contextlib.suppress(SimyardError):
                site.db.write(optimising.give_up, study.job_id, error)
            self._ask_after[study.job_id] = time.monotonic() + _LONGEST_WAIT_SECONDS / 10
        else:
            self._ask_after.pop(study.job_id, None)
        finally:
            with self._lock:
                self._asked.discard(study.job_id)
            site.wake()

    def _carry_out(self, run: Run, job: Job | None) -> None:
        """Do what the run's state owes, and report."""
        failed: Exception | None = None
        report: Report | None = None
        try:
            report = self._effect(run, job or self._site.db.read(jobs.by_id, run.job_id))
        except Exception as error:
            failed = error
        with self._lock:
            self._busy.discard(run.id)
            if report is not None:
                self._reports.append(report)
            if failed is None:
                self._failures.pop(run.id, None)
                self._not_before.pop(run.id, None)
            else:
                count = self._failures[run.id] = self._failures.get(run.id, 0) + 1
                self._not_before[run.id] = time.monotonic() + min(2.0**count, _LONGEST_WAIT_SECONDS)
            # The news that a folder is gone is written down with the next, where there are others.
            heard = run.id in self._again or (
                report is not None and (report.event is not Event.CLEARED or not self._busy)
            )
        if failed is not None:
            self._failed(run, failed, count)
        if heard:
            self._site.wake()

    def _effect(self, run: Run, job: Job) -> Report | None:
        match run.state:
            case State.STAGING:
                return self._stage(run, job)
            case State.SUBMITTING:
                return self._submit(run, job)
            case State.STOPPING:
                return self._stop(run, job)
            case State.COLLECTING:
                return self._collect(run, job)
            case State.COMPLETED:
                return self._clear(run, job)
            case _:
                return None

    def _stage(self, run: Run, job: Job) -> Report | None:
        site = self._site

        def stop_wanted() -> bool:
            now = site.db.read(runs.by_id, run.id)
            return now is None or now.state is not State.STAGING

        job = restarting.as_run(job, run)
        add = restarting.adding(site, site.book.current(), job, run)
        try:
            staging.stage(site, site.book.current(), job, run, self._inputs(job), stop_wanted, add)
        except StopWanted:
            return None
        except CannotStart as error:
            return Report(run.id, Event.ENDED, Ending(cause=Cause.REFUSED, message=str(error)))
        return Report(run.id, Event.STAGED, at=site.clock())

    def _inputs(self, job: Job) -> dict[str, File]:
        named = [code for analysis in job.definition.analyses for _, code in analysis.files()]
        if not named:
            return {}
        return self._site.db.read(files.by_codes, named)

    def _submit(self, run: Run, job: Job) -> Report | None:
        site = self._site
        crash_point("stage.recorded")
        job = restarting.as_run(job, run)
        if job.definition.study is not None and job.definition.study.dry_run:
            rendered = Ending(cause=Cause.EXITED, exit_code=0)  # nothing is to be executed
            return Report(run.id, Event.ENDED, rendered, at=site.clock())
        try:
            spec = staging.attempt(site, site.book.current(), job, run, self._inputs(job))
        except CannotStart as error:
            return Report(run.id, Event.ENDED, Ending(cause=Cause.REFUSED, message=str(error)))
        crash_point("start.asked")
        site.engine_of(run).submit(spec)
        crash_point("start.handed-over")
        return None  # the engine's news is the report

    def _stop(self, run: Run, job: Job) -> Report | None:
        if run.token is None:  # it never got as far as an attempt
            return Report(run.id, Event.ENDED, Ending(cause=Cause.STOPPED))
        stopping.stop(self._site, job, run)
        crash_point("stop.asked")
        seen = self._site.engine_of(run).observe([run.token])[run.token]
        if seen.phase is Phase.VANISHED:
            return Report(run.id, Event.ENDED, Ending(cause=Cause.STOPPED))
        return None  # the engine's news is the report

    def _collect(self, run: Run, job: Job) -> Report:
        site = self._site
        corrected = self._told_otherwise(run)
        if corrected is not None:
            run = replace(run, ending=corrected)
        assert run.ending is not None
        again = run.restart if run.restart and run.restart.kind is Again.EXTRACT else None
        if run.token is None:
            outcome = again.outcome if again else verdicts.judge_unread(site, run.ending)
            judged = runs.pack(outcome, (), run.outputs if again else None)
            return Report(run.id, Event.STORED, job=job, judged=judged)
        folder = site.engine_of(run).folder(run.token)
        stopping.restore(folder)
        if again is not None and again.ending is not None:
            outcome = again.outcome  # its outputs were only read again
        elif job.definition.study is not None and job.definition.study.dry_run:
            outcome = (
                _RENDERED if run.ending.successful else verdicts.judge_unread(site, run.ending)
            )
        else:
            outcome = verdicts.judge(site, folder.work, job, run, run.ending)
            if (said := reason(run.ending, outcome)) != WELL:
                staging.say(folder, said)
        outputs = collecting.collect(site, job, run, ran=run.started_at is not None)
        samples = site.engine_of(run).samples(run.token)
        judged = runs.pack(outcome, samples, told.of_run(folder, job, run))
        return Report(run.id, Event.STORED, corrected, job=job, outputs=outputs, judged=judged)

    def _told_otherwise(self, run: Run) -> Ending | None:
        """How a run ended that ended well when an earlier server looked, and does not any more: the
        machine went down before its files were on the disk. None for all others.
        """
        assert run.ending is not None
        if run.token is None or run.id not in (self._left or ()) or not run.ending.successful:
            return None
        seen = self._site.engine_of(run).observe([run.token])[run.token]
        return None if seen.ending is None or seen.ending.successful else seen.ending

    def _clear(self, run: Run, job: Job) -> Report | None:
        crash_point("collect.recorded")
        site = self._site
        if run.token is not None:
            try:
                site.engine_of(run).remove(run.token)
            except NotFound:
                return None  # something of it is alive still
        shares = run.inputs is not None and staging.has_inputs(job)
        if shares and site.db.read(studies.is_finished, run.job_id):
            site.shared.forget(job.code)
        crash_point("clear.removed")
        return Report(run.id, Event.CLEARED)

    def _failed(self, run: Run, error: Exception, count: int) -> None:
        """An effect did not work. It is tried again, later each time; the user is told why."""
        if disk_is_full(error):
            error = StorageFull("There is no room left on the server's disk.")
        if isinstance(error, StorageFull | Unavailable):
            log.warning("run %d waits: %s", run.id, error)
            if isinstance(error, StorageFull):
                notice = Notice(code=_WAITING, message=f"This job waits: {error}")
                with contextlib.suppress(SimyardError):  # the database may be full too, for now
                    self._site.db.write(_notice, run.job_id, notice)
            return
        log.error("run %d: an effect failed", run.id, exc_info=error)
        if count >= _GIVE_UP_AFTER and run.state is State.STAGING:
            message = f"the platform could not lay it out ({type(error).__name__}: {error})"
            ending = Ending(cause=Cause.REFUSED, message=message)
            with self._lock:
                self._reports.append(Report(run.id, Event.ENDED, ending))

    # --- housekeeping -----------------------------------------------------------------------------

    def tidy(self, *, orphan_seconds: float = _ORPHAN_SECONDS, every_day: bool = False) -> None:
        """Remove what nothing shows any more: deleted blobs, blobs that were never recorded,
        folders of attempts that nobody knows, uploads that nobody went on with, old journal entries
        and old idempotency keys.

        every_day: look at the blobs of all days, which takes long where there are millions.
        """
        site = self._site
        self._told_waiting.clear()
        while site.db.write(uploads.forget_expired, _DELETE_AT_ONCE):
            pass
        while keys := site.db.read(files.blobs_to_delete, _DELETE_AT_ONCE):
            for key in keys:
                site.blobs.store.delete(key)
            crash_point("delete.blob-removed")
            site.db.write(_forget_blobs, keys)
        self._sweep_blobs(orphan_seconds, every_day=every_day)
        self._sweep_folders()
        for code in site.shared.jobs():
            if site.db.read(studies.needs_no_inputs, code):
                site.shared.forget(code)
        site.db.write(_prune)

    def _sweep_blobs(self, orphan_seconds: float, *, every_day: bool) -> None:
        site = self._site
        # By our own watch: to a clock that jumped, an upload under way may look old.
        now, unrecorded = time.monotonic(), dict[str, float]()
        first = "" if every_day else f"{site.clock() - timedelta(days=1):%Y%m%d}"
        # Later days than today too: the clock may have been ahead.
        for day in [day for day in site.blobs.store.days() if day >= first]:
            keys = [key for key, _ in site.blobs.store.keys(day)]
            for i in range(0, len(keys), 500):
                part = keys[i : i + 500]
                known = site.db.read(files.known_keys, part) | site.db.read(
                    upload_store.known_keys, part
                )
                for key in set(part) - known:
                    seen_at = unrecorded[key] = self._unrecorded.get(key, now)
                    if now - seen_at >= orphan_seconds:
                        log.info("blob %s was never recorded; it is removed", key)
                        site.blobs.store.delete(key)
        self._unrecorded = unrecorded

    def _sweep_folders(self) -> None:
        site = self._site
        for engine in site.engines.values():
            tokens = engine.tokens()
            for i in range(0, len(tokens), 500):
                part = tokens[i : i + 500]
                known = site.db.read(runs.all_tokens, part)
                for token in part:
                    if known.get(token, State.CLOSED) is State.CLOSED:
                        try:
                            engine.remove(token)
                        except NotFound:
                            log.info("attempt %s is unknown and alive; it is told to end", token)


def _end(run: Run, ending: Ending, *, at: datetime | None = None) -> Happening | None:
    """Nothing of the run is alive, and this is how it came to that. The first ending counts."""
    if run.ending is not None or run.state not in DRIVEN + WATCHED:
        return None
    return Happening(run, Event.ENDED, at, ending)


def _tells(run: Run, found: Observation) -> bool:
    """Whether an observation says something that is not written down yet."""
    if found.phase is Phase.RUNNING:
        return run.started_at is None or run.state in (State.SUBMITTING, State.WAITING)
    if found.phase is Phase.WAITING:
        return run.state is State.SUBMITTING
    return found.phase in (Phase.ENDED, Phase.VANISHED)


def _tell_study(tx: Transaction, run: Run, job: Job) -> None:
    """A run of a study has its outputs."""
    study_store.tell_changed(tx.conn, run.job_id)
    if job.definition.study is not None:
        optimising.mark_best(tx, job.definition.study, run.id)


def _notice(tx: Transaction, job_id: int, notice: Notice) -> None:
    job = jobs.by_id(tx.conn, job_id)
    if notice not in job.notices:
        jobs.set_notices(tx.conn, job.id, (*job.notices, notice))


def _forget_blobs(tx: Transaction, keys: Sequence[str]) -> None:
    for key in keys:
        files.blob_deleted(tx.conn, key)


def _prune(tx: Transaction) -> None:
    events.prune(tx.conn, before=tx.now() - _EVENTS_KEPT)
    idempotency_store.prune(tx.conn, before=tx.now() - idempotency.KEPT)
    tasks.prune(tx.conn, before=tx.now() - _TASKS_KEPT)
    draft_store.prune(tx.conn, before=tx.now() - drafts.KEPT)
