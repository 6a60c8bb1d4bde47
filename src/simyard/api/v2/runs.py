"""Runs of a job (api-v2 reference, section 5), and their series (ours, docs/extensions.md)."""

import math
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simyard.api import bodies, paging
from simyard.api.bodies import Body, LooseText
from simyard.api.idempotency import headers, once
from simyard.api.replies import instant_text, reply
from simyard.api.routes import (
    PAGE,
    Routes,
    caller,
    query,
    run_number,
    site_of,
)
from simyard.api.series import value_of
from simyard.api.shapes import (
    Shape,
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
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.files import FILE, encode_page
from simyard.domain.errors import Invalid
from simyard.domain.files import File
from simyard.domain.grammar import Series, buckets
from simyard.domain.jobs import Job
from simyard.domain.lists import Found
from simyard.domain.outcome import Verdict
from simyard.domain.runs import Cause, Run
from simyard.domain.studies import Value
from simyard.service import jobs as service
from simyard.service import live, metrics, restarting, snapshots
from simyard.service.series import SeriesBook

route = Routes("runs")

_COUNTS: Shape = {"type": ["integer", "null"], "examples": [4_000_000_000]}
OUTCOME = object_(
    "Outcome",
    verdict=choice(*(verdict.value for verdict in Verdict)),
    isGood=flag(True, "Whether the result can be used."),
    cause=text("", "What a program can go by: memory, disk, divergence, input, launch, ..."),
    message=text("it came to its end", "What happened."),
    advice=text("", "What to do about it."),
    onlyWarns=flag(False, "The site lets the exit code decide for this analysis."),
    ending=choice(*(cause.value for cause in Cause)),
    exitCode=nullable(integer(0)),
    signal=nullable(text("SIGKILL"), example_null=True),
    step=text("", "Which step decided: `the command of analysis 1`."),
    evidence=nullable(
        object_(
            "Evidence",
            path=text("process_output.log"),
            line=integer(118, "From 1."),
            offset=integer(9731, "Of the line's first byte."),
            text=text("--> FOAM FATAL ERROR:"),
        )
    ),
    cpuSeconds=nullable(number(3.9)),
    quietSeconds=nullable(number(0.2, "At its end: since its log or its folder last changed.")),
    used=mapping(
        object_("Used", most={**_COUNTS}, limit={**_COUNTS}, isReached=flag(False)), "memory"
    ),
)
RUN_VARIABLE = object_(
    "RunVariable",
    name=text("angle"),
    value=nullable(number(4.0, "null where the text is no number.")),
    displayValue=text("4.0"),
    isRelative=flag(False),
)
RUN = object_(
    "Run",
    id=text("1"),
    type=integer(3, "1 optimization, 2 iteration, 3 case"),
    parent=nullable(text("1"), example_null=True),
    displayOrder=integer(1),
    isOptimal=flag(False),
    dateStarted=nullable(instant()),
    dateCompleted=nullable(instant()),
    outputFileCount=integer(29),
    outputFileSize=nullable(integer(5607045, "Bytes.")),
    variables=array(RUN_VARIABLE),
    outcome=nullable(OUTCOME),
    isNominal=flag(False),
    warnings=array(text("No number was told for Cd."), "What is doubtful about its variables."),
)
_POINT: Shape = {"type": ["number", "string"], "examples": [0.0035]}  # "NaN" is a text in JSON

_STEP_BYTES = 1 << 20
_MOST_BUCKETS = 20_000


def encode_run(run: Run) -> dict[str, Any]:
    done = run.completed_at is not None
    outputs = run.outputs.values if done and run.outputs else ()
    return {
        "id": str(run.number),
        "type": run.kind.value,
        "parent": None if run.parent is None else str(run.parent),
        "displayOrder": 0 if run.is_nominal else run.number,
        "isOptimal": run.is_optimal,
        "dateStarted": instant_text(run.started_at),
        "dateCompleted": instant_text(run.completed_at),
        "outputFileCount": run.output_count if done else 0,
        "outputFileSize": run.output_bytes if done else None,
        "variables": [encode_value(v) for v in (*(run.inputs or ()), *outputs)],
        "outcome": encode_outcome(run) if done else None,
        # Ours.
        "isNominal": run.is_nominal,
        "warnings": list(run.outputs.warnings) if done and run.outputs else [],
    }


def encode_value(value: Value) -> dict[str, Any]:
    return {
        "name": value.name,
        "value": value.number,
        "displayValue": value.text,
        "isRelative": value.is_relative,
    }


def encode_outcome(run: Run) -> dict[str, Any] | None:
    """How a run ended; None where that was not seen, as in an earlier release."""
    ending, outcome = run.ending, run.outcome
    if ending is None or outcome is None:  # of an earlier release
        return None
    evidence = outcome.evidence
    return {
        "verdict": outcome.verdict.value,
        "isGood": run.has_good_result,
        "cause": outcome.cause,
        "message": outcome.message,
        "advice": outcome.advice,
        "onlyWarns": outcome.only_warns,
        "ending": ending.cause.value,
        "exitCode": ending.exit_code,
        "signal": ending.signal,
        "step": ending.step,
        "evidence": evidence
        and {
            "path": evidence.path,
            "line": evidence.line,
            "offset": evidence.offset,
            "text": evidence.text,
        },
        "cpuSeconds": ending.usage and ending.usage.cpu_seconds,
        "quietSeconds": ending.usage and ending.usage.quiet_seconds,
        "used": {
            resource.value: {
                "most": most,
                "limit": limit or None,
                "isReached": ending.is_reached(resource),
            }
            for resource, most, limit in ending.used()
        },
    }


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/",
    "The runs of a job",
    *PAGE,
    reply=page_of(RUN),
    v3=True,
)
async def list_runs(request: Request, job_id: str) -> Response:
    site, page = site_of(request), paging.asked(request)

    def find(offset: int, size: int) -> Found[Run]:
        return site.db.read(service.list_runs, caller(request), job_id, offset=offset, size=size)

    page, found = paging.fetch(page, find)
    return reply(paging.envelope(request, page, found, encode_run))


def _run(request: Request, job_id: str, run_id: str) -> Run:
    return site_of(request).db.read(service.get_run, caller(request), job_id, run_number(run_id))


@route("GET", "/api/v2/jobs/{job_id}/runs/{run_id}/", "One run", reply=RUN, v3=True)
async def get_run(request: Request, job_id: str, run_id: str) -> Response:
    return reply(encode_run(_run(request, job_id, run_id)))


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/files/",
    "The output files of a run",
    *PAGE,
    query("search", "Part of the path."),
    reply=page_of(FILE),
    v3=True,
)
async def list_run_files(request: Request, job_id: str, run_id: str) -> Response:
    site, page, number = site_of(request), paging.asked(request), run_number(run_id)
    text = request.query_params.get("search", "")

    def find(offset: int, size: int) -> Found[File]:
        return site.db.read(
            service.list_run_files,
            caller(request),
            job_id,
            number,
            offset=offset,
            size=size,
            text=text,
        )

    found = await run_in_threadpool(paging.fetch, page, find)
    return reply(encode_page(request, *found))


@route(
    "POST",
    "/api/v2/jobs/{job_id}/runs/{run_id}/stop/",
    "Ask for the end of one run; the others go on",
    reply=fields(),
    also=(400,),
)
async def stop_run(request: Request, job_id: str, run_id: str) -> Response:
    site, number = site_of(request), run_number(run_id)
    await site.db.write_async(service.stop_run, site, caller(request), job_id, number)
    return reply({})


class RestartBody(Body):
    """What is different in the new attempt."""

    command: LooseText | None = None  # of the last analysis


@route(
    "POST",
    "/api/v2/jobs/{job_id}/runs/{run_id}/restart/",
    "Go on with a run that is at its end from the checkpoint that it left, in another attempt",
    body=RestartBody,
    reply=RUN,
    creates=True,
    also=(400,),
    tag="extensions",
)
async def restart_run(request: Request, job_id: str, run_id: str) -> Response:
    site, number = site_of(request), run_number(run_id)
    sent = bodies.checked(RestartBody, await bodies.json_of(request))
    command = sent.command if sent.command and sent.command.strip() else None
    catalogue = await catalogue_of(site)
    wanted = once(request, (command or "").encode())
    run, is_new = await site.db.write_async(
        restarting.restart_run, site, catalogue, caller(request), job_id, number, command, wanted
    )
    return reply(encode_run(run), 200, headers(is_new))


@route(
    "POST",
    "/api/v2/jobs/{job_id}/runs/{run_id}/snapshot/",
    "Ask for a zip of the work folder of an executing run: it comes among the run's files",
    reply=object_(
        "Snapshot",
        exitcode=integer(0),
        data=text(""),
        lastSnapshotID=nullable(text("sNaPsh", "The one before."), example_null=True),
        reason=text("Generating snapshot."),
    ),
    creates=True,
    also=(400,),
)
async def snapshot(request: Request, job_id: str, run_id: str) -> Response:
    site, number = site_of(request), run_number(run_id)
    wanted = once(request)
    last, is_new = await site.db.write_async(
        snapshots.ask, site, caller(request), job_id, number, wanted
    )
    body = {"exitcode": 0, "data": "", "lastSnapshotID": last, "reason": "Generating snapshot."}
    return reply(body, 200, headers(is_new or wanted is None))


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/directory-contents/",
    "The files in the work folder of an executing run",
    reply=array(
        object_(
            "DirectoryEntry",
            path=text("log.simpleFoam"),
            resource=text("/api/jobs/hTrNa/runs/1/tail/log.simpleFoam"),
        )
    ),
    also=(400,),
)
async def directory_contents(request: Request, job_id: str, run_id: str) -> Response:
    run = _run(request, job_id, run_id)
    paths = await run_in_threadpool(live.directory, site_of(request), run)
    tail = f"/api/jobs/{job_id}/runs/{run.number}/tail/"
    return reply([{"path": path, "resource": tail + quote(path)} for path in paths])


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/tail/{path:path}/",
    "A file of an executing run: its last lines, or all of it",
    query("lines", "How many lines; without it, the whole file as text."),
    reply=object_(
        "Tail",
        fileType=text("/home/job/work/process_output.log: ASCII text"),
        lines=array(text("last line"), "Without newlines."),
    ),
    also=(400,),
)
async def tail(request: Request, job_id: str, run_id: str, path: str) -> Response:
    site, run = site_of(request), _run(request, job_id, run_id)
    asked = request.query_params.get("lines")
    if asked is not None:
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
            raise Invalid.at("lines", "A valid integer is required.")
        found = await run_in_threadpool(live.tail, site, run, path, int(asked))
        return reply({"fileType": found.file_type, "lines": found.lines})
    file = await run_in_threadpool(live.open_live, site, run, path)

    async def content() -> Any:
        try:
            for offset in range(0, file.size_bytes, _STEP_BYTES):
                size = min(_STEP_BYTES, file.size_bytes - offset)
                yield await run_in_threadpool(file.read, offset, size)
        finally:
            file.close()

    return StreamingResponse(content(), 200, {"X-Content-Type-Options": "nosniff"}, "text/plain")


# --- series ---------------------------------------------------------------------------------------


async def _series(request: Request, job_id: str, run_id: str) -> list[Series]:
    run = _run(request, job_id, run_id)
    job: Job = site_of(request).db.read(service.get_job, caller(request), job_id).job
    book: SeriesBook = request.app.state.series
    return await run_in_threadpool(book.series, job, run)


async def _metrics(request: Request, job_id: str, run_id: str) -> list[Series]:
    run = _run(request, job_id, run_id)
    return await run_in_threadpool(metrics.of_run, site_of(request), run)


_SERIES = array(
    object_(
        "Series",
        key=text("residuals/Ux"),
        label=text("Ux"),
        group=text("residuals"),
        unit=text(""),
        scale=choice("log", "linear"),
        points=integer(313),
    )
)
_DATA = object_(
    "SeriesData",
    ("index",),
    x=array(number(67)),
    keys=mapping(
        object_(
            "SeriesPoints",
            x=array(number(67)),
            min=array(_POINT),
            max=array(_POINT),
            last=array(_POINT),
        ),
        "residuals/T",
    ),
    exact=flag(True),
    index=integer(312, "Of series: `since` of `live/`, for what comes after these points."),
)
_DATA_PARAMETERS = (
    query("keys", "Keys of the series, separated by commas; all without it."),
    query("from", "First x.", "number"),
    query("to", "Last x.", "number"),
    query("points", "Most points of a series, 1200 without it.", "integer"),
)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/series/",
    "What is charted of a run: residuals, forces, ...",
    reply=_SERIES,
    tag="extensions",
)
async def list_series(request: Request, job_id: str, run_id: str) -> Response:
    return _listed(await _series(request, job_id, run_id))


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/metrics/",
    "What is known of a run's use of CPU, memory, processes and disk",
    reply=_SERIES,
    tag="extensions",
)
async def list_metrics(request: Request, job_id: str, run_id: str) -> Response:
    return _listed(await _metrics(request, job_id, run_id))


def _listed(found: list[Series]) -> Response:
    return reply(
        [
            {
                "key": series.key,
                "label": series.label,
                "group": series.group,
                "unit": series.unit,
                "scale": "log" if series.log_scale else "linear",
                "points": len(series.x),
            }
            for series in found
        ]
    )


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/series/data/",
    "The points of a run's series, thinned to what a chart can show",
    *_DATA_PARAMETERS,
    reply=_DATA,
    tag="extensions",
)
async def series_data(request: Request, job_id: str, run_id: str) -> Response:
    found = await _series(request, job_id, run_id)
    # The last step may get more points: it comes again.
    index = max((series.steps[-1] - 1 for series in found if series.steps), default=0)
    return _thinned(request, found, {"index": index})


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/metrics/data/",
    "What a run used over its time: x is seconds since it began",
    *_DATA_PARAMETERS,
    reply=_DATA,
    tag="extensions",
)
async def metrics_data(request: Request, job_id: str, run_id: str) -> Response:
    return _thinned(request, await _metrics(request, job_id, run_id), {})


def _thinned(request: Request, found: list[Series], more: dict[str, int]) -> Response:
    asked = request.query_params
    start = _number(asked.get("from"), "from", -math.inf)
    end = _number(asked.get("to"), "to", math.inf)
    most = _number(asked.get("points"), "points", 1200.0)
    if not 1 <= most <= _MOST_BUCKETS:
        raise Invalid.at("points", f"Give a number from 1 to {_MOST_BUCKETS}.")
    wanted = set(asked["keys"].split(",")) if asked.get("keys") else {s.key for s in found}
    keys: dict[str, Any] = {}
    exact = True
    for series in found:
        if series.key in wanted:
            parts = list(buckets(series, start, end, int(most)))
            exact = exact and sum(start <= x <= end for x in series.x) <= most
            keys[series.key] = {
                "x": [part.x for part in parts],
                "min": [value_of(part.low) for part in parts],
                "max": [value_of(part.high) for part in parts],
                "last": [value_of(part.last) for part in parts],
            }
    x: list[float] = max((entry["x"] for entry in keys.values()), key=len, default=[])
    return reply({"x": x, "keys": keys, "exact": exact, **more})


def _number(text: str | None, name: str, default: float) -> float:
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise Invalid.at(name, "A valid number is required.")
    return value
