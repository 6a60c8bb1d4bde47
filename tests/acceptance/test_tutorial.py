"""The job creation tutorial, step by step, on a real server (api-v2 reference, section 15)."""

import hashlib
import io
import zipfile
from typing import Any

import pytest

from golden import TUTORIAL, same_shape
from harness import Client, wait_for

# What the tutorial's case comes to without a solver: the same steps, in a second. The real case
# runs in external/test_solvers.py and in `make demo`.
ALLRUN = b"""#!/bin/sh
cd "${0%/*}" || exit
. "${WM_PROJECT_DIR:?}/bin/tools/RunFunctions"
echo "application $(getApplication)"
mkdir -p 100 && echo "field" > 100/U
"""


@pytest.fixture(scope="module")
def case() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        info = zipfile.ZipInfo("airFoil2D/Allrun")  # no mode, as from Windows
        archive.writestr(info, ALLRUN)
        archive.writestr("airFoil2D/system/controlDict", "application simpleFoam;\n")
    return content.getvalue()


def tutorial_job(file_id: str) -> dict[str, Any]:
    return {
        "name": "Basic Job",
        "jobanalyses": [
            {
                "useMpi": False,
                "command": "./airFoil2D/Allrun",
                "analysis": {"code": "openfoam", "version": "2.3.0-openmpi"},
                "hardware": {"coresPerSlot": 1, "slots": 1, "coreType": "standard-plus"},
                "inputFiles": [{"id": file_id}],
            }
        ],
    }


@pytest.mark.openfoam
def test_the_tutorial(client: Client, case: bytes) -> None:
    # Uploading your data
    file = client.upload("airfoil2d.zip", case)
    same_shape(TUTORIAL["file"], file)
    assert file["typeId"] == 1
    assert file["name"] == file["relativePath"] == "airfoil2d.zip"
    assert file["isUploaded"] is True
    assert file["viewInBrowser"] is False
    assert file["md5"] == hashlib.md5(case).hexdigest()
    assert file["decryptedSize"] == len(case)

    # Choosing an analysis
    page = client.get("analyses/?page_size=100")
    same_shape(TUTORIAL["page"], page)
    analyses = {entry["code"]: entry for entry in page["results"]}
    same_shape(TUTORIAL["analysis"], analyses["openfoam"])
    versions = {v["versionCode"]: v for v in analyses["openfoam"]["versions"]}
    assert "standard-plus" in versions["2.3.0-openmpi"]["allowedCoreTypes"]

    # Setting up your job
    body = tutorial_job(file["id"])
    body["jobanalyses"][0]["command"] = "sleep 1; ./airFoil2D/Allrun"
    job = client.call("POST", "jobs/", 201, json=body).json()
    same_shape(TUTORIAL["job"], job)
    sent, got = body["jobanalyses"][0], job["jobanalyses"][0]
    assert got["command"] == sent["command"]
    assert got["inputFiles"][0]["id"] == file["id"]
    assert got["hardware"]["coreSummary"] == {
        "numberOfNodes": 1,
        "memoryPerNode": 3750,
        "storagePerNode": 4000,
    }
    assert job["resourceFilters"] == TUTORIAL["job"]["resourceFilters"]
    same_shape(TUTORIAL["job"], client.get(f"jobs/{job['id']}/"))

    # Submitting your job
    assert client.get(f"jobs/{job['id']}/statuses/")["count"] == 0
    reply = client.call("POST", f"jobs/{job['id']}/submit/", 200)
    assert reply.content == b""
    statuses = client.get(f"jobs/{job['id']}/statuses/")
    assert statuses["results"][-1]["status"] == "Pending"

    # Monitoring your job: newest first, and POST answers as GET does
    wait_for(lambda: client.status(job["id"]) == "Executing", "Executing")
    statuses = client.get(f"jobs/{job['id']}/statuses/")
    same_shape(TUTORIAL["page"], statuses)
    same_shape(TUTORIAL["status"], statuses["results"][0])
    assert [entry["status"] for entry in statuses["results"]] == [
        "Executing",
        "Validated",
        "Started",
        "Queued",
        "Pending",
    ]
    assert client.call("POST", f"jobs/{job['id']}/statuses/", 200).json() == statuses

    # Getting results: one run
    runs = client.get(f"jobs/{job['id']}/runs/")
    assert runs["count"] == 1
    same_shape(TUTORIAL["run_executing"], runs["results"][0])
    assert runs["results"][0]["id"] == "1"
    assert runs["results"][0]["outputFileCount"] == 0

    assert client.finished(job["id"]) == "Completed successfully"
    run = client.get(f"jobs/{job['id']}/runs/1/")
    assert run["dateCompleted"] is not None

    # File download
    files = client.get(f"jobs/{job['id']}/files/?page_size=100")["results"]
    assert files == client.get(f"jobs/{job['id']}/runs/1/files/?page_size=100")["results"]
    assert run["outputFileCount"] == len(files)
    assert run["outputFileSize"] == sum(f["decryptedSize"] for f in files)
    by_path = {entry["relativePath"]: entry for entry in files}
    assert set(by_path) == {
        "airfoil2d.zip",
        "airFoil2D/100/U",
        "airFoil2D/Allrun",
        "airFoil2D/system/controlDict",
        "process_output.log",
    }
    log = client.call("GET", f"files/{by_path['process_output.log']['id']}/contents/", 200)
    assert "application simpleFoam" in log.text
    for entry in files:
        content = client.call("GET", entry["downloadUrl"], 200).content
        assert hashlib.md5(content).hexdigest() == entry["md5"]
        assert hashlib.sha512(content).hexdigest() == entry["fileChecksums"][0]["fileHash"]
        assert entry["typeId"] == 5


@pytest.mark.openfoam
def test_every_step_through_the_unversioned_alias_and_without_slashes(
    client: Client, case: bytes
) -> None:
    host = client.base.removesuffix("api/v2/")

    def call(method: str, path: str, expect: int, **options: Any) -> Any:
        return client.call(method, f"{host}api/{path}", expect, **options)

    upload = call("PUT", "files/contents", 201, files={"file": ("a.zip", case)}).json()
    assert call("GET", "analyses", 200).json()["count"] > 0
    body = tutorial_job(upload["id"])
    job = call("POST", "jobs", 201, json=body).json()
    call("POST", f"jobs/{job['id']}/submit", 200)
    assert client.finished(job["id"]) == "Completed successfully"
    assert call("GET", f"jobs/{job['id']}/statuses", 200).json()["count"] == 6
    assert call("GET", f"jobs/{job['id']}/runs", 200).json()["count"] == 1
    files = call("GET", f"jobs/{job['id']}/files", 200).json()["results"]
    assert call("GET", f"files/{files[0]['id']}/contents", 200).content
