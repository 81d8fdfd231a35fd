"""What the approval concept asks of storage, and the row by which an approval is found.

An approval is its events: one that opened it, one for each change of mind, one for each use. The row only indexes them;
whoever reads an approval gets what the events say, and a row that says otherwise is a tampered ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from gateway.model.light import light

__all__ = [
    "Answered",
    "ApprovalAsk",
    "ApprovalChange",
    "ApprovalFilter",
    "ApprovalRow",
    "ApprovalState",
    "ApprovalStore",
    "ApprovalTrail",
    "ApprovalUse",
]


class ApprovalState(StrEnum):
    """Where an approval stands. Only a pending and an approved one can still become something else."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EDITED = "edited"  # void: other arguments were approved in its place
    EXPIRED = "expired"
    REVOKED = "revoked"  # void: taken back, or overtaken by other policies


class ApprovalRow(NamedTuple):
    """The row of one approval: `version` is the seq of the event that made it what it is, `last_seq` of its last one.

    `used` counts the calls that used it, of `most`. From `until_ms` on it counts for nothing.
    """

    id: str
    asked_seq: int
    binding: str
    standing: bool
    state: str
    version: int
    used: int
    most: int
    until_ms: int
    last_seq: int

    @property
    def is_open(self) -> bool:
        """Whether it is neither decided against nor used up."""
        return self.state in {ApprovalState.PENDING, ApprovalState.APPROVED} and self.used < self.most


@dataclass(frozen=True, slots=True)
class ApprovalAsk:
    """An approval to be opened, with nobody's or already somebody's consent. `body` is the event's JSON object.

    `binding` is what it is for, as a digest. `kind` is an `EventKind`.
    """

    id: str
    at_ms: int
    kind: str
    binding: str
    state: ApprovalState
    until_ms: int
    agent: str
    on_behalf_of: str
    tool: str
    run_id: str
    body: Mapping[str, Any] = field(repr=False)
    standing: bool = False
    most: int = 1


@dataclass(frozen=True, slots=True)
class ApprovalChange:
    """What becomes of an approval, if nothing else has since `version`. `kind` is an `EventKind`."""

    id: str
    at_ms: int
    kind: str
    version: int
    state: ApprovalState
    until_ms: int
    body: Mapping[str, Any] = field(repr=False)


@light
@dataclass(frozen=True, slots=True)
class ApprovalUse:
    """The approval that a call relies on, as it was when the call was decided: the claim uses it, or refuses."""

    id: str
    version: int


@dataclass(frozen=True, slots=True)
class ApprovalTrail:
    """An approval as its events tell it. `asked` is the body of the one that opened it, `decided` of its `version`.

    `used_by` is the call that used it last, if any did.
    """

    row: ApprovalRow
    agent: str
    on_behalf_of: str
    tool: str
    run_id: str
    asked_ms: int
    decided_ms: int
    asked: Mapping[str, Any] = field(repr=False)
    decided: Mapping[str, Any] = field(repr=False)
    used_by: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to an ask: the approval that stands for this binding now, and whether the ask `opened` it."""

    trail: ApprovalTrail
    opened: bool


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """Which approvals to list: `is_open` ones only, those that end by `until_ms` (0: whenever), the newest first.

    `before_seq` is for going on behind the last of an earlier list: those whose row has a smaller `asked_seq` (0: all).
    """

    standing: bool | None = None
    is_open: bool = False
    until_ms: int = 0
    before_seq: int = 0
    limit: int = 1000


class ApprovalStore(Protocol):
    """Approvals. Each change is an event of the chain; each answer is checked against the events behind it.

    Every reading method raises `LedgerTampered` when a row and its events disagree.
    """

    async def ask_approval(self, ask: ApprovalAsk) -> Answered:
        """Open an approval, unless `held_approval` finds one for the binding at `ask.at_ms`: then that one stands."""
        ...

    async def change_approval(self, change: ApprovalChange, opens: ApprovalAsk | None = None) -> bool:
        """Change an approval, and open another in its place where one is given: both or nothing.

        False where it has changed or been used up since, or where `opens` finds its binding held.
        """
        ...

    async def held_approval(self, binding: str, at_ms: int) -> ApprovalTrail | None:
        """Return the approval that says what is to become of such a call: not expired, void or used up by `at_ms`.

        An approved one before any other, then the newest.
        """
        ...

    async def find_approval(self, approval_id: str) -> ApprovalTrail | None:
        """Return an approval by id, whatever became of it."""
        ...

    async def list_approvals(self, wanted: ApprovalFilter) -> list[ApprovalTrail]:
        """Return approvals, the newest first."""
        ...
