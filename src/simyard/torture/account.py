"""What there is at the end: asked of the API, and looked up in the data folder and in /proc."""

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simyard.torture.wire import Caller, Lost

LOG_NAME = "process_output.log"


@dataclass(frozen=True, kw_only=True)
class RunThere:
    """A run as the API shows it: the only one of its job, or one of a study's."""

    id: str
    reason: str
    log: str | None  # None: there is no such output


@dataclass(frozen=True, kw_only=True)
class JobThere(RunThere):
    """A job as the API shows it."""

    name: str
    words: tuple[str, ...]  # of its history, first one first
    cluster: str
    runs: tuple[RunThere, ...] = ()  # of a study, by number

    @property
    def submitted(self) -> bool:
        return bool(self.words)


@dataclass(frozen=True)
class FileThere:
    """An upload as the API shows it."""

    id: str
    name: str
    sha512: str  # of the bytes that a download brought


@dataclass
class Account:
    jobs: list[JobThere] = field(default_factory=list)
    files: list[FileThere] = field(default_factory=list)
    answering: dict[str, int] = field(default_factory=dict)  # path of something deleted -> status
    attempts: dict[str, str] = field(default_factory=dict)  # token -> job's id
    processes: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # of attempts
    orphan_blobs: list[str] = field(default_factory=list)  # bytes that no row names
    missing_blobs: list[str] = field(default_factory=list)  # rows without bytes
    orphan_rows: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)  # what SQLite's own checks say


def of_the_api(account: Account, caller: Caller, deleted: Iterable[str]) -> None:
    """deleted: paths of things that were acknowledged as deleted."""
    for summary in _all(caller, "jobs/?page_size=500"):
        account.jobs.append(_job(caller, summary["id"], summary["name"]))
    for file in _all(caller, "files/?type_id=1&page_size=500"):
        reply = caller.ask("GET", f"files/{file['id']}/contents/")
        told = hashlib.sha512(reply.content).hexdigest() if reply.status == 200 else ""
        account.files.append(FileThere(file["id"], file["name"], told))
    for path in deleted:
        account.answering[path] = caller.ask("GET", path).status


def _job(caller: Caller, job_id: str, name: str) -> JobThere:
    history = list(_all(caller, f"jobs/{job_id}/statuses/?page_size=100"))
    cluster = list(_all(caller, f"jobs/{job_id}/cluster_statuses/?page_size=100"))
    runs = list(_all(caller, f"jobs/{job_id}/runs/?page_size=100"))
    is_study = bool(runs and runs[0]["variables"])
    return JobThere(
        id=job_id,
        name=name,
        words=tuple(entry["status"] for entry in reversed(history)),
        reason=(history[0]["statusReason"] or "") if history else "",
        cluster=cluster[0]["status"] if cluster else "",
        log=None if is_study else _log(caller, f"jobs/{job_id}"),
        runs=tuple(_run(caller, job_id, run) for run in runs) if is_study else (),
    )


def _run(caller: Caller, job_id: str, run: Any) -> RunThere:
    """Its reason in the words that the reason of a job with this run alone would have."""
    outcome = run["outcome"] or {"ending": "", "message": "", "isGood": False, "exitCode": None}
    reason = str(outcome["message"])
    if outcome["ending"] == "stopped":
        reason = "Stopped by the user"
    elif outcome["isGood"]:
        reason = "Completed successfully"
    elif outcome["exitCode"] and outcome["ending"] == "exited" and outcome["cause"] != "disk":
        reason = f"ended with exit code {outcome['exitCode']}"
    place = f"jobs/{job_id}/runs/{run['id']}"
    return RunThere(id=place, reason=reason, log=_log(caller, place))


def _log(caller: Caller, place: str) -> str | None:
    for file in _all(caller, f"{place}/files/?page_size=500"):
        if file["relativePath"] == LOG_NAME:
            reply = caller.ask("GET", f"files/{file['id']}/contents/")
            return reply.content.decode(errors="replace") if reply.status == 200 else None
    return None


def _all(caller: Caller, path: str) -> Iterable[Any]:
    following: str | None = path
    while following:
        reply = caller.ask("GET", following)
        if reply.status != 200:
            raise Lost(f"GET {following}: {reply.status}")
        page = reply.json()
        yield from page["results"]
        following = page["next"] and page["next"].split("/api/v2/", 1)[1]


def under_way(caller: Caller) -> list[str]:
    """Ids of the jobs that were submitted and are not over. Raises Lost."""
    return [
        job["id"]
        for job in _all(caller, "jobs/?page_size=500")
        if job["jobStatus"]["content"] and job["clusterStatusDisplay"]["content"] != "Stopped"
    ]


_ORPHANS = {
    "blob that no file shows": """SELECT key FROM blobs b
        WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.blob_id = b.id)""",
    "blob that is to be deleted and never was": "SELECT key FROM blob_deletions",
    "run without a job": "SELECT id FROM runs WHERE job_id NOT IN (SELECT id FROM jobs)",
    "attempt without a run": "SELECT token FROM attempts WHERE run_id NOT IN (SELECT id FROM runs)",
    "job without a viewer": "SELECT code FROM jobs WHERE id NOT IN (SELECT job_id FROM job_views)",
    "submitted job without a run": """SELECT code FROM jobs
        WHERE state <> 'draft' AND id NOT IN (SELECT job_id FROM runs)""",
    "run that owes something": "SELECT id FROM runs WHERE state <> 'closed'",
}


def of_the_folder(account: Account, data: Path) -> None:
    """To be called while no server runs on it."""
    with closing(sqlite3.connect(data / "simyard.db")) as base:
        query = """SELECT a.token, j.code FROM attempts a
            JOIN runs r ON r.id = a.run_id JOIN jobs j ON j.id = r.job_id"""
        account.attempts = dict(base.execute(query).fetchall())
        for what, query in _ORPHANS.items():
            account.orphan_rows += [f"{what}: {row[0]}" for row in base.execute(query)]
        said = [row[0] for row in base.execute("PRAGMA integrity_check")]
        account.damage += [line for line in said if line != "ok"]
        account.damage += [
            f"foreign key of {row[0]} {row[1]}" for row in base.execute("PRAGMA foreign_key_check")
        ]
        known = {key for (key,) in base.execute("SELECT key FROM blobs")}
    blobs = data / "blobs"
    there = {str(path.relative_to(blobs)) for path in blobs.rglob("*") if path.is_file()}
    account.orphan_blobs = sorted(there - known)
    account.missing_blobs = sorted(known - there)
    account.folders = sorted(path.name for path in (data / "runs").glob("[!.]*"))
