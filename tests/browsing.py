"""A real browser in front of a real server, watched: what it asks for, and what it complains of."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
)

from harness import wait_for

MADE_ANEW = bool(os.environ.get("SIMYARD_PICTURES"))
CONSOLE = Path(__file__).parents[1] / "console"
AXE = CONSOLE / "node_modules" / "axe-core" / "axe.min.js"
# A failed request is told on the console too; tests that want one say so by its status.
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")
# They are asked for from the first moment on; a run that has just begun has written nothing yet.
_NOT_YET = re.compile(r"/runs/\d+/(log|series/data)/")
# The server was stopped; the page is plain http, where the browser leaves some headers aside.
_NO_FAULT = ("net::ERR_", "Cross-Origin-Opener-Policy header has been ignored")


class Visit:
    """Somebody with a browser, signed in. Everything that it asks for and says is recorded."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self.refused: list[tuple[int, str]] = []  # status and address of what failed
        self._waiting: set[Request] = set()
        context.on("request", self._asked)
        context.on("requestfinished", self._answered)
        context.on("requestfailed", self._answered)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))

    def sign_in(self, key: str) -> None:
        done = self.context.request.post(
            f"{self.address}/api/v2/session/",
            data=json.dumps({"key": key}),
            headers={"X-Simyard": "1", "Content-Type": "application/json"},
        )
        assert done.status == 200, done.text()

    def open(self, path: str, page: Page | None = None) -> Page:
        page = page or self.context.new_page()
        page.goto(self.address + path)
        return page

    def go(self, path: str, page: Page) -> None:
        """To another page from one that is open, as by a link: nothing is loaded again that is
        there.
        """
        page.evaluate("path => history.pushState(null, '', path)", path)
        self.quiet(page)

    def check(self, *expected: int) -> None:
        """Nothing was asked of anybody else, and nothing went wrong but what was expected."""
        foreign = [
            request.url
            for request in self.requests
            if not request.url.startswith((self.address + "/", "blob:", "data:"))
        ]
        assert foreign == []
        assert self.complaints == []
        unexpected = [each for each in self.refused if each[0] not in expected]
        assert unexpected == [], unexpected

    def quiet(self, page: Page) -> None:
        """Wait until all that was asked for is there, but for streams, which have no end."""
        for _ in range(2):  # an answer may lead to a question
            wait_for(lambda: page.wait_for_timeout(100) or not self._waiting, "the answers")

    def _asked(self, request: Request) -> None:
        self.requests.append(request)
        if not any(stream in request.url for stream in ("/events/", "/live/")):
            self._waiting.add(request)

    def _answered(self, request: Request) -> None:
        self._waiting.discard(request)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        address = message.location["url"]
        status = _REFUSED.match(message.text)
        if status:
            if not (status[1] == "404" and _NOT_YET.search(address)):
                self.refused.append((int(status[1]), address))
        elif not any(known in message.text for known in _NO_FAULT):
            self.complaints.append(f"{message.text} ({address})")


@contextmanager
def visiting(browser: Browser, address: str, **options: Any) -> Iterator[Visit]:
    options = {"viewport": {"width": 1280, "height": 800}, "timezone_id": "UTC", **options}
    context = browser.new_context(locale="en-GB", **options)
    context.set_default_timeout(30_000)
    try:
        yield Visit(context, address)
    finally:
        context.close()


def badge(page: Page, word: str) -> Locator:
    """The state of the job that the page is of, if this is its word."""
    return page.locator(".job-head .badge").get_by_text(word, exact=True)


# Fonts that Debian has, so that pictures are the same on every machine; nothing that moves.
STEADY = """
    :root { --sans: Inter, sans-serif; --mono: "JetBrains Mono", monospace; }
    * { caret-color: transparent !important; }
    * { animation: none !important; transition: none !important; }
"""


def steady(visit: Visit, path: str, page: Page | None = None, style: str = STEADY) -> Page:
    """A new page, or one that is open and becomes another."""
    if page is None:
        page = visit.open(path)
        page.add_style_tag(content=style)
        visit.quiet(page)
    else:
        visit.go(path, page)
    expect(page.locator("main [aria-busy=true]")).to_have_count(0)
    page.evaluate("document.fonts.ready.then(() => document.activeElement.blur())")
    return page


STANDARD = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def violations(page: Page, rules: Sequence[str] = STANDARD) -> list[str]:
    """What axe finds wrong on a page, of WCAG 2.2 AA and below or of the rules that are named."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text() + "; undefined")
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", list(rules)
    )
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found["violations"]
        for node in each["nodes"][:3]
    ]


def origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


Visitor = Callable[..., Visit]
