"""What is recorded of a run's inputs and outputs."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from simyard.domain.files import Blob, File, FileType
from simyard.domain.lifecycle import State
from simyard.domain.runs import Again, Restart, Run
from simyard.engines.protocol import Folder
from simyard.service import collecting, staging, workfolder
from simyard.service.collecting import Output
from simyard.store import upgrade
from simyard.store.database import Database
from simyard.store.files import NewOutput


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=lambda: datetime.now(UTC))
    upgrade.upgrade(made.engine)
    made.start()
    yield made
    made.close()


def test_nothing_is_recorded_where_content_is_gone_that_was_there(database: Database) -> None:
    """It was deleted after the folder was looked at. Nothing of the job is read for this."""
    nobody: Any = None  # is looked at
    outputs = [Output("a.txt", 3, 7)]
    done = database.write(collecting.record, nobody, nobody, nobody, outputs, nobody)
    assert done is False


def shown(path: str, blob: int) -> File:
    return File(
        id=blob,
        code=f"c{blob}",
        owner_id=1,
        owner_email="ada@lab.example",
        name=path,
        relative_path=path,
        storage_path=path,
        type=FileType.OUTPUT,
        uploaded_at=datetime.now(UTC),
        run_number=1,
        job_id=1,
        folder_code=None,
        is_trashed=False,
        blob=Blob(id=blob, key="k", wrapped_key=b"", size_bytes=1, md5="", sha512=""),
    )


@pytest.mark.parametrize("again", list(Again))
def test_only_new_content_takes_the_place_of_what_was_there(again: Again) -> None:
    before = [shown("same", 1), shown("other", 2), shown("gone", 3), shown("twice", 4)]
    before.append(shown("twice", 5))  # by a change of its name
    rows = [NewOutput(path, "", blob, 1) for path, blob in (("same", 1), ("other", 6), ("new", 2))]
    rows.append(NewOutput("twice", "", 7, 1))
    for started_at in (datetime.now(UTC), None):
        run = Run(
            id=1,
            job_id=1,
            number=1,
            state=State.COLLECTING,
            cores=1,
            core_type="emerald",
            price_micros=0,
            started_at=started_at,
            completed_at=None,
            output_count=5,
            output_bytes=5,
            ending=None,
            outcome=None,
            token="t",
            restart=Restart(kind=again),
        )
        fresh, old = collecting._changed(run, before, rows)
        assert [row.relative_path for row in fresh] == ["other", "new", "twice"]
        is_anew = again is Again.ANEW and started_at is not None
        assert [file.blob.id for file in old] == [2, 4, 5, *([3] if is_anew else [])]


@pytest.mark.parametrize("handed_over", [False, True])
def test_what_is_laid_out_is_known_again_under_all_its_names(
    tmp_path: Path, handed_over: bool
) -> None:
    if handed_over and os.getuid() != 0:
        pytest.skip("only root can give files away")
    owner = (65534, 65534) if handed_over else None
    folder = Folder(root=tmp_path, inside_home="/home/job", owner=owner)
    for name in ("a", "b/inner"):
        (folder.work / name).mkdir(parents=True)
    (folder.work / "a" / "one").write_text("of two names")
    os.link(folder.work / "a" / "one", folder.work / "b" / "inner" / "two")
    (folder.work / "b" / "link").symlink_to("nowhere")
    (folder.work / "rendered").write_text("by a template")
    (folder.home / "machinefile").write_text("localhost\n")
    staging._hand_over(folder, {"a/one": 7}, {"rendered"})
    noted = staging.read_manifest(folder)
    found = {f.path: [f.size, f.ctime_ns, f.inode] for f in workfolder.walk(folder.work)}
    assert {path: entry[:3] for path, entry in noted.items()} == found
    rest = {path: entry[3:] for path, entry in noted.items()}
    assert rest == {"a/one": [7], "b/inner/two": [None], "rendered": [None, 1]}
    if handed_over:
        every = [path.lstat() for path in folder.home.rglob("*")]
        assert {(each.st_uid, each.st_gid) for each in every} == {owner}
