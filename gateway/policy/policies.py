"""Policies, read and checked: from texts to syntax trees that are known to fit the pinned tools."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.model.facts import Approver, PriorQuery
from gateway.model.problem import Problem
from gateway.model.tool import Tool
from gateway.policy.annotations import Terms, read_annotations
from gateway.policy.cedar import CedarError, load_schema, parse, pst, validate
from gateway.policy.entities import CALL_TOOL, NAMESPACE, ServerEntity, Uid, action_of
from gateway.policy.need import APPROVAL, CONFIDENCE, GRANT, Equality, Need, equalities, need_of, tested
from gateway.policy.problem import PolicyLoadError
from gateway.policy.projection import scope_of_action
from gateway.policy.schema import OTHER_ACTIONS, ToolShapes, build_schema, declares
from gateway.policy.shape import Kind, Shape, field_at, record_of
from gateway.policy.source import PolicySource, Statement
from gateway.policy.temporal import read

__all__ = ["Checked", "LoadOptions", "Policy", "check_sources"]

_QUOTED = re.compile(r"[`']([^`']+)[`']")
_NAME = re.compile(r'"[^"]*"|[^\s."\[\]]+')

ENVIRONMENTS = ("production", "staging", "development", "test")


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the policies are loaded for.

    `fulfils` are the kinds of obligation the gateway carries out (`redact`, `max_calls`, …): a permit with another one
    is refused at load. `environments` are the names `Gateway::Environment` may have. `servers` are those that are
    configured, with tools or without; empty where they are not known, and then only policies about tools alone can be
    checked for servers that do not exist, and no server is trusted. `facts` are the declared facts, by name the JSON
    Schema of each. `people` are those whose roles and teams are known, by each name they have as the owner of an agent
    or the user it acts for. `imported` says that steps made under another gateway satisfy preconditions.
    """

    fulfils: frozenset[str] = frozenset()
    environments: tuple[str, ...] = ENVIRONMENTS
    servers: tuple[ServerEntity, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    people: Mapping[str, Approver] = field(default_factory=dict)
    imported: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy: its tree (`template.id` is the @id), where it was written, its annotations, what it reads."""

    template: pst.Template
    statement: Statement
    terms: Terms
    need: Need = field(repr=False)
    equalities: tuple[Equality, ...]

    @property
    def id(self) -> str:
        return self.terms.id

    @property
    def is_permit(self) -> bool:
        return self.template.effect == "permit"

    @property
    def heeds_approval(self) -> bool:
        """Whether an approval can make a difference to this policy."""
        return self.need.reads(APPROVAL)

    @property
    def heeds_grant(self) -> bool:
        """Whether access that people open can make a difference to this policy."""
        return self.need.reads(GRANT)


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything loading found out. `priors` are the prior steps to look up, by the tool that is called."""

    policies: tuple[Policy, ...]
    shapes: Mapping[str, ToolShapes]
    priors: Mapping[str, tuple[PriorQuery, ...]]
    schema: Mapping[str, Any]
    facts: Shape


def check_sources(sources: Sequence[PolicySource], tools: Sequence[Tool], options: LoadOptions) -> Checked:
    """Parse, type and strictly validate policies against the pinned tools.

    Raises:
        PolicyLoadError: with every problem found; nothing is loaded then.
    """
    problems = list(_tool_problems(tools))
    shapes = {tool.name: _shapes_of(tool) for tool in tools}
    policies = _read_all(sources, options.fulfils, problems)
    problems += _duplicates(policies)
    for policy in policies:
        problems += _reference_problems(policy, shapes)
        problems += _lenient(policy)
    if problems:
        raise PolicyLoadError(problems)
    priors = _priors_by_tool(policies, shapes, problems)
    facts = record_of({"type": "object", "properties": options.facts})
    grants = any(policy.need.reads(GRANT) for policy in policies)
    schema = build_schema(shapes, priors, options.environments, facts, grants=grants)
    if not problems:
        problems += _validation_problems(policies, schema, shapes)
    if problems:
        raise PolicyLoadError(problems)
    return Checked(tuple(policies), shapes, priors, schema, facts)


def _shapes_of(tool: Tool) -> ToolShapes:
    return ToolShapes(
        record_of(tool.input_schema), None if tool.output_schema is None else record_of(tool.output_schema)
    )


def _tool_problems(tools: Sequence[Tool]) -> Iterator[Problem]:
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen or tool.name == CALL_TOOL or tool.name in OTHER_ACTIONS:
            yield Problem(tool.name, 0, 0, "tool_name", f"the tool name {tool.name!r} is taken", "rename the tool.")
        seen.add(tool.name)


def _read_all(sources: Sequence[PolicySource], fulfils: frozenset[str], problems: list[Problem]) -> list[Policy]:
    policies: list[Policy] = []
    for source in sources:
        statements, beyond = read(source)
        problems += beyond
        for statement in statements:
            try:
                template = parse(statement.text)
            except CedarError as error:
                problems.append(_syntax_problem(statement, str(error)))
                continue
            terms, complaints = read_annotations(template.annotations, template.effect, fulfils)
            problems += (statement.problem("annotation", why, fix, at=key) for key, why, fix in complaints)
            template = replace(template, id=terms.id)
            policies.append(Policy(template, statement, terms, need_of(template), equalities(template)))
    return policies


def _syntax_problem(statement: Statement, message: str) -> Problem:
    return statement.problem(
        "syntax", message, "correct the policy; Cedar's grammar: docs.cedarpolicy.com.", at=_quoted(message)
    )


def _quoted(message: str) -> str:
    """Return the token that Cedar quotes as the one at fault: the last name of a path, an operator, a literal."""
    for quoted in _QUOTED.findall(message):
        names = _NAME.findall(quoted)
        if names and not quoted.startswith("policy0"):
            return str(names[-1])
    return ""


def _duplicates(policies: Sequence[Policy]) -> Iterator[Problem]:
    seen: dict[str, Statement] = {}
    for policy in policies:
        first = seen.setdefault(policy.id, policy.statement)
        if first is not policy.statement and policy.id:
            message = f"the @id {policy.id!r} is already used at {first.file}:{first.line}"
            yield policy.statement.problem("duplicate_id", message, "give one of them another @id.", at="id")


def _lenient(policy: Policy) -> Iterator[Problem]:
    """Find where an agent's word for its own confidence could permit something: it may only raise scrutiny."""
    template = policy.template
    lenient = (
        template.clauses
        if policy.is_permit
        else tuple(each for each in template.clauses if isinstance(each, pst.Unless))
    )
    if any(need_of(replace(template, clauses=(clause,))).reads(CONFIDENCE) for clause in lenient):
        message = "what an agent says of its own confidence would permit something"
        fix = "use it in the `when` of a forbid: `context.base has confidence && context.base.confidence.lessThan(…)`."
        yield policy.statement.problem("lenient", message, fix, at="confidence")


def _reference_problems(policy: Policy, shapes: Mapping[str, ToolShapes]) -> Iterator[Problem]:
    """Find @prior and @remedy that name no pinned tool."""
    named = [("prior", query.tool) for query in policy.terms.priors]
    named += [("remedy", tool) for tool in policy.terms.remedies]
    for key, tool in named:
        if tool not in shapes:
            message = f"@{key} names {tool!r}, which is no pinned tool"
            yield policy.statement.problem("unknown_tool", message, _did_you_mean(tool, shapes), at=key)


def _did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    import difflib  # as in the catalog

    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "pin the tool, or correct the name."


def _priors_by_tool(
    policies: Sequence[Policy], shapes: Mapping[str, ToolShapes], problems: list[Problem]
) -> dict[str, tuple[PriorQuery, ...]]:
    found: dict[str, dict[str, PriorQuery]] = {}
    for policy in policies:
        if not policy.terms.priors:
            continue
        if isinstance(policy.template.action, pst.ScopeAny):
            fix = f'write `action in Gateway::Action::"{CALL_TOOL}"` or name the tools.'
            problems.append(policy.statement.problem("prior_scope", "a policy with @prior must name its action", fix))
            continue
        for tool in _tools_in_scope(policy, shapes):
            for query in policy.terms.priors:
                known = found.setdefault(tool, {}).setdefault(query.name, query)
                if known != query:
                    message = f"another policy for {tool} uses the name {query.name!r} for another step"
                    problems.append(
                        policy.statement.problem("prior_conflict", message, "use another name.", at="prior")
                    )
                problems += _binding_problems(policy, query, tool, shapes)
    return {tool: tuple(queries.values()) for tool, queries in found.items()}


def _tools_in_scope(policy: Policy, shapes: Mapping[str, ToolShapes]) -> Iterator[str]:
    group = Uid(**action_of(CALL_TOOL))
    for tool in shapes:
        action = Uid(**action_of(tool))
        if scope_of_action(policy.template.action, action, frozenset({action, group})):
            yield tool


def _binding_problems(
    policy: Policy, query: PriorQuery, tool: str, shapes: Mapping[str, ToolShapes]
) -> Iterator[Problem]:
    for step, argument in query.bindings:
        one = _scalar_at(shapes[query.tool].input, step)
        other = _scalar_at(shapes[tool].input, argument)
        for kind, owner, path in ((one, query.tool, step), (other, tool, argument)):
            if kind is None:
                message = f"@prior binds {path!r}, which is no string, number or boolean argument of {owner}"
                yield policy.statement.problem("prior_binding", message, "bind declared arguments.", at="prior")
        if one is not None and other is not None and one is not other:
            message = f"@prior binds {query.tool}'s {step!r} ({one}) to {tool}'s {argument!r} ({other})"
            yield policy.statement.problem("prior_binding", message, "bind arguments of one type.", at="prior")


def _scalar_at(shape: Shape, path: str) -> Kind | None:
    found = field_at(shape, path.split("."))
    kind = None if found is None or found.shape is None else found.shape.kind
    return None if kind in {Kind.RECORD, Kind.SET} else kind


def _validation_problems(
    policies: Sequence[Policy], schema: Mapping[str, Any], shapes: Mapping[str, ToolShapes]
) -> Iterator[Problem]:
    try:
        handle = load_schema(schema)
    except CedarError as error:
        yield Problem("schema", 0, 0, "schema", str(error), "check the names of the environments and tools.")
        return
    sound: set[pst.Template] = set()
    for policy in policies:
        kind = _kind(policy.template)
        if kind in sound:
            continue
        found = validate(policy.statement.text, handle)
        if not found:
            sound.add(kind)
        for message in found:
            text = message.replace("for policy `policy0`", f"policy {policy.id}")
            yield policy.statement.problem("type", text, _fix_for(message, shapes), at=_quoted(message))
        if not found:
            yield from _undeclared(policy, schema)


def _kind(template: pst.Template) -> pst.Template:
    """Return the policy without what validation does not look at, so that equal grants of many agents cost one."""
    principal = template.principal
    if isinstance(principal, pst.ScopeEq) and isinstance(principal.entity, pst.EntityUid):
        principal = pst.ScopeEq(replace(principal.entity, id=""))
    return replace(template, id="", annotations=pst.FrozenMap(), principal=principal)


def _undeclared(policy: Policy, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """Find `has` tests of what no action of the policy declares: Cedar lets them pass, as tests that never hold."""
    actions = schema[NAMESPACE]["actions"]
    group = Uid(**action_of(CALL_TOOL))
    contexts = []
    for name, action in actions.items():
        uid = Uid(**action_of(name))
        parents = {uid, *(group for parent in action.get("memberOf", ()) if parent["id"] == CALL_TOOL)}
        if "appliesTo" in action and scope_of_action(policy.template.action, uid, frozenset(parents)):
            contexts.append(action["appliesTo"]["context"])
    for path in tested(policy.template):
        if not any(declares(context, path, schema) for context in contexts):
            message = f"`context.{'.'.join(path)}` is tested with `has`, but nothing declares it"
            fix = "correct the name, or declare the step with @prior."
            yield policy.statement.problem("undeclared", message, fix, at=path[-1])


def _fix_for(message: str, shapes: Mapping[str, ToolShapes]) -> str:
    if "optional attribute" in message:
        return "test it first: `context.input has x && context.input.x …`."
    if "applicable action" in message:
        return f'a group of actions takes `in`: `action in Gateway::Action::"{CALL_TOOL}"`.'
    if "unrecognized action" in message:
        return _did_you_mean(message.split('"')[1], shapes)
    if "not found" in message:
        return "`toolgate policy show --schema` lists what this action has."
    return ""
