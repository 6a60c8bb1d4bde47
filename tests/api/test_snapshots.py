"""Snapshots of executing runs, and the end of a single run (api-v2 reference, 5 and 14)."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from typing import Any

from harness import Client, RunningServer, wait_for

Fresh = Callable[..., RunningServer]
NOT_EXECUTING = {"detail": "This run is not executing."}


def executing(client: Client, command: str, **changes: Any) -> str:
    """A job that has come to the end of this command, and sleeps."""
    job = client.create(f"{command}\ntouch ready; sleep 600", **changes)["id"]
    client.submit(job)
    ready = f"jobs/{job}/runs/1/tail/ready"
    wait_for(lambda: client.http.get(ready).status_code == 200, "ready")
    return str(job)


def ask(client: Client, job: str) -> Any:
    reply = client.call("POST", f"jobs/{job}/runs/1/snapshot/", 200).json()
    assert reply == {
        "exitcode": 0,
        "data": "",
        "lastSnapshotID": reply["lastSnapshotID"],
        "reason": "Generating snapshot.",
    }
    return reply["lastSnapshotID"]


def snapshots(client: Client, job: str) -> list[dict[str, Any]]:
    files = client.get(f"jobs/{job}/runs/1/files/?page_size=100")["results"]
    return [file for file in files if file["typeId"] == 12]


def made(client: Client, job: str, number: int = 1) -> dict[str, Any]:
    """The newest of so many snapshots, once there are that many."""
    wait_for(lambda: len(snapshots(client, job)) == number, f"snapshot {number} of {job}")
    return snapshots(client, job)[-1]


def content(client: Client, file: dict[str, Any]) -> dict[str, bytes]:
    reply = client.call("GET", file["downloadUrl"], 200)
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        return {name: archive.read(name) for name in names}


def end(client: Client, job: str) -> None:
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)


def test_a_snapshot_is_a_zip_of_the_whole_folder(client: Client) -> None:
    command = r"""
    mkdir -p sub/deep empty; echo one > one.txt; printf '\0\377binary' > sub/deep/b.bin
    printf '#!/bin/sh' > run.sh; chmod 750 run.sh; : > 'sp ace'; echo latin > $'\xfc.txt'
    ln -s one.txt inside; ln -s /etc/passwd outside; ln -s nowhere dangling; ln -s . loop
    mkfifo pipe; echo secret > locked; chmod 000 locked; mkdir -m 000 shut
    touch -d 1970-01-01 old; touch -d 2200-01-01 future; touch -d @99999999999 beyond
    head -c 3000000 /dev/urandom > large.bin; md5sum large.bin
    """
    job = executing(client, command, inputs=[client.upload("in.txt", b"input\n")["id"]])
    assert ask(client, job) is None, "the one before"
    file = made(client, job)
    found = content(client, file)
    expected = {
        "in.txt": b"input\n",
        "one.txt": b"one\n",
        "sub/deep/b.bin": b"\0\377binary",
        "run.sh": b"#!/bin/sh",
        "sp ace": b"",
        "\\xfc.txt": b"latin\n",
        "old": b"",
        "future": b"",
        "beyond": b"",
        "ready": b"",
    }
    if os.getuid() == 0:  # nothing is shut to it
        expected["locked"] = b"secret\n"
    assert {name: found.pop(name) for name in expected} == expected
    assert set(found) == {"large.bin", "process_output.log"}, "no links, pipes or empty folders"
    assert len(found["large.bin"]) == 3_000_000
    assert hashlib.md5(found["large.bin"]).hexdigest() in found["process_output.log"].decode()
    reply = client.call("GET", file["downloadUrl"], 200)
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.getinfo("run.sh").external_attr >> 16 == 0o100750
        assert archive.getinfo("old").date_time[0] == 1980
        assert archive.getinfo("future").date_time[0] == 2107
    end(client, job)


def test_where_a_snapshot_is_listed(server: RunningServer) -> None:
    """Among the outputs of the run, the job and their owner, at once and after the end."""
    client = server.somebody()
    job = executing(client, "echo here")
    run = client.get(f"jobs/{job}/runs/1/")
    assert ask(client, job) is None
    first = made(client, job)
    assert ask(client, job) == first["id"]
    second = made(client, job, 2)
    assert ask(client, job) == second["id"]
    third = made(client, job, 3)
    assert [f["id"] for f in snapshots(client, job)] == [f["id"] for f in (first, second, third)]
    for file in (first, second, third):
        assert file["name"] == file["relativePath"] and file["name"].endswith(".zip")
        assert file["path"].endswith(f"/output/job_{job}/run1/{file['name']}")
        assert client.get(f"files/{file['id']}/") == file
    names = {file["name"] for file in (first, second, third)}
    assert len(names) == 3
    for place in (f"jobs/{job}/files/", f"jobs/{job}/runs/1/files/", "files/?type_id=12"):
        page = client.get(place)
        assert (page["count"], {f["name"] for f in page["results"]}) == (3, names)
    sizes = [file["decryptedSize"] for file in (first, second, third)]
    assert client.get("jobs/")["results"][0]["storage"] == sum(sizes)
    assert client.get(f"jobs/{job}/runs/1/") == run, "a run that executes tells no outputs"
    # A snapshot can be deleted, and the one before is still told.
    client.call("DELETE", f"files/{second['id']}/", 204)
    end(client, job)
    assert names - {second["name"]} < set(client.outputs(job))
    run = client.get(f"jobs/{job}/runs/1/")
    files = client.get(f"jobs/{job}/runs/1/files/")
    assert run["outputFileCount"] == files["count"] == len(files["results"]) == 4
    assert run["outputFileSize"] == sum(f["decryptedSize"] for f in files["results"])
    assert client.get("jobs/")["results"][0]["storage"] == run["outputFileSize"]
    assert client.call("POST", f"jobs/{job}/runs/1/snapshot/", 400).json() == NOT_EXECUTING


def test_one_at_a_time(client: Client) -> None:
    job = executing(client, "head -c 10000000 /dev/urandom > large.bin")
    for _ in range(10):
        ask(client, job)
    made(client, job)
    client.run()  # time in which another would be made
    assert len(snapshots(client, job)) in (1, 2), "the second was asked for when the first was made"
    end(client, job)


def test_a_folder_that_changes_under_the_snapshot(client: Client) -> None:
    """Files that grow, shrink and vanish, and folders that come and go, for as long as it takes."""
    command = r"""
    echo steady > steady
    (while :; do echo line >> growing; done) &
    (while :; do head -c 4000000 /dev/zero > shrinking; : > shrinking; sleep 0.01; done) &
    (while :; do mkdir -p going/deep; echo x > going/deep/file; rm -rf going; done) &
    (while :; do for n in 1 2 3 4 5 6; do echo $n > vanishing$n; done; rm vanishing*; done) &
    head -c 5000000 /dev/urandom > large.bin
    """
    job = executing(client, command)
    for number in (1, 2):
        ask(client, job)
        found = content(client, made(client, job, number))
        assert found["steady"] == b"steady\n"
        assert len(found["large.bin"]) == 5_000_000
        assert not found["growing"].replace(b"line\n", b"").strip(b"line")
        for name, data in found.items():
            assert not name.startswith("vanishing") or data in (b"", f"{name[-1]}\n".encode())
    end(client, job)
    assert "Traceback" not in client.log_of(job)


def test_of_what_there_is_no_snapshot(client: Client, stranger: Client) -> None:
    draft = client.create()["id"]
    client.call("POST", f"jobs/{draft}/runs/1/snapshot/", 404)
    job = client.run()["id"]
    assert client.call("POST", f"jobs/{job}/runs/1/snapshot/", 400).json() == NOT_EXECUTING
    for number in ("0", "2", "x"):
        client.call("POST", f"jobs/{job}/runs/{number}/snapshot/", 404)
    stranger.call("POST", f"jobs/{job}/runs/1/snapshot/", 404)
    first = client.create("sleep 600", cores=4)["id"]
    waiting = client.create("true", cores=4)["id"]
    for one in (first, waiting):
        client.submit(one)
    wait_for(lambda: client.status(waiting) == "Queued", "Queued")
    assert client.call("POST", f"jobs/{waiting}/runs/1/snapshot/", 400).json() == NOT_EXECUTING
    end(client, first)
    client.finished(waiting)
    assert snapshots(client, waiting) == []


# --- across the end of the server -----------------------------------------------------------------


def test_a_snapshot_that_was_asked_for_is_made(fresh: Fresh) -> None:
    """Whether the server is killed before it is made, or when it is stored and not recorded."""
    server = fresh()
    once = server.data.parent / "died"
    server.start(SIMYARD_CRASH_AT="snapshot.stored", SIMYARD_CRASH_ONCE=str(once))
    client = server.client((server.data / "admin.key").read_text().strip())
    job = executing(client, "echo here > here.txt")
    for number in (1, 2):
        key = {"Idempotency-Key": f"snapshot {number}"}
        client.call("POST", f"jobs/{job}/runs/1/snapshot/", 200, headers=key)
        if number == 1:
            wait_for(lambda: not server.alive, "the crash")
            assert once.exists()
        server.kill()
        server.start()
        assert content(client, made(client, job, number))["here.txt"] == b"here\n"
        again = client.call("POST", f"jobs/{job}/runs/1/snapshot/", 200, headers=key)
        assert again.headers["Idempotency-Replayed"] == "true"
    client.run()  # time in which another would be made
    assert len(snapshots(client, job)) == 2
    end(client, job)
    assert len(snapshots(client, job)) == 2


def test_one_that_cannot_be_made_hinders_nobody(client: Client, server: RunningServer) -> None:
    """What is still owed when its run has ended: the folder is gone."""
    job = executing(client, "true")
    ask(client, job)
    code = made(client, job)["id"]
    end(client, job)
    files = client.get(f"jobs/{job}/files/")
    server.change_database(f"UPDATE snapshots SET done_at = NULL WHERE code = '{code}'")
    later = executing(client, "true")
    ask(client, later)
    made(client, later)
    end(client, later)
    assert client.get(f"jobs/{job}/files/") == files


# --- the end of one run ---------------------------------------------------------------------------


def test_the_end_of_one_run(client: Client, stranger: Client) -> None:
    job = executing(client, "echo kept > kept.txt")
    place = f"jobs/{job}/runs/1/stop/"
    stranger.call("POST", place, 404)
    for number in ("0", "2", "x"):
        client.call("POST", f"jobs/{job}/runs/{number}/stop/", 404)
    for body in (None, {"any": ["body"]}):  # the second time it is under way, or over
        reply = client.http.post(place, json=body)
        assert (reply.status_code, reply.json()) in [(200, {}), (400, NOT_EXECUTING)]
        assert body is not None or reply.status_code == 200
    assert client.finished(job) == "Stopped by the user"
    assert client.outputs(job)["kept.txt"] == b"kept\n"
    assert client.call("POST", place, 400).json() == NOT_EXECUTING
    client.call("POST", f"jobs/{client.create()['id']}/runs/1/stop/", 404)


def test_the_end_of_a_run_that_waits(client: Client) -> None:
    first, second = (client.create("sleep 600", cores=4)["id"] for _ in range(2))
    for one in (first, second):
        client.submit(one)
    wait_for(lambda: client.status(second) == "Queued", "Queued")
    client.call("POST", f"jobs/{second}/runs/1/stop/", 200)
    assert client.finished(second) == "Stopped by the user"
    assert client.get(f"jobs/{second}/runs/1/")["dateStarted"] is None
    end(client, first)
