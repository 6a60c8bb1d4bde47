"""The runs of a study as a file: CSV, JSON or Parquet, with the columns of its table."""

import csv
import importlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from simyard.domain.errors import Refused
from simyard.domain.numberformat import canonical
from simyard.domain.outputs import number_of
from simyard.domain.records import dataclass
from simyard.service.results import FIXED, Results, picked

FORMATS = ("csv", "json", "parquet")
_CHUNK = 500  # rows
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the start of one
_BOOLEAN = ("isOptimal", "isNominal")


@dataclass(frozen=True)
class _Field:
    name: str
    get: Callable[[int], Any]


def export(results: Results, rows: Sequence[int], columns: str, kind: str) -> Iterator[bytes]:
    """The pieces of a file. columns: names, all where it is empty.

    Everything that can be wrong is wrong before the first piece: Invalid for unknown columns,
    Refused where Parquet cannot be written.
    """
    labels = results.labels()
    names = picked(columns, [*FIXED, *labels])
    fields = [_Field(name, results.getter(name, labels)) for name in names]
    if kind == "parquet":
        return iter([_parquet(results, fields, rows)])
    return (_csv if kind == "csv" else _json)(fields, rows)


def _csv(fields: Sequence[_Field], rows: Sequence[int]) -> Iterator[bytes]:
    out = io.StringIO()
    lines = csv.writer(out)  # CR LF, as RFC 4180 has it: then cells with either are quoted
    lines.writerow([_cell(field.name) for field in fields])
    for start in range(0, len(rows), _CHUNK):
        lines.writerows(
            [_cell(field.get(row)) for field in fields] for row in rows[start : start + _CHUNK]
        )
        yield out.getvalue().encode()
        out.seek(0)
        out.truncate()
    yield out.getvalue().encode()


def _cell(value: Any) -> str:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and number_of(text) is None else text


def number_text(number: float) -> str:
    """As `canonical` has it, by a shorter way where that is the same."""
    text = repr(number or 0.0)  # -0.0 is 0 too
    return canonical(number) if "e" in text else text.removesuffix(".0")


def _json(fields: Sequence[_Field], rows: Sequence[int]) -> Iterator[bytes]:
    """An array with an object for each run."""
    yield b"["
    for start in range(0, len(rows), _CHUNK):
        part = [{f.name: f.get(row) for f in fields} for row in rows[start : start + _CHUNK]]
        text = ",\n".join(json.dumps(entry, allow_nan=False) for entry in part)
        yield f"{',' if start else ''}\n{text}".encode()
    yield b"\n]\n"


def _parquet(results: Results, fields: Sequence[_Field], rows: Sequence[int]) -> bytes:
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise Refused(
            "Parquet needs an extra package: pip install 'simyard[parquet]'. CSV and JSON do not."
        ) from error
    labels = results.labels()
    arrays = []
    for field in fields:
        values = [field.get(row) for row in rows]
        kind = arrow.float64()
        if field.name == "id":
            kind = arrow.int64()
        elif field.name in _BOOLEAN:
            kind = arrow.bool_()
        elif field.name in ("status", "reason"):
            kind = arrow.string()
        elif field.name in labels and labels[field.name].texts:
            kind = arrow.string()
            values = [v if v is None or isinstance(v, str) else number_text(v) for v in values]
        arrays.append(arrow.array(values, type=kind))
    out = io.BytesIO()
    table = arrow.Table.from_arrays(arrays, names=[field.name for field in fields])
    parquet.write_table(table, out)
    return out.getvalue()
