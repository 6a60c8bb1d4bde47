"""The journal as those read it who watch jobs: what happened, and who may know of it.

Who may know is asked when it is read, not when it was written: those who see the job now. Where a
job went out of somebody's sight, or is gone, the entry itself says whom to tell.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from simyard.domain.records import dataclass
from simyard.domain.users import User
from simyard.store import events, jobs

MOST_MISSED = 10_000  # entries that somebody who was away is told of, at most
LONGEST_AWAY = timedelta(hours=1)
AT_ONCE = 500

newest = events.newest


@dataclass(frozen=True, kw_only=True)
class News:
    """An entry of the journal."""

    id: int
    at: datetime
    kind: str  # as in store/events.py
    job: str  # code; "" where the job is gone and nobody is told
    job_name: str  # as it is now, "" where it is gone
    run: int | None  # number
    data: Mapping[str, Any]
    viewers: frozenset[int]  # internal ids of those who see the job now
    parted: frozenset[int]  # of those out of whose sight it went with this entry

    @property
    def audience(self) -> frozenset[int]:
        return self.viewers | self.parted

    def is_shared_with(self, user: User) -> bool:
        return self.kind == "job.shared" and self.data.get("with") == user.email


def between(conn: Connection, after: int, upto: int) -> list[News]:
    """What was written behind one entry, up to another: the first AT_ONCE of it. A fixed number of
    queries, whatever comes of them.
    """
    entries = events.between(conn, after, upto, most=AT_ONCE)
    if not entries:
        return []
    there = {entry.job_id for entry in entries if entry.job_id and entry.job_code is not None}
    viewers = jobs.viewers_of(conn, sorted(there)) if there else {}
    # Last, so that no job can take the number of another between these questions.
    creations = events.creations(conn, after)
    return [_news(entry, viewers, creations) for entry in entries]


def _news(
    entry: events.Written, viewers: Mapping[int, list[int]], creations: Mapping[int, int]
) -> News:
    job_id = entry.job_id or 0
    there = entry.job_code is not None and creations.get(job_id, 0) <= entry.id
    return News(
        id=entry.id,
        at=entry.at,
        kind=entry.kind,
        job=(entry.job_code if there else None) or str(entry.data.get("code", "")),
        job_name=(entry.job_name if there else None) or "",
        run=entry.run_number,
        data=entry.data,
        viewers=frozenset(viewers.get(job_id, ())) if there else frozenset(),
        parted=frozenset(entry.data.get("viewers", ())),
    )


def can_go_on(conn: Connection, after: int, upto: int, now: datetime) -> bool:
    """Whether all that was written behind an entry, up to another, can be told still: it is there
    to the last, not too much, and not too long ago.
    """
    if after == upto:
        return True
    first = events.first_after(conn, after) if 0 <= upto - after <= MOST_MISSED else None
    return first is not None and first[0] == after + 1 and now - first[1] <= LONGEST_AWAY
