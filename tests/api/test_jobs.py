"""Jobs over HTTP: what is accepted, what is refused and how (api-v2 reference, 4, 11 and 14)."""

import json
import uuid
from typing import Any

import pytest

from golden import TUTORIAL, same_shape
from harness import Client, RunningServer, definition, pages, wait_for


def refused(client: Client, body: Any) -> Any:
    """What the server says of a job that it must not save."""
    before = client.get("jobs/")["count"]
    reply = client.call("POST", "jobs/", 400, json=body)
    assert client.get("jobs/")["count"] == before
    return reply.json()


# --- what is saved --------------------------------------------------------------------------------


def test_a_draft_is_kept_as_it_was_sent(client: Client) -> None:
    body = definition("cd foil\n./Allrun", env_vars={"A_b": "c d"}, useMpi=True)
    job = client.call("POST", "jobs/", 201, json=body).json()
    same_shape({**TUTORIAL["job"], "jobanalyses": []}, job)
    (analysis,) = job["jobanalyses"]
    assert analysis["command"] == "cd foil\n./Allrun"
    assert analysis["envVars"] == {"A_b": "c d"}
    assert analysis["useMpi"] is True
    assert client.get(f"jobs/{job['id']}/") == job
    assert client.statuses(job["id"]) == []
    assert client.get(f"jobs/{job['id']}/runs/")["count"] == 0
    assert len(job["id"]) == 5 and job["id"].isalpha()


def test_what_real_clients_write(client: Client) -> None:
    """Numbers and booleans as text, objects as "", snake_case, unknown keys, other spellings."""
    file = client.upload("in.txt", b"x")
    body = {
        "name": "Loose",
        "is_low_priority": "true",
        "projectId": "",
        "paramFile": "",
        "optimizer": "",
        "description": "unknown here",
        "jobanalyses": [
            {
                "command": "true",
                "useMPI": True,
                "use_rescale_license": "false",
                "onDemandLicenseSeller": "",
                "analysis": {"code": "user_included", "version": 0},
                "hardware": {
                    "core_type": {"code": "emerald"},
                    "cores_per_slot": "4",
                    "slots": "1",
                    "walltime": "24",
                    "cores": 99,
                },
                "input_files": [{"id": file["id"], "decompress": "false"}],
                "flags": "",
                "preProcessScript": "",
                "env_vars": {"N": 3, "EMPTY": None},
            }
        ],
    }
    job = client.call("POST", "jobs/", 201, json=body).json()
    (analysis,) = job["jobanalyses"]
    assert job["isLowPriority"] is True
    assert analysis["hardware"]["coreType"] == "emerald"
    assert analysis["hardware"]["coresPerSlot"] == 4
    assert analysis["hardware"]["walltime"] == 24
    assert analysis["analysis"]["version"] == "0"
    assert analysis["inputFiles"][0]["id"] == file["id"]
    assert analysis["envVars"] == {"N": "3", "EMPTY": ""}


def test_a_job_can_be_posted_back(client: Client) -> None:
    file = client.upload("in.txt", b"x")
    job = client.create("true", inputs=[file["id"]])
    copy = client.call("POST", "jobs/", 201, json={**job, "clonedFrom": job["id"]}).json()
    assert copy["id"] != job["id"]
    assert copy["jobanalyses"] == job["jobanalyses"]


@pytest.mark.parametrize(("code", "name"), [("emerald", "Emerald"), ("hpc-3", "onyx")])
def test_a_core_type_by_code_or_name(client: Client, code: str, name: str) -> None:
    for written in (code, name, name.upper()):
        job = client.create("true", hardware={"coreType": written})
        assert job["jobanalyses"][0]["hardware"]["coreType"] == written


def test_a_missing_version_is_the_newest(client: Client) -> None:
    job = client.create("true", code="python")
    newest = next(
        a for a in client.get("analyses/?page_size=99")["results"] if a["code"] == "python"
    )["versions"][0]
    assert job["jobanalyses"][0]["analysis"]["version"] == newest["versionCode"]
    assert job["jobanalyses"][0]["analysis"]["versionName"] == newest["version"]


def test_resource_filters(client: Client) -> None:
    three = client.create()["resourceFilters"]
    assert three == TUTORIAL["job"]["resourceFilters"]
    assert client.create(job={"resourceFilters": []})["resourceFilters"] == []
    one = [{"filterType": "Input files", "selector": "Input files", "include": False}]
    kept = client.create(job={"resourceFilters": one})["resourceFilters"]
    assert kept == [{**one[0], "caseSensitive": False}]


def test_notices(client: Client) -> None:
    codes = [
        n["code"]
        for n in client.create("true", cores=8, code="openfoam", version="2.3.0-openmpi")["notices"]
    ]
    assert codes == ["version-near", "cores-shared"]
    (far,) = client.create("true", code="openfoam", version="8.0")["notices"]
    assert far["code"] == "version-far"
    (clamped,) = client.create("true", cores=36)["notices"]
    assert clamped["code"] == "cores-clamped"
    (unknown,) = client.create(job={"resourceFilters": [{"filterType": "x*", "selector": "y"}]})[
        "notices"
    ]
    assert unknown["code"] == "filter-unknown"


# --- what is refused ------------------------------------------------------------------------------


def test_every_wrong_field_is_reported_at_once(client: Client) -> None:
    body = {
        "name": "",
        "isLowPriority": "perhaps",
        "paramFile": {"id": "x"},
        "jobanalyses": [
            definition()["jobanalyses"][0],
            {
                "command": "  ",
                "analysis": {"code": "no-such-solver"},
                "hardware": {"coreType": "unobtainium", "coresPerSlot": "many", "walltime": 0},
                "inputFiles": [{"id": "XXXXXX"}, {}],
                "templateTasks": [{"processedFilename": "x"}],
                "envVars": {"NOT OK": "1"},
            },
            {"analysis": {"code": "openfoam", "version": "11"}, "hardware": {}},
            "no analysis",
        ],
    }
    assert refused(client, body) == {
        "name": ["This field may not be blank."],
        "isLowPriority": ["Must be a valid boolean."],
        "paramFile": {"id": ['Invalid pk "x" - object does not exist.']},
        "jobanalyses": [
            {},
            {
                "command": ["This field may not be blank."],
                "analysis": {"code": ['"no-such-solver" is not an analysis of this site.']},
                "hardware": {
                    "coreType": ['"unobtainium" is not a core type of this site.'],
                    "coresPerSlot": ["A valid integer is required."],
                    "walltime": ["Ensure this value is greater than or equal to 1."],
                },
                "inputFiles": [
                    {"id": ['Invalid pk "XXXXXX" - object does not exist.']},
                    {"id": ["This field is required."]},
                ],
                "templateTasks": [{"templateFile": ["This field is required."]}],
                "envVars": {"NOT OK": ["Not a name that an environment variable can have."]},
            },
            {
                "command": ["This field is required."],
                "analysis": {"version": ["The specified version is not available."]},
                "hardware": {
                    "coreType": ["This field is required."],
                    "coresPerSlot": ["This field is required."],
                },
            },
            ["Invalid data. Expected a dictionary, but got str."],
        ],
    }


def test_an_empty_body(client: Client) -> None:
    required = ["This field is required."]
    assert refused(client, {}) == {"name": required, "jobanalyses": required}
    headers = {"Content-Type": "application/json"}
    client.call("POST", "jobs/", 400, content=b"", headers=headers)


def test_no_analyses(client: Client) -> None:
    expected = {"jobanalyses": {"non_field_errors": ["This list may not be empty."]}}
    assert refused(client, {"name": "x", "jobanalyses": []}) == expected
    kind = refused(client, {"name": "x", "jobanalyses": "str"})
    assert kind == {"jobanalyses": ['Expected a list of items but got type "str".']}
    assert refused(client, {"name": None, "jobanalyses": None}) == {
        "name": ["This field may not be null."],
        "jobanalyses": ["This field may not be null."],
    }


@pytest.mark.parametrize(("cores", "core_type"), [(3, "emerald"), (0, "emerald"), (1, "granite")])
def test_core_counts_that_are_not_offered(client: Client, cores: int, core_type: str) -> None:
    body = definition(hardware={"coreType": core_type, "coresPerSlot": cores})
    hardware = refused(client, body)["jobanalyses"][0]["hardware"]
    assert list(hardware) == ["coresPerSlot"]
    if cores:
        assert "It offers" in hardware["coresPerSlot"][0]


def test_whole_nodes_beyond_the_listed_counts(client: Client) -> None:
    job = client.create("true", hardware={"coreType": "carbon", "coresPerSlot": 88})
    assert job["jobanalyses"][0]["hardware"]["coreSummary"]["numberOfNodes"] == 2


def test_a_walltime_beyond_the_limit(client: Client) -> None:
    errors = refused(client, definition(hardware={"walltime": 49}))
    assert errors["jobanalyses"][0]["hardware"]["walltime"] == [
        "Ensure this value is less than or equal to 48."
    ]


def test_gpus_that_are_not_there(client: Client) -> None:
    errors = refused(client, definition(hardware={"coreType": "obsidian", "coresPerSlot": 2}))
    assert "GPUs" in errors["jobanalyses"][0]["hardware"]["coreType"][0]


def test_somebody_elses_file_is_an_unknown_one(client: Client, stranger: Client) -> None:
    file = stranger.upload("theirs.txt", b"x")
    errors = refused(client, definition(inputs=[file["id"]]))
    expected = [f'Invalid pk "{file["id"]}" - object does not exist.']
    assert errors["jobanalyses"][0]["inputFiles"] == [{"id": expected}]
    errors = refused(client, definition(preProcessScript={"id": file["id"]}))
    assert errors["jobanalyses"][0]["preProcessScript"] == {"id": expected}


def test_the_tutorials_form_encoded_sample_says_what_to_do(client: Client) -> None:
    """The tutorial's Python sample sends `data=` with nested values: a form that lost them."""
    form = {"name": "Basic Job", "jobanalyses": ["useMpi", "command", "analysis"]}
    reply = client.call("POST", "jobs/", 400, data=form)
    assert "Send JSON" in reply.json()["detail"]


@pytest.mark.parametrize("content", [b"{", b"[1,", b"\xff", b"NaN", b"[" * 100_000, b'"\\ud800"'])
def test_a_body_that_is_no_json(client: Client, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    reply = client.call("POST", "jobs/", 400, content=content, headers=headers)
    assert reply.json()["detail"].startswith("JSON parse error - ")


@pytest.mark.parametrize("content", [b"[]", b'"x"', b"5", b"null"])
def test_a_body_that_is_no_object(client: Client, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    reply = client.call("POST", "jobs/", 400, content=content, headers=headers)
    assert reply.json()["detail"].startswith("Invalid data. Expected a dictionary")


def test_other_kinds_of_body(client: Client) -> None:
    headers = {"Content-Type": "text/plain"}
    reply = client.call("POST", "jobs/", 415, content=b"x", headers=headers)
    assert reply.json() == {"detail": 'Unsupported media type "text/plain" in request.'}
    headers = {"Content-Type": "application/json"}
    client.call("POST", "jobs/", 413, content=b" " * (17 << 20), headers=headers)


# --- life -----------------------------------------------------------------------------------------


def test_a_job_is_submitted_once(client: Client) -> None:
    job = client.run()
    for body in ({}, {"waiveSla": True}, None):
        reply = client.call("POST", f"jobs/{job['id']}/submit/", 400, json=body)
        assert "submitted before" in reply.json()["detail"]
    assert client.get(f"jobs/{job['id']}/runs/")["count"] == 1


def test_a_draft_cannot_be_stopped(client: Client) -> None:
    reply = client.call("POST", f"jobs/{client.create()['id']}/stop/", 400)
    assert "never submitted" in reply.json()["detail"]


def test_stopping_what_is_over_does_nothing(client: Client) -> None:
    job = client.run()
    before = client.statuses(job["id"])
    client.call("POST", f"jobs/{job['id']}/stop/", 202, json={"any": "body"})
    assert client.statuses(job["id"]) == before


def test_a_job_whose_input_is_gone_is_not_submitted(client: Client, server: RunningServer) -> None:
    # There is no way yet to delete a file over the API; the database is told so.
    import sqlite3

    file = client.upload("gone.txt", b"x")
    job = client.create("true", inputs=[file["id"]])
    database = sqlite3.connect(server.data / "simyard.db")
    with database:
        database.execute(
            "DELETE FROM job_inputs WHERE file_id = (SELECT id FROM files WHERE code = ?)",
            (file["id"],),
        )
        database.execute("DELETE FROM files WHERE code = ?", (file["id"],))
    database.close()
    reply = client.call("POST", f"jobs/{job['id']}/submit/", 400)
    assert file["id"] in json.dumps(reply.json())
    assert client.statuses(job["id"]) == []


def test_deleting(client: Client) -> None:
    draft = client.create()
    client.call("DELETE", f"jobs/{draft['id']}/", 204)
    client.get(f"jobs/{draft['id']}/", 404)

    job = client.run("echo result > result.txt")
    files = client.get(f"jobs/{job['id']}/files/")["results"]
    count = client.get("files/")["count"]
    client.call("DELETE", f"jobs/{job['id']}/", 204)
    for path in ("", "statuses/", "cluster_statuses/", "runs/", "runs/1/", "files/"):
        client.get(f"jobs/{job['id']}/{path}", 404)
    for file in files:
        client.get(f"files/{file['id']}/", 404)
    assert client.get("files/")["count"] == count - len(files)


def test_a_job_that_executes_cannot_be_deleted(client: Client) -> None:
    job = client.create("sleep 60")
    client.submit(job["id"])
    reply = client.call("DELETE", f"jobs/{job['id']}/", 400)
    assert "not Stopped" in reply.json()["detail"]
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    client.finished(job["id"])
    client.call("DELETE", f"jobs/{job['id']}/", 204)


# --- lists ----------------------------------------------------------------------------------------


def test_the_list_of_jobs(server: RunningServer) -> None:
    client = server.client(server.key(f"{uuid.uuid4().hex}@lab.example"))
    jobs = [client.create()["id"] for _ in range(23)]
    client.submit(jobs[-1])
    client.finished(jobs[-1])
    seen = [job for page in pages(client, "jobs/") for job in page["results"]]
    assert [job["id"] for job in seen] == jobs[::-1]
    assert seen[0]["jobStatus"] == {"content": "Completed", "labelClass": "", "useLabel": False}
    assert seen[0]["clusterStatusDisplay"]["content"] == "Stopped"
    assert seen[1]["jobStatus"]["content"] == seen[1]["clusterStatusDisplay"]["content"] == ""
    assert seen[0]["analysisNames"] == ["Bring Your Own Software"]
    assert set(seen[0]) == {
        "id",
        "name",
        "owner",
        "dateInserted",
        "analysisNames",
        "jobStatus",
        "clusterStatusDisplay",
        "sharedWith",
        "isVisible",
        "storage",
    }
    for job_id in jobs[5:15]:
        client.call("DELETE", f"jobs/{job_id}/", 204)
    left = jobs[:5] + jobs[15:]
    seen = [job for page in pages(client, "jobs/?page_size=4") for job in page["results"]]
    assert [job["id"] for job in seen] == left[::-1]
    assert client.get("jobs/")["count"] == 13


def test_a_job_is_seen_by_its_owner_only(client: Client, stranger: Client) -> None:
    job = client.create()
    for method, path in (
        ("GET", ""),
        ("GET", "statuses/"),
        ("POST", "statuses/"),
        ("GET", "cluster_statuses/"),
        ("GET", "runs/"),
        ("GET", "runs/1/"),
        ("GET", "runs/1/files/"),
        ("GET", "runs/1/directory-contents/"),
        ("GET", "runs/1/tail/process_output.log"),
        ("GET", "runs/1/series/"),
        ("GET", "runs/1/series/data/"),
        ("GET", "files/"),
        ("POST", "submit/"),
        ("POST", "stop/"),
        ("DELETE", ""),
    ):
        reply = stranger.call(method, f"jobs/{job['id']}/{path}", 404)
        assert reply.json() == {"detail": "Not found."}
    assert client.statuses(job["id"]) == []


# --- doing it once --------------------------------------------------------------------------------


def test_the_same_request_twice_makes_one_job(client: Client) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    body = definition()
    first = client.call("POST", "jobs/", 201, json=body, headers=headers)
    again = client.call("POST", "jobs/", 201, json=body, headers=headers)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = client.call("POST", "jobs/", 422, json=definition("false"), headers=headers)
    assert "different request" in other.json()["detail"]
    new = client.call("POST", "jobs/", 201, json=body, headers={"Idempotency-Key": "x"}).json()
    assert new["id"] != first.json()["id"]


def test_the_same_upload_twice_makes_one_file(client: Client, server: RunningServer) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = client.upload("once.txt", b"content", **headers)
    blobs = sorted(path.name for path in (server.data / "blobs").rglob("*") if path.is_file())
    assert client.upload("once.txt", b"content", **headers) == first
    assert blobs == sorted(p.name for p in (server.data / "blobs").rglob("*") if p.is_file())
    files = {"file": ("once.txt", b"other")}
    client.call("POST", "files/contents/", 422, files=files, headers=headers)


def test_keys_are_a_users_own(client: Client, stranger: Client) -> None:
    headers = {"Idempotency-Key": "the same key"}
    mine = client.upload("a.txt", b"x", **headers)
    theirs = stranger.upload("a.txt", b"x", **headers)
    assert mine["id"] != theirs["id"]


def test_a_key_that_is_none(client: Client) -> None:
    for key in ("", "k" * 300):
        client.call("POST", "jobs/", 400, json=definition(), headers={"Idempotency-Key": key})


def test_many_clients_at_once(server: RunningServer) -> None:
    """One submit of many wins, and nothing else happens."""
    from concurrent.futures import ThreadPoolExecutor

    client = server.client()
    job = client.create("echo once")
    with ThreadPoolExecutor(16) as pool:
        replies = list(
            pool.map(lambda _: client.http.post(f"jobs/{job['id']}/submit/").status_code, range(32))
        )
    assert sorted(replies) == [200] + [400] * 31
    client.finished(job["id"])
    assert client.log_of(job["id"]) == "once\n"
    wait_for(lambda: client.get(f"jobs/{job['id']}/runs/")["count"] == 1, "one run")
