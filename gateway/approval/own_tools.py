"""The tools with which agents ask what became of their approvals, and carry drafts out: definitions, as pinned."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "APPROVALS_SERVER",
    "APPROVALS_TOOLS",
    "ESCALATE",
    "ESCALATE_TOOL",
    "EXECUTE",
    "EXECUTE_TOOL",
    "LONGEST_S",
    "WAIT_S",
    "WAIT_TOOL",
]

APPROVALS_SERVER: Final = "approvals"
"""The server name under which it stands; no configured server may take it."""

WAIT_TOOL: Final = "approvals.wait"
EXECUTE_TOOL: Final = "approvals.execute"
ESCALATE_TOOL: Final = "approvals.escalate"
WAIT_S: Final = 3.0
LONGEST_S: Final = 50.0
_TEXT: Final = {"type": "string"}

EXECUTE: Final[Mapping[str, Any]] = {
    "name": "execute",
    "description": (
        "Carry out a draft that people have approved: the call is made, once, with the arguments they approved, under "
        "the rules of this moment. The answer is the call's own."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "draft": {
                "type": "string",
                "minLength": 1,
                "maxLength": 100,
                "description": "Its id, as the call that made it was told: apr_…",
            },
        },
        "required": ["draft"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": True},
}
"""There where a tool makes drafts."""

APPROVALS_TOOLS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "wait",
        "description": (
            "Ask how an approval stands that one of your calls waits for, and wait a moment for a decision. Once it is "
            "approved, repeat that very call with the same arguments: it is carried out then, once."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "approval": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 100,
                    "description": "Its id, as the waiting call was told: apr_…",
                },
                "seconds": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": LONGEST_S,
                    "description": f"How long to wait for a decision; {WAIT_S:g} if absent. Stay below your time-out.",
                },
            },
            "required": ["approval"],
            "additionalProperties": False,
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "approval": _TEXT,
                "state": {"enum": ["pending", "approved", "denied", "edited", "expired", "revoked", "used"]},
                "message": _TEXT,
                "call": {
                    "type": "object",
                    "properties": {"tool": _TEXT, "arguments": {"type": "object"}},
                    "required": ["tool", "arguments"],
                    "additionalProperties": False,
                },
            },
            "required": ["approval", "state"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False},
    },
)

ESCALATE: Final[Mapping[str, Any]] = {
    "name": "escalate",
    "description": (
        "Put a question to a person where you cannot or should not go on by yourself: say what you need to know, and "
        "what you would do. You are told an id; wait with approvals_wait, then repeat this very call for the answer."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1, "maxLength": 4000, "description": "What has to be decided."},
            "context": {"type": "string", "maxLength": 20_000, "description": "What a person has to know for that."},
            "proposal": {"type": "string", "maxLength": 4000, "description": "What you would do."},
        },
        "required": ["question"],
        "additionalProperties": False,
    },
    "outputSchema": {
        "type": "object",
        "properties": {"escalation": _TEXT, "by": _TEXT, "answer": _TEXT},
        "required": ["escalation", "by", "answer"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False},
}
"""There where somebody is named who answers."""
