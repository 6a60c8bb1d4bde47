"""Finding a thing by its name or id, and one file in every run of a study."""

from fnmatch import fnmatchcase

from sqlalchemy import Connection

from simyard.domain.catalogue import Analysis, Catalogue
from simyard.domain.errors import Invalid, NotFound, Refused
from simyard.domain.files import File
from simyard.domain.records import dataclass
from simyard.domain.rows import Position, RowFilter
from simyard.domain.users import User
from simyard.service import moves
from simyard.store import files, jobs, runs, users
from simyard.store import rows as row_store
from simyard.store import searching as store
from simyard.store.rows import Entry, Shown
from simyard.store.searching import FileHit

HITS_MOST = 5  # of each kind
GALLERY_MOST = 200  # runs of a page
_PATH_LENGTH = 1000
_PATHS_MOST = 20_000  # that are looked at for one page


@dataclass(frozen=True, kw_only=True)
class JobHit:
    code: str
    name: str
    status: str
    is_study: bool


@dataclass(frozen=True, kw_only=True)
class Hits:
    jobs: list[JobHit]
    studies: list[JobHit]
    files: list[FileHit]
    analyses: list[Analysis]
    members: list[User]
    is_partial: bool  # there are more jobs or files than were looked at


def search(
    conn: Connection, catalogue: Catalogue, viewer: User, text: str, *, members: bool
) -> Hits:
    """The first of each kind with a text in their names, without regard to case; what has it as its
    id comes before them. members: whether those are looked through too.
    """
    page = row_store.page(
        conn,
        viewer.id,
        RowFilter(text=text),
        Position(),
        owner_id=None,
        newest_first=True,
        size=4 * HITS_MOST,
    )
    exact = list(row_store.by_codes(conn, viewer.id, [text]).values())
    every = _hits(conn, [*exact, *(entry for entry in page.entries if entry not in exact)])
    found, all_files = store.own_files(conn, viewer.id, text, most=HITS_MOST)
    wanted = text.casefold()
    everybody = users.every(conn) if members else []
    return Hits(
        jobs=every[:HITS_MOST],
        studies=[hit for hit in every if hit.is_study][:HITS_MOST],
        files=found,
        analyses=[
            analysis
            for analysis in catalogue.analyses
            if wanted in analysis.name.casefold() or wanted in analysis.code.casefold()
        ][:HITS_MOST],
        members=[
            user
            for user in everybody
            if user.is_active and (wanted in user.email or wanted in user.full_name.casefold())
        ][:HITS_MOST],
        is_partial=page.is_partial or not page.is_exact or not all_files,
    )


def _hits(conn: Connection, entries: list[Entry]) -> list[JobHit]:
    def is_study(shown: Shown) -> bool:
        study = shown.definition.study
        return study is not None and not study.is_plain

    return [
        JobHit(code=each.code, name=each.name, status=each.status, is_study=is_study(each))
        for each in row_store.shown(conn, [entry.job_id for entry in entries], moves.JOB)
    ]


# --- galleries ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GalleryRun:
    number: int
    file: File | None


def gallery(
    conn: Connection, viewer: User, code: str, pattern: str, *, after: int, size: int
) -> tuple[list[GalleryRun], int | None]:
    """The first output that fits, of each run behind a number; and the number to go on behind.
    pattern: of the path, or of the name where it has no slash.

    Raises NotFound, Invalid, or Refused for a job that is no study.
    """
    job = jobs.visible(conn, code, viewer.id)
    if job is None:
        raise NotFound
    if job.definition.study is None or job.definition.study.is_plain:
        raise Refused("This job is no study: it has a single run.")
    if not pattern:
        raise Invalid.at("path", "This field is required.")
    if len(pattern) > _PATH_LENGTH:
        message = f"Ensure this field has no more than {_PATH_LENGTH} characters."
        raise Invalid.at("path", message)
    total, left = runs.count(conn, job.id), _PATHS_MOST
    last = min(after + size, total)
    found: dict[int, str | None] = {}
    for number in range(after + 1, last + 1):
        every = list(store.paths(conn, job.id, number, most=_PATHS_MOST))
        found[number] = next((file for file, path in every if _fits(path, pattern)), None)
        left -= len(every)
        if left <= 0:
            last = number
            break
    known = files.by_codes(conn, filter(None, found.values()))
    shown = [GalleryRun(number, known.get(file or "")) for number, file in found.items()]
    return shown, last if last < total else None


def _fits(path: str, pattern: str) -> bool:
    name = path if "/" in pattern else path.rsplit("/", 1)[-1]
    return path == pattern or fnmatchcase(name, pattern)
