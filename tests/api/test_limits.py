"""Runs that use more than they may: they are ended or held back, and told so in words."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import CONFIG, Client, RunningServer, wait_for
from simyard.domain.runs import Allowance
from simyard.engines import cgroups

pytestmark = pytest.mark.sandbox

LIMITED = f"""{CONFIG}
run_memory_mb = 150
run_processes = 60
run_disk_bytes = 30000000
run_files = 500
run_log_bytes = 2000000
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("limited") / "data", LIMITED).start()
    yield server
    server.end_everything()


@pytest.fixture(scope="module")
def client(limited: RunningServer) -> Client:
    return limited.client()


def submitted(client: Client, commands: dict[str, str]) -> dict[str, str]:
    """Name -> job, all of them under way."""
    made = {}
    for name, command in commands.items():
        made[name] = str(client.create(command)["id"])
        client.submit(made[name])
    return made


def test_each_limit_says_what_was_used_and_what_may_be(client: Client) -> None:
    began = time.monotonic()
    jobs = submitted(
        client,
        {
            "log": "yes | head -c 5000000; sleep 40",
            "disk": "head -c 50M /dev/zero > x; sleep 40",
            "tmp": "head -c 50M /dev/zero > /tmp/x; sleep 40",
            "files": "mkdir d; touch $(seq -f d/%g 700); sleep 40",
        },
    )
    said = {name: client.finished(job) for name, job in jobs.items()}
    assert time.monotonic() - began < 40
    assert said["log"].startswith("A run failed: its log grew to 5 MB; its limit is 2 MB")
    for name in ("disk", "tmp"):
        assert said[name].startswith("A run failed: its folder held 52.4 MB; its limit is 30 MB")
    assert said["files"].startswith("A run failed: its folder held 7")
    assert " files; its limit is 500" in said["files"]


def test_what_would_take_too_much_memory_does_not_get_it(
    client: Client, limited: RunningServer
) -> None:
    """Ended by the kernel where it can, else by the supervisor; the machine is not harmed."""
    hog = "bytes(400 << 20).replace(bytes(1), bytes([1]))"
    job = client.run(f"python3 -c 'import time; x = {hog}; time.sleep(20)' && echo SURVIVED")
    reason = client.finished(job["id"])
    assert reason.startswith("A run failed: ")
    assert "SURVIVED" not in client.log_of(job["id"])
    if cgroups.probe(limited.data / "runs").enforces(Allowance(memory=1)):
        assert "137" in reason or "memory" in reason
    else:
        assert "its limit is 150 MB" in reason


def test_many_processes_are_not_too_many(client: Client) -> None:
    """As many as may be work, and a bomb is none for the others."""
    job = client.run("for i in $(seq 30); do sleep 0.2 & done; wait; echo fine")
    assert client.log_of(job["id"]) == "fine\n"
    bomb = client.create("b() { b | b & }; b; sleep 1; exit 9")
    client.submit(bomb["id"])
    job = client.run("echo quick")
    assert client.log_of(job["id"]) == "quick\n"
    assert client.finished(bomb["id"]).startswith("A run failed: ")


def test_limits_hold_while_the_server_is_away(fresh: Callable[..., RunningServer]) -> None:
    server = fresh(LIMITED).start()
    client = server.client()
    job = client.create(
        "touch up; while [ ! -e go ]; do sleep 0.05; done; yes | head -c 5000000; sleep 40"
    )
    client.submit(job["id"])
    wait_for(lambda: any((server.data / "runs").glob("*/home/work/up")), "the command")
    (up,) = (server.data / "runs").glob("*/home/work/up")
    root: Path = up.parents[2]
    server.kill()
    (up.parent / "go").touch()
    wait_for((root / "exit.json").exists, "the end")
    end = json.loads((root / "exit.json").read_text())
    assert (end["cause"], end["limit"]) == ("limit", "log")
    server.start()
    assert "its log grew to" in client.finished(job["id"])
