"""Sending stored files: whole or a range, decrypted segment by segment while they leave."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simyard.api.replies import reply
from simyard.blobs.sealed import SealedReader
from simyard.domain.files import File
from simyard.service.site import Site

# More digits than these no file has, and Python reads only so many.
_RANGE = re.compile(r"bytes=([0-9]{0,100})-([0-9]{0,100})")
_AT_ONCE_BYTES = 64 << 10  # a smaller reply is sent in one piece
_READ_AHEAD = 3  # segments


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """(start, end) of a Range header, the end clamped to the file; None where the whole is to be
    sent. A start at or past `size` means that it cannot be satisfied.
    """
    found = _RANGE.fullmatch(header.strip())
    if not found or size == 0:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:  # the last so many bytes
        return (size, size) if int(last) == 0 else (max(0, size - int(last)), size)
    start = int(first)
    if last and int(last) < start:
        return None
    return start, min(int(last) + 1, size) if last else size


def disposition(name: str) -> str:
    """A Content-Disposition that every client reads: plain ASCII, and the real name beside it."""
    plain = name.encode("ascii", "replace").decode().replace("\\", "_").replace('"', "_")
    plain = "".join(c if c.isprintable() else "_" for c in plain)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


async def send(request: Request, site: Site, file: File, pool: ThreadPoolExecutor) -> Response:
    size = file.blob.size_bytes
    etag = f'"{file.blob.sha512[:32]}"'
    headers = {
        "Content-Disposition": disposition(file.name),
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    part = None
    if request.headers.get("if-range") in (None, etag):
        part = asked_range(request.headers.get("range", ""), size)
    if part is not None and part[0] >= size:
        return reply(
            {"detail": "Requested range not satisfiable."},
            416,
            {"Content-Range": f"bytes */{size}"},
        )
    start, end = part or (0, size)
    status = 200
    if part is not None:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    kind = "application/octet-stream"
    if request.method == "HEAD":
        return Response(None, status, headers, kind)
    loop = asyncio.get_running_loop()
    reader = await loop.run_in_executor(pool, site.blobs.open, file.blob)
    if end - start <= _AT_ONCE_BYTES:
        content = await loop.run_in_executor(pool, _read, reader, start, end)
        return Response(content, status, headers, kind)
    return StreamingResponse(_stream(reader, start, end, pool), status, headers, kind)


def _read(reader: SealedReader, start: int, end: int) -> bytes:
    with reader:
        return b"".join(reader.read_range(start, end))


async def _stream(
    reader: SealedReader, start: int, end: int, pool: ThreadPoolExecutor
) -> AsyncIterator[bytes | memoryview]:
    """Segments in order, the next ones being read while one is sent."""
    loop = asyncio.get_running_loop()
    ahead: deque[asyncio.Future[bytes | memoryview]] = deque()
    try:
        for segment in reader.segments(start, end):
            ahead.append(loop.run_in_executor(pool, reader.read, segment))
            if len(ahead) > _READ_AHEAD:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        if ahead:
            await asyncio.wait(ahead)  # nobody may read when the file is closed
        reader.close()
