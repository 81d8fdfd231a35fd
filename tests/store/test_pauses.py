"""Kill switches on every store: who stopped what, on the chain."""

import json

from gateway.store.ports import EventFilter, EventKind, PauseRecord, Store
from tests.store.making import T0


async def deeds(store: Store) -> list[tuple[str, str, str, str]]:
    events = [event async for event in store.events(EventFilter())]
    assert {event.kind for event in events} == {EventKind.ADMIN}
    return [(json.loads(each.body)["deed"], each.run_id, each.agent, each.tool) for each in events]


async def test_what_is_stopped_is_there_until_it_goes_on_and_both_are_on_the_chain(store: Store) -> None:
    await store.put_pause(PauseRecord("agent:payer", T0, "os:ann", "audit"))
    await store.put_pause(PauseRecord("tool:payments.*", T0 + 1, "os:ann"))
    await store.put_pause(PauseRecord("run:run_1", T0 + 2, "os:ann"))
    assert [each.scope for each in await store.pauses()] == ["agent:payer", "tool:payments.*", "run:run_1"]
    assert (await store.pauses())[0] == PauseRecord("agent:payer", T0, "os:ann", "audit")
    assert await store.end_pause(PauseRecord("agent:payer", T0 + 3, "os:bob")) is True
    assert [each.scope for each in await store.pauses()] == ["tool:payments.*", "run:run_1"]
    assert await deeds(store) == [
        ("paused", "", "payer", ""),
        ("paused", "", "", "payments.*"),
        ("paused", "run_1", "", ""),
        ("unpaused", "", "payer", ""),
    ]
    assert await store.verify() == 4


async def test_what_is_not_stopped_cannot_go_on(store: Store) -> None:
    assert await store.end_pause(PauseRecord("all", T0, "os:ann")) is False
    assert [event async for event in store.events(EventFilter())] == []


async def test_stopping_again_says_anew_why(store: Store) -> None:
    await store.put_pause(PauseRecord("all", T0, "os:ann", "drill"))
    await store.put_pause(PauseRecord("all", T0 + 5, "os:bob", "fire"))
    assert await store.pauses() == [PauseRecord("all", T0 + 5, "os:bob", "fire")]
