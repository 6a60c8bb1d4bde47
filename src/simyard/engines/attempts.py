"""The folders of attempts: made, filled, and read by whoever wants to know how they went.

What lies in a folder is all that the server and an attempt's supervisor say to each other
(supervisor.py). So this is the same for every engine whose attempts have a supervisor and whose
folders the server can see; how a supervisor is started, and whether it is alive, is the engine's.
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import socket
import stat
import threading
import uuid
from array import array
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from simyard.domain.errors import disk_is_full
from simyard.domain.records import replace
from simyard.domain.runs import Allowance, Cause, Ending, Resource, Sample, Usage
from simyard.engines import meter, payload, supervisor
from simyard.engines.plugins import EngineError
from simyard.engines.protocol import AttemptSpec, Bind, Folder, Observation, Phase, Request
from simyard.engines.sandbox import Sandbox

log = logging.getLogger(__name__)

MARK = "SIMYARD_ATTEMPT"  # in the environment of everything that belongs to an attempt
LOG_NAME = "process_output.log"
SHARED = ".shared"  # what all attempts see, beside their folders
_NEWS = ".news"  # datagram socket, beside the attempts' folders
_ASIDE = ".aside"  # folders that attempts are made from, beside their folders
_USAGE = {each.name for each in dataclasses.fields(Usage)}
_ALLOWANCE = {each.name for each in dataclasses.fields(Allowance)}
_POINT = ("seconds", "cpu_seconds", "memory", "processes", "disk", "files")  # as meter.py has them
_NOT_SAFE = "the machine was restarted before all that it had written was on the disk"
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, ... of linux/fs.h
_TOP_OF_HIERARCHIES = 0x00020000  # FS_TOPDIR_FL
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class AttemptFolders:
    """`on_news` is called from a thread of its own with the token that something happened to; it is
    a hint, and may come late, twice or never.

    mode: of the folder of all attempts and of each. supervised_as: user and group of supervisors
    where they are not the server's.
    """

    def __init__(
        self,
        root: Path,
        sandbox: Sandbox,
        on_news: Callable[[str], None],
        *,
        network: bool,
        mode: int,
        supervised_as: tuple[int, int] | None = None,
    ) -> None:
        self._root = root
        self._sandbox = sandbox
        self._network = network
        self._on_news = on_news
        self._mode = mode
        self._supervised_as = supervised_as
        self._laying_out = threading.Lock()
        self._alike: dict[bytes, str] = {}  # for scripts
        root.mkdir(mode=mode, parents=True, exist_ok=True)
        root.chmod(mode)
        _lay_apart(root)
        sandbox.write_shared(root / SHARED)
        self._news: socket.socket | None = _bind(root, _NEWS)
        if supervised_as is not None:
            (root / _NEWS).chmod(0o622)
        self._listener = threading.Thread(target=self._listen, name="engine-news", daemon=True)
        self._listener.start()

    def _close_news(self) -> None:
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

    # --- folders ----------------------------------------------------------------------------------

    def folder(self, token: str) -> Folder:
        root = self._root / token
        uid = self._sandbox.owned_by
        return Folder(
            root=root,
            inside_home=self._box(token).home_inside(root),
            owner=None if uid is None else (uid, uid),
        )

    def _box(self, token: str) -> Sandbox:
        """What this attempt may see and do."""
        return self._sandbox

    def prepare(self, token: str, request: Request) -> Folder:
        folder = self.folder(token)
        remove_tree(folder.root)
        root = str(folder.root)
        os.mkdir(root, self._mode)
        os.chmod(root, self._mode)
        _chown(root, self._supervised_as)
        for path in (f"{root}/home", f"{root}/home/work", f"{root}/tmp"):
            os.mkdir(path, 0o700)
            _chown(path, folder.owner)
        return folder

    def shown(self, token: str, source: Path, name: str) -> Bind:
        return Bind(str(source), self._box(token).shown_at(source, name))

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
        remove_tree(self.aside(name))

    # --- what is to be started --------------------------------------------------------------------

    def _write_spec(
        self,
        folder: Folder,
        attempt: AttemptSpec,
        *,
        group: dict[str, Any] | None = None,
        inherits: Sequence[str] = (),
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Put everything into the folder that a supervisor needs, unless it is there: one that was
        started reads it. group: as cgroups describes it. inherits: beginnings of the names of
        variables that the payload has from its supervisor. more: what the engine itself wants to
        find there again.
        """
        with self._laying_out:
            if not (folder.root / "spec.json").exists():
                self._lay_out_spec(folder, attempt, group, inherits, more)

    def _lay_out_spec(
        self,
        folder: Folder,
        attempt: AttemptSpec,
        group: dict[str, Any] | None,
        inherits: Sequence[str],
        more: Mapping[str, Any],
    ) -> None:
        box = self._box(attempt.token)
        # Only where no payload could write to them.
        alike = self._alike if box.bwrap else {}
        env = {
            "PATH": ":".join(attempt.path),
            "HOME": folder.inside_home,
            "USER": "job",
            "LOGNAME": "job",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TMPDIR": "/tmp" if box.bwrap else str(folder.root / "tmp"),
            **attempt.env,
            MARK: attempt.token,
        }
        # For the steps only: what makes the sandbox would load a dozen files for it.
        spoken = {name: env.pop(name) for name in list(env) if name.startswith(("LANG", "LC_"))}
        steps = [replace(s, env={**spoken, **s.env}) for s in attempt.steps]
        payload.write_scripts(folder.root / "scripts", steps, alike)
        argv = box.argv(
            folder.root,
            self._root / SHARED,
            binds=attempt.binds,
            network=self._network and attempt.network,
        )
        uid = box.uid if not box.bwrap else None
        spec = {
            "token": attempt.token,
            "argv": argv,
            "env": env,
            "inherits": list(inherits),
            "cwd": str(folder.root if box.bwrap else folder.work),
            "log": str(folder.work / LOG_NAME),
            "labels": [step.label for step in steps],
            "walltime": attempt.allowance.walltime,
            "allowance": vars(attempt.allowance),
            "group": group,
            "own_pids": bool(box.bwrap),
            "grace": attempt.grace_seconds,
            "uid": uid,
            "gid": uid,
            "spare": ["bwrap"],
            "notify": f"../{_NEWS}",
            **more,
        }
        aside = f"{folder.root}/spec.json.new"
        payload.write(aside, json.dumps(spec), 0o600)
        _chown(aside, self._supervised_as)
        os.rename(aside, f"{folder.root}/spec.json")

    # --- how it went ------------------------------------------------------------------------------

    def _over(
        self, root: str, pids: Mapping[str, Any] | None, end: dict[str, Any], *, same_boot: bool
    ) -> Observation:
        """What is to be said of an attempt that has an end.

        An attempt that was lost before its driver began the first step has vanished: nothing of the
        user's has run. After a restart of the machine that is not sure, the record may not have
        been written to the disk (same_boot); nor is it sure then that its files are whole.
        """
        may_not_have_begun = end["cause"] == "lost" and (pids is None or same_boot)
        if may_not_have_begun and not payload.read_record(Path(root) / "steps").began:
            return Observation(phase=Phase.VANISHED)
        spec = supervisor.read_json(f"{root}/spec.json") or {}
        return Observation(
            phase=Phase.ENDED,
            started_at=instant(end["started_at"]),
            ended_at=instant(end["ended_at"]),
            ending=_ending(Path(root), end, spec, whole=same_boot or supervisor.is_safe(root)),
        )

    def samples(self, token: str) -> list[Sample]:
        points = measured(self._root / token).get("points", [])
        return [Sample(**dict(zip(_POINT, point, strict=False))) for point in points]

    def usage(self, token: str) -> Usage | None:
        return usage_of(measured(self._root / token).get("usage"))


def request(root: Path, signal: int | None, after_seconds: float) -> None:
    """Leave the request for an attempt's end. A plain one replaces any, another replaces none."""
    aside = root / f"cancel.{uuid.uuid4().hex}"
    asked = {"signal": signal, "after": after_seconds}
    aside.write_text(json.dumps(asked) if after_seconds else "")
    aside.chmod(0o644)  # the supervisor may be another user
    if after_seconds:
        with contextlib.suppress(FileExistsError):
            os.link(aside, root / "cancel")
        aside.unlink()
    else:
        aside.rename(root / "cancel")


def bury(root: str, cause: str, message: str = "") -> bool:
    """Write the end of an attempt that nobody will. Returns whether it has one now: on a full disk
    that waits for room, and what else there is to tell does not wait for that.
    """
    try:
        return bool(supervisor.bury(root, cause, message))
    except OSError as error:
        if not disk_is_full(error):
            raise
        log.warning("%s: there is no room to write down its end (%s)", root, cause)
        return False


def measured(root: Path) -> dict[str, Any]:
    """What the supervisor wrote down of the use: with the end, or so far, which may be lost with
    the machine.
    """
    found: dict[str, Any] = supervisor.read_json(f"{root}/exit.json") or {}
    if "points" in found:
        return found
    try:
        found = json.loads((root / meter.SAMPLES).read_text())
    except (OSError, ValueError):
        return {}
    return found


def usage_of(found: dict[str, Any] | None) -> Usage | None:
    return Usage(**{n: v for n, v in found.items() if n in _USAGE}) if found else None


def _allowance(spec: dict[str, Any]) -> Allowance | None:
    found = spec.get("allowance") or {"walltime": spec.get("walltime", 0)}
    return Allowance(**{n: v for n, v in found.items() if n in _ALLOWANCE})


def _ending(root: Path, end: dict[str, Any], spec: dict[str, Any], *, whole: bool) -> Ending:
    """The files of an ended attempt in the domain's words."""
    allowance = _allowance(spec)
    usage = usage_of(end.get("usage") or measured(root).get("usage"))
    ending = _how_it_ended(root, end, spec)
    if ending.successful and not whole:
        ending = Ending(cause=Cause.INTERRUPTED, message=_NOT_SAFE)
    message = ending.message
    if ending.limit and usage and allowance:
        message = _beyond(ending.limit, usage, allowance)
    return replace(ending, usage=usage, allowance=allowance, message=message)


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
        case _ if end["message"]:
            return Ending(cause=Cause.INTERRUPTED, message=end["message"])
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


def instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def need_way(folder: Path, uid: int) -> None:
    """Raises EngineError where runs, as this user, cannot walk to this folder by themselves."""
    for each in (folder, *folder.parents):
        if not each.stat().st_mode & 0o001:
            raise EngineError(
                f"runs walk to {folder} by themselves, as user {uid}, who cannot enter {each}:"
                " put it where others may go"
            )


def _chown(path: str | Path, owner: tuple[int, int] | None) -> None:
    if owner:
        os.chown(path, *owner)


def _lay_apart(folder: Path) -> None:
    """Tell an ext file system that what is in this folder has nothing to do with each other, as it
    is told of /home: attribute T of chattr(1). Where all lies together, each new file is looked for
    among those that were just removed. Others refuse it, and do without.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        flags = array("i", [0, 0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _GET_FLAGS, flags)
            flags[0] |= _TOP_OF_HIERARCHIES
            fcntl.ioctl(descriptor, _SET_FLAGS, flags)
    finally:
        os.close(descriptor)


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


def remove_tree(root: Path) -> None:
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
                    if not _remove_flat(inner, folder):
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


def _remove_flat(name: str, inside: int) -> bool:
    """Remove the files of a folder, and the folder if there are no folders in it."""
    folder = _open_up(name, inside)
    try:
        if _remove_files(folder):
            return False
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=inside)
    return True


def _open_up(name: str, inside: int) -> int:
    """A descriptor of a folder, whose mode is set so that it can be emptied."""
    with contextlib.suppress(PermissionError):
        folder = os.open(name, _FOLDER, dir_fd=inside)
        if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(folder, stat.S_IRWXU)
        return folder
    path = os.open(name, os.O_PATH | _FOLDER, dir_fd=inside)
    try:
        os.chmod(f"/proc/self/fd/{path}", stat.S_IRWXU)
        return os.open(f"/proc/self/fd/{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(path)
