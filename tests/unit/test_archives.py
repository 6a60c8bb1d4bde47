"""Hostile and odd archives: nothing lands outside, and each refusal says why."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from simyard.service import archives
from simyard.service.archives import ArchiveRefused, Budget

LIMIT_BYTES = 2_000_000
LIMIT_ENTRIES = 500


def unpack(tmp_path: Path, name: str, content: bytes) -> Path:
    """Unpack into `inside`; afterwards nothing beside it may have changed."""
    inside = tmp_path / "inside"
    inside.mkdir(exist_ok=True)
    (tmp_path / "outside.txt").write_text("untouched")
    archive = inside / name
    archive.write_bytes(content)
    try:
        assert archives.unpack(archive, inside, Budget(LIMIT_BYTES, LIMIT_ENTRIES, lambda: None))
    finally:
        assert sorted(p.name for p in tmp_path.iterdir()) == ["inside", "outside.txt"]
        assert (tmp_path / "outside.txt").read_text() == "untouched"
        for path in inside.rglob("*"):
            mode = path.lstat().st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode), path
            assert not mode & (stat.S_ISUID | stat.S_ISGID)
    return inside


Entry = tuple[str, bytes] | tarfile.TarInfo


def tar(*entries: Entry, mode: str = "w:gz") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return content.getvalue()


def special(name: str, kind: bytes, target: str = "", **fields: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    return special(name, tarfile.SYMTYPE, target)


def hard(name: str, target: str) -> tarfile.TarInfo:
    return special(name, tarfile.LNKTYPE, target)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return content.getvalue()


def zip_info(name: str, mode: int = 0, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16 | (0x20 if system == 0 else 0)
    info.create_system = system
    return info


def renamed_in_zip(sent: str, wanted: bytes) -> bytes:
    """A zip whose entry has a name that no library would write."""
    assert len(sent) == len(wanted)
    return zipped((sent, b"x")).replace(sent.encode(), wanted)


def patched(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def encrypted_zip() -> bytes:
    content = zipped(("a", b"x" * 50))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content = patched(content, content.index(signature) + offset, b"\x01")
    return content


def lying_zip() -> bytes:
    """Says that its entry is small, and unpacks to much more."""
    content = zipped(("a", b"\0" * 1_000_000))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        content = patched(content, content.index(signature) + offset, struct.pack("<I", 10))
    return content


def long_header_tar() -> bytes:
    """A name that is announced as a gigabyte of header."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return gzip.compress(info.tobuf() + b"a" * 100_000)


def pax_tar() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    return gzip.compress(info.tobuf() + b"1" * 100_000)


OUT = "leads out of the folder"
BROKEN = "damaged or not supported|is damaged"

# name, content, what the refusal says
CORPUS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "tar: parent": ("a.tgz", lambda: tar(("../outside.txt", b"x")), OUT),
    "tar: parent inside a path": ("a.tgz", lambda: tar(("a/../../outside.txt", b"x")), OUT),
    "tar: parent that comes back": ("a.tgz", lambda: tar(("a/../b", b"x")), OUT),
    "tar: absolute": ("a.tgz", lambda: tar(("/tmp/outside.txt", b"x")), OUT),
    "tar: folder parent": ("a.tgz", lambda: tar(special("../d", tarfile.DIRTYPE)), OUT),
    "tar: folder absolute": ("a.tgz", lambda: tar(special("/tmp/d", tarfile.DIRTYPE)), OUT),
    "tar: link parent": ("a.tgz", lambda: tar(link("l", "../outside.txt")), OUT),
    "tar: link absolute": ("a.tgz", lambda: tar(link("l", "/etc/passwd")), OUT),
    "tar: link to the parent": ("a.tgz", lambda: tar(link("l", "..")), OUT),
    "tar: link to nothing": ("a.tgz", lambda: tar(link("l", "")), OUT),
    "tar: link deep": ("a.tgz", lambda: tar(link("a/b/l", "../../../outside.txt")), OUT),
    "tar: link through a link": ("a.tgz", lambda: tar(link("d", "."), link("l", "d/../..")), OUT),
    "tar: links that add up": (
        "a.tgz",
        lambda: tar(("a/b/f", b""), link("up", "a/b"), link("out", "up/../../../outside.txt")),
        OUT,
    ),
    "tar: link named out": ("a.tgz", lambda: tar(link("../l", "x")), OUT),
    "tar: write through a link": (
        "a.tgz",
        lambda: tar(link("d", ".."), ("d/outside.txt", b"x")),
        "leads out|in the way",
    ),
    "tar: write through an absolute link": (
        "a.tgz",
        lambda: tar(link("d", "/tmp"), ("d/outside.txt", b"x")),
        "leads out|in the way",
    ),
    "tar: link in place of a folder": (
        "a.tgz",
        lambda: tar(("d/a", b""), link("d", "..")),
        "in the way",
    ),
    "tar: hard link parent": ("a.tgz", lambda: tar(hard("h", "../outside.txt")), OUT),
    "tar: hard link absolute": ("a.tgz", lambda: tar(hard("h", "/etc/passwd")), OUT),
    "tar: hard link to nothing": ("a.tgz", lambda: tar(hard("h", "absent")), "does not hold"),
    "tar: hard link to a folder": (
        "a.tgz",
        lambda: tar(special("d", tarfile.DIRTYPE), hard("h", "d")),
        "no file",
    ),
    "tar: hard link named out": ("a.tgz", lambda: tar(("a", b"x"), hard("../h", "a")), OUT),
    "tar: character device": ("a.tgz", lambda: tar(special("null", tarfile.CHRTYPE)), "device"),
    "tar: block device": ("a.tgz", lambda: tar(special("sda", tarfile.BLKTYPE)), "device"),
    "tar: pipe": ("a.tgz", lambda: tar(special("p", tarfile.FIFOTYPE)), "device"),
    "tar: unknown type": ("a.tgz", lambda: tar(special("u", b"Z")), "device|damaged"),
    "tar: bomb": ("a.tgz", lambda: tar(("zeros", bytes(20_000_000))), "more than this site"),
    "tar: bomb of many": (
        "a.tgz",
        lambda: tar(*((f"z{n}", bytes(100_000)) for n in range(30))),
        "more than this site",
    ),
    "tar.bz2: bomb": ("a.tar.bz2", lambda: tar(("z", bytes(5_000_000)), mode="w:bz2"), "more than"),
    "tar.xz: bomb": ("a.tar.xz", lambda: tar(("z", bytes(5_000_000)), mode="w:xz"), "more than"),
    "tar: too many entries": (
        "a.tgz",
        lambda: tar(*((f"f{n}", b"") for n in range(LIMIT_ENTRIES + 1))),
        "more entries",
    ),
    "tar: long component": ("a.tgz", lambda: tar(("n" * 300, b"x")), "too long"),
    "tar: long path": ("a.tgz", lambda: tar(("/".join(["d" * 200] * 30), b"x")), "cannot be"),
    "tar: file in place of a folder": (
        "a.tgz",
        lambda: tar(("a/b", b"x"), ("a", b"y")),
        "in the way",
    ),
    "tar: folder in place of a file": (
        "a.tgz",
        lambda: tar(("a", b"x"), ("a/b", b"y")),
        "in the way",
    ),
    "tar: huge header": ("a.tgz", long_header_tar, "header is too long"),
    "tar: huge pax header": ("a.tgz", pax_tar, "header is too long"),
    "tar: nothing": ("a.tar", lambda: b"", BROKEN),
    "tar: noise": ("a.tar", lambda: os.urandom(5000), BROKEN),
    "tar.gz: noise": ("a.tar.gz", lambda: b"\x1f\x8b" + os.urandom(5000), BROKEN),
    "tar.gz: cut": ("a.tar.gz", lambda: tar(("a", os.urandom(50_000)))[:20_000], BROKEN),
    "tar.gz: bad checksum": (
        "a.tar.gz",
        lambda: gzip.compress(tar(("a", b"x" * 5000), mode="w"))[:-8] + b"12345678",
        BROKEN,
    ),
    "tar.bz2: noise": ("a.tar.bz2", lambda: b"BZh9" + os.urandom(5000), BROKEN),
    "tar.bz2: cut": ("a.tar.bz2", lambda: bz2.compress(os.urandom(50_000))[:9000], BROKEN),
    "tar.xz: noise": ("a.tar.xz", lambda: b"\xfd7zXZ\0" + os.urandom(5000), BROKEN),
    "tar.xz: cut": ("a.tar.xz", lambda: lzma.compress(os.urandom(50_000))[:9000], BROKEN),
    "tar: negative size": (
        "a.tar",
        lambda: patched(tar(("a", b"x"), mode="w"), 124, b"\xff" * 12),
        BROKEN,
    ),
    "tar: bad header checksum": (
        "a.tar",
        lambda: patched(tar(("a", b"x"), mode="w"), 148, b"000000\0 "),
        BROKEN,
    ),
    "zip: parent": ("a.zip", lambda: zipped(("../outside.txt", b"x")), OUT),
    "zip: parent inside": ("a.zip", lambda: zipped(("a/../../outside.txt", b"x")), OUT),
    "zip: absolute": ("a.zip", lambda: renamed_in_zip("Xtmp/outside", b"/tmp/outside"), OUT),
    "zip: windows parent": (
        "a.zip",
        lambda: renamed_in_zip("...outside.txt", b"..\\outside.txt").replace(
            b"PK\x01\x02\x14\x03", b"PK\x01\x02\x14\x00"
        ),
        OUT,
    ),
    "zip: link parent": (
        "a.zip",
        lambda: zipped((zip_info("l", stat.S_IFLNK | 0o777), b"../outside.txt")),
        OUT,
    ),
    "zip: link absolute": (
        "a.zip",
        lambda: zipped((zip_info("l", stat.S_IFLNK | 0o777), b"/etc/passwd")),
        OUT,
    ),
    "zip: write through a link": (
        "a.zip",
        lambda: zipped((zip_info("d", stat.S_IFLNK | 0o777), b".."), ("d/outside.txt", b"x")),
        "leads out|in the way",
    ),
    "zip: link of a megabyte": (
        "a.zip",
        lambda: zipped((zip_info("l", stat.S_IFLNK | 0o777), b"a/" * 500_000)),
        OUT,
    ),
    "zip: device": ("a.zip", lambda: zipped((zip_info("d", stat.S_IFCHR | 0o666), b"")), "device"),
    "zip: pipe": ("a.zip", lambda: zipped((zip_info("p", stat.S_IFIFO | 0o666), b"")), "device"),
    "zip: socket": ("a.zip", lambda: zipped((zip_info("s", stat.S_IFSOCK | 0o666), b"")), "device"),
    "zip: bomb": ("a.zip", lambda: zipped(("z", bytes(50_000_000))), "more than this site"),
    "zip: lying about its size": ("a.zip", lying_zip, BROKEN),
    "zip: too many entries": (
        "a.zip",
        lambda: zipped(*((f"{n}", b"") for n in range(LIMIT_ENTRIES + 1))),
        "more entries",
    ),
    "zip: far too many entries": (
        "a.zip",
        lambda: zipped(*((f"{n}" * 40, b"") for n in range(LIMIT_ENTRIES * 10))),
        "more entries",
    ),
    "zip: encrypted": ("a.zip", encrypted_zip, "encrypted"),
    "zip: unknown compression": (
        "a.zip",
        lambda: zipped(("a", b"x" * 50)).replace(b"\x08\x00", b"\x63\x00"),
        BROKEN,
    ),
    "zip: cut": ("a.zip", lambda: zipped(("a", os.urandom(5000)))[:3000], BROKEN),
    "zip: noise": ("a.zip", lambda: b"PK\x03\x04" + os.urandom(5000), BROKEN),
    "zip: nothing": ("a.zip", lambda: b"", BROKEN),
    "zip: damaged content": (
        "a.zip",
        lambda: patched(zipped(("a", b"x" * 5000)), 40, b"\xff\xff\xff"),
        BROKEN,
    ),
    "zip: directory elsewhere": (
        "a.zip",
        lambda: patched(zipped(("a", b"x")), -6 + len(zipped(("a", b"x"))), b"\xff\xff\xff\x00"),
        BROKEN,
    ),
    "zip: file in place of a folder": (
        "a.zip",
        lambda: zipped(("a/b", b"x"), ("a", b"y")),
        "in the way",
    ),
}


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_archives_are_refused(tmp_path: Path, name: str) -> None:
    file_name, content, reason = CORPUS[name]
    with pytest.raises(ArchiveRefused, match=reason):
        unpack(tmp_path, file_name, content())


def test_the_corpus_is_as_large_as_we_say() -> None:
    assert len(CORPUS) >= 60


# --- archives that are fine -----------------------------------------------------------------------


def test_modes(tmp_path: Path) -> None:
    private = special("private", tarfile.DIRTYPE, mode=0o500)
    setuid = special("setuid", tarfile.REGTYPE, mode=0o6755)
    inside = unpack(
        tmp_path, "a.tgz", tar(private, setuid, ("script", b"#!/bin/sh\n"), ("f", b"x"))
    )

    def mode(name: str) -> int:
        return stat.S_IMODE((inside / name).stat().st_mode)

    assert mode("private") == 0o700, "we must be able to write into it"
    assert mode("setuid") == 0o755
    assert mode("script") & 0o111 == 0o111
    assert mode("f") & 0o111 == 0


def test_zip_from_windows(tmp_path: Path) -> None:
    content = zipped(
        (zip_info("a", system=0), b"#!/bin/sh\n"),
        (zip_info("b", system=0), b"x"),
    )
    inside = unpack(tmp_path, "w.zip", content)
    assert os.access(inside / "a", os.X_OK)
    assert stat.S_IMODE((inside / "b").stat().st_mode) == 0o644


def test_backslashes_of_old_windows_packers(tmp_path: Path) -> None:
    content = renamed_in_zip("case.system.U", b"case\\system\\U")
    content = content.replace(b"PK\x01\x02\x14\x03", b"PK\x01\x02\x14\x00")
    inside = unpack(tmp_path, "w.zip", content)
    assert (inside / "case" / "system" / "U").read_bytes() == b"x"


def test_links_that_stay_inside(tmp_path: Path) -> None:
    content = tar(
        ("a/b/data", b"x"),
        link("a/up", "../a/b/data"),
        link("folder", "a/b"),
        link("dangling", "a/not-yet"),
        hard("a/twin", "a/b/data"),
        hard("a/b/data", "a/b/data"),
    )
    inside = unpack(tmp_path, "a.tar.gz", content)
    assert (inside / "a/up").read_bytes() == (inside / "folder/data").read_bytes() == b"x"
    assert (inside / "a/twin").stat().st_nlink == 2


def test_links_of_an_archive_in_a_folder(tmp_path: Path) -> None:
    """They may lead to what is beside the folder, and not out of the one that all lies in."""
    folder = tmp_path / "work" / "case"
    folder.mkdir(parents=True)
    archive = folder / "a.tgz"
    for target, is_fine in (("../mesh/points", True), ("../../outside", False)):
        archive.write_bytes(tar(("U", b"x"), link("points", target)))
        with contextlib.nullcontext() if is_fine else pytest.raises(ArchiveRefused):
            budget = Budget(LIMIT_BYTES, LIMIT_ENTRIES, lambda: None)
            archives.unpack(archive, folder, budget, root=tmp_path / "work")
    assert (folder / "U").read_bytes() == b"x"


def test_what_is_there_is_replaced(tmp_path: Path) -> None:
    inside = unpack(tmp_path, "a.tgz", tar(("f", b"first"), ("f", b"second")))
    assert (inside / "f").read_bytes() == b"second"
    unpack(tmp_path, "b.zip", zipped(("f", b"third")))
    assert (inside / "f").read_bytes() == b"third"
    # A link that stands in the way is replaced, not followed.
    (inside / "g").symlink_to("f")
    unpack(tmp_path, "c.zip", zipped(("g", b"new")))
    assert not (inside / "g").is_symlink() and (inside / "f").read_bytes() == b"third"


def test_odd_names(tmp_path: Path) -> None:
    names = ["./a", "b//c", "d/./e", "ü 翼", "-rf", "new\nline", "$(x)", "con", "..."]
    inside = unpack(tmp_path, "a.tgz", tar(*((name, b"x") for name in names)))
    assert (inside / "b/c").exists() and (inside / "d/e").exists() and (inside / "...").exists()


def test_what_is_no_archive_by_name_is_left_alone(tmp_path: Path) -> None:
    for name in ("sheet.xlsx", "arrays.npz", "notes.txt", "data.gz"):
        path = tmp_path / name
        path.write_bytes(zipped(("inner", b"x")))
        assert archives.unpack(path, tmp_path, Budget(1000, 10, lambda: None)) is False
    assert not (tmp_path / "inner").exists()


def test_the_budget_is_shared(tmp_path: Path) -> None:
    budget = Budget(1000, 10, lambda: None)
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(("z", bytes(600))))
    assert archives.unpack(path, tmp_path, budget)
    with pytest.raises(ArchiveRefused, match="more than this site"):
        archives.unpack(path, tmp_path, budget)


def test_it_can_be_interrupted(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    path = tmp_path / "a.zip"
    path.write_bytes(zipped(("z", b"x")))
    with pytest.raises(Stop):
        archives.unpack(path, tmp_path, Budget(1000, 10, stop))
