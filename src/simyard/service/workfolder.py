"""Looking into a folder that a run writes to, without being led out of it.

A run may put links, pipes and whatever else into its work folder, also while we look. So every
component of a path is opened by itself, links are not followed, and only plain files are read.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from simyard.domain.errors import NotFound


@dataclass(frozen=True)
class Found:
    """A plain file below a work folder."""

    path: str  # relative, "/" between components; may hold surrogates for bytes that are no UTF-8
    size: int
    ctime_ns: int
    inode: int


def open_file(root: Path, relative: str) -> int:
    """A descriptor for reading a plain file below root. Raises NotFound for anything else:
    absent, a folder, a link anywhere in the path, a path that leads outside.
    """
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or "\0" in relative:
        raise NotFound("There is no such file in the run's work folder.")
    try:
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise NotFound("The run has no work folder at present.") from None
    try:
        for part in parts[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(part, flags, dir_fd=at)
            os.close(at)
            at = inner
        # Without O_NONBLOCK a pipe without a writer would keep us waiting.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(parts[-1], flags, dir_fd=at)
    except OSError:
        raise NotFound("There is no such file in the run's work folder.") from None
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotFound("This is not a plain file.")
    return file


def walk(root: Path) -> Iterator[Found]:
    """Every plain file below root, in no particular order. What vanishes meanwhile is left out."""
    for folder, _folders, names, descriptor in os.fwalk(root, follow_symlinks=False):
        prefix = os.path.relpath(folder, root)
        for name in names:
            try:
                seen = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(seen.st_mode):
                path = name if prefix == "." else f"{prefix}/{name}"
                yield Found(path, seen.st_size, seen.st_ctime_ns, seen.st_ino)


def links(root: Path) -> Iterator[str]:
    """Every symbolic link below root, as relative paths."""
    for folder, folders, names, descriptor in os.fwalk(root, follow_symlinks=False):
        prefix = os.path.relpath(folder, root)
        for name in (*folders, *names):
            try:
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            except OSError:
                continue
            if stat.S_ISLNK(mode):
                yield name if prefix == "." else f"{prefix}/{name}"


def leads_inside(root: Path, relative: str) -> bool:
    """Whether a path, all its links followed, ends below root. For folders that nobody changes."""
    real_root = os.path.realpath(root)
    return os.path.realpath(root / relative).startswith(real_root + os.sep)


def shown(path: str) -> str:
    """A path fit for a database and for JSON: bytes that are no UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
