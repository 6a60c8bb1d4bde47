"""A real solver in the browser, from the first minutes to the pictures of the guide: one run of
OpenFOAM, which takes the processor half a minute.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from browsing import MADE_ANEW, badge, steady, visiting
from harness import CONFIG, Client, RunningServer, serving
from studying import created, study

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
pytestmark = [
    pytest.mark.long,
    pytest.mark.openfoam,
    pytest.mark.sandbox,
    pytest.mark.timeout(500),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(RunningServer(tmp_path_factory.mktemp("airfoil") / "data", CONFIG)) as running:
        yield running


@pytest.fixture(scope="module")
def newcomer(here: RunningServer) -> Client:
    return here.client()


def test_the_first_minutes_run_the_airfoil_and_it_is_watched(
    here: RunningServer, newcomer: Client, browser: Browser
) -> None:
    with visiting(browser, here.address) as somebody:
        somebody.sign_in(newcomer.key)
        first = somebody.open("/")
        expect(first.get_by_role("heading", name="First minutes with Simyard")).to_be_visible()
        expect(first.get_by_text("bubblewrap")).to_be_visible()
        first.get_by_role("button", name="Run the airfoil example").click()
        expect(first.get_by_role("img", name="residuals/p, now")).to_be_visible(timeout=120_000)

        # Beside it the page of the job, while it converges.
        job = newcomer.get("jobs/")["results"][0]["id"]
        page = somebody.open(f"/jobs/{job}")
        residuals = page.get_by_role("region", name="Residuals")
        chart = residuals.get_by_role("img", name=re.compile(r"^From 1 to \d+: "))
        expect(chart).to_be_visible(timeout=120_000)
        expect(badge(page, "Executing")).to_be_visible()
        expect(page.get_by_text("Converging: ")).to_be_visible(timeout=60_000)
        before = chart.get_attribute("aria-label")
        expect(chart).not_to_have_attribute("aria-label", str(before))
        expect(page.get_by_label("Last lines of the log")).to_contain_text("Time = ")
        expect(badge(page, "Completed")).to_be_visible(timeout=200_000)
        expect(page.get_by_text("Converged: ")).to_be_visible()
        forces = page.get_by_role("region", name="Forces")
        expect(forces.get_by_role("button", name=re.compile("^Cl"))).to_be_visible()
        residuals.get_by_role("button", name="Table").click()
        expect(residuals.get_by_role("table")).to_contain_text("Ux")

        expect(first.get_by_role("link", name="Look at its results")).to_be_visible()
        told = first.locator("pre.code").inner_text()
        for call in (
            "-o airfoil2d.zip",
            "file=@airfoil2d.zip",
            "api/v2/jobs/",
            f"jobs/{job}/submit/",
            f"jobs/{job}/files/",
        ):
            assert call in told, call
        assert told.count("# Get the results") == 1
        first.get_by_role("button", name="CLI").click()
        server_is, *told = first.locator("pre.code").inner_text().split("\n\n")
        assert server_is == f"export SIMYARD_URL={here.address}"
        assert "simyard api examples/airfoil/contents/ \\\n  -o airfoil2d.zip" in told[0]
        assert "simyard api files/contents/ " in told[1]
        assert f"simyard api POST jobs/{job}/submit/" in told[3]
        somebody.check()


# --- documentation --------------------------------------------------------------------------------


def airfoil(client: Client) -> str:
    """The job that has been watched, or one that nobody has."""
    if not client.get("jobs/")["results"]:
        example, *_ = client.get("examples/")
        case = client.call("GET", f"examples/{example['name']}/contents/", 200).content
        body: dict[str, Any] = example["job"]
        inputs = [{"id": client.upload(example["fileName"], case)["id"]}]
        body["jobanalyses"][0]["inputFiles"] = inputs
        client.submit(client.call("POST", "jobs/", 201, json=body).json()["id"])
    (job,) = client.get("jobs/")["results"]
    assert client.finished(job["id"], 300) == "Completed successfully"
    return f"/jobs/{job['id']}"


def pictures(client: Client) -> dict[str, str]:
    """Pages of the documentation's pictures, once there is something to see."""
    job = airfoil(client)
    rows = "alpha,drag\n" + "".join(f"{n},{0.01 + 0.0004 * n * n:.4f}\n" for n in range(-4, 9))
    sweep = created(
        client,
        study(
            client,
            'test "$PARAM_ALPHA" != 5',
            table=rows,
            job={"name": "Angle of attack"},
            postProcessScriptCommand="printf 'Cd\\t%s\\n' \"$PARAM_DRAG\"",
        ),
    )
    client.submit(sweep["id"])
    client.finished(sweep["id"])
    client.run("ls /nowhere", job={"name": "A folder that is not there"})
    return {
        "console-jobs": "/jobs",
        "console-job": job,
        "console-job-dark": job,
        "console-log": f"{job}/log?path=airFoil2D/log.simpleFoam",
        "console-files": f"{job}/files",
        "console-new": "/jobs/new?step=software",
        "console-study": f"/studies/{sweep['id']}",
        "console-welcome": "/welcome",
    }


def test_the_pictures_of_the_guide(
    newcomer: Client, here: RunningServer, browser: Browser, tmp_path: Path
) -> None:
    """Every picture that the guide shows is made here, and every one that is made here is shown."""
    places = pictures(newcomer)
    shown = set(re.findall(r"\((console-[\w-]+)\.png\)", (GUIDE / "console.md").read_text()))
    folder = GUIDE if MADE_ANEW else tmp_path
    with visiting(browser, here.address, bypass_csp=True) as visit:
        visit.sign_in(newcomer.key)
        page = None
        for name, path in places.items():
            page = steady(visit, path, page)
            page.emulate_media(color_scheme="dark" if name.endswith("-dark") else "light")
            page.locator("main :is(h1, h2)").first.wait_for()
            page.wait_for_timeout(1500)  # what comes by the live stream
            page.screenshot(path=folder / f"{name}.png", animations="disabled")
        visit.check()
    assert set(places) == shown
    assert {path.stem for path in GUIDE.glob("console-*.png")} == shown
