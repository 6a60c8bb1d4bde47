"""Lines of the compatibility table that no story of the other tests comes by: every field that may
be sent, in every place that takes it, and every parameter of every list.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import claims
from harness import Client, RunningServer

ANALYSIS: dict[str, Any] = {
    "analysis": {"code": "user_included", "version": "0"},
    "command": "true",
    "useMpi": True,
    "envVars": {"OMP_NUM_THREADS": "1"},
    "flags": {"igCv": True, "runForever": True},
    "useRescaleLicense": True,
    "onDemandLicenseSeller": {"code": "vendor", "name": "A vendor"},
    "userDefinedLicenseSettings": {
        "featureSets": [
            {"name": "USER_SPECIFIED_0", "features": [{"name": "solver_hpc", "count": 4}]}
        ]
    },
    "preProcessScriptCommand": "true",
    "postProcessScriptCommand": "true",
}
HARDWARE: dict[str, Any] = {
    "coresPerSlot": 1,
    "slots": 2,
    "walltime": 2,
    "type": "compute",
    "isReusable": True,
}
JOB: dict[str, Any] = {
    "name": "Cavity",
    "description": "Lid driven",
    "isLowPriority": True,
    "billingPriorityValue": "ON_DEMAND",
    "project_id": None,
    "projectId": None,
    "tags": ["cfd"],
    "userTags": ["cfd"],
    "clonedFrom": "QTVia",
    "folderId": "fOldrA",
    "cidrRule": "192.0.2.0/24",
    "publicKey": "ssh-ed25519 AAAA",
    "sshPort": 22,
    "autoTerminateCluster": False,
    "clusterId": "cLstRa",
    "isTemplate": True,
    "templatedFrom": "QTVia",
    "inputFileParseTask": "parse",
    "archiveFilters": [{"selector": "*.bak"}],
    "resourceFilters": [
        {
            "filterType": "Input files",
            "selector": "Input files",
            "include": True,
            "caseSensitive": True,
        }
    ],
    "isTemplateDryRun": True,
    "includeNominalRun": True,
    "monteCarloIterations": 3,
    "optimizer": None,
    "remoteVizConfig": {"code": "4-cores"},
    "seed": 5,
    "jobvariables": [
        {
            "name": name,
            "variableType": kind,
            "displayOrder": order,
            "valueGeneratorType": generator,
            "valueGeneratorSettings": settings,
        }
        for order, (name, kind, generator, settings) in enumerate(
            [
                ("a", "Param", "", {"nominal": 1}),
                ("c", "Case", "", {"nominal": 2}),
                ("r", "Param", "Normal", {"mean": 1, "standardDeviation": 2}),
                ("Cd", "Output", "", {}),
            ]
        )
    ],
    "jobAutomations": [{"automation": {"id": "aUtoMx"}, "environmentVariables": {"FIELD": "p"}}],
}
# Kept and shown in other words than they were sent in.
_NOT_AS_SENT = {"project_id"}


def _full(client: Client, *, v3: bool) -> dict[str, Any]:
    """A job with every field that may be sent."""
    file, before, after = (client.upload(f"{name}.sh", b"true\n") for name in "abc")
    analysis = copy.deepcopy(ANALYSIS)
    analysis["hardware"] = {"coreType": {"code": "emerald"} if v3 else "emerald", **HARDWARE}
    analysis["inputFiles"] = [{"id": file["id"], "decompress": False}]
    analysis["preProcessScript"] = {"id": before["id"]}
    analysis["postProcessScript"] = {"id": after["id"]}
    template = client.upload("in.template", b"${a} ${c} ${r}\n")
    target = {"processedFilename": "case/in", "unknown": "keep"}
    analysis["templateTasks"] = [{"templateFile": {"id": template["id"]}, **target}]
    tables = {
        name: {"id": client.upload(f"{name}.csv", content)["id"]}
        for name, content in (("paramFile", b"a\n1\n2\n"), ("caseFile", b"c\n3\n"))
    }
    return {**copy.deepcopy(JOB), **tables, "jobanalyses": [analysis]}


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_variables_of_a_run(client: Client, version: str) -> None:
    table = client.upload("runs.csv", b"n\n2.50\n")["id"]
    job = client.run("true", job={"paramFile": {"id": table}})["id"]
    told = [{"name": "n", "value": 2.5, "displayValue": "2.50", "isRelative": False}]
    place = f"/api/{version}/jobs/{job}/runs/"
    assert client.get(place)["results"][0]["variables"] == told
    assert client.get(f"{place}1/")["variables"] == told


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_an_optimizer_is_kept(client: Client, version: str) -> None:
    jobs, body = f"/api/{version}/jobs/", _full(client, v3=version == "v3")
    body["optimizer"] = {"method": "external"}
    body.update(paramFile=None, caseFile=None, monteCarloIterations=None, includeNominalRun=False)
    body["jobvariables"] = [
        {**body["jobvariables"][0], "variableType": "Design", "valueGeneratorSettings": {}}
    ]
    made = client.call("POST", jobs, 201, json=body).json()
    assert made["optimizer"] == {"method": "external"}
    body["optimizer"] = None
    spelled = {"variableType": "Param", "variableGeneratorType": "FixedRange"}
    values = {"minvalue": 1, "maxvalue": 3, "increment": 1}
    body["jobvariables"] = [{"name": "n", "valueGeneratorSettings": values, **spelled}]
    for method in ("PUT", "PATCH"):
        changed = client.call(method, f"{jobs}{made['id']}/", 200, json=body).json()
        assert changed["optimizer"] is None
        assert changed["jobvariables"][0]["valueGeneratorType"] == "FixedRange"
        assert changed["expectedRuns"] == 3
    made = client.call("POST", jobs, 201, json=body).json()
    assert made["jobvariables"][0]["valueGeneratorSettings"] == values


def _kept(sent: Any, shown: Any, at: str = "job") -> None:
    """Every field that was sent is in the reply with the same value."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            if key not in _NOT_AS_SENT:
                assert key in shown, f"{at}.{key}"
                _kept(value, shown[key], f"{at}.{key}")
    elif isinstance(sent, list):
        assert len(sent) == len(shown), at
        for i, (one, other) in enumerate(zip(sent, shown, strict=True)):
            _kept(one, other, f"{at}[{i}]")
    else:
        assert sent == shown, at


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_every_field_of_a_job_is_kept(client: Client, version: str) -> None:
    jobs, body = f"/api/{version}/jobs/", _full(client, v3=version == "v3")
    made = client.call("POST", jobs, 201, json=body).json()
    _kept(body, made)
    place = f"{jobs}{made['id']}/"
    assert client.get(place) == made
    body["name"] = "Changed"
    _kept(body, client.call("PATCH", place, 200, json=body).json())
    other = _full(client, v3=version == "v3")
    changed = client.call("PUT", place, 200, json=other).json()
    _kept(other, changed)
    assert client.get(place) == changed
    assert client.get(place)["jobanalyses"][0]["inputFiles"][0]["decompress"] is False


@pytest.mark.parametrize("path", ["/api/v2/files/contents/", "/api/v3/files/contents/"])
@pytest.mark.parametrize("spelling", ["type_id", "typeId"])
def test_the_type_of_an_upload_by_put(client: Client, path: str, spelling: str) -> None:
    files = {"file": ("a.csv", b"a,b\n1,2\n")}
    reply = client.call("PUT", path, 201, files=files, data={spelling: "3"}).json()
    assert reply["typeId"] == 3
    assert client.get(f"files/{reply['id']}/")["typeId"] == 3


# --- lists ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def values(client: Client) -> dict[str, str]:
    """Parameters of paths for which every list has an answer."""
    file = client.upload("listed.txt", b"x")
    job = client.run("echo hi", inputs=[file["id"]])["id"]
    return {
        "job_id": job,
        "run_id": "1",
        "cluster_id": client.get(f"jobs/{job}/clusters/")["results"][0]["id"],
        "folder_id": client.get("/api/v3/users/me/folders/")["myLibrary"],
        "file_id": file["id"],
        "org": "simyard",
        "workspace_id": "01-0001",
        "code": "user_included",
    }


def _pages() -> Iterator[tuple[str, str]]:
    for (method, path), operation in claims.operations().items():
        parameters = {one["name"] for one in operation.parameters}
        # Those of a study's table are turned in test_study_answers.py.
        if "page" in parameters and operation.right != "admin" and "/study/" not in path:
            yield method, path


@pytest.mark.parametrize(("method", "path"), list(_pages()))
def test_pages_of_every_list(
    client: Client, values: dict[str, str], method: str, path: str
) -> None:
    place = path.format_map(values)
    first = client.call(method, place, 200, params={"page": "1", "page_size": "1"}).json()
    assert len(first["results"]) == min(first["count"], 1)
    assert (first["next"] is None) is (first["count"] <= 1)
    assert first["previous"] is None
    if first["next"]:
        second = client.call(method, first["next"], 200).json()
        assert second["results"] != first["results"]
        assert second["previous"]
    last = client.call(method, place, 200, params={"page": "last", "page_size": "1"}).json()
    assert last["next"] is None
    for page in ("0", "x", str(first["count"] + 2)):
        reply = client.call(method, place, 404, params={"page": page, "page_size": "1"})
        assert reply.json() == {"detail": "Invalid page."}


@pytest.mark.parametrize(
    ("path", "query", "check"),
    [
        ("/api/v3/jobs/{job_id}/files/", {"search": "output.log"}, lambda page: page["count"] == 1),
        ("/api/v3/jobs/{job_id}/files/", {"search": "nowhere"}, lambda page: page["count"] == 0),
        ("/api/v3/jobs/{job_id}/logs/", {"limit": "2"}, lambda page: len(page["results"]) == 2),
        ("/api/v2/jobs/{job_id}/logs/", {"limit": "3"}, lambda page: len(page["results"]) == 3),
        ("/api/v3/files/", {"search": "listed.t"}, lambda page: page["count"] >= 1),
        ("/api/v3/files/", {"search": "no such name"}, lambda page: page["count"] == 0),
        ("/api/v3/files/", {"limit": "1", "owner": "1"}, lambda page: len(page["results"]) == 1),
        (
            "/api/v3/files/",
            {"ordering": "-dateUploaded"},
            lambda page: page["results"] == _newest_first(page["results"], "dateUploaded"),
        ),
        (
            "/api/v3/jobs/",
            {"ordering": "-dateInserted"},
            lambda page: page["results"] == _newest_first(page["results"], "dateInserted"),
        ),
        ("/api/v2/coretypes/", {"isActive": "true"}, lambda page: page["count"] > 30),
        ("/api/v3/coretypes/", {"isActive": "false"}, lambda page: page["count"] == 0),
        ("/api/v2/storage-devices/", {"active": "true"}, lambda page: page["results"] == []),
        ("/api/v3/storage-devices/", {"active": "true"}, lambda page: page["results"] == []),
    ],
)
def test_parameters_of_lists(
    client: Client,
    values: dict[str, str],
    path: str,
    query: dict[str, str],
    check: Callable[[Any], bool],
) -> None:
    assert check(client.get(path.format_map(values), params=query))


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_load_as_a_task_whatever_is_asked(
    client: Client, values: dict[str, str], version: str
) -> None:
    query = {"offset": "0", "period": "60", "p": "1"}
    place = f"/api/{version}/jobs/{values['job_id']}/servers/load/"
    handle = client.get(place, params=query)
    assert client.get(f"/api/{version}/tasks/{handle['token']}/")["ready"] is True


def test_one_analysis_with_its_industries(client: Client) -> None:
    found = client.get("analyses/openfoam/")
    assert found["code"] == "openfoam"
    assert all(one["name"] and one["icon"] for one in found["industries"])
    assert found["industries"]


def _newest_first(results: list[Any], field: str) -> list[Any]:
    return sorted(results, key=lambda one: str(one[field]), reverse=True)


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_file_is_put_into_a_folder(
    client: Client, values: dict[str, str], method: str, version: str
) -> None:
    name = {"name": f"every line {method} {version}"}
    made = client.call("POST", f"/api/v3/folders/{values['folder_id']}/", 201, json=name).json()
    file = client.upload("moved.txt", b"x")["id"]
    body = {"name": "moved.txt", "typeId": 1, "currentFolderId": made["id"]}
    client.call(method, f"/api/{version}/files/{file}/", 200, json=body)
    (entry,) = client.get(f"/api/v3/folders/{made['id']}/contents/")["results"]
    assert entry["item"]["id"] == file


# --- analyses with licences -----------------------------------------------------------------------

LICENSED = """
code = "licensed"
name = "A licensed code"
description = ""
version_code = "{version}"
version_name = "{version}"
default_version = "1"
std_command = "true"

[[license_settings]]
name = "LM_LICENSE_FILE"
label = "License server"
license_type = "Flex"
is_server = true
help_text = "[port]@host of the licence server"
"""


def test_what_a_licensed_analysis_asks_for(fresh: Callable[..., RunningServer]) -> None:
    server = fresh()
    folder: Path = server.data / "catalogue"
    folder.mkdir()
    (folder / "licensed.toml").write_text(LICENSED)
    client = server.start().client()
    setting = {
        "name": "LM_LICENSE_FILE",
        "label": "License server",
        "licenseType": "Flex",
        "isServer": True,
        "helpText": "[port]@host of the licence server",
    }
    assert client.get("analyses/licensed/")["licenseSettings"] == [setting]
    every = client.get("analyses/?page_size=200")["results"]
    found = next(analysis for analysis in every if analysis["code"] == "licensed")
    assert found["licenseSettings"] == [setting]
