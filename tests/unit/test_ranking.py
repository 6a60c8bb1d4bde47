import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simyard.numerics.ranking import (
    Goal,
    Limit,
    best,
    front,
    hypervolume,
    improved,
    score,
    violation,
)

VECTORS = json.loads((Path(__file__).parents[1] / "data/study-vectors.json").read_text())
F = [Goal(name="f")]
FG = [Goal(name="f"), Goal(name="g")]


def outputs(*values):
    return [None if v is None else {"f": v} for v in values]


# --- goals and limits -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "value", "expected"),
    [
        (Goal(name="f"), 3.0, 3.0),
        (Goal(name="f", direction="maximize"), 3.0, -3.0),
        (Goal(name="f", direction="target", target=5.0), 3.0, 2.0),
        (Goal(name="f", direction="target", target=1.0), 3.0, 2.0),
        (Goal(name="f"), None, None),
        (Goal(name="f"), float("nan"), None),
        (Goal(name="f"), float("-inf"), None),
    ],
)
def test_a_score_is_small_where_it_is_good(goal, value, expected):
    found = score([goal], {"f": value})
    assert found == (None if expected is None else (expected,))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"direction": "min"}, "must be one of minimize, maximize, target, not 'min'"),
        ({"direction": "target"}, "a target must be a number"),
        ({"target": 1.0}, 'goes with direction "target" only'),
        ({"direction": "target", "target": float("inf")}, "a target must be a number"),
    ],
)
def test_a_goal_that_makes_no_sense(fields, message):
    with pytest.raises(ValueError, match=message):
        Goal(name="Cd", **fields)


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (None, None, "needs a lower or an upper limit"),
        (float("nan"), 1.0, "needs a lower or an upper limit"),
        (0, 10**400, "needs a lower or an upper limit"),
        (2.0, 1.0, "Cl: lower limit 2 is above the upper one 1"),
    ],
)
def test_a_limit_that_makes_no_sense(lower, upper, message):
    with pytest.raises(ValueError, match=message):
        Limit(name="Cl", lower=lower, upper=upper)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": 0.5, "b": 3.0}, 0.0),
        ({"a": 1.0, "b": 2.0}, 0.0),  # on the limits
        ({"a": -0.5, "b": 3.0}, 0.5),
        ({"a": 1.25, "b": 1.0}, 1.25),
        ({"a": 0.5}, None),
        ({"a": 0.5, "b": None}, None),
        ({"a": 0.5, "b": float("nan")}, None),
    ],
)
def test_violations_add_up(values, expected):
    limits = [Limit(name="a", lower=0.0, upper=1.0), Limit(name="b", lower=2.0)]
    assert violation(limits, values) == expected


# --- the best -------------------------------------------------------------------------------------


def test_the_front_of_the_reference():
    vector = VECTORS["pareto_min_min"]
    points = [{"f": f, "g": g} for f, g in vector["points"]]
    assert best(points, FG) == vector["front_indices"] == [0, 1, 3, 4]


def test_one_goal_has_one_best_run_the_earliest_of_equals():
    assert best(outputs(3.0, None, 1.0, 1.0, 2.0), F) == [2]


def test_a_feasible_run_beats_a_better_one_that_is_not():
    points = [{"f": 1.0, "c": 2.0}, {"f": 9.0, "c": 0.5}, {"f": 0.0}]
    assert best(points, F, [Limit(name="c", upper=1.0)]) == [1]


def test_nothing_feasible_means_nothing_optimal():
    limit = [Limit(name="c", upper=1.0)]
    assert best([{"f": 1.0, "c": 2.0}], F, limit) == []
    assert best([{"f": 1.0, "c": 2.0, "g": 0.0}], FG, limit) == []
    assert best([], F) == best([None], F) == best([{"f": 1.0}], []) == []


def test_directions_count_on_the_front():
    goals = [Goal(name="f", direction="maximize"), Goal(name="g", direction="target", target=1.0)]
    points = [{"f": 1.0, "g": 1.0}, {"f": 2.0, "g": 3.0}, {"f": 2.0, "g": 0.0}, {"f": 0.0, "g": 1}]
    assert best(points, goals) == [0, 2]


def naive_front(scores):
    def dominates(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    return [i for i, s in enumerate(scores) if not any(dominates(o, s) for o in scores)]


@given(
    st.integers(1, 4).flatmap(
        lambda d: st.lists(st.tuples(*[st.integers(0, 5).map(float)] * d), max_size=25)
    )
)
@settings(deadline=None)
def test_the_front_is_what_nothing_dominates(scores):
    assert front(scores) == naive_front(scores)


@given(st.integers(1, 3), st.data())
@settings(deadline=None)
def test_a_run_improves_when_it_enters_the_front_as_something_new(d, data):
    scores = data.draw(st.lists(st.tuples(*[st.integers(0, 4).map(float)] * d), max_size=20))
    goals = [Goal(name=str(k)) for k in range(d)]
    points = [{str(k): v for k, v in enumerate(s)} for s in scores]
    expected = [
        i in naive_front(scores[: i + 1]) and scores[i] not in scores[:i]
        for i in range(len(scores))
    ]
    assert improved(points, goals) == expected


def test_a_smaller_violation_improves_until_something_is_feasible():
    limit = [Limit(name="c", upper=0.0)]
    c = [3.0, 4.0, 2.0, None, 0.0, 1.0, 0.0]
    f = [1.0, 1.0, 1.0, 1.0, 9.0, 0.0, 8.0]
    points = [{"f": a, "c": b} for a, b in zip(f, c, strict=True)]
    assert improved([*points, None], F, limit) == [
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_ten_thousand_runs_that_are_all_on_the_front():
    points = [{"f": float(i), "g": float(-i)} for i in range(10_000)]
    assert best(points, FG) == list(range(10_000))
    assert improved(points, FG) == [True] * 10_000


# --- hypervolume ----------------------------------------------------------------------------------


def test_hypervolume_of_a_staircase():
    assert hypervolume([(1, 3), (2, 2), (3, 1), (2, 2), (3, 3)], (4, 4)) == 6
    assert hypervolume([(5, 0), (0, 5), (4, 4)], (4, 4)) == 0
    assert hypervolume([], (1, 1)) == 0


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
@settings(deadline=None)
def test_hypervolume_counts_the_dominated_cells(scores):
    cells = itertools.product(range(6), range(6))
    expected = sum(any(a <= x and b <= y for a, b in scores) for x, y in cells)
    assert hypervolume([(float(a), float(b)) for a, b in scores], (6.0, 6.0)) == expected


def test_hypervolume_is_for_two_goals():
    with pytest.raises(ValueError, match="2 objectives, not 3"):
        hypervolume([], (1.0, 1.0, 1.0))
