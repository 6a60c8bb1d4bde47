"""Analyses and core types (api-v2 reference, section 3)."""

from functools import cache, partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import paging
from simyard.api.replies import STATIC, base_url, reply
from simyard.api.routes import PAGE, Routes, query, site_of
from simyard.api.shapes import (
    always,
    anything,
    array,
    choice,
    fields,
    flag,
    integer,
    nullable,
    number,
    object_,
    page_of,
    text,
)
from simyard.domain.catalogue import Analysis, Catalogue, CoreType
from simyard.domain.errors import NotFound
from simyard.service.site import Site

route = Routes("catalogue")

ANALYSIS = object_(
    "Analysis",
    code=text("openfoam"),
    name=text("OpenFOAM"),
    description=text("<p>Fluids</p>", "HTML."),
    vendorName=text("OpenCFD"),
    pricing=text(""),
    thumbnail=text("https://simyard.example.org/static/analyses/openfoam.svg"),
    industries=array(
        object_("Industry", name=text("Aerospace"), icon=text("https://simyard.example.org/a.svg"))
    ),
    hasRescaleLicense=flag(False),
    hasShortTermLicense=flag(False),
    licenseSettings=array(
        object_(
            "LicenseSetting",
            name=text("LM_LICENSE_FILE", "The environment variable to set."),
            label=text("License"),
            licenseType=text("Flex"),
            isServer=flag(True),
            helpText=text("[port]@host of the license server"),
        )
    ),
    optimizerType=always(None),
    resources=array(object_("Resource", url=text("https://example.org"), name=text("Manual"))),
    supportDesks=array(anything({})),
    versions=array(
        object_(
            "AnalysisVersion",
            id=text("1912-openmpi"),
            version=text("1912"),
            versionCode=text("1912-openmpi", "What jobs send."),
            aliasOf=nullable(text("1912-openmpi"), example_null=True),
            eula=nullable(text(""), example_null=True),
            allowedCoreTypes=array(text("emerald")),
            stdCommand=text("<module>"),
            smpCommand=text(""),
            mpiCommand=text("mpirun -np <mpi-ranks> <module> -parallel"),
        )
    ),
    installed=flag(True, "Whether it can run here."),
    installHint=text("", "What to install where it cannot."),
)
CORE_TYPE = object_(
    "CoreType",
    code=text("emerald"),
    name=text("Emerald"),
    displayOrder=nullable(integer(1)),
    isDeprecated=flag(False),
    isPrimary=flag(True),
    isActive=flag(True),
    price=number(0.1, "For a core and hour."),
    lowPriorityPrice=text("0.050"),
    compute=nullable(text("3.00"), example_null=True),
    memory=number(3750, "Megabytes per core."),
    storage=number(40, "Gigabytes per core."),
    io=text(""),
    storageIo=text(""),
    hasSsd=flag(True),
    cores=array(integer(1), "Counts within a node."),
    gpuCounts=array(number(0.0), "Parallel to `cores`."),
    categoryCodes=array(text("general")),
    processorInfo=text("Example CPU"),
    remoteVizAllowed=flag(False),
    walltimeRequired=flag(False),
    mustBeRequested=flag(False),
    requiresTempSshAuth=flag(False),
    features=array(anything("x")),
    description=text("General purpose"),
)


async def catalogue_of(site: Site) -> Catalogue:
    """The catalogue, once it is known what is installed."""
    if site.book.is_ready:
        return site.book.current()
    return await run_in_threadpool(site.book.current)


@cache
def _picture(kind: str, name: str) -> str:
    """The picture of an analysis or an industry; a plain one for those that sites add."""
    shown = f"{kind}/{name.lower()}.svg"
    return shown if (STATIC / shown).is_file() else "plain.svg"


def install_hint(catalogue: Catalogue, analysis: Analysis) -> str:
    """What to install where it cannot run here; "" where it can, or nobody knows."""
    package = analysis.probe.package if analysis.probe else ""
    installed = catalogue.present(analysis).installed
    return "" if installed or not package else f"apt install {package}"


def encode_analysis(catalogue: Catalogue, analysis: Analysis, base: str) -> dict[str, Any]:
    core_types = [core_type.code for core_type in catalogue.core_types]
    return {
        "code": analysis.code,
        "name": analysis.name,
        "description": analysis.description,
        "vendorName": analysis.vendor,
        "pricing": "",
        "thumbnail": f"{base}/static/{_picture('analyses', analysis.code)}",
        "industries": [
            {"name": name, "icon": f"{base}/static/{_picture('industries', name)}"}
            for name in analysis.industries
        ],
        "hasRescaleLicense": False,
        "hasShortTermLicense": False,
        "licenseSettings": [
            {
                "name": setting.name,
                "label": setting.label,
                "licenseType": setting.license_type,
                "isServer": setting.is_server,
                "helpText": setting.help_text,
            }
            for setting in analysis.license_settings
        ],
        "optimizerType": None,
        "resources": [],
        "supportDesks": [],
        "versions": [
            {
                "id": listed.version.code,
                "version": listed.version.name,
                "versionCode": listed.version.code,
                "aliasOf": listed.alias_of,
                "eula": None,
                "allowedCoreTypes": core_types,
                "stdCommand": analysis.std_command,
                "smpCommand": analysis.smp_command,
                "mpiCommand": analysis.mpi_command,
            }
            for listed in catalogue.versions(analysis)
        ],
        # Ours: whether it can run here, and what to install where it cannot.
        "installed": catalogue.present(analysis).installed,
        "installHint": install_hint(catalogue, analysis),
    }


def encode_core_type(core_type: CoreType) -> dict[str, Any]:
    gpus = core_type.gpus or (0,) * len(core_type.cores)
    return {
        "code": core_type.code,
        "name": core_type.name,
        "displayOrder": core_type.display_order,
        "isDeprecated": False,
        "isPrimary": core_type.primary,
        "isActive": True,
        "price": core_type.price,
        "lowPriorityPrice": f"{core_type.low_priority_price:.3f}",
        "compute": None,
        "memory": core_type.memory_mb,
        "storage": core_type.storage_gb,
        "io": "",
        "storageIo": "",
        "hasSsd": True,
        "cores": list(core_type.cores),
        "gpuCounts": [float(n) for n in gpus],
        "categoryCodes": list(core_type.categories),
        "processorInfo": core_type.processor,
        "remoteVizAllowed": False,
        "walltimeRequired": False,
        "mustBeRequested": False,
        "requiresTempSshAuth": False,
        "features": [],
        "description": core_type.description,
    }


@route(
    "GET",
    "/api/v2/analyses/",
    "The software that jobs can use",
    *PAGE,
    reply=page_of(ANALYSIS),
    v3=True,
)
async def list_analyses(request: Request) -> Response:
    catalogue, base = await catalogue_of(site_of(request)), base_url(request)
    page, found = paging.cut(paging.asked(request), catalogue.analyses)
    encode = partial(encode_analysis, catalogue, base=base)
    return reply(paging.envelope(request, page, found, encode))


@route("GET", "/api/v2/analyses/{code}/", "One analysis", reply=ANALYSIS, v3=True)
async def get_analysis(request: Request, code: str) -> Response:
    catalogue = await catalogue_of(site_of(request))
    analysis = catalogue.analysis(code)
    if analysis is None:
        raise NotFound
    return reply(encode_analysis(catalogue, analysis, base_url(request)))


@route(
    "GET",
    "/api/v2/coretypes/",
    "The kinds of cores that jobs can ask for",
    *PAGE,
    query("isActive", "`true`: only active core types; all of them are."),
    reply=page_of(CORE_TYPE),
    v3=True,
)
async def list_core_types(request: Request) -> Response:
    catalogue = await catalogue_of(site_of(request))
    every = catalogue.core_types
    if request.query_params.get("isActive", "").lower() in ("false", "0"):
        every = ()
    page, found = paging.cut(paging.asked(request), every)
    return reply(paging.envelope(request, page, found, encode_core_type))


@route(
    "GET",
    "/api/v2/billing/computeprices/",
    "What cores cost in an hour",
    reply=array(
        object_(
            "ComputePrice",
            coreType=text("emerald"),
            planType=choice("on-demand", "low-priority"),
            os=choice("linux"),
            isActive=flag(True),
            value=fields(amount=text("0.100")),
        )
    ),
)
async def list_prices(request: Request) -> Response:
    catalogue = await catalogue_of(site_of(request))
    return reply(
        [
            {
                "coreType": core_type.code,
                "planType": plan,
                "os": "linux",
                "isActive": True,
                "value": {"amount": f"{price:.3f}"},
            }
            for core_type in catalogue.core_types
            for plan, price in (
                ("on-demand", core_type.price),
                ("low-priority", core_type.low_priority_price),
            )
        ]
    )
