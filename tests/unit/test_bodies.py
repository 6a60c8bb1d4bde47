"""Bodies as clients write them, ranges of downloads, pages of lists."""

import json
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from starlette.requests import Request

from coroutines import finished
from simyard.api import bodies, downloads, errors, paging
from simyard.api.bodies import Body, CodeText, Count, EmptyIsNull, LooseText, NoFlag, Whole, needed
from simyard.api.downloads import asked_range
from simyard.api.paging import Page
from simyard.domain.errors import Invalid, NotFound, Problem, TooLarge
from simyard.domain.lists import Found


class Wheel(Body):
    wheel_size: Count = Field(1, json_schema_extra={"needed": True})
    is_spare: bool = False


class Engine(Body):
    code: LooseText = needed("")
    fuel_type: CodeText = "petrol"


class Car(Body):
    name: LooseText = needed("")
    engine: Engine = needed(Engine())
    wheels: list[Wheel] = needed([])
    extra_wheels: Annotated[list[Wheel] | None, EmptyIsNull] = None
    max_speed: Annotated[Whole | None, EmptyIsNull] = None
    gears: Annotated[list[Annotated[int, Field(ge=1, lt=10), NoFlag]] | None, EmptyIsNull] = None
    labels: dict[str, LooseText] = Field(default_factory=dict)


GOOD: dict[str, Any] = {
    "name": "Mini",
    "engine": {"code": "A"},
    "wheels": [{"wheelSize": 10}, {"wheelSize": 11}],
}


def read(sent: Any) -> tuple[Car, dict[tuple[str | int, ...], str]]:
    body, problems = bodies.read(Car, sent)
    told = {problem.path: problem.message for problem in problems}
    assert len(told) == len(problems), "nothing is told twice"
    return body, told


# --- what is taken --------------------------------------------------------------------------------


def test_a_good_body() -> None:
    body, told = read(GOOD)
    assert told == {}
    assert (body.name, body.engine.code, [w.wheel_size for w in body.wheels]) == (
        "Mini",
        "A",
        [10, 11],
    )


def test_both_spellings_of_a_name() -> None:
    for speed, size in (("maxSpeed", "wheelSize"), ("max_speed", "wheel_size")):
        body, told = read({**GOOD, speed: 90, "wheels": [{size: 3}]})
        assert told == {} and body.max_speed == 90 and body.wheels[0].wheel_size == 3


def test_numbers_and_booleans_as_text_and_text_as_numbers() -> None:
    wheels = [{"wheelSize": "10", "isSpare": "true"}, {"wheelSize": 11.0, "isSpare": 0}]
    body, told = read({**GOOD, "name": 5, "wheels": wheels, "maxSpeed": "90"})
    assert told == {}
    assert body.name == "5" and body.max_speed == 90
    assert [(w.wheel_size, w.is_spare) for w in body.wheels] == [(10, True), (11, False)]


def test_nothing_may_be_written_as_an_empty_text() -> None:
    body, told = read({**GOOD, "maxSpeed": "", "extraWheels": ""})
    assert told == {} and body.max_speed is None and body.extra_wheels is None


def test_a_code_may_stand_in_an_object() -> None:
    for fuel in ("diesel", {"code": "diesel", "name": "Diesel"}):
        body, told = read({**GOOD, "engine": {"code": 1.5, "fuelType": fuel}})
        assert told == {} and (body.engine.fuel_type, body.engine.code) == ("diesel", "1.5")


def test_what_nobody_knows_is_passed_over() -> None:
    body, told = read({**GOOD, "colour": "red", "engine": {"code": "A", "x": [1, {"y": 2}]}})
    assert told == {} and body.engine.code == "A"


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [[], [GOOD], "x", 5, None, True])
def test_what_is_no_object(sent: Any) -> None:
    with pytest.raises(Invalid) as caught:
        read(sent)
    (problem,) = caught.value.problems
    assert problem.path == ()
    assert problem.message == (
        f"Invalid data. Expected a dictionary, but got {type(sent).__name__}."
    )


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"name": None}, ("name",), "This field may not be null."),
        ({"name": ["x"]}, ("name",), "Not a valid string."),
        ({"name": True}, ("name",), "Not a valid string."),
        ({"maxSpeed": "fast"}, ("maxSpeed",), "A valid integer is required."),
        ({"maxSpeed": 1.5}, ("maxSpeed",), "A valid integer is required."),
        ({"maxSpeed": "9" * 5000}, ("maxSpeed",), "A valid integer is required."),
        ({"maxSpeed": {}}, ("maxSpeed",), "A valid integer is required."),
        ({"max_speed": "fast"}, ("maxSpeed",), "A valid integer is required."),
        ({"max_speed": True}, ("maxSpeed",), "A valid integer is required."),
        ({"wheels": [{"wheelSize": False}]}, ("wheels", 0, "wheelSize"), "A valid integer"),
        ({"gears": ["a"]}, ("gears", 0), "A valid integer is required."),
        ({"gears": [1, True, 2]}, ("gears", 1), "A valid integer is required."),
        ({"gears": [1, 0]}, ("gears", 1), "Ensure this value is greater than or equal to 1."),
        ({"gears": "four"}, ("gears",), 'Expected a list of items but got type "str".'),
        ({"wheels": [{"wheel_size": "x"}]}, ("wheels", 0, "wheelSize"), "A valid integer"),
        ({"labels": {"max_speed": []}}, ("labels", "max_speed"), "Not a valid string."),
        ({"wheels": [{"wheelSize": None}]}, ("wheels", 0, "wheelSize"), "may not be null"),
        (
            {"wheels": [{"wheelSize": 0}]},
            ("wheels", 0, "wheelSize"),
            "Ensure this value is greater than or equal to 1.",
        ),
        (
            {"wheels": [{"wheelSize": 1, "isSpare": "perhaps"}]},
            ("wheels", 0, "isSpare"),
            "Must be a valid boolean.",
        ),
        ({"wheels": "four"}, ("wheels",), 'Expected a list of items but got type "str".'),
        ({"wheels": {"0": {}}}, ("wheels",), 'Expected a list of items but got type "dict".'),
        (
            {"wheels": [{"wheelSize": 1}, "round"]},
            ("wheels", 1),
            "Invalid data. Expected a dictionary, but got str.",
        ),
        ({"engine": []}, ("engine",), "Invalid data. Expected a dictionary, but got list."),
        ({"engine": {}}, ("engine", "code"), "This field is required."),
        ({"engine": {"code": {}}}, ("engine", "code"), "Not a valid string."),
        ({"labels": []}, ("labels",), 'Expected a dictionary of items but got type "list".'),
        ({"labels": {"a": []}}, ("labels", "a"), "Not a valid string."),
        ({"extraWheels": [{}]}, ("extraWheels", 0, "wheelSize"), "This field is required."),
    ],
)
def test_one_wrong_value(
    changes: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    _, told = read({**GOOD, **changes})
    assert list(told) == [path]
    assert message in told[path]


def test_an_empty_body_lacks_what_is_needed() -> None:
    _, told = read({})
    assert told == {
        ("name",): "This field is required.",
        ("engine",): "This field is required.",
        ("wheels",): "This field is required.",
    }


def test_everything_wrong_is_told_and_the_rest_is_read() -> None:
    sent = {
        "engine": {"code": [], "fuelType": "gas"},
        "wheels": [{"wheelSize": "x", "is_spare": "no idea"}, {"wheel_size": 5}, 7, {}],
        "max_speed": "fast",
        "labels": {"good": 1, "bad": [1]},
    }
    body, told = read(sent)
    assert set(told) == {
        ("name",),
        ("engine", "code"),
        ("wheels", 0, "wheelSize"),
        ("wheels", 0, "isSpare"),
        ("wheels", 2),
        ("wheels", 3, "wheelSize"),
        ("maxSpeed",),
        ("labels", "bad"),
    }
    assert body.engine.fuel_type == "gas"
    assert [w.wheel_size for w in body.wheels] == [1, 5, 1, 1], "each at its place"
    assert body.labels == {"good": "1"}


def test_wrong_numbers_of_a_list_are_told_once_and_the_others_are_read() -> None:
    sent = {**GOOD, "gears": ["a", 1, [], None, 5, 0, "7"], "wheels": [5, {}]}
    body, told = read(sent)
    assert set(told) == {
        *(("gears", n) for n in (0, 2, 3, 5)),
        ("wheels", 0),
        ("wheels", 1, "wheelSize"),
    }
    assert body.gears == [1, 5, 7]


@pytest.mark.parametrize("key", ["a[0]", "[", "function-x", "0", "", "wheels", "max_speed", "Ä"])
def test_keys_of_any_kind(key: str) -> None:
    body, told = read({**GOOD, "labels": {key: ["bad"], "good": "1"}, key + "?": 1})
    ((path, _),) = told.items()
    assert path[0] == "labels"
    assert body.name == "Mini" and body.labels in ({}, {"good": "1"})


JSON: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 0, -1, 1.5, 1e400, 10**40, "", "x", "5", "true", "\0", "ä[0]"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["code", "wheelSize", "is_spare", "["]), inner)
    ),
    max_leaves=4,
)
FIELDS = st.sampled_from(
    ["name", "engine", "wheels", "extra_wheels", "maxSpeed", "gears", "labels", "code"]
)


@given(st.dictionaries(FIELDS, JSON))
def test_whatever_is_sent_is_read_or_refused(sent: dict[str, Any]) -> None:
    body, told = read(sent)
    assert isinstance(body, Car)
    for path in told:
        assert path and path[0] in {
            "name",
            "engine",
            "wheels",
            "extraWheels",
            "maxSpeed",
            "gears",
            "labels",
        }


def test_what_was_told_is_not_told_again() -> None:
    reported = [Problem(("wheels", 1), "x"), Problem(("name",), "x")]
    for path, is_covered in (
        (("wheels", 1), True),
        (("wheels", 1, "wheelSize"), True),
        (("wheels",), True),
        (("wheels", 2), False),
        (("names",), False),
        (("engine", "name"), False),
    ):
        assert (not bodies.uncovered([Problem(path, "y")], reported)) is is_covered, path


# --- the tree of what is wrong --------------------------------------------------------------------


def tree(*paths: tuple[str | int, ...], **lengths: int) -> Any:
    problems = [Problem(path, f"bad {n}") for n, path in enumerate(paths)]
    return errors.tree(Invalid(problems, {(name,): n for name, n in lengths.items()}))


def test_problems_become_the_tree_of_the_fields() -> None:
    assert tree(("name",), ("engine", "code"), ("engine", "code")) == {
        "name": ["bad 0"],
        "engine": {"code": ["bad 1", "bad 2"]},
    }


def test_a_list_is_aligned_with_what_was_sent() -> None:
    assert tree(("wheels", 1, "size"), wheels=3) == {"wheels": [{}, {"size": ["bad 0"]}, {}]}
    assert tree(("wheels", 1), ("wheels", 0, "a", 2)) == {
        "wheels": [{"a": [{}, {}, ["bad 1"]]}, ["bad 0"]]
    }
    assert tree(("jobanalyses", "non_field_errors")) == {
        "jobanalyses": {"non_field_errors": ["bad 0"]}
    }


def test_a_problem_of_the_whole_body_is_the_only_one() -> None:
    assert tree(("name",), ()) == {"detail": "bad 1"}


def test_a_problem_below_one_that_is_told_is_left_out() -> None:
    assert tree(("wheels",), ("wheels", 0, "size")) == {"wheels": ["bad 0"]}


# --- reading a request ----------------------------------------------------------------------------


def request(
    body: bytes | list[bytes] = b"",
    kind: str | None = "application/json",
    public_url: str = "",
    **scope: Any,
) -> Request:
    headers = [(b"host", b"here:1")]
    if kind is not None:
        headers.append((b"content-type", kind.encode("latin-1")))
    chunks = [body] if isinstance(body, bytes) else list(body)

    async def receive() -> dict[str, Any]:
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    made = {
        "type": "http",
        "method": "POST",
        "headers": headers,
        "scheme": "http",
        "server": ("here", 1),
        "query_string": b"",
        "path": "/api/v2/things/",
        "sent_path": "/api/v2/things/",
        "caller": None,
        "app": SimpleNamespace(
            state=SimpleNamespace(site=SimpleNamespace(public_url=public_url, trusted_proxies=()))
        ),
        **scope,
    }
    return Request(made, receive)


def json_of(*arguments: Any) -> Any:
    return finished(bodies.json_of(request(*arguments)))


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.x+json",
        "",
        None,
    ],
)
def test_json_of_these_kinds_is_read(kind: str | None) -> None:
    assert json_of([b'{"a": ', b"", b"[1]}"], kind) == {"a": [1]}


@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_no_body_is_an_empty_object(body: bytes, kind: str | None) -> None:
    assert json_of(body, kind) == {}


@pytest.mark.parametrize(
    "body",
    [b"{", b"nope", b"{}x", b"\xff", b"NaN", b'{"a": Infinity}', b"[" * 100_000, b'"\\ud800"'],
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(Invalid, match="JSON parse error - "):
        json_of(body)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_a_form_is_told_what_to_do(kind: str) -> None:
    with pytest.raises(Invalid, match="Send JSON"):
        json_of(b"a=b", kind)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "json", "application/jsonx"])
def test_other_kinds(kind: str) -> None:
    with pytest.raises(errors.UnsupportedMediaType):
        json_of(b"{}", kind)


def test_a_body_that_is_too_large() -> None:
    with pytest.raises(TooLarge):
        json_of([b" " * (8 << 20)] * 3)
    assert json_of([b" " * (8 << 20), b" " * ((8 << 20) - 2), b"{}"]) == {}


def test_strangers_send_little() -> None:
    """Where no key is asked for."""
    for size, is_taken in ((64 << 10, True), ((64 << 10) + 1, False)):
        sent = request(b"{}".ljust(size))
        del sent.scope["caller"]
        if is_taken:
            assert finished(bodies.json_of(sent)) == {}
        else:
            with pytest.raises(TooLarge):
                finished(bodies.json_of(sent))


# --- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=2-4", (2, 5)),
        ("bytes=2-", (2, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=5-" + "9" * 99, (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-11", (0, 10)),
        ("bytes=-" + "9" * 99, (0, 10)),
        (" bytes=00-05 ", (0, 6)),
        # cannot be satisfied: they start at or past the end
        ("bytes=10-", (10, 10)),
        ("bytes=10-20", (10, 10)),
        ("bytes=-0", (10, 10)),
        # no ranges at all: the whole is sent
        ("", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=1-2,4-5", None),
        ("bytes=a-b", None),
        ("bytes=1--2", None),
        ("bytes=+1-2", None),
        ("bytes = 1-2", None),
        ("items=1-2", None),
        ("BYTES=1-2", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=1-2\nx", None),
        # longer than Python reads
        ("bytes=0-" + "9" * 5000, None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=-" + "9" * 5000, None),
    ],
)
def test_ranges_of_a_file_of_ten_bytes(header: str, part: tuple[int, int] | None) -> None:
    found = asked_range(header, 10)
    if part is not None and part[0] >= 10:
        assert found is not None and found[0] >= 10
    else:
        assert found == part


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0", ""])
def test_an_empty_file_has_no_ranges(header: str) -> None:
    assert asked_range(header, 0) is None


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_a_slice(size: int, first: int, last: int) -> None:
    content = bytes(range(size))
    for header, expected in (
        (f"bytes={first}-{last}", content[first : last + 1]),
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{last}", content[max(0, size - last) :]),
    ):
        part = asked_range(header, size)
        if part is None:
            assert header == f"bytes={first}-{last}" and last < first
        elif part[0] >= size:
            assert expected == b""
        else:
            assert content[slice(*part)] == expected != b""


@given(st.text(), st.integers(0, 100))
def test_no_header_is_too_odd(header: str, size: int) -> None:
    for text in (header, f"bytes={header}", f"bytes=0-{header}"):
        part = asked_range(text, size)
        assert part is None or part[0] >= size or 0 <= part[0] < part[1] <= size


@pytest.mark.parametrize(
    ("name", "plain", "encoded"),
    [
        ("a.txt", "a.txt", "a.txt"),
        ("ä b.txt", "? b.txt", "%C3%A4%20b.txt"),
        ('q"uote', "q_uote", "q%22uote"),
        ("back\\slash", "back_slash", "back%5Cslash"),
        ("new\r\nline", "new__line", "new%0D%0Aline"),
        ("漢", "?", "%E6%BC%A2"),
        ("x;y", "x;y", "x%3By"),
    ],
)
def test_the_name_of_a_download(name: str, plain: str, encoded: str) -> None:
    header = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
    assert downloads.disposition(name) == header


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_name_breaks_a_header(name: str) -> None:
    header = downloads.disposition(name)
    assert header.isascii() and header.isprintable()
    assert header.count('"') == 2


# --- pages ----------------------------------------------------------------------------------------


def page_of(query: str) -> Page:
    return paging.asked(request(query_string=query.encode()))


@pytest.mark.parametrize(
    ("query", "number", "size"),
    [
        ("", 1, 10),
        ("page=3", 3, 10),
        ("page=3&page_size=25", 3, 25),
        ("page_size=2000", 1, 2000),
        ("page_size=2001", 1, 2000),
        ("page_size=" + "9" * 5000, 1, 10),
        ("page_size=0", 1, 10),
        ("page_size=-1", 1, 10),
        ("page_size=x", 1, 10),
        ("page_size=", 1, 10),
        ("page_size=1.5", 1, 10),
        ("page=last", 0, 10),
        ("page=007", 7, 10),
        ("page=999999999999", 999_999_999_999, 10),
    ],
)
def test_pages_that_are_asked_for(query: str, number: int, size: int) -> None:
    assert page_of(query) == Page(number, size)


@pytest.mark.parametrize(
    "page",
    ["0", "-1", "x", "", "1.5", "+1", "1e3", "%20", "LAST", "1_0", "%D9%A1", "9" * 13, "1" * 5000],
)
def test_pages_that_are_none(page: str) -> None:
    with pytest.raises(NotFound, match="Invalid page"):
        page_of(f"page={page}")


def find_in(things: list[int]) -> Any:
    return lambda offset, size: Found(len(things), things[offset : offset + size])


@given(st.integers(0, 60), st.integers(1, 20))
def test_pages_together_are_the_list(count: int, size: int) -> None:
    things = list(range(count))
    seen: list[int] = []
    url: str | None = f"http://here:1/api/v2/things/?page_size={size}"
    number = 0
    before = None
    while url is not None:
        number += 1
        sent = request(query_string=url.partition("?")[2].encode())
        page, found = paging.fetch(paging.asked(sent), find_in(things))
        envelope = paging.envelope(sent, page, found, lambda thing: thing)
        assert (page.number, envelope["count"]) == (number, count)
        assert (envelope["previous"] is None) is (number == 1)
        seen += envelope["results"]
        before, url = envelope["previous"], envelope["next"]
    assert seen == things
    assert number == max(1, -(-count // size))
    last = page_of(f"page=last&page_size={size}")
    assert paging.fetch(last, find_in(things))[0].number == number
    if before is not None:
        assert f"page_size={size}" in before
    with pytest.raises(NotFound):
        paging.fetch(Page(number + 1, size), find_in(things))


def test_links_keep_the_rest_of_the_query() -> None:
    sent = request(query_string=b"page=2&search=a%26b&empty=&search=c&page=2")
    reply = paging.envelope(sent, Page(2, 10), Found(30, []), str)
    assert reply["next"] == ("http://here:1/api/v2/things/?search=a%26b&empty=&search=c&page=3")
    assert reply["previous"] == "http://here:1/api/v2/things/?search=a%26b&empty=&search=c"
    json.dumps(reply)
    public = request(query_string=b"page=2", public_url="https://jobs.example.org")
    assert paging.envelope(public, Page(2, 10), Found(30, []), str)["next"] == (
        "https://jobs.example.org/api/v2/things/?page=3"
    )
