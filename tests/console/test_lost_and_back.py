"""What was interrupted goes on: an upload after a night, a page that was asleep."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

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


def sending(page: Page) -> list[Route]:
    """Have an upload under way whose bytes do not arrive."""
    bytes_sent: list[Route] = []
    page.route(
        "**/api/v2/uploads/*/",
        lambda r: bytes_sent.append(r) if r.request.method == "PATCH" else r.continue_(),
    )
    page.get_by_label("Files to upload").set_input_files(
        {"name": "mesh.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 1000}
    )
    wait_for(lambda: page.wait_for_timeout(50) or bytes_sent, "the bytes")
    return bytes_sent


def test_an_upload_goes_on_by_itself_when_the_network_is_back(visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/library")
    (under_way,) = sending(page)
    somebody.context.set_offline(True)
    under_way.abort("internetdisconnected")
    expect(page.get_by_role("status").get_by_text("waiting for the connection")).to_be_visible()
    page.wait_for_timeout(4_000)  # it is tried meanwhile
    page.unroute("**/api/v2/uploads/*/")
    somebody.context.set_offline(False)
    expect(page.get_by_text("1 of 1 uploaded")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).filter(each => /mesh/.test(each))") == []
    somebody.check()


def test_an_upload_goes_on_once_somebody_is_signed_in_again(
    server: RunningServer, visit: Visitor
) -> None:
    client = server.somebody("uploader")
    made = client.call("POST", "keys/", 201, json={"label": "short"}).json()
    somebody = visit(key=made["key"])
    page = somebody.open("/library")
    (under_way,) = sending(page)
    begun = client.get("uploads/")["results"]
    client.call("DELETE", f"keys/{made['id']}/", 204)
    under_way.continue_()
    page.unroute("**/api/v2/uploads/*/")
    dialog = page.get_by_role("dialog", name="Sign in to Simyard")
    dialog.get_by_label("API key").fill(client.key)
    dialog.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("1 of 1 uploaded")).to_be_visible()
    assert [each["filename"] for each in begun] == ["mesh.bin"]
    assert client.get("uploads/")["results"] == []  # it went on, and nothing was begun anew
    somebody.check(401)


def test_a_file_that_was_changed_meanwhile_is_no_lost_connection(
    server: RunningServer, visit: Visitor, tmp_path: Path
) -> None:
    somebody = visit(key=server.somebody("uploader").key)
    page = somebody.open("/library")
    page.route("**/api/v2/uploads/*/", lambda r: r.abort())
    (tmp_path / "mesh.bin").write_bytes(b"first")
    page.get_by_label("Files to upload").set_input_files(tmp_path / "mesh.bin")
    with page.expect_request(lambda request: request.method == "PATCH"):
        pass
    (tmp_path / "mesh.bin").unlink()
    somebody.context.set_offline(True)
    expect(page.get_by_text("The file is not there any more, or was changed.")).to_be_visible()


@pytest.mark.parametrize("how", ["failed", "paused", "lost"])
def test_of_an_upload_that_is_taken_off_the_list_nothing_is_left(
    server: RunningServer, visit: Visitor, how: str
) -> None:
    client = server.somebody("uploader")
    somebody = visit(key=client.key)
    page = somebody.open("/library")
    (under_way,) = sending(page)
    (begun,) = client.get("uploads/")["results"]
    if how == "failed":
        under_way.fulfill(status=413, content_type="application/json", body='{"detail": "No."}')
        expect(page.get_by_text("No.", exact=True)).to_be_visible()
    elif how == "paused":
        page.get_by_role("button", name="Pause mesh.bin").click()
        under_way.abort()
    else:
        somebody.context.set_offline(True)
        under_way.abort("internetdisconnected")
        status = page.get_by_role("status")
        expect(status.get_by_text("waiting for the connection")).to_be_visible()
    page.get_by_role("button", name="Take mesh.bin off the list").click()
    somebody.context.set_offline(False)
    wait_for(
        lambda: page.wait_for_timeout(50) or client.get("uploads/")["results"] == [],
        f"the end of {begun['id']}",
    )
    expect(page.get_by_text("Uploads that were interrupted")).to_have_count(0)
    assert page.evaluate("Object.keys(localStorage).filter(each => /mesh/.test(each))") == []
    somebody.check(413)
