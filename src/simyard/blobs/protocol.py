"""What a blob store must do. Disk today, object stores later: only what both can promise.

A blob is named by a key `YYYYMMDD/letters` that its writer chooses and never uses twice. The day
in front lets orphans be found by looking at recent days only.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

Bytes = bytes | bytearray | memoryview


class BlobWriter(Protocol):
    """Bytes on their way in. Nobody can see them before the store commits the writer."""

    key: str

    def write(self, data: Bytes) -> None:
        """Append. Raises StorageFull where there is no room."""

    def flush(self) -> None:
        """Make what was written so far durable: `BlobStore.open_cut` finds it from then on."""

    def close(self) -> None:
        """No more bytes will come. Optional before a commit; lets go of what an open file holds."""

    def abort(self) -> None:
        """Forget what was written. Idempotent; does nothing after a commit."""


class BlobReader(Protocol):
    size: int  # of the stored bytes

    def read(self, offset: int, length: int) -> bytes:
        """The stored bytes from offset on; fewer only at the end. Safe from several threads."""

    def close(self) -> None: ...


class BlobStore(Protocol):
    def create(self, key: str, expected_bytes: int = 0) -> BlobWriter:
        """Begin a blob. Raises StorageFull where `expected_bytes` would not fit."""

    def commit(self, writers: Sequence[BlobWriter]) -> None:
        """Make these blobs whole, visible and durable: all of that holds when it returns.

        No reader ever sees half a blob, whenever the process dies. Many writers in one call
        cost far less than one call each.
        """

    def open(self, key: str) -> BlobReader:
        """Raises Damaged where the blob is missing."""

    def open_cut(self, key: str) -> BlobReader:
        """What was flushed of a blob, committed or not; there may be more behind it. Raises Damaged
        where it is missing.
        """

    def delete(self, key: str) -> None:
        """Remove a blob, finished or not, if it is there. Idempotent."""

    def days(self) -> list[str]:
        """Days (YYYYMMDD) that there may be blobs of, the oldest first."""

    def keys(self, day: str) -> Iterator[tuple[str, float]]:
        """Keys of a day (YYYYMMDD), finished or not, each with its age in seconds."""

    def free_bytes(self) -> int | None:
        """Room left for blobs; None where the store has no such limit."""
