"""The rules of jobs: what is wrong with a definition, where a job goes, what its user is told."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.catalogue import (
    Alias,
    Analysis,
    Catalogue,
    CoreType,
    Machine,
    Notice,
    Placement,
    Presence,
    Tier,
    place,
)
from simyard.domain.errors import Path, Problem
from simyard.domain.jobs import (
    COMPLETED_TEMPLATES,
    DEFAULT_FILTERS,
    GENERATED_FILES,
    INPUT_FILES,
    NAME_LENGTH,
    Hardware,
    InputFile,
    JobAnalysis,
    JobDefinition,
    Limits,
    ResourceFilter,
    check,
    notices,
    placement,
    walltime_seconds,
)

CATALOGUE = Catalogue(
    analyses=(
        Analysis(
            code="solver",
            name="The Solver",
            version_code="{version}-mpi",
            version_name="{version}",
            aliases=(
                Alias(pattern=r"^1\.", tier=Tier.NEAR),
                Alias(pattern="^gpu", tier=Tier.FAR),
            ),
        ),
        Analysis(code="shell", name="Shell"),
    ),
    core_types=(
        CoreType(code="small", name="Pebble", cores=(1, 2, 4), memory_mb=1, storage_gb=1),
        CoreType(code="large", name="Rock", cores=(20,), memory_mb=1, storage_gb=1),
        CoreType(code="gpu", name="Gem", cores=(2,), gpus=(1,), memory_mb=1, storage_gb=1),
    ),
    presence={
        "solver": Presence(installed=True, version="1.9"),
        "shell": Presence(installed=True),
    },
)
MACHINE = Machine(cores=4, memory_mb=8000, storage_gb=100)
LIMITS = Limits(max_walltime_seconds=10 * 3600)


def analysis(
    command: str = "run",
    core_type: str = "small",
    cores: int = 1,
    hours: int | None = None,
    **changes: Any,
) -> JobAnalysis:
    hardware = Hardware(core_type=core_type, cores_per_slot=cores, walltime_hours=hours)
    good: dict[str, Any] = {"code": "shell", "version": None, "hardware": hardware}
    return JobAnalysis(**{**good, "command": command, **changes})


def job(*analyses: JobAnalysis, **changes: Any) -> JobDefinition:
    return JobDefinition(**{"name": "A job", "analyses": analyses or (analysis(),), **changes})


def wrong(
    definition: JobDefinition,
    *files: str,
    machine: Machine = MACHINE,
    limits: Limits = LIMITS,
) -> list[Problem]:
    return check(definition, CATALOGUE, machine, limits, frozenset(files))


def places(problems: list[Problem]) -> list[Path]:
    return [problem.path for problem in problems]


# --- check ----------------------------------------------------------------------------------------


def test_nothing_is_wrong() -> None:
    sent = analysis(
        core_type="pebble",
        cores=8,
        hours=10,
        code="The Solver",
        version="1.9",
        env_vars={"A": "", "_b2": "x"},
        input_files=(InputFile(code="in"),),
        pre_script="pre",
        post_script="post",
    )
    assert wrong(job(sent, analysis()), "in", "pre", "post") == []


def test_what_was_not_chosen_is_not_told_as_unknown() -> None:
    problems = wrong(job(analysis(code="", core_type="")))
    assert {problem.path[1:]: problem.message for problem in problems} == {
        (0, "analysis", "code"): "This field may not be blank.",
        (0, "hardware", "coreType"): "This field may not be blank.",
    }


def test_everything_wrong_is_told_at_once() -> None:
    bad = analysis(
        command=" \n",
        core_type="Marble",
        hours=11,
        code="vapour",
        env_vars={"1A": "", "A B": "", "": "", "Ä": "", "n²": "", "ok": ""},
        input_files=(InputFile(code="known"), InputFile(code="gone")),
        pre_script="pre",
        post_script="post",
    )
    worse = analysis(core_type="small", cores=3, code="solver", version="9")
    problems = wrong(job(analysis(), bad, worse, name="  "), "known")
    assert places(problems) == [
        ("name",),
        ("jobanalyses", 1, "command"),
        ("jobanalyses", 1, "analysis", "code"),
        ("jobanalyses", 1, "envVars", "1A"),
        ("jobanalyses", 1, "envVars", "A B"),
        ("jobanalyses", 1, "envVars", ""),
        ("jobanalyses", 1, "envVars", "Ä"),
        ("jobanalyses", 1, "envVars", "n²"),
        ("jobanalyses", 1, "hardware", "coreType"),
        ("jobanalyses", 1, "hardware", "walltime"),
        ("jobanalyses", 2, "analysis", "version"),
        ("jobanalyses", 2, "hardware", "coresPerSlot"),
        ("jobanalyses", 1, "inputFiles", 1, "id"),
        ("jobanalyses", 1, "preProcessScript", "id"),
        ("jobanalyses", 1, "postProcessScript", "id"),
    ]
    told = {problem.path[-1]: problem.message for problem in problems}
    assert told["name"] == "This field may not be blank."
    assert told["code"] == '"vapour" is not an analysis of this site.'
    assert told["version"] == "The specified version is not available."
    assert told["coreType"] == '"Marble" is not a core type of this site.'
    assert told["walltime"] == "Ensure this value is less than or equal to 10."
    assert told["coresPerSlot"] == (
        "small does not offer 3 cores. It offers 1, 2, 4, or a multiple of 4."
    )
    assert told["id"] == 'Invalid pk "post" - object does not exist.'


def test_the_length_of_a_name() -> None:
    assert wrong(job(name="ä" * NAME_LENGTH)) == []
    (problem,) = wrong(job(name="ä" * (NAME_LENGTH + 1)))
    assert problem == Problem(("name",), "Ensure this field has no more than 255 characters.")


def test_a_job_without_analyses() -> None:
    (problem,) = check(
        JobDefinition(name="x", analyses=()), CATALOGUE, MACHINE, LIMITS, frozenset()
    )
    assert problem.path == ("jobanalyses", "non_field_errors")


def test_a_blank_command_may_be_meant() -> None:
    assert places(wrong(job(analysis(command="")))) == [("jobanalyses", 0, "command")]
    assert wrong(job(analysis(command="", flags={"igCv": True}))) == []
    assert wrong(job(analysis(command="", flags={"igCv": False}))) != []
    assert wrong(job(analysis(command="#"))) == []


@pytest.mark.parametrize("tier", ["near", "far"])
def test_a_site_may_refuse_stand_ins(tier: str) -> None:
    asked = {"near": "1.2", "far": "gpu-2"}
    limits = dataclasses.replace(LIMITS, refused_tiers=frozenset({tier}))
    for name, version in asked.items():
        problems = wrong(job(analysis(code="solver", version=version)), limits=limits)
        assert bool(problems) is (name == tier)
        if problems:
            assert problems[0].path == ("jobanalyses", 0, "analysis", "version")
            assert problems[0].message.endswith("This site does not run 1.9 in its place.")
    assert wrong(job(analysis(code="solver", version="1.9-mpi")), limits=limits) == []


def test_gpus_that_the_machine_has_not() -> None:
    asked = job(analysis(core_type="gpu", cores=2))
    (problem,) = wrong(asked)
    assert problem.path == ("jobanalyses", 0, "hardware", "coreType")
    assert problem.message == "gpu has GPUs and this machine has none."
    assert wrong(asked, machine=dataclasses.replace(MACHINE, gpus=1)) == []
    assert wrong(asked, limits=dataclasses.replace(LIMITS, ignore_missing_gpus=True)) == []


@pytest.mark.parametrize("cores", [-4, -1, 0, 3, 5, 6, 7, 9, 10**30 + 1])
def test_counts_of_cores_that_are_not_offered(cores: int) -> None:
    assert places(wrong(job(analysis(cores=cores)))) == [
        ("jobanalyses", 0, "hardware", "coresPerSlot")
    ]


@pytest.mark.parametrize("cores", [1, 2, 4, 8, 12, 10**30])
def test_counts_of_cores_that_are_offered(cores: int) -> None:
    assert wrong(job(analysis(cores=cores))) == []


@pytest.mark.parametrize(
    ("limit_seconds", "hours", "is_good"),
    [
        (36_000, 10, True),
        (36_000, 11, False),
        (36_000, 10**30, False),
        (36_001, 10, True),
        (35_999, 10, False),
        (60, 1, True),  # nobody can ask for less than an hour: it is cut
        (60, 2, False),
        (36_000, None, True),
    ],
)
def test_walltimes(limit_seconds: int, hours: int | None, is_good: bool) -> None:
    limits = Limits(max_walltime_seconds=limit_seconds)
    problems = wrong(job(analysis(hours=hours)), limits=limits)
    assert places(problems) == ([] if is_good else [("jobanalyses", 0, "hardware", "walltime")])
    given_seconds = walltime_seconds(analysis(hours=hours).hardware, limits)
    assert 0 < given_seconds <= limit_seconds
    if hours is not None and is_good:
        assert given_seconds == min(hours * 3600, limit_seconds)
    if hours is None:
        assert given_seconds == limit_seconds, "the site's longest is the default"


def test_a_file_may_be_named_twice() -> None:
    sent = analysis(input_files=(InputFile(code="in"), InputFile(code="in")), pre_script="in")
    assert wrong(job(sent, sent), "in") == []
    assert len(wrong(job(sent, sent))) == 6


# --- placement ------------------------------------------------------------------------------------


def placed(cores: int, core_type: str = "small", machine: Machine = MACHINE) -> Placement:
    return placement(job(analysis(core_type=core_type, cores=cores)), CATALOGUE, machine, LIMITS)


@pytest.mark.parametrize(
    ("core_type", "cores", "ranks", "charge", "nodes", "notice"),
    [
        ("small", 1, 1, 1, 1, None),
        ("small", 4, 4, 4, 1, None),
        ("small", 8, 8, 4, 2, "cores-shared"),
        ("small", 16, 16, 4, 4, "cores-shared"),  # the last that is shared: four times four
        ("small", 20, 4, 4, 5, "cores-clamped"),
        ("large", 20, 4, 4, 1, "cores-clamped"),
        ("large", 400, 4, 4, 20, "cores-clamped"),
    ],
)
def test_cores_asked_for_against_cores_there_are(
    core_type: str, cores: int, ranks: int, charge: int, nodes: int, notice: str | None
) -> None:
    found = placed(cores, core_type)
    assert (found.ranks, found.charge, found.nodes) == (ranks, charge, nodes)
    assert [n.code for n in found.notices] == ([notice] if notice else [])
    assert found.shares_cores is (notice == "cores-shared")


def test_the_words_of_placement() -> None:
    (shared,) = placed(16).notices
    assert shared.message == "This machine has 4 cores: the 16 ranks of this job share them."
    (cut,) = placed(20).notices
    assert cut.message == "This machine has 4 cores: the 20 cores asked for are cut to 4."
    (one,) = placed(2, machine=dataclasses.replace(MACHINE, cores=1)).notices
    assert one.message.startswith("This machine has 1 core:")


def test_how_far_cores_are_shared_is_the_sites() -> None:
    for most, ranks in ((1, 4), (2, 8), (3, 8)):
        limits = dataclasses.replace(LIMITS, oversubscribe_max=most)
        assert placement(job(analysis(cores=8)), CATALOGUE, MACHINE, limits).ranks == ranks


@given(
    cores=st.integers(1, 2000),
    counts=st.sets(st.integers(1, 100), min_size=1),
    machine=st.integers(1, 128),
    most=st.integers(1, 8),
)
def test_no_placement_is_out_of_bounds(
    cores: int, counts: set[int], machine: int, most: int
) -> None:
    core_type = CoreType(code="x", name="X", cores=tuple(sorted(counts)), memory_mb=1, storage_gb=1)
    here = Machine(cores=machine, memory_mb=1, storage_gb=1)
    found = place(core_type, cores, here, oversubscribe_max=most)
    assert 1 <= found.charge <= min(cores, machine), "what is charged can be granted"
    assert 1 <= found.ranks <= min(cores, most * machine)
    assert found.ranks == cores or cores > most * machine, "cut only beyond the limit"
    assert (found.ranks == cores <= machine) is (found.notices == ())
    assert (found.nodes - 1) * core_type.cores[-1] < cores <= found.nodes * core_type.cores[-1]
    assert found.nodes == found.core_type.nodes(cores)


@pytest.mark.parametrize("counts", [(2, 8), (8, 2), (4, 8, 1)])
def test_the_analysis_that_asks_for_most_decides(counts: tuple[int, ...]) -> None:
    """Also where all of them take the whole machine."""
    machine = dataclasses.replace(MACHINE, cores=2)
    definition = job(*(analysis(cores=cores) for cores in counts))
    assert placement(definition, CATALOGUE, machine, LIMITS) == placed(8, machine=machine)
    codes = [n.code for n in notices(definition, CATALOGUE, machine, LIMITS)]
    assert codes == ["cores-shared"]


# --- what the user is told ------------------------------------------------------------------------


def told(definition: JobDefinition) -> list[str]:
    return [n.code for n in notices(definition, CATALOGUE, MACHINE, LIMITS)]


def test_nothing_to_tell() -> None:
    assert told(job()) == []
    assert told(job(analysis(code="solver", version="1.9"), resource_filters=())) == []


def test_everything_that_a_user_should_know() -> None:
    definition = job(
        analysis(code="solver", version="1.2", cores=8),
        analysis(code="solver", version="gpu-2"),
        resource_filters=(
            *DEFAULT_FILTERS,
            ResourceFilter(filter_type="Path", selector="*.vtk"),
        ),
    )
    assert told(definition) == ["version-near", "version-far", "cores-shared", "filter-unknown"]
    last = notices(definition, CATALOGUE, MACHINE, LIMITS)[-1]
    assert last.message == 'The resource filter "Path" is not known here and has no effect.'


def test_the_same_is_told_once() -> None:
    twice = analysis(code="solver", version="1.2")
    assert told(job(twice, twice)) == ["version-near"]
    other = analysis(code="solver", version="1.3")
    assert told(job(twice, other)) == ["version-near", "version-near"]
    assert all(isinstance(n, Notice) for n in notices(job(other), CATALOGUE, MACHINE, LIMITS))


# --- resource filters -----------------------------------------------------------------------------


def rule(filter_type: str, include: bool = True) -> ResourceFilter:
    return ResourceFilter(filter_type=filter_type, selector=filter_type, include=include)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ((), {GENERATED_FILES, INPUT_FILES, COMPLETED_TEMPLATES}),
        (DEFAULT_FILTERS, {GENERATED_FILES, INPUT_FILES, COMPLETED_TEMPLATES}),
        ((rule(GENERATED_FILES),), {GENERATED_FILES}),
        ((rule(GENERATED_FILES), rule(INPUT_FILES, include=False)), {GENERATED_FILES}),
        ((rule(INPUT_FILES, include=False), rule(INPUT_FILES)), {INPUT_FILES}),
        ((rule(GENERATED_FILES, include=False),), set()),
        ((rule("Path"),), set()),
    ],
)
def test_what_is_kept(rules: tuple[ResourceFilter, ...], kept: set[str]) -> None:
    definition = job(resource_filters=rules)
    kinds = {GENERATED_FILES, INPUT_FILES, COMPLETED_TEMPLATES}
    assert {kind for kind in kinds if definition.keeps(kind)} == kept


# --- the files that a job names -------------------------------------------------------------------


def test_every_file_with_the_place_where_it_is_named() -> None:
    definition = job(
        analysis(input_files=(InputFile(code="a"), InputFile(code="b"))),
        analysis(pre_script="c", post_script="d", input_files=(InputFile(code="a"),)),
        analysis(pre_script="", post_script=None),
    )
    assert list(definition.files()) == [
        (("jobanalyses", 0, "inputFiles", 0, "id"), "a"),
        (("jobanalyses", 0, "inputFiles", 1, "id"), "b"),
        (("jobanalyses", 1, "inputFiles", 0, "id"), "a"),
        (("jobanalyses", 1, "preProcessScript", "id"), "c"),
        (("jobanalyses", 1, "postProcessScript", "id"), "d"),
    ]
