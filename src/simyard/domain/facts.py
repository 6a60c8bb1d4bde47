"""What can be told of a file from a small part of it: texts, tables, pictures.

Files are what a run or a stranger made them: sizes and counts in them may be lies, and any byte may
be anything. So no more than a few MiB is read of one, whatever it says, and what cannot be
told is None.
"""

import csv
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from simyard.domain.records import dataclass

Read = Callable[[int, int], bytes]  # (offset, length) -> bytes, fewer only at the end

HEAD_BYTES = 64 << 10
_TAIL_BYTES = 16 << 10
_TABLE_BYTES = 1 << 20
_IMAGE_BYTES = 1 << 20  # a JPEG may have a colour profile and the like in front of its size
_CELL_LENGTH = 500


# --- text -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    head: str
    tail: str  # "" where the head is all of it
    head_end: int  # bytes; what is between the two is left out
    tail_start: int


def text_of(read: Read, size: int) -> Text:
    """The first and last lines of a file. What is no UTF-8 is replaced."""
    head = read(0, HEAD_BYTES + _TAIL_BYTES)
    if size <= len(head):
        return Text(head.decode("utf-8", "replace"), "", len(head), len(head))
    head = head[:HEAD_BYTES]
    end = head.rfind(b"\n") + 1
    head = head[:end] if end else head[: _before_cut(head)]
    start = size - _TAIL_BYTES
    tail = read(start, _TAIL_BYTES)
    first = tail.find(b"\n") + 1
    if not first:
        first = next((i for i, byte in enumerate(tail[:4]) if byte & 0xC0 != 0x80), 0)
    start, tail = start + first, tail[first:]
    return Text(head.decode("utf-8", "replace"), tail.decode("utf-8", "replace"), len(head), start)


def _before_cut(data: bytes) -> int:
    """The length of what comes before a character that is cut off at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:  # it begins a character of more bytes
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < length else len(data)
        if byte < 0x80:
            break
    return len(data)


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    columns: Sequence[str]  # "1", "2" ... where the file has no names
    rows: Sequence[Sequence[str]]
    has_header: bool
    column_count: int
    total: int | None  # rows of the file; None where not all of it was read


def table_of(read: Read, size: int, *, most_rows: int, most_columns: int) -> Table | None:
    """The first rows of values separated by commas, semicolons, tabs, bars or blanks. None where
    that cannot be.
    """
    data = read(0, _TABLE_BYTES)
    is_whole = len(data) >= size
    if not is_whole:
        data = data[: data.rfind(b"\n") + 1]
    lines = data.decode("utf-8-sig", "replace").replace("\0", "").splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip() and line[0] != "#"), None)
    if first is None:
        return None
    # OpenFOAM and many others name the columns in a comment.
    said = [line for line in lines[:first] if line.strip()][-1:]
    lines = lines[first:]
    try:
        every = (row for row in _rows(lines) if row)
        rows = list(islice(every, most_rows + 1))
        more = sum(1 for _ in every)
    except csv.Error:
        return None
    width = max(map(len, rows), default=0)
    header: Sequence[str] = ()
    if rows and not any(map(_is_number, rows[0])) and len(rows[0]) > 1:
        header = rows.pop(0)
    elif said:
        names = next(_rows([said[0].strip("# \t\r\n")]), [])
        header = names if len(names) == width else ()
    columns = [*header, *(str(n + 1) for n in range(len(header), width))]
    return Table(
        columns=_cut(columns, most_columns),
        rows=[_cut(row, most_columns) for row in rows[:most_rows]],
        has_header=bool(header),
        column_count=width,
        total=len(rows) + more if is_whole else None,
    )


def _rows(lines: Sequence[str]) -> Iterator[list[str]]:
    counts = {sign: lines[0].count(sign) for sign in (",", ";", "\t", "|")}
    delimiter = max(counts, key=lambda sign: counts[sign])
    if not counts[delimiter]:
        return (line.split() for line in lines)
    rows = csv.reader(lines, delimiter=delimiter)
    return ([cell.strip() for cell in row] for row in rows)


def _cut(row: Sequence[str], most: int) -> list[str]:
    return [cell[:_CELL_LENGTH] for cell in row[:most]]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# --- pictures -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    media_type: str
    width: int
    height: int


def picture_of(read: Read) -> Picture | None:
    """PNG, JPEG, GIF or WebP by its first bytes, whatever its name; None for everything else."""
    head = read(0, 30)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        return Picture("image/png", *struct.unpack(">LL", head[16:24]))
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        return Picture("image/gif", *struct.unpack("<HH", head[6:10]))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) == 30:
        return Picture("image/webp", *_webp_size(head))
    if head.startswith(b"\xff\xd8\xff"):
        size = _jpeg_size(read(0, _IMAGE_BYTES))
        return Picture("image/jpeg", *size) if size else None
    return None


def _webp_size(head: bytes) -> tuple[int, int]:
    """Source: RFC 9649, sections 2.5 to 2.7."""
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", head[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Source: ITU T.81, annex B."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None
