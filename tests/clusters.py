"""A server on a private Slurm, for tests."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Client, RunningServer
from simyard.testing.slurm import Cluster

CONFIG = """
engine = "slurm"
more_engines = ["local"]
cores = 4
stop_grace_seconds = 1.0
max_walltime_seconds = 36000
slurm_patience_seconds = 3.0
"""
# `emerald` on one node or both; `local` stays with the server.
CORE_TYPES = """
[[core_type]]
code = "emerald"
name = "Emerald"
cores = [1, 2, 4, 8]
memory_mb = 900
storage_gb = 10

[[core_type]]
code = "lost"
name = "In a partition that there is not"
cores = [1]
memory_mb = 900
storage_gb = 10
scheduler = {partition = "nowhere"}

[[core_type]]
code = "short"
name = "In a partition that gives an hour"
cores = [1]
memory_mb = 900
storage_gb = 10
scheduler = {partition = "small"}

[[core_type]]
code = "wide"
name = "More cores than a node has"
cores = [64]
memory_mb = 900
storage_gb = 10
"""


@contextmanager
def base_folder() -> Iterator[Path]:
    """Where the users of jobs may go too."""
    base = Path(tempfile.mkdtemp(prefix="simyard-slurm-"))
    base.chmod(0o755)
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


@dataclass
class Stand:
    """A cluster and a server that submits to it."""

    cluster: Cluster
    server: RunningServer

    @property
    def client(self) -> Client:
        return self.server.client()

    @property
    def folder(self) -> Path:
        """Where the attempts are."""
        return self.server.data / "slurm"

    def trouble(self) -> str:
        health = self.client.http.get(f"{self.server.address}/health").json()
        return str(health["engines"]["slurm"]["trouble"])

    def queue(self, form: str = "%i") -> list[str]:
        """What Slurm has in its queue, a line each."""
        return self.cluster.call("squeue", "-h", "-o", form).stdout.split("\n")[:-1]


@contextmanager
def stand(
    *, start: bool = True, array_most: int = 10001, config: str = CONFIG, **environment: str
) -> Iterator[Stand]:
    """start: whether the server is started too."""
    with base_folder() as base, contextlib.ExitStack() as stack:
        made = Cluster(base / "cluster", array_most=array_most)
        stack.callback(made.stop)
        made.start()
        server = RunningServer(base / "data", config, **{**made.environment, **environment})
        stack.callback(server.end_everything)
        catalogue = base / "data" / "catalogue"
        catalogue.mkdir()
        (catalogue / "coretypes.toml").write_text(CORE_TYPES)
        if start:
            server.start()
        yield Stand(made, server)
        assert "Traceback" not in server.log(), server.log()


def most_at_once(lines: Sequence[str]) -> int:
    """Of payloads that tell when they begin and when they end."""
    alive, most = 0, 0
    for line in lines:
        alive += 1 if line.startswith("begin") else -1
        most = max(most, alive)
    return most


def rows(count: int) -> str:
    """A table of runs."""
    return "n\n" + "".join(f"{n}\n" for n in range(count))
