"""A solver in shell for tests of stops and restarts, and the catalogue's entry for it.

It behaves as OpenFOAM does where it matters: a dictionary is read again only if it is more than
10 s newer than it was, the present step is written where it says `stopAt writeNow`, and
`startFrom latestTime` goes on from the last time folder.
"""

import io
import zipfile
from pathlib import Path

CODE = "loop"
ENTRY = r"""
code = "loop"
name = "Loop"
version_code = "1"
version_name = "1"

[grammar]
sources = ["process_output.log"]
x_label = "step"
x_pattern = '^Time = (?P<x>\d+)$'

[[grammar.series]]
group = "value"
label = "time"
pattern = '^Time = (?P<y>\d+)$'

[[stop]]
kind = "write and stop"
needs = { file = "system/controlDict", pattern = 'runTimeModifiable\s+yes' }
edit = { set = "stopAt", value = "writeNow" }

[[stop]]
kind = "halt file"
needs = { file = "*.in", pattern = 'is_file\((?P<name>[\w./]+)\)' }
create = "{name}"

[[stop]]
kind = "signal"
needs = { file = "usr2.txt", pattern = '' }
signal = "USR2"

[checkpoint]
files = ['^(.*/)?[1-9]\d*/U$', '\.rout$']
what = "a time folder"

[[checkpoint.edit]]
file = "system/controlDict"
set = "startFrom"
value = "latestTime"

[[checkpoint.copy]]
file = "*.rout"
to = "{stem}.rin"
"""
# Another one, which has to be told how to go on.
TOLD = (
    ENTRY.replace('"loop"', '"told"')
    .replace('"Loop"', '"Told"')
    .replace(
        'what = "a time folder"', 'what = "a time folder"\nneeds_command = true\nhint = "go on"'
    )
)

CONTROL = """// stopAt writeNow;
application loop;
startFrom   startTime;
stopAt      endTime;
runTimeModifiable yes;
"""
SOLVER = r"""#!/bin/bash
dict=system/controlDict
last=$(stat -c %Y $dict)
t=0
if grep -q '^startFrom *latestTime;' $dict; then t=$(ls -d [1-9]* | sort -n | tail -1); fi
echo "from $t"
while [ "$t" -lt 5000 ]; do
  t=$((t + 1))
  echo "Time = $t"
  if [ "$(stat -c %Y $dict)" -gt $((last + 10)) ] && grep -q '^stopAt *writeNow;' $dict; then
    mkdir -p $t
    echo "$t" > $t/U
    echo "the present step" > latest
    echo "End"
    exit 0
  fi
  sleep 0.02
done
exit 3
"""


def case(control: str = CONTROL) -> bytes:
    """Zipped: case/system/controlDict and case/solve."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("case/system/controlDict", control)
        archive.writestr("case/solve", SOLVER)
    return content.getvalue()


def bring(data: Path) -> None:
    """Put the entries into the catalogue of an installation that does not run yet."""
    folder = data / "catalogue"
    folder.mkdir(exist_ok=True)
    (folder / "loop.toml").write_text(ENTRY)
    (folder / "told.toml").write_text(TOLD)
