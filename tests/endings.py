"""What the API must say of a run that ended, and that nothing of it is left: for the matrix of
endings in `tests/faults`.
"""

import contextlib
import io
import os
import re
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Client, RunningServer, wait_for

LEFT_SECONDS = 5.0  # after its end or after the grace: nothing of a run may be there any longer
GRACE_SECONDS = 1.0  # of the servers of these tests
STEP = "the command of analysis 1"

# The words of a job's history, the first first.
STARTED = ("Pending", "Queued", "Started")
RAN = (*STARTED, "Validated", "Executing")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run comes to its end, and what is said of it then."""

    command: str = "true"
    files: Mapping[str, bytes] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # of the analysis
    reason: str  # a regular expression of the whole statusReason
    verdict: str = "failed"
    cause: str = ""
    ending: str = "exited"
    code: int | None = None
    signal: str | None = None
    step: str = STEP
    line: str | None = None  # found in the line that shows it; None: no line does
    reached: tuple[str, ...] = ()  # limits that cost it something
    ran: bool = True
    late: bool = False  # it is told only when its outputs are stored


def failed(reason: str) -> str:
    return f"A run failed: {reason}"


def coded(code: int, more: str = "") -> str:
    """The reason of a step that ended with this code."""
    return failed(f"{STEP} ended with exit code {code}{more}")


def well(command: str, **more: Any) -> Ending:
    fields = {"reason": "Completed successfully", "verdict": "completed", "code": 0, "step": ""}
    return Ending(command=command, **{**fields, **more})


def submitted(client: Client, wanted: Ending) -> str:
    """A job that is on its way to this end."""
    inputs = [client.upload(name, content)["id"] for name, content in wanted.files.items()]
    job = client.create(wanted.command, inputs=inputs, **wanted.options)
    client.submit(job["id"])
    return str(job["id"])


def ended(server: RunningServer, client: Client, job: str, wanted: Ending) -> dict[str, Any]:
    """Wait for the end and see that everything about it is as it should be. Returns the outcome."""
    said = client.finished(job)
    over = time.monotonic()
    run = client.get(f"jobs/{job}/runs/1/")
    outcome: dict[str, Any] = run["outcome"]
    outputs = client.outputs(job)
    row = [said, *(outcome[k] for k in ("verdict", "cause", "ending", "exitCode", "signal"))]
    print(" | ".join(str(cell) for cell in [*row, (outcome["evidence"] or {}).get("text")]))
    story = f"{outcome}\n{outputs.get('process_output.log', b'').decode(errors='replace')[-3000:]}"

    assert re.fullmatch(wanted.reason, said), f"{said!r}\n{story}"
    _has_its_history(client, job, wanted)
    told = [outcome[k] for k in ("verdict", "cause", "ending", "exitCode", "signal", "step")]
    assert told == [
        wanted.verdict,
        wanted.cause,
        wanted.ending,
        wanted.code,
        wanted.signal,
        wanted.step,
    ], story
    assert outcome["isGood"] == (wanted.verdict in ("completed", "stopped"))
    assert outcome["message"] and not outcome["message"].endswith("."), story
    assert bool(outcome["advice"]) == (not outcome["isGood"]), story
    used = outcome["used"]
    assert {name for name, use in used.items() if use["isReached"]} == set(wanted.reached), story

    _is_proved(outcome, outputs, wanted.line)
    if said != "Completed successfully" and "process_output.log" in outputs:
        last = outputs["process_output.log"].decode(errors="replace").splitlines()[-1]
        assert last == f"[simyard] {said}"
    nothing_is_left(server, client, job, over + LEFT_SECONDS)
    return outcome


def _has_its_history(client: Client, job: str, wanted: Ending) -> None:
    """Where its processes did not end well, that is told before its log is judged."""
    entries = list(reversed(client.statuses(job)))
    words = RAN if wanted.ran else STARTED
    if (wanted.ending, wanted.code) != ("exited", 0) and not wanted.late:
        words = (*words, "Stopping")
        assert entries[-1]["statusReason"].startswith(entries[-2]["statusReason"] or ""), entries
    assert tuple(entry["status"] for entry in entries) == (*words, "Completed"), entries


def _is_proved(outcome: Mapping[str, Any], outputs: Mapping[str, bytes], line: str | None) -> None:
    """The line that is named stands in that file, at that place."""
    evidence = outcome["evidence"]
    if line is None:
        assert evidence is None, outcome
        return
    assert evidence is not None, outcome
    assert re.search(line, evidence["text"]), outcome
    content, at = outputs[evidence["path"]], evidence["offset"]
    there = content[at:].split(b"\n", 1)[0].decode(errors="replace").strip()
    assert there.startswith(evidence["text"]), (there, evidence)
    assert at == 0 or content[at - 1 : at] == b"\n"
    if evidence["line"]:
        assert content.count(b"\n", 0, at) + 1 == evidence["line"]


def is_over_soon(client: Client, job: str) -> None:
    """All its processes are gone in time, once it was told to end."""
    seconds = GRACE_SECONDS + LEFT_SECONDS
    wait_for(lambda: not _alive(client, job), f"the end of processes of {job}", seconds)


def tokens(client: Client, job: str) -> list[str]:
    """Of the attempts at a job."""
    return [cluster["id"] for cluster in client.get(f"jobs/{job}/clusters/")["results"]]


def nothing_is_left(server: RunningServer, client: Client, job: str, until: float) -> None:
    """No process, no folder and no control group of any attempt at the job."""
    folders = [server.data / "runs" / token for token in tokens(client, job)]

    def left() -> list[object]:
        there = [folder for folder in folders if folder.exists()]
        return [*_alive(client, job), *there, *(g for f in folders for g in groups(f.name))]

    seconds = max(0.1, until - time.monotonic())
    wait_for(lambda: not left(), f"the end of all that {job} had", seconds)


def _alive(client: Client, job: str) -> list[int]:
    return [pid for token in tokens(client, job) for pid in alive(token)]


def alive(token: str) -> list[int]:
    """Processes of an attempt, its supervisor among them."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and int(entry) != os.getpid():
                place = Path("/proc", entry)
                told = (
                    place.joinpath("environ").read_bytes() + place.joinpath("cmdline").read_bytes()
                )
                in_group = token in place.joinpath("cgroup").read_text()
                if in_group or token.encode() in told:
                    found.append(int(entry))
    return found


def groups(token: str) -> list[str]:
    """Control groups of an attempt."""
    top = Path("/sys/fs/cgroup")
    return [str(path) for path in (*top.glob(f"*{token}"), *top.glob(f"*/*{token}"))]


def zipped(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def zipped_folder(folder: Path) -> bytes:
    """A folder as `zip -r` packs it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return zipped({str(path.relative_to(folder.parent)): path.read_bytes() for path in paths})
