"""A look into a file, whatever is in it: enough to see what it is without its download."""

from simyard.domain.errors import Refused
from simyard.domain.facts import Picture, Table, Text, picture_of, table_of, text_of
from simyard.domain.geometry import Geometry, geometry_of
from simyard.domain.kinds import Kind, by_content, is_text
from simyard.domain.records import dataclass
from simyard.domain.zips import Listing, listing_of
from simyard.service.logs import Source

MOST_ENTRIES = 200  # of an archive
_IMAGE_BYTES = 8 << 20
_PIXELS = 64_000_000  # a few bytes may unfold to many more than a browser can hold
_KIND_BYTES = 4096
_NOT_ONE = {
    Kind.IMAGE: "This is no picture that is shown: PNG, JPEG, GIF and WebP are.",
    Kind.TABLE: "This is no table of values.",
    Kind.MESH: "Nothing is known of this format: STL is read.",
    Kind.VTK: "This is no VTK file.",
    Kind.ARCHIVE: "Only zip archives are listed.",
}


@dataclass(frozen=True, kw_only=True)
class Peek:
    """What a file is, and the one part that shows it; none of a binary one."""

    kind: Kind
    text: Text | None = None
    table: Table | None = None
    picture: Picture | None = None
    geometry: Geometry | None = None
    listing: Listing | None = None
    note: str = ""  # why it is shown as something else, or not at all


def peek(source: Source, name: str, kind: Kind | None, *, rows: int, columns: int) -> Peek:
    """Look at a file as what it seems to be, or as what is asked for. Reads a few MiB at most: call
    it in a thread.
    """
    read, size = source.read, source.size_bytes
    head = read(0, _KIND_BYTES)
    wanted = kind or by_content(name, head)
    found: Peek | None = None
    if wanted is Kind.IMAGE and (picture := picture_of(read)):
        found = Peek(kind=wanted, picture=picture, note=_too_large(picture, size))
    elif wanted is Kind.TABLE:
        table = table_of(read, size, most_rows=rows, most_columns=columns)
        found = Peek(kind=wanted, table=table) if table else None
    elif wanted in (Kind.MESH, Kind.VTK) and (geometry := geometry_of(read, size)):
        found = Peek(kind=wanted, geometry=geometry)
    elif wanted is Kind.ARCHIVE and (listing := listing_of(read, size, most=MOST_ENTRIES)):
        found = Peek(kind=wanted, listing=listing)
    elif wanted in (Kind.LOG, Kind.TEXT):
        found = Peek(kind=wanted, text=text_of(read, size))
    if found is not None:
        return found
    note = _NOT_ONE.get(wanted, "")
    if wanted is Kind.BINARY or not is_text(head):
        return Peek(kind=Kind.BINARY, note=note)
    return Peek(kind=Kind.TEXT, text=text_of(read, size), note=note)


def image(source: Source) -> tuple[str, bytes]:
    """The media type and the bytes of a picture. Raises Refused where it is none, or too large."""
    picture = picture_of(source.read)
    if picture is None:
        raise Refused(_NOT_ONE[Kind.IMAGE])
    if note := _too_large(picture, source.size_bytes):
        raise Refused(note)
    return picture.media_type, source.read(0, source.size_bytes)


def _too_large(picture: Picture, size: int) -> str:
    if size > _IMAGE_BYTES:
        return f"Pictures of more than {_IMAGE_BYTES >> 20} MiB are not shown: download it."
    if picture.width * picture.height > _PIXELS:
        return (
            f"Pictures of more than {_PIXELS // 1_000_000} megapixels are not shown: download it."
        )
    return ""
