"""Answers of a study: its summary, its runs as columns and as a table, figures, exports (ours,
docs/extensions.md).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simyard.api import paging
from simyard.api.downloads import disposition
from simyard.api.replies import reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.api.shapes import (
    BYTES,
    Shape,
    array,
    choice,
    flag,
    integer,
    mapping,
    nullable,
    number,
    object_,
    page_of,
    text,
)
from simyard.domain.errors import Invalid
from simyard.domain.runs import Run
from simyard.domain.studies import Role
from simyard.numerics.ranking import DIRECTIONS
from simyard.service import comparing, exporting
from simyard.service import results as service
from simyard.service.results import Fact, Results, ResultsBook, Status

route = Routes("extensions")

FILTER = query("filter", "Only these runs: `Cd<0.02 and (Cl>0.1 or status='failed')`.")
COLUMNS = query("columns", "Names separated by commas; all without it.")

_STATUS = choice(*(status.value for status in Status))
CELL: Shape = {"type": ["number", "string", "null"], "examples": [0.0188]}
MAYBE = nullable(number(0.0188))
_PLACE: dict[str, Shape] = {
    "id": text("3", "Of the run."),
    "inputs": mapping(CELL, "alpha"),
    "outputs": mapping(CELL, "Cd"),
}
PLACE = object_("StudyPlace", **_PLACE)
SUMMARY = object_(
    "StudySummary",
    version=text("1772442900001200-13-0a1b2c3d", "Another one when anything is different."),
    variables=array(
        object_(
            "StudyVariable",
            name=text("Cd"),
            role=choice(*(role.value for role in Role)),
            unit=text(""),
            direction=nullable(choice(*DIRECTIONS)),
            target=nullable(number(0.5), example_null=True),
            lower=nullable(number(0.1), example_null=True),
            upper=nullable(number(0.1), example_null=True),
            isText=flag(False, "Some of its values are no numbers."),
            min=MAYBE,
            max=MAYBE,
        )
    ),
    counts=object_("StudyCounts", **{status.value: integer(1) for status in Status}),
    total=integer(13),
    best=array(PLACE, "The optimal runs, the first 100 of them."),
    bestCount=integer(1),
    isOpen=flag(False, "More runs may come."),
    closedBecause=nullable(text("it has had all of its 40 runs")),
    slots=integer(2),
    asked=integer(0, "Runs that its optimizer has asked for."),
    budget=nullable(integer(40), example_null=True),
    optimizer=nullable(text("gp"), example_null=True),
    design=nullable(text("lhs")),
    seed=nullable(integer(12)),
    expectedRuns=nullable(integer(13)),
    isCut=flag(False, "There are more columns or texts than these answers take."),
)
_ROW = object_(
    "StudyRow",
    **_PLACE,
    status=_STATUS,
    isOptimal=flag(False),
    isNominal=flag(False),
    duration=nullable(number(16.2, "Seconds.")),
    coreHours=nullable(number(0.0045)),
    reason=text("", "Why it failed or was stopped."),
)


# --- reading --------------------------------------------------------------------------------------


async def with_results(request: Request, job_id: str, answer: Callable[[Results], Any]) -> Any:
    """What is made of a study, in a thread."""
    book: ResultsBook = request.app.state.results
    viewer = caller(request)
    return await run_in_threadpool(lambda: answer(book.read(viewer, job_id)))


def parameter(request: Request, name: str) -> str:
    found: str = request.query_params.get(name, "")
    return found.strip()


def _cells(columns: Mapping[str, service.Column], row: int) -> dict[str, Any]:
    return {name: column[row] for name, column in columns.items()}


def encode_place(results: Results, row: int) -> dict[str, Any]:
    return {
        "id": str(row + 1),
        "inputs": _cells(results.inputs, row),
        "outputs": _cells(results.outputs, row),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/",
    "A study: its variables, how far it is, its best runs",
    reply=SUMMARY,
    also=(400,),
)
async def study_summary(request: Request, job_id: str) -> Response:
    return reply(await with_results(request, job_id, _summary))


def _summary(results: Results) -> dict[str, Any]:
    study, standing = results.study, results.standing
    optimizer = study.optimizer
    return {
        "version": results.version,
        "variables": [_fact(fact) for fact in service.facts(results)],
        "counts": {status.value: count for status, count in results.counts().items()},
        "total": len(results),
        "best": [encode_place(results, row) for row in service.best(results)],
        "bestCount": len(results.optimal()),
        "isOpen": standing.is_open,
        "closedBecause": standing.closed_because,
        "slots": standing.slots,
        "asked": standing.asked,
        "budget": optimizer.budget or None if optimizer else None,
        "optimizer": optimizer.method if optimizer else None,
        "design": study.design.kind if study.design else None,
        "seed": study.seed,
        "expectedRuns": study.expected_runs,
        "isCut": results.is_cut,
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {
        "name": fact.name,
        "role": fact.role.value,
        "unit": fact.unit,
        "direction": fact.direction,
        "target": fact.target,
        "lower": fact.lower,
        "upper": fact.upper,
        "isText": fact.is_text,
        "min": fact.least,
        "max": fact.most,
    }


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/columns/",
    "The runs of a study as columns, or what is new of them",
    query("since", "A version: only the runs that may be different since."),
    COLUMNS,
    reply=object_(
        "StudyColumns",
        version=text("1772442900001200-13-0a1b2c3d"),
        isWhole=flag(True, "All runs are there, not only those that are different."),
        count=integer(13, "Runs that there are."),
        id=array(text("3")),
        status=array(_STATUS),
        duration=array(MAYBE, "Seconds."),
        coreHours=array(MAYBE),
        inputs=mapping(array(CELL), "alpha"),
        outputs=mapping(array(CELL), "Cd"),
        reasons=mapping(text("A run failed: ..."), "4"),
        optimal=array(text("3"), "All of them, whatever is new."),
        nominal=nullable(text("13"), example_null=True),
    ),
    also=(400,),
)
async def study_columns(request: Request, job_id: str) -> Response:
    since, wanted = parameter(request, "since"), parameter(request, "columns")
    return reply(
        await with_results(request, job_id, lambda results: _columns(results, since, wanted))
    )


def _columns(results: Results, since: str, wanted: str) -> dict[str, Any]:
    rows = results.changed(since) if since else None
    is_whole = rows is None
    rows = list(range(len(results))) if rows is None else rows
    names = service.picked(wanted, [*results.inputs, *results.outputs])
    service.check_size(len(rows), len(names))
    inputs = {n: c.of(rows) for n, c in results.inputs.items() if n in names}
    outputs = {n: c.of(rows) for n, c in results.outputs.items() if n in names}
    nominal = next((row for row, flagged in enumerate(results.is_nominal) if flagged), None)
    return {
        "version": results.version,
        "isWhole": is_whole,
        "count": len(results),
        "id": ids(rows),
        "status": [results.status(row).value for row in rows],
        "duration": [_number(results.seconds[row]) for row in rows],
        "coreHours": [_number(results.core_hours[row]) for row in rows],
        "inputs": inputs,
        "outputs": outputs,
        "reasons": {str(r + 1): results.reasons[r] for r in rows if r in results.reasons},
        "optimal": ids(results.optimal()),
        "nominal": None if nominal is None else str(nominal + 1),
    }


def ids(rows: Sequence[int]) -> list[str]:
    return [str(row + 1) for row in rows]


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/table/",
    "The runs of a study, sorted and filtered",
    query("sort", "A column; `-Cd` has the largest first."),
    FILTER,
    *PAGE,
    reply=page_of(_ROW),
    also=(400,),
)
async def study_table(request: Request, job_id: str) -> Response:
    page, sort = paging.asked(request), parameter(request, "sort")
    wanted = request.query_params.get("filter", "")

    def answer(results: Results) -> Any:
        rows = service.ordered(results, service.chosen(results, wanted), sort)
        shown, found = paging.cut(page, rows)
        service.check_size(len(found.items), len(results.inputs) + len(results.outputs))
        return paging.envelope(request, shown, found, lambda row: _row(results, row))

    return reply(await with_results(request, job_id, answer))


def _row(results: Results, row: int) -> dict[str, Any]:
    return {
        **encode_place(results, row),
        "status": results.status(row).value,
        "isOptimal": bool(results.is_optimal[row]),
        "isNominal": bool(results.is_nominal[row]),
        "duration": _number(results.seconds[row]),
        "coreHours": _number(results.core_hours[row]),
        "reason": results.reasons.get(row, ""),
    }


# --- comparing, exporting -------------------------------------------------------------------------

_BOTH = array(nullable(text("3.50")), "In each of the two runs.")
_COMPARED = array(
    object_(
        "ComparedVariable",
        name=text("alpha"),
        values=_BOTH,
        isSame=flag(False),
        difference=nullable(number(2.0, "The second less the first.")),
    )
)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/compare/",
    "Two runs side by side: values, and how their templates differ",
    query("runs", "Ids of two runs: `3,9`."),
    reply=object_(
        "StudyComparison",
        runs=array(
            object_(
                "ComparedRun",
                id=text("3"),
                status=_STATUS,
                isOptimal=flag(False),
                duration=MAYBE,
                coreHours=MAYBE,
                reason=text(""),
            )
        ),
        inputs=_COMPARED,
        outputs=_COMPARED,
        templates=array(
            object_(
                "TemplateDifference",
                path=text("0/U"),
                isSame=flag(False),
                diff=text("--- run3/0/U\n+++ run9/0/U\n@@ ...", "Unified; empty: the same."),
                isCut=flag(False),
                problem=text("", "Why it cannot be said."),
            )
        ),
    ),
    also=(400,),
)
async def study_compare(request: Request, job_id: str) -> Response:
    found = await run_in_threadpool(
        comparing.compare,
        site_of(request),
        caller(request),
        job_id,
        parameter(request, "runs"),
    )
    return reply(
        {
            "runs": [_compared_run(run) for run in found.runs],
            "inputs": [_compared(each) for each in found.inputs],
            "outputs": [_compared(each) for each in found.outputs],
            "templates": [
                {
                    "path": each.path,
                    "isSame": not each.diff and not each.problem,
                    "diff": each.diff,
                    "isCut": each.is_cut,
                    "problem": each.problem,
                }
                for each in found.differences
            ],
        }
    )


def _compared_run(run: Run) -> dict[str, Any]:
    status, why = service.judged(run)
    seconds, core_hours = service.spent(run)
    return {
        "id": str(run.number),
        "status": status.value,
        "isOptimal": run.is_optimal,
        "duration": _number(seconds),
        "coreHours": _number(core_hours),
        "reason": why,
    }


def _compared(pair: comparing.Pair) -> dict[str, Any]:
    return {
        "name": pair.name,
        "values": [value.text if value else None for value in pair.values],
        "isSame": pair.is_same,
        "difference": pair.difference,
    }


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/export/",
    "The runs of a study as a file: CSV, JSON or Parquet",
    query("format", "`csv`, `json` or `parquet`; csv without it."),
    COLUMNS,
    query("sort", "A column; `-Cd` has the largest first."),
    FILTER,
    reply=BYTES,
    media_type="application/octet-stream",
    also=(400,),
)
async def study_export(request: Request, job_id: str) -> Response:
    kind = parameter(request, "format") or "csv"
    if kind not in exporting.FORMATS:
        raise Invalid.at("format", f"Choose one of {', '.join(exporting.FORMATS)}.")
    columns, sort = parameter(request, "columns"), parameter(request, "sort")
    wanted = request.query_params.get("filter", "")

    def answer(results: Results) -> Any:
        rows = service.ordered(results, service.chosen(results, wanted), sort)
        return exporting.export(results, rows, columns, kind)

    content = await with_results(request, job_id, answer)
    headers = {
        "Content-Disposition": disposition(f"study_{job_id}.{kind}"),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(content, 200, headers, "application/octet-stream")
