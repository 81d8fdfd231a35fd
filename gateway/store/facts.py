"""What the fact concept asks of storage: what agents found out, each in the version that holds now.

A fact is its last event; the row only says which one that is. Whoever reads a fact gets what that event says, and a row
that says otherwise is a tampered ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from gateway.model.facts import FactKey
from gateway.model.light import light

__all__ = ["Fact", "FactAnswer", "FactPut", "FactRow", "FactStore", "FactUse", "FactVerdict"]


class FactRow(NamedTuple):
    """The row of one fact: event `seq` made it version `version`. `gone` says that it was deleted, 1 or 0.

    From `until_ms` on it holds no longer; 0 is never.
    """

    scope: str
    owner: str
    name: str
    version: int
    seq: int
    until_ms: int
    gone: int

    @property
    def key(self) -> FactKey:
        """What it is the fact of."""
        return FactKey(self.scope, self.owner, self.name)

    def holds(self, at_ms: int) -> bool:
        """Tell whether it is there at that time."""
        return not self.gone and (not self.until_ms or at_ms < self.until_ms)


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact as its event tells it. `proof` says which recorded call it was taken from, if any.

    `taint` are the labels of what whoever put it had read by then.
    """

    key: FactKey
    version: int
    value: Any = field(repr=False)
    at_ms: int
    until_ms: int
    call_id: str
    run_id: str
    agent: str
    on_behalf_of: str
    proof: Mapping[str, Any] | None = None
    taint: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FactPut:
    """A fact to be put, or with `gone` to be deleted, by a call.

    `expects` is the version that has to hold now (0: none); None takes whatever is equal, or nothing. An owner holds
    `most` facts of one scope.
    """

    key: FactKey
    at_ms: int
    call_id: str
    run_id: str
    agent: str
    on_behalf_of: str
    tool: str
    value: Any = field(default=None, repr=False)
    expects: int | None = None
    until_ms: int = 0
    proof: Mapping[str, Any] | None = None
    gone: bool = False
    most: int = 1000
    taint: tuple[str, ...] = ()


class FactVerdict(StrEnum):
    """What became of a put."""

    STORED = "stored"
    CONFLICT = "conflict"  # another value, or another version than was expected, holds
    FULL = "full"  # the owner holds too many facts already
    ABSENT = "absent"  # there was nothing to delete


@dataclass(frozen=True, slots=True)
class FactAnswer:
    """The answer to a put, and the fact that holds now, if any."""

    verdict: FactVerdict
    fact: Fact | None


@light
@dataclass(frozen=True, slots=True)
class FactUse:
    """A fact that a decision relied on, in the version it had then (0: none); the claim refuses once it is another."""

    key: FactKey
    version: int


class FactStore(Protocol):
    """Facts. Each change, and each conflict, is an event of the chain; each answer is checked against its event.

    Every reading method raises `LedgerTampered` when a row and its event disagree.
    """

    async def put_fact(self, put: FactPut) -> FactAnswer:
        """Put or delete a fact if what holds is what the put expects, in one transaction."""
        ...

    async def find_facts(self, keys: Sequence[FactKey], at_ms: int) -> list[Fact | None]:
        """Return what holds of each, in order."""
        ...

    async def list_facts(self, scope: str, owner: str, at_ms: int, limit: int = 1000) -> list[Fact]:
        """Return the facts of an owner that hold, by name; empty texts ask for every scope and owner."""
        ...
