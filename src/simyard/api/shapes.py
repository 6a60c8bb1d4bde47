"""What replies look like: JSON schemas with an example in each, put together from small parts.

A route names the shape of its reply; the OpenAPI document, its examples, the compatibility table
and the checks of the tests come from it. Objects have exactly the fields that are listed.
"""

from typing import Any

Shape = dict[str, Any]

_REFERENCE = "#/components/schemas/"

named: dict[str, Shape] = {}  # objects that have a name of their own


def text(example: str, about: str = "", **more: Any) -> Shape:
    return _with(about, {"type": "string", "examples": [example], **more})


def integer(example: int, about: str = "") -> Shape:
    return _with(about, {"type": "integer", "examples": [example]})


def number(example: float, about: str = "") -> Shape:
    return _with(about, {"type": "number", "examples": [example]})


def flag(example: bool, about: str = "") -> Shape:
    return _with(about, {"type": "boolean", "examples": [example]})


def instant(about: str = "") -> Shape:
    """ISO 8601 in UTC with six digits and Z."""
    example = "2026-03-02T09:15:00.001200Z"
    return text(example, about, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


def choice(*values: str, about: str = "") -> Shape:
    return _with(about, {"type": "string", "enum": list(values), "examples": [values[0]]})


def anything(example: Any = None, about: str = "") -> Shape:
    """Whatever was sent."""
    return _with(about, {"examples": [example]})


def always(value: Any, about: str = "") -> Shape:
    """Never anything else here."""
    return _with(about, {"const": value, "examples": [value]})


def array(of: Shape, about: str = "") -> Shape:
    return _with(about, {"type": "array", "items": of})


def mapping(of: Shape, key: str, about: str = "") -> Shape:
    """Free keys, values of one shape. key: one for the example."""
    return _with(
        about,
        {"type": "object", "additionalProperties": of, "examples": [{key: example(of)}]},
    )


def nullable(shape: Shape, *, example_null: bool = False) -> Shape:
    shown = None if example_null else example(shape)
    return {"anyOf": [shape, {"type": "null"}], "examples": [shown]}


def fields(optional: tuple[str, ...] = (), /, **properties: Shape) -> Shape:
    """An object with these fields and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def object_(name: str, optional: tuple[str, ...] = (), /, **properties: Shape) -> Shape:
    """An object that the document lists under this name."""
    named[name] = fields(optional, **properties)
    return {"$ref": _REFERENCE + name}


def page_of(of: Shape) -> Shape:
    """A page of a list (api-v2 reference, section 1.4)."""
    return fields(
        ("countIsCapped",),
        count=integer(1),
        next=nullable(text("https://simyard.example.org/api/v2/...?page=2"), example_null=True),
        previous=nullable(text("https://simyard.example.org/api/v2/..."), example_null=True),
        results=array(of),
        countIsCapped=flag(True, "Only where a search found more than `count` says."),
    )


def resolve(shape: Shape) -> Shape:
    """The shape itself where it is a reference to a named one."""
    reference = shape.get("$ref")
    return named[reference.removeprefix(_REFERENCE)] if reference else shape


def example(shape: Shape) -> Any:
    """An example made of those of its parts."""
    shape = resolve(shape)
    if "examples" in shape:
        return shape["examples"][0]
    match shape.get("type"):
        case "object":
            left_out = set(shape["properties"]) - set(shape["required"])
            return {k: example(v) for k, v in shape["properties"].items() if k not in left_out}
        case "array":
            return [example(shape["items"])]
    raise AssertionError(f"a shape without an example: {shape}")


def _with(about: str, shape: Shape) -> Shape:
    return {**shape, "description": about} if about else shape


DETAIL = object_(
    "Detail",
    ("count",),
    detail=text("Not found.", "What is wrong, in a sentence."),
    count=integer(3, "Only where it is wrong how many were expected: how many there are."),
)
PROBLEMS: Shape = {
    "description": "`detail`, or for each wrong field a list of sentences, nested as fields are."
    " A list of objects has one entry for each that was sent, `{}` for the good ones.",
    "type": "object",
    "examples": [{"name": ["This field is required."]}],
}
named["Problems"] = PROBLEMS
EMPTY: Shape = {}  # no body at all
BYTES: Shape = {"type": "string", "format": "binary"}
