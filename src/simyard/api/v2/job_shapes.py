"""Jobs as clients read them: the shapes of their replies, and what makes these."""

from typing import Any

from simyard.api import shapes
from simyard.api.replies import instant_text
from simyard.api.shapes import (
    anything,
    array,
    choice,
    fields,
    flag,
    instant,
    integer,
    mapping,
    nullable,
    number,
    object_,
    text,
)
from simyard.api.v2 import job_bodies
from simyard.api.v2.files import FILE, encode_deleted, encode_file
from simyard.domain.catalogue import Catalogue
from simyard.domain.files import FileType
from simyard.domain.jobs import JobAnalysis, JobSummary
from simyard.domain.runs import StatusEntry
from simyard.domain.studies import Role, Study
from simyard.service.jobs import JobView
from simyard.service.site import Site

_SUMMARY_OF_CORES = nullable(
    object_(
        "CoreSummary",
        numberOfNodes=number(1),
        memoryPerNode=number(3750),
        storagePerNode=number(4000),
    )
)
_HARDWARE = {
    "coresPerSlot": integer(4, "Cores of one run."),
    "slots": integer(1, "Runs at the same time."),
    "walltime": nullable(integer(2, "Hours.")),
    "type": text("compute"),
    "isReusable": flag(False),
    "coreSummary": _SUMMARY_OF_CORES,
}
_INPUT_FILE = object_(
    "InputFile",
    **shapes.resolve(FILE)["properties"],
    decompress=flag(True, "Archives are unpacked into the work folder."),
)
_ANALYSIS = {
    "analysis": object_(
        "JobAnalysisRef",
        code=text("openfoam"),
        name=text("OpenFOAM"),
        version=text("11-openmpi", "The version code that was asked for."),
        versionName=text("11", "What runs."),
    ),
    "command": text("./cavity/Allrun"),
    "envVars": nullable(mapping(text("1"), "OMP_NUM_THREADS")),
    "useMpi": flag(False),
    "flags": mapping(anything(True), "igCv"),
    "useRescaleLicense": flag(False),
    "onDemandLicenseSeller": nullable(mapping(anything("ansys"), "code"), example_null=True),
    "userDefinedLicenseSettings": nullable(mapping(anything([]), "featureSets"), example_null=True),
    "licenseSettings": anything([]),
    "order": nullable(integer(0), example_null=True),
    "isCustomDoe": flag(False),
    "shouldRunForever": flag(False),
    "setupCommand": text(""),
    "stopCommand": text(""),
    "stopCommandTimeout": nullable(integer(60), example_null=True),
    "useSharedStorage": flag(False),
    "inputFolders": array(anything("fOldrA")),
    "templateTasks": array(
        object_(
            "TemplateTask",
            templateFile=nullable(FILE),
            processedFilename=text("airFoil2D/0/U", "Relative to the work folder."),
            unknown=choice("refuse", "keep"),
        )
    ),
    "inputFiles": array(_INPUT_FILE),
    "preProcessScript": nullable(FILE, example_null=True),
    "preProcessScriptCommand": text(""),
    "postProcessScript": nullable(FILE, example_null=True),
    "postProcessScriptCommand": text(""),
}
_FILTER = object_(
    "ResourceFilter",
    filterType=text("Analysis generated files"),
    selector=text("Analysis generated files"),
    include=flag(True),
    caseSensitive=flag(False),
)
_JOB = {
    "id": text("hTrNa"),
    "name": text("Cavity"),
    "owner": text("ada@lab.example"),
    "dateInserted": instant(),
    "isLowPriority": flag(False),
    "isTemplateDryRun": flag(False),
    "includeNominalRun": flag(False),
    "expectedRuns": nullable(integer(13, "Of a study; null for one plain run.")),
    "monteCarloIterations": nullable(integer(100), example_null=True),
    "optimizer": nullable(mapping(anything("gp"), "method"), example_null=True),
    "paramFile": nullable(FILE, example_null=True),
    "caseFile": nullable(FILE, example_null=True),
    "jobvariables": array(
        object_(
            "JobVariable",
            name=text("angle"),
            variableType=choice(*(role.value for role in Role)),
            displayOrder=integer(0),
            valueGeneratorType=text("FixedRange"),
            valueGeneratorSettings=mapping(anything(0), "minvalue"),
        )
    ),
    "design": nullable(
        object_(
            "Design",
            kind=text("sobol"),
            count=nullable(integer(32)),
            options=mapping(anything(1), "centre"),
        ),
        example_null=True,
    ),
    "seed": nullable(integer(7, "Of all that is random in a study.")),
    "projectId": nullable(text("pRjctA"), example_null=True),
    "resourceFilters": array(_FILTER),
    "tags": array(text("cfd")),
    "userTags": array(text("cfd"), "The same as `tags`."),
    "description": text(""),
    "clonedFrom": nullable(text("QTVia"), example_null=True),
    "folderId": nullable(text("fOldrA"), example_null=True),
    "billingPriorityValue": nullable(text("ON_DEMAND"), example_null=True),
    "cidrRule": nullable(text("192.0.2.0/24"), example_null=True),
    "publicKey": nullable(text("ssh-ed25519 AAAA"), example_null=True),
    "sshPort": nullable(integer(22), example_null=True),
    "autoTerminateCluster": flag(True),
    "clusterId": nullable(text("cLstRa"), example_null=True),
    "inputFileParseTask": text(""),
    "isTemplate": flag(False),
    "templatedFrom": nullable(text("QTVia"), example_null=True),
    "jobAutomations": array(anything({})),
    "archiveFilters": array(anything({})),
    "remoteVizConfig": anything(None),
    "sharedWith": array(text("bob@lab.example")),
    "notices": array(
        object_("Notice", code=text("version-alias"), message=text("OpenFOAM 1912 runs.")),
        "What to know of a job beside its status.",
    ),
}
JOB = object_(
    "Job",
    **_JOB,
    jobanalyses=array(
        object_(
            "JobAnalysis",
            **_ANALYSIS,
            hardware=object_("Hardware", coreType=text("emerald"), **_HARDWARE),
        )
    ),
)
_V3_EXTRAS: dict[str, Any] = {
    "attachedJobs": [],
    "autosuspend": None,
    "delayedStart": None,
    "elapsedWalltimeSeconds": None,
    "isPinned": False,
    "launchConfig": None,
    "osCostTier": None,
    "region": None,
    "study": None,
    "suspensionStatus": None,
}
V3_JOB = object_(
    "V3Job",
    **_JOB,
    jobanalyses=array(
        object_(
            "V3JobAnalysis",
            **_ANALYSIS,
            hardware=object_(
                "V3Hardware",
                coreType=fields(code=text("emerald"), name=text("Emerald")),
                **_HARDWARE,
            ),
        )
    ),
    currentUserHasFullAccess=flag(True),
    customFields=mapping(anything("steel"), "Material"),
    **{name: shapes.always(value) for name, value in _V3_EXTRAS.items()},
)
_LABEL = object_(
    "StatusLabel", content=text("Completed"), labelClass=text(""), useLabel=flag(False)
)
SUMMARY = object_(
    "JobSummary",
    id=text("hTrNa"),
    name=text("Cavity"),
    owner=text("ada@lab.example"),
    dateInserted=instant(),
    analysisNames=array(text("OpenFOAM")),
    jobStatus=_LABEL,
    clusterStatusDisplay=_LABEL,
    sharedWith=array(text("bob@lab.example")),
    isVisible=flag(True),
    storage=integer(48213, "Bytes of inputs and outputs."),
)
_STATUS = {
    "status": text("Completed"),
    "statusDate": instant(),
    "statusReason": nullable(text("Completed successfully")),
    "notify": flag(False),
    "preventDuplicates": flag(False),
}
STATUS = object_("Status", **_STATUS)
V3_STATUS = object_(
    "V3Status", **_STATUS, id=text("17"), jobId=text("hTrNa"), substatus=shapes.always(None)
)
CUSTOM_FIELDS = mapping(
    object_("CustomField", meta=fields(name=text("Material")), value=anything("steel")), "Material"
)


def encode_job(site: Site, catalogue: Catalogue, view: JobView, base: str) -> dict[str, Any]:
    job, definition = view.job, view.job.definition
    encoded = {code: encode_file(site, file, base) for code, file in view.files.items()}
    for code, gone in view.deleted.items():
        encoded[code] = encode_deleted(gone, base)
    return {
        "id": job.code,
        "name": definition.name,
        "owner": job.owner_email,
        "dateInserted": instant_text(job.created_at),
        "isLowPriority": definition.low_priority,
        **_encode_study(definition.study or _NO_STUDY, encoded),
        "projectId": definition.project_id,
        "resourceFilters": [
            {
                "filterType": rule.filter_type,
                "selector": rule.selector,
                "include": rule.include,
                "caseSensitive": rule.case_sensitive,
            }
            for rule in definition.resource_filters
        ],
        "tags": list(view.tags),
        "userTags": list(view.tags),
        **job_bodies.KEPT_OF_JOB,
        **definition.kept,
        "jobanalyses": [
            _encode_analysis(catalogue, analysis, encoded) for analysis in definition.analyses
        ],
        "sharedWith": list(view.shared_with),
        # Ours: what the user should know beside the status.
        "notices": [{"code": n.code, "message": n.message} for n in job.notices],
    }


_NO_STUDY = Study()


def _as(kind: FileType, file: dict[str, Any] | None) -> dict[str, Any] | None:
    """A file in the part that it has in the job, whatever it was uploaded as."""
    return file and {**file, "typeId": kind.value}


def _encode_study(study: Study, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    design = study.design
    return {
        "isTemplateDryRun": study.dry_run,
        "includeNominalRun": study.nominal_run,
        "expectedRuns": study.expected_runs,
        "monteCarloIterations": study.draws,
        "optimizer": study.optimizer and study.optimizer.sent,
        "paramFile": _as(FileType.PARAMETER, files.get(study.param_file or "")),
        "caseFile": _as(FileType.CASE, files.get(study.case_file or "")),
        "jobvariables": [
            {
                "name": variable.name,
                "variableType": variable.role.value,
                "displayOrder": variable.order,
                "valueGeneratorType": variable.generator,
                "valueGeneratorSettings": variable.settings,
            }
            for variable in study.variables
        ],
        # Ours.
        "design": design
        and {"kind": design.kind, "count": design.count, "options": design.options},
        "seed": study.seed,
    }


def encode_v3_job(
    encoded: dict[str, Any], catalogue: Catalogue, custom_fields: dict[str, Any], *, own: bool
) -> dict[str, Any]:
    """A job of version 2 as version 3 has it: core types as objects, and a few fields more."""
    for analysis in encoded["jobanalyses"]:
        hardware = analysis["hardware"]
        found = catalogue.core_type(hardware["coreType"])
        name = found.name if found else hardware["coreType"]
        hardware["coreType"] = {"code": hardware["coreType"], "name": name}
    return {
        **encoded,
        **_V3_EXTRAS,
        "currentUserHasFullAccess": own,
        "customFields": custom_fields,
    }


def _encode_analysis(
    catalogue: Catalogue, sent: JobAnalysis, files: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    analysis = catalogue.analysis(sent.code)
    resolution = catalogue.resolve(analysis, sent.version) if analysis else None
    return {
        "analysis": {
            "code": sent.code,
            "name": analysis.name if analysis else sent.code,
            "version": sent.version or (resolution.asked if resolution else ""),
            "versionName": resolution.runs.name if resolution else "",
        },
        "command": sent.command,
        "envVars": sent.env_vars,
        "useMpi": sent.use_mpi,
        "flags": sent.flags,
        "useRescaleLicense": sent.use_rescale_license,
        **job_bodies.KEPT_OF_ANALYSIS,
        **sent.kept,
        "templateTasks": [
            {
                "templateFile": _as(FileType.TEMPLATE, files.get(task.template)),
                "processedFilename": task.target,
                "unknown": "keep" if task.keep_unknown else "refuse",
            }
            for task in sent.templates
        ],
        "hardware": _encode_hardware(catalogue, sent),
        "inputFiles": [
            {**files[f.code], "decompress": f.decompress}
            for f in sent.input_files
            if f.code in files
        ],
        "preProcessScript": _as(FileType.SCRIPT, files.get(sent.pre_script or "")),
        "preProcessScriptCommand": sent.pre_command,
        "postProcessScript": _as(FileType.SCRIPT, files.get(sent.post_script or "")),
        "postProcessScriptCommand": sent.post_command,
    }


def _encode_hardware(catalogue: Catalogue, sent: JobAnalysis) -> dict[str, Any]:
    hardware = sent.hardware
    summary = None
    core_type = catalogue.core_type(hardware.core_type)
    if core_type is not None:
        nodes = core_type.nodes(hardware.cores_per_slot)
        cores = -(-hardware.cores_per_slot // nodes)
        summary = {
            "numberOfNodes": nodes,
            "memoryPerNode": core_type.memory_mb * cores,
            # 100 for each GB per core is what the tutorial's reply has; its unit is not documented.
            "storagePerNode": core_type.storage_gb * 100 * cores,
        }
    return {
        "coreType": hardware.core_type,
        "coresPerSlot": hardware.cores_per_slot,
        "slots": hardware.slots,
        "walltime": hardware.walltime_hours,
        "type": hardware.type,
        "isReusable": hardware.is_reusable,
        "coreSummary": summary,
    }


def encode_summary(job: JobSummary) -> dict[str, Any]:
    return {
        "id": job.code,
        "name": job.name,
        "owner": job.owner_email,
        "dateInserted": instant_text(job.created_at),
        "analysisNames": list(job.analysis_names),
        "jobStatus": {"content": job.status, "labelClass": "", "useLabel": False},
        "clusterStatusDisplay": {
            "content": job.cluster_status,
            "labelClass": "",
            "useLabel": False,
        },
        "sharedWith": list(job.shared_with),
        "isVisible": True,
        "storage": job.storage_bytes,
    }


def encode_status(entry: StatusEntry) -> dict[str, Any]:
    return {
        "status": entry.word,
        "statusDate": instant_text(entry.at),
        "statusReason": entry.reason,
        "notify": False,
        "preventDuplicates": False,
    }
