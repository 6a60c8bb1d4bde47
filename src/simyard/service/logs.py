"""The logs of a run as bytes, the same from its folder while it executes and from its stored
outputs afterwards: windows of them, and the numbers of their lines.

A place in a log is the offset of a byte. How many lines come before it is known from an index with
one entry for each 256 KiB, which is made as far as somebody has asked.
"""

import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from typing import Protocol, TypeVar

from simyard.blobs.sealed import SealedReader
from simyard.domain.errors import NotFound, Refused, SimyardError
from simyard.domain.files import File
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.service import live
from simyard.service.live import LiveFile
from simyard.service.site import Site
from simyard.service.staging import LOG_NAME
from simyard.store import files as store

T = TypeVar("T")

DEFAULT_PATH = LOG_NAME
LONGEST_LINE = 1 << 16  # what is looked back for the beginning of a line
_BLOCK = 1 << 18  # bytes of an entry of the index
_BLOCKS_AT_ONCE = 4
_PATIENCE_SECONDS = 0.15  # in which a request waits for the number of a line
_INDEXES = 128
_WAITING = 64  # indexes that are to be made in the background
_TURN_SECONDS = 20.0  # of one of them: a sparse file may say that it has any size


# --- files ----------------------------------------------------------------------------------------


class Source(Protocol):
    """Bytes that can be read anywhere, from any thread."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes only at the end."""

    def close(self) -> None: ...


@dataclass
class StoredFile:
    """A stored output."""

    reader: SealedReader

    @property
    def size_bytes(self) -> int:
        return self.reader.size_bytes

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size_bytes)
        return b"".join(self.reader.read_range(min(offset, end), end))

    def close(self) -> None:
        self.reader.close()


@dataclass
class Log:
    """A file of a run, open. Its size is that of the moment at which it was opened."""

    source: Source
    identity: str  # the same for as long as it is the same file
    version: str  # another whenever its bytes are
    is_live: bool  # it may grow still

    @property
    def size(self) -> int:
        return self.source.size_bytes

    def now(self) -> int:
        """Its size by now."""
        return self.source.status().st_size if isinstance(self.source, LiveFile) else self.size

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()


def open_log(site: Site, run: Run, path: str) -> Log:
    """A file of a run, in its folder while it has one and among its outputs otherwise. Raises
    NotFound, and Damaged for a stored file that does not verify.
    """
    try:
        file = live.open_live(site, run, path)
    except (Refused, NotFound):  # also where its folder went away just now
        return open_stored(site, run, path)
    seen = file.status()
    identity = f"{run.token}:{seen.st_dev}:{seen.st_ino}"
    version = f"{seen.st_ino:x}-{seen.st_size:x}-{seen.st_mtime_ns:x}-live"
    return Log(file, identity, version, is_live=True)


def open_stored(site: Site, run: Run, path: str) -> Log:
    """A stored output of a run. Raises NotFound and Damaged."""
    found: File | None = site.db.read(store.output_at, run, path)
    if found is None:
        raise NotFound("This run has no such file.")
    return open_file(site, found)


def open_file(site: Site, file: File) -> Log:
    """A stored file, whatever it is of. Raises Damaged."""
    blob = file.blob
    return Log(StoredFile(site.blobs.open(blob)), blob.key, blob.sha512[:32], is_live=False)


# --- windows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A part of a log, start <= n < end."""

    start: int
    end: int
    content: bytes


def window(log: Log, offset: int, length: int, *, whole_lines: bool) -> Window:
    """The bytes from an offset on; one below 0 counts from the end.

    whole_lines: it begins with the line that the first byte is of, and ends behind the last line
    that ends in it. A line is cut where it began more than LONGEST_LINE before, and where it is
    longer than the window. The end is always behind the offset, unless that is at the end of the
    file: who goes on from there comes to it.
    """
    size = log.size
    offset = max(0, size + offset) if offset < 0 else min(offset, size)
    start, end = offset, min(offset + length, size)
    if whole_lines and start < end:
        start = line_start(log.source, offset)
    content = log.source.read(start, end - start)
    end = start + len(content)  # it may be shorter by now
    if whole_lines and end < size:
        cut = content.rfind(b"\n", offset - start) + 1
        if cut:
            content = content[:cut]
    return Window(start, start + len(content), content)


def line_start(source: Source, offset: int) -> int:
    """Where the line begins that a byte is of; the offset itself where that is too far away."""
    back = max(0, offset - LONGEST_LINE)
    found = source.read(back, offset - back).rfind(b"\n")
    return back + found + 1 if found >= 0 or back == 0 else offset


# --- numbers of lines -----------------------------------------------------------------------------


@dataclass
class _Index:
    """How many lines end before each block of a file, as far as was looked."""

    before: "array[int]" = field(default_factory=lambda: array("Q", [0]))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, source: Source, block: int, goes_on: Callable[[], bool]) -> bool:
        """Look further, up to this block. Returns whether it came so far."""
        while goes_on():
            with self.lock:
                have = len(self.before) - 1
                if have * _BLOCK > source.size_bytes:  # it was written from the start
                    del self.before[1:]
                    have = 0
                if have >= block:
                    return True
                count = min(_BLOCKS_AT_ONCE, block - have)
                data = source.read(have * _BLOCK, count * _BLOCK)
                if len(data) < count * _BLOCK:  # it is being cut short
                    return False
                for i in range(count):
                    lines = data.count(b"\n", i * _BLOCK, (i + 1) * _BLOCK)
                    self.before.append(self.before[-1] + lines)
        return len(self.before) > block


class LineBook:
    """The numbers of lines of logs. Thread-safe.

    A request waits a moment for the index to come to its place. Where that is not enough there is
    no number, and a thread goes on with the index for a while, for those who ask again.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept: OrderedDict[str, _Index] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lines")

    def line_of(self, log: Log, run: Run, path: str, offset: int) -> int | None:
        """The number of the line, from 1, that a byte is of; None where it is not known yet."""
        index = self._index(log)
        block = offset // _BLOCK
        until = time.monotonic() + _PATIENCE_SECONDS
        if not index.reach(log.source, block, lambda: time.monotonic() < until):
            self._go_on(log, run, path, block)
            return None
        start = block * _BLOCK
        return index.before[block] + log.source.read(start, offset - start).count(b"\n") + 1

    def close(self) -> None:
        """Stop what goes on. Idempotent."""
        self._is_closed = True
        self._thread.shutdown(cancel_futures=True)

    def _index(self, log: Log) -> _Index:
        return keep(self._kept, self._lock, log.identity, _Index, _INDEXES)

    def _go_on(self, log: Log, run: Run, path: str, block: int) -> None:
        with self._lock:
            is_new = log.identity not in self._waiting and len(self._waiting) < _WAITING
            if not is_new or self._is_closed:
                return
            self._waiting.add(log.identity)
            self._thread.submit(self._reach, log.identity, run, path, block)

    def _reach(self, identity: str, run: Run, path: str, block: int) -> None:
        until = time.monotonic() + _TURN_SECONDS

        def goes_on() -> bool:
            return not self._is_closed and time.monotonic() < until

        try:
            with open_log(self._site, run, path) as log:
                if log.identity == identity:
                    self._index(log).reach(log.source, block, goes_on)
        except SimyardError:
            pass  # it is gone; who asks again is told so
        finally:
            with self._lock:
                self._waiting.discard(identity)


def keep(
    kept: "OrderedDict[str, T]", lock: threading.Lock, key: str, make: Callable[[], T], most: int
) -> T:
    """What is kept under a key, made where there is nothing; of others that were used last."""
    with lock:
        found = kept.get(key)
        if found is None:
            found = kept[key] = make()
        kept.move_to_end(key)
        while len(kept) > most:
            kept.popitem(last=False)
        return found
