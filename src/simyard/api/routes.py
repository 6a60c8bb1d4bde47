"""How routes are declared: FastAPI documents them, nothing stands between request and function."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from simyard.domain.errors import NotFound
from simyard.domain.users import User
from simyard.service.site import Site


class PlainRoute(APIRoute):
    """Calls its function with the request and the parameters of the path.

    The dependency solver and the response model would cost more than the polled routes may take
    in all; what a route takes and gives is written in its `openapi_extra`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint

        async def handle(request: Request) -> Response:
            return await endpoint(request, **request.path_params)

        return handle


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


PAGE_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "page",
        "in": "query",
        "description": "Page number from 1, or `last`.",
        "schema": {"type": "string", "default": "1"},
    },
    {
        "name": "page_size",
        "in": "query",
        "description": "Entries per page, at most 2000.",
        "schema": {"type": "integer", "default": 10},
    },
]


def query(name: str, description: str, kind: str = "string") -> dict[str, Any]:
    """An OpenAPI query parameter."""
    return {"name": name, "in": "query", "description": description, "schema": {"type": kind}}


def documents(*parameters: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route."""
    extra: dict[str, Any] = {}
    if parameters:
        extra["parameters"] = list(parameters)
    if body is not None:
        extra["requestBody"] = {"required": True, "content": body}
    return extra
