"""The policies in force: loaded as a whole, swapped as a whole, never changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from gateway.codec import digest, dump, parse
from gateway.model.decision import Decision, DecisionInput
from gateway.model.facts import Approver, PriorQuery
from gateway.model.identity import Identity
from gateway.model.operation import TOOL_CALL
from gateway.model.remembering import borrowed, remembering
from gateway.model.tool import Tool
from gateway.policy.cedar import pst
from gateway.policy.entities import (
    NAMESPACE,
    TOOL,
    AgentEntity,
    Entity,
    ServerEntity,
    Uid,
    action_of,
    agent_entity,
    tool_entities,
    uid,
    user_entity,
)
from gateway.policy.fields import Fields, fields_of
from gateway.policy.mapper import map_record
from gateway.policy.need import CONFIDENCE, GRANT, TAINT
from gateway.policy.operations import Operations
from gateway.policy.outlook import Outlook, outlook_of
from gateway.policy.policies import Checked, LoadOptions, Policy, check_sources
from gateway.policy.schema import ToolShapes
from gateway.policy.situation import Request, Situation
from gateway.policy.source import PolicySource
from gateway.policy.temporal import lowered

__all__ = ["Bundle"]

_SITUATIONS: Final = 1024
_REQUESTS: Final = 4096
_OUTLOOKS: Final = 65536
_OPERATION_SITUATIONS: Final = 512
_LARGE_SITUATIONS: Final = 2
_KEPT_BYTES: Final = 8192
"""Of larger requests only the last are remembered: URIs come from agents, and none is to fill the memory with them."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_TOOL_TYPE: Final = uid(TOOL, "")["type"]
_Key = tuple[str, str, tuple[str, ...], tuple[str, ...], str | None, str, bool]


class Bundle:
    """Policies with the tools and agents they were checked against.

    `digest` is the SHA-256 of the schema and the policy texts. `fields` are, by agent and tool, the arguments that may
    be set where not all may. Its caches hold nothing a decision depends on.
    """

    def __init__(
        self,
        sources: Sequence[PolicySource],
        checked: Checked,
        tools: Sequence[Tool],
        agents: Sequence[AgentEntity],
        options: LoadOptions,
    ) -> None:
        self.sources = tuple(sources)
        self.options = options
        self._checked = checked
        self.policies = checked.policies
        self.schema = checked.schema
        self.tools: Mapping[str, Tool] = MappingProxyType({tool.name: tool for tool in tools})
        self.agents: Mapping[str, AgentEntity] = MappingProxyType({agent.name: agent for agent in agents})
        self.fields: Mapping[tuple[str, str], Fields] = {
            (agent.name, tool): fields_of(paths) for agent in agents for tool, paths in agent.fields.items()
        }
        self.servers: Mapping[str, ServerEntity] = MappingProxyType({one.name: one for one in options.servers})
        self.people = options.people
        self.digest = digest({"schema": checked.schema, "policies": [[one.name, one.text] for one in sources]})
        self.environments = frozenset(checked.schema[NAMESPACE]["entityTypes"]["Environment"]["enum"])
        self._shapes = checked.shapes
        self._priors = _counting_imports(checked.priors) if options.imported else checked.priors
        self.fact_shape = checked.facts
        self.prior_sources = frozenset(query.tool for queries in checked.priors.values() for query in queries)
        """The tools whose calls some policy looks back at: those calls are always claimed, reads too."""
        self.reads_budget = any(policy.need.reads(("base", "budget")) for policy in checked.policies)
        """Whether some policy asks what is left of budgets."""
        self.reads_confidence = any(policy.need.reads(CONFIDENCE) for policy in checked.policies)
        """Whether some policy asks how sure an agent says it is."""
        self._reads_grants = any(policy.need.reads(GRANT) for policy in checked.policies)
        self._tool_entities = {tool.name: tool_entities(tool, self.server(tool.server)) for tool in tools}
        self._for_anyone, self._for_one = _by_principal(checked.policies)
        self._request = remembering(_REQUESTS, self._build_request)
        self._situation = remembering(_SITUATIONS, self._build_situation)
        self._near: dict[int, tuple[Request | DecisionInput, Situation]] = {}
        self._asked: dict[tuple[int, int], tuple[Identity, Tool, Situation, bool]] = {}
        self.decided: dict[int, tuple[DecisionInput, Decision]] = {}
        """What was decided on lasting inputs, by the objects they are."""
        self._outlook = remembering(_OUTLOOKS, self._build_outlook)
        agent, candidates, server = borrowed(self._known_agent), borrowed(self.candidates), borrowed(self.server)
        self._operations = Operations(checked.policies, agent, candidates, server, self.people)
        self._operation_situation = remembering(_OPERATION_SITUATIONS, self._build_situation)
        self._large_situation = remembering(_LARGE_SITUATIONS, self._build_situation)

    @classmethod
    def load(
        cls,
        sources: Sequence[PolicySource],
        tools: Sequence[Tool],
        agents: Sequence[AgentEntity],
        options: LoadOptions = LoadOptions(),  # noqa: B008 - frozen
    ) -> "Bundle":
        """Check policies against the pinned tools and put them together. No sources at all: every call is denied.

        Raises:
            PolicyLoadError: with every problem found and its place.
        """
        return cls(sources, check_sources(sources, tools, options), tools, agents, options)

    def renewed(
        self,
        sources: Sequence[PolicySource],
        tools: Sequence[Tool],
        agents: Sequence[AgentEntity],
        options: LoadOptions,
    ) -> "Bundle":
        """As `load`, but policies are not checked again that are the same, against the same tools.

        Raises:
            PolicyLoadError: with every problem found and its place.
        """
        if (
            self.sources != tuple(sources)
            or _checked_with(self.options) != _checked_with(options)
            or list(self.tools.values()) != list(tools)
        ):
            return Bundle.load(sources, tools, agents, options)
        if self.options == options and list(self.agents.values()) == list(agents):
            return self
        return Bundle(sources, self._checked, tools, agents, options)

    def record(self) -> dict[str, Any]:
        """Return what decisions are a function of besides their inputs, as JSON: `gateway.policy.recorded` reads it.

        The canonical form of its `schema` and `policies` hashes to its `digest`.
        """
        return {
            "digest": self.digest,
            "schema": self.schema,
            "policies": [[source.name, source.text] for source in self.sources],
            "fulfils": sorted(self.options.fulfils),
            "environments": list(self.options.environments),
            "servers": [[server.name, server.trust, server.quarantined] for server in self.options.servers],
            "facts": self.options.facts,
            "imported": self.options.imported,
            "people": {name: [one.name, one.roles, one.teams] for name, one in self.options.people.items()},
            "tools": [
                {
                    "name": tool.name,
                    "server": tool.server,
                    "version": tool.version,
                    "effect": str(tool.effect),
                    "digest": tool.digest,
                    "definition": tool.definition,
                }
                for tool in self.tools.values()
            ],
        }

    @property
    def text(self) -> str:
        """The policies as Cedar, each source under its name: what `toolgate policy show` prints."""
        return "\n".join(f"// {source.name}\n{lowered(source).rstrip()}\n" for source in self.sources)

    @property
    def heeds_taint(self) -> bool:
        """Whether some policy looks at what was read before, and be it in the shadow."""
        return any(policy.need.reads(TAINT) for policy in self.policies)

    @property
    def prior_indexes(self) -> frozenset[tuple[str, tuple[str, ...]]]:
        """The lookups worth an index: a tool and the argument paths it is found by."""
        queries = (query for found in self._priors.values() for query in found)
        return frozenset((query.tool, tuple(step for step, _ in query.bindings)) for query in queries)

    @property
    def reads_grants(self) -> bool:
        """Whether some policy asks whether people have opened access."""
        return self._reads_grants

    def server(self, name: str) -> ServerEntity:
        """Return a server as policies see it; one that is not known is not trusted."""
        return self.servers.get(name, ServerEntity(name))

    def facts_read(self, identity: Identity, tool: Tool, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the declared facts that the policies read about such a call."""
        need = self.situation_of(identity, tool, arguments).need.wants("facts")
        return () if need is None else [name for name in self.fact_shape.fields if need.wants(name) is not None]

    def fits_fact(self, name: str, value: Any) -> bool:
        """Tell whether a value is of the type that a fact is declared to have, exactly."""
        return name not in self.fact_shape.fields or name in map_record(self.fact_shape, {name: value}).values

    def priors_for(self, tool: str) -> tuple[PriorQuery, ...]:
        """Return the earlier steps to look up before a call of `tool` can be decided."""
        return self._priors.get(tool, ())

    def shapes_of(self, tool: str) -> ToolShapes:
        """Return the typed arguments and results of a known tool."""
        return self._shapes[tool]

    def request(self, identity: Identity, tool: Tool, arguments: Mapping[str, Any] = _NOTHING) -> Request:
        """Return the uids and entities of a call; the arguments matter only where it is no tool's (`operation`).

        What this bundle was not loaded for is left out of the entities, and so refused: an unknown agent or tool, and
        a tool in another version. Of a server that offers no tools the bundle need not know.
        """
        if tool.method != TOOL_CALL:
            return self._operations.request(identity, tool, arguments)
        return self._request(*self._key(identity, tool))

    def outlook(self, identity: Identity, tool: Tool, *, granted: bool = False) -> Outlook:
        """Return what an agent can hope for from a tool or an operation, whatever the arguments and the past.

        That is without a grant, or (`granted`) with one for some calls of the tool.
        """
        if identity.child is not None and not identity.child.covers(tool.name):
            return Outlook.NEVER
        if any(self.outlook(one, tool) is Outlook.NEVER for one in identity.delegators):
            return Outlook.NEVER
        if tool.method != TOOL_CALL:
            return self._operations.outlook(identity, tool.method, tool.server, None)
        return self._outlook(granted, *self._key(identity, tool))

    def outlook_on(self, identity: Identity, method: str, server: str, name: str | None) -> Outlook:
        """Return what an agent can hope for from an operation on a server's document or prompt; None is any of them."""
        if identity.child is not None and not identity.child.covers(f"{server}.{method}"):
            return Outlook.NEVER
        if any(self.outlook_on(one, method, server, name) is Outlook.NEVER for one in identity.delegators):
            return Outlook.NEVER
        return self._operations.outlook(identity, method, server, name)

    def situation(self, given: Request | DecisionInput) -> Situation:
        """Return the policies that matter to a request. It is a function of these bytes and the bundle alone."""
        near = self._near.get(id(given.entities))
        if near is not None and _is_about(given, near[0]):
            return near[1]
        head, entities = dump([given.principal, given.action, given.resource]), dump(given.entities)
        if given.resource["type"] == _TOOL_TYPE:
            found = self._situation(head, entities)
        elif len(entities) <= _KEPT_BYTES:
            found = self._operation_situation(head, entities)
        else:
            return self._large_situation(head, entities)
        if len(self._near) >= _SITUATIONS:
            self._near.clear()
        self._near[id(given.entities)] = given, found
        return found

    def situation_of(self, identity: Identity, tool: Tool, arguments: Mapping[str, Any] = _NOTHING) -> Situation:
        """Return the policies that matter to a call; the arguments as for `request`."""
        return self.asked_of(identity, tool, arguments)[2]

    def asked_of(
        self, identity: Identity, tool: Tool, arguments: Mapping[str, Any]
    ) -> tuple[Identity, Tool, Situation, bool]:
        """Return an agent, a tool, the policies that matter to such a call, and whether that is all that does.

        It is where neither these policies nor what a refusal says depends on the arguments, and nobody else has a say.
        """
        key = id(identity), id(tool)
        asked = self._asked.get(key)
        if asked is not None and asked[0] is identity and asked[1] is tool:
            return asked
        found = self.situation(self.request(identity, tool, arguments))
        plain = found.steady and not (
            found.remedy_paths or identity.delegators or (identity.agent, tool.name) in self.fields
        )
        asked = identity, tool, found, plain
        if tool.method == TOOL_CALL:
            if len(self._asked) >= _SITUATIONS:
                self._asked.clear()
            self._asked[key] = asked
        return asked

    def _key(self, identity: Identity, tool: Tool) -> _Key:
        known = self.tools.get(tool.name)
        same = known is tool or (known is not None and _version(known) == _version(tool))
        user = identity.on_behalf_of if identity.on_behalf_of in self.people else None
        return identity.agent, identity.owner, identity.teams, identity.roles, user, tool.name, same

    def _build_request(self, *key: *_Key) -> Request:
        agent, owner, teams, roles, user, tool, same = key
        identity = Identity(
            agent, method="", credential_id="", owner=owner, teams=teams, roles=roles, on_behalf_of=user
        )
        entities = self._known_agent(identity) + (self._tool_entities[tool] if same else ())
        return Request(uid("Agent", agent), action_of(tool), uid(TOOL, tool), entities)

    def _known_agent(self, identity: Identity) -> tuple[Entity, ...]:
        """Return the entities of an agent and of those of its people whose roles and teams are known."""
        registered = self.agents.get(identity.agent)
        if registered is None:
            return ()
        names = dict.fromkeys((registered.owner or identity.owner, identity.on_behalf_of or ""))
        known = ((name, self.people[name]) for name in names if name in self.people)
        users = (user_entity(Approver(name, person.roles, person.teams)) for name, person in known)
        return agent_entity(registered, identity), *users

    def _build_situation(self, head: bytes, entities: bytes) -> Situation:
        principal, action, resource = parse(head)
        request = Request(principal, action, resource, tuple(parse(entities)))
        return Situation(request, entities, tuple(self.candidates(Uid(**principal))))

    def _build_outlook(self, granted: bool, *key: *_Key) -> Outlook:
        request = self._request(*key)
        return outlook_of(tuple(self.candidates(Uid(**request.principal))), request, granted=granted)

    def candidates(self, principal: Uid) -> Iterator[Policy]:
        """Yield the policies whose scope does not name another principal."""
        yield from self._for_anyone
        yield from self._for_one.get(principal, ())


def _checked_with(options: LoadOptions) -> LoadOptions:
    """Return what of the options bears on how policies are checked."""
    return replace(options, servers=(), people={}, imported=False)


def _is_about(given: Request | DecisionInput, request: Request | DecisionInput) -> bool:
    """Tell whether `given` consists of the very objects of a request that is still held: then its bytes are known."""
    return (
        given.entities is request.entities
        and given.principal is request.principal
        and given.action is request.action
        and given.resource is request.resource
    )


def _version(tool: Tool) -> tuple[object, ...]:
    """Return what of a tool the policies were checked against."""
    said = tool.effect, tool.effect_hinted, tool.traits, tool.annotations_trusted
    return tool.digest, tool.server, tool.quarantined, tool.groups, said


def _by_principal(policies: Sequence[Policy]) -> tuple[list[Policy], dict[Uid, list[Policy]]]:
    anyone: list[Policy] = []
    one: dict[Uid, list[Policy]] = {}
    for policy in policies:
        scope = policy.template.principal
        if isinstance(scope, pst.ScopeEq) and isinstance(scope.entity, pst.EntityUid):
            one.setdefault(Uid(str(scope.entity.type), scope.entity.id), []).append(policy)
        else:
            anyone.append(policy)
    return anyone, one


def _counting_imports(priors: Mapping[str, tuple[PriorQuery, ...]]) -> Mapping[str, tuple[PriorQuery, ...]]:
    return {tool: tuple(replace(query, imported=True) for query in asked) for tool, asked in priors.items()}
