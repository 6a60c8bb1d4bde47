"""Filter expressions over rows."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.filters import MOST_CHARACTERS, BadFilter, Filter, Value, parse

ROW: dict[str, Value] = {
    "id": 3.0,
    "status": "done",
    "Cd": 0.015,
    "Cl": 0.4,
    "none": None,
    "nan": math.nan,
    "name": "fine mesh",
    "p max": -2.5,
    "U[1]": 7.0,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cd<0.02 and Cl>0.1", True),
        ("Cd<0.02 and Cl>0.5", False),
        ("Cd<0.01 or Cl>0.1", True),
        ("Cd = 0.015", True),
        ("Cd == 1.5e-2", True),
        ("Cd=1.5D-02", True),
        ("Cd != 0.015", False),
        ("Cd<=.015 and Cd>=.015", True),
        ("Cd<.015 or Cd>.015", False),
        ("0.02 > Cd", True),
        ("Cd < Cl", True),
        ("0 < Cd < 0.02 <= Cl", True),
        ("0 < Cd < 0.01", False),
        ("`p max`<-2 AND U[1]>-7", True),
        ("status='done'", True),
        ('status="failed"', False),
        ('name = "fine mesh"', True),
        ("name < 'g' and name > 'f'", True),
        ("not Cd<0.01", True),
        ("NOT (Cd<0.02 and Cl>0.1)", False),
        ("not not Cd<0.02", True),
        # `and` binds more than `or`, `not` more than both.
        ("id=3 or id=4 and id=5", True),
        ("(id=3 or id=4) and id=5", False),
        ("not id=4 and id=5", False),
        ("not (id=4 and id=5)", True),
        # Texts are no numbers.
        ("Cd = '0.015'", False),
        ("Cd != '0.015'", True),
        ("name > 1", False),
        ("name < 1", False),
        # What is missing does not match, however it is asked for.
        ("none < 1", False),
        ("not none < 1", False),
        ("none != 1", False),
        ("none = none", False),
        ("nan != nan", False),
        ("nan < 1 or nan >= 1", False),
        ("other = 1", False),
        ("none < 1 or id = 3", True),
        ("not (none < 1 and id = 4)", True),
        ("not (none < 1 and id = 3)", False),
    ],
)
def test_matches(text: str, expected: bool) -> None:
    assert parse(text).matches(ROW) is expected


def test_names() -> None:
    assert parse("Cd<0.02 and not (`p max`>Cd or status='x')").names == {"Cd", "p max", "status"}


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "a name, a number or a text in quotes is wanted here, not the end"),
        ("   ", 4, "a name, a number or a text in quotes is wanted here, not the end"),
        ("Cd", 3, "a comparison like < 0.5 is wanted here, not the end"),
        ("Cd <", 5, "a name, a number or a text in quotes is wanted here, not the end"),
        ("Cd<0.02 Cl>0.1", 9, '"and", "or" or the end is wanted here, not "Cl"'),
        ("Cd<0.02 and", 12, "a name, a number or a text in quotes is wanted here, not the end"),
        ("Cd<0.02 and and Cl>1", 13, 'a name, a number or a text in quotes is wanted here, not "a'),
        ("(Cd<0.02", 9, '")" is wanted here, not the end'),
        ("Cd<0.02)", 8, '"and", "or" or the end is wanted here, not ")"'),
        ("Cd => 1", 5, 'a name, a number or a text in quotes is wanted here, not ">"'),
        ("Cd ! 1", 4, 'write "not", or != for "is not"'),
        ("name = 'fine", 8, "there is no closing '"),
        ("Cd < `p", 6, "there is no closing `"),
        ("((((id))))=3", 7, "a comparison like < 0.5 is wanted here"),
    ],
)
def test_faults_say_where(text: str, column: int, message: str) -> None:
    with pytest.raises(BadFilter) as caught:
        parse(text)
    (fault,) = caught.value.faults
    assert fault.column == column
    assert fault.message.startswith(message)
    assert str(caught.value).startswith(f"column {column}: ")


def test_all_unknown_names_are_told() -> None:
    with pytest.raises(BadFilter) as caught:
        parse("cd<1 and status=failed or Cl>1", {"Cd", "Cl", "status"})
    assert [str(fault) for fault in caught.value.faults] == [
        'column 1: there is no variable "cd"; did you mean Cd?',
        'column 17: there is no variable "failed"; texts stand in quotes',
    ]


def test_work_is_bounded() -> None:
    for text in (
        "(" * 1000 + "Cd<1" + ")" * 900,
        "not " * 490 + "Cd<1",
        "x" * (MOST_CHARACTERS + 1),
    ):
        with pytest.raises(BadFilter):
            parse(text)
    assert parse("(" * 50 + "Cd<1" + ")" * 50).matches(ROW)
    assert parse(" or ".join(["Cd>1"] * 200) + " or Cd<1").matches(ROW)
    with pytest.raises(BadFilter):
        parse(f"Cd < {'9' * 1500}e{'9' * 100}", {"Cd"})


@given(st.text(max_size=60) | st.text("Cdl<>=!()andort'\"` 0.5-", max_size=60))
def test_any_text_is_a_filter_or_has_a_fault_inside_it(text: str) -> None:
    try:
        found = parse(text)
    except BadFilter as error:
        assert all(1 <= fault.column <= len(text) + 1 for fault in error.faults)
    else:
        assert found.matches(ROW) in (True, False)


_numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
_atoms = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), _numbers
)
_trees = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(inner, st.sampled_from(["and", "or"]), inner)
    ),
    max_leaves=12,
)


def written(tree: object) -> str:
    match tree:
        case ("not", inner):
            return f"not ({written(inner)})"
        case (tuple() as left, word, right):
            return f"({written(left)}) {word} ({written(right)})"
        case (name, sign, number):
            return f"{name}{sign}{number!r}"
    raise AssertionError(tree)


def judged(tree: object, row: Mapping[str, Value]) -> bool | None:
    """By Python, with None for unknown (Kleene's logic)."""
    match tree:
        case ("not", inner):
            said = judged(inner, row)
            return None if said is None else not said
        case (tuple() as left, "and", right):
            both = {judged(left, row), judged(right, row)}
            return False if False in both else None if None in both else True
        case (tuple() as left, "or", right):
            both = {judged(left, row), judged(right, row)}
            return True if True in both else None if None in both else False
        case (str() as name, sign, float() as number):
            value = row[name]
            if value is None:
                return None
            assert isinstance(value, float)
            results = {"<": value < number, ">": value > number, "=": value == number}
            results |= {"<=": value <= number, ">=": value >= number, "!=": value != number}
            return results[str(sign)]
    raise AssertionError(tree)


@given(
    _trees,
    st.fixed_dictionaries({name: st.none() | _numbers for name in "abc"}),
)
def test_it_means_what_python_means(tree: object, row: dict[str, Value]) -> None:
    found: Filter = parse(written(tree), {"a", "b", "c"})
    assert found.matches(row) is (judged(tree, row) is True)
