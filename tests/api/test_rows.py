"""The jobs list of the console, over HTTP (docs/extensions.md); that its pages are right is tested
in unit/test_row_pages.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness import Client, RunningServer, wait_for
from studying import study

NAMES = ["draft", "failed", "waits", "runs", "done one", "Done 100%"]


@dataclass
class World:
    """Somebody's jobs, the first the oldest, and one that another has shared with him."""

    client: Client
    friend: Client
    ids: dict[str, str]
    project: str


@pytest.fixture(scope="module")
def world(server: RunningServer) -> Iterator[World]:
    client, friend = server.somebody("list"), server.somebody("friend")
    admin = server.client((server.data / "admin.key").read_text().strip())
    project = admin.call("POST", "projects/", 201, json={"name": "Rows of wings"}).json()
    ids = {}
    for name in NAMES:
        hold = {"runs": "sleep 600", "failed": "exit 3"}.get(name, "true")
        cores = 4 if name in ("runs", "waits") else 1
        job = {"name": name, "projectId": project["id"] if name == "done one" else None}
        ids[name] = client.create(hold, cores=cores, hardware={"walltime": 2}, job=job)["id"]
    client.call("POST", f"jobs/{ids['draft']}/tags/", 201, json={"name": "Old CFD"})
    client.call("POST", f"jobs/{ids['runs']}/tags/", 201, json={"name": "new"})
    for name in ("failed", "done one", "Done 100%"):
        client.submit(ids[name])
    for name in ("failed", "done one", "Done 100%"):
        client.finished(ids[name])
    client.submit(ids["runs"])
    wait_for(lambda: client.status(ids["runs"]) == "Executing", "Executing")
    client.submit(ids["waits"])
    wait_for(lambda: client.status(ids["waits"]) == "Queued", "Queued")
    ids["shared"] = friend.create("true", job={"name": "shared"})["id"]
    me = client.get("users/me/")["email"]
    friend.call("POST", f"jobs/{ids['shared']}/share/", 200, json={"email": me})
    yield World(client, friend, ids, project["name"])
    for name in ("waits", "runs"):
        client.call("POST", f"jobs/{ids[name]}/stop/", 202)
        client.finished(ids[name])


ALL = ["shared", *NAMES[::-1]]


def names(page: Any) -> list[str]:
    return [row["name"] for row in page["rows"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("sort=insertedAt", ALL[::-1]),
        ("status=COMPLETED", ["Done 100%", "done one", "failed"]),
        ("status=executing", ["runs"]),
        ("status=EXECUTING,QUEUED", ["runs", "waits"]),
        ("status=EXECUTING&status=QUEUED", ["runs", "waits"]),
        ("status=active", ["runs", "waits"]),
        ("status=Waiting for Queue", []),
        ("status=draft", ["shared", "draft"]),
        ("status=draft,active", ["shared", "runs", "waits", "draft"]),
        ("status=draft,completed", ["shared", "Done 100%", "done one", "failed", "draft"]),
        ("status=", ALL),
        ("outcome=good", ["Done 100%", "done one"]),
        ("outcome=bad", ["failed"]),
        ("outcome=FAILED,STOPPED", ["failed"]),
        ("outcome=not converged", []),
        ("q=DONE", ["Done 100%", "done one"]),
        ("q=%25", ["Done 100%"]),
        ("q=_", []),
        ("q=done&outcome=bad", []),
        ("tag=old%20cfd", ["draft"]),
        ("tag=OLD-CFD,new", ["runs"]),
        ("analysis=user_included", ALL),
        ("analysis=openfoam", []),
        ("owner=me", ALL[1:]),
        ("owner=shared", ["shared"]),
        ("owner=nobody@lab.example", []),
        ("owner=not an address", []),
        ("since=2026-01-01", ALL),
        ("since=2126-01-01T00:00:00Z", []),
        ("since=2126-01-01&q=done&owner=me&status=completed", []),
        ("kind=study", []),
        ("kind=basic&q=done", ["Done 100%", "done one"]),
    ],
)
def test_filters(world: World, query: str, expected: list[str]) -> None:
    page = world.client.get(f"jobs/rows/?{query}")
    assert names(page) == expected
    assert (page["count"], page["countIsExact"], page["isPartial"]) == (len(expected), True, False)
    assert page["next"] is page["previous"] is None
    assert page["at"] == 0


@pytest.mark.parametrize("query", ["", "status=completed", "status=active", "q=n", "status=draft"])
def test_pages_both_ways(world: World, query: str) -> None:
    whole = names(world.client.get(f"jobs/rows/?{query}"))
    page = world.client.get(f"jobs/rows/?limit=2&{query}")
    found = names(page)
    assert page["previous"] is None
    while page["next"]:
        page = world.client.get(f"jobs/rows/?limit=2&{query}&cursor={page['next']}")
        found += names(page)
    assert found == whole
    back = names(page)
    while page["previous"]:
        page = world.client.get(f"jobs/rows/?limit=2&{query}&cursor={page['previous']}")
        back = names(page) + back
    assert back == whole


def test_jumps(world: World) -> None:
    for at in range(len(ALL) + 1):
        page = world.client.get(f"jobs/rows/?limit=2&at={at}")
        assert names(page) == ALL[at : at + 2]
        assert (page["at"], page["count"]) == (at, len(ALL))
    page = world.client.get("jobs/rows/?status=completed&at=2")
    assert names(page) == ["failed"]
    reply = world.client.call("GET", "jobs/rows/?q=x&at=2", 400)
    assert list(reply.json()) == ["at"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("search=x", "search"),
        ("status=NONSENSE", "status"),
        ("outcome=fine", "outcome"),
        ("since=yesterday", "since"),
        ("since=9999-12-31T23:59:59-12:00", "since"),
        ("owner=me&owner=shared", "owner"),
        ("q=a&q=b", "q"),
        ("q=a%00b", "q"),
        ("sort=name", "sort"),
        ("sort=-insertedAt;drop", "sort"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("at=-1", "at"),
        ("at=1e3", "at"),
        ("at=1&cursor=a1", "at"),
        ("cursor=x", "cursor"),
        ("cursor=a", "cursor"),
        ("cursor=c1", "cursor"),
        ("cursor=a99999999999999999999999", "cursor"),
        ("tag=" + ",".join(map(str, range(60))), "tag"),
        ("ids=" + ",".join(map(str, range(201))), "ids"),
    ],
)
def test_what_is_wrong_is_named(world: World, query: str, field: str) -> None:
    told = world.client.call("GET", f"jobs/rows/?{query}", 400).json()
    assert list(told) == [field]
    assert all(isinstance(sentence, str) for sentence in told[field])


def test_a_cursor_of_another_list_gives_a_page(world: World) -> None:
    """It is a place, and shows nothing that is not in the list."""
    for cursor in ("a0", "b0", "a-1", "b-1", "a99999999999", "b99999999999"):
        found = names(world.client.get(f"jobs/rows/?cursor={cursor}"))
        assert set(found) <= set(ALL)
        assert names(world.friend.get(f"jobs/rows/?cursor={cursor}")) in ([], ["shared"])


def test_what_a_row_shows(world: World) -> None:
    rows = {row["name"]: row for row in world.client.get("jobs/rows/")["rows"]}
    done = rows["done one"]
    assert done["id"] == world.ids["done one"]
    assert (done["status"], done["clusterStatus"]) == ("Completed", "Stopped")
    assert done["reason"] == "Completed successfully"
    assert done["outcome"]["verdict"] == "completed" and done["outcome"]["isGood"]
    assert done["analyses"] == [
        {"code": "user_included", "name": "Bring Your Own Software", "version": "0"}
    ]
    assert (done["cores"], done["coreType"], done["slots"], done["walltime"]) == (
        1,
        "emerald",
        1,
        2,
    )
    assert (done["isStudy"], done["study"], done["isMine"]) == (False, None, True)
    assert done["projectName"] == world.project
    moments = [done[f"{word}At"] for word in ("inserted", "submitted", "started", "ended")]
    assert moments == sorted(moments)
    run = world.client.get(f"jobs/{done['id']}/runs/1/")
    assert moments[2:] == [run["dateStarted"], run["dateCompleted"]]
    seconds = (_time(moments[3]) - _time(moments[2])).total_seconds()
    assert done["coreHours"] == pytest.approx(seconds / 3600)

    failed = rows["failed"]
    assert failed["outcome"]["verdict"] == "failed" and not failed["outcome"]["isGood"]
    assert "exit code 3" in failed["reason"]

    running, waiting, draft = rows["runs"], rows["waits"], rows["draft"]
    assert (running["status"], running["cores"], running["tags"]) == ("Executing", 4, ["new"])
    assert running["startedAt"] and not running["endedAt"] and running["outcome"] is None
    later = world.client.get(f"jobs/rows/?ids={running['id']}")["rows"][0]
    assert later["coreHours"] > running["coreHours"] > 0
    assert waiting["status"] == "Queued" and waiting["startedAt"] is None
    assert waiting["coreHours"] == 0
    assert (draft["status"], draft["clusterStatus"], draft["reason"]) == ("", "", None)
    assert (draft["submittedAt"], draft["cores"], draft["tags"]) == (None, 1, ["Old CFD"])

    shared = rows["shared"]
    assert not shared["isMine"]
    assert shared["owner"]["email"] == world.friend.get("users/me/")["email"]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_studies_alone(server: RunningServer) -> None:
    client = server.somebody("studious")
    sweep = client.call(
        "POST", "jobs/", 201, json=study(client, table="x\n1\n2\n", job={"name": "sweep"})
    ).json()
    client.create("true", job={"name": "single"})
    assert names(client.get("jobs/rows/?kind=study")) == []  # a draft has no points yet
    client.submit(sweep["id"])
    assert names(client.get("jobs/rows/?kind=study")) == ["sweep"]
    assert names(client.get("jobs/rows/?kind=basic")) == ["single"]
    client.call("POST", f"jobs/{sweep['id']}/stop/", 202)


def test_since_a_moment(world: World) -> None:
    row = world.client.get(f"jobs/rows/?ids={world.ids['runs']}")["rows"][0]
    found = world.client.get("jobs/rows/", params={"since": row["insertedAt"]})
    assert names(found) == ["shared", "Done 100%", "done one", "runs"]
    there = datetime.fromisoformat(row["insertedAt"]) + timedelta(hours=2)
    east = there.replace(tzinfo=None).isoformat() + "+02:00"
    assert names(world.client.get("jobs/rows/", params={"since": east})) == names(found)
    assert datetime.now(UTC) > _time(row["insertedAt"])


def test_rows_by_their_ids(world: World) -> None:
    ids = [world.ids["waits"], "nOnE", world.ids["draft"], world.ids["waits"], ""]
    page = world.client.get(f"jobs/rows/?ids={','.join(ids)}")
    assert names(page) == ["waits", "draft"]
    assert (page["count"], page["next"]) == (2, None)
    # Somebody else's are as those that do not exist.
    assert world.friend.get(f"jobs/rows/?ids={','.join(world.ids.values())}")["count"] == 1


def test_facets(world: World) -> None:
    found = world.client.get("jobs/facets/")
    assert (found["total"], found["newest"], found["isExact"]) == (7, 7, True)
    assert {one["value"]: one["count"] for one in found["status"]} == {
        "DRAFT": 2,
        "QUEUED": 1,
        "EXECUTING": 1,
        "COMPLETED": 3,
    }
    for name in ("status", "outcome", "analysis", "tag"):
        assert found[name]
        for one in found[name]:
            page = world.client.get("jobs/rows/", params={name: one["value"]})
            assert page["count"] == one["count"], one
    # They are new at once.
    job = world.client.create("true", job={"name": "one more"})["id"]
    assert world.client.get("jobs/facets/")["total"] == 8
    world.client.call("DELETE", f"jobs/{job}/", 204)
    assert world.client.get("jobs/facets/")["total"] == 7
