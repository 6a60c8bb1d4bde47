"""What files of meshes and fields say of themselves, read from their beginnings only.

Counts in them may be lies. What cannot be told is None, and so are bounds where a number is none.
"""

import math
import re
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import chain, islice

from simyard.domain.facts import Read
from simyard.domain.records import dataclass

_MOST_BYTES = 8 << 20
_MOST_XML_BYTES = 1 << 20
_STEP_TRIANGLES = 20_000
_NAME_LENGTH = 255
_MOST_FIELDS = 100
_MOST_WORDS = 5000
_MOST_TEXT_BYTES = 2 << 20  # of points that are written as text

Bounds = tuple[tuple[float, ...], tuple[float, ...]]  # least and most of x, y, z


@dataclass(frozen=True)
class Field:
    name: str
    on: str  # "points" or "cells"
    components: int | None = None
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Geometry:
    format: str
    title: str = ""
    points: int | None = None
    cells: int | None = None  # triangles of an STL
    bounds: Bounds | None = None
    fields: Sequence[Field] = ()
    is_partial: bool = False  # only the beginning was read: bounds and fields are those of it


def geometry_of(read: Read, size: int) -> Geometry | None:
    """What STL, VTK and VTK's XML files say of themselves. None for everything else."""
    head = read(0, 1024)
    if len(head) >= 84 and size == 84 + 50 * struct.unpack_from("<L", head, 80)[0]:
        return _binary_stl(read, (size - 84) // 50, head)
    if head.startswith(b"# vtk DataFile"):
        return _vtk(read(0, _MOST_BYTES), size)
    if b"<VTKFile" in head:
        return _vtk_xml(read(0, _MOST_XML_BYTES), size)
    if head.lstrip().startswith(b"solid") and b"facet" in head:
        return _text_stl(read(0, _MOST_BYTES), size)
    return None


def _binary_stl(read: Read, count: int, head: bytes) -> Geometry:
    least, most = [math.inf] * 3, [-math.inf] * 3
    is_good = True
    looked_at = min(count, _MOST_BYTES // 50)
    for first in range(0, looked_at, _STEP_TRIANGLES):
        step = min(_STEP_TRIANGLES, looked_at - first)
        data = read(84 + 50 * first, 50 * step)
        data = data[: len(data) // 50 * 50]
        columns = list(zip(*struct.iter_unpack("<12x9f2x", data), strict=True))
        is_good = is_good and math.isfinite(sum(map(sum, columns)))
        for axis in range(3 if columns else 0):
            low, high = min(map(min, columns[axis::3])), max(map(max, columns[axis::3]))
            least[axis], most[axis] = min(least[axis], low), max(most[axis], high)
    return Geometry(
        "STL (binary)",
        title=_name(head[:80].split(b"\0")[0]),
        cells=count,
        bounds=_bounds(least, most) if is_good else None,
        is_partial=looked_at < count,
    )


_NUMBER = rb"([-+0-9.eEinfNa]{1,40})"
_VERTEX = re.compile(rb"vertex[ \t]++" + rb"[ \t]++".join([_NUMBER] * 3))


def _text_stl(data: bytes, size: int) -> Geometry:
    is_whole = len(data) >= size
    corners = array("d")
    for found in _VERTEX.finditer(data):
        corners.extend(map(_float, found.groups()))
    return Geometry(
        "STL (text)",
        title=_name(data.lstrip()[5:300].split(b"\n")[0]),
        cells=data.count(b"endfacet") if is_whole else None,
        bounds=_bounds_of(corners),
        is_partial=not is_whole,
    )


_VTK_TYPES = {b"float": "f", b"double": "d", b"vtktypefloat32": "f", b"vtktypefloat64": "d"}
# What takes all the blanks there are gives none back: a line of blanks is looked at once.
_VTK_POINTS = re.compile(rb"^POINTS[ \t]++(\d{1,15})[ \t]++(\w++)[ \t\r]*+\n", re.MULTILINE)
_VTK_LINE = re.compile(
    rb"^(DATASET|DIMENSIONS|ORIGIN|SPACING|ASPECT_RATIO|CELLS|POLYGONS|CELL_DATA|POINT_DATA|SCALARS"
    rb"|VECTORS|NORMALS|TENSORS)[ \t]++([^\n]{1,300}+)\n",
    re.MULTILINE,
)
_VTK_FIELD = re.compile(
    rb"^([^\s]{1,255}+)[ \t]++(\d{1,9}+)[ \t]++\d{1,15}+[ \t]++(?:float|double|int|long)"
    rb"[ \t\r]*+\n",
    re.MULTILINE,
)
_COMPONENTS = {b"VECTORS": 3, b"NORMALS": 3, b"TENSORS": 9}


def _vtk(data: bytes, size: int) -> Geometry:
    """Source: The VTK User's Guide, "VTK File Formats", the simple legacy formats."""
    _, title, kind = [*data[:2000].split(b"\n", 3), b"", b"", b""][:3]
    is_binary = kind.strip().upper() == b"BINARY"
    said: dict[bytes, bytes] = {}
    fields: list[Field] = []
    on = ""
    every = (islice(words.finditer(data), _MOST_WORDS) for words in (_VTK_LINE, _VTK_FIELD))
    found = sorted(chain(*every), key=lambda match: match.start())
    for match in found:
        word, rest = match[1], match[2].split()
        if match.re is _VTK_FIELD:
            if on and len(fields) < _MOST_FIELDS:
                fields.append(Field(_name(word), on, int(match[2])))
        elif word in (b"CELL_DATA", b"POINT_DATA"):
            on = "cells" if word == b"CELL_DATA" else "points"
        elif word in (b"SCALARS", *_COMPONENTS):
            if on and rest and len(fields) < _MOST_FIELDS:
                count = _COMPONENTS.get(word) or (_count(rest[2]) if len(rest) > 2 else 1)
                fields.append(Field(_name(rest[0]), on, count))
        else:
            said.setdefault(word, match[2])
    dataset = said.get(b"DATASET", b"").strip()
    points, bounds = None, None
    at = _VTK_POINTS.search(data)
    if at:
        points = int(at[1])
        letter = _VTK_TYPES.get(at[2].lower())
        if letter:
            bounds = _points(data[at.end() :], points, letter, is_binary=is_binary)
    elif b"DIMENSIONS" in said:
        points, bounds = _grid(said)
    cells = _count((said.get(b"CELLS") or said.get(b"POLYGONS") or b"").split(b" ")[0])
    return Geometry(
        f"VTK ({'binary' if is_binary else 'text'}), {_name(dataset)}",
        title=_name(title),
        points=points,
        cells=cells,
        bounds=bounds,
        fields=fields,
        is_partial=len(data) < size,
    )


def _points(data: bytes, count: int, letter: str, *, is_binary: bool) -> Bounds | None:
    """Bounds of points that lie in these bytes; None where they do not."""
    values = array(letter)
    if is_binary:
        length = 3 * count * values.itemsize
        if length > len(data):
            return None
        values.frombytes(data[:length])
        if sys.byteorder == "little":
            values.byteswap()
        return _bounds_of(values)
    data = data[:_MOST_TEXT_BYTES]
    if 3 * count * 2 > len(data) + 1:  # a digit and a blank for each
        return None
    words = data.split(None, 3 * count)[: 3 * count]
    numbers = array("d", map(_float, words))
    return _bounds_of(numbers) if len(numbers) == 3 * count else None


def _grid(said: dict[bytes, bytes]) -> tuple[int | None, Bounds | None]:
    """Points and bounds of an image."""
    sizes = [_count(word) for word in said[b"DIMENSIONS"].split()[:3]]
    if len(sizes) != 3 or None in sizes:
        return None, None
    counts = [count or 0 for count in sizes]
    points = math.prod(counts)
    spacing = said.get(b"SPACING") or said.get(b"ASPECT_RATIO")
    if spacing is None or b"ORIGIN" not in said:
        return points, None
    origin = [_float(word) for word in said[b"ORIGIN"].split()[:3]]
    steps = [_float(word) for word in spacing.split()[:3]]
    if len(origin) != 3 or len(steps) != 3:
        return points, None
    ends = [o + s * max(0, n - 1) for o, s, n in zip(origin, steps, counts, strict=True)]
    return points, _bounds(origin, ends)


_TAG = re.compile(
    rb"<(/?)(VTKFile|Piece|PointData|CellData|DataArray|PDataArray|ImageData|AppendedData)\b"
    rb"([^<>]{0,2000})>"
)
_ATTRIBUTE = re.compile(rb"\b(\w{1,40})\s{0,20}=\s{0,20}\"([^\"<]{0,1000})\"")
_CELLS = (b"NumberOfCells", b"NumberOfVerts", b"NumberOfLines", b"NumberOfStrips", b"NumberOfPolys")


def _vtk_xml(data: bytes, size: int) -> Geometry:
    """Source: The VTK User's Guide, "XML File Formats". Only the tags are looked at."""
    kind, on = b"", ""
    points = cells = pieces = 0
    bounds = None
    fields: list[Field] = []
    ends = len(data) >= size
    for found in _TAG.finditer(data):
        closes, tag, inside = found.groups()
        sent = dict(_ATTRIBUTE.findall(inside)) if not closes else {}
        if tag == b"AppendedData":
            ends = True
            break
        if tag in (b"PointData", b"CellData"):
            is_open = not closes and not inside.endswith(b"/")
            on = ("points" if tag == b"PointData" else "cells") if is_open else ""
        elif closes:
            continue
        elif tag == b"VTKFile":
            kind = sent.get(b"type", b"")
        elif tag == b"Piece":
            pieces += 1
            points += _count(sent.get(b"NumberOfPoints", b"")) or 0
            cells += sum(_count(sent.get(name, b"")) or 0 for name in _CELLS)
        elif tag == b"ImageData":
            bounds = _extent(sent)
        elif on and b"Name" in sent and pieces < 2 and len(fields) < _MOST_FIELDS:
            low, high = (_float(sent.get(name, b"")) for name in (b"RangeMin", b"RangeMax"))
            known = (low, high) if math.isfinite(low) and math.isfinite(high) else None
            components = _count(sent.get(b"NumberOfComponents", b"1"))
            fields.append(Field(_name(sent[b"Name"]), on, components, known))
    return Geometry(
        f"VTK (XML), {_name(kind)}",
        points=points or None,
        cells=cells or None,
        bounds=bounds,
        fields=fields,
        is_partial=not ends,
    )


def _extent(sent: dict[bytes, bytes]) -> Bounds | None:
    parts = [
        [_float(word) for word in sent.get(name, b"").split()]
        for name in (b"WholeExtent", b"Origin", b"Spacing")
    ]
    extent, origin, spacing = parts
    if (len(extent), len(origin), len(spacing)) != (6, 3, 3):
        return None
    low = [o + s * e for o, s, e in zip(origin, spacing, extent[::2], strict=True)]
    high = [o + s * e for o, s, e in zip(origin, spacing, extent[1::2], strict=True)]
    return _bounds(low, high)


def _bounds_of(values: Sequence[float]) -> Bounds | None:
    if not values or not math.isfinite(sum(values)):
        return None
    axes = [values[axis::3] for axis in range(3)]
    return _bounds([min(axis) for axis in axes], [max(axis) for axis in axes])


def _bounds(least: Sequence[float], most: Sequence[float]) -> Bounds | None:
    """None where a number is none, as those of a solver that diverged."""
    return (tuple(least), tuple(most)) if all(map(math.isfinite, (*least, *most))) else None


def _float(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _count(word: bytes) -> int | None:
    return int(word) if word.strip().isdigit() and len(word) < 16 else None


def _name(word: bytes) -> str:
    return word[:_NAME_LENGTH].decode("utf-8", "replace").strip()
