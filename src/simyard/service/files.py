"""Uploading, finding and reading files."""

from pathlib import PurePosixPath

from sqlalchemy import Connection

from simyard.domain.errors import Invalid, NotFound, TooLarge
from simyard.domain.faults import crash_point
from simyard.domain.files import Blob, File, FileType, base_name
from simyard.domain.users import User
from simyard.service import idempotency
from simyard.service.idempotency import Once
from simyard.store import files as store
from simyard.store import listing
from simyard.store.database import Transaction

NAME_LENGTH = 255


def check_name(sent: str) -> str:
    """The name under which an upload is kept. Raises Invalid."""
    name = base_name(sent)
    if not name:
        raise Invalid.at("file", "The submitted file has no name.")
    if len(name.encode()) > NAME_LENGTH:
        raise Invalid.at("file", f"Ensure this filename has at most {NAME_LENGTH} bytes.")
    return name


def check_size(size_bytes: int, max_bytes: int) -> None:
    if max_bytes and size_bytes > max_bytes:
        raise TooLarge(f"The file is larger than the {max_bytes} bytes that this site takes.")


def record_upload(
    tx: Transaction, owner: User, name: str, file_type: FileType, blob: Blob, once: Once | None
) -> tuple[File, bool]:
    """Make a file of bytes that are durable. Returns it, and whether it is new.

    Where the same request was carried out before, that file is returned and the blob is not used.
    """
    crash_point("upload.blob-stored")
    done = idempotency.already_done(tx.conn, once, "file")
    if done is not None:
        return get_file(tx.conn, owner, done), False
    path = PurePosixPath(name)
    unique = blob.key.split("/")[-1]
    storage_path = f"user/user_{owner.code}/{path.stem}-{unique}{path.suffix}"
    file = store.insert(
        tx.conn,
        owner=owner,
        name=name,
        storage_path=storage_path,
        file_type=file_type,
        blob=blob,
        now=tx.now(),
    )
    idempotency.note(tx, once, "file", file.code)
    crash_point("upload.recorded")
    tx.after_commit(lambda: crash_point("upload.committed"))
    return file, True


def get_file(conn: Connection, viewer: User, code: str) -> File:
    """Raises NotFound, also for somebody else's file."""
    file = store.by_code(conn, code)
    if file is None or file.owner_id != viewer.id:
        raise NotFound
    return file


def list_files(
    conn: Connection,
    viewer: User,
    *,
    offset: int,
    size: int,
    text: str = "",
    file_type: FileType | None = None,
) -> tuple[int, list[File]]:
    """The viewer's files, newest first: count and one page. A text filters by name."""
    if text or file_type is not None:
        return store.search(
            conn, owner_id=viewer.id, offset=offset, size=size, text=text, file_type=file_type
        )
    total = listing.total(conn, listing.files_of(viewer.id))
    return total, store.page_of_owner(conn, viewer.id, offset=offset, size=size)
