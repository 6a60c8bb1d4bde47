"""The stream of one run: its log, its series and what it uses, while they come (ours,
docs/extensions.md).
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from simyard.api.events import PING_SECONDS, Event, Hub, Stream, Topics, body_of
from simyard.api.replies import too_many
from simyard.api.routes import Routes, caller, query, run_number, site_of
from simyard.api.shapes import text
from simyard.api.v2.events import LAST_EVENT_ID, too_many_streams
from simyard.api.v2.runs import encode_outcome
from simyard.api.watching import ROUND_SECONDS, Watches
from simyard.domain.errors import Invalid, SimyardError
from simyard.domain.jobs import Job
from simyard.domain.runs import Run
from simyard.domain.users import User
from simyard.service import jobs as service
from simyard.service.logs import DEFAULT_PATH

route = Routes("runs")

FILES_MOST = 100  # different ones that one user may watch
_MOST_DIGITS = 18
_LOOKS = 2  # at a file, until one of them has begun after a client came
_EXAMPLE = """\
id: 1184:0:5f0c9b1d7a2e-1042
event: log
data: {"from":1092,"to":1184,"text":"Time = 3\\n"}

"""


class LiveStream(Stream):
    """What happens in one run and, where topics are asked for, all that `Stream` tells.

    A client has only its place in the log and in the series; what is there, all share.
    """

    def __init__(
        self, hub: Hub, user: User, topics: Topics | None, last_id: str | None, *, series: bool
    ) -> None:
        super().__init__(hub, user, topics or Topics(False), last_id)
        self.file: tuple[str, int, str] | None = None  # job, run and path that it watches
        self.place = 0  # of the log's next byte
        self.step = 0  # of the last one whose points it has
        self._tells_all = topics is not None
        self._series = series
        self._changes = -1  # of the series, as far as it was told
        self._version = 0  # of the log
        self._use = self._convergence = 0  # how many it was told
        self._next_at = 0.0  # when more of the log may be sent
        self._has_parted = self._has_ended = False

    def watch(self, watches: Watches, job: Job, run: Run, path: str) -> None:
        """Begin. `release` has to follow."""
        self._watches, self._run, self._path = watches, run, path
        self._job, self._number = job.code, str(run.number)
        self.file = job.code, run.number, path
        self._file, self._watched = watches.join(self, job, run, path, series=self._series)
        self._version, self._looks = self._file.seen.version, self._file.looks

    # --- what others call ---

    def wake(self) -> None:
        self._woken.set()

    def tell(self, event: Event) -> bool:
        if event.job == self._job:
            if event.name == "notice" and event.data["kind"] != "shared":
                self._has_parted = True
                self._woken.set()
            elif (
                event.name == "run" and event.data["run"] == self._number and "state" in event.data
            ):
                self._file.nudge()
                self._watched.nudge()
        return self._tells_all and super().tell(event)

    def leave(self) -> None:
        super().leave()
        self._watches.leave(self, self._job, self._run.number, self._path)

    # --- the reply ---

    async def _missed(self) -> AsyncIterator[bytes]:
        if self._tells_all:
            async for frames in super()._missed():
                yield frames
        else:
            self._told = self.joined_at

    async def _due(self) -> bytes:
        frames = [await super()._due()]
        if self._has_parted:
            self._over = True
            return frames[0]
        if self._has_ended or not self._file.looks:
            return frames[0]
        watched = self._watched
        if watched.use.serial != self._use:
            self._use = watched.use.serial
            frames.append(self._framed(watched.use.body))
        if self._series:
            await self._add_series(frames)
        await self._add_log(frames)
        if self._is_at_end():
            run = self._file.seen.run
            self._has_ended = True
            self._over = not self._tells_all
            outcome = encode_outcome(run) if run is not None else None
            frames.append(self._framed(body_of("end", {"outcome": outcome})))
        return b"".join(frames)

    async def _add_series(self, frames: list[bytes]) -> None:
        watched = self._watched
        if watched.convergence.serial != self._convergence:
            self._convergence = watched.convergence.serial
            frames.append(self._framed(watched.convergence.body))
        if watched.changes == self._changes:
            return
        changes = watched.changes
        part = await watched.part(self.step)
        if part is not None and part.has_more:
            self._woken.set()
        else:
            self._changes = changes
        if part is not None:
            self.step = part.to
            frames.append(self._framed(part.body))

    async def _add_log(self, frames: list[bytes]) -> None:
        seen = self._file.seen
        is_beyond = self.place > seen.size and seen.is_there
        if is_beyond and self._file.looks < self._looks + _LOOKS:
            self._file.nudge()  # it may have grown since it was looked at
            return
        if seen.version != self._version or is_beyond:
            # Of several cuts, or of those while nobody looked, it is not known how far they went.
            to = seen.cut_to if seen.version == self._version + 1 else 0
            self._version = seen.version
            if self.place > to:
                self.place = to
                frames.append(self._framed(body_of("truncated", {"to": to})))
        loop = asyncio.get_running_loop()
        if self.place >= seen.ready:
            return
        if loop.time() < self._next_at:
            loop.call_at(self._next_at, self._woken.set)
            return
        part = await self._file.part(self.place)
        if part is not None:
            self._next_at = loop.time() + ROUND_SECONDS
            self.place = part.to
            frames.append(self._framed(part.body))
            if self.place < seen.ready:
                loop.call_at(self._next_at, self._woken.set)

    def _is_at_end(self) -> bool:
        seen = self._file.seen
        if not seen.is_final or self.place < seen.ready or self.place > seen.size > 0:
            return False
        return not self._series or (
            self._watched.is_final and self._watched.changes == self._changes
        )

    def _mark(self, entry_id: int) -> str:
        return f"{self.place}:{self.step}:{super()._mark(entry_id)}"

    def _framed(self, body: bytes) -> bytes:
        return f"id: {self._mark(self._told)}\n".encode() + body


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/live/",
    "The log, the series and the use of a run, while they come",
    query("log", f"Which file; `{DEFAULT_PATH}` without it."),
    query("from", "The first byte of it that is wanted; 0 without it.", "integer"),
    query("series", "`1`: points of the series as they come, and whether the run converges."),
    query("since", "The `index` of the points that are there already.", "integer"),
    query("topics", "As of `events/`: what that would send comes in this stream, too."),
    LAST_EVENT_ID,
    reply=text(
        _EXAMPLE,
        "Server-sent events: log, gap, truncated, series, convergence, metrics, end; with topics"
        " also those of `events/`.",
    ),
    media_type="text/event-stream",
    also=(400, 429),
    tag="extensions",
)
async def stream_run(request: Request, job_id: str, run_id: str) -> Response:
    hub: Hub = request.app.state.hub
    user, asked = caller(request), request.query_params
    if hub.is_full_for(user):
        return too_many_streams()
    place, step = _number(request, "from"), _number(request, "since")
    topics = Topics.parse(asked["topics"]) if "topics" in asked else None
    last_id = None
    header = request.headers.get("last-event-id") or ""
    words = header.split(":", 2)
    if len(words) == 3 and _is_number(words[0]) and _is_number(words[1]):
        place, step, last_id = int(words[0]), int(words[1]), words[2]
    elif header:
        last_id = header  # of another stream of events
    stream = LiveStream(hub, user, topics, last_id, series=asked.get("series") in ("1", "true"))
    stream.place, stream.step = place, step
    # First of all, so that no share that ends and no run that does is missed.
    hub.join(stream)
    try:
        number, db = run_number(run_id), site_of(request).db
        job = db.read(service.get_job, user, job_id).job
        run = db.read(service.get_run, user, job_id, number)
        path = asked.get("log") or DEFAULT_PATH
        streams = [each for each in hub.streams_of(user) if isinstance(each, LiveStream)]
        watched = {each.file for each in streams if each.file is not None}
        if len(watched | {(job.code, run.number, path)}) > FILES_MOST:
            hub.leave(stream)
            detail = "You watch too many different files. Close some of their streams."
            return too_many(detail, PING_SECONDS)
        stream.watch(request.app.state.watches, job, run, path)
    except SimyardError:
        hub.leave(stream)
        raise
    return stream


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not _is_number(text):
        raise Invalid.at(name, "A valid integer of 0 or more is required.")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
