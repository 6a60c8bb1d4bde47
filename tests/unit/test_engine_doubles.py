"""The doubles do misbehave: without this the suite would say nothing of them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simyard.engines.local import LocalEngine
from simyard.engines.protocol import Phase
from simyard.engines.sandbox import Sandbox
from simyard.testing.doubles import Around, LosingEngine, LyingEngine, OnNews, SlowEngine
from simyard.testing.engines import HOLD, Rig

NO_BOX = Sandbox("none", "for this test", None)


@pytest.fixture
def rigged(tmp_path: Path) -> Callable[..., Rig]:
    def make(double: type[Around], **options: float) -> Rig:
        def inner(on_news: OnNews) -> LocalEngine:
            return LocalEngine(tmp_path, NO_BOX, on_news, network=False)

        return Rig(lambda on_news: double(inner, on_news, **options))

    return make


@contextmanager
def taking_at_least(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began >= seconds


def test_calls_take_long(rigged: Callable[..., Rig]) -> None:
    with rigged(SlowEngine, delay_seconds=0.2, deaf=1) as rig:
        with taking_at_least(0.1):
            trial = rig.trial("true")
        for call in (trial.submit, trial.seen, trial.cancel, rig.engine.tokens):
            with taking_at_least(0.1):
                call()
        trial.over()
        assert rig.news == []


def test_news_come_late(rigged: Callable[..., Rig]) -> None:
    with rigged(SlowEngine, delay_seconds=0.2, deaf=0, seed=1) as rig:
        trial = rig.started("true")
        trial.ended()
        rig.wait(lambda: trial.token in rig.news, "the news")
        rig.engine.close()
        before = list(rig.news)
        time.sleep(1.0)
        assert rig.news == before, "news after the engine was closed"
        rig.open()


def test_starts_are_lost_until_they_are_asked_for_again(rigged: Callable[..., Rig]) -> None:
    with rigged(LosingEngine, loses=1, deaf=1) as rig:
        trial = rig.started("true")
        time.sleep(0.5)
        assert trial.seen().phase is Phase.UNKNOWN
        assert trial.folder.work.is_dir() and not trial.starts
    with rigged(LosingEngine, loses=0.5, vanish=0, deaf=1) as rig:
        trials = [rig.started("true") for _ in range(10)]
        time.sleep(0.5)
        begun = [trial for trial in trials if trial.starts]
        assert 0 < len(begun) < len(trials)
        for trial in trials:
            trial.ended()
        assert all(trial.starts == 1 for trial in trials)
        assert rig.news == []


def test_attempts_vanish_for_good(rigged: Callable[..., Rig]) -> None:
    with rigged(LosingEngine, loses=0, vanish=1) as rig:
        trial = rig.started("true")
        for _ in range(2):
            assert trial.seen().phase is Phase.VANISHED
            trial.submit()
        rig.again()
        trial.submit()
        assert trial.seen().phase is Phase.VANISHED


def test_what_it_tells_is_old(rigged: Callable[..., Rig]) -> None:
    with rigged(LyingEngine, lies=0.7, gossip=1) as rig:
        trial = rig.started(HOLD)
        trial.begun()
        told = {trial.seen().phase for _ in range(50)}
        assert told == {Phase.RUNNING, Phase.UNKNOWN, Phase.WAITING}
        trial.go()
        trial.ended()
        told = {trial.seen().phase for _ in range(50)}
        assert told == {Phase.RUNNING, Phase.UNKNOWN, Phase.WAITING, Phase.ENDED}
        assert {trial.token} < set(rig.news), "no news of nobody"
        assert len(rig.news) > 2 * len(set(rig.news)), "no news twice"


def test_the_same_seed_does_the_same(rigged: Callable[..., Rig]) -> None:
    told = []
    for seed in (5, 5, 6):
        with rigged(LyingEngine, lies=0, seed=seed) as rig:
            trial = rig.started("true")
            trial.ended()
            rig.again()
            rig.engine._lies = 0.5
            told.append([trial.seen().phase for _ in range(20)])
    assert told[0] == told[1] != told[2]
