"""The files of a run folder by folder, the same while it executes and afterwards."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from harness import Client, RunningServer, wait_for

_MAKE = """
mkdir -p postProcessing/forces/0 0 'odd [1] name' empty
printf '%300s' x > postProcessing/forces/0/force.dat
echo U > 0/U; echo p > 0/p; echo a > Allrun; echo big,1 > b.csv
touch -d 2001-02-03T04:05:06Z Allrun
touch -d @99999999999999 0/U; touch -d @-99999999999999 0/p
echo odd > $'odd [1] name/<img src=x onerror=alert(1)>\\u202egpj.exe'
ln -s /etc/passwd secret; ln -s / root; mkfifo pipe
"""


def tree(client: Client, job: str, **query: Any) -> dict[str, Any]:
    return dict(client.get(f"jobs/{job}/runs/1/tree/", params=query))


def names(found: dict[str, Any]) -> list[str]:
    return [f"{x['name']}/" for x in found["folders"]] + [x["name"] for x in found["files"]]


def check(client: Client, job: str, *, is_live: bool) -> None:
    top = tree(client, job)
    assert (top["prefix"], top["isLive"], top["isPartial"]) == ("", is_live, False)
    assert names(top) == [
        "0/", "odd [1] name/", "postProcessing/", "Allrun", "b.csv", "process_output.log",
    ]  # fmt: skip
    forces = next(x for x in top["folders"] if x["name"] == "postProcessing")
    assert (forces["count"], forces["bytes"]) == (1, 300)
    assert top["count"] == 7
    allrun, table, log = top["files"]
    assert allrun["mtime"].startswith("2001-02-03T04:05:06")
    assert (allrun["bytes"], table["kind"], log["kind"]) == (2, "table", "log")
    if is_live:
        assert allrun["id"] is None
    else:
        assert client.call("GET", f"files/{allrun['id']}/contents/", 200).content == b"a\n"
    times = {x["name"]: x["mtime"][:4] for x in tree(client, job, prefix="0")["files"]}
    assert times == {"U": "2107", "p": "1970"}
    inner = tree(client, job, prefix="postProcessing/forces")
    assert (inner["prefix"], names(inner)) == ("postProcessing/forces/", ["0/"])
    (file,) = tree(client, job, prefix="postProcessing/forces/0/")["files"]
    assert file["path"] == "postProcessing/forces/0/force.dat"
    (odd,) = tree(client, job, prefix="odd [1] name/")["files"]
    assert odd["name"].startswith("<img src=x onerror=alert(1)>\u202e")
    found = tree(client, job, q="force")
    assert [x["path"] for x in found["files"]] == [file["path"]]
    assert (found["folders"], found["count"], found["bytes"]) == ([], 1, 300)
    assert [x["path"] for x in tree(client, job, q="0/?")["files"]] == ["0/p", "0/U"]
    largest = tree(client, job, sort="-size", q="*")["files"]
    assert [x["bytes"] for x in largest] == sorted((x["bytes"] for x in largest), reverse=True)
    seen, cursor = [], ""
    while cursor is not None:
        page = tree(client, job, limit=2, cursor=cursor)
        seen += names(page)
        cursor = page["next"]
    assert seen == names(top)


def test_a_live_run_and_the_same_run_afterwards(client: Client) -> None:
    job = client.create(f"{_MAKE}\necho made; while [ ! -e stop ]; do sleep 0.1; done; rm -f stop")
    client.submit(job["id"])
    log = f"jobs/{job['id']}/runs/1/tail/process_output.log?lines=5"
    wait_for(lambda: "made" in client.http.get(log).text, "what the run writes")
    time.sleep(2.1)  # what was looked at before may be shown for so long
    check(client, job["id"], is_live=True)
    client.call("GET", f"jobs/{job['id']}/runs/1/tree/?prefix=secret", 404)
    client.call("GET", f"jobs/{job['id']}/runs/1/tree/?prefix=root/etc", 404)
    client.call("GET", f"jobs/{job['id']}/runs/1/tree/?prefix=../../", 404)
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    client.finished(job["id"])
    check(client, job["id"], is_live=False)


def test_a_tree_follows_what_happens_to_stored_outputs(client: Client) -> None:
    job = client.run("mkdir d; echo 1 > d/one; echo 22 > d/two")["id"]
    one, two = tree(client, job, prefix="d")["files"]
    client.call("PATCH", f"files/{one['id']}/", 200, json={"name": "zwei"})
    assert names(tree(client, job, prefix="d")) == ["two", "zwei"]
    client.call("DELETE", f"files/{two['id']}/", 204)
    found = tree(client, job)
    assert [(x["name"], x["count"], x["bytes"]) for x in found["folders"]] == [("d", 1, 2)]
    client.call("DELETE", f"files/{one['id']}/", 204)
    client.call("GET", f"jobs/{job}/runs/1/tree/?prefix=d", 404)


def test_a_tree_is_not_that_of_a_deleted_run_whose_number_in_the_database_it_got(
    fresh: Callable[..., RunningServer],
) -> None:
    server = fresh("").start()
    client = server.client()
    for name in ("secret", "open"):
        job = client.run(f"echo 1 > {name}")["id"]
        assert names(tree(client, job)) == sorted([name, "process_output.log"])
        client.call("DELETE", f"jobs/{job}/", 204)
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_a_draft_has_no_run_and_a_run_that_waits_no_files(client: Client, stranger: Client) -> None:
    job = client.create()["id"]
    client.call("GET", f"jobs/{job}/runs/1/tree/", 404)
    client.submit(job)
    client.finished(job)
    assert tree(client, job)["count"] >= 1
    stranger.call("GET", f"jobs/{job}/runs/1/tree/", 404)
    client.call("GET", f"jobs/{job}/runs/2/tree/", 404)
    client.call("GET", f"jobs/{job}/runs/x/tree/", 404)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "9" * 5000),
        ("sort", "colour"),
        ("sort", "--name"),
        ("cursor", "x"),
        ("cursor", "ä" * 9),
        ("cursor", "WzEsImEiLDNd"),
        ("q", "a" * 256),
        ("prefix", "a" * 4097),
    ],
)
def test_what_cannot_be_asked_is_told_by_its_name(
    client: Client, parameter: str, value: str
) -> None:
    job = _any_job(client)
    reply = client.call("GET", f"jobs/{job}/runs/1/tree/?{parameter}={quote(value)}", 400).json()
    assert list(reply) == [parameter]


_jobs: dict[str, str] = {}


def _any_job(client: Client) -> str:
    if client.base not in _jobs:
        _jobs[client.base] = client.run()["id"]
    return _jobs[client.base]


def test_a_tree_after_a_restart_of_the_server(fresh: Callable[..., RunningServer]) -> None:
    server = fresh("").start()
    client = server.client()
    job = client.run("mkdir d; echo 1 > d/one")["id"]
    before = tree(client, job)
    server.kill()
    server.start()
    assert tree(client, job) == before
