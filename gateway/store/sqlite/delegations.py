"""Delegations: events of the chain, and nothing besides."""

import sqlite3
from typing import Final

from gateway.store.delegation_events import change_from, end_event, made_event
from gateway.store.delegations import Delegation, DelegationChange, DelegationEnd
from gateway.store.sqlite.transaction import Transaction

__all__ = ["end_delegation", "find_delegation_changes", "put_delegation"]

# The same text as in the migration: that is how the planner knows the index for it.
_CHANGES: Final = (
    "SELECT seq, body, at_ms, kind, call_id, run_id, agent, on_behalf_of FROM events"
    " WHERE seq > ? AND kind IN ('agent.delegated', 'agent.withdrawn') ORDER BY seq LIMIT ?"
)


def put_delegation(tx: Transaction, made: Delegation) -> None:
    """Put a delegation on record."""
    told, body = made_event(made)
    tx.append((told[0], told[1].value, *told[2:]), body)


def end_delegation(tx: Transaction, end: DelegationEnd) -> None:
    """Put on record that a delegation is withdrawn."""
    told, body = end_event(end)
    tx.append((told[0], told[1].value, *told[2:]), body)


def find_delegation_changes(db: sqlite3.Connection, after_seq: int, limit: int) -> list[DelegationChange]:
    """Return what became of delegations after an event, in order, at most so many changes."""
    return [change_from(seq, tuple(told), body) for seq, body, *told in db.execute(_CHANGES, (after_seq, limit))]
