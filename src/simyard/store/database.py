"""The database as the rest of the server sees it: `read` at once, `write` through one writer.

On SQLite one thread does all writing of the process. It takes what has come in, runs each caller's
work in a savepoint of its own and commits them together: one flush to disk for many callers, and
one caller's failure never undoes another's work. A caller hears of success only after the commit.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import field
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from simyard.domain.errors import StorageFull, Unavailable
from simyard.domain.records import dataclass

P = ParamSpec("P")
T = TypeVar("T")
Clock = Callable[[], datetime]

log = logging.getLogger(__name__)

BUSY_SECONDS = 10.0  # how long to wait for another process (`keys create`) that is writing
_FEW = 3  # callers in a group up to which nobody is made to wait for more
_GATHER_STEP_SECONDS = 0.002
_GATHER_MOST_SECONDS = 0.020


@dataclass
class Transaction:
    """A write under way. `now` comes from the clock each time: later records are never earlier."""

    conn: Connection
    clock: Clock
    hooks: list[Callable[[], None]] = field(default_factory=list)

    def now(self) -> datetime:
        return self.clock()

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call this once the work is durable. It must be quick and must not raise."""
        self.hooks.append(hook)

    @contextmanager
    def part(self) -> Iterator[None]:
        """What is done in here fails alone: where it raises, it is undone and the rest stands."""
        raw = self.conn.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        before = len(self.hooks)
        raw.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            del self.hooks[before:]
            raw.execute("ROLLBACK TO part")
            raw.execute("RELEASE part")
            raise
        raw.execute("RELEASE part")


@dataclass
class _Work:
    call: Callable[[Transaction], Any]
    deliver: Callable[["_Work"], None]
    loop: asyncio.AbstractEventLoop | None = None
    result: Any = None
    error: BaseException | None = None
    hooks: list[Callable[[], None]] = field(default_factory=list)


class Database:
    """One SQLite database file: readers in any thread, one writer.

    `read` and `write` raise StorageFull where the disk is full and Unavailable where the database
    does not answer; in both cases nothing was changed and a retry is safe.
    """

    def __init__(self, url: str, *, clock: Clock) -> None:
        self.clock = clock
        self._engine = _connect(url)
        self._local = threading.local()
        self._inbox: deque[_Work] = deque()
        self._filled = threading.Condition()
        self._closing = False
        self._writer: threading.Thread | None = None
        self._listeners: list[Callable[[], None]] = []
        self.commits = 0  # for /metrics and benchmarks
        self.writes = 0

    @property
    def engine(self) -> Engine:
        return self._engine

    def start(self) -> None:
        """Begin to accept writes."""
        self._writer = threading.Thread(target=self._write_forever, name="writer", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Finish what was accepted, then stop. Idempotent."""
        with self._filled:
            self._closing = True
            self._filled.notify()
        if self._writer is not None:
            self._writer.join()
        self._engine.dispose()

    # --- reading ----------------------------------------------------------------------------------

    def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` on this thread's connection. It sees everything committed so far."""
        conn: Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = self._engine.connect()
        try:
            return work(conn, *args, **kwargs)
        except DBAPIError as error:
            self._local.conn = None
            conn.close()
            raise _translate(error) from error

    # --- writing ----------------------------------------------------------------------------------

    def write(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` in a transaction and return once it is durable. Not from an event loop."""
        future: Future[T] = Future()

        def deliver(done: _Work) -> None:
            if done.error is None:
                future.set_result(done.result)
            else:
                future.set_exception(done.error)

        self._put(_Work(lambda tx: work(tx, *args, **kwargs), deliver))
        return future.result()

    async def write_async(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`write` for an event loop. Cancelling the caller does not undo the work."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def deliver(done: _Work) -> None:
            if future.cancelled():
                return
            if done.error is None:
                future.set_result(done.result)
            else:
                future.set_exception(done.error)

        self._put(_Work(lambda tx: work(tx, *args, **kwargs), deliver, loop=loop))
        return await future

    def on_commit(self, hook: Callable[[], None]) -> None:
        """Call this after every commit of this process, from the writer's thread, once its callers
        have been told. It must be quick and must not raise.
        """
        self._listeners.append(hook)

    def _put(self, work: _Work) -> None:
        with self._filled:
            if self._closing or self._writer is None:
                raise Unavailable("The server is stopping.")
            self._inbox.append(work)
            self._filled.notify()

    def _write_forever(self) -> None:
        conn: Connection | None = None
        busy = False  # whether many came with the last group
        while True:
            with self._filled:
                while not self._inbox and not self._closing:
                    self._filled.wait()
                if not self._inbox:
                    break
            if busy:
                self._gather()
            group = [self._inbox.popleft() for _ in range(len(self._inbox))]
            busy = len(group) > _FEW
            try:
                if conn is None:
                    conn = self._engine.connect()
                self._commit(conn, group)
            except Exception as error:  # the group failed as a whole
                translated = _translate(error)
                log.error("a group of %d writes failed: %s", len(group), translated)
                for work in group:
                    work.error, work.hooks = translated, []
                if conn is not None:
                    conn.close()
                    conn = None
            _deliver(group)
            for hook in self._listeners:
                _call(hook)
        if conn is not None:
            conn.close()

    def _gather(self) -> None:
        """While callers keep coming, wait a little for them: they share one flush."""
        end = time.monotonic() + _GATHER_MOST_SECONDS
        seen = -1
        while seen != len(self._inbox) and time.monotonic() < end:
            seen = len(self._inbox)
            time.sleep(_GATHER_STEP_SECONDS)

    def _commit(self, conn: Connection, group: list[_Work]) -> None:
        raw = conn.connection.driver_connection  # savepoints at a tenth of the cost
        assert isinstance(raw, sqlite3.Connection)
        conn.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            for work in group:
                tx = Transaction(conn, self.clock)
                raw.execute("SAVEPOINT caller")
                try:
                    work.result = work.call(tx)
                    work.hooks = tx.hooks
                except Exception as error:
                    work.error = _translate(error)
                    try:
                        raw.execute("ROLLBACK TO caller")
                    except sqlite3.Error:
                        # SQLite ended the whole transaction by itself (full disk, I/O error):
                        # nobody in the group can be told that his work is done.
                        raise error from None
                raw.execute("RELEASE caller")
            conn.exec_driver_sql("COMMIT")
        except BaseException:
            _roll_back(conn)
            raise
        self.commits += 1
        self.writes += len(group)


def _deliver(group: list[_Work]) -> None:
    """Tell every caller; those of an event loop in one wake-up."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Work]] = {}
    for work in group:
        for hook in work.hooks:
            _call(hook)
        if work.loop is None:
            work.deliver(work)
        else:
            by_loop.setdefault(work.loop, []).append(work)
    for loop, works in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver_here, works)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.info("%d writes were done for callers that are gone", len(works))


def _call(hook: Callable[[], None]) -> None:
    """Whatever it does, what is done is done, and the next are waiting."""
    try:
        hook()
    except Exception:
        log.exception("what should follow a commit failed")


def _deliver_here(works: list[_Work]) -> None:
    for work in works:
        work.deliver(work)


def _roll_back(conn: Connection) -> None:
    try:
        conn.exec_driver_sql("ROLLBACK")
    except DBAPIError:
        log.debug("there was no transaction left to roll back")


def _connect(url: str) -> Engine:
    # Transactions are begun and ended by the writer, in words: the driver must not add its own.
    engine = create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # an acknowledged commit survives a power loss
            "foreign_keys = ON",
            "cache_size = -4000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _translate(error: Exception) -> Exception:
    """What the driver says, in our words where the caller can do something about it."""
    if not isinstance(error, OperationalError):
        return error
    text = str(error.orig)
    if "full" in text or "disk I/O error" in text:
        return StorageFull("There is no room left on the disk of the database.")
    return Unavailable(f"The database does not answer: {text}.")
