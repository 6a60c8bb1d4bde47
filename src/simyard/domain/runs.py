"""Runs, their attempts, and how they ended."""

import signal
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import datetime
from enum import IntEnum, StrEnum

from simyard.domain.lifecycle import LOCAL, State, Wait
from simyard.domain.outcome import Outcome, Verdict
from simyard.domain.outputs import Outputs
from simyard.domain.records import dataclass
from simyard.domain.studies import Value

FAILED = "A run failed:"  # how the reason begins where it is no good
WELL = "Completed successfully"  # what CI scripts look for (api-v2 reference, section 4.4)


class Cause(StrEnum):
    """Why nothing of a run is alive any more."""

    EXITED = "exited"  # it came to its own end; the exit code says how
    STOPPED = "stopped"  # a user asked for it
    WALLTIME = "walltime"  # it ran into its time limit
    REFUSED = "refused"  # it could not be laid out or started
    INTERRUPTED = "interrupted"  # its supervisor or the machine went away under it
    LIMIT = "limit"  # the platform ended it: it used more than it may


class Resource(StrEnum):
    """What a run uses and may be limited in."""

    MEMORY = "memory"  # bytes, of all its processes together
    PROCESSES = "processes"  # processes and threads
    DISK = "disk"  # bytes in its folder
    FILES = "files"  # in its folder
    LOG = "log"  # bytes of its process_output.log


@dataclass(frozen=True)
class Waiting:
    """What a run that a scheduler has in its queue waits for."""

    wait: Wait
    reason: str  # in words, with the scheduler's own


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """How much of everything a run may use. 0: no limit."""

    memory: int = 0
    processes: int = 0
    disk: int = 0
    files: int = 0
    log: int = 0
    walltime: int = 0  # seconds


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a run was seen to use, the most at any time. None: nobody could see it."""

    cpu_seconds: float | None = None  # user and system, all processes
    memory: int | None = None
    processes: int | None = None
    disk: int | None = None
    files: int | None = None
    log: int | None = None
    oom_kills: int = 0  # processes that the kernel ended because the run's memory was full
    fork_refusals: int = 0  # processes and threads that the kernel did not let it begin
    free_bytes: int | None = None  # the least that was free on the disk of its folder
    disk_bytes: int | None = None  # what that disk holds in all
    quiet_seconds: float | None = None  # at its end: since its log or its folder last changed
    idle_seconds: float | None = None  # at its end: since it last used 2 % of a core


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a run used at one moment. None: nobody could see it."""

    seconds: float  # since its payload began
    cpu_seconds: float | None = None  # so far
    memory: int | None = None
    processes: int | None = None
    disk: int | None = None
    files: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The facts about an end, as they were observed."""

    cause: Cause
    exit_code: int | None = None  # of the step that decided; 128 + n where a signal n ended it
    step: str = ""  # which step that was: "the command of analysis 1"
    message: str = ""  # what the user should know, a sentence without its full stop
    tolerated: tuple[str, ...] = ()  # steps that failed and may: "... ended with exit code 3"
    # Bytes of the log that steps wrote which may fail: they say nothing of how the run went.
    asides: tuple[tuple[int, int], ...] = ()
    limit: Resource | None = None  # with LIMIT: which one
    usage: Usage | None = None
    allowance: Allowance | None = None  # as it was when the attempt began

    @property
    def successful(self) -> bool:
        return self.cause is Cause.EXITED and self.exit_code == 0

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended the step, as shells tell it."""
        found = _signal(self.exit_code)
        return found.name if found else None

    def used(self) -> Iterator[tuple[Resource, int | None, int]]:
        """Each resource, the most that was used of it and the limit, 0 where there is none."""
        for resource in Resource:
            most = getattr(self.usage, resource.value, None)
            yield resource, most, getattr(self.allowance, resource.value, 0)

    def is_reached(self, resource: Resource) -> bool:
        """Whether a limit has cost the run something."""
        if self.usage is not None:
            if resource is Resource.MEMORY and self.usage.oom_kills:
                return True
            if resource is Resource.PROCESSES and self.usage.fork_refusals:
                return True
        return self.limit is resource

    @property
    def reason(self) -> str:
        """How the processes ended, as StatusReason on the wire."""
        if self.successful:
            return WELL
        match self.cause:
            case Cause.STOPPED:
                return "Stopped by the user"
            case Cause.EXITED:
                text = f"{self.step or 'the command'} ended with exit code {self.exit_code}"
                words = signal_in_words(self.exit_code)
                if words:
                    text += f" ({words})"
            case Cause.WALLTIME:
                text = self.message or "the walltime was exceeded"
            case Cause.REFUSED | Cause.INTERRUPTED | Cause.LIMIT:
                text = self.message
        return f"{FAILED} {text}"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that came to its end."""

    number: int
    ending: Ending
    outcome: Outcome | None


def reason(ending: Ending, outcome: Outcome | None) -> str:
    """StatusReason of a run: how its processes ended and, where that is more, what was judged."""
    if outcome is None or outcome.only_warns or ending.cause is not Cause.EXITED:
        return ending.reason
    if ending.successful:
        return f"{FAILED} {outcome.message}" if outcome.decides else ending.reason
    if outcome.verdict.is_good:
        return f"Stopped: {outcome.message}"
    if not outcome.cause or " ended with exit code " in outcome.message:
        return ending.reason  # which says it already
    return f"{ending.reason}: {outcome.message}"


def _signal(exit_code: int | None) -> signal.Signals | None:
    """Shells give 128 + n for a child that signal n ended."""
    if exit_code is None or exit_code <= 128:
        return None
    try:
        return signal.Signals(exit_code - 128)
    except ValueError:
        return None


def signal_in_words(exit_code: int | None) -> str:
    """The signal that an exit code tells of: "SIGTERM: terminated"; "" for other codes."""
    found = _signal(exit_code)
    return f"{found.name}: {(signal.strsignal(found) or '').lower()}" if found else ""


class Again(StrEnum):
    """What another attempt at a run that came to its end is to do."""

    RESUME = "resume"  # go on from the checkpoint that it has left
    ANEW = "anew"  # everything again, from the job's inputs
    EXTRACT = "extract"  # only its post-processing, on what it has left


@dataclass(frozen=True, kw_only=True)
class Restart:
    """How another attempt at a run differs from the first."""

    kind: Again = Again.RESUME
    command: str | None = None  # in the place of that of its last analysis; None: the same
    post_command: str | None = None  # likewise
    replaced: Mapping[str, str] = field(default_factory=dict)  # input file id -> the one instead
    # With RESUME, whose command is for that attempt alone: the one of attempts anew.
    lasting: str | None = None
    # With EXTRACT: how and when it had ended, which reading its outputs again does not change.
    ending: Ending | None = None
    outcome: Outcome | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def changes_job(self) -> bool:
        """Whether a command or a file is another than in its job."""
        return self.command is not None or self.post_command is not None or bool(self.replaced)

    @property
    def lasting_command(self) -> str | None:
        """That of later attempts, too."""
        return self.lasting if self.kind is Again.RESUME else self.command


class Kind(IntEnum):
    """`type` on the wire (api-v2 reference, section 9.3)."""

    OPTIMIZATION = 1
    ITERATION = 2  # one design of an optimization
    CASE = 3  # every other


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a job's workflow."""

    id: int  # internal
    job_id: int
    number: int  # from 1; the API's run id, there as text
    state: State
    cores: int  # set aside for it while it holds any
    core_type: str
    price_micros: int  # for a core and hour, in millionths of the site's currency
    started_at: datetime | None  # the solver's process was seen
    completed_at: datetime | None  # its outputs are stored
    output_count: int
    output_bytes: int
    ending: Ending | None
    outcome: Outcome | None  # known when its outputs are stored
    token: str | None  # of the present attempt; names its folder
    engine: str = LOCAL  # what runs it
    restart: Restart | None = None  # how it goes on; None: it was never restarted
    kind: Kind = Kind.CASE
    parent: int | None = None  # number of the run that it belongs to
    is_nominal: bool = False
    is_optimal: bool = False
    inputs: tuple[Value, ...] | None = None  # None: it is no study's
    outputs: Outputs | None = None
    outputs_version: int = 0  # another one whenever its files are others

    @property
    def is_well(self) -> bool:
        """Whether it came to an end that is said to be good."""
        return self.ending is not None and reason(self.ending, self.outcome) == WELL

    @property
    def has_good_result(self) -> bool:
        """Whether what it left can be used: nothing can of one that was stopped before it began."""
        if self.outcome is None or not self.outcome.verdict.is_good:
            return False
        return self.started_at is not None or self.outcome.verdict is not Verdict.STOPPED


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One supervised start of a run."""

    run_number: int
    number: int  # from 1
    token: str  # what the API calls the id of a cluster
    engine: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


def charge_micros(core_microseconds: int, price_micros: int) -> int:
    """What core-time costs, in millionths, rounded half up. Exact: integers only."""
    hour = 3_600_000_000
    return (core_microseconds * price_micros * 2 + hour) // (2 * hour)


@dataclass(frozen=True, kw_only=True)
class StatusEntry:
    """One line of a job's or a cluster's history."""

    id: int  # internal; later ones have higher ids
    word: str
    reason: str | None
    at: datetime
