"""The platform on engines that misbehave within the protocol, brought by a package of its own."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from harness import CONFIG, Ledger, RunningServer, serving, wait_for
from studying import created, runs, study

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]

MODULE = """\
from dataclasses import replace

from simyard.engines import local
from simyard.testing import doubles


def around(double):
    def open_engine(host):
        def inner(on_news):
            return local.open_engine(replace(host, on_news=on_news))

        return double(inner, host.on_news, **host.options)

    return open_engine


slow = around(doubles.SlowEngine)
losing = around(doubles.LosingEngine)
lying = around(doubles.LyingEngine)
"""
ENTRY_POINTS = """\
[simyard.engines]
slow = misbehaving:slow
losing = misbehaving:losing
lying = misbehaving:lying
"""
METADATA = "Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n"
OPTIONS = {
    "slow": "delay_seconds = 0.2\ndeaf = 0.5\nseed = 7",
    "losing": "loses = 0.4\nvanish = 0.4\nseed = 15",  # the first that it does not lose vanishes
    "lying": "lies = 0.5\nseed = 7",
}
TABLE = "n\n" + "".join(f"{n}\n" for n in range(1, 9))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of a package that is installed."""
    folder = tmp_path / "site"
    info = folder / "misbehaving-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "misbehaving.py").write_text(MODULE)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.mark.parametrize("engine", OPTIONS)
def test_jobs_and_studies_are_done_once(
    fresh: Callable[..., RunningServer], package: Path, ledger: Ledger, engine: str
) -> None:
    options = f"[engine_options.{engine}]\n{OPTIONS[engine]}\n"
    made = fresh(f'{CONFIG}engine = "{engine}"\n{options}', PYTHONPATH=str(package))
    with serving(made) as server:
        client = server.client()
        job = client.create(ledger.preamble + "say job; exit 3")["id"]
        body = study(client, ledger.preamble + "say run $PARAM_N", table=TABLE, slots=8)
        many = created(client, body)["id"]
        held = client.create(ledger.preamble + "say held; sleep 100")["id"]
        for each in (job, many, held):
            client.submit(each)
        wait_for(lambda: "held" in ledger.lines, "the start of the one that is to be stopped")
        client.call("POST", f"jobs/{held}/stop/", 202)
        assert "exit code 3" in client.finished(job)
        assert client.finished(many) == "Completed successfully"
        assert client.finished(held) == "Stopped by the user"
        wanted = Counter(["job", "held", *(f"run {n}" for n in range(1, 9))])
        assert Counter(ledger.lines) == wanted
        assert {run["id"] for run in runs(client, many)} == {f"{n}" for n in range(1, 9)}
        assert httpx.get(f"{server.address}/health").json()["engine"] == engine
        assert server.miscounted() == {}
        with contextlib.closing(sqlite3.connect(server.data / "simyard.db")) as database:
            ((attempts,),) = database.execute("SELECT count(*) FROM attempts")
        assert attempts > 10 if engine == "losing" else attempts == 10
