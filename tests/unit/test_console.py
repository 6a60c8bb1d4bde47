"""Serving the console: a small one, in a folder of the test's own."""

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from coroutines import finished
from simyard.console.pages import Console, is_built

PAGE = '<!doctype html>\n<html lang="en">\n  <head>\n<title>S</title></head><body></body></html>\n'
SCRIPT = b"console.log('plain')\n"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; worker-src 'self'; font-src 'self'; base-uri 'self'; form-action 'self';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types simyard"
)


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    made = tmp_path / "dist"
    (made / "assets").mkdir(parents=True)
    (made / ".vite").mkdir()
    for name, content in {
        "index.html": PAGE.encode(),
        ".vite/manifest.json": b"{}",
        "robots.txt": b"User-agent: *\n",
        "assets/theme.js": b"theme\n",
        "assets/main-Ab_3-xYz.js": SCRIPT,
        "assets/main-Ab_3-xYz.js.br": b"brotli",
        "assets/main-Ab_3-xYz.js.gz": b"gzip",
        "assets/main-Ab_3-xYz.css": b"body {}\n",
        "assets/map-12345678.unknown": b"?",
    }.items():
        (made / name).write_bytes(content)
    (tmp_path / "secret.js").write_text("secret")
    return made


@dataclass(frozen=True)
class Reply:
    status: int
    headers: httpx.Headers
    content: bytes


def ask(
    console: Console | Path, path: str, method: str = "GET", prefix: str = "", accept: str = ""
) -> Reply:
    """The path as a client may write it: a well-behaved one would tidy it up."""
    if isinstance(console, Path):
        console = Console(lambda scope: prefix, console)
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "query_string": query.encode(),
        "headers": [(b"accept-encoding", accept.encode())],
    }
    messages: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # a client that stays
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    finished(console(scope, receive, send))
    begin, *bodies = messages
    content = b"".join(message["body"] for message in bodies)
    return Reply(begin["status"], httpx.Headers(begin["headers"]), content)


@pytest.mark.parametrize(
    "path", ["/", "/jobs", "/jobs/wdPtC/log?at=9", "/login", "/assetsx", "/a.b"]
)
@pytest.mark.parametrize("prefix", ["", "/tools/simyard"])
def test_every_other_path_is_the_page(dist: Path, path: str, prefix: str) -> None:
    reply = ask(dist, path, prefix=prefix)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    wanted = PAGE.replace("<head>", f'<head><base href="{prefix}/">')
    assert reply.content.decode() == wanted


def test_nothing_gets_out_of_the_base(dist: Path) -> None:
    text = ask(dist, "/", prefix='/"><script>').content.decode()
    assert "<script>" not in text


@pytest.mark.parametrize("path", ["/", "/assets/theme.js", "/assets/nothing.js", "/robots.txt"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_reply_is_guarded(dist: Path, path: str, method: str) -> None:
    reply = ask(dist, path, method)
    assert reply.headers["content-security-policy"] == POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["referrer-policy"] == "same-origin"
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in reply.headers["permissions-policy"]
    assert (method == "POST") is (reply.status == 405)


@pytest.mark.parametrize(
    ("accepted", "encoding", "content"),
    [
        ("", None, SCRIPT),
        ("gzip, deflate, br", "br", b"brotli"),
        ("gzip, deflate", "gzip", b"gzip"),
        ("br;q=0, GZIP;q=0.5", "gzip", b"gzip"),
        ("br;q=0.0 , gzip; q=0", None, SCRIPT),
        ("brx, xgzip, *", None, SCRIPT),
    ],
)
def test_what_was_compressed_is_sent_as_it_is(
    dist: Path, accepted: str, encoding: str | None, content: bytes
) -> None:
    reply = ask(dist, "/assets/main-Ab_3-xYz.js", accept=accepted)
    assert reply.status == 200 and reply.content == content
    assert reply.headers.get("content-encoding") == encoding
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert reply.headers["content-length"] == str(len(content))
    assert reply.headers["vary"] == "Accept-Encoding"
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("path", "kind", "lasts"),
    [
        ("/assets/main-Ab_3-xYz.css", "text/css; charset=utf-8", True),
        ("/assets/map-12345678.unknown", "application/octet-stream", True),
        ("/assets/theme.js", "text/javascript; charset=utf-8", False),
        ("/robots.txt", "text/plain; charset=utf-8", False),
    ],
)
def test_only_what_is_named_by_its_content_is_kept(
    dist: Path, path: str, kind: str, lasts: bool
) -> None:
    reply = ask(dist, path, accept="br")
    assert reply.status == 200 and "content-encoding" not in reply.headers
    assert reply.headers["content-type"] == kind
    assert ("immutable" in reply.headers["cache-control"]) is lasts


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/nothing.js",
        "/assets/main-Ab_3-xYz.js.br",
        "/assets/../../secret.js",
        "/assets/..%2f..%2fsecret.js",
        "/assets/%2e%2e/index.html",
        "/assets/theme.js%00",
        "/assets//etc/passwd",
        "/assets/" + "a" * 5000,
    ],
)
def test_what_is_no_asset_is_not_there(dist: Path, path: str) -> None:
    reply = ask(dist, path)
    assert (reply.status, reply.content) == (404, b"Not found.")
    assert reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/index.html", "/.vite/manifest.json", "/../secret.js", "/%2e%2e/secret.js", "//etc/passwd"],
)
def test_what_is_no_file_of_it_is_the_page(dist: Path, path: str) -> None:
    assert b"<base " in ask(dist, path).content


def test_a_file_that_goes_away_is_not_there(dist: Path) -> None:
    console = Console(lambda scope: "", dist)
    (dist / "assets" / "theme.js").unlink()
    assert ask(console, "/assets/theme.js").status == 404


def test_whether_it_is_built(dist: Path) -> None:
    assert is_built(dist) and not is_built(dist / "assets")
    (dist / "index.html").write_text("<p>no head")
    with pytest.raises(ValueError, match="has no head"):
        Console(lambda scope: "", dist)
