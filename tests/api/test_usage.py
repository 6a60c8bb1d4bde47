"""What was used and what it costs, and where jobs ran: billing, prices, clusters, instances, load
(api-v2 reference, 3, 4.1 and 6).
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness import CONFIG, Client, RunningServer, wait_for
from simyard.domain.runs import charge_micros

# A price at which a second is worth counting, and one that does not come out even.
CORE_TYPES = """
[[core_type]]
code = "gold-leaf"
name = "Gold leaf"
cores = [1, 2, 4]
memory_mb = 1000
storage_gb = 10
price = 3600.0
low_priority_price = 777.777777
"""
BILLING = "organizations/simyard/workspaces/01-0001/billing/"
PRICE, LOW_PRICE = 3_600_000_000, 777_777_777
LEAF = {"hardware": {"coreType": "gold-leaf", "coresPerSlot": 2}}


class Site:
    """A server whose cores cost something, with what it has written down."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.admin = server.client((server.data / "admin.key").read_text().strip())
        self.client = server.somebody()

    def usage(self, job: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.server.data / "simyard.db", timeout=20)) as database:
            database.row_factory = sqlite3.Row
            rows = database.execute("SELECT * FROM usage WHERE job = ?", (job,))
            return [dict(row) for row in rows]

    def billing(self, months: str = "", **expect: Any) -> dict[str, Any]:
        return dict(self.admin.get(f"{BILLING}{months}", **expect))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = RunningServer(tmp_path_factory.mktemp("usage") / "data", CONFIG)
    folder = server.data / "catalogue"
    folder.mkdir()
    (folder / "coretypes.toml").write_text(CORE_TYPES)
    server.start()
    yield Site(server)
    server.end_everything()
    assert "Traceback" not in server.log(), server.log()


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")


def lasted(client: Client, job: str) -> int:
    """Microseconds, as the API tells them."""
    (cluster,) = client.get(f"jobs/{job}/clusters/")["results"]
    took = moment(cluster["dateStopped"]) - moment(cluster["dateStarted"])
    return took // timedelta(microseconds=1)


def money(text: str) -> int:
    """Cents."""
    whole, cents = text.split(".")
    assert len(cents) == 2
    return int(whole) * 100 + int(cents)


# --- billing --------------------------------------------------------------------------------------


def test_a_job_is_charged_for_its_cores_to_the_microsecond(site: Site) -> None:
    before = site.billing()
    job = site.client.run("sleep 1", **LEAF)["id"]
    (row,) = site.usage(job)
    used = 2 * lasted(site.client, job)
    assert used >= 2_000_000
    assert row["core_microseconds"] == used
    assert row["charge_micros"] == charge_micros(used, PRICE) == used, "a unit for a second"
    assert (row["core_type"], row["run_number"], row["project"]) == ("gold-leaf", 1, "")
    after = site.billing()
    assert after["jobs"] == before["jobs"] + 1
    assert after["activeUsers"] == before["activeUsers"] + 1
    gained = money(after["hardwareCharge"]) - money(before["hardwareCharge"])
    assert abs(gained - used / 10_000) <= 1
    assert after["totalCharge"] == after["hardwareCharge"]
    hours = float(after["hardwareUsage"]) - float(before["hardwareUsage"])
    assert hours == pytest.approx(used / 3.6e9, abs=0.001)
    # It was used, whatever becomes of the job.
    site.client.call("DELETE", f"jobs/{job}/", 204)
    assert site.usage(job) == [row]
    left = site.billing()
    assert {**left, "storageUsage": ""} == {**after, "storageUsage": ""}


def test_low_priority_has_its_own_price(site: Site) -> None:
    """And the one of the submit: what the job says later does not count."""
    job = site.client.create("sleep 0.2", **LEAF, job={"isLowPriority": True})["id"]
    site.client.submit(job)
    site.client.finished(job)
    (row,) = site.usage(job)
    used = 2 * lasted(site.client, job)
    assert row["core_microseconds"] == used
    assert row["charge_micros"] == charge_micros(used, LOW_PRICE) != charge_micros(used, PRICE)


@pytest.mark.parametrize(
    ("changes", "cores", "price"),
    [
        ({"hardware": {"coreType": "Gold leaf", "coresPerSlot": 4}}, 4, PRICE),
        ({"hardware": {"coreType": "gold_leaf", "coresPerSlot": 8}}, 4, PRICE),  # the machine's
        ({"hardware": {"coreType": "emerald", "coresPerSlot": 1}}, 1, 0),
        ({**LEAF, "command": "exit 3"}, 2, PRICE),  # a failure is paid for too
    ],
)
def test_which_cores_are_paid_for(
    site: Site, changes: dict[str, Any], cores: int, price: int
) -> None:
    job = site.client.run(**{"command": "true", **changes})["id"]
    (row,) = site.usage(job)
    used = cores * lasted(site.client, job)
    assert (row["core_microseconds"], row["charge_micros"]) == (used, charge_micros(used, price))


def test_what_never_ran_costs_nothing(site: Site) -> None:
    draft = site.client.create(**LEAF)["id"]
    first = site.client.create("sleep 600", cores=4)["id"]
    waits = site.client.create(hardware={"coreType": "gold-leaf", "coresPerSlot": 4})["id"]
    for job in (first, waits):
        site.client.submit(job)
    for job in (waits, first):
        site.client.call("POST", f"jobs/{job}/stop/", 202)
        site.client.finished(job)
    assert site.usage(draft) == site.usage(waits) == []
    assert len(site.usage(first)) == 1


def test_usage_is_booked_on_the_project_of_the_moment(site: Site) -> None:
    project = site.admin.call("POST", "projects/", 201, json={"name": "Wing"}).json()["id"]
    job = site.client.run(job={"projectId": "Wing"})["id"]
    place = f"organizations/simyard/jobs/{job}/project-assignment/"
    site.client.call("POST", place, 200, json={"projectId": None})
    (row,) = site.usage(job)
    assert row["project"] == project


MONTHS = [  # the moments at which usage ended, in UTC, and how many of them are in the months
    ("2024-01-31T23:59:59.999999", "2024-02-01T00:00:00.000000", "2024-02-29T23:59:59.999999"),
    (
        ("2024-01", "2024-01", 1, "January 2024"),
        ("2024-02", "2024-02", 2, "February 2024"),
        ("2024-01", "2024-02", 3, "January 2024 to February 2024"),
        ("2023-12", "2024-01", 1, "December 2023 to January 2024"),
        ("2024-02", "2025-12", 2, "February 2024 to December 2025"),
        ("2024-03", "2024-12", 0, "March 2024 to December 2024"),
        ("2023-12", "2023-12", 0, "December 2023"),
    ),
]


def asked(first: str, last: str) -> str:
    return "?startYear={}&startMonth={}&endYear={}&endMonth={}".format(
        *first.split("-"), *last.split("-")
    )


def test_months(site: Site) -> None:
    """Whole months, both ends of them, by when something ended."""
    jobs = [site.client.run(**LEAF)["id"] for _ in range(3)]
    for job, text in zip(jobs, MONTHS[0], strict=True):
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)
        micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        site.server.change_database(
            f"UPDATE usage SET ended_at = {micros}, core_microseconds = 3600000000,"
            f" charge_micros = 1234567 WHERE job = '{job}'"
        )
    for first, last, count, label in MONTHS[1]:
        found = site.billing(asked(first, last))
        assert found["label"] == label
        assert found["id"] == f"{first}--{last}"
        assert found["jobs"] == count
        assert found["activeUsers"] == min(count, 1)
        assert found["hardwareUsage"] == f"{count}.000"
        assert (
            found["hardwareCharge"]
            == found["totalCharge"]
            == ("0.00", "1.23", "2.47", "3.70")[count]
        )
    now = datetime.now(UTC)
    recently = {f"{at:%Y-%m}--{at:%Y-%m}" for at in (now, now - timedelta(minutes=1))}
    assert site.billing()["id"] in recently
    assert site.billing("?startYear=2024&startMonth=01")["jobs"] >= 3


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("?startYear=x", {"startYear": "Give a number from 2000 to 9998."}),
        ("?startYear=1999", {"startYear": "Give a number from 2000 to 9998."}),
        ("?endYear=9999", {"endYear": "Give a number from 2000 to 9998."}),
        ("?startMonth=0", {"startMonth": "Give a number from 1 to 12."}),
        ("?endMonth=13", {"endMonth": "Give a number from 1 to 12."}),
        ("?endMonth=-1", {"endMonth": "Give a number from 1 to 12."}),
        ("?startMonth=1.5", {"startMonth": "Give a number from 1 to 12."}),
        ("?startMonth=", {"startMonth": "Give a number from 1 to 12."}),
        ("?endMonth=%D9%A3", {"endMonth": "Give a number from 1 to 12."}),
        (
            "?startYear=1e9&startMonth=13&endYear=20260&endMonth=00",
            {
                "startYear": "Give a number from 2000 to 9998.",
                "startMonth": "Give a number from 1 to 12.",
                "endYear": "Give a number from 2000 to 9998.",
                "endMonth": "Give a number from 1 to 12.",
            },
        ),
        (asked("2024-02", "2024-01"), {"endMonth": "The end lies before the start."}),
        (asked("2025-01", "2024-12"), {"endMonth": "The end lies before the start."}),
    ],
)
def test_months_that_are_none(site: Site, query: str, wrong: dict[str, str]) -> None:
    told = {name: [message] for name, message in wrong.items()}
    assert site.billing(query, expect=400) == told


def test_another_workspace_is_not_here(site: Site) -> None:
    for path in ("organizations/other/workspaces/01-0001", "organizations/simyard/workspaces/2"):
        for place in ("billing/", "custom-fields/"):
            site.admin.get(f"{path}/{place}", 404)
    place = BILLING.replace("billing", "custom-fields")
    assert site.client.get(place) == {"fields": {}, "isEnabled": True}


def test_what_is_stored_is_told(site: Site) -> None:
    before = float(site.billing()["storageUsage"])
    site.client.upload("large.bin", bytes(5_000_000))
    after = float(site.billing()["storageUsage"])
    assert after - before == pytest.approx(0.005, abs=0.0011)


def test_prices(site: Site) -> None:
    prices = site.client.get("billing/computeprices/")
    found = {(one["coreType"], one["planType"]): one["value"]["amount"] for one in prices}
    listed = site.client.get("coretypes/?page_size=100")["results"]
    assert len(found) == len(prices) == 2 * len(listed)
    leaf = next(one for one in listed if one["code"] == "gold-leaf")
    assert found["gold-leaf", "on-demand"] == f"{leaf['price']:.3f}" == "3600.000"
    assert found["gold-leaf", "low-priority"] == leaf["lowPriorityPrice"] == "777.778"
    assert found["emerald", "on-demand"] == "0.000"


# --- where a job runs -----------------------------------------------------------------------------


def test_clusters_and_instances(site: Site, stranger_of_site: Client) -> None:
    client = site.client
    draft = client.create("sleep 600")["id"]
    for place in ("clusters/", "instances/", "logs/"):
        assert client.get(f"jobs/{draft}/{place}")["results"] == []
    client.submit(draft)
    wait_for(lambda: client.status(draft) == "Executing", "Executing")
    (cluster,) = client.get(f"jobs/{draft}/clusters/")["results"]
    assert (cluster["jobId"], cluster["runId"]) == (draft, "1")
    assert (cluster["status"], cluster["dateStopped"]) == ("Started", None)
    (instance,) = client.get(f"jobs/{draft}/instances/")["results"]
    assert instance["clusterId"] == cluster["id"]
    assert instance["dateStarted"] == cluster["dateStarted"]
    place = f"clusters/{cluster['id']}/"
    assert client.get(f"{place}statuses/")["results"][0]["status"] == "Started"
    assert client.get(f"jobs/{draft}/connection_details/") == {}
    desktop = f"{place}remote_viz_hardware_settings/password/"
    assert client.call("POST", desktop, 400).json() == {
        "detail": "This server has no remote desktops."
    }
    client.call("POST", f"jobs/{draft}/stop/", 202)
    client.finished(draft)
    (cluster,) = client.get(f"jobs/{draft}/clusters/")["results"]
    run = client.get(f"jobs/{draft}/runs/1/")
    assert cluster["status"] == "Stopped"
    assert cluster["dateInserted"] < cluster["dateStarted"] < cluster["dateStopped"]
    assert cluster["dateStarted"] == run["dateStarted"]
    every = client.get(f"{place}statuses/")
    assert every["results"] == client.get(f"jobs/{draft}/cluster_statuses/")["results"]
    assert every["count"] == 6
    page = client.get(f"{place}statuses/?page_size=4&page=2")
    assert [one["status"] for one in page["results"]] == ["Starting", "Not Started"]
    for path in (f"{place}statuses/", f"jobs/{draft}/clusters/", f"jobs/{draft}/instances/"):
        stranger_of_site.get(path, 404)
    stranger_of_site.call("POST", desktop, 404)
    client.get("clusters/XXXXX/statuses/", 404)


@pytest.fixture
def stranger_of_site(site: Site) -> Client:
    return site.server.somebody()


def test_the_log_of_a_job(site: Site) -> None:
    job = site.client.run("exit 2")["id"]
    url = f"jobs/{job}/logs/"
    every = site.client.get(f"{url}?page_size=100")["results"]
    words = [(one["source"], one["message"].split(":")[0]) for one in every]
    histories = {
        "job": [one["status"] for one in site.client.statuses(job)],
        "cluster": [
            one["status"] for one in site.client.get(f"jobs/{job}/cluster_statuses/")["results"]
        ],
    }
    for source, history in histories.items():
        assert [word for of, word in words if of == source] == history
    assert words[-2:] == [("cluster", "Not Started"), ("job", "Pending")]
    dates = [one["date"] for one in every]
    assert dates == sorted(dates, reverse=True)
    (told,) = [one["message"] for one in every if one["message"].startswith("Completed")]
    assert told == "Completed: A run failed: the command of analysis 1 ended with exit code 2"
    for query in ("limit=4", "page_size=4", "page_size=4&limit=9"):
        page = site.client.get(f"{url}?{query}")
        assert (page["results"], page["count"]) == (every[:4], len(every))
        assert site.client.get(page["next"])["results"] == every[4:8]
    for bad in ("limit=0", "limit=x", "limit=", "limit=-3"):
        assert site.client.get(f"{url}?{bad}")["results"] == every[:10]
    site.client.get(f"{url}?page=9", 404)


def test_the_load_while_a_job_ran(site: Site, stranger_of_site: Client) -> None:
    """The server measures when it begins, and twice a minute."""
    client = site.client
    job = client.create("sleep 600")["id"]
    client.submit(job)
    wait_for(lambda: client.status(job) == "Executing", "Executing")
    site.server.kill()
    site.server.start()
    url = f"jobs/{job}/cluster-load-measurements/"
    wait_for(lambda: bool(client.get(url)), "a measurement")
    client.call("POST", f"jobs/{job}/stop/", 202)
    client.finished(job)
    (measured, *_) = found = client.get(url)
    (cluster,) = client.get(f"jobs/{job}/clusters/")["results"]
    assert cluster["dateStarted"] <= measured["date"] <= cluster["dateStopped"]
    assert 0 < measured["memoryUsed"] < measured["memoryTotal"]
    assert measured["cores"] >= 1 and measured["load"] >= 0
    for query in ("?hours=1", "?hours=24", "?hours=99999"):
        assert client.get(url + query) == found
    assert client.get(f"{url}?hours=0") == []
    for bad in ("x", "-1", "1.5", "", "100000"):
        told = client.get(f"{url}?hours={bad}", 400)
        assert told == {"hours": ["A valid integer is required."]}
    later = client.run()["id"]
    assert client.get(f"jobs/{later}/cluster-load-measurements/") == []
    # The same by way of a task.
    for version in ("v2", "v3"):
        handle = client.get(f"/api/{version}/jobs/{job}/servers/load/?offset=0&period=60&p=1")
        assert handle["totalPages"] == 1
        task = client.get(f"/api/{version}/tasks/{handle['token']}/")
        assert task == {"ready": True, "result": found}
    stranger_of_site.get(f"tasks/{handle['token']}/", 404)
    client.get("tasks/0f6f0c1e-8a1b-4f0e-9c57-3b6c3f6f4b11/", 404)
    stranger_of_site.get(url, 404)
    stranger_of_site.get(f"jobs/{job}/servers/load/", 404)


def test_a_run_that_outlives_the_server_is_charged_once(site: Site) -> None:
    client = site.client
    job = client.create("sleep 1.5", **LEAF)["id"]
    client.submit(job)
    wait_for(lambda: client.status(job) == "Executing", "Executing")
    site.server.kill()
    time.sleep(1)
    site.server.start()
    client.finished(job)
    (row,) = site.usage(job)
    assert row["core_microseconds"] == 2 * lasted(client, job) >= 2 * 1_500_000
    assert row["core_microseconds"] < 2 * 3_000_000, "it is paid for what ran, not for the silence"
