"""The files of a run as a tree: one level at a time, each folder with what is below it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from heapq import nlargest, nsmallest
from typing import NamedTuple, TypeVar

from simyard.domain.errors import NotFound

PATTERN_LENGTH = 255

_WILD = re.compile(r"[*?\[]")


class Entry(NamedTuple):
    """A file. A run may have 100,000: there is no more of each than lists show."""

    path: str  # below the work folder, "/" between components
    size_bytes: int
    modified: int  # microseconds since 1970
    code: str | None = None  # None: it is not stored yet


class Sums(NamedTuple):
    """All files below a folder, however deep."""

    files: int
    size_bytes: int
    modified: int  # of the newest


class Sort(StrEnum):
    NAME = "name"  # without regard to case
    SIZE = "size"
    MODIFIED = "mtime"


class Place(NamedTuple):
    """The last that a page shows. Folders come before files."""

    is_file: bool
    value: int  # what it is sorted by; 0 where that is the name
    name: str


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The part of a tree that is asked for."""

    prefix: str = ""  # "" or a folder with "/" at its end
    pattern: str = ""  # see `matcher`; then all files below the prefix that match, and no folders
    sort: Sort = Sort.NAME
    descending: bool = False
    after: Place | None = None  # begin behind it, also where it is gone by now
    limit: int = 1000


@dataclass(frozen=True, kw_only=True)
class Page:
    folders: Sequence[tuple[str, Sums]]  # names and what is below
    files: Sequence[tuple[str, Entry]]  # names, of matching files paths; both below the prefix
    last: Place | None  # None: no page follows
    sums: Sums  # of all that the pages have


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path matches. Text: it has it, without regard to case. With `*`, `?` or `[`: a
    glob for the end of the path from some folder on, `*` for "/" too; one that begins with "/" is
    for the whole path. Takes time in proportion to both, whatever they are.
    """
    if not is_glob(pattern):
        text = pattern.casefold()
        return lambda path: text in path.casefold()
    found = re.compile(translate(pattern if pattern.startswith("/") else f"*/{pattern}")).match
    return lambda path: found(f"/{path}") is not None


def is_glob(pattern: str) -> bool:
    return _WILD.search(pattern) is not None


class Tree:
    """All files of a run at some moment."""

    def __init__(self, entries: Iterable[Entry], *, is_partial: bool = False) -> None:
        self.is_partial = is_partial
        self._files: dict[str, list[Entry]] = {}  # by folder, written as prefixes are
        for entry in entries:
            self._files.setdefault(_above(entry.path), []).append(entry)
        self.count = sum(map(len, self._files.values()))
        folders = {""}
        for folder in self._files:
            while folder not in folders:
                folders.add(folder)
                folder = _above(folder[:-1])  # noqa: PLW2901
        self._inside: dict[str, list[str]] = {folder: [] for folder in folders}
        self._sums = {folder: _sums(self._files.get(folder, ())) for folder in folders}
        for folder in sorted(folders - {""}, key=len, reverse=True):  # the innermost first
            above = _above(folder[:-1])
            self._inside[above].append(folder)
            self._sums[above] = _joined(self._sums[above], self._sums[folder])

    def page(self, wanted: Wanted) -> Page:
        """Raises NotFound where nothing is below the prefix."""
        prefix = wanted.prefix
        if prefix not in self._sums:
            raise NotFound("There is no such folder.")
        cut = len(prefix)
        folders: list[tuple[str, Sums]] = []
        if wanted.pattern:
            entries, sums = self._matching(wanted)
        else:
            entries, sums = self._files.get(prefix, []), self._sums[prefix]
            folders = [(inner[cut:-1], self._sums[inner]) for inner in self._inside[prefix]]
        files = [(entry.path[cut:], entry) for entry in entries]
        after = wanted.after
        if after is not None and after.is_file:
            shown_folders = []
        else:
            shown_folders = _part(folders, wanted, after, wanted.limit + 1)
            after = None
        shown_files = _part(files, wanted, after, wanted.limit + 1 - len(shown_folders))
        last = None
        if len(shown_folders) + len(shown_files) > wanted.limit:
            (shown_files or shown_folders).pop()
            name, item = (shown_files or shown_folders)[-1]
            last = Place(bool(shown_files), _value(wanted.sort, item), name)
        return Page(folders=shown_folders, files=shown_files, last=last, sums=sums)

    def _matching(self, wanted: Wanted) -> tuple[list[Entry], Sums]:
        matches, cut = matcher(wanted.pattern), len(wanted.prefix)
        entries = [
            entry
            for folder, files in self._files.items()
            if folder.startswith(wanted.prefix)
            for entry in files
            if matches(entry.path[cut:])
        ]
        return entries, _sums(entries)


_Item = TypeVar("_Item", Sums, Entry)


def _part(
    items: Sequence[tuple[str, _Item]], wanted: Wanted, after: Place | None, most: int
) -> list[tuple[str, _Item]]:
    def key(item: tuple[str, _Item]) -> tuple[int, str, str]:
        return _value(wanted.sort, item[1]), item[0].casefold(), item[0]

    if after is not None:
        bound = (after.value, after.name.casefold(), after.name)
        items = [
            item
            for item in items
            if (key(item) < bound if wanted.descending else key(item) > bound)
        ]
    return (nlargest if wanted.descending else nsmallest)(most, items, key=key)


def _value(sort: Sort, item: Sums | Entry) -> int:
    if sort is Sort.NAME:
        return 0
    return item.size_bytes if sort is Sort.SIZE else item.modified


def _above(path: str) -> str:
    return path[: path.rfind("/") + 1]


def _sums(entries: Sequence[Entry]) -> Sums:
    newest = max((entry.modified for entry in entries), default=0)
    return Sums(len(entries), sum(entry.size_bytes for entry in entries), newest)


def _joined(one: Sums, other: Sums) -> Sums:
    return Sums(
        one.files + other.files,
        one.size_bytes + other.size_bytes,
        max(one.modified, other.modified),
    )
