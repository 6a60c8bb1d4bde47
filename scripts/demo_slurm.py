"""The tutorial and a study over a scheduler: what `make demo STACK=slurm` runs.

Brings up a private Slurm from the distribution's packages: a controller and two nodes that are all
this machine, on loopback, below a folder of its own. A Slurm that the machine may have is neither
read nor changed. On it run the tutorial's job, which has to wait for the job of somebody else, and
a study of 20 runs, which Slurm sees as one array with four at a time. Without OpenFOAM both are
solved by scikit-fem.

At the end, on Ctrl-C and on any failure everything is taken down again. KEEP=1 in the environment
leaves it up until Ctrl-C.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from demo import PATIENCE_SECONDS, judge, print_commands, step, walk
from demo_cases import OPENFOAM, ROOT, SCIKIT_FEM, Case, choose, write_catalogue
from demo_client import Client, DemoFailed, server, stage
from simyard.testing import slurm
from simyard.testing.slurm import Cluster

SLOTS = 4
OTHERS_SECONDS = 8  # that both nodes are taken before the tutorial's job gets one
SOON_SECONDS = 30.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A study of 20 runs: a grid of 5 by 4."""

    name: str
    files: Sequence[Path]
    command: str
    template: Path
    written: str  # what is made of the template, in the run's folder
    script: Path  # prints what a run came to
    argument: str
    variables: Mapping[str, tuple[float, float, int]]  # from, to, how many
    results: Sequence[str]


AIRFOIL = EXAMPLES / "airfoil-study"
SWEEPS = {
    OPENFOAM.code: Sweep(
        name="airfoil over angle of attack and camber",
        files=[AIRFOIL / "airfoil-study.zip"],
        command="./airfoil/Allrun",
        template=AIRFOIL / "conditions.template",
        written="airfoil/system/conditions",
        script=AIRFOIL / "coefficients.sh",
        argument="airfoil",
        variables={"alpha": (0, 8, 5), "camber": (0, 3, 4)},
        results=["Cl", "Cd", "Cm", "LD"],
    ),
    SCIKIT_FEM.code: Sweep(
        name="airfoil over angle of attack and Reynolds number",
        files=[SCIKIT_FEM.archive],
        command="./airFoil2D/Allrun",
        template=EXAMPLES / "airfoil2d-fem" / "sweep.template",
        written="airFoil2D/case.toml",
        script=EXAMPLES / "airfoil2d-fem" / "coefficients.sh",
        argument="airFoil2D",
        variables={"alpha": (0, 4, 5), "reynolds": (250, 1000, 4)},
        results=["Cl", "Cd", "LD"],
    ),
}


# --- the cluster ----------------------------------------------------------------------------------


@contextmanager
def private_slurm(base: Path) -> Iterator[Cluster]:
    """A cluster of two nodes. Whatever happens in the block, nothing of it is left."""
    if lacking := slurm.missing():
        raise DemoFailed(f"Slurm is not installed ({', '.join(lacking)}): scripts/setup does that")
    cpus = max(SLOTS // 2, (os.cpu_count() or 1) // 2)
    try:
        with slurm.cluster(base, nodes=2, cpus=cpus) as cluster:
            yield cluster
    except (RuntimeError, subprocess.SubprocessError) as error:
        raise DemoFailed(f"Slurm: {error}") from None


def show(cluster: Cluster, *command: str) -> None:
    print(f"   $ {' '.join(command)}")
    for line in cluster.call(*command).stdout.splitlines():
        print(f"   {line.rstrip()}", flush=True)


def occupy(cluster: Cluster) -> None:
    """Have somebody else's job take both nodes for some seconds."""
    wanted = ["--nodes=2", "--exclusive", "--job-name=others", "--output=/dev/null", "--chdir=/"]
    cluster.call("sbatch", *wanted, "--time=1", f"--wrap=sleep {OTHERS_SECONDS}")


# --- the study ------------------------------------------------------------------------------------


def study(client: Client, cluster: Cluster, case: Case, job: Mapping[str, Any]) -> str:
    """Run 20 runs as one array; returns the id. job: the tutorial's, for its analysis."""
    sweep = SWEEPS[case.code]
    step(8, f"A study of 20 runs: {sweep.name}")
    ids = {path: client.upload(path)["id"] for path in (*sweep.files, sweep.template, sweep.script)}
    hardware = {"coresPerSlot": 1, "slots": SLOTS, "coreType": "standard-plus"}
    body = {
        "name": sweep.name,
        "jobvariables": [
            {
                "name": name,
                "variableType": "Param",
                "valueGeneratorType": "Linspace",
                "valueGeneratorSettings": {"minvalue": low, "maxvalue": high, "count": count},
            }
            for name, (low, high, count) in sweep.variables.items()
        ],
        "jobanalyses": [
            {
                "analysis": job["jobanalyses"][0]["analysis"],
                "command": sweep.command,
                "hardware": hardware,
                "inputFiles": [{"id": ids[path]} for path in sweep.files],
                "templateTasks": [
                    {
                        "templateFile": {"id": ids[sweep.template]},
                        "processedFilename": sweep.written,
                    }
                ],
                "postProcessScript": {"id": ids[sweep.script]},
                "postProcessScriptCommand": f"sh {sweep.script.name} {sweep.argument}",
            }
        ],
    }
    made = client.call("POST", "jobs/", 201, json=body).json()
    print(f"   job {made['id']}, {made['expectedRuns']} runs, {SLOTS} at a time")
    client.call("POST", f"jobs/{made['id']}/submit/", 200)
    show_array(cluster)
    follow(client, made["id"], sweep)
    return str(made["id"])


def show_array(cluster: Cluster) -> None:
    """Slurm's own words, once as many run as may."""
    until = time.monotonic() + SOON_SECONDS
    while time.monotonic() < until:
        states = cluster.call("squeue", "-h", "-o", "%i %t").stdout
        if f"%{SLOTS}]" in states and states.count(" R") >= SLOTS:
            break
        time.sleep(0.2)
    show(cluster, "squeue")


def follow(client: Client, job: str, sweep: Sweep) -> None:
    """Print each run when it is done, until all are. Raises DemoFailed where one is no good."""
    names = [*sweep.variables, *sweep.results]
    print("    run", *(f"{name:>10}" for name in names), "   seconds", sep="")
    told: set[str] = set()
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        status = client.get(f"jobs/{job}/statuses/")["results"][0]
        runs = list(client.pages(f"jobs/{job}/runs/?page_size=100"))
        done = [run for run in runs if run["dateCompleted"] and run["id"] not in told]
        for run in sorted(done, key=lambda run: str(run["dateCompleted"])):
            told.add(run["id"])
            print(line(run, names), flush=True)
        if status["status"] == "Completed":
            print(f"   {status['statusReason']}")
            bad = [run for run in runs if not (run["outcome"] or {}).get("isGood")]
            if bad or len(runs) != 20:
                raise DemoFailed(f"{len(bad)} of {len(runs)} runs are no good")
            return
        time.sleep(1)
    raise DemoFailed(f"the study is not finished after {PATIENCE_SECONDS} s")


def line(run: Mapping[str, Any], names: Sequence[str]) -> str:
    found = {variable["name"]: variable["displayValue"] for variable in run["variables"]}
    cells = "".join(f"{found.get(name, '-'):>10}" for name in names)
    begun, done = run["dateStarted"], run["dateCompleted"]
    took = (datetime.fromisoformat(done) - datetime.fromisoformat(begun)).total_seconds()
    return f"   {run['id']:>4}{cells}{took:>10.1f}"


def show_history(client: Client, job: str) -> None:
    until = time.monotonic() + SOON_SECONDS
    while time.monotonic() < until:
        if client.get(f"jobs/{job}/cluster_statuses/")["results"][0]["status"] == "Stopped":
            break
        time.sleep(0.1)
    for path, whose in (("statuses", "the job"), ("cluster_statuses", "its cluster")):
        print(f"   the history of {whose}:")
        for entry in reversed(client.get(f"jobs/{job}/{path}/")["results"]):
            told = f"{entry['status']:17}  {entry.get('statusReason') or ''}".rstrip()
            print(f"   {entry['statusDate'][11:23]}  {told}")


# --------------------------------------------------------------------------------------------------


def need_readable() -> None:
    """Raises DemoFailed where jobs, which Slurm starts as another user than root, cannot reach the
    Python that has scikit-fem.
    """
    if os.getuid() != 0:
        return
    for folder in {Path(sys.prefix), Path(sys.base_prefix).resolve()}:
        for each in (folder, *folder.parents):
            if not each.stat().st_mode & 0o001:
                raise DemoFailed(
                    f"jobs do not run as root, and others cannot enter {each}, where the Python is"
                    " that has scikit-fem. Run this as another user, or remove .venv and set"
                    " PYTHON=/usr/bin/python3"
                )


def play(data: Path, keep: bool, results: Path) -> None:
    write_catalogue(data)
    (data / "simyard.toml").write_text('engine = "slurm"\n')
    began = time.monotonic()
    with private_slurm(data.with_name("cluster")) as cluster:
        print("A private Slurm:")
        show(cluster, "sinfo")
        with server(data, keep=False, environment=cluster.environment) as (address, key):
            client = Client(address, key)
            case = choose(client)
            if case is SCIKIT_FEM:
                need_readable()
            print(f"Somebody else's job takes both nodes for {OTHERS_SECONDS} s.")
            occupy(cluster)
            definition, job_id = walk(client, case, results)
            show_history(client, job_id)
            judge(client, case, job_id, results)
            show_history(client, study(client, cluster, case, definition))
            print(f"\nThe demo took {time.monotonic() - began:.0f} s.")
            if keep:
                print_commands(client, case, definition, job_id)
                print(f"\nexport SLURM_CONF={cluster.environment['SLURM_CONF']}  # for squeue")
                print("All of it stays up until Ctrl-C.", flush=True)
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
    print("Slurm, the server and their folders are gone.")


def interrupt(_number: int, _frame: object) -> None:
    """The first of these signals ends the demo; nothing ends the taking down."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    for number in ENDING:
        signal.signal(number, interrupt)
    keep = os.environ.get("KEEP", "") not in ("", "0")
    results = ROOT / "demo-results" / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-slurm"
    try:
        with stage("demo-slurm", keep=False) as data:
            play(data, keep, results)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything was taken down", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
