"""One request of the API: with the key, to one server and nobody else, and again where that has no
second effect.
"""

import http.client
import json
import os
import re
import secrets
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from simyard import __version__

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
WAITS_SECONDS = (0.5, 1.0, 2.0)  # before the second try, the third and the last
_LONGEST_WAIT_SECONDS = 60  # that a reply may ask for
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 90.0  # streams of events are never quiet for so long
_MOST_REDIRECTS = 5
_PIECE_BYTES = 1 << 18
_API = "/api/v2/"
_NOTHING_DONE = (429, 503)
_NOBODY_KNOWS = (502, 504)  # a proxy says so
_SAME_TWICE = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")  # RFC 9110, 9.2.2
_KEPT = "/%:@!$&'()*+,;=~"  # in a path, as it was given


class CallFailed(Exception):
    """There is no reply, or none that can be used. hint: what may help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BrokeOff(CallFailed):
    """A reply ended before its content did."""


class _Lost(Exception):
    """The connection broke before the reply, or there was none."""

    def __init__(self, error: Exception, *, was_sent: bool) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        self.was_sent = was_sent


@dataclass(frozen=True)
class Body:
    """What is sent. It can be read more than once, and is never in memory as a whole."""

    content_type: str
    size_bytes: int
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Call:
    method: str
    target: str  # as in the request line: path and query
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether doing it twice is doing it once. Each POST of this API takes an Idempotency-Key,
        or changes nothing more when it is done again; PATCH takes none.
        """
        return self.method in _SAME_TWICE or (
            self.method == "POST" and self.idempotency_key is not None
        )

    @property
    def idempotency_key(self) -> str | None:
        named = {name.lower(): value for name, value in self.headers.items()}
        return named.get("idempotency-key")


class Server:
    """The one that is asked, and the key that it is shown."""

    def __init__(self, address: str, key: str, ca_file: Path | None = None) -> None:
        """address: like http://127.0.0.1:8420, with a path where a proxy adds one.
        ca_file: certificates that are trusted beside the machine's. Raises CallFailed.
        """
        try:
            parts = urlsplit(address)
            is_whole = parts.port != 0 and _is_host(parts.hostname or "")
        except ValueError:
            parts, is_whole = urlsplit(""), False
        is_bare = not (parts.query or parts.fragment or "@" in parts.netloc or _climbs(parts.path))
        if parts.scheme not in ("http", "https") or not (is_whole and is_bare):
            raise CallFailed(
                f"{address!r} is no address of a server", "http://127.0.0.1:8420 is one"
            )
        if not (key and key.isascii() and key.isprintable() and " " not in key):
            raise CallFailed("the API key has characters that no key has")
        self.prefix = _quoted(parts.path.rstrip("/"))
        self._root = f"{parts.scheme}://{parts.netloc}"
        self.address = self._root + self.prefix
        self._origin = _origin(self.address)
        self._key = key
        self._trust = _trust(ca_file) if parts.scheme == "https" else None

    def target(self, path: str, query: Iterable[tuple[str, str]] = ()) -> str:
        """What stands in the request line for a path below /api/v2/, or for one from the root if
        it begins with a slash or `api/`. Raises CallFailed for an address, and for a path that
        may lead out of the server's.
        """
        if re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//", path):
            inside = re.sub("^[^/]*//[^/?#]*", "", path)
            raise CallFailed(
                f"{path} is an address; the key is sent to {self.address} only",
                f"where it is one of this server, give its path: {inside}" if inside else "",
            )
        path, _, given = path.partition("?")
        if path.startswith("api/"):
            path = f"/{path}"
        elif not path.startswith("/"):
            path = _API + path
        if _climbs(path):
            raise CallFailed(f"{path} has a part `..`; the key is sent to {self.address} only")
        path = _quoted(path)
        if not path.startswith(f"{self.prefix}/"):
            path = self.prefix + path
        added = urlencode(list(query), quote_via=quote, errors="surrogateescape")
        text = "&".join(part for part in (_quoted(given, _KEPT + "?"), added) if part)
        return f"{path}?{text}" if text else path

    def ask(self, call: Call, tell: Callable[[str], None] = lambda _: None) -> "Reply":
        """The reply, whatever its status; its content is still to be read, and it is to be closed.

        Asks again, and tells so, where nothing was done (429 and 503 that say when to come again;
        nobody listens) or where doing it twice is doing it once (lost connections, 502, 504). GET
        and HEAD go after redirects within this server. Raises CallFailed.
        """
        may_be_done = False
        for wait in (*WAITS_SECONDS, None):
            try:
                reply = self._once(call)
            except _Lost as lost:
                if wait is None or (lost.was_sent and not call.is_repeatable):
                    raise self._no_reply(call, lost) from None
                what, seconds = str(lost), wait
                may_be_done |= lost.was_sent
            else:
                reply.may_be_done = may_be_done and call.method == "DELETE" and reply.status == 404
                asked = reply.wait_seconds()
                if asked is not None and reply.status in _NOTHING_DONE:
                    seconds = asked
                elif wait is not None and reply.status in _NOBODY_KNOWS and call.is_repeatable:
                    seconds = wait
                    may_be_done = True
                else:
                    return reply
                if wait is None or seconds > _LONGEST_WAIT_SECONDS:
                    return reply
                what = f"{reply.status} {reply.reason}"
                reply.close()
            tell(f"{what}; again in {seconds:g} s")
            time.sleep(seconds)
        raise AssertionError("unreachable")

    def pieces(
        self, call: Call, reply: "Reply", tell: Callable[[str], None] = lambda _: None
    ) -> Iterator[bytes]:
        """The content of the reply to this call as it comes. Where it breaks off, the rest is asked
        for, and told so, if the server gives parts and it is of the very same content. Raises
        BrokeOff where it does not, or where a few times in a row nothing more came.
        """
        got, tries = 0, 0
        part = reply
        while True:
            try:
                for piece in part.pieces():
                    got, tries = got + len(piece), 0
                    yield piece
                return
            except BrokeOff as error:
                broken = error
            if not _has_parts(call, reply):
                raise broken
            broken = BrokeOff(f"the reply broke off after {got} of {reply.size_bytes} bytes")
            if tries == len(WAITS_SECONDS):
                raise broken
            tell(f"{broken}; the rest in {WAITS_SECONDS[tries]:g} s")
            time.sleep(WAITS_SECONDS[tries])
            tries += 1
            rest = {"Range": f"bytes={got}-", "If-Range": reply.headers["ETag"]}
            try:
                part = self.ask(replace(call, headers={**call.headers, **rest}), tell)
            except CallFailed as error:
                raise BrokeOff(f"{broken}, then: {error}", error.hint) from None
            whole = f"bytes {got}-{(reply.size_bytes or 0) - 1}/{reply.size_bytes}"
            if part.status != 206 or part.headers.get("Content-Range") != whole:
                part.close()
                raise BrokeOff(f"{broken}, and there is no rest of it ({part.status})")

    def _no_reply(self, call: Call, lost: _Lost) -> CallFailed:
        if not lost.was_sent:
            return CallFailed(
                f"no connection to {self.address}: {lost}",
                "does it run there? SIMYARD_URL says where",
            )
        key = call.idempotency_key
        return CallFailed(
            f"no reply from {self.address}: {lost}; whether it was done is not known",
            f"the same request with -H 'Idempotency-Key: {key}' is not done twice" if key else "",
        )

    def _once(self, call: Call) -> "Reply":
        for _ in range(_MOST_REDIRECTS):
            reply = self._send(call)
            location = reply.headers.get("Location", "")
            if reply.status not in (301, 302, 303, 307, 308) or not location:
                return reply
            reply.close()
            # http.client reads headers as Latin-1, whatever they are.
            location = quote(location.encode("latin-1"), safe=_KEPT + "?#[]")
            try:
                there = urljoin(self._root + call.target, location)
                parts = urlsplit(there)
            except ValueError:
                there, parts = location, urlsplit("")
            path = parts.path or "/"
            is_ours = path.startswith(f"{self.prefix}/") and not _climbs(path)
            is_ours &= _origin(there) == self._origin
            if call.method not in ("GET", "HEAD") or not is_ours:
                raise CallFailed(
                    f"{self.address} sends this on to {there}; nothing was sent there",
                    "where that is the server, SIMYARD_URL should say so",
                )
            call = replace(call, target=f"{path}?{parts.query}" if parts.query else path)
        raise CallFailed(f"{self.address} sends this on and on")

    def _send(self, call: Call) -> "Reply":
        connection = self._connected()
        headers = {
            "Authorization": f"Token {self._key}",
            "User-Agent": f"simyard/{__version__}",
            "Accept": "*/*",
            "Connection": "close",
            **call.headers,
        }
        pieces = None
        if call.body:
            headers["Content-Type"] = call.body.content_type
            headers["Content-Length"] = str(call.body.size_bytes)
            pieces = call.body.pieces()
        try:
            # A body that the server does not take is answered before it was read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(call.method, call.target, pieces, headers)
            return Reply(connection, connection.getresponse(), call.method == "HEAD")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _Lost(error, was_sent=True) from None
        except BaseException:
            connection.close()
            raise

    def _connected(self) -> http.client.HTTPConnection:
        _, host, port = self._origin
        connection: http.client.HTTPConnection
        if self._trust:
            connection = http.client.HTTPSConnection(
                host, port, timeout=_CONNECT_SECONDS, context=self._trust
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(_SILENCE_SECONDS)
        except socket.gaierror as error:
            raise CallFailed(f"{host}: {error.strerror}", "SIMYARD_URL says where") from None
        except ssl.SSLCertVerificationError as error:
            raise CallFailed(
                f"the certificate of {self.address} is not trusted: {error.verify_message}",
                "SIMYARD_CA_FILE may name a file with the certificate of who signed it",
            ) from None
        except ssl.SSLError as error:
            raise CallFailed(
                f"no secure connection to {self.address}: {error.reason or error}",
                "does it speak https there?",
            ) from None
        except (OSError, ValueError) as error:  # ssl refuses some names that resolvers take
            raise _Lost(error, was_sent=False) from None
        return connection


def _has_parts(call: Call, reply: "Reply") -> bool:
    """Whether the server can go on with this content where it broke off."""
    tag = reply.headers.get("ETag", "")
    is_whole = reply.status == 200 and reply.size_bytes is not None
    gives_parts = reply.headers.get("Accept-Ranges", "").strip() == "bytes"
    return call.method == "GET" and is_whole and gives_parts and tag.startswith('"')


class Reply:
    """Status and headers, and the content as it comes. may_be_done: what is not there may be what
    an earlier try has deleted. size_bytes: of the content, None where it is not known before.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        is_bare: bool,
    ) -> None:
        """Raises CallFailed where the length is none: nobody knows then what is missing."""
        self._connection = connection
        self._response = response
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers
        self.may_be_done = False
        self.size_bytes: int | None = None
        length = response.headers.get("Content-Length")
        if is_bare or self.status in (204, 304):
            self.size_bytes = 0
        elif length is not None and not response.chunked:
            self.size_bytes = _whole(length)
            if self.size_bytes is None:
                self.close()
                raise CallFailed("the reply has a Content-Length that is no number of bytes")

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def wait_seconds(self) -> int | None:
        """What Retry-After says; None where it does not."""
        return _whole(self.headers.get("Retry-After", ""))

    def pieces(self) -> Iterator[bytes]:
        """The content as it comes. Raises BrokeOff where it does."""
        got = 0
        try:
            while self.size_bytes is None or got < self.size_bytes:
                if self.size_bytes is None:
                    piece = self._response.read1(_PIECE_BYTES)
                else:
                    piece = self._response.read(min(_PIECE_BYTES, self.size_bytes - got))
                if not piece:
                    break
                got += len(piece)
                yield piece
        except (OSError, http.client.HTTPException) as error:
            said = _Lost(error, was_sent=True)
            raise BrokeOff(f"the reply broke off after {got} bytes: {said}") from None
        finally:
            self.close()
        if self.size_bytes is not None and got < self.size_bytes:
            raise BrokeOff(f"the reply broke off after {got} of {self.size_bytes} bytes")

    def content(self, most_bytes: int | None = None) -> bytes:
        """All of it, or as much as is said. Raises CallFailed where it breaks off before."""
        content = bytearray()
        for piece in self.pieces():
            content += piece
            if most_bytes is not None and len(content) >= most_bytes:
                break
        self.close()
        return bytes(content[:most_bytes])

    def close(self) -> None:
        """Idempotent."""
        self._response.close()
        self._connection.close()


def json_body(text: bytes) -> Body:
    """Raises ValueError where it is no JSON."""
    try:
        json.loads(text, parse_constant=_no_value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return Body("application/json", len(text), lambda: iter([text]))


def file_body(path: Path) -> Body:
    """A form with one file, read anew each time that it is sent. Raises CallFailed."""
    try:
        status = path.stat()
    except OSError as error:
        raise CallFailed(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise CallFailed(f"{path}: only a regular file can be sent, whose size is known before")
    boundary = secrets.token_hex(16)
    name = quote(os.fsencode(path.name))
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}";'
        f" filename*=UTF-8''{name}\r\nContent-Type: application/octet-stream\r\n\r\n"
    ).encode()
    end = f"\r\n--{boundary}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield head
        left = status.st_size
        try:
            with path.open("rb") as file:
                while left and (piece := file.read(min(_PIECE_BYTES, left))):
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise CallFailed(f"{path}: {error.strerror}") from None
        if left:
            raise CallFailed(f"{path} became shorter while it was sent")
        yield end

    kind = f"multipart/form-data; boundary={boundary}"
    return Body(kind, len(head) + status.st_size + len(end), pieces)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except ssl.SSLError:
            raise CallFailed(f"{ca_file}: no certificates in PEM form") from None
        except OSError as error:
            raise CallFailed(f"{ca_file}: {error.strerror}") from None
    return context


def _no_value(name: str) -> NoReturn:
    raise ValueError(f"{name} is none of its values")


def _quoted(text: str, kept: str = _KEPT) -> str:
    """Raises CallFailed for halves of characters, which JSON can have."""
    try:
        return quote(text, safe=kept, errors="surrogateescape")
    except UnicodeEncodeError:
        raise CallFailed(f"{text!r} cannot stand in an address") from None


def _climbs(path: str) -> bool:
    """Whether somebody may read it as a path to somewhere above."""
    return ".." in re.split(r"[/\\]", unquote(path))


def _whole(text: str) -> int | None:
    text = text.strip(" \t")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _is_host(name: str) -> bool:
    """Raises UnicodeError where no resolver takes it."""
    name.encode("idna")
    return name != "" and name.isprintable() and " " not in name


def _origin(address: str) -> tuple[str, str, int]:
    """Scheme, host and port; of what is none something that no server has."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        return parts.scheme, parts.hostname or "", port
    except ValueError:
        return "", "", 0
