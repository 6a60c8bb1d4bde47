"""Templates: what is filled, what is refused and where, and that all other bytes stay."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simyard.domain.numberformat import decimal_of
from simyard.domain.studies import Value
from simyard.domain.templates import (
    MOST_FAULTS,
    CannotRender,
    Fault,
    Use,
    nominal_defaults,
    normal_target,
    parse,
    target_problem,
)


def values(**texts: str) -> Mapping[str, Value]:
    return {name: value(name, text) for name, text in texts.items()}


def value(name: str, text: str, *, is_relative: bool = False) -> Value:
    number = decimal_of(text)
    return Value(
        name=name,
        text=text,
        number=None if number is None else float(number),
        is_relative=is_relative,
    )


def render(template: str, *, keep_unknown: bool = False, **texts: str) -> str:
    found = parse(template.encode(), keep_unknown=keep_unknown)
    assert found.faults == ()
    return found.render(values(**texts)).decode()


def faults(template: str, *, keep_unknown: bool = False) -> list[str]:
    return [str(fault) for fault in parse(template.encode(), keep_unknown=keep_unknown).faults]


def refusal(template: str, **texts: str) -> str:
    with pytest.raises(CannotRender) as caught:
        parse(template.encode()).render(values(**texts))
    assert str(caught.value) == str(caught.value.fault)
    return str(caught.value)


# --- what is filled -------------------------------------------------------------------------------


def test_the_text_of_the_row() -> None:
    template = "# ${description}\nvel: ${v}\nz: ${z}"
    assert (
        render(template, description="case 1a", v="2.2", z="3.4") == "# case 1a\nvel: 2.2\nz: 3.4"
    )
    assert render("${v} ${v}${w}", v="2.20", w="007") == "2.20 2.20007"


def test_a_velocity_of_openfoam() -> None:
    line = 'internalField uniform (${u?string("0.00")} ${v?string("0.00")} 0);'
    assert render(line, u="20", v="3.5") == "internalField uniform (20.00 3.50 0);"
    assert render("uniform (${u} ${v} 0);", u="20", v="3.5") == "uniform (20 3.5 0);"


@pytest.mark.parametrize(
    "placeholder",
    [
        '${x?string("0.00")}',
        "${x?string('0.00')}",
        '${x?string["0.00"]}',
        "${x?string['0.00']}",
        "${x?string(\u201c0.00\u201d)}",
        "${x?string(\u201d0.00\u201d)}",
        "${x?string(\u20180.00\u2019)}",
        '${ x ? string ( "0.00" ) }',
        '${\tx?string("0.00")\t}',
        '${(x)?string("0.00")}',
        '${( x ! 7 )?string("0.00")}',
        '${x?printf("%.2f")}',
    ],
)
def test_ways_to_ask_for_two_places(placeholder: str) -> None:
    assert render(f"<{placeholder}>", x="2.5") == "<2.50>"


@pytest.mark.parametrize(
    ("placeholder", "x", "expected"),
    [
        ("${x?c}", "9810.00", "9810"),
        ("${x?c}", "1.5D+02", "150"),
        ('${x?string("0.0#")}', "1.5D-02", "0.02"),
        ("${x?w(8)}", "0.333333333333", ".3333333"),
        ("${x?w( 10 )}", "7", "         7"),
        ("${x?w(8)}", "210000.", " 210000."),
        ("${x?c}", "210000.", "210000"),
        ("${x?printf('%d')}", "210000.", "210000"),
        ('${x?printf("%12.5e")}', "1234.5", " 1.23450e+03"),
        ("${x?printf('%05d')}", "42", "00042"),
        ("${x!12.3}", "7", "7"),
        ("${x?string(\"0 'm'\")}", "7", "7 m"),
        ("${x?string('0}')}", "7", "7}"),
    ],
)
def test_formats(placeholder: str, x: str, expected: str) -> None:
    assert render(placeholder, x=x) == expected


@pytest.mark.parametrize(
    ("placeholder", "expected"),
    [
        ("${x!12.30}", "12.30"),
        ("${x!-5}", "-5"),
        ("${x ! 1e-3 }", "1e-3"),
        ('${x!"no name"}', "no name"),
        ("${x!''}", ""),
        ("${(x!12.3)}", "12.3"),
        ('${(x!12.3)?string("0.00")}', "12.30"),
        ("${(x!12.30)?c}", "12.3"),
    ],
)
def test_defaults(placeholder: str, expected: str) -> None:
    assert render(placeholder) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a<#noparse>${HOME}<#if></#noparse>b${x}", "a${HOME}<#if>b1"),
        ("<#noparse>\n${HOME}\n</#noparse>\n${x}", "${HOME}\n1"),
        ("a\r\n  <#noparse>\t\r\n${y}\r\n</#noparse>", "a\r\n${y}\r\n"),
        ("a <#noparse>\n${y}</#noparse>\n", "a \n${y}\n"),
        ("<#noparse>\r${y}\r</#noparse>\rb", "${y}\rb"),
        ("<#noparse></#noparse><#noparse>${a}</#noparse>", "${a}"),
        ('${r"${"}x}', "${x}"),
        ("${r'<#if \\d'} ${x}", "<#if \\d 1"),
        ("${r}", "2"),
    ],
)
def test_literal_text(template: str, expected: str) -> None:
    assert render(template, x="1", r="2") == expected


@pytest.mark.parametrize(
    "text",
    [
        *("$x $ {x} $(x) {x} $$ #{x} #{ code #} $", "<#> <@> </#> a<#1 <@ x <# if"),
        "\\d{2} <b> <!-- --> [#if] ?string",
    ],
)
def test_what_only_looks_like_it(text: str) -> None:
    assert render(text) == text


def test_values_are_not_read_again() -> None:
    assert render("${x}", x="${y}<#if>") == "${y}<#if>"


# --- bytes ----------------------------------------------------------------------------------------


def test_a_file_that_is_not_utf_8_stays_what_it_is() -> None:
    template = parse(b"\xe4\xff\x00 ${x} \x93\r\n${y?string(\x930.0\x94)}")
    assert template.faults == ()
    assert template.render(values(x="é", y="1")) == b"\xe4\xff\x00 \xe9 \x93\r\n1.0"


def test_a_value_that_the_file_cannot_hold() -> None:
    with pytest.raises(CannotRender, match=r"1:5 '\\u03a9' in the value of 'x'.*latin-1"):
        parse(b"\xe4 \xe4 ${x}").render(values(x="5 Ω"))


@given(
    st.lists(st.binary(max_size=20).filter(lambda b: b"${" not in b and b"<" not in b), max_size=6),
    st.sampled_from([b"${x}", b'${ x?string("0") }', b"${r'7'}", b"${y!7}"]),
)
def test_all_else_is_kept_byte_for_byte(pieces: list[bytes], placeholder: bytes) -> None:
    pieces = [piece.rstrip(b"$") for piece in pieces]
    template = parse(placeholder.join(pieces))
    assert template.faults == ()
    assert template.render(values(x="7")) == b"7".join(pieces)


@given(st.text("${}x?!()[]\"'<#>/ \n\rr1.cnoparse", max_size=60), st.booleans())
def test_anything_is_read(text: str, keep: bool) -> None:
    template = parse(text.encode(), keep_unknown=keep)
    assert (template.faults == ()) or all(f.line > 0 and f.column > 0 for f in template.faults)
    if not template.faults and not template.check(["x"]):
        template.render(values(x="1"))


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${}", "1:1 ${}: this is no placeholder"),
        ("${x", "1:1 this ${ is not closed by a } on its line"),
        ("a ${x\n}", "1:3 this ${ is not closed by a } on its line"),
        ("${x + 1}", "1:1 ${x + 1}: this is no placeholder; expressions are not computed"),
        ("${x.y}", "1:1 ${x.y}: "),
        ("${x!}", "1:1 ${x!}: "),
        ("${x!y}", "1:1 ${x!y}: "),
        ("${1x}", "1:1 ${1x}: "),
        ("${é}", "1:1 ${é}: "),
        ("${x?string}", "1:1 ${x?string}: a number can be written by ${x?string("),
        ("${x?string(0.00)}", "1:1 ${x?string(0.00)}: a number can be written by"),
        ("${x?eval}", "1:1 ${x?eval}: a number can be written by"),
        ('${x?c("0")}', '1:1 ${x?c("0")}: a number can be written by'),
        ('${x?w("8")}', '1:1 ${x?w("8")}: a number can be written by'),
        ("${x?w[8]}", "1:1 ${x?w[8]}: a number can be written by"),
        ("${x?w(0)}", "1:1 a field has 1 to 100 columns, not 0"),
        ("${x?w(101)}", "1:1 a field has 1 to 100 columns, not 101"),
        ('${x?string("0.#0")}', '1:1 number pattern "0.#0": before the point'),
        ('${x?printf("%s")}', '1:1 "%s" is no conversion'),
        ('${x?string("\\"0")}', "1:1 "),
        ('${x!"${y}"}', "1:1 "),
        ('${x!12.3?string("0.0")}', "1:1 a default with a format needs parentheses: (x!12.3)?str"),
        ('${x?string("0.0")!12.3}', '1:1 ${x?string("0.0")!12.3}: this is no placeholder'),
        ('${x?string("0")?c}', "1:1 "),
        ("${(x}", "1:1 ${(x}: "),
        ("${x)}", "1:1 ${x)}: "),
        ("é <#if x>", "1:3 <#if x: of the directives only <#noparse> is supported"),
        ("\n\n</#if>", "3:1 </#if: of the directives"),
        ('<#include "/etc/passwd">', '1:1 <#include "/etc/passwd": of the directives'),
        ("<@macro/>", "1:1 <@macro/: of the directives"),
        ("<#-- note -->", "1:1 <#-- note --: of the directives"),
        ("x </#noparse>", "1:3 there is no <#noparse> before this </#noparse>"),
        ("<#noparse>${", "1:1 this <#noparse> is not closed"),
    ],
)
def test_what_is_refused(template: str, expected: str) -> None:
    (found,) = faults(template)
    assert found.startswith(expected)
    assert refusal(template, x="1") == found, "what has faults is not rendered"


def test_all_faults_at_once_with_their_places() -> None:
    template = '\ufeff${a b}\r\n\r\n x${x}${x?foo}\r${x?string("")}\n<#if>'
    assert [(f.line, f.column) for f in parse(template.encode()).faults] == [
        (1, 1),
        (3, 7),
        (4, 1),
        (5, 1),
    ]


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("Xveloctiy", ["Xvelocity", "y"], " (did you mean Xvelocity?)"),
        ("VEL", ["vel", "VELO"], " (there is vel: upper and lower case differ)"),
        ("zzz", ["vel"], ""),
        ("zzz", [], ""),
    ],
)
def test_unknown_names(name: str, names: list[str], expected: str) -> None:
    template = parse(b"\n" * 18 + b" " * 30 + b"${%s}" % name.encode())
    assert [str(fault) for fault in template.check(names)] == [
        f'19:31 unknown variable "{name}"{expected}'
    ]


def test_a_check_tells_of_all_in_order() -> None:
    template = parse(b"${b} ${a+} ${x} ${b?c}\n${c!1} ${a}")
    assert [(f.line, f.column) for f in template.check({"x"})] == [(1, 1), (1, 6), (1, 17), (2, 8)]
    assert template.check({"x", "a", "b"}) == list(template.faults)


def test_where_variables_are_used() -> None:
    template = parse(b"${b} ${x!2}\n${(x!'a')?c} <#noparse>${z}</#noparse>")
    assert template.uses == {"b": (Use(1, 1, None),), "x": (Use(1, 6, "2"), Use(2, 1, "a"))}


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        ('1 ${x?string("0")}', "case 1a", '1:3 ?string needs a number, and "x" is "case 1a"'),
        ("${x?c}", "nan", '1:1 ?c needs a number, and "x" is "nan"'),
        ("${x?w(8)}", "-inf", '1:1 ?w needs a number, and "x" is "-inf"'),
        ('${x?printf("%g")}', "1e999999999", "1:1 ?printf needs a number"),
        ("${x?w(2)}", "-123", '1:1 "x": -123 does not fit into 2 columns'),
        ('${x?printf("%d")}', "0.5", '1:1 "x": %d needs a whole number, not 0.5'),
        ("${y}", "1", '1:1 there is no value for "y"'),
    ],
)
def test_values_that_do_not_go_with_it(template: str, text: str, expected: str) -> None:
    assert refusal(template, x=text).startswith(expected)


def test_a_text_that_is_no_number_can_be_inserted() -> None:
    assert render("${x}", x="nan") == "nan"


# --- scripts --------------------------------------------------------------------------------------


def test_a_shell_script_keeps_what_is_its_own() -> None:
    script = "#!/bin/sh\ncd ${HOME:-/tmp}/${USER}\n${x?not set} ${#a[@]} ${ x }\n${z!3} ${x}"
    assert render(script, keep_unknown=True, x="5") == (
        "#!/bin/sh\ncd ${HOME:-/tmp}/${USER}\n${x?not set} ${#a[@]} 5\n3 5"
    )
    template = parse(script.encode(), keep_unknown=True)
    assert template.check([]) == []
    assert "${ x }" in template.render({}).decode()


def test_what_is_meant_as_ours_is_a_fault_in_a_script_too() -> None:
    (fault,) = faults('${HOME} ${x?string("0.#0")}', keep_unknown=True)
    assert fault.startswith('1:9 number pattern "0.#0"')


# --- defaults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("placeholder", "step", "how", "expected"),
    [
        ("${v!12.3}", "0.5", "add", b"12.8"),
        ("${v!12.3}", "1.1", "factor", b"13.53"),
        ("${v!12.3}", "-12.3", "add", b"0"),
        ('${(v!"12.3")?string("0.000")}', "1.1", "factor", b"13.530"),
        ("${v!1.5D2}", "1e-1", "add", b"150.1"),
    ],
)
def test_relative_values(placeholder: str, step: str, how: str, expected: bytes) -> None:
    template = parse(placeholder.encode())
    assert template.render({"v": value("v", step, is_relative=True)}, {"v": how}) == expected


def test_a_field_of_a_real_variable_has_a_point_in_every_run() -> None:
    template = parse(b"${x?w(4)}|${x}")
    assert template.render(values(x="1"), reals={"x"}) == b"  1.|1"
    assert template.render(values(x="1"), reals={"y"}) == b"   1|1"


@pytest.mark.parametrize(
    ("default", "step", "how", "reals", "expected"),
    [
        ("200.", "2", "factor", (), b"  400."),
        ("200", "2", "factor", (), b"   400"),
        ("200", "2", "factor", ("v",), b"  400."),
        ("200", "1.0", "add", (), b"  201."),
        ("7E4", "1E-4", "factor", (), b"    7."),
    ],
)
def test_a_field_of_a_relative_value(
    default: str, step: str, how: str, reals: tuple[str, ...], expected: bytes
) -> None:
    template = parse(f"${{(v!{default})?w(6)}}".encode())
    moved = {"v": value("v", step, is_relative=True)}
    assert template.render(moved, {"v": how}, reals) == expected


def test_a_relative_value_goes_with_each_default() -> None:
    template = parse(b"${v!1} ${v!2} ${v!1}")
    assert template.render({"v": value("v", "10", is_relative=True)}, {"v": "add"}) == b"11 12 11"


@pytest.mark.parametrize(
    ("placeholder", "step", "how", "expected"),
    [
        ("${v}", "1", {"v": "add"}, '"v" is relative to a default, and there is none here'),
        ("${v!'a'}", "1", {"v": "add"}, '"v" is relative to a default, and "a" is no number'),
        ("${v!1}", "nan", {"v": "add"}, '"v" is relative to a default, and "nan" is no number'),
        ("${v!1}", "1", {}, 'by "add" or "factor", not None'),
        ("${v!1}", "1", {"v": "power"}, 'by "add" or "factor", not \'power\''),
        ("${v!1e300}", "1e300", {"v": "factor"}, "a number that no program can read"),
        ("${v!1e-300}", "1e-300", {"v": "factor"}, "a number that no program can read"),
    ],
)
def test_what_no_relative_value_can_do(
    placeholder: str, step: str, how: dict[str, str], expected: str
) -> None:
    with pytest.raises(CannotRender) as caught:
        parse(placeholder.encode()).render({"v": value("v", step, is_relative=True)}, how)
    assert expected in str(caught.value)


def test_defaults_of_a_nominal_run() -> None:
    templates = [parse(b"${x!1.50} ${y!1} ${z} ${w!2} ${t!'a'}"), parse(b"${x!1.5} ${y!2} ${w}")]
    assert nominal_defaults(templates) == {"x": "1.50", "w": "2", "t": "a"}
    assert nominal_defaults([]) == {}


# --- limits ---------------------------------------------------------------------------------------


def test_a_template_that_is_too_large() -> None:
    template = parse(b"${x}" + b" " * 3 * 2**20, most_bytes=2**20)
    assert template.faults == (Fault(1, 1, "a template has at most 1 MiB"),)
    assert template.check(["x"]) == list(template.faults)


def test_a_result_that_is_too_large() -> None:
    template = parse(b"${x}" * 70)
    with pytest.raises(CannotRender, match="more than 64 MiB"):
        template.render(values(x="a" * 2**20))


def test_hostile_templates_are_read_in_one_pass() -> None:
    """Each would take minutes if what follows were looked at again and again."""
    size = 200_000
    for text in ("${", "${ ", "${x!'", '${r"', "${" + "(" * 50, "<#noparse>", "</#noparse>", "${a"):
        found = parse((text * size).encode())
        assert 1 <= len(found.faults) <= MOST_FAULTS
    assert parse(("${" + " " * size).encode()).faults
    assert parse(("${x!" + "1" * size + "}").encode()).check(["x"]) == []
    assert (
        parse(("${x" * size).encode(), keep_unknown=True)
        .faults[-1]
        .message.startswith("a template has at most 100000 placeholders")
    )
    names = [f"name{n:036d}" for n in range(2000)]
    unknown = "".join(f"${{eman{n:036d}}}" for n in range(2000)).encode()
    assert len(parse(unknown).check(names)) == MOST_FAULTS


# --- targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("airfoil2D_DOE/0/U", "airfoil2D_DOE/0/U"),
        ("run_fmm", "run_fmm"),
        ("./0//U", "0/U"),
        ("a b/ü.in", "a b/ü.in"),
        ("..a/b..", "..a/b.."),
        ("sub/process_output.log", "sub/process_output.log"),
        ("é" * 127, "é" * 127),
    ],
)
def test_targets(path: str, normal: str) -> None:
    assert target_problem(path) is None
    assert normal_target(path) == normal


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "must be a path"),
        ("  ", "must be a path"),
        ("/etc/passwd", "must be relative"),
        ("../x", '".."'),
        ("a/../b", '".."'),
        ("a/..", '".."'),
        (".", "a file, not a folder"),
        ("a/", "a file, not a folder"),
        ("a/.", "a file, not a folder"),
        ("a\0b", "a character"),
        ("a\nb", "a character"),
        ("\ud800", "a character"),
        ("a\\b", 'parted by "/"'),
        ("é" * 128, "more than 255 bytes"),
        ("a/" * 2047 + "bc", "more than 4095 bytes"),
        ("./process_output.log", "written by the platform"),
    ],
)
def test_targets_that_are_refused(path: str, reason: str) -> None:
    assert reason in str(target_problem(path))
