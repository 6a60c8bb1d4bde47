"""What the compatibility table claims, and what proves it.

A claim is one line of it: an endpoint, a parameter of its query, a field of its request or of its
reply. What is documented stands in docs/contract.toml; what is implemented is read from the routes;
where we differ, and what we add, stands with its reason in docs/differences.toml. A claim is proved
by a test that passes and in which it was seen: in a reply that was held against the document
(contract.py), or in a request that was accepted.

docs/proofs.json names one such test for each claim. A run of all tests checks every line of it;
with SIMYARD_RECORD_PROOFS=1 it is written anew.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simyard.api.app import OPERATIONS
from simyard.api.openapi import document
from simyard.api.routes import PARAMETER, Operation

DOCS = Path(__file__).parent.parent / "docs"
PROOFS = DOCS / "proofs.json"


@dataclass(frozen=True)
class Claim:
    method: str
    path: str  # as in docs/openapi.json
    part: str  # "endpoint", "query", "request", "reply"
    field: str  # "results[].id"; "" for the endpoint itself
    sources: str  # tags

    @property
    def key(self) -> str:
        return " ".join(filter(None, (self.method, self.path, self.part, self.field)))


@cache
def contract() -> dict[str, Any]:
    return tomllib.loads((DOCS / "contract.toml").read_text())


@cache
def differences() -> dict[str, Any]:
    return tomllib.loads((DOCS / "differences.toml").read_text())


@cache
def proofs() -> dict[str, str]:
    """Claim -> the test that proves it."""
    found: dict[str, str] = json.loads(PROOFS.read_text()) if PROOFS.exists() else {}
    return found


# --- what is documented ---------------------------------------------------------------------------


@cache
def claims() -> dict[str, Claim]:
    found: dict[str, Claim] = {}
    for endpoint in contract()["endpoint"]:
        method, path = endpoint["method"], endpoint["path"]
        made = [Claim(method, path, "endpoint", "", endpoint["source"])]
        for name, tags in endpoint.get("query", {}).items():
            made.append(Claim(method, path, "query", name, tags))
        for field, tags in _documented(endpoint.get("request", "")):
            made.append(Claim(method, path, "request", field, tags))
        for field, tags in _documented(endpoint.get("reply", "")):
            made.append(Claim(method, path, "reply", field, tags))
        found.update((claim.key, claim) for claim in made)
    return found


def _documented(what: str) -> Iterator[tuple[str, str]]:
    """The fields of an object, of a page, list or map of it, with their tags."""
    kind, _, name = what.rpartition(" ")
    if name in ("", "empty", "bytes"):
        return
    prefix = {"": "", "page": "results[].", "list": "[].", "map": "*."}[kind]
    if kind == "page":
        yield from _fields_of("Page", "")
    yield from _fields_of(name, prefix)


def _fields_of(name: str, at: str) -> Iterator[tuple[str, str]]:
    known = contract()["objects"][name]
    fields = dict(known["fields"])
    if "extends" in known:
        fields = {**contract()["objects"][known["extends"]]["fields"], **fields}
    for field, said in fields.items():
        tags, _, inner = said.partition("->")
        yield f"{at}{field}", tags.strip()
        inner = inner.strip()
        if inner.strip("[]") in _told_elsewhere():
            continue
        if inner.startswith("["):
            yield from _fields_of(inner.strip("[]"), f"{at}{field}[].")
        elif inner:
            yield from _fields_of(inner, f"{at}{field}.")


@cache
def _told_elsewhere() -> frozenset[str]:
    """Objects that endpoints of their own answer with: their fields are not told again inside
    others.
    """
    replies = (endpoint.get("reply", "") for endpoint in contract()["endpoint"])
    return frozenset(reply for reply in replies if reply and " " not in reply)


# --- what is implemented --------------------------------------------------------------------------


@cache
def operations() -> dict[tuple[str, str], Operation]:
    return {(one.method, PARAMETER.sub(r"{\1}", one.path)): one for one in OPERATIONS}


@cache
def _document() -> dict[str, Any]:
    return document(OPERATIONS)


def _paths(shape: Any, at: str = "") -> Iterator[str]:
    """Every field of a shape; `**` after one that holds whatever was sent."""
    name = shape.get("$ref", "").rsplit("/", 1)[-1]
    if name:
        shape = _document()["components"]["schemas"][name]
    for other in (*shape.get("anyOf", ()), *shape.get("oneOf", ()), *shape.get("allOf", ())):
        yield from _paths(other, at)
    dot = f"{at}." if at and not at.endswith(".") else at
    if "properties" in shape:
        for field, inner in shape["properties"].items():
            yield f"{dot}{field}"
            yield from _paths(inner, f"{dot}{field}")
    more = shape.get("additionalProperties")
    if isinstance(more, dict):
        yield f"{dot}*"
        yield from _paths(more, f"{dot}*")
    elif more is True:
        yield f"{dot}**"
    if "items" in shape:
        yield from _paths(shape["items"], f"{at}[]")
    told = {"type", "$ref", "anyOf", "oneOf", "allOf", "const", "properties", "enum"}
    if not told & set(shape) or (shape.get("type") == "array" and not shape.get("items")):
        yield f"{dot}**"


@cache
def _implemented(method: str, path: str, part: str) -> frozenset[str]:
    operation = operations().get((method, path))
    if operation is None:
        return frozenset()
    told = _document()["paths"][path][method.lower()]
    if part == "query":
        return frozenset(one["name"] for one in told["parameters"] if one["in"] == "query")
    if part == "reply":
        return frozenset(_paths(operation.reply))
    contents = told.get("requestBody", {}).get("content", {})
    return frozenset(field for content in contents.values() for field in _paths(content["schema"]))


def is_implemented(claim: Claim) -> bool:
    if claim.part == "endpoint":
        return (claim.method, claim.path) in operations()
    if _is_below_nothing(claim):
        return False
    known = _implemented(claim.method, claim.path, claim.part)
    field = claim.field
    if claim.part == "request":
        field = re.sub(r"_([a-z])", lambda found: found[1].upper(), field)  # either spelling
    return (
        field in known
        or claim.field in known
        or any(_pattern(one).fullmatch(field) for one in known if "*" in one)
    )


def _is_below_nothing(claim: Claim) -> bool:
    """Whether a field is in one that is always empty here, or of a request that is refused."""
    empty = differences()["empty"]
    if f"{claim.method} {claim.path}" in empty["endpoints"] and claim.part != "query":
        return True
    if any(claim.key.startswith(f"{place}.") for place in empty["endpoints"]):
        return True
    above = claim.field.replace("[]", "").split(".")[:-1]
    return any(
        name in empty["fields"] or f"{claim.part} {name}" in empty["fields"] for name in above
    )


@cache
def _pattern(field: str) -> re.Pattern[str]:
    """`a.*.**` as an expression: one free key, then anything below it."""
    text = re.escape(field).replace(r"\.\*\*", r"([.\[].*)?").replace(r"\*\*", ".*")
    return re.compile(text.replace(r"\*", r"[^.]+"))


# --- what was seen --------------------------------------------------------------------------------


@cache
def _by_place() -> dict[tuple[str, str, str], dict[str, str]]:
    """(method, path, part) -> field -> key of its claim."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for claim in claims().values():
        place = (claim.method, claim.path, claim.part)
        found.setdefault(place, {})[claim.field] = claim.key
    return found


def shown_by(method: str, path: str, part: str, fields: Iterable[str]) -> set[str]:
    """Keys of the claims that these fields show."""
    known = _by_place().get((method, path, part), {})
    seen = set(fields)
    found = {key for field, key in known.items() if field in seen}
    for field, key in known.items():
        if "*" in field:
            pattern = re.compile(re.escape(field).replace(r"\*", "[^.]+"))
            if any(pattern.fullmatch(one) for one in seen):
                found.add(key)
    return found


# --- the table's judgement ------------------------------------------------------------------------


def reason(claim: Claim) -> str:
    """Why a line differs or is absent; "" where nothing is said."""
    said = differences()
    for key in (claim.key, f"{claim.method} {claim.path}"):
        if key in said["endpoints"]:
            return str(said["endpoints"][key])
    names = claim.field.replace("[]", "").split(".")
    for end in range(len(names), 0, -1):  # what is said of a field holds for what is in it
        for start in range(end):  # `hardware.isReusable` is more exact than `isReusable`
            name = ".".join(names[start:end])
            for scope in (f"{claim.part} {name}", name):
                if scope in said["fields"]:
                    return str(said["fields"][scope])
    return ""


def verdict(claim: Claim) -> str:
    """`identical`, `different`, `absent`; or `unproved`, `unexplained`, which no release has."""
    if not is_implemented(claim):
        return "absent" if reason(claim) else "unexplained"
    if claim.key not in proofs():
        return "unproved"
    return "different" if reason(claim) else "identical"


def additions() -> tuple[list[str], list[str]]:
    """Routes and fields that no source has: (those that docs/differences.toml explains, others)."""
    documented = {(claim.method, claim.path) for claim in claims().values()}
    known = _by_place()
    explained: list[str] = []
    others: list[str] = []
    said = differences()["additions"]
    for (method, path), operation in sorted(operations().items(), key=lambda item: item[0][::-1]):
        if (method, path) not in documented:
            key = f"{method} {path}"
            wanted = operation.tag == "extensions" or key in said
            (explained if wanted else others).append(key)
            continue
        for part in ("query", "request", "reply"):
            there = known.get((method, path, part), {})
            if part != "query" and not there:
                continue  # the source does not tell the shape
            for field in sorted(_implemented(method, path, part)):
                if field in there or field.endswith("**") or "*" in field:
                    continue
                inside = [one for one in there if field.startswith((f"{one}.", f"{one}[]"))]
                deepest = max(inside, key=len, default="")
                if deepest and not any(
                    one.startswith((f"{deepest}.", f"{deepest}[]")) for one in there
                ):
                    continue  # below a field whose inside no source tells here
                *above, name = field.replace("[]", "").split(".")
                wanted = f"{part} {name}" in said or name in said
                wanted = wanted or any(f"{one}.*" in said for one in above)
                (explained if wanted else others).append(f"{method} {path} {part} {field}")
    return explained, others
