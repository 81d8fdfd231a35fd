"""What the import of runs asks of storage: a run of another ledger, put on record as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.model.facts import RunRef

__all__ = [
    "FIRST",
    "FORKED",
    "IMPORTED",
    "Fork",
    "ForkedRun",
    "ImportStore",
    "ImportedCall",
    "ImportedFork",
    "ImportedRun",
]

IMPORTED: Final = "imported"
"""The member of a call's body that says which event of the other ledger it repeats."""

FIRST: Final = "first"
"""The member in it that says that a fork begins with the call: it answers there, and is a step nowhere."""


@dataclass(frozen=True, slots=True)
class ImportedCall:
    """One call. Where it was `claimed` and succeeded, `asked` and `ended` are the bodies of its claim and ending.

    Any other is put on record in one piece, as `asked`. It used up the calls in `consumes`, and took back the effect of
    `compensates`; all of them are of the same run.
    """

    call_id: str
    at_ms: int
    agent: str
    on_behalf_of: str
    tool: str
    asked: Mapping[str, Any] = field(repr=False)
    claimed: bool = False
    ended: Mapping[str, Any] = field(default_factory=dict, repr=False)
    ended_ms: int = 0
    arguments_digest: str = ""
    step_key: str | None = None
    consumes: tuple[str, ...] = ()
    compensates: str = ""

    @property
    def who(self) -> str:
        """Who made it: `agent` or `agent/user`."""
        return f"{self.agent}/{self.on_behalf_of}" if self.on_behalf_of else self.agent


@dataclass(frozen=True, slots=True)
class ImportedFork:
    """That an imported run begins as `source` did, with its first `at` calls: those in `calls`, in their order.

    They are put on record under `source`, which is no run here by that. What is on record there already stays as it is.
    """

    source: str
    at: int
    calls: Sequence[ImportedCall] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A run with its calls in the order in which they were made. `told` says where it is from, and on what grounds."""

    run: RunRef
    key: str
    opened_ms: int
    at_ms: int
    by: str
    told: Mapping[str, Any] = field(repr=False)
    calls: Sequence[ImportedCall] = field(repr=False)
    begins: ImportedFork | None = None

    @property
    def source(self) -> str:
        """The run that it was forked from, or nothing."""
        return "" if self.begins is None else self.begins.source

    @property
    def callers(self) -> list[str]:
        """Who made calls in it, or those it begins with, its owner first."""
        first = () if self.begins is None else self.begins.calls
        return list(dict.fromkeys((self.run.owner, *(call.who for call in (*first, *self.calls)))))


FORKED: Final = "run forked"
"""What the events say in their member `what` that tell of a fork, of the fork and of the run that it was made of."""


@dataclass(frozen=True, slots=True)
class Fork:
    """That a run begins as `source` did, with its first `at` calls: those that started up to the event `until_seq`.

    `callers` are who made them, the owner of `source` first.
    """

    source: str
    at: int
    until_seq: int
    callers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForkedRun:
    """A run that begins as another one of this ledger did, as `by` says."""

    run: RunRef
    key: str
    at_ms: int
    by: str
    fork: Fork


class ImportStore(Protocol):
    """Runs that did not begin here: of other ledgers, or as forks of other runs."""

    async def import_run(self, imported: ImportedRun) -> None:
        """Put a run on record, as events of this ledger, and begin it anew for all who made calls in it.

        All or nothing. What was claimed there is claimed here, and so answers its repeats; but no `StepLookup` finds
        it, unless it asks for imported steps too.

        Raises:
            RequestFault: the run, its name, or one of its calls or step keys is on record already; of the calls that a
            fork begins with, as another call than that one.
        """
        ...

    async def fork_run(self, forked: ForkedRun) -> None:
        """Open a run that begins as another did, told of in both, and begun anew for all who made calls in that.

        All or nothing, and nothing of the other run changes. Raises `StoreFault`.
        """
        ...
