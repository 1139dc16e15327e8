"""The OpenAPI document, made from the endpoints, so that it cannot say less than the routes do.

Source: https://spec.openapis.org/oas/v3.1.0
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from tidegate import __version__
from tidegate.edge.endpoint import Endpoint

_EVERYWHERE = frozenset({400, 403, 421})  # a token in the URL, a page of another origin, a wrong Host


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the document for some endpoints."""
    shapes = [endpoint.body for endpoint in endpoints if endpoint.body is not None]
    refs, components = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(shapes, refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tidegate", "version": __version__, "license": {"name": "Apache-2.0"}},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": _TEXT, "message": _TEXT, "hint": _TEXT, "type": _TEXT, "param": {}},
        }
    },
}


def _operation(endpoint: Endpoint, schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": [
            *(
                _parameter("path", name, "", is_required=True)
                for name in re.findall(r"{(\w+)}", endpoint.path)
            ),
            *(_parameter("query", name, text) for name, text in endpoint.query.items()),
            *(_parameter("header", name, text) for name, text in endpoint.headers.items()),
        ],
        "responses": _responses(endpoint),
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": schema_of[endpoint.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.is_open:
        operation["security"] = []
    return operation


def _parameter(place: str, name: str, text: str, *, is_required: bool = False) -> dict[str, Any]:
    return {"in": place, "name": name, "description": text, "required": is_required, "schema": _TEXT}


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    good = {
        str(status): {"description": text, "content": {endpoint.media_type: {"schema": {}}}}
        for status, text in endpoint.answers.items()
    }
    codes = sorted(_EVERYWHERE.union(endpoint.errors, () if endpoint.is_open else (401,)))
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return good | {str(code): {"description": HTTPStatus(code).phrase, "content": schema} for code in codes}
