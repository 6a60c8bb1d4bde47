"""The trees that a study's runs are copied from."""

import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simyard.domain.jobs import Hardware, InputFile, Job, JobAnalysis, JobDefinition
from simyard.domain.lifecycle import State
from simyard.service.inputs import SharedInputs


class Engine:
    """Of an engine, the folders beside its attempts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def aside(self, name: str) -> Path:
        return self.root / name

    def asides(self) -> list[str]:
        return sorted(p.name for p in self.root.iterdir()) if self.root.exists() else []

    def remove_aside(self, name: str) -> None:
        shutil.rmtree(self.aside(name), ignore_errors=True)


def job(*inputs: str, code: str = "QTVia") -> Job:
    analysis = JobAnalysis(
        code="user_included",
        version=None,
        command="true",
        hardware=Hardware(core_type="emerald", cores_per_slot=1),
        input_files=tuple(InputFile(code=file) for file in inputs),
    )
    return Job(
        id=1,
        code=code,
        owner_id=1,
        owner_email="ada@lab.example",
        definition=JobDefinition(name="A job", analyses=(analysis,)),
        state=State.RUNNING,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        submitted_at=None,
        storage_bytes=0,
    )


class Builder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> dict[str, int]:
        self.calls += 1
        assert list(folder.iterdir()) == [], "it begins with nothing"
        (folder / "case" / "empty").mkdir(parents=True)
        (folder / "case" / "Allrun").write_text("#!/bin/sh\n")
        (folder / "case" / "Allrun").chmod(0o755)
        (folder / "case" / "nothing").write_text("")
        (folder / "case" / "big").write_bytes(os.urandom(3_000_000))
        os.utime(folder / "case" / "big", ns=(1_000_000_000, 2_000_000_000))
        (folder / "case" / "link").symlink_to("Allrun")
        (folder / "case" / "out").symlink_to("/etc")
        return {"case/Allrun": 7}


@pytest.fixture
def shared(tmp_path: Path) -> SharedInputs:
    return SharedInputs({"local": Engine(tmp_path / "asides")})  # type: ignore[dict-item]


def filled(shared: SharedInputs, build: Builder, into: Path, of: Job) -> dict[str, int]:
    into.mkdir()
    return shared.copy(of, "local", into, build, lambda: None)


def test_a_copy_is_the_same_and_not_the_same_file(shared: SharedInputs, tmp_path: Path) -> None:
    build = Builder()
    one, two = tmp_path / "one", tmp_path / "two"
    assert filled(shared, build, one, job("a")) == {"case/Allrun": 7}
    assert filled(shared, build, two, job("a")) == {"case/Allrun": 7}
    assert build.calls == 1
    assert (two / "case" / "Allrun").stat().st_mode & 0o777 == 0o755
    assert (two / "case" / "big").stat().st_mtime_ns == 2_000_000_000
    assert (one / "case" / "big").read_bytes() == (two / "case" / "big").read_bytes()
    assert os.readlink(two / "case" / "link") == "Allrun"
    assert os.readlink(two / "case" / "out") == "/etc", "as it is, and not followed"
    assert (two / "case" / "empty").is_dir() and (two / "case" / "nothing").read_bytes() == b""
    assert (two / "case" / "Allrun").stat().st_nlink == 1
    with (one / "case" / "Allrun").open("a") as file:
        file.write("changed in place\n")
    three = tmp_path / "three"
    filled(shared, build, three, job("a"))
    for other in (two, three):
        assert (other / "case" / "Allrun").read_text() == "#!/bin/sh\n"


def test_other_inputs_have_another_tree(shared: SharedInputs, tmp_path: Path) -> None:
    build = Builder()
    filled(shared, build, tmp_path / "one", job("a"))
    filled(shared, build, tmp_path / "two", job("b"))
    filled(shared, build, tmp_path / "three", job("a", code="other"))
    assert build.calls == 3
    assert shared.jobs() == {"QTVia", "other"}
    shared.forget("QTVia")
    shared.forget("QTVia")
    assert shared.jobs() == {"other"}
    filled(shared, build, tmp_path / "four", job("a"))
    assert build.calls == 4


def test_a_tree_of_an_earlier_process_is_not_believed(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "asides")
    build = Builder()
    filled(SharedInputs({"local": engine}), build, tmp_path / "one", job("a"))  # type: ignore[dict-item]
    for tree in engine.root.iterdir():
        (tree / "tree" / "case" / "big").write_bytes(b"cut off")
    filled(SharedInputs({"local": engine}), build, tmp_path / "two", job("a"))  # type: ignore[dict-item]
    assert build.calls == 2
    assert (tmp_path / "two" / "case" / "big").stat().st_size == 3_000_000


def test_one_that_could_not_be_made_is_made_again(shared: SharedInputs, tmp_path: Path) -> None:
    def fails(folder: Path) -> dict[str, int]:
        (folder / "half").write_text("")
        raise OSError("full")

    (tmp_path / "one").mkdir()
    with pytest.raises(OSError, match="full"):
        shared.copy(job("a"), "local", tmp_path / "one", fails, lambda: None)
    build = Builder()
    filled(shared, build, tmp_path / "two", job("a"))
    assert not (tmp_path / "two" / "half").exists()


def test_many_at_once_make_one(shared: SharedInputs, tmp_path: Path) -> None:
    build = Builder()
    threads = [
        threading.Thread(target=filled, args=(shared, build, tmp_path / str(n), job("a")))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.calls == 1
    assert all((tmp_path / str(n) / "case" / "big").stat().st_size for n in range(6))


def test_what_was_stored_is_known_to_the_next_run(shared: SharedInputs, tmp_path: Path) -> None:
    build = Builder()
    filled(shared, build, tmp_path / "one", job("a"))
    shared.learn(job("a"), {"case/big": (11, "key-11"), "case/Allrun": (12, "key-12")})
    assert filled(shared, build, tmp_path / "two", job("a")) == {"case/Allrun": 7, "case/big": 11}
    shared.learn(job("b"), {"case/big": (13, "key-13")})  # of which there is no tree
    assert shared.is_still(job("a"), 11, "key-11")
    assert not shared.is_still(job("a"), 11, "another"), "its number was given again"
    assert not shared.is_still(job("a"), 11, None), "it is gone"
    assert shared.is_still(job("a"), 7, "any"), "an upload's, which nobody learned"
