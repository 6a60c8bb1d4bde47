"""What a study is after, as its definition says it, and the points that its optimizer asks for."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from simyard.domain.errors import Problem, Refused
from simyard.domain.generators import BadSettings, Levels, generator, instead
from simyard.domain.numberformat import canonical
from simyard.domain.outputs import value
from simyard.domain.records import dataclass
from simyard.domain.runs import Kind
from simyard.domain.studies import INPUTS, Role, Study, Value, Variable
from simyard.numerics import optimise
from simyard.numerics.optimise import Asker, Choice, Dimension, Real, Space, StopRules, Trial, Whole
from simyard.numerics.ranking import Goal, Limit
from simyard.store.runs import NewRun, pack_values

EXTERNAL = "external"  # the method of who adds the runs over the API
_SETTINGS = "valueGeneratorSettings"
_MOST_GOALS = 8
_MOST_LEVELS = 10_000
_KNOWN = {
    Role.OBJECTIVE: ("direction", "target", "unit"),
    Role.CONSTRAINT: ("lower", "upper", "unit"),
}
_RULES = {
    "patience": "noImprovementRuns",
    "reach": "target",
    "hours": "maxHours",
    "core_hours": "maxCoreHours",
}


@dataclass(frozen=True)
class Aims:
    """What a study is after."""

    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...]


def aims(study: Study) -> tuple[Aims, list[Problem]]:
    """The objectives and constraints of a study, and what is wrong with them."""
    goals: list[Goal] = []
    limits: list[Limit] = []
    problems: list[Problem] = []
    for i, variable in enumerate(study.variables):
        try:
            if variable.role is Role.OBJECTIVE:
                goals.append(_goal(variable))
            elif variable.role is Role.CONSTRAINT:
                numbers = {key: _number(variable, key) for key in ("lower", "upper")}
                limits.append(Limit(name=variable.name, **numbers))
        except ValueError as error:
            problems.append(Problem(("jobvariables", i, _SETTINGS), str(error)))
        problems += (
            Problem(("jobvariables", i, _SETTINGS), f"{variable.name}: there is no setting {which}")
            for _, which in _unknown(variable.settings, _KNOWN.get(variable.role))
        )
    return Aims(tuple(goals), tuple(limits)), problems


def _goal(variable: Variable) -> Goal:
    target = _number(variable, "target")
    default = "minimize" if target is None else "target"
    direction = str(variable.settings.get("direction", default)).lower()
    return Goal(name=variable.name, direction=direction, target=target)


def _unknown(
    settings: Mapping[str, object], known: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Settings that are none of the known ones, each as it is told. None: all are known."""
    for key in settings:
        if known is not None and key not in known:
            yield key, f'"{key:.100}"{instead(key, known)}'


def _number(variable: Variable, key: str) -> float | None:
    sent = variable.settings.get(key)
    if sent is None or sent == "":
        return None
    if isinstance(sent, bool) or not isinstance(sent, int | float | str):
        raise ValueError(f"{variable.name}: {key} must be a number")
    found = value(key, str(sent).strip()).number
    if found is None:
        raise ValueError(f"{variable.name}: {key} must be a number, not {sent!r:.40}")
    return found


@dataclass(frozen=True)
class Chosen:
    """A variable that an optimizer chooses. levels: the texts that the numbers 0, 1, ... stand
    for, where it may take only some.
    """

    name: str
    dimension: Dimension
    levels: Levels | None = None
    is_relative: bool = False

    @cached_property
    def places(self) -> dict[str, int]:
        """The numbers of its levels, by their texts."""
        texts = self.levels.values if self.levels is not None else ()
        return {text: place for place, text in reversed(list(enumerate(texts)))}

    def text(self, asked: float | str) -> str:
        if self.levels is not None:
            return self.levels.text_at(int(asked))
        return asked if isinstance(asked, str) else canonical(asked)

    def told(self, text: str) -> object:
        """The other way; None for what it does not choose."""
        if self.levels is not None:
            place = self.places.get(text)
            return None if place is None else float(place)
        return text if isinstance(self.dimension, Choice) else value(self.name, text).number


def chosen(study: Study) -> tuple[list[Chosen], list[Problem]]:
    """What an optimizer chooses, and what is wrong with it. Bad settings are the plan's to tell."""
    found: list[Chosen] = []
    problems: list[Problem] = []
    for i, variable in enumerate(study.variables):
        if variable.role not in INPUTS:
            continue
        if variable.role is not Role.DESIGN:
            message = "An optimizer chooses Design variables; no other can be an input beside it."
            problems.append(Problem(("jobvariables", i, "variableType"), message))
            continue
        try:
            is_relative = bool(variable.settings.get("relative"))
            found.append(dataclasses.replace(_chosen(variable), is_relative=is_relative))
        except BadSettings:
            continue
        except ValueError as error:
            problems.append(Problem(("jobvariables", i, _SETTINGS), str(error)))
    return found, problems


def _chosen(variable: Variable) -> Chosen:
    name = variable.name
    source = generator(variable.generator, variable.settings)
    if isinstance(source, Levels):
        if source.count > _MOST_LEVELS:
            raise ValueError(f"{name}: an optimizer takes at most {_MOST_LEVELS} levels")
        if source.is_numeric:
            return Chosen(name, Whole(name=name, lower=0, upper=source.count - 1), source)
        return Chosen(name, Choice(name=name, options=source.choices() or source.values))
    if (options := source.choices()) is not None:
        return Chosen(name, Choice(name=name, options=options))
    bounds = source.bounds()
    if bounds is None:
        raise ValueError(f"{name} needs a range to choose from, like Uniform has")
    if source.is_whole:
        return Chosen(name, Whole(name=name, lower=int(bounds[0]), upper=int(bounds[1])))
    log = variable.settings.get("log") in (True, "true", "True", 1)
    return Chosen(name, Real(name=name, lower=bounds[0], upper=bounds[1], log=log))


def check(study: Study) -> list[Problem]:
    """What is wrong with the optimisation that a definition asks for."""
    optimizer = study.optimizer
    found, problems = aims(study)
    if len(found.goals) > _MOST_GOALS:
        problems.append(
            Problem(("jobvariables",), f"A study has at most {_MOST_GOALS} objectives.")
        )
    if optimizer is None:
        return problems
    for text, given in (("paramFile", study.param_file), ("design", study.design)):
        if given:
            message = "An optimizer chooses its runs by itself; leave this out."
            problems.append(Problem((text,), message))
    if study.case_file:
        problems.append(Problem(("caseFile",), "Cases of an optimisation are not supported."))
    if study.draws:
        message = "Random draws in an optimisation are not supported."
        problems.append(Problem(("monteCarloIterations",), message))
    if optimizer.method == EXTERNAL:
        return problems
    variables, wrong = chosen(study)
    problems += wrong
    stop, wrong = rules(study)
    problems += wrong
    if problems:
        return problems
    if not found.goals:
        message = "An optimisation needs a variable of type Objective."
        return [Problem(("jobvariables",), message)]
    try:
        _asker(study, variables, found)
    except (ValueError, Refused) as error:
        problems.append(Problem(("optimizer", "method"), str(error)))
    if stop.reach is not None and len(found.goals) != 1:
        message = "target needs exactly one objective"
        problems.append(Problem(("optimizer", "settings", "target"), message))
    return problems


def rules(study: Study) -> tuple[StopRules, list[Problem]]:
    optimizer = study.optimizer
    assert optimizer is not None
    problems = [
        Problem(("optimizer", "settings", key), f"There is no setting {which}.")
        for key, which in _unknown(optimizer.settings, tuple(_RULES.values()))
    ]
    numbers: dict[str, float | None] = {}
    for field, key in _RULES.items():
        sent = optimizer.settings.get(key)
        numbers[field] = None if sent is None else value(key, str(sent)).number
        if sent is not None and (numbers[field] is None or isinstance(sent, bool)):
            problems.append(Problem(("optimizer", "settings", key), "A valid number is required."))
    patience = numbers["patience"]
    if patience is not None and (patience < 1 or patience != int(patience)):
        message = "Ensure this value is a whole number greater than or equal to 1."
        problems.append(Problem(("optimizer", "settings", _RULES["patience"]), message))
    for field in ("hours", "core_hours"):
        if (most := numbers[field]) is not None and most <= 0:
            message = "Ensure this value is greater than 0."
            problems.append(Problem(("optimizer", "settings", _RULES[field]), message))
    stop = StopRules(
        budget=optimizer.budget or None,
        patience=int(patience) if patience else None,
        reach=numbers["reach"],
        hours=numbers["hours"],
        core_hours=numbers["core_hours"],
    )
    return stop, problems


def _asker(study: Study, variables: Sequence[Chosen], found: Aims) -> Asker:
    assert study.optimizer is not None and study.seed is not None
    space = Space(tuple(one.dimension for one in variables))
    return optimise.asker(study.optimizer.method, space, found.goals, found.limits, study.seed)


# --- asking ---------------------------------------------------------------------------------------


def first_count(study: Study, slots: int) -> int:
    """How many runs an optimisation begins with."""
    assert study.optimizer is not None
    return min(slots, study.optimizer.budget)


def first(study: Study, slots: int) -> list[NewRun]:
    """The runs that an optimisation begins with. Takes a moment: call it in a thread."""
    packed = points(study, [], [], first_count(study, slots))
    return [
        NewRun(number=n, kind=Kind.ITERATION, inputs=inputs)
        for n, inputs in enumerate(packed, start=1)
    ]


def points(
    study: Study,
    history: Sequence[Trial],
    pending: Sequence[Mapping[str, object]],
    count: int,
) -> list[str]:
    """The values of the next runs, packed. history: in the order of completion; values in the
    optimizer's terms, see `values`. Takes a moment: call it in a thread.
    """
    variables, _ = chosen(study)
    found, _ = aims(study)
    asked = _asker(study, variables, found).ask(history, pending, count)
    return [pack_values(tuple(_row(variables, point))) for point in asked]


def _row(variables: Sequence[Chosen], point: Mapping[str, float | str]) -> Iterator[Value]:
    for one in variables:
        plain = value(one.name, one.text(point[one.name]))
        yield dataclasses.replace(plain, is_relative=one.is_relative)


def values(variables: Sequence[Chosen], inputs: Sequence[Value]) -> dict[str, object]:
    """The inputs of a run in the optimizer's terms; those that it does not know are left out."""
    texts = {each.name: each.text for each in inputs}
    told = ((one.name, one.told(texts[one.name])) for one in variables if one.name in texts)
    return {name: told for name, told in told if told is not None}
