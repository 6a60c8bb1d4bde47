"""What the local engine says and does of attempts, with real processes."""

import errno
import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness import wait_for
from simyard.domain.runs import Allowance, Cause, Ending, Resource
from simyard.engines import attempts, cgroups, meter, payload, sandbox, supervisor
from simyard.engines.local import LocalEngine
from simyard.engines.protocol import AttemptSpec, Phase, Request, Step
from simyard.engines.sandbox import Sandbox

NO_BOX = Sandbox("none", "for this test", None)
# Processes are known by it on the whole machine, where others run the same tests.
ONE = f"a-{os.getpid()}"
HOG = "python3 -c 'import time; x = bytearray({0} << 20); x[::4096] = x[::4096]; time.sleep({1})'"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    """Without control groups."""
    made = LocalEngine(tmp_path / "runs", NO_BOX, lambda _: None, network=False)
    yield made
    made.close()


class Grouped:
    """An engine with the control groups of this machine, and a way to wait for it."""

    def __init__(self, root: Path, groups: cgroups.Cgroups, box: Sandbox = NO_BOX) -> None:
        self.news: queue.Queue[str] = queue.Queue()
        self.groups = groups
        self.engine = LocalEngine(root, box, self.news.put, network=False, groups=groups)

    def start(self, token: str, command: str, *then: str, **allowance: int) -> Path:
        """Begin an attempt. Returns its folder."""
        folder = self.engine.prepare(token, Request(cores=1))
        self.engine.submit(attempt(token, command, *then, **allowance))
        return folder.root

    def end(self, token: str, seconds: float = 20) -> Ending:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            seen = self.engine.observe([token])[token]
            if seen.phase is Phase.ENDED:
                assert seen.ending is not None
                return seen.ending
            time.sleep(0.02)
        raise AssertionError(f"{token} does not end")

    def run(self, command: str, *then: str, **allowance: int) -> Ending:
        token = f"t{time.monotonic_ns()}"
        self.start(token, command, *then, **allowance)
        ending = self.end(token)
        self.engine.remove(token)
        return ending


def attempt(token: str, *commands: str, grace: float = 1.0, **allowance: int) -> AttemptSpec:
    return AttemptSpec(
        token=token,
        request=Request(cores=1),
        steps=[Step(label=f"step {n}", command=text, env={}) for n, text in enumerate(commands)],
        env={},
        path=["/usr/bin", "/bin"],
        binds=[],
        network=True,
        allowance=Allowance(**{"walltime": 30, **allowance}),
        grace_seconds=grace,
    )


def close(made: Grouped) -> None:
    for token in made.engine.tokens():
        made.engine.cancel(token)
        made.end(token)
        made.engine.remove(token)
    made.engine.close()
    assert made.groups.tokens() == set(), "no group is left"


@pytest.fixture
def grouped(tmp_path: Path) -> Iterator[Grouped]:
    root = tmp_path / "runs"
    found = cgroups.probe(root)
    if not found.enforces(Allowance(memory=1)):
        pytest.skip("no control groups with memory can be made here")
    made = Grouped(root, found)
    yield made
    close(made)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Grouped]:
    """The same where nothing but the supervisor keeps limits."""
    made = Grouped(tmp_path / "runs", cgroups.NONE)
    yield made
    close(made)


@pytest.fixture
def boxed(tmp_path: Path) -> Iterator[Grouped]:
    """In the sandbox and the control groups of this machine."""
    root = tmp_path / "runs"
    box = sandbox.probe("required", 65534, tmp_path / "probe")
    made = Grouped(root, cgroups.probe(root), box)
    yield made
    close(made)


def test_what_was_laid_out_before_the_machine_started_is_laid_out_again(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = engine.prepare(ONE, Request(cores=1))
    assert engine.observe([ONE])[ONE].phase is Phase.UNKNOWN
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: -60.0)  # as if it starts in a minute
    assert engine.observe([ONE])[ONE].phase is Phase.VANISHED
    # A start that was under way all the same comes too late.
    command = [sys.executable, "-I", "-S", supervisor.__file__, str(folder.root)]
    assert subprocess.run(command, check=False).returncode == supervisor.ENDED


def test_an_attempt_without_a_folder_has_vanished(engine: LocalEngine) -> None:
    assert engine.observe(["never"])["never"].phase is Phase.VANISHED


def test_attempts_are_listed_and_removed(engine: LocalEngine) -> None:
    folder = engine.prepare(ONE, Request(cores=1))
    (folder.work / "deep").mkdir()
    (folder.work / "deep" / "file").write_text("x")
    (folder.work / "out").symlink_to("/etc/hostname")
    assert engine.tokens() == [ONE]
    engine.remove(ONE)
    assert engine.tokens() == []
    assert Path("/etc/hostname").exists()
    engine.remove(ONE)  # once more does nothing


# --- limits ---------------------------------------------------------------------------------------


def test_the_kernel_keeps_memory_and_processes(grouped: Grouped) -> None:
    kept = grouped.engine.capabilities().limits
    assert kept[Resource.MEMORY] == kept[Resource.PROCESSES] == "kernel"
    assert kept[Resource.DISK] == kept[Resource.FILES] == kept[Resource.LOG] == "watched"


def test_a_child_is_killed_for_memory_and_its_parent_ends_well(grouped: Grouped) -> None:
    ending = grouped.run(f"{HOG.format(300, 0)}; echo $?; exit 0", memory=100 * 10**6)
    assert (ending.cause, ending.exit_code) == (Cause.EXITED, 0)
    assert ending.usage is not None and ending.usage.oom_kills == 1
    assert ending.usage.memory is not None and 90e6 < ending.usage.memory <= 100e6
    assert ending.allowance is not None and ending.allowance.memory == 100 * 10**6


def test_what_is_killed_for_memory_ends_with_its_signal(grouped: Grouped) -> None:
    ending = grouped.run(f"exec {HOG.format(300, 0)}", memory=100 * 10**6)
    assert (ending.cause, ending.exit_code) == (Cause.EXITED, 137)
    assert ending.usage is not None and ending.usage.oom_kills == 1


def test_a_process_that_the_kernel_does_not_let_begin_is_counted(grouped: Grouped) -> None:
    forks = "for i in $(seq 30); do sleep 5 & done; echo begun"
    ending = grouped.run(forks, processes=20)
    assert ending.usage is not None and ending.usage.fork_refusals > 0
    assert ending.is_reached(Resource.PROCESSES) and not ending.is_reached(Resource.MEMORY)
    ending = grouped.run("sleep 0.1 & wait", processes=20)
    assert ending.usage is not None and ending.usage.fork_refusals == 0
    assert not ending.is_reached(Resource.PROCESSES)


def test_files_that_are_only_cached_are_no_memory(grouped: Grouped) -> None:
    ending = grouped.run("head -c 150M /dev/zero > x; sleep 1.2", memory=100 * 10**6)
    assert (ending.cause, ending.exit_code) == (Cause.EXITED, 0)
    assert ending.usage is not None and ending.usage.oom_kills == 0
    assert ending.usage.memory is not None and ending.usage.memory < 60e6


def test_no_more_processes_than_there_may_be(grouped: Grouped) -> None:
    many = "for i in $(seq 40); do sleep 0.5 & done; wait"
    ending = grouped.run(f"({many}) 2>&1 | grep -c -i fork", processes=20)
    assert ending.usage is not None and ending.usage.processes == 20


def test_memory_and_processes_also_without_the_kernel(watched: Grouped) -> None:
    for token, command, allowance in (
        ("memory", HOG.format(300, 20), {"memory": 100 * 10**6}),
        ("processes", "for i in $(seq 40); do sleep 20 & done; wait", {"processes": 20}),
    ):
        watched.start(token, command, **allowance)
    memory, processes = watched.end("memory"), watched.end("processes")
    assert (memory.cause, memory.limit) == (Cause.LIMIT, Resource.MEMORY)
    used = re.fullmatch(r"it used (\d+) MB of memory; its limit is 100 MB", memory.message)
    assert used and 100 < int(used[1]) < 400, "as much as it had when it was looked at"
    assert (processes.cause, processes.limit) == (Cause.LIMIT, Resource.PROCESSES)
    there = re.fullmatch(r"it had (\d+) processes and threads; its limit is 20", processes.message)
    assert there and 20 < int(there[1]) < 50


def test_shared_memory_is_counted_once(watched: Grouped) -> None:
    share = (
        "import mmap, os, time; x = mmap.mmap(-1, 60 << 20); x[::4096] = x[::4096];"
        " [os.fork() for _ in range(2)]; x[::4096]; time.sleep(2.5)"
    )
    ending = watched.run(f"exec python3 -c '{share}'", memory=150 * 10**6)
    assert ending.cause is Cause.EXITED and ending.exit_code == 0


def test_disk_files_and_log_are_watched(grouped: Grouped) -> None:
    beyond = {
        Resource.LOG: ("head -c 3M /dev/zero; sleep 20", {"log": 10**6}),
        Resource.DISK: ("head -c 3M /dev/zero > x; sleep 20", {"disk": 10**6}),
        Resource.FILES: ("mkdir d; touch d/$(seq -s ' d/' 300); sleep 20", {"files": 200}),
    }
    began = time.monotonic()
    for resource, (command, allowance) in beyond.items():
        grouped.start(str(resource), command, **allowance)
    said = {}
    for resource in beyond:
        ending = grouped.end(str(resource))
        assert (ending.cause, ending.limit) == (Cause.LIMIT, resource)
        said[resource] = ending.message
    assert time.monotonic() - began < 15
    assert said == {
        Resource.LOG: "its log grew to 3.15 MB; its limit is 1 MB",
        Resource.DISK: "its folder held 3.16 MB; its limit is 1 MB",
        Resource.FILES: "its folder held 303 files; its limit is 200",
    } or said[Resource.DISK].startswith("its folder held 3.1")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (5_240_000_000, "5.24 GB"), (4 * 10**9, "4 GB")],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert attempts._size(size) == text


# --- use ------------------------------------------------------------------------------------------


def test_what_a_run_used(grouped: Grouped) -> None:
    busy = "python3 -c 'x = bytes(80 << 20).replace(bytes(1), bytes([1])); sum(range(10**7))'"
    folder = grouped.start(ONE, f"head -c 2M /dev/zero > x; {busy}; sleep 2.2; echo end")
    until = time.monotonic() + 20
    while not grouped.engine.samples(ONE) and time.monotonic() < until:
        time.sleep(0.05)
    (first, *_) = grouped.engine.samples(ONE)
    assert 0.9 < first.seconds < 10
    assert first.processes is not None and first.processes >= 2
    so_far = grouped.engine.usage(ONE)
    assert so_far is not None and so_far.cpu_seconds is not None
    usage = grouped.end(ONE).usage
    assert usage is not None
    assert usage.cpu_seconds is not None and 0.1 < usage.cpu_seconds < 20
    assert usage.memory is not None and 84e6 < usage.memory < 120e6
    assert usage.disk is not None and 2 << 20 <= usage.disk < 3 << 20
    assert usage.files is not None and 3 <= usage.files <= 4  # work, its log and x
    assert usage.log == 4
    assert usage.free_bytes and usage.disk_bytes and usage.free_bytes < usage.disk_bytes
    points = grouped.engine.samples(ONE)
    assert [p.seconds for p in points] == sorted(p.seconds for p in points)
    assert points[-1].cpu_seconds == pytest.approx(usage.cpu_seconds, abs=0.05)
    assert not (folder / "samples.new").exists()


def test_a_run_that_stands_still_is_seen(watched: Grouped) -> None:
    watched.start("still", "echo begun; sleep 3.5")
    watched.start("spins", "echo begun; timeout 3.5 sh -c 'while :; do :; done'; true")
    still, spins = watched.end("still").usage, watched.end("spins").usage
    assert still is not None and spins is not None
    assert still.quiet_seconds is not None and still.quiet_seconds > 1.5
    assert still.idle_seconds is not None and still.idle_seconds > 1.5
    assert spins.quiet_seconds is not None and spins.quiet_seconds > 1.5
    assert spins.idle_seconds is not None and spins.idle_seconds < 1.5


def test_series_stay_short(tmp_path: Path) -> None:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    spec: dict[str, Any] = {"log": str(tmp_path / "home" / "log"), "own_pids": True}
    made = meter.Meter(str(tmp_path), spec, None)
    for second in range(10_000):
        made._began = time.monotonic() - second  # as if so many had gone by
        made._tree._next_at = made._began + 10**9
        made.look()
    made.save()
    points = json.loads((tmp_path / "samples").read_text())["points"]
    assert meter.MOST_POINTS / 2 <= len(points) <= meter.MOST_POINTS
    apart = [b[0] - a[0] for a, b in pairwise(points)]
    assert max(apart) < 2.1 * min(apart)


def test_a_tree_is_counted_in_slices_and_however_deep_it_is(tmp_path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("deep-folder")
            os.chdir("deep-folder")
        Path("leaf").write_bytes(bytes(5000))
        tree = meter._Tree([str(tmp_path)])
        slices = 0
        while not tree.step(0.0005):
            slices += 1
        assert slices >= 3
        assert tree.files == 1501
        assert tree.disk is not None and tree.disk >= 5000
    finally:
        os.fchdir(here)
        os.close(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "deep-folder")], check=True)


# --- the end, with manners ------------------------------------------------------------------------

HANDLES = "trap 'echo asked; exit 3' USR1; touch up; while :; do sleep 0.1; done"


def begun(grouped: Grouped, token: str, command: str, *then: str, **allowance: int) -> Path:
    """An attempt whose command has made the file `up`."""
    root = grouped.start(token, command, *then, **allowance)
    until = time.monotonic() + 20
    while not (root / "home/work/up").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    return root


def test_what_handles_a_signal_ends_in_its_own_way(grouped: Grouped) -> None:
    """And what does not is let be, and no other step begins."""
    root = begun(grouped, ONE, f"sleep 21 & {HANDLES}", "touch never")
    for _ in range(3):  # asked again it changes nothing
        grouped.engine.cancel(ONE, signal=signal.SIGUSR1, after_seconds=20)
    ending = grouped.end(ONE, 10)
    assert (ending.cause, ending.exit_code) == (Cause.STOPPED, 3)
    assert (root / "home/work/process_output.log").read_text() == "asked\n"
    assert not (root / "home/work/never").exists()


def test_what_does_not_end_in_its_own_way_is_told_to(grouped: Grouped) -> None:
    began = time.monotonic()
    begun(grouped, ONE, "trap 'echo asked' USR1; touch up; while :; do sleep 0.1; done")
    grouped.engine.cancel(ONE, signal=signal.SIGUSR1, after_seconds=1.5)
    assert grouped.end(ONE).cause is Cause.STOPPED
    assert time.monotonic() - began > 1.5


def test_nobody_is_waited_for_who_does_not_handle_it(grouped: Grouped) -> None:
    begun(grouped, ONE, "touch up; sleep 25")
    grouped.engine.cancel(ONE, signal=signal.SIGUSR2, after_seconds=25)
    assert grouped.end(ONE, 10).cause is Cause.STOPPED


def test_a_second_stop_does_not_wait(grouped: Grouped) -> None:
    begun(grouped, ONE, "trap 'echo asked' USR1; touch up; while :; do sleep 0.1; done")
    grouped.engine.cancel(ONE, signal=signal.SIGUSR1, after_seconds=25)
    time.sleep(0.3)
    seen = grouped.engine.observe([ONE])[ONE]
    assert seen.phase is Phase.RUNNING, seen.ending
    grouped.engine.cancel(ONE)
    grouped.engine.cancel(ONE, signal=signal.SIGUSR1, after_seconds=25)  # too late to be patient
    assert grouped.end(ONE, 10).cause is Cause.STOPPED


def test_an_end_that_is_brought_about_elsewhere_is_waited_for(grouped: Grouped) -> None:
    """A solver that looks for a file, say: there is no signal to send."""
    root = begun(grouped, ONE, "touch up; while [ ! -e stop ]; do sleep 0.05; done; exit 4")
    grouped.engine.cancel(ONE, after_seconds=20)
    time.sleep(0.3)
    assert grouped.engine.observe([ONE])[ONE].phase is Phase.RUNNING
    (root / "home/work/stop").touch()
    ending = grouped.end(ONE, 10)
    assert (ending.cause, ending.exit_code) == (Cause.STOPPED, 4)


def test_a_request_outlives_the_server(grouped: Grouped) -> None:
    """It lies in the folder; that the supervisor is told of it only makes it quicker."""
    root = begun(grouped, ONE, HANDLES)
    attempts.request(root, signal.SIGUSR1, 20.0)
    assert grouped.end(ONE, 10).exit_code == 3


def test_an_end_that_cannot_be_written_down_hides_no_other(
    grouped: Grouped, monkeypatch: pytest.MonkeyPatch
) -> None:
    grouped.start("lost", "touch up; sleep 60")
    wait_for((grouped.engine.folder("lost").work / "up").exists, "its file")
    grouped.start("other", "exit 4")
    grouped.end("other")
    pid = supervisor_of(grouped, "lost")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: supervisor.start_ticks(pid) is None, "its end")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(supervisor, "write_durably", refuse)
        seen = grouped.engine.observe(["lost", "other"])
        assert (seen["lost"].phase, seen["other"].phase) == (Phase.RUNNING, Phase.ENDED)
    assert grouped.end("lost").cause is Cause.INTERRUPTED


# --- an upgrade -----------------------------------------------------------------------------------


def test_an_attempt_that_was_laid_out_by_the_version_before(grouped: Grouped) -> None:
    """No limits, no group: it runs, and is told as far as it is known."""
    grouped.engine.prepare(ONE, Request(cores=1))
    grouped.engine._write_spec(grouped.engine.folder(ONE), attempt(ONE, "echo old; exit 5"))
    path = grouped.engine.folder(ONE).root / "spec.json"
    spec = json.loads(path.read_text())
    for name in ("allowance", "group", "own_pids"):
        del spec[name]
    path.write_text(json.dumps(spec))
    grouped.engine.submit(attempt(ONE, "echo new"))
    ending = grouped.end(ONE)
    assert (ending.cause, ending.exit_code) == (Cause.EXITED, 5)
    assert ending.allowance == Allowance(walltime=30)
    assert ending.usage is not None and ending.usage.cpu_seconds is not None


def test_an_attempt_whose_supervisor_is_of_the_version_before(grouped: Grouped) -> None:
    """It writes neither use nor samples, and takes any request for the plain one."""
    root = grouped.engine.prepare(ONE, Request(cores=1)).root
    (root / "spec.json").write_text(json.dumps({"labels": ["x"], "walltime": 9, "token": ONE}))
    end = {"cause": "walltime", "message": "", "code": 143, "started_at": 1.0, "ended_at": 10.0}
    (root / "exit.json").write_text(json.dumps(end))
    ending = grouped.end(ONE)
    assert ending.cause is Cause.WALLTIME and ending.message == "the walltime of 9 s was exceeded"
    assert ending.usage is None and ending.allowance == Allowance(walltime=9)
    assert grouped.engine.samples(ONE) == [] and grouped.engine.usage(ONE) is None


def test_groups_of_attempts_that_are_known_no_more_are_removed(grouped: Grouped) -> None:
    made = grouped.groups.describe("gone", Allowance())
    assert made is not None
    with subprocess.Popen(["sleep", "30"]) as left:
        cgroups.groups.make(made)
        cgroups.groups.join(made, left.pid)
        assert grouped.groups.tokens() == {"gone"}
        grouped.groups.sweep(keep=[])
        assert left.wait(timeout=5) == -signal.SIGKILL
        grouped.groups.sweep(keep=[])
    assert grouped.groups.tokens() == set()


@pytest.mark.parametrize("told", [True, False])
def test_a_group_goes_with_its_attempt_at_the_latest(grouped: Grouped, told: bool) -> None:
    grouped.start(ONE, "true")
    grouped.end(ONE)
    path = grouped.engine.folder(ONE).root / "exit.json"
    end = json.loads(path.read_text())
    assert end["group_is_gone"] is True and grouped.groups.tokens() == set()
    spec = json.loads((path.parent / "spec.json").read_text())
    cgroups.groups.make(spec["group"])  # as if its supervisor had not been able to remove it
    end["group_is_gone"] = False
    if not told:
        del end["group_is_gone"]  # it was of an earlier release
    path.write_text(json.dumps(end))
    grouped.engine.remove(ONE)
    assert grouped.groups.tokens() == set()


# --- one supervisor after another -----------------------------------------------------------------


def supervisor_of(made: Grouped, token: str) -> int:
    path = made.engine.folder(token).root / "pid.json"
    return int(json.loads(path.read_text())["supervisor"])


def idle(made: Grouped, token: str) -> int:
    """The supervisor of an attempt that ended, once it waits for the next."""
    pid = supervisor_of(made, token)
    until = time.monotonic() + 20
    asleep_since = None
    while "poll" not in (said := Path(f"/proc/{pid}/wchan").read_text()):
        now = time.monotonic()
        assert now < until, f"it does not wait for another: {said}"
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        asleep_since = (asleep_since or now) if (said, state) == ("0", "S") else None
        if asleep_since is not None and now - asleep_since > 1:  # a kernel that does not tell
            break
        time.sleep(0.01)
    return pid


@pytest.mark.parametrize("kind", ["grouped", "watched"])
def test_a_supervisor_takes_one_attempt_after_another(
    kind: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(kind)
    made.start("large", f"{HOG.format(80, 0.2)}; exit 3")
    first = made.end("large")
    pid = idle(made, "large")
    made.start("small", "exit 4")
    second = made.end("small")
    assert supervisor_of(made, "small") == pid
    assert (first.exit_code, second.exit_code) == (3, 4)
    assert first.usage is not None and second.usage is not None
    assert first.usage.memory is not None and first.usage.memory > 80e6
    assert second.usage.memory is not None and second.usage.memory < 40e6, "the first one's"
    assert first.usage.cpu_seconds is not None and second.usage.cpu_seconds is not None
    assert second.usage.cpu_seconds < first.usage.cpu_seconds


@pytest.mark.parametrize("kind", ["grouped", "boxed"])
def test_nothing_of_an_attempt_is_left_with_its_supervisor(
    kind: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(kind)
    held = []
    for name, command in (("p", "true"), ("q", "exit 3"), ("r", "kill -9 $$")):
        made.start(name, command)
        made.end(name)
        pid = idle(made, name)
        held.append((pid, sorted(os.listdir(f"/proc/{pid}/fd"))))
    (made.engine.prepare("s", Request(cores=1)).work / attempts.LOG_NAME).mkdir()
    made.engine.submit(attempt("s", "true"))
    assert made.end("s").cause is Cause.REFUSED
    made.start("t", "true")
    made.end("t")
    held.append((pid := idle(made, "t"), sorted(os.listdir(f"/proc/{pid}/fd"))))
    assert held[0] == held[1] == held[2] == held[3]


def test_never_two_attempts_at_a_time(watched: Grouped) -> None:
    watched.start("before", "true")
    watched.end("before")
    idle(watched, "before")
    names = ["x", "y", "z"]
    for name in names:
        watched.start(name, "touch up; while [ ! -e ../go ]; do sleep 0.05; done")
    for name in names:
        wait_for((watched.engine.folder(name).work / "up").exists, "its file")
    assert len({supervisor_of(watched, name) for name in names}) == 3
    for name in names:
        (watched.engine.folder(name).home / "go").touch()
        assert watched.end(name).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD])
def test_what_was_meant_for_the_attempt_before_does_not_end_the_next(
    watched: Grouped, number: int
) -> None:
    """A request may arrive when its attempt has ended, and its supervisor has another."""
    watched.start("before", "true")
    watched.end("before")
    pid = idle(watched, "before")
    os.kill(pid, number)  # while it waits
    watched.start("next", "touch up; while [ ! -e ../go ]; do sleep 0.05; done; exit 6")
    wait_for((watched.engine.folder("next").work / "up").exists, "its file")
    assert supervisor_of(watched, "next") == pid
    supervisor.wake({"supervisor": pid, "wake": signal.SIGUSR1})  # and while it has the next
    watched.engine.cancel("before")
    time.sleep(0.3)
    (watched.engine.folder("next").home / "go").touch()
    ending = watched.end("next")
    assert (ending.cause, ending.exit_code) == (Cause.EXITED, 6)


def test_a_supervisor_that_is_killed_while_it_waits_is_not_missed(watched: Grouped) -> None:
    watched.start("before", "true")
    watched.end("before")
    os.kill(idle(watched, "before"), signal.SIGKILL)
    watched.start("next", "exit 5")  # asked for once
    assert watched.end("next").exit_code == 5


def test_what_a_supervisor_never_took_before_it_was_killed_is_given_to_another(
    watched: Grouped,
) -> None:
    watched.start("before", "true")
    watched.end("before")
    pid = idle(watched, "before")
    os.kill(pid, signal.SIGSTOP)  # as one that is being killed: it is there and does nothing
    watched.start("next", "exit 5")  # asked for once
    time.sleep(0.3)
    assert watched.engine.observe(["next"])["next"].phase is Phase.UNKNOWN
    os.kill(pid, signal.SIGKILL)
    assert watched.end("next").exit_code == 5


@pytest.mark.parametrize("closed", [False, True])
def test_who_waits_in_vain_goes_away(watched: Grouped, closed: bool) -> None:
    watched.start("before", "true")
    watched.end("before")
    pid = idle(watched, "before")
    watched.engine.remove("before")  # else it is made safe first
    if closed:  # at once, for there will be none
        watched.engine._forks.close()
    until = time.monotonic() + (1.5 if closed else 20)
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < until
        time.sleep(0.02)
    if not closed:
        watched.start("next", "exit 5")
        assert watched.end("next").exit_code == 5
        assert supervisor_of(watched, "next") != pid


def after_another_boot(made: Grouped, token: str, monkeypatch: pytest.MonkeyPatch) -> Ending:
    """How an attempt ended, as it is seen when the machine was restarted after it."""
    with monkeypatch.context() as changed:
        changed.setattr(supervisor, "_boot", ["another boot"])
        return made.end(token)


@pytest.mark.parametrize("command", ["true", "exit 3"])
def test_an_end_that_may_have_been_cut_off_with_the_machine_is_no_good_end(
    watched: Grouped, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Its files were written, and not flushed: after a power loss they may be shorter."""
    watched.start("t", command)
    before = watched.end("t")
    assert not supervisor.is_safe(str(watched.engine.folder("t").root))
    after = after_another_boot(watched, "t", monkeypatch)
    if command == "true":
        assert before.successful
        assert after.cause is Cause.INTERRUPTED
        assert after.reason == (
            "A run failed: the machine was restarted before all that it had written was on the disk"
        )
        assert after.usage == before.usage
    else:
        assert after == before, "it was none anyhow"


@pytest.mark.parametrize("closed", [False, True])
def test_what_nobody_collects_is_made_safe(
    watched: Grouped, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    for name in ("s", "t"):
        watched.start(name, "true")
        watched.end(name)
        pid = idle(watched, name)
    if closed:
        watched.engine._forks.close()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of its supervisor")
    for name in ("s", "t"):
        assert supervisor.is_safe(str(watched.engine.folder(name).root))
        assert after_another_boot(watched, name, monkeypatch).successful


def test_what_was_collected_is_no_trouble_to_make_safe(watched: Grouped) -> None:
    folder = watched.start("t", "true")
    watched.end("t")
    watched.engine.remove("t")
    supervisor.make_safe(str(folder))
    assert not folder.exists() and not supervisor.is_safe(str(folder))


def test_scripts_that_are_alike_are_one_file(tmp_path: Path) -> None:
    steps = [Step(label="it", command="echo same", env={}, is_told=True, is_lenient=True)]
    others = [Step(label="it", command="echo other", env={})]
    alike: dict[bytes, str] = {}
    for name, wanted in (("a", steps), ("b", steps), ("c", others)):
        payload.write_scripts(tmp_path / name, wanted, alike)
    inode = {name: (tmp_path / name / "0.cmd").stat().st_ino for name in "abc"}
    assert inode["a"] == inode["b"] != inode["c"]
    assert sorted(os.listdir(tmp_path / "b")) == ["0.cmd", "0.env", "0.lenient", "0.told"]
    payload.write_scripts(tmp_path / "b", others, alike)  # a layout that is made again
    assert (tmp_path / "b" / "0.cmd").read_text() == "echo other\n"
    assert (tmp_path / "a" / "0.cmd").read_text() == "echo same\n"
    for name in "abc":
        attempts.remove_tree(tmp_path / name)
    payload.write_scripts(tmp_path / "d", steps, alike)  # what it would link to is gone
    assert (tmp_path / "d" / "0.cmd").read_text() == "echo same\n"


# --- the sandbox ----------------------------------------------------------------------------------


def log_of(made: Grouped, token: str) -> str:
    return (made.engine.folder(token).work / attempts.LOG_NAME).read_text()


def test_what_a_payload_in_a_sandbox_begins_with(boxed: Grouped) -> None:
    ours = Path("/proc/self/oom_score_adj").read_text().strip()
    shown = "umask; cat /proc/self/oom_score_adj; ls -l /proc/self/fd | wc -l; pwd; echo >&2 both"
    signals = "while read name mask; do case $name in SigBlk:|SigIgn:) echo $mask;; esac; done"
    boxed.start(ONE, f"{shown}; exec sh -c '{signals}' < /proc/self/status")
    assert boxed.end(ONE).exit_code == 0
    umask, score, descriptors, at, both, blocked, ignored = log_of(boxed, ONE).split()
    assert (umask, score, at, both) == ("0022", "500", "/home/job/work", "both")
    assert int(descriptors) == 5, "a line for their number, standard ones, and that of ls"
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM):
        assert not int(ignored, 16) >> (number - 1) & 1, number
    assert int(blocked, 16) == 0
    pid = idle(boxed, ONE)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == ours


def test_a_sandbox_that_cannot_be_set_up_says_why(boxed: Grouped) -> None:
    folder = boxed.engine.prepare(ONE, Request(cores=1))
    attempts.remove_tree(folder.root / "tmp")
    boxed.engine.submit(attempt(ONE, "touch ../never"))
    ending = boxed.end(ONE)
    assert ending.cause is Cause.REFUSED
    assert ending.message.startswith("its sandbox could not be set up: bwrap: Can't find source")
    assert "bwrap: Can't find source path" in log_of(boxed, ONE)
    assert not (folder.home / "never").exists()


def test_a_log_that_cannot_be_opened_is_told(boxed: Grouped) -> None:
    folder = boxed.engine.prepare(ONE, Request(cores=1))
    (folder.work / attempts.LOG_NAME).mkdir()
    boxed.engine.submit(attempt(ONE, "touch ../never"))
    ending = boxed.end(ONE)
    assert ending.cause is Cause.REFUSED
    assert "it could not be started: [Errno 21] Is a directory" in ending.message
    assert boxed.groups.tokens() == set()
    boxed.start("after", "exit 3")
    assert boxed.end("after").exit_code == 3


@pytest.mark.parametrize("kind", ["grouped", "boxed"])
def test_a_step_that_cannot_be_told_does_not_begin(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """As where the disk is full: it would be taken for a sandbox that could not be set up."""
    made = request.getfixturevalue(kind)
    folder = made.engine.prepare(ONE, Request(cores=1))
    (folder.root / "steps").symlink_to("/dev/full")
    made.engine.submit(attempt(ONE, "touch ../never; exit 7"))
    time.sleep(1.5)
    assert made.engine.observe([ONE])[ONE].phase is Phase.RUNNING
    assert not (folder.home / "never").exists()
    made.engine.cancel(ONE)
    assert made.end(ONE).cause is Cause.STOPPED
    assert not (folder.home / "never").exists()


def test_without_a_supervisor_a_sandbox_does_nothing(
    boxed: Grouped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when the sandbox is there and has not been told to begin."""
    folder = boxed.engine.prepare(ONE, Request(cores=1))
    boxed.engine._write_spec(folder, attempt(ONE, "touch ../done"))
    (folder.work / attempts.LOG_NAME).touch()
    crash = {"SIMYARD_CRASH_AT": "supervisor.pid-written", "SIMYARD_CRASH_ONCE": f"{folder.root}/x"}
    command = [sys.executable, "-I", "-S", supervisor.__file__, str(folder.root)]
    killed = subprocess.run(command, env=crash, check=False, stderr=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    seen = boxed.engine.observe([ONE])[ONE]
    assert seen.phase is Phase.VANISHED
    assert not (folder.home / "done").exists()
    assert log_of(boxed, ONE) == "", "nothing was said to anybody"
    boxed.engine.remove(ONE)


def test_attempts_are_laid_apart_where_the_file_system_can(tmp_path: Path) -> None:
    """As `chattr` would do it; one that refuses does not keep an engine from opening."""
    beside = tmp_path / "beside"
    beside.mkdir()
    can = subprocess.run(["chattr", "+T", beside], check=False, capture_output=True).returncode == 0
    made = LocalEngine(tmp_path / "runs", NO_BOX, lambda _: None, network=False)
    made.close()
    command = ["lsattr", "-d", tmp_path / "runs"]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    assert ("T" in said.split(" ")[0]) == can
