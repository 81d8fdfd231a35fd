"""A fork of a run: a new one, whose first calls are answered with what another run recorded.

Nothing of the other run is copied. So what it used up stays used up, what it did is done once, and a check that it made
is no step of the fork: it satisfies no precondition there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.ledger.trace import CallLine, run_lines
from gateway.model.errors import RequestFault
from gateway.model.facts import RunRef
from gateway.store.bodies import load
from gateway.store.imports import FORKED, Fork
from gateway.store.ports import Event, EventFilter, EventKind, Ledger

__all__ = ["Origin", "Planned", "first_calls", "origin_in", "origin_of", "plan_fork"]

_ENDED: Final = frozenset({"succeeded", "failed", "denied", "waiting"})
_FIRST: Final = 16
_EVERYTHING: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the first calls of a fork are on record: in `run`, those that started up to the event `until_seq`."""

    run: str
    until_seq: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A fork that can be made, and the calls of the other run `after` it, with their places in that."""

    fork: Fork
    after: Sequence[tuple[int, CallLine]]


def origin_in(event: Event) -> Origin | None:
    """Return where the fork begins that an event tells of, or None where it tells of none."""
    if event.kind is not EventKind.ADMIN:
        return None
    body: Mapping[str, Any] = load(event.body.encode())
    is_fork = body.get("what") == FORKED and "from" in body
    return Origin(body["from"], body["until_seq"]) if is_fork else None


async def origin_of(ledger: Ledger, run_id: str) -> Origin | None:
    """Return where a run begins, or None where it is no fork. Raises `StoreFault`."""
    async for event in ledger.events(EventFilter(run_id=run_id, limit=_FIRST)):
        origin = origin_in(event)
        if origin is not None:
            return origin
    return None


async def first_calls(ledger: Ledger, origin: Origin) -> dict[str, None]:
    """Return the calls that a fork begins with, in their order. Raises `StoreFault`."""
    wanted = EventFilter(run_id=origin.run, limit=_EVERYTHING)
    return {event.call_id: None async for event in ledger.events(wanted) if event.seq <= origin.until_seq}


async def plan_fork(ledger: Ledger, run: RunRef, at: int) -> Planned:
    """Return the fork of a run behind its first `at` calls, as `toolgate runs show` counts them.

    Raises:
        RequestFault: it has not so many, or one of them cannot be answered from the record.
        StoreFault: the ledger cannot be read.
    """
    lines = await run_lines(ledger, run.id)
    if not 1 <= at <= len(lines):
        raise RequestFault(f"{run.id} has {len(lines)} calls: fork it behind one of 1 to {len(lines)}.")
    for n, line in enumerate(lines[:at], 1):
        if line.outcome == "compensated":
            raise RequestFault(f"Call {n} of {run.id}, {line.tool}, was taken back: fork it before that, --at {n - 1}.")
        if line.outcome not in _ENDED:
            raise RequestFault(
                f"Call {n} of {run.id}, {line.tool}, is under way or in doubt: wait for it, or settle it with: "
                f"toolgate runs settle {line.call_id} succeeded|failed"
            )
    callers = dict.fromkeys([run.owner, *(_owner(line) for line in lines[:at])])
    fork = Fork(run.id, at, lines[at - 1].seq, tuple(callers))
    return Planned(fork, [*enumerate(lines, 1)][at:])


def _owner(line: CallLine) -> str:
    return f"{line.agent}/{line.on_behalf_of}" if line.on_behalf_of else line.agent
