"""Messages are taken from who signed them, once, and become a resource that is updated."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.inbox import InboxConfig, InboxConnector
from connectors.inbox.upstream import InboxUpstream
from gateway.connector import ConnectorFault, Receiver, Rejected, Surroundings, ToolCall
from gateway.model.errors import StoreFault
from gateway.pipeline.hooks import Hooks, UnknownHook
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, EventKind, Record
from tests.connectors.inbox.senders import PLAIN, SECRET, SECRETS, SENDERS, body_of, github, standard
from tests.fixtures.clock import CountingIds, FakeClock

BODY = body_of({"type": "deal.won", "data": {"id": 7}})


def inbox(**hooks: Any) -> InboxUpstream:
    config = InboxConnector.configure({"hooks": hooks or {"deals": {"secret": SECRET}}}, {})
    upstream = InboxConnector.upstream(config, Surroundings(server="events", ids=CountingIds()))
    assert isinstance(upstream, InboxUpstream)
    assert isinstance(upstream, Receiver)
    return upstream


def hooks_over(upstream: InboxUpstream, store: MemoryStore | None = None, clock: FakeClock | None = None) -> Hooks:
    clock = clock or FakeClock()
    hooks = Hooks(store or MemoryStore(clock), clock, CountingIds(), lambda value: value)
    hooks.receivers["events"] = upstream
    return hooks


async def read(upstream: InboxUpstream, uri: str = "inbox://events/deals") -> Any:
    result = await upstream.call(ToolCall("resources/read", {"uri": uri}, "c1", 5.0, method="resources/read"))
    return json.loads(result["contents"][0]["text"])["messages"]


# --- who it is from


@pytest.mark.parametrize("scheme", SENDERS)
def test_a_message_signed_as_its_sender_signs_is_taken(scheme: str) -> None:
    upstream = inbox(deals={"secret": SECRETS[scheme], "signed": scheme})
    now = FakeClock().now_ms()
    found = upstream.check("deals", SENDERS[scheme](BODY, now // 1000), BODY, now)
    assert (found.payload["data"], found.at_ms) == ({"id": 7}, now)


@pytest.mark.parametrize("scheme", SENDERS)
@pytest.mark.parametrize("wrong", ["body", "key", "nothing"])
def test_a_message_signed_otherwise_is_refused(scheme: str, wrong: str) -> None:
    upstream = inbox(deals={"secret": SECRETS[scheme], "signed": scheme})
    now = FakeClock().now_ms()
    headers = SENDERS[scheme](BODY, now // 1000, **({"key": b"x" * 32} if wrong == "key" else {}))
    body = BODY + b" " if wrong == "body" else BODY
    with pytest.raises(Rejected, match="refused"):
        upstream.check("deals", {} if wrong == "nothing" else headers, body, now)


@pytest.mark.parametrize("scheme", ["standard", "stripe", "slack"])
@pytest.mark.parametrize("late_s", [301, -301])
def test_a_message_of_another_time_is_refused(scheme: str, late_s: int) -> None:
    upstream = inbox(deals={"secret": SECRETS[scheme], "signed": scheme})
    now = FakeClock().now_ms()
    with pytest.raises(Rejected, match="five minutes"):
        upstream.check("deals", SENDERS[scheme](BODY, now // 1000 - late_s), BODY, now)


@pytest.mark.parametrize("stamp", ["", "soon", "1e9", "-5", "9" * 40, "\u0661\u0662"])
def test_a_time_that_is_none_is_refused(stamp: str) -> None:
    headers = {**standard(BODY, 0), "webhook-timestamp": stamp}
    with pytest.raises(Rejected):
        inbox().check("deals", headers, BODY, FakeClock().now_ms())


def test_an_older_secret_is_taken_while_secrets_are_changed_and_a_message_needs_an_id() -> None:
    upstream = inbox(deals={"secret": "another-secret-of-the-gateway", "old_secret": SECRET})
    now = FakeClock().now_ms()
    assert upstream.check("deals", standard(BODY, now // 1000), BODY, now).id == "msg_1"
    with pytest.raises(Rejected, match="webhook-id"):
        upstream.check("deals", standard(BODY, now // 1000, message=""), BODY, now)


def test_what_says_it_is_json_has_to_be_and_other_text_is_kept_as_it_is() -> None:
    upstream = inbox(deals={"secret": PLAIN, "signed": "github"})
    assert upstream.check("deals", github(b"a=b", 0), b"a=b", 0).payload == "a=b"
    with pytest.raises(Rejected, match="JSON"):
        upstream.check("deals", {**github(b"{", 0), "content-type": "application/json; charset=utf-8"}, b"{", 0)


@pytest.mark.parametrize(
    "hooks",
    [{}, {"a/b": {"secret": SECRET}}, {"a": {}}, {"a": {"secret": "short"}}, {"a": {"secret": "whsec_%%%"}}],
)
def test_a_section_without_a_usable_secret_is_refused(hooks: Any) -> None:
    with pytest.raises(ValidationError):
        InboxConfig.model_validate({"hooks": hooks}, context={"environ": {}})


# --- what becomes of it


async def test_a_message_is_kept_then_told_of_and_read_newest_first() -> None:
    upstream, told = inbox(), []
    upstream.on_notice(lambda method, params: told.append((method, params)))
    clock = FakeClock()
    store = MemoryStore(clock)
    hooks = hooks_over(upstream, store, clock)
    for number in (1, 2):
        body = body_of({"n": number})
        headers = standard(body, clock.now_ms() // 1000, message=f"msg_{number}")
        assert await hooks.receive("events", "deals", headers, body) is True
    assert told == [("notifications/resources/updated", {"uri": "inbox://events/deals"})] * 2
    assert [(each["id"], each["payload"]["n"]) for each in await read(upstream)] == [("msg_2", 2), ("msg_1", 1)]
    kinds = [event.kind async for event in store.events(EventFilter(tool="events.*"))]
    assert kinds == [EventKind.WEBHOOK_RECEIVED] * 2
    await store.verify()


async def test_a_repetition_is_acknowledged_and_changes_nothing_also_after_a_restart() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    headers = standard(BODY, clock.now_ms() // 1000)
    first = hooks_over(inbox(), store, clock)
    assert await first.receive("events", "deals", headers, BODY) is True
    assert await first.receive("events", "deals", headers, BODY) is False
    upstream, told = inbox(), []
    upstream.on_notice(lambda method, params: told.append(method))
    again = hooks_over(upstream, store, clock)
    await again.restore()
    assert [each["id"] for each in await read(upstream)] == ["msg_1"]
    assert await again.receive("events", "deals", headers, BODY) is False
    assert (told, len(await read(upstream))) == ([], 1)


@pytest.mark.parametrize("scheme", SENDERS)
async def test_another_try_of_a_sender_is_the_same_message(scheme: str) -> None:
    upstream, clock = inbox(deals={"secret": SECRETS[scheme], "signed": scheme}), FakeClock()
    hooks = hooks_over(upstream, clock=clock)
    for fresh in (True, False):
        headers = SENDERS[scheme](BODY, clock.now_ms() // 1000)
        assert await hooks.receive("events", "deals", headers, BODY) is fresh
        await clock.sleep(600)


async def test_a_message_without_a_signed_time_is_known_after_a_restart_long_after_it_can_no_longer_be_read() -> None:
    clock = FakeClock()
    store, section = MemoryStore(clock), {"secret": PLAIN, "signed": "github", "keep": 1, "known_days": 30}
    hooks = hooks_over(inbox(deals=section), store, clock)
    bodies = [body_of({"n": number}) for number in range(5)]
    for body in bodies:
        assert await hooks.receive("events", "deals", github(body, 0), body) is True
    await clock.sleep(29 * 86_400)
    upstream = inbox(deals=section)
    again = hooks_over(upstream, store, clock)
    await again.restore()
    forged = {**github(bodies[0], 0), "x-github-delivery": "0b989ba4-242f-11e5-81e1-c7b6966d2516"}
    assert await again.receive("events", "deals", forged, bodies[0]) is False
    assert [each["payload"]["n"] for each in await read(upstream)] == [4]
    await clock.sleep(86_400)
    assert await again.receive("events", "deals", forged, bodies[0]) is True


async def test_the_same_body_at_another_hook_is_another_message() -> None:
    section = {"secret": PLAIN, "signed": "github"}
    hooks = hooks_over(inbox(deals=section, other=section))
    for hook in ("deals", "other"):
        assert await hooks.receive("events", hook, github(BODY, 0), BODY) is True


async def test_refusals_are_no_messages_after_a_restart_and_push_none_out_however_many_they_are() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    first = hooks_over(inbox(), store, clock)
    assert await first.receive("events", "deals", standard(BODY, clock.now_ms() // 1000), BODY)
    for _ in range(30):
        await clock.sleep(1)
        with pytest.raises(ConnectorFault):
            await first.receive("events", "deals", {}, BODY)
    upstream = inbox()
    await hooks_over(upstream, store, clock).restore()
    assert [each["id"] for each in await read(upstream)] == ["msg_1"]


async def test_a_message_that_cannot_be_kept_is_not_taken() -> None:
    class Full(MemoryStore):
        async def record_once(self, record: Record, item: str, until_ms: int) -> bool:
            raise StoreFault("The disk is full.")

    upstream, clock = inbox(), FakeClock()
    hooks = hooks_over(upstream, Full(clock), clock)
    with pytest.raises(StoreFault):
        await hooks.receive("events", "deals", standard(BODY, clock.now_ms() // 1000), BODY)
    assert await read(upstream) == []


async def test_only_the_latest_messages_are_kept_for_reading() -> None:
    upstream, clock = inbox(deals={"secret": SECRET, "keep": 2}), FakeClock()
    hooks = hooks_over(upstream, clock=clock)
    for number in range(4):
        await hooks.receive("events", "deals", standard(BODY, clock.now_ms() // 1000, message=f"m{number}"), BODY)
    assert [each["id"] for each in await read(upstream)] == ["m3", "m2"]


async def test_a_flood_of_forgeries_is_counted_and_not_kept() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    hooks = hooks_over(inbox(), store, clock)
    for number in range(12):
        if number == 11:
            await clock.sleep(2)
        with pytest.raises(ConnectorFault):
            await hooks.receive("events", "deals", {}, BODY)
    told = [json.loads(event.body) async for event in store.events(EventFilter())]
    assert [each["more_since"] for each in told] == [0, 10]


async def test_a_hook_that_nobody_has_takes_nothing() -> None:
    hooks = hooks_over(inbox())
    for server, hook in (("events", "other"), ("other", "deals")):
        with pytest.raises(UnknownHook):
            await hooks.receive(server, hook, {}, BODY)


async def test_an_inbox_lists_its_hooks_and_does_nothing_else() -> None:
    upstream = inbox(deals={"secret": SECRET, "description": "Deals that were won."})
    await upstream.open()
    [resource] = await upstream.listed("resources/list")
    assert (resource["uri"], resource["description"]) == ("inbox://events/deals", "Deals that were won.")
    assert (await upstream.listed("prompts/list"), await upstream.tools(), upstream.traits("x")) == ((), (), None)
    assert upstream.offer().capabilities == {"resources": {"subscribe": True}}
    for method in ("resources/subscribe", "resources/unsubscribe"):
        assert await upstream.call(ToolCall(method, {"uri": "x"}, "c1", 5.0, method=method)) == {}
    for uri in ("inbox://events/none", 7):
        with pytest.raises(Rejected):
            await read(upstream, uri)  # type: ignore[arg-type]
    with pytest.raises(Rejected):
        await upstream.call(ToolCall("send", {}, "c1", 5.0))
    await upstream.watch(frozenset())
    await upstream.close()
