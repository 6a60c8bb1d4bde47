"""Sending stored files: whole or a range, decrypted segment by segment while they leave."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simyard.api.replies import reply
from simyard.blobs.sealed import SealedReader
from simyard.domain.files import File
from simyard.domain.records import dataclass
from simyard.service.site import Site

# More digits than these no file has, and Python reads only so many.
_RANGE = re.compile(r"bytes=([0-9]{0,100})-([0-9]{0,100})")
KIND = "application/octet-stream"
_AT_ONCE_BYTES = 64 << 10  # a smaller reply is sent in one piece
_READ_AHEAD = 3  # segments
_TOGETHER_BYTES = 512 << 10


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


@dataclass(frozen=True)
class Part:
    """What a download is to send."""

    start: int
    end: int
    status: int
    headers: dict[str, str]


def part_of(request: Request, name: str, size: int, etag: str) -> Part | Response:
    """The part of a file that a request wants, or the reply where nothing of it is to be sent."""
    etag = f'"{etag}"'
    headers = {
        "Content-Disposition": disposition(name),
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
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    return Part(start, end, 200 if part is None else 206, headers)


async def send(request: Request, site: Site, file: File, pool: ThreadPoolExecutor) -> Response:
    part = part_of(request, file.name, file.blob.size_bytes, file.blob.sha512[:32])
    if isinstance(part, Response):
        return part
    if request.method == "HEAD":
        return Response(None, part.status, part.headers, KIND)
    loop = asyncio.get_running_loop()
    reader = await loop.run_in_executor(pool, site.blobs.open, file.blob)
    if part.end - part.start <= _AT_ONCE_BYTES:
        content = await loop.run_in_executor(pool, _read, reader, part.start, part.end)
        return Response(content, part.status, part.headers, KIND)
    stream = _stream(reader, part.start, part.end, pool)
    return StreamingResponse(stream, part.status, part.headers, KIND)


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


async def in_threads(
    made: Generator[bytes | memoryview], pool: ThreadPoolExecutor
) -> AsyncIterator[bytes]:
    """Bytes that are made one after the other, many small ones together, the next ones while some
    are sent.
    """
    loop = asyncio.get_running_loop()
    ahead = loop.run_in_executor(pool, _some, made)
    try:
        # Who is cancelled does not wait: the thread goes on to the end of its piece.
        while some := await asyncio.shield(ahead):
            ahead = loop.run_in_executor(pool, _some, made)
            yield some
    finally:
        ahead.add_done_callback(lambda done: _let_go(done, made))


def _let_go(done: asyncio.Future[bytes], made: Generator[bytes | memoryview]) -> None:
    if not done.cancelled():
        done.exception()  # nobody else asks
    made.close()


def _some(made: Generator[bytes | memoryview]) -> bytes:
    parts, size = [], 0
    for part in made:
        parts.append(part)
        size += len(part)
        if size >= _TOGETHER_BYTES:
            break
    return b"".join(parts)
