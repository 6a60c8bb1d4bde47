"""Windows of logs, numbers of their lines, what is found and marked in them, and how they are
followed.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.api.series import STEPS_AT_ONCE, STEPS_MISSED, rows_of
from simyard.domain.catalogue import Machine
from simyard.domain.errors import Invalid, NotFound
from simyard.domain.grammar import Reader
from simyard.domain.jobs import JobDefinition
from simyard.domain.lifecycle import State
from simyard.domain.runs import Run
from simyard.service import following, logs
from simyard.service.catalogue import load, own_folder
from simyard.service.following import Follower, whole_characters
from simyard.service.live import LiveFile
from simyard.service.logmarks import MarkBook
from simyard.service.logs import LineBook, Log, window
from simyard.service.logsearch import Found, finder_of, search
from simyard.service.series import Reading

CATALOGUE = load([own_folder()], Machine(cores=1, memory_mb=1, storage_gb=1))
SOLVER_LOGS = Path(__file__).parents[1] / "data" / "solver-logs"


@dataclass
class Bytes:
    """A source in memory."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def close(self) -> None:
        pass


def a_log(data: bytes, *, live: bool = False) -> Log:
    return Log(Bytes(data), "log", "1", is_live=live)


def a_run(**changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": 1,
        "job_id": 1,
        "number": 1,
        "state": State.RUNNING,
        "cores": 1,
        "core_type": "emerald",
        "price_micros": 0,
        "started_at": None,
        "completed_at": None,
        "output_count": 0,
        "output_bytes": 0,
        "ending": None,
        "outcome": None,
        "token": "token",
        **changes,
    }
    return Run(**fields)


# --- windows --------------------------------------------------------------------------------------


def part(data: bytes, offset: int, length: int, *, lines: bool = True) -> tuple[int, bytes]:
    found = window(a_log(data), offset, length, whole_lines=lines)
    assert found.end == found.start + len(found.content)
    assert found.content == data[found.start : found.end]
    return found.start, found.content


def test_a_window_is_what_was_asked_for() -> None:
    data = b"one\ntwo\nthree"
    assert part(data, 2, 4, lines=False) == (2, b"e\ntw")
    assert part(data, -5, 3, lines=False) == (8, b"thr")
    assert part(data, -100, 3, lines=False) == (0, b"one")
    assert part(data, 100, 3, lines=False) == (13, b"")
    assert part(b"", 0, 3) == (0, b"")


def test_a_window_of_whole_lines() -> None:
    data = b"one\ntwo\nthree"
    assert part(data, 0, 6) == (0, b"one\n")  # the second is not whole
    assert part(data, 5, 4) == (4, b"two\n")  # begun before, cut behind
    assert part(data, 4, 100) == (4, b"two\nthree")  # the end of the file is the end of a line
    assert part(data, -2, 100) == (8, b"three")
    assert part(data, 4, 2) == (4, b"tw")  # longer than the window: cut
    assert part(data, 6, 3) == (4, b"two\n")  # ... and found whole by who goes on
    far = b"x" * (logs.LONGEST_LINE + 10) + b"\nend\n"
    assert part(far, logs.LONGEST_LINE + 5, 4) == (logs.LONGEST_LINE + 5, b"xxxx")


@given(st.binary(max_size=300), st.integers(1, 40))
def test_who_goes_on_behind_each_window_comes_to_the_end(data: bytes, length: int) -> None:
    at, seen = 0, b""
    while at < len(data):
        found = window(a_log(data), at, length, whole_lines=True)
        assert found.end > at >= found.start
        seen += data[at : found.end]
        at = found.end
    assert seen == data


# --- numbers of lines -----------------------------------------------------------------------------


@pytest.fixture
def line_book(monkeypatch: pytest.MonkeyPatch) -> Iterator[LineBook]:
    monkeypatch.setattr(logs, "_BLOCK", 8)
    site: Any = None
    book = LineBook(site)
    yield book
    book.close()


def test_numbers_of_lines(line_book: LineBook) -> None:
    data = b"".join(b"%d\n" % i for i in range(200))
    log, run = a_log(data), a_run()
    for offset in (*range(len(data), 0, -7), 0):
        line = line_book.line_of(log, run, "a.log", offset)
        assert line == data[:offset].count(b"\n") + 1


def test_a_log_that_was_written_from_the_start_is_counted_anew(line_book: LineBook) -> None:
    run = a_run()
    assert line_book.line_of(a_log(b"x\n" * 100), run, "a.log", 180) == 91
    assert line_book.line_of(a_log(b"longer\n" * 5), run, "a.log", 30) == 5


def test_a_number_that_takes_long_comes_later(
    line_book: LineBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = b"line\n" * 1000, a_run()
    log = a_log(data)
    monkeypatch.setattr(logs, "_PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(logs, "open_log", lambda *_: log)
    assert line_book.line_of(log, run, "a.log", 4500) is None
    line_book._thread.submit(lambda: None).result()  # behind what goes on
    monkeypatch.setattr(logs, "_PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(Bytes, "read", lambda *_: pytest.fail("it is known"))
    index = line_book._index(log)
    assert index.reach(log.source, 4500 // 8, lambda: True) and index.before[4500 // 8] == 899


# --- search ---------------------------------------------------------------------------------------


def find(
    data: bytes, text: str, *, start: int = 0, limit: int = 200, live: bool = False, **how: bool
) -> Found:
    finder = finder_of(text, regex=how.get("regex", False), case=how.get("case", False))
    line = data[:start].count(b"\n") + 1
    return search(a_log(data, live=live), finder, start, limit, line, seconds=60)


def test_lines_that_hold_a_text() -> None:
    data = "begin\nan Error: a+b\r\nfine\nerror, error\nÄ ERROR".encode()
    found = find(data, "error")
    assert found.done and found.scanned_to == len(data)
    assert [(m.offset, m.line, m.text[m.start : m.end]) for m in found.matches] == [
        (6, 2, "Error"),
        (26, 4, "error"),
        (39, 5, "ERROR"),
    ]
    assert [m.text for m in found.matches] == ["an Error: a+b", "error, error", "Ä ERROR"]
    assert [m.line for m in find(data, "error", case=True).matches] == [4]
    assert [m.line for m in find(data, "a+b").matches] == [2]
    assert find(data, "a.b").matches == []
    assert [m.line for m in find(data, "error", start=30).matches] == [4, 5]


def test_patterns() -> None:
    data = b"Time = 1\nTime = 22\nno Time = 3\ntime = 4\n"
    assert [m.line for m in find(data, r"^time = \d+$", regex=True).matches] == [1, 2, 4]
    assert [m.line for m in find(data, r"^Time", regex=True, case=True).matches] == [1, 2]
    assert find(data, r"2[^x]+T", regex=True).matches == []  # a line at a time
    hard = b"a" * 200_000 + b"\n"
    assert find(hard, r"(a+)+$b", regex=True).matches == []  # in no time
    for wrong in ("(", "(?=a)", "a**"):
        with pytest.raises(Invalid, match="cannot be read"):
            finder_of(wrong, regex=True, case=True)


def test_what_cannot_be_looked_for() -> None:
    for wrong in ("", "a\nb", "a\rb", "x" * 1001, "\udc80"):
        with pytest.raises(Invalid):
            finder_of(wrong, regex=False, case=True)


def test_who_goes_on_finds_each_line_once() -> None:
    data = b"".join(b"hit %d\nmiss\n" % i for i in range(100))
    at, seen = 0, []
    while True:
        found = find(data, "hit", start=at, limit=7)
        seen += [m.text for m in found.matches]
        at = found.scanned_to
        if found.done:
            break
    assert seen == [f"hit {i}" for i in range(100)]


def test_a_line_that_is_longer_than_a_piece() -> None:
    size = 3 << 20
    data = bytearray(b"x" * size)
    data[1000:1004] = data[(1 << 20) - 2 : (1 << 20) + 2] = data[-4:] = b"HERE"
    found = find(bytes(data), "here")
    assert found.done
    assert [m.at for m in found.matches] == [1000, (1 << 20) - 2, size - 4]
    assert all(len(m.text) == 400 and m.text[m.start : m.end] == "HERE" for m in found.matches)
    assert find(b"\0\xff\xfe\n" * 100 + b"HERE\xff", "HERE").matches[0].text == "HERE\ufffd"


def test_the_last_line_of_a_live_log_is_looked_at_once_it_ended() -> None:
    found = find(b"hit\nhit", "hit", live=True)
    assert len(found.matches) == 1 and found.done and found.scanned_to == 4
    assert len(find(b"hit\nhit\n", "hit", live=True, start=4).matches) == 1


# --- marks ----------------------------------------------------------------------------------------


def a_job(code: str) -> Any:
    sent = SimpleNamespace(code=code)
    definition: Any = SimpleNamespace(analyses=(sent,))
    assert hasattr(JobDefinition(name="", analyses=()), "analyses")
    return SimpleNamespace(code="job", definition=definition)


def mark_book() -> MarkBook:
    site: Any = SimpleNamespace(book=SimpleNamespace(current=lambda: CATALOGUE))
    return MarkBook(site)


def test_marks_of_a_real_log() -> None:
    data = (SOLVER_LOGS / "of-cfl-exit0.log").read_bytes()
    found = mark_book().marks(a_job("openfoam"), a_log(data), 10, seconds=60)
    assert found.done and found.scanned_to == found.size == len(data)
    assert sum(found.steps) == data.count(b"\nTime = ")
    healthy = (SOLVER_LOGS / "of-simple-ok.log").read_bytes()
    found = mark_book().marks(a_job("openfoam"), a_log(healthy), 10, seconds=60)
    assert sum(found.errors) == 0 and found.first_error is None
    assert min(found.steps) > 0, "they are everywhere"


def test_the_first_error() -> None:
    start = b"Time = 1\nfine\n--> FOAM Warning : odd\n"
    data = start + b"--> FOAM FATAL ERROR: (openfoam-2206)\nTime = 2\n" * 2
    found = mark_book().marks(a_job("openfoam"), a_log(data), 1, seconds=60)
    assert found.first_error is not None
    assert found.first_error.offset == len(start) and found.first_error.line == 4
    assert found.first_error.text.startswith("--> FOAM FATAL ERROR")
    assert (found.errors, found.warnings, found.steps) == ([2], [1], [3])


def test_marks_go_on_where_they_were() -> None:
    line = b"Time = 1\n"
    book, job = mark_book(), a_job("openfoam")
    for count in (10, 5000, 20_000, 3):  # the last is shorter: another log
        size = len(line) * count
        found = book.marks(job, a_log(line * count, live=True), 4, seconds=60)
        assert sum(found.steps) == count and found.size == size and found.done
    big = b"x" * 63 + b"\n"
    data = (big * 16 + line) * 30_000  # more blocks than are kept at first
    found = mark_book().marks(job, a_log(data), 3, seconds=60)
    assert sum(found.steps) == 30_000
    assert max(found.steps) - min(found.steps) < 400


# --- following ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", 0),
        (b"abc", 3),
        ("aä".encode(), 3),
        ("aä".encode()[:-1], 1),
        ("€".encode()[:2], 0),
        ("x😀".encode()[:4], 1),
        ("😀".encode(), 4),
        (b"a\xff", 2),
        (b"\x80\x80\x80\x80", 4),
    ],
)
def test_characters_are_not_cut(data: bytes, whole: int) -> None:
    assert whole_characters(data) == whole


class Watched:
    """A real file, followed by a clock that is set."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self.now, self.run = path, 0.0, a_run()
        self.stored: bytes | None = None
        patch.setattr(following, "time", SimpleNamespace(monotonic=lambda: self.now))
        patch.setattr(following, "open_log", self._live)
        patch.setattr(following, "open_stored", self._stored)
        patch.setattr(following, "present", lambda *_: self.run)
        site: Any = None
        self.follower = Follower(site, self.run, "a.log")

    def _live(self, *_: object) -> Log:
        try:
            file = LiveFile(os.open(self.path, os.O_RDONLY), 0)
        except FileNotFoundError:
            raise NotFound from None
        return Log(file, f"{file.status().st_ino}", "", is_live=True)

    def _stored(self, *_: object) -> Log:
        if self.stored is None:
            raise NotFound
        return Log(Bytes(self.stored), "stored", "", is_live=False)

    def add(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def look(self, after: float = 0.1) -> bool:
        self.now += after
        return self.follower.look(again=False)

    def end(self, stored: bytes | None) -> None:
        self.stored = stored
        self.run = a_run(completed_at="now")
        self.follower.look(again=True)

    def rest(self, at: int) -> tuple[int, str]:
        text = ""
        while (found := self.follower.piece(at)) is not None:
            assert found.start == at < found.end
            text += found.text or "[gap]"
            at = found.end
        return at, text


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched(tmp_path / "a.log", monkeypatch)
    yield made
    made.follower.close()


def test_a_log_that_grows(watched: Watched) -> None:
    assert not watched.look() and watched.rest(0) == (0, "")
    watched.add(b"one\ntw")
    assert watched.look(1.1) and watched.rest(0) == (4, "one\n")
    assert not watched.look()
    watched.add(b"o\nthree 10%\r")
    assert watched.look() and watched.rest(4) == (18, "two\nthree 10%\r")
    watched.add("prompt ä".encode()[:-1])
    watched.look()
    assert watched.rest(18) == (18, "")
    assert watched.look(1.1) and watched.rest(18) == (25, "prompt ")  # it waited long enough
    watched.add("ä".encode()[1:])
    assert watched.look() or watched.look(1.1)
    assert watched.rest(25) == (27, "ä")


def test_a_log_that_is_cut_short(watched: Watched) -> None:
    watched.add(b"one\ntwo\n")
    watched.look(1.1)
    os.truncate(watched.path, 4)
    assert watched.look()
    assert watched.follower.seen.version == 1 and watched.follower.seen.cut_to == 4
    watched.add(b"2\n")
    watched.look()
    assert watched.rest(4) == (6, "2\n")
    watched.path.unlink()
    watched.look(1.1)
    assert watched.rest(0) == (6, "one\n2\n")  # it is read on while nothing has its place
    watched.path.write_bytes(b"new\n")
    assert watched.look(1.1)
    assert watched.follower.seen.version == 2 and watched.rest(0) == (4, "new\n")


def test_a_log_at_its_end(watched: Watched) -> None:
    watched.add(b"one\n\xe2\x82")
    watched.look(1.1)
    assert watched.rest(0) == (4, "one\n")
    watched.path.unlink()
    watched.end(b"one\n\xe2\x82\xac and the last")
    assert watched.follower.seen.is_final and watched.follower.seen.version == 0
    assert watched.rest(4) == (20, "€ and the last")


def test_a_log_that_was_not_stored(watched: Watched) -> None:
    watched.add(b"one\ntw")
    watched.look(1.1)
    watched.end(None)
    assert watched.follower.seen.is_final and watched.rest(0) == (6, "one\ntw")


def test_who_is_far_behind_goes_on_near_the_end(watched: Watched) -> None:
    line = b"0123456789abcde\n"
    data = line * (3 << 16)
    watched.add(data)
    watched.look(1.1)
    found = watched.follower.piece(5)
    assert found is not None and found.text is None and found.start == 5
    assert data[found.end - 1 : found.end] == b"\n" and len(data) - found.end <= 1 << 16
    end, text = watched.rest(found.end)
    assert end == len(data) and text.encode() == data[found.end :]
    near = len(data) - (1 << 20)
    assert watched.rest(near) == (len(data), data[near:].decode())


@given(st.lists(st.text(alphabet="a\n\rä€😀", max_size=40), max_size=8), st.integers(1, 7))
def test_no_character_is_lost_or_cut(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], step: int
) -> None:
    whole = "".join(texts).encode()
    with pytest.MonkeyPatch.context() as patch:
        watched = Watched(tmp_path_factory.getbasetemp() / "grows.log", patch)
        try:
            at, seen = 0, ""
            for i in range(0, len(whole), step):
                watched.add(whole[i : i + step])
                watched.look(0.4)
                at, more = watched.rest(at)
                seen += more
            watched.end(whole)
            at, more = watched.rest(at)
            assert seen + more == "".join(texts) and at == len(whole)
        finally:
            watched.follower.close()
            watched.path.unlink(missing_ok=True)


# --- points of series -----------------------------------------------------------------------------


def read_steps(count: int, *, whole: bool = False) -> Callable[[int], Any]:
    grammar = CATALOGUE.analysis("openfoam")
    assert grammar is not None and grammar.grammar is not None
    reader = Reader(grammar.grammar)
    for i in range(1, count + 1):
        reader.feed(f"Time = {i}")
        reader.feed(f"GAMG:  Solving for p, Initial residual = {1 / i}, Final residual = 0, No 1")
    steps = reader.steps if whole else max(0, reader.steps - 1)
    reading = Reading(list(reader.series.values()), steps, reader.changes, "log", None)
    return lambda step: rows_of(reading, step)


def test_points_behind_a_step() -> None:
    found = read_steps(3)(1)
    assert found.data == {"index": 2, "x": [2, 3], "values": {"residuals/p": [0.5, 1 / 3]}}
    assert found.index == 2 and not found.has_more  # the third may change
    assert read_steps(3, whole=True)(2).data["index"] == 3
    assert read_steps(3, whole=True)(3) is None
    assert read_steps(0)(0) is None
    begun = read_steps(2)(40)  # the log is shorter than what the client has
    assert begun.data["isNew"] and begun.data["x"] == [1, 2]


def test_many_points_come_in_parts_and_very_many_are_left_out() -> None:
    part = read_steps(STEPS_AT_ONCE + 10)
    first = part(0)
    assert first.has_more and first.index == STEPS_AT_ONCE == len(first.data["x"])
    second = part(first.index)
    assert second.data["x"] == list(range(STEPS_AT_ONCE + 1, STEPS_AT_ONCE + 11))
    far = read_steps(STEPS_MISSED + 100)(0)
    assert far.data["missed"] == 99 and far.data["x"][0] == 100
