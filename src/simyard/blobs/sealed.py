"""Encryption and checksums as a layer over any blob store.

Writing: plain bytes go in as whole segments; md5, sha512 and the cipher, with crc32 beside it, are
three lanes that a caller may run one after the other or side by side (all release the interpreter's
lock).
Reading: any range, segment by segment, each verified. Never more than a few segments in memory.
"""

import hashlib
import secrets
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from simyard.blobs import tink
from simyard.blobs.keyring import Keyring
from simyard.blobs.protocol import BlobReader, BlobStore, BlobWriter, Bytes
from simyard.domain.errors import Damaged
from simyard.domain.files import Blob
from simyard.domain.records import dataclass
from simyard.domain.uploads import Part

Lane = Callable[[], None]


class SealedBlobs:
    """A blob store whose content is encrypted, each file under a key of its own."""

    def __init__(self, store: BlobStore, keyring: Keyring) -> None:
        self.store = store
        self._keyring = keyring

    def create(self, *, now: datetime, expected_bytes: int = 0) -> "SealedWriter":
        key = f"{now:%Y%m%d}/{uuid.uuid4().hex}"
        size = tink.sealed_size(expected_bytes)
        return SealedWriter(self.store.create(key, size))

    def commit(self, writers: Sequence["SealedWriter"]) -> list[Blob]:
        """Make finished writers durable; see BlobStore.commit. The blobs are not recorded yet."""
        self.store.commit([writer.sink for writer in writers])
        return [
            Blob(
                id=None,
                key=writer.sink.key,
                wrapped_key=self._keyring.wrap(writer.file_key, writer.sink.key),
                size_bytes=writer.size_bytes,
                md5=writer.md5,
                sha512=writer.sha512,
                crc32=writer.crc32,
            )
            for writer in writers
        ]

    def flush(self, writer: "SealedWriter") -> Part:
        """Make all that was sealed so far, whole segments without an end, durable."""
        writer.sink.flush()
        key = writer.sink.key
        wrapped = self._keyring.wrap(writer.file_key, key)
        return Part(key=key, wrapped_key=wrapped, size_bytes=writer.size_bytes)

    def open_part(self, part: Part) -> "SealedReader":
        """What was flushed at that time, whatever came behind it."""
        file_key = self._keyring.unwrap(part.wrapped_key, part.key)
        source = self.store.open_cut(part.key)
        return SealedReader(source, file_key, part.size_bytes, is_cut=True)

    def seal_tail(self, tail: bytes, place: str) -> bytes:
        """See Keyring: what is too short for a segment of its own."""
        return self._keyring.seal_tail(tail, place)

    def open_tail(self, sealed: bytes, place: str) -> bytes:
        return self._keyring.open_tail(sealed, place)

    def verify(self, blob: Blob) -> None:
        """See that a stored blob is there, as long as it should be, and ends in a segment that
        verifies: whole, and under its own key. Raises Damaged.
        """
        with self.open(blob) as source:
            for _ in source.read_range(max(0, blob.size_bytes - 1), blob.size_bytes):
                pass

    def open(self, blob: Blob) -> "SealedReader":
        return SealedReader(self.store.open(blob.key), self.file_key(blob), blob.size_bytes)

    def file_key(self, blob: Blob) -> bytes:
        """The key that opens this blob: `encodedEncryptionKey` on the wire, there in base64."""
        return self._keyring.unwrap(blob.wrapped_key, blob.key)


class SealedWriter:
    """One file on its way in. Feed it with `lanes` (or `write`), then `finish`, or `abort`."""

    def __init__(self, sink: BlobWriter) -> None:
        self.sink = sink
        self.file_key = secrets.token_bytes(tink.KEY_BYTES)
        self.size_bytes = 0
        self.crc32 = 0
        header = bytes([tink.HEADER_BYTES]) + secrets.token_bytes(tink.HEADER_BYTES - 1)
        self._cipher = tink.Cipher(self.file_key, header)
        self._header = header
        self._segment = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha512 = hashlib.sha512()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    @property
    def sha512(self) -> str:
        return self._sha512.hexdigest()

    def room(self, segments: int) -> int:
        """Plain bytes that the next so many segments hold."""
        return tink.room(self._segment) + (segments - 1) * tink.ROOM

    def whole(self, size: int) -> int:
        """Plain bytes of the whole segments among the next `size`, of which some are left over: a
        segment that may be the last is not sealed yet.
        """
        first = self.room(1)
        return 0 if size <= first else first + (size - first - 1) // tink.ROOM * tink.ROOM

    def lanes(self, plain: Bytes, *, last: bool) -> tuple[Lane, Lane, Lane]:
        """The work that the next bytes mean. All of it must be done before the next call.

        The length must be a whole number of segments (see `room`) unless they are the last.
        """
        view = memoryview(plain).cast("B")
        first = self._segment
        parts: list[memoryview] = []
        at = 0
        while at < len(view) or (last and not parts):
            part = view[at : at + tink.room(first + len(parts))]
            parts.append(part)
            at += len(part)
        self._segment += len(parts)
        self.size_bytes += len(view)

        def seal() -> None:
            self.crc32 = zlib.crc32(view, self.crc32)
            if first == 0:
                self.sink.write(self._header)
            for i, part in enumerate(parts):
                is_last = last and i == len(parts) - 1
                self.sink.write(self._cipher.seal(first + i, part, last=is_last))

        return (lambda: self._md5.update(view)), (lambda: self._sha512.update(view)), seal

    def write_all(self, read: Callable[[int], bytes]) -> None:
        """Take everything that `read(size)` gives, to its end, in this thread."""
        plain = _read_full(read, self.room(1))
        while True:
            following = _read_full(read, tink.ROOM) if len(plain) == self.room(1) else b""
            for lane in self.lanes(plain, last=not following):
                lane()
            if not following:
                self.sink.close()
                return
            plain = following

    def abort(self) -> None:
        self.sink.abort()


def _read_full(read: Callable[[int], bytes], size: int) -> bytes:
    """`size` bytes, fewer only at the end."""
    first = read(size)
    if len(first) == size or not first:
        return first
    parts, have = [first], len(first)
    while have < size:
        part = read(size - have)
        if not part:
            break
        parts.append(part)
        have += len(part)
    return b"".join(parts)


class SealedReader:
    """A stored file as plain bytes. Every byte that comes out was verified."""

    def __init__(
        self, source: BlobReader, file_key: bytes, size_bytes: int, *, is_cut: bool = False
    ) -> None:
        """is_cut: these are whole segments, none of them the last, and more may follow."""
        self.size_bytes = size_bytes
        self._source = source
        self._is_cut = is_cut
        wanted = tink.sealed_size(size_bytes)
        if source.size < wanted or (source.size > wanted and not is_cut):
            raise Damaged("The stored file has not the length it should have.")
        self._cipher = tink.Cipher(file_key, source.read(0, tink.HEADER_BYTES))

    def segments(self, start: int, end: int) -> Iterator["Segment"]:
        """What to read for the plain bytes start <= n < end, in order."""
        if start >= end:
            return
        for number in range(tink.segment_at(start), tink.segment_at(end - 1) + 1):
            at = tink.segment_start(number)
            yield Segment(number, max(0, start - at), min(tink.room(number), end - at))

    def read(self, segment: "Segment") -> bytes | memoryview:
        """The wanted part of one segment. Safe from several threads."""
        at = segment.number * tink.SEGMENT_BYTES
        offset = at + (tink.HEADER_BYTES if segment.number == 0 else 0)
        sealed = self._source.read(offset, at + tink.SEGMENT_BYTES - offset)
        last = not self._is_cut and at + tink.SEGMENT_BYTES >= self._source.size
        plain = self._cipher.open(segment.number, sealed, last=last)
        if segment.start == 0 and segment.end >= len(plain):
            return plain
        return memoryview(plain)[segment.start : segment.end]

    def read_range(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        for segment in self.segments(start, end):
            yield self.read(segment)

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> "SealedReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Segment:
    number: int
    start: int  # first wanted byte within the segment's plain bytes
    end: int  # behind the last wanted one
