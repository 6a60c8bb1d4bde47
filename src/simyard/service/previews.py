"""Looking at the templates of a study before it costs anything."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

from simyard.domain import jobs as rules
from simyard.domain.errors import Invalid, NotFound
from simyard.domain.files import File
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.studies import Value
from simyard.domain.templates import CannotRender, Template, normal_target
from simyard.domain.users import User
from simyard.service import aims, studies, templates
from simyard.service.comparing import unified
from simyard.service.restarting import as_run
from simyard.service.site import Site
from simyard.store import files, jobs, runs

_SHOWN_BYTES = 1 << 20
_DIFF_LINES = 5000
_MOST_TEMPLATES = 50  # of one job


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
    run = site.db.read(runs.by_number, job.id, number)
    if run is not None:
        job = as_run(job, run)
    values = (run.inputs or ()) if run is not None else _values(site, job, number)
    named = [file for _, file in job.definition.files()]
    found = site.db.read(files.usable, named, job.owner_id) if named else {}
    by_name = {value.name: value for value in values}
    study = job.definition.study
    how, real = templates.relative(study), templates.reals(study)
    seen: list[tuple[File, Template]] = []
    previews = []
    for task in itertools.islice(templates.tasks(job), _MOST_TEMPLATES):
        file = found.get(task.template)
        if file is None:
            continue
        template = site.templates.template(file, keep_unknown=task.keep_unknown)
        seen.append((file, template))
        before = templates.content_of(site.blobs, file, _SHOWN_BYTES)
        previews.append(_preview(template, file, task.target, before, by_name, how, real))
    return Previews(values=values, previews=previews, warnings=list(_doubts(seen, by_name)))


def _values(site: Site, job: Job, number: int) -> Sequence[Value]:
    """Of a run that there is not yet."""
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
    real: Collection[str],
) -> Preview:
    fault, content = "", b""
    try:
        content = template.render(values, how, real)
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


def parse_number(text: str | None) -> int:
    """The number of a run in a query; 1 where none is given. Raises Invalid."""
    if text is None:
        return 1
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise Invalid.at("run", "A valid integer is required.")
    return int(text)
