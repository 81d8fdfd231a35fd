"""What the events of a call say: plain JSON, with secrets taken out before anything is written.

A claim says who asked for what and why it was allowed, an ending what came of it; a record says both. Slots that no
stage has set yet are simply absent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

from gateway.codec import CodecError, digest, dump, verbatim
from gateway.ledger.charging import cost_texts
from gateway.ledger.parts import Lasting, Parts, Redact
from gateway.model.answers import Source
from gateway.model.bill import NO_BILL, Left
from gateway.model.call import Call
from gateway.model.decision import Decision, DecisionInput
from gateway.model.facts import Approval, Approver, FactKey, Facts, Held, RunRef, Step, StepStatus
from gateway.model.identity import Child, Identity
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown, Waiting
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
    "lasting_members",
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
    entry = _Entry(call, redact, parts)
    entry.find_claim()
    entry.take_secrets_out()
    entry.tell_claim()
    return entry.body


def end_body(call: Call, outcome: Outcome, ended_ms: int, redact: Redact, parts: Parts | None = None) -> dict[str, Any]:
    """Return what came of a call. `parts` as in `claim_body`."""
    entry = _Entry(call, redact, parts)
    entry.find_end(outcome)
    entry.take_secrets_out()
    entry.tell_end(outcome, ended_ms)
    return entry.body


def record_body(
    call: Call, outcome: Outcome, ended_ms: int, redact: Redact, parts: Parts | None = None
) -> dict[str, Any]:
    """Return a whole call: what was asked, what decided, what came of it. `parts` as in `claim_body`."""
    entry = _Entry(call, redact, parts)
    refused = outcome.decision if isinstance(outcome, Denied) else None
    if refused is not None:
        entry.found["decision"] = _said(refused)
    entry.find_claim()
    entry.find_end(outcome)
    entry.take_secrets_out()
    entry.tell_claim()
    entry.tell_end(outcome, ended_ms)
    if refused is not None and not entry.lasts and "decision" not in entry.body:
        entry.body["decision"] = _decision(refused, entry.kept["decision"])
    return entry.body


class _Entry:
    """A body in the making. One pass takes the secrets out of whatever can hold any.

    `find_claim` and `find_end` collect that, `tell_claim` and `tell_end` put what is left of it in its place. Of a call
    that `lasts`, it is the same for many who made it of what, and what was decided.
    """

    __slots__ = ("body", "call", "found", "kept", "lasts", "parts", "redact")

    def __init__(self, call: Call, redact: Redact, parts: Parts | None) -> None:
        self.call = call
        self.redact = redact
        self.parts = parts
        given = getattr(call, "given", None)
        self.lasts = parts is not None and given is not None and given.lasting and call.tool.contract is None
        self.found: dict[str, Any] = {}
        self.kept: Mapping[str, Any] = self.found
        self.body: dict[str, Any] = {}

    def take_secrets_out(self) -> None:
        found = [*self.found.values()]  # a list: our own names are no names of secrets
        kept = self.redact(found)
        if kept is not found:
            self.kept = dict(zip(self.found, kept, strict=True))

    def find_claim(self) -> None:
        call, found = self.call, self.found
        if self.lasts:  # it was decided, and so came through every stage before that
            found["arguments"] = call.arguments
        else:
            self._find_decided()
        facts = getattr(call, "facts", None)
        if facts is None:
            return
        if facts.priors:
            found["priors"] = [{"arguments": step.arguments, "output": step.output} for step in facts.priors.values()]
        if facts.held:
            found["held"] = [held.value for held in facts.held.values()]

    def _find_decided(self) -> None:
        call, found = self.call, self.found
        if call.has("identity"):
            found["arguments"] = getattr(call, "arguments", call.request.arguments)
        if call.has("tool") and call.tool.contract is not None:
            found["sent"] = call.request.arguments
        if call.has("decision"):
            found["decision"] = _said(call.decision)
        if call.has("given"):
            found["given"] = {"context": call.given.context, "notes": call.given.notes}

    def tell_claim(self) -> None:
        call, kept = self.call, self.kept
        request, caller = call.request, call.request.caller
        self.body = body = {
            "received_ms": call.received_ms,
            "transport": caller.transport,
            "era": caller.era,
            "client": {"name": caller.client.name, "version": caller.client.version},
            "session": caller.session,
            "trace": caller.trace,
        }
        if request.via is not None:
            body["via"] = request.via.name
        if "sent" in kept:  # by an agent that is held at another version; `arguments` is what that was adapted to
            body["sent"] = kept["sent"]
        if request.undoes is not None:
            body["undoes"] = request.undoes.call_id
        if request.draft is not None:
            body["draft"] = request.draft
        if request.promised is not None:
            body["task"] = request.promised.task_id
        if "arguments" in kept:
            body["arguments"] = kept["arguments"]
        if self.lasts or call.has("arguments_digest"):
            body["arguments_digest"] = call.arguments_digest
        self._tell_decided()
        if self.lasts or call.has("facts"):
            body["facts"] = _facts(call.facts, kept)
        bill = getattr(call, "bill", NO_BILL)
        if bill.cost:
            body["cost"] = cost_texts(bill.cost)

    def _tell_decided(self) -> None:
        call, body = self.call, self.body
        if self.parts is not None and self.lasts:
            lasting = call.given, call.decision, call.identity, call.tool
            body[SHARED] = self.parts.shared(Lasting(*lasting), self.redact, lasting_members)
            return
        body["tool"] = _tool(call, self.parts) if call.has("tool") else {"name": self.redact(call.request.name)}
        if call.has("identity"):
            body["identity"] = _who(call.identity, self.parts)
        if call.has("decision"):
            body["decision"] = _decision(call.decision, self.kept["decision"])
        if call.has("given"):
            entities = list(self.redact(call.given.entities))  # by itself: the redactor knows it from call to call
            body["given"] = _given(call.given, entities, self.kept["given"])

    def find_end(self, outcome: Outcome) -> None:
        call, found = self.call, self.found
        for attempt in getattr(call, "attempts", ()):
            if attempt.get("reason", True):
                found["attempts"] = call.attempts
                break
        if isinstance(outcome, Succeeded):
            found["result"] = outcome.result
        elif not isinstance(outcome, Denied | Waiting):
            found["error"] = {"message": outcome.error.message, "detail": outcome.error.detail}
            if call.has("raw"):  # the tool did answer: whoever settles this needs to see what
                found["raw"] = call.raw

    def tell_end(self, outcome: Outcome, ended_ms: int) -> None:
        call, body = self.call, self.body
        body["timing"] = {"received_ms": call.received_ms, "ended_ms": ended_ms}
        attempts = getattr(call, "attempts", None)
        if attempts is not None:
            body["attempts"] = self.kept.get("attempts", attempts)  # else they are numbers and words of ours
        if call.source is not None:
            body["source"] = _source(call.source)
        if isinstance(outcome, Succeeded):
            body["outcome"] = "succeeded"
            self._tell_bounded("result")
            if call.labels:
                body["labels"] = list(call.labels)
            if outcome.replayed_from is not None:
                body["replayed_from"] = outcome.replayed_from
        else:
            self._tell_unanswered(outcome)

    def _tell_unanswered(self, outcome: Denied | Waiting | Failed | Unknown) -> None:
        body = self.body
        match outcome:
            case Denied():
                body["outcome"] = "denied"
            case Waiting(on, message, retry_after_s):
                body["outcome"] = "waiting"
                body["waiting"] = {"on": on, "message": message, "retry_after_s": retry_after_s}
            case _:
                body["outcome"] = "failed" if isinstance(outcome, Failed) else "unknown"
                body["error"] = {"code": outcome.error.code, **self.kept["error"]}
                if "raw" in self.kept:
                    self._tell_bounded("raw")

    def _tell_bounded(self, name: str) -> None:
        value, body, text = self.kept[name], self.body, self.call.text
        try:
            if text is None or value is not self.call.result:
                text = dump(value)
            if len(text) <= MAX_RESULT_BYTES:
                body[name] = value if self.parts is None else verbatim(text)
            else:
                body[f"{name}_bytes"], body[f"{name}_digest"] = len(text), digest(value)
        except CodecError as error:
            body[f"{name}_unreadable"] = str(error)


def lasting_members(call: Lasting, kept: Any) -> dict[str, Any]:
    """Return what the bodies of a lasting decision's calls share, given what is to be kept of it (`Parts.shared`)."""
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
        grant=_approval_from(facts.get("grant")),
        budget=Left(**facts["budget"]) if "budget" in facts else None,
        taint=tuple(facts.get("taint", ())),
        confidence=facts.get("confidence"),
        held={
            name: Held(FactKey(*key), version, value) for name, (key, version, value) in facts.get("held", {}).items()
        },
        dry_run=facts.get("dry_run", False),
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
        child = known["child"]
        above = tuple(identity_from({"identity": one}) for one in child.get("above", ()))
        known["child"] = Child(**{**child, "scopes": tuple(child["scopes"]), "above": above})
    return Identity(**known)


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
        **({} if identity.child is None else {"child": _child(identity.child)}),
    }


def _child(child: Child) -> dict[str, Any]:
    said = asdict(replace(child, above=(), itself_for=None))
    above = [_identity(one) for one in child.above]
    kept = {name: each for name, each in said.items() if name not in {"above", "itself_for"}}
    return {**kept, "above": above} if above else kept


def _tool(call: Call, parts: Parts | None) -> Any:
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
    where: dict[str, Any] = {"id": run.id, "owner": run.owner, "source": run.source, "status": run.status}
    if run.attempt != 1:
        where |= {"attempt": run.attempt, "since": run.since}
    said: dict[str, Any] = {
        "now_ms": facts.now_ms,
        "run": where,
        "step": facts.step,
        "priors": _steps(facts.priors, kept["priors"]) if facts.priors else {},
        "repeat_of": facts.repeat_of,
        "environment": facts.environment,
    }
    if facts.approval is not None:
        said["approval"] = _approval(facts.approval)
    if facts.grant is not None:
        said["grant"] = _approval(facts.grant)
    if facts.budget is not None:
        said["budget"] = {"calls": facts.budget.calls, "cost": facts.budget.cost}
    if facts.taint:
        said["taint"] = list(facts.taint)
    if facts.confidence is not None:
        said["confidence"] = facts.confidence
    if facts.dry_run:
        said["dry_run"] = True
    if facts.expected is not None:
        expected = facts.expected
        said["diverged"] = {"n": expected.n, "tool": expected.tool, "call": expected.call_id}
    if facts.held:
        held = zip(facts.held.items(), kept["held"], strict=True)
        said["held"] = {name: [list(one.key), one.version, value] for (name, one), value in held}
    return said


def _steps(priors: Mapping[str, Step], kept: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: _step(step, told) for (name, step), told in zip(priors.items(), kept, strict=True)}


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
