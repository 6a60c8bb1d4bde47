"""Looking into a folder that a run writes to, without being led out of it.

A run may put links, pipes and whatever else into its work folder or in its place, also while we
look. So every component of a path is opened by itself, links are not followed, and only plain files
are read.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from simyard.domain.errors import NotFound, disk_is_full
from simyard.domain.records import dataclass

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_PATH_BYTES = 4095  # what lies deeper, no path can say (PATH_MAX of limits.h)
_KEPT_OPEN = 64
_TOO_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Found:
    """A plain file below a work folder."""

    path: str  # relative, "/" between components; may hold surrogates for bytes that are no UTF-8
    size: int
    ctime_ns: int
    inode: int
    mtime_ns: int


def open_file(root: Path, relative: str) -> int:
    """A descriptor for reading a plain file below root. Raises NotFound for anything else:
    absent, a folder, a link anywhere in the path, a path that leads outside.
    """
    parts = _parts(relative)
    if not parts:
        raise NotFound("There is no such file in the run's work folder.")
    try:
        folder = _open_folder(root, parts[:-1])
        try:
            # Without O_NONBLOCK a pipe without a writer would keep us waiting.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(parts[-1], flags, dir_fd=folder)
        finally:
            os.close(folder)
    except (OSError, UnicodeEncodeError):
        raise NotFound("There is no such file in the run's work folder.") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotFound("This is not a plain file.")
    return file


def open_parent(root: Path, relative: str, *, make: bool = False) -> tuple[int, str]:
    """A descriptor of the folder of a file below root, which may not be there yet, and the file's
    name in it. Raises NotFound for a path that leads outside or through a link.

    make: folders that are not there are made, and what is no folder gives way. Only for work
    folders that nobody changes.
    """
    parts = _parts(relative)
    if not parts:
        raise NotFound("This path leads out of the run's work folder.")
    try:
        if not make:
            return _open_folder(root, parts[:-1]), parts[-1]
        return _made_folder(root, parts[:-1]), parts[-1]
    except (OSError, UnicodeEncodeError) as error:
        if disk_is_full(error):
            raise
        raise NotFound("There is no such folder in the run's work folder.") from None


def _parts(relative: str) -> list[str]:
    """The components of a path; none where it leads outside or to the folder itself."""
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    outside = relative.startswith("/") or ".." in parts or "\0" in relative
    return [] if outside else parts


def _made_folder(root: Path, parts: Sequence[str]) -> int:
    at = os.open(root, _FOLDER)
    for part in parts:
        try:
            try:
                inner = os.open(part, _FOLDER, dir_fd=at)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    os.unlink(part, dir_fd=at)
                elif error.errno != errno.ENOENT:
                    raise
                os.mkdir(part, 0o755, dir_fd=at)
                os.chmod(part, 0o755, dir_fd=at)  # whatever the server's umask
                inner = os.open(part, _FOLDER, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at


def _open_folder(root: Path, parts: Sequence[str]) -> int:
    at = os.open(root, _FOLDER)
    for part in parts:
        try:
            inner = os.open(part, _FOLDER, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at


@dataclass(frozen=True)
class Folder:
    """A folder while it is looked at."""

    path: str  # relative; "" for root
    folders: list[str]  # the names of what is in it
    others: list[str]
    descriptor: int  # open until the next one is asked for

    def path_of(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


@dataclass
class Bound:
    """How much is looked at of a folder that may have millions of files, folders or links."""

    names: int = 250_000  # of all of them, that may be looked at still
    characters: int = 30_000_000  # of their paths together: each takes up to four bytes
    is_reached: bool = False  # there are more

    def takes(self, characters: int) -> bool:
        """Whether one more with a path of so many may be looked at."""
        self.is_reached = self.names == 0 or self.characters < characters
        if not self.is_reached:
            self.names -= 1
            self.characters -= characters
        return not self.is_reached


def folders(root: Path, bound: Bound | None = None) -> Iterator[Folder]:
    """Root and every folder below it, a folder before those in it, however deep. What vanishes
    meanwhile is left out, and what is beyond a bound.
    """
    waiting = [""]
    way: deque[tuple[str, int]] = deque()
    try:
        while waiting:
            path = waiting.pop()
            try:
                descriptor = _go(way, root, path)
            except OSError as error:
                if error.errno in _TOO_MANY_OPEN:
                    raise
                continue
            inner: list[str] = []
            others: list[str] = []
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if bound is not None and not bound.takes(len(path) + len(entry.name)):
                        break
                    is_folder = entry.is_dir(follow_symlinks=False)
                    (inner if is_folder else others).append(entry.name)
            folder = Folder(path, inner, others, descriptor)
            yield folder
            if bound is not None and bound.is_reached:
                return
            paths = [folder.path_of(name) for name in inner]
            waiting += [path for path in paths if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES]
    finally:
        for _, descriptor in way:
            os.close(descriptor)


def _go(way: deque[tuple[str, int]], root: Path, path: str) -> int:
    """A descriptor of the folder of this path. `way` holds those of the last folders on the way
    to the one before, from where it goes on: trees may be deep, and descriptors are few.
    """
    while way and way[-1][0] and not path.startswith(f"{way[-1][0]}/"):
        os.close(way.pop()[1])
    if not way:
        way.append(("", os.open(root, _FOLDER)))
    at, descriptor = way[-1]
    rest = path[len(at) :].lstrip("/")
    for part in rest.split("/") if rest else ():
        descriptor = os.open(part, _FOLDER, dir_fd=descriptor)
        at = f"{at}/{part}" if at else part
        way.append((at, descriptor))
        if len(way) > _KEPT_OPEN:
            os.close(way.popleft()[1])
    return descriptor


def walk(
    root: Path, bound: Bound | None = None, *, links: list[str] | None = None
) -> Iterator[Found]:
    """Every plain file below root, in no particular order. What vanishes meanwhile is left out, and
    what is beyond a bound.

    links: takes the paths of the symbolic links that are met.
    """
    for folder in folders(root, bound):
        for name in folder.others:
            try:
                seen = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(seen.st_mode):
                path = folder.path_of(name)
                yield Found(path, seen.st_size, seen.st_ctime_ns, seen.st_ino, seen.st_mtime_ns)
            elif links is not None and stat.S_ISLNK(seen.st_mode):
                links.append(folder.path_of(name))


def links(root: Path) -> list[str]:
    """Every symbolic link below root, as relative paths."""
    found: list[str] = []
    for _ in walk(root, links=found):
        pass
    return found


def leads_inside(root: Path, relative: str) -> bool:
    """Whether a path, all its links followed, ends below root. For folders that nobody changes."""
    real_root = os.path.realpath(root)
    return os.path.realpath(root / relative).startswith(real_root + os.sep)


def shown(path: str) -> str:
    """A path fit for a database and for JSON: bytes that are no UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
