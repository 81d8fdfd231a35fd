"""The SQLite store: one writer, one reader, each a connection with its own thread."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.model.bill import Charge
from gateway.model.clock import Clock
from gateway.model.facts import FactKey, RunRef, Step
from gateway.store.approvals import Answered, ApprovalAsk, ApprovalChange, ApprovalFilter, ApprovalTrail
from gateway.store.bodies import claim_body, ending_body, record_body
from gateway.store.budgets import BudgetCounter
from gateway.store.delegations import Delegation, DelegationChange, DelegationEnd
from gateway.store.evidence import recorded_from, step_from
from gateway.store.facts import Fact, FactAnswer, FactPut
from gateway.store.imports import ForkedRun, ImportedRun
from gateway.store.ports import (
    Claimed,
    ClaimVerdict,
    Ending,
    Event,
    EventFilter,
    EventKind,
    Intent,
    PauseRecord,
    Record,
    Recorded,
    SessionRecord,
    StepLookup,
    TokenRecord,
)
from gateway.store.retention import Removal, Removed
from gateway.store.row_events import begun
from gateway.store.runs import Attempt, AttemptBegin, Placed, RunCancel, RunChange, RunSummary
from gateway.store.sightings import AgentSighting
from gateway.store.sqlite import (
    approvals,
    budgets,
    delegations,
    facts,
    imports,
    pauses,
    reading,
    retention,
    runs,
    sessions,
    spending,
    taints,
    tasks,
    tokens,
    transitions,
)
from gateway.store.sqlite.auditing import audit_ledger, prepare_audit
from gateway.store.sqlite.connection import Connection
from gateway.store.sqlite.delivering import Delivering
from gateway.store.sqlite.journal import use_wal
from gateway.store.sqlite.lookups import IndexedSteps, index_sql, index_steps, indexable
from gateway.store.sqlite.migrate import migrate
from gateway.store.sqlite.patience import LOCK_PATIENCE_S
from gateway.store.sqlite.summing import Sums
from gateway.store.sqlite.transaction import Transaction
from gateway.store.sqlite.writer import Writer
from gateway.store.taints import Clearing, Taint
from gateway.store.tasks import TaskRecord

__all__ = ["SqliteStore"]

_PAGE: Final = 500
_BRIEF: Final = 32 * 1024
_RECORDED: Final = EventKind.CALL_RECORDED
_CLAIMED: Final = Claimed(ClaimVerdict.CLAIMED)


class SqliteStore:
    """Every port, in one SQLite file (mode 0600) that several processes may use at once.

    What a method acknowledged is on the disk, but for `record(durable=False)`, `deliver` and `saw_agents`. After a
    fault of the database the next call connects anew. While another process has the file locked, a call waits for it
    `patience_s` at most, then it is a `StoreFault` whose detail names the process. With the `key` it marks answers that
    were delivered, and believes only its own marks; with it, it also sums the rows of which no event tells.
    """

    def __init__(self, path: str | Path, clock: Clock, patience_s: float = LOCK_PATIENCE_S, key: bytes = b"") -> None:
        self._clock = clock
        self._path = Path(path)
        self._patience_s = patience_s
        self._write_to = Connection(self._path, self._prepare_writer, create=True, patience_s=patience_s)
        self._read_from = Connection(self._path, _prepare_reader, patience_s=patience_s)
        self._delivering = Delivering(key)
        self._sums = Sums(key)
        self._writer = Writer(self._write_to, self._delivering, self._sums)
        self._indexed: IndexedSteps = frozenset()
        self._claimed: dict[str, transitions.Told] = {}  # what is claimed here and has not ended

    async def open(self) -> None:
        await self._write_to.run(_is_there)
        await self._read_from.run(_is_there)

    async def close(self) -> None:
        try:
            await self._writer.flush()
        finally:
            self._writer.rest()
            await self._write_to.close()
            await self._read_from.close()

    def trouble(self) -> str:
        return self._writer.trouble

    async def claim(self, intent: Intent) -> Claimed:
        body = claim_body(intent)
        transition = partial(transitions.claim, intent, body, self._indexed)
        claimed: Claimed | int = await self._writer.write(transition, revocable=True)
        if isinstance(claimed, int):
            self._claimed[intent.call_id] = (claimed, intent.run_id, intent.agent, intent.on_behalf_of, intent.tool)
            return _CLAIMED
        if claimed.recorded is None:
            return claimed
        return replace(claimed, recorded=self._delivering.of(claimed.recorded))

    def finish(self, ending: Ending) -> Awaitable[None]:
        body, claimed = ending_body(ending), self._claimed.pop(ending.call_id, None)
        return self._writer.write(partial(transitions.finish, ending, body, claimed))

    async def settle(self, ending: Ending) -> None:
        await self._writer.write(partial(transitions.settle, ending=ending, body=ending_body(ending)))
        self._claimed.pop(ending.call_id, None)

    def record(self, record: Record, *, durable: bool = True) -> Awaitable[None]:
        body = record_body(record)
        transition = partial(transitions.record, record, body)
        if durable or record.taint:  # what it carries has to outlive the machine, as the agent's memory of it may
            if not record.taint and record.kind is _RECORDED and len(body.own) <= _BRIEF:
                return self._writer.write_brief(transition)
            return self._writer.write(transition, synced=bool(record.taint))
        return self._writer.write_lazily(transition)

    async def record_later(self, record: Record) -> None:
        self._writer.write_later(partial(transitions.record, record, record_body(record)))

    async def steps(self, lookups: Sequence[StepLookup]) -> list[Step | None]:
        if not lookups:
            return []
        found = await self._read_from.run(reading.find_steps, lookups, self._indexed)
        return [None if evidence is None else step_from(evidence) for evidence in found]

    async def recorded(self, agent: str, tool: str, step_key: str) -> Recorded | None:
        async def read() -> Recorded | None:
            found = await self._read_from.run(reading.find_recorded, agent, tool, step_key)
            return None if found is None else recorded_from(found)

        return await self._delivering.reading(read)

    async def deliver(self, call_id: str, attempt: int = 1) -> None:
        self._delivering.note(call_id, attempt)
        self._writer.linger()

    async def made(self, call_id: str) -> Recorded | None:
        await self._writer.flush()  # a read may have been recorded lazily
        return await self._delivering.reading(lambda: self._read_from.run(reading.find_made, call_id))

    async def unfinished(self) -> list[Recorded]:
        return [recorded_from(evidence) for evidence in await self._read_from.run(reading.find_unfinished)]

    async def in_doubt(self) -> list[Recorded]:
        return [recorded_from(evidence) for evidence in await self._read_from.run(reading.find_in_doubt)]

    async def index_steps(self, tool: str, paths: tuple[str, ...]) -> None:
        plain = indexable(paths)
        if plain or not paths:
            await self._writer.write(partial(index_steps, statements=index_sql(tool, plain)))
            self._indexed |= {(tool, plain)}

    async def events(self, wanted: EventFilter) -> AsyncIterator[Event]:
        await self._writer.flush()
        bounds = await self._read_from.run(reading.seq_bounds, wanted)
        left = wanted.limit
        while left > 0:
            page = replace(wanted, limit=left if wanted.latest else min(left, _PAGE))
            found = await self._read_from.run(reading.find_events, page, bounds)
            for event in found:
                yield event
            if wanted.latest or len(found) < page.limit:
                return
            left -= len(found)
            wanted = replace(wanted, after_seq=found[-1].seq)

    async def verify(self) -> int:
        await self._writer.flush()
        connection = Connection(self._path, prepare_audit)  # its own: the audit of a long ledger blocks no lookup
        try:
            return await connection.run(audit_ledger, self._sums)
        finally:
            await connection.close()

    async def adopt_rows(self) -> None:
        await self._writer.write(Transaction.sum_anew)

    async def open_run(self, run: RunRef, key: str, at_ms: int) -> RunRef:
        found = await self._read_from.run(runs.find_named, run.owner, key)
        if found is not None:
            return found
        opened: RunRef = await self._writer.write(partial(runs.open_run, run=run, key=key, at_ms=at_ms))
        return opened

    async def find_run(self, run_id: str) -> RunRef | None:
        return await self._read_from.run(runs.find_run, run_id)

    async def named_run(self, owner: str, key: str) -> RunRef | None:
        return await self._read_from.run(runs.find_named, owner, key)

    async def count_steps(self, run_id: str) -> int:
        return await self._read_from.run(runs.count_steps, run_id)

    async def runs(self, owner: str, limit: int) -> list[RunSummary]:
        return await self._read_from.run(runs.find_runs, owner, limit)

    async def begin_attempt(self, begin: AttemptBegin) -> Attempt:
        begun: Attempt = await self._writer.write(partial(runs.begin_attempt, begin=begin))
        return begun

    async def attempt(self, run_id: str, who: str) -> Attempt:
        return await self._read_from.run(runs.find_attempt, run_id, who)

    async def cancel_run(self, cancel: RunCancel) -> bool:
        cancelled: bool = await self._writer.write(partial(runs.cancel_run, cancel=cancel))
        return cancelled

    async def run_changes(self, after_seq: int) -> list[RunChange]:
        return await self._read_from.run(runs.find_changes, after_seq)

    async def place_run(self, owner: str, place: str, run_id: str, at_ms: int) -> None:
        await self._writer.write(partial(runs.place_run, owner=owner, place=place, run_id=run_id, at_ms=at_ms))

    async def placed_runs(self, owner: str, places: tuple[str, ...]) -> Mapping[str, Placed]:
        return await self._read_from.run(runs.find_placed, owner, places)

    async def import_run(self, imported: ImportedRun) -> None:
        await self._writer.write(partial(imports.import_run, imported=imported))

    async def fork_run(self, forked: ForkedRun) -> None:
        await self._writer.write(partial(imports.fork_run, forked=forked))

    async def put_token(self, token: TokenRecord, *, by: str = "") -> None:
        await self._writer.write(partial(tokens.put_token, token=token, by=by))

    async def revoke_tokens(self, agent: str, at_ms: int, *, keep: str = "", by: str = "") -> list[str]:
        revoke = partial(tokens.revoke_tokens, agent=agent, at_ms=at_ms, keep=keep, by=by)
        revoked: list[str] = await self._writer.write(revoke)
        return revoked

    async def tokens(self) -> list[TokenRecord]:
        return await self._read_from.run(tokens.find_tokens)

    async def saw_agents(self, sightings: Sequence[AgentSighting]) -> None:
        await self._writer.write_lazily(partial(transitions.saw_agents, sightings=tuple(sightings)))

    async def agents_seen(self) -> list[AgentSighting]:
        await self._writer.flush()
        return await self._read_from.run(reading.find_sightings)

    async def put_pause(self, pause: PauseRecord) -> None:
        await self._writer.write(partial(pauses.put_pause, pause=pause))

    async def end_pause(self, pause: PauseRecord) -> bool:
        ended: bool = await self._writer.write(partial(pauses.end_pause, pause=pause))
        return ended

    async def pauses(self) -> list[PauseRecord]:
        return await self._read_from.run(pauses.find_pauses)

    async def ask_approval(self, ask: ApprovalAsk) -> Answered:
        answered: Answered = await self._writer.write(partial(approvals.ask, asked=ask))
        return answered

    async def change_approval(self, change: ApprovalChange, opens: ApprovalAsk | None = None) -> bool:
        changed: bool = await self._writer.write(partial(approvals.change, changes=change, opens=opens))
        return changed

    async def held_approval(self, binding: str, at_ms: int) -> ApprovalTrail | None:
        return await self._read_from.run(approvals.find_held_now, binding, at_ms)

    async def find_approval(self, approval_id: str) -> ApprovalTrail | None:
        return await self._read_from.run(approvals.find, approval_id)

    async def list_approvals(self, wanted: ApprovalFilter) -> list[ApprovalTrail]:
        return await self._read_from.run(approvals.list_all, wanted)

    async def budget_counters(self, keys: Sequence[str] | None = None) -> list[BudgetCounter]:
        return await self._read_from.run(budgets.find_counters, keys)

    async def report_usage(self, record: Record, charges: Sequence[Charge]) -> None:
        await self._writer.write(partial(budgets.report, record=record, charges=charges))

    async def taint(self, run_id: str, agent: str, on_behalf_of: str) -> Taint:
        return await self._read_from.run(taints.find_taint, run_id, agent, on_behalf_of)

    async def clear_taint(self, clearing: Clearing) -> bool:
        cleared: bool = await self._writer.write(partial(taints.clear_taint, clearing=clearing))
        return cleared

    async def put_fact(self, put: FactPut) -> FactAnswer:
        answer: FactAnswer = await self._writer.write(partial(facts.put_fact, put=put))
        return answer

    async def find_facts(self, keys: Sequence[FactKey], at_ms: int) -> list[Fact | None]:
        return await self._read_from.run(facts.find, keys, at_ms)

    async def list_facts(self, scope: str, owner: str, at_ms: int, limit: int = 1000) -> list[Fact]:
        return await self._read_from.run(facts.list_all, scope, owner, at_ms, limit)

    async def put_session(self, session: SessionRecord) -> None:
        await self._writer.write(partial(sessions.put_session, session=session), synced=False)

    async def find_session(self, session_id: str) -> SessionRecord | None:
        return await self._read_from.run(sessions.find_session, session_id)

    async def end_session(self, session_id: str) -> None:
        await self._writer.write(partial(sessions.end_session, session_id=session_id), synced=False)

    async def forget_sessions(self, before_ms: int) -> int:
        gone: int = await self._writer.write(partial(sessions.forget_sessions, before_ms=before_ms), synced=False)
        return gone

    async def begin_task(self, task: TaskRecord, record: Record) -> None:
        record = begun(task, record)
        await self._writer.write(partial(tasks.begin_task, task=task, record=record, body=record_body(record)))

    async def save_task(self, task: TaskRecord, at_ms: int) -> None:
        await self._writer.write(partial(tasks.save_task, task=task, at_ms=at_ms), synced=False)

    async def find_task(self, task_id: str) -> TaskRecord | None:
        return await self._read_from.run(tasks.find_task, task_id)

    async def tasks_of(self, owner: str, limit: int) -> list[TaskRecord]:
        return await self._read_from.run(tasks.tasks_of, owner, limit)

    async def open_tasks(self) -> list[TaskRecord]:
        return await self._read_from.run(tasks.open_tasks)

    async def forget_tasks(self, before_ms: int) -> int:
        gone: int = await self._writer.write(partial(tasks.forget_tasks, before_ms=before_ms), synced=False)
        return gone

    async def put_delegation(self, made: Delegation) -> None:
        await self._writer.write(partial(delegations.put_delegation, made=made))

    async def end_delegation(self, end: DelegationEnd) -> None:
        await self._writer.write(partial(delegations.end_delegation, end=end))

    async def delegation_changes(self, after_seq: int, limit: int) -> list[DelegationChange]:
        return await self._read_from.run(delegations.find_delegation_changes, after_seq, limit)

    async def remove_bodies(self, removal: Removal) -> Removed:
        removed: Removed = await self._writer.write(partial(retention.remove_bodies, removal=removal))
        return removed

    async def spend(self, item: str, until_ms: int, at_ms: int) -> bool:
        spent: bool = await self._writer.write(partial(spending.spend, item=item, until_ms=until_ms, at_ms=at_ms))
        return spent

    async def record_once(self, record: Record, item: str, until_ms: int) -> bool:
        body = record_body(record)
        once = partial(spending.record_once, record=record, body=body, item=item, until_ms=until_ms)
        fresh: bool = await self._writer.write(once)
        return fresh

    def _prepare_writer(self, db: sqlite3.Connection) -> None:
        use_wal(db, self._patience_s)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")  # what is removed is not left in free pages
        migrate(db, self._clock.now_ms(), self._sums)


def _prepare_reader(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA query_only = ON")


def _is_there(db: sqlite3.Connection) -> Any:
    return db.execute("SELECT count(*) FROM sqlite_master").fetchone()
