"""The console's longest list in a browser: what a frame costs while 1,000,000 jobs are scrolled by
the wheel. Beside it an empty page of the same height: nothing scrolls for less.

Chromium draws without a GPU. How many frames come late depends on what else the machine does; the
processor time of the page's thread (scripts, styles, layout and paint) hardly does.
"""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Page, sync_playwright

from filling import filled
from rig import Server, Table, percentile

JOBS = 1_000_000
FRAMES = 200
LATE_MS = 50.0
STEP_PX, SPEED_PX = 3_000, 1_500  # the wheel turns so far at a time; in a second

_WATCH = """() => {
    window.frames_at = [];
    const note = at => { window.frames_at.push(at); requestAnimationFrame(note); };
    requestAnimationFrame(note);
}"""
_EMPTY = '<body style="margin: 0"><div class="window" style="height: 600px; overflow: auto">'


@dataclass(frozen=True)
class Scrolled:
    spans: list[float]  # ms from frame to frame
    cpu_ms: float  # of the page's thread, for each frame

    @property
    def late(self) -> int:
        return sum(span > LATE_MS for span in self.spans)


def _scrolled(page: Page) -> Scrolled:
    """Turns the wheel over what has the class `window` until there were so many frames."""
    box = page.locator(".window").bounding_box()
    assert box is not None
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    chromium = page.context.new_cdp_session(page)
    chromium.send("Performance.enable", {"timeDomain": "threadTicks"})
    gesture = {**at, "speed": SPEED_PX, "gestureSourceType": "mouse", "yDistance": -STEP_PX}
    chromium.send("Input.synthesizeScrollGesture", gesture)  # to warm up

    def cpu() -> float:
        found = chromium.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in found if each["name"] == "TaskDuration"))

    page.evaluate(_WATCH)
    began = cpu()
    while page.evaluate("window.frames_at.length") <= FRAMES:
        chromium.send("Input.synthesizeScrollGesture", gesture)
    used = cpu() - began
    times: list[float] = page.evaluate("window.frames_at")
    spans = [later - sooner for sooner, later in itertools.pairwise(times)]
    return Scrolled(spans[:FRAMES], used * 1e3 / len(spans))


@contextmanager
def _browsing(server: Server) -> Iterator[Page]:
    program = shutil.which("chromium")
    assert program is not None, "needs chromium: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        address = f"http://127.0.0.1:{server.port}"
        done = context.request.post(
            f"{address}/api/v2/session/", data={"key": server.key}, headers={"X-Simyard": "1"}
        )
        assert done.ok, done.text()
        page = context.new_page()
        page.goto(f"{address}/jobs", wait_until="commit")
        yield page
        browser.close()


def measure(table: Table, server: Server) -> None:
    with _browsing(server) as page:
        page.get_by_role("row").nth(5).wait_for()
        height = page.locator(".window-height").evaluate("box => box.offsetHeight")
        ours = _scrolled(page)
        empty = page.context.new_page()
        empty.set_content(f'{_EMPTY}<div style="height: {height}px"></div></div>')
        least = _scrolled(empty)
    table.add(
        f"frames of {FRAMES} that took over {LATE_MS:.0f} ms",
        str(ours.late),
        beside=f"an empty page: {least.late}",
    )
    table.add(
        "from frame to frame, p50 / p95",
        f"{percentile(ours.spans, 0.5):.0f} / {percentile(ours.spans, 0.95):.0f} ms",
        beside=f"{percentile(least.spans, 0.5):.0f} / {percentile(least.spans, 0.95):.0f} ms",
    )
    table.add(
        "processor time of a frame",
        f"{ours.cpu_ms:.1f} ms",
        beside=f"{least.cpu_ms:.1f} ms; {ours.cpu_ms / least.cpu_ms:.0f} x",
    )


def run(table: Table) -> None:
    table.title(f"the console: {JOBS:,} jobs scrolled by the wheel, {SPEED_PX:,} px a second")
    with filled(JOBS, 3) as there:
        measure(table, there.server)


if __name__ == "__main__":
    run(Table())
