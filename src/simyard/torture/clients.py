"""Users at work: they upload, create, submit, watch, stop, read and delete, and note every promise.

Each is a thread with a chance of its own, made of the seed and its number.
"""

import hashlib
import json
import random
import threading
import time
from dataclasses import dataclass

from simyard.torture.ledger import Ledger
from simyard.torture.wire import Caller, GivenUp, Stubborn

PREFIX = "torture-"  # of the names of all that clients make


@dataclass(frozen=True)
class Upload:
    key: str
    id: str
    sha512: str


@dataclass(frozen=True)
class Course:
    """What all clients share."""

    ledger: Ledger
    preamble: str  # defines `say` for payloads
    over: threading.Event  # begin nothing new


def run_key(key: str, number: object) -> str:
    """What a run of a study is called in the ledgers."""
    return f"{key}.{number}"


def payload(preamble: str, key: str, *, lines: int, pause: float, code: int, reads: str) -> str:
    """A command that tells the start ledger what it does, prints numbered lines and exits.

    Of each line it says so only once it is written; where it could not be, it says that.
    """
    look = f'say input {key} $SIMYARD_ATTEMPT "$(sha512sum < {reads} | cut -c-128)"\n'
    return (
        f"{preamble}say start {key} $SIMYARD_ATTEMPT\n{look if reads else ''}"
        f"for i in $(seq {lines}); do\n"
        f'  if echo "{key} line $i"; then say line {key} $SIMYARD_ATTEMPT $i\n'
        f"  else say full {key} $SIMYARD_ATTEMPT $i; fi\n"
        f"  sleep {pause:.2f}\n"
        f"done\nsay end {key} $SIMYARD_ATTEMPT {code}\nexit {code}\n"
    )


def multipart(name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    edge = "simyard-torture-edge"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}


def _upload_form(key: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    body, headers = multipart(f"{key}.bin", content)
    return body, {**headers, "Idempotency-Key": key}


class Client:
    """One user's script."""

    def __init__(self, number: int, seed: int, caller: Caller, course: Course) -> None:
        self._number = number
        self._chance = random.Random(f"{seed}/{number}")  # noqa: S311  it can be repeated
        self._course = course
        self._note = course.ledger.note
        self._caller = caller
        self._api = Stubborn(caller, course.ledger, self._chance)
        self._count = 0
        self._uploads: list[Upload] = []

    def run(self) -> None:
        """Until the course is over; what was begun is brought to its end."""
        while not self._course.over.is_set():
            try:
                self._something()
            except GivenUp as error:
                self._note("given-up", client=self._number, said=str(error))
            self._pause(0.3)
        self._caller.close()

    def _something(self) -> None:
        what = self._chance.random()
        if what < 0.25 or not self._uploads:
            self._upload()
        elif what < 0.85:
            self._job()
        elif what < 0.93:
            self._read()
        else:
            self._delete_upload()

    def _pause(self, longest: float) -> None:
        self._course.over.wait(self._chance.uniform(0.0, longest))

    def _key(self, kind: str) -> str:
        self._count += 1
        return f"{PREFIX}{kind}-{self._number}-{self._count}-{self._chance.randrange(10**9)}"

    # --- files ------------------------------------------------------------------------------------

    def _upload(self) -> None:
        key = self._key("file")
        size = self._chance.choice([0, 1, 100, 5_000, 20_000, 70_000, 70_000, 400_000])
        content = self._chance.randbytes(size)
        if self._chance.random() < 0.3:
            body, headers = _upload_form(key, content)
            length = {**headers, "Content-Length": str(len(body))}
            whole = self._chance.random() < 0.3
            part = body if whole else body[: self._chance.randrange(len(body) - 4)]
            self._note("upload.whole" if whole else "upload.cut", key=key)
            self._caller.break_off("POST", "files/contents/", part, length)
            if self._chance.random() < 0.4:
                return  # and never comes back
        self._send(key, content)

    def _send(self, key: str, content: bytes) -> Upload:
        """Until it is acknowledged, at times twice."""
        sha512 = hashlib.sha512(content).hexdigest()
        body, headers = _upload_form(key, content)
        self._note("upload.whole", key=key)
        for _ in range(2 if self._chance.random() < 0.2 else 1):
            reply = self._api.insist("POST", "files/contents/", body, headers, expect=(201,))
            file_id = str(reply.json()["id"])
            facts = {"id": file_id, "sha512": sha512, "size": len(content)}
            self._note("upload.acknowledged", key=key, **facts)
        sent = Upload(key, file_id, sha512)
        self._uploads.append(sent)
        del self._uploads[:-20]
        return sent

    def _read(self) -> None:
        upload = self._chance.choice(self._uploads)
        reply = self._api.insist("GET", f"files/{upload.id}/contents/")
        if hashlib.sha512(reply.content).hexdigest() != upload.sha512:
            self._note("read.differs", key=upload.key, id=upload.id)

    def _delete_upload(self) -> None:
        upload = self._uploads.pop(self._chance.randrange(len(self._uploads)))
        self._note("upload.delete-asked", key=upload.key, id=upload.id)
        # 404: an earlier try of this request did it. 400: a job has yet to read it.
        reply = self._api.insist("DELETE", f"files/{upload.id}/", expect=(204, 404, 400))
        if reply.status != 400:
            self._note("upload.deleted", key=upload.key, id=upload.id)

    # --- jobs -------------------------------------------------------------------------------------

    def _job(self) -> None:
        key = self._key("job")
        chance = self._chance
        to_stop = chance.random() < 0.25
        lines = 40 if to_stop else chance.randrange(1, 7)
        code = chance.choice([0, 0, 0, 3])
        read = chance.choice(self._uploads) if chance.random() < 0.3 else None
        runs = chance.randrange(2, 6) if chance.random() < 0.15 and not to_stop else 0
        definition = self._definition(key, lines, to_stop, code, read, is_study=bool(runs))
        if runs:
            table = "".join(f"{n}\n" for n in ("v", *range(runs)))
            definition["paramFile"] = {"id": self._send(self._key("file"), table.encode()).id}
        body = json.dumps(definition).encode()
        facts = {"lines": lines, "code": code, "reads": read.sha512 if read else "", "runs": runs}
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        self._note("job.asked", key=key, **facts)
        if chance.random() < 0.05:
            length = {**headers, "Content-Length": str(len(body))}
            self._caller.break_off("POST", "jobs/", body, length)
            return
        job_id = ""
        for _ in range(2 if chance.random() < 0.1 else 1):
            reply = self._api.insist("POST", "jobs/", body, headers, expect=(201,))
            job_id = str(reply.json()["id"])
            self._note("job.acknowledged", key=key, id=job_id)
        if chance.random() < 0.05:
            return  # a draft, for ever
        if not self._submit(key, job_id):
            return
        if to_stop or chance.random() < 0.1:
            self._pause(2.0)
            if chance.random() < 0.3:
                self._snapshot(job_id)
            self._stop(key, job_id)
        if self._watch(key, job_id) and chance.random() < 0.2:
            self._delete_job(key, job_id)

    def _definition(
        self, key: str, lines: int, slow: bool, code: int, read: Upload | None, *, is_study: bool
    ) -> dict[str, object]:
        pause = 0.5 if slow else self._chance.choice([0.0, 0.05, 0.3])
        command = payload(
            self._course.preamble,
            run_key(key, "$RUN_ID") if is_study else key,
            lines=lines,
            pause=pause,
            code=code,
            reads=f"{read.key}.bin" if read else "",
        )
        return {
            "name": key,
            "jobanalyses": [
                {
                    "command": command,
                    "analysis": {"code": "user_included", "version": None},
                    "hardware": {"coreType": "emerald", "coresPerSlot": 1, "slots": 2},
                    "inputFiles": [{"id": read.id}] if read else [],
                }
            ],
        }

    def _submit(self, key: str, job_id: str) -> bool:
        headers = {"Idempotency-Key": f"submit-{key}"}
        self._note("submit.asked", key=key, id=job_id)
        if self._chance.random() < 0.05:
            self._caller.break_off("POST", f"jobs/{job_id}/submit/", b"", headers)
            return False
        for _ in range(2 if self._chance.random() < 0.1 else 1):
            self._api.insist("POST", f"jobs/{job_id}/submit/", headers=headers)
            self._note("submit.acknowledged", key=key, id=job_id)
        return True

    def _snapshot(self, job_id: str) -> None:
        """Where it executes; where it does not yet, or not any more, it is refused."""
        expect = (200, 400, 404)
        self._api.insist("POST", f"jobs/{job_id}/runs/1/snapshot/", expect=expect)

    def _stop(self, key: str, job_id: str) -> None:
        self._api.insist("POST", f"jobs/{job_id}/stop/", expect=(202,))
        self._note("stop.acknowledged", key=key, id=job_id)

    def _watch(self, key: str, job_id: str) -> bool:
        """Until nothing of the job is left, or patience is. Returns whether it was seen to end."""
        for _ in range(80):
            reply = self._api.insist("GET", f"jobs/{job_id}/statuses/")
            newest = (reply.json()["results"] or [{"status": ""}])[0]
            if newest["status"] == "Completed":
                self._note("job.ended", key=key, id=job_id, reason=newest["statusReason"])
                cluster = self._api.insist("GET", f"jobs/{job_id}/cluster_statuses/").json()
                if cluster["results"][0]["status"] == "Stopped":
                    return True
            if self._course.over.is_set():
                return False
            time.sleep(self._chance.uniform(0.1, 0.6))
        return False

    def _delete_job(self, key: str, job_id: str) -> None:
        self._note("job.delete-asked", key=key, id=job_id)
        self._api.insist("DELETE", f"jobs/{job_id}/", expect=(204, 404))
        self._note("job.deleted", key=key, id=job_id)
