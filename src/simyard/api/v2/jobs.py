"""Jobs (api-v2 reference, section 4)."""

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies, paging
from simyard.api.idempotency import headers, once
from simyard.api.replies import base_url, empty, instant, reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.api.v2 import job_bodies
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.files import encode_file, encode_page
from simyard.domain.catalogue import Catalogue
from simyard.domain.errors import Invalid
from simyard.domain.files import File
from simyard.domain.jobs import JobAnalysis, JobSummary
from simyard.domain.runs import StatusEntry
from simyard.service import jobs as service
from simyard.service import moves
from simyard.service.jobs import JobView
from simyard.service.site import Site

route = Routes("jobs")


# --- wire shapes ----------------------------------------------------------------------------------


def encode_job(site: Site, catalogue: Catalogue, view: JobView, base: str) -> dict[str, Any]:
    job, definition = view.job, view.job.definition
    encoded = {code: encode_file(site, file, base) for code, file in view.files.items()}
    return {
        "id": job.code,
        "name": definition.name,
        "owner": job.owner_email,
        "dateInserted": instant(job.created_at),
        "isLowPriority": definition.low_priority,
        "isTemplateDryRun": False,
        "includeNominalRun": False,
        "expectedRuns": None,
        "monteCarloIterations": None,
        "optimizer": None,
        "paramFile": None,
        "caseFile": None,
        "remoteVizConfig": None,
        "jobvariables": [],
        "archiveFilters": [],
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
        "jobanalyses": [
            _encode_analysis(catalogue, analysis, encoded) for analysis in definition.analyses
        ],
        # Ours: what the user should know beside the status.
        "notices": [{"code": n.code, "message": n.message} for n in job.notices],
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
        "templateTasks": [],
        "hardware": _encode_hardware(catalogue, sent),
        "inputFiles": [files[f.code] for f in sent.input_files if f.code in files],
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
        "coreSummary": summary,
    }


def encode_summary(job: JobSummary) -> dict[str, Any]:
    return {
        "id": job.code,
        "name": job.name,
        "owner": job.owner_email,
        "dateInserted": instant(job.created_at),
        "analysisNames": list(job.analysis_names),
        "jobStatus": {"content": job.status, "labelClass": "", "useLabel": False},
        "clusterStatusDisplay": {
            "content": job.cluster_status,
            "labelClass": "",
            "useLabel": False,
        },
        "sharedWith": [],
        "isVisible": True,
        "storage": job.storage_bytes,
    }


def encode_status(entry: StatusEntry) -> dict[str, Any]:
    return {
        "status": entry.word,
        "statusDate": instant(entry.at),
        "statusReason": entry.reason,
    }


# --- routes ---------------------------------------------------------------------------------------


@route("GET", "/api/v2/jobs/", "Your jobs, newest first", *PAGE)
async def list_jobs(request: Request) -> Response:
    site, page = site_of(request), paging.asked(request)

    def find(offset: int, size: int) -> tuple[int, list[JobSummary]]:
        return site.db.read(service.list_jobs, caller(request), offset=offset, size=size)

    page, count, found = await run_in_threadpool(paging.fetch, page, find)
    return reply(paging.envelope(request, page, count, [encode_summary(job) for job in found]))


@route("POST", "/api/v2/jobs/", "Save a job as a draft", body=job_bodies.JobBody, status=201)
async def create_job(request: Request) -> Response:
    site, owner = site_of(request), caller(request)
    sent = await bodies.json_of(request)
    definition, problems, lengths = job_bodies.read(sent)
    catalogue = await catalogue_of(site)
    if problems:
        problems += [
            problem
            for problem in site.db.read(service.check_job, site, catalogue, owner, definition)
            if not bodies.covered(problem, problems)
        ]
        raise Invalid(problems, lengths)
    wanted = once(request, msgspec.json.encode(sent, order="deterministic"))
    view, is_new = await site.db.write_async(
        service.create_job, site, catalogue, owner, definition, wanted
    )
    body = encode_job(site, catalogue, view, base_url(request))
    return reply(body, 201, headers(is_new))


@route("GET", "/api/v2/jobs/{job_id}/", "A job as it was defined")
async def get_job(request: Request, job_id: str) -> Response:
    site = site_of(request)
    catalogue = await catalogue_of(site)
    view = site.db.read(service.get_job, caller(request), job_id)
    return reply(encode_job(site, catalogue, view, base_url(request)))


@route("DELETE", "/api/v2/jobs/{job_id}/", "Delete a job and its outputs", status=204)
async def delete_job(request: Request, job_id: str) -> Response:
    site = site_of(request)
    await site.db.write_async(service.delete_job, site, caller(request), job_id)
    return empty(204)


@route("POST", "/api/v2/jobs/{job_id}/submit/", "Send a draft on its way")
async def submit_job(request: Request, job_id: str) -> Response:
    site, user = site_of(request), caller(request)
    catalogue = await catalogue_of(site)
    if not catalogue.all_installed:
        for code in site.db.read(service.not_installed, catalogue, user, job_id):
            # It may have been installed since somebody last looked.
            catalogue = await run_in_threadpool(site.book.look_again, code)
    await site.db.write_async(service.submit_job, site, catalogue, user, job_id)
    return empty(200)


@route("POST", "/api/v2/jobs/{job_id}/stop/", "Ask for the end of a job", status=202)
async def stop_job(request: Request, job_id: str) -> Response:
    site = site_of(request)
    await site.db.write_async(service.stop_job, site, caller(request), job_id)
    return empty(202)


async def _history(request: Request, job_id: str, track: str) -> Response:
    page = paging.asked(request)
    entries = site_of(request).db.read(service.history, caller(request), job_id, track)
    page, count, found = paging.fetch(
        page, lambda offset, size: (len(entries), entries[offset : offset + size])
    )
    return reply(paging.envelope(request, page, count, [encode_status(entry) for entry in found]))


# The tutorial's Python sample posts to this path; it is answered as a GET is.
@route("POST", "/api/v2/jobs/{job_id}/statuses/", "The same as GET", *PAGE)
@route("GET", "/api/v2/jobs/{job_id}/statuses/", "What a job went through, newest first", *PAGE)
async def statuses(request: Request, job_id: str) -> Response:
    return await _history(request, job_id, moves.JOB)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/cluster_statuses/",
    "What a job's cluster went through, newest first",
    *PAGE,
)
async def cluster_statuses(request: Request, job_id: str) -> Response:
    return await _history(request, job_id, moves.CLUSTER)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/files/",
    "The output files of all runs of a job",
    *PAGE,
    query("search", "Part of the path."),
)
async def list_job_files(request: Request, job_id: str) -> Response:
    site, page = site_of(request), paging.asked(request)
    text = request.query_params.get("search", "")

    def find(offset: int, size: int) -> tuple[int, list[File]]:
        return site.db.read(
            service.list_job_files, caller(request), job_id, offset=offset, size=size, text=text
        )

    found = await run_in_threadpool(paging.fetch, page, find)
    return reply(encode_page(request, *found))
