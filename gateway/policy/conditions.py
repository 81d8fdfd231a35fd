"""Conditions on the context, answered here and put to Cedar as plain yes or no (POLICY.md §6).

Reading one time, decimal or entity costs Cedar more than everything else about a decision; a boolean costs next to
nothing, and equal answers make equal requests, which `Situation` remembers. Only what has one plain meaning is answered
here: presence, equality, order, being in a list. Cedar still decides: scopes, and, or, permits, forbids, failures. An
absent value leaves its condition out of the context, so that Cedar fails exactly where it would have failed. Where a
value is of a form not expected here, nothing is answered, and the whole context goes to Cedar as it is.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from gateway.policy.cedar import pst
from gateway.policy.entities import Uid
from gateway.policy.need import Need, chain, need_of
from gateway.policy.prior import span_ms

__all__ = ["Conditions", "Known"]

Known = tuple[bool | None, ...]
"""What each condition comes to; None where a value it looks at is absent."""

Path = tuple[str, ...]
_Values = Sequence[Any]
_Operand = Callable[[_Values], Any]
_Key = tuple[str, Path, Path]

_LONG: Final = range(-(2**63), 2**63)
_DECIMAL: Final = re.compile(r"(-?\d{1,15})\.(\d{1,4})", re.ASCII)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{3})?)Z|(\d{4}-\d\d-\d\d)", re.ASCII
)
_EPOCH: Final = datetime.fromisoformat("1970-01-01")
_MS: Final = timedelta(milliseconds=1)


class _Unexpected(Exception):
    """A value is of a form that only Cedar may judge."""


class _Absent:
    """The value of an attribute that is not there."""


_ABSENT: Final = _Absent()


class Conditions:
    """The conditions that the policies of one request share; `variables` are its principal, action and resource."""

    def __init__(self, variables: Mapping[str, Uid]) -> None:
        self._variables = variables
        self._slots: dict[_Key, int] = {}
        self._readers: list[Callable[[Any], Any]] = []
        self._known: dict[object, int] = {}
        self._tests: list[Callable[[_Values], bool | None]] = []

    def lower(self, policy: pst.Template) -> pst.Template:
        """Return the policy with each condition that can be answered here replaced by an attribute of its own."""
        clauses = tuple(replace(clause, expr=self._boolean(clause.expr)) for clause in policy.clauses)
        return replace(policy, clauses=clauses)

    def answer(self, context: Mapping[str, Any]) -> Known | None:
        """Answer every condition; None where that is not for us to do."""
        try:
            values = [read(context) for read in self._readers]
            return tuple([test(values) for test in self._tests])
        except _Unexpected:
            return None

    def context(self, known: Known) -> dict[str, bool]:
        """Return the attributes that the lowered policies read."""
        return {_attribute(number): answer for number, answer in enumerate(known) if answer is not None}

    def rest(self, lowered: Iterable[pst.Template]) -> Need | None:
        """Return what lowered policies still read of the context itself; None for nothing."""
        need = Need()
        for policy in lowered:
            need.merge(need_of(policy))
        for number in range(len(self._tests)):
            need.parts.pop(_attribute(number), None)
        return need if need.whole or need.parts else None

    def _boolean(self, expr: Any) -> Any:
        if isinstance(expr, pst.BinaryOp) and expr.op in {"and", "or"}:
            return replace(expr, left=self._boolean(expr.left), right=self._boolean(expr.right))
        if isinstance(expr, pst.UnaryOp) and expr.op == "not":
            return replace(expr, arg=self._boolean(expr.arg))
        if isinstance(expr, pst.IfThenElse):
            cond, yes, no = (self._boolean(one) for one in (expr.cond, expr.then_expr, expr.else_expr))
            return replace(expr, cond=cond, then_expr=yes, else_expr=no)
        number = self._number(expr)
        return expr if number is None else pst.GetAttr(pst.Var("context"), _attribute(number))

    def _number(self, expr: Any) -> int | None:
        """Return the number of a condition; None for one that is left to Cedar."""
        known = self._known.get(expr)
        if known is not None:
            return known
        before = len(self._readers)
        test = self._test(expr)
        if test is None or all(chain(node) is None for node in _nodes(expr)):
            while len(self._readers) > before:
                self._readers.pop()
                self._slots.popitem()
            return None
        self._known[expr] = len(self._tests)
        self._tests.append(test)
        return self._known[expr]

    def _test(self, expr: Any) -> Callable[[_Values], bool | None] | None:
        path = chain(expr)
        if path:
            return partial(_flag, operator.itemgetter(self._slot(("value", path, ()), partial(_value_at, path))))
        if isinstance(expr, pst.HasAttr):
            base = chain(expr.base)
            if base is None:
                return None
            names = tuple(expr.attrs)
            return partial(_flag, operator.itemgetter(self._slot(("has", base, names), partial(_has, base, names))))
        if isinstance(expr, pst.UnaryOp) and expr.op == "is_empty":
            return self._joined(_is_empty, expr.arg, expr.arg)
        if not isinstance(expr, pst.BinaryOp):
            return None
        if expr.op == "contains" and isinstance(expr.left, pst.Set):
            return self._in_literals(expr.left, expr.right)
        compare = _COMPARE.get(expr.op)
        return None if compare is None else self._joined(compare, expr.left, expr.right)

    def _joined(
        self, compare: Callable[[Any, Any], bool], left: Any, right: Any
    ) -> Callable[[_Values], bool | None] | None:
        one, other = self._operand(left), self._operand(right)
        return None if one is None or other is None else partial(_compared, compare, one, other)

    def _in_literals(self, literals: Any, element: Any) -> Callable[[_Values], bool | None] | None:
        values = [self._constant(one) for one in literals.elements]
        operand = self._operand(element)
        if operand is None or any(value is None for value in values):
            return None
        return partial(_compared, _contains, partial(_constantly, values), operand)

    def _operand(self, expr: Any) -> _Operand | None:
        path = chain(expr)
        if path:
            return operator.itemgetter(self._slot(("value", path, ()), partial(_value_at, path)))
        if isinstance(expr, pst.BinaryOp) and expr.op in _TIMES:
            one, other = self._operand(expr.left), self._operand(expr.right)
            return None if one is None or other is None else partial(_computed, _TIMES[expr.op], one, other)
        constant = self._constant(expr)
        return None if constant is None else partial(_constantly, constant)

    def _constant(self, expr: Any) -> Any:
        if isinstance(expr, pst.Var):
            return self._variables.get(expr.name)
        if isinstance(expr, pst.EntityLit):
            return Uid(str(expr.value.type), expr.value.id)
        if isinstance(expr, pst.StringLit | pst.LongLit | pst.BoolLit):
            return expr.value
        if isinstance(expr, pst.UnaryOp) and expr.op in _EXTENSIONS and isinstance(expr.arg, pst.StringLit):
            try:
                return _EXTENSIONS[expr.op](expr.arg.value)
            except _Unexpected:
                return None
        return None

    def _slot(self, key: _Key, read: Callable[[Any], Any]) -> int:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = len(self._readers)
            self._readers.append(read)
        return slot


def _attribute(number: int) -> str:
    return f"c{number}"  # beside `base`, `input`, `n` and `prior`, which are all a context holds of its own


def _nodes(expr: Any) -> Iterator[Any]:
    yield expr
    for name in ("arg", "left", "right", "base"):
        if hasattr(expr, name):
            yield from _nodes(getattr(expr, name))


# Reading


def _value_at(path: Path, context: Any) -> Any:
    """Return the value at a path: bool, int, str, Uid, a list as it is, or (extension type, number)."""
    here = context
    for name in path:
        if type(here) is not dict:
            raise _Unexpected
        if name not in here:
            return _absent_in(here)
        here = here[name]
    return here if type(here) is list else _scalar(here)


def _has(base: Path, names: Path, context: Any) -> bool | _Absent:
    here = context
    for number, name in enumerate((*base, *names)):
        if type(here) is not dict:
            raise _Unexpected
        if name not in here:
            absent = _absent_in(here)
            return absent if number < len(base) else False
        here = here[name]
    return True


def _absent_in(here: Mapping[str, Any]) -> _Absent:
    if "__entity" in here or "__extn" in here:  # an entity has attributes of its own
        raise _Unexpected
    return _ABSENT


def _scalar(raw: Any) -> Any:
    kind = type(raw)
    if kind is str or kind is bool or (kind is int and raw in _LONG):
        return raw
    if kind is dict and len(raw) == 1:
        return _extended(raw)
    raise _Unexpected


def _extended(raw: Mapping[str, Any]) -> Any:
    (form, inner), *_ = raw.items()
    if type(inner) is dict and len(inner) == 2:
        if form == "__entity" and type(kind := inner.get("type")) is str and type(name := inner.get("id")) is str:
            return Uid(kind, name)
        if form == "__extn" and type(text := inner.get("arg")) is str:
            read = _EXTENSIONS.get(str(inner.get("fn")))
            if read is not None:
                return read(text)
    raise _Unexpected


def _decimal(text: str) -> tuple[str, int]:
    found = _DECIMAL.fullmatch(text)
    scaled = int(found[1] + found[2].ljust(4, "0")) if found else _LONG.stop
    if scaled not in _LONG:
        raise _Unexpected
    return "decimal", scaled


def _datetime(text: str) -> tuple[str, int]:
    found = _TIME.fullmatch(text)
    try:
        return "datetime", (datetime.fromisoformat(found[1] or found[2] if found else "") - _EPOCH) // _MS
    except ValueError:
        raise _Unexpected from None


def _duration(text: str) -> tuple[str, int]:
    span = span_ms(text)
    if span is None:
        raise _Unexpected
    return "duration", span


_EXTENSIONS: Final[Mapping[str, Callable[[str], tuple[str, int]]]] = {
    "decimal": _decimal,
    "datetime": _datetime,
    "duration": _duration,
}


# Judging


def _flag(operand: _Operand, values: _Values) -> bool | None:
    value = operand(values)
    if value is _ABSENT:
        return None
    if type(value) is not bool:
        raise _Unexpected
    return value


def _compared(compare: Callable[[Any, Any], bool], one: _Operand, other: _Operand, values: _Values) -> bool | None:
    left, right = one(values), other(values)
    return None if left is _ABSENT or right is _ABSENT else compare(left, right)


def _computed(compute: Callable[[Any, Any], Any], one: _Operand, other: _Operand, values: _Values) -> Any:
    left, right = one(values), other(values)
    return _ABSENT if left is _ABSENT or right is _ABSENT else compute(left, right)


def _constantly(value: Any, _: _Values) -> Any:
    return value


def _equal(left: Any, right: Any) -> bool:
    if type(left) is list or type(right) is list:
        raise _Unexpected
    return type(left) is type(right) and bool(left == right)


def _unequal(left: Any, right: Any) -> bool:
    return not _equal(left, right)


def _ordered(compare: Callable[[int, int], bool], kinds: frozenset[str], left: Any, right: Any) -> bool:
    if type(left) is int and type(right) is int and "long" in kinds:
        return compare(left, right)
    if type(left) is tuple and type(right) is tuple and left[0] == right[0] and left[0] in kinds:
        return compare(left[1], right[1])
    raise _Unexpected


def _contains(values: Any, element: Any) -> bool:
    if type(values) is not list:
        raise _Unexpected
    return any(_equal(value if type(value) in {tuple, Uid} else _scalar(value), element) for value in values)


def _is_empty(values: Any, _: Any) -> bool:
    if type(values) is not list:
        raise _Unexpected
    return not values


def _since(left: Any, right: Any) -> tuple[str, int]:
    return "duration", _of_kind("datetime", left) - _of_kind("datetime", right)


def _later(left: Any, right: Any) -> tuple[str, int]:
    return "datetime", _of_kind("datetime", left) + _of_kind("duration", right)


def _of_kind(kind: str, value: Any) -> int:
    if type(value) is not tuple or value[0] != kind:
        raise _Unexpected
    return int(value[1])


_TIMES: Final[Mapping[str, Callable[[Any, Any], tuple[str, int]]]] = {"duration_since": _since, "offset": _later}
"""What they yield stays far within 64 bits: years have four digits, days of a duration six."""

_NUMBERS: Final = frozenset({"long", "datetime", "duration"})
_DECIMALS: Final = frozenset({"decimal"})
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": _equal,
    "not_eq": _unequal,
    "less": partial(_ordered, operator.lt, _NUMBERS),
    "less_eq": partial(_ordered, operator.le, _NUMBERS),
    "greater": partial(_ordered, operator.gt, _NUMBERS),
    "greater_eq": partial(_ordered, operator.ge, _NUMBERS),
    "decimal_less_than": partial(_ordered, operator.lt, _DECIMALS),
    "decimal_less_eq": partial(_ordered, operator.le, _DECIMALS),
    "decimal_greater": partial(_ordered, operator.gt, _DECIMALS),
    "decimal_greater_eq": partial(_ordered, operator.ge, _DECIMALS),
    "contains": _contains,
}
