"""The tutorial, for real: what `make demo` runs.

Starts a server on a free port with an empty data folder and walks the job creation tutorial over
HTTP as any client would. Ends with lift and drag, a plot of the residuals and the folder where the
results are; any failure ends with its reason and a non-zero status.

The solver is OpenFOAM. Where it is not installed, or SIMYARD_DEMO_WITHOUT_OPENFOAM=1 says to do
without it, scikit-fem computes the same airfoil in laminar flow.

KEEP=1 in the environment leaves the server up and prints the tutorial's commands ready to paste.
"""

import json
import math
import os
import shlex
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from demo_cases import ROOT, Case, choose, write_catalogue
from demo_client import Client, DemoFailed, server, stage

PATIENCE_SECONDS = 600
LOG = "process_output.log"
LOG_LINES = 20  # of it are shown


def step(number: int, title: str) -> None:
    print(f"\n\033[1m{number}. {title}\033[0m" if sys.stdout.isatty() else f"\n{number}. {title}")


def walk(client: Client, case: Case, results: Path) -> tuple[dict[str, Any], str]:
    """The tutorial from upload to download: the definition of its job, and the id."""
    if not case.archive.exists():
        raise DemoFailed(f"{case.archive} is not there: scripts/setup makes it")

    step(1, f"Uploading {case.archive.name}")
    upload = client.upload(case.archive)
    print(f"   file {upload['id']}, {upload['decryptedSize']:,} bytes, md5 {upload['md5']}")

    step(2, "Choosing an analysis")
    version = ""
    for analysis in client.pages("analyses/"):
        hint = f" ({analysis['installHint']})" if analysis["installHint"] else ""
        state = "installed" if analysis["installed"] else f"not installed{hint}"
        print(f"   {analysis['code']:20} {analysis['name']:28} {state}")
        if analysis["code"] == case.code:
            version = case.pick_version(analysis)

    step(3, "Setting up the job")
    definition = {
        "name": "Basic Job",
        "jobanalyses": [
            {
                "useMpi": False,
                "command": "./airFoil2D/Allrun",
                "analysis": {"code": case.code, "version": version},
                "hardware": {"coresPerSlot": 1, "slots": 1, "coreType": "standard-plus"},
                "inputFiles": [{"id": upload["id"]}],
            }
        ],
    }
    job = client.call("POST", "jobs/", 201, json=definition).json()
    print(f"   job {job['id']}: ./airFoil2D/Allrun with {case.code} {version}")
    for notice in job["notices"]:
        print(f"   note: {notice['message']}")

    step(4, "Submitting it")
    client.call("POST", f"jobs/{job['id']}/submit/", 200)

    step(5, "Monitoring it")
    last = follow(client, job["id"], case.curve)
    if last["statusReason"] != "Completed successfully":
        show_log(client, job["id"])
        raise DemoFailed(f"the job ended with: {last['statusReason']}")

    step(6, "Getting the results")
    runs = client.get(f"jobs/{job['id']}/runs/")
    if runs["count"] != 1:
        raise DemoFailed(f"a basic job has one run, this one has {runs['count']}")
    files = list(client.pages(f"jobs/{job['id']}/files/?page_size=1000"))
    if len(files) != runs["results"][0]["outputFileCount"]:
        raise DemoFailed("the run and the list of files disagree about their number")
    print(f"   1 run, {len(files)} files")

    step(7, "Downloading them")
    for file in files:
        client.download(file, results / file["relativePath"])
    size = sum(file["decryptedSize"] for file in files)
    print(f"   {size:,} bytes, every md5 and sha512 right")
    print(f"   --- the end of {LOG}")
    for line in (results / LOG).read_text().splitlines()[-LOG_LINES:]:
        print(f"   {line}")
    return definition, job["id"]


def judge(client: Client, case: Case, job_id: str, results: Path) -> None:
    """Draw the residuals, and hold lift and drag against what is expected of them."""
    data = client.get(f"jobs/{job_id}/runs/1/series/data/?points=2000")
    plot(data, case.title, results / "residuals.png")
    print(f"\n{case.title}:")
    wrong = []
    for key, name in (("Cl", "lift"), ("Cd", "drag")):
        value = data["keys"][f"forces/{key}"]["last"][-1]
        line = f"   {name} coefficient {key} = {value:.5f}"
        expected = case.expected.get(key)
        if expected is not None:
            off = value / expected - 1
            line += f"   ({case.source}: {expected}, {off:+.1%})"
            if not abs(off) <= case.tolerance:
                wrong.append(f"the {name} is {off:+.1%} off what was {case.source}")
        print(line)
    print(f"   residuals: {results / 'residuals.png'}")
    print(f"   results:   {results}")
    if wrong:
        raise DemoFailed("; ".join(wrong))


def follow(client: Client, job_id: str, curve: str) -> dict[str, Any]:
    """Show statuses as they come and residuals as they fall, until the job is completed."""
    shown, iteration = 0, -1.0
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        statuses = client.get(f"jobs/{job_id}/statuses/")["results"]
        for entry in reversed(statuses[: len(statuses) - shown]):
            at = entry["statusDate"][11:23]
            print(f"   {at}  {entry['status']:17} {entry['statusReason'] or ''}", flush=True)
        shown = len(statuses)
        if statuses[0]["status"] == "Completed":
            return dict(statuses[0])
        if statuses[0]["status"] == "Executing":
            iteration = show_residuals(client, job_id, curve, iteration)
        time.sleep(1)
    raise DemoFailed(f"the job is not finished after {PATIENCE_SECONDS} s")


def show_residuals(client: Client, job_id: str, curve: str, before: float) -> float:
    data = client.get(f"jobs/{job_id}/runs/1/series/data/?points=50")
    residuals = {k.split("/")[1]: v for k, v in data["keys"].items() if k.startswith("residuals/")}
    if not data["x"] or data["x"][-1] == before:
        return before
    widths = {name: max(9, len(name)) for name in residuals}
    if before < 0:
        names = "  ".join(f"{name:>{width}}" for name, width in widths.items())
        print(f"   {'iteration':>14}  {names}")
    values = "  ".join(
        f"{series['last'][-1]:{widths[name]}.2e}" for name, series in residuals.items()
    )
    drawn = f"  {curve} {spark(residuals[curve]['last'])}" if curve in residuals else ""
    print(f"   {data['x'][-1]:14.0f}  {values}{drawn}", flush=True)
    return float(data["x"][-1])


def spark(values: list[Any], width: int = 24) -> str:
    """The fall of a residual in one line, seven decades high."""
    numbers = [v for v in values if isinstance(v, float | int) and v > 0]
    taken = min(width, len(numbers))
    numbers = [numbers[i * len(numbers) // taken] for i in range(taken)]
    return "".join("▁▂▃▄▅▆▇█"[max(0, min(7, round(7 + math.log10(v))))] for v in numbers)


def show_log(client: Client, job_id: str) -> None:
    for file in client.pages(f"jobs/{job_id}/files/?search={LOG}"):
        lines = client.call("GET", file["downloadUrl"], 200).text.splitlines()[-LOG_LINES:]
        print(f"   --- the end of {LOG}", *lines, sep="\n   ", file=sys.stderr)


def plot(data: dict[str, Any], title: str, target: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for key, series in data["keys"].items():
        group, label = key.split("/", 1)
        if group == "residuals":
            mark = "." if len(series["x"]) < 50 else ""
            axes.semilogy(series["x"], series["last"], mark + "-", label=label, linewidth=1.2)
    axes.set_xlabel("iteration")
    axes.set_ylabel("residual")
    axes.set_title(title)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=130)


def print_commands(client: Client, case: Case, definition: dict[str, Any], job_id: str) -> None:
    """The tutorial's steps for this server, ready to paste."""
    token = f"-H 'Authorization: Token {client.key}'"
    found = next(iter(client.pages(f"jobs/{job_id}/files/?search={LOG}")))
    take_id = 'import json, sys; print(json.load(sys.stdin)["id"])'
    print(f"""
The tutorial by hand. Its ids are those of the job above; JOB is the one that step 3 makes.

# 1. Upload
curl -X POST -H 'Content-Type:multipart/form-data' {token} \\
  -F {shlex.quote(f"file=@{case.archive}")} {client.base}/files/contents/
# 2. Choose an analysis
curl {token} {client.base}/analyses/
# 3. Set up a job
JOB=$(curl -sS -X POST {token} -H 'Content-Type: application/json' \\
  --data {shlex.quote(json.dumps(definition))} \\
  {client.base}/jobs/ | python3 -c '{take_id}'); echo $JOB
# 4. Submit it
curl -X POST {token} {client.base}/jobs/$JOB/submit/
# 5. Monitor it
curl {token} {client.base}/jobs/$JOB/statuses/
# 6. Get the results of the job above
curl {token} {client.base}/jobs/{job_id}/runs/
curl {token} {client.base}/jobs/{job_id}/files/
# 7. Download one of them
curl {token} {client.base}/files/{found["id"]}/contents/ > {LOG}""")


def main() -> None:
    keep = os.environ.get("KEEP", "") not in ("", "0")
    results = ROOT / "demo-results" / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    began = time.monotonic()
    with stage("demo", keep) as data:
        write_catalogue(data)
        with server(data, keep) as (address, key):
            client = Client(address, key)
            case = choose(client)
            definition, job_id = walk(client, case, results)
            judge(client, case, job_id, results)
            print(f"\nThe demo took {time.monotonic() - began:.0f} s.")
            if keep:
                print_commands(client, case, definition, job_id)


if __name__ == "__main__":
    main()
