"""The files of a run as a tree: one level at a time, each folder with what is below it."""

import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from fnmatch import translate
from typing import NamedTuple, TypeVar

from simyard.domain.errors import NotFound
from simyard.domain.records import dataclass

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


_NOTHING = Sums(0, 0, 0)
# Bytes in memory beside those of the path, with what a page in order takes.
_FILE_BYTES, _FOLDER_BYTES = 350, 250


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
        self._files = _by_folder(entries)
        self._begin({folder: _sums(files) for folder, files in self._files.items()})
        self.weight_bytes += sum(map(_weight, self._files.values()))

    def _begin(self, own: Mapping[str, Sums]) -> None:
        """own: of the files in each folder that has any, without those of the folders in it."""
        self._own = own
        self._folders = sorted(own)
        self._order: _Order | None = None
        # About what is kept in memory. Folders without files of their own are not: a run may make
        # a few files lie below any number of them.
        self.weight_bytes = sum(_FOLDER_BYTES + sys.getsizeof(folder) for folder in own)

    def has(self, wanted: Wanted) -> bool:
        """Whether its page is made of what is here already."""
        return True

    def _in_folder(self, folder: str) -> Sequence[Entry]:
        return self._files.get(folder, ())

    def _every_folder(self) -> Mapping[str, Sequence[Entry]]:
        return self._files

    def page(self, wanted: Wanted) -> Page:
        """Raises NotFound where nothing is below the prefix."""
        if wanted.prefix and not self._below(wanted.prefix):
            raise NotFound("There is no such folder.")
        order = self._ordered(wanted)
        after = wanted.after
        folders: list[tuple[str, Sums]] = []
        if after is None or not after.is_file:
            folders = _part(order.folders, wanted, after, wanted.limit + 1)
            after = None
        files = _part(order.files, wanted, after, wanted.limit + 1 - len(folders))
        last = None
        if len(folders) + len(files) > wanted.limit:
            (files or folders).pop()
            name, item = (files or folders)[-1]
            last = Place(bool(files), _value(wanted.sort, item), name)
        return Page(folders=folders, files=files, last=last, sums=order.sums)

    def _below(self, prefix: str) -> Sequence[str]:
        """The folders with files that are this one or below it."""
        if not prefix:
            return self._folders
        start, end = (bisect_left(self._folders, each) for each in (prefix, behind(prefix)))
        return self._folders[start:end]

    def _inside(self, prefix: str) -> tuple[list[tuple[str, Sums]], Sums]:
        """The names of the folders in one with the sums of each, and those of all of it."""
        cut = len(prefix)
        inside: dict[str, Sums] = {}
        sums = _NOTHING
        for folder in self._below(prefix):
            own = self._own[folder]
            sums = _joined(sums, own)
            if folder != prefix:
                name = folder[cut : folder.index("/", cut)]
                inside[name] = _joined(inside.get(name, _NOTHING), own)
        return list(inside.items()), sums

    def _ordered(self, wanted: Wanted) -> "_Order":
        """All that the pages have. That of the last page is kept for the next one."""
        what = wanted.prefix, wanted.pattern, wanted.sort
        order = self._order
        if order is None or order.of != what:
            cut = len(wanted.prefix)
            folders: list[tuple[str, Sums]] = []
            if wanted.pattern:
                entries = self._matching(wanted)
                sums = _sums(entries)
            else:
                entries = self._in_folder(wanted.prefix)
                folders, sums = self._inside(wanted.prefix)
            files = [(entry.path[cut:], entry) for entry in entries]
            key = _key_of(wanted.sort)
            order = _Order(what, sorted(folders, key=key), sorted(files, key=key), sums)
            self._order = order
        return order

    def _matching(self, wanted: Wanted) -> Sequence[Entry]:
        matches, cut = matcher(wanted.pattern), len(wanted.prefix)
        return [
            entry
            for folder, files in self._every_folder().items()
            if folder.startswith(wanted.prefix)
            for entry in files
            if matches(entry.path[cut:])
        ]


LookUp = Callable[[str | None], Iterable[Entry]]


class StoredTree(Tree):
    """The same where the files of a folder are looked up when somebody asks for them first, and all
    of them when a pattern is. Not thread-safe unless it `has` what is wanted.
    """

    def __init__(self, own: Mapping[str, Sums], look_up: LookUp) -> None:
        """own: as of `_begin`. look_up: the files in a folder; of None, of all."""
        super().__init__(())
        self._look_up = look_up
        self._has_all = False
        self._begin(own)

    def has(self, wanted: Wanted) -> bool:
        if wanted.pattern:
            return self._has_all
        return wanted.prefix not in self._own or wanted.prefix in self._files

    def _in_folder(self, folder: str) -> Sequence[Entry]:
        if folder not in self._own:
            return ()
        found = self._files.get(folder)
        if found is None:
            found = self._files[folder] = list(self._look_up(folder))
            self.weight_bytes += _weight(found)
        return found

    def _every_folder(self) -> Mapping[str, Sequence[Entry]]:
        if not self._has_all:
            before = sum(map(_weight, self._files.values()))
            self._files, self._has_all = _by_folder(self._look_up(None)), True
            self.weight_bytes += sum(map(_weight, self._files.values())) - before
        return self._files


class _Order(NamedTuple):
    of: tuple[str, str, Sort]  # prefix, pattern, sort
    folders: list[tuple[str, Sums]]
    files: list[tuple[str, Entry]]
    sums: Sums


_Item = TypeVar("_Item", Sums, Entry)
_Key = Callable[[tuple[str, Sums | Entry]], tuple[int, str, str]]


def _key_of(sort: Sort) -> _Key:
    return lambda item: (_value(sort, item[1]), item[0].casefold(), item[0])


def _part(
    ordered: list[tuple[str, _Item]], wanted: Wanted, after: Place | None, most: int
) -> list[tuple[str, _Item]]:
    key = _key_of(wanted.sort)
    place = after and (after.value, after.name.casefold(), after.name)
    if wanted.descending:
        end = bisect_left(ordered, place, key=key) if place else len(ordered)
        return ordered[max(0, end - most) : end][::-1]
    start = bisect_right(ordered, place, key=key) if place else 0
    return ordered[start : start + most]


def _value(sort: Sort, item: Sums | Entry) -> int:
    if sort is Sort.NAME:
        return 0
    return item.size_bytes if sort is Sort.SIZE else item.modified


def behind(prefix: str) -> str:
    """The first path that comes after all below a folder, which has "/" at its end."""
    return f"{prefix[:-1]}0"  # "0" comes after "/"


def _above(path: str) -> str:
    return path[: path.rfind("/") + 1]


def _by_folder(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """By folder, written as prefixes are."""
    files: dict[str, list[Entry]] = {}
    for entry in entries:
        files.setdefault(_above(entry.path), []).append(entry)
    return files


def _weight(entries: Sequence[Entry]) -> int:
    """Bytes that are kept of them."""
    return sum(_FILE_BYTES + 2 * sys.getsizeof(entry.path) for entry in entries)


def _sums(entries: Sequence[Entry]) -> Sums:
    newest = max((entry.modified for entry in entries), default=0)
    return Sums(len(entries), sum(entry.size_bytes for entry in entries), newest)


def _joined(one: Sums, other: Sums) -> Sums:
    return Sums(
        one.files + other.files,
        one.size_bytes + other.size_bytes,
        max(one.modified, other.modified),
    )
