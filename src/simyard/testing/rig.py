"""An engine on the test rig: what its tests need to deal with it as the platform does.

The platform asks for a start again and again until something is seen, lays an attempt that vanished
out anew under another token, and never relies on news. So does a `Trial`. Every observation that it
makes is held against the protocol.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from simyard.domain.errors import SimyardError
from simyard.domain.records import dataclass
from simyard.domain.runs import Allowance
from simyard.engines.attempts import LOG_NAME
from simyard.engines.protocol import AttemptSpec, Engine, Folder, Observation, Phase, Request, Step

Make = Callable[[Callable[[str], None]], Engine]

HOLD = "until [ -e go ]; do sleep 0.05; done"  # a command that waits for `Trial.go`
_STARTED = "starts"  # in the work folder: a line for every start of the payload
_LOOK_SECONDS = 0.02
_ASK_SECONDS = 0.25
_MOST_RENEWALS = 20
_CLOCKS_SECONDS = 5.0  # by which the clocks of a cluster may differ


class Rig:
    """Opens an engine, again if need be, and ends at its own end whatever is left of the trials.

    make: opens an engine; called with what takes its news. Whenever it is called the attempts of
    the engine before are there: the same folder, cluster or whatever keeps them.
    patience_seconds: how long a start, an end or an answer may take. What takes longer is broken.
    crash: ends what would die with the process of an engine (threads, say) without a good-bye;
    None: nothing has to.
    """

    def __init__(
        self,
        make: Make,
        *,
        patience_seconds: float = 10.0,
        crash: Callable[[Any], None] | None = None,
    ) -> None:
        self.patience_seconds = patience_seconds
        self.news: list[str] = []
        self._make = make
        self._crash = crash
        self._engine: Engine | None = None
        self._dropped: list[Engine] = []
        self._trials: list[Trial] = []

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the engine is down"
        return self._engine

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._engine is None:
            self.open()
        for trial in self._trials:
            trial.end_whatever_is_left()
        for engine in (self.engine, *self._dropped):
            engine.close()

    def open(self) -> None:
        self._engine = self._make(self.news.append)

    def crash(self) -> None:
        """The engine's caller dies: nobody closes it, and nobody calls it again."""
        if self._crash is not None:
            self._crash(self.engine)
        self._dropped.append(self.engine)
        self._engine = None

    def again(self) -> None:
        """The caller dies and comes back."""
        self.crash()
        self.open()

    def trial(
        self, *steps: str | Step, files: Mapping[str, str] | None = None, **changes: Any
    ) -> "Trial":
        """An attempt that is laid out. files: what lies in its work folder. changes: fields of its
        AttemptSpec that differ from the trials'.
        """
        made = Trial(self, steps, files or {}, changes)
        self._trials.append(made)
        return made

    def started(self, *steps: str | Step, **changes: Any) -> "Trial":
        """An attempt that was asked for."""
        made = self.trial(*steps, **changes)
        made.submit()
        return made

    def let_time_pass(self) -> None:
        """Until what was asked for before would have begun: another one comes and goes."""
        self.started("true").ended()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + self.patience_seconds
        while not condition():
            assert time.monotonic() < until, f"{what} did not come in {self.patience_seconds:g} s"
            time.sleep(_LOOK_SECONDS)


@dataclass(eq=False)
class Trial:
    """One attempt. `submit` asks for it, `begun`, `ended` and `over` wait for it."""

    rig: Rig
    steps: Sequence[str | Step]
    files: Mapping[str, str]
    changes: Mapping[str, Any]
    token: str = ""
    folder: Folder = field(init=False)
    _asked_at: float | None = None  # monotonic
    _seen: dict[Phase, Observation] = field(default_factory=dict)  # the first of each
    _renewals: int = 0

    def __post_init__(self) -> None:
        self.lay_out()

    def lay_out(self) -> None:
        """With a new token."""
        self.token = uuid.uuid4().hex
        self._asked_at, self._seen = None, {}
        self.folder = self.rig.engine.prepare(self.token, self.spec.request)
        for name, content in self.files.items():
            path = self.folder.work / name
            path.write_text(content)
            if self.folder.owner is not None:
                os.chown(path, *self.folder.owner)

    @property
    def spec(self) -> AttemptSpec:
        steps = [
            step if isinstance(step, Step) else Step(label=f"step {n}", command=step, env={})
            for n, step in enumerate(self.steps)
        ]
        first = replace(steps[0], command=f"echo started >> {_STARTED}\n{steps[0].command}")
        spec = AttemptSpec(
            token=self.token,
            request=Request(cores=1),
            steps=[first, *steps[1:]],
            env={},
            path=["/usr/local/bin", "/usr/bin", "/bin"],
            binds=[],
            network=True,
            allowance=Allowance(walltime=120),
            grace_seconds=0.5,
        )
        return replace(spec, **self.changes)

    # --- what the platform does -------------------------------------------------------------------

    def submit(self) -> None:
        self._asked_at = time.monotonic()
        self.rig.engine.submit(self.spec)

    def cancel(self, signal: int | None = None, after_seconds: float = 0.0) -> None:
        self.rig.engine.cancel(self.token, signal=signal, after_seconds=after_seconds)

    def go(self) -> None:
        """Let a payload that holds go on."""
        (self.folder.work / "go").touch()

    def seen(self) -> Observation:
        found = self.rig.engine.observe([self.token])
        assert list(found) == [self.token], f"asked for {self.token}, it tells of {list(found)}"
        seen = found[self.token]
        self._hold(seen)
        return seen

    def look(self) -> Observation:
        """See how it is. What vanished before it began is laid out anew, and the start is asked for
        again while nothing is seen.
        """
        seen = self.seen()
        if self._asked_at is None or Phase.RUNNING in self._seen:
            return seen
        if seen.phase is Phase.VANISHED:
            self._renewals += 1
            assert self._renewals < _MOST_RENEWALS, "one attempt after the other vanishes"
            self.lay_out()
            self.submit()
        is_unseen = seen.phase is Phase.UNKNOWN and Phase.WAITING not in self._seen
        if is_unseen and time.monotonic() - self._asked_at > _ASK_SECONDS:
            self.submit()
        return seen

    def begun(self) -> Observation:
        """Wait until its payload was seen."""
        return self._until(self.look, Phase.RUNNING)

    def up(self) -> None:
        """Wait until its payload was seen and has made the file `up`."""
        self.begun()
        self.rig.wait(lambda: self.has("up"), "the file `up`")

    @property
    def is_begun(self) -> bool:
        """Whether its payload was seen so far."""
        return any(seen.started_at is not None for seen in self._seen.values())

    def ended(self) -> Observation:
        return self._until(self.look, Phase.ENDED)

    def over(self) -> Observation:
        """Wait until it ended or vanished; nobody asks for its start any more."""
        return self._until(self.seen, Phase.ENDED, Phase.VANISHED)

    def _until(self, look: Callable[[], Observation], *phases: Phase) -> Observation:
        since = time.monotonic()
        while (seen := look()).phase not in phases:
            assert seen.phase is not Phase.ENDED, f"it ended, and should not yet: {seen.ending}"
            # With every renewal all begins again.
            patience = self.rig.patience_seconds * (1 + self._renewals)
            assert time.monotonic() < since + patience, (
                f"it was not {' or '.join(phases)} within {patience:g} s, but {seen.phase}"
            )
            time.sleep(_LOOK_SECONDS)
        return seen

    def end_whatever_is_left(self) -> None:
        """And remove it, as well as that goes: for the end of the rig."""
        until = time.monotonic() + self.rig.patience_seconds
        while time.monotonic() < until:
            with contextlib.suppress(SimyardError):
                self.rig.engine.remove(self.token)  # what is alive is told to end
                return
            time.sleep(_LOOK_SECONDS)

    # --- what can be seen of its payload ----------------------------------------------------------

    def has(self, name: str) -> bool:
        return (self.folder.work / name).exists()

    def text(self, name: str) -> str:
        """A file of its work folder; "" where there is none."""
        path = self.folder.work / name
        return path.read_text() if path.exists() else ""

    @property
    def log(self) -> str:
        return self.text(LOG_NAME)

    @property
    def starts(self) -> int:
        """How often its payload was started."""
        return len(self.text(_STARTED).splitlines())

    # --- what an observation may be ---------------------------------------------------------------

    def _hold(self, seen: Observation) -> None:
        """Against the protocol, and against what was seen before."""
        first = self._seen.setdefault(seen.phase, seen)
        for at in (seen.started_at, seen.ended_at):
            if at is not None:
                assert at.tzinfo is not None, f"{at} is of no time zone"
                ago = time.time() - at.timestamp()
                assert -_CLOCKS_SECONDS < ago < 3600, f"{at} is not when that happened"
        match seen.phase:
            case Phase.UNKNOWN | Phase.WAITING | Phase.VANISHED:
                tells = (seen.started_at, seen.ended_at, seen.ending)
                assert tells == (None, None, None), f"{seen.phase} and yet {tells}"
                if seen.phase is Phase.WAITING:
                    assert seen.waiting is not None, "waiting, and it does not tell what for"
                    assert seen.waiting.reason, "waiting, and it does not tell what for"
                if seen.phase is Phase.VANISHED:
                    assert not self.starts, "it vanished, and its payload has run"
            case Phase.RUNNING:
                assert seen.started_at is not None, "running, and it does not tell since when"
                assert (seen.ended_at, seen.ending) == (None, None), "running, and it has ended"
                assert first.started_at == seen.started_at, "it began at two times"
            case Phase.ENDED:
                assert seen.ending is not None, "ended, and it does not tell how"
                assert seen.ended_at is not None, "ended, and it does not tell when"
                now, before = _facts(seen), _facts(first)
                assert now == before, f"it ended in two ways: {now}, before {before}"
                if self.starts:
                    assert seen.started_at is not None, "it ran, and it does not tell since when"
                if seen.started_at is not None:
                    assert seen.started_at <= seen.ended_at, "it ended before it began"
                running = self._seen.get(Phase.RUNNING, seen)
                assert running.started_at == seen.started_at, "it began at two times"


def _facts(seen: Observation) -> tuple[object, ...]:
    ending = seen.ending
    said = ending and (ending.cause, ending.exit_code, ending.step, ending.limit, ending.tolerated)
    return (said, seen.started_at, seen.ended_at)


def listing(root: Path) -> list[tuple[str, int, int]]:
    """Everything below a folder, with the size and time of each."""
    found = []
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            seen = os.lstat(os.path.join(folder, name))
            found.append((os.path.join(folder, name), seen.st_size, seen.st_mtime_ns))
    return sorted(found)
