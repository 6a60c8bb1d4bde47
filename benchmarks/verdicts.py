"""How often the verdict is right about the recorded solver runs, and how fast logs are read."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rig import Table

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import recorded
from recorded import CATALOGUE, Recorded
from simyard.domain.catalogue import Catalogue
from simyard.domain.verdict import Judge
from simyard.service import verdicts

_LOG_BYTES = 60_000_000


def run(table: Table) -> dict[str, str]:
    runs = list(recorded.runs())
    solvers = sorted({one.solver for one in runs})
    with tempfile.TemporaryDirectory() as place:
        totals = score(table, runs, solvers, Path(place))
    speed(table)
    return totals


# --- right about usable or not --------------------------------------------------------------------


def score(table: Table, runs: list[Recorded], solvers: list[str], place: Path) -> dict[str, str]:
    """Returns the totals."""
    table.title(f"verdicts: {len(runs)} recorded runs, right about usable or not")
    by_code = {one.name: one.exit_code == 0 and not one.timed_out for one in runs}
    by_log = _said(runs, place / "log", CATALOGUE, results=False)
    by_all = _said(runs, place / "all", CATALOGUE, results=True)
    without: dict[str, bool] = {}
    for solver in solvers:
        own = [one for one in runs if one.solver == solver]
        catalogue = _without(own[0].code)
        without |= _said(own, place / f"without-{solver}", catalogue, results=True)
    for solver in solvers:
        own = [one for one in runs if one.solver == solver]
        table.add(
            f"  {solver}",
            _part(own, by_all),
            beside=f"exit code {_part(own, by_code)}, logs {_part(own, by_log)},"
            f" without its own rules {_part(own, without)}",
        )
    table.add("exit code alone", _part(runs, by_code))
    table.add("rules on logs", _part(runs, by_log))
    right = _right(runs, by_all)
    table.add(
        "rules on logs and results", _part(runs, by_all), ">= 98 %", ok=right >= 0.98 * len(runs)
    )
    bad = [one.name for one in runs if one.is_good and not by_all[one.name]]
    table.add("good runs called bad", str(len(bad)), "0", " ".join(bad), ok=not bad)
    table.add("each solver without its own rules", _part(runs, without), beside="never seen before")
    bad_without = [one.name for one in runs if one.is_good and not without[one.name]]
    table.add("  good runs called bad", str(len(bad_without)), beside=" ".join(bad_without))
    return {
        "exit code alone": _part(runs, by_code),
        "rules on logs": _part(runs, by_log),
        "rules on logs and results": _part(runs, by_all),
        "good runs called bad": str(len(bad)),
        "each solver without its own rules": _part(runs, without),
    }


def _said(
    runs: list[Recorded], place: Path, catalogue: Catalogue, *, results: bool
) -> dict[str, bool]:
    place.mkdir()
    return {
        one.name: recorded.judged(one, place, results=results, catalogue=catalogue).verdict.is_good
        for one in runs
    }


def _without(code: str) -> Catalogue:
    """The catalogue as if nobody had written rules for this analysis."""
    analyses = (replace(a, rules=None) if a.code == code else a for a in CATALOGUE.analyses)
    return replace(CATALOGUE, analyses=tuple(analyses))


def _right(runs: list[Recorded], said: dict[str, bool]) -> int:
    return sum(said[one.name] == one.is_good for one in runs)


def _part(runs: list[Recorded], said: dict[str, bool]) -> str:
    return f"{_right(runs, said)} of {len(runs)}"


# --- speed ----------------------------------------------------------------------------------------


def speed(table: Table) -> None:
    table.title("reading logs (processor time of one thread)")
    log = _long_log("of-stop-usr2")
    limit = len(log) / 1e6 / _seconds(lambda: log.count(b"\n"))
    read = _judged(log, "openfoam")
    table.add(
        "a log of OpenFOAM",
        f"{read:.0f} MB/s",
        ">= 50 MB/s",
        f"counting lines {limit:.0f}",
        read >= 50,
    )
    read = _judged(_long_log("lmp-mpi2"), "lammps")
    table.add("a log of LAMMPS", f"{read:.0f} MB/s", ">= 50 MB/s", ok=read >= 50)
    unlike = b"".join(b"%s %s\n" % (_word(i), _word(i * 7919) * 6) for i in range(60_000))
    table.add(
        "no two lines alike", f"{_judged(unlike, 'openfoam'):.1f} MB/s", beside="cut off after 10 s"
    )


def _long_log(name: str) -> bytes:
    """One long run: the middle of a recorded one, again and again."""
    lines = (recorded.FOLDER / f"{name}.log").read_bytes().splitlines(keepends=True)
    part = len(lines) // 4
    body = b"".join(lines[part:-part])
    middle = body * (_LOG_BYTES // len(body))
    return b"".join(lines[:part]) + middle + b"".join(lines[-part:])


def _word(n: int) -> bytes:
    return bytes(97 + (n >> shift) % 26 for shift in range(0, 20, 2))


def _judged(log: bytes, code: str) -> float:
    book = verdicts.rule_book(CATALOGUE)

    def judge() -> None:
        jury = Judge(book, [code])
        jury.begin("log")
        for at in range(0, len(log), 1 << 20):
            jury.feed(log[at : at + (1 << 20)])
        jury.finish()

    return len(log) / 1e6 / min(_seconds(judge) for _ in range(2))


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":  # a path takes the totals, for docs/reliability.md
    found = run(Table())
    for path in sys.argv[1:]:
        Path(path).write_text(json.dumps(found, indent=1) + "\n")
