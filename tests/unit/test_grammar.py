"""Reading the progress of solvers from what they print. The logs are of real runs, cut short."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.catalogue import Machine
from simyard.domain.grammar import Bucket, Grammar, Pick, Reader, Series, SeriesRule, buckets
from simyard.service import series as service
from simyard.service.catalogue import load, own_folder

LOGS = Path(__file__).parent / "logs"
CATALOGUE = load([own_folder()], Machine(cores=1, memory_mb=1, storage_gb=1))


def shipped(code: str) -> Grammar:
    analysis = CATALOGUE.analysis(code)
    assert analysis is not None and analysis.grammar is not None
    return analysis.grammar


def read(grammar: Grammar, text: str) -> Reader:
    reader = Reader(grammar)
    for line in text.split("\n"):
        reader.feed(line)
    return reader


def points(reader: Reader) -> dict[str, list[tuple[float, float]]]:
    return {
        key: list(zip(series.x, series.y, strict=True)) for key, series in reader.series.items()
    }


def of_log(code: str, name: str) -> dict[str, list[tuple[float, float]]]:
    return points(read(shipped(code), (LOGS / name).read_text()))


# --- real logs ------------------------------------------------------------------------------------


def test_residuals_and_forces_of_simplefoam() -> None:
    assert of_log("openfoam", "simpleFoam.log") == {
        "residuals/Ux": [(1, 1), (2, 0.437824), (3, 0.123694)],
        "residuals/Uy": [(1, 1), (2, 0.283531), (3, 0.201901)],
        "residuals/p": [(1, 1), (2, 0.052242), (3, 0.148196)],
        "residuals/epsilon": [(1, 0.199984), (2, 0.153314), (3, 0.101901)],
        "residuals/k": [(1, 1), (2, 0.419186), (3, 0.179557)],
        "continuity/local": [(1, 1.19733), (2, 4.02676), (3, 3.12434)],
        "clock/execution time": [(1, 0.14), (2, 0.17), (3, 0.19)],
        "forces/Cd": [(1, -8.77197), (2, -1.04985), (3, -0.305615)],
        "forces/Cs": [(1, -4.03373e-18), (2, 4.69069e-18), (3, 1.42933e-18)],
        "forces/Cl": [(1, 2.27741), (2, -0.527534), (3, -0.233055)],
        "forces/CmPitch": [(1, 3.11545), (2, 2.54621), (3, 1.50187)],
    }


def test_how_series_are_shown() -> None:
    found = read(shipped("openfoam"), (LOGS / "simpleFoam.log").read_text()).series
    ux, clock = found["residuals/Ux"], found["clock/execution time"]
    assert (ux.key, ux.label, ux.group, ux.unit, ux.log_scale) == (
        "residuals/Ux",
        "Ux",
        "residuals",
        "",
        True,
    )
    assert (clock.unit, clock.log_scale) == ("s", False)


def test_the_first_of_several_correctors_counts() -> None:
    found = of_log("openfoam", "interFoam.log")
    assert found["residuals/p_rgh"] == [(0.00119048, 1), (0.00262605, 0.00313951)]
    assert found["residuals/alpha.water"] == [(0.00119048, 0), (0.00262605, 0.000290383)]
    assert found["continuity/local"] == [(0.00119048, 6.3164e-08), (0.00262605, 8.16387e-08)]
    assert found["Courant/max"] == [(0.00119048, 0.107249), (0.00262605, 0.0565578)]
    assert "residuals/pcorr" not in found, "what is printed before the first step has no x"


def test_a_run_that_diverges() -> None:
    found = of_log("openfoam", "icoFoam-diverged.log")
    assert found["residuals/Ux"] == [(11.6, 0.770085), (11.7, 0.773899)]
    assert found["residuals/p"] == [(11.6, 0.918045), (11.7, 1)]
    assert found["Courant/max"] == [(11.6, 156.578), (11.7, 334.649)]
    (_, before), (x, y) = found["continuity/local"]
    assert before == 5.9123e-05 and x == 11.7 and math.isnan(y)


def test_iterations_of_calculix_count_on() -> None:
    """Each increment begins with iteration 1; a chart that goes back shows nothing."""
    assert of_log("calculix", "ccx.log") == {
        "residuals/force": [
            (1, 1302.281136),
            (2, 12.218633),
            (3, 0.001672),
            (4, 45.990122),
            (5, 0.073814),
        ],
        "corrections/displacement": [
            (1, 1.516881),
            (2, 0.06835023),
            (3, 0.001645187),
            (4, 0.132634),
            (5, 0.01325694),
        ],
    }


# --- what a grammar makes of lines ----------------------------------------------------------------


def grammar(pick: Pick = Pick.LAST, pattern: str = r"y = (?P<y>\S+)", label: str = "y") -> Grammar:
    rule = SeriesRule(group="g", label=label, pattern=pattern, pick=pick)
    return Grammar(sources=("log",), x_label="step", x_pattern=r"^step (?P<x>\S+)$", series=(rule,))


@pytest.mark.parametrize(
    ("pick", "kept"), [(Pick.FIRST, [2, 4]), (Pick.LAST, [1, 4]), (Pick.MAX, [3, 4])]
)
def test_which_value_of_a_step_counts(pick: Pick, kept: list[float]) -> None:
    found = read(grammar(pick), "y = 9\nstep 1\ny = 2\ny = 3\ny = 1\nstep 2\ny = 4")
    assert found.steps == 2
    assert found.series["g/y"].x == [1, 2]
    assert found.series["g/y"].y == kept


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-.5", -0.5),
        ("1e400", math.inf),
        ("-inf", -math.inf),
        ("nan", math.nan),
        ("-nan", math.nan),
        ("1e", None),
        ("--1", None),
        ("1,5", None),
        ("0x10", None),
    ],
)
def test_numbers_and_what_only_looks_like_one(text: str, value: float | None) -> None:
    found = points(read(grammar(), f"step 1\ny = {text}"))
    if value is None:
        assert found == {}
    else:
        ((x, y),) = found["g/y"]
        assert x == 1 and (y == value or (math.isnan(y) and math.isnan(value)))


def test_a_step_that_is_no_number_begins_nothing() -> None:
    found = read(grammar(), "step 1\ny = 1\nstep one\ny = 2")
    assert found.steps == 1
    assert points(found) == {"g/y": [(1, 2)]}


def test_a_group_that_takes_no_part() -> None:
    optional = grammar(pattern=r"y( = (?P<y>\d+))?(?P<name>!)?", label="{name}")
    found = points(read(optional, "step 1\ny\ny = 5!"))
    assert found == {"g/!": [(1, 5)]}


def test_labels_are_made_of_groups() -> None:
    two = grammar(pattern=r"(?P<a>\w+)-(?P<b>\w+) = (?P<y>\d)", label="{a} of {b}")
    found = read(two, "step 1\nx-air = 1\nx-oil = 2\nstep 2\nx-air = 3").series
    assert {key: s.y for key, s in found.items()} == {"g/x of air": [1, 3], "g/x of oil": [2]}


def test_a_restart_goes_back() -> None:
    found = points(read(grammar(), "step 1\ny = 1\nstep 2\ny = 2\nstep 1\ny = 3"))
    assert found["g/y"] == [(1, 1), (2, 2), (1, 3)]


def test_a_step_that_is_printed_twice_is_one() -> None:
    found = points(read(grammar(), "step 1\ny = 1\nstep 1\ny = 2"))
    assert found["g/y"] == [(1, 2)]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_line_is_too_much_for_a_grammar(line: str) -> None:
    for code in ("openfoam", "calculix"):
        reader = Reader(shipped(code))
        reader.feed("Time = 1")
        reader.feed(" iteration 1")
        reader.feed(line)


@pytest.mark.parametrize(
    "line",
    [
        "Solving for " * 20_000,
        "Solving for " + "U" * 300_000,
        " " * 300_000 + "Cd",
        "Cd" + " " * 300_000,
        "        Cd" + " " * 300_000 + ": 1e5x",
        "Time = " + "1" * 300_000,
        " iteration 1" + " " * 300_000 + "x",
        "iteration" + " " * 300_000,
        "largest residual force=" + " " * 300_000,
        "Initial residual = " + "e" * 300_000,
        "Courant Number mean: " + "x" * 300_000,
    ],
    ids=lambda line: line.strip()[:12],
)
@pytest.mark.timeout(20)
def test_a_long_line_is_read_in_no_time(line: str) -> None:
    """A pattern that backtracks badly would take hours."""
    for code in ("openfoam", "calculix"):
        reader = Reader(shipped(code))
        reader.feed("Time = 1")
        reader.feed(line)


# --- bytes to lines -------------------------------------------------------------------------------


def progress(code: str = "openfoam") -> service._Progress:
    return service._Progress("token", Reader(shipped(code)))


def test_a_line_that_is_half_written_waits_for_its_end() -> None:
    at = progress()
    at.feed(b"Time = 1\nsmoothSolver:  Solving for Ux, Initial residual = 0.0")
    assert points(at.reader) == {}
    at.feed(b"0012, Final")
    assert points(at.reader) == {}
    at.feed(b" residual = 1e-9, No Iterations 2\nTime = 1")
    assert points(at.reader) == {"residuals/Ux": [(1, 0.00012)]}
    at.feed(b"2\nDICPCG:  Solving for p, Initial residual = 1, Final\n")
    assert points(at.reader)["residuals/p"] == [(12, 1)]


@pytest.mark.parametrize(
    "cut", [b"Initial residual = 0.0", b"Initial residual = 1e", b"Initial residual = 4.2e+"]
)
def test_a_number_that_was_cut_off_for_good_is_none(cut: bytes) -> None:
    """The run was killed while it wrote: half a number is another number."""
    at = progress()
    at.feed(b"Time = 1\nsmoothSolver:  Solving for Ux, " + cut)
    at.feed(b"\n")  # as at the end of a finished log
    assert points(at.reader) == {}


def test_carriage_returns() -> None:
    text = (LOGS / "simpleFoam.log").read_bytes()
    plain, windows = progress(), progress()
    plain.feed(text)
    windows.feed(text.replace(b"\n", b"\r\n"))
    assert points(windows.reader) == points(plain.reader) != {}


def test_bytes_that_are_no_text() -> None:
    at = progress()
    at.feed(b"\xff\xfe\0\nTime = 1\nSolving for \xe9, Initial residual = 1, Final\n")
    at.feed(b"Solving for T\xc3, Initial residual = 1, Final\n\0Time = 2\n")
    at.feed(b"\xffSolving for h, Initial residual = 0.5, Final \xc3\n")
    assert points(at.reader) == {"residuals/h": [(1, 0.5)]}


def test_a_line_without_end_takes_no_memory() -> None:
    at = progress()
    at.feed(b"Time = 1\n")
    for _ in range(64):
        at.feed(b"x" * 10_000)
    assert len(at.rest) <= service._LONGEST_LINE
    at.feed(b"\nSolving for Ux, Initial residual = 0.5, Final\n")
    assert points(at.reader) == {"residuals/Ux": [(1, 0.5)]}


@given(cuts=st.lists(st.integers(0, 3300)), end=st.sampled_from([b"\n", b"\r\n"]))
def test_it_does_not_matter_how_a_log_grows(cuts: list[int], end: bytes) -> None:
    text = (LOGS / "simpleFoam.log").read_bytes().replace(b"\n", end) + b"\xff\xc3" + end
    whole, grown = progress(), progress()
    whole.feed(text)
    at = 0
    for cut in [*sorted(cuts), len(text)]:
        grown.feed(text[at:cut])
        at = max(at, cut)
    assert points(grown.reader) == points(whole.reader)


# --- which file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "rank"),
    [
        ("log.simpleFoam", 0),
        ("case/run/log.icoFoam", 0),
        ("process_output.log", 1),
        ("log.blockMesh", 2),
        ("log.simpleFoam/other", None),
        ("simpleFoam.log", None),
        ("LOG.simpleFoam", None),
        ("", None),
    ],
)
def test_how_well_a_file_suits(path: str, rank: int | None) -> None:
    assert shipped("openfoam").source_rank(path) == rank


def test_the_file_that_tells_most_is_read_first() -> None:
    foam, ccx = shipped("openfoam"), shipped("calculix")
    mesh, log, solver = ("log.blockMesh", 900), ("process_output.log", 50), ("a/log.simpleFoam", 10)
    files = [mesh, log, solver]

    def best(files: list[tuple[str, int]], *grammars: Grammar) -> list[str]:
        return [path for path, _ in service._best(files, list(grammars))]

    assert best(files, foam) == ["a/log.simpleFoam", "process_output.log", "log.blockMesh"]
    assert best([mesh, log], foam) == ["process_output.log", "log.blockMesh"]
    assert service._best([log], [ccx, foam])[0] == ("process_output.log", ccx), "it prefers it"
    larger, same = ("b/log.icoFoam", 20), ("b/log.simpleFoam", 10)
    assert best([*files, larger, same], foam) == [
        "b/log.icoFoam",
        "a/log.simpleFoam",
        "b/log.simpleFoam",
    ]
    assert best([("x", 1)], foam) == []


def test_what_lammps_prints_flows_and_is_read_before_its_own_log() -> None:
    lammps = shipped("lammps")
    ranks = [lammps.source_rank(name) for name in ("process_output.log", "log.lammps", "a.log")]
    assert ranks == [0, 1, 2]


# --- thinning -------------------------------------------------------------------------------------


def series_of(*y: float, x: list[float] | None = None) -> Series:
    made = Series(key="g/y", label="y", group="g", unit="", log_scale=False)
    made.x, made.y = x or [float(n) for n in range(1, len(y) + 1)], list(y)
    return made


def test_few_points_are_given_as_they_are() -> None:
    assert list(buckets(series_of(3, 1, 2), -math.inf, math.inf, 3)) == [
        Bucket(1, 3, 3, 3),
        Bucket(2, 1, 1, 1),
        Bucket(3, 2, 2, 2),
    ]
    assert list(buckets(series_of(), -math.inf, math.inf, 3)) == []


def test_many_points_are_put_together() -> None:
    assert list(buckets(series_of(3, 1, 2, 9, 7), -math.inf, math.inf, 2)) == [
        Bucket(3, 1, 3, 2),
        Bucket(5, 7, 9, 7),
    ]


def test_a_part_of_the_points() -> None:
    assert [b.x for b in buckets(series_of(1, 2, 3, 4, 5), 2, 4, 10)] == [2, 3, 4]
    assert list(buckets(series_of(1, 2), 5, 9, 10)) == []
    assert list(buckets(series_of(1, 2), 2, 1, 10)) == []


def test_values_that_are_no_numbers_do_not_hide_others() -> None:
    nan, inf = math.nan, math.inf
    (mixed,) = buckets(series_of(nan, 1, inf, 3, -inf), -inf, inf, 1)
    assert (mixed.low, mixed.high, mixed.last) == (1, 3, -inf)
    (none,) = buckets(series_of(inf, nan), -inf, inf, 1)
    assert all(math.isnan(v) for v in (none.low, none.high, none.last))


ANY_Y = st.floats(allow_nan=False)


@given(y=st.lists(ANY_Y, max_size=200), most=st.integers(1, 50))
def test_thinning_keeps_the_extremes_the_end_and_the_limit(y: list[float], most: int) -> None:
    found = list(buckets(series_of(*y), -math.inf, math.inf, most))
    assert len(found) <= most
    assert bool(found) is bool(y)
    if not y:
        return
    assert found[-1].x == len(y) and found[-1].last == y[-1]
    assert [b.x for b in found] == sorted({b.x for b in found})
    finite = [v for v in y if math.isfinite(v)]
    if finite:
        assert min(b.low for b in found if math.isfinite(b.low)) == min(finite)
        assert max(b.high for b in found if math.isfinite(b.high)) == max(finite)
    assert all(b.low <= b.high for b in found)
    if len(y) <= most:
        assert [b.last for b in found] == y
