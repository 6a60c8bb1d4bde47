"""Real solvers, each run through the server as users run it."""

import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from harness import Client

AIRFOIL = Path(__file__).parents[2] / "airfoil2d.zip"
STOCK = Path("/usr/share/doc/openfoam-examples/examples/incompressible/simpleFoam/airFoil2D")


def zipped(folder: Path) -> bytes:
    """A folder as `zip -r` packs it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return content.getvalue()


@pytest.mark.openfoam
def test_the_stock_airfoil_of_the_distribution(client: Client) -> None:
    """The vendor's tutorial names this case: zipped as it lies there, with nothing changed."""
    assert STOCK.is_dir(), "apt install openfoam-examples"
    file = client.upload("airfoil2d.zip", zipped(STOCK))
    job = client.create(
        "./airFoil2D/Allrun",
        inputs=[file["id"]],
        code="openfoam",
        version="2.3.0-openmpi",
        hardware={"coreType": "standard-plus"},
    )
    client.submit(job["id"])
    assert client.finished(job["id"]) == "Completed successfully"
    outputs = client.outputs(job["id"])
    assert b"SIMPLE solution converged in" in outputs["airFoil2D/log.simpleFoam"]
    assert "Running simpleFoam on" in outputs["process_output.log"].decode()
    times = {path.split("/")[1] for path in outputs if re.match(r"airFoil2D/\d+/U$", path)}
    assert len(times) >= 3
    series = {s["key"]: s for s in client.get(f"jobs/{job['id']}/runs/1/series/")}
    assert {"residuals/Ux", "residuals/Uy", "residuals/p", "residuals/nuTilda"} <= set(series)
    assert series["residuals/p"]["points"] > 100


PARALLEL = """
cd airFoil2D
. "$WM_PROJECT_DIR/bin/tools/RunFunctions"
cat > system/decomposeParDict <<X
FoamFile { version 2.0; format ascii; class dictionary; object decomposeParDict; }
numberOfSubdomains $RESCALE_CORES_PER_SLOT; method simple; simpleCoeffs { n (2 1 1); delta 0.001; }
X
sed -i 's/^endTime.*/endTime 20;/; s/^writeInterval.*/writeInterval 20;/' system/controlDict
runApplication blockMesh && runApplication decomposePar && runParallel simpleFoam &&
runApplication reconstructPar -latestTime && foamExec foamListTimes
"""


@pytest.mark.openfoam
@pytest.mark.mpi
@pytest.mark.sandbox
def test_two_ranks_in_the_sandbox(client: Client) -> None:
    file = client.upload("airfoil2d.zip", AIRFOIL.read_bytes())
    job = client.run(PARALLEL, inputs=[file["id"]], code="openfoam", cores=2)
    outputs = client.outputs(job["id"])
    assert client.finished(job["id"]) == "Completed successfully", outputs["process_output.log"]
    log = outputs["airFoil2D/log.simpleFoam"].decode()
    assert "nProcs : 2" in log and "Finalising parallel run" in log
    assert "airFoil2D/processor1/20/U" in outputs and "airFoil2D/20/U" in outputs


MPI = """
echo "ranks $(mpirun sh -c 'echo $OMPI_COMM_WORLD_RANK' | sort | tr '\\n' ' ')"
mpirun -np $RESCALE_CORES_PER_SLOT sh -c 'echo one of $OMPI_COMM_WORLD_SIZE' | sort | uniq -c
"""


@pytest.mark.mpi
def test_a_users_own_mpi_program(client: Client) -> None:
    """mpirun without a number takes the ranks of the job; more ranks than cores share them."""
    job = client.run(MPI, code="user_included_mpi", version="openmpi-1.6-el6", cores=4)
    log = client.log_of(job["id"])
    assert "ranks 0 1 2 3" in log
    assert "4 one of 4" in log
    assert log.startswith("[simyard] Bring Your Own MPI Software openmpi-1.6-el6 was asked for")


def cantilever(bricks: int = 20) -> bytes:
    """A beam of square cross-section, fixed at one end, a force on the other (CalculiX)."""
    nodes, ids = [], {}
    for i in range(bricks + 1):
        for y in (0, 1):
            for z in (0, 1):
                ids[i, y, z] = len(nodes) + 1
                nodes.append(f"{len(nodes) + 1}, {i}., {y}., {z}.")
    elements = []
    for i in range(bricks):
        corners = [(i, 0, 0), (i + 1, 0, 0), (i + 1, 1, 0), (i, 1, 0)]
        corners += [(x, y, 1) for x, y, _ in corners]
        elements.append(f"{i + 1}, " + ", ".join(str(ids[corner]) for corner in corners))
    tip = ", ".join(str(len(nodes) - n) for n in range(4))
    return "\n".join(
        [
            "*NODE, NSET=NALL",
            *nodes,
            "*ELEMENT, TYPE=C3D8I, ELSET=EALL",
            *elements,
            f"*NSET, NSET=FIX\n1, 2, 3, 4\n*NSET, NSET=TIP\n{tip}",
            "*BOUNDARY\nFIX, 1, 3",
            "*MATERIAL, NAME=STEEL\n*ELASTIC\n210000., 0.3",
            "*SOLID SECTION, ELSET=EALL, MATERIAL=STEEL",
            "*STEP\n*STATIC\n*CLOAD\nTIP, 3, -1.\n*NODE PRINT, NSET=TIP\nU\n*END STEP\n",
        ]
    ).encode()


@pytest.mark.calculix
def test_calculix_bends_a_beam_as_theory_says(client: Client) -> None:
    # A deck from Windows, and the vendor's wrapper: `dos2unix`, `calculixMT` on all cores.
    deck = client.upload("beam.inp", cantilever().replace(b"\n", b"\r\n"))
    job = client.run(
        "dos2unix beam.inp; echo threads $OMP_NUM_THREADS; calculixMT beam",
        inputs=[deck["id"]],
        code="calculix",
        version="2.17-spooles",
        cores=2,
    )
    outputs = client.outputs(job["id"])
    assert b"Job finished" in outputs["process_output.log"]
    numbers = re.findall(
        r"^\s+\d+\s+\S+\s+\S+\s+(\S+)$", outputs["beam.dat"].decode(), re.MULTILINE
    )
    # A force of 4 on a beam of length 20, E 210,000, second moment 1/12.
    theory = -4 * 20**3 / (3 * 210_000 / 12)
    assert float(numbers[0]) == pytest.approx(theory, rel=0.02)


def test_python(client: Client) -> None:
    script = client.upload("script.py", b"import sys, os; print(sys.version_info[:2], os.getcwd())")
    job = client.run("python3 script.py", inputs=[script["id"]], code="python")
    assert re.match(r"\(3, \d+\) /.*/work$", client.log_of(job["id"]).strip())


def test_a_users_own_program(client: Client) -> None:
    """A tarball with a program in it, started as it came."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        info = tarfile.TarInfo("tool/bin/solve")
        body = b"#!/bin/sh\necho solved $1 with $THREADS > result\n"
        info.size, info.mode = len(body), 0o755
        archive.addfile(info, io.BytesIO(body))
    file = client.upload("tool.tar.gz", content.getvalue())
    job = client.run("tool/bin/solve it", inputs=[file["id"]], envVars={"THREADS": "4"})
    assert client.outputs(job["id"])["result"] == b"solved it with 4\n"
