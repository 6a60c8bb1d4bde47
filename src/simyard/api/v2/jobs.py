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
from simyard.api.replies import base_url, empty, reply
from simyard.api.routes import PAGE, Routes, caller, is_v3, query, site_of
from simyard.api.shapes import anything, array, mapping, nullable, object_, page_of, text
from simyard.api.v2 import job_bodies, job_checks
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.files import FILE, TAG, TagBody, encode_page, encode_tag
from simyard.api.v2.job_shapes import (
    CUSTOM_FIELDS,
    JOB,
    STATUS,
    SUMMARY,
    V3_JOB,
    V3_STATUS,
    encode_job,
    encode_status,
    encode_summary,
    encode_v3_job,
)
from simyard.domain.errors import Invalid, NotFound
from simyard.domain.files import File
from simyard.domain.jobs import JobFilter, JobSummary, Phase
from simyard.domain.lifecycle import JOB_HISTORY, State
from simyard.domain.lists import Found
from simyard.domain.runs import StatusEntry
from simyard.service import jobs as service
from simyard.service import moves
from simyard.service.jobs import JobView
from simyard.service.site import Site

route = Routes("jobs")


# --- lists and drafts -----------------------------------------------------------------------------

# Words that other installations say and this one never does: no job is in such a state.
_NEVER_SAID = ("Force Stop",)
_STATUS_CODES = {word.upper().replace(" ", "_"): word for word in (*JOB_HISTORY[1:], *_NEVER_SAID)}


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
    job = await job_checks.read(request, sent)
    catalogue = await catalogue_of(site)
    job.refuse_if_wrong(request, catalogue)
    said = job_bodies.labels(sent)
    wanted = once(request, msgspec.json.encode(sent, order="deterministic"))
    view, is_new = await site.db.write_async(
        service.create_job,
        site,
        catalogue,
        owner,
        job.definition,
        wanted,
        tags=said.tags or (),
        custom_fields=said.custom_fields,
        told=job.told,
    )
    return await _reply(request, view, 201, headers(is_new))


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
    job = await job_checks.read(request, sent)
    job.refuse_if_wrong(request, catalogue)
    view = await site.db.write_async(
        service.change_job,
        site,
        catalogue,
        user,
        job_id,
        job.definition,
        tags=said.tags if said else None,
        custom_fields=said.custom_fields if said else None,
        based_on=before.job.definition if request.method == "PATCH" else None,
        told=job.told,
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
    job = site.db.read(service.get_own_job, user, job_id).job
    catalogue = await job_checks.looked_again(site, catalogue, job.definition)
    planned = await job_checks.plan(request, job.definition) if job.state is State.DRAFT else None
    is_new = await site.db.write_async(
        service.submit_job, site, catalogue, user, job_id, wanted, planned
    )
    return empty(200, headers(is_new))


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
