"""Taking and ending claims: the same on every store."""

import asyncio

import pytest

from gateway.model.errors import StoreFault
from gateway.model.facts import StepStatus
from gateway.store.ports import Claimed, ClaimVerdict, EventFilter, EventKind, Store
from tests.store.making import T0, ending, intent, lookup, record, step, use


async def kinds(store: Store) -> list[str]:
    return [event.kind.value async for event in store.events(EventFilter())]


async def test_a_claim_is_ours_when_nobody_made_the_step_before(store: Store) -> None:
    assert await store.claim(intent("c1", step_key="k")) == Claimed(ClaimVerdict.CLAIMED)
    assert await kinds(store) == [EventKind.CALL_CLAIMED]


async def test_a_step_that_still_runs_is_answered_as_executing(store: Store) -> None:
    await store.claim(intent("c1", step_key="k", arguments={"a": 1}))
    again = await store.claim(intent("c2", step_key="k", arguments={"a": 1}))
    assert again.verdict is ClaimVerdict.RECORDED
    recorded = again.recorded
    assert recorded is not None
    assert (recorded.call_id, recorded.status, recorded.end_body) == ("c1", StepStatus.EXECUTING, None)
    assert (recorded.agent, recorded.tool, recorded.run_id) == ("billing", "payments.pay", "run_1")
    assert (recorded.step_key, recorded.arguments_digest, recorded.started_at_ms) == ("k", "sha256:1", T0)
    assert recorded.claim_body["arguments"] == {"a": 1}
    assert not recorded.delivered


@pytest.mark.parametrize("status", [StepStatus.SUCCEEDED, StepStatus.UNKNOWN])
async def test_a_step_that_ended_is_answered_with_its_outcome(store: Store, status: StepStatus) -> None:
    await store.claim(intent("c1", step_key="k"))
    await store.finish(ending("c1", status, output={"receipt": "r"}))
    again = await store.claim(intent("c2", step_key="k"))
    assert again.verdict is ClaimVerdict.RECORDED
    assert again.recorded is not None
    assert again.recorded.status is status
    assert again.recorded.end_body is not None
    assert again.recorded.end_body["result"]["structuredContent"] == {"receipt": "r"}
    assert await kinds(store) == [EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED]


@pytest.mark.parametrize("status", [None, StepStatus.SUCCEEDED, StepStatus.FAILED])
async def test_the_same_key_with_other_arguments_is_a_conflict(store: Store, status: StepStatus | None) -> None:
    await store.claim(intent("c1", step_key="k"))
    if status is not None:
        await store.finish(ending("c1", status))
    again = await store.claim(intent("c2", step_key="k", arguments_digest="sha256:2"))
    assert again.verdict is ClaimVerdict.CONFLICT
    assert again.recorded is not None
    assert again.recorded.call_id == "c1"


async def test_a_failed_step_is_superseded_by_the_same_call(store: Store) -> None:
    await store.claim(intent("c1", step_key="k"))
    await store.finish(ending("c1", StepStatus.FAILED))
    assert (await store.claim(intent("c2", step_key="k"))).verdict is ClaimVerdict.CLAIMED
    held = await store.recorded("billing", "payments.pay", "k")
    assert held is not None
    assert held.call_id == "c2"
    assert await store.verify() == 3


async def test_a_step_may_fail_again_and_again_and_then_succeed(store: Store) -> None:
    for number in range(3):
        assert (await store.claim(intent(f"c{number}", step_key="k"))).verdict is ClaimVerdict.CLAIMED
        await store.finish(ending(f"c{number}", StepStatus.FAILED))
    await store.claim(intent("c9", step_key="k"))
    await store.finish(ending("c9"))
    assert (await store.claim(intent("c10", step_key="k"))).verdict is ClaimVerdict.RECORDED
    assert await store.verify() == 8


async def test_a_key_belongs_to_one_agent_and_one_tool(store: Store) -> None:
    assert (await store.claim(intent("c1", step_key="k"))).verdict is ClaimVerdict.CLAIMED
    assert (await store.claim(intent("c2", step_key="k", agent="other"))).verdict is ClaimVerdict.CLAIMED
    assert (await store.claim(intent("c3", "payments.refund", step_key="k"))).verdict is ClaimVerdict.CLAIMED


async def test_calls_without_a_key_never_meet(store: Store) -> None:
    assert (await store.claim(intent("c1"))).verdict is ClaimVerdict.CLAIMED
    assert (await store.claim(intent("c2"))).verdict is ClaimVerdict.CLAIMED


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_call_id_is_claimed_once(store: Store, key: str | None) -> None:
    await store.claim(intent("c1", step_key=key))
    await store.finish(ending("c1", StepStatus.FAILED))
    with pytest.raises(StoreFault) as fault:
        await store.claim(intent("c1", step_key=key))
    assert "c1 was claimed before" in fault.value.detail
    assert await store.verify() == 2


async def test_a_call_ends_once(store: Store) -> None:
    await store.claim(intent("c1"))
    await store.finish(ending("c1"))
    with pytest.raises(StoreFault) as fault:
        await store.finish(ending("c1", StepStatus.FAILED))
    assert "c1 has ended already" in fault.value.detail
    assert await store.verify() == 2


async def test_what_was_never_claimed_cannot_end(store: Store) -> None:
    with pytest.raises(StoreFault) as fault:
        await store.finish(ending("ghost"))
    assert "ghost was never claimed" in fault.value.detail
    assert await store.verify() == 0


async def test_a_body_that_is_not_json_is_refused_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreFault):
        await store.claim(intent("c1", arguments={"x": object()}))
    with pytest.raises(StoreFault):
        await store.record(record("c2", body={"x": float("nan"), "y": {1, 2}}))
    with pytest.raises(StoreFault):
        await store.record(record("c3", body={"x": "\ud800"}), durable=False)
    assert await store.verify() == 0


async def test_a_single_use_step_is_used_by_one_call(store: Store) -> None:
    await step(store, "check", {"payment_id": 7})
    asked = lookup(values=[("payment_id", 7)])
    assert (await store.claim(intent("pay1", uses=(use("check", asked),)))).verdict is ClaimVerdict.CLAIMED
    second = await store.claim(intent("pay2", uses=(use("check", asked),)))
    assert second == Claimed(ClaimVerdict.CONSUMED, call_id="pay1")
    found = (await store.steps([asked]))[0]
    assert found is not None
    assert found.consumed_by == "pay1"
    assert await store.verify() == 3


async def test_a_step_may_be_relied_on_without_using_it_up(store: Store) -> None:
    await step(store, "check", {"payment_id": 7})
    relied = use("check", lookup(values=[("payment_id", 7)]), consume=False)
    for number in range(3):
        assert (await store.claim(intent(f"pay{number}", uses=(relied,)))).verdict is ClaimVerdict.CLAIMED


async def test_a_claim_is_stale_when_a_newer_step_started_since(store: Store) -> None:
    asked = lookup(values=[("payment_id", 7)])
    await step(store, "check1", {"payment_id": 7})
    await store.claim(intent("check2", "fraud.check", {"payment_id": 7}))
    for consume in (True, False):
        claimed = await store.claim(intent("pay", step_key="k", uses=(use("check1", asked, consume=consume),)))
        assert claimed == Claimed(ClaimVerdict.STALE)
    assert await store.recorded("billing", "payments.pay", "k") is None


async def test_a_claim_is_stale_when_the_step_has_another_status_or_is_not_there(store: Store) -> None:
    asked = lookup(values=[("payment_id", 7)])
    await step(store, "check", {"payment_id": 7})
    executing = use("check", asked, StepStatus.EXECUTING)
    assert (await store.claim(intent("p1", uses=(executing,)))).verdict is ClaimVerdict.STALE
    elsewhere = use("check", lookup(values=[("payment_id", 8)]))
    assert (await store.claim(intent("p2", uses=(elsewhere,)))).verdict is ClaimVerdict.STALE


async def test_a_refused_claim_uses_up_nothing_and_supersedes_nothing(store: Store) -> None:
    await step(store, "check", {"payment_id": 7})
    await store.claim(intent("p1", step_key="k"))
    await store.finish(ending("p1", StepStatus.FAILED))
    good, bad = use("check", lookup(values=[("payment_id", 7)])), use("none", lookup(values=[("payment_id", 8)]))
    assert (await store.claim(intent("p2", step_key="k", uses=(good, bad)))).verdict is ClaimVerdict.STALE
    held = await store.recorded("billing", "payments.pay", "k")
    assert held is not None
    assert held.call_id == "p1"
    found = (await store.steps([lookup(values=[("payment_id", 7)])]))[0]
    assert found is not None
    assert found.consumed_by is None


async def test_a_recorded_answer_comes_before_the_state_of_the_steps_it_used(store: Store) -> None:
    await step(store, "check", {"payment_id": 7})
    used = (use("check", lookup(values=[("payment_id", 7)])),)
    await store.claim(intent("p1", step_key="k", uses=used))
    assert (await store.claim(intent("p2", step_key="k", uses=used))).verdict is ClaimVerdict.RECORDED


async def test_a_released_ending_gives_back_the_key_and_the_steps(store: Store) -> None:
    await step(store, "check", {"payment_id": 7})
    used = (use("check", lookup(values=[("payment_id", 7)])),)
    await store.claim(intent("p1", step_key="k", uses=used))
    await store.finish(ending("p1", StepStatus.FAILED, release=True))
    assert await store.recorded("billing", "payments.pay", "k") is None
    again = await store.claim(intent("p2", step_key="k", arguments_digest="sha256:2", uses=used))
    assert again.verdict is ClaimVerdict.CLAIMED
    assert await store.verify() == 5


async def test_a_failed_ending_without_release_keeps_the_steps_used(store: Store) -> None:
    await step(store, "check", {"payment_id": 7})
    used = (use("check", lookup(values=[("payment_id", 7)])),)
    await store.claim(intent("p1", uses=used))
    await store.finish(ending("p1", StepStatus.FAILED))
    assert await store.claim(intent("p2", uses=used)) == Claimed(ClaimVerdict.CONSUMED, call_id="p1")


async def test_a_release_without_key_and_steps_gives_nothing_back(store: Store) -> None:
    await store.claim(intent("p1"))
    await store.finish(ending("p1", StepStatus.FAILED, release=True))
    assert await store.verify() == 2


async def test_of_two_parallel_claims_of_one_step_exactly_one_wins(store: Store) -> None:
    for number in range(200):
        await step(store, f"check{number}", {"payment_id": number})
        used = (use(f"check{number}", lookup(values=[("payment_id", number)])),)
        both = await asyncio.gather(
            store.claim(intent(f"a{number}", uses=used)), store.claim(intent(f"b{number}", uses=used))
        )
        assert sorted(claimed.verdict for claimed in both) == [ClaimVerdict.CLAIMED, ClaimVerdict.CONSUMED]
    assert await store.verify() == 600


async def test_of_fifty_parallel_claims_of_one_key_one_is_ours(store: Store) -> None:
    claims = await asyncio.gather(*(store.claim(intent(f"c{number}", step_key="k")) for number in range(50)))
    verdicts = [claimed.verdict for claimed in claims]
    assert verdicts.count(ClaimVerdict.CLAIMED) == 1
    assert verdicts.count(ClaimVerdict.RECORDED) == 49
    assert {claimed.recorded.call_id for claimed in claims if claimed.recorded} == {"c0"}


async def test_one_refused_transition_does_not_harm_those_beside_it(store: Store) -> None:
    done = await asyncio.gather(
        store.claim(intent("c1")),
        store.finish(ending("ghost")),
        store.claim(intent("c2")),
        store.claim(intent("c1")),
        store.record(record("c3")),
        return_exceptions=True,
    )
    assert [isinstance(answer, StoreFault) for answer in done] == [False, True, False, True, False]
    assert await store.verify() == 3


async def test_an_answer_counts_as_delivered_at_once(store: Store) -> None:
    await store.claim(intent("c1", step_key="k"))
    await store.finish(ending("c1"))
    await store.deliver("c1")
    held = await store.recorded("billing", "payments.pay", "k")
    claimed = await store.claim(intent("c2", step_key="k"))
    assert held is not None
    assert held.delivered
    assert claimed.recorded is not None
    assert claimed.recorded.delivered
    await store.verify()
    later = await store.recorded("billing", "payments.pay", "k")
    assert later is not None
    assert later.delivered


async def test_of_answers_to_two_attempts_the_later_one_counts(store: Store) -> None:
    await store.claim(intent("c1", step_key="k"))
    await store.finish(ending("c1"))
    await store.deliver("c1", 1)
    await store.deliver("c1", 2)
    for _ in range(2):
        held = await store.recorded("billing", "payments.pay", "k")
        assert held is not None
        assert held.delivered == 2
        await store.verify()  # by now it is written


async def test_delivering_what_was_never_claimed_does_nothing(store: Store) -> None:
    await store.deliver("ghost")
    assert await store.verify() == 0


async def test_calls_that_never_ended_are_unfinished(store: Store) -> None:
    for call_id in ("c1", "c2", "c3"):
        await store.claim(intent(call_id))
    await store.finish(ending("c2", StepStatus.UNKNOWN))
    await store.record(record("c4"))
    assert [recorded.call_id for recorded in await store.unfinished()] == ["c1", "c3"]
    assert all(recorded.status is StepStatus.EXECUTING for recorded in await store.unfinished())
