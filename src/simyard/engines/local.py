"""Attempts as processes of this machine, each under a supervisor of its own.

Supervisors are forked by a small process that has everything loaded; where it is gone it is
started again. Server and fork server may die at any moment: supervisors do not notice.
"""

import contextlib
import dataclasses
import json
import logging
import os
import signal as signals
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simyard.domain.errors import NotFound
from simyard.domain.runs import Allowance, Cause, Ending, Resource, Sample, Usage
from simyard.engines import cgroups, meter, payload, supervisor
from simyard.engines.cgroups import Cgroups
from simyard.engines.protocol import (
    AttemptSpec,
    Capabilities,
    Engine,
    Folder,
    Observation,
    Phase,
)
from simyard.engines.sandbox import Sandbox

log = logging.getLogger(__name__)

_NEWS = ".news"  # datagram socket, beside the attempts' folders
_ASIDE = ".aside"  # folders that attempts are made from, beside their folders
_SHARED = ".shared"  # what all attempts see, beside their folders
_MARK = "SIMYARD_ATTEMPT"  # in the environment of everything that belongs to an attempt
_ANY = Allowance(memory=1, processes=1)  # to ask which limits the kernel would keep
_POINT = ("seconds", "cpu_seconds", "memory", "processes", "disk", "files")  # as meter.py has them
LOG_NAME = "process_output.log"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What supervisors may know of the server's environment: no secrets.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SIMYARD_CRASH_AT", "SIMYARD_CRASH_ONCE")


class LocalEngine:
    """`on_news` is called from a thread of the engine with the token that something happened to;
    it is a hint, and may come late, twice or never.
    """

    def __init__(
        self,
        root: Path,
        sandbox: Sandbox,
        on_news: Callable[[str], None],
        *,
        network: bool,
        groups: Cgroups = cgroups.NONE,
    ) -> None:
        self._root = root
        self._sandbox = sandbox
        self._groups = groups
        self._network = network
        self._on_news = on_news
        self._forks = _ForkServer()
        # Without a sandbox the payload walks to its home by itself, as another user.
        mode = 0o711 if sandbox.uid is not None and not sandbox.bwrap else 0o700
        root.mkdir(mode=mode, parents=True, exist_ok=True)
        root.chmod(mode)
        self._attempt_mode = mode
        sandbox.write_shared(root / _SHARED)
        groups.sweep(keep=self.tokens())
        self._news: socket.socket | None = _bind(root, _NEWS)
        self._listener = threading.Thread(target=self._listen, name="engine-news", daemon=True)
        self._listener.start()

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

    # --- folders ----------------------------------------------------------------------------------

    def folder(self, token: str) -> Folder:
        root = self._root / token
        uid = self._sandbox.uid
        return Folder(
            root=root,
            home=root / "home",
            work=root / "home" / "work",
            inside_home=self._sandbox.home_inside(root / "home"),
            owner=None if uid is None else (uid, uid),
        )

    def prepare(self, token: str) -> Folder:
        folder = self.folder(token)
        _remove_tree(folder.root)
        folder.root.mkdir()
        folder.root.chmod(self._attempt_mode)
        for path in (folder.home, folder.work, folder.root / "tmp"):
            path.mkdir(mode=0o700)
        if folder.owner:
            for path in (folder.home, folder.work, folder.root / "tmp"):
                os.chown(path, *folder.owner)
        return folder

    def shown_at(self, source: Path, name: str) -> str:
        return self._sandbox.shown_at(source, name)

    def tokens(self) -> list[str]:
        entries = os.scandir(self._root)
        return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]

    def aside(self, name: str) -> Path:
        return self._root / _ASIDE / name

    def asides(self) -> list[str]:
        try:
            return os.listdir(self._root / _ASIDE)
        except FileNotFoundError:
            return []

    def remove_aside(self, name: str) -> None:
        _remove_tree(self.aside(name))

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
        cgroups.end(_group(root))
        _remove_tree(root)

    # --- life -------------------------------------------------------------------------------------

    def submit(self, attempt: AttemptSpec) -> None:
        folder = self.folder(attempt.token)
        if not folder.root.is_dir():
            return  # `observe` says that it vanished
        if not (folder.root / "spec.json").exists():
            self._write_spec(folder, attempt)
        self._forks.start(str(folder.root))

    def _write_spec(self, folder: Folder, attempt: AttemptSpec) -> None:
        payload.write_scripts(folder.root / "scripts", attempt.steps)
        argv = self._sandbox.argv(
            folder.root,
            self._root / _SHARED,
            binds=attempt.binds,
            network=self._network and attempt.network,
        )
        env = {
            "PATH": ":".join(attempt.path),
            "HOME": folder.inside_home,
            "USER": "job",
            "LOGNAME": "job",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp" if self._sandbox.bwrap else str(folder.root / "tmp"),
            **attempt.env,
            _MARK: attempt.token,
        }
        uid = self._sandbox.uid if not self._sandbox.bwrap else None
        spec = {
            "token": attempt.token,
            "argv": argv,
            "env": env,
            "cwd": str(folder.root if self._sandbox.bwrap else folder.work),
            "log": str(folder.work / LOG_NAME),
            "labels": [step.label for step in attempt.steps],
            "walltime": attempt.allowance.walltime,
            "allowance": dataclasses.asdict(attempt.allowance),
            "group": self._groups.describe(attempt.token, attempt.allowance),
            "own_pids": bool(self._sandbox.bwrap),
            "grace": attempt.grace_seconds,
            "uid": uid,
            "gid": uid,
            "spare": ["bwrap"],
            "notify": f"../{_NEWS}",
        }
        aside = folder.root / "spec.json.new"
        aside.write_text(json.dumps(spec))
        aside.rename(folder.root / "spec.json")

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        return {token: self._observe(token) for token in tokens}

    def _observe(self, token: str) -> Observation:
        root = str(self._root / token)
        end = supervisor.read_json(f"{root}/exit.json")
        pids = supervisor.read_json(f"{root}/pid.json")
        if end is not None:
            return self._never_began(root, pids, end) or self._ended(root, end)
        if pids is None:
            if not os.path.isdir(root):
                return Observation(phase=Phase.VANISHED)
            # Buried first: a start that is on its way must not come after all.
            if _is_of_an_earlier_boot(f"{root}/home") and supervisor.bury(root, "lost"):
                return self._observe(token)
            return Observation(phase=Phase.UNKNOWN)
        alive = supervisor.start_ticks(pids["supervisor"]) == pids["supervisor_ticks"]
        if not (alive and pids["boot_id"] == supervisor.boot_id()):
            # Nobody watches it any more. Say so for good, unless it ended just now.
            _sweep(Path(root))
            if supervisor.bury(root, "lost"):
                end = supervisor.read_json(f"{root}/exit.json")
                return self._never_began(root, pids, end) or self._ended(root, end)
        return Observation(phase=Phase.RUNNING, started_at=_instant(pids["started_at"]))

    def _never_began(
        self, root: str, pids: dict[str, Any] | None, end: dict[str, Any]
    ) -> Observation | None:
        """An attempt that was lost before its driver began the first step: nothing of the user's
        has run. After a restart of the machine that is not sure, the record may not have been
        written to the disk.
        """
        if end["cause"] != "lost" or (pids and pids["boot_id"] != supervisor.boot_id()):
            return None
        if payload.read_record(Path(root) / "steps").began:
            return None
        return Observation(phase=Phase.VANISHED)

    def _ended(self, root: str, end: dict[str, Any]) -> Observation:
        spec = supervisor.read_json(f"{root}/spec.json") or {}
        return Observation(
            phase=Phase.ENDED,
            started_at=_instant(end["started_at"]),
            ended_at=_instant(end["ended_at"]),
            ending=_ending(Path(root), end, spec),
        )

    def cancel(self, token: str, *, signal: int | None = None, after_seconds: float = 0.0) -> None:
        root = self._root / token
        if not root.is_dir():
            return
        _request(root, signal, after_seconds)
        pids = supervisor.read_json(str(root / "pid.json"))
        if pids is None:
            if supervisor.bury(str(root), "stopped"):
                self._on_news(token)
        elif supervisor.start_ticks(pids["supervisor"]) == pids["supervisor_ticks"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids["supervisor"], signals.SIGTERM)

    def samples(self, token: str) -> list[Sample]:
        points = _measured(self._root / token).get("points", [])
        return [Sample(**dict(zip(_POINT, point, strict=False))) for point in points]

    def usage(self, token: str) -> Usage | None:
        return _usage(_measured(self._root / token).get("usage"))

    def close(self) -> None:
        self._forks.close()
        news, self._news = self._news, None
        if news is not None:
            with contextlib.suppress(OSError):
                news.shutdown(socket.SHUT_RDWR)
            news.close()
        self._listener.join(timeout=5)

    def _listen(self) -> None:
        while (news := self._news) is not None:
            try:
                token = news.recv(200)
            except OSError:
                return
            if token:
                self._on_news(token.decode(errors="replace"))


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


def _request(root: Path, signal: int | None, after_seconds: float) -> None:
    """Leave the request for the end. A plain one replaces any, another replaces none."""
    aside = root / f"cancel.{uuid.uuid4().hex}"
    asked = {"signal": signal, "after": after_seconds}
    aside.write_text(json.dumps(asked) if after_seconds else "")
    if after_seconds:
        with contextlib.suppress(FileExistsError):
            os.link(aside, root / "cancel")
        aside.unlink()
    else:
        aside.rename(root / "cancel")


def _measured(root: Path) -> dict[str, Any]:
    """What the supervisor wrote down of the use so far; may be lost with the machine."""
    try:
        found: dict[str, Any] = json.loads((root / meter.SAMPLES).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _usage(found: dict[str, Any] | None) -> Usage | None:
    known = {field.name for field in dataclasses.fields(Usage)}
    return Usage(**{n: v for n, v in found.items() if n in known}) if found else None


def _allowance(spec: dict[str, Any]) -> Allowance | None:
    known = {field.name for field in dataclasses.fields(Allowance)}
    found = spec.get("allowance") or {"walltime": spec.get("walltime", 0)}
    return Allowance(**{n: v for n, v in found.items() if n in known})


def _group(root: Path) -> dict[str, Any] | None:
    """The control group of an attempt, also of one that was started elsewhere below."""
    try:
        spec = supervisor.read_json(str(root / "spec.json")) or {}
    except ValueError:  # cut off by the machine's end, and with it all that was in the group
        return None
    group: dict[str, Any] | None = spec.get("group")
    return group


def _ending(root: Path, end: dict[str, Any], spec: dict[str, Any]) -> Ending:
    """The files of an ended attempt in the domain's words."""
    allowance = _allowance(spec)
    usage = _usage(end.get("usage") or _measured(root).get("usage"))
    ending = _how_it_ended(root, end, spec)
    message = ending.message
    if ending.limit and usage and allowance:
        message = _beyond(ending.limit, usage, allowance)
    return dataclasses.replace(ending, usage=usage, allowance=allowance, message=message)


def _how_it_ended(root: Path, end: dict[str, Any], spec: dict[str, Any]) -> Ending:
    record = payload.read_record(root / "steps")
    code, cause = end["code"], end["cause"]
    labels = spec.get("labels", [])
    failed = record.failed_step
    step = labels[failed] if failed is not None and failed < len(labels) else ""
    if cause == "lost" and record.exit_code is not None:
        cause, code = "exited", record.exit_code  # it had come to its end by itself
    match cause:
        case "exited" if code and not record.began:
            return Ending(cause=Cause.REFUSED, message=_sandbox_failure(root))
        case "exited":
            if code == 0:
                step = ""
            return Ending(
                cause=Cause.EXITED,
                exit_code=code,
                step=step,
                tolerated=_tolerated(record, labels),
                asides=record.asides,
            )
        case "stopped":
            return Ending(cause=Cause.STOPPED, exit_code=code, step=step)
        case "limit":
            return Ending(
                cause=Cause.LIMIT, exit_code=code, step=step, limit=Resource(end["limit"])
            )
        case "walltime":
            message = f"the walltime of {_duration(spec['walltime'])} was exceeded"
            return Ending(cause=Cause.WALLTIME, exit_code=code, step=step, message=message)
        case "refused":
            message = f"it could not be started: {end['message']}"
            return Ending(cause=Cause.REFUSED, message=message)
        case "interrupted":
            message = "it was told to end from outside the platform"
            return Ending(cause=Cause.INTERRUPTED, exit_code=code, step=step, message=message)
        case _:
            pids = supervisor.read_json(str(root / "pid.json")) or {}
            if pids.get("boot_id") != supervisor.boot_id():
                message = "the machine was restarted while it ran"
            else:
                message = "its supervisor process was killed while it ran"
            return Ending(cause=Cause.INTERRUPTED, message=message)


def _tolerated(record: payload.Record, labels: Sequence[str]) -> tuple[str, ...]:
    """The steps that failed and did not end the run."""
    return tuple(
        f"{labels[step]} ended with exit code {code}"
        for step, code in record.failures.items()
        if step < len(labels) and (step != record.failed_step or record.exit_code == 0)
    )


def _sandbox_failure(root: Path) -> str:
    """The sandbox ended before the first step: what it said is in the log."""
    try:
        lines = (root / "home" / "work" / LOG_NAME).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    said = [line for line in lines[-5:] if line.startswith(("bwrap:", "setpriv:"))]
    return "its sandbox could not be set up" + (f": {said[-1]}" if said else "")


def _beyond(limit: Resource, usage: Usage, allowance: Allowance) -> str:
    """What was used of a resource and how much of it may be."""
    most = getattr(usage, limit.value) or 0
    may = getattr(allowance, limit.value)
    text = _size if limit in (Resource.MEMORY, Resource.DISK, Resource.LOG) else _count
    used, allowed = text(most), text(may)
    if used == allowed:
        used = f"more than {used}"
    match limit:
        case Resource.MEMORY:
            return f"it used {used} of memory; its limit is {allowed}"
        case Resource.PROCESSES:
            return f"it had {used} processes and threads; its limit is {allowed}"
        case Resource.DISK:
            return f"its folder held {used}; its limit is {allowed}"
        case Resource.FILES:
            return f"its folder held {used} files; its limit is {allowed}"
        case Resource.LOG:
            return f"its log grew to {used}; its limit is {allowed}"


def _size(size_bytes: float) -> str:
    """In powers of ten, with three digits at most: "5.2 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.3g} TB" if size_bytes < 999.5 else f"{size_bytes:,.0f} TB"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _duration(seconds: float) -> str:
    if seconds % 3600 == 0:
        return f"{seconds // 3600:.0f} h"
    return f"{seconds:.0f} s"


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _bind(folder: Path, name: str) -> socket.socket:
    """A datagram socket in a folder. Its address is taken through a descriptor of the folder:
    the whole path may be longer than such addresses can be.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder / name)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        news.bind(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)
    return news


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
        for pid, ticks in _measured(root).get("processes", [])
        if supervisor.start_ticks(pid) == ticks
    }
    found |= _marked(root.name)
    found |= {below for pid in found for below in meter.descendants(pid)}
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signals.SIGKILL)


def _marked(token: str) -> set[int]:
    """The processes that have an attempt's mark in their environment."""
    mark = f"{_MARK}={token}".encode()
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


def _remove_tree(root: Path) -> None:
    """Remove a folder however deep it is and whatever modes its content has. Links are not
    followed.
    """
    try:
        top = os.open(root, _FOLDER)
    except FileNotFoundError:
        return
    try:
        waiting = _remove_files(top)
        while waiting:
            name = waiting.pop()
            folder = _open_up(name, top)
            try:
                # Folders in it are brought up beside it: nothing is ever deep.
                for inner in _remove_files(folder):
                    os.close(_open_up(inner, folder))
                    waiting.append(uuid.uuid4().hex)
                    os.rename(inner, waiting[-1], src_dir_fd=folder, dst_dir_fd=top)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)
        root.rmdir()
    except OSError as error:
        log.warning("%s could not be removed: %s", root, error)
    finally:
        os.close(top)


def _remove_files(folder: int) -> list[str]:
    """Remove what is in a folder but for its folders; returns their names."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _open_up(name: str, inside: int) -> int:
    """A descriptor of a folder, whose mode is set so that it can be emptied."""
    path = os.open(name, os.O_PATH | _FOLDER, dir_fd=inside)
    try:
        os.chmod(f"/proc/self/fd/{path}", stat.S_IRWXU)
        return os.open(f"/proc/self/fd/{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(path)


def _conforms(engine: LocalEngine) -> Engine:
    """Only for the type checker: a drift from the protocol shows here."""
    return engine
