"""Files over HTTP: every way in which clients upload and download (api-v2 reference, 2 and 11)."""

import base64
import hashlib
import http.client
import os
import random
import socket
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from harness import Client, RunningServer, pages, wait_for
from simyard.blobs import tink

SIZES = [0, 1, 65536, tink.FIRST_ROOM - 1, tink.FIRST_ROOM, tink.FIRST_ROOM + 1]
SIZES += [tink.FIRST_ROOM + tink.ROOM, 4 * tink.SEGMENT_BYTES, 9_000_001]


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(client: Client, size: int) -> None:
    content = random.Random(size).randbytes(size)
    file = client.upload("data.bin", content)
    assert file["decryptedSize"] == size
    assert file["md5"] == hashlib.md5(content).hexdigest()
    assert file["fileChecksums"] == [
        {"hashFunction": "sha512", "fileHash": hashlib.sha512(content).hexdigest()}
    ]
    assert client.call("GET", f"files/{file['id']}/contents/", 200).content == content


def test_the_key_in_the_reply_opens_the_stored_file(client: Client, server: RunningServer) -> None:
    content = b"the quick brown fox" * 1000
    file = client.upload("data.bin", content)
    key = base64.b64decode(file["encodedEncryptionKey"])
    unique = file["path"].removesuffix(".bin").split("-")[-1]
    (stored,) = (server.data / "blobs").rglob(unique)
    sealed = stored.read_bytes()
    assert content[:20] not in sealed
    cipher = tink.Cipher(key, sealed[: tink.HEADER_BYTES])
    assert cipher.open(0, sealed[tink.HEADER_BYTES :], last=True) == content


def test_metadata(client: Client) -> None:
    file = client.upload("a case.zip", b"x")
    assert client.get(f"files/{file['id']}/") == file
    assert client.get(f"files/{file['id']}") == file
    assert len(file["id"]) == 6 and file["id"].isalpha()
    assert file["downloadUrl"].startswith(client.base)
    assert file["owner"] == "ada@lab.example"
    assert file["path"].startswith("user/user_") and file["path"].endswith(".zip")


def test_the_same_name_twice_is_two_files(client: Client) -> None:
    first, second = client.upload("same.txt", b"1"), client.upload("same.txt", b"2")
    assert first["id"] != second["id"]


# --- the ways in which a type arrives -------------------------------------------------------------


def test_a_type_as_form_field_before_or_after_the_file(client: Client) -> None:
    for name in ("type_id", "typeId"):
        body = {"data": {name: "2"}, "files": {"file": ("t.txt", b"x")}}
        assert client.call("POST", "files/contents/", 201, **body).json()["typeId"] == 2
    after = [("file", ("t.txt", b"x")), ("type_id", (None, b"4"))]
    assert client.call("POST", "files/contents/", 201, files=after).json()["typeId"] == 4


def test_a_type_as_a_second_file_part(client: Client) -> None:
    parts = {"file": ("t.txt", b"x"), "typeId": ("typeId", b"3")}
    assert client.call("POST", "files/contents/", 201, files=parts).json()["typeId"] == 3


def test_a_type_in_the_place_of_the_content_type(client: Client) -> None:
    """What the documentation's Python sample does: requests sends the dict as the part's header."""
    reply = requests.post(
        f"{client.base}files/contents/",
        files={"file": ("t.txt", b"x", {"type_id": 2})},
        headers={"Authorization": f"Token {client.key}"},
        timeout=30,
    )
    assert (reply.status_code, reply.json()["typeId"]) == (201, 2)


def test_a_malformed_part_content_type_does_no_harm(client: Client) -> None:
    files = {"file": ("t.txt", b"x", '{{{;;="')}
    assert client.call("POST", "files/contents/", 201, files=files).json()["typeId"] == 1


def test_a_type_that_does_not_exist(client: Client) -> None:
    body = {"data": {"type_id": "6"}, "files": {"file": ("t.txt", b"x")}}
    reply = client.call("POST", "files/contents/", 400, **body)
    assert reply.json() == {"type_id": ['"6" is not a valid choice.']}


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("/home/ada/case.zip", "case.zip"),
        ("C:\\Users\\ada\\case.zip", "case.zip"),
        ("../../etc/passwd", "passwd"),
        ("Flügel 翼.zip", "Flügel 翼.zip"),
        ("tab\there", "tabhere"),
    ],
)
def test_names(client: Client, sent: str, kept: str) -> None:
    raw = _multipart(f'form-data; name="file"; filename="{sent}"'.encode())
    assert client.call("POST", "files/contents/", 201, **raw).json()["name"] == kept


def test_an_extended_file_name(client: Client) -> None:
    raw = _multipart(b"form-data; name=\"file\"; filename*=UTF-8''Fl%C3%BCgel.zip")
    assert client.call("POST", "files/contents/", 201, **raw).json()["name"] == "Flügel.zip"


def test_a_name_in_latin_1(client: Client) -> None:
    raw = _multipart('form-data; name="file"; filename="Flügel.zip"'.encode("latin-1"))
    assert client.call("POST", "files/contents/", 201, **raw).json()["name"] == "Flügel.zip"


def _multipart(disposition: bytes, content: bytes = b"x") -> dict[str, object]:
    body = b"--B\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + content + b"\r\n--B--\r\n"
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=B"}}


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        (
            b'form-data; name="file"',
            {"file": ["The submitted data was not a file. Check the encoding type."]},
        ),
        (b'form-data; name="other"; filename="a"', {"file": ["No file was submitted."]}),
        (b'form-data; name="file"; filename="/"', {"file": ["The submitted file has no name."]}),
        (
            b'form-data; name="file"; filename="' + b"n" * 300 + b'"',
            {"file": ["Ensure this filename has at most 255 bytes."]},
        ),
    ],
)
def test_parts_that_are_no_file(
    client: Client, disposition: bytes, expected: dict[str, list[str]]
) -> None:
    reply = client.call("POST", "files/contents/", 400, **_multipart(disposition))
    assert reply.json() == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing like a form",
        b"--B\r\n",
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf',
        b"--B\r\nNo-Disposition: x\r\n\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n' + b"X: y\r\n" * 50,
        b'--B\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 200 + b"--B--\r\n",
        b"--B\r\nX: " + b"y" * 50_000,
    ],
)
def test_forms_that_are_broken(client: Client, content: bytes) -> None:
    before = client.get("files/")["count"]
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    client.call("POST", "files/contents/", 400, content=content, headers=headers)
    assert client.get("files/")["count"] == before


def test_no_boundary_and_no_form(client: Client) -> None:
    headers = {"Content-Type": "multipart/form-data"}
    reply = client.call("POST", "files/contents/", 400, content=b"x", headers=headers)
    assert "boundary" in reply.json()["detail"]
    reply = client.call("POST", "files/contents/", 415, json={})
    assert reply.json() == {"detail": 'Unsupported media type "application/json" in request.'}


def test_two_files_in_one_form(client: Client) -> None:
    before = client.get("files/")["count"]
    parts = [("file", ("a", b"x")), ("file", ("b", b"y"))]
    client.call("POST", "files/contents/", 400, files=parts)
    assert client.get("files/")["count"] == before


# --- uploads that do not come to their end --------------------------------------------------------


def test_an_upload_that_is_cut_off_leaves_nothing(client: Client, server: RunningServer) -> None:
    before = client.get("files/")["count"], _blobs(server)
    where = urlsplit(client.base)
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(
            b"POST /api/v2/files/contents/ HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Token " + client.key.encode() + b"\r\n"
            b"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 90000000\r\n\r\n"
            + head
        )
        for _ in range(20):
            connection.sendall(os.urandom(1 << 20))
        wait_for(lambda: len(_blobs(server)) > len(before[1]), "the beginning of the file")
    wait_for(lambda: _blobs(server) == before[1], "the end of the temporary file")
    assert client.get("files/")["count"] == before[0]


def _blobs(server: RunningServer) -> set[Path]:
    return {path for path in (server.data / "blobs").rglob("*") if path.is_file()}


def test_expect_100_continue_and_chunks(client: Client) -> None:
    """What curl does with a large body, and what clients do that do not know its length."""
    where = urlsplit(client.base)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=20)
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="c"\r\n\r\n'
    chunks = [head, b"x" * 100_000, b"y" * 100_000, b"\r\n--B--\r\n"]
    connection.request(
        "POST",
        "/api/v2/files/contents/",
        body=iter(chunks),
        headers={
            "Authorization": f"Token {client.key}",
            "Content-Type": "multipart/form-data; boundary=B",
            "Expect": "100-continue",
        },
        encode_chunked=True,
    )
    reply = connection.getresponse()
    assert reply.status == 201
    connection.close()


# --- downloads ------------------------------------------------------------------------------------


def test_ranges(client: Client) -> None:
    size = 3_000_000
    content = random.Random(7).randbytes(size)
    url = f"files/{client.upload('r.bin', content)['id']}/contents/"

    def part(value: str, expect: int = 206) -> tuple[bytes, str]:
        reply = client.call("GET", url, expect, headers={"Range": value})
        assert int(reply.headers["Content-Length"]) == len(reply.content)
        return reply.content, reply.headers.get("Content-Range", "")

    assert part("bytes=0-9") == (content[:10], f"bytes 0-9/{size}")
    assert part("bytes=1048500-1048699")[0] == content[1048500:1048700]
    assert part(f"bytes={size - 5}-") == (content[-5:], f"bytes {size - 5}-{size - 1}/{size}")
    assert part("bytes=-7")[0] == content[-7:]
    # An end past the file is clamped: a published parallel downloader asks for it.
    assert part(f"bytes=100-{size + 1}")[0] == content[100:]
    assert part(f"bytes=0-{size + 1}") == (content, f"bytes 0-{size - 1}/{size}")
    assert part("bytes=0-0")[0] == content[:1]
    for odd in ("bytes=9-3", "lines=1-2", "bytes=-", "bytes=1-2,5-6", "nonsense"):
        assert part(odd, 200)[0] == content
    reply = client.call("GET", url, 416, headers={"Range": f"bytes={size}-"})
    assert reply.headers["Content-Range"] == f"bytes */{size}"


def test_head_and_validators(client: Client) -> None:
    file = client.upload("h.bin", b"0123456789")
    url = f"files/{file['id']}/contents/"
    head = client.call("HEAD", url, 200)
    assert head.headers["Content-Length"] == "10"
    assert head.headers["Accept-Ranges"] == "bytes"
    etag = head.headers["ETag"]
    assert client.call("GET", url, 304, headers={"If-None-Match": etag}).content == b""
    ranged = {"Range": "bytes=0-1", "If-Range": etag}
    assert client.call("GET", url, 206, headers=ranged).content == b"01"
    ranged["If-Range"] = '"another"'
    assert client.call("GET", url, 200, headers=ranged).content == b"0123456789"


def test_the_name_of_a_download(client: Client) -> None:
    file = client.upload('Flügel "1".txt', b"x")
    disposition = client.call("GET", f"files/{file['id']}/contents/", 200).headers[
        "Content-Disposition"
    ]
    assert disposition.startswith("attachment; ")
    assert "filename*=UTF-8''Fl%C3%BCgel%20" in disposition
    assert "\n" not in disposition


# --- lists ----------------------------------------------------------------------------------------


def test_the_list_is_newest_first_in_pages(fresh_client: Client) -> None:
    client = fresh_client
    names = [f"file-{n:02}.txt" for n in range(25)]
    for name in names:
        client.upload(name, b"x")
    seen = [f["name"] for page in pages(client, "files/") for f in page["results"]]
    assert seen == names[::-1]
    first = client.get("files/")
    assert first["count"] == 25 and len(first["results"]) == 10 and first["previous"] is None
    second = client.get(first["next"])
    assert second["previous"].endswith("/api/v2/files/")
    last = client.get("files/?page=last&page_size=10")
    assert [f["name"] for f in last["results"]] == names[4::-1]
    assert last["next"] is None and "page=2" in last["previous"]


def test_filters_of_the_list(client: Client) -> None:
    mark = uuid.uuid4().hex
    for n, kind in enumerate((1, 2, 2)):
        parts = {"data": {"type_id": kind}, "files": {"file": (f"{mark}-{n}_%.txt", b"x")}}
        client.call("POST", "files/contents/", 201, **parts)
    assert client.get(f"files/?search={mark}")["count"] == 3
    assert client.get(f"files/?search={mark.upper()}-1")["count"] == 1
    assert client.get(f"files/?search={mark}&type_id=2")["count"] == 2
    assert client.get("files/?search=_%25&type_id=2")["count"] >= 2
    assert client.get("files/?search=no-such-file")["count"] == 0
    page = client.get(f"files/?search={mark}&page_size=2")
    assert f"search={mark}" in page["next"] and "page_size=2" in page["next"]
    assert len(client.get(page["next"])["results"]) == 1


@pytest.mark.parametrize("page", ["0", "-1", "99999", "x", "1.5", "", "%00", "٣"])
def test_pages_that_are_not_there(client: Client, page: str) -> None:
    assert client.get(f"files/?page={page}", 404) == {"detail": "Invalid page."}


@pytest.mark.parametrize("size", ["0", "-5", "x", ""])
def test_a_bad_page_size_is_the_default(client: Client, size: str) -> None:
    client.upload("one.txt", b"x")
    assert client.get(f"files/?page_size={size}")["results"]


def test_a_stray_question_mark_in_the_query(client: Client) -> None:
    assert client.get("files/?page_size=50&?page=1")["count"] >= 0


# --- somebody else's ------------------------------------------------------------------------------


def test_a_file_is_seen_by_its_owner_only(client: Client, stranger: Client) -> None:
    file = client.upload("secret.txt", b"x")
    for path in (f"files/{file['id']}/", f"files/{file['id']}/contents/"):
        assert stranger.get(path, 404) == {"detail": "Not found."}
    assert file["id"] not in [f["id"] for f in stranger.get("files/?page_size=2000")["results"]]


def test_no_such_file(client: Client) -> None:
    for file_id in ("XXXXXX", "0", "a%00b"):
        assert client.get(f"files/{file_id}/", 404) == {"detail": "Not found."}


# --- limits ---------------------------------------------------------------------------------------


def test_an_upload_beyond_the_limit(fresh) -> None:
    server = fresh("max_upload_bytes = 1000000\n").start()
    client = server.client()
    client.upload("small", b"x" * 1_000_000)
    files = {"file": ("big", b"x" * 1_000_001)}
    reply = client.call("POST", "files/contents/", 413, files=files)
    assert "1000000" in reply.json()["detail"]
    files = {"file": ("huge", b"x" * 5_000_000)}
    client.call("POST", "files/contents/", 413, files=files)
    assert client.get("files/")["count"] == 1
    assert len(_blobs(server)) == 1


def test_a_disk_without_room(fresh) -> None:
    """The reserve is as large as the disk: there is never room."""
    server = fresh("disk_reserve_bytes = 1000000000000000\n").start()
    client = server.client()
    reply = client.call("POST", "files/contents/", 507, files={"file": ("a", b"x")})
    assert "no room" in reply.json()["detail"]
    assert client.get("files/")["count"] == 0
    assert _blobs(server) == set()
    assert client.get("users/me/")["email"]


@pytest.fixture
def fresh_client(server: RunningServer) -> Client:
    """A user without any files."""
    return server.client(server.key(f"{uuid.uuid4().hex}@lab.example"))


def test_files_by_their_ids(client: Client, server: RunningServer) -> None:
    """Those that may be named in a job, in this order, however large a page is asked for."""
    one, two = (client.upload(name, b"x")["id"] for name in ("one", "two"))
    theirs = server.somebody().upload("theirs", b"x")["id"]
    found = client.get(f"files/?ids={two},{theirs},GoneAA,{one},{two}&page_size=1&search=nothing")
    assert [file["id"] for file in found["results"]] == [two, one]
    assert (found["count"], found["next"], found["previous"]) == (2, None, None)
    assert found["results"][1] == client.get(f"files/{one}/")
    assert client.get("files/?ids=")["results"] == []
    reply = client.call("GET", f"files/?ids={','.join(['GoneAA'] * 201)}", 400)
    assert reply.json() == {"ids": ["Ensure this field has no more than 200 elements."]}
