"""The stream of events without a server: what is told to whom, and what a slow reader is left."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, text

from simyard.api import events as stream
from simyard.api.events import Event, Stream, Telling, Topics, merged
from simyard.domain.jobs import JobDefinition
from simyard.domain.users import Role, User
from simyard.service import journal
from simyard.service.journal import News
from simyard.store import events, jobs, upgrade, users
from simyard.store.database import Database, Transaction
from simyard.store.events import Entry
from simyard.store.schema import events as table

NOW = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
EVERYTHING = 1 << 62


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=lambda: NOW)
    upgrade.upgrade(made.engine)
    made.start()
    yield made
    made.close()


def new_user(tx: Transaction, email: str) -> User:
    return users.insert(tx.conn, email=email, full_name="", role=Role.MEMBER, now=tx.now())


def new_job(tx: Transaction, owner: User, name: str) -> jobs.Job:
    job = jobs.insert(
        tx.conn,
        owner=owner,
        definition=JobDefinition(name=name, analyses=()),
        analysis_names=(),
        notices=(),
        storage_bytes=0,
        now=tx.now(),
    )
    events.append(tx.conn, [Entry("job.created", tx.now(), job.id)])
    return job


def write(tx: Transaction, *entries: Entry) -> None:
    events.append(tx.conn, entries)


# --- what the journal gives -----------------------------------------------------------------------


def test_who_sees_a_job_now_may_know_what_was_before(database: Database) -> None:
    ada, eve = (database.write(new_user, f"{name}@x.example") for name in ("ada", "eve"))
    job = database.write(new_job, ada, "A wing")
    (news,) = database.read(journal.between, 0, EVERYTHING)
    assert (news.job, news.job_name, news.viewers) == (job.code, "A wing", {ada.id})
    database.write(lambda tx: jobs.share(tx.conn, job, eve.id))
    assert database.read(journal.between, 0, EVERYTHING)[0].viewers == {ada.id, eve.id}
    database.write(lambda tx: jobs.unshare(tx.conn, job, eve.id))
    assert database.read(journal.between, 0, EVERYTHING)[0].viewers == {ada.id}


def test_who_got_the_number_of_a_deleted_job_hears_nothing_of_it(database: Database) -> None:
    """SQLite gives the highest number again once its row is gone."""
    ada, eve = (database.write(new_user, f"{name}@x.example") for name in ("ada", "eve"))
    old = database.write(new_job, ada, "secret")
    database.write(write, Entry("job.state", NOW, old.id, None, {"status": "Pending"}))
    database.write(lambda tx: jobs.delete_job(tx.conn, old, now=NOW))
    gone = {"code": old.code, "viewers": [ada.id]}
    database.write(write, Entry("job.deleted", NOW, old.id, None, gone))
    new = database.write(new_job, eve, "another")
    assert new.id == old.id
    found = database.read(journal.between, 0, EVERYTHING)
    assert [news.kind for news in found] == [
        "job.created",
        "job.state",
        "job.deleted",
        "job.created",
    ]
    assert [news.audience for news in found] == [set(), set(), {ada.id}, {eve.id}]
    assert [news.job for news in found] == ["", "", old.code, new.code]
    assert [event_for(news, eve) is not None for news in found] == [False, False, False, True]
    assert [event_for(news, ada) is not None for news in found] == [False, False, True, False]


def test_the_journal_is_read_in_parts(database: Database) -> None:
    kinds = [f"k{i}" for i in range(journal.AT_ONCE + 7)]
    database.write(write, *(Entry(kind, NOW) for kind in kinds))
    first = database.read(journal.between, 0, EVERYTHING)
    rest = database.read(journal.between, first[-1].id, EVERYTHING)
    assert [news.kind for news in first + rest] == kinds
    assert [news.id for news in database.read(journal.between, 3, 5)] == [4, 5]


def test_when_one_can_go_on(database: Database) -> None:
    def can(after: int, upto: int, now: datetime = NOW) -> bool:
        return database.read(journal.can_go_on, after, upto, now)

    assert can(0, 0) and not can(1, 0)  # an empty journal
    database.write(write, *(Entry("x", NOW) for _ in range(12)))
    assert can(0, 12) and can(11, 12) and can(12, 12) and not can(13, 12)
    hour = journal.LONGEST_AWAY
    assert can(5, 12, NOW + hour)
    assert not can(5, 12, NOW + hour + timedelta(seconds=1))
    assert can(12, 12, NOW + 100 * hour)  # nothing happened meanwhile
    database.write(lambda tx: tx.conn.execute(delete(table).where(table.c.id < 7)))
    assert can(6, 12) and not can(5, 12)
    assert not can(12, 12 + journal.MOST_MISSED + 1)


def test_old_entries_go_and_their_ids_never_come_again(database: Database) -> None:
    database.write(write, *(Entry("x", NOW) for _ in range(5)))
    database.write(lambda tx: events.prune(tx.conn, before=NOW + timedelta(days=1)))
    assert database.read(events.newest) == 5
    assert database.read(events.first_after, 0) == (5, NOW)
    database.write(write, Entry("y", NOW))
    assert [news.id for news in database.read(journal.between, 0, EVERYTHING)] == [5, 6]


def test_the_journal_is_pruned_up_to_the_first_young_entry(database: Database) -> None:
    ages = (3, 2, 0, 2, 0)
    database.write(write, *(Entry("x", NOW - timedelta(days=age)) for age in ages))
    database.write(lambda tx: events.prune(tx.conn, before=NOW - timedelta(days=1)))
    assert [news.id for news in database.read(journal.between, 0, EVERYTHING)] == [3, 4, 5]
    database.write(lambda tx: events.prune(tx.conn, before=NOW - timedelta(days=1)))
    assert [news.id for news in database.read(journal.between, 0, EVERYTHING)] == [3, 4, 5]


def test_reading_and_pruning_follow_the_ids(database: Database) -> None:
    def plan(conn: Connection, statement: Any) -> str:
        sql = str(statement.compile(conn.engine))
        return str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?")).all())

    for query in (events._BETWEEN, events._FIRST, events._CREATIONS):
        assert "SEARCH events USING INTEGER PRIMARY KEY (rowid>?" in database.read(plan, query)
    pruning = database.read(plan, events._PRUNE)
    assert "SEARCH events USING INTEGER PRIMARY KEY (rowid<?" in pruning
    assert "USE TEMP B-TREE" not in pruning  # it reads no further than it removes


def test_a_commit_is_told_once_its_callers_know(database: Database) -> None:
    heard: list[int] = []
    database.on_commit(lambda: heard.append(database.commits))
    database.write(write, Entry("x", NOW))
    database.write(lambda tx: tx.conn.execute(text("SELECT 1")))
    database.close()
    assert heard == [1, 2]


# --- what is told ---------------------------------------------------------------------------------

ADA = User(id=1, code="AAAAA", email="ada@x.example", full_name="", role=Role.MEMBER)
EVE = User(id=2, code="EEEEE", email="eve@x.example", full_name="", role=Role.MEMBER)


def news(kind: str, entry_id: int = 1, job: str = "hTrNa", **changes: Any) -> News:
    fields: dict[str, Any] = {
        "id": entry_id,
        "at": NOW,
        "kind": kind,
        "job": job,
        "job_name": "A wing",
        "run": None,
        "data": {},
        "viewers": frozenset({ADA.id}),
        "parted": frozenset(),
        **changes,
    }
    return News(**fields)


def event_for(news: News, user: User) -> Event | None:
    return Telling(news).to(user)


def told(news: News, user: User) -> tuple[str, dict[str, Any]] | None:
    event = event_for(news, user)
    return (event.name, dict(event.data)) if event else None


AT = "2026-03-02T09:15:00.000000Z"


def test_words() -> None:
    words = {"state": "running", "status": "Executing", "clusterStatus": "Started", "reason": None}
    job = {"id": "hTrNa", "name": "A wing", "at": AT}
    assert told(news("job.state", data=words), ADA) == (
        "job",
        {**job, "status": "Executing", "clusterStatus": "Started"},
    )
    assert told(news("job.state", data={**words, "reason": "Killed"}), ADA) == (
        "job",
        {**job, "status": "Executing", "clusterStatus": "Started", "reason": "Killed"},
    )
    assert told(news("job.changed"), ADA) == ("job", job)
    run = {"job": "hTrNa", "run": "3", "at": AT}
    assert told(news("run.state", run=3, data={"state": "queued"}), ADA) == (
        "run",
        {**run, "state": "queued"},
    )
    assert told(news("run.files", run=3, data={"count": 2, "bytes": 9}), ADA) == (
        "files",
        {**run, "count": 2, "bytes": 9},
    )


def test_notices() -> None:
    both = frozenset({ADA.id, EVE.id})
    share = {"by": ADA.email, "with": EVE.email, "message": "look"}
    shared = news("job.shared", data=share, viewers=both)
    assert told(shared, ADA) == ("job", {"id": "hTrNa", "name": "A wing", "at": AT})
    notice = {"kind": "shared", "id": "hTrNa", "at": AT, "by": ADA.email, "message": "look"}
    assert told(shared, EVE) == ("notice", notice)
    # He sees it no more: he is not told that he did.
    assert told(news("job.shared", data=share), EVE) is None
    unshared = news("job.unshared", parted=frozenset({EVE.id}), data={"with": EVE.email})
    assert told(unshared, EVE) == ("notice", {"kind": "unshared", "id": "hTrNa", "at": AT})
    assert told(unshared, ADA) == ("job", {"id": "hTrNa", "name": "A wing", "at": AT})
    deleted = news("job.deleted", viewers=frozenset(), parted=both)
    assert told(deleted, ADA) == ("notice", {"kind": "deleted", "id": "hTrNa", "at": AT})


@pytest.mark.parametrize("asked", [None, "", "jobs", "jobs,uploads,admin", "nonsense, jobs"])
def test_topics_of_all_jobs(asked: str | None) -> None:
    assert "hTrNa" in Topics.parse(asked)


def test_topics_of_single_jobs() -> None:
    topics = Topics.parse("job:hTrNa,job:xxxxx,study:1,job:")
    assert "hTrNa" in topics and "xxxxx" in topics and "other" not in topics
    assert "hTrNa" not in Topics.parse("uploads,admin")


def test_topics_of_uploads_and_studies() -> None:
    upload = Event(1, "upload", "", ("upload", "u"), {})
    study = Event(2, "study", "hTrNa", ("study", "hTrNa"), {})
    run = Event(3, "run", "hTrNa", ("run", "hTrNa", 1), {})

    def wanted(asked: str) -> list[str]:
        topics = Topics.parse(asked)
        return [event.name for event in (upload, study, run) if topics.want(event)]

    assert wanted("") == wanted("jobs") == wanted("job:hTrNa") == ["study", "run"]
    assert wanted("study:hTrNa") == ["study"]
    assert wanted("study:other,job:other,admin") == []
    assert wanted("uploads") == ["upload"]
    assert wanted("uploads,jobs") == ["upload", "study", "run"]


# --- slow readers ---------------------------------------------------------------------------------

ENTRIES = st.lists(
    st.tuples(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.integers()))
)


@given(ENTRIES)
def test_merged_events_bring_a_reader_to_the_same_end(sent: list[tuple[str, Any]]) -> None:
    every = [Event(i, "job", job, (job,), data) for i, (job, data) in enumerate(sent)]

    def seen(events: list[Event]) -> dict[str, dict[str, int]]:
        rows: dict[str, dict[str, int]] = {}
        for event in events:
            rows.setdefault(event.job, {}).update(event.data)
        return rows

    left = merged(every)
    assert seen(left) == seen(every)
    assert len(left) == len({event.key for event in every})
    assert [event.id for event in left] == sorted(event.id for event in left)
    assert not every or left[-1].id == every[-1].id  # nothing is asked for twice afterwards


def a_stream(topics: str | None = None) -> Stream:
    hub: Any = SimpleNamespace(epoch="e")
    return Stream(hub, EVE, Topics.parse(topics), None)


def state(entry_id: int, job: str) -> Event:
    event = event_for(news("job.state", entry_id, job, viewers=frozenset({EVE.id})), EVE)
    assert event is not None
    return event


def test_a_reader_that_keeps_up_gets_every_step() -> None:
    reader = a_stream()
    for i in range(stream.QUEUE_MOST):
        reader.tell(state(i, "same"))
    assert [event.id for event in reader._queue] == list(range(stream.QUEUE_MOST))


def test_a_slow_reader_gets_the_newest_of_each_job() -> None:
    reader = a_stream()
    for i in range(10_000):
        reader.tell(state(i, f"job{i % 100}"))
    assert len(reader._queue) <= stream.QUEUE_MOST
    newest = {event.job: event.id for event in reader._queue}
    assert newest == {f"job{i % 100}": i for i in range(9_900, 10_000)}


def test_a_reader_that_is_too_slow_is_told_to_look_again() -> None:
    reader = a_stream()
    for i in range(stream.QUEUE_MOST + 1):
        reader.tell(state(i, f"job{i}"))
    assert [(e.name, e.id) for e in reader._queue] == [("reset", stream.QUEUE_MOST)]
    reader.tell(state(1000, "x"))
    assert [e.name for e in reader._queue] == ["reset", "job"]


def test_what_waits_of_a_job_goes_with_the_right_to_see_it() -> None:
    reader = a_stream()
    reader.tell(state(1, "a"))
    reader.tell(state(2, "b"))
    gone = event_for(
        news("job.unshared", 3, "a", viewers=frozenset(), parted=frozenset({EVE.id})), EVE
    )
    assert gone is not None
    reader.tell(gone)
    assert [(e.name, e.job) for e in reader._queue] == [("job", "b"), ("notice", "a")]


def test_what_is_not_asked_for_does_not_wait() -> None:
    reader = a_stream("job:a")
    reader.tell(state(1, "a"))
    reader.tell(state(2, "b"))
    assert [e.job for e in reader._queue] == ["a"]
