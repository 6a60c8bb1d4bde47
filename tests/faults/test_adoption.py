"""Runs go on while the server is away, and are taken up again."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable

import httpx
import pytest

from harness import Client, Ledger, RunningServer, command_line, definition, strays, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]

Fresh = Callable[..., RunningServer]


def running(client: Client, job_id: str) -> None:
    wait_for(lambda: client.status(job_id) == "Executing", "Executing")


def test_a_run_goes_on_while_the_server_is_killed(fresh: Fresh, ledger: Ledger) -> None:
    server = fresh().start()
    client = server.client()
    job = client.create(
        ledger.preamble + "say start; for i in $(seq 20); do echo line $i; sleep 0.1; done; exit 5"
    )
    client.submit(job["id"])
    running(client, job["id"])
    fork_server = server.fork_server_pid()
    server.kill()
    assert fork_server is not None
    wait_for(lambda: "--fork-server" not in command_line(fork_server), "its end")
    time.sleep(0.5)
    server.start()
    assert client.finished(job["id"]).endswith("ended with exit code 5")
    lines = client.log_of(job["id"]).splitlines()
    assert lines[:20] == [f"line {i}" for i in range(1, 21)]
    assert ledger.lines == ["start"]


def test_a_run_that_ends_while_the_server_is_away(fresh: Fresh, ledger: Ledger) -> None:
    server = fresh().start()
    client = server.client()
    job = client.create(ledger.preamble + "sleep 0.5; echo done; say end")
    client.submit(job["id"])
    running(client, job["id"])
    server.kill()
    wait_for(lambda: ledger.lines == ["end"], "the end")
    server.start()
    assert client.finished(job["id"]) == "Completed successfully"
    assert client.log_of(job["id"]) == "done\n"


def test_sigterm_stops_the_server_and_not_the_run(fresh: Fresh, ledger: Ledger) -> None:
    server = fresh().start()
    client = server.client()
    job = client.create(ledger.preamble + "sleep 1; say end")
    client.submit(job["id"])
    running(client, job["id"])
    assert server.stop() == 0
    server.start()
    assert client.finished(job["id"]) == "Completed successfully"
    assert ledger.lines == ["end"]


def test_a_killed_fork_server_is_replaced(fresh: Fresh) -> None:
    server = fresh().start()
    client = server.client()
    for _ in range(3):
        pid = server.fork_server_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        job = client.run("echo fine")
        assert client.log_of(job["id"]) == "fine\n"
        assert server.fork_server_pid() != pid


def test_a_killed_supervisor_is_told_as_it_is(fresh: Fresh) -> None:

    server = fresh().start()
    client = server.client()
    mark = f"66{os.getpid()}"
    job = client.create(f"(setsid sleep {mark}1 &); sleep {mark}2")
    client.submit(job["id"])
    wait_for(lambda: len(strays(f"sleep {mark}")) >= 2, "both")
    running(client, job["id"])
    (path,) = (server.data / "runs").glob("*/pid.json")
    os.kill(json.loads(path.read_text())["supervisor"], signal.SIGKILL)
    reason = client.finished(job["id"])
    assert reason == "A run failed: its supervisor process was killed while it ran"
    assert strays(f"sleep {mark}") == []
    assert client.get(f"jobs/{job['id']}/runs/")["count"] == 1


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (True, "its supervisor process was killed before its first step"),
        (False, "its folder was removed while it ran"),
    ],
)
def test_what_is_gone_of_a_run_that_was_seen_is_told(fresh: Fresh, left: bool, told: str) -> None:
    server = fresh().start()
    client = server.client()
    mark = f"sleep 77{os.getpid()}"
    job = client.create(mark)
    client.submit(job["id"])
    running(client, job["id"])
    (path,) = (server.data / "runs").glob("*/pid.json")
    supervisor = json.loads(path.read_text())["supervisor"]
    server.kill()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: strays(mark) == [], "the end of the run")
    if left:  # as where it was killed between its pid.json and the driver's first word
        path.with_name("steps").write_bytes(b"")
    else:
        shutil.rmtree(path.parent)
    server.start()
    assert client.finished(job["id"]) == f"A run failed: {told}"
    assert client.get(f"jobs/{job['id']}/runs/1/")["outcome"]["ending"] == "interrupted"


def test_two_servers_do_not_share_a_folder(fresh: Fresh) -> None:
    import subprocess

    from harness import SIMYARD

    server = fresh().start()
    assert server.process is not None
    second = subprocess.run(
        [*SIMYARD, "serve", "--data", str(server.data), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert f"process {server.process.pid}" in second.stderr
    assert second.stdout == ""


def test_a_queue_outlives_the_server(fresh: Fresh, ledger: Ledger) -> None:
    server = fresh("cores = 1\n").start()
    client = server.client()
    jobs = []
    for n in range(6):
        job = client.create(ledger.preamble + f"sleep 0.3; say {n}")
        client.submit(job["id"])
        jobs.append(job["id"])
    for _ in range(3):
        server.kill()
        server.start()
        time.sleep(0.2)
    for job_id in jobs:
        assert client.finished(job_id) == "Completed successfully"
    assert ledger.lines == [str(n) for n in range(6)]


@pytest.mark.openfoam
@pytest.mark.timeout(600)
def test_twenty_random_kills_during_the_demo(fresh: Fresh, ledger: Ledger) -> None:
    """The demo's airfoil while server and fork server are killed twenty times."""
    from pathlib import Path

    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = fresh().start()
    client = server.client()
    case = Path(__file__).parents[2] / "airfoil2d.zip"
    file = client.upload(case.name, case.read_bytes())
    body = definition(
        ledger.preamble + "say start; ./airFoil2D/Allrun; code=$?; say end; exit $code",
        inputs=[file["id"]],
        code="openfoam",
        version="2.3.0-openmpi",
    )
    job = client.call("POST", "jobs/", 201, json=body).json()
    client.submit(job["id"])
    for _ in range(20):
        time.sleep(chance.uniform(0.0, 0.8))
        if chance.random() < 0.3 and (pid := server.fork_server_pid()):
            os.kill(pid, signal.SIGKILL)
        else:
            server.kill()
            server.start()
    end = time.monotonic() + 90
    while True:
        try:
            reason = client.finished(job["id"])
            break
        except (httpx.TransportError, AssertionError):
            assert time.monotonic() < end
    assert reason == "Completed successfully"
    assert ledger.lines == ["start", "end"]
    log = client.log_of(job["id"])
    assert log.splitlines()[0].startswith("[simyard] OpenFOAM 2.3.0-openmpi was asked for")
    assert log.splitlines()[-2].startswith("Cl = 0.4")
    assert client.get("jobs/")["count"] == 1
    assert client.get(f"jobs/{job['id']}/runs/1/")["outputFileCount"] == 29
