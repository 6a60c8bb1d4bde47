"""Real solvers, each run through the server as users run it."""

import io
import math
import random
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

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


# --- what else Debian has, as far as it is small --------------------------------------------------

DECKS = Path(__file__).parent / "decks"


def solve(
    client: Client, code: str, command: str, decks: str = "", **files: str
) -> tuple[str, dict[str, bytes], dict[str, list[float]]]:
    """Run decks of ours, and files that a test makes, as a job. Returns its log, its outputs and
    the values of its series.
    """
    contents = {name: (DECKS / name).read_bytes() for name in decks.split()}
    contents |= {name.replace("__", "."): text.encode() for name, text in files.items()}
    inputs = [client.upload(name, content)["id"] for name, content in contents.items()]
    job = client.run(command, inputs=inputs, code=code)
    outputs = client.outputs(job["id"])
    log = outputs["process_output.log"].decode()
    assert client.finished(job["id"]) == "Completed successfully", log
    data: dict[str, Any] = client.get(f"jobs/{job['id']}/runs/1/series/data/?points=20000")
    return log, outputs, {key: series["last"] for key, series in data["keys"].items()}


def number(pattern: str, text: str) -> float:
    """The last number that is printed this way."""
    return float(re.findall(pattern + r"\s*([-+0-9.eE]+)", text)[-1])


@pytest.mark.freefem
def test_freefem_bends_a_membrane(client: Client) -> None:
    log, _, _ = solve(client, "freefem", "FreeFem++-nw disc.edp", "disc.edp")
    assert "Ok: Normal End" in log
    # On the unit disc u = (1 - r^2) / 4.
    assert number("^centre|\ncentre", log) == pytest.approx(1 / 4, rel=1e-3)
    assert number("\nintegral", log) == pytest.approx(math.pi / 8, rel=2e-3)


@pytest.mark.ngspice
def test_ngspice_charges_a_capacitor(client: Client) -> None:
    log, _, _ = solve(client, "ngspice", "ngspice -b rc.cir", "rc.cir")
    assert number("v_tau +=", log) == pytest.approx(1 - math.exp(-1), rel=1e-4)
    assert number("v_end +=", log) == pytest.approx(1 - math.exp(-5), rel=1e-4)


@pytest.mark.xtb
def test_xtb_finds_the_shape_of_water(client: Client) -> None:
    log, outputs, series = solve(client, "xtb", "xtb water.xyz --opt", "water.xyz")
    # The energy that the documentation of xtb gives for water, and the bond length of GFN2.
    assert number(r"TOTAL ENERGY", log) == pytest.approx(-5.070544, abs=1e-6)
    oxygen, *hydrogens = [
        [float(x) for x in line.split()[1:4]]
        for line in outputs["xtbopt.xyz"].decode().splitlines()[2:5]
    ]
    for hydrogen in hydrogens:
        assert math.dist(oxygen, hydrogen) == pytest.approx(0.9593, abs=2e-4)
    assert series["energy/total"][-1] == pytest.approx(-5.070544, abs=1e-6)
    assert series["residuals/gradient"][0] > 0.1 and series["residuals/gradient"][-1] < 1e-3
    assert min(series["residuals/charges"]) < 1e-6


@pytest.mark.elk
def test_elk_has_the_energy_of_helium(client: Client) -> None:
    """All electrons: -2.834836 hartree is the reference of the NIST for the local density."""
    _, outputs, series = solve(client, "elk", "OMP_NUM_THREADS=1 elk", "elk.in")
    assert number(r"total energy +:", outputs["INFO.OUT"].decode()) == pytest.approx(
        -2.834836, abs=5e-4
    )
    assert series["energy/total"][-1] == pytest.approx(-2.834836, abs=5e-4)
    assert series["residuals/potential"][0] > 0.01 and series["residuals/potential"][-1] < 1e-5


@pytest.mark.gerris
def test_gerris_drags_a_fluid_along(client: Client) -> None:
    places = "".join(f"0 {y} 0\n" for y in (-0.25, 0, 0.25))
    _, outputs, series = solve(
        client, "gerris", "gerris2D couette.gfs", "couette.gfs", probes__txt=places
    )
    rows = [line.split() for line in outputs["profile.txt"].decode().splitlines()[1:]]
    for row in rows:
        y, u = float(row[2]), float(row[6])
        assert u == pytest.approx(y + 0.5, abs=1e-4)
    assert len(rows) == 3
    assert len(series["time step/dt"]) > 20 and max(series["residuals/largest"]) < 1e-6


@pytest.mark.meep
def test_meep_lets_a_slab_ring(client: Client) -> None:
    log, _, series = solve(client, "meep", "meep slab.ctl", "slab.ctl")
    assert "run 0 finished" in log
    ringing = [y for y in series["decay/field"] if y < 0.1]
    steps = len(ringing) - 1
    fall = math.log(ringing[0] / ringing[-1]) / (steps * 10.01)
    assert fall == pytest.approx(2 * math.log(7 / 5) / 6, rel=0.03)


def squares(n: int = 8) -> str:
    """A mesh of the unit square for GetDP: halves 1 and 2, bottom 11, top 12."""
    nodes = [f"{1 + i + j * (n + 1)} {i / n} {j / n} 0" for j in range(n + 1) for i in range(n + 1)]
    top = n * (n + 1)
    elements = [f"1 2 11 11 {1 + i} {2 + i}" for i in range(n)]
    elements += [f"1 2 12 12 {1 + i + top} {2 + i + top}" for i in range(n)]
    for j in range(n):
        for i in range(n):
            a = 1 + i + j * (n + 1)
            half = 1 if j < n // 2 else 2
            for b, c in ((a + 1, a + n + 2), (a + n + 2, a + n + 1)):
                elements.append(f"2 2 {half} {half} {a} {b} {c}")
    return "\n".join(
        [
            f"$MeshFormat\n2.2 0 8\n$EndMeshFormat\n$Nodes\n{len(nodes)}",
            *nodes,
            f"$EndNodes\n$Elements\n{len(elements)}",
            *(f"{i} {element}" for i, element in enumerate(elements, start=1)),
            "$EndElements\n",
        ]
    )


@pytest.mark.getdp
def test_getdp_charges_two_plates(client: Client) -> None:
    command = "getdp plates.pro -msh plates.msh -solve Static -pos Numbers -ksp_type cg"
    _, outputs, series = solve(client, "getdp", command, "plates.pro", plates__msh=squares())
    # Permittivities 3 and 1 in a row: 1/4 of the voltage, and energy C V^2 / 2 with C = 3/2.
    assert float(outputs["v.txt"].split()[-1]) == pytest.approx(1 / 4)
    assert float(outputs["energy.txt"].split()[-1]) == pytest.approx(3 / 4)
    assert series["residuals/linear system"][-1] < 1e-9 * series["residuals/linear system"][0]


@pytest.mark.r
def test_r_solves_an_equation(client: Client) -> None:
    log, _, _ = solve(client, "R", "Rscript poisson.R", "poisson.R")
    assert number("middle", log) == pytest.approx(1 / 8)
    assert number("normal", log) == pytest.approx(0.950004, abs=1e-6)


@pytest.mark.autodock
def test_vina_scores_as_it_was_published(client: Client) -> None:
    """An atom of carbon among twelve others: the terms of Trott and Olson (2010), added up."""
    golden = math.pi * (3 - math.sqrt(5))
    receptor = ""
    for i in range(12):
        z = 1 - (2 * i + 1) / 12
        x, y = (math.sqrt(1 - z * z) * f(golden * i) for f in (math.cos, math.sin))
        place = "".join(f"{4 * w:8.3f}" for w in (x, y, z))
        receptor += f"ATOM  {i + 1:5}  C   LIG A   1    {place}  1.00  0.00     0.000 C \n"
    atom = "ATOM      1  C   LIG A   1       0.000   0.000   0.000  1.00  0.00     0.000 C \n"
    log, _, _ = solve(
        client,
        "autodock",
        "vina --cpu 1 --receptor receptor.pdbqt --ligand ligand.pdbqt --score_only"
        " --center_x 0 --center_y 0 --center_z 0 --size_x 20 --size_y 20 --size_z 20",
        receptor__pdbqt=receptor,
        ligand__pdbqt=f"ROOT\n{atom}ENDROOT\nTORSDOF 0\n",
    )
    gap = 4 - 2 * 1.9  # between the surfaces of two carbons
    each = -0.035579 * math.exp(-((gap / 0.5) ** 2))  # the first Gaussian
    each += -0.005156 * math.exp(-(((gap - 3) / 2) ** 2))  # the second
    each += -0.035069  # both are hydrophobic
    assert number("Binding +:", log) == pytest.approx(12 * each, abs=2e-3)


def letters(seed: int, length: int, alphabet: str = "ACGT") -> str:
    chosen = random.Random(seed)
    return "".join(chosen.choice(alphabet) for _ in range(length))


@pytest.mark.blast
def test_blast_finds_a_piece_and_its_significance(client: Client) -> None:
    genome = letters(7, 3000)
    log, _, _ = solve(
        client,
        "blast",
        "makeblastdb -in genome.fa -dbtype nucl -out db && blastn -task blastn -dust no -db db"
        " -query query.fa && blastn -task blastn -dust no -db db -query query.fa"
        " -outfmt '6 sstart send nident score bitscore evalue'",
        genome__fa=f">chr1\n{genome}\n",
        query__fa=f">q\n{genome[1000:1060]}\n",
    )
    start, end, same, score, bits, expected = map(float, log.splitlines()[-1].split())
    assert (start, end, same, score) == (1001, 1060, 60, 120)
    # Karlin and Altschul, with the parameters that it prints for gapped alignments.
    found = re.search(r"Gapped\nLambda +K +H\n +(\S+) +(\S+)", log)
    assert found
    nats = float(found[1]) * score - math.log(float(found[2]))
    assert bits == pytest.approx(nats / math.log(2), abs=0.6)
    space = number("Effective search space used:", log)
    assert expected == pytest.approx(space * math.exp(-nats), rel=0.02)


@pytest.mark.hmmer
def test_hmmer_finds_a_relative_and_its_significance(client: Client) -> None:
    _, outputs, _ = solve(
        client,
        "hmmer",
        "hmmbuild --seed 1 family.hmm family.sto && hmmsearch --seed 1 --max --tblout hits.txt"
        " family.hmm proteins.fa",
        "family.sto proteins.fa",
    )
    hits = [line.split() for line in outputs["hits.txt"].decode().splitlines() if line[0] != "#"]
    assert [hit[0] for hit in hits] == ["hit"]
    expected, score = float(hits[0][4]), float(hits[0][5])
    # Of two sequences; the tail of the scores is exponential, as the model was calibrated.
    stats = re.search(r"STATS LOCAL FORWARD +(\S+) +(\S+)", outputs["family.hmm"].decode())
    assert stats
    assert expected == pytest.approx(
        2 * math.exp(-float(stats[2]) * (score - float(stats[1]))), rel=0.1
    )


def reads() -> str:
    """Ten pairs of reads of 50 letters on a genome of 1000; four pairs are there twice."""
    genome = letters(3, 1000)
    head = ["@HD\tVN:1.6\tSO:coordinate", "@SQ\tSN:chr1\tLN:1000", "@RG\tID:a\tSM:s\tLB:l"]
    found: list[tuple[int, str]] = []
    for i in range(10):
        first = 1 + 80 * (i % 6)
        for flag, here, there, size in (
            (99, first, first + 150, 200),
            (147, first + 150, first, -200),
        ):
            read = genome[here - 1 : here + 49]
            fields = (f"r{i}", flag, "chr1", here, 60, "50M", "=", there, size, read, "I" * 50)
            found.append((here, "\t".join(map(str, (*fields, "RG:Z:a")))))
    return "\n".join([*head, *(line for _, line in sorted(found))]) + "\n"


@pytest.mark.samtools
def test_samtools_counts_reads(client: Client) -> None:
    log, outputs, _ = solve(
        client,
        "samtools",
        "samtools sort -o reads.bam reads.sam && samtools index reads.bam &&"
        " samtools coverage reads.bam && samtools view -c reads.bam",
        reads__sam=reads(),
    )
    columns, values, count = (line.split() for line in log.splitlines())
    seen = dict(zip(columns, values, strict=True))
    covered = {80 * (i % 6) + away + k for i in range(10) for away in (0, 150) for k in range(50)}
    assert (seen["numreads"], count) == ("20", ["20"])
    assert float(seen["meandepth"]) == 20 * 50 / 1000
    assert int(seen["covbases"]) == len(covered)
    assert "reads.bam.bai" in outputs


@pytest.mark.picard
def test_picard_marks_duplicates(client: Client) -> None:
    _, outputs, _ = solve(
        client,
        "picard",
        "JAVA_OPTIONS='-Xmx100m -XX:TieredStopAtLevel=1'"
        " PicardCommandLine MarkDuplicates I=reads.sam O=marked.bam M=metrics.txt",
        reads__sam=reads(),
    )
    _, names, values, *_ = outputs["metrics.txt"].decode().split("\n## METRICS")[1].split("\n")
    metrics = dict(zip(names.split("\t"), values.split("\t"), strict=True))
    assert metrics["READ_PAIRS_EXAMINED"] == "10"
    assert float(metrics["PERCENT_DUPLICATION"]) == 4 / 10


@pytest.mark.fastqc
def test_fastqc_judges_reads(client: Client) -> None:
    quality = "I" * 25 + "5" * 25  # 40 and 20
    content = "".join(
        f"@r{i}\n{''.join(letters(i * 50 + j, 1, 'GC' if j % 5 < 2 else 'AT') for j in range(50))}"
        f"\n+\n{quality}\n"
        for i in range(100)
    )
    _, outputs, _ = solve(client, "fastqc", "fastqc --extract reads.fastq", reads__fastq=content)
    report = outputs["reads_fastqc/fastqc_data.txt"].decode()
    assert number("Total Sequences", report) == 100
    assert number("%GC", report) == 40
    (part,) = re.findall(r">>Per base sequence quality.*?>>END", report, re.DOTALL)
    rows = [row.split() for row in part.splitlines()[2:-1]]
    assert (rows[0][1], rows[-1][1]) == ("40.0", "20.0")


@pytest.mark.openfoam
def test_the_other_name_of_openfoam(client: Client) -> None:
    job = client.run("foamExec simpleFoam -help", code="openfoam_plus", version="v1706+-intelmpi")
    log = client.log_of(job["id"])
    assert log.startswith("[simyard] OpenFOAM+ v1706+-intelmpi was asked for; v1912+ runs")
    assert re.search(r"Using: OpenFOAM-? ?\(?1912", log)


# --- programs of users ----------------------------------------------------------------------------


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
