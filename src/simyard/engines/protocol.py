"""What an engine must do.

An attempt is one supervised start of a run, named by a token that is never used twice. All calls
are safe to repeat for the same token, in any order, also after a crash of the caller, and may come
from several threads at once. What was told may be old by a moment when it arrives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Protocol

from simyard.domain.catalogue import Scheduler
from simyard.domain.records import dataclass
from simyard.domain.runs import Allowance, Ending, Resource, Sample, Usage, Waiting


@dataclass(frozen=True, kw_only=True)
class Step:
    """One shell command of a run, with the variables that only it sees."""

    label: str  # "the command of analysis 1"
    command: str
    env: Mapping[str, str]
    is_told: bool = False  # its standard output goes to $HOME/.simyard/told.N too; N from 0
    is_lenient: bool = False  # the run goes on and ends well although it fails


@dataclass(frozen=True)
class Bind:
    """A folder beside the system's that the payload may read."""

    source: str  # as the server sees it
    target: str  # as the payload does


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an attempt is to run on, for engines with a scheduler of their own."""

    cores: int
    nodes: int = 1
    gpus: int = 0  # on each node
    scheduler: Scheduler = field(default_factory=Scheduler)
    low_priority: bool = False
    name: str = ""  # for people who look at the scheduler's queue
    # Attempts of one group: no more than `at_once` of them run at the same time.
    group: str = ""
    at_once: int = 1


@dataclass(frozen=True, kw_only=True)
class AttemptSpec:
    """What to start. The attempt's folder was made by `Engine.prepare` and filled by its caller."""

    token: str
    request: Request
    steps: Sequence[Step]  # in order; the first that fails ends the run
    env: Mapping[str, str]  # for every step
    path: Sequence[str]  # folders of PATH, in order
    binds: Sequence[Bind]
    network: bool
    allowance: Allowance
    grace_seconds: float  # between the polite and the hard end


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Where an attempt lives, as the server sees it and as its payload does. Steps begin in `work`,
    and what they print is added to `process_output.log` there.
    """

    root: Path  # the attempt's folder, gone after `remove`; the caller keeps files of its own in it
    inside_home: str  # $HOME, as the payload sees it
    owner: tuple[int, int] | None  # uid and gid that the content must belong to; None: ours

    @cached_property
    def home(self) -> Path:
        """$HOME, as the server reaches it."""
        return self.root / "home"

    @cached_property
    def work(self) -> Path:
        """$HOME/work, as the server reaches it."""
        return self.root / "home" / "work"


class Phase(StrEnum):
    """ENDED and VANISHED are told only of what is so for good."""

    UNKNOWN = "unknown"  # no sign of it: not started yet, or not known. Never: finished
    WAITING = "waiting"  # a scheduler has it in its queue; `waiting` says what for
    RUNNING = "running"  # its payload was seen
    ENDED = "ended"  # nothing of it is alive; `ending` says how
    VANISHED = "vanished"  # it is gone: its payload never started and never will, or it was removed


@dataclass(frozen=True, kw_only=True)
class Observation:
    phase: Phase
    started_at: datetime | None = None  # of the payload; None: it never started
    ended_at: datetime | None = None
    ending: Ending | None = None
    waiting: Waiting | None = None


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    name: str  # "local"
    isolation: str  # "bubblewrap", "none"
    isolation_detail: str  # a sentence: what holds, or why it does not
    network: bool  # whether runs may reach the network
    limits: Mapping[Resource, str]  # who keeps each limit: "kernel", or "watched" by the supervisor
    trouble: str = ""  # what keeps it from starting or seeing attempts now, a sentence; "": nothing
    # Attempts of one group that may be handed over at a time, beyond those that may run at once.
    ahead: int = 0


class Engine(Protocol):
    """`capabilities`, `folder` and `aside` answer at once: transactions wait for it."""

    def capabilities(self) -> Capabilities: ...

    def prepare(self, token: str, request: Request) -> Folder:
        """A fresh, empty folder for the attempt. What an earlier call left in it is gone."""

    def folder(self, token: str) -> Folder:
        """Where the attempt's folder is, or would be."""

    def shown(self, token: str, source: Path, name: str) -> Bind:
        """How the attempt's payload is to see this small folder of the server's, under `name`:
        what stands in `AttemptSpec.binds`, and where the payload finds it.
        """

    def submit(self, attempt: AttemptSpec) -> None:
        """Ask for the start. Returns before anything has started; `observe` tells, also that it
        was refused (an ending). A token that was started before is not started again, whoever
        asks, and asking costs little: it is done again and again until something is seen.
        """

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        """What is known of each. Reading only, but for burying an attempt that died unseen."""

    def cancel(self, token: str, *, signal: int | None = None, after_seconds: float = 0.0) -> None:
        """Ask for the end. An attempt that has not started yet never will; one that runs is told
        to end, and after its grace time killed. Returns at once; `observe` tells.

        With `after_seconds` it first has so long to end in its own way: processes that handle
        `signal` get it, and no further step begins. Only the first such request counts, and a
        later one without ends the waiting.
        """

    def samples(self, token: str) -> list[Sample]:
        """What an attempt used so far, some seconds late; at most some hundreds, evenly apart."""

    def usage(self, token: str) -> Usage | None:
        """The most that an attempt used so far, some seconds late; None: nothing is known yet."""

    def remove(self, token: str) -> None:
        """Remove the folder of an ended attempt and whatever of it is still alive. One that was not
        started never will be. Raises NotFound where it has not ended: then it is told to, as by
        `cancel`, and a later call removes it.
        """

    def tokens(self) -> list[str]:
        """Every attempt that still has a folder."""

    def aside(self, name: str) -> Path:
        """Where a folder of this name is, or would be, beside those of the attempts and on the same
        file system: for what many of them are made from. The caller makes and fills it.
        """

    def asides(self) -> list[str]:
        """The names of all such folders that are there."""

    def remove_aside(self, name: str) -> None:
        """Remove one with all that it holds. Safe to repeat."""

    def close(self) -> None:
        """Let go. Attempts go on without us."""
