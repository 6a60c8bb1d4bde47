"""Archives of outputs: exact sizes, ranges, going on after a cut, and who may have them."""

import contextlib
import io
import re
import shutil
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import Client, RunningServer, wait_for
from studying import created, study

_MAKE = r"""
mkdir -p fields/0 notes empty
head -c 3000000 /dev/urandom > fields/0/large.bin
seq 20000 > fields/0/numbers.dat
for i in $(seq 50); do echo $i > notes/$i.txt; done
: > empty/nothing
echo odd > $'notes/\u202egpj.exe'; echo odd > $'new\nline'; echo odd > 'C:evil'; echo odd > 'a\b'
touch -d 2001-02-03T04:05:06Z fields/0/numbers.dat
"""


@pytest.fixture(scope="module")
def job(client: Client) -> str:
    return str(client.run(_MAKE)["id"])


def chosen(client: Client, job: str, **rules: Any) -> dict[str, Any]:
    return dict(client.call("POST", f"jobs/{job}/archives/", 201, json=rules).json())


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_all_of_a_run(client: Client, job: str, tmp_path: Path) -> None:
    link = chosen(client, job)
    outputs = client.outputs(job)
    reply = client.call("GET", link["url"], 200)
    assert len(reply.content) == link["bytes"] == int(reply.headers["content-length"])
    found = unpacked(reply.content)
    assert len(found) == link["count"] == len(outputs)
    renamed = {
        "new\nline": "new_line", "C:evil": "C_evil", "a\\b": "a_b",
        "notes/\u202egpj.exe": "notes/_gpj.exe",
    }  # fmt: skip
    assert {renamed.get(path, path): content for path, content in outputs.items()} == found
    assert re.fullmatch(
        rf"attachment; filename=\"A job-{job}.zip\"; .*", reply.headers["content-disposition"]
    )
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in reply.headers["content-security-policy"]
    head = client.call("HEAD", link["url"], 200)
    for name in ("content-length", "etag", "accept-ranges"):
        assert head.headers[name] == reply.headers[name]
    if shutil.which("unzip"):
        path = tmp_path / "a.zip"
        path.write_bytes(reply.content)
        done = subprocess.run(["unzip", "-tq", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        subprocess.run(["unzip", "-q", path, "-d", tmp_path / "into"], check=True)
        numbers = tmp_path / "into" / "fields" / "0" / "numbers.dat"
        assert numbers.stat().st_mtime == 981_173_106


def test_any_part_is_that_of_the_whole(client: Client, job: str) -> None:
    link = chosen(client, job)
    reply = client.call("GET", link["url"], 200)
    whole, etag = reply.content, reply.headers["etag"]
    size = len(whole)
    spans = [
        (0, 1),
        (29, 31),
        (0, size),
        (1_000_000, 2_500_000),
        (size - 22, size),
        (size - 1, size),
    ]
    for start, stop in spans:
        headers = {"Range": f"bytes={start}-{stop - 1}", "If-Range": etag}
        part = client.call("GET", link["url"], 206, headers=headers)
        assert part.content == whole[start:stop]
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    other = {"Range": "bytes=5-9", "If-Range": '"another"'}
    assert client.call("GET", link["url"], 200, headers=other).content == whole
    client.call("GET", link["url"], 304, headers={"If-None-Match": etag})
    client.call("GET", link["url"], 416, headers={"Range": f"bytes={size}-"})


def test_rules(client: Client, job: str) -> None:
    def names(**rules: Any) -> set[str]:
        link = chosen(client, job, **rules)
        content = client.call("GET", link["url"], 200).content
        assert len(content) == link["bytes"]
        return set(unpacked(content))

    assert names(include=["fields/"]) == {"fields/0/large.bin", "fields/0/numbers.dat"}
    assert names(include=["fields", "*.txt"], exclude=["*.bin", "notes/[2-9]*", "notes/1?.*"]) == {
        "fields/0/numbers.dat", "notes/1.txt",
    }  # fmt: skip
    assert names(include=["empty/nothing"], runs=[1]) == {"empty/nothing"}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"include": ["nothing/"]}, "include"),
        ({"include": "fields"}, "include"),
        ({"include": [""]}, "include"),
        ({"include": ["/"]}, "include"),
        ({"exclude": [7, "x" * 5000]}, "exclude"),
        ({"include": ["*" * 300]}, "include"),
        ({"exclude": ["x"] * 501}, "exclude"),
        ({"include": [f"*{n}" for n in range(51)]}, "include"),
        ({"runs": [2]}, "runs"),
        ({"runs": ["one"]}, "runs"),
        ({"runs": [-1]}, "runs"),
        ({"runs": [0]}, "runs"),
        ({"runs": list(range(1, 600))}, "runs"),
        ({"exclude": ["*"]}, "include"),
    ],
)
def test_what_cannot_be_chosen_is_told_by_its_name(
    client: Client, job: str, sent: dict[str, Any], field: str
) -> None:
    reply = client.call("POST", f"jobs/{job}/archives/", 400, json=sent).json()
    assert list(reply) == [field]


def test_more_rules_than_a_link_holds(client: Client, job: str) -> None:
    rules = [f"folder {n * n * 7919}/{n**5}" for n in range(499)]
    client.call("POST", f"jobs/{job}/archives/", 400, json={"include": rules})
    chosen(client, job, include=[*rules[:60], "notes"])


def test_who_may_have_it(server: RunningServer, client: Client, job: str) -> None:
    other = server.somebody("bob")
    email = other.get("users/me/")["email"]
    link = chosen(client, job, include=["notes"])
    other.call("GET", link["url"], 404)
    other.call("POST", f"jobs/{job}/archives/", 404, json={})
    client.call("POST", f"jobs/{job}/share/", 200, json={"email": email})
    assert chosen(other, job)["count"] > 50
    assert unpacked(other.call("GET", link["url"], 200).content)
    client.call("DELETE", f"jobs/{job}/share/", 204, json={"email": email})
    other.call("GET", link["url"], 404)
    nobody = {"Authorization": ""}
    client.call("GET", link["url"], 401, headers=nobody)


def test_ids_that_were_not_made_here(client: Client, job: str) -> None:
    link = chosen(client, job, include=["notes"])
    code = link["id"]
    flipped = ("0" if code[0] != "0" else "1") + code[1:]
    cut, more = code[:-1], f"{code}A"
    for wrong in (flipped, cut, more, code[40:], "x", "ä", "0" * 40, "%00" * 50):
        client.call("GET", f"jobs/{job}/archives/{wrong}/", 404)
    another = client.run()["id"]
    client.call("GET", f"jobs/{another}/archives/{code}/", 404)


def test_a_run_that_executes_has_nothing_to_choose_yet(client: Client) -> None:
    job = client.create("echo x > x; sleep 600")["id"]
    client.submit(job)
    wait_for(lambda: client.status(job) == "Executing", "the run")
    reply = client.call("POST", f"jobs/{job}/archives/", 400, json={"runs": [1]}).json()
    assert "not at its end" in reply["runs"][0]
    client.call("POST", f"jobs/{job}/archives/", 400, json={})
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)
    assert chosen(client, job, runs=["1"])["count"] >= 1


def test_a_study_has_a_folder_for_each_run(client: Client) -> None:
    job = created(client, study(client, "echo $PARAM_X > out", table="X\n1\n2\n3\n"))["id"]
    client.submit(job)
    client.finished(job)
    link = chosen(client, job, include=["out"], runs=[3, 1])
    found = unpacked(client.call("GET", link["url"], 200).content)
    assert set(found) == {"run1/out", "run3/out"}
    everything = chosen(client, job)
    names = unpacked(client.call("GET", everything["url"], 200).content)
    assert {f"run{n}/process_output.log" for n in (1, 2, 3)} <= set(names)


def test_going_on_after_a_kill_and_after_a_change(
    fresh: Callable[..., RunningServer], tmp_path: Path
) -> None:
    server = fresh("").start()
    client = server.client()
    job = client.run(_MAKE)["id"]
    # As of a release that did not take checksums.
    server.change_database("UPDATE blobs SET crc32 = NULL")
    link = chosen(client, job)
    with client.http.stream("GET", link["url"]) as reply:
        etag, first = reply.headers["etag"], b""
        for part in reply.iter_bytes():
            first += part
            if len(first) > 1_000_000:
                break
    server.kill()
    server.start()
    if shutil.which("curl"):
        path = tmp_path / "half.zip"
        path.write_bytes(first)
        key = ["-H", f"Authorization: Token {client.key}"]
        subprocess.run(["curl", "-sSf", "-C", "-", *key, "-o", path, link["url"]], check=True)
        assert len(path.read_bytes()) == link["bytes"]
        assert unpacked(path.read_bytes()).keys() >= {"fields/0/large.bin", "notes/50.txt"}
    headers = {"Range": f"bytes={len(first)}-", "If-Range": etag}
    rest = client.call("GET", link["url"], 206, headers=headers).content
    assert len(first + rest) == link["bytes"]
    whole = unpacked(first + rest)
    assert len(whole) == link["count"]
    # What was taken on the way was kept.
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        query = "SELECT count(*) FROM blobs JOIN files ON blob_id = blobs.id WHERE crc32 IS NULL"
        assert database.execute(query).fetchone() == (0,)
    assert client.call("GET", link["url"], 200).content == first + rest
    # A file less: another archive under the same link, and nobody puts the two together.
    page = client.get(f"jobs/{job}/files/?search=notes/7.txt")
    client.call("DELETE", f"files/{page['results'][0]['id']}/", 204)
    reply = client.call("GET", link["url"], 200, headers=headers)
    assert reply.headers["etag"] != etag
    assert unpacked(reply.content) == {k: v for k, v in whole.items() if k != "notes/7.txt"}
