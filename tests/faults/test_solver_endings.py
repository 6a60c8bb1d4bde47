"""How real solvers and MPI end, each really run. Checked as in `test_endings.py`."""

from pathlib import Path

import pytest

import endings
from endings import Ending, coded, ended, failed, submitted, well
from harness import Client, RunningServer

pytestmark = [pytest.mark.faults, pytest.mark.sandbox]

BEAM = b"""*NODE, NSET=NALL
1, 0., 0., 0.
2, 1., 0., 0.
3, 1., 1., 0.
4, 0., 1., 0.
5, 0., 0., 1.
6, 1., 0., 1.
7, 1., 1., 1.
8, 0., 1., 1.
*ELEMENT, TYPE=C3D8, ELSET=EALL
1, 1, 2, 3, 4, 5, 6, 7, 8
*BOUNDARY
1, 1, 3
2, 1, 3
3, 1, 3
4, 1, 3
*MATERIAL, NAME=STEEL
*ELASTIC
210000., 0.3
*SOLID SECTION, ELSET=EALL, MATERIAL=STEEL
*STEP
*STATIC
*CLOAD
7, 3, 1.
*NODE FILE
U
*END STEP
"""


def check(server: RunningServer, client: Client, wanted: Ending) -> None:
    ended(server, client, submitted(client, wanted), wanted)


# --- MPI ------------------------------------------------------------------------------------------

DEAD = "if [ $OMPI_COMM_WORLD_RANK = 1 ]; then {}; else sleep 30; fi"
BYO_MPI = {"code": "user_included_mpi", "cores": 2}
MPI = {
    "fewer slots than ranks": Ending(
        command="env -u OMPI_MCA_rmaps_base_oversubscribe mpirun --host localhost:1 -np 3 true",
        options=BYO_MPI,
        reason=coded(1, ": more MPI processes were asked for than the machine offers"),
        cause="ranks",
        code=1,
        line="not enough slots",
    ),
    "a program that is not there": Ending(
        command="mpirun -np 2 no-such-solver",
        options=BYO_MPI,
        reason=coded(134, r" \(SIGABRT: aborted\): MPI could not find the program.*"),
        cause="launch",
        code=134,
        signal="SIGABRT",
        line="unable to find the specified executable",
    ),
    "a rank that is killed": Ending(
        command="mpirun -np 2 sh -c '" + DEAD.format("kill -KILL $$") + "'",
        options=BYO_MPI,
        # Open MPI does not always come to say which one it was.
        reason=coded(
            137,
            r" \(SIGKILL: killed\): "
            r"(MPI rank 1 was ended by signal 9 \(Killed\)|an MPI rank ended .*)",
        ),
        cause="rank died",
        code=137,
        signal="SIGKILL",
        line="process rank 1 .* exited on signal 9|Primary job",
    ),
    "a rank that gives up": Ending(
        command="mpirun -np 2 sh -c '" + DEAD.format("exit 3") + "'",
        options=BYO_MPI,
        reason=coded(3, ": an MPI rank ended with an error, and all others were ended with it"),
        cause="rank died",
        code=3,
        line="non-zero status|Primary job",
    ),
    "all is well": well("mpirun -np 2 true", options=BYO_MPI),
}


@pytest.mark.mpi
@pytest.mark.parametrize("name", MPI)
def test_mpi(server: RunningServer, client: Client, name: str) -> None:
    check(server, client, MPI[name])


# --- CalculiX and OpenFOAM ------------------------------------------------------------------------

CCX = {"code": "calculix"}
CALCULIX = {
    "a body that bends": well(
        "ccx beam", files={"beam.inp": BEAM}, options=CCX, line="Job finished"
    ),
    "no deck, and exit code 0": Ending(
        command="ccx beam; exit 0",
        options=CCX,
        reason=failed(".*beam.inp.*"),
        cause="input",
        code=0,
        step="",
        line="cannot open file",
    ),
    "a card that nobody knows, and exit code 0": Ending(
        command="ccx beam; exit 0",
        files={"beam.inp": BEAM.replace(b"*CLOAD", b"*FORCES")},
        options=CCX,
        reason=failed(".*"),
        cause="input",
        code=0,
        step="",
        line="Card image cannot be inter",
    ),
}


@pytest.mark.calculix
@pytest.mark.parametrize("name", CALCULIX)
def test_calculix(server: RunningServer, client: Client, name: str) -> None:
    check(server, client, CALCULIX[name])


CAVITY = Path("/usr/share/doc/openfoam-examples/examples/incompressible/icoFoam/cavity/cavity")
AIRFOIL = Path(__file__).parents[2] / "airfoil2d.zip"
FOAM = {"code": "openfoam"}


def cavity(time_step: float, end: float, more: str = "") -> str:
    """The lid-driven cavity with another time step; healthy at 0.005."""
    return (
        f"cd cavity; sed -i 's/^deltaT.*/deltaT {time_step};/; s/^endTime.*/endTime {end};/;"
        " s/^writeInterval.*/writeInterval 1000;/' system/controlDict\n"
        f"blockMesh > log.blockMesh && {more or 'icoFoam'}"
    )


OPENFOAM = {
    "a lid-driven cavity": well(cavity(0.005, 0.1), options=FOAM, line="^End$"),
    "blown up, and exit code 0": Ending(
        command=cavity(0.1, 10),
        options=FOAM,
        reason=failed("its last Courant number is 1.*: the time step is far too large"),
        verdict="diverged",
        cause="divergence",
        code=0,
        step="",
        line="^Courant Number mean",
    ),
    "blown up until a number overflowed": Ending(
        command=cavity(0.1, 100),
        options=FOAM,
        reason=coded(136, r" \(SIGFPE: floating point exception\): .*the solution blew up"),
        verdict="diverged",
        cause="divergence",
        code=136,
        signal="SIGFPE",
        line="sigFpe",
    ),
    "an error that tee hides": Ending(
        command="cd cavity; rm system/fvSchemes; blockMesh > log.blockMesh; icoFoam 2>&1 | tee log",
        options=FOAM,
        reason=failed(".*fvSchemes.*"),
        cause="input",
        code=0,
        step="",
        line="FOAM FATAL|fvSchemes",
    ),
    "an error in a log of its own": Ending(
        command="cd cavity; icoFoam > log.icoFoam 2>&1; exit 0",
        options=FOAM,
        reason=failed("a file is missing: .*points.*|OpenFOAM stopped with an error: .*"),
        cause="input",
        code=0,
        step="",
        line="[Cc]annot find file|cannot find",
    ),
}


@pytest.mark.openfoam
@pytest.mark.parametrize("name", OPENFOAM)
def test_openfoam(server: RunningServer, client: Client, name: str) -> None:
    file = client.upload("cavity.zip", endings.zipped_folder(CAVITY))
    wanted = OPENFOAM[name]
    job = client.create(wanted.command, inputs=[file["id"]], **wanted.options)
    client.submit(job["id"])
    ended(server, client, job["id"], wanted)


# Not the criteria of the demo, which take ten times as long.
EARLY = "sed -i 's/1e-[45];/3e-2;/' airFoil2D/system/fvSolution; ./airFoil2D/Allrun"
AIRFOILS = {
    "converged": well(EARLY, line="SIMPLE solution converged in"),
    "at its last iteration": Ending(
        command="sed -i 's/^endTime.*/endTime 20;/' air*/system/controlDict; ./airFoil2D/Allrun",
        reason=failed("it came to its last iteration without having converged"),
        verdict="not converged",
        cause="convergence",
        code=0,
        step="",
        line="^End$",
    ),
}


@pytest.mark.openfoam
@pytest.mark.parametrize("name", AIRFOILS)
def test_an_airfoil(server: RunningServer, client: Client, name: str) -> None:
    file = client.upload("airfoil2d.zip", AIRFOIL.read_bytes())
    wanted = AIRFOILS[name]
    job = client.create(wanted.command, inputs=[file["id"]], **FOAM)
    client.submit(job["id"])
    ended(server, client, job["id"], wanted)
