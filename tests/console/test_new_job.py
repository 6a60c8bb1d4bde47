"""Setting a job up in the browser: saved, checked and submitted as it is everywhere."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from browsing import Visitor
from harness import Client, RunningServer, definition, wait_for
from studying import created, study


def case() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("case/run.sh", "echo 42 > case/answer\n")
    return content.getvalue()


def next_step(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Steps").get_by_role("link", name=name).click()


def test_from_a_dropped_file_to_a_result(client: Client, visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/jobs/new")
    page.get_by_label("Name of the job").fill("From the browser")
    page.get_by_label("Files to upload").set_input_files(
        {"name": "case.zip", "mimeType": "application/zip", "buffer": case()}
    )
    expect(page.get_by_role("cell", name="case.zip", exact=True)).to_be_visible()
    next_step(page, "Software")
    page.get_by_label("Software", exact=True).select_option("user_included")
    page.get_by_label("Command", exact=True).fill("sh case/run.sh")
    next_step(page, "Hardware")
    page.get_by_label("Core type").select_option("emerald")
    page.get_by_label("Cores", exact=True).fill("1")
    expect(page.get_by_text("Core-hours")).to_be_visible()
    next_step(page, "Review")
    expect(page.get_by_text("sh case/run.sh")).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    job = page.url.rsplit("/", 1)[1]
    assert client.finished(job) == "Completed successfully"
    assert client.outputs(job)["case/answer"] == b"42\n"
    assert [d["job"] for d in client.get("drafts/")["results"] if d.get("job") == job] in (
        [],
        [job],
    )
    somebody.check()


def test_what_is_wrong_stands_at_its_field_and_above(visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/jobs/new?step=review")
    summary = page.get_by_role("alert").filter(has_text="What keeps it from being submitted")
    expect(summary).to_be_visible()
    told = summary.get_by_role("link")
    assert told.count() >= 3
    summary.get_by_role("link").filter(has_text="Command").click()
    field = page.get_by_label("Command", exact=True)
    expect(field).to_be_focused()
    next_step(page, "Review")
    page.get_by_role("button", name="Submit").click()
    expect(summary).to_be_focused()
    next_step(page, "Software")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("true")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    somebody.check()


def test_two_tabs_do_not_overwrite_each_other(client: Client, visit: Visitor) -> None:
    somebody = visit()
    draft = client.call("POST", "drafts/", 201, json={"name": "Twice"}).json()
    address = f"/jobs/new?draft={draft['id']}&step=inputs"
    one, two = somebody.open(address), somebody.open(address)
    for page in (one, two):
        expect(page.get_by_label("Name of the job")).to_have_value("Twice")
    one.get_by_label("Name of the job").fill("Of the first")
    wait_for(
        lambda: (
            one.wait_for_timeout(50)
            or client.get(f"drafts/{draft['id']}/")["name"] == "Of the first"
        ),
        "the first save",
    )
    two.get_by_label("Name of the job").fill("Of the second")
    dialog = two.get_by_role("dialog", name="changed in another tab")
    dialog.get_by_role("button", name="Show the difference").click()
    expect(dialog.get_by_role("row").filter(has_text="name")).to_contain_text("Of the first")
    assert client.get(f"drafts/{draft['id']}/")["name"] == "Of the first"
    dialog.get_by_role("button", name="Keep mine").click()
    wait_for(
        lambda: (
            two.wait_for_timeout(50)
            or client.get(f"drafts/{draft['id']}/")["name"] == "Of the second"
        ),
        "the second save",
    )
    somebody.check(412)


def test_a_study_is_set_up_in_its_own_step(client: Client, visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/jobs/new?step=parameters&study=1")
    page.get_by_role("button", name="Add a variable").click()
    page.get_by_label("Name", exact=True).fill("x")
    for label, value in (("From", "1"), ("To", "3"), ("Step", "1")):
        page.get_by_label(label, exact=True).fill(value)
    next_step(page, "Inputs")
    page.get_by_label("Name of the job").fill("Sweep from the browser")
    next_step(page, "Software")
    page.get_by_label("Software", exact=True).select_option("user_included")
    page.get_by_label("Command", exact=True).fill("echo $PARAM_X")
    next_step(page, "Hardware")
    page.get_by_label("Core type").select_option("emerald")
    page.get_by_label("Runs at once").fill("2")
    next_step(page, "Review")
    estimate = page.get_by_role("region", name="Estimate")
    expect(estimate).to_contain_text(re.compile(r"Runs\s*3"))
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    job = page.url.rsplit("/", 1)[1]
    assert client.finished(job) == "Completed successfully"
    assert client.get(f"jobs/{job}/runs/")["count"] == 3
    somebody.check()


def test_drawn_variables_need_a_number_of_draws(client: Client, visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/jobs/new?step=parameters&study=1")
    draws = page.get_by_label("Number of draws")
    page.get_by_role("button", name="Add a variable").click()
    expect(draws).to_have_count(0)
    page.get_by_label("Name", exact=True).fill("u")
    page.get_by_label("Values", exact=True).select_option("drawn evenly")
    for label, value in (("From", "1"), ("To", "3")):
        page.get_by_label(label, exact=True).fill(value)
    expect(draws).to_be_visible()
    next_step(page, "Inputs")
    page.get_by_label("Name of the job").fill("Drawn")
    next_step(page, "Software")
    page.get_by_label("Software", exact=True).select_option("user_included")
    page.get_by_label("Command", exact=True).fill("echo $PARAM_U")
    next_step(page, "Hardware")
    page.get_by_label("Core type").select_option("emerald")
    next_step(page, "Review")
    estimate = page.get_by_role("region", name="Estimate")
    expect(estimate).to_contain_text("Once its parameters say which runs there are.")
    page.get_by_role("alert").get_by_role(
        "link", name="Number of draws: must be at least 1"
    ).click()
    expect(draws).to_be_focused()
    draws.fill("0")
    next_step(page, "Review")
    next_step(page, "Parameters")
    draws.press("Tab")
    expect(draws).to_have_attribute("aria-invalid", "true")
    draws.fill("3")
    expect(draws).not_to_have_attribute("aria-invalid", "true")
    next_step(page, "Review")
    expect(estimate).to_contain_text(re.compile(r"Runs\s*3"))
    expect(page.get_by_role("region", name="The study")).to_contain_text(
        re.compile(r"u drawn evenly: from 1, to 3\s*Draws\s*3")
    )
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    job = page.url.rsplit("/", 1)[1]
    assert client.finished(job) == "Completed successfully"
    assert client.get(f"jobs/{job}/runs/")["count"] == 3
    somebody.check()


def test_a_copied_study_tells_where_its_values_come_from(client: Client, visit: Visitor) -> None:
    goal = {
        "name": "f",
        "variableType": "Objective",
        "valueGeneratorSettings": {"direction": "minimize"},
    }
    body = study(
        client,
        table="x\n1\n2\n",
        templates={"case.in": ("case.in.template", "x = ${x}\n")},
        job={"jobvariables": [goal]},
    )
    draft = client.call("POST", f"jobs/{created(client, body)['id']}/draft/", 201, json={}).json()
    somebody = visit()
    page = somebody.open(f"/jobs/new?draft={draft['id']}&step=parameters")
    expect(page.get_by_label("Name", exact=True).first).to_have_value("x")
    expect(page.get_by_label("Values", exact=True)).to_have_count(1)
    chosen = page.get_by_label("Values", exact=True).locator("option:checked")
    expect(chosen).to_have_text("a column of the table")
    expect(page.get_by_text("Objective: minimize")).to_be_visible()
    next_step(page, "Review")
    told = page.get_by_role("region", name="The study")
    for text in ("runs.csv", "x a column of the table", "f Objective: minimize"):
        expect(told).to_contain_text(text)
    expect(page.get_by_role("region", name="What will run")).to_contain_text(
        "case.in.template as case.in"
    )
    somebody.check()


def test_files_go_on_uploading_on_another_step_and_fail_by_name(visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/jobs/new")
    page.route("**/api/v2/uploads/*/", lambda route: route.abort())
    page.get_by_label("Files to upload").set_input_files(
        {"name": "cut.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 1000}
    )
    next_step(page, "Software")
    page.unroute("**/api/v2/uploads/*/")
    next_step(page, "Inputs")
    expect(page.get_by_role("cell", name="cut.bin", exact=True)).to_be_visible()
    somebody.check()


def test_a_folder_is_in_the_run_as_it_was_chosen(
    client: Client, visit: Visitor, tmp_path: Path
) -> None:
    for name in ("system", "0"):
        (tmp_path / "case" / name).mkdir(parents=True)
        (tmp_path / "case" / name / "controlDict").write_text(f"of {name}\n")
    somebody = visit()
    page = somebody.open("/jobs/new")
    page.get_by_label("Folder to upload").set_input_files(tmp_path / "case")
    for path in ("case/0/controlDict", "case/system/controlDict"):
        expect(page.get_by_role("cell", name=path, exact=True)).to_be_visible()
    page.get_by_label("Name of the job").fill("A folder")
    next_step(page, "Software")
    page.get_by_label("Software", exact=True).select_option("user_included")
    page.get_by_label("Command", exact=True).fill("cat case/system/controlDict case/0/controlDict")
    next_step(page, "Hardware")
    page.get_by_label("Core type").select_option("emerald")
    expect(page.get_by_text("Core-hours")).to_be_visible()
    next_step(page, "Review")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    job = page.url.rsplit("/", 1)[1]
    assert client.finished(job) == "Completed successfully"
    assert client.log_of(job) == "of system\nof 0\n"
    somebody.check()


def test_each_link_of_the_summary_leads_to_its_message(client: Client, visit: Visitor) -> None:
    """Also where a program wrote the draft, and where its files were deleted since."""
    gone = {"id": "GoneAA"}
    body = {
        "name": "Of a program",
        "jobanalyses": [
            {
                "analysis": {"code": "user_included"},
                "command": "true",
                "hardware": {"coreType": "emerald", "coresPerSlot": 1},
                "envVars": {"A B": "5"},
                "preProcessScript": gone,
                "postProcessScript": gone,
                "templateTasks": [{"templateFile": gone, "processedFilename": "a"}],
                "inputFiles": [gone],
            }
        ],
        "paramFile": gone,
        "projectId": "nobody's",
        "tags": ["x" * 101],
        "isLowPriority": "perhaps",
    }
    draft = client.call("POST", "drafts/", 201, json=body).json()
    somebody = visit()
    page = somebody.open(f"/jobs/new?draft={draft['id']}&step=review")
    links = page.get_by_role("alert").get_by_role("link")
    expect(links).to_have_count(9)
    for text in links.all_inner_texts():
        next_step(page, "Review")
        links.get_by_text(text, exact=True).first.click()
        place = page.locator("form .field:focus-within, form label:focus-within")
        expect(place.last).to_contain_text(text.partition(": ")[2])
    somebody.check(404)


def test_a_job_is_booked_on_a_project_where_the_site_asks_for_one(
    fresh: Callable[..., RunningServer], visit: Visitor
) -> None:
    server = fresh("project_required = true\n").start()
    client = server.client((server.data / "admin.key").read_text().strip())
    made = {
        name: client.call("POST", "projects/", 201, json={"name": name, "externalId": number})
        for name, number in (("Wing", "4711"), ("Keel", ""))
    }
    somebody = visit(server.address, key=client.key)
    page = somebody.open("/jobs/new?step=software")
    page.get_by_label("Software", exact=True).select_option("user_included")
    page.get_by_label("Command", exact=True).fill("true")
    next_step(page, "Hardware")
    page.get_by_label("Core type").select_option("emerald")
    next_step(page, "Review")
    page.get_by_role("alert").get_by_role("link").filter(has_text="Project").click()
    field = page.get_by_label("Project")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    assert field.get_by_role("option").all_inner_texts() == ["none", "Keel", "Wing (4711)"]
    field.select_option("Wing (4711)")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    page.get_by_label("Name of the job").fill("Booked")
    next_step(page, "Review")
    expect(page.get_by_role("region", name="Booked on")).to_contain_text("Wing")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    job = page.url.rsplit("/", 1)[1]
    assert client.get(f"jobs/{job}/")["projectId"] == made["Wing"].json()["id"]
    somebody.check()


def test_a_bad_name_of_a_variable_is_told_at_the_field(visit: Visitor) -> None:
    somebody = visit()
    page = somebody.open("/jobs/new?step=software")
    field = page.get_by_label("Environment variables")
    field.fill("A B=5")
    page.get_by_label("Command", exact=True).focus()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(
        page.get_by_text("A B: Not a name that an environment variable can have.")
    ).to_be_visible()
    somebody.check()


def test_a_draft_of_many_inputs_asks_for_their_names_at_once(
    client: Client, visit: Visitor, tmp_path: Path
) -> None:
    inputs = [{"id": client.upload(f"in{n}.txt", b"x")["id"]} for n in range(12)]
    body = {"jobanalyses": [{"inputFiles": [*inputs, {"id": "GoneAA"}]}]}
    draft = client.call("POST", "drafts/", 201, json=body).json()
    for n in range(5):
        (tmp_path / f"up{n}.txt").write_text("y")
    somebody = visit()
    page = somebody.open(f"/jobs/new?draft={draft['id']}")
    expect(page.get_by_role("cell", name="in11.txt", exact=True)).to_be_visible()
    expect(page.get_by_text("not found, or not yours: GoneAA")).to_be_visible()
    page.get_by_label("Files to upload").set_input_files(sorted(tmp_path.iterdir()))
    for n in range(5):
        expect(page.get_by_role("cell", name=f"up{n}.txt", exact=True)).to_be_visible()
    somebody.quiet(page)
    asked = [request.url for request in somebody.requests if "/api/v2/files/" in request.url]
    assert len(asked) == 1, asked
    somebody.check()


class Held:
    """The bytes of a page's uploads are on their way until they are let go."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._routes: list[Route] = []
        page.route("**/api/v2/uploads/*/", self._asked)

    def _asked(self, route: Route) -> None:
        if route.request.method == "PATCH":
            self._routes.append(route)
        else:
            route.continue_()

    def come(self) -> None:
        wait_for(lambda: self._page.wait_for_timeout(50) or self._routes, "the bytes")

    def let(self) -> None:
        for route in self._routes:
            route.continue_()
        self._page.unroute("**/api/v2/uploads/*/")


def drop(page: Page, name: str, content: bytes = b"x" * 1000) -> None:
    page.get_by_label("Files to upload").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def look_away(page: Page) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Usage").click()
    page.wait_for_url("**/usage")


def has_file(client: Client, name: str) -> bool:
    return name in [each["name"] for each in client.get("files/")["results"]]


def test_what_arrives_while_another_page_is_looked_at_is_an_input(
    client: Client, visit: Visitor
) -> None:
    somebody = visit()
    draft = client.call("POST", "drafts/", 201, json={"name": "Away"}).json()
    page = somebody.open(f"/jobs/new?draft={draft['id']}")
    held = Held(page)
    drop(page, "away.dat")
    held.come()
    look_away(page)
    held.let()
    wait_for(lambda: page.wait_for_timeout(50) or has_file(client, "away.dat"), "the file")
    page.go_back()
    expect(page.get_by_role("cell", name="away.dat", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("^saved"))).to_be_visible()
    (analysis,) = client.get(f"drafts/{draft['id']}/")["body"]["jobanalyses"]
    assert len(analysis["inputFiles"]) == 1
    # Taken out by hand, it stays out.
    page.get_by_role("button", name="Without away.dat").click()
    look_away(page)
    page.go_back()
    expect(page.get_by_text("No inputs yet")).to_be_visible()
    expect(page.get_by_text("uploaded", exact=True)).to_be_visible()
    page.wait_for_timeout(500)
    expect(page.get_by_text("No inputs yet")).to_be_visible()
    somebody.check()


def test_a_file_under_way_is_found_again_with_the_draft_that_it_began(
    client: Client, visit: Visitor
) -> None:
    somebody = visit()
    page = somebody.open("/jobs/new")
    held = Held(page)
    drop(page, "first.dat")
    held.come()
    page.wait_for_url(re.compile(r"draft="))
    look_away(page)
    page.go_back()
    expect(page.get_by_role("listitem").filter(has_text="first.dat")).to_be_visible()
    held.let()
    expect(page.get_by_role("cell", name="first.dat", exact=True)).to_be_visible()
    somebody.check()


def test_a_job_is_not_submitted_without_a_file_that_failed(client: Client, visit: Visitor) -> None:
    somebody = visit()
    body = definition(job={"name": "Without a file"})
    draft = client.call("POST", "drafts/", 201, json=body).json()
    page = somebody.open(f"/jobs/new?draft={draft['id']}")
    refusal = {"status": 413, "content_type": "application/json", "body": '{"detail": "Too much."}'}
    page.route(
        "**/api/v2/uploads/*/",
        lambda r: r.fulfill(**refusal) if r.request.method == "PATCH" else r.continue_(),
    )
    drop(page, "refused.dat")
    expect(page.get_by_text("Too much.")).to_be_visible()
    next_step(page, "Review")
    why = "1 upload failed: try again or take it off the list."
    expect(page.get_by_text(why)).to_be_visible()
    submit = page.get_by_role("button", name="Submit")
    expect(submit).to_have_attribute("title", why)
    submit.click(force=True)
    next_step(page, "Inputs")
    page.get_by_role("button", name="Take refused.dat off the list").click()
    next_step(page, "Review")
    submit.click()
    page.wait_for_url(re.compile(r"/jobs/\w{5}$"))
    somebody.check(413)


def test_what_is_typed_without_a_server_is_saved_from_another_page(
    client: Client, visit: Visitor
) -> None:
    somebody = visit()
    draft = client.call("POST", "drafts/", 201, json={"name": "Before"}).json()
    page = somebody.open(f"/jobs/new?draft={draft['id']}")
    name = page.get_by_label("Name of the job")
    expect(name).to_have_value("Before")
    somebody.context.set_offline(True)
    name.fill("Typed while offline")
    expect(page.get_by_text("not saved: the server does not answer")).to_be_visible()
    look_away(page)
    page.go_back()
    expect(name).to_have_value("Typed while offline")
    look_away(page)
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.close(run_before_unload=True)
    wait_for(lambda: page.wait_for_timeout(50) or asked == ["beforeunload"], "the question")
    somebody.context.set_offline(False)
    wait_for(
        lambda: (
            page.wait_for_timeout(50)
            or client.get(f"drafts/{draft['id']}/")["name"] == "Typed while offline"
        ),
        "what was typed",
    )
    page.go_back()
    expect(name).to_have_value("Typed while offline")
    expect(page.get_by_text(re.compile("^saved"))).to_be_visible()
    somebody.check()
