"""Libraries: the folders that members keep their uploads in, and the trash.

Every member has a library; it is a folder without a row, whose id follows from the member's. What
goes into the trash is in no list and can be recovered; a folder takes all that is in it along.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlalchemy import Connection

from simyard.domain.errors import Forbidden, Invalid, NotFound
from simyard.domain.files import File, FileType, Folder
from simyard.domain.lists import Found
from simyard.domain.records import dataclass
from simyard.domain.users import User
from simyard.service import files as file_service
from simyard.service import idempotency
from simyard.service.idempotency import Once
from simyard.store import files
from simyard.store import folders as store
from simyard.store.database import Transaction

NAME_LENGTH = 255
_DEEPEST = 50
_MOST_INSIDE = 2000  # they are listed together


@dataclass(frozen=True)
class Place:
    """A folder, or a library itself."""

    code: str
    name: str
    folder: Folder | None  # None: the library itself


def library_code(user: User) -> str:
    return f"L{user.code}"


def jobs_code(user: User) -> str:
    return f"J{user.code}"


def place(conn: Connection, viewer: User, code: str) -> Place:
    """One of the viewer's folders. Raises NotFound."""
    if code == library_code(viewer):
        return Place(code, "My Library", None)
    found = store.by_code(conn, code)
    if found is None or found.owner_id != viewer.id or found.is_trashed:
        raise NotFound
    return Place(code, found.name, found)


def contents(
    conn: Connection, viewer: User, code: str, *, offset: int, size: int
) -> Found[Folder | File]:
    """What is in a folder: folders by name, then files, newest first."""
    if code == jobs_code(viewer):
        return Found(0, [])  # jobs are in no folders here
    where = place(conn, viewer, code)
    folder_id = where.folder.id if where.folder else None
    inner = store.inside(conn, viewer.id, folder_id)
    return _both(
        inner,
        lambda start, most: files.page_of_library(
            conn, viewer.id, folder_id, offset=start, size=most
        ),
        offset,
        size,
    )


def trash(conn: Connection, viewer: User, *, offset: int, size: int) -> Found[Folder | File]:
    """What is in the viewer's trash."""
    inner = store.in_trash(conn, viewer.id)
    return _both(
        inner,
        lambda start, most: files.page_of_trash(conn, viewer.id, offset=start, size=most),
        offset,
        size,
    )


def _both(
    inner: Sequence[Folder], page: Callable[[int, int], Found[File]], offset: int, size: int
) -> Found[Folder | File]:
    shown: list[Folder | File] = list(inner[offset : offset + size])
    found = page(max(0, offset - len(inner)), max(1, size - len(shown)))
    if len(shown) < size:
        shown += found.items
    return Found(len(inner) + found.count, shown, found.is_capped)


def create_folder(
    tx: Transaction, owner: User, parent: str, name: str, once: Once | None
) -> tuple[Folder, bool]:
    """A new folder in another. Raises Invalid where the name is taken there, or NotFound."""
    done = idempotency.already_done(tx.conn, once, "folder")
    code = done
    if code is None:
        where = place(tx.conn, owner, parent)
        parent_id = where.folder.id if where.folder else None
        shown = _checked_name(tx.conn, owner, parent_id, name)
        if sum(1 for _ in _way_up(tx.conn, where.folder)) >= _DEEPEST:
            raise Invalid.at("name", f"Folders go {_DEEPEST} deep at most.")
        code = store.insert(
            tx.conn, owner_id=owner.id, parent_id=parent_id, name=shown, now=tx.now()
        )
        idempotency.note(tx, once, "folder", code)
    made = store.by_code(tx.conn, code)
    if made is None:
        raise NotFound
    return made, done is None


def _way_up(conn: Connection, folder: Folder | None) -> Iterator[Folder]:
    while folder is not None:
        yield folder
        folder = store.by_code(conn, folder.parent_code) if folder.parent_code else None


def _checked_name(
    conn: Connection,
    owner: User,
    parent_id: int | None,
    name: str,
    present: Folder | None = None,
) -> str:
    shown = "".join(c for c in name if c.isprintable()).strip()
    if not shown or "/" in shown or shown in (".", ".."):
        raise Invalid.at("name", "This is not a name that a folder can have.")
    if len(shown) > NAME_LENGTH:
        raise Invalid.at("name", f"Ensure this field has no more than {NAME_LENGTH} characters.")
    other = store.named(conn, owner.id, parent_id, shown)
    if other is not None and (present is None or other != present.id):
        raise Invalid.at("name", "A folder with this name is already there.")
    if present is None and store.count(conn, owner.id, parent_id) >= _MOST_INSIDE:
        raise Invalid.at("name", f"A folder has at most {_MOST_INSIDE} folders.")
    return shown


def rename_folder(tx: Transaction, owner: User, code: str, name: str) -> Folder:
    where = place(tx.conn, owner, code)
    if where.folder is None:
        raise Forbidden
    parent = where.folder.parent_code
    above = store.by_code(tx.conn, parent) if parent else None
    shown = _checked_name(tx.conn, owner, above.id if above else None, name, present=where.folder)
    store.rename(tx.conn, where.folder, shown)
    changed = store.by_code(tx.conn, code)
    assert changed is not None
    return changed


def delete_folder(tx: Transaction, owner: User, code: str) -> None:
    """Put a folder with all that is in it into the trash. Raises Forbidden for a library."""
    where = place(tx.conn, owner, code)
    if where.folder is None:
        raise Forbidden
    throw_away(tx, owner, [], [code])


# --- the trash ------------------------------------------------------------------------------------


def throw_away(
    tx: Transaction, owner: User, file_codes: Sequence[str], folder_codes: Sequence[str]
) -> None:
    """Put files and folders into the trash; all of them or, where one cannot be, none."""
    now = tx.now()
    for file in _own_files(tx.conn, owner, file_codes):
        file_service.take_out(tx, file)
    for folder in _own_folders(tx.conn, owner, folder_codes):
        for inner in _tree(tx.conn, folder):
            file_service.refuse_if_folder_needed(tx.conn, inner.id)
            store.set_trashed(tx.conn, inner, now)
            files.trash_folder(tx.conn, owner.id, inner.id, now=now)


def recover(
    tx: Transaction, owner: User, file_codes: Sequence[str], folder_codes: Sequence[str]
) -> None:
    """Bring files and folders back to where they were, with all that is in them."""
    for folder in _own_folders(tx.conn, owner, folder_codes):
        for inner in (*_tree(tx.conn, folder), *_way_up(tx.conn, folder)):
            store.set_trashed(tx.conn, inner, None)
        for inner in _tree(tx.conn, folder):
            files.recover_folder(tx.conn, owner.id, inner.id)
    for file in _own_files(tx.conn, owner, file_codes):
        if file.folder_code:
            for above in _way_up(tx.conn, store.by_code(tx.conn, file.folder_code)):
                store.set_trashed(tx.conn, above, None)
        file_service.put_back(tx, file)


def delete_for_good(
    tx: Transaction, owner: User, file_codes: Sequence[str], folder_codes: Sequence[str]
) -> None:
    """Delete what is in the trash. Raises Invalid for what is not there."""
    chosen = _own_files(tx.conn, owner, file_codes)
    trees = [
        inner
        for folder in _own_folders(tx.conn, owner, folder_codes)
        for inner in _tree(tx.conn, folder)
    ]
    if not all([*(f.is_trashed for f in chosen), *(f.is_trashed for f in trees)]):
        raise Invalid.at((), "Only what is in the trash can be deleted from it.")
    for file in chosen:
        file_service.delete_file(tx, owner, file.code)
    for inner in reversed(trees):
        file_service.refuse_if_folder_needed(tx.conn, inner.id)
        files.delete_folder(tx.conn, owner.id, inner.id, now=tx.now())
        store.delete_folder(tx.conn, inner)


def change_file(
    tx: Transaction,
    owner: User,
    code: str,
    *,
    name: str | None,
    file_type: FileType | None,
    moves: bool = False,
    folder: str | None = None,
) -> File:
    """Change a file's name and type where they are not None; `moves`: and put it into a folder
    (None: the library itself).
    """
    file = file_service.change_file(tx, owner, code, name=name, file_type=file_type)
    if moves:
        files.move(tx.conn, [file.id], _new_place(tx.conn, owner, file, folder))
        file = file_service.shown_file(tx.conn, owner, code)
    return file


def _new_place(conn: Connection, owner: User, file: File, code: str | None) -> int | None:
    """The internal id of the folder that a file is to go to. Raises Invalid."""
    if code is None:
        return None
    if file.job_id is not None:
        raise Invalid.at("currentFolderId", "The output of a job is in no folder of the library.")
    try:
        where = place(conn, owner, code)
    except NotFound:
        message = f'Invalid pk "{code}" - object does not exist.'
        raise Invalid.at("currentFolderId", message) from None
    return where.folder.id if where.folder else None


def _own_files(conn: Connection, owner: User, wanted: Iterable[str]) -> list[File]:
    """Raises NotFound where one is not there or not the caller's."""
    codes = list(dict.fromkeys(wanted))
    found = files.by_codes(conn, codes)
    if any(code not in found or found[code].owner_id != owner.id for code in codes):
        raise NotFound
    return [found[code] for code in codes]


def _own_folders(conn: Connection, owner: User, wanted: Iterable[str]) -> list[Folder]:
    folders = [store.by_code(conn, code) for code in dict.fromkeys(wanted)]
    if any(folder is None or folder.owner_id != owner.id for folder in folders):
        raise NotFound
    return [folder for folder in folders if folder is not None]


def _tree(conn: Connection, folder: Folder) -> list[Folder]:
    """A folder and all below it, outermost first."""
    found = [folder]
    for inner in found:
        found += store.children(conn, inner)
    return found
