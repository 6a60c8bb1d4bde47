"""Snapshots: zip archives of the live folder of an executing run, kept among its outputs.

Asking writes a row; the worker makes what is owed. A crash in between costs nothing: the row is
still there.
"""

import logging
import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

from simyard.domain.errors import (
    Forbidden,
    NotFound,
    Refused,
    SimyardError,
    StorageFull,
    TooLarge,
)
from simyard.domain.faults import crash_point
from simyard.domain.files import Blob, FileType
from simyard.domain.lifecycle import State
from simyard.domain.users import User
from simyard.service import collecting, idempotency, live, quotas, workfolder
from simyard.service.idempotency import Once
from simyard.service.site import Site
from simyard.store import files, jobs, runs
from simyard.store import snapshots as store
from simyard.store.database import Transaction
from simyard.store.files import NewOutput
from simyard.store.snapshots import Snapshot

log = logging.getLogger(__name__)

_STEP_BYTES = 1 << 20
# What a time in a zip can be: 1980 to 2107.
_ZIP_BEGINS, _ZIP_ENDS = 315_532_800, 4_354_819_198
_ENDED = "The run had ended."
_LIVE = (State.RUNNING, State.STOPPING)
_LOOK_SECONDS = 1.0


def ask(
    tx: Transaction, site: Site, caller: User, code: str, number: int, once: Once | None
) -> tuple[str | None, bool]:
    """Ask for an archive of all that is in the run's work folder now. Returns the id of the
    snapshot before, and whether another was asked for: while one is still to be made it is the
    same one.

    Raises NotFound, Forbidden, or Refused where the run is not executing or its owner has more
    than he may store.
    """
    job = jobs.visible(tx.conn, code, caller.id)
    run = runs.by_number(tx.conn, job.id, number) if job else None
    if job is None or run is None:
        raise NotFound
    if job.owner_id != caller.id:
        raise Forbidden
    last = store.last_of(tx.conn, run.id)
    if idempotency.already_done(tx.conn, once, "snapshot") is not None:
        return last, False
    if run.state is not State.RUNNING:
        raise Refused("This run is not executing.")
    owed = store.owed_to(tx.conn, run.id)
    if owed is None:
        quotas.need_room(tx.conn, site, job.owner_id)
    idempotency.note(tx, once, "snapshot", owed or store.ask(tx.conn, run.id, now=tx.now()))
    if owed is None:
        tx.after_commit(site.wake)
    return last, owed is None


class Interrupted(Exception):
    """The server stops: the snapshot is made when it comes back."""


def make_owed(site: Site, is_stopping: Callable[[], bool]) -> None:
    """Make every snapshot that was asked for and is not there yet. One caller at a time.

    Returns at once where is_stopping() says so; what is owed then is made later.
    """
    for asked in site.db.read(store.owed):
        try:
            blob = _make(site, asked, is_stopping)
        except Interrupted:
            return
        except (SimyardError, OSError) as error:
            site.db.write(_failed, asked, str(error))
            continue
        except Exception as error:  # whatever it is must not keep others waiting for ever
            log.exception("snapshot %s could not be made", asked.code)
            site.db.write(_failed, asked, f"{type(error).__name__}: {error}")
            continue
        crash_point("snapshot.stored")
        if not site.db.write(_record, asked, blob):
            site.blobs.store.delete(blob.key)


def _make(site: Site, asked: Snapshot, is_stopping: Callable[[], bool]) -> Blob:
    run = site.db.read(runs.by_id, asked.run_id)
    if run is None or run.state not in _LIVE:
        raise Refused(_ENDED)
    work = live.folder(site, run).work
    looked_at = time.monotonic()
    left = site.unpack_max_bytes  # a sparse file may say that it has any size

    def go_on(more_bytes: int) -> None:
        nonlocal looked_at, left
        left -= more_bytes
        if left < 0:
            raise TooLarge(f"The work folder has more than {site.unpack_max_bytes} bytes.")
        if is_stopping():
            raise Interrupted
        if time.monotonic() > looked_at + _LOOK_SECONDS:
            looked_at = time.monotonic()
            now = site.db.read(runs.by_id, asked.run_id)
            if now is None or now.state not in _LIVE:
                raise Refused(_ENDED)
            if site.blobs.store.free_bytes() == 0:
                raise StorageFull("There is no room left on the server's disk.")

    parts = _archive(work, go_on)
    rest = b""

    def read(size: int) -> bytes:
        nonlocal rest
        while len(rest) < size and (part := next(parts, None)) is not None:
            rest += part
        given, rest = rest[:size], rest[size:]
        return given

    writer = site.blobs.create(now=site.clock())
    try:
        writer.write_all(read)
    except BaseException:
        writer.abort()
        raise
    (blob,) = site.blobs.commit([writer])
    return blob


class _Outlet:
    """What zipfile writes to: bytes that are on their way."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _archive(work: Path, go_on: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of a zip of every plain file below a folder that may change meanwhile. A file that
    vanishes is left out; one that grows is as long as it was when it was reached.
    """
    outlet = _Outlet()
    kind = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(cast("IO[bytes]", outlet), "w", kind, compresslevel=1) as archive:
        for found in workfolder.walk(work):
            try:
                descriptor = workfolder.open_file(work, found.path)
            except NotFound:
                continue
            with open(descriptor, "rb", buffering=0) as source:
                seen = os.fstat(descriptor)
                moment = time.gmtime(min(max(seen.st_mtime, _ZIP_BEGINS), _ZIP_ENDS))[:6]
                entry = zipfile.ZipInfo(workfolder.shown(found.path), moment)
                entry.compress_type = kind
                entry.external_attr = (stat.S_IFREG | stat.S_IMODE(seen.st_mode)) << 16
                left = seen.st_size
                with archive.open(entry, "w", force_zip64=True) as target:
                    while left and (data := source.read(min(_STEP_BYTES, left))):
                        target.write(data)
                        left -= len(data)
                        go_on(len(data))
                        yield outlet.take()
    yield outlet.take()


def _record(tx: Transaction, asked: Snapshot, blob: Blob) -> bool:
    """Show the archive among the run's outputs. Returns False where the run is over by now: what
    was archived may be half of it.
    """
    run = runs.by_id(tx.conn, asked.run_id)
    now = tx.now()
    if run is None or run.state not in _LIVE:
        store.done(tx.conn, [asked.id], failure=_ENDED, now=now)
        return False
    job = jobs.by_id(tx.conn, run.job_id)
    path = f"snapshot-{asked.asked_at:%Y%m%d-%H%M%S}-{asked.code}.zip"
    blob_id = files.insert_blob(tx.conn, blob, now=now)
    output = NewOutput(
        path,
        collecting.storage_path(tx.conn, job, run, path),
        blob_id,
        blob.size_bytes,
        FileType.SNAPSHOT,
        asked.code,
    )
    files.add_outputs(tx.conn, owner_id=job.owner_id, run=run, outputs=[output], now=now)
    jobs.add_storage(tx.conn, job.id, blob.size_bytes)
    collecting.tell(tx, run, [output])
    store.done(tx.conn, [asked.id], failure=None, now=now)
    return True


def _failed(tx: Transaction, asked: Snapshot, failure: str) -> None:
    store.done(tx.conn, [asked.id], failure=failure, now=tx.now())
