"""Sessions and the links that open them, by a clock that stands still."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from simyard.blobs.keyring import Keyring
from simyard.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from simyard.domain.users import Role
from simyard.service import members, sessions, users
from simyard.service.sessions import LIFETIME, LINK_LIFETIME
from simyard.service.users import Callers
from simyard.store import upgrade
from simyard.store.database import Database
from simyard.store.schema import login_links
from simyard.store.schema import sessions as table

ADA = "ada@lab.example"
KEY = "a" * 40
SECOND = timedelta(seconds=1)


class World:
    """A database with one member, and an administrator so that he may leave."""

    def __init__(self, path: Path) -> None:
        self.at = datetime(2026, 3, 2, tzinfo=UTC)
        self.keyring = Keyring(b"k" * 32)
        self.database = Database(f"sqlite:///{path}", clock=lambda: self.at)
        upgrade.upgrade(self.database.engine)
        self.database.start()
        self.write(users.create_key, "root@lab.example", "b" * 40, role=Role.ADMIN)

    def write(self, work, *arguments, **named):
        return self.database.write(work, self.keyring, *arguments, **named)

    def key(self, key: str = KEY, lifetime: timedelta | None = None) -> None:
        self.write(users.create_key, ADA, key, lifetime=lifetime)

    def open(self, key: str = KEY, before: str | None = None) -> sessions.NewSession:
        return self.write(sessions.open_with_key, key, before=before)

    def open_link(self, link: str) -> sessions.NewSession:
        return self.write(sessions.open_with_link, link, before=None)

    def whose(self, token: str) -> str:
        found = self.database.read(sessions.authenticate, self.keyring, token, self.at)
        return found[0].user.email

    def is_over(self, token: str) -> bool:
        try:
            self.whose(token)
        except Unauthenticated:
            return True
        return False

    def count(self, of) -> int:
        return self.database.read(
            lambda conn: conn.execute(select(func.count()).select_from(of)).scalar()
        )

    def set_active(self, active: bool) -> None:
        (ada,) = [one for one in self.database.read(members.members) if one.email == ADA]
        self.database.write(
            members.change_member, ada.code, full_name=None, role=None, active=active
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "test.db")
    made.key()
    yield made
    made.database.close()


def test_it_lasts_for_its_time(world: World) -> None:
    made = world.open()
    assert made.session.expires_at == world.at + LIFETIME
    world.at += LIFETIME - SECOND
    assert world.whose(made.token) == ADA
    world.at += SECOND
    assert world.is_over(made.token)


def test_it_ends_with_its_key(world: World) -> None:
    world.key("c" * 40, lifetime=timedelta(hours=1))
    short, long = world.open("c" * 40), world.open()
    assert short.session.expires_at == world.at + timedelta(hours=1)
    world.at += timedelta(hours=1)
    assert world.is_over(short.token)
    (code,) = [
        key.code for key in world.database.read(users.keys_of, ADA) if key.expires_at is None
    ]
    assert world.whose(long.token) == ADA
    world.database.write(users.revoke_key, ADA, code)
    assert world.is_over(long.token)


def test_who_leaves_and_comes_back_has_to_begin_anew(world: World) -> None:
    link = world.write(sessions.make_link, ADA)
    tokens = [world.open().token, world.open_link(world.write(sessions.make_link, ADA)).token]
    world.set_active(False)
    assert all(map(world.is_over, tokens))
    with pytest.raises(NotFound):
        world.write(sessions.make_link, ADA)
    world.set_active(True)
    assert all(map(world.is_over, tokens))
    with pytest.raises(Invalid):
        world.open_link(link)


def test_a_link_is_good_once(world: World) -> None:
    link = world.write(sessions.make_link, ADA)
    made = world.open_link(link)
    assert world.whose(made.token) == ADA
    with pytest.raises(Invalid, match="link: This link was used before or is too old"):
        world.open_link(link)
    assert world.whose(made.token) == ADA


def test_a_link_is_good_for_its_time(world: World) -> None:
    late, early = world.write(sessions.make_link, ADA), world.write(sessions.make_link, ADA)
    world.at += LINK_LIFETIME - SECOND
    assert world.whose(world.open_link(early).token) == ADA
    world.at += SECOND
    with pytest.raises(Invalid):
        world.open_link(late)


def test_a_link_is_no_key_and_a_session_neither(world: World) -> None:
    link = world.write(sessions.make_link, ADA)
    token = world.open().token
    for key in (link, token):
        with pytest.raises(Unauthenticated):
            world.database.read(users.authenticate, world.keyring, key, world.at)
        with pytest.raises(Invalid):
            world.open(key)
    for no_session in (link, KEY):
        assert world.is_over(no_session)


def test_the_key_of_a_run_opens_none(world: World) -> None:
    with pytest.raises(Forbidden):
        world.open(world.keyring.job_key("d" * 32))


def test_a_new_one_takes_the_place_of_the_browsers_old_one(world: World) -> None:
    first, other = world.open(), world.open()
    second = world.open(before=first.token)
    assert world.is_over(first.token)
    assert world.whose(other.token) == world.whose(second.token) == ADA


def test_what_failed_ends_nothing(world: World) -> None:
    first = world.open()
    with pytest.raises(Invalid):
        world.open("e" * 40, before=first.token)
    assert world.whose(first.token) == ADA


def test_what_is_over_is_not_kept(world: World) -> None:
    world.open()
    world.write(sessions.make_link, ADA)
    world.at += LIFETIME
    world.open()
    assert (world.count(table), world.count(login_links)) == (1, 0)


def test_ending_one_is_known_at_once(world: World) -> None:
    callers = Callers(world.database, world.keyring, lambda: world.at, sessions.authenticate)
    made = world.open()
    assert callers.identify(made.token).user.email == ADA
    for _ in range(2):
        world.write(sessions.end, made.token)
        with pytest.raises(Unauthenticated):
            callers.identify(made.token)
