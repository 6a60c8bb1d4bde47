"""Version 3 of the API: the same things in its own shapes (api-v2 reference, 8)."""

from typing import Any

import pytest

from harness import Client, RunningServer, definition

EXTRAS = {  # fields of a job that only version 3 has, with what they are here
    "attachedJobs": [],
    "autosuspend": None,
    "currentUserHasFullAccess": True,
    "customFields": {"Material": "steel"},
    "delayedStart": None,
    "elapsedWalltimeSeconds": None,
    "isPinned": False,
    "launchConfig": None,
    "osCostTier": None,
    "region": None,
    "study": None,
    "suspensionStatus": None,
}


def in_v2(job: dict[str, Any]) -> dict[str, Any]:
    """A job of version 3 as version 2 shows it."""
    plain = {name: value for name, value in job.items() if name not in EXTRAS}
    plain["jobanalyses"] = [
        {**one, "hardware": {**one["hardware"], "coreType": one["hardware"]["coreType"]["code"]}}
        for one in job["jobanalyses"]
    ]
    return plain


@pytest.fixture(scope="module")
def finished(client: Client) -> dict[str, Any]:
    file = client.upload("in.txt", b"one\ntwo\n")["id"]
    job = {"tags": ["cfd"], "customFields": {"Material": "steel"}}
    return client.run("cat in.txt; exit 3", inputs=[file], job=job, cores=2)


def test_a_job_has_more_fields_and_its_core_type_is_an_object(
    client: Client, finished: dict[str, Any]
) -> None:
    job = client.get(f"/api/v3/jobs/{finished['id']}/")
    assert in_v2(job) == client.get(f"jobs/{finished['id']}/") == finished
    assert {name: job[name] for name in job if name not in finished} == EXTRAS
    (analysis,) = job["jobanalyses"]
    assert analysis["hardware"]["coreType"] == {"code": "emerald", "name": "Emerald"}


@pytest.mark.parametrize("sent", ["Emerald", "emerald", {"code": "emerald"}, {"code": "EMERALD"}])
def test_core_types_as_they_are_sent(client: Client, sent: Any) -> None:
    body = definition(hardware={"coreType": sent})
    job = client.call("POST", "/api/v3/jobs/", 201, json=body).json()
    code = sent if isinstance(sent, str) else sent["code"]
    found = job["jobanalyses"][0]["hardware"]["coreType"]
    assert found == {"code": code, "name": "Emerald"}
    assert client.get(f"/api/v3/jobs/{job['id']}/") == job
    assert client.get(f"jobs/{job['id']}/") == in_v2(job)


@pytest.mark.parametrize("to", ["jobs/", "/api/v3/jobs/"])
def test_a_job_is_taken_back_by_both_versions(
    client: Client, finished: dict[str, Any], to: str
) -> None:
    whole = client.get(f"/api/v3/jobs/{finished['id']}/")
    copy = client.call("POST", to, 201, json={**whole, "clonedFrom": whole["id"]}).json()
    shown = client.get(f"/api/v3/jobs/{copy['id']}/")
    own = {"id": copy["id"], "dateInserted": copy["dateInserted"], "clonedFrom": whole["id"]}
    assert shown == {**whole, **own}
    assert copy == (shown if "v3" in to else in_v2(shown))
    changed = client.call("PATCH", f"{to}{copy['id']}/", 200, json={"name": "Renamed"}).json()
    assert changed == {**copy, "name": "Renamed"}
    assert client.call("PUT", f"/api/v3/jobs/{copy['id']}/", 200, json=shown).json() == shown
    client.call("POST", f"/api/v3/jobs/{copy['id']}/submit/", 200)
    assert "exit code 3" in client.finished(copy["id"])
    assert client.log_of(copy["id"]).startswith("one\ntwo\n")


def test_statuses_have_ids(client: Client, finished: dict[str, Any]) -> None:
    job = finished["id"]
    old = client.get(f"jobs/{job}/statuses/")["results"]
    page = client.get(f"/api/v3/jobs/{job}/statuses/")
    assert page["count"] == len(old) == 7
    own = [
        {name: one.pop(name) for name in ("id", "jobId", "substatus")} for one in page["results"]
    ]
    assert page["results"] == old
    assert {(one["jobId"], one["substatus"]) for one in own} == {(job, None)}
    ids = [int(one["id"]) for one in own]
    assert ids == sorted(set(ids), reverse=True), "each its own, newest first"


SAME = [
    "jobs/{job}/cluster_statuses/",
    "jobs/{job}/runs/",
    "jobs/{job}/runs/1/",
    "jobs/{job}/runs/1/files/",
    "jobs/{job}/files/",
    "jobs/{job}/tags/",
    "jobs/{job}/custom-fields/",
    "jobs/{job}/clusters/",
    "jobs/{job}/logs/",
    "files/{file}/",
    "users/me/",
    "users/me/projects/",
    "analyses/user_included/",
    "storage-devices/",
]


@pytest.mark.parametrize("path", SAME)
def test_what_is_the_same_in_both(client: Client, finished: dict[str, Any], path: str) -> None:
    file = finished["jobanalyses"][0]["inputFiles"][0]["id"]
    path = path.format(job=finished["id"], file=file)
    size = "?page_size=100"
    assert client.get(f"/api/v3/{path}{size}") == client.get(f"{path}{size}")


def test_pages_have_25_entries(server: RunningServer) -> None:
    client = server.somebody()
    jobs = [client.create()["id"] for _ in range(27)]
    page = client.get("/api/v3/jobs/")
    assert (page["count"], len(page["results"]), page["previous"]) == (27, 25, None)
    second = client.get(page["next"])
    assert second["results"] == client.get("/api/v3/jobs/?page_size=2000")["results"][25:]
    assert second["previous"].endswith("/api/v3/jobs/")
    assert [job["id"] for job in page["results"] + second["results"]] == jobs[::-1]
    assert (
        client.get("/api/v3/jobs/?page_size=2")["results"]
        == client.get("jobs/?page_size=2")["results"]
    )
    assert len(client.get("jobs/")["results"]) == 10
    assert len(client.get("/api/v3/coretypes/")["results"]) == 25


def test_what_is_no_route_of_version_3(client: Client, finished: dict[str, Any]) -> None:
    """What nobody has seen there is not there."""
    job = finished["id"]
    for path in ("instances/", "connection_details/", "runs/1/tail/x", "runs/1/series/"):
        client.get(f"/api/v3/jobs/{job}/{path}", 404)
    client.call("POST", f"/api/v3/jobs/{job}/statuses/", 405)


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/api/v3/credentials/", {"paths": []}, "credentials"),
        ("/api/v3/files/", {"name": "x"}, "credentials"),
        ("/api/v3/storage-devices/", {}, "storage devices"),
        ("storage-devices/", {}, "storage devices"),
        ("jobs/{job}/storage-devices/", {"storageDevice": {"id": "x"}}, "storage devices"),
        ("/api/v3/jobs/{job}/storage-devices/", {}, "storage devices"),
    ],
)
def test_what_is_refused_says_why(
    client: Client, finished: dict[str, Any], path: str, body: Any, word: str
) -> None:
    reply = client.call("POST", path.format(job=finished["id"]), 400, json=body)
    assert word in reply.json()["detail"]


def test_lists_of_what_there_is_not(client: Client) -> None:
    nothing = {"count": 0, "next": None, "previous": None, "results": []}
    for path in ("remote-viz-config/", "storage-devices/?active=true"):
        assert client.get(path) == nothing
    assert client.get("/api/v3/developer-analyses/") == nothing
    assert client.get("/api/v3/automations/") == []
