"""axe on every page, in both themes; and what axe does not see: reflow at phone width."""

import pytest
from playwright.sync_api import Page, expect

from browsing import Visit, Visitor, violations
from harness import Client
from studying import created, study

LONG = "a-name-that-does-not-break-" * 4  # what makes tables wider than their place


@pytest.fixture(scope="module")
def places(client: Client) -> dict[str, str]:
    """What there is to look at: the name of each page and its address."""
    job = client.run("echo one; sleep 0.2; echo two >&2", job={"name": "To look at"})
    failed = client.run("exit 3", job={"name": "Failed"})
    sweep = created(client, study(client, "true", table="x\n1\n2\n", job={"name": "Two points"}))
    client.submit(sweep["id"])
    client.finished(sweep["id"])
    client.upload(f"{LONG}.dat", b"12")
    client.call("POST", "keys/", 201, json={"label": LONG})
    return {
        "welcome": "/welcome",
        "jobs": "/jobs",
        "jobs, nothing found": "/jobs?q=there-is-no-such-job",
        "job": f"/jobs/{job['id']}",
        "job, failed": f"/jobs/{failed['id']}",
        "log": f"/jobs/{job['id']}/log",
        "files": f"/jobs/{job['id']}/files",
        "setup": f"/jobs/{job['id']}/setup",
        "api": f"/jobs/{job['id']}/api",
        **{
            f"new, {step}": f"/jobs/new?step={step}"
            for step in ("inputs", "software", "hardware", "post", "review")
        },
        "new, parameters": "/jobs/new?step=parameters&study=1",
        "studies": "/studies",
        "study": f"/studies/{sweep['id']}",
        "library": "/library",
        "usage": "/usage",
        "settings": "/settings",
        "keys": "/settings/keys",
        "members": "/settings/members",
        "not found": "/nowhere",
    }


def settled(visit: Visit, path: str, page: Page) -> Page:
    visit.open(path, page)
    page.wait_for_load_state("load")
    page.locator("main :is(h1, h2)").first.wait_for()
    expect(page.locator("main [aria-busy=true]")).to_have_count(0)
    page.wait_for_timeout(150)
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_violation(visit: Visitor, places: dict[str, str], theme: str) -> None:
    somebody = visit(color_scheme=theme)
    page = somebody.context.new_page()
    found = {}
    for name, path in places.items():
        settled(somebody, path, page)
        wrong = violations(page)
        if wrong:
            found[name] = wrong
    assert found == {}
    somebody.check()


def test_no_page_is_wider_than_a_phone(visit: Visitor, places: dict[str, str]) -> None:
    somebody = visit(viewport={"width": 320, "height": 640})
    page = somebody.context.new_page()
    found = {}
    for name, path in places.items():
        settled(somebody, path, page)
        wrong: list[object] = [*violations(page, ["scrollable-region-focusable"])]
        width = page.evaluate("document.querySelector('main').scrollWidth")
        if width > 320:
            wrong.append(f"{width} px")
        if wrong:
            found[name] = wrong
    assert found == {}
