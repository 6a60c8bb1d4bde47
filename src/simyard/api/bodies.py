"""Reading JSON bodies the way clients write them.

Field names come in camelCase or snake_case, numbers and booleans as text, objects as "". Unknown
keys are passed over. Everything that is wrong is reported at once, so a model is read leniently:
every field has a default, and fields that must be there are marked with `needed`.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import parse_qsl

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from simyard.api.errors import UnsupportedMediaType
from simyard.domain.errors import Invalid, Path, Problem, TooLarge

_LARGEST_BYTES = 16 << 20
_LARGEST_OF_STRANGERS_BYTES = 64 << 10  # where no key is asked for
_MOST_TOKENS = 500_000  # two or three bytes each when sent, up to a hundred when read
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{,]', re.DOTALL)
_DEEPEST = 100  # not all that handles it later goes as deep as the JSON reader
_MOST_PROBLEMS = 100  # reported at once; nobody reads more
_TOO_DEEP = f"JSON parse error - nested deeper than {_DEEPEST} levels"
_MOST_FIELDS = 1000
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Body(BaseModel):
    model_config = ConfigDict(
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,  # when one is read first: most starts see few of them
    )


B = TypeVar("B", bound=Body)


def needed(default: Any) -> Any:
    """A field that must be sent."""
    return Field(default, json_schema_extra={"needed": True})


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _null(value: object) -> object:
    return None if value == "" else value


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "true and false are no integers")
    return value


def _code(value: object) -> object:
    return value.get("code", "") if isinstance(value, dict) else value


def text_or_object(key: str, *more: str) -> dict[str, Any]:
    """The schema of a text that may be sent as an object with this key."""
    inside = {"type": "object", "properties": {key: {"type": "string"}}}
    kinds: list[dict[str, Any]] = [{"type": kind} for kind in ("string", *more)]
    return {"anyOf": [*kinds, inside]}


LooseText = Annotated[str, BeforeValidator(_text)]
# A code as text, or as an object that has it.
CodeText = Annotated[str, BeforeValidator(_code), WithJsonSchema(text_or_object("code"))]
EmptyIsNull = BeforeValidator(_null)
NoFlag = BeforeValidator(_no_flag)  # behind the limits of an integer, or its schema loses them
Whole = Annotated[int, NoFlag]
Count = Annotated[int, Field(ge=1), NoFlag]


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _body_of(request: Request) -> bytes:
    """Raises TooLarge."""
    parts, size = [], 0
    largest = _LARGEST_BYTES if "caller" in request.scope else _LARGEST_OF_STRANGERS_BYTES
    async for chunk in request.stream():
        size += len(chunk)
        if size > largest:
            raise TooLarge(f"The body is larger than {largest} bytes.")
        parts.append(chunk)
    return b"".join(parts)


async def json_or_form_of(request: Request) -> Any:
    """The same, or the fields of a form as texts, for routes that clients send forms to."""
    if _kind(request) != "application/x-www-form-urlencoded":
        return await json_of(request)
    body = await _body_of(request)
    text = body.decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise Invalid.at((), f"A form may have {_MOST_FIELDS} fields.") from None


async def json_of(request: Request) -> Any:
    """The JSON of a request; {} where it has no body. Raises Invalid, TooLarge or
    UnsupportedMediaType.
    """
    kind = _kind(request)
    body = await _body_of(request)
    if not body.strip():
        return {}
    if kind in _FORMS:
        raise Invalid.at(
            (),
            "Send JSON with Content-Type: application/json. A form cannot hold nested values"
            " (with Python's requests: json=..., not data=...).",
        )
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(f'Unsupported media type "{kind}" in request.')
    if len(body) > _MOST_TOKENS and next(islice(_TOKEN.finditer(body), _MOST_TOKENS, None), None):
        raise TooLarge(f"The body has more than {_MOST_TOKENS} values and separators.")
    try:
        sent = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid.at((), f"JSON parse error - {error}") from None
    except RecursionError:
        raise Invalid.at((), _TOO_DEEP) from None
    if _deeper_than(_DEEPEST, sent):
        raise Invalid.at((), _TOO_DEEP)
    return sent


def _deeper_than(most: int, sent: Any) -> bool:
    """Whether more than so many lists and objects are in each other."""
    level: list[Any] = [[sent]]
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def read(model: type[B], sent: Any) -> tuple[B, list[Problem]]:
    """What was sent as a model, and everything wrong with its shape. Wrong values are left out of
    the model, so that the rest can be checked too.
    """
    if not isinstance(sent, dict):
        kind = type(sent).__name__
        raise Invalid.at((), f"Invalid data. Expected a dictionary, but got {kind}.")
    problems: list[Problem] = []
    told: set[Path] = set()
    for _ in range(_MOST_PROBLEMS):
        try:
            body = model.model_validate(sent)
        except ValidationError as error:
            errors = error.errors(include_url=False)[:_MOST_PROBLEMS]
            paths = [tuple(p for p in found["loc"] if not _is_tag(p)) for found in errors]
            problems += [
                Problem(_spelled(model, path), _message(found))
                for path, found in zip(paths, errors, strict=True)
                if path not in told
            ]
            if len(problems) >= _MOST_PROBLEMS:
                break
            for path in dict.fromkeys(reversed(paths)):  # what goes moves what is behind it
                sent = _without(sent, path, keep_place=path not in told)
            told.update(paths)
        else:
            missing = _missing(body, (), {p.path for p in problems})
            problems += islice(missing, _MOST_PROBLEMS)
            if len(problems) >= _MOST_PROBLEMS:
                break
            return body, problems
    raise Invalid(problems)


def checked(model: type[B], sent: Any) -> B:
    """What was sent as a model. Raises Invalid with everything wrong with its shape."""
    body, problems = read(model, sent)
    if problems:
        raise Invalid(problems)
    return body


def _is_tag(part: int | str) -> bool:
    """Pydantic names the branch of a union in a path; the client did not send that."""
    return isinstance(part, str) and ("[" in part or part.startswith("function-"))


def _spelled(model: type[Body], path: Path) -> Path:
    """A path with the fields' own names, in whichever spelling they were sent."""
    within: type[Body] | None = model
    spelled: list[str | int] = []
    for part in path:
        if isinstance(part, int):
            spelled.append(part)
            continue
        fields = within.model_fields if within else {}
        field = next((f for name, f in fields.items() if part in (name, f.alias)), None)
        spelled.append((field and field.alias) or part)
        within = next(_bodies(field.annotation), None) if field else None
    return tuple(spelled)


def _bodies(annotation: Any) -> Iterator[type[Body]]:
    """The models that a type speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Body):
        yield annotation
    for inner in get_args(annotation):
        yield from _bodies(inner)


def _message(found: Any) -> str:
    """In the words of Django REST Framework."""
    kind, value = found["type"], found["input"]
    if value is None:
        return "This field may not be null."
    match kind:
        case "string_type":
            return "Not a valid string."
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return "A valid integer is required."
        case "bool_parsing" | "bool_type":
            return "Must be a valid boolean."
        case "greater_than_equal":
            return f"Ensure this value is greater than or equal to {found['ctx']['ge']}."
        case "too_long":
            return f"Ensure this field has no more than {found['ctx']['max_length']} elements."
        case "list_type" | "tuple_type":
            return f'Expected a list of items but got type "{type(value).__name__}".'
        case "dict_type":
            return f'Expected a dictionary of items but got type "{type(value).__name__}".'
        case "model_type" | "model_attributes_type":
            return f"Invalid data. Expected a dictionary, but got {type(value).__name__}."
        case _:
            return str(found["msg"])


def _without(sent: Any, path: Path, *, keep_place: bool) -> Any:
    """A copy without the value at this path. An entry of a list becomes {} to keep its place; one
    for which {} is wrong too, as for a number, goes: nothing is found in such a list later.
    """
    head, rest = path[0], path[1:]
    if isinstance(sent, list):
        if not rest and not keep_place:
            return [entry for i, entry in enumerate(sent) if i != head]
        inner = _without(sent[int(head)], rest, keep_place=keep_place) if rest else {}
        return [inner if i == head else entry for i, entry in enumerate(sent)]
    key = next((k for k in (head, _snake(str(head))) if k in sent), head)
    if rest and key in sent and isinstance(sent[key], dict | list):
        return {**sent, key: _without(sent[key], rest, keep_place=keep_place)}
    return {k: v for k, v in sent.items() if k != key}


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _missing(body: Body, path: Path, reported: set[Path]) -> Iterator[Problem]:
    """Needed fields that were not sent."""
    for name, field in type(body).model_fields.items():
        place = (*path, field.alias or name)
        value = getattr(body, name)
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("needed") and name not in body.model_fields_set:
            if place not in reported:
                yield Problem(place, "This field is required.")
        elif isinstance(value, Body):
            yield from _missing(value, place, reported)
        elif isinstance(value, list):
            for i, entry in enumerate(value):
                if isinstance(entry, Body) and (*place, i) not in reported:
                    yield from _missing(entry, (*place, i), reported)


def uncovered(problems: Iterable[Problem], reported: Iterable[Problem]) -> list[Problem]:
    """Those at places where nothing at, above or below was reported yet."""
    places = {problem.path for problem in reported}
    above = {path[:n] for path in places for n in range(len(path) + 1)}
    return [
        one
        for one in problems
        if one.path not in above and not any(one.path[:n] in places for n in range(len(one.path)))
    ]
