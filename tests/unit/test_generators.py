"""Levels and inverse CDFs against vectors, and what is said about bad settings."""

import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.generators import (
    KINDS,
    MOST_LEVELS,
    BadSettings,
    Distribution,
    Levels,
    generator,
    passed_over,
    spread,
)

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "study-vectors.json").read_text())


def levels(kind: str, **settings: object) -> Levels:
    made = generator(kind, settings)
    assert isinstance(made, Levels)
    return made


def distribution(kind: str, **settings: object) -> Distribution:
    made = generator(kind, settings)
    assert isinstance(made, Distribution)
    return made


def faults(kind: str, **settings: object) -> dict[str, str]:
    with pytest.raises(BadSettings) as error:
        generator(kind, settings)
    assert error.value.faults
    return dict(error.value.faults)


def number(x: object) -> float:
    assert isinstance(x, float)
    return x


# --- vectors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["FixedRange"])
def test_fixed_range(vector: dict[str, Any]) -> None:
    expected = vector.pop("expect")
    made = levels("FixedRange", **vector)
    assert [Decimal(text) for text in made.values] == [Decimal(text) for text in expected]
    assert made.count == len(expected)
    assert not any(text.endswith(".0") for text in made.values)


@pytest.mark.parametrize("as_text", [True, False])
def test_fixed_range_as_text(as_text: bool) -> None:
    def sent(x: float) -> object:
        return str(x) if as_text else x

    made = levels("FixedRange", minvalue=sent(1), maxvalue=sent(10), increment=sent(1))
    assert made.values == tuple(map(str, range(1, 11)))
    made = levels("FixedRange", minvalue=sent(0), maxvalue=sent(1.0), increment=sent(0.1))
    assert " ".join(made.values) == "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1"


@pytest.mark.parametrize("vector", VECTORS["Linspace"])
def test_linspace(vector: dict[str, Any]) -> None:
    expected = vector.pop("expect")
    made = levels("Linspace", **vector)
    assert [float(text) for text in made.values] == expected


@pytest.mark.parametrize("vector", VECTORS["inverse_cdf"])
def test_inverse_cdf(vector: dict[str, Any]) -> None:
    made = distribution(vector["type"], **vector["settings"])
    for u, expected in zip(vector["u"], vector["value"], strict=True):
        assert made.at(u) == pytest.approx(expected, rel=1e-10, abs=1e-11)
    points = [number(made.at((i + 0.5) / 20_000)) for i in range(20_000)]
    mean = math.fsum(points) / len(points)
    assert mean == pytest.approx(vector["mean"], abs=1e-3 * vector["std"])
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in points) / len(points))
    assert deviation == pytest.approx(vector["std"], rel=2e-3)


# --- levels ---------------------------------------------------------------------------------------


def test_lists_keep_their_texts() -> None:
    made = levels("List", values=[" 2.20 ", 7, 0.5, "1e3"])
    assert made.values == ("2.20", "7", "0.5", "1e3")
    assert made.is_numeric
    assert made.bounds() == (0.5, 1000.0)
    assert made.choices() == ("0.5", "2.20", "7", "1e3")
    assert made.centre() == "2.20"
    steel = levels("", values=["steel", "zinc", "steel"])
    assert (steel.is_numeric, steel.bounds(), steel.centre()) == (False, None, "steel")
    assert steel.values == ("steel", "zinc", "steel")


def test_centres_are_levels() -> None:
    assert levels("FixedRange", minvalue=0, maxvalue=1, increment=0.3).centre() == "0.3"
    assert levels("Linspace", minvalue=1, maxvalue=3, count=3).centre() == "2"
    down = levels("FixedRange", minvalue=10, maxvalue=1, increment=-3)
    assert (down.bounds(), down.choices()) == ((1.0, 10.0), None)


def test_a_million_levels_are_not_made_to_count_them() -> None:
    made = levels("FixedRange", minvalue=1, maxvalue=MOST_LEVELS, increment=1)
    assert (made.count, made.text_at(MOST_LEVELS - 1)) == (MOST_LEVELS, "1000000")
    assert (
        "1000001 values"
        in faults("FixedRange", minvalue=0, maxvalue=10**6, increment=1)["increment"]
    )
    found = faults("FixedRange", minvalue="0", maxvalue="1e300", increment="1e-300")
    assert "more than 1e15" in found["increment"]
    assert "at most 1000000" in faults("Linspace", minvalue=0, maxvalue=1, count=10**7)["count"]


@given(
    start=st.decimals("-1000", "1000", places=3),
    step=st.decimals("-10", "10", places=3).filter(bool),
    count=st.integers(1, 200),
    more=st.decimals("0", "0.999", places=3),
)
def test_a_range_is_exact(start: Decimal, step: Decimal, count: int, more: Decimal) -> None:
    last = start + step * (count - 1 + more)
    made = levels("FixedRange", minvalue=str(start), maxvalue=str(last), increment=str(step))
    assert [Decimal(t) for t in made.values] == [start + step * i for i in range(count)]


ENDS = st.floats(-1e9, 1e9).filter(lambda x: not x or abs(x) > 1e-290)


@given(ENDS, ENDS, st.integers(2, 50))
def test_linspace_has_both_ends(first: float, last: float, count: int) -> None:
    made = levels("Linspace", minvalue=first, maxvalue=last, count=count)
    values = [float(text) for text in made.values]
    assert (values[0], values[-1], len(values)) == (first, last, count)
    assert values == sorted(values, reverse=first > last)


def test_spread_has_decimal_places() -> None:
    assert spread(0.1, 0.7, Fraction(1, 2)) == "0.4"
    assert spread(0.0, 1.0, Fraction(3, 10)) == "0.3"


# --- distributions --------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, object]] = {
    "Uniform": {"minvalue": -2, "maxvalue": "5"},
    "Normal": {"mean": 3, "standardDeviation": 0.5},
    "Triangular": {"minvalue": 0, "mode": 0, "maxvalue": 1},
    "LogNormal": {"mean": 10, "standardDeviation": 2},
    "Integer": {"minvalue": -3, "maxvalue": 3},
    "Discrete": {"values": [1, 2, 10], "weights": [1, 0, 2]},
    "Weibull": {"shape": 1.5, "scale": 20},
}


@given(
    st.sampled_from(sorted(SETTINGS)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_inverse_cdfs_ascend_and_are_finite(kind: str, u: float, v: float) -> None:
    made = distribution(kind, **SETTINGS[kind])
    first, second = (float(made.at(x)) for x in sorted((u, v)))
    assert first <= second
    assert math.isfinite(first) and math.isfinite(second)
    bounds = made.bounds()
    if bounds:
        assert bounds[0] <= first and second <= bounds[1]


def test_every_generator_is_tried() -> None:
    ranges = {"FixedRange", "Linspace", "List", "Categorical"}
    assert {name for name, *_ in KINDS} == set(SETTINGS) | ranges


def test_what_a_generator_does_not_know_is_passed_over() -> None:
    log_normal = {"mean": 1, "std": 2, "sigma": 2, "nominal": 3}
    shown = "mean, standardDeviation, logMean, logStandardDeviation, nominal, relative, unit, log"
    assert passed_over("log-normal", log_normal) == [("sigma", f"; there are {shown}")]
    assert passed_over("Normal", {"mu": 1, "Sigma": 2}) == []
    for kind, settings in SETTINGS.items():
        assert passed_over(kind, settings) == []


def test_uniform_leaves_its_end_out() -> None:
    assert number(distribution("Uniform", minvalue=1, maxvalue=2).at(1.0)) < 2


def test_whole_numbers() -> None:
    made = distribution("Integer", min=1, max=6)
    assert [made.at((i + 0.5) / 6) for i in range(6)] == [1, 2, 3, 4, 5, 6]
    assert (made.centre(), made.bounds(), made.is_whole) == (3, (1, 6), True)
    assert set(faults("Integer", min=0.5, max=6)) == {"min"}
    assert set(faults("Integer", min=7, max=6)) == {"max"}


def test_listed_values() -> None:
    made = distribution("Categorical", values=["steel", "zinc"], weights=["0.25", 0.75])
    assert [made.at(u) for u in (0, 0.24, 0.26, 1)] == ["steel", "steel", "zinc", "zinc"]
    assert (made.is_numeric, made.centre(), made.bounds()) == (False, "zinc", None)
    assert distribution("Discrete", values=["2.20", 1]).at(0) == "2.20", "texts are kept"
    assert distribution("Discrete", values=[5, 1]).bounds() == (1, 5)
    assert [distribution("Discrete", **SETTINGS["Discrete"]).at(u) for u in (0.3, 0.4)] == [
        "1",
        "10",
    ]


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (8.0, 9.0), (-30.0, -20.0), (5.0, 5.001)])
def test_a_truncated_normal_is_cut_off(low: float, high: float) -> None:
    made = distribution("Normal", mean=0, sigma=1, minvalue=low, maxvalue=high)

    def phi(z: float) -> float:  # of the nearer tail
        return 0.5 * math.erfc(abs(z) / math.sqrt(2))

    assert made.bounds() == (low, high)
    assert low <= number(made.at(0)) <= number(made.at(1)) <= high
    x = number(made.at(0.5))
    if low > 0 or high < 0:
        assert phi(x) == pytest.approx((phi(low) + phi(high)) / 2, rel=1e-6)
    else:
        assert x == pytest.approx(0.171164, abs=1e-6)


def test_a_normal_cut_off_on_one_side() -> None:
    made = distribution("Normal", mean=0, std=1, minvalue=0)
    assert made.bounds() is None
    assert made.at(0.5) == pytest.approx(0.6744897502)
    assert made.centre() == 0


def test_weibull() -> None:
    made = distribution("Weibull", shape=1, scale=2)
    assert made.at(0.5) == pytest.approx(2 * math.log(2))
    assert made.centre() == pytest.approx(2)


def test_centres() -> None:
    assert distribution("Uniform", minvalue=0.1, maxvalue=0.7).centre() == 0.4
    assert distribution("Triangular", min=0, peak=2, max=10).centre() == 2
    assert distribution("LogNormal", mean=10, std=2).centre() == 10
    assert distribution("LogNormal", logMean=0, logStandardDeviation=0.25).centre() == 1


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "same_kind", "same"),
    [
        ("fixed range", {"min": 1, "max": 3, "step": 1}, "FixedRange", ("1", "2", "3")),
        ("LINSPACE", {"minValue": 1, "max_value": 2, "n": 2}, "Linspace", ("1", "2")),
        ("Linspace", {"min": 1, "max": 2, "numberOfValues": "2"}, "Linspace", ("1", "2")),
        ("lin_space", {"min": 1, "max": 2, "steps": 2.0}, "Linspace", ("1", "2")),
    ],
)
def test_other_spellings(
    kind: str, settings: dict[str, object], same_kind: str, same: tuple[str, ...]
) -> None:
    assert levels(kind, **settings).values == same


def test_other_spellings_of_distributions() -> None:
    assert distribution("normal", mu=1, stddev="2") == distribution(
        "Normal", mean=1, standardDeviation=2
    )
    assert distribution("Log Normal", logMean=1, logStandardDeviation=2) == distribution(
        "log_normal", logmean="1", log_std="2"
    )


def test_the_key_of_a_log_normal_decides() -> None:
    assert "logMean" in faults("LogNormal", mean=1, logMean=0, logStandardDeviation=1)
    assert set(faults("LogNormal", mu=1, sigma=1)) == {"mean", "standardDeviation"}
    assert set(faults("LogNormal", logMean=1)) == {"logStandardDeviation"}


@pytest.mark.parametrize(
    ("kind", "settings", "keys"),
    [
        ("FixedRange", {}, {"minvalue", "maxvalue", "increment"}),
        ("FixedRange", {"min": "x", "max": None, "step": True}, {"min", "maxvalue", "step"}),
        ("FixedRange", {"min": 0, "max": 1, "step": 0}, {"step"}),
        ("FixedRange", {"min": 0, "max": 1, "step": -0.1}, {"step"}),
        ("FixedRange", {"min": 1, "max": 0, "step": 0.1}, {"step"}),
        ("FixedRange", {"min": "1e999999999", "max": 0, "step": 1}, {"min"}),
        ("FixedRange", {"min": 10**400, "max": 0, "step": -1}, {"min"}),
        ("FixedRange", {"min": math.nan, "max": math.inf, "step": 1}, {"min", "max"}),
        ("FixedRange", {"min": 0, "max": 1, "step": "1e-310"}, {"step"}),
        ("Linspace", {"min": 0, "max": 1, "count": 0}, {"count"}),
        ("Linspace", {"min": 0, "max": 1, "count": 2.5}, {"count"}),
        ("Linspace", {"min": 0, "max": [1], "count": "1e200"}, {"max", "count"}),
        ("List", {}, {"values"}),
        ("List", {"values": []}, {"values"}),
        ("List", {"values": "1,2"}, {"values"}),
        ("List", {"values": [1, {"a": 1}]}, {"values"}),
        ("List", {"values": ["a\0b"]}, {"values"}),
        ("List", {"values": [1] * 100_001}, {"values"}),
        ("Uniform", {"min": 1, "max": 1}, {"max"}),
        ("Normal", {"mean": 1, "std": 0}, {"std"}),
        ("Normal", {"mean": 1, "std": "-1", "min": 2, "max": 1}, {"std", "max"}),
        ("Normal", {"mean": 0, "std": 1, "min": 100}, {"min"}),
        ("Normal", {"mean": 0, "std": 1, "max": -100}, {"max"}),
        ("Triangular", {"min": 0, "mode": 2, "max": 1}, {"mode"}),
        ("Weibull", {"shape": 0, "scale": -1}, {"shape", "scale"}),
        ("Weibull", {"shape": 1e-5, "scale": 1}, {""}),
        ("LogNormal", {"logMean": 1000, "logStandardDeviation": 1}, {""}),
        ("LogNormal", {"mean": 1e-300, "standardDeviation": 1e300}, {""}),
        ("LogNormal", {"mean": -1, "standardDeviation": 1}, {"mean"}),
        ("Discrete", {"values": [1, 2], "weights": [1]}, {"weights"}),
        ("Discrete", {"values": [1, 2], "weights": [0, 0]}, {"weights"}),
        ("Discrete", {"values": [1, 2], "weights": [2, -1]}, {"weights"}),
        ("Discrete", {"values": [1, 2], "weights": "x"}, {"weights"}),
        ("Unifrm", {"min": 1, "max": 2}, {""}),
        ("!", {"values": [1]}, {""}),
    ],
)
def test_bad_settings(kind: str, settings: dict[str, object], keys: set[str]) -> None:
    assert set(faults(kind, **settings)) == keys


def test_messages() -> None:
    assert faults("FixedRange", minvalue="1,5", maxvalue=2) == {
        "minvalue": '"1,5" is not a number',
        "increment": "is required",
    }
    assert "there are FixedRange, Linspace" in faults("Unifrm")[""]
    assert len(faults("x" * 10_000)[""]) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *("minvalue", "maxvalue", "increment", "count", "mean", "standardDeviation", "mode"),
        *("values", "weights", "shape", "scale", "logMean", "logStandardDeviation"),
    ]
)


@given(st.sampled_from([name for name, *_ in KINDS]), st.dictionaries(KEYS, JSON, max_size=5))
def test_any_settings_are_good_or_explained(kind: str, settings: dict[str, object]) -> None:
    try:
        made = generator(kind, settings)
    except BadSettings as error:
        assert error.faults and all(message for _, message in error.faults)
    else:
        texts = [made.text_at(0)] if isinstance(made, Levels) else [str(made.at(0.5))]
        assert not made.is_numeric or math.isfinite(float(texts[0].replace("d", "e")))
