"""Rows of studies, and the small charts in rows (docs/extensions.md)."""

import itertools
from typing import Any

import pytest

from harness import RunningServer, wait_for
from studying import created, study


def test_a_study_in_the_list(server: RunningServer) -> None:
    client = server.somebody("studies")
    table = "x\n" + "".join(f"{n}\n" for n in range(5))
    template = {"x.txt": ("x.template", "${x}")}
    body = study(
        client,
        "test $(cat x.txt) != 3 && sleep 0.2",
        table=table,
        templates=template,
        job={"name": "five"},
    )
    job = created(client, body)["id"]
    row = client.get("jobs/rows/")["rows"][0]
    assert (row["isStudy"], row["study"], row["slots"]) == (True, None, 2)
    client.submit(job)
    row = client.get("jobs/rows/")["rows"][0]
    assert row["study"]["total"] == 5
    client.finished(job)
    row = client.get("jobs/rows/")["rows"][0]
    assert row["study"] == {"total": 5, "ended": 5, "done": 4, "failed": 1}
    assert row["outcome"] is None and row["startedAt"] < row["endedAt"]
    runs = client.get(f"jobs/{job}/study/table/")["results"]
    assert row["coreHours"] == pytest.approx(sum(run["coreHours"] for run in runs))
    assert client.get("jobs/rows/?outcome=bad,good")["count"] == 0
    # Runs that are done again are counted again.
    client.call("POST", f"jobs/{job}/study/rerun/", 200, json={})
    assert client.get("jobs/rows/")["rows"][0]["study"]["failed"] == 0
    client.finished(job)
    assert client.get("jobs/rows/")["rows"][0]["study"]["failed"] == 1


LOG = "\n".join(
    f"Time = {n}\nsmoothSolver:  Solving for Ux, Initial residual = {10 ** -(n / 50)},"
    f" Final residual = 1e-9, No Iterations 2\nGAMG:  Solving for p,"
    f" Initial residual = {10 ** -(n / 100):.9g},"
    f" Final residual = 1e-9, No Iterations 2"
    for n in range(1, 201)
)


@pytest.mark.openfoam
def test_sparklines(server: RunningServer) -> None:
    client = server.somebody("sparks")
    log = client.upload("log.txt", LOG.encode())["id"]
    command = "cat log.txt; sleep 600"
    fields: dict[str, Any] = {"inputs": [log], "code": "openfoam", "version": None}
    running = client.create(command, **fields)["id"]
    plain = client.create("true")["id"]
    client.submit(running)
    client.submit(plain)
    client.finished(plain)
    asked = f"jobs/sparklines/?ids={running},{plain},nOnE"
    wait_for(lambda: running in client.get(asked), "the residuals")
    wait_for(lambda: len(client.get(asked)[running]["points"]) == 40, "all of them")
    spark = client.get(asked)[running]
    assert set(client.get(asked)) == {running}
    assert (spark["key"], spark["scale"]) == ("residuals/p", "log")
    assert spark["points"][-1] == pytest.approx(-2.0, abs=0.02)
    assert all(a > b for a, b in itertools.pairwise(spark["points"]))
    assert server.somebody("other").get(asked) == {}
    client.call("POST", f"jobs/{running}/stop/", 202)
    client.finished(running)
    ended = client.get(asked)[running]
    assert ended["points"][:-1] == spark["points"][:-1]
    assert ended["points"][-1] == -2.0  # its last line is a whole one now
    assert client.get("jobs/sparklines/") == {}
    too_many = ",".join(map(str, range(101)))
    assert list(client.call("GET", f"jobs/sparklines/?ids={too_many}", 400).json()) == ["ids"]
