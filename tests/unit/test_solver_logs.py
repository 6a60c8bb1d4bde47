"""The grammars of the catalogue on what solvers print, and tables. The excerpts are of real runs,
except those of licensed programs, which follow public descriptions.
"""

import re
from collections.abc import Iterator

import pytest

from simyard.domain.catalogue import Machine
from simyard.domain.grammar import Grammar, Reader, TableRule
from simyard.service.catalogue import load, own_folder

MACHINE = Machine(cores=1, memory_mb=1, storage_gb=1)
CATALOGUE = load([own_folder(), own_folder() / "templates"], MACHINE)
Points = dict[str, list[tuple[float, float]]]


def shipped(code: str) -> Grammar:
    analysis = CATALOGUE.analysis(code)
    assert analysis is not None and analysis.grammar is not None, code
    return analysis.grammar


def read(grammar: Grammar, text: str) -> Points:
    reader = Reader(grammar)
    for line in text.strip("\n").split("\n"):
        reader.feed(line)
    return {
        key: [(float(x), y) for x, y in zip(series.x, series.y, strict=True)]
        for key, series in reader.series.items()
    }


LOGS: list[tuple[str, str, Points]] = [
    (
        "abinit",
        """
     iter   Etot(hartree)      deltaE(h)  residm     vres2
 ETOT  1  -1.1013391225241    -1.101E+00 4.220E-04 8.396E+00
 ETOT  2  -1.1036939626391    -2.355E-03 7.374E-09 2.840E-01
""",
        {
            "energy/total": [(1, -1.1013391225241), (2, -1.1036939626391)],
            "residuals/wave functions": [(1, 4.22e-4), (2, 7.374e-9)],
            "residuals/potential": [(1, 8.396), (2, 0.284)],
        },
    ),
    (
        "cp2k",
        """
  Step     Update method      Time    Convergence         Total energy    Change
  ------------------------------------------------------------------------------
     1 P_Mix/Diag. 0.40E+00    0.1     1.43340192        -0.9519484756 -9.52E-01
     2 DIIS/Diag.  0.14E-02    0.1     0.03974073        -1.1274483677 -5.45E-03

  *** SCF run converged in     2 steps ***
     1 OT DIIS     0.80E-01    0.2     0.00100000       -17.1633461710 -1.72E+01
""",
        {
            "residuals/convergence": [(1, 1.43340192), (2, 0.03974073), (3, 0.001)],
            "energy/total": [(1, -0.9519484756), (2, -1.1274483677), (3, -17.163346171)],
        },
    ),
    (
        "elk",
        """
| Loop number :    1 |
 sum of eigenvalues          :     -1.12909315592
 total energy                :     -2.83802181218
| Loop number :    2 |
 total energy                :     -2.83800500441
RMS change in Kohn-Sham potential (target) :   0.7329867603E-01 (  0.1000000000E-05)
Absolute change in total energy (target)   :   0.1680777533E-04 (  0.1000000000E-03)
""",
        {
            "energy/total": [(1, -2.83802181218), (2, -2.83800500441)],
            "residuals/potential": [(2, 0.07329867603)],
            "residuals/energy": [(2, 1.680777533e-5)],
        },
    ),
    (
        "gerris",
        """
step:       1 t:      0.01111111 dt:  2.962963e-02 cpu:      0.00000000 real:      0.00275100
Approximate projection
    residual.second:  9.344e-10  7.237e-11     13
    residual.infty:   3.978e-09  3.261e-10     12
U diffusion
    residual.infty:   3.787e-08  4.102e-10     92
""",
        {
            "time step/dt": [(0.01111111, 0.02962963)],
            "residuals/largest": [(0.01111111, 4.102e-10)],
        },
    ),
    (
        "getdp",
        """
Info    : N: 63 - cg jacobi (null)
Info    :   0 KSP Residual norm 7.500000000000e-01
  0 KSP Residual norm 7.500000000000e-01
Info    :   1 KSP Residual norm 3.750000000000e-01
""",
        {"residuals/linear system": [(1, 0.75), (2, 0.375)]},
    ),
    (
        "gpaw",
        """
     iter     time        total  log10-change:
                         energy  eigst   dens
iter:   1 22:23:16    -7.163636
iter:   2 22:23:16    -6.862009  +0.21  -0.43
iter:   7 22:23:16    -6.484548c -3.49  -2.58
""",
        {
            "energy/total": [(1, -7.163636), (2, -6.862009), (3, -6.484548)],
            "log10 of change/wave functions": [(2, 0.21), (3, -3.49)],
            "log10 of change/density": [(2, -0.43), (3, -2.58)],
        },
    ),
    (
        "gromacs",
        """
Started mdrun on rank 0 Sun Nov 22 14:28:35 2026

           Step           Time
              0        0.00000

   Energies (kJ/mol)
        LJ (SR)   Coulomb (SR)      Potential    Kinetic En.   Total Energy
   -2.05220e+03    0.00000e+00   -2.05220e+03    6.20475e+02   -1.43172e+03
  Conserved En.    Temperature Pressure (bar)
   -1.43172e+03    9.97007e+01   -1.09975e+03

           Step           Time
            500        1.00000

Writing checkpoint, step 500 at Sun Nov 22 14:28:35 2026

   Energies (kJ/mol)
        LJ (SR)   Coulomb (SR)
   -1.93204e+03    0.00000e+00

	<======  ###############  ==>
	<====  A V E R A G E S  ====>
	<==  ###############  ======>

   Energies (kJ/mol)
        LJ (SR)   Coulomb (SR)
   -1.96523e+03    0.00000e+00
""",
        {
            "energies/LJ (SR)": [(0, -2052.2), (500, -1932.04)],
            "energies/Coulomb (SR)": [(0, 0), (500, 0)],
            "energies/Potential": [(0, -2052.2)],
            "energies/Kinetic En.": [(0, 620.475)],
            "energies/Total Energy": [(0, -1431.72)],
            "energies/Conserved En.": [(0, -1431.72)],
            "energies/Temperature": [(0, 99.7007)],
            "energies/Pressure (bar)": [(0, -1099.75)],
        },
    ),
    (
        "lammps",
        """
  Current step  : 0
Step Temp E_pair CPU
       0          1.4   -6.8237021            0
WARNING: Dangerous builds (src/thermo.cpp:217)
      50   0.71933552   -5.8140517     0.031250
Loop time of 0.226445 on 1 procs for 50 steps with 2048 atoms
   1 2 3 4
Step TotEng
     100          nan
""",
        {
            "thermo/Temp": [(0, 1.4), (50, 0.71933552)],
            "thermo/E_pair": [(0, -6.8237021), (50, -5.8140517)],
            "thermo/TotEng": [(100, float("nan"))],
        },
    ),
    (
        "liggghts",
        """
    Step   KinEng   height
       0            0            1
     200  0.00020155642     0.998038
Loop time of 0.0493012 on 1 procs for 200 steps with 1 atoms
""",
        {
            "thermo/KinEng": [(0, 0), (200, 0.00020155642)],
            "thermo/height": [(0, 1), (200, 0.998038)],
        },
    ),
    (
        "meep",
        """
field decay(t = 80.05833333333334): 7.018683909476025e-4 / 0.0137 = 0.05119304481004567
field decay(t = 90.06666666666666): 4.386672003350894e-5 / 0.0137 = 0.003199561332735385
""",
        {
            "decay/field": [
                (80.05833333333334, 0.05119304481004567),
                (90.06666666666666, 0.003199561332735385),
            ]
        },
    ),
    (
        "mrbayes",
        """
         Chain 1 -- -4833.506266 -- 8.977197
          0 -- [-4833.506] (-4833.506) * [-4833.506]
       1000 -- (-3647.370) [-3649.841] * (-3647.1) -- 0:00:00

      Average standard deviation of split frequencies: 0.012500
""",
        {
            "likelihood/first chain": [(0, -4833.506), (1000, -3647.37)],
            "convergence/split frequencies": [(1000, 0.0125)],
        },
    ),
    (
        "nwchem",
        """
              iter       energy          gnorm     gmax       time
                 1      -74.9243957408  6.49D-01  5.52D-01      0.0
                 2      -74.9621916064  1.36D-01  1.01D-01      0.0
@ Step       Energy      Delta E   Gmax     Grms     Xrms     Xmax   Walltime
@    0     -74.96302313  0.0D+00  0.03750  0.03109  0.00000  0.00000      0.1
 d= 0,ls=0.0,diis     1     -1.1668897220 -1.88D+00  1.60D-03  9.96D-03     0.1
""",
        {
            "energy/total": [(1, -74.9243957408), (2, -74.9621916064), (3, -1.166889722)],
            "residuals/gradient": [(1, 0.649), (2, 0.136)],
            "geometry/largest gradient": [(2, 0.0375)],
            "residuals/density": [(3, 0.0016)],
        },
    ),
    (
        "petsc",
        """
  0 KSP Residual norm 9.128709246109e-01
  1 KSP Residual norm 2.883658766621e-15
  0 SNES Function norm 1.000000000000e+00
""",
        {
            "residuals/KSP": [(1, 0.9128709246109), (2, 2.883658766621e-15)],
            "residuals/SNES": [(3, 1)],
        },
    ),
    (
        "quantum_espresso",
        """
     iteration #  1     ecut=    18.00 Ry     beta= 0.70
     total energy              =     -15.84088221 Ry
     estimated scf accuracy    <       0.06092310 Ry
     iteration # 12     ecut=    18.00 Ry     beta= 0.70
!    total energy              =     -15.84452726 Ry
     estimated scf accuracy    <          1.8E-10 Ry
     The total energy is the sum of the following terms:
     Total force =     0.120000     Total SCF correction =     0.000017
""",
        {
            "energy/total": [(1, -15.84088221), (2, -15.84452726)],
            "residuals/scf accuracy": [(1, 0.0609231), (2, 1.8e-10)],
            "forces/total": [(2, 0.12)],
        },
    ),
    (
        "xtb",
        """
 iter      E             dE          RMSdq      gap      omega  full diag
   1     -5.0696701 -0.506967E+01  0.405E+00   11.38       0.0  T
   2     -5.0728027 -0.313262E-02  0.218E+00   10.94       1.0  T
 * total energy  :    -5.0587440 Eh     change        0.8881784E-15 Eh
   gradient norm :     0.1186188 Eh/a0   predicted     0.0000000E+00 (-100.00%)
""",
        {
            "residuals/charges": [(1, 0.405), (2, 0.218)],
            "energy/total": [(2, -5.058744)],
            "residuals/gradient": [(2, 0.1186188)],
        },
    ),
    # --- templates --------------------------------------------------------------------------------
    (
        "ansys_fluent",
        """
  iter  continuity  x-velocity      energy     time/iter
     1  1.0000e+00  2.5000e-01  1.0000e-03  0:00:21   99
     2  5.0000e-01  1.2500e-01  5.0000e-04  0:00:20   98
!  2 solution is converged
""",
        {
            "residuals/continuity": [(1, 1), (2, 0.5)],
            "residuals/x-velocity": [(1, 0.25), (2, 0.125)],
            "residuals/energy": [(1, 1e-3), (2, 5e-4)],
        },
    ),
    (
        "cd_adapco_star_ccm",
        """
     Iteration    Continuity    X-momentum           Tke
             1  1.000000e+00  1.000000e+00  5.000000e-01
             2  1.000000e-01  2.000000e-01  4.000000e-01
""",
        {
            "residuals/Continuity": [(1, 1), (2, 0.1)],
            "residuals/X-momentum": [(1, 1), (2, 0.2)],
            "residuals/Tke": [(1, 0.5), (2, 0.4)],
        },
    ),
    (
        "ansys_cfx",
        """
 OUTER LOOP ITERATION =    7                    CPU SECONDS = 1.234E+01
|       Equation       | Rate | RMS Res | Max Res |  Linear Solution |
| U-Mom                | 0.98 | 1.2E-03 | 2.3E-02 |       1.3E-02  OK|
| P-Mass               | 0.50 | 4.0E-04 | 2.3E-02 |  8.4  1.3E-02  OK|
""",
        {"residuals/U-Mom": [(7, 1.2e-3)], "residuals/P-Mass": [(7, 4e-4)]},
    ),
    (
        "abaqus",
        """
 STEP  INC ATT SEVERE EQUIL TOTAL  TOTAL      STEP       INC OF       DOF    IF
   1     1   1U    0     4     4  0.00       0.00       1.000
   1     1   2     0     3     3  0.250      0.250      0.2500
""",
        {"iterations/equilibrium": [(1, 4), (2, 3)], "time/increment": [(1, 1), (2, 0.25)]},
    ),
    (
        "ls_dyna",
        "       1 t 0.0000E+00 dt 7.60E-05 flush i/o buffers\n     100 t 4.0E-03 dt 7.5E-05 write",
        {"time step/dt": [(1, 7.6e-5), (100, 7.5e-5)]},
    ),
    (
        "vasp",
        """
       N       E                     dE             d eps       ncg     rms          rms(c)
DAV:   1     0.105741390573E+02    0.10574E+02   -0.96312E+02    96   0.313E+02
DAV:   2    -0.852000000000E+01   -0.19094E+02   -0.18000E+02   128   0.700E+01
""",
        {
            "energy/total": [(1, 10.5741390573), (2, -8.52)],
            "residuals/energy": [(1, 10.574), (2, 19.094)],
        },
    ),
]


@pytest.mark.parametrize(("code", "log", "points"), LOGS, ids=[code for code, _, _ in LOGS])
def test_what_a_solver_prints(code: str, log: str, points: Points) -> None:
    assert repr(read(shipped(code), log)) == repr(
        {key: [(float(x), float(y)) for x, y in found] for key, found in points.items()}
    )


WITH_GRAMMAR = [a.code for a in CATALOGUE.analyses if a.grammar]


def test_every_grammar_has_a_log() -> None:
    of_others = {"openfoam", "openfoam_plus", "calculix"}  # theirs are in test_grammar.py
    assert {code for code, _, _ in LOGS} | of_others == set(WITH_GRAMMAR)


def test_both_names_of_openfoam_read_alike() -> None:
    assert shipped("openfoam") == shipped("openfoam_plus")


def long_lines(log: str) -> Iterator[str]:
    """Lines like those of a log, with each part as long as a hostile run can make it."""
    for line in {*log.strip("\n").split("\n"), "iter 1"}:
        for part in re.finditer(r"\s+|[\w.+-]+|[^\w\s]", line):
            for many in (part[0] * 40_000, " " * 40_000, "1" * 40_000, "1 " * 20_000):
                yield line[: part.start()] + many + line[part.end() :]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("code", "log"), [(c, log) for c, log, _ in LOGS], ids=[c for c, _, _ in LOGS]
)
def test_a_long_line_is_read_in_no_time(code: str, log: str) -> None:
    """A pattern that backtracks badly would take hours."""
    grammar = shipped(code)
    for line in long_lines(log):
        reader = Reader(grammar)
        for good in log.strip("\n").split("\n"):
            reader.feed(good)
        reader.feed(line)


# --- tables ---------------------------------------------------------------------------------------


def table(**more: object) -> Grammar:
    rule = TableRule(group="t", header="^n ", x="n", **more)  # type: ignore[arg-type]
    return Grammar(sources=("log",), x_label="n", tables=(rule,))


def test_a_table() -> None:
    assert read(table(), "n a b\n1 2 3\n2 3 4") == {
        "t/a": [(1, 2), (2, 3)],
        "t/b": [(1, 3), (2, 4)],
    }


def test_rows_that_are_none() -> None:
    text = "1 2 3\nn a b\n1 2\nsome words here\n2 x 3\n\n3 4 words\n4 5 6 7"
    assert read(table(), text) == {"t/a": [(3, 4), (4, 5)], "t/b": [(4, 6)]}


def test_a_table_that_has_no_x() -> None:
    assert read(table(), "n a\n1 2\nn b c\nx 1 2") == {"t/a": [(1, 2)]}
    no_such = Grammar(sources=(), x_label="n", tables=(TableRule(group="t", header="^a", x="n"),))
    assert read(no_such, "a b\n1 2") == {}


def test_columns_that_are_not_wanted() -> None:
    assert read(table(skip=("a",)), "n a b\n1 2 3") == {"t/b": [(1, 3)]}


def test_columns_of_a_width() -> None:
    rule = TableRule(group="t", header="[a-z]", width=4)
    grammar = Grammar(sources=(), x_label="n", x_pattern=r"^at (?P<x>\d+)$", tables=(rule,))
    text = " a b  cd\n   1   2\nat 7\n   1   2\n a b  e\n   3   4\n   5"
    assert read(grammar, text) == {"t/a b": [(7, 3)], "t/cd": [(7, 2)], "t/e": [(7, 4)]}


def test_a_line_that_begins_a_step_may_have_a_value_too() -> None:
    assert read(shipped("meep"), "field decay(t = 1.0): 1 / 2 = 0.5") == {"decay/field": [(1, 0.5)]}


def test_what_comes_after_the_end_belongs_to_no_step() -> None:
    text = "Step a\n1 2\nLoop time of 1\n3 4\nStep a\n5 6"
    assert read(shipped("lammps"), text) == {"thermo/a": [(1, 2), (5, 6)]}


def test_a_header_of_many_columns_is_cut() -> None:
    words = " ".join(f"c{i}" for i in range(5000))
    numbers = " ".join(map(str, range(5000)))
    assert len(read(table(), f"n {words}\n1 {numbers}")) == 59


@pytest.mark.parametrize(
    ("text", "y"), [("1.5D-03", 0.0015), ("-2d+1", -20), ("nan", None), ("inf", float("inf"))]
)
def test_numbers_of_fortran(text: str, y: float | None) -> None:
    ((_, found),) = read(table(), f"n a\n1 {text}")["t/a"]
    assert found == y or (y is None and found != found)
