"""Files: upload, metadata, contents (api-v2 reference, section 2)."""

import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simyard.api import bodies, downloads, paging, uploads
from simyard.api.bodies import Body, EmptyIsNull, LooseText, Whole, needed
from simyard.api.idempotency import headers, once
from simyard.api.replies import base_url, empty, instant_text, reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.api.shapes import (
    BYTES,
    array,
    choice,
    flag,
    instant,
    integer,
    nullable,
    object_,
    page_of,
    text,
)
from simyard.api.v2.rows import codes_of
from simyard.domain.errors import Invalid, Problem, SimyardError
from simyard.domain.files import DeletedFile, File, FileType, normalized
from simyard.domain.lists import Found
from simyard.service import files as service
from simyard.service import folders, quotas
from simyard.service.site import Site

route = Routes("files")


FILE = object_(
    "File",
    id=text("bQfWmc"),
    name=text("cavity.zip"),
    typeId=integer(1, "1 input, 2 template, 3 parameter, 4 script, 5 output, 12 snapshot, ..."),
    dateUploaded=instant(),
    relativePath=text(
        "cavity.zip", "Of an output below the work folder; of an upload with its folder."
    ),
    encodedEncryptionKey=nullable(text("q0J3bGVzc0tleUZvclNhbXBsZURhdGFPbmx5MDAwMDA=")),
    downloadUrl=text("https://simyard.example.org/api/v2/files/bQfWmc/contents/"),
    sharedWith=array(text("bob@lab.example"), "Who sees it through a job."),
    decryptedSize=nullable(integer(48213, "Bytes; null for a deleted file.")),
    owner=text("ada@lab.example"),
    path=text("user/user_Kmzwq/cavity-5b1c0f2e.zip", "Informative; nothing is opened by it."),
    isUploaded=flag(True),
    viewInBrowser=flag(False),
    isDeleted=flag(False, "Jobs go on to name deleted files."),
    md5=nullable(text("9e107d9d372bb6826bd81d3542a419d6")),
    fileChecksums=array(
        object_("FileChecksum", hashFunction=choice("sha512"), fileHash=text("07e547d9586f6a73"))
    ),
    userTags=array(text("cfd")),
)
_LINES = object_("Lines", lines=array(text("first line\n"), "Newlines kept."))
TAG = object_("Tag", name=text("CFD"), normalizedName=text("cfd"))


def encode_file(site: Site, file: File, base: str) -> dict[str, Any]:
    key = site.blobs.file_key(file.blob)
    return {
        "id": file.code,
        "name": file.name,
        "typeId": file.type.value,
        "dateUploaded": instant_text(file.uploaded_at),
        "relativePath": file.relative_path,
        "encodedEncryptionKey": base64.b64encode(key).decode(),
        "downloadUrl": f"{base}/api/v2/files/{file.code}/contents/",
        "sharedWith": list(file.shared_with),
        "decryptedSize": file.blob.size_bytes,
        "owner": file.owner_email,
        "path": file.storage_path,
        "isUploaded": True,
        "viewInBrowser": file.view_in_browser,
        "isDeleted": file.is_trashed,
        "md5": file.blob.md5,
        "fileChecksums": [{"hashFunction": "sha512", "fileHash": file.blob.sha512}],
        "userTags": list(file.tags),
    }


def encode_deleted(file: DeletedFile, base: str) -> dict[str, Any]:
    """What a job shows of an input that is gone."""
    return {
        "id": file.code,
        "name": file.name,
        "typeId": file.type.value,
        "dateUploaded": instant_text(file.uploaded_at),
        "relativePath": file.name,
        "encodedEncryptionKey": None,
        "downloadUrl": f"{base}/api/v2/files/{file.code}/contents/",
        "sharedWith": [],
        "decryptedSize": None,
        "owner": file.owner_email,
        "path": "",
        "isUploaded": False,
        "viewInBrowser": False,
        "isDeleted": True,
        "md5": None,
        "fileChecksums": [],
        "userTags": [],
    }


def encode_page(request: Request, page: paging.Page, found: Found[File]) -> Any:
    site, base = site_of(request), base_url(request)
    return paging.envelope(request, page, found, lambda file: encode_file(site, file, base))


def encode_tag(name: str) -> dict[str, str]:
    return {"name": name, "normalizedName": normalized(name)}


_IDS_MOST = 200


class TagBody(Body):
    name: LooseText = needed("")


class FileBody(Body):
    """What may be changed of a file; clients send the whole of it."""

    name: str | None = None
    type_id: Annotated[Whole | None, EmptyIsNull] = None
    current_folder_id: Annotated[LooseText | None, EmptyIsNull] = None


def _pool(request: Request) -> ThreadPoolExecutor:
    pool: ThreadPoolExecutor = request.app.state.pool
    return pool


_UPLOAD_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "type_id": {"type": "integer", "default": 1},
        "typeId": {"type": "integer", "description": "The same."},
    },
}


@route(
    "POST",
    "/api/v2/files/contents/",
    "Upload a file",
    form=_UPLOAD_FORM,
    reply=FILE,
    status=201,
    creates=True,
    v3=True,
)
@route(
    "PUT",
    "/api/v2/files/contents/",
    "Upload a file, as some clients do it",
    form=_UPLOAD_FORM,
    reply=FILE,
    status=201,
    creates=True,
    v3=True,
)
async def upload(request: Request) -> Response:
    site, owner = site_of(request), caller(request)
    key = once(request)  # a bad key is refused before gigabytes are taken in
    room = site.db.read(quotas.room, site, owner, key.key if key else None)
    sent = await uploads.receive(request, site, _pool(request), room)
    kind = sent.type.name.encode()
    wanted = once(request, sent.name.encode(), kind, sent.blob.sha512.encode())
    try:
        file, is_new = await site.db.write_async(
            service.record_upload, site, owner, sent.name, sent.type, sent.blob, wanted
        )
    except SimyardError:  # it was not recorded; where that is not sure, the sweep decides
        await run_in_threadpool(site.blobs.store.delete, sent.blob.key)
        raise
    if not is_new:
        await run_in_threadpool(site.blobs.store.delete, sent.blob.key)
    return reply(encode_file(site, file, base_url(request)), 201, headers(is_new))


@route(
    "GET",
    "/api/v2/files/",
    "Your files, newest first",
    *PAGE,
    query("search", "Part of the name."),
    query("type_id", "Only files of this type.", "integer"),
    query("limit", "The same as `page_size`."),
    query("ordering", "Passed over: the newest come first."),
    query("owner", "Passed over: the list has your own files only."),
    query("ids", "These files, at most 200, others' too that you may name in a job; nothing else."),
    reply=page_of(FILE),
    also=(400,),
    v3=True,
)
async def list_files(request: Request) -> Response:
    site, page = site_of(request), paging.asked(request)
    asked = request.query_params
    if "ids" in asked:
        codes = codes_of(",".join(asked.getlist("ids")), "ids", _IDS_MOST)
        named = await run_in_threadpool(site.db.read, service.named_files, caller(request), codes)
        return reply(encode_page(request, paging.Page(1, _IDS_MOST), Found(len(named), named)))
    text = asked.get("search", "")
    file_type = _type(asked.get("type_id") or asked.get("typeId") or "")

    def find(offset: int, size: int) -> Found[File]:
        return site.db.read(
            service.list_files,
            caller(request),
            offset=offset,
            size=size,
            text=text,
            file_type=file_type,
        )

    found = await run_in_threadpool(paging.fetch, page, find)
    return reply(encode_page(request, *found))


def _type(text: str) -> FileType | None:
    try:
        return FileType(int(text))
    except ValueError:
        return None  # unknown filters are passed over


@route("GET", "/api/v2/files/{file_id}/", "A file's metadata", reply=FILE, v3=True)
async def get_file(request: Request, file_id: str) -> Response:
    site = site_of(request)
    file = site.db.read(service.shown_file, caller(request), file_id)
    return reply(encode_file(site, file, base_url(request)))


@route(
    "PUT",
    "/api/v2/files/{file_id}/",
    "Change a file's metadata",
    body=FileBody,
    reply=FILE,
    v3=True,
)
@route(
    "PATCH",
    "/api/v2/files/{file_id}/",
    "Change a file's name, type or folder; other fields are passed over. JSON or a form",
    body=FileBody,
    reply=FILE,
    v3=True,
)
async def change_file(request: Request, file_id: str) -> Response:
    site, user = site_of(request), caller(request)
    body, problems = bodies.read(FileBody, await bodies.json_or_form_of(request))
    kind = None if body.type_id is None else _type(str(body.type_id))
    if body.type_id is not None and kind is None:
        problems.append(Problem(("typeId",), f'"{body.type_id}" is not a valid choice.'))
    if problems:
        raise Invalid(problems)
    file = await site.db.write_async(
        folders.change_file,
        user,
        file_id,
        name=body.name,
        file_type=kind,
        moves="current_folder_id" in body.model_fields_set,
        folder=body.current_folder_id,
    )
    return reply(encode_file(site, file, base_url(request)))


@route("DELETE", "/api/v2/files/{file_id}/", "Delete a file for good", status=204, v3=True)
async def delete_file(request: Request, file_id: str) -> Response:
    site = site_of(request)
    await site.db.write_async(service.delete_file, caller(request), file_id)
    site.wake()
    return empty(204)


@route(
    "HEAD",
    "/api/v2/files/{file_id}/contents/",
    "What a download would be",
    also=(206, 304, 416),
    v3=True,
)
@route(
    "GET",
    "/api/v2/files/{file_id}/contents/",
    "A file's bytes, whole or a range",
    reply=BYTES,
    media_type="application/octet-stream",
    also=(206, 304, 416),
    v3=True,
)
async def contents(request: Request, file_id: str) -> Response:
    site = site_of(request)
    file = site.db.read(service.get_file, caller(request), file_id)
    return await downloads.send(request, site, file, _pool(request))


@route(
    "GET",
    "/api/v2/files/{file_id}/lines/",
    "The lines of a text file, newlines kept",
    reply=_LINES,
    also=(400,),
)
async def lines(request: Request, file_id: str) -> Response:
    site = site_of(request)
    file = site.db.read(service.get_file, caller(request), file_id)
    found = service.lines(site, file)
    nothing: list[str] = []
    first = await run_in_threadpool(
        next, found, nothing
    )  # a binary file is refused before the reply

    async def content() -> AsyncIterator[bytes]:
        part, between = first, b""
        try:
            yield b'{"lines":['
            while part:
                yield between + msgspec.json.encode(part)[1:-1]
                part, between = await run_in_threadpool(next, found, nothing), b","
            yield b"]}"
        finally:
            found.close()  # also where the reader went away

    return StreamingResponse(content(), media_type="application/json")


# --- tags -----------------------------------------------------------------------------------------


@route("GET", "/api/v3/files/{file_id}/tags/", "A file's tags", reply=array(TAG))
async def list_tags(request: Request, file_id: str) -> Response:
    file = site_of(request).db.read(service.shown_file, caller(request), file_id)
    return reply([encode_tag(name) for name in file.tags])


@route("POST", "/api/v3/files/{file_id}/tags/", "Tag a file", body=TagBody, reply=TAG, status=201)
async def add_tag(request: Request, file_id: str) -> Response:
    body = bodies.checked(TagBody, await bodies.json_of(request))
    shown = await site_of(request).db.write_async(
        service.tag_file, caller(request), file_id, body.name
    )
    return reply(encode_tag(shown), 201)


@route("DELETE", "/api/v3/files/{file_id}/tags/", "Take a tag away", body=TagBody, status=204)
async def remove_tag(request: Request, file_id: str) -> Response:
    body = bodies.checked(TagBody, await bodies.json_of(request))
    await site_of(request).db.write_async(service.untag_file, caller(request), file_id, body.name)
    return empty(204)
