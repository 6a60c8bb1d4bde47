"""Bringing a database to the present shape.

A new database is made at once from the tables and marked with the newest migration; an older one
goes through the migrations it lacks. A test holds both ways against each other.
"""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from simyard.store.schema import metadata

HEAD = "0011"  # the newest migration
# As Alembic makes it.
_VERSION_TABLE = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""


class TooNew(Exception):
    """The database was written by a newer release."""


def upgrade(engine: Engine) -> None:
    """Idempotent; safe to call from several processes. Raises TooNew."""
    with engine.connect() as conn:
        # One writer at a time, from here on; others wait their turn and find it done.
        conn.execute(text("BEGIN IMMEDIATE"))
        try:
            present = _revision(engine)
            if present is None:
                metadata.create_all(conn)
                conn.execute(text(_VERSION_TABLE))
                conn.execute(text("INSERT INTO alembic_version VALUES (:v)"), {"v": HEAD})
            conn.execute(text("COMMIT"))
        except BaseException:
            conn.execute(text("ROLLBACK"))
            raise
    if present is not None and present != HEAD:
        if present > HEAD:
            raise TooNew(f"the database has revision {present}, this release knows {HEAD}")
        _migrate(engine)


def is_behind(engine: Engine) -> bool:
    """Whether the database is there and is that of an older release."""
    present = _revision(engine)
    return present is not None and present < HEAD


def _revision(engine: Engine) -> str | None:
    with engine.connect() as conn:
        if not inspect(conn).has_table("alembic_version"):
            return None
        revision: str | None = conn.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def _migrate(engine: Engine) -> None:
    from alembic import command  # only here: it costs 10 MB that a server does not need
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect() as conn:
        config.attributes["connection"] = conn
        # A table that others refer to may be rebuilt on the way; what counts is the end.
        conn.execute(text("PRAGMA foreign_keys = OFF"))
        conn.execute(text("BEGIN IMMEDIATE"))  # all of it or nothing, whatever happens
        try:
            command.upgrade(config, "head")
            broken = conn.execute(text("PRAGMA foreign_key_check")).fetchall()
            if broken:
                what = f"the migrated database refers to rows that are not there: {broken[:3]}"
                raise RuntimeError(what)
            conn.execute(text("COMMIT"))
        except BaseException:
            conn.execute(text("ROLLBACK"))
            raise
        finally:
            conn.execute(text("PRAGMA foreign_keys = ON"))
