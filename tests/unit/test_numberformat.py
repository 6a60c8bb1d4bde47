"""Number patterns against what a JDK printed, and the other ways to write a number."""

import json
import math
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.numberformat import (
    BadPattern,
    as_written,
    canonical,
    canonical_decimal,
    decimal_of,
    fixed_width,
    pattern,
    printf,
)

VECTORS = json.loads(
    (Path(__file__).parents[1] / "data" / "decimal-format-vectors.json").read_text("utf-8")
)
GOOD = [v for v in VECTORS if not v.get("optional") and v["expected"] is not None]
BAD = [v["format"] for v in VECTORS if v["expected"] is None]
# Java accepts them and drops or shifts digits, or prints a currency.
REFUSED = ["E0", "0 0", "abc", "¤0.00", "¤#,##0.00;(¤#,##0.00)"]


def formatted(text: str, x: str) -> str:
    number = decimal_of(x)
    assert number is not None
    return pattern(text).format(number)


def test_there_are_vectors_of_every_kind() -> None:
    assert len(GOOD) > 450 and len(BAD) == 7
    assert sum("expected_exact_decimal" in v for v in GOOD) > 20


def test_patterns_as_java_has_them() -> None:
    wrong = {
        (v["format"], v["value"]): got
        for v in GOOD
        if (got := formatted(v["format"], v["value"]))
        != v.get("expected_exact_decimal", v["expected"])
    }
    assert wrong == {}


@pytest.mark.parametrize("text", [*BAD, *REFUSED])
def test_patterns_that_are_refused(text: str) -> None:
    with pytest.raises(BadPattern):
        pattern(text)


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        ("0", "0.5", "0"),
        ("0", "1.5", "2"),
        ("0", "-0.5", "-0"),
        ("0.00", "0.125", "0.12"),
        ("0.00", "2.675", "2.68"),  # the double is below the tie
        ("0.0", "0.15", "0.2"),
        ("0.0", "9.99", "10.0"),
        ("0.0E0", "999999", "1.0E6"),
        ("0E0", "95", "1E2"),
        ("00E00", "9.5", "95E-01"),
        ("0.000E0", "12345", "1.234E4"),
        ("0.0##E0", "4.9e-324", "4.9E-324"),
        ("0", "1e22", "10000000000000000000000"),
        ("000", "5", "005"),
        ("0,000", "12", "0,012"),
        ("#,##0.00", "-1234567.891", "-1,234,567.89"),
        ("###,##,##0", "1234567", "1,234,567"),
        ("#,####0", "1234567", "12,34567"),
        ("0.00;(0.00)", "-1234.5", "(1234.50)"),
        ("(0)", "-1", "-(1)"),
        ("x=0.0", "-1.25", "-x=1.2"),
        ("0.0;0.0", "-1", "-1.0"),
        ("0;", "-1", "-1"),
        ("0%", "0.125", "12%"),
        ("0‰", "-0.0125", "-12‰"),
        ("0.00E0%", "0.125", "1.25E1%"),
        ("'#'0", "5", "#5"),
        ("0 'o''clock'", "5", "5 o'clock"),
        ("0.0' E'", "5", "5.0 E"),
        ("0.", "12.345", "12."),
        ("#.#", "0.25", "0.2"),
        ("#.00", "0.5", ".50"),
        ("#", "0", "0"),
        (".###", "0", ".0"),
        ("##0.###E0", "12345", "12.345E3"),
        ("##0.###E0", "0.000123", "123E-6"),
        ("##0.###E0", "0", "0E0"),
        ("#00.0E0", "1", "1.00E0"),  # least digits: those before and behind the point together
        ("#00.0E0", "0", "0.00E0"),
        ("00.###E0", "0.00123", "12.3E-4"),
        ("000.0E0", "1", "100.0E-2"),
        (".00E0", "12345", ".12E5"),
        ("#.00E0", "12345", ".123E5"),
        ("00E00", "0", "00E00"),
        ("0.0", "-0.0", "0.0"),
        ("0.0", "-0.004", "-0.0"),
        ("0.0", "1.5D+02", "150.0"),
    ],
)
def test_patterns_by_name(text: str, x: str, expected: str) -> None:
    assert formatted(text, x) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no digit in it"),
        (".", "there is no digit in it"),
        ("%.3f", "there is no digit in it"),
        ("'0.0", "a ' is not closed"),
        ("0.0.0", "two points"),
        ("0#", "before the point # comes first"),
        ("0.#0", "before the point # comes first"),
        ("0,.0", "a comma"),
        ("0.0,0", "a comma"),
        ("0E", "the E needs a 0"),
        ("E0", "begins no exponent"),
        ("0.0E0E", "begins no exponent"),
        ("0 m0", '"0" cannot follow'),
        ("10.0", '"1" would be read as a part of the number'),
        ("0%‰", "only one %"),
        ("0;0;0", "only one ;"),
        ("0;x", "there is no digit in it"),
        ("0" * 201, "at most 200 characters"),
    ],
)
def test_what_is_said_of_a_bad_pattern(text: str, reason: str) -> None:
    with pytest.raises(BadPattern, match=reason):
        pattern(text)


@pytest.mark.parametrize("x", ["NaN", "Infinity", "-Infinity", "1e400", "1e999999", "1e-999999"])
def test_numbers_that_no_pattern_takes(x: str) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        pattern("0.0").format(Decimal(x))


def test_a_zero_may_have_any_exponent() -> None:
    assert pattern("0.0").format(Decimal("0e-700")) == "0.0"


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, st.integers(0, 30))
def test_a_plain_pattern_is_right_to_half_a_unit(x: float, places: int) -> None:
    exact = Decimal(repr(x))
    text = pattern("#,##0." + "0" * places).format(exact).replace(",", "")
    assert len(text.partition(".")[2]) == places
    assert abs(Decimal(text) - exact) <= Decimal(5).scaleb(-places - 1)


@given(finite, st.integers(0, 3), st.integers(1, 4), st.integers(0, 12))
def test_an_exponent_pattern_is_right_to_half_a_unit(
    x: float, lead: int, whole: int, places: int
) -> None:
    exact = Decimal(repr(x))
    written = Decimal(pattern("#" * lead + "0" * whole + "." + "0" * places + "E0").format(exact))
    unit = Decimal(1).scaleb(exact.adjusted() + 1 - lead - whole - places)
    assert abs(written - exact) <= (unit / 2 if exact else 0)


@given(st.text("#0,.E;%‰' -x'5", max_size=14), st.decimals(-1000, 1000, places=4))
def test_a_pattern_is_read_or_refused(text: str, x: Decimal) -> None:
    try:
        found = pattern(text)
    except BadPattern:
        return
    assert any(character.isdigit() for character in found.format(x))


# --- numbers as text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20", "20"),
        ("2.20", "2.20"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        ("+1e-3", "0.001"),
        ("1.5D+02", "1.5E+2"),
        ("1d3", "1E+3"),
        ("007", "7"),
        ("1e" + "0" * 390 + "5", "1E+5"),
        ("4.9e-324", "4.9E-324"),
        ("1.7976931348623157e308", "1.7976931348623157E+308"),
        ("0." + "3" * 300, "0." + "3" * 300),
    ],
)
def test_what_is_a_number(text: str, expected: str) -> None:
    assert str(decimal_of(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", " 1", "1 ", "1 2", "1\n", "-", ".", "e5", "1e", "1e+", "1.2.3", "--1"),
        *("nan", "inf", "-Infinity", "0x10", "1_0", "1,5", "٣", "²", "1f"),
        *("1e309", "1e401", "1e999999999", "1e-999999999", "0e999999999", "1e" + "9" * 390),
        "1" * 401,
    ],
)
def test_what_is_none(text: str) -> None:
    assert decimal_of(text) is None


@given(finite)
def test_every_double_is_a_number(x: float) -> None:
    assert decimal_of(repr(x)) == Decimal(repr(x))


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (20.0, "20"),
        (3.5, "3.5"),
        (-0.0187556, "-0.0187556"),
        (9810.0, "9810"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e-16, "0.0000000000000001"),
        (9e-17, "9E-17"),
        (-1.5e-20, "-1.5E-20"),
        (12345678901234567.0, "12345678901234568"),
        (1e17, "1E17"),
        (5e-324, "5E-324"),
    ],
)
def test_canonical_text(x: float, expected: str) -> None:
    assert canonical(x) == expected


@given(finite)
def test_canonical_text_reads_back(x: float) -> None:
    text = canonical(x)
    assert float(text) == x
    assert canonical_decimal(Decimal(text)) == text
    assert len(text) <= 35


def test_canonical_text_of_a_decimal_keeps_all_its_digits() -> None:
    assert canonical_decimal(Decimal("0.12345678901234567890")) == "0.1234567890123456789"
    assert canonical_decimal(Decimal("13.530")) == "13.53"
    assert canonical_decimal(Decimal(-120)) == "-120"


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_canonical_text(x: float) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        canonical(x)


# --- conversions and fields -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "x", "expected"),
    [
        ("%12.5e", "1234.5", " 1.23450e+03"),
        ("%.3f", "-0.0187556", "-0.019"),
        ("%.2f", "2.675", "2.67"),  # C sees the double
        ("%+G", "1e-7", "+1E-07"),
        ("%-8g", "0.5", "0.5     "),
        ("%05d", "42", "00042"),
        ("%d", "4e1", "40"),
        ("%d", "4.5", ValueError),
        ("%s", None, None),
        ("%x", None, None),
        ("%5.1", None, None),
        ("%%", None, None),
        ("%*d", None, None),
        ("%(x)d", None, None),
        ("%101d", None, None),
        ("%.101f", None, None),
        ("%999999999d", None, None),
    ],
)
def test_conversions(spec: str, x: str | None, expected: object) -> None:
    if x is None:
        with pytest.raises(BadPattern):
            printf(spec, Decimal(1))
    elif expected is ValueError:
        with pytest.raises(ValueError, match="needs a whole number"):
            printf(spec, Decimal(x))
    else:
        assert printf(spec, Decimal(x)) == expected


@pytest.mark.parametrize(
    ("x", "width", "expected"),
    [
        ("20", 8, "      20"),
        ("20.0", 8, "     20."),
        ("1e5", 8, " 100000."),
        ("12345678", 8, "12345678"),
        ("123456789", 8, "1.2346E8"),
        ("123456.789", 8, "123456.8"),
        ("0.333333333333", 8, ".3333333"),
        ("-0.333333333333", 8, "-.333333"),
        ("0.25", 8, "    0.25"),
        ("0.25", 3, ".25"),
        ("1.23456789e-9", 8, "1.2346-9"),
        ("1.2e-9", 8, "  1.2E-9"),
        ("1e-300", 8, " 1.E-300"),
        ("99999999.6", 8, "    1.E8"),
        ("9.99", 3, "10."),
        ("-0.00", 4, "  0."),
        ("0", 1, "0"),
        ("12.3", 100, " " * 96 + "12.3"),
    ],
)
def test_fields(x: str, width: int, expected: str) -> None:
    assert fixed_width(Decimal(x), width) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("210000", "  210000"),
        ("210000.", " 210000."),
        ("2.0", "      2."),
        ("7E4", "  70000."),
        ("1.5D1", "     15."),
        ("2e0", "      2."),
        ("-0.", "      0."),
        ("+3", "       3"),
        ("99999999.", "    1.E8"),
    ],
)
def test_a_field_is_of_the_kind_that_was_written(text: str, expected: str) -> None:
    number = as_written(text)
    assert number is not None and number == decimal_of(text)
    assert fixed_width(number, 8) == expected


@pytest.mark.parametrize(("x", "width"), [("123.4", 3), ("0.00001", 3), ("-5", 1), ("1e300", 4)])
def test_what_does_not_fit(x: str, width: int) -> None:
    with pytest.raises(ValueError, match=f"does not fit into {width} columns"):
        fixed_width(Decimal(x), width)


@pytest.mark.parametrize("width", [0, -1, 101, 10**9])
def test_widths_that_cannot_be(width: int) -> None:
    with pytest.raises(BadPattern, match="1 to 100 columns"):
        fixed_width(Decimal(1), width)


def of_field(text: str) -> Decimal:
    """A field read as Fortran and Nastran do: the E may be missing."""
    text = text.strip()
    cut = max(text.rfind("+"), text.rfind("-"))
    if cut > 0 and text[cut - 1] != "E":
        text = f"{text[:cut]}E{text[cut:]}"
    return Decimal(text)


@given(finite, st.sampled_from([8, 10, 16]))
def test_a_field_is_full_of_digits(x: float, width: int) -> None:
    exact = Decimal(repr(x))
    text = fixed_width(exact, width)
    assert len(text) == width and "." in text
    got = of_field(text)
    # -1.2-300: a sign, a point and four for the exponent are what can be lost.
    assert abs(got - exact) <= abs(exact) * Decimal(10).scaleb(-(width - 6))
    assert not got or got.is_signed() == exact.is_signed()


@given(st.integers(-(10**7) + 1, 10**8 - 1))
def test_whole_numbers_stay_whole(n: int) -> None:
    assert fixed_width(Decimal(n), 8) == str(n).rjust(8)
