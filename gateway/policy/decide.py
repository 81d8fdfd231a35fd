"""The decision: a plain function of a decision input and a bundle. Nothing here waits, reads a clock or a store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.codec import CodecError
from gateway.model.decision import Decision, DecisionInput, Ruling
from gateway.model.facts import PriorQuery
from gateway.policy.bundle import Bundle
from gateway.policy.cedar import Answer
from gateway.policy.entities import TOOL, uid
from gateway.policy.given import from_json
from gateway.policy.need import TAINT
from gateway.policy.policies import Policy
from gateway.policy.refusal import NO_WAY, Way, way_out
from gateway.policy.remedy import value_at
from gateway.policy.situation import Situation

__all__ = ["decide"]

_TOOL: Final = uid(TOOL, "")["type"]
_USER: Final = uid("User", "")["type"]
_DECIDED: Final = 4096
_SHOWN: Final = 200
"""How much of a name that came with the request a refusal repeats."""


def decide(bundle: Bundle, given: DecisionInput) -> Decision:
    """Decide one call. Allowed only if Cedar allows it without an error and everything it is about is known.

    The same input and bundle always give the same decision. Never raises on what an input can hold.
    """
    if not given.lasting:
        decision = _decided(bundle, given)
        return _for_others(bundle, given, decision) if "delegators" in given.notes else decision
    known = bundle.decided.get(id(given))
    if known is None or known[0] is not given:
        if len(bundle.decided) >= _DECIDED:
            bundle.decided.clear()
        known = bundle.decided[id(given)] = given, _decided(bundle, given)
    return known[1]


def _decided(bundle: Bundle, given: DecisionInput) -> Decision:
    situation = bundle.situation(given)
    outside = given.notes.get("outside")
    if outside is not None:
        return _outside(bundle, given, outside)
    beside = given.notes.get("beside")
    if beside is not None:
        return _beside(bundle, given, beside)
    unjudged = given.notes.get("unjudged", ())
    if unjudged:
        return _refused_unjudged(bundle, unjudged)
    if situation.missing:
        return _unknown(bundle, given, situation)
    try:
        answer, watched = situation.answers(given.context)
    except CodecError:
        return _refused_unjudged(bundle, ("context",))
    shadow = _shadow(situation, answer, watched)
    if answer.allowed:
        return _allowed(bundle, situation, answer, given.notes, shadow)
    return _denied(bundle, given, situation, answer, shadow)


def _for_others(bundle: Bundle, given: DecisionInput, decision: Decision) -> Decision:
    """Decide a call that is made for other agents: each of them has to be allowed it as well, and is held to its terms.

    Where people are asked for one of them, they are asked for the call.
    """
    for asked in given.notes["delegators"]:
        one = from_json(asked)
        theirs = decide(bundle, one)
        if decision.ruling is Ruling.DENY:
            return decision
        if decision.allowed and theirs.allowed:
            decision = replace(
                decision,
                policies=tuple(dict.fromkeys((*decision.policies, *theirs.policies))),
                obligations=tuple(dict.fromkeys((*decision.obligations, *theirs.obligations))),
                consumes=tuple(dict.fromkeys((*decision.consumes, *theirs.consumes))),
            )
        elif decision.allowed or theirs.ruling is Ruling.DENY:
            decision = replace(theirs, message=f"This is done for {_who(one)}. {theirs.message}")
    return decision


def _outside(bundle: Bundle, given: DecisionInput, outside: Mapping[str, Any]) -> Decision:
    """Refuse a child what was not handed on to it, whatever its agent may do."""
    scopes = ", ".join(outside["scopes"])
    why = (
        f"{outside['child']} was given {scopes}, and this {_asked(given)} is outside of that. "
        "Leave it to whoever gave you your work."
    )
    return Decision(False, bundle.digest, message=why)


def _beside(bundle: Bundle, given: DecisionInput, beside: Mapping[str, Any]) -> Decision:
    """Refuse to set arguments that an agent may not set, whatever the policies say."""
    named, fields = (", ".join(f"`{name}`" for name in beside[key]) for key in ("set", "fields"))
    why = f"This {_asked(given)} sets {named}, and {beside['agent']} may set {fields} only. Leave the others out."
    return Decision(False, bundle.digest, message=why)


def _unknown(bundle: Bundle, given: DecisionInput, situation: Situation) -> Decision:
    what, agent = given.resource["id"], given.principal["id"]
    if "principal" in situation.missing:
        why = f"The agent {agent!r} is not registered. Ask the operator to add it under `agents:`."
    elif given.resource["type"] == _TOOL:
        why = f"The policies in force do not know this version of {what!r}. Ask the operator to reload them."
    else:
        why = f"No policy can allow {given.action['id'][:_SHOWN]!r} of {what!r}: this gateway does not govern it."
    return Decision(False, bundle.digest, message=why, errors=tuple(f"unknown {one}" for one in situation.missing))


def _refused_unjudged(bundle: Bundle, places: Sequence[str]) -> Decision:
    """Refuse where a policy reads a value that has no exact form: any other value would be a guess."""
    named = ", ".join(places)
    why = (
        f"The policies cannot judge {named}: missing, of another type, or not exactly representable "
        "(numbers: 64-bit integers, at most 4 decimal places; times: to the millisecond; "
        "URIs: no dot segments, no needless percent-encoding)."
    )
    return Decision(False, bundle.digest, message=why, errors=tuple(f"cannot be judged: {place}" for place in places))


def _shadow(situation: Situation, answer: Answer, watched: Answer | None) -> tuple[str, ...]:
    """Return the shadow policies that would have turned the decision around."""
    if watched is None or watched.allowed == answer.allowed:
        return ()
    return tuple(sorted({policy.id for policy in situation.shadows} & {*watched.reasons, *watched.failed}))


def _allowed(
    bundle: Bundle, situation: Situation, answer: Answer, notes: Mapping[str, Any], shadow: tuple[str, ...]
) -> Decision:
    permits = [situation.policy(name) for name in answer.reasons]
    forbids = [policy for policy in situation.policies if not policy.is_permit]
    obligations = {pair: None for policy in permits for pair in policy.terms.obligations}
    return Decision(
        True,
        bundle.digest,
        policies=answer.reasons,
        obligations=tuple(obligations),
        consumes=_consumed([*permits, *forbids], notes.get("priors", {})),
        shadow=shadow,
    )


def _consumed(policies: Sequence[Policy], priors: Mapping[str, Any]) -> tuple[PriorQuery, ...]:
    """Return the single-use steps this call uses up: those that are there and fit for use."""
    once = {query: None for policy in policies for query in policy.terms.priors if query.once}
    return tuple(query for query in once if _is_usable(priors.get(query.name)))


def _is_usable(step: Mapping[str, Any] | None) -> bool:
    return step is not None and step["status"] == "ok" and not step["consumed"]


def _denied(
    bundle: Bundle, given: DecisionInput, situation: Situation, answer: Answer, shadow: tuple[str, ...]
) -> Decision:
    forbids = [policy for policy in map(situation.policy, answer.reasons) if not policy.is_permit]
    permitted = any(policy.is_permit for policy in situation.policies)  # nothing helps where nothing ever permits
    way = way_out(given, situation, forbids) if permitted and not answer.errors else NO_WAY
    return Decision(
        False,
        bundle.digest,
        policies=tuple(policy.id for policy in forbids),
        message=_message(given, forbids if permitted else [], answer, way, situation.policies),
        remedies=way.remedies,
        obligations=way.approvals,
        waits_for=way.waits_for,
        shadow=shadow,
        errors=answer.errors,
    )


def _message(
    given: DecisionInput, forbids: Sequence[Policy], answer: Answer, way: Way, policies: Sequence[Policy]
) -> str:
    what = _asked(given)
    if answer.errors:
        errors = "; ".join(answer.errors)
        return f"A policy for this {what} could not be evaluated, so it is refused. Tell the operator: {errors}."
    if forbids:
        said = [policy.terms.message or f"Policy {policy.id} forbids this {what}." for policy in forbids]
    else:
        said = [f"No policy allows {_who(given)} to make this {what}. {_how_to_be_let(given, policies)}"]
    return " ".join((*dict.fromkeys(said), *_read_before(given, forbids), *way.running, *_approval_wanted(way)))


def _how_to_be_let(given: DecisionInput, policies: Sequence[Policy]) -> str:
    if not any(policy.is_permit and policy.heeds_grant for policy in policies):
        return "Ask the operator to allow it."
    agent, tool = given.principal["id"], given.resource["id"]
    return (
        "Somebody whom the policies let approve it can open it for a while, and then you repeat it: "
        f"`toolgate access grant {agent} {tool} --count 1 --within 1h --as NAME`."
    )


def _read_before(given: DecisionInput, forbids: Sequence[Policy]) -> Iterator[str]:
    """Say what was read before, where that is what a policy minds."""
    labels = [str(label) for found in value_at(given.context, TAINT) for label in found]
    if labels and any(policy.need.reads(TAINT) for policy in forbids):
        yield f"What was read before carries: {', '.join(labels)}."


def _who(given: DecisionInput) -> str:
    kind = "person" if given.principal["type"] == _USER else "agent"
    return f"{kind} {given.principal['id']}"


def _asked(given: DecisionInput) -> str:
    what = given.resource["id"]
    if given.resource["type"] == _TOOL:
        return f"call of {what}"
    return f"request ({given.action['id']} {what[:_SHOWN]!r})"


def _approval_wanted(way: Way) -> Iterator[str]:
    if way.approvals:
        who = " and ".join(value for _, value in way.approvals)
        yield f"It needs a person's approval ({who})."
