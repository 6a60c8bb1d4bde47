"""Uploads that go on, and what arrived of them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, Update, delete, func, select, update

from simyard.domain.files import FileType
from simyard.domain.uploads import Announced, Part, Upload
from simyard.store import codes
from simyard.store.schema import AnyRow, blob_deletions, upload_parts, uploads

_LETTERS = 12


def _upload(row: AnyRow) -> Upload:
    return Upload(
        id=row.id,
        code=row.code,
        owner_id=row.owner_id,
        announced=Announced(
            name=row.name,
            relative_path=row.relative_path,
            type=FileType(row.type_id),
            batch=row.batch,
            fingerprint=row.fingerprint,
            size_bytes=row.size_bytes,
        ),
        offset_bytes=row.offset_bytes,
        tail=row.tail,
        expires_at=row.expires_at,
        file_code=row.file_code,
    )


def insert(conn: Connection, owner_id: int, sent: Announced, *, expires_at: datetime) -> Upload:
    code = codes.unused(conn, uploads, _LETTERS)
    conn.execute(
        uploads.insert().values(
            code=code,
            owner_id=owner_id,
            name=sent.name,
            relative_path=sent.relative_path,
            type_id=sent.type.value,
            batch=sent.batch,
            fingerprint=sent.fingerprint,
            size_bytes=sent.size_bytes,
            offset_bytes=0,
            tail=b"",
            expires_at=expires_at,
        )
    )
    found = by_code(conn, code)
    assert found is not None
    return found


def by_code(conn: Connection, code: str) -> Upload | None:
    row = conn.execute(select(uploads).where(uploads.c.code == code)).first()
    return _upload(row) if row else None


def unfinished(
    conn: Connection, owner_id: int, now: datetime, *, batch: str = "", fingerprint: str = ""
) -> list[Upload]:
    """A user's unfinished uploads, the newest first. There are never very many."""
    query = select(uploads).where(
        uploads.c.owner_id == owner_id, uploads.c.file_code.is_(None), uploads.c.expires_at > now
    )
    if batch:
        query = query.where(uploads.c.batch == batch)
    if fingerprint:
        query = query.where(uploads.c.fingerprint == fingerprint)
    return [_upload(row) for row in conn.execute(query.order_by(uploads.c.id.desc()))]


def count_unfinished(conn: Connection, owner_id: int) -> tuple[int, int]:
    """How many uploads of a user are unfinished, and their announced bytes in all."""
    query = select(func.count(), func.coalesce(func.sum(uploads.c.size_bytes), 0)).where(
        uploads.c.owner_id == owner_id, uploads.c.file_code.is_(None)
    )
    count, size = conn.execute(query).one()
    return int(count), int(size)


def parts(conn: Connection, upload_id: int) -> list[Part]:
    """What arrived, in order, but for the tail."""
    query = select(upload_parts).where(upload_parts.c.upload_id == upload_id)
    return [
        Part(key=row.key, wrapped_key=row.wrapped_key, size_bytes=row.size_bytes)
        for row in conn.execute(query.order_by(upload_parts.c.number))
    ]


def go_on(conn: Connection, upload: Upload, *, offset: int, tail: bytes, until: datetime) -> bool:
    """Move an upload on from where it was. Returns False where it is not there any more."""
    values = {"offset_bytes": offset, "tail": tail, "expires_at": until}
    return bool(conn.execute(_as_it_was(upload).values(**values)).rowcount)


def finish(conn: Connection, upload: Upload, file_code: str, *, until: datetime) -> bool:
    """The same: it became a file. Its parts have to be dropped."""
    values = {
        "offset_bytes": upload.announced.size_bytes,
        "tail": b"",
        "expires_at": until,
        "file_code": file_code,
    }
    return bool(conn.execute(_as_it_was(upload).values(**values)).rowcount)


def _as_it_was(upload: Upload) -> Update:
    return update(uploads).where(
        uploads.c.id == upload.id,
        uploads.c.code == upload.code,  # numbers are given again
        uploads.c.offset_bytes == upload.offset_bytes,
        uploads.c.file_code.is_(None),
    )


def keep_part(conn: Connection, upload_id: int, part: Part) -> None:
    """Record a part behind all others, or how long it is by now."""
    known = update(upload_parts).where(upload_parts.c.key == part.key)
    if conn.execute(known.values(size_bytes=part.size_bytes)).rowcount:
        return
    last = select(func.coalesce(func.max(upload_parts.c.number), 0))
    number = conn.scalar(last.where(upload_parts.c.upload_id == upload_id)) or 0
    conn.execute(
        upload_parts.insert().values(
            key=part.key,
            upload_id=upload_id,
            number=number + 1,
            wrapped_key=part.wrapped_key,
            size_bytes=part.size_bytes,
        )
    )


def drop_parts(conn: Connection, upload_id: int, *, keep: str, now: datetime) -> list[str]:
    """Forget the parts; their blobs are to be deleted, but for one that became a file's. Returns
    the keys of these blobs.
    """
    of_upload = upload_parts.c.upload_id == upload_id
    keys = [key for key in conn.scalars(select(upload_parts.c.key).where(of_upload)) if key != keep]
    conn.execute(delete(upload_parts).where(of_upload))
    if keys:
        conn.execute(blob_deletions.insert(), [{"key": key, "asked_at": now} for key in keys])
    return keys


def delete_upload(conn: Connection, upload_id: int, *, now: datetime) -> list[str]:
    """Returns the keys of blobs that are to be deleted with it."""
    keys = drop_parts(conn, upload_id, keep="", now=now)
    conn.execute(delete(uploads).where(uploads.c.id == upload_id))
    return keys


def expired(conn: Connection, now: datetime, *, most: int) -> list[int]:
    query = select(uploads.c.id).where(uploads.c.expires_at <= now)
    return list(conn.scalars(query.order_by(uploads.c.expires_at).limit(most)))


def known_keys(conn: Connection, keys: Sequence[str]) -> set[str]:
    """Which of these blobs are parts."""
    return set(conn.scalars(select(upload_parts.c.key).where(upload_parts.c.key.in_(keys))))
