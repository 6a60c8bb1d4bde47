"""How programs end, each really run: the words, the reason, the judgement and its proof.

Real solvers are in `test_solver_endings.py`; what the platform ends, and what ends the platform, in
`test_forced_endings.py`.
"""

import pytest

from endings import Ending, coded, ended, failed, submitted, well, zipped
from harness import Client, RunningServer

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]


def check(server: RunningServer, client: Client, wanted: Ending) -> None:
    ended(server, client, submitted(client, wanted), wanted)


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 3, 255])
def test_an_exit_code_that_nothing_explains(
    server: RunningServer, client: Client, code: int
) -> None:
    wanted = Ending(
        command=f"echo step 1; echo -----; exit {code}",
        reason=coded(code),
        cause="exit",
        code=code,
        line="^step 1$",
    )
    check(server, client, wanted)


HEALTHY = {
    "exit 0": well("exit 0"),
    "words that sound bad": well("echo 0 errors, no Segmentation fault, trapping floats; exit 0"),
    "python": well("python3 -c 'print(sum(range(10)))'"),
    "a daemon that stays behind": well("(setsid env -i sleep 300 &); echo solved", line=None),
    # The shell keeps the code of `false` for itself, and it said nothing: nobody can see it.
    "an error that a pipe hides and no line tells": well("false | true"),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_ends_well_is_called_well(server: RunningServer, client: Client, name: str) -> None:
    check(server, client, HEALTHY[name])


# --- signals --------------------------------------------------------------------------------------

SEGV = """python3 -c 'import ctypes; ctypes.string_at(0)'"""
ABRT = """python3 -c 'import os; os.abort()'"""
BUS = """cat > bus.py <<X
import mmap
file = open("mapped", "w+b")
file.truncate(1 << 16)
mapped = mmap.mmap(file.fileno(), 1 << 16)
file.truncate(0)
print(mapped[5000])
X
python3 bus.py"""
SIGNALS = {  # name -> command, code, cause, what a person can read
    "SEGV": (SEGV, 139, "crash", "Segmentation fault"),
    "SEGV of the shell": ("kill -SEGV $$", 139, "crash", "Segmentation fault"),
    "ABRT": (ABRT, 134, "crash", "Aborted"),
    "BUS": (BUS, 135, "crash", "Bus error"),
    "FPE": ("sh -c 'kill -FPE $$'; exit", 136, "crash", "Floating point exception"),
    "ILL": ("sh -c 'kill -ILL $$'; exit", 132, "crash", "Illegal instruction"),
    "KILL": ("sh -c 'kill -KILL $$'; exit", 137, "killed", "Killed"),
    "TERM": ("sh -c 'kill -TERM $$'; exit", 143, "killed", "Terminated"),
    "XCPU": ("sh -c 'ulimit -S -t 1; while :; do :; done'; exit", 152, "limit", "CPU time limit"),
    "XFSZ": (
        "sh -c 'ulimit -f 8; exec head -c 1M /dev/zero > big'; exit",
        153,
        "limit",
        "File size",
    ),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal(server: RunningServer, client: Client, name: str) -> None:
    command, code, cause, words = SIGNALS[name]
    signal = "SIG" + name.partition(" ")[0]
    wanted = Ending(
        command=command,
        reason=coded(code, rf" \(.*{signal}: [a-z0-9 ()]+\).*"),
        cause=cause,
        code=code,
        signal=signal,
        line=words,
    )
    check(server, client, wanted)


# --- programs and scripts that cannot be run -----------------------------------------------------

OTHER = "cp /bin/true prog; printf '\\x15' | dd of=prog bs=1 seek=18 conv=notrunc status=none"
LAUNCHES = {
    "a program that is not there": Ending(
        command="no-such-solver case.inp",
        reason=coded(127, ": .*no-such-solver was not found.*"),
        cause="launch",
        code=127,
        line="no-such-solver: command not found",
    ),
    "a program that may not be executed": Ending(
        command="echo true > run.sh; ./run.sh",
        reason=coded(126, ": .*run.sh: Permission denied"),
        cause="launch",
        code=126,
        line="Permission denied",
    ),
    "a program of another processor": Ending(
        command=f"{OTHER}; ./prog",
        reason=coded(126, ": the program is not made for this machine"),
        cause="launch",
        code=126,
        line="Exec format error",
    ),
    "a library that is not there": Ending(
        command="sed s/libc.so.6/libQ.so.6/ /bin/true > prog; chmod +x prog; ./prog",
        reason=coded(127, ": the library libQ.so.6 is missing or cannot be loaded"),
        cause="library",
        code=127,
        line="error while loading shared libraries: libQ.so.6",
    ),
    "a script with line ends of Windows": Ending(
        command="chmod +x Allrun; ./Allrun",
        files={"Allrun": b"#!/bin/bash\r\necho begun\r\n"},
        reason=coded(127, ": a script cannot be run: its lines end as on Windows.*"),
        cause="line ends",
        code=127,
        line="required file not found",
    ),
    "a script with line ends of Windows, for bash": Ending(
        command="bash Allrun",
        files={"Allrun": b"cd /tmp\r\nif true; then\r\necho begun\r\nfi\r\n"},
        reason=coded(2, ": a script cannot be run: its lines end as on Windows.*"),
        cause="line ends",
        code=2,
        line="syntax error near|unexpected end of file|cd: ",
    ),
    "a script with an error": Ending(
        command="if true; then echo begun",
        reason=coded(2, ": a script has an error: .*"),
        cause="script",
        code=2,
        line="[Ss]yntax error",
    ),
    "a Python script with an error": Ending(
        command="python3 case.py",
        files={"case.py": b"def f(:\n    pass\n"},
        reason=coded(1, ": a Python script has an error: SyntaxError: invalid syntax"),
        cause="script",
        code=1,
        line="SyntaxError",
    ),
    "an exception": Ending(
        command="""python3 -c '{}["alpha"]'""",
        reason=coded(1, ": a Python script ended with an exception: KeyError: 'alpha'"),
        cause="exception",
        code=1,
        line="KeyError: 'alpha'",
    ),
    "a missing input": Ending(
        command="cat beam.inp",
        reason=coded(1, ": a file or folder is missing: beam.inp"),
        cause="input",
        code=1,
        line="beam.inp: No such file or directory",
    ),
    "a folder that is missing, and all goes on": Ending(
        command="cd run1; echo fine",
        reason=failed("the folder run1 does not exist"),
        verdict="suspect",
        cause="input",
        code=0,
        step="",
        line="cd: run1: No such file or directory",
    ),
    "a missing program in the middle of a script": Ending(
        command="decomposeCase; echo fine",
        reason=failed("the command decomposeCase was not found"),
        verdict="suspect",
        cause="launch",
        code=0,
        step="",
        line="decomposeCase: command not found",
    ),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_what_cannot_be_run(server: RunningServer, client: Client, name: str) -> None:
    check(server, client, LAUNCHES[name])


# --- inputs and steps -----------------------------------------------------------------------------

BROKEN = zipped({"a/case.inp": bytes(range(256)) * 40})[:-60]
REFUSALS = {
    "an archive that leads out": Ending(
        files={"case.zip": zipped({"../../out.txt": b"x"})},
        reason=failed("an input archive was refused: .*out.txt.*"),
        cause="refused",
        ending="refused",
        step="",
        ran=False,
    ),
    "an archive that is broken": Ending(
        files={"case.zip": BROKEN},
        reason=failed("an input archive was refused: .*case.zip.*"),
        cause="refused",
        ending="refused",
        step="",
        ran=False,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_archive_is_refused_before_the_start(
    server: RunningServer, client: Client, name: str
) -> None:
    check(server, client, REFUSALS[name])


STEPS = {
    "pre": Ending(
        command="echo never",
        options={"preProcessScriptCommand": "echo prepared; exit 4"},
        reason=failed("the pre-processing of analysis 1 ended with exit code 4"),
        cause="exit",
        code=4,
        step="the pre-processing of analysis 1",
        line="^prepared$",
    ),
    "post": Ending(
        command="echo solved",
        options={"postProcessScriptCommand": "cat results.csv"},
        reason=failed(
            "the post-processing of analysis 1 ended with exit code 1: a file or folder is missing:"
            " results.csv"
        ),
        cause="input",
        code=1,
        step="the post-processing of analysis 1",
        line="results.csv: No such file",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_beside_the_command_fails(server: RunningServer, client: Client, name: str) -> None:
    check(server, client, STEPS[name])


def test_an_input_that_was_deleted_before_the_start(server: RunningServer, client: Client) -> None:
    file = client.upload("beam.inp", b"*NODE\n")
    job = client.create("true", inputs=[file["id"]])
    client.call("DELETE", f"files/{file['id']}/", 204)
    reply = client.http.post(f"jobs/{job['id']}/submit/")
    assert reply.status_code == 400, reply.text
    assert "beam.inp" in reply.text or file["id"] in reply.text
    assert client.statuses(job["id"]) == [], "it was refused, not begun"


# --- limits of a script's own, and licences -------------------------------------------------------

FLEX = r"""cat <<X
Checking out a licence of solver_core
License checkout failed.
Cannot connect to license server system.
 The license server manager (lmgrd) has not been started yet.
FlexNet Licensing error:-15,578.  System Error: 115 "Operation now in progress"
X
exit 7"""
FORK = "import os, resource as r; r.setrlimit(r.RLIMIT_NPROC, (1, 1)); os.fork()"
OWN = {
    "no memory beyond ulimit -v": Ending(
        command="ulimit -v 300000; python3 -c 'bytearray(1 << 30)'",
        reason=coded(1, ": it could not get the memory that it asked for"),
        cause="memory",
        code=1,
        line="MemoryError",
    ),
    "no processes beyond ulimit -u": Ending(
        command=f"python3 -c '{FORK}'",
        reason=coded(1, ": it could not start another process or thread.*"),
        cause="processes",
        code=1,
        line="Resource temporarily unavailable",
    ),
    "a full device": Ending(
        command="cat /etc/passwd > /dev/full; echo done",
        reason=failed("its disk was full or its quota used up"),
        cause="disk",
        code=0,
        step="",
        line="No space left on device",
    ),
    "timeout": Ending(
        command="echo step 1; timeout 0.2 sleep 60",
        reason=coded(124, ".*"),
        cause="walltime",
        code=124,
        line="step 1",
    ),
    "a licence server that cannot be reached": Ending(
        command=FLEX,
        reason=coded(7, ": the licence server cannot be reached: Cannot connect to .*system"),
        cause="licence",
        code=7,
        line="Cannot connect to license server",
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_a_program_does_not_get_what_it_needs(
    server: RunningServer, client: Client, name: str
) -> None:
    check(server, client, OWN[name])
