"""Studies that were submitted: runs again, outputs read again, more runs, optimisation, crashes."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness import CONFIG, Client, RunningServer, serving, wait_for
from studying import BRANIN, branin, created, ranged, runs, study, variables


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(RunningServer(tmp_path_factory.mktemp("repair") / "data", CONFIG)) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Client:
    return server.somebody("studious")


def submitted(client: Client, body: dict[str, Any]) -> str:
    job = str(created(client, body)["id"])
    client.submit(job)
    return job


def post(client: Client, path: str, body: Any = None, expect: int = 200, **headers: str) -> Any:
    return client.call("POST", path, expect, json=body or {}, headers=headers).json()


# --- again ----------------------------------------------------------------------------------------


def test_only_the_failed_points_are_done_again_after_a_fix(client: Client) -> None:
    broken = client.upload("limit.txt", b"2\n")["id"]
    command = "read most < limit.txt; [ $PARAM_N -le $most ] && printf 'ok\\t%s\\n' $most > told"
    job = submitted(
        client,
        study(
            client,
            command,
            table="n\n1\n2\n3\n4\n",
            inputs=[broken],
            postProcessScriptCommand="cat told",
        ),
    )
    assert client.finished(job).startswith("2 of 4 runs completed. Run 3 failed:")
    before = runs(client, job)
    assert "ok" not in variables(before[2])
    mended = client.upload("limit.txt", b"9\n")["id"]
    again = post(client, f"jobs/{job}/study/rerun/", {"replace": {broken: mended}})
    assert again == {"runs": ["3", "4"], "count": 2}
    assert client.finished(job) == "Completed successfully"
    after = runs(client, job)
    assert after[:2] == before[:2], "the good ones were left alone"
    assert [variables(run) for run in after] == [
        {"n": "1", "ok": "2"},
        {"n": "2", "ok": "2"},
        {"n": "3", "ok": "9"},
        {"n": "4", "ok": "9"},
    ]
    post(client, f"jobs/{job}/study/rerun/", {}, 400)  # there is none to do again
    # More of it with the same fix, and one with another command.
    points = f"jobs/{job}/study/points/"
    bad = {"rows": [{"n": 5}], "replace": {"x": mended}}
    assert "replace" in post(client, points, bad, 400)
    fixed = {"rows": [{"n": 5}], "replace": {broken: mended}}
    assert post(client, points, fixed, 201) == {"runs": ["5"], "count": 1}
    post(client, points, {"rows": [{"n": 6}], "command": "printf 'ok\\tno\\n' > told"}, 201)
    assert client.finished(job) == "Completed successfully"
    told = [variables(run) for run in runs(client, job)[4:]]
    assert told == [{"n": "5", "ok": "9"}, {"n": "6", "ok": "no"}]


def test_a_template_that_cannot_be_rendered_is_refused_before_anything_is_done(
    client: Client,
) -> None:
    body = study(client, "cat in", table="n\n1\n2\n", templates={"in": ("in.template", "${n}\n")})
    job = submitted(client, body)
    client.finished(job)
    before = runs(client, job)
    first = body["jobanalyses"][0]["templateTasks"][0]["templateFile"]["id"]
    bad = client.upload("bad.template", b"n ${n}\nm ${nope}\n")["id"]
    sent = {"where": "all", "replace": {first: bad}}
    for path in ("rerun", "extract"):
        refused = post(client, f"jobs/{job}/study/{path}/", sent, 400)
        (message,) = refused["replace"][first]
        assert message.startswith("bad.template:2:3") and "nope" in message
    more = {"rows": [{"n": 3}], "replace": {first: bad}}
    assert post(client, f"jobs/{job}/study/points/", more, 400) == refused
    assert runs(client, job) == before and client.status(job) == "Completed"
    other = client.upload("other.template", b"other ${n}\n")["id"]
    post(client, f"jobs/{job}/study/points/", {**more, "replace": {first: other}}, 201)
    assert client.finished(job) == "Completed successfully"


def test_a_filter_tells_which_are_done_again(client: Client) -> None:
    body = study(client, table="n\n1\n2\n3\n4\n", postProcessScriptCommand="printf 'm\\t1\\n'")
    job = submitted(client, body)
    client.finished(job)
    rerun = f"jobs/{job}/study/rerun/"
    again = post(client, rerun, {"where": "n >= 3 and status = 'done' and m = 1"})
    assert again == {"runs": ["3", "4"], "count": 2}
    client.finished(job)
    assert len(client.get(f"jobs/{job}/clusters/")["results"]) == 6
    assert "no such run" in post(client, rerun, {"where": "n > 4"}, 400)["detail"]
    said = post(client, rerun, {"where": "k > 4"}, 400)["where"]
    assert "column 1" in said[0] and '"unfinished"' in said[-1]


def test_what_cannot_be_done_again(client: Client) -> None:
    job = submitted(client, study(client, "sleep 2", table="n\n1\n2\n", slots=1))
    rerun = f"jobs/{job}/study/rerun/"
    said = post(client, rerun, {"runs": [2]}, 400)["detail"]
    assert "not at its end (it is Planned)" in said
    assert "no run 7" in str(post(client, rerun, {"runs": [7]}, 400)["runs"])
    wrong = "A valid integer is required."
    for sent in (["a"], [True]):
        assert post(client, rerun, {"runs": sent}, 400) == {"runs": [[wrong]]}
    assert "where" in post(client, rerun, {"where": "bad"}, 400)
    assert "replace" in post(client, rerun, {"where": "all", "replace": {"x": "y"}}, 400)
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)
    plain = client.run()["id"]
    assert "no study" in post(client, f"jobs/{plain}/study/rerun/", {}, 400)["detail"]
    other = created(client, study(client, table="n\n1\n"))["id"]
    assert "not submitted" in post(client, f"jobs/{other}/study/rerun/", {}, 400)["detail"]


def test_a_stopped_study_goes_on(client: Client) -> None:
    rows = "n\n" + "".join(f"{n}\n" for n in range(8))
    job = submitted(client, study(client, "sleep 0.3", table=rows, slots=2))
    wait_for(lambda: runs(client, job)[1]["dateCompleted"] is not None, "two runs")
    client.call("POST", f"jobs/{job}/stop/", 202)
    assert client.finished(job).startswith("Stopped by the user")
    rows_now = runs(client, job)
    left = [run["id"] for run in rows_now if run["outcome"]["ending"] != "exited"]
    for run in rows_now:
        if run["dateStarted"] is None:
            outcome = run["outcome"]
            assert (outcome["verdict"], outcome["isGood"]) == ("stopped", False), "it has no result"
            assert outcome["message"].startswith("it was stopped by the user")
    again = post(client, f"jobs/{job}/study/rerun/", {"where": "unfinished"})
    assert again["runs"] == left
    assert client.finished(job) == "Completed successfully"


def test_asking_twice_does_it_once(client: Client) -> None:
    job = submitted(client, study(client, "exit 1", table="n\n1\n"))
    client.finished(job)
    key = {"Idempotency-Key": "again-1"}
    first = post(client, f"jobs/{job}/study/rerun/", {"where": "all"}, **key)
    client.finished(job)
    assert post(client, f"jobs/{job}/study/rerun/", {"where": "all"}, **key) == first
    time.sleep(0.3)
    assert client.cluster_status(job) == "Stopped"
    assert first == {"runs": ["1"], "count": 1}


def test_outputs_are_read_again_without_solving(client: Client) -> None:
    body = study(
        client,
        "echo solved $RUN_ID; echo value=$PARAM_N > result.txt",
        table="n\n1\n2\n3\n",
        postProcessScriptCommand="printf 'a\\t0\\n'",
    )
    job = submitted(client, body)
    client.finished(job)
    before = runs(client, job)
    assert variables(before[1]) == {"n": "2", "a": "0"}
    command = "sed -n 's/value=/b\\t/p' result.txt"
    again = post(client, f"jobs/{job}/study/extract/", {"postProcessScriptCommand": command})
    assert again["count"] == 3
    assert client.finished(job) == "Completed successfully"
    assert [variables(run) for run in runs(client, job)] == [
        {"n": str(n), "b": str(n)} for n in (1, 2, 3)
    ]
    (log,) = client.get(f"jobs/{job}/runs/2/files/?search=process_output")["results"]
    assert client.call("GET", log["downloadUrl"], 200).text.count("solved 2") == 1
    bad = post(client, f"jobs/{job}/study/extract/", {"postProcessScriptCommand": "exit 4"})
    assert bad["count"] == 3
    client.finished(job)
    kept = runs(client, job)[0]
    assert variables(kept)["b"] == "1", "what was known is kept"
    assert kept["warnings"] == ["The post-processing of analysis 1 ended with exit code 4."]
    for when in ("dateStarted", "dateCompleted"):
        assert kept[when] == before[0][when], "of the solving"


def test_reading_outputs_again_makes_no_bad_run_good(client: Client) -> None:
    body = study(client, "echo 5 > result.txt; exit 9", table="n\n1\n")
    job = submitted(client, body)
    before = client.finished(job)
    assert "exit code 9" in before
    command = "printf 'r\\t%s\\n' $(cat result.txt)"
    post(client, f"jobs/{job}/study/extract/", {"postProcessScriptCommand": command})
    assert client.finished(job) == before
    (run,) = runs(client, job)
    assert run["outcome"]["exitCode"] == 9 and not run["outcome"]["isGood"]
    assert variables(run) == {"n": "1", "r": "5"}


def test_a_run_that_is_done_anew_has_the_outputs_of_its_last_attempt(client: Client) -> None:
    body = study(client, "echo 1 > first.txt; exit 1", table="n\n1\n")
    job = submitted(client, body)
    client.finished(job)
    post(client, f"jobs/{job}/study/rerun/", {"command": "echo 2 > second.txt"})
    assert client.finished(job) == "Completed successfully"
    assert set(client.outputs(job)) == {"second.txt", "process_output.log"}


def test_what_was_mended_stays_so(client: Client) -> None:
    body = study(
        client,
        "[ $PARAM_N != 2 ] && cp in told",
        table="n\n1\n2\n3\n",
        templates={"in": ("in.template", "first ${n}\n")},
        postProcessScriptCommand="printf 'v\\t%s\\n' \"$(cat told)\"",
    )
    job = submitted(client, body)
    assert client.finished(job).startswith("2 of 3 runs completed. Run 2 failed:")
    first = body["jobanalyses"][0]["templateTasks"][0]["templateFile"]["id"]
    mended = client.upload("mended.template", b"mended ${n}\n")["id"]
    rerun = f"jobs/{job}/study/rerun/"
    post(client, rerun, {"command": "cp in told", "replace": {first: mended}})
    assert client.finished(job) == "Completed successfully"
    good = [{"n": "1", "v": "first 1"}, {"n": "2", "v": "mended 2"}, {"n": "3", "v": "first 3"}]
    assert [variables(run) for run in runs(client, job)] == good
    for number, name, text in (("1", "in", "first 1\n"), ("2", "mended", "mended 2\n")):
        (shown,) = post(client, f"jobs/{job}/template-preview/?run={number}")["templates"]
        assert (shown["templateFile"], shown["text"]) == (f"{name}.template", text)
    post(client, rerun, {"where": "all"})
    assert client.finished(job) == "Completed successfully"
    assert [variables(run) for run in runs(client, job)] == good
    command = "printf 'w\\t%s\\n' \"$(cat told)\""
    post(client, f"jobs/{job}/study/extract/", {"postProcessScriptCommand": command})
    client.finished(job)
    post(client, rerun, {"where": "all"})
    assert client.finished(job) == "Completed successfully"
    told = [variables(run)["w"] for run in runs(client, job)]
    assert told == ["first 1", "mended 2", "first 3"]
    client.call("DELETE", f"files/{mended}/", 204)
    assert mended in post(client, rerun, {"where": "all"}, 400)["detail"]
    post(client, rerun, {"runs": [2], "replace": {first: first}})
    assert client.finished(job) == "Completed successfully"
    assert variables(runs(client, job)[1]) == {"n": "2", "w": "first 2"}


# --- more -----------------------------------------------------------------------------------------


def test_rows_are_added(client: Client) -> None:
    job = submitted(client, study(client, table="n,text\n1,a\n"))
    client.finished(job)
    points = f"jobs/{job}/study/points/"
    wrong = post(client, points, {"rows": [{"n": 1, "m": 2}, {"n": [1], "text": "b"}]}, 400)
    assert wrong["rows"][0] == {
        "m": ["This study has no such input."],
        "text": ["This field is required."],
    }
    assert wrong["rows"][1] == {"n": ["Give a number or a text."]}
    post(client, points, {}, 400)
    post(client, points, {"rows": []}, 400)
    added = post(client, points, {"rows": [{"n": 2.5, "text": "b"}, {"n": "7", "text": "c"}]}, 201)
    assert added == {"runs": ["2", "3"], "count": 2}
    assert client.finished(job) == "Completed successfully"
    assert [variables(run) for run in runs(client, job)] == [
        {"n": "1", "text": "a"},
        {"n": "2.5", "text": "b"},
        {"n": "7", "text": "c"},
    ]
    assert client.get(f"jobs/{job}/")["expectedRuns"] == 3


def test_a_sequence_is_extended_and_keeps_its_points(client: Client) -> None:
    uniform = ("Uniform", {"minvalue": 0, "maxvalue": 1})
    fields = {**ranged(x=uniform, y=uniform), "design": {"kind": "sobol", "count": 4}, "seed": 11}
    job = submitted(client, study(client, job=fields, slots=4))
    client.finished(job)
    four = [variables(run) for run in runs(client, job)]
    added = post(client, f"jobs/{job}/study/points/", {"count": 4}, 201)
    assert added["runs"] == ["5", "6", "7", "8"]
    client.finished(job)
    eight = [variables(run) for run in runs(client, job)]
    assert eight[:4] == four
    fields["design"] = {"kind": "sobol", "count": 8}
    at_once = submitted(client, study(client, job=fields, slots=4))
    client.finished(at_once)
    assert [variables(run) for run in runs(client, at_once)] == eight
    shown = client.get(f"jobs/{job}/")
    assert (shown["design"]["count"], shown["expectedRuns"]) == (8, 8)


# --- optimisation ---------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_it_goes_on_after_a_kill_with_the_same_history(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    found = []
    for is_killed in (False, True):
        server = RunningServer(folder / f"data{is_killed}", CONFIG)
        with serving(server):
            client = server.client()
            # One slot: what was known at each question does not depend on who ended first.
            body = study(client, "sleep 0.05", job=branin(12), slots=1,
                         postProcessScriptCommand=BRANIN)  # fmt: skip
            job = submitted(client, body)
            for kill in range(3 if is_killed else 0):
                wait_for(lambda: len(runs(client, job)) > 3 * kill, "the next runs")  # noqa: B023
                server.kill()
                server.start()
                client = server.client()
            assert client.finished(job) == "Completed successfully"
            rows = runs(client, job)
            found.append([variables(run) for run in rows])
            assert [run["id"] for run in rows] == [str(n) for n in range(1, 13)]
            assert sum(run["isOptimal"] for run in rows) == 1
    assert found[0] == found[1]


def test_an_optimisation_that_is_over_goes_on(client: Client) -> None:
    fields = branin(30, settings={"noImprovementRuns": 1})
    fields["includeNominalRun"] = True
    body = study(client, job=fields, slots=2, postProcessScriptCommand=BRANIN)
    job = submitted(client, body)
    assert client.finished(job) == "Completed successfully"
    shown = client.get(f"jobs/{job}/")
    (notice,) = (n for n in shown["notices"] if n["code"] == "study-closed")
    assert "no improvement in the last 1 runs" in notice["message"]
    before = runs(client, job)
    assert shown["expectedRuns"] == len(before)
    assert before[0]["isNominal"] and before[0]["displayOrder"] == 0, "it is shown first"
    assert variables(before[0])["x"] == "2.5"
    for wrong in ({"target": "x"}, {"Target": 1}):
        post(client, f"jobs/{job}/study/points/", {"count": 3, "settings": wrong}, 400)
    post(client, f"jobs/{job}/study/points/", {"count": 3}, 201)
    words = [entry["status"] for entry in client.get(f"jobs/{job}/statuses/")["results"]]
    assert words[0] != "Completed" and words.count("Pending") == 2, "told at once"
    assert job not in [j["id"] for j in client.get("jobs/?state=completed")["results"]]
    assert client.finished(job) == "Completed successfully"
    after = runs(client, job)
    assert [variables(r)["x"] for r in after[: len(before)]] == [variables(r)["x"] for r in before]
    assert sum(run["isOptimal"] for run in after) == 1
    assert client.get(f"jobs/{job}/")["optimizer"]["budget"] == len(before) - 1 + 3


def test_an_optimisation_that_is_under_way_is_given_more_runs(client: Client) -> None:
    body = study(client, "sleep 0.2", job=branin(6), slots=2, postProcessScriptCommand=BRANIN)
    job = submitted(client, body)
    points = f"jobs/{job}/study/points/"
    post(client, points, {"count": 5}, 201)
    shown = client.get(f"jobs/{job}/")
    assert shown["optimizer"]["budget"] == shown["expectedRuns"] == 11
    # What is added by hand is not of the optimizer's.
    post(client, points, {"rows": [{"x": 3, "y": 2}, {"x": -3, "y": 12}]}, 201)
    post(client, f"jobs/{job}/runs/", {"variables": {"x": 9, "y": 2}}, 201)
    shown = client.get(f"jobs/{job}/")
    assert shown["optimizer"]["budget"] == shown["expectedRuns"] == 14
    too_many = post(client, points, {"count": 999_990}, 400)
    assert "at most" in str(too_many["count"])
    assert client.finished(job) == "Completed successfully"
    assert len(runs(client, job)) == 14
    for _ in range(2):
        post(client, points, {"count": 3}, 201)
        assert client.status(job) != "Completed"
    assert client.finished(job) == "Completed successfully"
    shown = client.get(f"jobs/{job}/")
    assert len(runs(client, job)) == shown["optimizer"]["budget"] == shown["expectedRuns"] == 20


def test_an_optimisation_ends_when_it_has_used_its_core_hours(client: Client) -> None:
    fields = branin(30, settings={"maxCoreHours": 1e-4, "maxHours": 5})
    body = study(client, "sleep 0.5", job=fields, slots=2, postProcessScriptCommand=BRANIN)
    job = submitted(client, body)
    assert client.finished(job) == "Completed successfully"
    (notice,) = (n for n in client.get(f"jobs/{job}/")["notices"] if n["code"] == "study-closed")
    assert notice["message"] == "No more runs are made: it has used its 0.0001 core-hours."
    # That are 0.36 s: the first run of half a second is the last but for the one beside it.
    assert 2 <= len(runs(client, job)) <= 4
    fields = branin(30, settings={"maxHours": 0, "maxCoreHours": "all"})
    told = client.call("POST", "jobs/", 400, json=study(client, job=fields)).json()
    assert told["optimizer"] == {
        "settings": {
            "maxCoreHours": ["A valid number is required."],
            "maxHours": ["Ensure this value is greater than 0."],
        }
    }


def test_an_optimisation_that_has_found_nothing_says_so(client: Client) -> None:
    fields = branin(3)
    body = study(client, job=fields, postProcessScriptCommand="printf 'f\\tnan\\n'")
    job = submitted(client, body)
    none = "Completed: there is no best run, since none told a number for f"
    assert client.finished(job) == none
    # Read again with what was missing, it has one.
    extract = f"jobs/{job}/study/extract/"
    post(client, extract, {"postProcessScriptCommand": BRANIN})
    assert client.finished(job) == "Completed successfully"
    limit = {"name": "g", "variableType": "Constraint", "valueGeneratorSettings": {"lower": 1}}
    fields["jobvariables"].append(limit)
    body = study(client, job=fields, postProcessScriptCommand=f"{BRANIN}; printf 'g\\t0\\n'")
    said = client.finished(submitted(client, body))
    assert said.endswith("none has all objectives within the constraints")


def test_once_a_study_is_over_as_many_runs_are_expected_as_there_are(client: Client) -> None:
    fields = branin(30)
    for variable in fields["jobvariables"][:2]:
        variable["valueGeneratorType"] = "FixedRange"
        variable["valueGeneratorSettings"] = {"minvalue": 0, "maxvalue": 1, "increment": 1}
    job = submitted(client, study(client, job=fields, postProcessScriptCommand=BRANIN))
    assert client.get(f"jobs/{job}/")["expectedRuns"] == 30
    assert client.finished(job) == "Completed successfully"
    assert client.get(f"jobs/{job}/")["expectedRuns"] == len(runs(client, job)) == 4
    assert client.get(f"jobs/{job}/study/")["expectedRuns"] == 4
    job = submitted(client, study(client, "sleep 5", job=branin(30), slots=2))
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)
    assert client.get(f"jobs/{job}/")["expectedRuns"] == len(runs(client, job)) == 2
    draft = client.call("POST", f"jobs/{job}/draft/", 201).json()
    assert draft["body"]["optimizer"]["budget"] == 30


def test_relative_values_of_added_rows(client: Client) -> None:
    settings = {"minvalue": 0, "maxvalue": 1, "increment": 1, "relative": "add"}
    body = study(
        client,
        "cat in",
        job=ranged(v=("FixedRange", settings)),
        templates={"in": ("in.template", "v = ${v!12.3}\n")},
    )
    job = submitted(client, body)
    client.finished(job)
    post(client, f"jobs/{job}/study/points/", {"rows": [{"v": "0.5"}]}, 201)
    client.finished(job)
    told = [run["variables"][0] for run in runs(client, job)]
    assert [(v["displayValue"], v["isRelative"]) for v in told] == [
        ("0", True),
        ("1", True),
        ("0.5", True),
    ]
    for number, text in ((2, "v = 13.3"), (3, "v = 12.8")):
        (log,) = client.get(f"jobs/{job}/runs/{number}/files/?search=process_output")["results"]
        assert text in client.call("GET", log["downloadUrl"], 200).text


def test_runs_of_an_optimizer_of_ones_own(client: Client) -> None:
    fields = branin(0)
    fields["optimizer"] = {"method": "external"}
    body = study(client, job=fields, slots=2, postProcessScriptCommand=BRANIN)
    job = submitted(client, body)
    assert client.status(job) == "Pending"
    bad = post(client, f"jobs/{job}/runs/", {"variables": {"x": 1}}, 400)
    assert bad == {"variables": {"y": ["This field is required."]}}
    key = {"Idempotency-Key": "one"}
    one = post(client, f"jobs/{job}/runs/", {"variables": {"x": 3.14159, "y": 2.275}}, 201, **key)
    again = post(client, f"jobs/{job}/runs/", {"variables": {"x": 3.14159, "y": 2.275}}, 201, **key)
    assert one["id"] == again["id"] == "1" and one["type"] == 2
    wait_for(lambda: runs(client, job)[0]["dateCompleted"] is not None, "its end")
    assert client.status(job) == "Executing", "more may come"
    two = post(client, f"jobs/{job}/runs/", {"variables": {"x": 0, "y": 0}, "parent": 1}, 201)
    assert two["parent"] == "1"
    client.call("POST", f"jobs/{job}/finish/", 202)
    client.call("POST", f"jobs/{job}/finish/", 202)
    assert client.finished(job) == "Completed successfully"
    rows = runs(client, job)
    assert [run["isOptimal"] for run in rows] == [True, False]
    post(client, f"jobs/{job}/runs/", {"variables": {"x": 0, "y": 0}}, 409)
    client.call("PATCH", f"jobs/{job}/runs/2/", 400, json={"isOptimal": True})
    assert client.get(f"jobs/{job}/")["expectedRuns"] is None


def test_a_study_that_is_finished_late_ends_too(client: Client) -> None:
    """All that it had is cleared away before anybody says that no more comes."""
    fields = {**branin(0), "optimizer": {"method": "external"}}
    job = submitted(client, study(client, job=fields, postProcessScriptCommand=BRANIN))
    post(client, f"jobs/{job}/runs/", {"variables": {"x": 1, "y": 2}}, 201)
    wait_for(lambda: runs(client, job)[0]["dateCompleted"] is not None, "its end")
    time.sleep(1.5)
    client.call("POST", f"jobs/{job}/finish/", 202)
    assert client.finished(job) == "Completed successfully"
    words = [entry["status"] for entry in client.get(f"jobs/{job}/cluster_statuses/")["results"]]
    assert words[:3] == ["Stopped", "Stopping", "Stop Requested"]


def test_a_stop_while_outputs_are_read_again_loses_nothing(client: Client) -> None:
    rows = "n\n" + "".join(f"{n}\n" for n in range(6))
    job = submitted(
        client, study(client, table=rows, slots=1, postProcessScriptCommand="printf 'a\\t1\\n'")
    )
    client.finished(job)
    before = runs(client, job)
    post(client, f"jobs/{job}/study/extract/", {"postProcessScriptCommand": "sleep 30"})
    client.call("POST", f"jobs/{job}/stop/", 202)
    assert client.finished(job) == "Completed successfully"
    after = runs(client, job)
    for one, other in zip(before, after, strict=True):
        for name in ("variables", "dateStarted", "dateCompleted", "outcome"):
            assert one[name] == other[name], name


def test_what_would_cost_too_much_is_refused(client: Client) -> None:
    one = ("Uniform", {"minvalue": 0, "maxvalue": 1})
    wide = study(client, job=ranged(draws=100_000, **{f"v{n}": one for n in range(900)}))
    said = client.call("POST", "jobs/", 400, json=wide).json()
    assert "90,000,000 values" in str(said) or "90000000 values" in str(said)
    many = branin(10)
    said = client.call("POST", "jobs/", 400, json=study(client, job=many, slots=5000)).json()
    assert "256" in str(said["jobanalyses"][0]["hardware"]["slots"])
    table = "n\n" + "".join(f"{n}\n" for n in range(200))
    job = submitted(client, study(client, table=table, slots=8, job={"isTemplateDryRun": True}))
    client.finished(job)
    said = post(client, f"jobs/{job}/study/rerun/", {"where": "all", "command": "x" * 900_000}, 400)
    assert "script" in said["detail"]


def test_runs_of_interest_are_marked(client: Client) -> None:
    job = submitted(client, study(client, "exit $PARAM_N", table="n\n0\n1\n"))
    client.finished(job)
    marked = client.call("PATCH", f"jobs/{job}/runs/1/", 200, json={"isOptimal": True}).json()
    assert marked["isOptimal"] is True
    client.call("PATCH", f"jobs/{job}/runs/2/", 400, json={"isOptimal": True})
    assert [run["isOptimal"] for run in runs(client, job)] == [True, False]


def test_a_study_of_no_runs_ends_when_it_is_finished_or_stopped(client: Client) -> None:
    fields = {**branin(0), "optimizer": {"method": "external"}}
    for path in ("finish", "stop"):
        job = submitted(client, study(client, job=fields))
        client.call("POST", f"jobs/{job}/{path}/", 202)
        assert "no runs" in client.finished(job)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"optimizer": {"method": "gp"}}, "optimizer"),
        ({"optimizer": {"method": "bo", "budget": 3}}, "optimizer"),
        ({"optimizer": {"analysis": {"code": "dakota"}, "budget": 3}}, "optimizer"),
        ({"jobvariables": []}, "jobvariables"),
        ({"monteCarloIterations": 4}, "monteCarloIterations"),
        ({"optimizer": {"method": "gp", "budget": 3, "settings": {"target": "x"}}}, "optimizer"),
    ],
)
def test_a_bad_optimisation_is_refused(client: Client, changes: dict[str, Any], field: str) -> None:
    body = study(client, job={**branin(5), **changes})
    assert field in client.call("POST", "jobs/", 400, json=body).json()


def test_settings_that_nobody_knows_are_refused(client: Client) -> None:
    fields = branin(5, settings={"noImprovmentRuns": 3, "target": 1})
    goal = {"directon": "maximize", "unit": "N"}
    fields["jobvariables"][-1]["valueGeneratorSettings"] = goal
    limit = {"lower": 0, "uper": 1}
    fields["jobvariables"].append(
        {"name": "g", "variableType": "Constraint", "valueGeneratorSettings": limit}
    )
    said = client.call("POST", "jobs/", 400, json=study(client, job=fields)).json()
    meant = 'There is no setting "noImprovmentRuns" (did you mean noImprovementRuns?).'
    assert said["optimizer"] == {"settings": {"noImprovmentRuns": [meant]}}
    assert said["jobvariables"][2:] == [
        {"valueGeneratorSettings": ['f: there is no setting "directon" (did you mean direction?)']},
        {"valueGeneratorSettings": ['g: there is no setting "uper" (did you mean upper?)']},
    ]
    fields["optimizer"]["settings"] = {"target": 1, "noImprovementRuns": 3}
    goal["direction"], limit["upper"] = goal.pop("directon"), limit.pop("uper")
    assert "target" in str(client.call("POST", "jobs/", 201, json=study(client, job=fields)).json())


def test_two_objectives_need_another_method_and_mark_the_front(client: Client) -> None:
    fields = branin(10)
    goals = [
        {"name": "f", "variableType": "Objective", "valueGeneratorSettings": {}},
        {
            "name": "g",
            "variableType": "Objective",
            "valueGeneratorSettings": {"direction": "maximize"},
        },
    ]
    fields["jobvariables"] = [*fields["jobvariables"][:2], *goals]
    command = "printf 'f\\t%s\\ng\\t%s\\n' $PARAM_X $PARAM_X"
    body = study(client, job=fields, slots=4, postProcessScriptCommand=command)
    said = client.call("POST", "jobs/", 400, json=body).json()
    assert "optuna" in str(said["optimizer"])
    pytest.importorskip("optuna")
    body["optimizer"]["method"] = "optuna"
    job = submitted(client, body)
    assert client.finished(job) == "Completed successfully"
    rows = runs(client, job)
    assert len(rows) == 10
    assert all(run["isOptimal"] for run in rows), "what one gains the other loses"


# --- before it costs anything ---------------------------------------------------------------------


def test_a_preview_executes_nothing(client: Client) -> None:
    content = "a ${x?string('0.00')}\nb ${y}\n"
    body = study(
        client, table="x,y,z\n1,2,3\n4,5,6\n", templates={"d/in": ("in.template", content)}
    )
    job = created(client, body)["id"]
    found = post(client, f"jobs/{job}/template-preview/?run=2")
    (one,) = found["templates"]
    assert (one["processedFilename"], one["text"]) == ("d/in", "a 4.00\nb 5\n")
    assert "-b ${y}" in one["diff"] and "+b 5" in one["diff"]
    assert found["warnings"] == ["No template uses the variable z."]
    assert {v["name"]: v["displayValue"] for v in found["variables"]} == {
        "x": "4",
        "y": "5",
        "z": "6",
    }
    post(client, f"jobs/{job}/template-preview/?run=3", expect=404)
    post(client, f"jobs/{job}/template-preview/?run=x", expect=400)
    assert client.status(job) == ""


def test_an_estimate(client: Client) -> None:
    body = study(client, "sleep 0.2", table="x\n1\n2\n3\n")
    body["jobanalyses"][0]["hardware"]["walltime"] = 2
    first = post(client, "estimates/", body)
    assert (first["runs"], first["cores"], first["basis"]) == (3, 1, "no history")
    assert first["coreHours"] == {"low": 0, "high": 6.0}
    client.finished(submitted(client, body))
    second = post(client, "estimates/", body)
    assert second["basis"] == "your last 3 runs of this command"
    assert 0 < second["coreHours"]["high"] < 0.05
    body["name"] = ""
    assert "name" in post(client, "estimates/", body, 400)
