"""What control groups can do on this machine, and the group of each attempt.

Layouts that exist: v2 with its controllers handed down to us, v2 without, v1, and both at once with
the controllers on the old side (hybrid). Which one works is tried at the start by doing it. Groups
lie below the server's own, so that whatever limits the server holds for its runs too.

Interfaces: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ (memory, pids,
cpuacct, freezer-subsystem).
"""

import contextlib
import hashlib
import logging
import os
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from simyard.domain.records import dataclass
from simyard.domain.runs import Allowance, Resource
from simyard.engines import group as groups

log = logging.getLogger(__name__)

_V1 = ("memory", "pids", "cpuacct", "freezer")
_V2 = ("memory", "pids")
_DELEGATED = ("trusted.delegate", "user.delegate")  # what systemd marks such groups with
_SERVER = "simyard-server"  # the group that we move into where ours must be empty
_TRIAL = "probe"  # names the group that is made to see what works


@dataclass(frozen=True)
class Cgroups:
    """How attempts are grouped on this machine. Made by `probe`."""

    layout: str  # "v2", "v2 without controllers", "hybrid", "v1", "none"
    prefix: str = ""  # of the names of this installation's groups
    v1: Mapping[str, Path] = field(default_factory=dict)  # controller -> where groups are made
    v2: Path | None = None  # where groups are made
    controllers: frozenset[str] = frozenset()  # of v2

    def enforces(self, allowance: Allowance) -> list[Resource]:
        """The limits that the kernel keeps."""
        found = []
        for resource, controller, most in (
            (Resource.MEMORY, "memory", allowance.memory),
            (Resource.PROCESSES, "pids", allowance.processes),
        ):
            if most and (controller in self.controllers or controller in self.v1):
                found.append(resource)
        return found

    def describe(self, token: str, allowance: Allowance) -> dict[str, Any] | None:
        """The group of an attempt, for its spec.json (see group.py); None: it has none."""
        if self.layout == "none":
            return None
        name = self.prefix + token
        made: dict[str, Any] = {
            "folders": [],
            "settings": [],
            "procs": [],
            "kill": None,
            "freeze": None,
            "counters": {},
            "enforces": [str(resource) for resource in self.enforces(allowance)],
        }
        if self.v2 is not None:
            self._describe_v2(made, f"{self.v2}/{name}", allowance)
        for controller, parent in self.v1.items():
            _describe_v1(made, controller, f"{parent}/{name}", allowance)
        return made

    def _describe_v2(self, made: dict[str, Any], at: str, allowance: Allowance) -> None:
        made["folders"].append(at)
        made["procs"].append(f"{at}/cgroup.procs")
        made["kill"] = f"{at}/cgroup.kill"
        counters = made["counters"]
        counters["cpu_seconds"] = [f"{at}/cpu.stat", ["usage_usec"], 1e-6]
        if "memory" in self.controllers:
            counters["memory"] = [f"{at}/memory.stat", ["anon", "shmem"], 1]
            counters["memory_peak"] = [f"{at}/memory.peak", [], 1]
            counters["oom_kills"] = [f"{at}/memory.events", ["oom_kill"], 1]
            if allowance.memory:
                made["settings"] += [
                    [f"{at}/memory.max", str(allowance.memory), True],
                    [f"{at}/memory.swap.max", "0", False],
                ]
        if "pids" in self.controllers:
            counters["processes"] = [f"{at}/pids.current", [], 1]
            counters["processes_peak"] = [f"{at}/pids.peak", [], 1]
            counters["fork_refusals"] = [f"{at}/pids.events", ["max"], 1]
            if allowance.processes:
                made["settings"].append([f"{at}/pids.max", str(allowance.processes), True])

    def tokens(self) -> set[str]:
        """The attempts of this installation that have a group."""
        found: set[str] = set()
        for parent in (self.v2, *self.v1.values()):
            if parent is not None:
                with contextlib.suppress(OSError):
                    names = os.listdir(parent)
                    found |= {n[len(self.prefix) :] for n in names if n.startswith(self.prefix)}
        return found

    def sweep(self, keep: Collection[str]) -> None:
        """End and remove the groups of attempts that are known no more."""
        for token in self.tokens() - set(keep):
            end(self.describe(token, Allowance()))


NONE = Cgroups("none")


def _describe_v1(made: dict[str, Any], controller: str, at: str, allowance: Allowance) -> None:
    made["folders"].append(at)
    made["procs"].append(f"{at}/cgroup.procs")
    counters = made["counters"]
    match controller:
        case "memory":
            counters["memory"] = [f"{at}/memory.stat", ["total_rss", "total_shmem"], 1]
            counters["memory_peak"] = [f"{at}/memory.max_usage_in_bytes", [], 1]
            counters["oom_kills"] = [f"{at}/memory.oom_control", ["oom_kill"], 1]
            if allowance.memory:
                made["settings"] += [
                    [f"{at}/memory.limit_in_bytes", str(allowance.memory), True],
                    [f"{at}/memory.memsw.limit_in_bytes", str(allowance.memory), False],
                ]
        case "pids":
            counters["processes"] = [f"{at}/pids.current", [], 1]
            counters["processes_peak"] = [f"{at}/pids.peak", [], 1]
            counters["fork_refusals"] = [f"{at}/pids.events", ["max"], 1]
            if allowance.processes:
                made["settings"].append([f"{at}/pids.max", str(allowance.processes), True])
        case "cpuacct":
            counters["cpu_seconds"] = [f"{at}/cpuacct.usage", [], 1e-9]
        case "freezer":
            made["freeze"] = f"{at}/freezer.state"


def end(group: dict[str, Any] | None) -> None:
    """Kill what is in a group and remove it. Safe to repeat, and where it never was."""
    if group is not None:
        if not groups.empty(group):
            log.warning("something in %s cannot be killed", group["folders"][0])
        groups.remove(group)


def probe(
    root: Path,
    mounts: Path = Path("/proc/self/mountinfo"),
    own: Path = Path("/proc/self/cgroup"),
) -> Cgroups:
    """See what works on this machine, by doing it.

    root: the folder of the attempts, which the groups are named after.
    """
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    for found in _candidates(mounts, own, f"simyard-{name}-"):
        if _works(found):
            return found
    return NONE


def _candidates(mounts: Path, own: Path, prefix: str) -> Iterator[Cgroups]:
    """What there may be, the best first."""
    v1, v2 = _mounted(mounts, own)
    if v2 is not None and v2.name == _SERVER:
        v2 = v2.parent
    old = {name: v1[name] for name in _V1 if name in v1}
    if v2 is not None:
        controllers = _handed_down(v2)
        if controllers >= set(_V2):
            yield Cgroups("v2", prefix, v2=v2, controllers=controllers)
        limits = {name: old[name] for name in _V2 if name in old}
        if limits:
            yield Cgroups("hybrid", prefix, v1=limits, v2=v2)
    if old:
        yield Cgroups("v1", prefix, v1=old)
    if v2 is not None:
        yield Cgroups("v2 without controllers", prefix, v2=v2)


def _mounted(mounts: Path, own: Path) -> tuple[dict[str, Path], Path | None]:
    """Our own groups: of each controller of v1, and of v2."""
    ours: dict[str, str] = {}
    try:
        for line in own.read_text().splitlines():
            _, names, path = line.split(":", 2)
            ours.update(dict.fromkeys(names.split(","), path))
        lines = mounts.read_text().splitlines()
    except (OSError, ValueError):
        return {}, None
    v1: dict[str, Path] = {}
    v2 = None
    for line in lines:  # proc(5), mountinfo
        before, _, after = line.partition(" - ")
        top, at = before.split()[3:5]
        kind, *_, options = after.split()
        if kind == "cgroup2":
            v2 = _below(Path(at), top, ours.get("", "/"))
        elif kind == "cgroup":
            for name in set(options.split(",")) & set(_V1):
                v1[name] = _below(Path(at), top, ours.get(name, "/"))
    return v1, v2


def _below(at: Path, top: str, path: str) -> Path:
    """Where the group of this path is seen, in a hierarchy that is mounted from `top` on."""
    inside = path.removeprefix(top) if top != "/" else path
    found = at / inside.lstrip("/")
    return found if found.is_dir() else at


def _handed_down(v2: Path) -> frozenset[str]:
    """The controllers that groups below this one have, or can be given by us.

    A group that gives its controllers on may hold no processes itself, but for the topmost. We
    therefore move into one beside the attempts', where the group was handed over to us.
    """
    try:
        given = frozenset((v2 / "cgroup.subtree_control").read_text().split())
        there = frozenset((v2 / "cgroup.controllers").read_text().split())
    except OSError:
        return frozenset()
    missing = set(_V2) - given
    if not missing:
        return given
    if missing - there or not _is_ours(v2):
        return given
    wanted = " ".join(f"+{name}" for name in sorted(missing))
    server = v2 / _SERVER
    try:
        server.mkdir(exist_ok=True)
        (server / "cgroup.procs").write_text("0")
        (v2 / "cgroup.subtree_control").write_text(wanted)
    except OSError:  # somebody else is in it
        with contextlib.suppress(OSError):
            (v2 / "cgroup.procs").write_text("0")
            server.rmdir()
        return given
    return given | missing


def _is_ours(v2: Path) -> bool:
    """Whether the service manager handed this group over, or a user owns it."""
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(v2, name) == b"1":
                return True
    return os.getuid() != 0 and os.access(v2 / "cgroup.subtree_control", os.W_OK)


def _works(found: Cgroups) -> bool:
    """Make a group with limits, put a process into it, end it there, and remove the group."""
    trial = replace(found, prefix=f"{found.prefix}{os.getpid()}-")
    group = trial.describe(_TRIAL, Allowance(memory=1 << 30, processes=100))
    assert group is not None
    try:
        with subprocess.Popen(["sleep", "20"], stdin=subprocess.DEVNULL) as sleeper:
            try:
                groups.make(group)
                groups.join(group, sleeper.pid)
                if groups.members(group) != [sleeper.pid]:
                    return False
                groups.strike(group)
                sleeper.wait(timeout=2)
            finally:
                sleeper.kill()
        return True
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("control groups, %s: %s", found.layout, error)
        return False
    finally:
        groups.remove(group)
