"""Creating, submitting, stopping and deleting jobs, and looking at them."""

from dataclasses import dataclass

from sqlalchemy import Connection

from simyard.domain import jobs as rules
from simyard.domain import lifecycle
from simyard.domain.catalogue import Catalogue
from simyard.domain.errors import Invalid, NotFound, Problem, Refused
from simyard.domain.faults import crash_point
from simyard.domain.files import File
from simyard.domain.jobs import Job, JobDefinition, JobSummary
from simyard.domain.lifecycle import Event, State
from simyard.domain.runs import Run, StatusEntry
from simyard.domain.users import User
from simyard.service import idempotency, moves
from simyard.service.idempotency import Once
from simyard.service.moves import Change, Happening
from simyard.service.site import Site
from simyard.store import events, files, listing
from simyard.store import jobs as store
from simyard.store import runs as run_store
from simyard.store.database import Transaction
from simyard.store.events import Entry
from simyard.store.jobs import Standing


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job with what its reply needs: the files it names."""

    job: Job
    files: dict[str, File]  # by code; a file that was deleted is missing


def check_job(
    conn: Connection, site: Site, catalogue: Catalogue, owner: User, definition: JobDefinition
) -> list[Problem]:
    """Everything wrong with a definition, for this user."""
    known = files.by_codes(conn, (code for _, code in definition.files()), owner_id=owner.id)
    return rules.check(definition, catalogue, site.machine, site.limits, frozenset(known))


def create_job(
    tx: Transaction,
    site: Site,
    catalogue: Catalogue,
    owner: User,
    definition: JobDefinition,
    once: Once | None,
) -> tuple[JobView, bool]:
    """Save a draft. Returns it, and whether it is new (False: the same request came before).

    Raises Invalid with everything that is wrong.
    """
    done = idempotency.already_done(tx.conn, once, "job")
    if done is not None:
        return get_job(tx.conn, owner, done), False
    inputs = files.by_codes(tx.conn, (code for _, code in definition.files()), owner_id=owner.id)
    problems = rules.check(definition, catalogue, site.machine, site.limits, frozenset(inputs))
    if problems:
        raise Invalid(problems, _lengths(definition))
    job = store.insert(
        tx.conn,
        owner=owner,
        definition=definition,
        analysis_names=tuple(_name(catalogue, a.code) for a in definition.analyses),
        notices=rules.notices(definition, catalogue, site.machine, site.limits),
        storage_bytes=sum(file.blob.size_bytes for file in inputs.values()),
        now=tx.now(),
    )
    files.link_inputs(tx.conn, job.id, inputs.values())
    events.append(tx.conn, [Entry("job.created", job.created_at, job.id)])
    idempotency.note(tx, once, "job", job.code)
    crash_point("create.recorded")
    tx.after_commit(lambda: crash_point("create.committed"))
    return JobView(job=job, files=inputs), True


def _name(catalogue: Catalogue, code: str) -> str:
    analysis = catalogue.analysis(code)
    return analysis.name if analysis else code


def _lengths(definition: JobDefinition) -> dict[tuple[str | int, ...], int]:
    lengths: dict[tuple[str | int, ...], int] = {("jobanalyses",): len(definition.analyses)}
    for i, analysis in enumerate(definition.analyses):
        lengths["jobanalyses", i, "inputFiles"] = len(analysis.input_files)
    return lengths


def submit_job(tx: Transaction, site: Site, catalogue: Catalogue, caller: User, code: str) -> None:
    """Send a draft on its way. Its first status is there when this is committed.

    Raises Refused where it was submitted before or cannot run here, Invalid where an input is gone.
    """
    job = _own(tx.conn, caller, code)
    state = lifecycle.after(job.state, Event.SUBMIT)
    definition = job.definition
    named = dict(definition.files())
    if named:
        known = files.by_codes(tx.conn, named.values(), owner_id=job.owner_id)
        gone = [
            Problem(path, f'Invalid pk "{file}" - object does not exist.')
            for path, file in named.items()
            if file not in known
        ]
        if gone:
            raise Invalid(gone, _lengths(definition))
    if not site.run_uninstalled:
        _need_installed(catalogue, definition)
    placement = rules.placement(definition, catalogue, site.machine, site.limits)
    run_store.insert(
        tx.conn,
        job.id,
        count=1,
        cores=placement.charge,
        low_priority=definition.low_priority,
        state=state,
    )
    draft = Standing(job.id, job.state, submitted_at=tx.now())
    moves.record(tx, [Change(draft, state)])
    tx.after_commit(site.wake)
    crash_point("submit.recorded")
    tx.after_commit(lambda: crash_point("submit.committed"))


def not_installed(conn: Connection, catalogue: Catalogue, caller: User, code: str) -> list[str]:
    """The analyses of a job whose program was not there when somebody last looked."""
    job = _own(conn, caller, code)
    found = []
    for sent in job.definition.analyses:
        analysis = catalogue.analysis(sent.code)
        if analysis is not None and not catalogue.present(analysis).installed:
            found.append(analysis.code)
    return found


def _need_installed(catalogue: Catalogue, definition: JobDefinition) -> None:
    for sent in definition.analyses:
        analysis = catalogue.analysis(sent.code)
        if analysis is None:
            raise Refused(f'"{sent.code}" is no longer an analysis of this site.')
        present = catalogue.present(analysis)
        if not present.installed:
            package = analysis.probe.package if analysis.probe else ""
            hint = f" On Debian or Ubuntu: apt install {package}" if package else ""
            raise Refused(
                f"{analysis.name} is not installed on this machine ({present.detail}).{hint}"
            )


def stop_job(tx: Transaction, site: Site, caller: User, code: str) -> None:
    """Ask for the end of a job. Returns at once; repeating it, or stopping a finished job, does
    nothing. Raises Refused for a draft.
    """
    job = _own(tx.conn, caller, code)
    lifecycle.after(job.state, Event.STOP)
    every = run_store.page(tx.conn, job.id, offset=0, size=run_store.count(tx.conn, job.id))
    moves.apply(tx, [Happening(run, Event.STOP) for run in every])
    tx.after_commit(site.wake)
    crash_point("stop.recorded")
    tx.after_commit(lambda: crash_point("stop.committed"))


def delete_job(tx: Transaction, site: Site, caller: User, code: str) -> None:
    """Remove a job with its outputs. Raises Refused unless it is a draft or nothing of it is left
    on the machine.
    """
    job = _own(tx.conn, caller, code)
    if job.state not in (State.DRAFT, State.CLOSED):
        raise Refused(
            "This job cannot be deleted yet: its cluster is not Stopped."
            f" It is {store.history(tx.conn, job.id, moves.CLUSTER)[0].word}."
        )
    store.delete_job(tx.conn, job, now=tx.now())
    events.append(tx.conn, [Entry("job.deleted", tx.now(), job.id, None, {"code": job.code})])
    tx.after_commit(site.wake)


# --- looking --------------------------------------------------------------------------------------


def _own(conn: Connection, caller: User, code: str) -> Job:
    """A job that the caller may change. Raises NotFound."""
    job = store.visible(conn, code, caller.id)
    if job is None:
        raise NotFound
    return job


def get_job(conn: Connection, viewer: User, code: str) -> JobView:
    job = _own(conn, viewer, code)
    named = [code for _, code in job.definition.files()]
    return JobView(
        job=job, files=files.by_codes(conn, named, owner_id=job.owner_id) if named else {}
    )


def list_jobs(
    conn: Connection, viewer: User, *, offset: int, size: int
) -> tuple[int, list[JobSummary]]:
    return store.page(conn, viewer.id, offset=offset, size=size)


def history(conn: Connection, viewer: User, code: str, track: str) -> list[StatusEntry]:
    """The statuses of a job (`moves.JOB`) or of its cluster (`moves.CLUSTER`), newest first."""
    return store.history(conn, _visible_id(conn, viewer, code), track)


def _visible_id(conn: Connection, viewer: User, code: str) -> int:
    job_id = store.visible_id(conn, code, viewer.id)
    if job_id is None:
        raise NotFound
    return job_id


def list_runs(
    conn: Connection, viewer: User, code: str, *, offset: int, size: int
) -> tuple[int, list[Run]]:
    job_id = _visible_id(conn, viewer, code)
    return run_store.count(conn, job_id), run_store.page(conn, job_id, offset=offset, size=size)


def get_run(conn: Connection, viewer: User, code: str, number: int) -> Run:
    run = run_store.by_number(conn, _visible_id(conn, viewer, code), number)
    if run is None:
        raise NotFound
    return run


def list_job_files(
    conn: Connection, viewer: User, code: str, *, offset: int, size: int, text: str = ""
) -> tuple[int, list[File]]:
    """A job's outputs: count and one page."""
    job_id = _visible_id(conn, viewer, code)
    if text:
        return files.search(conn, job_id=job_id, offset=offset, size=size, text=text)
    total = listing.total(conn, listing.outputs_of(job_id))
    return total, files.page_of_job(conn, job_id, offset=offset, size=size)


def list_run_files(
    conn: Connection, viewer: User, code: str, number: int, *, offset: int, size: int
) -> tuple[int, list[File]]:
    """The outputs of one run: count and one page."""
    run = get_run(conn, viewer, code, number)
    page = files.page_of_run(conn, run.job_id, run.number, offset=offset, size=size)
    return run.output_count, page
