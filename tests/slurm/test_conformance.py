"""The suite for engines, on a real Slurm."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import base_folder
from simyard.engines import sandbox
from simyard.engines.slurm import SlurmEngine
from simyard.engines.slurm_programs import Programs
from simyard.testing import slurm
from simyard.testing.engines import EngineConformance, Rig

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with base_folder() as base:
        yield base


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[slurm.Cluster]:
    with slurm.cluster(place / "cluster") as made:
        yield made


def dies(engine: SlurmEngine) -> None:
    """Its thread ends with the process."""
    engine._closing = True
    engine._wake.set()
    engine._thread.join()


class TestSlurmEngine(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls, place: Path, cluster: slurm.Cluster) -> Iterator[Rig]:
        box = sandbox.probe("auto", 65534, place / "probe", supervised=True)
        programs = Programs({**os.environ, **cluster.environment})
        with Rig(
            lambda on_news: SlurmEngine(
                place / "runs",
                box,
                on_news,
                network=True,
                patience_seconds=3,
                programs=programs,
            ),
            patience_seconds=30,
            crash=dies,
        ) as rig:
            yield rig
