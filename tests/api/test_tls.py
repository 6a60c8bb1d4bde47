"""HTTPS by settings: how it is spoken, how certificates are renewed, what is said of bad files."""

import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner
from cryptography import x509

from certificates import Files, anybody, only
from harness import RunningServer, ServerDied, wait_for
from simyard.cli.main import cli

Fresh = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("secure") / "data", files.config).start()
    yield running
    assert running.alive, running.log()
    running.end_everything()
    assert "Traceback" not in running.log(), running.log()


def where(server: RunningServer) -> tuple[str, int]:
    address = urlsplit(server.address)
    assert address.hostname and address.port
    return address.hostname, address.port


def connect(server: RunningServer, context: ssl.SSLContext, name: str = "") -> ssl.SSLSocket:
    plain = socket.create_connection(where(server), timeout=20)
    try:
        return context.wrap_socket(plain, server_hostname=name or where(server)[0])
    except BaseException:
        plain.close()
        raise


def serial_of(server: RunningServer, context: ssl.SSLContext | None = None) -> int:
    """Of the certificate that a new connection is shown."""
    with connect(server, context or anybody()) as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


# --- what is spoken -------------------------------------------------------------------------------


def test_everything_is_there_over_https(secure: RunningServer, files: Files) -> None:
    assert secure.address.startswith("https://127.0.0.1:")
    headers = {"Authorization": f"Token {secure.key()}"}
    base = secure.address
    with httpx.Client(base_url=base, headers=headers, verify=files.trust(), timeout=30) as http:
        for path in ("/health", "/metrics", "/", "/api/openapi.json", "/api/v2/users/me/"):
            assert http.get(path).status_code == 200, path
        content = os.urandom(5_000_000)
        sent = http.post("/api/v2/files/contents/", files={"file": ("a", content)}).json()
        assert sent["downloadUrl"] == f"{base}/api/v2/files/{sent['id']}/contents/"
        assert http.get(sent["downloadUrl"]).content == content
        page = http.get("/api/v2/coretypes/?page_size=1").json()
        assert page["next"].startswith(f"{base}/api/v2/coretypes/")
        assert http.get(page["next"]).status_code == 200
        assert "strict-transport-security" not in http.get("/health").headers


def test_the_command_trusts_whom_it_is_told_to(secure: RunningServer, files: Files) -> None:
    environment = {"SIMYARD_API_KEY": secure.key(), "SIMYARD_URL": secure.address}
    doubtful = CliRunner().invoke(cli, ["api", "users/me/"], env=environment)
    assert doubtful.exit_code == 1 and doubtful.stdout == ""
    assert "is not trusted: self-signed certificate\nhint: SIMYARD_CA_FILE" in doubtful.stderr
    environment["SIMYARD_CA_FILE"] = str(files.certificate)
    done = CliRunner().invoke(cli, ["api", "users/me/"], env=environment)
    assert (done.exit_code, done.stderr) == (0, "") and "ada@lab.example" in done.stdout
    environment["SIMYARD_CA_FILE"] = __file__
    done = CliRunner().invoke(cli, ["api", "users/me/"], env=environment)
    assert done.exit_code == 1 and "no certificates in PEM form" in done.stderr


@pytest.mark.parametrize("name", ["TLSv1_2", "TLSv1_3"])
def test_versions_that_are_spoken(secure: RunningServer, name: str) -> None:
    context = only(ssl.TLSVersion[name])
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(secure, context) as connection:
        assert connection.version() == name.replace("_", ".")
        assert connection.selected_alpn_protocol() == "http/1.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.skipif(not ssl.HAS_TLSv1_1, reason="OpenSSL here cannot try TLS 1.1")
def test_older_versions_are_not(secure: RunningServer) -> None:
    """That this client can speak one is shown by tests/unit/test_tls.py."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(secure, only(ssl.TLSVersion.TLSv1_1))


def test_a_client_that_speaks_plainly(secure: RunningServer, files: Files) -> None:
    """Gets nothing, and the log is not filled by it."""
    before = secure.log()
    for sent in (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"\x16\x03\x01", b"\0" * 5000):
        with socket.create_connection(where(secure), timeout=20) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert b"HTTP" not in connection.recv(1000)
    with connect(secure, files.trust()):
        pass  # says nothing and goes away
    assert serial_of(secure) == 1
    assert secure.log() == before


# --- renewal --------------------------------------------------------------------------------------


def hang_up(server: RunningServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def test_a_renewed_certificate_without_a_restart(fresh: Fresh, tmp_path: Path) -> None:
    """From RSA to another kind of key too, as seen by clients that would take either."""
    files = Files(tmp_path, "rsa2048")
    server = fresh(files.config).start()
    before = files.trust()
    with httpx.Client(base_url=server.address, verify=before, timeout=30) as http:
        with http.stream("GET", "/health") as reply:  # the connection that must outlive it
            network = reply.extensions["network_stream"]
            assert serial_of(server) == 1
            files.renew(2)
            assert serial_of(server) == 1, "not before it is told"
            hang_up(server)
            wait_for(lambda: serial_of(server) == 2, "the new certificate")
            reply.read()
        with http.stream("GET", "/health") as reply:
            assert reply.extensions["network_stream"] is network, "the same connection"
            assert reply.status_code == 200
    assert serial_of(server, files.trust()) == 2

    # What is no good leaves things as they are.
    for bad, told in ((b"nonsense", "no private key"), (b"", "No such file")):
        files.key.write_bytes(bad) if bad else files.key.unlink()
        hang_up(server)
        wait_for(lambda told=told: told in server.log(), told)  # type: ignore[misc]
        assert serial_of(server) == 2
    assert server.log().count("The certificate stays as it was. tls_key: ") == 2
    files.renew(3, "rsa2048")
    hang_up(server)
    wait_for(lambda: serial_of(server) == 3, "the third certificate")
    assert "Traceback" not in server.log()
    assert server.stop() == 0


# --- what stops the start -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ('tls_key = "KEY"', "tls_key: there is no tls_certificate"),
        ('tls_certificate = "/none"\ntls_key = "KEY"', "tls_certificate: /none: No such file"),
        ('tls_certificate = "CERTIFICATE"', "and tls_key names none"),
    ],
)
def test_bad_files_stop_the_start(fresh: Fresh, files: Files, config: str, told: str) -> None:
    """And nothing else has happened by then. What is bad in which way: tests/unit/test_tls.py."""
    config = config.replace("KEY", str(files.key)).replace("CERTIFICATE", str(files.certificate))
    server = fresh(config)
    before = sorted(path.name for path in server.data.iterdir())
    with pytest.raises(ServerDied) as caught:
        server.start()
    said = str(caught.value).removeprefix("''\n")
    assert said.startswith("error: tls_") and said.count("\n") == 1 and told in said
    assert server.process is not None and server.process.returncode == 1
    assert sorted(path.name for path in server.data.iterdir()) == before
