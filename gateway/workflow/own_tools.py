"""The tools the gateway itself offers to agents that can use them: `run.start`."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.model.call import Call
from gateway.workflow.runs import Runs

__all__ = ["OWN_SERVER", "OWN_TOOLS", "start_run"]

OWN_SERVER: Final = "run"
"""The server name under which the gateway's own tools stand; no configured server may take it."""

OWN_TOOLS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "start",
        "description": (
            "Begin a new piece of work: the calls that follow belong together and are checked together. "
            "Call it when you turn to something unrelated to what you did before."
        ),
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
        "outputSchema": {
            "type": "object",
            "properties": {"run": {"type": "string"}},
            "required": ["run"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False},
    },
)


async def start_run(runs: Runs, call: Call) -> Mapping[str, Any]:
    """Open a run for the caller and bind the conversation to it; return the MCP result. Raises `StoreFault`."""
    run = await runs.start(call.identity, call.request.caller)
    return {
        "content": [{"type": "text", "text": f"Run {run.id} has begun; the calls that follow belong to it."}],
        "structuredContent": {"run": run.id},
    }
