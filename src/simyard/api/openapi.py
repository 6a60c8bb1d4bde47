"""The OpenAPI 3.1 document, made from the declarations of the routes."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from simyard import __version__
from simyard.api.routes import PARAMETER, Operation

_DETAIL = {
    "description": "What is wrong, in a sentence.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"detail": {"type": "string"}}}
        }
    },
}
_TREE = {
    "description": "What is wrong: a sentence, or a list of sentences for each wrong field.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
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
        "paths": paths,
        "components": {
            "schemas": schemas,
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


def _describe(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name, _ in PARAMETER.findall(operation.path)
    ]
    responses: dict[str, Any] = {
        str(operation.status): {"description": "Done."},
        "401": _DETAIL,
        "404": _DETAIL,
    }
    if operation.method in ("POST", "PUT", "DELETE") or operation.parameters:
        responses["400"] = _TREE
    described: dict[str, Any] = {
        "operationId": f"{operation.endpoint.__name__}_{operation.method.lower()}",
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*in_path, *operation.parameters],
        "responses": responses,
    }
    content: dict[str, Any] = {}
    if operation.body is not None:
        content["application/json"] = {"schema": _schema(operation.body, schemas)}
    if operation.form is not None:
        content["multipart/form-data"] = {"schema": operation.form}
    if content:
        described["requestBody"] = {"required": True, "content": content}
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
