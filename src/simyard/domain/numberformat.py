"""How numbers are written into input files.

`pattern("0.00##")` is the number pattern of Java's DecimalFormat with US symbols (class
documentation, Java SE 17), `printf` is C's, `fixed_width` fills a field of a Fortran or Nastran
card. Patterns and fields work on the exact decimal that was written, never on the double next to
it, and ties go to the even digit. Lengths and exponents are bounded: the text is that of strangers.
"""

import re
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

from simyard.domain.records import dataclass

MOST_CHARACTERS = 400  # of a number; doubles never need more than 25
MOST_PATTERN_CHARACTERS = 200
MOST_COLUMNS = 100
_FARTHEST = 400  # decimal exponent; doubles end at 308 and -324
# Wide enough that only `quantize` ever rounds: digits of a number, both exponents, a pattern.
EXACT = Context(prec=4 * MOST_CHARACTERS, rounding=ROUND_HALF_EVEN)


class BadPattern(ValueError):
    """A number pattern or conversion that means nothing. `str(error)` is fit for a user."""


# --- numbers as text ------------------------------------------------------------------------------

NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eEdD][-+]?0*[0-9]{1,4})?"
_NUMBER = re.compile(NUMBER)
_FORTRAN = str.maketrans("Dd", "EE")


def decimal_of(text: str) -> Decimal | None:
    """The number that the text is, digit for digit; None where it is none.

    Exponents may be Fortran's (1.5D+02). No blanks, no nan, no inf, and nothing that a double
    cannot hold: 1e309 is as little a number here as it is in JSON.
    """
    if len(text) > MOST_CHARACTERS or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text.translate(_FORTRAN))
    return number if is_bounded(number) else None


def as_written(text: str) -> Decimal | None:
    """The same, of the kind that the text is: with an exponent of 0 only where it has no point and
    no exponent.
    """
    number = decimal_of(text)
    return number if number is None or text.lstrip("+-").isdigit() else as_real(number)


def as_real(x: Decimal) -> Decimal:
    """The same number as one that is written with a point: 2 as 2.0."""
    return x if has_point(x) else x.quantize(Decimal("0.1"), context=EXACT)


def has_point(x: Decimal) -> bool:
    """Whether it was written with a point or an exponent."""
    return x.as_tuple().exponent != 0


def is_bounded(x: Decimal) -> bool:
    """Whether it is finite, finite as a double too, and can be written out in full."""
    return (
        x.is_finite()
        and (not x or abs(x.adjusted()) <= _FARTHEST)
        and abs(int(x.as_tuple().exponent)) <= EXACT.prec // 2
        and abs(float(x)) != float("inf")
    )


def canonical(x: float) -> str:
    """The shortest text that reads back as x: no grouping, no `.0`, 1.5E-20 outside 1e-16..1e17.

    Raises ValueError for nan and inf.
    """
    text = repr(float(x))
    if "e" in text or "n" in text:  # an exponent, nan or inf
        return canonical_decimal(Decimal(text))
    return text.removesuffix(".0") if x else "0"  # without the detour, which is most of the time


def canonical_decimal(x: Decimal) -> str:
    """All digits of x but trailing zeros, in the form of `canonical`."""
    _check(x)
    if not x:
        return "0"
    sign, exponent = "-" if x < 0 else "", x.adjusted()
    digits = _digits(x).rstrip("0")
    if not -16 <= exponent < 17:
        return f"{sign}{_with_point(digits, 1)}E{exponent}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return sign + _with_point(digits.ljust(exponent + 1, "0"), exponent + 1)


def _check(x: Decimal) -> None:
    if not is_bounded(x):
        raise ValueError("this is no finite number, or one beyond all that a double holds")


def _digits(x: Decimal) -> str:
    return "".join(map(str, x.as_tuple().digits))


def _with_point(digits: str, whole: int) -> str:
    return f"{digits[:whole]}.{digits[whole:]}" if len(digits) > whole else digits


def _rounded(x: Decimal, exponent: int) -> Decimal:
    """To a multiple of 10^exponent."""
    return x.quantize(Decimal((0, (1,), exponent)), context=EXACT)


# --- patterns -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """A pattern that was read. Made by `pattern`."""

    prefix: str
    suffix: str
    negative_prefix: str
    negative_suffix: str
    shift: int  # 2: per cent, 3: per mille
    least_whole: int  # digits before the point
    most_whole: int  # has a meaning with an exponent only
    least_fraction: int
    most_fraction: int
    group: int  # digits between commas; 0: none
    keeps_point: bool  # "0.": a point even if nothing follows it
    exponent_digits: int  # 0: plain

    def format(self, x: Decimal) -> str:
        """Raises ValueError for a number that is not finite, or beyond all doubles."""
        _check(x)
        sign, digits, exponent = x.as_tuple()
        size = Decimal((0, digits, int(exponent) + self.shift)) if x else Decimal(0)
        body = self._scientific(size) if self.exponent_digits else self._plain(size)
        if sign and x:
            return self.negative_prefix + body + self.negative_suffix
        return self.prefix + body + self.suffix

    def _plain(self, size: Decimal) -> str:
        whole, _, fraction = f"{_rounded(size, -self.most_fraction):f}".partition(".")
        whole = whole.lstrip("0").rjust(self.least_whole, "0")
        fraction = fraction.rstrip("0").ljust(self.least_fraction, "0")
        if not whole and not fraction:
            whole = "0"
        if self.group:
            head = len(whole) % self.group
            parts = [whole[i : i + self.group] for i in range(head, len(whole), self.group)]
            whole = ",".join([whole[:head], *parts] if head else parts)
        return self._joined(whole, fraction)

    def _scientific(self, size: Decimal) -> str:
        in_steps = self.most_whole > max(1, self.least_whole)  # exponents that are multiples
        exponent, whole = 0, 1 if in_steps else self.least_whole
        digits = ""
        if size:
            kept = self.most_whole + self.most_fraction
            size = _rounded(size, size.adjusted() + 1 - kept)
            exponent, digits = size.adjusted(), _digits(size).rstrip("0")
            if in_steps:
                whole = exponent % self.most_whole + 1
            exponent -= whole - 1
        digits = digits.ljust(max(whole, self.least_whole + self.least_fraction), "0")
        sign = "-" if exponent < 0 else ""
        return (
            self._joined(digits[:whole], digits[whole:])
            + f"E{sign}{abs(exponent):0{self.exponent_digits}d}"
        )

    def _joined(self, whole: str, fraction: str) -> str:
        return f"{whole}.{fraction}" if fraction or self.keeps_point else whole


# A pattern whose quoted characters are masked: what is around the digits, and the digits.
_HALF = re.compile(r"(?P<prefix>[^#0,.]*)(?P<digits>[#0,.]+)(?P<exponent>E0*)?(?P<suffix>[^#0,.]*)")
_DIGITS = re.compile(r"(?P<lead>#*)(?P<whole>0*)(?:\.(?P<least>0*)(?P<more>#*))?")
_MASK = "\0"


@lru_cache(maxsize=1024)
def pattern(text: str) -> NumberFormat:
    """Raises BadPattern. Stricter than Java where Java drops or shifts digits without a word."""
    if len(text) > MOST_PATTERN_CHARACTERS:
        raise BadPattern(f"a number pattern has at most {MOST_PATTERN_CHARACTERS} characters")
    try:
        return _read(text)
    except BadPattern as e:
        raise BadPattern(f'number pattern "{text}": {e}') from None


def _read(text: str) -> NumberFormat:
    literal, masked = _unquoted(text)
    if masked.count(";") > 1:
        raise BadPattern("only one ; may stand in it, between positive and negative")
    positive, _, negative = masked.partition(";")
    half = _half(positive)
    cut = len(positive)
    prefix, suffix = literal[: half.end("prefix")], literal[half.start("suffix") : cut]
    minus = "-" + prefix, suffix
    if negative:
        other = _half(negative)
        second = literal[cut + 1 :]
        affixes = second[: other.end("prefix")], second[other.start("suffix") :]
        if affixes != (prefix, suffix):
            minus = affixes
    around = half["prefix"] + half["suffix"]
    shift = 2 if "%" in around else 3 if "‰" in around else 0
    return NumberFormat(
        prefix=prefix,
        suffix=suffix,
        negative_prefix=minus[0],
        negative_suffix=minus[1],
        shift=shift,
        exponent_digits=len(half["exponent"] or "E") - 1,
        keeps_point=half["digits"].endswith("."),
        **_counts(half["digits"], scientific=half["exponent"] is not None),
    )


def _unquoted(text: str) -> tuple[str, str]:
    """The pattern without its quotes; and the same with all masked that was within them."""
    literal, masked, quoted, i = [], [], False, 0
    while i < len(text):
        apostrophe = text.startswith("''", i)
        if text[i] == "'" and not apostrophe:
            quoted = not quoted
        else:
            literal.append(text[i])
            masked.append(_MASK if quoted or apostrophe else text[i])
        i += 2 if apostrophe else 1
    if quoted:
        raise BadPattern("a ' is not closed")
    return "".join(literal), "".join(masked)


def _half(masked: str) -> re.Match[str]:
    found = _HALF.match(masked)
    if not found:
        raise BadPattern("there is no digit in it: it needs a 0 or a #")
    if found.end() != len(masked):
        raise BadPattern(f'"{masked[found.end()]}" cannot follow the text after the digits')
    if found["exponent"] == "E":
        raise BadPattern("the E needs a 0 after it")
    prefix, around = found["prefix"], found["prefix"] + found["suffix"]
    if "E" in around:
        raise BadPattern("an E that begins no exponent must stand between '")
    if prefix[-1:].isdigit():
        raise BadPattern(f'"{prefix[-1]}" would be read as a part of the number')
    if "¤" in around:
        raise BadPattern("there is no currency here")
    if around.count("%") + around.count("‰") > 1:
        raise BadPattern("only one % or ‰ may stand in it")
    return found


def _counts(digits: str, *, scientific: bool) -> dict[str, int]:
    """The digits of a pattern in numbers: the fields of NumberFormat that tell of them.

    Without any 0 the last # before the point is one, else the first # after it; so `#E0` is `0E0`,
    where Java writes a zero as "E0".
    """
    whole = digits.partition(".")[0]
    if whole.endswith(",") or "," in digits[len(whole) :]:
        raise BadPattern("a comma must have digits after it, before the point")
    found = _DIGITS.fullmatch(digits.replace(",", ""))
    if not found:
        if digits.count(".") > 1:
            raise BadPattern("there are two points in it")
        raise BadPattern("before the point # comes first and 0 after it, behind it the reverse")
    lead, least_whole = len(found["lead"]), len(found["whole"])
    least_fraction, more = len(found["least"] or ""), len(found["more"] or "")
    if not least_whole + least_fraction:
        if lead:
            lead, least_whole = lead - 1, 1
        elif more:
            least_fraction, more = 1, more - 1
        else:
            raise BadPattern("there is no digit in it: it needs a 0 or a #")
    return {
        "least_whole": least_whole,
        "most_whole": lead + least_whole,
        "least_fraction": least_fraction,
        "most_fraction": least_fraction + more,
        "group": len(whole) - 1 - whole.rfind(",") if "," in whole and not scientific else 0,
    }


# --- conversions of C, and fields of cards --------------------------------------------------------

_CONVERSION = re.compile(r"%[-+ #0]{0,5}([0-9]{0,3})(?:\.([0-9]{0,3}))?([efgEFGd])")


def printf(spec: str, x: Decimal) -> str:
    """What C prints for the double nearest to x: `%12.5e`; `%d` for whole numbers only.

    Raises BadPattern for a bad conversion, ValueError for a number that it cannot show.
    """
    found = _CONVERSION.fullmatch(spec)
    if not found:
        raise BadPattern(f'"{spec[:40]}" is no conversion like %12.5e, %g, %.3f or %05d')
    if max(int(found[1] or 0), int(found[2] or 0)) > MOST_COLUMNS:
        raise BadPattern(f'"{spec}": width and precision are at most {MOST_COLUMNS}')
    _check(x)
    if found[3] != "d":
        return spec % float(x)
    if x != x.to_integral_value():
        raise ValueError(f"%d needs a whole number, not {x}")
    return spec % int(x)


def fixed_width(x: Decimal, width: int) -> str:
    """The text of `width` columns that loses least of x, blanks on its left.

    A number that is written without point and exponent (see `as_written`) stays without; every
    other has a point, as Fortran and Nastran tell the two kinds apart by it. Exponents are written
    1.5E7 and 1.5E-7; the E is left out (1.5-7, as those two read it) where the room for one more
    digit lessens the loss.
    Raises ValueError where nothing fits, BadPattern for a width that cannot be.
    """
    if not 1 <= width <= MOST_COLUMNS:
        raise BadPattern(f"a field has 1 to {MOST_COLUMNS} columns, not {width}")
    _check(x)
    fitting = [(loss, text) for text, loss in _texts(x, width) if len(text) <= width]
    if not fitting:
        raise ValueError(f"{canonical_decimal(x)} does not fit into {width} columns")
    return min(fitting, key=lambda one: one[0])[1].rjust(width)  # of equals the first


def _texts(x: Decimal, width: int) -> Iterator[tuple[str, Decimal]]:
    """Ways to write x, the plainest first, each with what it loses. Some may be too long."""
    sign, size = "-" if x < 0 else "", abs(x)
    if not has_point(x):
        yield (f"{x:f}" if x else "0"), Decimal(0)
    if not size:
        yield "0.", Decimal(0)
        return
    room = width - len(sign) - 1  # for digits; the point takes one column
    exponent = size.adjusted()
    for zero in ("0", "") if exponent < 0 else ("",):
        places = room - (len(zero) if exponent < 0 else exponent + 1)
        if places >= 0:
            near = _rounded(size, -places)
            whole, _, fraction = f"{near:f}".partition(".")
            whole = zero if whole == "0" else whole
            if near:
                yield f"{sign}{whole}.{fraction.rstrip('0')}", EXACT.subtract(near, size).copy_abs()
    for mark in ("E", ""):
        count = room - len(_exponent(mark, exponent))
        if count >= 1:
            near = _rounded(size, exponent + 1 - count)
            digits = _digits(near).rstrip("0")
            text = f"{sign}{digits[0]}.{digits[1:]}{_exponent(mark, near.adjusted())}"
            yield text, EXACT.subtract(near, size).copy_abs()


def _exponent(mark: str, exponent: int) -> str:
    return f"{mark}{exponent}" if mark else f"{exponent:+d}"
