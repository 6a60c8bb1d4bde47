"""Drafts: jobs that somebody is still writing. They may be anything; a job is made of one once."""

from datetime import datetime

from simyard.domain.records import dataclass

MOST = 1000  # of one user, besides those that were submitted
BYTES = 4 << 20  # of one
TOTAL_BYTES = 64 << 20  # of one user


@dataclass(frozen=True, kw_only=True)
class DraftSummary:
    """What a list shows of a draft."""

    code: str  # six letters
    name: str  # of the job, as far as it has one
    version: int  # from 1; another with every change
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Draft(DraftSummary):
    id: int  # internal
    body: bytes  # JSON object
    job: str | None  # code of the job that came of it; None: not submitted
