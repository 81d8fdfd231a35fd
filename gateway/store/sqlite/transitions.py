"""What becomes of calls, inside one write transaction. Each refuses before it has written anything.

What is done for every call takes its transaction last: the rest is bound by place, for a third less than by name.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from gateway.codec import dump
from gateway.model.errors import StoreFault, UnwritableError
from gateway.model.facts import StepStatus
from gateway.store.bodies import compensated_body, load
from gateway.store.evidence import Evidence, recorded_from, step_from
from gateway.store.ports import Claimed, ClaimVerdict, Ending, EventKind, Intent, Record
from gateway.store.removable import Text
from gateway.store.sightings import AgentSighting, merged
from gateway.store.sqlite import approvals, budgets, facts, taints
from gateway.store.sqlite.lookups import IndexedSteps, find_holder, find_step
from gateway.store.sqlite.transaction import Transaction

__all__ = [
    "SIGHTING_COLUMNS",
    "claim",
    "finish",
    "record",
    "saw_agents",
    "settle",
    "sighting_from",
    "write_claim",
]

_IS_CLAIMED: Final = "SELECT 1 FROM calls WHERE call_id = ?"
_IS_HELD: Final = "SELECT 1 FROM calls WHERE agent = ? AND tool = ? AND step_key = ? AND key_until IS NULL"
_SUPERSEDE: Final = "UPDATE calls SET key_until = ? WHERE call_id = ?"
_CONSUME: Final = "UPDATE calls SET consumed_by = ? WHERE call_id = ?"
_FINISH: Final = (
    "UPDATE calls SET status = ?, ended_ms = ?, end_seq = ? WHERE call_id = ? AND end_seq IS NULL"
    " RETURNING run_id, agent, on_behalf_of, tool"
)
_SETTLE: Final = (
    "UPDATE calls SET status = ?, ended_ms = ?, doubted_seq = end_seq, end_seq = ? WHERE call_id = ?"
    " AND status = 'unknown' RETURNING run_id, agent, on_behalf_of, tool"
)
_COMPENSATE: Final = (
    "UPDATE calls SET status = 'compensated', ended_ms = ?, undone_seq = end_seq, end_seq = ? WHERE call_id = ?"
    " AND status = 'succeeded' RETURNING run_id, agent, on_behalf_of, tool"
)
_RELEASE_KEY: Final = "UPDATE calls SET key_until = ? WHERE call_id = ? AND step_key IS NOT NULL"
_RELEASE_STEPS: Final = "UPDATE calls SET consumed_by = NULL WHERE consumed_by = ?"
# Asking an enumeration for a member, and that for its value, takes as long as ten calls.
_CLAIMED_KIND: Final = EventKind.CALL_CLAIMED.value
_FINISHED_KIND: Final = EventKind.CALL_FINISHED.value
_RECORDED: Final = EventKind.CALL_RECORDED
_SIGNED: Final = EventKind.HEAD_SIGNED
_RECORDED_KIND: Final = EventKind.CALL_RECORDED.value
_STATUS: Final = {status: status.value for status in StepStatus}
SIGHTING_COLUMNS: Final = "agent, known, last_seen_ms, client_name, client_version, calls, refused, tools"
_SEEN: Final = f"SELECT {SIGHTING_COLUMNS} FROM sightings WHERE agent = ? AND known = ?"  # noqa: S608 - constant names
_SAW: Final = f"INSERT OR REPLACE INTO sightings ({SIGHTING_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant names


def claim(intent: Intent, body: Text, indexed: IndexedSteps, tx: Transaction) -> Claimed | int:
    """Take the step key, check and use up `uses`, write the intent, and return its event's seq; or say why not."""
    if _relies_on_nothing(intent) and _is_taken(tx, intent, body):
        return tx.seq
    holder = _holder(tx, intent)
    if holder is not None:
        recorded = recorded_from(holder)
        if recorded.arguments_digest != intent.arguments_digest:
            return Claimed(ClaimVerdict.CONFLICT, recorded)
        if recorded.status is not StepStatus.FAILED:
            return Claimed(ClaimVerdict.RECORDED, recorded)
    refusal = _stale_or_consumed(tx, intent, indexed)
    if refusal is not None:
        return refusal
    relied = approvals.usable(tx, intent)
    if relied is None or not facts.are_held(tx, intent.facts, intent.at_ms):
        return Claimed(ClaimVerdict.STALE)
    short = budgets.short(tx, intent.charges)
    if short:
        return Claimed(ClaimVerdict.SHORT, short=short)
    seq = write_claim(tx, intent, holder, body)
    budgets.reserve(tx, intent.charges)
    approvals.use(tx, relied, intent)
    return seq


def _relies_on_nothing(intent: Intent) -> bool:
    """Tell whether a claim can only fail because its step stands already."""
    return not (intent.uses or intent.approval or intent.grant or intent.facts or intent.charges)


def _is_taken(tx: Transaction, intent: Intent, body: Text) -> bool:
    """Write a claim, for less than asking first; where its step or its id is known to stand, nothing is written."""
    try:
        _insert_claim(tx, intent)
    except sqlite3.IntegrityError:
        return False
    _append_claim(tx, intent, body)
    return True


def _holder(tx: Transaction, intent: Intent) -> Evidence | None:
    if intent.step_key is None:
        return None
    key = (intent.agent, intent.tool, intent.step_key)
    if tx.db.execute(_IS_HELD, key).fetchone() is None:  # the usual answer, for much less than the evidence
        return None
    tx.write_events()
    return find_holder(tx.db, *key)


def _stale_or_consumed(tx: Transaction, intent: Intent, indexed: IndexedSteps) -> Claimed | None:
    if intent.uses:
        tx.write_events()
    for use in intent.uses:
        evidence = find_step(tx.db, use.lookup, indexed)
        found = None if evidence is None else step_from(evidence)
        if found is None or (found.call_id, found.status) != (use.call_id, use.status):
            return Claimed(ClaimVerdict.STALE)
        if use.consume and found.consumed_by is not None:
            return Claimed(ClaimVerdict.CONSUMED, call_id=found.consumed_by)
    return None


def write_claim(tx: Transaction, intent: Intent, superseded: Evidence | None, body: Text) -> int:
    """Write an intent that may be claimed, and use up the steps it consumes; return its event's seq."""
    tx.write_events()
    seq = tx.seq + 1
    if superseded is not None:
        if tx.db.execute(_IS_CLAIMED, (intent.call_id,)).fetchone() is not None:
            raise _claimed_before(intent)
        tx.db.execute(_SUPERSEDE, (seq, superseded.claim.call_id))
    try:
        _insert_claim(tx, intent)
    except sqlite3.IntegrityError as error:
        raise _claimed_before(intent) from error
    for use in intent.uses:
        if use.consume:
            tx.db.execute(_CONSUME, (intent.call_id, use.call_id))
    _append_claim(tx, intent, body)
    return seq


def _insert_claim(tx: Transaction, intent: Intent) -> None:
    who = (intent.agent, intent.on_behalf_of, intent.tool)
    told = (tx.seq + 1, intent.call_id, intent.run_id, intent.session, *who)
    tx.claim((*told, intent.arguments_digest, intent.step_key, intent.at_ms))


def _append_claim(tx: Transaction, intent: Intent, body: Text) -> None:
    who = (intent.agent, intent.on_behalf_of, intent.tool)
    tx.append((intent.at_ms, _CLAIMED_KIND, intent.call_id, intent.run_id, *who), *body)
    tx.count_step(intent.run_id)


def _claimed_before(intent: Intent) -> StoreFault:
    return StoreFault("The call cannot be recorded.", detail=f"{intent.call_id} was claimed before")


Told = tuple[int, str, str, str, str]
"""The seq of its claim, and run, agent, user and tool, of a claimed call."""


def finish(ending: Ending, body: bytes, claimed: Told | None, tx: Transaction) -> None:
    """End a claimed call; with what is known to be `claimed` of it, for less."""
    if claimed is not None and tx.presumes and not (ending.taint or ending.release or ending.compensates):
        tx.end(_STATUS[ending.status], ending.at_ms, claimed[0], ending.call_id)
        tx.append((ending.at_ms, _FINISHED_KIND, ending.call_id, *claimed[1:]), body)
        budgets.settle(tx, ending.charges)
        return
    tx.write_events()
    mark = taints.mark_of_ending(tx, ending)
    seq = tx.seq + 1
    told = (_STATUS[ending.status], ending.at_ms, seq, ending.call_id)
    row = next(iter(tx.db.execute(_FINISH, told).fetchall()), None)
    if row is None:
        found = tx.db.execute(_IS_CLAIMED, (ending.call_id,)).fetchone()
        reason = "was never claimed" if found is None else "has ended already"
        raise UnwritableError("The outcome cannot be recorded.", detail=f"{ending.call_id} {reason}")
    tx.append((ending.at_ms, _FINISHED_KIND, ending.call_id, *row), body)
    if mark is not None:
        tx.append(*mark)
    _release(tx, ending, seq)
    _compensate(tx, ending)


def settle(tx: Transaction, ending: Ending, body: bytes) -> None:
    """End the doubt about a call."""
    tx.write_events()
    seq = tx.seq + 1
    told = (ending.status.value, ending.at_ms, seq, ending.call_id)
    row = next(iter(tx.db.execute(_SETTLE, told).fetchall()), None)
    if row is None:
        raise UnwritableError("Nothing was settled.", detail=f"{ending.call_id} is no call in doubt")
    tx.append((ending.at_ms, EventKind.CALL_SETTLED.value, ending.call_id, *row), body)
    _release(tx, ending, seq)
    _compensate(tx, ending)


def _compensate(tx: Transaction, ending: Ending) -> None:
    if not ending.compensates or ending.status is not StepStatus.SUCCEEDED:
        return
    told = (ending.at_ms, tx.seq + 1, ending.compensates)
    for row in tx.db.execute(_COMPENSATE, told).fetchall():  # none, where it is compensated already
        kind = EventKind.CALL_COMPENSATED.value
        tx.append((ending.at_ms, kind, ending.compensates, *row), compensated_body(ending))


def _release(tx: Transaction, ending: Ending, seq: int) -> None:
    budgets.settle(tx, ending.charges)
    if ending.release:
        tx.db.execute(_RELEASE_KEY, (seq, ending.call_id))
        tx.db.execute(_RELEASE_STEPS, (ending.call_id,))
        for returned in ending.returns:
            approvals.give_back(tx, returned, ending.call_id, ending.at_ms)


def record(record: Record, body: Text, tx: Transaction) -> None:
    """Append a whole call, or an operator's deed."""
    mark = taints.mark_of_record(tx, record)
    if record.kind is _SIGNED:
        tx.sum_up()
    is_call = record.kind is _RECORDED
    told = (record.at_ms, _RECORDED_KIND if is_call else record.kind.value, record.call_id, record.run_id)
    tx.append((*told, record.agent, record.on_behalf_of, record.tool), *body)
    if mark is not None:
        tx.append(*mark)
    if is_call:
        tx.count_step(record.run_id)


def saw_agents(tx: Transaction, sightings: Sequence[AgentSighting]) -> None:
    """Merge sightings into the inventory."""
    for now in sightings:
        row = tx.db.execute(_SEEN, (now.agent, now.known)).fetchone()
        line = merged(None if row is None else sighting_from(row), now)
        told = (line.agent, int(line.known), line.last_seen_ms, line.client_name, line.client_version)
        seen = (*told, line.calls, line.refused, dump(dict(line.tools)).decode())
        tx.db.execute(_SAW, seen)
        tx.resum("sightings", row, seen)


def sighting_from(row: tuple[Any, ...]) -> AgentSighting:
    """Return the inventory line in one row of `SIGHTING_COLUMNS`."""
    agent, known, seen, name, version, calls, refused, tools = row
    counted = tuple(sorted(load(tools.encode()).items()))
    return AgentSighting(agent, bool(known), seen, name, version, calls, refused, counted)
