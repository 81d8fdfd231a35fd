"""What the events of a call say: plain JSON, with secrets taken out before anything is written.

A claim says who asked for what and why it was allowed, an ending what came of it; a record says both. Slots that no
stage has set yet are simply absent.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from gateway.codec import CodecError, digest, dump, verbatim
from gateway.ledger.charging import cost_texts
from gateway.ledger.parts import Lasting, Parts, Redact
from gateway.model.answers import Source
from gateway.model.bill import Left
from gateway.model.call import Call
from gateway.model.decision import Decision, DecisionInput
from gateway.model.facts import Approval, Approver, Expected, FactKey, Facts, Held, RunRef, Step, StepStatus
from gateway.model.identity import Child, Identity
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Waiting
from gateway.model.tool import Tool
from gateway.store.removable import SHARED

__all__ = [
    "MAX_RESULT_BYTES",
    "Redact",
    "claim_body",
    "decision_body",
    "end_body",
    "facts_from",
    "given_in",
    "identity_from",
    "record_body",
]

MAX_RESULT_BYTES: Final = 256 * 1024
"""A larger result is kept as its digest and size."""

_LISTS: Final = ("teams", "roles", "scopes")
"""What of an identity is written where it has any."""


def claim_body(call: Call, redact: Redact, parts: Parts | None = None) -> dict[str, Any]:
    """Return who asked for what, and what decided: everything known before anything is sent.

    With `parts` it is only fit to be dumped: what is known there already stands in it as it was written.
    """
    return _claim(call, _kept(_claimed(call, parts), redact), redact, parts)


def end_body(call: Call, outcome: Outcome, ended_ms: int, redact: Redact, parts: Parts | None = None) -> dict[str, Any]:
    """Return what came of a call. `parts` as in `claim_body`."""
    return _end(call, outcome, ended_ms, _kept(_ended(call, outcome), redact), parts)


def record_body(
    call: Call, outcome: Outcome, ended_ms: int, redact: Redact, parts: Parts | None = None
) -> dict[str, Any]:
    """Return a whole call: what was asked, what decided, what came of it. `parts` as in `claim_body`."""
    denied = {"decision": _said(outcome.decision)} if isinstance(outcome, Denied) else {}
    kept = _kept(denied | _claimed(call, parts) | _ended(call, outcome), redact)
    body = _claim(call, kept, redact, parts) | _end(call, outcome, ended_ms, kept, parts)
    if isinstance(outcome, Denied) and "decision" not in body:
        body["decision"] = _decision(outcome.decision, kept["decision"])
    return body


# One pass takes the secrets out of whatever can hold any: `_claimed` and `_ended` collect it, `_claim` and `_end` put
# what is left of it in its place.


def _kept(found: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    return dict(zip(found, redact([*found.values()]), strict=True))  # a list: our own names are no names of secrets


def _lasts(call: Call, parts: Parts | None) -> bool:
    """Tell whether what was decided, and of whom and what, is the same for many calls."""
    return parts is not None and call.has("given") and call.given.lasting and call.tool.contract is None


def _claimed(call: Call, parts: Parts | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if call.has("identity"):
        found["arguments"] = call.arguments if call.has("arguments") else call.request.arguments
    if call.has("tool") and call.tool.contract is not None:
        found["sent"] = call.request.arguments
    if not _lasts(call, parts):
        if call.has("decision"):
            found["decision"] = _said(call.decision)
        if call.has("given"):
            found["given"] = {"context": call.given.context, "notes": call.given.notes}
    if call.has("facts") and call.facts.priors:
        priors = call.facts.priors
        found["priors"] = [{"arguments": step.arguments, "output": step.output} for step in priors.values()]
    if call.has("facts") and call.facts.held:
        found["held"] = [held.value for held in call.facts.held.values()]
    return found


def _claim(call: Call, kept: Mapping[str, Any], redact: Redact, parts: Parts | None) -> dict[str, Any]:
    lasts = parts is not None and _lasts(call, parts)
    body: dict[str, Any] = {"received_ms": call.received_ms, **_caller(call)}
    if not lasts:
        body["tool"] = _tool(call, parts)
    if call.request.via is not None:
        body["via"] = call.request.via.name
    if "sent" in kept:  # by an agent that is held at another version; `arguments` is what that was adapted to
        body["sent"] = kept["sent"]
    if call.request.undoes is not None:
        body["undoes"] = call.request.undoes.call_id
    if call.has("identity"):
        if not lasts:
            body["identity"] = _who(call.identity, parts)
        body["arguments"] = kept["arguments"]
    if call.has("arguments_digest"):
        body["arguments_digest"] = call.arguments_digest
    if parts is not None and lasts:
        body[SHARED] = parts.shared(Lasting(call.given, call.decision, call.identity, call.tool), redact, _lasting)
    else:
        body |= _decided(call, kept, redact)
    if call.has("facts"):
        body["facts"] = _facts(call.facts, kept)
    if call.has("bill") and call.bill.cost:
        body["cost"] = cost_texts(call.bill.cost)
    return body


def _decided(call: Call, kept: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if call.has("decision"):
        body["decision"] = _decision(call.decision, kept["decision"])
    if call.has("given"):
        entities = list(redact(call.given.entities))  # by itself: the redactor knows it from call to call
        body["given"] = _given(call.given, entities, kept["given"])
    return body


def _lasting(call: Lasting, kept: Any) -> dict[str, Any]:
    context, notes, message, remedies, errors, *entities = kept
    said = {"message": message, "remedies": remedies, "errors": errors}
    return {
        "tool": _pinned(call.tool),
        "identity": _identity(call.identity),
        "decision": _decision(call.decision, said),
        "given": _given(call.given, entities, {"context": context, "notes": notes}),
    }


def _given(given: DecisionInput, entities: list[Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    about = {"principal": given.principal, "action": given.action, "resource": given.resource}
    return {**about, "entities": entities, **rest}


def _ended(call: Call, outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if call.has("attempts") and any(attempt.get("reason", True) for attempt in call.attempts):
        found["attempts"] = call.attempts
    match outcome:
        case Succeeded(result):
            found["result"] = result
        case Denied() | Waiting():
            pass
        case _:
            found["error"] = {"message": outcome.error.message, "detail": outcome.error.detail}
            if call.has("raw"):  # the tool did answer: whoever settles this needs to see what
                found["raw"] = call.raw
    return found


def _end(call: Call, outcome: Outcome, ended_ms: int, kept: Mapping[str, Any], parts: Parts | None) -> dict[str, Any]:
    body: dict[str, Any] = {"timing": {"received_ms": call.received_ms, "ended_ms": ended_ms}}
    if call.has("attempts"):
        body["attempts"] = kept.get("attempts", call.attempts)  # without reasons they are numbers and words of ours
    if call.has("source"):
        body["source"] = _source(call.source)
    match outcome:
        case Succeeded(_, replayed_from):
            body |= {"outcome": "succeeded", **_bounded("result", kept["result"], parts)}
            if call.has("labels"):
                body["labels"] = list(call.labels)
            if replayed_from is not None:
                body["replayed_from"] = replayed_from
        case Denied():
            body["outcome"] = "denied"
        case Waiting(on, message, retry_after_s):
            body |= {"outcome": "waiting", "waiting": {"on": on, "message": message, "retry_after_s": retry_after_s}}
        case _:
            body["outcome"] = "failed" if isinstance(outcome, Failed) else "unknown"
            body["error"] = {"code": outcome.error.code, **kept["error"]}
            if "raw" in kept:
                body |= _bounded("raw", kept["raw"], parts)
    return body


def _source(source: Source) -> dict[str, Any]:
    kept = {"call": source.call_id, "age_ms": source.age_ms} if source.call_id else {}
    return {**kept, "fallback": source.fallback, "because": source.because} if source.fallback else kept


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
        approval=_approval_from(facts.get("approval")),
        budget=Left(**facts["budget"]) if "budget" in facts else None,
        taint=tuple(facts.get("taint", ())),
        held={
            name: Held(FactKey(*key), version, value) for name, (key, version, value) in facts.get("held", {}).items()
        },
    )


def given_in(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a recorded call was decided on (`gateway.policy.from_json` reads it); None where nothing decided."""
    given = body.get("given")
    return given if isinstance(given, Mapping) and "decision" in body else None


def identity_from(body: Mapping[str, Any]) -> Identity:
    """Return who made a recorded call. Raises `KeyError`: nobody who was known."""
    known: dict[str, Any] = dict(body["identity"])
    for name in ("delegation", *_LISTS):
        known[name] = tuple(known.get(name, ()))
    if "child" in known:
        known["child"] = Child(**{**known["child"], "scopes": tuple(known["child"]["scopes"])})
    return Identity(**known)


def _caller(call: Call) -> dict[str, Any]:
    caller = call.request.caller
    return {
        "transport": caller.transport,
        "era": caller.era,
        "client": {"name": caller.client.name, "version": caller.client.version},
        "session": caller.session,
        "trace": caller.trace,
    }


def _who(identity: Identity, parts: Parts | None) -> Any:
    return _identity(identity) if parts is None else parts.of(identity, partial(_identity, identity))


def _identity(identity: Identity) -> dict[str, Any]:
    return {
        "agent": identity.agent,
        "method": identity.method,
        "credential_id": identity.credential_id,
        "owner": identity.owner,
        "on_behalf_of": identity.on_behalf_of,
        "delegation": list(identity.delegation),
        **{name: list(held) for name in _LISTS if (held := getattr(identity, name))},
        **({} if identity.child is None else {"child": asdict(identity.child)}),
    }


def _tool(call: Call, parts: Parts | None) -> Any:
    if not call.has("tool"):
        return {"name": call.request.name}
    if parts is None or call.tool.contract is not None:  # a tool in an older version is made for the call
        return _pinned(call.tool)
    return parts.of(call.tool, partial(_pinned, call.tool))


def _pinned(tool: Tool) -> dict[str, Any]:
    told = {"name": tool.name, "version": tool.version, "digest": tool.digest, "server": tool.server}
    return told if tool.contract is None else {**told, "spoken": tool.contract.version}


def decision_body(decision: Decision) -> dict[str, Any]:
    """Return a decision as it is recorded, but for what redaction takes out."""
    return _decision(decision, _said(decision))


def _said(decision: Decision) -> dict[str, Any]:
    return {
        "message": decision.message,
        "remedies": [{"tool": remedy.tool, "arguments": remedy.arguments} for remedy in decision.remedies],
        "errors": list(decision.errors),
    }


def _decision(decision: Decision, said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "allowed": decision.allowed,
        "ruling": str(decision.ruling),
        "bundle": decision.bundle,
        "policies": list(decision.policies),
        "obligations": [list(obligation) for obligation in decision.obligations],
        "shadow": list(decision.shadow),
        "waits_for": decision.waits_for,
        **said,
    }


def _facts(facts: Facts, kept: Mapping[str, Any]) -> dict[str, Any]:
    run = facts.run
    approval = {} if facts.approval is None else {"approval": _approval(facts.approval)}
    left = facts.budget
    budget = {} if left is None else {"budget": {"calls": left.calls, "cost": left.cost}}
    taint = {"taint": list(facts.taint)} if facts.taint else {}
    values = zip(facts.held.items(), kept.get("held", ()), strict=True)
    held = {name: [list(one.key), one.version, value] for (name, one), value in values}
    return {
        **approval,
        **budget,
        **taint,
        **_divergence(facts.expected),
        **({"held": held} if held else {}),
        "now_ms": facts.now_ms,
        "run": {"id": run.id, "owner": run.owner, "source": run.source, "status": run.status, **_attempt(run)},
        "step": facts.step,
        "priors": {
            name: _step(step, told)
            for (name, step), told in zip(facts.priors.items(), kept.get("priors", ()), strict=True)
        },
        "repeat_of": facts.repeat_of,
        "environment": facts.environment,
    }


def _attempt(run: RunRef) -> dict[str, int]:
    return {} if run.attempt == 1 else {"attempt": run.attempt, "since": run.since}


def _divergence(expected: Expected | None) -> dict[str, Any]:
    if expected is None:
        return {}
    return {"diverged": {"n": expected.n, "tool": expected.tool, "call": expected.call_id}}


def _step(step: Step, kept: Mapping[str, Any]) -> dict[str, Any]:
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
        **({"labels": list(step.labels)} if step.labels else {}),
        **kept,
    }


def _step_from(body: Mapping[str, Any]) -> Step:
    return Step(**{**body, "status": StepStatus(body["status"]), "labels": tuple(body.get("labels", ()))})


def _approval(approval: Approval) -> dict[str, Any]:
    people = [{"name": one.name, "roles": list(one.roles), "teams": list(one.teams)} for one in approval.by]
    return {
        "id": approval.id,
        "version": approval.version,
        "by": people,
        "at_ms": approval.at_ms,
        "standing": approval.standing,
    }


def _approval_from(body: Mapping[str, Any] | None) -> Approval | None:
    if body is None:
        return None
    people = tuple(Approver(one["name"], tuple(one["roles"]), tuple(one["teams"])) for one in body["by"])
    return Approval(body["id"], body["version"], people, body["at_ms"], body["standing"])


def _bounded(name: str, value: Any, parts: Parts | None) -> dict[str, Any]:
    try:
        text = dump(value)
        if len(text) <= MAX_RESULT_BYTES:
            return {name: value if parts is None else verbatim(text)}
        return {f"{name}_bytes": len(text), f"{name}_digest": digest(value)}
    except CodecError as error:
        return {f"{name}_unreadable": str(error)}
