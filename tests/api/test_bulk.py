"""One thing done to many jobs (docs/extensions.md)."""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

import harness
from dying import Stubborn, armed
from harness import CONFIG, Client, RunningServer, wait_for
from simyard.torture import points


@pytest.fixture
def somebody(server: RunningServer) -> Client:
    return server.somebody("bulk")


def drafts(client: Client, count: int, name: str = "many") -> list[str]:
    return [client.create("true", job={"name": f"{name} {n}"})["id"] for n in range(count)]


def bulk(client: Client, action: str, expect: int = 200, **body: Any) -> dict[str, Any]:
    reply = client.call("POST", "jobs/bulk/", expect, json={"action": action, **body})
    return dict(reply.json())


def done(client: Client, begun: dict[str, Any]) -> dict[str, Any]:
    """What came of it, as its task tells."""
    place = f"tasks/{begun['task']}/"
    wait_for(lambda: client.get(place)["ready"], "the end of what is done to many")
    (result,) = client.get(place)["result"]
    return dict(result)


def names(client: Client, query: str = "") -> list[str]:
    return [row["name"] for row in client.get(f"jobs/rows/?sort=insertedAt&{query}")["rows"]]


def test_jobs_that_are_named(somebody: Client) -> None:
    jobs = drafts(somebody, 3)
    told = bulk(somebody, "tag", ids=[*jobs, "nOnE", jobs[0]], tags=["Old CFD", "wing"])
    assert [result["id"] for result in told["results"]] == [*jobs, "nOnE"]
    assert [result["ok"] for result in told["results"]] == [True, True, True, False]
    assert told["results"][3]["detail"] == "Not found."
    assert (told["count"], told["done"], told["failed"], told["isDone"]) == (4, 4, 1, True)
    tags = somebody.get(f"jobs/{jobs[1]}/tags/")
    assert [tag["name"] for tag in tags] == ["Old CFD", "wing"]
    bulk(somebody, "untag", ids=jobs[:2], tags="OLD CFD")
    assert names(somebody, "tag=old cfd") == ["many 2"]
    told = bulk(somebody, "delete", ids=jobs[:2])
    assert not told["failed"]
    assert names(somebody) == ["many 2"]
    assert done(somebody, told)["count"] == 2


def test_stop_and_what_cannot_be(somebody: Client) -> None:
    (draft,) = drafts(somebody, 1)
    running = somebody.create("sleep 600")["id"]
    somebody.submit(running)
    wait_for(lambda: somebody.status(running) == "Executing", "Executing")
    told = bulk(somebody, "delete", ids=[running])
    assert not told["results"][0]["ok"] and "not Stopped" in told["results"][0]["detail"]
    told = bulk(somebody, "stop", ids=[draft, running])
    assert [result["ok"] for result in told["results"]] == [False, True]
    assert "never submitted" in told["results"][0]["detail"]
    assert somebody.finished(running) == "Stopped by the user"
    told = bulk(somebody, "delete", ids=[draft, running])
    assert told["failed"] == 0
    assert names(somebody) == []


def test_rights_are_those_of_single_calls(server: RunningServer, somebody: Client) -> None:
    friend, stranger = server.somebody("friend"), server.somebody("stranger")
    reader = server.somebody("reader", "read-only")
    emails = [one.get("users/me/")["email"] for one in (friend, reader)]
    jobs = drafts(somebody, 2)
    assert not bulk(somebody, "share", ids=jobs, emails=emails, message="look")["failed"]
    assert names(friend) == names(reader) == ["many 0", "many 1"]
    for other, detail in ((friend, "permission"), (stranger, "Not found")):
        for action in ("delete", "stop", "tag", "share"):
            told = bulk(other, action, ids=jobs, tags=["x"], emails=emails[:1])
            assert [result["ok"] for result in told["results"]] == [False, False]
            assert all(detail in result["detail"] for result in told["results"])
    reader.call("POST", "jobs/bulk/", 403, json={"action": "delete", "ids": jobs})
    task = bulk(somebody, "tag", ids=jobs, tags=["x"])["task"]
    stranger.call("GET", f"tasks/{task}/", 404)
    assert not bulk(somebody, "unshare", ids=jobs, emails=emails)["failed"]
    assert names(friend) == []
    told = bulk(somebody, "share", ids=jobs[:1], emails=["nobody@elsewhere.example"])
    assert "within the organisation" in told["results"][0]["detail"]
    assert names(somebody) == ["many 0", "many 1"]


def test_jobs_that_a_query_finds(somebody: Client) -> None:
    drafts(somebody, 45)
    drafts(somebody, 2, "few")
    query = "status=draft&q=many&sort=-insertedAt"
    told = bulk(somebody, "delete", query=query, dryRun=True)
    assert (told["count"], told["dryRun"], told["task"]) == (45, True, None)
    assert [one["name"] for one in told["sample"]] == [f"many {n}" for n in range(44, 34, -1)]
    moved = bulk(somebody, "delete", 409, query=query, expectedCount=44)
    assert moved["count"] == 45 and "nothing was done" in moved["detail"]
    assert len(names(somebody)) == 47
    reply = somebody.http.post(
        "jobs/bulk/", json={"action": "delete", "query": query, "expectedCount": 45}
    )
    assert reply.status_code in (200, 202)
    told = done(somebody, reply.json())
    assert (told["count"], told["done"], told["failed"], len(told["results"])) == (45, 45, 0, 45)
    assert names(somebody) == ["few 0", "few 1"]
    # The same as an object; what cannot be done is told, the rest is done.
    told = bulk(somebody, "stop", dryRun=True, query={"status": ["DRAFT", "active"], "q": "few"})
    assert told["count"] == 2
    reply = somebody.http.post(
        "jobs/bulk/", json={"action": "stop", "query": {"q": "few"}, "expectedCount": 2}
    )
    told = done(somebody, reply.json())
    assert told["failed"] == 2
    assert all("never submitted" in result["detail"] for result in told["results"])


def test_a_dry_run_of_names(somebody: Client) -> None:
    jobs = drafts(somebody, 2)
    told = bulk(somebody, "delete", ids=[*jobs, "nOnE"], dryRun=True)
    assert (told["count"], [one["id"] for one in told["sample"]]) == (2, jobs)
    assert len(names(somebody)) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "action"),
        ({"action": "submit", "ids": ["a"]}, "action"),
        ({"action": "delete"}, "ids"),
        ({"action": "delete", "ids": ["a"], "query": ""}, "ids"),
        ({"action": "delete", "ids": [str(n) for n in range(201)]}, "ids"),
        ({"action": "delete", "ids": {"a": 1}}, "ids"),
        ({"action": "delete", "query": ""}, "expectedCount"),
        ({"action": "delete", "query": "", "expectedCount": -1}, "expectedCount"),
        ({"action": "delete", "query": "colour=red", "expectedCount": 0}, "query"),
        ({"action": "delete", "query": {"status": 7}, "expectedCount": 0}, "query"),
        ({"action": "delete", "query": {"status": "x"}, "dryRun": True}, "query"),
        ({"action": "delete", "query": ["a"], "dryRun": True}, "query"),
        ({"action": "tag", "ids": ["a"]}, "tags"),
        ({"action": "tag", "ids": ["a"], "tags": [" "]}, "tags"),
        ({"action": "share", "ids": ["a"]}, "emails"),
        ({"action": "share", "ids": ["a"], "emails": ["nobody"]}, "emails"),
    ],
)
def test_what_is_wrong_is_named(somebody: Client, body: dict[str, Any], field: str) -> None:
    told = somebody.call("POST", "jobs/bulk/", 400, json=body).json()
    assert field in told


def test_the_same_request_takes_effect_once(somebody: Client) -> None:
    jobs = drafts(somebody, 3)
    key = {"Idempotency-Key": "bulk delete"}
    body = {"action": "delete", "ids": jobs[:2]}
    first = somebody.call("POST", "jobs/bulk/", 200, json=body, headers=key)
    again = somebody.call("POST", "jobs/bulk/", 200, json=body, headers=key)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    somebody.call("POST", "jobs/bulk/", 422, json={**body, "ids": jobs}, headers=key)
    # A query that was carried out matches nothing any more, and is answered all the same.
    key = {"Idempotency-Key": "bulk query"}
    body = {"action": "delete", "query": "q=many", "expectedCount": 1}
    first = somebody.http.post("jobs/bulk/", json=body, headers=key)
    done(somebody, first.json())
    again = somebody.call("POST", "jobs/bulk/", 200, json=body, headers=key)
    assert again.json()["task"] == first.json()["task"]


def test_no_more_tasks_than_may_wait(
    fresh: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done before the reply waits for nothing."""
    none_may = "import simyard.service.bulk as b; b.WAITING_MOST = 0"
    start = f"{none_may}\nfrom simyard.cli.main import main\nmain()"
    monkeypatch.setattr(harness, "SIMYARD", [sys.executable, "-c", start])
    client = fresh().start().client()
    jobs = drafts(client, 2)
    body = {"action": "delete", "query": "q=many", "expectedCount": 2}
    refused = client.call("POST", "jobs/bulk/", 429, json=body)
    assert refused.headers["Retry-After"] and refused.json()["detail"]
    assert bulk(client, "delete", query="q=many", dryRun=True)["count"] == 2
    assert bulk(client, "delete", ids=jobs)["done"] == 2


# --- a server that dies ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    made = RunningServer(tmp_path_factory.mktemp("bulk") / "data", CONFIG)
    return made.data, made.key()


@pytest.mark.faults
@pytest.mark.parametrize("point", points.BULK)
@pytest.mark.parametrize("is_query", [False, True])
def test_what_was_begun_is_carried_out(
    fresh: Callable[..., RunningServer],
    installation: tuple[Any, str],
    point: str,
    is_query: bool,
) -> None:
    with armed(fresh, point, installation) as (server, key):
        client = Stubborn(server, key)
        jobs = client.until_it_works(lambda c: drafts(c, 50))
        some: dict[str, Any] = (
            {"query": "q=many", "expectedCount": 50} if is_query else {"ids": jobs}
        )
        body = {"action": "delete", **some}
        head = {"Idempotency-Key": "once"}

        def ask(c: Client) -> dict[str, Any]:
            reply = c.http.post("jobs/bulk/", json=body, headers=head)
            assert reply.status_code in (200, 202), reply.text
            return dict(reply.json())

        begun = client.until_it_works(ask)
        told = client.until_it_works(lambda c: done(c, begun))
        assert (told["count"], told["done"], told["failed"]) == (50, 50, 0)
        assert client.until_it_works(lambda c: c.get("jobs/"))["count"] == 0
        assert client.deaths == 1


@pytest.mark.faults
def test_a_new_server_goes_on_without_being_asked(
    fresh: Callable[..., RunningServer], installation: tuple[Any, str]
) -> None:
    with armed(fresh, "bulk.begun", installation) as (server, key):
        client = server.client(key)
        drafts(client, 30)
        with pytest.raises(Exception, match=r"."):
            client.http.post(
                "jobs/bulk/", json={"action": "delete", "query": "q=many", "expectedCount": 30}
            )
        server.kill()
        server.start()
        again = server.client(key)
        wait_for(lambda: again.get("jobs/")["count"] == 0, "the end of what was begun")


@pytest.mark.faults
def test_who_left_meanwhile_does_nothing_more(
    fresh: Callable[..., RunningServer], installation: tuple[Any, str]
) -> None:
    with armed(fresh, "bulk.begun", installation) as (server, key):
        client = server.client(key)
        jobs = drafts(client, 30)
        with pytest.raises(Exception, match=r"."):
            client.http.post("jobs/bulk/", json={"action": "delete", "ids": jobs})
        server.kill()
        server.change_database("UPDATE users SET left_at = 1 WHERE email = 'ada@lab.example'")
        server.start()

        def left() -> tuple[int, str]:
            with closing(sqlite3.connect(server.data / "simyard.db")) as database:
                (count,) = database.execute("SELECT count(*) FROM jobs").fetchone()
                (task,) = database.execute("SELECT result FROM tasks").fetchone()
            return count, task

        wait_for(lambda: '"failed":30' in left()[1], "the end of it")
        assert left()[0] == 30
