"""How pages look: against pictures that were looked at.

SIMYARD_PICTURES=1 makes them all anew, and those of the guide; look at each before it is committed.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from playwright.sync_api import Browser, Page, expect

from browsing import MADE_ANEW, STEADY, steady, visiting
from harness import Client, RunningServer
from studying import created, study

SNAPSHOTS = Path(__file__).parent / "snapshots"
CHROMIUM = "156"  # of the snapshots
_DIFFERS = 8 / 255  # of a pixel's colour
_MOST = 0.001  # of the pixels
_MOST_OF_OTHERS = 0.005  # where another Chromium draws


# --- snapshots ------------------------------------------------------------------------------------

PLACES = {
    "library": "/library",
    "studies": "/studies",
    "new-job": "/jobs/new?step=inputs",
    "usage": "/usage",
    "not-found": "/nowhere",
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_look_as_they_did(
    browser: Browser, fresh: Callable[..., RunningServer], theme: str, tmp_path: Path
) -> None:
    server = fresh().start()
    key = server.client().key
    different = {}
    options = {"color_scheme": theme, "bypass_csp": True}
    with visiting(browser, server.address, **options) as visit:
        visit.sign_in(key)
        page = None
        for name, path in PLACES.items():
            page = steady(visit, path, page)
            expect(page.locator(".connection")).to_contain_text("live")
            page.locator("main :is(h1, h2)").first.wait_for()
            wrong = differs(page, f"{name}-{theme}.png", tmp_path)
            if wrong:
                different[name] = wrong
    assert different == {}


def filled(client: Client) -> dict[str, tuple[str, str]]:
    """Pages with something on them: theme and address."""
    client.upload("mesh.stl", b"solid nothing\n" * 40)
    case = client.upload("case.csv", b"alpha,drag\n0,1\n")["id"]
    command = (
        "seq -f 'Time = %.0f' 400; echo 'warning: coarse mesh'; mkdir -p out/part; ls > out/list"
    )
    done = client.run(command, inputs=[case], job={"name": "Wing, first mesh", "tags": ["wing"]})
    failed = client.run("echo reading; cat mesh.msh", job={"name": "Wing, no mesh"})
    table = "alpha,beta\n" + "".join(f"{n},{n * n % 7}\n" for n in range(1, 13))
    body = study(
        client,
        'test "$PARAM_ALPHA" != 5',
        table=table,
        job={"name": "Angles"},
        postProcessScriptCommand="printf 'drag\\t%s\\n' \"$PARAM_BETA\"",
    )
    angles = created(client, body)["id"]
    client.submit(angles)
    client.finished(angles)
    client.call("POST", "keys/", 201, json={"label": "of the build server"})
    job = f"/jobs/{done['id']}"
    return {
        "job": ("light", job),
        "job-failed": ("dark", f"/jobs/{failed['id']}"),
        "log": ("dark", f"{job}/log?at=0&q=Time+%3D+7"),
        "files": ("light", f"{job}/files?open=out%252F&file=out/list"),
        "setup": ("light", f"{job}/setup"),
        "api": ("light", f"{job}/api"),
        "new-software": ("dark", "/jobs/new?step=software"),
        "new-hardware": ("light", "/jobs/new?step=hardware"),
        "new-post": ("dark", "/jobs/new?step=post"),
        "new-review": ("light", "/jobs/new?step=review"),
        "studies-some": ("light", "/studies"),
        "new-parameters": ("light", "/jobs/new?step=parameters&study=1"),
        "study": ("light", f"/studies/{angles}"),
        "library-some": ("dark", "/library"),
        "settings": ("light", "/settings"),
        "keys": ("light", "/settings/keys"),
        "members": ("dark", "/settings/members"),
        "welcome": ("light", "/welcome"),
    }


# What is another each time, or on each machine.
NOT_SHOWN = """
    .panel:has(.resources), .panel:has([href="api/openapi.json"]), .welcome .panel :is(.row, p),
    .welcome-checks .panel-body { display: none !important; }
    .welcome .panel h2 { visibility: hidden; }
"""
SAME = """texts => {
    const all = texts.map(([from, to]) => [new RegExp(from, "g"), to]);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const times = new Set();
    while (walker.nextNode()) {
        const text = walker.currentNode;
        const time = text.parentElement.closest("time");
        if (time) text.data = times.has(time) ? "" : "12:34:56";
        else text.data = all.reduce((now, [from, to]) => now.replace(from, to), text.data);
        if (time) times.add(time);
    }
}"""


def same(page: Page, address: str, ids: set[str]) -> None:
    """Takes out of a page what is another each time: ids, times, durations, where the server is."""
    texts = [
        (re.escape(address), "http://simyard.example"),
        (rf"\b({'|'.join(ids)})\b", "abcde"),
        (r"\b[0-9a-f]{12}\b", "0123456789ab"),
        (r"\b(\d+ min )?\d+(\.\d+)? s\b", "1 s"),
        (r"\b(0\.0\d+|\d(\.\d+)?e-\d\d)\b", "0"),
    ]
    page.evaluate(SAME, texts)


def test_pages_with_something_on_them_look_as_they_did(
    browser: Browser, fresh: Callable[..., RunningServer], tmp_path: Path
) -> None:
    server = fresh().start()
    client = server.client()
    places = filled(client)
    ids = set(re.findall(r"/(?:jobs|studies)/(\w{5})\b", str(places)))
    different = {}

    def look(page: Page, name: str) -> None:
        wrong = differs(page, f"{name}.png", tmp_path)
        if wrong:
            different[name] = wrong

    with visiting(browser, server.address, bypass_csp=True) as visit:
        page = steady(visit, "/usage")
        page.get_by_role("dialog", name="Sign in to Simyard").wait_for()
        look(page, "sign-in-light")
        visit.sign_in(client.key)
        page = steady(visit, "/nowhere", style=STEADY + NOT_SHOWN)
        for name, (theme, path) in places.items():
            page.emulate_media(color_scheme=theme)
            steady(visit, path, page)
            expect(page.locator(".connection")).to_contain_text("live")
            page.locator("main :is(h1, h2)").first.wait_for()
            if path.startswith("/jobs/new"):  # what is missing, as the server says it
                page.locator(".stepper svg").first.wait_for()
            visit.quiet(page)
            same(page, server.address, ids)
            look(page, f"{name}-{theme}")
    assert different == {}


def differs(page: Page, name: str, folder: Path) -> str:
    """How a page looks unlike its picture, and where it is kept as it looks; "" if it does not."""
    drawn = page.screenshot(animations="disabled")
    kept = SNAPSHOTS / name
    if MADE_ANEW:
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(drawn)
        return ""
    assert page.context.browser is not None
    version = page.context.browser.version.split(".", maxsplit=1)[0]
    now, before = (image.imread(io.BytesIO(png))[..., :3] for png in (drawn, kept.read_bytes()))
    if now.shape != before.shape:
        said = f"its size is {now.shape}, not {before.shape}"
    else:
        share = float(np.mean(np.any(np.abs(now - before) > _DIFFERS, axis=-1)))
        if share <= (_MOST if version == CHROMIUM else _MOST_OF_OTHERS):
            return ""
        said = f"{share:.2%} of its pixels differ"
    (folder / name).write_bytes(drawn)
    said += f": see {folder / name}"
    if version != CHROMIUM:
        said += f"; drawn by Chromium {version}, so make all anew, which are of {CHROMIUM}"
    return said
