"""Tink's AES-GCM-HKDF streaming format, with its AES256_GCM_HKDF_1MB parameters.

Source: Tink documentation, "AES-GCM-HKDF Streaming AEAD". A stream is

    header   = 1 byte header length (40) | 32 bytes salt | 7 bytes nonce prefix
    segments = AES-256-GCM under HKDF-SHA256(key, salt, associated data), each with a 16-byte tag,
               nonce = prefix | segment number (4 bytes, big endian) | 1 if last else 0

Every segment of ciphertext is 1 MiB, header counted with the first, but for the last. So any part
can be read alone, every segment is verified, and a stream cut short does not verify.
"""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from simyard.blobs.protocol import Bytes
from simyard.domain.errors import Damaged

KEY_BYTES = 32
HEADER_BYTES = 1 + 32 + 7
TAG_BYTES = 16
SEGMENT_BYTES = 1 << 20  # of ciphertext
FIRST_ROOM = SEGMENT_BYTES - HEADER_BYTES - TAG_BYTES  # plain bytes in the first segment
ROOM = SEGMENT_BYTES - TAG_BYTES  # plain bytes in every other segment


def room(segment: int) -> int:
    """Plain bytes that a full segment holds."""
    return ROOM if segment else FIRST_ROOM


class Cipher:
    """Seals and opens the segments of one stream."""

    def __init__(self, key: bytes, header: bytes) -> None:
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise Damaged("The stored file has no valid encryption header.")
        salt, self._prefix = header[1:33], header[33:]
        derived = HKDF(hashes.SHA256(), KEY_BYTES, salt, b"").derive(key)
        self._aead = AESGCM(derived)

    def _nonce(self, segment: int, last: bool) -> bytes:
        return self._prefix + struct.pack(">IB", segment, last)

    def seal(self, segment: int, plain: Bytes, *, last: bool) -> bytes:
        return self._aead.encrypt(self._nonce(segment, last), plain, None)

    def open(self, segment: int, sealed: Bytes, *, last: bool) -> bytes:
        """Raises Damaged where the segment is not what was sealed."""
        try:
            return self._aead.decrypt(self._nonce(segment, last), sealed, None)
        except InvalidTag:
            raise Damaged(f"Segment {segment} of the stored file does not verify.") from None


def sealed_size(plain_bytes: int) -> int:
    """Stored size of a file of this many bytes."""
    segments = 1 if plain_bytes <= FIRST_ROOM else 1 + -(-(plain_bytes - FIRST_ROOM) // ROOM)
    return HEADER_BYTES + plain_bytes + segments * TAG_BYTES


def segment_at(plain_offset: int) -> int:
    """The segment that holds this byte of the plain file."""
    return 0 if plain_offset < FIRST_ROOM else 1 + (plain_offset - FIRST_ROOM) // ROOM


def segment_start(segment: int) -> int:
    """Offset in the plain file of the segment's first byte."""
    return 0 if segment == 0 else FIRST_ROOM + (segment - 1) * ROOM
