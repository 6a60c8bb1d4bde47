"""The logs of runs, the same while they execute and afterwards."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import Client, RunningServer, wait_for

REAL = Path(__file__).parents[1] / "data" / "solver-logs"


def executing(client: Client, command: str, **changes: Any) -> str:
    """A job that has done this, and goes on when `go` is there."""
    command = f"{command}\ntouch ready; while [ ! -e go ]; do sleep 0.05; done"
    job = str(client.create(command, **changes)["id"])
    client.submit(job)
    ready = f"jobs/{job}/runs/1/tail/ready"
    wait_for(lambda: client.http.get(ready).status_code == 200, "ready")
    return job


def folder(server: RunningServer, mark: str) -> Path:
    """The work folder that holds a file of this name."""
    (found,) = (server.data / "runs").glob(f"*/home/work/{mark}")
    return found.parent


def ends(client: Client, server: RunningServer, job: str, mark: str) -> None:
    (folder(server, mark) / "go").touch()
    client.finished(job)


def window(client: Client, job: str, query: str) -> tuple[bytes, dict[str, int], dict[str, str]]:
    reply = client.call("GET", f"jobs/{job}/runs/1/log/{query}", 200)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Security-Policy"].startswith("sandbox")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    names = ("Start", "End", "Size", "Line")
    place = {n: int(reply.headers[f"Log-{n}"]) for n in names if f"Log-{n}" in reply.headers}
    assert len(reply.content) == place["End"] - place["Start"]
    return reply.content, place, dict(reply.headers)


def test_the_same_while_it_executes_and_afterwards(server: RunningServer, client: Client) -> None:
    job = executing(client, "seq -f 'line %g' 30000; printf '\\xff\\xfe\\0rubbish'; touch same1")
    whole = b"".join(b"line %d\n" % i for i in range(1, 30_001)) + b"\xff\xfe\0rubbish"

    def look(*, live: bool) -> list[tuple[bytes, dict[str, int]]]:
        queries = [
            ("", 0, 262144),
            ("?offset=0&length=20", 0, 20),
            ("?offset=5&length=20&align=line", 0, 21),
            ("?offset=200000&length=300&align=line", 199995, 200292),
            ("?offset=-10&align=line", len(whole) - 10, len(whole)),
            ("?offset=-10&length=4", len(whole) - 10, len(whole) - 6),
            ("?offset=99999999", len(whole), len(whole)),
            ("?path=process_output.log&offset=-99999999&length=6", 0, 6),
        ]
        found = []
        for query, start, end in queries:
            content, place, headers = window(client, job, query)
            if "align" in query:
                assert content == b"" or whole[: place["Start"]][-1:] in (b"", b"\n"), query
            else:
                assert (place["Start"], place["End"]) == (start, end), query
            assert content == whole[place["Start"] : place["End"]], query
            assert place["Size"] == len(whole)
            assert place["Line"] == whole[: place["Start"]].count(b"\n") + 1, query
            assert headers["cache-control"] == ("no-store" if live else "private, no-cache")
            found.append((content, place))
        return found

    before = look(live=True)
    tag = window(client, job, "?offset=3")[2]["etag"]
    path = f"jobs/{job}/runs/1/log/?offset=3"
    client.call("GET", path, 304, headers={"If-None-Match": tag})
    with (folder(server, "same1") / "process_output.log").open("ab") as log:
        log.write(b"\n")
    client.call("GET", path, 200, headers={"If-None-Match": tag})
    whole += b"\n"
    ends(client, server, job, "same1")
    after = look(live=False)
    assert [content for content, _ in before[:4]] == [content for content, _ in after[:4]]
    tag = window(client, job, "?offset=3")[2]["etag"]
    client.call("GET", path, 304, headers={"If-None-Match": tag})


def test_a_reader_of_whole_lines_sees_every_byte(server: RunningServer, client: Client) -> None:
    script = (
        "import sys; w = sys.stdout.buffer.write;"
        " [w(bytes(range(256)) * (i % 7) + b'\\n' * (i % 3)) for i in range(400)];"
        " w(b'x' * 300000 + b'end')"
    )
    job = executing(client, f'python3 -c "{script}"; touch bytes1')
    whole = (folder(server, "bytes1") / "process_output.log").read_bytes()

    def every() -> bytes:
        at, seen = 0, b""
        while True:
            content, place, _ = window(client, job, f"?offset={at}&length=70000&align=line")
            seen += content[at - place["Start"] :]
            if place["End"] == place["Size"]:
                return seen
            assert place["End"] > at
            at = place["End"]

    assert every() == whole
    ends(client, server, job, "bytes1")
    assert every() == whole


def test_what_is_asked_wrongly(client: Client) -> None:
    job = client.run("echo out")["id"]
    log = f"jobs/{job}/runs/1/log/"
    wrong = {
        "?offset=x": "offset",
        "?offset=1e3": "offset",
        "?length=0": "length",
        "?length=1048577": "length",
        "?align=word": "align",
        "search/": "q",
        "search/?q=a%0Ab": "q",
        "search/?q=(&regex=1": "q",
        "search/?q=a&regex=2": "regex",
        "search/?q=a&limit=0": "limit",
        "search/?q=a&from=-1": "from",
        "marks/?buckets=0": "buckets",
        "marks/?buckets=x": "buckets",
    }
    for query, field in wrong.items():
        body = client.get(log + query, 400)
        assert list(body) == [field], query
    for path in ("nope", "../process_output.log", "/etc/passwd", "a%00b", "%ff", "."):
        for what in ("", "search/?q=a&x=", "marks/"):
            sep = "&" if "?" in what else "?"
            client.call("GET", f"{log}{what}{sep}path={path}", 404)
    client.call("GET", f"jobs/{job}/runs/2/log/", 404)
    client.call("GET", "jobs/nobody/runs/1/log/", 404)


def test_no_way_out_of_the_folder(server: RunningServer, client: Client) -> None:
    job = executing(
        client,
        "ln -s /etc/passwd link; ln -s / root; mkdir d; ln -s ../.. d/up; mkfifo pipe;"
        " echo fine > d/fine; rm process_output.log; ln -s /etc/passwd process_output.log;"
        " touch out1",
    )
    log = f"jobs/{job}/runs/1/log/"
    paths = ("link", "root/etc/passwd", "d/up/x", "d/../link", "d", "pipe", "process_output.log")
    for path in paths:
        for what in ("", "marks/"):
            client.call("GET", f"{log}{what}?path={path}", 404)
        client.call("GET", f"{log}search/?q=root&path={path}", 404)
    assert window(client, job, "?path=d/fine")[0] == b"fine\n"
    ends(client, server, job, "out1")


def test_a_log_of_ten_gigabytes(server: RunningServer, client: Client) -> None:
    """It is sparse: what counts is that no request takes long, and none reads all of it."""
    job = executing(client, "echo begin > big.log; touch big1")
    size = 10 << 30
    with (folder(server, "big1") / "big.log").open("r+b") as big:
        big.seek(size - 20)
        big.write(b"\nthe last line: end\n")
    try:
        content, place, _ = window(client, job, "?path=big.log&offset=-10&align=line")
        assert content == b"the last line: end\n" and place["Size"] == size
        assert "Line" not in place  # nobody has counted so far
        assert window(client, job, "?path=big.log")[1]["Line"] == 1
        search = f"jobs/{job}/runs/1/log/search/?path=big.log&q=end&from="
        found = client.get(search + "0")
        assert not found["done"] and 0 < found["scannedTo"] < size and "total" not in found
        found = client.get(f"{search}{size - 1000}")
        assert found["done"] and [m["at"] for m in found["matches"]] == [size - 4]
        assert found["matches"][0]["text"] == "the last line: end"
        marks = client.get(f"jobs/{job}/runs/1/log/marks/?path=big.log")
        assert not marks["done"] and 0 < marks["scannedTo"] < size
        again = client.get(f"jobs/{job}/runs/1/log/marks/?path=big.log")
        assert again["scannedTo"] > marks["scannedTo"]
    finally:
        (folder(server, "big1") / "big.log").unlink()
        client.call("POST", f"jobs/{job}/stop/", 202)


def test_search_and_marks_of_a_solver_s_log(server: RunningServer, client: Client) -> None:
    real = (REAL / "of-cfl-exit0.log").read_bytes()
    file = client.upload("real.txt", real)["id"]
    job = executing(
        client, "cp real.txt log.icoFoam; touch real1", inputs=[file], code="openfoam", version=None
    )
    path = "path=log.icoFoam"

    def look() -> list[Any]:
        runs = f"jobs/{job}/runs/1/"
        found = client.get(f"{runs}log/search/?{path}&q=time%20%3D&limit=1000")
        assert found["done"] and found["total"] == len(found["matches"]) > 50
        for match in found["matches"]:
            line = real[match["offset"] :].split(b"\n", 1)[0].decode()
            assert match["text"] == line
            assert line[match["start"] : match["end"]].lower() == "time ="
            assert real[: match["offset"]].count(b"\n") + 1 == match["line"]
        some = client.get(f"{runs}log/search/?{path}&q=^Time.*[05]$&regex=1&case=1&limit=3")
        assert len(some["matches"]) == 3 and not some["done"]
        rest = client.get(
            f"{runs}log/search/?{path}&q=^Time.*[05]$&regex=1&case=1&from={some['scannedTo']}"
        )
        assert rest["matches"][0]["offset"] > some["matches"][-1]["offset"]
        marks = client.get(f"{runs}log/marks/?{path}&buckets=7")
        assert len(marks["steps"]) == 7 and sum(marks["steps"]) == real.count(b"\nTime = ")
        return [found["matches"], some["matches"], rest["matches"], marks["steps"]]

    before = look()
    wait_for(lambda: client.get(f"jobs/{job}/runs/1/series/") != [], "its series")
    state = client.get(f"jobs/{job}/runs/1/convergence/")
    assert state["state"] == "unknown" and "through time" in state["sentence"]
    ends(client, server, job, "real1")
    assert look() == before
    assert client.get(f"jobs/{job}/runs/1/convergence/")["eta"] is None


def test_convergence_of_a_run(server: RunningServer, client: Client) -> None:
    real = (REAL / "of-simple-ok.log").read_bytes()
    at = real.index(b"\nTime = 200\n")
    file = client.upload("real.txt", real)["id"]
    job = executing(
        client,
        "mkdir -p case/system; echo 'endTime  1000;' > case/system/controlDict;"
        f" head -c {at} real.txt > case/log.simpleFoam; touch conv1",
        inputs=[file],
        code="openfoam",
        version=None,
    )
    found = client.get(f"jobs/{job}/runs/1/convergence/")
    assert found["state"] == "converging" and found["evidence"]["target"] == 0.001
    assert "0.001 at about iteration" in found["sentence"]
    assert 0 <= found["eta"]["low"] <= found["eta"]["seconds"]
    with (folder(server, "conv1") / "case/log.simpleFoam").open("ab") as log:
        log.write(real[at:])
    found = client.get(f"jobs/{job}/runs/1/convergence/")
    assert found["state"] == "converged" and found["eta"] is None
    assert found["sentence"] == ("The log says so: SIMPLE solution converged in 282 iterations")
    ends(client, server, job, "conv1")
    assert client.get(f"jobs/{job}/runs/1/convergence/")["state"] == "converged"
    python = client.run("echo 1", code="python")["id"]
    assert client.get(f"jobs/{python}/runs/1/convergence/")["sentence"] == (
        "Not known: no residuals are known of it."
    )


@pytest.mark.faults
def test_a_stored_log_that_was_damaged(fresh: Callable[..., RunningServer]) -> None:
    server = fresh().start()
    client = server.client()
    job = client.run("seq 100000")["id"]
    window(client, job, "")
    for path in (server.data / "blobs").rglob("*"):
        if path.is_file() and path.stat().st_size > 100_000:
            with path.open("r+b") as blob:
                blob.seek(path.stat().st_size // 2)
                blob.write(os.urandom(16))
    body = client.http.get(f"jobs/{job}/runs/1/log/")
    assert body.status_code >= 500 and "detail" in body.json()
