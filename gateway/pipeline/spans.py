"""Calls as spans, as OTLP has them in JSON, by OpenTelemetry's conventions for MCP (which are in development)."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway import __version__
from gateway.ledger.trace import CallLine

__all__ = ["export_of", "spans_of"]

_SERVER: Final = 2
_CLIENT: Final = 3
_ERROR: Final = 2
_TOOL_CALL: Final = "tools/call"
_TRACE: Final = re.compile("(?!0{32})[0-9a-f]{32}")
"""How a trace may be named (W3C Trace Context). What else a client sends there is on record, and tells runs apart."""


def export_of(lines: Iterable[CallLine], environment: str) -> dict[str, Any]:
    """Return the export request that tells of these calls."""
    about = {"service.name": "toolgate", "service.version": __version__, "deployment.environment.name": environment}
    spans = [span for line in lines for span in spans_of(line)]
    scoped = {"scope": {"name": "toolgate", "version": __version__}, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": _attributes(about)}, "scopeSpans": [scoped]}]}


def spans_of(line: CallLine) -> list[dict[str, Any]]:
    """Return a call's span and those of the attempts at its server.

    They are in the trace that the client named, if traces may be named so; else in one that all calls of the run share,
    over restarts too. A call has the same ids whenever it is told.
    """
    method, target = _method(line.tool)
    own = _id(line.call_id, 8)
    named = {"mcp.method.name": method}
    named |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": target} if method == _TOOL_CALL else {}
    wrong = _error(line)
    whole: dict[str, Any] = {
        "traceId": _trace(line),
        "spanId": own,
        "name": f"{method} {target}" if target and line.version else method,  # else anybody may have made it up
        "kind": _SERVER,
        **_times(line.at_ms, line.duration_ms),
        "attributes": _attributes(named | _about(line) | ({"error.type": wrong} if wrong else {})),
        **({"status": {"code": _ERROR, "message": wrong}} if wrong else {}),
    }
    attempts = line.ended.get("attempts") or line.asked.get("attempts") or ()
    server = {"toolgate.server": line.tool.partition(".")[0]}
    return [whole, *(_attempt(whole, each, number, named | server) for number, each in enumerate(attempts, 1))]


def _trace(line: CallLine) -> str:
    named = str(line.asked.get("trace") or "").lower()
    return named if _TRACE.fullmatch(named) else _id(f"run {line.run_id}" if line.run_id else line.call_id, 16)


def _attempt(
    whole: Mapping[str, Any], attempt: Mapping[str, Any], number: int, named: dict[str, str]
) -> dict[str, Any]:
    code = attempt.get("code", "ok")
    said: dict[str, Any] = {"toolgate.attempt": attempt.get("n"), "toolgate.attempt.status": attempt.get("status")}
    wrong = {} if code == "ok" else {"error.type": code}
    return {
        "traceId": whole["traceId"],
        "spanId": _id(f"{whole['spanId']} {number}", 8),
        "parentSpanId": whole["spanId"],
        "name": whole["name"],
        "kind": _CLIENT,
        **_times(attempt["started_ms"], attempt.get("ms")),
        "attributes": _attributes(named | said | wrong),
        **({"status": {"code": _ERROR, "message": code}} if wrong else {}),
    }


def _about(line: CallLine) -> dict[str, Any]:
    """Return whose call it was, and what was decided of it: names, no arguments and no answers."""
    client = line.asked.get("client") or {}
    return {
        "gen_ai.agent.id": line.agent,
        "gen_ai.conversation.id": line.run_id,
        "mcp.protocol.version": line.asked.get("era"),
        "network.transport": {"http": "tcp", "stdio": "pipe"}.get(str(line.asked.get("transport"))),
        "user.id": line.on_behalf_of,
        "toolgate.call": line.call_id,
        "toolgate.client": client.get("name"),
        "toolgate.outcome": line.outcome,
        "toolgate.policies": line.policies,
        "toolgate.approved_by": line.approved_by,
        "toolgate.replayed_from": line.replayed_from,
        "toolgate.labels": line.labels,
    }


def _method(tool: str) -> tuple[str, str]:
    """Return the MCP method of a call, and its tool if it has one: `files.resources/read` is no call of a tool."""
    name = tool.partition(".")[2]
    return (name, "") if "/" in name else (_TOOL_CALL, tool)


def _error(line: CallLine) -> str:
    if line.outcome == "succeeded":
        result = line.ended.get("result")
        return "tool_error" if isinstance(result, Mapping) and result.get("isError") is True else ""
    return "" if line.outcome == "waiting" else line.code or line.outcome


def _times(start_ms: int, took_ms: int | None) -> dict[str, str]:
    ends_ms = start_ms + (took_ms or 0)
    return {"startTimeUnixNano": f"{start_ms}000000", "endTimeUnixNano": f"{ends_ms}000000"}


def _id(text: str, size: int) -> str:
    return hashlib.sha256(f"toolgate {text}".encode()).hexdigest()[: 2 * size]


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return attributes as OTLP has them, without those that say nothing."""
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value not in (None, "", ())]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
