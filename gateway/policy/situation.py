"""What of the policies matters to one agent calling one tool, ready for the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from gateway.codec import dump
from gateway.model.decision import DecisionInput
from gateway.model.remembering import remembering
from gateway.policy.cedar import Answer, EntitySet, PolicySet, authorize, compile_policies, load_entities, pst
from gateway.policy.conditions import Conditions, Known
from gateway.policy.entities import Entity
from gateway.policy.hypothetical import MANY, approvers, approving, people
from gateway.policy.need import APPROVAL, Need
from gateway.policy.policies import Policy
from gateway.policy.projection import World, holds, matches_scope
from gateway.policy.remedy import remedy_paths

__all__ = ["Request", "Situation", "Verdicts"]

_REMEMBERED: Final = 32
_REMEMBERED_LENGTH: Final = 512
_STEADY: Final = frozenset(
    {"env", "delegator", "delegatedScopes", "delegation", "taint", "budget", "approval", "grant"}
    | {"dryRun", "confidence", "unmodelled"}
)
"""What of `context.base` stays as it is from one call of an agent to the next, mostly."""

Verdicts = tuple[Answer, Answer | None]
"""What the enforced policies say, and what they would say with the shadow policies among them."""


class _Sets(NamedTuple):
    """Policies compiled; `watched` holds the shadow policies too, and is None without any."""

    enforced: PolicySet
    watched: PolicySet | None


@dataclass(frozen=True, slots=True)
class Request:
    """The part of a decision input that the arguments and the past do not change.

    `unjudged` says what of an operation's params the policies cannot judge: then it is refused.
    """

    principal: Mapping[str, str]
    action: Mapping[str, str]
    resource: Mapping[str, str]
    entities: tuple[Entity, ...]
    unjudged: tuple[str, ...] = ()

    def world(self) -> World:
        """Return it for the evaluator."""
        return World.of((self.principal, self.action, self.resource), self.entities)


class Situation:
    """The policies whose scope admits a request, those that cannot apply to its entities left out.

    `missing` names what of principal, action and resource is not known: then nothing is evaluated. `need` is what the
    policies read of the context. `in_scope` are the enforced policies whose scope admits the request, `policies` those
    of them that can apply. `remedy_paths` are the arguments that a refusal takes over into the calls it names.

    What can be said of the context without Cedar is said before (`Conditions`), so that most contexts come down to the
    same few answers; Cedar's verdict on these is kept. A situation is `steady` where the policies read nothing that
    changes from call to call; then its few contexts are known as a whole, and `inputs` has room for what they are part
    of. Where it `sees_unmodelled`, it matters whether policies can see every argument.
    """

    __slots__ = (
        "__weakref__",
        "_approvers",
        "_conditions",
        "_entities",
        "_known",
        "_lowered",
        "_plain",
        "_remembered",
        "_request",
        "_rest",
        "_seen",
        "_trees",
        "in_scope",
        "inputs",
        "missing",
        "need",
        "policies",
        "remedy_paths",
        "sees_unmodelled",
        "shadows",
        "steady",
    )

    def __init__(self, request: Request, raw_entities: bytes, policies: Sequence[Policy]) -> None:
        world = request.world()
        self.missing = world.missing()
        self.need = Need()
        self._request = {"principal": request.principal, "action": request.action, "resource": request.resource}
        applicable = [] if self.missing else [one for one in policies if matches_scope(one.template, world)]
        self.in_scope = tuple(policy for policy in applicable if not policy.terms.shadow)
        kept = [(policy, holds(policy.template, world, exact=True)) for policy in applicable]
        kept = [(policy, verdict) for policy, verdict in kept if verdict is not False]
        self.policies = tuple(policy for policy, _ in kept if not policy.terms.shadow)
        self.shadows = tuple(policy for policy, _ in kept if policy.terms.shadow)
        for policy, verdict in kept:
            if verdict is None:
                self.need.merge(policy.need)
        if self.need.reads((*APPROVAL, "at")):
            self.need.add(("base", "now"), whole=True)  # a hypothetical approval is one given now
        self.remedy_paths = remedy_paths(self.policies)
        self._entities: EntitySet = load_entities(raw_entities)
        trees = [
            policy.template if verdict is None else replace(policy.template, clauses=()) for policy, verdict in kept
        ]
        self._conditions = Conditions(
            {"principal": world.principal, "action": world.action, "resource": world.resource}
        )
        lowered = [self._conditions.lower(tree) for tree in trees]
        self._rest = self._conditions.rest(lowered)
        self._lowered = self._compiled(lowered)
        self._trees, self._known = trees, request.entities
        self._plain = remembering(1, self._written)
        self._approvers = remembering(1, self._people)
        self._remembered = remembering(_REMEMBERED, self._evaluated)
        self.inputs: dict[object, DecisionInput] = {}
        self.steady = _is_steady(self.need)
        self.sees_unmodelled = self.need.reads(("base", "unmodelled"))
        self._seen: dict[bytes, Verdicts] = {}

    def answers(self, context: Mapping[str, Any]) -> Verdicts:
        """Decide by the enforced policies, and as if shadow policies were enforced too (None where there are none).

        Raises:
            CodecError: the context holds something JSON cannot carry.
        """
        whole = dump(context)  # whatever is read of it: what is no JSON is refused
        seen = self._seen.get(whole)
        if seen is not None:
            return seen
        answers = self._answers(context, whole)
        if self.steady and len(whole) <= _REMEMBERED_LENGTH and len(self._seen) < _REMEMBERED:
            self._seen[whole] = answers
        return answers

    def _answers(self, context: Mapping[str, Any], whole: bytes) -> Verdicts:
        known = self._conditions.answer(context)
        if known is None:
            return self._put(self._plain(), whole.decode())
        rest = dump(self._rest.prune(context)).decode() if self._rest else "{}"
        return self._remembered(known, rest) if len(rest) <= _REMEMBERED_LENGTH else self._evaluated(known, rest)

    def approved(self, context: Mapping[str, Any], quorum: int = MANY) -> Answer | None:
        """Return what the enforced policies would say if the right person, one of `quorum`, approved the call as it is.

        That is an allow where any approval gets one, else the deny with the fewest reasons left; None where no approval
        can be judged. Slower than `answers`: for refused calls only.
        """
        names, entities = self._approvers()
        found: list[Answer] = []
        for each in approving(context, names, quorum):
            request: dict[str, Any] = {**self._request, "context": dump(each).decode()}
            answer = authorize(request, self._plain().enforced, entities)
            if answer.allowed:
                return answer
            found += () if answer.errors else (answer,)
        return min(found, key=lambda answer: len(answer.reasons), default=None)

    def policy(self, name: str) -> Policy:
        """Return an enforced policy of this situation by its id."""
        return next(policy for policy in self.policies if policy.id == name)

    def ask(self, policies: PolicySet, context: str) -> Answer:
        """Put other policies the same question; `context` is Cedar JSON text."""
        request: dict[str, Any] = {**self._request, "context": context}
        return authorize(request, policies, self._entities)

    def _people(self) -> tuple[tuple[str, ...], EntitySet]:
        heeding = [policy for policy in self.policies if policy.heeds_approval]
        names = approvers(heeding)
        return names, load_entities(dump([*self._known, *people(names, heeding, self._known)]))

    def _written(self) -> _Sets:
        return self._compiled(self._trees)

    def _compiled(self, trees: Sequence[pst.Template]) -> _Sets:
        shadows = {policy.id for policy in self.shadows}
        enforced = compile_policies(tree for tree in trees if tree.id not in shadows)
        return _Sets(enforced, compile_policies(trees) if shadows else None)

    def _evaluated(self, known: Known, rest: str) -> Verdicts:
        return self._put(self._lowered, _joined(rest, dump(self._conditions.context(known)).decode()))

    def _put(self, sets: _Sets, context: str) -> Verdicts:
        return self.ask(sets.enforced, context), None if sets.watched is None else self.ask(sets.watched, context)


def _is_steady(need: Need) -> bool:
    base = need.parts.get("base", Need())
    return not (need.whole or base.whole or need.parts.keys() - {"base"} or base.parts.keys() - _STEADY)


def _joined(one: str, other: str) -> str:
    """Join two JSON objects."""
    return other if one == "{}" else one if other == "{}" else f"{one[:-1]},{other[1:]}"
