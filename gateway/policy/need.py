"""Which parts of the context a policy reads: only those are built, sent to Cedar and recorded (POLICY.md §6)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

from gateway.policy.cedar import pst

__all__ = [
    "APPROVAL",
    "CONFIDENCE",
    "GRANT",
    "TAINT",
    "Equality",
    "Need",
    "Path",
    "chain",
    "children",
    "equalities",
    "need_of",
    "tested",
]

Path = tuple[str, ...]
APPROVAL: Final[Path] = ("base", "approval")
GRANT: Final[Path] = ("base", "grant")
TAINT: Final[Path] = ("base", "taint")
CONFIDENCE: Final[Path] = ("base", "confidence")


@dataclass(slots=True)
class Need:
    """A tree of context attributes. `whole` asks for the value as it is; without it, for its presence and `parts`."""

    whole: bool = False
    parts: dict[str, "Need"] = field(default_factory=dict)

    def add(self, path: Iterable[str], *, whole: bool) -> None:
        """Ask for the value at `path`, or only whether it is there."""
        here = self
        for name in path:
            here = here.parts.setdefault(name, Need())
        here.whole = here.whole or whole

    def merge(self, other: "Need") -> None:
        """Ask for what `other` asks for too."""
        self.whole = self.whole or other.whole
        for name, part in other.parts.items():
            self.parts.setdefault(name, Need()).merge(part)

    def wants(self, name: str) -> "Need | None":
        """Return what is asked of an attribute; None where it is not asked for."""
        return self if self.whole else self.parts.get(name)

    def reads(self, path: Iterable[str]) -> bool:
        """Tell whether the value at `path` can make a difference."""
        here: Need | None = self
        for name in path:
            here = here.wants(name) if here is not None else None
        return here is not None

    def prune(self, value: Any) -> Any:
        """Return a Cedar JSON value without what nobody asked for."""
        if self.whole or type(value) is not dict or "__extn" in value or "__entity" in value:
            return value
        return {name: part.prune(value[name]) for name, part in self.parts.items() if name in value}


@dataclass(frozen=True, slots=True)
class Equality:
    """A policy demands `context.prior.<prior>.input.<step> == context.input.<argument>`."""

    prior: str
    step: Path
    argument: Path


def need_of(policy: pst.Template) -> Need:
    """Return what the conditions of a policy read."""
    need = Need()
    for clause in policy.clauses:
        _read(clause.expr, need)
    return need


def equalities(policy: pst.Template) -> tuple[Equality, ...]:
    """Return the equalities between prior steps and arguments that the policy's conditions name."""
    return tuple(found for clause in policy.clauses for found in _equalities(clause.expr))


def tested(policy: pst.Template) -> tuple[Path, ...]:
    """Return the paths below `context` that the policy's conditions test with `has`."""
    return tuple(found for clause in policy.clauses for found in _tested(clause.expr))


def chain(expr: object) -> Path | None:
    """Return the attributes of `context.a.b.c`; None for any other expression."""
    names: list[str] = []
    while isinstance(expr, pst.GetAttr):
        names.append(expr.attr)
        expr = expr.base
    is_context = isinstance(expr, pst.Var) and expr.name == "context"
    return tuple(reversed(names)) if is_context else None


def _read(node: object, need: Need) -> None:
    path = chain(node)
    if path is not None:
        need.add(path, whole=True)
        return
    if isinstance(node, pst.HasAttr):
        base = chain(node.base)
        if base is not None:
            for depth in range(len(node.attrs)):
                need.add((*base, *node.attrs[: depth + 1]), whole=False)
            return
    for child in children(node):
        _read(child, need)


def _equalities(node: object) -> Iterator[Equality]:
    if isinstance(node, pst.BinaryOp) and node.op == "eq":
        for one, other in ((chain(node.left), chain(node.right)), (chain(node.right), chain(node.left))):
            if one and other and one[:1] == ("prior",) and one[2:3] == ("input",) and other[:1] == ("input",):
                yield Equality(one[1], one[3:], other[1:])
    for child in children(node):
        yield from _equalities(child)


def _tested(node: object) -> Iterator[Path]:
    if isinstance(node, pst.HasAttr):
        base = chain(node.base)
        if base is not None:
            yield (*base, *node.attrs)
    for child in children(node):
        yield from _tested(child)


def children(node: object) -> Iterator[object]:
    """Yield the nodes right below a node of a syntax tree."""
    if isinstance(node, Mapping):
        yield from node.values()
    elif isinstance(node, tuple):
        yield from node
    elif is_dataclass(node) and not isinstance(node, type):
        yield from (getattr(node, each.name) for each in fields(node))
