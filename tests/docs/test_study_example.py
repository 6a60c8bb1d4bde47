"""examples/airfoil-study is what docs/guide/studies.md shows of it, and works."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import CONFIG, Client, RunningServer, serving

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "airfoil-study"
GUIDE = (ROOT / "docs" / "guide" / "studies.md").read_text()
SHOWN = re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(RunningServer(tmp_path_factory.mktemp("example") / "data", CONFIG)) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Client:
    return server.somebody("flyer")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of it, with its case."""
    copy = tmp_path / "airfoil-study"
    shutil.copytree(EXAMPLE, copy)
    build = [sys.executable, str(EXAMPLE / "build.py"), str(copy / "airfoil-study.zip")]
    subprocess.run(build, check=True)
    return copy


def body_of(client: Client, example: Path, name: str, **changes: Any) -> dict[str, Any]:
    def upload(found: dict[str, Any]) -> dict[str, Any]:
        if "id" not in found:
            return found
        file = client.upload(found["id"], (example / found["id"]).read_bytes())
        return {**found, "id": file["id"]}

    return {**json.loads((example / f"{name}.json").read_text(), object_hook=upload), **changes}


# --- the guide ------------------------------------------------------------------------------------


def test_what_the_guide_shows_of_files_is_in_them() -> None:
    assert {name for name, _ in SHOWN} >= {"runs.csv", "conditions.template", "optimise.json"}
    for name, text in SHOWN:
        assert text in (EXAMPLE / name).read_text(), name


def test_json_in_the_guide_is_json() -> None:
    found = re.findall(r"(?<!-->\n)```json\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    for text in found:
        json.loads(text)


def test_pictures_of_the_guide_are_there() -> None:
    found = re.findall(r"!\[[^]]+\]\((\S+)\)", GUIDE)
    assert found
    for target in found:
        assert (ROOT / "docs" / "guide" / target).is_file(), target


# --- the case -------------------------------------------------------------------------------------


def test_the_case_is_the_same_each_time(tmp_path: Path, example: Path) -> None:
    again = tmp_path / "again.zip"
    subprocess.run([sys.executable, str(EXAMPLE / "build.py"), str(again)], check=True)
    assert again.read_bytes() == (example / "airfoil-study.zip").read_bytes()


def bent(camber: float, *points: tuple[float, float]) -> list[tuple[float, float]]:
    lines = ["4", "(", *(f"({x} {y} 0)" for x, y in points), ")"]
    command = ["awk", "-v", f"camber={camber}", "-f", str(EXAMPLE / "airfoil" / "camber.awk")]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert done[:2] == ["4", "("] and done[-1] == ")"
    rows = [tuple(map(float, line.strip("()").split())) for line in done[2:-1]]
    return [(x, y) for x, y, _ in rows]


def test_the_mesh_bends_by_the_mean_line() -> None:
    points = [(-0.5, 0.0), (0.0, 0.0), (0.2, 0.0), (0.4, 0.0), (0.7, 0.0), (1.0, 0.0), (2.0, 0.0)]
    heights = [y for _, y in bent(4, *points)]
    assert heights == pytest.approx([0, 0, 0.03, 0.04, 0.03, 0, 0])
    assert bent(0, *points) == points
    assert bent(4, (0.4, 2.0), (0.4, -7.0)) == [(0.4, 2.0), (0.4, -7.0)], "not far away"
    assert bent(4, (0.4, 1.0))[0][1] == pytest.approx(1 + 0.04 / 4)


TABLE = "# Time\tCd\tCl\tCmPitch\n1\t1.0\t9.0\t9.0\n250\t0.0125\t0.5\t-0.04\n"


@pytest.mark.parametrize(
    ("log", "table", "status", "told"),
    [
        (
            "SIMPLE solution converged in 250 iterations\n",
            TABLE,
            0,
            "Cl\t0.50000\nCd\t0.012500\nCm\t-0.04000\nLD\t40.000\niterations\t250\n",
        ),
        (
            "Time = 250\n",
            TABLE,
            0,
            "Cl\t0.50000\nCd\t0.012500\nCm\t-0.04000\nLD\t*** not converged ***\niterations\t250\n",
        ),
        ("Time = 1\n", "# Time\tCd\tCl\tCmPitch\n", 1, ""),
    ],
)
def test_what_the_post_processing_prints(
    tmp_path: Path, log: str, table: str, status: int, told: str
) -> None:
    folder = tmp_path / "postProcessing" / "forceCoeffs" / "0"
    folder.mkdir(parents=True)
    (folder / "coefficient.dat").write_text(table)
    (tmp_path / "log.simpleFoam").write_text(log)
    command = ["sh", str(EXAMPLE / "coefficients.sh"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, told)


# --- on a server ----------------------------------------------------------------------------------


@pytest.mark.openfoam
def test_the_sweep_renders_as_the_guide_says(client: Client, example: Path) -> None:
    body = body_of(client, example, "sweep", isTemplateDryRun=True)
    job = client.call("POST", "jobs/", 201, json=body).json()
    assert job["expectedRuns"] == 13
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    listed = client.get(f"jobs/{job['id']}/runs/8/files/?search=conditions")["results"]
    (file,) = (f for f in listed if f["relativePath"] == "airfoil/system/conditions")
    text = client.call("GET", file["downloadUrl"], 200).text
    found = dict(re.findall(r"^(alpha|camber)\s+(\S+);", text, re.MULTILINE))
    assert found == {"alpha": "4.0", "camber": "3.0"}


@pytest.mark.openfoam
def test_the_optimisation_is_accepted(client: Client, example: Path) -> None:
    body = body_of(client, example, "optimise")
    job = client.call("POST", "jobs/", 201, json=body).json()
    assert job["expectedRuns"] == 40
    assert [v["variableType"] for v in job["jobvariables"]] == [
        "Design",
        "Design",
        "Objective",
        "Constraint",
    ]


@pytest.mark.openfoam
def test_two_runs_for_real(server: RunningServer, client: Client, example: Path) -> None:
    (example / "runs.csv").write_text("alpha,camber\n0,0\n4,2\n")
    saved = example / "saved"
    done = subprocess.run(
        [sys.executable, str(example / "study.py"), "sweep", "--slots", "2", "--save", str(saved)],
        env={**os.environ, "SIMYARD_URL": server.address, "SIMYARD_KEY": client.key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (saved / "runs.csv").open() as file:
        straight, cambered = ({k: float(v) for k, v in row.items()} for row in csv.DictReader(file))
    assert abs(straight["Cl"]) < 1e-3 and abs(straight["Cm"]) < 1e-3, "it is symmetric"
    # Thin airfoils of this mean line: 2 pi (alpha + 2.08 degrees), and -0.053 for the moment.
    assert cambered["Cl"] == pytest.approx(0.666, rel=0.1)
    assert cambered["Cm"] == pytest.approx(-0.053, abs=0.01)
    assert cambered["LD"] == pytest.approx(cambered["Cl"] / cambered["Cd"], rel=1e-3)
    assert "the best with Cm of at least -0.05" in done.stdout


@pytest.mark.openfoam
@pytest.mark.long
@pytest.mark.timeout(420)
def test_the_whole_sweep_for_real_and_a_killed_server(
    tmp_path: Path, example: Path, fresh: Callable[..., RunningServer]
) -> None:
    """Thirteen runs, two at a time, and a kill in the middle: none is lost or done twice."""
    server = fresh().start()
    key = server.key()
    client = server.client(key)
    job = client.call("POST", "jobs/", 201, json=body_of(client, example, "sweep")).json()
    assert job["expectedRuns"] == 13
    assert [v["name"] for v in job["jobvariables"]] == ["alpha", "camber"]
    place = f"jobs/{job['id']}/runs/?page_size=100"
    client.submit(job["id"])
    planned = [run["variables"] for run in client.get(place)["results"]]
    most, killed = 0, False
    while client.cluster_status(job["id"]) != "Stopped":
        listed = client.get(place)["results"]
        attempts = client.get(f"jobs/{job['id']}/clusters/?page_size=100")["results"]
        under_way = [a["runId"] for a in attempts if a["status"] == "Started"]
        most = max(most, len(under_way))
        if len([r for r in listed if r["dateCompleted"]]) >= 3 and under_way and not killed:
            killed = True
            server.kill()
            server.start()
            client = server.client(key)
        time.sleep(0.3)
    assert killed and most == 2
    assert client.statuses(job["id"])[0]["statusReason"] == "Completed successfully"
    attempts = client.get(f"jobs/{job['id']}/clusters/?page_size=100")["results"]
    assert len(attempts) == 13, "each was begun once"
    done = client.get(place)["results"]
    assert [run["id"] for run in done] == [str(n) for n in range(1, 14)]
    for run, inputs in zip(done, planned, strict=True):
        assert run["variables"][:2] == inputs
        told = {v["name"]: v["value"] for v in run["variables"]}
        assert told["Cd"] > 0 and told["LD"] == pytest.approx(told["Cl"] / told["Cd"], rel=1e-3)
        found = client.get(f"jobs/{job['id']}/runs/{run['id']}/files/?search=system/conditions")
        (file,) = (f for f in found["results"] if f["name"] == "conditions")
        assert f"/run{run['id']}/airfoil/system/conditions" in file["path"]
        text = client.call("GET", file["downloadUrl"], 200).text
        assert re.search(rf"^alpha\s+{told['alpha']:g}(\.0+)?;", text, re.MULTILINE), text
    lift = {tuple(v["value"] for v in run["variables"][:2]): run for run in done}
    value = {v["name"]: v["value"] for v in lift[4.0, 2.0]["variables"]}
    assert value["Cl"] == pytest.approx(0.666, rel=0.1)


def test_without_a_key_it_says_so(example: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "SIMYARD_KEY"}
    command = [sys.executable, str(example / "study.py"), "sweep"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "SIMYARD_KEY is not set" in done.stderr
