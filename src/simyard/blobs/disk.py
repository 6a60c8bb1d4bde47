"""Blobs as files of a local folder.

A blob is written under a name of its own ending in `.part`, flushed, renamed, and its folder
flushed: it is there whole or not at all, also after a power loss.
"""

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from simyard.blobs.protocol import BlobReader, BlobStore, BlobWriter, Bytes
from simyard.domain.errors import Damaged, StorageFull, disk_is_full
from simyard.domain.faults import crash_point

_PART = ".part"
# From here on one flush of the file system is cheaper than a flush of each file.
_FLUSH_TOGETHER = 8
_CHECK_ROOM_EVERY = 64 << 20
# So much is handed to the disk while more still arrives: the flush at the end finds little to do.
_WRITE_OUT_EVERY = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2  # start writing, do not wait (linux/fs.h)

_libc = ctypes.CDLL(None, use_errno=True)


class DiskBlobs:
    """A folder of blobs; `reserve_bytes` of the disk are left to the database."""

    def __init__(self, root: Path, *, reserve_bytes: int) -> None:
        self._root = str(root)
        self._reserve_bytes = reserve_bytes
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, key: str, expected_bytes: int = 0) -> BlobWriter:
        self.need_room(expected_bytes)
        path = self._path(key)
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            _flush(self._root)
        return _DiskWriter(self, key, path)

    def commit(self, writers: Sequence[BlobWriter]) -> None:
        ours = [writer for writer in writers if isinstance(writer, _DiskWriter)]
        assert len(ours) == len(writers), "a store commits its own writers"
        together = len(ours) >= _FLUSH_TOGETHER
        for writer in ours:
            writer.close()
            if not together:
                _flush(writer.part)
        if together:
            self._flush_all()
        crash_point("blob.flushed")
        for writer in ours:
            os.rename(writer.part, writer.path)
        crash_point("blob.renamed")
        if together:
            self._flush_all()
        else:
            for folder in {os.path.dirname(writer.path) for writer in ours}:
                _flush(folder)

    def open(self, key: str) -> BlobReader:
        try:
            return _DiskReader(os.open(self._path(key), os.O_RDONLY))
        except FileNotFoundError:
            raise Damaged("The stored bytes of this file are missing.") from None

    def open_cut(self, key: str) -> BlobReader:
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError):
            return _DiskReader(os.open(path + _PART, os.O_RDONLY))
        return self.open(key)

    def delete(self, key: str) -> None:
        path = self._path(key)
        for name in (path, path + _PART):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def days(self) -> list[str]:
        with os.scandir(self._root) as entries:
            return sorted(entry.name for entry in entries if entry.name.isdigit())

    def keys(self, day: str) -> Iterator[tuple[str, float]]:
        now = time.time()
        try:
            entries = list(os.scandir(f"{self._root}/{day}"))
        except FileNotFoundError:
            return
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                age = now - entry.stat().st_mtime
                yield f"{day}/{entry.name.removesuffix(_PART)}", age

    def free_bytes(self) -> int:
        disk = os.statvfs(self._root)
        return max(0, disk.f_bavail * disk.f_frsize - self._reserve_bytes)

    def need_room(self, size_bytes: int) -> None:
        """Raises StorageFull where so many more bytes would eat into the reserve."""
        if self.free_bytes() <= size_bytes:
            raise StorageFull("There is no room left for this file on the server's disk.")

    def _path(self, key: str) -> str:
        day, _, name = key.partition("/")
        if not (day.isdigit() and name.isalnum()):
            raise ValueError(f"not the key of a blob: {key!r}")
        return f"{self._root}/{day}/{name}"

    def _flush_all(self) -> None:
        """Flush everything of the file system that the blobs are on."""
        folder = os.open(self._root, os.O_RDONLY)
        try:
            if _libc.syncfs(folder) != 0:
                raise OSError(ctypes.get_errno(), "syncfs failed")
        finally:
            os.close(folder)


class _DiskWriter:
    def __init__(self, store: DiskBlobs, key: str, path: str) -> None:
        self.key = key
        self.path = path
        self.part = path + _PART
        self._store = store
        self._unchecked = 0
        self._size = self._written_out = 0
        self._is_flushed = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _full_disk_is_known():
            self._file: int | None = os.open(self.part, flags, 0o600)

    def write(self, data: Bytes) -> None:
        assert self._file is not None, "written to after its end"
        rest = memoryview(data).cast("B")
        self._unchecked += len(rest)
        if self._unchecked >= _CHECK_ROOM_EVERY:
            self._store.need_room(0)
            self._unchecked = 0
        with _full_disk_is_known():
            while rest:
                written = os.write(self._file, rest)
                self._size += written
                rest = rest[written:]
        if self._size - self._written_out >= _WRITE_OUT_EVERY:
            self._write_out()

    def _write_out(self) -> None:
        """A hint and no more: a file system that cannot do it is left to itself."""
        start, self._written_out = self._written_out, self._size
        _libc.sync_file_range(
            self._file,
            ctypes.c_int64(start),
            ctypes.c_int64(self._size - start),
            _SYNC_FILE_RANGE_WRITE,
        )

    def flush(self) -> None:
        assert self._file is not None, "flushed after its end"
        with _full_disk_is_known():
            os.fsync(self._file)
        if not self._is_flushed:
            _flush(os.path.dirname(self.part))
            self._is_flushed = True

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with _full_disk_is_known():
                os.close(file)

    def abort(self) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.part)


class _DiskReader:
    def __init__(self, file: int) -> None:
        self._file: int | None = file
        self.size = os.fstat(file).st_size

    def read(self, offset: int, length: int) -> bytes:
        assert self._file is not None, "read after its end"
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def __del__(self) -> None:
        self.close()


@contextlib.contextmanager
def _full_disk_is_known() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise StorageFull("There is no room left on the server's disk.") from error
        raise


def _flush(path: str) -> None:
    """Have a file's content, or a folder's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _full_disk_is_known():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _conforms(store: DiskBlobs) -> BlobStore:
    """Only for the type checker: a drift from the protocol shows here."""
    return store
