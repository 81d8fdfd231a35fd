"""The Cedar schema, generated from the pinned tools (POLICY.md §3).

One action per tool types its arguments and its prior steps, so a misspelt attribute fails at load.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.model.facts import PriorQuery
from gateway.policy.entities import CALL_TOOL, NAMESPACE
from gateway.policy.shape import Shape, cedar_counts, cedar_type

__all__ = ["OTHER_ACTIONS", "ToolShapes", "build_schema", "declares"]

Json = dict[str, Any]

_AGENT, _USER = ["Agent"], ["User"]
OTHER_ACTIONS: Final[Mapping[str, tuple[list[str], list[str]]]] = {
    "read_resource": (_AGENT, ["Document"]),
    "get_prompt": (_AGENT, ["Prompt"]),
    "complete": (_AGENT, ["Prompt", "Document"]),
    "see": (_AGENT, ["Tool", "Prompt", "Document"]),
    "sample": (_AGENT, ["Server"]),
    "elicit": (_AGENT, ["Server"]),
    "list_roots": (_AGENT, ["Server"]),
    "join": (_AGENT, ["Run"]),
    "approve": (_USER, ["Tool"]),
    "settle": (_USER, ["Run"]),
    "resume": (_USER, ["Run"]),
    "rollback": (_USER, ["Run"]),
    "pause": (_USER, ["Run", "Agent", "Team", "Tool", "Server", "Environment"]),
    "admin": (_USER, ["Environment"]),
}
"""Every action besides the tools': who may be its principal, and what its resource."""


class ToolShapes:
    """The typed arguments and results of one tool. `output` is None for a tool without an output schema."""

    __slots__ = ("input", "output")

    def __init__(self, arguments: Shape, output: Shape | None) -> None:
        self.input = arguments
        self.output = output


def build_schema(
    tools: Mapping[str, ToolShapes],
    priors: Mapping[str, Sequence[PriorQuery]],
    environments: Sequence[str],
    facts: Shape | None = None,
    *,
    grants: bool = False,
) -> Json:
    """Return the schema in Cedar's JSON form; `priors` are the prior steps that each tool's policies look at.

    `facts` are those that are declared; without any, no context has facts. Nor has any a grant, unless there are
    `grants` because some policy asks for them: to those who use none, the policies stay what they were.
    """
    held = {"facts": (cedar_type(facts), True)} if facts is not None and facts.fields else {}
    actions: Json = {CALL_TOOL: {}}
    for name, (principals, resources) in OTHER_ACTIONS.items():
        actions[name] = _action(principals, resources, _record({"base": (_named("Base"), True)}), [])
    for name, shapes in tools.items():
        steps = {query.name: (_prior(tools[query.tool]), False) for query in priors.get(name, ())}
        context = _record(
            {
                "base": (_named("Base"), True),
                "input": (cedar_type(shapes.input), True),
                "n": (cedar_counts(shapes.input), True),
                "prior": (_record(steps), True),
                **held,
            }
        )
        actions[name] = _action(_AGENT, ["Tool"], context, [{"id": CALL_TOOL}])
    return {
        NAMESPACE: {
            "commonTypes": {"Base": _base(grants=grants)},
            "entityTypes": _entity_types(environments),
            "actions": actions,
        }
    }


def declares(context: Mapping[str, Any], path: Sequence[str], schema: Mapping[str, Any]) -> bool:
    """Tell whether a context type has an attribute at `path`; what lies beyond an entity is for Cedar to judge."""
    here: Mapping[str, Any] = context
    for name in path:
        here = schema[NAMESPACE]["commonTypes"].get(here.get("name"), here)
        if here["type"] != "Record":
            return bool(here["type"] == "EntityOrCommon")
        if name not in here["attributes"]:
            return False
        here = here["attributes"][name]
    return True


def _base(*, grants: bool) -> Json:
    budget = _record({"callsLeft": (_LONG, True), "costLeft": (_DECIMAL, True)})
    approval = _record(
        {"by": (_named("User"), True), "at": (_DATETIME, True), "argsMatch": (_BOOL, True), "quorum": (_LONG, True)}
    )
    delegation = _record(
        {"name": (_STRING, True), "parent": (_STRING, True), "depth": (_LONG, True), "scopes": (_STRINGS, True)}
    )
    grant = {"grant": (_record({"by": (_named("User"), True), "at": (_DATETIME, True)}), False)} if grants else {}
    run = _record({"id": (_STRING, True), "owner": (_named("Agent"), True), "status": (_STRING, True)})
    return _record(
        {
            "now": (_DATETIME, True),
            "env": (_named("Environment"), True),
            "delegator": (_named("User"), False),
            "delegatedScopes": (_STRINGS, True),
            "delegation": (delegation, False),
            "run": (run, True),
            "step": (_LONG, True),
            "taint": (_STRINGS, True),
            "budget": (budget, False),
            "approval": (approval, False),
            "unmodelled": (_STRINGS, True),
            "version": (_LONG, True),
            "dryRun": (_BOOL, True),
            "confidence": (_DECIMAL, False),
            **grant,
        }
    )


def _prior(step: ToolShapes) -> Json:
    attributes = {
        "status": (_STRING, True),
        "by": (_named("Agent"), True),
        "at": (_DATETIME, True),
        "startedAt": (_DATETIME, True),
        "consumed": (_BOOL, True),
        "run": (_STRING, True),
        "labels": (_STRINGS, True),
        "delegator": (_named("User"), False),
        "input": (cedar_type(step.input), True),
    }
    if step.output is not None:
        attributes["output"] = (cedar_type(step.output), False)
    return _record(attributes)


def _entity_types(environments: Sequence[str]) -> Json:
    groups = ["Team", "Role"]
    owner = {"owner": (_named("User"), True)}
    agent = {**owner, "tier": (_LONG, True), "runtime": (_STRING, True), "attested": (_BOOL, True)}
    flags = ["readOnly", "destructive", "idempotent", "openWorld", "annotationsTrusted", "reversible", "pinned", "sink"]
    of = {"server": (_named("Server"), True)}
    tool = {**of, "name": (_STRING, True), **{flag: (_BOOL, True) for flag in flags}, "classification": (_LONG, True)}
    server = {"trust": (_LONG, True), "quarantined": (_BOOL, True)}
    return {
        "Agent": {"memberOfTypes": groups, "shape": _record(agent)},
        "User": {"memberOfTypes": groups},
        "Team": {},
        "Role": {},
        "Server": {"shape": _record(server)},
        "ToolGroup": {"memberOfTypes": ["ToolGroup"]},
        "Tool": {"memberOfTypes": ["Server", "ToolGroup"], "shape": _record(tool)},
        "Prompt": {"memberOfTypes": ["Server"], "shape": _record({**of, "name": (_STRING, True)})},
        "Document": {"memberOfTypes": ["Server"], "shape": _record({**of, "uri": (_STRING, True)})},
        "Run": {"shape": _record({"owner": (_named("Agent"), True), "status": (_STRING, True)})},
        "Environment": {"enum": list(environments)},
    }


def _action(principals: Sequence[str], resources: Sequence[str], context: Json, parents: Sequence[Json]) -> Json:
    applies = {"principalTypes": list(principals), "resourceTypes": list(resources), "context": context}
    return {"memberOf": list(parents), "appliesTo": applies}


def _record(attributes: Mapping[str, tuple[Json, bool]]) -> Json:
    members = {name: {**inner, "required": required} for name, (inner, required) in attributes.items()}
    return {"type": "Record", "attributes": members}


def _named(name: str) -> Json:
    return {"type": "EntityOrCommon", "name": name}


_STRING: Final[Json] = {"type": "String"}
_LONG: Final[Json] = {"type": "Long"}
_BOOL: Final[Json] = {"type": "Boolean"}
_DATETIME: Final[Json] = {"type": "Extension", "name": "datetime"}
_DECIMAL: Final[Json] = {"type": "Extension", "name": "decimal"}
_STRINGS: Final[Json] = {"type": "Set", "element": _STRING}
