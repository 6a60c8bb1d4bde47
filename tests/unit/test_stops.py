"""Stop recipes and checkpoints: what they do to a text and to which file."""

from pathlib import Path

import pytest

from simyard.domain.catalogue import Machine
from simyard.domain.stops import Checkpoint, Edit, case_of, fill, set_entry
from simyard.service import catalogue
from simyard.service.catalogue import CatalogueError

CONTROL = """FoamFile { version 2.0; object controlDict; }
// stopAt writeNow;
application     icoFoam;
startFrom       startTime;
stopAt          endTime;  /* stopAt noWriteNow; */
functions { halt { type abort; stopAt nextWrite; note "stopAt x;"; } }
"""


def test_an_entry_is_set_where_it_stands_and_nowhere_else() -> None:
    done = set_entry(CONTROL, "stopAt", "writeNow")
    assert done == CONTROL.replace("stopAt          endTime;", "stopAt          writeNow;")
    assert set_entry(done, "stopAt", "writeNow") == done
    assert set_entry(done, "stopAt", "endTime") == CONTROL


def test_an_entry_that_is_not_there_comes_to_the_end() -> None:
    done = set_entry("a 1;\nb { stopAt endTime; }\n\n", "stopAt", "writeNow")
    assert done == "a 1;\nb { stopAt endTime; }\n\nstopAt writeNow;\n"
    assert set_entry(done, "stopAt", "writeNow") == done
    assert "stopAt" not in set_entry("mystopAt 1;", "stop", "2").replace("mystopAt", "")


def test_the_last_word_of_one_entry_is_not_the_name_of_another() -> None:
    assert set_entry("x stopAt;\n", "stopAt", "now") == "x stopAt;\n\nstopAt now;\n"


def test_a_pattern_is_replaced_everywhere() -> None:
    edit = Edit(file="*.in", pattern=r"(?i)(mode\s*=\s*)'\w+'", text=r"\1'restart'")
    assert edit.apply("Mode = 'new', x, mode='new'") == "Mode = 'restart', x, mode='restart'"
    assert edit.apply("nothing") == "nothing"


@pytest.mark.parametrize(
    ("path", "file", "case"),
    [
        ("system/controlDict", "system/controlDict", ""),
        ("a/b/system/controlDict", "system/controlDict", "a/b"),
        ("a/system/controlDict.old", "system/controlDict", None),
        ("a/in.melt", "in.*", "a"),
        ("xsystem/controlDict", "system/controlDict", None),
    ],
)
def test_the_case_of_a_file(path: str, file: str, case: str | None) -> None:
    assert case_of(path, file) == case


def test_groups_are_filled_in() -> None:
    assert fill("{prefix}.EXIT", {"prefix": "si"}) == "si.EXIT"
    assert fill("{prefix}.EXIT", {"prefix": None}) == ".EXIT"


def _shipped(code: str) -> Checkpoint:
    machine = Machine(cores=2, memory_mb=4000, storage_gb=10)
    analysis = catalogue.load([catalogue.own_folder()], machine).analysis(code)
    assert analysis is not None and analysis.checkpoint is not None
    return analysis.checkpoint


@pytest.mark.parametrize(
    ("path", "is_left"),
    [
        ("case/0.35/U", True),
        ("case/100/p", True),
        ("1e-05/p.gz", True),
        ("case/processor3/0.2/uniform/time", True),
        ("case/processors4/12/U", True),
        ("case/0/U", False),
        ("case/0.0/U", False),
        ("case/0.orig/U", False),
        ("case/constant/polyMesh/points", False),
        ("case/postProcessing/forces/100/force.dat", False),
        ("case/system/controlDict", False),
    ],
)
def test_what_openfoam_can_go_on_from(path: str, is_left: bool) -> None:
    for code in ("openfoam", "openfoam_plus"):
        assert _shipped(code).is_left_in(path) is is_left


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("calculix", "beam.rout"),
        ("lammps", "melt.restart.2000"),
        ("lammps", "restart.500"),
        ("gromacs", "run/state.cpt"),
        ("quantum_espresso", "out/si.save/data-file-schema.xml"),
    ],
)
def test_what_others_can_go_on_from(code: str, path: str) -> None:
    assert _shipped(code).is_left_in(path)
    assert not _shipped(code).is_left_in("process_output.log")


SCF = "&CONTROL\n  calculation = 'scf', prefix='si'\n/\n&system\n/\n"


@pytest.mark.parametrize(
    "before",
    [
        SCF,
        SCF.replace("'scf',", "'scf', restart_mode = 'from_scratch',"),
        SCF.replace("'scf',", "'scf'\n  RESTART_MODE='restart'"),
    ],
)
def test_quantum_espresso_is_told_to_restart(before: str) -> None:
    content = before
    for edit in _shipped("quantum_espresso").edit:
        content = edit.apply(content)
    assert content.lower().count("restart_mode") == 1
    assert "'restart'" in content and "from_scratch" not in content
    again = content
    for edit in _shipped("quantum_espresso").edit:
        again = edit.apply(again)
    assert again == content


NEEDS = 'needs = { file = "a", pattern = "b" }\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[stop]]\nkind = "x"\n', "stop[0]: give one of edit, create and signal"),
        (f'[[stop]]\nkind = "x"\n{NEEDS}create = "a"\nsignal = "TERM"\n', "give one of edit"),
        ('[[stop]]\nkind = "x"\nsignal = "WHAT"\n', "stop[0].signal: there is no signal WHAT"),
        ('[[stop]]\nkind = "x"\ncreate = "a"\n', "stop[0].needs: nothing says which"),
        ('[[stop]]\nkind = "x"\nneeds = { file = "a", pattern = "(" }\ncreate = "a"\n', "pattern"),
        (f'[[stop]]\nkind = "x"\n{NEEDS}edit = {{ value = "1" }}\n', "give one of set and pattern"),
        ('[checkpoint]\nfiles = ["("]\nwhat = "x"\n', "checkpoint.files[0]"),
        (
            '[checkpoint]\nfiles = []\nwhat = "x"\nedit = [{ set = "a", value = "b" }]\n',
            "checkpoint.edit[0].file: nothing says which file",
        ),
        (
            "[checkpoint]\nfiles=[]\nwhat='x'\nedit = [{ file='a', pattern='b', text='\\1' }]\n",
            "checkpoint.edit[0].text",
        ),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.toml").write_text(f'code = "x"\nname = "X"\n{text}')
    with pytest.raises(CatalogueError) as caught:
        catalogue.load([tmp_path], Machine(cores=2, memory_mb=4000, storage_gb=10))
    assert said in str(caught.value)
