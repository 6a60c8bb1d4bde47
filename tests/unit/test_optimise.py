import heapq
import importlib.util
import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simyard.domain.errors import Refused
from simyard.numerics import optimise
from simyard.numerics.gaussian import Failures
from simyard.numerics.optimise import (
    Choice,
    Real,
    Space,
    Spent,
    StopRules,
    Trial,
    Whole,
    asker,
    filling,
    initial_count,
    stop_reason,
)
from simyard.numerics.ranking import Goal, Limit, best

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")
needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="optuna is not installed"
)

PLANE = Space((Real(name="x", lower=-5.0, upper=10.0), Real(name="y", lower=0.0, upper=15.0)))
MIXED = Space(
    (
        Real(name="h", lower=1e-3, upper=10.0, log=True),
        Whole(name="n", lower=1, upper=4),
        Choice(name="m", options=("steel", "wood", "glass")),
    )
)
F = [Goal(name="f")]


def branin(p):
    x, y = p["x"], p["y"]
    bend = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def campaign(asking, run, budget, slots, seed):
    """The history of asynchronous runs that take between 0.5 and 1.5."""
    durations = np.random.default_rng(seed)
    now, running, history, asked = 0.0, [], [], 0
    while True:
        while asked < budget and len(running) < slots:
            pending = [values for _, _, values in sorted(running, key=lambda one: one[1])]
            (values,) = asking.ask(history, pending, 1)
            heapq.heappush(running, (now + durations.uniform(0.5, 1.5), asked, values))
            asked += 1
        if not running:
            return history
        now, _, values = heapq.heappop(running)
        history.append(Trial(values=values, outputs=run(values)))


def ran(function, *points):
    return [Trial(values=p, outputs={"f": function(p)}) for p in points]


def history_of(asking, function, count):
    history = []
    for _ in range(count):
        history += ran(function, *asking.ask(history, [], 1))
    return history


def at_distance(space, one, other):
    a, b = space.to_unit(one), space.to_unit(other)
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


# --- the space ------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
@settings(deadline=None)
def test_points_keep_their_place(unit):
    point = MIXED.from_unit(unit)
    assert 1e-3 <= point["h"] <= 10
    assert point["n"] in (1.0, 2.0, 3.0, 4.0)
    assert point["m"] in ("steel", "wood", "glass")
    there = MIXED.to_unit(point)
    assert there == pytest.approx(MIXED.snapped([unit])[0])
    again = MIXED.from_unit(there)
    assert again == point | {"h": pytest.approx(point["h"])} | {"h": again["h"]}
    assert again["h"] == pytest.approx(point["h"])


def test_ends_of_the_dimensions():
    assert MIXED.from_unit([0, 0, 0]) == {"h": pytest.approx(1e-3), "n": 1.0, "m": "steel"}
    assert MIXED.from_unit([1, 1, 1]) == {"h": 10.0, "n": 4.0, "m": "glass"}
    assert MIXED.from_unit([0.5, 0.5, 0.5])["h"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "values",
    [
        {"h": 1.0, "n": 1.0},
        {"h": 1.0, "n": 1.0, "m": "paper"},
        {"h": "1", "n": 1.0, "m": "wood"},
        {"h": 0.0, "n": 1.0, "m": "wood"},
        {"h": math.nan, "n": 1.0, "m": "wood"},
        {"h": 1.0, "n": 1e300, "m": "wood"},
        {"h": 1e9, "n": 1.0, "m": "wood"},
    ],
)
def test_values_that_have_no_place(values):
    assert MIXED.to_unit(values) is None


def test_all_faults_of_a_space_at_once():
    with pytest.raises(ValueError) as caught:
        Space(
            (
                Real(name="a", lower=1.0, upper=1.0 + 1e-12),
                Real(name="b", lower=0.0, upper=1.0, log=True),
                Real(name="c", lower=0.0, upper=10**400),
                Whole(name="d", lower=3, upper=2),
                Choice(name="e", options=()),
                Choice(name="f", options=("x", "x")),
                Choice(name="f", options=("x",)),
            )
        )
    faults = str(caught.value).split("; ")
    assert [fault[0] for fault in faults] == ["a", "b", "c", "d", "e", "f", "f"]
    assert faults[-1] == "f: twice"


@pytest.mark.parametrize("count", [0, 51])
def test_a_space_has_bounds(count):
    with pytest.raises(ValueError, match=f"needs 1 to 50 design variables, has {count}"):
        Space(tuple(Real(name=f"x{i}", lower=0.0, upper=1.0) for i in range(count)))


# --- what a method can do -------------------------------------------------------------------------


def test_what_the_own_method_cannot_do():
    with pytest.raises(ValueError) as caught:
        asker("gp", MIXED, [Goal(name="f"), Goal(name="g")], [], 1)
    assert str(caught.value) == (
        'method "gp" is for one objective, not 2: use "optuna";'
        ' method "gp" is for numbers, not for m: use "optuna"'
    )


def test_unknown_methods_and_no_objective():
    with pytest.raises(ValueError, match="unknown method 'pso'; there are: gp, optuna"):
        asker("pso", PLANE, F, [], 1)
    with pytest.raises(ValueError, match="needs an objective"):
        asker("gp", PLANE, [], [], 1)


@pytest.mark.parametrize(
    ("method", "missing", "install"),
    [("gp", "scipy", "'simyard.studies.'"), ("optuna", "optuna", "optuna")],
)
def test_missing_packages(monkeypatch, method, missing, install):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else real(name)
    )
    with pytest.raises(Refused, match=f"needs the extra packages: pip install {install}"):
        asker(method, PLANE, F, [], 1)


# --- filling the space ----------------------------------------------------------------------------


def test_the_sequence_goes_on_where_it_was():
    whole = filling(PLANE, 7, 0, 12)
    assert whole == [point for i in range(12) for point in filling(PLANE, 7, i, 1)]
    assert filling(PLANE, 8, 0, 12) != whole
    quarters = {(int(2 * x), int(2 * y)) for x, y in whole[:4]}
    assert len(quarters) == 4


def test_more_slots_than_the_initial_design():
    asking = asker("gp", PLANE, F, [], 1)
    points = asking.ask([], [], 20)
    assert len(points) == 20 > initial_count(PLANE)
    later = asking.ask([], points, 3)
    assert all(
        at_distance(PLANE, a, b) > 0.005 for a, b in itertools.combinations(points + later, 2)
    )


def test_nothing_but_failures_keeps_filling():
    asking = asker("gp", PLANE, F, [], 1)
    points = asking.ask([], [], 15)
    history = [Trial(values=p, outputs=None) for p in points]
    assert asking.ask(history, [], 1) == [PLANE.from_unit(filling(PLANE, 1, 15, 1)[0])]


# --- the own method -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_branin_within_40_runs_on_4_slots(seed):
    asking = asker("gp", PLANE, F, [], seed)
    history = campaign(asking, lambda p: {"f": branin(p)}, 40, 4, seed)
    assert len(history) == 40
    found = min(trial.outputs["f"] for trial in history)
    assert 0.397887 <= found <= 0.3979 + 0.05


def test_the_same_question_has_the_same_answer():
    history = history_of(asker("gp", PLANE, F, [], 3), branin, 9)
    pending = [{"x": 1.0, "y": 2.0}]
    first = asker("gp", PLANE, F, [], 3).ask(history, pending, 3)
    assert asker("gp", PLANE, F, [], 3).ask(history, pending, 3) == first
    assert len(first) == 3


def test_points_asked_together_are_apart():
    asking = asker("gp", PLANE, F, [], 2)
    history = history_of(asking, branin, 12)
    points = asking.ask(history, [], 8)
    assert all(at_distance(PLANE, a, b) > 0.01 for a, b in itertools.combinations(points, 2))
    one_by_one = []
    for _ in range(8):
        one_by_one += asking.ask(history, one_by_one, 1)
    assert all(at_distance(PLANE, a, b) > 0.01 for a, b in itertools.combinations(one_by_one, 2))


def test_larger_is_better_and_near_the_target():
    space = Space((Real(name="x", lower=0.0, upper=10.0),))

    def hill(p):
        return 5 - (p["x"] - 7) ** 2

    up = history_of(asker("gp", space, [Goal(name="f", direction="maximize")], [], 1), hill, 14)
    assert max(t.outputs["f"] for t in up) > 4.99
    goal = Goal(name="f", direction="target", target=1.0)  # at x = 5 and 9
    near = history_of(asker("gp", space, [goal], [], 1), hill, 20)
    assert min(abs(t.outputs["f"] - 1) for t in near) < 0.02


def test_limits_are_kept():
    limits = [Limit(name="c", upper=0.0)]

    def run(p):  # the best of the disc about (0, 0) lies on its rim
        return {"f": p["x"] + p["y"], "c": p["x"] ** 2 + p["y"] ** 2 - 1}

    space = Space((Real(name="x", lower=-3.0, upper=3.0), Real(name="y", lower=-3.0, upper=3.0)))
    history = campaign(asker("gp", space, F, limits, 5), run, 35, 2, 5)
    (at,) = best([trial.outputs for trial in history], F, limits)
    assert history[at].outputs["f"] == pytest.approx(-math.sqrt(2), abs=0.05)


@pytest.mark.parametrize(("best_at", "most"), [(0.0, 14), (0.6, 3)])
def test_a_place_where_runs_fail_is_left_alone(best_at, most):
    space = Space((Real(name="x", lower=0.0, upper=1.0), Real(name="y", lower=0.0, upper=1.0)))

    def run(p):  # with best_at 0 the best that runs lies beside what fails
        return None if p["x"] < 0.4 else {"f": abs(p["x"] - best_at) + (p["y"] - 0.5) ** 2}

    history = campaign(asker("gp", space, F, [], 1), run, 30, 2, 1)
    assert sum(trial.outputs is None for trial in history[10:]) <= most
    assert min(t.outputs["f"] for t in history if t.outputs) < max(0.4 - best_at, 0) + 0.03


def test_a_failure_forbids_what_is_nearer_to_it_than_to_a_success():
    there = Failures(failed=np.array([[0.2, 0.5]]), ran=np.array([[0.6, 0.5]]))
    points = np.array([[0.6, 0.5], [0.5, 0.5], [0.41, 0.5], [0.39, 0.5], [0.2, 0.5]])
    chances = there.log_chance(points)
    assert (np.diff(chances) < 0).all()
    assert chances[0] == 0
    assert chances[2] > -4
    assert chances[3] < -50


def test_whole_numbers_never_come_twice():
    space = Space((Whole(name="a", lower=0, upper=3), Whole(name="b", lower=-2, upper=1)))
    asking = asker("gp", space, F, [], 1)
    history = history_of(asking, lambda p: (p["a"] - 2) ** 2 + (p["b"] + 1) ** 2, 16)
    assert len({(t.values["a"], t.values["b"]) for t in history}) == 16
    assert asking.ask(history, [], 2) == []  # the space has no more
    found = [t.values for t in history[:10]]
    assert {"a": 2.0, "b": -1.0} in found


def test_points_of_the_user_count():
    asking = asker("gp", PLANE, F, [], 1)
    history = history_of(asking, branin, 8)
    own = ran(branin, {"x": math.pi, "y": 2.28}, {"x": 3.0, "y": 2.0}, {"x": 11.0, "y": 1.0})
    nowhere = [Trial(values={"x": "wing", "y": 1.0}, outputs={"f": -99.0})]
    (point,) = asking.ask(history + own + nowhere, [], 1)
    assert at_distance(PLANE, point, own[0].values) >= 1e-3


@pytest.mark.parametrize(
    "values", [[7.0] * 12, [1e300] * 6 + [-1e300] * 6, [1.0] * 11 + [1e30], [math.nan] * 12]
)
def test_odd_outputs(values):
    asking = asker("gp", PLANE, F, [Limit(name="f", upper=1.0)], 1)
    points = asking.ask([], [], 12)
    history = [Trial(values=p, outputs={"f": v}) for p, v in zip(points, values, strict=True)]
    (point,) = asking.ask(history, [], 1)
    assert all(at_distance(PLANE, point, p) > 1e-3 for p in points)


def test_more_history_than_a_model_takes(monkeypatch):
    monkeypatch.setattr(optimise.gaussian, "MOST_POINTS", 20)
    asking = asker("gp", PLANE, F, [], 1)
    history = ran(branin, *[PLANE.from_unit(u) for u in filling(PLANE, 9, 0, 60)])
    (point,) = asking.ask(history, [], 1)
    best_known = min(t.outputs["f"] for t in history)
    assert branin(point) < best_known + 20  # the better half of Branin is far wider


# --- Optuna ---------------------------------------------------------------------------------------


@needs_optuna
def test_optuna_on_a_mixed_space():
    asking = asker("optuna", MIXED, F, [], 1)

    def run(p):
        return abs(math.log10(p["h"]) + 1) + abs(p["n"] - 3) + (p["m"] != "wood")

    history = history_of(asking, run, 45)
    assert all(
        at_distance(MIXED, a.values, b.values) > 1e-3 for a, b in itertools.combinations(history, 2)
    )
    found = min(history, key=lambda t: t.outputs["f"])
    assert (found.values["n"], found.values["m"]) == (3.0, "wood")
    assert type(found.values["n"]) is float
    assert asking.ask(history, [], 2) == asking.ask(history, [], 2)


@needs_optuna
def test_optuna_finds_a_front_under_a_limit():
    space = Space((Real(name="x", lower=-4.0, upper=4.0), Real(name="y", lower=-4.0, upper=4.0)))
    goals = [Goal(name="f"), Goal(name="g", direction="maximize")]
    limits = [Limit(name="y", upper=2.0)]

    def run(p):  # Schaffer's problem, y but a burden; a part of the runs fails
        if p["x"] > 3:
            return None
        x, y = p["x"], p["y"]
        return {"f": x * x + y * y, "g": -((x - 2) ** 2) - y * y, "y": y}

    history = campaign(asker("optuna", space, goals, limits, 3), run, 60, 4, 3)
    late = [t for t in history[30:] if t.outputs and t.outputs["y"] <= 2]
    assert len(late) >= 24
    front = best([t.outputs for t in history], goals, limits)
    assert len(front) >= 5
    inside = [t for t in history[30:] if abs(t.values["y"]) < 1.5]
    assert len(inside) >= 18  # 11 by chance


@needs_optuna
def test_optuna_ends_when_all_was_tried():
    space = Space((Choice(name="m", options=("a", "b", "c")), Whole(name="n", lower=0, upper=2)))
    asking = asker("optuna", space, F, [], 1)
    history = history_of(asking, lambda p: p["n"], 8)
    points = asking.ask(history, [], 3)
    assert len(points) == 1
    assert asking.ask(history, points, 1) == []


# --- when to stop ---------------------------------------------------------------------------------


def stops(rules, values, asked=0, goals=F, limits=(), **spent):
    history = [Trial(values={}, outputs=None if v is None else {"f": v}) for v in values]
    return stop_reason(rules, goals, limits, history, Spent(runs=asked, **spent))


def test_the_budget_counts_what_was_asked_for():
    assert stops(StopRules(budget=5), [1.0], asked=4) is None
    assert stops(StopRules(budget=5), [1.0], asked=5) == "the budget of 5 runs is used"


def test_what_it_may_take():
    rules = StopRules(hours=2.0, core_hours=8.0)
    assert stops(rules, [1.0], hours=1.99, core_hours=7.9) is None
    assert stops(rules, [1.0], hours=2.0) == "it has taken its 2 hours"
    assert stops(rules, [1.0], core_hours=8.5) == "it has used its 8 core-hours"


def test_no_improvement():
    rules = StopRules(patience=3)
    assert stops(rules, [5.0, 4.0, 6.0, 4.0]) is None
    assert stops(rules, [5.0, 4.0, 6.0, 4.0, None]) == "no improvement in the last 3 runs"
    assert stops(rules, [5.0, 4.0, 6.0, 4.0, 3.0]) is None
    assert stops(rules, [None, None]) is None


@pytest.mark.parametrize(
    ("goal", "value", "is_reached"),
    [
        (Goal(name="f"), 0.5, True),
        (Goal(name="f"), 0.51, False),
        (Goal(name="f", direction="maximize"), 0.5, True),
        (Goal(name="f", direction="maximize"), 0.49, False),
        (Goal(name="f", direction="target", target=9.0), 9.5, True),
        (Goal(name="f", direction="target", target=9.0), 8.4, False),
    ],
)
def test_good_enough(goal, value, is_reached):
    rules = StopRules(reach=0.5)
    expected = f"f reached {value:g}" if is_reached else None
    assert stops(rules, [value], goals=[goal]) == expected


def test_what_breaks_a_limit_is_not_good_enough():
    limits = [Limit(name="f", lower=0.0)]
    assert stops(StopRules(reach=0.5), [-1.0], limits=limits) is None
    assert stops(replace(StopRules(reach=0.5), budget=1), [-1.0], 1, limits=limits)


def test_once_the_best_is_known_it_does_not_ask_for_what_breaks_the_limits():
    """Two chances that are none are not compared: the limit is at the optimum and known exactly."""
    space = Space(
        (Real(name="a", lower=0.0, upper=10.0), Real(name="c", lower=0.0, upper=4.0)),
    )
    goals, limits = [Goal(name="ld", direction="maximize")], [Limit(name="cm", lower=-0.05)]
    asking = asker("gp", space, goals, limits, 1)

    def run(p):
        return {"ld": 60 - (p["a"] - 7) ** 2 - (p["c"] - 4) ** 2, "cm": -0.0235 * p["c"]}

    history = []
    for _ in range(26):
        (p,) = asking.ask(history, [], 1)
        history.append(Trial(values=p, outputs=run(p)))
    late = [trial.outputs["cm"] for trial in history[16:]]
    assert sum(cm < -0.055 for cm in late) <= 1, late
    kept = [trial.outputs["ld"] for trial in history if trial.outputs["cm"] >= -0.05]
    assert max(kept) > 56.3  # at a = 7, c = 0.05 / 0.0235: 56.47
