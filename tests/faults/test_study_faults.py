"""A study under fire: the server is killed at every crash point of studies and at random while one
runs; no run is lost, done twice, or given other values.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dying import Stubborn, armed
from harness import CONFIG, Client, Ledger, RunningServer, wait_for
from simyard.torture import points
from studying import BRANIN, branin, created, runs, study, variables

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]

ROWS = "n,text\n" + "".join(f"{n},row {n}\n" for n in range(1, 7))
VALUES = [{"n": str(n), "text": f"row {n}"} for n in range(1, 7)]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    made = RunningServer(tmp_path_factory.mktemp("installation") / "data", CONFIG)
    return made.data, made.key()


def asked(client: Stubborn, path: str, body: Any, key: str) -> Any:
    """A creating request as a good client sends it: the same again until there is an answer."""
    headers = {"Idempotency-Key": key}
    reply = client.until_it_works(lambda c: c.http.post(path, json=body, headers=headers))
    assert reply.status_code in (200, 201), reply.text
    return reply.json()


def inputs_of(client: Client, job: str) -> list[dict[str, str]]:
    names = {"n", "text", "x", "y"}
    return [
        {name: text for name, text in variables(run).items() if name in names}
        for run in runs(client, job)
    ]


@pytest.mark.parametrize("point", ["inputs.shared", "study.closed", "study.rerun", "study.points"])
def test_a_table(
    fresh: Callable[..., RunningServer],
    installation: tuple[Path, str],
    ledger: Ledger,
    point: str,
) -> None:
    """It is run, stopped, done again and extended; the server dies at one of these."""
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        file = client.until_it_works(lambda c: c.upload("in.txt", b"in\n"))["id"]
        hold = "read go < in.txt; [ $go = in ] && say run $RUN_ID $PARAM_N; sleep 0.2"
        body = client.until_it_works(
            lambda c: study(c, ledger.preamble + hold, table=ROWS, inputs=[file], slots=2)
        )
        job = asked(client, "jobs/", body, "job")["id"]
        client.submit(job)
        if point == "study.closed":
            # Only a study that is open is closed; stopping one is the same step.
            external = {**branin(0), "optimizer": {"method": "external"}}
            other = client.until_it_works(lambda c: created(c, study(c, job=external)))["id"]
            client.submit(other)
            reply = client.until_it_works(lambda c: c.http.post(f"jobs/{other}/finish/"))
            assert reply.status_code == 202
            assert "no runs" in client.finished(other)
        assert client.finished(job) == "Completed successfully"
        asked(client, f"jobs/{job}/study/rerun/", {"runs": [2, 5]}, "again")
        assert client.finished(job) == "Completed successfully"
        more = {"rows": [{"n": 7, "text": "row 7"}]}
        assert asked(client, f"jobs/{job}/study/points/", more, "more")["runs"] == ["7"]
        assert client.finished(job) == "Completed successfully"
        check = server.client(key)
        assert inputs_of(check, job) == [*VALUES, {"n": "7", "text": "row 7"}]
        started = Counter(ledger.lines)
        assert started == {f"run {n} {n}": 2 if n in (2, 5) else 1 for n in range(1, 8)}
        assert client.deaths == 1
        assert server.miscounted() == {}


@pytest.mark.parametrize(
    "point", ["study.asked", "study.closed", "study.extended", "study.run-added"]
)
def test_an_optimisation(
    fresh: Callable[..., RunningServer],
    installation: tuple[Path, str],
    ledger: Ledger,
    point: str,
) -> None:
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        command = ledger.preamble + "say run $RUN_ID"
        fields = branin(7)
        if point == "study.run-added":
            fields["optimizer"] = {"method": "external"}
        body = client.until_it_works(
            lambda c: study(c, command, job=fields, slots=2, postProcessScriptCommand=BRANIN)
        )
        job = asked(client, "jobs/", body, "job")["id"]
        client.submit(job)
        if point == "study.run-added":
            for n in range(1, 4):
                run = {"variables": {"x": n, "y": n}}
                assert asked(client, f"jobs/{job}/runs/", run, f"run {n}")["id"] == str(n)
            client.until_it_works(lambda c: c.http.post(f"jobs/{job}/finish/"))
        count = 3 if point == "study.run-added" else 9
        assert client.finished(job) == "Completed successfully"
        if count == 9:
            asked(client, f"jobs/{job}/study/points/", {"count": 2}, "more")
            client.until_it_works(
                lambda c: wait_for(lambda: len(runs(c, job)) == 9, "two more runs")
            )
            assert client.finished(job) == "Completed successfully"
        check = server.client(key)
        assert [run["id"] for run in runs(check, job)] == [str(n) for n in range(1, count + 1)]
        assert Counter(ledger.lines) == {f"run {n}": 1 for n in range(1, count + 1)}
        assert sum(run["isOptimal"] for run in runs(check, job)) == 1
        assert client.deaths == 1


def test_every_crash_point_of_studies_is_above() -> None:
    assert set(points.STUDIES) == {
        *("inputs.shared", "study.closed", "study.rerun", "study.points"),
        *("study.asked", "study.extended", "study.run-added"),
    }


@pytest.mark.long
@pytest.mark.timeout(500)
def test_a_study_goes_on_through_random_kills(
    fresh: Callable[..., RunningServer], ledger: Ledger
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = fresh().start()
    key = server.key()
    client = Stubborn(server, key)
    rows = "n\n" + "".join(f"{n}\n" for n in range(1, 41))
    shared = server.client(key).upload("in.txt", b"in\n")["id"]
    command = ledger.preamble + "say start $RUN_ID; sleep 0.2; say end $RUN_ID"
    job = created(
        server.client(key),
        study(
            server.client(key),
            command,
            table=rows,
            slots=3,
            inputs=[shared],
            postProcessScriptCommand="printf 'm\\t%s\\n' $((PARAM_N * 2))",
        ),
    )["id"]
    client.submit(job)
    for _ in range(8):
        time.sleep(chance.uniform(0.1, 1.0))
        server.kill()
        server.start()
    reason = client.finished(job)
    assert reason == "Completed successfully", reason
    check = server.client(key)
    done = runs(check, job)
    assert [variables(run) for run in done] == [
        {"n": str(n), "m": str(2 * n)} for n in range(1, 41)
    ]
    assert Counter(ledger.lines) == {
        f"{word} {n}": 1 for word in ("start", "end") for n in range(1, 41)
    }
    assert server.miscounted() == {}
    assert list((server.data / "runs" / ".aside").glob("*")) == []
