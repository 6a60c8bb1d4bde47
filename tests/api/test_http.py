"""What holds for every request: who is asked, how paths are written, what errors look like."""

import os
import sqlite3
import time
from collections.abc import Callable

import httpx
import pytest

from harness import Client, RunningServer
from simyard.api import errors
from simyard.console.pages import DIST, is_built
from simyard.domain.errors import SimyardError
from simyard.service.users import REMEMBERED_SECONDS


def request(server: RunningServer, method: str, path: str, **options: object) -> httpx.Response:
    return httpx.request(method, server.address + path, **options)  # type: ignore[arg-type]


# --- keys -----------------------------------------------------------------------------------------


def test_without_a_key(server: RunningServer) -> None:
    reply = request(server, "GET", "/api/v2/jobs/")
    assert reply.status_code == 401
    assert reply.json() == {"detail": "Authentication credentials were not provided."}
    assert reply.headers["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("path", ["/api/v2/", "/api/v2", "/api/", "/api/v2/no/such/path/"])
def test_even_the_root_and_unknown_paths_ask_for_a_key(server: RunningServer, path: str) -> None:
    assert request(server, "GET", path).status_code == 401


@pytest.mark.parametrize("scheme", ["Token", "token", "TOKEN", "Bearer", "bearer"])
def test_schemes(server: RunningServer, client: Client, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {client.key}"}
    reply = request(server, "GET", "/api/v2/users/me/", headers=headers)
    assert reply.json()["email"] == "ada@lab.example"
    assert request(server, "GET", "/api/v2/", headers=headers).status_code == 200


@pytest.mark.parametrize("value", ["Token nonsense", "Token", "Basic YTpi", "", "Token a b", "é"])
def test_keys_that_are_none(server: RunningServer, value: str) -> None:
    headers = {"Authorization": value.encode("latin-1")}
    reply = request(server, "GET", "/api/v2/jobs/", headers=headers)
    assert reply.status_code == 401 and reply.json()["detail"]


def test_expired_and_revoked_keys(server: RunningServer) -> None:
    expired, revoked = server.client(server.key()), server.client(server.key())
    expired.get("users/me/"), revoked.get("users/me/")
    database = sqlite3.connect(server.data / "simyard.db", timeout=20)
    with database:
        newest = "(SELECT max(id) FROM api_keys)"
        before = "(SELECT max(id) - 1 FROM api_keys)"
        now = int((time.time() - 1) * 1e6)
        database.execute(f"UPDATE api_keys SET revoked_at = {now} WHERE id = {newest}")
        database.execute(f"UPDATE api_keys SET expires_at = {now} WHERE id = {before}")
    database.close()
    time.sleep(REMEMBERED_SECONDS)
    assert expired.get("users/me/", 401) == {"detail": "API key is no longer active"}
    assert revoked.get("users/me/", 401) == {"detail": "Invalid token."}


def test_keys_are_40_hex_digits_and_not_in_the_database(server: RunningServer) -> None:
    key = server.key("hex@lab.example")
    assert len(key) == 40 and int(key, 16)
    for path in server.data.glob("simyard.db*"):
        assert key.encode() not in path.read_bytes()
        assert bytes.fromhex(key) not in path.read_bytes()


def test_the_first_start_makes_an_administrator(server: RunningServer) -> None:
    path = server.data / "admin.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"the API key is in {path}" in server.log()
    assert server.client(path.read_text().strip()).get("users/me/")["email"] == "admin@localhost"


def test_a_refused_upload_is_not_read(server: RunningServer) -> None:
    files = {"file": ("big", b"x" * 30_000_000)}
    headers = {"Authorization": "Token nonsense"}
    try:
        reply = request(server, "POST", "/api/v2/files/contents/", files=files, headers=headers)
        assert reply.status_code == 401
    except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
        pass  # the server closed the connection while we were still sending


# --- the caller -----------------------------------------------------------------------------------


def test_me(client: Client) -> None:
    me = client.get("users/me/")
    assert me["email"] == "ada@lab.example"
    assert me["fullName"] == "ada"
    assert me["company"]["code"]
    assert set(me["workspace"]) == {"id", "name"}
    assert me["maxJobHours"] == 48


# --- the catalogue --------------------------------------------------------------------------------


def test_analyses(client: Client, server: RunningServer) -> None:
    page = client.get("analyses/?page_size=100")
    found = {entry["code"]: entry for entry in page["results"]}
    assert {"openfoam", "calculix", "python", "user_included", "user_included_mpi"} <= set(found)
    core_types = [c["code"] for c in client.get("coretypes/?page_size=100")["results"]]
    for entry in found.values():
        assert isinstance(entry["installed"], bool)
        first = entry["versions"][0]
        assert first["aliasOf"] is None, "the real version comes first"
        for version in entry["versions"]:
            assert version["allowedCoreTypes"] == core_types
        for icon in [entry["thumbnail"], *(i["icon"] for i in entry["industries"])]:
            assert icon.startswith(server.address)
            reply = httpx.get(icon)
            assert reply.status_code == 200
            assert reply.headers["Content-Type"].startswith("image/svg")


def test_core_types(client: Client) -> None:
    page = client.get("coretypes/?isActive=true&page_size=100")
    assert page["count"] == 36
    local = page["results"][0]
    assert local["code"] == "local" and local["isPrimary"] is True
    for entry in page["results"]:
        assert entry["cores"] == sorted(entry["cores"])
        assert len(entry["gpuCounts"]) == len(entry["cores"])
        assert isinstance(entry["price"], int | float)
        assert isinstance(entry["lowPriorityPrice"], str)


# --- paths and errors -----------------------------------------------------------------------------


def test_unknown_paths_answer_in_json(client: Client, server: RunningServer) -> None:
    assert client.get("no/such/path/", 404) == {"detail": "Not found."}
    assert client.get("jobs/XXXXX/no-such/", 404) == {"detail": "Not found."}
    if not is_built(DIST):  # what is not the API is the console's
        reply = request(server, "GET", "/elsewhere")
        assert (reply.status_code, reply.json()) == (404, {"detail": "Not found."})


def test_wrong_methods(client: Client) -> None:
    reply = client.call("PUT", "jobs/", 405)
    assert reply.json() == {"detail": 'Method "PUT" not allowed.'}
    assert "GET" in reply.headers["Allow"]


def test_links_lead_back_to_the_host_that_was_asked(server: RunningServer, client: Client) -> None:
    headers = {"Authorization": f"Token {client.key}", "Host": "simyard.lab.example:1234"}
    url = f"{server.address}/api/coretypes?page_size=5&x=%C3%BC"
    page = httpx.get(url, headers=headers).json()
    expected = "http://simyard.lab.example:1234/api/coretypes?page_size=5&x=%C3%BC&page=2"
    assert page["next"] == expected
    second = httpx.get(url + "&page=2", headers=headers).json()
    assert second["previous"] == expected.removesuffix("&page=2")


def test_an_empty_body_with_a_content_type_is_fine(client: Client) -> None:
    headers = {"Content-Type": "application/json"}
    client.call("GET", "jobs/", 200, headers=headers)
    job = client.create("sleep 30")
    client.call("POST", f"jobs/{job['id']}/submit/", 200, headers=headers)
    client.call("POST", f"jobs/{job['id']}/stop/", 202, json={"a": ["whole", "body"]})
    client.finished(job["id"])
    client.call("DELETE", f"jobs/{job['id']}/", 204, headers=headers)


def test_every_error_has_a_status() -> None:
    """A new kind of error cannot be forgotten in the table."""

    def below(kind: type[SimyardError]) -> list[type[SimyardError]]:
        return [kind, *(inner for child in kind.__subclasses__() for inner in below(child))]

    for kind in set(below(SimyardError)) - {SimyardError}:
        assert any(base in errors.STATUS for base in kind.__mro__), kind
    # The domain's own are spelled out.
    own = {kind for kind in below(SimyardError) if kind.__module__ == "simyard.domain.errors"}
    assert own - {SimyardError} <= set(errors.STATUS)


# --- beside the API -------------------------------------------------------------------------------


def test_health(server: RunningServer) -> None:
    reply = request(server, "GET", "/health")
    assert reply.status_code == 200
    health = reply.json()
    assert {"status", "version", "engine", "isolation", "database"} <= set(health)
    assert health["status"] == health["database"] == "ok"
    assert health["engine"] == "local"


def test_metrics(server: RunningServer, client: Client) -> None:
    client.run()
    text = request(server, "GET", "/metrics").text
    assert 'simyard_http_replies_total{status="200"}' in text
    assert 'simyard_runs{state="running"}' in text
    assert "simyard_cores 4.0" in text
    assert "simyard_info{" in text


def test_the_front_page_and_openapi(server: RunningServer) -> None:
    assert "Simyard" in request(server, "GET", "/").text
    document = request(server, "GET", "/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert {"/api/v2/jobs/", "/api/v2/files/contents/", "/api/v2/jobs/{job_id}/submit/"} <= set(
        document["paths"]
    )


def test_links_of_a_site_behind_a_proxy(fresh: Callable[..., RunningServer]) -> None:
    server = fresh('public_url = "https://jobs.example.org/"').start()
    client = server.client()
    file = client.upload("a.txt", b"a")
    assert file["downloadUrl"] == f"https://jobs.example.org/api/v2/files/{file['id']}/contents/"
    client.upload("b.txt", b"b")
    page = client.get("files/?page_size=1")
    assert page["next"].startswith("https://jobs.example.org/api/v2/files/?")


def test_the_data_folder_is_for_its_owner_only(fresh: Callable[..., RunningServer]) -> None:
    """Also where the first key is made before the first start."""
    server = fresh()
    before = os.umask(0o022)
    try:
        key = server.key()
        server.start().client(key).upload("a.txt", b"a")
    finally:
        os.umask(before)
    found = [*server.data.glob("simyard.db*"), *server.data.glob("*.key")]
    found += [path for path in (server.data / "blobs").rglob("*") if path.is_file()]
    assert len(found) >= 4
    for path in found:
        assert path.stat().st_mode & 0o077 == 0, path
