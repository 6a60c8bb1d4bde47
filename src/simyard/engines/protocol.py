"""What an engine must do.

An attempt is one supervised start of a run, named by a token that is never used twice. All calls
are safe to repeat for the same token, in any order, also after a crash of the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from simyard.domain.runs import Allowance, Ending, Resource, Sample, Usage


@dataclass(frozen=True, kw_only=True)
class Step:
    """One shell command of a run, with the variables that only it sees."""

    label: str  # "the command of analysis 1"
    command: str
    env: Mapping[str, str]
    is_told: bool = False  # its standard output is kept for `told` too
    is_lenient: bool = False  # the run goes on and ends well although it fails


@dataclass(frozen=True)
class Bind:
    """A folder beside the system's that the payload may read."""

    source: str  # as the server sees it
    target: str  # as the payload does


@dataclass(frozen=True, kw_only=True)
class AttemptSpec:
    """What to start. The attempt's folder was made by `Engine.prepare` and filled by its caller."""

    token: str
    steps: Sequence[Step]  # in order; the first that fails ends the run
    env: Mapping[str, str]  # for every step
    path: Sequence[str]  # folders of PATH, in order
    binds: Sequence[Bind]
    network: bool
    allowance: Allowance
    grace_seconds: float  # between the polite and the hard end


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Where an attempt lives, as the server sees it and as its payload does."""

    root: Path  # the attempt's folder, gone after `remove`
    work: Path  # $HOME/work, as the server reaches it
    home: Path  # $HOME, as the server reaches it
    inside_home: str  # $HOME, as the payload sees it
    owner: tuple[int, int] | None  # uid and gid that the content must belong to; None: ours


class Phase(StrEnum):
    UNKNOWN = "unknown"  # no sign of it: not started yet, or not known. Never: finished
    RUNNING = "running"  # its payload was seen
    ENDED = "ended"  # nothing of it is alive; `ending` says how
    VANISHED = "vanished"  # it is gone, its payload never started and never will


@dataclass(frozen=True, kw_only=True)
class Observation:
    phase: Phase
    started_at: datetime | None = None  # of the payload; None: it never started
    ended_at: datetime | None = None
    ending: Ending | None = None


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    name: str  # "local"
    isolation: str  # "bubblewrap", "none"
    isolation_detail: str  # a sentence: what holds, or why it does not
    network: bool  # whether runs may reach the network
    limits: Mapping[Resource, str]  # who keeps each limit: "kernel", or "watched" by the supervisor


class Engine(Protocol):
    def capabilities(self) -> Capabilities: ...

    def prepare(self, token: str) -> Folder:
        """A fresh, empty folder for the attempt. What an earlier call left in it is gone."""

    def folder(self, token: str) -> Folder:
        """Where the attempt's folder is, or would be."""

    def shown_at(self, source: Path, name: str) -> str:
        """Where a payload will see this folder of the server when it is bound under `name`."""

    def submit(self, attempt: AttemptSpec) -> None:
        """Ask for the start. Returns before anything has started; `observe` tells. A token that
        was started before is not started again, whoever asks.
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
        """Remove the folder of an ended attempt and whatever of it is still alive."""

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
