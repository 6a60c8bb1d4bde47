"""Engines by name: those of the product, and those that installed packages bring.

A package brings one as an entry point of the group `simyard.engines`, whose name is the engine's
and whose value is a `Factory` (docs/howto/add-an-engine.md).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simyard.domain.records import dataclass
from simyard.engines.protocol import Engine

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

GROUP = "simyard.engines"


class EngineError(Exception):
    """An engine that cannot be used; the text says why, for an administrator."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """What an engine is told of the installation that it is to serve."""

    data: Path  # the installation's data folder; an engine may have a folder of its name in it
    on_news: Callable[[str], None]  # something happened to this token; from any thread
    sandbox: str  # "auto", "required" or "off": see the setting
    network: bool  # whether runs may reach the network
    job_uid: int  # user and group of runs where the server is root
    options: Mapping[str, Any]  # the engine's own settings


Factory = Callable[[Host], Engine]


def names() -> list[str]:
    """Of all engines that there are."""
    return sorted({"local", "slurm", *(entry.name for entry in _brought())})


def factory(name: str) -> Factory:
    """Raises EngineError where there is none of this name."""
    if name == "local":
        from simyard.engines.local import open_engine

        return open_engine
    if name == "slurm":
        from simyard.engines.slurm import open_engine as open_slurm

        return open_slurm
    found = [entry for entry in _brought() if entry.name == name]
    if not found:
        raise EngineError(f"there is no engine {name}; there are {', '.join(names())}")
    loaded: Factory = found[0].load()
    return loaded


def _brought() -> "EntryPoints":
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)
