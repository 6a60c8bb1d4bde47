"""Killed between any two durable steps: nothing is lost, doubled or left behind.

Every named crash point is killed at once, as by `kill -9`, the first time that a process comes to
it. The client does what a good client does: it asks again. Payloads write into a ledger that no
crash can touch.
"""

import contextlib
import io
import re
import time
import zipfile
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path

import pytest

from dying import Stubborn, armed
from harness import CONFIG, Ledger, RunningServer, ServerDied, definition, strays, wait_for
from simyard import bootstrap
from simyard.torture import points
from simyard.torture.points import BEFORE_THE_PAYLOAD, DELETING, SERVER, STOPPING, SUPERVISOR

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]


def test_every_crash_point_is_killed_here() -> None:
    source = Path(bootstrap.__file__).parent
    named = set()
    for path in source.rglob("*.py"):
        named |= set(re.findall(r'crash_point\("([\w.-]+)"\)', path.read_text()))
    named |= {"supervisor.pid.json-aside", "supervisor.exit.json-aside"}  # made of a file's name
    # Those of snapshots are killed in api/test_snapshots.py, those of studies beside this file.
    elsewhere = {*points.RESTARTING, *points.STUDIES, *points.UPLOADS, *points.DRAFTS, *points.BULK}
    assert named == {*points.ALL, *elsewhere, *points.SLURM}


def case() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("case/a.txt"), "a\n" * 1000)  # the same bytes each time
    return content.getvalue()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder that was used before, to be copied, and a key for it."""
    made = RunningServer(tmp_path_factory.mktemp("installation") / "data", CONFIG)
    return made.data, made.key()


@pytest.mark.parametrize("point", [*SERVER, *BEFORE_THE_PAYLOAD, *SUPERVISOR])
def test_one_job_one_start_one_result(
    fresh: Callable[..., RunningServer],
    installation: tuple[Path, str],
    ledger: Ledger,
    point: str,
) -> None:
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        file = client.until_it_works(
            lambda c: c.upload("case.zip", case(), **{"Idempotency-Key": "the upload"})
        )
        command = ledger.preamble + "say start; wc -l < case/a.txt | tee out; say end; exit 7"
        body = definition(command, inputs=[file["id"]])
        job = client.until_it_works(
            lambda c: c.call(
                "POST", "jobs/", 201, json=body, headers={"Idempotency-Key": "the job"}
            ).json()
        )
        client.submit(job["id"])
        reason = client.finished(job["id"])

        check = server.client(key)
        assert [j["id"] for j in check.get("jobs/")["results"]] == [job["id"]]
        uploaded = check.get("files/?type_id=1")["results"]
        assert [f["id"] for f in uploaded] == [file["id"]]
        words = [entry["status"] for entry in reversed(check.statuses(job["id"]))]
        assert len(words) == len(set(words)), "every word once"
        assert words[0] == "Pending" and words[-1] == "Completed"
        if point == "supervisor.started" and "was killed while it ran" in reason:
            assert ledger.lines in ([], ["start"], ["start", "end"])
        else:
            assert ledger.lines == ["start", "end"]
            assert reason.startswith(
                "A run failed: the command of analysis 1 ended with exit code 7"
            )
            outputs = check.outputs(job["id"])
            assert set(outputs) == {"case.zip", "case/a.txt", "out", "process_output.log"}
            assert outputs["out"] == b"1000\n"
            log = outputs["process_output.log"].decode()
            assert log == f"1000\n[simyard] {reason}\n"
        if point in SERVER:
            assert client.deaths == 1


@pytest.mark.parametrize("point", STOPPING)
def test_a_stop_that_was_asked_for_is_carried_out(
    fresh: Callable[..., RunningServer],
    installation: tuple[Path, str],
    ledger: Ledger,
    point: str,
) -> None:
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        mark = f"99{time.monotonic_ns() % 10**9}"
        job = server.client(key).create(ledger.preamble + f"say start; sleep {mark}")
        client.submit(job["id"])
        wait_for(lambda: ledger.lines == ["start"], "the start")
        reply = client.until_it_works(lambda c: c.http.post(f"jobs/{job['id']}/stop/"))
        assert reply.status_code == 202
        assert client.finished(job["id"]) == "Stopped by the user"
        assert ledger.lines == ["start"]
        assert strays(f"sleep {mark}") == []


@pytest.mark.parametrize("point", DELETING)
def test_what_was_deleted_stays_deleted(
    fresh: Callable[..., RunningServer], installation: tuple[Path, str], point: str
) -> None:
    """A file and a job with an output. The bytes go with the housekeeping at the next start."""
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        file = client.until_it_works(lambda c: c.upload("case.zip", case()))
        job = client.until_it_works(lambda c: c.create("echo out > out.txt"))
        client.submit(job["id"])
        client.finished(job["id"])
        for path in (f"jobs/{job['id']}/", f"files/{file['id']}/"):
            for method, expected in (("DELETE", (204, 404)), ("GET", (404,))):
                ask = methodcaller("request", method, path)
                reply = client.until_it_works(lambda c, ask=ask: ask(c.http))  # type: ignore[misc]
                assert reply.status_code in expected, reply.text
        if point == "delete.blob-removed":
            server.stop()
            once = str(server.data.parent / "died")
            with contextlib.suppress(ServerDied):  # before it was ready
                server.start(SIMYARD_CRASH_AT=point, SIMYARD_CRASH_ONCE=once)
            wait_for(lambda: not server.alive, "its death as it tidies up")
        assert client.until_it_works(lambda c: c.get("jobs/"))["count"] == 0
        assert client.until_it_works(lambda c: c.get("files/"))["count"] == 0
