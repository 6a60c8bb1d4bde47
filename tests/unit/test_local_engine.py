"""What the local engine says of attempts that nobody started."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simyard.engines import supervisor
from simyard.engines.local import LocalEngine
from simyard.engines.protocol import Phase
from simyard.engines.sandbox import Sandbox


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    made = LocalEngine(
        tmp_path / "runs", Sandbox("none", "for this test", None), lambda _: None, network=False
    )
    yield made
    made.close()


def test_what_was_laid_out_before_the_machine_started_is_laid_out_again(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = engine.prepare("a")
    assert engine.observe(["a"])["a"].phase is Phase.UNKNOWN
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: -60.0)  # as if it starts in a minute
    assert engine.observe(["a"])["a"].phase is Phase.VANISHED
    # A start that was under way all the same comes too late.
    command = [sys.executable, "-I", "-S", supervisor.__file__, str(folder.root)]
    assert subprocess.run(command, check=False).returncode == supervisor.ENDED


def test_an_attempt_without_a_folder_has_vanished(engine: LocalEngine) -> None:
    assert engine.observe(["never"])["never"].phase is Phase.VANISHED


def test_attempts_are_listed_and_removed(engine: LocalEngine) -> None:
    folder = engine.prepare("a")
    (folder.work / "deep").mkdir()
    (folder.work / "deep" / "file").write_text("x")
    (folder.work / "out").symlink_to("/etc/hostname")
    assert engine.tokens() == ["a"]
    engine.remove("a")
    assert engine.tokens() == []
    assert Path("/etc/hostname").exists()
    engine.remove("a")  # once more does nothing
