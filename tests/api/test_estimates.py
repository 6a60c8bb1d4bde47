"""What a job will take, before it costs anything (docs/extensions.md)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness import CONFIG, Client, RunningServer, definition, wait_for
from studying import study

Fresh = Callable[..., RunningServer]
SLEEP = "sleep 600"
HOUR = timedelta(hours=1)


def estimate(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    return dict(client.call("POST", "estimates/", 200, json=body).json())


def job(command: str = SLEEP, cores: int = 1, hours: int = 1, **more: Any) -> dict[str, Any]:
    return definition(command, cores=cores, hardware={"walltime": hours}, job=more)


def submitted(client: Client, body: dict[str, Any]) -> str:
    code = str(client.call("POST", "jobs/", 201, json=body).json()["id"])
    client.submit(code)
    return code


def executing(client: Client, code: str) -> None:
    wait_for(lambda: client.status(code) == "Executing", f"the start of {code}")


def starts_in(client: Client, body: dict[str, Any], *, ahead: int, after: timedelta) -> None:
    """The estimate says so: within the time that a slow machine takes for a job's start."""
    found = estimate(client, body)["queue"]
    assert found["ahead"] == ahead
    at = datetime.fromisoformat(found["startsAt"])
    assert abs(at - datetime.now(UTC) - after) < timedelta(minutes=2)


def not_known(client: Client, body: dict[str, Any], *, ahead: int) -> None:
    assert estimate(client, body)["queue"] == {"ahead": ahead, "startsAt": None}


def stop_all(client: Client) -> None:
    for one in client.get("jobs/?t=1&page_size=100")["results"]:
        client.call("POST", f"jobs/{one['id']}/stop/", 202)


# --- when -----------------------------------------------------------------------------------------


@pytest.mark.sandbox
def test_when_it_starts(fresh: Fresh) -> None:
    server = fresh(CONFIG).start()
    client, other = server.client(), server.somebody()
    starts_in(client, job(cores=4), ahead=0, after=timedelta())
    executing(other, submitted(other, job(cores=2, hours=2)))
    starts_in(client, job(cores=2), ahead=0, after=timedelta())
    starts_in(client, job(cores=4), ahead=0, after=2 * HOUR)
    # The first in the queue is not passed, although the second has room.
    submitted(other, job(cores=4, hours=3))
    starts_in(client, job(cores=1), ahead=1, after=5 * HOUR)
    # Low priority comes last.
    submitted(other, job(cores=1, hours=4, isLowPriority=True))
    starts_in(client, job(cores=4), ahead=1, after=5 * HOUR)
    starts_in(client, job(cores=4, isLowPriority=True), ahead=2, after=9 * HOUR)
    # Runs of a study come before it that no queue has yet.
    table = study(other, SLEEP, table="x\n1\n2\n3\n", slots=1)
    code = submitted(other, table)
    not_known(client, job(), ahead=2)
    other.call("POST", f"jobs/{code}/stop/", 202)
    stop_all(other)


@pytest.mark.sandbox
def test_when_it_waits_for_ones_own(fresh: Fresh) -> None:
    server = fresh(CONFIG + "user_jobs_running_most = 1\n").start()
    client, other = server.client(), server.somebody()
    executing(client, submitted(client, job(cores=2)))
    not_known(client, job(), ahead=0)
    starts_in(other, job(), ahead=0, after=timedelta())
    # Of those before him some may be passed.
    not_known(other, job(cores=4), ahead=0)
    stop_all(client)


# --- how much -------------------------------------------------------------------------------------


def test_only_good_runs_of_the_same_command_count(server: RunningServer) -> None:
    client, other = server.somebody(), server.somebody()
    command = "echo a"
    other.run(command)
    for _ in range(2):
        client.run(command)
    client.run("echo b")
    found = estimate(client, definition(command, hardware={"walltime": 2}))
    assert found["basis"] == "your last 2 runs of this command"
    assert 0 < found["coreHours"]["low"] <= found["coreHours"]["high"] < 2
    # Runs that failed say nothing of how long a good one takes.
    fails = "echo c; exit 3"
    client.run(fails)
    found = estimate(client, definition(fails, hardware={"walltime": 2}))
    assert found["basis"] == "no history"
    assert found["coreHours"] == {"low": 0, "high": 2}


def test_cores_and_disk(server: RunningServer) -> None:
    client = server.somebody("without-history")
    file = client.upload("in.txt", b"0123456789")["id"]
    found = estimate(client, definition(inputs=[file], cores=8, hardware={"walltime": 1}))
    assert (found["cores"], found["clampedFrom"], found["diskBytes"]) == (4, 8, 10)
    assert found["coreHours"]["high"] == 4
    table = study(client, table="x\n1\n2\n3\n", inputFiles=[{"id": file}])
    found = estimate(client, table)
    table_bytes = len("x\n1\n2\n3\n")
    assert (found["runs"], found["diskBytes"]) == (3, 3 * (10 + table_bytes))


def test_what_cannot_be_saved_has_no_estimate(client: Client) -> None:
    said = client.call("POST", "estimates/", 400, json=definition(cores=3)).json()
    assert "does not offer 3 cores" in said["jobanalyses"][0]["hardware"]["coresPerSlot"][0]
