"""Bodies go when their time is over; events, rows and the chain stay as they are."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import LedgerTampered
from gateway.model.facts import StepStatus
from gateway.store.approvals import ApprovalAsk, ApprovalChange, ApprovalState
from gateway.store.bodies import load
from gateway.store.ports import Event, EventFilter, EventKind, Store
from gateway.store.removable import cut
from gateway.store.retention import Removal, Removed
from gateway.store.retention_events import RETENTION, first_outside, spans, spans_in
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, ending, intent, lookup, record, step, use
from tests.store.test_removable import as_of_the_first_version

CANARY = "4111-1111-of-ann"
BODY = {"received_ms": T0, "arguments": {"payment_id": 7, "card": CANARY}, "identity": {"agent": "billing"}}
DAY = 86_400_000


def removal(before: int = T0 + DAY, after: int = 0, most: int = 500) -> Removal:
    return Removal(before, T0 + 3 * DAY, after, most)


async def events(store: Store, **wanted: Any) -> list[Event]:
    return [event async for event in store.events(EventFilter(**wanted))]


async def gone(store: Store) -> list[str]:
    """The calls and approvals of which some event has lost its body."""
    return sorted(
        {event.call_id for event in await events(store) if "removed" in load(event.body.encode())} - {RETENTION}
    )


async def made(store: Store, call_id: str, status: StepStatus | None = StepStatus.SUCCEEDED, **fields: Any) -> None:
    await store.claim(intent(call_id, **{"body": BODY, **fields}))
    if status is not None:
        result = {"content": [], "structuredContent": {"card": CANARY}}
        body = {"outcome": "succeeded", "timing": {"received_ms": T0, "ended_ms": T0 + 5}, "result": result}
        await store.finish(ending(call_id, status, body=body))


def ask(approval_id: str, until_ms: int, **fields: Any) -> ApprovalAsk:
    known = {
        "at_ms": T0,
        "kind": "approval.asked",
        "binding": f"b-{approval_id}",
        "state": ApprovalState.PENDING,
        "until_ms": until_ms,
        "agent": "billing",
        "on_behalf_of": "",
        "tool": "payments.pay",
        "run_id": "run_1",
        "body": {"arguments": {"card": CANARY}, "votes": []},
    }
    return ApprovalAsk(approval_id, **(known | fields))


async def test_what_calls_held_goes_and_how_they_ended_stays(store: Store) -> None:
    await made(store, "paid")
    await store.record(record("read", body={"outcome": "succeeded", "result": {"card": CANARY}}))
    before = [event.hash for event in await events(store)]
    assert await store.remove_bodies(removal()) == Removed(3, 3)
    found = await events(store)
    assert [event.hash for event in found[:3]] == before
    assert not any(CANARY in event.body for event in found)
    claim, end, read, told = found
    assert load(claim.body.encode())["claim"]["arguments_digest"] == "sha256:1"
    assert load(end.body.encode())["outcome"] == "succeeded"
    assert load(end.body.encode())["timing"] == {"received_ms": T0, "ended_ms": T0 + 5}
    assert set(load(read.body.encode())) == {"outcome", "removed"}
    assert (told.kind, told.call_id) == (EventKind.BODIES_REMOVED, RETENTION)
    assert load(told.body.encode()) == {
        "through": 3,
        "before_ms": T0 + DAY,
        "bodies": 3,
        "removed": [[1, 3]],
    }
    assert await store.verify() == 4


async def test_nothing_goes_twice_and_nothing_goes_before_its_time(store: Store) -> None:
    await made(store, "paid")
    await made(store, "later", at_ms=T0 + 2 * DAY)
    assert await store.remove_bodies(removal()) == Removed(2, 2)
    assert await store.remove_bodies(removal(after=2)) == Removed(2, 0)
    assert await store.remove_bodies(removal()) == Removed(2, 0)
    assert await gone(store) == ["paid"]
    assert len(await events(store, call_id=RETENTION)) == 1


async def test_it_is_done_in_pieces(store: Store) -> None:
    for number in range(5):
        await made(store, f"c{number}")
    through, bodies = 0, 0
    while (removed := await store.remove_bodies(removal(after=through, most=3))).through_seq != through:
        through, bodies = removed.through_seq, bodies + removed.bodies
    assert bodies == 10
    assert await gone(store) == [f"c{number}" for number in range(5)]
    await store.verify()


async def test_a_call_under_way_or_in_doubt_keeps_everything_until_it_is_settled(store: Store) -> None:
    await made(store, "runs", None)
    await made(store, "doubtful", StepStatus.UNKNOWN)
    assert await store.remove_bodies(removal()) == Removed(3, 0)
    await store.settle(ending("doubtful", StepStatus.FAILED, at_ms=T0 + 2 * DAY))
    assert (await store.remove_bodies(removal(after=3))).bodies == 0
    assert (await store.remove_bodies(removal(T0 + 3 * DAY, after=3))).bodies == 3
    assert await gone(store) == ["doubtful"]
    await store.verify()


async def test_a_call_that_was_taken_back_keeps_everything_until_that_is_old(store: Store) -> None:
    await made(store, "paid")
    await store.claim(intent("refund", body=BODY, at_ms=T0 + DAY))
    await store.finish(ending("refund", at_ms=T0 + 2 * DAY, compensates="paid"))
    assert (await store.remove_bodies(removal())).bodies == 0
    await store.remove_bodies(removal(T0 + 3 * DAY))
    assert await gone(store) == ["paid", "refund"]
    await store.verify()


async def test_an_approval_that_can_still_be_used_keeps_everything(store: Store) -> None:
    await store.ask_approval(ask("open", T0 + 9 * DAY))
    await store.ask_approval(ask("over", T0 + DAY))
    await store.ask_approval(ask("denied", T0 + 9 * DAY))
    trail = await store.find_approval("denied")
    assert trail is not None
    denied = ApprovalChange(
        id="denied",
        version=trail.row.version,
        at_ms=T0,
        kind="approval.denied",
        state=ApprovalState.DENIED,
        until_ms=T0 + 9 * DAY,
        body={"votes": []},
    )
    assert await store.change_approval(denied)
    await store.remove_bodies(removal())
    assert await gone(store) == ["denied", "over"]
    await store.verify()
    found = await store.find_approval("denied")
    assert found is not None
    assert "arguments" not in found.asked
    still = await store.find_approval("open")
    assert still is not None
    assert still.asked["arguments"] == {"card": CANARY}


async def test_a_key_still_makes_no_effect_twice(store: Store) -> None:
    await made(store, "paid", step_key="key:1")
    await store.remove_bodies(removal())
    again = await store.claim(intent("again", step_key="key:1", body=BODY))
    assert (again.verdict, again.recorded and again.recorded.call_id) == ("recorded", "paid")
    assert again.recorded is not None
    assert "result" not in (again.recorded.end_body or {})
    other = await store.claim(intent("other", step_key="key:1", arguments_digest="sha256:2", body=BODY))
    assert other.verdict == "conflict"


async def test_a_step_without_its_arguments_satisfies_nothing(store: Store) -> None:
    await step(store, "check", {"payment_id": 7}, body={"received_ms": T0, "arguments": {"payment_id": 7}})
    asked = lookup(values=[("payment_id", 7)])
    assert (await store.steps([asked]))[0] is not None
    await store.remove_bodies(removal())
    assert await store.steps([asked]) == [None]
    refused = await store.claim(intent("pay", uses=(use("check", asked),)))
    assert refused.verdict == "stale"


async def test_what_was_removed_is_nowhere_in_the_file(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    for number in range(40):
        await made(store, f"c{number}", body={**BODY, "arguments": {"n": number, "long": CANARY * 400}})
    await store.remove_bodies(removal())
    await store.close()
    assert CANARY.encode() not in ledger_path.read_bytes()
    assert not ledger_path.with_name("ledger.db-wal").exists()


async def test_a_ledger_of_the_first_version_keeps_its_bodies(ledger_path: Path) -> None:
    await as_of_the_first_version(ledger_path)
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    assert await store.remove_bodies(removal()) == Removed(3, 0)
    assert await store.verify() == 3
    await store.close()


@pytest.mark.parametrize("seq", [1, 2, 3])
async def test_a_body_that_no_retention_removed_is_missed(ledger_path: Path, seq: int) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    await made(store, "paid")
    await made(store, "later", at_ms=T0 + 2 * DAY)
    assert await store.verify() == 4
    if seq == 3:
        await store.remove_bodies(removal())
    await store.close()
    with closing(sqlite3.connect(ledger_path)) as db, db:
        (body,) = db.execute("SELECT body FROM events WHERE seq = ?", (seq,)).fetchone()
        db.execute("UPDATE events SET body = ? WHERE seq = ?", (cut(body.encode()).decode(), seq))
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    with pytest.raises(LedgerTampered) as broken:
        await store.verify()
    assert (broken.value.seq, "has lost its body" in broken.value.detail) == (seq, True)
    await store.close()


@pytest.mark.parametrize(
    ("found", "told", "first"),
    [
        ([], [], 0),
        ([[1, 3]], [[1, 3]], 0),
        ([[1, 3], [7, 9]], [[7, 9], [1, 2], [3, 3]], 0),
        ([[1, 3]], [[1, 2]], 3),
        ([[1, 3]], [[2, 3]], 1),
        ([[4, 9]], [[4, 5], [7, 9]], 6),
        ([[4, 9]], [], 4),
        ([[1, 9]], [[1, 5], [2, 9]], 0),
    ],
)
def test_the_first_body_that_nobody_removed_is_found(found: list[list[int]], told: list[list[int]], first: int) -> None:
    assert first_outside(found, told) == first


def test_spans_are_read_as_they_are_written_and_nothing_else_is() -> None:
    assert spans([5, 1, 2, 3, 9]) == [[1, 3], [5, 5], [9, 9]]
    assert spans_in({"removed": [[1, 3], [5], "x", [1, "2"], [7, 7]]}) == [[1, 3], [7, 7]]
    assert spans_in({"removed": "all"}) == spans_in({}) == []
