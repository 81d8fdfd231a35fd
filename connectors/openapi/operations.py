"""From a description to operations: names, definitions, effects, and how a request is made."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.openapi.document import Document, SpecRefused
from connectors.openapi.parameters import Arguments
from connectors.openapi.schemas import Schemas
from connectors.openapi.selection import Found, selected
from connectors.openapi.swagger import modern_parts
from connectors.rest.operation import Operation, annotations, usual_effect
from gateway.connector import Effect, Failures, ToolTraits, dump

__all__ = ["Making", "operations_in"]

_MAX_DESCRIPTION: Final = 8_000
_MAX_OUTPUT: Final = 64 * 1024
_NEXT: Final = (
    *("next", "next_page", "nextPage", "next_url", "nextUrl", "nextLink", "@odata.nextLink", "next_cursor"),
    *("nextCursor", "next_page_token", "nextPageToken", "next_token", "nextToken", "has_more", "hasMore"),
)
_AROUND: Final = ("meta", "metadata", "pagination", "paging", "page", "links", "_links")


@dataclass(frozen=True, slots=True)
class Making:
    """What else decides over the tools: `filled` tells what the gateway fills, `keyed` that keys are sent."""

    failures: Failures
    filled: Callable[[str, str], bool]
    keyed: bool = False
    outputs: bool = True


def operations_in(document: Document, wanted: Sequence[str], making: Making) -> list[Operation]:
    """Return the operations that `wanted` names.

    Raises:
        SpecRefused: one is not there, cannot be called, or its failures have no meaning.
    """
    return [_operation(document, found, making) for found in selected(document, wanted)]


def _operation(document: Document, found: Found, making: Making) -> Operation:
    try:
        return _made(document, found, making)
    except SpecRefused as error:
        raise SpecRefused(f"{found.method} {found.path}: {error}") from None


def _made(document: Document, found: Found, making: Making) -> Operation:
    parameters, body, responses = _parts(document, found)
    arguments = Arguments(document, making.filled)
    arguments.add_parameters(parameters)
    if body is not None:
        arguments.add_body(body)
    arguments.placed(found.path)
    _check_failures(responses, making.failures)
    effect = usual_effect(found.method)
    keyed = making.keyed and effect is not Effect.READ
    traits = ToolTraits(effect, found.method in {"PUT", "DELETE"} or keyed)
    answered = _answered(document, responses)
    output, wrapped = _output(document, answered) if making.outputs else (None, False)
    request = [found.method, found.path, [repr(part) for part in arguments.parts], repr(arguments.body)]
    definition = {
        "name": found.name,
        "description": _description(found),
        "inputSchema": arguments.schema(),
        "annotations": {
            **annotations(f"{found.method} {found.path}", traits),
            # What is pinned is the definition: a description that sends the same arguments elsewhere must not match it.
            "io.toolgate/request": f"sha256:{hashlib.sha256(dump(request)).hexdigest()}",
        },
    }
    if output is not None:
        definition["outputSchema"] = output
    return Operation(
        name=found.name,
        method=found.method,
        path=found.path,
        definition=definition,
        traits=traits,
        parts=tuple(arguments.parts),
        body=arguments.body,
        wrapped=wrapped,
        more=_more(document, answered),
    )


def _parts(
    document: Document, found: Found
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any] | None, Mapping[str, Any]]:
    """Return parameters, body and responses, each as an object; an operation's own parameter hides its path's."""
    own: dict[tuple[Any, Any], Mapping[str, Any]] = {}
    for node in (*found.shared, *(found.operation.get("parameters") or ())):
        parameter = document.followed(node)
        own[parameter.get("name"), parameter.get("in")] = parameter
    if document.dialect == "2.0":
        return modern_parts(document, found.operation, list(own.values()))
    body = found.operation.get("requestBody")
    responses = found.operation.get("responses") or {}
    return (
        list(own.values()),
        document.followed(body) if body is not None else None,
        {str(status): document.followed(node) for status, node in responses.items() if not status.startswith("x-")},
    )


def _check_failures(responses: Mapping[str, Any], failures: Failures) -> None:
    """A failure that nobody has said the meaning of is found when the tools are made, not when money is moved."""
    for status in responses:
        said = status.lower()
        if said != "default" and not said.startswith(("2", "x-")) and failures.action(said) is None:
            raise SpecRefused(f"nothing says what the answer {status} means; add it to answers.failures")


def _answered(document: Document, responses: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of the JSON that success answers with, where there is one kind of success."""
    good = [node for status, node in responses.items() if status.startswith("2")]
    content = good[0].get("content") if len(good) == 1 else None
    if not isinstance(content, Mapping):
        return None
    for media, node in content.items():
        kind = media.partition(";")[0].strip().lower()
        if (kind == "application/json" or kind.endswith("+json")) and isinstance(node, Mapping):
            schema = node.get("schema")
            return document.followed(schema) if isinstance(schema, Mapping) else None
    return None


def _output(document: Document, node: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, bool]:
    """Return the output schema, and whether answers are wrapped to fit it; none where it would say nothing."""
    if not node:
        return None, False
    schemas = Schemas(document, "writeOnly")
    if _members(document, node) is not None:
        schema = schemas.with_definitions({"type": "object", **schemas.part(node)})
        wrapped = False
    else:
        within = schemas.part(node)
        if not {"type", "enum", "const", "anyOf", "oneOf", "allOf"} & set(within) or within.get("type") == "object":
            return None, False
        answer = {"type": "object", "properties": {"result": within}, "required": ["result"]}
        schema, wrapped = schemas.with_definitions(answer), True
    if schema["type"] != "object" or len(dump(schema)) > _MAX_OUTPUT:
        return None, False
    return schema, wrapped


def _members(document: Document, node: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any] | None:
    """Return the properties that a schema of an object names, those of its `allOf` too; None where it names none."""
    found: dict[str, Any] = {}
    if isinstance(node.get("properties"), Mapping):
        found.update(node["properties"])
    for each in node.get("allOf") or ():
        if depth < 8:
            found.update(_members(document, document.followed(each), depth + 1) or {})
    return found or None


def _more(document: Document, node: Mapping[str, Any] | None) -> tuple[tuple[str, ...], ...]:
    """Return where the answer is declared to say that there is more."""
    members = (_members(document, node) if node else None) or {}
    paths = [(name,) for name in _NEXT if name in members]
    for around in _AROUND:
        if isinstance(members.get(around), Mapping):
            inner = _members(document, document.followed(members[around])) or {}
            paths.extend((around, name) for name in _NEXT if name in inner)  # type: ignore[misc]  # of any length
    return tuple(paths)


def _description(found: Found) -> str:
    summary, text = (str(found.operation.get(key) or "").strip() for key in ("summary", "description"))
    said = text if not summary or text.startswith(summary) else f"{summary}\n\n{text}".strip()
    return said[:_MAX_DESCRIPTION] or f"{found.method} {found.path}"
