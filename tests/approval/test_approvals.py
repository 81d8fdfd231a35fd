"""The life of an approval, without a policy."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.approval.approvals import Approvals, Kept
from gateway.approval.config import ApprovalsSection, WebhookSection
from gateway.approval.ring import Ring
from gateway.approval.values import Approval, ApprovalRefused, Bound, Vote
from gateway.model.errors import StoreFault
from gateway.pipeline.approving import Approving, Ground
from gateway.store.approvals import ApprovalAsk, ApprovalChange, ApprovalFilter, ApprovalTrail
from gateway.store.memory import MemoryStore
from tests.fixtures.clock import CountingIds, FakeClock
from tests.pipeline.gate import Gate

BOUND = Bound("payer", "", "payments.pay", "sha256:tool", "sha256:arguments", "sha256:bundle")


def always(approval: Approval, votes: Any) -> bool:
    del approval, votes
    return True


def an_office(
    store: MemoryStore | None = None, clock: FakeClock | None = None, ids: CountingIds | None = None
) -> Approvals:
    clock = clock or FakeClock()
    return Approvals(store or MemoryStore(clock), clock, ids or CountingIds(), Ring(), Kept())


@pytest.mark.parametrize(
    "name", ["agent", "on_behalf_of", "tool", "tool_digest", "arguments_digest", "bundle", "run", "child"]
)
def test_every_part_of_what_it_is_bound_to_makes_another_digest(name: str) -> None:
    other: dict[str, Any] = {name: "other"}
    assert replace(BOUND, **other).digest != BOUND.digest


def test_what_was_asked_for_an_agent_before_delegations_were_told_apart_is_still_found() -> None:
    asked = Bound("payer", "ann", "payments.pay", "sha256:t", "sha256:a", "sha256:b", "run_1")
    assert asked.digest == "sha256:d2e1813ffd440f918cf6843635031d676295e59030dd7689d9fb3823ba50ad64"


async def test_a_decision_of_another_process_is_seen_by_who_waits() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    one, other = an_office(store, clock), an_office(store, clock)
    approval, opened = await one.ask(BOUND, {}, "run_1")
    assert opened
    waiting = asyncio.create_task(one.decided(approval.id, 20.0))
    await asyncio.sleep(0)
    await other.approve(approval.id, Vote("bob", True, 0), always)
    assert (await waiting).state == "approved"


async def test_who_waits_in_vain_is_told_how_it_stands() -> None:
    office = an_office()
    approval, _ = await office.ask(BOUND, {}, "run_1")
    assert (await office.decided(approval.id, 0.01)).state == "pending"


async def test_what_is_over_is_not_edited() -> None:
    office = an_office()
    approval, _ = await office.ask(BOUND, {}, "run_1")
    await office.deny(approval.id, Vote("bob", False, 0))
    with pytest.raises(ApprovalRefused, match="denied"):
        await office.edit(approval.id, Vote("bob", True, 0), {}, is_enough=True)


class Restless(MemoryStore):
    """A store in which somebody else is always faster."""

    async def change_approval(self, change: ApprovalChange, opens: ApprovalAsk | None = None) -> bool:
        return False


async def test_what_keeps_changing_is_said_to() -> None:
    clock = FakeClock()
    office = an_office(Restless(clock), clock)
    approval, _ = await office.ask(BOUND, {}, "run_1")
    with pytest.raises(ApprovalRefused) as refused:
        await office.approve(approval.id, Vote("bob", True, 0), always)
    assert refused.value.code == "approval_changed"
    clock.passed += 30 * 24 * 3600
    assert await office.expire() == 1  # it is due, whoever ends it


async def test_a_ring_forgets_whom_nobody_waits_for() -> None:
    ring = Ring()
    ring.strike("apr_1")
    with ring.listening("apr_1") as one, ring.listening("apr_1") as other:
        assert len(ring) == 2
        ring.strike("apr_1")
        assert one.is_set()
        assert other.is_set()
    assert len(ring) == 0


class Unlisted(MemoryStore):
    """A store whose approvals cannot be listed."""

    async def list_approvals(self, wanted: ApprovalFilter) -> list[ApprovalTrail]:
        raise StoreFault("The ledger cannot be read.", detail="no disk")


async def test_a_sweep_or_a_messenger_that_cannot_read_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    gate = Gate(store=Unlisted(clock), clock=clock)
    secret = SecretStr("whsec_" + "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
    section = ApprovalsSection(webhook=WebhookSection(url="http://127.0.0.1:1/", secret=secret))
    ground = Ground(gate.store, gate.rules, clock, gate.ids, gate.redactor.record)
    watching = asyncio.create_task(Approving(ground, section).watch())
    while len(clock.slept) < 3:
        await asyncio.sleep(0)
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert "cannot be put on record" in caplog.text
    assert "is not told again" in caplog.text
