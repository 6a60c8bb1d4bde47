"""What the console asks for at its start, examples, and that no content runs in its origin."""

import http.client
import io
import sys
import tempfile
import zipfile
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import harness
from harness import CONFIG, Client, RunningServer, serving, wait_for
from simyard import __version__

_ARMED = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


def test_what_there_is(server: RunningServer, client: Client) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    told = client.get("console/")
    me, health = client.get("users/me/"), httpx.get(f"{server.address}/health").json()
    assert told["version"] == __version__
    assert told["user"]["email"] == me["email"] and told["user"]["role"] == me["role"]
    assert told["user"]["code"] in {one["id"] for one in client.get("members/")["results"]}
    assert told["rights"] == {"canWrite": True, "isAdmin": False}
    assert told["prefix"] == ""
    assert {name: told["limits"][name] for name in me["limits"]} == me["limits"]
    assert told["limits"]["uploadBytes"] is None
    assert told["limits"]["walltimeSeconds"] == 172_800
    for name in ("isolation", "isolationDetail", "network", "engine", "engines", "cores"):
        assert told[name] == health[name], name
    assert told["memoryBytes"] > 10**8
    assert ("studies" in told["features"]) is (find_spec("scipy") is not None)
    assert ("parquet" in told["features"]) is (find_spec("pyarrow") is not None)
    analyses = client.get("analyses/?page_size=2000")["results"]
    assert [
        (one["code"], one["name"], one["installed"], one["installHint"]) for one in told["solvers"]
    ] == [(one["code"], one["name"], one["installed"], one["installHint"]) for one in analyses]
    for one in told["solvers"]:
        assert one["installed"] or not one["version"], one
    assert before < datetime.fromisoformat(told["now"]) < datetime.now(UTC) + timedelta(seconds=1)


def test_it_is_sent_again_only_where_it_is_another(server: RunningServer) -> None:
    cid = server.somebody("cid")
    first = cid.call("GET", "console/", 200)
    assert first.headers["cache-control"] == "private, no-cache"
    known = {"If-None-Match": first.headers["etag"]}
    again = cid.call("GET", "console/", 304, headers=known)
    assert not again.content and again.headers["etag"] == first.headers["etag"]
    assert again.headers["x-simyard-now"] > first.headers["x-simyard-now"] == first.json()["now"]
    assert cid.get("console/")["now"] > first.json()["now"]
    admin = server.client((server.data / "admin.key").read_text().strip())
    code = first.json()["user"]["code"]
    admin.call("PATCH", f"members/{code}/", 200, json={"role": "read-only"})
    other = cid.call("GET", "console/", 200, headers=known)
    assert other.json()["rights"] == {"canWrite": False, "isAdmin": False}
    assert other.headers["etag"] != first.headers["etag"]
    assert admin.get("console/")["rights"] == {"canWrite": True, "isAdmin": True}


def test_where_runs_are_not_isolated_it_says_so() -> None:
    config = (
        CONFIG + 'sandbox = "off"\nmax_upload_bytes = 1000\nuser_storage_bytes = 5000\n'
        'trusted_proxies = ["127.0.0.1"]\n'
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # every user may walk to it
        with serving(RunningServer(Path(folder) / "data", config)) as server:
            told = server.client().get("console/", headers={"X-Forwarded-Prefix": "/tools/sim"})
    assert told["prefix"] == "/tools/sim"
    assert told["isolation"] == "none"
    assert told["notices"] == [{"code": "no-isolation", "message": told["isolationDetail"]}]
    assert told["limits"]["uploadBytes"] == 1000
    assert told["limits"]["storageBytes"] == {"used": 0, "limit": 5000}


def with_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **files: str
) -> AbstractContextManager[RunningServer]:
    """A server whose console is made of these files; one without a console where there are none."""
    dist = tmp_path / "dist"
    for name, content in files.items():
        path = dist / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    code = (
        "import pathlib, simyard.console.pages as pages\n"
        f"pages.DIST = pathlib.Path({str(dist)!r})\n"
        "from simyard.cli.main import main\nmain()\n"
    )
    monkeypatch.setattr(harness, "SIMYARD", [sys.executable, "-c", code])
    config = f'{CONFIG}trusted_proxies = ["127.0.0.1"]\n'
    return serving(RunningServer(tmp_path / "data", config))


def raw(server: RunningServer, path: str, key: str = "") -> tuple[int, bytes]:
    """A path that is sent as it stands."""
    address = urlsplit(server.address)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Token {key}"} if key else {})
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, content


NOWHERE = ["/api/v2/nosuch", "/api/nosuch/", "/api/v9/jobs/", "/api/", "/api/v2/assets/a.js"]


def test_the_console_is_beside_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = {"index.html": "<html><head><title>T</title></head></html>", "assets/a.js": "1"}
    with with_console(tmp_path, monkeypatch, **page) as server:
        assert "/login#t=" in server.log()
        for path in ("/", "/jobs/nosuch/log", "/login", "/apis", "/../admin.key"):
            assert raw(server, path) == (
                200, b'<html><head><base href="/"><title>T</title></head></html>'
            ), path  # fmt: skip
        reply = httpx.get(f"{server.address}/jobs", headers={"X-Forwarded-Prefix": "/tools/sim/"})
        assert '<head><base href="/tools/sim/"><title>' in reply.text
        hostile = {"X-Forwarded-Prefix": '/"><script>'}
        assert 'base href="/"' in httpx.get(f"{server.address}/jobs", headers=hostile).text
        assert raw(server, "/assets/a.js") == (200, b"1")
        for path in ("/assets/b.js", "/assets/../../data/admin.key", "/assets/%2e%2e/index.html"):
            assert raw(server, path) == (404, b"Not found."), path
        assert httpx.post(f"{server.address}/login").status_code == 405
        assert httpx.get(f"{server.address}/health").json()["status"] == "ok"
        assert raw(server, "/static/nosuch.svg")[0] == 404
        key = (server.data / "admin.key").read_text().strip()
        for path in NOWHERE:
            assert raw(server, path, key) == (404, b'{"detail":"Not found."}'), path
            assert raw(server, path)[0] == 401, path


def test_without_a_console_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with with_console(tmp_path, monkeypatch) as server:
        assert "/login#t=" not in server.log()
        status, page = raw(server, "/")
        assert status == 200 and b"make setup" in page and b"/api/v2/" in page
        key = (server.data / "admin.key").read_text().strip()
        for path in ("/jobs", "/assets/a.js", "/login", *NOWHERE):
            assert raw(server, path, key) == (404, b'{"detail":"Not found."}'), path


# --- examples -------------------------------------------------------------------------------------


def test_an_example_is_there_to_be_run(client: Client) -> None:
    airfoil, *others = client.get("examples/")
    installed = client.get("analyses/openfoam/")["installed"]
    assert airfoil["isRunnable"] is installed
    assert airfoil["whyNot"] == ("" if installed else "OpenFOAM is not installed.")
    for short, each in zip(client.get("console/")["examples"], (airfoil, *others), strict=True):
        assert short == {name: each[name] for name in short}
    reply = client.call("GET", f"examples/{airfoil['name']}/contents/", 200)
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        assert "airFoil2D/Allrun" in archive.namelist()
    assert reply.headers["content-disposition"].startswith('attachment; filename="airfoil2d.zip"')
    upload = client.upload(airfoil["fileName"], reply.content)
    body = airfoil["job"]
    body["jobanalyses"][0]["inputFiles"] = [{"id": upload["id"]}]
    job = client.call("POST", "jobs/", 201, json=body).json()
    assert job["name"] == airfoil["title"]
    assert "version-far" not in {notice["code"] for notice in job["notices"]}
    for name in ("nosuch", "..", "%2e%2e%2fconsole"):
        client.call("GET", f"examples/{name}/contents/", 404)


@pytest.mark.calculix
@pytest.mark.sandbox
def test_the_beam_bends_as_theory_says(client: Client) -> None:
    (beam,) = (each for each in client.get("examples/") if each["name"] == "beam")
    assert (beam["isRunnable"], beam["whyNot"]) == (True, "")
    archive = client.call("GET", "examples/beam/contents/", 200).content
    upload = client.upload(beam["fileName"], archive)
    body = beam["job"]
    body["jobanalyses"][0]["inputFiles"] = [{"id": upload["id"]}]
    job = client.call("POST", "jobs/", 201, json=body).json()
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    (table,) = client.get(f"jobs/{job['id']}/files/?search=beam.dat")["results"]
    printed = client.call("GET", f"files/{table['id']}/contents/", 200).text
    node, back, down, aside = map(float, printed.split("time  0.1000000E+01")[1].split())
    # Mattiasson, 1981: see examples/beam/beam.inp.
    assert (node, back, down) == (
        41,
        pytest.approx(-5.643, rel=1e-3),
        pytest.approx(-30.172, rel=1e-3),
    )
    assert abs(aside) < 1e-6


# --- contents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "page.xhtml", "x.pdf", "x"])
def test_what_users_upload_never_runs_in_our_origin(client: Client, name: str) -> None:
    file = client.upload(name, _ARMED)
    v2 = f"{client.base}files/{file['id']}/contents/"
    for path in (v2, v2.replace("/v2/", "/v3/")):
        for headers in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": "x"}):
            disarmed(client.http.get(path, headers={"Accept": "text/html", **headers}))
        disarmed(client.http.head(path))


def test_what_runs_write_never_runs_in_our_origin(client: Client) -> None:
    job = client.run("echo '<script>alert(1)</script>' | tee out.html; cp out.html out.svg")
    for file in client.get(f"jobs/{job['id']}/files/")["results"]:
        disarmed(client.http.get(file["downloadUrl"]))


def test_text_that_is_shown_stays_text(client: Client) -> None:
    job = client.create("echo '<script>alert(1)</script>' | tee live.html; sleep 600")["id"]
    client.submit(job)
    path = f"jobs/{job}/runs/1/tail/live.html"
    wait_for(lambda: b"<script>" in client.http.get(path).content, "the file")
    reply = client.http.get(path)
    client.call("POST", f"jobs/{job}/stop/", 202)
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    guarded(reply)


def guarded(reply: httpx.Response) -> None:
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert reply.headers["cache-control"] == "private"


def disarmed(reply: httpx.Response) -> None:
    guarded(reply)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"].startswith("attachment;")
