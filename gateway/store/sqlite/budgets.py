"""The counters of budgets, as rows that follow from the events."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from gateway.model.bill import Charge
from gateway.store.bodies import charged, record_body
from gateway.store.budgets import KEPT, BudgetCounter, Settled, Shortage, is_short
from gateway.store.ports import Record
from gateway.store.sqlite.transaction import Transaction

__all__ = ["find_counters", "report", "reserve", "settle", "short"]

_ALL: Final = "SELECT key, start_ms, spent, reserved FROM budget_counters"
_OF_KEY: Final = f"{_ALL} WHERE key = ? AND start_ms >= ? ORDER BY start_ms"
_RESERVE: Final = (
    "INSERT INTO budget_counters (key, start_ms, spent, reserved) VALUES (?, ?, 0, ?)"
    " ON CONFLICT (key, start_ms) DO UPDATE SET reserved = reserved + excluded.reserved"
)
_FORGET: Final = (
    "DELETE FROM budget_counters WHERE key = ?1 AND start_ms <="
    " (SELECT start_ms FROM budget_counters WHERE key = ?1 ORDER BY start_ms DESC LIMIT 1 OFFSET ?2)"
)
_SETTLE: Final = "UPDATE budget_counters SET reserved = reserved - ?, spent = spent + ? WHERE key = ? AND start_ms = ?"


def short(tx: Transaction, charges: Sequence[Charge]) -> tuple[Shortage, ...]:
    """Return the charges that do not fit."""
    found = []
    for charge in charges:
        counters = tuple(BudgetCounter._make(row) for row in tx.db.execute(_OF_KEY, (charge.key, charge.since_ms)))
        if is_short(charge, counters):
            found.append(Shortage(charge, counters))
    return tuple(found)


def reserve(tx: Transaction, charges: Sequence[Charge]) -> None:
    """Put the amounts of a claim aside."""
    for charge in charges:
        tx.db.execute(_RESERVE, (charge.key, charge.start_ms, charge.amount))
        tx.db.execute(_FORGET, (charge.key, KEPT))


def settle(tx: Transaction, charges: Sequence[Settled]) -> None:
    """Give the amounts of a claim back or away."""
    for key, start_ms, reserved, spent in charges:
        tx.db.execute(_SETTLE, (reserved, spent, key, start_ms))


def report(tx: Transaction, record: Record, charges: Sequence[Charge]) -> None:
    """Append what was used up already, and count it."""
    about = (record.run_id, record.agent, record.on_behalf_of, record.tool)
    tx.append((record.at_ms, record.kind, record.call_id, *about), *record_body(charged(record, charges)))
    reserve(tx, charges)
    settle(tx, [Settled(charge.key, charge.start_ms, charge.amount, charge.amount) for charge in charges])


def find_counters(db: sqlite3.Connection, keys: Sequence[str] | None) -> list[BudgetCounter]:
    """Return the counters of these keys, or every one, by key and time."""
    if keys is None:
        return [BudgetCounter._make(row) for row in db.execute(f"{_ALL} ORDER BY key, start_ms")]
    return [BudgetCounter._make(row) for key in sorted(set(keys)) for row in db.execute(_OF_KEY, (key, -(2**63)))]
