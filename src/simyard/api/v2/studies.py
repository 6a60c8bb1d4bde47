"""Studies beyond what the contract has: previews, estimates, runs again, more runs (ours,
docs/extensions.md). Their answers are in api/v2/results.py.
"""

from functools import partial
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies
from simyard.api.bodies import Body, Count, EmptyIsNull, LooseText, NoFlag, needed
from simyard.api.idempotency import headers, once
from simyard.api.replies import empty, instant_text, reply
from simyard.api.routes import Routes, caller, query, run_number, site_of
from simyard.api.shapes import array, flag, instant, integer, nullable, number, object_, text
from simyard.api.v2 import job_bodies, job_checks
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.results import with_results
from simyard.api.v2.runs import RUN, RUN_VARIABLE, encode_run, encode_value
from simyard.domain.errors import Invalid, Problem, Refused
from simyard.domain.jobs import Job
from simyard.domain.runs import Again, Restart
from simyard.service import estimates, previews, repairs, results
from simyard.service.estimates import Estimate
from simyard.service.repairs import Which
from simyard.service.results import Results

route = Routes("extensions")

ESTIMATE = object_(
    "Estimate",
    runs=integer(13, "0: not known before."),
    cores=integer(4, "Of one run."),
    clampedFrom=nullable(
        integer(16, "The cores asked for, where there are fewer."), example_null=True
    ),
    coreHours=object_("LowHigh", low=number(0.2), high=number(0.4)),
    cost=object_("Cost", low=number(0.02), high=number(0.04)),
    queue=object_(
        "QueueAhead",
        ahead=integer(2, "Runs that are served before it, counted up to 2000."),
        startsAt=nullable(instant("If those before it take all their walltime; null: not known.")),
    ),
    diskBytes=integer(1_200_000, "Of inputs, once for each run."),
    basis=text("no history"),
)

_MOST_ROWS = 10_000
_NUMBERS = object_("RunNumbers", runs=array(text("3"), "Ids of runs."), count=integer(1))


def encode_estimate(found: Estimate) -> dict[str, Any]:
    return {
        "runs": found.runs,
        "cores": found.cores,
        "clampedFrom": found.clamped_from,
        "coreHours": {"low": found.core_hours[0], "high": found.core_hours[1]},
        "cost": {"low": found.cost_micros[0] / 1e6, "high": found.cost_micros[1] / 1e6},
        "queue": {"ahead": found.ahead, "startsAt": instant_text(found.starts_at)},
        "diskBytes": found.disk_bytes,
        "basis": found.basis,
    }


def _numbers(found: list[int]) -> dict[str, Any]:
    return {"runs": [str(n) for n in found], "count": len(found)}


# --- before it costs anything ---------------------------------------------------------------------


@route(
    "POST",
    "/api/v2/jobs/{job_id}/template-preview/",
    "The templates of one run as they are rendered; nothing is executed",
    query("run", "Number of the run, 1 without it.", "integer"),
    reply=object_(
        "TemplatePreviews",
        run=text("3"),
        variables=array(RUN_VARIABLE),
        templates=array(
            object_(
                "TemplatePreview",
                processedFilename=text("airFoil2D/0/U"),
                templateFile=text("U.template"),
                text=text("internalField uniform (20.00 3.50 0);"),
                isWhole=flag(True),
                diff=text("@@ -19 +19 @@", "Unified, from the template to the text."),
                fault=text("", "Why it cannot be rendered."),
            )
        ),
        warnings=array(text("No template uses the variable z.")),
    ),
    reads=True,
    also=(400,),
)
async def preview(request: Request, job_id: str) -> Response:
    wanted = previews.parse_number(request.query_params.get("run"))
    async with request.app.state.planning:
        found = await run_in_threadpool(
            previews.preview, site_of(request), caller(request), job_id, wanted
        )
    return reply(
        {
            "run": str(wanted),
            "variables": [encode_value(value) for value in found.values],
            "templates": [
                {
                    "processedFilename": each.target,
                    "templateFile": each.template,
                    "text": each.text,
                    "isWhole": each.is_whole,
                    "diff": each.diff,
                    "fault": each.fault,
                }
                for each in found.previews
            ],
            "warnings": list(found.warnings),
        }
    )


@route(
    "POST",
    "/api/v2/estimates/",
    "What a job would take: runs, cores, core-hours, cost",
    body=job_bodies.JobBody,
    reply=ESTIMATE,
    reads=True,
    also=(400,),
)
async def estimate(request: Request) -> Response:
    site = site_of(request)
    job = await job_checks.read(request, await bodies.json_of(request))
    job.add(job_checks.check(request, await catalogue_of(site), job.definition))
    if job.problems:
        raise Invalid(job.problems, job.lengths)
    return reply(
        encode_estimate(
            await run_in_threadpool(
                site.db.read, estimates.estimate, site, caller(request), job.definition
            )
        )
    )


# --- again ----------------------------------------------------------------------------------------


def _run_ids(value: object) -> object:
    """Ids as texts or numbers."""
    if not isinstance(value, list):
        return value
    return [int(v) if isinstance(v, str) and v.isascii() and v.isdigit() else v for v in value]


RunIds = Annotated[
    Annotated[list[Annotated[int, Field(ge=1, lt=1 << 31), NoFlag]], Field(max_length=100_000)],
    BeforeValidator(_run_ids),
]


class DifferentBody(Body):
    """What is different in some runs."""

    command: LooseText | None = None  # of the last analysis
    post_process_script_command: LooseText | None = None
    replace: Annotated[
        Annotated[dict[str, LooseText], Field(max_length=1000)] | None, EmptyIsNull
    ] = None  # id of a file of the job -> id of the one in its place

    def as_restart(self, kind: Again) -> Restart:
        return Restart(
            kind=kind,
            command=self.command or None,
            post_command=self.post_process_script_command or None,
            replaced=self.replace or {},
        )


class RerunBody(DifferentBody):
    """Which runs, and what is different this time. where: `failed`, `stopped`, `unfinished`,
    `all`, or a filter as of `study/table/`, of which those are taken that are at their end.
    """

    runs: RunIds | None = None
    where: LooseText | None = None


def _matching(where: str, found: Results) -> list[int]:
    """Numbers of the runs at their end that a filter lets through. Raises Invalid at `where`."""
    try:
        rows = results.chosen(found, where)
    except Invalid as error:
        words = ", ".join(f'"{word}"' for word in repairs.WHERE)
        messages = [*(problem.message for problem in error.problems), f"Or give one of {words}."]
        raise Invalid([Problem(("where",), message) for message in messages]) from None
    return [row + 1 for row in rows if found.completed[row]]


async def _check_templates(request: Request, job: Job, how: Restart) -> None:
    """Looks into templates that are replaced. Raises Invalid."""
    if how.replaced:
        async with request.app.state.planning:
            await run_in_threadpool(repairs.check_templates, site_of(request), job, how)


async def _again(request: Request, job_id: str, kind: Again, default: str) -> Response:
    site = site_of(request)
    sent = await bodies.json_of(request)
    body = bodies.checked(RerunBody, sent)
    how = body.as_restart(kind)
    which = Which(numbers=body.runs or None, where=body.where or default)
    if which.numbers is None and which.where not in repairs.WHERE:
        which = Which(numbers=await with_results(request, job_id, partial(_matching, which.where)))
    wanted = once(request, msgspec.json.encode(sent, order="deterministic"))
    job, _ = site.db.read(repairs.found, caller(request), job_id)
    await _check_templates(request, job, how)
    found, is_new = await site.db.write_async(
        repairs.run_again, site, caller(request), job_id, which, how, wanted
    )
    return reply(_numbers(found), 200, headers(is_new))


@route(
    "POST",
    "/api/v2/jobs/{job_id}/study/rerun/",
    "Do runs of a study again with the same values: those that failed, or others",
    body=RerunBody,
    reply=_NUMBERS,
    creates=True,
    also=(400,),
)
async def rerun(request: Request, job_id: str) -> Response:
    return await _again(request, job_id, Again.ANEW, "failed")


@route(
    "POST",
    "/api/v2/jobs/{job_id}/study/extract/",
    "Do only the post-processing of runs again, on the outputs that they have",
    body=RerunBody,
    reply=_NUMBERS,
    creates=True,
    also=(400,),
)
async def extract(request: Request, job_id: str) -> Response:
    return await _again(request, job_id, Again.EXTRACT, "all")


# --- more -----------------------------------------------------------------------------------------


class PointsBody(DifferentBody):
    """Rows of values, or how many further points of the study's own sequence or of its optimizer,
    whose stop rules are `settings` from then on. What is different in them is not for those of an
    optimizer.
    """

    rows: Annotated[
        Annotated[list[dict[str, Any]], Field(max_length=_MOST_ROWS)] | None, EmptyIsNull
    ] = None
    count: Annotated[Annotated[int, Field(ge=1, le=1_000_000), NoFlag] | None, EmptyIsNull] = None
    settings: Annotated[Annotated[dict[str, Any], Field(max_length=100)] | None, EmptyIsNull] = None


@route(
    "POST",
    "/api/v2/jobs/{job_id}/study/points/",
    "Give a study more runs: rows of values, or further points of its sequence",
    body=PointsBody,
    reply=_NUMBERS,
    status=201,
    creates=True,
    also=(400,),
)
async def add_points(request: Request, job_id: str) -> Response:
    site, user = site_of(request), caller(request)
    sent = await bodies.json_of(request)
    body = bodies.checked(PointsBody, sent)
    if (body.rows is None) == (body.count is None):
        raise Invalid.at("rows", "Give either rows or a count.")
    job, _ = site.db.read(repairs.found, user, job_id)
    study = job.definition.study
    if study is None:
        raise Refused("This job is no study.")
    wanted = once(request, msgspec.json.encode(sent, order="deterministic"))
    how = body.as_restart(Again.ANEW)
    if body.count is not None and study.optimizer is not None:
        if how.changes_job:
            raise Invalid.at("count", "The runs of an optimizer are all alike: send rows.")
        is_new = await site.db.write_async(
            repairs.extend, site, user, job_id, body.count, body.settings or {}, wanted
        )
        return reply({"runs": [], "count": body.count}, 201, headers(is_new))
    await _check_templates(request, job, how)
    after = draws = None
    if body.rows is not None:
        if not body.rows:
            raise Invalid.at("rows", "This list may not be empty.")
        packed = await run_in_threadpool(repairs.pack_rows, study, body.rows, "rows")
    else:
        after = repairs.points_of(study)
        draws = after + (body.count or 0)
        async with request.app.state.planning:
            packed = await run_in_threadpool(repairs.plan_points, site, job, body.count or 0, after)
    numbers, is_new = await site.db.write_async(
        repairs.add_points, site, user, job_id, packed, how, wanted, after=after, draws=draws
    )
    return reply(_numbers(numbers), 201, headers(is_new))


class RunBody(Body):
    variables: dict[str, Any] = needed({})
    parent: Annotated[Count | None, EmptyIsNull] = None


@route(
    "POST",
    "/api/v2/jobs/{job_id}/runs/",
    "Give an open study one more run, for who optimises with a program of his own",
    body=RunBody,
    reply=RUN,
    status=201,
    creates=True,
    also=(400, 409),
)
async def add_run(request: Request, job_id: str) -> Response:
    site = site_of(request)
    sent = await bodies.json_of(request)
    body = bodies.checked(RunBody, sent)
    wanted = once(request, msgspec.json.encode(sent, order="deterministic"))
    run, is_new = await site.db.write_async(
        repairs.add_run, site, caller(request), job_id, body.variables, body.parent, wanted
    )
    return reply(encode_run(run), 201, headers(is_new))


class MarkBody(Body):
    is_optimal: bool = needed(default=False)


@route(
    "PATCH",
    "/api/v2/jobs/{job_id}/runs/{run_id}/",
    "Say of a run of a study that it is of interest",
    body=MarkBody,
    reply=RUN,
    also=(400,),
)
async def mark_run(request: Request, job_id: str, run_id: str) -> Response:
    site, wanted = site_of(request), run_number(run_id)
    body = bodies.checked(MarkBody, await bodies.json_of(request))
    run = await site.db.write_async(
        repairs.mark, caller(request), job_id, wanted, is_optimal=body.is_optimal
    )
    return reply(encode_run(run))


@route(
    "POST",
    "/api/v2/jobs/{job_id}/finish/",
    "No more runs come to an open study; those that it has go on to their end",
    status=202,
    also=(400,),
)
async def finish(request: Request, job_id: str) -> Response:
    site = site_of(request)
    await site.db.write_async(repairs.finish, site, caller(request), job_id)
    return empty(202)
