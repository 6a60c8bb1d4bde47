"""Files: what users upload and what runs leave behind."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from posixpath import splitext

from simyard.domain.records import dataclass

# Text up to this size is offered for viewing in a browser.
VIEWABLE_BYTES = 10_000_000

_TEXT_SUFFIXES = frozenset(
    [
        ".txt",
        ".log",
        ".out",
        ".err",
        ".csv",
        ".tsv",
        ".dat",
        ".json",
        ".xml",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
        ".md",
        ".sh",
        ".py",
        ".m",
        ".c",
        ".h",
        ".cpp",
        ".f",
        ".f90",
        ".inp",
        ".geo",
        ".edp",
        ".cir",
        ".tex",
        ".html",
        ".sta",
        ".cvg",
        ".msg",
        ".in",
    ]
)


class FileType(IntEnum):
    """`typeId` on the wire (api-v2 reference, section 9.1)."""

    INPUT = 1
    TEMPLATE = 2
    PARAMETER = 3
    SCRIPT = 4
    OUTPUT = 5
    DESIGN_VARIABLE = 7
    CASE = 8
    OPTIMIZER = 9
    TEMPORARY = 10
    CHECKPOINT_ARCHIVE = 11
    SNAPSHOT = 12


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Bytes that were stored once and never change. Several files may show the same blob."""

    id: int | None  # None before it is recorded
    key: str  # name in the blob store
    wrapped_key: bytes  # the blob's own key, wrapped by the installation's master key
    size_bytes: int  # of the plain content
    md5: str  # hex
    sha512: str  # hex
    crc32: int | None = None  # None: it was stored by a release that did not take it


@dataclass(frozen=True, kw_only=True)
class File:
    id: int  # internal
    code: str  # six letters; what the API calls `id`
    owner_id: int
    owner_email: str
    name: str  # base name
    relative_path: str  # uploads: with the folder, if any; outputs: below the run's work folder
    storage_path: str  # `path` on the wire: informative, never opened
    type: FileType
    blob: Blob
    uploaded_at: datetime
    modified_at: datetime | None = None  # of outputs: when the run wrote it, where that is known
    job_id: int | None = None  # of outputs; internal
    run_number: int | None = None  # of outputs
    folder_code: str | None = None  # None: the library itself, or an output
    is_trashed: bool = False
    tags: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()  # emails of those who see it through a job

    @property
    def view_in_browser(self) -> bool:
        return viewable(self.name, self.blob.size_bytes)

    @property
    def input_path(self) -> str:
        """Where it lies in the work folder of a run that it is an input of: an upload in the folder
        that it was uploaded with, what a run left by its name, also once it is that run's no more.
        """
        is_output = "/output/job_" in self.storage_path
        return self.name if is_output else beside(self.relative_path, self.name)


@dataclass(frozen=True)
class DeletedFile:
    """What is kept of a file that was deleted while jobs named it."""

    code: str
    name: str
    type: FileType
    uploaded_at: datetime
    owner_email: str


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder of somebody's library."""

    id: int  # internal
    code: str
    owner_id: int
    parent_code: str | None  # None: the library itself
    name: str
    created_at: datetime
    is_trashed: bool


TAG_LENGTH = 100


def normalized(tag: str) -> str:
    """What makes two tags the same: case and blanks do not count."""
    return " ".join(tag.split()).casefold()


def viewable(name: str, size_bytes: int) -> bool:
    """Whether the name and size suggest text that a browser can show."""
    suffix = splitext(name)[1].lower()
    return size_bytes <= VIEWABLE_BYTES and (suffix in _TEXT_SUFFIXES or name.startswith("log."))


_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND = 4_354_819_198_000_000  # in 2107: the last that a zip can say


def modified(mtime_ns: int) -> datetime:
    """When a file of a run was changed."""
    return instant(modified_microseconds(mtime_ns))


def modified_microseconds(mtime_ns: int) -> int:
    """The same since 1970. A run may set any time: what is not from 1970 to 2107 is the nearest
    that is.
    """
    return min(max(mtime_ns // 1000, 0), _LAST_MICROSECOND)


def instant(microseconds: int) -> datetime:
    """A time from its microseconds since 1970."""
    return _BEGINNING + timedelta(microseconds=microseconds)


def beside(path: str, name: str) -> str:
    """The path of another name in the same folder."""
    return path[: path.rfind("/") + 1] + name


def parents(path: str) -> Iterator[str]:
    """The folders that a path goes through."""
    for at, character in enumerate(path):
        if character == "/":
            yield path[:at]


def base_name(sent: str) -> str:
    """The file name in what a client sent as one: some send a whole path, Windows paths too.

    Returns "" where nothing usable is left. Control characters are dropped.
    """
    name = sent.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(c for c in name if c.isprintable()).strip()
    return "" if name in (".", "..") else name
