"""Templates of a job: read once, rendered for each run."""

import contextlib
import json
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from threading import Lock

from simyard.blobs.sealed import SealedBlobs
from simyard.domain import templates as rules
from simyard.domain.errors import NotFound, Refused, StorageFull, disk_is_full
from simyard.domain.files import File
from simyard.domain.jobs import Job
from simyard.domain.runs import Run
from simyard.domain.studies import Study, TemplateTask
from simyard.domain.templates import CannotRender, Template
from simyard.engines import payload
from simyard.engines.protocol import Folder
from simyard.service import workfolder
from simyard.service.archives import Budget, file_mode

MOST_BYTES = 64 << 20
_KEPT = 64
_KEPT_BYTES = 64 << 20
_PART_BYTES = 400  # that a placeholder takes once it is read
_HEAD = 2  # bytes that tell a script


class Unrenderable(Refused):
    """A template that the values of a run do not fit: "U.template:19:31 ..."."""


class TemplateBook:
    """Templates that were read lately. Thread-safe."""

    def __init__(self, blobs: SealedBlobs) -> None:
        self._blobs = blobs
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, bool], tuple[Template, int]] = OrderedDict()
        self._bytes = 0

    def template(self, file: File, *, keep_unknown: bool) -> Template:
        """A template file, with all its faults. Raises Damaged where it cannot be read."""
        key = (file.blob.sha512, keep_unknown)
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept[0]
        content = content_of(self._blobs, file, MOST_BYTES + 1)
        made = rules.parse(content, keep_unknown=keep_unknown, most_bytes=MOST_BYTES)
        size = len(content) + _PART_BYTES * len(made.parts)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (made, size)
                self._bytes += size
            while len(self._kept) > 1 and (len(self._kept) > _KEPT or self._bytes > _KEPT_BYTES):
                _, (_, size) = self._kept.popitem(last=False)
                self._bytes -= size
        return made


def content_of(blobs: SealedBlobs, file: File, most: int) -> bytes:
    """The first bytes of a file."""
    with blobs.open(file.blob) as source:
        return b"".join(bytes(p) for p in source.read_range(0, min(file.blob.size_bytes, most)))


def tasks(job: Job) -> Iterator[TemplateTask]:
    """Every template task of a job, in order."""
    for analysis in job.definition.analyses:
        yield from analysis.templates


def relative(study: Study | None) -> dict[str, str]:
    """How the values of relative variables are applied to the defaults in placeholders."""
    variables = study.variables if study else ()
    return {v.name: str(v.settings["relative"]) for v in variables if v.settings.get("relative")}


def reals(study: Study | None) -> frozenset[str]:
    """Variables whose values are real numbers."""
    return frozenset(study.reals if study else ())


def rendered(
    book: TemplateBook, job: Job, run: Run, files: Mapping[str, File]
) -> Iterator[tuple[str, bytes]]:
    """What the templates are in this run: target, content.

    Raises Unrenderable, or KeyError with the id of a file that is gone.
    """
    values = {value.name: value for value in run.inputs or ()}
    how, real = relative(job.definition.study), reals(job.definition.study)
    for task in tasks(job):
        file = files[task.template]
        template = book.template(file, keep_unknown=task.keep_unknown)
        try:
            content = template.render(values, how, real)
        except CannotRender as error:
            raise Unrenderable(f"{file.name}:{error}") from None
        yield rules.normal_target(task.target), content


def render(
    book: TemplateBook,
    job: Job,
    run: Run,
    files: Mapping[str, File],
    folder: Folder,
    budget: Budget,
) -> list[str]:
    """Write the templates into a run's work folder, which nobody changes. Returns their paths.

    Raises what the budget does, Unrenderable, KeyError, NotFound for a target that cannot be there,
    or StorageFull.
    """
    written = []
    for target, content in rendered(book, job, run, files):
        budget.keep_going()
        budget.spend(len(content))
        try:
            _write(folder, target, content)
        except OSError as error:
            if disk_is_full(error):
                raise StorageFull("There is no room left to write its templates.") from error
            raise NotFound(f"{target} cannot be written ({error.strerror})") from error
        written.append(target)
    return written


def _write(folder: Folder, target: str, content: bytes) -> None:
    """In place of an input of that name, with its mode; else scripts are meant to be run."""
    parent, name = workfolder.open_parent(folder.work, target, make=True)
    try:
        mode = file_mode(None, content[:_HEAD])
        try:
            seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISREG(seen.st_mode):
                mode = file_mode(stat.S_IMODE(seen.st_mode), content[:_HEAD])
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(name, flags, 0o644, dir_fd=parent), "wb") as out:
            out.write(content)
            os.fchmod(out.fileno(), mode)
    finally:
        os.close(parent)


CONTROL = ".simyard"  # in $HOME: what a run is told of itself
PARAMS = "params.json"


def write_params(job: Job, run: Run, folder: Folder) -> None:
    """The values of a run for programs that take no template."""
    control = f"{folder.home}/{CONTROL}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(control, 0o755)
    values = {v.name: v.text if v.number is None else v.number for v in run.inputs or ()}
    told = {"job": job.code, "run": str(run.number), "variables": values}
    payload.write(f"{control}/{PARAMS}", json.dumps(told))
