"""axe on every page, in both themes; and what axe does not see: phone width, forced colours."""

import pytest
from playwright.sync_api import Page, expect

from browsing import Visit, Visitor, violations
from harness import Client
from studying import created, study

LONG = "a-name-that-does-not-break-" * 4  # what makes tables wider than their place


@pytest.fixture(scope="module")
def places(client: Client) -> dict[str, str]:
    """What there is to look at: the name of each page and its address."""
    job = client.run("echo one; sleep 0.2; echo two >&2; ls > a", job={"name": "To look at"})
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
        "studies": "/studies",
        "new, parameters": "/jobs/new?step=parameters&study=1",
        "study": f"/studies/{sweep['id']}",
        "library": "/library",
        "usage": "/usage",
        "settings": "/settings",
        "keys": "/settings/keys",
        "members": "/settings/members",
        "not found": "/nowhere",
    }


def settled(visit: Visit, path: str, page: Page) -> Page:
    move = visit.open if page.url == "about:blank" else visit.go
    move(path, page)
    return calm(page)


def calm(page: Page) -> Page:
    page.locator("main :is(h1, h2)").first.wait_for()
    expect(page.locator("main [aria-busy=true]")).to_have_count(0)
    page.wait_for_timeout(150)
    return page


def test_no_page_has_a_violation(visit: Visitor, places: dict[str, str]) -> None:
    """In the light, in the dark, and on a phone, which each page becomes before one's eyes."""
    somebody = visit()
    page = somebody.context.new_page()
    found = {}
    for name, path in places.items():
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="light")
        wrong: list[object] = [*violations(settled(somebody, path, page))]
        # Of all that it looks for only the contrast is another one in the dark.
        page.emulate_media(color_scheme="dark")
        wrong += violations(calm(page), ["color-contrast"])
        page.set_viewport_size({"width": 320, "height": 640})
        wrong += violations(calm(page), ["scrollable-region-focusable"])
        width = page.evaluate("document.querySelector('main').scrollWidth")
        if width > 320:
            wrong.append(f"{width} px")
        if wrong:
            found[name] = wrong
    assert found == {}
    somebody.check()


def test_what_outgrows_its_place_is_reached_by_keys(visit: Visitor, places: dict[str, str]) -> None:
    """Its name is read out once: of the table, or of the place that it scrolls in."""
    somebody = visit()
    page = settled(somebody, places["library"], somebody.context.new_page())
    table = page.get_by_role("table", name="Uploaded files", exact=True)
    place = page.locator(".scroll-x").filter(has=page.locator("table"))
    expect(table).to_be_visible()
    expect(place).not_to_have_attribute("role", "group")
    page.locator("main td").first.evaluate("cell => cell.style.paddingRight = '2000px'")
    expect(place).to_have_attribute("role", "group")
    expect(place).to_have_attribute("aria-label", "Uploaded files")
    expect(table).to_have_count(0)
    somebody.check()


# What can be seen of an element where the system chooses the colours.
FILL = """function fill(element) {
    const now = getComputedStyle(element).backgroundColor;
    const isClear = now.startsWith("rgba") && now.endsWith(" 0)");
    return isClear && element.parentElement ? fill(element.parentElement) : now;
}"""
LOOKS = f"""element => {{
    const style = getComputedStyle(element);
    const border = parseFloat(style.borderBottomWidth) ? style.borderBottomColor : "";
    const outline = style.outlineStyle === "none" ? "" : style.outlineWidth;
    return [style.color, ({FILL})(element), border, outline, style.fontWeight].join(" ");
}}"""


def test_forced_colours_leave_states_and_focus_to_see(
    visit: Visitor, places: dict[str, str]
) -> None:
    """What is on, chosen, current, full or not to be pressed looks unlike what is not."""
    somebody = visit(forced_colors="active", reduced_motion="reduce")
    page = somebody.context.new_page()
    alike, wrong = [], {}

    def differ(one: str, other: str, by: str = LOOKS) -> None:
        expect(page.locator(one).first).to_be_visible()
        expect(page.locator(other).first).to_be_visible()
        looks = [page.locator(each).first.evaluate(by) for each in (one, other)]
        if looks[0] == looks[1]:
            alike.append((one, other, looks[0]))

    def look(name: str, query: str = "") -> None:
        settled(somebody, places[name] + query, page)
        # Contrast is the system's affair, which also draws behind text where axe does not see it.
        wrong[name] = [each for each in violations(page) if "color-contrast" not in each]
        assert page.evaluate("document.getAnimations().length") == 0

    def differ_by_focus(one: str) -> None:
        before = page.locator(one).first.evaluate(LOOKS)
        page.locator(one).first.focus()
        if page.locator(one).first.evaluate(LOOKS) == before:
            alike.append((one, "its focus", before))

    look("jobs")
    page.locator(".window .job input").nth(1).check()
    differ(".window .job.chosen", ".window .job:not(.chosen)")
    differ(".chip[aria-pressed=true]", ".chip[aria-pressed=false]")
    differ(".jobs-toolbar [aria-disabled]", ".jobs-toolbar button:not([aria-disabled])")
    differ(".rail li a[aria-current]", ".rail li a:not([aria-current])")
    page.keyboard.press("Control+k")
    differ(".palette-choice[aria-selected=true]", ".palette-choice[aria-selected=false]")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="You and this page").click()
    differ(".menu :focus", ".menu button:not(:focus)")
    page.keyboard.press("Escape")
    look("log", "?at=0&q=two&wrap=1")
    differ(".log-line.current", ".log-line:not(.current)")
    differ(".log-text mark", ".log-text")
    differ(".log-tools [aria-pressed=true]", ".log-tools [aria-pressed=false]")
    differ(".tabs a[aria-current]", ".tabs a:not([aria-current])")
    differ_by_focus(".tabs a:not([aria-current])")
    differ_by_focus(".log-tools button")
    differ_by_focus(".log-tools select")
    look("files", "?file=a")
    differ(".files-row.shown", ".files-row[data-row]:not(.shown)")
    look("new, hardware")
    differ(".stepper a[aria-current]", ".stepper a:not([aria-current])")
    differ_by_focus(".new-job input")
    look("study")
    differ(".study-counts .is-done", ".study-counts", FILL)
    look("studies")
    differ(".progress > i", ".progress", FILL)
    assert alike == []
    assert {name: found for name, found in wrong.items() if found} == {}
    # A state has its shape and its word beside its colour.
    look("jobs")
    for badge in page.locator(".badge:visible").all():
        assert badge.inner_text().strip() and badge.locator("svg").count() == 1
    somebody.check()
