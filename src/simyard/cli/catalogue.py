"""`simyard catalogue`: what can be run here."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simyard.cli import options

if TYPE_CHECKING:
    from simyard.service.catalogue import CatalogueBook


@click.group()
def catalogue() -> None:
    """Solvers and core types."""


@catalogue.command("list")
@options.data
def list_entries(data: Path) -> None:
    """List the analyses, what of them is installed, and the version codes that jobs may use."""
    book = _book(data)
    book.look()
    found = book.current()
    for analysis in found.analyses:
        present = found.present(analysis)
        if present.installed:
            state = "installed"
        else:
            package = f"; apt install {analysis.probe.package}" if analysis.probe else ""
            state = f"not installed ({present.detail}{package})"
        codes = " ".join(listed.version.code for listed in found.versions(analysis))
        print(f"{analysis.code}\t{state}\t{codes}")


@catalogue.command()
@options.data
def check(data: Path) -> None:
    """Check the catalogue's files, the site's own among them, and probe every program.

    Ends with an error where a file cannot be used; a program that is not installed is none.
    """
    book = _book(data)
    book.look()
    found = book.current()
    missing = [a.code for a in found.analyses if not found.present(a).installed]
    print(
        f"{len(found.analyses)} analyses, {len(found.core_types)} core types:"
        f" all files are good, {len(missing)} not installed {' '.join(missing)}".rstrip(),
        file=sys.stderr,
    )


def _book(data: Path) -> "CatalogueBook":
    options.settings_of(data)
    from simyard.service import catalogue as service

    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = [service.own_folder(), data / "catalogue"]
    try:
        return service.CatalogueBook(
            service.load(folders, service.machine(data)), data.absolute() / "helpers"
        )
    except service.CatalogueError as error:
        options.fail(error)
