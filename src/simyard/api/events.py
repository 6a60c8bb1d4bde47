"""The stream of events: what happens to the jobs that somebody sees, told while it happens.

One task, the pump, sleeps until the database tells of a commit, reads the journal once for all who
listen, and puts into the queue of each what he may know. While nobody listens nothing is read. A
stream begins with what its client missed, read from the same journal by the same function.

Plain ASGI: a stream is idle for hours and there are hundreds (docs/adr/0021).
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simyard.api.middleware import identify
from simyard.api.replies import instant_text
from simyard.domain.errors import SimyardError
from simyard.domain.files import File
from simyard.domain.lifecycle import FINAL
from simyard.domain.records import dataclass
from simyard.domain.uploads import Upload
from simyard.domain.users import User
from simyard.service import journal
from simyard.service.journal import News
from simyard.service.results import Results, ResultsBook, Status
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
_UPLOAD_SECONDS = 1.0  # between two events of an upload that is under way
_UPLOADS_NOTED = 1000
_STUDY_SECONDS = 0.5  # between two events of a study ...
_STUDY_SHARE = 10  # ... or so many times what reading it took
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
    _body: bytes = b""

    def frame(self, mark: str) -> bytes:
        """As it is sent; the mark is what a client names to go on behind it."""
        if not self._body:
            self._body = body_of(self.name, self.data)
        return f"id: {mark}\n".encode() + self._body


def body_of(name: str, data: Mapping[str, Any]) -> bytes:
    """An event without its id."""
    return b"".join((f"event: {name}\ndata: ".encode(), _encode(data), b"\n\n"))


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


def upload_event(entry_id: int, upload: Upload, file: File | None) -> Event:
    """What its owner reads of an upload: how far it is, or that it is a file now."""
    sent = upload.announced
    data = {
        "id": upload.code,
        "filename": sent.name,
        "offset": sent.size_bytes if file else upload.offset_bytes,
        "size": sent.size_bytes,
        "file": file.code if file else None,
        "batch": sent.batch,
    }
    return Event(entry_id, "upload", "", ("upload", upload.code), data)


def progress_event(
    entry_id: int, job: str, run: int, data: Mapping[str, Any], at: datetime
) -> Event:
    """How far a run is that executes. It takes the place of one that waits as news of its state
    do, and has none.
    """
    told = {"job": job, "run": str(run), "at": instant_text(at), **data}
    return Event(entry_id, "run", job, ("run", job, run), told)


def study_event(entry_id: int, job: str, results: Results) -> Event:
    """How far a study is."""
    counts = results.counts()
    told = {name.value: counts[name] for name in (Status.DONE, Status.FAILED, Status.RUNNING)}
    return Event(entry_id, "study", job, ("study", job), {"id": job, "total": len(results), **told})


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
    studies: frozenset[str] = frozenset()  # codes of those of which only that is told
    uploads: bool = False  # his own

    @classmethod
    def parse(cls, asked: str | None) -> "Topics":
        """Of `jobs,job:ID,...`; without any, all jobs. What is unknown here is passed over."""
        names = {name.strip() for name in (asked or "jobs").split(",")}
        codes = {
            kind: frozenset(n.removeprefix(kind) for n in names if n.startswith(kind))
            for kind in ("job:", "study:")
        }
        return cls("jobs" in names, codes["job:"], codes["study:"], "uploads" in names)

    def __contains__(self, job: str) -> bool:
        return self.every_job or job in self.jobs

    def __or__(self, other: "Topics") -> "Topics":
        return Topics(
            self.every_job or other.every_job,
            self.jobs | other.jobs,
            self.studies | other.studies,
            self.uploads or other.uploads,
        )

    def want(self, event: Event) -> bool:
        if event.name == "upload":
            return self.uploads
        return event.job in self or (event.name == "study" and event.job in self.studies)


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
        self.topics = topics
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
        if not self.topics.want(event):
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

    def follows(self, job: str) -> bool:
        """Whether its client wants to hear how far this study is."""
        return job in self.topics or job in self.topics.studies

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
            self.leave()
            watch.cancel()
            if self._timer is not None:
                self._timer.cancel()

    def leave(self) -> None:
        """Idempotent."""
        self._hub.leave(self)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    async def _frames(self, scope: Scope) -> AsyncIterator[bytes]:
        """What is sent, piece by piece. Before anything is sent where a ping is due, the key is
        looked at again: who was held up for hours may not hear what he was held up from.
        """
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
            self._woken.clear()  # first: what comes while it is looked wakes it again
            try:
                frames = await self._due()
            except SimyardError as error:
                log.warning("a stream of events ends: %s", error)
                return
            if ping:
                frames += self._ping()
            if frames:
                yield frames
            elif not self._over:
                await self._woken.wait()

    async def _due(self) -> bytes:
        """What there is to send; b"" where there is nothing."""
        self._told = self._hub.position
        frames = b"".join(event.frame(self._mark(event.id)) for event in self._queue)
        self._queue.clear()
        return frames

    def _mark(self, entry_id: int) -> str:
        """The id of an event."""
        return f"{self._hub.epoch}-{entry_id}"

    async def _missed(self) -> AsyncIterator[bytes]:
        """The greeting, and what was written between the client's last event and its joining."""
        hub = self._hub
        asked, now_at = hub.entry_of(self._last_id), self.joined_at
        goes_on = asked is not None and await hub.read(
            journal.can_go_on, asked, now_at, hub.site.clock()
        )
        self._told = asked if goes_on and asked is not None else now_at
        hello = {"epoch": hub.epoch, "now": instant_text(hub.site.clock())}
        yield Event(self._told, "hello", "", ("hello",), hello).frame(self._mark(self._told))
        if self._last_id is not None and not goes_on:
            yield reset(now_at).frame(self._mark(now_at))
        while self._told < now_at:
            news = await hub.read(journal.between, self._told, now_at)
            self._told = news[-1].id if news else now_at
            events = [Telling(each).to(self.user) for each in news]
            mine = [event for event in events if event and event.job in self.topics]
            if mine:
                yield b"".join(event.frame(self._mark(event.id)) for event in mine)

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
        return f": ping\nid: {self._mark(self._told)}\n\n".encode()


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
        self._has_listeners = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # while somebody listens
        self._is_closed = False
        # One thread reads for all: a crowd that comes back at once waits its turn.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self.results = ResultsBook(site.db)
        self._uploads_told: dict[str, float] = {}  # by code: when
        self._studies: dict[str, set[int]] = {}  # by code: who is to be told how far it is
        self._counting: asyncio.Task[None] | None = None
        site.db.on_commit(self._committed)

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    def is_full_for(self, user: User) -> bool:
        return len(self.streams_of(user)) >= STREAMS_MOST

    def streams_of(self, user: User) -> Collection[Stream]:
        return self._streams.get(user.id, ())

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
        self._has_listeners.set()

    def leave(self, stream: Stream) -> None:
        """Idempotent."""
        mine = self._streams.get(stream.user.id, set())
        mine.discard(stream)
        if not mine:
            self._streams.pop(stream.user.id, None)
        if self._streams:
            return
        self._has_listeners.clear()
        if self._pump is not None:
            self._loop = None
            self._pump.cancel()
            self._pump = None
            if self._counting is not None:
                self._counting.cancel()
                self._counting = None
            self._studies.clear()

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

    @property
    def listeners(self) -> frozenset[int]:
        """Internal ids of those who listen."""
        return frozenset(self._streams)

    async def until_heard(self) -> None:
        """Wait until somebody listens."""
        await self._has_listeners.wait()

    def wanted(self) -> dict[int, Topics]:
        """What each who listens wants to hear of, by internal id: all his streams together."""
        return {
            user_id: reduce(or_, (stream.topics for stream in streams))
            for user_id, streams in self._streams.items()
        }

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
                    self._note_end(each)
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

    # --- what is in no journal --------------------------------------------------------------------

    def tell_progress(self, viewers: frozenset[int], event: Event) -> None:
        """Tell those of these who listen; `viewers` must have been asked for just now."""
        for user_id in self._streams.keys() & viewers:
            for stream in self._streams[user_id]:
                stream.tell(event)

    def tell_upload(self, upload: Upload, file: File | None) -> None:
        """Tell its owner how far an upload is: not too often, but always that it is a file now."""
        streams = self._streams.get(upload.owner_id)
        if not streams:
            return
        now = time.monotonic()
        if file is not None:
            self._uploads_told.pop(upload.code, None)
        elif now - self._uploads_told.get(upload.code, -_UPLOAD_SECONDS) < _UPLOAD_SECONDS:
            return
        else:
            if len(self._uploads_told) >= _UPLOADS_NOTED:
                self._uploads_told.clear()
            self._uploads_told[upload.code] = now
        event = upload_event(self.position, upload, file)
        for stream in streams:
            stream.tell(event)

    def _note_end(self, news: News) -> None:
        """Where a run ended that may be one of a study's, have it told soon how far that is."""
        listening = self._streams.keys() & news.viewers
        if news.kind == "run.state" and news.data.get("state") in FINAL and listening:
            self._studies.setdefault(news.job, set()).update(listening)
            if self._counting is None or self._counting.done():
                self._counting = asyncio.get_running_loop().create_task(self._tell_studies())

    async def _tell_studies(self) -> None:
        pause = _STUDY_SECONDS
        while self._studies:
            await asyncio.sleep(pause)
            began_at = time.monotonic()
            studies, self._studies = self._studies, {}
            for job, users in studies.items():
                for user_id in users:
                    try:
                        await self._tell_study(job, user_id)
                    except Exception:
                        log.exception("how far a study is could not be told")
            pause = max(_STUDY_SECONDS, _STUDY_SHARE * (time.monotonic() - began_at))

    async def _tell_study(self, job: str, user_id: int) -> None:
        """Whether the user sees the job is asked now."""
        user = next((s.user for s in self._streams.get(user_id, ()) if s.follows(job)), None)
        if user is None:
            return
        try:
            results = await run_in_threadpool(self.results.read, user, job)
        except SimyardError as error:  # no study, or not any more to be seen
            log.debug("nothing is told of the study %s: %s", job, error)
            return
        event = study_event(self.position, job, results)
        for stream in self._streams.get(user_id, ()):
            stream.tell(event)
