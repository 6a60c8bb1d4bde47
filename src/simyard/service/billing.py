"""What the installation used, and what it costs."""

from datetime import UTC, datetime

from sqlalchemy import Connection

from simyard.domain.records import dataclass
from simyard.store import usage
from simyard.store.usage import Total

_HOUR_MICROSECONDS = 3_600_000_000


@dataclass(frozen=True)
class Months:
    """Whole months in UTC, (year, month), both ends included."""

    first: tuple[int, int]
    last: tuple[int, int]

    @property
    def start(self) -> datetime:
        return datetime(*self.first, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment that is not of them."""
        year, month = self.last
        return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)

    @property
    def code(self) -> str:
        return "--".join(f"{year}-{month:02}" for year, month in (self.first, self.last))

    @property
    def label(self) -> str:
        last = datetime(*self.last, 1, tzinfo=UTC)
        shown = [f"{month:%B %Y}" for month in (self.start, last)]
        return shown[0] if self.first == self.last else " to ".join(shown)


@dataclass(frozen=True)
class Summary:
    used: Total
    stored_bytes: int  # now, whatever the months

    @property
    def core_hours(self) -> float:
        return self.used.core_microseconds / _HOUR_MICROSECONDS


def summary(conn: Connection, months: Months) -> Summary:
    """Over the attempts that ended in these months."""
    used = usage.total(conn, start=months.start, end=months.end)
    return Summary(used, usage.stored_bytes(conn))


def amount(micros: int) -> str:
    """An amount of money with two decimals, rounded half up; exact up to there."""
    cents = (micros + 5_000) // 10_000
    return f"{cents // 100}.{cents % 100:02}"
