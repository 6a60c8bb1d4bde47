"""Uploads that go on where they were cut."""

from datetime import datetime, timedelta

from simyard.domain.files import FileType
from simyard.domain.records import dataclass

KEPT = timedelta(days=7)  # after the last byte
UNFINISHED_MOST = 1000  # of one user


@dataclass(frozen=True, kw_only=True)
class Announced:
    """What a client says of a file before it sends it."""

    name: str  # base name
    relative_path: str  # with the folder that it was chosen with; ends with the name
    type: FileType
    batch: str  # the client's word for files that belong together
    fingerprint: str  # the client's word for the content, by which it finds the upload again
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """Bytes of an upload in a blob that has no end yet: whole segments."""

    key: str
    wrapped_key: bytes
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Upload:
    id: int  # internal
    code: str
    owner_id: int
    announced: Announced
    offset_bytes: int  # so many are durable
    tail: bytes  # sealed: the last of them, behind the parts
    expires_at: datetime
    file_code: str | None  # what it became

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there; it may not be a file yet."""
        return self.offset_bytes == self.announced.size_bytes
