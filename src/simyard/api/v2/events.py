"""The stream of events (ours, docs/extensions.md)."""

from starlette.requests import Request
from starlette.responses import Response

from simyard.api.events import PING_SECONDS, Hub, Stream, Topics
from simyard.api.replies import too_many
from simyard.api.routes import Routes, caller, query
from simyard.api.shapes import text

route = Routes("extensions")

_EXAMPLE = """\
id: 5f0c9b1d7a2e-1042
event: job
data: {"id":"hTrNa","name":"A wing","at":"2026-03-02T09:15:00.001200Z","status":"Executing",\
"clusterStatus":"Started"}

"""
LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The last `id` that was received: go on behind it.",
    "schema": {"type": "string"},
}


@route(
    "GET",
    "/api/v2/events/",
    "What happens to the jobs that the caller sees, while it happens",
    query(
        "topics",
        "`jobs`, `job:ID` for single ones, `study:ID`, `uploads`, separated by commas; `jobs`"
        " without it.",
    ),
    LAST_EVENT_ID,
    reply=text(
        _EXAMPLE, "Server-sent events: hello, job, run, files, study, upload, notice, reset."
    ),
    media_type="text/event-stream",
    also=(429,),
)
async def stream_events(request: Request) -> Response:
    hub: Hub = request.app.state.hub
    user = caller(request)
    if hub.is_full_for(user):
        return too_many_streams()
    topics = Topics.parse(request.query_params.get("topics"))
    stream = Stream(hub, user, topics, request.headers.get("last-event-id") or None)
    hub.join(stream)
    return stream


def too_many_streams() -> Response:
    return too_many("Too many streams of events are open. Close some of them.", PING_SECONDS)
