"""What clients send as a job, and what becomes of it."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from simyard.api import bodies
from simyard.api.bodies import Body, CodeText, EmptyIsNull, LooseText, needed
from simyard.domain.errors import Path, Problem
from simyard.domain.jobs import (
    DEFAULT_FILTERS,
    Hardware,
    InputFile,
    JobAnalysis,
    JobDefinition,
    ResourceFilter,
)

NOT_YET = "This is not supported yet."


def _id(value: object) -> object:
    """A reference to a file: {"id": ...}, or just the id."""
    value = value.get("id") if isinstance(value, dict) else value
    return None if value == "" else value


def _map_of_text(value: object) -> object:
    if not isinstance(value, dict):
        return {} if value == "" else value
    return {str(k): "" if v is None else v for k, v in value.items()}


Ref = Annotated[str | None, BeforeValidator(_id)]


class AnalysisRef(Body):
    code: LooseText = needed("")
    version: Annotated[LooseText | None, EmptyIsNull] = None


class HardwareBody(Body):
    core_type: CodeText = needed("")
    cores_per_slot: int = Field(1, ge=1, json_schema_extra={"needed": True})
    slots: int = Field(1, ge=1)
    walltime: Annotated[Annotated[int, Field(ge=1)] | None, EmptyIsNull] = None
    type: Annotated[str | None, EmptyIsNull] = None


class InputFileBody(Body):
    id: LooseText = needed("")
    decompress: bool = True


class JobAnalysisBody(Body):
    analysis: AnalysisRef = needed(AnalysisRef())
    command: str = needed("")
    hardware: HardwareBody = needed(HardwareBody())
    input_files: Annotated[list[InputFileBody] | None, EmptyIsNull] = None
    env_vars: Annotated[dict[str, LooseText] | None, BeforeValidator(_map_of_text)] = None
    use_mpi: bool = False
    use_rescale_license: bool = False
    flags: Annotated[dict[str, bool] | None, EmptyIsNull] = None
    template_tasks: Annotated[list[Any] | None, EmptyIsNull] = None
    pre_process_script: Ref = None
    pre_process_script_command: str | None = None
    post_process_script: Ref = None
    post_process_script_command: str | None = None


class ResourceFilterBody(Body):
    filter_type: str = needed("")
    selector: str = ""
    include: bool = True
    case_sensitive: bool = False


class JobBody(Body):
    name: LooseText = needed("")
    jobanalyses: list[JobAnalysisBody] = needed([])
    is_low_priority: bool = False
    resource_filters: Annotated[list[ResourceFilterBody] | None, EmptyIsNull] = None
    project_id: Annotated[LooseText | None, EmptyIsNull] = None
    # What later versions build. Until then a job that uses it is refused, not run as another.
    param_file: Annotated[Any, EmptyIsNull] = None
    case_file: Annotated[Any, EmptyIsNull] = None
    optimizer: Annotated[Any, EmptyIsNull] = None
    jobvariables: Annotated[list[Any] | None, EmptyIsNull] = None
    monte_carlo_iterations: Annotated[Any, EmptyIsNull] = None
    include_nominal_run: bool = False
    is_template_dry_run: bool = False


def read(sent: Any) -> tuple[JobDefinition, list[Problem], dict[Path, int]]:
    """A job as it was sent: its definition, what is wrong with its shape, and the lengths of its
    lists. The definition is as whole as the shape allows; check it too before reporting.
    """
    body, problems = bodies.read(JobBody, sent)
    problems += [p for p in _later(body) if not bodies.covered(p, problems)]
    lengths: dict[Path, int] = {("jobanalyses",): len(body.jobanalyses)}
    for i, analysis in enumerate(body.jobanalyses):
        lengths["jobanalyses", i, "inputFiles"] = len(analysis.input_files or [])
    return _definition(body), problems, lengths


def _later(body: JobBody) -> list[Problem]:
    """Features that are not built yet and that the job asks for."""
    asked = {
        "paramFile": body.param_file is not None,
        "caseFile": body.case_file is not None,
        "optimizer": body.optimizer is not None,
        "jobvariables": bool(body.jobvariables),
        "monteCarloIterations": body.monte_carlo_iterations not in (None, 0),
        "includeNominalRun": body.include_nominal_run,
        "isTemplateDryRun": body.is_template_dry_run,
    }
    found = [Problem((name,), NOT_YET) for name, is_asked in asked.items() if is_asked]
    for i, analysis in enumerate(body.jobanalyses):
        if analysis.template_tasks:
            found.append(Problem(("jobanalyses", i, "templateTasks"), NOT_YET))
    return found


def _definition(body: JobBody) -> JobDefinition:
    filters = DEFAULT_FILTERS
    if body.resource_filters is not None:
        filters = tuple(
            ResourceFilter(
                filter_type=f.filter_type,
                selector=f.selector,
                include=f.include,
                case_sensitive=f.case_sensitive,
            )
            for f in body.resource_filters
        )
    return JobDefinition(
        name=body.name,
        analyses=tuple(_analysis(sent) for sent in body.jobanalyses),
        low_priority=body.is_low_priority,
        resource_filters=filters,
        project_id=body.project_id,
    )


def _analysis(sent: JobAnalysisBody) -> JobAnalysis:
    return JobAnalysis(
        code=sent.analysis.code,
        version=sent.analysis.version,
        command=sent.command,
        hardware=Hardware(
            core_type=sent.hardware.core_type,
            cores_per_slot=sent.hardware.cores_per_slot,
            slots=sent.hardware.slots,
            walltime_hours=sent.hardware.walltime,
            type=sent.hardware.type or "compute",
        ),
        input_files=tuple(
            InputFile(code=file.id, decompress=file.decompress) for file in sent.input_files or []
        ),
        env_vars=sent.env_vars,
        use_mpi=sent.use_mpi,
        use_rescale_license=sent.use_rescale_license,
        flags=sent.flags or {},
        pre_script=sent.pre_process_script,
        pre_command=sent.pre_process_script_command or "",
        post_script=sent.post_process_script,
        post_command=sent.post_process_script_command or "",
    )
