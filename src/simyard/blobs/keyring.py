"""The installation's master key and what is derived from it.

Every file has a key of its own; the database keeps it wrapped (AES-256-GCM) under a key derived
from the master key, bound to the name of the blob it belongs to. API keys are kept as HMACs under
another derived key, so that a copy of the database alone opens nothing.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from simyard.domain.errors import Damaged

MASTER_KEY_BYTES = 32
_NONCE_BYTES = 12
_TOKEN_DIGITS = 32  # of an attempt


class Keyring:
    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_BYTES:
            raise ValueError(f"the master key must be {MASTER_KEY_BYTES} bytes, as 64 hex digits")
        self._wrapping = AESGCM(_derive(master_key, b"simyard file keys"))
        self._tails = AESGCM(_derive(master_key, b"simyard upload tails"))
        self._api_keys = _derive(master_key, b"simyard api keys")
        self._made_keys = _derive(master_key, b"simyard made keys")
        self._job_keys = _derive(master_key, b"simyard job keys")

        self.installation = _derive(master_key, b"simyard installation")[:6].hex()  # no secret

    def wrap(self, file_key: bytes, blob_key: str) -> bytes:
        return _seal(self._wrapping, file_key, blob_key)

    def unwrap(self, wrapped: bytes, blob_key: str) -> bytes:
        """Raises Damaged where it was wrapped under another master key, or for another blob."""
        try:
            return _open(self._wrapping, wrapped, blob_key)
        except InvalidTag:
            raise Damaged("The file's key does not open with this master key.") from None

    def seal_tail(self, tail: bytes, place: str) -> bytes:
        """The last bytes of an unfinished upload. place: which upload's, and where in it."""
        return _seal(self._tails, tail, place)

    def open_tail(self, sealed: bytes, place: str) -> bytes:
        """Raises Damaged where it is not what was sealed for this place."""
        try:
            return _open(self._tails, sealed, place)
        except InvalidTag:
            raise Damaged("The end of this upload does not verify.") from None

    def api_key_digest(self, api_key: str) -> bytes:
        """What is stored of an API key. The same key gives the same digest."""
        return hmac.digest(self._api_keys, api_key.encode(), hashlib.sha256)

    def made_key(self, *parts: str) -> str:
        """A key of 40 hex digits that only this installation can make of these parts, the same
        each time: a creation that is repeated gives the same key, and none has to be kept.
        """
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.digest(self._made_keys, text.encode(), hashlib.sha256)[:20].hex()

    def job_key(self, token: str) -> str:
        """The API key of the attempt with this token (32 hex digits): 64 hex digits that prove
        themselves, so that nothing is written for them.
        """
        return token + hmac.digest(self._job_keys, token.encode(), hashlib.sha256)[:16].hex()

    def token_of(self, api_key: str) -> str | None:
        """The token in an attempt's key; None where it is no such key, or not ours."""
        token = api_key[:_TOKEN_DIGITS]
        good = hmac.compare_digest(self.job_key(token).encode(), api_key.encode())
        return token if good and len(token) == _TOKEN_DIGITS else None


def _seal(key: AESGCM, plain: bytes, place: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, place.encode())


def _open(key: AESGCM, sealed: bytes, place: str) -> bytes:
    """Raises InvalidTag."""
    return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, purpose).derive(master_key)


def read_or_create(path: Path) -> bytes:
    """The master key in a file of 64 hex digits; a new one, readable by its owner only, if absent.

    Two processes may call this at once: both get the same key. The key is durable on return.
    """
    if not path.exists():
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, secrets.token_hex(MASTER_KEY_BYTES).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(aside, path)  # fails, rather than replaces, where another was faster
        except FileExistsError:
            pass
        finally:
            os.unlink(aside)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    return parse(path.read_text())


def parse(text: str) -> bytes:
    """64 hex digits. Raises ValueError otherwise, without repeating what it was given."""
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        raise ValueError("the master key must be 64 hex digits") from None
