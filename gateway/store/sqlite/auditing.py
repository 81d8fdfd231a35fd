"""The audit of a SQLite ledger: one streaming pass over one snapshot."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.model.facts import FactKey
from gateway.store.approvals import ApprovalRow
from gateway.store.audit import CallRow, RunRow, Totals, audit
from gateway.store.budgets import BudgetCounter
from gateway.store.chain import Link, broken
from gateway.store.facts import FactRow
from gateway.store.sqlite.approvals import row_of
from gateway.store.sqlite.budgets import find_counters
from gateway.store.sqlite.facts import find_fact_row
from gateway.store.sqlite.schema import check_indexes, check_schema, check_values
from gateway.store.sqlite.sharing import check_shares, whole
from gateway.store.sqlite.summing import Sums
from gateway.store.sqlite.telling import told_rows
from gateway.store.sqlite.transaction import read_head
from gateway.store.told_rows import TableRow

__all__ = ["audit_ledger", "prepare_audit"]

# As bytes, the body is hashed without decoding it first.
_LINKS: Final = (
    "SELECT seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, prev_hash, hash,"  # noqa: S608 - constant names
    f" CAST({whole('events')} AS BLOB), shared FROM events ORDER BY seq"
)
_CALL: Final = (
    "SELECT claim_seq, call_id, run_id, session, agent, on_behalf_of, tool, arguments_digest, step_key, started_ms,"
    " status, ended_ms, end_seq, key_until, consumed_by, doubted_seq, undone_seq FROM calls WHERE call_id = ?"
)
_RUN: Final = "SELECT opened_seq, id, owner, key, source, status, opened_ms FROM runs WHERE id = ?"
_TOTALS: Final = (
    "SELECT (SELECT count(*) FROM calls), (SELECT count(end_seq) FROM calls), (SELECT count(*) FROM runs),"
    " (SELECT count(*) FROM approvals), (SELECT count(*) FROM facts)"
)
_STRAYS: Final = (
    "SELECT c.claim_seq, c.call_id FROM calls c LEFT JOIN events e ON e.seq = c.claim_seq AND e.call_id = c.call_id"
    " AND e.kind = 'call.claimed' WHERE e.seq IS NULL ORDER BY c.claim_seq LIMIT 1",
    "SELECT c.claim_seq, c.call_id FROM calls c LEFT JOIN events e ON e.seq = c.end_seq AND e.call_id = c.call_id"
    " AND e.kind IN ('call.finished', 'call.settled', 'call.compensated') WHERE c.end_seq IS NOT NULL AND e.seq IS NULL"
    " ORDER BY c.claim_seq LIMIT 1",
    "SELECT r.opened_seq, r.id FROM runs r LEFT JOIN events e ON e.seq = r.opened_seq AND e.run_id = r.id"
    " AND e.kind = 'run.opened' WHERE e.seq IS NULL ORDER BY r.opened_seq LIMIT 1",
    "SELECT a.asked_seq, a.id FROM approvals a LEFT JOIN events e ON e.seq = a.last_seq AND e.call_id = a.id"
    " WHERE e.seq IS NULL ORDER BY a.asked_seq LIMIT 1",
    "SELECT f.seq, 'fact ' || f.name FROM facts f LEFT JOIN events e ON e.seq = f.seq AND e.kind IN"
    " ('fact.put', 'fact.deleted') AND json_extract(e.body, '$.fact.scope') = f.scope AND"
    " json_extract(e.body, '$.fact.owner') = f.owner AND json_extract(e.body, '$.fact.name') = f.name"
    " WHERE e.seq IS NULL ORDER BY f.seq LIMIT 1",
)
_NO_TEXT: Final = "SELECT seq FROM events WHERE typeof(body) <> 'text' ORDER BY seq LIMIT 1"
_SHARED_KEY: Final = (
    "SELECT max(claim_seq), max(call_id) FROM calls WHERE step_key IS NOT NULL AND key_until IS NULL"
    " GROUP BY agent, tool, step_key HAVING count(*) > 1 LIMIT 1"
)


def prepare_audit(db: sqlite3.Connection) -> None:
    """Make a connection fit for the audit: it writes nothing."""
    db.execute("PRAGMA query_only = ON")


def audit_ledger(db: sqlite3.Connection, sums: Sums) -> int:
    """Check the whole ledger; return the number of events.

    Raises:
        LedgerTampered: as `RowsChanged` only where everything holds but the sums.
    """
    try:
        return _audit(db, sums)
    except sqlite3.OperationalError:  # perhaps text that is not UTF-8: read so that it can be named, but slower
        check_schema(db)  # or a table that is gone
        db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return _audit(db, sums)


def _audit(db: sqlite3.Connection, sums: Sums) -> int:
    db.execute("BEGIN")
    try:
        check_values(db)
        named: Counter[int] = Counter()
        events = audit(_all_links(db, named), read_head(db), _Tables(db))
        check_shares(db, named)
        for (seq,) in db.execute(_NO_TEXT):
            raise broken(seq, "has a body that is no text")
        check_schema(db)
        check_indexes(db)
        sums.check(db)
        return events
    finally:
        db.execute("ROLLBACK")


def _all_links(db: sqlite3.Connection, named: Counter[int]) -> Iterator[Link]:
    """Yield every link, and count how many name each share."""
    for *link, share in db.execute(_LINKS):
        if share is not None:
            named[share] += 1
        yield tuple(link)


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables, as the audit asks for them."""

    db: sqlite3.Connection

    def call(self, call_id: str) -> CallRow | None:
        row = self._one(_CALL, call_id)
        return None if row is None else CallRow._make(row)

    def run(self, run_id: str) -> RunRow | None:
        row = self._one(_RUN, run_id)
        return None if row is None else RunRow._make(row)

    def approval(self, approval_id: str) -> ApprovalRow | None:
        return row_of(self.db, approval_id)

    def fact(self, key: FactKey) -> FactRow | None:
        return find_fact_row(self.db, key)

    def counters(self) -> list[BudgetCounter]:
        return find_counters(self.db, None)

    def totals(self) -> Totals:
        return Totals._make(self.db.execute(_TOTALS).fetchone())

    def rows(self) -> Iterator[TableRow]:
        return told_rows(self.db)

    def steps(self) -> dict[str, int]:
        return dict(self.db.execute("SELECT run_id, steps FROM run_steps"))

    def stray(self) -> tuple[int, str] | None:
        found = [row for row in map(self._one, _STRAYS) if row is not None]
        return min(found, default=None)

    def shared_key(self) -> tuple[int, str] | None:
        row: tuple[int, str] | None = self._one(_SHARED_KEY)
        return row

    def _one(self, sql: str, *parameters: Any) -> Any:
        return self.db.execute(sql, parameters).fetchone()
