"""Files and the blobs they show."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, bindparam, delete, exists, func, select

from simyard.domain.files import Blob, File, FileType
from simyard.domain.users import User
from simyard.store import codes, listing
from simyard.store.schema import AnyRow, blob_deletions, blobs, files, job_inputs, users

_T = TypeVar("_T")

aliased_files = files.alias("others")

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
    files.c.blob_id,
    blobs.c.key,
    blobs.c.wrapped_key,
    blobs.c.size_bytes,
    blobs.c.md5,
    blobs.c.sha512,
)
_FILES = (
    select(*_COLUMNS)
    .join(blobs, blobs.c.id == files.c.blob_id)
    .join(users, users.c.id == files.c.owner_id)
)


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
        run_number=row.run_number,
        blob=Blob(
            id=row.blob_id,
            key=row.key,
            wrapped_key=row.wrapped_key,
            size_bytes=row.size_bytes,
            md5=row.md5,
            sha512=row.sha512,
        ),
    )


# --- blobs ----------------------------------------------------------------------------------------


_INSERT_BLOB = blobs.insert()


def insert_blob(conn: Connection, blob: Blob, *, now: datetime) -> int:
    """Record a blob whose bytes are already durable. Returns its id."""
    result = conn.execute(
        _INSERT_BLOB,
        {
            "key": blob.key,
            "wrapped_key": blob.wrapped_key,
            "size_bytes": blob.size_bytes,
            "md5": blob.md5,
            "sha512": blob.sha512,
            "created_at": now,
        },
    )
    (blob_id,) = result.inserted_primary_key or (0,)
    return int(blob_id)


def known_keys(conn: Connection, keys: Sequence[str]) -> set[str]:
    """Which of these blob names are recorded."""
    return set(conn.scalars(select(blobs.c.key).where(blobs.c.key.in_(keys))))


def existing_blobs(conn: Connection, ids: Iterable[int]) -> set[int]:
    """Which of these blobs are still recorded."""
    found: set[int] = set()
    for part in _parts(sorted(set(ids))):
        found.update(conn.scalars(select(blobs.c.id).where(blobs.c.id.in_(part))))
    return found


def blobs_to_delete(conn: Connection, most: int) -> list[str]:
    return list(conn.scalars(select(blob_deletions.c.key).limit(most)))


def blob_deleted(conn: Connection, key: str) -> None:
    conn.execute(delete(blob_deletions).where(blob_deletions.c.key == key))


# --- files ----------------------------------------------------------------------------------------

_INSERT = files.insert()
_TAKEN = select(files.c.code).where(files.c.code.in_(bindparam("wanted", expanding=True)))


def insert(
    conn: Connection,
    *,
    owner: User,
    name: str,
    storage_path: str,
    file_type: FileType,
    blob: Blob,
    now: datetime,
) -> File:
    """One uploaded file and its blob."""
    code = codes.unused(conn, files, codes.FILE_LETTERS)
    blob_id = insert_blob(conn, blob, now=now)
    conn.execute(
        files.insert().values(
            code=code,
            owner_id=owner.id,
            owner_ordinal=listing.append(conn, listing.files_of(owner.id)),
            blob_id=blob_id,
            type_id=file_type.value,
            name=name,
            relative_path=name,
            storage_path=storage_path,
            uploaded_at=now,
        )
    )
    file = by_code(conn, code)
    assert file is not None
    return file


_OWNER_CODE = select(users.c.code).where(users.c.id == bindparam("owner"))


def owner_code(conn: Connection, owner_id: int) -> str:
    code: str = conn.scalars(_OWNER_CODE, {"owner": owner_id}).one()
    return code


def insert_outputs(
    conn: Connection,
    *,
    owner_id: int,
    job_id: int,
    run_number: int,
    outputs: Sequence[tuple[str, str, int]],
    now: datetime,
) -> None:
    """The files a run left behind: (relative path, storage path, blob id), in listing order."""
    if not outputs:
        return
    owner_ordinal = listing.append(conn, listing.files_of(owner_id), len(outputs))
    job_ordinal = listing.append(conn, listing.outputs_of(job_id), len(outputs))
    taken: set[str] = set()
    while len(taken) < len(outputs):
        fresh = {codes.letters(codes.FILE_LETTERS) for _ in range(len(outputs) - len(taken))}
        for part in _parts(sorted(fresh)):
            fresh -= set(conn.scalars(_TAKEN, {"wanted": part}))
        taken |= fresh
    conn.execute(
        _INSERT,
        [
            {
                "code": code,
                "owner_id": owner_id,
                "owner_ordinal": owner_ordinal + i,
                "job_id": job_id,
                "run_number": run_number,
                "job_ordinal": job_ordinal + i,
                "blob_id": blob_id,
                "type_id": FileType.OUTPUT.value,
                "name": relative_path.rsplit("/", 1)[-1],
                "relative_path": relative_path,
                "storage_path": storage_path,
                "uploaded_at": now,
            }
            for i, (code, (relative_path, storage_path, blob_id)) in enumerate(
                zip(taken, outputs, strict=True)
            )
        ],
    )


_BY_CODE = _FILES.where(files.c.code == bindparam("code"))


def by_code(conn: Connection, code: str) -> File | None:
    row = conn.execute(_BY_CODE, {"code": code}).first()
    return _file(row) if row else None


_BY_CODES = _FILES.where(
    files.c.code.in_(bindparam("wanted", expanding=True)), files.c.owner_id == bindparam("owner")
)


def by_codes(conn: Connection, wanted: Iterable[str], *, owner_id: int) -> dict[str, File]:
    """Those of the wanted files that exist and belong to the owner."""
    found: dict[str, File] = {}
    for part in _parts(sorted(set(wanted))):
        rows = conn.execute(_BY_CODES, {"wanted": part, "owner": owner_id})
        found.update((row.code, _file(row)) for row in rows)
    return found


def delete_outputs(conn: Connection, job_id: int, owner_id: int, *, now: datetime) -> None:
    """Take all outputs of a job out of every list; blobs that nothing else shows are to go."""
    gone = files.c.job_id == job_id
    chunk = files.c.owner_ordinal // listing.CHUNK
    counts = conn.execute(select(chunk, func.count()).where(gone).group_by(chunk)).all()
    for number, count in counts:
        listing.remove(conn, listing.files_of(owner_id), number, count)
    listing.drop(conn, listing.outputs_of(job_id))
    shown = aliased_files.c.blob_id == blobs.c.id
    elsewhere = exists().where(shown, aliased_files.c.job_id.is_distinct_from(job_id))
    orphans = select(blobs.c.id, blobs.c.key).where(
        blobs.c.id.in_(select(files.c.blob_id).where(gone)), ~elsewhere
    )
    rows = conn.execute(orphans).all()
    conn.execute(delete(job_inputs).where(job_inputs.c.file_id.in_(select(files.c.id).where(gone))))
    conn.execute(delete(files).where(gone))
    if rows:
        conn.execute(blob_deletions.insert(), [{"key": row.key, "asked_at": now} for row in rows])
        for part in _parts([row.id for row in rows]):
            conn.execute(delete(blobs).where(blobs.c.id.in_(part)))


_OF_JOB = (
    select(files.c.blob_id)
    .where(files.c.job_id == bindparam("job"))
    .union_all(
        select(files.c.blob_id)
        .join(job_inputs, job_inputs.c.file_id == files.c.id)
        .where(job_inputs.c.job_id == bindparam("job"))
    )
)
_OF_CONTENT = select(blobs.c.id, blobs.c.size_bytes, blobs.c.sha512).where(
    blobs.c.sha512.in_(bindparam("wanted", expanding=True)), blobs.c.id.in_(_OF_JOB)
)


def blob_of_content(
    conn: Connection, job_id: int, contents: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], int]:
    """Blobs that already hold these contents (size, sha512) for the job: inputs and outputs."""
    found: dict[tuple[int, str], int] = {}
    for part in _parts([sha512 for _, sha512 in contents]):
        rows = conn.execute(_OF_CONTENT, {"wanted": part, "job": job_id})
        found.update(((row.size_bytes, row.sha512), row.id) for row in rows)
    return found


# --- pages ----------------------------------------------------------------------------------------

SEARCH_MOST = 10_000


def page_of_owner(conn: Connection, owner_id: int, *, offset: int, size: int) -> list[File]:
    """The owner's files, newest first."""
    place = listing.place(conn, listing.files_of(owner_id), offset, newest_first=True)
    if place is None:
        return []
    query = (
        _FILES.where(files.c.owner_id == owner_id, files.c.owner_ordinal <= place.ordinal)
        .order_by(files.c.owner_ordinal.desc())
        .offset(place.skip)
        .limit(size)
    )
    return [_file(row) for row in conn.execute(query)]


def page_of_job(conn: Connection, job_id: int, *, offset: int, size: int) -> list[File]:
    """A job's outputs, by run, then by path without regard to case."""
    place = listing.place(conn, listing.outputs_of(job_id), offset, newest_first=False)
    if place is None:
        return []
    query = (
        _FILES.where(files.c.job_id == job_id, files.c.job_ordinal >= place.ordinal)
        .order_by(files.c.job_ordinal)
        .offset(place.skip)
        .limit(size)
    )
    return [_file(row) for row in conn.execute(query)]


def page_of_run(
    conn: Connection, job_id: int, run_number: int, *, offset: int, size: int
) -> list[File]:
    """The outputs of one run, by path without regard to case."""
    query = (
        _FILES.where(files.c.job_id == job_id, files.c.run_number == run_number)
        .order_by(files.c.job_ordinal)
        .offset(offset)
        .limit(size)
    )
    return [_file(row) for row in conn.execute(query)]


def search(
    conn: Connection,
    *,
    offset: int,
    size: int,
    owner_id: int | None = None,
    job_id: int | None = None,
    text: str = "",
    file_type: FileType | None = None,
) -> tuple[int, list[File]]:
    """A filtered page and its count; the count is exact up to SEARCH_MOST."""
    query = _FILES
    if owner_id is not None:
        query = query.where(files.c.owner_id == owner_id).order_by(files.c.owner_ordinal.desc())
    if job_id is not None:
        query = query.where(files.c.job_id == job_id).order_by(files.c.job_ordinal)
    if text:
        column = files.c.name if job_id is None else files.c.relative_path
        query = query.where(column.icontains(text, autoescape=True))
    if file_type is not None:
        query = query.where(files.c.type_id == file_type.value)
    matches = query.with_only_columns(files.c.id).order_by(None).limit(SEARCH_MOST)
    count = conn.scalar(select(func.count()).select_from(matches.subquery()))
    rows = conn.execute(query.offset(offset).limit(size))
    return count or 0, [_file(row) for row in rows]


# --- inputs of jobs -------------------------------------------------------------------------------


def link_inputs(conn: Connection, job_id: int, inputs: Iterable[File]) -> None:
    rows = [{"job_id": job_id, "file_id": file.id} for file in inputs]
    if rows:
        conn.execute(job_inputs.insert(), rows)


def unlink_inputs(conn: Connection, job_id: int) -> None:
    conn.execute(delete(job_inputs).where(job_inputs.c.job_id == job_id))


def _parts(values: Sequence[_T], size: int = 500) -> Iterable[Sequence[_T]]:
    """Lists short enough for one statement's parameters."""
    for i in range(0, len(values), size):
        yield values[i : i + size]
