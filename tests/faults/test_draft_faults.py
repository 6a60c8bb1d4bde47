"""A draft becomes one job, wherever the server is killed while it does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dying import Stubborn, armed
from harness import CONFIG, Client, Ledger, RunningServer, definition
from simyard.torture import points
from studying import study

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    made = RunningServer(tmp_path_factory.mktemp("installation") / "data", CONFIG)
    return made.data, made.key()


@pytest.mark.parametrize(
    ("point", "is_study"),
    [
        *((point, True) for point in points.DRAFTS),
        ("create.recorded", False),
        ("create.committed", False),
        ("submit.recorded", True),
        ("submit.committed", False),
    ],
)
def test_one_draft_one_job(
    fresh: Callable[..., RunningServer],
    installation: tuple[Path, str],
    ledger: Ledger,
    point: str,
    is_study: bool,
) -> None:
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        command = ledger.preamble + "say run $RUN_ID"

        def write(c: Client) -> str:
            table = "x\n1\n2\n" if is_study else None
            body = study(c, command, table=table) if is_study else definition(command)
            headers = {"Idempotency-Key": "the draft"}
            return str(c.call("POST", "drafts/", 201, json=body, headers=headers).json()["id"])

        draft = client.until_it_works(write)

        def submit(c: Client) -> str:
            return str(c.call("POST", f"drafts/{draft}/submit/", 201).json()["id"])

        job = client.until_it_works(submit)
        assert client.deaths == 1
        assert client.until_it_works(submit) == job
        assert client.finished(job) == "Completed successfully"
        check = server.client(key)
        assert [one["id"] for one in check.get("jobs/")["results"]] == [job]
        assert check.get(f"drafts/{draft}/")["job"] == job
        assert sorted(ledger.lines) == (["run 1", "run 2"] if is_study else ["run 1"])
        words = [entry["status"] for entry in check.statuses(job)]
        assert words.count("Pending") == 1
        assert not server.miscounted()
