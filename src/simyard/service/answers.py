"""What the runs of a study say: figures of the runs that ended well, from `simyard.numerics`.

Each answer has `n`, `method`, `quality` and `interval` as there, and `failed`: how many of the
runs that were looked at failed. NotEnough where the runs cannot say it (yet). `rows` is which runs
are looked at.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simyard.domain.errors import Invalid, NotEnough, Problem, Refused
from simyard.domain.outputs import number_of
from simyard.domain.studies import Role
from simyard.numerics import answers
from simyard.numerics.answers import Answer
from simyard.numerics.ranking import DIRECTIONS, Goal, Limit
from simyard.service import aims
from simyard.service.results import Column, Results, Status, check_size, no_column, picked

Rows = Sequence[int]
_MOST_GOALS = 10
_MOST_FRONT = 1000  # runs of a front that are sent
_MOST_COMPARED = 5000  # runs, where each may have to be compared with each
_MOST_PAIRED = 50_000_000  # values of all pairs of columns
_CHOOSE = "choose fewer with columns=NAME,NAME or a filter."


def statistics(results: Results, rows: Rows, columns: str = "") -> Answer:
    """columns: names of inputs and outputs, all that have numbers where it is empty."""
    well = _well(results, rows)
    chosen = _numeric(results, columns)
    check_size(len(well), len(chosen))
    found = _ask("statistics", answers.statistics, _values(chosen, well))
    return {"n": len(well), "failed": _failed(results, rows), **found}


def exceedance(results: Results, rows: Rows, output: str, limit: float) -> Answer:
    """How likely an output is above a limit, with its histogram and its distribution."""
    well = _well(results, rows)
    name = output_of(results, output)
    values = results.outputs[name].of(well)
    parts = [
        _ask("exceedance", answers.exceedance, values, limit),
        {"histogram": _ask("exceedance", answers.histogram, values)},
        {"cdf": _ask("exceedance", answers.cdf, values)},
        {"output": name, "limit": limit, "failed": _failed(results, rows)},
    ]
    return {key: value for part in parts for key, value in part.items()}


def correlation(results: Results, rows: Rows, columns: str = "") -> Answer:
    chosen = _numeric(results, columns)
    if len(chosen) > answers.MOST_COLUMNS:
        message = f"{len(chosen)} are too many: choose at most {answers.MOST_COLUMNS}."
        raise Invalid.at("columns", message)
    well = _well(results, rows)
    if len(chosen) ** 2 * len(well) > _MOST_PAIRED:
        raise Refused(f"{len(well)} runs with {len(chosen)} columns are too many pairs: {_CHOOSE}")
    found = _ask("correlation", answers.correlation, _values(chosen, well))
    return {**found, "failed": _failed(results, rows)}


def effects(results: Results, rows: Rows, output: str = "") -> Answer:
    well = _well(results, rows)
    name = output_of(results, output)
    inputs = {name: column.of(well) for name, column in results.inputs.items()}
    found = _ask("effects", answers.effects, inputs, results.outputs[name].of(well))
    return {**found, "output": name, "failed": _failed(results, rows)}


def sensitivity(results: Results, rows: Rows, output: str = "") -> Answer:
    """Takes seconds."""
    well = _well(results, rows)
    name = output_of(results, output)
    inputs, left_out = _modelled(results, well)
    found = _ask(
        "sensitivity",
        answers.sensitivity,
        inputs,
        results.outputs[name].of(well),
        seed=results.study.seed or 0,
    )
    return _of_model(results, rows, name, found, left_out)


def slices(results: Results, rows: Rows, output: str = "", at: str = "") -> Answer:
    """at: `alpha:3,mach:0.4`. Takes a second."""
    well = _well(results, rows)
    name = output_of(results, output)
    inputs, left_out = _modelled(results, well)
    found = _ask(
        "slices",
        answers.slices,
        inputs,
        results.outputs[name].of(well),
        at=_point(at, inputs),
        seed=results.study.seed or 0,
    )
    return _of_model(results, rows, name, found, left_out)


def pareto(results: Results, rows: Rows, objectives: str = "") -> Answer:
    """`front`: rows of the optimal runs."""
    goals, limits = goals_of(results, objectives)
    well = _well(results, rows)
    _check_compared(well, goals, 3)
    columns = _values(results.outputs, well)
    found = _ask("pareto", answers.pareto, columns, goals, limits)
    return {
        **found,
        "objectives": goals,
        "size": len(found["front"]),
        "front": [well[i] for i in found["front"][:_MOST_FRONT]],
        "failed": _failed(results, rows),
    }


def convergence(results: Results, rows: Rows, objectives: str = "") -> Answer:
    """`rows`: those that ended, in the order in which they did; the failed ones are among them.
    `improved` and `at` are places in it.
    """
    goals, limits = goals_of(results, objectives)
    wanted = {Status.DONE, Status.FAILED}
    ended = [row for row in rows if results.status(row) in wanted and results.completed[row]]
    _check_compared(ended, goals, 1)
    ended.sort(key=lambda row: (results.completed[row], row))
    columns = _values(results.outputs, ended)
    found = _ask("convergence", answers.convergence, columns, goals, limits)
    spent, total = [], 0.0
    for row in ended:
        hours = results.core_hours[row]
        total += 0.0 if math.isnan(hours) else hours
        spent.append(total)
    return {
        **found,
        "objectives": goals,
        "rows": ended,
        "core_hours": spent,
        "failed": _failed(results, rows),
    }


# --- what is asked about --------------------------------------------------------------------------


def output_of(results: Results, asked: str) -> str:
    """The output that is meant: without a name the first objective, or else the first output."""
    if asked:
        if asked not in results.outputs:
            raise Invalid.at("output", no_column(asked, results.outputs))
        return asked
    declared = [v.name for v in results.study.outputs() if v.role is Role.OBJECTIVE]
    name = next(iter([*declared, *results.outputs]), None)
    if name is None:
        raise NotEnough("No run has told an output yet.")
    return name


def goals_of(results: Results, asked: str) -> tuple[list[Goal], list[Limit]]:
    """The objectives that are meant, `Cd,Cl:maximize`; those of the study without any. One of the
    study's keeps its direction where none is said. The limits are always the study's.
    """
    found, _ = aims.aims(results.study)
    known = {goal.name: goal for goal in found.goals}
    goals: list[Goal] = []
    problems: list[Problem] = []
    for text in asked.split(",", _MOST_GOALS)[:_MOST_GOALS] if asked.strip() else ():
        name, _, direction = text.strip().rpartition(":")
        if not name or direction not in DIRECTIONS[:2]:
            name, direction = text.strip(), ""
        if name not in results.outputs:
            problems.append(Problem(("objectives",), no_column(name, results.outputs)))
        elif direction:
            goals.append(Goal(name=name, direction=direction))
        else:
            goals.append(known.get(name) or Goal(name=name))
    if problems:
        raise Invalid(problems)
    goals = goals or list(found.goals)
    if not goals:
        message = "The study has no Objective: name outputs, like Cd,Cl:maximize."
        raise Invalid.at("objectives", message)
    return goals, list(found.limits)


def _check_compared(rows: Rows, goals: Sequence[Goal], few: int) -> None:
    """Raises Refused where so many objectives need each run compared with each, and there are too
    many runs for that.
    """
    if len(goals) > few and len(rows) > _MOST_COMPARED:
        raise Refused(
            f"{len(rows)} runs with {len(goals)} objectives are too many to compare: choose at most"
            f" {_MOST_COMPARED} of them with a filter."
        )


def _point(text: str, inputs: Mapping[str, object]) -> dict[str, float]:
    point: dict[str, float] = {}
    problems: list[Problem] = []
    for part in text[:20_000].split(",") if text.strip() else ():
        name, _, told = part.strip().rpartition(":")
        number = number_of(told.strip())
        if name not in inputs:
            problems.append(Problem(("at",), no_column(name or part.strip(), inputs)))
        elif number is None:
            problems.append(Problem(("at",), f'{name}: "{told:.40}" is no number.'))
        else:
            point[name] = number
    if problems:
        raise Invalid(problems[:20])
    return point


# --- columns --------------------------------------------------------------------------------------


def _well(results: Results, rows: Rows) -> list[int]:
    return [row for row in rows if results.status(row) is Status.DONE]


def _failed(results: Results, rows: Rows) -> int:
    return sum(results.status(row) is Status.FAILED for row in rows)


def _values(columns: Mapping[str, Column], rows: Rows) -> dict[str, list[float | None]]:
    """Numbers only."""
    return {
        name: [None if math.isnan(x) else x for x in map(column.numbers.__getitem__, rows)]
        for name, column in columns.items()
    }


def _numeric(results: Results, columns: str) -> dict[str, Column]:
    labels = results.labels()
    if columns.strip():
        return {name: labels[name] for name in picked(columns, labels)}
    return {name: column for name, column in labels.items() if column.has_numbers}


def _modelled(results: Results, rows: Rows) -> tuple[dict[str, list[float | None]], list[str]]:
    """The inputs of a model, and those that it cannot have since they are texts."""
    texts = [
        name
        for name, column in results.inputs.items()
        if column.texts and any(row in column.texts for row in rows)
    ]
    chosen = {n: c for n, c in results.inputs.items() if n not in texts}
    return _values(chosen, rows), texts


def _of_model(
    results: Results, rows: Rows, output: str, found: Answer, left_out: Sequence[str]
) -> Answer:
    return {
        **found,
        "output": output,
        "left_out": list(left_out),
        "failed": _failed(results, rows),
    }


def _ask(what: str, ask: Callable[..., Answer], *args: Any, **options: Any) -> Answer:
    try:
        return ask(*args, **options)
    except ValueError as error:
        raise NotEnough(f"{what}: {error}") from error
