"""Parts of lists, as the store finds them."""

from typing import Generic, TypeVar

from simyard.domain.records import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """One page of a list, and how long the whole list is."""

    count: int
    items: list[T]
    is_capped: bool = False  # there are more than `count`: a search stopped counting
