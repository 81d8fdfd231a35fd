"""What a policy says before the context is known: true, false, or it depends (POLICY.md §1.5).

Two readers: listings ask whether any context could allow a call, and decisions drop policies that cannot apply to this
principal and tool. The evaluator knows a small part of Cedar exactly; anything else is UNKNOWN, which is always safe.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.policy.cedar import pst
from gateway.policy.entities import Uid
from gateway.policy.need import APPROVAL, GRANT, Path, chain

__all__ = ["UNKNOWN", "World", "holds", "matches_scope", "scope_of_action"]


class _Unknown:
    """The value of everything that depends on the context."""

    def __bool__(self) -> bool:
        raise TypeError("unknown is neither true nor false")


UNKNOWN: Final = _Unknown()
_LONG = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class World:
    """The entities of one request: attributes and, including itself, ancestors of each.

    `unapproved` supposes that nobody has approved the call, `ungranted` that nobody has opened access to such calls;
    else that, like all of the context, is not known.
    """

    principal: Uid
    action: Uid
    resource: Uid
    attributes: Mapping[Uid, Mapping[str, Any]]
    ancestors: Mapping[Uid, frozenset[Uid]]
    unapproved: bool = False
    ungranted: bool = False

    @classmethod
    def of(cls, request: Sequence[Mapping[str, str]], entities: Sequence[Mapping[str, Any]]) -> "World":
        """Build it from the uids of principal, action and resource, and entities in Cedar's JSON form."""
        parents = {_uid(one["uid"]): [_uid(parent) for parent in one["parents"]] for one in entities}
        attributes = {_uid(one["uid"]): {name: _value(raw) for name, raw in one["attrs"].items()} for one in entities}
        principal, action, resource = (_uid(name) for name in request)
        return cls(principal, action, resource, attributes, {name: _ancestors(name, parents) for name in parents})

    def is_in(self, one: Uid, other: Uid) -> bool:
        """Tell whether `one` is `other` or below it."""
        return one == other or other in self.ancestors.get(one, ())

    def missing(self) -> tuple[str, ...]:
        """Return which of principal, action and resource are not among the entities."""
        named = {"principal": self.principal, "action": self.action, "resource": self.resource}
        return tuple(name for name, uid in named.items() if uid not in self.attributes)


def _ancestors(name: Uid, parents: Mapping[Uid, Sequence[Uid]]) -> frozenset[Uid]:
    found: set[Uid] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(parents.get(one, ()))
    return frozenset(found)


def _uid(raw: Mapping[str, str]) -> Uid:
    return Uid(raw["type"], raw["id"])


def _value(raw: Any) -> Any:
    if isinstance(raw, (bool, int, str)):
        return raw
    if isinstance(raw, Mapping) and "__entity" in raw:
        return _uid(raw["__entity"])
    return UNKNOWN


def matches_scope(policy: pst.Template, world: World) -> bool:
    """Tell whether the policy's scope admits this principal, action and resource."""
    return (
        scope_of_action(policy.action, world.action, world.ancestors.get(world.action, frozenset()))
        and _in_scope(policy.principal, world.principal, world)
        and _in_scope(policy.resource, world.resource, world)
    )


def scope_of_action(scope: pst.ActionConstraint, action: Uid, ancestors: frozenset[Uid]) -> bool:
    """Tell whether an action scope admits an action with these ancestors."""
    if isinstance(scope, pst.ActionEq):
        return _name(scope.entity) == action
    if isinstance(scope, pst.ActionIn):
        return any(_name(one) == action or _name(one) in ancestors for one in scope.entities)
    return True


def _in_scope(scope: pst.PrincipalOrResourceConstraint, uid: Uid, world: World) -> bool:
    if isinstance(scope, (pst.ScopeIs, pst.ScopeIsIn)) and str(scope.entity_type) != uid.type:
        return False
    if isinstance(scope, pst.ScopeEq):
        return _name(scope.entity) == uid
    if isinstance(scope, (pst.ScopeIn, pst.ScopeIsIn)):
        return world.is_in(uid, _name(scope.entity))
    return True


def _name(entity: pst.EntityUid | pst.Slot) -> Uid:
    assert isinstance(entity, pst.EntityUid)  # policies with slots are refused at load
    return Uid(str(entity.type), entity.id)


def holds(policy: pst.Template, world: World, *, exact: bool) -> bool | None:
    """Tell whether the policy's conditions hold: True, False, or None where that depends on the context.

    With `exact` an answer is only given where Cedar provably evaluates nothing that could fail; without it,
    `<unknown> && false` is false, since no context makes it true.
    """
    evaluator = _Evaluator(world, exact=exact)
    result: Any = True
    for clause in policy.clauses:
        met = evaluator.value(clause.expr)
        if isinstance(clause, pst.Unless):
            met = _negated(met)
        if result is True or (met is False and result is not False and not exact):
            result = met
    return result if isinstance(result, bool) else None


def _negated(value: Any) -> Any:
    return not value if isinstance(value, bool) else UNKNOWN


class _Evaluator:
    def __init__(self, world: World, *, exact: bool) -> None:
        self._world = world
        self._exact = exact

    def value(self, expr: Any) -> Any:
        """Return the value of an expression: bool, int, str, Uid, a frozenset of these, or UNKNOWN."""
        evaluate = _EVALUATE.get(type(expr))
        return UNKNOWN if evaluate is None else evaluate(self, expr)

    def _joined(self, left: Any, right: Callable[[], Any], *, decides: bool) -> Any:
        """Join two operands of && (False decides) or || (True decides), in Cedar's order."""
        if left is decides:
            return decides
        if isinstance(left, bool):
            return right()
        if not self._exact and right() is decides:
            return decides
        return UNKNOWN

    def literal(self, expr: Any) -> Any:
        return expr.value

    def entity(self, expr: Any) -> Any:
        return _name(expr.value)

    def variable(self, expr: Any) -> Any:
        return UNKNOWN if expr.name == "context" else getattr(self._world, expr.name)

    def attribute(self, expr: Any) -> Any:
        base = self.value(expr.base)
        attributes = self._world.attributes.get(base) if isinstance(base, Uid) else None
        return UNKNOWN if attributes is None else attributes.get(expr.attr, UNKNOWN)

    def presence(self, expr: Any) -> Any:
        if self._world.unapproved and _asks_for(APPROVAL, expr):
            return False
        if self._world.ungranted and _asks_for(GRANT, expr):
            return False
        base = self.value(expr.base)
        attributes = self._world.attributes.get(base) if isinstance(base, Uid) else None
        if attributes is None or len(expr.attrs) != 1:
            return UNKNOWN
        return expr.attrs[0] in attributes

    def unary(self, expr: Any) -> Any:
        value = self.value(expr.arg)
        if expr.op == "not":
            return _negated(value)
        if expr.op == "is_empty" and isinstance(value, frozenset):
            return not value
        if expr.op == "neg" and type(value) is int and -value in _LONG:
            return -value
        return UNKNOWN

    def binary(self, expr: Any) -> Any:
        if expr.op in {"and", "or"}:
            return self._joined(self.value(expr.left), lambda: self.value(expr.right), decides=expr.op == "or")
        left, right = self.value(expr.left), self.value(expr.right)
        if left is UNKNOWN or right is UNKNOWN:
            return UNKNOWN
        if expr.op == "in":
            return self._membership(left, right)
        operate = _OPERATORS.get(expr.op)
        return UNKNOWN if operate is None else operate(left, right)

    def _membership(self, left: Any, right: Any) -> Any:
        groups = right if isinstance(right, frozenset) else {right}
        if not isinstance(left, Uid) or not all(isinstance(group, Uid) for group in groups):
            return UNKNOWN
        return any(self._world.is_in(left, group) for group in groups)

    def like(self, expr: Any) -> Any:
        value = self.value(expr.base)
        return _like(value, expr.pattern) if isinstance(value, str) else UNKNOWN

    def type_test(self, expr: Any) -> Any:
        value = self.value(expr.base)
        if not isinstance(value, Uid):
            return UNKNOWN
        is_type = value.type == str(expr.entity_type)
        if not is_type or expr.in_expr is None:
            return is_type
        group = self.value(expr.in_expr)
        return UNKNOWN if group is UNKNOWN else self._membership(value, group)

    def choice(self, expr: Any) -> Any:
        condition = self.value(expr.cond)
        if isinstance(condition, bool):
            return self.value(expr.then_expr if condition else expr.else_expr)
        if self._exact:
            return UNKNOWN
        one, other = self.value(expr.then_expr), self.value(expr.else_expr)
        return one if isinstance(one, bool) and one is other else UNKNOWN

    def set(self, expr: Any) -> Any:
        values = [self.value(element) for element in expr.elements]
        kinds = {type(value) for value in values}
        simple = len(kinds) <= 1 and kinds <= {bool, int, str, Uid}
        return frozenset(values) if simple else UNKNOWN


_EVALUATE: Final[Mapping[type, Callable[[_Evaluator, Any], Any]]] = {
    pst.BoolLit: _Evaluator.literal,
    pst.LongLit: _Evaluator.literal,
    pst.StringLit: _Evaluator.literal,
    pst.EntityLit: _Evaluator.entity,
    pst.Var: _Evaluator.variable,
    pst.GetAttr: _Evaluator.attribute,
    pst.HasAttr: _Evaluator.presence,
    pst.UnaryOp: _Evaluator.unary,
    pst.BinaryOp: _Evaluator.binary,
    pst.Like: _Evaluator.like,
    pst.Is: _Evaluator.type_test,
    pst.IfThenElse: _Evaluator.choice,
    pst.Set: _Evaluator.set,
}


def _asks_for(what: Path, expr: Any) -> bool:
    """Tell whether an expression asks if something is there (`context.base has approval`)."""
    path = chain(expr.base)
    return path is not None and len(path) < len(what) and (*path, *expr.attrs)[: len(what)] == what


def _equal(left: Any, right: Any) -> Any:
    return left == right if type(left) is type(right) else UNKNOWN


def _unequal(left: Any, right: Any) -> Any:
    return left != right if type(left) is type(right) else UNKNOWN


def _compared(compare: Callable[[int, int], Any]) -> Callable[[Any, Any], Any]:
    def operate(left: Any, right: Any) -> Any:
        return compare(left, right) if type(left) is int and type(right) is int else UNKNOWN

    return operate


def _contains(left: Any, right: Any) -> Any:
    simple = isinstance(left, frozenset) and not isinstance(right, frozenset)
    return right in left if simple and all(type(one) is type(right) for one in left) else UNKNOWN


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "eq": _equal,
    "not_eq": _unequal,
    "less": _compared(lambda left, right: left < right),
    "less_eq": _compared(lambda left, right: left <= right),
    "greater": _compared(lambda left, right: left > right),
    "greater_eq": _compared(lambda left, right: left >= right),
    "contains": _contains,
}


def _like(value: str, pattern: Sequence[Any]) -> bool:
    """Match Cedar's `like` in time proportional to the product of the lengths, whatever the pattern."""
    reached = {0}
    for element in pattern:
        if isinstance(element, pst.Wildcard):
            reached = set(range(min(reached), len(value) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if value[at : at + 1] == element.value}
    return len(value) in reached
