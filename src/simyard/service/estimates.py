"""What a job will take before it runs, from what is known and nothing else."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import quantiles

from sqlalchemy import Connection

from simyard.domain import jobs as rules
from simyard.domain.catalogue import Placement
from simyard.domain.jobs import JobDefinition
from simyard.domain.lifecycle import LOCAL
from simyard.domain.queues import Share, seconds_until
from simyard.domain.records import dataclass
from simyard.domain.runs import charge_micros
from simyard.domain.users import User
from simyard.service.site import Site
from simyard.store import files, jobs, quotas, runs
from simyard.store.quotas import Place

_HISTORY_JOBS = 50
_HISTORY_RUNS = 50
_AHEAD_MOST = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    runs: int  # 0: not known
    cores: int  # of one run
    clamped_from: int | None
    core_hours: tuple[float, float]  # low, high
    cost_micros: tuple[int, int]
    ahead: int  # runs that wait for cores before it, counted up to _AHEAD_MOST
    starts_at: datetime | None  # at the latest; None: not known
    disk_bytes: int  # of inputs, once for each run
    basis: str


def estimate(conn: Connection, site: Site, user: User, definition: JobDefinition) -> Estimate:
    """What a definition will take whose hardware is good: from the caller's last runs of the same
    command, else from its walltime. Takes a moment: call it in a thread.
    """
    catalogue = site.book.current()
    placement = rules.placement(definition, catalogue, site.machine, site.limits)
    asked = max(a.hardware.cores_per_slot for a in definition.analyses)
    study = definition.study
    count = 1 if study is None or study.is_plain else study.expected_runs or 0
    seconds = _history(conn, user, definition)
    if seconds:
        low, high = (seconds[0], seconds[-1]) if len(seconds) < 2 else _quartiles(seconds)
        basis = f"your last {len(seconds)} runs of this command"
    else:
        walltimes = (rules.walltime_seconds(a.hardware, site.limits) for a in definition.analyses)
        low, high = 0.0, float(min(walltimes))
        basis = "no history"
    price = placement.core_type.price_micros(low_priority=definition.low_priority)
    hours = [count * placement.charge * each / 3600 for each in (low, high)]
    cost = [charge_micros(round(each * 3_600_000_000), price) for each in hours]
    ahead, starts_at = _queue(conn, site, user, placement, low_priority=definition.low_priority)
    found = files.usable(conn, (code for _, code in definition.files()), user.id)
    return Estimate(
        runs=count,
        cores=placement.charge,
        clamped_from=asked if placement.charge < asked else None,
        core_hours=(hours[0], hours[1]),
        cost_micros=(cost[0], cost[1]),
        ahead=ahead,
        starts_at=starts_at,
        disk_bytes=sum(file.blob.size_bytes for file in found.values()) * max(count, 1),
        basis=basis,
    )


def _quartiles(seconds: Sequence[float]) -> tuple[float, float]:
    low, _, high = quantiles(seconds, n=4)
    return max(low, min(seconds)), min(high, max(seconds))


def _history(conn: Connection, user: User, definition: JobDefinition) -> list[float]:
    """How many seconds runs of the same commands took, of the caller's last jobs."""
    wanted = [(a.code, a.command) for a in definition.analyses]
    found: list[float] = []
    for job in jobs.last_of_owner(conn, user.id, most=_HISTORY_JOBS):
        if [(a.code, a.command) for a in job.definition.analyses] == wanted:
            found += runs.seconds_of(conn, job.id, most=_HISTORY_RUNS - len(found))
            if len(found) >= _HISTORY_RUNS:
                break
    return found


def _queue(
    conn: Connection, site: Site, user: User, placement: Placement, *, low_priority: bool
) -> tuple[int, datetime | None]:
    """How many runs come before one that is submitted now, and when it starts at the latest."""
    engine = placement.core_type.engine or LOCAL
    ahead = quotas.ahead(conn, engine, low_priority=low_priority, most=_AHEAD_MOST)
    if engine != LOCAL or len(ahead) >= _AHEAD_MOST:
        return len(ahead), None  # its scheduler decides, or it is too far to tell
    now, each = site.clock(), site.quotas.jobs_running
    own = len(quotas.jobs_running(conn, user.id)) if each else 0
    if each and own + quotas.runs_waiting(conn, user.id, most=each) >= each:
        return len(ahead), None  # it may wait for his own
    held = [_share(place, now) for place in quotas.holding(conn, engine)]
    before = [_share(place, now) for place in ahead]
    known = [share for share in (*held, *before) if share is not None]
    free = site.machine.cores - sum(share.cores for share in known)
    is_known = len(known) == len(held) + len(before)
    if is_known and free < placement.charge:
        # Some may be passed, or runs come before it that no queue has yet.
        more = quotas.more_may_come(conn, engine, low_priority=low_priority)
        is_known = not more and not each
    if not is_known:
        return len(ahead), None
    wait = seconds_until(
        placement.charge,
        site.machine.cores,
        [share for share in held if share],
        [share for share in before if share],
    )
    return len(ahead), None if wait is None else now + timedelta(seconds=wait)


def _share(place: Place, now: datetime) -> Share | None:
    """None: it is not known how long it may take."""
    if place.reserved_core_microseconds is None:
        return None
    left = place.reserved_core_microseconds / place.cores / 1e6
    if place.started_at is not None:
        left -= (now - place.started_at).total_seconds()
    return Share(place.cores, max(left, 0.0))
