"""The Idempotency-Key header."""

import hashlib

from starlette.requests import Request

from simyard.api.routes import caller
from simyard.domain.errors import Invalid
from simyard.service.idempotency import KEY_LENGTH, Once


def once(request: Request, *content: bytes) -> Once | None:
    """The request as one that must not take effect twice; None where it carries no key.

    content: what tells this request from another with the same key.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not key or len(key) > KEY_LENGTH or not key.isprintable():
        raise Invalid.at((), f"An Idempotency-Key has 1 to {KEY_LENGTH} printable characters.")
    digest = hashlib.sha256(f"{request.method} {request.scope['path']}".encode())
    for part in content:
        digest.update(len(part).to_bytes(8, "big") + part)
    return Once(caller(request), key, digest.digest())


def headers(is_new: bool) -> dict[str, str]:
    """Says where a reply tells of something that was done before."""
    return {} if is_new else {"Idempotency-Replayed": "true"}
