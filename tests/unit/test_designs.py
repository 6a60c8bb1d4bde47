"""Coded designs against vectors and by their properties; points of the unit cube."""

import builtins
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.designs import (
    DESIGNS,
    BadDesign,
    Way,
    box_behnken,
    central_composite,
    coded,
    design_kind,
    fractional,
    levels_of,
    one_at_a_time,
    placed,
    plackett_burman,
    two_level,
)
from simyard.domain.errors import Refused
from simyard.domain.generators import Distribution, Levels, generator
from simyard.numerics.sampling import sample

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "study-vectors.json").read_text())


def faults(kind: str, factors: int, **options: object) -> list[tuple[str, str]]:
    with pytest.raises(BadDesign) as error:
        coded(DESIGNS[kind], factors, options)
    return error.value.faults


# --- vectors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "vector"),
    [
        (box_behnken(3, 1), "box_behnken_3_center1"),
        (central_composite(2, "faced", 1), "ccd_2_center_0_1_face"),
        (central_composite(2, "circumscribed", 1), "ccd_2_center_0_1_circumscribed_rotatable"),
        (plackett_burman(5), "plackett_burman_5"),
        (fractional("a b ab"), "two_level_frac_2^(3-1)_a_b_ab"),
    ],
)
def test_vectors(points: Any, vector: str) -> None:
    assert [list(point) for point in points] == VECTORS[vector]


# --- properties -----------------------------------------------------------------------------------


def columns(points: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    return list(zip(*points, strict=True))


def are_orthogonal(points: Sequence[tuple[float, ...]]) -> bool:
    return all(
        sum(a * b for a, b in zip(one, other, strict=True)) == 0
        for one, other in itertools.combinations(columns(points), 2)
    )


@pytest.mark.parametrize("factors", range(1, 24))
def test_plackett_burman(factors: int) -> None:
    points = list(plackett_burman(factors))
    assert len(points) == 4 * (factors // 4 + 1)
    assert are_orthogonal(points)
    assert all(sum(column) == 0 for column in columns(points)), "each end is run equally often"
    assert {x for point in points for x in point} == {-1.0, 1.0}


def test_two_level() -> None:
    assert list(two_level(2)) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    assert len(set(two_level(6))) == 64


@pytest.mark.parametrize("words", ["a b c abc", "a b c d -abcd", "A B C AB AC BC ABC", "a b -ab"])
def test_fractions_are_orthogonal(words: str) -> None:
    points = list(fractional(words))
    letters = sum(len(word.lstrip("-")) == 1 for word in words.split())
    assert len(points) == 2**letters
    assert are_orthogonal(points)


@pytest.mark.parametrize(
    ("factors", "runs"), [(3, 12), (4, 24), (5, 40), (6, 48), (7, 56), (8, 112), (10, 180)]
)
def test_box_behnken(factors: int, runs: int) -> None:
    points = list(box_behnken(factors, 0))
    assert len(points) == len(set(points)) == runs
    assert are_orthogonal(points)
    together = set(itertools.combinations(range(factors), 2))
    for point in points:
        varied = [i for i, x in enumerate(point) if x]
        together -= set(itertools.combinations(varied, 2))
    assert not together, "every two variables vary together somewhere"
    assert len({sum(map(abs, column)) for column in columns(points)}) == 1


@pytest.mark.parametrize("factors", [2, 3, 5])
def test_a_rotatable_design_is_one(factors: int) -> None:
    points = list(central_composite(factors, "circumscribed", 3))
    assert points[-3:] == [(0.0,) * factors] * 3
    first, second = columns(points)[:2]
    fourth = sum(x**4 for x in first)
    mixed = sum((x * y) ** 2 for x, y in zip(first, second, strict=True))
    assert fourth == pytest.approx(3 * mixed)
    inside = list(central_composite(factors, "inscribed", 3))
    far = max(x for point in points for x in point)
    assert [tuple(x * far for x in point) for point in inside] == [
        pytest.approx(point) for point in points
    ]


def test_one_at_a_time() -> None:
    assert list(one_at_a_time([2, 0, 1])) == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 0, 1)]


CODED = [kind.name for kind in DESIGNS.values() if kind.way is Way.CODED]


@given(
    st.sampled_from(CODED),
    st.integers(1, 9),
    st.sampled_from(["faced", "circumscribed", "inscribed"]),
    st.integers(0, 4),
)
def test_counts_and_places_are_known_before(
    kind: str, factors: int, shape: str, centre: int
) -> None:
    try:
        made = coded(DESIGNS[kind], factors, {"type": shape, "center": centre})
    except BadDesign:
        assert factors < 3
        return
    points = list(made.points())
    assert points == list(made.points()), "as often as one likes"
    assert len(points) == made.count
    assert all(len(point) == factors for point in points)
    assert {x for point in points for x in point} <= set(made.places)


# --- options --------------------------------------------------------------------------------------


def test_kinds() -> None:
    assert " ".join(DESIGNS) == (
        "grid lhs sobol halton monte-carlo factorial fractional plackett-burman box-behnken"
        " central-composite one-at-a-time"
    )
    for name, kind in {
        "Monte Carlo": "monte-carlo",
        "BOX_BEHNKEN": "box-behnken",
        "OneAtATime": "one-at-a-time",
        "Latin Hypercube": "lhs",
        "ccd": "central-composite",
    }.items():
        assert design_kind(name) is DESIGNS[kind]
    assert design_kind("grids") is None
    assert {k.name for k in DESIGNS.values() if k.can_grow} == {"sobol", "halton", "monte-carlo"}


@pytest.mark.parametrize(
    ("kind", "factors", "options", "keys"),
    [
        ("box-behnken", 2, {}, ["kind"]),
        ("box-behnken", 3, {"centre": -1}, ["centre"]),
        ("box-behnken", 3, {"centre": 10**9}, ["centre"]),
        ("box-behnken", 3, {"centre": True}, ["centre"]),
        ("plackett-burman", 24, {}, ["kind"]),
        ("central-composite", 1, {}, ["kind"]),
        ("central-composite", 1000, {}, ["kind"]),
        ("central-composite", 2, {"type": "round", "alpha": "x", "centre": "y"}, None),
        ("central-composite", 2, {"alpha": 1.4}, ["alpha"]),
        ("central-composite", 2, {"type": "circumscribed", "alpha": math.nan}, ["alpha"]),
        ("central-composite", 2, {"type": "circumscribed", "alpha": "1e999"}, ["alpha"]),
        ("central-composite", 2, {"type": "circumscribed", "alpha": 0}, ["alpha"]),
        ("factorial", 27, {}, ["kind"]),
        ("factorial", 0, {}, ["kind"]),
        ("fractional", 2, {}, ["generators"]),
        ("fractional", 3, {"generators": "a b"}, ["generators"]),
        ("fractional", 3, {"generators": "a b b"}, ["generators"]),
        ("fractional", 3, {"generators": "a b ba"}, None),
        ("fractional", 3, {"generators": "a b bc"}, ["generators"]),
        ("fractional", 3, {"generators": "a b 1"}, ["generators"]),
        ("fractional", 3, {"generators": "a b aab"}, ["generators"]),
        ("fractional", 4, {"generators": "a b ab --a"}, ["generators"] * 2),
        ("fractional", 3, {"generators": 7}, ["generators"]),
    ],
)
def test_bad_options(
    kind: str, factors: int, options: dict[str, object], keys: list[str] | None
) -> None:
    if kind == "fractional" and options.get("generators") == "a b ba":
        assert coded(DESIGNS[kind], factors, options).count == 4
        return
    found = [key for key, _ in faults(kind, factors, **options)]
    assert found == (keys or ["type", "alpha", "centre"])


def test_options_in_other_forms() -> None:
    made = coded(
        DESIGNS["central-composite"],
        3,
        {"Type": "Circumscribed", "alpha": "2", "Center": "5"},
    )
    assert (made.count, max(made.places)) == (8 + 6 + 5, 2.0)
    assert coded(DESIGNS["fractional"], 5, {}).count == 16
    assert coded(DESIGNS["fractional"], 3, {"generators": ["a", "b", "ab"]}).count == 4


def test_huge_designs_are_counted_and_not_made() -> None:
    assert coded(DESIGNS["factorial"], 26, {}).count == 2**26
    assert coded(DESIGNS["box-behnken"], 1000, {}).count == 2 * 1000 * 999 + 1


# --- values at places -----------------------------------------------------------------------------


def made(kind: str, **settings: object) -> Levels | Distribution:
    return generator(kind, settings)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (made("Uniform", min=0.1, max=0.7), ["0.1", "0.4", "0.7"]),
        (made("FixedRange", min=10, max=1, step=-3), ["1", "5.5", "10"]),
        (made("Integer", min=1, max=6), ["1", "4", "6"]),
        (made("List", values=[8, 1, 2]), ["1", "2", "8"]),
        (made("List", values=["x", "b"]), ["x", None, "b"]),
        (made("Discrete", values=["2.0", "10", "1"]), ["1", "2.0", "10"]),
        (made("Normal", mean=0, std=1), [None, None, None]),
        (made("Normal", mean=0, std=1, min=-2, max=2), ["-2", "0", "2"]),
    ],
)
def test_places(values: Levels | Distribution, texts: list[str | None]) -> None:
    assert [placed(values, place) for place in (-1, 0, 1)] == texts


def test_places_beyond_the_range() -> None:
    assert placed(made("Uniform", min=0, max=2), 1.5) == "2.5"
    assert placed(made("List", values=[1, 2, 3]), 1.5) is None


def test_levels_of_distributions() -> None:
    def texts(count: int, kind: str, **settings: object) -> tuple[str, ...] | None:
        source = made(kind, **settings)
        assert isinstance(source, Distribution)
        levels = levels_of(source, count)
        return levels and levels.values

    assert texts(3, "Uniform", min=0, max=1) == ("0", "0.5", "1")
    assert texts(3, "Integer", min=1, max=2) == ("1", "2")
    assert texts(3, "Integer", min=1, max=10) == ("1", "6", "10")
    assert texts(3, "Categorical", values=["b", "a"]) == ("b", "a")
    assert texts(3, "Weibull", shape=1, scale=1) is None


# --- points of the unit cube ----------------------------------------------------------------------

KINDS = [kind.name for kind in DESIGNS.values() if kind.way is Way.SAMPLE]


def with_packages(kind: str) -> None:
    if DESIGNS[kind].needs_extra:
        pytest.importorskip("scipy")


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_reproducible_and_inside(kind: str) -> None:
    with_packages(kind)
    points = sample(kind, dimensions=3, count=37, seed=5)
    assert points == sample(kind, dimensions=3, count=37, seed=5)
    assert points != sample(kind, dimensions=3, count=37, seed=6)
    assert len(points) == 37 and {len(point) for point in points} == {3}
    assert all(0 < x < 1 and type(x) is float for point in points for x in point)
    assert sample(kind, dimensions=0, count=2, seed=5) == [[], []]
    assert len(sample(kind, dimensions=1, count=1, seed=5)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_marginals(kind: str) -> None:
    """Kolmogorov-Smirnov at a fixed seed; p = 0.001 is at 1.95."""
    with_packages(kind)
    count = 1024
    for column in columns([tuple(p) for p in sample(kind, dimensions=4, count=count, seed=11)]):
        ordered = sorted(column)
        gap = max(max((i + 1) / count - x, x - i / count) for i, x in enumerate(ordered))
        assert gap * math.sqrt(count) < 1.95
        assert statistics.fmean(column) == pytest.approx(0.5, abs=0.04)
        assert statistics.pstdev(column) == pytest.approx(1 / math.sqrt(12), abs=0.02)


@pytest.mark.parametrize("kind", [k for k in KINDS if DESIGNS[k].can_grow])
@pytest.mark.parametrize("done", [8, 5])
def test_sequences_grow(kind: str, done: int) -> None:
    with_packages(kind)
    whole = sample(kind, dimensions=3, count=16, seed=3)
    assert sample(kind, dimensions=3, count=done, seed=3) == whole[:done]
    assert sample(kind, dimensions=3, count=16 - done, seed=3, skip=done) == whole[done:]


def test_monte_carlo_has_a_stream_for_each_dimension() -> None:
    few = sample("monte-carlo", dimensions=2, count=5, seed=3)
    more = sample("monte-carlo", dimensions=3, count=5, seed=3)
    assert few == [point[:2] for point in more]
    assert few[0] == pytest.approx([0.5188766820493568, 0.5774325946789439]), "on any machine"


def test_each_row_of_a_hypercube_is_hit_once() -> None:
    pytest.importorskip("scipy")
    for count in (2, 10, 150):
        for column in columns([tuple(p) for p in sample("lhs", dimensions=3, count=count, seed=1)]):
            assert sorted(int(x * count) for x in column) == list(range(count))


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in ("numpy", "scipy"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for kind in KINDS:
        if DESIGNS[kind].needs_extra:
            with pytest.raises(Refused, match=r"needs the extra packages: pip install 'simyard\["):
                sample(kind, dimensions=1, count=1, seed=1)
        else:
            assert sample(kind, dimensions=1, count=1, seed=1)


def test_points_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="lhs"):
        sample("lhs", dimensions=1, count=1, seed=1, skip=1)
    with pytest.raises(ValueError, match="spiral"):
        sample("spiral", dimensions=1, count=1, seed=1)
    with pytest.raises(Refused, match="at most 1000"):
        sample("monte-carlo", dimensions=1001, count=1, seed=1)
