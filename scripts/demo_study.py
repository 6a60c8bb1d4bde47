"""A study, for real: what `make demo STUDY=1` runs.

Starts a server on a free port with an empty data folder and runs examples/airfoil-study on it: 13
runs of OpenFOAM from a table. STUDY=optimise runs the optimisation of 40. Ends with the table of
the runs, the best of them, and plots in demo-results; any failure ends with its reason and a
non-zero status. There is no other solver for it: without OpenFOAM it fails.

KEEP=1 in the environment leaves the server up.
"""

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from demo_cases import ROOT
from demo_client import Client, DemoFailed, server, stage

EXAMPLE = ROOT / "examples" / "airfoil-study"


def needs_openfoam(client: Client) -> None:
    entry = next(a for a in client.pages("analyses/") if a["code"] == "openfoam")
    if os.environ.get("SIMYARD_DEMO_WITHOUT_OPENFOAM", "") not in ("", "0"):
        reason = "SIMYARD_DEMO_WITHOUT_OPENFOAM is set"
    elif not entry["installed"]:
        reason = f"it is not installed ({entry['installHint']})"
    else:
        return
    raise DemoFailed(f"this study takes OpenFOAM, and {reason}; `make demo` alone runs without it")


def study(client: Client, address: str, kind: str, results: Path) -> None:
    """Run the example as anybody would: its own script, with an address and a key."""
    slots = min(2, os.cpu_count() or 1)
    command = [str(EXAMPLE / "study.py"), kind, "--slots", str(slots), "--save", str(results)]
    environment = {**os.environ, "SIMYARD_URL": address, "SIMYARD_KEY": client.key}
    if subprocess.run([sys.executable, *command], env=environment, check=False).returncode != 0:
        raise DemoFailed(f"{kind} did not come to its end")
    plots = [sys.executable, str(EXAMPLE / "plots.py"), str(results)]
    if subprocess.run(plots, check=False).returncode != 0:
        raise DemoFailed("the plots could not be drawn")
    print(f"\nThe runs and plots of them: {results}")


def main() -> None:
    keep = os.environ.get("KEEP", "") not in ("", "0")
    kind = "optimise" if os.environ.get("STUDY", "").startswith("optimi") else "sweep"
    results = ROOT / "demo-results" / f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{kind}"
    began = time.monotonic()
    with stage("study", keep) as data, server(data, keep) as (address, key):
        client = Client(address, key)
        needs_openfoam(client)
        study(client, address, kind, results)
        print(f"The demo took {time.monotonic() - began:.0f} s.")
        if keep:
            print(f"\nexport SIMYARD_URL={address} SIMYARD_KEY={key}")


if __name__ == "__main__":
    main()
