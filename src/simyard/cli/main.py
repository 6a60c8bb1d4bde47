"""The command and its groups."""

import os
import sys

import click

from simyard import __version__
from simyard.cli.api import api
from simyard.cli.catalogue import catalogue
from simyard.cli.keys import keys
from simyard.cli.serve import serve
from simyard.cli.tidy import tidy
from simyard.cli.torture import torture


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="simyard")
def cli() -> None:
    """Simulation jobs on your own machine, with the Rescale REST API v2."""


cli.add_command(serve)
cli.add_command(api)
cli.add_command(keys)
cli.add_command(catalogue)
cli.add_command(tidy)
cli.add_command(torture)


def main() -> None:
    # Or pydantic looks through all packages that are installed for additions to itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        cli()
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("simyard"):
            raise
        print(f"error: {error.name} is not installed", file=sys.stderr)
        print("hint: pip install 'simyard[server]'", file=sys.stderr)
        sys.exit(1)
