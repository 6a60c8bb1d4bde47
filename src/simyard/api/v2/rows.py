"""The jobs list of the console, and what else it shows at a glance (ours, docs/extensions.md)."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api.replies import instant_text, reply
from simyard.api.routes import Routes, caller, query, site_of
from simyard.api.series import CONVERGENCE, progress_of
from simyard.api.shapes import (
    array,
    choice,
    flag,
    instant,
    integer,
    mapping,
    nullable,
    number,
    object_,
    text,
)
from simyard.api.v2.catalogue import catalogue_of
from simyard.domain.catalogue import Catalogue
from simyard.domain.errors import Invalid, Problem
from simyard.domain.files import normalized
from simyard.domain.outcome import Verdict
from simyard.domain.rows import (
    OUTCOMES,
    STATUSES,
    FacetValue,
    JobRow,
    Owner,
    Position,
    RowFilter,
)
from simyard.service.rows import PAGE_MOST, RowBook

route = Routes("extensions")

_DEFAULT_SIZE = 100
_SPARKS_MOST = 100
_MOST_VALUES = 50  # of one parameter
_KINDS = {"": None, "study": True, "basic": False}
_SORTS = ("-insertedAt", "insertedAt")
_MOST_NUMBER = 1 << 53

ROW = object_(
    "JobRow",
    id=text("hTrNa"),
    name=text("Cavity"),
    status=text("Completed", "The newest word; empty for a draft."),
    clusterStatus=text("Stopped"),
    reason=nullable(text("Completed successfully", "Of that word.")),
    outcome=nullable(
        object_(
            "RowOutcome",
            verdict=choice(*(verdict.value for verdict in Verdict)),
            isGood=flag(True),
            cause=text(""),
            message=text("it came to its end"),
        )
    ),
    analyses=array(
        object_("RowAnalysis", code=text("openfoam"), name=text("OpenFOAM"), version=text("11"))
    ),
    cores=integer(4, "Of one run."),
    coreType=text("emerald"),
    slots=integer(1),
    walltime=nullable(integer(2, "Hours.")),
    isStudy=flag(False),
    study=nullable(
        object_(
            "RowStudy",
            total=integer(13),
            ended=integer(12),
            done=nullable(integer(11, "Ended well; null: too many runs to count here.")),
            failed=nullable(integer(1)),
        ),
        example_null=True,
    ),
    progress=nullable(
        number(0.312, "While it executes: share of the way to its last step."), example_null=True
    ),
    convergence=nullable(CONVERGENCE, example_null=True),
    owner=object_("RowOwner", email=text("ada@lab.example"), fullName=text("Ada")),
    isMine=flag(True),
    tags=array(text("cfd")),
    projectName=nullable(text("Wing"), example_null=True),
    insertedAt=instant(),
    submittedAt=nullable(instant()),
    startedAt=nullable(instant()),
    endedAt=nullable(instant()),
    coreHours=nullable(number(0.25, "So far; null: too many runs to add up here.")),
    cost=nullable(number(0.02)),
    notices=integer(0, "How many the job has."),
)
_PAGE = object_(
    "JobRows",
    rows=array(ROW),
    next=nullable(text("a999900", "The `cursor` of the next page.")),
    previous=nullable(text("b999999"), example_null=True),
    count=nullable(integer(1, "null: not counted on this page.")),
    countIsExact=flag(True, "false: there are at least so many."),
    isPartial=flag(False, "The page ended before it was full; the search goes on with `next`."),
    at=nullable(integer(0, "Place of the first row, from 0.")),
)
_FACETS = array(
    object_(
        "FacetValue",
        value=text("EXECUTING", "What the filter calls it."),
        label=text("Executing"),
        count=integer(3),
    )
)

FILTERS = (
    query("status", "`DRAFT`, `EXECUTING`, ..., `ACTIVE`: submitted and not completed."),
    query("outcome", "`FAILED`, `NOT_CONVERGED`, ..., `GOOD`, `BAD`; of jobs of one run."),
    query("q", "Part of the name."),
    query("tag", "Tags."),
    query("analysis", "Codes of analyses."),
    query("owner", "`me`, `shared`, or an address."),
    query("kind", "`study`: of many runs, once submitted; `basic`: all others."),
    query("since", "Created then or later: ISO 8601, UTC where it says nothing."),
)
_FILTER_NAMES = frozenset(parameter["name"] for parameter in FILTERS)


# --- what is asked for ----------------------------------------------------------------------------


def _values(sent: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Values by parameter, which may come more than once or be parted by commas; empty ones are
    none. Text that is searched for is taken as it is.
    """
    found: dict[str, list[str]] = {}
    for name, value in sent:
        parts = [value] if name in ("q", "since") else value.split(",", _MOST_VALUES)
        found.setdefault(name, []).extend(part.strip() for part in parts if part.strip())
    return found


def read_filter(sent: Iterable[tuple[str, str]], catalogue: Catalogue) -> RowFilter:
    """A filter as the parameters of a query have it. Raises Invalid with each that is wrong."""
    values = _values(sent)
    problems = [
        Problem((name,), "There is no such filter.") for name in values if name not in _FILTER_NAMES
    ]
    problems += [
        Problem((name,), f"Give at most {_MOST_VALUES} values.")
        for name, several in values.items()
        if len(several) > _MOST_VALUES
    ]

    def chosen(name: str, known: dict[str, frozenset[Any]]) -> frozenset[Any]:
        found: frozenset[Any] = frozenset()
        for value in values.get(name, ())[:_MOST_VALUES]:
            code = value.upper().replace(" ", "_")
            if code in known:
                found |= known[code]
            else:
                message = f'"{value:.40}" is none of {", ".join(known)}.'
                problems.append(Problem((name,), message))
        return found

    def single(name: str) -> str:
        several = values.get(name, [])
        if len(set(several)) > 1:
            problems.append(Problem((name,), "Give one value."))
        return several[0] if several else ""

    names = []
    for code in values.get("analysis", ())[:_MOST_VALUES]:
        analysis = catalogue.analysis(code)
        names.append(analysis.name if analysis else code)
    owner, since = single("owner"), single("since")
    statuses, verdicts = chosen("status", STATUSES), chosen("outcome", OUTCOMES)
    created = _moment(since, problems) if since else None
    known = Owner(owner) if owner in list(Owner) else None
    kind = single("kind")
    if kind not in _KINDS:
        problems.append(Problem(("kind",), f'"{kind:.40}" is none of study, basic.'))
    text_ = single("q")
    if "\0" in text_:
        problems.append(Problem(("q",), "Null characters are not allowed."))
    if problems:
        raise Invalid(problems)
    return RowFilter(
        statuses=statuses,
        verdicts=verdicts,
        text=text_,
        tags=frozenset(normalized(tag) for tag in values.get("tag", ())),
        analyses=frozenset(names),
        owner=known,
        owner_email="" if known else owner,
        since=created,
        is_study=_KINDS[kind],
    )


def _moment(sent: str, problems: list[Problem]) -> datetime | None:
    try:
        found = datetime.fromisoformat(sent)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        problems.append(Problem(("since",), "Give a time in ISO 8601, like 2026-01-02T03:04:05Z."))
        return None


def number_of(sent: str, name: str, most: int) -> int:
    if not (sent.isascii() and sent.isdigit() and len(sent) < 17):
        raise Invalid.at(name, "A valid integer is required.")
    if int(sent) > most:
        raise Invalid.at(name, f"Ensure this value is less than or equal to {most}.")
    return int(sent)


def _position(asked: dict[str, str]) -> Position:
    cursor, at = asked.get("cursor", ""), asked.get("at", "")
    if cursor and at:
        raise Invalid.at("at", "Give either a cursor or a place.")
    if at:
        return Position(at=number_of(at, "at", _MOST_NUMBER))
    if not cursor:
        return Position()
    side, number_ = cursor[:1], cursor[1:].removeprefix("-")
    if side not in ("a", "b") or not (number_.isascii() and number_.isdigit()) or len(number_) > 16:
        raise Invalid.at("cursor", "This is not a cursor of this list.")
    value = int(cursor[1:])
    return Position(after=value) if side == "a" else Position(before=value)


def codes_of(sent: str, name: str, most: int) -> list[str]:
    codes = [code for part in sent.split(",") if (code := part.strip())]
    if len(codes) > most:
        raise Invalid.at(name, f"Ensure this field has no more than {most} elements.")
    return codes


def _book(request: Request) -> RowBook:
    found: RowBook = request.app.state.rows
    return found


async def in_thread(request: Request, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`work` on the database, in a thread."""
    return await run_in_threadpool(site_of(request).db.read, work, *args, **options)


# --- rows -----------------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/jobs/rows/",
    "The jobs that you see, with all that a list shows of them",
    *FILTERS,
    query("sort", "`-insertedAt` (the newest first) or `insertedAt`: as they came into your list."),
    query("cursor", "`next` or `previous` of another page."),
    query("at", "Begin at this place, from 0; in a list that is narrowed by status alone."),
    query("limit", "Rows of a page: 100 without it, at most 200."),
    query("ids", "Only these jobs, at most 200, in this order; no other parameter counts."),
    reply=_PAGE,
    also=(400,),
)
async def list_rows(request: Request) -> Response:
    user, book, sent = caller(request), _book(request), request.query_params
    catalogue = await catalogue_of(site_of(request))
    if "ids" in sent:
        codes = codes_of(",".join(sent.getlist("ids")), "ids", PAGE_MOST)
        rows = await in_thread(request, book.by_codes, user, codes)
        return reply(_encode_page(catalogue, rows, len(rows)))
    others = ("sort", "cursor", "at", "limit")
    asked = {name: sent[name].strip() for name in others if name in sent}
    wanted = read_filter((p for p in sent.multi_items() if p[0] not in others), catalogue)
    sort = asked.get("sort") or _SORTS[0]
    if sort not in _SORTS:
        raise Invalid.at("sort", f"Rows are sorted by {' or '.join(_SORTS)}.")
    size = number_of(asked.get("limit") or str(_DEFAULT_SIZE), "limit", PAGE_MOST)
    page = await in_thread(
        request,
        book.page,
        user,
        wanted,
        _position(asked),
        newest_first=sort == _SORTS[0],
        size=max(size, 1),
    )
    return reply(
        {
            **_encode_page(catalogue, page.rows, page.count),
            "next": None if page.after is None else f"a{page.after}",
            "previous": None if page.before is None else f"b{page.before}",
            "countIsExact": page.is_exact,
            "isPartial": page.is_partial,
            "at": page.at,
        }
    )


def _encode_page(catalogue: Catalogue, rows: list[JobRow], count: int | None) -> dict[str, Any]:
    return {
        "rows": [encode_row(catalogue, row) for row in rows],
        "next": None,
        "previous": None,
        "count": count,
        "countIsExact": True,
        "isPartial": False,
        "at": None,
    }


def encode_row(catalogue: Catalogue, row: JobRow) -> dict[str, Any]:
    hours = row.core_microseconds
    return {
        "id": row.code,
        "name": row.name,
        "status": row.status,
        "clusterStatus": row.cluster_status,
        "reason": row.reason,
        "outcome": row.verdict
        and {
            "verdict": row.verdict.value,
            "isGood": row.is_good,
            "cause": row.cause,
            "message": row.message,
        },
        "analyses": [_encode_analysis(catalogue, a.code, a.version) for a in row.analyses],
        "cores": row.cores,
        "coreType": row.core_type,
        "slots": row.slots,
        "walltime": row.walltime_hours,
        "isStudy": row.is_study,
        "study": row.study
        and {
            "total": row.study.total,
            "ended": row.study.over,
            "done": row.study.done,
            "failed": row.study.failed,
        },
        **progress_of(row.convergence),
        "owner": {"email": row.owner_email, "fullName": row.owner_name},
        "isMine": row.is_mine,
        "tags": list(row.tags),
        "projectName": row.project,
        "insertedAt": instant_text(row.created_at),
        "submittedAt": instant_text(row.submitted_at),
        "startedAt": instant_text(row.started_at),
        "endedAt": instant_text(row.ended_at),
        "coreHours": None if hours is None else hours / 3.6e9,
        "cost": None if row.charge_micros is None else row.charge_micros / 1e6,
        "notices": row.notices,
    }


def _encode_analysis(catalogue: Catalogue, code: str, version: str | None) -> dict[str, str]:
    analysis = catalogue.analysis(code)
    resolution = catalogue.resolve(analysis, version) if analysis else None
    return {
        "code": code,
        "name": analysis.name if analysis else code,
        "version": version or (resolution.asked if resolution else ""),
    }


@route(
    "GET",
    "/api/v2/jobs/sparklines/",
    "The course of each of these jobs in at most 40 points",
    query("ids", "At most 100 jobs. What is missing in the reply has none, or is not read yet."),
    reply=mapping(
        object_(
            "Sparkline",
            key=text("residuals/p"),
            scale=choice("log", "linear"),
            points=array(nullable(number(-3.2, "Decimal logarithms where the scale is log."))),
        ),
        "hTrNa",
    ),
    also=(400,),
)
async def sparklines(request: Request) -> Response:
    sent = ",".join(request.query_params.getlist("ids"))
    codes = codes_of(sent, "ids", _SPARKS_MOST)
    found = await in_thread(request, _book(request).sparks, caller(request), codes)
    request.app.state.progress.shown(found)
    return reply(
        {
            code: {
                "key": spark.key,
                "scale": "log" if spark.is_log else "linear",
                "points": list(spark.points),
            }
            for code, spark in found.items()
        }
    )


@route(
    "GET",
    "/api/v2/jobs/facets/",
    "How many of the jobs that you see are in each status, and what the newest are like",
    reply=object_(
        "JobFacets",
        total=integer(12, "Jobs that you see."),
        status=nullable(_FACETS),
        outcome=_FACETS,
        analysis=_FACETS,
        tag=_FACETS,
        newest=integer(12, "So many of the newest were looked at, but for `status`."),
        isExact=flag(True, "Those were all."),
    ),
)
async def facets(request: Request) -> Response:
    found = await in_thread(request, _book(request).facets, caller(request))
    catalogue = await catalogue_of(site_of(request))
    codes = {analysis.name: analysis.code for analysis in catalogue.analyses}

    def encode(values: list[FacetValue], by: dict[str, str] | None = None) -> list[dict[str, Any]]:
        return [
            {"value": (by or {}).get(v.value, v.value), "label": v.label, "count": v.count}
            for v in values
        ]

    return reply(
        {
            "total": found.total,
            "status": encode(found.statuses) if found.has_statuses else None,
            "outcome": encode(found.outcomes),
            "analysis": encode(found.analyses, codes),
            "tag": encode(found.tags),
            "newest": found.looked_at,
            "isExact": found.is_exact,
        }
    )
