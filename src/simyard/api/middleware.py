"""What happens to every request before its route: the path is tidied, the caller is known, the
time is taken. Plain ASGI: these layers are on the path of the polled routes.
"""

import time
from collections.abc import Collection, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from simyard.api import errors, sessions
from simyard.api.metrics import Metrics
from simyard.domain.errors import SimyardError, Unauthenticated
from simyard.domain.users import Caller
from simyard.service.site import Site

_VERSIONS = {"v2", "v3"}
DOCUMENT = "/api/openapi.json/"


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
    if first in _VERSIONS or path == DOCUMENT or not first:
        return path
    return "/api/v2/" + path[len("/api/") :]


class Authentication:
    """Knows the caller of everything below /api/; without a good key nothing there answers but
    the open paths.
    """

    def __init__(self, app: ASGIApp, site: Site, open_paths: Collection[str]) -> None:
        self._app = app
        self._site = site
        self._open_paths = {DOCUMENT, *open_paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if not path.startswith("/api/") or path in self._open_paths:
            await self._app(scope, receive, send)
            return
        try:
            scope["caller"] = identify(self._site, scope)
        except SimyardError as error:
            response = errors.from_domain(error)
            # A body that was announced is not read: the connection cannot be used again.
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def identify(site: Site, scope: Scope) -> Caller:
    """Who sends this request: by the key of `Authorization: Token KEY` or `Bearer KEY`, the scheme
    in any case; without that header by the session of a cookie. Raises Unauthenticated, KeyExpired,
    or Forbidden where a session is not enough for it.
    """
    for name, value in scope["headers"]:
        if name == b"authorization":
            words = value.split()
            if len(words) == 2 and words[0].lower() in (b"token", b"bearer"):
                return site.callers.identify(words[1].decode("latin-1"))
            raise Unauthenticated("Invalid token header. Send: Authorization: Token <api-key>")
    token = sessions.token_of(site, scope)
    if token is None:
        raise Unauthenticated("Authentication credentials were not provided.")
    caller = site.sessions.identify(token)
    scope["has_session"] = True
    if scope["method"] not in sessions.SAFE:
        sessions.need_own_page(site, scope)
    return caller


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
        headed_at = 0.0

        async def note(message: MutableMapping[str, Any]) -> None:
            nonlocal status, headed_at
            if message["type"] == "http.response.start":
                status = message["status"]
                headed_at = time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            # A stream is answered when it begins: it goes on for as long as its reader likes.
            ended_at = headed_at if headed_at and "is_stream" in scope else time.perf_counter()
            self._metrics.replied(status or 500, ended_at - began)
