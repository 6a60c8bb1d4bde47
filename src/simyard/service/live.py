"""Looking into a run that executes: its files, and the end of any of them."""

import os

from simyard.domain.errors import Refused
from simyard.domain.lifecycle import State
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.engines.protocol import Folder
from simyard.service import workfolder
from simyard.service.site import Site

MOST_LINES = 10_000
_STEP_BYTES = 1 << 16
_MOST_BYTES = 4 << 20
_MOST_ENTRIES = 100_000  # files, folders and links that are looked at

# From the moment at which the inputs lie there to the moment at which the outputs are stored.
_LIVE = (State.SUBMITTING, State.WAITING, State.RUNNING, State.STOPPING, State.COLLECTING)


def folder(site: Site, run: Run) -> Folder:
    """The live folder of a run. Raises Refused where it has none (any more)."""
    if run.state in _LIVE and run.token is not None:
        found = site.engine_of(run).folder(run.token)
        if found.work.is_dir():
            return found
    raise Refused("This run is not executing: its files are listed in files/.")


def directory(site: Site, run: Run) -> list[str]:
    """The files in the work folder now, ordered without regard to case."""
    bound = workfolder.Bound(_MOST_ENTRIES)
    found = [workfolder.shown(each.path) for each in workfolder.walk(folder(site, run).work, bound)]
    return sorted(found, key=lambda path: (path.casefold(), path))


@dataclass(frozen=True)
class Tail:
    file_type: str  # "/home/job/work/a.log: ASCII text", like file(1) says it
    lines: list[str]  # without their newlines


def tail(site: Site, run: Run, path: str, lines: int) -> Tail:
    """The last lines of a file. Raises Refused, or NotFound where there is no such plain file."""
    where = folder(site, run)
    file = workfolder.open_file(where.work, path)
    try:
        content = _end_of(file, min(lines, MOST_LINES))
        start = os.pread(file, _STEP_BYTES, 0)
    finally:
        os.close(file)
    kind = file_type(start)
    text = content.decode("utf-8", "replace")
    shown = text.removesuffix("\n").split("\n") if text else []
    kept = shown[-lines:] if lines > 0 else []
    return Tail(f"{where.inside_home}/work/{path}: {kind}", [line.rstrip("\r") for line in kept])


def _end_of(file: int, lines: int) -> bytes:
    """Bytes from the end on that hold so many lines, within reason."""
    at = os.fstat(file).st_size
    parts: list[bytes] = []
    newlines, have = 0, 0
    while at > 0 and newlines <= lines and have < _MOST_BYTES:
        step = min(_STEP_BYTES, at)
        at -= step
        part = os.pread(file, step, at)
        newlines += part.count(b"\n")
        have += len(part)
        parts.append(part)
    return b"".join(reversed(parts))


def file_type(start: bytes) -> str:
    """What a file is by its first bytes, in the words of file(1)."""
    if not start:
        return "empty"
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if b"\0" in start:
        return "data"
    try:
        start.decode("ascii")
    except UnicodeDecodeError:
        pass
    else:
        return "ASCII text"
    try:
        # The cut may have gone through a character.
        start[: len(start) - 3].decode("utf-8")
    except UnicodeDecodeError:
        return "data"
    return "Unicode text, UTF-8 text"


_MAGIC = (
    (b"\x1f\x8b", "gzip compressed data"),
    (b"PK\x03\x04", "Zip archive data"),
    (b"\x7fELF", "ELF executable"),
    (b"\x89PNG", "PNG image data"),
    (b"%PDF", "PDF document"),
    (b"#!", "script, ASCII text executable"),
)


@dataclass
class LiveFile:
    """A file of a run that may still grow, as long as it was when it was opened."""

    descriptor: int
    size_bytes: int

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, offset)

    def status(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)


def open_live(site: Site, run: Run, path: str) -> LiveFile:
    """A file of an executing run. Raises Refused or NotFound."""
    descriptor = workfolder.open_file(folder(site, run).work, path)
    return LiveFile(descriptor, os.fstat(descriptor).st_size)
