"""The throw-away server as processes: started, killed, and found again in /proc."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from simyard.torture.ground import Ground

SIMYARD = (sys.executable, "-m", "simyard")
_READY = "Simyard is ready at "
_START_SECONDS = 60.0
_CONFIG = """cores = 8
stop_grace_seconds = 0.5
disk_reserve_bytes = 4000000
"""


@dataclass(frozen=True)
class Attempt:
    """A supervised attempt that has no end yet."""

    token: str
    supervisor: int  # pid


class Server:
    """`simyard serve` on the ground's data folder, always on the same port."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self.log = ground.folder / "server.stderr"
        self.starts = 0
        self._up = threading.Event()
        self._up_since = 0.0
        ground.data.mkdir()
        (ground.data / "simyard.toml").write_text(_CONFIG)

    @property
    def data(self) -> Path:
        return self._ground.data

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def port(self) -> int:
        """Where it answers. While it is known to be down, that takes a little: clients that knock
        all the time would leave no room for its start.
        """
        self._up.wait(2.0)
        return self._port

    def up_since(self) -> float | None:
        return self._up_since if self._up.is_set() else None

    def key(self) -> str:
        """The key of the administrator that the first start made."""
        return (self.data / "admin.key").read_text().strip()

    def spawn(self, **environment: str) -> None:
        """Start the process and wait for nothing."""
        self.starts += 1
        self._up.clear()
        how = ["-c", self._ground.BY_OUR_CLOCK] if self._ground.can_jump else ["-m", "simyard"]
        how += ["serve", "--data", str(self.data), "--port", str(self._port)]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *how],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # a Ctrl-C is for us to deal with
                env={**os.environ, **self._marked(), **environment},
            )

    def _marked(self) -> dict[str, str]:
        """Our clock, and a path by which server, fork server and supervisors are known as ours."""
        path = f"{self._ground.folder}/bin:{os.environ.get('PATH', os.defpath)}"
        return {**self._ground.clock_environment(), "PATH": path}

    def ready(self) -> bool:
        """Wait until it answers. Returns False where it ended instead."""
        assert self._process is not None and self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _START_SECONDS)[0]:
            return False
        line = self._process.stdout.readline()
        if not line.startswith(_READY):
            self._process.wait(timeout=_START_SECONDS)
            self._process.stdout.close()
            return False
        self._port = int(line.strip().rsplit(":", 1)[1])
        self._up_since = time.monotonic()
        self._up.set()
        return True

    def start(self, **environment: str) -> bool:
        self.spawn(**environment)
        return self.ready()

    def kill(self) -> int:
        """As by `kill -9`. Returns the pid that it had."""
        assert self._process is not None
        self._up.clear()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.pid

    def stop(self) -> int:
        """As by an administrator. Returns the exit status."""
        assert self._process is not None
        self._up.clear()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout=_START_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    # --- what belongs to it -----------------------------------------------------------------------

    def fork_server(self) -> int | None:
        for pid in _children(self.pid):
            if "--fork-server" in command_line(pid):
                return pid
        return None

    def attempts(self) -> list[Attempt]:
        """Those whose supervisor is alive."""
        found = []
        for folder in self._folders():
            try:
                pids = json.loads((folder / "pid.json").read_text())
            except (OSError, ValueError):
                continue
            ended = (folder / "exit.json").exists()
            if not ended and "supervisor.py" in command_line(pids["supervisor"]):
                found.append(Attempt(folder.name, pids["supervisor"]))
        return found

    def hold(self, attempt: Attempt) -> bool:
        """Stop the supervisor of an attempt where it is. Returns whether it is the attempt's still;
        if not, for it has gone on to another meanwhile, it goes on.
        """
        os.kill(attempt.supervisor, signal.SIGSTOP)
        while _state(attempt.supervisor) not in ("T", "Z", ""):
            time.sleep(0.001)
        folder = self.data / "runs" / attempt.token
        if (folder / "pid.json").exists() and not (folder / "exit.json").exists():
            return True
        os.kill(attempt.supervisor, signal.SIGCONT)
        return False

    def tokens(self) -> list[str]:
        """All attempts that have a folder and no end."""
        return [f.name for f in self._folders() if not (f / "exit.json").exists()]

    def _folders(self) -> list[Path]:
        runs = self.data / "runs"
        if not runs.exists():
            return []
        return [path for path in runs.iterdir() if path.name[0] != "."]

    def processes(self, tokens: Iterable[str]) -> list[int]:
        """Every process, but this one, that names the folder or carries the mark of an attempt."""
        marks = [f"SIMYARD_ATTEMPT={token}" for token in tokens]
        ours = str(self._ground.folder)
        found = []
        for pid in _pids():
            told = command_line(pid) + _environment(pid)
            if pid != os.getpid() and (ours in told or any(mark in told for mark in marks)):
                found.append(pid)
        return found

    def described(self, tokens: Iterable[str]) -> dict[int, str]:
        """The same, each with its command line."""
        return {pid: command_line(pid) for pid in self.processes(tokens) if _is_alive(pid)}

    def kill_everything(self) -> int:
        """The server, supervisors and runs at once, as where the power goes. Returns how many."""
        killed: set[int] = set()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            left = self._everything()
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                except ProcessLookupError:
                    pass
            if self._process is not None and self._process.pid in killed:
                self.kill()
        return len(killed)

    def _everything(self) -> list[int]:
        return [pid for pid in self.processes(self.tokens()) if _is_alive(pid)]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (OSError, UnicodeDecodeError):
        return ""


def _state(pid: int) -> str:
    """As ps shows it: "T" of what is stopped; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except OSError:
        return ""


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().replace(b"\0", b"\n").decode()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{task}/children").read_text()
            found += [int(word) for word in text.split()]
    except OSError:
        pass
    return found
