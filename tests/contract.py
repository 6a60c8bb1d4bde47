"""Holding every reply that a test sees against the OpenAPI document of the server."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import httpx
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

import claims
import evidence
from simyard.api.app import OPERATIONS
from simyard.api.openapi import document

DOCUMENT: dict[str, Any] = document(OPERATIONS)
_HERE = "urn:simyard"
_REGISTRY: Registry[Any] = Registry().with_resource(
    _HERE, Resource(contents=DOCUMENT, specification=DRAFT202012)
)


def _words_first(path: str) -> str:
    return path.replace("{", "~")


_PATHS = [
    (re.compile(re.sub(r"\{(\w+)\}", "(.+)" if "/tail/" in path else "([^/]+)", path)), path)
    for path in sorted(DOCUMENT["paths"], key=_words_first)
]


def place_of(method: str, path: str) -> tuple[str, str] | None:
    """The (method, path) of the document that a request goes to."""
    path = path if path.endswith("/") else f"{path}/"
    if path.startswith("/api/") and not re.match(r"/api/(v2|v3)/", path):
        path = path.replace("/api/", "/api/v2/", 1)
    for pattern, template in _PATHS:
        if pattern.fullmatch(path):
            known = DOCUMENT["paths"][template]
            return (method, template) if method.lower() in known else None
    return None


def _told(response: dict[str, Any]) -> dict[str, Any]:
    """A response, itself where the document refers to it."""
    name = response.get("$ref", "").rsplit("/", 1)[-1]
    return DOCUMENT["components"]["responses"][name] if name else response


@cache
def _validator(method: str, path: str, status: str, kind: str) -> Draft202012Validator:
    told = DOCUMENT["paths"][path][method]["responses"][status]
    schema = _told(told)["content"][kind]["schema"]
    absolute = json.loads(json.dumps(schema).replace('"#/', f'"{_HERE}#/'))
    return Draft202012Validator(absolute, registry=_REGISTRY)


def hold(reply: httpx.Response, *, proves: bool = True) -> None:
    """Fails where a reply to a known route has a status, a kind or a shape that is not told.

    proves: whether what it shows may prove the compatibility table.
    """
    request = reply.request
    place = place_of(request.method, request.url.path)
    if place is None:
        return
    method, path = place
    told = DOCUMENT["paths"][path][method.lower()]["responses"]
    said = f"{method} {request.url.path}: {reply.status_code}"
    if reply.status_code == 405:
        return
    assert str(reply.status_code) in told, f"{said} is not told: {sorted(told)}"
    contents = _told(told[str(reply.status_code)]).get("content", {})
    kind = reply.headers.get("content-type", "").split(";")[0]
    if not contents:
        assert not reply.content, f"{said}: {reply.content[:200]!r} is more than is told"
    elif "/tail/" in path and kind == "text/plain":
        return
    else:
        range_ = f"{kind.split('/')[0]}/*"
        assert kind in contents or range_ in contents, f"{said} is {kind}, not {list(contents)}"
    if proves:
        _note(reply, method, path, kind)
    if kind == "application/json" and contents:
        problems = [
            *_validator(method.lower(), path, str(reply.status_code), kind).iter_errors(
                reply.json()
            )
        ]
        assert not problems, f"{said}: {problems[0].json_path}: {problems[0].message[:300]}"


def _note(reply: httpx.Response, method: str, path: str, kind: str) -> None:
    """Tell the compatibility table what was seen, if the request was answered as documented."""
    operation = claims.operations()[method, path]
    if reply.status_code != operation.status:
        return
    evidence.note(method, path, "endpoint", [""])
    evidence.note(method, path, "query", reply.request.url.params.keys())
    evidence.note(method, path, "request", sent_fields(reply.request))
    if kind == "application/json":
        evidence.note(method, path, "reply", fields_of(reply.json()))


# --- what a reply or a request has shown ----------------------------------------------------------


def fields_of(value: Any, at: str = "") -> Iterator[str]:
    """The paths of all fields in a JSON value; entries of lists share theirs: `results[].id`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{at}.{key}" if at else key
            yield path
            yield from fields_of(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from fields_of(inner, f"{at}[]")


def sent_fields(request: httpx.Request) -> Iterator[str]:
    """The fields of the body of a request: JSON, or a form."""
    kind = request.headers.get("content-type", "")
    try:
        content = request.content
    except httpx.RequestNotRead:  # it was streamed: the names of a form's parts are near its start
        content = b"".join(part for part in _start_of(request))
    if kind.startswith("application/json") and content:
        yield from fields_of(json.loads(content))
    elif kind.startswith("multipart/form-data"):
        yield from (name.decode() for name in re.findall(rb'[; ]name="(\w+)"', content))
    elif kind.startswith("application/x-www-form-urlencoded"):
        yield from dict(parse_qsl(content.decode()))


def _start_of(request: httpx.Request) -> Iterator[bytes]:
    fields = getattr(request.stream, "fields", ())
    for field in fields:
        yield field.render_headers()
