"""`simyard serve`: the server."""

import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simyard.cli import lock, options

if TYPE_CHECKING:
    import uvicorn

    from simyard import bootstrap
    from simyard.cli import tls
    from simyard.settings import Settings

_STOP_SECONDS = 10  # that requests under way are given at the end
_AFTERMATH_SECONDS = 1  # for what is left of those whose connection was cut


def _engine(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    """One that there is."""
    if name is not None:
        from simyard import bootstrap

        if name not in (known := bootstrap.engine_names()):
            raise click.BadParameter(f"{name!r} is not one of {', '.join(map(repr, known))}.")
    return name


@click.command()
@options.data
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one. [default: 8420]")
@click.option("--database", help="Database URL. [default: SQLite in the data folder]")
@click.option("--blobs", help="Where files are stored. [default: the data folder]")
@click.option(
    "--engine",
    metavar="NAME",
    callback=_engine,
    help="What runs the jobs: local, slurm. [default: local]",
)
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
    gc.disable()  # what is loaded stays: it need not be looked through before all is there
    try:
        server, listener, certificate = _built(settings)
    finally:
        gc.enable()
    for each in server.site.engines.values():
        engine = each.capabilities()
        of = f" ({engine.name})" if len(server.site.engines) > 1 else ""
        said = f"Isolation of runs{of}: {engine.isolation}. {engine.isolation_detail}"
        print(said, file=sys.stderr)
    _allow_many_files()
    _run(server.app, listener, settings.host, certificate, server.end_streams)


def _built(
    settings: "Settings",
) -> "tuple[bootstrap.Server, socket.socket, tls.Certificate | None]":
    """All that it takes to serve. Ends the command where it cannot be had."""
    from simyard import bootstrap
    from simyard.cli import tls
    from simyard.service.catalogue import CatalogueError
    from simyard.settings import SettingsError

    try:
        certificate = tls.certificate(settings.tls_certificate, settings.tls_key)
        if certificate:  # from its being ready on, SIGHUP has the certificate read again
            signal.signal(signal.SIGHUP, lambda *_: None)
        bootstrap.prepare_data(settings)
        held = lock.claim(settings.data)
        listener = _listen(settings.host, settings.port)
        held.serves_at(_address(settings, listener))
        server = bootstrap.build_server(settings, _address(settings, listener))
    except (SettingsError, CatalogueError) as error:
        options.fail(error)
    return server, listener, certificate


def _address(settings: "Settings", listener: socket.socket) -> str:
    """Where runs on this machine reach the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


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


def _run(
    app: Any,
    listener: socket.socket,
    host: str,
    certificate: "tls.Certificate | None",
    end_streams: Callable[[], None],
) -> None:
    import uvicorn

    from simyard.cli.protocol import Http

    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if certificate else "http"
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Http,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what is believed, and whose word it is: api/origin.py
        timeout_graceful_shutdown=_STOP_SECONDS + _AFTERMATH_SECONDS,
        lifespan="on",
        ssl_context_factory=(lambda _config, _usual: certificate.context) if certificate else None,
    )
    line = f"Simyard is ready at {scheme}://{shown}:{port}"
    server = _announcing(uvicorn.Server)(config, line, certificate, end_streams)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


def _announcing(base: "type[uvicorn.Server]") -> Any:
    """A server that says so on stdout, once it answers."""
    import asyncio

    class Announcing(base):  # type: ignore[misc, valid-type]
        def __init__(
            self,
            config: Any,
            line: str,
            certificate: "tls.Certificate | None",
            end_streams: Callable[[], None],
        ) -> None:
            super().__init__(config)
            self._line, self._certificate, self._end_streams = line, certificate, end_streams

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Uvicorn's own raises the signal again at the end: a clean stop would not be one."""
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.handle_exit)
            yield

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                if self._certificate:
                    loop = asyncio.get_running_loop()
                    loop.add_signal_handler(signal.SIGHUP, self._certificate.read_again)
                print(self._line, flush=True)

        async def shutdown(self, sockets: Any = None) -> None:
            self._end_streams()  # or they would be waited for
            asyncio.get_running_loop().call_later(_STOP_SECONDS, self._hang_up)
            await super().shutdown(sockets=sockets)

        def _hang_up(self) -> None:
            """What a request that is still under way has written may yet become true: every answer
            to it could be a lie.
            """
            for connection in list(self.server_state.connections):
                connection.transport.abort()

    return Announcing
