"""Callers that leave: up to the claim their call goes with them, from then on it ends as if they were there."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.model.clock import Clock
from gateway.model.errors import LedgerTampered
from gateway.model.outcome import Failed, Succeeded
from gateway.pipeline.runner import Ended
from gateway.store.ports import Claimed, EventFilter, EventKind, Intent
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import PERMIT_ALL, PRECONDITION, Gate, settle

CLAIMED_AND_FINISHED = [EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED]


async def cancelled(task: "asyncio.Task[Ended]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()


class Patient(Gate):
    """One whose calls wait for what they need, however long the machine takes."""

    patience_s = 60


async def test_a_caller_that_leaves_before_the_claim_leaves_a_cancelled_call_that_was_never_sent() -> None:
    gate = Patient(PERMIT_ALL, PRECONDITION)
    checking = asyncio.Event()
    gate.servers["fraud"].calls.append(checking)
    check = asyncio.ensure_future(gate.run("fraud_check"))
    await settle()
    paying = asyncio.ensure_future(gate.run("payments_pay"))
    await asyncio.sleep(0)  # it now waits for the check that is still running
    await settle()
    await cancelled(paying)
    checking.set()
    await check
    [left] = [event for event in await gate.events() if event.tool == "payments.pay"]
    said = json.loads(left.body)
    assert (left.kind, said["outcome"], said["error"]["code"]) == (EventKind.CALL_RECORDED, "failed", "cancelled")
    assert gate.servers["payments"].asked == []


async def test_a_caller_that_leaves_a_read_under_way_stops_it() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(asyncio.Event())
    task = asyncio.ensure_future(gate.run("payments_list", {}))
    await settle()
    await cancelled(task)
    [left] = [event for event in await gate.events() if event.tool]
    said = json.loads(left.body)
    assert (said["error"]["code"], said["attempts"][0]["code"]) == ("cancelled", "cancelled")


class SlowStore(BreakingStore):
    """Claims wait until the test lets them go on, before they are written or, once `written`, after that."""

    def __init__(self, clock: Clock, *, written: bool) -> None:
        super().__init__(clock)
        self.written = written
        self.may_go_on = asyncio.Event()

    async def claim(self, intent: Intent) -> Claimed:
        if self.written:
            claimed = await super().claim(intent)
        await self.may_go_on.wait()
        return claimed if self.written else await super().claim(intent)


def asked(gate: Gate) -> list[Any]:
    return [each for each in gate.servers["payments"].asked if each.tool == "pay"]


async def _leaves_while_claiming(gate: Gate) -> None:
    task = asyncio.ensure_future(gate.run("payments_pay"))
    await settle()
    await cancelled(task)
    await settle()
    assert len(gate.inflight) == 0
    assert gate.servers["payments"].asked == []


async def _left_while_claiming(gate: Gate) -> None:
    await _leaves_while_claiming(gate)
    assert len(gate.owned) == 0


async def test_a_caller_that_leaves_during_the_claim_gives_it_back() -> None:
    store = SlowStore(FakeClock(), written=True)
    gate = Gate(store=store)
    await _left_while_claiming(gate)
    events = [event for event in await gate.events() if event.tool]
    assert [event.kind for event in events] == CLAIMED_AND_FINISHED
    assert json.loads(events[-1].body)["error"]["code"] == "cancelled"
    store.may_go_on.set()
    again = await gate.run("payments_pay")
    assert again.outcome == Succeeded({"content": []})


@pytest.mark.parametrize("written", [False, True])
async def test_a_caller_that_leaves_during_a_claim_that_was_not_had_is_recorded_as_cancelled(written: bool) -> None:
    store = SlowStore(FakeClock(), written=written)
    gate = Gate(store=store)
    store.may_go_on.set()
    paid = await gate.run("payments_pay")
    store.may_go_on.clear()
    gate.servers["payments"].asked.clear()
    await _left_while_claiming(gate)
    assert [event.kind for event in await gate.events() if event.tool and event.call_id != paid.call.id] == [
        EventKind.CALL_RECORDED
    ]


@pytest.mark.parametrize("name", ["made", "finish"])
async def test_a_claim_that_cannot_be_given_back_now_is_given_back_once_the_store_can_be_written(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = SlowStore(FakeClock(), written=True)
    gate = Gate(store=store)
    store.breaks(name)
    await _leaves_while_claiming(gate)
    assert "store_unavailable" in caplog.text
    store.may_go_on.set()
    meanwhile = await gate.run("payments_pay")
    assert isinstance(meanwhile.outcome, Failed)
    assert meanwhile.outcome.error.code == "in_progress"
    store.heal()
    assert await gate.owned.drain(60.0) == 0
    again = await gate.run("payments_pay")
    assert again.outcome == Succeeded({"content": []})


async def test_a_claim_whose_history_was_tampered_with_is_not_given_back(caplog: pytest.LogCaptureFixture) -> None:
    store = SlowStore(FakeClock(), written=True)
    gate = Gate(store=store)
    store.breaks("made", LedgerTampered("It was changed.", seq=1))
    await _left_while_claiming(gate)
    assert "ledger_tampered" in caplog.text


async def test_a_call_that_was_left_and_never_claimed_is_on_record_once_the_store_can_be_written() -> None:
    store = SlowStore(FakeClock(), written=False)
    gate = Gate(store=store)
    task = asyncio.ensure_future(gate.run("payments_pay"))
    await settle()
    store.breaks("record")
    await cancelled(task)
    await settle()
    store.heal()
    assert await gate.owned.drain(60.0) == 0
    [left] = [event for event in await gate.events() if event.tool]
    assert (left.kind, json.loads(left.body)["error"]["code"]) == (EventKind.CALL_RECORDED, "cancelled")


async def test_a_caller_that_leaves_at_any_moment_leaves_one_ending_in_a_ledger_on_disk(tmp_path: Path) -> None:
    for moments in range(40):
        ledger = SqliteStore(tmp_path / f"{moments}.db", FakeClock())
        await ledger.open()
        gate = Gate(ledger=ledger)
        paying = asyncio.ensure_future(gate.run("payments_pay"))
        for _ in range(moments):
            await asyncio.sleep(0)
        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)
        assert await gate.owned.drain(60.0) == 0
        assert (len(gate.inflight), await ledger.unfinished()) == (0, [])
        kinds = [event.kind async for event in ledger.events(EventFilter()) if event.tool]
        assert kinds == CLAIMED_AND_FINISHED or (kinds == [EventKind.CALL_RECORDED] and not asked(gate)) or not moments
        await ledger.close()


async def test_a_caller_that_leaves_while_its_claim_is_written_gives_it_back(tmp_path: Path) -> None:
    ledger = SqliteStore(tmp_path / "ledger.db", FakeClock())
    await ledger.open()
    gate = Gate(ledger=ledger)
    await gate.run("payments_list", {})  # the run is open, and the policies are on record
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    paying = asyncio.ensure_future(gate.run("payments_pay"))
    while not ledger._writer._busy or ledger._writer._queue:
        await asyncio.sleep(0)
    paying.cancel()
    await asyncio.gather(paying, return_exceptions=True)
    other.execute("ROLLBACK")
    other.close()
    assert await gate.owned.drain(60.0) == 0
    kinds = [event.kind async for event in ledger.events(EventFilter(tool="payments.pay"))]
    assert (kinds, asked(gate)) == (CLAIMED_AND_FINISHED, [])
    await ledger.close()


async def test_a_caller_that_leaves_after_the_claim_changes_nothing_in_the_record() -> None:
    gate = Gate()
    may_answer = asyncio.Event()
    gate.servers["payments"].calls.append(may_answer)
    task = asyncio.ensure_future(gate.run("payments_pay"))
    await settle()
    await cancelled(task)
    assert len(gate.inflight) == 1
    may_answer.set()
    await settle()
    events = [event for event in await gate.events() if event.tool]
    assert [event.kind for event in events] == CLAIMED_AND_FINISHED
    assert json.loads(events[-1].body)["outcome"] == "succeeded"
    again = await gate.run("payments_pay")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == events[0].call_id
