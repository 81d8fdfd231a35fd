"""Versions of a tool side by side: each agent is spoken with in the one it is held at."""

from collections.abc import Mapping

from gateway.catalog.adapter import adapter, result_adapter
from gateway.catalog.answers import VersionRule
from gateway.catalog.catalog import Catalog
from gateway.catalog.config import ToolRule, rule_for
from gateway.catalog.lock import Lock, Pin
from gateway.catalog.validation import argument_checker, checker
from gateway.model.contract import Contract
from gateway.model.tool import Tool, anything

__all__ = ["Contracts", "contracts"]

Contracts = Mapping[str, Mapping[str, Contract]]
"""By agent and canonical tool name: how an agent is spoken with about a tool that it is held at another version of."""


def contracts(
    held: Mapping[str, Mapping[str, int]], catalog: Catalog, lock: Lock, rules: dict[str, ToolRule]
) -> Contracts:
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
    declared = (rule_for(rules, tool.name).versions or {}).get(version)
    if pin is None:
        return _broken(version, f"gateway.lock does not keep that version; the present one is {tool.version}")
    if declared is None:
        where = f"tools: {tool.name}: versions: {version}"
        return _broken(version, f"no adapter leads from it to version {tool.version}; declare it under `{where}`")
    return _kept(pin, declared)


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


def _broken(version: int, why: str) -> Contract:
    return Contract(version, {}, anything, anything, broken=why)
