"""`simyard torture`: does this machine keep what the platform promises?"""

import json
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from simyard.torture.course import Result

_OTHERS = ("crash point", "full disk", "stalled database", "clock", "machine", "stop")


@click.command()
@click.option("--kills", type=click.IntRange(min=1), help="So many random kills. [default: 100]")
@click.option("--minutes", type=click.FloatRange(min=0.1), help="Go on for so long instead.")
@click.option("--seed", type=int, help="Decides every chance. [default: a new one, printed]")
@click.option(
    "--concurrency",
    type=click.IntRange(min=1, max=1000),
    default=50,
    show_default=True,
    help="Clients that work side by side.",
)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(_OTHERS),
    help="Leave out a kind of fault; may be repeated.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result here, too.",
)
@click.option("--keep", is_flag=True, help="Leave the ledgers and the data folder for a look.")
def torture(
    kills: int | None,
    minutes: float | None,
    seed: int | None,
    concurrency: int,
    without: tuple[str, ...],
    json_file: Path | None,
    keep: bool,
) -> None:
    """Torture a throw-away server and check every promise it made.

    The server and its data folder are new and are removed at the end; no other is touched. Clients
    upload, submit, stop and delete while processes are killed, the disk fills, the database stalls,
    the clock jumps and the machine seems to restart. Every violation is listed; then the exit
    status is 1.
    """
    from simyard.torture import course

    if kills and minutes:
        raise click.UsageError("give either --kills or --minutes")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the server would be left behind
    plan = course.Plan(
        seed=secrets.randbelow(10**9) if seed is None else seed,
        kills=0 if minutes else kills or 100,
        minutes=minutes or 0.0,
        concurrency=concurrency,
        without=frozenset(without),
    )
    result = course.torture(plan, lambda line: click.echo(line, err=True), keep=keep)
    if json_file:
        json_file.write_text(json.dumps(result.as_json(), indent=1) + "\n")
    for line in lines(result):
        click.echo(line)
    if result.violations:
        raise SystemExit(1)


def lines(result: "Result") -> list[str]:
    """The result for people."""
    found = [f"seed {result.seed}, {result.concurrency} clients, {result.seconds:.0f} s"]
    found += [f"  {count:6}  {kind}" for kind, count in result.faults.items()]
    found += [f"          not possible here: {what}" for what in result.not_possible]
    found += [f"          not reached: {point}" for point in result.not_reached]
    found += [f"  {count:6}  {what}" for what, count in result.counts.items()]
    found += [f"  worth a look in the server's log: {line}" for line in result.surprises]
    found += [f"VIOLATION (seed {result.seed}): {violation}" for violation in result.violations]
    kept = sum(not count for count in result.promises.values())
    return [*found, f"{kept} of {len(result.promises)} promises kept"]
