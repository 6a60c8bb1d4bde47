"""Asking a run to end in its solver's own way, before it is told to.

What the catalogue says (`[[stop]]`) becomes a plan, which is written beside the work folder before
anything is done: after a crash the same is done again, and when the run has ended its user's files
are as they were. A recipe that does not work costs nothing but itself: the run is told to end.
"""

import contextlib
import dataclasses
import json
import logging
import os
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import msgspec

from simyard.domain import jobs as rules
from simyard.domain.errors import NotFound, disk_is_full
from simyard.domain.faults import crash_point
from simyard.domain.jobs import Job
from simyard.domain.records import dataclass
from simyard.domain.runs import Run
from simyard.domain.stops import StopRecipe, case_of, fill
from simyard.engines.protocol import Folder
from simyard.service import edits
from simyard.service.site import Site

log = logging.getLogger(__name__)

_PLAN = "stop.json"  # in the attempt's folder
_AHEAD_SECONDS = 15.0  # more than OpenFOAM's fileModificationSkew of 10 s


@dataclass(frozen=True, kw_only=True)
class Edited:
    path: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to end a run. Nothing in it: it is told to end at once."""

    kinds: tuple[str, ...] = ()  # of the recipes, in words
    edited: tuple[Edited, ...] = ()
    created: tuple[str, ...] = ()  # paths of files that were not there
    signal: str = ""
    seconds: float = 0.0  # how long the run has for it

    @property
    def does_something(self) -> bool:
        return bool(self.edited or self.created or self.signal) and self.seconds > 0


_read_plan = msgspec.json.Decoder(Plan)


def stop(site: Site, job: Job, run: Run) -> None:
    """Make a run end: in its solver's way where there is one and it runs, with TERM where not.
    Returns at once. Safe to repeat.
    """
    assert run.token is not None
    folder = site.engine_of(run).folder(run.token)
    if run.started_at is None or not folder.root.is_dir():
        site.engine_of(run).cancel(run.token)
        return
    plan = _kept(folder)
    if plan is None:
        plan = _plan(site, job, run, folder)
        _keep(folder, plan)
        crash_point("stop.planned")
        if plan.does_something:
            what = ", ".join([*(e.path for e in plan.edited), *plan.created, plan.signal])
            log.info("run %d is asked to end: %s (%s)", run.id, plan.kinds[0], what.strip(", "))
    if plan.does_something:
        # Told before it is asked: a solver that ends at once would seem to have ended by itself.
        number = signal.Signals[f"SIG{plan.signal}"] if plan.signal else None
        site.engine_of(run).cancel(run.token, signal=number, after_seconds=plan.seconds)
        try:
            _carry_out(folder, plan)
        except (OSError, NotFound) as error:
            log.warning("run %d: its stop recipe failed (%s); it is told to end", run.id, error)
            plan = dataclasses.replace(plan, seconds=0.0)
            _keep(folder, plan)
    if not plan.does_something:
        site.engine_of(run).cancel(run.token)


def hurry(site: Site, runs: Sequence[Run]) -> None:
    """End the waiting for runs that were asked to end in their solvers' way."""
    for run in runs:
        if run.token is not None and run.started_at is not None:
            with contextlib.suppress(OSError):  # the effect of the state asks again
                site.engine_of(run).cancel(run.token)


def restore(folder: Folder) -> None:
    """Bring back what was edited and remove what was created, where the run left it as it was. For
    runs of which nothing is alive. Safe to repeat. Raises OSError where the disk is full.
    """
    plan = _kept(folder)
    if plan is None:
        return
    for edited in plan.edited:
        if edits.read(folder, edited.path) == edited.after:
            try:
                edits.replace(folder, edited.path, edited.before)
            except (OSError, NotFound) as error:
                if disk_is_full(error):
                    raise
                log.warning("%s is left as it was edited to stop the run: %s", edited.path, error)
    for path in plan.created:
        edits.remove_empty(folder, path)


# --- the plan -------------------------------------------------------------------------------------


def _kept(folder: Folder) -> Plan | None:
    try:
        return _read_plan.decode((folder.root / _PLAN).read_bytes())
    except FileNotFoundError:
        return None


def _keep(folder: Folder, plan: Plan) -> None:
    aside = folder.root / f"{_PLAN}.new"
    with aside.open("w") as file:
        json.dump(dataclasses.asdict(plan), file)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(folder.root / _PLAN)


def _plan(site: Site, job: Job, run: Run, folder: Folder) -> Plan:
    """Of each of the job's analyses the first recipe that can be tried."""
    seconds = min(site.stop_recipe_seconds, _walltime_left(site, job, run))
    if seconds <= 0:
        return Plan()
    catalogue = site.book.current()
    plan = Plan(seconds=seconds)
    for code in dict.fromkeys(sent.code for sent in job.definition.analyses):
        analysis = catalogue.analysis(code)
        for recipe in analysis.stop if analysis else ():
            try:
                more = _try(folder, recipe)
            except (OSError, NotFound) as error:
                log.warning("run %d: %s cannot be tried: %s", run.id, recipe.kind, error)
                continue
            if more is not None:
                plan = Plan(
                    kinds=(*plan.kinds, *more.kinds),
                    edited=(*plan.edited, *more.edited),
                    created=(*plan.created, *more.created),
                    signal=plan.signal or more.signal,
                    seconds=seconds,
                )
                break
    return plan


def _walltime_left(site: Site, job: Job, run: Run) -> float:
    assert run.started_at is not None
    walltime = min(rules.walltime_seconds(a.hardware, site.limits) for a in job.definition.analyses)
    return walltime - (site.clock() - run.started_at).total_seconds()


def _try(folder: Folder, recipe: StopRecipe) -> Plan | None:
    """What a recipe would do; None where what it needs is not there."""
    kinds = (recipe.kind,)
    if recipe.needs is None:
        return Plan(kinds=kinds, signal=recipe.signal)
    found = list(_where(folder, recipe))
    if not found:
        return None
    if recipe.signal:
        return Plan(kinds=kinds, signal=recipe.signal)
    if recipe.edit:
        edited = [
            Edited(path=path, before=text, after=recipe.edit.apply(text)) for path, text, _ in found
        ]
        changed = tuple(edited for edited in edited if edited.before != edited.after)
        return Plan(kinds=kinds, edited=changed) if changed else None
    created: dict[str, None] = {}
    for path, _, match in found:
        name = PurePosixPath(fill(recipe.create, match.groupdict()))
        case = case_of(path, recipe.needs.file) or ""
        wanted = f"{case}/{name}" if case else str(name)
        if not name.is_absolute() and ".." not in name.parts and not edits.exists(folder, wanted):
            created[wanted] = None
    return Plan(kinds=kinds, created=tuple(created)) if created else None


def _where(folder: Folder, recipe: StopRecipe) -> Iterator[tuple[str, str, re.Match[str]]]:
    """(path, text, match) of every file in which the recipe has what it needs."""
    assert recipe.needs is not None
    for path in edits.find(folder, recipe.needs.file):
        text = edits.read(folder, path)
        match = re.search(recipe.needs.pattern, text) if text is not None else None
        if text is not None and match is not None:
            yield path, text, match


def _carry_out(folder: Folder, plan: Plan) -> None:
    """What was changed meanwhile by somebody else stays as it is."""
    for edited in plan.edited:
        if edits.read(folder, edited.path) == edited.before:
            edits.replace(folder, edited.path, edited.after, ahead_seconds=_AHEAD_SECONDS)
    for path in plan.created:
        edits.create(folder, path)
