"""Sessions of browsers (ours, docs/extensions.md). Open to everybody: each looks at the cookie
itself.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies, sessions
from simyard.api.bodies import Body, LooseText
from simyard.api.replies import empty, instant_text, reply
from simyard.api.routes import Routes, site_of
from simyard.api.shapes import choice, fields, instant, object_, text
from simyard.domain.errors import Invalid, Unauthenticated
from simyard.domain.users import Role, Session, User
from simyard.service import sessions as service

route = Routes("extensions")

PERSON = fields(
    email=text("ada@lab.example"),
    fullName=text("Ada Lovelace"),
    role=choice(*(role.value for role in Role)),
    code=text("Kmzwq"),
)
SESSION = object_(
    "Session",
    user=PERSON,
    expiresAt=instant("At the latest: it ends with the key that it was made from."),
)
_OWN_PAGE = {
    "name": "X-Simyard",
    "in": "header",
    "required": True,
    "description": "`1`: what no form of another page can send.",
    "schema": {"type": "string", "const": "1"},
}


def encode_person(user: User) -> dict[str, Any]:
    return {
        "email": user.email,
        "fullName": user.full_name,
        "role": user.role.value,
        "code": user.code,
    }


def _encode(session: Session) -> dict[str, Any]:
    return {
        "user": encode_person(session.user),
        "expiresAt": instant_text(session.expires_at),
    }


class SessionBody(Body):
    key: LooseText = ""
    link: LooseText = ""
    password: LooseText = ""


@route(
    "POST",
    "/api/v2/session/",
    "Begin a session with a key or a one-time link; the reply sets its cookie",
    _OWN_PAGE,
    body=SessionBody,
    reply=SESSION,
    right=None,
)
async def open_session(request: Request) -> Response:
    site = site_of(request)
    sessions.need_own_page(site, request.scope, needs_origin=False)
    body = bodies.checked(SessionBody, await bodies.json_of(request))
    key, link = body.key.strip(), body.link.strip()
    if body.password:
        raise Invalid.at("password", "This server has no passwords: send a key or a link.")
    if bool(key) is bool(link):
        raise Invalid.at("key", "Send either a key or a link.")
    made = await site.db.write_async(
        service.open_with_key if key else service.open_with_link,
        site.keyring,
        key or link,
        before=sessions.token_of(site, request.scope),
    )
    return sessions.give(request, reply(_encode(made.session)), made)


@route("GET", "/api/v2/session/", "Whose session it is", reply=SESSION, right=None, also=(401,))
async def get_session(request: Request) -> Response:
    site = site_of(request)
    token = sessions.token_of(site, request.scope)
    if token is None:
        raise Unauthenticated("There is no session.")
    return reply(_encode(site.db.read(service.session, site.keyring, token, site.clock())))


@route(
    "DELETE",
    "/api/v2/session/",
    "End the session, if there is one",
    _OWN_PAGE,
    status=204,
    right=None,
)
async def end_session(request: Request) -> Response:
    site = site_of(request)
    token = sessions.token_of(site, request.scope)
    sessions.need_own_page(site, request.scope, needs_origin=token is not None)
    if token is not None:
        await site.db.write_async(service.end, site.keyring, token)
    return sessions.take(request, empty(204))
