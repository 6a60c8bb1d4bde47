"""P5: a study of 10,000 runs is accepted, and runs that do nothing, in a sandbox, run after run.

Beside them: the same sandbox started by xargs as fast as the machine can, which keeps nothing of
what it runs; the engine alone, which lays a run out and supervises it to its end, with no server
that knows of it; a job array of a private Slurm with twice the cores, which needs no sandbox; and
what inserting 10,000 rows takes SQLite alone. STUDY_RUNS changes how many runs are executed. The
optimizers stand in optimisers.py.
"""

import json
import os
import queue
import sqlite3
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

from rig import (
    Http,
    Server,
    Table,
    array_pace,
    cpu_seconds,
    resident_mb,
    sandbox_command,
    scratch,
    serving,
    slope,
)
from simyard.domain.runs import Allowance
from simyard.engines import local
from simyard.engines.plugins import Host
from simyard.engines.protocol import AttemptSpec, Phase, Request, Step
from simyard.testing.slurm import cluster, missing

ACCEPTED = 10_000
RUNS = int(os.environ.get("STUDY_RUNS", "1500"))
SLOTS = 8
ARRAY = 300
EDGE = "simyard-bench-edge"


def _upload(http: Http, name: str, content: bytes) -> str:
    head = (
        f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    ).encode()
    kind = f"multipart/form-data; boundary={EDGE}"
    body = head + content + f"\r\n--{EDGE}--\r\n".encode()
    return str(json.loads(http.call("POST", "/api/v2/files/contents/", body, kind))["id"])


def draft(http: Http, runs: int, command: str = "true", slots: int = SLOTS) -> str:
    rows = "".join(f"{n},{n * 0.25:.2f},case {n}\n" for n in range(runs))
    table = _upload(http, "runs.csv", b"n,x,name\n" + rows.encode())
    analysis = {
        "command": command,
        "analysis": {"code": "user_included", "version": "0"},
        "hardware": {"coreType": "emerald", "coresPerSlot": 1, "slots": slots},
    }
    job = {"name": "study", "paramFile": {"id": table}, "jobanalyses": [analysis]}
    return str(json.loads(http.call("POST", "/api/v2/jobs/", json.dumps(job).encode()))["id"])


def _accept(table: Table, server: Server) -> None:
    http = server.connect()
    job = draft(http, ACCEPTED, "sleep 600")
    began = time.perf_counter()
    http.call("POST", f"/api/v2/jobs/{job}/submit/")
    took = time.perf_counter() - began
    count = http.get(f"/api/v2/jobs/{job}/runs/?page_size=1")["count"]
    assert count == ACCEPTED, count
    bare = _bare_rows()
    beside = f"{took / bare:.1f} x as many rows in SQLite ({bare:.2f} s)"
    table.add(f"{ACCEPTED:,} runs accepted", f"{took:.2f} s", "<= 2 s", beside, took <= 2)
    began = time.perf_counter()
    http.get(f"/api/v2/jobs/{job}/runs/?page_size=1848")
    table.add("a page of 1,848 of them", f"{(time.perf_counter() - began) * 1e3:.0f} ms")
    began = time.perf_counter()
    http.call("POST", f"/api/v2/jobs/{job}/stop/")
    table.add("stop: the request", f"{(time.perf_counter() - began) * 1e3:.0f} ms")
    _ended(http, job)
    table.add("stop: until nothing is left of it", f"{time.perf_counter() - began:.1f} s")


def _bare_rows() -> float:
    """As many rows of the same size, durably, in a table with the same number of indexes."""
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "rows.db", isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, a INT, b INT, c TEXT, d TEXT)")
        for n, columns in enumerate(("a, b", "c", "a, c, b", "b, a, c", "d")):
            database.execute(f"CREATE INDEX i{n} ON runs ({columns})")
        rows = [(1, n, "planned", "v" * 180) for n in range(ACCEPTED)]
        began = time.perf_counter()
        database.execute("BEGIN")
        database.executemany("INSERT INTO runs (a, b, c, d) VALUES (?, ?, ?, ?)", rows)
        database.execute("COMMIT")
        took = time.perf_counter() - began
        database.close()
    return took


def _ended(http: Http, job: str) -> None:
    while True:
        found = http.get(f"/api/v2/jobs/{job}/cluster_statuses/")["results"]
        if found and found[0]["status"] == "Stopped":
            return
        time.sleep(0.05)


def _nothings(table: Table, server: Server) -> None:
    http = server.connect()
    job = draft(http, RUNS)
    levels: list[tuple[float, float]] = []
    cpu = cpu_seconds(server.pid)
    began = time.time()
    http.call("POST", f"/api/v2/jobs/{job}/submit/")
    while True:
        found = http.get(f"/api/v2/jobs/{job}/statuses/")["results"][0]
        levels.append((time.time() - began, resident_mb(server.pid)))
        if found["status"] == "Completed":
            break
        time.sleep(0.5)
    took = datetime.fromisoformat(found["statusDate"]).timestamp() - began
    assert found["statusReason"] == "Completed successfully", found
    cpu = (cpu_seconds(server.pid) - cpu) / RUNS * 1e3
    rate = RUNS / took
    floor = _xargs(400)
    beside = f"{rate / floor:.2f} x xargs with the same sandbox ({floor:.0f}/s)"
    table.add(f"{RUNS:,} no-op runs of a study", f"{rate:.0f}/s", ">= 100/s", beside, rate >= 100)
    table.add("server's CPU a run", f"{cpu:.1f} ms")
    alone = _engine_alone(400)
    beside = f"{alone / floor:.2f} x xargs; the runs above have {rate / alone:.2f} x its pace"
    table.add("the engine alone, no server", f"{alone:.0f}/s", "", beside)
    _beside_slurm(table, rate)
    settled = [level for level in levels if level[0] > took / 4]
    grows = slope(settled) * took / 60
    shown = f"{levels[0][1]:.0f} / {levels[-1][1]:.0f} MB"
    table.add("memory: start / end", shown, "", f"grew by {grows:.1f} MB after a quarter")


def _beside_slurm(table: Table, rate: float) -> None:
    """rate: of our runs, a second."""
    name = f"{ARRAY} no-op jobs of a Slurm array, 16 slots"
    if missing():
        table.add(name, "not installed")
        return
    array = _slurm_array(ARRAY)
    beside = f"a study's runs have {rate / array:.1f} x its pace"
    table.add(name, f"{array:.0f}/s", "", beside)


def _slurm_array(count: int) -> float:
    """Of a private cluster of twice our slots, for it starts as many a second as it has slots and
    few more.
    """
    with scratch(Path(tempfile.gettempdir())) as base:
        base.chmod(0o755)
        with cluster(base / "cluster", nodes=2, cpus=SLOTS) as made:
            return array_pace(made, count)


def _xargs(count: int) -> float:
    numbers = "\n".join(map(str, range(count)))
    began = time.perf_counter()
    command = ["xargs", "-P", str(SLOTS), "-n", "1", *sandbox_command()]
    subprocess.run(command, input=numbers, text=True, check=True)
    return count / (time.perf_counter() - began)


def _engine_alone(count: int) -> float:
    """Runs a second of an engine that is told to start them, and asked how they ended."""
    news: queue.Queue[str] = queue.Queue()
    with scratch() as folder:
        host = Host(
            data=folder,
            on_news=news.put,
            sandbox="required",
            network=True,
            job_uid=65534,
            options={},
        )
        engine = local.open_engine(host)
        try:
            waiting = [f"noop-{n}" for n in range(count)]
            running: set[str] = set()
            began = time.perf_counter()
            while waiting or running:
                while waiting and len(running) < SLOTS:
                    token = waiting.pop()
                    engine.prepare(token, Request(cores=1))
                    engine.submit(_nothing(token))
                    running.add(token)
                seen = engine.observe([news.get()])
                running -= {token for token, at in seen.items() if at.phase is Phase.ENDED}
            return count / (time.perf_counter() - began)
        finally:
            engine.close()


def _nothing(token: str) -> AttemptSpec:
    return AttemptSpec(
        token=token,
        request=Request(cores=1),
        steps=[Step(label="the command", command="true", env={})],
        env={},
        path=["/usr/bin", "/bin"],
        binds=[],
        network=True,
        allowance=Allowance(walltime=600),
        grace_seconds=1.0,
    )


def run(table: Table) -> None:
    table.title(f"P5 studies ({SLOTS} slots)")
    with serving(f"cores = {SLOTS}\n") as server:
        _accept(table, server)
    with serving(f"cores = {SLOTS}\n") as server:
        _nothings(table, server)


if __name__ == "__main__":
    run(Table())
