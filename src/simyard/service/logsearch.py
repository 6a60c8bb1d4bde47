"""Searching a log, a slice of time after another."""

import time
from collections.abc import Callable, Iterator
from dataclasses import field

from simyard.domain.errors import Invalid
from simyard.domain.records import dataclass
from simyard.service.logs import Log, line_start

SECONDS = 0.4  # of a call
LONGEST_QUERY = 1000
_PIECE_BYTES = 1 << 20
_OVERLAP = 4096  # of the pieces of a line that is longer than one
_SHOWN = 400  # characters of a line
_RE2_BYTES = 8 << 20  # of memory for a pattern's automaton


@dataclass(frozen=True)
class Finder:
    # Where the next hit of a piece begins and ends, from a place on.
    find: Callable[[bytes, int], tuple[int, int] | None]
    folds: bool = False  # it is to be given small letters only


@dataclass(frozen=True)
class Match:
    """The first hit in a line."""

    offset: int  # of the line's first byte
    line: int | None  # its number; None: not known
    at: int  # the hit's first byte
    start: int  # of the hit in the text, in characters
    end: int
    text: str  # of the line, around the hit


@dataclass
class Found:
    matches: list[Match] = field(default_factory=list)
    scanned_to: int = 0
    done: bool = False


def finder_of(text: str, *, regex: bool, case: bool) -> Finder:
    """Looks for a text. Raises Invalid for what cannot be looked for."""
    if not text:
        raise Invalid.at("q", "This field may not be blank.")
    if len(text) > LONGEST_QUERY:
        raise Invalid.at("q", f"Ensure this field has no more than {LONGEST_QUERY} characters.")
    if "\n" in text or "\r" in text:
        raise Invalid.at("q", "A line is searched at a time: there is no line break in one.")
    return _by_pattern(text, case) if regex else _by_text(text, case)


def _by_text(text: str, case: bool) -> Finder:
    try:
        needle = text.encode()
    except UnicodeEncodeError:
        raise Invalid.at("q", "This is no text in UTF-8.") from None
    if not case:
        needle = needle.lower()  # of ASCII letters only: others are found as they were written

    def find(data: bytes, start: int) -> tuple[int, int] | None:
        at = data.find(needle, start)
        return None if at < 0 else (at, at + len(needle))

    return Finder(find, folds=not case)


def _by_pattern(text: str, case: bool) -> Finder:
    """By RE2, whose time grows with the log only, whatever the pattern."""
    try:
        import re2
    except ImportError:
        raise Invalid.at(
            "regex", "This server has no engine for patterns. Search for a plain text."
        ) from None
    options = re2.Options()
    options.max_mem = _RE2_BYTES
    options.never_nl = True
    options.log_errors = False
    options.case_sensitive = case
    try:
        compiled = re2.compile(f"(?m:{text})", options=options)
    except (re2.error, UnicodeEncodeError) as error:
        words = error.args[0] if isinstance(error, re2.error) and error.args else b"not UTF-8"
        told = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        raise Invalid.at("q", f"This pattern cannot be read: {told}.") from None

    def find(data: bytes, start: int) -> tuple[int, int] | None:
        found = compiled.search(data, start)
        return found.span() if found else None

    return Finder(find)


def search(
    log: Log, finder: Finder, start: int, limit: int, line: int | None, *, seconds: float = SECONDS
) -> Found:
    """The lines with a hit from a byte on, until there are enough or the time is over. `scanned_to`
    is where to go on. The last line of a log that may grow is looked at once it has ended.

    line: the number of the line that the first byte is of.
    """
    until = time.monotonic() + seconds
    found = Found(scanned_to=min(start, log.size))
    while found.scanned_to < log.size and time.monotonic() < until:
        at = found.scanned_to
        wanted = min(_PIECE_BYTES, log.size - at)
        data = log.source.read(at, wanted)
        if len(data) < wanted:  # it was cut short meanwhile
            break
        whole = data.rfind(b"\n") + 1
        is_last = at + len(data) >= log.size
        if whole and not (is_last and not log.is_live):
            data = data[:whole]
        elif is_last and log.is_live and len(data) < _PIECE_BYTES:
            found.done = True
            return found
        # Of a line that goes on behind the piece, hits at the end may be cut: the next has them.
        cut = not data.endswith(b"\n") and not is_last
        lines = 0  # that end before `counted`
        counted = 0
        folded = data.lower() if finder.folds else data
        end = len(data) - _OVERLAP if cut else len(data)
        for first, last in _hits(folded, finder, end):
            lines += data.count(b"\n", counted, first)
            counted = first
            number = None if line is None else line + lines
            found.matches.append(_match(log, at, data, first, last, number))
            if len(found.matches) >= limit:
                behind = data.find(b"\n", first) + 1
                found.scanned_to = at + (behind or len(data))
                found.done = found.scanned_to >= log.size
                return found
        if line is not None:
            line += lines + data.count(b"\n", counted, end)
        found.scanned_to = at + end
    found.done = found.scanned_to >= log.size
    return found


def _hits(data: bytes, finder: Finder, until: int) -> Iterator[tuple[int, int]]:
    """The first hit of each line that has one, and begins before a place."""
    at = 0
    while at < until:
        hit = finder.find(data, at)
        if hit is None or hit[0] >= until:
            return
        yield hit
        end = data.find(b"\n", hit[0])
        if end < 0:
            return
        at = end + 1


def _match(log: Log, at: int, data: bytes, first: int, last: int, number: int | None) -> Match:
    """The hit data[first:last] of a piece that begins at the offset `at`."""
    begin = data.rfind(b"\n", 0, first) + 1
    offset = at + begin if begin else line_start(log.source, at + first)
    end = data.find(b"\n", first)
    end = len(data) if end < 0 else end
    last = min(last, end)
    before = data[max(begin, first - 4 * _SHOWN) : first].decode("utf-8", "replace")
    hit = data[first:last][: 4 * _SHOWN].decode("utf-8", "replace")[:_SHOWN]
    after = data[last : min(end, last + 4 * _SHOWN)].decode("utf-8", "replace").rstrip("\r")
    left = max(0, (_SHOWN - len(hit)) // 2)
    left = max(left, _SHOWN - len(hit) - len(after))  # a short rest leaves room before the hit
    before = before[-left:] if left else ""
    text = (before + hit + after)[:_SHOWN]
    return Match(offset, number, at + first, len(before), len(before) + len(hit), text)
