"""One thing done to many jobs."""

from enum import StrEnum

from simyard.domain.records import dataclass


class Action(StrEnum):
    STOP = "stop"
    DELETE = "delete"
    TAG = "tag"
    UNTAG = "untag"
    SHARE = "share"
    UNSHARE = "unshare"


@dataclass(frozen=True, kw_only=True)
class Result:
    code: str  # of the job
    is_ok: bool
    detail: str = ""  # why not


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """How far it is. Kept whole as a task: what is left is what has not been tried yet."""

    action: Action
    tags: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    message: str = ""
    total: int
    left: tuple[str, ...]  # ids
    done: int = 0  # tried
    failed: int = 0  # of those
    results: tuple[Result, ...] = ()  # where there are many jobs, of those alone that failed

    def part(self, most_jobs: int, most_changes: int) -> tuple[str, ...]:
        """Of what is left, the next few jobs: at least one, however much is done to it."""
        each = max(1, len(self.tags), len(self.emails))
        return self.left[: max(1, min(most_jobs, most_changes // each))]

    @property
    def is_done(self) -> bool:
        return not self.left
