"""The stream of one run, over HTTP."""

import contextlib
import json
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import harness
from harness import CONFIG, Client, RunningServer, wait_for
from simyard.blobs.keyring import Keyring, parse
from simyard.service import users
from simyard.store.database import Database

PING_SECONDS = 0.5
FILES_MOST = 3
IMPATIENT = f"""
import simyard.api.events
simyard.api.events.PING_SECONDS = {PING_SECONDS}
import simyard.api.v2.live
simyard.api.v2.live.FILES_MOST = {FILES_MOST}
from simyard.cli.main import main
main()
"""
# Writes what is put into `more`, piece by piece, so that a test says what the log gets and when.
TELLER = """
touch here
python3 -u -c '
import os, sys, time
at = 0
while not os.path.exists("go"):
    names = sorted(n for n in os.listdir() if n.startswith("more"))[at:]
    for name in names:
        sys.stdout.buffer.write(open(name, "rb").read()); sys.stdout.flush()
    at += len(names)
    time.sleep(0.01)
'
"""


@dataclass(frozen=True)
class Told:
    id: str
    name: str
    data: dict[str, Any]


class Viewer:
    """Reads a stream in a thread of its own."""

    def __init__(self, client: Client, job: str, query: str = "", last_id: str = "") -> None:
        self._client, self._path = client, f"jobs/{job}/runs/1/live/{query}"
        self._headers = {"Last-Event-ID": last_id} if last_id else {}
        self.events: list[Told] = []
        self.pings = 0
        self.status = 0
        self.ended = False  # by the server, in order
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_for(lambda: self.status != 0, "the reply")

    def _read(self) -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            self._client.http.stream("GET", self._path, headers=self._headers) as reply,
        ):
            self.status = reply.status_code
            lines: dict[str, str] = {}
            for line in reply.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    lines[name] = value
                elif "" in lines:
                    self.pings += 1
                    lines = {}
                else:
                    assert lines.keys() == {"id", "event", "data"}
                    told = Told(lines["id"], lines["event"], json.loads(lines["data"]))
                    self.events.append(told)
                    lines = {}
            self.ended = True

    def named(self, *names: str) -> list[Told]:
        return [told for told in list(self.events) if told.name in names]

    @property
    def text(self) -> str:
        return "".join(told.data["text"] for told in self.named("log"))

    @property
    def last_id(self) -> str:
        return self.events[-1].id

    def wait(self, condition: Callable[["Viewer"], bool], what: str) -> None:
        wait_for(lambda: condition(self), what)


class Course:
    """A run whose log gets what the test says."""

    def __init__(self, server: RunningServer, client: Client, **changes: Any) -> None:
        self.server, self.client = server, client
        self.job = str(client.create(TELLER, **changes)["id"])
        client.submit(self.job)
        self.written = b""
        self._count = 0
        here = f"jobs/{self.job}/runs/1/tail/here"
        wait_for(lambda: client.http.get(here).status_code == 200, "the start")
        lives = (server.data / "runs").glob("*/home/work/here")
        self.folder = max(lives, key=lambda path: path.stat().st_mtime).parent

    def say(self, data: bytes) -> None:
        aside = self.folder / "aside"
        aside.write_bytes(data)
        aside.rename(self.folder / f"more{self._count:04}")
        self._count += 1
        self.written += data

    @property
    def log(self) -> bytes:
        return (self.folder / "process_output.log").read_bytes()

    def end(self) -> bytes:
        """The stored log."""
        wait_for(lambda: len(self.log) >= len(self.written), "what is to be written")
        (self.folder / "go").touch()
        self.client.finished(self.job)
        return self.client.outputs(self.job)["process_output.log"]


def user(server: RunningServer, name: str) -> Client:
    """Somebody new, faster than by the command."""
    database = Database(f"sqlite:///{server.data / 'simyard.db'}", clock=lambda: datetime.now(UTC))
    database.start()
    keyring = Keyring(parse((server.data / "master.key").read_text()))
    key = database.write(users.create_key, keyring, f"{name}@lab.example", users.new_key())
    database.close()
    return server.client(key)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that pings often, and lets nobody watch many files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "SIMYARD", [sys.executable, "-c", IMPATIENT])
        server = RunningServer(tmp_path_factory.mktemp("impatient") / "data", CONFIG).start()
    yield server
    server.end_everything()
    assert "Traceback" not in server.log(), server.log()


def consecutive(events: list[Told], start: int = 0) -> int:
    """Where log events lead to that leave nothing out and tell nothing twice."""
    for told in events:
        assert told.data["from"] == start < told.data["to"]
        assert told.id.split(":")[0] == str(told.data["to"])
        start = told.data["to"]
    return start


# --- the log --------------------------------------------------------------------------------------


def test_a_run_from_its_first_line_to_its_end(server: RunningServer, client: Client) -> None:
    job = client.create("echo one; printf 'progress 10%%\\rprogress 20%%\\r'; echo; exit 3")["id"]
    client.submit(job)
    viewer = Viewer(client, job, "?topics=")  # before there is anything, or hardly
    assert viewer.status == 200
    viewer.wait(lambda v: bool(v.named("end")), "the end")
    assert viewer.text.startswith("one\nprogress 10%\rprogress 20%\r\n")
    stored = client.log_of(job)
    assert consecutive(viewer.named("log")) == len(stored) and viewer.text == stored
    (end,) = viewer.named("end")
    assert end.data["outcome"]["exitCode"] == 3 and end.data["outcome"]["verdict"] == "failed"
    again = Viewer(client, job)  # afterwards, and without other events: it ends by itself
    wait_for(lambda: again.ended, "the end")
    assert {told.name for told in again.events} == {"log", "end"} and again.text == stored


def test_lines_come_whole_and_a_prompt_comes_late(server: RunningServer, client: Client) -> None:
    course = Course(server, client)
    viewer = Viewer(client, course.job)
    course.say("größe = 1\nnot yet".encode())
    viewer.wait(lambda v: v.text == "größe = 1\n", "the whole line")
    viewer.wait(lambda v: v.text.endswith("not yet"), "the rest, a second later")
    euro = "€".encode()
    course.say(b" and " + euro[:2])
    viewer.wait(lambda v: v.text.endswith(" and "), "all but the half of a character")
    course.say(euro[2:] + b"\n\xff\xfe\0rubbish")
    stored = course.end()
    wait_for(lambda: viewer.ended, "the end")
    assert consecutive(viewer.named("log")) == len(stored) == len(course.written)
    assert viewer.text == stored.decode("utf-8", "replace")
    assert "€" in viewer.text and viewer.text.count("\ufffd") == 2


def test_a_log_that_is_cut_short_or_replaced(server: RunningServer, client: Client) -> None:
    course = Course(server, client)
    other = course.folder / "other.log"
    other.write_bytes(b"one\ntwo\n")
    viewer = Viewer(client, course.job, "?log=other.log")
    viewer.wait(lambda v: v.text == "one\ntwo\n", "both lines")
    os.truncate(other, 4)
    viewer.wait(lambda v: bool(v.named("truncated")), "the cut")
    assert [told.data for told in viewer.named("truncated")] == [{"to": 4}]
    with other.open("ab") as file:
        file.write(b"three\n")
    viewer.wait(lambda v: v.text.endswith("three\n"), "what came then")
    assert viewer.named("log")[-1].data["from"] == 4
    fresh = course.folder / "fresh"
    fresh.write_bytes(b"four\n")
    fresh.rename(other)
    viewer.wait(lambda v: v.text.endswith("four\n"), "another file")
    assert viewer.named("truncated")[-1].data == {"to": 0}
    # Who was away while it was cut short begins again.
    away = Viewer(client, course.job, "?log=other.log&from=1000")
    away.wait(lambda v: v.text == "four\n", "what there is")
    told = [told.data for told in away.named("truncated", "log")]
    assert told == [{"to": 0}, {"from": 0, "to": 5, "text": "four\n"}]
    course.end()


def test_who_is_far_behind_jumps(server: RunningServer, client: Client) -> None:
    course = Course(server, client)
    lines = b"".join(b"line number %07d\n" % i for i in range(100_000))
    (course.folder / "long.log").write_bytes(lines)
    viewer = Viewer(client, course.job, "?log=long.log")
    viewer.wait(lambda v: v.text.endswith("0099999\n"), "the end of it")
    (gap,) = viewer.named("gap")
    assert gap.data["from"] == 0
    assert consecutive(viewer.named("log"), gap.data["to"]) == len(lines)
    assert viewer.text.encode() == lines[gap.data["to"] :]
    assert len(lines) - gap.data["to"] <= 65536 and viewer.text.startswith("line number")
    start = len(lines) - (1 << 20)  # not so far
    near = Viewer(client, course.job, f"?log=long.log&from={start}")
    near.wait(lambda v: v.text.endswith("0099999\n"), "the end of it")
    assert not near.named("gap") and consecutive(near.named("log"), start) == len(lines)
    assert all(len(told.data["text"]) <= 65536 for told in near.named("log"))
    course.end()


@pytest.mark.faults
def test_no_byte_is_lost_or_doubled_by_restarts(fresh: Callable[..., RunningServer]) -> None:
    """A log that goes on growing while the server is killed, and viewers that come back with what
    they got last, some of it lost on the way.
    """
    server = fresh().start()
    client = server.client()
    script = (
        "import os, sys, time\ni = 0\nwhile not os.path.exists('go'):\n i += 1\n"
        " sys.stdout.write('%05d äöü ' % i + 'x' * (i % 50) + '\\n'[: i % 3])\n"
        " sys.stdout.flush(); time.sleep(0.01)\n"
    )
    file = client.upload("write.py", script.encode())["id"]
    job = client.create("python3 write.py", inputs=[file])["id"]
    client.submit(job)
    kept: list[Told] = []
    viewer = Viewer(client, job)
    for _ in range(2):
        viewer.wait(lambda v: len(v.named("log")) > 8, "some of it")
        server.kill()
        kept += viewer.named("log")[:-2]  # as if the last had been lost
        server.start()
        viewer = Viewer(client, job, last_id=kept[-1].id)
    (log,) = (server.data / "runs").glob("*/home/work/write.py")
    (log.parent / "go").touch()
    viewer.wait(lambda v: bool(v.named("end")), "the end")
    kept += viewer.named("log")
    stored = client.log_of(job)
    assert consecutive(kept) == len(stored.encode())
    assert "".join(told.data["text"] for told in kept) == stored


# --- series, metrics ------------------------------------------------------------------------------


def step(i: int) -> bytes:
    line = f"Time = {i}\n\nGAMG:  Solving for p, Initial residual = {10 ** (-i / 50):g}, "
    return f"{line}Final residual = 0, No Iterations 3\nExecutionTime = {i} s\n".encode()


def test_points_come_as_the_solver_prints_them(server: RunningServer, client: Client) -> None:
    course = Course(server, client, code="openfoam", version=None)
    viewer = Viewer(client, course.job, "?series=1")
    course.say(b"".join(map(step, range(1, 41))))

    def points(viewer: Viewer) -> dict[float, float]:
        found: dict[float, float] = {}
        for told in viewer.named("series"):
            values = told.data["values"]["residuals/p"]
            found.update(zip(told.data["x"], values, strict=True))
        return found

    viewer.wait(lambda v: len(points(v)) == 40, "the first steps")
    viewer.wait(
        lambda v: v.named("convergence")[-1].data["state"] == "converging", "what is told of them"
    )
    index = viewer.named("series")[-1].data["index"]
    assert index == 39  # the last may get more
    assert viewer.named("series")[-1].id.split(":")[1] == "39"
    course.say(b"".join(map(step, range(41, 61))))
    viewer.wait(lambda v: len(points(v)) == 60, "more steps")
    later = Viewer(client, course.job, f"?series=1&since={index}")
    later.wait(lambda v: len(points(v)) == 21, "only the new ones")
    assert min(points(later)) == 40
    viewer.wait(lambda v: bool(v.named("metrics")), "its use")
    use = viewer.named("metrics")[-1].data
    assert use.keys() == {"seconds", "used", "limits"} and use["limits"]["cpu"] == 1
    assert use["used"]["memory"] > 0
    course.end()
    wait_for(lambda: viewer.ended and later.ended, "the ends")
    whole = client.get(f"jobs/{course.job}/runs/1/series/data/?keys=residuals/p")
    assert points(viewer) == dict(
        zip(whole["x"], whole["keys"]["residuals/p"]["last"], strict=True)
    )
    names = [told.name for told in viewer.events]
    assert names[-1] == "end"
    after = Viewer(client, course.job, "?series=1&since=58")
    wait_for(lambda: after.ended, "the end")
    assert sorted(points(after)) == [59, 60]


# --- with other events ----------------------------------------------------------------------------


def test_all_events_in_one_stream(server: RunningServer, client: Client) -> None:
    course = Course(server, client)
    viewer = Viewer(client, course.job, "?topics=jobs")
    viewer.wait(lambda v: bool(v.events), "the greeting")
    assert viewer.events[0].name == "hello"
    byte, index, mark = viewer.events[0].id.split(":")
    assert (byte, index) == ("0", "0") and mark.startswith(viewer.events[0].data["epoch"])
    other = client.create()["id"]
    viewer.wait(lambda v: any(t.data.get("id") == other for t in v.named("job")), "another job")
    course.say(b"line\n")
    viewer.wait(lambda v: v.text == "line\n", "the line")
    away = viewer.last_id
    client.call("POST", f"jobs/{other}/tags/", 201, json={"name": "seen"})
    course.say(b"more\n")
    again = Viewer(client, course.job, "?topics=jobs", away)
    again.wait(lambda v: v.text == "more\n", "what was missed")
    names = [told.name for told in again.events if told.name != "metrics"]
    assert names == ["hello", "job", "log"]
    assert again.named("job")[0].data["id"] == other
    course.end()
    viewer.wait(lambda v: bool(v.named("end")), "the end of the run")
    assert not viewer.ended  # the other events go on
    last = client.create()["id"]
    viewer.wait(lambda v: any(t.data.get("id") == last for t in v.named("job")), "more of them")
    quiet = Viewer(client, course.job)
    wait_for(lambda: quiet.ended, "the end")
    assert not quiet.named("hello", "job", "run", "files")


# --- who may --------------------------------------------------------------------------------------


def test_a_share_that_is_taken_away(server: RunningServer, client: Client) -> None:
    friend, stranger = user(server, "onlooker"), user(server, "outsider")
    course = Course(server, client)
    client.call("POST", f"jobs/{course.job}/share/", 200, json={"email": "onlooker@lab.example"})
    with_topics = Viewer(friend, course.job, "?topics=jobs")
    alone = Viewer(friend, course.job)
    mine = Viewer(client, course.job)
    assert Viewer(stranger, course.job).status == 404
    course.say(b"seen\n")
    for viewer in (with_topics, alone, mine):
        viewer.wait(lambda v: v.text == "seen\n", "the line")
    client.call("DELETE", f"jobs/{course.job}/share/", 204, json={"email": "onlooker@lab.example"})
    wait_for(lambda: with_topics.ended and alone.ended, "the ends")
    course.say(b"unseen\n")
    mine.wait(lambda v: v.text == "seen\nunseen\n", "the line")
    assert with_topics.text == alone.text == "seen\n"
    assert with_topics.events[-1].name == "notice"
    assert Viewer(friend, course.job).status == 404
    course.end()


def test_a_user_watches_so_many_different_files(impatient: RunningServer) -> None:
    client = user(impatient, "curious")
    course = Course(impatient, client)
    watched = [Viewer(client, course.job, f"?log={n}") for n in range(FILES_MOST)]
    assert [viewer.status for viewer in watched] == [200] * FILES_MOST
    live = f"jobs/{course.job}/runs/1/live/"
    assert Viewer(client, course.job).status == 429
    refused = client.call("GET", live, 429)
    assert refused.headers["Retry-After"] and "files" in refused.json()["detail"]
    watched.append(Viewer(client, course.job, "?log=0"))
    assert watched[-1].status == 200, "the same file is no further one"
    friend = user(impatient, "friend")
    client.call("POST", f"jobs/{course.job}/share/", 200, json={"email": "friend@lab.example"})
    watched.append(Viewer(friend, course.job))
    assert watched[-1].status == 200, "others have files of their own"
    course.end()
    wait_for(lambda: all(viewer.ended for viewer in watched), "the end")
    assert Viewer(client, course.job).status == 200


def test_a_key_that_is_revoked_and_a_server_that_stops(impatient: RunningServer) -> None:
    client = user(impatient, "owner")
    course = Course(impatient, client)
    friend = user(impatient, "lost")
    client.call("POST", f"jobs/{course.job}/share/", 200, json={"email": "lost@lab.example"})
    revoked, mine = Viewer(friend, course.job), Viewer(client, course.job)
    course.say(b"one\n")
    for viewer in (revoked, mine):
        viewer.wait(lambda v: v.text == "one\n" and v.pings > 0, "the line and a ping")
    impatient.change_database(
        f"UPDATE api_keys SET revoked_at = {int(time.time() * 1e6)} WHERE user_id ="
        " (SELECT id FROM users WHERE email = 'lost@lab.example')"
    )
    wait_for(lambda: revoked.ended, "the end")
    assert not mine.ended
    began = time.monotonic()
    assert impatient.stop() == 0
    assert time.monotonic() - began < 10
    wait_for(lambda: mine.ended, "the end")
    impatient.start()


def test_hostile_paths_and_numbers(server: RunningServer, client: Client) -> None:
    course = Course(server, client)
    os.symlink("/etc/passwd", course.folder / "link")
    os.mkfifo(course.folder / "pipe")
    watched = [
        Viewer(client, course.job, f"?log={path}")
        for path in ("../../../simyard.db", "/etc/passwd", "link", "pipe", ".", "a%00b", "%ff")
    ]
    live = f"jobs/{course.job}/runs/1/live/"
    for query, field in (("from=-1", "from"), ("from=x", "from"), ("since=1e9", "since")):
        assert list(client.get(f"{live}?{query}", 400)) == [field]
    client.call("GET", f"jobs/{course.job}/runs/2/live/", 404)
    client.call("GET", "jobs/nobody/runs/1/live/", 404)
    client.call("HEAD", live, 405)
    course.say(b"x\n")
    odd = Viewer(client, course.job, "", "9:9:nonsense")
    odd.wait(lambda v: v.text == "x\n", "the line")
    course.end()
    for viewer in watched:
        wait_for(lambda viewer=viewer: viewer.ended, "the end", 10)  # type: ignore[misc]
        assert not viewer.named("log", "gap")


# --- many of them ---------------------------------------------------------------------------------


def read_until(viewer: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        part = viewer.recv(65536)
        assert part, "it was cut off"
        received += part
    return received


def descriptors(server: RunningServer) -> int:
    """How many of the run's logs the server has open."""
    assert server.process is not None
    found = 0
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += entry.readlink().name == "process_output.log"
    return found


def test_many_viewers_of_one_run(server: RunningServer, client: Client) -> None:
    course = Course(server, client)
    host, port = server.address.removeprefix("http://").split(":")
    head = (
        f"GET /api/v2/jobs/{course.job}/runs/1/live/ HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Token {client.key}\r\n\r\n"
    )
    course.say(b"first\n")
    viewers = [socket.create_connection((host, int(port)), timeout=20) for _ in range(60)]
    slow, *quick = viewers  # it reads nothing, and holds nobody up
    try:
        for viewer in viewers:
            viewer.sendall(head.encode())
        for viewer in quick:
            read_until(viewer, b"first\\n")
        assert descriptors(server) <= 2, "it is read once for all, and looked for once"
        course.say(b"second\n")
        for viewer in quick:
            read_until(viewer, b"second\\n")
        for i in range(20):
            course.say(b"%09d\n" % i * 100_000)
        course.say(b"third\n")
        for viewer in quick:
            read_until(viewer, b"third\\n")
        assert b"event: gap" in read_until(slow, b"third\\n")
    finally:
        for viewer in viewers:
            viewer.close()
    wait_for(lambda: descriptors(server) == 0, "nobody watches any more")
    course.end()


def test_nothing_is_left_of_viewers_that_leave(server: RunningServer, client: Client) -> None:
    course = Course(server, client)
    viewer = Viewer(client, course.job)
    course.say(b"x\n")
    viewer.wait(lambda v: v.text == "x\n", "the line")
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM events").fetchone()
    time.sleep(0.5)
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (count,)
    course.end()
    wait_for(lambda: viewer.ended and descriptors(server) == 0, "its end")
