"""Lists that stay flat: exact counts and any page of them without counting or skipping rows.

Every list (the jobs that a user sees, his files, a job's outputs) numbers its entries as they
come. `list_heads` keeps the total and the next number, `list_chunks` how many entries are left in
each thousand of numbers. A page is found by walking those sums, then at most one chunk of rows:
a list of a million entries has a thousand sums.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, update

from simyard.store.schema import list_chunks, list_heads

CHUNK = 1000


def jobs_of(viewer_id: int) -> str:
    return f"jobs:{viewer_id}"


def files_of(owner_id: int) -> str:
    return f"files:{owner_id}"


def outputs_of(job_id: int) -> str:
    return f"outputs:{job_id}"


def total(conn: Connection, name: str) -> int:
    row = conn.execute(_HEAD, {"l": name}).first()
    return row.total if row else 0


def append(conn: Connection, name: str, count: int = 1) -> int:
    """Make room for `count` more entries and return the number of the first."""
    head = conn.execute(_HEAD, {"l": name}).first()
    first: int = head.next_ordinal if head else 0
    if head is None:
        conn.execute(_NEW_HEAD, {"list": name, "next_ordinal": count, "total": count})
    else:
        conn.execute(_GROW, {"l": name, "n": count})
    at = first
    while at < first + count:
        chunk = at // CHUNK
        here = min(first + count, (chunk + 1) * CHUNK) - at
        if conn.execute(_ADD, {"l": name, "c": chunk, "n": here}).rowcount == 0:
            conn.execute(_NEW_CHUNK, {"list": name, "chunk": chunk, "total": here})
        at += here
    return first


def remove(conn: Connection, name: str, chunk: int, count: int) -> None:
    """Take entries of one chunk off the books. The caller removes the entries themselves."""
    conn.execute(_SHRINK, {"l": name, "n": count})
    conn.execute(_ADD, {"l": name, "c": chunk, "n": -count})


def drop(conn: Connection, name: str) -> None:
    """Forget a whole list."""
    conn.execute(delete(list_heads).where(list_heads.c.list == name))
    conn.execute(delete(list_chunks).where(list_chunks.c.list == name))


@dataclass(frozen=True)
class Place:
    """Where a page begins: at `ordinal` (inclusive) in reading order, after `skip` entries."""

    ordinal: int
    skip: int  # less than CHUNK


def place(conn: Connection, name: str, offset: int, *, newest_first: bool) -> Place | None:
    """Where the entry at `offset` is found; None beyond the end."""
    order = list_chunks.c.chunk.desc() if newest_first else list_chunks.c.chunk
    rows = conn.execute(
        select(list_chunks.c.chunk, list_chunks.c.total)
        .where(list_chunks.c.list == name, list_chunks.c.total > 0)
        .order_by(order)
    )
    left = offset
    try:
        for chunk, here in rows:
            if left < here:
                first = chunk * CHUNK
                return Place(ordinal=first + CHUNK - 1 if newest_first else first, skip=left)
            left -= here
    finally:
        rows.close()
    return None


_HEAD = select(list_heads.c.total, list_heads.c.next_ordinal).where(
    list_heads.c.list == bindparam("l")
)
_NEW_HEAD = list_heads.insert()
_NEW_CHUNK = list_chunks.insert()
_GROW = (
    update(list_heads)
    .where(list_heads.c.list == bindparam("l"))
    .values(
        next_ordinal=list_heads.c.next_ordinal + bindparam("n"),
        total=list_heads.c.total + bindparam("n"),
    )
)
_SHRINK = (
    update(list_heads)
    .where(list_heads.c.list == bindparam("l"))
    .values(total=list_heads.c.total - bindparam("n"))
)
_ADD = (
    update(list_chunks)
    .where(list_chunks.c.list == bindparam("l"), list_chunks.c.chunk == bindparam("c"))
    .values(total=list_chunks.c.total + bindparam("n"))
)
