"""P7: pages of lists at 1,000,000 jobs and 100,000 files, in turns with the same at 1,000. Beside
them: what a framework's usual way takes on the same database for the same page, COUNT(*) and
SELECT ... LIMIT ... OFFSET; the SQL alone, without a server around it.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from filling import NAMING, Filled, check, connect, filled
from rig import Table, percentile

JOBS, FILES = 1_000_000, 100_000
FEW = 1_000  # of both, to hold it against
REQUESTS = 300  # of each kind on each installation, after a tenth of it to warm up
MOST_SECONDS = 20.0  # for one kind: the searches that read everything are asked less often
PLAIN = 20  # of the SQL beside it
LEAST = 10  # of either, whatever time they take
PAGE = 10  # entries without page_size

P95_MS, RATIO = 50.0, 1.2


@dataclass(frozen=True)
class Plain:
    """A list as SQL without sums finds it. Both statements take the same condition."""

    rows: str
    count: str
    condition: str = ""
    counts_rows: bool = False  # the condition is on a table that only `rows` joins

    def run(self, db: sqlite3.Connection, owner: Any, page: int, size: int) -> list[Any]:
        count = self.rows if self.counts_rows else self.count
        if self.counts_rows:
            count = f"SELECT COUNT(*) FROM{count.split(' FROM', 1)[1].split(' ORDER', 1)[0]}"
        (total,) = db.execute(count.format(self.condition), (owner,)).fetchone()
        offset = ((total - 1) // size if page == LAST else page - 1) * size
        return db.execute(
            f"{self.rows.format(self.condition)} LIMIT ? OFFSET ?", (owner, size, offset)
        ).fetchall()


LAST = -1
_OF_VIEWER = Plain(
    "SELECT j.code, j.*, u.email FROM job_views v JOIN jobs j ON j.id = v.job_id"
    " JOIN users u ON u.id = j.owner_id WHERE v.viewer_id = ? {} ORDER BY v.ordinal DESC",
    "SELECT COUNT(*) FROM job_views v WHERE v.viewer_id = ? {}",
)
_FILE = (
    "SELECT f.code, f.*, b.*, u.email FROM files f JOIN blobs b ON b.id = f.blob_id"
    " JOIN users u ON u.id = f.owner_id"
)
_LISTED = "AND f.trashed_at IS NULL {}"
_OF_OWNER = Plain(
    f"{_FILE} WHERE f.owner_id = ? {_LISTED} ORDER BY f.owner_ordinal DESC",
    f"SELECT COUNT(*) FROM files f WHERE f.owner_id = ? {_LISTED}",
)
_OF_JOB = Plain(
    f"{_FILE} WHERE f.job_id = ? {_LISTED} ORDER BY f.job_ordinal",
    f"SELECT COUNT(*) FROM files f WHERE f.job_id = ? {_LISTED}",
)
_OF_RUN = Plain(
    f"{_FILE} WHERE f.job_id = ? AND f.run_number = 1 {_LISTED} ORDER BY f.run_ordinal",
    f"SELECT COUNT(*) FROM files f WHERE f.job_id = ? AND f.run_number = 1 {_LISTED}",
)


@dataclass(frozen=True)
class Case:
    what: str
    path: Callable[[Filled], str]
    plain: Plain | None = None
    page: int = 1  # of the large installation
    size: int = PAGE
    promised: bool = False


def _jobs(query: str = "") -> Callable[[Filled], str]:
    return lambda _: f"/api/v2/jobs/{query}"


def _files(query: str = "") -> Callable[[Filled], str]:
    return lambda _: f"/api/v2/files/{query}"


def _outputs(query: str = "") -> Callable[[Filled], str]:
    return lambda at: f"/api/v2/jobs/{at.big}/files/{query}"


def _run_files(query: str = "") -> Callable[[Filled], str]:
    return lambda at: f"/api/v2/jobs/{at.big}/runs/1/files/{query}"


def _middle(path: Callable[[str], Callable[[Filled], str]], files: bool) -> Callable[[Filled], str]:
    def at(installation: Filled) -> str:
        count = installation.outputs if files else installation.jobs
        return path(f"?page={count // PAGE // 2}")(installation)

    return at


def _where(plain: Plain, condition: str, *, counts_rows: bool = False) -> Plain:
    return Plain(plain.rows, plain.count, condition, counts_rows)


_DONE, _OPEN = _where(_OF_VIEWER, "AND v.completed"), _where(_OF_VIEWER, "AND NOT v.completed")
_NAMED = "AND j.name LIKE '%{}%'"
_JOB_PAGE, _FILE_PAGE = JOBS // PAGE // 2, FILES // PAGE // 2

CASES = (
    Case("jobs, first page", _jobs(), _OF_VIEWER, promised=True),
    Case("  a page in the middle", _middle(_jobs, files=False), _OF_VIEWER, _JOB_PAGE),
    Case("  the last page", _jobs("?page=last"), _OF_VIEWER, LAST),
    Case("  2,000 a page", _jobs("?page_size=2000"), _OF_VIEWER, size=2000),
    Case("  completed", _jobs("?state=completed"), _DONE, promised=True),
    Case("  not completed", _jobs("?state=not_completed"), _OPEN, promised=True),
    Case("    its last page", _jobs("?state=not_completed&page=last"), _OPEN, LAST),
    Case(
        "  executing: 1",
        _jobs("?job_status=EXECUTING"),
        _where(_OF_VIEWER, "AND j.status = 'Executing'", counts_rows=True),
    ),
    Case("  submitted, not completed: 1", _jobs("?t=1")),
    Case(
        "  search, all match",
        _jobs("?search=wing"),
        _where(_OF_VIEWER, _NAMED.format("wing"), counts_rows=True),
    ),
    Case(
        "  search, none matches",
        _jobs("?search=zebra"),
        _where(_OF_VIEWER, _NAMED.format("zebra"), counts_rows=True),
    ),
    Case("files of the owner, first page", _files(), _OF_OWNER, promised=True),
    Case("  a page in the middle", _middle(_files, files=True), _OF_OWNER, _FILE_PAGE),
    Case("  the last page", _files("?page=last"), _OF_OWNER, LAST),
    Case("  2,000 a page", _files("?page_size=2000"), _OF_OWNER, size=2000),
    Case("  of one type: all", _files("?type_id=5"), _where(_OF_OWNER, "AND f.type_id = 5")),
    Case("  of one type: 21", _files("?type_id=1"), _where(_OF_OWNER, "AND f.type_id = 1")),
    Case(
        "  search, all match",
        _files("?search=dat"),
        _where(_OF_OWNER, "AND f.name LIKE '%dat%'"),
    ),
    Case(
        "  search, none matches",
        _files("?search=zebra"),
        _where(_OF_OWNER, "AND f.name LIKE '%zebra%'"),
    ),
    Case("outputs of a job, first page", _outputs(), _OF_JOB, promised=True),
    Case("  the last page", _outputs("?page=last"), _OF_JOB, LAST),
    Case("outputs of a run, first page", _run_files(), _OF_RUN, promised=True),
    Case("  a page in the middle", _middle(_run_files, files=True), _OF_RUN, _FILE_PAGE),
    Case("  the last page", _run_files("?page=last"), _OF_RUN, LAST),
    Case("  2,000 a page", _run_files("?page_size=2000"), _OF_RUN, size=2000),
    Case(
        "  search, none matches",
        _run_files("?search=zebra"),
        _where(_OF_RUN, "AND f.relative_path LIKE '%zebra%'"),
    ),
    Case(
        f"a file that {JOBS // NAMING:,} jobs name",
        lambda at: f"/api/v2/files/{at.named}/",
    ),
)


# --- measuring ------------------------------------------------------------------------------------


class _Page:
    """A page that is asked for again and again."""

    def __init__(self, at: Filled, case: Case) -> None:
        self._server, self._path = at.server, case.path(at)
        self._http = self._server.connect()
        self._asked_at = time.monotonic()

    def ready(self) -> None:
        """The server closes connections that are idle for some seconds."""
        if time.monotonic() - self._asked_at > 2:
            self._http.close()
            self._http = self._server.connect()

    def ask(self) -> bytes:
        reply = self._http.call("GET", self._path)
        self._asked_at = time.monotonic()
        return reply

    def shown(self) -> list[str]:
        """Ids on it."""
        self.ready()
        found = json.loads(self.ask())
        return [entry["id"] for entry in found.get("results", [found])]


def _in_turns(
    calls: Sequence[Callable[[], object]], count: int, ready: Callable[[], object]
) -> list[list[float]]:
    """Milliseconds of so many calls of each, or of as many as there is time for."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + MOST_SECONDS
    for n in range(-(count // 10), count):
        if time.perf_counter() > end and n >= LEAST:
            break
        for call, taken in zip(calls, times, strict=True):
            ready()
            began = time.perf_counter()
            call()
            if n >= 0:
                taken.append((time.perf_counter() - began) * 1e3)
    return times


def _measure(table: Table, case: Case, large: Filled, small: Filled) -> None:
    page, page_of_few = _Page(large, case), _Page(small, case)

    def ready() -> None:
        page.ready()
        page_of_few.ready()

    many, few = _in_turns((page.ask, page_of_few.ask), REQUESTS, ready)
    shown, shown_of_few = page.shown(), page_of_few.shown()
    p50, p95 = percentile(many, 0.5), percentile(many, 0.95)
    ratio = p50 / percentile(few, 0.5)
    beside = f"{ratio:.2f} x (p95 {p95 / percentile(few, 0.95):.2f} x) that at {FEW:,}"
    if len(shown) > len(shown_of_few):
        ratio *= len(shown_of_few) / len(shown)
        beside = f"{ratio:.2f} x that at {FEW:,}, by entry"
    if case.plain is not None:
        with closing(connect(large.database)) as db:
            plain, found = _plain(case, case.plain, large, db)
        assert shown == found
        beside += f"; plain SQL {plain:.1f} ms, {plain / p50:.1f} x ours"
    if len(many) < REQUESTS:
        beside += f"; {len(many)} requests"
    table.add(
        case.what,
        f"{p50:.2f} / {p95:.2f} ms",
        f"<= {P95_MS:.0f} ms, <= {RATIO} x" if case.promised else "",
        beside,
        p95 <= P95_MS and ratio <= RATIO if case.promised else None,
    )


def _plain(
    case: Case, plain: Plain, large: Filled, db: sqlite3.Connection
) -> tuple[float, list[str]]:
    """Median milliseconds of the plain SQL, and the ids that it finds."""
    (owner,) = db.execute("SELECT id FROM users").fetchone()
    if plain.rows in (_OF_JOB.rows, _OF_RUN.rows):
        (owner,) = db.execute("SELECT id FROM jobs WHERE code = ?", (large.big,)).fetchone()
    rows: list[Any] = []

    def run() -> None:
        rows[:] = plain.run(db, owner, case.page, case.size)

    (times,) = _in_turns((run,), PLAIN, lambda: None)
    return percentile(times, 0.5), [row[0] for row in rows]


def _is_sound(at: Filled) -> None:
    """Copies are as good as what the product made: they can be had, submitted, stopped, deleted,
    and all sums hold after that.
    """
    http = at.server.connect()
    completed = http.get("/api/v2/jobs/?state=completed")
    for entry in completed["results"]:
        http.call("DELETE", f"/api/v2/jobs/{entry['id']}/")
    for entry in http.get("/api/v2/jobs/?state=not_completed&page_size=3")["results"]:
        http.call("POST", f"/api/v2/jobs/{entry['id']}/submit/")
        http.call("POST", f"/api/v2/jobs/{entry['id']}/stop/")
        http.call("GET", f"/api/v2/jobs/{entry['id']}/")
    for entry in http.get("/api/v2/files/?page=2")["results"]:
        http.call("DELETE", f"/api/v2/files/{entry['id']}/")
    assert http.get("/api/v2/jobs/")["count"] == at.jobs - len(completed["results"])
    http.close()
    check(at.database)


def run(table: Table) -> None:
    table.title(f"P7 lists: p50 / p95 over HTTP at {JOBS:,} jobs and {FILES:,} files, one client")
    with filled(JOBS, FILES) as large, filled(FEW, FEW) as small:
        table.add(
            f"{large.database.stat().st_size / 1e9:.1f} GB filled in",
            f"{large.seconds:.0f} s",
            beside=f"the server starts on it in {large.start_seconds:.2f} s",
        )
        for case in CASES:
            _measure(table, case, large, small)
        for at in (large, small):
            _is_sound(at)


if __name__ == "__main__":
    run(Table())
