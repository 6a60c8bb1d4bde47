"""One thing done to many jobs (ours, docs/extensions.md)."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies
from simyard.api.bodies import Body, EmptyIsNull, LooseText, NoFlag, needed
from simyard.api.idempotency import headers, once
from simyard.api.replies import reply, too_many
from simyard.api.routes import Routes, caller, site_of
from simyard.api.shapes import array, choice, flag, integer, nullable, object_, text
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.rows import read_filter
from simyard.domain.bulk import Action, Bulk
from simyard.domain.errors import Invalid, Problem, StorageFull, Unavailable
from simyard.domain.rows import RowFilter
from simyard.service import bulk as service
from simyard.service.bulk import BulkBook
from simyard.service.rows import RowBook

route = Routes("extensions")

_RESULT = object_(
    "BulkResult", id=text("hTrNa"), ok=flag(True), detail=text("", "Why it was not done.")
)
_PROGRESS = {
    "action": choice(*(action.value for action in Action)),
    "count": integer(3, "Jobs."),
    "done": integer(3, "Tried so far."),
    "failed": integer(0, "Of those."),
    "isDone": flag(True),
    "results": array(_RESULT, "Of each job; of more than 200 jobs, of the first that failed."),
}
BULK = object_(
    "Bulk",
    **_PROGRESS,
    task=nullable(text("0f6f0c1e-8a1b-4f0e-9c57-3b6c3f6f4b11", "Where it can be asked for.")),
    dryRun=flag(False, "Nothing was done."),
    sample=array(
        object_("BulkSample", id=text("hTrNa"), name=text("Cavity"), status=text("Completed")),
        "Of a dry run, the first 10 jobs.",
    ),
)

_TEXT_LENGTH = 300


def _listed(value: object) -> object:
    """A list of texts that may be sent as one text."""
    return [value] if isinstance(value, str) and value else value


_LATER_SECONDS = 10  # when a place may be free
_Texts = Annotated[
    Annotated[
        list[Annotated[LooseText, Field(max_length=_TEXT_LENGTH)]],
        Field(max_length=service.NAMED_MOST),
    ]
    | None,
    BeforeValidator(_listed),
    EmptyIsNull,
]


class BulkBody(Body):
    """`ids`, or a `query`: what follows `rows/?`, or the same as an object."""

    action: LooseText = needed("")
    ids: _Texts = None
    query: Any = Field(None, json_schema_extra={"type": ["string", "object", "null"]})
    expected_count: Annotated[Annotated[int, Field(ge=0), NoFlag] | None, EmptyIsNull] = None
    dry_run: bool = False
    tags: _Texts = None
    emails: _Texts = None
    message: LooseText = ""


def _pairs(sent: Any) -> Iterator[tuple[str, str]]:
    """The parameters of a query. How it is sorted and shown is passed over."""
    if not isinstance(sent, str | dict):
        raise Invalid.at("query", "Send what follows rows/?, or the same as an object.")
    if isinstance(sent, str):
        try:
            pairs: list[tuple[str, Any]] = [*parse_qsl(sent.removeprefix("?"), max_num_fields=100)]
        except ValueError:
            raise Invalid.at("query", "A query has at most 100 parameters.") from None
    else:
        pairs = [
            (name, value)
            for name, values in sent.items()
            for value in (values if isinstance(values, list) else [values])
        ]
    for name, value in pairs:
        if not isinstance(value, str):
            raise Invalid.at(("query", name), "Not a valid string.")
        if name not in ("sort", "view"):
            yield name, value


async def _filter(request: Request, sent: Any) -> RowFilter:
    catalogue = await catalogue_of(site_of(request))
    pairs = list(_pairs(sent))
    try:
        return read_filter(pairs, catalogue)
    except Invalid as error:
        raise Invalid([Problem(("query", *p.path), p.message) for p in error.problems]) from None


@route(
    "POST",
    "/api/v2/jobs/bulk/",
    "Stop, delete, tag or share many jobs: those that are named, or all that a filter finds",
    body=BulkBody,
    reply=BULK,
    creates=True,
    also=(202, 409, 429),
)
async def bulk(request: Request) -> Response:
    site, user = site_of(request), caller(request)
    sent = await bodies.json_of(request)
    body = bodies.checked(BulkBody, sent)
    if (body.ids is None) == (body.query is None):
        raise Invalid.at("ids", "Give either ids or a query.")
    wanted = once(request, msgspec.json.encode(sent, order="deterministic"))
    is_query = body.query is not None
    if is_query and body.expected_count is None and not body.dry_run:
        raise Invalid.at("expectedCount", "This field is required with a query.")
    plan = _plan(body, body.ids or [])
    book: BulkBook = request.app.state.bulk
    known = site.db.read(service.known, wanted)
    waits = is_query and known is None and not body.dry_run
    with book.place(user) if waits else nullcontext(True) as is_free:
        if not is_free:
            detail = f"{service.WAITING_MOST} of your tasks are not done yet, and no more may wait."
            return too_many(detail, _LATER_SECONDS)
        if known is None:
            codes = list(dict.fromkeys(body.ids or []))
            if body.query is not None:
                chosen = await _filter(request, body.query)
                codes = await run_in_threadpool(service.found, site, user, chosen)
            if body.dry_run:
                return await _sampled(request, plan, codes, is_query=is_query)
            if body.expected_count is not None:
                service.check_count(codes, body.expected_count)
            plan = _plan(body, codes)
        token, is_new = await site.db.write_async(service.begin, user, plan, wanted)
        if is_query:
            book.submit(user, token)
    if not is_query:
        try:
            await run_in_threadpool(book.run, user, token)
        except (StorageFull, Unavailable):
            book.submit(user, token)  # it is begun: it goes on when there is room again
    found = site.db.read(service.get, user, token)
    status = 200 if found.is_done else 202
    shown = {**encode_progress(found), "task": token, "dryRun": False, "sample": []}
    return reply(shown, status, headers(is_new))


def _plan(body: BulkBody, codes: list[str]) -> Bulk:
    return service.plan(
        body.action,
        codes,
        tags=body.tags or (),
        emails=body.emails or (),
        message=body.message,
    )


async def _sampled(request: Request, plan: Bulk, codes: list[str], *, is_query: bool) -> Response:
    """What it would be done to. Of jobs that are named, those that the caller sees."""
    book: RowBook = request.app.state.rows
    seen = codes[: service.SAMPLE] if is_query else codes
    rows = await run_in_threadpool(site_of(request).db.read, book.by_codes, caller(request), seen)
    return reply(
        {
            "action": plan.action.value,
            "count": len(codes) if is_query else len(rows),
            "done": 0,
            "failed": 0,
            "isDone": False,
            "results": [],
            "task": None,
            "dryRun": True,
            "sample": [
                {"id": row.code, "name": row.name, "status": row.status}
                for row in rows[: service.SAMPLE]
            ],
        }
    )


def encode_progress(bulk: Bulk) -> dict[str, Any]:
    return {
        "action": bulk.action.value,
        "count": bulk.total,
        "done": bulk.done,
        "failed": bulk.failed,
        "isDone": bulk.is_done,
        "results": [{"id": r.code, "ok": r.is_ok, "detail": r.detail} for r in bulk.results],
    }
