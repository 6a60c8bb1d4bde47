"""P3 and P4: from submit to the solver's first instruction, and jobs that do nothing, end to end.
Beside them: what starting the same sandbox by hand takes. Then: 10,000 outputs of one run.
"""

import socket
import subprocess
import tempfile
import time
from datetime import datetime

from rig import (
    Http,
    Server,
    Table,
    cpu_seconds,
    drafts,
    percentile,
    sandbox_command,
    serving,
    statuses,
    together,
)

STARTS = 60
NOTHINGS = 300
SLOTS = 8  # cores that the server is told to have, so that runs overlap as on a larger machine
OUTPUTS = 10_000
MAKE_OUTPUTS = (
    "for d in $(seq 100); do mkdir $d; for f in $(seq 100); do echo $d $f > $d/$f; done; done"
)


def _bare_sandboxes(count: int, side_by_side: int) -> float:
    """Bubblewrap with the namespaces that a run has, around `true`, a second."""
    command = sandbox_command()

    def some(_: int) -> None:
        for _ in range(count // side_by_side):
            subprocess.run(command, check=True)

    return count / together(side_by_side, some)


def _first_instruction(table: Table, http: Http) -> None:
    """The payload's very first act is to send a datagram's worth over TCP; its arrival counts."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    times = []
    for job_id in drafts(http, STARTS, f"exec 3<>/dev/tcp/127.0.0.1/{port}"):
        began = time.perf_counter()
        http.call("POST", f"/api/v2/jobs/{job_id}/submit/")
        connection, _ = listener.accept()
        times.append((time.perf_counter() - began) * 1e3)
        connection.close()
        while statuses(http, job_id)[0]["status"] != "Completed":
            time.sleep(0.01)
    listener.close()
    bare = 1e3 / _bare_sandboxes(30, 1)
    p50 = percentile(times, 0.5)
    beside = f"{p50 / bare:.1f} x a bare sandbox ({bare:.0f} ms)"
    table.add("submit to first instruction, p50", f"{p50:.0f} ms", "<= 50 ms", beside, p50 <= 50)
    table.add("submit to first instruction, p95", f"{percentile(times, 0.95):.0f} ms")


def _nothings(table: Table, server: Server, http: Http) -> None:
    ids = drafts(http, NOTHINGS)
    cpu = cpu_seconds(server.pid)
    began = time.perf_counter()
    for job_id in ids:
        http.call("POST", f"/api/v2/jobs/{job_id}/submit/")
    while statuses(http, ids[-1])[0]["status"] != "Completed":
        time.sleep(0.02)
    left = [i for i in ids if statuses(http, i)[0]["status"] != "Completed"]
    for job_id in left:
        while statuses(http, job_id)[0]["status"] != "Completed":
            time.sleep(0.01)
    rate = NOTHINGS / (time.perf_counter() - began)
    cpu = (cpu_seconds(server.pid) - cpu) / NOTHINGS * 1e3
    for job_id in ids:
        assert statuses(http, job_id)[0]["statusReason"] == "Completed successfully"
    bare = _bare_sandboxes(200, 4)
    beside = f"{rate / bare:.2f} x bare sandboxes ({bare:.0f}/s)"
    table.add("no-op jobs, sandboxed, end to end", f"{rate:.0f}/s", ">= 60/s", beside, rate >= 60)
    table.add("server's CPU a job", f"{cpu:.1f} ms")


def _many_outputs(table: Table, http: Http) -> None:
    (job_id,) = drafts(http, 1, MAKE_OUTPUTS)
    http.call("POST", f"/api/v2/jobs/{job_id}/submit/")
    while True:
        found = {entry["status"]: entry["statusDate"] for entry in statuses(http, job_id)}
        if "Completed" in found:
            break
        time.sleep(0.05)
    run = http.get(f"/api/v2/jobs/{job_id}/runs/1/")
    assert run["outputFileCount"] == OUTPUTS + 1
    # The log is the last thing that the run's own processes wrote: its end is the payload's end.
    ended = _ended_at(http, job_id)
    took = datetime.fromisoformat(found["Completed"]).timestamp() - ended
    table.add(f"collecting {OUTPUTS:,} small outputs", f"{took:.1f} s", "<= 10 s", "", took <= 10)


def _ended_at(http: Http, job_id: str) -> float:
    """When the payload was over: the command is run again, timed, without the collecting."""
    started = http.get(f"/api/v2/jobs/{job_id}/runs/1/")["dateStarted"]
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["bash", "-c", MAKE_OUTPUTS], cwd=folder, check=True)
        spent = time.time() - began
    return datetime.fromisoformat(started).timestamp() + spent


def run(table: Table) -> None:
    table.title(f"P3, P4 runs: own folder, log, history, sandbox ({SLOTS} slots for the no-ops)")
    with serving() as server:
        _first_instruction(table, server.connect())
    with serving(f"cores = {SLOTS}\n") as server:
        _nothings(table, server, server.connect())
        _many_outputs(table, server.connect())


if __name__ == "__main__":
    run(Table())
