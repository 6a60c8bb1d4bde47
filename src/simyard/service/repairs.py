"""Changing a study that was submitted: runs again, more runs, outputs read again, its end."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection

from simyard.domain import lifecycle, plans, runtable
from simyard.domain.errors import Forbidden, Invalid, NotFound, NotOpen, Path, Problem, Refused
from simyard.domain.faults import crash_point
from simyard.domain.jobs import Job
from simyard.domain.lifecycle import Event, State
from simyard.domain.records import dataclass
from simyard.domain.runs import Again, Cause, Kind, Restart, Run
from simyard.domain.studies import Study, Value
from simyard.domain.users import User
from simyard.numerics import sampling
from simyard.service import aims, idempotency, moves, optimising, restarting, studies
from simyard.service.idempotency import Once
from simyard.service.moves import Happening
from simyard.service.site import Site
from simyard.store import files, jobs, runs
from simyard.store import studies as store
from simyard.store.database import Transaction
from simyard.store.runs import NewRun

_TEXT_LENGTH = 1 << 20
_SHOWN = 5
_VALUE_LENGTH = 10_000
_MOST_PROBLEMS = 100
_RESTART_BYTES = 64 << 20  # written by one request
_TOO_LONG = "So long a command for so many runs: put it into a script."


def found(conn: Connection, caller: User, code: str) -> tuple[Job, store.Standing]:
    """A study that was submitted, for its owner. Raises NotFound, Forbidden or Refused."""
    job = jobs.visible(conn, code, caller.id)
    if job is None:
        raise NotFound
    if job.owner_id != caller.id:
        raise Forbidden
    standing = store.of_job(conn, job.id)
    if standing is None:
        raise Refused(
            "This job was not submitted yet."
            if job.state is State.DRAFT
            else "This job is no study: it has one run. restart/ goes on with it."
        )
    return job, standing


# --- again ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Which:
    """Runs of a study. numbers, from 1: these; None: those at their end that a word tells."""

    numbers: Sequence[int] | None = None
    where: str = ""  # a key of WHERE


def _failed(run: Run) -> bool:
    return not run.is_well and not _stopped(run)


def _stopped(run: Run) -> bool:
    return run.ending is not None and run.ending.cause is Cause.STOPPED


WHERE: Mapping[str, Callable[[Run], bool]] = {
    "failed": _failed,
    "stopped": _stopped,
    "unfinished": lambda run: not run.is_well,
    "all": lambda _: True,
}


def run_again(
    tx: Transaction,
    site: Site,
    caller: User,
    code: str,
    which: Which,
    how: Restart,
    once: Once | None = None,
) -> tuple[list[int], bool]:
    """Queue another attempt at runs of a study that are at their end, with the same values. Returns
    their numbers, and whether this is new (False: the same request came before).

    Raises NotFound, Forbidden, Invalid, or Refused where a run is not at its end, there is none to
    do again, or a quota does not allow it. All or none.
    """
    job, _ = found(tx.conn, caller, code)
    done = idempotency.already_done(tx.conn, once, "rerun")
    if done is not None:
        return _numbers(done), False
    wanted = _which(tx.conn, job, which)
    for run in wanted:
        lifecycle.after(run.state, Event.RERUN)
    _check(tx.conn, job, how)
    if how.kind is Again.EXTRACT:
        if which.numbers is None:
            wanted = [run for run in wanted if run.started_at is not None and run.output_count]
        _need_outputs(job, how, wanted)
    if not wanted:
        raise Refused("There is no such run to do again.")
    _pack(how, len(wanted))
    attempts = [_attempt(run, how) for run in wanted]
    _need_files(tx.conn, job, attempts)
    is_new = not runs.slots_held(tx.conn, job.id)
    terms = studies.terms_of(tx, site, job, len(wanted), is_new=is_new)
    left = _RESTART_BYTES
    for run, mine in zip(wanted, attempts, strict=True):
        left -= len(runs.pack_restart(mine))
        if left < 0:
            raise Refused(_TOO_LONG)
        runs.set_restart(
            tx.conn, run, mine, reserved_core_microseconds=terms.reserved_core_microseconds
        )
    if how.kind is not Again.EXTRACT and any(run.is_optimal for run in wanted):
        optimising.mark_best_anew(tx, job)
    moves.apply(tx, [Happening(run, Event.RERUN) for run in wanted])
    studies.give_slots(tx, site, [job.id])
    numbers = [run.number for run in wanted]
    idempotency.note(tx, once, "rerun", _ranges(numbers))
    tx.after_commit(site.wake)
    crash_point("study.rerun")
    return numbers, True


def _attempt(run: Run, how: Restart) -> Restart:
    """Another attempt at a run: what was mended in it before stays so."""
    before = run.restart or Restart()
    mine = dataclasses.replace(
        how,
        command=how.command or before.lasting_command,
        post_command=how.post_command or before.post_command,
        replaced={**before.replaced, **how.replaced},
    )
    if how.kind is not Again.EXTRACT:
        return mine
    return dataclasses.replace(
        mine,
        ending=run.ending,
        outcome=run.outcome,
        started_at=run.started_at,
        completed_at=run.completed_at,
    )


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: "1-5,9"."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}-{last}" if first < last else str(first) for first, last in found)


def _numbers(ranges: str) -> list[int]:
    numbers: list[int] = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _which(conn: Connection, job: Job, which: Which) -> list[Run]:
    if which.numbers is not None:
        last = runs.count(conn, job.id)
        if max(which.numbers, default=0) > last:
            raise Invalid.at("runs", f"This study has no run {max(which.numbers)}.")
        return runs.by_numbers(conn, job.id, which.numbers)
    matches = WHERE[which.where]
    every = runs.every(conn, job.id)
    return [run for run in every if run.completed_at is not None and matches(run)]


def _check(conn: Connection, job: Job, how: Restart) -> None:
    """What is wrong with what was sent. Raises Invalid."""
    problems = []
    for name, text in (("command", how.command), ("postProcessScriptCommand", how.post_command)):
        if text is not None and ("\0" in text or len(text) > _TEXT_LENGTH):
            message = f"Give text of at most {_TEXT_LENGTH} characters."
            problems.append(Problem((name,), message))
    laid_out = _laid_out(job)
    usable = files.usable(conn, list(how.replaced.values()), job.owner_id)
    for old, new in how.replaced.items():
        if old not in laid_out:
            problems.append(Problem(("replace", old), f'This job lays out no file "{old:.20}".'))
        if new not in usable:
            message = f'Invalid pk "{new:.20}" - object does not exist.'
            problems.append(Problem(("replace", old), message))
    if problems:
        raise Invalid(problems)


def check_templates(site: Site, job: Job, how: Restart) -> None:
    """Looks into files that are to take the places of templates, as a submit does: what nobody may
    use is for `_check` to tell. Reads files: call it in a thread. Raises Invalid.
    """
    definition = restarting.as_asked(job, how).definition
    problems: dict[Problem, None] = {}
    for problem in studies.template_faults(site, job.owner_id, definition):
        match problem.path:
            case ("jobanalyses", int(i), "templateTasks", int(n), *_):
                old = job.definition.analyses[i].templates[n].template
                if old in how.replaced:
                    problems[Problem(("replace", old), problem.message)] = None
            case _:
                problems[Problem(("replace",), problem.message)] = None
    if problems:
        raise Invalid(list(problems))


def _laid_out(job: Job) -> set[str]:
    """The files that each run of a study has: all but its tables."""
    study = job.definition.study
    tables = {study.param_file, study.case_file} if study else set()
    return {file for _, file in job.definition.files()} - tables


def _need_files(conn: Connection, job: Job, attempts: Sequence[Restart]) -> None:
    """Raises Refused where an attempt could not start later."""
    laid_out = _laid_out(job)
    different = {tuple(how.replaced.items()) for how in attempts}
    needed = {dict(pairs).get(code, code) for pairs in different for code in laid_out}
    gone = needed - files.usable(conn, list(needed), job.owner_id).keys()
    if gone:
        raise Refused(f"Its input file {min(gone)} was deleted.")


def _pack(how: Restart, count: int) -> str:
    """What is different in so many runs, as it is stored for each. Raises Refused."""
    packed = runs.pack_restart(how)
    if len(packed) * count > _RESTART_BYTES:
        raise Refused(_TOO_LONG)
    return packed


def _need_outputs(job: Job, how: Restart, wanted: Sequence[Run]) -> None:
    has_own = any(a.post_command.strip() or a.post_script for a in job.definition.analyses)
    if not (has_own or (how.post_command or "").strip()):
        raise Invalid.at(
            "postProcessScriptCommand",
            "This job has no post-processing: say what is to be done with the outputs.",
        )
    empty = [run.number for run in wanted if run.started_at is None or not run.output_count]
    if empty:
        shown = ", ".join(map(str, empty[:_SHOWN]))
        raise Refused(f"Of run {shown} there are no outputs to read again.")


# --- more -----------------------------------------------------------------------------------------


def plan_points(site: Site, job: Job, more: int, done: int) -> list[str]:
    """The values of `more` further points of a study's own sequence, packed: those after the first
    `done`. Draws samples: call it in a thread. Raises Invalid or Refused.
    """
    study = job.definition.study
    assert study is not None
    table, cases = studies.tables(site, job)
    left = site.limits.study_runs_most - site.db.read(runs.count, job.id)
    rows = plans.extend(study, table, cases, sampling.sample, done=done, more=more, most_runs=left)
    return [runs.pack_values(row) for row in rows]


def pack_rows(study: Study, rows: Sequence[Mapping[str, object]], at: str) -> list[str]:
    """Rows that a user sends, name -> value of each input, packed. Raises Invalid with the first
    hundred things that are wrong. at: the field that they were sent in.
    """
    problems: list[Problem] = []
    packed = []
    for n, row in enumerate(rows):
        if len(problems) >= _MOST_PROBLEMS:
            break
        packed.append(_pack_row(study, row, (at, n), problems))
    if problems:
        raise Invalid(problems[:_MOST_PROBLEMS])
    return packed


def _pack_row(study: Study, row: Mapping[str, object], at: Path, problems: list[Problem]) -> str:
    """at: where the row was sent. What is wrong with it comes to the problems."""
    names = {v.name: bool(v.settings.get("relative")) for v in study.inputs()}
    problems += (
        Problem((*at, name), "This study has no such input.")
        for name in sorted(set(row) - set(names))
    )
    problems += (
        Problem((*at, name), "This field is required.") for name in names if name not in row
    )
    values: list[Value] = []
    for name, is_relative in names.items():
        sent = row.get(name)
        if isinstance(sent, bool | list | dict) or sent is None:
            if name in row:
                problems.append(Problem((*at, name), "Give a number or a text."))
            continue
        if "\0" in str(sent) or len(str(sent)) > _VALUE_LENGTH:
            message = f"Give a number, or a text of at most {_VALUE_LENGTH} characters."
            problems.append(Problem((*at, name), message))
            continue
        plain = runtable.value(name, str(sent))
        values.append(dataclasses.replace(plain, is_relative=is_relative))
    return runs.pack_values(tuple(values))


def add_points(
    tx: Transaction,
    site: Site,
    caller: User,
    code: str,
    packed: Sequence[str],
    how: Restart,
    once: Once | None = None,
    *,
    after: int | None = None,
    draws: int | None = None,
) -> tuple[list[int], bool]:
    """Give a study more runs. Returns their numbers, and whether this is new (False: the same
    request came before; then the numbers are of runs that there are).

    how: what is different in them. after: how many points its sequence had when these, at least
    one, were made; draws: how many it has with them.

    Raises NotFound, Forbidden, Invalid, or Refused where the study has changed since, would have
    too many runs or may not have them.
    """
    job, standing = found(tx.conn, caller, code)
    done = idempotency.already_done(tx.conn, once, "points")
    if done is not None:
        return _numbers(done), False
    study = job.definition.study
    assert study is not None
    if after is not None and points_of(study) != after:
        raise Refused("Points were added by another request meanwhile. Send the request again.")
    kind = Kind.CASE if study.optimizer is None else Kind.ITERATION
    _check(tx.conn, job, how)
    _need_files(tx.conn, job, [how])
    other = _pack(how, len(packed)) if how.changes_job else None
    new = [NewRun(kind=kind, inputs=inputs, restart=other) for inputs in packed]
    numbers = studies.add(tx, site, job, new)
    store.tell_changed(tx.conn, job.id)
    points = draws if draws is not None else points_of(study)
    study = _with_points(_beside(site, standing, study, len(new)), points, numbers[-1])
    definition = dataclasses.replace(job.definition, study=study)
    jobs.set_definition(tx.conn, job.id, definition)
    idempotency.note(tx, once, "points", _ranges(numbers))
    crash_point("study.points")
    return numbers, True


def points_of(study: Study) -> int:
    """How many points of its sequence a study has."""
    return (study.design.count if study.design else None) or study.draws or 0


def _with_points(study: Study, points: int, runs_in_all: int) -> Study:
    if study.expected_runs is not None:
        expected = max(study.expected_runs, runs_in_all)
        study = dataclasses.replace(study, expected_runs=expected)
    if study.design is not None and study.design.count is not None:
        study = dataclasses.replace(study, design=dataclasses.replace(study.design, count=points))
    elif points:
        study = dataclasses.replace(study, draws=points)
    return study


def _beside(site: Site, standing: store.Standing, study: Study, more: int) -> Study:
    """A study to which its user adds so many runs: they are not of those that its optimizer may
    ask for. Raises Refused where there could be too many then.
    """
    optimizer = study.optimizer
    if not standing.is_open or optimizer is None or optimizer.method == aims.EXTERNAL:
        return study
    study = _with_budget(study, optimizer.budget + more)
    most, count = site.limits.study_runs_most, study.expected_runs or 0
    if count > most:
        raise Refused(f"A study has at most {most} runs: with these there could be {count}.")
    return study


def _with_budget(study: Study, budget: int) -> Study:
    assert study.optimizer is not None
    sent = {**study.optimizer.sent, "budget": budget}
    optimizer = dataclasses.replace(study.optimizer, budget=budget, sent=sent)
    expected = budget + study.nominal_run  # that one comes on top
    return dataclasses.replace(study, optimizer=optimizer, expected_runs=expected)


def extend(
    tx: Transaction,
    site: Site,
    caller: User,
    code: str,
    more: int,
    settings: Mapping[str, object],
    once: Once | None = None,
) -> bool:
    """Let the optimizer of a study ask for so many runs more than it may already, or where it has
    come to its end, than there are. settings: its stop rules from now on. Returns False where the
    same request did so before.

    Raises NotFound, Forbidden, Refused, or Invalid where that would be too many.
    """
    job, standing = found(tx.conn, caller, code)
    if idempotency.already_done(tx.conn, once, "extend") is not None:
        return False
    study = job.definition.study
    if study is None or study.optimizer is None or study.optimizer.method == aims.EXTERNAL:
        raise Refused("The runs of this study are not chosen by an optimizer of this server.")
    if standing.is_open:
        budget = study.optimizer.budget + more
    else:
        budget = sum(not run.is_nominal for run in runs.every(tx.conn, job.id)) + more
    if budget + study.nominal_run > site.limits.study_runs_most:
        raise Invalid.at("count", f"A study has at most {site.limits.study_runs_most} runs.")
    sent = {**study.optimizer.sent, "settings": settings}
    optimizer = dataclasses.replace(study.optimizer, settings=settings, sent=sent)
    study = _with_budget(dataclasses.replace(study, optimizer=optimizer), budget)
    _, problems = aims.rules(study)
    if problems:
        raise Invalid(problems)
    definition = dataclasses.replace(job.definition, study=study)
    jobs.set_definition(tx.conn, job.id, definition)
    jobs.drop_notice(tx.conn, job, optimising.CLOSED)
    store.reopen(tx.conn, job.id)
    moves.follow(tx, {job.id: None})
    idempotency.note(tx, once, "extend", job.code)
    tx.after_commit(site.wake)
    crash_point("study.extended")
    return True


# --- a study that takes runs as they come ---------------------------------------------------------


def add_run(
    tx: Transaction,
    site: Site,
    caller: User,
    code: str,
    sent: Mapping[str, object],
    parent: int | None,
    once: Once | None = None,
) -> tuple[Run, bool]:
    """Give an open study one more run, now. Returns it, and whether it is new (False: the same
    request came before).

    Raises NotFound, Forbidden, Invalid, NotOpen, or Refused where it may not have more.
    """
    job, standing = found(tx.conn, caller, code)
    done = idempotency.already_done(tx.conn, once, "run")
    if done is None:
        if not standing.is_open:
            raise NotOpen(
                f"This study takes no more runs: {standing.closed_because}."
                if standing.closed_because
                else "This study takes no more runs: only one with an optimizer does."
            )
        study = job.definition.study
        assert study is not None
        problems: list[Problem] = []
        packed = _pack_row(study, sent, ("variables",), problems)
        if problems:
            raise Invalid(problems[:_MOST_PROBLEMS])
        if parent is not None and runs.by_number(tx.conn, job.id, parent) is None:
            raise Invalid.at("parent", f"This study has no run {parent}.")
        new = NewRun(kind=Kind.ITERATION, parent=parent, inputs=packed)
        done = str(studies.add(tx, site, job, [new])[0])
        definition = dataclasses.replace(job.definition, study=_beside(site, standing, study, 1))
        jobs.set_definition(tx.conn, job.id, definition)
        store.tell_changed(tx.conn, job.id)
        idempotency.note(tx, once, "run", done)
        crash_point("study.run-added")
        is_new = True
    else:
        is_new = False
    run = runs.by_number(tx.conn, job.id, int(done))
    assert run is not None
    return run, is_new


def finish(tx: Transaction, site: Site, caller: User, code: str) -> None:
    """No more runs come to a study; those that it has go on to their end. Idempotent.

    Raises NotFound, Forbidden or Refused.
    """
    job, _ = found(tx.conn, caller, code)
    optimising.close(tx, job.id, "finished by the user")
    tx.after_commit(site.wake)


def mark(tx: Transaction, caller: User, code: str, number: int, *, is_optimal: bool) -> Run:
    """Say of a run that it is of interest, or is not. Raises NotFound, Forbidden, or Refused where
    the study has objectives, which tell that, or the run did not end well.
    """
    job, _ = found(tx.conn, caller, code)
    run = runs.by_number(tx.conn, job.id, number)
    if run is None:
        raise NotFound
    assert job.definition.study is not None
    if aims.aims(job.definition.study)[0].goals:
        raise Refused("The best runs of this study are found by its objectives.")
    if is_optimal and not run.is_well:
        raise Refused("This run has no good result.")
    runs.set_optimal(tx.conn, {run.id: is_optimal})
    return dataclasses.replace(run, is_optimal=is_optimal)
