"""Swagger 2.0 operations in the words of OpenAPI 3: many services still describe themselves in it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from connectors.openapi.document import Document, SpecRefused

__all__ = ["modern_parts"]

_OF_SCHEMA: Final = frozenset(
    {"type", "format", "items", "enum", "default", "pattern", "minimum", "maximum", "exclusiveMinimum"}
    | {"exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "multipleOf", "x-nullable"}
)
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"


def modern_parts(
    document: Document, operation: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], Mapping[str, Any] | None, dict[str, Any]]:
    """Return the parameters, the request body and the responses of an operation as OpenAPI 3 has them."""
    plain = [_parameter(each) for each in parameters if each.get("in") not in {"body", "formData"}]
    body = next((_body(document, operation, each) for each in parameters if each.get("in") == "body"), None)
    fields = [each for each in parameters if each.get("in") == "formData"]
    kinds = _named(document, operation, "produces")
    responses = {
        status: _response(document.followed(each), kinds) for status, each in operation.get("responses", {}).items()
    }
    return plain, body or (_form(document, operation, fields) if fields else None), responses


def _named(document: Document, operation: Mapping[str, Any], what: str) -> list[str]:
    kinds = operation.get(what) or document.root.get(what) or [_JSON]
    return [str(kind) for kind in kinds]


def _parameter(old: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = {key: value for key, value in old.items() if key in _OF_SCHEMA}
    new = {key: value for key, value in old.items() if key not in _OF_SCHEMA}
    collection = old.get("collectionFormat", "csv")
    if collection == "tsv":
        raise SpecRefused(f"parameter {old.get('name')}: lists between tabs are not supported")
    if old.get("in") == "query":
        new["style"] = {"ssv": "spaceDelimited", "pipes": "pipeDelimited"}.get(collection, "form")
        new["explode"] = collection == "multi"
    return {**new, "schema": schema}


def _body(document: Document, operation: Mapping[str, Any], old: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = _named(document, operation, "consumes")[0]
    return {
        "description": old.get("description", ""),
        "required": old.get("required", False),
        "content": {kind: {"schema": old.get("schema", {})}},
    }


def _form(document: Document, operation: Mapping[str, Any], fields: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    kind = _named(document, operation, "consumes")[0]
    members = {str(each["name"]): _parameter(each) for each in fields}
    schema = {
        "type": "object",
        "properties": {
            name: {**each["schema"], "description": each.get("description", "")} for name, each in members.items()
        },
        "required": [name for name, each in members.items() if each.get("required") is True],
    }
    return {"required": bool(schema["required"]), "content": {_FORM if kind == _JSON else kind: {"schema": schema}}}


def _response(old: Mapping[str, Any], kinds: Sequence[str]) -> Mapping[str, Any]:
    return {"content": {kind: {"schema": old["schema"]} for kind in kinds}} if "schema" in old else {}
