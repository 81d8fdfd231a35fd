"""The audit: the chain from end to end, and every row that indexes or locks a call against the events it stands for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from gateway.model.errors import LedgerTampered
from gateway.model.facts import FactKey, StepStatus
from gateway.store.approval_events import OPENS, check_last
from gateway.store.approvals import ApprovalRow
from gateway.store.bodies import load
from gateway.store.budgets import BudgetCounter, Counters, Settled
from gateway.store.chain import Head, Link, broken, checked
from gateway.store.fact_events import FACT_EVENTS, is_told
from gateway.store.facts import FactRow
from gateway.store.ports import EventKind
from gateway.store.removable import is_cut
from gateway.store.retention_events import first_outside, spans_in
from gateway.store.row_audit import RowAudit, RowTables
from gateway.store.row_events import ROW_EVENTS
from gateway.store.runs import RunStatus

__all__ = ["AuditedTables", "CallRow", "RunRow", "Totals", "audit"]


class CallRow(NamedTuple):
    """The row that indexes and locks one claimed call.

    `key_until` is the event that took the step key away: the ending that released it, or the claim that superseded it.
    `doubted_seq` is the ending that left the call in doubt, where another settled it; `undone_seq` the one it had
    before `end_seq` said that its effect was taken back.
    """

    claim_seq: int
    call_id: str
    run_id: str
    session: str
    agent: str
    on_behalf_of: str
    tool: str
    arguments_digest: str
    step_key: str | None
    started_ms: int
    status: str
    ended_ms: int | None
    end_seq: int | None
    key_until: int | None
    consumed_by: str | None
    doubted_seq: int | None = None
    undone_seq: int | None = None


class RunRow(NamedTuple):
    """The row of one run."""

    opened_seq: int
    id: str
    owner: str
    key: str
    source: str
    status: str
    opened_ms: int


class Totals(NamedTuple):
    """How many rows there are: claimed calls, ended ones among them, runs, approvals, facts."""

    calls: int
    ended: int
    runs: int
    approvals: int
    facts: int


class AuditedTables(RowTables, Protocol):
    """What the audit looks up beside the events it is fed."""

    def call(self, call_id: str) -> CallRow | None:
        """Return a call's row."""
        ...

    def run(self, run_id: str) -> RunRow | None:
        """Return a run's row."""
        ...

    def approval(self, approval_id: str) -> ApprovalRow | None:
        """Return an approval's row."""
        ...

    def fact(self, key: FactKey) -> FactRow | None:
        """Return a fact's row."""
        ...

    def counters(self) -> Iterable[BudgetCounter]:
        """Return every counter of a budget, by key and time."""
        ...

    def totals(self) -> Totals:
        """Count the rows."""
        ...

    def stray(self) -> tuple[int, str] | None:
        """Return the event and id that some row without that event claims to stand for."""
        ...

    def shared_key(self) -> tuple[int, str] | None:
        """Return a claim's event and call id that holds its step key together with another call."""
        ...


def audit(links: Iterable[Link], head: Head, tables: AuditedTables) -> int:
    """Check everything; return the number of events.

    Raises:
        LedgerTampered: naming the first event that does not hold, or whose rows contradict it.
    """
    audited = _Audit(tables)
    seq = 0
    for link in checked(links, head):
        seq = link[0]
        audited.kept(link)
        check = _CHECKS.get(link[2])
        if check is not None:
            check(audited, link)
    audited.conclude()
    return seq


class _Audit:
    """The audit under way: what it remembers are running calls, and what a later event has to explain."""

    def __init__(self, tables: AuditedTables) -> None:
        self._tables = tables
        self._claimed = 0
        self._ended = 0
        self._opened = 0
        self._closed: dict[str, int] = {}  # runs that are open no more according to their rows: their opening
        self._approvals = 0
        self._facts = 0
        self._running: dict[str, CallRow] = {}
        self._doubted: dict[str, CallRow] = {}
        self._undone: dict[str, CallRow] = {}
        self._consuming: dict[str, tuple[int, list[str]]] = {}  # by running call: its claim, the steps it uses up
        self._used: dict[str, tuple[int, str]] = {}  # by step: its claim, who used it up according to its row
        self._gone: list[list[int]] = []  # from and to: the events whose bodies are gone
        self._let_go: list[list[int]] = []  # those of which an event says so
        self._counters = Counters()
        self._counted: dict[str, int] = {}  # by key of a budget: the last event that told of it
        self._superseded: dict[int, CallRow] = {}  # by the claim that took the key: who had it before
        self.rows = RowAudit()

    def kept(self, link: Link) -> None:
        """Take note of a body that is gone: a later event has to say that its time was over."""
        if is_cut(link[10]):
            if self._gone and self._gone[-1][1] == link[0] - 1:
                self._gone[-1][1] = link[0]
            else:
                self._gone.append([link[0], link[0]])

    def removed(self, link: Link) -> None:
        self._let_go += [span for span in spans_in(_loaded(link)) if span[1] < link[0]]

    def claimed(self, link: Link) -> None:
        self.rows.counted(link)
        self._claimed += 1
        terms = _terms(link, "claim")
        told = (link[0], link[3], link[4], terms["session"], *link[5:8], terms["arguments_digest"], terms["step_key"])
        row = self._tables.call(link[3])
        if row is None or row[:10] != (*told, link[1]):
            raise _contradicted(link[0], f"the row of call {link[3]}")
        if row.end_seq is None and (row.status, row[11:14], row[15:]) != (
            StepStatus.EXECUTING,
            (None,) * 3,
            (None,) * 2,
        ):
            raise _contradicted(link[0], f"the status of call {link[3]}, which no event ends,")
        self._running[link[3]] = row
        for key, start_ms, amount in terms.get("charges", ()):
            self._counters.reserve(key, start_ms, amount)
            self._counted[key] = link[0]
        if row.consumed_by is not None:
            self._used[link[3]] = (link[0], row.consumed_by)
        if terms["consumes"]:
            self._consuming[link[3]] = (link[0], terms["consumes"])
        before = self._superseded.pop(link[0], None)
        if before is not None and (before.agent, before.tool, before.step_key) != (row.agent, row.tool, row.step_key):
            raise _contradicted(before.claim_seq, f"the step key of call {before.call_id}")

    def reported(self, link: Link) -> None:
        for key, start_ms, amount in _loaded(link).get("charges", ()):
            self._counters.spend(key, start_ms, amount)
            self._counted[key] = link[0]

    def ended(self, link: Link) -> None:
        self._ended += 1
        terms = _terms(link, "ending")
        self._settle(link, terms)
        row = self._running.pop(link[3], None)
        if row is None:
            raise _contradicted(link[0], f"the record of call {link[3]}, which was not under way")
        if row.doubted_seq == link[0] and terms["status"] == StepStatus.UNKNOWN and not terms["release"]:
            self._doubted[link[3]] = row._replace(doubted_seq=None)
            return
        self._check_last(link, row, terms)

    def settled(self, link: Link) -> None:
        row = self._doubted.pop(link[3], None)
        if row is None:
            raise _contradicted(link[0], f"the record of call {link[3]}, which was not in doubt")
        terms = _terms(link, "ending")
        self._settle(link, terms)
        self._check_last(link, row, terms)

    def compensated(self, link: Link) -> None:
        row = self._undone.pop(link[3], None)
        if row is None:
            raise _contradicted(link[0], f"the record of call {link[3]}, whose effect was not taken back")
        self._check_ended(link, row, _terms(link, "ending"))

    def _settle(self, link: Link, terms: Mapping[str, Any]) -> None:
        for told in terms.get("charges", ()):
            settled = Settled(*told)
            self._counters.settle(settled)
            self._counted[settled.key] = link[0]

    def _check_last(self, link: Link, row: CallRow, terms: Mapping[str, Any]) -> None:
        if row.undone_seq == link[0] and terms["status"] == StepStatus.SUCCEEDED and not terms["release"]:
            self._undone[link[3]] = row._replace(undone_seq=None)
            return
        self._check_ended(link, row, terms)

    def _check_ended(self, link: Link, row: CallRow, terms: Mapping[str, Any]) -> None:
        ended = (row.end_seq, row.ended_ms, row.status, row.doubted_seq, row.undone_seq)
        if ended != (link[0], link[1], terms["status"], None, None):
            raise _contradicted(link[0], f"the status of call {link[3]}")
        if (row.run_id, row.agent, row.on_behalf_of, row.tool) != link[4:8]:
            raise _contradicted(link[0], f"the row of call {link[3]}")
        self._check_key(row, released=terms["release"])
        seq, consumes = self._consuming.pop(link[3], (0, []))
        if not terms["release"]:
            self._check_consumed(seq, link[3], consumes)

    def opened(self, link: Link) -> None:
        self._opened += 1
        try:
            body = load(link[10])
        except ValueError:
            body = {}
        status = body.get("status")
        told = (link[0], link[4], body.get("owner"), body.get("key"), body.get("source"), status, link[1])
        row = self._tables.run(link[4])
        if row is not None and row.status == RunStatus.CANCELLED != status:
            self._closed[link[4]] = link[0]
            row = row._replace(status=str(status))
        if row != told:
            raise _contradicted(link[0], f"the row of run {link[4]}")

    def cancelled(self, link: Link) -> None:
        if self._closed.pop(link[4], None) is None:
            raise _contradicted(link[0], f"the row of run {link[4]}")

    def approval(self, link: Link) -> None:
        """Hold an approval's last event against its row: each event says what the row is from then on."""
        row = self._tables.approval(link[3])
        if row is None or row.last_seq < link[0]:
            raise _contradicted(link[0], f"the row of approval {link[3]}")
        if row.last_seq == link[0]:
            self._approvals += 1
            check_last(row, link[0], _loaded(link))
        if (row.asked_seq == link[0]) is not (link[2] in OPENS):
            raise _contradicted(link[0], f"the row of approval {link[3]}")

    def fact(self, link: Link) -> None:
        """Hold a fact's last event against its row."""
        body = _loaded(link)
        terms = body.get("fact", {})
        key = FactKey(*(terms.get(name, "") for name in FactKey._fields))
        row = self._tables.fact(key)
        if row is None or row.seq < link[0] or (row.seq == link[0] and not is_told(row, body)):
            raise _contradicted(link[0], f"the row of fact {key.name}")
        self._facts += row.seq == link[0]

    def conclude(self) -> None:
        self._check_bodies()
        for row in self._doubted.values():
            raise _contradicted(row.claim_seq, f"the status of call {row.call_id}, which no event settles,")
        for row in self._undone.values():
            raise _contradicted(row.claim_seq, f"the status of call {row.call_id}, which no event takes back,")
        for call_id, (seq, consumes) in self._consuming.items():
            self._check_consumed(seq, call_id, consumes)
        for run, seq in self._closed.items():
            raise _contradicted(seq, f"the status of run {run}, which no event ends,")
        for step, (seq, _) in self._used.items():
            raise _contradicted(seq, f"consumed_by of call {step}")
        for row in self._superseded.values():
            raise _contradicted(row.claim_seq, f"the step key of call {row.call_id}")
        stray = None
        told = (self._claimed, self._ended, self._opened, self._approvals, self._facts)
        if self._tables.totals() != told:
            stray = self._tables.stray()
        if stray is not None:
            raise _contradicted(stray[0], f"the row of {stray[1]}, which no event tells of,")
        self._check_counters()
        shared = self._tables.shared_key()
        if shared is not None:
            raise _contradicted(shared[0], f"the step key of call {shared[1]}, held by another call too,")
        self.rows.conclude(self._tables)

    def _check_bodies(self) -> None:
        missing = first_outside(self._gone, self._let_go)
        if missing:
            raise broken(missing, "has lost its body, which no retention removed")

    def _check_counters(self) -> None:
        told, kept = set(self._counters.all()), set(self._tables.counters())
        for counter in sorted(told ^ kept):
            seq = self._counted.get(counter.key, 1)
            raise _contradicted(seq, f"the counter of budget {counter.key}")

    def _check_consumed(self, seq: int, call_id: str, consumes: list[str]) -> None:
        for step in consumes:
            used_at, user = self._used.pop(step, (seq, ""))
            if user != call_id:
                raise _contradicted(used_at, f"consumed_by of call {step}")

    def _check_key(self, row: CallRow, *, released: bool) -> None:
        if released:
            rightly = row.key_until == (None if row.step_key is None else row.end_seq)
        else:
            rightly = row.key_until is None or row.status == StepStatus.FAILED
            if row.key_until is not None:
                self._superseded[row.key_until] = row
        if not rightly:
            raise _contradicted(row.claim_seq, f"the step key of call {row.call_id}")


_CHECKS: Final[Mapping[str, Callable[[_Audit, Link], None]]] = {
    EventKind.CALL_CLAIMED: _Audit.claimed,
    EventKind.CALL_FINISHED: _Audit.ended,
    EventKind.CALL_SETTLED: _Audit.settled,
    EventKind.CALL_COMPENSATED: _Audit.compensated,
    EventKind.RUN_OPENED: _Audit.opened,
    EventKind.RUN_CANCELLED: _Audit.cancelled,
    EventKind.BODIES_REMOVED: _Audit.removed,
    EventKind.USAGE_REPORTED: _Audit.reported,
    EventKind.CALL_RECORDED: lambda audited, link: audited.rows.counted(link),
    EventKind.ADMIN: lambda audited, link: audited.rows.decreed(link),
    EventKind.HEAD_SIGNED: lambda audited, link: audited.rows.stated(link),
    EventKind.ROWS_ADOPTED: lambda audited, link: audited.rows.adopted(link),
    **dict.fromkeys(ROW_EVENTS, lambda audited, link: audited.rows.told(link)),
    **dict.fromkeys(FACT_EVENTS, _Audit.fact),
    **{kind: _Audit.approval for kind in EventKind if kind.startswith(("approval.", "standing."))},
}

_TERMS: Final[Mapping[str, frozenset[str]]] = {
    "claim": frozenset({"session", "step_key", "arguments_digest", "consumes"}),
    "ending": frozenset({"status", "release"}),
}


def _terms(link: Link, member: str) -> dict[str, Any]:
    try:
        terms = load(link[10]).get(member)
    except ValueError:
        terms = None
    if type(terms) is not dict or not _TERMS[member] <= terms.keys():
        raise _contradicted(link[0], f"a body without `{member}`")
    return terms


def _loaded(link: Link) -> dict[str, Any]:
    try:
        return load(link[10])
    except ValueError:
        return {}


def _contradicted(seq: int, what: str) -> LedgerTampered:
    return broken(seq, f"is contradicted by {what}".rstrip(","))
