"""Changing text files of a work folder, also while a run writes to it, without being led out of it.

What is changed is replaced as a whole: whoever reads the file meanwhile sees the one text or the
other. Texts are kept byte for byte (ISO 8859-1 stands for whatever they are in).
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator

from simyard.domain.errors import NotFound
from simyard.domain.stops import case_of
from simyard.engines.protocol import Folder
from simyard.service import workfolder

MOST_BYTES = 1 << 20  # of a file that is looked into: decks, not meshes
_ASIDE = "edit.new"  # in the attempt's folder, which the run does not see


def find(folder: Folder, file: str) -> list[str]:
    """Paths of plain files that end like this, in the order of their names; of a folder with very
    many, of those that are looked at.
    """
    return sorted(
        found.path
        for found in workfolder.walk(folder.work, workfolder.Bound())
        if case_of(found.path, file) is not None
    )


def read(folder: Folder, path: str) -> str | None:
    """The text of a file; None where it is gone, no plain file, or larger than MOST_BYTES."""
    try:
        descriptor = workfolder.open_file(folder.work, path)
    except NotFound:
        return None
    with open(descriptor, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    return content.decode("latin-1") if len(content) <= MOST_BYTES else None


def replace(folder: Folder, path: str, content: str, *, ahead_seconds: float = 0.0) -> None:
    """Put a text in the place of that of a file, which keeps its owner and mode.

    ahead_seconds: how far its time is set before now or before what it was. OpenFOAM takes a file
    for changed only if it is more than 10 s newer than when it was last read. Raises OSError or
    NotFound.
    """
    with _parent(folder, path) as (parent, name):
        seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISREG(seen.st_mode):
            raise NotFound("This is not a plain file.")
        aside = folder.root / _ASIDE
        aside.unlink(missing_ok=True)
        aside.write_bytes(content.encode("latin-1"))
        own = aside.stat()
        if (seen.st_uid, seen.st_gid) != (own.st_uid, own.st_gid):
            os.chown(aside, seen.st_uid, seen.st_gid)
        aside.chmod(stat.S_IMODE(seen.st_mode))
        if ahead_seconds:
            at = max(time.time(), seen.st_mtime) + ahead_seconds
            os.utime(aside, (at, at))
        os.rename(aside, name, dst_dir_fd=parent)


def create(folder: Folder, path: str) -> bool:
    """An empty file. Returns False where something of that name is there. Raises OSError or
    NotFound.
    """
    with _parent(folder, path) as (parent, name):
        try:
            made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=parent)
        except FileExistsError:
            return False
        try:
            if folder.owner:
                os.fchown(made, *folder.owner)
        finally:
            os.close(made)
        return True


def exists(folder: Folder, path: str) -> bool:
    with contextlib.suppress(OSError, NotFound), _parent(folder, path) as (parent, name):
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        return True
    return False


def remove_empty(folder: Folder, path: str) -> None:
    """Remove a file that `create` made and that nobody has written to."""
    with contextlib.suppress(OSError, NotFound), _parent(folder, path) as (parent, name):
        seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISREG(seen.st_mode) and seen.st_size == 0:
            os.unlink(name, dir_fd=parent)


@contextlib.contextmanager
def _parent(folder: Folder, path: str) -> Iterator[tuple[int, str]]:
    parent, name = workfolder.open_parent(folder.work, path)
    try:
        yield parent, name
    finally:
        os.close(parent)
