"""How much of the site each user and each project may have: storage, jobs, core-hours
(docs/extensions.md).
"""

import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from harness import CONFIG, Client, RunningServer, definition, wait_for

Fresh = Callable[..., RunningServer]

MAY_STORE = 1_000_000
MAY_USE = 200  # core-hours
LIMITS = (
    f"user_storage_bytes = {MAY_STORE}\nuser_jobs_running_most = 1\nuser_jobs_queued_most = 3\n"
    f"user_core_hours_per_month = {MAY_USE}\n"
)
BILLING = "organizations/simyard/workspaces/01-0001/billing/"
SLEEP = "sleep 600"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("quotas") / "data", CONFIG + LIMITS).start()
    yield server
    wrong = server.miscounted()
    server.end_everything()
    assert "Traceback" not in server.log(), server.log()
    assert not wrong, wrong


@pytest.fixture
def client(limited: RunningServer) -> Client:
    return limited.somebody()


@pytest.fixture
def admin(limited: RunningServer) -> Client:
    return limited.client((limited.data / "admin.key").read_text().strip())


def limits(client: Client) -> dict[str, Any]:
    return dict(client.get("users/me/")["limits"])


def stored(client: Client) -> int:
    return int(limits(client)["storageBytes"]["used"])


def hour(cores: int = 1, walltime: int = 1, **changes: Any) -> dict[str, Any]:
    """The definition of a job that reserves so many core-hours."""
    hardware = {"coreType": "emerald", "coresPerSlot": cores, "walltime": walltime}
    return definition(SLEEP, hardware=hardware, job=changes)


def drafts(client: Client, count: int, body: dict[str, Any]) -> list[str]:
    return [client.call("POST", "jobs/", 201, json=body).json()["id"] for _ in range(count)]


def refused(client: Client, job: str) -> str:
    """Why a job may not be submitted."""
    return str(client.call("POST", f"jobs/{job}/submit/", 400).json()["detail"])


def stop(client: Client, *jobs: str) -> None:
    for job in jobs:
        client.call("POST", f"jobs/{job}/stop/", 202)
    for job in jobs:
        client.finished(job)


def notices(client: Client, job: str) -> dict[str, str]:
    return {one["code"]: one["message"] for one in client.get(f"jobs/{job}/")["notices"]}


def test_nobody_is_limited_where_the_site_does_not_say_so(server: RunningServer) -> None:
    client = server.somebody()
    client.upload("some.bin", b"12345")
    nothing = {"used": 0, "limit": None}
    assert limits(client) == {
        "storageBytes": {"used": 5, "limit": None},
        "jobsRunning": nothing,
        "jobsQueued": nothing,
        "coreHours": {"used": 0, "reserved": 0, "limit": None},
    }
    assert client.get("/api/v3/users/me/")["limits"] == limits(client)


# --- storage --------------------------------------------------------------------------------------


def too_much(client: Client, size: int, used: int) -> None:
    reply = client.call("POST", "files/contents/", 413, files={"file": ("more", bytes(size))})
    assert reply.json() == {
        "detail": f"The file does not fit: {used} of the {MAY_STORE} bytes that you may store"
        f" (user_storage_bytes) are used, so there is room for {MAY_STORE - used}."
        " Delete files, those in the trash too."
    }
    assert stored(client) == used


def test_uploads_fill_the_quota_to_the_last_byte(client: Client) -> None:
    first = client.upload("first", bytes(400_000))
    client.upload("second", bytes(599_999))
    too_much(client, 2, 999_999)
    client.upload("third", b"x")
    client.upload("empty", b"")
    assert limits(client)["storageBytes"] == {"used": MAY_STORE, "limit": MAY_STORE}
    too_much(client, 1, MAY_STORE)
    client.call("DELETE", f"files/{first['id']}/", 204)
    too_much(client, 400_001, 600_000)
    client.upload("fourth", bytes(400_000))


def begun(client: Client, length: str) -> socket.socket:
    """A connection on which an upload of this length (a header) has begun."""
    place = urlsplit(client.base)
    assert place.hostname and place.port
    connection = socket.create_connection((place.hostname, place.port), timeout=10)
    head = (
        f"POST /api/v2/files/contents/ HTTP/1.1\r\nHost: here\r\n{length}\r\n"
        f"Authorization: Token {client.key}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def test_an_announced_upload_is_refused_before_a_byte_of_it_is_read(client: Client) -> None:
    with begun(client, "Content-Length: 50000000") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_an_upload_that_does_not_tell_its_size_is_refused_once_it_is_too_much(
    client: Client,
) -> None:
    def chunk(content: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(content), content)

    with begun(client, "Transfer-Encoding: chunked") as connection:
        disposition = b'Content-Disposition: form-data; name="file"; filename="f"'
        connection.sendall(chunk(b"--b\r\n" + disposition + b"\r\n\r\n"))
        for _ in range(11):
            connection.sendall(chunk(bytes(100_000)))
        # The end of it was never sent.
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert (stored(client), client.get("files/")["count"]) == (0, 0)


def test_uploads_at_the_same_time_do_not_exceed_it_together(client: Client) -> None:
    def upload(n: int) -> int:
        with httpx.Client(base_url=client.base, headers=client.http.headers, timeout=30) as http:
            files = {"file": (f"{n}", bytes(300_000))}
            return http.post("files/contents/", files=files).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(upload, range(8))) == [201] * 3 + [413] * 5
    assert stored(client) == 900_000
    assert client.get("files/")["count"] == 3


def test_a_repeated_upload_takes_nothing_more(client: Client) -> None:
    """A client that lost the reply asks again, and it may be the last that fits."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    file = client.upload("once", bytes(700_000), **key)
    assert client.upload("once", bytes(700_000), **key)["id"] == file["id"]
    assert stored(client) == 700_000
    client.call("POST", "files/contents/", 422, headers=key, files={"file": ("o", bytes(700_000))})


def test_outputs_are_kept_beyond_the_quota_and_the_user_is_told(client: Client) -> None:
    job = client.run("head -c 1500000 /dev/zero > large.bin")["id"]
    assert client.statuses(job)[0]["statusReason"] == "Completed successfully"
    used = stored(client)
    log = len(client.log_of(job).encode())
    assert used == 1_500_000 + log
    assert notices(client, job)["storage-quota"] == (
        f"All outputs were stored. With them your files took {used} bytes, and they may take"
        f" {MAY_STORE} (user_storage_bytes): you can upload and submit again once you have deleted"
        " some, those in the trash too."
    )
    client.call("POST", "files/contents/", 413, files={"file": ("more", b"x")})
    again = client.create()["id"]
    assert refused(client, again) == (
        f"Your files take {used} bytes and may take {MAY_STORE} (user_storage_bytes)."
        " Delete some, those in the trash too."
    )
    assert client.status(again) == ""
    client.call("DELETE", f"jobs/{job}/", 204)
    assert stored(client) == 0
    client.submit(again)
    client.finished(again)
    assert "storage-quota" not in notices(client, again)


def test_somebody_who_has_too_much_gets_no_further_snapshots(client: Client) -> None:
    body = hour()
    command = "head -c 1200000 /dev/urandom > large.bin; touch ready; sleep 600"
    body["jobanalyses"][0]["command"] = command
    (job,) = drafts(client, 1, body)
    client.submit(job)
    ready = f"jobs/{job}/runs/1/tail/ready"
    wait_for(lambda: client.http.get(ready).status_code == 200, "ready")
    snapshot = f"jobs/{job}/runs/1/snapshot/"
    client.call("POST", snapshot, 200)
    wait_for(lambda: stored(client) > MAY_STORE, "the snapshot")
    told = client.call("POST", snapshot, 400).json()["detail"]
    assert told.endswith("(user_storage_bytes). Delete some, those in the trash too.")
    stop(client, job)
    client.call("DELETE", f"jobs/{job}/", 204)
    assert stored(client) == 0


def test_the_same_content_of_a_job_counts_once(client: Client) -> None:
    file = client.upload("input.bin", bytes(200_000))
    jobs = [client.run("cp input.bin copy.bin", inputs=[file["id"]])["id"] for _ in range(2)]
    logs = sum(len(client.log_of(job).encode()) for job in jobs)
    assert stored(client) == 200_000 + logs, "input, two outputs and two copies of it are one blob"
    client.call("DELETE", f"files/{file['id']}/", 204)
    assert stored(client) == 200_000 + logs, "the outputs still show it"
    client.call("DELETE", f"jobs/{jobs[0]}/", 204)
    client.call("DELETE", f"jobs/{jobs[1]}/", 204)
    assert stored(client) == 0


def test_the_trash_counts_until_it_is_emptied(client: Client) -> None:
    library = client.get("/api/v3/users/me/folders/")["myLibrary"]
    folder = client.call("POST", f"/api/v3/folders/{library}/", 201, json={"name": "f"}).json()[
        "id"
    ]
    first, second = (client.upload(name, bytes(300_000))["id"] for name in ("a", "b"))
    client.call("PATCH", f"files/{first}/", 200, json={"currentFolderId": folder})
    archive = f"/api/v3/folders/{library}/contents/archive/"
    client.call("POST", archive, 204, json={"fileIds": [second], "folderIds": [folder]})
    assert client.get("files/")["count"] == 0
    assert stored(client) == 600_000
    too_much(client, 400_001, 600_000)
    for gone, left in (({"folderIds": [folder]}, 300_000), ({"filesymlink_ids": [second]}, 0)):
        body = {"filesymlink_ids": [], "folderIds": [], **gone}
        client.call("POST", "/api/v3/users/me/folders/trash-bin/delete/", 201, json=body)
        assert stored(client) == left


# --- jobs at the same time ------------------------------------------------------------------------


def test_further_jobs_of_a_user_wait_and_others_pass_them(
    limited: RunningServer, client: Client
) -> None:
    first, second, third, last, beyond = drafts(client, 5, hour())
    for job in (first, second, third):
        client.submit(job)
    wait_for(lambda: client.status(first) == "Executing", "the first")
    client.submit(last)
    wait_for(lambda: client.status(last) == "Queued", "the last in the queue")
    assert limits(client)["jobsRunning"] == {"used": 1, "limit": 1}
    assert limits(client)["jobsQueued"] == {"used": 3, "limit": 3}
    assert refused(client, beyond) == (
        "3 of your jobs wait for cores, and no more may (user_jobs_queued_most is 3)."
        " Submit this one when one of them has started."
    )
    assert notices(client, first) == {}
    for job in (second, third, last):
        assert notices(client, job) == {
            "jobs-running-quota": "At most 1 of your jobs run at the same time"
            " (user_jobs_running_most). As many ran or waited when this one was submitted, so it"
            " waits for one of them to end. Jobs of others may pass it."
        }
    large, small = limited.somebody(), limited.somebody()
    (wide,) = drafts(large, 1, hour(cores=4))
    large.submit(wide)
    wait_for(lambda: large.status(wide) == "Queued", "the wide one in the queue")
    (narrow,) = drafts(small, 1, hour())
    small.submit(narrow)
    wait_for(lambda: small.status(narrow) == "Queued", "the narrow one in the queue")
    # Room for the narrow one, and none for the wide one before it, which nobody passes.
    stop(large, wide)
    wait_for(lambda: small.status(narrow) == "Executing", "the narrow one")
    assert {client.status(job) for job in (second, third, last)} == {"Queued"}
    stop(client, first)
    wait_for(lambda: client.status(second) == "Executing", "the second")
    assert notices(client, second) == {}
    assert client.status(third) == "Queued"
    client.submit(beyond)
    stop(client, third, last, beyond, second)
    assert notices(client, third) == notices(client, last) == {}
    stop(small, narrow)
    assert limits(client)["jobsRunning"]["used"] == limits(client)["jobsQueued"]["used"] == 0


# --- core-hours -----------------------------------------------------------------------------------


def test_a_budget_is_never_exceeded_by_submits_at_the_same_time(
    limited: RunningServer, client: Client
) -> None:
    jobs = drafts(client, 8, hour(cores=4, walltime=16))

    def submit(job: str) -> httpx.Response:
        with httpx.Client(base_url=client.base, headers=client.http.headers, timeout=30) as http:
            return http.post(f"jobs/{job}/submit/")

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(submit, jobs))
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [400] * 5
    for reply in replies:
        if reply.status_code == 400:
            # The other limit is asked first, where none of the three has cores yet.
            assert reply.json()["detail"].startswith("3 of your jobs wait for cores") or (
                reply.json()
                == {
                    "detail": "This job may take 64 core-hours (4 for 16 h), and 8 are left of the"
                    " 200 for you (user_core_hours_per_month) in this month (UTC): 0 are used, 192"
                    " are reserved for jobs that are not at their end. A shorter walltime or fewer"
                    " cores reserve less."
                }
            )
    assert limits(client)["coreHours"] == {"used": 0, "reserved": 192, "limit": MAY_USE}
    limited.kill()
    limited.start()
    assert limits(client)["coreHours"]["reserved"] == 192
    admitted = [job for job, reply in zip(jobs, replies, strict=True) if reply.status_code == 200]
    wait_for(lambda: "Executing" in map(client.status, admitted), "the first of them")
    stop(client, *reversed(admitted))
    told = limits(client)["coreHours"]
    assert told["reserved"] == 0
    assert 0 < told["used"] < 0.1
    for job in jobs:
        if job not in admitted:
            assert client.status(job) == ""


def test_the_budget_is_that_of_the_month(limited: RunningServer, client: Client) -> None:
    client.run("sleep 0.1", hardware={"coreType": "emerald", "coresPerSlot": 1, "walltime": 1})
    me = client.get("users/me/")["email"]
    now = datetime.now(UTC)
    before = now.replace(day=1) - timedelta(days=1)
    for month, status in ((before, 200), (now, 400)):
        # As if he had used nearly everything in that month.
        limited.change_database(
            "INSERT OR REPLACE INTO counters SELECT"
            f" 'used:user:' || id || ':{month:%Y-%m}', 199.5 * 3600000000 FROM users"
            f" WHERE email = '{me}'"
        )
        (job,) = drafts(client, 1, hour())
        client.call("POST", f"jobs/{job}/submit/", status)
        if status == 200:
            stop(client, job)
    assert "0.5 are left of the 200 for you" in refused(client, job)
    assert limits(client)["coreHours"] == {"used": 199.5, "reserved": 0, "limit": MAY_USE}
    limited.change_database(
        f"DELETE FROM usage WHERE user_id = (SELECT id FROM users WHERE email = '{me}')"
    )
    limited.change_database(
        "DELETE FROM counters WHERE name LIKE 'used:user:' ||"
        f" (SELECT id FROM users WHERE email = '{me}') || ':%'"
    )


def test_a_job_without_a_walltime_reserves_the_longest_that_it_may_run(client: Client) -> None:
    job = client.create(SLEEP)["id"]
    client.submit(job)
    assert limits(client)["coreHours"]["reserved"] == 48
    stop(client, job)
    assert limits(client)["coreHours"]["reserved"] == 0


def test_projects_have_budgets(limited: RunningServer, admin: Client, client: Client) -> None:
    body = {"name": f"Wing {uuid.uuid4().hex[:6]}", "coreHoursPerMonth": 50}
    wing = admin.call("POST", "projects/", 201, json=body).json()
    assert wing["coreHours"] == {"used": 0, "reserved": 0, "limit": 50}
    other = admin.call("POST", "projects/", 201, json={"name": f"{body['name']} b"}).json()
    assert other["coreHours"]["limit"] is None

    def figures(project: dict[str, Any] = wing) -> dict[str, Any]:
        (found,) = [
            one
            for one in client.get("users/me/projects/?page_size=100")["results"]
            if one["id"] == project["id"]
        ]
        (listed,) = [
            one
            for one in client.get("projects/?page_size=100")["results"]
            if one["id"] == project["id"]
        ]
        assert found == listed
        return dict(found["coreHours"])

    second = limited.somebody()  # a budget is shared
    (mine,) = drafts(client, 1, hour(walltime=40, projectId=wing["id"]))
    (theirs,) = drafts(second, 1, hour(walltime=20, projectId=wing["id"]))
    client.submit(mine)
    assert figures() == {"used": 0, "reserved": 40, "limit": 50}
    assert refused(second, theirs) == (
        "This job may take 20 core-hours (1 for 20 h), and 10 are left of the 50 for the project"
        f" {body['name']} (its coreHoursPerMonth) in this month (UTC): 0 are used, 40 are reserved"
        " for jobs that are not at their end. A shorter walltime or fewer cores reserve less."
    )
    assert limits(second)["coreHours"]["reserved"] == 0
    billed = {one["id"]: one for one in admin.get(BILLING)["budgets"]}
    assert billed[wing["id"]] == {
        "kind": "project",
        "id": wing["id"],
        "name": body["name"],
        "coreHours": figures(),
    }
    assert other["id"] not in billed
    (person,) = [one for one in billed.values() if one["name"] == client.get("users/me/")["email"]]
    assert (person["kind"], person["coreHours"]) == ("member", limits(client)["coreHours"])
    # Booked elsewhere, it is reserved there.
    place = f"organizations/simyard/jobs/{mine}/project-assignment/"
    client.call("POST", place, 200, json={"projectId": other["id"]})
    assert (figures()["reserved"], figures(other)["reserved"]) == (0, 40)
    second.submit(theirs)
    assert "This job may take 40 core-hours, and 30 are left of the 50" in str(
        client.call("POST", place, 400, json={"projectId": wing["id"]}).json()["detail"]
    )
    assert (figures()["reserved"], figures(other)["reserved"]) == (20, 40)
    # No budget: no limit.
    url = f"projects/{wing['id']}/"
    assert admin.call("PATCH", url, 200, json={}).json()["coreHours"]["limit"] == 50
    changed = admin.call("PATCH", url, 200, json={"coreHoursPerMonth": None}).json()
    assert changed["coreHours"]["limit"] is None
    client.call("POST", place, 200, json={"projectId": wing["id"]})
    assert admin.call("PATCH", url, 200, json={"coreHoursPerMonth": 0.5}).status_code == 200
    assert figures() == {"used": 0, "reserved": 60, "limit": 0.5}
    stop(client, mine)
    stop(second, theirs)
    told = figures()
    assert (told["reserved"], 0 < told["used"] < 0.1) == (0, True)
    assert figures(other)["reserved"] == 0


@pytest.mark.parametrize("budget", [-1, "x", 1e10, []])
def test_budgets_that_are_none(admin: Client, budget: Any) -> None:
    body = {"name": uuid.uuid4().hex, "coreHoursPerMonth": budget}
    told = admin.call("POST", "projects/", 400, json=body).json()
    assert list(told) == ["coreHoursPerMonth"]
