"""Installations of any size for the benchmarks: real jobs, multiplied row by row.

A few jobs are created, stopped and run over HTTP. Then, with the server stopped, SQL copies every
row of every table that is about them; only numbers, codes, names, keys and times differ. The sums
that lists are found by (store/listing.py) are counted from the rows. That such counting gives
exactly what the product writes is checked on the product's own rows first.

The journal is not copied: no list reads it. Bytes of copied outputs are not there: no list reads
them either.
"""

import hashlib
import json
import os
import secrets
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Table

from rig import CORES, Http, Server, job, running, scratch, statuses
from simyard.blobs import keyring
from simyard.store.schema import Instant, files, job_views, jobs, metadata

NAME = "wing 0000000"  # the number is a copy's own
OUTPUT = "results/0000000.dat"
INPUT_FOLLOWS = 20  # uploads before the one that many jobs name: it is on no page that is measured
NAMING = 100  # every so many jobs name it
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Filled:
    """An installation of one owner: so many jobs, of which nine in ten are completed and the others
    drafts, and one that executes; one of the completed has so many outputs in its run.
    """

    server: Server
    jobs: int
    outputs: int
    big: str  # the job with the outputs
    named: str  # a file that a hundredth of the jobs name
    seconds: float  # that filling took
    start_seconds: float  # from starting the server on it to its first line

    @property
    def database(self) -> Path:
        return self.server.data / "simyard.db"


@contextmanager
def filled(job_count: int, output_count: int) -> Iterator[Filled]:
    with scratch() as folder:
        data = folder / "data"
        data.mkdir()
        with running(data) as server:
            made = _make(server.connect())
        began = time.perf_counter()
        _fill(data, made, job_count, output_count)
        filling = time.perf_counter() - began
        began = time.perf_counter()
        with running(data) as server:
            started = time.perf_counter() - began
            try:
                yield Filled(
                    server, job_count, output_count, made.big, made.named, filling, started
                )
            finally:
                http = server.connect()
                http.call("POST", f"/api/v2/jobs/{made.executing}/stop/")
                _wait(http, made.executing, "cluster_statuses", "Stopped")


def connect(database: Path) -> sqlite3.Connection:
    """As the product reads it."""
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA cache_size = -4000")
    return db


# --- what is multiplied ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    """Ids of what the product made."""

    big: str  # ran: its log and one output
    done: str  # stopped in the queue
    naming: str  # the same, and names an input
    draft: str
    executing: str
    named: str  # the input, a file


def _make(http: Http) -> _Made:
    uploads = [_upload(http, f"case{n}.dat", b"case") for n in range(INPUT_FOLLOWS + 1)]
    big = _new(http, f"mkdir results; echo 0 > {OUTPUT}")
    http.call("POST", f"/api/v2/jobs/{big}/submit/")
    _wait(http, big, "cluster_statuses", "Stopped")
    executing = _new(http, "sleep 7200", cores=CORES)
    http.call("POST", f"/api/v2/jobs/{executing}/submit/")
    _wait(http, executing, "statuses", "Executing")
    done, naming, draft = _new(http), _new(http, inputs=uploads[-1:]), _new(http)
    for job_id in (done, naming):
        http.call("POST", f"/api/v2/jobs/{job_id}/submit/")
        http.call("POST", f"/api/v2/jobs/{job_id}/stop/")
        _wait(http, job_id, "cluster_statuses", "Stopped")
    return _Made(big, done, naming, draft, executing, uploads[-1])


def _upload(http: Http, name: str, content: bytes) -> str:
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + b"\r\n--x--\r\n"
    sent = http.call("POST", "/api/v2/files/contents/", body, "multipart/form-data; boundary=x")
    return str(json.loads(sent)["id"])


def _new(http: Http, command: str = "true", cores: int = 1, inputs: list[str] | None = None) -> str:
    body = json.loads(job(command, cores))
    body["name"] = NAME
    body["jobanalyses"][0]["inputFiles"] = [{"id": file_id} for file_id in inputs or []]
    return str(json.loads(http.call("POST", "/api/v2/jobs/", json.dumps(body).encode()))["id"])


def _wait(http: Http, job_id: str, which: str, word: str) -> None:
    while True:
        found = http.get(f"/api/v2/jobs/{job_id}/{which}/")["results"]
        if found and found[0]["status"] == word:
            return
        assert which != "statuses" or statuses(http, job_id)[0]["status"] != "Completed", found
        time.sleep(0.05)


# --- multiplying ----------------------------------------------------------------------------------


def _fill(data: Path, made: _Made, job_count: int, output_count: int) -> None:
    path = data / "simyard.db"
    with closing(connect(path)) as db:
        heads, chunks = _sums(db)
        assert heads == {name: (ahead, n) for name, ahead, n in db.execute(_HEADS)}
        assert chunks == {(name, chunk): n for name, chunk, n in db.execute(_CHUNKS)}
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA temp_store = MEMORY")
        taken = {
            code for table in (jobs, files) for (code,) in db.execute(f"SELECT code FROM {table}")
        }
        db.create_function("code", 2, lambda n, count: _code(n, count, taken), deterministic=True)
        db.execute("BEGIN")
        _copy_jobs(db, made, job_count)
        _copy_outputs(db, data, made, output_count)
        heads, chunks = _sums(db)
        db.execute("DELETE FROM list_heads")
        db.execute("DELETE FROM list_chunks")
        rows = [(name, ahead, n) for name, (ahead, n) in heads.items()]
        db.executemany("INSERT INTO list_heads (list, next_ordinal, total) VALUES (?, ?, ?)", rows)
        rows = [(name, chunk, n) for (name, chunk), n in chunks.items()]
        db.executemany("INSERT INTO list_chunks (list, chunk, total) VALUES (?, ?, ?)", rows)
        db.execute("COMMIT")
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _code(n: int, count: int, taken: set[str]) -> str:
    """Letters that look random and that no other n has."""
    text, value = "", n * 0x9E3779B1 % 52**count  # odd and no multiple of 13: every n its own
    for _ in range(count):
        value, digit = divmod(value, 52)
        text += _LETTERS[digit]
    return text if text not in taken else _code(n + 10**8, count, taken)


def _id_of(db: sqlite3.Connection, code: str) -> int:
    (found,) = db.execute("SELECT id FROM jobs WHERE code = ?", (code,)).fetchone()
    return int(found)


def _copy_jobs(db: sqlite3.Connection, made: _Made, job_count: int) -> None:
    done, naming, draft = (_id_of(db, code) for code in (made.done, made.naming, made.draft))
    kinds = f"{done}, {naming}, {draft}"
    for nothing in (
        f"SELECT 1 FROM attempts JOIN runs ON runs.id = run_id WHERE job_id IN ({kinds})",
        f"SELECT 1 FROM files WHERE job_id IN ({kinds})",
        f"SELECT 1 FROM usage JOIN jobs ON jobs.code = usage.job WHERE jobs.id IN ({kinds})",
    ):
        assert db.execute(nothing).fetchone() is None, nothing
    there, last = db.execute("SELECT COUNT(*), MAX(id) FROM jobs").fetchone()
    (ahead,) = db.execute("SELECT MAX(ordinal) FROM job_views").fetchone()
    db.execute("CREATE TEMP TABLE copies (n INTEGER PRIMARY KEY, of INTEGER)")
    db.execute(
        f"{_NUMBERS} INSERT INTO copies SELECT n, CASE WHEN n % 10 = 9 THEN {draft}"
        f" WHEN n % {NAMING} = 50 THEN {naming} ELSE {done} END FROM numbers",
        (job_count - there,),
    )
    _copy(
        db,
        jobs,
        "id",
        id=f"{last} + c.n",
        code="code(c.n, 5)",
        name=_numbered("t.name"),
        definition=f"CAST({_numbered('CAST(t.definition AS TEXT)')} AS BLOB)",
    )
    for table in metadata.sorted_tables:
        column = next((c for c in table.columns if c.references(jobs.c.id)), None)
        if column is not None:
            changes = {column.name: f"{last} + c.n"}
            if table is job_views:
                changes["ordinal"] = f"{ahead} + c.n"
            _copy(db, table, column.name, **changes)


_NUMBERS = """WITH RECURSIVE numbers (n) AS
    (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"""


def _numbered(text: str) -> str:
    return f"REPLACE({text}, '{NAME}', PRINTF('wing %07d', c.n))"


def _copy(db: sqlite3.Connection, table: Table, key: str, **changes: str) -> None:
    """Copy rows whose key is a job that `copies` names. Rows are numbered anew, times move on by
    a microsecond a copy, and all else stays but for the changes.
    """
    names, values = [], []
    for column in table.columns:
        value = f"t.{column.name}"
        if isinstance(column.type, Instant):
            value += " + c.n"
        elif column.name == "id":
            value = "NULL"
        names.append(column.name)
        values.append(changes.get(column.name, value))
    order = ", t.id" if "id" in table.columns else ""
    db.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)}"
        f" FROM copies c CROSS JOIN {table} t ON t.{key} = c.of ORDER BY c.n{order}"
    )


def _copy_outputs(db: sqlite3.Connection, data: Path, made: _Made, output_count: int) -> None:
    """The last output of the big job's run becomes many, each with a blob of its own."""
    big = _id_of(db, made.big)
    template, there, last, newest = db.execute(
        "SELECT MAX(id), COUNT(*), (SELECT MAX(id) FROM blobs), (SELECT MAX(id) FROM files)"
        " FROM files WHERE job_id = ?",
        (big,),
    ).fetchone()
    assert template == newest  # so that it is the last in all lists
    copies = output_count - there
    day, at = db.execute(
        "SELECT SUBSTR(key, 1, 9), created_at FROM blobs WHERE id = ?", (last,)
    ).fetchone()
    ring = keyring.Keyring(keyring.parse((data / "master.key").read_text()))
    names = "id, key, wrapped_key, size_bytes, md5, sha512, created_at"
    places = "?, ?, ?, ?, ?, ?, ?"
    rows = _blobs(ring, last, day, at, copies)
    db.executemany(f"INSERT INTO blobs ({names}) VALUES ({places})", rows)
    db.execute("DELETE FROM copies")
    db.execute(f"{_NUMBERS} INSERT INTO copies SELECT n, {template} FROM numbers", (copies,))
    number = "PRINTF('%07d.dat', c.n)"
    _copy(
        db,
        files,
        "id",
        code="code(c.n, 6)",
        blob_id=f"{last} + c.n",
        **{name: f"t.{name} + c.n" for name in ("owner_ordinal", "job_ordinal", "run_ordinal")},
        **{
            name: f"REPLACE(t.{name}, '0000000.dat', {number})"
            for name in ("name", "relative_path", "storage_path")
        },
    )
    (size,) = db.execute("SELECT SUM(size_bytes) FROM blobs WHERE id > ?", (last,)).fetchone()
    db.execute(
        "UPDATE runs SET output_count = output_count + ?, output_bytes = output_bytes + ?"
        " WHERE job_id = ?",
        (copies, size, big),
    )
    db.execute("UPDATE jobs SET storage_bytes = storage_bytes + ? WHERE id = ?", (size, big))


def _blobs(
    ring: keyring.Keyring, last: int, day: str, at: int, count: int
) -> Iterator[tuple[Any, ...]]:
    for n in range(1, count + 1):
        key, content = f"{day}{uuid.uuid4().hex}", f"{n}\n".encode()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        sha512 = hashlib.sha512(content).hexdigest()
        wrapped = ring.wrap(secrets.token_bytes(32), key)
        yield last + n, key, wrapped, len(content), md5, sha512, at + n


# --- the sums of lists ----------------------------------------------------------------------------

_HEADS = "SELECT list, next_ordinal, total FROM list_heads"
_CHUNKS = "SELECT list, chunk, total FROM list_chunks WHERE total > 0"
# name, ordinal and source of every list
_LISTS = (
    ("'jobs:' || viewer_id", "ordinal", "job_views"),
    ("'done:' || viewer_id", "ordinal", "job_views WHERE completed"),
    ("'files:' || owner_id", "owner_ordinal", "files WHERE trashed_at IS NULL"),
    ("'outputs:' || job_id", "job_ordinal", "files WHERE job_id AND trashed_at IS NULL"),
    (
        "'outputs:' || job_id || ':' || run_number",
        "run_ordinal",
        "files WHERE job_id AND trashed_at IS NULL",
    ),
)


def _sums(
    db: sqlite3.Connection,
) -> tuple[dict[str, tuple[int, int]], dict[tuple[str, int], int]]:
    """Heads and chunks as they must be, counted."""
    heads: dict[str, tuple[int, int]] = {}
    chunks: dict[tuple[str, int], int] = {}
    for name, ordinal, source in _LISTS:
        query = f"SELECT {name}, {ordinal} / 1000, COUNT(*), MAX({ordinal}) FROM {source}"
        for found, chunk, count, last in db.execute(f"{query} GROUP BY 1, 2"):
            chunks[found, chunk] = count
            before = heads.get(found, (0, 0))
            # A part of another list gives no numbers of its own.
            ahead = 0 if found.startswith("done:") else max(before[0], last + 1)
            heads[found] = (ahead, before[1] + count)
    return heads, chunks


def check(database: Path) -> None:
    """The sums are those of the rows, whatever was done to the copies meanwhile."""
    with closing(connect(database)) as db:
        heads, chunks = _sums(db)
        told = {name: n for name, _, n in db.execute(_HEADS) if n}
        assert told == {name: n for name, (_, n) in heads.items()}
        assert chunks == {(name, chunk): n for name, chunk, n in db.execute(_CHUNKS)}
