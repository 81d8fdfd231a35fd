"""What the reading connection is asked: each function one hop, most of them one statement."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from gateway.store.evidence import Evidence, recorded_from, recorded_whole
from gateway.store.ports import Event, EventFilter, Recorded, StepLookup
from gateway.store.sightings import AgentSighting
from gateway.store.sqlite.lookups import (
    EVENT_COLUMNS,
    IndexedSteps,
    event_from,
    find_call,
    find_holder,
    find_step,
    find_whole,
    in_doubt,
    unfinished,
)
from gateway.store.sqlite.transitions import SIGHTING_COLUMNS, sighting_from

__all__ = [
    "find_events",
    "find_in_doubt",
    "find_made",
    "find_recorded",
    "find_sightings",
    "find_steps",
    "find_unfinished",
    "seq_bounds",
]

_SIGHTINGS: Final = f"SELECT {SIGHTING_COLUMNS} FROM sightings ORDER BY last_seen_ms DESC, agent, known"  # noqa: S608 - constant names
_EVENTS: Final = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > ? AND seq <= ?"  # noqa: S608 - constant names
# The call rows lead to the events of claimed calls, an index to all others; the last term is for changed rows.
_OF: Final = (
    "seq IN (SELECT claim_seq FROM calls WHERE {0} = ? UNION ALL SELECT end_seq FROM calls WHERE {0} = ? UNION ALL"
    " SELECT doubted_seq FROM calls WHERE {0} = ? UNION ALL"
    " SELECT undone_seq FROM calls WHERE {0} = ? UNION ALL"
    " SELECT seq FROM events WHERE {0} = ? AND kind NOT IN ('call.claimed', 'call.finished')) AND {0} = ?"
)
_OF_CALL: Final = _OF.format("call_id")
_OF_RUN: Final = _OF.format("run_id")
_LAST: Final = 2**63 - 1


def find_steps(db: sqlite3.Connection, lookups: Sequence[StepLookup], indexed: IndexedSteps) -> list[Evidence | None]:
    """Answer each lookup, all on one snapshot."""
    db.execute("BEGIN")
    try:
        return [find_step(db, lookup, indexed) for lookup in lookups]
    finally:
        db.execute("ROLLBACK")


def find_recorded(db: sqlite3.Connection, agent: str, tool: str, step_key: str) -> Evidence | None:
    """Return what stands behind the call that holds a step key."""
    return find_holder(db, agent, tool, step_key)


def find_made(db: sqlite3.Connection, call_id: str) -> Recorded | None:
    """Return a call by its id. Raises `LedgerTampered`."""
    evidence = find_call(db, call_id)
    if evidence is not None:
        return recorded_from(evidence)
    whole = find_whole(db, call_id)
    return None if whole is None else recorded_whole(*whole)


def find_unfinished(db: sqlite3.Connection) -> list[Evidence]:
    """Return what stands behind every call that never ended."""
    return list(unfinished(db))


def find_in_doubt(db: sqlite3.Connection) -> list[Evidence]:
    """Return what stands behind every call whose outcome is not known."""
    return list(in_doubt(db))


def seq_bounds(db: sqlite3.Connection, wanted: EventFilter) -> tuple[int, int]:
    """Return a seq before the first and the seq of the last event in the wanted times.

    Clocks jump, so this reads the whole index of times once, rather than trust that later events are later.
    """
    first, last = 0, _LAST
    if wanted.since_ms:
        found = db.execute("SELECT min(seq) FROM events WHERE at_ms >= ?", (wanted.since_ms,)).fetchone()[0]
        first = _LAST if found is None else found - 1
    if wanted.until_ms:
        last = db.execute("SELECT coalesce(max(seq), 0) FROM events WHERE at_ms < ?", (wanted.until_ms,)).fetchone()[0]
    return first, last


def find_events(db: sqlite3.Connection, wanted: EventFilter, bounds: tuple[int, int]) -> list[Event]:
    """Return the events wanted, in order of seq."""
    terms, values = _terms(wanted)
    order = "DESC" if wanted.latest else "ASC"
    sql = f"{_EVENTS}{terms} ORDER BY seq {order} LIMIT ?"
    rows = db.execute(sql, (max(wanted.after_seq, bounds[0]), bounds[1], *values, wanted.limit)).fetchall()
    return [event_from(row) for row in (reversed(rows) if wanted.latest else rows)]


def _terms(wanted: EventFilter) -> tuple[str, list[str | int]]:
    terms: list[tuple[str, tuple[str | int, ...]]] = []
    if wanted.call_id:
        terms.append((_OF_CALL, (wanted.call_id,) * 6))
    if wanted.run_id:
        terms.append((_OF_RUN, (wanted.run_id,) * 6))
    if wanted.agent:
        terms.append(("agent = ?", (wanted.agent,)))
    if wanted.tool.endswith("*"):
        terms.append(("substr(tool, 1, ?) = ?", (len(wanted.tool) - 1, wanted.tool[:-1])))
    elif wanted.tool:
        terms.append(("tool = ?", (wanted.tool,)))
    if wanted.kind is not None:
        terms.append(("kind = ?", (wanted.kind,)))
    if wanted.since_ms:  # the plus keeps the planner in the order of seq
        terms.append(("+at_ms >= ?", (wanted.since_ms,)))
    if wanted.until_ms:
        terms.append(("+at_ms < ?", (wanted.until_ms,)))
    return "".join(f" AND {term}" for term, _ in terms), [value for _, values in terms for value in values]


def find_sightings(db: sqlite3.Connection) -> list[AgentSighting]:
    """Return the inventory, newest first."""
    return [sighting_from(row) for row in db.execute(_SIGHTINGS)]
