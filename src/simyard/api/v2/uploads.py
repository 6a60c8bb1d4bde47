"""Uploads that go on where they were cut (ours, docs/extensions.md).

Source: tus 1.0.0, https://tus.io/protocols/resumable-upload, with its extensions creation,
creation-with-upload, checksum, expiration and termination.
"""

import base64
import binascii
import functools
import hashlib
from email.utils import format_datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from simyard.api import errors, paging
from simyard.api.errors import UnsupportedMediaType
from simyard.api.idempotency import headers, once
from simyard.api.replies import base_url, empty, instant_text, reply
from simyard.api.resumable import ALGORITHMS, Checksum, Resumable
from simyard.api.routes import PAGE, Endpoint, Routes, caller, query, site_of
from simyard.api.shapes import instant, integer, nullable, object_, page_of, text
from simyard.domain.errors import Invalid, SimyardError, TooLarge
from simyard.domain.files import File
from simyard.domain.uploads import Upload
from simyard.service import uploads as service

route = Routes("extensions")

_VERSION = "1.0.0"
_EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
_METADATA_BYTES = 16 << 10
_LENGTH_DIGITS = 15  # beyond it there is no disk
_BODY = "application/offset+octet-stream"
_DIGEST_BYTES = {name: hashlib.new(name).digest_size for name in ALGORITHMS.split(",")}

UPLOAD = object_(
    "Upload",
    id=text("kQzWbTnXvLcD"),
    filename=text("controlDict"),
    relativePath=text("case/system/controlDict"),
    typeId=integer(1),
    size=integer(1048576, "Bytes in all."),
    offset=integer(524288, "So many are here for good."),
    expiresAt=instant("If nothing more comes."),
    batch=text("3f1c", "What belongs together, in the client's words."),
    fingerprint=text("a1b2-1048576", "By which the client finds it again."),
    file=nullable(text("bQfWmc"), example_null=True),
)


def _header(name: str, about: str, *, needed: bool = False) -> dict[str, Any]:
    told = {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
    return {**told, "required": True} if needed else told


_CHECKSUM = _header("Upload-Checksum", "`sha1` or `sha256`, a blank, and the digest in base64.")
_OFFSET = _header("Upload-Offset", "The byte that the body begins with.", needed=True)


def _tus(endpoint: Endpoint) -> Endpoint:
    """What every reply of the protocol has, and every request."""

    @functools.wraps(endpoint)
    async def wrapped(request: Request, **parameters: str) -> Response:
        asked = request.headers.get("tus-resumable", _VERSION)
        if asked != _VERSION:
            detail = f"This server speaks tus {_VERSION}, not {asked:.20}."
            response = reply({"detail": detail}, 412, {"Tus-Version": _VERSION})
        else:
            try:
                response = await endpoint(request, **parameters)
            except Exception as error:
                response = errors.answer(error, request)
        response.headers["Tus-Resumable"] = _VERSION
        response.headers["Cache-Control"] = "no-store"
        return response

    return wrapped


def _uploads(request: Request) -> Resumable:
    uploads: Resumable = request.app.state.uploads
    return uploads


def encode_upload(upload: Upload, file: File | None = None) -> dict[str, Any]:
    sent = upload.announced
    return {
        "id": upload.code,
        "filename": sent.name,
        "relativePath": sent.relative_path,
        "typeId": sent.type.value,
        "size": sent.size_bytes,
        "offset": upload.offset_bytes,
        "expiresAt": instant_text(upload.expires_at),
        "batch": sent.batch,
        "fingerprint": sent.fingerprint,
        "file": file.code if file else upload.file_code,
    }


@route("OPTIONS", "/api/v2/uploads/", "What of tus the server speaks", status=204, reads=True)
@_tus
async def describe(request: Request) -> Response:
    most = site_of(request).max_upload_bytes
    told = {
        "Tus-Version": _VERSION,
        "Tus-Extension": _EXTENSIONS,
        "Tus-Checksum-Algorithm": ALGORITHMS,
        **({"Tus-Max-Size": str(most)} if most else {}),
    }
    return empty(204, told)


@route(
    "GET",
    "/api/v2/uploads/",
    "Your unfinished uploads, newest first",
    *PAGE,
    query("batch", "Only those of this batch."),
    query("fingerprint", "Only those with this fingerprint."),
    reply=page_of(UPLOAD),
)
async def list_uploads(request: Request) -> Response:
    page, asked = paging.asked(request), request.query_params
    every = site_of(request).db.read(
        service.unfinished,
        site_of(request),
        caller(request),
        batch=asked.get("batch", ""),
        fingerprint=asked.get("fingerprint", ""),
    )
    return reply(paging.envelope(request, *paging.cut(page, every), encode_upload))


@route(
    "POST",
    "/api/v2/uploads/",
    "Begin an upload that can go on; the body may have its first bytes",
    _header("Upload-Length", "Bytes in all.", needed=True),
    _header(
        "Upload-Metadata",
        "`filename`, `relativePath`, `typeId`, `batch`, `fingerprint`: each a name, a blank and the"
        " value in base64, separated by commas. One of the first two is needed.",
        needed=True,
    ),
    _CHECKSUM,
    status=201,
    creates=True,
    also=(412, 413, 415),
)
@_tus
async def begin_upload(request: Request) -> Response:
    site, owner, uploads = site_of(request), caller(request), _uploads(request)
    length, sent = _length(request), request.headers.get("upload-metadata", "")
    announced = service.announced(_metadata(sent), length)
    checksum = _checksum(request)
    has_body = _has_body(request)
    key = once(request, str(length).encode(), sent.encode())
    upload, is_new = await site.db.write_async(service.create, site, owner, announced, key)
    file = None
    if is_new and has_body:
        try:
            upload, file = await uploads.receive(request, owner, upload.code, 0, checksum)
        except (SimyardError, ClientDisconnect):  # it is there, and goes on where it got to
            upload, file = await uploads.state(owner, upload.code)
    elif upload.is_whole:
        upload, file = await uploads.state(owner, upload.code)
    place = {"Location": f"{base_url(request)}/api/v2/uploads/{upload.code}/"}
    return empty(201, {**place, **_standing(upload, file), **headers(is_new)})


@route(
    "HEAD",
    "/api/v2/uploads/{upload_id}/",
    "How far an upload is",
    also=(412, 507),
)
@_tus
async def look_at_upload(request: Request, upload_id: str) -> Response:
    upload, file = await _uploads(request).state(caller(request), upload_id)
    told = {
        "Upload-Length": str(upload.announced.size_bytes),
        "Upload-Metadata": _written(upload),
        **_standing(upload, file),
    }
    return empty(200, told)


@route(
    "PATCH",
    "/api/v2/uploads/{upload_id}/",
    "Go on with an upload",
    _OFFSET,
    _CHECKSUM,
    status=204,
    also=(409, 412, 413, 415, 423, 460),
)
@_tus
async def go_on_with_upload(request: Request, upload_id: str) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != _BODY:
        raise UnsupportedMediaType(f"The body of this request is of the type {_BODY}.")
    offset = _number(request, "Upload-Offset")
    found = await _uploads(request).receive(
        request, caller(request), upload_id, offset, _checksum(request)
    )
    return empty(204, _standing(*found))


@route(
    "DELETE",
    "/api/v2/uploads/{upload_id}/",
    "Give an upload up; a file that it became stays",
    status=204,
    also=(412,),
)
@_tus
async def terminate_upload(request: Request, upload_id: str) -> Response:
    await _uploads(request).terminate(caller(request), upload_id)
    return empty(204)


@route(
    "POST",
    "/api/v2/uploads/{upload_id}/",
    "PATCH or DELETE for clients that have no such method: X-HTTP-Method-Override says which",
    _header("X-HTTP-Method-Override", "`PATCH` or `DELETE`.", needed=True),
    status=204,
    also=(409, 412, 413, 415, 423, 460),
)
async def override_method(request: Request, upload_id: str) -> Response:
    asked = request.headers.get("x-http-method-override", "").upper()
    if asked == "PATCH":
        return await go_on_with_upload(request, upload_id=upload_id)
    if asked == "DELETE":
        return await terminate_upload(request, upload_id=upload_id)
    return errors.method_not_allowed("POST", "DELETE, HEAD, PATCH")


def _standing(upload: Upload, file: File | None) -> dict[str, str]:
    """How far an upload is, and what it became."""
    told = {
        "Upload-Offset": str(upload.offset_bytes),
        "Upload-Expires": format_datetime(upload.expires_at, usegmt=True),
    }
    if file is not None:
        told |= {"Simyard-File": file.code, "Simyard-File-Md5": file.blob.md5}
    return told


# --- headers of requests --------------------------------------------------------------------------


def _number(request: Request, name: str) -> int:
    sent = request.headers.get(name)
    if sent is None:
        raise Invalid.at(name, "This header is required.")
    if not (sent.isascii() and sent.isdigit()):
        raise Invalid.at(name, "Give a number of bytes.")
    if len(sent.lstrip("0")) > _LENGTH_DIGITS:
        raise TooLarge("The file is larger than any disk.")
    return int(sent)


def _length(request: Request) -> int:
    for name in ("Upload-Defer-Length", "Upload-Concat"):
        if name in request.headers:
            raise Invalid.at(name, "This server does not do that. Send Upload-Length.")
    return _number(request, "Upload-Length")


def _has_body(request: Request) -> bool:
    """Whether the first bytes come with it. Raises UnsupportedMediaType where it is something
    else.
    """
    sent = request.headers
    if sent.get("content-length", "0") == "0" and "transfer-encoding" not in sent:
        return False
    if sent.get("content-type", "").partition(";")[0].strip() != _BODY:
        raise UnsupportedMediaType(f"The body of this request, if any, is of the type {_BODY}.")
    return True


def _metadata(sent: str) -> dict[str, str]:
    if len(sent) > _METADATA_BYTES:
        raise Invalid.at("Upload-Metadata", f"Give at most {_METADATA_BYTES} bytes.")
    found = {}
    for pair in sent.split(",") if sent.strip() else ():
        name, _, value = pair.strip().partition(" ")
        try:
            found[name] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            message = f'The value of "{name:.50}" is not base64 of UTF-8.'
            raise Invalid.at("Upload-Metadata", message) from None
    return found


def _written(upload: Upload) -> str:
    sent = upload.announced
    values = {
        "filename": sent.name,
        "relativePath": sent.relative_path,
        "typeId": str(sent.type.value),
        "batch": sent.batch,
        "fingerprint": sent.fingerprint,
    }
    return ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}"
        for name, value in values.items()
        if value
    )


def _checksum(request: Request) -> Checksum | None:
    sent = request.headers.get("upload-checksum")
    if sent is None:
        return None
    algorithm, _, value = sent.strip().partition(" ")
    if algorithm not in _DIGEST_BYTES:
        raise Invalid.at("Upload-Checksum", f"Use one of these: {ALGORITHMS}.")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != _DIGEST_BYTES[algorithm]:
        raise Invalid.at("Upload-Checksum", f"Give the {algorithm} of the body in base64.")
    return Checksum(algorithm, digest)
