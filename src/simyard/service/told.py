"""Reading what the post-processing of a run has told of its result."""

from collections.abc import Iterator

from simyard.domain import outputs
from simyard.domain.errors import NotFound
from simyard.domain.jobs import Job
from simyard.domain.outputs import Outputs
from simyard.domain.runs import Again, Run
from simyard.engines.protocol import Folder
from simyard.service import restarting, workfolder
from simyard.service.templates import CONTROL

_MOST_BYTES = 4 << 20
_STEPS_OF_ANALYSIS = 3


def of_run(folder: Folder, job: Job, run: Run) -> Outputs | None:
    """The output variables of a run that ended; None where it told none and owed none."""
    ending, again = run.ending, run.restart
    extracts = again is not None and again.kind is Again.EXTRACT
    if ending is None or (run.started_at is None and not extracts):
        return None
    study = job.definition.study
    inputs = {value.name for value in run.inputs or ()}
    wanted = [v.name for v in study.outputs()] if study else []
    asked = restarting.as_run(job, run).definition.analyses
    is_told = any(sent.post_command.strip() or sent.post_script for sent in asked)
    found = outputs.read(_lines(folder, job) if is_told else (), inputs, wanted)
    warnings = [f"{text[:1].upper()}{text[1:]}." for text in ending.tolerated]
    if extracts and not ending.successful:
        warnings.append(f"Its outputs could not be read again: {ending.reason}.")
    if extracts and not found.values and run.outputs is not None:
        # What was known before is better than nothing.
        found = Outputs(values=run.outputs.values, warnings=found.warnings)
    if not (found.values or found.warnings or warnings):
        return None
    return Outputs(values=found.values, warnings=(*warnings, *found.warnings))


def _lines(folder: Folder, job: Job) -> Iterator[str]:
    for step in range(_STEPS_OF_ANALYSIS * len(job.definition.analyses)):
        try:
            descriptor = workfolder.open_file(folder.home, f"{CONTROL}/told.{step}")
        except NotFound:
            continue
        with open(descriptor, "rb") as file:
            yield from file.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
