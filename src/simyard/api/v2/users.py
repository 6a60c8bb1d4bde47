"""The caller himself (api-v2 reference, section 3)."""

from starlette.requests import Request
from starlette.responses import Response

from simyard.api.replies import empty, reply
from simyard.api.routes import Routes, caller, site_of

route = Routes("users")


@route("GET", "/api/v2/users/me/", "Who the key belongs to")
async def me(request: Request) -> Response:
    site, user = site_of(request), caller(request)
    name = "".join(c for c in site.name.lower() if c.isalnum()) or "simyard"
    return reply(
        {
            "email": user.email,
            "fullName": user.full_name,
            "company": {"code": name},
            "workspace": {"id": "01-0001", "name": site.name},
            "maxJobHours": max(1, site.limits.max_walltime_seconds // 3600),
            "defaultStorage": None,  # files go through the API, not to a store directly
        }
    )


@route("GET", "/api/v2/", "The root: answers 200 to a good key")
async def root(_request: Request) -> Response:
    return empty(200)
