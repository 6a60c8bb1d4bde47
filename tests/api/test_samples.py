"""Recorded requests are taken, and replies are as recorded ones (tests/wire/samples: true field
names, invented values).
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from golden import same_shape
from harness import CONFIG, RunningServer, definition, wait_for

FOLDER = Path(__file__).parents[1] / "wire" / "samples"
VERSION = "2.3.0-openmpi"  # one that this catalogue has, in place of the samples' "11-openmpi"


def sample(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


class World:
    """A server with one of everything, and who asks it."""

    def __init__(self, server: RunningServer) -> None:
        self.admin = admin = server.client((server.data / "admin.key").read_text().strip())
        client = self.client = server.somebody("ada")
        self.email = client.get("users/me/")["email"]
        self.other = server.somebody("bob").get("users/me/")["email"]
        self.project = admin.call("POST", "projects/", 201, json={"name": "Wing"}).json()["id"]
        self.file = client.upload("cavity.zip", b"no archive")["id"]
        self.text = client.upload("text.txt", b"first line\nsecond line\nlast line")["id"]
        folder = client.get("/api/v3/users/me/folders/")["myLibrary"]
        self.library = f"/api/v3/folders/{folder}/"
        client.call("POST", self.library, 201, json={"name": "cases"})
        self.draft = self.basic()["id"]
        self.done = client.run("true", code="openfoam", version=VERSION)["id"]
        self.failed = client.run("false")["id"]
        tail = "printf 'first\\nline without newline\\nnext line' > U"
        self.live = client.create(f"mkdir cavity; cd cavity; {tail}; touch ready; sleep 600")["id"]
        client.submit(self.live)
        self.run = f"jobs/{self.live}/runs/1"
        ready = f"{self.run}/tail/cavity/ready"
        wait_for(lambda: client.http.get(ready).status_code == 200, "ready")
        client.call("POST", f"{self.run}/snapshot/", 200)
        wait_for(lambda: client.get(f"{self.run}/files/")["count"] == 1, "the snapshot")

    def basic(self) -> dict[str, Any]:
        """The job of the basic request."""
        return dict(self.client.call("POST", "jobs/", 201, json=self.request("basic")).json())

    def request(self, name: str) -> dict[str, Any]:
        body = sample(f"job_create_request_{name}")
        for analysis in body["jobanalyses"]:
            analysis["analysis"]["version"] = VERSION
            analysis["inputFiles"][0]["id"] = self.file
            for task in analysis.get("templateTasks", []):
                template = self.client.upload("U", b"(${x_velocity} ${y_velocity} 0)\n")
                task["templateFile"]["id"] = template["id"]
            if analysis.get("postProcessScript"):
                script = self.client.upload("extract.py", b"print('Cd\\t1')\n")
                analysis["postProcessScript"]["id"] = script["id"]
        if body.get("projectId"):
            body["projectId"] = self.project
        if body.get("paramFile"):
            table = b"x_velocity,y_velocity\n20,3\n20,3.5\n25,3\n"
            body["paramFile"]["id"] = self.client.upload("speeds.csv", table)["id"]
        return dict(body)

    def doe(self) -> dict[str, Any]:
        """The study of the request."""
        return dict(self.client.call("POST", "jobs/", 201, json=self.request("doe")).json())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = RunningServer(tmp_path_factory.mktemp("samples") / "data", CONFIG).start()
    yield World(server)
    server.end_everything()
    assert "Traceback" not in server.log(), server.log()


# --- requests -------------------------------------------------------------------------------------

NO_DEVICES = "This server has no storage devices: inputs and outputs lie on its own disk."

# name -> method, path, status; where it is refused on purpose, with what is said.
REQUESTS: dict[str, tuple[str, str, int, Any]] = {
    "job_create_request_basic": ("POST", "jobs/", 201, None),
    "job_create_request_modern_all_fields": ("POST", "jobs/", 201, None),
    "job_create_request_doe": ("POST", "jobs/", 201, None),
    "share_request": ("POST", "jobs/{draft}/share/", 200, None),
    "tag_request": ("POST", "jobs/{draft}/tags/", 201, None),
    "custom_fields_post": ("POST", "jobs/{draft}/custom-fields/", 200, None),
    # One machine: nothing to attach, and files go through the API, not to a store.
    "job_attach_storage_request": (
        "POST",
        "jobs/{draft}/storage-devices/",
        400,
        {"detail": NO_DEVICES},
    ),
    "storage_device_create_request": ("POST", "storage-devices/", 400, {"detail": NO_DEVICES}),
    "register_file_v3_request": (
        "POST",
        "/api/v3/files/",
        400,
        {
            "detail": "This server hands out no credentials of a store: upload to"
            " /api/v2/files/contents/, files go through the API."
        },
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_taken(world: World, name: str) -> None:
    method, path, status, told = REQUESTS[name]
    body = sample(name)
    if name.startswith("job_create"):
        body = world.request(name.removeprefix("job_create_request_"))
    if name == "share_request":
        body["email"] = world.other
    if "doe" in name:
        body["jobanalyses"][0]["postProcessScript"]["id"] = world.text
    reply = world.client.call(method, path.format(draft=world.draft), status, json=body)
    if told is not None:
        assert reply.json() == told


# --- replies --------------------------------------------------------------------------------------


def _get(path: str) -> Callable[[World], Any]:
    return lambda world: world.client.get(path.format(**vars(world)))


def _post(path: str, status: int, name: str) -> Callable[[World], Any]:
    def ask(world: World) -> Any:
        body = sample(name)
        if name == "share_request":
            body["email"] = world.other
        return world.client.call("POST", path.format(**vars(world)), status, json=body).json()

    return ask


def _page_of_one(path: str, code: str) -> Callable[[World], Any]:
    """A page with the entry that the sample shows."""

    def ask(world: World) -> Any:
        page = world.client.get(path)
        return {**page, "results": [one for one in page["results"] if one["code"] == code]}

    return ask


def _tagged(world: World) -> Any:
    world.client.call("POST", f"jobs/{world.draft}/tags/", 201, json=sample("tag_request"))
    return world.client.get(f"jobs/{world.draft}/tags/")


def _fields(world: World) -> Any:
    body = sample("custom_fields_post")
    world.client.call("POST", f"jobs/{world.draft}/custom-fields/", 200, json=body)
    return world.client.get(f"jobs/{world.draft}/custom-fields/")


def _patched(world: World) -> Any:
    sent = sample("job_patch_response_2016")
    return world.client.call("PATCH", f"jobs/{world.draft}/", 200, json=sent).json()


def _jobs(world: World) -> Any:
    """As in the sample: one that is over and a draft that was never submitted."""
    page = world.client.get("jobs/?page_size=100")
    chosen = [
        one for job in (world.done, world.draft) for one in page["results"] if one["id"] == job
    ]
    return {**page, "results": chosen}


def _cli_status(world: World) -> Any:
    """What the command line puts together from three replies."""
    place = f"jobs/{world.live}/"
    return {
        "lastStatus": world.client.get(f"{place}statuses/")["results"][0],
        "connectionDetails": world.client.get(f"{place}connection_details/"),
        "loadMeasurements": world.client.get(f"{place}cluster-load-measurements/"),
    }


def _cli_upload(world: World) -> Any:
    """Of what the command line says of an upload, that which it has from the reply."""
    times = {"success": True, "startTime": "", "endTime": ""}
    return {**times, "files": [world.client.get(f"files/{world.text}/")]}


REPLIES: dict[str, Callable[[World], Any]] = {
    "analyses_list": _page_of_one("analyses/?page_size=99", "openfoam"),
    "analysis": _get("analyses/openfoam/"),
    "analysis_licensed_fragment": _get("analyses/openfoam/"),
    "automations_v3_bare_list": _get("/api/v3/automations/"),
    "cli_status_extended": _cli_status,
    "cli_upload_extended": _cli_upload,
    "cluster_statuses": _get("jobs/{done}/cluster_statuses/"),
    "computeprices_bare_list": _get("billing/computeprices/"),
    "coretype": lambda world: _page_of_one("coretypes/?page_size=99", "standard-plus")(world)[
        "results"
    ][0],
    "coretypes_list": _page_of_one("coretypes/?page_size=99", "standard-plus"),
    "custom_fields_get": _fields,
    "directory_contents": _get("{run}/directory-contents/"),
    "file": _get("files/{file}/"),
    "file_lines": _get("files/{text}/lines/"),
    "files_list": _get("files/?page_size=2"),
    "folder_contents_v3": lambda world: world.client.get(f"{world.library}contents/"),
    "job_instances": _get("jobs/{done}/instances/"),
    "job_or_run_files": _get("jobs/{done}/files/"),
    "job_patch_response_2016": _patched,
    "job_response_doe": lambda world: world.doe(),
    "job_response_v2": lambda world: world.basic(),
    "job_statuses": _get("jobs/{done}/statuses/"),
    "job_statuses_failed_run": _get("jobs/{failed}/statuses/"),
    "jobs_list": _jobs,
    "projects_list": _get("users/me/projects/"),
    "remote_viz_config": _get("remote-viz-config/"),
    "run": _get("jobs/{done}/runs/1/"),
    "runs_list_executing": _get("jobs/{live}/runs/"),
    "server_load_task_handle": _get("jobs/{done}/servers/load/"),
    "share_response": _post("jobs/{draft}/share/", 200, "share_request"),
    "snapshot": _post("{run}/snapshot/", 200, "tag_request"),  # the body is passed over
    "tags_bare_list": _tagged,
    "tail_with_lines": _get("{run}/tail/cavity/U?lines=2"),
    "task": lambda world: world.client.get(
        f"tasks/{world.client.get(f'jobs/{world.done}/servers/load/')['token']}/"
    ),
    "users_me": _get("users/me/"),
}

# Where a reply is not as recorded, on purpose: path -> why, and what is there. The test fails where
# this is not so any more.
DIFFERENT: dict[str, dict[str, tuple[str, Any]]] = {
    "job_response_doe": {
        "jobanalyses[].envVars": ("null where none was sent, as the tutorial shows", None)
    },
    "job_instances": {
        "results[].publicIp": ("nobody can log in to a run", None),
        "results[].publicHostname": ("nobody can log in to a run", None),
        "results[].sshPort": ("nobody can log in to a run", None),
        "results[].username": ("nobody can log in to a run", None),
    },
    "cli_upload_extended": {
        "files[].pathParts": ("files go through the API: there is no store to point at", ...),
        "files[].storage": ("files go through the API: there is no store to point at", ...),
    },
    "users_me": {"defaultStorage": ("files go through the API, not to a store", None)},
    "coretype": {"compute": ("nobody knows what it measures; null is documented too", None)},
    "coretypes_list": {"results[].compute": ("the same", None)},
}
# Samples of what is not here at all.
NOT_HERE = {
    "credentials_v3_s3": "files go through the API; asking for credentials is refused",
    "storage_device": "there are no storage devices; making one is refused",
}


def test_every_sample_is_used() -> None:
    used = [*REQUESTS, *REPLIES, *NOT_HERE, "errors"]
    assert sorted(used) == sorted(path.stem for path in FOLDER.glob("*.json"))
    assert set(DIFFERENT) <= set(REPLIES)


def _take(value: Any, path: str) -> list[Any]:
    """Take what stands at a path out of a value; `...` where there is nothing."""
    head, _, rest = path.partition(".")
    if head.endswith("[]"):
        return [found for one in value[head[:-2]] for found in _take(one, rest)]
    return _take(value[head], rest) if rest else [value.pop(head, ...)]


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_as_recorded(world: World, name: str) -> None:
    recorded, reply = sample(name), REPLIES[name](world)
    for path, (_, ours) in DIFFERENT.get(name, {}).items():
        kept = _take(recorded, path)
        found = _take(reply, path)
        assert found and all(one is ours for one in found), (path, found)
        assert all(one not in (None, ...) for one in kept), f"{path} of the sample"
    same_shape(recorded, reply)
    if isinstance(reply, dict) and "results" in reply and name != "remote_viz_config":
        assert reply["results"], "an empty page shows nothing"


def test_values_that_are_as_recorded(world: World) -> None:
    """Some samples say more than a shape."""
    client = world.client
    told, study = sample("job_response_doe"), world.doe()
    for name in ("jobvariables", "expectedRuns"):
        assert study[name] == told[name]
    assert study["paramFile"]["typeId"] == told["paramFile"]["typeId"] == 3
    ours, theirs = (job["jobanalyses"][0]["templateTasks"][0] for job in (study, told))
    assert ours["templateFile"]["typeId"] == theirs["templateFile"]["typeId"] == 2
    assert client.get(f"files/{world.text}/lines/") == sample("file_lines")
    tail = client.get(f"{world.run}/tail/cavity/U?lines=2")
    assert tail["lines"] == sample("tail_with_lines")["lines"]
    assert tail["fileType"].endswith("work/cavity/U: ASCII text")
    resource = f"/api/jobs/{world.live}/runs/1/tail/cavity/U"
    assert {"path": "cavity/U", "resource": resource} in client.get(
        f"{world.run}/directory-contents/"
    )
    assert _tagged(world)[0] in sample("tags_bare_list")
    assert _fields(world) == sample("custom_fields_get")
    for job, name in ((world.done, "job_statuses"), (world.failed, "job_statuses_failed_run")):
        words = [one["status"] for one in sample(name)["results"]]
        assert [one["status"] for one in client.statuses(job)] == words
    words = [one["status"] for one in sample("cluster_statuses")["results"]]
    found = client.get(f"jobs/{world.done}/cluster_statuses/")["results"]
    assert [one["status"] for one in found] == words
    told = sample("snapshot")
    reply = client.call("POST", f"{world.run}/snapshot/", 200).json()
    assert {**reply, "lastSnapshotID": told["lastSnapshotID"]} == told
    made = [file["id"] for file in client.get(f"{world.run}/files/")["results"]]
    assert reply["lastSnapshotID"] in made


ERRORS: dict[str, Callable[[World], tuple[int, Any]]] = {
    "401_no_header": lambda world: _said(world, "GET", "jobs/", 401, {"Authorization": None}),
    "401_bad": lambda world: _said(world, "GET", "jobs/", 401, {"Authorization": "Token x"}),
    "403": lambda world: _said(world, "POST", "projects/", 403, json={"name": "x"}),
    "404": lambda world: _said(world, "GET", "jobs/XXXXX/", 404),
    "404_page": lambda world: _said(world, "GET", "jobs/?page=99", 404),
    "405": lambda world: _said(world, "POST", "analyses/", 405),
    "400_field": lambda world: _said(world, "POST", "projects/", 400, json={}, admin=True),
    "400_nested": lambda world: _said(
        world,
        "POST",
        "jobs/",
        400,
        json=_analyses({}, {"hardware": {"coreType": "emerald", "coresPerSlot": "x"}}),
    ),
    "400_version": lambda world: _said(
        world,
        "POST",
        "jobs/",
        400,
        json=_analyses({"analysis": {"code": "openfoam", "version": "11"}}),
    ),
    "415": lambda world: _said(
        world, "POST", "jobs/", 415, {"Content-Type": "text/plain"}, content=b"x"
    ),
}


def _analyses(*changes: dict[str, Any]) -> dict[str, Any]:
    analyses = [{**definition()["jobanalyses"][0], **change} for change in changes]
    return {"name": "x", "jobanalyses": analyses}


def _said(
    world: World,
    method: str,
    path: str,
    status: int,
    headers: dict[str, Any] | None = None,
    *,
    admin: bool = False,
    **options: Any,
) -> Any:
    client = world.admin if admin else world.client
    request = client.http.build_request(method, path, **options)
    for name, value in (headers or {}).items():
        if value is None:
            del request.headers[name]
        else:
            request.headers[name] = value
    reply = client.http.send(request)
    assert reply.status_code == status, reply.text
    return reply.json()


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_as_recorded(world: World, name: str) -> None:
    assert ERRORS[name](world) == sample("errors")[name]


def test_other_errors_are_elsewhere() -> None:
    """Expired keys and broken JSON in test_http.py and test_jobs.py, throttling in
    test_throttle.py.
    """
    assert set(sample("errors")) - set(ERRORS) == {"401_expired", "400_parse", "429"}
