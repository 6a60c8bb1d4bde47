"""Ends that come from outside a program, each really brought about: limits, stops, signals by hand,
and the death of what runs it. What is said of them is checked as in `test_endings.py`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import endings
import harness
import looping
from endings import STEP, Ending, coded, ended, failed, is_over_soon, submitted, tokens, well
from harness import CONFIG, Client, RunningServer, serving, strays, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]

ROOT = os.getuid() == 0
LIMITS = CONFIG.replace("cores = 4", "cores = 8") + (
    "run_memory_mb = 120\nrun_disk_bytes = 20000000\nrun_files = 400\nrun_processes = 40\n"
    "run_log_bytes = 2000000\nstop_recipe_seconds = 40\n"
)
MARK = f"71{os.getpid()}"  # seconds that our payloads sleep: found in their command lines


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that gives its runs little of everything."""
    running = RunningServer(tmp_path_factory.mktemp("narrow") / "data", LIMITS)
    looping.bring(running.data)
    with serving(running):
        yield running


@pytest.fixture(scope="module")
def user(narrow: RunningServer) -> Client:
    return narrow.client()


def begun(client: Client, wanted: Ending) -> str:
    """A job on its way to this end, whose command has said "begun"."""
    job = submitted(client, wanted)

    def said() -> bool:
        reply = client.http.get(f"jobs/{job}/runs/1/tail/process_output.log/?lines=9")
        return reply.status_code == 200 and "begun" in reply.json()["lines"]

    wait_for(said, "the first line")
    wait_for(lambda: client.status(job) == "Executing", "Executing")
    return job


def pids(server: RunningServer, client: Client, job: str) -> dict[str, Any]:
    """The supervisor and the payload of a job that runs."""
    (token,) = tokens(client, job)
    found: dict[str, Any] = json.loads((server.data / "runs" / token / "pid.json").read_text())
    return found


# --- limits of the site ---------------------------------------------------------------------------

HUNGRY = """python3 -c 'x = b"x" * (1 << 29)'"""
FULL = "its memory was full, and the system killed one of its processes"
MEMORY = {
    "killed": Ending(
        command=f"{HUNGRY}; exit",
        reason=coded(137, rf" \(SIGKILL: killed\): {FULL}"),
        cause="memory",
        code=137,
        signal="SIGKILL",
        reached=("memory",),
    ),
    "a child is killed, and the parent exits with 0": Ending(
        command=f"{HUNGRY}; echo Job finished",
        reason=failed(FULL),
        cause="memory",
        code=0,
        step="",
        reached=("memory",),
    ),
}


FORKS = """python3 -c '
import os, time
print("begun", flush=True)
for _ in range(100):
    if os.fork() == 0:
        time.sleep(60)
'"""


PROCESSES = Ending(
    command=FORKS,
    reason=coded(1, ": it could not start another process or thread: .*"),
    cause="processes",
    code=1,
    line="Resource temporarily unavailable",
    reached=("processes",),
)


def over(resource: str, command: str, reason: str) -> Ending:
    return Ending(
        command=command,
        reason=failed(reason),
        cause=resource,
        ending="limit",
        code=143,
        signal="SIGTERM",
        reached=(resource,),
    )


OVER = {
    "disk": over(
        "disk",
        "head -c 60M /dev/zero > field.bin; sleep 60",
        "its folder held 62.9 MB; its limit is 20 MB",
    ),
    "files": over(
        "files",
        "mkdir out; for i in $(seq 600); do : > out/$i; done; sleep 60",
        "its folder held 60[0-9] files; its limit is 400",
    ),
    "log": over(
        "log",
        "yes 'Time = 1' | head -c 3M; sleep 60",
        r"its log grew to 3\.15 MB; its limit is 2 MB",
    ),
}


def test_more_than_a_run_may_use(narrow: RunningServer, user: Client) -> None:
    """All at once: what a folder holds takes a few seconds to be found. Where the kernel keeps no
    limits for this server, that of memory and processes is not shown here.
    """
    wanted = {**OVER, **({"processes": PROCESSES, **MEMORY} if ROOT else {})}
    jobs = {name: submitted(user, ending) for name, ending in wanted.items()}
    used = {name: ended(narrow, user, job, wanted[name])["used"] for name, job in jobs.items()}
    for name in OVER:
        assert used[name][name]["most"] > used[name][name]["limit"]
    if ROOT:
        assert used["processes"]["processes"]["limit"] == 40
        for name in MEMORY:
            memory = used[name]["memory"]
            assert memory["limit"] == 120_000_000
            assert memory["most"] == pytest.approx(memory["limit"], rel=0.05)


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that gives its runs three seconds, and two of them cores."""
    config = "cores = 2\nstop_grace_seconds = 1\nmax_walltime_seconds = 3\n"
    running = RunningServer(tmp_path_factory.mktemp("brief") / "data", config)
    yield running.start()
    running.end_everything()


def out_of_time(command: str, code: int, number: str, step: str) -> Ending:
    return Ending(
        command=command,
        reason=failed("the walltime of 3 s was exceeded"),
        cause="walltime",
        ending="walltime",
        code=code,
        signal=number,
        step=step,
    )


DEAF = "trap '' TERM; (trap '' TERM; setsid sleep {mark}1 &); echo begun; sleep {mark}2; sleep 60"


def test_the_walltime_and_a_stop_of_who_waits_for_cores(brief: RunningServer) -> None:
    client = brief.client()
    endings = [
        out_of_time("echo begun; sleep 60; true", 143, "SIGTERM", STEP),
        out_of_time(DEAF.format(mark=MARK), 137, "SIGKILL", ""),  # nobody is left to name the step
    ]
    jobs = [submitted(client, wanted) for wanted in endings]
    waits = submitted(client, Ending(command="echo never", reason=""))
    wait_for(lambda: client.status(waits) == "Queued", "the queue")
    client.call("POST", f"jobs/{waits}/stop/", 202)
    assert client.finished(waits) == "Stopped by the user"
    outcome = client.get(f"jobs/{waits}/runs/1/")["outcome"]
    told = [outcome[name] for name in ("verdict", "ending", "exitCode")]
    assert told == ["stopped", "stopped", None]
    assert client.outputs(waits) == {}
    for job, wanted in zip(jobs, endings, strict=True):
        ended(brief, client, job, wanted)
    assert strays(f"sleep {MARK}") == []


# --- a full disk ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many megabytes; calling it again makes it larger."""
    if not ROOT:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()

    def make(megabytes: int) -> Path:
        options = f"{'remount,' if folder.is_mount() else ''}size={megabytes}m"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr}")
        return folder

    yield make
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_its_disk_is_full(small_disk: Callable[[int], Path]) -> None:
    config = "cores = 4\nstop_grace_seconds = 1\ndisk_reserve_bytes = 4000000\n"
    server = RunningServer(small_disk(48) / "data", config).start()
    try:
        client = server.client()
        full = r"its disk was full \(\d+ bytes free\), results may be cut short"
        hidden = Ending(
            command="head -c 1G /dev/zero > a.frd 2> /tmp/said; sleep 2.5; rm a.frd; echo finished",
            reason=failed(full),
            cause="disk",
            code=0,
            step="",
        )
        ended(server, client, submitted(client, hidden), hidden)
        told = Ending(
            command="head -c 1G /dev/zero > a.frd; code=$?; sleep 1.5; exit $code",
            reason=coded(1, f": {full}"),
            cause="disk",
            code=1,
        )
        job = submitted(client, told)
        wait_for(lambda: os.statvfs(server.data).f_bavail == 0, "the full disk")
        time.sleep(2)
        small_disk(192)
        ended(server, client, job, told)
    finally:
        server.end_everything()


# --- stops ----------------------------------------------------------------------------------------


def stopped(**more: Any) -> Ending:
    usual = {"reason": "Stopped by the user", "verdict": "stopped", "ending": "stopped"}
    return Ending(**{**usual, **more})


STOPS = {
    "who listens to TERM": stopped(
        command="trap 'echo saved; exit 9' TERM; echo begun; while :; do sleep 0.05; done", code=9
    ),
    "who does not": stopped(
        command=DEAF.format(mark=MARK),
        code=137,
        signal="SIGKILL",
        step="",
    ),
}


@pytest.mark.mpi
def test_a_stop_reaches_all_ranks(fresh: Callable[..., RunningServer]) -> None:
    """They have more time than their launcher needs on a busy machine."""
    server = fresh(CONFIG.replace("stop_grace_seconds = 1.0", "stop_grace_seconds = 60.0")).start()
    client = server.client()
    wanted = stopped(
        command=f"echo begun; mpirun -np 2 sleep {MARK}3",
        options={"code": "user_included_mpi", "cores": 2},
        code=143,
        signal="SIGTERM",
    )
    job = begun(client, wanted)
    client.call("POST", f"jobs/{job}/stop/", 202)
    is_over_soon(client, job)
    ended(server, client, job, wanted)
    assert strays(f"sleep {MARK}") == []


@pytest.mark.parametrize("name", STOPS)
def test_a_stop(server: RunningServer, client: Client, name: str) -> None:
    job = begun(client, STOPS[name])
    client.call("POST", f"jobs/{job}/stop/", 202)
    is_over_soon(client, job)
    ended(server, client, job, STOPS[name])
    assert strays(f"sleep {MARK}") == []


def test_a_forced_stop(narrow: RunningServer, user: Client) -> None:
    """Its solver would be given 40 s to end in its own way; a second stop does not wait."""
    wanted = stopped(
        command="trap 'echo told to end; exit 9' TERM; echo begun; while :; do sleep 0.05; done",
        files={"case.zip": looping.case()},
        options={"code": looping.CODE},
        code=9,
    )
    job = begun(user, wanted)
    user.call("POST", f"jobs/{job}/stop/", 202)
    wait_for(lambda: user.status(job) == "Stopping", "the stop")
    user.call("POST", f"jobs/{job}/stop/", 202)
    is_over_soon(user, job)
    ended(narrow, user, job, wanted)


def test_a_run_that_stalls_is_seen_and_left_alone(server: RunningServer, client: Client) -> None:
    wanted = stopped(
        command=f"echo begun; sleep {MARK}4; true", code=143, signal="SIGTERM", step=STEP
    )
    job = begun(client, wanted)
    path = f"jobs/{job}/runs/1/metrics/"

    def points() -> int:
        return min((series["points"] for series in client.get(path)), default=0)

    wait_for(lambda: points() >= 2, "two looks at it")
    cpu = client.get(f"{path}data/?keys=cpu")["keys"]["cpu"]["last"]
    assert cpu[-1] < 0.05, "it does nothing, and that can be seen"
    assert client.status(job) == "Executing"
    client.call("POST", f"jobs/{job}/stop/", 202)
    ended(server, client, job, wanted)


CAVITY = Path("/usr/share/doc/openfoam-examples/examples/incompressible/icoFoam/cavity/cavity")


@pytest.mark.openfoam
def test_openfoam_is_stopped_in_its_own_way(server: RunningServer, client: Client) -> None:
    wanted = stopped(
        command="cd cavity; sed -i 's/^endTime.*/endTime 100000;/; s/^writeInterval.*/"
        "writeInterval 1000000;/' system/controlDict; blockMesh > log.blockMesh; icoFoam",
        files={"cavity.zip": endings.zipped_folder(CAVITY)},
        options={"code": "openfoam"},
        code=0,
        step="",
    )
    job = submitted(client, wanted)
    run = f"jobs/{job}/runs/1"
    wait_for(lambda: bool(client.http.get(f"{run}/series/").json()), "its residuals")
    client.call("POST", f"jobs/{job}/stop/", 202)
    ended(server, client, job, wanted)
    times = {path.split("/")[1] for path in client.outputs(job) if path.endswith("/U")}
    assert len(times) == 2, "the beginning, and the step at which it was stopped"


# --- by hand, and what runs it --------------------------------------------------------------------


def test_a_program_is_killed_by_hand(server: RunningServer, client: Client) -> None:
    wanted = Ending(
        command=f"echo begun; sleep {MARK}5; exit",
        reason=coded(137, r" \(SIGKILL: killed\): .*killed.*"),
        cause="killed",
        code=137,
        signal="SIGKILL",
        line="Killed",
    )
    job = begun(client, wanted)

    def sleeping() -> list[int]:
        return [p for p in strays(f"sleep {MARK}5") if harness.command_line(p).startswith("sleep")]

    wait_for(lambda: bool(sleeping()), "its sleep")  # it has only said so yet
    (pid,) = sleeping()
    os.kill(pid, signal.SIGKILL)
    ended(server, client, job, wanted)


INTERRUPTIONS = {
    "KILL": ("its supervisor process was killed while it ran", None, None, ""),
    "TERM": ("it was told to end from outside the platform", 143, "SIGTERM", STEP),
}


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_a_signal_for_the_supervisor(server: RunningServer, client: Client, name: str) -> None:
    reason, code, number, step = INTERRUPTIONS[name]
    wanted = Ending(
        command=f"(setsid sleep {MARK}6 &); echo begun; sleep {MARK}7; true",
        reason=failed(reason),
        cause="interrupted",
        ending="interrupted",
        code=code,
        signal=number,
        step=step,
    )
    job = begun(client, wanted)
    os.kill(pids(server, client, job)["supervisor"], signal.Signals[f"SIG{name}"])
    ended(server, client, job, wanted)
    assert strays(f"sleep {MARK}") == []


def test_the_fork_server_is_killed_before_the_start(server: RunningServer, client: Client) -> None:
    wanted = well("echo fine")
    pid = server.fork_server_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    ended(server, client, submitted(client, wanted), wanted)


def test_the_server_is_killed_while_a_run_goes_on(narrow: RunningServer, user: Client) -> None:
    goes_on = well("echo begun; sleep 1.5; echo solved")
    fails = Ending(
        command="echo begun; sleep 1; echo no good; exit 5",
        reason=coded(5),
        cause="exit",
        code=5,
        line="no good",
    )
    jobs = [begun(user, wanted) for wanted in (goes_on, fails)]
    narrow.kill()
    time.sleep(0.5)
    narrow.start()
    for job, wanted in zip(jobs, (goes_on, fails), strict=True):
        ended(narrow, user, job, wanted)


NOT_SAFE = "the machine was restarted before all that it had written was on the disk"
BOOT = """mount --bind "$SIMYARD_TEST_BOOT" /proc/sys/kernel/random/boot_id && exec "$0" "$@" """


@pytest.mark.skipif(not ROOT, reason="only root can show another boot id to a server")
def test_the_machine_is_restarted(
    fresh: Callable[..., RunningServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart: no process of the run is there, and the machine has another boot id."""
    boot = another_boot(tmp_path, monkeypatch)
    server = fresh().start()
    client = server.client()
    wanted = Ending(
        command=f"echo begun; sleep {MARK}8",
        reason=failed("the machine was restarted while it ran"),
        cause="interrupted",
        ending="interrupted",
        step="",
    )
    job = begun(client, wanted)
    known = pids(server, client, job)
    assert known["boot_id"] == boot.read_text().strip()
    server.kill()
    for name in ("supervisor", "payload"):
        os.kill(known[name], signal.SIGKILL)
    wait_for(lambda: strays(f"sleep {MARK}8") == [], "the end of everything")
    boot.write_text("00000000-0000-4000-8000-000000000002\n")
    server.start()
    ended(server, client, job, wanted)


@pytest.mark.skipif(not ROOT, reason="only root can show another boot id to a server")
@pytest.mark.parametrize("safe", [True, False], ids=["safe", "not safe"])
@pytest.mark.parametrize("point", ["observe.recorded", "collect.stored"])
def test_the_machine_is_restarted_before_the_outputs_are_stored(
    fresh: Callable[..., RunningServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    safe: bool,
) -> None:
    """The server dies with the end it saw, or in the midst of storing, and the machine with it.
    What the run's supervisor had time to flush counts; what may be cut off is kept, and told.
    """
    boot = another_boot(tmp_path, monkeypatch)
    server = fresh()
    key = server.key()
    server.start()
    client = server.client(key)
    wanted = well(command="echo begun; while [ ! -e ../go ]; do sleep 0.05; done; echo 42 > answer")
    if not safe:
        wanted = replace(
            wanted,
            reason=failed(NOT_SAFE),
            verdict="failed",
            cause="interrupted",
            ending="interrupted",
            code=None,
            late=point == "collect.stored",
        )
    job = begun(client, wanted)
    server.kill()
    once = tmp_path / "once"
    server.start(SIMYARD_CRASH_AT=point, SIMYARD_CRASH_ONCE=str(once))
    (token,) = tokens(client, job)
    folder = server.data / "runs" / token
    (folder / "home" / "go").touch()
    wait_for(once.exists, "its death")
    wait_for(lambda: not server.alive, "its end")
    server.kill()  # nothing is left to kill: its pipe is closed
    wait_for((folder / "exit.json").exists, "the end of the run")
    wait_for(lambda: (folder / "lock").read_bytes() == b"safe", "the flush")
    if not safe:
        os.truncate(folder / "lock", 0)
    boot.write_text("00000000-0000-4000-8000-000000000002\n")
    server.start()
    ended(server, client, job, wanted)
    assert client.outputs(job)["answer"] == b"42\n"


def another_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have servers see the boot id that this file holds."""
    boot = tmp_path / "boot"
    boot.write_text("00000000-0000-4000-8000-000000000001\n")
    monkeypatch.setenv("SIMYARD_TEST_BOOT", str(boot))
    under = ["unshare", "--mount", "sh", "-c", BOOT, sys.executable, "-m", "simyard"]
    monkeypatch.setattr(harness, "SIMYARD", under)
    return boot
