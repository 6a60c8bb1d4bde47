"""What was interrupted goes on: an upload after a night, a page that was asleep."""

import os
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Route, expect

from browsing import Visitor
from harness import Client, RunningServer, wait_for

CHUNK = 8 * 1024 * 1024


def test_an_upload_goes_on_after_browser_and_server_were_gone(
    fresh: Callable[..., RunningServer], visit: Visitor, tmp_path: Path
) -> None:
    server = fresh().start()
    client = server.client()
    content = os.urandom(CHUNK + 5_000_000)
    (tmp_path / "mesh.bin").write_bytes(content)
    somebody = visit(server.address, client.key)
    page = somebody.context.new_page()
    offsets: list[str] = []

    def only_one(route: Route) -> None:
        offsets.append(route.request.headers["upload-offset"])
        if len(offsets) > 1:
            route.abort()
        else:
            route.continue_()

    page.route(
        "**/api/v2/uploads/*/",
        lambda r: only_one(r) if r.request.method == "PATCH" else r.continue_(),
    )
    somebody.open("/library", page)
    page.get_by_label("Files to upload").set_input_files(tmp_path / "mesh.bin")
    wait_for(lambda: page.wait_for_timeout(50) or len(offsets) > 1, "the second part")
    page.close(run_before_unload=False)
    server.kill()
    server.start()
    again = somebody.open("/library")
    row = again.get_by_role("row").filter(has_text="mesh.bin")
    expect(row).to_contain_text("8.39 MB")
    sent: list[str] = []
    again.on(
        "request",
        lambda r: sent.append(r.headers["upload-offset"]) if r.method == "PATCH" else None,
    )
    again.get_by_label("Files to upload").set_input_files(tmp_path / "mesh.bin")
    expect(again.get_by_text("1 of 1 uploaded")).to_be_visible()
    assert sent == [str(CHUNK)]  # what was there was not sent again
    files = client.get("files/")["results"]
    assert [file["name"] for file in files] == ["mesh.bin"]
    assert client.call("GET", f"files/{files[0]['id']}/contents/", 200).content == content
    assert client.get("uploads/")["results"] == []
    somebody.check(401)


def test_a_page_that_was_asleep_catches_up(client: Client, visit: Visitor) -> None:
    job = client.create("sleep 600", job={"name": "While asleep"})
    client.submit(job["id"])
    wait_for(lambda: client.status(job["id"]) == "Executing", "Executing")
    somebody = visit()
    page = somebody.open(f"/jobs/{job['id']}")
    expect(page.locator(".connection")).to_contain_text("live")
    expect(page.get_by_text("Executing").first).to_be_visible()
    chromium = somebody.context.new_cdp_session(page)
    chromium.send("Page.setWebLifecycleState", {"state": "frozen"})
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    assert client.finished(job["id"]).startswith("Stopped")
    chromium.send("Page.setWebLifecycleState", {"state": "active"})
    expect(page.get_by_text("Stopped").first).to_be_visible()
    somebody.check()
