"""Whether a run converges, and how long it still takes: told from its residuals.

Each residual is looked at over its recent half (20 to 200 steps), as log10 of its values. The slope
is the median of those of all pairs of points (Theil and Sen's), which a few spikes do not move;
how sure it is, the share of pairs that go the same way. What is left when the slope is taken out
tells whether it swings.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from itertools import pairwise
from statistics import median

from simyard.domain.records import dataclass

RECENT = 400  # points of a curve that are enough
_LEAST = 12  # points
_LEAST_STILL = 30  # before something is called stalled or oscillating
_WINDOW = (20, 200)
_PAIRS_OF = 41  # points whose pairs are looked at
_ZERO = 1e-16  # what is below it is rounding
_SMALL = 1e-6  # where no target is known, nobody waits for less
_FALLS = 0.1  # decades over the window
_RISES = 1.0
_SWINGS = 0.3  # decades from the 10th to the 90th percentile
_TURNS = 4
_SURE = 0.7  # share of pairs


class State(StrEnum):
    CONVERGING = "converging"
    STALLED = "stalled"
    OSCILLATING = "oscillating"
    DIVERGING = "diverging"
    CONVERGED = "converged"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Curve:
    """The last points of a residual, at most RECENT."""

    key: str
    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is known of a run beside its residuals."""

    step: str = "iteration"  # what it counts
    targets: Mapping[str, float] = field(default_factory=dict)  # by name, see `target_of`
    said: str = ""  # the line in which it says that it has converged
    last_x: float | None = None  # where it ends at the latest
    seconds_a_step: tuple[float, float] | None = None  # least and most
    is_over: bool = False
    is_in_time: bool = False  # through time or loads: residuals start again at each step


@dataclass(frozen=True)
class Eta:
    """Time left."""

    seconds: float
    low: float
    high: float | None  # None: no end can be told


@dataclass(frozen=True)
class Evidence:
    """The curve that decides, and what was found in it."""

    key: str
    slope: float  # decades in 100 steps; below 0 it falls
    window: int  # steps that were looked at
    level: float | None  # where it is by the fit; None: it is no number
    target: float | None
    rule: str


@dataclass(frozen=True)
class Convergence:
    state: State
    sentence: str
    evidence: Evidence | None = None
    eta: Eta | None = None
    since: float | None = None  # the x from which on this holds
    progress: float | None = None  # share of the way to its last step, see `way_done`


@dataclass(frozen=True)
class _Fit:
    curve: Curve
    window: int
    slope: float  # decades a step
    steep: float  # quartiles of the slopes
    flat: float
    level: float  # log10 at the end
    swing: float
    turns: int
    falling: float  # share of pairs
    rising: float
    target: float | None

    @property
    def change(self) -> float:
        return self.slope * (self.window - 1)

    @property
    def middle(self) -> float:
        """log10 in the middle of the window."""
        return self.level - self.change / 2

    @property
    def is_done(self) -> bool:
        return self.level <= math.log10(_SMALL if self.target is None else self.target)

    @property
    def state(self) -> State:
        if self.change >= _RISES and self.rising >= _SURE:
            return State.DIVERGING
        if self.change <= -_FALLS and self.falling >= _SURE:
            return State.CONVERGING
        if self.window < _LEAST_STILL:
            return State.UNKNOWN
        if self.swing >= _SWINGS and self.turns >= _TURNS:
            return State.OSCILLATING
        return State.STALLED

    def steps_left(self, slope: float) -> float:
        """To the target, at this slope."""
        if self.target is None or slope >= 0:
            return math.inf
        return max(0.0, (self.level - math.log10(self.target)) / -slope)

    def evidence(self, rule: str) -> Evidence:
        level = 10.0**self.level
        return Evidence(self.curve.key, self.slope * 100, self.window, level, self.target, rule)


def judge(curves: Sequence[Curve], course: Course, others: Sequence[Curve] = ()) -> Convergence:
    """What can be told of a run. Never raises, whatever the curves hold.

    others: curves that are no residuals, and must be numbers.
    """
    curves = [curve for curve in curves if curve.y]
    if not curves:
        return _unknown("no residuals are known of it", course, None)
    broken = next((found for curve in (*curves, *others) if (found := _broken(curve))), None)
    if broken:
        return broken
    if course.said:
        return Convergence(State.CONVERGED, f"The log says so: {course.said}")
    longest = max(curves, key=lambda curve: len(curve.x))
    if course.is_in_time:
        words = "it goes through time or loads, and its residuals start anew at each step"
        return _unknown(words, course, longest)
    fits = [fit for curve in curves if (fit := _fit(curve, course.targets)) is not None]
    if not fits:
        words = f"there are {len(longest.y)} steps yet, and {_LEAST} are needed"
        return _unknown(words, course, longest)
    return _told(fits, course, longest)


def _told(fits: Sequence[_Fit], course: Course, longest: Curve) -> Convergence:
    diverging = [fit for fit in fits if fit.state is State.DIVERGING and not fit.is_done]
    aimed = [fit for fit in fits if fit.target is not None]
    waited = [fit for fit in (aimed or fits) if not fit.is_done]
    if diverging:
        worst = max(diverging, key=lambda fit: fit.change)
        return _decided(worst, State.DIVERGING, course, longest)
    if not waited:
        last = max(aimed or fits, key=lambda fit: fit.level - math.log10(fit.target or _SMALL))
        return _decided(last, State.CONVERGED, course, longest)
    for state in (State.OSCILLATING, State.STALLED, State.CONVERGING, State.UNKNOWN):
        found = [fit for fit in waited if fit.state is state]
        if found:
            slowest = max(found, key=lambda fit: (fit.steps_left(fit.slope), fit.slope))
            return _decided(slowest, state, course, longest)
    raise AssertionError("a fit has one of these states")


def _decided(fit: _Fit, state: State, course: Course, longest: Curve) -> Convergence:
    sentence, rule = _words(fit, state, course)
    eta = None if state in (State.CONVERGED, State.DIVERGING) else _eta(fit, state, course, longest)
    if eta is not None:
        is_aimed = state is State.CONVERGING and fit.target is not None
        sentence += f"{', ' if is_aimed else '; it ends in about '}{_duration(eta.seconds)}"
    since = fit.curve.x[-fit.window]
    return Convergence(state, f"{sentence}.", fit.evidence(rule), eta, since)


def _words(fit: _Fit, state: State, course: Course) -> tuple[str, str]:
    """The sentence, and the rule behind it."""
    label, step, level = fit.curve.label, course.step, f"{10.0**fit.level:.2g}"
    match state:
        case State.CONVERGING:
            text = f"{label} falls {-fit.slope * 100:.2f} decades per 100 {step}s"
            rule = f"it falls by {_FALLS} decades or more in the last {fit.window} {step}s"
            steps = fit.steps_left(fit.slope)
            if fit.target is None:
                return f"{text}; it is at {level}, and no target is known", rule
            last, dx = fit.curve.x[-1], _dx(fit.curve)
            x = last + steps * dx
            if course.last_x is not None and x > course.last_x:
                end = f"at the end, {step} {course.last_x:g}, it will not be at {fit.target:.2g}"
                return f"{text}; {end}", rule
            is_counted = last % 1 == dx % 1 == 0
            at = f"{math.ceil(x)}" if is_counted else f"{x:.4g}"
            return f"{text}; {fit.target:.2g} at about {step} {at}", rule
        case State.DIVERGING:
            text = f"{label} rose by {fit.change:.1f} decades in the last {fit.window} {step}s"
            return f"{text}, to {level}", f"it rises by {_RISES:g} decade or more"
        case State.OSCILLATING:
            text = f"{label} swings by {fit.swing:.1f} decades around {10.0**fit.middle:.2g}"
            rule = f"no fall of {_FALLS} decades, swings of {_SWINGS} and {_TURNS} turns or more"
            return f"{text}, {fit.turns} turns in the last {fit.window} {step}s", rule
        case State.STALLED:
            text = f"{label} has stayed at {10.0**fit.middle:.2g} for {fit.window} {step}s"
            aim = f"; its target is {fit.target:.2g}" if fit.target is not None else ""
            return f"{text}{aim}", f"it falls by less than {_FALLS} decades in them"
        case State.CONVERGED:
            if fit.target is not None:
                text = f"All residuals with a target are below it: {label} is at {level}"
                return f"{text}, its target is {fit.target:.2g}", "each is below its target"
            text = f"All residuals are below {_SMALL:g}: {label} is at {level}"
            return text, f"no target is known, and each is below {_SMALL:g}"
        case State.UNKNOWN:
            text = f"Not known yet: {label} neither falls nor is there enough of it"
            return text, f"{_LEAST_STILL} {step}s are needed to call it still"


def _unknown(why: str, course: Course, curve: Curve | None) -> Convergence:
    eta = None
    text = f"Not known: {why}"
    if curve is not None:
        eta = _eta(None, State.UNKNOWN, course, curve)
        if course.last_x is not None and not course.is_over:
            text += f"; it is at {curve.x[-1]:g} of {course.last_x:g}"
            if eta is not None:
                text += f", {_duration(eta.seconds)} left"
    return Convergence(State.UNKNOWN, f"{text}.", None, eta)


def _broken(curve: Curve) -> Convergence | None:
    """Where its last values are no numbers."""
    last = list(zip(curve.x, curve.y, strict=True))[-3:]
    bad = [(x, y) for x, y in last if not math.isfinite(y)]
    if not bad:
        return None
    i = len(curve.y)
    while i > 0 and not math.isfinite(curve.y[i - 1]):
        i -= 1
    x = curve.x[i] if i < len(curve.x) else bad[0][0]
    word = "NaN" if math.isnan(bad[0][1]) else "infinite"
    evidence = Evidence(curve.key, 0.0, len(last), None, None, "a residual is no number")
    sentence = f"{curve.label} is {word} since {x:g}."
    return Convergence(State.DIVERGING, sentence, evidence, None, x)


# --- the fit --------------------------------------------------------------------------------------


def _fit(curve: Curve, targets: Mapping[str, float]) -> _Fit | None:
    """Of the recent half of a curve; None where there is too little of it."""
    least, most = _WINDOW
    count = min(len(curve.y), max(least, min(most, len(curve.y) // 2)))
    logs = [math.log10(max(abs(y), _ZERO)) for y in curve.y[-count:] if math.isfinite(y)]
    n = len(logs)
    if n < _LEAST:
        return None
    chosen = sorted({round(k * (n - 1) / (_PAIRS_OF - 1)) for k in range(_PAIRS_OF)})
    slopes = sorted(
        (logs[j] - logs[i]) / (j - i) for a, i in enumerate(chosen) for j in chosen[a + 1 :]
    )
    slope = median(slopes)
    middle = median(y - slope * i for i, y in enumerate(logs))
    rest = [y - middle - slope * i for i, y in enumerate(logs)]
    ordered = sorted(rest)
    swing = ordered[int(0.9 * (n - 1))] - ordered[int(0.1 * (n - 1))]
    beyond = [y > 0 for y in rest if abs(y) > swing / 4]  # crossings of noise are none
    return _Fit(
        curve=curve,
        window=n,
        slope=slope,
        steep=slopes[len(slopes) // 4],
        flat=slopes[3 * len(slopes) // 4],
        level=middle + slope * (n - 1),
        swing=swing,
        turns=sum(a != b for a, b in pairwise(beyond)),
        falling=sum(s < 0 for s in slopes) / len(slopes),
        rising=sum(s > 0 for s in slopes) / len(slopes),
        target=target_of(curve.label, targets),
    )


def target_of(label: str, targets: Mapping[str, float]) -> float | None:
    """What a residual is to fall below. A name in quotes is a pattern; that of a vector is that of
    its components.
    """
    for name, target in targets.items():
        if not (math.isfinite(target) and target > 0):
            continue
        if name.startswith('"'):
            try:
                if re.fullmatch(name.strip('"'), label):
                    return target
            except re.error:
                continue
        elif label in (name, f"{name}x", f"{name}y", f"{name}z"):
            return target
    return None


# --- time -----------------------------------------------------------------------------------------


def way_done(begun: float, at: float, end: float) -> float | None:
    """Share of the way to the last x, from 0 or from where it began below that: of a run that goes
    on from a checkpoint, what was done before is part of it. None where there is no such way.
    """
    start = min(0.0, begun)
    if not (math.isfinite(start) and math.isfinite(at) and math.isfinite(end) and end > start):
        return None
    return round(max(0.0, min(1.0, (at - start) / (end - start))), 3)


def _dx(curve: Curve) -> float:
    """What x grows by in a step."""
    steps = [b - a for a, b in pairwise(curve.x[-_WINDOW[0] :]) if b > a]
    return median(steps) if steps else 1.0


def _eta(fit: _Fit | None, state: State, course: Course, longest: Curve) -> Eta | None:
    """To the target where it goes there, to the end otherwise; whichever is earlier."""
    if course.is_over or course.seconds_a_step is None:
        return None
    end = math.inf
    if course.last_x is not None:
        end = max(0.0, (course.last_x - longest.x[-1]) / _dx(longest))
    steps = [end, end, end]
    if fit is not None and state is State.CONVERGING:
        slopes = (fit.steep, fit.slope, fit.flat)
        steps = [min(end, fit.steps_left(slope)) for slope in slopes]
    low, high = course.seconds_a_step
    if not math.isfinite(steps[1]):
        return None
    most = steps[2] * high
    return Eta(steps[1] * (low + high) / 2, steps[0] * low, most if math.isfinite(most) else None)


def _duration(seconds: float) -> str:
    for size, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            number = seconds / size
            return f"{number:.2g} {word}" if number < 10 else f"{number:.0f} {word}"
    return f"{seconds:.0f} s"
