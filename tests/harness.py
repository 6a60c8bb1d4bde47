"""A real server for tests: its own data folder, a free port, started and killed at will."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import httpx

import contract
from nursery import Forked, nursery
from simyard.engines import cgroups

PATIENCE_SECONDS = 180
PROBES = "probes.json"
# Runs are stopped quickly, and four runs go side by side whatever the machine has.
CONFIG = "cores = 4\nstop_grace_seconds = 1.0\nmax_walltime_seconds = 172800\n"
_AS_INSTALLED = (sys.executable, "-m", "simyard")
SIMYARD = [*_AS_INSTALLED]
# One for all clients: reading all certificates takes a tenth of a second.
_TLS = ssl.create_default_context()


def begin(
    arguments: list[str], environment: Mapping[str, str], stderr: IO[str]
) -> "subprocess.Popen[str] | Forked":
    """`simyard ARGUMENTS`, its stdout to be read: forked where it need not load itself."""
    if tuple(SIMYARD) == _AS_INSTALLED and nursery().is_good_for(environment):
        return nursery().start(arguments, environment, stderr)
    command = [*SIMYARD, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
    )


class ServerDied(Exception):
    """The server process ended although nobody asked it to."""


class RunningServer:
    """`simyard serve` in a process of its own, always on the same port and data folder.

    What the first one has probed all others know from their start: it takes seconds each time, and
    many more on a busy machine.
    """

    _probed: ClassVar[bytes] = b""

    def __init__(self, data: Path, config: str = "", **environment: str) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        (data / "simyard.toml").write_text(config)
        if self._probed and not (data / PROBES).exists():
            (data / PROBES).write_bytes(self._probed)
        self._environment = environment
        self._port = 0
        self._log = data.parent / f"{data.name}.stderr"
        self._clients: list[Client] = []
        self._key = ""
        self.process: subprocess.Popen[str] | Forked | None = None
        self.address = ""

    def start(self, **environment: str) -> "RunningServer":
        with self._log.open("a") as log:
            self.process = begin(
                ["serve", "--data", str(self.data), "--port", str(self._port)],
                {**os.environ, **self._environment, **environment},
                log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(("Simyard is ready at http://", "Simyard is ready at https://")):
            self.process.wait(timeout=20)
            self.process.stdout.close()
            raise ServerDied(f"{line!r}\n{self.log()}")
        self.address = line.split()[-1]
        self._port = int(self.address.rsplit(":", 1)[1])
        return self

    def log(self) -> str:
        return self._log.read_text()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """As by `kill -9`."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """As by an administrator. Returns the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None and self.process.stdout is not None
        status = self.process.wait(timeout=30)
        self.process.stdout.close()
        if not self._probed and (self.data / PROBES).exists():
            RunningServer._probed = (self.data / PROBES).read_bytes()
        return status

    def key(self, email: str = "ada@lab.example", *options: str) -> str:
        command = ["keys", "create", "--data", str(self.data), "--email", email, *options]
        with self._log.open("a") as log:
            made = begin(command, os.environ, log)
        assert made.stdout is not None
        with made.stdout:
            key = made.stdout.read().strip()
        assert made.wait(timeout=60) == 0, self.log()
        return key

    def change_database(self, statement: str) -> None:
        """What no request can do: for tests of what time alone brings about."""
        with contextlib.closing(sqlite3.connect(self.data / "simyard.db", timeout=20)) as database:
            database.execute(statement)
            database.commit()

    def miscounted(self) -> dict[str, tuple[int, int]]:
        """Counters of quotas and budgets that are wrong: (what they say, what the tables say)."""
        with contextlib.closing(sqlite3.connect(self.data / "simyard.db", timeout=20)) as database:
            said = dict(database.execute("SELECT name, value FROM counters"))
            true = dict(database.execute(_COUNTED))
        names = said.keys() | true.keys()
        both = {name: (said.get(name, 0), true.get(name, 0)) for name in names}
        return {name: pair for name, pair in both.items() if pair[0] != pair[1]}

    def client(self, key: str | None = None) -> "Client":
        """The API as a user, without a key always the same; closed with the server."""
        if key is None:
            self._key = self._key or self._invite("ada@lab.example", "member")
        client = Client(self.address, key or self._key)
        self._clients.append(client)
        return client

    def somebody(self, name: str = "somebody", role: str = "member") -> "Client":
        """A new member whom nobody knows."""
        return self.client(self._invite(f"{name}-{uuid.uuid4().hex[:8]}@lab.example", role))

    def _invite(self, email: str, role: str) -> str:
        """The key of a new member, quicker than with `key`."""
        admin = self.client((self.data / "admin.key").read_text().strip())
        body = {"email": email, "role": role}
        token = admin.call("POST", "invitations/", 201, json=body).json()["token"]
        made = admin.call("POST", "invitations/accept/", 201, json={"token": token}).json()
        return str(made["key"])

    def fork_server_pid(self) -> int | None:
        """The process that forks supervisors for this server."""
        assert self.process is not None
        for pid in children(self.process.pid):
            if "--fork-server" in command_line(pid):
                return pid
        return None

    def end_everything(self) -> None:
        """Stop the server and whatever runs it left alive: for the end of a test."""
        for client in self._clients:
            client.http.close()
        if self.alive:
            self.kill()
        runs = self.data / "runs"
        for attempt in runs.iterdir() if runs.exists() else ():
            try:
                pids = json.loads((attempt / "pid.json").read_text())
            except (OSError, ValueError):
                continue
            if str(attempt) in command_line(pids["payload"]) or attempt.name in environ(
                pids["payload"]
            ):
                for pid in (pids["payload"], pids["supervisor"]):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError, ValueError):
                cgroups.end(json.loads((attempt / "spec.json").read_text()).get("group"))


_BOOKED = "json_extract(CAST(jobs.definition AS TEXT), '$.project_id')"
_COUNTED = f"""
SELECT 'stored:' || owner_id, sum(size_bytes) FROM
    (SELECT DISTINCT files.owner_id, blobs.id, blobs.size_bytes
     FROM files JOIN blobs ON blobs.id = files.blob_id) GROUP BY 1
UNION ALL SELECT 'reserved:user:' || owner_id, sum(reserved_core_microseconds) FROM runs
    WHERE reserved_core_microseconds IS NOT NULL GROUP BY 1
UNION ALL SELECT 'reserved:project:' || {_BOOKED}, sum(runs.reserved_core_microseconds)
    FROM runs JOIN jobs ON jobs.id = runs.job_id
    WHERE reserved_core_microseconds IS NOT NULL AND {_BOOKED} IS NOT NULL GROUP BY 1
UNION ALL SELECT 'used:user:' || user_id || strftime(':%Y-%m', ended_at / 1000000, 'unixepoch'),
    sum(core_microseconds) FROM usage GROUP BY 1
UNION ALL SELECT 'used:project:' || project || strftime(':%Y-%m', ended_at / 1000000, 'unixepoch'),
    sum(core_microseconds) FROM usage WHERE project != '' GROUP BY 1
"""


def children(pid: int) -> list[int]:
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(p) for p in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        pass
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def environ(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().replace(b"\0", b"\n").decode()
    except OSError:
        return ""


class Client:
    """The API as one user."""

    def __init__(self, address: str, key: str) -> None:
        self.key = key
        self.base = f"{address}/api/v2/"
        headers = {"Authorization": f"Token {key}"}
        self.http = httpx.Client(base_url=self.base, headers=headers, timeout=30, verify=_TLS)

    def get(self, path: str, expect: int = 200, **options: Any) -> Any:
        return self.call("GET", path, expect, **options).json()

    def call(self, method: str, path: str, expect: int, **options: Any) -> httpx.Response:
        """A request to a path below /api/v2/, or to one that begins with /api/."""
        if path.startswith("/api/"):
            path = self.base.removesuffix("/api/v2/") + path
        reply = self.http.request(method, path, **options)
        contract.hold(reply)
        said = f"{method} {path}: {reply.status_code} {reply.content[:1000]!r}"
        assert reply.status_code == expect, said
        return reply

    def upload(self, name: str, content: bytes, **headers: str) -> dict[str, Any]:
        files = {"file": (name, content)}
        reply = self.call("POST", "files/contents/", 201, files=files, headers=headers)
        return dict(reply.json())

    def create(self, command: str = "true", **changes: Any) -> dict[str, Any]:
        return dict(self.call("POST", "jobs/", 201, json=definition(command, **changes)).json())

    def submit(self, job_id: str) -> None:
        self.call("POST", f"jobs/{job_id}/submit/", 200)

    def run(self, command: str = "true", **changes: Any) -> dict[str, Any]:
        """Create and submit a job and wait for its end. Returns the job."""
        job = self.create(command, **changes)
        self.submit(job["id"])
        self.finished(job["id"])
        return job

    def statuses(self, job_id: str) -> list[dict[str, Any]]:
        return list(self.get(f"jobs/{job_id}/statuses/?page_size=100")["results"])

    def status(self, job_id: str) -> str:
        found = self.statuses(job_id)
        return str(found[0]["status"]) if found else ""

    def finished(self, job_id: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until nothing of the job is left. Returns the reason of its end."""
        wait_for(lambda: self.cluster_status(job_id) == "Stopped", f"the end of {job_id}", seconds)
        last = self.statuses(job_id)[0]
        assert last["status"] == "Completed"
        return str(last["statusReason"])

    def cluster_status(self, job_id: str) -> str:
        found = self.get(f"jobs/{job_id}/cluster_statuses/")["results"]
        return str(found[0]["status"]) if found else ""

    def outputs(self, job_id: str) -> dict[str, bytes]:
        """Relative path -> content of every output."""
        found, url = {}, f"jobs/{job_id}/files/?page_size=2000"
        while url:
            page = self.get(url)
            for file in page["results"]:
                found[file["relativePath"]] = self.call("GET", file["downloadUrl"], 200).content
            url = page["next"]
        return found

    def log_of(self, job_id: str) -> str:
        return self.outputs(job_id)["process_output.log"].decode()


def definition(
    command: str = "true",
    *,
    inputs: list[str] | None = None,
    code: str = "user_included",
    version: str | None = None,
    cores: int = 1,
    hardware: dict[str, Any] | None = None,
    job: dict[str, Any] | None = None,
    **analysis: Any,
) -> dict[str, Any]:
    """The body of a job with one analysis."""
    return {
        "name": "A job",
        "jobanalyses": [
            {
                "command": command,
                "analysis": {"code": code, "version": version},
                "hardware": {"coreType": "emerald", "coresPerSlot": cores, **(hardware or {})},
                "inputFiles": [{"id": file_id} for file_id in inputs or []],
                **analysis,
            }
        ],
        **(job or {}),
    }


@contextmanager
def serving(server: RunningServer) -> Iterator[RunningServer]:
    """Started; at the end it is alive, is ended with all that it began, and has met nothing that
    nobody had thought of.
    """
    yield server.start()
    assert server.alive, server.log()
    server.end_everything()
    assert "Traceback" not in server.log(), server.log()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    end, pause = time.monotonic() + seconds, 0.01
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)  # to ask all the time would take what is waited for its time
    raise AssertionError(f"{what} did not come within {seconds} s")


class Ledger:
    """Lines that payloads send over loopback: what really ran, whoever tells otherwise.

    A payload writes with `say`: a shell function that `preamble` defines.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        port = self._listener.getsockname()[1]
        self.preamble = f'say() {{ (exec 3<>/dev/tcp/127.0.0.1/{port}; echo "$*" >&3); }}\n'

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile() as lines:
                self.lines += [line.strip() for line in lines]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)


def work_folder(server: RunningServer, mark: str) -> Path:
    """That of the run that has made a file of this name."""
    (found,) = (server.data / "runs").glob(f"*/home/work/{mark}")
    return found.parent


# A payload that ends as soon as its folder has a file of this name.
GO = "while [ ! -e go ]; do sleep 0.05; done"


def begun(client: Client, command: str, mark: str, name: str = "A job") -> str:
    """A job that has done this so far, with a file of this name to know its folder by."""
    job = str(client.create(f"touch {mark}\n{command}", job={"name": name})["id"])
    client.submit(job)
    here = f"jobs/{job}/runs/1/tail/{mark}"
    wait_for(lambda: client.http.get(here).status_code == 200, "its begin")
    return job


def strays(mark: str) -> list[int]:
    """Processes whose command line holds this text."""
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and int(entry) != os.getpid() and mark in command_line(int(entry))
    ]


def pages(client: Client, url: str) -> Iterator[Any]:
    following: str | None = url
    while following:
        page = client.get(following)
        yield page
        following = page["next"]
