"""The application: routes, what wraps them, and the few pages beside the API."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from simyard import __version__
from simyard.api import errors
from simyard.api.events import Hub
from simyard.api.metrics import Metrics
from simyard.api.middleware import Authentication, Paths, Timing
from simyard.api.replies import STATIC, reply
from simyard.api.routes import Dispatcher
from simyard.api.v2 import (
    catalogue,
    clusters,
    elsewhere,
    events,
    figures,
    files,
    jobs,
    results,
    runs,
    studies,
    users,
)
from simyard.api.v3 import folders
from simyard.domain.errors import SimyardError
from simyard.service.results import ResultsBook
from simyard.service.series import SeriesBook
from simyard.service.site import Site
from simyard.service.users import nobody_yet

_MODELS = 2  # that are made of studies' runs at the same time: each takes seconds of a core
_PLANS = 2  # tables of runs and templates that are read at the same time
_POOL_THREADS = 12  # for uploads and downloads: each upload keeps up to three of them busy

# Every route of the API, in the order of the documentation.
OPERATIONS = [
    operation
    for module in (
        files,
        catalogue,
        jobs,
        runs,
        studies,
        results,
        figures,
        events,
        clusters,
        users,
        folders,
        elsewhere,
    )
    for operation in module.route.operations
]


def create_app(
    site: Site, hub: Hub, *, on_start: Callable[[], None], on_stop: Callable[[], None]
) -> ASGIApp:
    """The server's whole HTTP side. `on_start` and `on_stop` frame the time in which it serves;
    the hub is closed before it may end, or it waits for streams that never do.
    """
    pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="bytes")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        on_start()
        try:
            yield
        finally:
            hub.close()
            on_stop()
            pool.shutdown()

    async def openapi(_request: Request) -> Response:
        return Response(_document(), media_type="application/json")

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/api/openapi.json/", openapi),
            Route("/health", _health),
            Route("/metrics", _metrics),
            Route("/", _index),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={HTTPException: errors.handle, Exception: errors.handle},
    )
    app.router.redirect_slashes = False
    app.state.site = site
    app.state.pool = pool
    app.state.hub = hub
    app.state.series = SeriesBook(site)
    app.state.results = ResultsBook(site.db)
    app.state.metrics = Metrics(site, hub)
    app.state.modelling = asyncio.Semaphore(_MODELS)
    app.state.planning = asyncio.Semaphore(_PLANS)
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
