"""The OpenAPI 3.1 document of the HTTP API, made from the operations that the routes are made from."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from distq.web.operations import OPERATIONS, Operation, Parameter
from distq.web.problems import MEDIA_TYPE
from distq.web.schemas import SCHEMAS

PATH: Final = "/api/v1/openapi.json"
VERSION: Final = "1"
"""Version of the API, which is in its paths."""
KEY: Final = "clusterKey"
PROBLEMS: Final = {
    400: "The request cannot be read.",
    401: "The request has no key of the cluster.",
    403: "A key is not accepted over plain HTTP from another machine.",
    404: "The master does not know the task (any more).",
    409: "The state of the task, or another task, is in the way.",
    413: "The body, or the arguments, are too large.",
    415: "The body is not JSON.",
    422: "A field has a value that it does not take, or the idempotency key belongs to another request.",
    429: "Too many requests wait for the ends of tasks.",
    503: "There is no room for the task, or the store cannot write now.",
}


def document() -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "distq",
            "version": VERSION,
            "description": "Submit, follow and cancel tasks of distq from any language, and read the figures of a "
            "master.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                KEY: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of the master's DISTQ_AUTHKEY or DISTQ_KEYS_PATH.",
                }
            },
        },
    }


def page() -> str:
    """The document as text, as the master answers it."""
    return json.dumps(document(), indent=2) + "\n"


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation.operation_id, "summary": operation.summary}
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    described["responses"] = _responses(operation)
    described["security"] = [{KEY: []}] if operation.needs_key else []
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {"name": parameter.name, "in": parameter.place, "description": parameter.description}
    return {**described, "required": parameter.place == "path", "schema": parameter.schema}


def _responses(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {}, "application/octet-stream": {}}
    if operation.schema is not None:
        content = {"application/json": {"schema": _reference(operation.schema)}}
    responses: dict[str, Any] = {
        str(status): {"description": text, "content": content} for status, text in operation.answers.items()
    }
    if operation.operation_id == "submitTask":
        for response in responses.values():
            response["headers"] = {"Location": {"description": "Path of the task.", "schema": {"type": "string"}}}
            response["links"] = {
                name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
                for name in ("getTask", "getResult", "cancelTask")
            }
    of_key = (401, 403) if operation.needs_key else ()
    for status in sorted((*operation.problems, *of_key)):
        response = {"description": PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": _reference("Problem")}}}
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            about = "Seconds after which the request may be repeated."
            response["headers"] = {"Retry-After": {"description": about, "schema": {"type": "integer"}}}
        responses[str(status)] = response
    return responses


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}
