"""Finding things by a part of their names, among the newest: a search looks at a fixed number of
entries, however many there are.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, select

from simyard.domain.records import dataclass
from simyard.store import files
from simyard.store import rows as row_store
from simyard.store.prepared import Prepared
from simyard.store.schema import blobs
from simyard.store.schema import files as file_table
from simyard.store.schema import jobs as job_table

SCAN_MOST = row_store.SCAN_MOST


@dataclass(frozen=True, kw_only=True)
class FileHit:
    code: str
    name: str
    size_bytes: int
    job: str | None  # code of the job of which it is an output
    run: int | None


_OWN = file_table.c.owner_id == bindparam("owner")
_LISTED = file_table.c.trashed_at.is_(None)
_BOUND = Prepared(
    select(file_table.c.owner_ordinal)
    .where(_OWN)
    .order_by(file_table.c.owner_ordinal.desc())
    .offset(SCAN_MOST - 1)
    .limit(1)
)
_FILES = (
    select(
        file_table.c.code,
        file_table.c.name,
        blobs.c.size_bytes,
        file_table.c.run_number,
        job_table.c.code.label("job"),
    )
    .join(blobs, blobs.c.id == file_table.c.blob_id)
    .outerjoin(job_table, job_table.c.id == file_table.c.job_id)
    .where(_OWN, _LISTED)
)


def own_files(
    conn: Connection, owner_id: int, text: str, *, most: int
) -> tuple[list[FileHit], bool]:
    """The newest files of somebody with a text in their names, and the one that it is the id of;
    and whether all were looked at.
    """
    bound = _BOUND.scalar(conn, owner=owner_id)
    named = _FILES.where(
        file_table.c.name.icontains(text[: files.SEARCH_LENGTH], autoescape=True),
        file_table.c.owner_ordinal >= (bound or 0),
    )
    named = named.order_by(file_table.c.owner_ordinal.desc()).limit(most)
    exact = _FILES.where(file_table.c.code == text)
    found = {
        row.code: FileHit(
            code=row.code,
            name=row.name,
            size_bytes=row.size_bytes,
            job=row.job,
            run=row.run_number,
        )
        for query in (exact, named)
        for row in conn.execute(query, {"owner": owner_id})
    }
    return list(found.values())[:most], bound is None


_PATHS = Prepared(
    select(file_table.c.code, file_table.c.relative_path)
    .where(
        file_table.c.job_id == bindparam("job"),
        file_table.c.run_number == bindparam("run"),
        _LISTED,
    )
    .order_by(file_table.c.run_ordinal)
    .limit(bindparam("most"))
)


def paths(
    conn: Connection, job_id: int, run_number: int, *, most: int
) -> Iterator[tuple[str, str]]:
    """(id, path) of the first outputs of a run."""
    for row in _PATHS.rows(conn, job=job_id, run=run_number, most=most):
        yield row.code, row.relative_path
