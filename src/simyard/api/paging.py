"""Pages of lists (api-v2 reference, section 1.4)."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from starlette.requests import Request

from simyard.api.replies import base_url
from simyard.api.routes import is_v3
from simyard.domain.errors import NotFound
from simyard.domain.lists import Found
from simyard.domain.records import dataclass

T = TypeVar("T")

DEFAULT_SIZE = 10
V3_DEFAULT_SIZE = 25
LARGEST_SIZE = 2000


@dataclass(frozen=True)
class Page:
    """The page that a request asks for."""

    number: int  # from 1; 0 stands for the last
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


def asked(request: Request) -> Page:
    """`page` and `page_size` of the query. A bad size is the default; a bad page is NotFound."""
    default_size = V3_DEFAULT_SIZE if is_v3(request) else DEFAULT_SIZE
    if not request.scope["query_string"]:
        return Page(1, default_size)
    query = request.query_params
    try:
        size = int(query.get("page_size", query.get("limit", default_size)))
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


def fetch(page: Page, find: Callable[[int, int], Found[T]]) -> tuple[Page, Found[T]]:
    """The page as `find(offset, size)` gives it, with its real number."""
    if page.number == 0:
        page = resolve(page, find(0, 1).count)
    found = find(page.offset, page.size)
    return resolve(page, found.count), found


def cut(page: Page, every: Sequence[T]) -> tuple[Page, Found[T]]:
    """The page of a list that is short enough to be had at once."""
    return fetch(
        page,
        lambda offset, size: Found(len(every), list(every[offset : offset + size])),
    )


def envelope(request: Request, page: Page, found: Found[T], encode: Callable[[T], Any]) -> Any:
    """A page as the API has it; `next` and `previous` are absolute and can be fetched as they
    stand. Where a search found more than it counts, it says so.
    """
    more = page.offset + page.size < found.count
    shown = {
        "count": found.count,
        "next": _link(request, page.number + 1) if more else None,
        "previous": _link(request, page.number - 1) if page.number > 1 else None,
        "results": [encode(item) for item in found.items],
    }
    return {**shown, "countIsCapped": True} if found.is_capped else shown


def _link(request: Request, number: int) -> str:
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "page"]
    if number > 1:
        kept.append(("page", str(number)))
    text = urlencode(kept)
    path = quote(request.scope["sent_path"], safe="/:@!$&'()*+,;=~")
    return f"{base_url(request)}{path}{'?' + text if text else ''}"
