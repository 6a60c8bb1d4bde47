"""Control groups: which layout is recognised, and what is done with the one that this machine has.

Version 2 with its controllers is shown on files that look like it: the kernel's part in it is not.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from simyard.domain.runs import Allowance, Resource
from simyard.engines import cgroups, group
from simyard.engines.cgroups import Cgroups

LIMITS = Allowance(memory=64 << 20, processes=10)


class Tree:
    """Folders that look like /sys/fs/cgroup, and what /proc says of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts, self.own = root / "mountinfo", root / "cgroup"
        self.lines: list[str] = []
        self.own_lines: list[str] = []

    def mount(self, kind: str, names: str, own: str, top: str = "/") -> Path:
        """Returns our own group in a hierarchy that is mounted from `top` on."""
        at = self.root / (names or "unified")
        number = len(self.lines) + 30
        self.lines.append(f"{number} 23 0:{number} {top} {at} rw - {kind} x rw,{names or 'a'}")
        self.own_lines.append(f"{0 if kind == 'cgroup2' else number}:{names}:{own}")
        self.mounts.write_text("\n".join(self.lines))
        self.own.write_text("\n".join(self.own_lines))
        folder = at / (own.removeprefix(top) if top != "/" else own).lstrip("/")
        folder.mkdir(parents=True)
        return folder

    def v2(self, own: str, controllers: str, given: str) -> Path:
        folder = self.mount("cgroup2", "", own)
        (folder / "cgroup.controllers").write_text(f"{controllers}\n")
        (folder / "cgroup.subtree_control").write_text(f"{given}\n")
        (folder / "cgroup.procs").write_text("")
        return folder

    def found(self) -> list[Cgroups]:
        return list(cgroups._candidates(self.mounts, self.own, "simyard-x-"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_version_two_with_controllers(tree: Tree) -> None:
    own = tree.v2("/system.slice/simyard.service", "cpu memory pids", "memory pids")
    best, *others = tree.found()
    assert best == Cgroups("v2", "simyard-x-", v2=own, controllers=frozenset({"memory", "pids"}))
    assert [other.layout for other in others] == ["v2 without controllers"]
    assert best.enforces(LIMITS) == [Resource.MEMORY, Resource.PROCESSES]


def test_controllers_that_were_handed_to_us_are_handed_on(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tree.v2("/system.slice/simyard.service", "cpu memory pids", "")
    monkeypatch.setattr(cgroups, "_is_ours", lambda _: True)
    (own / "simyard-server").mkdir()
    (own / "simyard-server" / "cgroup.procs").touch()
    best = tree.found()[0]
    assert (best.layout, best.v2) == ("v2", own)
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (own / "simyard-server" / "cgroup.procs").read_text() == "0", "we have moved there"
    # Started again from where it moved to, it finds the same place.
    tree.own.write_text("0::/system.slice/simyard.service/simyard-server\n")
    (own / "cgroup.subtree_control").write_text("memory pids")
    assert tree.found()[0].v2 == own


def test_what_is_somebody_elses_is_not_changed(tree: Tree) -> None:
    own = tree.v2("/user.slice", "cpu memory pids", "")
    if os.getuid() != 0:
        (own / "cgroup.subtree_control").chmod(0o400)
    assert [found.layout for found in tree.found()] == ["v2 without controllers"]
    assert (own / "cgroup.subtree_control").read_text() == "\n"
    assert tree.found()[0].enforces(LIMITS) == []


def test_the_old_layout(tree: Tree) -> None:
    folders = {name: tree.mount("cgroup", name, "/a") for name in ("memory", "pids", "freezer")}
    folders["cpuacct"] = tree.mount("cgroup", "cpu,cpuacct", "/b")
    (found,) = tree.found()
    assert found.layout == "v1" and found.v1 == folders


def test_both_layouts_at_once(tree: Tree) -> None:
    folders = {name: tree.mount("cgroup", name, "/a") for name in ("memory", "pids", "freezer")}
    v2 = tree.v2("/", "hugetlb", "")
    best = tree.found()[0]
    assert (best.layout, best.v2) == ("hybrid", v2)
    assert best.v1 == {name: folders[name] for name in ("memory", "pids")}


def test_a_container_sees_its_own_part_of_the_hierarchy(tree: Tree) -> None:
    at = tree.mount("cgroup", "memory", "/docker/abc/inner", top="/docker/abc")
    assert tree.found()[0].v1 == {"memory": at}


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    assert cgroups.probe(tmp_path, tmp_path / "none", tmp_path / "none") == cgroups.NONE
    assert cgroups.probe(tmp_path, tmp_path / "absent", tmp_path / "absent") == cgroups.NONE
    assert cgroups.NONE.describe("a", LIMITS) is None
    assert cgroups.NONE.tokens() == set()


def test_files_that_only_look_like_it_are_not_taken(tree: Tree) -> None:
    tree.v2("/", "cpu memory pids", "memory pids")
    assert cgroups.probe(tree.root, tree.mounts, tree.own) == cgroups.NONE


def test_what_version_two_is_told_and_asked(tree: Tree) -> None:
    own = tree.v2("/", "memory pids", "memory pids")
    made = tree.found()[0].describe("t", LIMITS)
    assert made is not None
    at = own / "simyard-x-t"
    at.mkdir()
    for name, text in {
        "memory.max": "",
        "pids.max": "",
        "cgroup.procs": "",
        "cgroup.kill": "",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "memory.stat": "anon 1000\nfile 5000\nshmem 24\n",
        "memory.events": "low 0\noom 9\noom_kill 2\n",
        "memory.peak": "2048\n",
        "pids.current": "3\n",
        "pids.events": "max 4\n",
    }.items():
        (at / name).write_text(text)
    group.make(made)  # that there is no memory.swap.max does not matter
    group.join(made, 77)
    group.strike(made)
    said = {name: (at / name).read_text() for name in ("memory.max", "pids.max", "cgroup.kill")}
    assert said == {"memory.max": str(64 << 20), "pids.max": "10", "cgroup.kill": "1"}
    assert group.members(made) == [77]
    read = {name: group.read(made, name) for name in made["counters"]}
    assert read == {
        "cpu_seconds": 2.5,
        "memory": 1024,
        "memory_peak": 2048,
        "oom_kills": 2,
        "processes": 3,
        "processes_peak": None,  # older kernels
        "fork_refusals": 4,
    }


# --- this machine's -------------------------------------------------------------------------------


def usable() -> Iterator[Cgroups]:
    found = cgroups._candidates(
        Path("/proc/self/mountinfo"), Path("/proc/self/cgroup"), f"simyard-test{os.getpid()}-"
    )
    return (one for one in found if cgroups._works(one))


# Not every layout works on every machine; those that do are shown.
HERE = {one.layout: one for one in usable()}
WITH_MEMORY = [name for name, one in HERE.items() if Resource.MEMORY in one.enforces(LIMITS)]


@pytest.fixture(params=list(HERE))
def real(request: pytest.FixtureRequest) -> Iterator[Cgroups]:
    found = HERE[request.param]
    yield found
    assert found.tokens() == set()


# Two that fork and die without end: signals to pids that were listed come too late for them.
RABBITS = "f() { [ $1 -gt 12 ] || f $(($1 + 1)) & sleep 0.01; f 0 & }; f 0; f 0; exec sleep 40"


def test_a_group_ends_whatever_forks_in_it(real: Cgroups) -> None:
    made = real.describe("a", Allowance(processes=200))
    assert made is not None
    group.make(made)
    try:
        with subprocess.Popen(
            ["bash", "-c", f"read; {RABBITS}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as rabbits:
            group.join(made, rabbits.pid)
            assert rabbits.stdin is not None
            rabbits.stdin.write(b"\n")
            rabbits.stdin.flush()
            while len(group.members(made)) < 10:
                assert rabbits.poll() is None
            assert group.empty(made, 5)
            assert rabbits.wait(timeout=5) == -signal.SIGKILL
    finally:
        cgroups.end(made)


@pytest.mark.parametrize("real", WITH_MEMORY, indirect=True)
def test_the_kernel_tells_what_was_used_and_killed(real: Cgroups) -> None:
    made = real.describe("a", LIMITS)
    assert made is not None
    group.make(made)
    try:
        hog = "read; python3 -c 'bytes(200 << 20).replace(bytes(1), bytes([1]))'; exit 5"
        with subprocess.Popen(["bash", "-c", hog], stdin=subprocess.PIPE) as hogging:
            group.join(made, hogging.pid)
            hogging.communicate(b"\n", timeout=20)
            assert hogging.returncode == 5
        assert group.read(made, "oom_kills") == 1
        peak = group.read(made, "memory_peak")
        assert peak is not None and 50 << 20 < peak <= LIMITS.memory
        cpu = group.read(made, "cpu_seconds")
        assert cpu is not None and 0.005 < cpu < 20
        assert group.read(made, "processes") == 0
    finally:
        cgroups.end(made)


def test_groups_are_told_apart_by_installation(real: Cgroups) -> None:
    theirs = replace(real, prefix=f"{real.prefix}other-")
    mine, other = real.describe("a", LIMITS), theirs.describe("b", LIMITS)
    assert mine is not None and other is not None
    group.make(mine)
    group.make(other)
    try:
        theirs.sweep(keep=["a"])
        assert theirs.tokens() == set()
        assert real.tokens() == {"a"}
    finally:
        cgroups.end(mine)
        cgroups.end(other)
