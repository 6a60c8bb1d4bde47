"""The organisation: its members, their keys and invitations (docs/extensions.md)."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from harness import CONFIG, Client, RunningServer, pages

REQUIRED = ["This field is required."]
NO_ADDRESS = ["Enter a valid email address."]


@pytest.fixture(scope="module")
def admin(server: RunningServer) -> Client:
    return server.client((server.data / "admin.key").read_text().strip())


def address() -> str:
    return f"{uuid.uuid4().hex}@lab.example"


def invite(admin: Client, email: str, **more: Any) -> dict[str, Any]:
    body = {"email": email, **more}
    return dict(admin.call("POST", "invitations/", 201, json=body).json())


def accept(client: Client, token: str, expect: int = 201, **more: Any) -> Any:
    body = {"token": token, **more}
    return client.call("POST", "invitations/accept/", expect, json=body).json()


def of_all(client: Client, path: str) -> list[dict[str, Any]]:
    found = list(pages(client, f"{path}?page_size=50"))
    every = [one for page in found for one in page["results"]]
    assert {page["count"] for page in found} == {len(every)}
    return every


# --- members --------------------------------------------------------------------------------------


def test_everybody_sees_who_is_a_member(server: RunningServer, admin: Client) -> None:
    client = server.somebody()
    email = client.get("users/me/")["email"]
    members = of_all(client, "members/")
    assert members == of_all(admin, "members/")
    (me,) = [one for one in members if one["email"] == email]
    assert me == {
        "id": me["id"],
        "email": email,
        "fullName": email.split("@")[0],
        "role": "member",
        "isActive": True,
    }
    assert [one["email"] for one in members] == sorted(one["email"] for one in members)


def test_changing_a_member(server: RunningServer, admin: Client) -> None:
    client = server.somebody()
    email = client.get("users/me/")["email"]
    (me,) = [one for one in of_all(admin, "members/") if one["email"] == email]
    place = f"members/{me['id']}/"
    for sent in ({"fullName": " Zoe "}, {"full_name": "Zoe"}, {}, {"email": "x@lab.example"}):
        changed = admin.call("PATCH", place, 200, json=sent).json()
        assert changed == {**me, "fullName": "Zoe"}
    assert client.get("users/me/")["fullName"] == "Zoe"
    admin.call("PATCH", place, 200, json={"role": "admin"})
    assert client.get("users/me/")["role"] == "admin"
    client.get("invitations/")
    admin.call("PATCH", place, 200, json={"role": "member"})
    client.call("GET", "invitations/", 403)
    for body, told in (
        ({"fullName": " "}, {"fullName": ["This field may not be blank."]}),
        (
            {"fullName": "n" * 256},
            {"fullName": ["Ensure this field has no more than 255 characters."]},
        ),
        ({"isActive": "perhaps"}, {"isActive": ["Must be a valid boolean."]}),
    ):
        assert admin.call("PATCH", place, 400, json=body).json() == told
    assert list(admin.call("PATCH", place, 400, json={"role": "king"}).json()) == ["role"]
    admin.call("PATCH", "members/XXXXX/", 404, json={})


# --- keys -----------------------------------------------------------------------------------------


def test_keys(server: RunningServer) -> None:
    client = server.somebody()
    (first,) = of_all(client, "keys/")
    assert (first["label"], first["dateRevoked"]) == ("invitation", None)
    made = client.call("POST", "keys/", 201, json={"label": "laptop"}).json()
    key = made.pop("key")
    assert len(key) == 40 and made["dateExpires"] is None
    assert of_all(client, "keys/") == [made, first]
    again = server.client(key)
    assert again.get("users/me/") == client.get("users/me/")
    for _ in range(2):
        client.call("DELETE", f"keys/{made['id']}/", 204)
    again.call("GET", "users/me/", 401)
    assert of_all(client, "keys/")[0]["dateRevoked"] is not None
    # A key may end itself, and nobody else's.
    other = server.somebody()
    other.call("DELETE", f"keys/{first['id']}/", 404)
    other.call("DELETE", "keys/XXXX/", 404)
    client.call("DELETE", f"keys/{first['id']}/", 204)
    client.call("GET", "users/me/", 401)


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (0, ["Ensure this value is greater than or equal to 1."]),
        (-1, ["Ensure this value is greater than or equal to 1."]),
        ("x", ["A valid integer is required."]),
        (1.5, ["A valid integer is required."]),
    ],
)
def test_how_long_a_key_cannot_be_good(client: Client, days: Any, told: list[str]) -> None:
    before = client.get("keys/")["count"]
    reply = client.call("POST", "keys/", 400, json={"expiresInDays": days})
    assert reply.json() == {"expiresInDays": told}
    assert list(client.call("POST", "keys/", 400, json={"expiresInDays": 36_501}).json())
    assert client.get("keys/")["count"] == before


def test_how_long_a_key_is_good(client: Client, fresh: Callable[..., RunningServer]) -> None:
    for days in (1, "36500"):
        made = client.call("POST", "keys/", 201, json={"expires_in_days": days}).json()
        assert made["dateInserted"][4:19] != made["dateExpires"][4:19] or int(days) > 365
        years = int(made["dateExpires"][:4]) - int(made["dateInserted"][:4])
        assert years in ((99, 100) if int(days) > 1 else (0, 1))
    strict = fresh(CONFIG + "key_lifetime_days = 30\n").start()
    mine = strict.client()
    longest = mine.call("POST", "keys/", 201, json={}).json()
    assert longest["dateExpires"] is not None
    mine.call("POST", "keys/", 201, json={"expiresInDays": 30})
    told = mine.call("POST", "keys/", 400, json={"expiresInDays": 31}).json()
    assert told == {"expiresInDays": ["Keys of this site end after 30 days."]}


# --- invitations ----------------------------------------------------------------------------------


def test_an_invitation_opens_once(admin: Client, client: Client) -> None:
    email = address()
    made = invite(admin, email.upper(), role="read-only")
    token = made.pop("token")
    assert (made["email"], made["role"]) == (email, "read-only")
    assert made in of_all(admin, "invitations/")
    assert token not in str(of_all(admin, "invitations/"))
    taken = accept(client, token, full_name=" Zoe ")
    assert taken["member"]["fullName"] == "Zoe" and taken["member"]["role"] == "read-only"
    assert made not in of_all(admin, "invitations/")
    assert "not open" in accept(client, token, 404)["detail"]
    told = admin.call("POST", "invitations/", 400, json={"email": email}).json()
    assert told == {"email": [f"{email} is a member already."]}


def test_what_ends_an_invitation(admin: Client, client: Client, server: RunningServer) -> None:
    email = address()
    first, second = invite(admin, email), invite(admin, email)
    mine = [one["id"] for one in of_all(admin, "invitations/") if one["email"] == email]
    assert mine == [second["id"]], "the newest counts"
    accept(client, first["token"], 404)
    admin.call("DELETE", f"invitations/{first['id']}/", 404)
    admin.call("DELETE", f"invitations/{second['id']}/", 204)
    admin.call("DELETE", f"invitations/{second['id']}/", 404)
    accept(client, second["token"], 404)
    late = invite(admin, email)
    server.change_database(f"UPDATE invitations SET expires_at = 1 WHERE code = '{late['id']}'")
    assert email not in [one["email"] for one in of_all(admin, "invitations/")]
    accept(client, late["token"], 404)
    admin.call("DELETE", f"invitations/{late['id']}/", 404)
    # Nobody has become a member by any of it.
    assert email not in [one["email"] for one in of_all(admin, "members/")]
    accept(client, invite(admin, email)["token"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, {"email": REQUIRED}),
        ({"email": ""}, {"email": NO_ADDRESS}),
        ({"email": "nobody"}, {"email": NO_ADDRESS}),
        ({"email": "a@b@c"}, {"email": NO_ADDRESS}),
        ({"email": ["a@b"]}, {"email": ["Not a valid string."]}),
    ],
)
def test_who_cannot_be_invited(admin: Client, body: Any, told: Any) -> None:
    before = admin.get("invitations/")["count"]
    assert admin.call("POST", "invitations/", 400, json=body).json() == told
    king = {"email": address(), "role": "king"}
    assert list(admin.call("POST", "invitations/", 400, json=king).json()) == ["role"]
    assert admin.get("invitations/")["count"] == before


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"token": None}, 400), ({"token": ""}, 404), ({"token": "x"}, 404)],
)
def test_what_opens_nothing(client: Client, body: Any, status: int) -> None:
    client.call("POST", "invitations/accept/", status, json=body)
    long = {"token": "x", "fullName": "n" * 256}
    client.call("POST", "invitations/accept/", 404, json=long)


def test_a_name_that_cannot_be_leaves_the_invitation_open(admin: Client, client: Client) -> None:
    token = invite(admin, address())["token"]
    told = accept(client, token, 400, fullName="n" * 256)
    assert told == {"fullName": ["Ensure this field has no more than 255 characters."]}
    accept(client, token, fullName="n" * 255)
