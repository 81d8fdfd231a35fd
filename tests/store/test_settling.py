"""A call in doubt, and a person's word for it, on every store."""

import pytest

from gateway.model.errors import StoreFault
from gateway.model.facts import PriorScope, RunRef, StepStatus
from gateway.store.ports import ClaimVerdict, EventFilter, EventKind, StepLookup, Store
from tests.store.making import ending, intent

LOOKUP = StepLookup("payments.pay", PriorScope.AGENT, "billing", ())


async def in_doubt(store: Store, call_id: str = "c1") -> None:
    await store.claim(intent(call_id, step_key="k"))
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
