"""P2: durable submits. The queue is full: what is measured is the submit and nothing else."""

import os
import time

from rig import (
    CORES,
    Http,
    Table,
    cpu_seconds,
    drafts,
    percentile,
    serving,
    statuses,
    together,
)

CLIENTS = 32
ONE_CLIENT = 500
EACH = 60  # submits of each of the 32


def _flushes(http: Http) -> int:
    for line in http.call("GET", "/metrics").decode().splitlines():
        if line.startswith("simyard_commits "):
            return int(float(line.split()[1]))
    raise AssertionError


def _raw_flushes(folder: str) -> float:
    """Appends of 4 KiB with fdatasync a second: what the disk does without us."""
    path = f"{folder}/raw"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    block = os.urandom(4096)
    began = time.perf_counter()
    count = 0
    while time.perf_counter() - began < 1.0:
        os.write(file, block)
        os.fdatasync(file)
        count += 1
    os.close(file)
    os.unlink(path)
    return count / (time.perf_counter() - began)


def run(table: Table) -> None:
    table.title("P2 durable submits: authenticated, flushed, with status history")
    with serving() as server:
        http = server.connect()
        blocker = drafts(http, 1, "sleep 1000", cores=CORES)[0]
        http.call("POST", f"/api/v2/jobs/{blocker}/submit/")
        while statuses(http, blocker)[0]["status"] != "Executing":
            time.sleep(0.05)

        ids = drafts(http, ONE_CLIENT)
        raw = _raw_flushes(str(server.data))
        times = []
        began = time.perf_counter()
        for job_id in ids:
            at = time.perf_counter()
            http.call("POST", f"/api/v2/jobs/{job_id}/submit/")
            times.append((time.perf_counter() - at) * 1e3)
        rate = len(ids) / (time.perf_counter() - began)
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        beside = f"{rate / raw:.2f} x bare fdatasync ({raw:.0f}/s)"
        table.add("one client", f"{rate:.0f}/s", ">= 200/s", beside, rate >= 200)
        table.add("one client, p50", f"{p50:.1f} ms", "<= 8 ms", "", p50 <= 8)
        table.add("one client, p99", f"{p99:.1f} ms", "<= 40 ms", "", p99 <= 40)

        shares = [drafts(http, EACH) for _ in range(CLIENTS)]
        connections = [server.connect() for _ in range(CLIENTS)]
        commits = _flushes(http)
        cpu = cpu_seconds(server.pid)
        latencies: list[float] = []

        def submit(n: int) -> None:
            for job_id in shares[n]:
                at = time.perf_counter()
                connections[n].call("POST", f"/api/v2/jobs/{job_id}/submit/")
                latencies.append((time.perf_counter() - at) * 1e3)

        took = together(CLIENTS, submit)
        count = CLIENTS * EACH
        cpu = (cpu_seconds(server.pid) - cpu) / count * 1e6
        flushes = (_flushes(http) - commits) / count
        rate = count / took
        beside = f"{rate / raw:.2f} x bare fdatasync"
        table.add(f"{CLIENTS} clients", f"{rate:.0f}/s", "zero errors", beside, True)
        table.add(
            f"{CLIENTS} clients, p50 / p99",
            f"{percentile(latencies, 0.5):.0f} / {percentile(latencies, 0.99):.0f} ms",
        )
        table.add(
            f"{CLIENTS} clients, commits (flushes) a submit",
            f"{flushes:.3f}",
            "<= 0.1",
            "",
            flushes <= 0.1,
        )
        table.add(f"{CLIENTS} clients, CPU a submit", f"{cpu:.0f} us", "<= 700 us", "", cpu <= 700)
        http.call("POST", f"/api/v2/jobs/{blocker}/stop/")


if __name__ == "__main__":
    run(Table())
