"""Drafts of jobs: kept while somebody writes them, checked, and submitted once (ours,
docs/extensions.md).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies, errors, paging
from simyard.api.errors import PreconditionRequired
from simyard.api.idempotency import headers, once
from simyard.api.replies import base_url, empty, instant_text, reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.api.shapes import (
    anything,
    array,
    choice,
    instant,
    integer,
    mapping,
    nullable,
    object_,
    page_of,
    text,
)
from simyard.api.v2 import job_bodies, job_checks
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.job_checks import Sent
from simyard.api.v2.job_shapes import encode_job
from simyard.api.v2.studies import ESTIMATE, encode_estimate
from simyard.domain.catalogue import Catalogue, Notice
from simyard.domain.drafts import Draft, DraftSummary
from simyard.domain.errors import Changed, Invalid, Path, Problem
from simyard.domain.lists import Found
from simyard.service import drafts as service
from simyard.service import estimates
from simyard.service import jobs as job_service
from simyard.service.drafts import Versions
from simyard.service.jobs import JobView

route = Routes("extensions")

_OBJECT = mapping(anything("Cavity"), "name", "The body of a job; it may lack anything.")
_SUMMARY = {
    "id": text("dRaftA"),
    "name": text("Cavity", "That of the job, as far as it has one."),
    "updatedAt": instant(),
    "version": integer(3, "Its ETag."),
}
_DRAFT = {
    **_SUMMARY,
    "body": _OBJECT,
    "job": nullable(text("hTrNa", "Id of the job that came of it."), example_null=True),
}
DRAFT = object_("Draft", **_DRAFT)
object_("DraftChanged", detail=text("This draft was changed meanwhile."), current=DRAFT)
_AT = {
    "path": array(anything("jobanalyses"), "Keys and indexes; [] for the whole."),
    "message": text("This field is required."),
}
_WARNING = object_("DraftWarning", **_AT)
_VALIDATION = object_(
    "Validation",
    errors=mapping(
        anything(["This field is required."]), "name", "As a refused `POST jobs/` has them."
    ),
    problems=array(
        object_(
            "DraftProblem",
            **_AT,
            field=text("jobanalyses.0.hardware.coresPerSlot", "The path in one word."),
            step=choice("inputs", "software", "hardware", "post", "review"),
        )
    ),
    warnings=array(_WARNING),
    estimate=nullable(ESTIMATE),
)
_IF_MATCH = query("If-Match", 'The version that it is made from, as its ETag was: `"3"`.') | {
    "in": "header"
}
_VERSION = re.compile(r'(?:W/)?"(\d{1,9})"')


# --- drafts ---------------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/drafts/",
    "Your drafts, the last changed first",
    *PAGE,
    reply=page_of(object_("DraftSummary", **_SUMMARY)),
)
async def list_drafts(request: Request) -> Response:
    site = site_of(request)

    def find(offset: int, size: int) -> Found[DraftSummary]:
        return site.db.read(service.list_drafts, caller(request), offset=offset, size=size)

    page, found = paging.fetch(paging.asked(request), find)
    return reply(paging.envelope(request, page, found, _encode_summary))


@route(
    "POST",
    "/api/v2/drafts/",
    "Keep a job that is not finished as a draft",
    json_body=_OBJECT,
    reply=DRAFT,
    status=201,
    creates=True,
)
async def create_draft(request: Request) -> Response:
    content = await _object_of(request)
    draft, is_new = await site_of(request).db.write_async(
        service.create, caller(request), content, once(request, _fingerprint(content))
    )
    return _reply(draft, 201, is_new=is_new)


@route("GET", "/api/v2/drafts/{draft_id}/", "A draft", reply=DRAFT)
async def get_draft(request: Request, draft_id: str) -> Response:
    return _reply(site_of(request).db.read(service.get, caller(request), draft_id))


@route(
    "PUT",
    "/api/v2/drafts/{draft_id}/",
    "Put another body in the place of a draft's; `If-Match` says which version it was made from",
    _IF_MATCH,
    json_body=_OBJECT,
    reply=DRAFT,
    also=(412, 428),
)
async def change_draft(request: Request, draft_id: str) -> Response:
    if "if-match" not in request.headers:
        raise PreconditionRequired(
            'Send the header If-Match with the ETag of the draft: If-Match: "3".'
        )
    content = await _object_of(request)
    try:
        draft = await site_of(request).db.write_async(
            service.change, caller(request), draft_id, content, _known(request)
        )
    except Changed as error:
        return _changed(error)
    return _reply(draft)


@route(
    "DELETE",
    "/api/v2/drafts/{draft_id}/",
    "Delete a draft; the job that came of it stays",
    _IF_MATCH,
    status=204,
    also=(412,),
)
async def delete_draft(request: Request, draft_id: str) -> Response:
    try:
        await site_of(request).db.write_async(
            service.delete, caller(request), draft_id, _known(request)
        )
    except Changed as error:
        return _changed(error)
    return empty(204)


# --- checking -------------------------------------------------------------------------------------


@route(
    "POST",
    "/api/v2/drafts/validate/",
    "What would keep a job from being submitted, and what it would take; nothing is kept",
    json_body=_OBJECT,
    reply=_VALIDATION,
    reads=True,
)
async def validate(request: Request) -> Response:
    return reply(await _validation(request, await _object_of(request)))


@route(
    "POST",
    "/api/v2/drafts/{draft_id}/validate/",
    "The same of a draft as it is kept",
    reply=_VALIDATION,
    reads=True,
)
async def validate_draft(request: Request, draft_id: str) -> Response:
    draft = site_of(request).db.read(service.get, caller(request), draft_id)
    return reply(await _validation(request, msgspec.json.decode(draft.body)))


async def _validation(request: Request, content: dict[str, Any]) -> dict[str, Any]:
    try:
        job = await job_checks.read(request, content, to_submit=True)
    except Invalid as error:  # too much is wrong to read the rest
        return _encode_validation(list(error.problems), error.list_lengths, [], None)
    site = site_of(request)
    catalogue = await job_checks.looked_again(site, await catalogue_of(site), job.definition)
    return await run_in_threadpool(_checked, request, catalogue, job, content)


def _checked(
    request: Request, catalogue: Catalogue, job: Sent, content: dict[str, Any]
) -> dict[str, Any]:
    """A job that was read, checked as its creation and its submit would."""
    site, user, definition = site_of(request), caller(request), job.definition
    job.add(job_checks.check(request, catalogue, definition))
    said = job_bodies.labels(content)
    job.add(job_service.check_labels(said.tags or (), said.custom_fields or {}))
    notices: list[Notice] = []
    job.add(list(job_service.check_installed(site, catalogue, definition)))
    estimate = None
    if not any(_is_of_size(problem.path) for problem in job.problems):
        estimate = encode_estimate(site.db.read(estimates.estimate, site, user, definition))
        notices += site.db.read(job_service.notices, site, catalogue, user, definition)
    if not job.problems:
        wrong, waits = site.db.read(job_service.check_room, site, catalogue, user, definition)
        job.add(wrong)
        notices += waits
    return _encode_validation(job.problems, job.lengths, [*notices, *job.told], estimate)


# --- into a job, and out of one -------------------------------------------------------------------


@route(
    "POST",
    "/api/v2/drafts/{draft_id}/submit/",
    "Make a job of a draft and send it on its way: once, however often it is asked for",
    _IF_MATCH,
    reply=object_("SubmittedDraft", id=text("hTrNa", "Of the job.")),
    status=201,
    creates=True,
    also=(412,),
)
async def submit_draft(request: Request, draft_id: str) -> Response:
    site, user = site_of(request), caller(request)
    try:
        draft = site.db.read(service.check_version, user, draft_id, _known(request))
        if draft.job is not None:
            return reply({"id": draft.job}, 201, headers(is_new=False))
        content = msgspec.json.decode(draft.body)
        job = await job_checks.read(request, content)
        catalogue = await catalogue_of(site)
        job.refuse_if_wrong(request, catalogue)
        catalogue = await job_checks.looked_again(site, catalogue, job.definition)
        said = job_bodies.labels(content)
        code, is_new = await site.db.write_async(
            service.submit,
            site,
            catalogue,
            user,
            draft,
            job.definition,
            await job_checks.plan(request, job.definition),
            once(request),
            tags=said.tags or (),
            custom_fields=said.custom_fields,
            told=job.told,
        )
    except Changed as error:
        return _changed(error)
    return reply({"id": code}, 201, headers(is_new))


@route(
    "POST",
    "/api/v2/jobs/{job_id}/draft/",
    "A draft that has all that a job was defined with, to change it or to run it again",
    reply=object_("DraftOfJob", **_DRAFT, warnings=array(_WARNING)),
    status=201,
    creates=True,
)
async def draft_of_job(request: Request, job_id: str) -> Response:
    site, user = site_of(request), caller(request)
    view = site.db.read(job_service.get_job, user, job_id)
    custom_fields = site.db.read(job_service.custom_fields, user, job_id)
    shown = encode_job(site, await catalogue_of(site), view, base_url(request))
    content = _content_of(view, shown, custom_fields)
    draft, is_new = await site.db.write_async(service.create, user, content, once(request))
    lost = [
        {"path": path, "message": message}
        for path, message in site.db.read(service.lost_inputs, user, view)
    ]
    return _reply(draft, 201, is_new=is_new, warnings=lost)


def _content_of(
    view: JobView, shown: dict[str, Any], custom_fields: dict[str, Any]
) -> dict[str, Any]:
    """The body from which such a job would be made; files have their names too."""
    definition = view.job.definition
    body, _ = bodies.read(job_bodies.JobBody, shown)
    content = _without_nulls(body.model_dump(mode="json", by_alias=True, exclude_unset=True))
    del content["userTags"]  # the same as tags
    content |= {"clonedFrom": view.job.code, "customFields": custom_fields}
    content["jobanalyses"] = [_without_nulls(sent) for sent in content["jobanalyses"]]
    for sent, analysis in zip(content["jobanalyses"], definition.analyses, strict=True):
        sent["analysis"]["version"] = analysis.version  # none: still the newest
        sent["inputFiles"] = [{"decompress": file.decompress} for file in analysis.input_files]
    names = {code: file.name for code, file in view.files.items()}
    names |= {code: file.name for code, file in view.deleted.items()}
    for (*above, key, _), code in definition.files():
        place: Any = content
        for step in above:
            place = place[step]
        more = place[key] if isinstance(key, int) else {}
        place[key] = {"id": code, "name": names.get(code, ""), **more}
    return content


def _without_nulls(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


# --- wire shapes ----------------------------------------------------------------------------------


async def _object_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request. Raises Invalid."""
    content = await bodies.json_of(request)
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise Invalid.at((), f"Invalid data. Expected a dictionary, but got {kind}.")
    return content


def _fingerprint(content: dict[str, Any]) -> bytes:
    return msgspec.json.encode(content, order="deterministic")


def _known(request: Request) -> Versions:
    """The versions of an If-Match; None where any will do."""
    sent = request.headers.get("if-match", "*").strip()
    return None if sent == "*" else {int(version) for version in _VERSION.findall(sent)}


def _encode_summary(draft: DraftSummary) -> dict[str, Any]:
    return {
        "id": draft.code,
        "name": draft.name,
        "updatedAt": instant_text(draft.updated_at),
        "version": draft.version,
    }


def _encode(draft: Draft) -> dict[str, Any]:
    return {**_encode_summary(draft), "body": msgspec.Raw(draft.body), "job": draft.job}


def _reply(draft: Draft, status: int = 200, *, is_new: bool = True, **more: Any) -> Response:
    etag = {"ETag": f'"{draft.version}"'}
    return reply({**_encode(draft), **more}, status, {**etag, **headers(is_new)})


def _changed(error: Changed) -> Response:
    draft = error.current
    assert isinstance(draft, Draft)
    etag = {"ETag": f'"{draft.version}"'}
    return reply({"detail": str(error), "current": _encode(draft)}, 412, etag)


_STUDY = (
    "paramFile",
    "caseFile",
    "jobvariables",
    "design",
    "optimizer",
    "monteCarloIterations",
    "seed",
    "includeNominalRun",
)
_STEP_OF = {
    **dict.fromkeys((*_STUDY, "isTemplateDryRun"), "inputs"),
    "jobanalyses": "software",
    "isLowPriority": "hardware",
    "resourceFilters": "post",
}
_STEP_OF_ANALYSIS = {
    "inputFiles": "inputs",
    "templateTasks": "inputs",
    "hardware": "hardware",
    "postProcessScript": "post",
    "postProcessScriptCommand": "post",
}


def _step(path: Path) -> str:
    """Where somebody who fills in a form would look for it."""
    match path:
        case ("jobanalyses", _, str(field), *_):
            return _STEP_OF_ANALYSIS.get(field, "software")
        case (str(field), *_):
            return _STEP_OF.get(field, "review")
    return "review"


def _is_of_size(path: Path) -> bool:
    """Whether what is wrong there keeps it from being known how large the job is."""
    match path:
        case ("jobanalyses", _, field, *_):
            return field == "hardware"
        case () | ("jobanalyses", *_):
            return True
    return path[0] in _STUDY


def _encode_validation(
    problems: list[Problem],
    lengths: Mapping[Path, int],
    notices: Sequence[Notice],
    estimate: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "errors": errors.tree(Invalid(problems, lengths)) if problems else {},
        "problems": [
            {
                "path": problem.path,
                "field": ".".join(map(str, problem.path)),
                "step": _step(problem.path),
                "message": problem.message,
            }
            for problem in problems
        ],
        "warnings": [{"path": (), "message": notice.message} for notice in notices],
        "estimate": estimate,
    }
