"""Series and what is told of them, in the shapes of the API."""

import math
from bisect import bisect_right
from typing import Any

from simyard.api.shapes import choice, integer, nullable, number, object_, text
from simyard.domain.convergence import Convergence, State
from simyard.domain.records import dataclass
from simyard.service.series import Reading

CONVERGENCE = object_(
    "Convergence",
    state=choice(*(state.value for state in State)),
    sentence=text("p falls 0.31 decades per 100 iterations; 1e-05 at about iteration 640, 3 min."),
    evidence=nullable(
        object_(
            "ConvergenceEvidence",
            key=text("residuals/p", "The series that decides."),
            slope=number(-0.31, "Decades in 100 steps; below 0 it falls."),
            window=integer(156, "How many steps were looked at."),
            level=nullable(number(3.2e-4, "Where it is; null where it is no number.")),
            target=nullable(number(1e-5)),
            rule=text("it falls by 0.1 decades or more in the last 156 iterations"),
        )
    ),
    eta=nullable(
        object_(
            "ConvergenceEta",
            seconds=number(180.0),
            low=number(150.0),
            high=nullable(number(240.0), example_null=False),
        )
    ),
    since=nullable(number(156.0, "The x from which on this holds.")),
    progress=nullable(
        number(0.312, "Share of the way to the run's last step, where that is known.")
    ),
)

STEPS_AT_ONCE = 500
STEPS_MISSED = 5000  # more of them are left out: there is `series/data/` for them


def value_of(y: float) -> float | str:
    """JSON has no words for what a diverged solver prints."""
    if math.isfinite(y):
        return y
    return "NaN" if math.isnan(y) else "Infinity" if y > 0 else "-Infinity"


@dataclass(frozen=True)
class Rows:
    """Points of some steps."""

    index: int  # of the last step to which no point will come any more
    data: dict[str, Any]  # as they are sent
    has_more: bool


def rows_of(reading: Reading, step: int) -> Rows | None:
    """The points behind a step, those of each step together; None where there are none. The last
    step may get more points or other values: it comes again then.
    """
    missed, is_new = 0, step > reading.whole_steps + 1
    if is_new:  # the log was written from the start
        step = 0
    if reading.whole_steps - step > STEPS_MISSED:
        missed = reading.whole_steps - STEPS_MISSED - step
        step += missed
    end = step + STEPS_AT_ONCE
    if end >= reading.whole_steps:
        end = reading.whole_steps + 1
    rows: dict[int, tuple[float, dict[str, float]]] = {}
    for series in reading.series:
        first, last = bisect_right(series.steps, step), bisect_right(series.steps, end)
        for i in range(first, last):
            row = rows.setdefault(series.steps[i], (series.x[i], {}))
            row[1][series.key] = series.y[i]
    if not rows:
        return None
    ordered = [rows[step] for step in sorted(rows)]
    keys = dict.fromkeys(key for _, values in ordered for key in values)
    index = min(end, reading.whole_steps)
    data: dict[str, Any] = {
        "index": index,
        "x": [x for x, _ in ordered],
        "values": {
            key: [value_of(values[key]) if key in values else None for _, values in ordered]
            for key in keys
        },
    }
    if missed:
        data["missed"] = missed
    if is_new:
        data["isNew"] = True
    return Rows(index, data, has_more=end < reading.whole_steps)


def convergence_of(found: Convergence) -> dict[str, Any]:
    evidence, eta = found.evidence, found.eta
    return {
        "state": found.state.value,
        "sentence": found.sentence,
        "evidence": evidence
        and {
            "key": evidence.key,
            "slope": evidence.slope,
            "window": evidence.window,
            "level": evidence.level,
            "target": evidence.target,
            "rule": evidence.rule,
        },
        "eta": eta and {"seconds": eta.seconds, "low": eta.low, "high": eta.high},
        "since": found.since,
        "progress": found.progress,
    }


def progress_of(found: Convergence | None) -> dict[str, Any]:
    """How far a run is, beside other things that are told of it."""
    if found is None:
        return {"progress": None, "convergence": None}
    return {"progress": found.progress, "convergence": convergence_of(found)}
