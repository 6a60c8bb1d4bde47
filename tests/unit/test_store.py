"""The database: one writer for many callers, lists that stay flat, migrations."""

import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, func, select

from simyard.domain.errors import NotFound, StorageFull, Unavailable
from simyard.domain.jobs import InputFile, JobFilter, Phase
from simyard.domain.runs import Run
from simyard.domain.trees import Entry as File
from simyard.domain.trees import Tree, Wanted
from simyard.domain.users import Role
from simyard.service.trees import TreeBook
from simyard.store import events, files, jobs, listing, runs, upgrade, users
from simyard.store.database import Database, Transaction
from simyard.store.events import Entry
from simyard.store.files import NewOutput
from simyard.store.schema import events as events_table
from simyard.store.schema import list_chunks, metadata

START = datetime(2026, 3, 2, tzinfo=UTC)


class Ticking:
    """A clock that moves on by a microsecond each time."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        self.at += timedelta(microseconds=1)
        return self.at


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=Ticking())
    upgrade.upgrade(made.engine)
    made.start()
    yield made
    made.close()


def add(tx: Transaction, kind: str) -> str:
    events.append(tx.conn, [Entry(kind, tx.now())])
    return kind


def kinds(conn: Connection) -> list[str]:
    return list(conn.scalars(select(events_table.c.kind).order_by(events_table.c.id)))


# --- the writer -----------------------------------------------------------------------------------


def test_many_callers_share_commits_and_all_is_written(database: Database) -> None:
    names = [f"n{n}" for n in range(400)]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(lambda name: database.write(add, name), names)) == names
    assert sorted(database.read(kinds)) == sorted(names)
    assert database.writes == 400
    assert database.commits < 200


def test_one_callers_failure_is_his_own(database: Database) -> None:
    def bad(tx: Transaction, name: str) -> None:
        add(tx, name)
        raise NotFound

    def call(n: int) -> str:
        if n % 3:
            return database.write(add, f"good{n}")
        with pytest.raises(NotFound):
            database.write(bad, f"bad{n}")
        return ""

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(90)))
    found = database.read(kinds)
    assert len(found) == 60 and all(kind.startswith("good") for kind in found)


def test_a_constraint_fails_for_its_caller_only(database: Database) -> None:
    def user(tx: Transaction, email: str) -> None:
        users.insert(tx.conn, email=email, full_name="", role=Role.MEMBER, now=tx.now())

    def call(n: int) -> bool:
        try:
            database.write(user, "same@lab.example" if n % 2 else f"{n}@lab.example")
        except Exception:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(call, range(40))) == 21


def test_hooks_run_after_the_commit_and_only_then(database: Database) -> None:
    seen: list[int] = []

    def work(tx: Transaction, fail: bool) -> None:
        add(tx, "x")
        tx.after_commit(lambda: seen.append(len(database.read(kinds))))
        if fail:
            raise NotFound

    database.write(work, False)
    with pytest.raises(NotFound):
        database.write(work, True)
    assert seen == [1]


def test_a_hook_that_fails_takes_nothing_with_it(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise OSError("no room")

    def work(tx: Transaction) -> None:
        add(tx, "x")
        tx.after_commit(refuse)

    database.on_commit(refuse)
    for number in (1, 2):
        database.write(work)
        assert len(database.read(kinds)) == number
    assert "no room" in caplog.text


def test_a_crash_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """What `write` returned for is there, whoever opens the files as they lie."""
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=Ticking())
    upgrade.upgrade(database.engine)
    database.start()
    for n in range(5):
        database.write(add, f"n{n}")
        copy = tmp_path / f"copy{n}"
        copy.mkdir()
        for path in tmp_path.glob("test.db*"):
            (copy / path.name).write_bytes(path.read_bytes())
        other = sqlite3.connect(copy / "test.db")
        assert [k for (k,) in other.execute("SELECT kind FROM events")] == [
            f"n{i}" for i in range(n + 1)
        ]
        other.close()
    database.close()


def test_another_process_may_write_in_between(database: Database, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "test.db", timeout=10, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Event()
    thread = threading.Thread(target=lambda: (database.write(add, "waits"), done.set()))
    thread.start()
    time.sleep(0.2)
    assert not done.is_set()
    other.execute("COMMIT")
    other.close()
    thread.join()
    assert database.read(kinds) == ["waits"]


def test_a_full_disk_is_told_and_passes(database: Database) -> None:
    """SQLite itself refuses to grow: what it says of a full disk."""

    def fill(tx: Transaction) -> None:
        pages = tx.conn.exec_driver_sql("PRAGMA page_count").scalar()
        tx.conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for _ in range(5000):
            events.append(tx.conn, [Entry("x" * 32, tx.now(), data={"text": "y" * 500})])

    with pytest.raises(StorageFull):
        database.write(fill)

    def grow(tx: Transaction) -> None:
        tx.conn.exec_driver_sql("PRAGMA max_page_count = 1000000")

    database.write(grow)
    database.write(add, "after")
    assert database.read(kinds) == ["after"]


def test_nothing_is_accepted_after_the_end(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=Ticking())
    upgrade.upgrade(database.engine)
    with pytest.raises(Unavailable):
        database.write(add, "early")
    database.start()
    database.close()
    database.close()
    with pytest.raises(Unavailable):
        database.write(add, "late")


def test_the_promises_of_the_connection(database: Database) -> None:
    def pragmas(conn: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert database.read(pragmas) == ["wal", 2, 1]


# --- lists ----------------------------------------------------------------------------------------

CHANGES = st.lists(
    st.one_of(st.integers(1, 2500), st.floats(0, 1, exclude_max=True)), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(changes=CHANGES, offsets=st.lists(st.integers(0, 9000), min_size=1, max_size=6))
def test_a_list_against_a_plain_one(changes: list[int | float], offsets: list[int]) -> None:
    """Numbers append so many entries, fractions remove the entry at that part of the list."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine, tables=[metadata.tables["list_heads"], list_chunks])
    model: list[int] = []
    with engine.connect() as conn:
        for change in changes:
            if isinstance(change, int):
                first = listing.append(conn, "l", change)
                model += range(first, first + change)
            elif model:
                ordinal = model.pop(int(change * len(model)))
                listing.remove(conn, "l", ordinal)
        assert listing.total(conn, "l") == len(model)
        assert conn.scalar(select(func.sum(list_chunks.c.total))) == (len(model) or 0) or not model
        for offset in offsets:
            for newest_first in (False, True):
                place = listing.place(conn, "l", offset, newest_first=newest_first)
                ordered = model[::-1] if newest_first else model
                if offset >= len(model):
                    assert place is None
                    continue
                assert place is not None and place.skip < listing.CHUNK
                behind = [
                    o
                    for o in ordered
                    if (o <= place.ordinal if newest_first else o >= place.ordinal)
                ]
                assert behind[place.skip] == ordered[offset]
    engine.dispose()


def test_entries_that_come_to_several_lists_at_once() -> None:
    engine = create_engine("sqlite://")
    metadata.create_all(engine, tables=[metadata.tables["list_heads"], list_chunks])
    with engine.connect() as conn:
        assert listing.append(conn, "old", 999) == 0
        assert listing.append_to_all(conn, ["old", "new"], 1002) == [999, 0]
        assert listing.append_to_all(conn, ["new", "old"], 1) == [1002, 2001]
        assert (listing.total(conn, "old"), listing.total(conn, "new")) == (2002, 1003)
        chunks = conn.execute(select(list_chunks).order_by(list_chunks.c.list, list_chunks.c.chunk))
        assert [tuple(row) for row in chunks] == [
            *(("new", 0, 1000), ("new", 1, 3)),
            *(("old", 0, 1000), ("old", 1, 1000), ("old", 2, 2)),
        ]
    engine.dispose()


# --- the shape ------------------------------------------------------------------------------------


def shape(path: Path) -> dict[str, set[str]]:
    """Tables and indexes with the words of their definitions."""
    conn = sqlite3.connect(path)
    rows = conn.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    conn.close()
    return {
        name: {word.strip('"') for word in sql.replace("(", " ( ").replace(",", " ").split()}
        for name, sql in rows
    }


def test_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    made = create_engine(f"sqlite:///{tmp_path / 'made.db'}", isolation_level="AUTOCOMMIT")
    upgrade.upgrade(made)
    upgrade.upgrade(made)
    migrated = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}", isolation_level="AUTOCOMMIT")
    upgrade._migrate(migrated)
    made.dispose()
    migrated.dispose()
    assert shape(tmp_path / "made.db") == shape(tmp_path / "migrated.db")


REBUILD = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9000", "{head}", None, None
def upgrade():
    {breaking}
    with op.batch_alter_table("users") as batch:
        batch.alter_column("full_name", existing_type=sa.Text(), nullable=True)
"""


@pytest.mark.parametrize("breaking", ["pass", 'op.execute("DELETE FROM users")'])
def test_a_migration_may_rebuild_a_table_that_others_refer_to(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaking: str
) -> None:
    """And what refers to nothing afterwards is noticed."""
    with database.engine.connect() as conn:
        conn.exec_driver_sql(
            "INSERT INTO users SELECT 77, 'x@y', '', 'abcde', 'member', '2026', NULL"
        )
        conn.exec_driver_sql("INSERT INTO idempotency SELECT 77, 'k', 'f', 'job', 'c', '2026'")
    migrations = tmp_path / "migrations"
    shutil.copytree(Path(upgrade.__file__).parent / "migrations", migrations)
    text = REBUILD.format(head=upgrade.HEAD, breaking=breaking)
    (migrations / "versions" / "9000_rebuild.py").write_text(text)
    monkeypatch.setattr(upgrade, "__file__", str(tmp_path / "upgrade.py"))
    monkeypatch.setattr(upgrade, "HEAD", "9000")
    if breaking == "pass":
        upgrade.upgrade(database.engine)
        with database.engine.connect() as conn:
            assert conn.exec_driver_sql("SELECT id FROM users").scalar() == 77
            assert conn.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    else:
        with pytest.raises(RuntimeError, match="refers to rows that are not there"):
            upgrade.upgrade(database.engine)
        with database.engine.connect() as conn:  # and nothing of it was done
            assert conn.exec_driver_sql("SELECT id FROM users").scalar() == 77
            version = conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            assert version != "9000"


def test_the_head_is_the_newest_migration() -> None:
    folder = Path(upgrade.__file__).parent / "migrations" / "versions"
    assert max(path.name.split("_")[0] for path in folder.glob("[0-9]*.py")) == upgrade.HEAD


def test_a_database_of_a_newer_release(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", isolation_level="AUTOCOMMIT")
    upgrade.upgrade(engine)
    with engine.connect() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(upgrade.TooNew):
        upgrade.upgrade(engine)
    engine.dispose()


# --- a database of the first release --------------------------------------------------------------

# As that release wrote it.
DEFINITION = (
    '{"name":"A job","analyses":[{"code":"openfoam","version":null,"command":"true","hardware":{'
    '"core_type":"emerald","cores_per_slot":1,"slots":1,"walltime_hours":null,"type":"compute"},'
    '"input_files":[{"code":"Input0","decompress":false}],"env_vars":null,"use_mpi":false,'
    '"use_rescale_license":false,"flags":{},"pre_script":null,"pre_command":"",'
    '"post_script":null,"post_command":""}],"low_priority":false,"resource_filters":[],'
    '"project_id":null}'
)
ENDING = '{"cause":"exited","exit_code":0,"step":"","message":""}'
STATES = {"Draft": "draft", "Close": "closed", "Compl": "completed", "Runni": "running"}
OUTPUTS = {1: 1500, 2: 700}  # of the closed job's runs


@pytest.fixture
def first_release(tmp_path: Path) -> Iterator[Database]:
    """Two users; one has a job in every sort of state, and lists whose numbers go beyond a chunk;
    the other sees one of them.
    """
    from alembic import command
    from alembic.config import Config

    database = Database(f"sqlite:///{tmp_path / 'old.db'}", clock=Ticking())
    config = Config()
    folder = Path(upgrade.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    with database.engine.connect() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")
    with closing(sqlite3.connect(tmp_path / "old.db")) as old, old:
        put = old.executemany
        people = [(1, "ada"), (2, "bob")]
        put("INSERT INTO users VALUES (?1, ?2, ?2 || '@lab.example', ?2, 'member', 1)", people)
        old.execute("INSERT INTO blobs VALUES (1, 'k', x'00', 2, '', '', 1)")
        put(
            "INSERT INTO jobs VALUES (?, ?, 1, 'A job', ?, '[]', '[]', ?, ?, '', 0, 1, 1)",
            [
                (n, code, DEFINITION.encode(), state, "" if state == "draft" else "Completed")
                for n, (code, state) in enumerate(STATES.items(), start=1)
            ],
        )
        views = [(1, 0, 1), (1, 2, 2), (1, 999, 3), (1, 1005, 4), (2, 7, 2)]
        put("INSERT INTO job_views VALUES (?, ?, ?)", views)
        put(
            "INSERT INTO runs VALUES (?, 2, ?, 'closed', 0, 1, NULL, 1, 2, ?, ?, ?)",
            [(run, run, count, 2 * count, ENDING) for run, count in OUTPUTS.items()],
        )
        old.execute("INSERT INTO runs VALUES (9, 4, 1, 'running', 0, 1, 't', 1, NULL, 0, 0, NULL)")
        of_run = [run for run, count in OUTPUTS.items() for _ in range(count)]
        row = "(?, ?, 1, ?, ?, ?, ?, 1, ?, ?, ?, '', 1)"
        put(
            f"INSERT INTO files VALUES {row}",
            [(n, f"Input{n}", n, None, None, None, 1, "in", "in") for n in range(3)]
            + [
                (n + 3, f"O{n}", n + 3, 2, run, n, 5, str(n), f"d/{n}")
                for n, run in enumerate(of_run)
            ],
        )
        old.execute("INSERT INTO job_inputs VALUES (1, 0)")
        heads = {
            "jobs:1": (1006, 4),
            "jobs:2": (8, 1),
            "files:1": (2203, 2203),
            "outputs:2": (2200,) * 2,
        }
        put("INSERT INTO list_heads VALUES (?, ?, ?)", [(k, *v) for k, v in heads.items()])
        chunks = [("jobs:1", 0, 3), ("jobs:1", 1, 1), ("jobs:2", 0, 1)]
        for name, count in (("files:1", 2203), ("outputs:2", 2200)):
            chunks += [(name, n, min(1000, count - 1000 * n)) for n in range(3)]
        put("INSERT INTO list_chunks VALUES (?, ?, ?)", chunks)
    yield database
    database.close()


ODD = ("top", "d0", "d0/n", "d.x/y", "d/e/f", "d/é/😀", "d/~", "d!/z", "D/1", "x/d/1", "d /w")


def test_the_tree_of_a_run_by_folders(first_release: Database) -> None:
    """What is looked up folder by folder is what the list has, and by the index of paths."""
    upgrade.upgrade(first_release.engine)
    first_release.start()

    def fill(tx: Transaction) -> Run:
        run = runs.by_number(tx.conn, 2, 2)
        assert run is not None
        new = [
            NewOutput(path, "", 1, 2, modified_at=START + timedelta(n))
            for n, path in enumerate(ODD)
        ]
        files.add_outputs(tx.conn, owner_id=1, run=run, outputs=new, now=tx.now())
        gone = files.output_at(tx.conn, run, "d/~")
        assert gone is not None
        files.trash(tx.conn, gone, now=tx.now())
        assert files.output_at(tx.conn, run, "d/~") is None
        return run

    run = first_release.write(fill)
    found = first_release.read(files.outputs_of_run, 2, 2)
    whole = Tree(
        File(
            file.relative_path,
            file.blob.size_bytes,
            int((file.modified_at or file.uploaded_at).timestamp() * 1e6),
            file.code,
        )
        for file in found
    )
    site: Any = SimpleNamespace(db=first_release)
    book = TreeBook(site)
    assert book.known(run, Wanted()) is None
    assert book.page(run, Wanted()) == book.known(run, Wanted())
    assert book.known(run, Wanted(prefix="d/")) is None
    tree = book._stored(run)
    below = [""]
    for prefix in below:
        page = tree.page(Wanted(prefix=prefix))
        assert page == whole.page(Wanted(prefix=prefix))
        below += [f"{prefix}{name}/" for name, _ in page.folders]
    assert len(below) == 11
    assert tree.page(Wanted(pattern="n")) == whole.page(Wanted(pattern="n"))
    with first_release.engine.connect() as conn:
        for statement, columns in ((files._OF_RUN, "path=?"), (files._IN_FOLDER, "path>?")):
            sql = statement._compiled(conn, {})._sql
            plan = conn.connection.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * sql.count("?"))
            steps = [row[3] for row in plan]
            assert re.search(rf"ix_files_of_run \(.*{re.escape(columns)}", steps[0]), steps
            assert not any("SORT" in step or "B-TREE" in step for step in steps)


def codes_of(conn: Connection, viewer: int, phase: Phase | None = None) -> list[str]:
    """All pages of a list of jobs, one job each."""
    count = jobs.page(conn, viewer, JobFilter(phase=phase), offset=0, size=1).count
    found = [
        jobs.page(conn, viewer, JobFilter(phase=phase), offset=at, size=1) for at in range(count)
    ]
    assert jobs.page(conn, viewer, JobFilter(phase=phase), offset=count, size=1).items == []
    return [one.code for page in found for one in page.items]


def outputs_of(conn: Connection, run: int, size: int) -> list[str]:
    found: list[str] = []
    while page := files.page_of_run(conn, 2, run, offset=len(found), size=size).items:
        found += [file.code for file in page]
    assert files.page_of_run(conn, 2, run, offset=0, size=1).count == len(found)
    return found


def test_a_database_of_the_first_release(first_release: Database) -> None:
    """Its jobs and files are in all lists that are new, and its lists go on."""
    upgrade.upgrade(first_release.engine)
    upgrade.upgrade(first_release.engine)
    first_release.start()
    of_run = {1: [f"O{n}" for n in range(1500)], 2: [f"O{n}" for n in range(1500, 2200)]}

    def lists(conn: Connection) -> None:
        assert codes_of(conn, 1) == ["Runni", "Compl", "Close", "Draft"]
        assert codes_of(conn, 1, Phase.COMPLETED) == ["Compl", "Close"]
        assert codes_of(conn, 1, Phase.NOT_COMPLETED) == ["Runni", "Draft"]
        assert codes_of(conn, 2) == codes_of(conn, 2, Phase.COMPLETED) == ["Close"]
        assert codes_of(conn, 2, Phase.NOT_COMPLETED) == []
        for run, expected in of_run.items():
            for size in (300, 999, 2000):
                assert outputs_of(conn, run, size) == expected
        of_job = files.page_of_job(conn, 2, offset=1490, size=20)
        assert of_job.count == 2200
        assert [file.code for file in of_job.items] == [f"O{n}" for n in range(1490, 1510)]
        assert files.page_of_owner(conn, 1, offset=0, size=1).count == 2203
        library = files.page_of_library(conn, 1, None, offset=0, size=9)
        assert [file.code for file in library.items] == ["Input2", "Input1", "Input0"]
        assert files.page_of_trash(conn, 1, offset=0, size=9).count == 0
        (named,) = jobs.by_id(conn, 1).definition.analyses[0].input_files
        assert named == InputFile(code="Input0", decompress=False)
        assert users.by_id(conn, 2).is_active
        run = runs.by_number(conn, 2, 1)
        assert run is not None and (run.price_micros, run.ending is not None) == (0, True)

    first_release.read(lists)

    def goes_on(tx: Transaction) -> None:
        jobs.share(tx.conn, jobs.by_id(tx.conn, 3), 2)
        jobs.share(tx.conn, jobs.by_id(tx.conn, 4), 2)
        jobs.complete_views(tx.conn, [4])
        jobs.unshare(tx.conn, jobs.by_id(tx.conn, 2), 2)
        jobs.delete_job(tx.conn, jobs.by_id(tx.conn, 1), now=tx.now())
        run = runs.by_number(tx.conn, 2, 1)
        assert run is not None
        more = [NewOutput(f"snapshot{n}", "", 1, 2) for n in range(600)]
        files.add_outputs(tx.conn, owner_id=1, run=run, outputs=more, now=tx.now())
        for code in ("O1499", "O0", "O1500"):
            file = files.by_code(tx.conn, code)
            assert file is not None
            files.delete_file(tx.conn, file, now=tx.now())

    first_release.write(goes_on)

    def lists_then(conn: Connection) -> None:
        assert (
            codes_of(conn, 1) == codes_of(conn, 1, Phase.COMPLETED) == ["Runni", "Compl", "Close"]
        )
        assert codes_of(conn, 2) == codes_of(conn, 2, Phase.COMPLETED) == ["Runni", "Compl"]
        found = outputs_of(conn, 1, 700)
        assert found[:1498] == of_run[1][1:-1] and len(found) == 1498 + 600
        assert outputs_of(conn, 2, 700) == of_run[2][1:]
        assert files.page_of_job(conn, 2, offset=0, size=1).count == 2797
        assert files.page_of_owner(conn, 1, offset=0, size=1).count == 2800

    first_release.read(lists_then)
