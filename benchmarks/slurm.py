"""Our part in what a job over Slurm takes: the same jobs through the server, and bare by sbatch.

A private two-node Slurm on loopback with 16 slots. From the submit to the payload's first
instruction; jobs that do nothing, one after the other; and a study of as many runs as an array has
jobs. SLURM_RUNS changes how many that are.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import studies
from rig import Http, Server, Table, array_pace, jobs_in_queue, running, scratch
from simyard.testing.slurm import Cluster, cluster

RUNS = int(os.environ.get("SLURM_RUNS", "1000"))
JOBS = 40
LATENCIES = 8
CORE_TYPES = """
[[core_type]]
code = "emerald"
name = "Emerald"
cores = [1, 2, 4, 8]
memory_mb = 900
storage_gb = 10
"""


@contextmanager
def _stand() -> Iterator[tuple[Cluster, Server]]:
    with scratch(Path(tempfile.gettempdir())) as base:
        base.chmod(0o755)
        with cluster(base / "cluster") as made:
            data = base / "data"
            (data / "catalogue").mkdir(parents=True)
            (data / "simyard.toml").write_text('engine = "slurm"\nmax_walltime_seconds = 36000\n')
            (data / "catalogue" / "coretypes.toml").write_text(CORE_TYPES)
            os.environ.update(made.environment)
            with running(data) as server:
                yield made, server


def _create(http: Http, command: str) -> str:
    analysis = {
        "command": command,
        "analysis": {"code": "user_included", "version": "0"},
        "hardware": {"coreType": "emerald", "coresPerSlot": 1},
    }
    body = json.dumps({"name": "job", "jobanalyses": [analysis]}).encode()
    return str(json.loads(http.call("POST", "/api/v2/jobs/", body))["id"])


def _through_us(http: Http) -> Callable[[str], None]:
    def submit(command: str) -> None:
        http.call("POST", f"/api/v2/jobs/{_create(http, command)}/submit/")

    return submit


def _bare(made: Cluster) -> Callable[[str], None]:
    def submit(command: str) -> None:
        made.call("sbatch", "--output=/dev/null", "--chdir=/", f"--wrap={command}")

    return submit


def _first_lines(submit: Callable[[str], None], folder: Path) -> float:
    """Median seconds from a submit to the first line of its job."""
    taken = []
    for n in range(LATENCIES):
        told = folder / f"told{n}"
        began = time.time()
        submit(f"date +%s.%N > {told}")
        _until(lambda path=told: path.exists() and path.stat().st_size > 0)  # type: ignore[misc]
        taken.append(float(told.read_text()) - began)
        time.sleep(0.37)  # at another point of the scheduler's beat each time
    return statistics.median(taken)


def _until(is_so: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


def _rate(submit: Callable[[str], None], left: Callable[[], int]) -> float:
    began = time.perf_counter()
    for _ in range(JOBS):
        submit("true")
    _until(lambda: left() == 0)
    return JOBS / (time.perf_counter() - began)


def run(table: Table) -> None:
    table.title("Slurm: our part (two nodes, 16 slots)")
    with _stand() as (made, server):
        http = server.connect()

        def unfinished() -> int:
            found = http.get("/api/v2/jobs/?state=not_completed&page_size=1")
            return int(found["count"])

        bare = _first_lines(_bare(made), made.base)
        ours = _started(http)
        beside = f"{ours / bare:.2f} x sbatch alone ({bare:.2f} s)"
        table.add("submit to start, median", f"{ours:.2f} s", "", beside)
        bare_rate = _rate(_bare(made), lambda: jobs_in_queue(made))
        our_rate = _rate(_through_us(http), unfinished)
        beside = f"{our_rate / bare_rate:.2f} x sbatch alone ({bare_rate:.1f}/s)"
        table.add(f"{JOBS} no-op jobs, to the end", f"{our_rate:.1f}/s", "", beside)
        bare_array = array_pace(made, RUNS)
        http = server.connect()  # the last one was idle too long
        job = studies.draft(http, RUNS, slots=16)
        began = time.perf_counter()
        http.call("POST", f"/api/v2/jobs/{job}/submit/")
        _until(lambda: unfinished() == 0)
        our_array = RUNS / (time.perf_counter() - began)
        beside = f"{our_array / bare_array:.2f} x a bare array ({bare_array:.1f}/s)"
        table.add(f"a study of {RUNS:,} no-op runs", f"{our_array:.1f}/s", "", beside)


def _start_of(http: Http, job: str) -> str | None:
    found = http.get(f"/api/v2/jobs/{job}/runs/")["results"]
    return found[0]["dateStarted"] if found else None


def _started(http: Http) -> float:
    """Median seconds from a submit to the start of its payload, as its supervisor saw it."""
    taken = []
    for _ in range(LATENCIES):
        job = _create(http, "true")
        began = time.time()
        http.call("POST", f"/api/v2/jobs/{job}/submit/")

        _until(lambda of=job: _start_of(http, of) is not None)  # type: ignore[misc]
        taken.append(datetime.fromisoformat(str(_start_of(http, job))).timestamp() - began)
        time.sleep(0.37)
    return statistics.median(taken)


if __name__ == "__main__":
    run(Table())
