"""Figures of a study: statistics, effects, models, fronts (ours, docs/extensions.md)."""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from simyard.api.replies import reply
from simyard.api.routes import Routes, query
from simyard.api.shapes import (
    Shape,
    array,
    choice,
    integer,
    mapping,
    nullable,
    number,
    object_,
    text,
)
from simyard.api.v2.results import (
    CELL,
    COLUMNS,
    FILTER,
    MAYBE,
    PLACE,
    encode_place,
    ids,
    parameter,
    with_results,
)
from simyard.domain.errors import Invalid
from simyard.domain.outputs import number_of
from simyard.numerics.ranking import DIRECTIONS, Goal
from simyard.service import answers
from simyard.service import results as service
from simyard.service.results import Results

route = Routes("extensions")

_WRONG = (400, 422)
_OUTPUT = query("output", "An output; without it the first objective, or else the first output.")
_OBJECTIVES = query("objectives", "`Cd,Cl:maximize`; without it those of the study.")

_INTERVAL = nullable(array(MAYBE))
_COUNTED: dict[str, Shape] = {
    "n": integer(13, "Runs that it rests on."),
    "failed": integer(1, "Runs that it looked at and that failed."),
    "method": text("share of the runs"),
    "quality": nullable(number(0.98, "Leave-one-out R2 of the model.")),
    "interval": nullable(text("95 %, Wilson")),
}


def _answered(name: str, /, **more: Shape) -> Shape:
    return object_(name, **_COUNTED, **more)


_OBJECTIVE = object_(
    "StudyObjective",
    name=text("Cd"),
    direction=choice(*DIRECTIONS),
    target=nullable(number(0.5), example_null=True),
)


async def _answer(
    request: Request, job_id: str, ask: Callable[[Results, Sequence[int]], Any]
) -> Response:
    """An answer about the runs that the request's filter lets through."""
    wanted = request.query_params.get("filter", "")
    return reply(await with_results(request, job_id, lambda r: ask(r, service.chosen(r, wanted))))


async def _heavy(
    request: Request, job_id: str, ask: Callable[[Results, Sequence[int]], Any]
) -> Response:
    """The same where it may take seconds: few at a time, and nothing else waits for them."""
    async with request.app.state.modelling:
        return await _answer(request, job_id, ask)


_STATISTICS = object_(
    "ColumnStatistics",
    n=integer(13),
    missing=integer(0),
    mean=MAYBE,
    sd=MAYBE,
    min=MAYBE,
    max=MAYBE,
    interval=_INTERVAL,
    percentiles=mapping(MAYBE, "50"),
)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/statistics/",
    "Mean, spread and percentiles of each column, of the runs that ended well",
    COLUMNS,
    FILTER,
    reply=_answered("StudyStatistics", columns=mapping(_STATISTICS, "Cd")),
    also=_WRONG,
)
async def study_statistics(request: Request, job_id: str) -> Response:
    columns = parameter(request, "columns")
    return await _answer(request, job_id, lambda r, rows: answers.statistics(r, rows, columns))


_EFFECT = object_(
    "StudyEffect",
    input=text("alpha"),
    levels=array(
        object_(
            "EffectLevel",
            ("level", "from", "to"),
            level=CELL,
            **{"from": MAYBE, "to": MAYBE},
            n=integer(4),
            mean=MAYBE,
            interval=_INTERVAL,
        ),
        "`level`, or `from` and `to` of a bin.",
    ),
    effect=MAYBE,
    range=MAYBE,
)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/effects/",
    "Main effects: the mean of an output at each level of each input",
    _OUTPUT,
    FILTER,
    reply=_answered("StudyEffects", output=text("Cd"), inputs=array(_EFFECT)),
    also=_WRONG,
)
async def study_effects(request: Request, job_id: str) -> Response:
    output = parameter(request, "output")
    return await _answer(request, job_id, lambda r, rows: answers.effects(r, rows, output))


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/correlation/",
    "Spearman's and Pearson's coefficients of all pairs of columns",
    COLUMNS,
    FILTER,
    reply=_answered(
        "StudyCorrelation",
        names=array(text("alpha")),
        counts=array(array(integer(13))),
        pearson=array(array(MAYBE)),
        spearman=array(array(MAYBE)),
    ),
    also=_WRONG,
)
async def study_correlation(request: Request, job_id: str) -> Response:
    columns = parameter(request, "columns")
    return await _answer(request, job_id, lambda r, rows: answers.correlation(r, rows, columns))


_MODELLED: dict[str, Shape] = {
    "output": text("Cd"),
    "modelled": integer(13, "Runs that the model is made of: at most 500."),
    "constant": array(text("mach"), "Inputs that do not vary."),
    "leftOut": array(text("mesh"), "Inputs that are texts."),
}


def _modelled(found: dict[str, Any]) -> dict[str, Any]:
    left_out = found.pop("left_out")
    return {**found, "leftOut": left_out}


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/sensitivity/",
    "First and total Sobol indices of the inputs, on a model of the runs",
    _OUTPUT,
    FILTER,
    reply=_answered(
        "StudySensitivity",
        **_MODELLED,
        samples=integer(4096),
        inputs=array(
            object_(
                "SensitivityOfInput",
                input=text("alpha"),
                first=MAYBE,
                firstInterval=_INTERVAL,
                total=MAYBE,
                totalInterval=_INTERVAL,
            )
        ),
    ),
    also=_WRONG,
)
async def study_sensitivity(request: Request, job_id: str) -> Response:
    output = parameter(request, "output")

    def ask(results: Results, rows: Sequence[int]) -> dict[str, Any]:
        found = _modelled(answers.sensitivity(results, rows, output))
        for one in found["inputs"]:
            one["firstInterval"] = one.pop("first_interval")
            one["totalInterval"] = one.pop("total_interval")
        return found

    return await _heavy(request, job_id, ask)


_CURVE = object_(
    "StudySlice",
    input=text("alpha"),
    x=array(MAYBE),
    mean=array(MAYBE),
    lower=array(MAYBE),
    upper=array(MAYBE),
)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/slices/",
    "A model of an output along each input through a point, with its band",
    query("at", "The point, `alpha:3,mach:0.4`; inputs that are not named are at their median."),
    _OUTPUT,
    FILTER,
    reply=_answered(
        "StudySlices",
        **_MODELLED,
        at=mapping(number(3.0), "alpha"),
        mean=MAYBE,
        meanInterval=_INTERVAL,
        slices=array(_CURVE),
    ),
    also=_WRONG,
)
async def study_slices(request: Request, job_id: str) -> Response:
    output, at = parameter(request, "output"), parameter(request, "at")

    def ask(results: Results, rows: Sequence[int]) -> dict[str, Any]:
        found = _modelled(answers.slices(results, rows, output, at))
        found["meanInterval"] = found.pop("mean_interval")
        return found

    return await _heavy(request, job_id, ask)


def _objectives(goals: Sequence[Goal]) -> list[dict[str, Any]]:
    return [{"name": g.name, "direction": g.direction, "target": g.target} for g in goals]


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/pareto/",
    "The runs that no other run dominates",
    _OBJECTIVES,
    FILTER,
    reply=_answered(
        "StudyFront",
        objectives=array(_OBJECTIVE),
        infeasible=integer(0, "Runs that break a limit or have not told what it takes."),
        size=integer(4, "Runs of the front."),
        front=array(PLACE, "The first 1000 of them."),
        hypervolume=nullable(number(1.2, "Of two objectives, up to the worst values.")),
    ),
    also=_WRONG,
)
async def study_pareto(request: Request, job_id: str) -> Response:
    objectives = parameter(request, "objectives")

    def ask(results: Results, rows: Sequence[int]) -> dict[str, Any]:
        found = answers.pareto(results, rows, objectives)
        service.check_size(len(found["front"]), len(results.inputs) + len(results.outputs))
        front = [encode_place(results, row) for row in found["front"]]
        return {**found, "objectives": _objectives(found["objectives"]), "front": front}

    return await _heavy(request, job_id, ask)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/convergence/",
    "How the best came about, run by run as they ended",
    _OBJECTIVES,
    FILTER,
    reply=object_(
        "StudyConvergence",
        ("best", "at", "hypervolume"),
        **_COUNTED,
        objectives=array(_OBJECTIVE),
        runs=integer(14, "That ended, the failed ones too."),
        id=array(text("3"), "In the order in which they ended."),
        coreHours=array(number(0.5), "Of all up to and with this one."),
        improved=array(text("3"), "Runs that were better than all before."),
        best=array(MAYBE, "After each run; with one objective."),
        at=array(integer(5), "With two objectives: after so many runs ..."),
        hypervolume=array(MAYBE, "... the hypervolume up to the worst values of all."),
    ),
    also=_WRONG,
)
async def study_convergence(request: Request, job_id: str) -> Response:
    objectives = parameter(request, "objectives")

    def ask(results: Results, rows: Sequence[int]) -> dict[str, Any]:
        found = answers.convergence(results, rows, objectives)
        ended = found.pop("rows")
        found["id"] = ids(ended)
        found["coreHours"] = found.pop("core_hours")
        found["improved"] = ids([ended[i] for i in found["improved"]])
        found["objectives"] = _objectives(found["objectives"])
        if "at" in found:
            found["at"] = [i + 1 for i in found["at"]]
        return found

    return await _heavy(request, job_id, ask)


_PART: dict[str, Shape] = {**_COUNTED, "missing": integer(0)}
del _PART["failed"]


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/exceedance/",
    "How likely an output is above a limit, and its distribution",
    _OUTPUT,
    query("limit", "A number.", "number"),
    FILTER,
    reply=_answered(
        "StudyExceedance",
        output=text("Cd"),
        limit=number(0.02),
        missing=integer(0),
        exceeded=integer(3),
        probability=number(0.23),
        probabilityInterval=array(number(0.08)),
        histogram=object_("StudyHistogram", **_PART, edges=array(MAYBE), counts=array(integer(3))),
        cdf=object_("StudyDistribution", **_PART, x=array(MAYBE), share=array(number(0.5))),
    ),
    also=_WRONG,
)
async def study_exceedance(request: Request, job_id: str) -> Response:
    output = parameter(request, "output")
    limit = number_of(parameter(request, "limit"))

    def ask(results: Results, rows: Sequence[int]) -> dict[str, Any]:
        if limit is None:
            raise Invalid.at("limit", "A valid number is required.")
        found = answers.exceedance(results, rows, output, limit)
        found["probabilityInterval"] = found.pop("probability_interval")
        return found

    return await _answer(request, job_id, ask)
