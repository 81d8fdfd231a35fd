"""Runs of other ledgers, put on record in one transaction."""

from typing import Final

from gateway.store.bodies import claim_body, ending_body, record_body
from gateway.store.importing import begins_of, ending_of, intent_of, on_record, provenance_of, record_of
from gateway.store.imports import ImportedRun
from gateway.store.sqlite.runs import begin_attempt, find_named, find_run, open_run
from gateway.store.sqlite.transaction import Transaction
from gateway.store.sqlite.transitions import finish, record, write_claim

__all__ = ["import_run"]

_CALL: Final = "SELECT 1 FROM calls WHERE call_id = ?"
_HELD: Final = "SELECT call_id FROM calls WHERE agent = ? AND tool = ? AND step_key = ? AND key_until IS NULL"


def import_run(tx: Transaction, imported: ImportedRun) -> None:
    """Put a run and its calls on record, or nothing where any of it is there."""
    _check_new(tx, imported)
    claims = [(intent_of(imported, call), ending_of(call)) if call.claimed else None for call in imported.calls]
    bodies = [None if each is None else (claim_body(each[0]), ending_body(each[1])) for each in claims]
    records = [None if call.claimed else record_of(imported, call) for call in imported.calls]
    texts = [None if each is None else record_body(each) for each in records]
    told, provenance = provenance_of(imported)
    open_run(tx, imported.run, imported.key, imported.opened_ms)
    tx.append(told, provenance)
    for claim, body, whole, text in zip(claims, bodies, records, texts, strict=True):
        if claim is not None and body is not None:
            write_claim(tx, claim[0], None, body[0])
            finish(tx, claim[1], body[1])
        elif whole is not None and text is not None:
            record(tx, whole, text)
    for begin in begins_of(imported):
        begin_attempt(tx, begin)


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
