"""How routes are declared: once, for serving and for the OpenAPI document.

A route is a function of the request and the parameters of its path. What it takes and gives is
written beside it; nothing else stands between request and function, since the polled routes have
no time for more.
"""

import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simyard.api import errors, shapes
from simyard.api.shapes import Shape
from simyard.domain.errors import Forbidden, NotFound
from simyard.domain.users import Caller, Right, User
from simyard.service.site import Site

Endpoint = Callable[..., Coroutine[Any, Any, Response]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    endpoint: Endpoint
    summary: str
    tag: str
    status: int  # of a success
    right: Right | None  # what the caller needs; None: nothing, not even a key
    parameters: tuple[dict[str, Any], ...] = ()  # OpenAPI query parameters
    body: type[BaseModel] | None = None  # what the JSON of a request is
    form: dict[str, Any] | None = None  # schema of a multipart form
    json_body: Shape | None = None  # of a body that no model describes
    reply: Shape = field(default_factory=dict)  # of a success; {}: no body
    media_type: str = "application/json"  # of the reply
    creates: bool = False  # takes an Idempotency-Key
    also: tuple[int, ...] = ()  # statuses beside those that every such route has

    @property
    def parameter_names(self) -> list[str]:
        return [name for name, _ in PARAMETER.findall(self.path)]


@dataclass
class Routes:
    """The routes of one noun."""

    tag: str
    operations: list[Operation] = field(default_factory=list)

    def __call__(
        self,
        method: str,
        path: str,
        summary: str,
        *parameters: dict[str, Any],
        reply: Shape = shapes.EMPTY,
        status: int = 200,
        right: Right | None = Right.READ,
        body: type[BaseModel] | None = None,
        form: dict[str, Any] | None = None,
        media_type: str = "application/json",
        creates: bool = False,
        also: tuple[int, ...] = (),
        json_body: Shape | None = None,
        reads: bool = False,
        v3: bool = False,
        v3_reply: Shape | None = None,
        tag: str = "",
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare the decorated function as a route.

        right: what it needs; where nothing is said, what changes something needs Right.WRITE.
        reads: it changes nothing although its method would.
        json_body: the schema of a body that no model describes.
        v3: serve it below /api/v3/ too, where `is_v3` tells the function so; its reply is then
        v3_reply, or the same.
        """
        if right is Right.READ and method not in ("GET", "HEAD") and not reads:
            right = Right.WRITE
        places = [(path, reply)]
        if v3:
            places.append((path.replace("/api/v2/", "/api/v3/", 1), v3_reply or reply))

        def declare(endpoint: Endpoint) -> Endpoint:
            self.operations += (
                Operation(
                    method=method,
                    path=place,
                    endpoint=endpoint,
                    summary=summary,
                    tag=tag or self.tag,
                    status=status,
                    right=right,
                    parameters=parameters,
                    body=body,
                    form=form,
                    json_body=json_body,
                    reply=shape,
                    media_type=media_type,
                    creates=creates,
                    also=also,
                )
                for place, shape in places
            )
            return endpoint

        return declare


class Dispatcher:
    """Finds the function of a request and answers with what it returns.

    One expression holds all paths, so that a request is matched once and not route by route. What
    no path matches is left to `elsewhere`.
    """

    def __init__(self, operations: Iterable[Operation], elsewhere: Starlette) -> None:
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        self._elsewhere = elsewhere
        # group of the whole path -> names of its parameters, operation of each method
        self._found: dict[int, tuple[list[str], dict[str, Operation]]] = {}
        parts, group = [], 1
        # Words before parameters, which would match them too.
        for path, methods in sorted(by_path.items(), key=lambda item: item[0].replace("{", "~")):
            names = [name for name, _ in PARAMETER.findall(path)]
            self._found[group] = (names, methods)
            parts.append("(" + PARAMETER.sub(_as_group, path) + ")")
            group += 1 + len(names)
        self._paths = re.compile("|".join(parts), re.DOTALL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._paths.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None or found.lastindex is None:
            await self._elsewhere(scope, receive, send)
            return
        group = found.lastindex  # the whole path's, which ends last
        names, methods = self._found[group]
        scope["app"] = self._elsewhere
        request = Request(scope, receive)
        method = scope["method"]
        operation = methods.get(method)
        if operation is None and method == "HEAD":  # the head of what a GET would be
            operation = methods.get("GET")
            if operation is not None and operation.media_type == "text/event-stream":
                operation = None
        if operation is None:
            response = errors.method_not_allowed(scope["method"], ", ".join(sorted(methods)))
        else:
            parameters = dict(zip(names, found.groups()[group:], strict=False))
            try:
                if operation.right is not None and not who(request).may(operation.right):
                    raise Forbidden
                response = await operation.endpoint(request, **parameters)
            except Exception as error:
                response = errors.answer(error, request)
        await response(scope, receive, send)


PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


def _as_group(parameter: re.Match[str]) -> str:
    return "(.*)" if parameter[2] else "([^/]+)"


# --- what routes ask of a request -----------------------------------------------------------------


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def who(request: Request) -> Caller:
    found: Caller = request.scope["caller"]
    return found


def caller(request: Request) -> User:
    return who(request).user


def is_v3(request: Request) -> bool:
    """Whether the reply is to be in the shapes of version 3."""
    path: str = request.scope["path"]
    return path.startswith("/api/v3/")


def run_number(text: str) -> int:
    """A run's number from a path. Raises NotFound for what cannot be one."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NotFound
    return int(text)


# --- parameters -----------------------------------------------------------------------------------


def query(name: str, description: str, kind: str = "string") -> dict[str, Any]:
    """An OpenAPI query parameter."""
    return {"name": name, "in": "query", "description": description, "schema": {"type": kind}}


PAGE = (
    query("page", "Page number from 1, or `last`."),
    query("page_size", "Entries per page: 10 without it, at most 2000.", "integer"),
)
