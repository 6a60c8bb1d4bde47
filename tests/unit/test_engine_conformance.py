"""The suite for engines, on the local one, on doubles that misbehave, and on engines that are
broken: those it must find.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simyard.engines import sandbox
from simyard.engines.local import LocalEngine
from simyard.engines.sandbox import Sandbox
from simyard.testing.doubles import LosingEngine, LyingEngine, OnNews, SlowEngine
from simyard.testing.engines import EngineConformance, Rig

NO_BOX = Sandbox("none", "for this test", None)


def local(root: Path) -> Callable[[OnNews], LocalEngine]:
    return lambda on_news: LocalEngine(root, NO_BOX, on_news, network=False)


class TestLocalEngine(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
        with Rig(local(tmp_path_factory.mktemp("local") / "runs")) as rig:
            yield rig


@pytest.mark.sandbox
class TestLocalEngineWithSandbox(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
        base = tmp_path_factory.mktemp("sandboxed")
        box = sandbox.probe("required", 65534, base / "probe")
        with Rig(lambda on_news: LocalEngine(base / "runs", box, on_news, network=True)) as rig:
            yield rig


class TestSlowEngine(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
        inner = local(tmp_path_factory.mktemp("slow") / "runs")
        with Rig(lambda on_news: SlowEngine(inner, on_news), patience_seconds=30) as rig:
            yield rig


class TestLosingEngine(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
        inner = local(tmp_path_factory.mktemp("losing") / "runs")
        with Rig(lambda on_news: LosingEngine(inner, on_news), patience_seconds=30) as rig:
            yield rig


class TestLyingEngine(EngineConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
        inner = local(tmp_path_factory.mktemp("lying") / "runs")
        with Rig(lambda on_news: LyingEngine(inner, on_news), patience_seconds=30) as rig:
            yield rig
