"""Servers and commands forked from a process that has everything loaded.

The same code in a process of its own, which does not load it again: of each start that saves a
second of processor time, and the tests start hundreds. What loads itself is tested where the
command is, by the acceptance test and by all that starts a server under other conditions.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

_LOADED = (
    *("simyard.cli.main", "simyard.cli.tls", "simyard.cli.protocol", "simyard.bootstrap"),
    *("simyard.api.app", "simyard.api.events", "simyard.console.pages", "simyard.engines.local"),
    *("simyard.engines.slurm", "uvicorn", "uvloop"),
)
# What a process must have been started with.
_AT_THE_START = ("PYTHON", "LD_")
_MOST_BYTES = 1 << 20


class Forked:
    """What `subprocess.Popen` is for a child, for a child of the nursery."""

    def __init__(self, nursery: "Nursery", pid: int, stdout: IO[str]) -> None:
        self._nursery = nursery
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, 0.0)
        return self.returncode

    def wait(self, timeout: float = 1e6) -> int:
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """From the side of who wants children. Safe to use from several threads."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._made_for = _at_the_start(os.environ)
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}

    def is_good_for(self, environment: Mapping[str, str]) -> bool:
        return _at_the_start(environment) == self._made_for

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], stderr: IO[str]
    ) -> Forked:
        """`simyard ARGUMENTS`, in this folder."""
        read, write = os.pipe()
        wanted = {"arguments": list(arguments), "environment": dict(environment)}
        sent = json.dumps({**wanted, "folder": os.getcwd()}).encode()
        with self._lock:
            socket.send_fds(self._socket, [sent], [write, stderr.fileno()])
            os.close(write)
            while (pid := self._hear(None)) is None:
                pass
        return Forked(self, pid, os.fdopen(read))

    def ended(self, pid: int, seconds: float) -> int | None:
        """How this child ended; None where it has not within this time."""
        end = time.monotonic() + seconds
        while True:
            with self._lock:
                if pid not in self._ended:
                    self._hear(max(0.0, min(0.1, end - time.monotonic())))
                if pid in self._ended:
                    return self._ended[pid]
            if time.monotonic() >= end:
                return None

    def _hear(self, seconds: float | None) -> int | None:
        """Wait for what the nursery says: how a child ended, or that one began, whose pid it
        gives. That another had this pid before is forgotten.
        """
        if not select.select([self._socket], [], [], seconds)[0]:
            return None
        said = self._socket.recv(_MOST_BYTES)
        if not said:
            raise ChildProcessError(f"the nursery ended with {self._process.wait()}")
        pid, status = json.loads(said)
        if status is None:
            self._ended.pop(pid, None)
            return int(pid)
        self._ended[pid] = status
        return None

    def close(self) -> None:
        self._socket.close()
        self._process.wait(timeout=30)


@functools.cache
def nursery() -> Nursery:
    """That of this process."""
    made = Nursery()
    atexit.register(made.close)
    return made


def _at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_THE_START)}


# --- the nursery ----------------------------------------------------------------------------------


def _tend(place: socket.socket) -> None:
    """Fork until nobody is there to ask. Returns in each child, and there alone."""
    children: dict[int, int] = {}  # pidfd -> pid
    poll = select.poll()
    poll.register(place, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor != place.fileno():
                pid = children.pop(descriptor)
                poll.unregister(descriptor)
                os.close(descriptor)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                _tell(place, [pid, status])
                continue
            said, files, _, _ = socket.recv_fds(place, _MOST_BYTES, 2)
            if not said:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                _become(json.loads(said), files, [place.fileno(), *children])
                return
            for file in files:
                os.close(file)
            watched = os.pidfd_open(pid)
            children[watched] = pid
            poll.register(watched, select.POLLIN)
            _tell(place, [pid, None])


def _tell(place: socket.socket, said: list[int | None]) -> None:
    try:
        place.send(json.dumps(said).encode())
    except OSError:
        os._exit(0)  # nobody is left who wants to know


def _become(wanted: dict[str, Any], files: list[int], not_mine: list[int]) -> None:
    os.dup2(files[0], 1)
    os.dup2(files[1], 2)
    for descriptor in {*files, *not_mine} - {1, 2}:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    sys.argv = ["simyard", *wanted["arguments"]]


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of the tests
    for module in _LOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    asked = socket.socket(fileno=int(sys.argv[1]))
    _tend(asked)
    asked.detach()  # closed in the child
    from simyard.cli.main import main

    main()
