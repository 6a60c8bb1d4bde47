"""The browser of the console's tests."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from browsing import Visit, Visitor, visiting
from harness import RunningServer

# What Playwright turns off, which this switch takes the place of; and the list below the address
# bar, a page that nobody sees and that takes more of the processor in each window than one of ours.
OFF = [
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *("HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding"),
    *("ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints"),
    *("NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch"),
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
]
# Debian's, as it is: none is downloaded. The same pixels everywhere, and no name but ours resolves.
FLAGS = [
    "--no-sandbox",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
    f"--disable-features={','.join(OFF)}",
    (
        "--host-resolver-rules="
        "MAP box.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    ),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing, and in CI nothing is skipped")
        pytest.skip("needs chromium: apt install chromium")
    expect.set_options(timeout=30_000)  # on a busy machine
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser, server: RunningServer) -> Iterator[Visitor]:
    """Makes somebody with a browser: visit(), or visit(key="", color_scheme="dark", ...)."""
    with ExitStack() as stack:

        def make(address: str = "", key: str | None = None, **options: object) -> Visit:
            made = stack.enter_context(visiting(browser, address or server.address, **options))
            if key != "":
                made.sign_in(key or server.client().key)
            return made

        yield make
