"""The stream of events, over HTTP."""

import contextlib
import itertools
import json
import re
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import harness
import studying
from harness import CONFIG, GO, Client, RunningServer, wait_for, work_folder
from residuals import residuals
from simyard.blobs.keyring import Keyring, parse
from simyard.service import users
from simyard.store.database import Database

PING_SECONDS = 0.5
STREAMS_MOST = 20
IMPATIENT = f"""
import simyard.api.events
simyard.api.events.PING_SECONDS = {PING_SECONDS}
simyard.api.events.STREAMS_MOST = {STREAMS_MOST}
from simyard.cli.main import main
main()
"""


@dataclass(frozen=True)
class Told:
    id: str
    name: str
    data: dict[str, Any]

    @property
    def number(self) -> int:
        return int(self.id.rsplit("-", 1)[1])


class Listener:
    """Reads a stream in a thread of its own, from the greeting on."""

    def __init__(self, client: Client, query: str = "", last_id: str | None = None) -> None:
        self._client, self._query = client, query
        self._last_id = last_id
        self.events: list[Told] = []
        self.pings: list[str] = []  # with the ids that came with them
        self.ended = False  # by the server, in order
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_for(lambda: bool(self.events), "the greeting", 10)

    def _read(self) -> None:
        headers = {"Last-Event-ID": self._last_id} if self._last_id is not None else {}
        with contextlib.suppress(httpx.HTTPError):
            with self._client.http.stream("GET", f"events/{self._query}", headers=headers) as reply:
                assert reply.status_code == 200
                self.headers = reply.headers
                lines: dict[str, str] = {}
                for line in reply.iter_lines():
                    if line:
                        name, _, value = line.partition(": ")
                        lines[name] = value
                    else:
                        self._take(lines)
                        lines = {}
            self.ended = True

    def _take(self, lines: dict[str, str]) -> None:
        if "" in lines:
            assert lines[""] == "ping"
            self.pings.append(lines["id"])
        else:
            assert lines.keys() == {"id", "event", "data"}
            self.events.append(Told(lines["id"], lines["event"], json.loads(lines["data"])))

    def wait(self, condition: Callable[[Told], bool], what: str) -> Told:
        wait_for(lambda: any(map(condition, self.events)), f"{what} in {self.events}", 10)
        return next(told for told in self.events if condition(told))

    def named(self, *names: str, job: str = "") -> list[Told]:
        return [
            told
            for told in self.events
            if told.name in names and job in ("", told.data.get("id"), told.data.get("job"))
        ]


def stopped(job_id: str) -> Callable[[Told], bool]:
    return lambda told: told.data.get("clusterStatus") == "Stopped" and told.data["id"] == job_id


def notice(kind: str) -> Callable[[Told], bool]:
    return lambda told: told.name == "notice" and told.data["kind"] == kind


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that pings often and lets each user have few streams."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "SIMYARD", [sys.executable, "-c", IMPATIENT])
        server = RunningServer(tmp_path_factory.mktemp("impatient") / "data", CONFIG).start()
    yield server
    server.end_everything()
    assert "Traceback" not in server.log(), server.log()


def user(server: RunningServer, name: str) -> Client:
    """Somebody new, faster than by the command."""
    database = Database(f"sqlite:///{server.data / 'simyard.db'}", clock=lambda: datetime.now(UTC))
    database.start()
    keyring = Keyring(parse((server.data / "master.key").read_text()))
    key = database.write(users.create_key, keyring, f"{name}@lab.example", users.new_key())
    database.close()
    return server.client(key)


# --- what is told ---------------------------------------------------------------------------------


def test_the_life_of_a_job(client: Client) -> None:
    listener = Listener(client)
    job_id = client.run("echo out > result.txt")["id"]
    listener.wait(stopped(job_id), "the last word")
    client.call("DELETE", f"jobs/{job_id}/", 204)
    listener.wait(notice("deleted"), "the end")

    words = [told.data["status"] for told in listener.named("job", job=job_id)]
    history = ["", "Pending", "Queued", "Started", "Validated", "Executing", "Completed"]
    assert list(dict.fromkeys(words)) == history
    assert words == sorted(words, key=history.index)  # never back
    states = [told.data["state"] for told in listener.named("run", job=job_id)]
    assert states == [
        "queued",
        "staging",
        "submitting",
        "running",
        "collecting",
        "completed",
        "closed",
    ]
    assert {told.data["run"] for told in listener.named("run", "files", job=job_id)} == {"1"}
    (files,) = listener.named("files", job=job_id)
    assert files.data["count"] == 2 and files.data["bytes"] == len("out\n")
    ends = [told.data["reason"] for told in listener.named("job") if "reason" in told.data]
    assert set(ends) == {"Completed successfully"}
    mine = listener.named("job", "run", "files", "notice", job=job_id)
    assert {told.data["name"] for told in mine if told.name == "job"} == {"A job"}
    assert mine[-1].data.keys() == {"kind", "id", "at"}
    at = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert all(at.fullmatch(told.data["at"]) for told in mine)
    assert [told.number for told in mine] == sorted({told.number for told in mine})


def test_the_greeting(client: Client) -> None:
    listener = Listener(client, "?topics=uploads,admin,study:1")
    (hello,) = listener.events
    assert hello.name == "hello" and hello.data.keys() == {"epoch", "now"}
    assert hello.id.rsplit("-", 1)[0] == hello.data["epoch"]
    assert listener.headers["Content-Type"] == "text/event-stream"
    assert listener.headers["Cache-Control"] == "no-store"
    assert listener.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in listener.headers
    assert "Content-Encoding" not in listener.headers
    job = client.create()
    client.call("DELETE", f"jobs/{job['id']}/", 204)
    time.sleep(0.3)
    assert listener.events == [hello]  # no job was asked for


def test_how_far_uploads_are(server: RunningServer) -> None:
    """Progress to their owner alone, and for each that it is a file."""
    owner = server.somebody()
    mine, other = Listener(owner, "?topics=uploads"), Listener(owner, "?topics=jobs")
    stranger = Listener(server.somebody(), "?topics=uploads,jobs")
    batch = "batch Yg=="  # b
    headers = {"Upload-Length": "30", "Upload-Metadata": f"filename YS50eHQ=,{batch}"}
    place = owner.call("POST", "uploads/", 201, headers=headers).headers["Location"]
    upload = place.rsplit("/", 2)[-2]
    for at in (0, 10, 20):
        headers = {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
        reply = owner.call("PATCH", f"uploads/{upload}/", 204, headers=headers, content=bytes(10))
    done = mine.wait(lambda told: told.data.get("file") is not None, "the file")
    said = {"id": upload, "filename": "a.txt", "size": 30, "batch": "b"}
    assert done.data == {**said, "offset": 30, "file": reply.headers["Simyard-File"]}
    first = mine.named("upload")[0]
    assert first.data == {**said, "offset": 10, "file": None}
    assert not other.named("upload") and not stranger.named("upload")


def test_how_far_a_study_is(server: RunningServer) -> None:
    owner, friend = server.somebody(), server.somebody("friend")
    table = "".join(["x\n", *(f"{n}\n" for n in range(1, 5))])
    body = studying.study(owner, 'test "$PARAM_X" != 3', table=table)
    job = studying.created(owner, body)["id"]
    owner.call("POST", f"jobs/{job}/share/", 200, json={"email": friend.get("users/me/")["email"]})
    topic = f"?topics=study:{job}"
    listeners = [Listener(owner, topic), Listener(friend, topic), Listener(owner)]
    stranger = Listener(server.somebody(), f"{topic},jobs")
    owner.submit(job)
    owner.finished(job)
    end = {"id": job, "total": 4, "done": 3, "failed": 1, "running": 0}
    for listener in listeners:
        listener.wait(lambda told: told.data == end, "its end")
    for listener in listeners[:2]:
        assert {told.name for told in listener.events} == {"hello", "study"}
    assert {told.name for told in stranger.events} == {"hello"}


@pytest.mark.openfoam
def test_how_far_a_run_is(server: RunningServer) -> None:
    mine, other = server.somebody("pacer"), server.somebody("deaf")
    steps = mine.upload("steps.txt", residuals(1, 100).encode())["id"]
    prepared = "mkdir -p case/system; echo 'endTime 400;' > case/system/controlDict; touch paced"
    command = f"{prepared}; cp steps.txt case/log.simpleFoam; {GO}"
    job_id = mine.create(command, inputs=[steps], code="openfoam", version=None)["id"]
    row = f"jobs/rows/?ids={job_id}"
    mine.submit(job_id)
    wait_for(lambda: mine.get(row)["rows"][0]["status"] == "Executing", "the run")
    assert mine.get(row)["rows"][0]["convergence"] is None  # nobody listens
    listener, deaf = Listener(mine), Listener(other)
    single, elsewhere = Listener(mine, f"?topics=job:{job_id}"), Listener(mine, "?topics=uploads")

    def at(share: float) -> Callable[[Told], bool]:
        return lambda told: told.data.get("progress") == share

    told = listener.wait(at(0.25), "how far it is")
    assert told.data.keys() == {"job", "run", "at", "progress", "convergence"}
    assert (told.name, told.data["job"], told.data["run"]) == ("run", job_id, "1")
    found = told.data["convergence"]
    assert (found["state"], found["evidence"]["key"]) == ("converging", "residuals/p")
    assert found["progress"] == 0.25 and found["eta"]["seconds"] > 0
    (shown,) = mine.get(row)["rows"]
    assert shown["progress"] == 0.25 and shown["convergence"]["evidence"] == found["evidence"]
    folder = work_folder(server, "paced")
    for last in (200, 300):
        with (folder / "case/log.simpleFoam").open("ab") as log:
            log.write(residuals(last - 99, last).encode())
        listener.wait(at(last / 400), "that it went on")
    single.wait(at(0.75), "the same of this job")
    (folder / "go").touch()
    mine.finished(job_id)
    listener.wait(stopped(job_id), "the last word")
    (shown,) = mine.get(row)["rows"]
    assert (shown["progress"], shown["convergence"]) == (None, None)

    events = listener.named("run", job=job_id)
    news = [told for told in events if "progress" in told.data]
    assert all("state" in told.data for told in events if told not in news)
    # Once a second, and not after its end.
    times = [datetime.fromisoformat(told.data["at"]) for told in news]
    assert all((b - a).total_seconds() > 0.9 for a, b in itertools.pairwise(times))
    assert events.index(news[-1]) < [told.data.get("state") for told in events].index("collecting")
    assert not deaf.named("run") and not elsewhere.named("run")


def test_nobody_hears_of_what_he_does_not_see(server: RunningServer, client: Client) -> None:
    friend, stranger = user(server, "friend"), user(server, "stranger")
    job_id, other_id = client.create()["id"], client.create()["id"]
    owners, friends = Listener(client), Listener(friend)
    strangers = Listener(stranger, f"?topics=jobs,job:{job_id}")
    single = Listener(client, f"?topics=job:{other_id},job:none")

    def change(tag: str) -> None:
        client.call("POST", f"jobs/{job_id}/tags/", 201, json={"name": tag})

    change("before")
    owners.wait(lambda told: told.name == "job", "the change before it is shared")
    share = {"email": "friend@lab.example", "message": "Look at the wake"}
    client.call("POST", f"jobs/{job_id}/share/", 200, json=share)
    told = friends.wait(notice("shared"), "the news of the share")
    assert told.data["id"] == job_id and told.data["message"] == "Look at the wake"
    assert told.data["by"] == "ada@lab.example"
    change("while")
    friends.wait(lambda told: told.name == "job", "a change")
    client.call("DELETE", f"jobs/{job_id}/share/", 204, json={"email": "friend@lab.example"})
    assert friends.wait(notice("unshared"), "its end").data["id"] == job_id
    change("after")
    wait_for(lambda: len(owners.named("job", job=job_id)) == 5, "the changes", 10)
    client.call("DELETE", f"jobs/{other_id}/", 204)
    client.call("DELETE", f"jobs/{job_id}/", 204)
    owners.wait(lambda told: notice("deleted")(told) and told.data["id"] == job_id, "the end")
    single.wait(notice("deleted"), "the end of the other")
    time.sleep(0.2)  # for what should not come

    assert [told.name for told in friends.events] == ["hello", "notice", "job", "notice"]
    assert [told.name for told in strangers.events] == ["hello"]
    assert [told.data["id"] for told in single.events[1:]] == [other_id]
    mine = [told.name for told in owners.events if told.data.get("id") == job_id]
    assert mine == ["job"] * 5 + ["notice"]  # three changes, shared, and no longer

    # He who was away learns no more than he who stayed.
    again = Listener(friend, last_id=friends.events[0].id)
    again.wait(notice("unshared"), "what was missed")
    assert [told.name for told in again.events] == ["hello", "notice"]
    assert [t.name for t in Listener(stranger, last_id=strangers.events[0].id).events] == ["hello"]


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.faults
def test_going_on_where_the_server_was_killed(fresh: Callable[..., RunningServer]) -> None:
    server = fresh().start()
    client = server.client()
    first = Listener(client)
    job_id = client.create("sleep 1.5")["id"]
    client.submit(job_id)
    first.wait(lambda told: told.data.get("status") == "Executing", "the start")
    server.kill()
    server.start()
    third = first.events[:3]  # as if the rest had been lost on the way
    second = Listener(client, last_id=third[-1].id)
    second.wait(stopped(job_id), "the end")
    assert [told.name for told in second.events].count("hello") == 1
    heard = [told.number for told in third[1:]] + [told.number for told in second.events[1:]]
    with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
        written = [number for (number,) in database.execute("SELECT id FROM events ORDER BY id")]
    assert heard == written[: len(heard)] and len(heard) == len(written)
    assert first.events[0].data["epoch"] == second.events[0].data["epoch"]
    # Nothing is left to be told.
    assert [t.name for t in Listener(client, last_id=second.events[-1].id).events] == ["hello"]


def test_what_cannot_be_told_any_more(impatient: RunningServer) -> None:
    client = user(impatient, "late")

    def names(last_id: str) -> list[str]:
        listener = Listener(client, last_id=last_id)
        wait_for(lambda: len(listener.events) > 1, "more than the greeting", 10)
        return [told.name for told in listener.events]

    first = Listener(client).events[0]
    epoch, newest = first.data["epoch"], first.number
    client.create()
    assert names(first.id) == ["hello", "job"]
    for wrong in (f"{epoch}-{newest + 7}", f"0123456789ab-{newest}", epoch, "nonsense"):
        assert names(wrong) == ["hello", "reset"]
    for wrong in (f"{epoch}-", f"{epoch}-1e3", f"{epoch}--1", f"{epoch}-{'9' * 30}"):
        assert names(wrong) == ["hello", "reset"]
    impatient.change_database("UPDATE events SET at = at - 3700000000")
    assert names(first.id) == ["hello", "reset"]
    impatient.change_database(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
        f" INSERT INTO events (at, kind, job_id, data) SELECT {int(time.time() * 1e6)},"
        " 'job.changed', (SELECT max(id) FROM jobs), '{}' FROM n"
    )
    stays = Listener(client)
    last = client.create()["id"]  # by the server itself: it looks now
    stays.wait(lambda told: told.data.get("id") == last, "the last of them")
    newest += 1
    assert names(f"{epoch}-{newest}") == ["hello", "reset"]  # 10,001 are too many
    listener = Listener(client, last_id=f"{epoch}-{newest + 1}")  # 10,000 are not
    wait_for(lambda: len(listener.events) == 10_001, "10,000 events", 10)
    told = [told.number for told in listener.events[1:]]
    assert told == list(range(newest + 2, newest + 10_002))


def test_a_reader_that_does_not_read(impatient: RunningServer) -> None:
    """It holds nobody up, and is told to look again once it reads."""
    client = user(impatient, "slow")
    client.create()
    before = open_streams(client)
    host, port = impatient.address.removeprefix("http://").split(":")
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect((host, int(port)))
    head = f"GET /api/v2/events/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Token {client.key}\r\n"
    slow.sendall(f"{head}\r\n".encode())
    wait_for(lambda: open_streams(client) == before + 1, "the stream", 10)
    now, text = int(time.time() * 1e6), "x" * 50_000
    # What fills the buffers on the way, and then more runs than a queue takes.
    share = json.dumps({"with": "slow@lab.example", "by": "slow@lab.example", "message": text})
    impatient.change_database(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= 500)"
        " INSERT INTO events (at, kind, job_id, run_number, data)"
        f" SELECT {now}, iif(i <= 200, 'job.shared', 'run.state'), (SELECT max(id) FROM jobs),"
        f" iif(i <= 200, NULL, i), iif(i <= 200, '{share}', '{{}}') FROM n"
    )
    quick = Listener(client)
    began = time.monotonic()
    for _ in range(3):
        client.create()
    wait_for(lambda: len(quick.named("job")) == 3, "the news", 5)
    assert time.monotonic() - began < 3
    received = b""
    slow.settimeout(10)
    while b"event: reset" not in received:
        part = slow.recv(1 << 20)
        assert part, "it was cut off"
        received = received[-100:] + part
    slow.close()
    wait_for(lambda: open_streams(client) == before + 1, "its end", 10)


def open_streams(client: Client) -> float:
    text = client.http.get(client.base.removesuffix("api/v2/") + "metrics").text
    (line,) = (line for line in text.splitlines() if line.startswith("simyard_event_streams "))
    return float(line.split()[1])


# --- how it ends ----------------------------------------------------------------------------------


def test_who_may_not_listen_any_longer(impatient: RunningServer) -> None:
    kept, revoked, expired, left = (
        user(impatient, name) for name in ("kept", "revoked", "expired", "left")
    )
    job_id = kept.create('echo "$RESCALE_API_KEY"; while [ ! -e go ]; do sleep 0.1; done')["id"]
    kept.submit(job_id)
    tail = f"jobs/{job_id}/runs/1/tail/process_output.log?lines=1"
    wait_for(lambda: bool(kept.http.get(tail).is_success and kept.get(tail)["lines"]), "its key")
    running = impatient.client(kept.get(tail)["lines"][0].strip())
    listeners = [Listener(each) for each in (revoked, expired, left, running)]
    stays = Listener(kept)
    wait_for(lambda: all(len(listener.pings) > 1 for listener in listeners), "pings", 10)
    assert not any(listener.ended for listener in listeners)
    now = int(time.time() * 1e6)
    email = "(SELECT id FROM users WHERE email = '{}@lab.example')"
    for column, name in (("revoked_at", "revoked"), ("expires_at", "expired")):
        impatient.change_database(
            f"UPDATE api_keys SET {column} = {now} WHERE user_id = {email.format(name)}"
        )
    impatient.change_database(f"UPDATE users SET left_at = {now} WHERE email = 'left@lab.example'")
    kept.call("POST", f"jobs/{job_id}/stop/", 202)
    stays.wait(stopped(job_id), "the end of the job")
    wait_for(lambda: all(each.ended for each in listeners), "the end of the streams", 10)
    assert not stays.ended
    # What was not for him is not looked at again when he comes back.
    wait_for(lambda: stays.pings[-1] == stays.events[-1].id, "a ping that is up to date", 10)


def test_a_session_listens_until_it_ends(impatient: RunningServer) -> None:
    client = user(impatient, "browsing")
    browser, other = impatient.client(client.key), impatient.client(client.key)
    page = {"X-Simyard": "1", "Origin": impatient.address}
    for each in (browser, other):
        del each.http.headers["Authorization"]
        each.call("POST", "session/", 200, json={"key": client.key}, headers=page)
    ends, stays = Listener(browser), Listener(other)
    job_id = client.create()["id"]
    for listener in (ends, stays):
        listener.wait(lambda told: told.data.get("id") == job_id, "the job")
    wait_for(lambda: len(ends.pings) > 1 and len(stays.pings) > 1, "pings", 10)
    assert not ends.ended
    browser.call("DELETE", "session/", 204, headers=page)
    wait_for(lambda: ends.ended, "the end of the stream", 10)
    browser.call("GET", "events/", 401)
    assert not stays.ended
    (key,) = client.get("keys/")["results"]
    client.call("DELETE", f"keys/{key['id']}/", 204)
    wait_for(lambda: stays.ended, "the end of the other", 10)


def test_many_viewers(server: RunningServer, client: Client) -> None:
    before = open_streams(client)
    host, port = server.address.removeprefix("http://").split(":")
    head = f"GET /api/v2/events/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: Token {client.key}\r\n"
    viewers = [socket.create_connection((host, int(port)), timeout=10) for _ in range(50)]
    try:
        for viewer in viewers:
            viewer.sendall(f"{head}\r\n".encode())
        for viewer in viewers:
            read_until(viewer, b"event: hello")
        began = time.monotonic()
        job_id = client.create()["id"]
        for viewer in viewers:
            assert job_id.encode() in read_until(viewer, b'"clusterStatus":""')
        assert time.monotonic() - began < 2
    finally:
        for viewer in viewers:
            viewer.close()
    wait_for(lambda: open_streams(client) == before, "as many streams as before", 10)


def read_until(viewer: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        part = viewer.recv(65536)
        assert part, "it was cut off"
        received += part
    return received


def test_a_user_has_so_many_streams_and_a_stop_ends_all(impatient: RunningServer) -> None:
    client = user(impatient, "many")
    listeners = [Listener(client) for _ in range(STREAMS_MOST)]
    refused = client.call("GET", "events/", 429)
    assert refused.headers["Retry-After"] and refused.json()["detail"]
    assert Listener(user(impatient, "another")).events
    began = time.monotonic()
    assert impatient.stop() == 0
    assert time.monotonic() - began < 3
    wait_for(lambda: all(listener.ended for listener in listeners), "the end", 5)
