"""The list of jobs in the browser: found, looked through by keys, kept up to date, acted on."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Download, Locator, Page, expect

from browsing import Visit, Visitor, violations
from harness import GO, Client, RunningServer, begun, definition, wait_for, work_folder
from residuals import residuals
from studying import created

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def named(client: Client, name: str, command: str = "true", **job: object) -> str:
    return str(created(client, definition(command, job={"name": name, **job}))["id"])


def listed(somebody: Visit, query: str = "") -> Page:
    page = somebody.open(f"/jobs{query}")
    expect(page.get_by_role("grid", name="Jobs")).to_be_visible()
    return page


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def names(page: Page) -> list[str]:
    return page.locator(".window .c-name a").all_inner_texts()


def test_who_has_no_job_yet_is_greeted(server: RunningServer, visit: Visitor) -> None:
    page = visit(key=server.somebody("beginner").key).open("/jobs")
    page.wait_for_url("**/welcome")


def test_rows_are_gone_through_and_selected_by_keys(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("typist")
    for n in range(150):
        named(mine, f"wing {n}")
    somebody = visit(key=mine.key)
    page = listed(somebody)
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "151")
    page.keyboard.press("j")
    expect(row(page, "wing 149")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.get_by_text("2 selected")).to_be_visible()
    expect(row(page, "wing 147")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("End")
    expect(row(page, "wing 0")).to_be_focused()
    expect(row(page, "wing 0")).to_have_attribute("aria-rowindex", "151")
    page.keyboard.press("Home")
    expect(row(page, "wing 149")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_text("2 selected")).to_have_count(0)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    somebody.check()


def test_twenty_thousand_jobs_are_gone_through(
    visit: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from filling import filled

    with filled(20_000, 3) as there:
        somebody = visit(f"http://127.0.0.1:{there.server.port}", there.server.key)
        page = listed(somebody)
        expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "20001")
        newest = page.locator("[aria-rowindex='2']")
        first = newest.get_by_role("link").inner_text()
        page.keyboard.press("j")
        page.keyboard.press("End")
        last = page.locator("[aria-rowindex='20001']")
        expect(last).to_be_focused()
        expect(last.get_by_role("link")).to_have_attribute("href", f"/jobs/{there.big}")
        expect(last).to_contain_text("Completed")
        page.keyboard.press("Home")
        expect(newest.get_by_role("link")).to_have_text(first)
        # By the thumb to the middle, which has no page before it.
        page.locator(".window").evaluate("box => box.scrollTop = box.scrollHeight / 2")
        tenth = page.locator("[aria-rowindex='10001']")
        expect(tenth.get_by_role("link")).to_be_visible()
        http = there.server.connect()
        (expected,) = http.get("/api/v2/jobs/rows/?at=9999&limit=1")["rows"]
        expect(tenth.get_by_role("link")).to_have_attribute("href", f"/jobs/{expected['id']}")
        # The keys go on at the row that has them, wherever it is.
        page.get_by_label("Select all").focus()
        page.keyboard.press("Tab")
        expect(newest).to_be_focused()
        expect(newest).to_be_in_viewport(ratio=1)
        page.keyboard.press("PageDown")
        expect(newest).not_to_be_in_viewport(ratio=1)
        expect(page.locator(".window [role=row]:focus")).to_be_in_viewport(ratio=1)
        asked = [request.url for request in somebody.requests if "/jobs/rows/" in request.url]
        assert len(asked) < 15, asked
        somebody.check()


def test_filters_are_in_the_address_and_back_undoes_them(
    server: RunningServer, visit: Visitor
) -> None:
    mine = server.somebody("seeker")
    mine.run("exit 3", job={"name": "broken"})
    named(mine, "wing", tags=["cfd"])
    somebody = visit(key=mine.key)
    page = listed(somebody)
    page.get_by_role("button", name="Failed 1").click()
    expect(row(page, "wing")).to_have_count(0)
    expect(row(page, "broken")).to_contain_text("Failed")
    assert page.url.endswith("?outcome=FAILED")
    page.go_back()
    expect(row(page, "wing")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("nothing like it")
    expect(page.get_by_role("heading", name="No job matches")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(row(page, "wing")).to_be_visible()
    page.get_by_label("Name contains").fill("rok")
    expect(row(page, "wing")).to_have_count(0)
    expect(row(page, "broken")).to_be_visible()
    page.get_by_label("Name contains").fill("")
    expect(row(page, "wing")).to_be_visible()
    page.get_by_label("Tag", exact=True).select_option("cfd")
    expect(row(page, "broken")).to_have_count(0)
    page.reload()
    expect(row(page, "wing")).to_be_visible()
    expect(page.get_by_text("1 job matches")).to_be_visible()
    page = somebody.open("/jobs?status=NONSENSE")
    expect(page.get_by_role("alert")).to_contain_text('"NONSENSE" is none of')
    somebody.check(400)


def test_rows_change_in_place_and_new_jobs_wait_to_be_shown(
    server: RunningServer, visit: Visitor
) -> None:
    mine = server.somebody("watcher")
    job = named(mine, "first", f"touch first; {GO}; exit 4")
    somebody = visit(key=mine.key)
    page = listed(somebody)
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    expect(row(page, "first")).to_contain_text("Draft")
    mine.submit(job)
    expect(row(page, "first")).to_contain_text("Executing")
    wait_for(lambda: mine.http.get(f"jobs/{job}/runs/1/tail/first").status_code == 200, "the run")
    (work_folder(server, "first") / "go").touch()
    expect(row(page, "first")).to_contain_text("Failed")
    named(mine, "second")
    gone = named(mine, "third")
    expect(page.get_by_role("button", name="2 new jobs")).to_be_visible()
    assert names(page) == ["first"]
    page.get_by_role("button", name="2 new jobs").click()
    expect(row(page, "second")).to_be_visible()
    assert names(page) == ["third", "second", "first"]
    mine.call("DELETE", f"jobs/{gone}/", 204)
    expect(row(page, "third")).to_contain_text("Deleted")
    assert names(page) == ["third", "second", "first"]
    assert sum(r.is_navigation_request() for r in somebody.requests) == 1
    somebody.check()


@pytest.mark.openfoam
def test_how_far_a_run_is_and_whether_it_converges(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("strider")
    command = f"""
        mkdir -p case/system; echo 'endTime 400;' > case/system/controlDict
        cp steps.txt case/log.simpleFoam; touch strode; {GO}; exit 3"""
    steps = [mine.upload("steps.txt", residuals(1, 100).encode())["id"]]
    job = mine.create(
        command,
        inputs=steps,
        code="openfoam",
        version=None,
        hardware={"walltime": 1},
        job={"name": "a wing"},
    )
    mine.submit(job["id"])
    somebody = visit(key=mine.key)
    page = listed(somebody)
    course = row(page, "a wing").locator(".c-progress")
    bar = course.get_by_role("progressbar", name=" % of the way to its last step")
    expect(bar).to_have_attribute("aria-valuenow", "25")
    expect(course).to_have_text(re.compile(r"^converging, about \d+ (s|min) left$"))
    expect(course.get_by_title("25 % of the way to its last step. p falls ")).to_be_visible()
    expect(row(page, "a wing").get_by_title("Walltime 1 h: at most ")).to_be_visible()
    asked = [request.url for request in somebody.requests if "/jobs/rows/" in request.url]
    folder = work_folder(server, "strode")
    (folder / "case/log.simpleFoam").write_text(residuals(1, 200))
    expect(bar).to_have_attribute("aria-valuenow", "50")
    expect(course.get_by_title("50 % of the way to its last step. p falls ")).to_be_visible()
    # The news brings it: no row is asked for, and no page loaded again.
    later = [request.url for request in somebody.requests if "/jobs/rows/" in request.url]
    assert later == asked
    assert sum(r.is_navigation_request() for r in somebody.requests) == 1
    (folder / "go").touch()
    expect(row(page, "a wing")).to_contain_text("Failed")
    expect(bar).to_have_count(0)
    somebody.check()


def test_what_could_not_be_done_is_told_job_by_job(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("cleaner")
    draft, runs = named(mine, "a draft"), named(mine, "it runs", "sleep 600")
    mine.submit(runs)
    wait_for(lambda: mine.status(runs) == "Executing", "the run")
    somebody = visit(key=mine.key)
    page = listed(somebody)
    for name in ("a draft", "it runs"):
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("toolbar").get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete 2 jobs?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Delete 2 jobs").click()
    expect(page.get_by_text("1 of 2 jobs deleted, 1 not:")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="it runs: ")).to_be_visible()
    mine.get(f"jobs/{draft}/", 404)
    row(page, "it runs").get_by_role("button", name="Actions for it runs").click()
    page.get_by_role("menuitem", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop the job").click()
    expect(row(page, "it runs")).to_contain_text("Stopped", timeout=60_000)
    somebody.check()


def test_those_of_the_selected_that_could_not_be_stopped_are_named(
    server: RunningServer, visit: Visitor
) -> None:
    mine = server.somebody("stopper")
    mine.run(job={"name": "over"})
    stays, ends = begun(mine, GO, "stays", "stays"), begun(mine, GO, "ends", "ends")
    somebody = visit(key=mine.key)
    page = listed(somebody)
    for name in ("over", "stays", "ends"):
        expect(row(page, name)).to_contain_text("Completed" if name == "over" else "Executing")
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("toolbar").get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog", name="Stop 2 jobs?")
    expect(dialog).to_contain_text("1 of the selected are left out: not on their way")
    expect(dialog.get_by_role("listitem")).to_have_text(
        [re.compile("^ends "), re.compile("^stays ")]
    )
    # Meanwhile one of them is gone.
    (work_folder(server, "ends") / "go").touch()
    assert mine.finished(ends) == "Completed successfully"
    mine.call("DELETE", f"jobs/{ends}/", 204)
    dialog.get_by_role("button", name="Stop 2 jobs").click()
    told = page.get_by_role("status").filter(has_text="1 of 2 jobs told to stop, 1 not:")
    expect(told.get_by_role("listitem")).to_have_text([re.compile(r"^ends: Not found")])
    expect(row(page, "stays")).to_contain_text("Stopped")
    assert mine.finished(stays) == "Stopped by the user"
    expect(row(page, "ends")).to_contain_text("Deleted")
    somebody.check()


def test_all_that_match_are_tagged_however_many_are_seen(
    server: RunningServer, visit: Visitor
) -> None:
    mine = server.somebody("tagger")
    for n in range(130):
        named(mine, f"wing {n}")
    named(mine, "other")
    somebody = visit(key=mine.key)
    page = listed(somebody, "?q=wing")
    page.get_by_label("Select all").click()
    expect(page.get_by_text("130 selected")).to_be_visible()
    page.get_by_role("toolbar").get_by_role("button", name="Tag", exact=True).click()
    dialog = page.get_by_role("dialog", name="Tag 130 jobs?")
    dialog.get_by_label("Tags").fill("swept")
    dialog.get_by_role("button", name="Tag 130 jobs").click()
    expect(page.get_by_text("130 jobs tagged.")).to_be_visible(timeout=60_000)
    assert mine.get("jobs/rows/?tag=swept")["count"] == 130
    somebody.check()


def test_a_job_is_run_again_and_what_it_wrote_downloaded(
    server: RunningServer, visit: Visitor
) -> None:
    mine = server.somebody("repeater")
    mine.run("echo 42 > answer", job={"name": "deep thought"})
    somebody = visit(key=mine.key)
    page = listed(somebody)
    page.get_by_label("Actions for deep thought").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Download").click()
    assert b"42\n" in download.value.path().read_bytes()
    page.get_by_label("Actions for deep thought").click()
    page.get_by_role("menuitem", name="Run again").click()
    expect(page.get_by_text("deep thought runs again.")).to_be_visible()
    again = mine.get("jobs/rows/")["rows"][0]
    assert (again["name"], again["status"] != "") == ("deep thought", True)
    mine.finished(again["id"])
    somebody.check()


def test_names_are_text_and_the_list_is_accessible(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("hostile")
    evil = '<img src=x onerror="document.title=1">'
    for name in (evil, "\u202elive", "x" * 255):
        named(mine, name, tags=["<b>"])
    somebody = visit(key=mine.key, bypass_csp=True)
    page = listed(somebody)
    expect(row(page, evil)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    for theme, width in (("light", 1280), ("dark", 1280), ("light", 320)):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 640})
        page.get_by_label(f"Select {evil}").click()
        expect(page.get_by_text("1 selected")).to_be_visible()
        assert violations(page) == []
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(wide)
        page.get_by_label(f"Select {evil}").click()
        expect(page.get_by_text("1 selected")).to_have_count(0)
    somebody.check()


def test_what_several_jobs_wrote_is_downloaded(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("collector")
    for n in range(2):
        mine.run(f"echo of job {n} > answer", job={"name": f"job {n}"})
    named(mine, "a draft")
    for n in range(9):
        named(mine, f"more {n}")
    somebody = visit(key=mine.key)
    page = listed(somebody)
    button = page.get_by_role("toolbar").get_by_role("button", name="Download")
    for name in ("job 0", "a draft", "job 1"):
        page.get_by_label(f"Select {name}").check()
    expect(button).to_have_attribute("title", re.compile("a zip of its own, of at most 10 jobs"))
    zips: list[zipfile.ZipFile] = []

    def keep(download: Download) -> None:
        zips.append(zipfile.ZipFile(io.BytesIO(download.path().read_bytes())))

    page.on("download", keep)
    button.click()
    expect(page.get_by_text(re.compile("^a draft: "))).to_be_visible()
    wait_for(lambda: page.wait_for_timeout(50) or len(zips) == 2, "both zips")
    found = [z.read(name) for z in zips for name in z.namelist() if name.endswith("answer")]
    assert sorted(found) == [b"of job 0\n", b"of job 1\n"]
    page.get_by_role("toolbar").get_by_role("button", name="Select all 12 that match").click()
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_attribute("title", re.compile("^Select fewer jobs"))
    somebody.check()
