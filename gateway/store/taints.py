"""What the taint concept asks of storage: which labels follow a run and its principal (SECURITY.md §4).

A label is marked by an event that follows the record of the call whose answer carried it, in the same transaction, so
no answer is on record, let alone delivered, without what it carries. Each event says all that follows the run and the
principal from then on; the last one is all that has to be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.model.light import light

__all__ = ["Clearing", "Taint", "TaintStore"]


@light
@dataclass(frozen=True, slots=True)
class Taint:
    """Labels with the time (ms) at which each was last marked: of a run, and of a principal whatever the run."""

    run: Mapping[str, int] = field(default_factory=dict)
    principal: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clearing:
    """A person's word that what a run has read is harmless. `by` is who says so, `why` for the record."""

    run_id: str
    agent: str
    on_behalf_of: str
    at_ms: int
    by: str
    why: str = ""


class TaintStore(Protocol):
    """What follows runs and principals. Changes made by another process are seen by the next read."""

    async def taint(self, run_id: str, agent: str, on_behalf_of: str) -> Taint:
        """Return what follows a run and a principal. Raises `LedgerTampered` when an event behind it does not hold."""
        ...

    async def clear_taint(self, clearing: Clearing) -> bool:
        """Let go of what follows a run and, from whatever run, its principal; False where nothing did."""
        ...
