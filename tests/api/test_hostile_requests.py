"""Requests that no client library sends: broken forms, JSON without end, paths that lead elsewhere.

Whatever comes, it is answered at once and in the contract's shape, and nothing of it stays.
"""

import contextlib
import http.client
import json
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from harness import Client, RunningServer, definition, wait_for

ANSWER_SECONDS = 30  # in which everything is answered, also on a busy host
CLOSED = 0  # in the place of a status: the connection was closed without a word
FORM_TYPE = b"multipart/form-data; boundary=B"


def words(text: str) -> list[str]:
    return text.split()


def short(value: object) -> str:
    """What a test is called after."""
    return repr(value)[:40]


# --- speaking HTTP by hand ------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    status: int
    kind: str = ""
    body: bytes = b""


class Wire:
    """The API as one user, byte by byte: each request has a connection of its own."""

    def __init__(self, client: Client) -> None:
        where = urlsplit(client.base)
        self._where = (str(where.hostname), where.port or 80)
        self._key = client.key.encode()

    def head(self, method: bytes, target: bytes, *headers: bytes) -> bytes:
        """The start of a request to a path below /api/v2/, or to one that begins with a slash."""
        target = target if target.startswith(b"/") else b"/api/v2/" + target
        lines = [method + b" " + target + b" HTTP/1.1", b"Host: simyard.example"]
        return b"\r\n".join([*lines, b"Authorization: Token " + self._key, *headers, b"", b""])

    def send(self, sent: bytes) -> Reply:
        """What comes back within the time that everything has."""
        began = time.monotonic()
        with socket.create_connection(self._where, timeout=ANSWER_SECONDS) as connection:
            with contextlib.suppress(ConnectionError):  # it may answer before it has read all
                connection.sendall(sent)
            reply = read_reply(connection)
        assert time.monotonic() - began < ANSWER_SECONDS
        return reply

    def hang_up(self, sent: bytes) -> None:
        """Send and be gone."""
        with socket.create_connection(self._where, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(sent)

    def connect(self) -> socket.socket:
        return socket.create_connection(self._where, timeout=ANSWER_SECONDS)

    def post(self, target: bytes, body: bytes, *headers: bytes) -> Reply:
        length = b"Content-Length: %d" % len(body)
        return self.send(self.head(b"POST", target, length, *headers) + body)

    def upload_head(self, *headers: bytes, kind: bytes = FORM_TYPE) -> bytes:
        return self.head(b"POST", b"files/contents/", b"Content-Type: " + kind, *headers)

    def upload(self, body: bytes, kind: bytes = FORM_TYPE) -> Reply:
        return self.send(self.upload_head(b"Content-Length: %d" % len(body), kind=kind) + body)


def read_reply(connection: socket.socket) -> Reply:
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        kind = response.headers.get("Content-Type", "")
        return Reply(response.status, kind, response.read())
    except (ConnectionError, http.client.HTTPException):
        return Reply(CLOSED)
    finally:
        response.close()


def assert_in_shape(reply: Reply) -> None:
    """An error as the contract has it: a detail, or the tree of the fields."""
    assert 400 <= reply.status < 500, reply
    assert reply.kind == "application/json", reply
    content = json.loads(reply.body)
    if isinstance(content, dict) and set(content) == {"detail"}:
        assert isinstance(content["detail"], str) and content["detail"]
    else:
        assert content
        assert_is_tree(content)


def assert_is_tree(node: Any) -> None:
    if isinstance(node, dict):
        for inner in node.values():
            assert_is_tree(inner)
    else:
        assert isinstance(node, list) and node
        if not all(isinstance(entry, str) for entry in node):
            for entry in node:
                assert_is_tree(entry)


@pytest.fixture(scope="session")
def wire(client: Client) -> Wire:
    return Wire(client)


@pytest.fixture
def stored(client: Client, server: RunningServer) -> Iterator[Callable[[int], None]]:
    """Tells how many files a test may add. None stays without a name, and no beginning of one."""

    def look() -> tuple[int, int]:
        found = [path for path in (server.data / "blobs").rglob("*") if path.is_file()]
        return int(client.get("files/?page_size=1")["count"]), len(found)

    files, blobs = look()
    added = 0

    def add(count: int) -> None:
        nonlocal added
        added += count

    yield add
    expected = (files + added, blobs + added)
    wait_for(lambda: look() == expected, f"{expected} in the place of {look()}", ANSWER_SECONDS)


# --- forms ----------------------------------------------------------------------------------------


def part(disposition: bytes, *headers: bytes, content: bytes = b"x") -> bytes:
    lines = [b"--B", b"Content-Disposition: " + disposition, *headers, b"", content, b""]
    return b"\r\n".join(lines)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


def named(filename: bytes) -> bytes:
    """A form whose file has a name that is written like this."""
    return form(part(b'form-data; name="file"; ' + filename))


def typed(*values: bytes) -> bytes:
    return form(FILE, *(part(b'form-data; name="type_id"', content=value) for value in values))


FILE = part(b'form-data; name="file"; filename="a.txt"')
FIELD = part(b'form-data; name="more"')
FORM = form(FILE)
NESTED = b"--C\r\nContent-Disposition: attachment; filename=b\r\n\r\nx\r\n--C--"
FOLDED = b"X: y\r\n" + b" z\r\n" * 4000 + b"X: y"

BROKEN_FORMS = {
    "boundary that never appears": FORM.replace(b"--B", b"--C"),
    "boundary without its dashes": FORM.replace(b"--B", b"B"),
    "boundary within a line": b"some text --B\r\n" + FORM,
    "bytes after the boundary": FORM.replace(b"--B\r\n", b"--Bxx\r\n"),
    "line feeds only": FORM.replace(b"\r\n", b"\n"),
    "carriage returns only": FORM.replace(b"\r\n", b"\r"),
    "only the end": b"--B--\r\n",
    "a second file that is cut": FILE + FILE[:-9],
    "a text in the file's place, then a file": form(part(b'form-data; name="file"'), FILE),
    "a file, then a text in its place": form(FILE, part(b'form-data; name="file"')),
    "nested": form(part(b"form-data; name=file", b"Content-Type: multipart/mixed; boundary=C"))
    + NESTED,
    "part of a mail": form(part(b'attachment; name="file"; filename="a"')),
    "empty disposition": form(part(b"")),
    "file without a field name": form(part(b'form-data; filename="a"')),
    "extended field name": form(part(b"form-data; name*=UTF-8''file; filename=\"a\"")),
    "NUL in the field name": form(part(b'form-data; name="file\0"; filename="a"')),
    "field name of 10 kB": form(part(b'form-data; name="' + b"n" * 10_000 + b'"; filename="a"')),
    "name that does not end": named(b'filename="a'),
    "header without colon": form(part(b'form-data; name="file"; filename="a"', b"nonsense")),
    "header without name": form(part(b'form-data; name="file"; filename="a"', b": x")),
    "NUL in a header's name": form(part(b'form-data; name="file"; filename="a"', b"X\0: x")),
    "header of 1 MB": form(part(b"form-data; name=more", b"X: " + b"y" * 1_000_000)),
    "header of 1 MB after the file": form(FILE, part(b"form-data", b"X: " + b"y" * 1_000_000)),
    "headers without end": form(part(b"form-data; name=more", *[b"X: y"] * 10_000)),
    "folded header of 1 MB": form(part(b"form-data; name=more", b"X: y" + b"\r\n z" * 350_000)),
    "parts without end": form(*[FIELD] * 10_000),
    "parts without end before the file": form(*[FIELD] * 10_000, FILE),
    "parts without end after the file": form(FILE, *[FIELD] * 10_000),
    "folded headers without end": form(FILE, *[part(b"form-data", *[FOLDED] * 7)] * 70),
    "nothing but a preamble": b"x" * 1_000_000,
    "preamble of 1 MB": b"x" * 1_000_000 + b"\r\n" + FORM,
    "epilogue of 1 MB": FORM + b"x" * 1_000_000,
    "part that is longer than it says": named(b"filename=a\r\nContent-Length: 0"),
    "part that is shorter than it says": named(b"filename=a\r\nContent-Length: 99"),
    "part of less than nothing": named(b"filename=a\r\nContent-Length: -1"),
    "part of 5000 digits": named(b"filename=a\r\nContent-Length: " + b"9" * 5000),
}
BAD_NAMES = {
    "none": b'filename=""',
    "10 kB": b'filename="' + b"n" * 10_000 + b'"',
    "20 kB": b'filename="' + b"n" * 20_000 + b'"',
    "10 kB, extended": b"filename*=UTF-8''" + b"%41" * 3000,
    "256 bytes": 'filename="{}"'.format("ü" * 128).encode(),
    "a dot": b'filename="."',
    "two dots": b'filename=".."',
    "two dots in a path": b'filename="a/.."',
    "two dots in a path of Windows": b'filename="..\\.."',
    "a path without a name": b'filename="/etc/"',
    "a space": b'filename=" "',
    "NUL only": b'filename="\0"',
    "line ends only": b'filename="%0D%0A"',
    "dots, extended": b"filename*=UTF-8''..",
    "dots and slash, extended": b"filename*=UTF-8''%2e%2e%2f%2e%2e",
    "NUL, extended": b"filename*=UTF-8''%00",
    "nothing, extended": b"filename*=UTF-8''",
    "extended without quotes": b"filename*=UTF-8",
    "continued": b'filename*0="a"; filename*1="b"',
    "continued and extended": b"filename*0*=UTF-8''a; filename*1*=b",
    **{  # Python knows these, and each would do something else than decode a name
        f"charset {charset}": b"filename*=" + charset.encode() + b"''a%C3%BC"
        for charset in ("undefined", "idna", "punycode", "unicode_escape", "hex", "zlib", "utf-16")
    },
    "charset of 10 kB": b"filename*=" + b"u" * 10_000 + b"''a",
}
BAD_TYPES = [b"0", b"-1", b"6", b"13", b"text", b"[2]", b"2,3", b"1_0", b"+2", b"2.5", b"0x2"]
BAD_TYPES += [b"2\0", b"\xff", "\N{FULLWIDTH DIGIT TWO}".encode(), b"1" + b"0" * 30]
BAD_TYPES += [b"2" * 10_000, b"2" + b" " * 100 + b"x"]
REFUSED_FORMS = {
    **BROKEN_FORMS,
    **{f"name: {name}": named(filename) for name, filename in BAD_NAMES.items()},
    **{f"type {value[:8]!r}": typed(value) for value in BAD_TYPES},
    "type that is wrong at last": typed(b"2", b"x"),
    "type of a header": named(b"filename=a\r\nContent-Type: {'type_id': 99}"),
    "type of 5000 digits in a header": named(
        b"filename=a\r\nContent-Type: {'type_id': " + b"9" * 5000 + b"}"
    ),
}


@pytest.mark.parametrize("name", REFUSED_FORMS)
def test_forms_that_are_refused(wire: Wire, stored: Callable[[int], None], name: str) -> None:
    reply = wire.upload(REFUSED_FORMS[name])
    assert reply.status == 400, reply
    assert_in_shape(reply)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (b"multipart/form-data; boundary=", 400),
        (b'multipart/form-data; boundary=""', 400),
        (b"multipart/form-data; boundary", 400),
        (b'multipart/form-data; boundary="B', 400),
        (b"multipart/form-data; boundary=\xc3\xbc", 400),
        (b"multipart/form-data; boundary=" + b"b" * 10_000, 400),
        (b"multipart/mixed; boundary=B", 415),
        (b"multipart/form-data, multipart/form-data; boundary=B", 415),
        (b"application/octet-stream", 415),
        (b"\xff\xfe", 415),
        (b"", 415),
    ],
    ids=short,
)
def test_kinds_of_body_that_are_no_form(
    wire: Wire, stored: Callable[[int], None], kind: bytes, status: int
) -> None:
    reply = wire.upload(FORM, kind)
    assert reply.status == status, reply
    assert_in_shape(reply)


TAKEN_FORMS: dict[str, tuple[bytes, str, int, bytes]] = {
    # the form; name, type and content of the file that it makes
    "text before and after": (b"text\r\n" + FORM + b"\r\ntext", "a.txt", 1, b"x"),
    "another form after it": (FORM + FORM, "a.txt", 1, b"x"),
    "no line end at the end": (FORM[:-2], "a.txt", 1, b"x"),
    "nested": (form(part(b"form-data; name=file; filename=a", content=NESTED)), "a", 1, NESTED),
    "boundary in the content": (
        form(part(b"form-data; name=file; filename=a", content=b"--B\r\n-- B--\r--B")),
        "a",
        1,
        b"--B\r\n-- B--\r--B",
    ),
    "content in base64": (
        form(
            part(
                b"form-data; name=file; filename=a",
                b"Content-Transfer-Encoding: base64",
                b"Content-Encoding: gzip",
                content=b"eA==",
            )
        ),
        "a",
        1,
        b"eA==",  # RFC 7578, section 4.7: not used any more
    ),
    "odd content types": (
        form(
            part(
                b"form-data; name=file; filename=a",
                b"Content-Type: " + b'{"type_id";;=' * 1000,
                b"Content-Type: \0\xff",
            )
        ),
        "a",
        1,
        b"x",
    ),
    "words without quotes": (named(b"filename=a.txt"), "a.txt", 1, b"x"),
    "spelled otherwise": (
        b"--B\r\nCONTENT-disposition:FORM-DATA ;NAME = file ;FileName=a\r\n\r\nx\r\n--B--",
        "a",
        1,
        b"x",
    ),
    "NUL in the name": (named(b'filename="a\0b"'), "ab", 1, b"x"),
    "line feed in the name": (named(b'filename="a\nb"'), "ab", 1, b"x"),
    "line ends in the name": (named(b'filename="a%0D%0AX-Y: z"'), "aX-Y: z", 1, b"x"),
    "three dots": (named(b'filename="..."'), "...", 1, b"x"),
    "a path": (named(b'filename="../../etc/cron.d/job"'), "job", 1, b"x"),
    "a path in percents": (named(b'filename="%2e%2e%2fa"'), "%2e%2e%2fa", 1, b"x"),
    "a path, extended": (named(b"filename*=UTF-8''..%2F..%2Fetc%2Fa%00b"), "ab", 1, b"x"),
    "bad percents, extended": (named(b"filename*=UTF-8''%zz%4"), "%zz%4", 1, b"x"),
    "not UTF-8, extended": (named(b"filename*=UTF-8''a%ff"), "a\ufffd", 1, b"x"),
    "Latin 1, extended": (named(b"filename*=iso-8859-1'de'%FC"), "ü", 1, b"x"),
    "unknown charset beside a name": (
        named(b"filename=\"a\"; filename*=no-such-charset''b"),
        "a",
        1,
        b"x",
    ),
    "not UTF-8": (named(b'filename="\xff\xfea"'), "ÿþa", 1, b"x"),
    "half a character": (named(b'filename="\xe2\x82"'), "â", 1, b"x"),
    "a type with spaces": (typed(b" 2\r\n"), "a.txt", 2, b"x"),
    "the last of many types": (typed(b"9", b"x", b"3"), "a.txt", 3, b"x"),
    "an empty type": (typed(b""), "a.txt", 1, b"x"),
}


@pytest.mark.parametrize("name", TAKEN_FORMS)
def test_odd_forms_that_are_taken(
    wire: Wire, client: Client, stored: Callable[[int], None], name: str
) -> None:
    sent, *expected = TAKEN_FORMS[name]
    reply = wire.upload(sent)
    assert reply.status == 201, reply
    stored(1)
    file = json.loads(reply.body)
    content = client.call("GET", f"files/{file['id']}/contents/", 200).content
    assert [file["name"], file["typeId"], content] == expected


@pytest.mark.parametrize("length", [1, 70, 71, 1000, 10_000])
def test_long_boundaries(wire: Wire, stored: Callable[[int], None], length: int) -> None:
    boundary = b"b" * length
    kind = b"multipart/form-data; boundary=" + boundary
    reply = wire.upload(FORM.replace(b"--B", b"--" + boundary), kind)
    assert reply.status == 201, reply
    stored(1)


def test_a_form_that_is_cut_anywhere(
    wire: Wire, client: Client, stored: Callable[[int], None]
) -> None:
    """With the length that it has then, and with the client gone before the length that it said."""
    end = FORM.rindex(b"--") + 2
    for cut in range(end):
        reply = wire.upload(FORM[:cut])
        assert reply.status == 400, (FORM[:cut], reply)
        assert_in_shape(reply)
        wire.hang_up(wire.upload_head(b"Content-Length: %d" % len(FORM)) + FORM[:cut])
    for cut in range(0, len(FORM), 5):
        chunk = b"%x\r\n%b\r\n" % (cut, FORM[:cut]) if cut else b""
        wire.hang_up(wire.upload_head(b"Transfer-Encoding: chunked") + chunk)
    client.upload("after all that.txt", b"x")
    stored(1)


# --- lengths and chunks ---------------------------------------------------------------------------


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


LENGTH = b"Content-Length: %d" % len(FORM)
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([b"Content-Length: -1"], FORM),
        ([b"Content-Length: +9"], FORM),
        ([b"Content-Length: 0x9"], FORM),
        ([b"Content-Length: "], FORM),
        ([b"Content-Length: " + b"9" * 30], FORM),
        ([LENGTH, b"Content-Length: 1"], FORM),
        ([LENGTH, CHUNKED], FORM),
        ([LENGTH, b"X: \0"], FORM),
        ([LENGTH, b"X\0: x"], FORM),
        ([b"Transfer-Encoding: gzip"], FORM),
        ([b"Transfer-Encoding: chunked, chunked"], FORM),
        ([CHUNKED], b"zz\r\n" + FORM),
        ([CHUNKED], b"-5\r\n" + FORM),
        ([CHUNKED], b"f" * 40 + b"\r\n" + FORM),
        ([CHUNKED], b"5\r\n" + FORM),
    ],
    ids=short,
)
def test_uploads_that_are_no_http(
    wire: Wire, stored: Callable[[int], None], headers: list[bytes], body: bytes
) -> None:
    """There is no request that the API could answer: the HTTP below it does."""
    assert wire.send(wire.upload_head(*headers) + body).status in (400, CLOSED)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([b"Content-Length: 0"], b"", 400),
        ([CHUNKED], chunked(), 400),
        ([b"Content-Length: %d" % 10**18], FORM, 413),
        ([b"Content-Length: %d" % (2**64 - 1)], FORM, 413),
        ([CHUNKED], chunked(*(FORM[i : i + 1] for i in range(len(FORM)))), 201),
        ([CHUNKED], chunked(FORM, end=b"0\r\n" + b"A: b\r\n" * 1000 + b"\r\n"), 201),
        ([CHUNKED], b"%x;%b\r\n%b\r\n0\r\n\r\n" % (len(FORM), b"x" * 100_000, FORM), 201),
        ([LENGTH, b"Expect: nonsense"], FORM, 201),
        ([LENGTH, b"Content-Encoding: gzip"], FORM, 201),
        ([LENGTH, b"Content-Type: application/json"], FORM, 201),
        ([LENGTH, *[b"X: y"] * 10_000], FORM, 201),
    ],
    ids=short,
)
def test_lengths_and_chunks(
    wire: Wire, stored: Callable[[int], None], headers: list[bytes], body: bytes, status: int
) -> None:
    reply = wire.send(wire.upload_head(*headers) + body)
    assert reply.status == status, reply
    if status == 201:
        stored(1)
    else:
        assert_in_shape(reply)


@pytest.mark.parametrize("chunk", [b"ffffffffffffffff\r\n", b"fff\r\n", b"f" * 16])
def test_chunks_that_never_end(
    wire: Wire, client: Client, stored: Callable[[int], None], chunk: bytes
) -> None:
    wire.hang_up(wire.upload_head(CHUNKED) + chunk + FORM)
    client.upload("after all that.txt", b"x")
    stored(1)


def test_who_expects_to_be_asked_is_asked(wire: Wire, stored: Callable[[int], None]) -> None:
    with wire.connect() as connection:
        connection.sendall(wire.upload_head(LENGTH, b"Expect: 100-continue"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(FORM)
        assert read_reply(connection).status == 201
    stored(1)
    with wire.connect() as connection:  # and who goes away then is forgotten
        connection.sendall(wire.upload_head(LENGTH, b"Expect: 100-continue"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    with wire.connect() as connection:  # a body that nobody wants is not asked for
        head = wire.upload_head(LENGTH, b"Expect: 100-continue", kind=b"text/plain")
        connection.sendall(head)
        reply = read_reply(connection)
        assert reply.status == 415
        assert_in_shape(reply)


def test_what_is_no_http(wire: Wire, client: Client) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /api/v2/jobs/ HTTP/9.9\r\n\r\n",
        b"\0" * 1000,
        b"GET /api/v2/files/\xff/ HTTP/1.1\r\n\r\n",
        b"GET /api/v2/files/\0/ HTTP/1.1\r\n\r\n",
        b"GET /api/v2/files/?a=\xff HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ):
        assert wire.send(sent).status in (400, CLOSED), sent
    client.get("jobs/")


# --- nothing stays --------------------------------------------------------------------------------


def held(server: RunningServer) -> tuple[int, int]:
    """The server's open descriptors, and its memory in MiB."""
    assert server.process is not None
    proc = Path(f"/proc/{server.process.pid}")
    (line,) = [x for x in (proc / "status").read_text().splitlines() if x.startswith("VmRSS:")]
    return len(list((proc / "fd").iterdir())), int(line.split()[1]) >> 10


def test_bad_uploads_hold_nothing(
    wire: Wire, client: Client, server: RunningServer, stored: Callable[[int], None]
) -> None:
    def misbehave() -> int:
        for sent in REFUSED_FORMS.values():
            assert wire.upload(sent).status == 400
        for announced in (len(FORM), 10**9):
            head = wire.upload_head(b"Content-Length: %d" % announced)
            wire.hang_up(head + FORM[:-10])
        return len(REFUSED_FORMS) + 2

    done = misbehave()
    files, megabytes = held(server)
    while done < 300:
        done += misbehave()
    wait_for(lambda: held(server)[0] <= files, "the end of the connections", ANSWER_SECONDS)
    assert held(server)[1] <= megabytes + 32
    client.upload("after all that.txt", b"x")
    stored(1)


# --- JSON -----------------------------------------------------------------------------------------


def job(**changes: Any) -> bytes:
    return json.dumps({**definition("true"), **changes}).encode()


def analysis(command: str = "true", **changes: Any) -> bytes:
    return json.dumps(definition(command, **changes)).encode()


def with_unknown(value: bytes) -> bytes:
    """A good job with a key that nobody knows."""
    return job()[:-1] + b', "nobody": ' + value + b"}"


MILLION = 1_000_000
REFUSED_JSON: dict[str, tuple[Callable[[], bytes], int]] = {
    "lists in lists": (lambda: b"[" * 100_000, 400),
    "lists in lists, closed": (lambda: b"[" * 100_000 + b"]" * 100_000, 400),
    "objects in objects": (lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "lists in lists where nobody looks": (
        lambda: with_unknown(b"[" * 100_000 + b"]" * 100_000),
        400,
    ),
    "500 lists where nobody looks": (lambda: with_unknown(b"[" * 500 + b"]" * 500), 400),
    "101 objects where nobody looks": (
        lambda: with_unknown(b'{"a":' * 100 + b"{}" + b"}" * 100),
        400,
    ),
    "17 MB of text": (lambda: job(name="x" * 17_000_000), 413),
    "17 MB of spaces": (lambda: b" " * 17_000_000 + job(), 413),
    "17 MB of quotes": (lambda: b'"' * 17_000_000, 413),
    "16 MB of quotes": (lambda: b'"' * (16 << 20), 413),
    "16 MB of lists": (lambda: b"[" + b"[]," * (5 << 20) + b"[]]", 413),
    "a million analyses": (lambda: job(jobanalyses=[{}] * MILLION), 413),
    "ten thousand empty analyses": (lambda: job(jobanalyses=[{}] * 10_000), 400),
    "a thousand empty analyses": (lambda: job(jobanalyses=[{}] * 1000), 400),
    "a million bad analyses": (lambda: job(jobanalyses=[1] * MILLION), 413),
    "a million input files": (lambda: analysis(inputFiles=[{"id": "a"}] * MILLION), 413),
    "a million bad input files": (lambda: analysis(inputFiles=[0] * MILLION), 413),
    "a million variables": (
        lambda: analysis(envVars={f"-{n}": 1 for n in range(MILLION // 2)}),
        413,
    ),
    "a million filters": (lambda: job(resourceFilters=[{}] * MILLION), 413),
    "a million of what nobody knows": (lambda: with_unknown(b"[" + b"1," * MILLION + b"1]"), 413),
    "a name of 5 MB": (lambda: job(name="x" * 5_000_000), 400),
    "an analysis of 5 MB": (lambda: analysis(code="\0" * 800_000), 400),
    "NaN": (lambda: with_unknown(b"NaN"), 400),
    "Infinity": (lambda: with_unknown(b"-Infinity"), 400),
    "a number without bounds": (lambda: with_unknown(b"1e999"), 400),
    "10000 digits": (lambda: with_unknown(b"9" * 10_000), 400),
    "10000 digits of cores": (lambda: job().replace(b'Slot": 1', b'Slot": ' + b"9" * 10_000), 400),
    "4300 digits of cores": (lambda: analysis(cores=int("9" * 4300)), 400),
    "4300 digits of time": (lambda: analysis(hardware={"walltime": int("9" * 4300)}), 400),
    "10000 digits in a text": (lambda: analysis(cores="9" * 10_000), 400),
    "half a pair": (lambda: with_unknown(rb'"\ud800"'), 400),
    "half a pair as a key": (lambda: job(name=1).replace(b'"name"', rb'"\udc00"'), 400),
    "a pair the wrong way round": (lambda: with_unknown(rb'"\udc00\ud800"'), 400),
    "half a pair in UTF-8": (lambda: with_unknown(b'"\xed\xa0\x80"'), 400),
    "no UTF-8": (lambda: with_unknown(b'"\xff"'), 400),
    "no UTF-8 in a key": (lambda: b'{"\xff": 1}', 400),
    "UTF-16": (lambda: job().decode().encode("utf-16"), 400),
    "a byte order mark": (lambda: b"\xef\xbb\xbf" + job(), 400),
    "a list": (lambda: b"[]", 400),
    "a list of jobs": (lambda: b"[" + job() + b"]", 400),
    "a number": (lambda: b"1", 400),
    "a text": (lambda: b'"job"', 400),
    "null": (lambda: b"null", 400),
    "false": (lambda: b"false", 400),
    "two jobs": (lambda: job() + job(), 400),
    "half a job": (lambda: job()[:-1], 400),
    "NUL": (lambda: b"\0", 400),
    "a comment": (lambda: b"/* job */" + job(), 400),
    "a comma too many": (lambda: job()[:-1] + b",}", 400),
    "single quotes": (lambda: job().replace(b'"', b"'"), 400),
}


@pytest.mark.parametrize("name", REFUSED_JSON)
def test_json_that_is_refused(wire: Wire, client: Client, name: str) -> None:
    before = client.get("jobs/?page_size=1")["count"]
    make, status = REFUSED_JSON[name]
    reply = wire.post(b"jobs/", make(), b"Content-Type: application/json")
    assert reply.status == status, reply.body[:1000]
    assert_in_shape(reply)
    assert client.get("jobs/?page_size=1")["count"] == before


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (b"application/json; charset=utf-8", job(), 201),
        (b'Application/JSON;charset="UTF-8"; x=y', job(), 201),
        (b"application/vnd.api+json", job(), 201),
        (b"application/json; charset=utf-16", job().decode().encode("utf-16"), 400),
        (b"application/json; charset=latin-1", job(name="x").replace(b'"x"', b'"\xfc"'), 400),
        (b"application/json\r\nContent-Encoding: gzip", b"\x1f\x8b\x08\x00" + b"\0" * 100, 400),
        (b"application/json, text/plain", job(), 415),
        (b"text/json", job(), 415),
        (b"\xff", job(), 415),
        (FORM_TYPE, FORM, 400),
        (b"application/x-www-form-urlencoded", b"name=x&jobanalyses=y", 400),
    ],
    ids=short,
)
def test_kinds_of_json(wire: Wire, kind: bytes, body: bytes, status: int) -> None:
    reply = wire.post(b"jobs/", body, b"Content-Type: " + kind)
    assert reply.status == status, reply
    if status != 201:
        assert_in_shape(reply)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (job()[:-1] + b', "name": "last"}', "last"),
        (job(name="\0 \ud83d\udca9"), "\0 💩"),
        (with_unknown(b'{"a":' * 98 + b"1" + b"}" * 98), "A job"),
        (with_unknown(b"1" + b"0" * 300), "A job"),
        (with_unknown(b"0." + b"3" * 10_000), "A job"),
        (with_unknown(b"[" + b"1," * 100_000 + b"1]"), "A job"),
        (analysis(command="#" + '"[,{\\' * 300_000), "A job"),
        (b" \r\n\t" * 100_000 + job(), "A job"),
    ],
    ids=short,
)
def test_odd_json_that_is_taken(wire: Wire, client: Client, sent: bytes, expected: str) -> None:
    reply = wire.post(b"jobs/", sent, b"Content-Type: application/json")
    assert reply.status == 201, reply.body[:1000]
    made = json.loads(reply.body)
    assert made["name"] == expected
    client.call("DELETE", f"jobs/{made['id']}/", 204)


# --- every route ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    takes_json: bool
    is_raw: bool  # what it sends is no JSON


PARAMETER = re.compile(r"\{(\w+)\}")


@pytest.fixture(scope="module")
def operations(client: Client, server: RunningServer) -> list[Operation]:
    paths = client.get(f"{server.address}/api/openapi.json")["paths"]
    found = []
    for path, methods in paths.items():
        twin = path.replace("/api/v3/", "/api/v2/")
        for method, described in methods.items():
            kinds = str(described["responses"])
            good = (r for status, r in described["responses"].items() if status[0] == "2")
            sent = {kind for reply in good for kind in reply.get("content", {})}
            if method == "head" or "event-stream" in kinds or (path != twin and twin in paths):
                continue  # an answer without a body, one without an end, one that is had twice
            is_raw = "application/json" not in sent or path.endswith("/tail/{path}/")
            takes_json = "application/json" in str(described.get("requestBody"))
            found.append(Operation(method.upper(), path, takes_json, is_raw))
    assert len(found) > 15
    return found


@pytest.fixture(scope="module")
def real(client: Client) -> dict[str, str]:
    """What the parameters of a path are where something is there."""
    made = client.run("echo out")
    file = client.upload("real.txt", b"real")
    ids = {"job_id": made["id"], "run_id": "1", "file_id": file["id"]}
    return {**ids, "code": "python", "path": "a"}


class Line:
    """One connection that many requests go over."""

    def __init__(self, client: Client) -> None:
        where = urlsplit(client.base)
        self._connection = http.client.HTTPConnection(
            str(where.hostname), where.port, timeout=ANSWER_SECONDS
        )
        self._headers = {"Authorization": f"Token {client.key}"}

    def ask(self, method: str, target: str, body: bytes = b"") -> Reply:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        self._connection.request(method, target, body or None, headers)
        response = self._connection.getresponse()
        return Reply(response.status, response.headers.get("Content-Type", ""), response.read())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def line(client: Client) -> Iterator[Line]:
    made = Line(client)
    yield made
    made.close()


def filled(path: str, values: dict[str, str]) -> str:
    return PARAMETER.sub(lambda found: values.get(found[1], "x"), path)


def assert_is_answer(reply: Reply, operation: Operation, asked: str) -> None:
    assert 200 <= reply.status < 300 or 400 <= reply.status < 500, (operation, asked[:200], reply)
    if reply.status >= 400:
        assert_in_shape(reply)
    elif reply.body and not operation.is_raw:
        assert reply.kind == "application/json", (operation, asked[:200], reply)
        json.loads(reply.body)


# Instead of an id, a number or a path.
PLACES = words(r"""
.. %2e%2e %2e%2e%2f%2e%2e %2f %2F%2F %252e%252e%252f %255c \ %5c..%5c %00 a%00 %0d%0aX-Y:%20z %ff%fe
%ed%a0%80 %c0%ae % %zz %u002e -1 1e9 %D9%A1 %20 '%20OR%201=1-- * {job_id} %F0%9F%92%A9 ; a;b=c a%3fb
a%23b None null []
""")
PLACES += ["9" * 5000, "a" * 30_000]


def test_places_that_are_none(
    line: Line, operations: list[Operation], real: dict[str, str]
) -> None:
    """In every path, in the place of each of its parameters. The empty body does no harm."""
    for operation in operations:
        for name in PARAMETER.findall(operation.path):
            for place in PLACES if operation.method == "GET" else PLACES[::4]:
                target = filled(operation.path, real | {name: place})
                reply = line.ask(operation.method, target)
                assert_is_answer(reply, operation, target)


QUERIES = words(r"""
page_size=50&?page=1 ?page=1 ? ??&??=? page= page=%00 page=% page page=1&page=2&page=last page=LAST
page=last&page=%zz page=1e3 page=0x1 page=+1 page=%D9%A1 page[]=1 page=1;page=2 page=-0 page=last%00
page=1%0d%0aX-Y:%20z page=1%23a page_size=1_0 page_size=%00 page_size=1&page_size=-1
page_size=%D9%A1 page_size=1e9&page=2 &&&=&=&= % %zz=%zz %=% %ff=%fe %00=%00
search search=%00 search=%ff search=%25_%5c search=%27%22;--
type_id=%00 type_id=1&type_id=x lines=-1 lines=%00 lines=1e3 lines=%D9%A1 lines=
points=%00 points=nan from=%00 to=1e999 keys=%00,,, ordering=%00 ordering=name;drop
""")
QUERIES += [f"{name}={'9' * 5000}" for name in ("page", "page_size", "type_id", "lines", "from")]
QUERIES += [
    "x=" + "a" * 60_000,
    "search=" + "a" * 60_000,
    "search=" + "%00" * 9000,
    "a=1&" * 3000,
]
QUERIES += ["&" * 30_000, "keys=" + "," * 30_000]


def test_queries_that_are_none(
    line: Line, operations: list[Operation], real: dict[str, str]
) -> None:
    for operation in operations:
        if operation.method == "GET":
            path = filled(operation.path, real)
            for query in QUERIES:
                reply = line.ask("GET", f"{path}?{query}")
                assert_is_answer(reply, operation, query)


def test_a_stray_question_mark_is_part_of_a_name_that_nobody_knows(client: Client) -> None:
    for n in range(3):
        client.upload(f"{n}.txt", b"x")
    client.create("true")
    for path in ("files/", "jobs/", "analyses/", "coretypes/"):
        page = client.get(f"{path}?page_size=1&?page=2")
        assert len(page["results"]) == 1 and page["previous"] is None
        if page["next"]:
            following = client.get(page["next"])
            assert following["results"] != page["results"]
            assert following["previous"]


BODIES = {"lists": b"[" * 5000, "no UTF-8": b'{"name": "\xff"}', "a list": b"[1]", "null": b"null"}
BODIES |= {"a text": b'"x"', "a number": b"9" * 4000, "odd keys": b'{"": 1, "\\u0000": {}}'}
BODIES |= {"half": b'{"name": ', "deep": b'{"name": ' * 90 + b"1" + b"}" * 90}


def test_bodies_that_are_none(
    line: Line, operations: list[Operation], client: Client, real: dict[str, str]
) -> None:
    """Sent to everything that takes JSON."""
    draft = {**real, "job_id": client.create()["id"]}
    for operation in operations:
        if operation.takes_json:
            for name, body in BODIES.items():
                reply = line.ask(operation.method, filled(operation.path, draft), body)
                assert_is_answer(reply, operation, name)


# --- looking into a run ---------------------------------------------------------------------------

OUTSIDE = "nothing of this is yours"
MAKE = r"""
echo "OUTSIDE" > ~/secret; mkdir -p sub/deep empty; seq 3 > sub/deep/log.txt; cp sub/deep/log.txt .
for name in 'a b' 'a%2fb' '%2e%2e' 'a\b' 'a?b#c' '...' '..a' 'ü' $'a\nb' '~' 'x;y=z'; do
  echo "$name" > "sub/$name"; done
ln -s /etc/passwd out; ln -s /etc outdir; ln -s ../.. sub/up; ln -s .. up
ln -s /etc/passwd sub/out; ln -s ../secret near; ln -s loop loop; ln -s nowhere dangling
ln -s log.txt inside; ln -s sub folder
ln -s / root; ln -s /proc/self/environ environ; ln -s /dev/zero zeros; ln -s ~/secret home
mkfifo pipe sub/pipe; truncate -s 100G sparse; touch all-made
""".replace("OUTSIDE", OUTSIDE)


@pytest.fixture(scope="module")
def tail(client: Client, server: RunningServer) -> Iterator[str]:
    """Where the files of an executing run are looked into; ends in a slash."""
    made = client.create(MAKE + "exec sleep 120")
    client.submit(made["id"])
    wait_for(lambda: any((server.data / "runs").glob("*/home/work/all-made")), "the command")
    (found,) = (server.data / "runs").glob("*/home/work/sparse")
    with contextlib.suppress(PermissionError):  # not everybody may make a device
        os.mknod(found.with_name("zero"), stat.S_IFCHR | 0o666, os.makedev(1, 5))
    yield f"/api/v2/jobs/{made['id']}/runs/1/tail/"
    found.unlink()  # else all of it would be stored
    client.call("POST", f"jobs/{made['id']}/stop/", 202)
    client.finished(made["id"])


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("log.txt", "1\n2\n3\n"),
        ("sub/deep/log.txt", "1\n2\n3\n"),
        ("sub%2fdeep%2Flog.txt", "1\n2\n3\n"),
        ("sub%2Fdeep/log.txt/", "1\n2\n3\n"),
        ("%73ub/d%65ep/%6cog.txt", "1\n2\n3\n"),
        *[
            (f"sub/{quote(name)}", f"{name}\n")
            for name in ("a b", "a%2fb", "%2e%2e", "a\\b", "a?b#c", "...", "..a", "ü", "a\nb")
        ],
        ("sub/~", "~\n"),
        ("sub/x;y=z", "x;y=z\n"),
    ],
)
def test_files_below_a_work_folder(line: Line, tail: str, path: str, content: str) -> None:
    """What is encoded once is decoded once, slashes too."""
    reply = line.ask("GET", tail + path)
    assert (reply.status, reply.body.decode()) == (200, content)
    reply = line.ask("GET", tail + path + "?lines=2")
    assert json.loads(reply.body)["lines"] == content.splitlines()[-2:]


UPWARDS = words(r"""
.. %2e%2e .%2e %2E. %252e%252e %c0%ae%c0%ae %ef%bc%8e%ef%bc%8e %u002e%u002e ..%00 ..; ..%20
up sub/up/.. ./.. .//.. sub/../..
""")
SLASHES = ["/", "%2f", "%252f", "\\", "%5c", "//", "/./", "%00/"]
ESCAPES = [f"{up}{slash}secret" for up in UPWARDS for slash in SLASHES]
ESCAPES += [f"sub{slash}{slash.join(['..'] * 9)}{slash}etc{slash}passwd" for slash in SLASHES]
ESCAPES += words(r"""
/etc/passwd %2fetc%2fpasswd //etc/passwd %2f%2fetc/passwd \etc\passwd file:///etc/passwd ~/secret
out out/ ./out sub/out outdir/passwd outdir%2fpasswd root/etc/passwd near home sub/up/secret
up/work/log.txt folder/deep/log.txt inside environ zeros loop dangling
%2e . .. ../ %2e%2e/ ... ....//secret sub sub/ empty sub/deep/../.. pipe sub/pipe zero
log.txt/.. log.txt/../../secret log.txt%2f..%2f..%2fsecret log.txt%00 log.txt%00.png log.txt\
%00 % %ff %ed%a0%80
""")
ESCAPES += [
    "",
    "a" * 5000,
    "a/" * 3000,
    "../" * 3000 + "etc/passwd",
    "%2e%2e%2f" * 900 + "etc/passwd",
]


def test_nothing_outside_a_work_folder(line: Line, tail: str) -> None:
    for path in ESCAPES:
        for query in ("", "?lines=10", "?lines=1&lines=10000"):
            reply = line.ask("GET", tail + path + query)
            assert 400 <= reply.status < 500, (path, reply)
            assert_in_shape(reply)
            for word in (b"root:", OUTSIDE.encode(), b"PATH=", b"\0"):
                assert word not in reply.body, (path, reply)


def test_a_file_almost_without_end(
    line: Line, wire: Wire, server: RunningServer, tail: str
) -> None:
    """100 GB of zeros: its end comes at once, and who does not want the rest can go."""
    began = time.monotonic()
    reply = line.ask("GET", tail + "sparse?lines=10")
    assert (reply.status, reply.kind) == (200, "application/json")
    assert time.monotonic() - began < ANSWER_SECONDS
    assert len(json.loads(reply.body)["lines"]) == 1
    files = held(server)[0]
    for _ in range(5):
        with wire.connect() as connection:
            connection.sendall(wire.head(b"GET", tail.encode() + b"sparse"))
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
    wait_for(lambda: held(server)[0] <= files, "the end of the connections", ANSWER_SECONDS)
