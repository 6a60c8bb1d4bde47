"""Real solvers that are asked to write their state and end, and that go on from it."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness import Client, wait_for

CAVITY = Path("/usr/share/doc/openfoam-examples/examples/incompressible/icoFoam/cavity/cavity")
# Nothing is written before it is asked for, and it would take hours.
LONG = (
    "cd cavity; sed -i 's/^endTime .*/endTime 5000;/; s/^writeInterval .*/writeInterval 9000000;/'"
    " system/controlDict; "
)
RANKS = (
    "printf 'FoamFile { version 2.0; format ascii; class dictionary; object decomposeParDict; }\\n"
    "numberOfSubdomains 2; method simple; simpleCoeffs { n (2 1 1); delta 0.001; }\\n'"
    " > system/decomposeParDict; "
)
BY_HAND = "sed -i 's/^runTimeModifiable .*/runTimeModifiable false;/' system/controlDict; "
# What the case has in it, if its controlDict is not to be edited.
ABORT = BY_HAND + (
    'echo \'functions { halt { type abort; libs ("libutilityFunctionObjects.so");'
    ' file "$FOAM_CASE/HALT"; action writeNow; } }\' >> system/controlDict; '
)
SIGNAL = BY_HAND + (
    "echo 'OptimisationSwitches { stopAtWriteNowSignal 12; }' >> system/controlDict; "
)


def zipped(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return content.getvalue()


def started(client: Client, command: str, files: list[str], **more: Any) -> str:
    job = client.create(command, inputs=files, **more)
    client.submit(job["id"])
    return str(job["id"])


def until_it_says(client: Client, job: str, pattern: str, count: int = 1) -> None:
    def said() -> bool:
        reply = client.http.get(f"jobs/{job}/runs/1/tail/process_output.log/?lines=4000")
        lines = reply.json()["lines"] if reply.status_code == 200 else []
        return len(re.findall(pattern, "\n".join(lines), re.MULTILINE)) >= count

    wait_for(said, pattern)


def stopped(client: Client, job: str) -> dict[str, bytes]:
    client.call("POST", f"jobs/{job}/stop/", 202)
    assert client.finished(job) == "Stopped by the user"
    return client.outputs(job)


def last_time(log: str) -> str:
    return str(re.findall(r"^Time = (\S+)$", log, re.MULTILINE)[-1])


@pytest.mark.openfoam
@pytest.mark.mpi
@pytest.mark.sandbox
@pytest.mark.parametrize("ranks", [1, 2])
def test_openfoam_writes_its_present_step_and_goes_on_from_it(client: Client, ranks: int) -> None:
    case = client.upload("cavity.zip", zipped(CAVITY))
    solve = "blockMesh > log.blockMesh; icoFoam"
    again = None
    if ranks == 2:
        solve = "blockMesh > log.blockMesh; decomposePar > log.decomposePar; "
        solve = f"{RANKS}{solve}mpirun -np 2 icoFoam -parallel"
        again = {"command": "cd cavity; mpirun -np 2 icoFoam -parallel"}
    job = started(
        client, LONG + solve + "; echo it ended with $?", [case["id"]], code="openfoam", cores=ranks
    )
    until_it_says(client, job, "^Time = ", 5)
    first = stopped(client, job)
    log = first["process_output.log"].decode()
    time = last_time(log)
    folder = "cavity/processor1" if ranks == 2 else "cavity"
    assert f"{folder}/{time}/U" in first and float(time) < 4000
    assert re.search(r"^(End|Finalising parallel run)$", log, re.MULTILINE)
    if ranks == 1:
        assert "it ended with 0" in log
    control = first["cavity/system/controlDict"].decode()
    assert re.search(r"^stopAt +endTime;$", control, re.MULTILINE)

    client.call("POST", f"jobs/{job}/runs/1/restart/", 200, json=again or {})
    until_it_says(client, job, f"^Create mesh for time = {re.escape(time)}$")
    until_it_says(client, job, "^Time = ", 5)
    second = stopped(client, job)
    after = second["process_output.log"].decode().split("[simyard] Restarted")[1]
    assert f"Create mesh for time = {time}\n" in after
    assert float(re.findall(r"^Time = (\S+)$", after, re.MULTILINE)[0]) > float(time)
    assert f"{folder}/{last_time(after)}/U" in second and f"{folder}/{time}/U" in second
    series = {s["key"]: s for s in client.get(f"jobs/{job}/runs/1/series/")}
    steps = len(re.findall(r"^Time = ", log + after, re.MULTILINE))
    assert series["residuals/Ux"]["points"] >= steps - 2


@pytest.mark.openfoam
@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("prepare", "sign"),
    [(ABORT, "USER REQUESTED ABORT"), (SIGNAL, "sigStopAtWriteNow")],
    ids=["abort file", "signal"],
)
def test_openfoam_is_asked_in_the_other_ways_that_a_case_has(
    client: Client, prepare: str, sign: str
) -> None:
    case = client.upload("cavity.zip", zipped(CAVITY))
    command = f"{LONG}{prepare}blockMesh > log.blockMesh; icoFoam; echo it ended with $?"
    job = started(client, command, [case["id"]], code="openfoam_plus")
    until_it_says(client, job, "^Time = ", 5)
    outputs = stopped(client, job)
    log = outputs["process_output.log"].decode()
    assert sign in log
    assert f"cavity/{last_time(log)}/U" in outputs
    assert "cavity/HALT" not in outputs


BEAM = """*NODE, NSET=NALL
1, 0., 0., 0.\n2, 0., 1., 0.\n3, 0., 1., 1.\n4, 0., 0., 1.
5, 9., 0., 0.\n6, 9., 1., 0.\n7, 9., 1., 1.\n8, 9., 0., 1.
*ELEMENT, TYPE=C3D8I, ELSET=EALL
1, 1, 2, 3, 4, 5, 6, 7, 8
*NSET, NSET=TIP
5, 6, 7, 8
*BOUNDARY\n1, 1, 3\n2, 1, 3\n3, 1, 3\n4, 1, 3
*MATERIAL, NAME=STEEL\n*ELASTIC\n210000., 0.3\n*DENSITY\n7.8e-9
*SOLID SECTION, ELSET=EALL, MATERIAL=STEEL
{step}
*CLOAD\nTIP, 3, -1.
*NODE PRINT, NSET=TIP\nU
*END STEP
"""
STATIC = "*STEP\n*STATIC\n*RESTART, WRITE, FREQUENCY=1"
DYNAMIC = "*STEP, INC=1000000\n*DYNAMIC, DIRECT\n1.e-6, 1."
AGAIN = """cat > again.inp <<X
*RESTART, READ
*STEP
*STATIC
*CLOAD
5, 3, -2.
*NODE PRINT, NSET=TIP
U
*END STEP
X
cp beam.rin again.rin && ccx again"""


@pytest.mark.calculix
def test_calculix_goes_on_with_another_step(client: Client) -> None:
    deck = client.upload("beam.inp", BEAM.format(step=STATIC).encode())
    job = client.run("ccx beam", inputs=[deck["id"]], code="calculix")["id"]
    assert client.finished(job) == "Completed successfully"
    refused = client.call("POST", f"jobs/{job}/runs/1/restart/", 400).json()
    assert "CalculiX would begin again" in refused["command"][0]
    client.call("POST", f"jobs/{job}/runs/1/restart/", 200, json={"command": AGAIN})
    assert client.finished(job) == "Completed successfully"
    outputs = client.outputs(job)
    assert b"time  0.1000000E+01" in outputs["beam.dat"]
    assert b"time  0.2000000E+01" in outputs["again.dat"], "the step of before counts"


@pytest.mark.calculix
def test_calculix_is_told_at_once_and_keeps_its_increments(client: Client) -> None:
    deck = client.upload("beam.inp", BEAM.format(step=DYNAMIC).encode())
    job = started(client, "ccx beam", [deck["id"]], code="calculix")
    until_it_says(client, job, r"^ increment 9 ", 1)
    outputs = stopped(client, job)
    assert len(re.findall(rb"and time ", outputs["beam.dat"])) >= 8
