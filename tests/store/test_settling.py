"""A call in doubt, and a person's word for it, on every store."""

import pytest

from gateway.model.errors import StoreFault
from gateway.model.facts import PriorScope, RunRef, StepStatus
from gateway.store.ports import ClaimVerdict, EventFilter, EventKind, StepLookup, Store
from tests.store.making import ending, intent, step

LOOKUP = StepLookup("payments.pay", PriorScope.AGENT, "billing", ())


async def in_doubt(store: Store, call_id: str = "c1", key: str = "k") -> None:
    await store.claim(intent(call_id, step_key=key))
    await store.finish(ending(call_id, StepStatus.UNKNOWN))


async def status(store: Store) -> StepStatus:
    [step] = await store.steps([LOOKUP])
    assert step is not None
    return step.status


async def test_a_call_settled_as_succeeded_answers_its_repeats_and_counts_as_history(store: Store) -> None:
    await in_doubt(store)
    await store.settle(ending("c1", StepStatus.SUCCEEDED, output={"receipt": "r"}))
    assert await status(store) is StepStatus.SUCCEEDED
    again = await store.claim(intent("c2", step_key="k"))
    assert (again.verdict, again.recorded and again.recorded.status) == (ClaimVerdict.RECORDED, StepStatus.SUCCEEDED)
    kinds = [event.kind async for event in store.events(EventFilter(call_id="c1"))]
    assert kinds == [EventKind.CALL_CLAIMED, EventKind.CALL_FINISHED, EventKind.CALL_SETTLED]
    assert await store.verify() == 3


async def test_a_call_settled_as_failed_gives_back_what_it_held(store: Store) -> None:
    await in_doubt(store)
    await store.settle(ending("c1", StepStatus.FAILED, release=True))
    assert await status(store) is StepStatus.FAILED
    again = await store.claim(intent("c2", step_key="k"))
    assert again.verdict is ClaimVerdict.CLAIMED
    assert await store.verify() == 4


async def test_the_calls_in_doubt_are_listed_until_they_are_settled(store: Store) -> None:
    await step(store, "c0", {})
    await in_doubt(store)
    await in_doubt(store, "c2", "k2")
    assert [held.call_id for held in await store.in_doubt()] == ["c1", "c2"]
    await store.settle(ending("c1", StepStatus.FAILED, release=True))
    assert [(held.call_id, held.status) for held in await store.in_doubt()] == [("c2", StepStatus.UNKNOWN)]


async def test_only_a_call_in_doubt_can_be_settled_and_only_once(store: Store) -> None:
    await store.claim(intent("running"))
    await store.claim(intent("done"))
    await store.finish(ending("done", StepStatus.SUCCEEDED))
    await in_doubt(store)
    await store.settle(ending("c1", StepStatus.SUCCEEDED))
    for call_id in ("running", "done", "c1", "nobody"):
        with pytest.raises(StoreFault, match="Nothing was settled"):
            await store.settle(ending(call_id, StepStatus.FAILED))
    assert await store.verify() == 6


async def test_runs_are_listed_with_their_steps_and_what_is_in_doubt(store: Store) -> None:
    for number in (1, 2):
        await store.open_run(RunRef(f"run_{number}", "billing", "open"), f"key-{number}", number)
    await in_doubt(store)
    found = await store.runs("", 10)
    assert [(each.run.id, each.steps, each.doubtful, each.opened_ms) for each in found] == [
        ("run_2", 0, 0, 2),
        ("run_1", 1, 1, 1),
    ]
    assert [each.run.id for each in await store.runs("", 1)] == ["run_2"]
    assert await store.runs("somebody", 10) == []


# --- an effect that another call took back


async def paid(store: Store, call_id: str = "c1", *, doubted: bool = False) -> None:
    await store.claim(intent(call_id, step_key="k"))
    if doubted:
        await store.finish(ending(call_id, StepStatus.UNKNOWN))
        await store.settle(ending(call_id))
    else:
        await store.finish(ending(call_id, output={"receipt": "r"}))


@pytest.mark.parametrize("doubted", [False, True])
async def test_a_call_whose_effect_was_taken_back_is_compensated_and_its_key_stays_taken(
    store: Store, doubted: bool
) -> None:
    await paid(store, doubted=doubted)
    await store.claim(intent("r1", "payments.refund"))
    await store.finish(ending("r1", compensates="c1"))
    assert await status(store) is StepStatus.COMPENSATED
    again = await store.claim(intent("c2", step_key="k"))
    assert (again.verdict, again.recorded and again.recorded.status) == (ClaimVerdict.RECORDED, StepStatus.COMPENSATED)
    events = [event async for event in store.events(EventFilter(call_id="c1"))]
    assert events[-1].kind is EventKind.CALL_COMPENSATED
    assert '"compensated_by":"r1"' in events[-1].body
    assert await store.verify() == (6 if doubted else 5)


@pytest.mark.parametrize("outcome", [StepStatus.FAILED, StepStatus.UNKNOWN])
async def test_what_did_not_certainly_happen_takes_nothing_back(store: Store, outcome: StepStatus) -> None:
    await paid(store)
    await store.claim(intent("r1", "payments.refund"))
    await store.finish(ending("r1", outcome, compensates="c1"))
    assert await status(store) is StepStatus.SUCCEEDED
    assert await store.verify() == 4


async def test_a_compensation_in_doubt_takes_back_once_it_is_settled(store: Store) -> None:
    await paid(store)
    await store.claim(intent("r1", "payments.refund"))
    await store.finish(ending("r1", StepStatus.UNKNOWN))
    await store.settle(ending("r1", compensates="c1"))
    assert await status(store) is StepStatus.COMPENSATED
    assert await store.verify() == 6


@pytest.mark.parametrize("call_id", ["nobody", "running", "failed", "c1"])
async def test_only_what_succeeded_is_taken_back_and_only_once(store: Store, call_id: str) -> None:
    await paid(store)
    await store.claim(intent("running", "a.b"))
    await store.claim(intent("failed", "a.b"))
    await store.finish(ending("failed", StepStatus.FAILED))
    for number in (1, 2):
        await store.claim(intent(f"r{number}", "payments.refund"))
        await store.finish(ending(f"r{number}", compensates="c1" if number == 1 else call_id))
    kinds = [event.kind async for event in store.events(EventFilter())]
    assert kinds.count(EventKind.CALL_COMPENSATED) == 1
    assert await store.verify() == 10
