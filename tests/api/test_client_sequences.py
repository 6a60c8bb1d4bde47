"""The requests of real clients, in their order: the command line (api-v2 reference, section 10),
the Python SDK on version 3, the Nextflow executor, the study example and the habits of section 11.
What each does with a reply is done here too: a missing key is what would break it.
"""

import io
import time
import zipfile
from typing import Any

import pytest

from harness import Client, RunningServer, definition, wait_for


def _zip(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return made.getvalue()


def _polled(client: Client, path: str, seconds: float = 50) -> dict[str, Any]:
    """The newest status as clients take it: the first of the page, which may never be empty."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        newest: dict[str, Any] = client.get(path)["results"][0]
        if newest["status"] == "Completed":
            return newest
        time.sleep(0.05)
    raise AssertionError(f"{path} never told the end")


def test_the_command_line_submits_end_to_end(client: Client) -> None:
    """`submit -E -f *.out`: the script as run.sh, the folder as input.zip, polling, downloads."""
    assert client.get("users/me/")["email"]
    codes = [one["code"] for one in client.get("analyses/?page_size=1000")["results"]]
    assert "user_included" in codes
    names = {one["code"]: one["name"] for one in client.get("coretypes/?page_size=1000")["results"]}
    assert "emerald" in names
    script = client.upload("run.sh", b"#!/bin/sh\ncat data.txt > result.out; echo done\n")
    inputs = client.upload("input.zip", _zip(data__txt="42"))
    body = definition("./run.sh", inputs=[script["id"], inputs["id"]], job={"name": "Unnamed Job"})
    job = client.call("POST", "jobs/", 201, json=body).json()
    client.call("POST", f"jobs/{job['id']}/submit/", 200, json={"waiveSla": True})
    newest = _polled(client, f"jobs/{job['id']}/statuses/")
    assert newest["statusReason"] == "Completed successfully"
    found = client.get(f"jobs/{job['id']}/files/?search=.out")["results"]
    (result,) = [file for file in found if file["name"] == "result.out"]
    assert client.call("GET", f"files/{result['id']}/contents/", 200).content == b"42"
    # status -e -lh 2
    assert client.get(f"jobs/{job['id']}/connection_details/") == {}
    measured = client.get(f"jobs/{job['id']}/cluster-load-measurements/?hours=2")
    assert isinstance(measured, list)
    # sync: all newer jobs, then their files page by page
    ids = [one["id"] for one in client.get("jobs/?page_size=100&page=1")["results"]]
    assert job["id"] in ids


def test_the_command_line_lists_and_downloads_of_the_active_run(client: Client) -> None:
    """`list-files`, `download-file -f NAME`, `stop`, `delete` while a job executes."""
    job = client.create("echo hello > early.txt; sleep 60")["id"]
    client.submit(job)
    runs = f"jobs/{job}/runs/"

    def active() -> list[Any]:
        return [
            run
            for run in client.get(runs)["results"]
            if run["dateStarted"] and not run["dateCompleted"]
        ]

    wait_for(lambda: bool(active()), "an active run")
    place = f"{runs}{active()[0]['id']}/"
    wait_for(
        lambda: any(
            entry["path"] == "early.txt" for entry in client.get(f"{place}directory-contents/")
        ),
        "early.txt",
    )
    (entry,) = [
        one for one in client.get(f"{place}directory-contents/") if one["path"] == "early.txt"
    ]
    assert client.call("GET", entry["resource"], 200).content == b"hello\n"
    client.call("POST", f"jobs/{job}/stop/", 202, json=client.get(f"jobs/{job}/"))
    client.finished(job)
    client.call("DELETE", f"jobs/{job}/", 204)


def test_the_sdk_on_version_3(client: Client) -> None:
    """PUT of the input, a job with core types as objects, tags, tasks, downloads by downloadUrl."""
    v3 = "/api/v3/"
    files = {"file": ("/home/ada/cases/in.txt", b"x")}
    sent = client.call("PUT", f"{v3}files/contents/", 201, files=files).json()
    newest = client.get(f"{v3}files/?search=in.txt&page_size=1")["results"][0]
    assert newest["id"] == sent["id"]
    body = definition("cat in.txt", hardware={"coreType": {"code": "emerald"}})
    body["jobanalyses"][0]["input_files"] = [{"id": sent["id"]}]
    del body["jobanalyses"][0]["inputFiles"]
    job = client.call("POST", f"{v3}jobs/", 201, json=body).json()
    assert job["jobanalyses"][0]["inputFiles"][0]["id"] == sent["id"]
    client.call("POST", f"{v3}jobs/{job['id']}/tags/", 201, json={"name": "CFD"})
    client.call("POST", f"{v3}jobs/{job['id']}/submit/", 200, json={})
    _polled(client, f"{v3}jobs/{job['id']}/statuses/")
    cluster = client.get(f"{v3}jobs/{job['id']}/clusters/")["results"][0]["id"]
    assert client.get(f"{v3}clusters/{cluster}/statuses/")["results"][0]["status"]
    handle = client.get(f"{v3}jobs/{job['id']}/servers/load/?offset=0&period=60&p=1")
    task = client.get(f"{v3}tasks/{handle['token']}/")
    assert task["ready"] is True and isinstance(task["result"], list)
    page = client.get(f"{v3}jobs/{job['id']}/files/?page_size=1000")
    assert page["next"] is None
    log = next(one for one in page["results"] if one["name"] == "process_output.log")
    assert client.call("GET", log["downloadUrl"], 200).content == b"x"
    stop = client.call("POST", f"{v3}jobs/{job['id']}/stop/", 202)
    assert stop.content == b""


def test_nextflow(client: Client) -> None:
    """snake_case, a project by its id, custom fields, polling until a reason is told."""
    projects = client.get("users/me/projects/")["results"]
    body = definition("exit 7", job={"project_id": projects[0]["id"] if projects else None})
    job = client.call("POST", "jobs/", 201, json=body).json()["id"]
    client.call("POST", f"jobs/{job}/custom-fields/", 200, json={"pipeline": "rnaseq"})
    client.call("POST", f"jobs/{job}/submit/", 200)
    newest = _polled(client, f"jobs/{job}/statuses/")
    assert newest["statusReason"].startswith("A run failed")


def test_a_job_is_cloned_by_posting_it_back(client: Client) -> None:
    """The way of the study example: there is no call for it."""
    file = client.upload("case.zip", _zip(a__txt="1"))
    first = client.create("ls a.txt", inputs=[file["id"]], job={"name": "First"})
    copy = {**client.get(f"jobs/{first['id']}/"), "name": "Second", "clonedFrom": first["id"]}
    second = client.call("POST", "jobs/", 201, json=copy).json()
    assert second["id"] != first["id"]
    assert second["clonedFrom"] == first["id"]
    client.submit(second["id"])
    assert client.finished(second["id"]) == "Completed successfully"


def test_a_job_is_launched_from_within_a_job(client: Client, server: RunningServer) -> None:
    """A script that asks the API with what it finds in its environment."""
    script = f"""
import json, os, urllib.request
base = os.environ["RESCALE_API_BASE_URL"] + "/api/v2/"
head = {{"Authorization": "Token " + os.environ["RESCALE_API_KEY"],
        "Content-Type": "application/json"}}
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(base + path, data, head)) as reply:
        return reply.read()
made = json.loads(ask("jobs/", {definition("echo inner")!r}))
ask("jobs/" + made["id"] + "/submit/", {{}})
me = json.loads(ask("jobs/" + os.environ["RESCALE_JOB_ID"] + "/"))
print("inner", made["id"], me["name"])
"""
    file = client.upload("outer.py", script.encode())
    job = client.run("python3 outer.py", inputs=[file["id"]], job={"name": "Outer"})
    words = client.log_of(job["id"]).split()
    assert words[0] == "inner", words
    assert words[2] == "Outer"
    assert client.finished(words[1]) == "Completed successfully"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_monitoring_as_the_tutorial_prints_it(client: Client, method: str) -> None:
    job = client.run("true")["id"]
    page = client.call(method, f"jobs/{job}/statuses", 200, headers={"Content-Type": ""}).json()
    assert [entry["status"] for entry in page["results"]][-1] == "Pending"
