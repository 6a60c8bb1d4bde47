"""The page of a job in the browser: its log while it grows, its files, its end, who sees it."""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from browsing import Visitor, badge
from harness import GO, Client, RunningServer, begun, wait_for, work_folder

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def at(page: Page) -> int:
    """The byte that the address names."""
    found = re.search(r"[?&]at=(\d+)", page.url)
    return int(found[1]) if found else -1


def saved(page: Page, link: Locator) -> bytes:
    with page.expect_download() as download:
        link.click()
    return download.value.path().read_bytes()


# --- the log -------------------------------------------------------------------------------------


def test_a_log_is_followed_over_the_server_s_death(
    fresh: Callable[..., RunningServer], visit: Visitor
) -> None:
    server = fresh().start()
    client = server.client()
    lines = 'until [ -e go ]; do n=$((n + 1)); echo "line $n: \u00e9 \U0001f600"; sleep 0.05; done'
    job = begun(client, lines, "begun")
    log = work_folder(server, "begun") / "process_output.log"
    somebody = visit(server.address, client.key)
    page = somebody.open(f"/jobs/{job}/log")
    shown = page.locator(".log-text")
    expect(shown.filter(has_text=re.compile(r"^line 60:"))).to_be_visible()
    expect(page.locator(".log-status")).to_contain_text("following")
    server.kill()
    expect(page.get_by_text("The stream of this run was lost")).to_be_visible()
    before = log.stat().st_size
    wait_for(lambda: log.stat().st_size > before + 400, "what nobody could tell of")
    server.start()
    expect(page.get_by_text("The stream of this run was lost")).to_have_count(0)
    count = log.read_bytes().count(b"\n")
    expect(shown.filter(has_text=re.compile(rf"^line {count + 5}:"))).to_be_visible()
    (log.parent / "go").touch()
    client.finished(job)
    expect(badge(page, "Completed")).to_be_visible()
    written = client.outputs(job)["process_output.log"]
    # On a screen that is high enough all of it is seen: what was told before and since, in one.
    page.set_viewport_size({"width": 1280, "height": 20_000})
    expect(shown).to_have_count(written.count(b"\n"))
    assert "".join(f"{line}\n" for line in shown.all_inner_texts()).encode() == written
    assert saved(page, page.get_by_role("link", name="Download")) == written
    somebody.check(401)


HOSTILE = r"""
printf '\033[31mred\033[0m and \033[1;32mgreen\033[0m\n'
printf '\033]0;taken over\007\033[2J\033[H'
printf '\033]8;;javascript:alert(1)\033\\click me\033]8;;\033\\\n'
echo '<script>document.title = "taken over"</script><img src=x onerror="document.title=1">'
printf '10 %%\r55 %%\r100 %%\r\n'
printf '\342\200\256live \377\376\001 end\n'
"""


def test_a_log_is_text_whatever_is_in_it_and_searched(
    server: RunningServer, client: Client, visit: Visitor
) -> None:
    needles = "for n in 1 2 3; do seq -f 'step %.0f' 3000; echo \"the Needle $n\"; done"
    job = client.run(HOSTILE + needles)["id"]
    log = client.outputs(job)["process_output.log"]
    places = [log.index(b"the Needle %d" % n) for n in (1, 2, 3)]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}/log?at=0")
    shown = page.locator(".log-text")
    expect(shown.locator(".ansi-red")).to_have_text("red")
    expect(shown.locator(".ansi-green.bold")).to_have_text("green")
    lines = shown.all_inner_texts()
    assert lines[0] == "red and green"
    assert lines[1].strip() == "click me"
    assert lines[2].startswith('<script>document.title = "taken over"</script><img src=x onerror=')
    assert lines[3] == "100 %"
    assert lines[4] == "\u202elive \ufffd\ufffd\u2401 end"
    assert page.locator("img[src=x], main script, a[href^=javascript]").count() == 0
    assert "taken over" not in page.title()

    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(page.locator(".log-found")).to_contain_text("3 lines in")
    current = page.locator(".log-line[aria-current=true]")
    expect(current).to_contain_text("the Needle 1")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(current).to_contain_text("the Needle 2")
    expect(current.locator("mark")).to_have_text("Needle")
    page.keyboard.press("n")
    expect(current).to_contain_text("the Needle 3")
    assert at(page) == places[2]
    page.keyboard.press("N")
    expect(current).to_contain_text("the Needle 2")
    assert at(page) == places[1]
    # The address is a link to the line, for anybody and at any time.
    page.reload()
    expect(current).to_contain_text("the Needle 2")
    expect(current.locator(".log-number")).to_have_text(str(log[: places[1]].count(b"\n") + 1))
    somebody.check()


def test_a_log_of_ten_gigabytes(server: RunningServer, client: Client, visit: Visitor) -> None:
    """It is sparse: what counts is that no more of it is read than is looked at."""
    middle = "yes 'in the middle' | head -c 4M | dd of=big.log bs=1M seek=5118 conv=notrunc"
    command = (
        "echo 'the first line' > big.log; truncate -s 10G big.log\n"
        f"{middle} 2> /dev/null\nprintf '\\nthe last line\\n' >> big.log; touch big\n{GO}"
    )
    job = begun(client, command, "giant")
    folder = work_folder(server, "giant")
    try:
        wait_for((folder / "big").exists, "the log")
        somebody = visit()
        page = somebody.open(f"/jobs/{job}/log?path=big.log")
        expect(page.get_by_text("the last line", exact=True)).to_be_visible()
        view = page.get_by_role("log", name="Log")
        view.evaluate("box => box.scrollTop = (box.scrollHeight - box.clientHeight) / 2")
        expect(page.get_by_text("in the middle", exact=True).first).to_be_visible()
        expect(page.locator(".log-status")).to_contain_text("50 % above")
        page.keyboard.press("g")
        page.keyboard.press("g")
        expect(page.get_by_text("the first line", exact=True)).to_be_visible()
        page.keyboard.press("G")
        expect(page.get_by_text("the last line", exact=True)).to_be_visible()
        somebody.check()
    finally:
        (folder / "big.log").unlink()
        client.call("POST", f"jobs/{job}/stop/", 202)


# --- how it ends ---------------------------------------------------------------------------------


def test_the_line_that_tells_why_it_failed_is_a_link_into_the_log(
    client: Client, visit: Visitor
) -> None:
    job = client.run("seq 3000; python3 -c 'import nothing_like_it'; seq 3000; exit 3")["id"]
    outcome = client.get(f"jobs/{job}/runs/1/")["outcome"]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}")
    banner = page.get_by_label("How it ended")
    expect(banner).to_contain_text("Failed")
    expect(banner).to_contain_text("exit code 3")
    expect(banner).to_contain_text("No module named 'nothing_like_it'")
    banner.get_by_role("link", name=re.compile("process_output.log, line")).click()
    current = page.locator(".log-line[aria-current=true]")
    expect(current).to_contain_text("No module named 'nothing_like_it'")
    assert at(page) == outcome["evidence"]["offset"]
    somebody.check()


# --- files ---------------------------------------------------------------------------------------


def test_files_are_found_looked_into_and_downloaded(client: Client, visit: Visitor) -> None:
    dot = client.upload("dot.png", DOT)["id"]
    command = """
        for d in $(seq -w 0 19); do mkdir part$d; for f in $(seq -w 0 99); do
            echo "$d $f" > part$d/value$f.txt; done; done
        cp dot.png picture.png
        printf 'time,force\\n0.5,<i>1</i>\\n1.5,22\\n' > forces.csv
        echo '<script>document.title = 1</script>' > page.html
    """
    job = client.run(command, inputs=[dot])["id"]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}/files")
    grid = page.get_by_role("treegrid", name="Files")

    def file(name: str) -> Locator:
        return grid.get_by_role("row").filter(has=page.get_by_role("button", name=name, exact=True))

    expect(grid.get_by_role("row").filter(has_text="part07")).to_contain_text("100")
    grid.get_by_role("button", name=re.compile("^part07")).click()
    expect(file("value00.txt")).to_have_attribute("aria-level", "2")
    file("value00.txt").get_by_role("button").click()
    preview = page.get_by_label("Preview of value00.txt")
    expect(preview.locator("pre")).to_have_text("07 00\n")
    page.get_by_label("Search the files").fill("11/value4")
    expect(grid.get_by_role("row")).to_have_count(11)
    expect(file("part11/value42.txt")).to_be_visible()
    page.get_by_label("Search the files").fill("")
    expect(file("value00.txt")).to_be_visible()
    grid.get_by_role("row").nth(1).press("End")
    grid.get_by_role("button", name="forces.csv").click()
    preview = page.get_by_label("Preview of forces.csv")
    expect(preview.get_by_role("columnheader")).to_have_text(["time", "force"])
    expect(preview.get_by_role("cell")).to_have_text(["0.5", "<i>1</i>", "1.5", "22"])
    grid.get_by_role("button", name="picture.png").click()
    picture = page.get_by_role("img", name="picture.png")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    grid.get_by_role("button", name="page.html").click()
    expect(page.get_by_label("Preview of page.html").locator("pre")).to_contain_text("<script>")

    page.get_by_role("button", name="Close the preview").click()
    grid.get_by_role("row").last.press("Home")
    grid.get_by_label("Choose part07").check()
    grid.get_by_label("Choose value13.txt").uncheck()
    grid.get_by_role("row").nth(1).press("End")
    grid.get_by_label("Choose forces.csv").check()
    link = page.get_by_role("link", name=re.compile("^Download 100 files"))
    with zipfile.ZipFile(io.BytesIO(saved(page, link))) as archive:
        assert archive.testzip() is None
        expected = {f"part07/value{n:02}.txt" for n in range(100) if n != 13} | {"forces.csv"}
        assert set(archive.namelist()) == expected
        assert archive.read("part07/value99.txt") == b"07 99\n"
        rows = list(csv.reader(io.StringIO(archive.read("forces.csv").decode())))
        assert rows == [["time", "force"], ["0.5", "<i>1</i>"], ["1.5", "22"]]
    assert "Simyard" in page.title()
    somebody.check()


# --- others, and other ways ----------------------------------------------------------------------


def test_a_job_is_shared_and_no_longer(server: RunningServer, visit: Visitor) -> None:
    mine, other = server.somebody("sharer"), server.somebody("colleague")
    job = mine.run("echo for both", job={"name": "Common"})["id"]
    email = other.get("users/me/")["email"]
    somebody, colleague = visit(key=mine.key), visit(key=other.key)
    theirs = colleague.open(f"/jobs/{job}")
    expect(theirs.get_by_text("This job: not found, or not shared with you.")).to_be_visible()
    page = somebody.open(f"/jobs/{job}")
    page.get_by_role("button", name="Share").click()
    dialog = page.get_by_role("dialog", name="Share Common")
    dialog.get_by_label("E-mail of a member").fill("nobody@lab.example")
    dialog.get_by_role("button", name="Share", exact=True).click()
    expect(dialog.locator(".error")).to_be_visible()
    dialog.get_by_label("E-mail of a member").fill(email)
    dialog.get_by_role("button", name="Share", exact=True).click()
    expect(dialog.get_by_role("listitem").filter(has_text=email)).to_be_visible()
    theirs = colleague.open(f"/jobs/{job}/log", theirs)
    expect(theirs.get_by_text("for both")).to_be_visible()
    share = theirs.get_by_role("button", name="Share")
    expect(share).to_have_attribute("aria-disabled", "true")
    expect(share).to_have_attribute("title", re.compile("^Only sharer-"))
    dialog.get_by_role("button", name="Remove").click()
    expect(dialog.get_by_role("listitem")).to_have_count(1)
    other.get(f"jobs/{job}/", 404)
    somebody.check(400)
    colleague.check(404)


def test_the_told_commands_do_what_they_say(client: Client, visit: Visitor, tmp_path: Path) -> None:
    job = client.run("echo 'an error, they say'; echo 42 > answer")["id"]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}/api")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": programs, "SIMYARD_API_KEY": client.key}

    def told(view: str) -> list[str]:
        panel = page.get_by_role("region", name=view, exact=True)
        expect(panel.locator("pre")).not_to_have_count(0)
        return panel.locator("pre").all_inner_texts()

    def run(*command: str) -> str:
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done)
        return done.stdout

    replies = [
        run("bash", "-c", command.replace("curl -sS", "curl -sS --fail", 1))
        for view in ("Overview", "Log", "Files")
        for command in told(view)
    ]
    definition, history, first, *_ = map(json.loads, replies[:6])
    assert definition["id"] == job
    assert history["results"][0]["status"] == "Completed"
    assert first["outcome"]["verdict"] == "completed"
    log, search, _, tree, archive = replies[6:]
    assert log == "an error, they say\n"
    assert [m["text"] for m in json.loads(search)["matches"]] == ["an error, they say"]
    assert "answer" in {file["path"] for file in json.loads(tree)["files"]}
    assert json.loads(archive)["count"] == 2
    page.get_by_role("button", name="CLI").click()
    (server_is,) = told("The server")
    log, search, _, tree, archive = (
        run("bash", "-c", f"{server_is}\n{command}")
        for view in ("Log", "Files")
        for command in told(view)
    )
    assert log == "an error, they say\n"
    assert json.loads(search) == json.loads(replies[7])
    assert json.loads(tree) == json.loads(replies[9])
    assert json.loads(archive)["count"] == 2
    (_, copy, _) = told("Actions")
    assert "id" in json.loads(run("bash", "-c", f"{server_is}\n{copy}"))
    page.get_by_role("button", name="Python").click()
    expect(page.get_by_role("button", name="Python")).to_have_attribute("aria-pressed", "true")
    (program,) = told("Log")
    assert "an error, they say\n" in run(sys.executable, "-c", program)
    somebody.check()


@pytest.mark.parametrize("has_events", [True, False])
def test_who_may_not_see_it_any_more_is_told_while_he_watches(
    server: RunningServer, visit: Visitor, has_events: bool
) -> None:
    mine, other = server.somebody("sharer"), server.somebody("watcher")
    job = begun(mine, "while sleep 0.2; do echo step; done", f"watched-{has_events}")
    with_whom = {"email": other.get("users/me/")["email"]}
    mine.call("POST", f"jobs/{job}/share/", 200, json=with_whom)
    somebody = visit(key=other.key)
    if not has_events:
        somebody.context.route("**/api/v2/events/**", lambda route: route.abort())
    page = somebody.open(f"/jobs/{job}/log")
    expect(page.locator(".log-status")).to_contain_text("following")
    mine.call("DELETE", f"jobs/{job}/share/", 204, json=with_whom)
    expect(page.get_by_text("This job: not found, or not shared with you.")).to_be_visible()
    expect(page.locator(".job-head")).to_have_count(0)
    mine.call("POST", f"jobs/{job}/stop/", 202)
    mine.finished(job)
    somebody.check(404)


def test_a_job_that_is_deleted_elsewhere_is_not_shown_on(client: Client, visit: Visitor) -> None:
    job = client.run("true")["id"]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}")
    expect(badge(page, "Completed")).to_be_visible()
    expect(page.locator(".connection")).to_contain_text("live")
    client.call("DELETE", f"jobs/{job}/", 204)
    expect(page.get_by_text("This job: not found, or not shared with you.")).to_be_visible()
    expect(page.locator(".job-head")).to_have_count(0)
    somebody.check(404)


def test_names_of_files_hide_nothing(client: Client, visit: Visitor) -> None:
    command = r"""touch "$(printf 'rtl\342\200\256gnp.exe')" "$(printf 'two\nlines')" """
    job = client.run(command)["id"]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}/files")
    expect(page.get_by_text("rtl<U+202E>gnp.exe", exact=True)).to_be_visible()
    expect(page.get_by_text("two\u240alines", exact=True)).to_be_visible()
    page.get_by_text("rtl<U+202E>gnp.exe", exact=True).click()
    expect(page.get_by_role("heading", name="rtl<U+202E>gnp.exe")).to_be_visible()
    somebody.check()
