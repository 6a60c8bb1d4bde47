"""Runs of a job (api-v2 reference, section 5), and their series (ours, docs/extensions.md)."""

import math
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simyard.api import paging
from simyard.api.replies import instant, reply
from simyard.api.routes import (
    PAGE,
    Routes,
    caller,
    query,
    run_number,
    site_of,
)
from simyard.api.v2.files import encode_page
from simyard.domain.errors import Invalid
from simyard.domain.files import File
from simyard.domain.grammar import Series, buckets
from simyard.domain.jobs import Job
from simyard.domain.runs import Run
from simyard.service import jobs as service
from simyard.service import live
from simyard.service.series import SeriesBook

route = Routes("runs")

CASE = 3  # the type of basic and DOE runs (api-v2 reference, section 9.3)
_STEP_BYTES = 1 << 20
_MOST_BUCKETS = 20_000


def encode_run(run: Run) -> dict[str, Any]:
    done = run.completed_at is not None
    return {
        "id": str(run.number),
        "type": CASE,
        "parent": None,
        "displayOrder": run.number,
        "isOptimal": False,
        "dateStarted": instant(run.started_at),
        "dateCompleted": instant(run.completed_at),
        "outputFileCount": run.output_count,
        "outputFileSize": run.output_bytes if done else None,
        "variables": [],
    }


@route("GET", "/api/v2/jobs/{job_id}/runs/", "The runs of a job", *PAGE)
async def list_runs(request: Request, job_id: str) -> Response:
    site, page = site_of(request), paging.asked(request)

    def find(offset: int, size: int) -> tuple[int, list[Run]]:
        return site.db.read(service.list_runs, caller(request), job_id, offset=offset, size=size)

    page, count, found = paging.fetch(page, find)
    return reply(paging.envelope(request, page, count, [encode_run(run) for run in found]))


def _run(request: Request, job_id: str, run_id: str) -> Run:
    return site_of(request).db.read(service.get_run, caller(request), job_id, run_number(run_id))


@route("GET", "/api/v2/jobs/{job_id}/runs/{run_id}/", "One run")
async def get_run(request: Request, job_id: str, run_id: str) -> Response:
    return reply(encode_run(_run(request, job_id, run_id)))


@route("GET", "/api/v2/jobs/{job_id}/runs/{run_id}/files/", "The output files of a run", *PAGE)
async def list_run_files(request: Request, job_id: str, run_id: str) -> Response:
    site, page, number = site_of(request), paging.asked(request), run_number(run_id)

    def find(offset: int, size: int) -> tuple[int, list[File]]:
        return site.db.read(
            service.list_run_files, caller(request), job_id, number, offset=offset, size=size
        )

    found = await run_in_threadpool(paging.fetch, page, find)
    return reply(encode_page(request, *found))


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/directory-contents/",
    "The files in the work folder of an executing run",
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
    query("lines", "How many lines; without it, the whole file."),
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


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/series/",
    "What is charted of a run: residuals, forces, ...",
    tag="extensions",
)
async def list_series(request: Request, job_id: str, run_id: str) -> Response:
    found = await _series(request, job_id, run_id)
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
    query("keys", "Keys of the series, separated by commas; all without it."),
    query("from", "First x.", "number"),
    query("to", "Last x.", "number"),
    query("points", "Most points of a series, 1200 without it.", "integer"),
    tag="extensions",
)
async def series_data(request: Request, job_id: str, run_id: str) -> Response:
    asked = request.query_params
    start = _number(asked.get("from"), "from", -math.inf)
    end = _number(asked.get("to"), "to", math.inf)
    most = _number(asked.get("points"), "points", 1200.0)
    if not 1 <= most <= _MOST_BUCKETS:
        raise Invalid.at("points", f"Give a number from 1 to {_MOST_BUCKETS}.")
    found = await _series(request, job_id, run_id)
    wanted = set(asked["keys"].split(",")) if asked.get("keys") else {s.key for s in found}
    keys: dict[str, Any] = {}
    exact = True
    for series in found:
        if series.key in wanted:
            parts = list(buckets(series, start, end, int(most)))
            exact = exact and sum(start <= x <= end for x in series.x) <= most
            keys[series.key] = {
                "x": [part.x for part in parts],
                "min": [_value(part.low) for part in parts],
                "max": [_value(part.high) for part in parts],
                "last": [_value(part.last) for part in parts],
            }
    x: list[float] = max((entry["x"] for entry in keys.values()), key=len, default=[])
    return reply({"x": x, "keys": keys, "exact": exact})


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


def _value(y: float) -> float | str:
    """JSON has no words for what a diverged solver prints."""
    if math.isfinite(y):
        return y
    return "NaN" if math.isnan(y) else "Infinity" if y > 0 else "-Infinity"
