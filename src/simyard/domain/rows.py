"""Rows of the jobs list: what it shows of a job at a glance, and what it can be narrowed to."""

from datetime import datetime
from enum import StrEnum

from simyard.domain.convergence import Convergence
from simyard.domain.lifecycle import JOB_HISTORY, JOB_WORDS, State
from simyard.domain.outcome import Verdict
from simyard.domain.records import dataclass

COMPLETED = JOB_WORDS[State.COMPLETED]
# What a status is called in a filter -> the words that it stands for; "" is that of a draft.
STATUSES: dict[str, frozenset[str]] = {
    "DRAFT": frozenset({""}),
    **{word.upper().replace(" ", "_"): frozenset({word}) for word in JOB_HISTORY[1:]},
    "ACTIVE": frozenset(JOB_HISTORY[1:]) - {COMPLETED},
}
# Likewise of outcomes.
OUTCOMES: dict[str, frozenset[Verdict]] = {
    **{verdict.value.upper().replace(" ", "_"): frozenset({verdict}) for verdict in Verdict},
    "GOOD": frozenset(verdict for verdict in Verdict if verdict.is_good),
    "BAD": frozenset(verdict for verdict in Verdict if not verdict.is_good),
}


class Owner(StrEnum):
    ME = "me"
    SHARED = "shared"  # somebody else's


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """Which jobs are shown. Of the values of one field any will do; all fields must hold."""

    statuses: frozenset[str] = frozenset()  # words, "" for drafts
    verdicts: frozenset[Verdict] = frozenset()
    text: str = ""  # part of the name, without regard to case
    tags: frozenset[str] = frozenset()  # normalized
    analyses: frozenset[str] = frozenset()  # names
    owner: Owner | None = None
    owner_email: str = ""
    since: datetime | None = None  # created then or later
    is_study: bool | None = None  # submitted studies only, or all but these

    @property
    def is_narrow(self) -> bool:
        """Whether it asks for more than statuses, which have indexes."""
        others = (self.verdicts, self.text, self.tags, self.analyses, self.owner, self.owner_email)
        return any(others) or self.since is not None or self.is_study is not None


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a page begins: behind or before an entry of the list, or at a place counted from its
    top.
    """

    after: int | None = None  # number of the entry, itself not shown
    before: int | None = None
    at: int | None = None  # from 0


@dataclass(frozen=True, kw_only=True)
class StudyTally:
    """How far a study is."""

    total: int
    over: int  # at their end
    done: int | None  # of those, ended well; None: there are too many to count
    failed: int | None


@dataclass(frozen=True, kw_only=True)
class RowAnalysis:
    code: str
    version: str | None


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """What the list shows of a job."""

    code: str
    name: str
    status: str  # the newest word; "" for a draft
    cluster_status: str
    reason: str | None  # of that word
    verdict: Verdict | None  # of a job of one run whose outputs are stored
    is_good: bool
    cause: str
    message: str
    analyses: tuple[RowAnalysis, ...]
    cores: int  # of one run
    core_type: str
    slots: int
    walltime_hours: int | None
    is_study: bool
    study: StudyTally | None  # of one that was submitted
    convergence: Convergence | None  # of one that executes, as far as somebody watches it
    owner_email: str
    owner_name: str
    is_mine: bool
    tags: tuple[str, ...]
    project: str | None  # name
    created_at: datetime
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    core_microseconds: int | None  # so far; None: there are too many runs to count
    charge_micros: int | None
    notices: int


@dataclass(frozen=True, kw_only=True)
class RowPage:
    rows: list[JobRow]
    after: int | None  # where the next page goes on; None: there is none
    before: int | None  # the same of the page before
    count: int | None  # of all that match; None: nobody counted
    is_exact: bool  # whether it is not only "at least"
    is_partial: bool  # the page ended before it was full: its search goes on with the next
    at: int | None  # place of its first row; None: not known


@dataclass(frozen=True)
class FacetValue:
    value: str  # what filters call it
    label: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Facets:
    total: int
    looked_at: int  # newest jobs that outcomes, analyses and tags were counted in
    statuses: list[FacetValue]
    outcomes: list[FacetValue]
    analyses: list[FacetValue]
    tags: list[FacetValue]
    has_statuses: bool  # False: too many are on their way to be counted

    @property
    def is_exact(self) -> bool:
        return self.looked_at >= self.total
