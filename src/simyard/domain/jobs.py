"""Jobs: what a user asks to have run, and whether it can be.

`check` finds everything wrong with a definition at once. It needs the catalogue and what is known
of the files, and does no I/O.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from simyard.domain.catalogue import Catalogue, Machine, Notice, Placement, place
from simyard.domain.errors import Path, Problem
from simyard.domain.files import File, parents
from simyard.domain.lifecycle import State
from simyard.domain.records import dataclass
from simyard.domain.studies import Study, TemplateTask

NAME_LENGTH = 255
# What a program can be started with: execve(2), MAX_ARG_STRLEN and a good part of ARG_MAX.
ENV_VAR_BYTES = 120_000
ENV_VARS_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Hardware:
    core_type: str  # as it was sent: a code or a name
    cores_per_slot: int  # cores of one run
    slots: int = 1  # runs at the same time
    walltime_hours: int | None = None  # None: the site's default
    type: str = "compute"
    is_reusable: bool = False  # kept, without effect


@dataclass(frozen=True, kw_only=True)
class InputFile:
    code: str  # the file's id
    decompress: bool = True  # archives are unpacked into the work folder


@dataclass(frozen=True, kw_only=True)
class JobAnalysis:
    code: str
    version: str | None  # as it was sent; None: the newest
    command: str
    hardware: Hardware
    input_files: tuple[InputFile, ...] = ()
    env_vars: Mapping[str, str] | None = None
    use_mpi: bool = False
    use_rescale_license: bool = False
    flags: Mapping[str, object] = field(default_factory=dict)
    pre_script: str | None = None  # file id
    pre_command: str = ""
    post_script: str | None = None  # file id
    post_command: str = ""
    templates: tuple[TemplateTask, ...] = ()
    # Wire name -> value of fields that are kept and shown and have no effect: job_bodies.py.
    kept: Mapping[str, object] = field(default_factory=dict)

    def files(self) -> Iterator[tuple[Path, str]]:
        """Every file it names, with the place where it does."""
        for i, sent in enumerate(self.input_files):
            yield ("inputFiles", i, "id"), sent.code
        if self.pre_script:
            yield ("preProcessScript", "id"), self.pre_script
        if self.post_script:
            yield ("postProcessScript", "id"), self.post_script
        for i, task in enumerate(self.templates):
            yield ("templateTasks", i, "templateFile", "id"), task.template


@dataclass(frozen=True, kw_only=True)
class ResourceFilter:
    """Which files of the work folder are kept as outputs."""

    filter_type: str
    selector: str
    include: bool = True
    case_sensitive: bool = False


GENERATED_FILES = "Analysis generated files"
COMPLETED_TEMPLATES = "Completed templates"
INPUT_FILES = "Input files"

# What a job has that sends none: the three rules of the tutorial's reply.
DEFAULT_FILTERS = tuple(
    ResourceFilter(filter_type=kind, selector=kind)
    for kind in (GENERATED_FILES, COMPLETED_TEMPLATES, INPUT_FILES)
)


@dataclass(frozen=True, kw_only=True)
class JobDefinition:
    name: str
    analyses: tuple[JobAnalysis, ...]
    low_priority: bool = False
    resource_filters: tuple[ResourceFilter, ...] = DEFAULT_FILTERS
    project_id: str | None = None
    study: Study | None = None  # None: one plain run
    # Wire name -> value of fields that are kept and shown and have no effect: job_bodies.py.
    kept: Mapping[str, object] = field(default_factory=dict)

    def files(self) -> Iterator[tuple[Path, str]]:
        """Every file it names, with the place where it does."""
        if self.study is not None:
            if self.study.param_file:
                yield ("paramFile", "id"), self.study.param_file
            if self.study.case_file:
                yield ("caseFile", "id"), self.study.case_file
        for i, analysis in enumerate(self.analyses):
            for path, code in analysis.files():
                yield ("jobanalyses", i, *path), code

    def keeps(self, filter_type: str) -> bool:
        """Whether files of this kind are kept. No rules at all keep everything."""
        rules = [r for r in self.resource_filters if r.filter_type == filter_type]
        return not self.resource_filters or any(r.include for r in rules)


@dataclass(frozen=True, kw_only=True)
class Job:
    id: int  # internal
    code: str  # five letters; what the API calls `id`
    owner_id: int
    owner_email: str
    definition: JobDefinition
    state: State
    created_at: datetime
    submitted_at: datetime | None
    storage_bytes: int  # inputs and outputs
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """What a list shows of a job."""

    code: str
    name: str
    owner_email: str
    analysis_names: tuple[str, ...]
    created_at: datetime
    status: str  # the newest word; "" for a draft
    cluster_status: str
    storage_bytes: int
    shared_with: tuple[str, ...] = ()  # emails


class Phase(StrEnum):
    """What lists of jobs are filtered by."""

    COMPLETED = "completed"
    NOT_COMPLETED = "not_completed"  # drafts too


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs a list shows. All that is given must hold."""

    phase: Phase | None = None
    status: str | None = None  # a status word; "" for drafts
    active: bool = False  # only those that were submitted and are not completed
    text: str = ""  # part of the name, without regard to case


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the site allows."""

    max_walltime_seconds: int
    oversubscribe_max: int = 4
    refused_tiers: frozenset[str] = frozenset()
    ignore_missing_gpus: bool = False
    project_required: bool = False
    study_runs_most: int = 100_000


def check(
    definition: JobDefinition,
    catalogue: Catalogue,
    machine: Machine,
    limits: Limits,
    known_files: frozenset[str],
) -> list[Problem]:
    """Everything wrong with a definition; empty where it can be saved.

    known_files: ids, among those it names, of files that exist and that the caller may use.
    """
    problems: list[Problem] = []
    if not definition.name.strip():
        problems.append(Problem(("name",), "This field may not be blank."))
    elif len(definition.name) > NAME_LENGTH:
        problems.append(
            Problem(("name",), f"Ensure this field has no more than {NAME_LENGTH} characters.")
        )
    if not definition.analyses:
        problems.append(Problem(("jobanalyses", "non_field_errors"), "This list may not be empty."))
    for i, analysis in enumerate(definition.analyses):
        problems += (
            Problem(("jobanalyses", i, *problem.path), problem.message)
            for problem in _check_analysis(analysis, catalogue, machine, limits)
        )
    return [*problems, *gone(definition, known_files)]


def gone(definition: JobDefinition, known_files: Container[str]) -> list[Problem]:
    """A problem for each file that it names and that is not known."""
    return [
        Problem(path, f'Invalid pk "{code}" - object does not exist.')
        for path, code in definition.files()
        if code not in known_files
    ]


def lengths(definition: JobDefinition) -> dict[Path, int]:
    """Of its lists, for reports that are aligned with them."""
    found: dict[Path, int] = {("jobanalyses",): len(definition.analyses)}
    for i, analysis in enumerate(definition.analyses):
        found["jobanalyses", i, "inputFiles"] = len(analysis.input_files)
    return found


def _check_analysis(
    sent: JobAnalysis, catalogue: Catalogue, machine: Machine, limits: Limits
) -> Iterator[Problem]:
    may_be_blank = sent.flags.get("igCv") or sent.hardware.type == "interactive"
    if not sent.command.strip() and not may_be_blank:
        yield Problem(("command",), "This field may not be blank.")
    analysis = catalogue.analysis(sent.code)
    if not sent.code:
        yield Problem(("analysis", "code"), "This field may not be blank.")
    elif analysis is None:
        yield Problem(("analysis", "code"), f'"{sent.code}" is not an analysis of this site.')
    else:
        resolution = catalogue.resolve(analysis, sent.version)
        if resolution is None:
            yield Problem(("analysis", "version"), "The specified version is not available.")
        elif resolution.tier in limits.refused_tiers:
            yield Problem(
                ("analysis", "version"),
                "The specified version is not available. This site does not run"
                f" {resolution.runs.name} in its place.",
            )
    for name, value in (sent.env_vars or {}).items():
        if not (name.isascii() and name.isidentifier()):
            yield Problem(("envVars", name), "Not a name that an environment variable can have.")
        elif "\0" in value:
            yield Problem(("envVars", name), "Null characters are not allowed.")
        elif len(value.encode()) > ENV_VAR_BYTES:
            yield Problem(
                ("envVars", name), f"Ensure this value has at most {ENV_VAR_BYTES} bytes."
            )
    if sum(len(f"{k}={v}".encode()) for k, v in (sent.env_vars or {}).items()) > ENV_VARS_BYTES:
        yield Problem(("envVars",), f"Ensure the variables have at most {ENV_VARS_BYTES} bytes.")
    for where, command in (
        ("command", sent.command),
        ("preProcessScriptCommand", sent.pre_command),
        ("postProcessScriptCommand", sent.post_command),
    ):
        if "\0" in command:
            yield Problem((where,), "Null characters are not allowed.")
    hardware = sent.hardware
    core_type = catalogue.core_type(hardware.core_type)
    if not hardware.core_type:
        yield Problem(("hardware", "coreType"), "This field may not be blank.")
    elif core_type is None:
        yield Problem(
            ("hardware", "coreType"), f'"{hardware.core_type}" is not a core type of this site.'
        )
    elif not core_type.offers(hardware.cores_per_slot):
        yield Problem(
            ("hardware", "coresPerSlot"),
            f"{core_type.code} does not offer {hardware.cores_per_slot} cores."
            f" It offers {core_type.offer}.",
        )
    elif core_type.needs_gpus_here and not machine.gpus and not limits.ignore_missing_gpus:
        yield Problem(
            ("hardware", "coreType"),
            f"{core_type.code} has GPUs and this machine has none.",
        )
    hours = hardware.walltime_hours
    if hours is not None and hours * 3600 > limits.max_walltime_seconds and hours > 1:
        yield Problem(
            ("hardware", "walltime"),
            f"Ensure this value is less than or equal to {limits.max_walltime_seconds // 3600}.",
        )


def walltime_seconds(hardware: Hardware, limits: Limits) -> int:
    """How long a run may take: what was asked for within what the site allows."""
    asked = hardware.walltime_hours
    if asked is None:
        return limits.max_walltime_seconds
    return min(asked * 3600, limits.max_walltime_seconds)


def slots(definition: JobDefinition) -> int:
    """Most runs of a study that run at the same time."""
    return max((sent.hardware.slots for sent in definition.analyses), default=1)


def placement(
    definition: JobDefinition, catalogue: Catalogue, machine: Machine, limits: Limits
) -> Placement:
    """Where a checked job goes: the analysis that asks for most cores decides."""
    largest = max((sent.hardware for sent in definition.analyses), key=lambda h: h.cores_per_slot)
    core_type = catalogue.core_type(largest.core_type)
    assert core_type is not None, "placement() is for definitions that check() found good"
    return place(
        core_type, largest.cores_per_slot, machine, oversubscribe_max=limits.oversubscribe_max
    )


def notices(
    definition: JobDefinition, catalogue: Catalogue, machine: Machine, limits: Limits
) -> tuple[Notice, ...]:
    """What the user should know about a checked job before it runs."""
    found: dict[str, Notice] = {}
    for sent in definition.analyses:
        analysis = catalogue.analysis(sent.code)
        resolution = catalogue.resolve(analysis, sent.version) if analysis else None
        if resolution and resolution.notice:
            found[resolution.notice.message] = resolution.notice
    for notice in placement(definition, catalogue, machine, limits).notices:
        found[notice.message] = notice
    for name in _without_effect(definition):
        notice = Notice(
            code="field-without-effect", message=f"{name} is kept and has no effect here."
        )
        found[notice.message] = notice
    known = {GENERATED_FILES, COMPLETED_TEMPLATES, INPUT_FILES}
    for rule in definition.resource_filters:
        if rule.filter_type not in known:
            shown = rule.filter_type[:100]
            notice = Notice(
                code="filter-unknown",
                message=f'The resource filter "{shown}" is not known here and has no effect.',
            )
            found[notice.message] = notice
    return tuple(found.values())


def clashes(definition: JobDefinition, files: Mapping[str, File]) -> Iterator[Notice]:
    """What a user should know of inputs that get in each other's way in the work folder.

    files: those of the definition that there are, by id.
    """
    lying: dict[str, list[str]] = {}  # path -> ids of those that are laid out there, in order
    for sent in definition.analyses:
        for each in sent.input_files:
            if each.code in files:
                lying.setdefault(files[each.code].input_path, []).append(each.code)
        for script in (sent.pre_script, sent.post_script):
            if script and script in files:
                lying.setdefault(files[script].name, []).append(script)
    shared = [path for path, codes in lying.items() if len(set(codes)) > 1]
    if shared:
        yield Notice(
            code="inputs-same-path",
            message=f"Several inputs go to {_some(shared)}: the last of them is what a run sees.",
        )
    folders = {parent for path in lying for parent in parents(path)}
    blocked = [path for path in lying if path in folders]
    if blocked:
        yield Notice(
            code="inputs-in-the-way",
            message=f"{_some(blocked)}: an input, and a folder of others. No run can start so.",
        )


def _some(paths: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more places" if more > 0 else "")


_SHOWN = 3  # paths of a notice

# Kept fields that ask for something which does not happen here, with what asks for nothing.
_ASKS = {
    "archiveFilters": ([], None),
    "autoTerminateCluster": (True, None),
    "cidrRule": (None, ""),
    "clusterId": (None, ""),
    "inputFolders": ([], None),
    "isCustomDoe": (False, None),
    "jobAutomations": ([], None),
    "publicKey": (None, ""),
    "remoteVizConfig": (None, ""),
    "setupCommand": (None, ""),
    "shouldRunForever": (False, None),
    "stopCommand": (None, ""),
}


def _without_effect(definition: JobDefinition) -> Iterator[str]:
    for kept in (definition.kept, *(analysis.kept for analysis in definition.analyses)):
        for name, value in kept.items():
            if name in _ASKS and value not in _ASKS[name]:
                yield name
