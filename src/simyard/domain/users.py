"""Who uses the installation, what each may do, and the keys they hold."""

from datetime import datetime
from enum import StrEnum

from simyard.domain.records import dataclass


class Role(StrEnum):
    ADMIN = "admin"  # may also look after members and projects
    MEMBER = "member"
    READ_ONLY = "read-only"  # sees what is shared with him, changes nothing


class Right(StrEnum):
    """What a request needs of its caller, before it is asked whose thing it is about."""

    READ = "read"  # any key that is in force
    WRITE = "write"  # not a read-only member
    ACCOUNT = "account"  # a person: not the key of a running job
    ADMIN = "admin"  # an administrator in person


@dataclass(frozen=True, kw_only=True)
class User:
    id: int  # internal
    code: str  # five letters, part of storage paths on the wire
    email: str  # lower case; what the API calls `owner`
    full_name: str
    role: Role
    is_active: bool = True  # False: a member who left; his keys do not open anything


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """How much of the site each user may have. 0: as much as there is."""

    storage_bytes: int = 0
    jobs_running: int = 0
    jobs_queued: int = 0
    core_hours_per_month: float = 0  # calendar months in UTC


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whoever sends a request."""

    user: User
    job_id: int | None = None  # of the job whose key it is; None: a person's own key

    def may(self, right: Right) -> bool:
        match right:
            case Right.READ:
                return True
            case Right.WRITE:
                return self.user.role is not Role.READ_ONLY
            case Right.ACCOUNT:
                return self.job_id is None
            case Right.ADMIN:
                return self.job_id is None and self.user.role is Role.ADMIN


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key as it is stored. The key itself is shown once, at its creation, and never kept."""

    id: int  # internal
    digest: bytes
    user: User
    label: str
    created_at: datetime
    expires_at: datetime | None  # None: never
    revoked_at: datetime | None  # None: in force

    @property
    def code(self) -> str:
        """What the API calls it: opens nothing."""
        return self.digest.hex()[:12]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A browser that is somebody, by a cookie."""

    user: User
    expires_at: datetime  # or the key that it was made from, whichever is first


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """An offer to become a member, open until it is taken, withdrawn or too old."""

    id: int  # internal
    code: str
    email: str
    role: Role
    invited_by: str  # email
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Project:
    """What jobs can be booked on."""

    id: int  # internal
    code: str
    name: str
    external_id: str  # how the organisation itself calls it; "" for none
    created_at: datetime
    is_open: bool  # closed ones take no new jobs
    core_hours_per_month: float | None = None  # its budget, calendar months in UTC; None: none


def email_address(sent: str) -> str | None:
    """An address as it is kept; None for what cannot be one."""
    address = sent.strip().lower()
    name, at, host = address.rpartition("@")
    good = name and at and host and "@" not in name and len(address) <= 254
    return address if good and address.isprintable() and " " not in address else None
