"""Uploads under kill -9, at named points and at random: what was told to have arrived has, and in
the end there is one file.
"""

import base64
import contextlib
import hashlib
import http.client
import random
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import harness
from dying import Stubborn, armed
from harness import CONFIG, Client, RunningServer, wait_for
from simyard.torture.points import UPLOADS

pytestmark = pytest.mark.faults

BODY = "application/offset+octet-stream"
MIB = 1 << 20
NAME = f"filename {base64.b64encode(b'mesh.bin').decode()}"


def begin(client: Client, size: int) -> str:
    headers = {"Upload-Length": str(size), "Upload-Metadata": NAME, "Idempotency-Key": "k"}
    made = client.call("POST", "uploads/", 201, headers=headers)
    return f"uploads/{made.headers['Location'].rsplit('/', 2)[-2]}/"


def step(client: Client, path: str, whole: bytes, size: int) -> httpx.Response:
    """What a good client does: it asks how far it is, and goes on from there."""
    at = int(client.call("HEAD", path, 200).headers["Upload-Offset"])
    headers = {"Upload-Offset": str(at), "Content-Type": BODY}
    return client.call("PATCH", path, 204, headers=headers, content=whole[at : at + size])


def check(client: Client, file_id: str, whole: bytes) -> None:
    (listed,) = client.get("files/")["results"]
    assert listed["id"] == file_id
    assert listed["md5"] == hashlib.md5(whole).hexdigest()
    assert client.call("GET", f"files/{file_id}/contents/", 200).content == whole
    assert client.get("uploads/")["count"] == 0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    made = RunningServer(tmp_path_factory.mktemp("installation") / "data", CONFIG)
    return made.data, made.key()


# Records early, and keeps one part open.
HASTY = f"""
import simyard.api.resumable
simyard.api.resumable._RECORD_BYTES = {2 * MIB}
simyard.api.resumable._KEPT_OPEN = 1
from simyard.cli.main import main
main()
"""


@pytest.fixture
def hasty(fresh: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    monkeypatch.setattr(harness, "SIMYARD", [sys.executable, "-c", HASTY])
    return fresh().start()


def recorded(server: RunningServer) -> list[int]:
    """Bytes of each part."""
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        found = database.execute("SELECT size_bytes FROM upload_parts ORDER BY number")
        return [size for (size,) in found]


@pytest.mark.parametrize("has_checksum", [False, True])
def test_killed_in_the_midst_of_a_long_request(hasty: RunningServer, has_checksum: bool) -> None:
    """What was recorded meanwhile is there; nothing is of bytes whose checksum is not known."""
    whole, client = random.Random(4).randbytes(12 * MIB), hasty.client()
    path = begin(client, len(whole))
    headers = {"Authorization": f"Token {client.key}", "Upload-Offset": "0", "Content-Type": BODY}
    if has_checksum:
        digest = base64.b64encode(hashlib.sha1(whole).digest()).decode()
        headers["Upload-Checksum"] = f"sha1 {digest}"
    address = urlsplit(client.base)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    connection.putrequest("PATCH", f"/api/v2/{path}")
    for name, value in {**headers, "Content-Length": str(len(whole))}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(whole[: 9 * MIB])
    wait_for(lambda: sum(recorded(hasty)) > 7 * MIB or recorded(hasty) == [0], "the record")
    hasty.kill()
    connection.close()
    client = hasty.start().client()
    at = int(client.call("HEAD", path, 200).headers["Upload-Offset"])
    assert (at == 0) is has_checksum
    while "Simyard-File" not in (reply := step(client, path, whole, 5 * MIB)).headers:
        pass
    check(client, reply.headers["Simyard-File"], whole)


def test_more_uploads_than_are_kept_open(hasty: RunningServer) -> None:
    client = hasty.client()
    contents = [random.Random(n).randbytes(3 * MIB + n) for n in range(3)]
    headers = {"Upload-Metadata": NAME}
    paths = []
    for content in contents:
        headers["Upload-Length"] = str(len(content))
        made = client.call("POST", "uploads/", 201, headers=headers)
        paths.append(f"uploads/{made.headers['Location'].rsplit('/', 2)[-2]}/")
    for _ in range(2):
        for path, content in zip(paths, contents, strict=True):
            reply = step(client, path, content, 2 * MIB)
    assert "Simyard-File" in reply.headers
    for path, content in zip(paths, contents, strict=True):
        file_id = client.call("HEAD", path, 200).headers["Simyard-File"]
        assert client.call("GET", f"files/{file_id}/contents/", 200).content == content
    assert not list((hasty.data / "blobs").rglob("*.part"))


@pytest.mark.parametrize("point", [*UPLOADS, "blob.flushed", "blob.renamed"])
def test_killed_at_every_point(
    fresh: Callable[..., RunningServer], installation: tuple[Path, str], point: str
) -> None:
    whole = random.Random(point).randbytes(5 * MIB + 17)
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        path = client.until_it_works(lambda c: begin(c, len(whole)))
        while True:
            reply = client.until_it_works(lambda c: step(c, path, whole, 2 * MIB))
            if "Simyard-File" in reply.headers:
                break
        assert client.deaths == 1
        again = server.client(key)
        assert begin(again, len(whole)) == path
        told = again.call("HEAD", path, 200).headers
        assert told["Simyard-File"] == reply.headers["Simyard-File"]
        check(again, told["Simyard-File"], whole)


def test_killed_at_random(fresh: Callable[..., RunningServer]) -> None:
    whole, moments = random.Random(1).randbytes(40 * MIB), random.Random(2)
    server = fresh().start()
    client = Stubborn(server, server.key())
    path = client.until_it_works(lambda c: begin(c, len(whole)))
    known = 0

    def go_on(c: Client) -> httpx.Response:
        assert int(c.call("HEAD", path, 200).headers["Upload-Offset"]) >= known
        return step(c, path, whole, 3 * MIB)

    while True:
        assert server.process is not None
        killer = threading.Timer(moments.uniform(0, 0.2), server.process.kill)
        if client.deaths < 6:
            killer.start()
        reply = client.until_it_works(go_on)
        killer.cancel()
        known = int(reply.headers["Upload-Offset"])
        if "Simyard-File" in reply.headers:
            break
    assert client.deaths >= 2
    client.until_it_works(lambda c: check(c, reply.headers["Simyard-File"], whole))
