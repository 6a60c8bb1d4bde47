"""Trees of runs' files: levels, sums, orders, pages and patterns."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.errors import NotFound
from simyard.domain.kinds import Kind, by_content, by_name
from simyard.domain.trees import Entry, Page, Sort, Sums, Tree, Wanted, matcher

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


PATHS = st.lists(st.sampled_from(["a", "B", "b", "ä", "0", "x y"]), min_size=1, max_size=4)


@given(
    st.sets(PATHS.map("/".join), max_size=30),
    st.sampled_from(Sort),
    st.booleans(),
    st.integers(1, 5),
)
def test_pages_have_everything_once(
    paths: set[str], sort: Sort, descending: bool, limit: int
) -> None:
    kept = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    tree = Tree(Entry(path, len(path), i % 3) for i, path in enumerate(sorted(kept)))
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
