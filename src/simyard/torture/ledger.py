"""What clients were told and what payloads did, written down where no fault of the server reaches.

Both ledgers are append-only files of JSON lines, each line written by one call. What is checked at
the end is read from the files.
"""

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any


class Ledger:
    """An append-only file of JSON lines. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers = 0  # about so many: what shows that there is life
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file: int | None = os.open(path, flags, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """Write down that something happened now. `at` is in monotonic seconds. Does nothing once
        it is closed: where a course was broken off, clients still talk.
        """
        if self._file is None:
            return
        if what.endswith(("acknowledged", "ended", "deleted", "start", "end")):
            self.answers += 1
        line = json.dumps({"what": what, "at": time.monotonic(), **facts}) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a ledger in the order in which they were written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


class StartLedger:
    """What payloads say over loopback: a run in its sandbox can write to no file of ours.

    A payload says `WORD KEY ATTEMPT REST...` with the shell function that `preamble` defines.
    """

    def __init__(self, path: Path) -> None:
        self._ledger = Ledger(path)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        port = self._listener.getsockname()[1]
        self.preamble = (
            f'say() {{ (exec 3<>/dev/tcp/127.0.0.1/{port}; echo "$*" >&3) 2>/dev/null; }}\n'
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile(errors="replace") as lines:
                connection.settimeout(5)
                try:
                    said = [line.split() for line in lines]
                except OSError:  # it was killed while it spoke
                    continue
            for words in said:
                if len(words) >= 3:
                    self._ledger.note(words[0], key=words[1], attempt=words[2], rest=words[3:])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)
        self._ledger.close()
