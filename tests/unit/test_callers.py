"""Who sends a key: remembered for a moment, and never longer than it is true."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from simyard.blobs.keyring import Keyring
from simyard.domain.errors import KeyExpired, Unauthenticated
from simyard.service import users
from simyard.service.users import REMEMBERED_SECONDS, Callers
from simyard.store import upgrade
from simyard.store import users as store
from simyard.store.database import Database

ADA = "ada@lab.example"
KEY = "a" * 40


class Setting:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Setting:
    return Setting()


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(b"k" * 32)


@pytest.fixture
def database(tmp_path: Path, clock: Setting) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=clock)
    upgrade.upgrade(made.engine)
    made.start()
    yield made
    made.close()


@pytest.fixture
def elsewhere(database: Database, tmp_path: Path, clock: Setting) -> Iterator[Database]:
    """The same database in another process."""
    made = Database(f"sqlite:///{tmp_path / 'test.db'}", clock=clock)
    made.start()
    yield made
    made.close()


def revoke(database: Database) -> None:
    (key,) = database.read(users.keys_of, ADA)
    database.write(users.revoke_key, ADA, key.code)


def test_what_this_process_revokes_is_over_at_once(
    database: Database, keyring: Keyring, clock: Setting
) -> None:
    database.write(users.create_key, keyring, ADA, KEY)
    callers = Callers(database, keyring, clock)
    assert callers.identify(KEY).user.email == ADA
    assert callers.identify(KEY) is callers.identify(KEY)
    revoke(database)
    with pytest.raises(Unauthenticated):
        callers.identify(KEY)


def test_what_another_process_revokes_is_over_in_a_moment(
    database: Database, elsewhere: Database, keyring: Keyring, clock: Setting
) -> None:
    database.write(users.create_key, keyring, ADA, KEY)
    callers = Callers(database, keyring, clock)
    callers.identify(KEY)
    revoke(elsewhere)
    clock.move(REMEMBERED_SECONDS)
    with pytest.raises(Unauthenticated):
        callers.identify(KEY)


def test_a_key_that_is_remembered_expires_in_time(
    database: Database, keyring: Keyring, clock: Setting
) -> None:
    half = timedelta(seconds=REMEMBERED_SECONDS / 2)
    database.write(users.create_key, keyring, ADA, KEY, lifetime=half)
    callers = Callers(database, keyring, clock)
    callers.identify(KEY)
    clock.move(half.total_seconds())
    with pytest.raises(KeyExpired):
        callers.identify(KEY)


def test_a_bad_key_is_not_remembered(database: Database, keyring: Keyring, clock: Setting) -> None:
    callers = Callers(database, keyring, clock)
    with pytest.raises(Unauthenticated):
        callers.identify(KEY)
    with database.engine.connect() as conn:  # by another process: no commit of this one
        assert store.key_by_digest(conn, keyring.api_key_digest(KEY)) is None
    other = Database(str(database.engine.url), clock=clock)
    other.start()
    other.write(users.create_key, keyring, ADA, KEY)
    other.close()
    assert callers.identify(KEY).user.email == ADA


def test_a_prepared_query_fails_as_others_do(database: Database, keyring: Keyring) -> None:
    with database.engine.connect() as conn:
        conn.exec_driver_sql("DROP TABLE api_keys")
        with pytest.raises(DBAPIError, match="api_keys"):
            store.key_by_digest(conn, b"")
