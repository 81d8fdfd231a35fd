"""The tools with which agents handle their own runs: definitions, as pinned."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "DEFAULT_PASSPORT_S",
    "DEFAULT_TOKENS",
    "DEFAULT_TTL_S",
    "LEAST_TOKENS",
    "MOST_CALLS",
    "OWN_SERVER",
    "OWN_TOOLS",
    "PHASE_TOOL",
]

OWN_SERVER: Final = "run"
"""The server name under which the gateway's own tools stand; no configured server may take it."""

LEAST_TOKENS: Final = 200
DEFAULT_TOKENS: Final = 1_000
MOST_CALLS: Final = 100
DEFAULT_TTL_S: Final = 3600
DEFAULT_PASSPORT_S: Final = 900
_READS: Final = {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False}
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer"}


def _object(required: list[str], **properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


OWN_TOOLS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "start",
        "description": (
            "Begin a new piece of work: the calls that follow belong together and are checked together. "
            "Call it when you turn to something unrelated to what you did before."
        ),
        "inputSchema": _object([]),
        "outputSchema": _object(["run"], run=_TEXT),
        "annotations": _READS,
    },
    {
        "name": "resume",
        "description": (
            "Go on with a piece of work that was broken off: begin it again at its first step. What it did before is "
            "answered from the record without being done again; the first call beyond that is carried out."
        ),
        "inputSchema": _object(
            ["run"], run={"type": "string", "minLength": 1, "maxLength": 256, "description": "The run's id: run_…"}
        ),
        "outputSchema": _object(["run", "attempt", "recorded"], run=_TEXT, attempt=_COUNT, recorded=_COUNT),
        "annotations": _READS,
    },
    {
        "name": "brief",
        "description": (
            "Say in few words how this piece of work stands: what is in doubt or still waiting, and its last steps. "
            "Read it when you come back to the work, or have lost the thread."
        ),
        "inputSchema": _object(
            [],
            max_tokens={
                "type": "integer",
                "minimum": LEAST_TOKENS,
                "maximum": 20_000,
                "description": f"How long it may be at most; {DEFAULT_TOKENS} if absent.",
            },
        ),
        "annotations": _READS,
    },
    {
        "name": "history",
        "description": (
            "Return what was called before, exactly: the calls of a tool whose arguments have these very values, the "
            "latest first, with time and result. Ask it whether something was done already."
        ),
        "inputSchema": _object(
            [],
            tool={"type": "string", "maxLength": 400, "description": 'A tool, or a pattern such as "payments.*".'},
            match={
                "type": "object",
                "maxProperties": 16,
                "description": 'What the arguments must hold, by path: {"payment_id": "p_17", "to.country": "DE"}.',
            },
            since={"type": "string", "maxLength": 40, "description": 'A time (2026-11-28T10:00:00Z) or "15m", "2h".'},
            scope={"enum": ["run", "agent"], "description": "This run, or all that you did; this run if absent."},
            limit={"type": "integer", "minimum": 1, "maximum": MOST_CALLS, "description": "At most; 20 if absent."},
        ),
        "outputSchema": _object(["calls", "more"], calls={"type": "array"}, more={"type": "boolean"}),
        "annotations": _READS,
    },
    {
        "name": "delegate",
        "description": (
            "Give another agent that works for you an identity of its own: it may use only the tools you name, only as "
            "far as you may use them yourself, in this run, for a limited time. Returns the token it has to send. Or "
            "hand the same on to an agent that there is: it uses its own token, and names the run."
        ),
        "inputSchema": _object(
            ["scopes"],
            name={
                "type": "string",
                "pattern": "^[a-z0-9][a-z0-9._-]{0,31}$",
                "description": "What to call a new identity. Give either this or `agent`.",
            },
            agent={
                "type": "string",
                "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$",
                "description": "The registered agent to hand on to.",
            },
            scopes={
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "items": {"type": "string", "maxLength": 256},
                "description": 'The tools it may use, by name; "files.*" is a whole server.',
            },
            ttl_s={
                "type": "integer",
                "minimum": 1,
                "maximum": 31_536_000,
                "description": f"Seconds it lives at most; {DEFAULT_TTL_S} if absent. Never longer than you.",
            },
        ),
        "outputSchema": _object(
            ["child", "name", "scopes", "run", "until"],
            child=_TEXT,
            name=_TEXT,
            scopes={"type": "array", "items": _TEXT},
            run=_TEXT,
            until=_TEXT,
            token=_TEXT,
        ),
        "annotations": _READS,
    },
    {
        "name": "revoke",
        "description": "End an identity that you gave away with run_delegate, and all that were made of it, at once.",
        "inputSchema": _object(
            ["child"],
            child={"type": "string", "maxLength": 256, "description": "What run_delegate returned as `child`."},
            reason={"type": "string", "maxLength": 500, "description": "Why; kept on record."},
        ),
        "outputSchema": _object(["child"], child=_TEXT),
        "annotations": _READS,
    },
    {
        "name": "passport",
        "description": (
            "Return a signed statement (a JWT) of who you are, for whom you act, in which run, what you may use and "
            "what was done so far. Whoever gets it checks it with the gateway's public key, without asking the "
            "gateway. It lets nobody in."
        ),
        "inputSchema": _object(
            [],
            audience={"type": "string", "minLength": 1, "maxLength": 256, "description": "Whom it is for (`aud`)."},
            ttl_s={
                "type": "integer",
                "minimum": 1,
                "maximum": 86_400,
                "description": f"Seconds it is good for; {DEFAULT_PASSPORT_S} if absent. Never longer than you.",
            },
        ),
        "outputSchema": _object(
            ["passport", "id", "run", "expires"], passport=_TEXT, id=_TEXT, run=_TEXT, expires=_COUNT
        ),
        "annotations": _READS,
    },
)

PHASE_TOOL: Final[Mapping[str, Any]] = {
    "name": "phase",
    "description": (
        "Go on to the next part of this piece of work: look things up first, then plan, then act. Each part has tools "
        "of its own. A part that needs a plan is entered once people have approved the very text of it."
    ),
    "inputSchema": {
        **_object(
            ["phase"],
            phase={"type": "string", "maxLength": 64, "description": "The phase to go on to."},
            plan={
                "type": "string",
                "minLength": 1,
                "maxLength": 20_000,
                "description": "What you are going to do, where the phase needs a plan that people approve.",
            },
            workflow={"type": "string", "maxLength": 256, "description": "The workflow, where it has a key."},
            key={
                "type": "string",
                "maxLength": 256,
                "description": "Which piece of work it is about: the key's value.",
            },
        ),
        "dependentRequired": {"key": ["workflow"]},
    },
    "outputSchema": _object(["run", "phase"], run=_TEXT, phase=_TEXT),
    "annotations": _READS,
}
"""There where some workflow has phases."""
