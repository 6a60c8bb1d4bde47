"""Search, how busy the machine is, and galleries: what the console shows beside its list of jobs
(ours, docs/extensions.md).
"""

from starlette.requests import Request
from starlette.responses import Response

from simyard.api.replies import reply
from simyard.api.routes import Routes, caller, query, site_of, who
from simyard.api.shapes import array, flag, integer, nullable, number, object_, text
from simyard.api.v2.catalogue import catalogue_of
from simyard.api.v2.rows import in_thread, number_of
from simyard.domain.errors import Invalid
from simyard.domain.lifecycle import State
from simyard.domain.users import Right
from simyard.service import figures, searching
from simyard.service.searching import GalleryRun

route = Routes("extensions")


# --- searching ------------------------------------------------------------------------------------

_JOB_HIT = object_(
    "JobHit", id=text("hTrNa"), name=text("Cavity"), status=text("Completed"), isStudy=flag(False)
)


@route(
    "GET",
    "/api/v2/search/",
    "The first few things whose name has a text in it, or whose id it is",
    query("q", "The text."),
    reply=object_(
        "SearchHits",
        jobs=array(_JOB_HIT),
        studies=array(_JOB_HIT),
        files=array(
            object_(
                "FileHit",
                id=text("gPQkyP"),
                name=text("mesh.inp"),
                size=integer(48213, "Bytes."),
                job=nullable(text("hTrNa", "Of which it is an output."), example_null=True),
                run=nullable(text("1"), example_null=True),
            )
        ),
        analyses=array(
            object_(
                "AnalysisHit", code=text("openfoam"), name=text("OpenFOAM"), installed=flag(True)
            )
        ),
        members=array(
            object_(
                "MemberHit", id=text("mEmbr"), email=text("bob@lab.example"), fullName=text("Bob")
            ),
            "For administrators.",
        ),
        isPartial=flag(False, "There are more jobs or files than were looked at: the newest."),
    ),
    also=(400,),
)
async def search(request: Request) -> Response:
    wanted = request.query_params.get("q", "").strip()
    if not wanted:
        raise Invalid.at("q", "This field may not be blank.")
    if "\0" in wanted:
        raise Invalid.at("q", "Null characters are not allowed.")
    catalogue = await catalogue_of(site_of(request))
    sees_members = who(request).may(Right.ADMIN)
    found = await in_thread(
        request, searching.search, catalogue, caller(request), wanted, members=sees_members
    )
    jobs = [
        {"id": hit.code, "name": hit.name, "status": hit.status, "isStudy": hit.is_study}
        for hit in found.jobs
    ]
    studies = [
        {"id": hit.code, "name": hit.name, "status": hit.status, "isStudy": True}
        for hit in found.studies
    ]
    return reply(
        {
            "jobs": jobs,
            "studies": studies,
            "files": [
                {
                    "id": hit.code,
                    "name": hit.name,
                    "size": hit.size_bytes,
                    "job": hit.job,
                    "run": None if hit.run is None else str(hit.run),
                }
                for hit in found.files
            ],
            "analyses": [
                {"code": hit.code, "name": hit.name, "installed": catalogue.present(hit).installed}
                for hit in found.analyses
            ],
            "members": [
                {"id": hit.code, "email": hit.email, "fullName": hit.full_name}
                for hit in found.members
            ],
            "isPartial": found.is_partial,
        }
    )


# --- the machine ----------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/machine/",
    "How busy the installation is: figures only, of all users together",
    reply=object_(
        "MachineNow",
        cores=integer(8),
        busy=integer(6, "Cores that are set aside for runs."),
        running=integer(3, "Runs."),
        queued=integer(2, "Runs that wait for cores."),
        planned=integer(40, "Runs of studies that wait for a slot of theirs."),
        memoryUsed=nullable(integer(1_073_741_824, "Bytes, of the machine.")),
        memoryTotal=nullable(integer(17_179_869_184)),
        load=nullable(number(1.5, "Runnable processes, averaged over a minute.")),
        engines=array(
            object_("EngineNow", name=text("local"), trouble=text("", "Empty: it works."))
        ),
    ),
)
async def machine(request: Request) -> Response:
    site = site_of(request)
    states = await in_thread(request, figures.runs_by_state)
    measured = site.load.newest
    waiting = (State.PENDING, State.QUEUED, State.WAITING)
    planned = states.get(State.PLANNED, 0)
    queued = sum(states.get(state, 0) for state in waiting)
    ended = states.get(State.COLLECTING, 0) + states.get(State.COMPLETED, 0)
    return reply(
        {
            "cores": site.machine.cores,
            "busy": site.db.read(figures.cores_held),
            "running": sum(states.values()) - planned - queued - ended,
            "queued": queued,
            "planned": planned,
            "memoryUsed": measured and measured.memory_used_bytes,
            "memoryTotal": measured and measured.memory_total_bytes,
            "load": measured and measured.load,
            "engines": [
                {"name": name, "trouble": engine.capabilities().trouble}
                for name, engine in site.engines.items()
            ],
        }
    )


# --- one file of each run -------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/jobs/{job_id}/study/gallery/",
    "The file of a path in each run of a study",
    query("path", "Of the file, or a pattern: `*.png`, `plots/p_*.png`; the first that fits."),
    query("cursor", "`next` of another page."),
    query("limit", "Runs of a page: 50 without it, at most 200."),
    reply=object_(
        "Gallery",
        runs=array(
            object_(
                "GalleryRun",
                run=text("3"),
                file=nullable(
                    object_(
                        "GalleryFile",
                        id=text("gPQkyP"),
                        path=text("plots/p.png"),
                        name=text("p.png"),
                        bytes=integer(48213),
                    )
                ),
            )
        ),
        next=nullable(text("50"), example_null=True),
    ),
    also=(400,),
)
async def gallery(request: Request, job_id: str) -> Response:
    asked = request.query_params
    path = asked.get("path", "")
    after = number_of(asked.get("cursor") or "0", "cursor", 1 << 31)
    size = max(1, number_of(asked.get("limit") or "50", "limit", searching.GALLERY_MOST))
    found, goes_on = await in_thread(
        request, searching.gallery, caller(request), job_id, path, after=after, size=size
    )
    runs: list[GalleryRun] = found
    return reply(
        {
            "runs": [
                {
                    "run": str(one.number),
                    "file": one.file
                    and {
                        "id": one.file.code,
                        "path": one.file.relative_path,
                        "name": one.file.name,
                        "bytes": one.file.blob.size_bytes,
                    },
                }
                for one in runs
            ],
            "next": None if goes_on is None else str(goes_on),
        }
    )
