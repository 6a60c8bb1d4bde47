"""How much of the site each user and each project may have.

What is used stands in counters that change in the transaction of what they count, and a submit is
decided in the transaction that records it: two at the same moment never get the same last hour.

What does not fit is told with the setting's name, what is used and what is allowed. An upload is
TooLarge (413): it is the content that the server will not take, and sending it again does not help;
403 is how clients learn of a wrong key. A submit is Refused (400, as everything else that keeps a
job from starting): 429 would tell clients to try again by themselves in a moment, and room in a
queue or a budget comes after hours or next month.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from simyard.domain import jobs as rules
from simyard.domain.catalogue import Notice
from simyard.domain.errors import Refused, TooLarge
from simyard.domain.jobs import Job, JobDefinition
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.domain.users import Project, User
from simyard.service.site import Site
from simyard.store import counters, idempotency, jobs, runs, uploads, users
from simyard.store import quotas as store
from simyard.store.database import Transaction

HOUR_MICROSECONDS = 3_600_000_000
OVER_STORAGE = "storage-quota"  # code of the notice on a job whose outputs are beyond the quota
WAITS_FOR_OWN = "jobs-running-quota"  # code of the notice on a job that waits for its owner's


# --- storage --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """What somebody has stored, or was promised room for, and may store, in bytes."""

    used: int
    limit: int  # 0: any number

    def check(self, more: int) -> None:
        """Raises TooLarge where so much more does not fit."""
        if self.limit and self.used + more > self.limit:
            raise TooLarge(
                f"The file does not fit: {self.used} of the {self.limit} bytes that you may store"
                f" (user_storage_bytes) are used, so there is room for"
                f" {max(0, self.limit - self.used)}. Delete files, those in the trash too."
            )


def room(conn: Connection, site: Site, owner: User, key: str | None = None) -> Room:
    """The room that an upload has. key: its Idempotency-Key. A request that was carried out before
    takes no more: it has all the room that it wants.
    """
    limit = site.quotas.storage_bytes
    if limit and key is not None and idempotency.find(conn, owner.id, key) is not None:
        limit = 0
    if not limit:
        return Room(0, 0)
    _, promised = uploads.count_unfinished(conn, owner.id)
    return Room(counters.value(conn, counters.stored(owner.id)) + promised, limit)


def need_room(conn: Connection, site: Site, owner_id: int) -> None:
    """Raises Refused where somebody who asks for more files has more than he may store already."""
    limit = site.quotas.storage_bytes
    used = counters.value(conn, counters.stored(owner_id)) if limit else 0
    if used > limit:
        raise Refused(
            f"Your files take {used} bytes and may take {limit} (user_storage_bytes). Delete some,"
            " those in the trash too."
        )


def tell_if_over(tx: Transaction, site: Site, job_id: int) -> None:
    """Say so on a job whose outputs were stored although its owner has more than he may: results
    are never thrown away for a quota.
    """
    limit = site.quotas.storage_bytes
    if not limit:
        return
    job = jobs.by_id(tx.conn, job_id)
    used = counters.value(tx.conn, counters.stored(job.owner_id))
    if used > limit and not _says(job, OVER_STORAGE):
        message = (
            f"All outputs were stored. With them your files took {used} bytes, and they may take"
            f" {limit} (user_storage_bytes): you can upload and submit again once you have deleted"
            " some, those in the trash too."
        )
        notice = Notice(code=OVER_STORAGE, message=message)
        jobs.set_notices(tx.conn, job.id, (*job.notices, notice))


def _says(job: Job, code: str) -> bool:
    return any(notice.code == code for notice in job.notices)


# --- submitting -----------------------------------------------------------------------------------


def admit(
    tx: Transaction, site: Site, job: Job, cores: int, *, runs: int = 1, is_new: bool = True
) -> int:
    """Let runs of a job that was just found good into the queue: reserve what they may use, and
    tell its owner where it will wait for other jobs of his. Returns the core-time that is reserved
    for each, in microseconds. is_new: the job was not in the queue before.

    Raises Refused where a quota or a budget does not allow it. To be called in the transaction of
    the submit; what is reserved is given back by `release`.
    """
    needs = check(tx.conn, site, job.owner_id, job.definition, cores, runs=runs, is_new=is_new)
    for holder in _holders(job.owner_id, job.definition.project_id or ""):
        counters.add(tx.conn, counters.reserved(holder), needs.each * runs)
    if needs.waits is not None and not _says(job, needs.waits.code):
        jobs.set_notices(tx.conn, job.id, (*job.notices, needs.waits))
    return needs.each


@dataclass(frozen=True)
class Needs:
    """What a submit takes that is found good."""

    each: int  # core-time that is reserved for each run, in microseconds
    waits: Notice | None  # it will wait for other jobs of its owner


def check(
    conn: Connection,
    site: Site,
    owner_id: int,
    definition: JobDefinition,
    cores: int,
    *,
    runs: int = 1,
    is_new: bool = True,
) -> Needs:
    """What `admit` reserves, found without any effect. Raises Refused as it does."""
    quotas = site.quotas
    need_room(conn, site, owner_id)
    most = max(quotas.jobs_queued, quotas.jobs_running)
    waiting = store.runs_waiting(conn, owner_id, most=most) if most else 0
    if is_new and quotas.jobs_queued and waiting >= quotas.jobs_queued:
        raise Refused(
            f"{quotas.jobs_queued} of your jobs wait for cores, and no more may"
            f" (user_jobs_queued_most is {quotas.jobs_queued}). Submit this one when one of them"
            " has started."
        )
    each = _core_time_of_each(conn, site, owner_id, definition, cores, runs)
    notice = None
    if quotas.jobs_running:
        before = waiting + len(store.jobs_running(conn, owner_id))
        if before >= quotas.jobs_running:
            message = (
                f"At most {quotas.jobs_running} of your jobs run at the same time"
                f" (user_jobs_running_most). As many ran or waited when this one was submitted, so"
                " it waits for one of them to end. Jobs of others may pass it."
            )
            notice = Notice(code=WAITS_FOR_OWN, message=message)
    return Needs(each, notice)


def _core_time_of_each(
    conn: Connection, site: Site, owner_id: int, definition: JobDefinition, cores: int, runs: int
) -> int:
    """Raises Refused where a budget has not so much left for all of them."""
    seconds = min(rules.walltime_seconds(a.hardware, site.limits) for a in definition.analyses)
    each = cores * seconds * 1_000_000
    wanted = each * runs
    for_each = f"{cores} for {seconds / 3600:g} h"
    needs = f"{_hours(wanted)} core-hours ({f'{runs} runs, each ' if runs > 1 else ''}{for_each})"
    if site.quotas.core_hours_per_month:
        his = of_user(conn, site, owner_id, site.clock())
        _check(his, wanted, needs, "you (user_core_hours_per_month)")
    if definition.project_id:
        _check_project(conn, definition.project_id, wanted, needs, site.clock())
    return each


def _check_project(conn: Connection, code: str, wanted: int, needs: str, now: datetime) -> None:
    project = users.project_named(conn, code)
    if project is not None:
        its = of_project(conn, project, now)
        _check(its, wanted, needs, f"the project {project.name} (its coreHoursPerMonth)")


def _check(time: "CoreTime", wanted: int, needs: str, whose: str) -> None:
    if time.limit is not None and time.taken + wanted > time.limit:
        raise Refused(
            f"This job may take {needs}, and {_hours(max(0, time.limit - time.taken))} are left of"
            f" the {_hours(time.limit)} for {whose} in this month (UTC): {_hours(time.used)} are"
            f" used, {_hours(time.reserved)} are reserved for jobs that are not at their end. A"
            " shorter walltime or fewer cores reserve less."
        )


def _hours(microseconds: int) -> str:
    return f"{microseconds / HOUR_MICROSECONDS:.3f}".rstrip("0").rstrip(".")


def _holders(owner_id: int, project: str) -> list[str]:
    """Who pays for a job: its owner, and the project that it is booked on."""
    return [counters.user(owner_id), *([counters.project(project)] if project else [])]


def release(tx: Transaction, ended: Mapping[int, str]) -> None:
    """Give back what is reserved for runs that ended: run id -> project of the job, "" for none.
    In the transaction of their end, in which what they used is counted. Idempotent.
    """
    amounts: Counter[str] = Counter()
    for run_id, (owner_id, amount) in store.release(tx.conn, list(ended)).items():
        for holder in _holders(owner_id, ended[run_id]):
            amounts[holder] += amount
    for holder, amount in amounts.items():
        counters.add(tx.conn, counters.reserved(holder), -amount)


def rebook(tx: Transaction, job: Job, project: str | None) -> None:
    """What is reserved for a job is so in the budget of this project from now on. Raises Refused
    where it does not fit.
    """
    before, now = job.definition.project_id or "", project or ""
    amount = store.reserved_for_job(tx.conn, job.id) if before != now else 0
    if not amount:
        return
    if now:
        _check_project(tx.conn, now, amount, f"{_hours(amount)} core-hours", tx.now())
        counters.add(tx.conn, counters.reserved(counters.project(now)), amount)
    if before:
        counters.add(tx.conn, counters.reserved(counters.project(before)), -amount)


# --- the queue ------------------------------------------------------------------------------------


def queue(conn: Connection, site: Site, engine: str, most: int) -> Sequence[Run]:
    """The first of an engine's queued runs, in their order, without those of users who have as
    many jobs running as they may: these are passed, and nobody else is.
    """
    each = site.quotas.jobs_running
    if not each:
        return runs.queued(conn, engine, most=most)
    wanted = store.queue(conn, engine, jobs_running_most=each, most=most)
    found = runs.by_ids(conn, wanted)
    return [found[run_id] for run_id in wanted]


def waits_no_more(tx: Transaction, job: Job) -> None:
    """It got cores, or came to its end without: take down the notice that it waits for others of
    its owner.
    """
    jobs.drop_notice(tx.conn, job, WAITS_FOR_OWN)


# --- looking --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CoreTime:
    """Of the present calendar month (UTC), in microseconds of a core."""

    used: int  # by runs that ended in it
    reserved: int  # what queued and running jobs may take
    limit: int | None

    @property
    def taken(self) -> int:
        return self.used + self.reserved


def _core_time(conn: Connection, now: datetime, holder: str, hours: float | None) -> CoreTime:
    return CoreTime(
        counters.value(conn, counters.used(holder, now)),
        counters.value(conn, counters.reserved(holder)),
        None if hours is None else round(hours * HOUR_MICROSECONDS),
    )


def of_project(conn: Connection, project: Project, now: datetime) -> CoreTime:
    """What a project used and may use."""
    return _core_time(conn, now, counters.project(project.code), project.core_hours_per_month)


def of_user(conn: Connection, site: Site, user_id: int, now: datetime) -> CoreTime:
    """What a user used and may use."""
    hours = site.quotas.core_hours_per_month or None
    return _core_time(conn, now, counters.user(user_id), hours)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a user has of all that is limited."""

    stored_bytes: int
    jobs_running: int
    jobs_queued: int
    core_time: CoreTime


def standing(conn: Connection, site: Site, user: User) -> Standing:
    return Standing(
        stored_bytes=counters.value(conn, counters.stored(user.id)),
        jobs_running=len(store.jobs_running(conn, user.id)),
        jobs_queued=store.jobs_waiting(conn, user.id),
        core_time=of_user(conn, site, user.id, site.clock()),
    )


def budgets(conn: Connection, site: Site) -> list[tuple[Project | User, CoreTime]]:
    """Every project and every user who has a budget, with what is used of it."""
    now = site.clock()
    found: list[tuple[Project | User, CoreTime]] = [
        (project, of_project(conn, project, now))
        for project in users.all_projects(conn)
        if project.core_hours_per_month is not None
    ]
    if site.quotas.core_hours_per_month:
        every = users.every(conn)
        found += [(user, of_user(conn, site, user.id, now)) for user in every]
    return found
