"""Servers that die at a crash point, and clients that do not mind."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from harness import Client, RunningServer
from simyard import bootstrap
from simyard.service.reconcile import Reconciler
from simyard.settings import load


class Stubborn:
    """A client that asks again when the server dies under it, and starts the server again."""

    def __init__(self, server: RunningServer, key: str) -> None:
        self._server = server
        self._key = key
        self.deaths = 0

    def _client(self) -> Client:
        if not self._server.alive:
            self.deaths += 1
            self._server.kill()
            self._server.start()
        return self._server.client(self._key)

    def until_it_works(self, ask: Callable[[Client], Any]) -> Any:
        end = time.monotonic() + 40
        while time.monotonic() < end:
            try:
                return ask(self._client())
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the server does not come back")

    def submit(self, job_id: str) -> None:
        reply = self.until_it_works(lambda c: c.http.post(f"jobs/{job_id}/submit/"))
        assert reply.status_code == 200 or "submitted before" in reply.json()["detail"]

    def finished(self, job_id: str) -> str:
        return str(self.until_it_works(lambda c: c.finished(job_id)))


@contextmanager
def armed(
    fresh: Any, point: str, installation: tuple[Path, str]
) -> Iterator[tuple[RunningServer, str]]:
    """A server that dies at the point, once; what it left behind is checked at the end."""
    server = fresh()
    data, key = installation
    shutil.copytree(data, server.data, dirs_exist_ok=True)
    once = server.data.parent / "died"
    server.start(SIMYARD_CRASH_AT=point, SIMYARD_CRASH_ONCE=str(once))
    yield server, key
    assert once.exists(), f"nothing came to {point}"
    if server.alive:
        assert server.stop() == 0
    no_rubbish(server)


def no_rubbish(server: RunningServer) -> None:
    """After a sweep nothing is on the disk that the database does not know, and it is sound."""
    made = bootstrap.build_server(load(server.data.absolute(), {}), server.address)
    made.site.db.start()
    try:
        Reconciler(made.site, lambda call: call()).tidy(orphan_seconds=0)
    finally:
        made.site.engine.close()
        made.site.db.close()
    database = sqlite3.connect(server.data / "simyard.db")
    recorded = {key for (key,) in database.execute("SELECT key FROM blobs")}
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()
    blobs = server.data / "blobs"
    on_disk = {str(p.relative_to(blobs)) for p in blobs.rglob("*") if p.is_file()}
    assert on_disk == recorded
    assert [p.name for p in (server.data / "runs").glob("[!.]*")] == []
    assert list((server.data / "runs" / ".aside").glob("*")) == []
