"""Uploads that go on where they were cut: tus 1.0.0, by hand."""

import base64
import contextlib
import hashlib
import io
import random
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness import CONFIG, Client, RunningServer, definition, wait_for
from studying import created, study

BODY = "application/offset+octet-stream"
MIB = 1 << 20


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def metadata(**values: str) -> str:
    return ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in values.items()
    )


class Tus:
    """One upload, as a client has it."""

    def __init__(self, client: Client, size: int, name: str = "a.bin", **values: str) -> None:
        self.client, self.size = client, size
        headers = {"Upload-Length": str(size), "Upload-Metadata": metadata(filename=name, **values)}
        made = client.call("POST", "uploads/", 201, headers=headers)
        self.made = made
        self.id = made.headers["Location"].rsplit("/", 2)[-2]
        self.path = f"uploads/{self.id}/"

    def head(self, expect: int = 200) -> httpx.Response:
        return self.client.call("HEAD", self.path, expect)

    @property
    def offset(self) -> int:
        return int(self.head().headers["Upload-Offset"])

    def patch(
        self, body: bytes | Iterator[bytes], at: int, expect: int = 204, **headers: str
    ) -> httpx.Response:
        headers = {"Upload-Offset": str(at), "Content-Type": BODY, **headers}
        return self.client.call("PATCH", self.path, expect, content=body, headers=headers)

    def status_of_patch(self, body: bytes, at: int) -> int:
        headers = {"Upload-Offset": str(at), "Content-Type": BODY}
        return self.client.http.patch(self.path, headers=headers, content=body).status_code

    def send(self, whole: bytes, step: int) -> httpx.Response:
        """The rest of it."""
        at = self.offset
        while True:
            reply = self.patch(whole[at : at + step], at)
            at = int(reply.headers["Upload-Offset"])
            if at == self.size:
                return reply

    def begin(self, body: bytes, at: int, announce: int) -> socket.socket:
        """A PATCH of which only the first bytes are sent."""
        host, port = self.client.base.split("/")[2].split(":")
        connection = socket.create_connection((host, int(port)))
        connection.sendall(
            f"PATCH /api/v2/{self.path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n"
            f"Authorization: Token {self.client.key}\r\nUpload-Offset: {at}\r\n"
            f"Content-Type: {BODY}\r\nContent-Length: {announce}\r\n\r\n".encode()
        )
        connection.sendall(body)
        return connection


def is_the_file(client: Client, reply: httpx.Response, whole: bytes) -> str:
    """The file that a reply names has these bytes. Returns its id."""
    file_id = reply.headers["Simyard-File"]
    assert client.call("GET", f"files/{file_id}/contents/", 200).content == whole
    file = client.get(f"files/{file_id}/")
    assert file["md5"] == reply.headers["Simyard-File-Md5"] == hashlib.md5(whole).hexdigest()
    assert file["fileChecksums"][0]["fileHash"] == hashlib.sha512(whole).hexdigest()
    return str(file_id)


def parts_on_disk(server: RunningServer) -> int:
    return len(list((server.data / "blobs").rglob("*.part")))


@pytest.fixture
def somebody(server: RunningServer) -> Client:
    return server.somebody()


# --- the protocol ---------------------------------------------------------------------------------


def test_what_the_server_speaks(client: Client) -> None:
    told = client.call("OPTIONS", "uploads/", 204).headers
    assert told["Tus-Version"] == told["Tus-Resumable"] == "1.0.0"
    assert told["Tus-Extension"].split(",") == [
        "creation", "creation-with-upload", "checksum", "expiration", "termination",
    ]  # fmt: skip
    assert told["Tus-Checksum-Algorithm"] == "sha1,sha256"
    assert "Tus-Max-Size" not in told
    for method, path in (("POST", "uploads/"), ("PATCH", "uploads/x/"), ("DELETE", "uploads/x/")):
        reply = client.call(method, path, 412, headers={"Tus-Resumable": "0.2.2"})
        assert reply.headers["Tus-Version"] == "1.0.0"


# Around the ends of segments: those that are sealed, and those that are held back.
_FIRST, _ROOM = MIB - 40 - 16, MIB - 16
STEPS = [1000, _FIRST - 1, _FIRST, _FIRST + 1, MIB, _FIRST + _ROOM, 3 * MIB + 7]


@pytest.mark.parametrize("step", STEPS)
def test_in_pieces(somebody: Client, step: int) -> None:
    size = {1000: 9500, MIB: 8 * MIB}.get(step, 2 * step + _ROOM // 2)
    for exact in (size, step * 2, step):
        whole = content(exact, step)
        tus = Tus(somebody, exact, "mesh.bin", relativePath="/case/mesh.bin", typeId="2")
        reply = tus.send(whole, step)
        file_id = is_the_file(somebody, reply, whole)
        file = somebody.get(f"files/{file_id}/")
        assert (file["name"], file["typeId"]) == ("mesh.bin", 2)
        assert file["relativePath"] == "case/mesh.bin"
        # The reply may have been lost: the same is told again, and nothing is made twice.
        again = tus.head()
        assert again.headers["Simyard-File"] == file_id
        assert again.headers["Upload-Offset"] == again.headers["Upload-Length"] == str(exact)
        assert tus.patch(b"", exact).headers["Simyard-File"] == file_id
    assert somebody.get("files/")["count"] == 3
    assert somebody.get("uploads/")["count"] == 0


def test_the_first_bytes_come_with_the_creation(somebody: Client) -> None:
    whole = content(3 * MIB)
    headers = {
        "Upload-Length": str(len(whole)),
        "Upload-Metadata": metadata(filename="a"),
        "Content-Type": BODY,
    }
    half = somebody.call("POST", "uploads/", 201, headers=headers, content=whole[: 2 * MIB])
    assert half.headers["Upload-Offset"] == str(2 * MIB)
    path = half.headers["Location"].split("/api/v2/")[1]
    rest = {"Upload-Offset": str(2 * MIB), "Content-Type": BODY}
    last = somebody.call("PATCH", path, 204, headers=rest, content=whole[2 * MIB :])
    is_the_file(somebody, last, whole)
    is_the_file(
        somebody, somebody.call("POST", "uploads/", 201, headers=headers, content=whole), whole
    )
    headers["Upload-Checksum"] = f"sha1 {base64.b64encode(bytes(20)).decode()}"
    wrong = somebody.call("POST", "uploads/", 201, headers=headers, content=whole)
    assert wrong.headers["Upload-Offset"] == "0", "it is there, and begins at its beginning"
    del headers["Upload-Checksum"]
    headers["Content-Type"] = "text/plain"
    somebody.call("POST", "uploads/", 415, headers=headers, content=whole)


def test_an_empty_file_is_there_at_once(somebody: Client) -> None:
    is_the_file(somebody, Tus(somebody, 0).made, b"")
    assert somebody.get("files/")["count"] == 1


def test_a_creation_that_is_repeated(somebody: Client) -> None:
    headers = {"Upload-Length": "5", "Upload-Metadata": metadata(filename="a")}
    key = {"Idempotency-Key": "k"}
    first, second = (
        somebody.call("POST", "uploads/", 201, headers={**headers, **key}) for _ in range(2)
    )
    assert first.headers["Location"] == second.headers["Location"]
    assert second.headers["Idempotency-Replayed"] == "true"
    headers["Upload-Length"] = "6"
    somebody.call("POST", "uploads/", 422, headers={**headers, **key})
    assert somebody.get("uploads/")["count"] == 1


def test_with_another_method_for_those_who_have_no_patch(somebody: Client) -> None:
    tus = Tus(somebody, 5)
    headers = {"Upload-Offset": "0", "Content-Type": BODY, "X-HTTP-Method-Override": "PATCH"}
    reply = somebody.call("POST", tus.path, 204, headers=headers, content=b"hello")
    is_the_file(somebody, reply, b"hello")
    somebody.call("POST", tus.path, 204, headers={"X-HTTP-Method-Override": "DELETE"})
    tus.head(404)
    somebody.call("POST", tus.path, 405)


def test_location_behind_a_proxy(fresh: Callable[..., RunningServer]) -> None:
    client = fresh(CONFIG + 'trusted_proxies = ["127.0.0.1"]\n').start().client()
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "sim.example.org",
        "X-Forwarded-Prefix": "/lab",
        "Upload-Length": "1",
        "Upload-Metadata": metadata(filename="a"),
    }
    place = client.call("POST", "uploads/", 201, headers=headers).headers["Location"]
    assert place.startswith("https://sim.example.org/lab/api/v2/uploads/")


# --- what is announced ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Upload-Length": None}, "Upload-Length"),
        ({"Upload-Length": "-1"}, "Upload-Length"),
        ({"Upload-Length": "²"}, "Upload-Length"),
        ({"Upload-Defer-Length": "1"}, "Upload-Defer-Length"),
        ({"Upload-Concat": "partial"}, "Upload-Concat"),
        ({"Upload-Metadata": None}, "filename"),
        ({"Upload-Metadata": "filename"}, "filename"),
        ({"Upload-Metadata": "filename !!!"}, "Upload-Metadata"),
        ({"Upload-Metadata": "filename /w=="}, "Upload-Metadata"),
        ({"Upload-Metadata": "filename YQ==," + "x" * 20_000}, "Upload-Metadata"),
        ({"Upload-Metadata": metadata(filename="..")}, "filename"),
        ({"Upload-Metadata": metadata(filename="x" * 256)}, "filename"),
        ({"Upload-Metadata": metadata(filename="a", typeId="77")}, "typeId"),
        ({"Upload-Metadata": metadata(filename="a", typeId="-1")}, "typeId"),
        ({"Upload-Metadata": metadata(filename="a", batch="b" * 65)}, "batch"),
        ({"Upload-Metadata": metadata(filename="a", fingerprint="f\n")}, "fingerprint"),
        ({"Upload-Metadata": metadata(filename="a", fingerprint="f" * 256)}, "fingerprint"),
        ({"Upload-Metadata": metadata(filename="a", relativePath="../a")}, "relativePath"),
        ({"Upload-Metadata": metadata(filename="a", relativePath="b/../../a")}, "relativePath"),
        ({"Upload-Metadata": metadata(filename="a", relativePath="b\\..\\a")}, "relativePath"),
        ({"Upload-Metadata": metadata(filename="a", relativePath="b//a")}, "relativePath"),
        ({"Upload-Metadata": metadata(filename="a", relativePath="b/\0/a")}, "relativePath"),
        ({"Upload-Metadata": metadata(filename="a", relativePath="b/" * 60 + "a")}, "relativePath"),
        ({"Upload-Metadata": metadata(filename="a", relativePath="b" * 2000)}, "relativePath"),
        ({"Upload-Checksum": "md5 YQ=="}, "Upload-Checksum"),
        ({"Upload-Checksum": "sha1 YQ=="}, "Upload-Checksum"),
        ({"Upload-Checksum": "sha1"}, "Upload-Checksum"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(
    client: Client, headers: dict[str, str | None], field: str
) -> None:
    good = {"Upload-Length": "5", "Upload-Metadata": metadata(filename="a")}
    sent = {name: value.encode() for name, value in {**good, **headers}.items() if value}
    reply = client.call("POST", "uploads/", 400, headers=sent)
    assert list(reply.json()) == [field], reply.text
    assert reply.headers["Tus-Resumable"] == "1.0.0"


def test_names_are_made_harmless(somebody: Client) -> None:
    assert Tus(somebody, 0, "C:\\cases\\wing\x07.stl").made.headers["Simyard-File"]
    assert somebody.get("files/")["results"][0]["name"] == "wing.stl"
    headers = {"Upload-Length": "0", "Upload-Metadata": metadata(relativePath="a/b.txt")}
    somebody.call("POST", "uploads/", 201, headers=headers)
    assert somebody.get("files/")["results"][0]["name"] == "b.txt"


def test_nothing_is_read_of_what_does_not_fit(fresh: Callable[..., RunningServer]) -> None:
    config = f"{CONFIG}max_upload_bytes = 5000000\nuser_storage_bytes = 6000000\n"
    client = fresh(config).start().client()
    assert client.call("OPTIONS", "uploads/", 204).headers["Tus-Max-Size"] == "5000000"

    def announce(size: int, expect: int) -> str:
        headers = {"Upload-Length": str(size), "Upload-Metadata": metadata(filename="a")}
        return client.call("POST", "uploads/", expect, headers=headers).text

    assert "5000000 bytes that this site takes" in announce(5_000_001, 413)
    assert "larger than any disk" in announce(10**18, 413)
    first = Tus(client, 4_000_000)
    assert "user_storage_bytes" in announce(2_000_001, 413), "what was promised counts"
    files = {"file": ("x", bytes(2_000_001))}
    assert "user_storage_bytes" in client.call("POST", "files/contents/", 413, files=files).text
    second = Tus(client, 2_000_000)
    for tus in (first, second):
        whole = content(tus.size)
        is_the_file(client, tus.send(whole, MIB), whole)
    announce(1, 413)
    client.call("DELETE", first.path, 204)
    announce(1, 413)  # the file stays
    client.call("DELETE", f"files/{second.head().headers['Simyard-File']}/", 204)
    third = Tus(client, 2_000_000)
    announce(1, 413)
    client.call("DELETE", third.path, 204)
    Tus(client, 1)


def test_no_room_on_the_disk(fresh: Callable[..., RunningServer]) -> None:
    client = fresh(f"{CONFIG}disk_reserve_bytes = {10**15}\n").start().client()
    headers = {"Upload-Length": "5", "Upload-Metadata": metadata(filename="a")}
    assert "no room" in client.call("POST", "uploads/", 507, headers=headers).json()["detail"]


# --- out of step ----------------------------------------------------------------------------------


def test_bytes_for_another_place_are_refused(somebody: Client) -> None:
    tus, whole = Tus(somebody, 3000), content(3000)
    tus.patch(whole[:1000], 0)
    for at in (0, 999, 1001, 3000):
        assert tus.patch(b"x", at, 409).json() == {"detail": "This upload goes on at byte 1000."}
    tus.patch(content(2001), 1000, 413)
    tus.patch(iter([content(2000), b"x"]), 1000, 413)  # without a Content-Length
    assert tus.offset == 1000
    tus.patch(b"x", 1000, 415, **{"Content-Type": "application/octet-stream"})
    missing = somebody.call("PATCH", tus.path, 400, headers={"Content-Type": BODY})
    assert missing.json() == {"Upload-Offset": ["This header is required."]}
    is_the_file(somebody, tus.patch(iter([whole[1000:2000], whole[2000:]]), 1000), whole)
    tus.patch(b"x", 2999, 409)
    tus.patch(b"x", 3000, 204)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_checksums(somebody: Client, server: RunningServer, algorithm: str) -> None:
    whole, before = content(5 * MIB), parts_on_disk(server)
    tus = Tus(somebody, len(whole))

    def checksum(part: bytes) -> dict[str, str]:
        digest = base64.b64encode(hashlib.new(algorithm, part).digest()).decode()
        return {"Upload-Checksum": f"{algorithm} {digest}"}

    tus.patch(whole[:MIB], 0, **checksum(whole[:MIB]))
    part = whole[MIB : 4 * MIB]
    reply = tus.patch(b"y" + part[1:], MIB, 460, **checksum(part))
    assert reply.json() == {"detail": "What arrived has not the checksum that was sent."}
    assert tus.offset == MIB
    tus.patch(part, MIB, **checksum(part))
    last = whole[4 * MIB :]
    tus.patch(last[:-1] + bytes([last[-1] ^ 1]), 4 * MIB, 460, **checksum(last))
    is_the_file(somebody, tus.patch(last, 4 * MIB, **checksum(last)), whole)
    assert parts_on_disk(server) == before


# --- cut, and at the same time --------------------------------------------------------------------


@pytest.mark.parametrize("sent", [1000, _FIRST + 1, 3 * MIB + 5])
def test_what_arrived_of_a_cut_connection_stays(
    somebody: Client, server: RunningServer, sent: int
) -> None:
    whole, before = content(4 * MIB, sent), parts_on_disk(server)
    tus = Tus(somebody, len(whole))
    with contextlib.closing(tus.begin(whole[:sent], 0, len(whole))):
        wait_for(lambda: parts_on_disk(server) > before, "its turn")
    wait_for(lambda: tus.status_of_patch(b"", len(whole)) == 409, "the end of the request")
    # What the server had not looked at when it learned of the end is not known to have arrived.
    assert sent - MIB // 2 <= tus.offset <= sent
    is_the_file(somebody, tus.send(whole, MIB), whole)


def test_of_two_at_a_time_one_writes(somebody: Client, server: RunningServer) -> None:
    whole, before = content(2 * MIB), parts_on_disk(server)
    tus = Tus(somebody, len(whole))
    with contextlib.closing(tus.begin(whole[:MIB], 0, len(whole))) as connection:
        wait_for(lambda: parts_on_disk(server) > before, "the first one's turn")
        assert tus.status_of_patch(b"", 0) == 423
        connection.sendall(whole[MIB:])
        assert connection.recv(100).startswith(b"HTTP/1.1 204 ")
    is_the_file(somebody, tus.head(), whole)


def test_two_clients_push_the_same(somebody: Client) -> None:
    """Each does what a good client does; the file is whole, and there is one."""
    whole = content(6 * MIB)
    tus = Tus(somebody, len(whole))
    statuses: list[int] = []

    def push() -> None:
        with httpx.Client(base_url=somebody.base, headers=somebody.http.headers) as http:
            while True:
                at = int(http.head(tus.path).headers["Upload-Offset"])
                if at == len(whole):
                    return
                headers = {"Upload-Offset": str(at), "Content-Type": BODY}
                reply = http.patch(tus.path, headers=headers, content=whole[at : at + 300_000])
                statuses.append(reply.status_code)

    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {204, 409, 423}
    is_the_file(somebody, tus.head(), whole)
    assert somebody.get("files/")["count"] == 1


def test_who_is_gone_without_a_word_makes_way(somebody: Client, server: RunningServer) -> None:
    whole, before = content(2 * MIB), parts_on_disk(server)
    tus = Tus(somebody, len(whole))
    with contextlib.closing(tus.begin(whole[:MIB], 0, len(whole))) as silent:
        wait_for(lambda: parts_on_disk(server) > before, "its turn")
        wait_for(lambda: tus.status_of_patch(b"", 0) == 409, "the turn of another", 30)
        assert tus.offset == MIB, "what had arrived is kept"
        assert b" 423 " in silent.recv(100)
    is_the_file(somebody, tus.send(whole, MIB), whole)


def test_given_up(somebody: Client, server: RunningServer) -> None:
    before, whole = parts_on_disk(server), content(2 * MIB)
    tus = Tus(somebody, len(whole))
    tus.patch(whole[:MIB], 0)
    assert parts_on_disk(server) == before + 1
    with contextlib.closing(tus.begin(whole[MIB:-1], MIB, MIB)):
        time.sleep(0.1)  # it may be at it or not: both are right
        somebody.call("DELETE", tus.path, 204)
    for method in ("HEAD", "DELETE"):
        somebody.call(method, tus.path, 404)
    tus.patch(b"x", MIB, 404)
    assert parts_on_disk(server) == before
    assert somebody.get("uploads/")["count"] == somebody.get("files/")["count"] == 0


# --- whose ----------------------------------------------------------------------------------------


def test_others_do_not_see_it(somebody: Client, stranger: Client) -> None:
    tus = Tus(somebody, 10)
    stranger.call("HEAD", tus.path, 404)
    stranger.call("DELETE", tus.path, 404)
    headers = {"Upload-Offset": "0", "Content-Type": BODY}
    stranger.call("PATCH", tus.path, 404, headers=headers, content=b"x")
    assert tus.id not in str(stranger.get("uploads/?page_size=100"))
    assert tus.offset == 0


def test_what_is_under_way_is_found_again(somebody: Client) -> None:
    one = Tus(somebody, 10, "a.txt", batch="b1", fingerprint="a-10", relativePath="c/a.txt")
    two = Tus(somebody, 20, "b.txt", batch="b1", fingerprint="b-20")
    three = Tus(somebody, 30, "c.txt", batch="b2")
    one.patch(b"xyz", 0)

    def ids(query: str) -> list[str]:
        return [each["id"] for each in somebody.get(f"uploads/?{query}")["results"]]

    assert ids("") == [three.id, two.id, one.id]
    assert ids("batch=b1") == [two.id, one.id]
    assert ids("fingerprint=a-10") == [one.id]
    assert ids("fingerprint=other") == []
    (found,) = somebody.get("uploads/?fingerprint=a-10")["results"]
    assert found.pop("expiresAt") > "2026"
    assert found == {
        "id": one.id,
        "filename": "a.txt",
        "relativePath": "c/a.txt",
        "typeId": 1,
        "size": 10,
        "offset": 3,
        "batch": "b1",
        "fingerprint": "a-10",
        "file": None,
    }
    told = one.head().headers["Upload-Metadata"]
    assert f"fingerprint {base64.b64encode(b'a-10').decode()}" in told.split(",")
    one.patch(b"0123456", 3)
    assert ids("") == [three.id, two.id]


def test_no_more_than_a_thousand(server: RunningServer, somebody: Client) -> None:
    tus = Tus(somebody, 5)
    columns = (
        "owner_id, name, relative_path, type_id, batch, fingerprint, size_bytes, offset_bytes,"
        " tail, expires_at"
    )
    server.change_database(
        f"INSERT INTO uploads (code, {columns})"
        f" WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 999)"
        f" SELECT 'full' || n, {columns} FROM uploads, n WHERE code = '{tus.id}'"
    )
    headers = {"Upload-Length": "5", "Upload-Metadata": metadata(filename="a")}
    reply = somebody.call("POST", "uploads/", 400, headers=headers)
    assert reply.json()["detail"].startswith("1000 of your uploads are unfinished")
    somebody.call("DELETE", tus.path, 204)
    somebody.call("POST", "uploads/", 201, headers=headers)


# --- folders --------------------------------------------------------------------------------------


def from_folder(client: Client, path: str, whole: bytes) -> str:
    """The id of a file that is uploaded with its folder."""
    name = path.rsplit("/", 1)[-1]
    tus = Tus(client, len(whole), name, relativePath=path)
    return is_the_file(client, tus.patch(whole, 0), whole)


def test_a_folder_is_in_the_run_as_it_was_uploaded(somebody: Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("points", "0 0 0")
    sent = {
        "case/system/controlDict": b"of system",
        "case/0/controlDict": b"of 0",
        "case/constant/mesh.zip": archive.getvalue(),
        "case/Allrun": b"#!/bin/sh\nfind . -type f | sort; cat */controlDict\n",
        "plain.txt": b"plain",
    }
    inputs = [from_folder(somebody, path, whole) for path, whole in sent.items()]
    job = somebody.run("ls; cd case; ./Allrun", inputs=inputs)
    assert job["notices"] == []
    assert somebody.log_of(job["id"]).split() == [
        "case", "plain.txt", "process_output.log",
        "./0/controlDict", "./Allrun", "./constant/mesh.zip", "./constant/points",
        "./system/controlDict", "of", "0of", "system",
    ]  # fmt: skip
    assert somebody.outputs(job["id"]).items() >= sent.items()


def test_a_folder_is_in_each_run_of_a_study(somebody: Client) -> None:
    inputs = [from_folder(somebody, f"case/{name}/U", name.encode()) for name in ("0", "1")]
    job = created(
        somebody, study(somebody, "cat case/0/U case/1/U", table="x\n1\n2\n", inputs=inputs)
    )
    somebody.submit(job["id"])
    somebody.finished(job["id"])
    logs = somebody.get(f"jobs/{job['id']}/files/?search=process_output.log")["results"]
    found = [somebody.call("GET", log["downloadUrl"], 200).content for log in logs]
    assert found == [b"01", b"01"]


def test_scripts_and_outputs_are_called_by_their_names(somebody: Client) -> None:
    """Whatever folder the script came with, and the other job had its output in."""
    script = from_folder(somebody, "tools/pre.sh", b"#!/bin/sh\ncat result > seen\n")
    first = somebody.run("mkdir -p out/deep; echo handed on > out/deep/result")
    (output,) = somebody.get(f"jobs/{first['id']}/files/?search=result")["results"]
    job = somebody.run("cat seen", inputs=[output["id"]], preProcessScript={"id": script})
    assert somebody.log_of(job["id"]) == "handed on\n"


def test_two_inputs_at_one_place_are_told_of(somebody: Client) -> None:
    def warnings(*inputs: str) -> list[str]:
        body = definition(inputs=list(inputs))
        said = somebody.call("POST", "drafts/validate/", 200, json=body).json()
        assert said["problems"] == []
        return [warning["message"] for warning in said["warnings"]]

    one, two = (from_folder(somebody, "case/U", whole) for whole in (b"1", b"2"))
    other = from_folder(somebody, "case/p", b"p")
    told = "Several inputs go to case/U: the last of them is what a run sees."
    assert warnings(one, other) == warnings(one, one) == []
    assert warnings(one, other, two) == [told]
    job = somebody.run("cat case/U", inputs=[one, two])
    assert job["notices"] == [{"code": "inputs-same-path", "message": told}]
    assert somebody.log_of(job["id"]).splitlines() == [f"[simyard] {told}", "2"]
    twice = [from_folder(somebody, f"many/{n % 5}", b"x") for n in range(10)]
    (told,) = warnings(*twice)
    assert told.startswith("Several inputs go to many/0, many/1, many/2 and 2 more places: ")
    (told,) = warnings(somebody.upload("case", b"a file")["id"], one)
    assert told == "case: an input, and a folder of others. No run can start so."


def test_no_input_goes_through_a_link(somebody: Client) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        link = tarfile.TarInfo("case")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
        out.addfile(link)
    inputs = [somebody.upload("a.tar", archive.getvalue())["id"]]
    inputs.append(from_folder(somebody, "case/U", b"U"))
    job = somebody.run("true", inputs=inputs)
    reason = somebody.statuses(job["id"])[0]["statusReason"]
    assert "case is in the way of the folder of the input case/U" in reason


def test_the_name_ends_the_path(somebody: Client) -> None:
    tus = Tus(somebody, 1, "b.txt", relativePath="case/a.txt")
    file = somebody.get(f"files/{is_the_file(somebody, tus.patch(b'x', 0), b'x')}/")
    assert (file["name"], file["relativePath"]) == ("b.txt", "case/b.txt")


# --- time -----------------------------------------------------------------------------------------


def test_nobody_went_on_with_it(fresh: Callable[..., RunningServer]) -> None:
    server = fresh().start()
    client = server.client()
    tus, kept, done = Tus(client, 2 * MIB), Tus(client, 2 * MIB), Tus(client, 5)
    for each in (tus, kept):
        each.patch(content(MIB), 0)
    file_id = is_the_file(client, done.patch(b"hello", 0), b"hello")
    assert server.stop() == 0
    for each in (tus, done):
        server.change_database(f"UPDATE uploads SET expires_at = 1000 WHERE code = '{each.id}'")
    client = server.start().client()  # which tidies up
    for method in ("HEAD", "DELETE"):
        client.call(method, tus.path, 404)
    client.call("HEAD", done.path, 404)
    wait_for(lambda: parts_on_disk(server) == 1, "the bytes' end")
    assert [each["id"] for each in client.get("uploads/")["results"]] == [kept.id]
    assert client.get("files/")["results"][0]["id"] == file_id
    kept.client = client
    is_the_file(client, kept.patch(content(MIB), MIB), content(MIB) * 2)


def test_bytes_are_encrypted_on_the_disk(fresh: Callable[..., RunningServer]) -> None:
    server = fresh().start()
    tus = Tus(server.client(), 3 * MIB)
    tus.patch(b"very secret text " * 100_000, 0)
    everything = b"".join(p.read_bytes() for p in server.data.rglob("*") if p.is_file())
    assert len(everything) > 1_700_000
    assert b"very secret text" not in everything


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_that_arrives_without_trouble_is_written_once(
    fresh: Callable[..., RunningServer],
) -> None:
    server = fresh().start()
    client = server.client()
    whole = content(9 * MIB)
    tus = Tus(client, len(whole))
    tus.patch(whole[:MIB], 0)
    (part,) = files_of(server.data / "blobs")
    reply = tus.send(whole, MIB)
    assert files_of(server.data / "blobs") == [part.with_suffix("")]
    is_the_file(client, reply, whole)
