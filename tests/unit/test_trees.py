"""Trees of runs' files: levels, sums, orders, pages and patterns."""

import asyncio
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coroutines import finished
from simyard.api.v2 import outputs
from simyard.domain.errors import NotFound
from simyard.domain.kinds import Kind, by_content, by_name
from simyard.domain.trees import Entry, Page, Sort, StoredTree, Sums, Tree, Wanted, matcher
from simyard.service import trees

FILES = [
    Entry("Allrun", 10, 5, "aa"),
    Entry("log.simpleFoam", 300, 9, "bb"),
    Entry("B.txt", 7, 1, "cc"),
    Entry("0/U", 20, 2, "dd"),
    Entry("0/p", 21, 3, "ee"),
    Entry("postProcessing/forces/0/force.dat", 1000, 8, "ff"),
    Entry("postProcessing/forces/0/moment.dat", 2000, 7, "gg"),
    Entry("postProcessing/notes", 1, 4, "hh"),
]
TREE = Tree(FILES)


def pages(tree: Tree, **wanted: object) -> Iterator[Page]:
    after = None
    while True:
        page = tree.page(Wanted(**wanted, after=after))  # type: ignore[arg-type]
        yield page
        after = page.last
        if after is None:
            return


def shown(tree: Tree, **wanted: object) -> list[str]:
    found = list(pages(tree, **wanted))
    assert len({page.sums for page in found}) == 1
    names = [f"{name}/" for page in found for name, _ in page.folders]
    return names + [name for page in found for name, _ in page.files]


def test_a_level_has_its_folders_with_what_is_below_them() -> None:
    page = TREE.page(Wanted())
    assert page.folders == [("0", Sums(2, 41, 3)), ("postProcessing", Sums(3, 3001, 8))]
    assert [name for name, _ in page.files] == ["Allrun", "B.txt", "log.simpleFoam"]
    assert page.sums == Sums(8, sum(entry.size_bytes for entry in FILES), 9)
    assert page.last is None
    inner = TREE.page(Wanted(prefix="postProcessing/"))
    assert inner.folders == [("forces", Sums(2, 3000, 8))]
    assert inner.files == [("notes", FILES[-1])]
    assert inner.sums == Sums(3, 3001, 8)


def test_a_folder_that_is_not_there() -> None:
    for prefix in ("nothing/", "0", "0/U/", "postProcessing/for"):
        with pytest.raises(NotFound):
            TREE.page(Wanted(prefix=prefix))
    assert Tree(()).page(Wanted()).sums == Sums(0, 0, 0)


@pytest.mark.parametrize(
    ("sort", "descending", "names"),
    [
        (Sort.NAME, False, ["0/", "postProcessing/", "Allrun", "B.txt", "log.simpleFoam"]),
        (Sort.NAME, True, ["postProcessing/", "0/", "log.simpleFoam", "B.txt", "Allrun"]),
        (Sort.SIZE, False, ["0/", "postProcessing/", "B.txt", "Allrun", "log.simpleFoam"]),
        (Sort.SIZE, True, ["postProcessing/", "0/", "log.simpleFoam", "Allrun", "B.txt"]),
        (Sort.MODIFIED, False, ["0/", "postProcessing/", "B.txt", "Allrun", "log.simpleFoam"]),
    ],
)
def test_orders(sort: Sort, descending: bool, names: list[str]) -> None:
    for limit in (1, 2, 3, 4, 5, 100):
        assert shown(TREE, sort=sort, descending=descending, limit=limit) == names


def test_a_page_goes_on_although_the_last_of_the_one_before_is_gone() -> None:
    first = TREE.page(Wanted(limit=3))
    assert [name for name, _ in first.files] == ["Allrun"]
    less = Tree(entry for entry in FILES if entry.path != "Allrun")
    rest = less.page(Wanted(after=first.last))
    assert (rest.folders, [name for name, _ in rest.files]) == ([], ["B.txt", "log.simpleFoam"])


def stored(entries: list[Entry], asked: list[str | None] | None = None) -> StoredTree:
    """The same, and what of it is looked up."""
    own: dict[str, Sums] = {}
    for path, size, modified, _ in entries:
        folder = path[: path.rfind("/") + 1]
        files, total, newest = own.get(folder, (0, 0, 0))
        own[folder] = Sums(files + 1, total + size, max(newest, modified))

    def look_up(folder: str | None) -> Iterator[Entry]:
        if asked is not None:
            asked.append(folder)
        for entry in entries:
            if folder is None or entry.path[: entry.path.rfind("/") + 1] == folder:
                yield entry

    return StoredTree(own, look_up)


def test_a_folder_is_looked_up_when_it_is_asked_for_first() -> None:
    asked: list[str | None] = []
    tree = stored(FILES, asked)
    before = tree.weight_bytes
    above = Wanted(prefix="postProcessing/forces/")
    assert tree.has(above), "it has no files of its own"
    assert tree.page(above) == TREE.page(above)
    assert asked == []
    inner = Wanted(prefix="postProcessing/forces/0/")
    assert not tree.has(inner)
    for _ in range(2):
        assert tree.page(inner) == TREE.page(inner)
        assert tree.has(inner)
    assert asked == ["postProcessing/forces/0/"]
    assert before < tree.weight_bytes < TREE.weight_bytes
    pattern = Wanted(prefix="0/", pattern="u")
    assert not tree.has(pattern)
    for _ in range(2):
        assert tree.page(pattern) == TREE.page(pattern)
    assert tree.has(pattern) and tree.has(Wanted())
    assert tree.page(Wanted()) == TREE.page(Wanted())
    assert (asked[1:], tree.weight_bytes) == ([None], TREE.weight_bytes)
    with pytest.raises(NotFound):
        tree.page(Wanted(prefix="nothing/"))


def test_a_tree_takes_no_more_memory_than_its_paths() -> None:
    """Not that of each folder on the way to a file that lies very deep."""
    deep = [Entry(f"{n}/" + "d/" * 2000 + "file", 1, 1) for n in range(20)]
    tracemalloc.start()
    try:
        tree = Tree(deep)
        page = tree.page(Wanted())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [name for name, _ in page.folders] == sorted(map(str, range(20)))
    assert page.sums.files == 20
    assert taken < tree.weight_bytes < 1_000_000
    inner = f"7/{'d/' * 1999}"
    assert tree.page(Wanted(prefix=inner)).folders == [("d", Sums(1, 1, 1))]


def test_what_is_not_found_makes_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    book = trees.TreeBook(cast("Any", None))
    monkeypatch.setattr(trees, "_live", lambda _work: Tree(FILES))
    monkeypatch.setattr(trees, "_MOST_KEPT_BYTES", 2 * TREE.weight_bytes)
    monkeypatch.setattr(trees.live, "folder", lambda *_: SimpleNamespace(work=Path("/")))
    for n in range(10):
        run: Any = SimpleNamespace(id=n, token=str(n))
        with pytest.raises(NotFound):
            book.page(run, Wanted(prefix="nothing/"))
    assert len(book._kept) == 2


def test_a_live_folder_is_looked_at_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for n in range(4):
        (tmp_path / "in" / str(n)).touch()
    for most, count in ((5, 4), (4, 3), (1, 0)):
        monkeypatch.setattr(trees, "_MOST_LIVE", most)
        tree = trees._live(tmp_path)
        assert (tree.is_partial, tree.page(Wanted()).sums.files) == (most < 5, count)


@pytest.mark.parametrize(("took", "good"), [(10.0, 2.0), (0.01, 0.2), (0.0, 0.0)])
def test_who_waited_for_a_look_does_not_look_again_unless_it_takes_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, took: float, good: float
) -> None:
    looks: list[float] = []
    now = 100.0

    def look(_work: Path) -> Tree:
        nonlocal now
        looks.append(now)
        now += took
        return TREE

    run: Any = SimpleNamespace(id=1, token="t")
    book = trees.TreeBook(cast("Any", None))
    monkeypatch.setattr(trees, "_live", look)
    monkeypatch.setattr(trees.live, "folder", lambda *_: SimpleNamespace(work=tmp_path))
    monkeypatch.setattr(trees, "time", SimpleNamespace(monotonic=lambda: now))
    assert book.known(run, Wanted()) is None
    first = book.page(run, Wanted())
    if good:
        now += 0.9 * good
        assert first == book.page(run, Wanted()) == book.known(run, Wanted())
        now += 0.1 * good
    assert looks == [100]
    now += 0.001
    assert book.known(run, Wanted()) is None
    book.page(run, Wanted())
    assert len(looks) == 2


def test_few_are_looked_up_at_once_and_what_is_known_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    goes_on = threading.Event()
    look = trees.Look(TREE.page(Wanted()), is_live=False, is_partial=False)

    def page(run: str, _wanted: Wanted) -> trees.Look:
        begun.append(run)
        goes_on.wait(30)
        return look

    looking = asyncio.Semaphore(2)
    book = SimpleNamespace(known=lambda run, _: look if run == "known" else None, page=page)
    state = SimpleNamespace(trees=book, looking=looking)
    request: Any = SimpleNamespace(query_params={}, app=SimpleNamespace(state=state))
    monkeypatch.setattr(outputs, "run_of", lambda _request, _job, run: run)

    async def ask() -> None:
        async with asyncio.timeout(30):
            asked = [asyncio.create_task(outputs.tree(request, "job", n)) for n in "12345"]
            while len(begun) < 2 or len(looking._waiters or ()) < 3:
                await asyncio.sleep(0.01)
            assert (await outputs.tree(request, "job", "known")).status_code == 200
            assert len(begun) == 2
            goes_on.set()
            await asyncio.gather(*asked)

    finished(ask())
    assert sorted(begun) == list("12345")


PATHS = st.lists(st.sampled_from(["a", "B", "b", "ä", "0", "x y"]), min_size=1, max_size=4)


@given(
    st.sets(PATHS.map("/".join), max_size=30),
    st.sampled_from(Sort),
    st.booleans(),
    st.integers(1, 5),
    st.booleans(),
)
def test_pages_have_everything_once(
    paths: set[str], sort: Sort, descending: bool, limit: int, is_stored: bool
) -> None:
    kept = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    entries = [Entry(path, len(path), i % 3) for i, path in enumerate(sorted(kept))]
    tree = stored(entries) if is_stored else Tree(entries)
    folders = [""]
    seen: list[str] = []
    while folders:
        prefix = folders.pop()
        below = [path for path in kept if path.startswith(prefix)]
        whole = tree.page(Wanted(prefix=prefix, sort=sort, descending=descending))
        assert whole.sums[:2] == (len(below), sum(map(len, below)))
        for name, sums in whole.folders:
            folders.append(f"{prefix}{name}/")
            inside = [path for path in below if path.startswith(folders[-1])]
            assert sums[:2] == (len(inside), sum(map(len, inside)))
        seen += [entry.path for _, entry in whole.files]
        in_parts = shown(tree, prefix=prefix, sort=sort, descending=descending, limit=limit)
        assert in_parts == shown(tree, prefix=prefix, sort=sort, descending=descending)
    assert sorted(seen) == sorted(kept)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("FORCE", ["postProcessing/forces/0/force.dat", "postProcessing/forces/0/moment.dat"]),
        ("*.dat", ["postProcessing/forces/0/force.dat", "postProcessing/forces/0/moment.dat"]),
        ("log.*", ["log.simpleFoam"]),
        ("f*.dat", ["postProcessing/forces/0/force.dat", "postProcessing/forces/0/moment.dat"]),
        ("0/?", ["0/p", "0/U"]),
        ("[A-Z]", ["0/U"]),
        ("/*.txt", ["B.txt"]),
        ("/*/U", ["0/U"]),
        ("[", []),
        ("*.DAT", []),
    ],
)
def test_patterns(pattern: str, found: list[str]) -> None:
    page = TREE.page(Wanted(pattern=pattern))
    assert [name for name, _ in page.files] == found
    assert page.folders == []
    assert page.sums.files == len(found)


def test_a_pattern_below_a_folder_sees_what_is_below_it_only() -> None:
    page = TREE.page(Wanted(prefix="postProcessing/", pattern="post"))
    assert page.files == []
    page = TREE.page(Wanted(prefix="postProcessing/", pattern="/forces/*"))
    assert [name for name, _ in page.files] == ["forces/0/force.dat", "forces/0/moment.dat"]


def test_a_pattern_made_to_be_slow_is_not() -> None:
    matches = matcher("*a" * 120 + "b")
    assert not matches("a" * 4000)  # backtracking would not come to an end


def test_a_tree_as_deep_as_paths_can_be() -> None:
    deep = "/".join("a" * 2000)
    tree = Tree([Entry(deep, 1, 1), Entry(f"{deep[:-1]}b", 2, 2)])
    assert tree.page(Wanted()).folders == [("a", Sums(2, 3, 2))]
    assert len(tree.page(Wanted(prefix=deep[:-1])).files) == 2


def test_kinds_by_name() -> None:
    kinds = {
        "process_output.log": Kind.LOG, "log.simpleFoam": Kind.LOG, "a.CSV": Kind.TABLE,
        "b.png": Kind.IMAGE, "evil.svg": Kind.TEXT, "page.html": Kind.TEXT, "wing.STL": Kind.MESH,
        "u.vtu": Kind.VTK, "a.tar.gz": Kind.ARCHIVE, "controlDict": Kind.TEXT, "U": Kind.TEXT,
        "core.1234": Kind.BINARY, ".bashrc": Kind.TEXT,
    }  # fmt: skip
    assert {name: by_name(PurePosixPath(name).name) for name in kinds} == kinds


def test_kinds_by_content() -> None:
    assert by_content("a.txt", b"\x89PNG\r\n\x1a\n...") is Kind.IMAGE
    assert by_content("a.png", b"<svg onload=alert(1)>") is Kind.TEXT
    assert by_content("U", b"\0\1\2") is Kind.BINARY
    assert by_content("log.x", b"Time = 1\n") is Kind.LOG
    assert by_content("a.csv", b"\xff\xfe\0\0") is Kind.BINARY
    assert (
        by_content("notes.txt", "Die Messung in der Zelle für 20 Grad\n".encode("latin-1"))
        is Kind.TEXT
    )
    assert by_content("core.1", b"") is Kind.TEXT
