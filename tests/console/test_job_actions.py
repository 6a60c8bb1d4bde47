"""What is done to a job from its page: asked for, confirmed, and true."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import looping
from browsing import Visit, Visitor, badge
from harness import CONFIG, GO, Client, RunningServer, begun, serving, wait_for, work_folder

PATIENT = CONFIG.replace("stop_grace_seconds = 1.0", "stop_grace_seconds = 120")


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that waits long for a run that is to stop, with solvers that can be restarted."""
    made = RunningServer(tmp_path_factory.mktemp("patient") / "data", PATIENT)
    looping.bring(made.data)
    with serving(made) as running:
        yield running


def asked(somebody: Visit, method: str, end: str) -> int:
    return sum(r.method == method and r.url.endswith(end) for r in somebody.requests)


def chosen(page: Page, action: str, dialog: str) -> Locator:
    """The dialog that an entry of the menu opens."""
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name=action).click()
    return page.get_by_role("dialog", name=dialog)


def id_of(page: Page) -> str:
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    return page.url.rsplit("/", 1)[1]


# --- while it runs -------------------------------------------------------------------------------


def test_stopping_is_asked_once_and_waited_for(patient: RunningServer, visit: Visitor) -> None:
    client = patient.client()
    job = begun(client, f"trap 'touch told' TERM; {GO}", "stubborn", name="<b>Stubborn</b>")
    somebody = visit(patient.address, client.key)
    page = somebody.open(f"/jobs/{job}")
    expect(badge(page, "Executing")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    dialog = page.get_by_role("dialog", name="Stop <b>Stubborn</b>?")
    expect(dialog).to_contain_text("What it has written so far is kept")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Stop the job").click()
    expect(page.get_by_text("Stopping since")).to_be_visible()
    expect(badge(page, "Stopping")).to_be_visible()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    folder = work_folder(patient, "stubborn")
    wait_for((folder / "told").exists, "TERM")
    (folder / "go").touch()
    expect(badge(page, "Stopped")).to_be_visible()
    expect(page.get_by_text("Stopping since")).to_have_count(0)
    expect(page.get_by_label("How it ended")).to_contain_text("Stopped")
    assert asked(somebody, "POST", "/stop/") == 1
    somebody.check()


def test_who_has_waited_long_for_a_solver_ends_it(patient: RunningServer, visit: Visitor) -> None:
    """The case is not changed as the solver sees it, so that being asked does not end it."""
    client = patient.client()
    case = client.upload("case.zip", looping.case())["id"]
    command = f"trap 'touch told; exit 9' TERM; touch deaf; {GO}"
    job = client.create(command, inputs=[case], code=looping.CODE, job={"name": "Deaf"})["id"]
    client.submit(job)
    somebody = visit(patient.address, client.key)
    page = somebody.context.new_page()
    page.clock.install()
    somebody.open(f"/jobs/{job}", page)
    expect(badge(page, "Executing")).to_be_visible()
    wait_for(lambda: bool([*patient.data.glob("runs/*/home/work/deaf")]), "its begin")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop the job").click()
    expect(badge(page, "Stopping")).to_be_visible()
    force = page.get_by_role("button", name="Force")
    expect(page.get_by_text("Stopping since")).to_be_visible()
    page.clock.fast_forward(11_000)  # it is offered after ten seconds
    assert not (work_folder(patient, "deaf") / "told").exists()
    force.click()
    dialog = page.get_by_role("dialog", name="Do not wait for Deaf?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="End it now").click()
    expect(badge(page, "Stopped")).to_be_visible()
    expect(force).to_have_count(0)
    assert client.finished(job) == "Stopped by the user"
    assert "told" in client.outputs(job)
    somebody.check()


def test_a_snapshot_comes_among_the_files(
    server: RunningServer, client: Client, visit: Visitor
) -> None:
    job = begun(client, f"echo half > part; touch pictured; {GO}", "pictured")
    somebody = visit()
    page = somebody.open(f"/jobs/{job}")
    page.get_by_role("button", name="Snapshot").click()
    expect(page.get_by_text("A zip of its folder is being made")).to_be_visible()

    def snapshots() -> list[dict[str, str]]:
        files = client.get(f"jobs/{job}/runs/1/files/?page_size=100")["results"]
        return [file for file in files if file["typeId"] == 12]

    wait_for(lambda: len(snapshots()) == 1, "the snapshot")
    (work_folder(server, "pictured") / "go").touch()
    expect(badge(page, "Completed")).to_be_visible()
    expect(page.get_by_role("button", name="Snapshot")).to_have_count(0)
    page.get_by_role("link", name="Files").first.click()
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {snapshots()[0]['name']}").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        (part,) = [name for name in archive.namelist() if name.split("/")[-1] == "part"]
        assert archive.read(part) == b"half\n"
    somebody.check()


# --- once it is over -----------------------------------------------------------------------------


def test_a_run_goes_on_from_what_it_has_left(patient: RunningServer, visit: Visitor) -> None:
    client = patient.client()
    command = "mkdir 7; echo one > 7/U; exit 3"
    job = client.run(command, code="told", job={"name": "In parts"})["id"]
    somebody = visit(patient.address, client.key)
    page = somebody.open(f"/jobs/{job}")
    expect(badge(page, "Failed")).to_be_visible()
    dialog = chosen(page, "Restart from checkpoint", "Restart In parts from its checkpoint?")
    dialog.get_by_role("button", name="Restart").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Told would begin again with the same")
    dialog.get_by_label("Command").fill("cat 7/U > before; echo two > 7/U")
    dialog.get_by_role("button", name="Restart").click()
    expect(dialog).to_have_count(0)
    expect(badge(page, "Completed")).to_be_visible()
    assert client.finished(job) == "Completed successfully"
    outputs = client.outputs(job)
    assert (outputs["before"], outputs["7/U"]) == (b"one\n", b"two\n")
    somebody.check(400)


def test_it_is_run_again_as_another_job(client: Client, visit: Visitor) -> None:
    job = client.run("echo 42 > answer", job={"name": "Deep thought"})["id"]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}")
    dialog = chosen(page, "Run again", "Run Deep thought again?")
    dialog.get_by_role("button", name="Run it again").click()
    page.wait_for_url(lambda url: re.search(r"/jobs/\w{5}$", url) and not url.endswith(job))
    expect(dialog).to_have_count(0)
    expect(badge(page, "Completed")).to_be_visible()
    again = id_of(page)
    assert client.get(f"jobs/{again}/")["clonedFrom"] == job
    assert client.outputs(again)["answer"] == b"42\n"
    somebody.check()


def test_a_copy_is_edited_and_submitted(client: Client, visit: Visitor) -> None:
    job = client.run("echo first", job={"name": "Wing"})["id"]
    somebody = visit()
    page = somebody.open(f"/jobs/{job}")
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Edit a copy").click()
    name = page.get_by_label("Name of the job")
    expect(name).to_have_value("Wing")
    name.fill("Wing, second")
    steps = page.get_by_role("navigation", name="Steps")
    steps.get_by_role("link", name="Software").click()
    command = page.get_by_label("Command", exact=True)
    expect(command).to_have_value("echo first")
    command.fill("echo second")
    steps.get_by_role("link", name="Review").click()
    page.get_by_role("button", name="Submit").click()
    copy = id_of(page)
    assert copy != job
    expect(page.get_by_role("heading", name="Wing, second")).to_be_visible()
    assert client.finished(copy) == "Completed successfully"
    assert client.log_of(copy) == "second\n"
    assert client.get(f"jobs/{copy}/")["clonedFrom"] == job
    # Setup tells what became another.
    page.get_by_role("link", name="Setup").click()
    expect(page.get_by_role("main")).to_contain_text("echo first")
    somebody.check()


def test_it_is_deleted_for_good_and_the_list_goes_on(client: Client, visit: Visitor) -> None:
    client.create(job={"name": "It stays"})
    draft = client.create("echo it ran", job={"name": "To be deleted"})["id"]
    somebody = visit()
    page = somebody.open(f"/jobs/{draft}")
    page.get_by_role("button", name="Submit").click()
    expect(badge(page, "Completed")).to_be_visible()
    # Its log was not there when the page looked first, and it may have run before it looked again.
    expect(page.get_by_label("Last lines of the log")).to_contain_text("it ran")
    title = "Delete To be deleted?"
    dialog = chosen(page, "Delete", title)
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="More actions")).to_be_focused()
    client.finished(draft)  # before that it cannot be deleted
    chosen(page, "Delete", title).get_by_role("button", name="Delete the job").click()
    page.wait_for_url("**/jobs")
    expect(page.get_by_text("The job is deleted.")).to_be_visible()
    expect(page.get_by_role("link", name="It stays", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="To be deleted", exact=True)).to_have_count(0)
    client.get(f"jobs/{draft}/", 404)
    page.go_back()
    expect(page.get_by_text("This job: not found, or not shared with you.")).to_be_visible()
    somebody.check(404)
