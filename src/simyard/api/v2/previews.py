"""Looks into files, of runs and of the library, and pictures (ours, docs/extensions.md)."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api.replies import base_url, reply
from simyard.api.routes import Routes, caller, query, site_of
from simyard.api.shapes import (
    BYTES,
    array,
    choice,
    flag,
    integer,
    nullable,
    number,
    object_,
    text,
)
from simyard.api.v2.outputs import count_of, run_of
from simyard.domain.errors import Invalid
from simyard.domain.facts import Picture, Table, Text
from simyard.domain.files import File
from simyard.domain.geometry import Geometry
from simyard.domain.kinds import Kind
from simyard.domain.zips import Listing
from simyard.service import files, logs, peeks
from simyard.service.logs import Log
from simyard.service.peeks import Peek

route = Routes("extensions")

_MOST_ROWS, _ROWS = 1000, 100
_MOST_COLUMNS, _COLUMNS = 200, 50
_AXES = array(number(0.5), "x, y, z.")
_PREVIEW = object_(
    "Preview",
    name=text("forces.csv"),
    path=text("postProcessing/forces.csv"),
    bytes=integer(20480),
    kind=choice(*(kind.value for kind in Kind), about="As what it is shown."),
    isLive=flag(False, "It may change still."),
    text=nullable(
        object_(
            "PreviewText",
            head=text("Time = 1\n", "What is no UTF-8 is replaced."),
            tail=text("", "The last lines, where the head is not all of it."),
            headEnd=integer(20480, "Bytes: between the two something is left out."),
            tailStart=integer(20480),
        ),
        example_null=True,
    ),
    table=nullable(
        object_(
            "PreviewTable",
            columns=array(text("Time"), "Names, or numbers from 1."),
            hasHeader=flag(True),
            rows=array(array(text("0.5"))),
            columnCount=integer(4, "Of the file."),
            total=nullable(integer(120, "Rows of the file; null where not all of it was read.")),
        )
    ),
    image=nullable(
        object_(
            "PreviewImage",
            mediaType=text("image/png"),
            width=integer(800),
            height=integer(600),
            url=nullable(text("https://simyard.example.org/api/v2/files/bQfWmc/image/")),
        ),
        example_null=True,
    ),
    mesh=nullable(
        object_(
            "PreviewMesh",
            format=text("STL (binary)"),
            title=text("wing"),
            points=nullable(integer(5200), example_null=True),
            cells=nullable(integer(10400, "Triangles of an STL.")),
            bounds=nullable(object_("PreviewBounds", min=_AXES, max=_AXES)),
            fields=array(
                object_(
                    "PreviewField",
                    name=text("U"),
                    on=choice("points", "cells"),
                    components=nullable(integer(3)),
                    range=nullable(array(number(0.5))),
                )
            ),
            isPartial=flag(False, "Only the beginning was read."),
        ),
        example_null=True,
    ),
    archive=nullable(
        object_(
            "PreviewArchive",
            entries=array(
                object_(
                    "PreviewEntry",
                    name=text("case/Allrun"),
                    bytes=integer(120),
                    packedBytes=integer(80),
                    isFolder=flag(False),
                ),
                f"The first {peeks.MOST_ENTRIES}, as the archive says.",
            ),
            count=integer(12, "Of all entries, as it says."),
        ),
        example_null=True,
    ),
    note=text("", "Why it is not shown as what it seems to be."),
)
_PATH = query("path", "Of the file, below the work folder.")
_LOOK = (
    query("kind", "As what to show it; `auto`, or without it, as what it seems to be."),
    query("rows", f"Most rows of a table: {_ROWS} without it, at most {_MOST_ROWS}.", "integer"),
    query("cols", f"Most columns: {_COLUMNS} without it, at most {_MOST_COLUMNS}.", "integer"),
)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/preview/",
    "A look into a file of a run, while it executes and afterwards",
    _PATH,
    *_LOOK,
    reply=_PREVIEW,
    also=(400,),
)
async def preview_of_run(request: Request, job_id: str, run_id: str) -> Response:
    site, run, path = site_of(request), run_of(request, job_id, run_id), _path(request)
    shown_at = f"/api/v2/jobs/{job_id}/runs/{run.number}/image/?path={quote(path, safe='')}"
    return await _preview(request, lambda: logs.open_log(site, run, path), path, shown_at)


@route(
    "GET",
    "/api/v2/files/{file_id}/preview/",
    "A look into a file",
    *_LOOK,
    reply=_PREVIEW,
    also=(400,),
)
async def preview_of_file(request: Request, file_id: str) -> Response:
    file = _file(request, file_id)
    opened = _opener(request, file)
    return await _preview(request, opened, file.relative_path, f"/api/v2/files/{file.code}/image/")


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/image/",
    "A picture that a run has made: PNG, JPEG, GIF or WebP, as it is",
    _PATH,
    reply=BYTES,
    media_type="image/*",
    also=(304, 400),
)
async def image_of_run(request: Request, job_id: str, run_id: str) -> Response:
    site, run, path = site_of(request), run_of(request, job_id, run_id), _path(request)
    return await _image(request, lambda: logs.open_log(site, run, path))


@route(
    "GET",
    "/api/v2/files/{file_id}/image/",
    "A picture: PNG, JPEG, GIF or WebP, as it is",
    reply=BYTES,
    media_type="image/*",
    also=(304, 400),
)
async def image_of_file(request: Request, file_id: str) -> Response:
    return await _image(request, _opener(request, _file(request, file_id)))


def _path(request: Request) -> str:
    path = request.query_params.get("path", "")
    if not path:
        raise Invalid.at("path", "This field is required.")
    return path


def _file(request: Request, file_id: str) -> File:
    return site_of(request).db.read(files.get_file, caller(request), file_id)


def _opener(request: Request, file: File) -> Callable[[], Log]:
    return lambda: logs.open_file(site_of(request), file)


async def _preview(
    request: Request, opened: Callable[[], Log], path: str, shown_at: str
) -> Response:
    asked = request.query_params
    sent = asked.get("kind") or "auto"
    if sent != "auto" and sent not in list(Kind):
        raise Invalid.at("kind", f"Choose one of auto, {', '.join(Kind)}.")
    kind = None if sent == "auto" else Kind(sent)
    rows = count_of(asked.get("rows"), "rows", _ROWS, _MOST_ROWS)
    columns = count_of(asked.get("cols"), "cols", _COLUMNS, _MOST_COLUMNS)
    name = path.rsplit("/", 1)[-1]

    def look() -> tuple[Log, Peek]:
        with opened() as log:
            return log, peeks.peek(log.source, name, kind, rows=rows, columns=columns)

    async with request.app.state.searching:
        log, found = await run_in_threadpool(look)
    shown_at = "" if found.note else base_url(request) + shown_at
    return reply(
        {
            "name": name,
            "path": path,
            "bytes": log.size,
            "kind": found.kind.value,
            "isLive": log.is_live,
            "text": found.text and _encode_text(found.text),
            "table": found.table and _encode_table(found.table),
            "image": found.picture and _encode_picture(found.picture, shown_at),
            "mesh": found.geometry and _encode_geometry(found.geometry),
            "archive": found.listing and _encode_listing(found.listing),
            "note": found.note,
        }
    )


def _encode_text(found: Text) -> dict[str, Any]:
    return {
        "head": found.head,
        "tail": found.tail,
        "headEnd": found.head_end,
        "tailStart": found.tail_start,
    }


def _encode_table(found: Table) -> dict[str, Any]:
    return {
        "columns": found.columns,
        "hasHeader": found.has_header,
        "rows": found.rows,
        "columnCount": found.column_count,
        "total": found.total,
    }


def _encode_picture(found: Picture, url: str) -> dict[str, Any]:
    return {
        "mediaType": found.media_type,
        "width": found.width,
        "height": found.height,
        "url": url or None,
    }


def _encode_geometry(found: Geometry) -> dict[str, Any]:
    return {
        "format": found.format,
        "title": found.title,
        "points": found.points,
        "cells": found.cells,
        "bounds": found.bounds and {"min": found.bounds[0], "max": found.bounds[1]},
        "fields": [
            {
                "name": field.name,
                "on": field.on,
                "components": field.components,
                "range": field.range,
            }
            for field in found.fields
        ],
        "isPartial": found.is_partial,
    }


def _encode_listing(found: Listing) -> dict[str, Any]:
    return {
        "entries": [
            {
                "name": entry.name,
                "bytes": entry.size_bytes,
                "packedBytes": entry.packed_bytes,
                "isFolder": entry.is_folder,
            }
            for entry in found.entries
        ],
        "count": found.count,
    }


async def _image(request: Request, opened: Callable[[], Log]) -> Response:
    wanted = request.headers.get("if-none-match")

    def read() -> tuple[str, str, bytes]:
        with opened() as log:
            etag = f'"{log.version}"'
            return (etag, "", b"") if etag == wanted else (etag, *peeks.image(log.source))

    etag, kind, content = await run_in_threadpool(read)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    return Response(content, 200 if kind else 304, headers, kind or None)
