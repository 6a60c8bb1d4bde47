"""The torture in small, and whether its checks see a lie: what finds nothing proves nothing."""

import json
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import harness
from harness import RunningServer, wait_for
from simyard.torture import account, course, wire
from simyard.torture.checks import PROMISES, Book, Violation, violations
from simyard.torture.clients import Client, Course
from simyard.torture.course import take_account
from simyard.torture.ground import Ground
from simyard.torture.ledger import Ledger, StartLedger, read
from simyard.torture.server import Server
from simyard.torture.wire import Caller, GivenUp, Stubborn
from studying import created, study

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]

KILLS = 100


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_random_kills_break_no_promise(tmp_path: Path) -> None:
    """Crash points have tests of their own, which look closer."""
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "simyard", "torture", "--kills", str(KILLS)]
    options = ["--without", "crash point", "--concurrency", "30", "--json", str(file)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    told = f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    print(told)
    assert done.returncode == 0, told
    result = json.loads(file.read_text())
    killed = sum(result["faults"][kind] for kind in ("server", "fork server", "supervisor"))
    assert killed >= KILLS
    assert set(result["promises"]) == set(PROMISES)
    counts = result["counts"]
    assert counts["uploads acknowledged"] and counts["submits acknowledged"], counts
    assert counts["payloads started"], counts


# --- seeded lies ----------------------------------------------------------------------------------


class Truth:
    """A throw-away installation on which honest work was done."""

    def __init__(self) -> None:
        self.ground = Ground(disk_megabytes=0)
        self.server = Server(self.ground)
        self.ledger = Ledger(self.ground.folder / "clients.jsonl")
        self.starts = StartLedger(self.ground.folder / "starts.jsonl")
        assert self.server.start()
        self.caller = Caller(self.server, self.server.key())

    def work(self) -> None:
        over = threading.Event()
        what = Course(self.ledger, self.starts.preamble, over)
        clients = [Client(n, 7, Caller(self.server, self.server.key()), what) for n in range(8)]
        threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        try:
            wait_for(self._has_enough, "enough work", seconds=120)
        finally:
            over.set()
        course._rest(self.caller, threads, print)

    def _has_enough(self) -> bool:
        well = self.ask(ENDED.format("Completed successfully"))
        enough = len(well) >= 12 and len(self.stopped()) >= 1 and len(self.ask(KEPT)) >= 5
        return enough and any(name in self.studies() for _, name in well)

    def studies(self) -> set[str]:
        return {name for (name,) in self.ask(STUDIES)}

    def book(self) -> Book:
        return Book(read(self.ledger.path), read(self.ground.folder / "starts.jsonl"))

    def stopped(self) -> list[str]:
        """Names of jobs that were stopped before they had come to their end."""
        jobs = self.book().jobs
        told = [name for _, name in self.ask(ENDED.format("Stopped by the user"))]
        return [name for name in told if jobs[name].starts and not jobs[name].ends]

    def found(self) -> list[Violation]:
        """What the checks find. The server is down after it."""
        book = self.book()
        return violations(book, take_account(self.server, self.caller, book))

    def change(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.server.data / "simyard.db")) as base:
            for statement in statements:
                assert base.execute(statement).rowcount, statement
            base.commit()

    def ask(self, query: str) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(self.server.data / "simyard.db")) as base:
            return base.execute(query).fetchall()

    def close(self) -> None:
        self.caller.close()
        self.server.kill_everything()
        self.starts.close()
        self.ledger.close()
        self.ground.remove()


@pytest.fixture
def truth() -> Iterator[Truth]:
    made = Truth()
    yield made
    made.close()


# One of each content: many uploads are empty, and one empty file is as good as another.
KEPT = """SELECT f.code, f.name FROM files f JOIN blobs b ON b.id = f.blob_id WHERE f.type_id = 1
    GROUP BY b.sha512"""
STUDIES = "SELECT name FROM jobs j WHERE EXISTS (SELECT 1 FROM studies WHERE job_id = j.id)"
ENDED = """SELECT j.code, j.name FROM jobs j JOIN statuses s ON s.job_id = j.id AND s.track = 'job'
    WHERE s.reason LIKE '{}%' AND s.word = 'Completed' ORDER BY j.id"""


@pytest.mark.timeout(500)
def test_every_seeded_lie_is_found(truth: Truth) -> None:
    truth.work()
    assert truth.found() == [], "the truth"
    well = truth.ask(ENDED.format("Completed successfully"))
    (sweep, *_) = [name for _, name in well if name in truth.studies()]
    heard = {key for key, job in truth.book().jobs.items() if job.told and not job.runs}
    well = [each for each in well if each[1] in heard]
    stopped = truth.stopped()
    sent = truth.book().uploads
    claims = {key for key, upload in sent.items() if upload.ids and not upload.delete_asked}
    kept = [each for each in truth.ask(KEPT) if each[1].removesuffix(".bin") in claims]
    assert len(well) >= 7 and stopped and len(kept) >= 3, (well, stopped, kept)
    lost, doubled, coded, cut, ghost, retold, roomless = (name for _, name in well[:7])
    lies = sqlite3.connect(truth.server.data / "simyard.db")
    lies.execute("PRAGMA foreign_keys = OFF")
    job = "(SELECT id FROM jobs WHERE name = '{}')"
    log = "job_id = {} AND relative_path = 'process_output.log'"
    seeded = [
        # A job that was acknowledged is in no list; its rows are left behind.
        f"DELETE FROM job_views WHERE job_id = {job.format(lost)}",
        f"DELETE FROM jobs WHERE name = '{lost}'",
        # Another exit code than that of the payload.
        f"""UPDATE statuses SET reason = 'A run failed: the command of analysis 1 ended with exit
            code 9' WHERE word = 'Completed' AND job_id = {job.format(coded)}""",
        # A log that is another's, so that its lines are missing.
        f"""UPDATE files SET blob_id = (SELECT blob_id FROM files WHERE
            {log.format(job.format(doubled))}) WHERE {log.format(job.format(cut))}""",
        f"UPDATE jobs SET name = 'torture-job-of-nobody' WHERE name = '{ghost}'",
        f"""UPDATE statuses SET reason = 'A run failed: its supervisor process was killed while it
            ran' WHERE word = 'Completed' AND job_id = {job.format(retold)}""",
        f"""UPDATE statuses SET reason = 'A run failed: its disk was full (9 bytes free)'
            WHERE word = 'Completed' AND job_id = {job.format(roomless)}""",
        # A study that tells of fewer runs than are well, and one of them with another exit code.
        f"""UPDATE statuses SET reason = '1 of 9 runs completed. Run 2 failed: ?' WHERE
            word = 'Completed' AND job_id = {job.format(sweep)}""",
        f"""UPDATE runs SET ending = json_set(ending, '$.exit_code', 9),
            outcome = json_set(outcome, '$.verdict', 'failed')
            WHERE number = 2 AND job_id = {job.format(sweep)}""",
        # A stop that was acknowledged, and a run that is said to have come to its end.
        f"""UPDATE statuses SET reason = 'Completed successfully' WHERE word = 'Completed'
            AND job_id = {job.format(stopped[0])}""",
        # An upload that is gone, and one with the bytes of another.
        f"UPDATE files SET name = 'torture-file-of-nobody.bin' WHERE code = '{kept[0][0]}'",
        f"""UPDATE files SET blob_id = (SELECT blob_id FROM files WHERE name = '{kept[2][1]}')
            WHERE code = '{kept[1][0]}'""",
    ]
    for statement in seeded:
        assert lies.execute(statement.replace("exit\n            code", "exit code")).rowcount
    lies.commit()
    lies.close()
    # A payload that was started twice, and one that nobody submitted.
    ledger = Ledger(truth.ground.folder / "starts.jsonl")
    ledger.note("start", key=doubled, attempt="another", rest=[])
    ledger.note("start", key="torture-job-unheard-of", attempt="some", rest=[])
    ledger.close()
    # A client that was answered by a mistake of the server, and one that was not answered.
    truth.ledger.note("unexpected", method="GET", path="jobs/", status=500, said="?")
    truth.ledger.note("unanswered", method="GET", path="jobs/", last="503")
    # What was deleted and is there.
    truth.ledger.note("upload.deleted", key=kept[2][1].removesuffix(".bin"), id=kept[2][0])
    # A process that carries the mark of an attempt.
    ((token,),) = truth.ask("SELECT token FROM attempts ORDER BY id LIMIT 1")
    stray = subprocess.Popen(["sleep", "60"], env={"SIMYARD_ATTEMPT": token})
    try:
        assert truth.server.start()
        _leave_remains(truth)
        found = truth.found()
    finally:
        stray.kill()
        stray.wait()
    told = "\n".join(map(str, found))
    by_promise = {(violation.promise, violation.subject) for violation in found}
    wanted = {
        ("job once", lost),
        ("exit code", coded),
        ("log", cut),
        ("no ghost job", "torture-job-of-nobody"),
        ("job once", ghost),
        ("interrupted truly", retold),
        ("told once", retold),
        ("ended once", roomless),
        ("every run", sweep),
        ("exit code", f"{sweep}.2"),
        ("stop", stopped[0]),
        ("upload kept", kept[0][1].removesuffix(".bin")),
        ("no ghost upload", "torture-file-of-nobody"),
        ("upload kept", kept[1][1].removesuffix(".bin")),
        ("started once", doubled),
        ("no ghost start", "torture-job-unheard-of"),
        ("clear errors", "jobs/"),
        ("answered", "jobs/"),
        ("deleted", kept[2][1].removesuffix(".bin")),
    }
    assert wanted <= by_promise, f"not found: {wanted - by_promise}\n{told}"
    kinds = {violation.promise for violation in found}
    assert {"no stray process", "no orphan", "nothing missing", "database sound"} <= kinds, told


def test_runs_that_were_stopped_are_read_as_stopped(
    server: RunningServer, client: harness.Client
) -> None:
    """Of a study whose runs had hardly a slot, or none, when it was stopped."""
    table = "n\n1\n2\n3\n4\n5\n"
    job = str(created(client, study(client, "sleep 5", table=table, slots=2))["id"])
    client.submit(job)
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)
    caller = Caller(Standing(int(server.address.rsplit(":", 1)[1])), client.key)
    try:
        there = account._job(caller, job, "a study")
    finally:
        caller.close()
    assert there.reason.startswith("Stopped by the user")
    assert [run.reason for run in there.runs] == ["Stopped by the user"] * 5


class Standing:
    """A server at this port that is up, once it was asked so many times."""

    def __init__(self, port: int, after: int = 0) -> None:
        self._port = port
        self._after = after
        self._asked = 0

    def port(self) -> int:
        self._asked += 1
        return self._port

    def up_since(self) -> float | None:
        return 0.0 if self._asked >= self._after else None


@pytest.mark.parametrize("after", [0, 5])
def test_only_while_it_is_up_a_server_owes_an_answer(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PATIENCE_SECONDS", 0.0)
    ledger = Ledger(tmp_path / "clients.jsonl")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        where = Standing(nobody.getsockname()[1], after)
    client = Stubborn(Caller(where, "key"), ledger, random.Random(3))
    with pytest.raises(GivenUp):
        client.insist("GET", "jobs/")
    ledger.close()
    noted = [line["what"] for line in read(ledger.path)]
    assert noted == ["lost"] * after + ["unanswered"]


def _leave_remains(truth: Truth) -> None:
    """An orphan row, bytes that are missing: beside a running server, which looks away."""
    time.sleep(0.5)
    with closing(sqlite3.connect(truth.server.data / "simyard.db", timeout=20)) as base:
        ((key,),) = base.execute(
            """SELECT b.key FROM blobs b JOIN files f ON f.blob_id = b.id
               WHERE f.type_id = 5 ORDER BY b.id DESC LIMIT 1"""
        ).fetchall()
    (truth.server.data / "blobs" / key).unlink()
