"""What the first view costs: its bytes as they are sent, and its requests."""

import gzip
import json
import re

from browsing import Visitor
from harness import Client, wait_for
from simyard.console.pages import DIST

FIRST_VIEW_BYTES = 150_000
REQUESTS = 8  # until the first rows are seen
LATER = ("/jobs/facets/", "/machine/")  # asked for only then
# Of the requests that have ended: where those went that began before.
BEFORE = """() => {
    const [{ startTime: seen }] = performance.getEntriesByName("jobs-visible");
    const all = ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind));
    return all.filter(({ startTime }) => startTime < seen).map(({ name }) => name);
}"""


def loaded_first(manifest: dict[str, dict[str, object]], *names: str) -> set[str]:
    """The files of the page, of these entries, and of all that they import at once."""
    page = (DIST / "index.html").read_text()
    files = {"index.html", *re.findall(r'(?:src|href)="\./(assets/[^"]+\.(?:js|css))"', page)}
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        entry = manifest[name]
        files |= {str(entry["file"]), *map(str, entry.get("css", []))}  # type: ignore[call-overload]
        waiting += entry.get("imports", [])  # type: ignore[operator]
    return files


def test_the_first_view_stays_within_its_bytes() -> None:
    manifest = json.loads((DIST / ".vite" / "manifest.json").read_text())
    files = loaded_first(manifest, "src/pages/jobs.tsx")
    assert {name.rsplit(".", 1)[-1] for name in files} == {"html", "js", "css"}
    sizes = {name: len(gzip.compress((DIST / name).read_bytes(), 9)) for name in files}
    assert sum(sizes.values()) <= FIRST_VIEW_BYTES, sizes


def test_the_first_view_takes_few_requests(client: Client, visit: Visitor) -> None:
    client.create("true")
    somebody = visit()
    page = somebody.open("/jobs")
    marked = "performance.getEntriesByName('jobs-visible').length"
    wait_for(lambda: page.wait_for_timeout(20) or page.evaluate(marked) > 0, "the first rows")
    somebody.quiet(page)
    asked = page.evaluate(BEFORE)
    asked += [r.url for r in somebody.requests if "/events/" in r.url]  # has no end
    assert any("/jobs/rows/" in url for url in asked), asked
    assert len(asked) <= REQUESTS, asked
    assert not [url for url in asked if url.endswith(LATER)]
    somebody.check()
