"""A call as the ledger has it, for whoever goes on with it after a restart, or asks what came of it."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.ledger.entries import facts_from, identity_from
from gateway.model.bill import NO_BILL
from gateway.model.call import Call
from gateway.model.decision import Decision
from gateway.model.errors import ConnectorFault, GatewayError, OutcomeUnknown, fault_of
from gateway.model.facts import StepStatus
from gateway.model.identity import ClientInfo, Credential
from gateway.model.outcome import Failed, Outcome, Succeeded, Unknown
from gateway.model.request import Caller, CallRequest
from gateway.model.tool import Effect, Tool
from gateway.store.ports import Recorded

__all__ = ["call_of", "error_of", "outcome_of", "recorded_result"]

_INTERNAL: Final = -32603


def call_of(recorded: Recorded, server: str, tool: Tool | None, bundle: Any) -> Call:
    """Return a claimed call as it was before it was answered.

    `tool` is what its tool is pinned as today; without one, it is taken for one that may have any effect. What was
    masked when it was put on record is masked in it.
    """
    body = recorded.claim_body
    caller = Caller(
        Credential("none", ""),
        transport=body["transport"],
        era=body["era"],
        client=ClientInfo(**body["client"]),
        session=body["session"],
        trace=body["trace"],
    )
    call = Call(recorded.call_id, CallRequest(recorded.tool, body["arguments"], caller), body["received_ms"])
    call.identity = identity_from(body)
    call.tool = tool or _unknown_tool(recorded.tool, server)
    call.as_task = ""
    call.arguments, call.arguments_digest = body["arguments"], recorded.arguments_digest
    call.bundle, call.facts, call.bill, call.step_key = bundle, facts_from(body), NO_BILL, recorded.step_key
    call.decision = _decision(body["decision"])
    call.intent, call.attempts = True, []
    return call


def outcome_of(recorded: Recorded, rpc: Mapping[str, Any] | None = None) -> Outcome:
    """Return what came of a call that ended; `rpc` is the JSON-RPC error its server answered with, if it did."""
    ended = recorded.end_body or {}
    if ended.get("outcome") == "succeeded" or recorded.status is StepStatus.SUCCEEDED:
        return Succeeded(recorded_result(recorded))
    error = ended.get("error", {})
    fault = fault_of(str(error.get("code")), str(error.get("message")))
    if isinstance(fault, ConnectorFault):
        fault.rpc = rpc
    return Unknown(fault) if recorded.status is StepStatus.UNKNOWN else Failed(fault)


def recorded_result(recorded: Recorded) -> Mapping[str, Any]:
    """Return the result of a call that succeeded, or a text in its place where it was not kept."""
    result = (recorded.end_body or {}).get("result")
    if isinstance(result, dict):
        return result
    text = f"This call was carried out before (#{recorded.call_id}); its answer is not kept."
    return {"content": [{"type": "text", "text": text}]}


def error_of(error: GatewayError, call_id: str) -> Mapping[str, Any]:
    """Return the JSON-RPC error of a call that failed: its server's own, where that is what it failed with."""
    rpc = getattr(error, "rpc", None)
    if rpc is not None:
        return dict(rpc)
    retryable = error.retryable and not isinstance(error, OutcomeUnknown)
    data = {"code": error.code, "retryable": retryable, "call": call_id}
    return {"code": _INTERNAL, "message": error.message, "data": data}


def _decision(body: Mapping[str, Any]) -> Decision:
    obligations = tuple((kind, value) for kind, value in body["obligations"])
    return Decision(body["allowed"], body["bundle"], tuple(body["policies"]), obligations=obligations)


def _unknown_tool(name: str, server: str) -> Tool:
    return Tool(
        name=name,
        wire_name=name,
        server=server,
        upstream_name=name.partition(".")[2],
        version=0,
        digest="",
        effect=Effect.WRITE,
        definition={},
        input_schema={},
    )
