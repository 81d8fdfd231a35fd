"""The entities a decision is about, as Cedar JSON (POLICY.md §3)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.model.facts import Approver, RunRef
from gateway.model.identity import Identity
from gateway.model.tool import Effect, Tool

__all__ = [
    "CALL_TOOL",
    "DOCUMENT",
    "NAMESPACE",
    "PROMPT",
    "SERVER",
    "TOOL",
    "AgentEntity",
    "Entity",
    "ServerEntity",
    "Uid",
    "action_entity",
    "action_of",
    "agent_entity",
    "bare_entity",
    "group_entities",
    "is_open_world",
    "joined",
    "part_entity",
    "reference",
    "run_entity",
    "server_entity",
    "tool_entities",
    "uid",
    "user_entity",
]

NAMESPACE = "Gateway"
CALL_TOOL = "call_tool"
TOOL, DOCUMENT, PROMPT, SERVER = "Tool", "Document", "Prompt", "Server"
"""The types of what an agent or a server can be up to."""

Entity = Mapping[str, Any]


class Uid(NamedTuple):
    """An entity's full type name and id."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class AgentEntity:
    """A registered agent as policies see it; `teams` and `roles` add to what its verified identity says.

    `fields` are, by tool, the arguments that it may set; a tool that is not among them has no such limit.
    """

    name: str
    owner: str = ""
    teams: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    tier: int = 0
    runtime: str = ""
    attested: bool = False
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerEntity:
    """A configured server as policies see it: how far it is trusted, and whether something is wrong with it."""

    name: str
    trust: int = 0
    quarantined: bool = False


def uid(kind: str, name: str) -> dict[str, str]:
    """Return an entity uid as Cedar JSON."""
    return {"type": f"{NAMESPACE}::{kind}", "id": name}


def reference(kind: str, name: str) -> dict[str, Any]:
    """Return a value that refers to an entity."""
    return {"__entity": uid(kind, name)}


def action_of(tool: str) -> dict[str, str]:
    """Return the uid of the action of calling `tool`."""
    return uid("Action", tool)


def agent_entity(agent: AgentEntity, identity: Identity) -> Entity:
    """Return the entity of an agent under a verified identity."""
    groups = [uid("Team", name) for name in sorted({*agent.teams, *identity.teams})]
    groups += [uid("Role", name) for name in sorted({*agent.roles, *identity.roles})]
    attributes = {
        "owner": reference("User", agent.owner or identity.owner),
        "tier": agent.tier,
        "runtime": agent.runtime,
        "attested": agent.attested,
    }
    return _entity(uid("Agent", agent.name), attributes, groups)


def user_entity(person: Approver) -> Entity:
    """Return the entity of a person."""
    groups = [uid("Team", name) for name in sorted({*person.teams})]
    groups += [uid("Role", name) for name in sorted({*person.roles})]
    return _entity(uid("User", person.name), {}, groups)


def joined(entities: Iterable[Entity], others: Iterable[Entity]) -> tuple[Entity, ...]:
    """Return entities, and those of the others that are not among them."""
    found = {Uid(**one["uid"]): one for one in entities}
    for one in others:
        found.setdefault(Uid(**one["uid"]), one)
    return tuple(found.values())


def group_entities(groups: Iterable[str]) -> tuple[Entity, ...]:
    """Return the entities of tool groups: `money/outgoing` is one of the groups in `money`."""
    names = {group.rsplit("/", up)[0] for group in groups for up in range(group.count("/") + 1)}
    return tuple(
        _entity(uid("ToolGroup", name), {}, [uid("ToolGroup", name.rpartition("/")[0])])
        for name in sorted(names)
        if "/" in name
    )


def tool_entities(tool: Tool, server: ServerEntity) -> tuple[Entity, ...]:
    """Return the entities of a tool: itself, its action, its server, and the groups that are in others.

    What the operator says wins. Hints of a server count only where a person vouched for them and the declared effect
    does not contradict them; without them a tool is taken for open to the world and what it is given for lost to it,
    and one that writes, or that only its server calls harmless, for destructive.
    """
    said, is_read = tool.traits, tool.effect is Effect.READ and not tool.effect_hinted
    open_world = is_open_world(tool)
    attributes = {
        "name": tool.name,
        "server": reference(SERVER, tool.server),
        "readOnly": is_read,
        "destructive": not is_read and _either(said.destructive, not _adds_only(tool)),
        "idempotent": tool.idempotent,
        "openWorld": open_world,
        "annotationsTrusted": tool.annotations_trusted,
        "reversible": is_read or _either(said.reversible, tool.undo != ""),
        "pinned": tool.quarantined == "",
        "sink": _either(said.sink, open_world),
        "classification": said.classification,
    }
    groups = [uid("ToolGroup", name) for name in sorted(tool.groups)]
    return (
        _entity(uid(TOOL, tool.name), attributes, [uid(SERVER, tool.server), *groups]),
        _entity(action_of(tool.name), {}, [action_of(CALL_TOOL)]),
        server_entity(server),
        *group_entities(tool.groups),
    )


def is_open_world(tool: Tool) -> bool:
    """Tell whether a tool may reach what anybody has written."""
    return _either(tool.traits.open_world, _hints(tool).get("openWorldHint") is not False)


def _adds_only(tool: Tool) -> bool:
    return tool.effect is Effect.WRITE and _hints(tool).get("destructiveHint") is False


def _hints(tool: Tool) -> Mapping[str, Any]:
    hints = tool.definition.get("annotations") if tool.annotations_trusted else None
    return hints if isinstance(hints, Mapping) else {}


def _either(said: bool | None, otherwise: bool) -> bool:
    return otherwise if said is None else said


def server_entity(server: ServerEntity) -> Entity:
    """Return the entity of a server."""
    return _entity(uid(SERVER, server.name), {"trust": server.trust, "quarantined": server.quarantined}, [])


def run_entity(run: RunRef) -> Entity:
    """Return the entity of a run; its owner is the agent, whoever it acts for."""
    owner = reference("Agent", run.owner.partition("/")[0])
    return _entity(uid("Run", run.id), {"owner": owner, "status": run.status}, [])


def part_entity(kind: str, server: str, name: str | None) -> Entity:
    """Return the entity of a server's document or prompt, called `<server>/<URI or name>`.

    None stands for any of them: then its URI or name is there and has no value.
    """
    attributes = {"uri" if kind == DOCUMENT else "name": name, "server": reference(SERVER, server)}
    return _entity(uid(kind, f"{server}/{name or ''}"), attributes, [uid(SERVER, server)])


def action_entity(name: str) -> Entity:
    """Return the entity of an action that is no tool's."""
    return bare_entity(action_of(name))


def bare_entity(name: Mapping[str, str]) -> Entity:
    """Return an entity of which nothing is known but that it is there."""
    return _entity(name, {}, [])


def _entity(name: Mapping[str, str], attributes: Mapping[str, Any], parents: Sequence[Mapping[str, str]]) -> Entity:
    return {"uid": name, "attrs": attributes, "parents": list(parents)}
