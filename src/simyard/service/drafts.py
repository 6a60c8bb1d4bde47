"""Drafts of jobs: kept while somebody writes them, and made into a job once."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from simyard.domain import drafts as rules
from simyard.domain.catalogue import Catalogue, Notice
from simyard.domain.drafts import Draft, DraftSummary
from simyard.domain.errors import Changed, NotFound, Path, Refused, TooLarge
from simyard.domain.faults import crash_point
from simyard.domain.jobs import NAME_LENGTH, JobDefinition
from simyard.domain.lists import Found
from simyard.domain.users import User
from simyard.service import idempotency, jobs
from simyard.service.idempotency import Once
from simyard.service.jobs import JobView
from simyard.service.site import Site
from simyard.service.studies import Planned
from simyard.store import drafts as store
from simyard.store import files
from simyard.store.database import Transaction

KEPT = timedelta(days=7)  # after it was submitted, for who asks again
Versions = Collection[int] | None  # that the caller knows; None: whichever it is


def create(
    tx: Transaction, owner: User, content: Mapping[str, Any], once: Once | None
) -> tuple[Draft, bool]:
    """Keep a draft. Returns it, and whether it is new (False: the same request came before).

    Raises TooLarge, or Refused where he has as many as he may.
    """
    done = idempotency.already_done(tx.conn, once, "draft")
    if done is not None:
        return get(tx.conn, owner, done), False
    body = _packed(content)
    _need_room(tx.conn, owner, len(body), new=1)
    name = _name(content)
    draft = store.insert(tx.conn, owner_id=owner.id, name=name, body=body, now=tx.now())
    idempotency.note(tx, once, "draft", draft.code)
    return draft, True


def get(conn: Connection, owner: User, code: str) -> Draft:
    """Raises NotFound, also for somebody else's."""
    draft = store.by_code(conn, code, owner.id)
    if draft is None:
        raise NotFound
    return draft


def list_drafts(conn: Connection, owner: User, *, offset: int, size: int) -> Found[DraftSummary]:
    """A user's own, the last changed first, without those that were submitted."""
    return store.page(conn, owner.id, offset=offset, size=size)


def change(
    tx: Transaction, owner: User, code: str, content: Mapping[str, Any], known: Versions
) -> Draft:
    """Put another body in the place of the draft's. A body that it has already changes nothing,
    whoever sent it: so a change may be asked for again.

    Raises NotFound, TooLarge, Refused where it was submitted or there is no room, or Changed where
    its version is none of the known ones.
    """
    draft = get(tx.conn, owner, code)
    body = _packed(content)
    if body == draft.body:
        return draft
    if draft.job is not None:
        raise Refused(f"This draft was submitted as the job {draft.job}: it stays as it is.")
    _check_version(draft, known)
    _need_room(tx.conn, owner, len(body) - len(draft.body))
    store.change(tx.conn, draft, name=_name(content), body=body, now=tx.now())
    return get(tx.conn, owner, code)


def delete(tx: Transaction, owner: User, code: str, known: Versions) -> None:
    """Raises NotFound, or Changed where its version is none of the known ones."""
    draft = get(tx.conn, owner, code)
    _check_version(draft, known)
    store.remove(tx.conn, draft)


def submit(
    tx: Transaction,
    site: Site,
    catalogue: Catalogue,
    owner: User,
    draft: Draft,
    definition: JobDefinition,
    planned: Planned | None,
    once: Once | None,
    *,
    tags: Sequence[str],
    custom_fields: Mapping[str, Any] | None,
    told: Sequence[Notice],
) -> tuple[str, bool]:
    """Make a job of a draft and send it on its way, all or nothing. Returns its code, and whether
    it is new: a draft becomes one job, however often and by how many that is asked for.

    draft: as it was when the definition was read from it. planned: as `studies.plan_submit` made
    it of the definition. Raises as `jobs.create_job` and `jobs.submit_job` do, and NotFound or
    Changed.
    """
    done = idempotency.already_done(tx.conn, once, "draft-job")
    if done is not None:
        return done, False
    present = get(tx.conn, owner, draft.code)
    if present.job is not None:
        idempotency.note(tx, once, "draft-job", present.job)
        return present.job, False
    _check_version(present, [draft.version])
    view, _ = jobs.create_job(
        tx,
        site,
        catalogue,
        owner,
        definition,
        None,
        tags=tags,
        custom_fields=custom_fields,
        told=told,
    )
    job = view.job
    if planned is not None:  # it was made of this definition, before its project was looked up
        planned = dataclasses.replace(planned, definition=job.definition)
    jobs.submit_job(tx, site, catalogue, owner, job.code, planned=planned)
    store.use(tx.conn, present, job.code, now=tx.now())
    idempotency.note(tx, once, "draft-job", job.code)
    crash_point("draft.recorded")
    tx.after_commit(lambda: crash_point("draft.committed"))
    return job.code, True


def lost_inputs(conn: Connection, viewer: User, view: JobView) -> Iterator[tuple[Path, str]]:
    """The files of a job that the viewer cannot name in another one: where, and why not."""
    named = list(view.job.definition.files())
    usable = files.usable(conn, (code for _, code in named), viewer.id)
    for path, code in named:
        if code not in usable:
            there = view.files.get(code)
            gone = view.deleted.get(code)
            name = there.name if there else gone.name if gone else code
            yield path, f"{name} {'is in the trash' if there else 'was deleted'}."


def check_version(conn: Connection, owner: User, code: str, known: Versions) -> Draft:
    """The draft. Raises NotFound, or Changed where its version is none of the known ones and it
    was not submitted.
    """
    draft = get(conn, owner, code)
    if draft.job is None:
        _check_version(draft, known)
    return draft


def _check_version(draft: Draft, known: Versions) -> None:
    if known is not None and draft.version not in known:
        raise Changed("This draft was changed meanwhile.", draft)


def _packed(content: Mapping[str, Any]) -> bytes:
    body = msgspec.json.encode(content)
    if len(body) > rules.BYTES:
        raise TooLarge(f"A draft has at most {rules.BYTES} bytes.")
    return body


def _name(content: Mapping[str, Any]) -> str:
    name = content.get("name")
    return name[:NAME_LENGTH] if isinstance(name, str) else ""


def _need_room(conn: Connection, owner: User, more_bytes: int, new: int = 0) -> None:
    count, size = store.held(conn, owner.id)
    if count + new > rules.MOST:
        raise Refused(f"You have {count} drafts, and at most {rules.MOST} are kept. Delete some.")
    if more_bytes > 0 and size + more_bytes > rules.TOTAL_BYTES:
        raise Refused(
            f"Your drafts take {size} bytes, and at most {rules.TOTAL_BYTES} are kept. Delete some."
        )
