"""Jobs over a real Slurm: what their users see, in a cluster that works."""

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from clusters import CONFIG, Stand, most_at_once, rows, stand
from harness import Ledger, wait_for
from simyard.engines import slurm_programs
from studying import created, study

pytestmark = [pytest.mark.slurm, pytest.mark.sandbox]


@pytest.fixture(scope="module")
def here() -> Iterator[Stand]:
    with stand() as made:
        yield made


def words(here: Stand, job: dict[str, Any]) -> list[str]:
    return [entry["status"] for entry in reversed(here.client.statuses(job["id"]))]


def reason_of(here: Stand, job: dict[str, Any], word: str) -> str:
    said = [e for e in here.client.statuses(job["id"]) if e["status"] == word]
    return str(said[0]["statusReason"]) if said else ""


def test_a_job_runs_on_a_node_and_its_outputs_come_back(here: Stand) -> None:
    job = here.client.run("echo on a node; id -un; pwd; echo kept > result.txt")
    outputs = here.client.outputs(job["id"])
    assert outputs["result.txt"] == b"kept\n"
    log = outputs["process_output.log"].decode().split("\n")
    assert log[:3] == ["on a node", "job", "/home/job/work"]
    told = words(here, job)
    assert told[:2] == ["Pending", "Queued"]
    assert told[-4:] == ["Started", "Validated", "Executing", "Completed"]
    assert set(told[2:-4]) <= {"Waiting for Queue"}, "nothing is said of cores before there are any"
    cluster = here.client.get(f"jobs/{job['id']}/cluster_statuses/")["results"]
    assert [entry["status"] for entry in reversed(cluster)] == [
        "Not Started",
        "Starting",
        "Started",
        "Stop Requested",
        "Stopping",
        "Stopped",
    ]


def test_exit_codes_and_steps_are_as_everywhere(here: Stand) -> None:
    job = here.client.run("exit 7")
    reason = here.client.statuses(job["id"])[0]["statusReason"]
    assert reason == "A run failed: the command of analysis 1 ended with exit code 7"


def test_a_job_waits_in_the_queue_with_the_schedulers_reason_and_can_be_stopped(
    here: Stand,
) -> None:
    client = here.client
    first = client.create("sleep 100", cores=16)  # both nodes
    client.submit(first["id"])
    wait_for(lambda: client.status(first["id"]) == "Executing", "the first to run")
    second = client.create("true", cores=8)
    client.submit(second["id"])
    wait_for(lambda: bool(reason_of(here, second, "Waiting for Queue")), "that it waits")

    def says_what_slurm_says() -> bool:
        (reason,) = [line[3:] for line in here.queue("%t %r") if line.startswith("PD ")]
        said = reason_of(here, second, "Waiting for Queue")
        return reason != "None" and said == slurm_programs.in_words(reason)

    wait_for(says_what_slurm_says, "the scheduler's reason")
    assert client.get("jobs/?job_status=WAITING_FOR_QUEUE")["count"] >= 1
    client.call("POST", f"jobs/{second['id']}/stop/", 202)
    assert client.finished(second["id"]) == "Stopped by the user"
    assert len(here.queue()) == 1, "it is out of Slurm's queue too"
    began = time.monotonic()
    client.call("POST", f"jobs/{first['id']}/stop/", 202)
    assert client.finished(first["id"]) == "Stopped by the user"
    assert time.monotonic() - began < 30
    wait_for(lambda: here.queue() == [], "the end of its job in Slurm")


def test_ranks_on_two_nodes_find_their_hosts_and_their_shared_folder(here: Stand) -> None:
    job = here.client.run(
        "cat $HOME/machinefile | sort | uniq -c; cat $HOME/mpd.hosts | wc -l; echo $MACHINES;"
        " env | grep ^RESCALE_ | sort; test $HOME/work/shared -ef $PWD && echo shared;"
        " srun sh -c 'echo rank on $SLURMD_NODENAME; touch seen.$SLURM_PROCID'; ls seen.* | wc -l",
        cores=16,
    )
    log = here.client.log_of(job["id"])
    assert re.findall(r"(\d+) (node\d)\n", log)[:2] == [("8", "node1"), ("8", "node2")]
    assert "\n16\nnode1:8:node2:8\n" in log
    assert "RESCALE_NODES_PER_SLOT=2\n" in log and "RESCALE_CORES_PER_NODE=8\n" in log
    assert "RESCALE_CORES_PER_SLOT=16\n" in log and "\nshared\n" in log
    assert log.count("rank on node1") == 8 and log.count("rank on node2") == 8
    assert log.rstrip().endswith("16"), "every rank wrote into the folder of the job"
    notices = here.client.get(f"jobs/{job['id']}/")["notices"]
    assert "not-isolated" in [notice["code"] for notice in notices], "nothing is silent about that"


def test_a_site_that_requires_the_sandbox_has_no_jobs_on_several_nodes() -> None:
    with stand(config=CONFIG + 'sandbox = "required"\n') as strict:
        job = strict.client.run("true", cores=16)
        reason = strict.client.statuses(job["id"])[0]["statusReason"]
        assert "this site requires one" in reason
        assert strict.client.run("true", cores=8)


def test_a_sandboxed_job_sees_nothing_of_slurm(here: Stand) -> None:
    job = here.client.run(f"env | grep -c ^SLURM; ls {here.folder} | wc -l")
    assert here.client.log_of(job["id"]).split("\n")[0] == "0"


def test_a_study_is_one_array_with_as_many_at_a_time_as_it_has_slots(
    here: Stand, ledger: Ledger
) -> None:
    client = here.client
    command = ledger.preamble + "say begin $RUN_ID; sleep 0.5; say end $RUN_ID"
    job = created(client, study(client, command, table=rows(12), slots=3))
    client.submit(job["id"])
    wait_for(lambda: bool(here.queue("%F %j")), "the study in the queue")
    assert len(set(here.queue("%F %j"))) == 1, "one array"
    wait_for(lambda: any("%3" in line for line in here.queue("%i")), "its slots, as Slurm has them")
    assert client.finished(job["id"]) == "Completed successfully"
    assert most_at_once(ledger.lines) == 3
    assert sorted(line for line in ledger.lines if line.startswith("begin")) == sorted(
        f"begin {n}" for n in range(1, 13)
    )


@pytest.mark.parametrize(
    ("core_type", "cores", "why"),
    [
        ("lost", 1, "nvalid partition name"),
        ("wide", 64, "More processors requested than permitted"),
        ("short", 1, "Requested time limit is invalid"),
    ],
)
def test_what_slurm_refuses_ends_with_its_words(
    here: Stand, core_type: str, cores: int, why: str
) -> None:
    job = here.client.run("true", hardware={"coreType": core_type, "coresPerSlot": cores})
    last = here.client.statuses(job["id"])[0]["statusReason"]
    assert last.startswith("A run failed: it could not be started: Slurm refuses it: ")
    assert why in last


def test_a_job_may_take_all_the_time_that_its_partition_gives(here: Stand) -> None:
    hardware = {"coreType": "short", "coresPerSlot": 1, "walltime": 1}
    job = here.client.run("true", hardware=hardware)
    assert here.client.statuses(job["id"])[0]["statusReason"] == "Completed successfully"


def test_core_types_name_their_engine(here: Stand) -> None:
    client = here.client
    wait_for(lambda: here.queue() == [], "that Slurm knows the tests before are over")
    job = client.create("sleep 1", hardware={"coreType": "local", "coresPerSlot": 1})
    client.submit(job["id"])
    wait_for(lambda: client.status(job["id"]) == "Executing", "its start")
    assert here.queue() == [], "Slurm has nothing of it"
    client.finished(job["id"])
    assert words(here, job) == [
        "Pending",
        "Queued",
        "Started",
        "Validated",
        "Executing",
        "Completed",
    ]


def test_low_priority_is_told_to_slurm(here: Stand) -> None:
    client = here.client
    first = client.create("sleep 60", cores=16)
    client.submit(first["id"])
    wait_for(lambda: client.status(first["id"]) == "Executing", "the first to run")
    made = client.create("true", cores=8, job={"isLowPriority": True})
    client.submit(made["id"])
    wait_for(lambda: len(here.queue()) == 2, "both in the queue")
    nice = {int(line) for line in here.queue("%y")}
    assert nice == {0, 1000}
    client.call("POST", f"jobs/{first['id']}/stop/", 202)
    assert client.finished(made["id"]) == "Completed successfully"


def test_a_running_job_can_be_looked_into(here: Stand) -> None:
    client = here.client
    job = client.create("echo first line; echo x > there.txt; sleep 60")
    client.submit(job["id"])
    wait_for(lambda: client.status(job["id"]) == "Executing", "its start")
    tail = f"jobs/{job['id']}/runs/1/tail/process_output.log"
    wait_for(lambda: "first line" in client.call("GET", tail, 200).text, "its log")
    names = client.call("GET", f"jobs/{job['id']}/runs/1/directory-contents/", 200).text
    assert "there.txt" in names
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    client.finished(job["id"])


def test_times_are_in_order(here: Stand) -> None:
    job = here.client.run("sleep 0.2")
    times = [entry["statusDate"] for entry in reversed(here.client.statuses(job["id"]))]
    assert all(earlier <= later for earlier, later in pairwise(times))
