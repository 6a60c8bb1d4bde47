"""A job in the browser that a real Slurm runs: the same page, live."""

import pytest
from playwright.sync_api import Browser, expect

from browsing import badge, visiting
from clusters import stand
from harness import wait_for


@pytest.mark.slurm
@pytest.mark.sandbox
def test_a_job_is_watched_and_stopped(browser: Browser) -> None:
    with stand() as here, visiting(browser, here.server.address) as somebody:
        client = here.client
        job = client.create(
            "echo on a node; echo x > there.txt; while [ ! -e go ]; do sleep 0.1; done; "
            "echo 'and on'; sleep 600"
        )
        client.submit(job["id"])
        somebody.sign_in(client.key)
        page = somebody.open(f"/jobs/{job['id']}/log")
        expect(page.get_by_text("on a node", exact=True)).to_be_visible()
        (work,) = here.folder.glob("*/home/work")
        (work / "go").touch()  # as the run would, on the folder that its node shares
        expect(page.get_by_text("and on", exact=True)).to_be_visible()
        page.get_by_role("link", name="Files").click()
        expect(page.get_by_text("there.txt", exact=True)).to_be_visible()
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Stop").first.click()
        expect(badge(page, "Stopped")).to_be_visible(timeout=100_000)
        wait_for(lambda: here.queue() == [], "the end in Slurm")
        assert client.finished(job["id"]).startswith("Stopped")
        somebody.check()
