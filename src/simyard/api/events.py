"""The stream of events: what happens to the jobs that somebody sees, told while it happens.

One task, the pump, sleeps until the database tells of a commit, reads the journal once for all who
listen, and puts into the queue of each what he may know. While nobody listens nothing is read. A
stream begins with what its client missed, read from the same journal by the same function.

Plain ASGI: a stream is idle for hours and there are hundreds (docs/adr/0021).
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simyard.api.middleware import identify
from simyard.api.replies import instant_text
from simyard.domain.errors import SimyardError
from simyard.domain.users import User
from simyard.service import journal
from simyard.service.journal import News
from simyard.service.site import Site

T = TypeVar("T")

log = logging.getLogger(__name__)

PING_SECONDS = 15.0  # a client that hears nothing for two of these may take the stream for dead
STREAMS_MOST = 1000  # of one user
QUEUE_MOST = 256  # events that wait for a slow reader
# Between two looks at the journal: the more there was to tell, the longer, so that a crowd is told
# together and leaves most of the time to others.
_GATHER_SECONDS = 0.02
_GATHER_EACH_SECONDS = 0.0002  # for an entry, or a stream that was told
_GATHER_MOST_SECONDS = 0.08
_RETRY_SECONDS = 1.0
_FOR_EVER = 1 << 62

_encode = msgspec.json.Encoder().encode
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold it back
    (b"x-content-type-options", b"nosniff"),
)


# --- events ---------------------------------------------------------------------------------------


@dataclass
class Event:
    """What is sent for an entry of the journal, the same to all who get it."""

    id: int  # of the entry
    name: str
    job: str  # code, "" where it is about none
    key: tuple[object, ...]  # a newer one with the same takes its place
    data: Mapping[str, Any]
    _frame: bytes = b""

    def frame(self, epoch: str) -> bytes:
        if not self._frame:
            head = f"id: {epoch}-{self.id}\nevent: {self.name}\ndata: "
            self._frame = b"".join((head.encode(), _encode(self.data), b"\n\n"))
        return self._frame


def event_of(news: News) -> Event:
    """What those read who see the job."""
    at = instant_text(news.at)
    if news.run is not None:
        name = news.kind.removeprefix("run.")
        data = {"job": news.job, "run": str(news.run), **news.data, "at": at}
        if name != "files":
            name = "run"
        return Event(news.id, name, news.job, (name, news.job, news.run), data)
    data = {"id": news.job, "name": news.job_name, "at": at}
    if news.kind == "job.created":
        data.update(status="", clusterStatus="")
    elif news.kind == "job.state":
        data.update((key, news.data.get(key)) for key in ("status", "clusterStatus"))
        if news.data.get("reason"):
            data["reason"] = news.data["reason"]
    return Event(news.id, "job", news.job, ("job", news.job), data)


def notice_of(news: News) -> Event:
    """What somebody reads to whom it happened: a job was shared with him, or went out of his
    sight.
    """
    data = {"kind": news.kind.removeprefix("job."), "id": news.job, "at": instant_text(news.at)}
    if news.kind == "job.shared":
        data.update(by=news.data.get("by"), message=news.data.get("message", ""))
    return Event(news.id, "notice", news.job, ("notice", news.id), data)


class Telling:
    """An entry, and what is made of it for one user after the other."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._event: Event | None = None
        self._notice: Event | None = None

    def to(self, user: User) -> Event | None:
        """What this user may know of it."""
        news = self._news
        sees = user.id in news.viewers
        if user.id in news.parted or (sees and news.is_shared_with(user)):
            self._notice = self._notice or notice_of(news)
            return self._notice
        if not sees:
            return None
        self._event = self._event or event_of(news)
        return self._event


def reset(entry_id: int) -> Event:
    """Something was left out up to this entry: look at everything again."""
    return Event(entry_id, "reset", "", ("reset",), {})


def merged(events: Iterable[Event]) -> list[Event]:
    """The newest of each key, with what only earlier ones of it said."""
    kept: dict[tuple[object, ...], Event] = {}
    for event in events:
        earlier = kept.pop(event.key, None)
        if earlier is None:
            kept[event.key] = event
        else:
            data = {**earlier.data, **event.data}
            kept[event.key] = Event(event.id, event.name, event.job, event.key, data)
    return list(kept.values())


@dataclass(frozen=True)
class Topics:
    """What somebody wants to hear of."""

    every_job: bool
    jobs: frozenset[str] = frozenset()  # codes

    @classmethod
    def parse(cls, asked: str | None) -> "Topics":
        """Of `jobs,job:ID,...`; without any, all jobs. What is unknown here is passed over."""
        names = {name.strip() for name in (asked or "jobs").split(",")}
        codes = frozenset(n.removeprefix("job:") for n in names if n.startswith("job:"))
        return cls("jobs" in names, codes)

    def __contains__(self, job: str) -> bool:
        return self.every_job or job in self.jobs


# --- one client -----------------------------------------------------------------------------------


class Stream(Response):
    """A reply that goes on until its client leaves, or may not listen any longer.

    It has to have joined the hub before it is sent.
    """

    def __init__(self, hub: "Hub", user: User, topics: Topics, last_id: str | None) -> None:
        super().__init__()
        self.user = user
        self.joined_at = 0  # the last entry that it is not told of by the hub
        self._hub = hub
        self._topics = topics
        self._last_id = last_id  # that the client had when it left
        self._queue: list[Event] = []
        self._woken = asyncio.Event()
        self._over = False
        self._ping_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._told = 0  # every entry up to this one is told, or not for this user

    # --- what the hub calls ---

    def tell(self, event: Event) -> bool:
        """Returns whether its client wants to hear of it."""
        if event.job not in self._topics:
            return False
        queue = self._queue
        if event.name == "notice" and event.data["kind"] != "shared":
            queue[:] = [waiting for waiting in queue if waiting.job != event.job]
        queue.append(event)
        if len(queue) > QUEUE_MOST:
            queue[:] = merged(queue)
            if len(queue) > QUEUE_MOST:
                queue[:] = [reset(event.id)]
        self._woken.set()
        return True

    def end(self) -> None:
        self._over = True
        self._woken.set()

    # --- the reply ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.get_running_loop().create_task(self._watch(receive))
        scope["is_stream"] = True
        # Where many come at once, their pings need not come at once for ever.
        self._ping_after(PING_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            async for frames in self._frames(scope):
                await send({"type": "http.response.body", "body": frames, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._hub.leave(self)
            watch.cancel()
            if self._timer is not None:
                self._timer.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    async def _frames(self, scope: Scope) -> AsyncIterator[bytes]:
        """What is sent, piece by piece. Before anything is sent where a ping is due, the key is
        looked at again: who was held up for hours may not hear what he was held up from.
        """
        hub = self._hub
        try:
            async for frames in self._missed():
                if self._is_over(scope):
                    return
                yield frames
        except SimyardError as error:
            log.warning("a stream of events ends: %s", error)
            return
        while True:
            ping = self._ping_due
            if self._is_over(scope):
                return
            if self._queue or ping:
                frames = b"".join(event.frame(hub.epoch) for event in self._queue)
                self._queue.clear()
                self._told = hub.position
                yield frames + self._ping() if ping else frames
            else:
                self._woken.clear()
                await self._woken.wait()

    async def _missed(self) -> AsyncIterator[bytes]:
        """The greeting, and what was written between the client's last event and its joining."""
        hub = self._hub
        asked, now_at = hub.entry_of(self._last_id), self.joined_at
        goes_on = asked is not None and await hub.read(
            journal.can_go_on, asked, now_at, hub.site.clock()
        )
        self._told = asked if goes_on and asked is not None else now_at
        hello = {"epoch": hub.epoch, "now": instant_text(hub.site.clock())}
        yield Event(self._told, "hello", "", ("hello",), hello).frame(hub.epoch)
        if self._last_id is not None and not goes_on:
            yield reset(now_at).frame(hub.epoch)
        while self._told < now_at:
            news = await hub.read(journal.between, self._told, now_at)
            self._told = news[-1].id if news else now_at
            events = [Telling(each).to(self.user) for each in news]
            mine = [event for event in events if event and event.job in self._topics]
            if mine:
                yield b"".join(event.frame(hub.epoch) for event in mine)

    def _is_over(self, scope: Scope) -> bool:
        if self._ping_due and not self._over:
            self._over = not self._hub.lets_in(scope, self.user)
            self._ping_after(PING_SECONDS)
        return self._over

    def _ping_after(self, seconds: float) -> None:
        self._ping_due = False
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        # A little early, so that those of one second wake the process once.
        self._timer = loop.call_at(at - at % (PING_SECONDS / 15), self._ping_is_due)

    def _ping_is_due(self) -> None:
        self._ping_due = True
        self._woken.set()

    def _ping(self) -> bytes:
        """Says how far the stream is, too: what was not for this user need not be read again."""
        return f": ping\nid: {self._hub.epoch}-{self._told}\n\n".encode()


# --- all of them ----------------------------------------------------------------------------------


class Hub:
    """Who listens, and the pump. All but `_committed` belongs to the event loop."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.epoch = site.keyring.installation
        self.position = 0  # every entry up to this one was given to those who listen
        self._streams: dict[int, set[Stream]] = {}  # by user
        self._pump: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # while somebody listens
        self._is_closed = False
        # One thread reads for all: a crowd that comes back at once waits its turn.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal")
        site.db.on_commit(self._committed)

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    def is_full_for(self, user: User) -> bool:
        return len(self._streams.get(user.id, ())) >= STREAMS_MOST

    def lets_in(self, scope: Scope, user: User) -> bool:
        """Whether the key of a request is still good, and still the same user's."""
        try:
            return identify(self.site, scope).user.id == user.id
        except SimyardError:
            return False

    def join(self, stream: Stream) -> None:
        """From now on the stream is told of all that comes after `position`."""
        if self._is_closed:
            stream.end()
        elif self._pump is None:
            self._loop = asyncio.get_running_loop()  # commits are told from here on ...
            self.position = self.site.db.read(journal.newest)  # ... so that none is missed
            self._pump = self._loop.create_task(self._forever())
        stream.joined_at = self.position
        self._streams.setdefault(stream.user.id, set()).add(stream)

    def leave(self, stream: Stream) -> None:
        """Idempotent."""
        mine = self._streams.get(stream.user.id, set())
        mine.discard(stream)
        if not mine:
            self._streams.pop(stream.user.id, None)
        if not self._streams and self._pump is not None:
            self._loop = None
            self._pump.cancel()
            self._pump = None

    def close(self) -> None:
        """End every stream: the server stops. Idempotent."""
        self._is_closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.end()

    async def read(self, work: Callable[..., T], *args: object) -> T:
        """`work` on the database, in the thread that reads for all."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self.site.db.read, work, *args)

    def entry_of(self, last_id: str | None) -> int | None:
        """The entry that a Last-Event-ID names, None where it is none of ours."""
        epoch, _, number = (last_id or "").rpartition("-")
        good = epoch == self.epoch and number.isascii() and number.isdigit() and len(number) < 19
        return int(number) if good else None

    # --- the pump ---------------------------------------------------------------------------------

    def _committed(self) -> None:
        """In the writer's thread, after every commit."""
        loop = self._loop
        if loop is not None and not self._news.is_set():
            try:
                loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:  # the loop is closed: nobody listens any more
                log.debug("a commit was told to nobody")

    async def _forever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            news: list[News] = []
            told: set[Stream] = set()
            try:
                news = await self.read(journal.between, self.position, _FOR_EVER)
                for each in news:
                    told |= self._tell(each)
                    self.position = each.id
                if len(news) == journal.AT_ONCE:
                    self._news.set()
            except Exception as error:
                unknown = None if isinstance(error, SimyardError) else error
                log.error("the journal is read again: %s", error, exc_info=unknown)
                self._news.set()
                await asyncio.sleep(_RETRY_SECONDS)
            pause = _GATHER_SECONDS + _GATHER_EACH_SECONDS * (len(news) + len(told))
            await asyncio.sleep(min(pause, _GATHER_MOST_SECONDS))

    def _tell(self, news: News) -> set[Stream]:
        told: set[Stream] = set()
        telling = Telling(news)
        for user_id in self._streams.keys() & news.audience:
            streams = self._streams[user_id]
            event = telling.to(next(iter(streams)).user)
            if event is not None:
                told |= {stream for stream in streams if stream.tell(event)}
        return told
