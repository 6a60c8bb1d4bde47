"""Filter expressions over the runs of a study: `Cd<0.02 and (Cl>0.1 or status="failed")`.

    expression  conjunction {"or" conjunction}
    conjunction negation {"and" negation}
    negation    "not" negation | "(" expression ")" | comparison
    comparison  operand comparator operand {comparator operand}     0 < Cd <= 0.02 is one
    comparator  = == != < <= > >=
    operand     number | "text" | 'text' | name | `any name`

Names that have blanks or the signs of the grammar in them stand in backquotes. Words and, or, not
are read in any case. Texts and numbers are never equal; of two texts the first in the alphabet is
the smaller.
"""

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches

from simyard.domain.outputs import number_of
from simyard.domain.records import dataclass

Value = float | str | None
Row = Mapping[str, Value]
_Operand = Callable[[Row], Value]
_Test = Callable[[Row], bool | None]  # None: a value that it needs is missing

MOST_CHARACTERS = 2000
_DEEPEST = 50
_FAULTS_SHOWN = 20
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<sign> [()] | [<>=!]= | [<>=] )
      | (?P<text> "[^"]*" | '[^']*' )
      | `(?P<name> [^`]+ )`
      | (?P<word> [^\s()<>=!"'`]+ )
    )""",
    re.VERBOSE,
)
_COMPARATORS: dict[str, Callable[[float | str, float | str], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Fault:
    column: int  # from 1
    message: str

    def __str__(self) -> str:
        return f"column {self.column}: {self.message}"


class BadFilter(ValueError):
    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True, kw_only=True)
class Filter:
    names: frozenset[str]  # that a row is asked for
    test: _Test

    def matches(self, row: Row) -> bool:
        """Whether a row is to be shown. What is missing (None, no entry, nan) neither matches nor
        fails a comparison: `not Cd < 1` does not match a row without Cd either.
        """
        return self.test(row) is True


def parse(text: str, known: Collection[str] | None = None) -> Filter:
    """known: the names that there are; None: any. Raises BadFilter, with every unknown name."""
    if len(text) > MOST_CHARACTERS:
        raise BadFilter(
            Fault(MOST_CHARACTERS + 1, f"a filter has at most {MOST_CHARACTERS} characters")
        )
    parser = _Parser(list(_tokens(text)))
    test = parser.expression(0)
    if not parser.at_end:
        raise parser.unexpected('"and", "or" or the end')
    unknown = [] if known is None else [t for t in parser.names if t.value not in known]
    if known is not None and unknown:
        raise BadFilter(*(_unknown(token, known) for token in unknown[:_FAULTS_SHOWN]))
    return Filter(names=frozenset(str(token.value) for token in parser.names), test=test)


def _unknown(token: "_Token", known: Collection[str]) -> Fault:
    name = str(token.value)
    folded = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold()[:200], list(folded)[:1000], n=1)
    hint = f"; did you mean {folded[close[0]]}?" if close else "; texts stand in quotes"
    return Fault(token.column, f'there is no variable "{name:.100}"{hint}')


# --- tokens ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    kind: str  # "sign", "keyword", "name", "value" or "end"
    value: str | float
    shown: str
    column: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while (found := _TOKEN.match(text, at)) is not None:
        kind = str(found.lastgroup)
        shown = found[kind]
        yield _token(kind, shown, found.start(kind) + 1)
        at = found.end()
    rest = text[at:].lstrip()
    column = len(text) - len(rest) + 1
    if rest:
        message = f"{rest[0]!r} does not belong here"
        if rest[0] in "\"'`":
            message = f"there is no closing {rest[0]}"
        elif rest[0] == "!":
            message = 'write "not", or != for "is not"'
        raise BadFilter(Fault(column, message))
    yield _Token("end", "", "the end", column)


def _token(kind: str, shown: str, column: int) -> _Token:
    match kind:
        case "sign":
            return _Token(kind, shown, f'"{shown}"', column)
        case "text":
            return _Token("value", shown[1:-1], shown, column)
        case "name":
            return _Token(kind, shown, f"`{shown}`", column - 1)
    if shown.lower() in ("and", "or", "not"):
        return _Token("keyword", shown.lower(), f'"{shown}"', column)
    number = number_of(shown)
    if number is not None:
        return _Token("value", number, shown, column)
    return _Token("name", shown, f'"{shown}"', column)


# --- grammar --------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self.names: list[_Token] = []

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    @property
    def at_end(self) -> bool:
        return self._next.kind == "end"

    def _take(self, kind: str, value: str) -> bool:
        if (self._next.kind, self._next.value) != (kind, value):
            return False
        self._at += 1
        return True

    def unexpected(self, wanted: str) -> BadFilter:
        token = self._next
        return BadFilter(Fault(token.column, f"{wanted} is wanted here, not {token.shown:.100}"))

    def expression(self, depth: int) -> _Test:
        return self._joined("or", lambda: self._joined("and", lambda: self._negation(depth)))

    def _joined(self, word: str, part: Callable[[], _Test]) -> _Test:
        parts = [part()]
        while self._take("keyword", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else _junction(parts, deciding=word == "or")

    def _negation(self, depth: int) -> _Test:
        if depth > _DEEPEST:
            raise BadFilter(Fault(self._next.column, f"more than {_DEEPEST} levels are too deep"))
        if self._take("keyword", "not"):
            return _negated(self._negation(depth + 1))
        if self._take("sign", "("):
            inner = self.expression(depth + 1)
            if not self._take("sign", ")"):
                raise self.unexpected('")"')
            return inner
        return self._comparison()

    def _comparison(self) -> _Test:
        first = self._operand()
        links: list[_Test] = []
        while self._next.kind == "sign" and (by := _COMPARATORS.get(str(self._next.value))):
            self._at += 1
            second = self._operand()
            links.append(_compared(first, by, second))
            first = second
        if not links:
            raise self.unexpected("a comparison like < 0.5")
        return links[0] if len(links) == 1 else _junction(links, deciding=False)

    def _operand(self) -> _Operand:
        token = self._next
        if token.kind not in ("name", "value"):
            raise self.unexpected("a name, a number or a text in quotes")
        self._at += 1
        if token.kind == "value":
            value = token.value
            return lambda _: value
        self.names.append(token)
        name = str(token.value)
        return lambda row: row.get(name)


def _compared(
    first: _Operand, by: Callable[[float | str, float | str], bool], second: _Operand
) -> _Test:
    def test(row: Row) -> bool | None:
        a, b = first(row), second(row)
        if a is None or b is None or a != a or b != b:  # noqa: PLR0124  # nan
            return None
        if isinstance(a, str) is not isinstance(b, str):
            return by is operator.ne
        return by(a, b)

    return test


def _junction(parts: list[_Test], *, deciding: bool) -> _Test:
    """`or` (one that is True decides) or `and` (one that is False does)."""

    def test(row: Row) -> bool | None:
        found: bool | None = not deciding
        for part in parts:
            said = part(row)
            if said is deciding:
                return deciding
            if said is None:
                found = None
        return found

    return test


def _negated(part: _Test) -> _Test:
    def test(row: Row) -> bool | None:
        said = part(row)
        return None if said is None else not said

    return test
