"""What people do to runs, agents, servers, tools and the gateway itself, and whether the policies let them."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from gateway.model.decision import Decision
from gateway.model.facts import Approver, Facts, RunRef
from gateway.model.identity import Identity
from gateway.policy.bundle import Bundle
from gateway.policy.decide import decide
from gateway.policy.entities import (
    Entity,
    agent_entity,
    bare_entity,
    run_entity,
    server_entity,
    tool_entities,
    uid,
)
from gateway.policy.given import deed_input

__all__ = ["may_do", "on_environment", "on_run", "on_scope"]

Resource = Sequence[Entity]
"""What is done something to, first; then what policies may ask of it."""


def may_do(bundle: Bundle, person: Approver, action: str, resources: Iterable[Resource], facts: Facts) -> Decision:
    """Decide whether a person may do something to every one of these; the first refusal, or the last consent.

    `action` is one of `settle`, `resume`, `rollback`, `pause` and `admin`. Nothing at all may not be done anything to.
    """
    decision = Decision(False, bundle.digest, message="There is nothing of that name.")
    for resource in resources:
        decision = decide(bundle, deed_input(bundle, person, action, resource, facts))
        if not decision.allowed:
            break
    return decision


def on_run(bundle: Bundle, run: RunRef) -> Resource:
    """Return a run, with the agent that owns it."""
    return run_entity(run), *_agent(bundle, run.owner.partition("/")[0])


def on_environment(name: str) -> Resource:
    """Return the gateway as a whole, by its environment."""
    return (bare_entity(uid("Environment", name)),)


def on_scope(bundle: Bundle, scope: str, environment: str) -> tuple[Resource, ...]:
    """Return what a scope of `toolgate pause` names: every tool of a pattern. A run is for `on_run`."""
    kind, _, name = scope.partition(":")
    if kind == "tool":
        tools = (tool for tool in bundle.tools.values() if fnmatchcase(tool.name, name))
        return tuple(tool_entities(tool, bundle.server(tool.server)) for tool in tools)
    if kind == "server":
        return ((server_entity(bundle.server(name)),),)
    if kind == "agent":
        return (_agent(bundle, name) or (bare_entity(uid("Agent", name)),),)
    if kind == "team":
        return ((bare_entity(uid("Team", name)),),)
    return (on_environment(environment),)


def _agent(bundle: Bundle, name: str) -> Resource:
    registered = bundle.agents.get(name)
    return () if registered is None else (agent_entity(registered, Identity(name, "", "")),)
