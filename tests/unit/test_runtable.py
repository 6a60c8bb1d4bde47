"""Run-definition CSV: what is read, what is kept, and what is said about what is wrong."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain import runtable
from simyard.domain.runtable import BadTable, RunTable, read, value


def faults(content: bytes, **limits: int) -> list[str]:
    with pytest.raises(BadTable) as error:
        read(content, **limits)
    assert str(error.value) == "; ".join(error.value.faults)
    return error.value.faults


# --- the table of the studies reference, section 2 ------------------------------------------------


@pytest.mark.parametrize(
    ("text", "runs", "first"),
    [
        ("a,b\n1,2\n3,4", 2, {"a": ("1", 1.0), "b": ("2", 2.0)}),
        ("a, b\n1, 2.50", 1, {"a": ("1", 1.0), "b": ("2.50", 2.5)}),
        ("a\n1\n\n2\n", 2, {"a": ("1", 1.0)}),
        ('d,v\n"x, y",1e-3', 1, {"d": ("x, y", None), "v": ("1e-3", 0.001)}),
        ("v\n1.5D+02", 1, {"v": ("1.5D+02", 150.0)}),
        (
            "description, v, z\ncase 1a, 2.2, 3.4",
            1,
            {"description": ("case 1a", None), "v": ("2.2", 2.2), "z": ("3.4", 3.4)},
        ),
    ],
)
def test_what_is_read(text: str, runs: int, first: dict[str, tuple[str, float | None]]) -> None:
    table = read(text.encode())
    assert len(table.rows) == runs
    values = [value(n, t) for n, t in zip(table.names, table.rows[0], strict=True)]
    assert {v.name: (v.text, v.number) for v in values} == first
    assert table.notices == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1", ["line 2: 1 value for 2 columns"]),
        ("a\n1,2\n", ["line 2: 2 values for 1 column"]),
        ("a,a\n1,2", ['line 1: the name "a" is there twice']),
        ("a", ["there is no row of values under the names"]),
        ("", ["the file is empty"]),
        ("\ufeff \n\n", ["the file is empty"]),
        ("a,b\n1\n1,2\n1,2,3", ["line 2: 1 value for 2 columns", "line 4: 3 values for 2 columns"]),
        ('a,b\n1,2\n"x,3\n4,5\n', ["line 3: a quote is opened and not closed"]),
        ('"a,b\n1,2', ["line 1: a quote is opened and not closed"]),
        ('a,b\n"1\n2",3\n4\n', ["line 4: 1 value for 2 columns"]),
    ],
)
def test_what_is_wrong(text: str, expected: list[str]) -> None:
    assert faults(text.encode()) == expected


def test_names() -> None:
    found = faults(b"x velocity,2a,_ok,,a-b\n1,2,3,4\n")
    assert [f.partition(" cannot")[0] for f in found[:4]] == [
        'line 1: "x velocity"',
        'line 1: "2a"',
        'line 1: ""',
        'line 1: "a-b"',
    ]
    assert found[4:] == ["line 2: 4 values for 5 columns"], "all faults at once"
    assert not runtable.is_name("ä") and not runtable.is_name("a\n")
    assert not runtable.is_name("a" * 101)


def test_many_faults_are_counted() -> None:
    found = faults(b"a,b\n" + b"1\n" * 1000)
    assert len(found) == 21
    assert found[19] == "line 21: 1 value for 2 columns"
    assert found[20] == "and 980 more"


# --- what files of other programs look like -------------------------------------------------------

SAME = RunTable(names=("a", "b"), rows=[("1", "x y"), ("2", "")])


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x y\n2,\n",
        b"\xef\xbb\xbfa,b\r\n1,x y\r\n2,\r\n",
        b"a,b\r1,x y\r2,",
        b"a;b\n1;x y\n2;\n",
        b"a\tb\n1\tx y\n2\t\n",
        b"\n  \na , b,\n1,x y,\n2,\n",
        b'"a","b"\n"1" , "x y" \n2,""\n',
    ],
    ids=["lf", "bom-crlf", "cr", "semicolon", "tab", "trailing-comma", "quotes"],
)
def test_other_forms_of_the_same_table(content: bytes) -> None:
    assert read(content) == SAME


def test_a_comma_in_the_header_decides() -> None:
    assert read(b"a,b\n1;2,3\n").rows == [("1;2", "3")]
    assert faults(b"a,b;c\n1,2\n")[0].startswith('line 1: "b;c" cannot')


def test_duplicates_are_runs_of_their_own() -> None:
    assert read(b"a\n1\n1\n1\n").rows == [("1",)] * 3


def test_quoted_line_breaks_are_kept() -> None:
    assert read(b'a,b\n"1\r\n2",3\n').rows == [("1\r\n2", "3")]


def test_a_file_that_is_not_utf8() -> None:
    table = read("a,b\ngroß,1\n".encode("cp1252"))
    assert table.rows == [("groß", "1")]
    assert table.notices == ("the file is not UTF-8; it was read as Windows-1252",)
    assert faults(b"a\n\x81\n") == ["the text is neither UTF-8 nor Windows-1252"]
    assert "NUL" in faults("a,b\n1,2\n".encode("utf-16"))[0]


def test_rows_without_values_are_left_out_and_it_is_said() -> None:
    table = read(b"a,b\n1,2\n,\n , \n")
    assert table.rows == [("1", "2")]
    assert table.notices == ("2 lines without any value left out",)


def test_decimal_commas_are_pointed_out_once() -> None:
    table = read(b"a;b\n1;2,5\n2;3,5\n")
    assert table.rows[0] == ("1", "2,5")
    assert table.notices == ('line 2: "2,5" is kept as text; a number has a point',)


# --- limits ---------------------------------------------------------------------------------------


def test_limits() -> None:
    assert faults(b"a\n1\n", most_bytes=3) == ["the file has 4 bytes; at most 3 are allowed"]
    assert len(read(b"a\n1\n2\n", most_rows=2).rows) == 2
    found = faults(b"a\n1\n2\n3\n4\n", most_rows=2)
    assert found == ["line 4: more than 2 rows; the rest was not looked at"]
    found = faults(b"a,b\n1,2\n\n,\n\n3\n", most_rows=2)
    assert found == ["line 5: more than 2 empty lines; the rest was not looked at"]
    assert faults(b"\n\n\n\na\n1\n", most_rows=2) == ["line 3: there are only empty lines so far"]
    found = faults(b"a,b\n1\n" + b"1,2\n" * 9, most_rows=2)
    assert found[1] == "line 4: more than 2 rows; the rest was not looked at"


def test_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtable, "_MOST_CELLS", 6)
    assert len(read(b"a,b\n1,2\n1,2\n1,2\n").rows) == 3
    assert "more than 6 cells" in faults(b"a,b\n1,2\n1,2\n1,2\n1,2\n")[0]


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n" + b"," * 2_000_000,
        b'a,b\n1,"' + b"x" * 200_000 + b'"\n',
        b'a,b\n1,2\n"' + b"1,2\n" * 100_000,
        b"a,b\n" + b',"\n"' * 400_000,
        b"a," * 600_000,
    ],
)
def test_a_record_is_bounded(content: bytes) -> None:
    [fault] = faults(content)
    assert "too long" in fault and fault.startswith("line ")


def test_many_columns() -> None:
    names = ",".join(f"v{i}" for i in range(1001))
    assert faults(names.encode()) == ["line 1: 1001 columns; at most 1000 are allowed"]


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("20", 20.0),
        ("2.20", 2.2),
        ("007", 7.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("+1e3", 1000.0),
        ("1d-2", 0.01),
        ("nan", None),
        ("inf", None),
        ("1e999999999", None),
        ("1_000", None),
        ("0x10", None),
        ("٣", None),
        ("1,5", None),
        ("", None),
        ("9" * 100_000, None),
    ],
)
def test_values(text: str, number: float | None) -> None:
    found = value("v", text)
    assert (found.name, found.text, found.number) == ("v", text, number)
    assert found.is_relative is False


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(
    rows=st.lists(
        st.tuples(CELLS, CELLS, CELLS).filter(lambda row: any(cell.strip() for cell in row)),
        min_size=1,
        max_size=8,
    ),
    ends=st.sampled_from(["\n", "\r\n"]),
    delimiter=st.sampled_from(",;\t"),
)
def test_what_a_writer_of_csv_writes_is_read_back(
    rows: list[tuple[str, ...]], ends: str, delimiter: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=ends, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b", "c"), *rows])
    table = read(out.getvalue().encode())
    assert table.names == ("a", "b", "c")
    assert table.rows == [tuple(cell.strip() for cell in row) for row in rows]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_fault(content: bytes) -> None:
    try:
        table = read(b"a,b\n" + content)
    except BadTable as error:
        assert error.faults
    else:
        assert table.rows and all(len(row) == 2 for row in table.rows)
