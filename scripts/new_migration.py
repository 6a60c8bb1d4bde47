"""Write a migration from the newest one to the tables as they are now: new_migration.py NUMBER NAME

Read it before it is committed, and set `HEAD` in store/upgrade.py to its number.
"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import simyard.store


def main(number: str, name: str) -> None:
    config = Config()
    folder = Path(simyard.store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    with tempfile.TemporaryDirectory() as scratch:
        engine = create_engine(f"sqlite:///{scratch}/scratch.db")
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            command.revision(config, name, autogenerate=True, rev_id=number)
        engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
