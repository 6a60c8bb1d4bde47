"""What happens to every request before its route: the path is tidied, the caller is known, the
time is taken. Plain ASGI: these layers are on the path of the polled routes.
"""

import time
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from simyard.api import errors
from simyard.api.metrics import Metrics
from simyard.domain.errors import SimyardError, Unauthenticated
from simyard.service import users
from simyard.service.site import Site

_VERSIONS = {"v2", "v3"}
_OPEN = {"/api/openapi.json/"}


class Paths:
    """One path for every way of writing it.

    With or without a slash at the end is the same (a redirect would turn a POST into a GET), and
    `/api/jobs/...` without a version means version 2. The path that was sent is kept for links.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            scope["sent_path"] = path
            if path.startswith("/api/") or path == "/api":
                scope["path"] = _tidy(path)
        await self._app(scope, receive, send)


def _tidy(path: str) -> str:
    if not path.endswith("/"):
        path += "/"
    first = path[len("/api/") :].split("/", 1)[0]
    if first in _VERSIONS or path in _OPEN or not first:
        return path
    return "/api/v2/" + path[len("/api/") :]


class Authentication:
    """Knows the caller of everything below /api/; without a good key nothing there answers."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _needs_key(scope["path"]):
            await self._app(scope, receive, send)
            return
        site = self._site
        try:
            key = _key_of(scope)
            scope["user"] = site.db.read(users.authenticate, site.keyring, key, site.clock())
        except SimyardError as error:
            response = errors.from_domain(error)
            # A body that was announced is not read: the connection cannot be used again.
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _needs_key(path: str) -> bool:
    return path.startswith("/api/") and path not in _OPEN


def _key_of(scope: Scope) -> str:
    """The key of `Authorization: Token KEY` or `Bearer KEY`, the scheme in any case."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            words = value.split()
            if len(words) == 2 and words[0].lower() in (b"token", b"bearer"):
                return str(words[1].decode("latin-1"))
            raise Unauthenticated("Invalid token header. Send: Authorization: Token <api-key>")
    raise Unauthenticated("Authentication credentials were not provided.")


class Timing:
    """Counts replies and their time, and answers for what nobody caught."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def note(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            self._metrics.replied(status or 500, time.perf_counter() - began)
