"""Zips that are laid out before they are made: what readers find in them, names, rules."""

import io
import os
import re
import shutil
import subprocess
import zipfile
import zlib
from array import array
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.blobs.keyring import Keyring
from simyard.domain.errors import Damaged, NotFound
from simyard.domain.files import Blob
from simyard.domain.zips import Layout, Names, Rules
from simyard.service import zips

AT = int(datetime(2026, 3, 2, 9, 15, 1, 500, tzinfo=UTC).timestamp() * 1e6)


def laid_out(contents: dict[str, bytes], *, knows: bool = True) -> Layout:
    layout = Layout()
    for name, content in contents.items():
        layout.add(name, len(content), zlib.crc32(content) if knows else None, AT)
    layout.close()
    return layout


def made(layout: Layout, contents: list[bytes], start: int, stop: int) -> bytes:
    parts = []
    for entry, is_content, first, last in layout.spans(start, stop):
        if entry is None:
            parts.append(layout.end(first, last))
        else:
            whole = contents[entry] if is_content else layout.header(entry)
            parts.append(whole[first:last])
    return b"".join(parts)


@given(
    st.dictionaries(
        st.text("abcä/", min_size=1).filter(lambda name: not name.endswith("/")),
        st.binary(max_size=50),
        max_size=5,
    ),
    st.booleans(),
)
def test_every_part_is_that_of_a_zip_that_readers_take(
    contents: dict[str, bytes], knows: bool
) -> None:
    layout = laid_out(contents, knows=knows)
    values = list(contents.values())
    if not knows:
        assert layout.unknown == set(range(len(contents)))
        for entry, content in enumerate(values):
            layout.set_crc32(entry, zlib.crc32(content))
    assert not layout.unknown
    whole = made(layout, values, 0, layout.size_bytes)
    assert len(whole) == layout.size_bytes
    for start in range(0, len(whole), 7):
        for stop in (start, start + 1, start + 40, len(whole)):
            assert made(layout, values, start, min(stop, len(whole))) == whole[start:stop]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert [info.filename for info in archive.infolist()] == list(contents)
        for info in archive.infolist():
            assert archive.read(info) == contents[info.filename]
            assert info.date_time == (2026, 3, 2, 9, 15, 0)
            assert info.external_attr >> 16 == 0o100644


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_takes_names_and_times(tmp_path: Path) -> None:
    contents = {"a/Übung 1.txt": b"eins\n", "empty": b"", "日本": b"x" * 70000}
    layout = laid_out(contents)
    path = tmp_path / "a.zip"
    path.write_bytes(made(layout, list(contents.values()), 0, layout.size_bytes))
    done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    into = tmp_path / "into"
    env = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}
    subprocess.run(["unzip", "-q", path, "-d", into], check=True, env=env)
    for name, content in contents.items():
        assert (into / name).read_bytes() == content
        assert (into / name).stat().st_mtime == AT // 1_000_000


def test_more_than_four_gigabytes(tmp_path: Path) -> None:
    sizes = {"small": 5, "large": (5 << 30) + 3, "behind": 7, "edge": 0xFFFFFFFF}
    layout = Layout()
    for name, size in sizes.items():
        layout.add(name, size, zlib.crc32(bytes(size)) if size < 100 else 0, AT)
    layout.close()
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        at = 0
        for entry, is_content, first, last in layout.spans(0, layout.size_bytes):
            file.seek(at)
            if entry is None:
                file.write(layout.end(first, last))
            elif not is_content:
                file.write(layout.header(entry))
            at += last - first
        assert at == layout.size_bytes == file.tell()
    with zipfile.ZipFile(path) as archive:
        assert {info.filename: info.file_size for info in archive.infolist()} == sizes
        for info in archive.infolist():
            with archive.open(info) as content:
                assert content.read(3) == b"\0\0\0"
    if shutil.which("zipinfo"):
        done = subprocess.run(["zipinfo", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert str(sizes["large"]) in done.stdout


def test_more_than_65535_files() -> None:
    contents = {f"d/{number}": b"%d" % number for number in range(70_000)}
    layout = laid_out(contents)
    whole = made(layout, list(contents.values()), 0, layout.size_bytes)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert len(archive.namelist()) == 70_000
        assert archive.read("d/69999") == b"69999"
    # A part far behind does not take the way through all that is before it.
    assert made(layout, list(contents.values()), len(whole) - 22, len(whole)) == whole[-22:]


def test_times_that_no_zip_has() -> None:
    for modified in (0, -5, 315_532_799_000_000, 4_354_819_198_000_000, 200_000_000_000_000_00):
        layout = Layout()
        layout.add("a", 0, 0, modified)
        layout.close()
        with zipfile.ZipFile(io.BytesIO(made(layout, [b""], 0, layout.size_bytes))) as archive:
            assert 1980 <= archive.infolist()[0].date_time[0] <= 2107


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.txt", "a/b.txt"),
        ("0/thermo:mu", "0/thermo:mu"),
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("/etc/passwd", "_/etc/passwd"),
        ("a//b", "a/_/b"),
        ("./a", "_/a"),
        ("C:/Windows/x.dll", "C_/Windows/x.dll"),
        ("C:x", "C_x"),
        ("a\\..\\b", "a_.._b"),
        ("a\nb\0c\x1b[2J", "a_b_c_[2J"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("ü/日本 語.txt", "ü/日本 語.txt"),
        (".bashrc", ".bashrc"),
    ],
)
def test_names_that_would_do_harm_do_none(path: str, name: str) -> None:
    assert Names().of(path) == name


def test_no_name_is_in_the_way_of_another() -> None:
    names = Names()
    paths = ["a", "a", "a/b", "a/b", "c/d", "c", "x\n", "x\t", "_2/a", "run1/a/b"]
    found = [names.of(path) for path in paths]
    assert found[:2] == ["a", "_2/a"]
    for name in found:
        others = [other for other in found if other is not name]
        assert name not in others
        assert not any(other.startswith(f"{name}/") for other in others), (name, found)


def test_very_many_names_that_are_the_same_once_they_are_safe() -> None:
    """Where each is tried with every number from the first on, this takes hours."""
    names = Names()
    paths = ["".join(signs) for signs in islice(product("\1\2\3\4\5\6\7\n", repeat=6), 100_000)]
    paths += [f"_{number}" for number in range(200_000, 250_000)]
    found = [names.of(path) for path in [*paths, *(f"{path}x" for path in paths)]]
    assert len(set(found)) == len(found) == 300_000


@given(st.lists(st.text("ab/.\\:\n", max_size=6), max_size=12))
def test_whatever_the_paths_the_names_can_be_unpacked_together(paths: list[str]) -> None:
    names = Names()
    found = [names.of(path) for path in paths]
    assert len(set(found)) == len(found)
    for name in found:
        parts = name.split("/")
        assert not {"", ".", ".."} & set(parts)
        assert name[1:2] != ":" or not name[0].isalpha()
        assert not any(other.startswith(f"{name}/") for other in found)


# --- rules ----------------------------------------------------------------------------------------


def test_rules() -> None:
    paths = ["log.a", "0/U", "0/p", "odd [1]/x", "post/forces/f.dat", "post/f.vtk", "posters"]

    def chosen(*include: str, exclude: tuple[str, ...] = ()) -> list[str]:
        chooser = Rules(include, exclude).chooser()
        return [path for path in paths if chooser(path)]

    assert chosen() == paths
    assert chosen("post/") == chosen("post") == ["post/forces/f.dat", "post/f.vtk"]
    assert chosen("/0/U", "log.a") == ["log.a", "0/U"]
    assert chosen("*.dat", "log.*") == ["log.a", "post/forces/f.dat"]
    assert chosen("odd [1]/") == chosen("odd [1]") == chosen("odd [1]/x") == ["odd [1]/x"]
    assert chosen(exclude=("post", "*p")) == ["log.a", "0/U", "odd [1]/x", "posters"]
    assert chosen("post/", exclude=("post/forces/",)) == ["post/f.vtk"]
    assert chosen("nothing") == []


# --- ids and what they mean -----------------------------------------------------------------------


class Site:
    """As much of one as ids take."""

    def __init__(self, master_key: bytes = bytes(32)) -> None:
        self.keyring = Keyring(master_key)
        self.now = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)

    def clock(self) -> datetime:
        return self.now


def test_an_id_means_what_was_chosen_for_a_week() -> None:
    site: Any = Site()
    code, chosen = zips.select(site, "abcde", ["a/", "*.log"], ["a/b"], [3, 1, 3])
    assert chosen == zips.Selection(
        rules=Rules(("a/", "*.log"), ("a/b",)), runs=(1, 3), expires_at=site.now + timedelta(days=7)
    )
    site.now += timedelta(days=7, seconds=-1)
    assert zips.selected(site, "abcde", code) == chosen
    assert re.fullmatch(r"[\w-]+", code)
    for wrong in (code[:-1], f"{code}=", code[:39] + "x" + code[40:], "", "x" * 40):
        with pytest.raises(NotFound):
            zips.selected(site, "abcde", wrong)
    for other, job in ((site, "fghij"), (Site(b"x" * 32), "abcde")):
        other.now = site.now
        with pytest.raises(NotFound):
            zips.selected(other, job, code)
    site.now += timedelta(seconds=1)
    with pytest.raises(NotFound):
        zips.selected(site, "abcde", code)


def test_a_file_that_is_deleted_while_it_is_sent_ends_the_archive() -> None:
    layout = Layout()
    for name in ("a", "b"):
        layout.add(name, 3, 0, AT)
    layout.close()
    archive = zips.Archive("x.zip", layout, "etag", array("q", [7, 8]), array("Q", [1, 2]))
    other = Blob(id=7, key="", wrapped_key=b"", size_bytes=3, md5="", sha512="f" * 128)
    for there in ({}, {7: other}):  # the id may be another blob's by now
        database = SimpleNamespace(read=lambda *_, found=there: found)
        site: Any = SimpleNamespace(db=database, blobs=SimpleNamespace(open=None))
        sent = zips.content(site, archive, 0, layout.size_bytes)
        assert next(sent) == layout.header(0)
        with pytest.raises(Damaged):
            next(sent)
