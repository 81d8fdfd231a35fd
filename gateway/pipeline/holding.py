"""Declared facts, as they hold when a call is decided."""

from collections.abc import Mapping

from gateway.facts.owners import owner_of
from gateway.model.call import Call
from gateway.model.facts import FactKey, Held
from gateway.pipeline.rules import Rules
from gateway.store.facts import FactStore

__all__ = ["held_by", "teams_of"]


def teams_of(call: Call) -> list[str]:
    """Return the teams of the calling agent: those of its verified identity, and those it is configured to be in."""
    agent = call.bundle.agents.get(call.identity.agent)
    return sorted({*call.identity.teams, *(agent.teams if agent is not None else ())})


async def held_by(store: FactStore, rules: Rules, call: Call, run_id: str, now_ms: int) -> Mapping[str, Held]:
    """Return the facts that the policies read about this call; one that is not there in version 0."""
    names = rules.bundle.facts_read(call.identity, call.tool, call.arguments)
    if not names:
        return {}
    teams = teams_of(call)
    keys = {
        name: FactKey(declared.scope, owner_of(declared.scope, call, run_id, teams, declared.team), name)
        for name in names
        if (declared := rules.facts.names.get(name)) is not None
    }
    found = await store.find_facts(list(keys.values()), now_ms)
    return {
        name: Held(key, 0, None) if fact is None else Held(key, fact.version, fact.value)
        for (name, key), fact in zip(keys.items(), found, strict=True)
    }
