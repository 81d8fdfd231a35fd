"""Which questions nobody can answer: policies that ask people, where no person may approve."""

from collections.abc import Collection, Iterator
from functools import cache
from typing import Final

from gateway.model.facts import Approver
from gateway.model.identity import Identity
from gateway.model.problem import Problem
from gateway.model.tool import Tool
from gateway.policy.bundle import Bundle
from gateway.policy.entities import action_entity, action_of, joined, uid, user_entity
from gateway.policy.outlook import Outlook, outlook_of
from gateway.policy.policies import Policy
from gateway.policy.projection import holds, matches_scope
from gateway.policy.situation import Request

__all__ = ["unanswered"]

_NAMED: Final = 3


def unanswered(bundle: Bundle, people: Collection[Approver]) -> Iterator[Problem]:
    """Yield a problem for every policy that asks about a tool of which none of `people` may approve a call."""

    @cache
    def is_answered(agent: str, tool: str) -> bool:
        return any(_may_approve(bundle, person, _asked(bundle, agent, bundle.tools[tool])) for person in people)

    for policy in bundle.policies:
        if policy.is_permit or not policy.terms.approvals or policy.terms.shadow:
            continue
        found = [
            tool.name
            for tool in bundle.tools.values()
            if any(
                _concerns(bundle, policy, agent, tool) and not is_answered(agent, tool.name) for agent in bundle.agents
            )
        ]
        if found:
            yield _problem(policy, found)


def _asked(bundle: Bundle, agent: str, tool: Tool) -> Request:
    return bundle.request(Identity(agent, method="", credential_id=""), tool)


def _concerns(bundle: Bundle, policy: Policy, agent: str, tool: Tool) -> bool:
    request = _asked(bundle, agent, tool)
    world = request.world()
    if not matches_scope(policy.template, world) or holds(policy.template, world, exact=False) is False:
        return False
    return outlook_of(bundle.policies, request) is not Outlook.NEVER


def _may_approve(bundle: Bundle, person: Approver, asked: Request) -> bool:
    entities = joined((user_entity(person), action_entity("approve")), asked.entities)
    request = Request(uid("User", person.name), action_of("approve"), asked.resource, entities)
    return outlook_of(bundle.policies, request) is not Outlook.NEVER


def _problem(policy: Policy, tools: list[str]) -> Problem:
    more = f" and {len(tools) - _NAMED} more" if len(tools) > _NAMED else ""
    message = f"people are asked about {', '.join(tools[:_NAMED])}{more}, and nobody under `people:` may approve that"
    fix = "give somebody there the role or team that a permit on the action `approve` names, or write such a permit."
    return policy.statement.problem("nobody_approves", message, fix)
