"""Runs of other ledgers, put on record in one transaction."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.store.bodies import claim_body, ending_body, record_body
from gateway.store.importing import (
    begins_of,
    begins_of_fork,
    ending_of,
    intent_of,
    on_record,
    provenance_of,
    provenance_of_beginning,
    provenance_of_fork,
    record_of,
    unrecorded,
)
from gateway.store.imports import ForkedRun, ImportedCall, ImportedRun
from gateway.store.ports import Event
from gateway.store.sqlite.lookups import find_call, find_whole
from gateway.store.sqlite.runs import begin_attempt, find_named, find_run, open_run
from gateway.store.sqlite.transaction import Transaction
from gateway.store.sqlite.transitions import finish, record, write_claim

__all__ = ["fork_run", "import_run"]

_HELD: Final = "SELECT call_id FROM calls WHERE agent = ? AND tool = ? AND step_key = ? AND key_until IS NULL"


def import_run(tx: Transaction, imported: ImportedRun) -> None:
    """Put a run and its calls on record, or nothing where any of it is there."""
    _check_new(tx, imported)
    first, until_seq = unrecorded(imported, partial(_start_of, tx.db), partial(_held_by, tx.db))
    # What cannot be written fails before anything is.
    begins = [_write_of(call, imported.source) for call in first]
    writes = [_write_of(call, imported.run.id) for call in imported.calls]
    open_run(tx, imported.run, imported.key, imported.opened_ms)
    tx.append(*provenance_of(imported))
    for write in begins:
        until_seq = max(until_seq, tx.seq + 1)
        write(tx)
    if imported.begins is not None:
        tx.append(*provenance_of_beginning(imported, imported.begins, until_seq))
    for write in writes:
        write(tx)
    for begin in begins_of(imported):
        begin_attempt(tx, begin)


def fork_run(tx: Transaction, forked: ForkedRun) -> None:
    """Open a run that begins as another did."""
    open_run(tx, forked.run, forked.key, forked.at_ms)
    for told, body in provenance_of_fork(forked):
        tx.append(told, body)
    for begin in begins_of_fork(forked):
        begin_attempt(tx, begin)


def _write_of(call: ImportedCall, run_id: str) -> Callable[[Transaction], None]:
    """Return what writes a call, its bodies written out already. Raises `StoreFault` where they cannot be."""
    if not call.claimed:
        whole = record_of(call, run_id)
        return partial(record, whole, record_body(whole))
    intent, ending = intent_of(call, run_id), ending_of(call)
    claims = partial(write_claim, intent=intent, superseded=None, body=claim_body(intent))
    ends = partial(finish, ending, ending_body(ending), None)

    def both(tx: Transaction) -> None:
        claims(tx)
        ends(tx)

    return both


def _check_new(tx: Transaction, imported: ImportedRun) -> None:
    tx.write_events()
    run = imported.run
    if find_run(tx.db, run.id) is not None:
        raise on_record(f"The run {run.id}")
    named = find_named(tx.db, run.owner, imported.key)
    if named is not None:
        raise on_record(f"Another run of {run.owner} with the same name, {named.id},")


def _start_of(db: sqlite3.Connection, call_id: str) -> Event | None:
    evidence = find_call(db, call_id)
    if evidence is not None:
        return evidence.claim
    whole = find_whole(db, call_id)
    return None if whole is None else whole[0]


def _held_by(db: sqlite3.Connection, call: ImportedCall) -> str | None:
    held = db.execute(_HELD, (call.agent, call.tool, call.step_key)).fetchone()
    return None if held is None else str(held[0])
