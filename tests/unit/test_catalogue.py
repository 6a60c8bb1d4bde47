"""The catalogue: the files that come with the product, what a site adds, and what is there."""

import dataclasses
import os
import re
import shutil
import stat
import threading
import time
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner

from simyard.api.v2.catalogue import encode_analysis
from simyard.cli.main import cli
from simyard.domain.catalogue import (
    Analysis,
    Catalogue,
    CoreType,
    Helpers,
    Machine,
    Presence,
    Probe,
    Tier,
    Version,
    fold,
)
from simyard.service import catalogue as service
from simyard.service.catalogue import CatalogueBook, CatalogueError, fill, load, own_folder, probe

MACHINE = Machine(cores=6, memory_mb=24_000, storage_gb=600)
# What the probes see on Debian 12.
DEBIAN = {
    "openfoam": "1912",
    "calculix": "2.20",
    "python": "3.11",
    "user_included": "",
    "user_included_mpi": "4.1.4",
    "openfoam_plus": "1912",
    "R": "4.2.2",
    "abinit": "9.6.2",
    "autodock": "1.2.3",
    "blast": "2.12.0",
    "blender": "3.4.1",
    "code_saturne": "6.0.2",
    "cp2k": "2023.1",
    "elk": "8.4.30",
    "fastqc": "0.11.9",
    "freefem": "4.11",
    "gerris": "131206",
    "getdp": "3.2.0",
    "gmsh": "4.8.4",
    "gpaw": "22.8.0",
    "gromacs": "2022.5",
    "hmmer": "3.3.2",
    "lammps": "29Sep2021",
    "liggghts": "3.8.0",
    "meep": "1.25.0",
    "mrbayes": "3.2.7a",
    "ngspice": "39",
    "nwchem": "7.0.2",
    "octave": "7.3.0",
    "paraview": "5.11.0",
    "petsc": "3.18.5",
    "picard": "2.27.5",
    "pytorch": "1.13",
    "quantum_espresso": "6.7",
    "samtools": "1.16.1",
    "scikit_learn": "1.2.1",
    "xtb": "6.5.1",
}
SOLVER = """\
code = "solver"
name = "Our Solver"
version_code = "{version}-openmpi"
version_name = "{version}"
default_version = "1"
"""


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load([own_folder()], MACHINE)


@pytest.fixture(scope="module")
def debian(shipped: Catalogue) -> Catalogue:
    """The shipped catalogue on a machine that has all of it."""
    presence = {code: Presence(installed=True, version=v) for code, v in DEBIAN.items()}
    return dataclasses.replace(shipped, presence=presence)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    made = tmp_path / "catalogue"
    made.mkdir()
    return made


def with_site(site: Path) -> Catalogue:
    return load([own_folder(), site], MACHINE)


def analysis_of(catalogue: Catalogue, code: str) -> Analysis:
    found = catalogue.analysis(code)
    assert found is not None, code
    return found


def core_type_of(catalogue: Catalogue, code: str) -> CoreType:
    found = catalogue.core_type(code)
    assert found is not None, code
    return found


# --- what comes with the product ------------------------------------------------------------------


def test_every_file_is_loaded(shipped: Catalogue) -> None:
    files = {path.stem for path in own_folder().glob("*.toml")} - {"common", "coretypes", "endings"}
    assert {analysis.code for analysis in shipped.analyses} == files == set(DEBIAN)
    names = [analysis.name for analysis in shipped.analyses]
    assert names == [*sorted(names[:6], key=str.lower), *sorted(names[6:], key=str.lower)]
    # The first page, which is all that many clients read.
    first = [
        "user_included_mpi",
        "user_included",
        "calculix",
        "openfoam",
        "openfoam_plus",
        "python",
    ]
    assert [analysis.code for analysis in shipped.analyses[:6]] == first
    assert not shipped.all_installed
    assert {p.detail for p in shipped.presence.values()} == {"not probed"}
    assert shipped.env["OMPI_MCA_rmaps_base_oversubscribe"] == "1"


def test_what_comes_with_the_product_passes_the_checks_of_a_sites_files(
    shipped: Catalogue, tmp_path: Path
) -> None:
    """A server takes it as it is."""
    copied = tmp_path / "copy"
    shutil.copytree(own_folder(), copied)
    assert load([copied], MACHINE) == shipped


def test_an_analysis_says_enough_to_be_run_and_shown(shipped: Catalogue) -> None:
    for analysis in shipped.analyses:
        assert analysis.name, analysis.code
        assert analysis.vendor or analysis.code.startswith("user_"), analysis.code
        assert analysis.description.startswith("<p>"), analysis.code
        assert analysis.std_command, analysis.code
        if analysis.probe:
            assert analysis.default_version and analysis.probe.package, analysis.code
            assert "{version}" in analysis.version_code, analysis.code
        thumbnails = own_folder().parent / "api" / "static" / "analyses"
        assert (thumbnails / f"{analysis.code.lower()}.svg").is_file()
        for industry in analysis.industries:
            assert (thumbnails.parent / "industries" / f"{industry.lower()}.svg").is_file()
        assert analysis.license_settings == (), "nothing that is shipped takes a licence"


def test_every_listed_version_resolves_by_the_alias_that_lists_it(debian: Catalogue) -> None:
    """So that the pattern alone would do: other releases of the same line resolve like it."""
    for analysis in debian.analyses:
        real, *aliases = debian.versions(analysis)
        assert real.alias_of is None
        for listed in aliases:
            resolution = debian.resolve(analysis, listed.version.code)
            assert resolution is not None and resolution.runs == real.version
            assert listed.alias_of == real.version.code
        for alias in analysis.aliases:
            for code in alias.listed:
                bare = re.sub(debian.strip_suffix, "", code)
                assert re.search(alias.pattern, bare), f"{analysis.code}: {code}"
                resolution = debian.resolve(analysis, code)
                assert resolution is not None and resolution.tier is alias.tier, code


def test_what_is_told_before_it_is_seen_is_what_debian_has(shipped: Catalogue) -> None:
    for analysis in shipped.analyses:
        assert analysis.default_version == DEBIAN[analysis.code], analysis.code


def test_codes_and_names_are_nobody_elses(shipped: Catalogue) -> None:
    for entries in (shipped.analyses, shipped.core_types):
        names = [fold(n) for e in entries for n in {fold(m) for m in (e.code, e.name, *e.also)}]
        assert len(names) == len(set(names))


def test_templates_of_commands_name_their_ranks(shipped: Catalogue) -> None:
    for analysis in shipped.analyses:
        if analysis.mpi_command:
            assert analysis.mpi_command.startswith("mpirun -np <mpi-ranks> "), analysis.code
        if analysis.smp_command:
            assert "<smp-ranks>" in analysis.smp_command, analysis.code
    openfoam = analysis_of(shipped, "openfoam")
    assert openfoam.mpi_command == (
        "mpirun -np <mpi-ranks> foamExec <module> <input-file> -parallel"
    )


# --- versions -------------------------------------------------------------------------------------

SAME, NEAR, FAR = Tier.SAME, Tier.NEAR, Tier.FAR
# Version codes of the public list of 2017 and of scripts since, with how close what Debian 12 has
# comes to each; None: refused.
VERSIONS: list[tuple[str, str | None, Tier | None]] = [
    ("openfoam", "v1612+-intelmpi", NEAR),
    ("openfoam", "v1612+-mvapich2", NEAR),
    ("openfoam", "v1606+-openmpi", NEAR),
    ("openfoam", "v1606+-intelmpi", NEAR),
    ("openfoam", "v1706+-intelmpi", NEAR),
    ("openfoam", "1906", NEAR),
    ("openfoam", "3.0.0-openmpi", NEAR),
    ("openfoam", "2.4.0-openmpi", NEAR),
    ("openfoam", "2.3.1-openmpi", NEAR),
    ("openfoam", "2.3.0-openmpi", NEAR),
    ("openfoam", "2.2.2-openmpi", NEAR),
    ("openfoam", "2.2.0-openmpi", NEAR),
    ("openfoam", "2.1.1-openmpi", NEAR),
    ("openfoam", "2.3.0", NEAR),
    ("openfoam", "4.1", FAR),
    ("openfoam", "5.0", FAR),
    ("openfoam", "6-intelmpi", FAR),
    ("openfoam", "7-intelmpi", FAR),
    ("openfoam", "8.0", FAR),
    ("openfoam", "10.0", FAR),
    ("openfoam", "v2312", FAR),
    ("openfoam", "v2312+-intelmpi", FAR),
    ("openfoam", "v1912-openmpi", SAME),
    ("openfoam", "v1912", SAME),
    ("openfoam", "v1912-intelmpi", NEAR),
    ("openfoam", "11", None),
    ("openfoam", "12.0", None),
    ("openfoam", "newest", None),
    ("openfoam", "-openmpi", None),
    ("calculix", "2.9", NEAR),
    ("calculix", "2.8p2", NEAR),
    ("calculix", "2.15", NEAR),
    ("calculix", "2.17-spooles", NEAR),
    ("calculix", "2.17-pardiso", NEAR),
    ("calculix", "2.21", NEAR),
    ("calculix", "2.20-spooles", SAME),
    ("calculix", "2.20", SAME),
    ("calculix", "3.0", None),
    ("calculix", "2.7", None),
    ("user_included", "0", SAME),
    ("user_included", "CPU", SAME),
    ("user_included", "1.0", SAME),
    ("user_included", "multinode", SAME),
    ("user_included", "user-included-cuda-6.5", FAR),
    ("user_included", "user-included-cuda-8.0", FAR),
    ("user_included", "2", None),
    ("user_included_win", "0", SAME),
    ("user_included_interactive", "0", SAME),
    ("chessengine", "BYO", SAME),
    ("sxp-interactive-batch", "v2025.12.16-sxp", SAME),
    ("rescale_utils_lnx", "no_mpi", SAME),
    ("rescale-ckpt-e2e", "rescale_ckpt_e2e_4H", SAME),
    ("custom", None, SAME),
    ("custom", "", SAME),
    ("custom", "0", SAME),
    ("user_included_mpi", "openmpi-1.6-el6", NEAR),
    ("user_included_mpi", "openmpi-1.4-ub12.04", NEAR),
    ("user_included_mpi", "openmpi-1.10-ub14.04", NEAR),
    ("user_included_mpi", "openmpi-1.10-centos7", NEAR),
    ("user_included_mpi", "openmpi-2.1.1", NEAR),
    ("user_included_mpi", "openmpi-4.1.4", SAME),
    ("user_included_mpi", "intelmpi-5.0.3", FAR),
    ("user_included_mpi", "intelmpi-5.1.3", FAR),
    ("user_included_mpi", "intelmpi-2017", FAR),
    ("user_included_mpi", "mpich-3.0.4-el6", FAR),
    ("user_included_mpi", "mvapich2-2.1-rc1", FAR),
    ("user_included_mpi", "msmpi-7.0.12437.6-winsvr2012r2", FAR),
    ("intel_mpi_compiler", "intelmpi-5.0.3", FAR),
    ("anaconda", "5.3.1", NEAR),
    ("miniconda", "4.8.4", NEAR),
    ("miniconda_e2e", "4.8.4_e2ed", NEAR),
    ("python", "3.11", SAME),
    ("python", "2.7", None),
    ("python", "0.18", None),
    ("scikit_learn", "0.18", FAR),
    ("scikit_learn", "1.2.1", SAME),
    ("openfoam_plus", "v1706+-intelmpi", NEAR),
    ("openfoam_plus", "v1712+-intelmpi", NEAR),
    ("openfoam_plus", "v1912+-openmpi", SAME),
    ("openfoam_plus", "v2312+-intelmpi", FAR),
    ("openfoam_plus", "2.3.0-openmpi", None),
    ("R", "3.2.3-openmpi", NEAR),
    ("r", "4.2.2", SAME),
    ("abinit", "8.10", FAR),
    ("autodock", "autodock-vina-4.2.5.1-1.1.2", NEAR),
    ("blast", "2.2.29-openmpi", NEAR),
    ("blender", "2.76", FAR),
    ("code_saturne", "5.0", FAR),
    ("cp2k", "6.1", NEAR),
    ("elk", "6.8.4", FAR),
    ("fastqc", "0.11.5-linux", NEAR),
    ("freefem", "4.9", NEAR),
    ("freefem", "3.61", FAR),
    ("gerris", "12.06.13-2D-ompi", NEAR),
    ("gerris", "131206-openmpi", SAME),
    ("getdp", "2.11", FAR),
    ("gmsh", "4.8.4", SAME),
    ("gmsh", "2.16", FAR),
    ("gpaw", "1.1.0-mpich", FAR),
    ("gromacs", "2016.3-intelmpi-single-knl", NEAR),
    ("gromacs", "2016.1-openmpi-single-avx2", NEAR),
    ("gromacs", "2016.1-mpich-single-gpu", FAR),
    ("gromacs", "2016.1-mpich-double-avx2", FAR),
    ("gromacs", "5.0-openmpi-single-avx", NEAR),
    ("gromacs", "2023", NEAR),
    ("gromacs", "4.6", None),
    ("hmmer", "3.1.0-openmpi", NEAR),
    ("lammps", "r13864-cpu", NEAR),
    ("lammps", "r13864-gpu", FAR),
    ("lammps", "r15407-knl", NEAR),
    ("lammps", "17nov16-sl", NEAR),
    ("lammps", "7Aug19", NEAR),
    ("lammps", "29Sep2021", SAME),
    ("lammps", "newest", None),
    ("liggghts", "3.3.0-intel_mpi", NEAR),
    ("liggghts", "3.0.2-gpu", FAR),
    ("meep", "1.3.0-openmpi", NEAR),
    ("mrbayes", "3.2.6_ompi", NEAR),
    ("ngspice", "26", FAR),
    ("nwchem", "6.6.0-openmpi", NEAR),
    ("octave", "6.1", NEAR),
    ("paraview", "4.3.1", NEAR),
    ("paraview", "latest", NEAR),
    ("petsc", "3.5.2-mpich", FAR),
    ("picard", "2.8.1-linux", NEAR),
    ("pytorch", "0.1.11-8.0", FAR),
    ("pytorch", "1.13.1", NEAR),
    ("quantum_espresso", "5.4.0-openmpi", NEAR),
    ("quantum_espresso", "6.0-knl", NEAR),
    ("samtools", "1.3.1-linux", NEAR),
    ("xtb", "6.4.0", NEAR),
]


@pytest.mark.parametrize(("code", "asked", "tier"), VERSIONS)
def test_versions_of_public_lists_and_scripts(
    debian: Catalogue, code: str, asked: str | None, tier: Tier | None
) -> None:
    analysis = analysis_of(debian, code)
    resolution = debian.resolve(analysis, asked)
    if tier is None:
        assert resolution is None
        return
    assert resolution is not None
    assert resolution.tier is tier
    assert resolution.runs == debian.version_of(analysis)
    assert resolution.asked == (asked or resolution.runs.code), "the job keeps what it was sent"


def test_what_runs_is_what_the_probe_saw(shipped: Catalogue, debian: Catalogue) -> None:
    openfoam = analysis_of(debian, "openfoam")
    assert debian.version_of(openfoam) == Version(code="v1912-openmpi", name="v1912")
    newer = dataclasses.replace(
        debian, presence={**debian.presence, "openfoam": Presence(installed=True, version="2312")}
    )
    assert newer.version_of(openfoam) == Version(code="v2312-openmpi", name="v2312")
    assert newer.versions(openfoam)[0].version.code == "v2312-openmpi"
    # Not installed: what would be.
    assert shipped.version_of(openfoam).code == "v1912-openmpi"


def test_an_installed_version_is_not_its_own_alias(debian: Catalogue) -> None:
    calculix = analysis_of(debian, "calculix")
    older = dataclasses.replace(
        debian, presence={**debian.presence, "calculix": Presence(installed=True, version="2.17")}
    )
    codes = [listed.version.code for listed in older.versions(calculix)]
    assert codes == ["2.17-spooles", "2.17-pardiso", "2.15", "2.9", "2.8p2"]


def test_listed_versions_are_named_without_their_mpi(debian: Catalogue) -> None:
    names = {
        v.version.code: v.version.name for v in debian.versions(analysis_of(debian, "openfoam"))
    }
    assert names["2.3.0-openmpi"] == "2.3.0"
    assert names["v1612+-mvapich2"] == "v1612+"
    assert names["v1912-openmpi"] == "v1912"


@pytest.mark.parametrize(
    "suffix",
    ["-openmpi", "-intelmpi", "-intel_mpi", "-IntelMPI", "_mpich", ".impi", "-na", "-openmpi-avx2"],
)
def test_what_is_dropped_from_a_version_code(debian: Catalogue, suffix: str) -> None:
    resolution = debian.resolve(analysis_of(debian, "openfoam"), f"2.3.0{suffix}")
    assert resolution is not None and resolution.tier is NEAR


def test_a_stand_in_is_told(debian: Catalogue) -> None:
    def notice(asked: str) -> tuple[str, str] | None:
        resolution = debian.resolve(analysis_of(debian, "openfoam"), asked)
        assert resolution is not None
        found = resolution.notice
        return (found.code, found.message) if found else None

    assert notice("v1912-openmpi") is None
    assert notice("2.3.0-openmpi") == (
        "version-near",
        "OpenFOAM 2.3.0-openmpi was asked for; v1912 runs in its place.",
    )
    far = "It is of another line: the case may not run."
    assert notice("7-intelmpi") == (
        "version-far",
        f"OpenFOAM 7-intelmpi was asked for; v1912 runs in its place. {far}",
    )


@pytest.mark.parametrize("written", ["openfoam", "OpenFOAM", " openfoam ", "OPENFOAM"])
def test_an_analysis_by_code_or_name(debian: Catalogue, written: str) -> None:
    assert analysis_of(debian, written).code == "openfoam"


def test_blank_dash_and_underscore_are_the_same(debian: Catalogue) -> None:
    for written in ("user-included", "User Included", "bring your own software", "user_included"):
        assert analysis_of(debian, written).code == "user_included"
    assert debian.analysis("openfoam_11") is None
    assert debian.analysis("") is None


# --- core types -----------------------------------------------------------------------------------

# Pairs of core type and cores that public scripts ask for.
SEEN = [
    ("standard-plus", 1),
    ("standard-plus", 8),
    ("hpc-3", 1),
    ("hpc-3", 18),
    ("hpc-3", 36),
    ("onyx", 18),
    ("hpc-plus", 16),
    ("Nickel", 4),
    ("granite", 2),
    ("granite", 20),
    ("emerald", 1),
    ("emerald", 4),
    ("emerald", 8),
    ("emerald", 18),
    ("Emerald", 36),
    ("emerald_max", 2),
    ("Emerald Max", 4),
    ("carbon", 44),
    ("carbon", 88),
    ("carbon", 528),
    ("jasper", 60),
    ("peridot", 44),
    ("calcite", 24),
    ("chromium", 32),
    ("amber", 60),
    ("luna", 24),
    ("starlite_max", 4),
    ("grossular-1", 4),
    ("zinc", 2),
    ("malachite", 1),
    ("Ruby", 2),
    ("catseye", 1),
    ("HPC", 8),
    ("marble", 1),
]


@pytest.mark.parametrize(("code", "cores"), SEEN)
def test_core_types_that_scripts_ask_for(shipped: Catalogue, code: str, cores: int) -> None:
    assert core_type_of(shipped, code).offers(cores)


def test_counts_that_are_not_offered(shipped: Catalogue) -> None:
    granite = core_type_of(shipped, "granite")
    assert granite.cores == (2, 4, 16, 20)
    assert [n for n in range(-20, 61) if granite.offers(n)] == [2, 4, 16, 20, 40, 60]
    assert granite.offer == "2, 4, 16, 20, or a multiple of 20"
    assert [granite.nodes(n) for n in (2, 20, 40, 60)] == [1, 1, 2, 3]


def test_the_machine_itself_is_the_first_core_type(shipped: Catalogue) -> None:
    local = shipped.core_types[0]
    assert (local.code, local.primary, local.display_order) == ("local", True, 1)
    assert local.cores == (1, 2, 4, 6)
    assert local.memory_mb == 4000 and local.storage_gb == 100
    assert [c.display_order for c in shipped.core_types] == [*range(1, 37)]
    assert [c.code for c in shipped.core_types if c.primary] == ["local"]


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (96, (1, 2, 4, 8, 16, 32, 64, 96))],
)
def test_counts_of_the_machine(cores: int, counts: tuple[int, ...]) -> None:
    machine = Machine(cores=cores, memory_mb=1000, storage_gb=10)
    assert load([own_folder()], machine).core_types[0].cores == counts


def test_a_code_is_stronger_than_another_types_name(site: Path) -> None:
    # "Nickel" is the name of hpc-plus; a site makes it a code of its own.
    (site / "coretypes.toml").write_text(CORE_TYPE.replace('"a"', '"nickel"') + "cores = [4]")
    assert core_type_of(load([own_folder()], MACHINE), "nickel").code == "hpc-plus"
    assert core_type_of(with_site(site), "nickel").code == "nickel"
    assert core_type_of(with_site(site), "hpc-plus").code == "hpc-plus"


def test_this_machine(tmp_path: Path) -> None:
    seen = service.machine(tmp_path)
    assert seen.cores == len(os.sched_getaffinity(0))
    assert seen.memory_mb > 100 and seen.storage_gb >= 0
    assert service.machine(tmp_path, cores=77).cores == 77


# --- a site's own files ---------------------------------------------------------------------------


def test_a_site_adds_an_analysis(site: Path) -> None:
    (site / "solver.toml").write_text(SOLVER)
    catalogue = with_site(site)
    assert len(catalogue.analyses) == len(DEBIAN) + 1
    assert catalogue.version_of(analysis_of(catalogue, "our solver")).code == "1-openmpi"


def test_a_site_file_replaces_a_shipped_analysis(site: Path) -> None:
    (site / "foam.toml").write_text(
        'code = "OpenFOAM"\nname = "Foam of the house"\nversion_code = "v2406"\n'
        '[probe]\ncommand = ["/opt/foam/simpleFoam", "-help"]\npattern = "v2406"\npackage = "-"\n'
    )
    catalogue = with_site(site)
    assert len(catalogue.analyses) == len(DEBIAN)
    foam = analysis_of(catalogue, "openfoam")
    assert foam.name == "Foam of the house" and foam.aliases == () and foam.grammar is None
    assert not catalogue.present(foam).installed
    assert catalogue.resolve(foam, "2.3.0-openmpi") is None


def test_a_site_replaces_core_types_one_by_one(site: Path) -> None:
    (site / "coretypes.toml").write_text(
        '[[core_type]]\ncode = "emerald"\nname = "Emerald"\ncores = [64]\nmemory_mb = 1\n'
        'storage_gb = 1\nprice = 0.5\n[[core_type]]\ncode = "gpu"\nname = "GPU"\n'
        'cores = [8, 16]\ngpus = [1, 2]\nmemory_mb = "auto"\nstorage_gb = 2\n'
    )
    catalogue = with_site(site)
    assert len(catalogue.core_types) == 37
    assert core_type_of(catalogue, "emerald").cores == (64,)
    gpu = catalogue.core_types[-1]
    assert (gpu.code, gpu.gpus, gpu.memory_mb, gpu.display_order) == ("gpu", (1, 2), 4000, 37)


def test_a_site_sets_variables_for_every_job(site: Path) -> None:
    (site / "common.toml").write_text('[env]\nLICENSE = "1055@licence"\n')
    catalogue = with_site(site)
    assert catalogue.env == {"LICENSE": "1055@licence"}
    assert catalogue.strip_suffix == ""


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert load([own_folder(), tmp_path / "none"], MACHINE) == load([own_folder()], MACHINE)


GRAMMAR = '[grammar]\nsources = ["log"]\nx_label = "t"\nx_pattern = "^t (?P<x>.+)"\n'
SERIES = '[[grammar.series]]\ngroup = "g"\n'
TABLE = '[[grammar.tables]]\ngroup = "g"\n'
NO_STEP = (
    '[grammar]\nsources = ["log"]\nx_label = "t"\n' + SERIES + 'label = ""\npattern = "(?P<y>1)"\n'
)
LICENCE = '[[license_settings]]\nname = "X"\nlabel = "L"\n'
CORE_TYPE = '[[core_type]]\ncode = "a"\nname = "A"\nmemory_mb = 1\nstorage_gb = 1\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("code = ", "Invalid value (at"),
        ('name = "X"', "`code`"),
        (SOLVER + 'nmae = "x"', "there is no nmae"),
        (SOLVER + '[probe]\ncomand = ["x"]\npattern = ""\npackage = ""', "no probe.comand"),
        (SOLVER + '[[aliases]]\npatern = "x"\ntier = "near"', "no aliases[0].patern"),
        (SOLVER + GRAMMAR + SERIES + 'pattern = "(?P<y>1)"\nlabel = "l"\nlog = true', "[0].log"),
        (SOLVER + "industries = 5", "Expected `array`, got `int` - at `$.industries`"),
        (SOLVER + "industries = [5]", "Expected `str`, got `int` - at `$.industries[0]`"),
        (SOLVER + 'network = "yes"', "Expected `bool`, got `str` - at `$.network`"),
        (SOLVER + '[[aliases]]\npattern = "x"\ntier = "close"', "$.aliases[0].tier"),
        (SOLVER + "[env]\nA = 1", "$.env"),
        (SOLVER + '[[aliases]]\npattern = "("\ntier = "near"', "aliases[0].pattern: '('"),
        (SOLVER + '[probe]\ncommand = ["x"]\npattern = "*"\npackage = ""', "probe.pattern"),
        (SOLVER + '[helpers]\nfolder = "../x"', "helpers.folder: '../x' is none of those"),
        (SOLVER + '[probe]\ncommand = []\npattern = ""\npackage = ""', "probe.command"),
        (SOLVER + GRAMMAR.replace("(?P<x>", "("), "grammar.x_pattern: '^t (.+)' has no group"),
        (SOLVER + GRAMMAR + SERIES + 'pattern = "(?P<z>1)"\nlabel = "l"', "series[0].pattern"),
        (SOLVER + GRAMMAR + SERIES + 'pattern = "(?P<y>1)"\nlabel = "{z}"', "series[0].label"),
        (SOLVER + GRAMMAR + 'end_pattern = "("', "grammar.end_pattern"),
        (SOLVER + GRAMMAR + TABLE + 'header = "("', "grammar.tables[0].header"),
        (SOLVER + GRAMMAR + TABLE + 'header = "x"\nwidth = -1', "tables[0].width: it is negative"),
        (SOLVER + NO_STEP, "grammar.x_pattern: nothing else says what a step is"),
        (SOLVER + NO_STEP + TABLE + 'header = "x"', "grammar.x_pattern: nothing else says"),
        (SOLVER + LICENCE + "port = 1", "there is no license_settings[0].port"),
        (SOLVER + GRAMMAR + SERIES + 'pattern = "(?P<y>1)"\nlabel = "{0}"', "series[0].label"),
        (SOLVER + GRAMMAR + SERIES + 'pattern = "(?P<y>1)"\nlabel = "{"', "series[0].label"),
        (SOLVER + GRAMMAR + SERIES + 'pattern = "(?P<y>1"\nlabel = "l"', "series[0].pattern"),
    ],
)
def test_a_broken_file_is_told_with_its_field(site: Path, content: str, told: str) -> None:
    path = site / "broken.toml"
    path.write_text(content)
    with pytest.raises(CatalogueError) as caught:
        with_site(site)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[core_type]\ncode = 'a'", "$.core_type"),
        ("core_type = [1]", "$.core_type[0]"),
        ("[[coretype]]\ncode = 'a'", "there is no coretype"),
        (CORE_TYPE + "cors = [1]", "there is no core_type[0].cors"),
        (CORE_TYPE, "`cores`"),
        (CORE_TYPE + "cores = []", "core_type[0].cores"),
        (CORE_TYPE + "cores = [0, 1]", "core_type[0].cores"),
        (CORE_TYPE + "cores = [4, 2]", "core_type[0].cores"),
        (CORE_TYPE + "cores = [2, 2]", "core_type[0].cores"),
        (CORE_TYPE + "cores = ['2']", "$.core_type[0].cores[0]"),
        (CORE_TYPE + "cores = [2, 4]\ngpus = [1]", "core_type[0].gpus"),
        (CORE_TYPE + "cores = [1]\nname = 'auto'", "Cannot overwrite a value"),
        (
            CORE_TYPE + "cores = [1]\n" + CORE_TYPE.replace('"a"', '"A"') + "cores = [2]",
            "there twice",
        ),
    ],
)
def test_broken_core_types(site: Path, content: str, told: str) -> None:
    path = site / "coretypes.toml"
    path.write_text(content)
    with pytest.raises(CatalogueError) as caught:
        with_site(site)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize("content", ['strip_suffix = "("', "strip_sufix = 'x'", "env = 1"])
def test_a_broken_common_file(site: Path, content: str) -> None:
    (site / "common.toml").write_text(content)
    with pytest.raises(CatalogueError, match=r"common\.toml: "):
        with_site(site)


def test_two_files_of_a_site_with_one_code(site: Path) -> None:
    (site / "a.toml").write_text(SOLVER)
    (site / "b.toml").write_text(SOLVER.replace('"solver"', '"Solver"'))
    with pytest.raises(CatalogueError) as caught:
        with_site(site)
    assert str(caught.value) == f"{site / 'b.toml'}: code: {site / 'a.toml'} has Solver too"


def test_files_that_are_no_text(site: Path) -> None:
    (site / "latin.toml").write_bytes('name = "Lösung"'.encode("latin-1"))
    with pytest.raises(CatalogueError, match=r"latin\.toml: .*utf-8"):
        with_site(site)
    (site / "latin.toml").unlink()
    (site / "folder.toml").mkdir()
    with pytest.raises(CatalogueError, match=r"folder\.toml: .*directory"):
        with_site(site)


# --- probes ---------------------------------------------------------------------------------------


def program(folder: Path, name: str, *lines: str) -> str:
    """A shell script; returns its path."""
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def probed(*command: str, pattern: str = r"release (?P<version>\S+)", **more: object) -> Analysis:
    seen = Probe(command=command, pattern=pattern, package="package")
    return dataclasses.replace(Analysis(code="x", name="X", probe=seen), **more)  # type: ignore[arg-type]


def test_a_program_that_answers(tmp_path: Path) -> None:
    name = program(tmp_path, "solver", 'echo "args: $*"; echo release 4.2 >&2; exit 3')
    seen = probe(probed(name, "-v"), tmp_path)
    assert seen == Presence(installed=True, version="4.2"), "whatever its return code"
    assert probe(probed(name, "-v", pattern="args: -v"), tmp_path).version == ""


def test_a_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    """Several solvers write down what was wrong with an input that they were not given."""
    name = program(tmp_path, "solver", "touch CRASH; echo release $(pwd)")
    seen = probe(probed(name), tmp_path)
    assert seen.installed and seen.version not in ("", "/")
    assert not Path(seen.version).exists()


def test_a_program_that_somebody_else_tells_of(tmp_path: Path) -> None:
    teller = program(tmp_path, "teller", "echo release 5")
    analysis = probed(teller)
    assert analysis.probe is not None
    told = dataclasses.replace(analysis.probe, program="solver")
    analysis = dataclasses.replace(analysis, probe=told, path=(str(tmp_path),))
    assert probe(analysis, tmp_path).detail == "solver was not found"
    program(tmp_path, "solver", "exit 1")
    assert probe(analysis, tmp_path) == Presence(installed=True, version="5")
    Path(teller).unlink()
    assert probe(analysis, tmp_path).detail == f"{teller} was not found"


def test_an_analysis_without_a_probe_is_there(tmp_path: Path) -> None:
    assert probe(Analysis(code="x", name="X"), tmp_path) == Presence(installed=True)


def test_a_program_that_is_absent(tmp_path: Path) -> None:
    seen = probe(probed("no-such-solver"), tmp_path)
    assert seen == Presence(installed=False, detail="no-such-solver was not found")
    (tmp_path / "solver").write_text("not executable")
    assert "was not found" in probe(probed(str(tmp_path / "solver")), tmp_path).detail


@pytest.mark.parametrize(
    "says", ["echo command not found", "exit 0", r"printf '\377\0\n'", "kill -SEGV $$"]
)
def test_a_program_that_answers_nonsense(tmp_path: Path, says: str) -> None:
    name = program(tmp_path, "solver", says)
    seen = probe(probed(name), tmp_path)
    assert seen == Presence(installed=False, detail=f"{name} does not print what it should")


def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PROBE_SECONDS", 0.1)
    name = program(tmp_path, "solver", "exec sleep 1000")
    seen = probe(probed(name), tmp_path)
    assert not seen.installed and f"{name} does not answer: " in seen.detail


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    path = tmp_path / "solver"
    path.write_bytes(b"\x7fELF of another machine")
    path.chmod(0o755)
    assert "does not answer: " in probe(probed(str(path)), tmp_path).detail


def test_a_program_asks_nothing(tmp_path: Path) -> None:
    """What the server may read on its own stdin is not for a solver."""
    name = program(tmp_path, "solver", "read answer || echo release 1")
    read, write = os.pipe()
    kept = os.dup(0)
    try:
        os.write(write, b"an answer\n")
        os.dup2(read, 0)
        assert probe(probed(name), tmp_path).installed
    finally:
        os.dup2(kept, 0)
        for descriptor in (read, write, kept):
            os.close(descriptor)


def test_a_program_sees_the_places_of_its_analysis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMYARD_MASTER_KEY", "secret")
    monkeypatch.setenv("LD_PRELOAD_X", "x")
    (tmp_path / "helpers" / "x" / "bin").mkdir(parents=True)
    program(tmp_path / "helpers" / "x" / "bin", "solver", "echo release 1; env")
    analysis = probed(
        "solver",
        pattern=r"(?s)(?P<version>.*)",
        path=("{helpers}/bin",),
        path_after=("{helpers}/last",),
        env={"DIR": "{helpers}", "RELEASE": "v{version}"},
        default_version="7",
    )
    assert not probe(analysis, tmp_path / "helpers").installed, "it has no helpers"
    analysis = dataclasses.replace(analysis, helpers=Helpers(folder="x"))
    said = dict(
        line.split("=", 1)
        for line in probe(analysis, tmp_path / "helpers").version.splitlines()
        if "=" in line
    )
    where = str(tmp_path / "helpers" / "x")
    assert said["DIR"] == where and said["RELEASE"] == "v7"
    assert said["PATH"].startswith(f"{where}/bin:/usr/local/bin:")
    assert said["PATH"].endswith(f":{where}/last")
    assert "SIMYARD_MASTER_KEY" not in said and "LD_PRELOAD_X" not in said


# --- the book -------------------------------------------------------------------------------------


def book_of(*analyses: Analysis, helpers: Path) -> CatalogueBook:
    presence = {a.code: Presence(installed=False, detail="not probed") for a in analyses}
    return CatalogueBook(Catalogue(analyses=analyses, core_types=(), presence=presence), helpers)


def test_who_asks_waits_for_the_first_look(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    name = program(tmp_path, "solver", f"cat {pipe}")
    book = book_of(probed(name), helpers=tmp_path)
    looking = threading.Thread(target=book.look)
    looking.start()
    with pipe.open("w") as answer:  # opened once the probe reads
        assert not book.is_ready
        asked: list[Catalogue] = []
        asking = threading.Thread(target=lambda: asked.append(book.current()))
        asking.start()
        answer.write("release 9\n")
        assert not asked
    asking.join(timeout=20)
    looking.join(timeout=20)
    assert asked[0].presence["x"].version == "9" and asked[0].all_installed


def test_what_is_probed_alike_is_probed_once(tmp_path: Path) -> None:
    name = program(tmp_path, "solver", f"echo x >> {tmp_path}/asked; echo release 3")
    one = probed(name)
    book = book_of(
        one,
        dataclasses.replace(one, code="y"),
        dataclasses.replace(one, code="z", env={"A": "1"}),
        Analysis(code="w", name="W"),
        helpers=tmp_path / "helpers",
    )
    book.look()
    seen = book.current().presence
    assert {code: p.version for code, p in seen.items()} == {"x": "3", "y": "3", "z": "3", "w": ""}
    assert book.current().all_installed
    assert (tmp_path / "asked").read_text() == "x\nx\n"


def test_probes_give_way_to_the_server(tmp_path: Path) -> None:
    book = book_of(probed(program(tmp_path, "solver", "echo release $(nice)")), helpers=tmp_path)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    book.look()
    assert int(book.current().presence["x"].version) == min(before + 10, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_look_that_fails_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(service, "lay_out_helpers", broken)
    book = book_of(probed("solver"), helpers=tmp_path)
    with pytest.raises(OSError, match="the disk is gone"):
        book.look()
    assert book.current().presence["x"].detail == "not probed"


def test_what_is_installed_meanwhile_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_LOOK_AGAIN_SECONDS", 0)
    book = book_of(probed(str(tmp_path / "solver")), helpers=tmp_path)
    book.look()
    assert not book.look_again("x").presence["x"].installed
    program(tmp_path, "solver", "echo release 1")
    assert not book.current().presence["x"].installed
    assert book.look_again("X").presence["x"] == Presence(installed=True, version="1")
    assert book.current().all_installed
    # What is there is not looked at again, and what is unknown is no matter.
    (tmp_path / "solver").unlink()
    assert book.look_again("x").presence["x"].installed
    assert book.look_again("unknown") is book.current()


def test_nobody_looks_again_all_the_time(tmp_path: Path) -> None:
    book = book_of(probed(str(tmp_path / "solver")), helpers=tmp_path)
    book.look()
    book.look_again("x")
    program(tmp_path, "solver", "echo release 1")
    assert not book.look_again("x").presence["x"].installed, "it was looked at a moment ago"


# --- templates ------------------------------------------------------------------------------------

TEMPLATES = service.templates()


def test_templates_are_not_listed(shipped: Catalogue) -> None:
    assert {"abaqus", "ansys_fluent", "cd_adapco_star_ccm", "ls_dyna", "matlab"} <= set(TEMPLATES)
    for code in TEMPLATES:
        assert shipped.analysis(code) is None, code


@pytest.mark.parametrize("code", TEMPLATES)
def test_a_template_is_a_file_that_a_site_can_use(site: Path, code: str) -> None:
    text = TEMPLATES[code].read_text()
    (site / f"{code}.toml").write_text(text)
    catalogue = with_site(site)
    analysis = analysis_of(catalogue, code)
    assert analysis.code == code == fold(code)
    assert len(catalogue.analyses) == len(DEBIAN) + 1
    assert analysis.std_command and analysis.vendor and analysis.description.startswith("<p>")
    names = [
        fold(n) for a in catalogue.analyses for n in {fold(m) for m in (a.code, a.name, *a.also)}
    ]
    assert len(names) == len(set(names))
    # What is to be completed is marked, and a program that is not there is not told to be.
    assert "# complete: where the program lies" in text
    for key in ("version_code", "version_name", "default_version"):
        assert re.search(rf"(?m)^{key} = .*  # complete", text), key
    assert analysis.probe is not None and analysis.probe.program
    assert not probe(analysis, site).installed
    there = dataclasses.replace(analysis, path=(str(site),))
    program(site, analysis.probe.program, "echo it is not started; exit 1")
    assert probe(there, site) == Presence(installed=True)
    real, *aliases = catalogue.versions(analysis)
    for listed in aliases:
        resolution = catalogue.resolve(analysis, listed.version.code)
        assert resolution is not None and resolution.runs == real.version
    for alias in analysis.aliases:
        for version in alias.listed:
            bare = re.sub(catalogue.strip_suffix, "", version)
            assert re.search(alias.pattern, bare) or re.search(alias.pattern, version), version
            resolution = catalogue.resolve(analysis, version)
            assert resolution is not None and resolution.tier is alias.tier, version


def test_licences_of_templates() -> None:
    free = {"code_aster", "fds", "julia", "namd", "su2", "vasp"}
    catalogue = load([own_folder(), own_folder() / "templates"], MACHINE)
    for code in TEMPLATES:
        analysis = analysis_of(catalogue, code)
        names = {setting.name for setting in analysis.license_settings}
        assert bool(names) is (code not in free), code
        for setting in analysis.license_settings:
            assert setting.label and setting.help_text and setting.license_type
        hosts = {name for name, value in analysis.env.items() if "licence.example" in value}
        assert hosts <= names and bool(hosts) is bool(names), code


def test_a_licence_on_the_wire(site: Path) -> None:
    """As in the platform's published reply."""
    (site / "abaqus.toml").write_text(TEMPLATES["abaqus"].read_text())
    catalogue = with_site(site)
    reply = encode_analysis(catalogue, analysis_of(catalogue, "abaqus"), "http://simyard.example")
    assert reply["licenseSettings"][0] == {
        "name": "LM_LICENSE_FILE",
        "label": "License",
        "licenseType": "Flex",
        "isServer": True,
        "helpText": "[port]@host of the license server",
    }
    names = [setting["name"] for setting in reply["licenseSettings"]]
    assert names == ["LM_LICENSE_FILE", "ADSKFLEX_LICENSE_FILE", "DSLS_LICENSE_FILE"]
    assert (reply["installed"], reply["installHint"]) == (False, "")
    free = encode_analysis(catalogue, analysis_of(catalogue, "openfoam"), "http://simyard.example")
    assert free["licenseSettings"] == []


def test_the_command_shows_templates() -> None:
    said = CliRunner().invoke(cli, ["catalogue", "templates"])
    assert said.exit_code == 0
    assert [line.split("\t")[0] for line in said.output.splitlines()] == list(TEMPLATES)
    assert "ansys_fluent\tAnsys Fluent\n" in said.output
    for written in ("ls_dyna", "LS-DYNA"):
        said = CliRunner().invoke(cli, ["catalogue", "template", written])
        assert (said.exit_code, said.output) == (0, TEMPLATES["ls_dyna"].read_text())
    said = CliRunner().invoke(cli, ["catalogue", "template", "openfoam"])
    assert said.exit_code == 1
    assert "there is no template openfoam" in said.output


# --- helper programs ------------------------------------------------------------------------------


def test_helpers_are_laid_out_for_every_user(shipped: Catalogue, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        service.lay_out_helpers(shipped, tmp_path / "helpers")
        foam = tmp_path / "helpers" / "openfoam"
        mark = foam / "bin" / "foamExec"
        before = mark.stat().st_mtime_ns
        (foam / "bin" / "tools" / "RunFunctions").write_text("changed")
        (foam / "etc").unlink()
        (foam / "etc").symlink_to("/elsewhere")
        service.lay_out_helpers(shipped, tmp_path / "helpers")
    finally:
        os.umask(old)
    assert mark.stat().st_mtime_ns == before, "what is right is left alone"
    source = own_folder() / "helpers" / "openfoam" / "bin" / "tools" / "RunFunctions"
    assert (foam / "bin" / "tools" / "RunFunctions").read_bytes() == source.read_bytes()
    assert os.readlink(foam / "etc") == "/usr/share/openfoam/etc"
    for path in (tmp_path / "helpers", *(tmp_path / "helpers").rglob("*")):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == 0o755, path


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{helpers}/bin", "/h/bin"),
        ("v{version}-{version}", "v1-1"),
        ("{unknown} {} { $HOME", "{unknown} {} { $HOME"),
        ("", ""),
    ],
)
def test_places_are_filled_in(text: str, filled: str) -> None:
    assert fill(text, {"helpers": "/h", "version": "1"}) == filled


def counted(folder: Path, *, says: str = "release 3") -> Analysis:
    """Of a program that counts in `asked` how often it was asked."""
    return probed(program(folder, "solver", f"echo x >> {folder}/asked; echo {says}"))


def looked(analysis: Analysis, folder: Path) -> Presence:
    """What a server sees that starts now."""
    catalogue = Catalogue(analyses=(analysis,), core_types=(), presence={})
    book = CatalogueBook(catalogue, folder / "helpers", folder / "probes.json")
    book.look()
    return book.current().presence["x"]


def test_what_was_probed_is_remembered(tmp_path: Path) -> None:
    analysis = counted(tmp_path)
    for _ in range(3):
        assert looked(analysis, tmp_path) == Presence(installed=True, version="3")
    assert (tmp_path / "asked").read_text() == "x\n"
    # Another question, or another program in its place.
    assert looked(dataclasses.replace(analysis, env={"A": "1"}), tmp_path).installed
    assert (tmp_path / "asked").read_text() == "x\nx\n"
    assert looked(counted(tmp_path, says="release 4"), tmp_path).version == "4"
    (tmp_path / "solver").unlink()
    assert not looked(analysis, tmp_path).installed


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": {"at": 1}}', b"\xff"])
def test_what_is_remembered_may_be_lost(tmp_path: Path, content: bytes) -> None:
    analysis = counted(tmp_path)
    looked(analysis, tmp_path)
    (tmp_path / "probes.json").write_bytes(content)
    assert looked(analysis, tmp_path).version == "3"
    assert (tmp_path / "asked").read_text() == "x\nx\n"


@pytest.mark.parametrize("hours", [1.01, -1.0])
def test_what_is_remembered_ages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    """In both directions: a clock may have been put right."""
    analysis = counted(tmp_path)
    looked(analysis, tmp_path)
    now = time.time() + hours * 3600
    monkeypatch.setattr(service, "time", mock.Mock(time=lambda: now, monotonic=time.monotonic))
    looked(analysis, tmp_path)
    assert (tmp_path / "asked").read_text() == "x\nx\n"


def test_what_is_not_there_is_not_remembered(tmp_path: Path) -> None:
    analysis = counted(tmp_path, says="something else")
    for _ in range(2):
        assert not looked(analysis, tmp_path).installed
    assert (tmp_path / "asked").read_text() == "x\nx\n"
