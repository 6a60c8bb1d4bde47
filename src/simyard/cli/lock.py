"""One server to a data folder: it holds the folder's lock for as long as it lives."""

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from simyard.cli import options

NAME = "lock"
_MOST_BYTES = 4096


class DataLock:
    """The claim of this process to a data folder.

    The kernel ends it with the process, however it ends; the file stays and means nothing by
    itself. Programs that the process starts do not inherit it.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self._say("")

    def serves_at(self, address: str) -> None:
        """Tell others where this server answers."""
        self._say(address)

    def _say(self, address: str) -> None:
        told = {"pid": os.getpid(), "since": self._since, "address": address}
        text = json.dumps(told).encode() + b"\n"
        # One write, and only then shorter: whoever looks meanwhile reads a whole first line.
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))


_HINT = "stop it first, or name another folder with --data"


def claim(data: Path, hint: str = _HINT) -> DataLock:
    """The data folder for this process alone, or the end of the command, which says who has it."""
    try:
        descriptor = os.open(data / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return DataLock(descriptor)
    except BlockingIOError:
        holder = _holder(os.pread(descriptor, _MOST_BYTES, 0))
        options.fail(f"another server ({holder}) is using the data folder {data}", hint)
    except OSError as error:
        options.fail(f"the data folder cannot be used: {error}")


def address(data: Path) -> str:
    """Where the server of this data folder answers; "" where none runs, or not yet. The lock itself
    is not tried: a server that starts just now would find it taken.
    """
    try:
        told = json.loads((data / NAME).read_bytes().splitlines()[0])
        os.kill(told["pid"], 0)
        return str(told["address"])
    except (OSError, IndexError, ValueError, TypeError, KeyError):
        return ""


def _holder(content: bytes) -> str:
    """Who holds the lock, by what he wrote. He may not have come to that yet."""
    try:
        told = json.loads(content.splitlines()[0])
        if isinstance(told, int):  # all that the first releases say
            return f"process {told}"
        text = f"process {told['pid']}, since {told['since']}"
        return f"{text}, at {told['address']}" if told["address"] else text
    except (IndexError, ValueError, TypeError, KeyError):
        return "it has just started"
