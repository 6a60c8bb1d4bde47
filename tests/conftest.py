"""Fixtures that more than one kind of test uses."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from evidence import (  # noqa: F401  hooks of the runner
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from harness import CONFIG, Client, Ledger, RunningServer, serving

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# What a marked test needs on the machine. In CI nothing may be missing; elsewhere the tests that
# need it are skipped by name.
PROGRAMS = {
    "openfoam": ("simpleFoam", "openfoam"),
    "calculix": ("ccx", "calculix-ccx"),
    "freefem": ("FreeFem++-nw", "freefem++"),
    "ngspice": ("ngspice", "ngspice"),
    "xtb": ("xtb", "xtb"),
    "elk": ("elk-lapw", "elk-lapw"),
    "gerris": ("gerris2D", "gerris"),
    "meep": ("meep", "meep-openmpi"),
    "getdp": ("getdp", "getdp"),
    "r": ("Rscript", "r-base-core"),
    "autodock": ("vina", "autodock-vina"),
    "blast": ("blastn", "ncbi-blast+"),
    "hmmer": ("hmmsearch", "hmmer"),
    "samtools": ("samtools", "samtools"),
    "picard": ("PicardCommandLine", "picard-tools"),
    "fastqc": ("fastqc", "fastqc"),
    "mpi": ("mpirun", "openmpi-bin"),
    "sandbox": ("bwrap", "bubblewrap"),
    "slurm": ("sbatch", "slurmctld slurmd slurm-client munge"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # all tests and what they know: nothing that the collector need look at again


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, (program, package) in PROGRAMS.items():
        if item.get_closest_marker(mark) and shutil.which(program) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing, and in CI nothing is skipped")
            pytest.skip(f"needs {program}: apt install {package}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for every test that does not harm it."""
    with serving(RunningServer(tmp_path_factory.mktemp("server") / "data", CONFIG)) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: RunningServer) -> Client:
    return server.client()


@pytest.fixture(scope="session")
def stranger(server: RunningServer) -> Client:
    """Another user of the same server."""
    return server.client(server.key("eve@elsewhere.example"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Makes servers of a test's own: fresh(config, NAME=value) or fresh()."""
    made: list[RunningServer] = []

    def make(config: str = CONFIG, **environment: str) -> RunningServer:
        running = RunningServer(tmp_path / f"data{len(made)}", config, **environment)
        made.append(running)
        return running

    yield make
    for running in made:
        running.end_everything()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    kept = Ledger()
    yield kept
    kept.close()
