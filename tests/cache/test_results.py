"""Reads that are answered again from what was answered before, each time as a call of its own."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.budget.budgets import Budgets, Told
from gateway.cache.results import Bounds, Fetched, ResultCache
from gateway.catalog.config import CacheRule, ToolRule
from gateway.connector import ConnectorFault
from gateway.model.answers import CacheScope, Caching, Source
from gateway.model.back import NOBODY, Back
from gateway.model.call import Call
from gateway.model.identity import Identity
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.model.tool import Effect
from gateway.pipeline.runner import Ended
from gateway.store.bodies import load
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PERMIT_ALL, Gate, answer, request, rules_of, settle

MINUTE = ToolRule(cache="60s")
LISTED: Mapping[str, Any] = {"limit": 3}


def gate(cache: ToolRule = MINUTE, *policies: str) -> Gate:
    made = Gate(*policies, tools={"payments.list": cache})
    made.servers["payments"].calls += [answer({"n": n}) for n in range(1, 9)]
    return made


def nothing_else(call: Call) -> str:
    """Calls whose servers are told nothing beside the arguments."""
    del call
    return ""


def said(ended: Ended) -> Any:
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    return ended.outcome.result["structuredContent"]


def asked(gate: Gate) -> int:
    return len(gate.servers["payments"].asked)


async def test_a_read_is_answered_again_without_its_server_and_is_a_call_of_its_own() -> None:
    home = gate()
    first = await home.run("payments_list", LISTED)
    home.clock.passed += 59
    again = await home.run("payments_list", LISTED)
    assert (said(first), said(again), asked(home)) == ({"n": 1}, {"n": 1}, 1)
    assert not first.call.has("source")
    assert again.call.source == Source(first.call.id, 59_000)
    [event] = await home.events(again.call.id)
    body = load(event.body.encode())
    assert body["source"] == {"call": first.call.id, "age_ms": 59_000}
    assert body["decision"]["allowed"] is True
    assert (body["outcome"], body["result"]["structuredContent"], body["attempts"]) == ("succeeded", {"n": 1}, [])


async def test_an_answer_that_is_too_old_is_asked_for_again() -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    home.clock.passed += 60
    assert said(await home.run("payments_list", LISTED)) == {"n": 2}


async def test_nothing_outlives_a_clock_that_is_set_back() -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    home.clock.passed -= 3600
    assert said(await home.run("payments_list", LISTED)) == {"n": 2}


async def test_arguments_are_the_same_however_they_are_written() -> None:
    home = gate()
    await home.run("payments_list", {"limit": 1, "of": {"a": 1, "b": 2.0}})
    assert said(await home.run("payments_list", {"of": {"b": 2, "a": 1}, "limit": 1.0})) == {"n": 1}
    assert said(await home.run("payments_list", {"of": {"b": 2, "a": 1}, "limit": 2})) == {"n": 2}


async def test_what_is_said_to_the_tool_besides_its_arguments_makes_another_call() -> None:
    home = gate()
    metas: list[dict[str, Any]] = [
        {},
        {"progressToken": 1, "traceparent": "00-1", "io.toolgate/run": "r"},
        {"acme.example/locale": "de"},
        {"acme.example/locale": "de", "progressToken": 2},
        {"acme.example/locale": float("nan")},
        {"acme.example/locale": float("nan")},
    ]
    answers = [said(await home.run("payments_list", LISTED, meta=meta)) for meta in metas]
    assert answers == [{"n": 1}, {"n": 1}, {"n": 2}, {"n": 2}, {"n": 3}, {"n": 4}]


class Client(Back):
    """A client that says what it can do, and what it knows."""

    def __init__(self, capabilities: Mapping[str, Any], extensions: Mapping[str, Any]) -> None:
        self.capabilities = capabilities
        self.declares = {"extensions": extensions} if extensions else {}


SHOWS = {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}}
MAY_ELICIT = '@id("elicit") permit (principal, action == Gateway::Action::"elicit", resource);'


async def test_what_a_client_declares_makes_another_call() -> None:
    home = gate(ToolRule(cache=CacheRule(ttl="60s", scope=CacheScope.EVERYBODY)), PERMIT_ALL, MAY_ELICIT)
    clients = [
        NOBODY,
        Client({}, {}),
        Client({}, SHOWS),
        Client({}, SHOWS),
        Client({}, {"io.modelcontextprotocol/ui": {"mimeTypes": []}}),
        Client({"elicitation": {"form": {}}}, {}),
        Client({"elicitation": {"form": {}}}, {}),
        Client({"elicitation": {"url": {}}}, {}),
    ]
    answers = [said(await home.run("payments_list", LISTED, back=client))["n"] for client in clients]
    assert answers == [1, 1, 2, 2, 3, 4, 4, 5]
    assert said(await home.run("payments_list", LISTED, "other", back=Client({}, SHOWS))) == {"n": 2}


async def test_what_a_client_can_do_and_no_policy_lets_its_server_use_makes_no_other_call() -> None:
    home = gate(ToolRule(cache=CacheRule(ttl="60s", scope=CacheScope.EVERYBODY)), PERMIT_ALL)
    await home.run("payments_list", LISTED)
    asks = Client({"elicitation": {}}, {})
    assert said(await home.run("payments_list", LISTED, "other", back=asks)) == {"n": 1}


async def test_another_agent_is_not_given_an_answer_unless_everybody_may_have_it() -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    assert said(await home.run("payments_list", LISTED, "other")) == {"n": 2}
    shared = gate(ToolRule(cache=CacheRule(ttl="60s", scope=CacheScope.EVERYBODY)))
    await shared.run("payments_list", LISTED)
    assert said(await shared.run("payments_list", LISTED, "other")) == {"n": 1}


async def test_a_cached_answer_is_decided_on_each_time() -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    forbid = 'forbid (principal, action == Gateway::Action::"payments.list", resource);'
    home.rules.current = rules_of(PERMIT_ALL, f'@id("no") {forbid}', tools={"payments.list": MINUTE})
    assert isinstance((await home.run("payments_list", LISTED)).outcome, Denied)


async def test_what_a_policy_masks_is_masked_in_a_cached_answer_too() -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    mask = '@id("mask") @obligation("redact:n") permit (principal, action, resource);'
    home.rules.current = rules_of(mask, tools={"payments.list": MINUTE})
    masked = await home.run("payments_list", LISTED)
    assert masked.call.has("source")
    assert said(masked) != {"n": 1}


@pytest.mark.parametrize("end", [answer(), answer(isError=True), ConnectorFault("gone")])
async def test_a_write_through_the_same_server_by_anybody_ends_it_however_it_goes(end: Any) -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    home.servers["payments"].calls.insert(0, end)
    await home.run("payments_pay", agent="other")
    assert said(await home.run("payments_list", LISTED)) == {"n": 2}


async def test_a_write_through_another_server_and_a_read_end_nothing() -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    await home.run("mail_send", {"to": "a@acme.example"})
    await home.run("payments_list", {"limit": 4})
    assert said(await home.run("payments_list", LISTED)) == {"n": 1}


async def test_declared_writes_end_it_and_no_others() -> None:
    home = gate(ToolRule(cache=CacheRule(ttl="60s", scope=CacheScope.AGENT, invalidated_by=["mail.*"])))
    await home.run("payments_list", LISTED)
    await home.run("payments_pay")  # takes the second answer
    assert said(await home.run("payments_list", LISTED)) == {"n": 1}
    await home.run("mail_send", {"to": "a@acme.example"})
    assert said(await home.run("payments_list", LISTED)) == {"n": 3}


async def test_what_was_read_while_something_was_written_is_not_kept_and_not_shared_with_who_comes_later() -> None:
    home = gate()
    gone = asyncio.Event()

    async def slow(call: Any) -> Any:
        await gone.wait()
        return answer({"n": "before"})

    home.servers["payments"].calls.insert(0, slow)
    reading = asyncio.create_task(home.run("payments_list", LISTED))
    await settle()
    await home.run("payments_pay")
    assert said(await home.run("payments_list", LISTED)) == {"n": 2}
    gone.set()
    assert said(await reading) == {"n": "before"}
    assert said(await home.run("payments_list", LISTED)) == {"n": 2}


async def test_of_the_same_reads_at_once_one_is_made() -> None:
    home = gate()
    go = asyncio.Event()

    async def slow(call: Any) -> Any:
        await go.wait()
        return answer({"n": "one"})

    home.servers["payments"].calls.insert(0, slow)
    reads = [asyncio.create_task(home.run("payments_list", LISTED)) for _ in range(20)]
    await settle()
    go.set()
    ended = await asyncio.gather(*reads)
    assert [said(each) for each in ended] == [{"n": "one"}] * 20
    assert asked(home) == 1
    assert [each.call.has("source") for each in ended] == [False] + [True] * 19


async def test_who_waits_for_anothers_read_makes_it_when_that_ones_caller_leaves() -> None:
    home = gate()
    home.servers["payments"].calls.insert(0, asyncio.Event())
    leader = asyncio.create_task(home.run("payments_list", LISTED))
    await settle()
    follower = asyncio.create_task(home.run("payments_list", LISTED))
    await settle()
    leader.cancel()
    assert said(await follower) == {"n": 1}
    assert asked(home) == 2


async def test_who_waits_for_anothers_read_is_told_of_its_fault() -> None:
    home = gate()
    go = asyncio.Event()

    async def refuse(call: Any) -> Any:
        await go.wait()
        raise ConnectorFault("no", code="rejected")

    home.servers["payments"].calls.insert(0, refuse)
    reads = [asyncio.create_task(home.run("payments_list", LISTED)) for _ in range(3)]
    await settle()
    go.set()
    for ended in await asyncio.gather(*reads):
        assert isinstance(ended.outcome, Failed)
        assert ended.outcome.error.code == "rejected"
    assert asked(home) == 1
    assert said(await home.run("payments_list", LISTED)) == {"n": 1}


@pytest.mark.parametrize(
    "first",
    [
        answer({"n": 0}, isError=True),
        answer({"n": 0}, _meta={"io.toolgate/incomplete": {"reason": "more"}}),
        {"structuredContent": {"n": 0}, "content": "out of shape"},
    ],
)
async def test_errors_incomplete_and_broken_answers_are_not_kept(first: Mapping[str, Any]) -> None:
    home = gate()
    home.servers["payments"].calls.insert(0, first)
    await home.run("payments_list", LISTED)
    assert said(await home.run("payments_list", LISTED)) == {"n": 1}


async def test_what_is_no_read_is_never_answered_from_the_cache() -> None:
    home = Gate(tools={"payments.*": MINUTE})
    first = await home.run("payments_pay")
    await home.store.deliver(first.call.id)  # or it would be answered from the record
    await home.run("payments_pay")
    assert (asked(home), len(home.cache)) == (2, 0)


async def test_a_read_that_a_policy_looks_back_at_is_made_each_time() -> None:
    look = (
        '@id("look") @prior("list: payments.list in run") forbid (principal, action == Gateway::Action::"mail.send", '
        "resource) unless { context.prior has list };"
    )
    home = gate(MINUTE, PERMIT_ALL, look)
    await home.run("payments_list", LISTED)
    assert said(await home.run("payments_list", LISTED)) == {"n": 2}


async def test_a_call_that_a_budget_counts_may_be_answered_from_the_cache_and_is_counted() -> None:
    home = Gate(tools={"payments.list": MINUTE}, budgets=Budgets(Told({"agent:payer": {"calls": "2/day"}})))
    home.servers["payments"].calls += [answer({"n": 1})]
    assert [said(await home.run("payments_list", LISTED)) for _ in range(2)] == [{"n": 1}] * 2
    assert asked(home) == 1
    assert isinstance((await home.run("payments_list", LISTED)).outcome, Failed)


async def test_other_terms_begin_anew() -> None:
    home = gate()
    await home.run("payments_list", LISTED)
    home.rules.current = rules_of(PERMIT_ALL, tools={"payments.list": ToolRule(cache="24h")})
    assert said(await home.run("payments_list", LISTED)) == {"n": 2}


def cached_call(user: str | None, agent: str = "payer", **more: Any) -> Call:
    call = Call(f"call_{agent}", request("payments_list", LISTED), 0)
    call.identity = Identity(agent, "jwt", "c", on_behalf_of=user, issuer="https://idp.example", **more)
    call.tool = rules_of(PERMIT_ALL).catalog.resolve("payments_list")
    call.arguments_digest = f"sha256:{more.get('digest', 'x')}"
    return call


@pytest.mark.parametrize(
    ("scope", "shares"),
    [
        (CacheScope.AGENT, [False] * 4),
        (CacheScope.USER, [True, False, False, False]),
        (CacheScope.EVERYBODY, [True] * 4),
    ],
)
async def test_whom_an_answer_is_shared_with_is_declared(scope: CacheScope, shares: list[bool]) -> None:
    cache, asked = ResultCache(FakeClock(), nothing_else), []

    async def fetch() -> Fetched:
        asked.append(1)
        return Fetched(answer())

    await cache.read(cached_call("ann"), Caching(60_000, scope), fetch)
    others = [
        cached_call("ann", "other"),
        cached_call("ann", scopes=("read",)),
        cached_call("bob"),
        cached_call(None),
    ]
    assert [(await cache.read(call, Caching(60_000, scope), fetch))[1] is not None for call in others] == shares


async def test_an_answer_to_who_was_asked_something_is_for_nobody_else() -> None:
    cache, go, asked = ResultCache(FakeClock(), nothing_else), asyncio.Event(), []

    async def fetch() -> Fetched:
        asked.append(1)
        await go.wait()
        return Fetched(answer(), shared=False, kept=False)

    caching = Caching(60_000)
    reads = [asyncio.create_task(cache.read(cached_call(None), caching, fetch)) for _ in range(3)]
    await settle()
    go.set()
    assert [source for _, source in await asyncio.gather(*reads)] == [None] * 3
    assert (len(asked), len(cache)) == (3, 0)


async def test_what_is_kept_is_bounded_and_what_was_not_used_for_longest_goes_first() -> None:
    cache, asked = ResultCache(FakeClock(), nothing_else, Bounds(answers=3, bytes_each=100, bytes_all=250)), []

    async def get(agent: str, size: int = 10) -> Source | None:
        async def fetch() -> Fetched:
            asked.append(agent)
            return Fetched({"content": [], "x": "x" * size})

        return (await cache.read(cached_call(None, agent), Caching(60_000), fetch))[1]

    for agent in ("a", "b", "c", "a", "d"):  # b goes
        await get(agent)
    assert (len(cache), await get("a") is not None, await get("b")) == (3, True, None)
    await get("large", 200)
    assert await get("large", 200) is None
    for agent in ("e", "f", "g"):
        await get(agent, 70)
    assert len(cache) == 2


async def test_a_cache_that_nothing_was_read_through_hears_of_writes_without_a_word() -> None:
    cache = ResultCache(FakeClock(), nothing_else)
    cache.wrote(replace(rules_of(PERMIT_ALL).catalog.resolve("payments_pay"), effect=Effect.WRITE))
    assert len(cache) == 0
