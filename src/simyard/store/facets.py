"""How many of the jobs that somebody sees are alike."""

import msgspec
from sqlalchemy import Connection, func, select

from simyard.domain.records import dataclass
from simyard.domain.rows import COMPLETED
from simyard.store import listing
from simyard.store.rows import SCAN_MOST, active_are_few, first_runs
from simyard.store.schema import is_active, job_tags, job_views, jobs

_names = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, kw_only=True)
class Counted:
    """How often each value is there."""

    total: int
    looked_at: int
    statuses: dict[str, int] | None  # by word; None: too many are active
    outcomes: dict[str, int]
    analyses: dict[str, int]  # by name
    tags: dict[str, int]  # by name


def count(conn: Connection, viewer_id: int) -> Counted:
    """What a viewer's jobs are like: statuses of all of them, the rest of the newest."""
    every = listing.jobs_of(viewer_id)
    total = listing.total(conn, every)
    newest = select(job_views.c.job_id).where(job_views.c.viewer_id == viewer_id)
    among = newest.order_by(job_views.c.ordinal.desc()).limit(SCAN_MOST).cte("newest")
    verdict = func.json_extract(first_runs.c.outcome, "$.verdict")
    outcomes = (
        select(verdict, func.count())
        .select_from(among)
        .join(first_runs, first_runs.c.job_id == among.c.job_id)
        .where(
            first_runs.c.number == 1,
            first_runs.c.inputs.is_(None),
            first_runs.c.completed_at.is_not(None),
            first_runs.c.outcome.is_not(None),
        )
        .group_by(verdict)
    )
    names = (
        select(jobs.c.analysis_names, func.count())
        .select_from(among)
        .join(jobs, jobs.c.id == among.c.job_id)
        .group_by(jobs.c.analysis_names)
    )
    tagged = (
        select(func.max(job_tags.c.name), func.count())
        .select_from(among)
        .join(job_tags, job_tags.c.job_id == among.c.job_id)
        .group_by(job_tags.c.normalized)
    )
    analyses: dict[str, int] = {}
    for encoded, number in conn.execute(names):
        for name in set(_names.decode(encoded)):
            analyses[name] = analyses.get(name, 0) + number
    return Counted(
        total=total,
        looked_at=min(total, SCAN_MOST),
        statuses=_statuses(conn, viewer_id, total),
        outcomes=dict(conn.execute(outcomes).all()),
        analyses=analyses,
        tags=dict(conn.execute(tagged).all()),
    )


def _statuses(conn: Connection, viewer_id: int, total: int) -> dict[str, int] | None:
    if not active_are_few(conn):
        return None
    query = (
        select(jobs.c.status, func.count())
        .select_from(jobs)
        .join(job_views, job_views.c.job_id == jobs.c.id)
        .where(is_active(jobs.c.status), job_views.c.viewer_id + 0 == viewer_id)
        .group_by(jobs.c.status)
    )
    counts: dict[str, int] = dict(conn.execute(query).all())
    completed = listing.total(conn, listing.completed_jobs_of(viewer_id))
    counts[""] = max(0, total - completed - sum(counts.values()))  # read one after the other
    counts[COMPLETED] = completed
    return counts
