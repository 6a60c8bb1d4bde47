"""The console's one page, whatever the path, and the files that it is made of."""

import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from simyard.domain.records import dataclass

DIST = Path(__file__).parent / "dist"
_PAGE = "index.html"
# Files whose names tell their content; the rest may be another one after an upgrade.
_HASHED = re.compile(r"assets/.+-[A-Za-z0-9_-]{8}\.\w+")
_FOR_EVER = "public, max-age=31536000, immutable"
_ENCODINGS = {"br": ".br", "gzip": ".gz"}  # those liked best first; made by the build
_KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
# Nothing from elsewhere, nothing inline. Workers are made through the one policy `simyard`.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
    " connect-src 'self'; worker-src 'self'; font-src 'self'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types simyard"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def is_built(dist: Path) -> bool:
    return (dist / _PAGE).is_file()


@dataclass(frozen=True)
class _File:
    path: Path
    encoded: Mapping[str, Path]  # by encoding, where the build has made that

    def choose(self, accepted: str) -> tuple[Path, dict[str, str]]:
        """What to send to a client that accepts these encodings, and the headers that tell."""
        told = {"Vary": "Accept-Encoding"} if self.encoded else {}
        for encoding, path in self.encoded.items():
            if _takes(accepted, encoding):
                return path, {**told, "Content-Encoding": encoding}
        return self.path, told


class Console:
    """ASGI. Only what is in the folder when it is made is ever opened: no path leads out of it."""

    def __init__(self, prefix: Callable[[Scope], str], dist: Path) -> None:
        """prefix: what a proxy takes away from the path of a request, "" or "/a/b"."""
        self._prefix = prefix
        self._files = _files_in(dist)
        content = (dist / _PAGE).read_text()
        head = re.search(r"<head[^>]*>", content)
        if head is None:
            raise ValueError(f"{dist / _PAGE} has no head")
        self._before, self._after = content[: head.end()], content[head.end() :]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Method not allowed.", 405, {**_HEADERS, "Allow": "GET, HEAD"})
        name = scope["path"].removeprefix("/")
        file = self._files.get(name)
        if file is not None:
            accepted = b",".join(v for key, v in scope["headers"] if key == b"accept-encoding")
            path, told = file.choose(accepted.decode("latin-1"))
            if path.is_file():  # or another version is being installed
                told["Cache-Control"] = _FOR_EVER if _HASHED.fullmatch(name) else "no-cache"
                kind = _KINDS.get(file.path.suffix, "application/octet-stream")
                return FileResponse(path, headers={**_HEADERS, **told}, media_type=kind)
        if file is not None or name.startswith("assets/"):
            return PlainTextResponse("Not found.", 404, {**_HEADERS, "Cache-Control": "no-cache"})
        return self._page(scope)

    def _page(self, scope: Scope) -> Response:
        """The page for every other path: what it shows there is its own affair."""
        base = f'<base href="{escape(self._prefix(scope))}/">'
        headers = {**_HEADERS, "Cache-Control": "no-cache"}
        return Response(self._before + base + self._after, 200, headers, "text/html")


def _files_in(dist: Path) -> dict[str, _File]:
    """What is served, by its path; names with a dot in front are the build's own."""
    there = {
        path.relative_to(dist).as_posix(): path
        for path in sorted(dist.rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(dist).parts)
    }
    return {
        name: _File(
            path, {e: there[name + end] for e, end in _ENCODINGS.items() if name + end in there}
        )
        for name, path in there.items()
        if name != _PAGE and path.suffix not in _ENCODINGS.values()
    }


def _takes(accepted: str, encoding: str) -> bool:
    """Whether an Accept-Encoding header has this one, and not with q=0."""
    for entry in accepted.split(","):
        name, _, parameters = entry.partition(";")
        if name.strip().lower() == encoding:
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameters.lower())
    return False
