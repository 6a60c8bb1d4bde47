"""`simyard api`: requests from a terminal, and what becomes of them when the network is bad."""

import json
import os
import pty
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import simyard
from harness import SIMYARD, Client, RunningServer, definition
from proxying import Proxy
from simyard.cli.main import cli
from simyard.client import wire

Api = Callable[..., Result]


@pytest.fixture(scope="module")
def somebody(server: RunningServer) -> Client:
    return server.somebody("terminal")


@pytest.fixture
def newcomer(server: RunningServer, api: "Api", monkeypatch: pytest.MonkeyPatch) -> Client:
    """Who has nothing yet, and runs the command."""
    made = server.somebody("terminal")
    monkeypatch.setenv("SIMYARD_API_KEY", made.key)
    return made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another closely."""
    monkeypatch.setattr(wire, "WAITS_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture
def api(server: RunningServer, somebody: Client, monkeypatch: pytest.MonkeyPatch) -> Api:
    """The command as somebody runs it, on the server that every test has or on another."""
    monkeypatch.setenv("SIMYARD_API_KEY", somebody.key)
    monkeypatch.setenv("SIMYARD_URL", server.address)
    monkeypatch.delenv("SIMYARD_CA_FILE", raising=False)

    def run(*words: str | Path, at: str = "", stdin: bytes = b"") -> Result:
        url = ["--url", at] if at else []
        done = CliRunner().invoke(cli, ["api", *url, *map(str, words)], input=stdin)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


def reply(done: Result) -> Any:
    """What it printed, with nothing to complain about."""
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


def refused(done: Result, status: int = 1) -> str:
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith("error: " if status == 1 else "Usage: ")
    return done.stderr


class Between(socketserver.ThreadingTCPServer):
    """Stands before a server. `script` has what happens to the next requests: bytes are the reply
    to one, `cut` breaks the connection when the server has done it, a number lets so many bytes of
    the content through; then all goes through.
    """

    daemon_threads = True

    def __init__(self, upstream: RunningServer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.upstream = upstream
        self.script: list[bytes | str | int] = []
        self.heads: list[dict[str, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=[0.02])
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(10)


class Request(socketserver.StreamRequestHandler):
    server: Between

    def handle(self) -> None:
        first, *lines = iter(lambda: self.rfile.readline().decode("latin-1").strip(), "")
        head = dict(line.split(": ", 1) for line in lines)
        content = self.rfile.read(int(head.get("Content-Length", "0")))
        self.server.heads.append({"": first, **head})
        what = self.server.script.pop(0) if self.server.script else ""
        if isinstance(what, bytes):
            with suppress(ConnectionError):  # it may have enough
                self.wfile.write(what)
            return
        method, target, _ = first.split(" ")
        passed_on = ("Authorization", "Content-Type", "Idempotency-Key", "Range", "If-Range")
        sent = {name: value for name, value in head.items() if name in passed_on}
        address = self.server.upstream.address + target
        http = self.server.upstream.client().http
        done = http.request(method, address, content=content, headers=sent)
        if what != "cut":
            told = f"HTTP/1.1 {done.status_code} X\r\nContent-Length: {len(done.content)}\r\n"
            for name in ("Content-Type", "ETag", "Accept-Ranges", "Content-Range"):
                told += f"{name}: {done.headers[name]}\r\n" if name in done.headers else ""
            most = what if isinstance(what, int) else len(done.content)
            self.wfile.write(f"{told}\r\n".encode() + done.content[:most])


@pytest.fixture
def between(server: RunningServer) -> Iterator[Between]:
    made = Between(server)
    yield made
    made.close()


AGAIN = b"HTTP/1.1 %d Not now\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
JSON = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n\r\n%s"
DEEP = b"[" * 100_000


def seen(*words: str) -> str:
    """What a terminal gets to see, which is little here: nobody reads while the command runs."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb") as terminal:
        with os.fdopen(theirs, "w") as end, redirect_stdout(end), suppress(SystemExit):
            cli.main(["api", *words], standalone_mode=False)
        shown = b""
        with suppress(OSError):  # so a terminal ends
            while piece := terminal.read1():
                shown += piece
    return shown.decode().replace("\r\n", "\n")


# --- requests -------------------------------------------------------------------------------------


def test_a_job_from_its_upload_to_its_result(api: Api, somebody: Client, tmp_path: Path) -> None:
    case = tmp_path / 'a "case" of äß.txt'
    case.write_bytes(b"\0\xff" + os.urandom(99_999))
    file = reply(api("files/contents/", "--file", case))
    assert file["name"] == case.name
    (tmp_path / "job.json").write_text(json.dumps(definition("cat a* > b", inputs=[file["id"]])))
    job = reply(api("jobs/", "--json", f"@{tmp_path}/job.json"))["id"]
    renamed = reply(api("PATCH", f"jobs/{job}/", "--json", "-", stdin=b'{"name": "\xc3\xa4"}'))
    assert renamed["name"] == "ä"
    done = api("post", f"jobs/{job}/submit/")
    assert (done.exit_code, done.output) == (0, "")
    assert somebody.finished(job) == "Completed successfully"
    (found,) = reply(api(f"jobs/{job}/files/", "-q", "search=b", "-q", "page_size=1"))["results"]
    there = tmp_path / "there"
    there.write_text("of before")
    done = api(f"files/{found['id']}/contents/", "-o", there)
    assert (done.exit_code, done.output) == (0, "")
    assert (
        there.read_bytes()
        == case.read_bytes()
        == api(found["downloadUrl"][len(somebody.base) :]).stdout_bytes
    )
    assert api("DELETE", f"jobs/{job}/").exit_code == 0
    assert "(404)" in refused(api(f"/api/v3/jobs/{job}/"))
    assert list(tmp_path.glob(".*")) == []


def test_the_reply_is_printed_as_it_came(api: Api, somebody: Client) -> None:
    there = somebody.call("GET", "coretypes/?page_size=3", 200)
    assert api("coretypes/?page_size=3").stdout_bytes == there.content
    status, *head = api("-i", "coretypes/", "-q", "page_size=3").stdout.splitlines()
    assert status == "HTTP/1.1 200 OK"
    assert head[-2:] == ["", there.text]
    assert api("HEAD", "/api/v2/coretypes/").stdout.startswith("HTTP/1.1 200 OK\ndate: ")


def test_a_terminal_gets_lines_and_no_commands_and_what_is_full_an_error(
    server: RunningServer, somebody: Client
) -> None:
    job = somebody.create(job={"name": "\x1b[31mred \x9b31m ä"})["id"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "SIMYARD_API_KEY": somebody.key, "SIMYARD_URL": server.address}
    command = [*SIMYARD, "api", f"jobs/{job}/"]
    with os.fdopen(ours, "rb") as terminal:
        with os.fdopen(theirs) as end:
            subprocess.run(command, stdout=end, env=environment, timeout=100, check=True)
        shown = b""
        try:
            while piece := terminal.read1():
                shown += piece
        except OSError:
            pass  # so a terminal ends
    assert shown.startswith(b'{\r\n  "')
    assert json.loads(shown)["id"] == job
    with Path("/dev/full").open("w") as full:
        said = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=100, check=False
        )
    assert (said.returncode, said.stderr) == (1, b"error: stdout: No space left on device\n")
    assert b"\x1b" not in shown and "\x9b" not in shown.decode() and "ä" in shown.decode()


def test_whatever_comes_a_terminal_gets_no_commands(
    api: Api, between: Between, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = b"\t\x1b[2J\r\x7f\xc2\x9b1m\x9b \xc3\xa4\n"
    text = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    text += b"".join(b"1\r\n%c\r\n" % byte for byte in bad) + b"0\r\n\r\n"  # ends within characters
    broken = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    harmless = "\t\\x1b[2J\\x0d\\x7f\\x9b1m\\x9b ä\n"
    for came in (text, JSON % (200, bad), broken % (len(bad), bad)):
        between.script = [came, came]
        assert seen("--url", between.address, "jobs/") == harmless
        assert api("jobs/", at=between.address).stdout_bytes == bad
    between.script = [JSON % (400, bad)] * 2
    head = "HTTP/1.1 400 X\nContent-Type: application/json\n\n"
    assert seen("--url", between.address, "-i", "jobs/") == head + harmless
    assert api("-i", "jobs/", at=between.address).stdout_bytes == head.encode() + bad
    assert capsys.readouterr().err == "error: 400 X\n"
    between.script = [broken % (2000, b"[" * 2000)]
    assert seen("--url", between.address, "jobs/") == "[" * 2000


def test_all_pages_are_one_list(
    server: RunningServer, api: Api, newcomer: Client, tmp_path: Path
) -> None:
    assert api("files/", "--all").stdout == "[]\n"
    ids = [newcomer.upload(f"{n}.txt", b"x")["id"] for n in range(7)]
    proxy = Proxy(server.address)
    try:  # whose links have another host than the one that is asked
        at = f"http://127.0.0.1:{proxy.port}/sim"
        link = reply(api("files/", "-q", "page_size=3", at=at))["next"]
        assert link.startswith("http://simyard.internal/api/v2/files/?")
        listed = reply(api("files/?page_size=3", "--all", at=at))
    finally:
        proxy.close()
    assert [file["id"] for file in listed] == ids[::-1]
    api("files/", "--all", "-q", "search=4", "-o", tmp_path / "list")
    assert [file["id"] for file in json.loads((tmp_path / "list").read_text())] == [ids[4]]
    assert "no list in pages" in refused(api("users/me/", "--all"))


def test_pages_without_end(api: Api, between: Between, tmp_path: Path) -> None:
    page = JSON % (200, b'{"results": [1], "next": "http://x/?%s"}')
    last = JSON % (200, b'{"results": [2], "next": null}')
    between.script = [page % "a=é".encode(), last]
    assert reply(api("jobs/?page_size=1", "--all", at=between.address)) == [1, 2]
    assert between.heads[1][""] == "GET /api/v2/jobs/?a=%C3%A9 HTTP/1.1"
    there = tmp_path / "there"
    between.script = [page % b"page=2", page % b"page=3", page % b"page=2", last]
    said = refused(api("jobs/", "--all", "-o", there, at=between.address))
    assert "the list does not end" in said and between.script == [last]
    between.script = [page % b"a=\\ud800"]
    said = refused(api("jobs/", "--all", "-o", there, at=between.address))
    assert "'a=\\ud800' cannot stand in an address" in said
    assert not there.exists()


def test_events_are_printed_as_they_come(server: RunningServer, somebody: Client) -> None:
    environment = {**os.environ, "SIMYARD_API_KEY": somebody.key, "SIMYARD_URL": server.address}
    # Tests that run in the background may have been told to ignore a Ctrl-C.
    command = ["env", "--default-signal=INT", *SIMYARD, "api", "events/"]
    where = ""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as listener:
        assert listener.stdout and listener.stderr
        for line in iter(listener.stdout.readline, "event: hello\n"):
            assert line
            where = line if line.startswith("id: ") else where
        job = somebody.create()["id"]
        assert any(job in line for line in iter(listener.stdout.readline, ""))
        listener.send_signal(signal.SIGINT)
        assert listener.wait(30) == 130
        assert listener.stderr.read() == ""
    command += ["-H", f"Last-Event-ID: {where.removeprefix('id: ').strip()}"]
    with subprocess.Popen(command, env=environment, **pipes) as listener:
        assert listener.stdout
        assert any(job in line for line in iter(listener.stdout.readline, ""))
        listener.send_signal(signal.SIGINT)


def test_files_are_never_in_memory(api: Api, somebody: Client, tmp_path: Path) -> None:
    size = 24 << 20
    large, there = tmp_path / "large", tmp_path / "there"
    with large.open("wb") as file:
        file.truncate(size)
    api("users/me/")  # what is imported is not counted
    tracemalloc.start()
    try:
        sent = reply(api("files/contents/", "--file", large))
        assert api(f"files/{sent['id']}/contents/", "-o", there).exit_code == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent["decryptedSize"] == there.stat().st_size == size
    assert peak < 4 << 20


def test_what_is_no_file_of_its_own_is_written_through(api: Api, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to("behind")
    assert api("users/me/", "-o", link).exit_code == 0
    assert link.is_symlink() and "email" in json.loads((tmp_path / "behind").read_text())
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert api("users/me/", "-o", pipe).exit_code == 0
        assert "email" in json.loads(reader.communicate(timeout=100)[0])
    assert pipe.is_fifo()


def test_a_file_keeps_its_mode(api: Api, tmp_path: Path) -> None:
    for mode in (0o600, 0o664):
        secret = tmp_path / "secret"
        secret.touch()
        secret.chmod(mode)
        assert api("users/me/", "-o", secret).exit_code == 0
        assert secret.stat().st_mode & 0o777 == mode and secret.stat().st_size
    (tmp_path / "any").touch()
    assert api("users/me/", "-o", tmp_path / "new").exit_code == 0
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_the_light_package_is_enough(
    server: RunningServer, somebody: Client, tmp_path: Path
) -> None:
    (tmp_path / "click").symlink_to(Path(click.__file__).parent)
    source = Path(simyard.__file__).parents[1]
    environment = {
        "PYTHONPATH": f"{source}:{tmp_path}",
        "SIMYARD_API_KEY": somebody.key,
        "SIMYARD_URL": server.address,
    }
    command = [sys.executable, "-S", "-m", "simyard", "api", "users/me/"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == somebody.get("users/me/")


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Missing argument '[METHOD] PATH'"),
        (("GET",), "Missing argument 'PATH'"),
        (("BREW", "jobs/"), "'BREW' is not one of GET, "),
        (("GET", "jobs/", "now"), "unexpected argument 'now'"),
        (("GET", "jobs/", "--json", "{}"), "GET sends nothing"),
        (("jobs/", "--json", "{}", "--file", __file__), "either --json or --file"),
        (("jobs/", "--json", "{"), "this is not JSON"),
        (("jobs/", "--json", "NaN"), "this is not JSON: NaN is none of its values"),
        (("jobs/", "--json", DEEP.decode()), "this is not JSON: it is nested too deeply"),
        (("jobs/", "--json", "@none"), "none: No such file"),
        (("jobs/", "--file", "none"), "'none' does not exist"),
        (("jobs/", "-q", "page"), "'page' is not NAME=VALUE"),
        (("jobs/", "-H", "Authorization: Token x"), "the header Authorization cannot be given"),
        (("jobs/", "-H", "A: b\nC: d"), "the header A cannot be given"),
        (("jobs/", "-H", "a\nb: c"), r"the header a\nb cannot be given"),
        (("jobs/", "-H", " : c"), "the header  cannot be given"),
        (("POST", "jobs/", "--all"), "--all is for GET"),
        (("jobs/", "--output", "."), "is a directory"),
    ],
    ids=lambda value: "-".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_wrong_arguments(api: Api, words: tuple[str, ...], told: str) -> None:
    assert told in refused(api(*words), 2)


def test_what_the_server_has_against_it_is_told(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert refused(api("jobs/x/")) == "error: Not found. (404)\n"
    wrong = definition(cores=0)
    said = refused(api("jobs/", "--json", json.dumps(wrong)))
    assert said.startswith("error: jobanalyses.0.hardware.coresPerSlot: Ensure this value is ")
    del wrong["name"]
    said = refused(api("jobs/", "--json", json.dumps(wrong)))
    assert said.startswith("error: 400 Bad Request\n  ") and said.count("\n  ") == 2
    assert "\n  name: This field is required.\n" in said
    done = api("-i", "jobs/x/")
    assert done.exit_code == 1 and done.stdout.endswith('\n{"detail":"Not found."}')
    monkeypatch.setenv("SIMYARD_API_KEY", "0" * 40)
    assert "Invalid token. (401)\nhint: export SIMYARD_API_KEY" in refused(api("jobs/"))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 32)  # of which the server takes next to nothing
    assert "Invalid token. (401)" in refused(api("files/contents/", "--file", file.name))
    monkeypatch.setenv("SIMYARD_API_KEY", "")
    assert refused(api("jobs/")).startswith("error: SIMYARD_API_KEY is not set\nhint: ")
    monkeypatch.setenv("SIMYARD_API_KEY", "a\nHost: x")
    assert "characters that no key has" in refused(api("jobs/"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jobs.example.org",
        "ftp://x",
        "http://",
        "http://me:word@x",
        "http://x:y",
        "http://x?a=b",
        "http://x:0",
        "http://a..b/",
        "http://a b/",
        "http://\udcff/",
        "http://x/a/../b",
        "http://x/%2e%2e/b",
    ],
)
def test_an_address_that_is_none(api: Api, url: str) -> None:
    assert f"{url!r} is no address of a server" in refused(api("--url", url, "jobs/"))


def test_replies_that_make_no_sense(api: Api, between: Between) -> None:
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\nab"
    tree = b'{"a":' * 900 + b"1" + b"}" * 900
    page = b'{"next": null, "results": [%s]}'
    large = b"HTTP/1.1 500 X\r\nContent-Length: 9999999\r\n\r\n" + b"x" * (5 << 20)
    for came, words, told in [
        (AGAIN % (503, b"9" * 5000), (), "error: 503 Not now\n"),
        (AGAIN % (503, b"\xb2"), (), "error: 503 Not now\n"),
        (sized % b"\xb2", (), "Content-Length that is no number"),
        (sized % (b"9" * 5000), (), "Content-Length that is no number"),
        (JSON % (400, DEEP), (), "error: 400 X\n"),
        (JSON % (400, tree), (), "error: "),
        (JSON % (200, DEEP), ("--all",), "no list in pages"),
        (JSON % (200, page % tree), ("--all",), ""),
        (large, (), "error: 500 X\n"),
    ]:
        between.script = [came]
        done = api("jobs/", *words, at=between.address)
        assert told in done.stderr, (came[:80], done.stderr[:300])


def test_nobody_is_there(api: Api, somebody: Client) -> None:
    done = api("jobs/", at="http://127.0.0.1:1")
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.count("Connection refused; again in") == 3
    assert "error: no connection to http://127.0.0.1:1: Connection refused\nhint: " in done.stderr
    assert somebody.key not in done.stderr
    secure = somebody.base.replace("http:", "https:").removesuffix("/api/v2/")
    assert "no secure connection" in refused(api("jobs/", at=secure))


def test_how_long_it_waits(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        at = f"127.0.0.1:{mute.getsockname()[1]}/"
        monkeypatch.setattr(wire, "_CONNECT_SECONDS", 0.02)
        done = api("jobs/", at=f"https://{at}")
        assert done.exit_code == 1 and "timed out\nhint: does it run there?" in done.stderr
        monkeypatch.setattr(wire, "_CONNECT_SECONDS", 300)
        monkeypatch.setattr(wire, "_SILENCE_SECONDS", 0.02)
        done = api("jobs/", at=f"http://{at}")
        assert done.exit_code == 1 and "error: no reply from http://127.0.0.1:" in done.stderr


# --- whom the key is shown ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["http://evil.example/api/v2/jobs/", "//evil.example/jobs/", "ftp://evil.example/x"]
)
def test_the_key_goes_to_no_address(api: Api, path: str) -> None:
    said = refused(api(path))
    assert "the key is sent to http://127.0.0.1" in said
    assert "hint: where it is one of this server, give its path: /" in said


def test_redirects_lead_nowhere_else(api: Api, server: RunningServer, between: Between) -> None:
    for elsewhere in (server.address, "//localhost", "https://127.0.0.1", "http://[x"):
        between.script = [REDIRECT % f"{elsewhere}/api/v2/users/me/".encode()]
        said = refused(api("jobs/", at=between.address))
        assert "nothing was sent there" in said
    assert len(between.heads) == 4
    between.script = [
        REDIRECT % b"/api/v2/users/me/",
        REDIRECT % f"{between.address}/api/v2/users/me/".encode(),
    ]
    assert "email" in reply(api("jobs/", at=between.address))
    between.script = [REDIRECT % b"/api/v2/jobs/"]
    assert "nothing was sent there" in refused(api("POST", "jobs/", at=between.address))
    between.script = [REDIRECT % b"/again/"] * 9
    assert "on and on" in refused(api("jobs/", at=between.address))
    between.script = [REDIRECT % "/é/?é=é".encode()]
    api("jobs/", at=between.address)
    assert between.heads[-1][""] == "GET /%C3%A9/?%C3%A9=%C3%A9 HTTP/1.1"


def test_nothing_leads_out_of_the_server_s_part_of_a_host(api: Api, between: Between) -> None:
    at = f"{between.address}/sim"
    outside = (b"/", b"/sim", b"/other/", b"/simple/", b"/sim/../other/", b"../../../../other/")
    for location in (*outside, b"/sim/%2e%2e/other/", b"/sim/..%2Fother/", b"/sim/..\\other/"):
        between.script = [REDIRECT % location]
        assert "nothing was sent there" in refused(api("jobs/", at=at)), location
    assert len(between.heads) == 9
    between.script = [REDIRECT % b"../there/?a=..", JSON % (200, b"1")]
    assert reply(api("jobs/", at=at)) == 1
    assert between.heads[-1][""] == "GET /sim/api/v2/there/?a=.. HTTP/1.1"
    between.heads.clear()
    for path in (
        "../x",
        "/../x",
        "jobs/../../../../x",
        "jobs/%2e%2E/x",
        "/sim/..",
        "a%2F..",
        "..\\x",
    ):
        assert "has a part `..`" in refused(api(path, at=at)), path
    assert between.heads == []


@pytest.mark.parametrize(
    ("path", "query", "there"),
    [
        ("jobs/", [], "/sim/api/v2/jobs/"),
        ("api/v3/jobs/?a=1", [("b", "ä &=")], "/sim/api/v3/jobs/?a=1&b=%C3%A4%20%26%3D"),
        ("/health", [], "/sim/health"),
        ("/sim/api/v2/jobs/", [], "/sim/api/v2/jobs/"),
        ("jobs/a%2Fb/x y#z\n", [], "/sim/api/v2/jobs/a%2Fb/x%20y%23z%0A"),
        ("jobs/", [("q", "x"), ("q", "y")], "/sim/api/v2/jobs/?q=x&q=y"),
        ("jobs/\udcff/..x/", [("q", "\udcff")], "/sim/api/v2/jobs/%FF/..x/?q=%FF"),
    ],
)
def test_where_a_path_leads(path: str, query: list[tuple[str, str]], there: str) -> None:
    assert wire.Server("http://lab:8420/sim/", "key").target(path, query) == there


# --- a bad network --------------------------------------------------------------------------------


def test_what_was_not_done_is_asked_again(api: Api, newcomer: Client, between: Between) -> None:
    between.script = [AGAIN % (429, b"0"), AGAIN % (503, b"0")]
    done = api("jobs/", "--json", json.dumps(definition()), at=between.address)
    assert (done.exit_code, done.stderr) == (
        0,
        "429 Not now; again in 0 s\n503 Not now; again in 0 s\n",
    )
    assert [job["id"] for job in newcomer.get("jobs/")["results"]] == [
        json.loads(done.stdout)["id"]
    ]
    (key,) = {head["Idempotency-Key"] for head in between.heads}
    assert len(key) == 32 and len(between.heads) == 3
    for wait in (b"0", b"3600", b"soon"):
        between.script = [AGAIN % (503, wait)] * 4
        between.heads.clear()
        done = api("jobs/", at=between.address)
        assert (done.exit_code, done.stdout) == (1, "") and "error: 503 Not now" in done.stderr
        assert len(between.heads) == (4 if wait == b"0" else 1)
        between.script.clear()


def test_a_lost_reply_is_asked_for_again_and_nothing_is_done_twice(
    api: Api, newcomer: Client, between: Between, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("once")
    job = ("jobs/", "--json", json.dumps(definition()))
    for words, where in (
        (("files/contents/", "--file", tmp_path / "a.txt"), "files/"),
        (job, "jobs/"),
    ):
        between.script = ["cut", "cut"]
        done = api(*words, at=between.address)
        assert done.exit_code == 0 and done.stderr.count("; again in 0.01 s\n") == 2
        (made,) = newcomer.get(where)["results"]
        assert json.loads(done.stdout)["id"] == made["id"]
    between.script = ["cut"] * 4
    done = api(*job, "-H", "Idempotency-Key: k-1", at=between.address)
    assert done.exit_code == 1 and "whether it was done is not known\nhint: " in done.stderr
    assert "with -H 'Idempotency-Key: k-1' is not done twice" in done.stderr
    gone = ("DELETE", f"jobs/{newcomer.create()['id']}/")
    between.script = ["cut"]
    done = api(*gone, at=between.address)
    assert done.exit_code == 1
    assert done.stderr.endswith("Not found. (404)\nhint: an earlier try may have done it\n")
    assert refused(api(*gone)) == "error: Not found. (404)\n"
    again = reply(api(*job, "-H", "Idempotency-Key: k-1"))["id"]
    assert [job["id"] for job in newcomer.get("jobs/")["results"]] == [again, made["id"]]
    between.heads.clear()
    between.script = ["cut"]
    said = refused(api("PATCH", f"jobs/{again}/", "--json", '{"name": "B"}', at=between.address))
    assert "is not known" in said and len(between.heads) == 1


def test_what_is_done_again_of_itself(between: Between, somebody: Client) -> None:
    server = wire.Server(between.address, somebody.key)
    for headers, tries in (({}, 1), ({"idempotency-key": "k"}, 2)):
        for lost in ("cut", b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n"):
            between.heads.clear()
            between.script = [lost, JSON % (200, b"{}")]
            with suppress(wire.CallFailed):
                server.ask(wire.Call("POST", "/api/v2/jobs/", headers)).close()
            assert len(between.heads) == tries


def test_a_reply_that_breaks_off_is_no_file(api: Api, between: Between, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("of before")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"
    for begun in (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcde", chunked):
        between.script = [begun, begun]
        assert "broke off after 5" in refused(
            api("files/x/contents/", "-o", there, at=between.address)
        )
        assert api("files/x/contents/", at=between.address).stdout == "abcde"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert there.read_text() == "of before"
    between.script = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    assert "No such file" in refused(api("jobs/", "-o", tmp_path / "no" / "x", at=between.address))
    assert len(between.script) == 1, "what cannot be written is not asked for"


def test_a_download_goes_on_where_it_broke_off(
    api: Api, somebody: Client, between: Between, tmp_path: Path
) -> None:
    content = os.urandom(300_000)
    (tmp_path / "case").write_bytes(content)
    path = f"files/{reply(api('files/contents/', '--file', tmp_path / 'case'))['id']}/contents/"
    between.script = [100_000, 0, 0, 150_000, 0]
    there = tmp_path / "there"
    done = api(path, "-o", there, at=between.address)
    assert (done.exit_code, done.stdout) == (0, "") and there.read_bytes() == content
    told = "the reply broke off after 100000 of 300000 bytes; the rest in 0.01 s\n"
    assert done.stderr == 3 * told + 2 * told.replace("100000", "250000")
    asked = [head.get("Range") for head in between.heads]
    assert asked == [None, *["bytes=100000-"] * 3, *["bytes=250000-"] * 2]

    between.script = [9, 0, 0, 0, "cut"]
    done = api(path, "-o", there, at=between.address)
    assert (done.exit_code, done.stdout) == (1, "") and there.read_bytes() == content
    assert done.stderr.endswith("error: the reply broke off after 9 of 300000 bytes\n")
    assert len(between.script) == 1, "nothing came three times in a row"

    for other in (
        b"HTTP/1.1 200 X\r\nContent-Length: 300000\r\n\r\nanother file by now",
        b"HTTP/1.1 206 X\r\nContent-Range: bytes 8-299999/300000\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
    ):
        between.script = [9, other]
        done = api(path, "-o", there, at=between.address)
        assert done.exit_code == 1 and "after 9 of 300000 bytes, and there is no" in done.stderr
        assert there.read_bytes() == content
    between.script = [
        b'HTTP/1.1 200 X\r\nETag: W/"1"\r\nAccept-Ranges: bytes\r\nContent-Length: 9\r\n\r\n'
    ]
    assert "after 0 of 9 bytes" in refused(api(path, "-o", there, at=between.address))


def test_a_proxy_s_page_is_an_error_too(api: Api, between: Between) -> None:
    page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<p>"
    between.script = [page]
    done = api("users/me/", at=between.address)
    assert (done.exit_code, done.stderr) == (0, "502 Bad Gateway; again in 0.01 s\n")
    between.script = [page] * 4
    done = api("users/me/", at=between.address)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("\nerror: 502 Bad Gateway\n")
