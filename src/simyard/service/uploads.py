"""Uploads that go on where they were cut (docs/adr/0034).

What a client was told has arrived is durable: bytes in whole segments of a part, the few behind
them, the tail, in the row itself. A part is written by one process at one time; whatever disturbs
that, another part goes on from the last byte that is recorded.
"""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection

from simyard.blobs.protocol import Bytes
from simyard.domain.errors import Invalid, NotFound, OutOfStep, Problem, Refused, StorageFull
from simyard.domain.faults import crash_point
from simyard.domain.files import Blob, File, FileType, base_name, beside
from simyard.domain.uploads import KEPT, UNFINISHED_MOST, Announced, Part, Upload
from simyard.domain.users import User
from simyard.service import files, idempotency, quotas
from simyard.service.idempotency import Once
from simyard.service.site import Site
from simyard.store import files as file_store
from simyard.store import uploads as store
from simyard.store.database import Transaction

_PATH_LENGTH = 1024
_DEEPEST = 50
_BATCH_LENGTH = 64
_FINGERPRINT_LENGTH = 255


# --- what is announced ----------------------------------------------------------------------------


def announced(sent: Mapping[str, str], size_bytes: int) -> Announced:
    """An upload as a client describes it; names that mean nothing here are passed over. Raises
    Invalid with all that is wrong.
    """
    problems: list[Problem] = []
    name, path, kind = "", "", FileType.INPUT
    try:
        path = _relative_path(sent.get("relativePath", ""))
        wanted = sent.get("filename") or path
        if not wanted:
            raise Invalid.at("filename", "This field is required.")
        name = files.check_name(wanted, "filename")
    except Invalid as error:
        problems += error.problems
    text = sent.get("typeId", "")
    if text:
        try:
            kind = FileType(int(text) if text.isascii() and text.isdigit() else 0)
        except ValueError:
            problems.append(Problem(("typeId",), f'"{text:.20}" is not a valid choice.'))
    for field, most in (("batch", _BATCH_LENGTH), ("fingerprint", _FINGERPRINT_LENGTH)):
        text = sent.get(field, "")
        if len(text) > most or not text.isprintable():
            problems.append(Problem((field,), f"Give at most {most} printable characters."))
    if problems:
        raise Invalid(problems)
    return Announced(
        name=name,
        relative_path=beside(path, name),
        type=kind,
        batch=sent.get("batch", ""),
        fingerprint=sent.get("fingerprint", ""),
        size_bytes=size_bytes,
    )


def _relative_path(sent: str) -> str:
    """A path that stays below where it begins, with slashes, each part fit for a name."""
    parts = sent.replace("\\", "/").strip("/").split("/") if sent else []
    names = [base_name(part) for part in parts]
    if len(sent.encode()) > _PATH_LENGTH or len(parts) > _DEEPEST:
        message = f"Give a path of at most {_PATH_LENGTH} bytes and {_DEEPEST} folders."
        raise Invalid.at("relativePath", message)
    if not all(names) or any(len(name.encode()) > files.NAME_LENGTH for name in names):
        raise Invalid.at("relativePath", "Give a path of plain names, without `.` and `..`.")
    return "/".join(names)


def create(
    tx: Transaction, site: Site, owner: User, sent: Announced, once: Once | None
) -> tuple[Upload, bool]:
    """Promise room for a file. Returns the upload, and whether it is new (False: the same request
    came before). Raises TooLarge, StorageFull, or Refused where too many are unfinished.
    """
    done = idempotency.already_done(tx.conn, once, "upload")
    if done is not None:
        return get(tx.conn, site, owner, done), False
    check_room(tx.conn, site, owner, sent.size_bytes)
    count, _ = store.count_unfinished(tx.conn, owner.id)
    if count >= UNFINISHED_MOST:
        raise Refused(
            f"{count} of your uploads are unfinished, and no more may be. Finish or delete some."
        )
    upload = store.insert(tx.conn, owner.id, sent, expires_at=tx.now() + KEPT)
    idempotency.note(tx, once, "upload", upload.code)
    return upload, True


def check_room(conn: Connection, site: Site, owner: User, size_bytes: int) -> None:
    """Raises TooLarge or StorageFull where a file of this size will not be taken."""
    files.check_size(size_bytes, site.max_upload_bytes)
    quotas.room(conn, site, owner).check(size_bytes)
    free = site.blobs.store.free_bytes()
    if free is not None and free <= size_bytes:
        raise StorageFull("There is no room left for this file on the server's disk.")


# --- looking --------------------------------------------------------------------------------------


def get(conn: Connection, site: Site, owner: User, code: str) -> Upload:
    """One of the owner's uploads. Raises NotFound, also where it has expired."""
    upload = store.by_code(conn, code)
    if upload is None or upload.owner_id != owner.id or upload.expires_at <= site.clock():
        raise NotFound
    return upload


def file_of(conn: Connection, owner: User, upload: Upload) -> File | None:
    """What an upload became. Raises NotFound where that was deleted."""
    return None if upload.file_code is None else files.get_file(conn, owner, upload.file_code)


def unfinished(
    conn: Connection, site: Site, owner: User, *, batch: str = "", fingerprint: str = ""
) -> list[Upload]:
    """The owner's unfinished uploads, the newest first."""
    now = site.clock()
    return store.unfinished(conn, owner.id, now, batch=batch, fingerprint=fingerprint)


_ELSEWHERE = "This upload went on, or was deleted, meanwhile."

# --- bytes ----------------------------------------------------------------------------------------


def tail_of(site: Site, upload: Upload) -> bytes:
    """The bytes behind the parts."""
    if not upload.tail:
        return b""
    return site.blobs.open_tail(upload.tail, _place(upload, upload.offset_bytes))


def record(
    tx: Transaction, site: Site, upload: Upload, part: Part, tail: bytes, offset: int
) -> Upload:
    """So many bytes are durable: `part`, the newest, is as long as it says, and the tail follows.

    Raises OutOfStep where the upload is not any more as it was.
    """
    crash_point("tus.part-flushed")
    sealed = site.blobs.seal_tail(tail, _place(upload, offset)) if tail else b""
    if not store.go_on(tx.conn, upload, offset=offset, tail=sealed, until=tx.now() + KEPT):
        raise OutOfStep(_ELSEWHERE)
    store.keep_part(tx.conn, upload.id, part)
    crash_point("tus.part-recorded")
    tx.after_commit(lambda: crash_point("tus.part-committed"))
    found = store.by_code(tx.conn, upload.code)
    assert found is not None
    return found


def claim(tx: Transaction, upload: Upload, part: Part) -> None:
    """A part is the upload's although nothing in it counts yet. Raises OutOfStep."""
    if store.by_code(tx.conn, upload.code) != upload:
        raise OutOfStep(_ELSEWHERE)
    store.keep_part(tx.conn, upload.id, part)


def _place(upload: Upload, offset: int) -> str:
    return f"{upload.code}/{offset}"


def content(site: Site, upload: Upload) -> Iterator[Bytes]:
    """All that has arrived, to be read in threads."""
    for part in site.db.read(store.parts, upload.id):
        if part.size_bytes:
            with site.blobs.open_part(part) as source:
                yield from source.read_range(0, part.size_bytes)
    yield tail_of(site, upload)


def finish(tx: Transaction, owner: User, upload: Upload, blob: Blob) -> tuple[File, list[str]]:
    """Make the file of an upload whose bytes are whole and durable in this blob. Returns it, and
    the keys of blobs that are not needed any more.

    Its quota was looked at when it was announced. Raises OutOfStep where the upload is not any more
    as it was.
    """
    crash_point("tus.blob-stored")
    sent = upload.announced
    file = files.add_file(tx, owner, sent.name, sent.type, blob, sent.relative_path)
    if not store.finish(tx.conn, upload, file.code, until=tx.now() + KEPT):
        raise OutOfStep(_ELSEWHERE)
    unused = store.drop_parts(tx.conn, upload.id, keep=blob.key, now=tx.now())
    crash_point("tus.recorded")
    tx.after_commit(lambda: crash_point("tus.committed"))
    return file, unused


def is_part(conn: Connection, key: str) -> bool:
    """Whether a blob is recorded as part of an upload."""
    return bool(store.known_keys(conn, [key])) or bool(file_store.known_keys(conn, [key]))


# --- the end --------------------------------------------------------------------------------------


def terminate(tx: Transaction, site: Site, owner: User, code: str) -> list[str]:
    """Forget an upload and what arrived of it; the file that it became stays. Returns the keys of
    blobs that are not needed any more. Raises NotFound.
    """
    return store.delete_upload(tx.conn, get(tx.conn, site, owner, code).id, now=tx.now())


def forget_expired(tx: Transaction, most: int) -> bool:
    """Forget some uploads that nobody went on with. Returns whether there were as many."""
    found = store.expired(tx.conn, tx.now(), most=most)
    for upload_id in found:
        store.delete_upload(tx.conn, upload_id, now=tx.now())
    return len(found) == most
