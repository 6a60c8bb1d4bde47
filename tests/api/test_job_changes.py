"""Changing drafts, and what is said of jobs: tags, fields, projects (api-v2 reference, 4, 14)."""

import json
import sqlite3
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import CONFIG, Client, RunningServer, definition, pages, wait_for

SAMPLES = Path(__file__).parents[1] / "wire" / "samples"
REQUIRED = ["This field is required."]
# What the server sets by itself: nobody can send it.
READ_ONLY = ("id", "dateInserted")


def without(job: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in names}


def holds(sent: Any, reply: Any, at: str = "reply") -> None:
    """All that was sent stands in the reply as it was sent, at the same place."""
    if isinstance(sent, dict):
        for name, value in sent.items():
            assert name in reply, f"{at} has no {name}"
            holds(value, reply[name], f"{at}.{name}")
    elif isinstance(sent, list):
        assert len(sent) == len(reply), at
        for i, value in enumerate(sent):
            holds(value, reply[i], f"{at}[{i}]")
    else:
        assert reply == sent, f"{at}: {reply!r}"


@pytest.fixture(scope="module")
def admin(server: RunningServer) -> Client:
    return server.client((server.data / "admin.key").read_text().strip())


@pytest.fixture(scope="module")
def wing(admin: Client) -> dict[str, Any]:
    """A project of the installation."""
    body = {"name": f"Wing {uuid.uuid4().hex}", "externalId": uuid.uuid4().hex}
    return dict(admin.call("POST", "projects/", 201, json=body).json())


def patch(client: Client, job: dict[str, Any], body: Any) -> Any:
    after = client.call("PATCH", f"jobs/{job['id']}/", 200, json=body).json()
    assert client.get(f"jobs/{job['id']}/") == after
    return after


# --- PATCH and PUT --------------------------------------------------------------------------------

ONE = {**definition("echo other")["jobanalyses"][0], "useMpi": True}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({}, {}),
        ({"name": "Renamed"}, {"name": "Renamed"}),
        ({"isLowPriority": True}, {"isLowPriority": True}),
        ({"is_low_priority": "true"}, {"isLowPriority": True}),
        ({"description": "why"}, {"description": "why"}),
        ({"billing_priority_value": "INSTANT"}, {"billingPriorityValue": "INSTANT"}),
        ({"resourceFilters": []}, {"resourceFilters": []}),
        ({"resource_filters": []}, {"resourceFilters": []}),
        ({"projectId": None}, {"projectId": None}),
        ({"project_id": ""}, {"projectId": None}),
        ({"archive_filters": [{"a": 1}]}, {"archiveFilters": [{"a": 1}]}),
        ({"customFields": {"a": 1}}, {}),
        ({"remoteVizConfig": {"code": "x"}}, {"remoteVizConfig": {"code": "x"}}),
        ({"unknown": 1, "jobAnalyses": [], "useMPI": True}, {}),
        (
            {"id": "XXXXX", "owner": "eve@lab.example", "dateInserted": None, "notices": []}
            | {"expectedRuns": 7, "sharedWith": ["eve@lab.example"], "jobStatus": "Completed"},
            {},
        ),
    ],
)
def test_a_patch_changes_what_is_sent_and_nothing_else(
    client: Client, sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    file = client.upload("in.txt", b"x")
    inputs = [{"id": file["id"], "decompress": False}]
    job = client.create(
        "echo one",
        inputFiles=inputs,
        envVars={"A_b": "c"},
        flags={"igCv": True},
        job={"description": "before", "tags": ["cfd"], "sshPort": 22},
    )
    after = patch(client, job, sent)
    assert without(after, "notices") == without({**job, **shown}, "notices")
    assert "remoteVizConfig" not in sent or [n["code"] for n in after["notices"]] == [
        "field-without-effect"
    ]


def test_analyses_are_replaced_as_a_whole(client: Client) -> None:
    file = client.upload("in.txt", b"x" * 10)
    job = client.create("echo one", inputs=[file["id"]], code="python")
    assert client.get("jobs/")["results"][0]["storage"] == 10
    after = patch(client, job, {"jobanalyses": [ONE, {**ONE, "command": "echo two"}]})
    assert [a["command"] for a in after["jobanalyses"]] == ["echo other", "echo two"]
    assert [a["inputFiles"] for a in after["jobanalyses"]] == [[], []]
    assert after["jobanalyses"][0]["useMpi"] is True
    summary = client.get("jobs/")["results"][0]
    assert summary["analysisNames"] == ["Bring Your Own Software"] * 2
    assert summary["storage"] == 0
    client.submit(job["id"])
    client.finished(job["id"])
    assert client.log_of(job["id"]) == "other\ntwo\n"


def test_a_patch_leaves_the_newest_version_the_newest(
    client: Client, server: RunningServer
) -> None:
    """A job without a version runs what is newest when it is submitted, renamed or not."""
    job = client.create("true", code="python")
    patch(client, job, {"name": "Renamed"})
    with closing(sqlite3.connect(server.data / "simyard.db", timeout=20)) as database:
        query = "SELECT definition FROM jobs WHERE code = ?"
        (kept,) = database.execute(query, (job["id"],)).fetchone()
    assert json.loads(kept)["analyses"][0]["version"] is None


def test_decompress_survives_every_change(client: Client) -> None:
    """It is told in the reply, or a client that sends back what it got would lose it."""
    content = b"PK\x05\x06" + bytes(18)
    file = client.upload("empty.zip", content)
    sent = [{"id": file["id"], "decompress": False}, {"id": client.upload("b.txt", b"b")["id"]}]
    job = client.create("true", inputFiles=sent)

    def shown(of: dict[str, Any]) -> list[bool]:
        return [input_["decompress"] for input_ in of["jobanalyses"][0]["inputFiles"]]

    assert shown(job) == [False, True]
    assert shown(patch(client, job, {"name": "Renamed"})) == [False, True]
    assert shown(patch(client, job, client.get(f"jobs/{job['id']}/"))) == [False, True]
    copy = client.call("POST", "jobs/", 201, json=client.get(f"jobs/{job['id']}/")).json()
    assert shown(copy) == [False, True]


def test_a_whole_job_is_taken_as_it_was_given(client: Client, wing: dict[str, Any]) -> None:
    """By PATCH, PUT, and as a new job, in both versions."""
    file, script = client.upload("in.txt", b"x"), client.upload("pre.sh", b"true")
    job = client.create(
        "cat in.txt",
        inputFiles=[{"id": file["id"], "decompress": False}],
        preProcessScript={"id": script["id"]},
        postProcessScriptCommand="echo post",
        env_vars={"N": "1"},
        flags={"igCv": True, "own": {"deep": [1]}},
        hardware={"walltime": 2, "slots": 3, "type": "interactive", "isReusable": True},
        job={"tags": ["CFD", "wing 3"], "projectId": wing["id"], "clonedFrom": "XXXXX"},
    )
    place = f"jobs/{job['id']}/"
    for path in (place, f"/api/v3/{place}"):
        whole = client.get(path)
        for method in ("PATCH", "PUT"):
            assert client.call(method, path, 200, json=whole).json() == whole
            client.call(method, place, 200, json=whole)
        assert client.get(place) == job
        copy = client.call("POST", path.removesuffix(f"{job['id']}/"), 201, json=whole).json()
        assert copy["id"] != job["id"]
        assert without(copy, *READ_ONLY) == without(whole, *READ_ONLY)


def test_put_needs_the_whole(client: Client) -> None:
    job = client.create("echo one", job={"description": "before", "tags": ["cfd"]})
    place = f"jobs/{job['id']}/"
    assert client.call("PUT", place, 400, json={"name": "x"}).json() == {"jobanalyses": REQUIRED}
    assert client.call("PUT", place, 400, json={}).json() == {
        "name": REQUIRED,
        "jobanalyses": REQUIRED,
    }
    assert client.get(place) == job
    after = client.call("PUT", place.rstrip("/"), 200, json=definition("echo two")).json()
    assert after["description"] == "", "what is not sent is as in a new job"
    assert after["jobanalyses"][0]["command"] == "echo two"
    assert after["tags"] == ["cfd"], "but for what is said beside the definition"
    assert (after["id"], after["dateInserted"]) == (job["id"], job["dateInserted"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"name": ""}, {"name": ["This field may not be blank."]}),
        ({"name": None}, {"name": ["This field may not be null."]}),
        ({"name": "n" * 256}, {"name": ["Ensure this field has no more than 255 characters."]}),
        ({"isLowPriority": "perhaps"}, {"isLowPriority": ["Must be a valid boolean."]}),
        ({"ssh_port": "x"}, {"sshPort": ["A valid integer is required."]}),
        (
            {"paramFile": {"id": "XXXXXX"}},
            {"paramFile": {"id": ['Invalid pk "XXXXXX" - object does not exist.']}},
        ),
        (
            {"jobanalyses": []},
            {"jobanalyses": {"non_field_errors": ["This list may not be empty."]}},
        ),
        (
            {"jobanalyses": [ONE, {**ONE, "inputFiles": [{"id": "XXXXXX"}]}]},
            {
                "jobanalyses": [
                    {},
                    {"inputFiles": [{"id": ['Invalid pk "XXXXXX" - object does not exist.']}]},
                ]
            },
        ),
        (
            {"jobanalyses": [{**ONE, "hardware": {"coreType": "emerald", "coresPerSlot": "x"}}]},
            {"jobanalyses": [{"hardware": {"coresPerSlot": ["A valid integer is required."]}}]},
        ),
        (
            {"jobanalyses": [{**ONE, "command": " "}]},
            {"jobanalyses": [{"command": ["This field may not be blank."]}]},
        ),
        (
            {"projectId": "no such"},
            {"projectId": ['Invalid pk "no such" - object does not exist.']},
        ),
        ({"tags": "cfd"}, {"tags": ['Expected a list of items but got type "str".']}),
        ({"tags": [" "]}, {"tags": ["This field may not be blank."]}),
        (
            {"userTags": ["t" * 101]},
            {"tags": ["Ensure this field has no more than 100 characters."]},
        ),
        (
            {"customFields": {"n" * 256: 1}},
            {"customFields": {"n" * 256: ["A custom field has a name of 1 to 255 characters."]}},
        ),
        ([], {"detail": "Invalid data. Expected a dictionary, but got list."}),
    ],
)
def test_what_a_draft_cannot_become(client: Client, body: Any, told: Any) -> None:
    job = client.create("echo one", job={"tags": ["cfd"]})
    assert client.call("PATCH", f"jobs/{job['id']}/", 400, json=body).json() == told
    whole = {**definition("echo one"), **body} if isinstance(body, dict) else body
    assert client.call("PUT", f"jobs/{job['id']}/", 400, json=whole).json() == told
    assert client.call("POST", "jobs/", 400, json=whole).json() == told
    assert client.get(f"jobs/{job['id']}/") == job


def test_what_was_submitted_stays_as_it_is(client: Client) -> None:
    job = client.create("sleep 60", job={"tags": ["cfd"]})
    client.submit(job["id"])
    before = client.get(f"jobs/{job['id']}/")

    def refuse() -> None:
        for method, body in (("PATCH", {"name": "x", "tags": ["x"]}), ("PUT", definition())):
            reply = client.call(method, f"jobs/{job['id']}/", 400, json=body)
            assert reply.json() == {
                "detail": "This job was submitted; only a draft can be changed."
            }

    refuse()
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    client.finished(job["id"])
    refuse()
    assert client.get(f"jobs/{job['id']}/") == before


def test_somebody_elses_job_is_not_changed(
    client: Client, server: RunningServer, stranger: Client
) -> None:
    job = client.create()
    reader = server.somebody("reader")
    email = reader.get("users/me/")["email"]
    client.call("POST", f"jobs/{job['id']}/share/", 200, json={"email": email})
    for method in ("PATCH", "PUT"):
        reader.call(method, f"jobs/{job['id']}/", 403, json=definition("false"))
        stranger.call(method, f"jobs/{job['id']}/", 404, json=definition("false"))
        client.call(method, "jobs/XXXXX/", 404, json=definition("false"))
    assert client.get(f"jobs/{job['id']}/") == {**job, "sharedWith": [email]}


def test_two_who_change_a_draft_at_once(client: Client, server: RunningServer) -> None:
    """Whoever is told that his change was made finds it there; the other is told to try again."""
    job = client.create()
    again = "The job was changed by another request meanwhile. Send the change again."

    def change(field: str) -> int:
        mine, tries = server.client(client.key), 0
        for n in range(25):
            while True:
                tries += 1
                reply = mine.http.patch(f"jobs/{job['id']}/", json={field: f"{field} {n}"})
                if reply.status_code == 200:
                    break
                assert (reply.status_code, reply.json()) == (400, {"detail": again})
            assert reply.json()[field] == f"{field} {n}"
            assert mine.get(f"jobs/{job['id']}/")[field] == f"{field} {n}"
        return tries

    with ThreadPoolExecutor(3) as pool:
        tries = list(pool.map(change, ("name", "description", "publicKey")))
    after = client.get(f"jobs/{job['id']}/")
    assert after["name"] == "name 24"
    assert after["description"] == "description 24"
    assert after["publicKey"] == "publicKey 24"
    assert sum(tries) > 75, "nobody came in between: this test has shown nothing"


# --- what a job may ask for -----------------------------------------------------------------------


def test_every_field_of_todays_clients_is_shown_as_it_was_sent(
    client: Client, wing: dict[str, Any]
) -> None:
    """The one of `api-samples` with all of them."""
    sent = json.loads((SAMPLES / "job_create_request_modern_all_fields.json").read_text())
    sent["projectId"] = wing["id"]
    (analysis,) = sent["jobanalyses"]
    analysis["analysis"]["version"] = "2.3.0-openmpi"  # one that runs here
    analysis["inputFiles"][0]["id"] = client.upload("cavity.zip", b"x")["id"]
    job = client.call("POST", "jobs/", 201, json=sent).json()
    holds(sent, job)
    assert job["userTags"] == ["cfd"]
    holds(sent, patch(client, job, {"name": sent["name"]}))
    in_v3 = client.get(f"/api/v3/jobs/{job['id']}/")
    code = analysis["hardware"].pop("coreType")
    holds(sent, in_v3)
    assert in_v3["jobanalyses"][0]["hardware"]["coreType"] == {"code": code, "name": "Marble"}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"useRescaleLicense": "true"}, {"useRescaleLicense": True}),
        ({"onDemandLicenseSeller": ""}, {"onDemandLicenseSeller": None}),
        (
            {"on_demand_license_seller": {"code": "rescale-ansys", "name": "ANSYS"}},
            {"onDemandLicenseSeller": {"code": "rescale-ansys", "name": "ANSYS"}},
        ),
        ({"userDefinedLicenseSettings": None}, {"userDefinedLicenseSettings": None}),
        ({"licenseSettings": [{"name": "A_b"}]}, {"licenseSettings": [{"name": "A_b"}]}),
        ({"stopCommandTimeout": "60"}, {"stopCommandTimeout": 60}),
        ({"order": 3, "useSharedStorage": True}, {"order": 3, "useSharedStorage": True}),
        ({"flags": {"run_forever": True}}, {"flags": {"run_forever": True}}),
        ({"envVars": {"snake_case": 1, "B": None}}, {"envVars": {"snake_case": "1", "B": ""}}),
        ({"hardware": {"coreType": {"code": "emerald"}, "coresPerSlot": 1}}, {}),
        ({"hardware": {"core_type": "Emerald", "cores_per_slot": "1"}}, {}),
    ],
)
def test_settings_of_an_analysis(
    client: Client, sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    job = client.call("POST", "jobs/", 201, json=definition("true", **sent)).json()
    holds(shown, job["jobanalyses"][0])
    assert job["jobanalyses"][0]["hardware"]["coreType"].lower() == "emerald"


def test_idle_commands(client: Client) -> None:
    job = client.create("echo one")
    idle = [{**job["jobanalyses"][0], "command": command} for command in ("# ", "#", ":")]
    last = {**job["jobanalyses"][0], "command": "echo five"}
    patch(client, job, {"jobanalyses": [*job["jobanalyses"], *idle, last]})
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    assert client.log_of(job["id"]) == "one\nfive\n"


def test_an_interactive_job_needs_no_command(client: Client) -> None:
    hardware = {"type": "interactive"}
    job = client.create("", hardware=hardware)
    assert job["jobanalyses"][0]["command"] == ""
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    body = definition("", hardware=hardware)
    del body["jobanalyses"][0]["command"]
    told = client.call("POST", "jobs/", 400, json=body).json()
    assert told == {"jobanalyses": [{"command": REQUIRED}]}


@pytest.mark.parametrize(
    ("name", "asks", "does_not"),
    [
        ("archiveFilters", [{"x": 1}], []),
        ("autoTerminateCluster", False, True),
        ("cidrRule", "192.0.2.0/24", ""),
        ("clusterId", "cLstRa", ""),
        ("jobAutomations", [{"automation": {"id": "a"}, "environmentVariables": {}}], []),
        ("publicKey", "ssh-ed25519 AAAA", None),
        ("remoteVizConfig", {"code": "x"}, ""),
        ("inputFolders", [{"id": "f"}], []),
        ("isCustomDoe", True, False),
        ("setupCommand", "true", ""),
        ("shouldRunForever", True, False),
        ("stopCommand", "true", ""),
    ],
)
def test_what_has_no_effect_is_said(client: Client, name: str, asks: Any, does_not: Any) -> None:
    of_job = name in client.create()
    for value, notices in ((does_not, []), (asks, [f"{name} is kept and has no effect here."])):
        sent = {name: value}
        job = client.create(**({"job": sent} if of_job else sent))
        assert [n["message"] for n in job["notices"]] == notices
        assert value in ("", None) or (job if of_job else job["jobanalyses"][0])[name] == value


def test_where_a_copy_comes_from(client: Client) -> None:
    job = client.create(job={"clonedFrom": "QTVia"})
    assert job["clonedFrom"] == "QTVia"
    assert client.create()["clonedFrom"] is None


# --- deleting with inputs -------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["True", "true", "1"])
def test_inputs_go_with_the_job_that_alone_has_them(server: RunningServer, value: str) -> None:
    client, other = server.somebody(), server.somebody()
    made = client.run("echo made > made.txt")
    (output,) = client.get(f"jobs/{made['id']}/files/?search=made.txt")["results"]
    names = ["mine", "script", "elsewhere", "theirs"]
    mine, script, elsewhere = (client.upload(name, b"x")["id"] for name in names[:3])
    theirs = other.upload(names[3], b"x")["id"]
    shared = other.create(inputs=[theirs])["id"]
    body = {"email": client.get("users/me/")["email"]}
    other.call("POST", f"jobs/{shared}/share/", 200, json=body)
    keeper = client.create(inputs=[elsewhere])
    inputs = [mine, elsewhere, theirs, output["id"]]
    job = client.create(inputs=inputs, preProcessScript={"id": script})
    storage = client.get("jobs/?search=")["results"][-1]["storage"]
    count = client.get("files/")["count"]

    client.call("DELETE", f"jobs/{job['id']}/?deleteInputFiles={value}", 204)
    for gone in (mine, script):
        client.get(f"files/{gone}/", 404)
    assert client.get("files/")["count"] == count - 2
    for kept in (elsewhere, output["id"]):
        assert client.call("GET", f"files/{kept}/contents/", 200).content
    other.get(f"files/{theirs}/")
    assert not keeper["jobanalyses"][0]["inputFiles"][0]["isDeleted"]
    # An output belongs to the job that made it.
    listed = client.get("jobs/?search=")["results"][-1]
    assert (listed["id"], listed["storage"]) == (made["id"], storage)
    assert client.get(f"jobs/{made['id']}/runs/1/")["outputFileCount"] == 2


@pytest.mark.parametrize("query", ["", "?deleteInputFiles=False", "?deleteInputFiles="])
def test_inputs_stay_where_nobody_wants_them_gone(client: Client, query: str) -> None:
    file = client.upload("in.txt", b"x")["id"]
    client.call("DELETE", f"jobs/{client.create(inputs=[file])['id']}/{query}", 204)
    client.get(f"files/{file}/")


# --- tags -----------------------------------------------------------------------------------------


def names(tags: list[dict[str, str]]) -> list[str]:
    return [tag["name"] for tag in tags]


def test_tags_of_a_new_job(client: Client) -> None:
    """As texts or objects, under both names; of equal ones the first."""
    sent = {"tags": ["Wing  3 ", {"name": "CFD"}, "cfd", 7], "userTags": ["cfd", "Ünit"]}
    job = client.create(job=sent)
    assert job["tags"] == job["userTags"] == ["7", "CFD", "Wing 3", "Ünit"]
    assert client.get(f"jobs/{job['id']}/") == job
    assert client.get(f"jobs/{job['id']}/tags/") == [
        {"name": "7", "normalizedName": "7"},
        {"name": "CFD", "normalizedName": "cfd"},
        {"name": "Wing 3", "normalizedName": "wing 3"},
        {"name": "Ünit", "normalizedName": "ünit"},
    ]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_tags_one_by_one(client: Client, version: str) -> None:
    job = client.create()
    tags = f"/api/{version}/jobs/{job['id']}/tags/"
    added = client.call("POST", tags, 201, json={"name": " Wing  3"}).json()
    assert added == {"name": "Wing 3", "normalizedName": "wing 3"}
    again = client.call("POST", tags, 201, json={"name": "WING 3"}).json()
    assert again == added, "the reply is what the list shows"
    client.call("POST", tags, 201, json={"name": "cfd"})
    assert names(client.get(tags)) == ["cfd", "Wing 3"]
    assert client.get(f"jobs/{job['id']}/")["tags"] == ["cfd", "Wing 3"]
    for _ in range(2):
        client.call("DELETE", tags, 204, json={"name": "wing 3 "})
    assert names(client.get(tags)) == ["cfd"]


def test_tags_may_change_after_the_submit(client: Client) -> None:
    job = client.run(job={"tags": ["a"]})
    client.call("POST", f"jobs/{job['id']}/tags/", 201, json={"name": "b"})
    client.call("DELETE", f"jobs/{job['id']}/tags/", 204, json={"name": "a"})
    assert names(client.get(f"jobs/{job['id']}/tags/")) == ["b"]


def test_tags_in_a_patch(client: Client) -> None:
    job = client.create(job={"tags": ["a", "b"]})
    assert patch(client, job, {"name": "x"})["tags"] == ["a", "b"]
    assert patch(client, job, {"userTags": ["b", "c"]})["tags"] == ["b", "c"]
    # A client that sends all of a job changes one of the two names for them.
    whole = client.get(f"jobs/{job['id']}/")
    assert patch(client, job, {**whole, "tags": ["c"]})["tags"] == ["c"]
    whole = client.get(f"jobs/{job['id']}/")
    assert patch(client, job, {**whole, "userTags": ["d"]})["tags"] == ["d"]
    assert patch(client, job, {"tags": []})["tags"] == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, REQUIRED),
        ({"name": ""}, ["This field may not be blank."]),
        ({"name": " \n"}, ["This field may not be blank."]),
        ({"name": None}, ["This field may not be null."]),
        ({"name": ["a"]}, ["Not a valid string."]),
        ({"name": "t" * 101}, ["Ensure this field has no more than 100 characters."]),
    ],
)
def test_what_is_no_tag(client: Client, body: Any, told: list[str]) -> None:
    tags = f"jobs/{client.create()['id']}/tags/"
    for method in ("POST", "DELETE"):
        assert client.call(method, tags, 400, json=body).json() == {"name": told}
    assert client.get(tags) == []
    client.call("POST", tags, 201, json={"name": "t" * 100})


def test_too_many_tags(client: Client) -> None:
    many = [str(n) for n in range(200)]
    job = client.create(job={"tags": many})
    told = {"tags": ["Ensure this field has no more than 200 elements."]}
    reply = client.call("POST", f"jobs/{job['id']}/tags/", 400, json={"name": "one more"})
    assert reply.json() == told
    sent = definition(job={"tags": [*many, "one more"]})
    assert client.call("POST", "jobs/", 400, json=sent).json() == told
    client.call("POST", f"jobs/{job['id']}/tags/", 201, json={"name": "199"})
    client.call("DELETE", f"jobs/{job['id']}/tags/", 204, json={"name": "not there"})


# --- custom fields --------------------------------------------------------------------------------

VALUES = ["steel", "", 7, -0.5, True, False, [], [1, [None]], {}, {"a_b": {"c": None}}]


def test_custom_fields_hold_any_json(client: Client) -> None:
    job = client.create()
    fields = f"jobs/{job['id']}/custom-fields/"
    assert client.get(fields) == {}
    sent = {f"Field {n}": value for n, value in enumerate(VALUES)}
    shown = {name: {"meta": {"name": name}, "value": value} for name, value in sent.items()}
    assert client.call("POST", fields, 200, json=sent).json() == shown
    assert client.get(fields) == shown
    assert client.get(f"/api/v3/jobs/{job['id']}/")["customFields"] == sent
    # Others stay, null takes one away, here or not.
    body = {"Field 0": "brass", "Field 1": None, "absent": None}
    after = client.call("POST", fields, 200, json=body).json()
    del shown["Field 1"]
    assert after == {**shown, "Field 0": {"meta": {"name": "Field 0"}, "value": "brass"}}


def test_custom_fields_of_a_new_job(client: Client) -> None:
    for path in ("jobs/", "/api/v3/jobs/"):
        body = definition(job={"customFields": {"Material": "steel", "none": None}})
        job = client.call("POST", path, 201, json=body).json()
        assert client.get(f"/api/v3/jobs/{job['id']}/")["customFields"] == {"Material": "steel"}
        client.call("PATCH", f"jobs/{job['id']}/", 200, json={"custom_fields": {"Load": 5}})
        found = client.get(f"jobs/{job['id']}/custom-fields/")
        assert {name: field["value"] for name, field in found.items()} == {
            "Load": 5,
            "Material": "steel",
        }


@pytest.mark.parametrize("body", [[], "x", 5, [{"name": "a"}]])
def test_custom_fields_that_are_no_object(client: Client, body: Any) -> None:
    fields = f"jobs/{client.create()['id']}/custom-fields/"
    told = client.call("POST", fields, 400, json=body).json()
    assert told == {"detail": "Invalid data. Expected a dictionary of names and values."}


def test_names_and_number_of_custom_fields(client: Client) -> None:
    fields = f"jobs/{client.create()['id']}/custom-fields/"
    length = ["A custom field has a name of 1 to 255 characters."]
    for name in ("", " ", "n" * 256):
        assert client.call("POST", fields, 400, json={name: 1}).json() == {name: length}
    client.call("POST", fields, 200, json={f"f{n}": n for n in range(199)})
    client.call("POST", fields, 200, json={"f0": "changed", "f199": 199})
    told = {"detail": "A job has at most 200 custom fields."}
    for more in ({"f200": 1}, {f"g{n}": n for n in range(201)}):
        assert client.call("POST", fields, 400, json=more).json() == told
    client.call("POST", fields, 200, json={"f0": None, "f200": 1})
    assert len(client.get(fields)) == 200


# --- projects -------------------------------------------------------------------------------------


def test_a_project_by_id_by_its_own_id_or_by_name(client: Client, wing: dict[str, Any]) -> None:
    for text in (wing["id"], wing["externalId"], wing["name"]):
        for spelling in ("projectId", "project_id"):
            assert client.create(job={spelling: text})["projectId"] == wing["id"]
    listed = [p for page in pages(client, "users/me/projects/") for p in page["results"]]
    assert wing in listed


def test_a_closed_project_takes_no_more_jobs(
    client: Client, admin: Client, wing: dict[str, Any]
) -> None:
    name = f"Fin {uuid.uuid4().hex}"
    fin = admin.call("POST", "projects/", 201, json={"name": name}).json()
    job = client.create(job={"projectId": fin["id"]})
    closed = admin.call("PATCH", f"projects/{fin['id']}/", 200, json={"isOpen": False}).json()
    assert closed == {**fin, "isOpen": False}
    told = {"projectId": [f"The project {name} is closed."]}
    sent = definition(job={"projectId": name})
    assert client.call("POST", "jobs/", 400, json=sent).json() == told
    place = f"organizations/simyard/jobs/{job['id']}/project-assignment/"
    assert client.call("POST", place, 400, json={"projectId": fin["id"]}).json() == told
    listed = [p["id"] for page in pages(client, "users/me/projects/") for p in page["results"]]
    assert fin["id"] not in listed and wing["id"] in listed
    every = [p["id"] for page in pages(client, "projects/") for p in page["results"]]
    assert {fin["id"], wing["id"]} <= set(every)
    assert client.get(f"jobs/{job['id']}/")["projectId"] == fin["id"], "it keeps those it has"
    admin.call("PATCH", f"projects/{fin['id']}/", 200, json={"isOpen": True})
    client.create(job={"projectId": name})


def test_booking_a_job_on_a_project(client: Client, wing: dict[str, Any]) -> None:
    job = client.run()
    place = f"organizations/simyard/jobs/{job['id']}/project-assignment/"
    for sent in ({"projectId": wing["externalId"]}, {"project_id": wing["name"]}):
        assert client.call("POST", place, 200, json=sent).json() == {"projectId": wing["id"]}
    after = client.get(f"jobs/{job['id']}/")
    assert without(after, "projectId") == without(job, "projectId")
    assert after["projectId"] == wing["id"]
    unknown = ['Invalid pk "no such" - object does not exist.']
    for body, told in (({}, REQUIRED), ({"projectId": "no such"}, unknown)):
        assert client.call("POST", place, 400, json=body).json() == {"projectId": told}
    assert client.get(f"jobs/{job['id']}/")["projectId"] == wing["id"]
    for nothing in (None, ""):
        client.call("POST", place, 200, json={"projectId": wing["id"]})
        reply = client.call("POST", place, 200, json={"projectId": nothing})
        assert reply.json() == {"projectId": None}
        assert client.get(f"jobs/{job['id']}/")["projectId"] is None
    elsewhere = place.replace("simyard", "elsewhere")
    client.call("POST", elsewhere, 404, json={"projectId": wing["id"]})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, {"name": REQUIRED}),
        ({"name": " "}, {"name": ["This field may not be blank."]}),
        ({"name": "n" * 256}, {"name": ["Ensure this field has no more than 255 characters."]}),
        (
            {"name": "x", "externalId": "e" * 256},
            {"externalId": ["Ensure this field has no more than 255 characters."]},
        ),
        ({"name": "{wing}"}, {"name": ["project with this name already exists."]}),
        ({"name": " {wing} "}, {"name": ["project with this name already exists."]}),
        (
            {"name": "x", "externalId": "{external}"},
            {"externalId": ["project with this external id already exists."]},
        ),
    ],
)
def test_what_is_no_new_project(
    admin: Client, wing: dict[str, Any], body: dict[str, Any], told: Any
) -> None:
    known = {"wing": wing["name"], "external": wing["externalId"]}
    sent = {name: value.format(**known) for name, value in body.items()}
    assert admin.call("POST", "projects/", 400, json=sent).json() == told
    other = admin.call("POST", "projects/", 201, json={"name": uuid.uuid4().hex}).json()
    if sent:
        assert admin.call("PATCH", f"projects/{other['id']}/", 400, json=sent).json() == told
    admin.call("PATCH", "projects/XXXXXX/", 404, json={"name": "x"})


def test_a_site_that_wants_a_project_for_every_job(fresh: Callable[..., RunningServer]) -> None:
    server = fresh(CONFIG).start()
    client = server.client()
    early = client.create()
    server.kill()
    (server.data / "simyard.toml").write_text(CONFIG + "project_required = true\n")
    server.start()
    admin = server.client((server.data / "admin.key").read_text().strip())
    project = admin.call("POST", "projects/", 201, json={"name": "Wing"}).json()
    told = {"projectId": REQUIRED}
    for missing in ({}, {"projectId": None}, {"projectId": ""}):
        sent = definition(job=missing)
        assert client.call("POST", "jobs/", 400, json=sent).json() == told
    wrong = client.call("POST", "jobs/", 400, json={"jobanalyses": []}).json()
    assert {"name", "projectId"} <= set(wrong), "it is told with all else that is wrong"
    job = client.create(job={"projectId": "Wing"})
    assert client.call("PATCH", f"jobs/{job['id']}/", 400, json={"projectId": ""}).json() == told
    assert client.get(f"jobs/{job['id']}/")["projectId"] == project["id"]
    client.submit(job["id"])
    # A draft from before the site wanted it.
    assert client.call("POST", f"jobs/{early['id']}/submit/", 400).json() == told
    client.call("PATCH", f"jobs/{early['id']}/", 200, json={"projectId": "Wing"})
    client.submit(early["id"])
    for one in (job, early):
        client.finished(one["id"])


# --- doing it once --------------------------------------------------------------------------------


def test_every_creating_request_takes_effect_once(fresh: Callable[..., RunningServer]) -> None:
    """Also where the server is killed after it; the same key with another request is refused."""
    server = fresh().start()
    admin = server.client((server.data / "admin.key").read_text().strip())
    library = admin.get("/api/v3/users/me/folders/")["myLibrary"]
    draft, live = admin.create()["id"], admin.create("echo here; sleep 600")["id"]
    admin.submit(live)
    wait_for(lambda: admin.status(live) == "Executing", "Executing")
    folders = f"/api/v3/folders/{library}/"
    requests: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("POST", "jobs/", {"json": definition()}, {"json": definition("false")}),
        ("POST", "/api/v3/jobs/", {"json": definition()}, {"json": definition("false")}),
        *(
            (
                method,
                "files/contents/",
                {"files": {"file": ("a.txt", b"a")}},
                {"files": {"file": ("a.txt", b"b")}},
            )
            for method in ("POST", "PUT")
        ),
        ("POST", folders, {"json": {"name": "cases"}}, {"json": {"name": "other"}}),
        ("POST", "keys/", {"json": {"label": "laptop"}}, {"json": {"label": "other"}}),
        (
            "POST",
            "invitations/",
            {"json": {"email": "zoe@lab.example"}},
            {"json": {"email": "zoe@lab.example", "role": "read-only"}},
        ),
        ("POST", "projects/", {"json": {"name": "Wing"}}, {"json": {"name": "Fin"}}),
        ("POST", f"jobs/{draft}/submit/", {}, {}),
        ("POST", f"jobs/{live}/runs/1/snapshot/", {}, {}),
    ]

    def send(n: int, options: dict[str, Any], path: str = "") -> httpx.Response:
        method, known_path, _, _ = requests[n]
        headers = {"Idempotency-Key": f"key {n}"}
        return admin.http.request(
            method, _full(admin, path or known_path), headers=headers, **options
        )

    def state() -> list[int]:
        return [
            admin.get("jobs/")["count"],
            admin.get("files/?type_id=1")["count"],
            admin.get("/api/v3/folders/" + library + "/contents/")["count"],
            admin.get("keys/")["count"],
            admin.get("invitations/")["count"],
            admin.get("projects/")["count"],
            admin.get(f"jobs/{live}/runs/1/files/")["count"],
        ]

    first = [send(n, body) for n, (_, _, body, _) in enumerate(requests)]
    assert [reply.status_code for reply in first] == [201] * 8 + [200] * 2
    assert not [reply for reply in first if "Idempotency-Replayed" in reply.headers]
    admin.finished(draft)
    wait_for(lambda: admin.get(f"jobs/{live}/runs/1/files/")["count"] == 1, "the snapshot")
    before = state()
    server.kill()
    server.start()
    for n, (method, path, body, other) in enumerate(requests):
        again = send(n, body)
        assert again.status_code == first[n].status_code, (method, path)
        assert again.headers["Idempotency-Replayed"] == "true", (method, path)
        if "snapshot" not in path:  # the reply to it tells of the one before
            assert again.content == first[n].content, (method, path)
        if other:
            assert send(n, other).status_code == 422, (method, path)
    for n in (8, 9):  # without a body, another job is another request
        other_path = requests[n][1].replace(draft, live) if n == 8 else requests[8][1]
        assert send(n, {}, other_path).status_code == 422
    time_to_be_made = admin.create("true")["id"]
    admin.submit(time_to_be_made)
    admin.finished(time_to_be_made)
    admin.call("DELETE", f"jobs/{time_to_be_made}/", 204)
    assert state() == before
    assert admin.get(f"jobs/{draft}/runs/")["count"] == 1
    opened = server.client(first[5].json()["key"])
    assert opened.get("users/me/")["email"] == "admin@localhost"


def _full(client: Client, path: str) -> str:
    return client.base.removesuffix("/api/v2/") + path if path.startswith("/api/") else path


def test_a_key_counts_while_a_snapshot_is_owed(client: Client, server: RunningServer) -> None:
    """Two who ask at once get one snapshot, and neither gets another by asking again."""
    job = client.create("touch here; sleep 600")
    client.submit(job["id"])
    wait_for(lambda: client.status(job["id"]) == "Executing", "Executing")
    place = f"jobs/{job['id']}/runs/1/snapshot/"
    for key in ("first", "second"):
        client.call("POST", place, 200, headers={"Idempotency-Key": key + job["id"]})
    wait_for(lambda: client.get(f"jobs/{job['id']}/files/")["count"] > 0, "a snapshot")
    made = client.get(f"jobs/{job['id']}/files/")["count"]
    for key in ("first", "second"):
        again = client.call("POST", place, 200, headers={"Idempotency-Key": key + job["id"]})
        assert again.headers["Idempotency-Replayed"] == "true"
    other = client.run()  # time in which another would be made
    assert other and client.get(f"jobs/{job['id']}/files/")["count"] == made
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    client.finished(job["id"])
