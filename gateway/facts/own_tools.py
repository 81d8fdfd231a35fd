"""The tools with which agents keep facts: definitions, as pinned."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["DELETE_FACT", "FACTS_SERVER", "FACTS_TOOLS", "GET_FACT", "LIST_FACTS", "PUT_FACT"]

FACTS_SERVER: Final = "facts"
"""The server name under which they stand; no configured server may take it."""

PUT_FACT: Final = "facts.put"
GET_FACT: Final = "facts.get"
LIST_FACTS: Final = "facts.list"
DELETE_FACT: Final = "facts.delete"

_TEXT: Final = {"type": "string"}
_WORD: Final = {"type": "string", "minLength": 1, "maxLength": 128}
_SCOPE: Final = {
    "type": "string",
    "enum": ["run", "session", "agent", "user", "team"],
    "description": "Whose it is: this piece of work, this session, you, the user you act for, your team.",
}
_NAME: Final = {
    "type": "string",
    "pattern": "^[A-Za-z][A-Za-z0-9_.-]{0,127}$",
    "description": "What it is called, such as budget.",
}
_TEAM: Final = {**_WORD, "description": "Which team, where the scope is team and you are in several."}
_VERSION: Final = {
    "type": "integer",
    "minimum": 0,
    "description": "The version that you read and mean to replace; 0: there must be none yet.",
}
_PROOF: Final = {
    "type": "object",
    "properties": {
        "call": {**_WORD, "description": "The id of a recorded call of yours."},
        "tool": {**_WORD, "description": "Or its tool: the latest such call in this run that succeeded."},
        "path": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "description": "Where in its structured result the very value stands, such as order.total. It is checked.",
        },
    },
    "additionalProperties": False,
    "description": "Which call it was taken from; it must be on record and have succeeded.",
}


def _object(required: list[str], **properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_FACT: Final = _object(
    ["name", "scope", "version", "at", "by"],
    name=_TEXT,
    scope=_TEXT,
    value={},
    size={"type": "integer"},
    version={"type": "integer"},
    at=_TEXT,
    until=_TEXT,
    by=_TEXT,
    proof={"type": "object"},
)
_READS: Final = {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False}
_WRITES: Final = {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}

FACTS_TOOLS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "put",
        "description": (
            "Keep something you found out, so that it is still there when you no longer remember it. It is never put "
            "over another value unseen: to replace one, name the version that you read."
        ),
        "inputSchema": _object(
            ["scope", "name", "value"],
            scope=_SCOPE,
            name=_NAME,
            value={"description": "Any JSON value."},
            version=_VERSION,
            ttl_s={"type": "integer", "minimum": 1, "maximum": 366 * 86_400, "description": "For how many seconds."},
            proof=_PROOF,
            team=_TEAM,
        ),
        "outputSchema": _object(["fact"], fact=_FACT),
        "annotations": _WRITES,
    },
    {
        "name": "get",
        "description": "Return a fact that you or somebody before you has put.",
        "inputSchema": _object(["scope", "name"], scope=_SCOPE, name=_NAME, team=_TEAM),
        "outputSchema": _object(["found"], found={"type": "boolean"}, fact=_FACT),
        "annotations": _READS,
    },
    {
        "name": "list",
        "description": "List the facts of a scope. Long values are left out: get them by name.",
        "inputSchema": _object(["scope"], scope=_SCOPE, team=_TEAM),
        "outputSchema": _object(["facts"], facts={"type": "array", "items": _FACT}),
        "annotations": _READS,
    },
    {
        "name": "delete",
        "description": "Forget a fact. What was decided by it stays on record.",
        "inputSchema": _object(["scope", "name"], scope=_SCOPE, name=_NAME, version=_VERSION, team=_TEAM),
        "outputSchema": _object(["deleted"], deleted={"type": "boolean"}),
        "annotations": _WRITES,
    },
)
