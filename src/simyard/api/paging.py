"""Pages of lists (api-v2 reference, section 1.4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request

from simyard.api.replies import base_url
from simyard.domain.errors import NotFound

T = TypeVar("T")

DEFAULT_SIZE = 10
LARGEST_SIZE = 2000


@dataclass(frozen=True)
class Page:
    """The page that a request asks for."""

    number: int  # from 1; 0 stands for the last
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


def asked(request: Request, default_size: int = DEFAULT_SIZE) -> Page:
    """`page` and `page_size` of the query. A bad size is the default; a bad page is NotFound."""
    query = request.query_params
    try:
        size = int(query.get("page_size", default_size))
    except ValueError:
        size = default_size
    if size < 1:
        size = default_size
    text = query.get("page", "1")
    if text == "last":
        return Page(0, min(size, LARGEST_SIZE))
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0):
        raise NotFound("Invalid page.")
    return Page(int(text), min(size, LARGEST_SIZE))


def resolve(page: Page, count: int) -> Page:
    """The page with a real number. Raises NotFound where the list does not go that far."""
    last = max(1, -(-count // page.size))
    if page.number == 0:
        return Page(last, page.size)
    if page.number > last:
        raise NotFound("Invalid page.")
    return page


def fetch(page: Page, find: Callable[[int, int], tuple[int, list[T]]]) -> tuple[Page, int, list[T]]:
    """The page as `find(offset, size)` gives it, with its real number and the count."""
    if page.number == 0:
        page = resolve(page, find(0, 1)[0])
    count, found = find(page.offset, page.size)
    return resolve(page, count), count, found


def envelope(request: Request, page: Page, count: int, results: list[Any]) -> dict[str, Any]:
    """A page as the API has it; `next` and `previous` are absolute and can be fetched as they
    stand.
    """
    more = page.offset + page.size < count
    return {
        "count": count,
        "next": _link(request, page.number + 1) if more else None,
        "previous": _link(request, page.number - 1) if page.number > 1 else None,
        "results": results,
    }


def _link(request: Request, number: int) -> str:
    query = parse_qsl(request.url.query, keep_blank_values=True)
    kept = [(key, value) for key, value in query if key != "page"]
    if number > 1:
        kept.append(("page", str(number)))
    text = urlencode(kept)
    path = request.scope["sent_path"]
    return f"{base_url(request)}{path}{'?' + text if text else ''}"
