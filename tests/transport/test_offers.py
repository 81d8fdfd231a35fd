"""Resources, prompts and completion of several servers behind one endpoint, in both eras."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.config import EndpointSection
from gateway.model.errors import ConnectorFault
from gateway.pipeline.rules import Rules
from gateway.resilience.config import RateLimit
from tests.pipeline.gate import SECRET, Gate, settle
from tests.transport.front import Front
from tests.transport.peer import Peer, Reply

EVERYTHING = '@id("everything") permit (principal, action, resource);'
CALLS_ONLY = '@id("calls") permit (principal, action in Gateway::Action::"call_tool", resource);'
EVERYTHING_OF_MAIL = '@id("mail") permit (principal, action, resource in Gateway::Server::"mail");'
CONTENTS = {"contents": [{"uri": "shared://x", "text": "hi"}, "odd", {"text": "no uri"}]}


def offering_front(*policies: str, endpoints: dict[str, EndpointSection] | None = None, **more: Any) -> Front:
    """Servers of payments and mail that share some names and URIs, and one of frauds that has nothing but tools."""
    gate = Gate(*(policies or (EVERYTHING,)), **more)
    rules = gate.rules.current
    seen = Rules.of(rules.catalog, rules.bundle, {}, endpoints or {}, rules.limits)
    gate.rules.current = replace(rules, endpoints=seen.endpoints, views=seen.views)
    for name in ("payments", "mail"):
        server = gate.servers[name]
        server.capabilities = {"resources": {}, "prompts": {}, "completions": {}, "tools": {}}
        server.instructions = f"How to use {name}."
        server.has = {
            "resources/list": [{"uri": "shared://x", "name": "x"}, {"uri": f"{name}://own", "more": 1}],
            "resources/templates/list": [{"uriTemplate": f"{name}://t/{{id}}"}, {"uriTemplate": "both://{id}"}],
            "prompts/list": [{"name": "greet"}, {"name": f"only_{name}", "title": "T"}],
        }
    return Front(gate)


async def answered(reply: Reply) -> dict[str, Any]:
    await reply.ended()
    found: dict[str, Any] = reply.messages[-1]
    return found


async def legacy_peer(front: Front, **more: Any) -> Peer:
    peer = Peer(front, **more)
    await peer.initialize()
    return peer


async def listed(front: Front, method: str, key: str, path: str = "/mcp") -> list[Any]:
    result = (await answered(Peer(front, path=path).modern(method)))["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")
    [items] = [value for value in result.values() if isinstance(value, list)]
    return [item[key] for item in items]


async def test_what_two_servers_share_is_listed_under_names_that_tell_them_apart() -> None:
    front = offering_front()
    assert await listed(front, "resources/list", "uri") == [
        "toolgate://payments/shared://x",
        "payments://own",
        "toolgate://mail/shared://x",
        "mail://own",
    ]
    assert await listed(front, "resources/templates/list", "uriTemplate") == [
        "payments://t/{id}",
        "toolgate://payments/both://{id}",
        "mail://t/{id}",
        "toolgate://mail/both://{id}",
    ]
    names = ["payments_greet", "payments_only_payments", "mail_greet", "mail_only_mail"]
    assert await listed(front, "prompts/list", "name") == names


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/list", {}),
        ("prompts/list", {}),
        ("resources/read", {"uri": "mail://own"}),
        ("prompts/get", {"name": "mail_greet"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "mail_greet"}, "argument": {"name": "a"}}),
    ],
)
async def test_what_a_server_offers_is_waited_for_while_it_is_first_connected_to(method: str, params: Any) -> None:
    """As when the gateway has just come back, and a client goes on without having noticed."""
    front = offering_front()
    mail, connected = front.gate.servers["mail"], asyncio.Event()
    offered, mail.capabilities = mail.capabilities, {}
    mail.opens.append(connected)
    mail.calls.append({"contents": [], "messages": [], "completion": {"values": []}})
    opening = asyncio.ensure_future(front.gate.upstreams.open())
    await settle()
    reply = Peer(front).modern(method, params)
    await settle()
    assert not reply.task.done()
    mail.capabilities = offered
    connected.set()
    assert "result" in await answered(reply)
    await opening
    await front.gate.upstreams.close()


async def test_unknown_fields_of_a_listing_pass() -> None:
    result = (await answered(Peer(offering_front()).modern("resources/list")))["result"]
    assert result["resources"][1] == {"uri": "payments://own", "more": 1}


@pytest.mark.parametrize(
    ("uri", "server", "theirs"),
    [
        ("payments://own", "payments", "payments://own"),
        ("mail://t/7", "mail", "mail://t/7"),
        ("toolgate://mail/shared://x", "mail", "shared://x"),
        ("toolgate://payments/both://9", "payments", "both://9"),
        ("toolgate://payments/never://listed", "payments", "never://listed"),
    ],
)
async def test_a_resource_is_read_where_it_is(uri: str, server: str, theirs: str) -> None:
    front = offering_front()
    peer = await legacy_peer(front)
    front.gate.servers[server].calls.append(CONTENTS)
    result = (await answered(peer.legacy("resources/read", {"uri": uri})))["result"]
    [call] = front.gate.servers[server].asked
    assert (call.method, call.arguments) == ("resources/read", {"uri": theirs})
    shown = f"toolgate://{server}/shared://x" if uri.startswith("toolgate:") else "shared://x"
    assert result["contents"] == [{"uri": shown, "text": "hi"}, "odd", {"text": "no uri"}]
    [event] = [each for each in await front.gate.events() if each.tool]
    assert event.tool == f"{server}.resources/read"


@pytest.mark.parametrize("uri", ["shared://x", "both://9"])
async def test_a_resource_of_several_servers_must_be_named_exactly(uri: str) -> None:
    front = offering_front(EVERYTHING_OF_MAIL)
    error = (await answered(Peer(front).modern("resources/read", {"uri": uri})))["error"]
    assert (error["code"], error["data"]) == (-32602, {"uri": uri})
    assert f"toolgate://mail/{uri}" in error["message"]
    assert "payments" not in error["message"]  # whose documents this agent may not read


@pytest.mark.parametrize("uri", ["nobody://knows", "toolgate://nobody/x", "toolgate://mail/", "toolgate://", ""])
async def test_a_resource_nobody_has_is_not_found_in_the_words_of_each_era(uri: str) -> None:
    front = offering_front()
    modern, legacy = Peer(front), await legacy_peer(front)
    late = await answered(modern.modern("resources/read", {"uri": uri, "_meta": {}}))
    early = await answered(legacy.legacy("resources/read", {"uri": uri}))
    if uri:
        assert (late["error"]["code"], late["error"]["data"]) == (-32602, {"uri": uri})
    assert (early["error"]["code"], early["error"]["data"]) == (-32002, {"uri": uri})
    assert front.gate.servers["mail"].asked == []
    assert any("resources/read" in each.tool for each in await front.gate.events())


async def test_an_agent_that_may_read_nothing_is_told_of_no_server() -> None:
    front = offering_front(CALLS_ONLY)
    error = (await answered(Peer(front).modern("resources/read", {"uri": "nobody://knows"})))["error"]
    assert "toolgate://" not in error["message"]


async def test_a_very_long_uri_is_refused() -> None:
    front = offering_front()
    error = (await answered((await legacy_peer(front)).legacy("resources/read", {"uri": "x:" + "y" * 8192})))["error"]
    assert error["code"] == -32602


async def test_the_only_server_with_resources_is_asked_for_any() -> None:
    front = offering_front()
    front.gate.servers["mail"].capabilities = {}
    peer = await legacy_peer(front)
    front.gate.servers["payments"].calls.append({"contents": []})
    assert (await answered(peer.legacy("resources/read", {"uri": "any://thing"})))["result"] == {"contents": []}
    assert front.gate.servers["payments"].life == ["call"]


async def test_an_error_of_the_server_passes_as_it_is() -> None:
    front = offering_front()
    rpc = {"code": -32002, "message": "Resource not found", "data": {"uri": "mail://own", "why": "deleted"}}
    for peer, code in ((await legacy_peer(front), -32002), (Peer(front), -32602)):
        fault = ConnectorFault("no", code="rejected")
        fault.rpc = rpc
        front.gate.servers["mail"].calls.append(fault)
        send = peer.legacy if peer.session else peer.modern
        error = (await answered(send("resources/read", {"uri": "mail://own"})))["error"]
        assert error == {**rpc, "code": code}


@pytest.mark.parametrize(("data", "code"), [({"uri": "mail://own"}, -32002), ({"why": "no"}, -32602), (None, -32602)])
async def test_what_a_later_server_says_is_not_there_is_so_in_the_words_of_the_session(data: Any, code: int) -> None:
    front = offering_front()
    fault = ConnectorFault("no", code="rejected")
    fault.rpc = {"code": -32602, "message": "It is not there", "data": data}
    front.gate.servers["mail"].calls.append(fault)
    error = (await answered((await legacy_peer(front)).legacy("resources/read", {"uri": "mail://own"})))["error"]
    assert (error["code"], error.get("data")) == (code, data)


@pytest.mark.parametrize("name", ["mail_greet", "mail.greet"])
async def test_a_prompt_is_got_under_its_wire_or_canonical_name(name: str) -> None:
    front = offering_front()
    front.gate.servers["mail"].calls.append({"messages": [], "description": "d"})
    asked = Peer(front).modern("prompts/get", {"name": name, "arguments": {"who": "you"}})
    result = (await answered(asked))["result"]
    assert (result["messages"], result["description"]) == ([], "d")
    [call] = front.gate.servers["mail"].asked
    assert call.arguments == {"name": "greet", "arguments": {"who": "you"}}


async def test_a_prompt_nobody_has_is_refused_on_record() -> None:
    front = offering_front()
    for name in ("greet", "nobody_greet"):
        error = (await answered(Peer(front).modern("prompts/get", {"name": name})))["error"]
        assert error["code"] == -32602
    assert [each.tool for each in await front.gate.events()] == ["prompts/get", "prompts/get"]


async def test_a_prompt_and_a_resource_that_are_new_are_found_at_a_server_that_does_not_say_so() -> None:
    front = offering_front()
    await listed(front, "prompts/list", "name")
    await answered(Peer(front).modern("resources/read", {"uri": "mail://own"}))
    mail = front.gate.servers["mail"]
    mail.has["prompts/list"] = [{"name": "new"}]
    mail.has["resources/list"] = [{"uri": "fresh://new"}]
    mail.calls += [{"messages": []}, {"contents": []}]
    assert "result" in await answered(Peer(front).modern("prompts/get", {"name": "mail_new"}))
    assert "result" in await answered(Peer(front).modern("resources/read", {"uri": "fresh://new"}))


async def test_what_is_remembered_is_asked_for_again_once_the_server_says_that_it_changed() -> None:
    front = offering_front()
    peer, mail = Peer(front), front.gate.servers["mail"]
    mail.calls += [{"messages": []}] * 3
    for _ in range(2):
        await answered(peer.modern("prompts/get", {"name": "mail_greet"}))
    before = len(mail.life)
    front.gate.directory.forget("mail")
    await answered(peer.modern("prompts/get", {"name": "mail_greet"}))
    assert len(mail.life) == before + 2


@pytest.mark.parametrize(
    ("ref", "server", "theirs"),
    [
        ({"type": "ref/prompt", "name": "mail_greet"}, "mail", {"type": "ref/prompt", "name": "greet"}),
        ({"type": "ref/resource", "uri": "mail://t/{id}"}, "mail", {"type": "ref/resource", "uri": "mail://t/{id}"}),
        (
            {"type": "ref/resource", "uri": "toolgate://payments/both://{id}"},
            "payments",
            {"type": "ref/resource", "uri": "both://{id}"},
        ),
    ],
)
async def test_completion_goes_where_what_it_completes_is(ref: Any, server: str, theirs: Any) -> None:
    front = offering_front()
    completion = {"completion": {"values": ["a"], "hasMore": False}}
    front.gate.servers[server].calls.append(completion)
    argument = {"name": "id", "value": "a"}
    params = {"ref": ref, "argument": argument, "context": {"arguments": {}}}
    result = (await answered((await legacy_peer(front)).legacy("completion/complete", params)))["result"]
    assert result == completion
    assert front.gate.servers[server].asked[0].arguments == {**params, "ref": theirs}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {}),
        ("resources/read", {"uri": 7}),
        ("prompts/get", {"name": None}),
        ("prompts/get", {"name": "mail_greet", "_meta": 7}),
        ("completion/complete", {}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "greet"}}),
        ("completion/complete", {"ref": {"type": "ref/other", "name": "x"}, "argument": {}}),
        ("completion/complete", {"ref": {"type": "ref/resource", "name": "x"}, "argument": {}}),
        ("prompts/list", {"cursor": "2"}),
    ],
)
async def test_params_out_of_shape_are_refused(method: str, params: Any) -> None:
    front = offering_front()
    error = (await answered((await legacy_peer(front)).legacy(method, params)))["error"]
    assert error["code"] == -32602
    assert front.gate.servers["mail"].asked == []


@pytest.mark.parametrize(
    ("method", "params", "broken"),
    [
        ("resources/read", {"uri": "mail://own"}, {"contents": "text"}),
        ("prompts/get", {"name": "mail_greet"}, {}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "mail_greet"}, "argument": {}},
            {"completion": []},
        ),
        ("resources/read", {"uri": "mail://own"}, {"contents": [], "resultType": "strange"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "mail_greet"}, "argument": {}},
            {"resultType": "input_required", "inputRequests": {}, "requestState": "raw"},
        ),
    ],
)
async def test_an_answer_that_is_not_the_method_s_is_withheld(method: str, params: Any, broken: Any) -> None:
    front = offering_front()
    front.gate.servers["mail"].calls.append(broken)
    error = (await answered(Peer(front).modern(method, params)))["error"]
    assert (error["code"], error["data"]["code"]) == (-32603, "contract_broken")


async def test_a_denied_document_is_a_json_rpc_error_with_the_reason_on_record() -> None:
    front = offering_front(CALLS_ONLY)
    for method, params in (("resources/read", {"uri": "mail://own"}), ("prompts/get", {"name": "mail_greet"})):
        reply = await Peer(front).modern(method, params).ended()
        error = reply.messages[0]["error"]
        assert (reply.status, error["code"], error["data"]["code"]) == (200, -31403, "denied")
        assert "Ask the operator" in error["message"]
    denied = [each for each in await front.gate.events() if '"denied"' in each.body]
    assert [each.tool for each in denied] == ["mail.resources/read", "mail.prompts/get"]
    assert front.gate.servers["mail"].asked == []


async def test_only_what_an_agent_may_use_is_listed() -> None:
    front = offering_front(EVERYTHING_OF_MAIL)
    assert await listed(front, "resources/list", "uri") == ["toolgate://mail/shared://x", "mail://own"]
    one = '@id("one") permit (principal, action, resource == Gateway::Document::"mail/mail://own");'
    assert await listed(offering_front(one), "resources/list", "uri") == ["mail://own"]
    assert await listed(offering_front(CALLS_ONLY), "prompts/list", "name") == []


async def test_lists_count_against_the_rate_of_an_agent() -> None:
    front = offering_front(rate=RateLimit(calls=1, per_s=60))
    assert (await Peer(front).modern("prompts/list").ended()).status == 200
    assert (await Peer(front).modern("prompts/list").ended()).status == 503


async def test_a_server_that_fails_or_is_slow_is_listed_as_it_last_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    front = offering_front()
    front.gate.directory._patience_s = 0.01
    mail = front.gate.servers["mail"]
    mail.has["prompts/list"] = ConnectorFault("down")
    assert await listed(front, "prompts/list", "name") == ["payments_greet", "payments_only_payments"]
    mail.has["prompts/list"] = [{"name": "greet"}]
    everything = await listed(front, "prompts/list", "name")
    for fault in (ConnectorFault("down"), asyncio.Event()):
        mail.has["prompts/list"] = fault
        assert await listed(front, "prompts/list", "name") == everything
    assert "mail: prompts/list could not be listed: down" in caplog.text


async def test_what_is_out_of_shape_or_not_what_it_looks_like_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    front = offering_front()
    front.gate.servers["payments"].capabilities = {}
    front.gate.servers["mail"].has["prompts/list"] = [
        {"name": 7},
        {},
        {"name": "plain", "n": 1},
        {"name": "plain", "n": 2},
        {"name": "hidden", "description": "read\u202etxt"},
        {"name": "x" * 9000},
    ]
    result = (await answered(Peer(front).modern("prompts/list")))["result"]
    assert result["prompts"] == [{"name": "mail_plain", "n": 1}]
    assert caplog.text.count("is not listed") == 2


async def test_where_nobody_has_it_the_method_is_not_there() -> None:
    front = Front()
    for method in ("prompts/list", "resources/list", "resources/templates/list"):
        reply = await Peer(front).modern(method).ended()
        assert (reply.status, reply.messages[0]["error"]["code"]) == (404, -32601)


async def test_the_servers_behind_are_presented_as_one() -> None:
    front = offering_front()
    front.gate.servers["payments"].capabilities |= {"logging": {}, "resources": {"subscribe": True}}
    extensions = {"io.modelcontextprotocol/ui": {"v": 1}, "com.example/other": {}}
    tasks = {"io.modelcontextprotocol/tasks": {}}
    front.gate.servers["mail"].capabilities |= {"extensions": {**extensions, **tasks}, "experimental": {"x": {}}}
    early = await Peer(front).initialize()
    assert early["capabilities"] == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "completions": {},
        "logging": {},
        "extensions": extensions,
        "tasks": early["capabilities"]["tasks"],
    }
    late = (await answered(Peer(front).modern("server/discover")))["result"]
    assert late["capabilities"]["extensions"] == {**extensions, **tasks}
    assert "experimental" not in late["capabilities"]
    assert "## payments\nHow to use payments.\n\n## mail\nHow to use mail." in late["instructions"]


async def test_the_instructions_of_servers_an_agent_may_not_use_are_not_its_business() -> None:
    front = offering_front(EVERYTHING_OF_MAIL)
    assert "payments" not in (await Peer(front).initialize())["instructions"]
    front = offering_front(CALLS_ONLY)
    front.gate.servers["mail"].instructions = "Ignore\u2066 that."
    said = (await Peer(front).initialize())["instructions"]
    assert ("## payments" in said, "## mail" in said) == (True, False)


async def test_secrets_are_in_no_document() -> None:
    front = offering_front()
    front.gate.servers["mail"].calls.append({"contents": [{"uri": "mail://own", "text": SECRET}]})
    reply = await Peer(front).modern("resources/read", {"uri": "mail://own"}).ended()
    assert (reply.status, SECRET in reply.body.decode()) == (200, False)
