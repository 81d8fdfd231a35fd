"""What the gateway goes by at this moment: one immutable picture, swapped by one assignment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.approval.own_tools import APPROVALS_SERVER
from gateway.budget.budgets import Budgets
from gateway.catalog.catalog import Catalog
from gateway.catalog.config import EndpointSection, Names
from gateway.catalog.own_tools import OWN_PINS
from gateway.catalog.versions import Contracts
from gateway.connector.about import UNSAID, About
from gateway.facts.config import FactsSection
from gateway.loop.config import LoopsSection
from gateway.model.facts import Approver
from gateway.model.identity import Identity
from gateway.model.tool import Tool
from gateway.policy import Bundle
from gateway.taint.labels import UNHEEDED, Labels

__all__ = ["Limits", "Rules", "RulesInForce"]

NO_TOOLS: Final = Catalog(())
LIST_LIMIT: Final = 150
_AT_EVERY_ENDPOINT: Final = frozenset({APPROVALS_SERVER, *OWN_PINS})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an agent is shown at once: `tools` in a list, and bytes of the answers of those in `results`."""

    tools: int = LIST_LIMIT
    results: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """A catalog and the policies built for exactly its tools.

    `workflow_keys` maps a canonical tool name to (workflow, argument path): the argument that names the run.
    `endpoints` are the virtual endpoints by name, and `views` the part of the catalog that each shows. `limits.results`
    is by canonical tool name; a tool that is not in it answers at any length. `people` may be asked for approvals, by
    name; `aliases` is what else each of them is called. `budgets` says what calls cost and are charged to, `facts`
    which of them policies read and how much agents may keep. `labels` are what answers carry, `contracts` the versions
    of tools that agents are held at. `loops` says when an agent goes round in circles. `abouts` says who answers for
    servers, `environments` which agents are of another environment than the gateway.
    """

    catalog: Catalog
    bundle: Bundle
    workflow_keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointSection] = field(default_factory=dict)
    views: Mapping[str, Catalog] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    people: Mapping[str, Approver] = field(default_factory=dict)
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    budgets: Budgets = field(default_factory=Budgets)
    labels: Labels = UNHEEDED
    facts: FactsSection = field(default_factory=FactsSection)
    contracts: Contracts = field(default_factory=dict)
    loops: LoopsSection = field(default_factory=LoopsSection)
    abouts: Mapping[str, About] = field(default_factory=dict)
    environments: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        bundle: Bundle,
        workflow_keys: Mapping[str, tuple[str, str]],
        endpoints: Mapping[str, EndpointSection],
        limits: Limits,
    ) -> "Rules":
        """Return the rules with a view of the catalog for every endpoint."""
        views = {name: catalog.within(section, _AT_EVERY_ENDPOINT) for name, section in endpoints.items()}
        return cls(catalog, bundle, workflow_keys, endpoints, views, limits)

    def about(self, tool: Tool) -> About:
        """Return who answers for the server of a tool."""
        return self.abouts.get(tool.server, UNSAID)

    def spoken_with(self, agent: str, tool: Tool) -> Tool:
        """Return a tool in the version that an agent is held at."""
        held = self.contracts.get(agent)
        contract = held.get(tool.name) if held is not None else None
        return tool if contract is None else replace(tool, contract=contract)

    def catalog_at(self, endpoint: str) -> Catalog:
        """Return the tools of an endpoint; the empty name is the one with everything, an unknown one has none."""
        return self.views.get(endpoint, NO_TOOLS) if endpoint else self.catalog

    def list_limit_at(self, endpoint: str) -> int:
        """Return how many tools an endpoint lists before it has them searched."""
        section = self.endpoints.get(endpoint)
        own = section.list_limit if section is not None else None
        return own if own is not None else self.limits.tools

    def servers_at(self, endpoint: str) -> Sequence[str] | None:
        """Return the servers of an endpoint, or None for every one."""
        section = self.endpoints.get(endpoint)
        return section.servers or None if section is not None else ([] if endpoint else None)

    def bare_names_at(self, endpoint: str) -> bool:
        """Tell whether an endpoint shows servers' own names where they are unambiguous."""
        section = self.endpoints.get(endpoint)
        return section is not None and section.names is Names.BARE

    def admits(self, endpoint: str, identity: Identity) -> bool:
        """Tell whether an endpoint is there for this agent."""
        if not endpoint:
            return True
        section = self.endpoints.get(endpoint)
        if section is None:
            return False
        agent = self.bundle.agents.get(identity.agent)
        teams = {*identity.teams, *(agent.teams if agent is not None else ())}
        everyone = not section.agents and not section.teams
        return everyone or identity.agent in section.agents or not teams.isdisjoint(section.teams)


class RulesInForce:
    """Holds the current rules; whoever reloads builds and validates whole new ones, then assigns `current`."""

    def __init__(self, rules: Rules) -> None:
        self.current = rules
