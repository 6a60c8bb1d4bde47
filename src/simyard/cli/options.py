"""Options that commands share, and how their settings come about."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from simyard.settings import Settings

data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    envvar="SIMYARD_DATA",
    help="The data folder of the installation; made if it is not there.",
)


def fail(message: object, hint: str = "") -> NoReturn:
    """End the command with the reason on stderr."""
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    sys.exit(1)


def settings_of(folder: Path, **given: Any) -> "Settings":
    from simyard.settings import SettingsError, load

    try:
        return load(folder.absolute(), given)
    except SettingsError as error:
        fail(error)
