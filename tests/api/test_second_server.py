"""One server to a data folder, and what may be done beside it."""

import os
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness import SIMYARD, Client, RunningServer, children, wait_for

Fresh = Callable[..., RunningServer]


def serve(data: Path) -> "subprocess.CompletedProcess[str]":
    command = [*SIMYARD, "serve", "--data", str(data), "--port", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_second_server_is_refused_and_told_who_holds_the_folder(fresh: Fresh) -> None:
    server = fresh().start()
    assert server.process is not None
    done = serve(server.data)
    assert (done.returncode, done.stdout) == (1, "")
    found = re.fullmatch(
        rf"error: another server \(process {server.process.pid}, since"
        rf" (\S+Z), at {re.escape(server.address)}\) is using the data folder"
        rf" {re.escape(str(server.data))}\n"
        r"hint: stop it first, or name another folder with --data\n",
        done.stderr,
    )
    assert found, done.stderr
    since = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=1)
    # What else one does while it runs still works.
    assert server.client().get("users/me/")["email"] == "ada@lab.example"
    assert server.client(server.key("bob@lab.example")).get("jobs/")["count"] == 0


def test_of_two_that_start_together_one_serves(fresh: Fresh) -> None:
    data = fresh().data
    command = [*SIMYARD, "serve", "--data", str(data), "--port", "0"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        wait_for(lambda: any(one.poll() is not None for one in both), "the end of one")
        (refused,) = [one for one in both if one.poll() is not None]
        (serves,) = [one for one in both if one is not refused]
        assert refused.returncode == 1
        assert serves.stdout is not None
        assert serves.stdout.readline().startswith("Simyard is ready at ")
    finally:
        for one in both:
            one.terminate()
            said = one.communicate(timeout=30)
    assert "Traceback" not in "".join(said)


def test_a_killed_server_leaves_no_lock_and_nobody_inherits_it(fresh: Fresh) -> None:
    """What goes on without it, the supervisor and the solver, does not hold the folder."""
    server = fresh().start()
    client = server.client()
    job = client.create("sleep 600")["id"]
    client.submit(job)
    wait_for(lambda: client.status(job) == "Executing", "Executing")
    assert server.process is not None
    lock = str(server.data / "lock")
    assert lock in open_files(server.process.pid)
    others = family(server.process.pid)
    assert len(others) >= 2, "fork server, supervisor"
    for pid in others:
        assert lock not in open_files(pid)
    server.kill()
    server.start()
    assert client.status(job) == "Executing"
    end(client, job)


def end(client: Client, job: str) -> None:
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)


def family(pid: int) -> list[int]:
    """All that descend from a process."""
    found = []
    for child in children(pid):
        found += [child, *family(child)]
    return found


def open_files(pid: int) -> list[str]:
    folder = Path(f"/proc/{pid}/fd")
    found = []
    for entry in os.listdir(folder):
        try:
            found.append(os.readlink(folder / entry))
        except FileNotFoundError:
            continue
    return found
