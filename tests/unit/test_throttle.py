"""Rate limits, to the second, with a clock that stands still until it is moved."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coroutines import finished
from simyard.api.throttle import HOUR, LIMITS, Book, Throttle, Verdict, Window

SUBMIT = "/api/v2/jobs/QTVia/submit/"
STATUSES = "/api/v2/jobs/QTVia/statuses/"
FILES_V3 = "/api/v3/files/"
START = 1_000_000.0


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> Book:
    return Book(clock)


def submits(book: Book, number: int, user: int = 1) -> list[Verdict]:
    found = [book.charge(user, "POST", SUBMIT) for _ in range(number)]
    return [verdict for verdict in found if verdict is not None]


# --- what is limited ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", SUBMIT, 1000),
        ("GET", STATUSES, 90_000),
        ("HEAD", STATUSES, 90_000),
        ("GET", "/api/v2/jobs/", 90_000),
        ("GET", SUBMIT, 90_000),
        ("GET", FILES_V3, 7200),
        ("PUT", FILES_V3, 7200),
        ("DELETE", "/api/v3/jobs/QTVia/", 7200),
        ("GET", "/api/v3/jobs/QTVia/", 7200),
        ("POST", "/api/v3/jobs/QTVia/submit/", 1000),  # the user's 7200 as well
        ("POST", "/api/v2/jobs/", None),
        ("POST", "/api/v2/jobs/QTVia/stop/", None),
        ("POST", "/api/v2/jobs/a/b/submit/", None),
        ("PUT", STATUSES, None),
        ("GET", "/api/v2/files/", None),
        ("POST", "/api/v2/files/contents/", None),
        ("GET", "/health", None),
    ],
)
def test_scopes(book: Book, method: str, path: str, limit: int | None) -> None:
    verdict = book.charge(1, method, path)
    assert verdict == (limit and Verdict(limit, limit - 1, 0))


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [("POST", SUBMIT, 1000), ("GET", FILES_V3, 7200), ("GET", STATUSES, 90_000)],
)
def test_the_last_that_is_let_through(book: Book, method: str, path: str, limit: int) -> None:
    for number in range(1, limit + 1):
        assert book.charge(1, method, path) == Verdict(limit, limit - number, 0)
    assert book.charge(1, method, path) == Verdict(limit, 0, HOUR)


def test_users_and_scopes_are_counted_apart(book: Book) -> None:
    assert submits(book, 1001)[-1].wait_seconds
    assert not submits(book, 1, user=2)[-1].wait_seconds
    assert book.charge(1, "GET", STATUSES) == Verdict(90_000, 89_999, 0)
    assert book.charge(1, "GET", FILES_V3) == Verdict(7200, 7199, 0)


def test_a_submit_of_version_3_counts_twice(book: Book) -> None:
    path = "/api/v3/jobs/QTVia/submit/"
    assert book.charge(1, "POST", path) == Verdict(1000, 999, 0)
    assert book.charge(1, "GET", FILES_V3) == Verdict(7200, 7198, 0)
    for _ in range(7198):
        book.charge(1, "GET", FILES_V3)
    assert book.charge(1, "POST", path) == Verdict(7200, 0, HOUR), "the one that is against it"


# --- when it is let through again -----------------------------------------------------------------


def test_as_the_oldest_leave(book: Book, clock: Clock) -> None:
    submits(book, 600)
    clock.now += 100
    submits(book, 400)
    assert submits(book, 1) == [Verdict(1000, 0, HOUR - 100)]
    clock.now = START + HOUR - 1
    assert submits(book, 1) == [Verdict(1000, 0, 1)]
    clock.now = START + HOUR
    assert submits(book, 1) == [Verdict(1000, 599, 0)], "600 have left, this one came"
    assert submits(book, 600)[-1] == Verdict(1000, 0, 100)
    clock.now = START + HOUR + 100
    assert submits(book, 1) == [Verdict(1000, 399, 0)]


def test_what_was_refused_is_not_counted(book: Book, clock: Clock) -> None:
    submits(book, 1000)
    for _ in range(100):
        clock.now += 30
        assert submits(book, 10)[-1].wait_seconds == START + HOUR - clock.now
    clock.now = START + HOUR
    assert submits(book, 1) == [Verdict(1000, 999, 0)]


def test_waits_are_whole_seconds_and_enough(book: Book, clock: Clock) -> None:
    clock.now = START + 0.75
    submits(book, 1000)
    clock.now = START + 10.5
    assert submits(book, 1) == [Verdict(1000, 0, HOUR - 10)]
    clock.now += HOUR - 10
    assert submits(book, 1) == [Verdict(1000, 999, 0)]


def test_after_a_long_time(book: Book, clock: Clock) -> None:
    submits(book, 1000)
    clock.now += 1e9
    assert submits(book, 1) == [Verdict(1000, 999, 0)]


@pytest.mark.parametrize("start", [0.0, 0.5, 17.0, 3599.0, 3600.0])
def test_clocks_that_began_lately(start: float) -> None:
    clock = Clock(start)
    book = Book(clock)
    submits(book, 1000)
    assert submits(book, 1) == [Verdict(1000, 0, HOUR)]
    clock.now = float(int(start) + HOUR)
    assert submits(book, 1) == [Verdict(1000, 999, 0)]


def test_a_clock_that_goes_back_does_no_harm(book: Book, clock: Clock) -> None:
    submits(book, 999)
    clock.now -= 500
    assert submits(book, 2) == [Verdict(1000, 0, 0), Verdict(1000, 0, HOUR + 500)]


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5)), max_size=30))
def test_a_window_is_a_list_of_times(moves: list[tuple[int, int]]) -> None:
    """As Django REST Framework keeps it, whatever comes when."""
    window, times, now = Window(), [], 50_000
    for step, number in moves:
        now += step
        window.move_to(now)
        for _ in range(number):
            window.add()
        times = [at for at in [*times, *[now] * number] if at > now - HOUR]
        assert window.total == len(times)
        assert window.next_second == min(times) + HOUR


def test_a_window_is_small_however_much_happens(book: Book, clock: Clock) -> None:
    for _ in range(8000):
        clock.now += 0.4
        book.charge(1, "GET", STATUSES)
    (window,) = book._windows.values()
    assert sys.getsizeof(window._counts) < 16_000


def test_the_limits_are_those_that_are_published() -> None:
    assert {limit.name: limit.requests for limit in LIMITS} == {
        "user": 7200,
        "job-submission": 1000,
        "jobs-usage": 90_000,
    }


# --- replies --------------------------------------------------------------------------------------


def ask(
    layer: Throttle, method: str, path: str, user: int | None = 1, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }
    if user is not None:
        scope["caller"] = SimpleNamespace(user=SimpleNamespace(id=user))
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("a body is not read")

    async def send(message: Any) -> None:
        sent.append(message)

    finished(layer(scope, receive, send))
    told = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(part.get("body", b"") for part in sent[1:])


@pytest.fixture
def layer(clock: Clock) -> Throttle:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"fine"})

    return Throttle(app, clock)


def test_replies_tell_what_is_left(layer: Throttle) -> None:
    expected = {"a": "b", "x-ratelimit-limit": "1000", "x-ratelimit-remaining": "999"}
    assert ask(layer, "POST", SUBMIT) == (200, expected, b"fine")
    assert ask(layer, "POST", SUBMIT)[1]["x-ratelimit-remaining"] == "998"
    assert ask(layer, "POST", "/api/v2/jobs/") == (200, {"a": "b"}, b"fine")


def test_without_a_caller_nothing_is_counted(layer: Throttle) -> None:
    assert ask(layer, "GET", FILES_V3, user=None) == (200, {"a": "b"}, b"fine")


def test_a_refusal(layer: Throttle, clock: Clock) -> None:
    submits(layer._book, 1000)
    clock.now += 61.5
    status, headers, body = ask(layer, "POST", SUBMIT)
    assert status == 429
    assert body == b'{"detail":"Request was throttled. Expected available in 3539 seconds."}'
    assert headers["retry-after"] == "3539"
    assert headers["x-ratelimit-limit"] == "1000"
    assert headers["x-ratelimit-remaining"] == "0"
    assert headers["content-type"] == "application/json"
    assert "connection" not in headers
    clock.now = START + HOUR - 0.1
    assert b"in 1 second." in ask(layer, "POST", SUBMIT)[2], "as Django REST Framework says it"


def test_a_refusal_of_a_body_ends_the_connection(layer: Throttle) -> None:
    """What is not read would be taken for the next request."""
    submits(layer._book, 1000)
    for headers, closes in (
        ({"content_length": "0"}, False),
        ({"content_length": "20"}, True),
        ({"transfer_encoding": "chunked"}, True),
    ):
        told = ask(layer, "POST", SUBMIT, **headers)[1]
        assert (told.get("connection") == "close") is closes
