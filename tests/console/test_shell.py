"""What stands around every page: signing in, one stream for all tabs, keys, silence."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import expect

from browsing import Visitor
from harness import SIMYARD, Client, RunningServer, wait_for
from proxying import Proxy


def test_a_key_opens_the_page_that_was_asked_for(server: RunningServer, visit: Visitor) -> None:
    somebody = visit(key="")
    page = somebody.open("/settings/keys")
    dialog = page.get_by_role("dialog", name="Sign in to Simyard")
    dialog.get_by_label("API key").fill("0" * 40)
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_text("opens nothing here")).to_be_visible()
    dialog.get_by_label("API key").fill(server.client().key)
    dialog.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    expect(dialog).to_have_count(0)
    cookie = next(c for c in somebody.context.cookies() if c["name"].startswith("simyard"))
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    assert page.evaluate("document.cookie") == ""
    somebody.check(401, 400)


def test_a_link_signs_in_once_and_leaves_no_trace(server: RunningServer, visit: Visitor) -> None:
    command = [*SIMYARD, "keys", "link", "--data", str(server.data), "--email", "lin@lab.example"]
    server.key("lin@lab.example")
    link = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    first = visit(key="")
    page = first.context.new_page()
    page.goto(link)
    expect(page.get_by_role("heading", name="First minutes with Simyard")).to_be_visible()
    assert "#t=" not in page.url
    first.check()
    second = visit(key="")
    page = second.context.new_page()
    page.goto(link)
    expect(page.get_by_role("dialog", name="Sign in to Simyard")).to_be_visible()
    second.check(400, 401, 403)


def test_signing_out_ends_the_session(visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/usage")
    page.get_by_role("button", name="You and this page").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("dialog", name="Sign in to Simyard")).to_be_visible()
    assert somebody.context.request.get(f"{somebody.address}/api/v2/session/").status == 401
    somebody.check(401)


def test_of_interrupted_uploads_nothing_is_kept_for_others(
    server: RunningServer, visit: Visitor, tmp_path: Path
) -> None:
    somebody = visit()
    (tmp_path / "secret wing.bin").write_bytes(b"wing")
    page = somebody.open("/library")
    page.route(
        "**/api/v2/uploads/*/",
        lambda route: route.abort() if route.request.method == "PATCH" else route.continue_(),
    )
    kept = "Object.entries(localStorage).filter(each => /wing/.test(each))"

    def interrupted() -> None:
        with page.expect_request(lambda request: request.method == "PATCH"):
            page.get_by_label("Files to upload").set_input_files(tmp_path / "secret wing.bin")
        page.get_by_role("button", name="Pause secret wing.bin").click()
        assert len(page.evaluate(kept)) == 1

    interrupted()
    page.reload()
    expect(page.get_by_label("Files to upload")).to_be_attached()
    assert len(page.evaluate(kept)) == 1  # it can be gone on with
    page.get_by_role("button", name="You and this page").click()
    with page.expect_event("load"):
        page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("dialog", name="Sign in to Simyard")).to_be_visible()
    assert page.evaluate(kept) == []
    somebody.sign_in(server.client().key)
    page.reload()
    interrupted()
    somebody.sign_in(server.key("next@lab.example"))
    page.reload()
    expect(page.get_by_label("Files to upload")).to_be_attached()
    assert page.evaluate(kept) == []
    somebody.check(401)


def test_who_signs_in_where_somebody_else_was_goes_on_with_nothing_of_his(
    server: RunningServer, visit: Visitor
) -> None:
    first = visit()
    page = first.open("/settings/keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Label").fill("of the first")
    ended = first.context.request.delete(
        f"{first.address}/api/v2/session/",
        headers={"X-Simyard": "1", "Origin": first.address},
    )
    assert ended.status == 204
    page.get_by_role("button", name="Make the key").click()
    dialog = page.get_by_role("dialog", name="Sign in to Simyard")
    other = server.key("other@lab.example")
    dialog.get_by_label("API key").fill(other)
    with page.expect_event("load"):
        dialog.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    expect(dialog).to_have_count(0)
    told = json.dumps(server.client(other).get("keys/"))
    assert "of the first" not in told
    first.check(401)


def test_seven_tabs_share_one_connection(client: Client, visit: Visitor) -> None:
    somebody = visit()
    pages = [somebody.open("/usage") for _ in range(7)]
    for page in pages:
        page.get_by_role("heading", name="Usage").wait_for()
        expect(page.locator(".connection")).to_contain_text("live")
    streams = [r for r in somebody.requests if "/api/v2/events/" in r.url]
    assert len(streams) == 1
    # The seventh is no worse off: a request of it is answered.
    began = time.monotonic()
    assert pages[6].evaluate("fetch('api/v2/users/me/').then(reply => reply.status)") == 200
    assert time.monotonic() - began < 10
    # The leader goes, another goes on, and hears of what happens.
    leader = streams[0].frame.page
    others = [page for page in pages if page is not leader]
    leader.close()
    wait_for(
        lambda: (
            others[0].wait_for_timeout(50)
            or sum("/api/v2/events/" in r.url for r in somebody.requests) == 2
        ),
        "another tab's stream",
    )
    somebody.check()


def test_the_server_comes_back_and_the_page_goes_on(
    fresh: Callable[..., RunningServer], visit: Visitor
) -> None:
    server = fresh().start()
    client = server.client()
    somebody = visit(server.address, client.key)
    page = somebody.open("/jobs/new?step=inputs")
    page.get_by_label("Name of the job").fill("Wing")
    expect(page.get_by_text("saved", exact=False).first).to_be_visible()
    server.kill()
    expect(page.get_by_text("No connection to the server")).to_be_visible()
    page.get_by_label("Name of the job").fill("Wing, second try")
    expect(page.get_by_text("the server does not answer")).to_be_visible()
    server.start()
    expect(page.get_by_text("No connection to the server")).to_have_count(0)
    wait_for(
        lambda: (
            page.wait_for_timeout(100)
            or [d["name"] for d in client.get("drafts/")["results"]] == ["Wing, second try"]
        ),
        "what was typed meanwhile",
    )
    somebody.check(401)


def test_keys_and_the_palette(client: Client, visit: Visitor) -> None:
    name = "Palette wing"
    job = client.create("true", job={"name": name})
    somebody = visit()
    page = somebody.open("/usage")
    page.get_by_role("heading", name="Usage").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("l")
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Go to studies")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type(name)
    page.get_by_role("option").filter(has_text=name).wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{job['id']}")
    # Nothing is a key while somebody types, and single letters can be turned off.
    page = somebody.open("/library", page)
    page.get_by_label("Search files by name").press_sequentially("gj?")
    assert "/library" in page.url
    page.evaluate("localStorage.setItem('simyard.keys', 'off')")
    page = somebody.open("/usage", page)
    page.get_by_role("heading", name="Usage").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("l")
    page.wait_for_timeout(300)
    assert "/usage" in page.url
    somebody.check()


def test_plain_http_by_name_is_no_secure_context_and_works(
    server: RunningServer, visit: Visitor
) -> None:
    address = server.address.replace("127.0.0.1", "box.test")
    somebody = visit(address, key="")
    page = somebody.open("/settings/keys")
    assert page.evaluate("[isSecureContext, 'locks' in navigator]") == [False, False]
    page.get_by_label("API key").fill(server.client().key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".connection")).to_contain_text("live")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Label").fill("from a plain page")
    page.get_by_role("button", name="Make the key").click()
    dialog = page.get_by_role("dialog", name="Your new key")
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    other = somebody.open("/usage")
    expect(other.locator(".connection")).to_contain_text("live")
    assert sum("/api/v2/events/" in r.url for r in somebody.requests) == 1
    somebody.check(401)


def test_behind_a_prefix_everything_stays_below_it(
    fresh: Callable[..., RunningServer], visit: Visitor
) -> None:
    server = fresh('trusted_proxies = ["127.0.0.1"]\n').start()
    proxy = Proxy(server.address)
    try:
        somebody = visit(f"http://localhost:{proxy.port}/sim", server.client().key)
        page = somebody.open("/settings/keys")  # a deep link, loaded anew
        expect(page.get_by_role("heading", name="API keys")).to_be_visible()
        expect(page.locator(".connection")).to_contain_text("live")
        page.get_by_role("link", name="Library").click()
        page.get_by_label("Files to upload").set_input_files(
            {"name": "a.txt", "mimeType": "text/plain", "buffer": b"behind"}
        )
        with page.expect_download() as download:
            page.get_by_role("link", name="Download a.txt").click()
        assert download.value.path().read_bytes() == b"behind"
        page.get_by_role("link", name="New job", exact=True).click()
        assert page.url == f"{somebody.address}/jobs/new"
        page.reload()
        expect(page.get_by_label("Name of the job")).to_be_visible()
        cookie = next(c for c in somebody.context.cookies() if c["name"].startswith("simyard"))
        assert cookie["path"].rstrip("/") == "/sim"
        somebody.check()
    finally:
        proxy.close()


def test_an_unknown_page_says_so(visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/nowhere/at/all")
    expect(page.get_by_text("There is no such page")).to_be_visible()
    somebody.check()


def test_the_clock_is_the_server_s_whatever_the_browser_has_kept(
    client: Client, visit: Visitor
) -> None:
    job = client.create("sleep 600", job={"name": "Long under way"})["id"]
    client.submit(job)
    wait_for(lambda: client.status(job) == "Executing", "Executing")
    started = datetime.fromisoformat(client.get(f"jobs/{job}/runs/1/")["dateStarted"])
    somebody = visit()
    page = somebody.open(f"/jobs/{job}")
    shown = page.locator(".job-head").get_by_text(re.compile(r"^(\d+ min )?[\d.]+ s$"))
    expect(shown).to_be_visible()
    page.wait_for_timeout(6_000)
    page.reload()
    *minutes, seconds = re.findall(r"[\d.]+", shown.inner_text())
    passed = (datetime.now(UTC) - started).total_seconds()
    assert passed - 60 * float((minutes or [0])[0]) - float(seconds) < 3
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)
    somebody.check()
