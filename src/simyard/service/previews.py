"""Looking at a study before it costs anything: rendered templates, and what it will take."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from sqlalchemy import Connection

from simyard.domain import jobs as rules
from simyard.domain.errors import Invalid, NotFound
from simyard.domain.files import File
from simyard.domain.jobs import Job, JobDefinition
from simyard.domain.runs import charge_micros
from simyard.domain.studies import Value
from simyard.domain.templates import CannotRender, Template, normal_target
from simyard.domain.users import User
from simyard.service import aims, studies, templates
from simyard.service.comparing import unified
from simyard.service.site import Site
from simyard.store import files, jobs, runs
from simyard.store import quotas as queue_store

_SHOWN_BYTES = 1 << 20
_DIFF_LINES = 5000
_MOST_TEMPLATES = 50  # of one job
_HISTORY_JOBS = 50


# --- templates ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Preview:
    target: str
    template: str  # name of the file
    text: str  # rendered; cut where it is very long
    is_whole: bool
    diff: str  # from the template to the text
    fault: str = ""  # why it cannot be rendered: "U.template:19:31 ..."


@dataclass(frozen=True, kw_only=True)
class Previews:
    values: Sequence[Value]
    previews: Sequence[Preview]
    warnings: Sequence[str]


def preview(site: Site, viewer: User, code: str, number: int) -> Previews:
    """What the templates of a run of this number are, or will be. Executes and stores nothing.
    Reads files: call it in a thread.

    Raises NotFound, or Invalid where the study itself is wrong.
    """
    job = site.db.read(jobs.visible, code, viewer.id)
    if job is None:
        raise NotFound
    values = _values(site, job, number)
    named = [file for _, file in job.definition.files()]
    found = site.db.read(files.usable, named, job.owner_id) if named else {}
    by_name = {value.name: value for value in values}
    how = templates.relative(job.definition.study)
    seen: list[tuple[File, Template]] = []
    previews = []
    for task in itertools.islice(templates.tasks(job), _MOST_TEMPLATES):
        file = found.get(task.template)
        if file is None:
            continue
        template = site.templates.template(file, keep_unknown=task.keep_unknown)
        seen.append((file, template))
        before = templates.content_of(site.blobs, file, _SHOWN_BYTES)
        previews.append(_preview(template, file, task.target, before, by_name, how))
    return Previews(values=values, previews=previews, warnings=list(_doubts(seen, by_name)))


def _values(site: Site, job: Job, number: int) -> Sequence[Value]:
    run = site.db.read(runs.by_number, job.id, number)
    if run is not None:
        return run.inputs or ()
    study = job.definition.study
    if study is None or study.is_plain:
        if number == 1:
            return ()
        raise NotFound
    planned, completed = studies.rows(site, job)
    if completed.optimizer is not None and completed.optimizer.method != aims.EXTERNAL:
        if number > rules.slots(job.definition):
            raise NotFound  # only the first ones are known before they run
        first = aims.first(completed, number)[number - 1 : number]
        values = [runs.unpack_values(new.inputs or "[]") for new in first]
    else:
        values = list(itertools.islice(planned.rows(), number - 1, number))
        if not values and number == planned.count + 1 and planned.nominal is not None:
            values = [planned.nominal]
    if not values:
        raise NotFound
    return values[0]


def _preview(
    template: Template,
    file: File,
    target: str,
    before: bytes,
    values: Mapping[str, Value],
    how: Mapping[str, str],
) -> Preview:
    fault, content = "", b""
    try:
        content = template.render(values, how)
    except CannotRender as error:
        fault = f"{file.name}:{error}"
    text = content[:_SHOWN_BYTES].decode("utf-8", "replace")
    old, new = before.decode("utf-8", "replace").splitlines(), text.splitlines()
    diff = unified(old, new, file.name, target)
    return Preview(
        target=normal_target(target),
        template=file.name,
        text=text,
        is_whole=len(content) <= _SHOWN_BYTES,
        diff="" if fault else "\n".join(itertools.islice(diff, _DIFF_LINES)),
        fault=fault,
    )


def _doubts(seen: Sequence[tuple[File, Template]], values: Mapping[str, Value]) -> Iterator[str]:
    used = {name for _, template in seen for name in template.uses}
    for name in values:
        if seen and name not in used:
            yield f"No template uses the variable {name}."
    for file, template in seen:
        if not template.uses:
            yield f"{file.name} has no placeholder: it is the same in every run."
    folded: dict[str, str] = {}
    for name in sorted(used | set(values)):
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            yield f"{other} and {name} differ in case only."


# --- what it will take ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Estimate:
    runs: int  # 0: not known
    cores: int  # of one run
    clamped_from: int | None
    core_hours: tuple[float, float]  # low, high
    cost_micros: tuple[int, int]
    ahead: int  # runs that wait for cores before it
    disk_bytes: int  # of inputs, once for each run
    basis: str


def estimate(site: Site, user: User, definition: JobDefinition, storage: int) -> Estimate:
    """What a checked definition will take: from the caller's last runs of the same command, else
    from its walltime.
    """
    catalogue = site.book.current()
    placement = rules.placement(definition, catalogue, site.machine, site.limits)
    asked = max(a.hardware.cores_per_slot for a in definition.analyses)
    study = definition.study
    count = 1 if study is None or study.is_plain else study.expected_runs or 0
    seconds = site.db.read(_history, user, definition)
    if seconds:
        low, high = (seconds[0], seconds[-1]) if len(seconds) < 2 else _quartiles(seconds)
        basis = f"your last {len(seconds)} runs of this command"
    else:
        walltimes = (rules.walltime_seconds(a.hardware, site.limits) for a in definition.analyses)
        low, high = 0.0, float(min(walltimes))
        basis = "no history"
    price = placement.core_type.price_micros(low_priority=definition.low_priority)
    hours = [count * placement.charge * each / 3600 for each in (low, high)]
    cost = [charge_micros(round(each * 3_600_000_000), price) for each in hours]
    return Estimate(
        runs=count,
        cores=placement.charge,
        clamped_from=asked if placement.charge < asked else None,
        core_hours=(hours[0], hours[1]),
        cost_micros=(cost[0], cost[1]),
        ahead=site.db.read(queue_store.waiting),
        disk_bytes=storage * max(count, 1),
        basis=basis,
    )


def _quartiles(seconds: Sequence[float]) -> tuple[float, float]:
    low, _, high = quantiles(seconds, n=4)
    return max(low, min(seconds)), min(high, max(seconds))


def _history(conn: Connection, user: User, definition: JobDefinition) -> list[float]:
    """How many seconds runs of the same commands took, of the caller's last jobs."""
    wanted = [(a.code, a.command) for a in definition.analyses]
    found: list[float] = []
    for job in jobs.last_of_owner(conn, user.id, most=_HISTORY_JOBS):
        if [(a.code, a.command) for a in job.definition.analyses] == wanted:
            found += runs.seconds_of(conn, job.id, most=_HISTORY_JOBS)
    return found


def parse_number(text: str | None) -> int:
    """The number of a run in a query; 1 where none is given. Raises Invalid."""
    if text is None:
        return 1
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise Invalid.at("run", "A valid integer is required.")
    return int(text)
