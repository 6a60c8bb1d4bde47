"""What is told of residuals: of real logs, and of curves that do what a name says."""

import math
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.catalogue import Machine
from simyard.domain.convergence import (
    RECENT,
    Convergence,
    Course,
    Curve,
    State,
    judge,
    target_of,
    way_done,
)
from simyard.domain.grammar import Reader
from simyard.service.catalogue import load, own_folder
from simyard.service.convergence import _pick
from simyard.service.series import Reading

CATALOGUE = load([own_folder()], Machine(cores=1, memory_mb=1, storage_gb=1))
LOGS = Path(__file__).parents[1] / "data" / "solver-logs"


def of_log(name: str, code: str = "openfoam", *, lines: int | None = None) -> Convergence:
    """As the service asks, without the folder of a run."""
    analysis = CATALOGUE.analysis(code)
    assert analysis is not None and analysis.grammar is not None
    grammar = analysis.grammar
    text = (LOGS / f"{name}.log").read_text(errors="replace")
    reader = Reader(grammar)
    for line in text.split("\n")[:lines]:
        reader.feed(line)
    found = re.finditer(grammar.target_pattern, text) if grammar.target_pattern else ()
    targets = {match["label"]: float(match["y"]) for match in found}
    reading = Reading(list(reader.series.values()), reader.steps, reader.changes, "log", grammar)
    picked = _pick(reading)
    course = Course(
        targets=targets,
        last_x=1000.0,
        seconds_a_step=(0.5, 1.0),
        is_in_time=picked.has_courant or grammar.x_counts_on,
    )
    return judge(picked.curves, course, picked.others)


def curve(values: Sequence[float], label: str = "p") -> Curve:
    y = list(values)[-RECENT:]
    return Curve(f"residuals/{label}", label, [float(i + 1) for i in range(len(y))], y)


def judged(*curves: Curve, **course: object) -> Convergence:
    return judge(curves, Course(**course))  # type: ignore[arg-type]


# --- real logs ------------------------------------------------------------------------------------


def test_a_run_that_converges() -> None:
    found = of_log("of-simple-ok")
    assert found.state is State.CONVERGING
    assert found.evidence is not None and found.evidence.target == 0.001
    assert found.evidence.key == "residuals/Uy"
    # It said so itself at iteration 282, which is about where the slope leads.
    match = re.fullmatch(
        r"Uy falls 1\.\d\d decades per 100 iterations; 0\.001 at about iteration (\d+), \d+ s\.",
        found.sentence,
    )
    assert match and 262 <= int(match[1]) <= 310
    assert found.eta is not None and found.eta.high is not None
    assert found.eta.low < found.eta.seconds < found.eta.high
    assert found.since == 152


def test_a_run_that_is_stopped_before() -> None:
    found = of_log("of-not-converged")
    assert found.state is State.STALLED
    assert found.sentence.startswith(
        "Uy has stayed at 0.018 for 30 iterations; its target is 0.001"
    )
    assert found.eta is not None and found.eta.seconds == (1000 - 60) * 0.75


def test_runs_through_time_are_not_judged_by_their_residuals() -> None:
    for name in ("of-cfl", "of-inter-par-ok"):
        found = of_log(name)
        assert found.state is State.UNKNOWN and "through time" in found.sentence, name
        assert found.eta is not None
    assert of_log("ccx-pl", "calculix").state is State.UNKNOWN


def test_a_run_with_no_number() -> None:
    found = of_log("of-nan-exit0")
    assert found.state is State.DIVERGING
    assert found.sentence == "continuity local is NaN since 11.7." and found.since == 11.7


def test_too_little_of_it() -> None:
    found = of_log("of-simple-div")
    assert found.state is State.UNKNOWN
    assert found.sentence.startswith("Not known: there are 1 steps yet, and 12 are needed")
    assert judged().sentence == "Not known: no residuals are known of it."


# --- curves ---------------------------------------------------------------------------------------


def noise(seed: int, size: float) -> random.Random:
    return random.Random(f"{seed} {size}")


def falling(decades: float, count: int, spread: float = 0.1) -> list[float]:
    chance = noise(1, spread)
    return [10 ** (-decades * i / 100 + chance.uniform(-spread, spread)) for i in range(count)]


def test_a_steady_fall() -> None:
    found = judged(
        curve(falling(1.0, 300)), targets={"p": 1e-4}, seconds_a_step=(1.0, 1.0), last_x=1000.0
    )
    assert found.state is State.CONVERGING
    assert found.evidence is not None and found.evidence.slope == pytest.approx(-1.0, abs=0.05)
    assert found.eta is not None and found.eta.seconds == pytest.approx(100, rel=0.15)
    late = judged(
        curve(falling(1.0, 300)), targets={"p": 1e-40}, seconds_a_step=(1.0, 1.0), last_x=350.0
    )
    assert "at the end, iteration 350, it will not be at 1e-40" in late.sentence
    assert late.eta is not None and late.eta.seconds == 50
    blind = judged(curve(falling(1.0, 200)))
    assert blind.state is State.CONVERGING and "no target is known" in blind.sentence


def test_spikes_do_not_turn_a_fall_over() -> None:
    values = falling(1.0, 200)
    values[150] = values[170] = values[199] = 1e6
    assert judged(curve(values)).state is State.CONVERGING


def test_the_slowest_residual_decides() -> None:
    slow, quick = curve(falling(0.3, 200), "k"), curve(falling(2.0, 200), "Ux")
    found = judged(slow, quick, targets={"k": 1e-5, "U": 1e-5})
    assert found.evidence is not None and found.evidence.key == "residuals/k"
    still = curve([1e-3] * 200, "omega")
    assert judged(slow, still).state is State.STALLED
    # What needs no more is not waited for.
    assert judged(slow, still, targets={"k": 1e-5, "omega": 1e-2}).state is State.CONVERGING
    assert judged(slow, curve([1e-9] * 200, "omega")).state is State.CONVERGING


def test_stalled() -> None:
    chance = noise(2, 0.05)
    values = [*falling(2.0, 100), *(1e-2 * 10 ** chance.uniform(-0.05, 0.05) for _ in range(300))]
    found = judged(curve(values))
    assert found.state is State.STALLED
    assert found.sentence == "p has stayed at 0.01 for 200 iterations."


def test_oscillating() -> None:
    values = [10 ** (-2 + 0.5 * math.sin(i / 4)) for i in range(300)]
    found = judged(curve(values))
    assert found.state is State.OSCILLATING
    match = re.search(r"swings by (.+) decades around (.+), (.+) turns", found.sentence)
    assert match and float(match[1]) == pytest.approx(1.0, abs=0.11)
    assert float(match[2]) == pytest.approx(0.01, rel=0.1)
    assert 8 <= int(match[3]) <= 14  # 150 iterations are 6 periods


def test_diverging() -> None:
    found = judged(curve([10 ** (-3 + i / 40) for i in range(100)]))
    assert found.state is State.DIVERGING and "rose by 1.2 decades" in found.sentence
    for bad, word in ((math.nan, "NaN"), (math.inf, "infinite")):
        found = judged(curve(falling(1.0, 100)), curve([*falling(1.0, 98), bad, bad], "k"))
        assert found.state is State.DIVERGING and found.since == 99
        assert found.sentence == f"k is {word} since 99."


def test_converged() -> None:
    said = judged(curve([1e-3] * 50), said="SIMPLE solution converged in 50 iterations")
    assert said.state is State.CONVERGED and "converged in 50" in said.sentence
    found = judged(curve(falling(1.0, 200)), targets={"p": 0.1})
    assert found.state is State.CONVERGED and "below" in found.sentence and found.eta is None
    assert judged(curve([1e-8] * 50)).state is State.CONVERGED
    assert judged(curve([0.0] * 50)).state is State.CONVERGED


@pytest.mark.parametrize(("dx", "at"), [(1.0, r"1\d\d"), (100.0, r"1\d\d\d\d"), (0.01, r"1\.\d+")])
def test_iterations_are_told_whole_and_times_are_not(dx: float, at: str) -> None:
    y = [10 ** (-0.0263 * n) for n in range(101)]
    steps = Curve("residuals/p", "p", [(n + 1) * dx for n in range(101)], y)
    found = judged(steps, targets={"p": 1e-4})
    assert re.search(rf"; 0\.0001 at about iteration {at}\.$", found.sentence), found.sentence


def test_no_time_is_told_of_a_run_that_is_over() -> None:
    found = judged(curve([1e-2] * 100), last_x=1000.0, seconds_a_step=(1.0, 2.0), is_over=True)
    assert found.state is State.STALLED and found.eta is None


def test_targets() -> None:
    targets = {"p": 1.0, "U": 2.0, '"(k|omega)"': 3.0, '"("': 4.0, "T": math.nan, "h": 0.0}
    assert [target_of(label, targets) for label in ("p", "Ux", "Uz", "U", "k", "omega")] == [
        1.0, 2.0, 2.0, 2.0, 3.0, 3.0,
    ]  # fmt: skip
    assert [target_of(label, targets) for label in ("pp", "kk", "T", "h", "Uq")] == [None] * 5


@given(
    st.lists(st.lists(st.floats(), max_size=40), max_size=3),
    st.dictionaries(st.sampled_from(["p", "q", '"(p|q)"']), st.floats()),
    st.one_of(st.none(), st.floats(allow_nan=False)),
)
def test_whatever_the_numbers(
    values: list[list[float]], targets: dict[str, float], last_x: float | None
) -> None:
    curves = [curve(each, label) for each, label in zip(values, "pqr", strict=False)]
    found = judged(*curves, targets=targets, last_x=last_x, seconds_a_step=(0.1, 0.2))
    assert found.state in State and found.sentence
    if found.eta is not None:
        assert 0 <= found.eta.low <= found.eta.seconds


# --- the way --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "at", "end", "share"),
    [
        (1.0, 250.0, 1000.0, 0.25),
        (0.0, 0.0, 1000.0, 0.0),
        (501.0, 600.0, 1000.0, 0.6),  # goes on from a checkpoint
        (-180.0, 0.0, 540.0, 0.25),  # degrees of a crank
        (1.0, 1001.0, 1000.0, 1.0),
        (1.0, 5.0, 0.0, None),
        (-1.0, 5.0, -1.0, None),
        (1.0, math.nan, 1000.0, None),
        (1.0, math.inf, 1000.0, None),
        (1.0, 10.0, math.inf, None),
    ],
)
def test_share_of_the_way(begun: float, at: float, end: float, share: float | None) -> None:
    assert way_done(begun, at, end) == share


def test_the_way_is_that_of_all_series() -> None:
    analysis = CATALOGUE.analysis("openfoam")
    assert analysis is not None and analysis.grammar is not None
    reader = Reader(analysis.grammar)
    for line in ("Time = 3", "ExecutionTime = 1 s", "Time = 4", "ExecutionTime = 2 s", "Time = 5"):
        reader.feed(line)
    series = list(reader.series.values())
    picked = _pick(Reading(series, 3, 2, "log", analysis.grammar))
    assert picked.reached == (3.0, 4.0)
    assert _pick(Reading([], 0, 0, "", None)).reached is None
