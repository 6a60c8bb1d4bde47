"""What tells whether anything of a study's runs is new, without reading them."""

from sqlalchemy import Connection, bindparam, func, select

from simyard.store.prepared import Prepared
from simyard.store.schema import runs

_OF_JOB = runs.c.job_id == bindparam("job")
_STATES = Prepared(
    select(runs.c.state, func.count().label("number"), func.max(runs.c.completed_at).label("last"))
    .where(_OF_JOB)
    .group_by(runs.c.state)
    .order_by(runs.c.state)
)
_OPTIMAL = Prepared(
    select(runs.c.number).where(_OF_JOB, runs.c.is_optimal.is_(True)).order_by(runs.c.number)
)


def stamp(conn: Connection, job_id: int) -> tuple[object, ...]:
    """Another one whenever a run is: what a run has told only changes with its end."""
    states = ((row.state, row.number, row.last) for row in _STATES.rows(conn, job=job_id))
    return *states, tuple(row.number for row in _OPTIMAL.rows(conn, job=job_id))
