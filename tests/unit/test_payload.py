"""The shell driver that runs the steps of an attempt, by itself."""

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from simyard.engines.payload import DRIVER, Record, read_record, write_scripts
from simyard.engines.protocol import Step


def drive(folder: Path, *steps: Step) -> tuple[int, str, Record]:
    """Run steps; returns the exit status, what they said, and the driver's record."""
    write_scripts(folder / "scripts", steps, {})
    (folder / "driver").write_text(DRIVER)
    (folder / "home" / "work").mkdir(parents=True)
    with open(folder / "log", "ab") as log:
        done = subprocess.run(
            ["sh", "-c", 'exec 9>>steps; exec sh "$@"', "-", "driver", f"{folder}/scripts", "0"],
            cwd=folder,
            env={"HOME": str(folder / "home"), "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
    return done.returncode, (folder / "log").read_text(), read_record(folder / "steps")


def step(command: str, **env: str) -> Step:
    return Step(label="a step", command=command, env=env)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_steps_run_in_order_in_the_work_folder(tmp_path: Path) -> None:
    steps = [step("pwd; echo $A; cd /; A=lost", A="one"), step("basename $PWD; echo ${A-none}")]
    status, said, record = drive(tmp_path, *steps)
    assert said == f"{tmp_path}/home/work\none\nwork\nnone\n"
    assert (status, record) == (0, Record(began=True, failed_step=None, failures={}, exit_code=0))


def test_a_step_that_fails_is_the_last(tmp_path: Path) -> None:
    status, said, record = drive(tmp_path, step("echo a"), step("exit 7"), step("echo never"))
    assert (status, said) == (7, "a\n")
    assert record == Record(began=True, failed_step=1, failures={1: 7}, exit_code=7)


@pytest.mark.parametrize("name", ["n", "scripts", "code", "own_pids", "stopping", "HOME"])
def test_variables_of_users_are_not_the_drivers(tmp_path: Path, name: str) -> None:
    """Whatever a variable is called, it reaches the command, and the steps go on."""
    steps = [step(f'echo "${name}"', **{name: "/1"}), step("echo next")]
    status, said, record = drive(tmp_path, *steps)
    assert (status, said) == (0, "/1\nnext\n")
    assert record.failed_step is None


@pytest.mark.parametrize(
    "value", ["", " a  b ", "'", '"', "$(touch x) `touch x` $HOME", "a\nb", "\\", "*", "!", "ä"]
)
def test_values_are_passed_as_they_are(tmp_path: Path, value: str) -> None:
    _, said, _ = drive(tmp_path, step('printf %s "$A"; [ ! -e x ]', A=value))
    assert said == value


def test_commands_from_windows(tmp_path: Path) -> None:
    status, said, _ = drive(tmp_path, step("if true\r\nthen\r\n  echo yes\r\nfi\r\n"))
    assert (status, said) == (0, "yes\n")


def test_what_a_step_leaves_behind_keeps_nobody(tmp_path: Path) -> None:
    """The record is the driver's alone."""
    status, said, _ = drive(tmp_path, step("echo forged >&9"))
    assert status != 0 and "9" in said
    assert "forged" not in (tmp_path / "steps").read_text()


@pytest.mark.parametrize(
    ("content", "record"),
    [
        (None, Record(began=False, failed_step=None, failures={}, exit_code=None)),
        (b"", Record(began=False, failed_step=None, failures={}, exit_code=None)),
        (b"begin 0\n", Record(began=True, failed_step=None, failures={}, exit_code=None)),
        (
            b"begin 0\nend 0 0\nbegin 1\n",
            Record(began=True, failed_step=None, failures={}, exit_code=None),
        ),
        (
            b"begin 0\nend 0 3\nexit 3\n",
            Record(began=True, failed_step=0, failures={0: 3}, exit_code=3),
        ),
        (
            b"begin 0\nend 0 3\nex",
            Record(began=True, failed_step=0, failures={0: 3}, exit_code=None),
        ),
        (
            b"\xff\n\nbegin\nexit\n",
            Record(began=True, failed_step=None, failures={}, exit_code=None),
        ),
    ],
)
def test_a_record_also_where_it_was_cut_off(
    tmp_path: Path, content: bytes | None, record: Record
) -> None:
    if content is not None:
        (tmp_path / "steps").write_bytes(content)
    assert read_record(tmp_path / "steps") == record


@pytest.mark.parametrize(
    "line", [b"end a b", b"exit x", b"exit -1", b"exit 1 2", b"aside 1", b"aside 1 x", b"end 0"]
)
def test_lines_that_the_driver_does_not_write_are_passed_over(tmp_path: Path, line: bytes) -> None:
    """A run of a server that is not root may write there: it must not be the worker's end."""
    (tmp_path / "steps").write_bytes(b"begin 0\n" + line + b"\nend 0 3\nexit 3\n" + line + b"\n")
    wanted = Record(began=True, failed_step=0, failures={0: 3}, exit_code=3)
    assert read_record(tmp_path / "steps") == wanted


def test_what_a_lenient_step_writes_is_told_apart(tmp_path: Path) -> None:
    """Both its outputs, wherever they stand in the log."""
    status, said, record = drive(
        tmp_path,
        step("printf 'not a whole line'"),
        dataclasses.replace(
            step("echo told; echo error >&2; exit 3"), is_told=True, is_lenient=True
        ),
        step("echo after"),
        dataclasses.replace(step("true"), is_lenient=True),
    )
    assert (status, said) == (0, "not a whole lineerror\ntold\nafter\n")
    assert record.failures == {1: 3} and record.exit_code == 0
    assert [said[first:last] for first, last in record.asides] == ["error\ntold\n", ""]
