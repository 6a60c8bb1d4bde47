"""A disk without room: runs wait, say so, and go on once there is some."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import CONFIG, Client, RunningServer, wait_for
from simyard.engines.supervisor import start_ticks

pytestmark = pytest.mark.faults

Fresh = Callable[..., RunningServer]
NEVER_ROOM = f"{CONFIG}disk_reserve_bytes = {10**15}\n"
SMALL = "cores = 4\nstop_grace_seconds = 1.0\ndisk_reserve_bytes = 4000000\n"


def waits(client: Client, job_id: str) -> list[str]:
    """What a job says of its waiting."""
    notices: list[dict[str, Any]] = client.get(f"jobs/{job_id}/")["notices"]
    return [notice["message"] for notice in notices if notice["code"] == "waiting"]


def begun(server: RunningServer, client: Client, command: str) -> str:
    """A job that executes and goes on with this command when it is let: see `go_on`."""
    job = client.create(f"touch begun; while [ ! -e go ]; do sleep 0.05; done; {command}")
    client.submit(job["id"])
    wait_for(lambda: any((server.data / "runs").glob("*/home/work/begun")), "the command")
    wait_for(lambda: client.status(job["id"]) == "Executing", "Executing")
    return str(job["id"])


def go_on(server: RunningServer) -> None:
    (begun,) = (server.data / "runs").glob("*/home/work/begun")
    begun.with_name("go").touch()


def restart(server: RunningServer, config: str) -> Client:
    assert server.stop() == 0
    (server.data / "simyard.toml").write_text(config)
    return server.start().client()


def test_outputs_wait_for_room(fresh: Fresh) -> None:
    server = fresh().start()
    job = begun(server, server.client(), "echo result > result.txt")
    client = restart(server, NEVER_ROOM)
    go_on(server)
    wait_for(lambda: waits(client, job) != [], "the notice")
    assert waits(client, job) == [
        "This job waits: There is no room left for this file on the server's disk."
    ]
    assert client.status(job) == "Executing" and client.cluster_status(job) != "Stopped"
    assert client.get(f"jobs/{job}/files/")["count"] == 0
    client = restart(server, CONFIG)
    assert client.finished(job) == "Completed successfully"
    assert client.outputs(job)["result.txt"] == b"result\n"
    assert waits(client, job) == [], "it waits no more"
    assert not list((server.data / "blobs").rglob("*.part"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many megabytes; calling it again makes it larger."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def make(megabytes: int) -> Path:
        nonlocal mounted
        options = ["-o", f"{'remount,' if mounted else ''}size={megabytes}m"]
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr}")
        mounted = True
        return folder

    yield make
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def on_small_disk(small_disk: Callable[[int], Path]) -> Iterator[RunningServer]:
    """A server whose data folder has 48 MB."""
    server = RunningServer(small_disk(48) / "data", SMALL)
    yield server.start()
    server.end_everything()


def test_an_output_that_does_not_fit_twice(
    on_small_disk: RunningServer, small_disk: Callable[[int], Path]
) -> None:
    server, client = on_small_disk, on_small_disk.client()
    job = begun(server, client, "head -c 30M /dev/zero > large.bin; echo done")
    go_on(server)
    wait_for(lambda: waits(client, job) != [], "the notice")
    files = {"file": ("x", bytes(20_000_000))}
    assert "no room" in client.call("POST", "files/contents/", 507, files=files).json()["detail"]
    small_disk(128)
    assert client.finished(job) == "Completed successfully"
    assert client.outputs(job) == {"begun": b"", "go": b"", "large.bin": bytes(30 << 20)} | {
        "process_output.log": b"done\n"
    }
    assert waits(client, job) == []


def test_an_upload_that_goes_on_once_there_is_room(
    on_small_disk: RunningServer, small_disk: Callable[[int], Path]
) -> None:
    """Nothing of what was told to have arrived is lost, nor half of what was not."""
    server, client, whole = on_small_disk, on_small_disk.client(), os.urandom(24 << 20)
    headers = {"Upload-Length": str(len(whole)), "Upload-Metadata": "filename YQ=="}
    made = client.call("POST", "uploads/", 201, headers=headers).headers["Location"]
    path, half = f"uploads/{made.rsplit('/', 2)[-2]}/", 12 << 20

    def patch(at: int, upto: int, expect: int) -> httpx.Response:
        headers = {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
        return client.call("PATCH", path, expect, headers=headers, content=whole[at:upto])

    def offset() -> int:
        return int(client.call("HEAD", path, 200).headers["Upload-Offset"])

    patch(0, half, 204)
    filler = server.data / "filler"
    filler.write_bytes(bytes(os.statvfs(server.data).f_bavail * 4096 - (6 << 20)))
    assert "no room" in patch(half, len(whole), 507).json()["detail"]
    assert offset() == half
    filler.unlink()
    assert server.stop() == 0  # the rest is another part: all of it is copied in the end
    client = server.start().client()
    assert "no room" in patch(half, len(whole), 507).json()["detail"]
    client.call("HEAD", path, 507)
    small_disk(128)
    told = client.call("HEAD", path, 200).headers
    assert told["Upload-Offset"] == str(len(whole))
    assert client.call("GET", f"files/{told['Simyard-File']}/contents/", 200).content == whole
    assert client.get("files/")["count"] == 1


def test_inputs_wait_for_room(
    on_small_disk: RunningServer, small_disk: Callable[[int], Path]
) -> None:
    client = on_small_disk.client()
    file = client.upload("large.bin", bytes(25_000_000))
    job = client.create("wc -c < large.bin", inputs=[file["id"]])
    client.submit(job["id"])
    wait_for(lambda: waits(client, job["id"]) != [], "the notice")
    assert client.status(job["id"]) == "Started"
    small_disk(128)
    assert client.finished(job["id"]) == "Completed successfully"
    assert client.log_of(job["id"]).endswith("25000000\n")
    assert waits(client, job["id"]) == []


def test_a_run_that_fills_the_disk(
    on_small_disk: RunningServer, small_disk: Callable[[int], Path]
) -> None:
    """Not even its end can be written down. Nothing is lost: neither how it ended nor what came
    after it.
    """
    server = on_small_disk
    client = restart(server, f"{SMALL}max_walltime_seconds = 5\n")
    job = begun(server, client, "head -c 1G /dev/zero > large.bin; exec sleep 60")
    waiting = client.create("echo next")
    (folder,) = (path for path in (server.data / "runs").iterdir() if path.name[0] != ".")
    payload = json.loads((folder / "pid.json").read_text())["payload"]
    go_on(server)
    wait_for(lambda: os.statvfs(server.data).f_bavail == 0, "the full disk")
    wait_for(lambda: start_ticks(payload) is None, "the end by its walltime")
    assert client.get("users/me/")["email"] == "ada@lab.example", "it still answers"
    assert client.http.post(f"jobs/{waiting['id']}/submit/").status_code in (200, 507)
    small_disk(192)
    assert "walltime of 5 s was exceeded" in client.finished(job)
    outputs = client.outputs(job)
    assert len(outputs["large.bin"]) > 20_000_000
    client.http.post(f"jobs/{waiting['id']}/submit/")  # at the latest now
    assert client.finished(waiting["id"]) == "Completed successfully"
    assert waits(client, job) == []
