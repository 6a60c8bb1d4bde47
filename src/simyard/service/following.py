"""Following a file of a run while it grows, and after it was stored, for any number of readers.

Readers have nothing but their place in it. What may be read ends with a line, or with what stands
of one for a second; never within a character, unless more of it will not come.
"""

import threading
import time
from dataclasses import field, replace

from simyard.domain.errors import Damaged, NotFound
from simyard.domain.lifecycle import LOCAL
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.service.logs import Log, open_log, open_stored
from simyard.service.site import Site
from simyard.store import runs as store

PIECE_BYTES = 1 << 16
FAR_BYTES = 1 << 20  # who is further behind goes on near the end
_HELD_SECONDS = 1.0  # that the beginning of a line waits for its end
_AGAIN_SECONDS = 1.0  # between two looks at which file has the path
_RUN_SECONDS = 5.0  # between two looks at the run, if nobody tells of a change


@dataclass(frozen=True)
class Piece:
    """What a reader gets next."""

    start: int
    end: int
    text: str | None  # None: this much is left out


@dataclass(frozen=True)
class Seen:
    """What there is of the file."""

    ready: int = 0  # bytes that may be read
    size: int = field(default=0, compare=False)  # that there are
    is_there: bool = False  # the file was found
    version: int = 0  # another when it was cut short
    cut_to: int = 0  # by the last cut
    run: Run | None = None  # None: it was deleted
    is_final: bool = False  # nothing will come any more


class Follower:
    """One file of one run. `look` is for one thread at a time, `piece` for any."""

    def __init__(self, site: Site, run: Run, path: str) -> None:
        self._site, self._path = site, path
        self._log: Log | None = None
        self._lock = threading.Lock()  # nobody reads what is being closed
        self._size = 0
        self._held_since: float | None = None
        self._is_closed = False
        self._opened_at = self._asked_at = float("-inf")
        self.seen = self._state = Seen(run=run)

    @property
    def descriptor(self) -> int | None:
        """Of the file in the run's folder, where it can be watched: not on a file system that
        other machines write to.
        """
        log, run = self._log, self._state.run
        if log is None or not log.is_live or run is None or run.engine != LOCAL:
            return None
        return getattr(log.source, "descriptor", None)

    def look(self, *, again: bool) -> bool:
        """Whether something changed. again: something may have happened to the run."""
        with self._lock:
            if self._is_closed:
                return False
            before = self.seen
            now = time.monotonic()
            if again or now - self._asked_at >= _RUN_SECONDS:
                self._asked_at = now
                run = None if before.run is None else present(self._site, before.run)
                over = run is None or run.completed_at is not None
                self._state = replace(before, run=run, is_final=over)
                self._opened_at = float("-inf")
            if now - self._opened_at >= _AGAIN_SECONDS:
                self._opened_at = now
                self._open()
            self._measure(now)
            self.seen = self._state  # at once: nobody may see half of what changed
            return self.seen != before

    def piece(self, start: int) -> Piece | None:
        """What comes from a byte on; None where nothing does yet."""
        with self._lock:
            ready, log = self.seen.ready, self._log
            if start >= ready or log is None:
                return None
            if ready - start > FAR_BYTES:
                data = log.source.read(ready - PIECE_BYTES, PIECE_BYTES)
                return Piece(start, ready - PIECE_BYTES + data.find(b"\n") + 1, None)
            data = log.source.read(start, min(PIECE_BYTES, ready - start))
        if start + len(data) < ready:
            cut = _end_of_lines(data) or whole_characters(data) or len(data)
            data = data[:cut]
        return Piece(start, start + len(data), data.decode("utf-8", "replace")) if data else None

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._log is not None:
                self._log.source.close()
                self._log = None

    def _open(self) -> None:
        """The file that has the path now. One that lost it is read on until another has it."""
        run = self._state.run
        if run is None:
            return
        before = self._log
        try:
            if self._state.is_final:
                if before is not None and not before.is_live:
                    return
                log = open_stored(self._site, run, self._path)
            else:
                log = open_log(self._site, run, self._path)
        except (NotFound, Damaged):  # what was seen of it is all there is
            return
        if before is not None and before.identity == log.identity:
            log.source.close()
            return
        self._log = log
        if before is not None:
            before.source.close()
            if log.is_live and before.is_live:
                self._cut(0)  # another file

    def _cut(self, size: int) -> None:
        self._size, self._held_since = size, None
        ready, version = min(self._state.ready, size), self._state.version + 1
        self._state = replace(self._state, ready=ready, version=version, cut_to=size)

    def _measure(self, now: float) -> None:
        log = self._log
        if log is None:
            return
        size = log.now()
        if size < self._size:
            self._cut(size)
        ready = size if self._state.is_final else self._ready(log, size, now)
        self._size = size
        self._state = replace(self._state, ready=ready, size=size, is_there=True)

    def _ready(self, log: Log, size: int, now: float) -> int:
        """How much of a file of this size, which may grow, may be read."""
        ready = self._state.ready
        if size > self._size:
            start = max(self._size, size - PIECE_BYTES)
            data = log.source.read(start, size - start)
            lines = _end_of_lines(data)
            if lines:
                ready, self._held_since = start + lines, None
            elif start > self._size:  # a line without an end
                ready, self._held_since = start + whole_characters(data), None
        if ready >= size:
            return ready
        if self._held_since is None:
            self._held_since = now
        elif now - self._held_since >= _HELD_SECONDS:
            start = max(ready, size - PIECE_BYTES)
            ready = start + whole_characters(log.source.read(start, size - start))
            self._held_since = None
        return ready


def present(site: Site, run: Run) -> Run | None:
    """A run as it is now; None where it was deleted."""
    return site.db.read(store.by_id, run.id)


def _end_of_lines(data: bytes) -> int:
    """Behind the last line that ends, also one that is written over as progress is."""
    return max(data.rfind(b"\n"), data.rfind(b"\r")) + 1


def whole_characters(data: bytes) -> int:
    """How many bytes there are without the beginning of a UTF-8 character at the end."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            needs = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < needs and byte < 0xF8 else len(data)
        if byte < 0x80:
            break
    return len(data)
