"""The inputs of a study's runs: laid out once, then copied for each run.

A copy shares its blocks with the first where the file system can (FICLONE: XFS, Btrfs, bcachefs);
elsewhere the kernel copies them. Never a hard link: a solver that writes into an input, as many do,
would write into those of all other runs (docs/adr/0028).
"""

import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path

from simyard.domain.errors import StorageFull, disk_is_full
from simyard.domain.faults import crash_point
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.engines.protocol import Engine
from simyard.service import workfolder

_TREE = "tree"
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_AT_ONCE = 1 << 30
_LOOK_EVERY = 100  # files

Build = Callable[[Path], dict[str, int]]


@dataclass
class _Made:
    staged: dict[str, int]  # path -> id of the blob that holds the same
    keys: dict[int, str] = field(default_factory=dict)  # of those that were learned


class SharedInputs:
    """The trees that runs are copied from, one for each job and choice of inputs. Thread-safe; the
    one server of a data folder has one of these.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        # Those that are whole. Made by this process: a crash of the machine may leave a tree that
        # only looks whole.
        self._made: dict[str, _Made] = {}
        self._readers: Counter[str] = Counter()

    def copy(
        self, job: Job, engine: str, into: Path, build: Build, keep_going: Callable[[], None]
    ) -> dict[str, int]:
        """Fill a run's empty work folder. engine: the name of the run's. build: lays the inputs out
        in an empty folder and returns what lies there as it is stored, by path, with its blob's id.
        So does this.

        Raises what build and keep_going raise, and StorageFull.
        """
        name = f"{job.code}-{_digest(job)}"
        its = self._engines[engine]
        base = its.aside(name)
        with self._locked(name):
            if name not in self._made:
                its.remove_aside(name)
                (base / _TREE).mkdir(parents=True)
                self._made[name] = _Made(build(base / _TREE))
                crash_point("inputs.shared")
            found = dict(self._made[name].staged)
            self._readers[name] += 1
        try:
            _copy_tree(base / _TREE, into, keep_going)
        finally:
            with self._locked(name):
                self._readers[name] -= 1
        return found

    def learn(self, job: Job, blobs: Mapping[str, tuple[int, str]]) -> None:
        """What lies at these paths is stored as these blobs (id, key): once is enough."""
        made = self._made.get(f"{job.code}-{_digest(job)}")
        if made is not None:
            for path, (blob_id, key) in blobs.items():
                made.keys[blob_id] = key  # first: nobody may see the one without the other
                made.staged.setdefault(path, blob_id)

    def is_still(self, job: Job, blob_id: int, key: str | None) -> bool:
        """Whether a blob that is recorded with this key, if it is, is the one that was meant: the
        id of one that was deleted may be another's by now.
        """
        made = self._made.get(f"{job.code}-{_digest(job)}")
        return key is not None and (made is None or made.keys.get(blob_id, key) == key)

    def forget(self, code: str) -> None:
        """Remove what runs of this job were copied from, but for what is being copied: somebody
        comes again. Safe to repeat.
        """
        for engine in self._engines.values():
            for name in engine.asides():
                if name.startswith(f"{code}-"):
                    with self._locked(name):
                        if self._readers[name]:
                            continue
                        self._made.pop(name, None)
                        engine.remove_aside(name)

    def jobs(self) -> set[str]:
        """Codes of the jobs of which something is there."""
        every = (name for engine in self._engines.values() for name in engine.asides())
        return {name.partition("-")[0] for name in every}

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            yield


def _digest(job: Job) -> str:
    """Of which files are laid out, and how."""
    named: Sequence[object] = [
        (a.pre_script, a.post_script, *((f.code, f.decompress) for f in a.input_files))
        for a in job.definition.analyses
    ]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


def _copy_tree(source: Path, target: Path, keep_going: Callable[[], None]) -> None:
    """Copy a tree that nobody changes into an empty folder, modes and times too."""
    try:
        for folder in workfolder.folders(source):
            into = os.open(target / folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                for name in folder.folders:
                    os.mkdir(name, dir_fd=into)
                    seen = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
                    os.chmod(name, stat.S_IMODE(seen.st_mode), dir_fd=into)
                for number, name in enumerate(folder.others):
                    if number % _LOOK_EVERY == 0:
                        keep_going()
                    _copy(name, folder.descriptor, into)
            finally:
                os.close(into)
    except OSError as error:
        if disk_is_full(error):
            raise StorageFull("There is no room left to lay out its inputs.") from error
        raise


def _copy(name: str, source: int, target: int) -> None:
    seen = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISLNK(seen.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        return
    there = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        here = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=target)
        try:
            if seen.st_size:
                _pour(there, here, seen.st_size)
            os.fchmod(here, stat.S_IMODE(seen.st_mode))
            os.utime(here, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        finally:
            os.close(here)
    finally:
        os.close(there)


def _pour(source: int, target: int, size: int) -> None:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if disk_is_full(error):
            raise
    else:
        return
    done = 0
    while done < size:
        part = os.copy_file_range(source, target, min(size - done, _AT_ONCE))
        if part == 0:
            raise OSError(errno.EIO, "a shared input is cut short")
        done += part
