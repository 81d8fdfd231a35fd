"""Delegations on every store: who handed on what, on the chain and nowhere else."""

from dataclasses import replace

from gateway.store.delegations import Delegation, DelegationChange, DelegationEnd
from gateway.store.ports import EventFilter, EventKind, Store
from tests.store.making import T0

READER = Delegation(
    id="tg_reader",
    digest="d" * 64,
    agent="payer",
    name="payer:reader",
    parent="",
    method="token",
    root="tg_payer",
    issuer="",
    on_behalf_of="ann",
    run_id="run_1",
    scopes=("fraud.*",),
    claims=("openid",),
    actors=("payer",),
    depth=1,
    created_ms=T0,
    expires_ms=T0 + 60_000,
)
END = DelegationEnd("tg_reader", "payer", "run_1", T0 + 5, "os:ann", "done")


async def test_what_became_of_delegations_is_read_in_order_from_where_one_left_off(store: Store) -> None:
    await store.put_delegation(READER)
    [made] = await store.delegation_changes(0, 9)
    assert made == DelegationChange(made.seq, READER)
    assert await store.delegation_changes(made.seq, 9) == []
    await store.end_delegation(END)
    assert await store.delegation_changes(made.seq, 9) == [DelegationChange(made.seq + 1, END)]
    assert len(await store.delegation_changes(0, 9)) == 2
    assert await store.delegation_changes(0, 1) == [made]


async def test_one_to_a_registered_agent_says_to_whom_and_one_to_a_child_says_nothing_of_it(store: Store) -> None:
    handed = replace(READER, id="tg_other", digest="", to="researcher")
    for made, acting, says in ((READER, "payer", False), (handed, "researcher", True)):
        await store.put_delegation(made)
        [*_, change] = await store.delegation_changes(0, 9)
        assert change.what == made
        assert made.acting == acting
        [*_, event] = [event async for event in store.events(EventFilter(run_id="run_1"))]
        assert ("researcher" in event.body) is says
        assert ('"to"' in event.body) is says


async def test_a_delegation_and_its_end_are_events_of_its_agent_and_run_on_the_chain(store: Store) -> None:
    await store.put_delegation(READER)
    await store.end_delegation(END)
    events = [event async for event in store.events(EventFilter(run_id="run_1", agent="payer"))]
    assert [(event.kind, event.call_id) for event in events] == [
        (EventKind.DELEGATED, "tg_reader"),
        (EventKind.WITHDRAWN, "tg_reader"),
    ]
    assert await store.verify() == 2
