"""Counters of what users have stored, and the queue where users may have so many jobs at a time."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, select

from simyard.domain.files import Blob, FileType
from simyard.domain.jobs import Job, JobDefinition
from simyard.domain.lifecycle import State
from simyard.domain.users import Role, User
from simyard.store import counters, files, jobs, quotas, runs, users
from simyard.store.files import NewOutput
from simyard.store.runs import NewRun, Terms
from simyard.store.schema import blobs as blobs_table
from simyard.store.schema import files as files_table

NOW = datetime(2026, 3, 2, tzinfo=UTC)
KEYS = itertools.count()


@contextmanager
def tables() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        files_table.metadata.create_all(conn)
        yield conn
        conn.rollback()
    engine.dispose()


def user(conn: Connection, name: str) -> User:
    return users.insert(
        conn, email=f"{name}@lab.example", full_name=name, role=Role.MEMBER, now=NOW
    )


def job_of(conn: Connection, owner: User) -> Job:
    return jobs.insert(
        conn,
        owner=owner,
        definition=JobDefinition(name="A job", analyses=()),
        analysis_names=(),
        notices=(),
        storage_bytes=0,
        now=NOW,
    )


def terms(low_priority: bool = False, reserved: int = 0) -> Terms:
    return Terms(
        cores=1,
        core_type="x",
        price_micros=0,
        low_priority=low_priority,
        reserved_core_microseconds=reserved,
    )


def submit(
    conn: Connection,
    owner: User,
    state: State = State.QUEUED,
    *,
    count: int = 1,
    low_priority: bool = False,
) -> Job:
    job = job_of(conn, owner)
    runs.insert(
        conn,
        job.id,
        [NewRun(number=number) for number in range(1, count + 1)],
        owner_id=owner.id,
        terms=terms(low_priority),
        state=state,
    )
    return job


# --- storage --------------------------------------------------------------------------------------


class Stored:
    """Two users with a job each, and what the counters should say of their files."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.users = [user(conn, name) for name in ("ada", "bob")]
        self.jobs = [submit(conn, owner, State.CLOSED) for owner in self.users]
        self.size = 0

    def blob(self) -> Blob:
        self.size = self.size * 2 + 1  # no sum of some is the sum of others
        name = f"{next(KEYS)}"
        return Blob(id=None, key=name, wrapped_key=b"", size_bytes=self.size, md5="", sha512=name)

    def upload(self, who: int, _which: int) -> None:
        files.insert(
            self.conn,
            owner=self.users[who],
            name="f",
            storage_path="",
            file_type=FileType.INPUT,
            blob=self.blob(),
            now=NOW,
        )

    def outputs(self, who: int, which: int) -> None:
        """One that is new, one twice, and one that somebody has already."""
        known = list(self.conn.scalars(select(blobs_table.c.id)))
        new = files.insert_blob(self.conn, self.blob(), now=NOW)
        run = runs.by_number(self.conn, self.jobs[who].id, 1)
        assert run is not None
        made = [NewOutput("a", "a", new, 1), NewOutput("b", "b", new, 1)]
        if known:
            made.append(NewOutput("c", "c", known[which % len(known)], 1))
        owner = self.users[who].id
        files.add_outputs(self.conn, owner_id=owner, run=run, outputs=made, now=NOW)

    def _chosen(self, who: int, which: int) -> str | None:
        mine = files_table.c.owner_id == self.users[who].id
        codes = list(self.conn.scalars(select(files_table.c.code).where(mine)))
        return codes[which % len(codes)] if codes else None

    def trash(self, who: int, which: int) -> None:
        code = self._chosen(who, which)
        if code and (file := files.by_code(self.conn, code)):
            files.trash(self.conn, file, now=NOW)

    def delete(self, who: int, which: int) -> None:
        code = self._chosen(who, which)
        if code and (file := files.by_code(self.conn, code)):
            files.delete_file(self.conn, file, now=NOW)

    def delete_job(self, who: int, _which: int) -> None:
        jobs.delete_job(self.conn, jobs.by_id(self.conn, self.jobs[who].id), now=NOW)
        self.jobs[who] = submit(self.conn, self.users[who], State.CLOSED)

    def check(self) -> None:
        for owner in self.users:
            query = (
                select(blobs_table.c.id, blobs_table.c.size_bytes)
                .join(files_table, files_table.c.blob_id == blobs_table.c.id)
                .where(files_table.c.owner_id == owner.id)
                .distinct()
            )
            true = sum(row.size_bytes for row in self.conn.execute(query))
            assert counters.value(self.conn, counters.stored(owner.id)) == true


WHAT = ("upload", "outputs", "outputs", "trash", "delete", "delete", "delete_job")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 1), st.integers(0, 50)), min_size=3)
)
def test_what_is_stored_is_counted_exactly(steps: list[tuple[str, int, int]]) -> None:
    with tables() as conn:
        world = Stored(conn)
        for what, who, which in steps:
            getattr(world, what)(who, which)
            world.check()


# --- the queue ------------------------------------------------------------------------------------


def queued(conn: Connection, each: int, most: int = 100) -> list[int]:
    """Internal ids of the jobs whose runs may start, in order."""
    found = quotas.queue(conn, "local", jobs_running_most=each, most=most)
    known = runs.by_ids(conn, found)
    return [known[run_id].job_id for run_id in found]


def test_users_at_their_limit_are_passed_and_the_order_stays() -> None:
    with tables() as conn:
        ada, bob, eve = (user(conn, name) for name in ("ada", "bob", "eve"))
        submit(conn, ada, State.RUNNING)
        submit(conn, eve, State.STAGING)
        low = submit(conn, bob, low_priority=True)
        first = submit(conn, ada)
        second = submit(conn, bob)
        third = submit(conn, eve)
        fourth = submit(conn, ada)
        submit(conn, ada, State.CLOSED)
        submit(conn, bob, State.PENDING)
        assert queued(conn, 1) == [second.id]
        assert queued(conn, 2) == [first.id, second.id, third.id, low.id]
        assert queued(conn, 3) == [first.id, second.id, third.id, fourth.id, low.id]
        assert queued(conn, 3, most=2) == [first.id, second.id]
        assert quotas.jobs_waiting(conn, bob.id) == 3
        assert quotas.runs_waiting(conn, bob.id, most=2) == 2


def test_further_runs_of_a_running_job_are_no_further_jobs() -> None:
    with tables() as conn:
        ada = user(conn, "ada")
        sweep = submit(conn, ada, count=3)
        submit(conn, ada)
        assert queued(conn, 1) == [sweep.id] * 3
        assert quotas.jobs_waiting(conn, ada.id) == 2


@pytest.mark.parametrize("count", [10, 1000])
def test_a_long_queue_of_one_user_costs_others_nothing(count: int) -> None:
    """As many statements, and as few rows of them, whatever waits behind the limit."""
    with tables() as conn:
        ada, bob = user(conn, "ada"), user(conn, "bob")
        submit(conn, ada, State.RUNNING)
        job = job_of(conn, ada)
        runs.insert(
            conn,
            job.id,
            [NewRun(number=number) for number in range(1, count + 1)],
            owner_id=ada.id,
            terms=terms(),
            state=State.QUEUED,
        )
        mine = submit(conn, bob)
        raw = conn.connection.driver_connection
        assert raw is not None
        steps = itertools.count()
        raw.set_progress_handler(lambda: next(steps) and None, 1)  # every step of SQLite's machine
        assert queued(conn, 1, most=4) == [mine.id]
        raw.set_progress_handler(None, 0)
        assert next(steps) < 1000


# --- reservations ---------------------------------------------------------------------------------


def test_what_is_reserved_is_given_back_once() -> None:
    with tables() as conn:
        ada = user(conn, "ada")
        job = job_of(conn, ada)
        runs.insert(
            conn,
            job.id,
            [NewRun(number=number) for number in (1, 2)],
            owner_id=ada.id,
            terms=terms(reserved=7),
            state=State.QUEUED,
        )
        ids = [run.id for run in runs.page(conn, job.id, offset=0, size=9)]
        assert quotas.reserved_for_job(conn, job.id) == 14
        assert quotas.release(conn, ids[:1]) == {ids[0]: (ada.id, 7)}
        assert quotas.release(conn, ids) == {ids[1]: (ada.id, 7)}
        assert quotas.release(conn, ids) == {}
        assert quotas.reserved_for_job(conn, job.id) == 0


def test_months_are_those_of_utc() -> None:
    east = timezone(timedelta(hours=3))
    assert counters.used("user:1", datetime(2026, 4, 1, 2, tzinfo=east)) == "used:user:1:2026-03"
    assert counters.used("user:1", datetime(2026, 4, 1, 3, tzinfo=east)) == "used:user:1:2026-04"
