"""The OpenAPI 3.1 document, made from the declarations of the routes."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from simyard import __version__
from simyard.api import shapes
from simyard.api.routes import PARAMETER, Operation
from simyard.domain.users import Right

_ABOUT = {
    200: "Done.",
    201: "Made.",
    202: "Asked for; it will happen.",
    204: "Done; there is nothing to say.",
    206: "The part that was asked for.",
    304: "It has not changed.",
    400: "Something that was sent is wrong, or it is not possible now.",
    401: "No key, or none that is in force.",
    403: "You may look and not change.",
    404: "There is no such thing, or you may not see it.",
    409: "The study takes no more runs, or the upload goes on at another byte.",
    412: "It was changed by somebody else meanwhile, or another version of tus is wanted.",
    413: "It is larger than this site takes.",
    415: "A body of another kind is wanted.",
    416: "The file ends before the range begins.",
    422: "The Idempotency-Key was used before with another request, or too few runs have finished.",
    423: "Another request is writing this upload; retry.",
    428: "Say with `If-Match` what the change was made from.",
    429: "Too many requests; `Retry-After` says when to come again.",
    460: "What arrived has not the checksum that was sent; nothing of it was kept.",
    503: "A part of the server does not answer; retry.",
    507: "There is no room left on the server's disk.",
}
_ERRORS = {
    401: "Authentication credentials were not provided.",
    403: "You do not have permission to perform this action.",
    404: "Not found.",
    409: "This study takes no more runs: finished by the user.",
    412: "This draft was changed meanwhile.",
    413: "The body is larger than 16777216 bytes.",
    415: 'Unsupported media type "text/plain" in request.',
    416: "Requested range not satisfiable.",
    422: "This Idempotency-Key was used before with a different request.",
    423: "Another request is writing this upload.",
    428: 'Send the header If-Match with the ETag of the draft: If-Match: "3".',
    429: "Request was throttled. Expected available in 12 seconds.",
    460: "What arrived has not the checksum that was sent; nothing of it was kept.",
    503: "The server is stopping.",
    507: "There is no room left on the disk of the database.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Repeated with the same key, the request has its effect once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {
        name: {**shape, "examples": [shapes.example(shape)]} for name, shape in shapes.named.items()
    }
    for operation in operations:
        path = PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Simyard",
            "version": __version__,
            "summary": "Self-hosted simulation jobs, compatible with the Rescale REST API v2",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": _errors(),
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token <api-key>` or `Bearer <api-key>`",
                }
            },
        },
        "security": [{"key": []}],
    }


def statuses(operation: Operation) -> list[int]:
    """Every status that an operation may answer with."""
    found = {operation.status, *operation.also, 503}
    takes_body = operation.body or operation.json_body
    if operation.right is not None:
        found |= {401, 429}
    if operation.right not in (None, Right.READ) or operation.method not in ("GET", "HEAD"):
        found.add(403)
    if operation.parameter_names or any(p["name"] == "page" for p in operation.parameters):
        found.add(404)
    if operation.method not in ("GET", "HEAD"):
        found |= {400, 507}
    if any(p["schema"].get("type") in ("integer", "number") for p in operation.parameters):
        found.add(400)
    if takes_body or operation.form:
        found |= {400, 413, 415}
    if operation.creates:
        found.add(422)
    return sorted(found)


def _describe(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in operation.parameter_names
    ]
    in_header = [_KEY] if operation.creates else []
    version = "v3_" if operation.path.startswith("/api/v3/") else ""
    described: dict[str, Any] = {
        "operationId": f"{version}{operation.endpoint.__name__}_{operation.method.lower()}",
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*in_path, *operation.parameters, *in_header],
        "responses": {str(status): _response(operation, status) for status in statuses(operation)},
    }
    if operation.right is None:
        described["security"] = []
    content: dict[str, Any] = {}
    if operation.body is not None:
        content["application/json"] = {"schema": _schema(operation.body, schemas)}
    if operation.json_body is not None:
        content["application/json"] = {"schema": operation.json_body}
    if operation.form is not None:
        content["multipart/form-data"] = {"schema": operation.form}
    if content:
        described["requestBody"] = {"required": True, "content": content}
    return described


def _errors() -> dict[str, Any]:
    """What went wrong, by status."""
    found = {}
    for status in (400, *_ERRORS):
        detail = {"$ref": "#/components/schemas/Detail"}
        content: dict[str, Any] = {"schema": detail}
        if status == 400:
            content = {"schema": {"$ref": "#/components/schemas/Problems"}}
        elif status == 412:  # of a draft with more than a sentence
            draft = {"$ref": "#/components/schemas/DraftChanged"}
            content = {"schema": {"anyOf": [draft, detail]}}
        else:
            content["example"] = {"detail": _ERRORS[status]}
        about = {"description": _ABOUT[status], "content": {"application/json": content}}
        found[f"Error{status}"] = about
    return found


def _response(operation: Operation, status: int) -> dict[str, Any]:
    bare = operation.method == "HEAD"
    if (status == 400 or status in _ERRORS) and not bare:
        return {"$ref": f"#/components/responses/Error{status}"}
    described: dict[str, Any] = {"description": _ABOUT[status]}
    if operation.reply and not bare and status != 304:
        content: dict[str, Any] = {"schema": operation.reply}
        if operation.media_type == "application/json" and "$ref" not in operation.reply:
            content["example"] = shapes.example(operation.reply)
        described["content"] = {operation.media_type: content}
    return described


def _schema(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to the model's schema, which is put among the others with all that it uses."""
    made = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, schema in (*made.pop("$defs", {}).items(), (model.__name__, made)):
        properties = schema.get("properties", {})
        needed = [key for key, value in properties.items() if value.pop("needed", False)]
        if needed:
            schema["required"] = needed
        schemas[name] = schema
    return {"$ref": f"#/components/schemas/{model.__name__}"}
