"""From the files of a gateway to the rules it goes by: the catalog of pinned tools, and policies for exactly these."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.approval.own_tools import (
    APPROVALS_SERVER,
    APPROVALS_TOOLS,
    ESCALATE,
    ESCALATE_TOOL,
    EXECUTE,
    EXECUTE_TOOL,
)
from gateway.budget.budgets import Budgets, Told
from gateway.budget.capped import MAX_CALLS
from gateway.catalog.catalog import Catalog, Known, Live
from gateway.catalog.config import ToolRule, rule_for
from gateway.catalog.declared import draft_problems, fallback_problems, hedge_problems, lookup_problems
from gateway.catalog.lock import Lock, Pin
from gateway.catalog.names import canonical_name
from gateway.catalog.own_tools import CALL_TOOL, OWN_PINS, OWN_RULES
from gateway.catalog.screening import screen
from gateway.catalog.versions import Contracts, contracts, held_at, version_problems
from gateway.config.model import OWN_SERVERS, GatewayConfig
from gateway.facts.config import FactsSection
from gateway.facts.own_tools import FACTS_SERVER, FACTS_TOOLS
from gateway.model.duration import milliseconds
from gateway.model.facts import Approver
from gateway.model.tool import Effect, Tool
from gateway.pipeline.rules import Limits, Rules
from gateway.policy import (
    SELF_APPROVAL,
    AgentEntity,
    Bundle,
    LoadOptions,
    PolicyLoadError,
    PolicySource,
    ServerEntity,
    Trial,
    Undecided,
    WorkflowSection,
    asks_named,
    bundle_from,
    compile_allow,
    compile_drafts,
    compile_quarantine,
    compile_separation,
    compile_undecided,
    compile_workflows,
    field_problems,
    is_open_world,
    phased,
    sources_under,
)
from gateway.resilience.probing import probe_problems
from gateway.taint.labels import UNHEEDED, Labels, Source, labels_of
from gateway.workflow.own_tools import OWN_SERVER, OWN_TOOLS, PHASE_TOOL

__all__ = [
    "Written",
    "asked_without_policies",
    "budgets_of",
    "build_rules",
    "read_policies",
    "recatalogued",
    "rules_on_record",
    "rules_without_policies",
    "undecided_in",
]

_OPTIONS: Final = LoadOptions(fulfils=frozenset({"redact", MAX_CALLS, SELF_APPROVAL[0]}))
"""With the obligations the gateway carries out; a permit with another one is refused at load."""

_OURS: Final = 100
"""How far the gateway's own tools are trusted."""

OWN_PERMIT: Final = PolicySource(
    "gateway.own_tools",
    """\
@id("gateway.own_tools")
permit (
  principal,
  action in [
    Gateway::Action::"tools.search", Gateway::Action::"tools.describe", Gateway::Action::"tools.call",
    Gateway::Action::"results.read"
  ],
  resource
);
""",
)
"""They show an agent what it may see anyway, and a call through `tools.call` is decided as what it is. Forbid them at
will: a forbid wins."""

APPROVALS_PERMIT: Final = PolicySource(
    "gateway.approvals",
    """\
@id("gateway.approvals")
permit (principal, action == Gateway::Action::"approvals.wait", resource);
""",
)
"""It tells an agent how its own calls stand. It is there where there are people to ask."""


DRAFTS_PERMIT: Final = PolicySource(
    "gateway.drafts",
    """\
@id("gateway.drafts")
permit (principal, action == Gateway::Action::"approvals.execute", resource);
""",
)
"""It is there where a tool makes drafts: the call that it stands for is decided as what it is."""


def _escalation(role: str) -> PolicySource:
    """Return what has a role's people answer the questions of every agent, its owner and its user among them."""
    who = f"Gateway::Role::{json.dumps(role)}"
    return PolicySource(
        "gateway.escalation",
        f"""\
@id("gateway.escalation")
permit (principal, action == Gateway::Action::"{ESCALATE_TOOL}", resource);

@id("gateway.escalation.answer") @obligation({json.dumps(f"approval:{role}")}) @message("A person answers this.")
forbid (principal, action == Gateway::Action::"{ESCALATE_TOOL}", resource)
unless {{
  context.base has approval && context.base.approval.argsMatch && context.base.approval.by in {who}
}};

@id("gateway.escalation.people") @obligation("self_approval:allowed")
permit (principal in {who}, action == Gateway::Action::"approve", resource == Gateway::Tool::"{ESCALATE_TOOL}");
""",
    )


class Place(Protocol):
    """Where a gateway's files are."""

    @property
    def path(self) -> Path:
        """The folder that the paths in the configuration begin at."""
        ...


Written = Sequence[PolicySource]
"""The policies that people wrote, as `read_policies` read them."""


def read_policies(config: GatewayConfig, home: Place, lock: Lock, trial: Trial) -> Written:
    """Return what the policy files say, once `trial` has shown that it can be read. Blocks.

    Raises:
        PolicyLoadError: a file cannot be read, or its text does harm to whoever reads it.
    """
    written = [source for path in config.policies for source in sources_under(home.path / path)]
    tools = Catalog.pinned(_with_own_tools(lock, config), {}, _said(config)).tools()
    trial.hold(written, tools, replace(_OPTIONS, facts=_facts(config)))
    return written


def build_rules(
    config: GatewayConfig, written: Written, lock: Lock, live: Mapping[str, Live], before: Rules | None = None
) -> Rules:
    """Build the catalog, and the policies for exactly the pinned tools. Only reads stand in, probe or are hedged.

    What is the same in the rules `before` is not made again.

    Raises:
        PolicyLoadError: with every problem found; whatever was in force stays.
    """
    known = before.catalog.known() if before is not None else Known()
    sources = _sources(config, written, lock, known)
    rules = _rules(config, lock, live, (sources, known, before.bundle if before is not None else None))
    problems = [
        *fallback_problems(rules.catalog.tools(), config.mcpServers),
        *lookup_problems(rules.catalog.tools(), config.mcpServers),
        *draft_problems(config.tools, config.agents, config.people),
        *hedge_problems(rules.catalog.tools(), config.tools),
        *probe_problems(config.probes, rules.catalog.find),
        *field_problems({name: agent.fields for name, agent in config.agents.items()}, rules.catalog.tools()),
        *version_problems(config.agents, rules.catalog, config.tools),
    ]
    if problems:
        raise PolicyLoadError(problems)
    return rules


def rules_without_policies(config: GatewayConfig, lock: Lock, live: Mapping[str, Live]) -> Rules:
    """Build rules that deny every call: what is in force when the policies cannot be loaded at start."""
    return _rules(config, lock, live, ((), Known(), None))


def asked_without_policies(config: GatewayConfig, written: Written, server: str) -> frozenset[str]:
    """Return what a server may ask of some client once its tools are known, without which the policies do not load."""
    try:
        allowed = compile_allow({name: agent.patterns for name, agent in config.agents.items()})
    except PolicyLoadError:
        return frozenset()
    return asks_named((*allowed, *written), server)


def recatalogued(old: Rules, config: GatewayConfig, lock: Lock, live: Mapping[str, Live]) -> Rules:
    """Return the old rules over a new catalog: what is in force while new policies do not load."""
    catalog = Catalog.build(_with_own_tools(lock, config), live, _said(config), old.catalog.known())
    limits = _limits(config, catalog.tools())
    rules = Rules.of(catalog, old.bundle, old.workflow_keys, config.endpoints, limits)
    budgets = budgets_of(config, (tool.name for tool in catalog.tools()))
    spoken = _contracts(config, catalog, lock)
    rules = replace(rules, people=old.people, aliases=old.aliases, budgets=budgets, contracts=spoken)
    return replace(
        rules,
        labels=old.labels,
        facts=old.facts,
        loops=config.loops,
        abouts=config.abouts(),
        environments=_own_environments(config),
    )


def rules_on_record(config: GatewayConfig, bundles: Sequence[Mapping[str, Any]]) -> Rules:
    """Return what agents were shown by policies on record: the tools as they were pinned, the later of each.

    Raises:
        PolicyLoadError, KeyError, TypeError, ValueError: this version of the gateway cannot read them.
    """
    tools = {one["name"]: one for bundle in bundles for one in bundle["tools"]}
    lock = Lock()
    for one in tools.values():
        if screen(one["definition"]):  # of another gateway: none is pinned here
            continue
        pin = Pin(one["version"], one["digest"], Effect(one["effect"]), one["definition"], True)
        pins = lock.servers.get(one["server"], {})
        lock = lock.with_server(one["server"], {**pins, str(one["definition"]["name"]): pin})
    catalog = Catalog.build(lock, {}, _said(config))
    bundle = bundle_from(bundles[-1], _agents(config), catalog.tools())
    return Rules.of(catalog, bundle, {}, config.endpoints, _limits(config, catalog.tools()))


def _contracts(config: GatewayConfig, catalog: Catalog, lock: Lock) -> Contracts:
    teams = {name: agent.teams for name, agent in config.agents.items()}
    return contracts(held_at(teams, catalog, config.tools), catalog, lock, config.tools)


def budgets_of(config: GatewayConfig, tools: Iterable[str]) -> Budgets:
    """Return what calls of these tools cost, and what they are charged to."""
    allowances = config.budgets.limited()
    allowances |= {f"agent:{name}": dict(agent.budget) for name, agent in config.agents.items()}
    teams = {name: agent.teams for name, agent in config.agents.items()}
    prices = {tool: rule.cost for tool in tools if (rule := rule_for(config.tools, tool)).cost}
    return Budgets(Told(allowances, teams, prices, OWN_SERVERS))


def _sources(config: GatewayConfig, written: Written, lock: Lock, known: Known) -> tuple[PolicySource, ...]:
    """Return every policy text: what `allow:` and `workflows:` compile to, then the files. Raises PolicyLoadError."""
    tools = Catalog.pinned(_with_own_tools(lock, config), {}, _said(config), known).tools()
    allowed = {name: agent.patterns for name, agent in config.agents.items()}
    own = (OWN_PERMIT, APPROVALS_PERMIT) if config.people else (OWN_PERMIT,)
    own = (*own, *((DRAFTS_PERMIT,) if _makes_drafts(config) else ()), *compile_drafts(tools))
    if config.people and config.approvals.escalate_to:
        own = (*own, _escalation(config.approvals.escalate_to))
    quarantined = [name for name, standing in config.standing().items() if standing.quarantined]
    environments = {name: about.environment for name, about in config.abouts().items() if about.environment}
    of_agents = dict.fromkeys(config.agents, config.server.environment) | _own_environments(config)
    new = undecided_in(config, lock)
    shut = (
        *compile_quarantine(quarantined),
        *compile_separation(of_agents, environments),
        *compile_undecided(new, allowed),
    )
    return (*own, *shut, *compile_allow(allowed), *compile_workflows(config.workflows, tools), *written)


def undecided_in(config: GatewayConfig, lock: Lock) -> list[Undecided]:
    """Return the servers about which nobody has decided, where that is to keep agents from them."""
    if config.server.new_servers == "open":
        return []
    new = lock.undecided(config.mcpServers)
    return [Undecided(server, _reviewed(server, lock.servers.get(server, {}))) for server in new]


def _reviewed(server: str, pins: Mapping[str, Pin]) -> tuple[str, ...]:
    return tuple(canonical_name(server, name) for name, pin in sorted(pins.items()) if pin.reviewed)


def _rules(
    config: GatewayConfig,
    lock: Lock,
    live: Mapping[str, Live],
    made: tuple[tuple[PolicySource, ...], Known, Bundle | None],
) -> Rules:
    sources, known, before = made
    lock = _with_own_tools(lock, config)
    pinned = Catalog.pinned(lock, live, _said(config), known).tools()
    catalog = Catalog.build(lock, live, _said(config), known)
    loaded_with = sources, pinned, _agents(config), _options(config, catalog)
    bundle = Bundle.load(*loaded_with) if before is None else before.renewed(*loaded_with)
    keys = {
        tool: (name, workflow.key)
        for name, workflow in config.workflows.items()
        if workflow.key is not None
        for tool in (*_ruled(workflow), *phased(workflow, [each.name for each in pinned]))
    }
    rules = Rules.of(
        catalog,
        bundle,
        keys,
        config.endpoints,
        _limits(config, pinned),
    )
    return replace(
        rules,
        people=_people(config),
        aliases={name: one.aliases for name, one in config.people.items()},
        budgets=budgets_of(config, (tool.name for tool in rules.catalog.tools())),
        labels=_labels(config, rules.bundle),
        facts=config.facts or FactsSection(),
        contracts=_contracts(config, catalog, lock),
        loops=config.loops,
        abouts=config.abouts(),
        environments=_own_environments(config),
    )


def _agents(config: GatewayConfig) -> list[AgentEntity]:
    return [
        AgentEntity(
            name=name,
            owner=agent.owner,
            teams=tuple(agent.teams),
            roles=tuple(agent.roles),
            tier=agent.tier,
            runtime=agent.runtime,
            attested=agent.attested,
            fields=agent.fields,
        )
        for name, agent in config.agents.items()
    ]


def _ruled(workflow: WorkflowSection) -> Iterator[str]:
    for rule in workflow.rules:
        yield from (rule.call, *(need.call for need in rule.require))


def _own_environments(config: GatewayConfig) -> dict[str, str]:
    """Return the environments of the agents that are of another than the gateway's."""
    return {name: agent.environment for name, agent in config.agents.items() if agent.environment is not None}


def _people(config: GatewayConfig) -> dict[str, Approver]:
    return {name: Approver(name, tuple(one.roles), tuple(one.teams)) for name, one in config.people.items()}


def _options(config: GatewayConfig, catalog: Catalog) -> LoadOptions:
    """Return what policies are loaded for; people are known by their aliases too."""
    people = _people(config)
    known = {alias: people[name] for name, one in config.people.items() for alias in one.aliases} | people
    takes = config.ledger.imported == "steps"
    return replace(_OPTIONS, servers=_servers(config, catalog), people=known, facts=_facts(config), imported=takes)


def _facts(config: GatewayConfig) -> dict[str, Mapping[str, Any]]:
    """Return the JSON Schema of each declared fact."""
    declared = config.facts or FactsSection()
    return {name: each.json_schema for name, each in declared.names.items()}


def _said(config: GatewayConfig) -> dict[str, ToolRule]:
    return {**OWN_RULES, EXECUTE_TOOL: OWN_RULES[CALL_TOOL], **config.tools}


def _servers(config: GatewayConfig, catalog: Catalog) -> tuple[ServerEntity, ...]:
    """Return the servers as policies see them: one that offers something else than was pinned is quarantined too."""
    suspect = catalog.suspect()
    behind = [
        ServerEntity(name, standing.trust, standing.quarantined or name in suspect)
        for name, standing in config.standing().items()
    ]
    return (*behind, *(ServerEntity(name, _OURS) for name in sorted(OWN_SERVERS)))


def _labels(config: GatewayConfig, bundle: Bundle) -> Labels:
    """Return what answers carry, where some policy heeds that."""
    if not bundle.heeds_taint:
        return UNHEEDED
    section = config.taint
    tools = {
        name: Source(tool.server, bundle.server(tool.server).trust, is_open_world(tool), tool.traits.classification)
        for name, tool in bundle.tools.items()
    }
    servers = {name: Source(name, server.trust) for name, server in bundle.servers.items()}
    return Labels(
        True,
        {name: labels_of(section, source) for name, source in tools.items()},
        {name: labels_of(section, source) for name, source in servers.items()},
        milliseconds(section.window),
    )


def _limits(config: GatewayConfig, pinned: Iterable[Tool]) -> Limits:
    """Return what is shown at once; the gateway's own answers are never cut."""
    results = {}
    for tool in pinned:
        limit = rule_for(config.tools, tool.name).result_limit or config.server.result_limit
        if limit != "none" and tool.server in config.mcpServers:
            results[tool.name] = limit
    return Limits(config.server.list_limit, results)


def _makes_drafts(config: GatewayConfig) -> bool:
    return bool(config.people) and any(rule.mode == "draft" for rule in config.tools.values())


def _with_own_tools(lock: Lock, config: GatewayConfig) -> Lock:
    has_phases = any(workflow.phases for workflow in config.workflows.values())
    about_runs = (*OWN_TOOLS, PHASE_TOOL) if has_phases else OWN_TOOLS
    lock = lock.with_server(OWN_SERVER, {str(tool["name"]): Pin.of(tool, reviewed=True) for tool in about_runs})
    for server, pins in OWN_PINS.items():
        lock = lock.with_server(server, pins)
    if config.people:
        pins = {str(tool["name"]): Pin.of(tool, reviewed=True) for tool in APPROVALS_TOOLS}
        if _makes_drafts(config):
            pins[str(EXECUTE["name"])] = Pin.of(EXECUTE, effect=Effect.READ, reviewed=True)
        if config.approvals.escalate_to:
            pins[str(ESCALATE["name"])] = Pin.of(ESCALATE, reviewed=True)
        lock = lock.with_server(APPROVALS_SERVER, pins)
    if config.facts is not None:
        lock = lock.with_server(FACTS_SERVER, {str(tool["name"]): Pin.of(tool, reviewed=True) for tool in FACTS_TOOLS})
    return lock
