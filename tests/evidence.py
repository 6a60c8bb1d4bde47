"""A part of the test runner: notes which claims of the compatibility table each test shows, and
holds docs/proofs.json against that at the end of a run of all tests.
"""

import json
import os
from collections.abc import Iterable
from typing import Any

import pytest

import claims

RECORDING = "SIMYARD_RECORD_PROOFS" in os.environ

_shown_now: set[str] = set()  # by the test that runs
_proved: dict[str, set[str]] = {}  # claim -> tests that passed
_skipped: set[str] = set()
_wrong: list[str] = []


def note(method: str, path: str, part: str, fields: Iterable[str]) -> None:
    """Something of an operation was seen."""
    _shown_now.update(claims.shown_by(method, path, part, fields))


def _name(nodeid: str) -> str:
    return nodeid.split("[", 1)[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "setup" and report.skipped:
        _skipped.add(_name(item.nodeid))
    if report.when == "call":
        if report.passed:
            for key in _shown_now:
                _proved.setdefault(key, set()).add(_name(item.nodeid))
        _shown_now.clear()
    return report


def _keep(found: dict[str, list[str]], skipped: Iterable[str]) -> None:
    for key, tests in found.items():
        _proved.setdefault(key, set()).update(tests)
    _skipped.update(skipped)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What a process of pytest-xdist has seen."""
    output = getattr(node, "workeroutput", {})
    _keep(output.get("proved", {}), output.get("skipped", ()))


def _is_whole(config: pytest.Config) -> bool:
    """Whether this is a run of all tests."""
    options = config.option
    chosen = options.keyword or options.markexpr or getattr(options, "lf", False)
    return not chosen and list(config.args) in ([], config.getini("testpaths"))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["proved"] = {key: sorted(tests) for key, tests in _proved.items()}
        output["skipped"] = sorted(_skipped)
        return
    if RECORDING:
        _record(whole=_is_whole(session.config))
    elif _is_whole(session.config):
        _wrong.extend(
            f"{key}: not shown by {test}, which proves it"
            for key, test in claims.proofs().items()
            if test not in _proved.get(key, ()) and test not in _skipped
        )
        if _wrong and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _record(*, whole: bool) -> None:
    """Keep the proofs that still hold, and find one for every other claim; after a run of some
    tests only, what was not asked again holds.
    """
    before = claims.proofs()
    found = {} if whole else dict(before)
    for key, tests in _proved.items():
        if before.get(key) not in tests and (whole or key not in before):
            found[key] = min(tests)
        else:
            found[key] = before[key]
    kept = {key: found[key] for key in sorted(found) if key in claims.claims()}
    claims.PROOFS.write_text(json.dumps(kept, indent=0) + "\n")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _wrong:
        terminalreporter.section("claims of docs/compatibility.md without their proof")
        for line in _wrong:
            terminalreporter.line(line)
