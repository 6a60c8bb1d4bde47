"""All benchmarks: `make bench`. Names of single ones may be given: run.py start transfer"""

import sys

import console
import lists
import load
import optimisers
import reads
import runs
import slurm
import start
import studies
import submits
import transfer
import verdicts
import viewers
from rig import Table

ALL = {
    "start": start.run,
    "submits": submits.run,
    "load": load.run,
    "runs": runs.run,
    "studies": studies.run,
    "slurm": slurm.run,
    "optimisers": optimisers.run,
    "transfer": transfer.run,
    "lists": lists.run,
    "reads": reads.run,
    "verdicts": verdicts.run,
    "viewers": viewers.run,
    "console": console.run,
}


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in ALL]:
        print(f"There is no {', '.join(unknown)}; there are: {', '.join(ALL)}.", file=sys.stderr)
        return 2
    table = Table()
    for name in names or ALL:
        ALL[name](table)
    missed = [row[0].strip() for row in table.rows if row[4] is False]
    print(f"\nMISSED: {', '.join(missed)}" if missed else "\nEvery promised figure was reached.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
