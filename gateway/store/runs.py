"""What the runs ask of storage: which there are, who began them anew, what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from gateway.model.facts import RunRef
from gateway.model.light import light

__all__ = [
    "ANYWHERE",
    "Attempt",
    "AttemptBegin",
    "Placed",
    "RunCancel",
    "RunChange",
    "RunStatus",
    "RunStore",
    "RunSummary",
    "next_attempt",
    "told_caller",
]

ANYWHERE: Final = "anywhere"
"""The place of all that a caller does without naming a run, where it has not named one for that very conversation."""


class RunStatus(StrEnum):
    """What may be done in a run."""

    OPEN = "open"
    CANCELLED = "cancelled"  # for good: it takes no further call


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in one line: `steps` are its recorded calls, `doubtful` those whose outcome is not known.

    `attempts` counts how often it was begun, the first time included.
    """

    run: RunRef
    key: str
    opened_ms: int
    steps: int
    doubtful: int
    attempts: int = 1


@light
@dataclass(frozen=True, slots=True)
class Attempt:
    """How often a caller has begun a run (`number`, from 1), and since which event it has been at it this time.

    `label` is what the caller called this attempt, if it did; `seq` is 0 where no event says so.
    """

    number: int = 1
    label: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class AttemptBegin:
    """A caller (`agent` or `agent/user`) begins a run anew, as `by` says.

    With a `label` it does so once: a second word of the same label changes nothing, unless it is `anew`.
    """

    run_id: str
    who: str
    at_ms: int
    by: str
    label: str = ""
    anew: bool = False


@dataclass(frozen=True, slots=True)
class RunCancel:
    """An operator ends a run for good."""

    run_id: str
    at_ms: int
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunChange:
    """Something became of a run, at the event `seq`: `who` is the caller that begins it anew, or empty."""

    seq: int
    run_id: str
    who: str


@light
@dataclass(frozen=True, slots=True)
class Placed:
    """Where a caller's conversation goes on: in `run`, as was said at `at_ms`; `active_ms` is its latest activity."""

    run: RunRef
    at_ms: int
    active_ms: int


class RunStore(Protocol):
    """The runs, minted by the gateway. An owner or caller is `agent`, or `agent/user`."""

    async def open_run(self, run: RunRef, key: str, at_ms: int) -> RunRef:
        """Return the latest run with this owner and `key`, cancelled or not, else make `run` it.

        Atomic: two callers get one run. An event `run.opened` is appended for a new one.
        """
        ...

    async def find_run(self, run_id: str) -> RunRef | None:
        """Return a run by id, whoever owns it."""
        ...

    async def named_run(self, owner: str, key: str) -> RunRef | None:
        """Return the latest run of an owner and key, or None."""
        ...

    async def count_steps(self, run_id: str) -> int:
        """Return how many calls the run holds."""
        ...

    async def runs(self, owner: str, limit: int) -> list[RunSummary]:
        """Return the runs of an owner (empty: of everybody), the latest opened first, at most `limit`."""
        ...

    async def begin_attempt(self, begin: AttemptBegin) -> Attempt:
        """Begin a run anew for a caller, unless its `label` was used before; return the attempt it is in then.

        A first label in a run without any call names the first attempt. Raises `StoreFault`: there is no such run.
        """
        ...

    async def attempt(self, run_id: str, who: str) -> Attempt:
        """Return the attempt that a caller is in."""
        ...

    async def cancel_run(self, cancel: RunCancel) -> bool:
        """End a run; False where it is no open one."""
        ...

    async def run_changes(self, after_seq: int) -> list[RunChange]:
        """Return what became of runs after an event: attempts and ends, in order."""
        ...

    async def place_run(self, owner: str, place: str, run_id: str, at_ms: int) -> None:
        """Have an owner's conversation at `place` go on in a run, until it is said otherwise. Not part of the chain."""
        ...

    async def placed_runs(self, owner: str, places: tuple[str, ...]) -> Mapping[str, Placed]:
        """Return, by place, in which of its runs an owner's conversations go on."""
        ...


def told_caller(who: str) -> tuple[str, str]:
    """Return the agent and the user, empty for none, of a caller."""
    agent, _, user = who.partition("/")
    return agent, user


def next_attempt(begin: AttemptBegin, before: Sequence[Attempt], steps: int) -> int:
    """Return the number of the attempt that begins, or 0 where its label says that it has begun already.

    `before` are the caller's attempts so far, in order; `steps` how many calls the run holds.
    """
    if begin.label and not begin.anew and any(each.label == begin.label for each in before):
        return 0
    if before:
        return before[-1].number + 1
    return 1 if begin.label and not steps else 2
