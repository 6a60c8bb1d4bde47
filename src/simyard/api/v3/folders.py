"""Folders of libraries and the trash (api-v2 reference, section 8)."""

from typing import Annotated, Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies, paging
from simyard.api.bodies import Body, EmptyIsNull, LooseText, needed
from simyard.api.idempotency import headers, once
from simyard.api.replies import base_url, empty, instant_text, reply
from simyard.api.routes import PAGE, Routes, caller, site_of
from simyard.api.shapes import choice, fields, instant, nullable, object_, page_of, text
from simyard.api.v2.files import FILE, encode_file
from simyard.domain.files import File, Folder
from simyard.domain.lists import Found
from simyard.service import folders as service

route = Routes("folders")

FOLDER = object_(
    "Folder",
    id=text("fOldrAB"),
    name=text("cases"),
    dateInserted=instant(),
    parentId=nullable(text("LKmzwq"), example_null=True),
)
_ENTRY = object_(
    "FolderEntry",
    type=choice("folder", "file"),
    item={"anyOf": [FOLDER, FILE], "examples": [{"id": "fOldrAB"}]},
)


class FolderBody(Body):
    name: LooseText = needed("")


Ids = Annotated[list[LooseText], Field(max_length=2000)]


class Chosen(Body):
    """Files and folders."""

    file_ids: Annotated[Ids | None, EmptyIsNull] = None
    filesymlink_ids: Annotated[Ids | None, EmptyIsNull] = None  # the same
    folder_ids: Annotated[Ids | None, EmptyIsNull] = None

    @property
    def files(self) -> list[str]:
        return [*(self.file_ids or ()), *(self.filesymlink_ids or ())]

    @property
    def folders(self) -> list[str]:
        return self.folder_ids or []


def _encode_folder(folder: Folder) -> dict[str, Any]:
    return {
        "id": folder.code,
        "name": folder.name,
        "dateInserted": instant_text(folder.created_at),
        "parentId": folder.parent_code,
    }


async def _entries(request: Request, find: Any) -> Response:
    site, base = site_of(request), base_url(request)

    def encode(one: Folder | File) -> dict[str, Any]:
        if isinstance(one, Folder):
            return {"type": "folder", "item": _encode_folder(one)}
        return {"type": "file", "item": encode_file(site, one, base)}

    page, found = await run_in_threadpool(paging.fetch, paging.asked(request), find)
    return reply(paging.envelope(request, page, found, encode))


@route(
    "GET",
    "/api/v3/users/me/folders/",
    "Where your library begins",
    reply=object_("FolderRoots", myJobs=text("JKmzwq"), myLibrary=text("LKmzwq")),
)
async def roots(request: Request) -> Response:
    user = caller(request)
    return reply({"myJobs": service.jobs_code(user), "myLibrary": service.library_code(user)})


@route(
    "GET",
    "/api/v3/folders/{folder_id}/contents/",
    "What is in a folder: folders by name, then files, newest first",
    *PAGE,
    reply=page_of(_ENTRY),
)
async def contents(request: Request, folder_id: str) -> Response:
    site, user = site_of(request), caller(request)

    def find(offset: int, size: int) -> Found[Folder | File]:
        return site.db.read(service.contents, user, folder_id, offset=offset, size=size)

    return await _entries(request, find)


@route(
    "POST",
    "/api/v3/folders/{folder_id}/",
    "Make a folder in this one",
    body=FolderBody,
    reply=FOLDER,
    status=201,
    creates=True,
)
async def create_folder(request: Request, folder_id: str) -> Response:
    body = bodies.checked(FolderBody, await bodies.json_of(request))
    made, is_new = await site_of(request).db.write_async(
        service.create_folder,
        caller(request),
        folder_id,
        body.name,
        once(request, body.name.encode()),
    )
    return reply(_encode_folder(made), 201, headers(is_new))


@route(
    "PATCH",
    "/api/v3/folders/{folder_id}/",
    "Rename a folder",
    body=FolderBody,
    reply=FOLDER,
    tag="extensions",
)
async def rename_folder(request: Request, folder_id: str) -> Response:
    body = bodies.checked(FolderBody, await bodies.json_of(request))
    changed = await site_of(request).db.write_async(
        service.rename_folder, caller(request), folder_id, body.name
    )
    return reply(_encode_folder(changed))


@route(
    "DELETE",
    "/api/v3/folders/{folder_id}/",
    "Put a folder with all that is in it into the trash",
    status=204,
)
async def delete_folder(request: Request, folder_id: str) -> Response:
    await site_of(request).db.write_async(service.delete_folder, caller(request), folder_id)
    return empty(204)


@route(
    "POST",
    "/api/v3/folders/{folder_id}/contents/archive/",
    "Put files and folders into the trash",
    body=Chosen,
    status=204,
)
async def archive(request: Request, folder_id: str) -> Response:
    body = bodies.checked(Chosen, await bodies.json_of(request))
    site, user = site_of(request), caller(request)
    site.db.read(service.place, user, folder_id)
    await site.db.write_async(service.throw_away, user, body.files, body.folders)
    return empty(204)


@route(
    "GET",
    "/api/v3/users/me/folders/trash-bin/",
    "What is in your trash",
    *PAGE,
    reply=page_of(_ENTRY),
)
async def trash(request: Request) -> Response:
    site, user = site_of(request), caller(request)

    def find(offset: int, size: int) -> Found[Folder | File]:
        return site.db.read(service.trash, user, offset=offset, size=size)

    return await _entries(request, find)


@route(
    "POST",
    "/api/v3/users/me/folders/trash-bin/recover/",
    "Bring files and folders back from the trash",
    body=Chosen,
    reply=fields(),
    status=201,
    also=(404,),
)
async def recover(request: Request) -> Response:
    body = bodies.checked(Chosen, await bodies.json_of(request))
    await site_of(request).db.write_async(
        service.recover, caller(request), body.files, body.folders
    )
    return reply({}, 201)


@route(
    "POST",
    "/api/v3/users/me/folders/trash-bin/delete/",
    "Delete files and folders in the trash for good",
    body=Chosen,
    reply=fields(),
    status=201,
    also=(404,),
)
async def delete(request: Request) -> Response:
    body = bodies.checked(Chosen, await bodies.json_of(request))
    await site_of(request).db.write_async(
        service.delete_for_good, caller(request), body.files, body.folders
    )
    return reply({}, 201)
