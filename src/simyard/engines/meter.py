"""What an attempt uses, measured by its supervisor, and the limits that the supervisor keeps.

CPU, memory and processes come from the attempt's control group; where it has none, from /proc of
everything below the supervisor. Both cost microseconds. What its folder holds is counted in
slices, so that neither a million files nor one look takes more than about 2 % of a core.

The supervisor loads this file by itself, without the package: standard library only.
"""

from __future__ import annotations

import json
import os
import time

TYPE_CHECKING = False  # as typing has it, which is dear where each attempt has a process
if TYPE_CHECKING:
    import resource
    from collections.abc import Iterator
    from typing import Any

if __package__:
    from simyard.engines import group as groups
else:  # loaded by the supervisor alone, which made this folder known
    import group as groups  # type: ignore[import-not-found, no-redef]  # the same file

SAMPLES = "samples"  # in the attempt's folder: {"usage": ..., "points": ..., "processes": ...}
MOST_POINTS = 600

_HELD = ("memory", "processes")  # by who is alive
_SECONDS = 1.0  # between two looks
_MOST_SECONDS = 5.0  # also where a look is dear
_SHARE = 0.02  # of a core, at most
_WALK_SECONDS = 2.0  # between the beginnings of two walks
_SAVE_SECONDS = 10.0
_BUSY = 0.02  # of a core: what uses less does nothing
_DISK_UNIT = 512  # st_blocks, see stat(2)
_LONG = 1000  # characters that a path is carried on for: PATH_MAX is 4096 bytes
_AT_ONCE = 256  # entries of a folder that are counted in one go
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents first."""
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", "rb", buffering=0) as file:
                    children = [int(word) for word in file.read().split()]
                found += children
                todo += children
        except OSError:
            pass  # it ended while we looked
    return found


class Meter:
    """`look` when `next_at` has come; `finish` once nothing of the attempt is alive."""

    def __init__(self, folder: str, spec: dict[str, Any], group: groups.Group | None) -> None:
        self.next_at = time.monotonic() + _SECONDS
        self.usage: dict[str, Any] = {"oom_kills": 0, "fork_refusals": 0}  # the most so far
        self._folder = folder
        self._allowance = spec.get("allowance", {})
        self._group = group
        # Who is there is remembered where nothing else would find it without us.
        self._remembers = group is None and not spec.get("own_pids", True)
        self._log = _open_log(spec["log"])
        self._began = self._grown_at = self._busy_at = time.monotonic()
        self._saved_at = self._began - _SAVE_SECONDS + 1.5 * _SECONDS
        self._ended_cpu = 0.0  # seconds, and the memory of the largest, of all that was reaped
        self._ended_memory = 0
        self._cpu = 0.0
        self._cpu_at = self._began
        self._processes: list[list[int]] = []
        self._points: list[list[Any]] = []
        self._apart = 0.0  # seconds between two points
        self._tree = _Tree([os.path.join(folder, "home"), os.path.join(folder, "tmp")])
        self._over: dict[str, int] = {}  # walks in a row that found more than the limit

    def ended(self, used: resource.struct_rusage) -> None:
        """A process of the attempt was reaped, with all below it that it had reaped itself."""
        self._ended_cpu += used.ru_utime + used.ru_stime
        self._ended_memory = max(self._ended_memory, used.ru_maxrss * 1024)

    def look(self) -> str | None:
        """Take a sample. Returns the resource of which more is used than may be, if any is."""
        began = time.monotonic()
        now = self._measure()
        self._note(now)
        if not self._points or now["seconds"] - self._points[-1][0] >= self._apart:
            self._add_point(now)
        over = self._beyond(now)
        if began - self._saved_at >= _SAVE_SECONDS:
            self.save()
        spent = time.monotonic() - began
        self.next_at = began + max(_SECONDS, min(spent / _SHARE, _MOST_SECONDS))
        return over

    def finish(self) -> dict[str, Any]:
        """The last look. Returns what was used and its points, for the record."""
        now = self._measure(is_last=True)
        largest: float = self._ended_memory
        if self._group is not None:
            # What it shares with others' processes is not all its own.
            largest = min(largest, groups.read(self._group, "memory_peak") or largest)
        self._note({**now, "memory": _whole(largest)})
        if self._group is not None:
            self._note({"processes": _whole(groups.read(self._group, "processes_peak"))})
            if self.usage["oom_kills"]:
                self._note({"memory": _whole(groups.read(self._group, "memory_peak"))})
        self._add_point(now)
        self.close()
        return {"usage": self.usage, "points": self._points}

    def close(self) -> None:
        """Let go of the log. Nothing is measured after that."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def save(self) -> None:
        """Write down what is known, in one piece. Not worth a word where there is no room."""
        self._saved_at = time.monotonic()
        content = {
            "usage": self.usage,
            "points": self._points,
            "processes": self._processes,
        }
        path = os.path.join(self._folder, SAMPLES)
        try:
            descriptor = os.open(
                f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
            )
            with open(descriptor, "w") as file:
                file.write(json.dumps(content, separators=(",", ":")))
            os.rename(f"{path}.new", path)
        except OSError:
            pass

    # --- one look ---------------------------------------------------------------------------------

    def _measure(self, *, is_last: bool = False) -> dict[str, Any]:
        """is_last: nobody is there any more who uses memory or is a process."""
        moment = time.monotonic()
        now: dict[str, Any] = {"seconds": moment - self._began, "memory": None, "processes": None}
        if self._group is not None:
            for name in ("oom_kills", "fork_refusals", *(() if is_last else _HELD)):
                now[name] = _whole(groups.read(self._group, name))
            now["cpu_seconds"] = groups.read(self._group, "cpu_seconds")
        elif is_last:
            now["cpu_seconds"] = max(self._ended_cpu, self._cpu)
        else:
            self._from_proc(now)
        try:
            if self._log is not None:
                now["log"] = os.fstat(self._log).st_size
            disk = os.statvfs(self._folder)
            now["free_bytes"] = disk.f_bavail * disk.f_frsize
            now["disk_bytes"] = disk.f_blocks * disk.f_frsize
        except OSError:
            pass  # somebody took the folder away, or its file system does not answer
        grew = now.get("log") != self.usage.get("log")
        if self._tree.step(_SHARE * _SECONDS):
            grew = grew or self._tree.changed
            self._count_walk()
        now["disk"], now["files"] = self._tree.disk, self._tree.files
        cpu = now["cpu_seconds"]
        if cpu is not None and cpu - self._cpu >= _BUSY * max(moment - self._cpu_at, _SECONDS):
            self._busy_at = moment
        self._cpu, self._cpu_at = max(self._cpu, cpu or 0.0), moment
        if grew:
            self._grown_at = moment
        now["quiet_seconds"] = moment - self._grown_at
        now["idle_seconds"] = moment - self._busy_at
        return now

    def _from_proc(self, now: dict[str, Any]) -> None:
        cpu, memory, processes, seen = self._ended_cpu, 0, 0, []
        found = descendants(os.getpid())
        for pid in found:
            try:
                fields = groups.small(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()
            except OSError:
                continue
            cpu += sum(int(word) for word in fields[11:15]) / _TICKS
            processes += int(fields[17])
            memory += int(fields[21]) * _PAGE
            seen.append([pid, int(fields[19])])
        limit = self._allowance.get("memory", 0)
        if limit and memory > limit:  # shared pages were counted more than once
            memory = min(memory, sum(_proportional(pid) for pid in found) or memory)
        now.update(cpu_seconds=max(cpu, self._cpu), memory=memory, processes=processes)
        if self._remembers and seen != self._processes:
            self._processes = seen
            self._saved_at -= _SAVE_SECONDS

    def _note(self, now: dict[str, Any]) -> None:
        """Keep the most of everything; the least of what is free; what is quiet as it is now."""
        for name, value in now.items():
            if name == "seconds" or value is None:
                continue
            before = self.usage.get(name)
            if name in ("quiet_seconds", "idle_seconds") or before is None:
                self.usage[name] = round(value, 3) if isinstance(value, float) else value
            elif name == "free_bytes":
                self.usage[name] = min(before, value)
            elif value > before:
                self.usage[name] = round(value, 3) if isinstance(value, float) else value

    def _add_point(self, now: dict[str, Any]) -> None:
        if len(self._points) >= MOST_POINTS:
            self._points = self._points[::2]
            self._apart = max(_SECONDS, 2 * self._apart) * 0.99  # a look may come a little early
        cpu = now["cpu_seconds"]
        point = [now[name] for name in ("memory", "processes", "disk", "files")]
        self._points.append([round(now["seconds"], 2), cpu and round(cpu, 2), *point])

    # --- limits -----------------------------------------------------------------------------------

    def _count_walk(self) -> None:
        """A walk is complete. What moves while it goes on may be counted twice, so that one walk
        alone proves nothing.
        """
        for name, value in (("disk", self._tree.disk), ("files", self._tree.files)):
            limit = self._allowance.get(name, 0)
            over = bool(limit) and value is not None and value > limit
            self._over[name] = self._over.get(name, 0) + 1 if over else 0

    def _beyond(self, now: dict[str, Any]) -> str | None:
        kept = self._group["enforces"] if self._group else ()
        for name in ("log", "memory", "processes"):
            limit = self._allowance.get(name, 0)
            if limit and name not in kept and (now.get(name) or 0) > limit:
                return name
        return next((name for name, walks in self._over.items() if walks >= 2), None)


class _Anchor:
    """An open folder that paths begin at; closed with the last of them."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class _Tree:
    """What folders hold, counted again and again in short steps. Links are not followed, and
    nothing is too deep. None: not counted yet.
    """

    def __init__(self, roots: list[str]) -> None:
        self.disk: int | None = None
        self.files: int | None = None
        self.changed = False  # whether the last walk found another state than the one before
        self._roots = roots
        self._state: tuple[int, int, int] | None = None
        self._walk: Iterator[None] | None = None
        self._next_at = 0.0

    def step(self, seconds: float) -> bool:
        """Go on for so long. Returns whether a walk was completed."""
        began = time.monotonic()
        if self._walk is None:
            if began < self._next_at:
                return False
            self._next_at = began + _WALK_SECONDS
            self._walk = self._count()
        for _ in self._walk:
            if time.monotonic() - began > seconds:
                return False
        self._walk = None
        return True

    def _count(self) -> Iterator[None]:
        """Walk once; stops by the way so that others have their turn."""
        disk = files = newest = 0
        todo: list[tuple[_Anchor | None, str]] = [(None, root) for root in self._roots]
        while todo:
            anchor, path = todo.pop()
            try:
                at = None if anchor is None else anchor.descriptor
                here = _Anchor(os.open(path, _FOLDER, dir_fd=at))
                entries = os.scandir(here.descriptor)
            except OSError:
                continue  # it is gone, or closed to us
            with entries:
                for entry in entries:
                    files += 1
                    if files % _AT_ONCE == 0:
                        yield
                    try:
                        found = entry.stat(follow_symlinks=False)
                        inner = entry.is_dir(follow_symlinks=False)
                    except OSError:
                        continue
                    disk += found.st_blocks * _DISK_UNIT
                    newest = max(newest, found.st_ctime_ns)
                    if inner and len(path) + len(entry.name) < _LONG:
                        todo.append((anchor, f"{path}/{entry.name}"))
                    elif inner:
                        todo.append((here, entry.name))
            yield
        state = (disk, files, newest)
        self.changed = state != self._state
        self._state = state
        self.disk, self.files = disk, files


def _open_log(path: str) -> int | None:
    """The log, before the payload could put anything else in its place."""
    try:
        log = os.open(
            path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644
        )
        os.fchmod(log, 0o644)  # whatever our umask
    except OSError:
        return None  # the payload's start fails with it, and says so
    return log


def _proportional(pid: int) -> int:
    """The memory of a process, what it shares with others divided among them."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
