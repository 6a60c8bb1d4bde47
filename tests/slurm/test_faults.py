"""A cluster that fails, and an administrator behind our back: every job comes to a true end, no
payload runs twice, and nobody has to lend a hand.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters import Stand, most_at_once, rows, stand
from dying import Stubborn
from harness import Client, Ledger, definition, wait_for
from simyard.torture import points
from studying import created, study

pytestmark = [pytest.mark.slurm, pytest.mark.sandbox, pytest.mark.faults]
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="hiding a folder takes root")


@pytest.fixture
def broken() -> Iterator[Stand]:
    """A cluster and server of a test's own, to be harmed."""
    with stand() as made:
        yield made


def begin(client: Client, command: str, **more: Any) -> dict[str, Any]:
    job = client.create(command, **more)
    client.submit(job["id"])
    return job


def running(client: Client, command: str, **more: Any) -> dict[str, Any]:
    job = begin(client, command, **more)
    wait_for(lambda: client.status(job["id"]) == "Executing", f"the start of {job['id']}")
    return job


def last_reason(client: Client, job: dict[str, Any]) -> str:
    client.finished(job["id"])
    return str(client.statuses(job["id"])[0]["statusReason"])


def test_a_controller_killed_soon_after_submits_loses_and_doubles_nothing(
    broken: Stand, ledger: Ledger
) -> None:
    """Of jobs submitted 10, 5, 3 and 1 s before, Slurm forgets some and begins others again."""
    client, jobs = broken.client, []
    began = time.monotonic()
    for at in (0.0, 5.0, 7.0, 9.0):
        time.sleep(max(0.0, began + at - time.monotonic()))
        for n in range(2):
            command = f"{ledger.preamble} say begin {at}-{n}; sleep 4; say end {at}-{n}"
            jobs.append(begin(client, command))
    time.sleep(max(0.0, began + 10.0 - time.monotonic()))
    broken.cluster.kill("slurmctld")
    time.sleep(1)
    broken.cluster.start_controller()
    reasons = [last_reason(client, job) for job in jobs]
    begins = [line for line in ledger.lines if line.startswith("begin")]
    assert sorted(set(begins)) == sorted(begins), "nothing began twice"
    assert len(begins) == len(jobs), "and nothing never"
    for reason, line in zip(
        reasons, [b.removeprefix("begin ") for b in sorted(begins)], strict=True
    ):
        # What Slurm killed as an orphan says so; all else ran to its end.
        well = f"end {line}" in ledger.lines
        assert (reason == "Completed successfully") == well or "outside" in reason, (reason, line)
    assert broken.trouble() == ""


def test_jobs_wait_while_the_controller_is_down(broken: Stand, ledger: Ledger) -> None:
    client = broken.client
    early = running(client, ledger.preamble + "say early; sleep 8")
    broken.cluster.kill("slurmctld")
    late = begin(client, ledger.preamble + "say late")
    wait_for(lambda: client.status(late["id"]) == "Waiting for Queue", "that it waits")
    why = "it could not be put into the queue yet"
    wait_for(lambda: why in str(client.statuses(late["id"])[0]["statusReason"]), "why it waits")
    assert "does not answer" in broken.trouble()
    assert client.finished(early["id"]) == "Completed successfully", "it needs no controller"
    broken.cluster.start_controller()
    assert client.finished(late["id"]) == "Completed successfully"
    assert sorted(ledger.lines) == ["early", "late"]


@pytest.mark.parametrize("point", points.SLURM)
def test_a_server_killed_while_it_submits(point: str, tmp_path: Path, ledger: Ledger) -> None:
    with stand(start=False) as here:
        once = here.server.data.parent / "died"
        here.server.start(SIMYARD_CRASH_AT=point, SIMYARD_CRASH_ONCE=str(once))
        client = Stubborn(here.server, here.server.key())
        body = definition(ledger.preamble + "say ran")
        job = client.until_it_works(lambda c: c.call("POST", "jobs/", 201, json=body)).json()
        client.submit(job["id"])
        assert client.finished(job["id"]) == "Completed successfully"
        assert once.exists(), "it died where it should"
        assert ledger.lines == ["ran"]


def test_a_server_killed_while_jobs_wait_and_run(broken: Stand, ledger: Ledger) -> None:
    client = broken.client
    first = running(client, ledger.preamble + "say first; sleep 5", cores=16)
    second = begin(client, ledger.preamble + "say second", cores=16)
    wait_for(lambda: client.status(second["id"]) == "Waiting for Queue", "that it waits")
    broken.server.kill()
    time.sleep(1)
    broken.server.start()
    client = broken.server.client(client.key)
    for job in (first, second):
        assert client.finished(job["id"]) == "Completed successfully"
    assert ledger.lines == ["first", "second"]


def test_a_killed_slurmd_does_not_matter_to_a_running_job(broken: Stand, ledger: Ledger) -> None:
    client = broken.client
    job = running(client, ledger.preamble + "sleep 4; say done", cores=16)
    for node in broken.cluster.nodes:
        broken.cluster.kill(node)
    assert client.finished(job["id"]) == "Completed successfully"
    assert ledger.lines == ["done"]
    for node in broken.cluster.nodes:
        broken.cluster.start_node(node)
    assert client.run("true")  # and the next


def test_a_drained_node_is_waited_for(broken: Stand) -> None:
    client = broken.client
    # Else the check would be the first in the queue, and this job wait for it.
    wait_for(lambda: "is shared with node" in broken.server.log(), "the check of the folder")
    nodes = "nodename=" + ",".join(broken.cluster.nodes)
    broken.cluster.call("scontrol", "update", nodes, "state=drain", "reason=test")
    job = begin(client, "true")
    wait_for(lambda: client.status(job["id"]) == "Waiting for Queue", "that it waits")
    wait_for(lambda: "DRAIN" in str(client.statuses(job["id"])[0]["statusReason"]).upper(), "why")
    broken.cluster.call("scontrol", "update", nodes, "state=resume")
    assert client.finished(job["id"]) == "Completed successfully"


def test_a_node_that_fails_ends_its_jobs_with_that_reason(broken: Stand) -> None:
    client = broken.client
    job = running(client, "sleep 100", cores=16)
    for node in broken.cluster.nodes:
        broken.cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    assert "its node failed" in last_reason(client, job) or "outside" in last_reason(client, job)


@AS_ROOT
def test_a_node_without_the_shared_folder_is_named_and_avoided(
    broken: Stand, ledger: Ledger
) -> None:
    bad = broken.cluster.nodes[0]
    broken.cluster.kill(bad)
    broken.cluster.start_node(bad, without=broken.folder)
    broken.cluster.wait_until_up()
    client = broken.client
    jobs = [begin(client, ledger.preamble + f"say {n}") for n in range(3)]
    for job in jobs:
        assert client.finished(job["id"]) == "Completed successfully"
    assert sorted(ledger.lines) == ["0", "1", "2"]
    assert bad in broken.trouble() and str(broken.folder) in broken.trouble()
    assert f"do not see {broken.folder}" in broken.server.log()


@AS_ROOT
def test_the_shared_folder_is_checked_before_anybody_asks() -> None:
    with stand(start=False) as here:
        here.server.start()
        wait_for(lambda: f"{here.folder} is shared with node" in here.server.log(), "its check")
        assert here.trouble() == ""
    with stand(start=False) as here:
        here.folder.mkdir(parents=True)
        here.server.data.chmod(0o711)
        for node in here.cluster.nodes:
            here.cluster.kill(node)
            here.cluster.start_node(node, without=here.folder)
        here.cluster.wait_until_up()
        here.server.start()
        wait_for(lambda: "do not see" in here.trouble(), "that the node is named")
        assert "node1" in here.trouble()


@pytest.fixture
def squeue() -> Iterator[tuple[Stand, Path]]:
    """With a squeue in front of the real one that does what a file says: hang, garbage, silence."""
    real = shutil.which("squeue")
    with stand(start=False) as here:
        folder = here.server.data.parent / "bin"
        folder.mkdir()
        mood = folder / "mood"
        program = folder / "squeue"
        program.write_text(
            f'#!/bin/sh\ncase "$(cat {mood} 2>/dev/null)" in\n'
            "hang) exec sleep 600;;\n"
            "garbage) echo 'slurm_load_jobs: 0x7f31 ???'; exit 0;;\n"
            "half) " + str(real) + ' "$@" | cut -c 1-100; exit 0;;\n'
            "nothing) exit 0;;\n"
            f'esac\nexec {real} "$@"\n'
        )
        program.chmod(0o755)
        here.server.start(PATH=f"{folder}:{os.environ['PATH']}")
        yield here, mood


@pytest.mark.parametrize("how", ["hang", "garbage", "half", "nothing"])
def test_a_squeue_that_misbehaves(squeue: tuple[Stand, Path], ledger: Ledger, how: str) -> None:
    here, mood = squeue
    client = here.client
    first = running(client, ledger.preamble + "say first; sleep 20", cores=16)
    second = begin(client, ledger.preamble + "say second", cores=16)
    wait_for(lambda: client.status(second["id"]) == "Waiting for Queue", "that it waits")
    mood.write_text(how)
    if how == "nothing":
        time.sleep(5)  # longer than the engine's patience
    else:
        wait_for(lambda: "does not answer" in here.trouble(), "that it is noticed")
        assert client.status(second["id"]) == "Waiting for Queue", "nothing is concluded from it"
    assert client.status(first["id"]) == "Executing"
    mood.write_text("well")
    for job in (first, second):
        assert client.finished(job["id"]) == "Completed successfully"
    assert ledger.lines == ["first", "second"], "each once"


def test_a_job_that_is_cancelled_in_slurm_says_so(broken: Stand, ledger: Ledger) -> None:
    client = broken.client
    first = running(client, ledger.preamble + "say first; sleep 100", cores=16)
    second = begin(client, ledger.preamble + "say second", cores=16)
    wait_for(lambda: client.status(second["id"]) == "Waiting for Queue", "that it waits")
    numbers = broken.queue("%i %T")
    waiting = next(line.split()[0] for line in numbers if "PENDING" in line)
    broken.cluster.call("scancel", waiting)
    assert "it was cancelled in Slurm, and not by the platform" in last_reason(client, second)
    broken.cluster.call("scancel", *(line.split()[0] for line in numbers))
    reason = last_reason(client, first)
    assert "cancelled in Slurm" in reason or "told to end from outside the platform" in reason
    assert ledger.lines == ["first"]


def test_a_job_that_is_held_and_requeued_in_slurm(broken: Stand, ledger: Ledger) -> None:
    client = broken.client
    job = running(client, ledger.preamble + "say ran; sleep 3")
    (number,) = broken.queue()
    assert broken.cluster.call("scontrol", "requeue", number, check=False).returncode != 0
    assert client.finished(job["id"]) == "Completed successfully"
    blocker = running(client, "sleep 100", cores=16)
    held = begin(client, ledger.preamble + "say held")
    wait_for(lambda: client.status(held["id"]) == "Waiting for Queue", "that it waits")
    number = next(line.split()[0] for line in broken.queue("%i %T") if "PENDING" in line)
    broken.cluster.call("scontrol", "hold", number)
    client.call("POST", f"jobs/{blocker['id']}/stop/", 202)
    why = "an administrator holds it back (Slurm: JobHeldAdmin)"
    wait_for(lambda: client.statuses(held["id"])[0]["statusReason"] == why, "why it waits")
    broken.cluster.call("scontrol", "release", number)
    assert client.finished(held["id"]) == "Completed successfully"
    assert ledger.lines == ["ran", "held"]


def test_a_killed_supervisor(broken: Stand) -> None:
    client = broken.client
    job = running(client, "sleep 100")
    (record,) = broken.folder.glob("*/pid.json")
    os.kill(json.loads(record.read_text())["supervisor"], signal.SIGKILL)
    assert "its supervisor process was killed while it ran" in last_reason(client, job)


def test_an_array_larger_than_the_site_allows_comes_in_pieces(ledger: Ledger) -> None:
    with stand(array_most=6) as here:
        client = here.client
        command = ledger.preamble + "say begin $RUN_ID; sleep 0.3; say end $RUN_ID"
        job = created(client, study(client, command, table=rows(14), slots=2))
        client.submit(job["id"])
        assert client.finished(job["id"]) == "Completed successfully"
        begins = [line for line in ledger.lines if line.startswith("begin")]
        assert sorted(begins) == sorted(f"begin {n}" for n in range(1, 15))
        assert most_at_once(ledger.lines) == 2


def test_a_stop_is_heard_although_the_controller_is_down(broken: Stand) -> None:
    client = broken.client
    job = running(client, "trap '' TERM; sleep 100 & wait; sleep 100")
    broken.cluster.kill("slurmctld")
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    assert client.finished(job["id"]) == "Stopped by the user"


def test_a_study_whose_runs_come_slowly_has_all_its_slots(broken: Stand, ledger: Ledger) -> None:
    """Its runs cannot come as one array; what comes later takes the slots that others leave."""
    client = broken.client
    payload = f"{ledger.preamble} say begin $RUN_ID; sleep 3; say end $RUN_ID"
    big = client.upload("big.bin", os.urandom(150_000_000))  # laying it out takes a while
    job = created(client, study(client, payload, table=rows(12), slots=4, inputs=[big["id"]]))
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    assert most_at_once(ledger.lines) == 4, ledger.lines
    assert sum(line.startswith("begin") for line in ledger.lines) == 12


def test_a_server_killed_while_runs_wait_for_slots_of_their_study(ledger: Ledger) -> None:
    with stand(array_most=4) as here:  # arrays of three: the others are not in Slurm's queue yet
        client = here.client
        command = f"{ledger.preamble} say begin $RUN_ID; sleep 2; say end $RUN_ID"
        job = created(client, study(client, command, table=rows(9), slots=3))
        client.submit(job["id"])
        wait_for(lambda: any(line.startswith("begin") for line in ledger.lines), "the first run")
        here.server.kill()
        time.sleep(3)  # the first array comes to its end meanwhile
        here.server.start()
        client = here.server.client(client.key)
        assert client.finished(job["id"]) == "Completed successfully"
        begins = [line for line in ledger.lines if line.startswith("begin")]
        assert sorted(begins) == sorted(f"begin {n}" for n in range(1, 10))


def test_several_arrays_of_a_study_share_its_slots(ledger: Ledger) -> None:
    with stand(array_most=5) as here:  # arrays of four
        client = here.client
        # The last of the first array takes long: the others need not wait for it.
        command = (
            f"{ledger.preamble} say begin $RUN_ID; sleep $((RUN_ID == 4 ? 12 : 1)); say end $RUN_ID"
        )
        job = created(client, study(client, command, table=rows(12), slots=3))
        client.submit(job["id"])
        assert client.finished(job["id"]) == "Completed successfully"
        ended = [int(line.split()[1]) for line in ledger.lines if line.startswith("end")]
        assert most_at_once(ledger.lines) <= 3
        assert ended.index(4) >= 8, f"the others went on beside the long one: {ended}"
