"""Analyses and core types (api-v2 reference, section 3)."""

from functools import cache
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import paging
from simyard.api.replies import STATIC, base_url, reply
from simyard.api.routes import PAGE, Routes, query, site_of
from simyard.domain.catalogue import Analysis, Catalogue, CoreType
from simyard.service.site import Site

route = Routes("catalogue")


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


def encode_analysis(catalogue: Catalogue, analysis: Analysis, base: str) -> dict[str, Any]:
    core_types = [core_type.code for core_type in catalogue.core_types]
    present = catalogue.present(analysis)
    package = analysis.probe.package if analysis.probe else ""
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
        "licenseSettings": [],
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
        "installed": present.installed,
        "installHint": "" if present.installed or not package else f"apt install {package}",
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


@route("GET", "/api/v2/analyses/", "The software that jobs can use", *PAGE)
async def list_analyses(request: Request) -> Response:
    page, catalogue = paging.asked(request), await catalogue_of(site_of(request))

    def find(offset: int, size: int) -> tuple[int, list[Analysis]]:
        return len(catalogue.analyses), list(catalogue.analyses[offset : offset + size])

    page, count, found = paging.fetch(page, find)
    base = base_url(request)
    results = [encode_analysis(catalogue, analysis, base) for analysis in found]
    return reply(paging.envelope(request, page, count, results))


@route(
    "GET",
    "/api/v2/coretypes/",
    "The kinds of cores that jobs can ask for",
    *PAGE,
    query("isActive", "Only active core types."),
)
async def list_core_types(request: Request) -> Response:
    page, catalogue = paging.asked(request), await catalogue_of(site_of(request))

    def find(offset: int, size: int) -> tuple[int, list[CoreType]]:
        return len(catalogue.core_types), list(catalogue.core_types[offset : offset + size])

    page, count, found = paging.fetch(page, find)
    results = [encode_core_type(core_type) for core_type in found]
    return reply(paging.envelope(request, page, count, results))
