"""What the events of a call say: plain JSON, with secrets taken out before anything is written.

A claim says who asked for what and why it was allowed, an ending what came of it; a record says both. Slots that no
stage has set yet are simply absent.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.codec import CodecError, digest, dump
from gateway.model.call import Call
from gateway.model.decision import Decision
from gateway.model.errors import GatewayError
from gateway.model.facts import Facts, RunRef, Step, StepStatus
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Waiting

__all__ = ["MAX_RESULT_BYTES", "Redact", "claim_body", "end_body", "facts_from", "record_body"]

MAX_RESULT_BYTES: Final = 256 * 1024
"""A larger result is kept as its digest and size."""

Redact = Callable[[Any], Any]
"""Returns a JSON value without what must not be kept; the shape stays."""


def claim_body(call: Call, redact: Redact) -> dict[str, Any]:
    """Return who asked for what, and what decided: everything known before anything is sent."""
    body: dict[str, Any] = {"received_ms": call.received_ms, **_caller(call), "tool": _tool(call)}
    if call.has("identity"):
        body["identity"] = _identity(call)
        body["arguments"] = redact(call.arguments if call.has("arguments") else call.request.arguments)
    if call.has("arguments_digest"):
        body["arguments_digest"] = call.arguments_digest
    if call.has("decision"):
        body["decision"] = _decision(call.decision, redact)
    if call.has("given"):
        given = call.given
        body["given"] = {
            "principal": given.principal,
            "action": given.action,
            "resource": given.resource,
            **redact({"context": given.context, "entities": list(given.entities), "notes": given.notes}),
        }
    if call.has("facts"):
        body["facts"] = _facts(call.facts, redact)
    return body


def end_body(call: Call, outcome: Outcome, ended_ms: int, redact: Redact) -> dict[str, Any]:
    """Return what came of a call."""
    body: dict[str, Any] = {"timing": {"received_ms": call.received_ms, "ended_ms": ended_ms}}
    if call.has("attempts"):
        body["attempts"] = redact(call.attempts)
    match outcome:
        case Succeeded(result, replayed_from):
            body |= {"outcome": "succeeded", **_bounded("result", redact(result))}
            if replayed_from is not None:
                body["replayed_from"] = replayed_from
        case Denied():
            body["outcome"] = "denied"
        case Waiting(on, message, retry_after_s):
            body |= {"outcome": "waiting", "waiting": {"on": on, "message": message, "retry_after_s": retry_after_s}}
        case _:
            ended = "failed" if isinstance(outcome, Failed) else "unknown"
            body |= {"outcome": ended, "error": _error(outcome.error, redact)}
            if call.has("raw"):  # the tool did answer: whoever settles this needs to see what
                body |= _bounded("raw", redact(call.raw))
    return body


def record_body(call: Call, outcome: Outcome, ended_ms: int, redact: Redact) -> dict[str, Any]:
    """Return a whole call: what was asked, what decided, what came of it."""
    body = claim_body(call, redact) | end_body(call, outcome, ended_ms, redact)
    if isinstance(outcome, Denied) and "decision" not in body:
        body["decision"] = _decision(outcome.decision, redact)
    return body


def facts_from(body: Mapping[str, Any]) -> Facts:
    """Return the facts that `claim_body` wrote down, so that a repeat is decided on what the original was.

    Raises:
        KeyError: `body` holds none.
    """
    facts = body["facts"]
    return Facts(
        now_ms=facts["now_ms"],
        run=RunRef(**facts["run"]),
        step=facts["step"],
        priors={name: _step_from(step) for name, step in facts["priors"].items()},
        repeat_of=facts["repeat_of"],
        environment=facts["environment"],
    )


def _caller(call: Call) -> dict[str, Any]:
    caller = call.request.caller
    return {
        "transport": caller.transport,
        "era": caller.era,
        "client": {"name": caller.client.name, "version": caller.client.version},
        "session": caller.session,
        "trace": caller.trace,
    }


def _identity(call: Call) -> dict[str, Any]:
    identity = call.identity
    return {
        "agent": identity.agent,
        "method": identity.method,
        "credential_id": identity.credential_id,
        "owner": identity.owner,
        "on_behalf_of": identity.on_behalf_of,
        "delegation": list(identity.delegation),
    }


def _tool(call: Call) -> dict[str, Any]:
    if not call.has("tool"):
        return {"name": call.request.name}
    tool = call.tool
    return {"name": tool.name, "version": tool.version, "digest": tool.digest, "server": tool.server}


def _decision(decision: Decision, redact: Redact) -> dict[str, Any]:
    said = {
        "message": decision.message,
        "remedies": [{"tool": remedy.tool, "arguments": remedy.arguments} for remedy in decision.remedies],
        "errors": list(decision.errors),
    }
    return {
        "allowed": decision.allowed,
        "bundle": decision.bundle,
        "policies": list(decision.policies),
        "obligations": [list(obligation) for obligation in decision.obligations],
        "shadow": list(decision.shadow),
        "waits_for": decision.waits_for,
        **redact(said),
    }


def _facts(facts: Facts, redact: Redact) -> dict[str, Any]:
    run = facts.run
    return {
        "now_ms": facts.now_ms,
        "run": {"id": run.id, "owner": run.owner, "source": run.source, "status": run.status},
        "step": facts.step,
        "priors": {name: _step(step, redact) for name, step in facts.priors.items()},
        "repeat_of": facts.repeat_of,
        "environment": facts.environment,
    }


def _step(step: Step, redact: Redact) -> dict[str, Any]:
    return {
        "call_id": step.call_id,
        "tool": step.tool,
        "agent": step.agent,
        "run_id": step.run_id,
        "status": step.status.value,
        "started_at_ms": step.started_at_ms,
        "at_ms": step.at_ms,
        "on_behalf_of": step.on_behalf_of,
        "consumed_by": step.consumed_by,
        **redact({"arguments": step.arguments, "output": step.output}),
    }


def _step_from(body: Mapping[str, Any]) -> Step:
    return Step(**{**body, "status": StepStatus(body["status"])})


def _error(error: GatewayError, redact: Redact) -> dict[str, Any]:
    said: dict[str, Any] = redact({"message": error.message, "detail": error.detail})
    return {"code": error.code, **said}


def _bounded(name: str, value: Any) -> dict[str, Any]:
    try:
        size = len(dump(value))
        if size <= MAX_RESULT_BYTES:
            return {name: value}
        return {f"{name}_bytes": size, f"{name}_digest": digest(value)}
    except CodecError as error:
        return {f"{name}_unreadable": str(error)}
