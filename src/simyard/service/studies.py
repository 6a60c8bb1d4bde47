"""Parameter studies: from a definition to its runs, and from slot to slot.

What takes long (reading the table of runs, looking into templates, drawing samples) happens before
the transaction, for a definition that the transaction then holds against the one that is stored.
"""

import dataclasses
import itertools
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field

from sqlalchemy import Connection

from simyard.domain import jobs as rules
from simyard.domain import plans, runtable
from simyard.domain import templates as template_rules
from simyard.domain.catalogue import Notice
from simyard.domain.errors import Damaged, Invalid, Problem, Refused
from simyard.domain.faults import crash_point
from simyard.domain.files import File
from simyard.domain.jobs import Job, JobDefinition
from simyard.domain.lifecycle import LOCAL, Event, State
from simyard.domain.outcome import Outcome, Verdict
from simyard.domain.plans import BadPlan, Plan, plan
from simyard.domain.records import dataclass
from simyard.domain.runs import Again, Cause, Ending, Run
from simyard.domain.runtable import BadTable, RunTable
from simyard.domain.studies import Role, Study, Variable
from simyard.domain.templates import Template
from simyard.numerics import sampling
from simyard.service import aims, moves, quotas
from simyard.service import templates as template_service
from simyard.service.moves import Happening
from simyard.service.site import Site
from simyard.store import files, jobs, runs
from simyard.store import studies as store
from simyard.store.database import Transaction
from simyard.store.runs import NewRun

_TABLE_BYTES = 64 << 20
_FAULTS_SHOWN = 20
_DEEPEST = 50
_ASKED_AT_ONCE = 256  # points of an optimizer, each of which is compared with all others
_TEMPLATES_BYTES = 64 << 20  # each counted as often as it is written
_NEVER_BEGAN = Outcome(
    verdict=Verdict.STOPPED, cause="", message="it was stopped by the user before it began"
)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A study that can be submitted."""

    definition: JobDefinition  # that it was made from
    new: Sequence[NewRun]
    slots: int
    is_open: bool  # more runs come from its optimizer


@dataclass
class _Reading:
    """What is found while a definition is read, and what is wrong with it."""

    site: Site
    definition: JobDefinition
    study: Study
    files: Mapping[str, File]
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    is_whole: bool = True  # all its tables could be read


def complete(
    site: Site, owner_id: int, definition: JobDefinition, *, to_submit: bool = False
) -> tuple[JobDefinition, list[Problem], tuple[Notice, ...]]:
    """A definition with what follows from its study: the variables that its table names, its seed,
    how many runs it will have. Also what is wrong with the study, and what to know about it. Files
    that are not there are another's to report. Reads files: call it in a thread.

    to_submit: also what `plan_submit` would find wrong with it.
    """
    problems = [*_targets(definition)]
    sent = definition.study
    if sent is None and not to_submit:
        return definition, problems, ()
    reading = _reading(site, owner_id, definition)
    planned = None if reading.study.is_plain else _plan(reading)
    study = reading.study
    if planned is not None:
        expected = _expected(study, planned)
        study = dataclasses.replace(study, expected_runs=expected, reals=planned.reals)
    if to_submit:
        reading.problems += _faults(reading, _names(reading, planned))
    wrong = _as_sent(reading.problems, study, sent or Study())
    if sent is not None:
        definition = dataclasses.replace(definition, study=study)
    notices = tuple(Notice(code="study", message=text) for text in reading.notices)
    return definition, [*problems, *wrong], notices


def first_count(definition: JobDefinition) -> int:
    """How many runs a completed definition begins with."""
    study = definition.study
    if study is None or study.is_plain:
        return 1
    if study.optimizer is None:
        return study.expected_runs or 1
    external = study.optimizer.method == aims.EXTERNAL
    first = 0 if external else aims.first_count(study, rules.slots(definition))
    return first + study.nominal_run


def _as_sent(problems: Sequence[Problem], found: Study, sent: Study) -> list[Problem]:
    """Problems with the numbers that variables had in what was sent, before columns came in front
    and all were put in order.
    """
    places: dict[str, list[int]] = {}
    for n, variable in enumerate(sent.variables):
        places.setdefault(variable.name, []).append(n)
    at: dict[int, int] = {}
    for n, variable in enumerate(found.variables):
        if places.get(variable.name):
            at[n] = places[variable.name].pop(0)
    told = []
    for problem in problems:
        match problem.path:
            case ("jobvariables", int(n), *rest):
                path = ("jobvariables", at[n], *rest) if n in at else ("jobvariables",)
                told.append(Problem(path, problem.message))
            case _:
                told.append(problem)
    return told


def plan_submit(site: Site, owner_id: int, definition: JobDefinition) -> Planned | None:
    """The runs of a draft, for `jobs.submit_job`; None for a job that is no study. Reads files and
    draws samples: call it in a thread.

    Raises Invalid with everything that is wrong, the templates' faults with line and column too.
    """
    reading = _reading(site, owner_id, definition)
    study = reading.study
    planned = None if study.is_plain else _plan(reading)
    reading.problems += _targets(definition)
    reading.problems += _faults(reading, _names(reading, planned))
    reading.problems += rules.gone(definition, reading.files)
    if reading.problems:
        raise Invalid(reading.problems, rules.lengths(definition))
    if planned is None:
        return None
    slots = rules.slots(definition)
    new = list(new_runs(planned))
    if study.optimizer is not None and study.optimizer.method != aims.EXTERNAL:
        first = aims.first(reading.study, slots)
        new = [*first, *(dataclasses.replace(run, number=len(first) + 1) for run in new)]
    return Planned(definition=definition, new=new, slots=slots, is_open=study.optimizer is not None)


def _names(reading: _Reading, planned: Plan | None) -> Sequence[str] | None:
    """Of the variables that templates may use; None where a table that names some is missing."""
    if not reading.is_whole:
        return None
    return planned.names if planned else tuple(v.name for v in reading.study.inputs())


def new_runs(planned: Plan) -> Iterator[NewRun]:
    number = 1
    for values in planned.rows():
        yield NewRun(number=number, inputs=runs.pack_values(values))
        number += 1
    if planned.nominal is not None:
        # Clients expect that the first ids are those of the table's rows.
        yield NewRun(number=number, inputs=runs.pack_values(planned.nominal), is_nominal=True)


def tables(site: Site, job: Job) -> tuple[RunTable | None, RunTable | None]:
    """The run table and the case table of a study, None where it has none. Raises Invalid."""
    reading = _reading(site, job.owner_id, job.definition)
    table = _table(reading, "paramFile", reading.study.param_file)
    cases = _table(reading, "caseFile", reading.study.case_file)
    reading.problems += _gone_tables(reading)
    if reading.problems:
        raise Invalid(reading.problems)
    return table, cases


def rows(site: Site, job: Job) -> tuple[Plan, Study]:
    """The plan of a draft, and its study with all that follows from it. Raises Invalid."""
    reading = _reading(site, job.owner_id, job.definition)
    planned = _plan(reading)
    reading.problems += _gone_tables(reading)
    if planned is None or reading.problems:
        raise Invalid(reading.problems)
    return planned, reading.study


def _expected(study: Study, planned: Plan) -> int | None:
    nominal = planned.nominal is not None
    if study.optimizer is None:
        return planned.count + nominal
    return study.optimizer.budget + nominal if study.optimizer.budget else None


def _usable(site: Site, owner_id: int, definition: JobDefinition) -> dict[str, File]:
    named = [code for _, code in definition.files()]
    return site.db.read(files.usable, named, owner_id) if named else {}


# --- reading a definition -------------------------------------------------------------------------


def _reading(site: Site, owner_id: int, definition: JobDefinition) -> _Reading:
    found = _usable(site, owner_id, definition)
    return _Reading(site, definition, definition.study or Study(), found)


def _gone_tables(reading: _Reading) -> Iterator[Problem]:
    """Tables that were deleted since the definition was saved."""
    for problem in rules.gone(reading.definition, reading.files):
        if problem.path[0] in ("paramFile", "caseFile"):
            yield problem


def _plan(reading: _Reading) -> Plan | None:
    """The plan of a study, None where something is wrong or a table is gone. Its variables are
    completed.
    """
    study = reading.study
    table = _table(reading, "paramFile", study.param_file)
    cases = _table(reading, "caseFile", study.case_file)
    missing = (study.param_file and table is None) or (study.case_file and cases is None)
    reading.is_whole = not missing
    variables = study.variables
    if reading.is_whole:
        variables = _with_columns(reading, variables, table, cases)
    if study.seed is None:
        study = dataclasses.replace(study, seed=secrets.randbits(31))
    reading.study = study = dataclasses.replace(study, variables=variables)
    reading.problems += aims.check(study)
    if study.optimizer is not None and rules.slots(reading.definition) > _ASKED_AT_ONCE:
        message = f"An optimizer has at most {_ASKED_AT_ONCE} runs under way."
        reading.problems.append(Problem(("jobanalyses", 0, "hardware", "slots"), message))
    defaults = _defaults(reading) if study.nominal_run or study.design else {}
    if not reading.is_whole:
        reading.problems += plans.faults(study, table, cases, defaults)
        return None
    try:
        planned = plan(
            study,
            table,
            cases,
            sampling.sample,
            defaults=defaults,
            most_runs=reading.site.limits.study_runs_most,
        )
    except BadPlan as error:
        reading.problems += error.problems
        return None
    except Refused as error:  # a design that needs what is not installed
        reading.problems.append(Problem(("design", "kind"), str(error)))
        return None
    reading.notices += planned.notices
    upper: dict[str, str] = {}
    for name in planned.names:
        other = upper.setdefault(name.upper(), name)
        if other != name:
            reading.notices.append(
                f"{other} and {name} share the environment variable PARAM_{name.upper()}:"
                f" it has the value of {name}."
            )
    return planned


def _table(reading: _Reading, field_name: str, code: str | None) -> RunTable | None:
    file = reading.files.get(code or "")
    if file is None:
        return None
    try:
        content = template_service.content_of(reading.site.blobs, file, _TABLE_BYTES + 1)
        table = runtable.read(
            content, most_rows=reading.site.limits.study_runs_most, most_bytes=_TABLE_BYTES
        )
    except BadTable as error:
        reading.problems += (
            Problem((field_name,), f"{file.name}: {fault}") for fault in error.faults
        )
        return None
    except Damaged as error:
        reading.problems.append(Problem((field_name,), f"{file.name}: {error}"))
        return None
    reading.notices += (f"{file.name}: {notice}" for notice in table.notices)
    return table


def _with_columns(
    reading: _Reading,
    sent: Sequence[Variable],
    table: RunTable | None,
    cases: RunTable | None,
) -> tuple[Variable, ...]:
    """The variables with one for each column that has none yet, in front, as samples show it. A
    parameter that no column and no generator gives a value is of a table that was there before.
    """
    columns = dict.fromkeys(table.names if table else (), Role.PARAM)
    columns |= dict.fromkeys(cases.names if cases else (), Role.CASE)
    named = {variable.name for variable in sent}
    kept = []
    for variable in sent:
        is_left_over = (
            (table is not None or cases is not None)
            and variable.role in (Role.PARAM, Role.CASE)
            and not variable.generator
            and not variable.settings
            and variable.name not in columns
        )
        if is_left_over:
            reading.notices.append(
                f'The variable "{variable.name}" is in no table and was left out.'
            )
        else:
            kept.append(variable)
    fresh = [Variable(name=name, role=role) for name, role in columns.items() if name not in named]
    ordered = sorted(kept, key=lambda variable: variable.order)
    return tuple(
        dataclasses.replace(variable, order=order)
        for order, variable in enumerate([*fresh, *ordered])
    )


def _defaults(reading: _Reading) -> dict[str, str]:
    if not _are_small(reading):
        return {}
    return template_rules.nominal_defaults(
        template for _, _, template in _templates(reading.site, reading.definition, reading.files)
    )


# --- templates ------------------------------------------------------------------------------------


def _templates(
    site: Site, definition: JobDefinition, found: Mapping[str, File]
) -> Iterator[tuple[tuple[str | int, ...], File, Template]]:
    """Every template with the place in the definition where it is named."""
    for i, analysis in enumerate(definition.analyses):
        for n, task in enumerate(analysis.templates):
            file = found.get(task.template)
            if file is not None:
                path = ("jobanalyses", i, "templateTasks", n)
                yield path, file, site.templates.template(file, keep_unknown=task.keep_unknown)


def template_faults(site: Site, owner_id: int, definition: JobDefinition) -> list[Problem]:
    """What is wrong with the templates of a study whose variables are known. Reads files: call
    it in a thread.
    """
    reading = _reading(site, owner_id, definition)
    return list(_faults(reading, _names(reading, None)))


def _targets(definition: JobDefinition) -> Iterator[Problem]:
    """What is wrong with where templates are to be written."""
    seen: set[str] = set()
    folders: dict[str, str] = {}  # every folder above a target, and that target
    for i, analysis in enumerate(definition.analyses):
        for n, task in enumerate(analysis.templates):
            path = ("jobanalyses", i, "templateTasks", n, "processedFilename")
            wrong = template_rules.target_problem(task.target)
            if wrong is not None:
                yield Problem(path, wrong)
                continue
            target = template_rules.normal_target(task.target)
            if target in seen:
                yield Problem(path, f'Another template is written to "{target}" too.')
            if target.count("/") > _DEEPEST:
                yield Problem(path, f"A template is at most {_DEEPEST} folders deep.")
                continue
            above = list(itertools.accumulate(target.split("/")[:-1], "{}/{}".format))
            other = folders.get(target) or next((folder for folder in above if folder in seen), "")
            if other:
                yield Problem(path, f'"{target}" and "{other}" cannot both be files.')
            seen.add(target)
            folders.update(dict.fromkeys(above, target))


def _are_small(reading: _Reading) -> bool:
    named = (task.template for a in reading.definition.analyses for task in a.templates)
    size = sum(reading.files[code].blob.size_bytes for code in named if code in reading.files)
    return size <= _TEMPLATES_BYTES


def _faults(reading: _Reading, names: Sequence[str] | None) -> Iterator[Problem]:
    if not _are_small(reading):
        message = f"The templates of a job have at most {_TEMPLATES_BYTES} bytes together."
        yield Problem(("jobanalyses",), message)
        return
    try:
        for path, file, template in _templates(reading.site, reading.definition, reading.files):
            found = template.faults if names is None else template.check(names)
            for fault in found[:_FAULTS_SHOWN]:
                yield Problem((*path, "templateFile"), f"{file.name}:{fault}")
            if len(found) > _FAULTS_SHOWN:
                more = f"{file.name}: and {len(found) - _FAULTS_SHOWN} more"
                yield Problem((*path, "templateFile"), more)
    except Damaged as error:
        yield Problem(("jobanalyses",), f"A template cannot be read: {error}")


# --- slots ----------------------------------------------------------------------------------------


def begin(tx: Transaction, site: Site, job: Job, planned: Planned) -> None:
    """List the runs of a study that was just submitted, the first of them with its slots.

    Raises Refused where a quota or a budget does not allow them.
    """
    terms = terms_of(tx, site, job, len(planned.new))
    first = planned.slots
    if not planned.is_open:
        first = max(first, _ahead(site, terms.engine))
    now, later = planned.new[:first], planned.new[first:]
    for some, state in ((now, State.PENDING), (later, State.PLANNED)):
        runs.insert(tx.conn, job.id, some, owner_id=job.owner_id, terms=terms, state=state)
    store.insert(tx.conn, job.id, slots=planned.slots, is_open=planned.is_open)


def add(
    tx: Transaction, site: Site, job: Job, new: Sequence[NewRun], *, at_most: int | None = None
) -> list[int]:
    """Give a study more runs, numbered on from those that it has. Returns their numbers.

    Raises Refused where there would be too many, or a quota or a budget does not allow them.
    """
    count = runs.count(tx.conn, job.id)
    most = site.limits.study_runs_most if at_most is None else at_most
    if count + len(new) > most:
        raise Refused(f"A study has at most {most} runs: this one has {count}.")
    terms = terms_of(tx, site, job, len(new), is_new=not runs.slots_held(tx.conn, job.id))
    numbered = [
        dataclasses.replace(run, number=number) for number, run in enumerate(new, start=count + 1)
    ]
    runs.insert(tx.conn, job.id, numbered, owner_id=job.owner_id, terms=terms, state=State.PLANNED)
    give_slots(tx, site, [job.id])
    moves.follow(tx, {job.id: None})
    tx.after_commit(site.wake)
    return [run.number for run in numbered]


def terms_of(
    tx: Transaction, site: Site, job: Job, count: int, *, is_new: bool = True
) -> runs.Terms:
    """What holds for each of so many runs of a checked job; reserves what they may use."""
    definition = job.definition
    placement = rules.placement(definition, site.book.current(), site.machine, site.limits)
    return runs.Terms(
        cores=placement.charge,
        core_type=placement.core_type.code,
        price_micros=placement.core_type.price_micros(low_priority=definition.low_priority),
        low_priority=definition.low_priority,
        engine=placement.core_type.engine or LOCAL,
        reserved_core_microseconds=quotas.admit(
            tx, site, job, placement.charge, runs=count, is_new=is_new
        ),
    )


def give_slots(tx: Transaction, site: Site, job_ids: Collection[int]) -> None:
    """Let planned runs of these studies go on their way while they have slots free. Idempotent.

    A scheduler that keeps to the slots by itself gets runs ahead, many at a time; not those of an
    optimizer, which wants to know how the earlier ones went.
    """
    freed: list[Happening] = []
    for job_id in job_ids:
        study = store.of_job(tx.conn, job_id)
        if study is None:
            continue
        held = runs.slots_held(tx.conn, job_id)
        free = study.slots - held
        if free >= 0 and not study.is_open and site.schedulers:
            free = max(free, _ahead(site, runs.engine_of(tx.conn, job_id)) - held)
        if free > 0:
            first = runs.in_state(tx.conn, job_id, State.PLANNED, most=free)
            freed += (Happening(run, Event.FREED) for run in first)
    moves.apply(tx, freed)


def _ahead(site: Site, name: str | None) -> int:
    """How many runs of a study this engine gets at a time, beyond the study's slots."""
    engine = site.engines.get(name or "")
    return engine.capabilities().ahead if engine else 0


def is_finished(conn: Connection, job_id: int) -> bool:
    """Whether nothing of a job runs or will run."""
    states = runs.states_of(conn, [job_id])[job_id]
    return set(states) <= {State.COMPLETED, State.CLOSED} and not store.open_ones(conn, [job_id])


def needs_no_inputs(conn: Connection, code: str) -> bool:
    """Whether a job is gone, or nothing of it runs or will run."""
    job_id = jobs.id_of(conn, code)
    return job_id is None or is_finished(conn, job_id)


def close(tx: Transaction, job_id: int, why: str) -> bool:
    """No more runs come to a study: those that it has are all that is expected. Returns False where
    that was so before.
    """
    if not store.close(tx.conn, job_id, why):
        return False
    definition = jobs.by_id(tx.conn, job_id).definition
    if definition.study is not None and definition.study.expected_runs is not None:
        count = runs.count(tx.conn, job_id)
        study = dataclasses.replace(definition.study, expected_runs=count)
        jobs.set_definition(tx.conn, job_id, dataclasses.replace(definition, study=study))
    return True


def stop(tx: Transaction, job: Job) -> None:
    """No more runs come, and those that never had a slot never will. Idempotent."""
    if close(tx, job.id, "stopped by the user"):
        crash_point("study.closed")
    every = runs.count(tx.conn, job.id)
    drop_planned(tx, job, runs.in_state(tx.conn, job.id, State.PLANNED, most=every))


def drop_planned(tx: Transaction, job: Job, dropped: Sequence[Run]) -> None:
    """End runs of which nothing was ever there. The job's state is for the caller to follow."""
    if dropped:
        ending = Ending(cause=Cause.STOPPED)
        runs.close_planned(tx.conn, dropped, ending, _NEVER_BEGAN, at=tx.now())
        for run in dropped:
            if run.restart is not None and run.restart.kind is Again.EXTRACT:  # it is as it was
                judged = runs.pack(run.restart.outcome, (), run.outputs)
                runs.set_completed(tx.conn, run, judged, at=tx.now())
        project = job.definition.project_id or ""
        quotas.release(tx, {run.id: project for run in dropped})
