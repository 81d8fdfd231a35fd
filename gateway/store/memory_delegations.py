"""Delegations in memory: the same promises as any other store's, for as long as the process lives."""

from itertools import islice
from typing import Final

from gateway.store.delegation_events import change_from, end_event, made_event
from gateway.store.delegations import Delegation, DelegationChange, DelegationEnd
from gateway.store.memory_chain import MemoryChain
from gateway.store.ports import Event, EventKind

__all__ = ["MemoryDelegations"]

_KINDS: Final = frozenset({EventKind.DELEGATED, EventKind.WITHDRAWN})


class MemoryDelegations(MemoryChain):
    """The part of a memory store that keeps the delegations."""

    async def put_delegation(self, made: Delegation) -> None:
        self._append(*made_event(made))

    async def end_delegation(self, end: DelegationEnd) -> None:
        self._append(*end_event(end))

    async def delegation_changes(self, after_seq: int, limit: int) -> list[DelegationChange]:
        told = (event for event in self._events[after_seq:] if event.kind in _KINDS)
        return [_change(event) for event in islice(told, limit)]


def _change(event: Event) -> DelegationChange:
    told = (event.at_ms, event.kind, event.call_id, event.run_id, event.agent, event.on_behalf_of)
    return change_from(event.seq, told, event.body)
