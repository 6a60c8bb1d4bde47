"""`simyard.domain.records.dataclass` is held against the standard library's."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import field
from typing import Any

import msgspec
import pytest

from simyard.domain import records

MAKERS = [dataclasses.dataclass, records.dataclass]


class Shapes:
    """The same classes from each of the two."""

    def __init__(self, maker: Callable[..., Any]) -> None:
        @maker(frozen=True, kw_only=True)
        class Run:
            """A run."""

            number: int
            state: str = "planned"
            values: tuple[float, ...] = ()
            notes: list[str] = field(default_factory=list)

        @maker(frozen=True, kw_only=True)
        class Rerun(Run):
            parent: int = 0

            @property
            def is_first(self) -> bool:
                return self.parent == 0

        @maker
        class Counter:
            count: int
            seen: int = field(default=0, compare=False)
            hidden: str = field(default="", repr=False)

        @maker(frozen=True)
        class Place:
            path: str
            offset: int = 0
            end: int = field(init=False)

            def __post_init__(self) -> None:
                object.__setattr__(self, "end", self.offset + len(self.path))

        @maker(frozen=True, eq=False)
        class Thing:
            name: str

        @maker(frozen=True)
        class Nothing:
            pass

        @maker(frozen=True)
        class Told:
            what: str

            def __repr__(self) -> str:
                return "told"

            def __hash__(self) -> int:
                return 7

        self.run, self.rerun, self.counter, self.place = Run, Rerun, Counter, Place
        self.thing, self.nothing, self.told = Thing, Nothing, Told


@pytest.fixture(params=MAKERS, ids=["standard", "ours"])
def shapes(request: pytest.FixtureRequest) -> Shapes:
    return Shapes(request.param)


def test_values_and_defaults(shapes: Shapes) -> None:
    run = shapes.run(number=3, values=(1.5,))
    assert (run.number, run.state, run.values, run.notes) == (3, "planned", (1.5,), [])
    assert shapes.run(number=1).notes is not shapes.run(number=1).notes
    again = shapes.rerun(number=4, parent=3)
    assert (again.number, again.state, again.parent, again.is_first) == (4, "planned", 3, False)
    counter = shapes.counter(1, hidden="x")
    counter.count += 1
    assert (counter.count, counter.seen, counter.hidden) == (2, 0, "x")
    place = shapes.place("abc", offset=4)
    assert (place.path, place.offset, place.end) == ("abc", 4, 7)
    assert shapes.run.state == "planned" and shapes.run.__doc__ == "A run."


def test_equality_and_hash(shapes: Shapes) -> None:
    one, same, other = shapes.rerun(number=1), shapes.rerun(number=1), shapes.rerun(number=2)
    assert one == same and one != other and one != shapes.run(number=1) and one != 1
    assert shapes.counter(1, seen=5) == shapes.counter(1, seen=6)
    assert shapes.counter(1, hidden="a") != shapes.counter(1, hidden="b")
    with pytest.raises(TypeError, match="unhashable"):
        hash(shapes.counter(1))
    assert len({shapes.place("a"), shapes.place("a"), shapes.place("b")}) == 2
    thing = shapes.thing("x")
    assert thing != shapes.thing("x") and len({thing, shapes.thing("x")}) == 2
    assert shapes.nothing() == shapes.nothing() and hash(shapes.nothing()) == hash(shapes.nothing())
    assert hash(shapes.told("x")) == 7


def test_repr(shapes: Shapes) -> None:
    name = "Shapes.__init__.<locals>."
    assert repr(shapes.rerun(number=1, notes=["n"])) == (
        f"{name}Rerun(number=1, state='planned', values=(), notes=['n'], parent=0)"
    )
    assert repr(shapes.counter(1, hidden="secret")) == f"{name}Counter(count=1, seen=0)"
    assert repr(shapes.nothing()) == f"{name}Nothing()"
    assert repr(shapes.told("x")) == "told"


def test_what_is_frozen(shapes: Shapes) -> None:
    run = shapes.rerun(number=1)
    for name in ("number", "unknown"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(run, name, 2)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(run, name)
    assert run.number == 1


@pytest.mark.parametrize(
    ("shape", "values", "given", "told"),
    [
        ("run", (), {}, "number"),
        ("run", (), {"state": "x"}, "number"),
        ("run", (), {"number": 1, "colour": "red"}, "colour"),
        ("run", (), {"colour": "red"}, "argument"),
        ("run", (1,), {}, "positional"),
        ("counter", (1, 2, "x", 3), {}, "positional"),
        ("counter", (1,), {"count": 2}, "multiple values for argument 'count'"),
        ("place", ("a",), {"end": 3}, "end"),
        ("nothing", (1,), {}, "positional"),
    ],
)
def test_wrong_arguments(
    shapes: Shapes, shape: str, values: tuple[Any, ...], given: dict[str, Any], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        getattr(shapes, shape)(*values, **given)


def test_what_the_standard_library_does_with_them(shapes: Shapes) -> None:
    run = shapes.rerun(number=1, notes=["n"])
    assert dataclasses.is_dataclass(run)
    assert [each.name for each in dataclasses.fields(run)] == [
        *("number", "state", "values", "notes", "parent")
    ]
    changed = dataclasses.replace(run, state="running")
    assert (changed.state, changed.notes, run.state) == ("running", ["n"], "planned")
    with pytest.raises(TypeError):
        dataclasses.replace(run, colour="red")
    assert dataclasses.asdict(run) == {
        "number": 1,
        "state": "planned",
        "values": (),
        "notes": ["n"],
        "parent": 0,
    }


def test_those_that_msgspec_makes(shapes: Shapes) -> None:
    """It does not call `__init__`."""
    read = msgspec.convert({"number": 2}, shapes.rerun)
    assert read == shapes.rerun(number=2) and repr(read) == repr(shapes.rerun(number=2))
    assert msgspec.json.decode(msgspec.json.encode(read), type=shapes.rerun) == read
    written = msgspec.json.decode(msgspec.json.encode(shapes.rerun(number=2)))
    assert written["state"] == "planned" and written["parent"] == 0


def test_no_description_is_taken_from_the_signature() -> None:
    shapes = Shapes(records.dataclass)
    assert shapes.thing.__doc__ == "Thing"
    assert inspect.getdoc(shapes.run) == "A run."


def test_replacing(shapes: Shapes) -> None:
    for replace in (dataclasses.replace, records.replace):
        if replace is records.replace and not hasattr(shapes.run, "__record__"):
            continue  # only for our own
        run = shapes.rerun(number=3, parent=2)
        changed = replace(run, state="done", parent=0)
        assert changed == shapes.rerun(number=3, state="done", parent=0)
        assert changed.is_first and changed is not run and run.state == "planned"
        assert type(changed) is shapes.rerun and changed.notes is run.notes
        with pytest.raises(TypeError, match="unexpected keyword argument 'stat'"):
            replace(run, stat="done")
        moved = replace(shapes.place("a/b", 2), path="a")
        assert moved == shapes.place("a", 2) and moved.end == 3  # anew
        with pytest.raises(ValueError, match="end"):
            replace(moved, end=1)


def test_what_was_worked_out_of_a_record_is_worked_out_again_of_its_replacement() -> None:
    @records.dataclass(frozen=True)
    class Place:
        root: str
        depth: int = 0

        @functools.cached_property
        def work(self) -> str:
            return f"{self.root}/work"

    place = Place("a")
    assert place.work == "a/work"
    assert records.replace(place, root="b").work == "b/work"
    (decoded,) = msgspec.json.decode(b'[{"root": "c"}]', type=list[Place])
    assert decoded.work == "c/work"
    assert records.replace(decoded, root="d").work == "d/work"
