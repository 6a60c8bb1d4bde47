"""Creating, submitting, stopping, sharing and deleting jobs, and looking at them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from simyard.domain import jobs as rules
from simyard.domain import lifecycle
from simyard.domain.catalogue import Catalogue, Notice
from simyard.domain.errors import Forbidden, Invalid, NotFound, Path, Problem, Refused
from simyard.domain.faults import crash_point
from simyard.domain.files import DeletedFile, File
from simyard.domain.jobs import Job, JobDefinition, JobFilter, JobSummary
from simyard.domain.lifecycle import Event, State
from simyard.domain.lists import Found
from simyard.domain.records import dataclass
from simyard.domain.runs import Attempt, Run, StatusEntry
from simyard.domain.users import User, email_address
from simyard.service import files as file_service
from simyard.service import idempotency, labels, moves, quotas, stopping, studies
from simyard.service.idempotency import Once
from simyard.service.moves import Change, Happening
from simyard.service.site import Site
from simyard.service.studies import Planned
from simyard.store import events, files, users
from simyard.store import jobs as store
from simyard.store import runs as run_store
from simyard.store.database import Transaction
from simyard.store.events import Entry
from simyard.store.files import Within
from simyard.store.jobs import Standing
from simyard.store.runs import NewRun

_MESSAGE_LENGTH = 2000
DEFINITION_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job with what its reply needs beside it."""

    job: Job
    files: dict[str, File]  # those it names, by code
    deleted: dict[str, DeletedFile]  # those it names and that were deleted since
    tags: tuple[str, ...]
    shared_with: tuple[str, ...]  # emails


@dataclass(frozen=True)
class _Checked:
    """A definition that can be saved."""

    definition: JobDefinition
    inputs: dict[str, File]
    analysis_names: tuple[str, ...]
    notices: tuple[Notice, ...]

    @property
    def storage_bytes(self) -> int:
        return sum(file.blob.size_bytes for file in self.inputs.values())


def check_job(
    conn: Connection,
    site: Site,
    catalogue: Catalogue,
    owner: User,
    definition: JobDefinition,
    *,
    project: str | None = None,
) -> list[Problem]:
    """Everything wrong with a definition, for this user. project: the id of the one that the job
    has already, which may be closed.
    """
    known = files.usable(conn, (code for _, code in definition.files()), owner.id)
    problems = rules.check(definition, catalogue, site.machine, site.limits, frozenset(known))
    _, wrong = _project(conn, site, definition.project_id, present=project)
    problems += wrong
    if not problems and store.size_of(definition) > DEFINITION_BYTES:
        problems.append(Problem((), f"A job's definition has at most {DEFINITION_BYTES} bytes."))
    return problems


def check_labels(tags: Sequence[str], custom_fields: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with what is said of a job beside its definition."""
    problems: list[Problem] = []
    for check in (
        lambda: labels.checked_tags(tags),
        lambda: labels.checked_fields(custom_fields, ("customFields",)),
    ):
        try:
            check()
        except Invalid as error:
            problems += error.problems
    return problems


def check_installed(
    site: Site, catalogue: Catalogue, definition: JobDefinition
) -> Iterator[Problem]:
    """Analyses of a definition that cannot be submitted because their programs are not there."""
    if site.run_uninstalled:
        return
    for i, sent in enumerate(definition.analyses):
        path = ("jobanalyses", i, "analysis", "code")
        analysis = catalogue.analysis(sent.code)
        if analysis is None:
            yield Problem(path, f'"{sent.code}" is no longer an analysis of this site.')
            continue
        present = catalogue.present(analysis)
        if not present.installed:
            package = analysis.probe.package if analysis.probe else ""
            hint = f" On Debian or Ubuntu: apt install {package}" if package else ""
            yield Problem(
                path,
                f"{analysis.name} is not installed on this machine ({present.detail}).{hint}",
            )


def check_room(
    conn: Connection, site: Site, catalogue: Catalogue, owner: User, definition: JobDefinition
) -> tuple[list[Problem], list[Notice]]:
    """Whether quotas and budgets have room for a definition that is good and complete, were it
    submitted now; and what its owner would be told.
    """
    booked, _ = _project(conn, site, definition.project_id)
    definition = dataclasses.replace(definition, project_id=booked)
    placement = rules.placement(definition, catalogue, site.machine, site.limits)
    count = studies.first_count(definition)
    try:
        needs = quotas.check(conn, site, owner.id, definition, placement.charge, runs=count)
    except Refused as error:
        return [Problem((), str(error))], []
    return [], [needs.waits] if needs.waits is not None else []


def _project(
    conn: Connection, site: Site, text: str | None, *, present: str | None = None
) -> tuple[str | None, list[Problem]]:
    """The id of the project that a job names (by id, external id or name), and what is wrong."""
    if not text:
        missing = Problem(("projectId",), "This field is required.")
        return None, [missing] if site.limits.project_required else []
    found = users.project_named(conn, text)
    if found is None:
        return None, [Problem(("projectId",), f'Invalid pk "{text}" - object does not exist.')]
    if not found.is_open and found.code != present:
        return None, [Problem(("projectId",), f"The project {found.name} is closed.")]
    return found.code, []


def _checked(
    conn: Connection,
    site: Site,
    catalogue: Catalogue,
    owner: User,
    definition: JobDefinition,
    *,
    project: str | None = None,
) -> _Checked:
    """Raises Invalid with everything that is wrong."""
    problems = check_job(conn, site, catalogue, owner, definition, project=project)
    if problems:
        raise Invalid(problems, rules.lengths(definition))
    booked, _ = _project(conn, site, definition.project_id, present=project)
    inputs = files.usable(conn, (code for _, code in definition.files()), owner.id)
    return _Checked(
        definition=dataclasses.replace(definition, project_id=booked),
        inputs=inputs,
        analysis_names=tuple(_name(catalogue, a.code) for a in definition.analyses),
        notices=_notices(site, catalogue, definition, inputs),
    )


def notices(
    conn: Connection, site: Site, catalogue: Catalogue, owner: User, definition: JobDefinition
) -> tuple[Notice, ...]:
    """What the owner should know about a job before it runs, whose hardware is good. Files that are
    not there are passed over.
    """
    known = files.usable(conn, (code for _, code in definition.files()), owner.id)
    return _notices(site, catalogue, definition, known)


def _notices(
    site: Site, catalogue: Catalogue, definition: JobDefinition, known: Mapping[str, File]
) -> tuple[Notice, ...]:
    told = rules.notices(definition, catalogue, site.machine, site.limits)
    return (*told, *rules.clashes(definition, known))


def create_job(
    tx: Transaction,
    site: Site,
    catalogue: Catalogue,
    owner: User,
    definition: JobDefinition,
    once: Once | None,
    *,
    tags: Sequence[str] = (),
    custom_fields: Mapping[str, Any] | None = None,
    told: Sequence[Notice] = (),
) -> tuple[JobView, bool]:
    """Save a draft. Returns it, and whether it is new (False: the same request came before).
    told: what to know of its study.

    Raises Invalid with everything that is wrong.
    """
    done = idempotency.already_done(tx.conn, once, "job")
    if done is not None:
        return get_job(tx.conn, owner, done), False
    checked = _checked(tx.conn, site, catalogue, owner, definition)
    job = store.insert(
        tx.conn,
        owner=owner,
        definition=checked.definition,
        analysis_names=checked.analysis_names,
        notices=(*checked.notices, *told),
        storage_bytes=checked.storage_bytes,
        now=tx.now(),
    )
    files.link_inputs(tx.conn, job.id, checked.inputs.values())
    names = labels.checked_tags(tags)
    if names:
        store.set_tags(tx.conn, job.id, names)
    if custom_fields:
        _set_fields(tx, job, custom_fields, ("customFields",))
    events.append(tx.conn, [Entry("job.created", job.created_at, job.id)])
    idempotency.note(tx, once, "job", job.code)
    crash_point("create.recorded")
    tx.after_commit(lambda: crash_point("create.committed"))
    view = JobView(job=job, files=checked.inputs, deleted={}, tags=_in_order(names), shared_with=())
    return view, True


def _in_order(names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names[key] for key in sorted(names))


def change_job(
    tx: Transaction,
    site: Site,
    catalogue: Catalogue,
    caller: User,
    code: str,
    definition: JobDefinition,
    *,
    tags: Sequence[str] | None,
    custom_fields: Mapping[str, Any] | None,
    based_on: JobDefinition | None = None,
    told: Sequence[Notice] = (),
) -> JobView:
    """Put another definition in the place of a draft's. None leaves tags and fields as they are.

    based_on: the definition that the new one was made from. Raises Refused for what was submitted
    or was changed since, Forbidden, NotFound, or Invalid with all that is wrong.
    """
    job = _owned(tx.conn, caller, code)
    if based_on is not None and job.definition != based_on:
        raise Refused("The job was changed by another request meanwhile. Send the change again.")
    if job.state is not State.DRAFT:
        raise Refused("This job was submitted; only a draft can be changed.")
    checked = _checked(
        tx.conn, site, catalogue, caller, definition, project=job.definition.project_id
    )
    store.redefine(
        tx.conn,
        job.id,
        definition=checked.definition,
        analysis_names=checked.analysis_names,
        notices=(*checked.notices, *told),
        storage_bytes=checked.storage_bytes,
    )
    files.unlink_inputs(tx.conn, job.id)
    files.link_inputs(tx.conn, job.id, checked.inputs.values())
    if tags is not None:
        store.set_tags(tx.conn, job.id, labels.checked_tags(tags))
    if custom_fields:
        _set_fields(tx, job, custom_fields, ("customFields",))
    events.append(tx.conn, [Entry("job.changed", tx.now(), job.id)])
    return get_job(tx.conn, caller, code)


def assign_project(tx: Transaction, site: Site, caller: User, code: str, project: str) -> None:
    """Book a job on a project from now on: usage that ended before stays where it is."""
    job = _owned(tx.conn, caller, code)
    found, problems = _project(tx.conn, site, project)
    if problems:
        raise Invalid(problems)
    quotas.rebook(tx, job, found)
    store.set_definition(tx.conn, job.id, dataclasses.replace(job.definition, project_id=found))
    events.append(tx.conn, [Entry("job.changed", tx.now(), job.id)])


def _name(catalogue: Catalogue, code: str) -> str:
    analysis = catalogue.analysis(code)
    return analysis.name if analysis else code


def submit_job(
    tx: Transaction,
    site: Site,
    catalogue: Catalogue,
    caller: User,
    code: str,
    once: Once | None = None,
    planned: Planned | None = None,
) -> bool:
    """Send a draft on its way. Its first status is there when this is committed. Returns False
    where the same request did so before. planned: as `studies.plan_submit` made it.

    Raises Refused where it was submitted before, cannot run here, was changed since it was planned
    or is more than its owner may have, Invalid where an input is gone.
    """
    if idempotency.already_done(tx.conn, once, "submit") is not None:
        return False
    job = _owned(tx.conn, caller, code)
    state = lifecycle.after(job.state, Event.SUBMIT)
    definition = job.definition
    is_study = definition.study is not None and not definition.study.is_plain
    if is_study and (planned is None or planned.definition != definition):
        raise Refused("The job was changed by another request meanwhile. Submit it again.")
    if not definition.project_id:
        _, missing = _project(tx.conn, site, None)  # the site may want one since it was saved
        if missing:
            raise Invalid(missing)
    named = [file for _, file in definition.files()]
    if named:
        gone = rules.gone(definition, files.usable(tx.conn, named, job.owner_id))
        if gone:
            raise Invalid(gone, rules.lengths(definition))
    uninstalled = next(check_installed(site, catalogue, definition), None)
    if uninstalled is not None:
        raise Refused(uninstalled.message)
    if planned is None:
        terms = studies.terms_of(tx, site, job, 1)
        run_store.insert(
            tx.conn, job.id, [NewRun()], owner_id=job.owner_id, terms=terms, state=state
        )
    else:
        studies.begin(tx, site, job, planned)
    draft = Standing(job.id, job.state, submitted_at=tx.now())
    moves.record(tx, [Change(draft, state)])
    idempotency.note(tx, once, "submit", job.code)
    tx.after_commit(site.wake)
    crash_point("submit.recorded")
    tx.after_commit(lambda: crash_point("submit.committed"))
    return True


def not_installed(catalogue: Catalogue, definition: JobDefinition) -> list[str]:
    """The analyses of a job whose program was not there when somebody last looked."""
    found = []
    for sent in definition.analyses:
        analysis = catalogue.analysis(sent.code)
        if analysis is not None and not catalogue.present(analysis).installed:
            found.append(analysis.code)
    return found


def stop_job(tx: Transaction, site: Site, caller: User, code: str) -> None:
    """Ask for the end of a job. Returns at once. Asking again ends the waiting for a solver that
    was asked to end in its own way; stopping a finished job does nothing. Raises Refused for a
    draft.
    """
    job = _owned(tx.conn, caller, code)
    lifecycle.after(job.state, Event.STOP)
    studies.stop(tx, job)
    every = run_store.with_slot(tx.conn, job.id)
    moves.apply(tx, [Happening(run, Event.STOP) for run in every])
    moves.follow(tx, {job.id: None})
    _hurry(tx, site, every)
    tx.after_commit(site.wake)
    crash_point("stop.recorded")
    tx.after_commit(lambda: crash_point("stop.committed"))


def stop_run(tx: Transaction, site: Site, caller: User, code: str, number: int) -> None:
    """Ask for the end of one run; the others go on. Returns at once. Asking again does not wait, as
    with `stop_job`.

    Raises NotFound, Forbidden, or Refused where there is nothing to stop.
    """
    job = _owned(tx.conn, caller, code)
    run = run_store.by_number(tx.conn, job.id, number)
    if run is None:
        raise NotFound
    if (run.state, Event.STOP) in lifecycle.MOOT and run.state is not State.STOPPING:
        raise Refused("This run is not executing.")
    if run.state is State.PLANNED:
        studies.drop_planned(tx, job, [run])
        moves.follow(tx, {job.id: None})
    else:
        moves.apply(tx, [Happening(run, Event.STOP)])
        _hurry(tx, site, [run])
    tx.after_commit(site.wake)


def _hurry(tx: Transaction, site: Site, before: Sequence[Run]) -> None:
    """Where a stop was asked for before, this one does not wait. The engine hears it before the
    caller has his answer, and remembers it.
    """
    asked = [run for run in before if run.state is State.STOPPING]
    if asked:
        tx.after_commit(lambda: stopping.hurry(site, asked))


def delete_job(
    tx: Transaction, site: Site, caller: User, code: str, *, with_inputs: bool = False
) -> None:
    """Remove a job with its outputs; with_inputs: and with those of its inputs that are the
    caller's and that no other job names. Raises Refused unless it is a draft or nothing of it is
    left on the machine, and while another job has not read an output of it yet.
    """
    job = _owned(tx.conn, caller, code)
    if job.state not in (State.DRAFT, State.CLOSED):
        raise Refused(
            "This job cannot be deleted yet: its cluster is not Stopped."
            f" It is {store.history(tx.conn, job.id, moves.CLUSTER)[0].word}."
        )
    file_service.refuse_if_outputs_are_needed(tx.conn, job.id)
    viewers = store.viewers(tx.conn, job.id)
    named = [code for _, code in job.definition.files()]
    inputs = files.by_codes(tx.conn, named) if with_inputs else {}
    store.delete_job(tx.conn, job, now=tx.now())
    for file in inputs.values():
        own = file.owner_id == caller.id and file.job_id is None  # outputs stay with their jobs
        if own and not files.is_named(tx.conn, file):
            files.delete_file(tx.conn, file, now=tx.now())
    gone = {"code": job.code, "viewers": viewers}
    events.append(tx.conn, [Entry("job.deleted", tx.now(), job.id, None, gone)])
    tx.after_commit(site.wake)
    crash_point("delete.recorded")
    tx.after_commit(lambda: crash_point("delete.committed"))


# --- sharing --------------------------------------------------------------------------------------


def share_job(tx: Transaction, caller: User, code: str, email: str, message: str) -> str:
    """Let another member see a job and all that it holds. Returns his address. Idempotent.

    Raises Invalid where nobody here has this address.
    """
    job = _owned(tx.conn, caller, code)
    address = email_address(email)
    if address is None:
        raise Invalid.at("email", "Enter a valid email address.")
    recipient = users.by_email(tx.conn, address)
    if recipient is None or not recipient.is_active:
        raise Invalid.at("email", "A job can be shared within the organisation only.")
    if store.share(tx.conn, job, recipient.id):
        told = {"by": caller.email, "with": address, "message": message[:_MESSAGE_LENGTH]}
        events.append(tx.conn, [Entry("job.shared", tx.now(), job.id, None, told)])
    return address


def unshare_job(tx: Transaction, caller: User, code: str, email: str) -> None:
    """Take a job out of a member's sight again. Idempotent; the owner always sees it."""
    job = _owned(tx.conn, caller, code)
    recipient = users.by_email(tx.conn, email_address(email) or "")
    if recipient is None or recipient.id == job.owner_id:
        return
    viewers = [recipient.id]
    if store.unshare(tx.conn, job, recipient.id):
        told = {"code": job.code, "with": recipient.email, "viewers": viewers}
        events.append(tx.conn, [Entry("job.unshared", tx.now(), job.id, None, told)])


# --- tags and custom fields -----------------------------------------------------------------------


def tags(conn: Connection, viewer: User, code: str) -> tuple[str, ...]:
    return store.tags(conn, _visible_id(conn, viewer, code))


def tag_job(tx: Transaction, caller: User, code: str, name: str) -> str:
    """Give a job a tag. Returns it as it is shown. Idempotent."""
    job = _owned(tx.conn, caller, code)
    names, shown = labels.with_tag(store.tags(tx.conn, job.id), name)
    store.set_tags(tx.conn, job.id, names)
    events.append(tx.conn, [Entry("job.changed", tx.now(), job.id)])
    return shown


def untag_job(tx: Transaction, caller: User, code: str, name: str) -> None:
    """Take a tag away. Idempotent."""
    job = _owned(tx.conn, caller, code)
    store.set_tags(tx.conn, job.id, labels.without_tag(store.tags(tx.conn, job.id), name))
    events.append(tx.conn, [Entry("job.changed", tx.now(), job.id)])


def custom_fields(conn: Connection, viewer: User, code: str) -> dict[str, Any]:
    return store.custom_fields(conn, _visible_id(conn, viewer, code))


def set_custom_fields(
    tx: Transaction, caller: User, code: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Set these fields, null takes one away. Returns all that the job has then."""
    job = _owned(tx.conn, caller, code)
    _set_fields(tx, job, values)
    events.append(tx.conn, [Entry("job.changed", tx.now(), job.id)])
    return store.custom_fields(tx.conn, job.id)


def _set_fields(tx: Transaction, job: Job, values: Mapping[str, Any], at: Path = ()) -> None:
    store.set_custom_fields(tx.conn, job.id, labels.checked_fields(values, at))
    labels.check_number_of_fields(store.custom_fields(tx.conn, job.id))


# --- looking --------------------------------------------------------------------------------------


def _visible(conn: Connection, viewer: User, code: str) -> Job:
    """A job that somebody may look at. Raises NotFound."""
    job = store.visible(conn, code, viewer.id)
    if job is None:
        raise NotFound
    return job


def _owned(conn: Connection, caller: User, code: str) -> Job:
    """A job that the caller may change. Raises NotFound, or Forbidden where he may only look."""
    job = _visible(conn, caller, code)
    if job.owner_id != caller.id:
        raise Forbidden
    return job


def get_own_job(conn: Connection, caller: User, code: str) -> JobView:
    """A job that the caller may change. Raises NotFound or Forbidden."""
    _owned(conn, caller, code)
    return get_job(conn, caller, code)


def get_job(conn: Connection, viewer: User, code: str) -> JobView:
    found = store.labelled(conn, code, viewer.id)
    if found is None:
        raise NotFound
    job = found.job
    named = {code for _, code in job.definition.files()}
    inputs = files.inputs_of(conn, job.id) if named else {}
    missing = named - inputs.keys()
    return JobView(
        job=job,
        files=inputs,
        deleted=files.deleted(conn, missing) if missing else {},
        tags=found.tags,
        shared_with=found.shared_with,
    )


def list_jobs(
    conn: Connection, viewer: User, wanted: JobFilter, *, offset: int, size: int
) -> Found[JobSummary]:
    """What the viewer may see, newest first."""
    return store.page(conn, viewer.id, wanted, offset=offset, size=size)


def history(conn: Connection, viewer: User, code: str, track: str) -> list[StatusEntry]:
    """The statuses of a job (`moves.JOB`) or of its cluster (`moves.CLUSTER`), newest first."""
    entries = store.visible_history(conn, code, viewer.id, track)
    if entries is None:
        raise NotFound
    return entries


def _visible_id(conn: Connection, viewer: User, code: str) -> int:
    job_id = store.visible_id(conn, code, viewer.id)
    if job_id is None:
        raise NotFound
    return job_id


def list_runs(conn: Connection, viewer: User, code: str, *, offset: int, size: int) -> Found[Run]:
    """By displayOrder: a nominal run comes first, the others by their numbers."""
    job_id = _visible_id(conn, viewer, code)
    count = run_store.count(conn, job_id)
    nominal = run_store.nominal(conn, job_id)
    if nominal is None:
        return Found(count, run_store.page(conn, job_id, offset=offset, size=size))
    # The others stand one place behind their numbers, until that of the nominal run.
    first = [nominal] if offset == 0 and size else []
    rest = run_store.page(conn, job_id, offset=max(offset - 1, 0), size=size + 1)
    others = [run for run in rest if run.number != nominal.number]
    if offset - 1 >= nominal.number:
        others = run_store.page(conn, job_id, offset=offset, size=size)
    return Found(count, [*first, *others][:size])


def get_run(conn: Connection, viewer: User, code: str, number: int) -> Run:
    run = run_store.by_number(conn, _visible_id(conn, viewer, code), number)
    if run is None:
        raise NotFound
    return run


def list_job_files(
    conn: Connection, viewer: User, code: str, *, offset: int, size: int, text: str = ""
) -> Found[File]:
    """A job's outputs. A text filters by path."""
    job_id = _visible_id(conn, viewer, code)
    if text:
        return files.search(conn, Within(job_id=job_id), offset=offset, size=size, text=text)
    return files.page_of_job(conn, job_id, offset=offset, size=size)


def list_run_files(
    conn: Connection,
    viewer: User,
    code: str,
    number: int,
    *,
    offset: int,
    size: int,
    text: str = "",
) -> Found[File]:
    """The outputs of one run. A text filters by path."""
    run = get_run(conn, viewer, code, number)
    if text:
        within = Within(job_id=run.job_id, run_number=run.number)
        return files.search(conn, within, offset=offset, size=size, text=text)
    return files.page_of_run(conn, run.job_id, run.number, offset=offset, size=size)


def attempts(
    conn: Connection, viewer: User, code: str, *, after: int = 0, size: int = 2000
) -> tuple[Job, list[Attempt]]:
    """The attempts of a job's runs: what the API calls its clusters."""
    job = _visible(conn, viewer, code)
    return job, run_store.attempts_of(conn, job.id, after=after, size=size)


def history_of_cluster(conn: Connection, viewer: User, token: str) -> list[StatusEntry]:
    """The cluster statuses of the job that an attempt belongs to. Raises NotFound."""
    job_id = run_store.job_of_attempt(conn, token)
    if job_id is None or store.visible(conn, store.by_id(conn, job_id).code, viewer.id) is None:
        raise NotFound
    return store.history(conn, job_id, moves.CLUSTER)
