"""The control group of one attempt, as its spec.json describes it.

`cgroups` knows the layouts and makes the description; here it is only carried out:

    folders   made in this order, removed in the other
    settings  [file, text, whether it must work], written while nobody is in it
    procs     files that take a process in; the first also tells who is in it
    kill      a file that ends everything in it at once (v2), or null
    freeze    the file that holds everything in it still (the freezer of v1), or null
    counters  name -> [file, the keys to add up or none where it holds one number, factor]
    enforces  the limits that the kernel keeps by itself

The supervisor loads this file by itself, without the package: standard library only.
"""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False  # as typing has it, which is dear where each attempt has a process
if TYPE_CHECKING:
    from typing import Any

    Group = dict[str, Any]  # read from JSON

_FREEZE_SECONDS = 0.1
_REMOVE_TRIES = 20


def make(group: Group) -> None:
    """Make it, with its limits. Raises OSError; safe to repeat."""
    for folder in group["folders"]:
        try:
            os.mkdir(folder, 0o755)
        except FileExistsError:
            pass
    for path, text, must in group["settings"]:
        try:
            _write(path, text)
        except OSError:
            if must:
                raise


def join(group: Group, pid: int) -> None:
    """Put a process into it; 0: ourselves. Raises OSError."""
    for path in group["procs"]:
        _write(path, str(pid))


def members(group: Group) -> list[int]:
    """The processes in it; none where it is gone."""
    try:
        with open(group["procs"][0]) as file:
            return [int(line) for line in file]
    except OSError:
        return []


def strike(group: Group) -> None:
    """KILL everything that is in it now. None of it can flee by forking meanwhile."""
    try:
        if group["kill"]:
            _write(group["kill"], "1")
            return
        if group["freeze"]:
            _freeze(group["freeze"])
        for pid in members(group):
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # it is gone, or has ended: `members` tells
    finally:
        if group["freeze"]:
            _thaw(group["freeze"])


def empty(group: Group, seconds: float = 2.0) -> bool:
    """End everything in it and see that it is gone. Returns whether it is."""
    end = time.monotonic() + seconds
    while members(group):
        if time.monotonic() > end:
            return False
        strike(group)
        time.sleep(0.005)
    return True


def remove(group: Group) -> bool:
    """Remove it. Returns whether it is gone; not where something is in it."""
    for folder in reversed(group["folders"]):
        for _ in range(_REMOVE_TRIES):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.005)  # the last of it is on its way out
            else:
                break
        else:
            return False
    return True


def read(group: Group, name: str) -> float | None:
    """A counter; None where it is not there."""
    counter = group["counters"].get(name)
    if counter is None:
        return None
    path, keys, factor = counter
    try:
        text = small(path)
        if not keys:
            return float(int(text) * factor)
        lines = (line.split() for line in text.splitlines())
        names = [key.encode() for key in keys]
        return float(sum(int(words[1]) for words in lines if words[0] in names) * factor)
    except (OSError, ValueError, IndexError):
        return None


def small(path: str) -> bytes:
    """A file of the kernel's that is no longer than a page or two; cheaper than `open`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 8192)
    finally:
        os.close(descriptor)


def _freeze(path: str) -> None:
    _write(path, "FROZEN")
    end = time.monotonic() + _FREEZE_SECONDS
    while time.monotonic() < end:
        with open(path) as file:
            if file.read().strip() == "FROZEN":
                return
        time.sleep(0.002)


def _thaw(path: str) -> None:
    try:
        _write(path, "THAWED")
    except OSError:
        pass


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
