"""What a file is likely to be: by its name, better by its first bytes too."""

from enum import StrEnum
from posixpath import splitext


class Kind(StrEnum):
    LOG = "log"
    TABLE = "table"
    IMAGE = "image"
    MESH = "mesh"
    VTK = "vtk"
    ARCHIVE = "archive"
    TEXT = "text"
    BINARY = "binary"


_SUFFIXES = {
    Kind.LOG: "log out err sta msg cvg",
    Kind.TABLE: "csv tsv",
    Kind.IMAGE: "png jpg jpeg gif webp",
    Kind.MESH: "stl obj ply msh unv",
    Kind.VTK: "vtk vtp vtu vti vts vtr vtm pvd",
    Kind.ARCHIVE: "zip tar tgz tbz tbz2 txz gz bz2 xz zst 7z",
    Kind.TEXT: "txt dat json xml yaml yml toml ini cfg conf md sh bash py m c h cpp f f90 inp geo"
    " edp cir net tex html htm svg in gp plt js css rst dict orig sub sbatch xyz pdb gro top mdp",
}
_BY_SUFFIX = {
    f".{suffix}": kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", Kind.IMAGE),
    (b"\xff\xd8\xff", Kind.IMAGE),
    (b"GIF87a", Kind.IMAGE),
    (b"GIF89a", Kind.IMAGE),
    (b"PK\x03\x04", Kind.ARCHIVE),
    (b"PK\x05\x06", Kind.ARCHIVE),
    (b"\x1f\x8b", Kind.ARCHIVE),
    (b"# vtk DataFile", Kind.VTK),
)
# Texts of these kinds are only text to whoever looks at the bytes.
_TEXTUAL = (Kind.LOG, Kind.TABLE, Kind.TEXT)


def by_name(name: str) -> Kind:
    """The kind that a name promises. One without a suffix is mostly that of a solver's text."""
    if name.startswith("log."):
        return Kind.LOG
    suffix = splitext(name)[1].lower()
    return _BY_SUFFIX.get(suffix, Kind.BINARY) if suffix else Kind.TEXT


def by_content(name: str, head: bytes) -> Kind:
    """The kind of a file that begins so: its name decides where the bytes allow it."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.IMAGE
    named = by_name(name)
    if named in (Kind.MESH, Kind.VTK):
        return named
    if not is_text(head):
        return Kind.BINARY
    return named if named in _TEXTUAL else Kind.TEXT


def is_text(head: bytes) -> bool:
    """Whether bytes look like text: UTF-8 or nearly, without what only binary files have."""
    if b"\0" in head:
        return False
    shown = head.decode("utf-8", "replace")
    odd = shown.count("\ufffd") + sum(shown.count(chr(c)) for c in (*range(1, 8), *range(14, 27)))
    return odd <= 2 or odd * 20 <= len(shown)  # a text in another encoding has some
