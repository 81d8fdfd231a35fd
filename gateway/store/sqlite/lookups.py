"""Reading back what happened: the SQL, and the evidence it yields."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.model.facts import PriorScope
from gateway.store.chain import Told, broken
from gateway.store.evidence import Evidence, holds
from gateway.store.ports import Event, EventKind, StepLookup
from gateway.store.sqlite.sharing import whole
from gateway.store.sqlite.summing import INDEXES
from gateway.store.sqlite.transaction import Transaction

__all__ = [
    "EVENT_COLUMNS",
    "IndexedSteps",
    "event_from",
    "find_call",
    "find_holder",
    "find_step",
    "find_told",
    "find_whole",
    "in_doubt",
    "index_sql",
    "index_steps",
    "indexable",
    "unfinished",
]

IndexedSteps = frozenset[tuple[str, tuple[str, ...]]]
"""The tools and sorted argument paths by which the database has an index of steps."""

_EVENT: Final = (
    "{0}.seq, {0}.at_ms, {0}.kind, {0}.call_id, {0}.run_id, {0}.agent, {0}.on_behalf_of, {0}.tool,"
    f" {whole('{0}')}, {{0}}.prev_hash, {{0}}.hash"
)
EVENT_COLUMNS: Final = _EVENT.format("events")
_SELECT: Final = (
    f"SELECT {_EVENT.format('e')}, {_EVENT.format('f')},"
    " coalesce(after_e.prev_hash, CASE WHEN h.seq = e.seq THEN h.hash END),"
    " coalesce(after_f.prev_hash, CASE WHEN h.seq = f.seq THEN h.hash END),"
    " c.consumed_by, c.delivered"
)
# CROSS JOIN keeps the written order: which table comes first decides whether an index on arguments is used.
_BEHIND: Final = (
    " CROSS JOIN chain_head h LEFT JOIN events after_e ON after_e.seq = e.seq + 1"
    " LEFT JOIN events f ON f.seq = c.end_seq LEFT JOIN events after_f ON after_f.seq = f.seq + 1"
)
_FROM_CALLS: Final = f"{_SELECT} FROM calls c CROSS JOIN events e{_BEHIND} WHERE e.seq = c.claim_seq AND h.id = 1"
_FROM_EVENTS: Final = f"{_SELECT} FROM events e CROSS JOIN calls c{_BEHIND} WHERE c.claim_seq = e.seq AND h.id = 1"
_HOLDER: Final = f"{_FROM_CALLS} AND c.agent = ? AND c.tool = ? AND c.step_key = ? AND c.key_until IS NULL"
_CALL: Final = f"{_FROM_CALLS} AND c.call_id = ?"
_WHOLE: Final = (
    f"SELECT {_EVENT.format('e')},"  # noqa: S608 - constant names
    " coalesce(after_e.prev_hash, CASE WHEN h.seq = e.seq THEN h.hash END)"
    " FROM events e CROSS JOIN chain_head h LEFT JOIN events after_e ON after_e.seq = e.seq + 1"
    " WHERE e.call_id = ? AND e.kind NOT IN ('call.claimed', 'call.finished') AND e.kind = 'call.recorded' AND h.id = 1"
)
_UNFINISHED: Final = f"{_FROM_CALLS} AND c.end_seq IS NULL ORDER BY c.claim_seq"
_IN_DOUBT: Final = f"{_FROM_CALLS} AND c.status = 'unknown' ORDER BY c.claim_seq"
_LATEST: Final = " AND c.started_ms >= ? ORDER BY c.claim_seq DESC"
_LATEST_EVENT: Final = " AND c.started_ms >= ? ORDER BY e.seq DESC"
_SCOPES: Final = {
    PriorScope.RUN: "c.run_id",
    PriorScope.SESSION: "c.session",
    PriorScope.AGENT: "c.agent",
    PriorScope.USER: "c.on_behalf_of",
}
_TOLD: Final = (
    f"SELECT {EVENT_COLUMNS}, (SELECT prev_hash FROM events after WHERE after.seq = events.seq + 1),"  # noqa: S608 - constant names
    " (SELECT hash FROM chain_head WHERE id = 1 AND chain_head.seq = events.seq) FROM events WHERE seq = ?"
)
_MAX_INT: Final = 2**63 - 1
_KINDS: Final = frozenset(EventKind)


def find_step(db: sqlite3.Connection, lookup: StepLookup, indexed: IndexedSteps) -> Evidence | None:
    """Return what stands behind the latest started step that a lookup asks for."""
    if not lookup.owner:
        return None
    narrowing = [(path, value) for path, value in lookup.values if _is_narrowing(path, value)]
    paths = [path for path, _ in narrowing]
    sql = _step_sql(lookup, paths, indexed=(lookup.tool, indexable(paths)) in indexed)
    found = db.execute(sql, (lookup.owner, *(value for _, value in narrowing), lookup.since_ms))
    # The database compares nearly as JSON does (1 = true, integers beyond 64 bits are rounded): the last word is here.
    evidence = next((e for e in map(_evidence, found) if holds(e.claim, lookup)), None)
    found.close()
    return evidence


def find_holder(db: sqlite3.Connection, agent: str, tool: str, step_key: str) -> Evidence | None:
    """Return what stands behind the call that holds a step key."""
    row = db.execute(_HOLDER, (agent, tool, step_key)).fetchone()
    return None if row is None else _evidence(row)


def find_call(db: sqlite3.Connection, call_id: str) -> Evidence | None:
    """Return what stands behind a claimed call."""
    row = db.execute(_CALL, (call_id,)).fetchone()
    return None if row is None else _evidence(row)


def find_whole(db: sqlite3.Connection, call_id: str) -> tuple[Event, str | None] | None:
    """Return the event of a call that made no claim, and the hash that its successor, or the head, names."""
    row = db.execute(_WHOLE, (call_id,)).fetchone() if call_id else None
    return None if row is None else (event_from(row[:11]), row[11])


def unfinished(db: sqlite3.Connection) -> Iterator[Evidence]:
    """Yield what stands behind every call that never ended, oldest first."""
    return map(_evidence, db.execute(_UNFINISHED))


def find_told(db: sqlite3.Connection, seq: int) -> Told:
    """Return an event, and the hash that what comes after it names."""
    found = db.execute(_TOLD, (seq,)).fetchone()
    return Told(None, None) if found is None else Told(event_from(found[:11]), found[11] or found[12])


def in_doubt(db: sqlite3.Connection) -> Iterator[Evidence]:
    """Yield what stands behind every call whose outcome is not known, oldest first."""
    return map(_evidence, db.execute(_IN_DOUBT))


def indexable(paths: Sequence[str]) -> tuple[str, ...]:
    """Return those argument paths, sorted, that the database can index."""
    return tuple(sorted({path for path in paths if _is_plain(path)}))


def index_sql(tool: str, paths: tuple[str, ...]) -> list[str]:
    """Return the statements that make lookups of `tool` by these `indexable` paths cheap, in every scope."""
    if not paths:
        scopes = ("run_id", "session", "agent", "on_behalf_of")
        return [f"{_named(tool, scope)} ON calls ({scope}) WHERE tool = {_quoted(tool)}" for scope in scopes]
    columns = ", ".join(_extract("body", path) for path in paths)
    return [f"{_named(tool, *paths)} ON events ({columns}) WHERE {_claims_of('', tool)}"]


def index_steps(tx: Transaction, statements: Sequence[str]) -> None:
    """Make indexes that are not there yet."""
    before = tx.db.execute(INDEXES).fetchall()
    for statement in statements:
        tx.db.execute(statement)
    for row in tx.db.execute(INDEXES).fetchall():
        if row not in before:
            tx.resum("sqlite_master", None, row)


def _named(*what: str) -> str:
    name = hashlib.sha256("\n".join(what).encode()).hexdigest()[:24]
    return f"CREATE INDEX IF NOT EXISTS steps_{name}"


def _step_sql(lookup: StepLookup, paths: Sequence[str], *, indexed: bool) -> str:
    # The tool is a literal: the planner proves a partial index's condition from the text alone.
    scope = f" AND {_SCOPES[lookup.scope]} = ? AND c.tool = {_quoted(lookup.tool)}"
    narrowing = "".join(f" AND {_extract('e.body', path)} = ?" for path in paths)
    if indexed and paths:
        return f"{_FROM_EVENTS} AND {_claims_of('e.', lookup.tool)}{scope}{narrowing}{_LATEST_EVENT}"
    return f"{_FROM_CALLS}{scope}{narrowing}{_LATEST}"


def _claims_of(prefix: str, tool: str) -> str:
    return f"{prefix}kind = '{EventKind.CALL_CLAIMED}' AND {prefix}tool = {_quoted(tool)}"


def _extract(column: str, path: str) -> str:
    members = "".join(f'."{name}"' for name in path.split("."))
    return f"json_extract({column}, {_quoted(f'$.arguments{members}')})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _is_narrowing(path: str, value: str | int | float | bool) -> bool:
    if isinstance(value, str):
        return "\0" not in value and _is_plain(path)  # the database's JSON ends a string there
    return (isinstance(value, float) or -_MAX_INT - 1 <= value <= _MAX_INT) and _is_plain(path)


def _is_plain(path: str) -> bool:
    # In a path the database knows no escapes; in a body such names are escaped.
    return path.isprintable() and '"' not in path and "\\" not in path


def _evidence(row: tuple[Any, ...]) -> Evidence:
    end = None if row[11] is None else event_from(row[11:22])
    return Evidence(event_from(row[:11]), row[22], end, row[23], row[24], row[25])


def event_from(row: tuple[Any, ...]) -> Event:
    """Return the event in one row of `EVENT_COLUMNS`. Raises `LedgerTampered` for what no ledger writes."""
    seq, at_ms, kind, *rest = row
    if kind not in _KINDS or type(row[8]) is not str:
        raise broken(seq, "was changed after it was written")
    return Event(seq, at_ms, EventKind(kind), *rest)
