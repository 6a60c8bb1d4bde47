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

from simyard.api import errors
from simyard.domain.errors import NotFound
from simyard.domain.users import User
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
    parameters: tuple[dict[str, Any], ...] = ()  # OpenAPI query parameters
    body: type[BaseModel] | None = None  # what the JSON of a request is
    form: dict[str, Any] | None = None  # schema of a multipart form


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
        status: int = 200,
        body: type[BaseModel] | None = None,
        form: dict[str, Any] | None = None,
        tag: str = "",
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare the decorated function as a route."""

        def declare(endpoint: Endpoint) -> Endpoint:
            self.operations.append(
                Operation(
                    method=method,
                    path=path,
                    endpoint=endpoint,
                    summary=summary,
                    tag=tag or self.tag,
                    status=status,
                    parameters=parameters,
                    body=body,
                    form=form,
                )
            )
            return endpoint

        return declare


class Dispatcher:
    """Finds the function of a request and answers with what it returns.

    One expression holds all paths, so that a request is matched once and not route by route. What
    no path matches is left to `elsewhere`.
    """

    def __init__(self, operations: Iterable[Operation], elsewhere: Starlette) -> None:
        by_path: dict[str, dict[str, Endpoint]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation.endpoint
        self._elsewhere = elsewhere
        # group of the whole path -> names of its parameters, function of each method
        self._found: dict[int, tuple[list[str], dict[str, Endpoint]]] = {}
        parts, group = [], 1
        for path, methods in by_path.items():
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
        endpoint = methods.get(scope["method"])
        if endpoint is None:
            response = errors.method_not_allowed(scope["method"], ", ".join(sorted(methods)))
        else:
            parameters = dict(zip(names, found.groups()[group:], strict=False))
            try:
                response = await endpoint(request, **parameters)
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


def caller(request: Request) -> User:
    user: User = request.scope["user"]
    return user


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
