"""Changing files of a work folder: whole, and never outside of it; and stops that do not work."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from simyard.domain.errors import NotFound
from simyard.domain.lifecycle import State
from simyard.domain.runs import Run
from simyard.engines.protocol import Folder
from simyard.service import edits, stopping, workfolder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(root=tmp_path / "attempt", inside_home="/home/job", owner=None)
    made.work.mkdir(parents=True)
    return made


def test_a_file_is_replaced_with_its_mode_and_its_time_ahead(folder: Folder) -> None:
    path = folder.work / "a.txt"
    path.write_bytes(b"\xe9\r\n")
    path.chmod(0o751)
    future = time.time() + 1000
    os.utime(path, (future, future))
    held = path.open("rb")
    text = edits.read(folder, "a.txt")
    assert text == "\xe9\r\n"
    edits.replace(folder, "a.txt", text + "more", ahead_seconds=15)
    assert path.read_bytes() == b"\xe9\r\nmore"
    assert path.stat().st_mode & 0o777 == 0o751
    assert path.stat().st_mtime >= future + 15
    assert held.read() == b"\xe9\r\n", "who has it open reads what was there"
    held.close()
    assert [p.name for p in folder.work.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "link", "way/secret", "", "a\0b"])
def test_nothing_outside_is_read_or_changed(folder: Folder, path: str) -> None:
    outside = folder.root / "home" / "secret"
    outside.write_text("theirs")
    (folder.work / "link").symlink_to("../secret")
    (folder.work / "way").symlink_to("..")
    assert edits.read(folder, path) is None
    with pytest.raises((NotFound, OSError)):
        edits.replace(folder, path, "ours")
    edits.remove_empty(folder, path)
    assert outside.read_text() == "theirs" and (folder.work / "link").is_symlink()


@pytest.mark.parametrize("path", ["../new", "way/new", "/tmp/new-of-a-test"])
def test_nothing_is_created_outside(folder: Folder, path: str) -> None:
    (folder.work / "way").symlink_to("..")
    with pytest.raises(NotFound):
        edits.create(folder, path)
    assert not (folder.root / "home" / "new").exists()


def test_what_is_created_is_removed_unless_somebody_wrote_to_it(folder: Folder) -> None:
    assert edits.create(folder, "STOP") and not edits.create(folder, "STOP")
    edits.remove_empty(folder, "STOP")
    assert not edits.exists(folder, "STOP")
    assert edits.create(folder, "STOP")
    (folder.work / "STOP").write_text("mine")
    edits.remove_empty(folder, "STOP")
    assert edits.exists(folder, "STOP")


def test_large_files_are_not_looked_into(folder: Folder) -> None:
    (folder.work / "mesh").write_bytes(b"x" * (edits.MOST_BYTES + 1))
    assert edits.read(folder, "mesh") is None


def test_folders_are_made_where_something_else_is_in_the_way(folder: Folder) -> None:
    (folder.work / "a").symlink_to("/etc")
    (folder.work / "b").write_text("a file")
    for path in ("a/x/f", "b/f", "c/f"):
        parent, name = workfolder.open_parent(folder.work, path, make=True)
        os.close(parent)
        assert name == "f" and (folder.work / path).parent.is_dir()
    assert not (folder.work / "a").is_symlink()


class AskedEngine:
    """Only remembers what it was asked for."""

    def __init__(self, folder: Folder) -> None:
        self.there = folder
        self.asked: list[Any] = []

    def folder(self, token: str) -> Folder:
        return self.there

    def cancel(self, token: str, *, signal: int | None = None, after_seconds: float = 0.0) -> None:
        self.asked.append((signal, after_seconds))


class OneSite:
    def __init__(self, engine: AskedEngine) -> None:
        self._engine = engine

    def engine_of(self, run: Run) -> AskedEngine:
        return self._engine


RUN = Run(
    id=1,
    job_id=1,
    number=1,
    state=State.STOPPING,
    cores=1,
    core_type="emerald",
    price_micros=0,
    started_at=datetime.now(UTC),
    completed_at=None,
    output_count=0,
    output_bytes=0,
    ending=None,
    outcome=None,
    token="t",
)


def planned(folder: Folder, **plan: Any) -> None:
    (folder.root / "stop.json").write_text(json.dumps({"kinds": ["x"], "seconds": 9.0, **plan}))


def test_a_recipe_that_fails_gives_way_to_term_for_good(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    planned(folder, created=["gone/STOP"])
    engine = AskedEngine(folder)
    for _ in range(3):
        stopping.stop(OneSite(engine), None, RUN)  # type: ignore[arg-type]  # only its engine is asked
    assert engine.asked == [(None, 9.0), *[(None, 0.0)] * 3]
    assert caplog.text.count("its stop recipe failed") == 1


def test_a_plan_is_carried_out_again_and_what_others_changed_is_theirs(folder: Folder) -> None:
    texts = {"a": "1", "b": "changed", "c": "2"}
    for name, text in texts.items():
        (folder.work / name).write_text(text)
    edited = [{"path": name, "before": "1", "after": "2"} for name in texts]
    planned(folder, edited=edited, created=["STOP"], signal="USR2")
    engine = AskedEngine(folder)
    for _ in range(2):
        stopping.stop(OneSite(engine), None, RUN)  # type: ignore[arg-type]  # only its engine is asked
    assert engine.asked == [(12, 9.0)] * 2
    assert {p.name: p.read_text() for p in folder.work.iterdir()} == {
        "a": "2",
        "b": "changed",
        "c": "2",
        "STOP": "",
    }
    for _ in range(2):
        stopping.restore(folder)
    assert {p.name: p.read_text() for p in folder.work.iterdir()} == {
        "a": "1",
        "b": "changed",
        "c": "1",
    }


def test_before_it_runs_it_is_told_at_once(folder: Folder) -> None:
    engine = AskedEngine(folder)
    run = Run(**{**vars(RUN), "started_at": None})
    stopping.stop(OneSite(engine), None, run)  # type: ignore[arg-type]  # only its engine is asked
    assert engine.asked == [(None, 0.0)] and not (folder.root / "stop.json").exists()
