"""The previous release is started from its wheel, given work, and replaced by the present one on
the same data folder.
"""

import json
import os
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import CONFIG, SIMYARD, Client, Ledger, RunningServer, command_line, wait_for
from simyard.store import upgrade

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]

Fresh = Callable[..., RunningServer]

# Built with `hatchling build -t wheel` from the last commit before database revision 0003.
PREVIOUS = next((Path(__file__).parents[1] / "data" / "releases").glob("simyard-*.whl"))
PREVIOUS_REVISION = "0002"


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import the previous release from: what its wheel installs."""
    installed = tmp_path_factory.mktemp("previous")
    zipfile.ZipFile(PREVIOUS).extractall(installed)
    return installed


class EarlierClient(Client):
    """The API of a release whose replies lack what the present document tells of."""

    def call(self, method: str, path: str, expect: int, **options: Any) -> httpx.Response:
        reply = self.http.request(method, path, **options)
        assert reply.status_code == expect, f"{method} {path}: {reply.content[:1000]!r}"
        return reply


def revision(server: RunningServer) -> str:
    with closing(sqlite3.connect(server.data / "simyard.db")) as database:
        (found,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found)


def payload_of(server: RunningServer) -> int:
    """The process of the one run that is alive."""
    (path,) = (server.data / "runs").glob("*/pid.json")
    return int(json.loads(path.read_text())["payload"])


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_an_upgrade_in_the_midst_of_work(
    fresh: Fresh, previous: Path, ledger: Ledger, end: str
) -> None:
    server = fresh(CONFIG.replace("cores = 4", "cores = 1"), PYTHONPATH=str(previous)).start()
    key = (server.data / "admin.key").read_text().strip()
    before = EarlierClient(server.address, key)
    file = before.upload("input.txt", b"what goes in\n")
    finished = before.run("cat input.txt > copy.txt; echo done", inputs=[file["id"]])["id"]
    draft = before.create("echo draft")["id"]
    runs = before.create(
        ledger.preamble + "say runs; for i in $(seq 1000); do echo line $i; "
        "[ $i -gt 20 -a -e go ] && break; sleep 0.1; done; echo last; say ended; exit 7"
    )["id"]
    waits = before.create(ledger.preamble + "say waited; cat input.txt", inputs=[file["id"]])["id"]
    stopped = before.create(ledger.preamble + "say never")["id"]
    for job in (runs, waits, stopped):
        before.submit(job)
    wait_for(lambda: before.status(runs) == "Executing", "Executing")
    wait_for(lambda: {before.status(job) for job in (waits, stopped)} == {"Queued"}, "the queue")
    told = before.outputs(finished), before.statuses(finished)
    nothing_changes_under_a_running_server(server)
    payload = payload_of(server)
    program = command_line(payload)
    assert program
    before.call("POST", f"jobs/{stopped}/stop/", 202)
    if end == "SIGTERM":
        assert server.stop() == 0
    else:
        server.kill()
    before.http.close()

    server.start(PYTHONPATH="")
    assert revision(server) == upgrade.HEAD != PREVIOUS_REVISION
    client = server.client(key)
    assert command_line(payload) == program, "it is alive"
    assert client.status(runs) == "Executing"
    assert client.finished(stopped) == "Stopped by the user"
    assert client.status(waits) == "Queued"
    (work,) = (server.data / "runs").glob("*/home/work")
    (work / "go").touch()
    assert client.finished(runs).endswith("ended with exit code 7")
    lines = client.log_of(runs).splitlines()
    counted = [line for line in lines if line.startswith("line ")]
    assert counted == [f"line {i}" for i in range(1, len(counted) + 1)] and len(counted) > 20
    assert lines[len(counted)] == "last"
    assert client.finished(waits) == "Completed successfully"
    assert client.log_of(waits) == "what goes in\n"
    assert ledger.lines == ["runs", "ended", "waited"]
    assert (client.outputs(finished), client.statuses(finished)) == told
    assert {job["id"] for job in client.get("jobs/")["results"]} == {
        finished,
        draft,
        runs,
        waits,
        stopped,
    }
    assert client.get("jobs/")["count"] == 5
    outputs = sum(client.get(f"jobs/{job}/files/")["count"] for job in (finished, runs, waits))
    assert client.get("files/")["count"] == outputs + 1
    assert client.log_of(client.run("echo new")["id"]) == "new\n"
    client.submit(draft)
    client.finished(draft)
    assert not server.miscounted(), server.miscounted()
    assert server.stop() == 0
    refuse_to_go_back(server, previous)


def nothing_changes_under_a_running_server(server: RunningServer) -> None:
    """The present release, tried beside a server of the one before."""
    assert server.process is not None
    data = ["--data", str(server.data)]
    for arguments, hint in (
        (["serve", *data, "--port", "0"], "stop it first, or name another folder with --data"),
        (
            ["keys", "create", *data, "--email", "bob@lab.example"],
            "it is of an older release than this command: stop it, or use its own `simyard keys`",
        ),
    ):
        command = [*SIMYARD, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"error: another server (process {server.process.pid}) is using the data folder"
            f" {server.data}\nhint: {hint}\n"
        )
    assert revision(server) == PREVIOUS_REVISION


def refuse_to_go_back(server: RunningServer, previous: Path) -> None:
    """The previous release does not touch what it does not know."""
    command = [*SIMYARD, "serve", "--data", str(server.data), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(previous)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env=environment
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: database: the database has revision {upgrade.HEAD}, this release knows"
        f" {PREVIOUS_REVISION}\n"
    )
    assert revision(server) == upgrade.HEAD
