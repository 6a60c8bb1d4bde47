"""Answers of a study as clients of the API have them, held against numbers that are known."""

import csv
import io
import json
import math
import statistics
from collections.abc import Iterator
from typing import Any

import pytest

from harness import CONFIG, Client, RunningServer, definition, serving

# Drag is x^2 + y, lift x + 2 y; the run with x = 9 fails.
POINTS = [(x, y) for x in (1, 2, 3) for y in (0, 0.5, 1, 2)]
TABLE = "x,y,mesh\n" + "".join(f"{x},{y},fine\n" for x, y in POINTS) + "9,0,=HYPERLINK(1)\n"
TELL = r"""awk 'BEGIN {
    x = ENVIRON["PARAM_X"]; y = ENVIRON["PARAM_Y"]
    printf "Cd\t%.10g\nCl\t%.10g\nnote\t@run %s\n", x * x + y, x + 2 * y, ENVIRON["RUN_ID"]
}'"""
CD = [x * x + y for x, y in POINTS]
CL = [x + 2 * y for x, y in POINTS]
FAILED = "13"  # its id


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(RunningServer(tmp_path_factory.mktemp("answers") / "data", CONFIG)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Client:
    return server.somebody("curious")


@pytest.fixture(scope="module")
def job(client: Client) -> str:
    """A finished study."""
    table = client.upload("runs.csv", TABLE.encode())["id"]
    template = client.upload("U", b"head\nx ${x};\ny ${y};\ntail\n")["id"]
    body = definition(
        "[ $PARAM_X != 9 ] || exit 7",
        job={
            "paramFile": {"id": table},
            "jobvariables": [
                {"name": "x", "variableType": "Param", "valueGeneratorSettings": {"unit": "deg"}},
                {
                    "name": "Cd",
                    "variableType": "Objective",
                    "valueGeneratorSettings": {"direction": "minimize"},
                },
                {
                    "name": "Cl",
                    "variableType": "Constraint",
                    "valueGeneratorSettings": {"lower": 2},
                },
            ],
            "seed": 3,
        },
        hardware={"slots": 4},
        templateTasks=[{"templateFile": {"id": template}, "processedFilename": "0/U"}],
        postProcessScriptCommand=TELL,
    )
    code = str(client.call("POST", "jobs/", 201, json=body).json()["id"])
    client.submit(code)
    client.finished(code)
    return code


def ids(place: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in place]


# --- the whole of it ------------------------------------------------------------------------------


def test_summary(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/")
    assert said["counts"] == {
        "planned": 0, "waiting": 0, "running": 0, "done": 12, "failed": 1, "stopped": 0
    }  # fmt: skip
    assert said["total"] == said["expectedRuns"] == 13
    variables = {v["name"]: v for v in said["variables"]}
    assert list(variables) == ["y", "mesh", "x", "Cd", "Cl", "note"], "by displayOrder"
    assert variables["x"]["unit"] == "deg" and variables["x"]["max"] == 9.0
    assert (variables["Cd"]["role"], variables["Cd"]["direction"]) == ("Objective", "minimize")
    assert (variables["Cl"]["role"], variables["Cl"]["lower"]) == ("Constraint", 2.0)
    assert (variables["note"]["role"], variables["note"]["isText"]) == ("Output", True)
    # Feasible is a lift of at least 2: the least drag has (1, 0.5).
    (best,) = said["best"]
    assert (best["id"], best["outputs"]["Cd"], said["bestCount"]) == ("2", 1.5, 1)
    assert (said["isOpen"], said["seed"], said["slots"]) == (False, 3, 4)
    assert (said["budget"], said["optimizer"], said["isCut"]) == (None, None, False)


def test_columns(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/columns/")
    assert said["version"] == client.get(f"jobs/{job}/study/")["version"]
    assert (said["isWhole"], said["count"]) == (True, 13)
    assert said["id"] == [str(n) for n in range(1, 14)]
    assert said["status"] == ["done"] * 12 + ["failed"]
    assert said["inputs"]["x"] == [*(float(x) for x, _ in POINTS), 9.0]
    assert said["inputs"]["mesh"][-1] == "=HYPERLINK(1)"
    assert said["outputs"]["Cd"] == [*CD, None], "a failed run has no say"
    assert said["optimal"] == ["2"] and said["nominal"] is None
    assert list(said["reasons"]) == [FAILED] and "exit code 7" in said["reasons"][FAILED]
    assert all(seconds >= 0 for seconds in said["duration"])
    again = client.get(f"jobs/{job}/study/columns/", params={"since": said["version"]})
    assert (again["isWhole"], again["id"], again["inputs"]["x"]) == (False, [], [])
    assert client.get(f"jobs/{job}/study/columns/?since=nonsense")["isWhole"]
    few = client.get(f"jobs/{job}/study/columns/?columns=Cd,x")
    assert (list(few["inputs"]), list(few["outputs"])) == (["x"], ["Cd"])


def test_news_while_it_runs(client: Client) -> None:
    table = client.upload("runs.csv", b"n\n1\n2\n3\n4\n5\n6\n")["id"]
    body = definition("sleep 0.2", job={"paramFile": {"id": table}}, hardware={"slots": 1})
    code = client.call("POST", "jobs/", 201, json=body).json()["id"]
    client.call("GET", f"jobs/{code}/study/", 400)
    client.submit(code)
    known: dict[str, str] = {}
    since, last = "", {}
    while True:
        done = client.cluster_status(code) == "Stopped"
        last = client.get(f"jobs/{code}/study/columns/", params={"since": since})
        since = last["version"]
        known |= zip(last["id"], last["status"], strict=True)
        whole = client.get(f"jobs/{code}/study/columns/")
        if whole["version"] == since:
            assert known == dict(zip(whole["id"], whole["status"], strict=True))
        if done:
            break
    assert set(known.values()) == {"done"} and len(known) == 6


def test_a_mark_is_seen_at_once(client: Client) -> None:
    """In a study without objectives, where it is for the user to say what is of interest."""
    table = client.upload("runs.csv", b"x\n1\n2\n3\n")["id"]
    job = client.run("true", job={"paramFile": {"id": table}})["id"]

    def marked() -> tuple[list[str], str]:
        said = client.get(f"jobs/{job}/study/columns/?columns=x")
        return said["optimal"], said["version"]

    def mark(run: str, is_optimal: bool) -> None:
        client.call("PATCH", f"jobs/{job}/runs/{run}/", 200, json={"isOptimal": is_optimal})

    mark("2", True)
    first, before = marked()
    assert first == ["2"]
    mark("3", True)
    mark("2", False)
    other, after = marked()
    assert (other, after != before) == (["3"], True)
    mark("2", True)
    mark("3", False)
    assert marked() == (["2"], before)


# --- the table ------------------------------------------------------------------------------------


def test_table(client: Client, job: str) -> None:
    place = f"jobs/{job}/study/table/"
    page = client.get(place, params={"sort": "-Cd", "page_size": 5})
    order = sorted(range(12), key=lambda i: -CD[i])
    assert ids(page["results"]) == [str(i + 1) for i in order[:5]]
    assert page["count"] == 13
    last = client.get(page["next"].split("/api/v2/")[1])
    assert ids(last["results"]) == [str(i + 1) for i in order[5:10]]
    end = client.get(place, params={"sort": "-Cd", "page_size": 5, "page": "last"})
    assert ids(end["results"])[-1] == FAILED, "what has no drag comes last"
    row = end["results"][-1]
    assert row["status"] == "failed" and "exit code 7" in row["reason"]
    assert row["outputs"] == {"Cd": None, "Cl": None, "note": None}
    client.call("GET", f"{place}?page=9", 404)


def test_filters(client: Client, job: str) -> None:
    def found(text: str) -> list[str]:
        rows = client.get(f"jobs/{job}/study/table/", params={"filter": text, "page_size": 50})
        return ids(rows["results"])

    expected = [str(i + 1) for i in range(12) if CD[i] < 5.5 and CL[i] > 2]
    assert found("Cd<5.5 and Cl>2") == expected and 2 < len(expected) < 12
    assert found("status='failed' or isOptimal=1") == ["2", FAILED]
    assert found("not Cd>=1.5") == ["1"]
    assert found("mesh != 'fine'") == [FAILED]
    wrong = client.get(f"jobs/{job}/study/table/", 400, params={"filter": "Cd<1 and (Cl>"})
    assert wrong == {
        "filter": ["column 14: a name, a number or a text in quotes is wanted here, not the end"]
    }
    wrong = client.get(f"jobs/{job}/study/table/", 400, params={"filter": "Ca<1 or z>1"})
    assert [text.split(";")[0] for text in wrong["filter"]] == [
        'column 1: there is no variable "Ca"',
        'column 9: there is no variable "z"',
    ]
    wrong = client.get(f"jobs/{job}/study/table/", 400, params={"sort": "-q"})
    assert list(wrong) == ["sort"]


# --- figures --------------------------------------------------------------------------------------


def test_statistics(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/statistics/")
    assert (said["n"], said["failed"]) == (12, 1)
    drag = said["columns"]["Cd"]
    assert drag["mean"] == pytest.approx(statistics.mean(CD))
    assert drag["sd"] == pytest.approx(statistics.stdev(CD))
    assert (drag["min"], drag["max"]) == (min(CD), max(CD))
    assert drag["percentiles"]["50"] == pytest.approx(statistics.median(CD))
    low, high = drag["interval"]
    half = 2.200985 * statistics.stdev(CD) / math.sqrt(12)  # Student's t, 11 degrees of freedom
    assert (low, high) == pytest.approx((drag["mean"] - half, drag["mean"] + half), rel=1e-5)
    assert said["columns"]["x"]["max"] == 3.0, "x = 9 failed"
    part = client.get(f"jobs/{job}/study/statistics/?columns=Cd&filter=x%3D1")
    assert list(part["columns"]) == ["Cd"] and part["columns"]["Cd"]["n"] == 4


def test_effects(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/effects/")
    assert said["output"] == "Cd", "the objective"
    x = next(one for one in said["inputs"] if one["input"] == "x")
    assert [level["level"] for level in x["levels"]] == [1.0, 2.0, 3.0]
    assert [level["mean"] for level in x["levels"]] == pytest.approx([1.875, 4.875, 9.875])
    assert x["effect"] == pytest.approx(8.0)


def test_correlation(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/correlation/?columns=x,y,Cd")
    assert said["names"] == ["x", "y", "Cd"]
    xs = [x for x, _ in POINTS]
    assert said["pearson"][0][2] == pytest.approx(statistics.correlation(xs, CD))
    assert said["pearson"][0][1] == pytest.approx(0.0, abs=1e-12)
    assert said["spearman"][2][2] == pytest.approx(1.0)


def test_models(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/sensitivity/?output=Cl")
    assert said["leftOut"] == ["mesh"]
    assert said["n"] == 12 and said["quality"] > 0.95
    by = {one["input"]: one for one in said["inputs"]}
    # Cl = x + 2 y on [1, 3] x [0, 2], uniform: variances of 1/3 and 4/3.
    assert by["x"]["first"] == pytest.approx(0.2, abs=0.05)
    assert by["y"]["total"] == pytest.approx(0.8, abs=0.05)
    assert len(by["x"]["firstInterval"]) == 2
    cut = client.get(f"jobs/{job}/study/slices/?output=Cl&at=x:2,y:0.5")
    assert cut["at"] == {"x": 2.0, "y": 0.5}
    assert cut["mean"] == pytest.approx(3.0, abs=0.1)
    assert {one["input"]: (one["x"][0], one["x"][-1]) for one in cut["slices"]} == {
        "x": (1.0, 3.0),
        "y": (0.0, 2.0),
    }
    low, high = cut["meanInterval"]
    assert low <= cut["mean"] <= high


def test_front_and_convergence(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/pareto/?objectives=Cd,Cl:maximize")
    feasible = [i for i in range(12) if CL[i] >= 2]
    front = [
        i
        for i in feasible
        if not any(
            CD[j] <= CD[i] and CL[j] >= CL[i] and (CD[j], CL[j]) != (CD[i], CL[i]) for j in feasible
        )
    ]
    assert ids(said["front"]) == [str(i + 1) for i in front] and len(front) > 2
    assert said["size"] == len(front)
    assert said["front"][0]["outputs"]["Cd"] == CD[front[0]]
    assert said["objectives"][1] == {"name": "Cl", "direction": "maximize", "target": None}
    assert (said["n"], said["infeasible"]) == (len(feasible), 12 - len(feasible))
    assert said["hypervolume"] > 0
    way = client.get(f"jobs/{job}/study/convergence/")
    assert sorted(way["id"], key=int) == [str(n) for n in range(1, 14)]
    assert way["best"][-1] == 1.5 and way["improved"][-1] == "2"
    so_far = [b for b in way["best"] if b is not None]
    assert so_far == sorted(so_far, reverse=True)
    assert way["coreHours"] == sorted(way["coreHours"]) and way["failed"] == 1
    two = client.get(f"jobs/{job}/study/convergence/?objectives=Cd,Cl:maximize")
    assert two["at"][-1] == 13 and two["hypervolume"][-1] == pytest.approx(said["hypervolume"])


def test_exceedance(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/exceedance/?limit=4.2")
    hits = sum(cd > 4.2 for cd in CD)
    assert (said["output"], said["exceeded"], said["n"]) == ("Cd", hits, 12)
    assert said["probability"] == pytest.approx(hits / 12)
    low, high = said["probabilityInterval"]
    assert 0 < low < hits / 12 < high < 1
    assert sum(said["histogram"]["counts"]) == 12
    for wrong in ("", "?limit=", "?limit=nan", "?limit=1e999"):
        assert list(client.get(f"jobs/{job}/study/exceedance/{wrong}", 400)) == ["limit"]


@pytest.mark.parametrize(
    ("question", "detail"),
    [
        ("sensitivity/?filter=x=1", "sensitivity: needs at least 8 finished runs, has 4"),
        ("slices/?filter=x=1", "slices: needs at least 8 finished runs, has 4"),
        ("slices/?at=x:20", "slices: x: 20 is outside the data (1 to 3)"),
        ("correlation/?filter=id<3", "correlation: needs at least 3 finished runs, has 2"),
        ("effects/?filter=id<3", "effects: needs at least 4 finished runs, has 2"),
        ("exceedance/?limit=1&filter=id=13", "exceedance: needs at least 1 finished runs, has 0"),
    ],
)
def test_too_little_is_a_422(client: Client, job: str, question: str, detail: str) -> None:
    assert client.get(f"jobs/{job}/study/{question}", 422) == {"detail": detail}


@pytest.mark.parametrize(
    ("question", "at"),
    [
        ("effects/?output=q", "output"),
        ("sensitivity/?output=x", "output"),
        ("slices/?at=q:1", "at"),
        ("slices/?at=x:one", "at"),
        ("pareto/?objectives=Cd,q", "objectives"),
        ("statistics/?columns=Cd,q", "columns"),
        ("statistics/?filter=Cd", "filter"),
        ("compare/", "runs"),
        ("compare/?runs=1,2,3", "runs"),
        ("compare/?runs=1,-2", "runs"),
        ("export/?format=xlsx", "format"),
        ("export/?columns=q", "columns"),
    ],
)
def test_wrong_questions(client: Client, job: str, question: str, at: str) -> None:
    assert list(client.get(f"jobs/{job}/study/{question}", 400)) == [at]


# --- two runs -------------------------------------------------------------------------------------


def test_compare(client: Client, job: str) -> None:
    said = client.get(f"jobs/{job}/study/compare/?runs=2,13")
    assert [(run["id"], run["status"]) for run in said["runs"]] == [("2", "done"), ("13", "failed")]
    inputs = {v["name"]: v for v in said["inputs"]}
    assert inputs["x"] == {
        "name": "x", "values": ["1", "9"], "isSame": False, "difference": 8.0
    }  # fmt: skip
    assert inputs["mesh"]["difference"] is None
    assert said["templates"] == [
        {
            "path": "0/U",
            "isSame": False,
            "diff": "--- run2/0/U\n+++ run13/0/U\n@@ -1,5 +1,5 @@\n head\n-x 1;\n-y 0.5;\n+x 9;\n"
            "+y 0;\n tail\n ",
            "isCut": False,
            "problem": "",
        }
    ]
    same = client.get(f"jobs/{job}/study/compare/?runs=2,2")
    assert same["templates"][0]["isSame"] and all(v["isSame"] for v in same["outputs"])
    client.call("GET", f"jobs/{job}/study/compare/?runs=2,99", 404)


# --- files ----------------------------------------------------------------------------------------


def test_exports(client: Client, job: str) -> None:
    place = f"jobs/{job}/study/export/"
    reply = client.call("GET", f"{place}?format=csv", 200)
    assert reply.headers["content-disposition"].startswith(
        f'attachment; filename="study_{job}.csv"'
    )
    assert reply.headers["x-content-type-options"] == "nosniff"
    names, *rows = csv.reader(io.StringIO(reply.content.decode(), newline=""))
    assert names[:7] == [
        "id", "status", "isOptimal", "isNominal", "duration", "coreHours", "reason"
    ]  # fmt: skip
    table = [dict(zip(names, row, strict=True)) for row in rows]
    assert [float(row["Cd"]) for row in table[:12]] == CD
    assert [row["note"] for row in table[:2]] == ["'@run 1", "'@run 2"]
    assert table[12]["mesh"] == "'=HYPERLINK(1)" and table[12]["Cd"] == ""

    chosen = {"format": "json", "columns": "id,Cd,mesh", "filter": "Cd<2", "sort": "-Cd"}
    told = client.call("GET", place, 200, params=chosen).json()
    assert told == [
        {"id": 2, "Cd": 1.5, "mesh": "fine"},
        {"id": 1, "Cd": 1.0, "mesh": "fine"},
    ]


def test_parquet(client: Client, job: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    place = f"jobs/{job}/study/export/"
    content = client.call("GET", place, 200, params={"format": "parquet"}).content
    table = parquet.read_table(io.BytesIO(content)).to_pylist()
    told = json.loads(client.call("GET", place, 200, params={"format": "json"}).content)
    assert table == told and len(table) == 13


def test_a_table_that_comes_back(client: Client, job: str) -> None:
    """An export is good as the table of another study."""
    chosen = {"columns": "x,y", "filter": "Cd<4.6"}
    content = client.call("GET", f"jobs/{job}/study/export/", 200, params=chosen).content
    table = client.upload("again.csv", content)["id"]
    again = client.create("true", job={"paramFile": {"id": table}})
    assert again["expectedRuns"] == sum(cd < 4.6 for cd in CD)


# --- who may ask ----------------------------------------------------------------------------------

QUESTIONS = [
    "", "columns/", "table/", "statistics/", "effects/", "correlation/", "sensitivity/", "slices/",
    "pareto/", "convergence/", "exceedance/?limit=1", "compare/?runs=1,2", "export/",
]  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_job_of_somebody_else_is_not_there(
    server: RunningServer, client: Client, job: str, question: str
) -> None:
    other = server.somebody("nosy")
    said = other.get(f"jobs/{job}/study/{question}", 404)
    assert said == client.get(f"jobs/nnnnn/study/{question}", 404)
    client.call("GET", f"jobs/{job}/study/{question}", 200)


def test_whoever_it_is_shared_with_may_ask(server: RunningServer, client: Client, job: str) -> None:
    friend = server.somebody("friend")
    email = friend.get("users/me/")["email"]
    client.call("POST", f"jobs/{job}/share/", 200, json={"email": email})
    assert friend.get(f"jobs/{job}/study/statistics/")["n"] == 12
    client.call("DELETE", f"jobs/{job}/share/", 204, json={"email": email})
    friend.get(f"jobs/{job}/study/statistics/", 404)


def test_a_job_that_is_no_study(client: Client) -> None:
    plain = client.create()["id"]
    said = client.get(f"jobs/{plain}/study/", 400)
    assert said == {"detail": "This job is no study: it has a single run."}
    table = client.upload("runs.csv", b"n\n1\n")["id"]
    draft = client.create(job={"paramFile": {"id": table}})["id"]
    said = client.get(f"jobs/{draft}/study/table/", 400)
    assert said == {"detail": "This study was not submitted yet: it has no runs."}
