"""Write the host lists of a job with several nodes: python hosts.py HOME

Run by a batch script on the first of them. Every rank has a line in `machinefile`; `mpd.hosts` is
the same file. Prints what is to stand in MACHINES. Standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys


def counts(text: str) -> list[int]:
    """2, 2, 2 and 1 for "2(x3),1", as SLURM_TASKS_PER_NODE has it."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(number) for number, times in parts for _ in range(int(times or 1))]


def main(home: str) -> None:
    names = subprocess.check_output(["scontrol", "show", "hostnames"]).decode().split()
    ranks = counts(os.environ["SLURM_TASKS_PER_NODE"])
    nodes = list(zip(names, ranks))
    with open(os.path.join(home, "machinefile"), "w") as file:  # both names are one file
        file.write("".join(f"{name}\n" * count for name, count in nodes))
    print(":".join(f"{name}:{count}" for name, count in nodes))


if __name__ == "__main__":
    main(sys.argv[1])
