"""What is known of studies beside their definitions and their runs."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select, update

from simyard.domain.records import dataclass
from simyard.store.prepared import Prepared, any_of
from simyard.store.schema import AnyRow, studies


@dataclass(frozen=True, kw_only=True)
class Standing:
    job_id: int
    slots: int  # most runs that hold one at the same time
    is_open: bool = False  # more runs may come
    asked: int = 0  # runs that its optimizer has asked for
    version: int = 0  # grows with everything that its optimizer may want to know of
    answered: int = -1  # the version that it was last asked about
    closed_because: str | None = None  # why no more runs come


def _standing(row: AnyRow) -> Standing:
    return Standing(
        job_id=row.job_id,
        slots=row.slots,
        is_open=row.is_open,
        asked=row.asked,
        version=row.version,
        answered=row.answered,
        closed_because=row.closed_because,
    )


_INSERT = Prepared(studies.insert())
_OF_JOB = Prepared(select(studies).where(studies.c.job_id == bindparam("job")))
_OPEN = Prepared(
    select(studies.c.job_id).where(any_of(studies.c.job_id, "wanted"), studies.c.is_open.is_(True))
)
# Few among very many: in an index of their own.
_OWING = Prepared(
    select(studies).where(studies.c.is_open.is_(True), studies.c.version > studies.c.answered)
)
_CHANGED = Prepared(
    update(studies)
    .where(studies.c.job_id == bindparam("job"))
    .values(version=studies.c.version + 1)
)
_ANSWERED = Prepared(
    update(studies)
    .where(studies.c.job_id == bindparam("job"))
    .values(asked=studies.c.asked + bindparam("more"), answered=bindparam("at"))
)
_CLOSE = Prepared(
    update(studies)
    .where(studies.c.job_id == bindparam("job"), studies.c.is_open.is_(True))
    .values(is_open=False, closed_because=bindparam("why"))
)
_REOPEN = Prepared(
    update(studies)
    .where(studies.c.job_id == bindparam("job"))
    .values(is_open=True, closed_because=None, version=studies.c.version + 1)
)


def insert(conn: Connection, job_id: int, *, slots: int, is_open: bool) -> None:
    _INSERT.run(conn, job_id=job_id, slots=slots, is_open=is_open, asked=0, version=0, answered=-1)


def of_job(conn: Connection, job_id: int) -> Standing | None:
    """None for a job that is no study or was not submitted."""
    row = _OF_JOB.first(conn, job=job_id)
    return _standing(row) if row else None


def open_ones(conn: Connection, job_ids: Sequence[int]) -> set[int]:
    """Those of these jobs to which more runs may come."""
    return {row.job_id for row in _OPEN.rows(conn, wanted=job_ids)}


def owing(conn: Connection) -> list[Standing]:
    """Open studies about which something is new since their optimizer was last asked."""
    return [_standing(row) for row in _OWING.rows(conn)]


def tell_changed(conn: Connection, job_id: int) -> None:
    """Something is new that its optimizer, or whoever looks at its results, may want to know of."""
    _CHANGED.run(conn, job=job_id)


def tell_answered(conn: Connection, job_id: int, *, at: int, more: int) -> None:
    """Its optimizer has been asked about version `at` and has got so many more runs."""
    _ANSWERED.run(conn, job=job_id, at=at, more=more)


def close(conn: Connection, job_id: int, why: str) -> bool:
    """No more runs come. Returns False where that was so before."""
    return _CLOSE.run(conn, job=job_id, why=why) > 0


def reopen(conn: Connection, job_id: int) -> None:
    _REOPEN.run(conn, job=job_id)
