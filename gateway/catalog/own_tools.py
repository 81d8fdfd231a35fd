"""The tools with which agents find their way in large catalogs and large answers: definitions, as pinned."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.catalog.config import ToolRule, TraitsRule
from gateway.catalog.lock import Pin
from gateway.model.tool import Effect

__all__ = [
    "CALL_TOOL",
    "CALL_WIRE_NAME",
    "MAX_DESCRIBED",
    "MAX_FOUND",
    "OWN_PINS",
    "OWN_RULES",
    "READ_RESULT",
    "READ_WIRE_NAME",
    "RESULTS_SERVER",
    "TOOLS_SERVER",
]

TOOLS_SERVER: Final = "tools"
RESULTS_SERVER: Final = "results"
"""The server names under which these tools stand; no configured server may take them."""

CALL_TOOL: Final = "tools.call"
CALL_WIRE_NAME: Final = "tools_call"
READ_RESULT: Final = "results.read"
READ_WIRE_NAME: Final = "results_read"
MAX_FOUND: Final = 50
MAX_DESCRIBED: Final = 20
_READS: Final = {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False}


def _object(required: list[str], **properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}

_SEARCH: Final[Mapping[str, Any]] = {
    "name": "search",
    "description": (
        "Find tools by what they do. There are too many to list: search here, read a tool's arguments with "
        "tools_describe, then call it with tools_call."
    ),
    "inputSchema": _object(
        ["query"],
        query={
            "type": "string",
            "minLength": 1,
            "maxLength": 400,
            "description": "Words of what the tool should do, such as: create invoice",
        },
        limit={"type": "integer", "minimum": 1, "maximum": MAX_FOUND, "description": "How many at most; 10 if absent."},
    ),
    "outputSchema": _object(
        ["tools", "of"],
        tools={
            "type": "array",
            "items": _object(["name", "description", "score"], name=_TEXT, description=_TEXT, score={"type": "number"}),
        },
        of=_COUNT,
    ),
    "annotations": _READS,
}

_DESCRIBE: Final[Mapping[str, Any]] = {
    "name": "describe",
    "description": "Return the full definitions of tools: what they do, their arguments, their results.",
    "inputSchema": _object(
        ["names"],
        names={
            "type": "array",
            "items": {"type": "string", "maxLength": 400},
            "minItems": 1,
            "maxItems": MAX_DESCRIBED,
            "description": "Names that tools_search found.",
        },
    ),
    "outputSchema": _object(
        ["tools", "missing"],
        tools={"type": "array", "items": {"type": "object"}},
        missing={"type": "array", "items": _TEXT},
    ),
    "annotations": _READS,
}

_CALL: Final[Mapping[str, Any]] = {
    "name": "call",
    "description": (
        "Call a tool that tools_search found, exactly as if it had been called by its own name: the same rules, the "
        "same answer."
    ),
    "inputSchema": _object(
        ["name"],
        name={"type": "string", "minLength": 1, "maxLength": 400, "description": "The tool to call."},
        arguments={"type": "object", "description": "Its arguments, as tools_describe says."},
    ),
    "annotations": {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": True},
}

_READ: Final[Mapping[str, Any]] = {
    "name": "read",
    "description": "Read on in an answer that was too large to be given whole. The answer itself says how.",
    "inputSchema": _object(
        ["handle"],
        handle={"type": "string", "minLength": 1, "maxLength": 100, "description": "As the cut answer named it."},
        offset={**_COUNT, "description": "The character to begin at; 0 if absent."},
        length={
            "type": "integer",
            "minimum": 1,
            "description": "How many characters at most; as many as fit if absent.",
        },
    ),
    "outputSchema": _object(
        ["text", "offset", "next", "total"],
        text=_TEXT,
        offset=_COUNT,
        next={"type": ["integer", "null"]},
        total=_COUNT,
    ),
    "annotations": _READS,
}

OWN_PINS: Final[Mapping[str, Mapping[str, Pin]]] = {
    TOOLS_SERVER: {
        "search": Pin.of(_SEARCH, reviewed=True),
        "describe": Pin.of(_DESCRIBE, reviewed=True),
        "call": Pin.of(_CALL, effect=Effect.READ, reviewed=True),
    },
    RESULTS_SERVER: {"read": Pin.of(_READ, reviewed=True)},
}
"""The pins of these tools, by server and name."""

OWN_RULES: Final[Mapping[str, ToolRule]] = {
    CALL_TOOL: ToolRule(effect=Effect.READ, traits=TraitsRule(open_world=False))
}
"""What holds of them unless the operator says otherwise: of itself a call through `tools.call` does nothing, for the
call it stands for is decided too."""
