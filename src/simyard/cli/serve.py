"""`simyard serve`: the server."""

import errno
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simyard.cli import options

if TYPE_CHECKING:
    import uvicorn

_STOP_SECONDS = 10  # that requests under way are given at the end


@click.command()
@options.data
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one. [default: 8420]")
@click.option("--database", help="Database URL. [default: SQLite in the data folder]")
@click.option("--blobs", help="Where files are stored. [default: the data folder]")
@click.option("--engine", type=click.Choice(["local"]), help="What runs the jobs. [default: local]")
@click.option("-v", "--verbose", is_flag=True, help="Tell more on stderr.")
def serve(data: Path, verbose: bool, **given: Any) -> None:
    """Serve the API until SIGTERM. Running jobs go on when the server ends."""
    os.umask(0o077)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    settings = options.settings_of(data, **given)
    from simyard import bootstrap
    from simyard.service.catalogue import CatalogueError
    from simyard.settings import SettingsError

    try:
        bootstrap.prepare_data(settings)
        bootstrap.lock_data(settings.data)
        listener = _listen(settings.host, settings.port)
        server = bootstrap.build_server(settings)
    except (SettingsError, CatalogueError) as error:
        options.fail(error)
    engine = server.site.engine.capabilities()
    print(f"Isolation of runs: {engine.isolation}. {engine.isolation_detail}", file=sys.stderr)
    _allow_many_files()
    _run(server.app, listener, settings.host)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        taken = "another server is using this port; choose one with --port"
        hint = taken if error.errno == errno.EADDRINUSE else ""
        options.fail(f"cannot listen on {host}:{port}: {error.strerror}", hint)
    return listener


def _allow_many_files() -> None:
    """Connections, blobs and logs are all open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(app: Any, listener: socket.socket, host: str) -> None:
    import uvicorn

    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody's word about where a request came from is taken
        timeout_graceful_shutdown=_STOP_SECONDS,
        lifespan="on",
    )
    server = _announcing(uvicorn.Server)(config, f"Simyard is ready at http://{shown}:{port}")
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


def _announcing(base: "type[uvicorn.Server]") -> Any:
    """A server that says so on stdout, once it answers."""

    class Announcing(base):  # type: ignore[misc, valid-type]
        def __init__(self, config: Any, line: str) -> None:
            super().__init__(config)
            self._line = line

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Uvicorn's own raises the signal again at the end: a clean stop would not be one."""
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.handle_exit)
            yield

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                print(self._line, flush=True)

    return Announcing
