"""Approvals in the store: what holds is what the events say, and one use is one use."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import LedgerTampered, StoreFault
from gateway.model.facts import StepStatus
from gateway.store.approvals import (
    ApprovalAsk,
    ApprovalChange,
    ApprovalFilter,
    ApprovalState,
    ApprovalTrail,
    ApprovalUse,
)
from gateway.store.memory import MemoryStore
from gateway.store.ports import ClaimVerdict, EventFilter, EventKind, Store
from gateway.store.sqlite import SqliteStore
from tests.store.making import T0, ending, intent
from tests.store.test_tampering import forge_all

HOUR = 3_600_000


def an_ask(approval_id: str = "apr_1", binding: str = "b", **fields: Any) -> ApprovalAsk:
    known: dict[str, Any] = {
        "at_ms": T0,
        "kind": EventKind.APPROVAL_ASKED,
        "state": ApprovalState.PENDING,
        "until_ms": T0 + HOUR,
        "agent": "billing",
        "on_behalf_of": "eve",
        "tool": "payments.pay",
        "run_id": "run_1",
        "body": {"arguments": {"amount": 5}},
    }
    return ApprovalAsk(id=approval_id, binding=binding, **(known | fields))


def to(trail: ApprovalTrail, state: ApprovalState = ApprovalState.APPROVED, **fields: Any) -> ApprovalChange:
    known: dict[str, Any] = {
        "at_ms": T0 + 1,
        "kind": EventKind.APPROVAL_APPROVED,
        "version": trail.row.version,
        "until_ms": T0 + HOUR,
        "body": {"by": "bob"},
    }
    return ApprovalChange(id=trail.row.id, state=state, **(known | fields))


async def approved(store: Store, approval_id: str = "apr_1", **fields: Any) -> ApprovalUse:
    trail = (await store.ask_approval(an_ask(approval_id, **fields))).trail
    assert await store.change_approval(to(trail))
    found = await store.find_approval(approval_id)
    assert found is not None
    return ApprovalUse(approval_id, found.row.version)


async def test_an_approval_is_what_was_asked_and_stays_so(store: Store) -> None:
    answered = await store.ask_approval(an_ask())
    assert answered.opened
    found = await store.find_approval("apr_1")
    assert found == answered.trail == await store.held_approval("b", T0)
    assert found is not None
    assert (found.agent, found.on_behalf_of, found.tool, found.run_id) == ("billing", "eve", "payments.pay", "run_1")
    assert (found.asked["arguments"], found.asked_ms, found.row.is_open) == ({"amount": 5}, T0, True)
    assert await store.find_approval("apr_2") is None
    assert await store.held_approval("other", T0) is None
    assert await store.verify() == 1


async def test_asking_again_for_the_same_opens_nothing(store: Store) -> None:
    first = await store.ask_approval(an_ask())
    many = await asyncio.gather(*(store.ask_approval(an_ask(f"apr_{n}")) for n in range(2, 10)))
    assert {(each.opened, each.trail.row.id) for each in many} == {(False, first.trail.row.id)}
    assert len(await store.list_approvals(ApprovalFilter())) == 1


@pytest.mark.parametrize("state", [ApprovalState.EXPIRED, ApprovalState.REVOKED])
async def test_what_expired_or_is_void_makes_room_for_another(store: Store, state: ApprovalState) -> None:
    trail = (await store.ask_approval(an_ask())).trail
    assert await store.change_approval(to(trail, state, kind=EventKind.APPROVAL_EXPIRED))
    assert (await store.ask_approval(an_ask("apr_2"))).opened


@pytest.mark.parametrize("state", [ApprovalState.DENIED, ApprovalState.EDITED])
async def test_what_a_person_refused_stands_until_its_time_is_over(store: Store, state: ApprovalState) -> None:
    trail = (await store.ask_approval(an_ask())).trail
    assert await store.change_approval(to(trail, state, kind=EventKind.APPROVAL_DENIED))
    assert (await store.ask_approval(an_ask("apr_2"))).trail.row.id == "apr_1"
    assert (await store.ask_approval(an_ask("apr_3", at_ms=T0 + HOUR, until_ms=T0 + 2 * HOUR))).opened


async def test_of_two_changes_at_once_one_counts(store: Store) -> None:
    trail = (await store.ask_approval(an_ask())).trail
    changes = (to(trail, body={"by": "bob"}), to(trail, ApprovalState.DENIED, kind=EventKind.APPROVAL_DENIED))
    assert sorted(await asyncio.gather(*map(store.change_approval, changes))) == [False, True]
    assert not await store.change_approval(to(trail))
    assert not await store.change_approval(
        ApprovalChange("none", T0, "approval.denied", 1, ApprovalState.DENIED, 0, {})
    )


async def test_an_edit_closes_one_and_opens_another_or_does_neither(store: Store) -> None:
    trail = (await store.ask_approval(an_ask())).trail
    await store.ask_approval(an_ask("apr_9", "taken"))
    void = to(trail, ApprovalState.EDITED, kind=EventKind.APPROVAL_EDITED)
    assert not await store.change_approval(void, an_ask("apr_2", "taken"))
    assert (await store.held_approval("b", T0)) == trail
    assert await store.change_approval(void, an_ask("apr_2", "edited", state=ApprovalState.APPROVED))
    edited = await store.held_approval("edited", T0)
    assert edited is not None
    assert (edited.row.id, edited.row.state) == ("apr_2", "approved")
    assert await store.verify() == 4


async def test_an_approval_is_used_once_and_the_claim_says_so(store: Store) -> None:
    use = await approved(store)
    claims = [intent(f"c{n}", approval=use, on_behalf_of="eve") for n in range(5)]
    verdicts = [claimed.verdict for claimed in await asyncio.gather(*map(store.claim, claims))]
    assert sorted(verdicts) == sorted([ClaimVerdict.CLAIMED, *[ClaimVerdict.STALE] * 4])
    assert await store.held_approval("b", T0) is None
    claim, used = [event async for event in store.events(EventFilter(after_seq=2))]
    assert (claim.kind, used.kind, used.call_id) == (EventKind.CALL_CLAIMED, EventKind.APPROVAL_USED, "apr_1")
    assert '"approval":"apr_1"' in claim.body
    assert f'"call":"{claim.call_id}"' in used.body
    assert await store.verify() == 4


async def test_an_approval_that_is_not_there_pending_withdrawn_or_late_is_not_used(store: Store) -> None:
    assert (await store.claim(intent("c1", approval=ApprovalUse("none", 1)))).verdict is ClaimVerdict.STALE
    pending = (await store.ask_approval(an_ask())).trail
    use = ApprovalUse("apr_1", pending.row.version)
    assert (await store.claim(intent("c2", approval=use))).verdict is ClaimVerdict.STALE
    assert await store.change_approval(to(pending))
    assert (await store.claim(intent("c3", approval=use))).verdict is ClaimVerdict.STALE
    found = await store.find_approval("apr_1")
    assert found is not None
    current = ApprovalUse("apr_1", found.row.version)
    assert (await store.claim(intent("c4", approval=current, at_ms=T0 + HOUR))).verdict is ClaimVerdict.STALE
    assert await store.change_approval(to(found, ApprovalState.PENDING, kind=EventKind.APPROVAL_WITHDRAWN))
    assert (await store.claim(intent("c5", approval=current))).verdict is ClaimVerdict.STALE
    assert await store.unfinished() == []


async def test_a_call_that_certainly_did_nothing_gives_its_approval_back(store: Store) -> None:
    use = await approved(store)
    await store.claim(intent("c1", approval=use))
    await store.finish(ending("c1", StepStatus.FAILED, release=True, returns=("apr_1",)))
    assert (await store.claim(intent("c2", approval=use))).verdict is ClaimVerdict.CLAIMED
    await store.finish(ending("c2", StepStatus.UNKNOWN))
    await store.settle(ending("c2", StepStatus.FAILED, release=True, returns=("apr_1",)))
    assert (await store.claim(intent("c3", approval=use))).verdict is ClaimVerdict.CLAIMED
    await store.finish(ending("c3"))
    assert (await store.claim(intent("c4", approval=use))).verdict is ClaimVerdict.STALE
    assert await store.verify()


async def test_a_call_uses_its_grant_beside_its_approval_both_or_neither(store: Store) -> None:
    approval, grant = await approved(store), await approved(store, "stn_1", binding="g", standing=True, most=2)
    spent = ApprovalUse("stn_1", grant.version - 1)
    refused = await store.claim(intent("c1", approval=approval, grant=spent))
    assert refused.verdict is ClaimVerdict.STALE
    assert (await store.claim(intent("c2", approval=approval, grant=grant))).verdict is ClaimVerdict.CLAIMED
    claim, *used = [event async for event in store.events(EventFilter(after_seq=4))]
    assert '"grant":"stn_1"' in claim.body
    assert [(event.kind, event.call_id) for event in used] == [
        (EventKind.APPROVAL_USED, "apr_1"),
        (EventKind.APPROVAL_USED, "stn_1"),
    ]
    await store.finish(ending("c2", StepStatus.FAILED, release=True, returns=("apr_1", "stn_1")))
    for number in range(2):
        assert (await store.claim(intent(f"g{number}", grant=grant))).verdict is ClaimVerdict.CLAIMED
    assert (await store.claim(intent("g2", approval=approval, grant=grant))).verdict is ClaimVerdict.STALE
    assert (await store.claim(intent("c3", approval=approval))).verdict is ClaimVerdict.CLAIMED
    assert await store.verify()


async def test_an_unknown_approval_is_not_given_back(store: Store) -> None:
    await store.claim(intent("c1"))
    await store.finish(ending("c1", StepStatus.FAILED, release=True, returns=("apr_1",)))
    assert await store.verify() == 2


async def test_a_standing_approval_is_used_as_often_as_it_says(store: Store) -> None:
    ask = an_ask(kind=EventKind.STANDING_CREATED, state=ApprovalState.APPROVED, standing=True, most=3)
    use = ApprovalUse("apr_1", (await store.ask_approval(ask)).trail.row.version)
    claims = [intent(f"c{n}", approval=use) for n in range(5)]
    verdicts = [claimed.verdict for claimed in await asyncio.gather(*map(store.claim, claims))]
    assert verdicts.count(ClaimVerdict.CLAIMED) == 3
    assert await store.verify() == 7


async def test_lists_are_narrowed_and_begin_with_the_newest(store: Store) -> None:
    for number in range(4):
        await store.ask_approval(an_ask(f"apr_{number}", f"b{number}", until_ms=T0 + number))
    ask = an_ask("stn_1", "s", kind=EventKind.STANDING_CREATED, state=ApprovalState.APPROVED, standing=True)
    stands = (await store.ask_approval(ask)).trail
    await store.change_approval(to(stands, ApprovalState.REVOKED, kind=EventKind.STANDING_REVOKED))

    async def ids(**wanted: Any) -> list[str]:
        return [trail.row.id for trail in await store.list_approvals(ApprovalFilter(**wanted))]

    assert await ids() == ["stn_1", "apr_3", "apr_2", "apr_1", "apr_0"]
    assert await ids(standing=True) == ["stn_1"]
    assert await ids(standing=True, is_open=True) == []
    assert await ids(standing=False, is_open=True, limit=2) == ["apr_3", "apr_2"]
    assert await ids(is_open=True, until_ms=T0 + 1) == ["apr_1", "apr_0"]
    [_, second] = await store.list_approvals(ApprovalFilter(standing=False, limit=2))
    assert await ids(before_seq=second.row.asked_seq) == ["apr_1", "apr_0"]


async def test_what_cannot_be_written_opens_nothing(store: Store) -> None:
    with pytest.raises(StoreFault, match="cannot be recorded"):
        await store.ask_approval(an_ask(body={"arguments": object()}))
    assert await store.find_approval("apr_1") is None
    trail = (await store.ask_approval(an_ask())).trail
    void = to(trail, ApprovalState.EDITED, kind=EventKind.APPROVAL_EDITED)
    with pytest.raises(StoreFault, match="cannot be recorded"):
        await store.change_approval(void, an_ask("apr_2", "edited", body={"arguments": object()}))
    assert await store.find_approval("apr_1") == trail
    assert await store.verify() == 1


TAMPERINGS = {
    "pending made approved": "UPDATE approvals SET state = 'approved' WHERE id = 'apr_1'",
    "for another call": "UPDATE approvals SET binding = 'b2' WHERE id = 'apr_1'",
    "longer": "UPDATE approvals SET until_ms = until_ms + 1 WHERE id = 'apr_1'",
    "more often": "UPDATE approvals SET most = 2 WHERE id = 'apr_1'",
    "used made unused": "UPDATE approvals SET used = 0 WHERE id = 'apr_2'",
    "its last event forgotten": "UPDATE approvals SET used = 0, last_seq = last_seq - 2 WHERE id = 'apr_2'",
    "as if asked otherwise": "UPDATE approvals SET asked_seq = 2 WHERE id = 'apr_1'",
    "its question another of its events": "UPDATE approvals SET asked_seq = version WHERE id = 'apr_2'",
    "as if decided otherwise": "UPDATE approvals SET version = 2 WHERE id = 'apr_1'",
    "standing": "UPDATE approvals SET standing = 1 WHERE id = 'apr_1'",
    "the question changed": "UPDATE events SET body = replace(body, '5', '6') WHERE call_id = 'apr_1'",
    "the decision changed": "UPDATE events SET body = replace(body, 'bob', 'eve') WHERE kind = 'approval.approved'",
}


@pytest.fixture
async def filled(ledger_path: Path, sqlite: SqliteStore) -> Path:
    """A ledger with one pending approval (`apr_1`) and one that was used (`apr_2`)."""
    await sqlite.ask_approval(an_ask())
    use = await approved(sqlite, "apr_2", binding="other")
    await sqlite.claim(intent("c1", approval=use))
    return ledger_path


@pytest.mark.parametrize("what", sorted(TAMPERINGS))
async def test_a_changed_row_or_event_is_found_when_it_is_used_and_when_the_ledger_is_loaded(
    filled: Path, sqlite: SqliteStore, what: str
) -> None:
    with closing(sqlite3.connect(filled)) as db:
        assert db.execute(TAMPERINGS[what]).rowcount > 0
        db.commit()
    with pytest.raises(LedgerTampered):
        await sqlite.list_approvals(ApprovalFilter())
    with pytest.raises(LedgerTampered):
        await sqlite.verify()


@pytest.mark.parametrize("body", ["{}", "nonsense"])
async def test_a_chain_sealed_anew_still_has_to_tell_of_the_approval(
    filled: Path, sqlite: SqliteStore, body: str
) -> None:
    forge_all(filled, lambda seq, old: body if seq == 1 else old)
    with pytest.raises(LedgerTampered):
        await sqlite.list_approvals(ApprovalFilter())
    with pytest.raises(LedgerTampered):
        await sqlite.verify()


async def test_an_approval_whose_question_is_nowhere_is_not_decided(filled: Path, sqlite: SqliteStore) -> None:
    asked = await sqlite.find_approval("apr_1")
    assert asked is not None
    with closing(sqlite3.connect(filled)) as db:
        db.execute("UPDATE approvals SET asked_seq = 99 WHERE id = 'apr_1'")
        db.commit()
    with pytest.raises(LedgerTampered):
        await sqlite.change_approval(to(asked))


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM approvals WHERE id = 'apr_1'",
        "INSERT INTO approvals SELECT 'apr_3', 99, 'x', 0, 'approved', 99, 0, 1, until_ms, 99 FROM approvals LIMIT 1",
    ],
)
async def test_a_row_removed_or_added_is_found_when_the_ledger_is_loaded(
    filled: Path, sqlite: SqliteStore, tampering: str
) -> None:
    with closing(sqlite3.connect(filled)) as db:
        assert db.execute(tampering).rowcount > 0
        db.commit()
    with pytest.raises(LedgerTampered):
        await sqlite.verify()


async def test_a_row_whose_events_are_gone_is_not_believed(filled: Path, sqlite: SqliteStore) -> None:
    with closing(sqlite3.connect(filled)) as db:
        db.execute("UPDATE events SET call_id = 'c9' WHERE call_id = 'apr_1'")
        db.commit()
    with pytest.raises(LedgerTampered):
        await sqlite.find_approval("apr_1")


async def test_an_approval_added_to_memory_behind_the_ledgers_back_is_found() -> None:
    from tests.fixtures.clock import FakeClock

    memory = MemoryStore(FakeClock())
    row = (await memory.ask_approval(an_ask())).trail.row
    memory._shelf.rows["apr_2"] = row._replace(id="apr_2", last_seq=7)
    with pytest.raises(LedgerTampered):
        await memory.verify()
