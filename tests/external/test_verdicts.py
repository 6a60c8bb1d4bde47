"""The verdict on real runs of real solvers, good ones and ones whose exit code lies. No server."""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import recorded
from recorded import CATALOGUE, STEP
from simyard.domain.outcome import Outcome, Verdict
from simyard.domain.runs import Cause, Ending
from simyard.service import verdicts
from simyard.service.staging import LOG_NAME

CAVITY = Path("/usr/share/doc/openfoam-examples/examples/incompressible/icoFoam/cavity/cavity")
EXAMPLES = pytest.mark.skipif(not CAVITY.is_dir(), reason="needs openfoam-examples")


def run(command: str, work: Path, analysis: str, disk_bytes: int = 0) -> tuple[int, Outcome]:
    """What a command ends with here and how it is judged. disk_bytes: on a disk of this size."""
    shell = ["bash", "-c", f"({command}) > {LOG_NAME} 2>&1"]
    if disk_bytes:
        out = work.parent / "out"
        out.mkdir()
        script = f"cp -r {work}/. /mnt; cd /mnt; {command} > {out}/{LOG_NAME} 2>&1; e=$?"
        small = ["--size", str(disk_bytes), "--tmpfs", "/mnt"]
        shell = ["bwrap", "--bind", "/", "/", "--dev", "/dev", *small]
        shell += ["bash", "-c", f"{script}; cp -r /mnt/. {out}; exit $e"]
    env = {**os.environ, "WM_PROJECT_DIR": "/usr/share/openfoam"}  # or it does not find its etc
    code = subprocess.run(shell, cwd=work, env=env, timeout=60, check=False).returncode
    ending = Ending(cause=Cause.EXITED, exit_code=code, step=STEP)
    return code, recorded.judge(CATALOGUE, [analysis], out if disk_bytes else work, ending)


# --- CalculiX -------------------------------------------------------------------------------------


def bar(elements: int, *, held: bool = True) -> str:
    """A bar of bricks in tension, held at one end or floating."""
    corners = [(y, z) for y in (0, 1) for z in (0, 1)]
    nodes = [(x, y, z) for x in range(elements + 1) for y, z in corners]
    lines = ["*NODE,NSET=ALL", *(f"{n},{x},{y},{z}" for n, (x, y, z) in enumerate(nodes, 1))]
    lines += ["*ELEMENT,TYPE=C3D8,ELSET=BAR"]
    for e in range(elements):
        ring = [4 * e + n for n in (1, 5, 7, 3, 2, 6, 8, 4)]
        lines.append(",".join(map(str, [e + 1, *ring])))
    lines += ["*MATERIAL,NAME=STEEL", "*ELASTIC", "210000.,.3"]
    lines += ["*SOLID SECTION,ELSET=BAR,MATERIAL=STEEL"]
    lines += ["*BOUNDARY", *(f"{n},1,3" for n in (1, 2, 3, 4))] if held else []
    lines += ["*STEP", "*STATIC", "*CLOAD", f"{4 * elements + 1},3,-1."]
    lines += ["*NODE PRINT,NSET=ALL", "U", "*NODE FILE", "U", "*EL FILE", "S", "*END STEP"]
    return "\n".join(lines) + "\n"


@pytest.mark.calculix
def test_a_bar_that_is_held_is_completed_and_one_that_is_not_has_diverged(tmp_path: Path) -> None:
    (tmp_path / "bar.inp").write_text(bar(20))
    code, outcome = run("ccx bar", tmp_path, "calculix")
    assert (code, outcome.verdict) == (0, Verdict.COMPLETED)
    assert outcome.evidence is not None
    assert outcome.evidence.text == "Job finished"

    (tmp_path / "bar.inp").write_text(bar(20, held=False))
    code, outcome = run("ccx bar", tmp_path, "calculix")
    assert (code, outcome.verdict) == (0, Verdict.DIVERGED)
    assert "a body is not held" in outcome.message


@pytest.mark.calculix
@pytest.mark.sandbox
def test_calculix_on_a_full_disk_is_incomplete_although_it_exits_with_0(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "bar.inp").write_text(bar(2000))
    code, outcome = run("ccx bar", work, "calculix", disk_bytes=1_500_000)
    assert (code, outcome.verdict, outcome.cause) == (0, Verdict.INCOMPLETE, "output")
    assert outcome.message == "the result file bar.frd is cut short"


@pytest.mark.calculix
def test_a_deck_that_is_not_there_has_failed_although_ccx_exits_with_0(tmp_path: Path) -> None:
    code, outcome = run("ccx nosuch", tmp_path, "calculix")
    assert (code, outcome.verdict) == (0, Verdict.FAILED)
    assert outcome.message == "the file nosuch.inp is missing"


# --- ngspice --------------------------------------------------------------------------------------

CIRCUIT = """charging
v1 in 0 pulse(0 1 0 1n 1n 1 2)
r1 in out 1k
c1 out 0 1u
.tran 1u 30m
.end
"""


@pytest.mark.ngspice
@pytest.mark.sandbox
def test_ngspice_on_a_full_disk_is_incomplete_although_it_exits_with_0(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "rc.cir").write_text(CIRCUIT)
    code, outcome = run("ngspice -b -r rc.raw rc.cir", work, "ngspice")
    assert (code, outcome.verdict) == (0, Verdict.COMPLETED)
    (work / "rc.raw").unlink()
    (work / LOG_NAME).unlink()
    code, outcome = run("ngspice -b -r rc.raw rc.cir", work, "ngspice", disk_bytes=400_000)
    assert (code, outcome.verdict, outcome.cause) == (0, Verdict.INCOMPLETE, "output")


# --- OpenFOAM -------------------------------------------------------------------------------------


@pytest.mark.openfoam
@EXAMPLES
def test_a_mesh_and_a_flow_are_completed_and_a_hidden_error_is_seen(tmp_path: Path) -> None:
    shutil.copytree(CAVITY, tmp_path, dirs_exist_ok=True)
    code, outcome = run("blockMesh && icoFoam", tmp_path, "openfoam")
    assert (code, outcome.verdict) == (0, Verdict.COMPLETED)

    field = tmp_path / "0" / "p"
    field.write_text(field.read_text().replace("movingWall", "movingWal"))
    for into, shown in (("2>&1", "log.icoFoam"), ("", LOG_NAME)):
        code, outcome = run(f"icoFoam > log.icoFoam {into}; true", tmp_path, "user_included")
        assert (code, outcome.verdict) == (0, Verdict.FAILED)
        assert outcome.message == "a field has no boundary condition for the patch movingWall"
        assert outcome.evidence is not None
        assert outcome.evidence.path == shown


@pytest.mark.openfoam
@EXAMPLES
def test_a_time_step_that_is_far_too_large_has_diverged_at_any_exit_code(tmp_path: Path) -> None:
    shutil.copytree(CAVITY, tmp_path, dirs_exist_ok=True)
    control = tmp_path / "system" / "controlDict"
    text = control.read_text().replace("0.005;", "{};").replace("0.5;", "{};")
    for step, end in ((0.5, 1.5), (0.1, 5)):
        control.write_text(
            text.replace("deltaT          {}", f"deltaT {step}").replace("{}", str(end))
        )
        os.utime(control)
        code, outcome = run("blockMesh > /dev/null && icoFoam", tmp_path, "openfoam")
        assert outcome.verdict is Verdict.DIVERGED, (code, outcome)


# --- what does not decide -------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [3, 7, 1 << 20])
def test_parts_of_a_log_that_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """However the log is read: the lines around them count, at their places."""
    monkeypatch.setattr(verdicts, "_PIECE_BYTES", piece)
    aside = b"Traceback (most recent call last):\nValueError: 1\n"
    before, after = b"solved\n", b"done\n"
    log = before + aside + after
    (tmp_path / LOG_NAME).write_bytes(log)
    ending = Ending(cause=Cause.EXITED, exit_code=0, step=STEP)
    assert recorded.judge(CATALOGUE, ["python"], tmp_path, ending).cause == "exception"
    told = dataclasses.replace(ending, asides=((len(before), len(before + aside)),))
    assert recorded.judge(CATALOGUE, ["python"], tmp_path, told).verdict.is_good
    (tmp_path / LOG_NAME).write_bytes(log + aside)
    outcome = recorded.judge(CATALOGUE, ["python"], tmp_path, told)
    assert outcome.cause == "exception" and outcome.evidence is not None
    assert (outcome.evidence.offset, outcome.evidence.line) == (len(log), 5)
