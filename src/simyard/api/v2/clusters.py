"""Where jobs run: what the API calls their clusters and instances (api-v2 reference, section 4.1),
and the tasks that answer slow questions.

Here a run's attempt is a cluster of one instance, this machine. Nobody can log in to it.
"""

import socket
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from simyard.api import paging
from simyard.api.replies import instant_text, reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.api.shapes import (
    always,
    anything,
    array,
    choice,
    fields,
    flag,
    instant,
    integer,
    nullable,
    number,
    object_,
    page_of,
    text,
)
from simyard.api.v2.bulk import encode_progress
from simyard.api.v2.job_shapes import STATUS, encode_status
from simyard.domain.errors import Invalid, NotFound, Refused
from simyard.domain.runs import Attempt
from simyard.service import bulk as bulk_service
from simyard.service import jobs as service
from simyard.service import load, moves

route = Routes("clusters")

_CLUSTER = object_(
    "Cluster",
    id=text("0f6f0c1e8a1b4f0e9c573b6c3f6f4b11"),
    jobId=text("hTrNa"),
    runId=text("1"),
    status=text("Started"),
    dateInserted=instant(),
    dateStarted=nullable(instant()),
    dateStopped=nullable(instant(), example_null=True),
)
_INSTANCE = object_(
    "Instance",
    id=text("0f6f0c1e8a1b4f0e9c573b6c3f6f4b11"),
    clusterId=text("0f6f0c1e8a1b4f0e9c573b6c3f6f4b11"),
    role=choice("MPI_MASTER"),
    publicIp=always(None),
    privateIp=text("127.0.0.1"),
    publicHostname=always(None),
    privateHostname=text("node0"),
    sshPort=always(None),
    username=always(None),
    instanceGroup=text("compute0"),
    isBehindNat=flag(False),
    supportedServices=array(text("ssh"), "Always empty."),
    tenancy=text("default"),
    dateStarted=instant(),
)
_MEASUREMENT = object_(
    "LoadMeasurement",
    date=instant(),
    load=number(1.5, "Runnable processes, averaged over a minute."),
    cores=integer(2),
    memoryUsed=integer(1_073_741_824, "Bytes."),
    memoryTotal=integer(17_179_869_184, "Bytes."),
)


def _attempts(request: Request, job_id: str) -> list[Attempt]:
    return site_of(request).db.read(service.attempts, caller(request), job_id)[1]


@route(
    "GET",
    "/api/v2/jobs/{job_id}/instances/",
    "The machine that each run of a job was started on",
    *PAGE,
    reply=page_of(_INSTANCE),
)
async def list_instances(request: Request, job_id: str) -> Response:
    started = [attempt for attempt in _attempts(request, job_id) if attempt.started_at]
    page, found = paging.cut(paging.asked(request), started)
    return reply(paging.envelope(request, page, found, _encode_instance))


def _encode_instance(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.token,
        "clusterId": attempt.token,
        "role": "MPI_MASTER",
        "publicIp": None,
        "privateIp": "127.0.0.1",
        "publicHostname": None,
        "privateHostname": socket.gethostname(),
        "sshPort": None,
        "username": None,
        "instanceGroup": "compute0",
        "isBehindNat": False,
        "supportedServices": [],
        "tenancy": "default",
        "dateStarted": instant_text(attempt.started_at),
    }


@route(
    "GET",
    "/api/v2/jobs/{job_id}/clusters/",
    "The clusters of a job: one for each attempt at a run",
    *PAGE,
    reply=page_of(_CLUSTER),
    v3=True,
)
async def list_clusters(request: Request, job_id: str) -> Response:
    page, found = paging.cut(paging.asked(request), _attempts(request, job_id))

    def encode(attempt: Attempt) -> dict[str, Any]:
        word = "Stopped" if attempt.ended_at else "Started" if attempt.started_at else "Starting"
        return {
            "id": attempt.token,
            "jobId": job_id,
            "runId": str(attempt.run_number),
            "status": word,
            "dateInserted": instant_text(attempt.created_at),
            "dateStarted": instant_text(attempt.started_at),
            "dateStopped": instant_text(attempt.ended_at),
        }

    return reply(paging.envelope(request, page, found, encode))


@route(
    "GET",
    "/api/v2/clusters/{cluster_id}/statuses/",
    "What the cluster of a job went through, newest first",
    *PAGE,
    reply=page_of(STATUS),
    v3=True,
)
async def statuses(request: Request, cluster_id: str) -> Response:
    entries = site_of(request).db.read(service.history_of_cluster, caller(request), cluster_id)
    page, found = paging.cut(paging.asked(request), entries)
    return reply(paging.envelope(request, page, found, encode_status))


@route(
    "POST",
    "/api/v2/clusters/{cluster_id}/remote_viz_hardware_settings/password/",
    "Refused: there are no remote desktops",
    status=400,
)
async def desktop_password(request: Request, cluster_id: str) -> Response:
    site_of(request).db.read(service.history_of_cluster, caller(request), cluster_id)
    raise Refused("This server has no remote desktops.")


@route(
    "GET",
    "/api/v2/jobs/{job_id}/connection_details/",
    "How to log in to a job's instances: there is no way, so it is empty",
    reply=fields(),
)
async def connection_details(request: Request, job_id: str) -> Response:
    _attempts(request, job_id)
    return reply({})


@route(
    "GET",
    "/api/v2/jobs/{job_id}/cluster-load-measurements/",
    "The load of this machine while the job ran, at most of the last day, oldest first",
    query("hours", "Only of the last so many hours."),
    reply=array(_MEASUREMENT),
    also=(400,),
)
async def measurements(request: Request, job_id: str) -> Response:
    hours = request.query_params.get("hours")
    if hours is not None and not (hours.isascii() and hours.isdigit() and 0 < len(hours) < 6):
        raise Invalid.at("hours", "A valid integer is required.")
    return reply(_measured(request, job_id, int(hours) if hours else None))


def _measured(request: Request, job_id: str, hours: int | None = None) -> list[dict[str, Any]]:
    site = site_of(request)
    found = site.load.during(_attempts(request, job_id), site.clock(), last_hours=hours)
    return [
        {
            "date": instant_text(one.at),
            "load": one.load,
            "cores": one.cores,
            "memoryUsed": one.memory_used_bytes,
            "memoryTotal": one.memory_total_bytes,
        }
        for one in found
    ]


@route(
    "GET",
    "/api/v2/jobs/{job_id}/servers/load/",
    "The same as a task: the reply has the token under which the answer is found",
    query("offset", "Passed over."),
    query("period", "Passed over."),
    query("p", "Passed over: there is one page."),
    reply=object_(
        "TaskHandle", token=text("0f6f0c1e-8a1b-4f0e-9c57-3b6c3f6f4b11"), totalPages=integer(1)
    ),
    v3=True,
)
async def servers_load(request: Request, job_id: str) -> Response:
    site = site_of(request)
    _attempts(request, job_id)
    token = await site.db.write_async(load.keep, caller(request), job_id)
    return reply({"token": token, "totalPages": 1})


@route(
    "GET",
    "/api/v2/tasks/{token}/",
    "The answer to a slow question, or how far what is done to many jobs is, for a day",
    reply=object_("Task", ready=flag(True), result=array(anything({}))),
    v3=True,
)
async def get_task(request: Request, token: str) -> Response:
    site, user = site_of(request), caller(request)
    try:
        found = site.db.read(bulk_service.get, user, token)
    except NotFound:
        job_id = site.db.read(load.kept, user, token)
        return reply({"ready": True, "result": _measured(request, job_id)})
    return reply({"ready": found.is_done, "result": [encode_progress(found)]})


@route(
    "GET",
    "/api/v2/jobs/{job_id}/logs/",
    "What the platform did with a job, newest first",
    *PAGE,
    query("limit", "The same as `page_size`."),
    reply=page_of(
        object_(
            "LogEntry",
            date=instant(),
            source=choice("job", "cluster"),
            message=text("Completed: Completed successfully"),
        )
    ),
    v3=True,
)
async def logs(request: Request, job_id: str) -> Response:
    site, user = site_of(request), caller(request)
    entries = [
        (entry, track)
        for track in (moves.JOB, moves.CLUSTER)
        for entry in site.db.read(service.history, user, job_id, track)
    ]
    entries.sort(key=lambda pair: pair[0].id, reverse=True)
    page, found = paging.cut(paging.asked(request), entries)

    def encode(pair: Any) -> dict[str, Any]:
        entry, track = pair
        message = f"{entry.word}: {entry.reason}" if entry.reason else entry.word
        return {"date": instant_text(entry.at), "source": track, "message": message}

    return reply(paging.envelope(request, page, found, encode))
