"""From a call and its facts to the bytes a decision is a pure function of (ARCHITECTURE.md §5)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.model.decision import DecisionInput
from gateway.model.facts import Approver, Facts, Step, StepStatus
from gateway.model.identity import Identity
from gateway.model.light import light
from gateway.model.operation import TOOL_CALL, operation
from gateway.model.tool import Effect, Tool
from gateway.policy.bundle import Bundle
from gateway.policy.entities import Entity, action_entity, action_of, joined, reference, run_entity, uid, user_entity
from gateway.policy.fields import paths_of, strays
from gateway.policy.mapper import Mapped, extension, instant, map_record
from gateway.policy.need import Need
from gateway.policy.remedy import value_at
from gateway.policy.schema import ToolShapes
from gateway.policy.situation import Request, Situation

__all__ = [
    "Approval",
    "Question",
    "Surroundings",
    "approving_input",
    "compose",
    "decision_input",
    "deed_input",
    "from_json",
    "joining_input",
    "to_json",
]

_INPUTS: Final = 64
_STATUS: Mapping[StepStatus, str] = {
    StepStatus.EXECUTING: "executing",
    StepStatus.SUCCEEDED: "ok",
    StepStatus.FAILED: "error",
    StepStatus.UNKNOWN: "unknown",
    StepStatus.COMPENSATED: "compensated",
}


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's consent to one call. `quorum` counts the people who gave it; `people` are those who are known."""

    by: str
    at_ms: int
    args_match: bool
    quorum: int
    people: tuple[Approver, ...] = ()


@light
@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else may bear on a decision; neutral where nobody says otherwise. `cost_left` is a decimal text."""

    taint: tuple[str, ...] = ()
    calls_left: int | None = None
    cost_left: str = "0.0"
    approval: Approval | None = None
    grant: Approval | None = None


@light
@dataclass(frozen=True, slots=True)
class Question:
    """Whether an agent may make a call."""

    identity: Identity
    tool: Tool
    arguments: Mapping[str, Any] = field(repr=False)
    facts: Facts
    surroundings: Surroundings = field(default_factory=Surroundings)


def decision_input(
    bundle: Bundle, identity: Identity, tool: Tool, arguments: Mapping[str, Any], facts: Facts
) -> DecisionInput:
    """Put a call before the policies of `bundle`. Never raises, whatever the arguments hold."""
    _, _, situation, plain = bundle.asked_of(identity, tool, arguments)
    if (
        not plain
        or facts.priors
        or facts.approval is not None
        or facts.budget is not None
        or facts.confidence is not None
        or facts.grant is not None
        or (situation.sees_unmodelled and _hides_some(bundle, tool, arguments))
    ):
        return compose(bundle, Question(identity, tool, arguments, facts))
    # All that a steady context is made of.
    key = facts.environment, facts.taint, facts.dry_run, identity.on_behalf_of, identity.scopes, identity.child
    given = situation.inputs.get(key)
    if given is None:
        given = compose(bundle, Question(identity, tool, arguments, facts))
        if len(situation.inputs) < _INPUTS:
            given = situation.inputs[key] = replace(given, lasting=True)
    return given


def _hides_some(bundle: Bundle, tool: Tool, arguments: Mapping[str, Any]) -> bool:
    """Tell whether policies cannot see some argument of a call."""
    return tool.method == TOOL_CALL and bool(map_record(bundle.shapes_of(tool.name).input, arguments).unmodelled)


def compose(bundle: Bundle, question: Question) -> DecisionInput:
    """As `decision_input`, for a question with surroundings."""
    request = bundle.request(question.identity, question.tool, question.arguments)
    approval = _consent(question)
    if approval is not None and approval.people and not request.unjudged:
        request = replace(request, entities=(*request.entities, *map(user_entity, approval.people)))
    grant = _access(question)
    if grant is not None and grant.people and not request.unjudged:
        request = replace(request, entities=joined(request.entities, map(user_entity, grant.people)))
    given = _put(bundle, question, request, is_call=question.tool.method == TOOL_CALL)
    for_others = [to_json(compose(bundle, _as_asked_by(one, question))) for one in question.identity.delegators]
    return replace(given, notes={**given.notes, "delegators": for_others}) if for_others else given


def _as_asked_by(delegator: Identity, question: Question) -> Question:
    """Return the question whether an agent may make a call that it handed on: what was done for it, it did.

    What was opened to the one that makes the call is not open to this one.
    """
    doer = question.identity.agent
    priors = {
        name: replace(step, agent=delegator.agent) if step.agent == doer else step
        for name, step in question.facts.priors.items()
    }
    around = replace(question.surroundings, grant=None)
    facts = replace(question.facts, priors=priors, grant=None)
    return replace(question, identity=delegator, facts=facts, surroundings=around)


def approving_input(bundle: Bundle, person: Approver, question: Question) -> DecisionInput:
    """Put before the policies whether a person may approve a call: the action `approve` on its tool.

    The context is the `base` of the call, its run's owner the agent that makes it.
    """
    asked = bundle.request(question.identity, question.tool, question.arguments)
    entities = (user_entity(person), action_entity("approve"), *asked.entities)
    request = Request(uid("User", person.name), action_of("approve"), asked.resource, entities, asked.unjudged)
    return _put(bundle, question, request, is_call=False)


def joining_input(bundle: Bundle, question: Question) -> DecisionInput:
    """Put before the policies whether an agent may make a call in a run that is another's: the action `join` on it."""
    asked = bundle.request(question.identity, question.tool, question.arguments)
    run = run_entity(question.facts.run)
    agent = tuple(entity for entity in asked.entities if entity["uid"] == asked.principal)
    entities = (*agent, action_entity("join"), run)
    return _put(bundle, question, Request(asked.principal, action_of("join"), run["uid"], entities), is_call=False)


def deed_input(
    bundle: Bundle, person: Approver, action: str, resource: Sequence[Entity], facts: Facts
) -> DecisionInput:
    """Put before the policies whether a person may do something (`action`) to the first of these entities.

    Of the facts, the time, the run and the environment matter.
    """
    question = Question(Identity("", method="person", credential_id=""), operation("", action), {}, facts)
    entities = joined((user_entity(person), action_entity(action)), resource)
    request = Request(uid("User", person.name), action_of(action), resource[0]["uid"], entities)
    return _put(bundle, question, request, is_call=False)


def _put(bundle: Bundle, question: Question, request: Request, *, is_call: bool) -> DecisionInput:
    situation = bundle.situation(request)
    context: dict[str, Any] = {}
    notes: dict[str, Any] = {"unjudged": list(request.unjudged)} if request.unjudged else {}
    child = question.identity.child
    if child is not None and not child.covers(question.tool.name):
        notes["outside"] = {"child": child.name, "scopes": list(child.scopes)}
    fields = bundle.fields.get((question.identity.agent, question.tool.name))
    beside = None if fields is None else strays(fields, question.arguments)
    if fields is not None and beside:
        notes["beside"] = {"agent": question.identity.agent, "set": beside, "fields": [*paths_of(fields)]}
    if not situation.missing and not notes:
        builder = _Builder(bundle, question, situation, is_call=is_call)
        context, notes = builder.context(), builder.notes()
    return DecisionInput(request.principal, request.action, request.resource, context, request.entities, notes)


def to_json(given: DecisionInput) -> dict[str, Any]:
    """Return a decision input as a JSON object; `from_json` reads it back."""
    return {
        "principal": given.principal,
        "action": given.action,
        "resource": given.resource,
        "context": given.context,
        "entities": list(given.entities),
        "notes": given.notes,
    }


def from_json(body: Mapping[str, Any]) -> DecisionInput:
    """Return the decision input that `to_json` wrote.

    Raises:
        KeyError: `body` is something else.
    """
    return DecisionInput(
        principal=body["principal"],
        action=body["action"],
        resource=body["resource"],
        context=body["context"],
        entities=tuple(body["entities"]),
        notes=body["notes"],
    )


class _Builder:
    """Builds the context and the notes of one decision: what the policies read, and nothing else."""

    def __init__(self, bundle: Bundle, question: Question, situation: Situation, *, is_call: bool) -> None:
        self._bundle = bundle
        self._question = question
        self._situation = situation
        self._unjudged: list[str] = []
        self._is_call = is_call  # of anything else the context is only its `base`
        self._priors = {
            query.name: (question.facts.priors[query.name], bundle.shapes_of(query.tool))
            for query in bundle.priors_for(question.tool.name)
            if query.name in question.facts.priors and self._is_call
        }

    def context(self) -> dict[str, Any]:
        need = self._situation.need
        context: dict[str, Any] = {}
        mapped = self._arguments(need)
        if mapped is not None:
            context = {"input": mapped.values, "n": mapped.counts}
            self._note_dropped("input", mapped, need.wants("input"))
            self._note_dropped("n", mapped, need.wants("n"))
        base, prior = need.wants("base"), need.wants("prior") if self._is_call else None
        if base is not None:
            context["base"] = self._base(base, mapped)
            if base.wants("env") is not None and self._question.facts.environment not in self._bundle.environments:
                self._unjudged.append("base.env")
        if prior is not None:
            context["prior"] = {
                name: self._prior(name, wanted) for name in self._priors if (wanted := prior.wants(name)) is not None
            }
        facts = need.wants("facts") if self._is_call else None
        if facts is not None:
            context["facts"] = self._facts(facts)
        pruned: dict[str, Any] = need.prune(context)
        return pruned

    def notes(self) -> dict[str, Any]:
        """Return what the answer needs besides; an absent key stands for nothing."""
        notes: dict[str, Any] = {}
        if self._priors:
            notes["priors"] = {
                name: {
                    "call": step.call_id,
                    "status": _STATUS[step.status],
                    "consumed": step.consumed_by is not None,
                    **self._doubtful(step),
                }
                for name, (step, _) in self._priors.items()
            }
        arguments = {
            name: values[0]
            for name, path in self._situation.remedy_paths
            if (values := value_at(self._question.arguments, path))
        }
        if arguments:
            notes["arguments"] = arguments
        if self._unjudged:
            notes["unjudged"] = sorted(set(self._unjudged))
        return notes

    def _doubtful(self, step: Step) -> dict[str, Any]:
        """Tell of an effect that may have happened; a read in doubt is simply made again."""
        if step.status is not StepStatus.UNKNOWN or self._bundle.tools[step.tool].effect is Effect.READ:
            return {}
        return {"doubtful": True}

    def _arguments(self, need: Need) -> Mapped | None:
        base = need.wants("base")
        reads = need.wants("input") or need.wants("n") or (base and base.wants("unmodelled"))
        if reads is None or not self._is_call:
            return None
        return map_record(self._bundle.shapes_of(self._question.tool.name).input, self._question.arguments)

    def _note_dropped(self, where: str, mapped: Mapped, need: Need | None) -> None:
        if need is not None and mapped.dropped:
            self._unjudged += (".".join((where, *path)) for path in mapped.dropped if need.reads(path))

    def _facts(self, need: Need) -> dict[str, Any]:
        held = {name: fact.value for name, fact in self._question.facts.held.items() if fact.version}
        mapped = map_record(self._bundle.fact_shape, held)
        self._note_dropped("facts", mapped, need)
        return mapped.values

    def _base(self, need: Need, mapped: Mapped | None) -> dict[str, Any]:
        names = _BASE if need.whole else [name for name in need.parts if name in _BASE]
        values = {name: _BASE[name](self._question) for name in names}
        if mapped is not None:
            values["unmodelled"] = list(mapped.unmodelled)
        return {name: value for name, value in values.items() if value is not None}

    def _prior(self, name: str, need: Need) -> dict[str, Any]:
        step, shapes = self._priors[name]
        names = _STEP if need.whole else [name for name in need.parts if name in _STEP]
        record = {name: value for name in names if (value := _STEP[name](step)) is not None}
        for part, mapped in _parts(step, shapes, need):
            self._note_dropped(f"prior.{name}.{part}", mapped, need.wants(part))
            record[part] = mapped.values
        return record


def _parts(step: Step, shapes: ToolShapes, need: Need) -> Iterator[tuple[str, Mapped]]:
    if need.wants("input") is not None:
        yield "input", map_record(shapes.input, step.arguments)
    if need.wants("output") is not None and shapes.output is not None and step.output is not None:
        yield "output", map_record(shapes.output, step.output)


def _run(question: Question) -> dict[str, Any]:
    run = question.facts.run
    owner = run.owner.partition("/")[0]  # `agent` or `agent/user`
    return {"id": run.id, "owner": reference("Agent", owner), "status": run.status}


def _delegator(question: Question) -> dict[str, Any] | None:
    user = question.identity.on_behalf_of
    return None if user is None else reference("User", user)


def _delegation(question: Question) -> dict[str, Any] | None:
    child = question.identity.child
    if child is None:
        return None
    parent = child.name.rpartition(":")[0]
    return {"name": child.name, "parent": parent, "depth": child.depth, "scopes": list(child.scopes)}


def _budget(question: Question) -> dict[str, Any] | None:
    left, around = question.facts.budget, question.surroundings
    if left is None and around.calls_left is None:
        return None
    calls, cost = (around.calls_left, around.cost_left) if left is None else (left.calls, left.cost)
    return {"callsLeft": calls, "costLeft": extension("decimal", cost)}


def _consent(question: Question) -> Approval | None:
    """Return what people said to the call: what the facts tell, else what is merely supposed."""
    told = question.facts.approval
    if told is None or not told.by:
        return question.surroundings.approval
    return Approval(told.by[-1].name, told.at_ms, True, len(told.by), told.by)


def _access(question: Question) -> Approval | None:
    """Return the access that people opened to calls like it: what the facts tell, else what is merely supposed."""
    told = question.facts.grant
    if told is None or not told.by:
        return question.surroundings.grant
    return Approval(told.by[-1].name, told.at_ms, True, len(told.by), told.by)


def _grant(question: Question) -> dict[str, Any] | None:
    given = _access(question)
    return None if given is None else {"by": reference("User", given.by), "at": instant(given.at_ms)}


def _approval(question: Question) -> dict[str, Any] | None:
    given = _consent(question)
    if given is None:
        return None
    by, at = reference("User", given.by), instant(given.at_ms)
    return {"by": by, "at": at, "argsMatch": given.args_match, "quorum": given.quorum}


def _confidence(question: Question) -> dict[str, Any] | None:
    said = question.facts.confidence
    return None if said is None else extension("decimal", said)


def _version(question: Question) -> int:
    """Return the version in which the agent is spoken with."""
    contract = question.tool.contract
    return question.tool.version if contract is None else contract.version


_STEP: Final[Mapping[str, Callable[[Step], Any]]] = {
    "status": lambda step: _STATUS[step.status],
    "by": lambda step: reference("Agent", step.agent),
    "at": lambda step: instant(step.at_ms),
    "startedAt": lambda step: instant(step.started_at_ms),
    "consumed": lambda step: step.consumed_by is not None,
    "run": lambda step: step.run_id,
    "labels": lambda step: list(step.labels),
    "delegator": lambda step: None if step.on_behalf_of is None else reference("User", step.on_behalf_of),
}
"""`context.prior.<name>` besides its input and output: each attribute from the step; None is an absent one."""

_BASE: Final[Mapping[str, Callable[[Question], Any]]] = {
    "now": lambda question: instant(question.facts.now_ms),
    "env": lambda question: reference("Environment", question.facts.environment),
    "delegator": _delegator,
    "delegatedScopes": lambda question: list(question.identity.scopes),
    "delegation": _delegation,
    "run": _run,
    "step": lambda question: question.facts.step,
    "taint": lambda question: sorted({*question.facts.taint, *question.surroundings.taint}),
    "budget": _budget,
    "approval": _approval,
    "grant": _grant,
    "unmodelled": lambda _: [],
    "version": _version,
    "confidence": _confidence,
    "dryRun": lambda question: question.facts.dry_run,
}
"""`context.base`: each attribute from the question; None is an absent one."""
