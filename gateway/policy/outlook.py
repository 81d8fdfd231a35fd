"""What an agent can hope for from a tool, whatever the arguments and the past: for listings and the access matrix."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from gateway.policy.entities import Uid, action_of
from gateway.policy.policies import Policy
from gateway.policy.projection import World, holds, matches_scope
from gateway.policy.situation import Request

__all__ = ["Outlook", "outlook_of"]

_SEE: Final = Uid(**action_of("see"))


class Outlook(StrEnum):
    """Whether calls are allowed: in every context, in some, only with a person's approval, or in none."""

    ALWAYS = "always"
    CONDITIONAL = "conditional"
    NEEDS_APPROVAL = "needs_approval"
    NEVER = "never"


def outlook_of(policies: Sequence[Policy], request: Request, *, granted: bool = False) -> Outlook:
    """Project the policies onto a request without a context (POLICY.md §1.5).

    NEVER is certain: no context allows the call, or a forbid on the action `see` hides the tool. ALWAYS is certain too,
    and so is NEEDS_APPROVAL: without an approval some forbid always applies, and each that does asks for one. No grant
    is supposed to be there, unless some calls are `granted`.
    """
    world = replace(request.world(), ungranted=not granted)
    enforced = [policy for policy in policies if not policy.terms.shadow]
    if world.missing() or _applies(enforced, replace(world, action=_SEE), "forbid") is True:
        return Outlook.NEVER
    permitted, forbidden = _applies(enforced, world, "permit"), _applies(enforced, world, "forbid")
    if permitted is False or forbidden is True:
        return Outlook.NEVER
    if permitted is True and forbidden is False:
        return Outlook.ALWAYS
    return Outlook.NEEDS_APPROVAL if _needs_approval(enforced, world) else Outlook.CONDITIONAL


def _needs_approval(policies: Sequence[Policy], world: World) -> bool:
    supposed = replace(world, unapproved=True)
    surely = [
        policy
        for policy in policies
        if not policy.is_permit
        and matches_scope(policy.template, supposed)
        and holds(policy.template, supposed, exact=False) is True
    ]
    return bool(surely) and all(policy.terms.approvals for policy in surely)


def _applies(policies: Sequence[Policy], world: World, effect: str) -> bool | None:
    """Tell whether some policy of this effect applies: surely, surely none, or None for perhaps."""
    found: bool | None = False
    for policy in policies:
        if policy.template.effect == effect and matches_scope(policy.template, world):
            verdict = holds(policy.template, world, exact=False)
            if verdict is True:
                return True
            if verdict is None:
                found = None
    return found
