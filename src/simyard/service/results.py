"""The runs of a study as columns: what its tables, plots and answers are made of.

All of a study's runs are read in one go, and again when anything of them is new. Numbers lie
packed; no object of a run is kept.
"""

import math
import re
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from threading import Lock
from typing import Any

from sqlalchemy import Connection

from simyard.domain import filters
from simyard.domain.errors import Invalid, NotFound, Problem, Refused
from simyard.domain.filters import BadFilter
from simyard.domain.jobs import Job
from simyard.domain.lifecycle import FINAL, State
from simyard.domain.records import dataclass
from simyard.domain.runs import FAILED, WELL, Run, reason
from simyard.domain.studies import Role, Study, Value, Variable
from simyard.domain.users import User
from simyard.service import aims
from simyard.store import jobs, runs
from simyard.store import results as stamps
from simyard.store import studies as store
from simyard.store.database import Database
from simyard.store.studies import Standing

_CHUNK = 1000
_MOST_CELLS = 20_000_000  # of all columns
_MOST_TEXT = 20_000_000  # characters of all values that are no numbers
_TEXT_SHOWN = 200  # of each
_MOST_BEST = 100  # runs that a summary names
_MOST_SENT = 2_000_000  # cells of one reply


class Status(StrEnum):
    """How far a run is, in one word."""

    PLANNED = "planned"  # it waits for a slot of the study
    WAITING = "waiting"  # for cores, or its inputs are being laid out
    RUNNING = "running"  # until its outputs are stored
    DONE = "done"  # it ended well: the only ones whose outputs count
    FAILED = "failed"
    STOPPED = "stopped"


_STATUS = tuple(Status)
_PLACES = {status: place for place, status in enumerate(_STATUS)}
_UNFINISHED = {
    State.PLANNED: Status.PLANNED,
    State.RUNNING: Status.RUNNING,
    State.STOPPING: Status.RUNNING,
    State.COLLECTING: Status.RUNNING,
}
# Columns that every study has. A variable of such a name has "variable " in front of it in filters,
# sort keys and exports.
FIXED = ("id", "status", "isOptimal", "isNominal", "duration", "coreHours", "reason")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A value for each run: a number, else a text, else nothing."""

    numbers: "array[float]" = field(default_factory=lambda: array("d"))  # nan: none
    texts: dict[int, str] = field(default_factory=dict)  # by row

    def __getitem__(self, row: int) -> float | str | None:
        number = self.numbers[row]
        return self.texts.get(row) if math.isnan(number) else number

    def fill(self, count: int) -> None:
        self.numbers.extend([math.nan] * (count - len(self.numbers)))

    def of(self, rows: Iterable[int]) -> list[float | str | None]:
        return [self[row] for row in rows]

    @property
    def has_numbers(self) -> bool:
        return not all(map(math.isnan, self.numbers))


@dataclass(kw_only=True)
class Results:
    """A study and its runs; row r is the run with the number r + 1."""

    study: Study
    standing: Standing
    statuses: bytearray = field(default_factory=bytearray)  # places in Status
    is_optimal: bytearray = field(default_factory=bytearray)
    is_nominal: bytearray = field(default_factory=bytearray)
    is_again: bytearray = field(default_factory=bytearray)  # it had begun before
    completed: "array[int]" = field(default_factory=lambda: array("q"))  # microseconds; 0: not yet
    seconds: "array[float]" = field(default_factory=lambda: array("d"))  # nan: not known
    core_hours: "array[float]" = field(default_factory=lambda: array("d"))
    reasons: dict[int, str] = field(default_factory=dict)  # of rows that ended and are not done
    inputs: dict[str, Column] = field(default_factory=dict)
    outputs: dict[str, Column] = field(default_factory=dict)  # nothing for runs that are not done
    is_cut: bool = False  # there were more columns, or more texts, than are read

    def __len__(self) -> int:
        return len(self.statuses)

    def status(self, row: int) -> Status:
        return _STATUS[self.statuses[row]]

    def counts(self) -> dict[Status, int]:
        return {status: self.statuses.count(place) for place, status in enumerate(_STATUS)}

    def optimal(self) -> list[int]:
        return [row for row, is_best in enumerate(self.is_optimal) if is_best]

    @property
    def size(self) -> int:
        """Cells that it holds, about."""
        return len(self) * (len(self.inputs) + len(self.outputs) + 5)

    @property
    def version(self) -> str:
        """Another text whenever anything of the runs is different, see `changed`."""
        last = max(self.completed, default=0)
        crc = zlib.crc32(self.statuses, zlib.crc32(self.is_optimal))
        crc = zlib.crc32(f"{self.standing}".encode(), crc)
        return f"{last}-{len(self)}-{crc:08x}"

    def changed(self, since: str) -> list[int] | None:
        """The rows that may be different from what they were at a version; None: nobody knows.
        Whether they are optimal is not looked at.
        """
        known = _VERSION.fullmatch(since)
        if known is None or int(known[2]) > len(self):
            return None
        if since == self.version:
            return []
        last, count = max(int(known[1]), 1), int(known[2])
        return [
            row
            for row in range(len(self))
            if row >= count or self.completed[row] >= last or self._is_moving(row)
        ]

    def _is_moving(self, row: int) -> bool:
        """Whether its status may be new although it has no end: planned runs wait as before."""
        status = self.status(row)
        return status in (Status.WAITING, Status.RUNNING) or bool(self.is_again[row])

    def labels(self) -> dict[str, Column]:
        """The variables by the names that they have beside the fixed columns."""
        found: dict[str, Column] = {}
        for kind, columns in (("variable", self.inputs), ("output", self.outputs)):
            for name, column in columns.items():
                found[f"{kind} {name}" if name in FIXED or name in found else name] = column
        return found

    def getter(self, label: str, labels: Mapping[str, Column]) -> Callable[[int], Any]:
        """What gives a row's value of a column. KeyError: there is no such column."""
        match label:
            case "id":
                return lambda row: row + 1
            case "status":
                return lambda row: self.status(row).value
            case "isOptimal":
                return lambda row: bool(self.is_optimal[row])
            case "isNominal":
                return lambda row: bool(self.is_nominal[row])
            case "duration":
                return lambda row: _known(self.seconds[row])
            case "coreHours":
                return lambda row: _known(self.core_hours[row])
            case "reason":
                return self.reasons.get
        return labels[label].__getitem__


_VERSION = re.compile(r"([0-9]{1,19})-([0-9]{1,9})-[0-9a-f]{8}")


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


# --- reading --------------------------------------------------------------------------------------


class ResultsBook:
    """Studies that were looked at lately. Thread-safe; nobody changes what it gives."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = Lock()
        self._reading = Lock()
        self._kept: OrderedDict[int, tuple[object, Results]] = OrderedDict()

    def read(self, viewer: User, code: str) -> Results:
        """Of 10,000 runs it takes some tenths of a second: call it in a thread.

        Raises NotFound, or Refused for a job that is no study or was not submitted.
        """
        job = self._db.read(jobs.visible, code, viewer.id)
        if job is None:
            raise NotFound
        with self._reading:  # one at a time: whoever waits has it from the one before
            stamp = self._db.read(_stamp, job)
            with self._lock:
                known, results = self._kept.get(job.id, (None, None))
            if results is None or known != stamp:
                job = self._db.read(jobs.visible, code, viewer.id)  # as it is now
                if job is None:
                    raise NotFound
                results = self._db.read(read, job)
        with self._lock:
            self._kept[job.id] = (stamp, results)
            self._kept.move_to_end(job.id)
            while len(self._kept) > 1 and self._size() > _MOST_CELLS:
                self._kept.popitem(last=False)
        return results

    def _size(self) -> int:
        return sum(results.size for _, results in self._kept.values())


def _stamp(conn: Connection, job: Job) -> object:
    # Taken before the runs are read: what changes meanwhile makes them be read again.
    return job.code, store.of_job(conn, job.id), stamps.stamp(conn, job.id)


def read(conn: Connection, job: Job) -> Results:
    study = job.definition.study
    if study is None or study.is_plain:
        raise Refused("This job is no study: it has a single run.")
    standing = store.of_job(conn, job.id)
    if standing is None:
        raise Refused("This study was not submitted yet: it has no runs.")
    results = Results(study=study, standing=standing)
    return gather(results, _every(conn, job.id), runs.count(conn, job.id))


def _every(conn: Connection, job_id: int) -> Iterator[Run]:
    offset = 0
    while page := runs.page(conn, job_id, offset=offset, size=_CHUNK):
        yield from page
        offset += len(page)


def gather(results: Results, every: Iterable[Run], expected: int) -> Results:
    """Fill a study's columns from its runs, which come by number. expected: about how many."""
    study = results.study
    results.inputs = {v.name: Column() for v in study.inputs()}
    results.outputs = {v.name: Column() for v in study.outputs()}
    reading = _Reading(results, max(_MOST_CELLS // max(expected, 1), 1))
    for row, run in enumerate(every):
        status, why = judged(run)
        if why:
            results.reasons[row] = why[:_TEXT_SHOWN]
        results.statuses.append(_PLACES[status])
        results.is_optimal.append(run.is_optimal)
        results.is_nominal.append(run.is_nominal)
        results.is_again.append(run.restart is not None)
        results.completed.append(_microseconds(run.completed_at))
        seconds, core_hours = spent(run)
        results.seconds.append(seconds)
        results.core_hours.append(core_hours)
        reading.take(results.inputs, row, run.inputs or ())
        if status is Status.DONE and run.outputs is not None:
            reading.take(results.outputs, row, run.outputs.values)
    for column in (*results.inputs.values(), *results.outputs.values()):
        column.fill(len(results))
    return results


@dataclass
class _Reading:
    """How much more may be kept."""

    results: Results
    most_columns: int
    most_text: int = _MOST_TEXT

    def take(self, columns: dict[str, Column], row: int, values: Sequence[Value]) -> None:
        results = self.results
        for value in values:
            column = columns.get(value.name)
            if column is None:
                if len(results.inputs) + len(results.outputs) >= self.most_columns:
                    results.is_cut = True
                    continue
                column = columns[value.name] = Column()
            numbers = column.numbers
            if len(numbers) < row:
                column.fill(row)
            if value.number is not None:
                numbers.append(value.number)
                continue
            numbers.append(math.nan)
            if self.most_text > 0:
                text = value.text[:_TEXT_SHOWN]
                self.most_text -= len(text)
                column.texts[row] = text
            else:
                results.is_cut = True


def judged(run: Run) -> tuple[Status, str]:
    """How far a run is, and why it did not end well where it is over; else ""."""
    if run.state not in FINAL:
        return _UNFINISHED.get(run.state, Status.WAITING), ""
    if run.ending is None:  # of an earlier release
        return Status.FAILED, f"{FAILED} it is not known how it ended"
    why = reason(run.ending, run.outcome)
    if why == WELL:
        return Status.DONE, ""
    return (Status.STOPPED if why.startswith("Stopped") else Status.FAILED), why


def spent(run: Run) -> tuple[float, float]:
    """Seconds from its start to its end, and core-hours; nan where they are not known."""
    seconds = math.nan
    if run.started_at is not None and run.completed_at is not None:
        seconds = (run.completed_at - run.started_at).total_seconds()
    return seconds, seconds * run.cores / 3600


def _microseconds(at: datetime | None) -> int:
    return 0 if at is None else round(at.timestamp() * 1e6)


# --- the whole of it ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What is known of a variable."""

    name: str
    role: Role
    unit: str = ""
    direction: str | None = None  # of an objective
    target: float | None = None
    lower: float | None = None  # of a constraint
    upper: float | None = None
    is_text: bool = False  # some of its values are no numbers
    least: float | None = None  # of its values so far
    most: float | None = None


def facts(results: Results) -> list[Fact]:
    """The variables in the order of the columns."""
    declared = {v.name: v for v in results.study.variables}
    found, _ = aims.aims(results.study)
    goals = {goal.name: goal for goal in found.goals}
    limits = {limit.name: limit for limit in found.limits}
    told = []
    for default, columns in ((Role.PARAM, results.inputs), (Role.OUTPUT, results.outputs)):
        for name, column in columns.items():
            variable = declared.get(name, Variable(name=name, role=default))
            goal, limit = goals.get(name), limits.get(name)
            values = [x for x in column.numbers if not math.isnan(x)]
            told.append(
                Fact(
                    name=name,
                    role=variable.role,
                    unit=str(variable.settings.get("unit") or "")[:40],
                    direction=goal.direction if goal else None,
                    target=goal.target if goal else None,
                    lower=limit.lower if limit else None,
                    upper=limit.upper if limit else None,
                    is_text=bool(column.texts),
                    least=min(values, default=None),
                    most=max(values, default=None),
                )
            )
    return told


def best(results: Results) -> list[int]:
    """The first rows that are marked as optimal."""
    return results.optimal()[:_MOST_BEST]


# --- choosing rows and columns --------------------------------------------------------------------


def chosen(results: Results, text: str) -> list[int]:
    """The rows that a filter lets through, all for an empty one. Raises Invalid at `filter`."""
    if not text.strip():
        return list(range(len(results)))
    labels = results.labels()
    try:
        found = filters.parse(text, {*FIXED, *labels})
    except BadFilter as error:
        raise Invalid([Problem(("filter",), str(fault)) for fault in error.faults]) from None
    getters = [(name, results.getter(name, labels)) for name in found.names]
    return [
        row
        for row in range(len(results))
        if found.matches({name: get(row) for name, get in getters})
    ]


def ordered(results: Results, rows: Sequence[int], key: str) -> list[int]:
    """Rows by a column: numbers, then texts, then those that have no value, whichever way; `-name`
    turns the order of the values. Raises Invalid at `sort`.
    """
    if not key:
        return list(rows)
    labels = results.labels()
    is_down = key not in labels and key.startswith("-")
    try:
        get = results.getter(key[1:] if is_down else key, labels)
    except KeyError:
        raise Invalid.at("sort", no_column(key.removeprefix("-"), labels)) from None
    numbers: list[tuple[float, int]] = []
    texts: list[tuple[str, int]] = []
    without: list[int] = []
    for row in rows:
        value = get(row)
        if value is None:
            without.append(row)
        elif isinstance(value, str):
            texts.append((value, row))
        else:
            numbers.append((value, row))
    numbers.sort(key=lambda pair: pair[0], reverse=is_down)
    texts.sort(key=lambda pair: pair[0], reverse=is_down)
    return [row for _, row in numbers] + [row for _, row in texts] + without


def no_column(name: str, known: Iterable[str]) -> str:
    every = list(known)
    more = f" and {len(every) - 20} more" if len(every) > 20 else ""
    return f'There is no column "{name:.100}"; there are {", ".join(every[:20])}{more}.'


def picked(text: str, known: Iterable[str], *, at: str = "columns") -> list[str]:
    """Names separated by commas, all that are known for none. Raises Invalid with each that is not
    known.
    """
    every = list(known)
    if not text.strip():
        return every
    names = list(dict.fromkeys(name.strip() for name in text[:100_000].split(",")))
    there = set(every)
    wrong = [name for name in names if name not in there]
    if wrong:
        raise Invalid([Problem((at,), no_column(name, every)) for name in wrong[:20]])
    return names


def check_size(rows: int, columns: int) -> None:
    """Raises Refused where so many cells are too many for one reply."""
    if rows * columns > _MOST_SENT:
        raise Refused(
            f"{rows} runs with {columns} variables are too many for one reply: choose some with"
            " columns=NAME,NAME."
        )
