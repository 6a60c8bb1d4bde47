"""Reading series from the logs of runs, whatever these are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simyard.domain.catalogue import Machine
from simyard.service import series
from simyard.service.catalogue import load, own_folder
from simyard.service.series import SeriesBook

LINE = (
    b"Time = %d\n\nsmoothSolver:  Solving for Ux, Initial residual = 0.1, Final residual = 0.01\n\n"
)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SeriesBook:
    """Of a run that executes in `tmp_path`."""
    folder = SimpleNamespace(work=tmp_path)
    monkeypatch.setattr(series.live, "folder", lambda *_: folder)
    catalogue = load([own_folder()], Machine(cores=2, memory_mb=2000, storage_gb=10))
    site: Any = SimpleNamespace(book=SimpleNamespace(current=lambda: catalogue))
    return SeriesBook(site)


JOB: Any = SimpleNamespace(definition=SimpleNamespace(analyses=[SimpleNamespace(code="openfoam")]))
RUN: Any = SimpleNamespace(id=1, token="t")


def points(book: SeriesBook) -> list[float]:
    return [x for each in book.series(JOB, RUN) for x in each.x]


def test_a_look_reads_so_much_and_the_next_goes_on(
    book: SeriesBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.simpleFoam"
    log.write_bytes(b"".join(LINE % n for n in range(1, 11)))
    half = len(b"".join(LINE % n for n in range(1, 6)))
    monkeypatch.setattr(series, "_MOST_BYTES", half)
    assert points(book) == [1, 2, 3, 4, 5]
    assert points(book) == list(range(1, 11))
    with log.open("ab") as file:  # a hole that takes no room
        file.truncate(1 << 40)
    assert points(book) == list(range(1, 11)), "in no time"


def test_who_does_not_wait_leaves_out_what_others_read(book: SeriesBook, tmp_path: Path) -> None:
    (tmp_path / "log.simpleFoam").write_bytes(LINE % 1 + LINE % 2)
    assert [list(each.x) for each in book.known(JOB, RUN)] == [[1.0, 2.0]]
    (progress,) = book._kept.values()
    # Another log of the run, which is not the one that it is about.
    (tmp_path / "log.potentialFoam").write_bytes(LINE % 7)
    with progress.lock:
        assert book.known(JOB, RUN) == []
    assert points(book) == [1, 2]
