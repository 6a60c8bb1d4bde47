"""Input file templates: text with placeholders that each run fills with its values.

The syntax is a small part of FreeMarker's (manual, "Interpolations" and "noparse"); nothing is
ever executed.

    ${x}                       the value's own text
    ${x?string("0.00")}        a number pattern (numberformat.py); also '…' and ?string["…"]
    ${x?c}                     the number in its shortest form
    ${x?w(8)}                  the best number of 8 columns
    ${x?printf("%12.5e")}      as C prints it
    ${x!12.3}                  12.3 where there is no x; with a format: ${(x!12.3)?string("0.0")}
    ${r"${"}                   the text between the quotes
    <#noparse>…</#noparse>     the text between; a tag alone on its line takes the line along

All else in ${…} and every other <#…> or <@…> is a fault. Everything outside of that is kept byte
for byte, in UTF-8 or, where a file is not that, in Latin-1.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType

from simyard.domain.numberformat import (
    EXACT,
    NUMBER,
    BadPattern,
    as_real,
    as_written,
    canonical_decimal,
    decimal_of,
    fixed_width,
    has_point,
    is_bounded,
    pattern,
    printf,
)
from simyard.domain.records import dataclass
from simyard.domain.studies import Value

MOST_BYTES = 64 * 1024 * 1024  # of a template and of what is made from it
MOST_PLACEHOLDERS = 100_000  # and tags
MOST_FAULTS = 100  # more are not looked for
_MOST_QUOTED = 200  # characters between quotes
# The search for the name that was meant is dear: a millisecond for two long names.
_MOST_SEARCHES = 10
_MOST_NAMES = 100
_MOST_NAME_CHARACTERS = 40

Form = Callable[[Decimal], str]


@dataclass(frozen=True)
class Fault:
    """Something wrong in a template, and where. `str(fault)` is "19:31 message"."""

    line: int  # from 1
    column: int  # from 1, in characters: the $ or < with which it begins
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column} {self.message}"


class CannotRender(ValueError):
    """The values do not go with the template."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(frozen=True)
class Use:
    """A placeholder of a variable."""

    line: int
    column: int
    default: str | None  # its text; None: it has none


@dataclass(frozen=True, kw_only=True)
class _Insert:
    """A placeholder as it is filled."""

    name: str
    use: Use
    source: str  # as it stands in the file
    asked: str  # what was asked of the number: "?string"; "": the plain text
    form: Form | None

    def fault(self, message: str) -> CannotRender:
        return CannotRender(Fault(self.use.line, self.use.column, message))


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template that was read once, to be rendered for many runs. Made by `parse`."""

    faults: tuple[Fault, ...]  # of syntax and number patterns, in order of place
    uses: Mapping[str, tuple[Use, ...]]  # by variable, in order of place
    keep_unknown: bool
    encoding: str  # "utf-8" or "latin-1"
    parts: tuple[bytes | _Insert, ...] = field(repr=False)

    def check(self, names: Collection[str]) -> list[Fault]:
        """What is wrong where the variables have these names; at most the first 100 faults."""
        unknown: list[tuple[int, int, str]] = []
        if not self.keep_unknown:
            known = frozenset(names)
            for name, uses in self.uses.items():
                if name not in known:
                    unknown += [(u.line, u.column, name) for u in uses if u.default is None]
        unknown = sorted(unknown)[:MOST_FAULTS]
        messages = _unknown((name for _, _, name in unknown), names)
        found = [Fault(line, column, messages[name]) for line, column, name in unknown]
        found += self.faults
        return sorted(found, key=lambda fault: (fault.line, fault.column))[:MOST_FAULTS]

    def render(
        self,
        values: Mapping[str, Value],
        relative: Mapping[str, str] = MappingProxyType({}),
        reals: Collection[str] = (),
    ) -> bytes:
        """The file of one run. Raises CannotRender.

        `relative` says by variable how a value with `is_relative` changes the default of each
        placeholder: "add" or "factor". `reals`: variables whose values are real numbers, also where
        they stand without a point.
        """
        if self.faults:
            raise CannotRender(self.faults[0])
        pieces: list[bytes] = []
        known: dict[str, bytes] = {}  # by what stands in the file
        size = 0
        for part in self.parts:
            if isinstance(part, bytes):
                piece = part
            else:
                if part.source not in known:
                    known[part.source] = self._filled(
                        part, values.get(part.name), relative, is_real=part.name in reals
                    )
                piece = known[part.source]
            size += len(piece)
            pieces.append(piece)
        if size > MOST_BYTES:
            raise CannotRender(Fault(1, 1, f"the file would have more than {_mib(MOST_BYTES)}"))
        return b"".join(pieces)

    def _filled(
        self, insert: _Insert, value: Value | None, relative: Mapping[str, str], *, is_real: bool
    ) -> bytes:
        name, default = insert.name, insert.use.default
        if value is None:
            if default is None and self.keep_unknown:
                return insert.source.encode(self.encoding)
            if default is None:
                raise insert.fault(f'there is no value for "{name}"')
            text = default
        elif value.is_relative:
            moved = _moved(insert, value.text, relative.get(name))
            text = canonical_decimal(moved)
            is_real = is_real or has_point(moved)
        else:
            text = value.text
        if insert.form:
            text = _formatted(insert, insert.form, text, is_real=is_real)
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as e:
            character = text[e.start]
            raise insert.fault(
                f"{character!a} in the value of {name!r} cannot be written in the encoding of this "
                f"file ({self.encoding}); save the template as UTF-8"
            ) from e


def _moved(insert: _Insert, text: str, how: str | None) -> Decimal:
    """The default, changed by a value that is relative to it: real where one of the two is."""
    name, default = insert.name, insert.use.default
    if default is None:
        raise insert.fault(
            f'"{name}" is relative to a default, and there is none here: write ${{{name}!12.3}}'
        )
    base, step = as_written(default), as_written(text)
    if base is None or step is None:
        wrong = default if base is None else text
        raise insert.fault(f'"{name}" is relative to a default, and "{_short(wrong)}" is no number')
    if how not in {"add", "factor"}:
        raise insert.fault(f'"{name}" is relative to a default, by "add" or "factor", not {how!r}')
    moved = EXACT.add(base, step) if how == "add" else EXACT.multiply(base, step)
    if not is_bounded(moved):
        raise insert.fault(f'"{name}" changes its default to a number that no program can read')
    return as_real(moved) if has_point(base) or has_point(step) else moved


def _formatted(insert: _Insert, form: Form, text: str, *, is_real: bool) -> str:
    number = as_written(text)
    if number is None:
        raise insert.fault(
            f'{insert.asked} needs a number, and "{insert.name}" is "{_short(text)}"'
        )
    try:
        return form(as_real(number) if is_real else number)
    except ValueError as e:
        raise insert.fault(f'"{insert.name}": {e}') from e


def _unknown(unknown: Iterable[str], names: Collection[str]) -> dict[str, str]:
    """A message for each unknown name, with the known one that may be meant."""
    by_lower = {name.lower(): name for name in names}
    some = [name for name in sorted(names) if len(name) <= _MOST_NAME_CHARACTERS][:_MOST_NAMES]
    messages: dict[str, str] = {}
    searches = 0
    for name in unknown:
        if name in messages:
            continue
        hint = ""
        if name.lower() in by_lower:
            hint = f" (there is {by_lower[name.lower()]}: upper and lower case differ)"
        elif len(name) <= _MOST_NAME_CHARACTERS and searches < _MOST_SEARCHES:
            searches += 1
            hint = "".join(f" (did you mean {n}?)" for n in get_close_matches(name, some, n=1))
        messages[name] = f'unknown variable "{_short(name)}"{hint}'
    return messages


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _mib(size: int) -> str:
    return f"{size // 1024**2} MiB"


# --- reading --------------------------------------------------------------------------------------

# Texts are often pasted from pages that print typographic quotes; \x91 to \x94 are those of
# Windows-1252 in a file that was read as Latin-1.
_QUOTES = ('"\u201c\u201d\u201e\x93\x94', "'\u2018\u2019\u201a\x91\x92")
_OPEN = re.compile(r"\$\{|</?[#@](?:[A-Za-z]|--)")
_BODY = re.compile(rf"([^}}\r\n]{{0,{_MOST_QUOTED}}}+)\}}")
_QUOTED = "|".join(rf"[{q}][^{q}\r\n]{{0,{_MOST_QUOTED}}}+[{q}]" for q in _QUOTES)
_RAW = re.compile(rf"\$\{{[ \t]*+r(?P<quoted>{_QUOTED})[ \t]*+\}}")
_TOKEN = re.compile(
    rf"[ \t]*+(?:(?P<n>[A-Za-z_][A-Za-z0-9_]*+)|(?P<v>{NUMBER}|{_QUOTED})|(?P<mark>[]?!()[}}]))"
)
_MOST_TOKENS = 12
# Names, values and marks in the orders that have a meaning.
_SHAPE = re.compile(
    r"(?:n(?P<default>!v)?|(?P<open>\()n(?:!v)?\))(?P<format>\?n(?:\(v\)|\[v\])?)?\}"
)
_NOPARSE, _END_NOPARSE = "<#noparse>", "</#noparse>"
_FORMS = '${x?string("0.00")}, ${x?c}, ${x?w(8)} and ${x?printf("%12.5e")}'


def parse(content: bytes, *, keep_unknown: bool = False, most_bytes: int = MOST_BYTES) -> Template:
    """Reads a template; what is wrong with it is in its `faults`.

    With `keep_unknown` what is no placeholder, or one of an unknown variable, stays as it is: the
    ${HOME} of a shell script.
    """
    if len(content) > most_bytes:
        fault = Fault(1, 1, f"a template has at most {_mib(most_bytes)}")
        content, faults = b"", [fault]
    else:
        faults = []
    try:
        text, encoding = content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text, encoding = content.decode("latin-1"), "latin-1"
    reader = _Reader(text, encoding, keep_unknown)
    reader.read()
    return Template(
        faults=(*faults, *reader.faults),
        uses=MappingProxyType({name: tuple(uses) for name, uses in reader.uses.items()}),
        keep_unknown=keep_unknown,
        encoding=encoding,
        parts=tuple(reader.parts),
    )


class _Unclear(Exception):
    """What is in the braces is no placeholder of ours."""


class _Reader:
    def __init__(self, text: str, encoding: str, keep_unknown: bool) -> None:
        self.faults: list[Fault] = []
        self.uses: dict[str, list[Use]] = {}
        self.parts: list[bytes | _Insert] = []
        self._text = text
        self._encoding = encoding
        self._keep_unknown = keep_unknown
        self._copied = 0  # up to here the text is in `parts`
        self._line = 1
        self._line_start = 1 if text.startswith("\ufeff") else 0
        self._placed = 0  # up to here lines are counted

    def read(self) -> None:
        at = count = 0
        while (found := _OPEN.search(self._text, at)) and len(self.faults) < MOST_FAULTS:
            at = found.start()
            count += 1
            if count > MOST_PLACEHOLDERS:
                self._fault(at, f"a template has at most {MOST_PLACEHOLDERS} placeholders")
                return
            at = self._placeholder(at) if found[0] == "${" else self._tag(at)
        self._cut(len(self._text), len(self._text))

    def _cut(self, start: int, end: int) -> None:
        """Takes over the text up to start and leaves out that from start to end."""
        if start > self._copied:
            self.parts.append(self._text[self._copied : start].encode(self._encoding))
        self._copied = end

    def _place(self, at: int) -> tuple[int, int]:
        """Line and column; from place to place only forward, so that all of it is one pass."""
        text, since = self._text, self._placed
        ends = text.count("\n", since, at) + text.count("\r", since, at)
        self._line += ends - text.count("\r\n", since, at)
        last = max(text.rfind("\n", since, at), text.rfind("\r", since, at))
        if last >= 0:
            self._line_start = last + 1
        self._placed = at
        return self._line, at - self._line_start + 1

    def _fault(self, at: int, message: str) -> None:
        self.faults.append(Fault(*self._place(at), message))

    # Each of these two reads what begins at `at` and returns where to read on.

    def _tag(self, at: int) -> int:
        text = self._text
        if text.startswith(_END_NOPARSE, at):
            self._fault(at, f"there is no {_NOPARSE} before this {_END_NOPARSE}")
        elif not text.startswith(_NOPARSE, at):
            shown = _short(text[at : at + 200].partition(">")[0].partition("\n")[0])
            self._fault(at, f"{shown}: of the directives only {_NOPARSE} is supported")
        else:
            end = text.find(_END_NOPARSE, at)
            if end < 0:
                self._fault(at, f"this {_NOPARSE} is not closed by {_END_NOPARSE}")
                return len(text)
            self._cut(*self._alone(at, at + len(_NOPARSE)))
            self._cut(*self._alone(end, end + len(_END_NOPARSE)))
            return self._copied
        return at + 2

    def _alone(self, start: int, end: int) -> tuple[int, int]:
        """The bounds of a tag; those of its line where it stands there alone, as in FreeMarker."""
        text, before, after = self._text, start, end
        while before > 0 and text[before - 1] in " \t":
            before -= 1
        while after < len(text) and text[after] in " \t":
            after += 1
        if before > 0 and text[before - 1] not in "\r\n":
            return start, end
        if text.startswith("\r\n", after):
            return before, after + 2
        if after == len(text):
            return before, after
        return (before, after + 1) if text[after] in "\r\n" else (start, end)

    def _placeholder(self, at: int) -> int:
        raw = _RAW.match(self._text, at)
        if raw:
            self._cut(at, raw.end())
            self.parts.append(raw["quoted"][1:-1].encode(self._encoding))
            return raw.end()
        try:
            tokens, end = _tokens(self._text, at + 2)
            name, default, asked, form = _meaning(tokens)
        except BadPattern as e:
            self._fault(at, str(e))
            return at + 2
        except _Unclear as e:
            if self._keep_unknown:
                return at + 2
            body = _BODY.match(self._text, at + 2)
            if not body:
                self._fault(at, "this ${ is not closed by a } on its line")
                return at + 2
            self._fault(at, f"{_short(f'${{{body[1]}}}')}: {e}")
            return body.end()
        self._cut(at, end)
        use = Use(*self._place(at), default)
        self.uses.setdefault(name, []).append(use)
        source = self._text[at:end]
        self.parts.append(_Insert(name=name, use=use, source=source, asked=asked, form=form))
        return end


def _tokens(text: str, at: int) -> tuple[list[tuple[str, str]], int]:
    """Kind and text of what is in the braces, and where that ends. Kinds are those of `_SHAPE`."""
    tokens: list[tuple[str, str]] = []
    while len(tokens) < _MOST_TOKENS and (found := _TOKEN.match(text, at)):
        at = found.end()
        kind = found["mark"] or str(found.lastgroup)
        tokens.append((kind, found[str(found.lastgroup)]))
        if kind == "}":
            return tokens, at
    raise _Unclear("this is no placeholder; expressions are not computed")


def _meaning(tokens: list[tuple[str, str]]) -> tuple[str, str | None, str, Form | None]:
    """Name, default, what is asked of the number, and how that is done."""
    shape = _SHAPE.fullmatch("".join(kind for kind, _ in tokens))
    if not shape:
        raise _Unclear("this is no placeholder; expressions are not computed")
    words = [text for kind, text in tokens if kind in {"n", "v"}]
    name, rest = words[0], words[1:]
    default = None
    if tokens[1 + bool(shape["open"])][0] == "!":
        default = _plain(rest.pop(0))
    if not shape["format"]:
        return name, default, "", None
    form = _form(rest, square="[" in shape["format"])
    if shape["default"]:
        # FreeMarker would apply the format to the default only.
        raise BadPattern(f"a default with a format needs parentheses: (x!12.3)?{rest[0]}…")
    return name, default, f"?{rest[0]}", form


def _form(words: list[str], *, square: bool) -> Form:
    argument = words[1] if len(words) > 1 else ""
    quoted = argument[:1] in _QUOTES[0] + _QUOTES[1] and bool(argument)
    match words[0]:
        case "c" if not argument:
            return canonical_decimal
        case "string" if quoted:
            return pattern(_plain(argument)).format
        case "printf" if quoted and not square:
            spec = _plain(argument)
            printf(spec, Decimal(0))  # refuses what is no conversion
            return partial(printf, spec)
        case "w" if argument.isdigit() and len(argument) < 5 and not square:
            width = int(argument)
            fixed_width(Decimal(0), width)
            return partial(fixed_width, width=width)
    raise _Unclear(f"a number can be written by {_FORMS}")


def _plain(argument: str) -> str:
    """A number as it stands, or what is between the quotes."""
    if argument[0] not in _QUOTES[0] + _QUOTES[1]:
        return argument
    if "\\" in argument or "${" in argument:
        raise _Unclear("there can be no \\ and no ${ between the quotes")
    return argument[1:-1]


def nominal_defaults(templates: Iterable[Template]) -> dict[str, str]:
    """By variable the default that its placeholders have; none where two defaults differ."""
    found: dict[str, dict[Decimal | str, str]] = {}
    for template in templates:
        for name, uses in template.uses.items():
            for default in (use.default for use in uses if use.default is not None):
                number = decimal_of(default)
                found.setdefault(name, {}).setdefault(
                    default if number is None else number, default
                )
    return {
        name: next(iter(defaults.values()))
        for name, defaults in found.items()
        if len(defaults) == 1
    }


# --- where the result goes ------------------------------------------------------------------------

_LOG = "process_output.log"  # the platform writes it, next to all that a run makes
_MOST_PATH_BYTES = 4095  # PATH_MAX of limits.h, less the NUL
_MOST_NAME_BYTES = 255  # NAME_MAX


def normal_target(path: str) -> str:
    """The path without `.` and empty steps: "./0//U" is "0/U". Equal targets are equal then."""
    return "/".join(step for step in path.split("/") if step not in {"", "."})


def target_problem(path: str) -> str | None:
    """Why no template can be rendered to this path in the folder of a run; None if one can."""
    steps = path.split("/")
    if not path.strip():
        return "There must be a path."
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in path):
        return "The path holds a character that no file name should have."
    if path.startswith("/"):
        return "The path must be relative to the folder of the run."
    if ".." in steps:
        return 'The path must not have ".." in it.'
    if "\\" in path:
        return 'The steps of a path are parted by "/", not by "\\".'
    if steps[-1] in {"", "."}:
        return "The path must name a file, not a folder."
    if len(path.encode()) > _MOST_PATH_BYTES:
        return f"The path has more than {_MOST_PATH_BYTES} bytes."
    if any(len(step.encode()) > _MOST_NAME_BYTES for step in steps):
        return f"A name in the path has more than {_MOST_NAME_BYTES} bytes."
    if normal_target(path) == _LOG:
        return f"{_LOG} is written by the platform itself."
    return None
