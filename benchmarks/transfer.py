"""P6: uploads and downloads. Beside them, measured in turns with them: a bare loop in one process
that does the same hashing, encryption, writing and flushing; the framework's own way of taking an
upload, which does none but the writing; and a bare socket that decrypts and sends.

Measured in memory first (a tmpfs), which shows what the server itself takes, then on the disk,
whose own speed stands beside.
"""

import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rig import Http, Server, Table, peak_mb, percentile, resident_mb, serving, together

# The form parser that the framework asks for. It and ours cannot be installed side by side.
PEER = Path(__file__).parent.parent / ".cache" / "peer"

MEMORY = Path("/dev/shm")

MIB = 1 << 20
SIZE = 512 * MIB
ROUNDS = 5
SIDE_BY_SIDE = 4
BOUNDARY = "bench-boundary"
PIECE = os.urandom(MIB)

FRAMEWORK = """
import os, shutil, sys, uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route
def keep(source):
    with open(sys.argv[1], "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
async def upload(request):
    async with request.form() as form:
        await run_in_threadpool(keep, form["file"].file)
    return JSONResponse({})
class S(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
app = Starlette(routes=[Route("/upload", upload, methods=["POST"])])
S(uvicorn.Config(app, port=0, loop="uvloop", http="httptools", log_level="error")).run()
"""

BARE_SEND = """
import socket, struct, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
path, key, size = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    cipher = AESGCM(key)
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size)
    with open(path, "rb") as file:
        number = 0
        while sealed := file.read((1 << 20) + 16):
            connection.sendall(cipher.decrypt(struct.pack(">Q", number) + bytes(4), sealed, None))
            number += 1
    connection.close()
"""


def _upload(http: Http, path: str, size: int) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="bench.bin"\r\n\r\n'
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    http.send_head("POST", path, len(head) + size + len(tail), kind)
    http.socket.sendall(head)
    for _ in range(size // MIB):
        http.socket.sendall(PIECE)
    http.socket.sendall(tail)
    return http.reply()


def _bare_seal(path: Path, key: bytes) -> float:
    """Seconds for the same work on the same number of bytes, in one loop, from memory."""
    md5, sha512, cipher = hashlib.md5(usedforsecurity=False), hashlib.sha512(), AESGCM(key)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for number in range(SIZE // MIB):
            md5.update(PIECE)
            sha512.update(PIECE)
            file.write(cipher.encrypt(number.to_bytes(8, "big") + bytes(4), PIECE, None))
        os.fsync(file.fileno())
    return time.perf_counter() - began


@contextmanager
def _helper(code: str, scratch: Path, *argv: str) -> Iterator[int]:
    """The port of a small server that is not ours; its temporary files go to scratch."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PEER), "TMPDIR": str(scratch)},
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _median_rate(seconds: list[float]) -> float:
    return SIZE / 1e6 / percentile(seconds, 0.5)


def _uploads(table: Table, server: Server, bare_file: Path, key: bytes, *, in_memory: bool) -> str:
    ours, bare, framework = [], [], []
    file_id = ""
    with _helper(FRAMEWORK, server.data, str(server.data / "framework")) as port:
        for _ in range(ROUNDS):
            bare.append(_bare_seal(bare_file, key))
            began = time.perf_counter()
            http = server.connect()
            file_id = json.loads(_upload(http, "/api/v2/files/contents/", SIZE))["id"]
            ours.append(time.perf_counter() - began)
            http.close()
            began = time.perf_counter()
            http = Http(port, "none")
            _upload(http, "/upload", SIZE)
            framework.append(time.perf_counter() - began)
            http.close()
            (server.data / "framework").unlink()
    rate, beside, theirs = _median_rate(ours), _median_rate(bare), _median_rate(framework)
    table.add(
        f"upload of {SIZE // MIB} MiB",
        f"{rate:.0f} MB/s",
        ">= 0.75 x bare loop",
        f"{rate / beside:.2f} x bare md5 + sha512 + AES-GCM + write + fsync ({beside:.0f} MB/s)",
        rate >= 0.75 * beside,
    )
    table.add(
        "  the framework's own way: no hash, no encryption",
        f"{theirs:.0f} MB/s",
        ">= 1.5 x that" if in_memory else "",
        f"{rate / theirs:.2f} x",
        rate >= 1.5 * theirs if in_memory else None,
    )
    return file_id


def _memory(table: Table, server: Server) -> None:
    connections = [server.connect() for _ in range(SIDE_BY_SIDE)]
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the peak begins anew
    before = resident_mb(server.pid)

    def one(n: int) -> None:
        _upload(connections[n], "/api/v2/files/contents/", SIZE // SIDE_BY_SIDE)

    took = together(SIDE_BY_SIDE, one)
    growth = max(0.0, peak_mb(server.pid) - before) / SIDE_BY_SIDE
    what = f"memory an upload, {SIDE_BY_SIDE} side by side"
    beside = f"{SIZE / 1e6 / took:.0f} MB/s together"
    table.add(what, f"{growth:.0f} MB", "<= 64 MB", beside, growth <= 64)


def _downloads(table: Table, server: Server, file_id: str, bare_file: Path, key: bytes) -> None:
    ours, bare = [], []
    path = f"/api/v2/files/{file_id}/contents/"
    with _helper(BARE_SEND, server.data, str(bare_file), key.hex(), str(SIZE)) as port:
        for _ in range(ROUNDS):
            for times, http in ((bare, Http(port, "none")), (ours, server.connect())):
                began = time.perf_counter()
                http.send_head("GET", path, 0, "text/plain")
                http.reply(lambda _: None)
                times.append(time.perf_counter() - began)
                http.close()
    rate, beside = _median_rate(ours), _median_rate(bare)
    table.add(
        f"download of {SIZE // MIB} MiB",
        f"{rate:.0f} MB/s",
        ">= 0.75 x bare",
        f"{rate / beside:.2f} x a bare decrypt-and-send loop ({beside:.0f} MB/s)",
        rate >= 0.75 * beside,
    )


def _ranges(table: Table, server: Server, file_id: str) -> None:
    http = server.connect()
    times = []
    rng = random.Random(1)
    for _ in range(200):
        start = rng.randrange(SIZE - (64 << 10))
        began = time.perf_counter()
        http.socket.sendall(
            f"GET /api/v2/files/{file_id}/contents/ HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Token {server.key}\r\n"
            f"Range: bytes={start}-{start + (64 << 10) - 1}\r\n\r\n".encode()
        )
        content = http.reply()
        times.append((time.perf_counter() - began) * 1e3)
        assert len(content) == 64 << 10
        at = start % MIB
        assert content == (PIECE + PIECE)[at : at + (64 << 10)]
    p50 = percentile(times, 0.5)
    beside = f"p95 {percentile(times, 0.95):.1f} ms; a loopback echo {_echo_ms():.2f} ms"
    table.add("a range of 64 KiB of it, p50", f"{p50:.1f} ms", "<= 5 ms", beside, p50 <= 5)


def _echo_ms() -> float:
    """A byte there and 64 KiB back over loopback, and nothing else."""
    ours, theirs = socket.socketpair()
    block = PIECE[: 64 << 10]
    times = []
    for _ in range(100):
        began = time.perf_counter()
        ours.send(b"x")
        theirs.recv(1)
        theirs.sendall(block)
        have = 0
        while have < len(block):
            have += len(ours.recv(len(block)))
        times.append((time.perf_counter() - began) * 1e3)
    ours.close()
    theirs.close()
    return percentile(times, 0.5)


def _raw_write(path: Path) -> float:
    """MB/s of the same number of bytes written and flushed, and nothing else."""
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(SIZE // MIB):
            file.write(PIECE)
        os.fsync(file.fileno())
    return SIZE / 1e6 / (time.perf_counter() - began)


def _measure(table: Table, at: Path | None) -> None:
    with serving(at=at) as server, tempfile.TemporaryDirectory(dir=server.data) as folder:
        bare_file, key = Path(folder) / "bare", os.urandom(32)
        if at is None:
            raw = sorted(_raw_write(bare_file) for _ in range(3))
            table.add("write + fsync alone, slowest to fastest", f"{raw[0]:.0f}-{raw[-1]:.0f} MB/s")
        file_id = _uploads(table, server, bare_file, key, in_memory=at is not None)
        _memory(table, server)
        _downloads(table, server, file_id, bare_file, key)
        _ranges(table, server, file_id)


def run(table: Table) -> None:
    what = f"P6 transfer: {SIZE // MIB} MiB, hashed twice, encrypted, flushed"
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 8 * SIZE:
        table.title(f"{what}; in memory")
        _measure(table, MEMORY)
    table.title(f"{what}; on this disk")
    _measure(table, None)


if __name__ == "__main__":
    run(Table())
