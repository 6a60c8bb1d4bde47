"""`simyard keys`: API keys."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simyard.cli import lock, options

if TYPE_CHECKING:
    from simyard.store.database import Database


@click.group()
def keys() -> None:
    """API keys of users."""


@keys.command()
@options.data
@click.option("--email", required=True, help="The user; made if new.")
@click.option("--admin", is_flag=True, help="A new user becomes an administrator.")
@click.option("--label", default="", help="What the key is for.")
@click.option("--expires-in-days", type=click.IntRange(min=1), help="How long the key is good.")
def create(data: Path, email: str, admin: bool, label: str, expires_in_days: int | None) -> None:
    """Create a key and print it. It is shown only now. Works while the server runs."""
    os.umask(0o077)  # whoever comes first makes the database
    settings = options.settings_of(data)
    from simyard import bootstrap
    from simyard.domain.errors import Invalid, SimyardError
    from simyard.domain.users import Role
    from simyard.service import users
    from simyard.settings import SettingsError

    try:
        bootstrap.prepare_data(settings)
        keyring = bootstrap.open_keyring(settings)
        database = bootstrap.open_database(settings, lambda: _alone(settings.data))
        database.start()
        try:
            key = database.write(
                users.create_key,
                keyring,
                email,
                users.new_key(),
                role=Role.ADMIN if admin else Role.MEMBER,
                label=label,
                lifetime=timedelta(days=expires_in_days) if expires_in_days else None,
            )
        finally:
            database.close()
    except Invalid as error:
        options.fail(error, "give an address like --email ada@example.org")
    except (SettingsError, SimyardError) as error:
        options.fail(error)
    print(key)


@keys.command(name="list")
@options.data
@click.option("--email", required=True, help="Whose keys.")
def list_(data: Path, email: str) -> None:
    """Show the keys of a user: id, label, until when each is good. The keys themselves are not
    kept.
    """
    from simyard.service import users

    def show(database: "Database") -> None:
        for key in database.read(users.keys_of, email):
            end = key.revoked_at or key.expires_at
            word = "revoked" if key.revoked_at else "until" if end else "in force"
            shown = f"{word} {end:%Y-%m-%d %H:%M} UTC" if end else word
            print(f"{key.code}  {shown:<30}  {key.label}")

    _with_database(data, show)


@keys.command()
@options.data
@click.option("--email", required=True, help="Whose key.")
@click.argument("key_id")
def revoke(data: Path, email: str, key_id: str) -> None:
    """End a key for good, by the id that `list` shows. Once this returns, no server takes it."""
    from simyard.service import users

    _with_database(data, lambda database: database.write(users.revoke_key, email, key_id))
    time.sleep(users.REMEMBERED_SECONDS)  # a server that runs may remember the key for so long


@keys.command()
@options.data
@click.option("--email", required=True, help="The user that it makes of a browser.")
def link(data: Path, email: str) -> None:
    """Print a link that opens the console as a user, once and within 15 minutes."""
    from simyard.service import sessions

    settings = options.settings_of(data)
    base = settings.public_url.rstrip("/") or lock.address(settings.data)
    if not base:
        options.fail(f"no server is using the data folder {data}", "start it first: simyard serve")
    from simyard import bootstrap

    def show(database: "Database") -> None:
        keyring = bootstrap.open_keyring(settings)
        print(sessions.address(base, database.write(sessions.make_link, keyring, email)))

    _with_database(data, show)


def _with_database(data: Path, use: Callable[["Database"], object]) -> None:
    """Do something with the database of an installation, running or not."""
    os.umask(0o077)
    settings = options.settings_of(data)
    from simyard import bootstrap
    from simyard.domain.errors import SimyardError
    from simyard.settings import SettingsError

    try:
        database = bootstrap.open_database(settings, lambda: _alone(settings.data))
        database.start()
        try:
            use(database)
        finally:
            database.close()
    except (SettingsError, SimyardError) as error:
        options.fail(error)


def _alone(data: Path) -> None:
    """A server of an older release must not find its database changed."""
    hint = "it is of an older release than this command: stop it, or use its own `simyard keys`"
    lock.claim(data, hint)
