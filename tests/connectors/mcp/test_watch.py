"""A server's changes are heard: of its lists, of watched resources, and over later connections too."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.mcp.connection import Pace
from connectors.mcp.notices import Notices
from gateway.connector import Upstream
from tests.connectors.mcp.client import Client
from tests.connectors.mcp.conftest import Start, asked, build, fault_of, text
from tests.connectors.mcp.test_streams import event, not_allowed
from tests.connectors.mcp.test_talk import talker
from tests.fixtures.clock import FakeClock
from tests.fixtures.fault_http import Exchange, Fault, FaultServer

TELLS = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": False},
    "resources": {"subscribe": True, "listChanged": True},
}
UPDATED = "notifications/resources/updated"
CHANGED = "notifications/tools/list_changed"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
A, B, C = "test://a", "test://b", "test://c"


def listening(upstream: Upstream) -> list[tuple[str, Any]]:
    heard: list[tuple[str, Any]] = []
    upstream.on_notice(lambda method, params: heard.append((method, dict(params))))
    return heard


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


class Streams:
    """The standing streams of a server: `GET` of the legacy era, `subscriptions/listen` of the modern one."""

    def __init__(self) -> None:
        self.open: list[Exchange] = []
        self.honours = True

    async def get(self, exchange: Exchange) -> None:
        exchange.stream()
        await self._keep(exchange)

    async def listen(self, exchange: Exchange) -> None:
        exchange.stream()
        granted = self.wanted(exchange) if self.honours else {"toolsListChanged": True}
        self.say(exchange, ACKNOWLEDGED, notifications=granted)
        await self._keep(exchange)

    async def _keep(self, exchange: Exchange) -> None:
        self.open.append(exchange)
        try:
            while not exchange.writer.is_closing():
                exchange.chunk(b":\n")  # which fails once the other side has gone
                await exchange.writer.drain()
                await asyncio.sleep(0.002)
        finally:
            self.open.remove(exchange)

    @staticmethod
    def wanted(exchange: Exchange) -> Any:
        return exchange.seen.message["params"]["notifications"]

    @staticmethod
    def say(exchange: Exchange, method: str, **params: Any) -> None:
        tag = {"_meta": {"io.modelcontextprotocol/subscriptionId": exchange.id}} if exchange.id else {}
        exchange.chunk(event({"method": method, "params": {**params, **tag}}))

    def end(self, *, gracefully: bool = False) -> None:
        for exchange in self.open:
            if gracefully:
                exchange.chunk(event(exchange.result()))
                exchange.chunk(b"")
            exchange.writer.close()


def serving(era: str, streams: Streams, **on_method: Fault) -> FaultServer:
    async def done(exchange: Exchange) -> None:
        exchange.http(exchange.result())

    methods = {"resources/subscribe": done, "resources/unsubscribe": done, "subscriptions/listen": streams.listen}
    faults = {**methods, "GET": streams.get, **{name.replace("_", "/"): fault for name, fault in on_method.items()}}
    return FaultServer(era, on_method=faults, capabilities=TELLS)


def subscribed(server: FaultServer) -> list[tuple[str, str]]:
    return [
        (seen.message["method"].removeprefix("resources/"), seen.message["params"]["uri"])
        for seen in server.seen
        if "subscribe" in seen.message.get("method", "")
    ]


# --- legacy


async def test_a_legacy_server_is_told_of_the_difference_between_what_was_and_is_watched(start: Start) -> None:
    async with serving("legacy", Streams()) as server:
        upstream = await start({"url": server.url})
        await upstream.watch(frozenset({B, A}))
        await upstream.watch(frozenset({C, B}))
        await upstream.watch(frozenset({C, B}))
        await upstream.watch(frozenset())
        first, second, third = [("subscribe", A), ("subscribe", B)], [("unsubscribe", A), ("subscribe", C)], []
        third = [("unsubscribe", B), ("unsubscribe", C)]
        assert subscribed(server) == [*first, *second, *third]


async def test_what_a_legacy_session_says_on_its_own_stream_is_heard(start: Start) -> None:
    streams = Streams()
    async with serving("legacy", streams) as server:
        upstream = await start({"url": server.url})
        heard = listening(upstream)
        await until(lambda: streams.open)
        assert streams.open[0].seen.headers["mcp-session-id"] == "session-1"
        assert streams.open[0].seen.headers["mcp-protocol-version"] == "2025-11-25"
        streams.say(streams.open[0], UPDATED, uri=A, x=None)
        await until(lambda: heard)
        assert heard == [(UPDATED, {"uri": A, "x": None})]


async def test_a_legacy_stream_that_ends_is_opened_again_where_it_ended(start: Start) -> None:
    streams, clock = Streams(), FakeClock()
    async with serving("legacy", streams) as server:
        upstream = await start({"url": server.url}, clock=clock)
        heard = listening(upstream)
        await until(lambda: streams.open)
        streams.open[0].chunk(b"retry: 250\n" + event({"method": CHANGED}, id="7"))
        await until(lambda: heard)
        streams.end()
        await until(lambda: len([seen for seen in server.seen if seen.verb == "GET"]) == 2)
        assert server.seen[-1].headers["last-event-id"] == "7"
        assert clock.slept == [0.25]


@pytest.mark.parametrize(("status", "tries"), [("405 Method Not Allowed", 1), ("404 Not Found", 1), ("200 OK", 1)])
async def test_a_legacy_server_without_a_stream_is_not_asked_again(start: Start, status: str, tries: int) -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.http(b"", status)

    async with serving("legacy", Streams(), GET=refuse) as server:
        upstream = await start({"url": server.url}, clock=FakeClock())
        await until(lambda: [seen for seen in server.seen if seen.verb == "GET"])
        for _ in range(3):
            await upstream.call(asked("echo"))
        assert len([seen for seen in server.seen if seen.verb == "GET"]) == tries
        assert len(server.methods("initialize")) == 1


async def test_a_legacy_server_that_cannot_stream_now_is_asked_ever_more_rarely(start: Start) -> None:
    async def later(exchange: Exchange) -> None:
        exchange.http(b"", "503 Service Unavailable")
        if len(exchange.server.seen) > 15:
            exchange.server.on_method["GET"] = not_allowed

    clock = FakeClock()
    async with serving("legacy", Streams(), GET=later) as server:
        await start({"url": server.url}, clock=clock)
        await until(lambda: server.on_method["GET"] is not_allowed and len(clock.slept) > 10)
        assert clock.slept[:8] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


async def test_a_session_that_ends_while_nobody_calls_is_made_anew_for_what_is_watched(start: Start) -> None:
    streams = Streams()
    async with serving("legacy", streams) as server:
        upstream = await start({"url": server.url}, clock=FakeClock())
        heard = listening(upstream)
        await upstream.watch(frozenset({A}))
        await until(lambda: streams.open)
        server.sessions.clear()
        server.on_method["GET"] = gone
        streams.end()
        await until(lambda: len(server.methods("resources/subscribe")) == 2)
        assert len(server.methods("initialize")) == 2
        await until(lambda: len(heard) == 3)
        assert heard == [
            (CHANGED, {}),
            ("notifications/resources/list_changed", {}),
            (UPDATED, {"uri": A}),
        ]


async def gone(exchange: Exchange) -> None:
    exchange.http(b"", "404 Not Found")


async def test_a_server_that_refuses_to_tell_of_a_resource_leaves_everything_as_it_was(start: Start) -> None:
    async def refuse(exchange: Exchange) -> None:
        if exchange.seen.message["params"]["uri"] == C:
            exchange.reply(error={"code": -32002, "message": "no such resource"})
        else:
            exchange.http(exchange.result())

    async with serving("legacy", Streams(), resources_subscribe=refuse) as server:
        upstream = await start({"url": server.url})
        await upstream.watch(frozenset({A}))
        fault = await fault_of(upstream.watch(frozenset({B, C})))
        assert fault.rpc == {"code": -32002, "message": "no such resource"}
        wanted = [("subscribe", A), ("unsubscribe", A), ("subscribe", B), ("subscribe", C)]
        await until(lambda: len(subscribed(server)) == 6)
        assert subscribed(server) == [*wanted, ("unsubscribe", B), ("subscribe", A)]
        await upstream.watch(frozenset({A}))
        assert len(subscribed(server)) == 6


async def test_a_server_that_cannot_forget_a_resource_is_not_asked_again(start: Start) -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.reply(error={"code": -32601, "message": "no"})

    async with serving("legacy", Streams(), resources_unsubscribe=refuse) as server:
        upstream = await start({"url": server.url})
        await upstream.watch(frozenset({A}))
        await upstream.watch(frozenset())
        await upstream.watch(frozenset())
        assert subscribed(server) == [("subscribe", A), ("unsubscribe", A)]


@pytest.mark.parametrize("now", [frozenset({B}), frozenset()])
async def test_a_session_that_is_lost_while_watching_is_made_anew_for_what_is_watched_now(
    start: Start, now: frozenset[str]
) -> None:
    async def done(exchange: Exchange) -> None:
        if exchange.seen.headers["mcp-session-id"] in exchange.server.sessions:
            exchange.http(exchange.result())
        else:
            exchange.http(b"", "404 Not Found")

    methods = {"resources_subscribe": done, "resources_unsubscribe": done}
    async with serving("legacy", Streams(), **methods) as server:
        upstream = await start({"url": server.url})
        await upstream.watch(frozenset({A}))
        server.sessions = {"another"}
        await upstream.watch(now)
        again = [("subscribe", B)] if now else []
        assert subscribed(server) == [("subscribe", A), ("unsubscribe", A), *again]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_that_does_not_offer_to_tell_is_not_asked(start: Start, era: str) -> None:
    async with FaultServer(era) as server:
        upstream = await start({"url": server.url})
        await upstream.watch(frozenset())
        fault = await fault_of(upstream.watch(frozenset({A})))
        assert (fault.code, "does not tell of updates" in fault.message) == ("rejected", True)
        await upstream.call(asked("echo"))
        assert not server.methods("resources/subscribe")
        assert not server.methods("subscriptions/listen")


async def test_nothing_is_watched_before_the_server_is_open() -> None:
    upstream = build(talker())
    await upstream.watch(frozenset())
    fault = await fault_of(upstream.watch(frozenset({A})))
    await upstream.close()
    assert (fault.code, fault.sent) == ("unavailable", False)


async def test_a_server_over_pipes_that_dies_is_started_again_for_what_is_watched(start: Start) -> None:
    upstream = await start(talker())
    heard = listening(upstream)
    await upstream.watch(frozenset({A, B}))
    before = text(await upstream.call(asked("about")))
    assert before["subscribed"] == [["subscribe", A], ["subscribe", B]]
    await fault_of(upstream.call(asked("crash")))
    await until(lambda: len(heard) == 2)
    assert heard == [(UPDATED, {"uri": A}), (UPDATED, {"uri": B})]
    after = text(await upstream.call(asked("about")))
    assert after["pid"] != before["pid"]
    assert after["subscribed"] == [["subscribe", A], ["subscribe", B]]


# --- modern


async def test_a_modern_server_that_tells_of_anything_is_listened_to(start: Start) -> None:
    streams = Streams()
    async with serving("modern", streams) as server:
        upstream = await start({"url": server.url})
        heard = listening(upstream)
        await until(lambda: streams.open)
        [listen] = server.methods("subscriptions/listen")
        lists = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
        assert listen.message["params"]["notifications"] == lists
        assert listen.headers["mcp-method"] == "subscriptions/listen"
        assert "io.modelcontextprotocol/protocolVersion" in listen.message["params"]["_meta"]
        streams.say(streams.open[0], CHANGED, x=None)
        await until(lambda: heard)
        assert heard == [(CHANGED, {"x": None, "_meta": {}})]


async def test_a_modern_server_is_listened_to_anew_before_the_old_stream_ends(start: Start) -> None:
    streams = Streams()
    async with serving("modern", streams) as server:
        upstream = await start({"url": server.url})
        await until(lambda: streams.open)
        await upstream.watch(frozenset({B, A}))
        assert streams.wanted(streams.open[-1])["resourceSubscriptions"] == [A, B]
        await until(lambda: len(streams.open) == 1)
        await upstream.watch(frozenset({A, B}))
        await upstream.watch(frozenset())
        await until(lambda: len(streams.open) == 1)
        assert "resourceSubscriptions" not in streams.wanted(streams.open[0])
        assert len(server.methods("subscriptions/listen")) == 3


@pytest.mark.parametrize("gracefully", [True, False])
async def test_a_modern_stream_that_ends_is_opened_again_and_what_was_missed_is_told(
    start: Start, gracefully: bool
) -> None:
    streams, clock = Streams(), FakeClock()
    async with serving("modern", streams) as server:
        upstream = await start({"url": server.url}, clock=clock)
        heard = listening(upstream)
        await upstream.watch(frozenset({A}))
        await until(lambda: len(streams.open) == 1)
        listens = len(server.methods("subscriptions/listen"))
        streams.end(gracefully=gracefully)
        await until(lambda: len(server.methods("subscriptions/listen")) == listens + 1)
        assert streams.wanted(streams.open[-1])["resourceSubscriptions"] == [A]
        await until(lambda: len(heard) == 3)
        assert heard[-1] == (UPDATED, {"uri": A})
        assert clock.slept == [1.0]


async def test_a_modern_server_that_does_not_honour_a_subscription_refuses_it(start: Start) -> None:
    streams = Streams()
    async with serving("modern", streams) as server:
        upstream = await start({"url": server.url})
        await until(lambda: streams.open)
        kept = streams.open[0]
        streams.honours = False
        fault = await fault_of(upstream.watch(frozenset({A})))
        assert (fault.code, "does not tell of updates of these" in fault.message) == ("rejected", True)
        await until(lambda: streams.open == [kept])
        assert len(server.methods("subscriptions/listen")) == 2


async def mute(exchange: Exchange) -> None:
    exchange.stream()
    await exchange.writer.drain()
    await asyncio.sleep(600)


async def at_once(exchange: Exchange) -> None:
    exchange.http(exchange.result())


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def limited(exchange: Exchange) -> None:
    exchange.reply(error={"code": -32603, "message": "Subscription limit reached"})


@pytest.mark.parametrize(
    ("listen", "code"), [(mute, "timeout"), (at_once, "unavailable"), (reset, "unavailable"), (limited, "rejected")]
)
async def test_a_modern_server_that_cannot_listen_now_is_asked_again(start: Start, listen: Fault, code: str) -> None:
    streams = Streams()
    async with serving("modern", streams) as server:
        upstream = await start({"url": server.url}, clock=FakeClock())
        upstream._terms.pace = Pace(list_s=0.05)  # type: ignore[attr-defined]
        await until(lambda: streams.open)
        server.on_method["subscriptions/listen"] = listen
        assert (await fault_of(upstream.watch(frozenset({A})))).code == code
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}
        tries = len(server.methods("subscriptions/listen"))
        streams.end()
        await until(lambda: len(server.methods("subscriptions/listen")) >= tries + 3)
        server.on_method["subscriptions/listen"] = streams.listen
        await until(lambda: streams.open)
        assert text(await upstream.call(asked("echo", {"n": 1}))) == {"n": 1}


async def test_a_modern_server_without_the_method_is_not_asked_again(start: Start) -> None:
    async def unknown(exchange: Exchange) -> None:
        exchange.http(exchange.error(-32601, "Method not found"), "404 Not Found")

    async with serving("modern", Streams(), subscriptions_listen=unknown) as server:
        upstream = await start({"url": server.url}, clock=FakeClock())
        await until(lambda: server.methods("subscriptions/listen"))
        for _ in range(5):
            await upstream.call(asked("echo"))
        assert len(server.methods("subscriptions/listen")) == 1


async def test_a_modern_server_over_pipes_is_listened_to_and_again_after_it_died(start: Start) -> None:
    upstream = await start(talker("modern"))
    heard = listening(upstream)
    await upstream.watch(frozenset({A}))
    assert text(await upstream.call(asked("about")))["listening"]["resourceSubscriptions"] == [A]
    await fault_of(upstream.call(asked("crash")))
    await until(lambda: heard)
    assert heard == [(UPDATED, {"uri": A})]
    about = text(await upstream.call(asked("about")))
    assert about["listening"]["resourceSubscriptions"] == [A]
    await upstream.watch(frozenset({A, B}))
    about = text(await upstream.call(asked("about")))
    assert about["listening"]["resourceSubscriptions"] == [A, B]
    assert len(about["cancelled"]) == 1


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_closing_ends_every_stream_and_opening_again_begins_anew(start: Start, era: str) -> None:
    streams = Streams()
    async with serving(era, streams) as server:
        upstream = await start({"url": server.url})
        await upstream.watch(frozenset({A}))
        await until(lambda: len(streams.open) == 1)
        await upstream.close()
        await until(lambda: not streams.open)
        await upstream.open()
        await until(lambda: streams.open)
        if era == "legacy":
            await until(lambda: len(server.methods("resources/subscribe")) == 2)
        else:
            assert streams.wanted(streams.open[0])["resourceSubscriptions"] == [A]


# --- floods


async def test_the_same_notice_is_told_at_most_twice_in_50_ms_and_the_last_is_not_lost() -> None:
    notices = Notices()
    heard: list[Any] = []
    notices.on_notice(lambda method, params: heard.append((method, params)))
    for n in range(1000):
        notices.put(UPDATED, {"uri": A, "n": n})
        notices.put(CHANGED, {"n": n})
    notices.put(UPDATED, {"uri": B})
    assert heard == [(UPDATED, {"uri": A, "n": 0}), (CHANGED, {"n": 0}), (UPDATED, {"uri": B})]
    await until(lambda: len(heard) == 5)
    assert heard[3:] == [(UPDATED, {"uri": A, "n": 999}), (CHANGED, {"n": 999})]
    await until(lambda: not notices._latest)
    assert len(heard) == 5


async def test_notices_of_ever_new_things_are_bounded_and_lists_are_not_among_the_dropped() -> None:
    notices = Notices()
    heard: list[Any] = []
    notices.on_notice(lambda method, params: heard.append(params.get("uri")))
    for n in range(5000):
        notices.put(UPDATED, {"uri": f"test://{n}"})
    notices.put(CHANGED, {})
    assert (len(heard), heard[-1]) == (1025, None)


async def test_a_flood_over_pipes_is_read_slowly_and_told_seldom(start: Start) -> None:
    noisy, quiet = await start(talker()), await start(talker())
    heard = listening(noisy)
    flooding = asyncio.ensure_future(noisy.call(asked("flood", timeout_s=60.0)))
    await until(lambda: heard)
    calls = 0
    while not flooding.done():
        await quiet.call(asked("about"))
        calls += 1
    assert text(await flooding) == "flooded"
    assert calls > 20
    assert len(heard) < 500
    await until(lambda: heard[-1][0] == UPDATED)
    assert ("notifications/prompts/list_changed", {}) in heard


async def test_a_flood_on_a_stream_is_read_slowly_and_told_seldom(start: Start) -> None:
    async def flood(exchange: Exchange) -> None:
        exchange.stream()
        line = json.dumps({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": A}})
        for _ in range(10):
            exchange.chunk(f"data: {line}\n\n".encode() * 500)
            await exchange.writer.drain()
        exchange.chunk(event(exchange.echo()))
        exchange.chunk(b"")

    async with FaultServer("legacy", faults={"flood": flood}) as server:
        upstream = await start({"url": server.url})
        heard = listening(upstream)
        flooding = asyncio.ensure_future(upstream.call(asked("flood", {"n": 1}, back=Client(), timeout_s=60.0)))
        await until(lambda: heard)
        calls = 0
        while not flooding.done():
            await upstream.call(asked("echo"))
            calls += 1
        assert text(await flooding) == {"n": 1}
        assert calls > 20
        assert len(heard) < 500
