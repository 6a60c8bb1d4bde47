"""Who uses the installation, and the keys they hold."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    ADMIN = "admin"  # may also look after the installation
    MEMBER = "member"


@dataclass(frozen=True, kw_only=True)
class User:
    id: int  # internal
    code: str  # five letters, part of storage paths on the wire
    email: str  # lower case; what the API calls `owner`
    full_name: str
    role: Role


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key as it is stored. The key itself is shown once, at its creation, and never kept."""

    user: User
    expires_at: datetime | None  # None: never
    revoked_at: datetime | None  # None: in force
