"""Puts an installation together: the one place that names concrete stores, blobs and engines."""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network

from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp, Scope

from simyard.blobs import keyring as keys
from simyard.blobs.disk import DiskBlobs
from simyard.blobs.keyring import Keyring
from simyard.blobs.sealed import SealedBlobs
from simyard.domain import faults
from simyard.domain.jobs import Limits
from simyard.domain.records import dataclass
from simyard.domain.runs import Allowance
from simyard.domain.users import Quotas, Role
from simyard.engines import plugins
from simyard.engines.plugins import EngineError, Host
from simyard.engines.protocol import Engine
from simyard.service import catalogue as catalogue_service
from simyard.service import sessions, users
from simyard.service.catalogue import CatalogueBook
from simyard.service.inputs import SharedInputs
from simyard.service.load import LoadBook
from simyard.service.site import Site
from simyard.service.templates import TemplateBook
from simyard.service.users import Callers
from simyard.settings import Settings, SettingsError
from simyard.store import upgrade
from simyard.store.database import Database
from simyard.store.upgrade import TooNew
from simyard.worker.loop import News, Worker

log = logging.getLogger(__name__)

ADMIN_EMAIL = "admin@localhost"
ADMIN_KEY_NAME = "admin.key"


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Server:
    """An installation that is ready to serve."""

    app: ASGIApp
    site: Site
    end_streams: Callable[[], None]  # before it is stopped: they would go on for ever


def prepare_data(settings: Settings) -> None:
    """The data folder, for its owner only. Raises SettingsError."""
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"the data folder cannot be made: {error}") from None


def open_database(
    settings: Settings, before_migration: Callable[[], object] = lambda: None
) -> Database:
    """The database, brought to the present shape. Writes are accepted after `start`.

    before_migration: called before that of an older release is changed. Raises SettingsError where
    it cannot be opened.
    """
    if not settings.database_url.startswith("sqlite:///"):
        raise SettingsError(f"database: {settings.database_url}: only SQLite is supported so far")
    database = Database(settings.database_url, clock=now)
    try:
        if upgrade.is_behind(database.engine):
            before_migration()
        upgrade.upgrade(database.engine)
    except DBAPIError as error:
        raise SettingsError(f"database: {settings.database_url}: {error.orig}") from None
    except TooNew as error:
        raise SettingsError(f"database: {error}") from None
    return database


def open_keyring(settings: Settings) -> Keyring:
    try:
        if settings.master_key:
            return Keyring(keys.parse(settings.master_key))
        path = settings.master_key_file or settings.data / "master.key"
        if settings.master_key_file:
            return Keyring(keys.parse(path.read_text()))
        return Keyring(keys.read_or_create(path))
    except (OSError, ValueError) as error:
        raise SettingsError(f"master key: {error}") from None


def build_server(settings: Settings, address: str) -> Server:
    """Everything that `simyard serve` needs. Nothing is started yet, but for the look at what is
    installed. address: where it will answer, "http://127.0.0.1:8420".
    """
    if "SIMYARD_CRASH_AT" in os.environ:  # tests only: see domain/faults.py
        faults.arm(os.environ["SIMYARD_CRASH_AT"], os.environ["SIMYARD_CRASH_ONCE"])
    from simyard.api.app import create_app
    from simyard.api.events import Hub

    data = settings.data
    if settings.blobs:
        raise SettingsError(f"blobs: {settings.blobs}: only the data folder is supported so far")
    database = open_database(settings)
    keyring = open_keyring(settings)
    machine = catalogue_service.machine(data, settings.cores)
    folders = [catalogue_service.own_folder(), data / "catalogue"]
    catalogue = catalogue_service.load(folders, machine, settings.engines)
    book = CatalogueBook(catalogue, data / "helpers", data / "probes.json")
    news = News()
    store = DiskBlobs(data / "blobs", reserve_bytes=settings.disk_reserve_bytes)
    engines = _engines(settings, news)
    sealed = SealedBlobs(store, keyring)
    site = Site(
        name=settings.site_name,
        public_url=settings.public_url.rstrip("/"),
        trusted_proxies=tuple(ip_network(text) for text in settings.trusted_proxies),
        profile=settings.profile,
        job_api_url=_job_api_url(settings, address) if settings.sandbox_network else "",
        data=data,
        db=database,
        blobs=sealed,
        keyring=keyring,
        callers=Callers(database, keyring, now),
        sessions=Callers(database, keyring, now, sessions.authenticate),
        engines=engines,
        book=book,
        machine=machine,
        load=LoadBook(),
        shared=SharedInputs(engines),
        templates=TemplateBook(sealed),
        limits=Limits(
            max_walltime_seconds=settings.max_walltime_seconds,
            oversubscribe_max=settings.oversubscribe_max,
            refused_tiers=frozenset(settings.refuse_versions),
            ignore_missing_gpus=settings.gpu_missing == "ignore",
            project_required=settings.project_required,
            study_runs_most=settings.study_runs_most,
        ),
        allowance=Allowance(
            memory=settings.run_memory_mb * 10**6,
            processes=settings.run_processes,
            disk=settings.run_disk_bytes,
            files=settings.run_files,
            log=settings.run_log_bytes,
        ),
        quotas=Quotas(
            storage_bytes=settings.user_storage_bytes,
            jobs_running=settings.user_jobs_running_most,
            jobs_queued=settings.user_jobs_queued_most,
            core_hours_per_month=settings.user_core_hours_per_month,
        ),
        clock=now,
        wake=news.wake,
        key_lifetime_days=settings.key_lifetime_days,
        run_uninstalled=settings.run_uninstalled == "shell",
        stop_grace_seconds=settings.stop_grace_seconds,
        stop_recipe_seconds=settings.stop_recipe_seconds,
        max_upload_bytes=settings.max_upload_bytes,
        unpack_max_bytes=settings.unpack_max_bytes,
        unpack_max_entries=settings.unpack_max_entries,
    )
    worker = Worker(site, news)

    def on_start() -> None:
        database.start()
        _first_administrator(site, (site.public_url or address) if console else "")
        worker.start()
        _settle_memory()

    def on_stop() -> None:
        worker.stop()
        for engine in engines.values():
            engine.close()
        database.close()

    _in_background(book.look)
    hub, console = Hub(site), _console(site)
    app = create_app(site, hub, console, on_start=on_start, on_stop=on_stop)
    return Server(app, site, hub.close)


def _console(site: Site) -> ASGIApp | None:
    """None where it is not built."""
    from simyard.api.origin import origin, parts
    from simyard.console import pages

    def prefix(scope: Scope) -> str:
        return parts(site.public_url or origin(scope, site.trusted_proxies))[1]

    return pages.Console(prefix, pages.DIST) if pages.is_built(pages.DIST) else None


def _job_api_url(settings: Settings, address: str) -> str:
    """Runs are on this machine; a certificate, though, is good for the public name only."""
    secure = address.startswith("https://")
    return (settings.job_api_url or (settings.public_url if secure else "") or address).rstrip("/")


def _settle_memory() -> None:
    """What was loaded stays: the collector need not look at it again, and what loading took is
    given back to the system.
    """
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)


def engine_names() -> list[str]:
    """Of all engines that there are."""
    return plugins.names()


def _engines(settings: Settings, news: News) -> dict[str, Engine]:
    """By name, the installation's own first. Raises SettingsError."""
    options = {
        **settings.engine_options,
        "slurm": {
            "folder": settings.slurm_folder,
            "python": settings.slurm_python,
            "patience_seconds": settings.slurm_patience_seconds,
        },
    }
    made: dict[str, Engine] = {}
    for name in settings.engines:
        host = Host(
            data=settings.data,
            on_news=news.token,
            sandbox=settings.sandbox,
            network=settings.sandbox_network,
            job_uid=settings.job_uid,
            options=options.get(name, {}),
        )
        try:
            made[name] = plugins.factory(name)(host)
        except EngineError as error:
            for engine in made.values():
                engine.close()
            raise SettingsError(f"engine: {name}: {error}") from None
    return made


def _in_background(call: Callable[[], None]) -> None:
    import threading

    threading.Thread(target=call, name="catalogue", daemon=True).start()


def _first_administrator(site: Site, console_at: str) -> None:
    """A new installation gets an administrator; where his key lies is told on stderr, with a link
    that opens the console as him where there is one.
    """
    path = site.data / ADMIN_KEY_NAME
    if not site.db.read(users.nobody_yet):
        return
    # The file first: dying in between costs nothing, the next start finds no user again.
    key = users.new_key()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, f"{key}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)
    site.db.write(users.create_key, site.keyring, ADMIN_EMAIL, key, role=Role.ADMIN, label="first")
    print(f"Made the administrator {ADMIN_EMAIL}; the API key is in {path}", file=sys.stderr)
    if console_at:
        link = site.db.write(sessions.make_link, site.keyring, ADMIN_EMAIL)
        at = sessions.address(console_at, link)
        print(f"The console as this administrator, once, within 15 minutes: {at}", file=sys.stderr)
