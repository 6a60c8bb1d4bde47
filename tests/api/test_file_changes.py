"""Finding, changing, reading and deleting files (api-v2 reference, 2.2 and 14)."""

import base64
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from harness import Client, RunningServer, pages, wait_for
from simyard.blobs import tink

ODD = [
    "Flügel 翼.txt",
    "a b+c&d=e.txt",
    "100%.txt",
    "#1?.txt",
    "'quoted'.txt",
    ".hidden",
    "~",
    "a;b",
]


@pytest.fixture
def somebody(server: RunningServer) -> Client:
    """A user without any files."""
    return server.somebody()


def upload(client: Client, name: str, content: bytes = b"x", kind: int = 1) -> dict[str, Any]:
    parts = {"data": {"type_id": kind}, "files": {"file": (name, content)}}
    return dict(client.call("POST", "files/contents/", 201, **parts).json())


def listed(client: Client, query: str = "") -> list[str]:
    """The ids of all pages of a list, each page of which is held against the count of the first."""
    found = list(pages(client, f"files/?page_size=7{query}"))
    ids = [file["id"] for page in found for file in page["results"]]
    assert {page["count"] for page in found} == {len(ids)}
    assert len(set(ids)) == len(ids)
    assert all(len(page["results"]) == 7 for page in found[:-1])
    return ids


# --- lists ----------------------------------------------------------------------------------------


def test_lists_while_files_are_deleted(somebody: Client) -> None:
    """Any part of a list, after each of many deletions, against what is known to be there."""
    chance = random.Random(5)
    kinds = [1, 1, 2, 4]
    known = [upload(somebody, f"File-{n:02}.txt", kind=kinds[n % 4]) for n in range(40)]
    known.reverse()
    for step in range(30):
        gone = known.pop(chance.randrange(len(known)))
        somebody.call("DELETE", f"files/{gone['id']}/", 204)
        if step % 6 == 0 or len(known) < 12:
            digit = str(chance.randrange(10))
            of_type = [f["id"] for f in known if f["typeId"] == 2]
            named = [f["id"] for f in known if f"-{digit}" in f["name"]]
            assert listed(somebody) == [f["id"] for f in known]
            assert listed(somebody, "&type_id=2") == listed(somebody, "&typeId=2") == of_type
            assert listed(somebody, f"&search=FILE-{digit}") == named
            both = [i for i in named if i in of_type]
            assert listed(somebody, f"&search=file-{digit}&type_id=2") == both
            assert somebody.get(f"files/?page_size=3&page={-(-len(known) // 3)}")["next"] is None
            past = f"files/?page_size=3&page={-(-len(known) // 3) + 1}"
            assert somebody.get(past, 404) == {"detail": "Invalid page."}
    assert len(known) == 10


@pytest.mark.parametrize(
    "query", ["type_id=x", "type_id=6", "type_id=", "ordering=name", "owner=1"]
)
def test_unknown_filters_are_passed_over(somebody: Client, query: str) -> None:
    for n in range(2):
        upload(somebody, f"{n}.txt")
    assert somebody.get(f"files/?{query}")["count"] == 2


def test_pages_have_25_entries_in_version_3(somebody: Client) -> None:
    for n in range(26):
        upload(somebody, f"{n}.txt")
    page = somebody.get("/api/v3/files/")
    assert (page["count"], len(page["results"])) == (26, 25)
    assert len(somebody.get(page["next"])["results"]) == 1
    assert "/api/v3/files/?page=2" in page["next"]


# --- changing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("place", ["/api/v2/files/{}/", "/api/files/{}/", "/api/v3/files/{}"])
def test_name_and_type_are_changed_and_nothing_else(
    client: Client, method: str, place: str
) -> None:
    """The documentation sends the whole object; what cannot be changed is passed over."""
    file = client.upload("before.txt", b"content")
    path = place.format(file["id"])
    whole = {**file, "name": "after.txt", "typeId": 2, "id": "XXXXXX", "owner": "eve@lab.example"}
    whole |= {"isDeleted": True, "decryptedSize": 0, "md5": "", "dateUploaded": None}
    expected = {**file, "name": "after.txt", "relativePath": "after.txt", "typeId": 2}
    assert client.call(method, path, 200, json=whole).json() == expected
    assert client.get(f"files/{file['id']}/") == expected
    snake = {"type_id": "4", "name": None}
    assert client.call(method, path, 200, json=snake).json() == {**expected, "typeId": 4}
    for nothing in ({}, {"unknown": 1}, {"typeId": ""}, {"typeId": None}):
        assert client.call(method, path, 200, json=nothing).json() == {**expected, "typeId": 4}
    assert client.call("GET", f"files/{file['id']}/contents/", 200).content == b"content"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_form_changes_a_file_too(client: Client, method: str) -> None:
    """The documentation's Python sample: `data=` with the whole object, no version in the path."""
    file = client.upload("before.txt", b"x")
    form = {**file, "typeId": 3, "name": "Flügel & Co.csv"}
    reply = client.call(method, f"/api/files/{file['id']}/", 200, data=form)
    assert reply.request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert reply.json()["name"] == "Flügel & Co.csv"
    assert reply.json()["typeId"] == 3
    assert client.get(f"files/{file['id']}/") == reply.json()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"name": ""}, {"name": ["The submitted file has no name."]}),
        ({"name": "/"}, {"name": ["The submitted file has no name."]}),
        ({"name": ".."}, {"name": ["The submitted file has no name."]}),
        ({"name": "n" * 256}, {"name": ["Ensure this filename has at most 255 bytes."]}),
        ({"name": "ü" * 128}, {"name": ["Ensure this filename has at most 255 bytes."]}),
        ({"name": ["x"]}, {"name": ["Not a valid string."]}),
        ({"typeId": 6}, {"typeId": ['"6" is not a valid choice.']}),
        ({"typeId": 0}, {"typeId": ['"0" is not a valid choice.']}),
        ({"typeId": "x"}, {"typeId": ["A valid integer is required."]}),
        (
            {"currentFolderId": "XXXXXXX"},
            {"currentFolderId": ['Invalid pk "XXXXXXX" - object does not exist.']},
        ),
        (
            {"name": ["x"], "type_id": 13},
            {"name": ["Not a valid string."], "typeId": ['"13" is not a valid choice.']},
        ),
        ([1], {"detail": "Invalid data. Expected a dictionary, but got list."}),
    ],
)
def test_what_a_file_cannot_become(client: Client, body: Any, told: Any) -> None:
    file = client.upload("before.txt", b"x")
    for method in ("PATCH", "PUT"):
        assert client.call(method, f"files/{file['id']}/", 400, json=body).json() == told
    assert client.get(f"files/{file['id']}/") == file


def test_other_kinds_of_body(client: Client) -> None:
    place = f"files/{client.upload('a.txt', b'x')['id']}/"
    client.call("PATCH", place, 400, files={"name": (None, b"b.txt")})
    client.call("PATCH", place, 415, content=b"x", headers={"Content-Type": "text/plain"})
    bad = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    assert client.call("PATCH", place, 400, **bad).json()["detail"].startswith("JSON parse error")
    many = "&".join(f"f{n}=1" for n in range(1001))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    client.call("PATCH", place, 400, content=many, headers=form)


@pytest.mark.parametrize("name", ODD)
def test_odd_names(client: Client, name: str) -> None:
    file = client.upload("plain.txt", b"content")
    renamed = client.call("PATCH", f"files/{file['id']}/", 200, json={"name": name}).json()
    assert renamed["name"] == name == client.upload(name, b"content")["name"]
    found = client.get(f"files/?search={quote(name, safe='')}")["results"]
    assert file["id"] in [f["id"] for f in found]
    reply = client.call("GET", renamed["downloadUrl"], 200)
    assert reply.content == b"content"
    assert f"filename*=UTF-8''{quote(name, safe='')}" in reply.headers["Content-Disposition"]


def test_an_output_keeps_its_folder_when_it_is_renamed(client: Client) -> None:
    job = client.run("mkdir -p a/a; echo x > a/a/a")
    (file,) = client.get(f"jobs/{job['id']}/files/?search=a/a")["results"]
    after = client.call("PATCH", f"files/{file['id']}/", 200, json={"name": "b/c"}).json()
    assert (after["name"], after["relativePath"]) == ("c", "a/a/c")


def test_an_upload_keeps_its_folder_when_it_is_renamed(client: Client) -> None:
    values = {"filename": "U", "relativePath": "case/0/U"}
    sent = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())
    headers = {"Upload-Length": "0", "Upload-Metadata": sent}
    code = client.call("POST", "uploads/", 201, headers=headers).headers["Simyard-File"]
    after = client.call("PATCH", f"files/{code}/", 200, json={"name": "p"}).json()
    assert (after["name"], after["relativePath"]) == ("p", "case/0/p")


# --- deleting -------------------------------------------------------------------------------------


def blobs(server: RunningServer) -> set[Path]:
    return {path for path in (server.data / "blobs").rglob("*") if path.is_file()}


def test_what_is_deleted_is_gone_from_the_disk(fresh: Callable[..., RunningServer]) -> None:
    server = fresh().start()
    client = server.client()
    keep = client.upload("keep.txt", b"kept")
    before = blobs(server)
    alone, named = client.upload("alone.txt", b"a"), client.upload("named.txt", b"n")
    job = client.create(inputs=[named["id"], keep["id"]])
    made = client.run("cp keep.txt twin.txt", inputs=[keep["id"]])
    (twin,) = client.get(f"jobs/{made['id']}/files/?search=twin")["results"]
    log_and_what_was_there = blobs(server)
    for file in (alone, named, twin):
        client.call("DELETE", f"files/{file['id']}/", 204)
        for place in ("", "contents/", "lines/"):
            assert client.get(f"files/{file['id']}/{place}", 404) == {"detail": "Not found."}
        client.call("HEAD", f"files/{file['id']}/contents/", 404)
        client.call("DELETE", f"files/{file['id']}/", 404)
    server.kill()
    server.start()  # the worker tidies when it begins, and every hour
    wait_for(lambda: len(blobs(server)) == len(log_and_what_was_there) - 2, "two blobs gone")
    assert before < blobs(server)
    assert client.call("GET", f"files/{keep['id']}/contents/", 200).content == b"kept"
    shown = client.get(f"jobs/{job['id']}/")["jobanalyses"][0]["inputFiles"]
    assert [(f["id"], f["isDeleted"]) for f in shown] == [(named["id"], True), (keep["id"], False)]


def test_a_job_goes_on_naming_what_was_deleted(somebody: Client) -> None:
    file, script = upload(somebody, "in.txt", b"12345"), upload(somebody, "pre.sh", b"#!/bin/sh")
    inputs = [{"id": file["id"], "decompress": False}]
    job = somebody.create(inputFiles=inputs, preProcessScript={"id": script["id"]})
    over = somebody.run(inputs=[file["id"]])
    assert somebody.get("files/?type_id=1")["count"] == 2
    for one in (file, script):
        somebody.call("DELETE", f"files/{one['id']}/", 204)
    assert somebody.get("files/?type_id=1")["count"] == 0
    kept = {**file, "decompress": False, "isDeleted": True, "isUploaded": False}
    unknown = {"decryptedSize", "encodedEncryptionKey", "fileChecksums", "md5", "path"}
    for path in (f"jobs/{job['id']}/", f"/api/v3/jobs/{job['id']}/"):
        (analysis,) = somebody.get(path)["jobanalyses"]
        (shown,) = analysis["inputFiles"]
        assert {n for n in kept if shown[n] != kept[n]} <= unknown | {"viewInBrowser"}
        assert shown["decryptedSize"] is None and shown["md5"] is None
        assert analysis["preProcessScript"]["isDeleted"] is True
    (shown,) = somebody.get(f"jobs/{over['id']}/")["jobanalyses"][0]["inputFiles"]
    assert shown["isDeleted"] is True
    # It cannot run, be copied or changed before the file is taken out.
    gone = [f'Invalid pk "{one["id"]}" - object does not exist.' for one in (file, script)]
    entry = {"inputFiles": [{"id": [gone[0]]}], "preProcessScript": {"id": [gone[1]]}}
    whole = somebody.get(f"jobs/{job['id']}/")
    for method, path, body in (
        ("POST", f"jobs/{job['id']}/submit/", None),
        ("POST", "jobs/", whole),
        ("PATCH", f"jobs/{job['id']}/", {"name": "x"}),
    ):
        reply = somebody.call(method, path, 400, json=body)
        assert reply.json() == {"jobanalyses": [entry]}
    assert somebody.statuses(job["id"]) == []
    (analysis,) = whole["jobanalyses"]
    analysis |= {"inputFiles": [], "preProcessScript": None}
    somebody.call("PATCH", f"jobs/{job['id']}/", 200, json={"jobanalyses": [analysis]})
    somebody.submit(job["id"])
    assert somebody.finished(job["id"]) == "Completed successfully"


def test_a_queued_job_keeps_its_inputs(client: Client) -> None:
    first = client.create("sleep 600", cores=4)
    file, script = client.upload("in.txt", b"here\n"), client.upload("pre.sh", b"#!/bin/sh")
    second = client.create(
        "cat in.txt", cores=4, inputs=[file["id"]], preProcessScript={"id": script["id"]}
    )
    client.submit(first["id"])
    wait_for(lambda: client.status(first["id"]) == "Executing", "the first")
    client.submit(second["id"])
    for one in (file, script):
        told = client.call("DELETE", f"files/{one['id']}/", 400).json()["detail"]
        assert (
            told == f"{one['name']} is an input of job {second['id']}, which has not read it yet."
        )
    client.call("POST", f"jobs/{first['id']}/stop/", 202)
    assert client.finished(second["id"]) == "Completed successfully"
    assert client.log_of(second["id"]) == "here\n"
    for one in (file, script):
        client.call("DELETE", f"files/{one['id']}/", 204)


def test_a_queued_job_keeps_the_outputs_that_it_reads(client: Client) -> None:
    made = client.run("echo made > made.txt")
    (output,) = client.get(f"jobs/{made['id']}/files/?search=made.txt")["results"]
    first = client.create("sleep 600", cores=4)
    second = client.create("cat made.txt", cores=4, inputs=[output["id"]])
    for job in (first, second):
        client.submit(job["id"])
    wait_for(lambda: client.status(second["id"]) == "Queued", "Queued")
    told = f"made.txt is an input of job {second['id']}, which has not read it yet."
    for path in (f"files/{output['id']}/", f"jobs/{made['id']}/"):
        assert client.call("DELETE", path, 400).json() == {"detail": told}
    client.call("POST", f"jobs/{first['id']}/stop/", 202)
    assert client.finished(second["id"]) == "Completed successfully"
    client.call("DELETE", f"jobs/{made['id']}/", 204)
    assert client.log_of(second["id"]) == "made\n"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("draft", 204),
        ("pending", 400),
        ("queued", 400),
        ("staging", 400),
        ("submitting", 400),  # its attempt may vanish, and another is laid out
        ("running", 204),
        ("closed", 204),
    ],
)
def test_in_which_states_a_job_needs_its_inputs(
    client: Client, server: RunningServer, state: str, status: int
) -> None:
    file = client.upload("in.txt", b"x")
    job = client.create(inputs=[file["id"]])
    server.change_database(f"UPDATE jobs SET state = '{state}' WHERE code = '{job['id']}'")
    client.call("DELETE", f"files/{file['id']}/", status)
    server.change_database(f"UPDATE jobs SET state = 'draft' WHERE code = '{job['id']}'")
    client.call("DELETE", f"jobs/{job['id']}/", 204)


def test_outputs_one_by_one(somebody: Client) -> None:
    """Every list, count and sum follows, of the run, the job and its owner."""
    job = somebody.run("for i in $(seq 5); do printf %0${i}d 0 > $i.txt; done; mkdir d; echo > d/x")
    place = f"jobs/{job['id']}/"

    def books() -> list[Any]:
        run = somebody.get(f"{place}runs/1/")
        return [
            run["outputFileCount"],
            run["outputFileSize"],
            *(somebody.get(f"{place}{files}")["count"] for files in ("files/", "runs/1/files/")),
            somebody.get("files/")["count"],
            somebody.get("jobs/")["results"][0]["storage"],
        ]

    files = somebody.get(f"{place}files/?page_size=100")["results"]
    sizes = [file["decryptedSize"] for file in files]
    assert sizes == [1, 2, 3, 4, 5, 1, 0]
    while files:
        assert books() == [len(files), sum(sizes), *[len(files)] * 3, sum(sizes)]
        for listed_at in ("files/", "runs/1/files/"):
            found = [
                f for p in pages(somebody, f"{place}{listed_at}?page_size=2") for f in p["results"]
            ]
            assert found == files
        gone = len(files) // 2
        somebody.call("DELETE", f"files/{files.pop(gone)['id']}/", 204)
        sizes.pop(gone)
    assert books() == [0] * 6
    somebody.call("DELETE", place, 204)


def test_somebody_elses_files(client: Client, stranger: Client) -> None:
    file = client.upload("mine.txt", b"x")
    for method, path, body in (
        ("PATCH", "", {"name": "x"}),
        ("PUT", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "lines/", None),
        ("GET", "contents/", None),
    ):
        stranger.call(method, f"files/{file['id']}/{path}", 404, json=body)
        client.call(method, f"files/XXXXXX/{path}", 404, json=body)
    stranger.call("POST", f"/api/v3/files/{file['id']}/tags/", 404, json={"name": "x"})
    assert client.get(f"files/{file['id']}/") == file


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", ["\n"]),
        (b"one", ["one"]),
        (b"one\n", ["one\n"]),
        (b"one\n\ntwo", ["one\n", "\n", "two"]),
        (b"one\r\ntwo\r\n", ["one\r\n", "two\r\n"]),
        (b"old\rmac\n\r\n", ["old\rmac\n", "\r\n"]),
        ("Flügel 翼\n🛩\n".encode(), ["Flügel 翼\n", "🛩\n"]),
        ("a\u2028b\x0bc\x85\n".encode(), ["a\u2028b\x0bc\x85\n"]),
        (b"\xef\xbb\xbfmark\n", ["\ufeffmark\n"]),
        (b"latin \xfc\n\xff", ["latin \ufffd\n", "\ufffd"]),
        (b"cut \xe7\xbf", ["cut \ufffd"]),
        (b'"quoted" \\ \x1b[0m\n', ['"quoted" \\ \x1b[0m\n']),
    ],
)
def test_lines(client: Client, content: bytes, lines: list[str]) -> None:
    file = client.upload("text.txt", content)
    assert client.get(f"files/{file['id']}/lines/") == {"lines": lines}
    assert client.get(f"files/{file['id']}/lines") == {"lines": lines}


def test_characters_across_the_borders_of_segments(client: Client) -> None:
    """Every place at which a character of several bytes can be cut, and a line break just there."""
    text = ""
    for start in (0, tink.FIRST_ROOM, tink.FIRST_ROOM + tink.ROOM):
        for offset in range(-6, 2):
            here = max(0, start + offset) - len(text.encode())
            if here >= 0:
                text += "." * here + "翼🛩"
    text += "\n" + "x" * (tink.FIRST_ROOM + 2 * tink.ROOM - len(text.encode()) - 2) + "\nend"
    cut_at_a_break = text.encode()
    assert cut_at_a_break[tink.FIRST_ROOM + 2 * tink.ROOM - 1] == ord("\n")
    file = client.upload("text.txt", cut_at_a_break)
    lines = client.get(f"files/{file['id']}/lines/")["lines"]
    assert "".join(lines) == text and len(lines) == 3


@pytest.mark.parametrize("content", [b"\0", b"a" * 60_000 + b"\0", "wide".encode("utf-16")])
def test_what_is_no_text_has_no_lines(client: Client, content: bytes) -> None:
    file = client.upload("data.txt", content)
    told = {"detail": "This is not a text file."}
    assert client.get(f"files/{file['id']}/lines/", 400) == told


def memory_bytes(server: RunningServer) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_many_lines_stream(client: Client, server: RunningServer) -> None:
    """Twenty megabytes, one line of them longer than is kept in one piece."""
    content = b"".join(b"line %d\n" % n for n in range(900_000)) + b"x" * 9_000_000 + b"\nend"
    assert len(content) > 19_000_000
    url = f"files/{client.upload('large.log', content)['id']}/lines/"
    before = memory_bytes(server)
    began = time.monotonic()
    parts = []
    with client.http.stream("GET", url) as reply:
        assert "Content-Length" not in reply.headers
        for part in reply.iter_raw():
            if not parts:
                first = time.monotonic() - began
            parts.append(part)
    everything = time.monotonic() - began
    lines = json.loads(b"".join(parts))["lines"]
    assert "".join(lines).encode() == content
    assert lines[:2] == ["line 0\n", "line 1\n"] and lines[-1] == "end"
    assert first < everything / 3
    assert memory_bytes(server) - before < 90_000_000


def test_a_reader_of_lines_who_goes_away_leaves_nothing_open(
    client: Client, server: RunningServer
) -> None:
    assert server.process is not None
    folder = Path(f"/proc/{server.process.pid}/fd")

    def open_blobs() -> int:
        found = 0
        for entry in folder.iterdir():
            try:
                found += "/blobs/" in str(entry.readlink())
            except OSError:
                continue
        return found

    file = client.upload("large.log", b"line\n" * 4_000_000)
    url, before = f"{client.base}files/{file['id']}/lines/", open_blobs()

    def glance() -> None:
        headers = {"Authorization": f"Token {client.key}"}
        with httpx.stream("GET", url, headers=headers) as reply:
            next(reply.iter_raw())

    threads = [threading.Thread(target=glance) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: open_blobs() <= before, "the end of all readers", 10)


# --- tags and HEAD --------------------------------------------------------------------------------


def test_tags_of_a_file(somebody: Client) -> None:
    file = upload(somebody, "a.txt")
    assert file["userTags"] == []
    tags = f"/api/v3/files/{file['id']}/tags/"
    assert somebody.get(tags) == []
    for _ in range(2):
        reply = somebody.call("POST", tags, 201, json={"name": " Wing  3"})
        assert reply.json() == {"name": "Wing 3", "normalizedName": "wing 3"}
    assert somebody.call("POST", tags, 201, json={"name": "WING 3"}).json() == reply.json()
    somebody.call("POST", tags, 201, json={"name": "cfd"})
    shown = {**file, "userTags": ["cfd", "Wing 3"]}
    assert somebody.get(f"files/{file['id']}/") == shown
    assert somebody.get("files/")["results"] == [shown]
    assert [tag["name"] for tag in somebody.get(tags)] == ["cfd", "Wing 3"]
    for _ in range(2):
        somebody.call("DELETE", tags, 204, json={"name": "CFD"})
    assert [tag["name"] for tag in somebody.get(tags)] == ["Wing 3"]
    for body, told in (
        ({}, "This field is required."),
        ({"name": " "}, "This field may not be blank."),
        ({"name": "t" * 101}, "Ensure this field has no more than 100 characters."),
    ):
        for method in ("POST", "DELETE"):
            assert somebody.call(method, tags, 400, json=body).json() == {"name": [told]}
    somebody.call("DELETE", f"files/{file['id']}/", 204)
    somebody.call("GET", tags, 404)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_head_is_get_without_its_body(client: Client, version: str) -> None:
    file = client.upload("h.bin", b"0123456789")
    url = f"/api/{version}/files/{file['id']}/contents/"
    for headers in ({}, {"Range": "bytes=2-5"}, {"Range": "bytes=4-99"}, {"If-None-Match": "x"}):
        get = client.http.get(client.base.removesuffix("/api/v2/") + url, headers=headers)
        head = client.call("HEAD", url, get.status_code, headers=headers)
        assert head.content == b""
        names = ("Content-Length", "Content-Type", "ETag", "Content-Disposition", "Content-Range")
        assert [head.headers.get(n) for n in names] == [get.headers.get(n) for n in names]
    assert client.call("HEAD", url, 416, headers={"Range": "bytes=10-"}).content == b""
