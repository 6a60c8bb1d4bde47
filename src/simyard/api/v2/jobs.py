"""Jobs (api-v2 reference, section 4)."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies, paging, shapes
from simyard.api.bodies import Body, LooseText, needed
from simyard.api.idempotency import headers, once
from simyard.api.replies import base_url, empty, instant_text, reply
from simyard.api.routes import PAGE, Routes, caller, is_v3, query, site_of
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
    page_of,
    text,
)
from simyard.api.v2 import job_bodies
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.files import (
    FILE,
    TAG,
    TagBody,
    encode_deleted,
    encode_file,
    encode_page,
    encode_tag,
)
from simyard.domain.catalogue import Catalogue, Notice
from simyard.domain.errors import Invalid, NotFound, Path, Problem
from simyard.domain.files import File
from simyard.domain.jobs import JobAnalysis, JobDefinition, JobFilter, JobSummary, Phase
from simyard.domain.lifecycle import JOB_WORDS, State
from simyard.domain.lists import Found
from simyard.domain.runs import StatusEntry
from simyard.domain.studies import Role, Study
from simyard.domain.users import User
from simyard.service import jobs as service
from simyard.service import moves, studies
from simyard.service.jobs import JobView
from simyard.service.site import Site
from simyard.service.studies import Planned

route = Routes("jobs")

# --- wire shapes ----------------------------------------------------------------------------------

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


def _encode_study(study: Study, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    design = study.design
    return {
        "isTemplateDryRun": study.dry_run,
        "includeNominalRun": study.nominal_run,
        "expectedRuns": study.expected_runs,
        "monteCarloIterations": study.draws,
        "optimizer": study.optimizer and study.optimizer.sent,
        "paramFile": files.get(study.param_file or ""),
        "caseFile": files.get(study.case_file or ""),
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
                "templateFile": files.get(task.template),
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
        "preProcessScript": files.get(sent.pre_script or ""),
        "preProcessScriptCommand": sent.pre_command,
        "postProcessScript": files.get(sent.post_script or ""),
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


# --- lists and drafts -----------------------------------------------------------------------------

# Words that other installations say and this one never does: no job is in such a state.
_NEVER_SAID = ("Waiting for Queue", "Waiting for Cluster", "Force Stop")
_STATUS_CODES = {
    word.upper().replace(" ", "_"): word for word in (*JOB_WORDS.values(), *_NEVER_SAID)
}


@route(
    "GET",
    "/api/v2/jobs/",
    "Your jobs and those shared with you, newest first",
    *PAGE,
    query("state", "`completed` or `not_completed`."),
    query("job_status", "A status in capitals, like `EXECUTING` or `WAITING_FOR_QUEUE`."),
    query("t", "`1`: only those that were submitted and are not completed."),
    query("search", "Part of the name."),
    query("ordering", "Passed over: the newest come first."),
    reply=page_of(SUMMARY),
    v3=True,
)
async def list_jobs(request: Request) -> Response:
    site, page, asked = site_of(request), paging.asked(request), request.query_params
    state = asked.get("state", "")
    wanted = JobFilter(  # unknown filters and values are passed over
        phase=Phase(state) if state in list(Phase) else None,
        status=_STATUS_CODES.get(asked.get("job_status", "").upper()),
        active=asked.get("t") == "1",
        text=asked.get("search", ""),
    )

    def find(offset: int, size: int) -> Found[JobSummary]:
        return site.db.read(service.list_jobs, caller(request), wanted, offset=offset, size=size)

    page, found = await run_in_threadpool(paging.fetch, page, find)
    return reply(paging.envelope(request, page, found, encode_summary))


async def _reply(
    request: Request,
    view: JobView,
    status: int = 200,
    extra: dict[str, str] | None = None,
) -> Response:
    site = site_of(request)
    catalogue = await catalogue_of(site)
    encoded = encode_job(site, catalogue, view, base_url(request))
    if is_v3(request):
        user = caller(request)
        custom = site.db.read(service.custom_fields, user, view.job.code)
        own = view.job.owner_id == user.id
        encoded = encode_v3_job(encoded, catalogue, custom, own=own)
    return reply(encoded, status, extra)


@route(
    "POST",
    "/api/v2/jobs/",
    "Save a job as a draft",
    body=job_bodies.JobBody,
    reply=JOB,
    v3_reply=V3_JOB,
    status=201,
    creates=True,
    v3=True,
)
async def create_job(request: Request) -> Response:
    site, owner = site_of(request), caller(request)
    sent = await bodies.json_of(request)
    definition, problems, lengths = job_bodies.read(sent)
    catalogue = await catalogue_of(site)
    definition, told = await _completed(site, owner, definition, problems)
    _report(site, request, catalogue, definition, problems, lengths)
    said = job_bodies.labels(sent)
    wanted = once(request, msgspec.json.encode(sent, order="deterministic"))
    view, is_new = await site.db.write_async(
        service.create_job,
        site,
        catalogue,
        owner,
        definition,
        wanted,
        tags=said.tags or (),
        custom_fields=said.custom_fields,
        told=told,
    )
    return await _reply(request, view, 201, headers(is_new))


async def _completed(
    site: Site, owner: User, definition: JobDefinition, problems: list[Problem]
) -> tuple[JobDefinition, tuple[Notice, ...]]:
    """The definition with what follows from its study, and what to know of that. Adds to problems
    what is wrong with it.
    """
    definition, wrong, told = await run_in_threadpool(studies.complete, site, owner.id, definition)
    problems += [problem for problem in wrong if not bodies.covered(problem, problems)]
    return definition, told


def _report(
    site: Site,
    request: Request,
    catalogue: Catalogue,
    definition: JobDefinition,
    problems: list[Problem],
    lengths: dict[Path, int],
) -> None:
    """Raises Invalid where the shape is wrong, with what else is wrong beside it."""
    if problems:
        others = site.db.read(service.check_job, site, catalogue, caller(request), definition)
        problems += [other for other in others if not bodies.covered(other, problems)]
        raise Invalid(problems, lengths)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/",
    "A job as it was defined",
    reply=JOB,
    v3_reply=V3_JOB,
    v3=True,
)
async def get_job(request: Request, job_id: str) -> Response:
    return await _reply(request, site_of(request).db.read(service.get_job, caller(request), job_id))


@route(
    "PATCH",
    "/api/v2/jobs/{job_id}/",
    "Change a draft: what is sent replaces what is there",
    body=job_bodies.JobBody,
    reply=JOB,
    v3_reply=V3_JOB,
    v3=True,
)
@route(
    "PUT",
    "/api/v2/jobs/{job_id}/",
    "Put another definition in the place of a draft's",
    body=job_bodies.JobBody,
    reply=JOB,
    v3_reply=V3_JOB,
    v3=True,
)
async def change_job(request: Request, job_id: str) -> Response:
    site, user = site_of(request), caller(request)
    sent = await bodies.json_of(request)
    catalogue = await catalogue_of(site)
    before = site.db.read(service.get_own_job, user, job_id)
    said = job_bodies.labels(sent, before.tags) if isinstance(sent, dict) else None
    if request.method == "PATCH":
        present = encode_job(site, catalogue, before, base_url(request))
        for shown, kept in zip(present["jobanalyses"], before.job.definition.analyses, strict=True):
            shown["analysis"]["version"] = kept.version  # none: still the newest
        sent = job_bodies.changed(present, sent)
    definition, problems, lengths = job_bodies.read(sent)
    definition, told = await _completed(site, user, definition, problems)
    _report(site, request, catalogue, definition, problems, lengths)
    view = await site.db.write_async(
        service.change_job,
        site,
        catalogue,
        user,
        job_id,
        definition,
        tags=said.tags if said else None,
        custom_fields=said.custom_fields if said else None,
        based_on=before.job.definition if request.method == "PATCH" else None,
        told=told,
    )
    return await _reply(request, view)


@route(
    "DELETE",
    "/api/v2/jobs/{job_id}/",
    "Delete a job and its outputs",
    query("deleteInputFiles", "`true`: its inputs too, unless other jobs name them."),
    status=204,
    v3=True,
)
async def delete_job(request: Request, job_id: str) -> Response:
    site = site_of(request)
    with_inputs = request.query_params.get("deleteInputFiles", "").lower() in ("true", "1")
    await site.db.write_async(
        service.delete_job, site, caller(request), job_id, with_inputs=with_inputs
    )
    return empty(204)


# --- commands -------------------------------------------------------------------------------------


@route(
    "POST",
    "/api/v2/jobs/{job_id}/submit/",
    "Send a draft on its way",
    creates=True,
    v3=True,
    also=(400,),
)
async def submit_job(request: Request, job_id: str) -> Response:
    site, user = site_of(request), caller(request)
    catalogue = await catalogue_of(site)
    wanted = once(request)
    if not catalogue.all_installed:
        for code in site.db.read(service.not_installed, catalogue, user, job_id):
            # It may have been installed since somebody last looked.
            catalogue = await run_in_threadpool(site.book.look_again, code)
    planned = await run_in_threadpool(_plan, site, user, job_id)
    is_new = await site.db.write_async(
        service.submit_job, site, catalogue, user, job_id, wanted, planned
    )
    return empty(200, headers(is_new))


def _plan(site: Site, user: User, job_id: str) -> Planned | None:
    """The runs of a draft that is a study; None for other jobs, which the submit itself checks."""
    job = site.db.read(service.get_own_job, user, job_id).job
    needs = job.definition.study or any(a.templates for a in job.definition.analyses)
    return studies.plan_submit(site, job) if needs and job.state is State.DRAFT else None


@route(
    "POST",
    "/api/v2/jobs/{job_id}/stop/",
    "Ask for the end of a job",
    status=202,
    v3=True,
    also=(400,),
)
async def stop_job(request: Request, job_id: str) -> Response:
    site = site_of(request)
    await site.db.write_async(service.stop_job, site, caller(request), job_id)
    return empty(202)


class ShareBody(Body):
    """`email`, or `account` as version 3 calls it."""

    email: LooseText = ""
    account: LooseText = ""
    message: LooseText = ""


class UnshareBody(Body):
    email: LooseText = needed("")


@route(
    "POST",
    "/api/v2/jobs/{job_id}/share/",
    "Let another member see a job and all that it holds",
    body=ShareBody,
    reply=object_("ShareReply", recipient=text("bob@lab.example"), supportDesk=shapes.always(None)),
    v3=True,
)
async def share_job(request: Request, job_id: str) -> Response:
    body = bodies.checked(ShareBody, await bodies.json_of(request))
    if not (body.email or body.account):
        raise Invalid.at("email", "This field is required.")
    recipient = await site_of(request).db.write_async(
        service.share_job, caller(request), job_id, body.email or body.account, body.message
    )
    return reply({"recipient": recipient, "supportDesk": None})


@route(
    "DELETE",
    "/api/v2/jobs/{job_id}/share/",
    "Take a job out of a member's sight again",
    body=UnshareBody,
    status=204,
    tag="extensions",
)
async def unshare_job(request: Request, job_id: str) -> Response:
    body = bodies.checked(UnshareBody, await bodies.json_of(request))
    await site_of(request).db.write_async(service.unshare_job, caller(request), job_id, body.email)
    return empty(204)


class AssignmentBody(Body):
    project_id: LooseText | None = needed(None)


@route(
    "POST",
    "/api/v2/organizations/{org}/jobs/{job_id}/project-assignment/",
    "Book a job on a project",
    body=AssignmentBody,
    reply=object_("ProjectAssignment", projectId=nullable(text("pRjctA"))),
)
async def assign_project(request: Request, org: str, job_id: str) -> Response:
    body = bodies.checked(AssignmentBody, await bodies.json_of(request))
    site = site_of(request)
    check_organization(site, org)
    await site.db.write_async(
        service.assign_project, site, caller(request), job_id, body.project_id or ""
    )
    view = site.db.read(service.get_job, caller(request), job_id)
    return reply({"projectId": view.job.definition.project_id})


def check_organization(site: Site, org: str, workspace_id: str | None = None) -> None:
    """Raises NotFound for any but the installation's own."""
    if org != site.company_code or workspace_id not in (None, site.workspace_id):
        raise NotFound


# --- tags and custom fields -----------------------------------------------------------------------


@route("GET", "/api/v2/jobs/{job_id}/tags/", "A job's tags", reply=array(TAG), v3=True)
async def list_tags(request: Request, job_id: str) -> Response:
    names = site_of(request).db.read(service.tags, caller(request), job_id)
    return reply([encode_tag(name) for name in names])


@route(
    "POST",
    "/api/v2/jobs/{job_id}/tags/",
    "Tag a job",
    body=TagBody,
    reply=TAG,
    status=201,
    v3=True,
)
async def add_tag(request: Request, job_id: str) -> Response:
    body = bodies.checked(TagBody, await bodies.json_of(request))
    shown = await site_of(request).db.write_async(
        service.tag_job, caller(request), job_id, body.name
    )
    return reply(encode_tag(shown), 201)


@route(
    "DELETE", "/api/v2/jobs/{job_id}/tags/", "Take a tag away", body=TagBody, status=204, v3=True
)
async def remove_tag(request: Request, job_id: str) -> Response:
    body = bodies.checked(TagBody, await bodies.json_of(request))
    await site_of(request).db.write_async(service.untag_job, caller(request), job_id, body.name)
    return empty(204)


def _encode_fields(values: dict[str, Any]) -> dict[str, Any]:
    return {name: {"meta": {"name": name}, "value": value} for name, value in values.items()}


@route(
    "GET",
    "/api/v2/jobs/{job_id}/custom-fields/",
    "A job's custom fields",
    reply=CUSTOM_FIELDS,
    v3=True,
)
async def get_custom_fields(request: Request, job_id: str) -> Response:
    return reply(
        _encode_fields(site_of(request).db.read(service.custom_fields, caller(request), job_id))
    )


@route(
    "POST",
    "/api/v2/jobs/{job_id}/custom-fields/",
    "Set custom fields, an object of names and values; null takes one away",
    json_body=mapping(anything("steel"), "Material"),
    reply=CUSTOM_FIELDS,
    v3=True,
)
async def set_custom_fields(request: Request, job_id: str) -> Response:
    sent = await bodies.json_of(request)
    if not isinstance(sent, dict):
        raise Invalid.at((), "Invalid data. Expected a dictionary of names and values.")
    values = await site_of(request).db.write_async(
        service.set_custom_fields, caller(request), job_id, sent
    )
    return reply(_encode_fields(values))


# --- history --------------------------------------------------------------------------------------


async def _history(
    request: Request,
    entries: list[StatusEntry],
    encode: Callable[[StatusEntry], dict[str, Any]] = encode_status,
) -> Response:
    page, found = paging.cut(paging.asked(request), entries)
    return reply(paging.envelope(request, page, found, encode))


# The tutorial's Python sample posts to this path; it is answered as a GET is.
@route(
    "POST",
    "/api/v2/jobs/{job_id}/statuses/",
    "The same as GET",
    *PAGE,
    reply=page_of(STATUS),
    reads=True,
)
@route(
    "GET",
    "/api/v2/jobs/{job_id}/statuses/",
    "What a job went through, newest first",
    *PAGE,
    reply=page_of(STATUS),
    v3_reply=page_of(V3_STATUS),
    v3=True,
)
async def statuses(request: Request, job_id: str) -> Response:
    entries = site_of(request).db.read(service.history, caller(request), job_id, moves.JOB)
    if not is_v3(request):
        return await _history(request, entries)

    def encode(entry: StatusEntry) -> dict[str, Any]:
        extras = {"id": str(entry.id), "jobId": job_id, "substatus": None}
        return {**encode_status(entry), **extras}

    return await _history(request, entries, encode)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/cluster_statuses/",
    "What a job's cluster went through, newest first",
    *PAGE,
    reply=page_of(STATUS),
    v3=True,
)
async def cluster_statuses(request: Request, job_id: str) -> Response:
    entries = site_of(request).db.read(service.history, caller(request), job_id, moves.CLUSTER)
    return await _history(request, entries)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/files/",
    "The output files of all runs of a job",
    *PAGE,
    query("search", "Part of the path."),
    reply=page_of(FILE),
    v3=True,
)
async def list_job_files(request: Request, job_id: str) -> Response:
    site, page = site_of(request), paging.asked(request)
    text = request.query_params.get("search", "")

    def find(offset: int, size: int) -> Found[File]:
        return site.db.read(
            service.list_job_files, caller(request), job_id, offset=offset, size=size, text=text
        )

    found = await run_in_threadpool(paging.fetch, page, find)
    return reply(encode_page(request, *found))
