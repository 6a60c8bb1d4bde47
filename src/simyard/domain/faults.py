"""Named places at which a test can have this process killed, as by `kill -9`.

A crash point stands between two durable steps. Unarmed it costs one comparison. It is armed by
`arm`, which only `bootstrap` calls, from SIMYARD_CRASH_AT; the supervisor, a file of its own that
imports nothing of ours, reads the same variables by itself.
"""

import os
import signal

_armed: list[tuple[str, str]] = []  # (name, once), at most one


def arm(name: str, once: str) -> None:
    """Die at the point of this name, the first time that any process comes to it.

    once: path of a file that is made at that moment; while it exists nothing dies.
    """
    _armed[:] = [(name, once)]


def crash_point(name: str) -> None:
    if _armed and _armed[0][0] == name:
        try:
            os.close(os.open(_armed[0][1], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
