"""From a study to the values of its runs."""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain import runtable
from simyard.domain.errors import Refused
from simyard.domain.plans import BadPlan, Plan, extend, plan
from simyard.domain.runtable import RunTable
from simyard.domain.studies import Design, Optimizer, Role, Study, Value, Variable
from simyard.numerics.sampling import sample

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "study-vectors.json").read_text())


def no_sample(kind: str, **_: object) -> list[list[float]]:
    raise AssertionError(f"nothing is to be drawn: {kind}")


def halves(kind: str, *, dimensions: int, count: int, seed: int, skip: int) -> list[list[float]]:
    """Points that tell where they are in the sequence."""
    assert kind and seed == 7
    return [[(i + skip + 0.5) / 100] * dimensions for i in range(count)]


def variable(name: str, generator: str = "", role: Role = Role.PARAM, **settings: Any) -> Variable:
    return Variable(name=name, generator=generator, role=role, settings=settings)


def grid(name: str, first: object, last: object, step: object, **more: object) -> Variable:
    settings = {"minvalue": first, "maxvalue": last, "increment": step}
    return Variable(name=name, generator="FixedRange", settings={**settings, **more})


def uniform(name: str, low: float = 0, high: float = 1, **more: object) -> Variable:
    settings = {"minvalue": low, "maxvalue": high, **more}
    return Variable(name=name, generator="Uniform", settings=settings)


def study(*variables: Variable, **fields: Any) -> Study:
    return Study(variables=variables, **{"seed": 7, **fields})


def design(kind: str, count: int | None = None, **options: object) -> Design:
    return Design(kind=kind, count=count, options=options)


def table(text: str) -> RunTable:
    return runtable.read(text.encode())


def made(
    of: Study,
    runs: str = "",
    cases: str = "",
    sampler: Any = halves,
    defaults: Mapping[str, str] | None = None,
    most_runs: int = 1000,
) -> Plan:
    return plan(
        of,
        table(runs) if runs else None,
        table(cases) if cases else None,
        sampler,
        defaults=defaults,
        most_runs=most_runs,
    )


def texts(of: Plan) -> list[tuple[str, ...]]:
    rows = list(of.rows())
    assert len(rows) == of.count
    assert rows == list(of.rows()), "the same at every call"
    assert all(tuple(value.name for value in row) == of.names for row in rows)
    return [tuple(value.text for value in row) for row in rows]


def problems(of: Study, *args: Any, **more: Any) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(BadPlan) as error:
        made(of, *args, **more)
    paths = [problem.path for problem in error.value.problems]
    assert len(set(paths)) == len(paths)
    return {problem.path: problem.message for problem in error.value.problems}


# --- combinations ---------------------------------------------------------------------------------


def test_the_first_variable_varies_slowest() -> None:
    vector = VECTORS["full_factorial"]
    variables = [variable(v["name"], "List", values=v["values"]) for v in vector["variables"]]
    found = made(study(*variables), sampler=no_sample)
    assert found.names == ("a", "b")
    assert [[value.number for value in row] for row in found.rows()] == vector["expect"]
    assert texts(found)[1] == ("1", "20")


def test_an_index() -> None:
    found = made(study(grid("index", 1.0, 10.0, 1.0)))
    assert texts(found) == [(str(i),) for i in range(1, 11)]
    assert next(found.rows()) == (Value(name="index", text="1", number=1.0),)


def test_a_table_is_kept_as_it_is() -> None:
    found = made(study(), "d, v\ncase 1a, 2.20\ncase 1b, 3")
    assert found.names == ("d", "v")
    assert texts(found) == [("case 1a", "2.20"), ("case 1b", "3")]
    assert [row[1].number for row in found.rows()] == [2.2, 3.0]
    assert (found.notices, found.nominal) == ((), None)


def test_the_order_of_names_is_that_of_the_variables() -> None:
    of = study(variable("v"), grid("g", 1, 2, 1), variable("d"))
    found = made(of, "d,v\nx,1\ny,2")
    assert found.names == ("v", "g", "d")
    assert texts(found) == [("1", "1", "x"), ("1", "2", "x"), ("2", "1", "y"), ("2", "2", "y")]
    found = made(study(grid("g", 1, 2, 1), variable("d"), variable("v")), "d,v\nx,1\ny,2")
    assert texts(found) == [("1", "x", "1"), ("1", "y", "2"), ("2", "x", "1"), ("2", "y", "2")]


def test_each_cell_of_a_grid_gets_the_same_draws() -> None:
    of = study(uniform("u", 0, 100), grid("g", 1, 2, 1), uniform("w", 0, 200), draws=2)
    found = made(of)
    assert texts(found) == [
        ("0.5", "1", "1"),
        ("1.5", "1", "3"),
        ("0.5", "2", "1"),
        ("1.5", "2", "3"),
    ]
    assert next(found.rows())[0].number == 0.5


def test_cases_vary_fastest() -> None:
    of = study(grid("g", 1, 2, 1), uniform("u", 0, 100), variable("c", role=Role.CASE), draws=2)
    found = made(of, cases="c,load\nhot,1\ncold,2")
    assert found.names == ("g", "u", "c", "load")
    assert texts(found)[:5] == [
        ("1", "0.5", "hot", "1"),
        ("1", "0.5", "cold", "2"),
        ("1", "1.5", "hot", "1"),
        ("1", "1.5", "cold", "2"),
        ("2", "0.5", "hot", "1"),
    ]
    assert found.count == 8


def test_outputs_take_no_part() -> None:
    of = study(
        variable("Cd", role=Role.OUTPUT),
        grid("g", 1, 2, 1),
        variable("Cl", "nonsense", role=Role.OBJECTIVE),
        variable("T", role=Role.CONSTRAINT),
    )
    assert made(of).names == ("g",)


def test_nothing_that_varies_is_one_run() -> None:
    assert texts(made(study(variable("Cd", role=Role.OUTPUT), draws=5))) == [()]


def test_listed_values_that_are_drawn() -> None:
    of = study(variable("m", "Categorical", values=["steel", "2.20"]), draws=2)
    rows = list(made(of, sampler=lambda *_, **__: [[0.1], [0.9]]).rows())
    assert [(r[0].text, r[0].number) for r in rows] == [("steel", None), ("2.20", 2.2)]


# --- what is wrong --------------------------------------------------------------------------------


def test_everything_wrong_is_said_at_once() -> None:
    of = study(
        variable("2x", "List", values=[1]),
        grid("g", "x", 2, 0),
        variable("g", "List", values=[1]),
        variable("lost"),
        variable("u", "Unifrm", minvalue=0, maxvalue=1),
        variable("w", "Uniform", minvalue=0, maxvalue=1, relative="times"),
        variable("v", "List", values=[1]),
        variable("Cd", role=Role.OUTPUT),
    )
    found = problems(of, "v,Cd,k\n1,2,3", "k\n1")
    assert set(found) == {
        ("caseFile",),
        ("jobvariables", 0, "name"),
        ("jobvariables", 1, "valueGeneratorSettings", "minvalue"),
        ("jobvariables", 2, "name"),
        ("jobvariables", 3, "valueGeneratorType"),
        ("jobvariables", 4, "valueGeneratorType"),
        ("jobvariables", 5, "valueGeneratorSettings", "relative"),
        ("jobvariables", 6, "name"),
        ("jobvariables", 7, "name"),
        ("monteCarloIterations",),
    }
    assert "paramFile" in found[("jobvariables", 6, "name")]
    assert "at least 1" in found[("monteCarloIterations",)]


def test_random_variables_need_a_number_of_draws() -> None:
    assert set(problems(study(uniform("u")))) == {("monteCarloIterations",)}
    assert set(problems(study(uniform("u"), draws=0))) == {("monteCarloIterations",)}
    assert set(problems(study(uniform("u"), design=design("halton")))) == {("design", "count")}
    assert made(study(uniform("u"), design=design("halton", 4))).count == 4
    assert made(study(uniform("u"), design=design("halton"), draws=5)).count == 5


@pytest.mark.parametrize(
    ("of", "runs", "path", "number"),
    [
        (study(grid("a", 1, 11, 1), grid("b", 1, 10, 1)), "", ("jobvariables",), "110"),
        (study(uniform("a"), draws=101), "", ("monteCarloIterations",), "101"),
        (study(), "a\n" + "1\n" * 101, ("paramFile",), "101"),
        (study(uniform("a"), design=design("sobol", 128)), "", ("design", "count"), "128"),
        (
            study(*map(uniform, "abcdefg"), design=design("factorial")),
            "",
            ("design", "count"),
            "128",
        ),
        (study(grid("a", 1, 100, 1), nominal_run=True), "", ("jobvariables",), "101"),
        (
            study(*(grid(f"v{i}", 1, 1_000_000, 1) for i in range(1000))),
            "",
            ("jobvariables",),
            "more than 1e15",
        ),
    ],
)
def test_too_many_runs(of: Study, runs: str, path: tuple[str, ...], number: str) -> None:
    found = problems(of, runs, most_runs=100, sampler=no_sample)
    assert found == {path: f"{number} runs; at most 100 are allowed"}


def test_a_table_without_rows() -> None:
    with pytest.raises(BadPlan, match="paramFile: the study comes to 0 runs"):
        plan(study(), RunTable(names=("a",), rows=()), None, no_sample, most_runs=10)


def test_hostile_sizes() -> None:
    many = study(*(grid(f"v{i}", 1, 2, 1) for i in range(1001)))
    assert "1001 variables" in problems(many)[("jobvariables",)]
    wide = study(*(grid(f"v{i}", 1, 1_000_000, 1) for i in range(3)), design=design("oat"))
    assert "3000000 levels" in problems(wide)[("design", "kind")]
    far = study(*(uniform(f"v{i}", -1e300, 1e300) for i in range(900)))
    for kind in ("ccd", "factorial", "box-behnken", "pb", "fractional", "grid"):
        assert problems(study(*far.variables, design=design(kind, type="circumscribed")))
    assert set(problems(study(uniform("u"), draws=10**30))) == {("monteCarloIterations",)}


def test_missing_packages_are_seen_at_once() -> None:
    def refuse(kind: str, **_: object) -> list[list[float]]:
        raise Refused("needs the extra packages")

    with pytest.raises(Refused):
        made(study(uniform("u"), design=design("sobol", 4)), sampler=refuse)
    assert made(study(uniform("u"), draws=4), sampler=refuse).count == 4


# --- designs --------------------------------------------------------------------------------------


def test_a_sample_leaves_the_grid_alone() -> None:
    of = study(uniform("u", 0, 100), grid("g", 1, 2, 1), design=design("LHS", 2))
    assert texts(made(of)) == [("0.5", "1"), ("1.5", "1"), ("0.5", "2"), ("1.5", "2")]
    found = problems(study(grid("g", 1, 2, 1), design=design("lhs", 2)))
    assert "needs a variable with a distribution" in found[("design", "kind")]


def test_a_box_behnken_design() -> None:
    of = study(
        uniform("u", 0, 2),
        grid("g", 10, 20, 5),
        variable("c", "Integer", min=1, max=4),
        design=design("Box Behnken", centre=1),
    )
    found = made(of, sampler=no_sample)
    assert found.count == 13
    coded = {"0": -1, "1": 0, "2": 1}, {"10": -1, "15": 0, "20": 1}, {"1": -1, "2": 0, "4": 1}
    assert [
        [place[text] for place, text in zip(coded, row, strict=True)] for row in texts(found)
    ] == VECTORS["box_behnken_3_center1"]


def test_a_table_varies_beside_a_design() -> None:
    of = study(variable("m"), uniform("u", 0, 1), uniform("w", 0, 1), design=design("factorial"))
    found = texts(made(of, "m\nx\ny"))
    ends = list(itertools.product("01", "01"))
    assert found == [("x", *e) for e in ends] + [("y", *e) for e in ends]


def test_circumscribed_goes_beyond_and_says_so() -> None:
    of = study(uniform("u", 0, 2), uniform("w", 0, 2), design=design("ccd", type="circumscribed"))
    found = made(of)
    assert found.count == 9
    [notice] = found.notices
    assert "beyond the ranges" in notice
    assert min(row[0].number or 0 for row in found.rows()) == pytest.approx(1 - math.sqrt(2))
    assert made(study(*of.variables, design=design("ccd"))).notices == ()


def test_a_grid_over_ranges() -> None:
    of = study(
        uniform("u", 0, 1), variable("m", "Discrete", values=["b", "a"]), design=design("grid")
    )
    assert texts(made(of)) == list(itertools.product(("0", "0.5", "1"), "ba"))
    of = study(uniform("u", 0, 1), design=design("grid", levels=5))
    assert made(of).count == 5


def test_one_at_a_time_goes_around_the_nominal_values() -> None:
    of = study(
        grid("g", 1, 3, 1),
        uniform("u", 0, 1, nominal="0.25"),
        variable("m", "List", values=["steel", "zinc"]),
        design=design("one at a time"),
    )
    assert texts(made(of)) == [
        ("2", "0.25", "steel"),
        ("1", "0.25", "steel"),
        ("3", "0.25", "steel"),
        ("2", "0", "steel"),
        ("2", "1", "steel"),
        ("2", "0.25", "zinc"),
    ]
    assert texts(made(of, defaults={"g": "1.0"}))[0] == ("1.0", "0.25", "steel")
    assert made(of, defaults={"g": "1.0"}).count == 6, "1 is not run twice"


@pytest.mark.parametrize(
    ("kind", "variables", "path", "words"),
    [
        ("box-behnken", "uu", ("design", "kind"), "at least 3"),
        ("nonsense", "u", ("design", "kind"), "there are grid, lhs"),
        ("factorial", "n", ("design", "kind"), "v0 has no range"),
        ("grid", "n", ("design", "kind"), "v0 has no range"),
        ("one-at-a-time", "n", ("design", "kind"), "v0 has no range"),
        ("central-composite", "ul", ("design", "kind"), "none in the middle"),
        ("sobol", "", ("design", "kind"), "needs variables with a generator"),
        ("factorial", "c", ("design", "kind"), "v0 has no range"),
    ],
)
def test_designs_that_do_not_fit(
    kind: str, variables: str, path: tuple[str, ...], words: str
) -> None:
    kinds = {
        "u": variable("v", "Uniform", minvalue=0, maxvalue=1),
        "n": variable("v", "Normal", mean=0, std=1),
        "l": variable("v", "List", values=["a", "b"]),
        "c": variable("v", "List", values=["a"]),
    }
    named = [
        Variable(name=f"v{i}", generator=kinds[k].generator, settings=kinds[k].settings)
        for i, k in enumerate(variables)
    ]
    found = problems(study(*named, design=design(kind, 8 if kind == "sobol" else None)))
    assert words in found[path]


def test_options_and_counts_of_designs() -> None:
    of = [uniform(name) for name in "abc"]
    assert set(problems(study(*of, design=design("bbd", centre="x")))) == {
        ("design", "options", "centre")
    }
    assert (
        "has 13 runs for 3 variables"
        in problems(study(*of, design=design("bbd", 12)))[("design", "count")]
    )
    assert made(study(*of, design=design("bbd", 13))).count == 13


def test_which_variables_are_real() -> None:
    inputs: dict[str, tuple[Variable, bool]] = {
        "halves": (grid("v", 0.5, 2, 0.5), True),
        "index": (grid("v", 1.0, 10.0, 1.0), False),
        "text": (grid("v", "1", "10", "1"), False),
        "point": (grid("v", "1.", "10", "1"), True),
        "thirds": (variable("v", "Linspace", minvalue=0, maxvalue=1, count=4), True),
        "steps": (variable("v", "Linspace", minvalue=0, maxvalue=1e17, count=5), False),
        "list": (variable("v", "List", values=[1, 2.0, "3"]), False),
        "mixed": (variable("v", "List", values=[1, 2.5]), True),
        "texts": (variable("v", "List", values=["210000.", "2.0", "7E4"]), True),
        "words": (variable("v", "List", values=["a", "1"]), False),
        "uniform": (uniform("v", 0, 4), True),
        "integer": (variable("v", "Integer", minvalue=0, maxvalue=4), False),
        "discrete": (variable("v", "Discrete", values=[1, 2]), False),
        "weights": (variable("v", "Discrete", values=[1, 2.5]), True),
    }
    found = {name: made(study(of, draws=2)).reals == ("v",) for name, (of, _) in inputs.items()}
    assert found == {name: is_real for name, (_, is_real) in inputs.items()}
    chosen = dataclasses.replace(uniform("v"), role=Role.DESIGN)
    assert made(study(chosen, optimizer=Optimizer())).reals == ("v",)


def test_a_design_may_take_values_between_whole_numbers() -> None:
    of = [grid("a", 0, 10, 10), grid("b", 0, 5, 5), variable("c", "List", values=[1, 3, 5])]
    assert made(study(*of, design=design("factorial"))).reals == ()
    assert made(study(*of, design=design("bbd"))).reals == ("b",), "its middle is 2.5"
    far = study(*of[:2], design=design("ccd", type="circumscribed"))
    assert made(far).reals == ("a", "b")


def test_options_that_a_design_does_not_have() -> None:
    of = [uniform(name) for name in "ab"]
    wrong = {
        ("grid", "levls"): 'grid has no option "levls" (did you mean levels?)',
        ("factorial", "centre"): 'factorial has no option "centre"; there are none',
        ("ccd", "bogus"): 'central-composite has no option "bogus"; there are type, alpha, centre',
    }
    for (kind, key), message in wrong.items():
        found = problems(study(*of, design=design(kind, **{key: 2})))
        assert found == {("design", "options", key): message}
    for key in ("center", "Centre-Points", "centre"):
        assert made(study(*of, design=design("ccd", **{key: 2}))).count == 10
    old = study(uniform("u"), design=design("sobol", 4, bogus=1))
    assert len(list(extend(old, None, None, sample, done=4, more=2, most_runs=9))) == 2


def test_settings_that_have_no_effect_are_told() -> None:
    of = study(
        grid("a", 0, 1, 1, unit="m", minvalu=3),
        variable("b", "List", values=[1], Relative="add"),
        variable("c", "List", values=["x"], bogus=2),
    )
    assert made(of).notices == (
        'a: the setting "minvalu" is passed over (did you mean minvalue?).',
        'b: the setting "Relative" is passed over (did you mean relative?).',
        'c: the setting "bogus" is passed over; there are values, nominal, relative, unit, log.',
    )
    many = study(*(grid(f"v{n}", 0, 0, 1, bogus=1) for n in range(30)))
    assert len(made(many).notices) == 20


def test_a_better_number_of_sobol_points_is_proposed() -> None:
    [notice] = made(study(uniform("u"), design=design("sobol", 30))).notices
    assert "16 or 32 rather than 30" in notice
    assert made(study(uniform("u"), design=design("sobol", 32))).notices == ()
    assert made(study(uniform("u"), design=design("halton", 30))).notices == ()


def test_an_optimizer_chooses_the_runs() -> None:
    of = study(
        uniform("u"), variable("x", role=Role.DESIGN), optimizer=Optimizer(), nominal_run=False
    )
    found = made(of, sampler=no_sample)
    assert (found.count, found.names, list(found.rows())) == (0, ("u", "x"), [])
    with pytest.raises(BadPlan, match="valueGeneratorSettings"):
        made(study(variable("u", "Uniform"), optimizer=Optimizer()))


# --- nominal and relative values ------------------------------------------------------------------


def test_the_nominal_run() -> None:
    of = study(
        grid("set", 1, 4, 1, nominal="2.50"),
        grid("default", 1, 4, 1),
        grid("centre", 1, 4, 1),
        uniform("mean", 0, 3),
        variable("mode", "Triangular", minvalue=0, mode=1, maxvalue=5),
        draws=1,
        nominal_run=True,
    )
    found = made(of, defaults={"default": "12.3", "set": "9"})
    assert found.nominal is not None
    assert [(v.name, v.text, v.number) for v in found.nominal] == [
        ("set", "2.50", 2.5),
        ("default", "12.3", 12.3),
        ("centre", "2", 2.0),
        ("mean", "1.5", 1.5),
        ("mode", "1", 1.0),
    ]
    assert found.count == 64, "the nominal run is no row"


def test_a_column_has_no_nominal_value_without_a_default() -> None:
    of = study(nominal_run=True)
    assert problems(of, "x\n1") == {("includeNominalRun",): "no nominal value for x"}
    found = made(of, "x,y\n1,2", defaults={"x": "5", "y": "steel"})
    assert found.nominal is not None
    assert [value.text for value in found.nominal] == ["5", "steel"]
    bad = study(grid("g", 1, 2, 1, nominal=[1]), nominal_run=True)
    assert set(problems(bad)) == {("jobvariables", 0, "valueGeneratorSettings", "nominal")}


def test_relative_values() -> None:
    of = study(
        grid("a", 0.5, 1, 0.5, relative="add"),
        variable("f", "List", values=[1.1], relative="factor"),
        variable("p", "List", values=[3]),
        nominal_run=True,
    )
    found = made(of, defaults={"a": "12.3", "f": "12.3", "p": "1"})
    first = next(found.rows())
    assert first[0] == Value(name="a", text="0.5", number=0.5, is_relative=True)
    assert [value.is_relative for value in first] == [True, True, False]
    assert found.nominal is not None
    assert [value.text for value in found.nominal] == ["0", "1", "1"], "the defaults themselves"
    texts_only = study(variable("m", "List", values=["steel"], relative="add"))
    assert set(problems(texts_only)) == {("jobvariables", 0, "valueGeneratorSettings", "relative")}


# --- sequences that grow --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sobol", "halton", "monte-carlo", None])
def test_more_points_continue_the_sequence(kind: str | None) -> None:
    if kind in ("sobol", "halton"):
        pytest.importorskip("scipy")
    of = [grid("g", 1, 2, 1), uniform("u"), variable("n", "Normal", mean=0, std=1)]

    def of_count(count: int) -> Study:
        if kind is None:
            return study(*of, draws=count)
        return study(*of, design=design(kind, count))

    small = list(made(of_count(4), sampler=sample).rows())
    large = list(made(of_count(8), sampler=sample).rows())
    added = list(extend(of_count(4), None, None, sample, done=4, more=4, most_runs=100))
    assert small[:4] + added[:4] + small[4:] + added[4:] == large


def test_what_cannot_be_extended() -> None:
    def refused(of: Study, done: int = 4, more: int = 4) -> str:
        with pytest.raises(BadPlan) as error:
            extend(of, None, None, no_sample, done=done, more=more, most_runs=100)
        return str(error.value)

    assert "only sobol, halton, monte-carlo" in refused(study(uniform("u"), design=design("lhs")))
    assert "box-behnken" in refused(study(*map(uniform, "abc"), design=design("bbd")))
    assert "no variable is random" in refused(study(grid("g", 1, 2, 1)))
    assert "number of points" in refused(study(uniform("u"), draws=4), more=0)
    assert "optimizer" in refused(study(uniform("u"), draws=4, optimizer=Optimizer()))


def test_the_same_seed_gives_the_same_runs() -> None:
    one, other = (made(study(uniform("u"), draws=3, seed=seed), sampler=sample) for seed in (1, 2))
    assert texts(one) != texts(other)
    assert texts(one)[0] == ("0.9064717269000477",)


# --- properties -----------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 4), max_size=4),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_the_count_is_the_product(
    levels: list[int], random: int, draws: int, rows: int, cases: int, order: Any
) -> None:
    variables = [grid(f"g{i}", 1, count, 1) for i, count in enumerate(levels)]
    variables += [uniform(f"u{i}") for i in range(random)]
    order.shuffle(variables)
    found = made(
        study(*variables, draws=draws),
        "t\n" + "".join(f"{i}\n" for i in range(rows)) if rows else "",
        "c\n" + "".join(f"{i}\n" for i in range(cases)) if cases else "",
        most_runs=100_000,
    )
    expected = math.prod(levels) * (draws if random else 1) * max(rows, 1) * max(cases, 1)
    assert found.count == expected
    assert len(set(texts(found))) == expected
    assert found.names[bool(rows) : len(found.names) - bool(cases)] == tuple(
        v.name for v in variables
    )
