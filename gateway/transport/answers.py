"""Outcomes as MCP answers. The only file that turns codes into what a client sees.

A refused, waiting or failed call is a result with `isError: true`, never a JSON-RPC error: only then does the reason
reach the model in every agent framework measured. The exceptions are a caller nobody knows, HTTP 401, and the JSON-RPC
error of a server, which passes as it is. Whatever is no tool has no such result: its refusals are JSON-RPC errors.
"""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, Final

from gateway.codec import dump
from gateway.connector.about import UNSAID, About
from gateway.model.call import Call
from gateway.model.decision import Remedy
from gateway.model.errors import ApprovalFault, ConnectorFault, GatewayError, IdentityFault, RequestFault
from gateway.model.facts import Facts
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.pipeline.elicited import URL_REQUIRED
from gateway.pipeline.runner import Ended
from gateway.transport.advice import ADVICE
from gateway.transport.envelope import STATUS
from gateway.transport.wire import RpcError

__all__ = [
    "CACHED_META",
    "DENIED",
    "DIVERGED_META",
    "FALLBACK_META",
    "LABELS_META",
    "REFUSAL_META",
    "REPLAYED_META",
    "identity_fault",
    "operation_error",
    "page_of",
    "recorded",
    "rpc_error",
    "success",
    "tool_result",
    "url_required",
]

DENIED: Final = -31403
"""JSON-RPC code of what a policy refused; outside the range the specification reserves."""

REFUSAL_META: Final = "io.toolgate/refusal"
CACHED_META: Final = "io.toolgate/cached"
FALLBACK_META: Final = "io.toolgate/fallback"
LABELS_META: Final = "io.toolgate/labels"
REPLAYED_META: Final = "io.toolgate/replayed-from"
DIVERGED_META: Final = "io.toolgate/diverged"
_DIVERGED: Final = "This run was begun anew and has taken another course: step {} on record, {}, was not repeated."
_FIRST: Final = "Call this first: {} {}, then repeat this call."
_INSTEAD: Final = "Make this call instead: {} {}"
_FOR_OWNERS: Final = ConnectorFault.codes - {"rejected"} | {"tool_quarantined"}
"""What the owner of a server can help with."""

WireName = Callable[[str], str]
Spelled = tuple[str, Mapping[str, Any]]
"""The call that an agent should make: the name it knows, and the arguments."""


def identity_fault(outcome: Outcome) -> IdentityFault | None:
    """Return the fault when the caller was not identified: that is answered with HTTP 401."""
    if isinstance(outcome, Failed) and isinstance(outcome.error, IdentityFault):
        return outcome.error
    return None


def tool_result(
    ended: Ended, wire_name: WireName, whose: Callable[[Call], About] = lambda call: UNSAID
) -> dict[str, Any]:
    """Return the MCP result object of a call; a success passes unchanged, its `_meta` and unknown fields too.

    `whose` says who answers for the server of a call: whoever is told that it failed is told whom to ask.
    """
    outcome = ended.outcome
    if isinstance(outcome, Succeeded):
        return success(ended.call, outcome)
    via = ended.call.request.via

    def spelled(remedy: Remedy) -> Spelled:
        name, arguments = wire_name(remedy.tool), dict(remedy.arguments)
        return (name, arguments) if via is None else (via.wire_name, {"name": name, "arguments": arguments})

    text, refusal = _refusal(outcome, spelled)
    refusal["call"] = ended.call.id
    if refusal["code"] in _FOR_OWNERS and (ask := whose(ended.call).ask):
        text, refusal["remedy"] = f"{text} {ask}", f"{refusal['remedy']} {ask}"
    result = {
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "_meta": {REFUSAL_META: refusal, **_divergence(ended.call)},
    }
    if not ended.call.has("tool") or ended.call.tool.listed.get("outputSchema") is None:
        result["structuredContent"] = refusal  # clients hold it against the tool's output schema where there is one
    return result


def success(call: Call, outcome: Succeeded) -> dict[str, Any]:
    """Return the MCP result object of a call that was answered.

    Its `_meta` also says where the answer is from, if not from this very call, and how it is labelled.
    """
    told = _divergence(call)
    if outcome.replayed_from is not None:
        told[REPLAYED_META] = outcome.replayed_from
    source = call.source
    if source is not None:
        if source.call_id:
            told[CACHED_META] = {"call": source.call_id, "ageMs": source.age_ms}
        if source.fallback:
            told[FALLBACK_META] = {"tool": source.fallback, "because": source.because}
    if call.labels:
        told[LABELS_META] = list(call.labels)
    if not told:
        return {**outcome.result}
    meta = outcome.result.get("_meta")
    return {**outcome.result, "_meta": {**(meta if isinstance(meta, dict) else {}), **told}}


def _divergence(call: Call) -> dict[str, Any]:
    facts: Facts | None = getattr(call, "facts", None)
    expected = None if facts is None else facts.expected
    if expected is None:
        return {}
    step = {"step": expected.n, "tool": expected.tool, "call": expected.call_id}
    return {DIVERGED_META: {"expected": step, "message": _DIVERGED.format(expected.n, expected.tool)}}


def rpc_error(outcome: Outcome) -> RpcError | None:
    """Return the JSON-RPC error that a server answered with, as it answered, or None."""
    rpc = getattr(outcome.error, "rpc", None) if isinstance(outcome, Failed | Unknown) else None
    if rpc is None:
        return None
    error = RpcError(rpc["code"], rpc["message"], status=STATUS.get(rpc["code"], 200), data=rpc.get("data"))
    error.of_server = True
    return recorded(error)


def page_of(outcome: Outcome) -> Mapping[str, Any] | None:
    """Return the page of the gateway's own where the call's user is to go first, or None."""
    return outcome.error.page if isinstance(outcome, Failed) and isinstance(outcome.error, ConnectorFault) else None


def url_required(page: Mapping[str, Any]) -> RpcError:
    """Return the error that sends a client's user to a page, as 2025-11-25 has it."""
    message = "The user has to be at a page first; repeat the call once they have been there."
    return recorded(RpcError(URL_REQUIRED, message, status=200, data={"elicitations": [page]}))


def operation_error(ended: Ended) -> RpcError:
    """Return why something that is no tool was not done, as a JSON-RPC error."""
    outcome = ended.outcome
    assert not isinstance(outcome, Succeeded)
    text, refusal = _refusal(outcome, lambda remedy: (remedy.tool, dict(remedy.arguments)))
    refusal["call"] = ended.call.id
    if isinstance(outcome, Denied) or (isinstance(outcome, Failed) and isinstance(outcome.error, ApprovalFault)):
        return recorded(RpcError(DENIED, text, status=200, data=refusal))
    wrong = isinstance(outcome, Failed) and isinstance(outcome.error, RequestFault)
    return recorded(RpcError(-32602 if wrong else -32603, text, status=400 if wrong else 200, data=refusal))


def recorded(error: RpcError) -> RpcError:
    """Return an error as one that the ledger has already."""
    error.recorded = True
    return error


def _refusal(
    outcome: Denied | Waiting | Failed | Unknown, spelled: Callable[[Remedy], Spelled]
) -> tuple[str, dict[str, Any]]:
    match outcome:
        case Denied():
            return _denial(outcome, spelled)
        case Waiting(on, message, retry_after_s, approval):
            code = "needs_approval" if approval else "waiting"
            waiting = {"code": code, "retryable": True, "retryAfter": retry_after_s, "on": on, "message": message}
            return message, {**waiting, "approval": approval} if approval else waiting
        case Failed(error):
            return _fault(error, known=True)
    return _fault(outcome.error, known=False)


def _denial(denied: Denied, spelled: Callable[[Remedy], Spelled]) -> tuple[str, dict[str, Any]]:
    decision = denied.decision
    said = decision.message or "No policy allows this call."
    parts = [f"Denied: {said}"]
    if decision.policies:
        parts.append(f"Policy: {', '.join(decision.policies)}.")
    remedies = [spelled(remedy) for remedy in decision.remedies]
    say = _INSTEAD if denied.code == "approval_edited" else _FIRST
    parts.extend(say.format(name, dump(arguments).decode()) for name, arguments in remedies)
    if not decision.remedies:
        asks = "ask the operator of the gateway for access" if denied.code == "denied" else "nothing was done"
        parts.append(f"Repeating it unchanged will not help; {asks}.")
    approval = {"approval": denied.approval} if denied.approval else {}
    return " ".join(parts), {
        "code": denied.code,
        **approval,
        "retryable": False,
        "done": "nothing",
        "policies": list(decision.policies),
        "message": said,
        "remedies": [{"tool": name, "arguments": arguments} for name, arguments in remedies],
    }


def _fault(error: GatewayError, *, known: bool) -> tuple[str, dict[str, Any]]:
    """Return a fault as text and as data. Where it is `known` how the call ended, it had no effect."""
    remedy = ADVICE[error.code if known else "outcome_unknown"]
    refusal: dict[str, Any] = {
        "code": error.code,
        "retryable": error.retryable and known,
        "message": error.message,
        "done": "nothing" if known else "unknown",
        "remedy": remedy,
    }
    text = f"{error.message} {remedy}" if isinstance(error, ConnectorFault) else error.message
    refusal |= error.told
    if error.retry_after_s is not None:
        refusal["retryAfter"] = error.retry_after_s
        text = f"{text} Try again in {ceil(10 * error.retry_after_s) / 10:g} s."
    return text, refusal
