"""News for those who asked for it: lists that changed, resources that were updated; in both eras."""

import asyncio
from typing import Any

import pytest

from gateway.catalog.catalog import Catalog
from gateway.connector.pool import TOOLS_CHANGED
from gateway.model.errors import ConnectorFault
from gateway.pipeline.rules import Rules
from tests.identity.doubles import agents
from tests.pipeline.gate import SECRET, Gate, rules_of, settle
from tests.transport.front import Front
from tests.transport.peer import Peer, Reply

PROMPTS = "notifications/prompts/list_changed"
RESOURCES = "notifications/resources/list_changed"
UPDATED = "notifications/resources/updated"
READS = 'permit (principal, action == Gateway::Action::"read_resource", resource);'
PERMITS = '@id("everything") permit (principal, action, resource);'
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def news_front(*policies: str) -> Front:
    """Servers of payments and mail that tell of resources; that of payments of prompts too."""
    front = Front(Gate(*(policies or (PERMITS,))))
    for name in ("payments", "mail"):
        front.gate.servers[name].capabilities = {"resources": {"subscribe": True}}
        front.gate.servers[name].has["resources/list"] = [{"uri": f"{name}://a"}, {"uri": f"{name}://b"}]
    front.gate.servers["payments"].capabilities["prompts"] = {}
    front.gate.notices.listen(front.gate.elicited, front.gate.tasks)
    return front


@pytest.fixture
async def front() -> Any:
    front = news_front()
    running = asyncio.ensure_future(front.gate.notices.run())
    yield front
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def listening(peer: Peer, *uris: str, **flags: Any) -> Reply:
    """A subscription of 2026-07-28 that has been acknowledged."""
    wanted = {**flags, **({"resourceSubscriptions": [*uris]} if uris else {})}
    reply = peer.modern("subscriptions/listen", {"notifications": wanted})
    await reply.message("notifications/subscriptions/acknowledged")
    await settle()
    return reply


def told(reply: Reply) -> list[str]:
    return [message["method"] for message in reply.messages if "method" in message]


def hide(front: Front, *hidden: str) -> None:
    """Put rules in force under which these tools are no longer there."""
    rules = front.gate.rules.current
    front.gate.rules.current = Rules(Catalog(t for t in rules.catalog.tools() if t.name not in hidden), rules.bundle)
    front.gate.notices.rules_changed()


async def ended(*replies: Reply) -> None:
    for reply in replies:
        reply.leave()
        await reply.ended()


async def test_a_subscription_is_acknowledged_first_and_named_in_every_frame(front: Front) -> None:
    peer = Peer(front)
    reply = await listening(peer, "payments://a", toolsListChanged=True, promptsListChanged=False)
    front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a"})
    await reply.message(UPDATED)
    first, second = reply.messages
    assert first["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["payments://a"]}
    assert second["params"] == {"uri": "payments://a", "_meta": {SUBSCRIPTION: 1}}
    assert first["params"]["_meta"] == {SUBSCRIPTION: 1}
    assert front.gate.servers["payments"].watched == {"payments://a"}
    await ended(reply)
    assert (front.gate.servers["payments"].watched, len(front.gate.notices)) == (frozenset(), 0)


async def test_what_a_server_says_with_an_update_is_told_but_secrets_and_what_is_too_much(front: Front) -> None:
    reply = await listening(Peer(front), "payments://a")
    said = {"title": SECRET, "x": None, "_meta": {"y": None, SUBSCRIPTION: 99}}
    for more in ({"x": "x" * 5000}, said):
        front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a", **more})
        await reply.message(UPDATED)
        while front.gate.notices._updated:
            await settle()
    while len(told(reply)) < 3:
        await settle()
    shown = {"uri": "payments://a", "title": "[redacted]", "x": None}
    params = [message["params"] for message in reply.messages[1:]]
    assert params == [
        {"uri": "payments://a", "_meta": {SUBSCRIPTION: 1}},
        {**shown, "_meta": {"y": None, SUBSCRIPTION: 1}},
    ]
    await ended(reply)


async def test_only_the_kinds_asked_for_are_told_and_only_those_that_there_are_agreed_to(front: Front) -> None:
    peer = Peer(front)
    prompts = await listening(peer, promptsListChanged=True, resourcesListChanged=0)
    everything = await listening(peer, promptsListChanged=True, resourcesListChanged=True, toolsListChanged=True)
    front.gate.servers["payments"].tell(PROMPTS, {})
    front.gate.servers["mail"].tell(RESOURCES, {})
    front.gate.servers["mail"].tell(UPDATED, {"uri": "mail://a"})
    front.gate.servers["mail"].tell(UPDATED, {"uri": 7})
    front.gate.servers["mail"].tell("notifications/unheard_of", {})
    await everything.message(RESOURCES)
    await settle()
    assert told(prompts)[1:] == [PROMPTS]
    assert told(everything)[1:] == [PROMPTS, RESOURCES]
    await ended(prompts, everything)


async def test_where_nobody_has_prompts_no_news_of_them_is_agreed_to() -> None:
    reply = await listening(Peer(Front()), promptsListChanged=True, toolsListChanged=True)
    assert reply.messages[0]["params"]["notifications"] == {"toolsListChanged": True}
    await ended(reply)


async def test_a_server_that_changes_a_hundred_times_is_told_of_a_few_times(front: Front) -> None:
    reply = await listening(Peer(front), promptsListChanged=True)
    for _ in range(100):
        front.gate.servers["payments"].tell(PROMPTS, {})
        front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a"})
        await asyncio.sleep(0)
    await reply.message(PROMPTS)
    await settle()
    assert 1 <= len(told(reply)) - 1 <= 60
    await ended(reply)


async def test_changed_tools_are_told_only_to_agents_that_see_others_than_before(front: Front) -> None:
    limited = rules_of('@id("p") permit (principal == Gateway::Agent::"payer", action, resource);')
    front.gate.rules.current = limited
    one, two = Peer(front), Peer(front, agent="other")
    seeing = await listening(one, toolsListChanged=True)
    blind = await listening(two, toolsListChanged=True)
    front.gate.servers["payments"].tell(TOOLS_CHANGED, {})  # news only once the catalog has them
    front.gate.notices.rules_changed()
    await settle()
    assert (told(seeing)[1:], told(blind)[1:]) == ([], [])
    hide(front, "payments.pay")
    await seeing.message(TOOLS_CHANGED)
    await settle()
    assert told(blind)[1:] == []
    await ended(seeing, blind)


async def test_what_other_policies_show_or_hide_of_prompts_and_resources_is_told_to_whom_it_concerns(
    front: Front,
) -> None:
    one, two = Peer(front), Peer(front, agent="other")
    await two.initialize()
    seeing = await listening(one, promptsListChanged=True, resourcesListChanged=True)
    session = await two.get().started()
    mail = '@id("m") permit (principal == Gateway::Agent::"payer", action, resource == Gateway::Server::"mail");'
    rest = '@id("r") permit (principal == Gateway::Agent::"other", action, resource);'
    front.gate.rules.current = rules_of(mail, rest)
    front.gate.notices.rules_changed()
    await seeing.message(PROMPTS)
    await seeing.message(RESOURCES)
    assert told(session) == []
    some = f'@id("b") {READS[:-1]} when {{ resource.uri like "a*" }};'
    for policies in ((some,), (some, mail.replace("payer", "nobody"))):
        front.gate.rules.current = rules_of(*policies)
        front.gate.notices.rules_changed()
        await settle()
        await settle()
    assert told(seeing).count(RESOURCES) == 3
    front.gate.notices.rules_changed()
    await settle()
    await settle()
    assert (told(seeing).count(RESOURCES), told(seeing).count(PROMPTS)) == (3, 1)
    await two.delete().ended()
    await ended(seeing)


async def test_whoever_may_not_list_now_is_told_that_there_is_something_new(front: Front) -> None:
    reply = await listening(Peer(front), toolsListChanged=True)
    await front.gate.pause("agent:payer")
    front.gate.notices.rules_changed()
    await reply.message(TOOLS_CHANGED)
    await ended(reply)


async def test_news_of_what_no_policy_lets_an_agent_read_is_not_told(front: Front) -> None:
    reply = await listening(Peer(front), "payments://a", promptsListChanged=True, resourcesListChanged=True)
    front.gate.rules.current = rules_of('@id("m") permit (principal, action, resource == Gateway::Server::"mail");')
    for method, params in ((UPDATED, {"uri": "payments://a"}), (PROMPTS, {}), (RESOURCES, {})):
        front.gate.servers["payments"].tell(method, params)
    await settle()
    await settle()
    assert told(reply)[1:] == []
    await ended(reply)


@pytest.mark.parametrize(
    "notifications",
    [
        None,
        "tools",
        {"resourceSubscriptions": "payments://a"},
        {"resourceSubscriptions": [1]},
        {"resourceSubscriptions": ["a:"] * 1001},
    ],
)
async def test_a_subscription_out_of_shape_is_refused(notifications: Any) -> None:
    reply = await Peer(news_front()).modern("subscriptions/listen", {"notifications": notifications}).ended()
    assert (reply.status, reply.messages[0]["error"]["code"]) == (400, -32602)


async def test_a_subscription_that_no_policy_allows_is_refused_on_record() -> None:
    front = news_front('@id("c") permit (principal, action in Gateway::Action::"call_tool", resource);')
    wanted = {"notifications": {"resourceSubscriptions": ["payments://a"]}}
    reply = await Peer(front).modern("subscriptions/listen", wanted).ended()
    assert reply.messages[0]["error"]["code"] == -31403
    [event] = [each for each in await front.gate.events() if each.tool]
    assert (event.tool, '"denied"' in event.body) == ("payments.resources/subscribe", True)


async def test_a_server_that_tells_nothing_cannot_be_subscribed_to() -> None:
    front = news_front()
    front.gate.servers["mail"].capabilities = {"resources": {}}
    wanted = {"notifications": {"resourceSubscriptions": ["mail://a"]}}
    reply = await Peer(front).modern("subscriptions/listen", wanted).ended()
    assert reply.messages[0]["error"]["code"] == -32601


async def test_a_server_that_refuses_to_watch_harms_nobody(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    front.gate.servers["mail"].watches.append(ConnectorFault("no"))
    reply = await listening(Peer(front), "mail://a", "payments://a")
    front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a"})
    await reply.message(UPDATED)
    assert "mail does not tell of its resources" in caplog.text
    await ended(reply)


async def test_whoever_is_known_no_more_hears_no_more(front: Front) -> None:
    one, two = Peer(front), Peer(front, agent="other")
    gone, staying = await listening(one, toolsListChanged=True), await listening(two, toolsListChanged=True)
    front.gate.authenticator.replace(agents(other={"auth": {"local": True}}))
    await front.gate.notices.recheck()
    await gone.ended()
    assert gone.messages[-1] == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: 1}},
    }
    assert not staying.task.done()
    await ended(staying)


async def test_the_end_of_the_gateway_ends_every_stream_and_lets_none_begin(front: Front) -> None:
    modern, legacy = Peer(front), Peer(front)
    await legacy.initialize()
    listen, own = await listening(modern, toolsListChanged=True), await legacy.get().started()
    front.gate.notices.stop()
    await listen.ended()
    await own.ended()
    assert (listen.messages[-1]["result"]["resultType"], own.over) == ("complete", True)
    late = await modern.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}).ended()
    assert late.status == 503
    assert (await legacy.get().ended()).status == 503


async def test_a_slow_reader_does_not_hold_up_the_end(front: Front) -> None:
    reply = await listening(Peer(front), toolsListChanged=True)
    reply.slow.clear()
    hide(front, "payments.pay")
    await settle()
    front.gate.notices.stop()
    await asyncio.wait({reply.task}, timeout=0.05)
    reply.leave()
    await reply.ended()
    assert len(front.gate.notices) == 0


# The handshake eras


async def subscribed(peer: Peer, *uris: str) -> Reply:
    await peer.initialize()
    stream = await peer.get().started()
    for uri in uris:
        reply = await peer.legacy("resources/subscribe", {"uri": uri}).ended()
        assert reply.messages[0]["result"] == {}
    await settle()
    return stream


async def test_a_session_hears_of_what_it_subscribed_to_and_of_lists(front: Front) -> None:
    peer = Peer(front)
    stream = await subscribed(peer, "payments://a", "mail://b")
    front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a"})
    front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://b"})
    front.gate.servers["payments"].tell(PROMPTS, {})
    await stream.message(UPDATED)
    await stream.message(PROMPTS)
    assert stream.messages == [
        {"jsonrpc": "2.0", "method": PROMPTS},
        {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": "payments://a"}},
    ]
    gone = await peer.legacy("resources/unsubscribe", {"uri": "payments://a"}).ended()
    assert gone.messages[0]["result"] == {}
    await peer.legacy("resources/unsubscribe", {"uri": "never://subscribed"}).ended()
    assert [front.gate.servers[name].watched for name in ("payments", "mail")] == [frozenset(), {"mail://b"}]
    front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a"})
    await settle()
    assert told(stream).count(UPDATED) == 1
    await peer.delete().ended()
    await stream.ended()
    assert (front.gate.servers["mail"].watched, len(front.gate.notices)) == (frozenset(), 0)


async def test_subscriptions_made_without_a_stream_hold_once_there_is_one_also_after_a_restart(front: Front) -> None:
    peer = Peer(front)
    await peer.initialize()
    for uri in ("payments://a", "mail://a"):
        await peer.legacy("resources/subscribe", {"uri": uri}).ended()
    front.gate.servers["mail"].capabilities = {"resources": {}}
    restarted = Peer(front)
    restarted.session, front.sessions._live = peer.session, type(front.sessions._live)()
    stream = await restarted.get().started()
    await settle()
    assert front.gate.servers["payments"].watched == {"payments://a"}
    front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a"})
    await stream.message(UPDATED)
    await restarted.delete().ended()
    await stream.ended()


async def test_news_that_came_while_a_client_was_away_waits_for_its_return(front: Front) -> None:
    peer = Peer(front)
    first = await subscribed(peer, "payments://a")
    front.gate.servers["payments"].tell(PROMPTS, {})
    await first.message(PROMPTS)
    first.leave()
    await settle()
    front.gate.servers["payments"].tell(UPDATED, {"uri": "payments://a"})
    await settle()
    again = peer.get(first.last_id)
    await again.message(UPDATED)
    await first.ended()
    assert told(again) == [UPDATED]
    once_more = await peer.get().started()
    await again.ended()
    front.gate.servers["payments"].tell(RESOURCES, {})
    await once_more.message(RESOURCES)
    assert told(once_more) == [RESOURCES]
    await peer.delete().ended()
    await once_more.ended()


async def test_an_own_stream_of_before_a_restart_is_simply_a_new_one(front: Front) -> None:
    peer = Peer(front)
    stream = await subscribed(peer)
    front.gate.servers["payments"].tell(PROMPTS, {})
    await stream.message(PROMPTS)
    other = Peer(front)
    await other.initialize()
    theirs = await other.get(stream.last_id).started()
    await settle()
    assert (theirs.status, theirs.messages) == (200, [])
    for each, reply in ((peer, stream), (other, theirs)):
        await each.delete().ended()
        await reply.ended()


@pytest.mark.parametrize("params", [{}, {"uri": 7}])
async def test_a_subscription_needs_a_uri(params: Any) -> None:
    peer = Peer(news_front())
    await peer.initialize()
    for method in ("resources/subscribe", "resources/unsubscribe"):
        assert (await peer.legacy(method, params).ended()).messages[0]["error"]["code"] == -32602


async def test_the_subscriptions_of_a_session_are_bounded() -> None:
    front = news_front()
    peer = Peer(front)
    await peer.initialize()
    [session] = front.sessions._live.values()
    session.subscriptions = frozenset(f"payments://{number}" for number in range(1000))
    refused = await peer.legacy("resources/subscribe", {"uri": "payments://a"}).ended()
    assert refused.messages[0]["error"]["code"] == -32602
    again = await peer.legacy("resources/subscribe", {"uri": "payments://7"}).ended()
    assert again.messages[0]["error"]["code"] == -32002  # known to nobody, but not one too many


async def test_the_text_of_the_subscriptions_of_a_session_is_bounded() -> None:
    front = news_front()
    peer = Peer(front)
    await peer.initialize()
    [session] = front.sessions._live.values()
    session.subscriptions = frozenset(f"payments://{number}/{'x' * 8000}" for number in range(32))
    refused = await peer.legacy("resources/subscribe", {"uri": f"payments://{'x' * 7000}"}).ended()
    assert "262144 characters" in refused.messages[0]["error"]["message"]


async def test_the_text_of_what_one_listens_for_is_bounded() -> None:
    front = news_front()
    wanted = {"resourceSubscriptions": [f"payments://{number}/{'x' * 8000}" for number in range(33)]}
    front.endpoint._door.body_limit = 1_000_000
    refused = await Peer(front).modern("subscriptions/listen", {"notifications": wanted}).ended()
    assert "262144 characters" in refused.messages[0]["error"]["message"]
