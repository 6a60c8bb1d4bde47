"""Taking in uploads that go on where they were cut: who may write now, and what is kept open.

A part of an upload stays open in this process from one request to the next, with its cipher and its
checksums: a file that arrives without trouble, in however many requests, is written once and read
never. Where that was lost (a restart, a checksum that did not match, too many uploads at once) the
upload goes on in another part, and the parts are copied into one blob in the end.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from simyard.api.uploads import Intake
from simyard.blobs.sealed import SealedWriter
from simyard.domain.errors import Busy, Corrupted, OutOfStep, SimyardError, TooLarge
from simyard.domain.files import Blob, File
from simyard.domain.records import dataclass
from simyard.domain.uploads import Upload
from simyard.domain.users import User
from simyard.service import uploads as service
from simyard.service.site import Site

T = TypeVar("T")

_RECORD_BYTES = 64 << 20  # no more arrives without being made durable ...
_RECORD_SECONDS = 10.0  # ... or for longer
_SILENT_SECONDS = 5.0  # after which another request may take over
_PATIENCE_SECONDS = 120.0  # with a client that says nothing
_KEPT_OPEN = 64  # parts, each with at most a segment in memory
_ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
ALGORITHMS = ",".join(_ALGORITHMS)


@dataclass(frozen=True)
class Checksum:
    """What the body of a request has to be."""

    algorithm: str  # of ALGORITHMS
    digest: bytes


@dataclass
class _Open:
    """A part that is being written."""

    writer: SealedWriter
    begins_at: int  # in the upload
    tail: bytes = b""  # what arrived and is not sealed yet
    is_recorded: bool = False

    @property
    def ends_at(self) -> int:
        return self.begins_at + self.writer.size_bytes + len(self.tail)

    def drop(self) -> None:
        """Nothing is written to it any more; what is recorded of it stays."""
        if self.is_recorded:
            self.writer.sink.close()
        else:
            self.writer.abort()


class _Hold:
    """The right of one request to write an upload."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()
        self.is_unwanted = False
        self._waits: asyncio.Timeout | None = None
        self._since = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether its client has said nothing for a while: it may be gone without a good-bye."""
        now = asyncio.get_running_loop().time()
        return self._waits is not None and now - self._since >= _SILENT_SECONDS

    def end(self) -> None:
        """Let it keep what has arrived, and stop."""
        self.is_unwanted = True
        if self._waits is not None:
            self._waits.reschedule(asyncio.get_running_loop().time())

    async def chunks(self, request: Request) -> AsyncIterator[bytes]:
        """The body. Raises ClientDisconnect where it ends too early."""
        body = request.stream()
        while not self.is_unwanted:
            self._since = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS) as self._waits:
                    chunk = await anext(body, None)
            except TimeoutError:
                break
            finally:
                self._waits = None
            if chunk is None:
                return
            yield chunk
        raise ClientDisconnect


class Resumable:
    """All uploads that go on. Belongs to the event loop."""

    def __init__(
        self, site: Site, pool: ThreadPoolExecutor, tell: Callable[[Upload, File | None], None]
    ) -> None:
        """tell: called with how far an upload is whenever more of it is durable."""
        self._site = site
        self._pool = pool
        self._tell = tell
        self._holds: dict[str, _Hold] = {}  # by the code of the upload
        self._open: OrderedDict[str, _Open] = OrderedDict()  # the same; the last used is the last

    # --- what requests ask for --------------------------------------------------------------------

    async def receive(
        self, request: Request, owner: User, code: str, offset: int, checksum: Checksum | None
    ) -> tuple[Upload, File | None]:
        """Append the body to an upload. Returns how far it is, and the file that it became.

        Of a body that breaks off all that arrived is kept, unless it has a checksum; then
        ClientDisconnect is raised, or Busy where another request took over. Raises NotFound,
        OutOfStep, Busy, Corrupted, TooLarge, StorageFull; then nothing is kept of what was not
        recorded before.
        """
        async with self._hold(code) as hold:
            upload = self._site.db.read(service.get, self._site, owner, code)
            if offset != upload.offset_bytes:
                raise OutOfStep(f"This upload goes on at byte {upload.offset_bytes}.")
            if upload.is_whole:
                return upload, await self._file_of(owner, upload)
            announced = int(request.headers.get("content-length") or 0)
            if announced > upload.announced.size_bytes - offset:
                raise _too_much(upload)
            return await self._append(hold, request, owner, upload, checksum)

    async def state(self, owner: User, code: str) -> tuple[Upload, File | None]:
        """How far an upload is, and the file that it became; made now where only that is left to
        do. Raises NotFound.
        """
        upload = self._site.db.read(service.get, self._site, owner, code)
        if upload.is_whole and upload.file_code is None:
            async with self._hold(code, waits=True):
                upload = self._site.db.read(service.get, self._site, owner, code)
                file = await self._file_of(owner, upload) if upload.is_whole else None
                return upload, file
        return upload, self._site.db.read(service.file_of, owner, upload)

    async def terminate(self, owner: User, code: str) -> None:
        """Forget an upload, also while a request is at it. Raises NotFound."""
        self._site.db.read(service.get, self._site, owner, code)
        other = self._holds.get(code)
        if other is not None:
            other.end()
        async with self._hold(code, waits=True):
            unused = await self._site.db.write_async(service.terminate, self._site, owner, code)
            opened = self._open.pop(code, None)
            if opened is not None:
                opened.drop()
            await self._delete(unused)

    # --- who may write ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _hold(self, code: str, *, waits: bool = False) -> AsyncIterator[_Hold]:
        """Raises Busy where another request holds it whose client is there; or waits for that."""
        while (other := self._holds.get(code)) is not None:
            if not waits:
                if not other.is_silent:
                    raise Busy("Another request is writing this upload.")
                other.end()
            await other.is_over.wait()
        hold = self._holds[code] = _Hold()
        try:
            yield hold
        finally:
            del self._holds[code]
            hold.is_over.set()

    # --- bytes ------------------------------------------------------------------------------------

    async def _append(
        self, hold: _Hold, request: Request, owner: User, upload: Upload, checksum: Checksum | None
    ) -> tuple[Upload, File | None]:
        size, began_at = upload.announced.size_bytes, upload.offset_bytes
        opened = await self._opened(upload)
        room = int(request.headers.get("content-length") or size - began_at)
        intake = Intake(opened.writer, self._pool, room + len(opened.tail))
        digest = _ALGORITHMS[checksum.algorithm]() if checksum else None
        time = asyncio.get_running_loop().time
        recorded_at, at = time(), began_at
        broken_off = False
        try:
            await intake.feed(opened.tail)
            try:
                async for chunk in hold.chunks(request):
                    at += len(chunk)
                    if at > size:
                        raise _too_much(upload)
                    await intake.feed(chunk)
                    if digest is not None:
                        digest.update(chunk)
                    if (
                        at - upload.offset_bytes < _RECORD_BYTES
                        and time() - recorded_at < _RECORD_SECONDS
                    ):
                        continue
                    if digest is None:
                        upload = await self._record(opened, intake, upload, at)
                    elif not opened.is_recorded:
                        await self._claim(opened, upload)
                    recorded_at = time()
            except ClientDisconnect:
                broken_off = True
                if checksum is not None:
                    raise
            if checksum is not None and digest is not None and digest.digest() != checksum.digest:
                raise Corrupted("What arrived has not the checksum that was sent.")
            if at == size and not opened.begins_at:
                file = await self._finish(opened, intake, owner, upload)
                upload = self._site.db.read(service.get, self._site, owner, upload.code)
                return upload, file
            if at > upload.offset_bytes:
                upload = await self._record(opened, intake, upload, at)
        except BaseException:
            await intake.rest()
            await asyncio.shield(self._in_thread(opened.drop))
            raise
        if upload.is_whole:
            opened.drop()
            return upload, await self._file_of(owner, upload)
        if opened.is_recorded:
            self._keep(upload.code, opened)
        else:
            opened.drop()
        if broken_off:
            if hold.is_unwanted:
                raise Busy("Another request took this upload over.")
            raise ClientDisconnect
        return upload, None

    async def _opened(self, upload: Upload) -> _Open:
        """The part that goes on where the upload is: what is open still, or a new one."""
        opened = self._open.pop(upload.code, None)
        if opened is not None:
            if opened.ends_at == upload.offset_bytes:
                return opened
            opened.drop()
        tail = service.tail_of(self._site, upload)
        rest = upload.announced.size_bytes - upload.offset_bytes

        def create() -> SealedWriter:
            return self._site.blobs.create(now=self._site.clock(), expected_bytes=rest)

        writer = await self._in_thread(create)
        return _Open(writer, upload.offset_bytes - len(tail), tail)

    def _keep(self, code: str, opened: _Open) -> None:
        self._open[code] = opened
        if len(self._open) > _KEPT_OPEN:
            _, oldest = self._open.popitem(last=False)
            oldest.drop()

    async def _record(self, opened: _Open, intake: Intake, upload: Upload, at: int) -> Upload:
        """Make all that was fed durable, up to this byte of the upload."""
        opened.tail = await intake.pause()
        assert opened.ends_at == at, "what was fed is sealed, or in the tail"
        part = await self._in_thread(lambda: self._site.blobs.flush(opened.writer))
        opened.is_recorded = True  # or may be, from now on
        upload = await self._site.db.write_async(
            service.record, self._site, upload, part, opened.tail, at
        )
        self._tell(upload, None)
        return upload

    async def _claim(self, opened: _Open, upload: Upload) -> None:
        """Record a new part before anything of it counts: the housekeeping deletes blobs that
        nobody knows, and nothing can be recorded of bytes whose checksum is not known yet.
        """
        part = await self._in_thread(lambda: self._site.blobs.flush(opened.writer))
        opened.is_recorded = True
        await self._site.db.write_async(service.claim, upload, replace(part, size_bytes=0))

    # --- files ------------------------------------------------------------------------------------

    async def _finish(self, opened: _Open, intake: Intake, owner: User, upload: Upload) -> File:
        """The part is the whole file: it only needs its end."""
        blob = await intake.finish(self._site.blobs)
        return await self._made(owner, upload, blob)

    async def _file_of(self, owner: User, upload: Upload) -> File | None:
        """The file of an upload that is whole, copied together from its parts if it is none yet."""
        if upload.file_code is not None:
            return self._site.db.read(service.file_of, owner, upload)
        site, size = self._site, upload.announced.size_bytes

        def create() -> SealedWriter:
            return site.blobs.create(now=site.clock(), expected_bytes=size)

        intake = Intake(await self._in_thread(create), self._pool, size)
        content = service.content(site, upload)
        try:
            while (piece := await self._in_thread(lambda: next(content, None))) is not None:
                await intake.feed(piece)
            blob = await intake.finish(site.blobs)
        except BaseException:
            await intake.abort()
            raise
        return await self._made(owner, upload, blob)

    async def _made(self, owner: User, upload: Upload, blob: Blob) -> File:
        """Record the file of bytes that are durable."""
        try:
            file, unused = await self._site.db.write_async(service.finish, owner, upload, blob)
        except SimyardError:
            if not self._site.db.read(service.is_part, blob.key):
                await self._delete([blob.key])
            raise
        self._tell(upload, file)
        await self._delete(unused)
        return file

    async def _delete(self, keys: list[str]) -> None:
        """Now; where this process dies first, the housekeeping does it."""

        def delete() -> None:
            for key in keys:
                self._site.blobs.store.delete(key)

        await self._in_thread(delete)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _too_much(upload: Upload) -> TooLarge:
    return TooLarge(f"More arrives than the {upload.announced.size_bytes} bytes announced.")
