"""Replies, times and absolute addresses as the API has them."""

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from simyard.api.origin import origin

STATIC = Path(__file__).parent / "static"  # served below /static/
_encode = msgspec.json.Encoder().encode


def reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON reply."""
    return Response(_encode(content), status, headers, "application/json")


def too_many(detail: str, wait_seconds: float) -> Response:
    """The reply to what is one too many."""
    return reply({"detail": detail}, 429, {"Retry-After": str(round(wait_seconds))})


def empty(status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(b"", status, headers)


@lru_cache(4096)  # what is polled has the same instants again and again
def instant_text(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with microseconds and Z (api-v2 reference, section 1.6)."""
    return None if at is None else f"{at.isoformat(timespec='microseconds')[:26]}Z"


def base_url(request: Request) -> str:
    """The site's public address, or else the one that the client used; without a slash at the
    end.
    """
    site = request.app.state.site
    return str(site.public_url or origin(request.scope, site.trusted_proxies))
