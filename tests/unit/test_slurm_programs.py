"""What answers of Slurm's programs are taken to mean. The lines are as squeue 22.05 has them."""

import os
import stat
from pathlib import Path

import pytest

from simyard.engines import hosts, slurm_programs
from simyard.engines.slurm_programs import (
    ArrayTooLarge,
    Programs,
    Rejected,
    Silent,
    Task,
    read_queue,
)

BATCH = "0123456789abcdef0123456789abcdef"


def line(
    name: str = f"simyard-{BATCH}",
    index: str = "N/A",
    array: str = "7",
    job: str = "7",
    state: str = "RUNNING",
    code: str = "0",
    nodes: str = "node1",
    reason: str = "None",
) -> str:
    return (
        f"{name:<48}{index:<16}{array:<16}{job:<16}{state:<24}{code:<12}{nodes:<200}{reason:<120}"
    )


def programs(folder: Path, **scripts: str) -> Programs:
    """Of which these stand in for those of the site."""
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Programs({"PATH": f"{folder}:{os.environ['PATH']}", "SECRET": "x"}, seconds=2.0)


def test_a_job_and_the_jobs_of_an_array() -> None:
    text = "\n".join(
        [
            line(),
            line(index="3", array="9", job="12", state="FAILED", code="768"),
            line(index="4", array="9", job="9", state="PENDING", nodes="", reason="Resources"),
        ]
    )
    one, third, fourth = read_queue(text)
    assert one == Task(BATCH, 0, "7", "7", "RUNNING", "None", "node1", 0)
    assert (third.job, third.native, third.exit_code, third.is_over) == ("9", "9_3", 3, True)
    assert (fourth.index, fourth.native, fourth.reason, fourth.is_pending) == (
        4,
        "9_4",
        "Resources",
        True,
    )


def test_jobs_of_others_are_passed_over() -> None:
    assert read_queue(line(name="wrap")) == []
    assert read_queue("") == []


@pytest.mark.parametrize(
    "text",
    [
        "slurm_load_jobs error: Unexpected message received",
        line()[:100],
        line() + "\n" + line()[1:],
        line(state="not a state"),
        line(job="abc"),
        line(index="[0-3]"),
        "\x00\x01",
    ],
)
def test_from_an_answer_with_a_line_that_is_none_nothing_is_concluded(text: str) -> None:
    with pytest.raises(Silent, match="squeue printed"):
        read_queue(text)


def test_a_state_of_a_newer_release_may_be_alive() -> None:
    (task,) = read_queue(line(state="HIBERNATING"))
    assert not task.is_over and not task.is_live and not task.is_pending


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "the nodes that it needs are busy (Slurm: Resources)"),
        ("(Priority)", "jobs with a higher priority come first (Slurm: Priority)"),
        ("ReqNodeNotAvail, UnavailableNodes:node1", "Slurm: ReqNodeNotAvail, UnavailableNodes"),
        ("None", "the scheduler has not looked at it yet"),
        ("", "the scheduler has not looked at it yet"),
    ],
)
def test_why_a_job_waits(reason: str, words: str) -> None:
    assert slurm_programs.in_words(reason).startswith(words)


def test_a_submit_that_is_taken(tmp_path: Path) -> None:
    asked = programs(tmp_path, sbatch=f'(cat; echo "$@"; env) > {tmp_path}/got; echo "17;private"')
    assert asked.submit(["--nodes=2"], "#!/bin/sh\nexit 3\n") == "17"
    got = (tmp_path / "got").read_text()
    assert "exit 3" in got and "--parsable --nodes=2" in got
    assert "SECRET" not in got, "nothing of the server's environment goes along"


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("says", "raised"),
    [
        (f"{FAILED}Invalid partition name specified", Rejected),
        (f"{FAILED}Invalid account or account/partition combination specified", Rejected),
        (f"{FAILED}Invalid job array specification", ArrayTooLarge),
        ("sbatch: unrecognized option '--frobnicate'", Rejected),
        (f"{FAILED}Unable to contact slurm controller (connect failure)", Silent),
        (f"{FAILED}Socket timed out on send/recv operation", Silent),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", Silent),
        ("sbatch: error: If munged is up, restart with --num-threads=10", Silent),
        (f"{FAILED}Job violates accounting/QOS policy (job submit limit, size limits)", Silent),
        ("", Silent),
    ],
)
def test_a_submit_that_is_not_taken(tmp_path: Path, says: str, raised: type[Exception]) -> None:
    (tmp_path / "said").write_text(says)
    asked = programs(tmp_path, sbatch=f"cat {tmp_path}/said >&2; exit 1")
    with pytest.raises(raised) as caught:
        asked.submit([], "")
    assert type(caught.value) is raised


@pytest.mark.parametrize("script", ["echo no number", "sleep 60", "kill -9 $$"])
def test_an_answer_to_a_submit_that_says_nothing(tmp_path: Path, script: str) -> None:
    with pytest.raises(Silent):
        programs(tmp_path, sbatch=script).submit([], "")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Silent, match="squeue cannot be run"):
        Programs({"PATH": str(tmp_path)}).queue("nobody")


def test_only_a_job_of_this_batch_is_cancelled(tmp_path: Path) -> None:
    asked = programs(tmp_path, scancel=f'echo "$@" > {tmp_path}/got')
    asked.cancel(BATCH, "9_4")
    assert (tmp_path / "got").read_text() == f"-Q --name=simyard-{BATCH} 9_4\n"


def test_the_largest_array(tmp_path: Path) -> None:
    asked = programs(tmp_path, scontrol="echo 'MaxArraySize            = 1001'")
    assert asked.array_most() == 1000
    with pytest.raises(Silent):
        programs(tmp_path, scontrol="echo something else").array_most()


@pytest.mark.parametrize(
    ("text", "ranks"), [("4", [4]), ("2(x3),1", [2, 2, 2, 1]), ("1,2(x2)", [1, 2, 2])]
)
def test_ranks_of_nodes(text: str, ranks: list[int]) -> None:
    assert hosts.counts(text) == ranks
