"""Archives of what a job's runs have left behind: nothing of them is written down.

What was chosen stands in the id itself, which only this installation can make. The archive is laid
out from the rows of the files whenever it is asked for, and its bytes are made while they leave:
so a download may go on after any crash, and what the caller may see is asked each time.
"""

import binascii
import contextlib
import hashlib
import hmac
import zlib
from array import array
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Generator, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from simyard.domain.errors import (
    Damaged,
    Invalid,
    NotFound,
    Problem,
    Refused,
    SimyardError,
)
from simyard.domain.files import Blob
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.trees import PATTERN_LENGTH, is_glob
from simyard.domain.users import User
from simyard.domain.zips import Layout, Names, Rules
from simyard.service import trees
from simyard.service.site import Site
from simyard.store import files as store
from simyard.store import jobs, runs
from simyard.store.database import Transaction

_MOST_RULES = 500
_RULE_LENGTH = 4096
_MOST_GLOBS = 50
_MOST_RUNS = 500
_LONGEST_ID = 6000  # proxies take so much of a URL
_DAYS = 7
_MOST_FILES = 250_000  # of an archive: 150 bytes of memory each while it is sent
_BLOBS_AT_ONCE = 500
_STEP_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is in an archive."""

    rules: Rules
    runs: tuple[int, ...] = ()  # empty: all that are at their end
    expires_at: datetime


class _Written(msgspec.Struct, array_like=True):
    """A selection as it stands in an id."""

    job: str
    expires: int  # seconds since 1970
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    runs: tuple[int, ...]


_written = msgspec.json.Decoder(_Written)


def select(
    site: Site, job: str, include: Sequence[str], exclude: Sequence[str], numbers: Sequence[int]
) -> tuple[str, Selection]:
    """An id of these rules for a job, and what it means. Raises Invalid."""
    _check(include, exclude, numbers)
    selection = Selection(
        rules=Rules(tuple(include), tuple(exclude)),
        runs=tuple(sorted(set(numbers))),
        expires_at=site.clock().replace(microsecond=0) + timedelta(days=_DAYS),
    )
    written = _Written(
        job,
        int(selection.expires_at.timestamp()),
        selection.rules.include,
        selection.rules.exclude,
        selection.runs,
    )
    packed = zlib.compress(msgspec.json.encode(written), 9)
    text = urlsafe_b64encode(packed).decode().rstrip("=")
    code = site.keyring.made_key("archive", text) + text
    if len(code) > _LONGEST_ID:
        raise Invalid.at("include", "These are too many rules: choose whole folders, or use globs.")
    return code, selection


def _check(include: Sequence[str], exclude: Sequence[str], numbers: Sequence[int]) -> None:
    problems = []
    for name, rules in ("include", include), ("exclude", exclude):
        if len(rules) > _MOST_RULES:
            problems.append(Problem((name,), f"There may be {_MOST_RULES} rules."))
        elif sum(map(is_glob, rules)) > _MOST_GLOBS:
            problems.append(Problem((name,), f"There may be {_MOST_GLOBS} globs."))
        for i, rule in enumerate(rules[:_MOST_RULES]):
            if not rule.strip("/") or len(rule) > _RULE_LENGTH:
                problems.append(Problem((name, i), "Give a file, a folder or a glob."))
            elif is_glob(rule) and len(rule) > PATTERN_LENGTH:
                said = f"Ensure this has at most {PATTERN_LENGTH} characters."
                problems.append(Problem((name, i), said))
    if len(numbers) > _MOST_RUNS:
        problems.append(Problem(("runs",), f"There may be {_MOST_RUNS} runs."))
    if problems:
        raise Invalid(problems)


def selected(site: Site, job: str, code: str) -> Selection:
    """What the id of an archive means. Raises NotFound where it is not one of this job, or too
    old.
    """
    signature, text = code[:40], code[40:]
    if not hmac.compare_digest(site.keyring.made_key("archive", text).encode(), signature.encode()):
        raise NotFound
    try:
        written = _written.decode(zlib.decompress(urlsafe_b64decode(text + "==")))
    except (binascii.Error, zlib.error, msgspec.DecodeError):  # of another release
        raise NotFound from None
    expires_at = datetime.fromtimestamp(written.expires, site.clock().tzinfo)
    if written.job != job or expires_at <= site.clock():
        raise NotFound
    rules = Rules(written.include, written.exclude)
    return Selection(rules=rules, runs=written.runs, expires_at=expires_at)


# --- laying it out --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archive:
    """An archive as it would be now."""

    name: str
    layout: Layout
    etag: str
    blobs: "array[int]"  # of each entry the id of its blob
    marks: "array[int]"  # and the beginning of its sha512: ids may come again

    def __len__(self) -> int:
        return len(self.layout)


def lay_out(site: Site, viewer: User, code: str, selection: Selection) -> Archive:
    """The archive of what was chosen of a job. Reads the rows of all its files: call it in a
    thread.

    Raises NotFound, Invalid where nothing is chosen or a run is not at its end, and Refused for too
    many files.
    """
    job, numbers, is_study = site.db.read(_runs, viewer, code, selection)
    layout, names, chosen = Layout(), Names(), selection.rules.chooser()
    blobs, marks = array("q"), array("Q")
    digest = hashlib.sha256()
    for number in numbers:
        folder = f"run{number}/" if is_study else ""
        for row in trees.stored(site, job.id, number):
            if not chosen(row.relative_path):
                continue
            if len(layout) == _MOST_FILES:
                raise Refused(f"These are more than {_MOST_FILES} files: choose fewer of them.")
            name = names.of(folder + row.relative_path)
            layout.add(name, row.size_bytes, row.crc32, row.modified)
            blobs.append(row.blob_id)
            marks.append(_mark(row.sha512))
            digest.update(f"{name}\0{row.size_bytes} {row.modified} {row.sha512}\n".encode())
    if not len(layout):
        raise Invalid.at("include", "No stored file is chosen.")
    layout.close()
    return Archive(_name(job), layout, digest.hexdigest()[:32], blobs, marks)


def _runs(
    conn: Connection, viewer: User, code: str, selection: Selection
) -> tuple[Job, Sequence[int], bool]:
    """The job, the numbers of the runs whose files are meant, and whether it has several."""
    job = jobs.visible(conn, code, viewer.id)
    if job is None:
        raise NotFound
    is_study = runs.count(conn, job.id) > 1
    if not selection.runs:
        return job, runs.completed_numbers(conn, job.id), is_study
    there = {run.number: run for run in runs.by_numbers(conn, job.id, selection.runs)}
    for number in selection.runs:
        if number not in there:
            raise Invalid.at("runs", f"There is no run {number}.")
        if there[number].completed_at is None:
            raise Invalid.at("runs", f"Run {number} is not at its end: nothing of it is stored.")
    return job, selection.runs, is_study


def _mark(sha512: str) -> int:
    return int(sha512[:16], 16)


def _name(job: Job) -> str:
    name = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in job.definition.name)
    return f"{name[:100]}-{job.code}.zip"


# --- its bytes ------------------------------------------------------------------------------------


def content(site: Site, archive: Archive, start: int, stop: int) -> Generator[bytes | memoryview]:
    """The bytes start <= n < stop of an archive. Raises Damaged where a file was deleted since it
    was laid out. Reads files: in threads.
    """
    layout, blobs = archive.layout, _Blobs(site, archive)
    for entry, is_content, first, last in layout.spans(start, stop):
        if entry is None:
            for unknown in sorted(layout.unknown):
                layout.set_crc32(unknown, _taken(site, blobs.of(unknown)))
            for at in range(first, last, _STEP_BYTES):
                yield layout.end(at, min(at + _STEP_BYTES, last))
        elif is_content:
            with site.blobs.open(blobs.of(entry)) as source:
                yield from source.read_range(first, last)
        else:
            if entry in layout.unknown:
                layout.set_crc32(entry, _taken(site, blobs.of(entry)))
            yield layout.header(entry)[first:last]


class _Blobs:
    """The blobs of an archive's entries, read some at a time."""

    def __init__(self, site: Site, archive: Archive) -> None:
        self._site = site
        self._archive = archive
        self._near: dict[int, Blob] = {}  # by id

    def of(self, entry: int) -> Blob:
        wanted = self._archive.blobs[entry]
        if wanted not in self._near:
            ids = self._archive.blobs[entry : entry + _BLOBS_AT_ONCE]
            self._near = self._site.db.read(store.blobs_by_id, set(ids))
        found = self._near.get(wanted)
        if found is None or _mark(found.sha512) != self._archive.marks[entry]:
            raise Damaged("A file of this archive was deleted while it was sent.")
        return found


def _taken(site: Site, blob: Blob) -> int:
    """The checksum of a blob of an earlier release: taken once, and kept."""
    crc32 = 0
    with site.blobs.open(blob) as source:
        for part in source.read_range(0, blob.size_bytes):
            crc32 = zlib.crc32(part, crc32)
    with contextlib.suppress(SimyardError):  # it is taken once more then
        site.db.write(_keep, blob, crc32)
    return crc32


def _keep(tx: Transaction, blob: Blob, crc32: int) -> None:
    store.set_crc32(tx.conn, blob, crc32)
