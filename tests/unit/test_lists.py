"""Lists against plain ones: what somebody sees of jobs under every filter, and the outputs of runs,
while jobs are shared and completed and files come, go and come back.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, func, select

from simyard.domain.files import Blob, File, FileType
from simyard.domain.jobs import Job, JobDefinition, JobFilter, Phase
from simyard.domain.lifecycle import State
from simyard.domain.lists import Found
from simyard.domain.users import Role, User
from simyard.store import files, jobs, listing, runs, users
from simyard.store.files import NewOutput, Within
from simyard.store.jobs import Standing
from simyard.store.runs import NewRun, Terms
from simyard.store.schema import files as files_table
from simyard.store.schema import job_views, list_chunks, list_heads, metadata
from simyard.store.schema import jobs as jobs_table

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SMALL = 4  # entries of a chunk, where a thousand would take a thousand times as many rows


@contextmanager
def tables() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as conn:
        metadata.create_all(conn)
        yield conn
        conn.rollback()
    engine.dispose()


def user(conn: Connection, name: str) -> User:
    return users.insert(
        conn, email=f"{name}@lab.example", full_name=name, role=Role.MEMBER, now=NOW
    )


def new_job(conn: Connection, owner: User, name: str = "A job") -> Job:
    return jobs.insert(
        conn,
        owner=owner,
        definition=JobDefinition(name=name, analyses=()),
        analysis_names=(),
        notices=(),
        storage_bytes=0,
        now=NOW,
    )


def whole(find: Callable[[int, int], Found[Any]], expected: Sequence[Any], size: int) -> None:
    """Every page of a list, and the one behind it."""
    for offset in range(0, len(expected) + size, size):
        found = find(offset, size)
        assert found.count == len(expected)
        assert not found.is_capped
        assert found.items == list(expected[offset : offset + size])


# --- jobs -----------------------------------------------------------------------------------------


@dataclass
class KnownJob:
    job: Job
    owner: int  # which of the two users
    name: str
    status: str = ""
    completed: bool = False


@dataclass
class Jobs:
    """Two users' lists of jobs, in the store and as plain lists."""

    conn: Connection
    people: list[User]
    seen: list[list[KnownJob]] = field(default_factory=lambda: [[], []])  # oldest first
    made: int = 0

    def step(self, what: str, which: float) -> None:
        every = {id(one): one for known in self.seen for one in known}
        chosen = list(every.values())[int(which * len(every))] if every else None
        if what == "create" or chosen is None:
            owner = int(which * 2)
            self.made += 1
            name = f"Job {self.made:03}"
            known = KnownJob(new_job(self.conn, self.people[owner], name), owner, name)
            self.seen[owner].append(known)
            return
        other = 1 - chosen.owner
        getattr(self, what)(chosen, other)

    def share(self, known: KnownJob, other: int) -> None:
        job = jobs.by_id(self.conn, known.job.id)
        is_new = known not in self.seen[other]
        assert jobs.share(self.conn, job, self.people[other].id) is is_new
        if is_new:
            self.seen[other].append(known)

    def unshare(self, known: KnownJob, other: int) -> None:
        was = known in self.seen[other]
        assert jobs.unshare(self.conn, known.job, self.people[other].id) is was
        if was:
            self.seen[other].remove(known)

    def submit(self, known: KnownJob, _other: int) -> None:
        if known.status == "":
            self._stand(known, State.RUNNING, "Executing")

    def complete(self, known: KnownJob, _other: int) -> None:
        self._stand(known, State.CLOSED, "Completed")
        jobs.complete_views(self.conn, [known.job.id])
        known.completed = True

    def delete(self, known: KnownJob, _other: int) -> None:
        jobs.delete_job(self.conn, known.job, now=NOW)
        for seen in self.seen:
            if known in seen:
                seen.remove(known)

    def _stand(self, known: KnownJob, state: State, word: str) -> None:
        jobs.set_standings(self.conn, [Standing(known.job.id, state, word, word)])
        known.status = word

    def check(self, size: int) -> None:
        for person, seen in zip(self.people, self.seen, strict=True):
            newest_first = seen[::-1]
            for wanted, chosen in FILTERS:
                expected = [one.job.code for one in newest_first if chosen(one)]

                def find(
                    offset: int, most: int, wanted: JobFilter = wanted, person: User = person
                ) -> Found[str]:
                    found = jobs.page(self.conn, person.id, wanted, offset=offset, size=most)
                    codes = [one.code for one in found.items]
                    return Found(found.count, codes, found.is_capped)

                whole(find, expected, size)


Chosen = Callable[[KnownJob], bool]
FILTERS: list[tuple[JobFilter, Chosen]] = [
    (JobFilter(), lambda one: True),
    (JobFilter(phase=Phase.COMPLETED), lambda one: one.completed),
    (JobFilter(phase=Phase.NOT_COMPLETED), lambda one: not one.completed),
    (JobFilter(status="Completed"), lambda one: one.completed),
    (JobFilter(status="Executing"), lambda one: one.status == "Executing"),
    (JobFilter(status="Waiting for Queue"), lambda one: False),
    (JobFilter(status="Executing", phase=Phase.COMPLETED), lambda one: False),
    (JobFilter(status="Completed", phase=Phase.NOT_COMPLETED), lambda one: False),
    (JobFilter(status="Completed", phase=Phase.COMPLETED), lambda one: one.completed),
    (JobFilter(active=True), lambda one: one.status == "Executing"),
    (JobFilter(active=True, phase=Phase.COMPLETED), lambda one: False),
    (JobFilter(active=True, status="Completed"), lambda one: False),
    (JobFilter(text="B 0"), lambda one: True),
    (JobFilter(text="%"), lambda one: False),
    (JobFilter(text="3"), lambda one: "3" in one.name),
    (
        JobFilter(text="1", phase=Phase.NOT_COMPLETED),
        lambda one: "1" in one.name and not one.completed,
    ),
    (JobFilter(text="2", status="Completed"), lambda one: "2" in one.name and one.completed),
]
STEPS = ("create", "create", "create", "share", "unshare", "submit", "complete", "delete")
CHANCE = st.floats(0, 1, exclude_max=True)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), CHANCE), min_size=5, max_size=60),
    size=st.integers(1, 9),
)
def test_jobs_under_every_filter(steps: list[tuple[str, float]], size: int) -> None:
    with tables() as conn, mock.patch.object(listing, "CHUNK", SMALL):
        world = Jobs(conn, [user(conn, "ada"), user(conn, "bob")])
        for what, which in steps:
            world.step(what, which)
        world.check(size)
        left = conn.scalar(select(func.count()).select_from(job_views))
        assert left == sum(len(seen) for seen in world.seen)
        assert conn.scalar(select(func.min(list_chunks.c.total))) in (None, *range(SMALL + 1))


# --- outputs --------------------------------------------------------------------------------------


@dataclass
class Outputs:
    """The files of one user, some of them outputs of two runs: in the store and as plain lists."""

    conn: Connection
    owner: User
    job: Job
    naming: Job  # another job, which may name any of them
    listed: list[str] = field(default_factory=list)  # codes, in the order in which they came
    thrown: list[str] = field(default_factory=list)
    of_run: dict[str, int] = field(default_factory=dict)  # code -> run; 0 for an upload
    sizes: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def step(self, what: str, which: float) -> None:
        getattr(self, what)(which)

    def _blob(self, size: int) -> Blob:
        key = f"k{next(self.numbers)}"
        return Blob(id=None, key=key, wrapped_key=b"", size_bytes=size, md5="", sha512=key)

    def collect(self, which: float) -> None:
        """A run leaves some more files behind."""
        number, count = 1 + int(which * 2), 1 + int(which * 131) % 9
        run = runs.by_number(self.conn, self.job.id, number)
        assert run is not None
        outputs = []
        for size in range(1, count + 1):
            blob = files.insert_blob(self.conn, self._blob(size), now=NOW)
            path = f"d/{next(self.numbers)}"
            outputs.append(NewOutput(path, path, blob, size))
        before = set(self._codes())
        files.add_outputs(self.conn, owner_id=self.owner.id, run=run, outputs=outputs, now=NOW)
        made = [code for code in self._codes() if code not in before]
        assert len(made) == count
        for code, output in zip(made, outputs, strict=True):
            self.listed.append(code)
            self.of_run[code], self.sizes[code] = number, output.size_bytes

    def _codes(self) -> list[str]:
        query = select(files_table.c.code).order_by(files_table.c.owner_ordinal)
        return list(self.conn.scalars(query))

    def upload(self, _which: float) -> None:
        code = files.insert(
            self.conn,
            owner=self.owner,
            name="up",
            storage_path="",
            file_type=FileType.INPUT,
            blob=self._blob(1),
            now=NOW,
        ).code
        self.listed.append(code)
        self.of_run[code], self.sizes[code] = 0, 1

    def _chosen(self, known: list[str], which: float) -> File | None:
        return files.by_code(self.conn, known[int(which * len(known))]) if known else None

    def trash(self, which: float) -> None:
        if file := self._chosen(self.listed, which):
            for _ in range(2):
                files.trash(self.conn, file, now=NOW)
                file = files.by_code(self.conn, file.code)
                assert file is not None and file.is_trashed
            self.listed.remove(file.code)
            self.thrown.append(file.code)

    def recover(self, which: float) -> None:
        if file := self._chosen(self.thrown, which):
            files.recover(self.conn, file)
            self.thrown.remove(file.code)
            # Where it was: among those that came before and after it.
            order = self._codes()
            self.listed = sorted([*self.listed, file.code], key=order.index)

    def name(self, which: float) -> None:
        """Another job names it, and no other file any more."""
        if file := self._chosen(self.listed, which):
            files.unlink_inputs(self.conn, self.naming.id)
            files.link_inputs(self.conn, self.naming.id, [file])

    def delete(self, which: float) -> None:
        """For good; what a job names stays as a name."""
        known = self.listed + self.thrown
        if file := self._chosen(known, which):
            files.delete_file(self.conn, file, now=NOW)
            assert files.by_code(self.conn, file.code) is None
            (self.thrown if file.is_trashed else self.listed).remove(file.code)

    def check(self, size: int) -> None:
        def codes(found: Found[File]) -> Found[str]:
            return Found(found.count, [file.code for file in found.items], found.is_capped)

        owner, job = self.owner.id, self.job.id
        outputs = [code for code in self.listed if self.of_run[code]]
        whole(
            lambda at, most: codes(files.page_of_owner(self.conn, owner, offset=at, size=most)),
            self.listed[::-1],
            size,
        )
        whole(
            lambda at, most: codes(files.page_of_job(self.conn, job, offset=at, size=most)),
            outputs,
            size,
        )
        whole(
            lambda at, most: codes(
                files.search(self.conn, Within(owner_id=owner), offset=at, size=most, text="U")
            ),
            [code for code in self.listed[::-1] if not self.of_run[code]],
            size,
        )
        whole(
            lambda at, most: codes(files.page_of_trash(self.conn, owner, offset=at, size=most)),
            sorted(self.thrown, key=self._codes().index, reverse=True),
            size,
        )
        for number in (1, 2):
            mine = [code for code in outputs if self.of_run[code] == number]

            def find(at: int, most: int, number: int = number) -> Found[str]:
                return codes(files.page_of_run(self.conn, job, number, offset=at, size=most))

            whole(find, mine, size)
            run = runs.by_number(self.conn, job, number)
            assert run is not None
            assert run.output_count == len(mine)
            assert run.output_bytes == sum(self.sizes[code] for code in mine)


KINDS = ("collect", "collect", "upload", "trash", "trash", "recover", "name", "delete")


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(KINDS), CHANCE), min_size=5, max_size=40),
    size=st.integers(1, 9),
)
def test_outputs_of_runs(steps: list[tuple[str, float]], size: int) -> None:
    with tables() as conn, mock.patch.object(listing, "CHUNK", SMALL):
        owner = user(conn, "ada")
        job, naming = new_job(conn, owner), new_job(conn, owner)
        _two_runs(conn, job)
        world = Outputs(conn, owner, job, naming)
        for what, which in steps:
            world.step(what, which)
        world.check(size)
        # With the job its outputs go, those in the trash too; uploads stay.
        jobs.delete_job(conn, jobs.by_id(conn, job.id), now=NOW)
        world.listed = [code for code in world.listed if not world.of_run[code]]
        world.thrown = [code for code in world.thrown if not world.of_run[code]]
        left = files.page_of_owner(conn, owner.id, offset=0, size=1000)
        assert (left.count, [f.code for f in left.items]) == (len(world.listed), world.listed[::-1])
        assert files.page_of_trash(conn, owner.id, offset=0, size=1).count == len(world.thrown)
        for table in (list_heads, list_chunks):
            names = set(conn.scalars(select(table.c.list)))
            assert not [name for name in names if name.startswith(f"outputs:{job.id}")]


def _two_runs(conn: Connection, job: Job) -> None:
    runs.insert(
        conn,
        job.id,
        [NewRun(number=1), NewRun(number=2)],
        owner_id=job.owner_id,
        terms=Terms(cores=1, core_type="x", price_micros=0, low_priority=False),
        state=State.RUNNING,
    )


# --- as long as they get --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long() -> Iterator[tuple[Connection, User, list[str], set[str]]]:
    """A user with 3300 jobs: their codes, oldest first, and which of them are completed."""
    with tables() as conn:
        owner = user(conn, "ada")
        template = new_job(conn, owner)
        (row,) = conn.execute(select(jobs_table)).all()
        values = [
            {**row._mapping, "id": template.id + n, "code": f"c{n}", "name": f"Job {n}"}
            for n in range(1, 3300)
        ]
        conn.execute(jobs_table.insert(), values)
        first = listing.append(conn, listing.jobs_of(owner.id), len(values))
        views = [
            {"viewer_id": owner.id, "ordinal": first + i, "job_id": one["id"], "completed": False}
            for i, one in enumerate(values)
        ]
        conn.execute(job_views.insert(), views)
        codes = [template.code, *(one["code"] for one in values)]
        # A whole stretch of a chunk and more, and every third besides.
        done = [n for n in range(3300) if n % 3 == 0 or 900 <= n < 2100]
        for i in range(0, len(done), 500):
            ids = [template.id + n for n in done[i : i + 500]]
            jobs.set_standings(
                conn, [Standing(j, State.CLOSED, "Completed", "Stopped") for j in ids]
            )
            jobs.complete_views(conn, ids)
        completed = {codes[n] for n in done}
        for n in [*range(990, 1010), *range(0, 3300, 11), *range(2990, 3005)]:
            if codes[n] in completed or n % 2:
                job = jobs.visible(conn, codes[n], owner.id)
                if job is not None:
                    jobs.delete_job(conn, job, now=NOW)
                    completed.discard(codes[n])
        alive = set(conn.scalars(select(jobs_table.c.code)))
        yield conn, owner, [code for code in codes if code in alive], completed


@pytest.mark.parametrize("size", [10, 999, 1000, 2000])
@pytest.mark.parametrize("phase", [None, *Phase])
def test_pages_across_the_borders_of_chunks(
    long: tuple[Connection, User, list[str], set[str]], phase: Phase | None, size: int
) -> None:
    conn, owner, codes, completed = long
    assert 2900 < len(codes) < 3200 and len(completed) > 1500
    expected = [
        code
        for code in codes[::-1]
        if phase is None or (code in completed) == (phase is Phase.COMPLETED)
    ]

    def find(offset: int, most: int) -> Found[str]:
        found = jobs.page(conn, owner.id, JobFilter(phase=phase), offset=offset, size=most)
        return Found(found.count, [one.code for one in found.items])

    whole(find, expected, size)
    for offset in (len(expected), len(expected) + 1, 10**9):
        assert find(offset, size) == Found(len(expected), [])


def test_a_search_counts_so_far(long: tuple[Connection, User, list[str], set[str]]) -> None:
    """And says where it stopped."""
    conn, owner, codes, completed = long
    wanted = JobFilter(text="job")
    assert jobs.page(conn, owner.id, wanted, offset=0, size=1).count == len(codes)
    with mock.patch.object(jobs, "SEARCH_MOST", len(codes)):
        found = jobs.page(conn, owner.id, wanted, offset=0, size=1)
        assert (found.count, found.is_capped) == (len(codes), False)
    with mock.patch.object(jobs, "SEARCH_MOST", 100):
        found = jobs.page(conn, owner.id, wanted, offset=95, size=10)
        assert (found.count, found.is_capped, len(found.items)) == (100, True, 10)
        beyond = jobs.page(conn, owner.id, wanted, offset=100, size=10)
        assert (beyond.count, beyond.is_capped, beyond.items) == (100, True, [])
    active = JobFilter(active=True)
    assert jobs.page(conn, owner.id, active, offset=0, size=10) == Found(0, [])
    over = JobFilter(status="Completed", text="job")
    assert jobs.page(conn, owner.id, over, offset=0, size=1).count == len(completed)
