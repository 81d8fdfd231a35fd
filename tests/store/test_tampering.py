"""Whatever somebody changes in the file, the audit names the event."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.model.errors import LedgerTampered, StoreFault
from gateway.model.facts import RunRef, StepStatus
from gateway.store.chain import GENESIS, seal
from gateway.store.ports import EventFilter
from gateway.store.runs import RunCancel
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, ending, intent, lookup, record, step, use

EVENTS = 12
COLUMNS = ("at_ms", "kind", "call_id", "run_id", "agent", "on_behalf_of", "tool", "prev_hash", "hash", "body")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A ledger with every kind of event: 1 run, 2–3 a check, 4–5 a payment that uses it, 6–9 a failure tried again,
    10–11 a payment that was given back, 12 a read."""
    store = SqliteStore(tmp_path / "ledger.db", FakeClock())
    await store.open()
    await store.open_run(RunRef("run_1", "billing/ann", "open"), "k", T0)
    await step(store, "check", {"payment_id": 7}, session="s", on_behalf_of="ann")
    await store.claim(intent("pay", step_key="pay", uses=(use("check", lookup(values=[("payment_id", 7)])),)))
    await store.finish(ending("pay"))
    for call_id, status in (("first", StepStatus.FAILED), ("second", StepStatus.SUCCEEDED)):
        await store.claim(intent(call_id, step_key="again"))
        await store.finish(ending(call_id, status))
    await store.claim(intent("back", step_key="back"))
    await store.finish(ending("back", StepStatus.FAILED, release=True))
    await store.record(record("read"))
    assert await store.verify() == EVENTS
    await store.close()
    return tmp_path / "ledger.db"


def edit(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            db.execute(statement)


async def verdict(path: Path) -> LedgerTampered:
    """Open the ledger and return what the audit says of it."""
    store = SqliteStore(path, FakeClock())
    await store.open()
    try:
        with pytest.raises(LedgerTampered) as broken:
            await store.verify()
        return broken.value
    finally:
        await store.close()


@pytest.mark.parametrize("seq", range(1, EVENTS + 1))
@pytest.mark.parametrize("column", COLUMNS)
async def test_a_changed_byte_in_any_column_is_named(path: Path, column: str, seq: int) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        (old,) = db.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()
        new: object = old + 1 if isinstance(old, int) else (f"{old[:-1]}{chr(ord(old[-1]) ^ 1)}" if old else "x")
        db.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (new, seq))
    broken = await verdict(path)
    assert broken.seq == seq
    assert f"event {seq} " in broken.detail


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'7b7d'", "5", "''"])
@pytest.mark.parametrize("column", ["kind", "agent", "body", "at_ms", "prev_hash", "hash"])
async def test_a_value_of_another_type_is_named(path: Path, column: str, value: str) -> None:
    edit(path, f"UPDATE events SET {column} = {value} WHERE seq = 5")
    assert (await verdict(path)).seq == 5


@pytest.mark.parametrize("seq", [1, 2, 6, EVENTS - 1, EVENTS])
async def test_a_deleted_event_is_named(path: Path, seq: int) -> None:
    edit(path, f"DELETE FROM events WHERE seq = {seq}")
    assert (await verdict(path)).seq == seq


async def test_a_cut_tail_is_named_by_its_first_event(path: Path) -> None:
    edit(path, "DELETE FROM events WHERE seq >= 9")
    broken = await verdict(path)
    assert broken.seq == 9
    assert "everything up to 12" in broken.detail


async def test_an_emptied_ledger_is_named(path: Path) -> None:
    edit(path, "DELETE FROM events")
    assert (await verdict(path)).seq == 1


async def test_events_that_changed_places_are_named(path: Path) -> None:
    edit(
        path,
        "UPDATE events SET seq = -1 WHERE seq = 4",
        "UPDATE events SET seq = 4 WHERE seq = 7",
        "UPDATE events SET seq = 7 WHERE seq = -1",
    )
    assert (await verdict(path)).seq == 4


COPY = (
    "INSERT INTO events SELECT {0}, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, prev_hash, hash, body,"
    " shared FROM events WHERE seq = 12"
)


@pytest.mark.parametrize("seq", [-3, 0, EVENTS + 1, EVENTS + 9])
async def test_an_inserted_event_is_named(path: Path, seq: int) -> None:
    edit(path, COPY.format(seq))
    assert (await verdict(path)).seq == min(seq, EVENTS + 1)


async def test_an_event_added_with_the_right_hash_is_unknown_to_the_head(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        (tip,) = db.execute("SELECT hash FROM chain_head").fetchone()
        told = (EVENTS + 1, T0, "call.recorded", "forged", "run_1", "billing", "", "t.x")
        row = (*told, tip, seal(tip, told, b"{}"), "{}")
        db.execute(f"INSERT INTO events VALUES ({', '.join('?' * 11)}, NULL)", row)
    broken = await verdict(path)
    assert broken.seq == EVENTS + 1
    assert "without the ledger's knowledge" in broken.detail


async def test_an_event_inserted_in_the_middle_is_named(path: Path) -> None:
    shift = [f"UPDATE events SET seq = {seq + 1} WHERE seq = {seq}" for seq in range(EVENTS, 4, -1)]
    edit(path, *shift, COPY.replace("seq = 12", "seq = 13").format(5), "UPDATE chain_head SET seq = 13")
    assert (await verdict(path)).seq == 5


@pytest.mark.parametrize("seq", [1, 5, EVENTS])
async def test_an_event_rewritten_with_a_new_hash_is_named(path: Path, seq: int) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        header = "at_ms, kind, call_id, run_id, agent, on_behalf_of, tool"
        row = db.execute(f"SELECT prev_hash, {header} FROM events WHERE seq = ?", (seq,)).fetchone()
        forged = seal(row[0], (seq, *row[1:]), b'{"forged":true}')
        db.execute("UPDATE events SET body = ?, hash = ? WHERE seq = ?", ('{"forged":true}', forged, seq))
    assert (await verdict(path)).seq == seq


def forge_all(path: Path, change: Callable[[int, str], str]) -> None:
    """Rewrite bodies and seal the whole chain again, as an attacker with write access and the code could."""
    with closing(sqlite3.connect(path)) as db, db:
        tip = GENESIS
        rows = db.execute("SELECT seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, body FROM events")
        for seq, *header, body in rows.fetchall():
            body = change(seq, body)
            sealed = seal(tip, (seq, *header), body.encode())
            db.execute("UPDATE events SET body = ?, prev_hash = ?, hash = ? WHERE seq = ?", (body, tip, sealed, seq))
            tip = sealed
        db.execute("UPDATE chain_head SET hash = ?", (tip,))


async def test_a_call_cannot_end_in_another_run_than_it_began(path: Path) -> None:
    edit(path, "UPDATE events SET run_id = 'other' WHERE seq = 3")
    forge_all(path, lambda _, body: body)
    assert (await verdict(path)).seq == 3


async def test_a_call_cannot_end_twice_in_a_chain_sealed_anew(path: Path) -> None:
    again = "kind = 'call.finished', call_id = 'pay', body = (SELECT body FROM events WHERE seq = 5)"
    edit(path, f"UPDATE events SET {again} WHERE seq = 12")
    forge_all(path, lambda _, body: body)
    broken = await verdict(path)
    assert broken.seq == 12
    assert "not under way" in broken.detail


async def test_a_chain_cannot_begin_with_another_past(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        header = "at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, body"
        *row, body = db.execute(f"SELECT {header} FROM events WHERE seq = 1").fetchone()
        forged = seal("1" * 64, (1, *row), body.encode())
        db.execute("UPDATE events SET prev_hash = ?, hash = ? WHERE seq = 1", ("1" * 64, forged))
    assert (await verdict(path)).seq == 1


@pytest.mark.parametrize("seq", [1, 2, 3])
@pytest.mark.parametrize("body", ["{}", "[]", "nonsense", '{"claim":1,"ending":2}'])
async def test_a_chain_sealed_anew_still_has_to_explain_the_rows(path: Path, seq: int, body: str) -> None:
    forge_all(path, lambda at, old: body if at == seq else old)
    assert (await verdict(path)).seq == seq


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("status = 'failed' WHERE call_id = 'pay'", 5),
        ("status = 'succeeded' WHERE call_id = 'first'", 7),
        ("status = 'executing', end_seq = NULL, ended_ms = NULL WHERE call_id = 'pay'", 5),
        ("ended_ms = ended_ms + 1 WHERE call_id = 'pay'", 5),
        ("end_seq = 12 WHERE call_id = 'pay'", 5),
        ("consumed_by = NULL WHERE call_id = 'check'", 4),
        ("consumed_by = 'second' WHERE call_id = 'check'", 2),
        ("consumed_by = 'first' WHERE call_id = 'check'", 2),
        ("consumed_by = 'ghost' WHERE call_id = 'check'", 2),
        ("consumed_by = 'pay' WHERE call_id = 'first'", 6),
        ("call_id = 'other' WHERE call_id = 'check'", 2),
        ("run_id = 'other' WHERE call_id = 'check'", 2),
        ("session = '' WHERE call_id = 'check'", 2),
        ("agent = 'other' WHERE call_id = 'check'", 2),
        ("on_behalf_of = 'bob' WHERE call_id = 'check'", 2),
        ("tool = 'other' WHERE call_id = 'check'", 2),
        ("arguments_digest = 'x' WHERE call_id = 'pay'", 4),
        ("step_key = 'other' WHERE call_id = 'pay'", 4),
        ("step_key = NULL WHERE call_id = 'pay'", 4),
        ("key_until = 5 WHERE call_id = 'pay'", 4),
        ("key_until = 12 WHERE call_id = 'pay'", 4),
        ("key_until = 99 WHERE call_id = 'first'", 6),
        ("key_until = 10 WHERE call_id = 'first'", 6),
        ("key_until = NULL WHERE call_id = 'back'", 10),
        ("started_ms = 0 WHERE call_id = 'pay'", 4),
        ("claim_seq = 99 WHERE call_id = 'pay'", 4),
    ],
)
async def test_a_changed_call_row_is_named_by_its_event(path: Path, change: str, seq: int) -> None:
    edit(path, f"UPDATE calls SET {change}")
    assert (await verdict(path)).seq == seq


async def test_a_step_given_back_cannot_be_called_used(path: Path) -> None:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await step(store, "check2", {"payment_id": 8})
    asked = lookup(values=[("payment_id", 8)])
    await store.claim(intent("unsent", uses=(use("check2", asked),)))
    await store.finish(ending("unsent", StepStatus.FAILED, release=True))
    assert await store.verify() == EVENTS + 4
    await store.close()
    edit(path, "UPDATE calls SET consumed_by = 'unsent' WHERE call_id = 'check2'")
    assert (await verdict(path)).seq == EVENTS + 1


async def test_a_step_used_by_a_call_that_still_runs_cannot_be_freed(path: Path) -> None:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await step(store, "check2", {"payment_id": 8})
    await store.claim(intent("runs", uses=(use("check2", lookup(values=[("payment_id", 8)])),)))
    assert await store.verify() == EVENTS + 3
    await store.close()
    edit(path, "UPDATE calls SET consumed_by = NULL WHERE call_id = 'check2'")
    assert (await verdict(path)).seq == EVENTS + 3


async def test_a_running_call_cannot_be_called_ended(path: Path) -> None:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await store.claim(intent("runs"))
    await store.close()
    edit(path, "UPDATE calls SET status = 'succeeded' WHERE call_id = 'runs'")
    assert (await verdict(path)).seq == EVENTS + 1


async def test_a_running_call_cannot_borrow_the_end_of_another(path: Path) -> None:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await store.claim(intent("runs"))
    await store.close()
    edit(path, "UPDATE calls SET status = 'succeeded', end_seq = 12, ended_ms = 1 WHERE call_id = 'runs'")
    broken = await verdict(path)
    assert broken.seq == EVENTS + 1
    assert "runs" in broken.detail


async def test_a_deleted_call_row_is_named_by_its_event(path: Path) -> None:
    edit(path, "DELETE FROM calls WHERE call_id = 'check'")
    assert (await verdict(path)).seq == 2


CLONE = (
    "INSERT INTO calls SELECT 100, 'clone', run_id, session, agent, on_behalf_of, tool, arguments_digest, {0},"
    " started_ms, status, ended_ms, end_seq, {1}, consumed_by, delivered, doubted_seq, undone_seq FROM calls"
    " WHERE call_id = 'pay'"
)


async def test_an_inserted_call_row_is_named(path: Path) -> None:
    edit(path, CLONE.format("NULL", "NULL"))
    broken = await verdict(path)
    assert broken.seq == 100
    assert "clone" in broken.detail


async def test_two_calls_cannot_hold_one_key(path: Path) -> None:
    edit(path, "DROP INDEX calls_by_live_key", "UPDATE calls SET key_until = NULL WHERE call_id = 'first'")
    broken = await verdict(path)
    assert broken.seq == 8
    assert "step key" in broken.detail


@pytest.mark.parametrize("change", ["owner = 'eve'", "key = 'x'", "source = 'x'", "status = 'x'", "opened_ms = 0"])
async def test_a_changed_run_is_named(path: Path, change: str) -> None:
    edit(path, f"UPDATE runs SET {change}")
    assert (await verdict(path)).seq == 1


async def test_a_deleted_and_an_inserted_run_are_named(path: Path) -> None:
    edit(path, "INSERT INTO runs SELECT 7, 'run_x', 'eve', 'k', source, status, opened_ms FROM runs")
    assert (await verdict(path)).seq == 7
    edit(path, "DELETE FROM runs")
    assert (await verdict(path)).seq == 1


async def test_a_second_head_is_named(path: Path) -> None:
    edit(path, "INSERT INTO chain_head SELECT 2, seq, hash FROM chain_head")
    assert "a second head" in (await verdict(path)).detail


async def test_a_ledger_without_a_head_is_tampered_with(path: Path) -> None:
    edit(path, "DELETE FROM chain_head")
    assert (await verdict(path)).seq == 1
    store = SqliteStore(path, FakeClock())
    await store.open()
    with pytest.raises(LedgerTampered):
        await store.claim(intent("c1"))
    await store.close()


@pytest.fixture
def tampered(path: Path) -> Iterator[Callable[[str], SqliteStore]]:
    def after(statement: str) -> SqliteStore:
        edit(path, statement)
        return SqliteStore(path, FakeClock())

    return after


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET body = replace(body, '\"payment_id\":7', '\"payment_id\":7 ') WHERE seq = 2",
        "UPDATE events SET agent = 'other' WHERE seq = 2",
        "UPDATE events SET kind = 'nonsense' WHERE seq = 2",
        "UPDATE events SET body = CAST(body AS BLOB) WHERE seq = 3",
        "UPDATE events SET body = replace(body, 'ok', 'no') WHERE seq = 3",
        "UPDATE events SET prev_hash = 'x' WHERE seq = 3",
        "DELETE FROM events WHERE seq = 4",
    ],
)
async def test_no_step_is_answered_from_a_changed_event(tampered: Callable[[str], SqliteStore], change: str) -> None:
    store = tampered(change)
    await store.open()
    with pytest.raises(LedgerTampered) as broken:
        await store.steps([lookup()])
    assert broken.value.seq in {2, 3}
    with pytest.raises(LedgerTampered):
        await store.claim(intent("p", uses=(use("check", lookup()),)))
    await store.close()


async def test_no_key_is_answered_from_a_changed_event(tampered: Callable[[str], SqliteStore]) -> None:
    store = tampered("UPDATE events SET body = replace(body, 'claim', 'claam') WHERE seq = 4")
    await store.open()
    with pytest.raises(LedgerTampered) as broken:
        await store.recorded("billing", "payments.pay", "pay")
    assert broken.value.seq == 4
    await store.close()


async def test_a_body_that_is_no_json_is_no_step(tampered: Callable[[str], SqliteStore]) -> None:
    store = tampered("UPDATE events SET body = 'nonsense' WHERE seq = 2")
    await store.open()
    with pytest.raises(LedgerTampered):
        await store.steps([lookup(values=[('quo"ted', 7)])])
    with pytest.raises(StoreFault):
        await store.steps([lookup(values=[("payment_id", 7)])])
    await store.close()


async def test_a_ledger_that_shrinks_under_a_running_gateway_takes_no_more_calls(path: Path) -> None:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await store.record(record("r1"))
    edit(
        path,
        "DELETE FROM events WHERE seq > 12",
        "UPDATE chain_head SET seq = 12, hash = (SELECT hash FROM events WHERE seq = 12)",
    )
    with pytest.raises(LedgerTampered) as broken:
        await store.claim(intent("c1"))
    assert broken.value.seq == 13
    await store.close()


async def test_an_event_nobody_writes_is_not_read(path: Path) -> None:
    edit(path, "UPDATE events SET kind = 'nonsense' WHERE seq = 5")
    store = SqliteStore(path, FakeClock())
    await store.open()
    with pytest.raises(LedgerTampered):
        _ = [event async for event in store.events(EventFilter())]
    await store.close()


async def settled_ledger(path: Path) -> Path:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await store.claim(intent("c1", step_key="k"))
    await store.finish(ending("c1", StepStatus.UNKNOWN))
    await store.settle(ending("c1", StepStatus.FAILED, release=True))
    assert await store.verify() == 3
    await store.close()
    return path


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE calls SET status = 'succeeded'",
        "UPDATE calls SET status = 'unknown', end_seq = 2, doubted_seq = NULL",
        "UPDATE calls SET doubted_seq = NULL",
        "UPDATE calls SET key_until = NULL",
        "UPDATE calls SET end_seq = NULL",
        "UPDATE calls SET status = 'unknown', end_seq = 2, doubted_seq = NULL, key_until = NULL",
        "DELETE FROM events WHERE seq = 3",
    ],
)
async def test_a_changed_settlement_is_named(tmp_path: Path, change: str) -> None:
    path = await settled_ledger(tmp_path / "settled.db")
    edit(path, change)
    assert (await verdict(path)).seq >= 1


async def test_a_doubt_that_was_settled_by_hand_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "doubtful.db", FakeClock())
    await store.open()
    await store.claim(intent("c1"))
    await store.finish(ending("c1", StepStatus.UNKNOWN))
    await store.close()
    edit(tmp_path / "doubtful.db", "UPDATE calls SET status = 'failed', doubted_seq = end_seq, end_seq = 3")
    broken = await verdict(tmp_path / "doubtful.db")
    assert broken.seq == 1
    assert "which no event settles" in broken.detail


async def compensated_ledger(path: Path) -> Path:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await store.claim(intent("c1", step_key="k"))
    await store.finish(ending("c1"))
    await store.claim(intent("r1", "payments.refund"))
    await store.finish(ending("r1", compensates="c1"))
    assert await store.verify() == 5
    await store.close()
    return path


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE calls SET status = 'succeeded', end_seq = 2, undone_seq = NULL WHERE call_id = 'c1'",
        "UPDATE calls SET status = 'succeeded' WHERE call_id = 'c1'",
        "UPDATE calls SET undone_seq = NULL WHERE call_id = 'c1'",
        "UPDATE calls SET undone_seq = 4 WHERE call_id = 'c1'",
        "UPDATE calls SET undone_seq = 4 WHERE call_id = 'r1'",
        "UPDATE calls SET status = 'compensated', end_seq = 5, undone_seq = 4 WHERE call_id = 'r1'",
        "DELETE FROM events WHERE seq = 5",
    ],
)
async def test_a_changed_compensation_is_named(tmp_path: Path, change: str) -> None:
    path = await compensated_ledger(tmp_path / "compensated.db")
    edit(path, change)
    assert (await verdict(path)).seq >= 1


async def cancelled(path: Path) -> None:
    store = SqliteStore(path, FakeClock())
    await store.open()
    await store.cancel_run(RunCancel("run_1", T0, "os:op"))
    assert await store.verify() == EVENTS + 1
    await store.close()


async def test_a_run_that_was_opened_again_by_hand_is_named(path: Path) -> None:
    await cancelled(path)
    edit(path, "UPDATE runs SET status = 'open' WHERE id = 'run_1'")
    broken = await verdict(path)
    assert broken.seq == EVENTS + 1
    assert "run run_1" in broken.detail


async def test_a_run_that_was_ended_by_hand_is_named(path: Path) -> None:
    edit(path, "UPDATE runs SET status = 'cancelled' WHERE id = 'run_1'")
    broken = await verdict(path)
    assert broken.seq == 1
    assert "no event ends" in broken.detail


async def test_a_changed_row_of_a_cancelled_run_is_named(path: Path) -> None:
    await cancelled(path)
    edit(path, "UPDATE runs SET owner = 'somebody' WHERE id = 'run_1'")
    assert (await verdict(path)).seq == 1
