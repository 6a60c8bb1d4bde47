"""Requests made up from the OpenAPI document, bounded: never a 5xx, never a status, a kind or a
shape that the document does not tell.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import contract
from harness import CONFIG, Client, RunningServer, definition

_EXAMPLES = 12  # of each operation
_SCHEMA = schemathesis.openapi.from_dict(contract.DOCUMENT)
_ENDLESS = {"/api/v2/events/", "/api/v2/jobs/{job_id}/runs/{run_id}/live/"}
_OPERATIONS = {
    f"{found.ok().method.upper()} {found.ok().path}": found.ok()
    for found in _SCHEMA.get_all_operations()
    if found.ok().path not in _ENDLESS
}


def _begin_upload(client: Client) -> str:
    headers = {"Upload-Length": "5", "Upload-Metadata": "filename YQ=="}
    made = client.call("POST", "uploads/", 201, headers=headers)
    return made.headers["Location"].rsplit("/", 2)[-2]


class World:
    """A server with something of each kind, and an administrator who may do everything."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.http = httpx.Client(timeout=20)
        key = (server.data / "admin.key").read_text().strip()
        self.headers = {"Authorization": f"Token {key}"}
        client = server.client(key)
        file = client.upload("a.txt", b"a\n")
        finished = client.run("echo hi", inputs=[file["id"]])["id"]
        self.known: dict[str, list[str]] = {
            "job_id": [finished, client.create()["id"], client.create()["id"]],
            "run_id": ["1"],
            "file_id": [file["id"], client.get(f"jobs/{finished}/files/")["results"][0]["id"]],
            "path": ["process_output.log"],
            "code": ["user_included", "openfoam"],
            "org": ["simyard"],
            "workspace_id": ["01-0001"],
            "cluster_id": [client.get(f"jobs/{finished}/clusters/")["results"][0]["id"]],
            "token": [client.get(f"jobs/{finished}/servers/load/")["token"]],
            "upload_id": [_begin_upload(client) for _ in range(3)],
            "archive_id": [
                client.call("POST", f"jobs/{finished}/archives/", 201, json={}).json()["id"]
            ],
            "draft_id": [
                client.call("POST", "drafts/", 201, json=body).json()["id"]
                for body in ({}, definition(), definition())
            ],
            "folder_id": list(client.get("/api/v3/users/me/folders/").values()),
            "member_id": [client.get("members/")["results"][0]["id"]],
            "project_id": [client.call("POST", "projects/", 201, json={"name": "P"}).json()["id"]],
            "key_id": ["0123456789ab"],
            "invitation_id": ["ABCDEFGH"],
            "name": ["airfoil"],
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = RunningServer(tmp_path_factory.mktemp("fuzz") / "data", CONFIG).start()
    try:
        made = World(running)
        yield made
        made.http.close()
    finally:
        running.end_everything()
    assert "Traceback" not in running.log(), running.log()


@pytest.mark.parametrize("name", list(_OPERATIONS))
def test_made_up_requests(world: World, name: str) -> None:
    operation = _OPERATIONS[name]

    @seed(1)
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), data=st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        for parameter in re.findall(r"\{(\w+)\}", operation.path):
            if data.draw(st.integers(0, 3), label="known"):
                known = world.known[parameter]
                case.path_parameters[parameter] = data.draw(st.sampled_from(known))
        sent = case.as_transport_kwargs(base_url=world.server.address)
        sent["headers"] = {**(sent.get("headers") or {}), **world.headers}
        reply = _send(world.http, sent)
        assert reply.status_code < 500, reply.text
        contract.hold(reply, proves=False)  # what is made up is not the same each time

    ask()


def _send(http: httpx.Client, sent: dict[str, Any]) -> httpx.Response:
    """What `requests` would send."""
    known = ("method", "url", "headers", "params", "json", "data", "files")
    made = requests.Request(**{name: sent[name] for name in known if name in sent}).prepare()
    assert made.method is not None and made.url is not None
    body = made.body.encode() if isinstance(made.body, str) else made.body
    headers = [(name, value) for name, value in made.headers.items() if name != "Content-Length"]
    return http.request(made.method, made.url, headers=headers, content=body)
