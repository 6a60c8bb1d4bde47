"""What clients send as a job, and what becomes of it."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from simyard.api import bodies
from simyard.api.bodies import (
    Body,
    CodeText,
    Count,
    EmptyIsNull,
    LooseText,
    NoFlag,
    Whole,
    needed,
    text_or_object,
)
from simyard.api.v2 import optimizer_bodies
from simyard.domain.errors import Invalid, Path, Problem
from simyard.domain.generators import instead
from simyard.domain.jobs import (
    DEFAULT_FILTERS,
    Hardware,
    InputFile,
    JobAnalysis,
    JobDefinition,
    ResourceFilter,
)
from simyard.domain.records import dataclass
from simyard.domain.studies import (
    Design,
    Role,
    Study,
    TemplateTask,
    Variable,
)

MOST_INPUTS = 10_000
MOST_TEMPLATES = 1000
_MOST_UNKNOWN = 20  # that are told


def _id(value: object) -> object:
    """A reference to a file: {"id": ...}, or just the id."""
    value = value.get("id") if isinstance(value, dict) else value
    return None if value == "" else value


def _map_of_text(value: object) -> object:
    if not isinstance(value, dict):
        return {} if value == "" else value
    return {str(k): "" if v is None else v for k, v in value.items()}


def _role(value: object) -> object:
    return value.capitalize() if isinstance(value, str) else value


def _tag(value: object) -> object:
    """A tag: its name, or {"name": ...}."""
    return value.get("name", "") if isinstance(value, dict) else value


Ref = Annotated[str | None, BeforeValidator(_id), WithJsonSchema(text_or_object("id", "null"))]
TagText = Annotated[LooseText, BeforeValidator(_tag), WithJsonSchema(text_or_object("name"))]
Tags = Annotated[list[TagText], Field(max_length=1000)]


class AnalysisRef(Body):
    code: LooseText = needed("")
    version: Annotated[LooseText | None, EmptyIsNull] = None


class HardwareBody(Body):
    core_type: CodeText = needed("")
    cores_per_slot: Count = Field(1, json_schema_extra={"needed": True})
    slots: Annotated[int, Field(ge=1, le=100_000), NoFlag] = 1
    walltime: Annotated[Count | None, EmptyIsNull] = None
    type: Annotated[str | None, EmptyIsNull] = None
    is_reusable: bool = False


class InputFileBody(Body):
    id: LooseText = needed("")
    decompress: bool = True


class TemplateTaskBody(Body):
    template_file: Ref = needed(None)
    processed_filename: str = needed("")
    unknown: Literal["refuse", "keep"] = "refuse"  # ours: of placeholders that name no variable


class JobAnalysisBody(Body):
    analysis: AnalysisRef = needed(AnalysisRef())
    command: str = needed("")
    hardware: HardwareBody = needed(HardwareBody())
    input_files: Annotated[
        Annotated[list[InputFileBody], Field(max_length=10_000)] | None, EmptyIsNull
    ] = None
    env_vars: Annotated[
        Annotated[dict[str, LooseText], Field(max_length=1000)] | None,
        BeforeValidator(_map_of_text),
    ] = None
    use_mpi: bool = False
    use_rescale_license: bool = False
    flags: Annotated[Annotated[dict[str, Any], Field(max_length=100)] | None, EmptyIsNull] = None
    template_tasks: Annotated[
        Annotated[list[TemplateTaskBody], Field(max_length=1000)] | None, EmptyIsNull
    ] = None
    pre_process_script: Ref = None
    pre_process_script_command: str | None = None
    post_process_script: Ref = None
    post_process_script_command: str | None = None
    # Kept and shown; see KEPT_OF_ANALYSIS.
    on_demand_license_seller: Annotated[dict[str, Any] | None, EmptyIsNull] = None
    user_defined_license_settings: Annotated[dict[str, Any] | None, EmptyIsNull] = None
    license_settings: Annotated[list[Any] | dict[str, Any] | None, EmptyIsNull] = None
    order: Annotated[Whole | None, EmptyIsNull] = None
    is_custom_doe: bool = False
    should_run_forever: bool = False
    setup_command: str | None = None
    stop_command: str | None = None
    stop_command_timeout: Annotated[Whole | None, EmptyIsNull] = None
    use_shared_storage: bool = False
    input_folders: Annotated[list[Any] | None, EmptyIsNull] = None


class ResourceFilterBody(Body):
    filter_type: str = needed("")
    selector: str = ""
    include: bool = True
    case_sensitive: bool = False


class VariableBody(Body):
    name: LooseText = needed("")
    variable_type: Annotated[Role, BeforeValidator(_role)] = Role.PARAM
    display_order: Annotated[Whole | None, EmptyIsNull] = None
    value_generator_type: str | None = None
    variable_generator_type: str | None = None  # the same, as the documentation spells it once
    value_generator_settings: Annotated[
        Annotated[dict[str, Any], Field(max_length=100)] | None, EmptyIsNull
    ] = None


class DesignBody(Body):
    """Ours: how the values of the variables with a generator are combined."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    kind: str = needed("")
    count: Annotated[Count | None, EmptyIsNull] = None
    options: Annotated[Annotated[dict[str, Any], Field(max_length=100)] | None, EmptyIsNull] = None


class JobBody(Body):
    name: LooseText = needed("")
    jobanalyses: Annotated[list[JobAnalysisBody], Field(max_length=1000)] = needed([])
    is_low_priority: bool = False
    resource_filters: Annotated[
        Annotated[list[ResourceFilterBody], Field(max_length=1000)] | None, EmptyIsNull
    ] = None
    project_id: Annotated[LooseText | None, EmptyIsNull] = None
    param_file: Ref = None
    case_file: Ref = None
    optimizer: Annotated[Annotated[dict[str, Any], Field(max_length=100)] | None, EmptyIsNull] = (
        None
    )
    jobvariables: Annotated[
        Annotated[list[VariableBody], Field(max_length=1000)] | None, EmptyIsNull
    ] = None
    monte_carlo_iterations: Annotated[Annotated[int, Field(ge=0), NoFlag] | None, EmptyIsNull] = (
        None
    )
    design: Annotated[DesignBody | None, EmptyIsNull] = None
    seed: Annotated[Annotated[int, Field(ge=0, lt=1 << 31), NoFlag] | None, EmptyIsNull] = None
    include_nominal_run: bool = False
    is_template_dry_run: bool = False
    tags: Annotated[Tags | None, EmptyIsNull] = None
    user_tags: Annotated[Tags | None, EmptyIsNull] = None
    custom_fields: Annotated[
        Annotated[dict[str, Any], Field(max_length=1000)] | None, EmptyIsNull
    ] = None
    # Kept and shown; see KEPT_OF_JOB.
    description: str | None = None
    cloned_from: Annotated[LooseText | None, EmptyIsNull] = None
    folder_id: Annotated[LooseText | None, EmptyIsNull] = None
    billing_priority_value: Annotated[str | None, EmptyIsNull] = None
    cidr_rule: Annotated[str | None, EmptyIsNull] = None
    public_key: Annotated[str | None, EmptyIsNull] = None
    ssh_port: Annotated[Whole | None, EmptyIsNull] = None
    auto_terminate_cluster: bool | None = None
    cluster_id: Annotated[LooseText | None, EmptyIsNull] = None
    input_file_parse_task: str | None = None
    is_template: bool = False
    templated_from: Annotated[LooseText | None, EmptyIsNull] = None
    job_automations: Annotated[list[Any] | None, EmptyIsNull] = None
    archive_filters: Annotated[list[Any] | None, EmptyIsNull] = None
    remote_viz_config: Annotated[Any, EmptyIsNull] = None


# Fields that are kept and shown as they were sent, with what is shown where none was sent.
KEPT_OF_JOB: dict[str, Any] = {
    "description": "",
    "clonedFrom": None,
    "folderId": None,
    "billingPriorityValue": None,
    "cidrRule": None,
    "publicKey": None,
    "sshPort": None,
    "autoTerminateCluster": True,
    "clusterId": None,
    "inputFileParseTask": "",
    "isTemplate": False,
    "templatedFrom": None,
    "jobAutomations": [],
    "archiveFilters": [],
    "remoteVizConfig": None,
}
KEPT_OF_ANALYSIS: dict[str, Any] = {
    "onDemandLicenseSeller": None,
    "userDefinedLicenseSettings": None,
    "licenseSettings": [],
    "order": None,
    "isCustomDoe": False,
    "shouldRunForever": False,
    "setupCommand": "",
    "stopCommand": "",
    "stopCommandTimeout": None,
    "useSharedStorage": False,
    "inputFolders": [],
}


def _kept(body: Body, wire_names: Iterable[str]) -> dict[str, Any]:
    """What was sent of the fields that are only kept."""
    sent = body.model_dump(include=body.model_fields_set, by_alias=True)
    return {name: sent[name] for name in wire_names if sent.get(name) is not None}


@dataclass(frozen=True)
class Labels:
    """What is said of a job beside its definition. None: nothing was sent."""

    tags: list[str] | None
    custom_fields: dict[str, Any] | None


def labels(sent: Any, present: Sequence[str] = ()) -> Labels:
    """The tags and custom fields in the body of a job that was read without problems.

    present: the tags that it has. Who sends all of a job back has changed one of their two names.
    """
    body, _ = bodies.read(JobBody, sent)
    given = [tags for tags in (body.tags, body.user_tags) if tags is not None]
    if len(given) > 1:
        given = [tags for tags in given if tags != list(present)] or given
    merged = dict.fromkeys(tag for tags in given for tag in tags)
    return Labels(list(merged) if given else None, body.custom_fields)


def changed(present: dict[str, Any], sent: Any) -> Any:
    """The body of a job as a PATCH leaves it: what was sent replaces what is there."""
    if not isinstance(sent, dict):
        return sent  # `read` refuses it
    by_name = {name: field.alias or name for name, field in JobBody.model_fields.items()}
    return present | {by_name.get(key, key): value for key, value in sent.items()}


def read(sent: Any) -> tuple[JobDefinition, list[Problem], dict[Path, int]]:
    """A job as it was sent: its definition, what is wrong with its shape, and the lengths of its
    lists. The definition is as whole as the shape allows; check it too before reporting.
    """
    body, problems = bodies.read(JobBody, sent)
    study, wrong = _study(body)
    problems += bodies.uncovered(wrong, problems)
    lengths: dict[Path, int] = {("jobanalyses",): len(body.jobanalyses)}
    for i, analysis in enumerate(body.jobanalyses):
        lengths["jobanalyses", i, "inputFiles"] = len(analysis.input_files or [])
        lengths["jobanalyses", i, "templateTasks"] = len(analysis.template_tasks or [])
    lengths["jobvariables",] = len(body.jobvariables or [])
    if sum(len(analysis.template_tasks or []) for analysis in body.jobanalyses) > MOST_TEMPLATES:
        raise Invalid.at((), f"A job has at most {MOST_TEMPLATES} templates in all.")
    if sum(lengths.values()) > MOST_INPUTS:
        # Each is shown whole in every reply.
        raise Invalid.at((), f"A job names at most {MOST_INPUTS} inputs in all.")
    return _definition(body, study), problems, lengths


def _generator(sent: VariableBody) -> str:
    return (sent.value_generator_type or sent.variable_generator_type or "").strip()


def _study(body: JobBody) -> tuple[Study | None, list[Problem]]:
    """What makes the job a study; None where nothing does."""
    optimizer, wrong = optimizer_bodies.read(body.optimizer)
    sent = body.jobvariables or []
    variables = [
        Variable(
            name=variable.name,
            role=variable.variable_type,
            order=n if variable.display_order is None else variable.display_order,
            generator=_generator(variable),
            settings=variable.value_generator_settings or {},
        )
        for n, variable in enumerate(sent)
    ]
    asked = (body.param_file, body.case_file, optimizer, body.design, variables)
    if not (any(asked) or body.is_template_dry_run or body.include_nominal_run):
        return None, wrong
    design = None
    if body.design is not None:
        kind, count, options = body.design.kind, body.design.count, body.design.options
        known = tuple(DesignBody.model_fields)
        wrong += (
            Problem(("design", key), f'There is no field "{key:.100}"{instead(key, known)}.')
            for key in islice(body.design.model_extra or (), _MOST_UNKNOWN)
        )
        design = Design(kind=kind, count=count, options=options or {})
    study = Study(
        param_file=body.param_file,
        case_file=body.case_file,
        variables=tuple(variables),
        draws=body.monte_carlo_iterations or None,
        nominal_run=body.include_nominal_run,
        dry_run=body.is_template_dry_run,
        design=design,
        optimizer=optimizer,
        seed=body.seed,
    )
    return study, wrong


def _definition(body: JobBody, study: Study | None) -> JobDefinition:
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
        study=study,
        kept=_kept(body, KEPT_OF_JOB),
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
            is_reusable=sent.hardware.is_reusable,
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
        templates=tuple(
            TemplateTask(
                template=task.template_file or "",
                target=task.processed_filename,
                keep_unknown=task.unknown == "keep",
            )
            for task in sent.template_tasks or []
        ),
        kept=_kept(sent, KEPT_OF_ANALYSIS),
    )
