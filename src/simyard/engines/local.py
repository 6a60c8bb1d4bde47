"""Attempts as processes of this machine, each under a supervisor of its own.

Supervisors are forked by a small process that has everything loaded; where it is gone it is
started again. Server and fork server may die at any moment: supervisors do not notice.
"""

import contextlib
import logging
import os
import signal as signals
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simyard.domain.errors import NotFound
from simyard.domain.runs import Allowance, Resource
from simyard.engines import cgroups, meter, sandbox, supervisor
from simyard.engines.attempts import (
    MARK,
    AttemptFolders,
    bury,
    instant,
    measured,
    need_way,
    remove_tree,
    request,
)
from simyard.engines.cgroups import Cgroups
from simyard.engines.plugins import EngineError, Host
from simyard.engines.protocol import (
    AttemptSpec,
    Capabilities,
    Engine,
    Observation,
    Phase,
)
from simyard.engines.sandbox import Sandbox

log = logging.getLogger(__name__)

_ANY = Allowance(memory=1, processes=1)  # to ask which limits the kernel would keep
# What supervisors may know of the server's environment: no secrets.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SIMYARD_CRASH_AT", "SIMYARD_CRASH_ONCE")


class LocalEngine(AttemptFolders):
    """See AttemptFolders for `on_news`."""

    def __init__(
        self,
        root: Path,
        sandbox: Sandbox,
        on_news: Callable[[str], None],
        *,
        network: bool,
        groups: Cgroups = cgroups.NONE,
    ) -> None:
        self._groups = groups
        self._forks = _ForkServer()
        # Without a sandbox the payload walks to its home by itself, as another user.
        mode = 0o711 if sandbox.uid is not None and not sandbox.bwrap else 0o700
        super().__init__(root, sandbox, on_news, network=network, mode=mode)
        groups.sweep(keep=self.tokens())

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="local",
            isolation=self._sandbox.isolation,
            isolation_detail=self._sandbox.detail,
            network=self._network,
            limits={
                **dict.fromkeys(Resource, "watched"),
                **dict.fromkeys(self._groups.enforces(_ANY), "kernel"),
            },
        )

    def remove(self, token: str) -> None:
        root = self._root / token
        if not root.is_dir():
            return
        end = supervisor.read_json(str(root / "exit.json"))
        if end is None:
            # Nobody has seen it end: what it left may still be alive.
            if not supervisor.bury(str(root), "lost"):
                self.cancel(token)  # somebody still holds it: this is for the next call
                raise NotFound(f"attempt {token} is still alive")
            _sweep(root)
        if end is None or not end.get("group_is_gone"):
            cgroups.end(_group(root))
        remove_tree(root)

    # --- life -------------------------------------------------------------------------------------

    def submit(self, attempt: AttemptSpec) -> None:
        folder = self.folder(attempt.token)
        if not folder.root.is_dir():
            return  # `observe` says that it vanished
        if not (folder.root / "spec.json").exists():
            group = self._groups.describe(attempt.token, attempt.allowance)
            self._write_spec(folder, attempt, group=group)
        self._forks.start(str(folder.root))

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        return {token: self._observe(token) for token in tokens}

    def _observe(self, token: str) -> Observation:
        root = str(self._root / token)
        end = supervisor.read_json(f"{root}/exit.json")
        pids = supervisor.read_json(f"{root}/pid.json")
        if end is not None:
            return self._ended(root, pids, end)
        if pids is None:
            if not os.path.isdir(root):
                return Observation(phase=Phase.VANISHED)
            # Buried first: a start that is on its way must not come after all.
            if _is_of_an_earlier_boot(f"{root}/home") and bury(root, "lost"):
                return self._observe(token)
            return Observation(phase=Phase.UNKNOWN)
        alive = supervisor.start_ticks(pids["supervisor"]) == pids["supervisor_ticks"]
        if not (alive and pids["boot_id"] == supervisor.boot_id()):
            # Nobody watches it any more. Say so for good, unless it ended just now.
            _sweep(Path(root))
            if bury(root, "lost"):
                return self._ended(root, pids, supervisor.read_json(f"{root}/exit.json"))
        return Observation(phase=Phase.RUNNING, started_at=instant(pids["started_at"]))

    def _ended(self, root: str, pids: dict[str, Any] | None, end: dict[str, Any]) -> Observation:
        same_boot = pids is None or pids["boot_id"] == supervisor.boot_id()
        return self._over(root, pids, end, same_boot=same_boot)

    def cancel(self, token: str, *, signal: int | None = None, after_seconds: float = 0.0) -> None:
        root = self._root / token
        if not root.is_dir():
            return
        request(root, signal, after_seconds)
        pids = supervisor.read_json(str(root / "pid.json"))
        if pids is None:
            if supervisor.bury(str(root), "stopped"):
                self._on_news(token)
        elif supervisor.start_ticks(pids["supervisor"]) == pids["supervisor_ticks"]:
            with contextlib.suppress(ProcessLookupError):
                supervisor.wake(pids)

    def close(self) -> None:
        self._forks.close()
        self._close_news()


class _ForkServer:
    """The process that forks supervisors, started again whenever it is found gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        with self._lock:
            self._spawn()

    def start(self, folder: str) -> None:
        with self._lock:
            if self._socket is None:
                return
            try:
                self._socket.send(folder.encode())
            except OSError:
                log.warning("the fork server was gone; starting another")
                self._stop()
                self._spawn()
                self._socket.send(folder.encode())

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-S", supervisor.__file__, "--fork-server"]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,  # a Ctrl-C for the server is none for it
            )
        self._socket = ours

    def _stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        with self._lock:
            self._stop()


def _group(root: Path) -> dict[str, Any] | None:
    """The control group of an attempt, also of one that was started elsewhere below."""
    try:
        spec = supervisor.read_json(str(root / "spec.json")) or {}
    except ValueError:  # cut off by the machine's end, and with it all that was in the group
        return None
    group: dict[str, Any] | None = spec.get("group")
    return group


def _sweep(root: Path) -> None:
    """Kill what an attempt without a supervisor left behind: what is in its control group, or else
    what was last seen of it and what carries its mark, with everything below those. What was in a
    sandbox died with its supervisor.
    """
    group = _group(root)
    if group is not None:
        cgroups.end(group)
    found = {
        pid
        for pid, ticks in measured(root).get("processes", [])
        if supervisor.start_ticks(pid) == ticks
    }
    found |= _marked(root.name)
    found |= {below for pid in found for below in meter.descendants(pid)}
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signals.SIGKILL)


def _marked(token: str) -> set[int]:
    """The processes that have an attempt's mark in their environment."""
    mark = f"{MARK}={token}".encode()
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry.name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.add(int(entry.name))
    return found


def _is_of_an_earlier_boot(folder: str) -> bool:
    """Whether a folder was last changed before the machine started. What was laid out in it was
    not flushed, and may not be whole. To be mistaken about the clock costs a layout, no more.
    """
    try:
        changed_at = os.stat(folder).st_ctime
    except FileNotFoundError:
        return False
    return changed_at < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def open_engine(host: Host) -> LocalEngine:
    """The engine of this machine. Raises EngineError."""
    try:
        box = sandbox.probe(host.sandbox, host.job_uid, host.data / "sandbox-probe")
    except RuntimeError as error:
        raise EngineError(str(error)) from None
    if box.uid is not None and not box.bwrap:
        host.data.chmod(0o711)
        need_way(host.data, box.uid)
    root = host.data / "runs"
    groups = cgroups.probe(root)
    return LocalEngine(root, box, host.on_news, network=host.network, groups=groups)


def _conforms(engine: LocalEngine) -> Engine:
    """Only for the type checker: a drift from the protocol shows here."""
    return engine
