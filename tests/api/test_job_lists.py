"""Filters of the list of jobs (api-v2 reference, 4.2 and 9.2)."""

from collections.abc import Iterator

import pytest

from harness import Client, RunningServer, pages, wait_for

NAMES = ["draft one", "draft two", "failed", "waits", "runs", "done one", "Done 100%"]
DRAFTS, OVER, ALIVE = NAMES[1::-1], [NAMES[6], NAMES[5], NAMES[2]], ["runs", "waits"]


@pytest.fixture(scope="module")
def somebody(server: RunningServer) -> Iterator[Client]:
    """Somebody whose newest jobs are those of NAMES, the last first."""
    client = server.somebody()
    ids = {}
    for name in NAMES:
        hold = {"runs": "sleep 600", "failed": "false"}.get(name, "true")
        cores = 4 if name in ("runs", "waits") else 1
        ids[name] = client.create(hold, cores=cores, job={"name": name})["id"]
    for name in ("failed", "done one", "Done 100%"):
        client.submit(ids[name])
    for name in ("failed", "done one", "Done 100%"):
        client.finished(ids[name])
    client.submit(ids["runs"])
    wait_for(lambda: client.status(ids["runs"]) == "Executing", "Executing")
    client.submit(ids["waits"])
    wait_for(lambda: client.status(ids["waits"]) == "Queued", "Queued")
    yield client
    for name in ("waits", "runs"):
        client.call("POST", f"jobs/{ids[name]}/stop/", 202)
        client.finished(ids[name])


ALL = NAMES[::-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("state=completed", OVER),
        ("state=not_completed", [*ALIVE, *DRAFTS]),
        ("job_status=COMPLETED", OVER),
        ("job_status=completed", OVER),
        ("job_status=EXECUTING", ["runs"]),
        ("job_status=QUEUED", ["waits"]),
        *((f"job_status={code}", []) for code in ("PENDING", "STARTED", "VALIDATED", "STOPPING")),
        # Words that are never said here: nothing is in that state.
        *((f"job_status={code}", []) for code in ("WAITING_FOR_QUEUE", "WAITING_FOR_CLUSTER")),
        ("job_status=FORCE_STOP", []),
        ("t=1", ALIVE),
        ("t=0", ALL),
        ("t=1&state=completed", []),
        ("t=1&state=not_completed", ALIVE),
        ("t=1&job_status=QUEUED", ["waits"]),
        ("state=completed&job_status=COMPLETED", OVER),
        ("state=not_completed&job_status=COMPLETED", []),
        ("state=not_completed&job_status=EXECUTING", ["runs"]),
        ("state=completed&job_status=EXECUTING", []),
        ("search=DONE", ["Done 100%", "done one"]),
        ("search=%20one", ["done one", "draft one"]),
        ("search=%25", ["Done 100%"]),
        ("search=_", []),
        ("search=+one&state=completed", ["done one"]),
        ("search=+one&state=not_completed", ["draft one"]),
        ("search=w&t=1", ["waits"]),
        ("search=d&job_status=COMPLETED", OVER),
        # What is not known is passed over.
        ("state=broken", ALL),
        ("state=", ALL),
        ("job_status=NONSENSE", ALL),
        ("job_status=", ALL),
        ("ordering=-dateInserted&other=1", ALL),
    ],
)
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_filters(somebody: Client, version: str, query: str, expected: list[str]) -> None:
    found = list(pages(somebody, f"/api/{version}/jobs/?page_size=2&{query}"))
    assert [job["name"] for page in found for job in page["results"]] == expected
    assert {page["count"] for page in found} == {len(expected)}
    assert all(query.replace("%20", "+") in page["next"] for page in found[:-1])
    last = somebody.get(f"/api/{version}/jobs/?page_size=2&{query}&page=last")
    assert last["results"] == found[-1]["results"]
    beyond = f"/api/{version}/jobs/?page_size=2&{query}&page={len(found) + 1}"
    assert somebody.get(beyond, 404) == {"detail": "Invalid page."}
