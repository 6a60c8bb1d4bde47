"""Mixed work for two minutes: 50 clients upload, create, submit, watch, tail, download and delete.

No error is allowed, and the server's memory must not grow with the work: its level after 30 s and
at the end are compared. LOAD_SECONDS and LOAD_CLIENTS change the size. Beside the requests: what a
bare asyncio server on the same machine answers at the same number of connections.
"""

import asyncio
import json
import multiprocessing
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.client import HTTPConnection

from rig import Http, Server, Table, percentile, resident_mb, serving, slope, together

SECONDS = float(os.environ.get("LOAD_SECONDS", "120"))
CLIENTS = int(os.environ.get("LOAD_CLIENTS", "50"))
SETTLED_SECONDS = min(30.0, SECONDS / 3)
EDGE = "simyard-bench-edge"
COMMAND = "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done; sha512sum < in.bin > out.txt"
FLAT_MB_A_MINUTE = 4.0


class Clock:
    """Times by kind of request, and what went wrong."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []

    def timed(self, kind: str, call: Callable[[], bytes]) -> bytes:
        began = time.perf_counter()
        body = call()
        self.times[kind].append((time.perf_counter() - began) * 1e3)
        return body


def _form(content: bytes) -> bytes:
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="in.bin"\r\n\r\n'
    return head.encode() + content + f"\r\n--{EDGE}--\r\n".encode()


def _job(file_id: str) -> bytes:
    analysis = {
        "command": COMMAND,
        "analysis": {"code": "user_included", "version": "0"},
        "hardware": {"coreType": "emerald", "coresPerSlot": 1, "slots": 1},
        "inputFiles": [{"id": file_id}],
    }
    return json.dumps({"name": "load", "jobanalyses": [analysis]}).encode()


def _story(server: Server, http: Http, clock: Clock, chance: random.Random) -> None:
    """One user's job from its input to its removal."""
    kind = f"multipart/form-data; boundary={EDGE}"
    form = _form(chance.randbytes(chance.choice([1_000, 20_000, 200_000])))
    timed = clock.timed
    file = json.loads(
        timed("upload", lambda: http.call("POST", "/api/v2/files/contents/", form, kind))
    )
    made = timed("create", lambda: http.call("POST", "/api/v2/jobs/", _job(file["id"])))
    job = f"/api/v2/jobs/{json.loads(made)['id']}/"
    timed("submit", lambda: http.call("POST", f"{job}submit/"))
    while True:
        said = json.loads(timed("poll", lambda: http.call("GET", f"{job}statuses/")))
        word = said["results"][0]["status"]
        if word == "Completed":
            assert said["results"][0]["statusReason"] == "Completed successfully", said
            break
        if word == "Executing":
            _tail(server, clock, job)
        time.sleep(chance.uniform(0.2, 0.6))
    listed = json.loads(timed("list", lambda: http.call("GET", f"{job}files/")))
    for output in listed["results"]:
        path = f"/api/v2/files/{output['id']}/contents/"
        timed("download", lambda path=path: http.call("GET", path))  # type: ignore[misc]
    while http.get(f"{job}cluster_statuses/")["results"][0]["status"] != "Stopped":
        time.sleep(0.2)
    timed("delete", lambda: http.call("DELETE", job))
    timed("delete", lambda: http.call("DELETE", f"/api/v2/files/{file['id']}/"))


def _tail(server: Server, clock: Clock, job: str) -> None:
    """The end of the live log; the run may be over by the time that this arrives."""
    began = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", server.port)  # which understands chunks
    headers = {"Authorization": f"Token {server.key}"}
    connection.request("GET", f"{job}runs/1/tail/process_output.log/", headers=headers)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    if reply.status not in (200, 400, 404):
        raise RuntimeError(f"{reply.status} {body[:200]!r}")
    clock.times["tail"].append((time.perf_counter() - began) * 1e3)


def _work(server: Server, clock: Clock, memory: list[tuple[float, float]]) -> float:
    began = time.monotonic()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(2.0):
            memory.append((time.monotonic() - began, resident_mb(server.pid)))

    def client(n: int) -> None:
        http, chance = server.connect(), random.Random(n)
        while time.monotonic() - began < SECONDS:
            try:
                _story(server, http, clock, chance)
            except Exception as error:
                clock.errors.append(f"{type(error).__name__}: {error}")
                http.close()
                http = server.connect()
        http.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return together(CLIENTS, client)
    finally:
        over.set()
        watcher.join()


def run(table: Table) -> None:
    table.title(f"load: {CLIENTS} clients, {SECONDS:.0f} s of mixed work")
    clock, memory = Clock(), list[tuple[float, float]]()
    with serving("cores = 8\n") as server:
        first = resident_mb(server.pid)
        took = _work(server, clock, memory)
    requests = sum(len(times) for times in clock.times.values())
    for text in sorted(set(clock.errors))[:5]:
        print(f"    {text[:400]}")
    bare = _bare()
    beside = f"{requests / took / bare:.3f} x a bare asyncio server ({bare:.0f}/s)"
    table.add("errors", str(len(clock.errors)), "0", "", not clock.errors)
    table.add("requests", f"{requests} = {requests / took:.0f}/s", "", beside)
    table.add("jobs from input to removal", f"{len(clock.times['delete']) // 2}")
    for kind, times in clock.times.items():
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        table.add(f"{kind}, p50 / p99", f"{p50:.0f} / {p99:.0f} ms", "", f"{len(times)} requests")
    settled = [sample for sample in memory if sample[0] >= SETTLED_SECONDS]
    grows = slope(settled)
    levels = f"{first:.0f} / {settled[0][1]:.0f} / {settled[-1][1]:.0f} MB"
    table.add(f"memory: start / {SETTLED_SECONDS:.0f} s / end", levels)
    flat = grows <= FLAT_MB_A_MINUTE
    promised = f"<= {FLAT_MB_A_MINUTE:.0f} MB/min"
    table.add("memory after that grows by", f"{grows:.2f} MB/min", promised, "", flat)


# --- beside it ------------------------------------------------------------------------------------


def _bare() -> float:
    """Requests a second of a server that does nothing, at the same number of connections."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve_nothing, args=(there,), daemon=True)
    process.start()
    port = here.recv()
    count = 200

    def client(_: int) -> None:
        http = Http(port, "nobody")
        for _ in range(count):
            http.call("GET", "/")
        http.close()

    took = together(CLIENTS, client)
    process.terminate()
    process.join()
    return CLIENTS * count / took


def _serve_nothing(told: "multiprocessing.connection.Connection") -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    run(Table())
