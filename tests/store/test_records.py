"""Events, runs, tokens and the inventory: the same on every store."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from gateway.model.errors import StoreFault
from gateway.model.facts import RunRef
from gateway.store.ports import EventFilter, EventKind, Store, TokenRecord
from gateway.store.sightings import AgentSighting
from tests.store.making import T0, ending, intent, record, step


async def ids(store: Store, **wanted: Any) -> list[str]:
    return [event.call_id async for event in store.events(EventFilter(**wanted))]


async def test_events_come_in_the_order_in_which_they_were_told(store: Store) -> None:
    await asyncio.gather(*(store.record(record(f"c{n}"), durable=n % 3 == 0) for n in range(40)))
    events = [event async for event in store.events(EventFilter())]
    assert [event.call_id for event in events] == [f"c{n}" for n in range(40)]
    assert [event.seq for event in events] == list(range(1, 41))
    assert all(later.prev_hash == earlier.hash for earlier, later in pairwise(events))


async def test_an_event_says_everything_it_was_told(store: Store) -> None:
    await store.record(record("c1", on_behalf_of="ann", body={"x": [1, "é", None], "big": 2**70}))
    event = await anext(store.events(EventFilter()))
    assert (event.seq, event.at_ms, event.kind) == (1, T0, EventKind.CALL_RECORDED)
    assert (event.call_id, event.run_id, event.agent) == ("c1", "run_1", "billing")
    assert (event.on_behalf_of, event.tool) == ("ann", "payments.list")
    assert event.body == '{"x":[1,"é",null],"big":1180591620717411303424}'


async def test_what_was_recorded_lazily_is_there_for_whoever_asks_next(store: Store) -> None:
    await store.record(record("c1"), durable=False)
    assert await ids(store) == ["c1"]
    await store.record(record("c2"), durable=False)
    assert await store.verify() == 2


async def test_events_are_filtered_by_every_field(store: Store) -> None:
    await step(store, "c1", {}, at_ms=T0)
    await store.record(record("c2", run_id="run_2", at_ms=T0 + 2000))
    await store.record(record("c3", agent="other", tool="paymentsx", at_ms=T0 + 3000))
    await store.record(record("", kind=EventKind.ADMIN, tool="", run_id="", at_ms=T0 + 4000))
    assert await ids(store, call_id="c1") == ["c1", "c1"]
    assert await ids(store, call_id="c2") == ["c2"]
    assert await ids(store, run_id="run_1") == ["c1", "c1", "c3"]
    assert await ids(store, run_id="run_2") == ["c2"]
    assert await ids(store, agent="other") == ["c3"]
    assert await ids(store, tool="payments.list") == ["c2"]
    assert await ids(store, tool="payments*") == ["c2", "c3"]
    assert await ids(store, tool="payments.*") == ["c2"]
    assert await ids(store, tool="*") == ["c1", "c1", "c2", "c3", ""]
    assert await ids(store, kind=EventKind.CALL_RECORDED) == ["c2", "c3"]
    assert await ids(store, kind=EventKind.CALL_RECORDED, limit=1, latest=True) == ["c3"]
    assert await ids(store, kind=EventKind.CALL_CLAIMED, run_id="run_1") == ["c1"]
    assert await ids(store, since_ms=T0 + 1000) == ["c1", "c2", "c3", ""]
    assert await ids(store, until_ms=T0 + 1000) == ["c1"]
    assert await ids(store, since_ms=T0 + 1000, until_ms=T0 + 3000) == ["c1", "c2"]
    assert await ids(store, since_ms=T0 + 5000) == []
    assert await ids(store, until_ms=T0) == []
    assert await ids(store, after_seq=3) == ["c3", ""]
    assert await ids(store, run_id="run_1", agent="billing", tool="fraud.*", after_seq=1) == ["c1"]


async def test_a_clock_that_jumps_back_hides_no_event(store: Store) -> None:
    for number, at_ms in enumerate([T0, T0 + 9000, T0 + 1000, T0 + 2000, T0 + 500]):
        await store.record(record(f"c{number}", at_ms=at_ms))
    assert await ids(store, since_ms=T0 + 1000) == ["c1", "c2", "c3"]
    assert await ids(store, until_ms=T0 + 1000) == ["c0", "c4"]
    assert await ids(store, since_ms=T0 + 500, until_ms=T0 + 2000) == ["c2", "c4"]


async def test_a_limit_takes_the_first_or_the_latest(store: Store) -> None:
    for number in range(5):
        await store.record(record(f"c{number}"))
    assert await ids(store, limit=2) == ["c0", "c1"]
    assert await ids(store, limit=2, latest=True) == ["c3", "c4"]
    assert await ids(store, limit=9, latest=True) == [f"c{n}" for n in range(5)]
    assert await ids(store, limit=0) == []
    assert await ids(store, limit=0, latest=True) == []


async def test_a_long_ledger_is_read_to_its_end(store: Store) -> None:
    await asyncio.gather(*(store.record(record(f"c{n}"), durable=False) for n in range(1201)))
    assert await ids(store, limit=5000) == [f"c{n}" for n in range(1201)]
    assert len(await ids(store)) == 1000


RUN = RunRef("run_a", "billing/ann", "key")


async def test_the_first_caller_opens_a_run_and_the_next_one_joins_it(store: Store) -> None:
    assert await store.open_run(RUN, "invoice-7", T0) == RUN
    assert await store.open_run(RunRef("run_b", "billing/ann", "open"), "invoice-7", T0) == RUN
    events = [event async for event in store.events(EventFilter())]
    assert [(e.kind, e.run_id, e.agent, e.on_behalf_of, e.at_ms) for e in events] == [
        (EventKind.RUN_OPENED, "run_a", "billing", "ann", T0)
    ]


async def test_a_run_is_anothers_for_another_owner_or_key(store: Store) -> None:
    await store.open_run(RUN, "k", T0)
    assert (await store.open_run(RunRef("run_b", "billing", "key"), "k", T0)).id == "run_b"
    assert (await store.open_run(RunRef("run_c", "billing/ann", "key"), "other", T0)).id == "run_c"
    assert await store.verify() == 3


async def test_parallel_callers_get_one_run(store: Store) -> None:
    opened = await asyncio.gather(*(store.open_run(RunRef(f"r{n}", "billing", "open"), "k", T0) for n in range(20)))
    assert {run.id for run in opened} == {"r0"}
    assert await store.verify() == 1


async def test_a_run_is_found_by_its_id(store: Store) -> None:
    await store.open_run(RUN, "k", T0)
    assert await store.find_run("run_a") == RUN
    assert await store.find_run("run_b") is None


async def test_a_run_id_is_never_opened_twice(store: Store) -> None:
    await store.open_run(RUN, "k", T0)
    with pytest.raises(StoreFault) as fault:
        await store.open_run(RunRef("run_a", "somebody", "open"), "k", T0)
    assert "run_a was opened before" in fault.value.detail
    assert await store.verify() == 1


async def test_a_run_holds_its_claimed_and_recorded_calls(store: Store) -> None:
    await store.claim(intent("c1", run_id="run_1"))
    await store.finish(ending("c1"))
    await store.record(record("c2", run_id="run_1"))
    await store.record(record("c3", run_id="run_2"))
    await store.record(record("c4", run_id="run_1", kind=EventKind.ADMIN))
    assert await store.count_steps("run_1") == 2
    assert await store.count_steps("run_2") == 1
    assert await store.count_steps("run_3") == 0


def token(token_id: str, agent: str = "billing", created_ms: int = T0) -> TokenRecord:
    return TokenRecord(token_id, agent, "sha256:d", created_ms, created_ms + 1000)


async def test_tokens_are_kept_in_the_order_of_their_making(store: Store) -> None:
    await store.put_token(token("t2", created_ms=T0 + 1))
    await store.put_token(token("t1"))
    assert await store.tokens() == [token("t1"), token("t2", created_ms=T0 + 1)]


async def test_a_token_id_is_used_once(store: Store) -> None:
    await store.put_token(token("t1"))
    with pytest.raises(StoreFault):
        await store.put_token(token("t1", agent="other"))
    assert await store.tokens() == [token("t1")]


async def test_a_revocation_that_lies_ahead_is_brought_forward_by_a_later_command(store: Store) -> None:
    await store.put_token(TokenRecord("t1", "billing", "d", T0, T0 + 1000))
    assert await store.revoke_tokens("billing", T0 + 60) == ["t1"]
    assert await store.revoke_tokens("billing", T0 + 5) == ["t1"]
    assert [token.revoked_ms for token in await store.tokens()] == [T0 + 5]


async def test_revoking_spares_the_kept_token_other_agents_and_those_revoked_before(store: Store) -> None:
    for token_id, agent in (("t1", "billing"), ("t2", "billing"), ("t3", "billing"), ("t4", "other")):
        await store.put_token(token(token_id, agent))
    assert await store.revoke_tokens("billing", T0 + 5, keep="t2") == ["t1", "t3"]
    assert await store.revoke_tokens("billing", T0 + 9) == ["t2"]
    assert await store.revoke_tokens("billing", T0 + 9) == []
    assert {t.id: t.revoked_ms for t in await store.tokens()} == {"t1": T0 + 5, "t2": T0 + 9, "t3": T0 + 5, "t4": None}


async def test_sightings_add_up_and_the_newest_name_wins(store: Store) -> None:
    await store.saw_agents([AgentSighting("a", True, 10, "old", "1", 2, 1, (("t.x", 2),))])
    await store.saw_agents([AgentSighting("a", True, 20, "new", "2", 3, 0, (("t.x", 1), ("t.y", 2)))])
    await store.saw_agents([AgentSighting("a", True, 15, "late", "3", 1, 1)])
    await store.saw_agents([AgentSighting("a", True, 30)])
    assert await store.agents_seen() == [AgentSighting("a", True, 30, "new", "2", 6, 2, (("t.x", 3), ("t.y", 2)))]


async def test_refused_callers_are_lines_of_their_own_and_the_newest_come_first(store: Store) -> None:
    await store.saw_agents([AgentSighting("a", True, 10), AgentSighting("a", False, 20), AgentSighting("b", True, 30)])
    assert [(s.agent, s.known) for s in await store.agents_seen()] == [("b", True), ("a", False), ("a", True)]


async def test_an_empty_ledger_holds(store: Store) -> None:
    assert await store.verify() == 0
    assert await ids(store) == []
    assert await store.unfinished() == []
    assert await store.tokens() == []
    assert await store.agents_seen() == []
