"""Restarts from a checkpoint: another attempt that goes on from what the run has left."""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import looping
from harness import CONFIG, Client, Ledger, RunningServer, serving, wait_for
from studying import created, study


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("restart") / "data", CONFIG)
    looping.bring(running.data)
    with serving(running):
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Client:
    return server.client()


def restart(client: Client, job: str, expect: int = 200, **options: Any) -> Any:
    return client.call("POST", f"jobs/{job}/runs/1/restart/", expect, **options).json()


def until_it_steps(client: Client, job: str) -> None:
    def steps() -> bool:
        reply = client.http.get(f"jobs/{job}/runs/1/tail/process_output.log/?lines=1")
        lines = reply.json()["lines"] if reply.status_code == 200 else []
        return any(line.startswith("Time = ") for line in lines)

    wait_for(steps, "a step")


def steps_and_is_stopped(client: Client, job: str) -> None:
    until_it_steps(client, job)
    client.call("POST", f"jobs/{job}/stop/", 202)
    assert client.finished(job) == "Stopped by the user"


def rows(server: RunningServer, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        return database.execute(query).fetchall()


def ids_of(client: Client, job: str) -> dict[str, str]:
    found = client.get(f"jobs/{job}/files/?page_size=100")["results"]
    return {file["relativePath"]: file["id"] for file in found}


def listed(client: Client) -> tuple[set[str], set[str]]:
    """(completed jobs, others)"""
    done = client.get("jobs/?state=completed&page_size=100")["results"]
    others = client.get("jobs/?state=not_completed&page_size=100")["results"]
    return {job["id"] for job in done}, {job["id"] for job in others}


def test_it_goes_on_from_the_last_step_with_its_log_and_its_outputs(
    server: RunningServer, client: Client
) -> None:
    file = client.upload("case.zip", looping.case())
    body = {"inputs": [file["id"]], "code": looping.CODE}
    job = client.create("cd case; ./solve; ls -l solve > listing", **body)["id"]
    client.submit(job)
    steps_and_is_stopped(client, job)
    first, ids = client.outputs(job), ids_of(client, job)
    wait_for(lambda: job in listed(client)[0], "its place among the completed jobs")

    reply = restart(client, job)
    assert (reply["id"], reply["dateStarted"], reply["dateCompleted"]) == ("1", None, None)
    assert job in listed(client)[1] and job not in listed(client)[0]
    refused = restart(client, job, 400)["detail"]
    assert refused.startswith("This run is not at its end")
    steps_and_is_stopped(client, job)
    assert job in listed(client)[0]

    outputs = client.outputs(job)
    files = client.get(f"jobs/{job}/files/?page_size=100")
    assert files["count"] == len(files["results"]) == len(outputs), "each path once"
    log = outputs["process_output.log"].decode()
    before, after = log.split("[simyard] Restarted: ")
    assert before.encode() == first["process_output.log"]
    assert after.startswith("it goes on from what it left; changed for it: case/system/controlDict")
    last = max(int(step) for step in re.findall(r"Time = (\d+)", before))
    assert f"\nfrom {last}\nTime = {last + 1}\n" in after
    assert set(first) < set(outputs), "outputs of before stay"
    now = ids_of(client, job)
    changed = {"process_output.log", "case/system/controlDict"}
    kept = {path for path in ids if ids[path] == now[path]}
    assert {"case.zip", "case/solve"} <= kept and not kept & changed
    final = max(int(step) for step in re.findall(r"Time = (\d+)", after))
    assert outputs[f"case/{final}/U"] == f"{final}\n".encode()
    assert "startFrom   latestTime;" in outputs["case/system/controlDict"].decode()
    assert "-rwx" in outputs["case/listing"].decode(), "scripts can be run as before"

    run = client.get(f"jobs/{job}/runs/1/")
    assert run["outputFileCount"] == len(outputs)
    assert run["outputFileSize"] == sum(map(len, outputs.values()))
    words = [entry["status"] for entry in reversed(client.statuses(job))]
    once = ["Pending", "Queued", "Started", "Validated", "Executing", "Stopping", "Completed"]
    assert words == once * 2
    clusters = client.get(f"jobs/{job}/clusters/")["results"]
    assert len({cluster["id"] for cluster in clusters}) == 2
    assert all(cluster["dateStarted"] and cluster["dateStopped"] for cluster in clusters)
    used = rows(server, f"SELECT core_microseconds FROM usage WHERE job = '{job}'")
    assert len(used) == 2 and all(microseconds > 0 for (microseconds,) in used)
    (series,) = client.get(f"jobs/{job}/runs/1/series/")
    assert series["points"] >= final, "charts go on"


def test_a_command_of_its_own_counts_for_one_attempt_only(client: Client) -> None:
    command = "mkdir sub sub/7; cp /bin/echo prog; echo state > a.rout; echo one > sub/7/U; exit 4"
    file = client.upload("case.zip", looping.case())
    job = client.create(command, code="told", inputs=[file["id"]])["id"]
    client.submit(job)
    assert "exit code 4" in client.finished(job)
    missing = restart(client, job, 400)["command"]
    assert "Told would begin again with the same command" in str(missing) and "go on" in str(
        missing
    )
    assert "command" in restart(client, job, 400, json={"command": "x\0"})
    again = "./prog from $(cat a.rin) $(cat sub/7/U); echo two > sub/7/U; rm a.rout"
    restart(client, job, json={"command": again})
    assert client.finished(job) == "Completed successfully"
    outputs = client.outputs(job)
    assert b"\nfrom state one\n" in outputs["process_output.log"]
    assert outputs["sub/7/U"] == b"two\n" and outputs["a.rin"] == b"state\n"
    assert outputs["a.rout"] == b"state\n", "what the new attempt removed is still there"
    control = outputs["case/system/controlDict"].decode()
    assert control == looping.CONTROL.replace("startTime", "latestTime"), "as the solver read it"
    assert client.get(f"jobs/{job}/")["jobanalyses"][0]["command"] == command


def test_the_command_that_one_attempt_had_is_not_that_of_the_runs_done_again(
    client: Client,
) -> None:
    body = study(client, "echo s > a.rout; exit 4", table="n\n1\n", code="loop")
    job = created(client, body)["id"]
    client.submit(job)
    assert "exit code 4" in client.finished(job)
    again = f"jobs/{job}/study/rerun/"
    client.call("POST", again, 200, json={"command": "echo mended >> a.rout"})
    assert client.finished(job) == "Completed successfully"
    restart(client, job)
    client.finished(job)
    assert client.outputs(job)["a.rout"] == b"mended\nmended\n", "the mended command goes on"
    restart(client, job, json={"command": "cp a.rin other"})
    client.finished(job)
    assert "other" in client.outputs(job)
    client.call("POST", again, 200, json={"where": "all"})
    assert client.finished(job) == "Completed successfully"
    outputs = client.outputs(job)
    assert outputs["a.rout"] == b"mended\n" and "other" not in outputs


def test_what_the_log_tells_of_the_attempt_before_is_not_held_against_this_one(
    client: Client,
) -> None:
    command = "mkdir 1; echo > 1/U; echo 'cp: x: No space left on device'; exit 1"
    job = client.run(command, code=looping.CODE)["id"]
    before = client.get(f"jobs/{job}/runs/1/")["outcome"]
    assert not before["isGood"] and before["evidence"]["line"] == 1
    restart(client, job, json={"command": "true"})
    assert client.finished(job) == "Completed successfully"
    after = client.get(f"jobs/{job}/runs/1/")["outcome"]
    assert after["isGood"] and after["evidence"] is None
    last = "echo; echo 'cp: x: No space left on device'; exit 1"
    restart(client, job, json={"command": last})
    assert "exit code 1" in client.finished(job)
    evidence = client.get(f"jobs/{job}/runs/1/")["outcome"]["evidence"]
    lines = client.outputs(job)["process_output.log"].split(b"\n")
    assert lines[evidence["line"] - 1].decode() == evidence["text"]
    assert len(b"\n".join(lines[: evidence["line"] - 1])) + 1 == evidence["offset"]


def test_another_job_keeps_the_output_that_it_names(client: Client) -> None:
    job = client.run("mkdir 3; echo $RANDOM > 3/U; cat 3/U", code=looping.CODE)["id"]
    (output,) = client.get(f"jobs/{job}/files/?search=3/U")["results"]
    before = client.outputs(job)["3/U"]
    other = client.create("cat U", inputs=[output["id"]])["id"]
    restart(client, job, json={"command": "echo else > 3/U"})
    assert client.finished(job) == "Completed successfully"
    assert client.outputs(job)["3/U"] == b"else\n"
    client.submit(other)
    assert client.finished(other) == "Completed successfully"
    assert before in client.outputs(other)["process_output.log"]


def test_what_cannot_be_restarted_says_why(client: Client, server: RunningServer) -> None:
    plain = client.run("true")["id"]
    assert "It is not known how" in restart(client, plain, 400)["detail"]
    empty = client.run("mkdir 0; echo > 0/U", code=looping.CODE)["id"]
    left = restart(client, empty, 400)["detail"]
    assert left == (
        "This run left nothing to go on from: Loop needs a time folder among its outputs."
    )
    draft = client.create("true", code=looping.CODE)["id"]
    restart(client, draft, 404)
    stranger = server.somebody()
    restart(stranger, empty, 404)
    client.call("POST", f"jobs/{empty}/share/", 200, json={"email": email_of(stranger)})
    restart(stranger, empty, 403)
    file = client.upload("in.txt", b"x")
    gone = client.run("mkdir 1; echo > 1/U", code=looping.CODE, inputs=[file["id"]])["id"]
    client.call("DELETE", f"files/{file['id']}/", 204)
    assert "was deleted" in restart(client, gone, 400)["detail"]


def email_of(client: Client) -> str:
    return str(client.get("users/me/")["email"])


def test_a_restart_that_is_stopped_in_the_queue_leaves_everything_as_it_was(client: Client) -> None:
    job = client.run("mkdir 1; echo > 1/U; exit 2", code=looping.CODE)["id"]
    before = client.outputs(job)
    blocking = client.create("sleep 100", cores=4)["id"]
    client.submit(blocking)
    wait_for(lambda: client.status(blocking) == "Executing", "a machine that is full")
    restart(client, job)
    wait_for(lambda: client.status(job) == "Queued", "its place in the queue")
    client.call("POST", f"jobs/{job}/stop/", 202)
    assert client.finished(job) == "Stopped by the user"
    client.call("POST", f"jobs/{blocking}/stop/", 202)
    assert client.outputs(job) == before
    assert client.get(f"jobs/{job}/runs/1/")["outputFileCount"] == len(before)
    client.finished(blocking)


def test_the_same_request_twice_is_one_attempt(client: Client) -> None:
    job = client.run("mkdir 1; echo > 1/U", code=looping.CODE)["id"]
    key = {"Idempotency-Key": "once"}
    restart(client, job, headers=key)
    assert client.finished(job) == "Completed successfully"
    restart(client, job, headers=key)
    assert client.finished(job) == "Completed successfully"
    restart(client, job, 422, headers=key, json={"command": "other"})
    assert client.get(f"jobs/{job}/clusters/")["count"] == 2


def test_killed_at_any_point_there_is_one_restart(
    fresh: Callable[..., RunningServer], tmp_path: Path, ledger: Ledger
) -> None:
    server = fresh()
    looping.bring(server.data)
    key = server.key()
    command = ledger.preamble + "say start; mkdir -p 1; echo >> 1/U; wc -l < 1/U"
    job = ""
    points = ["restart.recorded", "restart.committed", "restart.laid-out"]
    for attempt, point in enumerate(points, start=2):
        server.start(SIMYARD_CRASH_AT=point, SIMYARD_CRASH_ONCE=str(tmp_path / point))
        client = server.client(key)
        job = job or client.run(command, code=looping.CODE)["id"]
        client.finished(job)
        asked = {"Idempotency-Key": point}
        with contextlib.suppress(httpx.TransportError):
            client.http.post(f"jobs/{job}/runs/1/restart/", headers=asked)
        wait_for(lambda: not server.alive, "the death of the server")
        server.kill()
        assert (tmp_path / point).exists()
        client = server.start().client(key)
        restart(client, job, headers=asked)
        assert client.finished(job) == "Completed successfully"
        assert ledger.lines == ["start"] * attempt
        outputs = client.outputs(job)
        assert outputs["1/U"] == b"\n" * attempt
        assert outputs["process_output.log"].endswith(f"\n{attempt}\n".encode())
        assert client.get(f"jobs/{job}/clusters/")["count"] == attempt
        server.stop()
