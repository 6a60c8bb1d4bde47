"""The recorded solver runs of tests/data/solver-logs, for tests and benchmarks."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from simyard.domain.catalogue import Analysis, Catalogue, Machine
from simyard.domain.outcome import Outcome
from simyard.domain.runs import Cause, Ending
from simyard.service import verdicts, workfolder
from simyard.service.catalogue import load, own_folder
from simyard.service.staging import LOG_NAME

FOLDER = Path(__file__).parent / "data" / "solver-logs"
CATALOGUE = load([own_folder()], Machine(cores=1, memory_mb=1, storage_gb=1))
_CODES = {"espresso": "quantum_espresso", "generic": "user_included"}
_GOOD = ("completed", "stopped")
STEP = "the command of analysis 1"


@dataclass(frozen=True)
class Recorded:
    name: str
    solver: str
    exit_code: int
    timed_out: bool  # it stood still until it was ended
    truth: str  # "completed", "failed", ...: set by hand

    @property
    def log(self) -> bytes:
        return (FOLDER / f"{self.name}.log").read_bytes()

    @property
    def code(self) -> str:
        """The analysis that it belongs to."""
        return _CODES.get(self.solver, self.solver)

    @property
    def is_good(self) -> bool:
        return self.truth in _GOOD

    @property
    def ending(self) -> Ending:
        cause = Cause.WALLTIME if self.timed_out else Cause.EXITED
        return Ending(cause=cause, exit_code=self.exit_code, step=STEP)


def runs() -> Iterator[Recorded]:
    for path in sorted(FOLDER.glob("*.expected.json")):
        told = json.loads(path.read_text())
        yield Recorded(
            name=path.name.removesuffix(".expected.json"),
            solver=told["solver"],
            exit_code=told["exit_code"],
            timed_out=told["timed_out"],
            truth=told["truth"]["outcome"],
        )


def judged(
    run: Recorded, folder: Path, *, results: bool = True, catalogue: Catalogue = CATALOGUE
) -> Outcome:
    """The verdict on a run whose folder is laid out here, with what it left behind or without."""
    work = folder / run.name
    left = FOLDER / "left" / run.name
    if results and left.is_dir():
        shutil.copytree(left, work)
    work.mkdir(exist_ok=True)
    (work / LOG_NAME).write_bytes(run.log)
    return judge(catalogue, [run.code], work, run.ending)


def judge(
    catalogue: Catalogue, codes: list[str], work: Path, ending: Ending, seconds: float = 30
) -> Outcome:
    analyses = [catalogue.analysis(code) for code in codes]
    present: list[Analysis] = [analysis for analysis in analyses if analysis is not None]
    assert len(present) == len(codes)
    written = workfolder.walk(work)
    return verdicts.judge_folder(catalogue, present, work, written, ending, seconds=seconds)
