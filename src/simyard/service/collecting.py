"""Storing what a run left behind.

Every plain file of the work folder is an output, subject to the job's resource filters. Content
that the job has stored before (an input that was not touched, a file that is there twice) is shown
from the blob that holds it. Blobs are made durable in batches; the files appear in the lists
together with the end of the run, all or none.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

from sqlalchemy import Connection

from simyard.blobs.sealed import SealedWriter
from simyard.domain.errors import NotFound
from simyard.domain.faults import crash_point
from simyard.domain.files import Blob, File, modified
from simyard.domain.jobs import COMPLETED_TEMPLATES, GENERATED_FILES, INPUT_FILES, Job
from simyard.domain.records import dataclass, replace
from simyard.domain.runs import Again, Run
from simyard.engines.protocol import Folder
from simyard.service import staging, workfolder
from simyard.service.inputs import SharedInputs
from simyard.service.site import Site
from simyard.service.workfolder import Found
from simyard.store import events, jobs, runs
from simyard.store import files as store
from simyard.store.database import Transaction
from simyard.store.events import Entry
from simyard.store.files import NewOutput

_SMALL_BYTES = 16 << 10  # content that is looked for before it is sealed; a batch fits into memory
_BATCH_FILES = 500
_BATCH_BYTES = 256 << 20


@dataclass(frozen=True)
class Output:
    path: str  # relative to the work folder
    size_bytes: int
    blob: Blob | int  # stored just now, or the id of a recorded blob
    is_input: bool = False  # it lies there as it was laid out
    mtime_ns: int = 0


@dataclass(frozen=True)
class _Kept:
    """A file to keep. blob: id of the one that is known to hold the same content."""

    found: Found
    blob: int | None
    is_input: bool = False


def collect(site: Site, job: Job, run: Run, *, ran: bool) -> list[Output]:
    """Store the outputs of a run of which nothing is alive, in the order in which lists show them.

    ran: whether its payload ever started; if not, the log is all there is to keep. Safe to repeat:
    what an interrupted call stored and nobody recorded is swept up later.
    """
    assert run.token is not None
    folder = site.engine_of(run).folder(run.token)
    if not folder.root.is_dir():
        return []
    _restore_log(folder)
    study = job.definition.study
    if ran or (study is not None and study.dry_run):
        wanted = _wanted(job, folder)
    else:
        logs = (f for f in workfolder.walk(folder.work) if f.path == staging.LOG_NAME)
        wanted = [_Kept(found, None) for found in logs]
    # An input may have been deleted while the run had it.
    known = [kept.blob for kept in wanted if kept.blob is not None]
    there = site.db.read(store.existing_blobs, known) if known else {}
    gone = {blob for blob in known if not site.shared.is_still(job, blob, there.get(blob))}
    wanted = [replace(k, blob=None) if k.blob in gone else k for k in wanted]
    outputs = list(_store(site, job, folder.work, wanted))
    crash_point("collect.stored")
    return sorted(outputs, key=lambda o: (o.path.casefold(), o.path))


def _restore_log(folder: Folder) -> None:
    """Bring back the log where the run removed it from its work folder, or removed the folder."""
    kept, shown = folder.root / staging.LOG_NAME, folder.work / staging.LOG_NAME
    try:
        log = os.stat(kept)
    except FileNotFoundError:
        return
    with contextlib.suppress(OSError):
        if os.path.samestat(log, os.lstat(shown)) and not os.path.islink(folder.work):
            return
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(folder.work)  # a link or a file that the run put in its place
    folder.work.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.link(kept, shown)


def _wanted(job: Job, folder: Folder) -> list[_Kept]:
    """The files to keep."""
    manifest = staging.read_manifest(folder)
    keep_inputs = job.definition.keeps(INPUT_FILES)
    keep_results = job.definition.keeps(GENERATED_FILES)
    keep_rendered = job.definition.keeps(COMPLETED_TEMPLATES)
    only_rendered = job.definition.study is not None and job.definition.study.dry_run
    wanted: list[_Kept] = []
    for found in _files(folder.work):
        entry = manifest.get(found.path)
        untouched = entry is not None and entry[:3] == [found.size, found.ctime_ns, found.inode]
        rendered = entry is not None and len(entry) > 4
        if untouched and entry is not None:
            keep = keep_rendered if rendered else keep_inputs
        else:
            keep = keep_results or (rendered and keep_rendered)
        if only_rendered:
            keep = rendered
        if keep or found.path == staging.LOG_NAME:
            blob = entry[3] if untouched and entry else None
            wanted.append(_Kept(found, blob, untouched and not rendered))
    return wanted


def _files(work: Path) -> Iterator[Found]:
    """Plain files, and links to plain files of the same folder under the name of the link."""
    links: list[str] = []
    yield from workfolder.walk(work, links=links)
    for path in links:
        if workfolder.leads_inside(work, path):
            target = Path(os.path.realpath(work / path))
            if target.is_file():
                seen = target.stat()
                yield Found(path, seen.st_size, 0, 0, seen.st_mtime_ns)


def _store(site: Site, job: Job, work: Path, wanted: Iterable[_Kept]) -> Iterator[Output]:
    stored: dict[tuple[int, str], Blob | int] = {}
    batch: dict[tuple[int, str], SealedWriter] = {}
    small: dict[tuple[int, str], bytes] = {}  # of the batch too, and not sealed yet
    waiting: list[tuple[_Kept, tuple[int, str]]] = []  # files whose content is in the batch
    size = 0

    def flush() -> Iterator[Output]:
        nonlocal size
        if batch or small:
            found = site.db.read(store.blob_of_content, job.id, [*batch, *small])
            stored.update(found)
        for content in stored.keys() & batch.keys():
            batch.pop(content).abort()
        for content in small.keys() - stored.keys() - batch.keys():
            batch[content] = _sealed(site, small[content])
        for blob in site.blobs.commit(list(batch.values())):
            site.blobs.verify(blob)  # the run's folder is removed on the word of it
            stored[blob.size_bytes, blob.sha512] = blob
        for kept, content in waiting:
            path, at = kept.found.path, kept.found.mtime_ns
            yield Output(path, content[0], stored[content], kept.is_input, at)
        batch.clear()
        small.clear()
        waiting.clear()
        size = 0

    try:
        for kept in wanted:
            found = kept.found
            if kept.blob is not None:
                yield Output(found.path, found.size, kept.blob, mtime_ns=found.mtime_ns)
                continue
            if found.size <= _SMALL_BYTES:
                data = _read_small(work, found)
                if data is None:
                    continue
                content = (len(data), hashlib.sha512(data).hexdigest())
                if content not in stored and content not in small:
                    small[content] = data
                    size += len(data)
            else:
                writer = _seal(site, work, found)
                if writer is None:
                    continue
                content = (writer.size_bytes, writer.sha512)
                if content in stored or content in batch:
                    writer.abort()
                else:
                    batch[content] = writer
                    size += writer.size_bytes
            waiting.append((kept, content))
            if len(waiting) >= _BATCH_FILES or size >= _BATCH_BYTES:
                yield from flush()
        yield from flush()
    except BaseException:
        for writer in batch.values():
            writer.abort()
        raise


def _read_small(work: Path, found: Found) -> bytes | None:
    """The content of a file that was small a moment ago; None where it is gone. Nobody is there who
    writes to it.
    """
    descriptor = _open(work, found)
    if descriptor is None:
        return None
    with open(descriptor, "rb", buffering=0) as source:
        return source.readall()


def _sealed(site: Site, content: bytes) -> SealedWriter:
    """Encrypt this into the store, not yet durable."""
    return _written(site, BytesIO(content).read, len(content))


def _seal(site: Site, work: Path, found: Found) -> SealedWriter | None:
    """Encrypt a file into the store, not yet durable. None where it is gone meanwhile."""
    descriptor = _open(work, found)
    if descriptor is None:
        return None
    with open(descriptor, "rb", buffering=0) as source:
        return _written(site, source.read, found.size)


def _open(work: Path, found: Found) -> int | None:
    try:
        if found.inode:
            return workfolder.open_file(work, found.path)
        # A link that was seen to lead inside.
        return os.open(os.path.realpath(work / found.path), os.O_RDONLY | os.O_NOFOLLOW)
    except (NotFound, OSError):
        return None


def _written(site: Site, read: Callable[[int], bytes], size_bytes: int) -> SealedWriter:
    writer = site.blobs.create(now=site.clock(), expected_bytes=size_bytes)
    try:
        writer.write_all(read)
    except BaseException:
        writer.abort()
        raise
    return writer


def record(
    tx: Transaction,
    shared: SharedInputs,
    job: Job,
    run: Run,
    outputs: Sequence[Output],
    judged: runs.Judged,
) -> bool:
    """Show the outputs in the lists and complete the run, all in one transaction. Returns False,
    and does nothing, where content that was recorded before is gone since: it is to be collected
    again.

    shared: is told as which blobs the inputs of a study's run are stored now, so that those of the
    next runs are not looked at again.
    """
    now = tx.now()
    known = {output.blob for output in outputs if isinstance(output.blob, int)}
    if known and known - store.existing_blobs(tx.conn, known).keys():
        return False
    new = (output.blob for output in outputs if isinstance(output.blob, Blob))
    recorded = store.insert_blobs(tx.conn, new, now=now)
    learned: dict[str, tuple[int, str]] = {}
    rows: list[NewOutput] = []
    folder = storage_path(tx.conn, job, run, "")
    for output in outputs:
        blob_id = output.blob if isinstance(output.blob, int) else recorded[output.blob.key]
        path = workfolder.shown(output.path)
        at = modified(output.mtime_ns)
        rows.append(NewOutput(path, folder + path, blob_id, output.size_bytes, modified_at=at))
        if output.is_input and isinstance(output.blob, Blob):
            learned[output.path] = blob_id, output.blob.key
    if learned and run.inputs is not None and run.restart is None:
        tx.after_commit(lambda: shared.learn(job, learned))
    old: list[File] = []
    if run.restart is not None:
        rows, old = _changed(run, store.outputs_of_run(tx.conn, job.id, run.number), rows)
    store.add_outputs(tx.conn, owner_id=job.owner_id, run=run, outputs=rows, now=now)
    for file in old:  # last: their content may be shown under another path now
        store.supersede(tx.conn, file, now=now)
    runs.set_completed(tx.conn, run, judged, at=now)
    freed = sum(file.blob.size_bytes for file in old)
    jobs.add_storage(tx.conn, job.id, sum(row.size_bytes for row in rows) - freed)
    if rows:
        kept = run.output_count - len(old), run.output_bytes - freed
        tell(tx, replace(run, output_count=kept[0], output_bytes=kept[1]), rows)
    return True


def _changed(
    run: Run, before: Sequence[File], rows: Sequence[NewOutput]
) -> tuple[list[NewOutput], list[File]]:
    """What a restarted run has that is new, and the outputs of before that it replaces. An output
    that was not touched stays in the lists as it is; one that is no longer in the folder too,
    unless the run was done anew.
    """
    there: dict[str, list[File]] = {}
    for file in before:
        there.setdefault(file.relative_path, []).append(file)
    fresh: list[NewOutput] = []
    old: list[File] = []
    for row in rows:
        same_path = there.get(row.relative_path, [])
        if all(file.blob.id != row.blob_id for file in same_path):
            fresh.append(row)
            old += same_path
    if run.restart is not None and run.restart.kind is Again.ANEW and run.started_at is not None:
        now = {row.relative_path for row in rows}
        old += (file for path, files in there.items() if path not in now for file in files)
    return fresh, old


def tell(tx: Transaction, run: Run, outputs: Sequence[NewOutput]) -> None:
    """Write into the journal how many outputs a run has, now that there are these more."""
    count = run.output_count + len(outputs)
    size_bytes = run.output_bytes + sum(output.size_bytes for output in outputs)
    told = {"count": count, "bytes": size_bytes}
    events.append(tx.conn, [Entry("run.files", tx.now(), run.job_id, run.number, told)])


def storage_path(conn: Connection, job: Job, run: Run, path: str) -> str:
    """`path` on the wire of an output (api-v2 reference, section 2.1)."""
    owner = store.owner_code(conn, job.owner_id)
    return f"user/user_{owner}/output/job_{job.code}/run{run.number}/{path}"
