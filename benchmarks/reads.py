"""P9: what the polled replies cost: a job and its statuses, authenticated, in CPU of the server a
request. In turns with them: the same data and the same replies from a Django REST Framework
application (drf.py), and the framework's empty reply.

Gunicorn's sync worker serves Django: of the usual ways (its threads and uvicorn were tried too) it
takes the least CPU. The load comes from this process, over connections that are kept where the
server keeps them.
"""

import io
import json
import os
import selectors
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from rig import Http, Server, Table, children, cpu_seconds, job, scratch, serving
from start import FLOOR
from transfer import PEER

JOBS = 20  # asked for in turn
ROUNDS = 5
REQUESTS = 4_000  # of each round, or
SECONDS = 4.0  # as many as there are in this time
SIDE_BY_SIDE = 8
MOST_US, TIMES = 150, 15

_DRF = str(Path(__file__).with_name("drf.py"))


@dataclass(frozen=True)
class Target:
    """A server under load."""

    port: int
    pids: tuple[int, ...]
    key: str
    paths: Sequence[str]
    keeps: bool = True  # its connections


class _Line:
    """One connection with one request under way."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._target.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path: str) -> None:
        self._got, self._length = b"", -1
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Token {self._target.key}\r\n"
            f"Accept: */*\r\n\r\n".encode()
        )

    def is_answered(self) -> bool:
        """Take in what came. Once the reply is whole, the line is ready for another request."""
        came = self.socket.recv(65536)
        assert came, "the server closed the connection"
        self._got += came
        if self._length < 0 and b"\r\n\r\n" in self._got:
            head = self._got.split(b"\r\n\r\n", 1)[0]
            assert head[9:12] == b"200", head
            of_body = head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
            self._length = len(head) + 4 + int(of_body)
        return len(self._got) == self._length


def _load(target: Target, requests: int) -> tuple[int, float]:
    """Requests that were answered, and CPU seconds that the server took for them."""
    paths = cycle(target.paths)
    with selectors.DefaultSelector() as selector:
        lines = [_Line(target) for _ in range(SIDE_BY_SIDE)]
        cpu, end, asked, answered = cpu_seconds(*target.pids), time.monotonic() + SECONDS, 0, 0
        for line in lines:
            line.ask(next(paths))
            selector.register(line.socket, selectors.EVENT_READ, line)
            asked += 1
        while answered < asked:
            for key, _ in selector.select():
                line = key.data
                if not line.is_answered():
                    continue
                answered += 1
                selector.unregister(line.socket)
                if not target.keeps:
                    line.socket.close()  # at once: the server waits for it
                if asked >= requests or time.monotonic() > end:
                    continue
                if not target.keeps:
                    line.connect()
                line.ask(next(paths))
                selector.register(line.socket, selectors.EVENT_READ, line)
                asked += 1
        cpu = cpu_seconds(*target.pids) - cpu
        for line in lines:
            line.socket.close()
    return answered, cpu


def _microseconds(targets: Sequence[Target]) -> list[float]:
    """CPU a request of each, measured in turns."""
    requests, cpu = [0] * len(targets), [0.0] * len(targets)
    for n in range(-1, ROUNDS):
        for i, target in enumerate(targets):
            answered, used = _load(target, REQUESTS if n >= 0 else REQUESTS // 10)
            if n >= 0:
                requests[i] += answered
                cpu[i] += used
    return [used / count * 1e6 for used, count in zip(cpu, requests, strict=True)]


# --- what is served -------------------------------------------------------------------------------


def _run_jobs(http: Http) -> list[str]:
    """Jobs with an input each that came to their end."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("case/controlDict", "endTime 100;\n")
    ids = []
    for _ in range(JOBS):
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="case.zip"\r\n\r\n'
        form = head + content.getvalue() + b"\r\n--x--\r\n"
        kind = "multipart/form-data; boundary=x"
        sent = json.loads(http.call("POST", "/api/v2/files/contents/", form, kind))
        body = json.loads(job("cat case/controlDict"))
        body["jobanalyses"][0]["inputFiles"] = [{"id": sent["id"]}]
        made = json.loads(http.call("POST", "/api/v2/jobs/", json.dumps(body).encode()))
        http.call("POST", f"/api/v2/jobs/{made['id']}/submit/")
        ids.append(made["id"])
    for job_id in ids:
        while True:
            found = http.get(f"/api/v2/jobs/{job_id}/cluster_statuses/")["results"]
            if found and found[0]["status"] == "Stopped":
                break
            time.sleep(0.05)
    return ids


@contextmanager
def _helper(*command: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The port and the processes of a server that is not ours."""
    environment = {**os.environ, "PYTHONPATH": str(PEER)}
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        http = Http(port, "none")  # it has begun to answer, its workers are there
        http.socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        http.socket.recv(100)
        http.close()
        yield port, (process.pid, *children(process.pid))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextmanager
def _drf(server: Server, ids: Sequence[str]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Django with the same data."""
    http = server.connect()
    told = {
        "key": server.key,
        "jobs": [
            {
                "job": http.get(f"/api/v2/jobs/{job_id}/"),
                "statuses": http.get(f"/api/v2/jobs/{job_id}/statuses/")["results"],
            }
            for job_id in ids
        ],
    }
    http.close()
    with scratch() as folder:
        subprocess.run(
            [sys.executable, _DRF, "fill", str(folder)],
            input=json.dumps(told),
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(PEER)},
        )
        with _helper(_DRF, "serve", str(folder), "sync") as found:
            yield found


def _sizes(server: Server, port: int, path: str) -> tuple[int, int]:
    """Bytes of both replies, which must be much the same."""
    sizes = []
    for at in (server.port, port):
        http = Http(at, server.key)
        sizes.append(len(http.call("GET", path)))
        http.close()
    assert 0.8 < sizes[0] / sizes[1] < 1.2, sizes
    return sizes[0], sizes[1]


def run(table: Table) -> None:
    table.title("P9 reads: CPU of the server a request, authenticated, SQLite")
    with ExitStack() as stack:
        server = stack.enter_context(serving())
        http = server.connect()
        ids = _run_jobs(http)
        http.close()
        drf_port, drf_pids = stack.enter_context(_drf(server, ids))
        floor_port, floor_pids = stack.enter_context(_helper("-c", FLOOR))
        for what, end in (("a job", ""), ("its statuses", "statuses/")):
            paths = [f"/api/v2/jobs/{job_id}/{end}" for job_id in ids]
            size, drf_size = _sizes(server, drf_port, paths[0])
            ours, drf, floor = _microseconds(
                (
                    Target(server.port, (server.pid,), server.key, paths),
                    Target(drf_port, drf_pids, server.key, paths, keeps=False),
                    Target(floor_port, floor_pids, "none", ["/"]),
                )
            )
            table.add(
                f"GET of {what}, {size:,} bytes",
                f"{ours:.0f} us",
                f"<= {MOST_US} us",
                f"{ours / floor:.1f} x the framework's empty reply ({floor:.0f} us)",
                ours <= MOST_US,
            )
            table.add(
                f"  Django REST Framework, {drf_size:,} bytes",
                f"{drf:.0f} us",
                f">= {TIMES} x ours",
                f"{drf / ours:.1f} x; load average {os.getloadavg()[0]:.2f}",
                drf >= TIMES * ours,
            )


if __name__ == "__main__":
    run(Table())
