"""Optimisation by ask and tell: which points to run next, from those that ran.

An asker keeps nothing between calls. What it answers follows from its space, goals, limits and
seed, from the history in the order of completion and from what is pending, so that after a crash
the same question has the same answer. A run that was stopped belongs into the history as a failed
one, or its point may be asked for again.
"""

import dataclasses
import importlib.util
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from simyard.domain.errors import Refused
from simyard.domain.records import dataclass
from simyard.numerics import gaussian, ranking
from simyard.numerics.gaussian import Acquisition, Array, Bounded, Failures, Process, needed
from simyard.numerics.ranking import Goal, Limit

METHODS = ("gp", "optuna")
Point = dict[str, float | str]

_MOST_DIMENSIONS = 50
_MOST_OPTIONS = 1000
_MOST_ENUMERATED = 4096  # a space with so few points is searched in full
_MOST_MODELLED = 64  # points of one ask that the model chooses; the rest fills the space
_MOST_BELIEVED = 250  # pending and failed points that the model is told of
_LARGEST = 1e150  # squares of larger numbers overflow: they count as none
_NEAR = 1e-3  # of a dimension's width: runs nearer than that tell the same


# --- the space ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Real:
    name: str
    lower: float
    upper: float
    log: bool = False  # search evenly in the logarithm

    def fault(self) -> str | None:
        if not -_LARGEST <= self.lower < self.upper <= _LARGEST:
            return "needs a lower limit below the upper one, both numbers within 1e150"
        if self.upper - self.lower < 1e-9 * max(abs(self.lower), abs(self.upper)):
            return f"has too little room between {self.lower!r} and {self.upper!r}"
        if self.log and self.lower <= 0:
            return f"needs a lower limit above 0 for a logarithmic scale, has {self.lower:g}"
        return None

    def to_unit(self, value: object) -> float | None:
        number = _number(value)
        if number is None or (self.log and number <= 0):
            return None
        at, low, high = (map(math.log, (number, self.lower, self.upper)) if self.log
                         else (number, self.lower, self.upper))  # fmt: skip
        unit = (at - low) / (high - low)
        return unit if -1 <= unit <= 2 else None  # far outside it says nothing about the inside

    def from_unit(self, unit: float) -> float:
        if self.log:
            low, high = math.log(self.lower), math.log(self.upper)
            value = math.exp(low + unit * (high - low))
        else:
            value = self.lower + unit * (self.upper - self.lower)
        return min(max(value, self.lower), self.upper)


@dataclass(frozen=True, kw_only=True)
class Whole:
    name: str
    lower: int
    upper: int

    def fault(self) -> str | None:
        if not (-(2**53) <= self.lower < self.upper <= 2**53):
            return "needs a lower limit below the upper one, both within 2^53"
        if self.lower != int(self.lower) or self.upper != int(self.upper):
            return f"needs whole limits, has {self.lower} and {self.upper}"
        return None

    @property
    def size(self) -> int:
        return int(self.upper) - int(self.lower) + 1

    def to_unit(self, value: object) -> float | None:
        number = _number(value)
        if number is None:
            return None
        unit = (number - self.lower + 0.5) / self.size
        return unit if -1 <= unit <= 2 else None

    def from_unit(self, unit: float) -> float:
        return float(int(self.lower) + _step(unit, self.size))


@dataclass(frozen=True, kw_only=True)
class Choice:
    name: str
    options: tuple[str, ...]

    def fault(self) -> str | None:
        if not 1 <= len(self.options) <= _MOST_OPTIONS:
            return f"needs 1 to {_MOST_OPTIONS} options, has {len(self.options)}"
        if len(set(self.options)) < len(self.options):
            return "has the same option twice"
        return None

    @property
    def size(self) -> int:
        return len(self.options)

    def to_unit(self, value: object) -> float | None:
        if value not in self.options:
            return None
        return (self.options.index(str(value)) + 0.5) / self.size

    def from_unit(self, unit: float) -> str:
        return self.options[_step(unit, self.size)]


Dimension = Real | Whole | Choice


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) <= _LARGEST else None


def _step(unit: float, size: int) -> int:
    return min(max(int(unit * size), 0), size - 1)


@dataclass(frozen=True)
class Space:
    """What an optimizer may choose. ValueError names every fault of it."""

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        names = [one.name for one in self.dimensions]
        faults = [f"{one.name}: {fault}" for one in self.dimensions if (fault := one.fault())]
        faults += [f"{name}: twice" for name in sorted({n for n in names if names.count(n) > 1})]
        if not 1 <= len(names) <= _MOST_DIMENSIONS:
            faults.append(f"needs 1 to {_MOST_DIMENSIONS} design variables, has {len(names)}")
        if faults:
            raise ValueError("; ".join(faults))

    def to_unit(self, values: Mapping[str, object]) -> list[float] | None:
        """Coordinates of 0 to 1 inside the space; None: it has no place in it or near it."""
        units = [one.to_unit(values.get(one.name)) for one in self.dimensions]
        found = [unit for unit in units if unit is not None]
        return found if len(found) == len(units) else None

    def from_unit(self, unit: Sequence[float]) -> Point:
        return {
            one.name: one.from_unit(float(u)) for one, u in zip(self.dimensions, unit, strict=True)
        }

    def snapped(self, units: Array) -> Array:
        """For each row of n x d coordinates those of the point that from_unit makes of it."""
        np = needed("numpy")
        found = np.clip(np.atleast_2d(units), 0.0, 1.0)
        for k, one in enumerate(self.dimensions):
            if not isinstance(one, Real):
                steps = np.minimum(np.floor(found[:, k] * one.size), one.size - 1)
                found[:, k] = (steps + 0.5) / one.size
        return found

    def nearness(self) -> list[float]:
        """Per dimension how near two points may be before they count as the same."""
        return [
            _NEAR if isinstance(one, Real) else min(_NEAR, 0.5 / one.size)
            for one in self.dimensions
        ]

    def left(self, taken: Sequence[Sequence[float]]) -> list[list[float]] | None:
        """Coordinates of all points but these; None where there are too many to go through."""
        sizes = [0 if isinstance(one, Real) else one.size for one in self.dimensions]
        if not 0 < math.prod(sizes) <= _MOST_ENUMERATED:
            return None
        steps = [[(step + 0.5) / size for step in range(size)] for size in sizes]
        gone = set(map(tuple, self.snapped(taken).tolist())) if taken else set()
        return [list(point) for point in itertools.product(*steps) if point not in gone]


# --- asking ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A run that is over."""

    values: Mapping[str, object]
    outputs: Mapping[str, float | None] | None  # None: it failed


class Asker(Protocol):
    def ask(
        self, history: Sequence[Trial], pending: Sequence[Mapping[str, object]], count: int
    ) -> list[Point]:
        """Up to `count` points to run next; fewer where the space has no new point left."""
        ...


def asker(
    method: str, space: Space, goals: Sequence[Goal], limits: Sequence[Limit], seed: int
) -> Asker:
    """An asker of METHODS. ValueError: the method cannot do it. Refused: packages are missing."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are: {', '.join(METHODS)}")
    faults = [] if goals else ["an optimisation needs an objective"]
    choices = [one.name for one in space.dimensions if isinstance(one, Choice)]
    if method == "gp" and len(goals) > 1:
        faults.append(f'method "gp" is for one objective, not {len(goals)}: use "optuna"')
    if method == "gp" and choices:
        faults.append(f'method "gp" is for numbers, not for {", ".join(choices)}: use "optuna"')
    if faults:
        raise ValueError("; ".join(faults))
    for package in ("numpy", "scipy") + (("optuna",) if method == "optuna" else ()):
        if importlib.util.find_spec(package) is None:
            what = "optuna" if package == "optuna" else "'simyard[studies]'"
            raise Refused(f'Method "{method}" needs the extra packages: pip install {what}')
    kind = _Gaussian if method == "gp" else _Optuna
    return kind(space=space, goals=tuple(goals), limits=tuple(limits), seed=seed)


def initial_count(space: Space) -> int:
    """Points that fill the space before a model is asked."""
    return max(2 * len(space.dimensions) + 1, 5)


def filling(space: Space, seed: int, start: int, count: int) -> list[list[float]]:
    """Coordinates of the points start, start + 1, ... of a scrambled Sobol sequence."""
    start %= 2**16
    qmc = needed("scipy.stats.qmc")
    sequence = qmc.Sobol(d=len(space.dimensions), scramble=True, rng=_generator(seed, 0))
    points = sequence.random_base2((start + count - 1).bit_length())[start : start + count]
    return list(space.snapped(points).tolist())


def _generator(seed: int, step: int) -> Array:
    return needed("numpy").random.default_rng([seed & (2**64 - 1), step])


def _fill(space: Space, seed: int, start: int, taken: list[list[float]]) -> list[float] | None:
    """The next point of the sequence that is not taken; None: there is none left."""
    for unit in filling(space, seed, start, 64):
        if _is_new(space, unit, taken):
            return unit
    left = space.left(taken)
    points = filling(space, seed, start + 64, 1024) if left is None else left
    _generator(seed, start).shuffle(points)
    return next((unit for unit in points if _is_new(space, unit, taken)), None)


def _is_new(space: Space, unit: Sequence[float], taken: Sequence[Sequence[float]]) -> bool:
    near = space.nearness()
    return not any(
        all(abs(a - b) < e for a, b, e in zip(unit, other, near, strict=True)) for other in taken
    )


@dataclass(frozen=True, kw_only=True)
class _Base:
    space: Space
    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...]
    seed: int

    def ask(
        self, history: Sequence[Trial], pending: Sequence[Mapping[str, object]], count: int
    ) -> list[Point]:
        placed = [(self.space.to_unit(trial.values), trial) for trial in history]
        known = [(unit, trial) for unit, trial in placed if unit is not None]
        waiting = [unit for unit in map(self.space.to_unit, pending) if unit is not None]
        taken = [unit for unit, _ in known] + waiting
        start = len(history) + len(pending)
        useful = sum(self._score(trial) is not None for _, trial in known)
        modelled = 0
        if start >= initial_count(self.space) and useful >= min(len(self.space.dimensions) + 1, 5):
            modelled = min(count, _MOST_MODELLED)
        found: list[list[float]] = []
        if modelled:
            found += itertools.islice(self._choose(known, waiting, start), modelled)
        while len(found) < count:
            new = _fill(self.space, self.seed, start + len(found), taken + found)
            if new is None:
                break
            found.append(new)
        return [self.space.from_unit(unit) for unit in found]

    def _score(self, trial: Trial) -> ranking.Score | None:
        found = ranking.score(self.goals, trial.outputs) if trial.outputs is not None else None
        return found if found and max(map(abs, found)) <= _LARGEST else None

    def _choose(
        self, known: list[tuple[list[float], Trial]], waiting: list[list[float]], start: int
    ) -> Iterator[list[float]]:
        """New points, each with those before it as pending, while there are any."""
        raise NotImplementedError


# --- own method -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Gaussian(_Base):
    """Expected improvement on a Gaussian process; pending points by the Kriging believer."""

    def _choose(
        self, known: list[tuple[list[float], Trial]], waiting: list[list[float]], start: int
    ) -> Iterator[list[float]]:
        np = needed("numpy")
        taken = [unit for unit, _ in known] + waiting
        scored = [(unit, trial, s) for unit, trial in known if (s := self._score(trial))]
        values = np.array([s[0] for _, _, s in scored])
        model = self._fitted(np.array([unit for unit, _, _ in scored]), _tamed(values))
        feasible = [
            unit
            for unit, trial, _ in scored
            if not self.limits or ranking.violation(self.limits, trial.outputs or {}) == 0
        ]
        best = float(model.mean(np.array(feasible)).min()) if feasible else None
        bounded: list[Bounded | Failures] = [*self._bounded(known)]
        failed = [unit for unit, trial in known if self._score(trial) is None]
        if failed:
            ran = np.array([unit for unit, _, _ in scored])
            bounded.append(Failures(failed=np.array(failed), ran=ran))
        model = model.believing(failed[-_MOST_BELIEVED:], -math.inf if best is None else best)
        model, best = _believed(model, best, waiting[-_MOST_BELIEVED:])
        kept = {tuple(unit) for unit in feasible}
        centres = sorted(scored, key=lambda one: (tuple(one[0]) not in kept, one[2]))[:3]
        while True:
            search = Acquisition(model=model, best=best, bounded=bounded)
            new = self._highest(search, [unit for unit, _, _ in centres], taken, start)
            if new is None:
                return
            yield new
            taken, start = [*taken, new], start + 1
            model, best = _believed(model, best, [new])

    def _fitted(self, x: Array, y: Array) -> Process:
        """Of too many points the best half and a random half of the rest count."""
        np = needed("numpy")
        half = gaussian.MOST_POINTS // 2
        if len(y) > 2 * half:
            order = np.argsort(y, kind="stable")
            rest = _generator(self.seed, len(y)).permutation(order[half:])[:half]
            part = np.sort(np.concatenate([order[:half], rest]))
            x, y = x[part], y[part]
        return gaussian.fit(x, y, seed=self.seed, starts=2)

    def _bounded(self, known: list[tuple[list[float], Trial]]) -> list[Bounded]:
        """Models of the limited outputs."""
        np = needed("numpy")
        found = []
        for limit in self.limits:
            rows = [
                (unit, value)
                for unit, trial in known
                if (value := _number((trial.outputs or {}).get(limit.name))) is not None
            ]
            if rows:
                values = np.array([value for _, value in rows])
                middle = np.quantile(values, (0.25, 0.75))
                room = 5 * (middle[1] - middle[0])
                if room > 0:  # outputs of runs that blew up would flatten all others
                    values = np.clip(values, middle[0] - room, middle[1] + room)
                model = self._fitted(np.array([unit for unit, _ in rows]), values)
                found.append(Bounded(model=model, lower=limit.lower, upper=limit.upper))
        return found

    def _highest(
        self,
        search: Acquisition,
        centres: list[list[float]],
        taken: list[list[float]],
        start: int,
    ) -> list[float] | None:
        """The new point with the highest acquisition: many are tried, the best are refined."""
        np = needed("numpy")
        left = self.space.left(taken)
        if left == []:
            return None
        pool = self._candidates(centres, start) if left is None else np.array(left)
        if search.expects_nothing(pool):
            search = dataclasses.replace(search, explores=True)
        values = search(pool)
        order = list(np.argsort(-values, kind="stable"))
        if left is None:
            near = [i for i in order if i >= len(pool) - 64 * len(centres)][:1]
            starts = order[:2] + [i for i in near if i not in order[:2]]
            refined = np.array([self._refined(search, pool[i]) for i in starts])
            pool, values = np.vstack([refined, pool]), np.append(search(refined), values)
            order = list(np.argsort(-values, kind="stable"))
        for i in order:
            unit = [float(u) for u in pool[i]]
            if _is_new(self.space, unit, taken):
                return unit
        return None

    def _candidates(self, centres: list[list[float]], start: int) -> Array:
        """Points all over the space, and then 64 about each of the centres."""
        np = needed("numpy")
        d, rng = len(self.space.dimensions), _generator(self.seed, start)
        sobol = needed("scipy.stats.qmc").Sobol(d=d, scramble=True, rng=rng)
        spread = np.repeat([0.1, 0.01], 32)[:, None]
        clouds = [np.array(c) + spread * rng.standard_normal((64, d)) for c in centres]
        return self.space.snapped(np.vstack([sobol.random_base2(10), *clouds]))

    def _refined(self, search: Acquisition, point: Array) -> Array:
        optimize = needed("scipy.optimize")

        def downhill(x: Array) -> tuple[float, Array]:
            value, slope = search.with_slope(x)
            return -value, -slope

        found = optimize.minimize(
            downhill,
            point,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * len(point),
            options={"maxiter": 20},
        )
        return self.space.snapped(found.x)[0]


def _believed(
    model: Process, best: float | None, points: list[list[float]]
) -> tuple[Process, float | None]:
    """The model with these points believed, and the best then."""
    if best is not None and points:
        best = min(best, float(model.mean(points).min()))
    return model.believing(points), best


def _tamed(values: Array) -> Array:
    """Scores that are to be small, the hopeless ones cut off: they would flatten the others."""
    np = needed("numpy")
    high, least = float(np.quantile(values, 0.75)), float(values.min())
    return np.minimum(values, high + 10 * (high - least)) if high > least else values


# --- Optuna ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Optuna(_Base):
    """Optuna's TPE, for several objectives and for choices: history is replayed for each ask."""

    def _choose(
        self, known: list[tuple[list[float], Trial]], waiting: list[list[float]], start: int
    ) -> Iterator[list[float]]:
        optuna = needed("optuna")
        said = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = self._study(known, waiting, start)
        finally:
            optuna.logging.set_verbosity(said)
        taken = [unit for unit, _ in known] + waiting
        while True:
            for _ in range(10):
                new = self.space.to_unit(study.ask(self._distributions()).params)
                if new is not None and _is_new(self.space, new, taken):
                    break
            else:
                return
            yield new
            taken = [*taken, new]

    def _distributions(self) -> dict[str, object]:
        kinds = needed("optuna.distributions")
        return {
            one.name: kinds.FloatDistribution(one.lower, one.upper, log=one.log)
            if isinstance(one, Real)
            else kinds.IntDistribution(int(one.lower), int(one.upper))
            if isinstance(one, Whole)
            else kinds.CategoricalDistribution(one.options)
            for one in self.space.dimensions
        }

    def _study(
        self, known: list[tuple[list[float], Trial]], waiting: list[list[float]], start: int
    ) -> Array:
        """A study in memory that has seen all this."""
        optuna = needed("optuna")
        seed = int(_generator(self.seed, start).integers(2**32))
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
        study = optuna.create_study(directions=["minimize"] * len(self.goals), sampler=sampler)
        states, distributions = optuna.trial.TrialState, self._distributions()
        scores = [found for _, trial in known if (found := self._score(trial))]
        worst = tuple(max(values) for values in zip(*scores, strict=True))
        for unit, trial in [*known, *((unit, None) for unit in waiting)]:
            fields: dict[str, object] = {"state": states.RUNNING}
            if trial is not None:
                score, broken = self._judged(trial)
                fields = {"values": score or worst, "constraints": broken}
            study.add_trial(
                optuna.trial.create_trial(
                    params=self._params(unit), distributions=distributions, **fields
                )
            )
        return study

    def _judged(self, trial: Trial) -> tuple[ranking.Score | None, dict[str, float]]:
        """Score and by how much each limit is broken.

        TPE would pass over failed trials and come back to where they were: to have failed is a
        limit that they break.
        """
        broken = {"ran": 0.0}
        for i, limit in enumerate(self.limits):
            over = ranking.violation([limit], trial.outputs or {})
            broken[f"{i} {limit.name}"] = over or 0.0
            if over is None:
                broken["ran"] = 1.0
        score = self._score(trial)
        return score, broken if score else broken | {"ran": 1.0}

    def _params(self, unit: list[float]) -> dict[str, object]:
        """As Optuna has them: inside the space, whole numbers as int."""
        return {
            name: int(value) if isinstance(one, Whole) else value
            for one, (name, value) in zip(
                self.space.dimensions, self.space.from_unit(unit).items(), strict=True
            )
        }


# --- when to stop ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StopRules:
    budget: int | None = None  # most runs that are asked for
    patience: int | None = None  # stop after so many finished runs without improvement
    reach: float | None = None  # stop when the objective (one only) is at least as good as this;
    # with direction "target": when it is so near to its target
    hours: float | None = None  # since the first run began
    core_hours: float | None = None  # of all runs together


@dataclass(frozen=True)
class Spent:
    """What a study has taken so far, its pending runs too."""

    runs: int
    hours: float = 0.0
    core_hours: float = 0.0


def stop_reason(
    rules: StopRules,
    goals: Sequence[Goal],
    limits: Sequence[Limit],
    history: Sequence[Trial],
    spent: Spent,
) -> str | None:
    """Why no more points are to be asked for, as a sentence; None: go on.

    Failed runs count as no improvement.
    """
    outputs = [trial.outputs for trial in history]
    if rules.reach is not None and len(goals) == 1:
        found = ranking.best(outputs, goals, limits)
        value = (outputs[found[0]] or {}).get(goals[0].name) if found else None
        if value is not None and _is_reached(goals[0], value, rules.reach):
            return f"{goals[0].name} reached {value:g}"
    if rules.budget is not None and spent.runs >= rules.budget:
        return f"the budget of {rules.budget} runs is used"
    if rules.hours is not None and spent.hours >= rules.hours:
        return f"it has taken its {rules.hours:g} hours"
    if rules.core_hours is not None and spent.core_hours >= rules.core_hours:
        return f"it has used its {rules.core_hours:g} core-hours"
    if rules.patience is not None and len(history) >= rules.patience > 0:
        better = ranking.improved(outputs, goals, limits)
        if not any(better[-rules.patience :]):
            return f"no improvement in the last {rules.patience} runs"
    return None


def _is_reached(goal: Goal, value: float, reach: float) -> bool:
    if goal.direction == "maximize":
        return value >= reach
    return (abs(value - goal.target) if goal.target is not None else value) <= reach
