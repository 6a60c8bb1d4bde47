"""The authorisation matrix: every operation as every caller (policy: tests/matrix.py)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

import contract
from harness import CONFIG, Client, RunningServer, definition, wait_for
from matrix import Answer, Who, answer
from simyard.api.app import OPERATIONS
from simyard.api.routes import PARAMETER, Operation

_CONFIG = CONFIG.replace("cores = 4", "cores = 64")
_SAY_KEY = 'echo "key $RESCALE_API_KEY"'


_ANNOUNCED = {"Upload-Length": "5", "Upload-Metadata": "filename eC50eHQ="}  # x.txt
_APPENDED = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}


class World:
    """A server with one caller of each kind, and the owner's things."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        admin = (server.data / "admin.key").read_text().strip()
        self.clients = {
            Who.OWNER: server.client(),
            Who.SHARED: server.client(server.key("bob@lab.example")),
            Who.OTHER: server.client(server.key("eve@lab.example")),
            Who.ADMIN: server.client(admin),
            Who.READ_ONLY: server.client(server.key("ron@lab.example")),
            Who.ANONYMOUS: server.client("x"),
        }
        self.owner = self.clients[Who.OWNER]
        self.admin = self.clients[Who.ADMIN]
        del self.clients[Who.ANONYMOUS].http.headers["Authorization"]
        self.members = {
            member["email"]: member["id"] for member in self.admin.get("members/")["results"]
        }
        reader = f"members/{self.members['ron@lab.example']}/"
        self.admin.call("PATCH", reader, 200, json={"role": "read-only"})
        self.clients[Who.EXPIRED] = server.client(self._expired_key())
        self.clients[Who.REVOKED] = server.client(self._revoked_key())
        # Jobs that nothing is done to.
        self.file = self.owner.upload("in.txt", b"one\ntwo\n")["id"]
        self.draft = self.new_draft()
        finished = self.owner.create(_SAY_KEY, inputs=[self.file])["id"]
        self.running = self.owner.create(f"{_SAY_KEY}; sleep 600", inputs=[self.file])["id"]
        for job in (finished, self.running):
            self.owner.submit(job)
            self._share(job)
        self.finished = finished
        self.owner.finished(finished)
        self.clients[Who.FINISHED] = server.client(self._said(self.owner.log_of(finished)))
        tail = f"jobs/{self.running}/runs/1/tail/process_output.log"

        def said() -> str:
            reply = self.owner.http.get(tail, params={"lines": 5})
            return "\n".join(reply.json().get("lines", []))

        wait_for(lambda: "key" in said(), "the running job's key")
        self.clients[Who.RUNNING] = server.client(self._said(said()))
        self.cluster = self.owner.get(f"jobs/{self.running}/clusters/")["results"][0]["id"]
        self.library = self.owner.get("/api/v3/users/me/folders/")["myLibrary"]

    @staticmethod
    def _said(log: str) -> str:
        found = re.search(r"key ([0-9a-f]{64})", log)
        assert found, log
        return found[1]

    def _expired_key(self) -> str:
        key = self.server.key("ada@lab.example", "--expires-in-days", "1")
        wait = "UPDATE api_keys SET expires_at = created_at WHERE expires_at IS NOT NULL"
        self.server.change_database(wait)
        return key

    def _revoked_key(self) -> str:
        made = self.owner.call("POST", "keys/", 201, json={"label": "lost"}).json()
        self.owner.call("DELETE", f"keys/{made['id']}/", 204)
        return str(made["key"])

    def _share(self, job: str) -> None:
        for email in ("bob@lab.example", "ron@lab.example"):
            self.owner.call("POST", f"jobs/{job}/share/", 200, json={"email": email})

    def new_draft(self) -> str:
        job = str(self.owner.create("true", inputs=[self.file])["id"])
        self._share(job)
        return job

    def new_draft_of_a_job(self) -> str:
        return str(self.owner.call("POST", "drafts/", 201, json=definition()).json()["id"])

    def new_upload(self) -> str:
        """One that is not finished."""
        made = self.owner.call("POST", "uploads/", 201, headers=_ANNOUNCED)
        return made.headers["Location"].rsplit("/", 2)[-2]

    def new_file(self) -> str:
        """An upload that is seen through a shared job."""
        file = str(self.owner.upload("x.txt", b"text\n")["id"])
        self._share(self.owner.create("true", inputs=[file])["id"])
        return file

    def new_folder(self) -> str:
        World.number += 1
        body = {"name": f"folder {World.number}"}
        made = self.owner.call("POST", f"/api/v3/folders/{self.library}/", 201, json=body)
        return str(made.json()["id"])

    number = 0

    def new_key(self) -> str:
        return str(self.owner.call("POST", "keys/", 201, json={}).json()["id"])

    def new_invitation(self) -> dict[str, Any]:
        World.number += 1
        body = {"email": f"new{World.number}@lab.example"}
        return dict(self.admin.call("POST", "invitations/", 201, json=body).json())

    def new_project(self) -> str:
        World.number += 1
        body = {"name": f"Project {World.number}"}
        return str(self.admin.call("POST", "projects/", 201, json=body).json()["id"])

    def new_archive(self) -> str:
        made = self.owner.call("POST", f"jobs/{self.finished}/archives/", 201, json={})
        return str(made.json()["id"])

    def new_task(self) -> str:
        return str(self.owner.get(f"jobs/{self.finished}/servers/load/")["token"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = RunningServer(tmp_path_factory.mktemp("matrix") / "data", _CONFIG).start()
    try:
        yield World(running)
    finally:
        running.end_everything()
    assert "Traceback" not in running.log(), running.log()


@dataclass(frozen=True, kw_only=True)
class Row:
    """How to ask for an operation."""

    json: Callable[[World], Any] | None = None
    files: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    # Parameters of the path; what is changed by the request is made anew for each.
    values: dict[str, Callable[[World], str]] = field(default_factory=dict)
    also: tuple[int, ...] = ()  # statuses of a request that is let through and refused by itself


def _body(value: Any) -> Callable[[World], Any]:
    return lambda _: value


def _on(attribute: str) -> dict[str, Callable[[World], str]]:
    return {"job_id": lambda world: getattr(world, attribute)}


_DRAFT = {"job_id": lambda world: world.new_draft()}
_FILE = {"file_id": lambda world: world.new_file()}
_SEEN_FILE = {"file_id": lambda world: world.file}
_UPLOAD = {"upload_id": lambda world: world.new_upload()}
_FOLDER = {"folder_id": lambda world: world.new_folder()}
_SITE = {"org": lambda _: "simyard", "workspace_id": lambda _: "01-0001"}
_TAG = _body({"name": "cfd"})
_FINISHED, _RUNNING = _on("finished"), _on("running")
_JOB_DRAFT = {"draft_id": lambda world: world.new_draft_of_a_job()}
_OWN_PAGE = {"X-Simyard": "1"}
_NOTHING = Row()
_STUDY_ANSWERS = (
    "", "columns/", "table/", "statistics/", "effects/", "correlation/", "sensitivity/", "slices/",
    "pareto/", "convergence/", "exceedance/", "compare/", "export/", "gallery/",
)  # fmt: skip

# Version 3 is asked for in the same way where a path has no row of its own.
ROWS: dict[str, Row] = {
    "POST files/contents/": Row(files={"file": ("a.txt", b"a")}),
    "PUT files/contents/": Row(files={"file": ("a.txt", b"a")}),
    "OPTIONS uploads/": _NOTHING,
    "GET uploads/": _NOTHING,
    "POST uploads/": Row(headers=_ANNOUNCED),
    "HEAD uploads/{upload_id}/": Row(values=_UPLOAD),
    "PATCH uploads/{upload_id}/": Row(values=_UPLOAD, headers=_APPENDED),
    "DELETE uploads/{upload_id}/": Row(values=_UPLOAD),
    "POST uploads/{upload_id}/": Row(
        values=_UPLOAD, headers={**_APPENDED, "X-HTTP-Method-Override": "PATCH"}
    ),
    "GET files/": _NOTHING,
    "GET files/{file_id}/": Row(values=_SEEN_FILE),
    "PATCH files/{file_id}/": Row(values=_FILE, json=_body({"name": "b.txt"})),
    "PUT files/{file_id}/": Row(values=_FILE, json=_body({"name": "b.txt", "typeId": 2})),
    "DELETE files/{file_id}/": Row(values=_FILE),
    "GET files/{file_id}/contents/": Row(values=_SEEN_FILE),
    "HEAD files/{file_id}/contents/": Row(values=_SEEN_FILE),
    "GET files/{file_id}/lines/": Row(values=_SEEN_FILE),
    "GET files/{file_id}/tags/": Row(values=_SEEN_FILE),
    "POST files/{file_id}/tags/": Row(values=_FILE, json=_TAG),
    "DELETE files/{file_id}/tags/": Row(values=_FILE, json=_TAG),
    "POST files/": Row(),  # of version 3: refused
    "GET analyses/": _NOTHING,
    "GET analyses/{code}/": Row(values={"code": lambda _: "user_included"}),
    "GET coretypes/": _NOTHING,
    "GET billing/computeprices/": _NOTHING,
    "GET jobs/": _NOTHING,
    "POST jobs/": Row(json=_body(definition())),
    "GET jobs/rows/": _NOTHING,
    "GET jobs/sparklines/": _NOTHING,
    "GET jobs/facets/": _NOTHING,
    # What is done to many jobs is asked of each: tests/api/test_bulk.py.
    "POST jobs/bulk/": Row(json=lambda world: {"action": "stop", "ids": [world.finished]}),
    "GET search/": Row(also=(400,)),
    "GET machine/": _NOTHING,
    "GET jobs/{job_id}/": Row(values=_FINISHED),
    "PUT jobs/{job_id}/": Row(values=_DRAFT, json=_body(definition("false"))),
    "PATCH jobs/{job_id}/": Row(values=_DRAFT, json=_body({"name": "B"})),
    "DELETE jobs/{job_id}/": Row(values=_DRAFT),
    "POST jobs/{job_id}/submit/": Row(values=_DRAFT),
    "POST jobs/{job_id}/stop/": Row(values=_FINISHED),
    "POST jobs/{job_id}/share/": Row(values=_DRAFT, json=_body({"email": "eve@lab.example"})),
    "DELETE jobs/{job_id}/share/": Row(values=_DRAFT, json=_body({"email": "bob@lab.example"})),
    "POST organizations/{org}/jobs/{job_id}/project-assignment/": Row(
        values={**_SITE, **_DRAFT}, json=lambda world: {"projectId": world.new_project()}
    ),
    "GET jobs/{job_id}/tags/": Row(values=_FINISHED),
    "POST jobs/{job_id}/tags/": Row(values=_DRAFT, json=_TAG),
    "DELETE jobs/{job_id}/tags/": Row(values=_DRAFT, json=_TAG),
    "GET jobs/{job_id}/custom-fields/": Row(values=_FINISHED),
    "POST jobs/{job_id}/custom-fields/": Row(values=_DRAFT, json=_body({"Material": "steel"})),
    "GET jobs/{job_id}/statuses/": Row(values=_FINISHED),
    "POST jobs/{job_id}/statuses/": Row(values=_FINISHED),
    "GET jobs/{job_id}/cluster_statuses/": Row(values=_FINISHED),
    "GET jobs/{job_id}/files/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/files/": Row(values=_FINISHED),
    # A job of one run is no study: who owns it is told so.
    "POST jobs/{job_id}/runs/": Row(
        values=_FINISHED, json=_body({"variables": {"x": 1}}), also=(400,)
    ),
    "PATCH jobs/{job_id}/runs/{run_id}/": Row(
        values=_FINISHED, json=_body({"isOptimal": True}), also=(400,)
    ),
    "POST jobs/{job_id}/finish/": Row(values=_FINISHED, also=(400,)),
    "POST jobs/{job_id}/template-preview/": Row(values=_FINISHED),
    "POST estimates/": Row(json=_body(definition())),
    "GET drafts/": _NOTHING,
    "POST drafts/": Row(json=_body({"name": "A draft"})),
    "GET drafts/{draft_id}/": Row(values=_JOB_DRAFT),
    "PUT drafts/{draft_id}/": Row(
        values=_JOB_DRAFT, json=_body({"name": "B"}), headers={"If-Match": '"1"'}
    ),
    "DELETE drafts/{draft_id}/": Row(values=_JOB_DRAFT),
    "POST drafts/validate/": Row(json=_body({})),
    "POST drafts/{draft_id}/validate/": Row(values=_JOB_DRAFT),
    "POST drafts/{draft_id}/submit/": Row(values=_JOB_DRAFT),
    "POST jobs/{job_id}/draft/": Row(values=_FINISHED),
    **{
        f"GET jobs/{{job_id}}/study/{answer}": Row(values=_FINISHED, also=(400,))
        for answer in _STUDY_ANSWERS
    },
    "POST jobs/{job_id}/study/rerun/": Row(values=_FINISHED, json=_body({}), also=(400,)),
    "POST jobs/{job_id}/study/extract/": Row(values=_FINISHED, json=_body({}), also=(400,)),
    "POST jobs/{job_id}/study/points/": Row(
        values=_FINISHED, json=_body({"count": 1}), also=(400,)
    ),
    "POST jobs/{job_id}/runs/{run_id}/stop/": Row(values=_FINISHED, also=(400,)),
    "POST jobs/{job_id}/runs/{run_id}/restart/": Row(values=_FINISHED, also=(400,)),
    "POST jobs/{job_id}/runs/{run_id}/snapshot/": Row(values=_RUNNING),
    "GET jobs/{job_id}/runs/{run_id}/directory-contents/": Row(values=_RUNNING),
    "GET jobs/{job_id}/runs/{run_id}/tail/{path}/": Row(
        values={**_RUNNING, "path": lambda _: "process_output.log"}
    ),
    "GET jobs/{job_id}/runs/{run_id}/series/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/series/data/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/metrics/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/metrics/data/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/log/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/log/search/": Row(values=_FINISHED, also=(400,)),
    "GET jobs/{job_id}/runs/{run_id}/log/marks/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/convergence/": Row(values=_FINISHED),
    "GET jobs/{job_id}/runs/{run_id}/live/": Row(values=_RUNNING),
    "GET jobs/{job_id}/runs/{run_id}/tree/": Row(values=_FINISHED),
    # The path is missing, and a text is no picture.
    "GET jobs/{job_id}/runs/{run_id}/preview/": Row(values=_FINISHED, also=(400,)),
    "GET jobs/{job_id}/runs/{run_id}/image/": Row(values=_FINISHED, also=(400,)),
    "GET files/{file_id}/preview/": Row(values=_FILE),
    "GET files/{file_id}/image/": Row(values=_FILE, also=(400,)),
    "POST jobs/{job_id}/archives/": Row(values=_FINISHED, json=_body({})),
    "GET jobs/{job_id}/archives/{archive_id}/": Row(
        values={**_FINISHED, "archive_id": lambda world: world.new_archive()}
    ),
    "GET events/": _NOTHING,
    "GET jobs/{job_id}/instances/": Row(values=_FINISHED),
    "GET jobs/{job_id}/clusters/": Row(values=_FINISHED),
    "GET clusters/{cluster_id}/statuses/": Row(values={"cluster_id": lambda world: world.cluster}),
    "POST clusters/{cluster_id}/remote_viz_hardware_settings/password/": Row(
        values={"cluster_id": lambda world: world.cluster}
    ),
    "GET jobs/{job_id}/connection_details/": Row(values=_FINISHED),
    "GET jobs/{job_id}/cluster-load-measurements/": Row(values=_FINISHED),
    "GET jobs/{job_id}/servers/load/": Row(values=_FINISHED),
    "GET jobs/{job_id}/logs/": Row(values=_FINISHED),
    "GET tasks/{token}/": Row(values={"token": lambda world: world.new_task()}),
    "GET users/me/": _NOTHING,
    "GET ": _NOTHING,
    "GET users/me/projects/": _NOTHING,
    "GET projects/": _NOTHING,
    "POST projects/": Row(json=lambda _: {"name": f"P {id(object())} {World.number}"}),
    "PATCH projects/{project_id}/": Row(
        values={"project_id": lambda world: world.new_project()}, json=_body({"isOpen": False})
    ),
    "GET members/": _NOTHING,
    "PATCH members/{member_id}/": Row(
        values={"member_id": lambda world: world.members["eve@lab.example"]},
        json=_body({"fullName": "Eve"}),
    ),
    "GET keys/": _NOTHING,
    "POST keys/": Row(json=_body({"label": "more"})),
    "DELETE keys/{key_id}/": Row(values={"key_id": lambda world: world.new_key()}),
    "GET invitations/": _NOTHING,
    "POST invitations/": Row(json=_body({"email": "someone@lab.example"})),
    "DELETE invitations/{invitation_id}/": Row(
        values={"invitation_id": lambda world: world.new_invitation()["id"]}
    ),
    "POST invitations/accept/": Row(json=lambda world: {"token": world.new_invitation()["token"]}),
    "GET organizations/{org}/workspaces/{workspace_id}/billing/": Row(values=_SITE),
    "GET organizations/{org}/workspaces/{workspace_id}/custom-fields/": Row(values=_SITE),
    # Whoever asks: a session is in the cookie, and these callers have none.
    "POST session/": Row(json=lambda world: {"key": world.owner.key}, headers=_OWN_PAGE),
    "GET session/": Row(also=(401,)),
    "DELETE session/": Row(headers=_OWN_PAGE),
    "GET console/": _NOTHING,
    "GET examples/": _NOTHING,
    "GET examples/{name}/contents/": Row(values={"name": lambda _: "airfoil"}),
    "GET users/me/folders/": _NOTHING,
    "GET folders/{folder_id}/contents/": Row(values=_FOLDER),
    "POST folders/{folder_id}/": Row(values=_FOLDER, json=_body({"name": "inner"})),
    "PATCH folders/{folder_id}/": Row(values=_FOLDER, json=lambda world: {"name": world.new_key()}),
    "DELETE folders/{folder_id}/": Row(values=_FOLDER),
    "POST folders/{folder_id}/contents/archive/": Row(values=_FOLDER, json=_body({})),
    "GET users/me/folders/trash-bin/": _NOTHING,
    "POST users/me/folders/trash-bin/recover/": Row(json=_body({})),
    "POST users/me/folders/trash-bin/delete/": Row(json=_body({})),
    "GET remote-viz-config/": _NOTHING,
    "GET storage-devices/": _NOTHING,
    "POST storage-devices/": _NOTHING,
    "POST jobs/{job_id}/storage-devices/": Row(values=_FINISHED),
    "POST credentials/": _NOTHING,
    "GET automations/": _NOTHING,
    "GET developer-analyses/": _NOTHING,
}


def key_of(operation: Operation) -> str:
    path = PARAMETER.sub(r"{\1}", operation.path)
    return f"{operation.method} {re.sub('^/api/v[23]/', '', path)}"


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert {key_of(operation) for operation in OPERATIONS} == set(ROWS)


def _ask(world: World, operation: Operation, row: Row, client: Client) -> httpx.Response:
    values = {"run_id": "1", **{name: make(world) for name, make in row.values.items()}}
    path = PARAMETER.sub(lambda found: values[found[1]], operation.path)
    body: dict[str, Any] = {}
    if row.json is not None:
        body["json"] = row.json(world)
    if row.files is not None:
        body["files"] = row.files
    if row.headers:
        body["headers"] = row.headers
    url = client.base.removesuffix("/api/v2/") + path
    client.http.cookies.clear()  # a session that another row has begun
    with client.http.stream(operation.method, url, **body) as reply:  # events never end
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            return reply
        reply.read()
    contract.hold(reply)
    return reply


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_matrix(world: World, operation: Operation) -> None:
    row = ROWS[key_of(operation)]
    statuses = {Answer.UNKNOWN: {401}, Answer.FORBIDDEN: {403}, Answer.HIDDEN: {404}}
    statuses[Answer.YES] = {operation.status, *row.also}
    wrong = []
    for who, client in world.clients.items():
        expected = answer(operation, who)
        reply = _ask(world, operation, row, client)
        if reply.status_code not in statuses[expected]:
            wrong.append(f"{who}: {reply.status_code}, not {expected}")
    assert set(world.clients) == set(Who)
    assert not wrong, wrong


def test_a_jobs_key_ends_with_it(world: World) -> None:
    job = world.owner.create(f"{_SAY_KEY}; sleep 600")["id"]
    world.owner.submit(job)
    tail = f"jobs/{job}/runs/1/tail/process_output.log?lines=3"
    wait_for(
        lambda: "key" in world.owner.http.get(tail).text, "the key in the log of the running job"
    )
    key = World._said(world.owner.http.get(tail).text)
    inside = world.server.client(key)
    assert inside.get("users/me/")["email"] == "ada@lab.example"
    world.owner.call("POST", f"jobs/{job}/stop/", 202)
    world.owner.finished(job)
    reply = inside.call("GET", "users/me/", 401)
    assert reply.json() == {"detail": "API key is no longer active"}


def test_a_member_who_leaves_and_comes_back(world: World) -> None:
    invited = world.new_invitation()
    made = world.admin.call(
        "POST", "invitations/accept/", 201, json={"token": invited["token"], "fullName": "Zoe"}
    ).json()
    zoe = world.server.client(made["key"])
    assert zoe.get("users/me/")["fullName"] == "Zoe"
    zoe.create()
    place = f"members/{made['member']['id']}/"
    world.admin.call("PATCH", place, 200, json={"isActive": False})
    zoe.call("GET", "jobs/", 401)
    # The invitation was for once.
    body = {"token": invited["token"]}
    world.admin.call("POST", "invitations/accept/", 404, json=body)
    again = world.admin.call(
        "POST", "invitations/", 201, json={"email": invited["email"], "role": "read-only"}
    ).json()
    back = world.admin.call(
        "POST", "invitations/accept/", 201, json={"token": again["token"]}
    ).json()
    assert back["member"]["id"] == made["member"]["id"]
    zoe.call("GET", "jobs/", 401)
    reader = world.server.client(back["key"])
    assert reader.get("jobs/")["count"] == 1
    reader.call("POST", "jobs/", 403, json=definition())


def test_the_last_administrator_stays(world: World) -> None:
    me = world.admin.get("users/me/")["email"]
    place = f"members/{world.members[me]}/"
    for change in ({"role": "member"}, {"isActive": False}):
        reply = world.admin.call("PATCH", place, 400, json=change)
        assert reply.json() == {"detail": "This is the last administrator."}
