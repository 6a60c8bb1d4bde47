"""Optimisation: the runs that a study asks for one after the other.

The table of runs is all that is kept. What is to run next follows from it and from the job's
definition alone, so that a server which was killed asks again and gets the same answer
(docs/adr/0029).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from simyard.domain.catalogue import Notice
from simyard.domain.errors import Refused
from simyard.domain.faults import crash_point
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.runs import Kind, Run
from simyard.domain.studies import Study
from simyard.numerics import optimise, ranking
from simyard.numerics.optimise import Spent, Trial
from simyard.service import aims, moves, studies
from simyard.service.site import Site
from simyard.store import jobs, runs
from simyard.store import studies as store
from simyard.store.database import Transaction
from simyard.store.runs import NewRun

_HOUR = timedelta(hours=1)
CLOSED = "study-closed"  # code of the notice that says why no more runs are made


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is to follow from what a study knew at a version."""

    job_id: int
    version: int
    new: Sequence[str] = ()  # values of each further run, packed
    over_because: str | None = None  # no more runs are to come


def ask(site: Site, standing: store.Standing) -> Answer:
    """What is to run next. Reads only; takes up to a second: call it in a thread."""
    job = site.db.read(jobs.by_id, standing.job_id)
    study = job.definition.study
    assert study is not None and study.optimizer is not None
    answer = Answer(job_id=job.id, version=standing.version)
    if study.optimizer.method == aims.EXTERNAL:
        return answer
    found, _ = aims.aims(study)
    rules, _ = aims.rules(study)
    variables, _ = aims.chosen(study)
    every = site.db.read(runs.page, job.id, offset=0, size=site.limits.study_runs_most)
    over = sorted((run for run in every if run.completed_at), key=lambda run: run.completed_at)  # type: ignore[arg-type, return-value]  # those that have one
    pending = [run for run in every if run.completed_at is None]
    history = [
        Trial(values=aims.values(variables, run.inputs or ()), outputs=outputs_of(run))
        for run in over
    ]
    spent = _spent(every, site.clock())
    stop = optimise.stop_reason(rules, found.goals, found.limits, history, spent)
    if stop is not None:
        return Answer(job_id=job.id, version=standing.version, over_because=stop)
    count = min(standing.slots - len(pending), study.optimizer.budget - spent.runs)
    if count <= 0:
        return answer
    packed = aims.points(
        study, history, [aims.values(variables, run.inputs or ()) for run in pending], count
    )
    if not packed and not pending:
        why = "there is no point left that was not tried"
        return Answer(job_id=job.id, version=standing.version, over_because=why)
    return Answer(job_id=job.id, version=standing.version, new=packed)


def _spent(every: Sequence[Run], now: datetime) -> Spent:
    begun = [(run, run.started_at) for run in every if run.started_at is not None]
    took = [(run.cores, (run.completed_at or now) - at) for run, at in begun]
    return Spent(
        runs=sum(not run.is_nominal for run in every),  # that one comes on top of the budget
        hours=(now - min(at for _, at in begun)) / _HOUR if begun else 0.0,
        core_hours=sum(cores * (time / _HOUR) for cores, time in took),
    )


def outputs_of(run: Run) -> dict[str, float | None] | None:
    """The outputs of a run that ended well; None of any other."""
    if run.completed_at is None or run.ending is None or not run.is_well:
        return None
    return {v.name: v.number for v in (run.outputs.values if run.outputs else ())}


# --- writing down ---------------------------------------------------------------------------------


def record(tx: Transaction, site: Site, answer: Answer) -> bool:
    """Let an answer take effect. Returns False, and does nothing, where something new is known
    since: it is to be asked again.
    """
    standing = store.of_job(tx.conn, answer.job_id)
    if standing is None or not standing.is_open or standing.version != answer.version:
        return False
    store.tell_answered(tx.conn, answer.job_id, at=answer.version, more=len(answer.new))
    if answer.over_because is not None:
        close(tx, answer.job_id, answer.over_because)
        return True
    if answer.new:
        job = jobs.by_id(tx.conn, answer.job_id)
        try:
            new = [NewRun(kind=Kind.ITERATION, inputs=inputs) for inputs in answer.new]
            studies.add(tx, site, job, new)
        except Refused as error:  # a budget of core-hours is used up
            close(tx, answer.job_id, f"no more runs may be made: {error}")
            return True
        crash_point("study.asked")
    return True


def close(tx: Transaction, job_id: int, why: str) -> None:
    """No more runs come to a study. It ends with those that it has. Idempotent."""
    if studies.close(tx, job_id, why):
        job = jobs.by_id(tx.conn, job_id)
        notice = Notice(code=CLOSED, message=f"No more runs are made: {why}.")
        jobs.set_notices(tx.conn, job_id, (*job.notices, notice))
        crash_point("study.closed")
        moves.follow(tx, {job_id: None})


def give_up(tx: Transaction, job_id: int, error: Exception) -> None:
    """Its optimizer failed and will fail again."""
    close(tx, job_id, f"its optimizer failed: {type(error).__name__}: {error}")


# --- the best -------------------------------------------------------------------------------------


def mark_best(tx: Transaction, study: Study, run_id: int) -> None:
    """Mark the optimal runs of a study, one of which has just got its outputs."""
    found, _ = aims.aims(study)
    run = runs.by_id(tx.conn, run_id) if found.goals else None
    if run is None:
        return
    if run.is_optimal:  # it was, with other outputs
        mark_best_anew(tx, jobs.by_id(tx.conn, run.job_id))
        return
    before = runs.optimal(tx.conn, run.job_id)
    is_best, fallen = ranking.with_one_more(
        [outputs_of(other) or {} for other in before], outputs_of(run), found.goals, found.limits
    )
    marks = {before[i].id: False for i in fallen}
    if is_best:
        marks[run.id] = True
    runs.set_optimal(tx.conn, marks)


def mark_best_anew(tx: Transaction, job: Job) -> None:
    """The same where runs that were optimal are so no more, since they are done again."""
    study = job.definition.study
    found = aims.aims(study)[0] if study else None
    if found is None or not found.goals:
        return
    candidates = runs.every(tx.conn, job.id)
    points = [outputs_of(each) for each in candidates]
    best = {candidates[i].id for i in ranking.best(points, found.goals, found.limits)}
    changed = {
        each.id: each.id in best for each in candidates if each.is_optimal != (each.id in best)
    }
    runs.set_optimal(tx.conn, changed)
