import json
import math
import statistics as reference
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simyard.numerics.answers import (
    MOST_COLUMNS,
    cdf,
    convergence,
    correlation,
    effects,
    exceedance,
    histogram,
    pareto,
    sensitivity,
    slices,
    statistics,
    wilson,
)
from simyard.numerics.ranking import Goal, Limit

np = pytest.importorskip("numpy")
stats = pytest.importorskip("scipy.stats")

VECTORS = json.loads((Path(__file__).parents[1] / "data/study-vectors.json").read_text())
COLUMN = st.lists(
    st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1.0, 2.0])), min_size=1, max_size=30
)


def is_json(answer):
    json.dumps(answer, allow_nan=False)
    assert {"n", "method", "quality", "interval"} <= answer.keys()
    return True


def latin(n, d, seed):
    return stats.qmc.LatinHypercube(d, rng=np.random.default_rng(seed)).random(n)


# --- single columns -------------------------------------------------------------------------------


def test_statistics_against_the_standard_library():
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, 9.5]
    answer = statistics({"Cd": [*values, None, math.nan]})
    found = answer["columns"]["Cd"]
    assert is_json(answer)
    assert (found["n"], found["missing"]) == (9, 2)
    assert found["mean"] == pytest.approx(reference.fmean(values))
    assert found["sd"] == pytest.approx(reference.stdev(values))
    assert (found["min"], found["max"]) == (2.0, 9.5)
    quarters = reference.quantiles(values, n=4, method="inclusive")
    assert [found["percentiles"][p] for p in ("25", "50", "75")] == pytest.approx(quarters)
    twentieths = reference.quantiles(values, n=20, method="inclusive")
    assert found["percentiles"]["5"] == pytest.approx(twentieths[0])
    assert found["percentiles"]["95"] == pytest.approx(twentieths[-1])
    half = 2.306004 * reference.stdev(values) / 3  # t of 8 degrees of freedom
    middle = reference.fmean(values)
    assert found["interval"] == pytest.approx([middle - half, middle + half], rel=1e-6)


def test_statistics_of_one_value_and_of_none():
    one = statistics({"a": [None, 3.0]})["columns"]["a"]
    assert (one["n"], one["mean"], one["sd"], one["interval"]) == (1, 3.0, None, None)
    none = statistics({"a": [None, None]})["columns"]["a"]
    assert (none["n"], none["missing"], none["mean"]) == (0, 2, None)
    assert set(none["percentiles"].values()) == {None}
    assert none.keys() == one.keys()


def test_huge_values_make_no_infinity():
    answer = statistics({"a": [1.7e308, 1.7e308, -1.7e308]})
    assert is_json(answer)
    assert answer["columns"]["a"]["mean"] == pytest.approx(1.7e308 / 3)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_intervals(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=6e-5)


def test_the_probability_to_exceed_a_limit():
    answer = exceedance([1.0, 2.0, 3.0, 4.0, None], 2.0)
    assert is_json(answer)
    assert (answer["n"], answer["missing"], answer["exceeded"]) == (4, 1, 2)
    assert answer["probability"] == 0.5
    assert answer["probability_interval"] == pytest.approx(wilson(2, 4))
    with pytest.raises(ValueError, match="needs at least 1 finished runs, has 0"):
        exceedance([None], 2.0)


def test_histogram_counts_each_value_once():
    answer = histogram([0.0, 0.4, 0.5, 0.9, 1.0, None], bins=2)
    assert is_json(answer)
    assert (answer["edges"], answer["counts"]) == ([0.0, 0.5, 1.0], [2, 3])
    assert histogram([4.0] * 7)["counts"] == [7]
    assert len(histogram(list(map(float, range(9))), bins=10**9)["counts"]) == 200


def test_cdf_rises_to_one():
    answer = cdf([3.0, 1.0, 2.0, 2.0, None])
    assert is_json(answer)
    assert (answer["x"], answer["share"]) == ([1.0, 2.0, 2.0, 3.0], [0.25, 0.75, 0.75, 1.0])
    long = cdf([float(i) for i in range(5000)])
    assert len(long["x"]) == 200
    assert (long["x"][0], long["x"][-1], long["share"][-1]) == (0.0, 4999.0, 1.0)


@given(COLUMN)
@settings(deadline=None)
def test_any_column_gives_json(column):
    assert is_json(statistics({"a": column}))
    assert is_json(correlation({"a": [*column, 1.0, 2.0, 3.0], "b": [*column, 3.0, 1.0, 1.0]}))
    values = [v for v in column if v is not None and math.isfinite(v)]
    if values:
        answer = histogram(column)
        assert is_json(answer)
        assert sum(answer["counts"]) == len(values) == answer["n"]
        assert is_json(cdf(column))
        assert is_json(exceedance(column, 1.0))


# --- pairs ----------------------------------------------------------------------------------------


def test_correlation_against_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.random(40), rng.integers(0, 5, 40).astype(float)
    c = a**3 + 0.1 * b
    answer = correlation({"a": list(a), "b": list(b), "c": list(c)})
    assert is_json(answer)
    assert answer["names"] == ["a", "b", "c"]
    for i, x in enumerate((a, b, c)):
        assert answer["pearson"][i][i] == pytest.approx(1)
        for j, y in enumerate((a, b, c)):
            assert answer["pearson"][i][j] == pytest.approx(stats.pearsonr(x, y).statistic)
            assert answer["spearman"][i][j] == pytest.approx(stats.spearmanr(x, y).statistic)


def test_correlation_takes_the_runs_that_have_both():
    a = [1.0, 2.0, 3.0, None, 5.0]
    b = [1.0, 4.0, 9.0, 0.0, None]
    answer = correlation({"a": a, "b": b, "same": [7.0] * 5})
    assert answer["counts"] == [[4, 3, 4], [3, 4, 4], [4, 4, 5]]
    assert answer["spearman"][0] == [pytest.approx(1), pytest.approx(1), None]
    assert answer["spearman"][2] == [None, None, None]


def test_correlation_has_bounds():
    with pytest.raises(ValueError, match="needs at least 3 finished runs, has 2"):
        correlation({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    with pytest.raises(ValueError, match="different lengths: a 1, b 2"):
        correlation({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(ValueError, match=f"at most {MOST_COLUMNS} columns, not 61"):
        correlation({str(i): [1.0, 2.0, 3.0] for i in range(61)})


def test_effects_of_an_exact_additive_model():
    grid = [(a, b, c) for a in (-1, 1) for b in (0, 1, 2) for c in ("x", "y")]
    inputs = {
        "a": [float(a) for a, _, _ in grid],
        "b": [float(b) for _, b, _ in grid],
        "c": [c for _, _, c in grid],
    }
    output = [10 + 2 * a + b * b + (3 if c == "y" else 0) for a, b, c in grid]
    answer = effects(inputs, output)
    assert is_json(answer)
    a, b, c = answer["inputs"]
    assert (a["effect"], a["range"]) == (pytest.approx(4), pytest.approx(4))
    assert [level["level"] for level in b["levels"]] == [0, 1, 2]
    means = [level["mean"] for level in b["levels"]]
    assert [m - means[0] for m in means] == pytest.approx([0, 1, 4])
    assert [level["n"] for level in b["levels"]] == [4, 4, 4]
    assert {level["level"]: level["mean"] for level in c["levels"]}["y"] == pytest.approx(
        reference.fmean(o for o, (_, _, k) in zip(output, grid, strict=True) if k == "y")
    )
    assert (c["effect"], c["range"]) == (None, pytest.approx(3))


def test_effects_of_many_values_are_by_bins():
    x = [float(i) for i in range(30)]
    (found,) = effects({"x": x}, [2 * v for v in x])["inputs"]
    assert [(b["from"], b["to"], b["n"]) for b in found["levels"]] == [
        (0, 9, 10),
        (10, 19, 10),
        (20, 29, 10),
    ]
    assert [b["mean"] for b in found["levels"]] == pytest.approx([9, 29, 49])
    assert found["effect"] == pytest.approx(40)
    low, high = found["levels"][0]["interval"]
    assert low < 9 < high


def test_effects_pass_over_runs_without_a_value():
    (found,) = effects({"x": [0.0, 0.0, 1.0, 1.0, 1.0, None]}, [1.0, 3.0, 5.0, None, 7.0, 99.0])[
        "inputs"
    ]
    assert [(level["n"], level["mean"]) for level in found["levels"]] == [(2, 2.0), (2, 6.0)]
    assert found["effect"] == 4.0
    with pytest.raises(ValueError, match="needs at least 4 finished runs, has 3"):
        effects({"x": [1.0] * 4}, [1.0, None, 2.0, 3.0])


# --- with a model ---------------------------------------------------------------------------------


def ishigami(n=300):
    x = math.pi * (2 * latin(n, 3, 1) - 1)
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    return {name: list(x[:, k]) for k, name in enumerate("abc")}, list(y)


def test_sobol_indices_of_ishigami():
    answer = sensitivity(*ishigami(), seed=3)
    assert is_json(answer)
    assert answer["n"] == 300
    assert answer["quality"] > 0.95
    vector = VECTORS["ishigami_a7_b01"]
    first = [one["first"] for one in answer["inputs"]]
    total = [one["total"] for one in answer["inputs"]]
    assert first == pytest.approx(vector["first_order_analytic"], abs=0.04)
    assert total == pytest.approx(vector["total_analytic"], abs=0.04)
    for one in answer["inputs"]:
        low, high = one["first_interval"]
        assert low <= one["first"] <= high
        assert high - low < 0.1
    assert sensitivity(*ishigami(), seed=3) == answer


def test_sensitivity_names_what_does_not_vary():
    x = latin(30, 2, 2)
    inputs = {"a": list(x[:, 0]), "b": list(x[:, 1]), "still": [4.0] * 30}
    answer = sensitivity(inputs, list(3 * x[:, 0]))
    assert answer["constant"] == ["still"]
    assert [one["input"] for one in answer["inputs"]] == ["a", "b"]
    assert answer["inputs"][0]["total"] == pytest.approx(1, abs=0.02)
    flat = sensitivity(inputs, [5.0] * 30)
    assert is_json(flat)
    assert flat["quality"] is None
    assert {one["first"] for one in flat["inputs"]} == {None}


def test_slices_follow_the_function():
    x = latin(60, 2, 3) * [10, 1]
    inputs = {"u": list(x[:, 0]), "v": list(x[:, 1])}
    output = list(np.sin(x[:, 0] / 2) + x[:, 1] ** 2)
    answer = slices(inputs, output, at={"u": 3.0}, points=21)
    assert is_json(answer)
    assert answer["quality"] > 0.99
    assert answer["at"] == {"u": 3.0, "v": pytest.approx(np.median(x[:, 1]))}
    u, v = answer["slices"]
    inside = slice(2, -2)
    expected = [math.sin(a / 2) + answer["at"]["v"] ** 2 for a in u["x"]]
    assert u["mean"][inside] == pytest.approx(expected[inside], abs=0.05)
    assert v["mean"][inside] == pytest.approx(
        [math.sin(1.5) + b * b for b in v["x"]][inside], abs=0.05
    )
    assert len(u["x"]) == 21
    assert all(
        low <= m <= high for low, m, high in zip(u["lower"], u["mean"], u["upper"], strict=True)
    )
    assert answer["mean"] == pytest.approx(math.sin(1.5) + answer["at"]["v"] ** 2, abs=0.05)


def test_slices_at_a_point_that_is_not_in_the_data():
    x = [float(i) for i in range(10)]
    with pytest.raises(ValueError) as caught:
        slices({"a": x, "b": x[::-1]}, x, at={"a": 30.0, "c": 1.0, "b": math.nan})
    assert str(caught.value) == (
        "a: 30 is outside the data (0 to 9); c: there is no such input;"
        " b: nan is outside the data (0 to 9)"
    )


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        ({"a": [1.0, 2.0, 3.0, 4.0, 5.0]}, [1.0] * 5, "needs at least 8 finished runs, has 5"),
        ({"a": [None] * 9}, [1.0] * 9, "a: has no numbers to model"),
        ({"a": [1.0] * 9}, [1.0] * 9, "needs 1 to 20 inputs that vary, has 0"),
        ({"a": [1.0] * 8}, [1.0] * 9, "different lengths"),
        ({"a": [-1.7e308, 1.7e308] * 5}, [1.0] * 10, "too large to model"),
    ],
)
def test_what_cannot_be_modelled(inputs, output, message):
    for answer in (sensitivity, slices):
        with pytest.raises(ValueError, match=message):
            answer(inputs, output)


# --- the best runs --------------------------------------------------------------------------------


def test_the_pareto_front_of_the_reference():
    vector = VECTORS["pareto_min_min"]
    columns = {"f": [p[0] for p in vector["points"]], "g": [p[1] for p in vector["points"]]}
    answer = pareto(columns, [Goal(name="f"), Goal(name="g")])
    assert is_json(answer)
    assert answer["front"] == vector["front_indices"]
    assert answer["hypervolume"] == 3 * 2 + 1 * 2  # up to (5, 5)
    assert (answer["n"], answer["infeasible"]) == (6, 0)


def test_pareto_counts_what_is_not_feasible():
    columns = {"f": [1.0, 2.0, None], "g": [2.0, 1.0, 0.0], "c": [0.0, 9.0, 0.0]}
    goals, limits = [Goal(name="f"), Goal(name="g")], [Limit(name="c", upper=1.0)]
    answer = pareto(columns, goals, limits)
    assert (answer["front"], answer["n"], answer["infeasible"]) == ([0], 1, 2)
    with pytest.raises(ValueError, match="h: there is no such output"):
        pareto(columns, [Goal(name="h")])
    with pytest.raises(ValueError, match="needs an objective"):
        pareto(columns, [])


def test_convergence_of_one_goal():
    columns = {"f": [1.0, 5.0, None, 7.0, 4.0, 9.0], "c": [9.0, 0.0, 0.0, 0.0, 0.0, 0.0]}
    goals, limits = [Goal(name="f", direction="maximize")], [Limit(name="c", upper=1.0)]
    answer = convergence(columns, goals, limits)
    assert is_json(answer)
    assert answer["best"] == [None, 5.0, 5.0, 7.0, 7.0, 9.0]
    assert (answer["n"], answer["runs"]) == (4, 6)
    assert answer["improved"] == [0, 1, 3, 5]  # the first by its violation


def test_convergence_of_two_goals_grows():
    rng = np.random.default_rng(1)
    columns = {"f": list(rng.random(700)), "g": list(rng.random(700))}
    goals = [Goal(name="f"), Goal(name="g")]
    answer = convergence(columns, goals)
    assert is_json(answer)
    assert len(answer["at"]) <= 200
    assert answer["at"][-1] == 699
    assert answer["hypervolume"] == sorted(answer["hypervolume"])
    assert answer["hypervolume"][-1] == pytest.approx(pareto(columns, goals)["hypervolume"])
    assert convergence({"f": [], "g": []}, goals)["runs"] == 0
