"""`simyard keys`: API keys."""

import os
from datetime import timedelta
from pathlib import Path

import click

from simyard.cli import options


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
        database = bootstrap.open_database(settings)
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
