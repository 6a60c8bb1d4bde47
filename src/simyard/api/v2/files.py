"""Files: upload, metadata, contents (api-v2 reference, section 2)."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import downloads, paging, uploads
from simyard.api.idempotency import headers, once
from simyard.api.replies import base_url, instant, reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.domain.errors import SimyardError
from simyard.domain.files import File, FileType
from simyard.service import files as service
from simyard.service.site import Site

route = Routes("files")


def encode_file(site: Site, file: File, base: str) -> dict[str, Any]:
    key = site.blobs.file_key(file.blob)
    return {
        "id": file.code,
        "name": file.name,
        "typeId": file.type.value,
        "dateUploaded": instant(file.uploaded_at),
        "relativePath": file.relative_path,
        "encodedEncryptionKey": base64.b64encode(key).decode(),
        "downloadUrl": f"{base}/api/v2/files/{file.code}/contents/",
        "sharedWith": [],
        "decryptedSize": file.blob.size_bytes,
        "owner": file.owner_email,
        "path": file.storage_path,
        "isUploaded": True,
        "viewInBrowser": file.view_in_browser,
        "isDeleted": False,
        "md5": file.blob.md5,
        "fileChecksums": [{"hashFunction": "sha512", "fileHash": file.blob.sha512}],
    }


def encode_page(
    request: Request, page: paging.Page, count: int, files: list[File]
) -> dict[str, Any]:
    site, base = site_of(request), base_url(request)
    return paging.envelope(request, page, count, [encode_file(site, f, base) for f in files])


def _pool(request: Request) -> ThreadPoolExecutor:
    pool: ThreadPoolExecutor = request.app.state.pool
    return pool


_UPLOAD_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "type_id": {"type": "integer", "default": 1},
    },
}


@route("POST", "/api/v2/files/contents/", "Upload a file", form=_UPLOAD_FORM, status=201)
@route(
    "PUT",
    "/api/v2/files/contents/",
    "Upload a file, as some clients do it",
    form=_UPLOAD_FORM,
    status=201,
)
async def upload(request: Request) -> Response:
    site, owner = site_of(request), caller(request)
    once(request)  # a bad key is refused before gigabytes are taken in
    sent = await uploads.receive(request, site, _pool(request))
    kind = sent.type.name.encode()
    wanted = once(request, sent.name.encode(), kind, sent.blob.sha512.encode())
    try:
        file, is_new = await site.db.write_async(
            service.record_upload, owner, sent.name, sent.type, sent.blob, wanted
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
)
async def list_files(request: Request) -> Response:
    site, page = site_of(request), paging.asked(request)
    asked = request.query_params
    text = asked.get("search", "")
    file_type = _type(asked.get("type_id") or asked.get("typeId") or "")

    def find(offset: int, size: int) -> tuple[int, list[File]]:
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


@route("GET", "/api/v2/files/{file_id}/", "A file's metadata")
async def get_file(request: Request, file_id: str) -> Response:
    site = site_of(request)
    file = site.db.read(service.get_file, caller(request), file_id)
    return reply(encode_file(site, file, base_url(request)))


@route("HEAD", "/api/v2/files/{file_id}/contents/", "What a download would be")
@route("GET", "/api/v2/files/{file_id}/contents/", "A file's bytes, whole or a range")
async def contents(request: Request, file_id: str) -> Response:
    site = site_of(request)
    file = site.db.read(service.get_file, caller(request), file_id)
    return await downloads.send(request, site, file, _pool(request))
