"""Files and the blobs they show."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    type_coerce,
    update,
)

from simyard.domain.files import Blob, DeletedFile, File, FileType, beside
from simyard.domain.lifecycle import State
from simyard.domain.lists import Found
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.domain.trees import Entry, Sums, behind
from simyard.domain.users import User
from simyard.store import codes, counters, listing, runs
from simyard.store.prepared import Prepared, any_of
from simyard.store.schema import (
    AnyRow,
    blob_deletions,
    blobs,
    file_tags,
    files,
    folders,
    job_inputs,
    job_views,
    jobs,
    users,
)

_T = TypeVar("_T")

_COLUMNS = (
    files.c.id,
    files.c.code,
    files.c.owner_id,
    users.c.email,
    files.c.name,
    files.c.relative_path,
    files.c.storage_path,
    files.c.type_id,
    files.c.uploaded_at,
    files.c.run_number,
    files.c.owner_ordinal,
    files.c.job_id,
    files.c.job_ordinal,
    files.c.run_ordinal,
    files.c.trashed_at,
    files.c.modified_at,
    folders.c.code.label("folder"),
    files.c.blob_id,
    blobs.c.key,
    blobs.c.wrapped_key,
    blobs.c.size_bytes,
    blobs.c.md5,
    blobs.c.sha512,
    blobs.c.crc32,
)
_FILES = (
    select(*_COLUMNS)
    .join(blobs, blobs.c.id == files.c.blob_id)
    .join(users, users.c.id == files.c.owner_id)
    .outerjoin(folders, folders.c.id == files.c.folder_id)
)
_LISTED = _FILES.where(files.c.trashed_at.is_(None))


def _file(row: AnyRow) -> File:
    return File(
        id=row.id,
        code=row.code,
        owner_id=row.owner_id,
        owner_email=row.email,
        name=row.name,
        relative_path=row.relative_path,
        storage_path=row.storage_path,
        type=FileType(row.type_id),
        uploaded_at=row.uploaded_at,
        modified_at=row.modified_at,
        run_number=row.run_number,
        job_id=row.job_id,
        folder_code=row.folder,
        is_trashed=row.trashed_at is not None,
        blob=Blob(
            id=row.blob_id,
            key=row.key,
            wrapped_key=row.wrapped_key,
            size_bytes=row.size_bytes,
            md5=row.md5,
            sha512=row.sha512,
            crc32=row.crc32,
        ),
    )


# --- blobs ----------------------------------------------------------------------------------------


_INSERT_BLOBS = Prepared(blobs.insert())
_BLOB_IDS = Prepared(select(blobs.c.id, blobs.c.key).where(any_of(blobs.c.key, "wanted")))


def insert_blobs(conn: Connection, new: Iterable[Blob], *, now: datetime) -> dict[str, int]:
    """Record blobs whose bytes are already durable. Returns their ids, by key."""
    rows = {
        blob.key: {
            "key": blob.key,
            "wrapped_key": blob.wrapped_key,
            "size_bytes": blob.size_bytes,
            "md5": blob.md5,
            "sha512": blob.sha512,
            "crc32": blob.crc32,
            "created_at": now,
        }
        for blob in new
    }
    if not rows:
        return {}
    _INSERT_BLOBS.run_many(conn, list(rows.values()))
    return {row.key: row.id for row in _BLOB_IDS.rows(conn, wanted=list(rows))}


def insert_blob(conn: Connection, blob: Blob, *, now: datetime) -> int:
    """Record a blob whose bytes are already durable. Returns its id."""
    return insert_blobs(conn, [blob], now=now)[blob.key]


_OWNED = exists().where(files.c.blob_id == blobs.c.id, files.c.owner_id == bindparam("owner"))
_NOT_OWNED = Prepared(
    select(func.coalesce(func.sum(blobs.c.size_bytes), 0)).where(
        any_of(blobs.c.id, "wanted"), ~_OWNED
    )
)


def _count_stored(
    conn: Connection, owner_id: int, blob_ids: Iterable[int | None], sign: int
) -> None:
    """Count the content that a user has more (before the files that show it are written) or less
    (once they are gone, and before their blobs are): blobs that no other file of his shows.
    """
    wanted = sorted({blob_id for blob_id in blob_ids if blob_id is not None})
    size = _NOT_OWNED.scalar(conn, wanted=wanted, owner=owner_id) or 0
    counters.add(conn, counters.stored(owner_id), sign * size)


def known_keys(conn: Connection, keys: Sequence[str]) -> set[str]:
    """Which of these blob names are recorded."""
    return set(conn.scalars(select(blobs.c.key).where(blobs.c.key.in_(keys))))


_EXISTING = Prepared(select(blobs.c.id, blobs.c.key).where(any_of(blobs.c.id, "wanted")))


def existing_blobs(conn: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Those of these blobs that are still recorded, with their keys."""
    wanted = sorted(set(ids))
    return {row.id: row.key for row in _EXISTING.rows(conn, wanted=wanted)} if wanted else {}


_BLOBS = Prepared(
    select(
        blobs.c.id,
        blobs.c.key,
        blobs.c.wrapped_key,
        blobs.c.size_bytes,
        blobs.c.md5,
        blobs.c.sha512,
        blobs.c.crc32,
    ).where(any_of(blobs.c.id, "wanted"))
)


def blobs_by_id(conn: Connection, ids: Iterable[int]) -> dict[int, Blob]:
    """Those of these blobs that there are."""
    rows = _BLOBS.rows(conn, wanted=sorted(set(ids)))
    return {row.id: Blob(**row._asdict()) for row in rows}


_SET_CRC32 = Prepared(
    update(blobs)
    .where(blobs.c.id == bindparam("blob"), blobs.c.key == bindparam("name"))
    .values(crc32=bindparam("sum"))
)


def set_crc32(conn: Connection, blob: Blob, crc32: int) -> None:
    """Keep the checksum of a blob that was stored without. Does nothing where it is gone."""
    _SET_CRC32.run(conn, blob=blob.id, name=blob.key, sum=crc32)


def blobs_to_delete(conn: Connection, most: int) -> list[str]:
    return list(conn.scalars(select(blob_deletions.c.key).limit(most)))


def blob_deleted(conn: Connection, key: str) -> None:
    conn.execute(delete(blob_deletions).where(blob_deletions.c.key == key))


# --- files ----------------------------------------------------------------------------------------

_INSERT = files.insert()
_INSERT_OUTPUTS = Prepared(files.insert())  # always with the same columns
_TAKEN = Prepared(select(files.c.code).where(any_of(files.c.code, "wanted")))


def insert(
    conn: Connection,
    *,
    owner: User,
    name: str,
    storage_path: str,
    file_type: FileType,
    blob: Blob,
    now: datetime,
    relative_path: str = "",
) -> File:
    """One uploaded file and its blob."""
    code = codes.unused(conn, files, codes.FILE_LETTERS)
    blob_id = insert_blob(conn, blob, now=now)
    counters.add(conn, counters.stored(owner.id), blob.size_bytes)
    conn.execute(
        files.insert().values(
            code=code,
            owner_id=owner.id,
            owner_ordinal=listing.append(conn, listing.files_of(owner.id)),
            blob_id=blob_id,
            type_id=file_type.value,
            name=name,
            relative_path=relative_path or name,
            storage_path=storage_path,
            uploaded_at=now,
        )
    )
    file = by_code(conn, code)
    assert file is not None
    return file


_OWNER_CODE = Prepared(select(users.c.code).where(users.c.id == bindparam("owner")))


def owner_code(conn: Connection, owner_id: int) -> str:
    return str(_OWNER_CODE.rows(conn, owner=owner_id)[0].code)


@dataclass(frozen=True)
class NewOutput:
    """A file that a run leaves behind, its bytes recorded already."""

    relative_path: str
    storage_path: str
    blob_id: int
    size_bytes: int
    type: FileType = FileType.OUTPUT
    code: str | None = None  # None: any
    modified_at: datetime | None = None


def add_outputs(
    conn: Connection, *, owner_id: int, run: Run, outputs: Sequence[NewOutput], now: datetime
) -> None:
    """Show files of a run in all lists, in this order, and count them."""
    if not outputs:
        return
    count = len(outputs)
    lists = (
        listing.files_of(owner_id),
        listing.outputs_of(run.job_id),
        listing.outputs_of_run(run.job_id, run.number),
    )
    owner_ordinal, job_ordinal, run_ordinal = listing.append_to_all(conn, lists, count)
    _count_stored(conn, owner_id, (output.blob_id for output in outputs), +1)
    _INSERT_OUTPUTS.run_many(
        conn,
        [
            {
                "code": output.code or code,
                "owner_id": owner_id,
                "owner_ordinal": owner_ordinal + i,
                "job_id": run.job_id,
                "run_number": run.number,
                "job_ordinal": job_ordinal + i,
                "run_ordinal": run_ordinal + i,
                "blob_id": output.blob_id,
                "type_id": output.type.value,
                "name": output.relative_path.rsplit("/", 1)[-1],
                "relative_path": output.relative_path,
                "storage_path": output.storage_path,
                "uploaded_at": now,
                "modified_at": output.modified_at,
            }
            for i, (code, output) in enumerate(zip(_fresh_codes(conn, count), outputs, strict=True))
        ],
    )
    size_bytes = sum(output.size_bytes for output in outputs)
    runs.add_outputs(conn, run, count=count, size_bytes=size_bytes)


def _fresh_codes(conn: Connection, count: int) -> set[str]:
    taken: set[str] = set()
    while len(taken) < count:
        fresh = {codes.letters(codes.FILE_LETTERS) for _ in range(count - len(taken))}
        fresh -= {row.code for row in _TAKEN.rows(conn, wanted=sorted(fresh))}
        taken |= fresh
    return taken


_BY_CODE = _FILES.where(files.c.code == bindparam("code"))


def by_code(conn: Connection, code: str) -> File | None:
    """A file, also one in the trash; not one that was deleted."""
    row = conn.execute(_BY_CODE, {"code": code}).first()
    return _file(row) if row else None


_BY_CODES = _FILES.where(files.c.code.in_(bindparam("wanted", expanding=True)))
_SEEN_THROUGH_JOBS = exists().where(
    job_views.c.viewer_id == bindparam("viewer"),
    or_(
        job_views.c.job_id == files.c.job_id,
        job_views.c.job_id.in_(
            # Of jobs of the file's owner: naming somebody else's file hands nothing on.
            select(job_inputs.c.job_id)
            .join(jobs, jobs.c.id == job_inputs.c.job_id)
            .where(job_inputs.c.file_id == files.c.id, jobs.c.owner_id == files.c.owner_id)
            .correlate(files)  # the file asked about, not any: not found by itself two levels down
        ),
    ),
)
_USABLE = _LISTED.where(
    files.c.code.in_(bindparam("wanted", expanding=True)),
    or_(files.c.owner_id == bindparam("viewer"), _SEEN_THROUGH_JOBS),
)
_VISIBLE = select(files.c.id).where(files.c.id == bindparam("file"), _SEEN_THROUGH_JOBS)


def by_codes(conn: Connection, wanted: Iterable[str]) -> dict[str, File]:
    """Those of the wanted files that exist, whoever owns them."""
    found: dict[str, File] = {}
    for part in _parts(sorted(set(wanted))):
        rows = conn.execute(_BY_CODES, {"wanted": part})
        found.update((row.code, _file(row)) for row in rows)
    return found


_INPUTS = Prepared(
    _FILES.join(job_inputs, job_inputs.c.file_id == files.c.id).where(
        job_inputs.c.job_id == bindparam("job")
    )
)


def inputs_of(conn: Connection, job_id: int) -> dict[str, File]:
    """The files that a job names, by code, without those that were deleted since."""
    return {row.code: _file(row) for row in _INPUTS.rows(conn, job=job_id)}


def usable(conn: Connection, wanted: Iterable[str], viewer_id: int) -> dict[str, File]:
    """Those of the wanted files that this user may name in a job: his own, and those of jobs that
    he sees; none in the trash.
    """
    found: dict[str, File] = {}
    for part in _parts(sorted(set(wanted))):
        rows = conn.execute(_USABLE, {"wanted": part, "viewer": viewer_id})
        found.update((row.code, _file(row)) for row in rows)
    return found


def seen_through_job(conn: Connection, file: File, viewer_id: int) -> bool:
    """Whether somebody sees a file because he sees a job that made or names it."""
    return conn.execute(_VISIBLE, {"file": file.id, "viewer": viewer_id}).first() is not None


_OF_RUN = Prepared(
    _LISTED.where(
        files.c.job_id == bindparam("job"),
        files.c.run_number == bindparam("run"),
        files.c.relative_path == bindparam("path"),
    )
    .order_by(files.c.run_ordinal.desc())
    .limit(1)
)


def output_at(conn: Connection, run: Run, path: str) -> File | None:
    """The newest output of a run with this path."""
    rows = _OF_RUN.rows(conn, job=run.job_id, run=run.number, path=path)
    return _file(rows[0]) if rows else None


_DELETED = (
    select(files.c.code, files.c.name, files.c.type_id, files.c.uploaded_at, users.c.email)
    .join(users, users.c.id == files.c.owner_id)
    .where(files.c.code.in_(bindparam("wanted", expanding=True)), files.c.blob_id.is_(None))
)


def deleted(conn: Connection, wanted: Iterable[str]) -> dict[str, DeletedFile]:
    """Those of the wanted files that were deleted while jobs still named them."""
    found: dict[str, DeletedFile] = {}
    for part in _parts(sorted(set(wanted))):
        for code, name, type_id, at, email in conn.execute(_DELETED, {"wanted": part}):
            found[code] = DeletedFile(code, name, FileType(type_id), at, email)
    return found


def change(conn: Connection, file: File, *, name: str, file_type: FileType) -> None:
    relative_path = beside(file.relative_path, name)
    if file.job_id is not None and file.run_number is not None:
        runs.change_outputs(conn, file.job_id, file.run_number, count=0, size_bytes=0)
    conn.execute(
        update(files)
        .where(files.c.id == file.id)
        .values(name=name, relative_path=relative_path, type_id=file_type.value)
    )


def move(conn: Connection, file_ids: Sequence[int], folder_id: int | None) -> None:
    for part in _parts(file_ids):
        conn.execute(update(files).where(files.c.id.in_(part)).values(folder_id=folder_id))


# --- out of the lists and back --------------------------------------------------------------------

_PLACES = select(
    files.c.id,
    files.c.owner_id,
    files.c.owner_ordinal,
    files.c.job_id,
    files.c.run_number,
    files.c.job_ordinal,
    files.c.run_ordinal,
).where(files.c.id == bindparam("file"))


def trash(conn: Connection, file: File, *, now: datetime) -> None:
    """Take a file out of every list. Idempotent."""
    if not file.is_trashed:
        _count(conn, file, -1)
        conn.execute(update(files).where(files.c.id == file.id).values(trashed_at=now))


def recover(conn: Connection, file: File) -> None:
    """Put a file back where it was. Idempotent."""
    if file.is_trashed:
        conn.execute(update(files).where(files.c.id == file.id).values(trashed_at=None))
        _count(conn, file, +1)


def _count(conn: Connection, file: File, sign: int) -> None:
    """Take a file off the books of its lists, or enter it again."""
    row = conn.execute(_PLACES, {"file": file.id}).one()
    lists = [(listing.files_of(row.owner_id), row.owner_ordinal)]
    if row.job_id is not None:
        lists += [
            (listing.outputs_of(row.job_id), row.job_ordinal),
            (listing.outputs_of_run(row.job_id, row.run_number), row.run_ordinal),
        ]
        size = sign * file.blob.size_bytes
        runs.change_outputs(conn, row.job_id, row.run_number, count=sign, size_bytes=size)
    for name, ordinal in lists:
        if sign < 0:
            listing.remove(conn, name, ordinal)
        else:
            listing.put(conn, name, ordinal)


def _in_folder(folder_id: int) -> ColumnElement[bool]:
    return and_(files.c.folder_id == folder_id, files.c.blob_id.is_not(None))


def _count_folder(conn: Connection, owner_id: int, chosen: ColumnElement[bool], sign: int) -> None:
    """Take uploads off the books of their owner's list, or enter them again."""
    chunk = files.c.owner_ordinal // listing.CHUNK
    query = select(chunk, func.count()).where(chosen).group_by(chunk)
    for number, count in conn.execute(query).all():
        name = listing.files_of(owner_id)
        listing.remove(conn, name, number * listing.CHUNK, -sign * count)


def trash_folder(conn: Connection, owner_id: int, folder_id: int, *, now: datetime) -> None:
    """Take all uploads in a folder out of every list."""
    chosen = and_(_in_folder(folder_id), files.c.trashed_at.is_(None))
    _count_folder(conn, owner_id, chosen, -1)
    conn.execute(update(files).where(chosen).values(trashed_at=now))


def recover_folder(conn: Connection, owner_id: int, folder_id: int) -> None:
    """Put all uploads in a folder back where they were."""
    chosen = and_(_in_folder(folder_id), files.c.trashed_at.is_not(None))
    _count_folder(conn, owner_id, chosen, +1)
    conn.execute(update(files).where(chosen).values(trashed_at=None))


def delete_folder(conn: Connection, owner_id: int, folder_id: int, *, now: datetime) -> None:
    """Delete all uploads in a folder for good; jobs that name them go on to name them."""
    chosen = _in_folder(folder_id)
    _count_folder(conn, owner_id, and_(chosen, files.c.trashed_at.is_(None)), -1)
    blob_ids = list(conn.scalars(select(files.c.blob_id).where(chosen).distinct()))
    conn.execute(delete(file_tags).where(file_tags.c.file_id.in_(select(files.c.id).where(chosen))))
    named = exists().where(job_inputs.c.file_id == files.c.id)
    gone = {"blob_id": None, "folder_id": None, "trashed_at": now}
    conn.execute(delete(files).where(chosen, ~named))
    conn.execute(update(files).where(chosen).values(**gone))
    _count_stored(conn, owner_id, blob_ids, -1)
    _drop_blobs(conn, [blob_id for blob_id in blob_ids if blob_id is not None], now=now)


def named_in_folder(
    conn: Connection, folder_id: int, states: Iterable[State]
) -> tuple[str, str] | None:
    """(file name, job code) of a file in a folder that a job in one of these states names."""
    query = (
        select(files.c.name, jobs.c.code)
        .join(job_inputs, job_inputs.c.file_id == files.c.id)
        .join(jobs, jobs.c.id == job_inputs.c.job_id)
        .where(_in_folder(folder_id), jobs.c.state.in_([state.value for state in states]))
        .limit(1)
    )
    row = conn.execute(query).first()
    return (row[0], row[1]) if row else None


def delete_file(conn: Connection, file: File, *, now: datetime) -> None:
    """Delete a file for good. Where jobs name it as an input, they go on to name it; its content
    is gone.
    """
    if not file.is_trashed:
        _count(conn, file, -1)
    conn.execute(delete(file_tags).where(file_tags.c.file_id == file.id))
    if is_named(conn, file):
        gone = {"blob_id": None, "folder_id": None, "trashed_at": now}
        conn.execute(update(files).where(files.c.id == file.id).values(**gone))
    else:
        conn.execute(delete(files).where(files.c.id == file.id))
    _count_stored(conn, file.owner_id, [file.blob.id], -1)
    _drop_blobs(conn, [file.blob.id or 0], now=now)


_NAMED = select(job_inputs.c.job_id).where(job_inputs.c.file_id == bindparam("file")).limit(1)
_NAMING = (
    select(jobs.c.code)
    .join(job_inputs, job_inputs.c.job_id == jobs.c.id)
    .where(
        job_inputs.c.file_id == bindparam("file"),
        jobs.c.state.in_(bindparam("states", expanding=True)),
    )
    .limit(1)
)


_NAMING_OUTPUTS = (
    select(files.c.name, jobs.c.code)
    .join(job_inputs, job_inputs.c.file_id == files.c.id)
    .join(jobs, jobs.c.id == job_inputs.c.job_id)
    .where(
        files.c.job_id == bindparam("job"),
        jobs.c.state.in_(bindparam("states", expanding=True)),
    )
    .limit(1)
)


def is_named(conn: Connection, file: File) -> bool:
    """Whether any job names a file as an input or a script. There may be very many."""
    return conn.execute(_NAMED, {"file": file.id}).first() is not None


def job_naming(conn: Connection, file: File, states: Iterable[State]) -> str | None:
    """The code of a job in one of these states that names a file as an input or a script."""
    wanted = {"file": file.id, "states": [state.value for state in states]}
    code: str | None = conn.scalar(_NAMING, wanted)
    return code


def job_naming_outputs(
    conn: Connection, job_id: int, states: Iterable[State]
) -> tuple[str, str] | None:
    """An output of a job (its name) and a job in one of these states that names it (its code)."""
    wanted = {"job": job_id, "states": [state.value for state in states]}
    row = conn.execute(_NAMING_OUTPUTS, wanted).first()
    return (row.name, row.code) if row else None


def _drop_blobs(conn: Connection, blob_ids: Sequence[int], *, now: datetime) -> None:
    """Forget those of the blobs that no file shows any more; their bytes are to go."""
    shown = exists().where(files.c.blob_id == blobs.c.id)
    for part in _parts(sorted(set(blob_ids))):
        query = select(blobs.c.id, blobs.c.key).where(blobs.c.id.in_(part), ~shown)
        rows = conn.execute(query).all()
        if rows:
            gone = [{"key": row.key, "asked_at": now} for row in rows]
            conn.execute(blob_deletions.insert(), gone)
            conn.execute(delete(blobs).where(blobs.c.id.in_([row.id for row in rows])))


def delete_outputs(conn: Connection, job_id: int, owner_id: int, *, now: datetime) -> None:
    """Take all outputs of a job out of every list; blobs that nothing else shows are to go."""
    mine = files.c.job_id == job_id
    chunk = files.c.owner_ordinal // listing.CHUNK
    listed = select(chunk, func.count()).where(mine, files.c.trashed_at.is_(None)).group_by(chunk)
    for number, count in conn.execute(listed).all():
        listing.remove(conn, listing.files_of(owner_id), number * listing.CHUNK, count)
    listing.drop_outputs(conn, job_id)
    blob_ids = list(conn.scalars(select(files.c.blob_id).where(mine).distinct()))
    of_mine = select(files.c.id).where(mine)
    conn.execute(delete(file_tags).where(file_tags.c.file_id.in_(of_mine)))
    # Other jobs may name some of them.
    named = exists().where(job_inputs.c.file_id == files.c.id, job_inputs.c.job_id != job_id)
    nothing = dict.fromkeys(
        ("blob_id", "folder_id", "job_id", "run_number", "job_ordinal", "run_ordinal")
    )
    conn.execute(update(files).where(mine, named).values(**nothing, trashed_at=now))
    conn.execute(delete(job_inputs).where(job_inputs.c.file_id.in_(of_mine)))
    conn.execute(delete(files).where(mine))
    _count_stored(conn, owner_id, blob_ids, -1)
    _drop_blobs(conn, [blob_id for blob_id in blob_ids if blob_id is not None], now=now)


_OUTPUTS_OF_RUN = _LISTED.where(
    files.c.job_id == bindparam("job"),
    files.c.run_number == bindparam("number"),
    files.c.type_id == FileType.OUTPUT.value,
).order_by(files.c.run_ordinal)
_PATHS_OF_RUN = _OUTPUTS_OF_RUN.with_only_columns(files.c.relative_path).order_by(None)


def outputs_of_run(conn: Connection, job_id: int, run_number: int) -> list[File]:
    """All outputs of a run that are listed, without its snapshots, in the order of the list."""
    found = conn.execute(_OUTPUTS_OF_RUN, {"job": job_id, "number": run_number})
    return [_file(row) for row in found]


def paths_of_run(conn: Connection, job_id: int, run_number: int) -> Iterator[str]:
    """The paths of the same, in no particular order."""
    yield from conn.scalars(_PATHS_OF_RUN, {"job": job_id, "number": run_number})


_modified = func.coalesce(files.c.modified_at, files.c.uploaded_at)


class StoredRow(Protocol):
    """What archives need to know of a file of a run."""

    run_ordinal: int
    code: str
    relative_path: str
    blob_id: int
    size_bytes: int
    crc32: int | None
    sha512: str
    modified: int  # microseconds since 1970


_STORED_OF_RUN = Prepared(
    select(
        files.c.run_ordinal,
        files.c.code,
        files.c.relative_path,
        files.c.blob_id,
        blobs.c.size_bytes,
        blobs.c.crc32,
        blobs.c.sha512,
        type_coerce(_modified, BigInteger).label("modified"),
    )
    .join(blobs, blobs.c.id == files.c.blob_id)
    .where(
        files.c.job_id == bindparam("job"),
        files.c.run_number == bindparam("number"),
        files.c.run_ordinal > bindparam("after"),
        files.c.trashed_at.is_(None),
    )
    .order_by(files.c.run_ordinal)
    .limit(bindparam("most"))
)


def stored_of_run(
    conn: Connection, job_id: int, run_number: int, *, after: int, most: int
) -> list[StoredRow]:
    """The next files that are listed of a run, snapshots too, behind an ordinal and by it."""
    return _STORED_OF_RUN.rows(conn, job=job_id, number=run_number, after=after, most=most)


_OF_TREE = (
    select(  # the columns of an Entry
        files.c.relative_path,
        blobs.c.size_bytes,
        type_coerce(_modified, BigInteger),
        files.c.code,
    )
    .join(blobs, blobs.c.id == files.c.blob_id)
    .where(
        files.c.job_id == bindparam("job"),
        files.c.run_number == bindparam("number"),
        files.c.trashed_at.is_(None),
    )
)
_ALL_OF_TREE = Prepared(_OF_TREE)
_AT_TOP = Prepared(_OF_TREE.where(files.c.relative_path == files.c.name))
_prefix = bindparam("folder", type_=Text())
_IN_FOLDER = Prepared(
    _OF_TREE.where(
        files.c.relative_path > _prefix,  # for the index
        files.c.relative_path < bindparam("behind"),
        files.c.relative_path == _prefix + files.c.name,
    )
)
_folder = func.substr(
    files.c.relative_path, 1, func.length(files.c.relative_path) - func.length(files.c.name)
)
_FOLDERS = Prepared(
    _OF_TREE.with_only_columns(
        _folder.label("folder"),
        func.count().label("count"),
        func.sum(blobs.c.size_bytes).label("size_bytes"),
        func.max(type_coerce(_modified, BigInteger)).label("modified"),
        maintain_column_froms=True,
    ).group_by("folder")
)


def tree_of_run(conn: Connection, job_id: int, run_number: int, folder: str | None) -> list[Entry]:
    """The files that are listed of a run, in no particular order: those in one folder ("" or with
    "/" at its end), or all.
    """
    of_run = {"job": job_id, "number": run_number}
    if folder is None:
        return _ALL_OF_TREE.rows_as(Entry._make, conn, **of_run)
    if not folder:
        return _AT_TOP.rows_as(Entry._make, conn, **of_run)
    place = {"folder": folder, "behind": behind(folder)}
    return _IN_FOLDER.rows_as(Entry._make, conn, **of_run, **place)


def folders_of_run(conn: Connection, job_id: int, run_number: int) -> dict[str, Sums]:
    """Of each folder with files of a run the sums of these, without those of the folders in it."""
    rows = _FOLDERS.rows_as(tuple, conn, job=job_id, number=run_number)
    return {folder: Sums(*sums) for folder, *sums in rows}


def supersede(conn: Connection, file: File, *, now: datetime) -> None:
    """Take an output that is listed from its run because the run has another of its path now. Where
    jobs name it as an input it stays, as a file of its owner; otherwise it is gone.
    """
    if not is_named(conn, file):
        delete_file(conn, file, now=now)
        return
    row = conn.execute(_PLACES, {"file": file.id}).one()
    listing.remove(conn, listing.outputs_of(row.job_id), row.job_ordinal)
    listing.remove(conn, listing.outputs_of_run(row.job_id, row.run_number), row.run_ordinal)
    size = -file.blob.size_bytes
    runs.change_outputs(conn, row.job_id, row.run_number, count=-1, size_bytes=size)
    places = dict.fromkeys(("job_id", "run_number", "job_ordinal", "run_ordinal"))
    conn.execute(update(files).where(files.c.id == file.id).values(**places))


# Of the outputs the newest: those of a study's other runs of the same moment, and a study may have
# millions. All of them are looked at, so they are more the more is looked for.
_NEWEST_MOST = 2000
_NEWEST_EACH = 50
_NEWEST = (
    select(files.c.blob_id)
    .where(files.c.job_id == bindparam("job"))
    .order_by(files.c.job_ordinal.desc())
    .limit(bindparam("newest"))
    .subquery()
)
_OF_JOB = select(_NEWEST.c.blob_id).union_all(
    select(files.c.blob_id)
    .join(job_inputs, job_inputs.c.file_id == files.c.id)
    .where(job_inputs.c.job_id == bindparam("job"))
)
_OF_CONTENT = Prepared(
    select(blobs.c.id, blobs.c.size_bytes, blobs.c.sha512).where(
        any_of(blobs.c.sha512, "wanted"), blobs.c.id.in_(_OF_JOB)
    )
)


def blob_of_content(
    conn: Connection, job_id: int, contents: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], int]:
    """Blobs that already hold these contents (size, sha512) for the job: its inputs, and the newest
    of its outputs.
    """
    newest = min(_NEWEST_MOST, _NEWEST_EACH * len(contents))
    wanted = [sha512 for _, sha512 in contents]
    rows = _OF_CONTENT.rows(conn, job=job_id, wanted=wanted, newest=newest)
    return {(row.size_bytes, row.sha512): row.id for row in rows}


# --- pages ----------------------------------------------------------------------------------------

SEARCH_MOST = 10_000
SEARCH_LENGTH = 255  # characters of what is searched for


def page_of_owner(conn: Connection, owner_id: int, *, offset: int, size: int) -> Found[File]:
    """The owner's files, newest first."""
    name = listing.files_of(owner_id)
    place = listing.place(conn, name, offset, newest_first=True)
    if place is None:
        return Found(listing.total(conn, name), [])
    query = _LISTED.where(files.c.owner_id == owner_id, files.c.owner_ordinal <= place.ordinal)
    query = query.order_by(files.c.owner_ordinal.desc()).offset(place.skip).limit(size)
    return Found(listing.total(conn, name), _files(conn, query))


def page_of_job(conn: Connection, job_id: int, *, offset: int, size: int) -> Found[File]:
    """A job's outputs, by run, then by path without regard to case."""
    name = listing.outputs_of(job_id)
    place = listing.place(conn, name, offset, newest_first=False)
    if place is None:
        return Found(listing.total(conn, name), [])
    query = _LISTED.where(files.c.job_id == job_id, files.c.job_ordinal >= place.ordinal)
    query = query.order_by(files.c.job_ordinal).offset(place.skip).limit(size)
    return Found(listing.total(conn, name), _files(conn, query))


def page_of_run(
    conn: Connection, job_id: int, run_number: int, *, offset: int, size: int
) -> Found[File]:
    """The outputs of one run, by path without regard to case; snapshots as they came."""
    name = listing.outputs_of_run(job_id, run_number)
    place = listing.place(conn, name, offset, newest_first=False)
    if place is None:
        return Found(listing.total(conn, name), [])
    query = _LISTED.where(
        files.c.job_id == job_id,
        files.c.run_number == run_number,
        files.c.run_ordinal >= place.ordinal,
    )
    query = query.order_by(files.c.run_ordinal).offset(place.skip).limit(size)
    return Found(listing.total(conn, name), _files(conn, query))


@dataclass(frozen=True, kw_only=True)
class Within:
    """Where to search: the files of an owner, or the outputs of a job or of one of its runs."""

    owner_id: int | None = None
    job_id: int | None = None
    run_number: int | None = None


def search(
    conn: Connection,
    within: Within,
    *,
    offset: int,
    size: int,
    text: str = "",
    file_type: FileType | None = None,
) -> Found[File]:
    """A filtered page and its count, which is exact up to SEARCH_MOST."""
    query = _LISTED
    column = files.c.relative_path
    if within.owner_id is not None:
        query = query.where(files.c.owner_id == within.owner_id)
        query = query.order_by(files.c.owner_ordinal.desc())
        column = files.c.name
    if within.job_id is not None:
        query = query.where(files.c.job_id == within.job_id).order_by(files.c.job_ordinal)
    if within.run_number is not None:
        query = query.where(files.c.run_number == within.run_number)
    if text:
        query = query.where(column.icontains(text[:SEARCH_LENGTH], autoescape=True))
    if file_type is not None:
        query = query.where(files.c.type_id == file_type.value)
    matches = query.with_only_columns(files.c.id).order_by(None).limit(SEARCH_MOST + 1)
    count = conn.scalar(select(func.count()).select_from(matches.subquery())) or 0
    shown = min(count, SEARCH_MOST)
    found = _files(conn, query.offset(offset).limit(size)) if offset < shown else []
    return Found(shown, found, is_capped=count > SEARCH_MOST)


def page_of_library(
    conn: Connection, owner_id: int, folder_id: int | None, *, offset: int, size: int
) -> Found[File]:
    """The uploads in a folder (None: in the library itself), newest first. The count is exact up
    to SEARCH_MOST.
    """
    query = _LISTED.where(
        files.c.owner_id == owner_id, files.c.folder_id.is_(folder_id), files.c.job_id.is_(None)
    )
    if folder_id is not None:
        query = _LISTED.where(
            files.c.owner_id == owner_id, files.c.folder_id == folder_id, files.c.job_id.is_(None)
        )
    return _capped(conn, query, offset=offset, size=size)


def page_of_trash(conn: Connection, owner_id: int, *, offset: int, size: int) -> Found[File]:
    """The owner's files in the trash, those of folders there too, newest upload first."""
    query = _FILES.where(files.c.owner_id == owner_id, files.c.trashed_at.is_not(None))
    return _capped(conn, query, offset=offset, size=size)


def _capped(conn: Connection, query: Select[Any], *, offset: int, size: int) -> Found[File]:
    matches = query.with_only_columns(files.c.id).limit(SEARCH_MOST + 1)
    count = conn.scalar(select(func.count()).select_from(matches.subquery())) or 0
    rows = query.order_by(files.c.owner_ordinal.desc()).offset(offset).limit(size)
    found = _files(conn, rows) if offset < SEARCH_MOST else []
    return Found(min(count, SEARCH_MOST), found, is_capped=count > SEARCH_MOST)


def _files(conn: Connection, query: Select[Any]) -> list[File]:
    return labelled(conn, [_file(row) for row in conn.execute(query)])


# --- what is said of them -------------------------------------------------------------------------

_TAGS = (
    select(file_tags.c.file_id, file_tags.c.name)
    .where(file_tags.c.file_id.in_(bindparam("wanted", expanding=True)))
    .order_by(file_tags.c.normalized)
)
# Each once: a file may be an input of very many jobs of the same few people.
_seen = (
    select(job_inputs.c.file_id, job_views.c.viewer_id)
    .join(job_views, job_views.c.job_id == job_inputs.c.job_id)
    .join(jobs, jobs.c.id == job_inputs.c.job_id)
    .join(files, files.c.id == job_inputs.c.file_id)
    .where(
        job_inputs.c.file_id.in_(bindparam("wanted", expanding=True)),
        jobs.c.owner_id == files.c.owner_id,
    )
    .distinct()
    .subquery()
)
_VIEWERS_OF_INPUTS = select(_seen.c.file_id, users.c.email, _seen.c.viewer_id).join(
    users, users.c.id == _seen.c.viewer_id
)
_VIEWERS_OF_JOBS = (
    select(job_views.c.job_id, users.c.email, users.c.id.label("viewer_id"))
    .join(users, users.c.id == job_views.c.viewer_id)
    .where(job_views.c.job_id.in_(bindparam("wanted", expanding=True)))
)


def labelled(conn: Connection, found: Sequence[File]) -> list[File]:
    """The same files with their tags and with those who see them beside their owners."""
    tags: dict[int, list[str]] = {}
    viewers: dict[int, dict[str, int]] = {}
    of_jobs: dict[int, dict[str, int]] = {}
    for part in _parts([file.id for file in found]):
        for row in conn.execute(_TAGS, {"wanted": part}):
            tags.setdefault(row.file_id, []).append(row.name)
        for file_id, email, viewer in conn.execute(_VIEWERS_OF_INPUTS, {"wanted": part}):
            viewers.setdefault(file_id, {})[email] = viewer
    job_ids = sorted({file.job_id for file in found if file.job_id is not None})
    for part in _parts(job_ids):
        for job_id, email, viewer in conn.execute(_VIEWERS_OF_JOBS, {"wanted": part}):
            of_jobs.setdefault(job_id, {})[email] = viewer
    if not tags and not viewers and not of_jobs:
        return list(found)
    labelled = []
    for file in found:
        seen = {**viewers.get(file.id, {}), **of_jobs.get(file.job_id or 0, {})}
        others = sorted(email for email, viewer in seen.items() if viewer != file.owner_id)
        labelled.append(replace(file, tags=tuple(tags.get(file.id, ())), shared_with=tuple(others)))
    return labelled


def set_tags(conn: Connection, file_id: int, names: Mapping[str, str]) -> None:
    """Put these tags (normalized name -> name) in the place of all that it has."""
    conn.execute(delete(file_tags).where(file_tags.c.file_id == file_id))
    rows = [{"file_id": file_id, "normalized": k, "name": v} for k, v in names.items()]
    if rows:
        conn.execute(file_tags.insert(), rows)


# --- inputs of jobs -------------------------------------------------------------------------------


def link_inputs(conn: Connection, job_id: int, inputs: Iterable[File]) -> None:
    rows = [{"job_id": job_id, "file_id": file.id} for file in inputs]
    if rows:
        conn.execute(job_inputs.insert(), rows)


def unlink_inputs(conn: Connection, job_id: int) -> None:
    """A job names no files any more; what was kept of deleted ones for its sake only goes too."""
    query = (
        select(files.c.id)
        .join(job_inputs, job_inputs.c.file_id == files.c.id)
        .where(job_inputs.c.job_id == job_id, files.c.blob_id.is_(None))
    )
    husks = list(conn.scalars(query))
    conn.execute(delete(job_inputs).where(job_inputs.c.job_id == job_id))
    named = exists().where(job_inputs.c.file_id == files.c.id)
    for part in _parts(husks):
        conn.execute(delete(files).where(files.c.id.in_(part), ~named))


def _parts(values: Sequence[_T], size: int = 500) -> Iterable[Sequence[_T]]:
    """Lists short enough for one statement's parameters."""
    for i in range(0, len(values), size):
        yield values[i : i + size]
