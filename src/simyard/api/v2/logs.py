"""The logs of a run: windows of them, what is found in them, where something stands in them, and
whether the run converges (ours, docs/extensions.md). The same while it executes and afterwards.
"""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api.replies import reply
from simyard.api.routes import Routes, caller, query, run_number, site_of
from simyard.api.series import CONVERGENCE, convergence_of
from simyard.api.shapes import array, flag, integer, nullable, object_, text
from simyard.domain.errors import Invalid
from simyard.domain.jobs import Job
from simyard.domain.runs import Run
from simyard.service import jobs as service
from simyard.service import logs, logsearch
from simyard.service.convergence import ConvergenceBook
from simyard.service.logmarks import MarkBook, Marks
from simyard.service.logs import LineBook, Window
from simyard.service.logsearch import Found

route = Routes("runs")

_LENGTH = 256 << 10
_MOST_LENGTH = 1 << 20
_MATCHES = 200
_MOST_MATCHES = 1000
_PARTS = 400
_MOST_PARTS = 2000
_FAR = 1 << 62

_PATH = query("path", f"Which file of the run; `{logs.DEFAULT_PATH}` without it.")


def _whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query. Raises Invalid."""
    sent = request.query_params.get(name)
    if sent is None:
        return default
    digits = sent.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise Invalid.at(name, "A valid integer is required.")
    value = int(sent)
    if value < least:
        raise Invalid.at(name, f"Ensure this value is greater than or equal to {least}.")
    if value > most:
        raise Invalid.at(name, f"Ensure this value is less than or equal to {most}.")
    return value


def _switch(request: Request, name: str) -> bool:
    sent = request.query_params.get(name, "").lower()
    if sent not in ("", "0", "1", "false", "true"):
        raise Invalid.at(name, "Must be a valid boolean.")
    return sent in ("1", "true")


def _path(request: Request) -> str:
    return request.query_params.get("path") or logs.DEFAULT_PATH


def _run(request: Request, job_id: str, run_id: str) -> Run:
    return site_of(request).db.read(service.get_run, caller(request), job_id, run_number(run_id))


def _job(request: Request, job_id: str) -> Job:
    return site_of(request).db.read(service.get_job, caller(request), job_id).job


# --- windows --------------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/log/",
    "A window of a file of a run, as bytes",
    _PATH,
    query("offset", "Its first byte; below 0 from the end. 0 without it.", "integer"),
    query("length", f"How many bytes, at most {_MOST_LENGTH}; {_LENGTH} without it.", "integer"),
    query("align", "`line`: whole lines."),
    reply=text("Time = 1\n", "Log-Start, Log-End, Log-Size and Log-Line say which part it is."),
    media_type="text/plain",
    also=(304, 400),
    tag="extensions",
)
async def log_window(request: Request, job_id: str, run_id: str) -> Response:
    run, path = _run(request, job_id, run_id), _path(request)
    offset = _whole(request, "offset", 0, -_FAR, _FAR)
    length = _whole(request, "length", _LENGTH, 1, _MOST_LENGTH)
    align = request.query_params.get("align", "")
    if align not in ("", "line"):
        raise Invalid.at("align", f'"{align[:100]}" is not a valid choice.')
    site, lines = site_of(request), request.app.state.lines
    known = request.headers.get("if-none-match")

    def read() -> tuple[dict[str, str], Window | None]:
        with logs.open_log(site, run, path) as log:
            headers = {
                "ETag": f'"{log.version}"',
                "Cache-Control": "no-store" if log.is_live else "private, no-cache",
                "Log-Size": str(log.size),
            }
            if known == headers["ETag"]:
                return headers, None
            window = logs.window(log, offset, length, whole_lines=align == "line")
            headers["Log-Start"], headers["Log-End"] = str(window.start), str(window.end)
            book: LineBook = lines
            line = book.line_of(log, run, path, window.start)
            if line is not None:
                headers["Log-Line"] = str(line)
            return headers, window

    headers, window = await run_in_threadpool(read)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    if window is None:
        return Response(None, 304, headers)
    return Response(window.content, 200, headers, "text/plain; charset=utf-8")


# --- search ---------------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/log/search/",
    "The lines of a file of a run that hold a text: a part of them, and where to go on",
    _PATH,
    query("q", "What is looked for."),
    query("regex", "`1`: it is a pattern of RE2."),
    query("case", "`1`: capital letters are not small ones."),
    query("from", "The byte to begin at; 0 without it.", "integer"),
    query("limit", f"Most lines, at most {_MOST_MATCHES}; {_MATCHES} without it.", "integer"),
    reply=object_(
        "LogSearch",
        ("total",),
        matches=array(
            object_(
                "LogMatch",
                offset=integer(9731, "Of the line's first byte."),
                line=nullable(integer(118, "From 1; null where it is not known yet.")),
                at=integer(9735, "The first byte of the hit."),
                start=integer(4, "Of the hit in the text, in characters."),
                end=integer(14),
                text=text("--> FOAM FATAL ERROR:", "At most 400 characters around the hit."),
            )
        ),
        scannedTo=integer(180067, "Where to go on."),
        size=integer(180067),
        done=flag(True, "There is no more to look at now."),
        total=integer(1, "How many there are, where all of it was looked at at once."),
    ),
    also=(400,),
    tag="extensions",
)
async def log_search(request: Request, job_id: str, run_id: str) -> Response:
    run, path = _run(request, job_id, run_id), _path(request)
    regex, case = _switch(request, "regex"), _switch(request, "case")
    finder = logsearch.finder_of(request.query_params.get("q", ""), regex=regex, case=case)
    start = _whole(request, "from", 0, 0, _FAR)
    limit = _whole(request, "limit", _MATCHES, 1, _MOST_MATCHES)
    site, lines = site_of(request), request.app.state.lines

    def search() -> tuple[int, Found]:
        with logs.open_log(site, run, path) as log:
            book: LineBook = lines
            first = min(start, log.size)
            line = book.line_of(log, run, path, first)
            return log.size, logsearch.search(log, finder, first, limit, line)

    async with request.app.state.searching:
        size, found = await run_in_threadpool(search)
    body = {
        "matches": [
            {
                "offset": match.offset,
                "line": match.line,
                "at": match.at,
                "start": match.start,
                "end": match.end,
                "text": match.text,
            }
            for match in found.matches
        ],
        "scannedTo": found.scanned_to,
        "size": size,
        "done": found.done,
    }
    if start == 0 and found.done:
        body["total"] = len(found.matches)
    return reply(body)


# --- marks ----------------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/log/marks/",
    "Where in a file of a run errors, warnings and steps stand",
    _PATH,
    query(
        "buckets", f"Into how many parts, at most {_MOST_PARTS}; {_PARTS} without it.", "integer"
    ),
    reply=object_(
        "LogMarks",
        errors=array(integer(0), "How many there are in each part; likewise the others."),
        warnings=array(integer(0)),
        steps=array(integer(1)),
        firstError=nullable(
            object_(
                "LogError",
                offset=integer(9731, "Of the line's first byte."),
                line=integer(118),
                text=text("--> FOAM FATAL ERROR:"),
            )
        ),
        size=integer(180067),
        scannedTo=integer(180067, "Ask again: each call reads on."),
        done=flag(True, "There is no more to look at now."),
    ),
    also=(400,),
    tag="extensions",
)
async def log_marks(request: Request, job_id: str, run_id: str) -> Response:
    run, path = _run(request, job_id, run_id), _path(request)
    parts = _whole(request, "buckets", _PARTS, 1, _MOST_PARTS)
    job, site = _job(request, job_id), site_of(request)
    book: MarkBook = request.app.state.marks

    def read() -> Marks:
        with logs.open_log(site, run, path) as log:
            return book.marks(job, log, parts)

    async with request.app.state.searching:
        marks = await run_in_threadpool(read)
    first = marks.first_error
    return reply(
        {
            "errors": marks.errors,
            "warnings": marks.warnings,
            "steps": marks.steps,
            "firstError": first
            and {"offset": first.offset, "line": first.line, "text": first.text},
            "size": marks.size,
            "scannedTo": marks.scanned_to,
            "done": marks.done,
        }
    )


# --- convergence ----------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/jobs/{job_id}/runs/{run_id}/convergence/",
    "Whether a run converges, and how long it still takes",
    reply=CONVERGENCE,
    tag="extensions",
)
async def run_convergence(request: Request, job_id: str, run_id: str) -> Response:
    run, job = _run(request, job_id, run_id), _job(request, job_id)
    book: ConvergenceBook = request.app.state.convergence
    return reply(convergence_of(await run_in_threadpool(book.of_run, job, run)))
