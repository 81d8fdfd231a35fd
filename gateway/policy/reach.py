"""To whom a server is open that does not exist yet: what wildcards and policies without names come to."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from gateway.model.identity import Identity
from gateway.model.tool import Effect, Tool
from gateway.policy.bundle import Bundle
from gateway.policy.entities import TOOL, AgentEntity, ServerEntity, Uid, action_of, agent_entity, tool_entities, uid
from gateway.policy.projection import holds, matches_scope
from gateway.policy.situation import Request

__all__ = ["open_to_any"]

_ANY: Final = Tool(
    name="?.?",  # what no server can be called
    wire_name="?",
    server="?",
    upstream_name="?",
    version=1,
    digest="",
    effect=Effect.READ,
    definition={},
    input_schema={},
)


def open_to_any(bundle: Bundle) -> Mapping[str, list[str]]:
    """Return the agents whom some permits let call a read of a server that nobody has named, and which permits.

    What a permit asks of the context is taken to hold, but for a grant; forbids are not heeded.
    """
    entities = tool_entities(_ANY, ServerEntity(_ANY.server))
    found = {name: list(_permits(bundle, agent, entities)) for name, agent in bundle.agents.items()}
    return {name: permits for name, permits in found.items() if permits}


def _permits(bundle: Bundle, agent: AgentEntity, entities: tuple[Mapping[str, object], ...]) -> Iterator[str]:
    principal = uid("Agent", agent.name)
    known = (agent_entity(agent, Identity(agent.name, method="", credential_id="")), *entities)
    world = replace(Request(principal, action_of(_ANY.name), uid(TOOL, _ANY.name), known).world(), ungranted=True)
    for policy in bundle.candidates(Uid(**principal)):
        is_about_it = policy.is_permit and not policy.terms.shadow and matches_scope(policy.template, world)
        if is_about_it and holds(policy.template, world, exact=False) is not False:
            yield policy.id
