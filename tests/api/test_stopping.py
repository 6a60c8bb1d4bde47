"""Stops in the solver's own way: it is asked, waited for, and told to end if that does not help."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import looping
from harness import CONFIG, Client, RunningServer, serving, wait_for

PATIENT = CONFIG + "stop_recipe_seconds = 40\n"
IGNORES = "trap 'echo told to end; exit 9' TERM; echo begun; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("stopping") / "data", PATIENT)
    looping.bring(running.data)
    with serving(running):
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Client:
    return server.client()


def begun(client: Client, command: str, **more: Any) -> str:
    """A job of the looping solver whose log has begun."""
    job = client.create(command, code=looping.CODE, **more)
    client.submit(job["id"])
    wait_for(lambda: bool(tail(client, job["id"])), "the first line")
    return str(job["id"])


def tail(client: Client, job: str) -> list[str]:
    path = f"jobs/{job}/runs/1/tail/process_output.log/?lines=3"
    reply = client.http.get(path)
    return list(reply.json()["lines"]) if reply.status_code == 200 else []


def stop(client: Client, job: str) -> None:
    client.call("POST", f"jobs/{job}/stop/", 202)


def test_a_file_is_edited_and_the_solver_writes_its_present_step(
    server: RunningServer, client: Client
) -> None:
    file = client.upload("case.zip", looping.case())
    job = begun(client, "cd case; ./solve; echo and after", inputs=[file["id"]])
    stop(client, job)
    assert client.finished(job) == "Stopped by the user"
    outputs = client.outputs(job)
    log = outputs["process_output.log"].decode().splitlines()
    step = log[log.index("End") - 1].removeprefix("Time = ")
    assert outputs[f"case/{step}/U"] == f"{step}\n".encode()
    assert outputs["case/system/controlDict"].decode() == looping.CONTROL, "the user's text is back"
    words = [entry["status"] for entry in client.statuses(job)]
    assert words[:3] == ["Completed", "Stopping", "Executing"]
    assert "is asked to end: write and stop (case/system/controlDict)" in server.log()


def test_a_file_is_created_where_the_input_speaks_of_it(client: Client) -> None:
    deck = client.upload("job.in", b"halt if is_file(STOP)\n")
    command = "mkdir sub; mv job.in sub; cd sub; echo begun\n"
    command += "until [ -e STOP ]; do sleep 0.05; done; echo halted"
    job = begun(client, command, inputs=[deck["id"]])
    stop(client, job)
    assert client.finished(job) == "Stopped by the user"
    outputs = client.outputs(job)
    assert "halted" in outputs["process_output.log"].decode()
    assert "sub/STOP" not in outputs and "sub/job.in" in outputs


def test_a_signal_is_sent_to_who_waits_for_it(client: Client) -> None:
    command = (
        "touch usr2.txt; trap 'echo saved; exit 0' USR2\necho begun; while :; do sleep 0.05; done"
    )
    job = begun(client, command)
    wait_for(lambda: tail(client, job) == ["begun"], "the trap")
    stop(client, job)
    assert client.finished(job) == "Stopped by the user"
    assert "saved" in client.log_of(job)


@pytest.mark.parametrize("path", ["jobs/{}/stop/", "jobs/{}/runs/1/stop/"])
def test_a_second_stop_does_not_wait(client: Client, path: str) -> None:
    file = client.upload("case.zip", looping.case())
    job = begun(client, IGNORES, inputs=[file["id"]])
    stop(client, job)
    wait_for(lambda: client.status(job) == "Stopping", "the stop")
    time.sleep(0.7)
    assert tail(client, job) == ["begun"], "it is asked and not told"
    before = time.monotonic()
    assert client.http.post(path.format(job)).is_success
    assert client.finished(job) == "Stopped by the user"
    assert time.monotonic() - before < 30
    assert "told to end" in client.log_of(job)


@pytest.mark.parametrize(
    "lay_out",
    [
        "cp case/system/controlDict theirs; ln -sf ../../theirs case/system/controlDict",
        "cp case/system/controlDict theirs; rm -r case; mkdir a; mkfifo a/x; ln -s /etc case",
        "cp case/system/controlDict theirs; rm -r case; echo 'is_file(../up)' > bad.in",
        "cp case/system/controlDict theirs; rm -r case; echo 'is_file(/tmp/up)' > bad.in",
    ],
)
def test_no_link_and_no_path_leads_a_stop_out_of_the_folder(client: Client, lay_out: str) -> None:
    file = client.upload("case.zip", looping.case())
    job = begun(client, f"{lay_out}; {IGNORES}", inputs=[file["id"]])
    before = time.monotonic()
    stop(client, job)
    assert client.finished(job) == "Stopped by the user"
    assert time.monotonic() - before < 30, "there was nothing to wait for"
    outputs = client.outputs(job)
    assert outputs["theirs"].decode() == looping.CONTROL
    assert "told to end" in outputs["process_output.log"].decode()


def test_who_does_not_listen_is_told_after_the_time_that_the_site_gives(
    fresh: Callable[..., RunningServer],
) -> None:
    server = fresh(CONFIG + "stop_recipe_seconds = 1.5\n")
    looping.bring(server.data)
    client = server.start().client()
    file = client.upload("case.zip", looping.case())
    job = begun(client, IGNORES, inputs=[file["id"]])
    before = time.monotonic()
    stop(client, job)
    assert client.finished(job) == "Stopped by the user"
    assert time.monotonic() - before > 1.4
    assert "told to end" in client.log_of(job)


def test_a_stop_goes_on_after_the_server_was_killed(
    fresh: Callable[..., RunningServer], tmp_path: Path
) -> None:
    server = fresh(PATIENT)
    looping.bring(server.data)
    key = server.key()
    for point in ("stop.planned", "stop.asked"):
        server.start(SIMYARD_CRASH_AT=point, SIMYARD_CRASH_ONCE=str(tmp_path / point))
        client = server.client(key)
        file = client.upload("case.zip", looping.case())
        job = begun(client, "cd case; ./solve", inputs=[file["id"]])
        client.http.post(f"jobs/{job}/stop/")
        wait_for(lambda: not server.alive, "the death of the server")
        server.kill()
        assert (tmp_path / point).exists()
        client = server.start().client(key)
        assert client.finished(job) == "Stopped by the user"
        outputs = client.outputs(job)
        assert "End\n" in outputs["process_output.log"].decode()
        assert outputs["case/system/controlDict"].decode() == looping.CONTROL
        server.stop()
