"""What is done to the server. Each fault says in one line what it did; what the checks must know
of it is noted before it happens.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

from simyard.torture import points
from simyard.torture.ground import Ground
from simyard.torture.ledger import Ledger
from simyard.torture.server import Server

KILLS = ("server", "supervisor", "fork server")
OTHERS = ("crash point", "full disk", "stalled database", "clock", "machine", "stop")
_HOLD = """import sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
base.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
base.execute("ROLLBACK")
"""
_UP_SECONDS = 120.0
_ANSWERS_SECONDS = 3.0
_ATTEMPT_SECONDS = 1.5
_POINT_SECONDS = 15.0


class ServerLost(Exception):
    """The server does not come back although nothing hinders it."""


class Faults:
    """One at a time, but for a full disk, a stalled database and a moved clock: these stay for a
    while, and the next faults meet them.
    """

    def __init__(
        self,
        server: Server,
        ground: Ground,
        ledger: Ledger,
        chance: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._server = server
        self._ground = ground
        self._ledger = ledger
        self._chance = chance
        self._say = say
        self._pending: list[tuple[float, Callable[[], None]]] = []  # (when, how to undo it)
        self._stalls: list[subprocess.Popen[bytes]] = []
        self._armed: dict[str, str] = {}
        self._number = 0
        self.counts: Counter[str] = Counter()
        self.not_reached: list[str] = []

    # --- keeping it up ----------------------------------------------------------------------------

    def settle(self) -> None:
        """Undo what has lasted long enough, and have the server up."""
        now = time.monotonic()
        for when, undo in list(self._pending):
            if when <= now:
                self._pending.remove((when, undo))
                undo()
        self.up()

    def up(self) -> None:
        """As a service manager does: a server that ended is started again. Raises ServerLost."""
        end = time.monotonic() + _UP_SECONDS
        while not self._server.alive:
            if self._server.start(**self._armed):
                return
            hindered = bool(self._pending)
            self._ledger.note("start.failed", hindered=hindered)
            if time.monotonic() > end:
                raise ServerLost(self._server.log.read_text()[-2000:])
            time.sleep(0.3)
            self._undo_overdue()

    def _undo_overdue(self) -> None:
        now = time.monotonic()
        for when, undo in [entry for entry in self._pending if entry[0] <= now]:
            self._pending.remove((when, undo))
            undo()

    def end(self) -> None:
        """Everything is as it should be again."""
        for _, undo in self._pending:
            undo()
        self._pending.clear()
        for stall in self._stalls:
            stall.wait(timeout=60)
        if self._ground.can_jump:
            self._ground.set_clock(0)
        if self._server.alive:
            self._server.kill()
        self._armed = {}
        self.up()

    def close(self) -> None:
        """Leave no process and no full disk, however it came to the end."""
        for stall in self._stalls:
            if stall.poll() is None:
                stall.kill()
                stall.wait()
        self._ground.make_room()

    def _tell(self, kind: str, text: str) -> None:
        self._number += 1
        self.counts[kind] += 1
        self._ledger.note("fault", kind=kind, text=text)
        self._say(f"#{self._number:<5} {text}")

    # --- kills ------------------------------------------------------------------------------------

    def kill_something(self) -> None:
        """Server, supervisor or fork server, after some more answers."""
        self._wait_for_answers(self._chance.choice([0, 1, 2, 5, 10, 20]))
        what = self._chance.choices(KILLS, (3, 5, 3))[0]
        if what == "supervisor" and self._kill_supervisor():
            return
        if what == "fork server" and self._kill_fork_server():
            return
        self._kill_server()

    def _wait_for_answers(self, count: int) -> None:
        """So that there is work between two kills, however slow the machine is."""
        wanted, end = self._ledger.answers + count, time.monotonic() + _ANSWERS_SECONDS
        while self._ledger.answers < wanted and time.monotonic() < end and self._server.alive:
            time.sleep(0.01)
        time.sleep(self._chance.uniform(0.0, 0.05))

    def _kill_server(self) -> None:
        if not self._server.alive:  # it died at a crash point meanwhile
            self.up()
        pid = self._server.kill()
        self._tell("server", f"killed the server (process {pid})")
        if self._chance.random() < 0.15:
            self._server.spawn()
            time.sleep(self._chance.uniform(0.05, 1.0))
            pid = self._server.kill()
            self._tell("server", f"killed the server as it started (process {pid})")
        self.up()

    def _kill_supervisor(self) -> bool:
        end = time.monotonic() + _ATTEMPT_SECONDS
        while not (alive := self._server.attempts()):
            if time.monotonic() > end or not self._server.alive:
                return False
            time.sleep(0.01)
        attempt = self._chance.choice(alive)
        self._ledger.note("attempt.killed", attempt=attempt.token)
        try:
            if not self._server.hold(attempt):
                return False
            os.kill(attempt.supervisor, signal.SIGKILL)
        except ProcessLookupError:  # it ended by itself just now
            return False
        text = f"killed the supervisor of {attempt.token} (process {attempt.supervisor})"
        self._tell("supervisor", text)
        return True

    def _kill_fork_server(self) -> bool:
        pid = self._server.fork_server()
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self._tell("fork server", f"killed the fork server (process {pid})")
        return True

    def stop(self) -> None:
        """As an upgrade does."""
        status = self._server.stop() if self._server.alive else 0
        self._tell("stop", f"stopped the server by SIGTERM (exit status {status})")
        self.up()

    # --- crash points -----------------------------------------------------------------------------

    def crash_at(self, point: str) -> None:
        """Have some process die at this point, once, and go on."""
        once = self._ground.folder / f"died-at-{point}"
        if point in points.SUPERVISOR:
            self._ledger.note("attempt.killed-at-a-point", point=point)
        if self._server.alive:
            self._server.kill()
        self._armed = {"SIMYARD_CRASH_AT": point, "SIMYARD_CRASH_ONCE": str(once)}
        end = time.monotonic() + _POINT_SECONDS
        while not once.exists() and time.monotonic() < end:
            self.settle()
            time.sleep(0.02)
        self._armed = {}
        if once.exists():
            self._tell("crash point", f"died at the crash point {point}")
        else:
            self.not_reached.append(point)
            self._say(f"       nothing came to the crash point {point}")
        if self._server.alive and point not in points.SERVER:
            self._server.kill()  # its environment is the armed one
        self.up()

    # --- what lasts for a while -------------------------------------------------------------------

    def full_disk(self, seconds: float) -> None:
        if self._ground.small_disk:
            taken = self._ground.fill()
            self._pending.append((time.monotonic() + seconds, self._ground.make_room))
            text = f"filled the disk for {seconds:.1f} s ({taken >> 20} MiB)"
        else:
            self._server.kill()
            self._server.start(SIMYARD_DISK_RESERVE_BYTES=str(10**15))
            self._pending.append((time.monotonic() + seconds, lambda: void(self._server.kill())))
            text = f"left no room beyond the reserve for {seconds:.1f} s"
        self._tell("full disk", text)

    def stall_database(self, seconds: float) -> None:
        path = str(self._server.data / "simyard.db")
        command = [sys.executable, "-c", _HOLD, path, str(seconds)]
        stall = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert stall.stdout is not None
        stall.stdout.read(4)  # until it has it
        stall.stdout.close()
        self._stalls.append(stall)
        self._pending.append((time.monotonic() + seconds, lambda: void(stall.wait())))
        self._tell("stalled database", f"another process holds the database for {seconds:.1f} s")

    def move_clock(self) -> None:
        hours = self._chance.choice([-30, -5, -1, 1, 7, 30])
        self._ground.set_clock(hours * 3600)
        self._tell("clock", f"the clock jumps to {hours:+d} h")

    def restart_machine(self) -> None:
        noted = self._server.tokens()
        for token in noted:
            self._ledger.note("attempt.killed", attempt=token)
        count = self._server.kill_everything()
        for token in set(self._server.tokens()).difference(noted):  # began meanwhile
            self._ledger.note("attempt.killed", attempt=token)
        self._ledger.note("machine.restarted")
        self._ground.change_boot_id()
        self._tell("machine", f"the machine restarts: {count} processes gone, another boot id")
        self.up()


def void(_: object) -> None:
    """For calls whose result is of no interest."""
