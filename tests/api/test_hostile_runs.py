"""Runs that mean harm: what they do to their own folders must not reach beyond them."""

import os
import subprocess
from pathlib import Path

import pytest

from harness import Client, RunningServer, wait_for


def begun(client: Client, server: RunningServer, command: str) -> tuple[str, Path]:
    """A job whose command has run this and goes on until it is stopped; and its home."""
    mark = f"up-{os.urandom(6).hex()}"
    job = client.create(f"{command}; touch ~/{mark}; exec sleep 60")
    client.submit(job["id"])
    wait_for(lambda: any((server.data / "runs").glob(f"*/home/{mark}")), "the command")
    (found,) = (server.data / "runs").glob(f"*/home/{mark}")
    return job["id"], found.parent


def stop(client: Client, job_id: str) -> dict[str, bytes]:
    """End a job and see that nothing of it is left. Returns its outputs."""
    client.call("POST", f"jobs/{job_id}/stop/", 202)
    assert client.finished(job_id) == "Stopped by the user"
    return client.outputs(job_id)


def test_a_link_in_the_place_of_the_work_folder(
    client: Client, server: RunningServer, tmp_path: Path
) -> None:
    """The home belongs to the run, so it can. The server, which may be root, must not go there."""
    (tmp_path / "deeper").mkdir()
    for path in ("secret", "deeper/secret", "log.simpleFoam"):
        (tmp_path / path).write_text("secret\n")
    command = f"echo kept; cd ~; mv work away; ln -s {tmp_path} work"
    job, _ = begun(client, server, command)
    run = f"jobs/{job}/runs/1"
    for path in ("secret", "deeper/secret", "process_output.log"):
        client.get(f"{run}/tail/{path}", 404)
        client.get(f"{run}/tail/{path}?lines=3", 404)
    assert client.get(f"{run}/directory-contents/") == []
    assert client.get(f"{run}/series/") == []
    outputs = stop(client, job)
    assert list(outputs) == ["process_output.log"]
    assert outputs["process_output.log"].startswith(b"kept\n")
    assert len(list(tmp_path.iterdir())) == 3, "nothing was put there"


@pytest.mark.parametrize(
    "command", ["rm -rf ~/work", "rm -rf ~/work; touch ~/work", "rm -rf ~/work; mkfifo ~/work"]
)
def test_a_work_folder_that_is_gone(client: Client, server: RunningServer, command: str) -> None:
    job, _ = begun(client, server, f"echo kept; {command}")
    client.http.get(f"jobs/{job}/runs/1/directory-contents/")
    outputs = stop(client, job)
    assert list(outputs) == ["process_output.log"]
    assert outputs["process_output.log"].startswith(b"kept\n")


def test_folders_in_folders_without_end(client: Client, server: RunningServer) -> None:
    """Deeper than Python recurses and than a path is long. It ends, and it goes away."""
    make = "import os\nfor _ in range(2500): os.mkdir('d'); os.chdir('d')\nopen('leaf', 'w')"
    job, home = begun(client, server, f'touch top; (python3 -c "{make}")')
    try:
        assert client.get(f"jobs/{job}/runs/1/directory-contents/")[-1]["path"] == "top"
        assert "top" in stop(client, job)
        assert not home.parent.exists()
    finally:  # pytest cannot remove such a tree either
        subprocess.run(["rm", "-rf", str(home)], check=True)


def test_folders_that_nobody_may_enter(client: Client, server: RunningServer) -> None:
    job, home = begun(client, server, "mkdir -p a/b; touch a/b/c; chmod 000 a/b a; chmod 500 .")
    stop(client, job)
    assert not home.parent.exists()


def test_a_run_that_is_its_own_archive_of_links(client: Client, server: RunningServer) -> None:
    """Links that lead inside are outputs, all others are not, and none is followed out."""
    job, _ = begun(
        client,
        server,
        "echo in > in.txt; ln -s in.txt good; ln -s /etc/passwd out; ln -s ../.. up;"
        " ln -s loop loop; mkdir d; ln -s ../in.txt d/good; ln -s d folder; mkfifo pipe;"
        " ln -s pipe piped",
    )
    outputs = stop(client, job)
    assert outputs == {
        "in.txt": b"in\n",
        "good": b"in\n",
        "d/good": b"in\n",
        "process_output.log": outputs["process_output.log"],
    }


# --- requests that mean harm ----------------------------------------------------------------------

MANY = "9" * 5000  # more digits than Python reads


def test_numbers_that_are_too_long(client: Client, server: RunningServer) -> None:
    file = client.upload("ten.txt", b"0123456789")
    contents = f"files/{file['id']}/contents/"
    for header in (f"bytes=0-{MANY}", f"bytes={MANY}-", f"bytes=-{MANY}"):
        reply = client.call("GET", contents, 200, headers={"Range": header})
        assert reply.content == b"0123456789", "a range that is none is passed over"
    client.get(f"jobs/?page={MANY}", 404)
    assert client.get(f"jobs/?page_size={MANY}&page=1")["results"] is not None
    job = client.run()
    for points in ("inf", "-inf", "1e999", MANY, "0.5", "20001"):
        client.get(f"jobs/{job['id']}/runs/1/series/data/?points={points}", 400)
    client.get(f"jobs/{job['id']}/runs/{MANY}/", 404)
