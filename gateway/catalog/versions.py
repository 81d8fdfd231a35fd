"""Versions of a tool side by side: each agent is spoken with in the one it is held at."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from gateway.catalog.adapter import adapter, result_adapter
from gateway.catalog.answers import VersionRule
from gateway.catalog.catalog import Catalog
from gateway.catalog.config import ToolRule, rule_for
from gateway.catalog.lock import Lock, Pin
from gateway.catalog.validation import SchemaRefused, argument_checker, checker
from gateway.model.contract import Contract
from gateway.model.problem import Problem
from gateway.model.tool import Tool, anything

__all__ = ["Contracts", "Held", "contracts", "held_at", "version_problems"]

Contracts = Mapping[str, Mapping[str, Contract]]
"""By agent and canonical tool name: how an agent is spoken with about a tool that it is held at another version of."""


Held = Mapping[str, Mapping[str, int]]
"""By agent and canonical tool name: the version that an agent is held at."""


def held_at(teams: Mapping[str, Collection[str]], catalog: Catalog, rules: dict[str, ToolRule]) -> Held:
    """Return who is held at which version. `teams` are all agents, with the teams of each.

    A version that names an agent counts before those that name its teams, and of those the latest.
    """
    found: dict[str, dict[str, int]] = {}
    for tool, versions in _declared(catalog, rules):
        for agent, its_teams in teams.items():
            by_name = [number for number, rule in versions.items() if agent in rule.agents]
            by_team = [number for number, rule in versions.items() if not set(rule.teams).isdisjoint(its_teams)]
            if numbers := by_name or by_team:
                found.setdefault(agent, {})[tool] = max(numbers)
    return found


def version_problems(agents: Collection[str], catalog: Catalog, rules: dict[str, ToolRule]) -> Iterator[Problem]:
    """Yield what is wrong with who is held at which version: nobody may speak another version by a slip."""
    for tool, versions in _declared(catalog, rules):
        named = Counter(agent for rule in versions.values() for agent in rule.agents)
        for agent, times in named.items():
            if times > 1 or agent not in agents:
                why = "which two versions name" if times > 1 else "which is not under `agents:`"
                fix = f"correct `versions` in what `tools:` says of {tool}"
                yield Problem("tools", 0, 0, "versions", f"{tool} is held back for {agent!r}, {why}", fix)


def _declared(catalog: Catalog, rules: dict[str, ToolRule]) -> Iterator[tuple[str, Mapping[int, VersionRule]]]:
    if any(rule.versions for rule in rules.values()):
        for tool in catalog.tools():
            if versions := rule_for(rules, tool.name).versions:
                yield tool.name, versions


def contracts(held: Held, catalog: Catalog, lock: Lock, rules: dict[str, ToolRule]) -> Contracts:
    """Return the contracts of agents that are held at other versions than the present one.

    One that cannot be kept is there too, and says why: such an agent is refused rather than spoken with in a version
    that it does not know.
    """
    made: dict[tuple[str, int], Contract] = {}
    found: dict[str, dict[str, Contract]] = {}
    for agent, versions in held.items():
        for name, version in versions.items():
            tool = catalog.find(name)
            if tool is None or tool.name != name or tool.version == version:
                continue
            contract = made.get((name, version))
            if contract is None:
                contract = made[name, version] = _contract(tool, version, lock, rules)
            found.setdefault(agent, {})[name] = contract
    return found


def _contract(tool: Tool, version: int, lock: Lock, rules: dict[str, ToolRule]) -> Contract:
    pin = lock.kept.get(tool.server, {}).get(tool.upstream_name, {}).get(version)
    if pin is None:
        return _broken(version, f"gateway.lock does not keep that version; the present one is {tool.version}")
    declared = (rule_for(rules, tool.name).versions or {})[version]
    try:
        return _kept(pin, declared)
    except SchemaRefused as error:
        return _broken(version, f"its schema is refused: {error}")


def _broken(version: int, why: str) -> Contract:
    return Contract(version, {}, anything, anything, broken=why)


def _kept(pin: Pin, declared: VersionRule) -> Contract:
    output = pin.definition.get("outputSchema")
    return Contract(
        version=pin.version,
        definition=pin.definition,
        breaks_input=argument_checker(pin.definition.get("inputSchema") or {"type": "object"}),
        breaks_output=checker(output) if output is not None else anything,
        arguments=adapter(declared.arguments),
        result=result_adapter(declared.result),
    )
