"""Library, keys, usage, studies and the first minutes."""

import csv
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from browsing import Visitor
from harness import Client, RunningServer, wait_for
from simyard.service.catalogue import own_folder
from studying import created, study


def test_the_library(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("librarian")
    somebody = visit(key=mine.key)
    page = somebody.open("/library")
    expect(page.get_by_text("No files yet")).to_be_visible()
    hostile = '<img src=x onerror="document.title=1">.txt'
    page.get_by_label("Files to upload").set_input_files(
        [
            {"name": hostile, "mimeType": "text/plain", "buffer": b"one"},
            {"name": "b.txt", "mimeType": "text/plain", "buffer": b"two"},
        ]
    )
    rows = page.get_by_role("row").filter(has=page.get_by_role("link", name="Download"))
    expect(rows).to_have_count(2)
    expect(page.get_by_text(hostile, exact=True).last).to_be_visible()
    assert page.locator("img[src=x]").count() == 0 and "Simyard" in page.title()
    page.get_by_label("Search files by name").fill("b.t")
    expect(rows).to_have_count(1)
    assert "q=b.t" in page.url
    with page.expect_download() as download:
        page.get_by_role("link", name="Download b.txt").click()
    assert download.value.path().read_bytes() == b"two"
    page.get_by_label("Select b.txt").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No file has this in its name")).to_be_visible()
    assert [file["name"] for file in mine.get("files/")["results"]] == [hostile]
    somebody.check()


def test_keys_are_made_and_revoked(server: RunningServer, visit: Visitor) -> None:
    mine = server.somebody("keyholder")
    somebody = visit(key=mine.key)
    page = somebody.open("/settings/keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Good for, days").fill("30")
    page.get_by_label("Label").fill("nightly")
    page.get_by_role("button", name="Make the key").click()
    key = page.get_by_role("dialog", name="Your new key").locator("pre").inner_text()
    assert server.client(key).get("users/me/")["email"] == mine.get("users/me/")["email"]
    page.get_by_role("button", name="I have it").click()
    row = page.get_by_role("row").filter(has_text="nightly")
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke the key").click()
    expect(row).to_contain_text("revoked")
    server.client(key).get("users/me/", 401)
    somebody.check()


def test_usage_shows_limits_and_to_administrators_the_month(
    server: RunningServer, visit: Visitor
) -> None:
    somebody = visit()
    page = somebody.open("/usage")
    expect(page.get_by_role("row").filter(has_text="Storage")).to_contain_text("no limit")
    expect(page.get_by_text("This installation")).to_have_count(0)
    somebody.check()
    chief = visit(key=server.somebody("chief", role="admin").key)
    page = chief.open("/usage")
    expect(page.get_by_text("Members who used it")).to_be_visible()
    chief.check()


def test_a_study_is_watched_repaired_and_taken_away(client: Client, visit: Visitor) -> None:
    rows = "x,y\n" + "".join(f"{n},{n * n}\n" for n in range(1, 7))
    command = 'if [ "$PARAM_X" = 3 ] && [ ! -e "$HOME/../fixed" ]; then exit 7; fi'
    post = "printf 'f\\t%s\\n' \"$PARAM_Y\""
    largest = {"direction": "maximize"}
    goal = {"name": "f", "variableType": "Objective", "valueGeneratorSettings": largest}
    named = {"name": "Parabola", "jobvariables": [goal]}
    job = created(
        client,
        study(client, command, table=rows, job=named, postProcessScriptCommand=post),
    )
    somebody = visit()
    client.submit(job["id"])
    page = somebody.open(f"/studies/{job['id']}")
    table = page.get_by_role("table", name="Runs of the study")
    expect(page.get_by_text("5 done")).to_be_visible()
    expect(page.get_by_text("1 failed").first).to_be_visible()
    third = table.get_by_role("row").filter(has=page.get_by_role("link", name="3", exact=True))
    expect(third).to_contain_text("failed")
    reason = "5 of 6 runs completed. Run 3 failed: "
    expect(page.get_by_role("alert").filter(has_text=reason)).to_be_visible()
    expect(page.get_by_text("Best run: 6 with f 36 at x 6, y 36")).to_be_visible()
    told = "f against x: 5 of 6 runs; x from 1 to 6, f from 1 to 36."
    expect(page.get_by_role("img", name=told)).to_be_visible()
    table.get_by_role("button", name="f", exact=True).click()
    table.get_by_role("button", name="f ↑").click()
    expect(table.get_by_role("row").nth(1)).to_contain_text("36")
    assert "sort=-outputs.f" in page.url
    page.get_by_label("Filter", exact=True).fill("f > 10")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(table.get_by_role("row")).to_have_count(4)
    page.get_by_label("Filter", exact=True).fill("f >")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_text("column")).to_be_visible()
    page.get_by_label("Filter", exact=True).fill("")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="CSV").click()
    assert download.value.path().read_text().startswith("id,status")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Parquet").click()
    assert download.value.path().read_bytes().startswith(b"PAR1")
    for typed, rows_of_it in (("", 1), ("f > 10 or x = 3", 1), ("f > 10", 0)):
        page.get_by_label("Filter", exact=True).fill(typed)
        page.get_by_role("button", name="Filter", exact=True).click()
        if "status=failed" not in page.url:
            page.get_by_role("button", name="failed 1", exact=True).click()
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="CSV").click()
        exported = list(csv.DictReader(download.value.path().read_text().splitlines()))
        assert [run["id"] for run in exported] == ["3"] * rows_of_it
    page.get_by_role("button", name="Re-run failed (1)").click()
    page.get_by_role("dialog").get_by_role("button", name="Run again").click()
    wait_for(
        lambda: (
            page.wait_for_timeout(50)
            or len(client.get(f"jobs/{job['id']}/clusters/")["results"]) > 6
        ),
        "the attempt",
    )
    somebody.check(400)


def test_the_list_of_studies_says_how_each_ended(client: Client, visit: Visitor) -> None:
    job = created(client, study(client, "exit 7", table="x\n1\n2\n", job={"name": "None is good"}))
    client.submit(job["id"])
    client.finished(job["id"])
    somebody = visit(viewport={"width": 390, "height": 800})
    page = somebody.open("/studies")
    row = page.get_by_role("row").filter(has_text="None is good")
    expect(row).to_contain_text("A run failed: none of 2 runs completed. Run 1: ")
    expect(row).to_contain_text("0 of 2 done, 2 failed")
    expect(row.get_by_text("Failed", exact=True)).to_be_visible()
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "0")
    for cell in row.get_by_role("cell").all():
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
    row.get_by_role("link").click()
    told = page.get_by_role("alert").filter(has_text="none of 2 runs completed")
    expect(told).to_be_visible()
    somebody.check()


@pytest.mark.calculix
@pytest.mark.sandbox
def test_without_openfoam_they_run_what_is_installed(
    fresh: Callable[..., RunningServer], visit: Visitor
) -> None:
    server = fresh()
    shipped = (own_folder() / "openfoam.toml").read_text()
    (server.data / "catalogue").mkdir()
    (server.data / "catalogue" / "openfoam.toml").write_text(
        shipped.replace('command = ["simpleFoam"', 'command = ["no-such-foam"')
    )
    server.start()
    somebody = visit(server.address, server.client().key)
    page = somebody.open("/welcome")
    page.get_by_role("button", name="Run the beam example").click()
    expect(page.get_by_role("img", name="residuals/force, now")).to_be_visible(timeout=100_000)
    expect(page.get_by_role("link", name="Look at its results")).to_be_visible(timeout=100_000)
    somebody.check()
