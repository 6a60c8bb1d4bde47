"""The `simyard` command: what it does, what goes to stdout and to stderr, and how it ends."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import SIMYARD, RunningServer, ServerDied
from simyard import __version__
from simyard.cli.main import cli

Fresh = Callable[..., RunningServer]
Done = subprocess.CompletedProcess[str]


def simyard(*arguments: str | Path, environment: dict[str, str] | None = None) -> Done:
    """Run the command: `serve` in a process of its own, which it would change, others here."""
    texts, ours = [str(argument) for argument in arguments], environment or {}
    if texts[:1] == ["serve"] or "PYTHONPATH" in ours:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SIMYARD_")}
        return subprocess.run(
            [*SIMYARD, *texts],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**kept, **ours},
        )
    before = os.umask(0o022)  # which the command changes, for itself
    try:
        done = CliRunner().invoke(cli, texts, prog_name="simyard", env=ours)
    finally:
        os.umask(before)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(texts, done.exit_code, done.stdout, done.stderr)


def succeeded(done: Done) -> str:
    """What a command put on stdout that has nothing to complain about."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def failed(done: Done, status: int = 1) -> str:
    """What a command says that could not do it: on stderr alone, and fit for people."""
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr
    if status == 1:
        assert done.stderr.startswith("error: ")
    return done.stderr


# --- the command itself ---------------------------------------------------------------------------


def test_the_version() -> None:
    assert succeeded(simyard("--version")) == f"simyard, version {__version__}\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), ["serve", "api", "keys", "catalogue", "--version"]),
        (("api",), ["[METHOD] PATH", "--query", "--json", "--file", "--output", "--all", "--url"]),
        (("keys",), ["create"]),
        (("keys", "create"), ["--email", "--admin", "--expires-in-days", "--label", "--data"]),
        (("catalogue",), ["list", "check"]),
        (("catalogue", "list"), ["--data"]),
        (("serve",), ["--data", "--host", "--port", "--database", "--blobs", "--engine", "-v"]),
    ],
    ids=lambda value: "-".join(value) or "simyard" if isinstance(value, tuple) else "",
)
def test_help(command: tuple[str, ...], words: list[str]) -> None:
    for option in ("-h", "--help"):
        said = succeeded(simyard(*command, option))
        assert said.startswith("Usage: ")
        assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("bake",), "No such command 'bake'"),
        (("--bake",), "No such option"),
        (("keys", "destroy"), "No such command 'destroy'"),
        (("keys", "create", "--email", "a@b"), "Missing option '--data'"),
        (("keys", "create", "--data", "d"), "Missing option '--email'"),
        (("keys", "create", "--data", "d", "--email", "a@b", "--expires-in-days", "0"), "0 is not"),
        (("serve",), "Missing option '--data'"),
        (("serve", "--data", "d", "--colour", "red"), "No such option"),
        (("serve", "--data", "d", "--port", "http"), "'http' is not a valid integer"),
        (("serve", "--data", "d", "--engine", "steam"), "'steam' is not"),
        (("serve", "--data", "d", "now"), "unexpected extra argument"),
        (("serve", "--data", __file__), "is a file"),
    ],
    ids=lambda value: "-".join(value)[:30] if isinstance(value, tuple) else "",
)
def test_wrong_arguments(arguments: tuple[str, ...], told: str) -> None:
    said = failed(simyard(*arguments), 2)
    assert told in said and "Usage: " in said
    assert not Path("d").exists()


def test_without_the_server_part_installed(tmp_path: Path) -> None:
    """The base install is the client side: what is missing is named."""
    (tmp_path / "msgspec.py").write_text("raise ModuleNotFoundError('no', name='msgspec')")
    said = failed(
        simyard("catalogue", "list", "--data", tmp_path, environment={"PYTHONPATH": str(tmp_path)})
    )
    assert "msgspec is not installed" in said
    assert "hint: pip install 'simyard[server]'" in said


# --- keys -----------------------------------------------------------------------------------------


def rows(data: Path, query: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(data / "simyard.db", timeout=20)
    found = database.execute(query).fetchall()
    database.close()
    return found


def test_a_key_for_a_new_user_makes_all_that_it_needs(tmp_path: Path) -> None:
    data = tmp_path / "not" / "there" / "yet"
    key = succeeded(simyard("keys", "create", "--data", data, "--email", " Ada@Lab.Example "))
    assert re.fullmatch("[0-9a-f]{40}\n", key), "the key, and nothing else"
    assert data.stat().st_mode & 0o777 == 0o700
    assert rows(data, "SELECT email, full_name, role FROM users") == [
        ("ada@lab.example", "ada", "member")
    ]


def test_keys_of_a_user_who_is_there(tmp_path: Path) -> None:
    create = ("keys", "create", "--data", tmp_path, "--email", "ada@lab.example")
    keys = {
        succeeded(simyard(*create)),
        succeeded(simyard(*create, "--admin", "--label", "laptop", "--expires-in-days", "7")),
    }
    assert len(keys) == 2
    assert rows(tmp_path, "SELECT role FROM users") == [("member",)], "he stays what he was"
    assert rows(
        tmp_path,
        "SELECT label, (expires_at - created_at) / 86400000000 FROM api_keys ORDER BY id",
    ) == [("", None), ("laptop", 7)]


def test_a_new_administrator(tmp_path: Path) -> None:
    succeeded(simyard("keys", "create", "--data", tmp_path, "--email", "a@b", "--admin"))
    assert rows(tmp_path, "SELECT role FROM users") == [("admin",)]


def test_a_key_that_is_made_while_a_server_runs(server: RunningServer) -> None:
    done = simyard("keys", "create", "--data", server.data, "--email", "new@lab.example")
    client = server.client(succeeded(done).strip())
    assert client.get("users/me/")["email"] == "new@lab.example"


def test_a_key_that_is_revoked_while_the_server_runs_is_over_when_the_command_returns(
    server: RunningServer,
) -> None:
    who = ("--data", server.data, "--email", "gone@lab.example")
    client = server.client(succeeded(simyard("keys", "create", *who)).strip())
    client.get("users/me/")
    (line,) = succeeded(simyard("keys", "list", *who)).splitlines()
    client.get("users/me/")
    assert succeeded(simyard("keys", "revoke", *who, line.split()[0])) == ""
    assert client.get("users/me/", 401) == {"detail": "Invalid token."}
    assert "revoked" in succeeded(simyard("keys", "list", *who))
    assert "has no key ffff" in failed(simyard("keys", "revoke", *who, "ffff"))


@pytest.mark.parametrize("email", ["", "ada", "@lab", "ada@", "a@b@c", " @ "])
def test_an_address_that_is_none(tmp_path: Path, email: str) -> None:
    said = failed(simyard("keys", "create", "--data", tmp_path, "--email", email))
    assert "error: email: Enter a valid email address.\nhint: give an address like" in said
    assert rows(tmp_path, "SELECT * FROM users") == []


@pytest.fixture
def in_the_way(tmp_path: Path) -> Path:
    """A data folder that cannot be made: a file has the name of its parent."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "data"


@pytest.mark.parametrize(
    "command",
    [("keys", "create", "--email", "a@b"), ("catalogue", "list"), ("serve", "--port", "0")],
    ids=lambda command: command[0],
)
def test_a_data_folder_that_cannot_be_made(in_the_way: Path, command: tuple[str, ...]) -> None:
    said = failed(simyard(*command, "--data", in_the_way))
    assert str(in_the_way) in said


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A data folder that nobody can write to, root neither."""
    if os.getuid() != 0:
        tmp_path.chmod(0o555)
        return tmp_path
    # The kernel's own: no name can be made there.
    return Path("/proc/sys")


@pytest.mark.parametrize(
    "command",
    [("keys", "create", "--email", "a@b"), ("catalogue", "list"), ("serve", "--port", "0")],
    ids=lambda command: command[0],
)
def test_a_data_folder_that_cannot_be_written_to(read_only: Path, command: tuple[str, ...]) -> None:
    failed(simyard(*command, "--data", read_only))


def test_a_master_key_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_text("0123")
    create = ("keys", "create", "--data", tmp_path, "--email", "a@b")
    assert "master key: the master key must be" in failed(simyard(*create))
    secret = "5ec2e7" * 10 + "zzzz"
    said = failed(simyard(*create, environment={"SIMYARD_MASTER_KEY": secret}))
    assert "64 hex digits" in said and secret not in said


def test_a_database_of_a_newer_release(tmp_path: Path) -> None:
    create = ("keys", "create", "--data", tmp_path, "--email", "a@b")
    succeeded(simyard(*create))
    database = sqlite3.connect(tmp_path / "simyard.db")
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    for command in (create, ("serve", "--data", tmp_path, "--port", "0")):
        assert "database: the database has revision 9999" in failed(simyard(*command))


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "simyard.db").write_text("This is no database, and long enough to be one.\n" * 99)
    create = ("keys", "create", "--data", tmp_path, "--email", "a@b")
    for command in (create, ("serve", "--data", tmp_path, "--port", "0")):
        assert "file is not a database" in failed(simyard(*command))
    assert (tmp_path / "simyard.db").read_text().startswith("This is no database")


# --- the catalogue --------------------------------------------------------------------------------


def test_what_can_be_run_here(tmp_path: Path) -> None:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "vapour.toml").write_text(
        'code = "vapour"\nname = "Vapour"\nversion_code = "{version}"\ndefault_version = "7"\n'
        '[[aliases]]\npattern = "^6"\ntier = "near"\nlisted = ["6.1", "6.0"]\n'
        '[probe]\ncommand = ["no-such-solver", "-v"]\npattern = "x"\npackage = "vapourware"\n'
    )
    lines = succeeded(simyard("catalogue", "list", "--data", tmp_path)).splitlines()
    table = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    assert {
        "openfoam",
        "calculix",
        "python",
        "user_included",
        "user_included_mpi",
        "vapour",
    } <= set(table)
    assert table["user_included"] == ["installed", "0 multinode"]
    assert table["vapour"] == [
        "not installed (no-such-solver was not found; apt install vapourware)",
        "7 6.1 6.0",
    ]


def test_a_good_catalogue(tmp_path: Path) -> None:
    done = simyard("catalogue", "check", "--data", tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), "there is no data in a check"
    assert done.stderr.startswith("37 analyses, 36 core types: all files are good, ")


def test_what_is_not_installed_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "x.toml").write_text(
        'code = "vapour"\nname = "Vapour"\n[probe]\ncommand = ["no-such"]\npattern = ""\n'
        'package = "-"\n'
    )
    done = simyard("catalogue", "check", "--data", tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("38 analyses") and "vapour" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.toml", b"code = 5\nname = 'X'", "Expected `str`, got `int` - at `$.code`"),
        ("x.toml", b"code = 'x'\nname = 'X'\ncolour = 1", "there is no colour"),
        ("x.toml", b"\xff", "utf-8"),
        ("coretypes.toml", b"[core_type]", "$.core_type"),
        ("common.toml", b"strip_suffix = '('", "strip_suffix"),
    ],
)
def test_a_broken_site_file(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / "catalogue" / name
    path.parent.mkdir()
    path.write_bytes(content)
    for command in ("list", "check"):
        said = failed(simyard("catalogue", command, "--data", tmp_path))
        assert said.startswith(f"error: {path}: ") and told in said


def test_a_server_with_a_broken_site_file(tmp_path: Path) -> None:
    path = tmp_path / "catalogue" / "x.toml"
    path.parent.mkdir()
    path.write_text("code =")
    said = failed(simyard("serve", "--data", tmp_path, "--port", "0"))
    assert said.startswith(f"error: {path}: ")


# --- serve ----------------------------------------------------------------------------------------


def test_what_a_server_says(fresh: Fresh) -> None:
    server = fresh().start()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.address)
    assert server.process is not None and server.process.stdout is not None
    assert "Isolation of runs: " in server.log()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stdout.read() == "", "one line on stdout, all else on stderr"
    assert server.stop() == 0
    assert "Traceback" not in server.log()


def test_a_request_that_outlasts_the_stop_is_cut_off_and_not_answered(fresh: Fresh) -> None:
    server = fresh().start()
    host, port = server.address.removeprefix("http://").split(":")
    heads = {
        "Host": host,
        "Authorization": f"Token {server.client().key}",
        "Content-Type": "application/json",
        "Content-Length": "1000",
        "Expect": "100-continue",
    }
    lines = ["POST /api/v2/jobs/ HTTP/1.1", *(f"{name}: {value}" for name, value in heads.items())]
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall("\r\n".join([*lines, "", ""]).encode())
        assert slow.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"  # it is under way
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1000) == b"", "what is asked for might yet be done: no answer is true"
    assert server.stop() == 0


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failed(simyard("serve", "--data", tmp_path, "--port", str(port)))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said
    assert "hint: another server is using this port; choose one with --port" in said


def test_an_address_that_is_not_here(tmp_path: Path) -> None:
    said = failed(simyard("serve", "--data", tmp_path, "--port", "0", "--host", "192.0.2.1"))
    assert "cannot listen on 192.0.2.1:0: " in said and "hint" not in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--port", "65536"), "--port: port: "),
        (("--port", "-1"), "--port: port: "),
        (("--host", ""), "--host: host: "),
        (("--database", "postgresql://db/x"), "postgresql://db/x: only SQLite"),
        (("--database", "sqlite:////none/x.db"), "unable to open database file"),
        (("--blobs", "s3://bucket"), "s3://bucket: only the data folder"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_options_that_cannot_be(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    defaults = () if "--port" in options else ("--port", "0")
    assert told in failed(simyard("serve", "--data", tmp_path, *defaults, *options))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"prot = 1\ncores = 'x'", ["prot: there is no such setting", "cores: Input should be"]),
        (b"port = ", ["Invalid value"]),
        (b"\xff", ["utf-8"]),
    ],
)
def test_a_bad_config_is_told_by_every_command(
    tmp_path: Path, content: bytes, told: list[str]
) -> None:
    path = tmp_path / "simyard.toml"
    path.write_bytes(content)
    for command in (
        ("serve", "--port", "0"),
        ("keys", "create", "--email", "a@b"),
        ("catalogue", "check"),
    ):
        said = failed(simyard(*command, "--data", tmp_path))
        assert said.startswith(f"error: {path}: ")
        assert [words for words in told if words not in said] == []
    assert list(tmp_path.iterdir()) == [path], "and nothing is made"


def test_a_bad_variable(tmp_path: Path) -> None:
    done = simyard("serve", "--data", tmp_path, environment={"SIMYARD_PORT": "http"})
    assert failed(done).startswith("error: SIMYARD_PORT: port: ")


def test_the_data_folder_may_come_from_the_environment(tmp_path: Path) -> None:
    key = succeeded(
        simyard("keys", "create", "--email", "a@b", environment={"SIMYARD_DATA": str(tmp_path)})
    )
    assert len(key) == 41 and (tmp_path / "simyard.db").exists()


def test_a_second_server_on_the_same_folder(fresh: Fresh) -> None:
    server = fresh().start()
    assert server.process is not None
    said = failed(simyard("serve", "--data", server.data, "--port", "0"))
    assert f"another server (process {server.process.pid}, since " in said
    assert server.client().get("users/me/")["email"] == "ada@lab.example"


def test_a_server_that_cannot_start_leaves_its_folder_to_the_next(fresh: Fresh) -> None:
    server = fresh("sandbox = 'off'\nblobs = 'x'\n")
    with pytest.raises(ServerDied, match="only the data folder is supported"):
        server.start()
    (server.data / "simyard.toml").write_text("")
    assert server.start().alive


def test_the_command_as_a_module_and_as_a_script() -> None:
    script = Path(sys.executable).with_name("simyard")
    for command in ([sys.executable, "-m", "simyard"], [str(script)]):
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
        assert succeeded(done).endswith(f"{__version__}\n")
