"""What the benchmarks share: a server of their own, plain sockets, figures and their table."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simyard.testing.slurm import Cluster

CORES = len(os.sched_getaffinity(0))
TICK = os.sysconf("SC_CLK_TCK")


# --- figures --------------------------------------------------------------------------------------


@dataclass
class Table:
    """What was promised, what was measured, and what stands beside it."""

    rows: list[tuple[str, str, str, str, bool | None]] = field(default_factory=list)

    def add(
        self, what: str, measured: str, promised: str = "", beside: str = "", ok: bool | None = None
    ) -> None:
        self.rows.append((what, measured, promised, beside, ok))
        mark = {True: "ok", False: "MISSED", None: ""}[ok]
        print(f"  {what:52} {measured:>22}  {promised:22} {mark:7} {beside}", flush=True)

    def title(self, text: str) -> None:
        load = os.getloadavg()[0]
        print(f"\n{text}   (load average {load:.2f}, {CORES} cores)", flush=True)


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def cpu_seconds(*pids: int) -> float:
    """User and system time that these processes have used so far."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def resident_mb(*pids: int) -> float:
    """Memory of these processes, what they share counted once (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1000


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        text = Path(f"/proc/{pid}/task/{task}/children").read_text()
        found += [int(word) for word in text.split()]
    return found


def slope(samples: list[tuple[float, float]]) -> float:
    """Megabytes a minute, by least squares."""
    count = len(samples)
    if count < 2:
        return 0.0
    mean_at = sum(at for at, _ in samples) / count
    mean = sum(value for _, value in samples) / count
    above = sum((at - mean_at) * (value - mean) for at, value in samples)
    below = sum((at - mean_at) ** 2 for at, _ in samples)
    return above / below * 60 if below else 0.0


def sandbox_command() -> list[str]:
    """Bubblewrap with the namespaces that a run has, around `true`."""
    bwrap = shutil.which("bwrap")
    command = [str(bwrap), "--unshare-pid", "--unshare-ipc", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "sbin"):
        command += ["--symlink", f"usr/{name}", f"/{name}"]
    command += ["--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev"]
    command += ["--tmpfs", "/tmp", "--", "bash", "-c", "true"]
    return command


# --- a private Slurm ------------------------------------------------------------------------------


def jobs_in_queue(made: Cluster) -> int:
    return len(made.call("squeue", "-h", "-r").stdout.splitlines())


def array_pace(made: Cluster, count: int) -> float:
    """Jobs a second of an array. Each is a shell that does nothing, with no output, no sandbox."""
    began = time.perf_counter()
    made.call("sbatch", "--output=/dev/null", "--chdir=/", f"--array=0-{count - 1}", "--wrap=true")
    while jobs_in_queue(made):
        time.sleep(0.1)
    return count / (time.perf_counter() - began)


# --- a server -------------------------------------------------------------------------------------


@dataclass
class Server:
    process: subprocess.Popen[str]
    data: Path
    port: int
    key: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> "Http":
        return Http(self.port, self.key)


@contextmanager
def scratch(at: Path | None = None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="simyard-bench-", dir=at))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(config: str = "", at: Path | None = None) -> Iterator[Server]:
    """A server on an empty data folder, stopped and removed at the end."""
    with scratch(at) as folder:
        data = folder / "data"
        data.mkdir()
        (data / "simyard.toml").write_text(config)
        with running(data) as server:
            yield server


@contextmanager
def running(data: Path) -> Iterator[Server]:
    """A server on a data folder that is there, stopped at the end."""
    log = data.with_name(f"{data.name}.log")
    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "simyard", "serve", "--data", str(data), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        key = (data / "admin.key").read_text().strip()
        yield Server(process, data, int(line.strip().rsplit(":", 1)[1]), key)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


class Http:
    """One kept-alive connection, with as little of a client around it as can be."""

    def __init__(self, port: int, key: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        weakref.finalize(self, self.socket.close)
        self._key = key
        self._rest = b""

    def call(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> bytes:
        """The body of the reply; anything but a success is an error."""
        self.send_head(method, path, len(body), kind)
        if body:
            self.socket.sendall(body)
        return self.reply()

    def send_head(self, method: str, path: str, length: int, kind: str) -> None:
        self.socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Token {self._key}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()
        )

    def reply(self, sink: Callable[[bytes], None] | None = None) -> bytes:
        data = self._rest
        while b"\r\n\r\n" not in data:
            got = self.socket.recv(65536)
            if not got:
                raise ConnectionError("the server closed the connection")
            data += got
        head, rest = data.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        parts, have = [rest], len(rest)
        if sink is not None:
            sink(rest)
        while have < length:
            got = self.socket.recv(1 << 20)
            have += len(got)
            if sink is not None:
                sink(got)
            else:
                parts.append(got)
        self._rest = b""
        body = b"" if sink is not None else b"".join(parts)
        if head[9:10] != b"2":
            raise RuntimeError(f"{head[:100]!r} {body[:300]!r}")
        return body

    def get(self, path: str) -> Any:
        return json.loads(self.call("GET", path))

    def close(self) -> None:
        self.socket.close()


def job(command: str = "true", cores: int = 1) -> bytes:
    return json.dumps(
        {
            "name": "bench",
            "jobanalyses": [
                {
                    "command": command,
                    "analysis": {"code": "user_included", "version": "0"},
                    "hardware": {"coreType": "emerald", "coresPerSlot": cores, "slots": 1},
                }
            ],
        }
    ).encode()


def drafts(http: Http, count: int, command: str = "true", cores: int = 1) -> list[str]:
    body = job(command, cores)
    return [json.loads(http.call("POST", "/api/v2/jobs/", body))["id"] for _ in range(count)]


def together(count: int, work: Callable[[int], None]) -> float:
    """Seconds that so many threads take for work(0), work(1), ... side by side."""
    errors: list[BaseException] = []
    ready = threading.Barrier(count + 1)

    def run(n: int) -> None:
        ready.wait()
        try:
            work(n)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if errors:
        raise errors[0]
    return took


def statuses(http: Http, job_id: str) -> list[dict[str, str]]:
    return list(http.get(f"/api/v2/jobs/{job_id}/statuses/")["results"])
