"""The one table from what went wrong to what the client reads.

Shapes are those of Django REST Framework, which clients' error handling is written for (api-v2
reference, section 1.5): `{"detail": ...}`, or the tree of the wrong fields.
"""

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from simyard.api.replies import reply
from simyard.domain import errors
from simyard.domain.errors import Invalid, Path, SimyardError

_MOST_PROBLEMS = 1000

log = logging.getLogger(__name__)


class UnsupportedMediaType(SimyardError):
    """A body of a kind that the route does not take."""


class PreconditionRequired(SimyardError):
    """A change that does not say what it was made from."""


STATUS: dict[type[SimyardError], int] = {
    UnsupportedMediaType: 415,
    PreconditionRequired: 428,
    errors.NotFound: 404,
    errors.Invalid: 400,
    errors.Refused: 400,
    errors.IllegalTransition: 400,
    errors.NotEnough: 422,
    errors.NotOpen: 409,
    errors.Miscounted: 409,
    errors.OutOfStep: 409,
    errors.Busy: 423,
    errors.Corrupted: 460,
    errors.Unauthenticated: 401,
    errors.KeyExpired: 401,
    errors.Forbidden: 403,
    errors.KeyReused: 422,
    errors.Changed: 412,
    errors.TooLarge: 413,
    errors.StorageFull: 507,
    errors.Unavailable: 503,
    errors.Damaged: 500,
}


def status_of(error: SimyardError) -> int:
    """The status of an error's class or of the nearest class above it."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def from_domain(error: SimyardError) -> Response:
    if isinstance(error, Invalid):
        return reply(tree(error), 400)
    status = status_of(error)
    if status >= 500:
        log.error("%s", error)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Token"
    if status in (503, 507):
        headers["Retry-After"] = "10"
    body: dict[str, Any] = {"detail": str(error)}
    if isinstance(error, errors.Miscounted):
        body["count"] = error.count
    return reply(body, status, headers)


def from_http(error: HTTPException, method: str) -> Response:
    """Errors of the routing itself: unknown paths, wrong methods."""
    detail = error.detail
    if error.status_code == 404:
        detail = "Not found."
    elif error.status_code == 405:
        detail = f'Method "{method}" not allowed.'
    return reply({"detail": detail}, error.status_code, dict(error.headers or {}))


def method_not_allowed(method: str, allowed: str) -> Response:
    return reply({"detail": f'Method "{method}" not allowed.'}, 405, {"Allow": allowed})


def answer(error: Exception, request: Request) -> Response:
    """The reply to whatever a route raised."""
    if isinstance(error, SimyardError):
        return from_domain(error)
    if isinstance(error, HTTPException):
        return from_http(error, request.method)
    if isinstance(error, ClientDisconnect):
        return reply({"detail": "The client went away."}, 400)  # nobody reads it
    log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return reply({"detail": "The server made a mistake. It is in its log."}, 500)


async def handle(request: Request, error: Exception) -> Response:
    return answer(error, request)


def tree(error: Invalid) -> Any:
    """Problems as the tree of the fields. A list of objects becomes an array that is aligned with
    what was sent, `{}` for its good entries.
    """
    if any(not problem.path for problem in error.problems):
        return {"detail": next(p.message for p in error.problems if not p.path)}
    root: dict[Any, Any] = {}
    for problem in error.problems[:_MOST_PROBLEMS]:
        node = root
        for step in problem.path[:-1]:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                break  # the whole of it is wrong already
        else:
            node.setdefault(problem.path[-1], []).append(problem.message)
    return _aligned(root, (), error.list_lengths)


def _aligned(node: Any, path: Path, lengths: Mapping[Path, int]) -> Any:
    if not isinstance(node, dict):
        return node
    done = {key: _aligned(value, (*path, key), lengths) for key, value in node.items()}
    if done and all(isinstance(key, int) for key in done):
        size = max(lengths.get(path, 0), max(done) + 1)
        return [done.get(i, {}) for i in range(size)]
    return done
