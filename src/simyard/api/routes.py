"""How routes are declared: once, for serving and for the OpenAPI document.

A route is a function of the request and the parameters of its path. What it takes and gives is
written beside it; nothing else stands between request and function, since the polled routes have
no time for more.
"""

import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simyard.api import errors, shapes
from simyard.api.shapes import Shape
from simyard.domain.errors import Forbidden, NotFound
from simyard.domain.records import dataclass
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

    @cached_property
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


@dataclass
class _Place:
    """What can follow the part of a path that was read."""

    words: dict[str, "_Place"] = field(default_factory=dict)
    anything: "_Place | None" = None  # one part that is a parameter
    rest: "_Place | None" = None  # all that is left is one
    operations: dict[str, Operation] = field(default_factory=dict)  # where the path ends here

    def add(self, parts: Sequence[str], operation: Operation) -> None:
        if not parts:
            self.operations[operation.method] = operation
            return
        parameter = PARAMETER.fullmatch(parts[0])
        if parameter is None:
            place = self.words.setdefault(parts[0], _Place())
        elif parameter[2]:
            place = self.rest = self.rest or _Place()
        else:
            place = self.anything = self.anything or _Place()
        place.add(parts[1:], operation)

    def find(self, parts: Sequence[str], at: int, values: list[str]) -> dict[str, Operation] | None:
        """The operations of the path `parts[at:]`; `values` takes its parameters. Words come
        before parameters, which would match them too.
        """
        if at == len(parts):
            return self.operations or None
        part = parts[at]
        place = self.words.get(part)
        if place is not None:
            found = place.find(parts, at + 1, values)
            if found:
                return found
        if self.anything is not None and part:
            values.append(part)
            found = self.anything.find(parts, at + 1, values)
            if found:
                return found
            values.pop()
        if self.rest is not None:
            values.append("/".join(parts[at:]))
            return self.rest.operations
        return None


class Dispatcher:
    """Finds the function of a request and answers with what it returns. What no path matches is
    left to `elsewhere`.
    """

    def __init__(self, operations: Iterable[Operation], elsewhere: Starlette) -> None:
        self._elsewhere = elsewhere
        self._root = _Place()
        for operation in operations:
            self._root.add(_parts(operation.path), operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        values: list[str] = []
        methods = None
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            methods = self._root.find(_parts(scope["path"]), 0, values)
        if methods is None:
            await self._elsewhere(scope, receive, send)
            return
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
            parameters = dict(zip(operation.parameter_names, values, strict=True))
            try:
                if operation.right is not None and not who(request).may(operation.right):
                    raise Forbidden
                response = await operation.endpoint(request, **parameters)
                if response.media_type != "application/json":
                    _disarm(response)
                elif "has_session" in scope:  # a cookie does not keep caches out by itself
                    response.headers.setdefault("Cache-Control", "private")
            except Exception as error:
                response = errors.answer(error, request)
        await response(scope, receive, send)


def _disarm(response: Response) -> None:
    """Contents come from users, and browsers show them in the origin of the console: nothing in
    them may run there, whatever they say they are.
    """
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Content-Security-Policy", "sandbox; default-src 'none'")
    response.headers.setdefault("Cache-Control", "private")


PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


def _parts(path: str) -> list[str]:
    """Between the slashes, without the one at the end."""
    return path[1:-1].split("/")


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
