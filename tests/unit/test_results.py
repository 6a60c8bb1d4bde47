"""A study's runs as columns, and what is made of them, on made-up runs."""

import csv
import difflib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.errors import Invalid, NotEnough, Refused
from simyard.domain.lifecycle import State
from simyard.domain.outputs import Outputs, number_of, value
from simyard.domain.runs import Again, Cause, Ending, Restart, Run
from simyard.domain.studies import Role, Study, Value, Variable
from simyard.service import answers, comparing, exporting, results
from simyard.service.results import Results, Status
from simyard.store.studies import Standing

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
WELL = Ending(cause=Cause.EXITED, exit_code=0)
BAD = Ending(cause=Cause.EXITED, exit_code=7, step="the command of analysis 1")
STUDY = Study(
    variables=(
        Variable(name="x", role=Role.DESIGN, settings={"unit": "deg"}),
        Variable(name="mesh"),
        Variable(name="f", role=Role.OBJECTIVE, settings={"direction": "maximize"}),
        Variable(name="g", role=Role.CONSTRAINT, settings={"lower": 0, "upper": "10"}),
    )
)


def values(given: dict[str, object]) -> tuple[Value, ...]:
    return tuple(value(name, str(each)) for name, each in given.items())


def run(number: int, state: State = State.CLOSED, ending: Ending | None = WELL, **more: Any) -> Run:
    """A run; a finished one began at second `number` and took 10 s on 2 cores."""
    is_over = state in (State.COMPLETED, State.CLOSED)
    inputs, outputs = more.pop("inputs", {}), more.pop("outputs", None)
    known: dict[str, Any] = {
        "started_at": START + timedelta(seconds=number) if is_over else None,
        "completed_at": START + timedelta(seconds=number + 10) if is_over else None,
        "ending": ending if is_over else None,
        "inputs": values(inputs),
        "outputs": None if outputs is None else Outputs(values=values(outputs)),
        **more,
    }
    return Run(
        id=100 + number,
        job_id=1,
        number=number,
        state=state,
        cores=2,
        core_type="emerald",
        price_micros=0,
        output_count=0,
        output_bytes=0,
        outcome=None,
        token=None,
        **known,
    )


def of(every: Sequence[Run], study: Study = STUDY, *, version: int = 0) -> Results:
    standing = Standing(job_id=1, slots=2, version=version)
    return results.gather(Results(study=study, standing=standing), iter(every), len(every))


def six() -> list[Run]:
    return [
        run(1, inputs={"x": 1, "mesh": "fine"}, outputs={"f": 3, "g": 1, "note": "=A1"}),
        run(2, inputs={"x": "2.50", "mesh": "coarse"}, outputs={"f": 5, "g": 11}, is_optimal=True),
        run(3, ending=BAD, inputs={"x": 3, "mesh": "fine"}, outputs={"f": 99}),
        run(4, State.RUNNING, inputs={"x": 4, "mesh": "fine"}),
        run(5, State.PLANNED, inputs={"x": 5, "mesh": "fine"}),
        run(6, ending=Ending(cause=Cause.STOPPED), started_at=None, inputs={"x": "nan"}),
    ]


# --- columns --------------------------------------------------------------------------------------


def test_columns() -> None:
    found = of(six())
    assert [found.status(row).value for row in range(6)] == [
        "done", "done", "failed", "running", "planned", "stopped"
    ]  # fmt: skip
    assert found.counts() == {
        Status.PLANNED: 1,
        Status.WAITING: 0,
        Status.RUNNING: 1,
        Status.DONE: 2,
        Status.FAILED: 1,
        Status.STOPPED: 1,
    }
    assert found.inputs["x"].of(range(6)) == [1.0, 2.5, 3.0, 4.0, 5.0, "nan"]
    assert found.inputs["mesh"].of(range(6)) == ["fine", "coarse", "fine", "fine", "fine", None]
    assert found.outputs["f"].of(range(6)) == [3.0, 5.0, None, None, None, None], "of good runs"
    assert list(found.outputs) == ["f", "g", "note"], "those that were declared first"
    assert list(found.seconds[:3]) == [10.0, 10.0, 10.0]
    assert found.core_hours[0] == pytest.approx(20 / 3600)
    assert found.reasons == {
        2: "A run failed: the command of analysis 1 ended with exit code 7",
        5: "Stopped by the user",
    }
    assert found.optimal() == [1]
    assert not found.is_cut


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.PLANNED, Status.PLANNED),
        (State.PENDING, Status.WAITING),
        (State.QUEUED, Status.WAITING),
        (State.STAGING, Status.WAITING),
        (State.SUBMITTING, Status.WAITING),
        (State.RUNNING, Status.RUNNING),
        (State.STOPPING, Status.RUNNING),
        (State.COLLECTING, Status.RUNNING),
        (State.COMPLETED, Status.DONE),
        (State.CLOSED, Status.DONE),
    ],
)
def test_every_state_has_its_word(state: State, status: Status) -> None:
    assert results.judged(run(1, state)) == (status, "")


def test_an_end_that_nobody_knows_is_none_that_is_good() -> None:
    assert results.judged(run(1, ending=None))[0] is Status.FAILED


def test_what_is_known_of_the_variables() -> None:
    x, mesh, f, g, note = results.facts(of(six()))
    assert (x.role, x.unit, x.least, x.most, x.is_text) == (Role.DESIGN, "deg", 1.0, 5.0, True)
    assert (mesh.least, mesh.is_text) == (None, True)
    assert (f.role, f.direction, f.most) == (Role.OBJECTIVE, "maximize", 5.0)
    assert (g.lower, g.upper) == (0.0, 10.0)
    assert (note.name, note.role) == ("note", Role.OUTPUT), "not declared, but told"


def test_no_more_is_held_than_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_MOST_CELLS", 12)
    found = of([run(1, outputs={f"o{i}": i for i in range(9)}), run(2, outputs={"o0": 5, "z": 1})])
    assert found.is_cut
    assert list(found.outputs) == ["f", "g", "o0", "o1"], "six columns with the inputs"
    assert found.outputs["o0"].of([0, 1]) == [0.0, 5.0]
    study = Study(variables=(Variable(name="x"),))
    long = of([run(1, inputs={"x": "a" * 500})], study)
    assert long.inputs["x"][0] == "a" * 200
    reading = results._Reading(long, 10, most_text=3)
    columns: dict[str, results.Column] = {}
    reading.take(columns, 0, values({"a": "texty", "b": "text"}))
    assert (columns["a"][0], columns["b"][0], long.is_cut) == ("texty", None, True)


# --- versions -------------------------------------------------------------------------------------


def test_the_version_changes_with_everything() -> None:
    before = six()
    known = {of(before).version}
    for changed in (
        [*before[:3], run(4, inputs={"x": 4}, outputs={"f": 1}), *before[4:]],
        [*before[:4], run(5, State.PENDING), *before[5:]],
        [*before, run(7, State.PLANNED)],
        [run(1, is_optimal=True), *before[1:]],
    ):
        version = of(changed).version
        assert version not in known
        known.add(version)
    assert of(before, version=3).version not in known
    assert of(before).version in known


def test_what_is_new_since_a_version() -> None:
    before = six()
    old = of(before).version
    assert of(before).changed(old) == []
    for nonsense in ("", "x", "1-2", "9" * 30 + "-1-00000000", "1-99-00000000"):
        assert of(before).changed(nonsense) is None
    later = [
        *before[:3],
        run(4, completed_at=START + timedelta(seconds=60), outputs={"f": 1}),
        run(5, State.PENDING),
        before[5],
        run(7, State.PLANNED),
    ]
    # The last that had ended at the version, number 6, is told again: another may have ended in the
    # same microsecond.
    assert of(later).changed(old) == [3, 4, 5, 6]
    again = [
        run(1, State.PLANNED, restart=Restart(kind=Again.ANEW)),
        *before[1:4],
        run(5, State.PLANNED),
        before[5],
    ]
    assert of(again).changed(old) == [0, 3, 5], "a planned run that had begun before is new"


@given(st.lists(st.sampled_from(["start", "end", "again", "add"]), max_size=30), st.integers(0, 30))
def test_what_is_new_completes_what_is_known(steps: list[str], at: int) -> None:
    """A client that applies the news to what it knew has what it would have read anew."""
    every = [run(1, State.PLANNED), run(2, State.PLANNED)]
    seen, version = of(every), of(every).version
    for n, step in enumerate(steps):
        row = n % len(every)
        old = every[row]
        moment = START + timedelta(seconds=100 + n // 2)  # some at the same time
        match step:
            case "start" if old.state is State.PLANNED:
                every[row] = run(row + 1, State.RUNNING, restart=old.restart)
            case "end" if old.state is State.RUNNING:
                told = {"f": n}
                every[row] = run(
                    row + 1, completed_at=moment, started_at=moment, outputs=told,
                    restart=old.restart,
                )  # fmt: skip
            case "again" if old.state is State.CLOSED:
                every[row] = run(row + 1, State.PLANNED, restart=Restart(kind=Again.ANEW))
            case "add":
                every.append(run(len(every) + 1, State.PLANNED))
        if n == at:
            seen, version = of(every), of(every).version
    now = of(every)
    known = {row: (seen.status(row), seen.outputs["f"][row]) for row in range(len(seen))}
    rows = now.changed(version)
    assert rows is not None
    known |= {row: (now.status(row), now.outputs["f"][row]) for row in rows}
    assert known == {row: (now.status(row), now.outputs["f"][row]) for row in range(len(now))}


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("x > 2 and status = 'done'", [1]),
        ("f >= 3", [0, 1]),
        ("not f < 4", [1]),
        ("id = 3 or isOptimal = 1", [1, 2]),
        ("mesh = 'fine' and duration > 5", [0, 2]),
        ("reason != ''", [2, 5]),
        ("`x` = 'nan'", [5]),
    ],
)
def test_filters(text: str, rows: list[int]) -> None:
    assert results.chosen(of(six()), text) == rows


def test_filter_faults_come_with_their_place() -> None:
    with pytest.raises(Invalid) as caught:
        results.chosen(of(six()), "F<1 and y>1")
    assert [(p.path, p.message) for p in caught.value.problems] == [
        (("filter",), 'column 1: there is no variable "F"; did you mean f?'),
        (("filter",), 'column 9: there is no variable "y"; texts stand in quotes'),
    ]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("x", [0, 1, 2, 3, 4, 5]),
        ("-x", [4, 3, 2, 1, 0, 5]),
        ("f", [0, 1, 2, 3, 4, 5]),
        ("-f", [1, 0, 2, 3, 4, 5]),
        ("mesh", [1, 0, 2, 3, 4, 5]),
        ("-id", [5, 4, 3, 2, 1, 0]),
        ("status", [0, 1, 2, 4, 3, 5]),
        ("-isOptimal", [1, 0, 2, 3, 4, 5]),
    ],
)
def test_sorting(key: str, rows: list[int]) -> None:
    assert results.ordered(of(six()), range(6), key) == rows


def test_unknown_columns_are_told() -> None:
    with pytest.raises(Invalid, match='sort: There is no column "q"; there are x, mesh, f, g'):
        results.ordered(of(six()), range(6), "-q")
    with pytest.raises(Invalid) as caught:
        results.picked("x,q,f,p", of(six()).labels())
    assert [p.message[:22] for p in caught.value.problems] == [
        'There is no column "q"', 'There is no column "p"'
    ]  # fmt: skip
    assert results.picked("f, x,f", of(six()).labels()) == ["f", "x"]


def test_a_variable_with_the_name_of_a_fixed_column() -> None:
    study = Study(variables=(Variable(name="id"), Variable(name="status", role=Role.OUTPUT)))
    found = of([run(1, inputs={"id": 7}, outputs={"status": 8, "-a": 1})], study)
    assert results.chosen(found, "id = 7") == []
    assert results.chosen(found, "`variable id` = 7 and `output status` = 8") == [0]
    assert results.ordered(found, [0], "-a") == [0]
    assert rows_of(found, "id,variable id,output status", "json") == [
        {"id": 1, "variable id": 7.0, "output status": 8.0}
    ]


# --- answers --------------------------------------------------------------------------------------


def line(count: int = 12, **more: Any) -> Results:
    """f = 2 x, g = x for x = 0, 1, ..., and one that failed."""
    every = [
        run(n + 1, inputs={"x": n, "mesh": "ab"[n % 2]}, outputs={"f": 2 * n, "g": n})
        for n in range(count)
    ]
    return of([*every, run(count + 1, ending=BAD, inputs={"x": 1000}, outputs={"f": -1})], **more)


def test_statistics_are_of_good_runs() -> None:
    found = answers.statistics(line(), range(13))
    assert (found["n"], found["failed"]) == (12, 1)
    assert list(found["columns"]) == ["x", "f", "g"], "mesh has no numbers"
    assert found["columns"]["x"]["max"] == 11.0
    assert found["columns"]["f"]["mean"] == pytest.approx(11.0)
    part = answers.statistics(line(), [0, 1, 2], "f")
    assert (part["n"], part["failed"]) == (3, 0)
    assert part["columns"]["f"]["mean"] == pytest.approx(2.0)


def test_exceedance() -> None:
    found = answers.exceedance(line(10), range(11), "", 12.5)
    assert (found["output"], found["exceeded"], found["probability"]) == ("f", 3, 0.3)
    assert found["probability_interval"] == pytest.approx([0.107789, 0.603222], abs=1e-5)
    assert sum(found["histogram"]["counts"]) == 10
    assert found["cdf"]["share"][-1] == 1.0


def test_effects_and_correlation() -> None:
    found = answers.effects(line(), range(13))
    assert found["output"] == "f"
    mesh = next(one for one in found["inputs"] if one["input"] == "mesh")
    assert {level["level"]: level["mean"] for level in mesh["levels"]} == pytest.approx(
        {"a": 10.0, "b": 12.0}
    )
    pairs = answers.correlation(line(), range(13), "x,f")
    assert pairs["pearson"][0][1] == pytest.approx(1.0)
    assert pairs["failed"] == 1


def test_models_leave_texts_out() -> None:
    found = answers.slices(line(), range(13), "f", "x:3")
    assert found["left_out"] == ["mesh"]
    assert found["mean"] == pytest.approx(6.0, abs=0.1)
    assert found["quality"] > 0.99
    whole = answers.sensitivity(line(), range(13), "f")
    assert whole["inputs"][0]["total"] == pytest.approx(1.0, abs=0.02)
    assert whole["n"] == 12


def test_the_best_keep_the_limits() -> None:
    """g is at most 10: the run with f = 22 breaks it."""
    found = answers.pareto(line(), range(13))
    assert (found["front"], found["size"], found["infeasible"]) == ([10], 1, 1)
    both = answers.pareto(line(), range(13), "f:maximize,g:minimize")
    assert both["front"] == list(range(11)), "each is better in one of them"
    assert [goal.direction for goal in both["objectives"]] == ["maximize", "minimize"]
    small = answers.pareto(line(), range(13), "g")
    assert small["front"] == [0], "of an output that is no objective the small is good"


def test_convergence_is_in_the_order_of_the_ends() -> None:
    late = START + timedelta(seconds=500)
    every = [
        run(1, completed_at=late, outputs={"f": 4, "g": 1}),
        run(2, outputs={"f": 2, "g": 1}),
        run(3, ending=BAD),
        run(4, outputs={"f": 3, "g": 1}),
        run(5, State.RUNNING),
    ]
    found = answers.convergence(of(every), range(5))
    assert found["rows"] == [1, 2, 3, 0]
    assert found["best"] == [2.0, 2.0, 3.0, 4.0]
    assert found["improved"] == [0, 2, 3]
    assert found["core_hours"][:3] == pytest.approx([20 / 3600, 40 / 3600, 60 / 3600])
    assert (found["runs"], found["n"], found["failed"]) == (4, 3, 1)


def test_too_little_is_said() -> None:
    few = line(5)
    for ask in (answers.sensitivity, answers.slices):
        with pytest.raises(NotEnough, match="needs at least 8 finished runs, has 5"):
            ask(few, range(6))
    with pytest.raises(NotEnough, match="needs at least 3 finished runs, has 2"):
        answers.correlation(few, [0, 1, 5])
    nothing = of([run(1, State.PLANNED)], Study(variables=(Variable(name="x"),)))
    with pytest.raises(NotEnough, match="No run has told an output yet"):
        answers.effects(nothing, [0])


@pytest.mark.parametrize(
    ("ask", "at", "message"),
    [
        (lambda r: answers.effects(r, [], "q"), "output", "there are f, g"),
        (lambda r: answers.pareto(r, [], "f,q:maximize"), "objectives", 'no column "q:maximize"'),
        (lambda r: answers.slices(r, range(12), "f", "x:y"), "at", 'x: "y" is no number'),
        (lambda r: answers.slices(r, range(12), "f", "y:1"), "at", 'There is no column "y"'),
        (lambda r: answers.slices(r, range(12), "f", "x"), "at", 'There is no column "x"'),
    ],
)
def test_wrong_questions_are_invalid(ask: Any, at: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        ask(line())
    (problem,) = caught.value.problems
    assert problem.path == (at,)
    assert message.replace(":maximize", "") in problem.message


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST_COMPARED", 10)
    monkeypatch.setattr(answers, "_MOST_PAIRED", 100)
    found, every = line(), range(13)
    with pytest.raises(Refused, match="13 runs with 2 objectives are too many to compare"):
        answers.convergence(found, every, "f,g")
    assert answers.convergence(found, every, "f")["runs"] == 13
    assert answers.pareto(found, every, "f,g")["n"] == 11
    with pytest.raises(Refused, match="12 runs with 3 columns are too many pairs"):
        answers.correlation(found, every)
    assert answers.correlation(found, every, "x,f")["n"] == 12
    monkeypatch.setattr(results, "_MOST_SENT", 20)
    with pytest.raises(Refused, match="12 runs with 3 variables are too many for one reply"):
        answers.statistics(found, every)


def test_a_study_without_objectives_is_asked_for_them() -> None:
    plain = line(study=Study(variables=(Variable(name="x"),)))
    with pytest.raises(Invalid, match="objectives: The study has no Objective"):
        answers.pareto(plain, range(13))
    assert answers.pareto(plain, range(13), "f")["front"] == [0]


def test_numerics_are_imported_when_they_are_needed() -> None:
    """The server starts without them, fast, and serves tables where they are not installed."""
    probe = (
        "import sys, simyard.bootstrap, simyard.api.app\n"
        "print({'numpy', 'scipy', 'pyarrow', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n", done.stderr


# --- files ----------------------------------------------------------------------------------------


def rows_of(found: Results, columns: str, kind: str, rows: Sequence[int] | None = None) -> Any:
    chosen = range(len(found)) if rows is None else rows
    content = b"".join(exporting.export(found, chosen, columns, kind))
    if kind == "json":
        return json.loads(content)
    if kind == "csv":
        return list(csv.reader(io.StringIO(content.decode(), newline="")))
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(io.BytesIO(content)).to_pylist()


def test_csv() -> None:
    found = rows_of(of(six()), "", "csv", [0, 2])
    assert found == [
        ["id", "status", "isOptimal", "isNominal", "duration", "coreHours", "reason",
         "x", "mesh", "f", "g", "note"],
        ["1", "done", "false", "false", "10", "0.005555555555555556", "",
         "1", "fine", "3", "1", "'=A1"],
        ["3", "failed", "false", "false", "10", "0.005555555555555556",
         "A run failed: the command of analysis 1 ended with exit code 7",
         "3", "fine", "", "", ""],
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_json_and_parquet(kind: str) -> None:
    found = rows_of(of(six()), "id,isOptimal,x,mesh,f,note", kind, [1, 5, 0])
    x: list[Any] = [2.5, "nan", 1.0] if kind == "json" else ["2.5", "nan", "1"]
    assert found == [
        {"id": 2, "isOptimal": True, "x": x[0], "mesh": "coarse", "f": 5.0, "note": None},
        {"id": 6, "isOptimal": False, "x": x[1], "mesh": None, "f": None, "note": None},
        {"id": 1, "isOptimal": False, "x": x[2], "mesh": "fine", "f": 3.0, "note": "=A1"},
    ]


@pytest.mark.parametrize("kind", exporting.FORMATS)
@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1003])
def test_every_run_is_there_once(kind: str, count: int) -> None:
    study = Study(variables=(Variable(name="x"),))
    found = rows_of(of([run(n + 1, inputs={"x": n}) for n in range(count)], study), "id,x", kind)
    if kind == "csv":
        assert found == [["id", "x"], *([str(n + 1), str(n)] for n in range(count))]
    else:
        assert found == [{"id": n + 1, "x": float(n)} for n in range(count)]


def test_what_spreadsheets_take_for_formulas() -> None:
    told = {"=a": "=1+1", "b": "+1", "c": "-5", "d": "-x", "e": "@SUM(A1)", "f": "\tx", "g": "\rx",
            "h": "-1.5e3", "i": "a=b", "j": 'say "=", or', "k": "-inf"}  # fmt: skip
    outputs = Outputs(values=tuple(value(name, text) for name, text in told.items()))
    plain = Study(variables=(Variable(name="x"),))
    found = of([run(1)], plain)
    results._Reading(found, 50).take(found.outputs, 0, outputs.values)
    names, cells = rows_of(found, ",".join(told), "csv")
    assert names[0] == "'=a"
    assert cells == [
        "'=1+1", "1", "-5", "'-x", "'@SUM(A1)", "'\tx", "'\rx", "-1500", "a=b", 'say "=", or',
        "'-inf",
    ]  # fmt: skip


@given(st.text(max_size=20))
def test_no_cell_is_a_formula(text: str) -> None:
    cell = exporting._cell(text)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r") or number_of(cell) is not None
    assert cell.removeprefix("'") == text.removeprefix("'") or cell == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_from_a_file(number: float) -> None:
    assert float(exporting.number_text(number)) == number


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(exporting.importlib, "import_module", missing)
    with pytest.raises(Refused, match=r"pip install 'simyard\[parquet\]'"):
        exporting.export(of(six()), range(6), "", "parquet")


# --- differences ----------------------------------------------------------------------------------


def test_unified_differences() -> None:
    a = [f"line {n}" for n in range(30)]
    b = list(a)
    b[2], b[9], b[20], b[21] = "two", "nine", "x", "y"
    found = list(comparing.unified(a, b, "one", "other"))
    assert found == list(difflib.unified_diff(a, b, "one", "other", lineterm=""))
    assert list(comparing.unified(a, a, "one", "other")) == []
    longer = [*a[:5], "more", *a[5:]]
    assert list(comparing.unified(a, longer, "one", "other")) == list(
        difflib.unified_diff(a, longer, "one", "other", lineterm="")
    )


_lines = st.lists(st.sampled_from("abc"), max_size=25)


@given(_lines, _lines)
def test_a_difference_leads_from_the_one_to_the_other(a: list[str], b: list[str]) -> None:
    found = list(comparing.unified(a, b, "one", "other"))
    assert bool(found) is (a != b)
    made, at = [], 0
    for line in found[2:]:
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            first = int(start) - (1 if int(count) else 0)
            made += a[at:first]
            at = first
        elif line[0] == "+":
            made.append(line[1:])
        else:
            assert a[at] == line[1:]
            at += 1
            made += [line[1:]] if line[0] == " " else []
    assert [*made, *a[at:]] == b


def test_pairs() -> None:
    one, other = (
        values({"x": "1.50", "m": "a", "gone": 1}),
        values({"x": "1.5", "m": "b", "new": 2}),
    )
    found = {pair.name: (pair.is_same, pair.difference) for pair in comparing._pairs(one, other)}
    assert found == {
        "x": (True, 0.0), "m": (False, None), "gone": (False, None), "new": (False, None)
    }  # fmt: skip


def test_what_is_kept_is_the_study_as_it_is_and_not_as_it_was_when_it_was_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its budget may be another by the time that its runs are read."""

    def job(study: Study) -> Any:
        return SimpleNamespace(id=1, code="abc", definition=SimpleNamespace(study=study))

    there = [job(STUDY)]

    def stamp(*_: object) -> str:
        there.append(job(replace(STUDY, expected_runs=4)))
        return "stamp"

    def read(_: object, job: Any) -> Results:
        return Results(study=job.definition.study, standing=Standing(job_id=1, slots=1))

    monkeypatch.setattr(results.jobs, "visible", lambda *_: there[-1])
    monkeypatch.setattr(results, "_stamp", stamp)
    monkeypatch.setattr(results, "read", read)
    db: Any = SimpleNamespace(read=lambda work, *sent: work(None, *sent))
    viewer: Any = SimpleNamespace(id=1)
    assert results.ResultsBook(db).read(viewer, "abc").study.expected_runs == 4
