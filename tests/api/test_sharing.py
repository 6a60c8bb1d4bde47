"""Sharing jobs: what somebody sees of another's job, and what is left when it is taken away again
(api-v2 reference, 4.1, 4.2 and 14).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness import Client, RunningServer, definition, wait_for


def address(client: Client) -> str:
    return str(client.get("users/me/")["email"])


def share(client: Client, job_id: str, email: str) -> None:
    reply = client.call("POST", f"jobs/{job_id}/share/", 200, json={"email": email})
    assert reply.json() == {"recipient": email, "supportDesk": None}


def unshare(client: Client, job_id: str, email: str) -> None:
    client.call("DELETE", f"jobs/{job_id}/share/", 204, json={"email": email})


@pytest.fixture
def owner(server: RunningServer) -> Client:
    return server.somebody("owner")


@pytest.fixture
def bob(server: RunningServer) -> Client:
    return server.somebody("bob")


@dataclass
class Shared:
    """A job that executes, one that is over, and with whom they are shared."""

    owner: Client
    bob: Client
    email: str  # of bob
    live: str
    done: str
    input: str

    @property
    def places(self) -> list[str]:
        """Everything that can be looked at of the two jobs."""
        snapshot = self.owner.get(f"jobs/{self.live}/files/")["results"][0]["id"]
        return [
            *(f"jobs/{self.done}/{place}" for place in OF_A_JOB),
            *(f"jobs/{self.live}/runs/1/{place}" for place in LIVE),
            *(f"/api/v3/jobs/{self.done}/{place}" for place in ("", "statuses/", "files/")),
            f"files/{self.input}/",
            f"files/{self.input}/lines/",
            f"/api/v3/files/{self.input}/tags/",
            f"files/{snapshot}/",
            f"clusters/{self.owner.get(f'jobs/{self.done}/clusters/')['results'][0]['id']}/statuses/",
        ]


OF_A_JOB = [
    "",
    "statuses/",
    "cluster_statuses/",
    "runs/",
    "runs/1/",
    "files/",
    "runs/1/files/",
    "runs/1/series/",
    "runs/1/series/data/",
    "tags/",
    "custom-fields/",
    "instances/",
    "clusters/",
    "connection_details/",
    "cluster-load-measurements/",
    "logs/",
]
LIVE = ["directory-contents/", "tail/process_output.log?lines=5", "tail/in.txt?lines=5"]


@pytest.fixture(scope="module")
def shared(server: RunningServer) -> Iterator[Shared]:
    owner, bob = server.somebody("owner"), server.somebody("bob")
    file = owner.upload("in.txt", b"one\ntwo\n")["id"]
    done = owner.run("cat in.txt", inputs=[file], job={"tags": ["cfd"]})["id"]
    live = owner.create("echo up; sleep 600", inputs=[file])["id"]
    owner.submit(live)
    wait_for(lambda: owner.status(live) == "Executing", "Executing")
    owner.call("POST", f"jobs/{live}/runs/1/snapshot/", 200)
    wait_for(lambda: owner.get(f"jobs/{live}/files/")["count"] == 1, "the snapshot")
    yield Shared(owner, bob, address(bob), live, done, file)
    owner.call("POST", f"jobs/{live}/stop/", 202)
    owner.finished(live)


def test_what_somebody_sees_of_a_job_that_is_shared(shared: Shared) -> None:
    """All that its owner sees, as its owner sees it; before and afterwards nothing."""
    owner, bob = shared.owner, shared.bob
    jobs = (shared.live, shared.done)

    def seen(by: Client, expect: int = 200) -> list[Any]:
        return [by.get(place, expect) for place in shared.places]

    def contents(by: Client, expect: int = 200) -> list[bytes]:
        files = [*owner.get(f"jobs/{shared.done}/files/")["results"], {"id": shared.input}]
        return [by.call("GET", f"files/{f['id']}/contents/", expect).content for f in files]

    assert all(reply == {"detail": "Not found."} for reply in seen(bob, 404))
    contents(bob, 404)
    for job in jobs:
        share(owner, job, shared.email)
    theirs, his = seen(owner), seen(bob)
    for one, other in zip(theirs, his, strict=True):
        if isinstance(one, dict):
            one.pop("currentUserHasFullAccess", None), other.pop("currentUserHasFullAccess", None)
    assert his == theirs
    assert contents(bob) == contents(owner)
    assert bob.get(f"/api/v3/jobs/{shared.done}/")["currentUserHasFullAccess"] is False
    for job in jobs:
        unshare(owner, job, shared.email)
    assert all(reply == {"detail": "Not found."} for reply in seen(bob, 404))
    contents(bob, 404)
    assert len(seen(owner)) == len(shared.places)


def test_one_of_two_jobs_is_enough_to_see_an_input(shared: Shared) -> None:
    share(shared.owner, shared.done, shared.email)
    assert shared.bob.get(f"files/{shared.input}/")["owner"] == address(shared.owner)
    share(shared.owner, shared.live, shared.email)
    unshare(shared.owner, shared.done, shared.email)
    shared.bob.get(f"files/{shared.input}/")
    unshare(shared.owner, shared.live, shared.email)
    shared.bob.get(f"files/{shared.input}/", 404)


# --- lists ----------------------------------------------------------------------------------------


def listed(client: Client, query: str = "") -> tuple[int, list[str]]:
    page = client.get(f"jobs/?page_size=100{query}")
    return page["count"], [job["id"] for job in page["results"]]


def test_lists_and_counts_of_both(server: RunningServer, owner: Client, bob: Client) -> None:
    """What was shared last comes first, among the recipient's own; every filter follows."""
    own = bob.create()["id"]
    draft, done = owner.create()["id"], owner.run()["id"]
    live = owner.create("sleep 600")["id"]
    owner.submit(live)
    before = listed(owner)
    files = bob.get("files/")
    for job in (done, draft, live):
        for _ in range(2):
            share(owner, job, address(bob))
    assert listed(bob) == (4, [live, draft, done, own])
    assert listed(bob, "&state=completed") == (1, [done])
    assert listed(bob, "&state=not_completed") == (3, [live, draft, own])
    assert listed(bob, "&t=1") == (1, [live])
    assert listed(bob, "&job_status=COMPLETED") == (1, [done])
    assert listed(owner) == before == (3, [live, done, draft])
    assert bob.get("files/") == files, "files of others are reached by their ids"
    # What is over is over in everybody's list.
    owner.call("POST", f"jobs/{live}/stop/", 202)
    owner.finished(live)
    for client in (owner, bob):
        assert listed(client, "&state=completed")[1] == [live, done]
    assert listed(bob, "&state=not_completed") == (2, [draft, own])
    unshare(owner, done, address(bob))
    assert listed(bob, "&state=completed") == (1, [live])
    assert listed(bob) == (3, [live, draft, own])
    for job in (live, draft):
        owner.call("DELETE", f"jobs/{job}/", 204)
    assert listed(bob) == (1, [own])
    for query in ("&state=completed", "&t=1", "&job_status=COMPLETED"):
        assert listed(bob, query) == (0, [])
    assert listed(bob, "&state=not_completed") == (1, [own])
    assert listed(owner) == (1, [done])
    bob.get(f"jobs/{live}/", 404)


def test_both_see_with_whom_a_job_is_shared(
    server: RunningServer, owner: Client, bob: Client
) -> None:
    zoe = server.somebody("amy")
    emails = sorted([address(bob), address(zoe)])
    file = owner.upload("in.txt", b"x")["id"]
    job = owner.run(inputs=[file])["id"]
    (output, *_) = owner.get(f"jobs/{job}/files/")["results"]
    places = [f"jobs/{job}/", f"files/{file}/", f"files/{output['id']}/"]
    assert [owner.get(place)["sharedWith"] for place in places] == [[], [], []]
    for email in reversed(emails):
        share(owner, job, email)
    for client in (owner, bob, zoe):
        assert [client.get(place)["sharedWith"] for place in places] == [emails] * 3
        assert client.get("jobs/")["results"][0]["sharedWith"] == emails
        (shown,) = client.get(f"jobs/{job}/")["jobanalyses"][0]["inputFiles"]
        assert shown["id"] == file
    (mine,) = owner.get("files/?type_id=1")["results"]
    assert mine["sharedWith"] == emails
    unshare(owner, job, emails[0])
    assert [owner.get(place)["sharedWith"] for place in places] == [emails[1:]] * 3


# --- a copy of one's own --------------------------------------------------------------------------


def test_a_copy_of_a_shared_job_runs_with_its_inputs(owner: Client, bob: Client) -> None:
    file, script = (
        owner.upload("in.txt", b"theirs\n"),
        owner.upload("pre.sh", b"#!/bin/sh\necho pre"),
    )
    job = owner.create(
        "cat in.txt", inputs=[file["id"]], preProcessScript={"id": script["id"]}, cores=2
    )
    share(owner, job["id"], address(bob))
    copy = bob.call("POST", "jobs/", 201, json={**job, "clonedFrom": job["id"]}).json()
    assert copy["owner"] == address(bob)
    assert copy["jobanalyses"] == bob.get(f"jobs/{job['id']}/")["jobanalyses"]
    assert copy["clonedFrom"] == job["id"] and copy["sharedWith"] == []
    bob.submit(copy["id"])
    assert bob.finished(copy["id"]) == "Completed successfully"
    assert bob.log_of(copy["id"]) == "pre\ntheirs\n"
    owner.get(f"jobs/{copy['id']}/", 404)
    # Naming a file hands nothing on: it goes out of his sight with the job that showed it.
    third = bob.call("POST", "jobs/", 201, json={**job, "name": "Third"}).json()
    unshare(owner, job["id"], address(bob))
    bob.get(f"jobs/{job['id']}/", 404)
    bob.get(f"files/{file['id']}/contents/", 404)
    assert owner.get(f"files/{file['id']}/")["sharedWith"] == []
    bob.call("POST", f"jobs/{third['id']}/submit/", 400)
    # What is his he may delete, and nothing else goes with it.
    bob.call("DELETE", f"jobs/{copy['id']}/?deleteInputFiles=true", 204)
    assert owner.call("GET", f"files/{file['id']}/contents/", 200).content == b"theirs\n"


def test_an_output_of_a_shared_job_as_an_input(owner: Client, bob: Client) -> None:
    job = owner.run("echo result > out.txt")["id"]
    (output,) = owner.get(f"jobs/{job}/files/?search=out.txt")["results"]
    body = definition("cat out.txt", inputs=[output["id"]])
    bob.call("POST", "jobs/", 400, json=body)
    share(owner, job, address(bob))
    mine = bob.run("cat out.txt", inputs=[output["id"]])
    assert bob.log_of(mine["id"]) == "result\n"
    owner.call("DELETE", f"jobs/{job}/", 204)
    (gone,) = bob.get(f"jobs/{mine['id']}/")["jobanalyses"][0]["inputFiles"]
    assert gone["isDeleted"] is True and gone["name"] == "out.txt"
    bob.get(f"files/{output['id']}/", 404)


def test_what_is_shared_may_be_looked_at_only(owner: Client, bob: Client) -> None:
    file = owner.upload("in.txt", b"x")["id"]
    job = owner.create(inputs=[file])["id"]
    share(owner, job, address(bob))
    email = {"email": address(bob)}
    for method, place, body in (
        ("POST", f"jobs/{job}/submit/", None),
        ("POST", f"jobs/{job}/stop/", None),
        ("POST", f"jobs/{job}/share/", email),
        ("DELETE", f"jobs/{job}/share/", email),
        ("DELETE", f"jobs/{job}/", None),
        ("POST", f"jobs/{job}/tags/", {"name": "x"}),
        ("POST", f"jobs/{job}/custom-fields/", {"x": 1}),
        ("PATCH", f"files/{file}/", {"name": "x"}),
        ("DELETE", f"files/{file}/", None),
        ("POST", f"/api/v3/files/{file}/tags/", {"name": "x"}),
    ):
        reply = bob.call(method, place, 403, json=body)
        assert reply.json()["detail"].startswith("You do not have permission")
    assert owner.get(f"jobs/{job}/")["sharedWith"] == [address(bob)]


# --- with whom ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "This field is required."),
        ({"email": ""}, "This field is required."),
        ({"email": "nobody"}, "Enter a valid email address."),
        ({"email": "a b@lab.example"}, "Enter a valid email address."),
        (
            {"email": "stranger@elsewhere.example"},
            "A job can be shared within the organisation only.",
        ),
        (
            {"account": "stranger@elsewhere.example"},
            "A job can be shared within the organisation only.",
        ),
        ({"email": ["x@lab.example"]}, "Not a valid string."),
        ({"email": None}, "This field may not be null."),
    ],
)
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_with_whom_a_job_cannot_be_shared(
    client: Client, version: str, body: dict[str, Any], told: str
) -> None:
    job = client.create()["id"]
    reply = client.call("POST", f"/api/{version}/jobs/{job}/share/", 400, json=body)
    assert reply.json() == {"email": [told]}
    assert client.get(f"jobs/{job}/")["sharedWith"] == []


def test_addresses_are_taken_as_people_write_them(owner: Client, bob: Client) -> None:
    job, email = owner.create()["id"], address(bob)
    body = {"account": f" {email.upper()} ", "message": "please look " * 1000}
    reply = owner.call("POST", f"/api/v3/jobs/{job}/share/", 200, json=body)
    assert reply.json() == {"recipient": email, "supportDesk": None}
    owner.call("DELETE", f"jobs/{job}/share/", 204, json={"email": email.upper()})
    bob.get(f"jobs/{job}/", 404)


def test_sharing_with_oneself_and_with_nobody_changes_nothing(owner: Client, bob: Client) -> None:
    job = owner.create()["id"]
    share(owner, job, address(owner))
    assert owner.get("jobs/")["count"] == 1
    assert owner.get(f"jobs/{job}/")["sharedWith"] == []
    for email in (address(owner), address(bob), "stranger@elsewhere.example", "nobody"):
        unshare(owner, job, email)
    assert owner.get("jobs/")["count"] == 1
    owner.call("DELETE", f"jobs/{job}/share/", 400, json={})


def test_a_member_who_left_sees_nothing_more(server: RunningServer, owner: Client) -> None:
    admin = server.client((server.data / "admin.key").read_text().strip())
    gone = server.somebody("gone")
    email = address(gone)
    (member,) = [
        m["id"] for m in admin.get("members/?page_size=2000")["results"] if m["email"] == email
    ]
    admin.call("PATCH", f"members/{member}/", 200, json={"isActive": False})
    job = owner.create()["id"]
    reply = owner.call("POST", f"jobs/{job}/share/", 400, json={"email": email})
    assert reply.json() == {"email": ["A job can be shared within the organisation only."]}
