"""Runs of other ledgers, put on record in one transaction."""

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
    provenance_of_fork,
    record_of,
)
from gateway.store.imports import ForkedRun, ImportedCall, ImportedRun
from gateway.store.sqlite.runs import begin_attempt, find_named, find_run, open_run
from gateway.store.sqlite.transaction import Transaction
from gateway.store.sqlite.transitions import finish, record, write_claim

__all__ = ["fork_run", "import_run"]

_CALL: Final = "SELECT 1 FROM calls WHERE call_id = ?"
_HELD: Final = "SELECT call_id FROM calls WHERE agent = ? AND tool = ? AND step_key = ? AND key_until IS NULL"


def import_run(tx: Transaction, imported: ImportedRun) -> None:
    """Put a run and its calls on record, or nothing where any of it is there."""
    _check_new(tx, imported)
    writes = [_write_of(imported, call) for call in imported.calls]  # what cannot be written fails before anything is
    told, provenance = provenance_of(imported)
    open_run(tx, imported.run, imported.key, imported.opened_ms)
    tx.append(told, provenance)
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


def _write_of(imported: ImportedRun, call: ImportedCall) -> Callable[[Transaction], None]:
    """Return what writes a call, its bodies written out already. Raises `StoreFault` where they cannot be."""
    if not call.claimed:
        whole = record_of(imported, call)
        return partial(record, record=whole, body=record_body(whole))
    intent, ending = intent_of(imported, call), ending_of(call)
    claims = partial(write_claim, intent=intent, superseded=None, body=claim_body(intent))
    ends = partial(finish, ending=ending, body=ending_body(ending))

    def both(tx: Transaction) -> None:
        claims(tx)
        ends(tx)

    return both


def _check_new(tx: Transaction, imported: ImportedRun) -> None:
    run = imported.run
    if find_run(tx.db, run.id) is not None:
        raise on_record(f"The run {run.id}")
    named = find_named(tx.db, run.owner, imported.key)
    if named is not None:
        raise on_record(f"Another run of {run.owner} with the same name, {named.id},")
    for call in imported.calls:
        if tx.db.execute(_CALL, (call.call_id,)).fetchone() is not None:
            raise on_record(f"The call {call.call_id}")
        held = tx.db.execute(_HELD, (call.agent, call.tool, call.step_key)).fetchone()
        if call.claimed and held is not None:
            raise on_record(f"The effect of call {call.call_id} of {call.tool}, as call {held[0]},")
