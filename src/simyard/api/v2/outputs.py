"""What a run has written: its files folder by folder, and archives of what is chosen of them (ours,
docs/extensions.md).
"""

import asyncio
import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from simyard.api import bodies, downloads
from simyard.api.bodies import Body, LooseText
from simyard.api.replies import base_url, instant_text, reply
from simyard.api.routes import Routes, caller, query, run_number, site_of
from simyard.api.shapes import (
    BYTES,
    array,
    choice,
    flag,
    instant,
    integer,
    nullable,
    object_,
    text,
)
from simyard.domain.errors import Invalid
from simyard.domain.files import instant as instant_of
from simyard.domain.kinds import Kind, by_name
from simyard.domain.runs import Run
from simyard.domain.trees import PATTERN_LENGTH, Place, Sort, Wanted
from simyard.service import jobs, zips
from simyard.service.trees import TreeBook

route = Routes("extensions")

_MOST_ENTRIES = 1000
_PATH_LENGTH = 4096

KIND = choice(*(kind.value for kind in Kind), about="By its name.")


def run_of(request: Request, job_id: str, run_id: str) -> Run:
    return site_of(request).db.read(jobs.get_run, caller(request), job_id, run_number(run_id))


# --- the tree -------------------------------------------------------------------------------------

_SORTS = [f"{sign}{sort.value}" for sort in Sort for sign in ("", "-")]
_place = msgspec.json.Decoder(Place)


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/tree/",
    "The files of a run, folder by folder, while it executes and afterwards",
    query("prefix", "A folder; without it, the work folder itself."),
    query("q", "All files below it that match, in no folders: a part of the path, or a glob."),
    query("sort", f"One of {', '.join(f'`{sort}`' for sort in _SORTS)}; `name` without it."),
    query("limit", f"Folders and files of a page, at most {_MOST_ENTRIES}.", "integer"),
    query("cursor", "`next` of the page before."),
    reply=object_(
        "Tree",
        prefix=text("postProcessing/"),
        folders=array(
            object_(
                "TreeFolder",
                name=text("forces"),
                count=integer(3, "Of all files below it."),
                bytes=integer(20480),
                mtime=instant("Of the newest of them."),
            )
        ),
        files=array(
            object_(
                "TreeFile",
                name=text("log.simpleFoam"),
                path=text("postProcessing/log.simpleFoam"),
                id=nullable(text("bQfWmc", "Of the stored file; null while the run executes.")),
                bytes=integer(48213),
                mtime=instant(),
                kind=KIND,
            )
        ),
        next=nullable(text("WzEsMCwiYSJd"), example_null=True),
        count=integer(4, "Of all files below the prefix, or of all that match."),
        bytes=integer(68693, "Of the same."),
        isLive=flag(False, "They lie in the folder of a run that executes."),
        isPartial=flag(False, "There are more files than are looked at."),
    ),
    also=(400,),
)
async def tree(request: Request, job_id: str, run_id: str) -> Response:
    wanted, run = _wanted(request), run_of(request, job_id, run_id)
    book: TreeBook = request.app.state.trees
    look = await run_in_threadpool(book.known, run, wanted)
    if look is None:
        looking: asyncio.Semaphore = request.app.state.looking
        async with looking:
            look = await run_in_threadpool(book.page, run, wanted)
    page = look.page
    return reply(
        {
            "prefix": wanted.prefix,
            "folders": [
                {
                    "name": name,
                    "count": sums.files,
                    "bytes": sums.size_bytes,
                    "mtime": instant_text(instant_of(sums.modified)),
                }
                for name, sums in page.folders
            ],
            "files": [
                {
                    "name": entry.path.rsplit("/", 1)[-1],
                    "path": entry.path,
                    "id": entry.code,
                    "bytes": entry.size_bytes,
                    "mtime": instant_text(instant_of(entry.modified)),
                    "kind": by_name(entry.path.rsplit("/", 1)[-1]).value,
                }
                for _, entry in page.files
            ],
            "next": None if page.last is None else _cursor(page.last),
            "count": page.sums.files,
            "bytes": page.sums.size_bytes,
            "isLive": look.is_live,
            "isPartial": look.is_partial,
        }
    )


def _wanted(request: Request) -> Wanted:
    asked = request.query_params
    prefix = asked.get("prefix", "").strip("/")
    if len(prefix) > _PATH_LENGTH:
        raise Invalid.at("prefix", f"Ensure this has at most {_PATH_LENGTH} characters.")
    pattern = asked.get("q", "")
    if len(pattern) > PATTERN_LENGTH:
        raise Invalid.at("q", f"Ensure this has at most {PATTERN_LENGTH} characters.")
    sort = asked.get("sort") or "name"
    if sort not in _SORTS:
        raise Invalid.at("sort", f"Choose one of {', '.join(_SORTS)}.")
    return Wanted(
        prefix=f"{prefix}/" if prefix else "",
        pattern=pattern,
        sort=Sort(sort.removeprefix("-")),
        descending=sort.startswith("-"),
        after=_place_of(asked["cursor"]) if asked.get("cursor") else None,
        limit=count_of(asked.get("limit"), "limit", _MOST_ENTRIES, _MOST_ENTRIES),
    )


def count_of(sent: str | None, name: str, default: int, most: int) -> int:
    """A number from 1 of a query."""
    if not sent:
        return default
    if not (sent.isascii() and sent.isdigit() and len(sent) < 10 and 1 <= int(sent) <= most):
        raise Invalid.at(name, f"Give a number from 1 to {most}.")
    return int(sent)


def _cursor(place: Place) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _place_of(cursor: str) -> Place:
    try:
        return _place.decode(urlsafe_b64decode(cursor.encode() + b"=="))
    except (msgspec.DecodeError, binascii.Error, UnicodeEncodeError):
        raise Invalid.at("cursor", "This is not the `next` of a page.") from None


# --- archives -------------------------------------------------------------------------------------


class ArchiveBody(Body):
    """Which files of which runs. A rule is a file, a folder, or a glob; of all runs, and all
    files, without any.
    """

    include: list[str] | None = None
    exclude: list[str] | None = None
    runs: list[LooseText] | None = None


@route(
    "POST",
    "/api/v2/jobs/{job_id}/archives/",
    "A link to a zip of chosen outputs. Nothing is made or kept for it",
    body=ArchiveBody,
    reads=True,
    reply=object_(
        "Archive",
        id=text("3f2a9c0b7d4e"),
        url=text("https://simyard.example.org/api/v2/jobs/hTrNa/archives/3f2a9c0b7d4e/"),
        bytes=integer(5612001, "Of the zip, exactly."),
        count=integer(29, "Files in it."),
        expiresAt=instant(),
    ),
    status=201,
    also=(400,),
)
async def choose_archive(request: Request, job_id: str) -> Response:
    site = site_of(request)
    sent = bodies.checked(ArchiveBody, await bodies.json_of(request))
    numbers = [_number_of_run(i, run) for i, run in enumerate(sent.runs or ())]
    code, selection = zips.select(site, job_id, sent.include or (), sent.exclude or (), numbers)
    archive = await _laid_out(request, job_id, selection)
    return reply(
        {
            "id": code,
            "url": f"{base_url(request)}/api/v2/jobs/{job_id}/archives/{code}/",
            "bytes": archive.layout.size_bytes,
            "count": len(archive),
            "expiresAt": instant_text(selection.expires_at),
        },
        201,
    )


def _number_of_run(place: int, sent: str) -> int:
    if not (sent.isascii() and sent.isdigit() and len(sent) < 10 and int(sent)):
        raise Invalid.at(("runs", place), "A valid integer is required.")
    return int(sent)


async def _laid_out(request: Request, job_id: str, selection: zips.Selection) -> zips.Archive:
    laying: asyncio.Semaphore = request.app.state.laying
    async with laying:
        return await run_in_threadpool(
            zips.lay_out, site_of(request), caller(request), job_id, selection
        )


@route(
    "GET",
    "/api/v2/jobs/{job_id}/archives/{archive_id}/",
    "The zip itself, whole or a range: the same bytes for as long as the files are the same",
    reply=BYTES,
    media_type="application/octet-stream",
    also=(206, 304, 400, 416),
)
async def archive(request: Request, job_id: str, archive_id: str) -> Response:
    site = site_of(request)
    selection = zips.selected(site, job_id, archive_id)
    archive = await _laid_out(request, job_id, selection)
    part = downloads.part_of(request, archive.name, archive.layout.size_bytes, archive.etag)
    if isinstance(part, Response):
        return part
    if request.method == "HEAD":
        return Response(None, part.status, part.headers, downloads.KIND)
    content = zips.content(site, archive, part.start, part.end)
    stream = downloads.in_threads(content, request.app.state.pool)
    return StreamingResponse(stream, part.status, part.headers, downloads.KIND)
