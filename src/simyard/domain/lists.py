"""Parts of lists, as the store finds them."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Found(Generic[T]):
    """One page of a list, and how long the whole list is."""

    count: int
    items: list[T]
    is_capped: bool = False  # there are more than `count`: a search stopped counting
