"""The promises, each held against both ledgers and against what there is at the end.

`violations` is a pure function: what it finds depends on the ledgers' lines and on the account
alone, so that a test can seed lies and see each of them found.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simyard.torture.account import Account, JobThere, RunThere
from simyard.torture.clients import PREFIX, run_key

Line = Mapping[str, Any]

PROMISES = {
    "upload kept": "an acknowledged upload is there, once, with the same bytes",
    "upload once": "a repeated upload under one key brings the same file",
    "no ghost upload": "an upload that was cut off, or never sent, is nowhere",
    "job once": "an acknowledged job is there, once, however often it was asked for",
    "no ghost job": "no job is there that nobody asked for",
    "ended once": "an acknowledged submit ended, with every status once and in order",
    "started once": "a submitted run was started exactly once; at most once if interrupted",
    "no ghost start": "nothing ran whose submit was never sent",
    "interrupted truly": "a run ends as interrupted only where it was interrupted",
    "exit code": "the exit code of a payload that came to its end is the one that is told",
    "every run": "a study has all of its runs, and tells of them what they tell",
    "log": "the log holds every line that was written, in order",
    "input": "a payload read the bytes that were uploaded",
    "stop": "a run whose stop was acknowledged did not go on to its end",
    "told once": "the end that a client was told is the end that is told later",
    "deleted": "what was acknowledged as deleted is gone",
    "clear errors": "a refusal is 503 or 507 in the contract's shape; there is no other",
    "answered": "every client was answered in the end",
    "no stray process": "no process of a run is left",
    "no folder left": "no folder of an attempt is left",
    "no orphan": "no blob and no row is left that nothing shows",
    "nothing missing": "every recorded blob has its bytes",
    "database sound": "the database passes its integrity and foreign key checks",
}


@dataclass(frozen=True)
class Violation:
    promise: str  # a key of PROMISES
    subject: str  # key or id of what it is about
    text: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.subject}: {self.text}"


@dataclass
class Upload:
    whole: bool = False  # every byte was sent at least once
    ids: set[str] = field(default_factory=set)
    sha512: str = ""
    delete_asked: bool = False


@dataclass
class Job:
    """What clients know of a job, and what its payloads said. Of a study, each run is one too."""

    lines: int = 0
    code: int = 0
    reads: str = ""  # sha512 of its input
    runs: int = 0  # of a study
    ids: set[str] = field(default_factory=set)
    submit_asked: bool = False
    submit_acknowledged: bool = False
    stop_acknowledged: bool = False
    delete_asked: bool = False
    told: set[str] = field(default_factory=set)  # reasons that a client read
    starts: list[str] = field(default_factory=list)  # attempts
    ends: list[str] = field(default_factory=list)
    written: int = 0  # the last line that was written
    full: bool = False  # the disk took a line away
    read: list[str] = field(default_factory=list)


class Book:
    """Both ledgers, by what they are about."""

    def __init__(self, told: Iterable[Line], said: Iterable[Line]) -> None:
        self.uploads: dict[str, Upload] = defaultdict(Upload)
        self.jobs: dict[str, Job] = defaultdict(Job)
        self.killed: set[str] = set()  # attempts that somebody killed
        self.killed_at_a_point = 0  # supervisors that killed themselves; which, nobody knows
        self.filled = 0  # times that the disk was filled
        self.deleted: dict[str, str] = {}  # path -> key
        self.unexpected: list[Line] = []
        self.unanswered: list[Line] = []
        self.differs: list[Line] = []
        self.refused: Counter[int] = Counter()
        self.lost = 0
        for line in told:
            self._told(line)
        for line in said:
            self._said(line)
        for key, study in [(key, job) for key, job in self.jobs.items() if job.runs]:
            for number in range(1, study.runs + 1):
                run = self.jobs[run_key(key, number)]
                for name in ("lines", "code", "reads", "submit_asked", "stop_acknowledged"):
                    setattr(run, name, getattr(study, name))

    def _told(self, line: Line) -> None:
        match line["what"]:
            case "upload.whole":
                self.uploads[line["key"]].whole = True
            case "upload.cut":
                self.uploads[line["key"]].whole |= False
            case "upload.acknowledged":
                upload = self.uploads[line["key"]]
                upload.ids.add(line["id"])
                upload.sha512 = line["sha512"]
            case "upload.delete-asked":
                self.uploads[line["key"]].delete_asked = True
            case "upload.deleted":
                self.deleted[f"files/{line['id']}/"] = line["key"]
            case "job.asked":
                job = self.jobs[line["key"]]
                job.lines, job.code, job.reads = line["lines"], line["code"], line["reads"]
                job.runs = line["runs"]
            case "job.acknowledged":
                self.jobs[line["key"]].ids.add(line["id"])
            case "submit.asked":
                self.jobs[line["key"]].submit_asked = True
            case "submit.acknowledged":
                self.jobs[line["key"]].submit_acknowledged = True
            case "stop.acknowledged":
                self.jobs[line["key"]].stop_acknowledged = True
            case "job.ended":
                self.jobs[line["key"]].told.add(line["reason"] or "")
            case "job.delete-asked":
                self.jobs[line["key"]].delete_asked = True
            case "job.deleted":
                self.deleted[f"jobs/{line['id']}/"] = line["key"]
            case "attempt.killed":
                self.killed.add(line["attempt"])
            case "attempt.killed-at-a-point":
                self.killed_at_a_point += 1
            case "fault":
                self.filled += line["kind"] == "full disk"
            case "unexpected":
                self.unexpected.append(line)
            case "unanswered":
                self.unanswered.append(line)
            case "read.differs":
                self.differs.append(line)
            case "refused":
                self.refused[line["status"]] += 1
            case "lost":
                self.lost += 1

    def _said(self, line: Line) -> None:
        job = self.jobs[line["key"]]
        match line["what"]:
            case "start":
                job.starts.append(line["attempt"])
            case "line":
                job.written = max(job.written, int(line["rest"][0]))
            case "full":
                job.full = True
            case "input":
                job.read.append(line["rest"][0] if line["rest"] else "")
            case "end":
                job.ends.append(line["attempt"])


def violations(book: Book, account: Account) -> list[Violation]:
    """Every promise that was not kept, one by one."""
    found = [
        *_uploads(book, account),
        *_jobs(book, account),
        *_starts(book),
        *_interruptions(book, account),
        *_deleted(book, account),
        *_requests(book),
        *_remains(account),
    ]
    assert all(violation.promise in PROMISES for violation in found)
    return found


def _uploads(book: Book, account: Account) -> Iterator[Violation]:
    there = defaultdict(list)
    for file in account.files:
        there[file.name.removesuffix(".bin")].append(file)
    for key, upload in book.uploads.items():
        files = there.get(key, [])
        if len(upload.ids) > 1:
            yield Violation("upload once", key, f"it was given the ids {sorted(upload.ids)}")
        if files and not upload.whole:
            yield Violation("no ghost upload", key, f"cut off, and there as {files[0].id}")
        if len(files) > 1:
            yield Violation("upload once", key, f"it is there {len(files)} times")
        if not upload.ids or upload.delete_asked:
            continue
        if not files or files[0].id not in upload.ids:
            yield Violation("upload kept", key, f"{sorted(upload.ids)} is not there")
        elif files[0].sha512 != upload.sha512:
            yield Violation("upload kept", key, f"the bytes of {files[0].id} are others")
    for name in there:
        if name not in book.uploads:
            yield Violation("no ghost upload", name, "nobody sent it")
    for line in book.differs:
        yield Violation("upload kept", line["key"], f"a download of {line['id']} brought others")


def _jobs(book: Book, account: Account) -> Iterator[Violation]:
    there = defaultdict(list)
    for job in account.jobs:
        there[job.name].append(job)
    for key, known in book.jobs.items():
        jobs = there.get(key, [])
        if len(jobs) > 1 or len(known.ids) > 1:
            ids = sorted(known.ids | {job.id for job in jobs})
            yield Violation("job once", key, f"it is there as {ids}")
        if known.ids and not known.delete_asked and not jobs:
            yield Violation("job once", key, f"{sorted(known.ids)} is not there")
        for job in jobs:
            yield from _job(key, known, job, book)
    for name in there:
        if name not in book.jobs:
            yield Violation("no ghost job", name, "nobody asked for it")


_ORDER = ("Pending", "Queued", "Started", "Validated", "Executing", "Stopping", "Completed")


def _job(key: str, known: Job, job: JobThere, book: Book) -> Iterator[Violation]:
    if not job.submitted:
        if known.submit_acknowledged:
            yield Violation("ended once", key, f"{job.id} is a draft after its submit")
        return
    if not known.submit_asked:
        yield Violation("no ghost start", key, f"{job.id} was submitted by nobody")
    places = [_ORDER.index(word) for word in job.words if word in _ORDER]
    in_order = places == sorted(set(places)) and len(places) == len(job.words)
    if not in_order or job.words[0] != "Pending" or job.words[-1] != "Completed":
        yield Violation("ended once", key, f"{job.id} has the history {list(job.words)}")
    if job.cluster != "Stopped":
        yield Violation("ended once", key, f"the cluster of {job.id} is {job.cluster}")
    for reason in known.told - {job.reason}:
        text = f"{job.id}: first {reason!r}, later {job.reason!r}"
        yield Violation("told once", key, text)
    if known.runs:
        yield from _runs(key, known, job, book)
        return
    yield from _end(key, known, job, may_lack_room=book.filled > 0)
    yield from _log(key, known, job)


def _runs(key: str, known: Job, job: JobThere, book: Book) -> Iterator[Violation]:
    """Each run of a study as if it were a job of its own, and what is said of them together."""
    if len(job.runs) != known.runs:
        text = f"{job.id} has {len(job.runs)} runs of {known.runs}"
        yield Violation("every run", key, text)
    for number, run in enumerate(job.runs, start=1):
        name = run_key(key, number)
        of_it = book.jobs.get(name, Job())
        yield from _end(name, of_it, run, may_lack_room=book.filled > 0)
        yield from _log(name, of_it, run)
    well = sum(run.reason == "Completed successfully" for run in job.runs)
    told = f"{well} of {len(job.runs)} runs completed" if well else "none of"
    is_told = (
        job.reason == "Completed successfully" if well == len(job.runs) else told in job.reason
    )
    if not is_told and not was_stopped(job.reason):
        yield Violation("every run", key, f"{job.id}: {well} are well, and {job.reason!r}")


_EXITED = re.compile(r"ended with exit code (\d+)")


def exit_code(reason: str) -> int | None:
    """The exit code that a reason tells; None where it tells none."""
    if reason.startswith("Completed successfully"):
        return 0
    found = _EXITED.search(reason)
    return int(found[1]) if found else None


def was_interrupted(reason: str) -> bool:
    return "supervisor process was killed" in reason or "machine was restarted" in reason


def was_out_of_room(reason: str) -> bool:
    return "its disk was full" in reason


def was_stopped(reason: str) -> bool:
    return reason.startswith("Stopped by the user")


def _end(key: str, known: Job, job: RunThere, *, may_lack_room: bool) -> Iterator[Violation]:
    code = exit_code(job.reason)
    if code is None:
        if was_stopped(job.reason) and not known.stop_acknowledged:
            yield Violation("stop", key, f"{job.id} was stopped by nobody")
        explained = (
            was_stopped(job.reason)
            or was_interrupted(job.reason)
            or (may_lack_room and was_out_of_room(job.reason))
        )
        if not explained:
            yield Violation("ended once", key, f"{job.id} ended so: {job.reason!r}")
        return
    if code != known.code:
        text = f"{job.id} tells {code} for {known.code}: {job.reason!r}"
        yield Violation("exit code", key, text)
    if not known.starts:
        yield Violation("started once", key, f"{job.id} never ran, and {job.reason!r}")
    elif not known.ends:
        promise = "stop" if known.stop_acknowledged else "exit code"
        yield Violation(promise, key, f"{job.id} did not come to its end, and {job.reason!r}")
    for read in known.read:
        if read != known.reads:
            yield Violation("input", key, f"{job.id} read other bytes")


def _log(key: str, known: Job, job: RunThere) -> Iterator[Violation]:
    if known.full:
        return  # the disk had no room for all of it, and the payload knew
    lines = [line for line in (job.log or "").splitlines() if line.startswith(f"{key} line ")]
    least = known.lines if exit_code(job.reason) is not None else known.written
    wanted = [f"{key} line {i}" for i in range(1, known.lines + 1)]
    if len(lines) < least or lines != wanted[: len(lines)]:
        text = f"{job.id} has {len(lines)} lines, {least} were written; the last is {lines[-1:]}"
        yield Violation("log", key, text)


def _starts(book: Book) -> Iterator[Violation]:
    for key, known in book.jobs.items():
        if len(known.starts) > 1:
            yield Violation("started once", key, f"started as {known.starts}")
        if known.starts and not known.submit_asked:
            yield Violation("no ghost start", key, f"it ran as {known.starts}")
        if len(known.ends) > 1:
            yield Violation("started once", key, f"it came to its end as {known.ends}")
        if known.ends and known.ends[:1] != known.starts[:1]:
            yield Violation("started once", key, f"{known.starts} began and {known.ends} ended")
        if not key.startswith(PREFIX):
            yield Violation("no ghost start", key, "no client has such a key")


def _interruptions(book: Book, account: Account) -> Iterator[Violation]:
    attempts = defaultdict(set)
    for token, job_id in account.attempts.items():
        attempts[job_id].add(token)
    unexplained = [
        job
        for job in account.jobs
        if was_interrupted(job.reason) and not attempts[job.id] & book.killed
    ]
    if len(unexplained) > book.killed_at_a_point:
        for job in unexplained:
            text = f"{job.id}, and nobody killed its attempt: {job.reason!r}"
            yield Violation("interrupted truly", job.name, text)


def _deleted(book: Book, account: Account) -> Iterator[Violation]:
    for path, status in account.answering.items():
        if status != 404:
            key = book.deleted.get(path, path)
            yield Violation("deleted", key, f"{path} answers {status}")
    for upload in account.files:
        if f"files/{upload.id}/" in book.deleted:
            yield Violation("deleted", upload.name, f"{upload.id} is in the list")
    for job in account.jobs:
        if f"jobs/{job.id}/" in book.deleted:
            yield Violation("deleted", job.name, f"{job.id} is in the list")


def _requests(book: Book) -> Iterator[Violation]:
    for line in book.unexpected:
        text = f"{line['method']} {line['path']} was answered {line['status']}: {line['said']}"
        yield Violation("clear errors", line["path"], text)
    for line in book.unanswered:
        last = f"the last reply: {line['last']}"
        text = f"{line['method']} was not answered by a server that was up; {last}"
        yield Violation("answered", line["path"], text)


def _remains(account: Account) -> Iterator[Violation]:
    remains: Sequence[tuple[str, list[str], str]] = (
        ("no stray process", account.processes, "is alive"),
        ("no folder left", account.folders, "is left"),
        ("no orphan", account.orphan_blobs, "is a blob that nobody recorded"),
        ("no orphan", account.orphan_rows, "is left"),
        ("nothing missing", account.missing_blobs, "is a blob without bytes"),
        ("database sound", account.damage, "is what the database says"),
    )
    for promise, subjects, text in remains:
        for subject in subjects:
            yield Violation(promise, subject, text)
