"""Looks into files of runs and of the library, hostile ones too."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from harness import Client, wait_for


def png(width: int = 1, height: int = 1, more: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", check)

    head = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(b"\0\xff")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"zzZz", bytes(more)) + rest


def look(client: Client, name: str, content: bytes, **query: Any) -> dict[str, Any]:
    """A preview of an upload."""
    file = client.upload(name, content)["id"]
    return dict(client.get(f"files/{file}/preview/", params=query))


PARTS = ("text", "table", "image", "mesh", "archive")


def part(found: dict[str, Any], name: str) -> Any:
    """The one part that a preview is to have."""
    assert [each for each in PARTS if found[each] is not None] == [name], found
    return found[name]


def test_texts(client: Client) -> None:
    found = look(client, "log.simpleFoam", b"Time = 1\n\xff\n")
    assert (found["kind"], found["bytes"], found["name"]) == ("log", 11, "log.simpleFoam")
    assert part(found, "text")["head"] == "Time = 1\n\ufffd\n"
    long = part(look(client, "long.txt", b"line\n" * 100_000), "text")
    assert 0 < long["headEnd"] < long["tailStart"] < 500_000
    assert long["tail"].endswith("line\n")


def test_tables(client: Client) -> None:
    content = b"Time,Cd\n1,0.5\n2,0.6\n"
    found = part(look(client, "forces.csv", content), "table")
    assert found == {
        "columns": ["Time", "Cd"], "hasHeader": True, "rows": [["1", "0.5"], ["2", "0.6"]],
        "columnCount": 2, "total": 2,
    }  # fmt: skip
    cut = part(look(client, "forces.csv", content, rows=1, cols=1), "table")
    assert (cut["columns"], cut["rows"], cut["total"]) == (["Time"], [["1"]], 2)
    as_text = look(client, "forces.csv", content, kind="text")
    assert part(as_text, "text")["head"] == content.decode()
    forced = look(client, "force.dat", b"# t Cd\n1 2\n", kind="table")
    assert part(forced, "table")["columns"] == ["t", "Cd"]
    no_table = look(client, "a.csv", b'1,"' + b"x" * 200_000)
    assert (no_table["kind"], no_table["note"]) == ("text", "This is no table of values.")


def test_a_table_of_very_many_lines(client: Client) -> None:
    found = part(look(client, "many.csv", b"1,2\n" * 2_000_000, rows=1000), "table")
    assert (len(found["rows"]), found["total"]) == (1000, None)


def test_a_picture_is_sent_as_it_is(client: Client) -> None:
    content = png(800, 600)
    found = look(client, "plot.txt", content)
    shown = part(found, "image")
    assert (found["kind"], shown["mediaType"], shown["width"], shown["height"]) == (
        "image", "image/png", 800, 600,
    )  # fmt: skip
    reply = client.call("GET", shown["url"], 200)
    assert reply.content == content
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"].startswith("sandbox")
    client.call("GET", shown["url"], 304, headers={"If-None-Match": reply.headers["etag"]})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("a.html", b"<!doctype html><script>alert(1)</script>"),
        ("<img src=x onerror=alert(1)>.txt", b"<script>"),
    ],
)
def test_what_could_run_is_text(client: Client, name: str, content: bytes) -> None:
    file = client.upload(name, content)["id"]
    reply = client.call("GET", f"files/{file}/preview/", 200)
    assert reply.headers["content-type"] == "application/json"
    assert part(reply.json(), "text")["head"] == content.decode()
    forced = client.get(f"files/{file}/preview/?kind=image")
    assert (forced["kind"], forced["image"]) == ("text", None)
    client.call("GET", f"files/{file}/image/", 400)


def test_a_picture_that_is_too_large(client: Client) -> None:
    for content in (png(more=9 << 20), png(100_000, 100_000)):
        file = client.upload("a.png", content)["id"]
        found = client.get(f"files/{file}/preview/")
        assert part(found, "image")["url"] is None
        assert "download" in found["note"]
        client.call("GET", f"files/{file}/image/", 400)


def test_meshes(client: Client) -> None:
    triangle = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0)
    found = look(client, "wing.stl", bytes(80) + struct.pack("<L", 1) + triangle)
    mesh = part(found, "mesh")
    assert (found["kind"], mesh["format"], mesh["cells"]) == ("mesh", "STL (binary)", 1)
    assert mesh["bounds"] == {"min": [0, 0, 0], "max": [1, 2, 0]}
    other = look(client, "wing.stl", b"\0\1\2" * 100)
    assert (other["kind"], other["mesh"]) == ("binary", None)
    assert other["note"]
    xml = b'<VTKFile type="PolyData"><PolyData><Piece NumberOfPoints="8" NumberOfPolys="6">'
    found = look(client, "surface.vtp", xml)
    assert (part(found, "mesh")["points"], found["kind"]) == (8, "vtk")


def test_archives(client: Client) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50 << 20))
        for n in range(300):
            archive.writestr(f"../../<b>{n}\u202e", "x")
    found = look(client, "case.zip", file.getvalue())
    listed = part(found, "archive")
    assert (listed["count"], len(listed["entries"])) == (301, 200)
    assert (listed["entries"][0]["name"], listed["entries"][0]["bytes"]) == ("bomb", 50 << 20)
    assert listed["entries"][1]["name"] == "../../<b>0\u202e"
    broken = look(client, "case.zip", b"PK\x03\x04" + bytes(100))
    assert (broken["kind"], broken["note"]) == ("binary", "Only zip archives are listed.")


_MAKE = r"""
mkdir d; echo 'a,b' > d/t.csv; echo 1,2 >> d/t.csv; ln -s /etc/passwd d/link; mkfifo d/pipe
echo odd > $'d/new\nline <b>\u202e'
truncate -s 20G d/sparse; truncate -s 1000 d/sparse.csv
"""


@pytest.fixture(scope="module")
def running(client: Client) -> Iterator[str]:
    job = client.create(f"{_MAKE}\necho made; sleep 600", walltime=1)["id"]
    client.submit(job)
    log = f"jobs/{job}/runs/1/tail/process_output.log?lines=5"
    wait_for(lambda: "made" in client.http.get(log).text, "what the run writes")
    yield job
    client.call("POST", f"jobs/{job}/stop/", 202)


def test_files_of_a_run_that_executes(client: Client, running: str) -> None:
    place = f"jobs/{running}/runs/1/preview/"
    found = client.get(f"{place}?path=d/t.csv")
    assert (part(found, "table")["rows"], found["isLive"]) == ([["1", "2"]], True)
    assert (found["name"], found["path"]) == ("t.csv", "d/t.csv")
    odd = "d/new\nline <b>\u202e"
    found = client.get(f"{place}?path={quote(odd)}")
    assert (found["path"], part(found, "text")["head"]) == (odd, "odd\n")
    found = client.get(f"{place}?path=d/sparse")
    assert (found["kind"], found["bytes"]) == ("binary", 20 << 30)
    assert client.get(f"{place}?path=d/sparse.csv")["kind"] == "binary"
    image = f"jobs/{running}/runs/1/image/"
    for path in ("d/link", "d/pipe", "d", "../../etc/passwd", "/etc/passwd", "nothing", "a\0b"):
        client.call("GET", f"{place}?path={quote(path)}", 404)
        client.call("GET", f"{image}?path={quote(path)}", 404)
    assert list(client.call("GET", place, 400).json()) == ["path"]
    assert list(client.call("GET", image, 400).json()) == ["path"]


def test_files_of_a_run_that_has_ended(client: Client, stranger: Client) -> None:
    content = png(3, 2)
    file = client.upload("plot.png", content)["id"]
    job = client.run("mkdir d; cp plot.png 'd/a b.png'; echo hi > d/t", inputs=[file])["id"]
    place = f"jobs/{job}/runs/1/preview/"
    found = client.get(f"{place}?path=d/a%20b.png")
    assert (found["isLive"], part(found, "image")["width"]) == (False, 3)
    assert client.call("GET", found["image"]["url"], 200).content == content
    assert part(client.get(f"{place}?path=d/t"), "text")["head"] == "hi\n"
    client.call("GET", f"{place}?path=d/u", 404)
    stranger.call("GET", f"{place}?path=d/t", 404)
    stranger.call("GET", found["image"]["url"], 404)
    stranger.call("GET", f"files/{file}/preview/", 404)
    stranger.call("GET", f"files/{file}/image/", 404)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("kind", "html"), ("rows", "0"), ("rows", "1001"), ("cols", "201"), ("cols", "x")],
)
def test_what_cannot_be_asked_is_told_by_its_name(
    client: Client, parameter: str, value: str
) -> None:
    file = client.upload("a.txt", b"a")["id"]
    reply = client.call("GET", f"files/{file}/preview/?{parameter}={value}", 400).json()
    assert list(reply) == [parameter]
