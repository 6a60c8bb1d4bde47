"""Uploading, finding, reading, changing and deleting files."""

import codecs
from collections.abc import Generator, Sequence
from pathlib import PurePosixPath

from sqlalchemy import Connection

from simyard.domain.errors import Forbidden, Invalid, NotFound, Refused, TooLarge
from simyard.domain.faults import crash_point
from simyard.domain.files import Blob, File, FileType, base_name
from simyard.domain.lifecycle import State
from simyard.domain.lists import Found
from simyard.domain.users import User
from simyard.service import idempotency, labels, quotas
from simyard.service.idempotency import Once
from simyard.service.site import Site
from simyard.store import files as store
from simyard.store import jobs
from simyard.store.database import Transaction
from simyard.store.files import Within

NAME_LENGTH = 255


def check_name(sent: str, field: str = "file") -> str:
    """The name under which an upload is kept. Raises Invalid at the field."""
    name = base_name(sent)
    if not name:
        raise Invalid.at(field, "The submitted file has no name.")
    if len(name.encode()) > NAME_LENGTH:
        raise Invalid.at(field, f"Ensure this filename has at most {NAME_LENGTH} bytes.")
    return name


def check_size(size_bytes: int, max_bytes: int) -> None:
    if max_bytes and size_bytes > max_bytes:
        raise TooLarge(f"The file is larger than the {max_bytes} bytes that this site takes.")


def record_upload(
    tx: Transaction,
    site: Site,
    owner: User,
    name: str,
    file_type: FileType,
    blob: Blob,
    once: Once | None,
) -> tuple[File, bool]:
    """Make a file of bytes that are durable. Returns it, and whether it is new.

    Where the same request was carried out before, that file is returned and the blob is not used.
    Raises TooLarge where it is more than its owner may store.
    """
    crash_point("upload.blob-stored")
    done = idempotency.already_done(tx.conn, once, "file")
    if done is not None:
        return get_file(tx.conn, owner, done), False
    quotas.room(tx.conn, site, owner).check(blob.size_bytes)
    file = add_file(tx, owner, name, file_type, blob)
    idempotency.note(tx, once, "file", file.code)
    crash_point("upload.recorded")
    tx.after_commit(lambda: crash_point("upload.committed"))
    return file, True


def add_file(
    tx: Transaction,
    owner: User,
    name: str,
    file_type: FileType,
    blob: Blob,
    relative_path: str = "",
) -> File:
    """Put a file into its owner's library, whatever his quota says."""
    path = PurePosixPath(name)
    unique = blob.key.split("/")[-1]
    storage_path = f"user/user_{owner.code}/{path.stem}-{unique}{path.suffix}"
    return store.insert(
        tx.conn,
        owner=owner,
        name=name,
        storage_path=storage_path,
        file_type=file_type,
        blob=blob,
        now=tx.now(),
        relative_path=relative_path,
    )


def get_file(conn: Connection, viewer: User, code: str) -> File:
    """A file of the viewer, or one of a job that he sees. Raises NotFound."""
    file = store.by_code(conn, code)
    if file is None or file.is_trashed:
        raise NotFound
    if file.owner_id != viewer.id and not store.seen_through_job(conn, file, viewer.id):
        raise NotFound
    return file


def shown_file(conn: Connection, viewer: User, code: str) -> File:
    """The same, with its tags and with those who see it."""
    (file,) = store.labelled(conn, [get_file(conn, viewer, code)])
    return file


def _owned(conn: Connection, caller: User, code: str) -> File:
    """A file that the caller may change. Raises NotFound, or Forbidden where he may only look."""
    file = get_file(conn, caller, code)
    if file.owner_id != caller.id:
        raise Forbidden
    return file


def list_files(
    conn: Connection,
    viewer: User,
    *,
    offset: int,
    size: int,
    text: str = "",
    file_type: FileType | None = None,
) -> Found[File]:
    """The viewer's own files, newest first. A text filters by name."""
    if text or file_type is not None:
        within = Within(owner_id=viewer.id)
        return store.search(conn, within, offset=offset, size=size, text=text, file_type=file_type)
    return store.page_of_owner(conn, viewer.id, offset=offset, size=size)


def named_files(conn: Connection, viewer: User, codes: Sequence[str]) -> list[File]:
    """Those of these files that the viewer may name in a job, in this order."""
    found = store.usable(conn, codes, viewer.id)
    return store.labelled(conn, [found[code] for code in dict.fromkeys(codes) if code in found])


def change_file(
    tx: Transaction, caller: User, code: str, *, name: str | None, file_type: FileType | None
) -> File:
    """Change what is not None. The content never changes. Raises NotFound, Forbidden, Invalid."""
    file = _owned(tx.conn, caller, code)
    if name is not None:
        name = check_name(name, "name")
    store.change(tx.conn, file, name=name or file.name, file_type=file_type or file.type)
    return shown_file(tx.conn, caller, code)


def delete_file(tx: Transaction, caller: User, code: str) -> None:
    """Delete a file for good; jobs that name it go on to name it and cannot run again.

    Raises NotFound, Forbidden, or Refused while a job that was submitted has not read it yet.
    """
    file = store.by_code(tx.conn, code)
    if file is None or file.owner_id != caller.id:
        file = _owned(tx.conn, caller, code)
    _refuse_if_needed(tx.conn, file)
    store.delete_file(tx.conn, file, now=tx.now())
    if file.job_id is not None and not file.is_trashed:
        jobs.add_storage(tx.conn, file.job_id, -file.blob.size_bytes)
    crash_point("delete.recorded")
    tx.after_commit(lambda: crash_point("delete.committed"))


# What was laid out is laid out again where its attempt vanishes before anything has started.
_NOT_READ_YET = (State.PENDING, State.QUEUED, State.STAGING, State.SUBMITTING)
_NEEDED = "{name} is an input of job {job}, which has not read it yet."


def _refuse_if_needed(conn: Connection, file: File) -> None:
    job = store.job_naming(conn, file, _NOT_READ_YET)
    if job is not None:
        raise Refused(_NEEDED.format(name=file.name, job=job))


def refuse_if_outputs_are_needed(conn: Connection, job_id: int) -> None:
    """Raises Refused while a job that was submitted has not read an output of this one yet."""
    found = store.job_naming_outputs(conn, job_id, _NOT_READ_YET)
    if found is not None:
        raise Refused(_NEEDED.format(name=found[0], job=found[1]))


def refuse_if_folder_needed(conn: Connection, folder_id: int) -> None:
    """The same for all files of a folder."""
    found = store.named_in_folder(conn, folder_id, _NOT_READ_YET)
    if found is not None:
        name, job = found
        raise Refused(f"{name} is an input of job {job}, which has not read it yet.")


def take_out(tx: Transaction, file: File) -> None:
    """Put a file into the trash. Raises Refused as `delete_file` does. Idempotent."""
    if file.is_trashed:
        return
    _refuse_if_needed(tx.conn, file)
    store.trash(tx.conn, file, now=tx.now())
    if file.job_id is not None:
        jobs.add_storage(tx.conn, file.job_id, -file.blob.size_bytes)


def put_back(tx: Transaction, file: File) -> None:
    """Take a file out of the trash. Idempotent."""
    if not file.is_trashed:
        return
    store.recover(tx.conn, file)
    if file.job_id is not None:
        jobs.add_storage(tx.conn, file.job_id, file.blob.size_bytes)


# --- tags -----------------------------------------------------------------------------------------


def tag_file(tx: Transaction, caller: User, code: str, name: str) -> str:
    """Give a file a tag. Returns it as it is shown. Idempotent."""
    file = _owned(tx.conn, caller, code)
    names, shown = labels.with_tag(shown_file(tx.conn, caller, code).tags, name)
    store.set_tags(tx.conn, file.id, names)
    return shown


def untag_file(tx: Transaction, caller: User, code: str, name: str) -> None:
    """Take a tag away. Idempotent."""
    file = _owned(tx.conn, caller, code)
    present = shown_file(tx.conn, caller, code).tags
    store.set_tags(tx.conn, file.id, labels.without_tag(present, name))


# --- lines ----------------------------------------------------------------------------------------

_LOOK_BYTES = 64 << 10


def lines(site: Site, file: File) -> Generator[list[str]]:
    """The lines of a text file, newlines kept, some at a time; to be closed. Raises Invalid before
    the first where it is no text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with site.blobs.open(file.blob) as source:
        rest, first = "", True
        for part in source.read_range(0, file.blob.size_bytes):
            if first and b"\0" in bytes(part[:_LOOK_BYTES]):
                raise Invalid.at((), "This is not a text file.")
            first = False
            found = (rest + decoder.decode(bytes(part))).split("\n")
            rest = found.pop()
            # A line without an end must not fill the memory.
            if len(rest) > _LONGEST_LINE:
                found.append(rest)
                rest = ""
                yield [*(f"{line}\n" for line in found[:-1]), found[-1]]
            elif found:
                yield [f"{line}\n" for line in found]
        rest += decoder.decode(b"", final=True)
        if rest:
            yield [rest]


_LONGEST_LINE = 8 << 20  # characters
