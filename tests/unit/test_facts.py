"""What is told of files from small parts of them, whatever is in them."""

import io
import math
import struct
import zipfile
import zlib
from array import array
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.facts import Picture, picture_of, table_of, text_of
from simyard.domain.geometry import Field, geometry_of
from simyard.domain.zips import Layout, Packed, listing_of

Read = Callable[[int, int], bytes]


def reading(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


class Huge:
    """A file of any size: the same line again and again. Counts what is read of it."""

    def __init__(self, line: bytes, size: int) -> None:
        self.line, self.size, self.was_read = line, size, 0

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        self.was_read += length
        first = offset % len(self.line)
        return (self.line * (length // len(self.line) + 2))[first : first + length]


# --- text -----------------------------------------------------------------------------------------


def test_a_short_text_is_all_head() -> None:
    data = "Zeit = 1\nä\n".encode()
    found = text_of(reading(data), len(data))
    assert (found.head, found.tail, found.head_end) == (data.decode(), "", len(data))


def test_a_long_text_has_whole_lines_of_both_ends() -> None:
    lines = "".join(f"line {n} ü\n" for n in range(20_000))
    data = lines.encode()
    found = text_of(reading(data), len(data))
    assert data[: found.head_end].decode() == found.head
    assert data[found.tail_start :].decode() == found.tail
    assert found.head.endswith("\n") and found.tail.startswith("line ")
    assert found.head_end < found.tail_start


@given(st.integers(0, 3), st.sampled_from(["ä", "€", "𝄞"]))
def test_a_line_without_end_is_cut_between_characters(shift: int, char: str) -> None:
    data = b"x" * shift + char.encode() * 100_000
    found = text_of(reading(data), len(data))
    assert "\ufffd" not in found.head + found.tail
    assert data[: found.head_end].decode() == found.head
    assert data[found.tail_start :].decode() == found.tail


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert text_of(reading(b"a\xff\xfeb"), 4).head == "a\ufffd\ufffdb"


@pytest.mark.parametrize("line", [b"x", b"line\n", b"\n", b"\xbf"])
def test_of_ten_gigabytes_little_is_read(line: bytes) -> None:
    huge = Huge(line, 10 << 30)
    text_of(huge.read, huge.size)
    table_of(huge.read, huge.size, most_rows=10, most_columns=10)
    geometry_of(huge.read, huge.size)
    listing_of(huge.read, huge.size, most=10)
    assert huge.was_read < 2 << 20


# --- tables ---------------------------------------------------------------------------------------


def table(data: bytes, rows: int = 100, columns: int = 50) -> object:
    return table_of(reading(data), len(data), most_rows=rows, most_columns=columns)


@pytest.mark.parametrize(
    ("data", "columns", "rows", "has_header"),
    [
        (b"a,b\n1,2\n3,4\n", ["a", "b"], [["1", "2"], ["3", "4"]], True),
        (b"1;2,5\n3;4,5\n", ["1", "2"], [["1;2", "5"], ["3;4", "5"]], False),
        (b"x\ty\n1\t2\n", ["x", "y"], [["1", "2"]], True),
        (b"\xef\xbb\xbfa;b\r\n1;2\r\n", ["a", "b"], [["1", "2"]], True),
        (b'a,b\n"1,5","two\nlines"\n', ["a", "b"], [["1,5", "two\nlines"]], True),
        (
            b"# Force coefficients\n# Time  Cd  Cl\n1 0.5 0.1\n\n2 0.6 0.2\n",
            ["Time", "Cd", "Cl"],
            [["1", "0.5", "0.1"], ["2", "0.6", "0.2"]],
            True,
        ),
        (b"1 2\n3 4 5\n", ["1", "2", "3"], [["1", "2"], ["3", "4", "5"]], False),
    ],
)
def test_tables(data: bytes, columns: list[str], rows: list[list[str]], has_header: bool) -> None:
    found = table_of(reading(data), len(data), most_rows=100, most_columns=50)
    assert found is not None
    assert (found.columns, found.rows, found.has_header) == (columns, rows, has_header)
    assert (found.total, found.column_count) == (len(rows), len(columns))


def test_a_table_is_cut_in_all_directions() -> None:
    data = ",".join(f"c{n}" for n in range(300)).encode() + b"\n"
    data += b"\n".join(b",".join([b"x" * 600] * 300) for _ in range(30))
    found = table_of(reading(data), len(data), most_rows=2, most_columns=3)
    assert found is not None
    assert found.columns == ["c0", "c1", "c2"]
    assert found.rows == [["x" * 500] * 3] * 2
    assert (found.column_count, found.total) == (300, None)


@pytest.mark.parametrize("data", [b"", b"# only\n", b'"' + b"x" * 200_000 + b'",1\n', b"\n\n"])
def test_what_is_no_table(data: bytes) -> None:
    assert table(data) is None


@given(st.binary(max_size=300))
def test_no_bytes_are_too_bad(data: bytes) -> None:
    table(data)
    text_of(reading(data), len(data))
    picture_of(reading(data))
    for start in (
        b"",
        b"# vtk DataFile Version 3.0\n",
        b"<VTKFile",
        b"solid\nfacet",
        b"PK\x05\x06",
    ):
        geometry_of(reading(start + data), len(start + data))
        listing_of(reading(data + start), len(data + start), most=5)
    picture_of(reading(b"\xff\xd8\xff" + data))
    picture_of(reading(b"RIFF0000WEBP" + data))


# --- pictures -------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    head = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">L", 13) + b"IHDR" + head


def test_pictures() -> None:
    jpeg = b"\xff\xd8\xff\xe0\x00\x10" + bytes(14) + b"\xff\xff\xc2\x00\x11\x08\x01\x02\x03\x04"
    found = {
        png(800, 600): Picture("image/png", 800, 600),
        b"GIF89a\x20\x03\x58\x02": Picture("image/gif", 800, 600),
        jpeg + bytes(8): Picture("image/jpeg", 0x304, 0x102),
        b"RIFF....WEBPVP8X" + bytes(8) + b"\x1f\x03\x00\x57\x02\x00": Picture(
            "image/webp", 800, 600
        ),
        b"RIFF....WEBPVP8 " + bytes(10) + b"\x20\x03\x58\x02": Picture("image/webp", 800, 600),
        b"RIFF....WEBPVP8L"
        + bytes(5)
        + (799 | 599 << 14).to_bytes(4, "little")
        + bytes(5): Picture("image/webp", 800, 600),
    }
    assert {data: picture_of(reading(data)) for data in found} == found
    for data in (b"<svg xmlns=", b"<html>", b"BM", b"\xff\xd8\xff", png(1, 1)[:20], b""):
        assert picture_of(reading(data)) is None


# --- meshes and fields ----------------------------------------------------------------------------


def stl(triangles: list[tuple[float, ...]]) -> bytes:
    body = b"".join(struct.pack("<12fH", 0, 0, 1, *t, 0) for t in triangles)
    return b"solid wing".ljust(80, b"\0") + struct.pack("<L", len(triangles)) + body


def test_an_stl_of_numbers() -> None:
    triangles = [(float(n), 0, -1, 2, 3, 4, 5, n / 2, 7) for n in range(50_000)]
    data = stl(triangles)
    found = geometry_of(reading(data), len(data))
    assert found is not None
    assert (found.format, found.title, found.cells) == ("STL (binary)", "solid wing", 50_000)
    assert found.bounds == ((0, 0, -1), (49_999, 24_999.5, 7))
    assert not found.is_partial


def test_an_stl_whose_numbers_are_none() -> None:
    data = stl([(0.0,) * 9] * 30_000 + [(math.nan,) * 9])
    found = geometry_of(reading(data), len(data))
    assert found is not None and (found.cells, found.bounds) == (30_001, None)


def test_an_stl_that_is_very_long() -> None:
    count = 40_000_000
    huge = Huge(bytes(50), 84 + 50 * count)
    head = bytes(80) + struct.pack("<L", count)
    found = geometry_of(
        lambda at, n: head + huge.read(at + 84, n - 84) if at == 0 else huge.read(at, n), huge.size
    )
    assert found is not None
    assert (found.cells, found.is_partial) == (count, True)
    assert huge.was_read < 9 << 20


def test_an_stl_of_words() -> None:
    facet = (
        "facet normal 0 0 1\n outer loop\n  vertex 0 0 1e-3\n  vertex 1.5 0 0\n"
        "  vertex\t0 -2E+1 0\n endloop\nendfacet\n"
    )
    data = f"solid a wing\n{facet}{facet}endsolid\n".encode()
    found = geometry_of(reading(data), len(data))
    assert found is not None
    assert (found.format, found.title, found.cells) == ("STL (text)", "a wing", 2)
    assert found.bounds == ((0, -20, 0), (1.5, 0, 1e-3))


VTK = """# vtk DataFile Version 3.0
a title
{kind}
DATASET UNSTRUCTURED_GRID
POINTS 3 float
"""


def test_vtk_as_text() -> None:
    data = (
        VTK.format(kind="ASCII") + "0 0 0 1 0 0\n0 2 -1\nCELLS 1 4\n3 0 1 2\nCELL_TYPES 1\n5\n"
        "POINT_DATA 3\nSCALARS p double 1\nLOOKUP_TABLE default\n1 2 3\nVECTORS U float\n"
        "0 0 0 0 0 0 0 0 0\nCELL_DATA 1\nFIELD attributes 1\nT 1 1 float\n3\n"
    ).encode()
    found = geometry_of(reading(data), len(data))
    assert found is not None
    assert found.format == "VTK (text), UNSTRUCTURED_GRID"
    assert (found.title, found.points, found.cells) == ("a title", 3, 1)
    assert found.bounds == ((0, 0, -1), (1, 2, 0))
    assert found.fields == [
        Field("p", "points", 1), Field("U", "points", 3), Field("T", "cells", 1),
    ]  # fmt: skip


def test_vtk_of_numbers() -> None:
    values = array("f", [0, 0, 0, 1, 0, 0, 0, 2, -1])
    values.byteswap()
    data = VTK.format(kind="BINARY").encode() + values.tobytes() + b"\nCELLS 1 4\n" + bytes(16)
    found = geometry_of(reading(data), len(data))
    assert found is not None
    assert (found.points, found.cells) == (3, 1)
    assert found.bounds == ((0, 0, -1), (1, 2, 0))


def test_vtk_that_lies() -> None:
    data = VTK.replace("3 float", "999999999999999 float").format(kind="BINARY").encode()
    found = geometry_of(reading(data), len(data))
    assert found is not None and (found.points, found.bounds) == (999999999999999, None)
    data = (
        VTK.replace("3 float", "3 float").format(kind="ASCII").encode() + b"nan nan nan 1 2 3 4 5 6"
    )
    found = geometry_of(reading(data), len(data))
    assert found is not None and found.bounds is None


@pytest.mark.parametrize("word", [b"SCALARS", b"POINTS", b"POINTS 1", b"POINTS 1 float", b"T 1 1"])
def test_vtk_with_a_line_of_blanks_is_read_once(word: bytes) -> None:
    """Where each blank is where another try begins, this takes minutes."""
    data = VTK.format(kind="ASCII").encode().replace(b"POINTS 3 float\n", word + b" " * (8 << 20))
    found = geometry_of(reading(data), len(data))
    assert found is not None and (found.points, found.fields) == (None, [])


def test_an_image_of_vtk() -> None:
    data = (
        b"# vtk DataFile Version 2.0\nfield\nASCII\nDATASET STRUCTURED_POINTS\n"
        b"DIMENSIONS 11 21 1\nORIGIN 1 0 0\nSPACING 0.5 0.1 1\nPOINT_DATA 231\n"
    )
    found = geometry_of(reading(data), len(data))
    assert found is not None
    assert (found.points, found.bounds) == (231, ((1, 0, 0), (6, 2, 0)))


def test_vtk_as_xml() -> None:
    data = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol">]>
<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian">
<PolyData><Piece NumberOfPoints="8" NumberOfVerts="0" NumberOfLines="0" NumberOfPolys="6">
<PointData Scalars="p"><DataArray type="Float32" Name="p" format="appended" RangeMin="-1.5"
 RangeMax="2" offset="0"/>
<DataArray type="Float32" Name="U" NumberOfComponents="3" format="appended"/></PointData>
<CellData/><Points><DataArray type="Float32" Name="Points" NumberOfComponents="3"/></Points>
</Piece></PolyData><AppendedData encoding="raw">_\x00\x01<PointData><DataArray Name="no"/>"""
    found = geometry_of(reading(data), len(data) + (5 << 30))
    assert found is not None
    assert found.format == "VTK (XML), PolyData"
    assert (found.points, found.cells, found.is_partial) == (8, 6, False)
    assert found.fields == [Field("p", "points", 1, (-1.5, 2.0)), Field("U", "points", 3)]


# --- zips -----------------------------------------------------------------------------------------


def test_what_is_in_a_zip() -> None:
    file = io.BytesIO(b"something in front")
    file.seek(0, 2)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("case/", "")
        archive.writestr("case/Übung.txt", "x" * 1000)
        for n in range(300):
            archive.writestr(f"case/{n}", str(n))
    data = file.getvalue()
    found = listing_of(reading(data), len(data), most=200)
    assert found is not None
    assert (found.count, len(found.entries)) == (302, 200)
    assert (found.entries[0].name, found.entries[0].is_folder) == ("case/", True)
    assert found.entries[1].name == "case/Übung.txt"
    assert (found.entries[1].size_bytes, found.entries[1].is_folder) == (1000, False)
    assert found.entries[1].packed_bytes < 100


def test_what_is_in_a_large_zip() -> None:
    layout = Layout()
    for n in range(70_000):
        layout.add(f"{n}", 6 << 30 if n == 1 else 0, zlib.crc32(b""), 0)
    layout.close()
    end = layout.size_bytes - layout.end_bytes

    def read(offset: int, length: int) -> bytes:
        assert offset >= end, "only the directory is looked at"
        return layout.end(offset - end, offset - end + length)

    found = listing_of(read, layout.size_bytes, most=3)
    assert found is not None
    assert found.count == 70_000
    assert found.entries[1] == Packed("1", 6 << 30, 6 << 30, False)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(50), b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip(data: bytes) -> None:
    assert listing_of(reading(data), len(data), most=5) is None
