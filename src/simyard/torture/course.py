"""A course of torture from its first upload to the verdict on every promise."""

import os
import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from simyard.torture import account as accounts
from simyard.torture import points
from simyard.torture.account import Account
from simyard.torture.checks import PROMISES, Book, Violation, violations
from simyard.torture.clients import Client, Course
from simyard.torture.faults import Faults
from simyard.torture.ground import Ground
from simyard.torture.ledger import Ledger, StartLedger, read
from simyard.torture.server import SIMYARD, Server
from simyard.torture.wire import Caller, Lost

DISK_MEGABYTES = 1024
_REST_SECONDS = 150.0  # that what is under way is given at the end
_TIDY = ["tidy", "--orphans-after", "0"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    seed: int
    kills: int = 0  # at random; 0: as many as fit into the time
    minutes: float = 0.0
    concurrency: int = 50
    without: frozenset[str] = frozenset()  # kinds of faults that are left out


@dataclass
class Result:
    """What came of it."""

    seed: int
    concurrency: int
    seconds: float
    faults: dict[str, int]
    not_possible: list[str]  # faults that cannot be had on this machine
    not_reached: list[str]  # crash points
    starts: int  # of the server
    counts: dict[str, int]
    load_average: float
    promises: dict[str, int]  # violations of each
    violations: list[Violation] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)  # unforeseen errors in the server's log

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "violations": [str(violation) for violation in self.violations]}


def torture(plan: Plan, say: Say, *, keep: bool = False) -> Result:
    """Run a course and check it. Everything is removed at the end, unless it is to be kept."""
    began = time.monotonic()
    ground = Ground(DISK_MEGABYTES)
    say(f"seed {plan.seed}; everything lies in {ground.folder}")
    server = Server(ground)
    ledger = Ledger(ground.folder / "clients.jsonl")
    starts = StartLedger(ground.folder / "starts.jsonl")
    chance = random.Random(plan.seed)  # noqa: S311  that it can be repeated is the point
    faults = Faults(server, ground, ledger, chance, say)
    over = threading.Event()
    threads: list[threading.Thread] = []
    try:
        faults.up()
        key = server.key()
        course = Course(ledger, starts.preamble, over)
        for number in range(plan.concurrency):
            client = Client(number, plan.seed, Caller(server, key), course)
            threads.append(threading.Thread(target=client.run, daemon=True))
        for thread in threads:
            thread.start()
        _inflict(plan, faults, ground, chance, began)
        over.set()
        faults.end()
        say("the faults are over; what is under way comes to its end")
        _rest(Caller(server, key), threads, say)
        book = Book(read(ledger.path), read(ground.folder / "starts.jsonl"))
        account = take_account(server, Caller(server, key), book)
        found = violations(book, account)
        return Result(
            seed=plan.seed,
            concurrency=plan.concurrency,
            seconds=round(time.monotonic() - began, 1),
            faults=dict(faults.counts),
            not_possible=_not_possible(ground),
            not_reached=faults.not_reached,
            starts=server.starts,
            counts=_counts(book, account),
            load_average=round(os.getloadavg()[1], 1),
            promises={name: sum(v.promise == name for v in found) for name in PROMISES},
            violations=found,
            surprises=_surprises(server.log.read_text(errors="replace")),
        )
    finally:
        over.set()
        faults.close()
        server.kill_everything()
        end = time.monotonic() + 5
        for thread in threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
        starts.close()
        ledger.close()
        if keep:
            ground.keep()
        else:
            ground.remove()


# --- faults ---------------------------------------------------------------------------------------


def _inflict(
    plan: Plan, faults: Faults, ground: Ground, chance: random.Random, began: float
) -> None:
    """All faults of the plan, in an order that the seed decides."""
    others = _others(plan, faults, ground, chance)
    if plan.kills:
        sequence = [faults.kill_something] * plan.kills + others
        chance.shuffle(sequence)
        for fault in sequence:
            faults.settle()
            fault()
        return
    end = began + plan.minutes * 60
    waiting: list[Callable[[], None]] = []
    while time.monotonic() < end:
        if not waiting:
            waiting = chance.sample(others, len(others))
        faults.settle()
        for _ in range(5):
            faults.kill_something()
        if waiting:
            waiting.pop()()


def _others(
    plan: Plan, faults: Faults, ground: Ground, chance: random.Random
) -> list[Callable[[], None]]:
    """The faults beside random kills, more of them the more kills there are."""
    times = max(1, plan.kills // 100)
    found: dict[str, list[Callable[[], None]]] = {
        "crash point": [partial(faults.crash_at, point) for point in points.ALL],
        "full disk": [lambda: faults.full_disk(chance.uniform(1.0, 4.0))] * times,
        "stalled database": [
            *[lambda: faults.stall_database(chance.uniform(0.5, 5.0))] * times,
            lambda: faults.stall_database(12.0),  # longer than the server waits
        ],
        "clock": [faults.move_clock] * (2 * times) if ground.can_jump else [],
        "machine": [faults.restart_machine] * times if ground.can_restart else [],
        "stop": [faults.stop] * times,
    }
    return [fault for kind, some in found.items() if kind not in plan.without for fault in some]


def _not_possible(ground: Ground) -> list[str]:
    found = []
    if not ground.can_jump:
        found.append("clock: libfaketime is not installed (apt install libfaketime)")
    if not ground.can_restart:
        found.append("machine: only root can change the boot id of a process")
    if not ground.small_disk:
        found.append("full disk: only root can mount a small one; the reserve was raised in place")
    return found


# --- the end --------------------------------------------------------------------------------------


def _rest(caller: Caller, threads: list[threading.Thread], say: Say) -> None:
    """Wait for clients and jobs. What is not over after that is found by the checks."""
    end = time.monotonic() + _REST_SECONDS
    for thread in threads:
        thread.join(timeout=max(0.1, end - time.monotonic()))
    left: list[str] = []
    while time.monotonic() < end:
        try:
            left = accounts.under_way(caller)
        except Lost:
            left = ["?"]
        if not left:
            return
        time.sleep(0.5)
    say(f"after {_REST_SECONDS:.0f} s there is still under way: {', '.join(left[:10])}")


def take_account(server: Server, caller: Caller, book: Book) -> Account:
    """Ask the server, stop it, tidy, and look at what is left. The server is down after it."""
    account = Account()
    accounts.of_the_api(account, caller, book.deleted)
    caller.close()
    server.stop()
    tidied = subprocess.run(
        [*SIMYARD, *_TIDY, "--data", str(server.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    if tidied.returncode != 0:
        account.damage.append(f"`simyard tidy` failed: {tidied.stderr[-500:]}")
    accounts.of_the_folder(account, server.data)
    attempts = {*account.attempts, *(a for job in book.jobs.values() for a in job.starts)}
    account.processes = [
        f"process {pid} ({name[:200]})" for pid, name in server.described(attempts).items()
    ]
    return account


def _counts(book: Book, account: Account) -> dict[str, int]:
    jobs, uploads = book.jobs.values(), book.uploads.values()
    ends = Counter(_kind_of_end(job.reason) for job in account.jobs if job.submitted)
    return {
        "uploads acknowledged": sum(bool(upload.ids) for upload in uploads),
        "uploads cut off for good": sum(not upload.whole for upload in uploads),
        "jobs acknowledged": sum(bool(job.ids) for job in jobs),
        "studies acknowledged": sum(bool(job.ids and job.runs) for job in jobs),
        "submits acknowledged": sum(job.submit_acknowledged for job in jobs),
        "stops acknowledged": sum(bool(job.ids and job.stop_acknowledged) for job in jobs),
        "deletes acknowledged": len(book.deleted),
        "payloads started": sum(len(job.starts) for job in jobs),
        "attempts": len(account.attempts),
        "attempts killed on purpose": len(book.killed),
        "requests lost with their connection": book.lost,
        **{f"requests refused with {status}": n for status, n in sorted(book.refused.items())},
        **{f"jobs at the end: {kind}": n for kind, n in sorted(ends.items())},
    }


def _kind_of_end(reason: str) -> str:
    for kind in ("Completed successfully", "Stopped by the user", "ended with exit code"):
        if kind in reason:
            return kind
    return "interrupted" if "killed" in reason or "restarted" in reason else "other"


_ERROR = re.compile(r"^(?:[\w.]+(?:Error|Exception|Interrupt)\b.*)$", re.MULTILINE)


def _surprises(log: str) -> list[str]:
    """What ended the tracebacks in the server's log, each kind once. They break no promise by
    themselves, and are worth a look.
    """
    found = Counter(line[:160] for line in _ERROR.findall(log))
    return [f"{count} x {line}" for line, count in found.most_common(20)]
