"""What a study's runs say: figures to read and to draw, from columns of inputs and outputs.

A column has a value per run, None where the run has none. Answers are dicts fit for JSON: no NaN,
None for what cannot be said. Each has `n` (the runs it rests on), `method`, `quality` (the model's
leave-one-out R2, where there is a model) and `interval` (what its intervals are). ValueError says
what is missing, in words for the user.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from simyard.domain.records import dataclass
from simyard.numerics import gaussian, ranking
from simyard.numerics.gaussian import Array, Process, needed
from simyard.numerics.ranking import Goal, Limit, Outputs

Column = Sequence[float | None]
Columns = Mapping[str, Column]
Answer = dict[str, Any]

MOST_COLUMNS = 60  # pairs of them are what costs
_MOST_MODELLED = 20  # inputs of a model
_FEW = 6  # an input with so few values has levels, one with more is cut into bins
_LEAST_MODELLED = 8
_Z = 1.959963984540054  # 97.5 % of the standard normal distribution
_LARGEST = 1e300
_STEPS = 200  # points of a drawn curve, at most


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: Array) -> list[float | None]:
    return [_number(value) for value in values]


def _array(column: Sequence[object]) -> Array:
    """As floats; NaN for what is no finite number."""
    np = needed("numpy")
    found = [v if isinstance(v, int | float) and math.isfinite(v) else math.nan for v in column]
    return np.array(found, dtype=float)


def _has(column: Array) -> Array:
    return needed("numpy").isfinite(column)


def _enough(n: int, least: int) -> None:
    if n < least:
        raise ValueError(f"needs at least {least} finished runs, has {n}")


def _same_length(columns: Mapping[str, Sequence[object]]) -> None:
    if len({len(column) for column in columns.values()}) > 1:
        told = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise ValueError(f"columns have different lengths: {told}")
    if len(columns) > MOST_COLUMNS:
        raise ValueError(f"is for at most {MOST_COLUMNS} columns, not {len(columns)}: choose some")


# --- single columns -------------------------------------------------------------------------------


def statistics(columns: Columns) -> Answer:
    """Per column: n, missing, mean and its interval, sd (of a sample), min, max, percentiles."""
    found = {name: _statistics(column) for name, column in columns.items()}
    return {
        "n": max((one["n"] for one in found.values()), default=0),
        "columns": found,
        "method": "sample statistics; percentiles interpolate linearly",
        "quality": None,
        "interval": "95 % of the mean, Student's t",
    }


def _statistics(column: Column) -> Answer:
    np = needed("numpy")
    values = _array(column)
    values = values[_has(values)]
    n = len(values)
    found: Answer = {"n": n, "missing": len(column) - n}
    if not n:
        nothing = dict.fromkeys(("mean", "sd", "min", "max", "interval"))
        return found | nothing | {"percentiles": dict.fromkeys(("5", "25", "50", "75", "95"))}
    with np.errstate(all="ignore"):
        mean, sd, interval = _mean(values)
        percentiles = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    return found | {
        "mean": mean,
        "sd": sd,
        "min": float(values.min()),
        "max": float(values.max()),
        "interval": interval,
        "percentiles": dict(zip(("5", "25", "50", "75", "95"), _numbers(percentiles), strict=True)),
    }


def _mean(values: Array) -> tuple[float | None, float | None, list[float | None] | None]:
    """Mean, standard deviation of the sample and 95 % interval of the mean, of n >= 1 values."""
    np = needed("numpy")
    n, largest = len(values), float(np.abs(values).max()) or 1.0
    mean = float((values / largest).mean()) * largest  # the sum of huge ones would overflow
    if n < 2:
        return _number(mean), None, None
    sd = float((values / largest).std(ddof=1)) * largest
    half = float(needed("scipy.special").stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    return _number(mean), _number(sd), [_number(mean - half), _number(mean + half)]


def exceedance(column: Column, limit: float) -> Answer:
    """The probability that the output is above a limit."""
    values = _array(column)
    values = values[_has(values)]
    _enough(len(values), 1)
    exceeded = int((values > limit).sum())
    return {
        "n": len(values),
        "missing": len(column) - len(values),
        "exceeded": exceeded,
        "probability": exceeded / len(values),
        "probability_interval": list(wilson(exceeded, len(values))),
        "method": "share of the runs",
        "quality": None,
        "interval": "95 %, Wilson",
    }


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % score interval of a probability (E. B. Wilson, 1927); n >= 1."""
    share, z2 = hits / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if hits == 0 else max(middle - half, 0.0)
    return low, 1.0 if hits == n else min(middle + half, 1.0)


def histogram(column: Column, bins: int | None = None) -> Answer:
    """Counts between edges; as many bins as the values deserve unless it is said (at most 200)."""
    np = needed("numpy")
    values = _array(column)
    values = values[_has(values)]
    _enough(len(values), 1)
    if bins is None:
        bins = math.ceil(2 * len(values) ** (1 / 3))
    bins = min(max(bins, 1), _STEPS)
    low, high = float(values.min()), float(values.max())
    middle = low / 2 + high / 2
    if not high - low > 1e-12 * abs(middle):
        room = 0.5 * abs(middle) or 0.5
        low, high, bins = middle - room, middle + room, 1
    edges = low * (1 - np.arange(bins + 1) / bins) + high * (np.arange(bins + 1) / bins)
    at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    return {
        "n": len(values),
        "missing": len(column) - len(values),
        "edges": _numbers(edges),
        "counts": [int(c) for c in np.bincount(at, minlength=bins)],
        "method": "bins of equal width",
        "quality": None,
        "interval": None,
    }


def cdf(column: Column, most: int = _STEPS) -> Answer:
    """The share of runs that are at or below x; at most `most` points."""
    np = needed("numpy")
    values = _array(column)
    values = np.sort(values[_has(values)])
    _enough(len(values), 1)
    n = len(values)
    part = np.unique(np.linspace(0, n - 1, min(n, max(most, 2))).round().astype(int))
    return {
        "n": n,
        "missing": len(column) - n,
        "x": _numbers(values[part]),
        "share": [int(s) / n for s in np.searchsorted(values, values[part], side="right")],
        "method": "empirical distribution",
        "quality": None,
        "interval": None,
    }


# --- pairs ----------------------------------------------------------------------------------------


def correlation(columns: Columns) -> Answer:
    """Spearman's and Pearson's coefficients of all pairs, each from the runs that have both."""
    np = needed("numpy")
    _same_length(columns)
    arrays = [_array(column) for column in columns.values()]
    _enough(max((int(_has(a).sum()) for a in arrays), default=0), 3)
    size = len(arrays)
    pearson: list[list[float | None]] = [[None] * size for _ in arrays]
    spearman: list[list[float | None]] = [[None] * size for _ in arrays]
    counts = [[0] * size for _ in arrays]
    for i in range(size):
        for j in range(i + 1):
            both = _has(arrays[i]) & _has(arrays[j])
            a, b = arrays[i][both], arrays[j][both]
            counts[i][j] = counts[j][i] = int(both.sum())
            pearson[i][j] = pearson[j][i] = _correlated(a, b)
            spearman[i][j] = spearman[j][i] = _correlated(_ranks(a), _ranks(b))
    return {
        "names": list(columns),
        "n": int(np.max(counts)),
        "counts": counts,
        "pearson": pearson,
        "spearman": spearman,
        "method": "pairs of runs that have both values",
        "quality": None,
        "interval": None,
    }


def _correlated(a: Array, b: Array) -> float | None:
    np = needed("numpy")
    if len(a) < 3 or a.min() == a.max() or b.min() == b.max():
        return None
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return min(max(float(a @ b) / size, -1.0), 1.0) if size > 1e-300 else None


def _ranks(values: Array) -> Array:
    """Equal values share the mean of their ranks."""
    np = needed("numpy")
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[which]


def effects(inputs: Mapping[str, Sequence[float | str | None]], output: Column) -> Answer:
    """Main effects: the mean of the output at each level of each input.

    An input of texts, or of at most 6 numbers, has levels; others are cut into bins of about as
    many runs each, 3 or, from 50 runs on, 5. `effect` is the mean at the highest level less that
    at the lowest (None for texts), `range` the largest mean less the smallest.
    """
    np = needed("numpy")
    _same_length({**inputs, "the output": output})
    values = _array(output)
    _enough(int(_has(values).sum()), 4)
    found = []
    for name, column in inputs.items():
        texts = any(isinstance(value, str) for value in column)
        groups = _groups(column, _has(values), texts=texts)
        levels = []
        for label, members in groups:
            mean, _, interval = _mean(values[members])
            levels.append({**label, "n": len(members), "mean": mean, "interval": interval})
        means = [level["mean"] for level in levels if level["mean"] is not None]
        compared = len(means) > 1
        found.append(
            {
                "input": name,
                "levels": levels,
                "effect": _number(means[-1] - means[0]) if compared and not texts else None,
                "range": _number(max(means) - min(means)) if compared else None,
            }
        )
    return {
        "n": int(np.sum(_has(values))),
        "inputs": found,
        "method": "main effects: means at the levels of one input, over all of the others",
        "quality": None,
        "interval": "95 % of the mean, Student's t",
    }


def _groups(
    column: Sequence[float | str | None], usable: Array, *, texts: bool
) -> list[tuple[Answer, list[int]]]:
    """Labels and run indexes of the levels or bins of an input."""
    np = needed("numpy")
    members: dict[Any, list[int]] = {}
    for i, value in enumerate(column):
        if usable[i] and value is not None and (texts or math.isfinite(float(value))):
            members.setdefault(str(value) if texts else float(value), []).append(i)
    levels = sorted(members)  # all are texts or all are numbers
    if texts:  # the commonest
        levels = sorted(levels, key=lambda level: -len(members[level]))[:MOST_COLUMNS]
    if texts or len(levels) <= _FEW:
        return [({"level": level}, members[level]) for level in levels]
    rows = [(float(level), i) for level in levels for i in members[level]]
    bins = 5 if len(rows) >= 50 else 3
    with np.errstate(over="ignore"):
        cuts = np.quantile([x for x, _ in rows], np.arange(1, bins) / bins)
    which = np.searchsorted(cuts, [x for x, _ in rows], side="right")
    found = []
    for k in range(bins):
        part = [row for row, at in zip(rows, which, strict=True) if at == k]
        if part:
            label = {"from": part[0][0], "to": part[-1][0]}
            found.append((label, [i for _, i in part]))
    return found


# --- with a model ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Model:
    """A Gaussian process over the range of the data."""

    names: list[str]  # of the inputs that vary
    constant: list[str]  # inputs that do not: left out
    lower: Array
    upper: Array
    process: Process
    middle: Array  # medians of the inputs that vary
    about: Answer  # what every answer from a model says

    def to_unit(self, x: Array) -> Array:
        return (x - self.lower) / (self.upper - self.lower)


def _modelled(inputs: Columns, output: Column, seed: int) -> _Model:
    np = needed("numpy")
    _same_length({**inputs, "the output": output})
    columns = {name: _array(column) for name, column in inputs.items()}
    without = [name for name, column in columns.items() if not _has(column).any()]
    if without and len(output):
        raise ValueError(f"{', '.join(without)}: has no numbers to model")
    y = _array(output)
    whole = _has(y)
    for column in columns.values():
        whole &= _has(column)
    varying = [n for n, c in columns.items() if whole.any() and np.ptp(c[whole] / 2) > 0]
    _enough(int(whole.sum()), max(_LEAST_MODELLED, len(varying) + 2))
    if not 1 <= len(varying) <= _MOST_MODELLED:
        raise ValueError(f"needs 1 to {_MOST_MODELLED} inputs that vary, has {len(varying)}")
    x = np.column_stack([columns[name][whole] for name in varying])
    lower, upper = x.min(axis=0), x.max(axis=0)
    if np.abs(x).max() > _LARGEST:
        raise ValueError(f"an input has values beyond {_LARGEST:g}: too large to model")
    process = gaussian.fit((x - lower) / (upper - lower), y[whole], seed=seed)
    quality = process.r2()
    return _Model(
        names=varying,
        constant=[name for name in columns if name not in varying],
        lower=lower,
        upper=upper,
        process=process,
        middle=np.median(x, axis=0),
        about={
            "n": int(whole.sum()),
            "modelled": len(process.y),
            "constant": [name for name in columns if name not in varying],
            "quality": None if quality is None else _number(quality),
        },
    )


def sensitivity(inputs: Columns, output: Column, *, seed: int = 0) -> Answer:
    """First and total Sobol indices of the inputs, computed on a model of the runs.

    Inputs count as independent and uniform over the range of the data. The estimators are those of
    Saltelli et al. 2010 (first, table 2 b) and Jansen 1999 (total). The intervals are of the
    sampling alone: how good the model is, `quality` tells.
    """
    np = needed("numpy")
    model = _modelled(inputs, output, seed)
    d = len(model.names)
    power = 12 if d <= 6 else 10
    sobol = needed("scipy.stats.qmc").Sobol(
        d=2 * d, scramble=True, rng=np.random.default_rng(seed & (2**64 - 1))
    )
    both = sobol.random_base2(power)
    a, b = both[:, :d], both[:, d:]
    centre, scale = model.process.centre, model.process.scale
    at_a = (model.process.mean(a) - centre) / scale
    at_b = (model.process.mean(b) - centre) / scale
    rng = np.random.default_rng([seed & (2**64 - 1), 1])
    draws = rng.integers(0, len(a), (200, len(a)))
    found = []
    for k, name in enumerate(model.names):
        mixed = a.copy()
        mixed[:, k] = b[:, k]
        at_mixed = (model.process.mean(mixed) - centre) / scale
        first, total = _indices(at_a, at_b, at_mixed)
        samples = np.array([_indices(at_a[i], at_b[i], at_mixed[i]) for i in draws])
        ends = np.quantile(samples, (0.025, 0.975), axis=0)
        found.append(
            {
                "input": name,
                "first": _number(first),
                "first_interval": _numbers(ends[:, 0]),
                "total": _number(total),
                "total_interval": _numbers(ends[:, 1]),
            }
        )
    return model.about | {
        "inputs": found,
        "samples": len(a),
        "method": "Sobol indices on a Gaussian process, inputs uniform over the range of the data",
        "interval": "95 %, bootstrap of the sampling; the error of the model is not in it",
    }


def _indices(at_a: Array, at_b: Array, at_mixed: Array) -> tuple[float, float]:
    np = needed("numpy")
    variance = float(np.var(np.concatenate([at_a, at_b])))
    if variance < 1e-20:  # a constant output depends on nothing
        return math.nan, math.nan
    first = float(np.mean(at_b * (at_mixed - at_a))) / variance
    return first, float(np.mean((at_a - at_mixed) ** 2)) / (2 * variance)


def slices(
    inputs: Columns,
    output: Column,
    *,
    at: Mapping[str, float] | None = None,
    points: int = 41,
    seed: int = 0,
) -> Answer:
    """The model's mean and 95 % band along each input, the others held at a point.

    `at` gives coordinates of the point, inside the range of the data; the others are at the median.
    """
    np = needed("numpy")
    model = _modelled(inputs, output, seed)
    where = dict(zip(model.names, map(float, model.middle), strict=True))
    faults = []
    for name, value in (at or {}).items():
        if name in model.constant:
            continue
        if name not in where:
            faults.append(f"{name}: there is no such input")
            continue
        k = model.names.index(name)
        if not model.lower[k] <= value <= model.upper[k]:
            faults.append(
                f"{name}: {value:g} is outside the data ({model.lower[k]:g} to {model.upper[k]:g})"
            )
        where[name] = float(value)
    if faults:
        raise ValueError("; ".join(faults))
    point = np.array([where[name] for name in model.names])
    count = min(max(points, 2), _STEPS)
    found = []
    for k, name in enumerate(model.names):
        line = np.repeat(point[None, :], count, axis=0)
        line[:, k] = np.linspace(model.lower[k], model.upper[k], count)
        mean, sd = model.process.predict(model.to_unit(line))
        found.append(
            {
                "input": name,
                "x": _numbers(line[:, k]),
                "mean": _numbers(mean),
                "lower": _numbers(mean - _Z * sd),
                "upper": _numbers(mean + _Z * sd),
            }
        )
    mean, sd = model.process.predict(model.to_unit(point[None, :]))
    return model.about | {
        "at": where,
        "mean": _number(mean[0]),
        "mean_interval": [_number(mean[0] - _Z * sd[0]), _number(mean[0] + _Z * sd[0])],
        "slices": found,
        "method": "Gaussian process, Matérn 5/2",
        "interval": "95 % of the model's mean",
    }


# --- the best runs --------------------------------------------------------------------------------


def _rows(columns: Columns, goals: Sequence[Goal], limits: Sequence[Limit]) -> list[Outputs]:
    names = list(dict.fromkeys([g.name for g in goals] + [limit.name for limit in limits]))
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"{', '.join(missing)}: there is no such output")
    if not goals:
        raise ValueError("needs an objective")
    chosen = {name: columns[name] for name in names}
    _same_length(chosen)
    return [dict(zip(names, row, strict=True)) for row in zip(*chosen.values(), strict=True)]


def pareto(columns: Columns, goals: Sequence[Goal], limits: Sequence[Limit] = ()) -> Answer:
    """Indexes of the optimal runs; of two goals the hypervolume up to the worst feasible values."""
    rows = _rows(columns, goals, limits)
    scores = list(ranking.feasible_scores(rows, goals, limits).values())
    size = None
    if len(goals) == 2 and scores:
        size = _number(ranking.hypervolume(scores, _worst(scores)))
    return {
        "n": len(scores),
        "infeasible": len(rows) - len(scores),  # or without the outputs it takes
        "objectives": [goal.name for goal in goals],
        "front": ranking.best(rows, goals, limits),
        "hypervolume": size,
        "method": "feasible runs that no feasible run dominates",
        "quality": None,
        "interval": None,
    }


def _worst(scores: Sequence[ranking.Score]) -> ranking.Score:
    return tuple(max(values) for values in zip(*scores, strict=True))


def convergence(columns: Columns, goals: Sequence[Goal], limits: Sequence[Limit] = ()) -> Answer:
    """How the best came about, by runs in the order of the columns (that of completion).

    One goal: `best` so far after each run (None while nothing is feasible). Two: `hypervolume`
    at up to 200 of the runs, up to the worst feasible values of all. `improved`: runs that were
    better than all before.
    """
    rows = _rows(columns, goals, limits)
    feasible = ranking.feasible_scores(rows, goals, limits)
    better = ranking.improved(rows, goals, limits)
    found: Answer = {
        "n": len(feasible),
        "runs": len(rows),
        "improved": [i for i, is_better in enumerate(better) if is_better],
        "method": "best feasible so far",
        "quality": None,
        "interval": None,
    }
    if len(goals) == 1:
        now: float | None = None
        found["best"] = so_far = []
        for i, row in enumerate(rows):
            if better[i] and i in feasible:
                now = row[goals[0].name]
            so_far.append(now)
    elif len(goals) == 2 and feasible:
        step = -(-len(rows) // _STEPS)
        at = [*range(step - 1, len(rows) - 1, step), len(rows) - 1]
        worst = _worst(list(feasible.values()))
        found["at"] = at
        found["hypervolume"] = [
            _number(ranking.hypervolume([s for k, s in feasible.items() if k <= i], worst))
            for i in at
        ]
    return found
