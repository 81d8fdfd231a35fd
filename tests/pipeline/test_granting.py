"""Access that people open for a while: to an agent, a tool and what it may ask of it; and it closes by itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.approval.values import Approval, ApprovalRefused
from gateway.codec import dump
from gateway.ledger.entries import facts_from
from gateway.model.errors import ConnectorFault
from gateway.model.outcome import Denied, Succeeded
from gateway.model.request import DryRun
from gateway.pipeline.desk import Grant, described
from gateway.store.bodies import load
from gateway.store.ports import EventFilter, EventKind
from tests.pipeline.gate import PAYMENT, Gate
from tests.pipeline.people import ASK, HOUR, LEADS, a_gate, asked, is_done, paid, shown

GRANTED = (Path(__file__).parents[2] / "policies" / "granted.cedar").read_text("utf-8")
GRANTED = GRANTED[: GRANTED.index("// Who may grant")]
READS = '@id("reads") permit (principal, action == Gateway::Action::"fraud.check", resource);'
FORBID = '@id("never") @message("Never.") forbid (principal, action == Gateway::Action::"payments.pay", resource);'


def house(*more: str) -> Gate:
    return a_gate(GRANTED, READS, LEADS, *more)


async def opened(gate: Gate, by: str = "bob", **fields: Any) -> Approval:
    known: dict[str, Any] = {"agent": "payer", "tool": "payments.pay", "most": 1, "access": True}
    return await gate.approving.desk.grant(by, Grant(**{**known, "until_ms": gate.clock.now_ms() + HOUR, **fields}))


async def pays(gate: Gate, payment: str = "p1", amount: float = 1, **more: Any) -> bool:
    """Pay; tell whether it was done. What is not done is denied."""
    outcome = (await gate.run("payments_pay", {**PAYMENT, "payment_id": payment, "amount": amount}, **more)).outcome
    assert isinstance(outcome, Succeeded | Denied), outcome
    return is_done(outcome)


async def uses(gate: Gate, grant: Approval) -> int:
    return (await gate.approving.desk.find(grant.id)).used


async def test_a_grant_for_one_call_lets_through_the_next_one_and_no_more() -> None:
    gate = house()
    assert not await pays(gate, "p0")
    grant = await opened(gate)
    assert await pays(gate, "p1")
    assert not await pays(gate, "p2")
    assert [call["payment_id"] for call in paid(gate)] == ["p1"]
    assert await gate.kinds(grant.id) == [EventKind.STANDING_CREATED, EventKind.APPROVAL_USED]
    await gate.store.verify()


async def test_who_is_denied_for_lack_of_a_grant_is_told_how_to_be_given_one() -> None:
    gate = house()
    told = shown(gate, await gate.run("payments_pay", PAYMENT))["text"]
    assert "toolgate access grant payer payments.pay --count 1 --within 1h --as NAME" in told
    told = shown(forbidding := house(FORBID), await forbidding.run("payments_pay", PAYMENT))["text"]
    assert ("Never." in told, "access grant" in told) == (True, False)


async def test_a_grant_ends_with_its_time_and_with_a_word() -> None:
    gate = house()
    await opened(gate, most=5)
    assert await pays(gate, "p1")
    gate.clock.passed += HOUR / 1000
    assert not await pays(gate, "p2")
    grant = await opened(gate, most=5)
    assert await pays(gate, "p3")
    await gate.approving.desk.revoke("carol", grant.id)
    assert not await pays(gate, "p4")


@pytest.mark.parametrize(
    "narrowed",
    [
        {"agent": "other"},
        {"on_behalf_of": "ann"},
        {"tool": "payments.settle"},
        {"where": ("amount < 1",)},
        {"run": "run_of_somebody_else"},
    ],
    ids=str,
)
async def test_a_grant_is_only_for_what_it_says(narrowed: dict[str, Any]) -> None:
    gate = house()
    grant = await opened(gate, **narrowed)
    assert not await pays(gate)
    assert await uses(gate, grant) == 0


async def test_a_grant_may_be_for_one_run_alone() -> None:
    gate = house()
    first = await gate.run("fraud_check", PAYMENT)
    await opened(gate, most=2, run=first.call.facts.run.id)
    assert await pays(gate, "p1", run=first.call.facts.run.id)


async def test_every_forbid_outweighs_a_grant_and_uses_none_up() -> None:
    gate = house(FORBID)
    grant = await opened(gate)
    assert not await pays(gate)
    assert await uses(gate, grant) == 0


async def test_what_is_permitted_anyway_uses_no_grant_up() -> None:
    gate = house()
    grant = await opened(gate, tool="fraud.check")
    assert (await gate.run("fraud_check", PAYMENT)).call.decision.allowed
    assert await uses(gate, grant) == 0


async def test_a_grant_stands_for_no_approval_nor_an_approval_for_a_grant() -> None:
    gate = house(ASK)
    desk = gate.approving.desk
    standing = await opened(gate, access=False)
    assert not await pays(gate)
    grant = await opened(gate)
    await desk.revoke("bob", standing.id)
    approval = await asked(gate)
    assert await uses(gate, grant) == 0
    await desk.approve("carol", approval)
    assert is_done((await gate.run("payments_pay", PAYMENT)).outcome)
    assert (await uses(gate, grant), (await desk.find(approval)).used) == (1, 1)
    assert not await pays(gate, "p2")
    await gate.store.verify()


async def test_of_many_calls_at_once_a_grant_lets_through_as_many_as_it_says() -> None:
    gate = house()
    grant = await opened(gate, most=3)
    done = await asyncio.gather(*(pays(gate, f"p{number}") for number in range(12)))
    assert (sum(done), len(paid(gate)), await uses(gate, grant)) == (3, 3, 3)
    await gate.store.verify()


async def test_a_call_that_certainly_did_nothing_gives_its_grant_back() -> None:
    gate = house()
    grant = await opened(gate)
    gate.servers["payments"].calls = [ConnectorFault("It is full.", code="rejected", sent=False)]
    await gate.run("payments_pay", PAYMENT)
    assert await uses(gate, grant) == 0
    assert await pays(gate, "p2")
    assert (await gate.kinds(grant.id))[1:] == [
        EventKind.APPROVAL_USED,
        EventKind.APPROVAL_RETURNED,
        EventKind.APPROVAL_USED,
    ]


async def test_a_repeat_is_answered_from_the_record_after_its_grant_has_ended() -> None:
    gate = house()
    grant = await opened(gate)
    for _ in range(2):
        assert is_done((await gate.run("payments_pay", PAYMENT, idempotency_key="k")).outcome)
        gate.clock.passed += HOUR
    assert (len(paid(gate)), await uses(gate, grant)) == (1, 1)


async def test_what_was_granted_is_on_record_with_the_call() -> None:
    gate = house()
    grant = await opened(gate, why="the client waits")
    ended = await gate.run("payments_pay", PAYMENT)
    [claim] = [event async for event in gate.store.events(EventFilter(call_id=ended.call.id, kind="call.claimed"))]
    body = load(claim.body.encode())
    facts = facts_from(body)
    assert facts.grant is not None
    assert (facts.grant.id, [one.name for one in facts.grant.by]) == (grant.id, ["bob"])
    assert body["claim"]["grant"] == grant.id
    told = described(await gate.approving.desk.find(grant.id), gate.clock.now_ms())
    assert (told["access"], told["state"], told["votes"][0]["why"]) == (True, "used", "the client waits")


@pytest.mark.parametrize(("role", "is_let"), [("leads", True), ("security", False)])
async def test_a_policy_may_ask_who_has_opened_it(role: str, is_let: bool) -> None:
    gate = a_gate(GRANTED.replace("has grant", f'has grant && context.base.grant.by in Gateway::Role::"{role}"'), LEADS)
    await opened(gate)
    assert await pays(gate) is is_let


async def test_a_dry_run_is_decided_with_the_grant_and_uses_nothing_up() -> None:
    gate = house()
    grant = await opened(gate)
    ended = await gate.run("payments_pay", PAYMENT, dry_run=DryRun())
    assert ended.call.decision.allowed
    assert await uses(gate, grant) == 0


async def test_a_grant_of_somebody_who_may_no_longer_give_it_counts_for_nothing() -> None:
    gate = house()
    await opened(gate)
    gate.rules.current = house().rules.current
    assert await pays(gate, "p1")
    await opened(gate)
    gate.rules.current = a_gate(GRANTED, READS).rules.current
    assert not await pays(gate, "p2")


@pytest.mark.parametrize(
    ("by", "policies", "code"),
    [
        ("dan", (GRANTED, READS, LEADS), "may_not_approve"),
        ("nobody", (GRANTED, READS, LEADS), "unknown_person"),
        ("bob", (READS, LEADS), "no_grants"),
    ],
)
async def test_who_may_not_grants_nothing_nor_where_it_would_open_nothing(
    by: str, policies: tuple[str, ...], code: str
) -> None:
    gate = a_gate(*policies)
    with pytest.raises(ApprovalRefused) as refused:
        await opened(gate, by)
    assert refused.value.code == code


async def test_an_agent_is_listed_what_is_open_to_it_for_as_long_as_it_is() -> None:
    gate = house()
    heard: list[str] = []
    gate.approving.access.shown_in(gate.listing, lambda: heard.append("changed"))
    identity = (await gate.run("fraud_check", PAYMENT)).call.identity

    def listed() -> list[str]:
        return [str(tool["name"]) for tool in gate.listing.tools(identity) if tool["name"].startswith("payments")]

    await gate.approving.access.refresh()
    assert (listed(), heard) == ([], [])
    await opened(gate)
    await opened(gate, on_behalf_of="ann", tool="payments.settle")
    await gate.approving.access.refresh()
    assert (listed(), heard) == (["payments_pay"], ["changed"])
    assert b"payments_pay" in dump(gate.listing.text(identity))
    gate.clock.passed += HOUR / 1000
    assert listed() == []
    await gate.approving.access.refresh()
    assert heard == ["changed", "changed"]
    await opened(gate)
    gate.rules.current = a_gate(READS, LEADS).rules.current
    await gate.approving.access.refresh()
    assert heard == ["changed", "changed"]


async def test_what_is_open_cannot_be_told_where_the_store_cannot_be_read() -> None:
    gate = house()
    identity = (await gate.run("fraud_check", PAYMENT)).call.identity
    grant = await opened(gate)
    await gate.approving.access.refresh()
    assert gate.approving.access.to(identity) == {"payments.pay"}
    shelf = gate.store._shelf
    shelf.rows[grant.id] = shelf.rows[grant.id]._replace(most=7)
    await gate.approving.access.refresh()
    assert gate.approving.access.to(identity) == frozenset()
