"""What is allowed to load and is probably a mistake: the findings of `toolgate policy check` (POLICY.md §7)."""

import difflib
from collections.abc import Iterator, Sequence

from gateway.model.identity import Identity
from gateway.model.problem import Problem
from gateway.policy.bundle import Bundle
from gateway.policy.cedar import pst
from gateway.policy.entities import CALL_TOOL, Uid, action_of
from gateway.policy.policies import Policy
from gateway.policy.projection import World, holds, matches_scope, scope_of_action
from gateway.policy.schema import OTHER_ACTIONS

__all__ = ["check"]


def check(bundle: Bundle) -> tuple[Problem, ...]:
    """Return what to look at in a bundle that loaded; empty when nothing is suspicious."""
    worlds = [
        bundle.request(Identity(agent, method="", credential_id=""), tool).world()
        for agent in bundle.agents
        for tool in bundle.tools.values()
    ]
    findings: list[Problem] = []
    for policy in bundle.policies:
        findings += _unconditional(policy)
        findings += _unknown_names(policy, bundle)
        findings += _unreachable(policy, worlds)
        findings += _unheeded(policy)
    return tuple(findings)


def _unconditional(policy: Policy) -> Iterator[Problem]:
    tree = policy.template
    group = pst.EntityUid(pst.EntityType("Action", ("Gateway",)), CALL_TOOL)
    everything = isinstance(tree.action, pst.ScopeAny) or tree.action == pst.ActionIn((group,))
    anyone = isinstance(tree.principal, (pst.ScopeAny, pst.ScopeIs))
    anything = isinstance(tree.resource, (pst.ScopeAny, pst.ScopeIs))
    if policy.is_permit and anyone and anything and everything and not tree.clauses:
        message = "this permit lets every agent call every tool"
        yield policy.statement.problem(
            "unconditional_permit", message, "name the principal, the tools, or a condition."
        )


def _unknown_names(policy: Policy, bundle: Bundle) -> Iterator[Problem]:
    known = {
        "Agent": set(bundle.agents),
        "Tool": set(bundle.tools),
        "ToolGroup": _groups(bundle),
    }
    if bundle.servers or not _is_beyond_tools(policy):  # the tools tell only of servers that have some
        known["Server"] = {*bundle.servers, *(tool.server for tool in bundle.tools.values())}
    for entity in sorted(pst.entity_uids(policy.template), key=str):
        names = known.get(entity.type.basename)
        if names is not None and entity.id not in names:
            close = difflib.get_close_matches(entity.id, names, n=1)
            fix = f"did you mean {close[0]!r}?" if close else "correct the name, or ignore this if it is yet to come."
            message = f"there is no {entity.type.basename} {entity.id!r}"
            yield policy.statement.problem("unknown_entity", message, fix, at=f'"{entity.id}"')


def _groups(bundle: Bundle) -> set[str]:
    named = {group for tool in bundle.tools.values() for group in tool.groups}
    return {group.rsplit("/", up)[0] for group in named for up in range(group.count("/") + 1)}


def _unreachable(policy: Policy, worlds: Sequence[World]) -> Iterator[Problem]:
    if _is_beyond_tools(policy):
        return
    in_scope = [world for world in worlds if matches_scope(policy.template, world)]
    if not in_scope:
        message = "no registered agent and pinned tool are in this policy's scope"
        yield policy.statement.problem("matches_nothing", message, "correct its principal, action or resource.")
    elif all(holds(policy.template, world, exact=False) is False for world in in_scope):
        message = "its conditions can never be true for any registered agent and pinned tool"
        yield policy.statement.problem("never_true", message, "correct its conditions, or remove it.")


def _unheeded(policy: Policy) -> Iterator[Problem]:
    if policy.terms.approvals and not policy.heeds_approval:
        message = "it asks for an approval that its conditions never look at, so none would change anything"
        fix = "add `unless { context.base has approval && context.base.approval.argsMatch }`."
        yield policy.statement.problem("approval_unheeded", message, fix, at="obligation")


def _is_beyond_tools(policy: Policy) -> bool:
    return any(_could_be(policy, action) for action in OTHER_ACTIONS)


def _could_be(policy: Policy, action: str) -> bool:
    uid = Uid(**action_of(action))
    return scope_of_action(policy.template.action, uid, frozenset({uid}))
