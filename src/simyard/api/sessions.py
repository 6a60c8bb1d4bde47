"""Sessions of browsers at the door: the cookie, and from whose page a request comes.

A browser sends a cookie with requests that pages of others make it send. SameSite keeps most of
them away, but not those of another port of this host; so what changes something has to come from a
page of this server, which only its own Origin tells, and to carry a header that no form can send.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from simyard.api.origin import header, origin, parts
from simyard.domain.errors import Forbidden
from simyard.domain.users import Session
from simyard.service.sessions import NewSession
from simyard.service.site import Site

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_HEADER = "With a session, what changes something takes the header X-Simyard: 1."
_NOT_OURS = (
    "This request does not come from a page of {own}, as which this server knows itself. Behind a"
    " proxy set public_url or trusted_proxies."
)


def token_of(site: Site, scope: Scope) -> str | None:
    """The token in the request's cookie; None where it has none."""
    wanted = _cookie(site).encode()
    for name, value in scope["headers"]:
        if name == b"cookie":
            for pair in value.split(b";"):
                key, _, token = pair.strip().partition(b"=")
                if key == wanted:
                    return str(token.decode("latin-1"))
    return None


def need_own_page(site: Site, scope: Scope, *, needs_origin: bool = True) -> None:
    """Raises Forbidden where a request may have been made by a page of somebody else.

    needs_origin: whether it has to say where it comes from; if it does, that counts either way.
    """
    if header(scope, b"x-simyard") != "1":
        raise Forbidden(_NO_HEADER)
    sent = header(scope, b"origin")
    if (sent or needs_origin) and sent not in {parts(base)[0] for base in _bases(site, scope)}:
        own = parts(_bases(site, scope)[0])[0]
        raise Forbidden(_NOT_OURS.format(own=own))


def give(request: Request, response: Response, made: NewSession) -> Response:
    """Hand a session to the browser."""
    site: Site = request.app.state.site
    _set(request, response, made.token, _seconds_left(site, made.session))
    return response


def take(request: Request, response: Response) -> Response:
    """Have the browser forget its session."""
    _set(request, response, "", 0)
    return response


def _seconds_left(site: Site, session: Session) -> int:
    return int((session.expires_at - site.clock()).total_seconds())


def _set(request: Request, response: Response, token: str, seconds: int) -> None:
    site: Site = request.app.state.site
    own, prefix = parts(_base(site, request.scope))
    response.set_cookie(
        _cookie(site),
        token,
        max_age=seconds,
        path=prefix or "/",
        secure=own.startswith("https://"),
        httponly=True,
        samesite="strict",
    )


def _cookie(site: Site) -> str:
    """Servers on other ports of this host get each other's cookies: each has a name of its own."""
    return f"simyard-{site.keyring.installation}"


def _bases(site: Site, scope: Scope) -> list[str]:
    """What clients reach this server by: the public address, and what this request used."""
    used = origin(scope, site.trusted_proxies)
    return [site.public_url, used] if site.public_url else [used]


def _base(site: Site, scope: Scope) -> str:
    """The one of the page that sent this request."""
    bases, sent = _bases(site, scope), header(scope, b"origin")
    return next((base for base in bases if parts(base)[0] == sent), bases[0])
