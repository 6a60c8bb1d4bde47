"""P8: from a line that a run writes to the last of 500 viewers of it, and what a viewer costs.

The run writes the time into its log. Viewers are plain sockets of one process beside the server;
all of it shares the machine. Beside: `tail -f` on the same file, which has one reader.
"""

import json
import os
import selectors
import socket
import subprocess
import time
from pathlib import Path

from rig import Server, Table, cpu_seconds, drafts, percentile, resident_mb, serving, statuses

VIEWERS = int(os.environ.get("VIEWERS", "500"))
LINES = 60
PAUSE_SECONDS = 0.3
IDLE_SECONDS = 10.0
MOST_MS, MOST_KB, MOST_IDLE = 100.0, 40.0, 0.02
COMMAND = f"""
python3 -u -c '
import os, time
print("begin")
while not os.path.exists("go"):
    time.sleep(0.02)
for i in range({LINES}):
    print("T", time.monotonic_ns())
    time.sleep({PAUSE_SECONDS})
print("over")
while not os.path.exists("stop"):
    time.sleep(0.1)
'
"""


class Viewers:
    """Sockets that read the stream of one run, and when each line came to each."""

    def __init__(self, server: Server, job: str, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._rest: dict[socket.socket, bytes] = {}
        self.delays: dict[int, list[float]] = {}  # by line, in ms
        head = (
            f"GET /api/v2/jobs/{job}/runs/1/live/ HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Token {server.key}\r\n\r\n"
        )
        for _ in range(count):
            viewer = socket.create_connection(("127.0.0.1", server.port))
            viewer.sendall(head.encode())
            self._selector.register(viewer, selectors.EVENT_READ)
            self._rest[viewer] = b""

    def read(self, mark: bytes, seconds: float) -> int:
        """Until all have got this, or the time is over. Returns how many have not."""
        waiting = set(self._rest)
        until = time.monotonic() + seconds
        while waiting and time.monotonic() < until:
            for key, _ in self._selector.select(0.1):
                viewer = key.fileobj
                assert isinstance(viewer, socket.socket)
                data = viewer.recv(1 << 16)
                now = time.monotonic_ns()
                *events, self._rest[viewer] = (self._rest[viewer] + data).split(b"\n\n")
                for event in events:
                    if mark in event:
                        waiting.discard(viewer)
                    if b"event: log" in event:
                        self._note(event, now)
        return len(waiting)

    def _note(self, event: bytes, now: int) -> None:
        line = event.split(b"data: ", 1)[1].split(b"\n", 1)[0]
        for text in json.loads(line)["text"].split("\n"):
            if text.startswith("T "):
                at = int(text[2:])
                self.delays.setdefault(at, []).append((now - at) / 1e6)

    def close(self) -> None:
        for viewer in self._rest:
            viewer.close()


def _tail(path: Path) -> list[float]:
    """What `tail -f` takes for each line, in ms."""
    delays = []
    with subprocess.Popen(["tail", "-f", "-n", "0", path], stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        for line in tail.stdout:
            if line.startswith(b"T "):
                delays.append((time.monotonic_ns() - int(line[2:])) / 1e6)
            if line.startswith(b"over"):
                tail.terminate()
                return delays
    return delays


def _log(server: Server) -> Path:
    (path,) = (server.data / "runs").glob("*/home/work/process_output.log")
    return path


def _begin(server: Server) -> str:
    http = server.connect()
    (job,) = drafts(http, 1, COMMAND)
    http.call("POST", f"/api/v2/jobs/{job}/submit/")
    while statuses(http, job)[0]["status"] != "Executing" or not _log(server).stat().st_size:
        time.sleep(0.1)
    http.close()
    return job


def _end(server: Server, job: str) -> None:
    http = server.connect()
    (_log(server).parent / "stop").touch()
    while statuses(http, job)[0]["status"] != "Completed":
        time.sleep(0.1)
    http.close()
    while list((server.data / "runs").glob("*/home/work")):
        time.sleep(0.1)


def run(table: Table) -> None:
    table.title(f"viewers: {VIEWERS} of one run")
    with serving() as server:
        job = _begin(server)
        (_log(server).parent / "go").touch()
        alone = _tail(_log(server))
        _end(server, job)
        job = _begin(server)
        first = Viewers(server, job, 1)  # so that what is made once is there
        assert first.read(b"begin", 60) == 0
        before = resident_mb(server.pid)
        viewers = Viewers(server, job, VIEWERS)
        missing = viewers.read(b"begin", 60)
        table.add("viewers that began", str(VIEWERS - missing), str(VIEWERS), "", not missing)
        used = cpu_seconds(server.pid)
        viewers.read(b"nothing", IDLE_SECONDS)
        idle = (cpu_seconds(server.pid) - used) / IDLE_SECONDS
        kilobytes = (resident_mb(server.pid) - before) * 1000 / VIEWERS
        used, began = cpu_seconds(server.pid), time.monotonic()
        (_log(server).parent / "go").touch()
        missing = viewers.read(b"over", LINES * PAUSE_SECONDS * 3 + 60)
        busy = (cpu_seconds(server.pid) - used) / (time.monotonic() - began)
        after = (resident_mb(server.pid) - before) * 1000 / VIEWERS
        viewers.close()
        first.close()
        _end(server, job)
    whole = [delays for delays in viewers.delays.values() if len(delays) == VIEWERS]
    each = [delay for delays in whole for delay in delays]
    last = [max(delays) for delays in whole]
    table.add("lines that came to all", f"{len(whole)} of {LINES}", "all", "", len(whole) == LINES)
    beside = f"tail -f, alone: {percentile(alone, 0.5):.1f} / {percentile(alone, 0.99):.1f} ms"
    p50, p99 = percentile(each, 0.5), percentile(each, 0.99)
    table.add("line written to line received, p50 / p99", f"{p50:.0f} / {p99:.0f} ms", "", beside)
    p50, p99 = percentile(last, 0.5), percentile(last, 0.99)
    text = f"{p50:.0f} / {p99:.0f} ms"
    table.add("... to the last viewer, p50 / p99", text, f"<= {MOST_MS:.0f} ms", "", p50 <= MOST_MS)
    promised = f"<= {MOST_KB:.0f} kB"
    table.add("memory of a viewer, idle", f"{kilobytes:.0f} kB", promised, "", kilobytes <= MOST_KB)
    table.add("... after the lines", f"{after:.0f} kB", promised, "", after <= MOST_KB)
    part = f"{idle * 100:.1f} % of a core"
    table.add("idle", part, f"<= {MOST_IDLE * 100:.0f} %", "", idle <= MOST_IDLE)
    table.add(f"at a line each {PAUSE_SECONDS} s", f"{busy * 100:.0f} % of a core")


if __name__ == "__main__":
    run(Table())
