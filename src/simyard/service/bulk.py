"""Doing one thing to many jobs, a few at a time.

What is asked for is written down first, as a task. Each step does a few jobs and takes them off the
task in one transaction: a server that is killed goes on where it was, and nothing is done twice.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection

from simyard.domain.bulk import Action, Bulk, Result
from simyard.domain.errors import (
    Forbidden,
    Invalid,
    Miscounted,
    NotFound,
    Problem,
    SimyardError,
    StorageFull,
    Unavailable,
)
from simyard.domain.faults import crash_point
from simyard.domain.rows import Position, RowFilter
from simyard.domain.users import Caller, Right, User, email_address
from simyard.service import idempotency, jobs, labels
from simyard.service.idempotency import Once
from simyard.service.site import Site
from simyard.store import rows, tasks, users
from simyard.store.database import Transaction

log = logging.getLogger(__name__)

NAMED_MOST = 200  # jobs that are named one by one
FOUND_MOST = 10_000  # jobs that a filter finds
WAITING_MOST = 20  # tasks of one user that are not done yet
SAMPLE = 10
_AT_ONCE = 20  # jobs of one transaction ...
_CHANGES_AT_ONCE = 200  # ... or fewer, of many tags or addresses: all others wait for its end
_RESULTS_KEPT = 200  # of a task
_FOUND_AT_ONCE = 1000
_RETRY_SECONDS = 1.0
_MESSAGE_LENGTH = 2000


# --- which jobs -----------------------------------------------------------------------------------


def found(site: Site, viewer: User, wanted: RowFilter) -> list[str]:
    """The jobs that a filter lets through, newest first. In a long list it may take a second or
    two; nobody waits for it. Raises Invalid at `query` where they are too many.
    """
    codes: list[str] = []
    position: Position | None = Position()
    while position is not None:
        more, after = site.db.read(_page, viewer, wanted, position)
        codes += more
        if len(codes) > FOUND_MOST:
            raise Invalid.at("query", f"More than {FOUND_MOST} jobs match: narrow it.")
        position = None if after is None else Position(after=after)
    return codes


def _page(
    conn: Connection, viewer: User, wanted: RowFilter, position: Position
) -> tuple[list[str], int | None]:
    owner = users.by_email(conn, email_address(wanted.owner_email) or "")
    page = rows.page(
        conn,
        viewer.id,
        wanted,
        position,
        owner_id=owner.id if owner else None,
        newest_first=True,
        size=_FOUND_AT_ONCE,
    )
    return rows.codes_of(conn, page.entries), page.after


def check_count(codes: Sequence[str], expected: int) -> None:
    """Raises Miscounted where the caller has seen another number."""
    if len(codes) != expected:
        message = f"{len(codes)} jobs match now, not {expected}: nothing was done."
        raise Miscounted(message, len(codes))


# --- what is done to them -------------------------------------------------------------------------


def plan(
    action: str,
    codes: Sequence[str],
    *,
    tags: Sequence[str] = (),
    emails: Sequence[str] = (),
    message: str = "",
) -> Bulk:
    """What is to be done. Raises Invalid."""
    problems: list[Problem] = []
    known = action in list(Action)
    if not known:
        problems.append(Problem(("action",), f"It is one of {', '.join(Action)}."))
    if action in (Action.TAG, Action.UNTAG):
        if tags:
            labels.checked_tags(tags)
        else:
            problems.append(Problem(("tags",), "This field is required."))
    if action in (Action.SHARE, Action.UNSHARE):
        if not emails:
            problems.append(Problem(("emails",), "This field is required."))
        elif not all(email_address(email) for email in emails):
            problems.append(Problem(("emails",), "Enter a valid email address."))
    if problems:
        raise Invalid(problems)
    left = tuple(dict.fromkeys(codes))
    return Bulk(
        action=Action(action),
        tags=tuple(tags),
        emails=tuple(emails),
        message=message[:_MESSAGE_LENGTH],
        total=len(left),
        left=left,
    )


def known(conn: Connection, once: Once | None) -> str | None:
    """The token of the task that the same request has begun before."""
    return idempotency.already_done(conn, once, "bulk")


def begin(tx: Transaction, caller: User, asked: Bulk, once: Once | None) -> tuple[str, bool]:
    """Write down what is to be done. Returns the token of the task, and whether it is new (False:
    the same request came before).
    """
    done = idempotency.already_done(tx.conn, once, "bulk")
    if done is not None:
        return done, False
    token = tasks.insert(tx.conn, caller.id, asked, now=tx.now())
    idempotency.note(tx, once, "bulk", token)
    tx.after_commit(lambda: crash_point("bulk.begun"))
    return token, True


def get(conn: Connection, viewer: User, token: str) -> Bulk:
    """How far it is. Raises NotFound, also for somebody else's."""
    found = tasks.result_as(conn, token, viewer.id, Bulk)
    if found is None:
        raise NotFound
    return found


def step(tx: Transaction, site: Site, token: str, user_id: int) -> bool:
    """Do the next few jobs. Returns whether any are left."""
    bulk = tasks.result_as(tx.conn, token, user_id, Bulk)
    if bulk is None or bulk.is_done:
        return False
    # He may have left, or may look only, since he asked.
    user = users.by_id(tx.conn, user_id)
    may = user.is_active and Caller(user=user).may(Right.WRITE)
    tried = bulk.part(_AT_ONCE, _CHANGES_AT_ONCE)
    results = [_one(tx, site, user, bulk, code, may=may) for code in tried]
    failures = [result for result in results if not result.is_ok]
    kept = results if bulk.total <= _RESULTS_KEPT else failures
    bulk = replace(
        bulk,
        left=bulk.left[len(tried) :],
        done=bulk.done + len(tried),
        failed=bulk.failed + len(failures),
        results=(*bulk.results, *kept)[:_RESULTS_KEPT],
    )
    tasks.change(tx.conn, token, bulk)
    crash_point("bulk.recorded")
    return not bulk.is_done


def _one(tx: Transaction, site: Site, user: User, bulk: Bulk, code: str, *, may: bool) -> Result:
    try:
        if not may:
            raise Forbidden
        with tx.part():
            _do(tx, site, user, bulk, code)
    except (StorageFull, Unavailable):
        raise  # it is nothing about this job
    except Invalid as error:
        return Result(code=code, is_ok=False, detail=error.problems[0].message)
    except SimyardError as error:
        return Result(code=code, is_ok=False, detail=str(error))
    return Result(code=code, is_ok=True)


def _do(tx: Transaction, site: Site, user: User, bulk: Bulk, code: str) -> None:
    match bulk.action:
        case Action.STOP:
            jobs.stop_job(tx, site, user, code)
        case Action.DELETE:
            jobs.delete_job(tx, site, user, code)
        case Action.TAG:
            for tag in bulk.tags:
                jobs.tag_job(tx, user, code, tag)
        case Action.UNTAG:
            for tag in bulk.tags:
                jobs.untag_job(tx, user, code, tag)
        case Action.SHARE:
            for email in bulk.emails:
                jobs.share_job(tx, user, code, email, bulk.message)
        case Action.UNSHARE:
            for email in bulk.emails:
                jobs.unshare_job(tx, user, code, email)


class BulkBook:
    """Goes on with what is begun, in a thread of its own."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stopping = False
        self._waiting: dict[str, int] = {}  # tokens, and whose they are
        self._begun: Counter[int] = Counter()  # tasks that may come to wait, by whose they are
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bulk")

    def start(self) -> None:
        """Go on with what an earlier server has left."""
        self._pool.submit(self._resume)

    def close(self) -> None:
        """Stop after the step under way. The rest is for the next server."""
        self._stopping = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def place(self, user: User) -> Iterator[bool]:
        """A place for a task while it is begun. False: no more of the user's may wait."""
        with self._lock:
            waiting = list(self._waiting.values()).count(user.id)
            is_free = waiting + self._begun[user.id] < WAITING_MOST
            self._begun[user.id] += is_free
        try:
            yield is_free
        finally:
            with self._lock:
                self._begun[user.id] -= is_free

    def submit(self, user: User, token: str) -> None:
        """Idempotent."""
        self._put([(token, user.id)])

    def _put(self, more: Iterable[tuple[str, int]]) -> None:
        with self._lock:
            new = {token: user_id for token, user_id in more if token not in self._waiting}
            self._waiting |= new
        for token, user_id in new.items():
            self._pool.submit(self._carry_out, token, user_id)

    def _carry_out(self, token: str, user_id: int) -> None:
        try:
            self._try(token, user_id)
        finally:
            with self._lock:
                del self._waiting[token]

    def run(self, user: User, token: str) -> None:
        """Do all of it now. Raises StorageFull or Unavailable: then the rest is left to be done."""
        self._run(token, user.id)

    def _run(self, token: str, user_id: int) -> None:
        while not self._stopping and self._site.db.write(step, self._site, token, user_id):
            pass

    def _try(self, token: str, user_id: int) -> None:
        while not self._stopping:
            try:
                self._run(token, user_id)
            except SimyardError as error:
                log.warning("what is done to many jobs waits: %s", error)
                time.sleep(_RETRY_SECONDS)
            except Exception:
                log.exception("what is done to many jobs failed; the next start tries it again")
                return
            else:
                return

    def _resume(self) -> None:
        try:
            left = self._site.db.read(tasks.every_of, Bulk)
        except SimyardError as error:
            log.warning("what was done to many jobs is not gone on with: %s", error)
            return
        self._put((token, user_id) for token, user_id, bulk in left if not bulk.is_done)
