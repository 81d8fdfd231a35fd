"""What of the policies matters to one agent calling one tool, ready for the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from gateway.policy.cedar import Answer, EntitySet, PolicySet, authorize, compile_policies, load_entities
from gateway.policy.entities import Entity
from gateway.policy.need import Need
from gateway.policy.policies import Policy
from gateway.policy.projection import World, holds, matches_scope
from gateway.policy.remedy import remedy_paths

__all__ = ["Request", "Situation"]

_REMEMBERED: Final = 32
_REMEMBERED_LENGTH: Final = 512


@dataclass(frozen=True, slots=True)
class Request:
    """The part of a decision input that the arguments and the past do not change."""

    principal: Mapping[str, str]
    action: Mapping[str, str]
    resource: Mapping[str, str]
    entities: tuple[Entity, ...]

    def world(self) -> World:
        """Return it for the evaluator."""
        return World.of((self.principal, self.action, self.resource), self.entities)


class Situation:
    """The policies whose scope admits a request, those that cannot apply to its entities left out.

    `missing` names what of principal, action and resource is not known: then nothing is evaluated. `need` is what the
    policies read of the context. `in_scope` are the enforced policies whose scope admits the request, `policies` those
    of them that can apply. `remedy_paths` are the arguments that a refusal takes over into the calls it names.

    An answer is a function of the context, so the answers to a few short contexts are kept: most reads of a tool put
    the same few bytes before their policies.
    """

    __slots__ = (
        "_enforced",
        "_entities",
        "_remembered",
        "_request",
        "_watched",
        "in_scope",
        "missing",
        "need",
        "policies",
        "remedy_paths",
        "shadows",
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
        trees = {
            policy.id: policy.template if verdict is None else replace(policy.template, clauses=())
            for policy, verdict in kept
        }
        self.remedy_paths = remedy_paths(self.policies)
        self._entities: EntitySet = load_entities(raw_entities)
        self._enforced = compile_policies(trees[policy.id] for policy in self.policies)
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._evaluated)
        self._watched: PolicySet | None = compile_policies(trees.values()) if self.shadows else None

    def answer(self, context: str) -> Answer:
        """Decide by the enforced policies; `context` is Cedar JSON text."""
        return self._remembered(context) if len(context) <= _REMEMBERED_LENGTH else self._evaluated(context)

    def answer_with_shadows(self, context: str) -> Answer | None:
        """Decide as if shadow policies were enforced; None where there are none."""
        return None if self._watched is None else self.ask(self._watched, context)

    def policy(self, name: str) -> Policy:
        """Return an enforced policy of this situation by its id."""
        return next(policy for policy in self.policies if policy.id == name)

    def _evaluated(self, context: str) -> Answer:
        return self.ask(self._enforced, context)

    def ask(self, policies: PolicySet, context: str) -> Answer:
        """Put other policies the same question."""
        request: dict[str, Any] = {**self._request, "context": context}
        return authorize(request, policies, self._entities)
