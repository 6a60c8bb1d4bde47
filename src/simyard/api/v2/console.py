"""What the console asks for at its start, and examples to begin with (ours, docs/extensions.md)."""

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from simyard import __version__
from simyard.api.downloads import disposition
from simyard.api.origin import parts
from simyard.api.replies import base_url, instant_text, reply
from simyard.api.routes import Routes, site_of, who
from simyard.api.shapes import (
    BYTES,
    anything,
    array,
    choice,
    fields,
    flag,
    instant,
    integer,
    mapping,
    nullable,
    object_,
    text,
)
from simyard.api.v2.catalogue import catalogue_of, install_hint
from simyard.api.v2.sessions import PERSON, encode_person
from simyard.api.v2.users import STANDING, encode_standing
from simyard.domain.catalogue import Catalogue
from simyard.domain.users import Caller, Right
from simyard.service import examples, features
from simyard.service.examples import EXAMPLES, Example
from simyard.service.site import Site

route = Routes("extensions")

_ENGINE = {
    "isolation": text("bubblewrap", "Or `none`."),
    "isolationDetail": text("Runs see a read-only system and write to their own folder only."),
    "trouble": text("", "What keeps it from starting or seeing runs now."),
}
CONSOLE = object_(
    "Console",
    version=text("0.1.0"),
    siteName=text("Lab"),
    user=PERSON,
    rights=fields(canWrite=flag(True), isAdmin=flag(False)),
    prefix=text("/simyard", "What a proxy takes away from paths, without a slash at the end."),
    limits=fields(
        uploadBytes=nullable(integer(10**9)), walltimeSeconds=integer(604_800), **STANDING
    ),
    engine=text("local", "What runs jobs whose core type names no other."),
    isolation=_ENGINE["isolation"],
    isolationDetail=_ENGINE["isolationDetail"],
    network=flag(True, "Whether runs may reach the network."),
    engines=mapping(fields(**_ENGINE), "local"),
    cores=integer(8),
    memoryBytes=integer(24_000_000_000),
    features=array(
        choice("studies", "optuna", "parquet"), "Optional parts whose packages are there."
    ),
    solvers=array(
        fields(
            code=text("openfoam"),
            name=text("OpenFOAM"),
            installed=flag(True),
            version=text("1912", "As its program tells it."),
            installHint=text(""),
        )
    ),
    examples=array(fields(name=text("airfoil"), isRunnable=flag(True), whyNot=text(""))),
    notices=array(
        fields(code=choice("no-isolation", "engine-trouble"), message=text("Runs are processes."))
    ),
    now=instant("The server's clock."),
)
_JOB = {
    "name": "NACA 0012 at 4 degrees, Reynolds number 6 million",
    "jobanalyses": [{"command": "./airFoil2D/Allrun", "inputFiles": []}],
}
EXAMPLE = object_(
    "Example",
    name=text("airfoil"),
    short=text("airfoil", "What it is an example of, in a word."),
    title=text("NACA 0012 at 4 degrees, Reynolds number 6 million"),
    about=text("OpenFOAM computes the flow around an airfoil.", "What the solver does."),
    analysis=text("openfoam"),
    isRunnable=flag(True),
    whyNot=text("", "What keeps it from running here."),
    fileName=text("airfoil2d.zip", "Under which to upload its contents."),
    job=anything(_JOB, "The body for `jobs/`, once the upload is the first of its inputFiles."),
)


# --- the start ------------------------------------------------------------------------------------


@route(
    "GET",
    "/api/v2/console/",
    "What the console has to know at its start",
    reply=CONSOLE,
    also=(304,),
)
async def console(request: Request) -> Response:
    site = site_of(request)
    catalogue = await catalogue_of(site)
    content = _encode(site, who(request), catalogue)
    content["prefix"] = parts(base_url(request))[1]
    digest = hashlib.sha256(reply(content).body).hexdigest()  # of all but the time
    now = instant_text(site.clock())
    headers = {
        "ETag": f'"{digest[:32]}"',
        "Cache-Control": "private, no-cache",
        "X-Simyard-Now": str(now),  # of a 304 too, whose body is that of an earlier reply
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return reply({**content, "now": now}, 200, headers)


def _encode(site: Site, caller: Caller, catalogue: Catalogue) -> dict[str, Any]:
    engines = {name: each.capabilities() for name, each in site.engines.items()}
    first = next(iter(engines.values()))
    notices = [
        {"code": "no-isolation", "message": found.isolation_detail}
        for found in engines.values()
        if found.isolation == "none"
    ]
    notices += [
        {"code": "engine-trouble", "message": f"{name}: {found.trouble}"}
        for name, found in engines.items()
        if found.trouble
    ]
    return {
        "version": __version__,
        "siteName": site.name,
        "user": encode_person(caller.user),
        "rights": {"canWrite": caller.may(Right.WRITE), "isAdmin": caller.may(Right.ADMIN)},
        "limits": {
            "uploadBytes": site.max_upload_bytes or None,
            "walltimeSeconds": site.limits.max_walltime_seconds,
            **encode_standing(site, caller.user),
        },
        "engine": first.name,
        "isolation": first.isolation,
        "isolationDetail": first.isolation_detail,
        "network": first.network,
        "engines": {
            name: {
                "isolation": found.isolation,
                "isolationDetail": found.isolation_detail,
                "trouble": found.trouble,
            }
            for name, found in engines.items()
        },
        "cores": site.machine.cores,
        "memoryBytes": site.machine.memory_mb * 10**6,
        "features": list(features.present()),
        "solvers": [
            {
                "code": analysis.code,
                "name": analysis.name,
                "installed": catalogue.present(analysis).installed,
                "version": catalogue.present(analysis).version,
                "installHint": install_hint(catalogue, analysis),
            }
            for analysis in catalogue.analyses
        ],
        "examples": [{"name": each.name, **_standing(each, catalogue)} for each in EXAMPLES],
        "notices": notices,
    }


# --- examples -------------------------------------------------------------------------------------


def _standing(example: Example, catalogue: Catalogue) -> dict[str, Any]:
    why_not = example.why_not(catalogue)
    return {"isRunnable": not why_not, "whyNot": why_not}


@route(
    "GET",
    "/api/v2/examples/",
    "Cases to see the server work with",
    reply=array(EXAMPLE),
)
async def list_examples(request: Request) -> Response:
    catalogue = await catalogue_of(site_of(request))
    return reply(
        [
            {
                "name": each.name,
                "short": each.short,
                "title": each.title,
                "about": each.about,
                "analysis": each.analysis,
                **_standing(each, catalogue),
                "fileName": each.archive.name,
                "job": each.job(catalogue),
            }
            for each in EXAMPLES
        ]
    )


@route(
    "GET",
    "/api/v2/examples/{name}/contents/",
    "The archive that an example's job takes as input",
    reply=BYTES,
    media_type="application/zip",
    also=(206,),
)
async def example_contents(_request: Request, name: str) -> Response:
    archive = examples.example(name).archive
    headers = {"Content-Disposition": disposition(archive.name)}
    return FileResponse(archive, headers=headers, media_type="application/zip")
