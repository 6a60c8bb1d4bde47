"""Studies as clients of the API have them: tables, ranges, templates, slots, outputs, stops."""

import time
from collections.abc import Iterator

import pytest

from harness import CONFIG, Client, RunningServer, definition, serving, wait_for
from studying import BRANIN, branin, created, ranged, refused, runs, study, variables

ARTICLE = "11,2 11,4 11.5,2.5 11.5,3 11.5,3.5 12,2.5 12,3 12,3.5 12.5,2.5 12.5,3 12.5,3.5 13,2 13,4"
TABLE = "x, y\n" + "".join(f"{row}\n" for row in ARTICLE.split())
ADD = "printf 'z\\t%s\\n' $(awk 'BEGIN { print ENVIRON[\"PARAM_X\"] + ENVIRON[\"PARAM_Y\"] }')"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(RunningServer(tmp_path_factory.mktemp("studies") / "data", CONFIG)) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Client:
    return server.somebody("studious")


# --- tables ---------------------------------------------------------------------------------------


def test_a_table_of_runs(client: Client) -> None:
    body = study(
        client,
        "cat point; sleep 0.1",
        table=TABLE,
        templates={"point": ("point.template", 'x=${x} y=${y?string("0.00")}\n')},
        postProcessScriptCommand=ADD,
    )
    job = created(client, body)
    assert job["expectedRuns"] == 13
    assert [(v["name"], v["variableType"], v["displayOrder"]) for v in job["jobvariables"]] == [
        ("x", "Param", 0),
        ("y", "Param", 1),
    ]
    assert job["jobvariables"][0]["valueGeneratorType"] == ""
    assert job["jobvariables"][0]["valueGeneratorSettings"] == {}
    assert job["paramFile"]["name"] == "runs.csv"
    assert job["jobanalyses"][0]["templateTasks"][0]["processedFilename"] == "point"
    client.submit(job["id"])
    listed = runs(client, job["id"])
    assert [run["id"] for run in listed] == [str(n) for n in range(1, 14)], "all from the start"
    assert client.finished(job["id"]) == "Completed successfully"
    done = runs(client, job["id"])
    assert [variables(run) for run in done][3] == {"x": "11.5", "y": "3", "z": "14.5"}
    assert [(v["name"], v["value"]) for v in done[3]["variables"]] == [
        ("x", 11.5),
        ("y", 3.0),
        ("z", 14.5),
    ]
    for run in done:
        assert (run["type"], run["parent"], run["isOptimal"]) == (3, None, False)
        assert run["dateStarted"] and run["dateCompleted"] and run["warnings"] == []
    found = client.get(f"jobs/{job['id']}/files/?page_size=100&search=point")["results"]
    assert {file["path"].split(job["id"])[1] for file in found} == {
        f"/run{n}/point" for n in range(1, 14)
    }
    of_run = client.get(f"jobs/{job['id']}/runs/4/files/?search=point")["results"]
    assert [file["path"].split("/output/")[1] for file in of_run] == [f"job_{job['id']}/run4/point"]
    assert client.call("GET", of_run[0]["downloadUrl"], 200).content == b"x=11.5 y=3.00\n"


def test_never_more_runs_than_slots_and_no_barrier(client: Client) -> None:
    rows = "n,seconds\n" + "".join(f"{n},{600 if n == 1 else 0.1}\n" for n in range(8))
    job = created(client, study(client, "sleep $PARAM_SECONDS", table=rows, slots=2))
    client.submit(job["id"])
    most, ended = 0, 0
    while ended < 7:  # none of them waits for the slow one
        listed = runs(client, job["id"])
        most = max(most, sum(bool(r["dateStarted"]) and not r["dateCompleted"] for r in listed))
        ended = sum(bool(r["dateCompleted"]) for r in listed)
        time.sleep(0.02)
    assert not runs(client, job["id"])[1]["dateCompleted"]
    client.call("POST", f"jobs/{job['id']}/runs/2/stop/", 200)
    client.finished(job["id"])
    assert most == 2
    begun = [run["dateStarted"] for run in runs(client, job["id"])]
    for n, one in enumerate(begun):  # handed over in order: one other at most is still starting
        assert sum(earlier > one for earlier in begun[:n]) <= 1


def test_a_stop_keeps_what_is_done(client: Client) -> None:
    rows = "n\n" + "".join(f"{n}\n" for n in range(200))
    job = created(client, study(client, "sleep 0.2", table=rows, slots=2))
    client.submit(job["id"])
    wait_for(lambda: sum(bool(r["dateCompleted"]) for r in runs(client, job["id"])) >= 4, "some")
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    reason = client.finished(job["id"])
    done = runs(client, job["id"])
    well = [run for run in done if run["outcome"] and run["outcome"]["ending"] == "exited"]
    assert 4 <= len(well) < 20 and len(done) == 200
    assert reason == f"Stopped by the user; {len(well)} of 200 runs completed"
    for run in well:
        assert run["outputFileCount"] == 1
    never = done[150]
    assert never["dateStarted"] is None and never["dateCompleted"]


def test_a_run_is_stopped_alone(client: Client) -> None:
    rows = "n\n1\n2\n3\n"
    job = created(client, study(client, "sleep 3; exit 0", table=rows, slots=2))
    client.submit(job["id"])
    wait_for(lambda: runs(client, job["id"])[1]["dateStarted"] is not None, "the second")
    client.call("POST", f"jobs/{job['id']}/runs/3/stop/", 200)
    client.call("POST", f"jobs/{job['id']}/runs/2/stop/", 200)
    client.call("POST", f"jobs/{job['id']}/runs/3/stop/", 400)
    reason = client.finished(job["id"])
    assert reason == "Stopped by the user; 1 of 3 runs completed"


def test_a_failed_point_is_a_row_with_its_reason(client: Client) -> None:
    rows = "n\n" + "".join(f"{n}\n" for n in range(5))
    body = study(client, "[ $PARAM_N != 3 ] || exit 7; printf 'a\\t1\\n'", table=rows, slots=4)
    job = created(client, body)
    client.submit(job["id"])
    reason = client.finished(job["id"])
    assert reason == (
        "4 of 5 runs completed. Run 4 failed: the command of analysis 1 ended with exit code 7"
    )
    failed = runs(client, job["id"])[3]
    assert failed["outcome"]["exitCode"] == 7 and not failed["outcome"]["isGood"]


def test_a_study_whose_points_all_fail_says_so(client: Client) -> None:
    job = created(client, study(client, "exit 2", table="n\n1\n2\n3\n"))
    client.submit(job["id"])
    assert client.finished(job["id"]) == (
        "A run failed: none of 3 runs completed. Run 1: the command of analysis 1 ended with exit"
        " code 2"
    )


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        ("a,b\n1\n", ["runs.csv: line 2: 1 value for 2 columns"]),
        ("a,a\n1,2\n", None),
        ("a\n", None),
        ("", None),
        ("1x\n2\n", None),
    ],
)
def test_a_bad_table_is_refused(client: Client, table: str, messages: list[str] | None) -> None:
    if not table:
        table = "\n"
    said = refused(client, study(client, table=table))
    assert list(said) == ["paramFile"]
    if messages:
        assert said["paramFile"] == messages


def test_everything_wrong_is_told_at_once(client: Client) -> None:
    body = study(
        client,
        "",
        table="a,b\n1\n1,2,3\n",
        templates={"../x": ("t", "${a}"), "/y": ("u", "${a}")},
    )
    body["name"] = ""
    said = refused(client, body)
    assert len(said["paramFile"]) == 2 and said["name"]
    (analysis,) = said["jobanalyses"]
    assert analysis["command"]
    assert all("processedFilename" in task for task in analysis["templateTasks"])


def test_what_is_wrong_beside_a_bad_table_is_told_too(client: Client) -> None:
    fields = ranged(v=("FixedRange", {"minvalue": 0, "maxvalue": 1, "increment": 0}))
    fields["jobvariables"].append({"name": "a"})  # of the table, as far as one can know
    fields |= {"design": {"kind": "zzz"}, "includeNominalRun": True}
    templates = {"in": ("in.template", "${a} ${b} ${v?string('x')}\n")}
    body = study(client, table="a,a\n1,2\n", job=fields, templates=templates)
    said = refused(client, body)
    assert set(said) == {"paramFile", "design", "jobvariables"}
    assert list(said["design"]) == ["kind"] and "zzz" in str(said["design"])
    (first, *more) = said["jobvariables"]
    assert list(first["valueGeneratorSettings"]) == ["increment"] and not any(more)
    checked = client.call("POST", "drafts/validate/", 200, json=body).json()["errors"]
    (fault,) = checked["jobanalyses"][0]["templateTasks"][0]["templateFile"]
    assert "in.template:1:11" in fault, "names that the table may have are no fault"


@pytest.mark.parametrize("field", ["paramFile", "caseFile"])
def test_a_table_that_was_deleted_since(client: Client, field: str) -> None:
    body = study(client, table="a\n1\n", templates={"in": ("in.template", "${a} ${b}")})
    file, template = body["paramFile"]["id"], body["jobanalyses"][0]["templateTasks"][0]
    body[field] = body.pop("paramFile")
    body["jobvariables"] = [{"name": "b", "valueGeneratorSettings": {"values": [1, 2]}}]
    headers = {"Idempotency-Key": "made-once"}
    job = client.call("POST", "jobs/", 201, json=body, headers=headers).json()["id"]
    client.call("DELETE", f"files/{file}/", 204)
    gone = {field: {"id": [f'Invalid pk "{file}" - object does not exist.']}}
    assert client.call("POST", f"jobs/{job}/template-preview/", 400).json() == gone
    assert client.call("POST", f"jobs/{job}/submit/", 400).json() == gone
    assert client.call("POST", f"jobs/{job}/submit/", 400).json() == gone
    again = client.call("POST", "jobs/", 201, json=body, headers=headers).json()
    assert again["id"] == job, "that it was made stays true"
    client.call("DELETE", f"files/{template['templateFile']['id']}/", 204)
    said = client.call("POST", f"jobs/{job}/submit/", 400).json()
    assert set(said) == {field, "jobanalyses"}, "all that is gone is told at once"


# --- ranges ---------------------------------------------------------------------------------------


def test_a_rendered_script_can_be_executed(client: Client) -> None:
    body = study(
        client,
        "./run_fmm",
        templates={"run_fmm": ("run_fmm", "#!/bin/sh\necho fmm ${index} > out\n")},
        job=ranged(index=("FixedRange", {"minvalue": 1, "maxvalue": 10, "increment": 1})),
        slots=4,
    )
    job = created(client, body)
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    done = runs(client, job["id"])
    assert [variables(run)["index"] for run in done] == [str(n) for n in range(1, 11)]
    (out,) = client.get(f"jobs/{job['id']}/runs/7/files/?search=out")["results"][:1]
    assert b"fmm 7" in client.call("GET", out["downloadUrl"], 200).content or "log" in out["name"]


def test_a_grid_and_random_draws(client: Client) -> None:
    job = created(
        client,
        study(
            client,
            job={
                **ranged(
                    draws=3,
                    a=("Linspace", {"minvalue": 0, "maxvalue": 1, "count": 2}),
                    b=("Normal", {"mean": 10, "standardDeviation": 2}),
                ),
                "seed": 5,
            },
            slots=4,
        ),
    )
    assert (job["expectedRuns"], job["seed"], job["monteCarloIterations"]) == (6, 5, 3)
    client.submit(job["id"])
    client.finished(job["id"])
    found = [variables(run) for run in runs(client, job["id"])]
    assert [row["a"] for row in found] == ["0", "0", "0", "1", "1", "1"]
    drawn = [row["b"] for row in found]
    assert drawn[:3] == drawn[3:], "the same draws in each cell"
    assert len(set(drawn[:3])) == 3
    again = created(
        client, definition(job={"seed": 5, **{k: job[k] for k in ("jobvariables",)},
                                "monteCarloIterations": 3}),
    )  # fmt: skip
    client.submit(again["id"])
    client.finished(again["id"])
    assert [variables(run) for run in runs(client, again["id"])] == found, "the seed decides"


def test_too_many_runs_are_refused_with_the_number(client: Client) -> None:
    million = ("FixedRange", {"minvalue": 1, "maxvalue": 1000, "increment": 1})
    said = refused(client, study(client, job=ranged(a=million, b=million)))
    assert "1,000,000" in str(said) or "1000000" in str(said)


def test_a_random_variable_needs_a_number_of_draws(client: Client) -> None:
    said = refused(client, study(client, job=ranged(a=("Uniform", {"minvalue": 0, "maxvalue": 1}))))
    assert list(said) == ["monteCarloIterations"]


def test_fields_that_a_design_does_not_have(client: Client) -> None:
    fields = ranged(**{name: ("Uniform", {"minvalue": 0, "maxvalue": 1}) for name in "ab"})
    fields["design"] = {"kind": "grid", "levels": 5, "option": {}}
    assert refused(client, study(client, job=fields)) == {
        "design": {
            "levels": ['There is no field "levels"; there are kind, count, options.'],
            "option": ['There is no field "option" (did you mean options?).'],
        }
    }
    fields["design"] = {"kind": "grid", "options": {"levels": 5}}
    job = created(client, study(client, job=fields))
    assert job["expectedRuns"] == 25
    client.call("PATCH", f"jobs/{job['id']}/", 200, json={"design": job["design"]})


def test_fields_of_one_kind_in_a_whole_sweep(client: Client) -> None:
    body = study(
        client,
        job=ranged(
            t=("FixedRange", {"minvalue": 0.5, "maxvalue": 1, "increment": 0.5}),
            n=("List", {"values": ["7", "8"]}),
            e=("List", {"values": ["210000."]}),
        ),
        templates={"card": ("card.template", "${t?w(8)}${n?w(8)}${e?w(8)}")},
    )
    job = created(client, body)["id"]
    previews = [
        client.call("POST", f"jobs/{job}/template-preview/?run={n}", 200).json() for n in (1, 4)
    ]
    assert [found["templates"][0]["text"] for found in previews] == [
        "     0.5       7 210000.",
        "      1.       8 210000.",
    ]
    client.submit(job)
    assert client.finished(job) == "Completed successfully"
    said = client.get(f"jobs/{job}/study/compare/?runs=1,4")
    assert "+      1.       8 210000." in str(said), "as it was run"


# --- templates ------------------------------------------------------------------------------------


def test_an_unknown_variable_is_refused_at_submit_with_its_place(client: Client) -> None:
    content = "line one\n  U (${Xveloctiy} 0 0)\n${y?string('0.#0')}\n"
    body = study(client, table="Xvelocity,y\n1,2\n", templates={"U": ("U.template", content)})
    job = created(client, body)
    said = client.call("POST", f"jobs/{job['id']}/submit/", 400).json()
    faults = said["jobanalyses"][0]["templateTasks"][0]["templateFile"]
    assert len(faults) == 2
    assert faults[0].startswith("U.template:2:6") and "did you mean Xvelocity" in faults[0]
    assert faults[1].startswith("U.template:3:1")
    assert client.status(job["id"]) == "" and runs(client, job["id"]) == []


def test_two_templates_for_one_target(client: Client) -> None:
    body = study(client, table="a\n1\n", templates={"d/U": ("t", "x"), "d//U": ("u", "y")})
    assert "too" in str(refused(client, body))


def test_a_dry_run_renders_and_executes_nothing(client: Client) -> None:
    body = study(
        client,
        "touch executed",
        table="v\n1\n2.50\n",
        templates={"in/U": ("U", "v=${v};")},
        job={"isTemplateDryRun": True},
        postProcessScriptCommand="touch executed",
    )
    job = created(client, body)
    assert job["isTemplateDryRun"] is True
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    words = [entry["status"] for entry in client.statuses(job["id"])]
    assert "Executing" not in words, "nothing was"
    for number, text in ((1, b"v=1;"), (2, b"v=2.50;")):
        listed = client.get(f"jobs/{job['id']}/runs/{number}/files/")["results"]
        assert sorted(f["relativePath"] for f in listed) == ["in/U", "process_output.log"]
        (file,) = (f for f in listed if f["relativePath"] == "in/U")
        assert client.call("GET", file["downloadUrl"], 200).content == text


def test_a_nominal_run_comes_last_and_is_shown_first(client: Client) -> None:
    body = study(
        client,
        table="v\n1\n2\n",
        templates={"U": ("U", "${v!7.5}")},
        job={"includeNominalRun": True},
    )
    job = created(client, body)
    assert job["expectedRuns"] == 3
    client.submit(job["id"])
    client.finished(job["id"])
    found = runs(client, job["id"])
    assert [(r["id"], r["displayOrder"], r["isNominal"]) for r in found] == [
        ("3", 0, True),
        ("1", 1, False),
        ("2", 2, False),
    ]
    assert variables(found[0]) == {"v": "7.5"}
    pages = [
        client.get(f"jobs/{job['id']}/runs/?page_size=1&page={n}")["results"] for n in (1, 2, 3)
    ]
    assert [run["id"] for page in pages for run in page] == ["3", "1", "2"]


# --- outputs --------------------------------------------------------------------------------------

TOLD = r"""
printf 'Cd\t-0.0187556\nCl\t1.2D-03\nstarting\nbad\t*** not found ***\nCd\t2\n'
printf 'T\tnan\nx\t9\na\tb\tc\n'
printf 'hidden\t1\n' >&2
"""


def test_what_a_post_processing_tells(client: Client) -> None:
    body = study(client, table="x\n5\n", postProcessScriptCommand=TOLD)
    job = created(client, body)
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    (run,) = runs(client, job["id"])
    told = {v["name"]: (v["value"], v["displayValue"]) for v in run["variables"]}
    assert told == {
        "x": (5.0, "5"),
        "Cd": (2.0, "2"),
        "Cl": (0.0012, "1.2D-03"),
        "bad": (None, "*** not found ***"),
        "T": (None, "nan"),
        "a": (None, "b\tc"),
    }
    assert list(told) == ["x", "Cd", "Cl", "bad", "T", "a"], "inputs first, then as printed"
    assert len(run["warnings"]) == 2
    log = client.log_of(job["id"])
    assert "starting" in log and "hidden" in log


def test_outputs_of_a_job_of_one_run(client: Client) -> None:
    job = client.run("true", postProcessScriptCommand="printf 'mass\\t3\\n'")
    (run,) = runs(client, job["id"])
    assert variables(run) == {"mass": "3"}
    assert client.get(f"jobs/{job['id']}/")["expectedRuns"] is None


def test_a_failing_post_processing_of_a_study_is_a_warning(client: Client) -> None:
    body = study(client, table="x\n5\n", postProcessScriptCommand="printf 'a\\t1\\n'; exit 3")
    job = created(client, body)
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    (run,) = runs(client, job["id"])
    assert variables(run) == {"x": "5", "a": "1"}
    assert run["warnings"] == ["The post-processing of analysis 1 ended with exit code 3."]
    plain = client.create("true", postProcessScriptCommand="printf 'a\\t1\\n'; exit 3")
    client.submit(plain["id"])
    assert "post-processing of analysis 1 ended with exit code 3" in client.finished(plain["id"])
    assert variables(runs(client, plain["id"])[0]) == {"a": "1"}


def test_what_a_post_processing_says_is_not_the_solvers(client: Client) -> None:
    """What it prints is in the log and fails no run of a study, of whatever it tells; the same from
    the solver does.
    """
    fails = "printf 'a\\t1\\n'; python3 -c 'raise ValueError(1)'"
    body = study(client, "echo solved", table="x\n5\n", postProcessScriptCommand=fails)
    job = created(client, body)["id"]
    client.submit(job)
    assert client.finished(job) == "Completed successfully"
    (run,) = runs(client, job)
    assert run["outcome"]["isGood"] and variables(run)["a"] == "1"
    assert "Traceback" in client.log_of(job)
    body = study(client, f"({fails}) || true", table="x\n5\n", postProcessScriptCommand=fails)
    job = created(client, body)["id"]
    client.submit(job)
    assert "exception that nothing caught" in client.finished(job)
    (run,) = runs(client, job)
    assert run["outcome"]["cause"] == "exception"
    assert run["outcome"]["evidence"]["line"] == 2


# --- what a run sees ------------------------------------------------------------------------------


def test_a_run_needs_no_template(client: Client) -> None:
    command = 'echo "$RUN_ID $JOB_ID $PARAM_X"; cat "$SIMYARD_PARAMS"'
    job = created(client, study(client, command, table="x,name\n1.50,a b\n2,c\n", slots=1))
    client.submit(job["id"])
    client.finished(job["id"])
    (log,) = client.get(f"jobs/{job['id']}/runs/1/files/?search=process_output")["results"]
    said = client.call("GET", log["downloadUrl"], 200).text
    assert f"1 {job['id']} 1.50" in said
    assert '"variables": {"x": 1.5, "name": "a b"}' in said


def test_runs_do_not_share_what_they_change(client: Client) -> None:
    shared = client.upload("data.txt", b"clean\n")["id"]
    command = "cat data.txt; echo $PARAM_N >> data.txt; chmod 777 data.txt; sleep 0.1"
    rows = "n\n" + "".join(f"{n}\n" for n in range(6))
    job = created(client, study(client, command, table=rows, slots=3, inputs=[shared]))
    client.submit(job["id"])
    client.finished(job["id"])
    for number in range(1, 7):
        listed = client.get(f"jobs/{job['id']}/runs/{number}/files/")["results"]
        by_name = {f["name"]: client.call("GET", f["downloadUrl"], 200).text for f in listed}
        assert by_name["data.txt"] == f"clean\n{number - 1}\n"
        assert by_name["process_output.log"].splitlines()[-1] == "clean"


# --- optimisation ---------------------------------------------------------------------------------


def test_an_optimisation_finds_the_minimum(client: Client) -> None:
    body = study(client, job=branin(40), slots=4, postProcessScriptCommand=BRANIN)
    job = created(client, body)
    assert job["expectedRuns"] == 40
    client.submit(job["id"])
    most = 0
    while client.cluster_status(job["id"]) != "Stopped":
        most = max(most, sum(not r["dateCompleted"] for r in runs(client, job["id"])))
        time.sleep(0.05)
    assert most <= 4
    done = runs(client, job["id"])
    assert len(done) == 40 and {run["type"] for run in done} == {2}
    values = [run["variables"][-1]["value"] for run in done]
    (best,) = (run for run in done if run["isOptimal"])
    assert best["variables"][-1]["value"] == min(values) <= 0.3979 + 0.05
    notices = {n["code"]: n["message"] for n in client.get(f"jobs/{job['id']}/")["notices"]}
    assert notices["study-closed"] == "No more runs are made: the budget of 40 runs is used."


def test_problems_have_the_places_of_what_was_sent(client: Client) -> None:
    fields = ranged(
        a=("FixedRange", {"minvalue": 0, "maxvalue": 1, "increment": 0}),
        b=("Uniform", {"minvalue": 0, "maxvalue": "x"}),
    )
    fields["jobvariables"][0]["displayOrder"] = 7
    said = refused(client, study(client, table="c,d\n1,2\n", job=fields))
    first, second = said["jobvariables"]
    assert "increment" in first["valueGeneratorSettings"]
    assert "maxvalue" in second["valueGeneratorSettings"]
