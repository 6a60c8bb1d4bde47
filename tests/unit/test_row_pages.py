"""The console's list against a plain one: every filter, both orders, pages both ways and jumps; and
how a search that ends early goes on.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, update
from sqlalchemy.pool import StaticPool

from simyard.domain.files import normalized
from simyard.domain.grammar import Series
from simyard.domain.jobs import Job, JobDefinition
from simyard.domain.lifecycle import JOB_WORDS, State
from simyard.domain.outcome import Outcome, Verdict
from simyard.domain.rows import OUTCOMES, STATUSES, Owner, Position, RowFilter
from simyard.domain.users import Role, User
from simyard.service.rows import Spark, spark_of
from simyard.store import facets, jobs, listing, rows, runs, users
from simyard.store.jobs import Standing
from simyard.store.runs import NewRun, Terms
from simyard.store.schema import jobs as jobs_table
from simyard.store.schema import metadata

START = datetime(2026, 3, 2, tzinfo=UTC)
WORDS = {state: JOB_WORDS.get(state, "") for state in (State.QUEUED, State.RUNNING, State.CLOSED)}
WORDS[State.CLOSED] = JOB_WORDS[State.COMPLETED]
WORDS[State.DRAFT] = ""


@cache
def _database() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


@contextmanager
def tables() -> Iterator[Connection]:
    """Empty ones, and again at the end."""
    with _database().connect() as conn:
        yield conn
        conn.rollback()


@dataclass(frozen=True, kw_only=True)
class Known:
    """A job as the plain list has it."""

    is_mine: bool
    name: str
    state: State
    tag: str
    analysis: str
    verdict: Verdict | None
    is_gone: bool
    created_at: datetime = START
    job_id: int = 0


KNOWN = st.builds(
    Known,
    is_mine=st.booleans(),
    name=st.sampled_from(["Wing", "wing 100%", "Tank", "under_score"]),
    state=st.sampled_from(list(WORDS)),
    tag=st.sampled_from(["", "CFD", "old"]),
    analysis=st.sampled_from(["OpenFOAM", 'with "quotes"', "Open"]),
    verdict=st.sampled_from([None, Verdict.COMPLETED, Verdict.STOPPED, Verdict.FAILED]),
    is_gone=st.booleans(),
)


def made(conn: Connection, known: list[Known]) -> tuple[User, list[Known]]:
    """The jobs in the store; those that are gone were there once. Somebody else's is shared a while
    after it was created.
    """
    viewer, other = (
        users.insert(conn, email=f"{name}@lab.example", full_name=name, role=Role.MEMBER, now=START)
        for name in ("ada", "bob")
    )
    shown = []
    for n, one in enumerate(known):
        created = START + timedelta(hours=n) - timedelta(minutes=0 if one.is_mine else 90)
        job = jobs.insert(
            conn,
            owner=viewer if one.is_mine else other,
            definition=JobDefinition(name=one.name, analyses=()),
            analysis_names=(one.analysis,),
            notices=(),
            storage_bytes=0,
            now=created,
        )
        if one.tag:
            jobs.set_tags(conn, job.id, {normalized(one.tag): one.tag})
        if not one.is_mine:
            jobs.share(conn, job, viewer.id)
        _bring(conn, job, one)
        if one.is_gone:
            jobs.delete_job(conn, jobs.by_id(conn, job.id), now=START)
        else:
            shown.append(replace(one, job_id=job.id, created_at=created))
    return viewer, shown[::-1]


def _bring(conn: Connection, job: Job, one: Known) -> None:
    if one.state is State.DRAFT:
        return
    terms = Terms(cores=1, core_type="emerald", price_micros=0, low_priority=False)
    runs.insert(conn, job.id, [NewRun()], owner_id=job.owner_id, terms=terms, state=one.state)
    jobs.set_standings(conn, [Standing(job.id, one.state, WORDS[one.state])])
    if one.state is State.CLOSED:
        jobs.complete_views(conn, [job.id])
        outcome = Outcome(verdict=one.verdict, cause="", message="") if one.verdict else None
        run = runs.first_ones(conn, [job.id])[job.id]
        runs.set_completed(conn, run, runs.pack(outcome), at=START)


def matches(one: Known, wanted: RowFilter) -> bool:
    ended = one.verdict if one.state is State.CLOSED else None
    return (
        (not wanted.statuses or WORDS[one.state] in wanted.statuses)
        and (not wanted.verdicts or ended in wanted.verdicts)
        and wanted.text.lower() in one.name.lower()
        and (not wanted.tags or normalized(one.tag) in wanted.tags)
        and (not wanted.analyses or one.analysis in wanted.analyses)
        and wanted.owner in (None, Owner.ME if one.is_mine else Owner.SHARED)
        and (not wanted.owner_email or one.is_mine is (wanted.owner_email == "ada@lab.example"))
        and (wanted.since is None or one.created_at >= wanted.since)
    )


FILTERS = st.builds(
    RowFilter,
    statuses=st.one_of(
        st.just(frozenset[str]()),
        st.sampled_from(list(STATUSES.values())),
        st.just(STATUSES["DRAFT"] | STATUSES["ACTIVE"]),
        st.just(STATUSES["COMPLETED"] | STATUSES["QUEUED"]),
    ),
    verdicts=st.sampled_from([frozenset(), OUTCOMES["GOOD"], OUTCOMES["BAD"]]),
    text=st.sampled_from(["", "wing", "%", "_", "zebra"]),
    tags=st.sampled_from([frozenset[str](), frozenset({normalized("cfd")})]),
    analyses=st.sampled_from([frozenset[str](), frozenset({"Open"}), frozenset({'with "quotes"'})]),
    owner=st.sampled_from([None, Owner.ME, Owner.SHARED]),
    owner_email=st.sampled_from(["", "", "ada@lab.example", "bob@lab.example"]),
    since=st.sampled_from([None, START + timedelta(hours=3), START + timedelta(minutes=210)]),
)
ONE_FIELD = st.one_of(
    FILTERS,  # all of them together match little
    *(
        st.builds(lambda one, name: RowFilter(**{name: getattr(one, name)}), FILTERS, st.just(name))
        for name in RowFilter.__dataclass_fields__
    ),
)


@settings(max_examples=80)
@given(
    known=st.lists(KNOWN, max_size=30),
    wanted=ONE_FIELD,
    newest_first=st.booleans(),
    size=st.integers(1, 5),
    few=st.sampled_from([0, 3, 100]),
)
def test_pages_are_those_of_a_plain_list(
    known: list[Known], wanted: RowFilter, newest_first: bool, size: int, few: int
) -> None:
    with (
        tables() as conn,
        mock.patch.object(rows, "SCAN_MOST", 6),
        mock.patch.object(rows, "FEW", few),
        mock.patch.object(listing, "CHUNK", 4),
    ):
        viewer, every = made(conn, known)
        owner = users.by_email(conn, wanted.owner_email)
        expected = [one.job_id for one in every if matches(one, wanted)]
        if not newest_first:
            expected.reverse()

        def page(position: Position) -> rows.Page:
            return rows.page(
                conn,
                viewer.id,
                wanted,
                position,
                owner_id=owner.id if owner else None,
                newest_first=newest_first,
                size=size,
            )

        first = page(Position())
        assert first.count is not None
        assert first.before is None
        if first.is_exact:
            assert first.count == len(expected)
        else:
            assert first.count <= len(expected)
        there = _walk(first, page, size)
        assert there == expected
        _walk_back(first, page, expected)
        if rows.can_jump(conn, viewer.id, wanted):
            assert first.is_exact
            for at in range(len(expected) + 2):
                jumped = page(Position(at=at))
                assert [e.job_id for e in jumped.entries] == expected[at : at + size]
                assert jumped.at == at
                assert (jumped.after is None) is (at + size >= len(expected))


def _walk(first: rows.Page, page: Callable[[Position], rows.Page], size: int) -> list[int]:
    found, one = [], first
    while True:
        assert len(one.entries) <= size
        assert one.is_partial or one.after is None or len(one.entries) == size
        found += [entry.job_id for entry in one.entries]
        if one.after is None:
            return found
        one = page(Position(after=one.after))


def _walk_back(
    first: rows.Page, page: Callable[[Position], rows.Page], expected: list[int]
) -> None:
    """From the last page to the first."""
    last = first
    while last.after is not None:
        last = page(Position(after=last.after))
    found = [entry.job_id for entry in last.entries]
    while last.before is not None:
        last = page(Position(before=last.before))
        found = [entry.job_id for entry in last.entries] + found
    assert found == expected


@settings(max_examples=20)
@given(known=st.lists(KNOWN, max_size=20), few=st.sampled_from([0, 100]))
def test_facets_are_counts_of_a_plain_list(known: list[Known], few: int) -> None:
    with tables() as conn, mock.patch.object(rows, "FEW", few):
        viewer, every = made(conn, known)
        found = facets.count(conn, viewer.id)
        assert found.total == found.looked_at == len(every)
        ended = [one.verdict for one in every if one.state is State.CLOSED and one.verdict]
        assert found.outcomes == {v.value: ended.count(v) for v in set(ended)}
        names = [one.analysis for one in every]
        assert found.analyses == {name: names.count(name) for name in set(names)}
        tags = [one.tag for one in every if one.tag]
        assert found.tags == {tag: tags.count(tag) for tag in set(tags)}
        words = [WORDS[one.state] for one in every]
        is_active = any(one.state in (State.QUEUED, State.RUNNING) for one in every)
        assert (found.statuses is None) is (is_active and not few)
        if found.statuses is not None:
            counted = {word: n for word, n in found.statuses.items() if n}
            assert counted == {word: words.count(word) for word in set(words)}


def test_facets_of_a_long_list_are_of_its_newest() -> None:
    one = Known(
        is_mine=True,
        name="Wing",
        state=State.CLOSED,
        tag="CFD",
        analysis="OpenFOAM",
        verdict=Verdict.FAILED,
        is_gone=False,
    )
    with tables() as conn, mock.patch.object(facets, "SCAN_MOST", 3):
        viewer, _ = made(conn, [one] * 2 + [replace(one, verdict=Verdict.COMPLETED, tag="")] * 3)
        found = facets.count(conn, viewer.id)
    assert (found.total, found.looked_at) == (5, 3)
    assert found.outcomes == {"completed": 3}
    assert found.tags == {}
    assert found.statuses is not None
    assert found.statuses["Completed"] == 5


def test_a_search_since_a_day_ends_with_it() -> None:
    """A list of old jobs is not looked through to its end for new ones."""
    one = Known(
        is_mine=True,
        name="Tank",
        state=State.DRAFT,
        tag="",
        analysis="Open",
        verdict=None,
        is_gone=False,
    )
    with tables() as conn, mock.patch.object(rows, "SCAN_MOST", 5):
        viewer, every = made(conn, [one] * 40)
        for newest_first in (True, False):
            page = rows.page(
                conn,
                viewer.id,
                RowFilter(since=START + timedelta(hours=37)),
                Position(),
                owner_id=None,
                newest_first=newest_first,
                size=10,
            )
            shown = sorted(entry.job_id for entry in page.entries)
            assert shown == sorted(one.job_id for one in every[:3])
            assert (page.after, page.count, page.is_exact) == (None, 3, True)


def test_what_a_clock_set_back_has_made_older_is_found_still() -> None:
    one = Known(
        is_mine=True,
        name="Tank",
        state=State.DRAFT,
        tag="",
        analysis="Open",
        verdict=None,
        is_gone=False,
    )
    with tables() as conn:
        viewer, every = made(conn, [one] * 8)
        early = every[0].job_id
        conn.execute(update(jobs_table).where(jobs_table.c.id == early).values(created_at=START))
        found = rows.page(
            conn,
            viewer.id,
            RowFilter(since=START),
            Position(),
            owner_id=None,
            newest_first=True,
            size=10,
        )
        assert len(found.entries) == 8


# --- sparklines -----------------------------------------------------------------------------------


def series(key: str, y: list[float], *, is_log: bool = True) -> Series:
    return Series(key, key, "residuals", "", is_log, list(map(float, range(len(y)))), y)


def test_a_spark_is_the_residual_of_the_pressure() -> None:
    every = [
        series("forces/Cd", [1.0], is_log=False),
        series("residuals/Ux", [0.5, 0.1]),
        series("residuals/p", [1.0, 0.01, 0.0, math.nan, math.inf]),
    ]
    assert spark_of(every) == Spark("residuals/p", True, (0.0, -2.0, None, None, None))
    assert spark_of(every[:2]) == Spark("residuals/Ux", True, (-0.301, -1.0))
    assert spark_of(every[:1]) == Spark("forces/Cd", False, (1.0,))
    assert spark_of([]) is None
    assert spark_of([series("residuals/p", [])]) is None


@pytest.mark.parametrize("count", [1, 39, 40, 41, 1000])
def test_a_spark_has_few_points(count: int) -> None:
    spark = spark_of([series("residuals/p", [10.0**-n for n in itertools.repeat(3, count)])])
    assert spark is not None
    assert 0 < len(spark.points) <= 40
    assert set(spark.points) == {-3.0}
