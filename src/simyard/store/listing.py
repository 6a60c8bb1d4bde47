"""Lists that stay flat: exact counts and any page of them without counting or skipping rows.

Every list (the jobs that a user sees, his files, a job's outputs) numbers its entries as they
come. `list_heads` keeps the total and the next number, `list_chunks` how many entries are left in
each thousand of numbers; the row of a thousand comes with its first entry and stays. A page is
found by walking those sums, then at most one chunk of rows: a list of a million entries has a
thousand sums.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, delete, or_, select, update

from simyard.domain.records import dataclass
from simyard.store.prepared import Prepared, any_of
from simyard.store.schema import list_chunks, list_heads

CHUNK = 1000


def jobs_of(viewer_id: int) -> str:
    return f"jobs:{viewer_id}"


def files_of(owner_id: int) -> str:
    return f"files:{owner_id}"


def completed_jobs_of(viewer_id: int) -> str:
    """A part of `jobs_of`, by the same numbers."""
    return f"done:{viewer_id}"


def outputs_of(job_id: int) -> str:
    return f"outputs:{job_id}"


def outputs_of_run(job_id: int, run_number: int) -> str:
    return f"outputs:{job_id}:{run_number}"


def total(conn: Connection, name: str) -> int:
    row = _HEAD.first(conn, l=name)
    return row.total if row else 0


def next_ordinal(conn: Connection, name: str) -> int:
    """Larger than the number of any entry."""
    row = _HEAD.first(conn, l=name)
    return row.next_ordinal if row else 0


def append(conn: Connection, name: str, count: int = 1) -> int:
    """Make room for `count` more entries and return the number of the first."""
    return append_to_all(conn, [name], count)[0]


def append_to_all(conn: Connection, names: Sequence[str], count: int) -> list[int]:
    """The same for several lists at once: the number of the first in each."""
    heads = {row.list: row.next_ordinal for row in _HEADS.rows(conn, wanted=names)}
    _GROW.run_many(conn, [{"l": name, "n": count} for name in names if name in heads])
    new = [name for name in names if name not in heads]
    _NEW_HEAD.run_many(conn, [{"list": n, "next_ordinal": count, "total": count} for n in new])
    firsts = [heads.get(name, 0) for name in names]
    begun, fresh = [], []
    for name, first in zip(names, firsts, strict=True):
        at = first
        while at < first + count:
            chunk = at // CHUNK
            here = min(first + count, (chunk + 1) * CHUNK) - at
            if at == chunk * CHUNK:
                fresh.append({"list": name, "chunk": chunk, "total": here})
            else:
                begun.append({"l": name, "c": chunk, "n": here})
            at += here
    _ADD.run_many(conn, begun)
    _NEW_CHUNK.run_many(conn, fresh)
    return firsts


def remove(conn: Connection, name: str, ordinal: int, count: int = 1) -> None:
    """Take entries off the books whose numbers are in the chunk of this one. The caller removes
    the entries themselves.
    """
    _SHRINK.run(conn, l=name, n=count)
    _ADD.run(conn, l=name, c=ordinal // CHUNK, n=-count)


def put(conn: Connection, name: str, ordinal: int) -> None:
    """Enter what has its number from elsewhere: an entry that was removed before, or one of a list
    that is a part of another.
    """
    if _SHRINK.run(conn, l=name, n=-1) == 0:
        _NEW_HEAD.run(conn, list=name, next_ordinal=0, total=1)
    chunk = ordinal // CHUNK
    if _ADD.run(conn, l=name, c=chunk, n=1) == 0:
        _NEW_CHUNK.run(conn, list=name, chunk=chunk, total=1)


def drop_outputs(conn: Connection, job_id: int) -> None:
    """Forget the lists of a job's outputs: its own and those of its runs."""
    name = outputs_of(job_id)
    for table in (list_heads, list_chunks):
        # ";" is what comes after ":".
        of_runs = and_(table.c.list > f"{name}:", table.c.list < f"{name};")
        conn.execute(delete(table).where(or_(table.c.list == name, of_runs)))


@dataclass(frozen=True)
class Place:
    """Where a page begins: at `ordinal` (inclusive) in reading order, after `skip` entries."""

    ordinal: int
    skip: int  # less than CHUNK


def place(
    conn: Connection, name: str, offset: int, *, newest_first: bool, without: str = ""
) -> Place | None:
    """Where the entry at `offset` is found; None beyond the end.

    without: a list that is a part of this one and whose entries are passed over.
    """
    rows = conn.execute(_CHUNKS[newest_first], {"l": name, "without": without})
    left = offset
    try:
        for chunk, total, part in rows:
            here = total - (part or 0)
            if left < here:
                first = chunk * CHUNK
                return Place(ordinal=first + CHUNK - 1 if newest_first else first, skip=left)
            left -= here
    finally:
        rows.close()
    return None


_part = list_chunks.alias("part")
_chunks = (
    select(list_chunks.c.chunk, list_chunks.c.total, _part.c.total.label("part"))
    .outerjoin(
        _part,
        and_(_part.c.list == bindparam("without"), _part.c.chunk == list_chunks.c.chunk),
    )
    .where(list_chunks.c.list == bindparam("l"), list_chunks.c.total > 0)
)
_CHUNKS = {
    True: _chunks.order_by(list_chunks.c.chunk.desc()),
    False: _chunks.order_by(list_chunks.c.chunk),
}
_HEAD = Prepared(
    select(list_heads.c.total, list_heads.c.next_ordinal).where(list_heads.c.list == bindparam("l"))
)
_HEADS = Prepared(
    select(list_heads.c.list, list_heads.c.next_ordinal).where(any_of(list_heads.c.list, "wanted"))
)
_NEW_HEAD = Prepared(list_heads.insert())
_NEW_CHUNK = Prepared(list_chunks.insert())
_GROW = Prepared(
    update(list_heads)
    .where(list_heads.c.list == bindparam("l"))
    .values(
        next_ordinal=list_heads.c.next_ordinal + bindparam("n"),
        total=list_heads.c.total + bindparam("n"),
    )
)
_SHRINK = Prepared(
    update(list_heads)
    .where(list_heads.c.list == bindparam("l"))
    .values(total=list_heads.c.total - bindparam("n"))
)
_ADD = Prepared(
    update(list_chunks)
    .where(list_chunks.c.list == bindparam("l"), list_chunks.c.chunk == bindparam("c"))
    .values(total=list_chunks.c.total + bindparam("n"))
)
