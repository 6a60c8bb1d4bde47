"""Zip archives whose every byte is known before one is sent.

Entries are stored, not compressed. So with the name, size, checksum and time of each the whole
archive is laid out, and any part of it can be made alone. Source: PKWARE's APPNOTE 6.3.10, sections
4.3 (records), 4.4.4 (names in UTF-8), 4.5.3 (zip64); Info-ZIP's extra field "UT" for times in UTC.
"""

import re
import struct
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from simyard.domain.facts import Read
from simyard.domain.files import instant
from simyard.domain.records import dataclass
from simyard.domain.trees import is_glob, matcher

_LOCAL = struct.Struct("<4sHHH4sLLLHH")
_RECORD = struct.Struct("<4sHHHH4sLLLHHHHHLL")
_ZIP64_END = struct.Struct("<4sQHHLLQQQQ4sLQL")  # with the locator behind it
_END = struct.Struct("<4sHHHHLLH")
_TIME = struct.Struct("<HHBL")  # extra field "UT"
_SIZES = struct.Struct("<HHQQ")  # extra field 1, of an entry that is larger than 32 bits can say
_TIMES_AT, _CRC_AT = 12, 16  # in a record
_LARGEST, _MOST = 0xFFFFFFFF, 0xFFFF  # what stands elsewhere is this here
_MADE_BY = 3 << 8 | 45  # Unix
_PLAIN, _ZIP64 = 20, 45  # versions that it takes to read it
_UTF8 = 1 << 11
_MODE = 0o100644 << 16


class Span(NamedTuple):
    """A part of an archive: of what stands before an entry's content, of that, or of the end."""

    entry: int | None  # None: of the directory and what follows it
    is_content: bool
    start: int  # in the header, the content or the end
    stop: int


class Layout:
    """An archive without the contents. Add the entries, then `close`."""

    def __init__(self) -> None:
        self._end = bytearray()  # a record for each entry, and the end records
        self._records = array("Q")  # where each entry's record begins there
        self._offsets = array("Q")  # where each entry begins in the archive
        self._sizes = array("Q")
        self._directory_at = 0
        self.unknown: set[int] = set()  # entries without a checksum yet

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def size_bytes(self) -> int:
        return self._directory_at + len(self._end)

    def add(self, name: str, size_bytes: int, crc32: int | None, modified: int) -> None:
        """name: safe and not there yet, see `Names`. modified: microseconds since 1970."""
        offset, coded = self._directory_at, name.encode()
        if crc32 is None:
            self.unknown.add(len(self))
        dos_time, extra = _times(modified // 1_000_000)
        version, size, at = _PLAIN, size_bytes, offset
        length = _LOCAL.size + len(coded) + len(extra)
        if size >= _LARGEST or at >= _LARGEST:
            version = _ZIP64
            large = [n for n in (size, size, at) if n >= _LARGEST]
            extra += struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large)
            length += _SIZES.size if size >= _LARGEST else 0
            size, at = min(size, _LARGEST), min(at, _LARGEST)
        self._records.append(len(self._end))
        self._offsets.append(offset)
        self._sizes.append(size_bytes)
        self._end += _RECORD.pack(
            b"PK\x01\x02", _MADE_BY, version, _UTF8, 0, dos_time, crc32 or 0, size, size,
            len(coded), len(extra), 0, 0, 0, _MODE, at,
        )  # fmt: skip
        self._end += coded
        self._end += extra
        self._directory_at += length + size_bytes

    def close(self) -> None:
        """There are no more entries."""
        size, at, count = len(self._end), self._directory_at, len(self)
        if size >= _LARGEST or at >= _LARGEST or count >= _MOST:
            self._end += _ZIP64_END.pack(
                b"PK\x06\x06", 44, _MADE_BY, _ZIP64, 0, 0, count, count, size, at,
                b"PK\x06\x07", 0, at + size, 1,
            )  # fmt: skip
        few = min(count, _MOST)
        self._end += _END.pack(
            b"PK\x05\x06", 0, 0, few, few, min(size, _LARGEST), min(at, _LARGEST), 0
        )

    def set_crc32(self, entry: int, crc32: int) -> None:
        struct.pack_into("<L", self._end, self._records[entry] + _CRC_AT, crc32)
        self.unknown.discard(entry)

    def header(self, entry: int) -> bytes:
        """What stands before the content of an entry."""
        at, size = self._records[entry], self._sizes[entry]
        name_length: int = struct.unpack_from("<H", self._end, at + 28)[0]
        name_at = at + _RECORD.size
        extra = bytes(self._end[name_at + name_length : name_at + name_length + _TIME.size])
        if size >= _LARGEST:
            extra += _SIZES.pack(1, 16, size, size)
        head = _LOCAL.pack(
            b"PK\x03\x04",
            _ZIP64 if size >= _LARGEST else _PLAIN,
            _UTF8,
            0,
            bytes(self._end[at + _TIMES_AT : at + _TIMES_AT + 4]),
            struct.unpack_from("<L", self._end, at + _CRC_AT)[0],
            min(size, _LARGEST),
            min(size, _LARGEST),
            name_length,
            len(extra),
        )
        return head + bytes(self._end[name_at : name_at + name_length]) + extra

    @property
    def end_bytes(self) -> int:
        """How much stands behind all entries."""
        return len(self._end)

    def end(self, start: int, stop: int) -> bytes:
        return bytes(self._end[start:stop])

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """What the bytes start <= n < stop of the archive are, in order."""
        entry = max(0, bisect_right(self._offsets, start) - 1)
        while entry < len(self) and self._offsets[entry] < stop:
            at, size = self._offsets[entry], self._sizes[entry]
            content_at = self._following(entry) - size
            for is_content, begin, end in (
                (False, at, content_at),
                (True, content_at, content_at + size),
            ):
                first, last = max(start, begin), min(stop, end)
                if first < last:
                    yield Span(entry, is_content, first - begin, last - begin)
            entry += 1
        if stop > self._directory_at:
            at = self._directory_at
            yield Span(None, False, max(start, at) - at, stop - at)

    def _following(self, entry: int) -> int:
        """Where what follows an entry begins."""
        return self._offsets[entry + 1] if entry + 1 < len(self) else self._directory_at


@lru_cache(4096)
def _times(seconds: int) -> tuple[bytes, bytes]:
    """A time, in seconds since 1970, as MS-DOS has it, without a zone and in steps of two seconds:
    UTC here. And exactly, as the extra field "UT".
    """
    at = instant(seconds * 1_000_000)
    if at.year < 1980:
        at = at.replace(year=1980)
    elif at.year > 2107:
        at = at.replace(year=2107)
    dos_time = struct.pack(
        "<HH",
        at.hour << 11 | at.minute << 5 | at.second // 2,
        (at.year - 1980) << 9 | at.month << 5 | at.day,
    )
    return dos_time, _TIME.pack(0x5455, 5, 1, min(max(seconds, 0), _LARGEST))


# --- names ----------------------------------------------------------------------------------------

# Signs that turn the direction of what follows: a name would look like another.
_TURNING = {
    chr(c) for c in (0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
_DRIVE = re.compile(r"^[A-Za-z]:")
_HARMLESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class Names:
    """Names of entries: whoever unpacks them gets files below one folder, and none twice."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = {""}
        self._number = 2  # of the last such folder: those before are passed over from then on

    def of(self, path: str) -> str:
        """The name of the next entry: its path, but for what would do harm. One that is in the way
        of an earlier one goes into a folder of its own.
        """
        safe = name = path if _HARMLESS.fullmatch(path) else _safe(path)
        if not self._is_free(name):
            while not self._is_free(name := f"_{self._number}/{safe}"):
                self._number += 1
        self._files.add(name)
        folder = _folder_of(name)
        while folder not in self._folders:
            self._folders.add(folder)
            folder = _folder_of(folder)
        return name

    def _is_free(self, name: str) -> bool:
        if name in self._files or name in self._folders:
            return False
        folder = _folder_of(name)
        while folder not in self._folders:
            if folder in self._files:
                return False
            folder = _folder_of(folder)
        return True


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _safe(path: str) -> str:
    parts = ["_" if part in ("", ".", "..") else part for part in path.split("/")]
    text = _DRIVE.sub(lambda drive: f"{drive[0][0]}_", "/".join(parts))
    return "".join("_" if _is_harmful(c) else c for c in text)


def _is_harmful(char: str) -> bool:
    return char == "\\" or char in _TURNING or unicodedata.category(char) in _NO_TEXT


# --- what goes in ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """Which paths are chosen: those that a rule of `include` is for (all, where it has none) and
    none of `exclude`. A rule is a file, a folder, or a glob (see `matcher`); with "/" at its end it
    is a folder, whatever it looks like.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def chooser(self) -> "Chooser":
        return Chooser(self)


class Chooser:
    def __init__(self, rules: Rules) -> None:
        self._include, self._exclude = _Side(rules.include), _Side(rules.exclude)
        self._takes_all = not rules.include

    def __call__(self, path: str) -> bool:
        return (self._takes_all or self._include.has(path)) and not self._exclude.has(path)


class _Side:
    def __init__(self, rules: Sequence[str]) -> None:
        self._paths = {rule.lstrip("/") for rule in rules}
        self._folders = tuple({f"{rule.strip('/')}/" for rule in rules})
        self._globs = [matcher(r) for r in rules if is_glob(r) and not r.endswith("/")]

    def has(self, path: str) -> bool:
        return (
            path in self._paths
            or path.startswith(self._folders)
            or any(matches(path) for matches in self._globs)
        )


# --- what is in one -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """An entry of an archive, as the archive says."""

    name: str
    size_bytes: int
    packed_bytes: int
    is_folder: bool


@dataclass(frozen=True)
class Listing:
    entries: Sequence[Packed]  # the first ones
    count: int  # of all


_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_DIRECTORY_BYTES = 1 << 20


def listing_of(read: Read, size: int, *, most: int) -> Listing | None:
    """The first entries of a zip, from its directory. None where it has none."""
    tail_at = max(0, size - (1 << 16) - _END.size)
    tail = read(tail_at, size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        return None
    *_, count, length, _, _ = _END.unpack_from(tail, at)
    end = tail_at + at  # of the directory
    if at >= _LOCATOR.size and tail[at - _LOCATOR.size :][:4] == b"PK\x06\x07":
        place = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)[2]
        data = read(place, _END64.size) if place < size else b""
        if len(data) == _END64.size and data.startswith(b"PK\x06\x06"):
            *_, count, length, _ = _END64.unpack(data)
            end = place
    start = end - length  # where it says to be is wrong where something stands before the zip
    if start < 0:
        return None
    data = read(start, min(length, _DIRECTORY_BYTES))
    return Listing(list(islice(_packed(data), most)), count)


def _packed(data: bytes) -> Iterator[Packed]:
    at = 0
    while data[at : at + 4] == b"PK\x01\x02" and at + _RECORD.size <= len(data):
        (_, _, _, flags, _, _, _, packed, size, name_length, extra_length, more, *_) = (
            _RECORD.unpack_from(data, at)
        )
        name_at = at + _RECORD.size
        name = data[name_at : name_at + name_length]
        extra = data[name_at + name_length : name_at + name_length + extra_length]
        if _LARGEST in (size, packed):
            size, packed = _large(extra, size, packed)
        text = name.decode("utf-8" if flags & 1 << 11 else "cp437", "replace")
        yield Packed(text[:1000], size, packed, text.endswith("/"))
        at = name_at + name_length + extra_length + more


def _large(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    """Sizes that do not fit into 32 bits, from the extra field 1."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            numbers = (n for (n,) in struct.iter_unpack("<Q", field[: len(field) & ~7]))
            if size == _LARGEST:
                size = next(numbers, size)
            if packed == _LARGEST:
                packed = next(numbers, packed)
            break
        at += 4 + length
    return size, packed
