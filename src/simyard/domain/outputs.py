"""Output variables: what a run's post-processing says of its result.

Its standard output holds one variable a line, `name<TAB>value`; the last of a name counts, other
lines are passed over (studies reference, section 5).
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator

from simyard.domain.numberformat import decimal_of
from simyard.domain.records import dataclass
from simyard.domain.studies import Value

MOST_VARIABLES = 1000
TEXT_LENGTH = 1000
_NAME = re.compile(r"\S(?:.{0,98}\S)?")
_SHOWN = 20  # of a long list of names


@dataclass(frozen=True, kw_only=True)
class Outputs:
    values: tuple[Value, ...] = ()  # in the order in which their names first came
    warnings: tuple[str, ...] = ()  # what is doubtful about them, sentences


def number_of(text: str) -> float | None:
    """The finite number that a text is, Fortran's exponents too; None for everything else."""
    exact = decimal_of(text)
    if exact is None:
        return None
    value = float(exact)
    return value if math.isfinite(value) else None


def value(name: str, text: str) -> Value:
    return Value(name=name, text=text[:TEXT_LENGTH], number=number_of(text))


def read(
    lines: Iterable[str], inputs: Collection[str] = (), wanted: Collection[str] = ()
) -> Outputs:
    """What these lines tell. inputs: names of the run's own variables, which are never overwritten;
    wanted: names that the job says a run brings about.
    """
    found: dict[str, Value] = {}
    warnings: dict[str, None] = {}
    for name, text in _pairs(lines):
        if name in inputs:
            warnings[f'The output "{name}" has the name of an input and was passed over.'] = None
        elif name in found or len(found) < MOST_VARIABLES:
            found[name] = value(name, text)
        else:
            warnings[f"More than {MOST_VARIABLES} outputs were told; the rest is left out."] = None
    vague = [each.name for each in found.values() if each.number is None]
    if vague:
        warnings[f"No number was told for {_listed(vague)}."] = None
    missing = [name for name in wanted if name not in found]
    if missing:
        warnings[f"Nothing was told of {_listed(missing)}."] = None
    return Outputs(values=tuple(found.values()), warnings=tuple(warnings)[:_SHOWN])


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, tab, text = line.rstrip("\r\n").partition("\t")
        name = name.strip()
        if tab and _NAME.fullmatch(name) and name.isprintable():
            yield name, text.strip()


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
