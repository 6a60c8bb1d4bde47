"""P1: from nothing to the first reply, and what an idle server takes."""

import subprocess
import sys
import time

from rig import Http, Table, children, resident_mb, scratch

FLOOR = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def root(request): return JSONResponse({})
app = Starlette(routes=[Route("/", root)])
class S(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)
S(uvicorn.Config(app, port=0, loop="uvloop", http="httptools", log_level="error")).run()
"""


def _floor() -> float:
    """The framework alone, with one route and nothing behind it."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOR], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    http = Http(port, "none")
    http.call("GET", "/")
    took = time.perf_counter() - began
    http.close()
    process.terminate()
    process.wait()
    process.stdout.close()
    return took


def _simyard(data: str) -> tuple[float, float]:
    """Seconds to the first authenticated reply, and idle memory some seconds later."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "simyard", "serve", "--data", data, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    with open(f"{data}/admin.key") as file:
        http = Http(port, file.read().strip())
    http.get("/api/v2/jobs/")
    took = time.perf_counter() - began
    time.sleep(3)
    memory = resident_mb(process.pid, *children(process.pid))
    http.close()
    process.terminate()
    process.wait()
    process.stdout.close()
    return took, memory


def run(table: Table) -> None:
    table.title("P1 start: first authenticated reply, idle memory with its fork server")
    floor = sorted(_floor() for _ in range(5))[2]
    with scratch() as folder:
        first, memory = _simyard(str(folder / "data"))
        again = sorted(_simyard(str(folder / "data"))[0] for _ in range(5))[2]
    beside = f"{again / floor:.1f} x the framework alone ({floor:.2f} s)"
    table.add("first start on an empty folder", f"{first:.2f} s", "<= 1.0 s", "", first <= 1.0)
    table.add(
        "start on a used folder, median of 5", f"{again:.2f} s", "<= 1.0 s", beside, again <= 1.0
    )
    table.add("idle memory (PSS)", f"{memory:.0f} MB", "<= 80 MB", "", memory <= 80)


if __name__ == "__main__":
    run(Table())
