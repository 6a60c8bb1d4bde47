"""What is said of a run that ended: two facts that are kept apart, how its processes ended
(`runs.Ending`, observed) and whether its result is any good (`Outcome`, judged), with the line that
shows it.
"""

from enum import StrEnum

from simyard.domain.records import dataclass


class Verdict(StrEnum):
    """Whether the result can be used."""

    COMPLETED = "completed"  # it came to its end; converged where that can be told
    STOPPED = "stopped"  # it was asked to end early and did so in order
    NOT_CONVERGED = "not converged"  # it came to its last step first
    DIVERGED = "diverged"  # the numbers blew up, or are absurd
    INCOMPLETE = "incomplete"  # it never said that it was done, or its output is cut short
    SUSPECT = "suspect"  # something in it failed although all went on
    FAILED = "failed"  # it came to no result

    @property
    def is_good(self) -> bool:
        return self in (Verdict.COMPLETED, Verdict.STOPPED)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The line that a verdict rests on."""

    path: str  # of the file, relative to the work folder
    line: int  # from 1; 0: not counted (a result file, a very long log)
    offset: int  # of the line's first byte
    text: str  # the line, cut at 500 characters


@dataclass(frozen=True, kw_only=True)
class Outcome:
    verdict: Verdict
    cause: str  # machine-readable: "memory", "disk", "divergence", "input", "launch", ...; "": none
    message: str  # a sentence without its full stop: what happened
    advice: str = ""  # a sentence without its full stop: what to do about it
    evidence: Evidence | None = None  # None: no line shows it
    only_warns: bool = False  # the site lets the exit code decide for this analysis

    @property
    def decides(self) -> bool:
        """Whether it makes the run one that failed."""
        return not (self.verdict.is_good or self.only_warns)
