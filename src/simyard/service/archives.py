"""Unpacking what users upload: zip, tar, tar.gz, tar.bz2, tar.xz.

Archives are hostile until shown otherwise. Nothing is written outside the folder, no device or pipe
is made, links lead nowhere outside, and what is counted against the limit are bytes that were
really written, not what a header promises. One bad entry refuses the whole archive.
"""

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from simyard.domain.errors import Refused
from simyard.domain.records import dataclass
from simyard.service import workfolder

_COPY_BYTES = 1 << 20
_NAME_BYTES = 255
_PATH_BYTES = 4000
_TAR_NAMES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted zip
    UnicodeError,
    ValueError,
    OverflowError,
)


class ArchiveRefused(Refused):
    """The archive cannot be unpacked safely; the text is a clause that says why."""


@dataclass
class Budget:
    """What is left of the limits; shared by all archives of a run."""

    bytes_left: int
    entries_left: int
    keep_going: Callable[[], None]  # called between entries; raises to stop

    def spend(self, size: int) -> None:
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise ArchiveRefused("it unpacks to more than this site allows")


def unpack(archive: Path, into: Path, budget: Budget, root: Path | None = None) -> bool:
    """Unpack an archive; False where its name is not that of one. Raises ArchiveRefused.

    root: the folder that no link may lead out of; `into` without it.

    Modes are kept (but for set-id bits), scripts are made executable. A file that is there already
    is replaced. Links come last, when no more file is written.
    """
    name = archive.name.lower()
    try:
        # By name, not by content: many formats of solvers and offices are zip files inside.
        if name.endswith(".zip"):
            _Unpacking(into, budget, root or into).run(_zip_entries(archive, budget))
        elif name.endswith(_TAR_NAMES):
            _Unpacking(into, budget, root or into).run(_tar_entries(archive, budget))
        else:
            return False
    except _BROKEN as error:
        raise ArchiveRefused(f"it is damaged or not supported ({error})") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # how bz2, gzip and zipfile tell of bad data
            raise ArchiveRefused(f"it is damaged ({error})") from error
        raise
    return True


class _Kind:
    FILE, FOLDER, LINK, HARD_LINK = range(4)


@dataclass(frozen=True)
class _Entry:
    name: str
    kind: int
    mode: int | None  # permission bits; None: the archive knows none
    target: str  # of links
    open: Callable[[], IO[bytes]] | None  # of files


class _Unpacking:
    def __init__(self, into: Path, budget: Budget, root: Path) -> None:
        self._into = into
        self._root = root
        self._budget = budget
        self._links: list[tuple[list[str], str]] = []
        self._folder_modes: list[tuple[list[str], int]] = []

    def run(self, entries: Iterator[_Entry]) -> None:
        for entry in entries:
            self._budget.keep_going()
            self._budget.entries_left -= 1
            if self._budget.entries_left < 0:
                raise ArchiveRefused("it has more entries than this site allows")
            parts = _safe_parts(entry.name)
            if not parts:
                continue
            if entry.kind == _Kind.FOLDER:
                os.close(self._folder(parts))
                if entry.mode is not None:
                    self._folder_modes.append((parts, entry.mode))
            elif entry.kind == _Kind.FILE:
                self._file(parts, entry)
            elif entry.kind == _Kind.HARD_LINK:
                self._hard_link(parts, _safe_parts(entry.target))
            else:
                self._links.append((parts, entry.target))
        for parts, mode in reversed(self._folder_modes):
            descriptor = self._folder(parts)
            os.fchmod(descriptor, (mode & 0o777) | 0o700)
            os.close(descriptor)
        for parts, target in self._links:
            self._link(parts, target)
        for path in workfolder.links(self._root) if self._links else ():
            if not workfolder.leads_inside(self._root, path):
                raise ArchiveRefused(f"its link {path} leads out of the folder")

    def _folder(self, parts: list[str]) -> int:
        """A descriptor of a folder, made if it is not there. A link on the way is refused."""
        at = os.open(self._into, os.O_RDONLY | os.O_DIRECTORY)
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=at)
                os.chmod(part, 0o755, dir_fd=at)  # whatever the server's umask
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            except OSError as error:
                name = "/".join(parts)
                raise ArchiveRefused(f"its entry {name} is in the way of another") from error
            finally:
                os.close(at)
            at = inner
        return at

    @contextlib.contextmanager
    def _place(self, parts: list[str]) -> Iterator[tuple[int, str]]:
        """The folder of an entry and its name, with nothing at that place."""
        folder = self._folder(parts[:-1])
        try:
            try:
                os.unlink(parts[-1], dir_fd=folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                name = "/".join(parts)
                raise ArchiveRefused(f"its entry {name} is in the way of another") from error
            yield folder, parts[-1]
        finally:
            os.close(folder)

    def _file(self, parts: list[str], entry: _Entry) -> None:
        assert entry.open is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with self._place(parts) as (folder, name), entry.open() as source:
            file = os.open(name, flags, 0o644, dir_fd=folder)
            with open(file, "wb") as out:
                start = b""
                while chunk := source.read(_COPY_BYTES):
                    start = start or chunk[:2]
                    self._budget.spend(len(chunk))
                    out.write(chunk)
                os.fchmod(file, file_mode(entry.mode, start))

    def _hard_link(self, parts: list[str], target: list[str]) -> None:
        if not target:
            raise ArchiveRefused("it has a link to nothing")
        source = self._folder(target[:-1])
        try:
            found = os.stat(target[-1], dir_fd=source, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise ArchiveRefused("it has a hard link to something that is no file")
            if target == parts:
                return
            with self._place(parts) as (folder, name):
                os.link(
                    target[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False
                )
        except FileNotFoundError:
            name = "/".join(target)
            raise ArchiveRefused(f"it has a link to {name}, which it does not hold") from None
        finally:
            os.close(source)

    def _link(self, parts: list[str], target: str) -> None:
        if not target or target.startswith("/") or "\0" in target or len(target) > _PATH_BYTES:
            raise ArchiveRefused(f"its link {'/'.join(parts)} leads out of the folder")
        with self._place(parts) as (folder, name):
            os.symlink(target, name, dir_fd=folder)


def _safe_parts(name: str) -> list[str]:
    """The components of an entry's name; [] for the folder itself."""
    if "\0" in name or len(os.fsencode(name)) > _PATH_BYTES:
        raise ArchiveRefused("it has an entry whose name cannot be a file's")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveRefused(f"its entry {name} leads out of the folder")
    if any(len(os.fsencode(part)) > _NAME_BYTES for part in path.parts):
        raise ArchiveRefused("it has an entry whose name is too long")
    return list(path.parts)


def file_mode(mode: int | None, start: bytes) -> int:
    """Permission bits of an unpacked or uploaded file: a script can always be run."""
    bits = 0o644 if mode is None else (mode & 0o777) | 0o600
    return bits | 0o111 if start[:2] == b"#!" else bits


# --- zip ------------------------------------------------------------------------------------------

_END_OF_ZIP = b"PK\x05\x06"
_ZIP_ENTRY_BYTES = 46  # of the directory, at least


def _zip_entries(path: Path, budget: Budget) -> Iterator[_Entry]:
    _check_zip_directory(path, budget)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            unix = info.external_attr >> 16
            mode = stat.S_IMODE(unix) if unix else None
            name = info.filename
            if info.create_system == 0 and "/" not in name:
                name = name.replace("\\", "/")  # old Windows packers
            if info.flag_bits & 1:
                raise ArchiveRefused("it is encrypted")
            kind = stat.S_IFMT(unix)
            if info.is_dir() or name.endswith("/"):
                yield _Entry(name, _Kind.FOLDER, mode, "", None)
            elif kind == stat.S_IFLNK:
                if info.file_size > _PATH_BYTES:
                    raise ArchiveRefused(f"its link {name} leads out of the folder")
                target = archive.read(info).decode("utf-8", "surrogateescape")
                yield _Entry(name, _Kind.LINK, None, target, None)
            elif kind in (0, stat.S_IFREG):
                yield _Entry(name, _Kind.FILE, mode, "", _opener(archive, info))
            else:
                raise ArchiveRefused(f"its entry {name} is a device or a pipe")


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def _check_zip_directory(path: Path, budget: Budget) -> None:
    """Zipfile reads the whole directory into memory: see how large it says it is before."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    at = tail.rfind(_END_OF_ZIP)
    if at < 0:
        raise zipfile.BadZipFile("it has no directory")
    directory_bytes = struct.unpack("<I", tail[at + 12 : at + 16])[0]
    if directory_bytes == 0xFFFFFFFF:  # the real figure stands elsewhere; the file bounds it
        directory_bytes = size
    # Names and extra fields may make an entry larger, never smaller.
    if directory_bytes > budget.entries_left * (_ZIP_ENTRY_BYTES + 2 * _NAME_BYTES):
        raise ArchiveRefused("it has more entries than this site allows")


# --- tar ------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """A header that is read whole into memory must be small."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _READ_WHOLE and self.size > _HEADER_BYTES:
            raise ArchiveRefused("it has an entry whose header is too long")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


_HEADER_BYTES = 1 << 20
_READ_WHOLE = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


_OPENERS: tuple[tuple[bytes, Callable[[Path], IO[bytes]]], ...] = (
    (b"\x1f\x8b", lambda path: cast("IO[bytes]", gzip.open(path))),
    (b"BZh", lambda path: cast("IO[bytes]", bz2.open(path))),
    (b"\xfd7zXZ\0", lambda path: cast("IO[bytes]", lzma.open(path))),
    (b"", lambda path: path.open("rb")),
)


def _tar_entries(path: Path, budget: Budget) -> Iterator[_Entry]:
    with path.open("rb") as file:
        start = file.read(6)
    unpacked = next(opener for magic, opener in _OPENERS if start.startswith(magic))
    # Read as a stream: entries are seen one by one and none is kept.
    with (
        unpacked(path) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=_COPY_BYTES, tarinfo=_Header) as archive,
    ):
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # it would remember every one
            if member.isdir():
                yield _Entry(member.name, _Kind.FOLDER, member.mode, "", None)
            elif member.issym():
                yield _Entry(member.name, _Kind.LINK, None, member.linkname, None)
            elif member.islnk():
                yield _Entry(member.name, _Kind.HARD_LINK, None, member.linkname, None)
            elif member.isreg():
                yield _Entry(member.name, _Kind.FILE, member.mode, "", _member(archive, member))
            else:
                raise ArchiveRefused(f"its entry {member.name} is a device or a pipe")
        # The checksum of what was compressed stands at its very end.
        while rest := stream.read(_COPY_BYTES):
            budget.spend(len(rest))


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        file = archive.extractfile(member)
        if file is None:
            raise ArchiveRefused(f"its entry {member.name} cannot be read")
        return file

    return open_member


def make_scripts_executable(path: Path) -> None:
    """An upload has no mode: what begins with #! is meant to be run."""
    with path.open("rb") as file:
        start = file.read(2)
    mode = path.stat().st_mode
    path.chmod(file_mode(mode, start))
