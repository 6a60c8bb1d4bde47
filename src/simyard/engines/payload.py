"""What the supervisor starts: a small shell driver that runs the steps of an attempt in order.

The driver says what it does on file descriptor 9 (`begin N`, `end N CODE`, `exit CODE`), so that
the step that failed is known, and the end too where the supervisor died right after it. Of a step
that may fail it says which bytes of the log are its own (`aside FROM TO`).
"""

import contextlib
import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simyard.engines.protocol import Step

_MOST_ALIKE = 100
_LINE = re.compile(r"(begin|end|exit|aside)((?: [0-9]{1,15})*)")  # of the record
DRIVER = r"""#!/bin/sh
# driver SCRIPTS OWN-PIDS: run SCRIPTS/0.cmd, 1.cmd, ... until one fails. OWN-PIDS is 1 where
# /proc shows the processes of this run only. Where there is an N.told, what N.cmd prints is kept in
# a file of its own too; where there is an N.lenient, it does not matter how it ends.
exec 2>&1  # until here the supervisor has listened
scripts=$1 own_pids=$2 stopping= last=
trap 'stopping=1' TERM  # a step may end in its own way; we wait for it
trap 'last=1' USR1  # it was asked to end in its own way: with it we are done
written() { stat -L -c %s "/proc/$$/fd/1"; }  # bytes of the log
n=0 code=0
while [ -e "$scripts/$n.cmd" ]; do
    until printf 'begin %d\n' "$n" 2>/dev/null >&9; do
        # The disk is full. What cannot be told must not be done.
        if [ -n "$stopping$last" ]; then exit 143; fi
        sleep 1
    done
    told=
    if [ -e "$scripts/$n.told" ]; then told=$HOME/.simyard/told.$n; mkdir -p "$HOME/.simyard"; fi
    from=
    if [ -e "$scripts/$n.lenient" ]; then from=$(written); fi
    (
        exec 9>&-
        cd "$HOME/work" || exit 1
        if [ -n "$told" ]; then exec >"$told" || exit 1; fi
        set -- "$scripts/$n.env" "$scripts/$n.cmd"  # the user may set any variable
        . "$1"
        exec bash "$2"
    )
    code=$?
    if [ -n "$told" ]; then cat "$told"; fi
    if [ -n "$from" ]; then printf 'aside %d %d\n' "$from" "$(written)" >&9; fi
    printf 'end %d %d\n' "$n" "$code" >&9
    if [ -z "$stopping" ] && [ -e "$scripts/$n.lenient" ]; then code=0; fi
    if [ "$code" -ne 0 ] || [ -n "$stopping$last" ]; then break; fi
    n=$((n + 1))
done
if [ -n "$stopping" ] && [ "$own_pids" = 1 ]; then
    # Our end is the end of the sandbox: leave the others their grace time.
    while set -- /proc/[0-9]*; [ $# -gt 2 ]; do sleep 0.05; done
fi
printf 'exit %d\n' "$code" >&9
exit "$code"
"""


def write_scripts(folder: Path, steps: Sequence[Step], alike: dict[bytes, str]) -> None:
    """For each step, its variables and its command.

    alike: where the last files of some contents lie. The runs of a study have links to the same
    ones, for making files is dear; what is written here is noted there.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    os.chmod(folder, 0o755)
    if len(alike) > _MOST_ALIKE:
        alike.clear()
    for n, step in enumerate(steps):
        exports = [f"export {name}={shlex.quote(value)}\n" for name, value in step.env.items()]
        _put(f"{folder}/{n}.env", "".join(exports), alike)
        # A command that came from Windows must not carry carriage returns into the shell.
        _put(f"{folder}/{n}.cmd", step.command.replace("\r\n", "\n") + "\n", alike)
        if step.is_told:
            _put(f"{folder}/{n}.told", "", alike)
        if step.is_lenient:
            _put(f"{folder}/{n}.lenient", "", alike)


def _put(path: str, content: str, alike: dict[bytes, str]) -> None:
    key = hashlib.sha256(content.encode()).digest()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a layout that was broken off: it may be a link
    try:
        os.link(alike[key], path)
    except (KeyError, OSError):  # that attempt's folder is gone, or there are too many links
        write(path, content)
    alike[key] = path


def write(path: str | Path, content: str, mode: int = 0o644) -> None:
    """Write a small file with this mode, whatever the umask, as every run needs some: at a third of
    what `Path.write_text` and `chmod` take. Raises OSError; what was there is replaced.
    """
    rest = content.encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Record:
    """What a driver said."""

    began: bool  # whether any step was begun
    failed_step: int | None
    failures: Mapping[int, int]  # step -> exit code, of all that did not end with 0
    exit_code: int | None  # None: it did not come to its end
    asides: tuple[tuple[int, int], ...] = ()  # bytes of the log that say nothing of how it went


def read_record(path: Path) -> Record:
    """What the driver wrote; lines that it does not write are passed over: the record of a server
    that is not root belongs to the user of its runs.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except FileNotFoundError:
        lines = []
    known = [found for found in map(_LINE.fullmatch, lines) if found]
    said = [(found[1], [int(number) for number in found[2].split()]) for found in known]
    ends = [n for word, n in said if word == "end" and len(n) == 2]
    failures = {step: code for step, code in ends if code != 0}
    ended = [n[0] for word, n in said if word == "exit" and len(n) == 1]
    asides = [n for word, n in said if word == "aside" and len(n) == 2]
    return Record(
        began=any(word == "begin" for word, _ in said),
        failed_step=next(reversed(failures), None),
        failures=failures,
        exit_code=ended[-1] if ended else None,
        asides=tuple((first, last) for first, last in asides),
    )
