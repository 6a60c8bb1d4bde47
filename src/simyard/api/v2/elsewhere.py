"""What has no honest meaning on one's own machine: lists answer truthfully, making one is refused
with a reason (docs/compatibility.md).
"""

from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response

from simyard.api import paging
from simyard.api.replies import reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.api.shapes import anything, array, page_of
from simyard.domain.errors import Refused
from simyard.service import jobs as service

route = Routes("elsewhere")

_NOTHING = page_of(anything({}))
_NO_STORES = (
    "This server hands out no credentials of a store: upload to /api/v2/files/contents/, files go"
    " through the API."
)
_NO_DEVICES = "This server has no storage devices: inputs and outputs lie on its own disk."


async def _empty_page(request: Request) -> Response:
    page, found = paging.cut(paging.asked(request), list[Any]())
    return reply(paging.envelope(request, page, found, lambda one: one))


@route(
    "GET",
    "/api/v2/remote-viz-config/",
    "Remote desktops: there are none",
    *PAGE,
    reply=_NOTHING,
)
async def list_desktops(request: Request) -> Response:
    return await _empty_page(request)


@route(
    "GET",
    "/api/v2/storage-devices/",
    "Storage devices: there are none",
    *PAGE,
    query("active", "Passed over."),
    reply=_NOTHING,
    v3=True,
)
async def list_devices(request: Request) -> Response:
    return await _empty_page(request)


@route(
    "POST", "/api/v2/storage-devices/", "Refused: there are no storage devices", status=400, v3=True
)
async def create_device(_request: Request) -> NoReturn:
    raise Refused(_NO_DEVICES)


@route(
    "POST",
    "/api/v2/jobs/{job_id}/storage-devices/",
    "Refused: there are no storage devices",
    status=400,
    v3=True,
)
async def attach_device(request: Request, job_id: str) -> NoReturn:
    site_of(request).db.read(service.get_own_job, caller(request), job_id)
    raise Refused(_NO_DEVICES)


@route("POST", "/api/v3/credentials/", "Refused: files go through the API", status=400)
async def create_credentials(_request: Request) -> NoReturn:
    raise Refused(_NO_STORES)


@route("POST", "/api/v3/files/", "Refused: files go through the API", status=400)
async def register_file(_request: Request) -> NoReturn:
    raise Refused(_NO_STORES)


@route("GET", "/api/v3/automations/", "Automations: there are none", reply=array(anything({})))
async def list_automations(_request: Request) -> Response:
    return reply([])


@route(
    "GET",
    "/api/v3/developer-analyses/",
    "Analyses of users' own: there are none; administrators add analyses as files",
    *PAGE,
    reply=_NOTHING,
)
async def list_developer_analyses(request: Request) -> Response:
    return await _empty_page(request)
