"""What a run may see and do, and what it may not. The payloads attack in earnest."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness import SIMYARD, Client, RunningServer, ServerDied, definition, wait_for

pytestmark = pytest.mark.sandbox
ROOT = os.getuid() == 0


def said(client: Client, command: str, **options: object) -> str:
    job = client.run(command, **options)  # type: ignore[arg-type]
    return client.log_of(job["id"])


def test_health_tells_the_isolation(server: RunningServer) -> None:
    health = httpx.get(f"{server.address}/health").json()
    assert health["isolation"] == "bubblewrap"
    assert "Isolation of runs: bubblewrap." in server.log()


def test_the_data_folder_is_not_there(client: Client, server: RunningServer) -> None:
    secrets = [server.data / name for name in ("admin.key", "master.key", "simyard.db", "runs")]
    log = said(client, "; ".join(f"ls -la {path}; cat {path}" for path in (server.data, *secrets)))
    assert log.count("No such file or directory") == 2 * (1 + len(secrets))


def test_nothing_outside_can_be_written(client: Client) -> None:
    system = ["/", "/usr", "/etc", "/opt", "/bin", "/lib", "/proc/sys"]
    places = [*system, "/simyard", "/home", "/var", "/run", "/dev"]
    tries = "; ".join(f"touch {place}/x && echo WROTE {place}" for place in places)
    log = said(client, tries + "; touch ~/work/x /tmp/x /dev/shm/x && echo fine")
    # The root and /dev are the sandbox's own, in memory: writable at most for nobody else to see.
    wrote = {line.split()[1] for line in log.splitlines() if line.startswith("WROTE")}
    assert wrote <= {"/dev"}
    assert log.splitlines()[-1] == "fine"


def test_secrets_of_the_machine(client: Client) -> None:
    log = said(
        client, "cat /etc/shadow ~root/.bashrc /etc/ssl/private/*; ls /root; cat /etc/passwd"
    )
    assert "root:x:0:0" in log and "$6$" not in log and "$y$" not in log
    known = [line.split(":")[0] for line in log.splitlines() if line.count(":") == 6]
    assert known == ["root", "job", *(["65534"] if os.getuid() == 0 else [])]


def test_no_rights_and_no_way_to_more(client: Client) -> None:
    log = said(
        client,
        "grep -E 'Cap|NoNewPrivs|Groups' /proc/self/status; su -c id; mount -t tmpfs x /tmp;"
        " unshare -m true; chroot /; mknod dev c 1 3; dmesg; kill -9 1; chown root ~",
    )
    for line in log.splitlines():
        if line.startswith("Cap"):
            assert int(line.split()[1], 16) == 0, line
    assert "NoNewPrivs:\t1" in log
    if ROOT:
        assert "Groups:\t\n" in log or "Groups:\t \n" in log or "Groups:\t65534" in log
    assert log.count("ermitted") + log.count("denied") + log.count("ermission") >= 4


def test_only_its_own_processes(client: Client) -> None:
    log = said(client, "ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm; kill -TERM -1; echo on")
    lines = log.splitlines()
    assert int(lines[0]) <= 6
    assert lines[1] == "bwrap"


def test_another_run_is_out_of_reach(client: Client, stranger: Client) -> None:
    job = stranger.create("echo secret > secret.txt; touch /tmp/mine; touch up; sleep 30")
    stranger.submit(job["id"])
    wait_for(lambda: stranger.http.get(f"jobs/{job['id']}/runs/1/tail/up").status_code == 200, "up")
    log = said(client, "find / -name secret.txt -not -path '/proc/*' 2>/dev/null; ls /tmp; ps -ef")
    assert "secret.txt" not in log and "mine" not in log and "sleep 30" not in log
    stranger.call("POST", f"jobs/{job['id']}/stop/", 202)
    stranger.finished(job["id"])


def test_the_platforms_files_of_a_run_cannot_be_changed(client: Client) -> None:
    log = said(
        client,
        "echo 'echo HACKED' >> /simyard/driver; rm -f /simyard/driver /simyard/scripts/*;"
        " echo x > /simyard/helpers; ls /simyard /simyard/scripts; echo 'end 0 0' >&9",
    )
    assert "Read-only file system" in log
    assert "9: Bad file descriptor" in log
    assert {"driver", "0.cmd", "0.env"} <= set(log.split())


def test_no_abstract_sockets_of_ours(server: RunningServer) -> None:
    """Where the network is shared, such sockets would be reachable from inside."""
    assert server.process is not None
    inodes = set()
    for entry in os.scandir(f"/proc/{server.process.pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if words[6] in inodes and len(words) > 7:
            assert not words[7].startswith("@"), line


def test_the_network_is_on_and_can_be_switched_off(
    client: Client, fresh: Callable[..., RunningServer]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        reach = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) && echo reached || echo alone"
        assert "reached" in said(client, reach)
        server = fresh("sandbox_network = false\n").start()
        assert httpx.get(f"{server.address}/health").json()["network"] is False
        assert "alone" in said(server.client(), reach)


def test_the_command_is_no_argument_of_the_shell_around_it(client: Client) -> None:
    log = said(client, "echo \"a  b\" '$HOME' `echo c` $((1+1)) \\\\; echo '\n' | wc -l")
    assert log.splitlines()[0] == "a  b $HOME c 2 \\"


# --- other ways to run ----------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may walk to; a test's own folders are closed to others."""
    made = Path(tempfile.mkdtemp(prefix="simyard-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def test_without_a_sandbox_it_says_so_and_works(open_folder: Path) -> None:
    server = RunningServer(open_folder / "data", "sandbox = 'off'\nstop_grace_seconds = 1\n")
    try:
        without_a_sandbox(server.start())
    finally:
        server.end_everything()


def without_a_sandbox(server: RunningServer) -> None:
    health = httpx.get(f"{server.address}/health").json()
    assert health["isolation"] == "none" and "not isolated" in health["isolationDetail"]
    assert "Isolation of runs: none." in server.log()
    client = server.client()
    file = client.upload("in.txt", b"input")
    log = said(client, "cat in.txt; id -u; cd ~/work && pwd; touch /usr/x", inputs=[file["id"]])
    assert log.startswith("input")
    if ROOT:
        assert "65534" in log.splitlines()[0] + log.splitlines()[1]
        assert "Permission denied" in log
        for secret in ("admin.key", "master.key", "simyard.db"):
            assert "denied" in said(client, f"cat {server.data / secret}")
    mark = f"55{os.getpid()}"
    job = client.create(f"trap '' TERM; (setsid sleep {mark} &); sleep {mark}")
    client.submit(job["id"])
    wait_for(lambda: client.status(job["id"]) == "Executing", "Executing")
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    assert client.finished(job["id"]) == "Stopped by the user"
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], check=False).returncode == 1


@pytest.mark.skipif(not ROOT, reason="only a server that is root runs jobs as somebody else")
def test_without_a_sandbox_runs_must_reach_their_folder(
    fresh: Callable[..., RunningServer], tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ServerDied, match="cannot enter"):
        fresh("sandbox = 'off'\n").start()


def test_a_required_sandbox_that_does_not_work(
    fresh: Callable[..., RunningServer], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "simyard.toml").write_text("sandbox = 'required'\n")
    path = tmp_path / "bin"
    path.mkdir()
    (path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: no namespaces today' >&2\nexit 1\n")
    (path / "bwrap").chmod(0o755)
    done = subprocess.run(
        [*SIMYARD, "serve", "--data", str(data), "--port", "0"],
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "the sandbox is required" in done.stderr and "no namespaces today" in done.stderr


# A server that is not root: the same interpreter if others may run it, else the system's.
OTHER = 1234


def _python_for_others() -> list[str] | None:
    site = sysconfig.get_path("purelib")
    source = str(Path(__file__).parents[2] / "src")
    for program in (sys.executable, "/usr/bin/python3"):
        command = ["env", f"PYTHONPATH={source}:{site}", program]
        check = f"import sys, uvloop; assert sys.version_info[:2] == {sys.version_info[:2]}"
        done = subprocess.run(
            [*_as_other(), *command, "-c", check], capture_output=True, check=False
        )
        if done.returncode == 0:
            return command
    return None


def _as_other() -> list[str]:
    return ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]


@pytest.mark.skipif(not ROOT, reason="the whole run is not root already")
def test_a_server_that_is_not_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    command = _python_for_others()
    if command is None:
        pytest.skip("no interpreter of this version that another user may run")
    data = Path(f"/tmp/simyard-other-{os.getpid()}")
    subprocess.run(["install", "-d", "-o", str(OTHER), str(data)], check=True)
    run = [*_as_other(), *command, "-m", "simyard"]
    process = subprocess.Popen(
        [*run, "serve", "--data", str(data), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        address = line.split()[-1]
        assert httpx.get(f"{address}/health").json()["isolation"] == "bubblewrap"
        client = Client(address, (data / "admin.key").read_text().strip())
        file = client.upload("in.txt", b"input\n")
        body = definition(
            f"cat in.txt; id -u; ls -la {data}; grep CapEff /proc/self/status;"
            " mkdir -m 000 locked; ls -d /proc/[0-9]* | wc -l",
            inputs=[file["id"]],
        )
        job = client.call("POST", "jobs/", 201, json=body).json()
        client.submit(job["id"])
        assert client.finished(job["id"]) == "Completed successfully"
        lines = client.log_of(job["id"]).splitlines()
        assert lines[:2] == ["input", str(OTHER)]
        assert "No such file" in lines[2]
        assert int(lines[3].split()[1], 16) == 0
        assert int(lines[4]) <= 6
        assert not list((data / "runs").glob("[!.]*"))
        client.http.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)
        subprocess.run(["rm", "-rf", str(data)], check=True)
    assert process.returncode == 0
