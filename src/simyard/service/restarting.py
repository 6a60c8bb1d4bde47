"""Going on from a checkpoint: another attempt at a run that came to its end, asked for by its user.

Its folder is laid out from the job's inputs and from the outputs that the run has left, and edited
as the catalogue says (`[checkpoint]`). Its outputs then take the places of those of the same path.
Not to be mixed up with `docs/adr/0011`: nothing here starts by itself.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO

from sqlalchemy import Connection

from simyard.domain import lifecycle
from simyard.domain.catalogue import Analysis, Catalogue
from simyard.domain.errors import Forbidden, Invalid, NotFound, Refused, StorageFull, disk_is_full
from simyard.domain.faults import crash_point
from simyard.domain.files import File
from simyard.domain.jobs import Job, JobAnalysis
from simyard.domain.lifecycle import Event
from simyard.domain.runs import Again, Restart, Run
from simyard.domain.stops import Checkpoint, fill
from simyard.domain.users import User
from simyard.engines.protocol import Folder
from simyard.service import edits, idempotency, moves, quotas, studies, workfolder
from simyard.service.archives import Budget
from simyard.service.idempotency import Once
from simyard.service.moves import Happening
from simyard.service.site import Site
from simyard.service.staging import LOG_NAME, PREFIX, CannotStart
from simyard.store import files, jobs, runs
from simyard.store.database import Transaction

_LOG_BEGINS = (
    "log-begins"  # in the attempt's folder: bytes and lines of the log that are of earlier attempts
)
_AS_IT_IS = Checkpoint(files=(), what="")  # nothing of what was left is changed
_STEP_BYTES = 1 << 20
_COMMAND_LENGTH = 1 << 20
_PROGRAMS = (b"#!", b"\x7fELF")  # what begins like this is meant to be run


def restart_run(
    tx: Transaction,
    site: Site,
    catalogue: Catalogue,
    caller: User,
    code: str,
    number: int,
    command: str | None,
    once: Once | None = None,
) -> tuple[Run, bool]:
    """Queue another attempt at a run, which goes on from what it has left. Returns the run, and
    whether this is new (False: the same request came before).

    command: in the place of that of the job's last analysis, for this attempt only.

    Raises NotFound, Forbidden, Invalid where a command is needed, or Refused where the run is not
    at its end, left nothing to go on from, its analysis knows no restart, or a quota does not
    allow it.
    """
    job, run = _found(tx.conn, caller, code, number)
    if idempotency.already_done(tx.conn, once, "restart") is not None:
        return run, False
    if command is not None and ("\0" in command or len(command) > _COMMAND_LENGTH):
        raise Invalid.at("command", f"Give text of at most {_COMMAND_LENGTH} characters.")
    lifecycle.after(run.state, Event.RESTART)
    analysis, checkpoint = _recipe(catalogue, job)
    _check(tx.conn, site, catalogue, job)
    left = files.paths_of_run(tx.conn, job.id, run.number)
    if not any(checkpoint.is_left_in(path) for path in left):
        raise Refused(
            f"This run left nothing to go on from: {analysis.name} needs {checkpoint.what} among"
            " its outputs."
        )
    if command is None and checkpoint.needs_command:
        raise Invalid.at(
            "command",
            f"{analysis.name} would begin again with the same command. Give one that goes on from"
            f" {checkpoint.what}, like: {checkpoint.hint}",
        )
    reserved = quotas.admit(tx, site, job, run.cores)
    before = run.restart or Restart()
    how = Restart(
        command=command or before.lasting_command,
        post_command=before.post_command,
        replaced=before.replaced,
        lasting=before.lasting_command,
    )
    runs.set_restart(tx.conn, run, how, reserved_core_microseconds=reserved)
    if run.inputs is None:
        moves.apply(tx, [Happening(run, Event.RESTART)])
    else:
        moves.apply(tx, [Happening(run, Event.RERUN)])
        studies.give_slots(tx, site, [job.id])
    idempotency.note(tx, once, "restart", job.code)
    tx.after_commit(site.wake)
    crash_point("restart.recorded")
    tx.after_commit(lambda: crash_point("restart.committed"))
    now = runs.by_id(tx.conn, run.id)
    assert now is not None
    return now, True


def _found(conn: Connection, caller: User, code: str, number: int) -> tuple[Job, Run]:
    job = jobs.visible(conn, code, caller.id)
    run = runs.by_number(conn, job.id, number) if job else None
    if job is None or run is None:
        raise NotFound
    if job.owner_id != caller.id:
        raise Forbidden
    return job, run


def _recipe(catalogue: Catalogue, job: Job) -> tuple[Analysis, Checkpoint]:
    code = job.definition.analyses[-1].code
    analysis = catalogue.analysis(code)
    if analysis is None or analysis.checkpoint is None:
        name = analysis.name if analysis else code
        raise Refused(f"It is not known how {name} goes on from where it was.")
    return analysis, analysis.checkpoint


def _check(conn: Connection, site: Site, catalogue: Catalogue, job: Job) -> None:
    """What can be said now of an attempt that could not start later."""
    named = [code for _, code in job.definition.files()]
    gone = set(named) - files.usable(conn, named, job.owner_id).keys()
    if gone:
        raise Refused(f"Its input file {min(gone)} was deleted.")
    for sent in job.definition.analyses:
        analysis = catalogue.analysis(sent.code)
        if analysis and not (site.run_uninstalled or catalogue.present(analysis).installed):
            raise Refused(f"{analysis.name} is not installed on this machine.")


# --- laying it out --------------------------------------------------------------------------------


def as_run(job: Job, run: Run) -> Job:
    """The job with the commands and files that this attempt was asked for with."""
    return job if run.restart is None else as_asked(job, run.restart)


def as_asked(job: Job, how: Restart) -> Job:
    if not how.changes_job:
        return job
    *before, last = (_with_files(sent, how.replaced) for sent in job.definition.analyses)
    if how.command is not None:
        last = dataclasses.replace(last, command=how.command)
    if how.post_command is not None:
        last = dataclasses.replace(last, post_command=how.post_command)
    definition = dataclasses.replace(job.definition, analyses=(*before, last))
    return dataclasses.replace(job, definition=definition)


def _with_files(sent: JobAnalysis, replaced: Mapping[str, str]) -> JobAnalysis:
    """An analysis with other files in the places of some."""

    def now(code: str | None) -> str | None:
        return replaced.get(code, code) if code else code

    return dataclasses.replace(
        sent,
        input_files=tuple(
            dataclasses.replace(file, code=replaced.get(file.code, file.code))
            for file in sent.input_files
        ),
        pre_script=now(sent.pre_script),
        post_script=now(sent.post_script),
        templates=tuple(
            dataclasses.replace(task, template=replaced.get(task.template, task.template))
            for task in sent.templates
        ),
    )


def adding(
    site: Site, catalogue: Catalogue, job: Job, run: Run
) -> Callable[[Folder, Budget, dict[str, int]], None] | None:
    """What puts the outputs of a run that is restarted into its folder, for `staging.stage`; None
    for one that is not.
    """
    if run.restart is None or run.restart.kind is Again.ANEW:
        return None

    def add(folder: Folder, budget: Budget, staged: dict[str, int]) -> None:
        resumes = run.restart is not None and run.restart.kind is Again.RESUME
        try:
            checkpoint = _recipe(catalogue, job)[1] if resumes else _AS_IT_IS
        except Refused as error:
            raise CannotStart(str(error).removesuffix(".")) from error
        try:
            log = _lay_out(site, run, folder, budget, staged)
            crash_point("restart.laid-out")
            changed = [*_edit(folder, checkpoint, staged), *_copy(folder, checkpoint, staged)]
            _go_on_with_log(site, folder, log, changed)
        except NotFound as error:
            raise CannotStart(f"what it left cannot be laid out ({error})") from error
        except OSError as error:
            if disk_is_full(error):
                raise StorageFull("There is no room left to lay out what the run left.") from error
            raise CannotStart(f"what it left cannot be laid out ({error.strerror})") from error

    return add


def _lay_out(
    site: Site, run: Run, folder: Folder, budget: Budget, staged: dict[str, int]
) -> File | None:
    """Put the outputs over the inputs. What lies there with the same content keeps its mode and
    time. Returns the log, which is left out.
    """
    log = None
    for file in site.db.read(files.outputs_of_run, run.job_id, run.number):
        if file.relative_path == LOG_NAME:
            log = file
            continue
        budget.keep_going()
        staged.pop(file.relative_path, None)
        if not _is_there(folder, file):
            _put(site, folder, file, budget)
        if file.blob.id is not None:
            staged[file.relative_path] = file.blob.id
    return log


def _is_there(folder: Folder, file: File) -> bool:
    try:
        descriptor = workfolder.open_file(folder.work, file.relative_path)
    except NotFound:
        return False
    with open(descriptor, "rb") as there:
        if os.fstat(descriptor).st_size != file.blob.size_bytes:
            return False
        return hashlib.file_digest(there, "sha512").hexdigest() == file.blob.sha512


def _put(site: Site, folder: Folder, file: File, budget: Budget) -> None:
    parent, name = workfolder.open_parent(folder.work, file.relative_path, make=True)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(name, flags, 0o644, dir_fd=parent), "wb") as out:
            with site.blobs.open(file.blob) as source:
                start = b""
                for part in source.read_range(0, file.blob.size_bytes):
                    budget.keep_going()
                    start = start or bytes(part[:4])
                    out.write(part)
            os.fchmod(out.fileno(), 0o755 if start.startswith(_PROGRAMS) else 0o644)
    finally:
        os.close(parent)


def _edit(folder: Folder, checkpoint: Checkpoint, staged: dict[str, int]) -> list[str]:
    """Returns the paths of files that are different now."""
    changed: dict[str, None] = {}
    for edit in checkpoint.edit:
        for path in edits.find(folder, edit.file):
            content = edits.read(folder, path)
            if content is None or (after := edit.apply(content)) == content:
                continue
            edits.replace(folder, path, after)
            staged.pop(path, None)  # it is no longer as it is stored
            changed[path] = None
    return list(changed)


def _copy(folder: Folder, checkpoint: Checkpoint, staged: dict[str, int]) -> list[str]:
    """Returns the paths of the copies."""
    made = []
    for copy in checkpoint.copy:
        for path in edits.find(folder, copy.file):
            source = PurePosixPath(path)
            target = str(source.with_name(fill(copy.to, {"stem": source.stem})))
            staged.pop(target, None)
            _copy_file(folder, path, target)
            made.append(target)
    return made


def _copy_file(folder: Folder, path: str, target: str) -> None:
    parent, name = workfolder.open_parent(folder.work, target)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=parent)
        with open(made, "wb") as out, open(workfolder.open_file(folder.work, path), "rb") as source:
            _pour(source, out)
    finally:
        os.close(parent)


def _pour(source: BinaryIO, out: BinaryIO) -> None:
    while part := source.read(_STEP_BYTES):
        out.write(part)


def _go_on_with_log(site: Site, folder: Folder, log: File | None, changed: list[str]) -> None:
    """The log so far, and a line that tells where it goes on. The file is the one that the work
    folder has a second name of.
    """
    told = f"; changed for it: {', '.join(changed)}" if changed else ""
    line = f"{PREFIX}Restarted: it goes on from what it left{told}\n"
    with (folder.root / LOG_NAME).open("r+b") as out:
        lines = out.read().count(b"\n")
        last = b"\n"
        if log is not None:
            out.seek(0)
            out.truncate()
            lines = 0
            with site.blobs.open(log.blob) as source:
                for part in source.read_range(0, log.blob.size_bytes):
                    out.write(part)
                    lines += bytes(part).count(b"\n")
                    last = bytes(part[-1:]) or last
        more = (b"" if last == b"\n" else b"\n") + line.encode()
        out.write(more)
        lines += more.count(b"\n")
        (folder.root / _LOG_BEGINS).write_text(f"{out.tell()} {lines}")


def log_begins_at(folder: Folder) -> tuple[int, int]:
    """How many bytes and lines of the run's log are of its earlier attempts."""
    try:
        size, lines = (folder.root / _LOG_BEGINS).read_text().split()
    except FileNotFoundError:
        return 0, 0
    return int(size), int(lines)
