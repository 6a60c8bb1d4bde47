"""The rate limits that Rescale publishes, for testing clients against them: `profile = "faithful"`.

Numbers, scopes and the reply: api-v2 reference, sections 1.5 and 1.6.
"""

import math
import re
from array import array
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from simyard.api.replies import reply
from simyard.domain.records import dataclass

HOUR = 3600


@dataclass(frozen=True)
class Limit:
    """How many requests of a kind one user may send in any hour."""

    name: str
    requests: int
    methods: frozenset[str] | None  # None: all
    path: re.Pattern[str]


LIMITS = (
    Limit("user", 7200, None, re.compile(r"/api/v3/.*")),
    Limit(
        "job-submission",
        1000,
        frozenset({"POST"}),
        re.compile(r"/api/v[23]/jobs/[^/]+/submit/"),
    ),
    Limit("jobs-usage", 90_000, frozenset({"GET", "HEAD"}), re.compile(r"/api/v2/jobs/.*")),
)


class Window:
    """How much happened in the last hour, counted by the second: 14 kB, however much it is."""

    def __init__(self) -> None:
        self.total = 0
        self._counts = array("I", bytes(4 * HOUR))  # of each second, at its number modulo HOUR
        self._second = 0  # the newest

    def move_to(self, second: int) -> None:
        for each in range(max(self._second + 1, second - HOUR + 1), second + 1):
            self.total -= self._counts[each % HOUR]
            self._counts[each % HOUR] = 0
        self._second = max(self._second, second)

    def add(self) -> None:
        self._counts[self._second % HOUR] += 1
        self.total += 1

    @property
    def next_second(self) -> int:
        """When the oldest of what is counted will be an hour old."""
        first = self._second - HOUR + 1
        seconds = range(first, self._second + 1)
        return next((each for each in seconds if self._counts[each % HOUR]), first) + HOUR


@dataclass(frozen=True)
class Verdict:
    limit: int
    remaining: int
    wait_seconds: int  # 0: go ahead


class Book:
    """Who has sent how much."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: seconds since whenever; it must not go back."""
        self._clock = clock
        self._windows: dict[tuple[str, int], Window] = {}

    def charge(self, user_id: int, method: str, path: str) -> Verdict | None:
        """Count a request, unless a limit is against it. None: there is no limit on such ones.

        Where more than one limit applies, the verdict is of the one that matters more.
        """
        limits = [
            limit
            for limit in LIMITS
            if (limit.methods is None or method in limit.methods) and limit.path.fullmatch(path)
        ]
        verdicts = [self._look(limit, user_id) for limit in limits]
        if all(verdict.wait_seconds == 0 for verdict in verdicts):
            verdicts = [self._charge(limit, user_id) for limit in limits]
        return min(verdicts, key=lambda v: (-v.wait_seconds, v.remaining), default=None)

    def _look(self, limit: Limit, user_id: int) -> Verdict:
        now = self._clock()
        window = self._windows.setdefault((limit.name, user_id), Window())
        window.move_to(int(now))
        if window.total >= limit.requests:
            return Verdict(limit.requests, 0, max(1, math.ceil(window.next_second - now)))
        return Verdict(limit.requests, limit.requests - window.total, 0)

    def _charge(self, limit: Limit, user_id: int) -> Verdict:
        window = self._windows[limit.name, user_id]
        window.add()
        return Verdict(limit.requests, limit.requests - window.total, 0)


class Throttle:
    """Refuses what is beyond the limits; stands behind Authentication."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float]) -> None:
        self._app = app
        self._book = Book(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("caller")
        verdict = caller and self._book.charge(caller.user.id, scope["method"], scope["path"])
        if verdict is None:
            await self._app(scope, receive, send)
            return
        headers = {
            "X-RateLimit-Limit": str(verdict.limit),
            "X-RateLimit-Remaining": str(verdict.remaining),
        }
        if verdict.wait_seconds:
            await _refusal(verdict.wait_seconds, headers, scope)(scope, receive, send)
            return
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *raw]
            await send(message)

        await self._app(scope, receive, tell)


def _refusal(wait_seconds: int, headers: dict[str, str], scope: Scope) -> ASGIApp:
    headers = {**headers, "Retry-After": str(wait_seconds)}
    if any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    ):
        headers["Connection"] = "close"  # the body that was announced is not read
    unit = "second" if wait_seconds == 1 else "seconds"
    detail = f"Request was throttled. Expected available in {wait_seconds} {unit}."
    return reply({"detail": detail}, 429, headers)
