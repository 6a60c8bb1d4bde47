"""Drafts of jobs: kept while somebody writes them, checked, and submitted once
(docs/extensions.md).
"""

import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import CONFIG, Client, RunningServer, definition, pages, wait_for
from studying import runs, study, variables

MISSING = """
code = "come_and_go"
name = "Come and go"
version_code = "1"
version_name = "1"
std_command = "true"
[probe]
command = ["%s"]
pattern = "here"
package = "come-and-go"
"""


@pytest.fixture
def ada(server: RunningServer) -> Client:
    """Somebody without a draft."""
    return server.somebody()


def draft(client: Client, body: Any) -> dict[str, Any]:
    return dict(client.call("POST", "drafts/", 201, json=body).json())


def put(client: Client, code: str, body: Any, version: str, expect: int = 200) -> Any:
    headers = {"If-Match": version}
    return client.call("PUT", f"drafts/{code}/", expect, json=body, headers=headers).json()


def checked(client: Client, body: Any) -> dict[str, Any]:
    return dict(client.call("POST", "drafts/validate/", 200, json=body).json())


def problems(said: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Field -> step and message."""
    return {one["field"]: (one["step"], one["message"]) for one in said["problems"]}


def count(client: Client) -> int:
    return int(client.get("jobs/")["count"])


# --- kept -----------------------------------------------------------------------------------------


def test_whatever_somebody_has_written_is_kept(ada: Client) -> None:
    body = {"name": "Half", "mine": {"scroll": [1, 2.5, None]}, "jobanalyses": [{}]}
    reply = ada.call("POST", "drafts/", 201, json=body)
    made = reply.json()
    assert (made["name"], made["version"], made["job"]) == ("Half", 1, None)
    assert made["body"] == body
    assert reply.headers["etag"] == '"1"'
    assert ada.get(f"drafts/{made['id']}/") == made
    assert draft(ada, {})["name"] == ""
    assert draft(ada, {"name": 5})["name"] == ""
    assert draft(ada, {"name": "x" * 999})["name"] == "x" * 255
    assert count(ada) == 0


def test_the_last_changed_comes_first(ada: Client) -> None:
    made = [draft(ada, {"name": f"Draft {n}"})["id"] for n in range(5)]
    put(ada, made[1], {"name": "Again"}, '"1"')
    found = [one for page in pages(ada, "drafts/?page_size=2") for one in page["results"]]
    assert [one["id"] for one in found] == [made[n] for n in (1, 4, 3, 2, 0)]
    assert found[0] == {**found[0], "name": "Again", "version": 2} and "body" not in found[0]
    assert all(a["updatedAt"] >= b["updatedAt"] for a, b in pairwise(found))
    ada.call("GET", "drafts/?page=9", 404)


def test_two_tabs(ada: Client) -> None:
    code = draft(ada, {"name": "A"})["id"]
    first = put(ada, code, {"name": "Left"}, '"1"')
    assert first["version"] == 2
    said = put(ada, code, {"name": "Right"}, '"1"', 412)
    assert said == {"detail": "This draft was changed meanwhile.", "current": first}
    assert ada.get(f"drafts/{code}/") == first
    # Who lost the answer asks again, and nothing is changed.
    assert put(ada, code, {"name": "Left"}, '"1"') == first
    assert put(ada, code, {"name": "Right"}, '"7", W/"2"')["version"] == 3
    assert put(ada, code, {"name": "Mine"}, "*")["version"] == 4
    assert put(ada, code, {"name": "x"}, "nonsense", 412)["current"]["name"] == "Mine"
    said = ada.call("PUT", f"drafts/{code}/", 428, json={"name": "x"}).json()
    assert "If-Match" in said["detail"]


def test_many_tabs_at_the_same_time(ada: Client) -> None:
    code = draft(ada, {"name": "A"})["id"]

    def save(n: int) -> int:
        headers = {"If-Match": '"1"'}
        body = {"name": f"Tab {n}"}
        return ada.http.put(f"drafts/{code}/", json=body, headers=headers).status_code

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(save, range(6)))
    assert sorted(said) == [200, *[412] * 5]
    assert ada.get(f"drafts/{code}/")["name"] == f"Tab {said.index(200)}"


def test_a_draft_that_is_deleted_is_gone(ada: Client) -> None:
    code = draft(ada, {})["id"]
    said = ada.call("DELETE", f"drafts/{code}/", 412, headers={"If-Match": '"2"'}).json()
    assert said["current"]["version"] == 1
    ada.call("DELETE", f"drafts/{code}/", 204)
    for method in ("GET", "DELETE"):
        ada.call(method, f"drafts/{code}/", 404)
    put(ada, code, {}, "*", 404)
    assert ada.get("drafts/")["count"] == 0


def test_somebody_elses_draft_is_not_there(ada: Client, stranger: Client) -> None:
    code = draft(ada, definition())["id"]
    put(stranger, code, {}, "*", 404)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "validate/"), ("POST", "submit/")):
        stranger.call(method, f"drafts/{code}/{path}", 404)
    assert ada.get(f"drafts/{code}/")["version"] == 1


def test_a_lost_reply_makes_no_second_draft(ada: Client) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = ada.call("POST", "drafts/", 201, json={"name": "A"}, headers=headers)
    again = ada.call("POST", "drafts/", 201, json={"name": "A"}, headers=headers)
    assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    ada.call("POST", "drafts/", 422, json={"name": "B"}, headers=headers)
    assert ada.get("drafts/")["count"] == 1


@pytest.mark.parametrize("body", [[], "text", 5, None])
def test_a_draft_is_an_object(ada: Client, body: Any) -> None:
    content = {"content": "null", "headers": {"Content-Type": "application/json"}}
    sent: dict[str, Any] = content if body is None else {"json": body}
    for path in ("drafts/", "drafts/validate/"):
        assert "Expected a dictionary" in ada.call("POST", path, 400, **sent).json()["detail"]


def test_too_much_for_a_draft(ada: Client) -> None:
    large = {"name": "A", "text": "x" * (10 << 20)}
    said = ada.call("POST", "drafts/", 413, json=large).json()
    assert said == {"detail": "A draft has at most 4194304 bytes."}
    code = draft(ada, {})["id"]
    put(ada, code, large, "*", 413)
    nested: Any = {}
    for _ in range(150):
        nested = {"a": nested}
    assert "nested deeper" in ada.call("POST", "drafts/", 400, json=nested).json()["detail"]
    assert ada.get(f"drafts/{code}/")["body"] == {}


def test_drafts_are_not_without_number(server: RunningServer) -> None:
    one = server.somebody()
    code = draft(one, {})["id"]
    server.change_database(
        "INSERT INTO drafts (code, owner_id, name, version, updated_at, size_bytes, body)"
        " WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 999)"
        " SELECT code || value, owner_id, '', 1, updated_at, 2, body"
        f" FROM drafts, n WHERE code = '{code}'"
    )
    said = one.call("POST", "drafts/", 400, json={}).json()
    assert said["detail"].startswith("You have 1000 drafts, and at most 1000 are kept.")
    assert one.get("drafts/?page=100")["count"] == 1000
    put(one, code, {"name": "still"}, "*")
    one.call("DELETE", f"drafts/{code}/", 204)
    draft(one, {})

    other = server.somebody()
    code = draft(other, {})["id"]
    server.change_database(
        f"UPDATE drafts SET size_bytes = {(64 << 20) - 10} WHERE code = '{code}'"
    )
    said = other.call("POST", "drafts/", 400, json={"a": "ten bytes"}).json()
    assert said["detail"].endswith("and at most 67108864 are kept. Delete some.")
    other.call("DELETE", f"drafts/{code}/", 204)
    draft(other, {"a": "ten bytes"})


# --- checked --------------------------------------------------------------------------------------


def test_everything_is_said_at_once(ada: Client) -> None:
    body = {
        "jobanalyses": [
            {
                "analysis": {"code": "no such thing"},
                "hardware": {"coreType": "emerald", "coresPerSlot": "many", "walltime": 99999},
                "inputFiles": [{"id": "Nobody"}],
                "postProcessScript": {"id": "Nobody"},
            }
        ],
        "projectId": "none",
        "tags": [" "],
        "paramFile": {"id": "Nobody"},
    }
    said = checked(ada, body)
    here = problems(said)
    first = "jobanalyses.0."
    assert {field: step for field, (step, _) in here.items()} == {
        "name": "review",
        f"{first}command": "software",
        f"{first}analysis.code": "software",
        f"{first}hardware.coresPerSlot": "hardware",
        f"{first}hardware.walltime": "hardware",
        f"{first}inputFiles.0.id": "inputs",
        f"{first}postProcessScript.id": "post",
        "projectId": "review",
        "tags": "review",
        "paramFile.id": "inputs",
    }
    at = next(one["path"] for one in said["problems"] if "walltime" in one["field"])
    assert at == ["jobanalyses", 0, "hardware", "walltime"]
    # The words are those of a job that is refused, and so is their place.
    body["tags"] = []
    refused = ada.call("POST", "jobs/", 400, json=body).json()
    del said["errors"]["tags"]
    assert said["errors"] == refused
    assert said["estimate"] is None
    assert count(ada) == 0 and ada.get("drafts/")["count"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"jobanalyses": [5]},
        {"jobanalyses": "x"},
        {"jobanalyses": []},
        {"jobanalyses": [{}] * 1001},
        {"jobanalyses": [{"inputFiles": [{"id": "x"}] * 9000}] * 2},
        {"jobvariables": [{"name": "x"}], "design": {"kind": "?"}},
        {"optimizer": {"method": "gp"}},
        {"customFields": {"": 1}},
        {"name": "A", "jobanalyses": [{"hardware": None, "analysis": 7}]},
    ],
)
def test_what_is_refused_as_a_job_has_a_problem(ada: Client, body: dict[str, Any]) -> None:
    refused = ada.call("POST", "jobs/", 400, json=body).json()
    said = checked(ada, body)
    assert said["problems"] and {**said["errors"], **refused} == said["errors"]
    code = draft(ada, body)["id"]
    assert ada.call("POST", f"drafts/{code}/validate/", 200).json() == said
    ada.call("POST", f"drafts/{code}/submit/", 400)
    assert ada.get(f"drafts/{code}/")["job"] is None
    assert count(ada) == 0


def test_a_good_job_has_an_estimate_and_warnings(ada: Client) -> None:
    file = ada.upload("in.txt", b"0123456789")["id"]
    body = definition("true", inputs=[file], cores=8, job={"clusterId": "x"})
    said = checked(ada, body)
    assert (said["errors"], said["problems"]) == ({}, [])
    estimate = said["estimate"]
    assert (estimate["cores"], estimate["clampedFrom"], estimate["runs"]) == (4, 8, 1)
    assert (estimate["diskBytes"], estimate["basis"]) == (10, "no history")
    assert estimate == {
        **ada.call("POST", "estimates/", 200, json=body).json(), "queue": estimate["queue"]
    }  # fmt: skip
    told = [warning["message"] for warning in said["warnings"]]
    assert any("4 cores" in message for message in told)
    assert "clusterId is kept and has no effect here." in told
    # What is not written yet does not keep it from being known how large it is.
    del body["name"], body["jobanalyses"][0]["command"]
    said = checked(ada, body)
    assert set(problems(said)) == {"name", "jobanalyses.0.command"}
    assert said["estimate"]["cores"] == 4


def test_inputs_that_were_deleted(ada: Client) -> None:
    file = ada.upload("in.txt", b"0")["id"]
    code = draft(ada, definition(inputs=[file]))["id"]
    validate = f"drafts/{code}/validate/"
    assert ada.call("POST", validate, 200).json()["problems"] == []
    ada.call("DELETE", f"files/{file}/", 204)
    said = ada.call("POST", validate, 200).json()
    assert problems(said)["jobanalyses.0.inputFiles.0.id"] == (
        "inputs",
        f'Invalid pk "{file}" - object does not exist.',
    )
    refused = ada.call("POST", f"drafts/{code}/submit/", 400).json()
    assert refused == said["errors"]


def test_the_table_and_the_templates_of_a_study(ada: Client) -> None:
    body = study(ada, table="x\n1\n2\n", templates={"in": ("in.template", "a ${x} ${nobody}\n")})
    (found,) = checked(ada, body)["problems"]
    assert found["field"] == "jobanalyses.0.templateTasks.0.templateFile"
    assert found["step"] == "inputs" and "nobody" in found["message"]
    job = ada.call("POST", "jobs/", 201, json=body).json()["id"]
    said = ada.call("POST", f"jobs/{job}/submit/", 400).json()
    assert found["message"] in str(said)
    code = draft(ada, body)["id"]
    refused = ada.call("POST", f"drafts/{code}/submit/", 400).json()
    assert found["message"] in str(refused)
    assert count(ada) == 1
    # Templates of a job that is no study.
    alone = study(ada, templates={"in": ("in.template", "a ${x}\n")})
    assert "x" in checked(ada, alone)["problems"][0]["message"]
    good = study(ada, table="x\n1\n2\n", templates={"in": ("in.template", "a ${x}\n")})
    said = checked(ada, good)
    assert said["problems"] == [] and said["estimate"]["runs"] == 2


def test_quotas_are_asked_without_taking_from_them(fresh: Any) -> None:
    server = fresh(CONFIG + "user_core_hours_per_month = 10\nuser_jobs_running_most = 1\n").start()
    one = server.client()
    large = definition(hardware={"walltime": 11})
    said = checked(one, large)
    (found,) = said["problems"]
    assert (found["path"], found["step"]) == ([], "review")
    job = one.call("POST", "jobs/", 201, json=large).json()["id"]
    refused = one.call("POST", f"jobs/{job}/submit/", 400).json()
    assert refused == said["errors"] == {"detail": found["message"]}
    before = one.get("users/me/")["limits"]
    good = definition("sleep 600", hardware={"walltime": 6})
    said = checked(one, good)
    assert said["problems"] == [] == said["warnings"]
    assert one.get("users/me/")["limits"] == before
    running = one.call("POST", f"drafts/{draft(one, good)['id']}/submit/", 201).json()["id"]
    said = checked(one, definition(hardware={"walltime": 1}))
    assert "jobs run at the same time" in said["warnings"][0]["message"]
    assert checked(one, good)["problems"][0]["message"].startswith("This job may take 6 core-hours")
    one.call("POST", f"jobs/{running}/stop/", 202)
    assert not server.miscounted()


def test_an_analysis_that_was_uninstalled_meanwhile(fresh: Any, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    server = fresh()
    catalogue = server.data / "catalogue"
    catalogue.mkdir(parents=True, exist_ok=True)
    (catalogue / "come.toml").write_text(MISSING % program)
    one = server.start().client()
    code = draft(one, definition(code="come_and_go"))["id"]
    validate, submit = f"drafts/{code}/validate/", f"drafts/{code}/submit/"
    assert one.call("POST", validate, 200).json()["problems"] == []
    server.stop()
    program.unlink()
    (server.data / "probes.json").unlink(missing_ok=True)
    one = server.start().client(one.key)
    (found,) = one.call("POST", validate, 200).json()["problems"]
    assert (found["field"], found["step"]) == ("jobanalyses.0.analysis.code", "software")
    assert "Come and go is not installed on this machine" in found["message"]
    assert "apt install come-and-go" in found["message"]
    assert one.call("POST", submit, 400).json() == {"detail": found["message"]}
    assert count(one) == 0
    assert one.get(f"drafts/{code}/")["job"] is None


# --- submitted ------------------------------------------------------------------------------------


def test_a_draft_becomes_one_job(ada: Client) -> None:
    body = definition("echo $WHO", env_vars={"WHO": "me"}, job={"tags": ["cfd"]})
    body["customFields"] = {"Material": "steel"}
    code = draft(ada, body)["id"]
    submit = f"drafts/{code}/submit/"
    first = ada.call("POST", submit, 201)
    job = first.json()["id"]
    assert first.json() == {"id": job} and "idempotency-replayed" not in first.headers
    again = ada.call("POST", submit, 201)
    assert again.json() == {"id": job} and again.headers["idempotency-replayed"] == "true"
    assert ada.finished(job) == "Completed successfully"
    assert ada.log_of(job).startswith("me\n")
    assert ada.get(f"jobs/{job}/")["tags"] == ["cfd"]
    assert ada.get(f"jobs/{job}/custom-fields/")["Material"]["value"] == "steel"
    assert count(ada) == 1
    # It is out of the list, and stays as it was.
    assert ada.get("drafts/")["count"] == 0
    assert ada.get(f"drafts/{code}/")["job"] == job
    assert job in put(ada, code, {"name": "Late"}, "*", 400)["detail"]
    ada.call("DELETE", f"drafts/{code}/", 204)
    assert ada.get(f"jobs/{job}/")["id"] == job


def test_two_tabs_submit_at_the_same_time(ada: Client) -> None:
    code = draft(ada, definition())["id"]

    def submit(n: int) -> httpx.Response:
        headers = {"Idempotency-Key": f"{code} {n}"} if n % 2 else {}
        return ada.http.post(f"drafts/{code}/submit/", headers=headers)

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(submit, range(6)))
    assert {reply.status_code for reply in said} == {201}
    assert len({reply.json()["id"] for reply in said}) == 1
    assert sum("idempotency-replayed" not in reply.headers for reply in said) == 1
    assert count(ada) == 1


def test_a_key_tells_of_one_draft(ada: Client) -> None:
    first, other = (draft(ada, definition())["id"] for _ in range(2))
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    job = ada.call("POST", f"drafts/{first}/submit/", 201, headers=headers).json()["id"]
    assert ada.call("POST", f"drafts/{first}/submit/", 201, headers=headers).json()["id"] == job
    ada.call("POST", f"drafts/{other}/submit/", 422, headers=headers)
    assert count(ada) == 1


def test_only_what_was_seen_is_submitted(ada: Client) -> None:
    code = draft(ada, definition("true"))["id"]
    put(ada, code, definition("false"), '"1"')
    path = f"drafts/{code}/submit/"
    said = ada.call("POST", path, 412, headers={"If-Match": '"1"'}).json()
    assert said["current"]["version"] == 2
    assert count(ada) == 0
    ada.call("POST", path, 201, headers={"If-Match": '"2"'})
    ada.call("POST", path, 201, headers={"If-Match": '"1"'})
    assert count(ada) == 1


def test_a_study_in_a_project_by_its_name(server: RunningServer, ada: Client) -> None:
    """Its runs are planned before it is known which project the name stands for."""
    admin = server.client((server.data / "admin.key").read_text().strip())
    name = f"Project {uuid.uuid4()}"
    project = admin.call("POST", "projects/", 201, json={"name": name}).json()["id"]
    body = study(ada, "true", table="x\n1\n2\n3\n", job={"projectId": name})
    code = draft(ada, body)["id"]
    job = ada.call("POST", f"drafts/{code}/submit/", 201).json()["id"]
    assert ada.finished(job) == "Completed successfully"
    assert ada.get(f"jobs/{job}/")["projectId"] == project
    assert [variables(run)["x"] for run in runs(ada, job)] == ["1", "2", "3"]


def test_drafts_that_were_submitted_are_forgotten(fresh: Any) -> None:
    server = fresh().start()
    one = server.client()
    used, kept = (draft(one, definition())["id"] for _ in range(2))
    job = one.call("POST", f"drafts/{used}/submit/", 201).json()["id"]
    one.finished(job)
    server.stop()
    server.change_database("UPDATE drafts SET updated_at = 0")
    one = server.start().client(one.key)

    def is_gone() -> bool:
        return bool(one.http.get(f"drafts/{used}/").status_code == 404)

    wait_for(is_gone, "the housekeeping at the start")
    assert one.get(f"drafts/{kept}/")["job"] is None
    assert one.get(f"jobs/{job}/")["id"] == job


# --- out of a job ---------------------------------------------------------------------------------


def test_a_copy_of_a_job_is_the_same_job(ada: Client) -> None:
    script = ada.upload("after.sh", b"cat in\n")["id"]
    file = ada.upload("in.txt", b"0")["id"]
    body = study(
        ada,
        "true",
        table="x\n1\n2\n",
        templates={"in": ("in.template", "a ${x}\n")},
        slots=2,
        inputFiles=[{"id": file, "decompress": False}],
        envVars={"A": "b"},
        postProcessScript={"id": script},
        postProcessScriptCommand="sh after.sh",
        job={"tags": ["cfd"], "includeNominalRun": False, "isLowPriority": True},
    )
    body["jobanalyses"][0]["hardware"]["walltime"] = 2
    job = ada.call("POST", "jobs/", 201, json=body).json()
    ada.call("POST", f"jobs/{job['id']}/custom-fields/", 200, json={"Material": "steel"})
    made = ada.call("POST", f"jobs/{job['id']}/draft/", 201).json()
    assert made["warnings"] == [] and made["version"] == 1
    assert made["body"]["clonedFrom"] == job["id"]
    (analysis,) = made["body"]["jobanalyses"]
    assert analysis["inputFiles"] == [{"id": file, "name": "in.txt", "decompress": False}]
    assert analysis["postProcessScript"] == {"id": script, "name": "after.sh"}
    assert analysis["templateTasks"][0]["templateFile"]["name"] == "in.template"
    assert made["body"]["paramFile"]["name"] == "runs.csv"
    assert ada.call("POST", f"drafts/{made['id']}/validate/", 200).json()["problems"] == []
    again = ada.call("POST", f"drafts/{made['id']}/submit/", 201).json()["id"]
    assert ada.finished(again) == "Completed successfully"
    other = ada.get(f"jobs/{again}/")
    for name in set(job) - {"id", "dateInserted", "clonedFrom"}:
        assert other[name] == job[name], name
    assert other["clonedFrom"] == job["id"]
    assert ada.get(f"jobs/{again}/custom-fields/")["Material"]["value"] == "steel"


def test_a_copy_says_what_was_deleted(ada: Client) -> None:
    kept, lost = (ada.upload(f"{n}.txt", b"%d" % n)["id"] for n in (1, 2))
    job = ada.create("true", inputs=[kept, lost])["id"]
    ada.call("DELETE", f"files/{lost}/", 204)
    made = ada.call("POST", f"jobs/{job}/draft/", 201).json()
    at = ["jobanalyses", 0, "inputFiles", 1, "id"]
    assert made["warnings"] == [{"path": at, "message": "2.txt was deleted."}]
    inputs = made["body"]["jobanalyses"][0]["inputFiles"]
    assert [(one["id"], one["name"]) for one in inputs] == [(kept, "1.txt"), (lost, "2.txt")]
    said = ada.call("POST", f"drafts/{made['id']}/validate/", 200).json()
    assert [one["path"] for one in said["problems"]] == [at]


def test_a_copy_of_what_somebody_shared(server: RunningServer, ada: Client) -> None:
    bob, eve = server.somebody(), server.somebody()
    file = ada.upload("in.txt", b"0")["id"]
    job = ada.create("cat in.txt", inputs=[file], env_vars={"A": "1"})["id"]
    bob.call("POST", f"jobs/{job}/draft/", 404)
    email = bob.get("users/me/")["email"]
    ada.call("POST", f"jobs/{job}/share/", 200, json={"email": email})
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    made = bob.call("POST", f"jobs/{job}/draft/", 201, headers=headers).json()
    again = bob.call("POST", f"jobs/{job}/draft/", 201, headers=headers).json()
    assert again == made and bob.get("drafts/")["count"] == 1
    for other in (ada, eve):
        other.call("GET", f"drafts/{made['id']}/", 404)
    own = bob.call("POST", f"drafts/{made['id']}/submit/", 201).json()["id"]
    assert bob.finished(own) == "Completed successfully"
    ada.call("GET", f"jobs/{own}/", 404)
