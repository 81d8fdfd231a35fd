"""What would turn a refusal: a step to make or to wait for first, or a person's approval (POLICY.md §3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.model.decision import DecisionInput, Remedy
from gateway.policy.policies import Policy
from gateway.policy.remedy import remedies_of
from gateway.policy.situation import Situation

__all__ = ["NO_WAY", "Way", "way_out"]


@dataclass(frozen=True, slots=True)
class Way:
    """What a refused call lacks, all of it of one kind; nothing at all where no step and no approval would do.

    `remedies` are the steps to make first, `waits_for` is the call id of the one in flight that is all it lacks, and
    `running` says which are in flight or in doubt. `approvals` name who could have the call allowed as it is.
    """

    remedies: tuple[Remedy, ...] = ()
    waits_for: str | None = None
    running: tuple[str, ...] = ()
    approvals: tuple[tuple[str, str], ...] = ()


NO_WAY = Way()


def way_out(given: DecisionInput, situation: Situation, forbids: Sequence[Policy]) -> Way:
    """Return what a call refused by these forbids lacks; by none of them is by default.

    An approval will do where each forbid asks for one and the call, decided again with one, is allowed. Else steps will
    do where every forbid that an approval does not lift names one (or one is in flight); by default, where a permit
    does.
    """
    willing = [policy for policy in forbids if policy.terms.approvals]
    approved = situation.approved(given.context) if any(policy.heeds_approval for policy in willing) else None
    if approved is None:
        return _steps(given, situation, forbids)
    if approved.allowed and len(willing) == len(forbids):
        return Way(approvals=tuple(dict.fromkeys(pair for policy in forbids for pair in policy.terms.approvals)))
    left = {policy.id for policy in forbids if policy not in willing} | set(approved.reasons)
    return _steps(given, situation, [one for one in situation.policies if one.id in left and not one.is_permit])


def _steps(given: DecisionInput, situation: Situation, forbids: Sequence[Policy]) -> Way:
    blockers = forbids or [policy for policy in situation.policies if policy.is_permit]
    running = {policy.id: _running(policy, given.notes.get("priors", {})) for policy in blockers}
    helped = [policy for policy in blockers if running[policy.id] is not None or policy.terms.remedies]
    if not helped or (forbids and len(helped) < len(forbids)):
        return NO_WAY
    unended = [found for policy in helped if (found := running[policy.id]) is not None]
    missing = [policy for policy in helped if running[policy.id] is None]
    in_flight = [call for call, _ in unended if call]
    return Way(
        remedies=_remedies(missing, given.notes.get("arguments", {})),
        waits_for=None if missing or len(in_flight) < len(unended) else in_flight[0],
        running=tuple(dict.fromkeys(text for _, text in unended)),
    )


def _running(policy: Policy, priors: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the call id of a step in flight that the policy looks at, and a sentence about it.

    Of one in doubt the id is empty: there is nothing to wait for but a person's word.
    """
    for query in policy.terms.priors:
        step = priors.get(query.name)
        if step is not None and step["status"] == "executing":
            return step["call"], f"{query.tool} #{step['call']} is still running."
        if step is not None and step.get("doubtful"):
            return "", (
                f"{query.tool} #{step['call']} is in doubt: nobody knows whether it happened. An operator has to "
                f"settle it first: toolgate runs settle {step['call']} succeeded|failed."
            )
    return None


def _remedies(policies: Sequence[Policy], arguments: Mapping[str, Any]) -> tuple[Remedy, ...]:
    found: list[Remedy] = []
    for policy in policies:
        found += (remedy for remedy in remedies_of(policy, arguments) if remedy not in found)
    return tuple(found)
