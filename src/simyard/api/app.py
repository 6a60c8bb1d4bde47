"""The application: routes, what wraps them, and the few pages beside the API."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from simyard import __version__
from simyard.api import errors
from simyard.api.events import Hub
from simyard.api.metrics import Metrics
from simyard.api.middleware import Authentication, Paths, Timing
from simyard.api.progress import Progress
from simyard.api.replies import STATIC, reply
from simyard.api.resumable import Resumable
from simyard.api.routes import Dispatcher
from simyard.api.v2 import (
    bulk,
    catalogue,
    clusters,
    console,
    drafts,
    elsewhere,
    events,
    figures,
    files,
    glances,
    jobs,
    live,
    logs,
    outputs,
    previews,
    results,
    rows,
    runs,
    sessions,
    studies,
    uploads,
    users,
)
from simyard.api.v3 import folders
from simyard.api.watching import Watches
from simyard.domain.errors import SimyardError
from simyard.service.bulk import BulkBook
from simyard.service.convergence import ConvergenceBook
from simyard.service.logmarks import MarkBook
from simyard.service.logs import LineBook
from simyard.service.rows import RowBook
from simyard.service.series import SeriesBook
from simyard.service.site import Site
from simyard.service.trees import TreeBook
from simyard.service.users import nobody_yet

_MODELS = 2  # that are made of studies' runs at the same time: each takes seconds of a core
_PLANS = 2  # tables of runs and templates that are read at the same time
_TREES = 2  # of runs' files that are looked up at the same time
_LAID_OUT = 2  # archives whose files are looked up at the same time
# Searches of logs and looks into files at the same time: each takes up to half a second of a core,
# and some tens of MiB.
_SEARCHES = 4
_POOL_THREADS = 12  # for uploads and downloads: each upload keeps up to three of them busy

# Every route of the API, in the order of the documentation.
OPERATIONS = [
    operation
    for module in (
        files,
        uploads,
        catalogue,
        jobs,
        rows,
        bulk,
        glances,
        runs,
        logs,
        live,
        outputs,
        previews,
        studies,
        drafts,
        results,
        figures,
        events,
        clusters,
        users,
        sessions,
        console,
        folders,
        elsewhere,
    )
    for operation in module.route.operations
]


def create_app(
    site: Site,
    hub: Hub,
    pages: ASGIApp | None,
    *,
    on_start: Callable[[], None],
    on_stop: Callable[[], None],
) -> ASGIApp:
    """The server's whole HTTP side. `on_start` and `on_stop` frame the time in which it serves;
    the hub is closed before it may end, or it waits for streams that never do. pages: the
    console, which answers beside the API; None where it is not built.
    """
    pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="bytes")

    many = BulkBook(site)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        on_start()
        many.start()
        progress = asyncio.get_running_loop().create_task(app.state.progress.forever())
        try:
            yield
        finally:
            progress.cancel()
            with suppress(asyncio.CancelledError):
                await progress
            hub.close()
            many.close()
            app.state.lines.close()
            app.state.watches.close()
            on_stop()
            pool.shutdown()

    async def openapi(_request: Request) -> Response:
        return Response(_document(), media_type="application/json")

    async def the_rest(scope: Scope, receive: Receive, send: Send) -> None:
        if pages is None or scope["path"].startswith("/api/"):
            raise HTTPException(404)
        await pages(scope, receive, send)

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/api/openapi.json/", openapi),
            Route("/health", _health),
            Route("/metrics", _metrics),
            *([Route("/", _index)] if pages is None else []),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={HTTPException: errors.handle, Exception: errors.handle},
    )
    app.router.redirect_slashes = False
    app.router.default = the_rest
    app.state.site = site
    app.state.pool = pool
    app.state.hub = hub
    app.state.series = SeriesBook(site)
    app.state.convergence = ConvergenceBook(site, app.state.series)
    app.state.watches = Watches(site, app.state.series, app.state.convergence)
    app.state.progress = Progress(hub, app.state.watches)
    app.state.lines = LineBook(site)
    app.state.marks = MarkBook(site)
    app.state.searching = asyncio.Semaphore(_SEARCHES)
    app.state.rows = RowBook(site, app.state.series, app.state.convergence)
    app.state.bulk = many
    app.state.trees = TreeBook(site)
    app.state.looking = asyncio.Semaphore(_TREES)
    app.state.results = hub.results
    app.state.uploads = Resumable(site, pool, hub.tell_upload)
    app.state.metrics = Metrics(site, hub)
    app.state.modelling = asyncio.Semaphore(_MODELS)
    app.state.planning = asyncio.Semaphore(_PLANS)
    app.state.laying = asyncio.Semaphore(_LAID_OUT)
    open_paths = [operation.path for operation in OPERATIONS if operation.right is None]
    inner: ASGIApp = Dispatcher(OPERATIONS, app)
    if site.profile == "faithful":
        from simyard.api.throttle import Throttle

        inner = Throttle(inner, time.monotonic)
    return Timing(Paths(Authentication(inner, site, open_paths)), app.state.metrics)


@cache
def _document() -> bytes:
    """The OpenAPI document. It never changes, and making it takes a while."""
    from simyard.api.openapi import document

    return bytes(reply(document(OPERATIONS)).body)


async def _health(request: Request) -> Response:
    """Whether the server works, and what protects its runs."""
    site: Site = request.app.state.site
    engines = {name: each.capabilities() for name, each in site.engines.items()}
    engine = next(iter(engines.values()))
    database, status = "ok", "ok"
    try:
        site.db.read(nobody_yet)
    except SimyardError as error:
        database, status = str(error), "degraded"
    return reply(
        {
            "status": status,
            "version": __version__,
            "engine": engine.name,
            "isolation": engine.isolation,
            "isolationDetail": engine.isolation_detail,
            "network": engine.network,
            "limits": {resource.value: who for resource, who in engine.limits.items()},
            "engines": {
                name: {
                    "isolation": found.isolation,
                    "isolationDetail": found.isolation_detail,
                    "trouble": found.trouble,
                }
                for name, found in engines.items()
            },
            "database": database,
            "cores": site.machine.cores,
        },
        200 if status == "ok" else 503,
    )


async def _metrics(request: Request) -> Response:
    return Response(
        request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


async def _index(_request: Request) -> Response:
    return FileResponse(STATIC / "index.html")
