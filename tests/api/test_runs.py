"""What happens to a job between submit and results."""

import io
import os
import signal
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness import Client, RunningServer, pages, strays, wait_for

CPUS = len(os.sched_getaffinity(0))


def job_folder(server: RunningServer, mark: str) -> Path:
    """The live work folder that holds a file of this name."""
    found: list[Path] = []

    def look() -> bool:
        found[:] = list((server.data / "runs").glob(f"*/home/work/{mark}"))
        return bool(found)

    wait_for(look, mark)
    return found[0].parent


# --- what a command sees --------------------------------------------------------------------------


def test_where_and_as_whom_a_command_runs(client: Client) -> None:
    job = client.run("pwd; cd ~; ls; cat machinefile; id -u; echo out; echo err >&2", cores=2)
    lines = client.log_of(job["id"]).splitlines()
    assert lines[0].endswith("/work")
    assert {"machinefile", "mpd.hosts", "work"} <= set(lines)
    assert lines.count("localhost") == 2
    assert lines[-2:] == ["out", "err"]
    if os.getuid() == 0:
        assert lines[-3] == "65534", "a server that is root does not run jobs as root"


def test_the_environment(client: Client) -> None:
    job = client.run("env -0 | tr '\\0' '\\n'", cores=4, envVars={"MINE": "a 'b' $c"})
    env = dict(line.split("=", 1) for line in client.log_of(job["id"]).splitlines() if "=" in line)
    assert env["MINE"] == "a 'b' $c"
    assert env["RESCALE_JOB_ID"] == job["id"]
    assert env["RESCALE_CORES_PER_SLOT"] == "4"
    assert env["RESCALE_CORES_PER_NODE"] == "4"
    assert env["RESCALE_NODES_PER_SLOT"] == "1"
    assert env["RESCALE_CORE_TYPE"] == "emerald"
    assert env["HOME"].endswith("home/job") or env["HOME"].endswith("/home")
    for name in [
        "RESCALE_SLOTS_PER_NODE",
        "RESCALE_GPUS_PER_SLOT",
        "RESCALE_GPUS_PER_NODE",
        "INSTANCE_ID",
        "RESCALE_THREADS_PER_SLOT",
        "RESCALE_THREADS_PER_NODE",
        "RESCALE_CLUSTER_ID",
        "MACHINES",
        "RESCALE_INTERCONNECT",
        "RESCALE_PROVIDER",
        "RESCALE_PREFERRED_REMSH",
        "MPI_ROOT",
        "MPI_FLAVOR",
        "USE_MPI",
        "PROGRAM_PATH",
        "FLUENT_HOSTS",
        "TMPDIR",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
    ]:
        assert name in env, name
    assert not [name for name in env if "MASTER_KEY" in name or "CRASH" in name]


def test_the_language_and_the_user_of_a_run(client: Client) -> None:
    command = "echo $LANG; id -un; id -gn; getent passwd $(id -u) | cut -d: -f1"
    log = client.log_of(client.run(command)["id"]).splitlines()
    assert log[-4:] == ["C.UTF-8", "job", "job", "job"]
    own = client.run("echo $LANG; echo $LC_ALL", envVars={"LANG": "C", "LC_ALL": "C"})
    assert client.log_of(own["id"]).splitlines()[-2:] == ["C", "C"]


def test_a_multi_line_command_from_windows(client: Client) -> None:
    job = client.run("mkdir sub\r\ncd sub\r\npwd\r\n")
    assert client.log_of(job["id"]).strip().endswith("job/work/sub")


def test_ranks_beyond_the_limit_are_cut(client: Client) -> None:
    job = client.run("echo $RESCALE_CORES_PER_SLOT", cores=36)
    assert client.log_of(job["id"]).splitlines()[-1] == "4"
    assert "are cut to 4" in client.log_of(job["id"]).splitlines()[0]


def test_shared_folder_of_a_job_on_several_nodes(client: Client) -> None:
    job = client.run(
        "cd ~/work/shared && touch here",
        hardware={"coreType": "jasper", "coresPerSlot": 120},
    )
    assert set(client.outputs(job["id"])) == {"here", "process_output.log"}


# --- inputs ---------------------------------------------------------------------------------------


def archive(kind: str) -> tuple[str, bytes]:
    """The same small case in every kind of archive."""
    files = {"case/run.sh": (0o755, b"#!/bin/sh\necho ran\n"), "case/data.txt": (0o640, b"data\n")}
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as out:
            for name, (mode, data) in files.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = (0o100000 | mode) << 16
                out.writestr(info, data)
    else:
        with tarfile.open(fileobj=content, mode=f"w:{kind.removeprefix('tar').strip('.')}") as out:
            for name, (mode, data) in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), mode
                out.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("case/link.txt")
            link.type, link.linkname = tarfile.SYMTYPE, "data.txt"
            out.addfile(link)
    return f"case.{kind}", content.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_are_unpacked(client: Client, kind: str) -> None:
    name, content = archive(kind)
    file = client.upload(name, content)
    job = client.run("./case/run.sh; cat case/data.txt; stat -c %a case/*", inputs=[file["id"]])
    log = client.log_of(job["id"])
    assert log.startswith("ran\ndata\n")
    assert "755" in log and "640" in log
    outputs = client.outputs(job["id"])
    assert outputs[name] == content, "the archive stays beside what was in it"
    assert outputs["case/data.txt"] == b"data\n"
    if kind != "zip":
        assert outputs["case/link.txt"] == b"data\n"


def test_decompress_false(client: Client) -> None:
    file = client.upload(*archive("zip"))
    job = client.run("ls", inputFiles=[{"id": file["id"], "decompress": False}])
    assert "case\n" not in client.log_of(job["id"])


def test_a_script_needs_no_mode(client: Client) -> None:
    """An upload loses the executable bit; `./run.sh` must work all the same."""
    file = client.upload("run.sh", b"#!/bin/sh\necho it runs\n")
    assert client.log_of(client.run("./run.sh", inputs=[file["id"]])["id"]) == "it runs\n"


def test_pre_and_post_processing(client: Client) -> None:
    pre = client.upload("pre.sh", b"#!/bin/sh\necho pre by name > pre.txt\n")
    post = client.upload("post.py", b"import sys; print('post', sys.argv[1])\n")
    job = client.run(
        "cat pre.txt",
        preProcessScript={"id": pre["id"]},
        postProcessScript={"id": post["id"]},
        postProcessScriptCommand="python3 post.py value",
    )
    assert client.log_of(job["id"]).splitlines() == ["pre by name", "post value"]


def test_several_analyses_in_order(client: Client) -> None:
    body: dict[str, Any] = client.create("echo one; export A=lost")
    analyses = body["jobanalyses"] * 3
    analyses[1] = {**analyses[1], "command": "# nothing to do"}
    analyses[2] = {**analyses[2], "command": "echo three $A", "envVars": {"A": "own"}}
    job = client.call("POST", "jobs/", 201, json={**body, "jobanalyses": analyses}).json()
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    assert client.log_of(job["id"]).splitlines() == ["one", "three own"]


# --- ends -----------------------------------------------------------------------------------------


NOT_FOUND = "the command of analysis 1 ended with exit code 127"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 3", "the command of analysis 1 ended with exit code 3"),
        ("false; true", None),
        ("no-such-program", f"{NOT_FOUND}: the command no-such-program was not found"),
        ("./absent.sh", f"{NOT_FOUND}: a file or folder is missing: ./absent.sh"),
        ("kill -9 $$", "the command of analysis 1 ended with exit code 137 (SIGKILL: killed)"),
        (
            "kill -SEGV $$",
            "the command of analysis 1 ended with exit code 139 (SIGSEGV: segmentation fault)",
        ),
        ("sh -c 'exit 200'", "the command of analysis 1 ended with exit code 200"),
    ],
)
def test_how_a_command_ends(client: Client, command: str, reason: str | None) -> None:
    job = client.create(command)
    client.submit(job["id"])
    ended = client.finished(job["id"])
    words = [entry["status"] for entry in client.statuses(job["id"])]
    if reason is None:
        assert ended == "Completed successfully"
        assert "Stopping" not in words
    else:
        assert ended == f"A run failed: {reason}"
        assert words[:3] == ["Completed", "Stopping", "Executing"]
        told_first = client.statuses(job["id"])[1]["statusReason"]
        assert ended.startswith(told_first)  # how it ended, before its log was judged
        assert client.log_of(job["id"]).splitlines()[-1] == f"[simyard] {ended}"


def test_a_failing_step_ends_the_run(client: Client) -> None:
    pre = client.upload("pre.sh", b"#!/bin/sh\necho before\nexit 4\n")
    job = client.run(
        "echo never", preProcessScript={"id": pre["id"]}, postProcessScriptCommand="echo never"
    )
    assert "A run failed: the pre-processing of analysis 1 ended with exit code 4" in (
        client.finished(job["id"])
    )
    assert "never" not in client.log_of(job["id"])


def test_stopping_keeps_what_was_written(client: Client) -> None:
    command = (
        "trap 'echo saved > checkpoint; exit 0' TERM; touch begun; while :; do sleep 0.1; done"
    )
    job = client.create(command)
    client.submit(job["id"])
    wait_for(lambda: client.status(job["id"]) == "Executing", "Executing")
    wait_for(
        lambda: any(
            e["path"] == "begun" for e in client.get(f"jobs/{job['id']}/runs/1/directory-contents/")
        ),
        "begun",
    )
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    assert client.statuses(job["id"])[0]["status"] in ("Stopping", "Completed")
    assert client.finished(job["id"]) == "Stopped by the user"
    assert client.outputs(job["id"])["checkpoint"] == b"saved\n"


def test_what_does_not_hear_a_stop_is_killed_with_all_it_started(client: Client) -> None:
    mark = f"77{os.getpid()}"
    command = f"trap '' TERM; (setsid sleep {mark}1 &); setsid setsid sleep {mark}2 & sleep {mark}3"
    job = client.create(command)
    client.submit(job["id"])
    wait_for(lambda: len(strays(f"sleep {mark}")) >= 3, "all three")
    began = time.monotonic()
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    assert client.finished(job["id"]) == "Stopped by the user"
    assert time.monotonic() - began < 1 + 5, "grace time and five seconds"
    assert strays(f"sleep {mark}") == []


def test_a_solver_behind_its_script_has_its_grace_time(client: Client) -> None:
    """The shell around it ends at once; what it started may still write its last step."""
    on_term = "trap 'sleep 0.5; echo last step > saved; exit 0' TERM"
    inner = f"{on_term}; touch up; while :; do sleep 0.1; done"
    job = client.create(f'bash -c "{inner}"; echo after')
    client.submit(job["id"])
    wait_for(lambda: client.http.get(f"jobs/{job['id']}/runs/1/tail/up").status_code == 200, "up")
    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    client.finished(job["id"])
    assert client.outputs(job["id"])["saved"] == b"last step\n"


def test_stopping_in_the_queue(client: Client) -> None:
    first = client.create("sleep 60", cores=4)
    second = client.create("echo never", cores=4)
    for job in (first, second):
        client.submit(job["id"])
    wait_for(lambda: client.status(first["id"]) == "Executing", "the first")
    wait_for(lambda: client.status(second["id"]) == "Queued", "the second in the queue")
    client.call("POST", f"jobs/{second['id']}/stop/", 202)
    assert client.finished(second["id"]) == "Stopped by the user"
    assert client.get(f"jobs/{second['id']}/files/")["count"] == 0
    run = client.get(f"jobs/{second['id']}/runs/1/")
    assert run["dateStarted"] is None and run["dateCompleted"] is not None
    client.call("POST", f"jobs/{first['id']}/stop/", 202)
    client.finished(first["id"])


def test_the_walltime(fresh) -> None:
    client = fresh("max_walltime_seconds = 2\nstop_grace_seconds = 0.5\n").start().client()
    job = client.create("echo begun; sleep 60", hardware={"walltime": 1})
    client.submit(job["id"])
    assert client.finished(job["id"]) == "A run failed: the walltime of 2 s was exceeded"
    run = client.get(f"jobs/{job['id']}/runs/1/")
    assert run["dateStarted"] and run["outputFileCount"] == 1
    assert client.log_of(job["id"]).startswith("begun\n")


def test_a_daemon_that_is_left_behind_is_ended(client: Client) -> None:
    mark = f"88{os.getpid()}"
    client.run(f"(setsid sleep {mark} &); exit 0")
    assert strays(f"sleep {mark}") == []


# --- the queue ------------------------------------------------------------------------------------


def test_runs_queue_for_cores_in_order(client: Client) -> None:
    jobs = [client.create("sleep 0.2; date +%s.%N", cores=4) for _ in range(3)]
    low = client.create("date +%s.%N", cores=4, job={"isLowPriority": True})
    last = client.create("date +%s.%N", cores=4)
    order = [jobs[0], low, *jobs[1:], last]
    for job in order:
        client.submit(job["id"])
    for job in order:
        client.finished(job["id"])
    times = {job["id"]: float(client.log_of(job["id"])) for job in order}
    ran = sorted(times, key=times.__getitem__)
    assert ran == [job["id"] for job in (jobs[0], *jobs[1:], last, low)]


def test_runs_side_by_side_as_cores_allow(client: Client) -> None:
    jobs = [client.create("sleep 1") for _ in range(4)]
    for job in jobs:
        client.submit(job["id"])
    wait_for(
        lambda: all(client.status(job["id"]) == "Executing" for job in jobs), "four at once", 5
    )
    for job in jobs:
        client.finished(job["id"])


# --- outputs --------------------------------------------------------------------------------------


def test_outputs_and_what_they_are_called(client: Client) -> None:
    file = client.upload("in.txt", b"input\n")
    command = (
        "mkdir -p b/c; echo 1 > b/c/x; echo 2 > B; ln -s b/c/x link; ln -s /etc/passwd out;"
        " ln -s nowhere dangling; mkfifo pipe; ln -s . loop; touch 'sp ace' $'\\xff\\xfe' empty"
    )
    job = client.run(command, inputs=[file["id"]])
    outputs = client.outputs(job["id"])
    assert list(outputs) == [
        "B",
        "b/c/x",
        "empty",
        "in.txt",
        "link",
        "process_output.log",
        "sp ace",
        "\\xff\\xfe",
    ]
    assert outputs["link"] == b"1\n"
    listed = client.get(f"jobs/{job['id']}/files/?page_size=100")["results"]
    assert listed[1]["path"].endswith(f"output/job_{job['id']}/run1/b/c/x")
    assert listed[1]["name"] == "x"


def test_filters_choose_what_is_kept(client: Client) -> None:
    file = client.upload("in.txt", b"input\n")
    changed = client.upload("changed.txt", b"before\n")
    command = "echo made > made.txt; echo more >> changed.txt"

    def kept(*rules: tuple[str, bool]) -> set[str]:
        filters = [{"filterType": n, "selector": n, "include": i} for n, i in rules]
        job = client.run(
            command, inputs=[file["id"], changed["id"]], job={"resourceFilters": filters}
        )
        return set(client.outputs(job["id"]))

    results = {"made.txt", "changed.txt", "process_output.log"}
    assert kept() == results | {"in.txt"}
    assert kept(("Analysis generated files", True), ("Input files", False)) == results
    assert kept(("Analysis generated files", True)) == results
    assert kept(("Input files", True)) == {"in.txt", "process_output.log"}


def test_content_is_stored_once_for_a_job(client: Client, server: RunningServer) -> None:
    def stored() -> int:
        return len([p for p in (server.data / "blobs").rglob("*") if p.is_file()])

    file = client.upload("in.bin", os.urandom(100_000))
    before = stored()
    command = "cp in.bin copy.bin; for i in $(seq 50); do echo same > $i.txt; done; touch in.bin"
    job = client.run(command, inputs=[file["id"]])
    outputs = client.outputs(job["id"])
    assert len(outputs) == 53
    assert outputs["in.bin"] == outputs["copy.bin"]
    # The log, the fifty texts; input, its touched self and its copy are one blob that was there.
    assert stored() == before + 2


def test_an_output_as_input_of_another_job(client: Client) -> None:
    first = client.run("echo handed on > result.txt")
    files = client.get(f"jobs/{first['id']}/files/?search=result")["results"]
    second = client.run("cat result.txt", inputs=[files[0]["id"]])
    assert client.log_of(second["id"]) == "handed on\n"
    # The first job's outputs go with it; the second's result stays.
    client.call("DELETE", f"jobs/{first['id']}/", 204)
    assert client.outputs(second["id"])["result.txt"] == b"handed on\n"


def test_ten_thousand_outputs(client: Client) -> None:
    command = (
        "for d in $(seq 100); do mkdir $d; for f in $(seq 100); do echo $d $f > $d/$f; done; done"
    )
    job = client.run(command)
    run = client.get(f"jobs/{job['id']}/runs/1/")
    assert run["outputFileCount"] == 10_001
    listed = [
        f for p in pages(client, f"jobs/{job['id']}/files/?page_size=2000") for f in p["results"]
    ]
    paths = [f["relativePath"] for f in listed]
    assert len(set(paths)) == 10_001
    assert paths == sorted(paths, key=str.casefold)
    assert [
        len(p["results"]) for p in pages(client, f"jobs/{job['id']}/files/?page_size=2000")
    ] == [
        2000,
        2000,
        2000,
        2000,
        2000,
        1,
    ]
    found = client.get(f"jobs/{job['id']}/files/?search=77/42")
    assert found["results"][0]["relativePath"] == "77/42"
    assert client.call("GET", found["results"][0]["downloadUrl"], 200).content == b"77 42\n"
    client.call("DELETE", f"jobs/{job['id']}/", 204)


def test_a_run_that_clears_its_folder_keeps_its_log(client: Client) -> None:
    job = client.run("echo said; rm -rf ./* ; echo still said")
    assert client.log_of(job["id"]) == "said\nstill said\n"


def test_a_run_leaves_nothing_on_the_machine(client: Client, server: RunningServer) -> None:
    def folders() -> set[Path]:
        return set((server.data / "runs").glob("[!.]*"))

    before = folders()  # of runs of other tests
    client.run("mkdir -m 000 locked; touch x; chmod 500 .")
    wait_for(lambda: not folders() - before, "the end of its folder")


# --- looking in -----------------------------------------------------------------------------------


def test_a_live_run(client: Client) -> None:
    command = (
        "mkdir sub; for i in $(seq 30); do echo line $i; done | tee sub/log.txt;"
        " printf 'no newline' > sub/open; head -c 300 /dev/zero > zeros; ln -s /etc/passwd out;"
        " ln -s sub/log.txt link; mkfifo pipe; touch ready; sleep 60"
    )
    job = client.create(command)
    client.submit(job["id"])
    run = f"jobs/{job['id']}/runs/1"
    wait_for(lambda: client.http.get(f"{run}/tail/ready").status_code == 200, "ready")

    entries = client.get(f"{run}/directory-contents/")
    assert {
        "path": "sub/log.txt",
        "resource": f"/api/jobs/{job['id']}/runs/1/tail/sub/log.txt",
    } in entries
    assert not {"out", "link", "pipe"} & {entry["path"] for entry in entries}
    resource = next(e["resource"] for e in entries if e["path"] == "sub/log.txt")
    host = client.base.removesuffix("/api/v2/")
    assert client.call("GET", f"{host}{resource}", 200).text.count("line") == 30

    last = client.get(f"{run}/tail/sub/log.txt?lines=3")
    assert last["lines"] == ["line 28", "line 29", "line 30"]
    assert last["fileType"].endswith("work/sub/log.txt: ASCII text")
    assert client.get(f"{run}/tail/sub%2Flog.txt/?lines=1")["lines"] == ["line 30"]
    assert len(client.get(f"{run}/tail/process_output.log?lines=20")["lines"]) == 20
    assert len(client.get(f"{run}/tail/process_output.log?lines=2000")["lines"]) == 30
    assert client.get(f"{run}/tail/sub/open?lines=5")["lines"] == ["no newline"]
    assert client.get(f"{run}/tail/zeros?lines=1")["fileType"].endswith(": data")
    assert client.get(f"{run}/tail/sub/log.txt?lines=0")["lines"] == []
    client.get(f"{run}/tail/sub/log.txt?lines=many", 400)

    for path in (
        "absent",
        "out",
        "link",
        "pipe",
        "sub",
        "../machinefile",
        "..%2Fmachinefile",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "sub/../../machinefile",
        "sub/%2e%2e/%2e%2e/machinefile",
        "a%00b",
        "",
    ):
        reply = client.http.get(f"{run}/tail/{path}?lines=1")
        assert reply.status_code == 404, (path, reply.text)
        assert "root:" not in reply.text

    client.call("POST", f"jobs/{job['id']}/stop/", 202)
    client.finished(job["id"])
    assert "not executing" in client.get(f"{run}/directory-contents/", 400)["detail"]
    client.get(f"{run}/tail/ready?lines=1", 400)


def test_runs_that_are_not_there(client: Client) -> None:
    job = client.run()
    for number in ("0", "2", "x", "1x", "-1", "99999999999"):
        client.get(f"jobs/{job['id']}/runs/{number}/", 404)
    assert client.get(f"jobs/{job['id']}/runs/?page=2", 404) == {"detail": "Invalid page."}


# --- series ---------------------------------------------------------------------------------------


FOAM = r"""
step() { printf 'Time = %s\nsmoothSolver:  Solving for Ux, Initial residual = %s, Final residual = 1e-9, No Iterations 2\n' $1 $2; printf 'GAMG:  Solving for p, Initial residual = 0.5, Final residual = 1, No Iterations 1\nGAMG:  Solving for p, Initial residual = 0.1, Final residual = 1, No Iterations 1\n'; }
{ for i in $(seq 40); do step $i 1e-$i; done; step 41 nan; } > log.testFoam
"""  # noqa: E501


@pytest.mark.openfoam
def test_series_live_and_stored(client: Client) -> None:
    job = client.create(
        FOAM + "sleep 2; " + "printf 'Time = 42\\n' >> log.testFoam", code="openfoam"
    )
    client.submit(job["id"])
    run = f"jobs/{job['id']}/runs/1"
    wait_for(lambda: len(client.get(f"{run}/series/")) == 2, "both series")
    by_key = {entry["key"]: entry for entry in client.get(f"{run}/series/")}
    assert by_key["residuals/Ux"] == {
        "key": "residuals/Ux",
        "label": "Ux",
        "group": "residuals",
        "unit": "",
        "scale": "log",
        "points": 41,
    }
    data = client.get(f"{run}/series/data/?keys=residuals/Ux,residuals/p&from=38&to=41")
    assert data["x"] == [38, 39, 40, 41]
    assert data["exact"] is True
    assert data["keys"]["residuals/Ux"]["last"] == [1e-38, 1e-39, 1e-40, "NaN"]
    assert data["keys"]["residuals/p"]["last"] == [0.5] * 4, "the first of a step is the honest one"
    thin = client.get(f"{run}/series/data/?keys=residuals/Ux&points=4")
    assert len(thin["x"]) <= 4 and thin["exact"] is False
    assert thin["keys"]["residuals/Ux"]["max"][0] == 0.1
    for bad in ("points=0", "points=x", "from=nan", "to=x"):
        client.get(f"{run}/series/data/?{bad}", 400)
    client.finished(job["id"])
    assert {e["key"]: e["points"] for e in client.get(f"{run}/series/")} == {
        "residuals/Ux": 41,
        "residuals/p": 41,
    }


@pytest.mark.openfoam
def test_series_are_read_from_a_log_that_has_some(client: Client) -> None:
    job = client.create(
        "echo nothing > log.setFoam; printf 'Time = 1\\nsmoothSolver:  Solving for Ux, Initial"
        " residual = 0.5, Final residual = 1, No Iterations 1\\n'; touch said; sleep 2",
        code="openfoam",
    )
    client.submit(job["id"])
    run = f"jobs/{job['id']}/runs/1"
    wait_for(lambda: bool(client.get(f"{run}/series/")), "series while it runs")
    client.finished(job["id"])
    (found,) = client.get(f"{run}/series/")
    assert (found["key"], found["points"]) == ("residuals/Ux", 1)


def test_no_series_without_a_grammar(client: Client) -> None:
    job = client.run("echo Time = 1")
    assert client.get(f"jobs/{job['id']}/runs/1/series/") == []
    assert client.get(f"jobs/{job['id']}/runs/1/series/data/") == {
        "x": [],
        "keys": {},
        "exact": True,
        "index": 0,
    }


# --- solvers that are not there -------------------------------------------------------------------


@pytest.fixture
def absent(fresh):
    """A server whose catalogue has a solver that nobody has."""

    def make(config: str = "") -> Client:
        server = fresh(config)
        folder = server.data / "catalogue"
        folder.mkdir()
        (folder / "vapour.toml").write_text(
            'code = "vapour"\nname = "Vapour"\nversion_code = "1"\nversion_name = "1"\n'
            '[probe]\ncommand = ["no-such-solver", "-v"]\npattern = "x"\npackage = "vapourware"\n'
        )
        return server.start().client()

    return make


def test_a_solver_that_is_not_installed(absent) -> None:
    client = absent()
    listed = {a["code"]: a for a in client.get("analyses/?page_size=99")["results"]}
    assert listed["vapour"]["installed"] is False
    assert listed["vapour"]["installHint"] == "apt install vapourware"
    job = client.create("no-such-solver", code="vapour")
    reply = client.call("POST", f"jobs/{job['id']}/submit/", 400)
    assert "Vapour is not installed" in reply.json()["detail"]
    assert "apt install vapourware" in reply.json()["detail"]
    assert client.statuses(job["id"]) == []


def test_a_site_may_run_the_command_all_the_same(absent) -> None:
    client = absent('run_uninstalled = "shell"\n')
    job = client.run("echo plain shell", code="vapour")
    assert client.log_of(job["id"]) == "plain shell\n"


# --- signals --------------------------------------------------------------------------------------


def test_a_supervisor_that_is_told_to_end_by_somebody_else(
    client: Client, server: RunningServer
) -> None:
    import json

    job = client.create("touch up-here; sleep 60")
    client.submit(job["id"])
    folder = job_folder(server, "up-here").parent.parent
    pids = json.loads((folder / "pid.json").read_text())
    os.kill(pids["supervisor"], signal.SIGTERM)
    assert (
        client.finished(job["id"]) == "A run failed: it was told to end from outside the platform"
    )


def test_an_input_that_is_deleted_while_the_run_has_it(client: Client) -> None:
    first = client.run("echo soon gone > result.txt")
    files = client.get(f"jobs/{first['id']}/files/?search=result")["results"]
    second = client.create("touch begun; sleep 1; cat result.txt", inputs=[files[0]["id"]])
    client.submit(second["id"])
    run = f"jobs/{second['id']}/runs/1"
    wait_for(lambda: client.http.get(f"{run}/tail/begun").status_code == 200, "begun")
    client.call("DELETE", f"jobs/{first['id']}/", 204)
    assert client.finished(second["id"]) == "Completed successfully"
    assert client.outputs(second["id"])["result.txt"] == b"soon gone\n"
