"""How far runs are and whether they converge, told as `run` events to those who listen.

While nobody listens nothing is looked at. Else, once a second, the runs that execute and that
somebody hears of are followed as those are whose page is open: one look for all, less often the
longer it takes and the more they are. What was found is told where it is something else than what
was told before.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from operator import itemgetter

from simyard.api.events import Hub, progress_event
from simyard.api.series import progress_of
from simyard.api.watching import RunWatch, Watches
from simyard.domain.convergence import Convergence, Eta, State
from simyard.domain.errors import SimyardError
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.service.convergence import Executing, executing
from simyard.service.series import LOGS_KEPT, TRIED

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 1.0  # between two events of a run, at least
# Runs. Places in so many logs are remembered, and in some more for who looks at other runs: what is
# forgotten is read from the start again.
_FOLLOWED_MOST = LOGS_KEPT // (TRIED + 1)
_LISTED_MOST = 500
_SHOWN_SECONDS = 15.0  # that a job counts as on somebody's screen


@dataclass
class _Followed:
    """A run, and what was told of it."""

    run: Executing
    watch: RunWatch
    told: Convergence | None = None

    def news(self) -> Convergence | None:
        """What was found and is not told yet."""
        if self.watch.found is None:
            return None
        found = rounded(self.watch.found)
        if found == self.told or (self.told is None and not _says_something(found)):
            return None
        self.told = found
        return found


class Progress:
    """All that are followed now. Of the event loop only."""

    def __init__(self, hub: Hub, watches: Watches) -> None:
        self._hub, self._watches = hub, watches
        self._listed: list[Executing] = []
        self._stamp: object = None  # of what is listed
        self._followed: dict[str, _Followed] = {}  # by token
        self._shown: dict[str, float] = {}  # by code of a job: when

    def shown(self, codes: Iterable[str]) -> None:
        """Jobs that somebody has on his screen: they come first where there are too many."""
        self._forget_what_was_shown()
        now = asyncio.get_running_loop().time()
        self._shown.update(dict.fromkeys(codes, now))

    async def forever(self) -> None:
        """Until it is cancelled; then no run is followed any more."""
        try:
            while True:
                if not self._hub.listeners:
                    self._follow([])
                    self._listed, self._stamp = [], None
                    await self._hub.until_heard()
                try:
                    await self.turn()
                except Exception as error:
                    unknown = None if isinstance(error, SimyardError) else error
                    log.error("runs are looked at again: %s", error, exc_info=unknown)
                await asyncio.sleep(PROGRESS_SECONDS)
        finally:
            self._follow([])

    async def turn(self) -> None:
        """Tell what is new of each run, at most one event."""
        await self._list()
        self._follow(self._wanted())
        self._tell()

    async def _list(self) -> None:
        """The runs that execute, with who sees them now: the same until something is written."""
        hub, listeners = self._hub, self._hub.listeners
        stamp = (hub.site.db.commits, listeners)
        if stamp != self._stamp:
            known: dict[str, Job] = {each.run.token or "": each.job for each in self._listed}
            self._listed = await hub.read(
                lambda conn: executing(conn, sorted(listeners), known, most=_LISTED_MOST)
            )
            self._stamp = stamp

    def _wanted(self) -> list[Executing]:
        """Those that are followed: on somebody's screen first, then the newest; the owners of many
        in turns with those of few.
        """
        self._forget_what_was_shown()
        topics = self._hub.wanted()
        found = [
            each
            for each in self._listed
            if any(each.job.code in topics[user_id] for user_id in topics.keys() & each.viewers)
            and self._watches.series.can_read(each.job)
        ]
        found.sort(key=lambda each: each.job.code not in self._shown)
        before: Counter[int] = Counter()
        turns = []
        for each in found:
            turns.append((before[each.job.owner_id], each))
            before[each.job.owner_id] += 1
        turns.sort(key=itemgetter(0))
        return [each for _, each in turns[:_FOLLOWED_MOST]]

    def _forget_what_was_shown(self) -> None:
        since = asyncio.get_running_loop().time() - _SHOWN_SECONDS
        self._shown = {code: at for code, at in self._shown.items() if at >= since}

    def _follow(self, wanted: list[Executing]) -> None:
        """These, and no others any more."""
        tokens = {each.run.token or "": each for each in wanted}
        for token in self._followed.keys() - tokens.keys():
            run = self._followed.pop(token).run
            self._watches.unfollow(self, run.job.code, run.run.number)
        for token, each in tokens.items():
            followed = self._followed.get(token)
            if followed is None:
                watch = self._watches.follow(self, each.job, each.run)
                self._followed[token] = _Followed(each, watch)
            else:
                followed.run = each

    def _tell(self) -> None:
        """At once after it was listed who sees a run: nobody may be told who does not any more,
        or after the end of a run was.
        """
        hub = self._hub
        for each in self._followed.values():
            found = each.news()
            if found is not None:
                run, data = each.run, progress_of(found)
                event = progress_event(
                    hub.position, run.job.code, run.run.number, data, hub.site.clock()
                )
                hub.tell_progress(run.viewers, event)


def rounded(found: Convergence) -> Convergence:
    """With a time left that is not another one at each look: two digits."""
    eta = found.eta
    if eta is None:
        return found
    high = None if eta.high is None else _two_digits(eta.high)
    return replace(found, eta=Eta(_two_digits(eta.seconds), _two_digits(eta.low), high))


def _two_digits(seconds: float) -> float:
    return float(f"{seconds:.2g}")


def _says_something(found: Convergence) -> bool:
    return found.state is not State.UNKNOWN or found.eta is not None or found.progress is not None
