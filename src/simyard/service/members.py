"""The organisation: its members, their keys, invitations and projects.

One installation is one organisation. Everybody who is a member sees who the others are; only
administrators change that.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from simyard.domain.errors import Invalid, NotFound, Refused
from simyard.domain.records import dataclass
from simyard.domain.users import ApiKey, Invitation, Project, Role, User, email_address
from simyard.service import idempotency, users
from simyard.service.idempotency import Once
from simyard.service.site import Site
from simyard.store import users as store
from simyard.store.database import Transaction

INVITATION_LIFETIME = timedelta(days=14)
NAME_LENGTH = 255


def members(conn: Connection) -> list[User]:
    """Everybody who is or was a member, by address."""
    return store.every(conn)


def member(conn: Connection, code: str) -> User:
    """Raises NotFound."""
    found = store.by_code(conn, code)
    if found is None:
        raise NotFound
    return found


def change_member(
    tx: Transaction, code: str, *, full_name: str | None, role: Role | None, active: bool | None
) -> User:
    """Change what is not None. Who leaves loses all keys and sessions; his jobs and files
    stay. Idempotent.

    Raises NotFound, and Refused where nobody would be left to administer the installation.
    """
    before = member(tx.conn, code)
    role = role or before.role
    active = before.is_active if active is None else active
    if before.role is Role.ADMIN and before.is_active and not (active and role is Role.ADMIN):
        others = [
            user
            for user in store.every(tx.conn)
            if user.role is Role.ADMIN and user.is_active and user.id != before.id
        ]
        if not others:
            raise Refused("This is the last administrator.")
    now = tx.now()
    name = (before.full_name if full_name is None else full_name).strip()
    _check_name("fullName", name)
    if before.is_active is not active or role is not before.role or name != before.full_name:
        store.change(tx.conn, before, full_name=name, role=role, left_at=None if active else now)
    if not active or role is not Role.ADMIN:  # what he offered as an administrator ends with it
        store.close_invitations(tx.conn, before, now=now)
    if not active:
        for key in store.keys_of(tx.conn, before.id):
            store.revoke_key(tx.conn, key.id, now=now)
        store.end_sessions(tx.conn, before)
    return member(tx.conn, code)


def _check_name(field: str, name: str) -> None:
    if not name:
        raise Invalid.at(field, "This field may not be blank.")
    if len(name) > NAME_LENGTH:
        raise Invalid.at(field, f"Ensure this field has no more than {NAME_LENGTH} characters.")


# --- keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewKey:
    """A key at its creation: the only time that it is shown."""

    key: str
    record: ApiKey


def keys(conn: Connection, user: User) -> list[ApiKey]:
    """The user's own keys, newest first."""
    return store.keys_of(conn, user.id)


def create_key(
    tx: Transaction,
    site: Site,
    user: User,
    *,
    label: str,
    lifetime_days: int | None,
    once: Once | None,
) -> tuple[NewKey, bool]:
    """One more key for this user. Repeated with the same Idempotency-Key it is the same key.

    Raises Invalid where the site wants keys to end sooner.
    """
    longest = site.key_lifetime_days
    if longest and lifetime_days is not None and lifetime_days > longest:
        raise Invalid.at("expiresInDays", f"Keys of this site end after {longest} days.")
    days = lifetime_days or longest or None
    done = idempotency.already_done(tx.conn, once, "key")
    key = (
        site.keyring.made_key("key", user.code, once.key, _tail(once)) if once else users.new_key()
    )
    digest = site.keyring.api_key_digest(key)
    if done is None and store.key_by_digest(tx.conn, digest) is None:
        now = tx.now()
        store.insert_key(
            tx.conn,
            user,
            digest=digest,
            label=label[:NAME_LENGTH],
            now=now,
            expires_at=now + timedelta(days=days) if days else None,
        )
        idempotency.note(tx, once, "key", digest.hex()[:12])
    record = store.key_by_digest(tx.conn, digest)
    if record is None:
        raise NotFound
    return NewKey(key, record), done is None


def _tail(once: Once) -> str:
    return once.fingerprint.hex()


def revoke_key(tx: Transaction, user: User, code: str) -> None:
    """End one of the user's keys, at once and for good. Idempotent. Raises NotFound."""
    users.revoke_key(tx, user.email, code)


# --- invitations ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewInvitation:
    """An invitation with the secret that opens it, shown once to whoever invites."""

    token: str
    record: Invitation


def invitations(conn: Connection, now: datetime) -> list[Invitation]:
    """Those that are open, newest first."""
    return store.open_invitations(conn, now=now)


def invite(
    tx: Transaction, site: Site, inviter: User, *, email: str, role: Role, once: Once | None
) -> tuple[NewInvitation, bool]:
    """Offer membership to an address. An earlier offer to it ends. Raises Invalid."""
    address = email_address(email)
    if address is None:
        raise Invalid.at("email", users.NO_ADDRESS)
    done = idempotency.already_done(tx.conn, once, "invitation")
    if done is None:
        present = store.by_email(tx.conn, address)
        if present is not None and present.is_active:
            raise Invalid.at("email", f"{address} is a member already.")
    code = done or store.new_invitation_code(tx.conn)
    token = site.keyring.made_key("invitation", code)
    if done is None:
        now = tx.now()
        store.insert_invitation(
            tx.conn,
            code=code,
            email=address,
            role=role,
            digest=site.keyring.api_key_digest(token),
            invited_by=inviter,
            now=now,
            expires_at=now + INVITATION_LIFETIME,
        )
        idempotency.note(tx, once, "invitation", code)
    record = store.invitation_by(tx.conn, code=code)
    if record is None:
        raise NotFound
    return NewInvitation(token, record), done is None


def withdraw(tx: Transaction, code: str) -> None:
    """Close an invitation. Raises NotFound for one that is not open."""
    found = store.invitation_by(tx.conn, code=code, now=tx.now())
    if found is None:
        raise NotFound
    store.close_invitation(tx.conn, found.id, now=tx.now())


def accept(tx: Transaction, site: Site, *, token: str, full_name: str) -> tuple[User, NewKey]:
    """Become a member. Returns the member and his first key.

    Raises NotFound for an invitation that is not open: it opens once. A client that lost the reply
    has to be invited again.
    """
    digest = site.keyring.api_key_digest(token)
    found = store.invitation_by(tx.conn, digest=digest, now=tx.now())
    if found is None:
        raise NotFound("This invitation is not open: it was taken, withdrawn or is too old.")
    now = tx.now()
    user = store.by_email(tx.conn, found.email)
    if user is not None and user.is_active:
        raise Refused(f"{found.email} is a member already.")
    name = full_name.strip() or found.email.split("@")[0]
    _check_name("fullName", name)
    if user is None:
        user = store.insert(tx.conn, email=found.email, full_name=name, role=found.role, now=now)
    else:
        store.change(tx.conn, user, full_name=name, role=found.role, left_at=None)
        user = store.by_id(tx.conn, user.id)
    store.close_invitation(tx.conn, found.id, now=now)
    key, _ = create_key(tx, site, user, label="invitation", lifetime_days=None, once=None)
    return user, key


# --- projects -------------------------------------------------------------------------------------


def projects(conn: Connection) -> list[Project]:
    """By name, closed ones among them."""
    return store.all_projects(conn)


def project(conn: Connection, code: str) -> Project:
    """Raises NotFound."""
    found = store.project_named(conn, code)
    if found is None or found.code != code:
        raise NotFound
    return found


def create_project(
    tx: Transaction,
    *,
    name: str,
    external_id: str,
    core_hours_per_month: float | None,
    once: Once | None,
) -> tuple[Project, bool]:
    """A new project. core_hours_per_month: its budget; None: it has none. Raises Invalid where the
    name is taken.
    """
    done = idempotency.already_done(tx.conn, once, "project")
    if done is not None:
        return project(tx.conn, done), False
    name = name.strip()
    _check_project(tx.conn, name, external_id, None)
    made = store.insert_project(
        tx.conn,
        name=name,
        external_id=external_id,
        core_hours_per_month=core_hours_per_month,
        now=tx.now(),
    )
    idempotency.note(tx, once, "project", made.code)
    return made, True


def change_project(
    tx: Transaction,
    code: str,
    *,
    name: str | None,
    external_id: str | None,
    is_open: bool | None,
    changes_budget: bool = False,
    core_hours_per_month: float | None = None,
) -> Project:
    """Change what is not None. A closed project takes no new jobs; those it has keep it.

    changes_budget: core_hours_per_month counts too, None for no budget. Jobs that were submitted
    before go on, whatever the budget is now.
    """
    before = project(tx.conn, code)
    name = before.name if name is None else name.strip()
    external_id = before.external_id if external_id is None else external_id
    is_open = before.is_open if is_open is None else is_open
    _check_project(tx.conn, name, external_id, before)
    store.change_project(
        tx.conn,
        before,
        name=name,
        external_id=external_id,
        core_hours_per_month=(
            core_hours_per_month if changes_budget else before.core_hours_per_month
        ),
        closed_at=None if is_open else tx.now(),
    )
    return project(tx.conn, code)


def _check_project(conn: Connection, name: str, external_id: str, present: Project | None) -> None:
    _check_name("name", name)
    if len(external_id) > NAME_LENGTH:
        raise Invalid.at(
            "externalId", f"Ensure this field has no more than {NAME_LENGTH} characters."
        )
    for other in store.all_projects(conn):
        if present is None or other.id != present.id:
            if other.name == name:
                raise Invalid.at("name", "project with this name already exists.")
            if external_id and other.external_id == external_id:
                raise Invalid.at("externalId", "project with this external id already exists.")
