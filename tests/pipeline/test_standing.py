"""Standing approvals: calls like these need nobody, so many of them, until then."""

from typing import Any

import pytest

from gateway.approval.values import ApprovalRefused
from gateway.pipeline.desk import Grant, described
from gateway.store.ports import EventKind
from tests.pipeline.gate import PAYMENT, PERMIT_ALL
from tests.pipeline.people import LEADS, TWO, a_gate, asked, changed_tool, is_done, paid, shown


def a_grant(**fields: Any) -> Grant:
    known: dict[str, Any] = {"agent": "payer", "tool": "payments.pay", "most": 100, "until_ms": 1_900_000_000_000}
    return Grant(**(known | {"where": ("amount <= 100",)} | fields))


async def test_a_hundred_small_calls_under_a_standing_approval_ask_nobody_and_the_next_one_does() -> None:
    gate = a_gate()
    standing = await gate.approving.desk.grant("bob", a_grant())
    for number in range(100):
        assert is_done((await gate.run("payments_pay", {**PAYMENT, "payment_id": f"p{number}", "amount": 100})).outcome)
    assert await gate.approving.desk.listed() == []
    await asked(gate, {**PAYMENT, "payment_id": "p101", "amount": 1})
    assert len(paid(gate)) == 100
    assert (await gate.approving.desk.find(standing.id)).used == 100
    assert (await gate.kinds(standing.id)).count(EventKind.APPROVAL_USED) == 100
    await gate.store.verify()


async def test_a_standing_approval_counts_however_many_were_given_after_it() -> None:
    gate = a_gate()
    first = await gate.approving.desk.grant("bob", a_grant())
    for number in range(1001):
        await gate.approving.desk.grant("bob", a_grant(where=(f"amount <= -{number}",)))
    assert is_done((await gate.run("payments_pay", {**PAYMENT, "amount": 100})).outcome)
    assert (await gate.approving.desk.find(first.id)).used == 1


@pytest.mark.parametrize(
    ("grant", "arguments"),
    [
        ({}, {"amount": 100.01}),
        ({"agent": "other"}, {"amount": 1}),
        ({"on_behalf_of": "ann"}, {"amount": 1}),
        ({"tool": "payments.settle"}, {"amount": 1}),
        ({"where": ('payee in ["ACME Ltd"]',)}, {"amount": 1}),
    ],
)
async def test_a_standing_approval_is_only_for_what_it_says(grant: dict[str, Any], arguments: dict[str, Any]) -> None:
    gate = a_gate()
    await gate.approving.desk.grant("bob", a_grant(**grant))
    await asked(gate, {**PAYMENT, **arguments})


async def test_a_standing_approval_ends_with_its_time_with_a_word_and_with_the_tools_version() -> None:
    gate = a_gate()
    desk, small = gate.approving.desk, {**PAYMENT, "amount": 1}
    until = gate.clock.now_ms() + 1000
    await desk.grant("bob", a_grant(until_ms=until))
    gate.clock.passed += 1
    first = await asked(gate, small)
    await gate.approving.approvals.expire()
    granted = await desk.grant("bob", a_grant())
    revoked = await desk.revoke("carol", granted.id)
    assert revoked.status(gate.clock.now_ms()) == "revoked"
    assert await asked(gate, small) == first
    await desk.grant("bob", a_grant())
    gate.rules.current = changed_tool()
    await asked(gate, small)
    assert paid(gate) == []
    await gate.store.verify()


async def test_a_refusal_of_the_very_call_outweighs_a_standing_approval() -> None:
    gate = a_gate()
    small = {**PAYMENT, "amount": 1}
    await gate.approving.desk.deny("carol", await asked(gate, small))
    await gate.approving.desk.grant("bob", a_grant())
    assert shown(gate, await gate.run("payments_pay", small))["code"] == "approval_denied"


async def test_a_standing_approval_may_need_two_people_too() -> None:
    gate = a_gate(PERMIT_ALL, TWO, LEADS)
    desk, small = gate.approving.desk, {**PAYMENT, "amount": 1}
    granted = await desk.grant("bob", a_grant())
    await asked(gate, small)
    await desk.approve("carol", granted.id)
    assert is_done((await gate.run("payments_pay", small)).outcome)
    gone = await desk.withdraw("carol", granted.id)
    assert gone.status(gate.clock.now_ms()) == "approved"
    assert (await desk.deny("carol", granted.id)).status(gate.clock.now_ms()) == "revoked"


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        ({"most": 0}, "no_limit"),
        ({"until_ms": 5}, "no_limit"),
        ({"agent": "nobody"}, "unknown_agent"),
        ({"tool": "nothing.*"}, "unknown_tool"),
        ({"where": ("amount",)}, "bad_condition"),
    ],
)
async def test_a_standing_approval_without_limits_is_refused(grant: dict[str, Any], code: str) -> None:
    with pytest.raises(ApprovalRefused) as refused:
        await a_gate().approving.desk.grant("bob", a_grant(**grant))
    assert refused.value.code == code


async def test_who_may_not_approve_grants_and_revokes_nothing() -> None:
    desk = a_gate().approving.desk
    with pytest.raises(ApprovalRefused, match="no policy lets dan"):
        await desk.grant("dan", a_grant(tool="payments.*"))
    granted = await desk.grant("bob", a_grant(tool="payments.*", where=()))
    with pytest.raises(ApprovalRefused, match="no policy lets dan"):
        await desk.revoke("dan", granted.id)
    with pytest.raises(ApprovalRefused, match="standing"):
        await desk.edit("bob", granted.id, {})
    assert [one.id for one in await desk.listed(standing=True)] == [granted.id]
    assert described(granted, 0)["tools"] == ["payments.list", "payments.pay", "payments.settle"]


async def test_only_a_standing_approval_is_revoked() -> None:
    gate = a_gate()
    with pytest.raises(ApprovalRefused) as refused:
        await gate.approving.desk.revoke("bob", await asked(gate))
    assert refused.value.code == "not_standing"
    with pytest.raises(ApprovalRefused) as refused:
        await gate.approving.desk.find("apr_none")
    assert refused.value.code == "unknown_approval"
