"""What docs/guide/cluster.md shows is what the server reads."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from simyard.domain.catalogue import Machine, Scheduler
from simyard.domain.lifecycle import WAIT_WORDS
from simyard.engines import slurm_programs
from simyard.service import catalogue
from simyard.settings import Settings

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "cluster.md").read_text()
SNIPPETS = dict(re.findall(r"<!-- test: (\w+) -->\n```toml\n(.*?)```", GUIDE, re.DOTALL))
ENGINES = ("slurm", "local")


def test_its_settings_are_settings(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, **tomllib.loads(SNIPPETS["settings"]))
    assert (settings.engine, settings.more_engines) == ("slurm", {"local"})


def test_its_core_types_ask_for_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "coretypes.toml").write_text(SNIPPETS["coretypes"])
    machine = Machine(cores=8, memory_mb=8000, storage_gb=80)
    loaded = catalogue.load([catalogue.own_folder(), tmp_path], machine, ENGINES)
    found = {core_type.code: core_type for core_type in loaded.core_types}
    assert found["emerald"].scheduler.partition == "cpu"
    assert found["emerald"].scheduler.low_priority == ("--qos=spare",)
    assert found["gpu-a100"].gpus_of(16) == 2
    assert (found["desk"].engine, found["desk"].cores) == ("local", (1, 2, 4, 8))
    assert found["standard-plus"].engine == "slurm", "what names none belongs to the first"


def test_an_engine_that_is_not_set_up_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "coretypes.toml").write_text(SNIPPETS["coretypes"])
    machine = Machine(cores=8, memory_mb=8000, storage_gb=80)
    with pytest.raises(catalogue.CatalogueError, match="local is not an engine"):
        catalogue.load([catalogue.own_folder(), tmp_path], machine, ("slurm",))


def test_it_tells_of_everything_that_a_core_type_may_ask_for() -> None:
    for field in dataclasses.fields(Scheduler):
        assert f"{field.name} = " in SNIPPETS["coretypes"], field.name


def test_words_and_reasons_are_quoted_as_they_are() -> None:
    assert all(f"`{word}`" in GUIDE for word in WAIT_WORDS.values())
    for code in ("Resources", "JobArrayTaskLimit", "JobHeldAdmin"):
        assert f"`{slurm_programs.in_words(code)}`" in GUIDE
    for state in ("CANCELLED", "PREEMPTED", "NODE_FAIL"):
        assert slurm_programs._ENDS[state] in GUIDE, state
    assert slurm_programs.end_in_words(None) in GUIDE
