"""Run a study and print what its runs came to: study.py sweep|optimise [--slots N] [--save FOLDER]

The server and the key are those of SIMYARD_URL and SIMYARD_KEY. Takes httpx and nothing else, and
works from any folder. Where a body in sweep.json or optimise.json has the name of a file for an id,
the file of that name beside this script is uploaded. --save keeps the runs as runs.json and as
runs.csv.
"""

import argparse
import csv
import json
import math
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
CM_LOWEST = -0.05  # the least pitching moment that is allowed, as in optimise.json
COLUMNS = ("alpha", "camber", "Cl", "Cd", "Cm", "LD")
Run = dict[str, Any]  # as the API has it


def define(http: httpx.Client, name: str, slots: int | None) -> dict[str, Any]:
    """The body of the job, with the files that it names uploaded."""
    uploaded: dict[str, str] = {}

    def upload(found: dict[str, Any]) -> dict[str, Any]:
        path = HERE / str(found.get("id", ""))
        if "id" in found and found["id"] not in uploaded:
            with path.open("rb") as content:
                reply = call(http, "POST", "files/contents/", files={"file": content})
            uploaded[found["id"]] = reply["id"]
            print(f"uploaded {path.name}: file {reply['id']}")
        return {**found, "id": uploaded[found["id"]]} if "id" in found else found

    body = json.loads((HERE / f"{name}.json").read_text(), object_hook=upload)
    if slots is not None:
        body["jobanalyses"][0]["hardware"]["slots"] = slots
    return dict(body)


def call(http: httpx.Client, method: str, path: str, **options: Any) -> Any:
    reply = http.request(method, path, **options)
    if reply.is_error:
        sys.exit(f"{method} {reply.url} answered {reply.status_code}: {reply.text}")
    return reply.json() if reply.content else None


def all_runs(http: httpx.Client, job: str) -> list[Run]:
    runs = call(http, "GET", f"jobs/{job}/runs/", params={"page_size": 2000})["results"]
    return sorted(runs, key=lambda run: int(run["displayOrder"]))


def follow(http: httpx.Client, job: str) -> list[Run]:
    """Print each run when it is done, until the job is."""
    print(header())
    told: set[str] = set()
    while True:
        status = call(http, "GET", f"jobs/{job}/statuses/")["results"][0]
        runs = all_runs(http, job)
        done = [run for run in runs if run["dateCompleted"] and run["id"] not in told]
        for run in sorted(done, key=lambda run: str(run["dateCompleted"])):
            told.add(run["id"])
            print(line(run), flush=True)
        if status["status"] == "Completed":
            print(f"\n{status['statusReason']}")
            return runs
        time.sleep(1)


def values(run: Run) -> dict[str, str]:
    """What the run was given and what it printed, by name."""
    return {variable["name"]: variable["displayValue"] for variable in run["variables"]}


def seconds(run: Run) -> float | None:
    if not (run["dateStarted"] and run["dateCompleted"]):
        return None
    begun, done = (datetime.fromisoformat(run[key]) for key in ("dateStarted", "dateCompleted"))
    return (done - begun).total_seconds()


def header() -> str:
    return "".join(["\n run", *(f"{name:>11}" for name in COLUMNS), "   seconds"])


def line(run: Run) -> str:
    found = values(run)
    cells = "".join(f"{_short(found.get(name, '-')):>11}" for name in COLUMNS)
    took = seconds(run)
    outcome = run.get("outcome") or {}
    fault = "" if outcome.get("isGood", True) else f"   {outcome['message']}"
    return f"{run['id']:>4}{cells}{'-' if took is None else format(took, '.1f'):>10}{fault}"


def _short(text: str) -> str:
    """A value as it fits into the table."""
    try:
        return f"{float(text) + 0.0:.6g}"  # without the sign of -0
    except ValueError:
        return text.strip("* ")[:9]


def best(runs: list[Run]) -> Run | None:
    """The run that the optimizer marks; of a sweep, by the same rule."""
    marked = [run for run in runs if run["isOptimal"]]
    allowed = [run for run in runs if number(run, "Cm", -math.inf) >= CM_LOWEST]
    found = max(marked or allowed, key=lambda run: number(run, "LD", -math.inf), default=None)
    return found if found and math.isfinite(number(found, "LD", -math.inf)) else None


def number(run: Run, name: str, without: float) -> float:
    found = {variable["name"]: variable["value"] for variable in run["variables"]}
    return without if found.get(name) is None else float(found[name])


def save(runs: list[Run], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runs.json").write_text(json.dumps(runs, indent=1))
    with (folder / "runs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["run", *COLUMNS, "seconds"])
        for run in runs:
            found = values(run)
            table.writerow([run["id"], *(found.get(name, "") for name in COLUMNS), seconds(run)])


def main() -> None:
    summary = (__doc__ or "").split(":")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("study", choices=["sweep", "optimise"])
    parser.add_argument("--slots", type=int, help="runs at a time; 2 without it")
    parser.add_argument("--save", type=Path, help="where runs.json and runs.csv go")
    asked = parser.parse_args()
    key = os.environ.get("SIMYARD_KEY")
    if not key:
        sys.exit("SIMYARD_KEY is not set: `simyard keys create` makes a key")
    address = os.environ.get("SIMYARD_URL", "http://localhost:8420").rstrip("/")
    headers = {"Authorization": f"Token {key}"}
    with httpx.Client(base_url=f"{address}/api/v2/", headers=headers, timeout=60) as http:
        job = call(http, "POST", "jobs/", json=define(http, asked.study, asked.slots))
        print(f"job {job['id']}: {job['name']}, {job['expectedRuns']} runs")
        call(http, "POST", f"jobs/{job['id']}/submit/")
        runs = follow(http, job["id"])
    if asked.save:
        save(runs, asked.save)
    found = best(runs)
    if found is None:
        sys.exit("no run has come to a lift over drag with an allowed moment")
    print(f"\nthe best with Cm of at least {CM_LOWEST}:{header()}\n{line(found)}")


if __name__ == "__main__":
    main()
