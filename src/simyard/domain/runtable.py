"""Tables of runs as files: the run-definition CSV (`paramFile`) and the case file.

A line of names, then a line per run. Cells are kept as they are written, without the blanks around
them: `2.20` stays `2.20` in what templates make of it (studies reference, section 2).
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from simyard.domain.numberformat import decimal_of
from simyard.domain.records import dataclass
from simyard.domain.studies import Value

LONGEST_NAME = 100
_MOST_COLUMNS = 1_000
_MOST_CELLS = 2_000_000
_LONGEST_RECORD = 1_000_000  # characters; bounds what one row may cost
_MOST_FAULTS = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]*)?")  # most are: a short cut for big tables
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")


class BadTable(Exception):
    """The file is no table of runs. Every fault says in which line it is."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, kw_only=True)
class RunTable:
    names: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]  # a cell per name, in file order
    notices: tuple[str, ...] = ()  # what the user should know though the table can be used


def is_name(text: str) -> bool:
    """Whether it can be a variable's name: what placeholders and the environment allow."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def value(name: str, text: str) -> Value:
    """The text stays as it is; it is a number where it can be read as a finite one."""
    if len(text) <= 20 and _PLAIN_NUMBER.fullmatch(text):
        return Value(name=name, text=text, number=float(text))
    exact = decimal_of(text)
    return Value(name=name, text=text, number=None if exact is None else float(exact))


def read(content: bytes, *, most_rows: int = 100_000, most_bytes: int = 64 << 20) -> RunTable:
    """The table in a file of separated values.

    UTF-8 with or without a mark, else Windows-1252; any line ends; quotes as in RFC 4180. The comma
    separates, or `;` or the tab where the header has no comma. Raises BadTable with all faults.
    """
    if len(content) > most_bytes:
        raise BadTable([f"the file has {len(content)} bytes; at most {most_bytes} are allowed"])
    if not content.strip(b"\xef\xbb\xbf \t\r\n"):
        raise BadTable(["the file is empty"])
    if b"\0" in content:
        raise BadTable(["the file is no plain text (it holds NUL bytes): save it as UTF-8 CSV"])
    table = _Table(most_rows)
    encoding = _encoding(content, table.notices)
    with io.TextIOWrapper(io.BytesIO(content), encoding, newline="") as lines:
        table.read(lines)
    return table.done()


def _encoding(content: bytes, notices: list[str]) -> str:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "cp1252":
            notices.append("the file is not UTF-8; it was read as Windows-1252")
        return encoding
    raise BadTable(["the text is neither UTF-8 nor Windows-1252"])


class _Lines:
    """The lines of the file. It ends early where one record would take in too much of them."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.number = 0
        self.record = 0  # characters since the record began
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            self.record += len(line)
            if self.record > _LONGEST_RECORD:
                raise csv.Error
            yield line
        self.ended = True
        # A quote that is still open takes this line in. It is seen in the last record.
        yield "\n"


class _Table:
    def __init__(self, most_rows: int) -> None:
        self.names: tuple[str, ...] = ()
        self.rows: list[tuple[str, ...]] = []
        self.notices: list[str] = []
        self._most_rows = most_rows
        self._limit = most_rows  # less where there are many columns
        self._faults: list[str] = []
        self._more_faults = 0
        self._cut = False  # the header ended in a comma
        self._empty = 0
        self._said_comma = False

    def done(self) -> RunTable:
        if not self.rows and not self._faults:
            self._fault("there is no row of values under the names")
        if self._more_faults:
            self._faults.append(f"and {self._more_faults} more")
        if self._faults:
            raise BadTable(self._faults)
        if self._empty:
            lines = "1 line" if self._empty == 1 else f"{self._empty} lines"
            self.notices.append(f"{lines} without any value left out")
        return RunTable(names=self.names, rows=self.rows, notices=tuple(self.notices))

    def read(self, lines: io.TextIOWrapper) -> None:
        source = _Lines(lines)
        line = 1  # where the record begins that is read next
        filled = empty = 0
        try:
            feed = iter(source)
            first = next(feed)
            while not first.strip() and source.number <= self._most_rows:
                source.record = 0
                first = next(feed)
            line = source.number
            delimiter = _delimiter(first)
            reader = csv.reader(chain([first], feed), delimiter=delimiter, skipinitialspace=True)
            for cells in reader:
                if source.ended and cells:  # only an open quote gets here: see _Lines
                    self._fault(f"line {line}: a quote is opened and not closed")
                    return
                row = tuple(map(str.strip, cells))
                if not self.names:
                    self._header(row, line)
                    if not self.names:
                        return
                elif any(row):
                    self._row(row, line, delimiter)
                    filled += 1
                else:
                    self._empty += len(row) > 1
                    empty += 1
                if filled > self._limit or empty > self._most_rows:
                    self._too_many(line, filled)
                    return
                line, source.record = source.number + 1, 0
        except csv.Error:
            self._fault(f"line {line}: too long; perhaps a quote is opened and not closed")

    def _fault(self, message: str) -> None:
        if len(self._faults) < _MOST_FAULTS:
            self._faults.append(message)
        else:
            self._more_faults += 1

    def _too_many(self, line: int, filled: int) -> None:
        what = f"more than {_MOST_CELLS} cells"
        if filled <= self._limit:
            what = f"more than {self._most_rows} empty lines"
        elif self._limit == self._most_rows:
            what = f"more than {self._most_rows} rows"
        self._fault(f"line {line}: {what}; the rest was not looked at")

    def _header(self, names: tuple[str, ...], line: int) -> None:
        if not names:
            self._fault(f"line {line}: there are only empty lines so far")
        if len(names) > 1 and not names[-1]:
            names, self._cut = names[:-1], True
        if len(names) > _MOST_COLUMNS:
            self._fault(f"line {line}: {len(names)} columns; at most {_MOST_COLUMNS} are allowed")
            return
        self.names = names
        self._limit = min(self._most_rows, _MOST_CELLS // max(len(names), 1))
        known: set[str] = set()
        for name in names:
            if not is_name(name):
                self._fault(
                    f"line {line}: {_short(name)} cannot be a variable's name "
                    f"(letters, digits and _, no digit first, at most {LONGEST_NAME})"
                )
            elif name in known:
                self._fault(f"line {line}: the name {_short(name)} is there twice")
            known.add(name)

    def _row(self, row: tuple[str, ...], line: int, delimiter: str) -> None:
        columns = len(self.names)
        if self._cut and len(row) == columns + 1 and not row[-1]:
            row = row[:-1]
        if len(row) != columns:
            values = "1 value" if len(row) == 1 else f"{len(row)} values"
            wanted = "1 column" if columns == 1 else f"{columns} columns"
            self._fault(f"line {line}: {values} for {wanted}")
        elif not self._faults:  # with a fault there will be no table: no room for its rows
            self.rows.append(row)
        if delimiter != "," and not self._said_comma:
            for cell in row:
                if _DECIMAL_COMMA.fullmatch(cell):
                    self._said_comma = True
                    self.notices.append(
                        f"line {line}: {_short(cell)} is kept as text; a number has a point"
                    )
                    break


def _delimiter(header: str) -> str:
    if "," in header or not any(c in header for c in ";\t"):
        return ","
    return max(";\t", key=header.count)


def _short(text: str) -> str:
    return f'"{text}"' if len(text) <= 40 else f'"{text[:37]}..."'
