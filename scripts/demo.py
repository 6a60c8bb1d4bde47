"""The tutorial, for real: what `make demo` runs.

Starts a server on a free port with an empty data folder and walks the job creation tutorial over
HTTP as any client would. Ends with lift and drag, a plot of the residuals and the folder where the
results are; any failure ends with its reason and a non-zero status.

KEEP=1 in the environment leaves the server up and prints the tutorial's commands ready to paste.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 600

# Ladson, NASA TM 4074 (1988): NACA 0012, Reynolds number 6 million, Mach 0.15, transition tripped
# (80 grit): 0.2125 at 2.05 degrees, 0.4316 at 4.04 degrees; between them at 4.00 degrees:
MEASURED_LIFT = 0.4273
TOLERANCE = 0.10


def fail(reason: str) -> NoReturn:
    print(f"\ndemo: failed: {reason}", file=sys.stderr)
    sys.exit(1)


def step(number: int, title: str) -> None:
    print(f"\n\033[1m{number}. {title}\033[0m" if sys.stdout.isatty() else f"\n{number}. {title}")


@contextmanager
def server(data: Path, keep: bool) -> Iterator[tuple[str, str]]:
    """A running server: its address and an API key."""
    command = [sys.executable, "-m", "simyard"]
    log = data.with_name(f"{data.name}.log").open("w")
    process = subprocess.Popen(
        [*command, "serve", "--data", str(data), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=keep,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            fail(f"the server did not start:\n{Path(log.name).read_text()}")
        print(line.strip())
        address = line.split()[-1]
        made = subprocess.run(
            [*command, "keys", "create", "--data", str(data), "--email", "demo@example.org"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            fail(made.stderr)
        yield address, made.stdout.strip()
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
        else:
            print(f"\nThe server goes on as process {process.pid}; end it with: kill {process.pid}")
            print(f"Its data folder is {data}")


class Client:
    """The few calls of the tutorial, with the reason of a refusal in words."""

    def __init__(self, address: str, key: str) -> None:
        self.base = f"{address}/api/v2"
        self._http = httpx.Client(headers={"Authorization": f"Token {key}"}, timeout=60)

    def call(self, method: str, path: str, expected: int, **options: Any) -> httpx.Response:
        url = path if path.startswith("http") else f"{self.base}/{path}"
        reply = self._http.request(method, url, **options)
        if reply.status_code != expected:
            fail(f"{method} {url} answered {reply.status_code}: {reply.text[:500]}")
        return reply

    def get(self, path: str) -> Any:
        return self.call("GET", path, 200).json()

    def pages(self, path: str) -> Iterator[Any]:
        following: str | None = path
        while following:
            page = self.get(following)
            yield from page["results"]
            following = page["next"]

    def download(self, file: dict[str, Any], target: Path) -> None:
        """Fetch a file and hold it against both of its checksums."""
        target.parent.mkdir(parents=True, exist_ok=True)
        md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
        with self._http.stream("GET", file["downloadUrl"]) as reply, target.open("wb") as out:
            if reply.status_code != 200:
                fail(f"{file['downloadUrl']} answered {reply.status_code}")
            for chunk in reply.iter_bytes():
                md5.update(chunk)
                sha512.update(chunk)
                out.write(chunk)
        if md5.hexdigest() != file["md5"]:
            fail(f"{file['relativePath']}: the md5 of what came differs")
        if sha512.hexdigest() != file["fileChecksums"][0]["fileHash"]:
            fail(f"{file['relativePath']}: the sha512 of what came differs")


def choose(client: Client) -> tuple[str, str, Path]:
    """Analysis, version and case: OpenFOAM if it is there, else a solver that pip can bring."""
    analyses = {entry["code"]: entry for entry in client.pages("analyses/")}
    for code, entry in analyses.items():
        state = "installed" if entry["installed"] else f"not installed ({entry['installHint']})"
        print(f"   {code:20} {entry['name']:28} {state}")
    if analyses["openfoam"]["installed"] and not os.environ.get("SIMYARD_DEMO_WITHOUT_OPENFOAM"):
        versions = [version["versionCode"] for version in analyses["openfoam"]["versions"]]
        if "2.3.0-openmpi" not in versions:
            fail("OpenFOAM is there, and the tutorial's version 2.3.0-openmpi is not listed")
        return "openfoam", "2.3.0-openmpi", ROOT / "airfoil2d.zip"
    fail("OpenFOAM is not installed")


def run(client: Client, results: Path) -> None:
    step(1, "Choosing an analysis")
    code, version, case = choose(client)

    step(2, f"Uploading {case.name}")
    with case.open("rb") as content:
        upload = client.call("POST", "files/contents/", 201, files={"file": content}).json()
    expected = hashlib.md5(case.read_bytes(), usedforsecurity=False).hexdigest()
    if upload["md5"] != expected:
        fail("the server's md5 of the upload differs")
    print(f"   file {upload['id']}, {upload['decryptedSize']:,} bytes, md5 {upload['md5']}")

    step(3, "Setting up the job")
    definition = {
        "name": "Basic Job",
        "jobanalyses": [
            {
                "useMpi": False,
                "command": "./airFoil2D/Allrun",
                "analysis": {"code": code, "version": version},
                "hardware": {"coresPerSlot": 1, "slots": 1, "coreType": "standard-plus"},
                "inputFiles": [{"id": upload["id"]}],
            }
        ],
    }
    job = client.call("POST", "jobs/", 201, json=definition).json()
    print(f"   job {job['id']}: {definition['jobanalyses'][0]['command']}")
    for notice in job["notices"]:
        print(f"   note: {notice['message']}")

    step(4, "Submitting it")
    client.call("POST", f"jobs/{job['id']}/submit/", 200)

    step(5, "Monitoring it")
    last = follow(client, job["id"])
    if last["statusReason"] != "Completed successfully":
        show_log(client, job["id"])
        fail(f"the job ended with: {last['statusReason']}")

    step(6, "Getting the results")
    runs = client.get(f"jobs/{job['id']}/runs/")
    if runs["count"] != 1:
        fail(f"a basic job has one run, this one has {runs['count']}")
    files = list(client.pages(f"jobs/{job['id']}/files/?page_size=1000"))
    if len(files) != runs["results"][0]["outputFileCount"]:
        fail("the run and the list of files disagree about their number")
    for file in files:
        client.download(file, results / file["relativePath"])
    size = sum(file["decryptedSize"] for file in files)
    print(f"   {len(files)} files, {size:,} bytes, every md5 and sha512 right")
    print("   --- process_output.log")
    for line in (results / "process_output.log").read_text().splitlines():
        print(f"   {line}")

    step(7, "What came out")
    data = client.get(f"jobs/{job['id']}/runs/1/series/data/?points=2000")
    lift, drag = (data["keys"][f"forces/{name}"]["last"][-1] for name in ("Cl", "Cd"))
    plot(data, results / "residuals.png")
    off = lift / MEASURED_LIFT - 1
    print(f"   lift coefficient Cl = {lift:.4f}   (measured: {MEASURED_LIFT}, {off:+.1%})")
    print(f"   drag coefficient Cd = {drag:.5f}")
    print(f"   residuals: {results / 'residuals.png'}")
    print(f"   results:   {results}")
    if abs(off) > TOLERANCE:
        fail(f"the lift is {off:+.1%} off what was measured")


def follow(client: Client, job_id: str) -> dict[str, Any]:
    """Show statuses as they come and residuals as they fall, until the job is completed."""
    shown, iteration = 0, -1.0
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        statuses = client.get(f"jobs/{job_id}/statuses/")["results"]
        for entry in reversed(statuses[: len(statuses) - shown]):
            at = entry["statusDate"][11:23]
            print(f"   {at}  {entry['status']:12} {entry['statusReason'] or ''}", flush=True)
        shown = len(statuses)
        if statuses[0]["status"] == "Completed":
            return dict(statuses[0])
        if statuses[0]["status"] == "Executing":
            iteration = show_residuals(client, job_id, iteration)
        time.sleep(1)
    fail(f"the job is not finished after {PATIENCE_SECONDS} s")


def show_residuals(client: Client, job_id: str, before: float) -> float:
    data = client.get(f"jobs/{job_id}/runs/1/series/data/?points=50")
    residuals = {k.split("/")[1]: v for k, v in data["keys"].items() if k.startswith("residuals/")}
    if not data["x"] or data["x"][-1] == before:
        return before
    if before < 0:
        print(f"   {'iteration':>14}  " + "  ".join(f"{name:>9}" for name in residuals))
    values = "  ".join(f"{series['last'][-1]:9.2e}" for series in residuals.values())
    p = residuals.get("p")
    curve = f"  p {spark(p['last'])}" if p else ""
    print(f"   {data['x'][-1]:14.0f}  {values}{curve}", flush=True)
    return float(data["x"][-1])


def spark(values: list[Any], width: int = 24) -> str:
    """The fall of a residual in one line, seven decades high."""
    import math

    numbers = [v for v in values if isinstance(v, float | int) and v > 0]
    taken = [numbers[int(i * len(numbers) / width)] for i in range(min(width, len(numbers)))]
    return "".join("▁▂▃▄▅▆▇█"[max(0, min(7, round(7 + math.log10(v))))] for v in taken)


def show_log(client: Client, job_id: str) -> None:
    for file in client.pages(f"jobs/{job_id}/files/?search=process_output.log"):
        text = client.call("GET", file["downloadUrl"], 200).text
        print("   --- process_output.log", *text.splitlines()[-20:], sep="\n   ", file=sys.stderr)


def plot(data: dict[str, Any], target: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for key, series in data["keys"].items():
        group, label = key.split("/", 1)
        if group == "residuals":
            axes.semilogy(series["x"], series["last"], label=label, linewidth=1.2)
    axes.set_xlabel("iteration")
    axes.set_ylabel("initial residual")
    axes.set_title("NACA 0012 at 4 degrees: residuals")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=130)


def print_commands(address: str, key: str) -> None:
    """The tutorial's steps for this server, ready to paste."""
    token = f"-H 'Authorization: Token {key}'"
    base = f"{address}/api/v2"
    job = json.dumps(
        {
            "name": "Basic Job",
            "jobanalyses": [
                {
                    "useMpi": False,
                    "command": "./airFoil2D/Allrun",
                    "analysis": {"code": "openfoam", "version": "2.3.0-openmpi"},
                    "hardware": {"coresPerSlot": 1, "slots": 1, "coreType": "standard-plus"},
                    "inputFiles": [{"id": "FILE"}],
                }
            ],
        }
    )
    print(f"""
The tutorial by hand, from the folder {ROOT}:

curl -X POST -H 'Content-Type:multipart/form-data' {token} -F "file=@airfoil2d.zip" \\
  {base}/files/contents/
curl {token} {base}/analyses/
curl -X POST {token} -H 'Content-Type: application/json' --data '{job}' \\
  {base}/jobs/    # FILE: the id of step 1
curl -X POST {token} {base}/jobs/JOB/submit/    # JOB: the id of step 3
curl {token} {base}/jobs/JOB/statuses/
curl {token} {base}/jobs/JOB/runs/
curl {token} {base}/jobs/JOB/files/
curl {token} {base}/files/OUTPUT/contents/ > process_output.log    # OUTPUT: an id of step 7""")


def main() -> None:
    keep = os.environ.get("KEEP", "") not in ("", "0")
    scratch = Path(tempfile.mkdtemp(prefix="simyard-demo-"))
    results = ROOT / "demo-results" / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    began = time.monotonic()
    try:
        with server(scratch / "data", keep) as (address, key):
            run(Client(address, key), results)
            print(f"\nThe demo took {time.monotonic() - began:.0f} s.")
            if keep:
                print_commands(address, key)
    except httpx.HTTPError as error:
        fail(f"the server does not answer: {error}")
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
