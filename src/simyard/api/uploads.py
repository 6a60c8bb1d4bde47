"""Taking an upload in: parsed, hashed, encrypted and written while it arrives.

Nothing is spooled and never more than a few MiB are held. The event loop parses and gathers
batches; md5, sha512 and the cipher work on the batch before in threads of their own.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.requests import Request

from simyard.api.errors import UnsupportedMediaType
from simyard.blobs.protocol import Bytes
from simyard.blobs.sealed import SealedBlobs, SealedWriter
from simyard.domain.errors import Invalid, Problem, TooLarge
from simyard.domain.files import Blob, FileType
from simyard.domain.records import dataclass
from simyard.service import files as service
from simyard.service.quotas import Room
from simyard.service.site import Site

_BATCH_SEGMENTS = 4
_BUFFER_BYTES = _BATCH_SEGMENTS << 20  # no batch is larger
_SMALL_BYTES = 256 << 10  # up to here one thread does everything in one go
_TYPE_NAMES = ("type_id", "typeId")
_TYPE_BYTES = 64
_MOST_PARTS = 100
_MOST_HEADERS = 16
_HEADER_BYTES = 16 << 10
_FRAME_BYTES = 256 << 10  # headers, boundaries and what stands around the parts
_NO_DISK_BYTES = 1 << 50  # announced by mistake: nobody has so much room


@dataclass(frozen=True)
class Upload:
    """Bytes that are durable and belong to no file yet."""

    name: str
    type: FileType
    blob: Blob


class Intake:
    """One file on its way in: one buffer is filled while the threads work on the other."""

    def __init__(self, writer: SealedWriter, pool: ThreadPoolExecutor, expected_bytes: int) -> None:
        self._writer = writer
        self._pool = pool
        self._room = writer.room(_BATCH_SEGMENTS)
        size = min(_BUFFER_BYTES, max(expected_bytes, _SMALL_BYTES))
        self._buffer = memoryview(bytearray(size))
        self._other: memoryview | None = None
        self._filled = 0
        self._working: list[asyncio.Future[None]] = []
        self.size_bytes = 0

    async def feed(self, data: Bytes) -> None:
        self.size_bytes += len(data)
        view = memoryview(data)
        while view:
            if self._filled == self._room:
                await self._pass_on()
            if self._filled == len(self._buffer):  # more comes than was announced
                larger = memoryview(bytearray(_BUFFER_BYTES))
                larger[: self._filled] = self._buffer
                self._buffer = larger
            part = view[: min(self._room, len(self._buffer)) - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            view = view[len(part) :]

    async def _pass_on(self) -> None:
        """Give a full batch to the threads, once they are done with the one before."""
        await self._settled()
        batch = self._buffer[: self._filled]
        self._start(*self._writer.lanes(batch, last=False))
        self._room = self._writer.room(_BATCH_SEGMENTS)
        if self._other is None:
            self._other = memoryview(bytearray(_BUFFER_BYTES))
        self._buffer, self._other = self._other, self._buffer
        self._filled = 0

    def _start(self, *calls: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._working = [loop.run_in_executor(self._pool, call) for call in calls]

    async def _settled(self) -> None:
        working, self._working = self._working, []
        try:
            for work in working:
                await work
        finally:
            for work in working:  # after a failure the others may still be at it
                with contextlib.suppress(Exception):
                    await work

    async def finish(self, blobs: SealedBlobs) -> Blob:
        """Everything was fed: make it durable."""
        await self._settled()
        batch = self._buffer[: self._filled]
        lanes: tuple[Callable[[], None], ...] = self._writer.lanes(batch, last=True)
        if self._filled > _SMALL_BYTES:
            self._start(*lanes)
            await self._settled()
            lanes = ()

        def end() -> Blob:
            for lane in lanes:
                lane()
            return blobs.commit([self._writer])[0]

        return await asyncio.get_running_loop().run_in_executor(self._pool, end)

    async def pause(self) -> bytes:
        """Seal all whole segments, but for one that may be the last. Returns what is left behind
        them, from one byte to a segment where anything was fed; more may be fed all the same.
        """
        await self._settled()
        whole = self._writer.whole(self._filled)
        if whole:
            self._start(*self._writer.lanes(self._buffer[:whole], last=False))
            await self._settled()
            rest = bytes(self._buffer[whole : self._filled])
            self._buffer[: len(rest)] = rest
            self._filled = len(rest)
            self._room = self._writer.room(_BATCH_SEGMENTS)
        return bytes(self._buffer[: self._filled])

    async def rest(self) -> None:
        """Wait until no thread works on it any more, whatever became of that."""
        with contextlib.suppress(Exception):
            await self._settled()

    async def abort(self) -> None:
        await self.rest()
        self._writer.abort()


async def receive(request: Request, site: Site, pool: ThreadPoolExecutor, room: Room) -> Upload:
    """The file of a multipart upload. Raises Invalid, TooLarge, StorageFull,
    UnsupportedMediaType, and ClientDisconnect where the client went away; then nothing is left.

    room: what its owner may store. Nothing is read where the announced length says that it does
    not fit; and no more than fits, whatever was announced.
    """
    form = _Form(request, site, pool, room)
    room.check(max(0, _announced(request) - _FRAME_BYTES))
    try:
        await form.read()
        return await form.finish()
    except BaseException:
        if form.intake is not None:
            await form.intake.abort()
        raise


class _Form:
    def __init__(self, request: Request, site: Site, pool: ThreadPoolExecutor, room: Room) -> None:
        self._request = request
        self._site = site
        self._pool = pool
        self._room = room
        self._parser = _parser(request)
        self._name = ""
        self._type = b""
        self._typed = False
        self.intake: Intake | None = None

    async def read(self) -> None:
        part = ""  # what the bytes that come now belong to: "file", "type", or nothing of ours
        try:
            async for event in self._events():
                if isinstance(event, MultipartSegment):
                    part = self._begin(event)
                elif event is None:
                    part = ""
                elif part == "file":
                    assert self.intake is not None
                    await self.intake.feed(event)
                    service.check_size(self.intake.size_bytes, self._site.max_upload_bytes)
                    self._room.check(self.intake.size_bytes)
                elif part == "type":
                    self._type += event[: _TYPE_BYTES - len(self._type)]
            self._parser.close()
        except MultipartError as error:
            raise Invalid.at((), f"Multipart form parse error - {error}") from None

    async def _events(self) -> AsyncIterator[MultipartSegment | bytes | bytearray | None]:
        frame_bytes = 0  # what is no content of a part
        async for chunk in self._request.stream():
            frame_bytes += len(chunk)
            if chunk and not self._parser.closed:  # what follows the end is passed over
                for event in self._parser.parse(chunk):
                    if isinstance(event, bytes | bytearray):
                        frame_bytes -= len(event)
                    yield event
            if frame_bytes > _FRAME_BYTES:
                raise MultipartError(f"More than {_FRAME_BYTES} bytes beside the parts' contents")

    def _begin(self, segment: MultipartSegment) -> str:
        if segment.name in _TYPE_NAMES:
            self._typed, self._type = True, b""
            return "type"
        if segment.name != "file":
            return ""
        sent = _file_name(segment)
        if sent is None:
            raise Invalid.at("file", "The submitted data was not a file. Check the encoding type.")
        if self.intake is not None:
            raise Invalid.at("file", "Only one file can be uploaded at a time.")
        self._name = service.check_name(sent)
        if not self._typed:
            self._type = _type_of_header(segment.header("Content-Type", ""))
        announced = _announced(self._request)
        if announced > _NO_DISK_BYTES:
            raise TooLarge("The file is larger than any disk.")
        service.check_size(announced - _HEADER_BYTES, self._site.max_upload_bytes)
        site = self._site
        self.intake = Intake(
            site.blobs.create(now=site.clock(), expected_bytes=announced), self._pool, announced
        )
        return "file"

    async def finish(self) -> Upload:
        problems = []
        file_type = FileType.INPUT
        if self._type:
            try:
                file_type = _file_type(self._type)
            except ValueError:
                text = self._type.decode("utf-8", "replace")
                problems.append(Problem(("type_id",), f'"{text}" is not a valid choice.'))
        if self.intake is None:
            problems.append(Problem(("file",), "No file was submitted."))
        if problems or self.intake is None:
            raise Invalid(problems)
        blob = await self.intake.finish(self._site.blobs)
        return Upload(self._name, file_type, blob)


def _announced(request: Request) -> int:
    """Bytes of the whole body; 0 where the client does not say."""
    return int(request.headers.get("content-length") or 0)


def _parser(request: Request) -> PushMultipartParser:
    sent = request.headers.get("content-type", "")
    kind, options = parse_options_header(sent)
    if kind != "multipart/form-data":
        raise UnsupportedMediaType(f'Unsupported media type "{kind}" in request.')
    if not options.get("boundary"):
        raise Invalid.at((), "Multipart form parse error - Invalid boundary in multipart: None")
    try:
        return PushMultipartParser(
            options["boundary"],
            header_charset="latin-1",  # any bytes; names are decoded below
            max_header_size=_HEADER_BYTES,
            max_header_count=_MOST_HEADERS,
            max_segment_count=_MOST_PARTS,
        )
    except MultipartError as error:
        raise Invalid.at((), f"Multipart form parse error - {error}") from None


_EXTENDED = re.compile(r"filename\*\s*=\s*\"?([\w-]*)'[^']*'([^\";]*)", re.IGNORECASE)
# RFC 5987, section 3.2.1. Of Python's many codecs some raise what they like and some are slow.
_CHARSETS = {"": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "iso-8859-1": "latin-1"}


def _file_name(segment: MultipartSegment) -> str | None:
    """The file name of a part in either form (RFC 7578, RFC 5987); None where it has none."""
    extended = _EXTENDED.search(segment.header("Content-Disposition", ""))
    charset = _CHARSETS.get(extended[1].lower()) if extended else None
    if extended and charset:
        return str(unquote_to_bytes(extended[2]).decode(charset, "replace"))
    if segment.filename is None:
        return None
    name: bytes = segment.filename.encode("latin-1", "replace")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _file_type(sent: bytes) -> FileType:
    """Raises ValueError."""
    digits = sent.strip()
    if not digits.isdigit() or len(sent) == _TYPE_BYTES:  # int() takes more than digits
        raise ValueError(sent)
    return FileType(int(digits))


_DICT_HEADER = re.compile(r"^\{\s*['\"](?:type_id|typeId)['\"]\s*:\s*['\"]?(\d+)['\"]?\s*\}$")


def _type_of_header(content_type: str) -> bytes:
    """The type in a part's Content-Type that says `{'type_id': 2}`: what Python's requests sends
    where a dict stands in the place of the content type (api-v2 reference, section 2.2).
    """
    found = _DICT_HEADER.match(content_type.strip())
    return found[1].encode() if found else b""
