"""Everything that can go wrong and that a caller should know about.

SimyardError
├── NotFound              it does not exist, or it is not yours to see
├── Invalid               what was sent is wrong; carries every problem with its path
├── Refused               well-formed, but not possible in the present state
│   ├── IllegalTransition a command that the state machine does not allow
│   ├── NotOpen           a study that takes no more runs
│   ├── Miscounted        another number of things matches than the caller has seen
│   ├── OutOfStep         bytes for another place of an upload than where it goes on
│   └── Busy              another request is at it; retry helps
├── Corrupted             what arrived has not the checksum that was sent; nothing of it was kept
├── NotEnough             too little is known yet to answer; more finished runs help
├── Unauthenticated       no key, an unknown key
│   └── KeyExpired        a key that was good once
├── Forbidden             known to you, but not yours to change
├── KeyReused             an Idempotency-Key came back with another request
├── Changed               somebody else changed it since you looked; carries what is there now
├── TooLarge              beyond a limit that the site has set
├── StorageFull           the disk has no room; retry when there is some
├── Unavailable           a part of the installation does not answer; retry helps
└── Damaged               stored bytes do not verify; retry does not help

No HTTP here: `api/errors.py` holds the one table from these classes to statuses and bodies.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import field

from simyard.domain.records import dataclass

Path = tuple[str | int, ...]


class SimyardError(Exception):
    """Base of all errors that Simyard raises on purpose. `str(error)` is fit for a user."""


class NotFound(SimyardError):
    """There is no such thing, or the caller may not see it (the two are never told apart)."""

    def __init__(self, message: str = "Not found.") -> None:
        super().__init__(message)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what was sent."""

    path: Path  # ("jobanalyses", 0, "command"); () for the whole body
    message: str  # a sentence for the user


@dataclass
class Invalid(SimyardError):
    """What was sent cannot be accepted. All problems are reported at once."""

    problems: Sequence[Problem]
    # Length of each list that was sent, so that a report can be aligned with it.
    list_lengths: Mapping[Path, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return "; ".join(
            f"{'.'.join(map(str, p.path))}: {p.message}" if p.path else p.message
            for p in self.problems
        )

    @classmethod
    def at(cls, path: str | Path, message: str) -> "Invalid":
        """One problem at one place."""
        return cls([Problem((path,) if isinstance(path, str) else path, message)])


class Refused(SimyardError):
    """The request is fine, the moment is not (a job that is no draft, a cluster not stopped)."""


class IllegalTransition(Refused):
    """A command that the state machine has no move for."""


class NotOpen(Refused):
    """The study takes no more runs."""


class Miscounted(Refused):
    """Another number of things matches than the caller has seen. Nothing was done."""

    def __init__(self, message: str, count: int = 0) -> None:
        super().__init__(message)
        self.count = count  # that match now


class OutOfStep(Refused):
    """The upload goes on at another byte than the request begins with."""


class Busy(Refused):
    """Another request is writing the same upload. Retry helps."""


class Corrupted(SimyardError):
    """What arrived has not the checksum that came with it. Nothing of it was kept; retry helps."""


class NotEnough(SimyardError):
    """The question is fine, what is known is too little or not fit to answer it: "needs at least 8
    finished runs, has 5".
    """


class Unauthenticated(SimyardError):
    """The caller did not say who he is, or not believably."""


class KeyExpired(Unauthenticated):
    """The API key was good once and is no longer."""


class Forbidden(SimyardError):
    """The caller may see the thing and may not do this to it."""

    def __init__(self, message: str = "You do not have permission to perform this action.") -> None:
        super().__init__(message)


class KeyReused(SimyardError):
    """The same Idempotency-Key was sent before with a different request."""


class Changed(SimyardError):
    """The thing is another by now than the one that the caller wants to change."""

    def __init__(self, message: str, current: object) -> None:
        super().__init__(message)
        self.current = current  # the thing as it is


class TooLarge(SimyardError):
    """What was sent is beyond a limit of the site."""


class StorageFull(SimyardError):
    """No room on the disk. Nothing was stored; the same request may be sent again later."""


class Unavailable(SimyardError):
    """A part of the installation does not answer. Nothing was done; retry helps."""


class Damaged(SimyardError):
    """Stored bytes are missing or do not verify against their key. Retry does not help."""


def disk_is_full(error: BaseException) -> bool:
    """Whether the system refused for want of room, or of quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
