"""What an agent has earned to do without being asked, and what it loses again: by the ledger alone."""

import asyncio

import pytest

from gateway.approval.config import ApprovalsSection, AutonomySection
from gateway.approval.values import ApprovalRefused
from gateway.pipeline.approving import Approving, Ground
from gateway.pipeline.autonomy import Autonomy, Finding, Proposal, Zone
from gateway.pipeline.desk import described
from gateway.store.ports import Event, EventKind
from tests.pipeline.gate import PAYMENT, Gate, answer
from tests.pipeline.people import a_gate, asked, is_done, paid

SECTION = AutonomySection(least=3, promote_below=0.25, demote_above=0.5, demote_least=2, most=10, lasts="7d")
AS_PROPOSED = Proposal(0, "")


def payment(number: int, amount: float = 10) -> dict[str, object]:
    return {**PAYMENT, "payment_id": f"p{number}", "amount": amount}


def autonomy(gate: Gate, section: AutonomySection = SECTION) -> Autonomy:
    return Autonomy(gate.store, gate.approving.approvals, gate.approving.desk, section)


async def one(gate: Gate, section: AutonomySection = SECTION) -> Finding:
    [found] = await autonomy(gate, section).review()
    return found


async def approved(gate: Gate, *amounts: float, first: int = 0) -> None:
    """Have payments of these amounts asked about, approved, and made."""
    for number, amount in enumerate(amounts, first):
        approval = await asked(gate, payment(number, amount))
        await gate.approving.desk.approve("bob", approval)
        assert is_done((await gate.run("payments_pay", payment(number, amount))).outcome)


async def test_what_people_always_approved_is_proposed_within_what_they_approved_and_needs_a_person() -> None:
    gate = a_gate()
    assert await autonomy(gate).review() == []
    await approved(gate, 10, 250, 99.5)
    found = await one(gate)
    assert found.proposal == Proposal(10, "7d", ("amount <= 250",))
    assert found.told()["level"] == "asked"
    await asked(gate, payment(7))  # a proposal is none that counts
    standing = await autonomy(gate).accept("bob", "payer", "payments.pay", AS_PROPOSED)
    assert described(standing, gate.clock.now_ms())["earned"] == {
        "approved": 3,
        "overridden": 0,
        "carried": 3,
        "failed": 0,
        "rate": 0.0,
    }
    assert is_done((await gate.run("payments_pay", payment(8, 250))).outcome)
    await asked(gate, payment(9, 250.5))
    after = await one(gate)
    assert (after.told()["level"], after.told()["used"], after.proposal) == ("standing", 1, None)
    assert after.why_not == "it has a standing approval"
    await gate.store.verify()


async def test_nothing_is_proposed_on_too_little_or_where_people_or_outcomes_say_otherwise() -> None:
    gate = a_gate()
    await approved(gate, 10, 10)
    assert (await one(gate)).why_not == "fewer than 3 calls were approved and carried out"
    await approved(gate, 10, first=2)
    assert (await one(gate)).proposal is not None
    for number in (3, 4):
        await gate.approving.desk.deny("bob", await asked(gate, payment(number)))
    found = await one(gate)
    assert (found.proposal, found.why_not) == (None, "40.0% were overridden or failed, more than 25.0%")
    assert (await one(gate, SECTION.model_copy(update={"promote_below": 0.4}))).proposal is not None


@pytest.mark.parametrize(
    ("by", "tool", "less", "code"),
    [
        ("bob", "payments.settle", AS_PROPOSED, "not_earned"),
        ("dan", "payments.pay", AS_PROPOSED, "may_not_approve"),
        ("bob", "payments.pay", Proposal(11, ""), "too_wide"),
        ("bob", "payments.pay", Proposal(0, "8d"), "too_wide"),
        ("bob", "payments.pay", Proposal(0, "", ("amount",)), "bad_condition"),
    ],
)
async def test_only_what_is_proposed_or_less_is_accepted_and_only_by_whom_the_policies_let(
    by: str, tool: str, less: Proposal, code: str
) -> None:
    gate = a_gate()
    await approved(gate, 10, 10, 10)
    with pytest.raises(ApprovalRefused) as refused:
        await autonomy(gate).accept(by, "payer", tool, less)
    assert refused.value.code == code
    assert await gate.approving.desk.listed(standing=True) == []


async def test_too_little_to_be_proposed_is_not_accepted() -> None:
    gate = a_gate()
    await approved(gate, 10)
    with pytest.raises(ApprovalRefused, match="fewer than 3 calls"):
        await autonomy(gate).accept("bob", "payer", "payments.pay", AS_PROPOSED)


async def test_less_than_is_proposed_may_be_accepted() -> None:
    gate = a_gate()
    await approved(gate, 10, 10, 10)
    less = Proposal(2, "1h", ("amount <= 5",))
    standing = await autonomy(gate).accept("bob", "payer", "payments.pay", less)
    assert (standing.most, standing.until_ms) == (2, gate.clock.now_ms() + 3_600_000)
    await asked(gate, payment(8, 6))
    assert is_done((await gate.run("payments_pay", payment(9, 5))).outcome)


async def test_what_was_earned_ends_by_itself_once_too_much_fails_and_has_to_be_earned_anew() -> None:
    gate = a_gate()
    await approved(gate, 10, 10, 10)
    watching = autonomy(gate)
    assert await watching.demote() == []
    standing = await watching.accept("bob", "payer", "payments.pay", AS_PROPOSED)
    assert is_done((await gate.run("payments_pay", payment(5))).outcome)
    gate.servers["payments"].calls += [answer(isError=True), answer(isError=True)]
    await gate.run("payments_pay", payment(6))
    assert await watching.demote() == []  # one of two failed: not more than half
    await gate.run("payments_pay", payment(7))
    assert await watching.demote() == [standing.id]
    assert await watching.demote() == []
    ended = await gate.approving.desk.find(standing.id)
    assert ended.state == "revoked"
    assert EventKind.STANDING_REVOKED in await gate.kinds(standing.id)
    before = len(paid(gate))
    await asked(gate, payment(8))
    assert len(paid(gate)) == before
    assert await watching.review() == []  # nothing was decided since
    await gate.store.verify()


async def test_people_who_say_otherwise_end_what_was_earned_and_a_grant_of_their_own_stays() -> None:
    gate = a_gate()
    await approved(gate, 10, 10, 10)
    watching = autonomy(gate)
    standing = await watching.accept("bob", "payer", "payments.pay", AS_PROPOSED)
    for number in (11, 12):
        await gate.approving.desk.deny("carol", await asked(gate, payment(number, 999)))
    again = autonomy(gate)  # after a restart
    assert await again.demote() == [standing.id]


async def test_the_gateway_looks_by_itself() -> None:
    gate = a_gate()
    await approved(gate, 10, 10, 10)
    standing = await autonomy(gate).accept("bob", "payer", "payments.pay", AS_PROPOSED)
    for number in (11, 12):
        await gate.approving.desk.deny("carol", await asked(gate, payment(number, 999)))
    ground = Ground(gate.store, gate.rules, gate.clock, gate.ids, gate.redactor.record)
    watching = asyncio.create_task(Approving(ground, ApprovalsSection(autonomy=SECTION)).watch())
    while (await gate.approving.desk.find(standing.id)).state == "approved":
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await asked(gate, payment(13))


def test_what_was_taken_back_or_is_in_doubt_has_failed_and_what_takes_back_is_no_call_of_the_agents() -> None:
    zone = Zone("payer", "payments.pay")

    def take(kind: EventKind, of: str, body: str = "{}") -> None:
        zone.take(Event(1, 0, kind, of, "run", "payer", "", "payments.pay", body, "", ""))

    take(EventKind.CALL_CLAIMED, "a")
    take(EventKind.CALL_CLAIMED, "b")
    take(EventKind.CALL_CLAIMED, "c", '{"undoes": "a"}')
    take(EventKind.CALL_FINISHED, "a", '{"ending": {"status": "succeeded"}}')
    take(EventKind.CALL_FINISHED, "b", '{"ending": {"status": "unknown"}}')
    take(EventKind.CALL_FINISHED, "c", '{"ending": {"status": "failed"}}')
    take(EventKind.CALL_COMPENSATED, "a")
    assert (zone.carried, zone.failed, zone.rate) == ({"a", "b"}, {"a", "b"}, 1.0)
    take(EventKind.CALL_SETTLED, "b", '{"ending": {"status": "succeeded"}}')
    assert zone.failed == {"a"}
    take(EventKind.APPROVAL_ASKED, "apr_1")  # its body was removed in time
    take(EventKind.APPROVAL_APPROVED, "apr_1")
    take(EventKind.APPROVAL_WITHDRAWN, "apr_1")
    take(EventKind.RUN_OPENED, "run")
    assert (zone.approved, zone.overridden, zone.most) == (set(), {"apr_1"}, {})
    assert Zone("payer", "nothing").rate == 0.0
