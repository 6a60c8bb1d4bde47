"""Slurm's own programs: what is asked of them, and what their answers mean.

Their words: squeue(1), sbatch(1), and "JOB STATE CODES" and "JOB REASON CODES" there. Answers are
read strictly: one that is not as it should be is none at all, so that nothing is concluded from it.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from simyard.domain.records import dataclass

PREFIX = "simyard-"  # of the names of our jobs in Slurm; the rest is the batch

# Beside PATH: where Slurm's configuration may be told. Nothing else of the server's environment is
# for a job.
_PASSED_ON = ("PATH", "SLURM_CONF", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME")
_WIDTHS = {
    "Name": 48,
    "ArrayTaskID": 16,
    "ArrayJobID": 16,
    "JobID": 16,
    "State": 24,
    "exit_code": 12,
    "NodeList": 200,
    "Reason": 120,
}
_STATE = re.compile(r"[A-Z_]+")

# A job in these states has its nodes, or is giving them back.
LIVE = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
)
PENDING = frozenset(
    {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
CONFIGURING = "CONFIGURING"

# Errors of sbatch that pass: the same submit may succeed later.
_PASSING = re.compile(
    r"unable to contact|timed out|connection (refused|reset)|zero bytes|communication"
    r"|temporarily (unable|unavailable)|protocol authentication|invalid authentication|munge"
    r"|submit limit|jobs? (count )?limit|maximum.*jobs|try again|not responding|socket"
    r"|slurmctld is currently|in standby|transport endpoint|unexpected message",
    re.IGNORECASE,
)
_TOO_LARGE_ARRAY = "invalid job array specification"

_REASONS = {
    "AssocGrpCpuLimit": "its account has as many cores as it may",
    "AssocMaxJobsLimit": "its account has as many jobs running as it may",
    "BadConstraints": "no node is as it asks for",
    "BeginTime": "its time has not come",
    "Dependency": "earlier runs of its study come first",
    "JobArrayTaskLimit": "all slots of its study are taken",
    "JobHeldAdmin": "an administrator holds it back",
    "JobHeldUser": "somebody holds it back",
    "Licenses": "no licence is free",
    "NodeDown": "a node that it needs is down",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is inactive",
    "PartitionNodeLimit": "it asks for more nodes than its partition gives",
    "PartitionTimeLimit": "it asks for more time than its partition gives",
    "Priority": "jobs with a higher priority come first",
    "QOSMaxCpuPerUserLimit": "its owner has as many cores as he may",
    "QOSMaxJobsPerUserLimit": "its owner has as many jobs running as he may",
    "Reservation": "its reservation has not begun",
    "Resources": "the nodes that it needs are busy",
}
_ENDS = {
    "BOOT_FAIL": "its nodes did not come up",
    "CANCELLED": "it was cancelled in Slurm, and not by the platform",
    "DEADLINE": "it could not end before its deadline in Slurm",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than Slurm gives it",
    "PREEMPTED": "Slurm gave its nodes to another job",
    "REVOKED": "Slurm revoked it",
    "TIMEOUT": "Slurm's time limit ended it",
}


class Silent(Exception):
    """Slurm does not answer, or not as it should: nothing is known, and what was asked for may have
    been done or not.
    """


class Rejected(Exception):
    """Slurm does not take the job, and will not; the text is Slurm's."""


class ArrayTooLarge(Rejected):
    """The same in smaller pieces may be taken."""


@dataclass(frozen=True)
class Task:
    """A job, or one of an array's, in an answer of squeue."""

    batch: str
    index: int
    job: str  # the number of the whole
    native: str  # as scancel takes it
    state: str
    reason: str
    nodes: str
    exit_code: int

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def is_pending(self) -> bool:
        return self.state in PENDING or self.state == CONFIGURING

    @property
    def is_over(self) -> bool:
        """Words that are not known here are of newer releases: such a job may be alive."""
        return self.state in _ENDS or self.state in ("COMPLETED", "FAILED")


def in_words(reason: str) -> str:
    """Why a job waits."""
    code = reason.partition(",")[0].strip("() ")
    if code in ("", "None"):
        return "the scheduler has not looked at it yet"
    words = _REASONS.get(code)
    return f"{words} (Slurm: {code})" if words else f"Slurm: {reason}"


_KILLED = "its supervisor process was killed while it ran"


def end_in_words(task: Task | None, otherwise: str = _KILLED) -> str:
    """How a job ended that left no word of its own. otherwise: what it was where Slurm's state
    says nothing of it.
    """
    if task is None:
        return "Slurm lost it while it ran"
    words = _ENDS.get(task.state)
    if words is None:
        return otherwise
    return f"{words} ({task.nodes})" if task.nodes and "node" in words else words


class Programs:
    """Calls of Slurm's programs. seconds: how long each may take."""

    def __init__(self, environment: Mapping[str, str] = os.environ, seconds: float = 15.0) -> None:
        self._environment = {n: environment[n] for n in _PASSED_ON if n in environment}
        self._seconds = seconds

    def _call(self, command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._seconds,
                check=False,
                env=self._environment,
                cwd="/",
            )
        except subprocess.TimeoutExpired:
            raise Silent(f"{command[0]} did not answer within {self._seconds:g} s") from None
        except OSError as error:
            raise Silent(f"{command[0]} cannot be run: {error.strerror}") from None

    def queue(self, user: str) -> list[Task]:
        """All jobs of ours that Slurm knows, those that ended a short time ago too."""
        fields = ",".join(f"{name}:{width}" for name, width in _WIDTHS.items())
        done = self._call(["squeue", "-h", "-r", "-t", "all", "-u", user, "-O", fields])
        if done.returncode != 0:
            raise Silent(_first_line(done.stderr) or f"squeue ended with {done.returncode}")
        return read_queue(done.stdout)

    def submit(self, options: Sequence[str], script: str) -> str:
        """Returns the number of the job. Raises Rejected, or Silent."""
        done = self._call(["sbatch", "--parsable", *options], script)
        said = " ".join(done.stderr.split())
        if done.returncode == 0:
            number = done.stdout.strip().partition(";")[0]
            if number.isdigit():
                return number
            raise Silent(f"sbatch printed {done.stdout[:100]!r}")
        if done.returncode < 0 or _PASSING.search(said) or not said:
            raise Silent(_first_line(done.stderr) or f"sbatch ended with {done.returncode}")
        said = said.rpartition("sbatch: error: ")[2]
        if _TOO_LARGE_ARRAY in said.lower():
            raise ArrayTooLarge(said)
        raise Rejected(said)

    def cancel(self, batch: str, native: str) -> None:
        """Take a job out of the queue, or end it. Only one of ours: numbers may be given again
        after a crash of the controller. Raises Silent.
        """
        done = self._call(["scancel", "-Q", f"--name={PREFIX}{batch}", native])
        if done.returncode != 0 and _PASSING.search(done.stderr):
            raise Silent(_first_line(done.stderr))

    def throttle(self, job: str, at_once: int) -> None:
        """Let so many of an array run at a time. Raises Silent."""
        update = ["scontrol", "update", f"JobId={job}", f"ArrayTaskThrottle={at_once}"]
        done = self._call(update)
        if done.returncode != 0 and _PASSING.search(done.stderr):
            raise Silent(_first_line(done.stderr))

    def array_most(self) -> int:
        """How many jobs an array may have here. Raises Silent."""
        done = self._call(["scontrol", "show", "config"])
        found = re.search(r"(?m)^MaxArraySize\s*=\s*(\d+)", done.stdout)
        if done.returncode != 0 or found is None:
            raise Silent(_first_line(done.stderr) or "scontrol does not tell MaxArraySize")
        return max(1, int(found[1]) - 1)


def read_queue(text: str) -> list[Task]:
    """Raises Silent for a text that has a line which squeue does not print."""
    found = []
    for line in text.splitlines():
        values, at = {}, 0
        for name, width in _WIDTHS.items():
            values[name] = line[at : at + width].strip()
            at += width
        if len(line) != at or not _STATE.fullmatch(values["State"]):
            raise Silent(f"squeue printed {line[:100].strip()!r}")
        if not values["Name"].startswith(PREFIX):
            continue
        index, job = values["ArrayTaskID"], values["ArrayJobID"]
        is_array = index.isdigit()
        if not (values["JobID"].isdigit() and (is_array or index == "N/A")):
            raise Silent(f"squeue printed {line[:100].strip()!r}")
        number = job if job.isdigit() and is_array else values["JobID"]
        code = values["exit_code"]
        status = int(code) if code.isdigit() else 0
        found.append(
            Task(
                batch=values["Name"].removeprefix(PREFIX),
                index=int(index) if is_array else 0,
                job=number,
                native=f"{number}_{index}" if is_array else number,
                state=values["State"],
                reason=values["Reason"],
                nodes=values["NodeList"],
                exit_code=status >> 8 if status > 255 else status,  # a raw wait status
            )
        )
    return found


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""
