"""Looking into a folder whose owner means harm, now and while we look."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simyard.domain.errors import NotFound
from simyard.engines import attempts
from simyard.service import workfolder
from simyard.service.workfolder import (
    Bound,
    folders,
    leads_inside,
    links,
    open_file,
    shown,
    walk,
)

ROOT = os.getuid() == 0


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    (made / "a.txt").write_bytes(b"content of a")
    (made / "sub" / "deeper").mkdir(parents=True)
    (made / "sub" / "deeper" / "b.txt").write_bytes(b"b")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return made


@pytest.fixture(autouse=True)
def no_descriptor_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    left = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            left.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    assert not [path for path in left if path.startswith(str(tmp_path))]


def read(root: Path, relative: str) -> bytes:
    descriptor = open_file(root, relative)
    with open(descriptor, "rb") as file:
        return file.read()


def paths(root: Path) -> set[str]:
    return {found.path for found in walk(root)}


def remove(root: Path) -> None:
    """By another's means: pytest's own stops at depths that Python cannot recurse to."""
    subprocess.run(["rm", "-rf", str(root)], check=True)


def make_deep(root: Path, depth: int) -> None:
    """Folders in folders, with a file and an empty folder in each."""
    at = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=at))
        os.mkdir("e", dir_fd=at)
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Deeper than Python recurses, and than a path is long."""
    made = tmp_path_factory.mktemp("deep")
    make_deep(made, 2100)
    yield made
    remove(made)


# --- one file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "sub/deeper/b.txt", "sub//deeper/./b.txt"])
def test_a_plain_file(work: Path, path: str) -> None:
    assert read(work, path) in (b"content of a", b"b")


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/",
        "..",
        "../secret",
        "sub/../a.txt",
        "sub/../../secret",
        "/etc/passwd",
        "//etc/passwd",
        "none",
        "none/a.txt",
        "a.txt/",
        "a.txt/b",
        "sub",
        "sub/deeper",
        "a.txt\0",
        "a\0.txt",
        "x" * 300,
        "x/" * 5000,
        "\udc80",
        "\ud800",
    ],
)
def test_what_is_no_plain_file_below_the_folder(work: Path, path: str) -> None:
    if path == "a.txt/":  # as clients write it
        assert read(work, path) == b"content of a"
        return
    with pytest.raises(NotFound):
        open_file(work, path)


def test_links_are_not_followed(work: Path) -> None:
    (work / "to-file").symlink_to("a.txt")
    (work / "to-secret").symlink_to("../secret")
    (work / "absolute").symlink_to(work / "a.txt")
    (work / "dangling").symlink_to("none")
    (work / "loop").symlink_to("loop")
    (work / "to-folder").symlink_to("sub")
    (work / "to-outside").symlink_to("../outside")
    (work / "sub" / "up").symlink_to("..")
    for path in (
        "to-file",
        "to-secret",
        "absolute",
        "dangling",
        "loop",
        "to-folder/deeper/b.txt",
        "to-outside/secret",
        "sub/up/a.txt",
    ):
        with pytest.raises(NotFound):
            open_file(work, path)


def test_the_folder_itself_may_have_become_a_link(work: Path, tmp_path: Path) -> None:
    """A run can rename its work folder and put a link in its place: it owns what is above."""
    work.rename(tmp_path / "moved")
    work.symlink_to(tmp_path / "outside")
    with pytest.raises(NotFound):
        open_file(work, "secret")
    assert paths(work) == set() and list(links(work)) == []


def test_the_folder_itself_may_be_gone(work: Path) -> None:
    shutil.rmtree(work)
    assert paths(work) == set() and list(links(work)) == []
    with pytest.raises(NotFound):
        open_file(work, "a.txt")
    work.write_text("a file now")
    assert paths(work) == set()
    with pytest.raises(NotFound):
        open_file(work, "a.txt")


def test_pipes_and_sockets_keep_nobody_waiting(work: Path) -> None:
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(work, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        for name in ("pipe", "socket"):
            with pytest.raises(NotFound):
                open_file(work, name)
    with pytest.raises(NotFound):
        open_file(work, "pipe/x")
    assert paths(work) == {"a.txt", "sub/deeper/b.txt"}


@pytest.mark.skipif(not ROOT, reason="only root can make devices")
def test_devices(work: Path) -> None:
    try:
        os.mknod(work / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here, not by root either")
    with pytest.raises(NotFound):
        open_file(work, "zero")
    assert "zero" not in paths(work)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of somebody who is not root, as whom the test goes on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if ROOT:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if ROOT:
                os.seteuid(0)


def test_what_may_not_be_read(nobody: Path) -> None:
    (nobody / "a.txt").touch()
    (nobody / "sub").mkdir()
    (nobody / "sub" / "b.txt").touch()
    (nobody / "a.txt").chmod(0)
    (nobody / "sub").chmod(0)
    for path in ("a.txt", "sub/b.txt"):
        with pytest.raises(NotFound):
            open_file(nobody, path)
    assert paths(nobody) == {"a.txt"}
    (nobody / "sub").chmod(0o700)


def test_a_descriptor_is_not_inherited(work: Path) -> None:
    descriptor = open_file(work, "a.txt")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


# --- all files ------------------------------------------------------------------------------------


def test_every_plain_file(work: Path) -> None:
    os.link(work / "a.txt", work / "sub" / "hard")
    found = {entry.path: entry for entry in walk(work)}
    assert set(found) == {"a.txt", "sub/hard", "sub/deeper/b.txt"}
    a, hard = found["a.txt"], found["sub/hard"]
    assert (a.size, a.inode) == (12, (work / "a.txt").stat().st_ino) == (hard.size, hard.inode)
    assert a.ctime_ns == (work / "a.txt").stat().st_ctime_ns


def test_folders_whose_names_begin_alike(tmp_path: Path) -> None:
    names = ["p" * n for n in range(1, 21)]
    for name in names:
        (tmp_path / name / name).mkdir(parents=True)
        (tmp_path / name / name / "file").touch()
    assert paths(tmp_path) == {f"{name}/{name}/file" for name in names}


def test_a_bound_of_names(work: Path) -> None:
    """Whatever they are of: the work folder has `a.txt`, `sub`, `deeper` and `b.txt`."""
    os.symlink("a.txt", work / "sub" / "link")
    whole = Bound(5)
    assert {found.path for found in walk(work, whole)} == paths(work)
    assert not whole.is_reached
    for names in range(5):
        bound = Bound(names)
        seen = list(folders(work, bound))
        assert bound.is_reached
        assert sum(len(folder.folders) + len(folder.others) for folder in seen) == names


def test_a_bound_of_long_paths(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    for n in range(20):
        (deep / str(n)).touch()
    bound = Bound(1000, characters=4000)
    assert len(list(walk(tmp_path, bound))) == 8  # of 402 characters or so each, beside the folders
    assert bound.is_reached


def test_nothing_is_opened_beyond_a_bound(tmp_path: Path) -> None:
    for n in range(10):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "file").touch()
    assert len(list(folders(tmp_path, Bound(12)))) == 1 + 2 + 1


def test_links_are_left_out_and_listed_apart(work: Path) -> None:
    (work / "file").symlink_to("a.txt")
    (work / "sub" / "folder").symlink_to("../../outside")
    (work / "sub" / "dangling").symlink_to("none")
    (work / "round").symlink_to(".")
    assert paths(work) == {"a.txt", "sub/deeper/b.txt"}
    assert set(links(work)) == {"file", "sub/folder", "sub/dangling", "round"}


def test_names_of_all_kinds(work: Path) -> None:
    names = [
        b"new\nline",
        b"\xff\xfe no utf-8",
        "ä 漢 😀".encode(),
        b"-rf",
        b" ",
        b"*",
        b"%2e%2e",
        b"quote\"'`$(x)",
        b"back\\slash",
        b"...",
        b"\x01\x1b[31m",
        b"n" * 255,
    ]
    for name in names:
        folder = os.fsencode(work) + b"/" + name
        os.mkdir(folder)
        with open(folder + b"/" + name, "wb") as file:
            file.write(name)
    seen = paths(work)
    assert {os.fsencode(p) for p in seen} >= {name + b"/" + name for name in names}
    for path in seen - {"a.txt", "sub/deeper/b.txt"}:
        assert read(work, path) == os.fsencode(path).split(b"/")[0]
        shown(path).encode()  # fit for JSON and a database


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain/a", "plain/a"),
        ("ä😀".encode(), "ä😀"),
        (b"\xff", "\\xff"),
        (b"a\xc3", "a\\xc3"),
        (b"new\nline", "new\nline"),
    ],
)
def test_how_a_name_is_shown(name: bytes, text: str) -> None:
    assert shown(os.fsdecode(name)) == text


def test_what_vanishes_meanwhile_is_left_out(work: Path) -> None:
    for n in range(3):
        (work / f"folder{n}").mkdir()
        (work / f"folder{n}" / "x").touch()
    seen = set()
    for found in walk(work):
        seen.add(found.path)
        for name in ("folder0", "folder1", "folder2", "sub"):
            shutil.rmtree(work / name, ignore_errors=True)
    assert seen == {"a.txt"}


@pytest.mark.parametrize("kind", ["link", "link to a file", "pipe", "file"])
def test_a_folder_that_is_replaced_while_we_look(work: Path, tmp_path: Path, kind: str) -> None:
    """It was a folder when it was listed; when its turn comes it is something else."""
    replace: dict[str, Callable[[Path], object]] = {
        "link": lambda path: path.symlink_to(tmp_path / "outside"),
        "link to a file": lambda path: path.symlink_to(tmp_path / "secret"),
        "pipe": os.mkfifo,
        "file": Path.touch,
    }
    looking = folders(work)
    assert next(looking).folders == ["sub"]
    (work / "sub").rename(tmp_path / "moved")
    replace[kind](work / "sub")
    assert list(looking) == []


def test_a_folder_that_is_replaced_again_and_again(work: Path, tmp_path: Path) -> None:
    """A real race: whatever is seen, it is never what lies outside."""
    for n in range(20):
        (tmp_path / "outside" / f"{n}").touch()
    (tmp_path / "link").symlink_to("outside")
    (work / "swap").mkdir()
    (work / "swap" / "inside").write_bytes(b"inside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(work / "swap", tmp_path / "away")
            os.rename(tmp_path / "link", work / "swap")
            os.rename(work / "swap", tmp_path / "link")
            os.rename(tmp_path / "away", work / "swap")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        met = 0
        for _ in range(400):
            assert paths(work) <= {"a.txt", "sub/deeper/b.txt", "swap/inside"}
            try:
                assert read(work, "swap/inside") == b"inside"
            except NotFound:
                met += 1
            with pytest.raises(NotFound):
                open_file(work, "swap/secret")
            if met > 20:
                break
    finally:
        stop.set()
        swapping.join()
    shutil.rmtree(work / "swap")


def test_folders_in_folders_without_end(deep: Path) -> None:
    seen = paths(deep)
    assert max(len(os.fsencode(path)) for path in seen) in range(4095, 4100)
    assert len(seen) == 2049, "a file in each folder that a path can name, and in the first"
    assert {path.strip("d/f") for path in seen} == {""}
    deepest = max(seen, key=len)
    os.close(open_file(deep, deepest))


def test_a_look_holds_few_descriptors(deep: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert max(len(os.listdir("/proc/self/fd")) - before for _ in folders(deep)) < 100


def test_a_look_that_is_given_up_leaves_nothing_open(work: Path) -> None:
    looking = walk(work)
    next(looking)
    looking.close()


def test_a_lack_of_descriptors_is_no_empty_folder(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs must not be lost because the server was busy."""
    real = os.open

    def scarce(path: object, *rest: object, **more: object) -> int:
        if path == "sub":
            raise OSError(24, "Too many open files")
        return real(path, *rest, **more)  # type: ignore[arg-type, call-overload, no-any-return]

    monkeypatch.setattr(workfolder.os, "open", scarce)
    with pytest.raises(OSError, match="Too many open files"):
        list(walk(work))


# --- where links lead -----------------------------------------------------------------------------


def test_where_a_link_leads(work: Path, tmp_path: Path) -> None:
    (tmp_path / "workshop").mkdir()
    for name, target, inside in (
        ("in", "a.txt", True),
        ("in2", "sub/../sub/deeper", True),
        ("chain", "in", True),
        ("missing", "none", True),
        ("out", "../secret", False),
        ("root", "/", False),
        ("self", ".", False),  # the folder itself is no file below it
        ("beside", "../workshop", False),  # begins with the folder's own name
        ("through", "out", False),
        ("loop", "loop", True),
    ):
        (work / name).symlink_to(target)
        assert leads_inside(work, name) is inside, name


# --- removing -------------------------------------------------------------------------------------


def test_a_deep_tree_is_removed(tmp_path: Path) -> None:
    made = tmp_path / "tree"
    made.mkdir()
    make_deep(made, 1100)
    try:
        attempts.remove_tree(made)
        assert not made.exists()
        attempts.remove_tree(made)  # and what is not there is no matter
    finally:
        remove(made)


def test_modes_and_links_are_no_obstacle_to_removing(work: Path, tmp_path: Path) -> None:
    (work / "out").symlink_to(tmp_path / "outside")
    (work / "sub" / "out").symlink_to(tmp_path / "outside")
    os.mkfifo(work / "sub" / "pipe")
    for path in (work / "sub" / "deeper" / "b.txt", work / "sub" / "deeper", work / "sub"):
        path.chmod(0)
    attempts.remove_tree(work)
    assert not work.exists()
    assert (tmp_path / "outside" / "secret").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) != 0o700


def test_what_was_half_removed_is_removed(tmp_path: Path) -> None:
    for name in ("0123456789abcdef0123456789abcdef", "home", "home/work"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "file").touch()
    attempts.remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    (tmp_path / "tree").symlink_to("outside")
    with pytest.raises(OSError, match="Not a directory"):
        attempts.remove_tree(tmp_path / "tree")
    assert (tmp_path / "outside" / "secret").exists()
