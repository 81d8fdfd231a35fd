"""Policies read back from the ledger, to decide again what they once decided."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.model.facts import Approver
from gateway.model.tool import Effect, Tool
from gateway.policy.bundle import Bundle
from gateway.policy.entities import AgentEntity, ServerEntity
from gateway.policy.policies import LoadOptions
from gateway.policy.source import PolicySource

__all__ = ["bundle_from"]


def bundle_from(
    body: Mapping[str, Any], agents: Sequence[AgentEntity] = (), tools: Sequence[Tool] | None = None
) -> Bundle:
    """Return the bundle that `Bundle.record` wrote; without agents it only decides what was given.

    `tools` stand in the place of the recorded ones, as a catalog was built of them. Its digest differs from the
    recorded one where this version of the gateway declares more to policies than the one that recorded it.

    Raises:
        PolicyLoadError: this version of the gateway does not accept the policies.
        KeyError, TypeError, ValueError: `body` is something else.
    """
    sources = [PolicySource(name, text) for name, text in body["policies"]]
    servers = tuple(ServerEntity(*server) for server in body["servers"])
    fulfils, environments = frozenset(body["fulfils"]), tuple(body["environments"])
    people = {known: _person(*one) for known, one in body.get("people", {}).items()}
    options = LoadOptions(fulfils, environments, servers, body.get("facts", {}), people, body.get("imported", False))
    return Bundle.load(sources, [_tool(one) for one in body["tools"]] if tools is None else tools, agents, options)


def _tool(one: Mapping[str, Any]) -> Tool:
    definition = one["definition"]
    return Tool(
        name=one["name"],
        wire_name=one["name"],
        server=one["server"],
        upstream_name=one["name"],
        version=one["version"],
        digest=one["digest"],
        effect=Effect(one["effect"]),
        definition=definition,
        input_schema=definition.get("inputSchema") or {"type": "object"},
        output_schema=definition.get("outputSchema"),
    )


def _person(name: str, roles: Sequence[str], teams: Sequence[str]) -> Approver:
    return Approver(name, tuple(roles), tuple(teams))
