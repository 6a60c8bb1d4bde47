"""`simyard tidy`: housekeeping by hand."""

import os
from pathlib import Path

import click

from simyard.cli import lock, options


@click.command()
@options.data
@click.option(
    "--orphans-after",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help="Seconds after which a blob that nobody recorded belongs to nobody.",
)
def tidy(data: Path, orphans_after: float) -> None:
    """Remove what nothing shows any more, now. The server must be stopped: it does the same by
    itself at its start and every hour, but for blobs of uploads that died days ago.
    """
    os.umask(0o077)
    settings = options.settings_of(data)
    from simyard import bootstrap
    from simyard.domain.errors import SimyardError
    from simyard.service.catalogue import CatalogueError
    from simyard.service.reconcile import Reconciler
    from simyard.settings import SettingsError

    try:
        lock.claim(settings.data)
        server = bootstrap.build_server(settings, "")
        server.site.db.start()
        try:
            reconciler = Reconciler(server.site, lambda call: call())
            reconciler.tidy(orphan_seconds=orphans_after, every_day=True)
        finally:
            for engine in server.site.engines.values():
                engine.close()
            server.site.db.close()
    except (SettingsError, CatalogueError, SimyardError) as error:
        options.fail(error)
