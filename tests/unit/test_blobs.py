"""Blobs: the format against its oracle, the disk store, keys."""

import io
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tink as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, tink_pb2

from simyard.blobs import keyring as keys
from simyard.blobs import tink
from simyard.blobs.disk import DiskBlobs
from simyard.blobs.keyring import Keyring
from simyard.blobs.sealed import SealedBlobs, SealedWriter
from simyard.domain.errors import Damaged, StorageFull
from simyard.domain.files import Blob

NOW = datetime(2026, 3, 2, 9, 14, tzinfo=UTC)
MASTER = bytes(range(32))
EDGES = [0, 1, 17, tink.FIRST_ROOM - 1, tink.FIRST_ROOM, tink.FIRST_ROOM + 1]
EDGES += [tink.FIRST_ROOM + tink.ROOM, tink.FIRST_ROOM + tink.ROOM + 1, 3_500_000]


@pytest.fixture
def blobs(tmp_path: Path) -> SealedBlobs:
    return SealedBlobs(DiskBlobs(tmp_path / "blobs", reserve_bytes=0), Keyring(MASTER))


def put(blobs: SealedBlobs, content: bytes) -> Blob:
    writer = blobs.create(now=NOW, expected_bytes=len(content))
    writer.write_all(io.BytesIO(content).read)
    return blobs.commit([writer])[0]


def get(blobs: SealedBlobs, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
    with blobs.open(blob) as reader:
        return b"".join(reader.read_range(start, blob.size_bytes if end is None else end))


def stored(tmp_path: Path, blob: Blob) -> Path:
    return tmp_path / "blobs" / blob.key


# --- against Tink ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handle() -> Iterator[tuple[streaming_aead.StreamingAead, bytes]]:
    """A primitive of Tink and its key."""
    streaming_aead.register()
    made = oracle.new_keyset_handle(streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB)
    keyset = tink_pb2.Keyset.FromString(
        oracle.proto_keyset_format.serialize(made, secret_key_access.TOKEN)
    )
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey.FromString(keyset.key[0].key_data.value)
    assert key.params.ciphertext_segment_size == tink.SEGMENT_BYTES
    assert key.params.derived_key_size == tink.KEY_BYTES
    yield made.primitive(streaming_aead.StreamingAead), key.key_value


@pytest.mark.parametrize("size", EDGES)
def test_tink_reads_what_we_write(
    blobs: SealedBlobs,
    tmp_path: Path,
    handle: tuple[streaming_aead.StreamingAead, bytes],
    size: int,
) -> None:
    primitive, key = handle
    content = random.Random(size).randbytes(size)
    writer = blobs.create(now=NOW)
    writer.file_key = key
    writer._cipher = tink.Cipher(key, writer._header)
    writer.write_all(io.BytesIO(content).read)
    (blob,) = blobs.commit([writer])
    sealed = stored(tmp_path, blob).read_bytes()
    assert len(sealed) == tink.sealed_size(size)
    assert primitive.new_decrypting_stream(io.BytesIO(sealed), b"").read() == content


@pytest.mark.parametrize("size", EDGES)
def test_we_read_what_tink_writes(
    handle: tuple[streaming_aead.StreamingAead, bytes], size: int
) -> None:
    primitive, key = handle
    content = random.Random(size).randbytes(size)
    sink = io.BytesIO()
    close, sink.close = sink.close, lambda: None  # type: ignore[method-assign]
    with primitive.new_encrypting_stream(sink, b"") as stream:
        stream.write(content)
    sealed = sink.getvalue()
    close()
    assert len(sealed) == tink.sealed_size(size)
    cipher = tink.Cipher(key, sealed[: tink.HEADER_BYTES])
    parts = range(0, max(len(sealed), 1), tink.SEGMENT_BYTES)
    plain = [
        cipher.open(
            n,
            sealed[max(at, tink.HEADER_BYTES) : at + tink.SEGMENT_BYTES],
            last=at + tink.SEGMENT_BYTES >= len(sealed),
        )
        for n, at in enumerate(parts)
    ]
    assert b"".join(plain) == content


# --- reading and writing --------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    size=st.one_of(st.sampled_from(EDGES), st.integers(0, 2_300_000)),
    cuts=st.lists(st.integers(0, 2_300_000), min_size=2, max_size=2),
)
def test_any_range_is_what_it_should_be(
    tmp_path_factory: pytest.TempPathFactory, size: int, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("range")
    blobs = SealedBlobs(DiskBlobs(folder, reserve_bytes=0), Keyring(MASTER))
    content = random.Random(size).randbytes(size)
    blob = put(blobs, content)
    start, end = sorted(min(cut, size) for cut in cuts)
    assert get(blobs, blob, start, end) == content[start:end]


def test_batches_of_many_segments_are_the_same_as_one_by_one(blobs: SealedBlobs) -> None:
    content = random.Random(1).randbytes(9_000_000)
    writer = blobs.create(now=NOW)
    at = 0
    while True:
        part = content[at : at + writer.room(4)]
        at += len(part)
        for lane in writer.lanes(part, last=at == len(content)):
            lane()
        if at == len(content):
            break
    (blob,) = blobs.commit([writer])
    assert get(blobs, blob) == content
    assert (blob.md5, blob.sha512) == (put(blobs, content).md5, put(blobs, content).sha512)


def test_damage_is_seen(blobs: SealedBlobs, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(2_500_000)
    blob = put(blobs, content)
    path = stored(tmp_path, blob)
    good = path.read_bytes()
    for at in (0, 1, 35, tink.HEADER_BYTES, 1_500_000, len(good) - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(Damaged):
            get(blobs, blob)
    for cut in (good[:-1], good[: tink.SEGMENT_BYTES], good + b"x", b""):
        path.write_bytes(cut)
        with pytest.raises(Damaged):
            get(blobs, blob)
    segment = tink.SEGMENT_BYTES
    swapped = good[:segment] + good[2 * segment :] + good[segment : 2 * segment]
    path.write_bytes(swapped)
    with pytest.raises(Damaged):
        get(blobs, blob)
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        get(blobs, blob)


@pytest.mark.parametrize("size", [0, 1, 2_500_000])
def test_what_was_stored_is_verified(blobs: SealedBlobs, tmp_path: Path, size: int) -> None:
    blob = put(blobs, random.Random(3).randbytes(size))
    blobs.verify(blob)
    path = stored(tmp_path, blob)
    good = path.read_bytes()
    for bad in (good[:-1], good + b"x", b"", *([good[:-1] + b"?"] if size else [])):
        path.write_bytes(bad)
        with pytest.raises(Damaged):
            blobs.verify(blob)
    path.unlink()
    with pytest.raises(Damaged):
        blobs.verify(blob)


def test_each_file_has_a_key_of_its_own(blobs: SealedBlobs) -> None:
    one, two = put(blobs, b"x"), put(blobs, b"x")
    assert blobs.file_key(one) != blobs.file_key(two)


# --- the disk -------------------------------------------------------------------------------------


def test_nothing_is_visible_before_the_commit(blobs: SealedBlobs, tmp_path: Path) -> None:
    writer = blobs.create(now=NOW)
    writer.write_all(io.BytesIO(b"content").read)
    files = [p.name for p in (tmp_path / "blobs").rglob("*") if p.is_file()]
    assert all(name.endswith(".part") for name in files) and files
    writer.abort()
    writer.abort()
    assert not [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]


@pytest.mark.parametrize("count", [1, 7, 8, 40])
def test_many_at_once(blobs: SealedBlobs, count: int) -> None:
    writers = []
    for n in range(count):
        writer = blobs.create(now=NOW)
        writer.write_all(io.BytesIO(b"%d" % n).read)
        writers.append(writer)
    found = blobs.commit(writers)
    assert [get(blobs, blob) for blob in found] == [b"%d" % n for n in range(count)]


def test_keys_of_a_day_and_deleting(blobs: SealedBlobs) -> None:
    blob = put(blobs, b"x")
    unfinished = blobs.create(now=NOW)
    listed = dict(blobs.store.keys("20260302"))
    assert set(listed) == {blob.key, unfinished.sink.key}
    assert all(0 <= age < 60 for age in listed.values())
    assert list(blobs.store.keys("19990101")) == []
    for key in listed:
        blobs.store.delete(key)
        blobs.store.delete(key)
    assert list(blobs.store.keys("20260302")) == []
    unfinished.abort()


@pytest.mark.parametrize("key", ["../x", "20260302/../../x", "/etc/passwd", "a/b", "1/", "x"])
def test_a_key_is_no_path(tmp_path: Path, key: str) -> None:
    store = DiskBlobs(tmp_path, reserve_bytes=0)
    with pytest.raises(ValueError, match="not the key of a blob"):
        store.open(key)


def test_the_reserve_is_left_alone(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    store = DiskBlobs(tmp_path, reserve_bytes=0)
    with pytest.raises(StorageFull):
        store.create("20260302/a", free * 2)
    full = DiskBlobs(tmp_path, reserve_bytes=free * 2)
    assert full.free_bytes() == 0
    with pytest.raises(StorageFull):
        full.create("20260302/a")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


# --- keys -----------------------------------------------------------------------------------------


def test_a_wrapped_key_belongs_to_one_blob_and_one_installation() -> None:
    ring, other = Keyring(MASTER), Keyring(bytes(32))
    wrapped = ring.wrap(b"k" * 32, "20260302/a")
    assert ring.unwrap(wrapped, "20260302/a") == b"k" * 32
    assert ring.wrap(b"k" * 32, "20260302/a") != wrapped
    for keyring, name in ((ring, "20260302/b"), (other, "20260302/a")):
        with pytest.raises(Damaged):
            keyring.unwrap(wrapped, name)


def test_digests_of_api_keys() -> None:
    ring, other = Keyring(MASTER), Keyring(bytes(32))
    assert ring.api_key_digest("a") == ring.api_key_digest("a")
    assert len({ring.api_key_digest("a"), ring.api_key_digest("b"), other.api_key_digest("a")}) == 3


def test_the_master_key_file(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = keys.read_or_create(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.read_or_create(path) == key
    assert [p.name for p in tmp_path.iterdir()] == ["master.key"]
    for bad in ("", "zz", "ab" * 31):
        with pytest.raises(ValueError, match="64 hex digits"):
            Keyring(keys.parse(bad))


# --- blobs that have no end yet -------------------------------------------------------------------


def feed(blobs: SealedBlobs, content: bytes) -> tuple[SealedWriter, int]:
    """A writer that has the whole segments of it, and how many bytes these are."""
    writer = blobs.create(now=NOW)
    whole = writer.whole(len(content))
    if whole:
        for lane in writer.lanes(content[:whole], last=False):
            lane()
    return writer, whole


@pytest.mark.parametrize("size", EDGES)
def test_what_was_flushed_can_be_read_before_and_after_the_end(
    blobs: SealedBlobs, size: int
) -> None:
    content = random.Random(size).randbytes(size)
    writer, whole = feed(blobs, content)
    assert whole < size or size == whole == 0, "a segment that may be the last is held back"
    assert size - whole <= tink.ROOM
    part = blobs.flush(writer)
    assert part.size_bytes == whole

    def read() -> bytes:
        with blobs.open_part(part) as source:
            return b"".join(source.read_range(0, whole))

    assert not whole or read() == content[:whole]
    for lane in writer.lanes(content[whole:], last=True):
        lane()
    assert not whole or read() == content[:whole]
    (blob,) = blobs.commit([writer])
    assert get(blobs, blob) == content
    assert not whole or read() == content[:whole]
    blobs.store.delete(part.key)
    with pytest.raises(Damaged):
        blobs.open_part(part)


def test_a_part_that_is_shorter_than_recorded_is_damaged(
    blobs: SealedBlobs, tmp_path: Path
) -> None:
    writer, whole = feed(blobs, bytes(3 << 20))
    part = blobs.flush(writer)
    path = tmp_path / "blobs" / f"{part.key}.part"
    with path.open("r+b") as file:
        file.truncate(tink.SEGMENT_BYTES)
    assert whole > tink.SEGMENT_BYTES
    with pytest.raises(Damaged):
        blobs.open_part(part)
    writer.abort()


def test_a_tail_belongs_to_one_place() -> None:
    ring = Keyring(MASTER)
    sealed = ring.seal_tail(b"tail", "upload/5")
    assert ring.open_tail(sealed, "upload/5") == b"tail" and b"tail" not in sealed
    for keyring, place in ((ring, "upload/6"), (Keyring(bytes(32)), "upload/5")):
        with pytest.raises(Damaged):
            keyring.open_tail(sealed, place)
