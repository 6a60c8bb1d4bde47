"""The folders of libraries."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, select, update

from simyard.domain.files import Folder
from simyard.store import codes
from simyard.store.schema import AnyRow, files, folders

_LETTERS = 7  # those of libraries themselves have six: service/folders.py
_parent = folders.alias("parent")
_FOLDERS = select(
    folders.c.id,
    folders.c.code,
    folders.c.owner_id,
    _parent.c.code.label("parent"),
    folders.c.name,
    folders.c.created_at,
    folders.c.trashed_at,
).outerjoin(_parent, _parent.c.id == folders.c.parent_id)


def _folder(row: AnyRow) -> Folder:
    return Folder(
        id=row.id,
        code=row.code,
        owner_id=row.owner_id,
        parent_code=row.parent,
        name=row.name,
        created_at=row.created_at,
        is_trashed=row.trashed_at is not None,
    )


def insert(
    conn: Connection, *, owner_id: int, parent_id: int | None, name: str, now: datetime
) -> str:
    """Returns the new folder's code."""
    code = codes.unused(conn, folders, _LETTERS)
    row = {"owner_id": owner_id, "parent_id": parent_id, "name": name, "created_at": now}
    conn.execute(folders.insert().values(code=code, **row))
    return code


_BY_CODE = _FOLDERS.where(folders.c.code == bindparam("code"))


def by_code(conn: Connection, code: str) -> Folder | None:
    row = conn.execute(_BY_CODE, {"code": code}).first()
    return _folder(row) if row else None


def _there(owner_id: int, parent_id: int | None) -> ColumnElement[bool]:
    within = (
        folders.c.parent_id.is_(None) if parent_id is None else folders.c.parent_id == parent_id
    )
    return and_(folders.c.owner_id == owner_id, within, folders.c.trashed_at.is_(None))


def inside(conn: Connection, owner_id: int, parent_id: int | None) -> list[Folder]:
    """The folders in a folder (None: in the library itself), by name; none from the trash."""
    query = _FOLDERS.where(_there(owner_id, parent_id)).order_by(folders.c.name, folders.c.id)
    return [_folder(row) for row in conn.execute(query)]


def named(conn: Connection, owner_id: int, parent_id: int | None, name: str) -> int | None:
    """Internal id of the folder of this name in another."""
    query = select(folders.c.id).where(_there(owner_id, parent_id), folders.c.name == name)
    return conn.scalar(query.limit(1))


def count(conn: Connection, owner_id: int, parent_id: int | None) -> int:
    """How many folders are in a folder; a site's limit keeps them few."""
    query = select(func.count()).where(_there(owner_id, parent_id))
    return conn.scalar(query) or 0


def in_trash(conn: Connection, owner_id: int) -> list[Folder]:
    query = _FOLDERS.where(folders.c.owner_id == owner_id, folders.c.trashed_at.is_not(None))
    return [_folder(row) for row in conn.execute(query.order_by(folders.c.name, folders.c.id))]


def set_trashed(conn: Connection, folder: Folder, at: datetime | None) -> None:
    conn.execute(update(folders).where(folders.c.id == folder.id).values(trashed_at=at))


def rename(conn: Connection, folder: Folder, name: str) -> None:
    conn.execute(update(folders).where(folders.c.id == folder.id).values(name=name))


def delete_folder(conn: Connection, folder: Folder) -> None:
    """An empty folder; what still lies in it, in the trash too, moves up to the library."""
    for table, column in ((files, files.c.folder_id), (folders, folders.c.parent_id)):
        nothing: dict[str, Any] = {column.name: None}
        conn.execute(update(table).where(column == folder.id).values(**nothing))
    conn.execute(delete(folders).where(folders.c.id == folder.id))


def children(conn: Connection, folder: Folder) -> list[Folder]:
    """The folders in a folder, in the trash too."""
    query = _FOLDERS.where(folders.c.parent_id == folder.id)
    return [_folder(row) for row in conn.execute(query)]
