"""A store in memory: the same promises as any other, for as long as the process lives."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.model.bill import Charge
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault, UnwritableError
from gateway.model.facts import FactKey, PriorScope, RunRef, Step, StepStatus
from gateway.store.approvals import Answered, ApprovalAsk, ApprovalChange, ApprovalFilter, ApprovalRow, ApprovalTrail
from gateway.store.audit import CallRow, RunRow, Totals, audit
from gateway.store.bodies import charged, claim_body, compensated_body, ending_body, record_body, relied_on
from gateway.store.budgets import BudgetCounter, Counters
from gateway.store.chain import GENESIS, link_of, told_in
from gateway.store.evidence import Evidence, holds, recorded_from, recorded_whole, step_from
from gateway.store.facts import Fact, FactAnswer, FactPut, FactRow
from gateway.store.importing import (
    begins_of,
    begins_of_fork,
    ending_of,
    intent_of,
    provenance_of,
    provenance_of_beginning,
    provenance_of_fork,
    record_of,
    start_in,
    unrecorded,
)
from gateway.store.imports import ForkedRun, ImportedCall, ImportedRun
from gateway.store.memory_approvals import Shelf
from gateway.store.memory_delegations import MemoryDelegations
from gateway.store.memory_facts import Board
from gateway.store.memory_retention import Remover
from gateway.store.memory_runs import HeldRun, RunShelf
from gateway.store.memory_sessions import MemorySessions
from gateway.store.memory_spending import MemorySpending
from gateway.store.memory_taints import Taints
from gateway.store.memory_tasks import MemoryTasks
from gateway.store.memory_tokens import MemoryPauses, MemoryTokens
from gateway.store.ports import (
    Claimed,
    ClaimVerdict,
    Ending,
    Event,
    EventFilter,
    EventKind,
    Intent,
    Record,
    Recorded,
    StepLookup,
)
from gateway.store.retention import Removal, Removed
from gateway.store.row_events import begun
from gateway.store.runs import Attempt, AttemptBegin, Placed, RunCancel, RunChange, RunSummary
from gateway.store.taints import Clearing, Taint
from gateway.store.tasks import TaskRecord
from gateway.store.told_rows import TableRow, pause_row, spent_row, task_row, token_row

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Call:
    """A claimed call: its events, and what later calls made of it."""

    intent: Intent
    claim: Event
    end: Event | None = None
    status: StepStatus = StepStatus.EXECUTING
    key_until: int | None = None
    consumed_by: str | None = None
    delivered: int = 0
    doubted_seq: int | None = None
    undone_seq: int | None = None


class MemoryStore(MemoryDelegations, MemorySessions, MemorySpending, MemoryTasks, MemoryTokens, MemoryPauses):
    """Every port, in dictionaries. Nothing awaits between reading and writing, so each method is one transaction."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        del clock  # every adapter is built alike; memory stamps nothing by itself
        self._calls: dict[str, _Call] = {}
        self._keys: dict[tuple[str, str, str], str] = {}
        self._steps: dict[str, list[str]] = {}
        self._runs = RunShelf(self._events, self._append, self._doubtful)
        self._shelf = Shelf(self._events, self._append)
        self._taints = Taints(self._events, self._append)
        self._board = Board(self._events, self._append)
        self._remover = Remover(self._events, self._calls, self._shelf.rows, self._append)

    async def open(self) -> None:
        """Do nothing: memory is always open."""

    def trouble(self) -> str:
        return ""

    async def close(self) -> None:
        """Do nothing: what was written stays readable until the store itself goes."""

    async def claim(self, intent: Intent) -> Claimed:
        body = claim_body(intent).whole()
        superseded = self._holder(intent.agent, intent.tool, intent.step_key)
        if superseded is not None:
            if superseded.intent.arguments_digest != intent.arguments_digest:
                return Claimed(ClaimVerdict.CONFLICT, recorded_from(self._evidence(superseded)))
            if superseded.status is not StepStatus.FAILED:
                return Claimed(ClaimVerdict.RECORDED, recorded_from(self._evidence(superseded)))
        refusal = self._stale_or_consumed(intent) or self._short(intent)
        if refusal is not None:
            return refusal
        self._write_claim(intent, superseded, body)
        return Claimed(ClaimVerdict.CLAIMED)

    def _write_claim(self, intent: Intent, superseded: _Call | None, body: bytes) -> None:
        if intent.call_id in self._calls:
            raise StoreFault("The call cannot be recorded.", detail=f"{intent.call_id} was claimed before")
        told = (intent.at_ms, EventKind.CALL_CLAIMED, intent.call_id, intent.run_id)
        claim = self._append((*told, intent.agent, intent.on_behalf_of, intent.tool), body)
        if superseded is not None:
            superseded.key_until = claim.seq
        self._calls[intent.call_id] = _Call(intent, claim)
        self._steps.setdefault(intent.tool, []).append(intent.call_id)
        self._runs.steps[intent.run_id] += 1
        if intent.step_key is not None:
            self._keys[intent.agent, intent.tool, intent.step_key] = intent.call_id
        self._use(intent)

    def _use(self, intent: Intent) -> None:
        for use in intent.uses:
            if use.consume:
                self._calls[use.call_id].consumed_by = intent.call_id
        for charge in intent.charges:
            self._counters.reserve(charge.key, charge.start_ms, charge.amount)
        self._shelf.use(intent)

    async def finish(self, ending: Ending) -> None:
        call = self._calls.get(ending.call_id)
        if call is None or call.end is not None:
            reason = "was never claimed" if call is None else "has ended already"
            raise UnwritableError("The outcome cannot be recorded.", detail=f"{ending.call_id} {reason}")
        self._end(call, ending, EventKind.CALL_FINISHED)

    async def settle(self, ending: Ending) -> None:
        call = self._calls.get(ending.call_id)
        if call is None or call.status is not StepStatus.UNKNOWN or call.end is None:
            raise UnwritableError("Nothing was settled.", detail=f"{ending.call_id} is no call in doubt")
        doubted = call.end.seq
        self._end(call, ending, EventKind.CALL_SETTLED)
        call.doubted_seq = doubted

    def _end(self, call: _Call, ending: Ending, kind: EventKind) -> None:
        call.end = self._ended(call.claim, ending, kind, ending_body(ending))
        call.status = ending.status
        for settled in ending.charges:
            self._counters.settle(settled)
        self._taints.mark(call.end, ending.taint)
        if ending.release:
            self._release(call, call.end.seq)
            for returned in ending.returns:
                self._shelf.give_back(returned, ending.call_id, ending.at_ms)
        undone = self._calls.get(ending.compensates) if ending.status is StepStatus.SUCCEEDED else None
        if undone is not None and undone.end is not None and undone.status is StepStatus.SUCCEEDED:
            undone.undone_seq = undone.end.seq
            undone.end = self._ended(undone.claim, ending, EventKind.CALL_COMPENSATED, compensated_body(ending))
            undone.status = StepStatus.COMPENSATED

    def _ended(self, claim: Event, ending: Ending, kind: EventKind, body: bytes) -> Event:
        told = (ending.at_ms, kind, claim.call_id, claim.run_id, claim.agent, claim.on_behalf_of, claim.tool)
        return self._append(told, body)

    async def report_usage(self, record: Record, charges: Sequence[Charge]) -> None:
        self._put(charged(record, charges))
        for charge in charges:
            self._counters.spend(charge.key, charge.start_ms, charge.amount)

    async def begin_task(self, task: TaskRecord, record: Record) -> None:
        self._begin(task)
        self._put(begun(task, record))

    async def record_once(self, record: Record, item: str, until_ms: int) -> bool:
        record_body(record)  # what cannot be written uses nothing up
        fresh = await self.spend(item, until_ms, record.at_ms)
        if fresh:
            self._put(record)
        return fresh

    async def record(self, record: Record, *, durable: bool = True) -> None:
        del durable  # memory keeps everything equally well
        self._put(record)

    async def record_later(self, record: Record) -> None:
        self._put(record)

    def _put(self, record: Record) -> None:
        told = (record.at_ms, record.kind, record.call_id, record.run_id)
        event = self._append((*told, record.agent, record.on_behalf_of, record.tool), record_body(record).whole())
        self._taints.mark(event, record.taint)
        if record.kind is EventKind.CALL_RECORDED:
            self._runs.steps[record.run_id] += 1

    async def steps(self, lookups: Sequence[StepLookup]) -> list[Step | None]:
        found = [self._find(lookup) for lookup in lookups]
        return [None if call is None else step_from(self._evidence(call)) for call in found]

    async def recorded(self, agent: str, tool: str, step_key: str) -> Recorded | None:
        call = self._holder(agent, tool, step_key)
        return None if call is None else recorded_from(self._evidence(call))

    async def deliver(self, call_id: str, attempt: int = 1) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.delivered = max(call.delivered, attempt)

    async def made(self, call_id: str) -> Recorded | None:
        call = self._calls.get(call_id)
        if call is not None:
            return recorded_from(self._evidence(call))
        found = (e for e in self._events if (e.call_id, e.kind) == (call_id, EventKind.CALL_RECORDED))
        event = next(found, None) if call_id else None
        return None if event is None else recorded_whole(event, self._after(event))

    async def unfinished(self) -> list[Recorded]:
        return [recorded_from(self._evidence(call)) for call in self._calls.values() if call.end is None]

    async def in_doubt(self) -> list[Recorded]:
        doubtful = [call for call in self._calls.values() if call.status is StepStatus.UNKNOWN]
        return [recorded_from(self._evidence(call)) for call in doubtful]

    async def index_steps(self, tool: str, paths: tuple[str, ...]) -> None:
        """Do nothing: the lists in memory are short-lived."""

    async def events(self, wanted: EventFilter) -> AsyncIterator[Event]:
        found = [event for event in self._events if _wanted(event, wanted)]
        for event in found[max(0, len(found) - wanted.limit) :] if wanted.latest else found[: wanted.limit]:
            yield event

    async def verify(self) -> int:
        head = (self._events[-1].seq, self._events[-1].hash) if self._events else (0, GENESIS)
        rows = list(self._told_rows())
        calls, runs, approvals, facts = self._calls, self._runs, self._shelf.rows, self._board.rows
        tables = _Tables(self._events, calls, runs.held, approvals, self._counters, facts, rows, runs.steps)
        return audit(map(link_of, self._events), head, tables)

    def _told_rows(self) -> Iterator[TableRow]:
        yield from map(token_row, self._tokens.values())
        yield from map(spent_row, self._spent.keys(), self._spent.values())
        yield from map(task_row, self._tasks.values())
        yield from self._runs.places.values()
        yield from map(pause_row, self._pauses.values())

    async def open_run(self, run: RunRef, key: str, at_ms: int) -> RunRef:
        return self._runs.open(run, key, at_ms)

    async def find_run(self, run_id: str) -> RunRef | None:
        return self._runs.find(run_id)

    async def named_run(self, owner: str, key: str) -> RunRef | None:
        return self._runs.named(owner, key)

    async def count_steps(self, run_id: str) -> int:
        return self._runs.steps[run_id]

    async def runs(self, owner: str, limit: int) -> list[RunSummary]:
        return self._runs.listed(owner, limit)

    async def begin_attempt(self, begin: AttemptBegin) -> Attempt:
        return self._runs.begin(begin)

    async def attempt(self, run_id: str, who: str) -> Attempt:
        return self._runs.attempt(run_id, who)

    async def cancel_run(self, cancel: RunCancel) -> bool:
        return self._runs.cancel(cancel)

    async def run_changes(self, after_seq: int) -> list[RunChange]:
        return self._runs.changes(after_seq)

    async def place_run(self, owner: str, place: str, run_id: str, at_ms: int) -> None:
        self._runs.place(owner, place, run_id, at_ms)

    async def placed_runs(self, owner: str, places: tuple[str, ...]) -> Mapping[str, Placed]:
        return self._runs.placed(owner, places)

    def _doubtful(self, run_id: str) -> int:
        calls = self._calls.values()
        return sum(call.intent.run_id == run_id and call.status is StepStatus.UNKNOWN for call in calls)

    def _holder(self, agent: str, tool: str, step_key: str | None) -> _Call | None:
        held = None if step_key is None else self._keys.get((agent, tool, step_key))
        return None if held is None else self._calls[held]

    def _release(self, call: _Call, seq: int) -> None:
        intent = call.intent
        if intent.step_key is not None:
            del self._keys[intent.agent, intent.tool, intent.step_key]
            call.key_until = seq
        for use in intent.uses:
            if use.consume:
                self._calls[use.call_id].consumed_by = None

    def _stale_or_consumed(self, intent: Intent) -> Claimed | None:
        for use in intent.uses:
            found = self._find(use.lookup)
            if found is None or (found.intent.call_id, found.status) != (use.call_id, use.status):
                return Claimed(ClaimVerdict.STALE)
            if use.consume and found.consumed_by is not None:
                return Claimed(ClaimVerdict.CONSUMED, call_id=found.consumed_by)
        usable = all(self._shelf.is_usable(use, intent.at_ms) for use in relied_on(intent))
        is_so = usable and self._board.are_held(intent.facts, intent.at_ms)
        return None if is_so else Claimed(ClaimVerdict.STALE)

    def _short(self, intent: Intent) -> Claimed | None:
        short = self._counters.short(intent.charges)
        return Claimed(ClaimVerdict.SHORT, short=short) if short else None

    async def ask_approval(self, ask: ApprovalAsk) -> Answered:
        return self._shelf.ask(ask)

    async def change_approval(self, change: ApprovalChange, opens: ApprovalAsk | None = None) -> bool:
        return self._shelf.change(change, opens)

    async def held_approval(self, binding: str, at_ms: int) -> ApprovalTrail | None:
        return self._shelf.held(binding, at_ms)

    async def find_approval(self, approval_id: str) -> ApprovalTrail | None:
        return self._shelf.find(approval_id)

    async def list_approvals(self, wanted: ApprovalFilter) -> list[ApprovalTrail]:
        return self._shelf.list_all(wanted)

    async def taint(self, run_id: str, agent: str, on_behalf_of: str) -> Taint:
        return self._taints.find(run_id, agent, on_behalf_of)

    async def clear_taint(self, clearing: Clearing) -> bool:
        return self._taints.clear(clearing)

    async def import_run(self, imported: ImportedRun) -> None:
        self._runs.check_new(imported.run, imported.key)
        first, until_seq = unrecorded(imported, lambda call_id: start_in(self._events, call_id), self._held_by)
        self._runs.open(imported.run, imported.key, imported.opened_ms)
        self._append(*provenance_of(imported))
        for call in first:
            until_seq = max(until_seq, self._import(call, imported.source))
        if imported.begins is not None:
            self._append(*provenance_of_beginning(imported, imported.begins, until_seq))
        for call in imported.calls:
            self._import(call, imported.run.id)
        for begin in begins_of(imported):
            self._runs.begin(begin)

    def _import(self, call: ImportedCall, run_id: str) -> int:
        seq = len(self._events) + 1
        if not call.claimed:
            self._put(record_of(call, run_id))
            return seq
        intent = intent_of(call, run_id)
        self._write_claim(intent, None, claim_body(intent).whole())
        self._end(self._calls[call.call_id], ending_of(call), EventKind.CALL_FINISHED)
        return seq

    async def fork_run(self, forked: ForkedRun) -> None:
        self._runs.open(forked.run, forked.key, forked.at_ms)
        for told, body in provenance_of_fork(forked):
            self._append(told, body)
        for begin in begins_of_fork(forked):
            self._runs.begin(begin)

    def _held_by(self, call: ImportedCall) -> str | None:
        held = self._holder(call.agent, call.tool, call.step_key)
        return None if held is None else held.intent.call_id

    async def put_fact(self, put: FactPut) -> FactAnswer:
        return self._board.put(put)

    async def find_facts(self, keys: Sequence[FactKey], at_ms: int) -> list[Fact | None]:
        return [self._board.find(key, at_ms) for key in keys]

    async def list_facts(self, scope: str, owner: str, at_ms: int, limit: int = 1000) -> list[Fact]:
        return self._board.list_all(scope, owner, at_ms)[:limit]

    async def remove_bodies(self, removal: Removal) -> Removed:
        return self._remover.remove(removal)

    def _find(self, lookup: StepLookup) -> _Call | None:
        if not lookup.owner:
            return None
        for call_id in reversed(self._steps.get(lookup.tool, [])):
            call = self._calls[call_id]
            if call.intent.at_ms < lookup.since_ms or _owner(call.intent, lookup.scope) != lookup.owner:
                continue
            if holds(call.claim, lookup):
                return call
        return None

    def _evidence(self, call: _Call) -> Evidence:
        after_end = None if call.end is None else self._after(call.end)
        return Evidence(call.claim, self._after(call.claim), call.end, after_end, call.consumed_by, call.delivered)

    def _after(self, event: Event) -> str:
        return told_in(self._events, event.seq).following or ""


def _owner(intent: Intent, scope: PriorScope) -> str:
    owners = {PriorScope.RUN: intent.run_id, PriorScope.SESSION: intent.session, PriorScope.AGENT: intent.agent}
    return owners.get(scope, intent.on_behalf_of)


def _wanted(event: Event, wanted: EventFilter) -> bool:
    if event.seq <= wanted.after_seq or event.at_ms < wanted.since_ms:
        return False
    if wanted.until_ms and event.at_ms >= wanted.until_ms:
        return False
    if wanted.tool.endswith("*"):
        if not event.tool.startswith(wanted.tool[:-1]):
            return False
    elif wanted.tool not in {"", event.tool}:
        return False
    return (
        wanted.call_id in {"", event.call_id}
        and wanted.run_id in {"", event.run_id}
        and wanted.agent in {"", event.agent}
        and wanted.kind in {None, event.kind}
    )


@dataclass(frozen=True, slots=True)
class _Tables:
    """The dictionaries, as the audit asks for them."""

    events: Sequence[Event]
    calls: dict[str, _Call]
    runs: dict[str, HeldRun]
    approvals: dict[str, ApprovalRow]
    kept: Counters
    facts: Mapping[FactKey, FactRow]
    told: Sequence[TableRow]
    counted: Mapping[str, int]

    def rows(self) -> Sequence[TableRow]:
        return self.told

    def steps(self) -> Mapping[str, int]:
        return {run: steps for run, steps in self.counted.items() if steps}

    def call(self, call_id: str) -> CallRow | None:
        call = self.calls.get(call_id)
        if call is None:
            return None
        intent, end = call.intent, call.end
        return CallRow(
            claim_seq=call.claim.seq,
            call_id=intent.call_id,
            run_id=intent.run_id,
            session=intent.session,
            agent=intent.agent,
            on_behalf_of=intent.on_behalf_of,
            tool=intent.tool,
            arguments_digest=intent.arguments_digest,
            step_key=intent.step_key,
            started_ms=intent.at_ms,
            status=call.status,
            ended_ms=None if end is None else end.at_ms,
            end_seq=None if end is None else end.seq,
            key_until=call.key_until,
            consumed_by=call.consumed_by,
            doubted_seq=call.doubted_seq,
            undone_seq=call.undone_seq,
        )

    def run(self, run_id: str) -> RunRow | None:
        run = self.runs.get(run_id)
        if run is None:
            return None
        ref = run.ref
        return RunRow(run.opened.seq, ref.id, ref.owner, run.key, ref.source, ref.status, run.opened.at_ms)

    def approval(self, approval_id: str) -> ApprovalRow | None:
        return self.approvals.get(approval_id)

    def fact(self, key: FactKey) -> FactRow | None:
        return self.facts.get(key)

    def counters(self) -> Iterator[BudgetCounter]:
        return self.kept.all()

    def totals(self) -> Totals:
        ended = sum(call.end is not None for call in self.calls.values())
        return Totals(len(self.calls), ended, len(self.runs), len(self.approvals), len(self.facts))

    def stray(self) -> tuple[int, str] | None:
        stray = [(c.claim.seq, i) for i, c in self.calls.items() if c.claim not in self.events]
        stray += [(row.last_seq, i) for i, row in self.approvals.items() if row.last_seq > len(self.events)]
        stray += [(row.seq, f"fact {row.name}") for row in self.facts.values() if row.seq > len(self.events)]
        return stray[0] if stray else None

    def shared_key(self) -> tuple[int, str] | None:
        del self  # a dictionary has each key once
        return None
