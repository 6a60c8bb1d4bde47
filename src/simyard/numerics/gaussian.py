"""Gaussian process regression: a smooth model of what runs found, with its own uncertainty.

Kernel Matérn 5/2 with a length per input, a noise term, outputs standardised. Formulas: Rasmussen
and Williams, "Gaussian Processes for Machine Learning", chapters 2, 4.2 and 5.4. Everything is
deterministic: the same points and seed give the same model.
"""

import ctypes
import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from simyard.domain.errors import Refused
from simyard.domain.records import dataclass

Array = Any  # numpy.ndarray of float64; numpy need not be installed to import this module

MOST_POINTS = 500  # a model of more is slow and hardly better; a part of them is taken
_MOST_PREDICTED = 2000  # points at a time: bounds the memory
_LENGTHS = (0.02, 20.0)  # inputs are about one wide
_USUAL_LENGTH = 0.5
_NOISE = (1e-8, 1.0)  # variance of the noise to that of the signal
_LEAST_VARIANCE = 1e-8  # of the signal: equal outputs still leave a doubt away from the points


@cache
def needed(module: str) -> Any:
    """A module of the extra packages. Refused where it is not installed."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise Refused(
            f"This needs the extra packages: pip install 'simyard[studies]' ({error})"
        ) from error
    _one_thread(module.partition(".")[0])
    return found


@cache
def _one_thread(package: str) -> None:
    """The OpenBLAS in the wheels of numpy and scipy works on one thread from here on.

    Its threads wait by spinning: on matrices of this size, beside solvers that use all cores, they
    cost eight times what they gain. An environment variable would also reach the runs.
    """
    home = Path(importlib.import_module(package).__file__ or "").parents[1]
    for library in (home / f"{package}.libs").glob("*openblas*"):
        loaded = ctypes.CDLL(str(library))
        for name in ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads"):
            if hasattr(loaded, name):
                getattr(loaded, name)(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Process:
    """A fitted model. Its outputs are standardised: y x scale + centre is what was given."""

    x: Array  # n x d, about within [0, 1]
    y: Array  # n
    centre: float
    scale: float
    lengths: Array  # d
    noise: float  # variance of the noise to that of the signal
    variance: float  # of the signal
    given: int  # points that were given to fit; more than n: a part was taken
    factor: Array  # Cholesky factor (lower) of the correlation with noise
    weights: Array  # its inverse times y

    def mean(self, x: Array) -> Array:
        """Predictions at m x d points."""
        np = needed("numpy")
        x = np.atleast_2d(x)
        parts = [
            _matern(x[i : i + _MOST_PREDICTED] / self.lengths, self.x / self.lengths) @ self.weights
            for i in range(0, len(x), _MOST_PREDICTED)
        ]
        return self.centre + self.scale * np.concatenate([np.zeros(0), *parts])

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (without the noise) at m x d points."""
        np, linalg = needed("numpy"), needed("scipy.linalg")
        x = np.atleast_2d(x)
        means, sds = [np.zeros(0)], [np.zeros(0)]
        for i in range(0, len(x), _MOST_PREDICTED):
            cross = _matern(x[i : i + _MOST_PREDICTED] / self.lengths, self.x / self.lengths)
            means.append(cross @ self.weights)
            half = linalg.solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
            left = np.maximum(1.0 - np.einsum("ij,ij->j", half, half), 1e-14)
            sds.append(np.sqrt(self.variance * left))
        return self.centre + self.scale * np.concatenate(means), self.scale * np.concatenate(sds)

    def believing(self, x: Array, least: float = -math.inf) -> "Process":
        """The model as if runs at these points had found what it predicts (Kriging believer).

        What it predicts below `least` is believed to be `least`.
        """
        np = needed("numpy")
        if not len(x):
            return self
        x = np.atleast_2d(x)
        believed = (np.maximum(self.mean(x), least) - self.centre) / self.scale
        return _conditioned(self, np.vstack([self.x, x]), np.concatenate([self.y, believed]))

    def leave_one_out(self) -> tuple[Array, Array]:
        """Mean and standard deviation at each point from all the others, in closed form.

        The lengths and the noise are those of all points.
        """
        np = needed("numpy")
        inverse = _inverse(self.factor)
        diagonal = np.diag(inverse)
        mean = self.y - self.weights / diagonal
        sd = np.sqrt(self.variance / diagonal)
        return self.centre + self.scale * mean, self.scale * sd

    def r2(self) -> float | None:
        """Leave-one-out R2: 1 is perfect, 0 no better than the mean; None: cannot be said."""
        np = needed("numpy")
        spread = float(np.sum((self.y - self.y.mean()) ** 2))
        if len(self.y) < 3 or spread < 1e-20:
            return None
        mean, _ = self.leave_one_out()
        missed = (mean - self.centre) / self.scale - self.y
        return 1.0 - float(np.sum(missed**2)) / spread


def fit(x: Array, y: Array, *, seed: int = 0, starts: int = 3) -> Process:
    """The model of n x d inputs (about within [0, 1]) and n outputs, all finite, n >= 1.

    Of more than MOST_POINTS points a random part (by the seed) is taken; `given` says how many
    there were.

    ValueError: the shapes do not fit, or something is not finite.
    """
    np = needed("numpy")
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 2 or y.shape != (len(x),) or not x.size:
        raise ValueError(f"needs n x d inputs and n outputs, n >= 1; has {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("inputs and outputs must be finite numbers")
    given = len(y)
    rng = np.random.default_rng(seed & (2**64 - 1))
    if given > MOST_POINTS:
        part = np.sort(rng.choice(given, MOST_POINTS, replace=False))
        x, y = x[part], y[part]
    largest = float(np.abs(y).max()) or 1.0
    unit = y / largest  # squares of huge outputs would overflow
    centre, spread = float(unit.mean()), float(unit.std())
    scale = spread if spread > 1e-12 else 1.0
    standard = (unit - centre) / scale if spread > 1e-12 else np.zeros(len(y))
    blank = Process(
        x=x,
        y=standard,
        centre=centre * largest,
        scale=scale * largest,
        lengths=np.full(x.shape[1], _USUAL_LENGTH),
        noise=1e-6,
        variance=1.0,
        given=given,
        factor=np.eye(1),
        weights=np.zeros(1),
    )
    if len(y) >= 3 and spread > 1e-12:
        starts = starts if len(y) <= 150 else 1
        lengths, noise = _likeliest(x, standard, rng, starts)
        blank = replace(blank, lengths=lengths, noise=noise)
    fitted = _conditioned(blank, x, standard)
    variance = max(float(standard @ fitted.weights) / len(y), _LEAST_VARIANCE)
    return replace(fitted, variance=variance)


# --- what a point promises ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """A model of an output with limits."""

    model: Process
    lower: float | None
    upper: float | None

    def log_chance(self, x: Array) -> Array:
        """Log of the probability that the limits are kept."""
        np, special = needed("numpy"), needed("scipy.special")
        mean, sd = self.model.predict(x)
        low = -np.inf if self.lower is None else (self.lower - mean) / sd
        high = np.inf if self.upper is None else (self.upper - mean) / sd
        low, high = np.broadcast_arrays(low, high, np.empty(len(mean)))[:2]
        # In the lower tail, where logs of probabilities are exact.
        flip = low > 0
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        most, least = special.log_ndtr(high), special.log_ndtr(low)
        return most + np.log1p(-np.minimum(np.exp(least - most), 1 - 1e-12))


@dataclass(frozen=True, kw_only=True, eq=False)
class Failures:
    """Where runs failed: whatever the model promises, it is of no use there."""

    failed: Array  # n x d
    ran: Array  # m x d, m >= 1

    def log_chance(self, x: Array) -> Array:
        """Near 0 about runs that succeeded, lower where a failed one is nearer.

        Not far from a failed one it forbids, by a slope that leads out: once the good part is well
        known all that promises anything is where runs fail, and a small chance would do.
        """
        np = needed("numpy")
        from_ran = _squares(x, self.ran).min(axis=1)
        from_failed = np.maximum(_squares(x, self.failed).min(axis=1), 1e-12)
        ratio = from_ran / from_failed
        is_near = from_failed < 0.03 * x.shape[1]
        forbidden = np.where(is_near, np.clip(ratio - 1.0, 0.0, 1e3), 0.0)
        return -4.0 * np.log1p(ratio) - 1e3 * forbidden


_NOTHING = 25.0  # log of how much smaller than the outputs' scale an improvement is none
_DOUBT = 10.0


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Log of expected improvement times the probability of keeping the limits.

    explores: of what the model knows least, where the limits are likely to be kept. For when there
    is nothing left to expect: of two chances that are none, the larger says nothing.
    """

    model: Process
    best: float | None  # None: nothing is feasible yet, and only the limits count
    bounded: Sequence[Bounded | Failures]
    explores: bool = False

    def expects_nothing(self, x: Array) -> bool:
        """Whether nowhere among these is an improvement within the limits that is worth a run, in
        the scale of the outputs. Where runs failed before, one may be worth it all the same.
        """
        if self.best is None:
            return False
        limits = [one for one in self.bounded if isinstance(one, Bounded)]
        highest = float(replace(self, bounded=limits)(x).max())
        return highest < math.log(self.model.scale) - _NOTHING

    def __call__(self, x: Array) -> Array:
        np = needed("numpy")
        total = np.zeros(len(x))
        if self.explores:
            total += np.log(self.model.predict(x)[1])
            for one in self.bounded:
                total += _DOUBT * np.minimum(one.log_chance(x) - math.log(0.5), 0.0)
            return total
        if self.best is not None:
            mean, sd = self.model.predict(x)
            total += log_improvement((self.best - mean) / sd) + np.log(sd)
        for one in self.bounded:
            total += one.log_chance(x)
        return total

    def with_slope(self, x: Array) -> tuple[float, Array]:
        """At one point; the slope by central differences."""
        np = needed("numpy")
        steps = 1e-5 * np.eye(len(x))
        values = self(np.vstack([x[None, :], x + steps, x - steps]))
        return float(values[0]), (values[1 : len(x) + 1] - values[len(x) + 1 :]) / 2e-5


def log_improvement(z: Array) -> Array:
    """Log of phi(z) + z Phi(z), exact far into the lower tail."""
    np, special = needed("numpy"), needed("scipy.special")
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    high, low = np.maximum(z, -1.0), np.minimum(z, -1.0)
    above = np.log(np.exp(-0.5 * high**2) / math.sqrt(2 * math.pi) + high * special.ndtr(high))
    middle = np.maximum(low, -1e3)  # beyond it the next line is all rounding
    ratio = middle * math.sqrt(math.pi / 2) * special.erfcx(-middle / math.sqrt(2))
    below = np.where(low > -1e3, np.log1p(np.maximum(ratio, -1 + 1e-9)), -2 * np.log(-low))
    return np.where(z > -1.0, above, log_density + below)


# --- lengths and noise ----------------------------------------------------------------------------


def _likeliest(x: Array, y: Array, rng: Any, starts: int) -> tuple[Array, float]:
    """Lengths and noise of the greatest likelihood under wide priors, from a few starts."""
    np, optimize = needed("numpy"), needed("scipy.optimize")
    d = x.shape[1]
    usual = math.log(_USUAL_LENGTH)
    bounds = [tuple(map(math.log, _LENGTHS))] * d + [tuple(map(math.log, _NOISE))]
    firsts = [np.append(np.full(d, usual), math.log(1e-5))]
    if starts > 1:  # rough and noisy: the other basin that small data sets have
        firsts.append(np.append(np.full(d, usual - 1.5), math.log(1e-2)))
    while len(firsts) < starts:
        firsts.append(np.append(usual + rng.normal(0.0, 0.8, d), rng.uniform(-16.0, -4.0)))
    best_value, best = math.inf, firsts[0]
    for first in firsts:
        found = optimize.minimize(
            _unlikelihood,
            first,
            args=(x, y, usual),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 50, "ftol": 1e-6, "gtol": 1e-3},
        )
        if found.fun < best_value:
            best_value, best = float(found.fun), found.x
    return np.exp(best[:d]), math.exp(float(best[d]))


def _unlikelihood(theta: Array, x: Array, y: Array, usual: float) -> tuple[float, Array]:
    """Minus the log of likelihood times priors, and its slope, in logs of lengths and noise.

    The variance of the signal is the likeliest one (in closed form). Priors: each log length about
    the usual one with sd 1, log noise about log 1e-5 with sd 4.
    """
    np = needed("numpy")
    d, n = x.shape[1], len(y)
    noise = math.exp(float(theta[d]))
    scaled = x / np.exp(theta[:d])
    root = np.sqrt(5.0 * _squares(scaled, scaled))
    fall = np.exp(-root)
    correlation = (1.0 + root + root**2 / 3.0) * fall
    correlation[np.diag_indices(n)] = 1.0 + noise
    factor, wrong = needed("scipy.linalg.lapack").dpotrf(correlation, lower=1, clean=1)
    if wrong:
        return 1e25, np.zeros(d + 1)
    inverse = _inverse(factor)
    weights = inverse @ y
    variance = max(float(y @ weights) / n, _LEAST_VARIANCE)
    off = (theta - np.append(np.full(d, usual), math.log(1e-5))) / np.append(np.ones(d), 4.0)
    value = 0.5 * n * math.log(variance) + float(np.log(np.diag(factor)).sum())
    pull = inverse - np.outer(weights, weights) / variance
    # Sum over pairs of pull x slope of the kernel x squared difference, for each input.
    pairs = pull * (5.0 / 3.0) * (1.0 + root) * fall
    squared = pairs.sum(axis=1) @ scaled**2 - np.einsum("ik,ij,jk->k", scaled, pairs, scaled)
    slope = np.append(squared, 0.5 * noise * np.trace(pull))
    return value + 0.5 * float(off @ off), slope + off / np.append(np.ones(d), 4.0)


# --- linear algebra -------------------------------------------------------------------------------


def _conditioned(process: Process, x: Array, y: Array) -> Process:
    """The process with these points, its lengths, noise and variance kept.

    Where rounding spoils the factor (equal points, no noise) the noise is raised until it holds.
    """
    np, lapack = needed("numpy"), needed("scipy.linalg.lapack")
    scaled = x / process.lengths
    correlation = _matern(scaled, scaled)
    noise = process.noise
    while True:
        correlation[np.diag_indices(len(y))] = 1.0 + noise
        factor, wrong = lapack.dpotrf(correlation, lower=1, clean=1)
        if not wrong:
            break
        noise *= 10.0
    weights, _ = lapack.dpotrs(factor, y, lower=1)
    return replace(process, x=x, y=y, noise=noise, factor=factor, weights=weights)


def _inverse(factor: Array) -> Array:
    np = needed("numpy")
    lower, _ = needed("scipy.linalg.lapack").dpotri(factor, lower=1)
    lower = np.tril(lower)
    return lower + np.tril(lower, -1).T


def _squares(a: Array, b: Array) -> Array:
    """Squared distances of m x d and n x d points: m x n."""
    np = needed("numpy")
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.maximum(found, 0.0)


def _matern(a: Array, b: Array) -> Array:
    np = needed("numpy")
    root = np.sqrt(5.0 * _squares(a, b))
    return (1.0 + root + root**2 / 3.0) * np.exp(-root)
