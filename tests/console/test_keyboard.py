"""By the keyboard alone: the focus is seen at every stop, and it is never lost or caught."""

import re

from playwright.sync_api import Locator, Page, expect

from browsing import Visit, Visitor
from harness import GO, Client, RunningServer, begun

# Records each stop of the focus, and what is wrong with it: as it comes, and once it has gone on.
WATCH = """() => {
    const outlined = (element) => {  // it, or which box around it
        for (let each = element; each; each = each.parentElement) {
            const { outlineStyle, outlineWidth } = getComputedStyle(each);
            if (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) return each;
            if (each !== element && each.tagName !== "DIV") return null;
        }
        return null;
    };
    const wrongWith = (element) => {
        const box = element.getBoundingClientRect();
        const [left, right] = [Math.max(0, box.left), Math.min(innerWidth, box.right)];
        const [top, bottom] = [Math.max(0, box.top), Math.min(innerHeight, box.bottom)];
        if (right - left < 1 || bottom - top < 1) return "it is not on the screen";
        if (!outlined(element)) return "nothing shows that it has the focus";
        const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
        const isFree = there && (element.contains(there) || there.contains(element));
        return isFree ? "" : `it is under ${there?.outerHTML.slice(0, 80)}`;
    };
    window.stops = [];
    document.addEventListener("focusin", ({ target }) => {
        const stop = { what: target.outerHTML.slice(0, 120), wrong: wrongWith(target) };
        const shown = outlined(target);
        stops.push(stop);
        target.addEventListener("focusout", () => {
            const isLeft = document.activeElement !== target && target.isConnected;
            const isSame = isLeft && shown && outlined(target) === shown;
            if (isSame) stop.wrong ||= "it looks so without the focus";
        }, { once: true });
    });
}"""


def watched(visit: Visit, path: str) -> Page:
    page = visit.context.new_page()
    page.add_init_script(f"({WATCH})()")
    return visit.open(path, page)


def faults(page: Page) -> list[dict[str, str]]:
    found: list[dict[str, str]] = page.evaluate("stops.filter(({ wrong }) => wrong)")
    return found


def to(page: Page, goal: Locator, key: str = "Tab", most: int = 40) -> None:
    """Press a key until the focus is there."""
    expect(goal).to_be_visible()
    seen = []
    for _ in range(most):
        page.keyboard.press(key)
        if goal.evaluate("element => element === document.activeElement"):
            return
        seen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
    raise AssertionError(f"{goal} is not reached: {seen}")


def onward(page: Page, step: str) -> None:
    to(page, page.get_by_role("form").get_by_role("button", name=step))
    press(page, "Enter")


def choose(page: Page, field: Locator, letter: str, value: str) -> None:
    """Go round the options that begin with a letter: of a longer word a browser that is slow may
    forget the beginning.
    """
    seen = []
    while (now := field.input_value()) != value:
        assert seen.count(now) < 3, f"{value} is not reached: {seen}"
        seen.append(now)
        press(page, letter)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_from_signing_in_to_a_line_of_the_log(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("hands-on-keys")
    for name in ("numbers.txt", "other.txt"):
        mine.upload(name, b"".join(b"%d\n" % n for n in range(3000)))
    somebody = visit(key="")
    page = watched(somebody, "/welcome")
    typing = page.keyboard.type
    expect(page.get_by_label("API key")).to_be_focused()
    typing(mine.key)
    press(page, "Enter")
    expect(page.get_by_role("heading", name="First minutes with Simyard")).to_be_visible()
    to(page, page.get_by_role("link", name="To the content"))
    press(page, "Enter")
    expect(page.get_by_role("main")).to_be_focused()
    to(page, page.get_by_role("link", name="New job", exact=True), "Shift+Tab")
    press(page, "Enter")

    # Inputs.
    to(page, page.get_by_label("Name of the job"))
    typing("By keys")
    library = page.get_by_role("button", name="Choose from the library")
    to(page, library)
    press(page, "Enter")
    dialog = page.get_by_role("dialog", name="Choose from the library")
    expect(dialog.get_by_label("Search files by name")).to_be_focused()
    press(page, "Escape")
    expect(dialog).to_have_count(0)
    expect(library).to_be_focused()
    press(page, "Enter")
    typing("numb")
    expect(dialog.get_by_label("other.txt")).to_have_count(0)
    to(page, dialog.get_by_label("numbers.txt"))
    press(page, "Space")
    to(page, dialog.get_by_role("button", name="Take 1 file"))
    press(page, "Enter")
    expect(page.get_by_role("cell", name="numbers.txt", exact=True)).to_be_visible()
    expect(library).to_be_focused()

    # The steps: each begins with its own fields.
    onward(page, "Software")
    software = page.get_by_label("Software", exact=True)
    to(page, software, most=4)
    expect(software.get_by_role("option", name="Bring Your Own Software")).to_have_count(1)
    choose(page, software, "b", "user_included")
    to(page, page.get_by_label("Command", exact=True))
    typing("cat numbers.txt; echo end > end.txt")
    onward(page, "Hardware")
    core = page.get_by_label("Core type")
    to(page, core, most=2)
    expect(core.get_by_role("option", name="Emerald", exact=True)).to_have_count(1)
    choose(page, core, "e", "emerald")
    to(page, page.get_by_label("Cores", exact=True))
    press(page, "Control+a")
    typing("1")
    onward(page, "Post-processing")
    onward(page, "Review")
    expect(page.get_by_text("cat numbers.txt")).to_be_visible()
    to(page, page.get_by_role("button", name="Submit"))
    press(page, "Enter")

    # The job, its log, its files, and back.
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    job = page.url.rsplit("/", 1)[1]
    assert mine.finished(job) == "Completed successfully"
    to(page, page.get_by_role("link", name="Log", exact=True))
    press(page, "Enter")
    expect(page.locator(".log-text").get_by_text("2999", exact=True)).to_be_visible()
    press(page, "g", "g")
    expect(page.locator(".log-text").first).to_have_text("0")
    press(page, "/")
    expect(page.get_by_label("Search the log")).to_be_focused()
    typing("77")
    expect(page.locator(".log-found")).to_contain_text("lines in")
    current = page.locator(".log-line[aria-current=true] .log-text")
    expect(current).to_have_text("77")
    press(page, "Enter")
    expect(current).to_have_text("177")
    press(page, "Escape")
    expect(page.get_by_role("log")).to_be_focused()
    press(page, "n")
    expect(current).to_have_text("277")
    press(page, "f")
    grid = page.get_by_role("treegrid", name="Files")
    row = grid.get_by_role("row").filter(has_text="end.txt")
    to(page, grid.locator("[data-row='0']"))
    press(page, "End")
    to(page, row, "ArrowUp")
    press(page, "Enter")
    preview = page.get_by_label("Preview of end.txt")
    expect(preview.locator("pre")).to_have_text("end\n")
    to(page, preview.get_by_role("button", name="Close the preview"))
    press(page, "Enter")
    expect(preview).to_have_count(0)
    expect(row).to_be_focused()
    press(page, "g", "j")
    expect(page.get_by_role("grid", name="Jobs")).to_be_visible()
    mine = page.get_by_role("row").filter(has_text="By keys")
    expect(mine).to_be_visible()
    press(page, "j")
    expect(mine).to_be_focused()
    assert faults(page) == []
    somebody.check(401)


def test_jobs_are_found_chosen_and_stopped(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("hands-on-rows")
    for n in (1, 2):
        begun(mine, GO, f"typed{n}", f"sweep {n}")
    mine.run(job={"name": "ended"})
    somebody = visit(key=mine.key)
    page = watched(somebody, "/jobs")

    def row(name: str) -> Locator:
        return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))

    expect(row("ended")).to_be_visible()
    press(page, "/")
    expect(page.get_by_label("Name contains")).to_be_focused()
    page.keyboard.type("sweep")
    expect(row("ended")).to_have_count(0)
    expect(row("sweep 2")).to_contain_text("Executing")
    chip = page.get_by_role("button", name=re.compile("^Executing"))
    to(page, chip, "Shift+Tab")
    press(page, "Space")
    expect(chip).to_have_attribute("aria-pressed", "true")
    to(page, row("sweep 2"))
    press(page, "x", "Shift+ArrowDown")
    expect(page.get_by_text("2 selected")).to_be_visible()
    expect(row("sweep 1")).to_be_focused()

    # Whatever opens gives the focus back to where it was.
    press(page, ".")
    expect(page.get_by_role("menuitem", name="Open")).to_be_focused()
    press(page, "End", "ArrowUp")
    expect(page.get_by_role("menuitem", name="Stop")).to_be_focused()
    press(page, "Escape")
    expect(page.get_by_role("button", name="Actions for sweep 1")).to_be_focused()
    to(page, row("sweep 1"), "ArrowLeft")
    for keys, name in (("?", "Keys"), ("s", "Stop 2 jobs?"), ("Control+k", "Search and commands")):
        press(page, keys)
        opened = page.get_by_role("dialog", name=name)
        expect(opened).to_be_visible()
        for _ in range(6):  # the focus does not leave it but for the browser's own
            press(page, "Tab")
            assert opened.evaluate(
                "it => [it, document.body].some((each) => each === document.activeElement)"
                " || it.contains(document.activeElement)"
            )
        press(page, "Escape")
        expect(opened).to_have_count(0)
        expect(row("sweep 1")).to_be_focused()
    press(page, "Control+k")
    page.keyboard.type("stop")
    palette = page.get_by_role("listbox", name="Found")
    expect(palette.get_by_role("option", selected=True)).to_contain_text("Stop")
    press(page, "Enter")
    asked = page.get_by_role("dialog", name="Stop 2 jobs?")
    expect(asked.get_by_role("button", name="Cancel")).to_be_focused()
    press(page, "Enter")
    expect(asked).to_have_count(0)
    expect(row("sweep 1")).to_be_focused()

    bar = page.get_by_role("toolbar", name="With the selected jobs")
    to(page, bar.get_by_role("button", name="Clear the selection"), "Shift+Tab")
    to(page, bar.get_by_role("button", name="Stop"), "ArrowLeft")
    press(page, "Enter")
    to(page, asked.get_by_role("button", name="Stop 2 jobs"))
    press(page, "Enter")
    expect(page.get_by_text("2 jobs told to stop.")).to_be_visible()
    expect(bar).to_have_count(0)
    for n in (1, 2):
        expect(row(f"sweep {n}")).to_contain_text("Stopped")
    press(page, "j")
    expect(row("sweep 1")).to_be_focused()
    press(page, "k", "Enter")
    expect(page.get_by_role("heading", name="sweep 2")).to_be_visible()
    assert faults(page) == []
    somebody.check()


def test_tab_goes_round_each_page_and_every_stop_is_seen(client: Client, visit: Visitor) -> None:
    job = client.run("seq 300 > data.txt; seq 300", job={"name": "To go through"})["id"]
    somebody = visit()
    page = watched(somebody, "/jobs")
    found = {}
    for path in (
        "/jobs",
        f"/jobs/{job}",
        f"/jobs/{job}/log",
        f"/jobs/{job}/files",
        "/jobs/new?step=software",
        "/settings/keys",
    ):
        somebody.open(path, page)
        page.locator("main :is(h1, h2)").first.wait_for()
        expect(page.locator("main [aria-busy=true]")).to_have_count(0)
        rounds = 0
        for _ in range(12):
            press(page, *["Tab"] * 10)
            rounds = page.evaluate("stops.filter(({ what }) => /class=.skip/.test(what)).length")
            if rounds > 1:
                break
        assert rounds > 1, f"{path}: {page.evaluate('stops.at(-1)')}"
        if faults(page):
            found[path] = faults(page)
    assert found == {}
