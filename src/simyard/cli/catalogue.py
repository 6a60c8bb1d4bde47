"""`simyard catalogue`: what can be run here."""

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simyard.cli import options

if TYPE_CHECKING:
    from simyard.domain.catalogue import Catalogue


@click.group()
def catalogue() -> None:
    """Solvers and core types."""


@catalogue.command("list")
@options.data
def list_entries(data: Path) -> None:
    """List the analyses, what of them is installed, and the version codes that jobs may use."""
    found = _look(data)
    for analysis in found.analyses:
        present = found.present(analysis)
        if present.installed:
            state = "installed"
        else:
            named = analysis.probe.package if analysis.probe else ""
            package = f"; apt install {named}" if named else ""
            state = f"not installed ({present.detail}{package})"
        codes = " ".join(listed.version.code for listed in found.versions(analysis))
        print(f"{analysis.code}\t{state}\t{codes}")


@catalogue.command()
@options.data
def check(data: Path) -> None:
    """Check the catalogue's files, the site's own among them, and probe every program.

    Ends with an error where a file cannot be used; a program that is not installed is none.
    """
    found = _look(data)
    missing = [a.code for a in found.analyses if not found.present(a).installed]
    print(
        f"{len(found.analyses)} analyses, {len(found.core_types)} core types:"
        f" all files are good, {len(missing)} not installed {' '.join(missing)}".rstrip(),
        file=sys.stderr,
    )


@catalogue.command()
def templates() -> None:
    """List the analyses that a site can add by a file: licensed ones, and what Debian lacks."""
    from simyard.service import catalogue as service

    for code, path in service.templates().items():
        print(f"{code}\t{_name_in(path)}")


@catalogue.command()
@click.argument("code")
def template(code: str) -> None:
    """Print the file for an analysis, to be completed and saved in the data folder's catalogue/."""
    from simyard.domain.catalogue import fold
    from simyard.service import catalogue as service

    path = service.templates().get(fold(code))
    if path is None:
        options.fail(f"there is no template {code}", hint="simyard catalogue templates lists them")
    print(path.read_text(), end="")


def _name_in(path: Path) -> str:
    return str(tomllib.loads(path.read_text())["name"])


def _look(data: Path) -> "Catalogue":
    """The catalogue of this data folder, every program probed."""
    settings = options.settings_of(data)
    from simyard.service import catalogue as service

    folders = [service.own_folder(), settings.data / "catalogue"]
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        machine = service.machine(settings.data, settings.cores)
        book = service.CatalogueBook(service.load(folders, machine), settings.data / "helpers")
        book.look()
    except (service.CatalogueError, OSError) as error:
        options.fail(error)
    return book.current()
