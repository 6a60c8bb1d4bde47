"""The suite for engines finds engines that are broken: each of its tests at least one."""

import inspect
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from simyard.domain.runs import Allowance, Cause, Ending, Sample
from simyard.engines.local import LocalEngine
from simyard.engines.protocol import Bind, Folder, Observation, Phase, Request
from simyard.engines.sandbox import Sandbox
from simyard.testing.doubles import Around, OnNews
from simyard.testing.engines import EngineConformance, Rig

NO_BOX = Sandbox("none", "for this test", None)
SUITE = {n for n, _ in inspect.getmembers(EngineConformance, inspect.isfunction) if "test_" in n}
PATIENCE_SECONDS = 4.0


class Broken(Around):
    """Right in all but one thing."""

    def __init__(self, root: Path, on_news: OnNews) -> None:
        self.root = root
        self.mine: set[str] = set()  # prepared by this object
        super().__init__(
            lambda hear: LocalEngine(root, NO_BOX, hear, network=False), on_news, name="broken"
        )

    def prepare(self, token: str, request: Request) -> Folder:
        self.mine.add(token)
        return super().prepare(token, request)

    def observe(self, tokens: Sequence[str]) -> dict[str, Observation]:
        return {t: self.told(t, found) for t, found in super().observe(tokens).items()}

    def told(self, token: str, found: Observation) -> Observation:
        return found

    def sees(self, token: str) -> Phase:
        return self._inner.observe([token])[token].phase


def ending_of(found: Observation, **changes: Any) -> Observation:
    assert found.ending is not None
    return replace(found, ending=replace(found.ending, **changes))


class LaysOutTooMuch(Broken):
    def prepare(self, token, request):
        made = super().prepare(token, request)
        (made.work / "README").touch()
        return made


class NamesAnotherOwner(Broken):
    def folder(self, token):
        return replace(super().folder(token), owner=(4711, 4711))

    def prepare(self, token, request):
        super().prepare(token, request)
        return self.folder(token)


class KeepsWhatWasThere(Broken):
    def prepare(self, token, request):
        there = self.folder(token)
        return there if there.root.exists() else super().prepare(token, request)


class ListsEverything(Broken):
    def tokens(self):
        return [*super().tokens(), *self.asides()]


class TakesAbsentForFinished(Broken):
    def told(self, token, found):
        if found.phase is not Phase.VANISHED:
            return found
        well, now = Ending(cause=Cause.EXITED, exit_code=0), datetime.now().astimezone()
        return Observation(phase=Phase.ENDED, started_at=now, ended_at=now, ending=well)


class LeavesTraces(Broken):
    def told(self, token, found):
        if found.phase is not Phase.VANISHED:
            (self.folder(token).root / f"seen.{time.monotonic_ns()}").touch()
        return found


class GoesOnAfterAFailure(Broken):
    def submit(self, attempt):
        steps = [replace(step, is_lenient=True) for step in attempt.steps]
        super().submit(replace(attempt, steps=steps))


class ForgivesNothing(Broken):
    def submit(self, attempt):
        steps = [replace(step, is_lenient=False) for step in attempt.steps]
        super().submit(replace(attempt, steps=steps))


class CallsAllWell(Broken):
    def told(self, token, found):
        return ending_of(found, exit_code=0, step="") if found.ending else found


class HasPythonsCodesForSignals(Broken):
    def told(self, token, found):
        if found.ending and (found.ending.exit_code or 0) > 128:
            return ending_of(found, exit_code=128 - found.ending.exit_code)
        return found


class WaitsForTheEnd(Broken):
    def submit(self, attempt):
        super().submit(attempt)
        until = time.monotonic() + PATIENCE_SECONDS + 0.5
        while self.sees(attempt.token) is not Phase.ENDED and time.monotonic() < until:
            time.sleep(0.05)


class EndsTooEarly(Broken):
    def told(self, token, found):
        if found.phase is not Phase.RUNNING:
            return found
        well = Ending(cause=Cause.EXITED, exit_code=0)
        return replace(found, phase=Phase.ENDED, ended_at=found.started_at, ending=well)


class HasNoTimeZone(Broken):
    def told(self, token, found):
        at = found.started_at
        return replace(found, started_at=at and at.replace(tzinfo=None))


class IsAlwaysJustBegun(Broken):
    def told(self, token, found):
        if found.phase is not Phase.RUNNING:
            return found
        return replace(found, started_at=datetime.now().astimezone())


class LooksOnlyWhenItHears(Broken):
    """And its news get lost."""

    def __init__(self, root, on_news):
        self.known: dict[str, Observation] = {}
        super().__init__(root, lambda _: None)

    def told(self, token, found):
        return self.known.setdefault(token, found)


class SendsBytes(Broken):
    def _hear(self, token):
        self._tell(token.encode())


class DropsVariables(Broken):
    def submit(self, attempt):
        super().submit(replace(attempt, env={}))


class MixesVariablesOfSteps(Broken):
    def submit(self, attempt):
        env = {**attempt.env, **attempt.steps[0].env}
        super().submit(replace(attempt, env=env))


class SortsThePath(Broken):
    def submit(self, attempt):
        super().submit(replace(attempt, path=sorted(attempt.path)))


class BindsNothing(Broken):
    def shown(self, token, source, name):
        return Bind(str(source), f"/nowhere/{name}")


class BeginsTheLogAnew(Broken):
    def submit(self, attempt):
        log = self.folder(attempt.token).work / "process_output.log"
        if self.sees(attempt.token) is Phase.UNKNOWN:
            log.unlink(missing_ok=True)
        super().submit(attempt)


class KeepsNothingTold(Broken):
    def submit(self, attempt):
        steps = [replace(step, is_told=False) for step in attempt.steps]
        super().submit(replace(attempt, steps=steps))


class StartsAgain(Broken):
    """Somebody who asks again gets another start, once the first has ended."""

    def submit(self, attempt):
        root = self.folder(attempt.token).root
        if self.sees(attempt.token) is Phase.ENDED:
            for name in ("exit.json", "pid.json", "steps"):
                (root / name).unlink(missing_ok=True)
        super().submit(attempt)


class HasNoSlots(Broken):
    def capabilities(self):
        return replace(super().capabilities(), ahead=100)


class HearsAStopOnlyWhileItRuns(Broken):
    def cancel(self, token, *, signal=None, after_seconds=0.0):
        if self.sees(token) is Phase.RUNNING:
            super().cancel(token, signal=signal, after_seconds=after_seconds)


class SaysThatItEnds(Broken):
    """Before it has."""

    def __init__(self, root, on_news):
        self.stopped: dict[str, Observation] = {}
        super().__init__(root, on_news)

    def cancel(self, token, *, signal=None, after_seconds=0.0):
        found = self._inner.observe([token])[token]
        ending, now = Ending(cause=Cause.STOPPED), datetime.now().astimezone()
        self.stopped[token] = replace(found, phase=Phase.ENDED, ended_at=now, ending=ending)
        if found.phase is not Phase.RUNNING:
            super().cancel(token)

    def told(self, token, found):
        stopped = self.stopped.get(token)
        return stopped if stopped and found.phase is Phase.RUNNING else found


class EndsTheOthersToo(Broken):
    def cancel(self, token, *, signal=None, after_seconds=0.0):
        for each in self.tokens():
            if self.sees(each) is Phase.RUNNING:
                super().cancel(each)


class ChangesTheEnd(Broken):
    def __init__(self, root, on_news):
        self.stopped: set[str] = set()
        super().__init__(root, on_news)

    def cancel(self, token, *, signal=None, after_seconds=0.0):
        self.stopped.add(token)
        super().cancel(token, signal=signal, after_seconds=after_seconds)

    def told(self, token, found):
        is_stopped = token in self.stopped and found.ending is not None
        return ending_of(found, cause=Cause.STOPPED) if is_stopped else found


class HasNoManners(Broken):
    def cancel(self, token, *, signal=None, after_seconds=0.0):
        super().cancel(token)


class SendsNoSignals(Broken):
    def cancel(self, token, *, signal=None, after_seconds=0.0):
        super().cancel(token, after_seconds=after_seconds)


class EndsAtOnce(Broken):
    def submit(self, attempt):
        super().submit(replace(attempt, allowance=replace(attempt.allowance, walltime=0)))


class KeepsNoLimits(Broken):
    def submit(self, attempt):
        walltime = attempt.allowance.walltime
        super().submit(replace(attempt, allowance=Allowance(walltime=walltime)))


class MixesSamples(Broken):
    def samples(self, token):
        known = token in self.tokens()
        return [Sample(seconds=2.0), Sample(seconds=1.0)] if known else []


class LeavesTheFolder(Broken):
    def remove(self, token):
        if self.sees(token) is not Phase.ENDED:
            super().remove(token)


class TakesTheFolderFromUnderIt(Broken):
    def remove(self, token):
        root = self.folder(token).root
        if root.exists():
            pids = json.loads((root / "pid.json").read_text())
            shutil.rmtree(root)
            os.killpg(pids["payload"], signal.SIGKILL)  # the supervisor dies without its folder


class MakesTheFolderAgain(Broken):
    def submit(self, attempt):
        if not self.folder(attempt.token).root.exists():
            self.prepare(attempt.token, attempt.request)
        super().submit(attempt)


class EndsItsAttemptsWithIt(Broken):
    def close(self):
        for token in self.tokens():
            if self.sees(token) is Phase.RUNNING:
                super().cancel(token)
        super().close()


class RemembersCodesInMemory(Broken):
    def told(self, token, found):
        lost = found.ending is not None and token not in self.mine
        return ending_of(found, exit_code=None) if lost else found


class KnowsOnlyItsOwn(Broken):
    def told(self, token, found):
        return found if token in self.mine else Observation(phase=Phase.VANISHED)


class LooksForItsFolders(Broken):
    def folder(self, token):
        time.sleep(0.15)
        return super().folder(token)


class DoesNotTellWhatHolds(Broken):
    def capabilities(self):
        return replace(super().capabilities(), isolation_detail="")


class IsAlwaysInTrouble(Broken):
    def capabilities(self):
        return replace(super().capabilities(), trouble="Somebody is away.")


# Who is found by which test, and what is said then.
FOUND: list[tuple[type[Broken], str, str]] = [
    (LaysOutTooMuch, "test_a_folder_is_fresh_and_belongs_to_its_owner", "is not empty"),
    (NamesAnotherOwner, "test_a_folder_is_fresh_and_belongs_to_its_owner", "not its owner's"),
    (KeepsWhatWasThere, "test_what_was_laid_out_before_is_gone", "is still there"),
    (ListsEverything, "test_folders_beside_those_of_the_attempts", "listed as an attempt"),
    (TakesAbsentForFinished, "test_what_is_not_there_is_not_finished", "nobody knows it"),
    (LeavesTraces, "test_looking_changes_nothing", "traces"),
    (GoesOnAfterAFailure, "test_how_it_ended", "Cause.EXITED"),
    (ForgivesNothing, "test_how_it_ended", "Cause.EXITED"),
    (CallsAllWell, "test_how_it_ended", "Cause.EXITED"),
    (HasPythonsCodesForSignals, "test_how_it_ended", "-9"),
    (WaitsForTheEnd, "test_when_it_ran", "to ask for a start took"),
    (EndsTooEarly, "test_when_it_ran", "should not yet"),
    (HasNoTimeZone, "test_when_it_ran", "no time zone"),
    (IsAlwaysJustBegun, "test_when_it_ran", "at two times"),
    (LooksOnlyWhenItHears, "test_when_it_ran", "it was not running within"),
    (SendsBytes, "test_news_are_of_attempts_and_nothing_depends_on_them", "news are tokens"),
    (DropsVariables, "test_what_a_payload_sees", "of the attempt came out differently"),
    (MixesVariablesOfSteps, "test_what_a_payload_sees", "variables of another"),
    (SortsThePath, "test_what_a_payload_sees", "not its PATH"),
    (BindsNothing, "test_what_a_payload_sees", "nowhere"),
    (BeginsTheLogAnew, "test_the_log", "'out'"),
    (KeepsNothingTold, "test_the_log", "was not kept"),
    (StartsAgain, "test_it_starts_once_however_often_it_is_asked_for", "two ways|times|otherwise"),
    (HasNoSlots, "test_attempts_of_one_group_run_so_many_at_a_time", "run at a time"),
    (
        HearsAStopOnlyWhileItRuns,
        "test_what_is_stopped_before_it_starts_never_does",
        "it tells when",
    ),
    (HearsAStopOnlyWhileItRuns, "test_a_stop_meets_the_start", "it was not ended or vanished"),
    (SaysThatItEnds, "test_a_stop_ends_all_of_it_and_nothing_else", "not told to end"),
    (EndsTheOthersToo, "test_a_stop_ends_all_of_it_and_nothing_else", "another attempt"),
    (ChangesTheEnd, "test_a_stop_ends_all_of_it_and_nothing_else", "in two ways"),
    (HasNoManners, "test_it_may_end_in_its_own_way", "."),
    (SendsNoSignals, "test_it_may_end_in_its_own_way", "it was not ended"),
    (EndsAtOnce, "test_limits", "should not yet|its walltime was 1 s|: Ending"),
    (KeepsNoLimits, "test_limits", "it was not ended"),
    (MixesSamples, "test_what_was_used", "not in their order"),
    (LeavesTheFolder, "test_what_ended_is_removed", "there still"),
    (TakesTheFolderFromUnderIt, "test_what_is_alive_is_ended_and_then_removed", "was removed"),
    (MakesTheFolderAgain, "test_what_was_removed_before_its_start_never_starts", "came back"),
    (
        EndsItsAttemptsWithIt,
        "test_attempts_go_on_without_their_engine",
        "should not yet|Cause.STOPPED",
    ),
    (RemembersCodesInMemory, "test_attempts_go_on_without_their_engine", "exit_code=None"),
    (KnowsOnlyItsOwn, "test_a_crash_between_any_two_steps", "nobody has asked for it"),
    (LooksForItsFolders, "test_some_answers_come_at_once", "four answers took"),
    (DoesNotTellWhatHolds, "test_capabilities", "what that means"),
    (IsAlwaysInTrouble, "test_capabilities", "Somebody is away"),
]


@pytest.mark.parametrize(
    ("broken", "test", "said"), FOUND, ids=[f"{b.__name__}-{t[5:25]}" for b, t, _ in FOUND]
)
def test_it_is_found(broken: type[Broken], test: str, said: str, tmp_path: Path) -> None:
    call: Callable[[Rig], None] = getattr(EngineConformance(), test)
    with Rig(lambda on_news: broken(tmp_path, on_news), patience_seconds=PATIENCE_SECONDS) as rig:
        with pytest.raises(AssertionError, match=said):
            call(rig)


def test_every_test_finds_somebody() -> None:
    assert {test for _, test, _ in FOUND} == SUITE
