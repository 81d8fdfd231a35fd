"""Everything that is no tool call is a way in too: resources, prompts, completion, streams, sessions, endpoints."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.live.front.attack import events, header, peer
from tests.live.front.offering import got
from tests.live.inside import Inside, inside
from tests.live.raw import ERAS, Answer, Peer
from tests.live.running import ENVELOPE, MODERN, ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
  probe:
    command: "${{PYTHON:-python3}}"
    args: ["{root}/tests/live/front/offering.py"]
    env: {{ PROBE_DIR: "{folder}", PYTHONPATH: "{root}" }}
tools:
  probe.long: {{ result_limit: 8000 }}
agents:
  payer:  {{ auth: {{ token: true }}, allow: ["*"] }}
  payer2: {{ auth: {{ token: true }}, allow: ["*"] }}
  nobody: {{ auth: {{ token: true }} }}
endpoints:
  desk: {{ servers: [probe], agents: [payer] }}
policies: [./policies/front.cedar]
"""
POLICIES = """
@id("offered")
permit (
  principal,
  action in [Gateway::Action::"read_resource", Gateway::Action::"get_prompt", Gateway::Action::"complete"],
  resource in Gateway::Server::"probe"
) when { principal != Gateway::Agent::"nobody" };
@id("shut_document")
forbid (principal, action in [Gateway::Action::"read_resource", Gateway::Action::"complete"], resource)
when { resource has uri && resource.uri like "doc:///shut*" };
@id("shut_prompt") forbid (principal, action, resource == Gateway::Prompt::"probe/shut");
@id("hidden") forbid (principal, action == Gateway::Action::"probe.hidden", resource);
"""
DENIED = -31403
UNKNOWN = {-32602, -32002}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("offering")
    for folder in ("policies", "probe"):
        (home / folder).mkdir()
    (home / "policies" / "front.cedar").write_text(POLICIES, encoding="utf-8")
    async with inside(home, CONFIG.format(root=ROOT, folder=home / "probe")) as running:
        yield running


def reached(gate: Inside) -> int:
    """Return how many governed requests the server got."""
    return len(got(gate.home / "probe"))


async def ask(known: Peer, method: str, params: Any, **changes: str | None) -> Answer:
    """Send a request with the header that the modern era wants for it."""
    name = {"prompts/get": "name", "resources/read": "uri"}.get(method)
    if known.era == "modern" and name and isinstance(params, Mapping) and isinstance(params.get(name), str):
        changes = {"Mcp_Name": header(params[name]), **changes}
    return await known.rpc(method, params, **changes)


def completion(kind: str, name: str) -> dict[str, Any]:
    return {"ref": {"type": f"ref/{kind}", "uri" if kind == "resource" else "name": name}, "argument": {"name": "a"}}


EVERY = {
    "resources/list": {},
    "resources/templates/list": {},
    "resources/read": {"uri": "doc:///open"},
    "resources/subscribe": {"uri": "doc:///open"},
    "resources/unsubscribe": {"uri": "doc:///open"},
    "prompts/list": {},
    "prompts/get": {"name": "probe_open"},
    "completion/complete": completion("prompt", "probe_open"),
    "logging/setLevel": {"level": "debug"},
    "subscriptions/listen": {"notifications": {"toolsListChanged": True}},
    "server/discover": {},
    "initialize": {"protocolVersion": "2025-11-25"},
    "notifications/cancelled": {"requestId": 1},
    "tasks/list": {},
    **{key: {"taskId": "task_0"} for key in ("tasks/get", "tasks/result", "tasks/update", "tasks/cancel")},
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("credential", [None, "Bearer x", f"Bearer tg_{'0' * 32}_{'0' * 32}"])
async def test_no_method_is_for_strangers(gate: Inside, era: str, credential: str | None) -> None:
    known = await peer(gate, era)
    known.address = f"127.0.{ERAS.index(era)}.{100 + len(credential or '')}"  # of one alone not all would be on record
    before, at_server = len(await events(gate)), reached(gate)
    for method, params in EVERY.items():
        assert (await ask(known, method, params, Authorization=credential)).status == 401, method
    for path in ("/mcp/desk", "/mcp/none"):
        assert (await known.ask("POST", path, b"{}", Authorization=credential)).status == 401
    assert reached(gate) == at_server
    assert sum(each.agent == "unknown" for each in (await events(gate))[before:]) == len(EVERY) + 2


async def test_a_session_of_another_is_no_session_for_any_method(gate: Inside) -> None:
    owner, thief = await peer(gate, "legacy"), await peer(gate, "legacy", "payer2")
    thief.session = owner.session
    for method, params in EVERY.items():
        if method not in {"initialize", "server/discover", "subscriptions/listen"}:
            assert (await ask(thief, method, params)).status == 404, method
    for verb in ("GET", "DELETE"):
        stolen = {"Accept": "text/event-stream", "Mcp_Session_Id": owner.session}
        assert (await thief.ask(verb, "/mcp", None, **stolen)).status == 404
    answer = b'{"jsonrpc":"2.0","id":"ask-0","result":{}}'
    assert (await thief.post(answer, Mcp_Session_Id=owner.session)).status == 404
    assert (await owner.rpc("ping")).status == 200


@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_without_a_policy_sees_and_gets_nothing(gate: Inside, era: str) -> None:
    nobody, before = await peer(gate, era, "nobody"), reached(gate)
    for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list"):
        [listed] = [each for each in (await nobody.rpc(method)).result.values() if isinstance(each, list)]
        assert listed == []
    asked = [
        ("resources/read", {"uri": "doc:///open"}),
        ("resources/read", {"uri": "toolgate://probe/doc:///open"}),
        ("prompts/get", {"name": "probe_open"}),
        ("completion/complete", completion("prompt", "probe_open")),
        ("completion/complete", completion("resource", "doc:///open")),
    ]
    if era == "legacy":
        asked.append(("resources/subscribe", {"uri": "doc:///open"}))
    for method, params in asked:
        assert (await ask(nobody, method, params)).code == DENIED, (method, params)
    assert reached(gate) == before
    said = [each.tool for each in await events(gate) if each.agent == "nobody"][-len(asked) :]
    assert said == [f"probe.{method}" for method, _ in asked]


SHUT = [
    "doc:///shut", "doc:///shut/x", "doc:///shu%74", "doc:///%73hut", "doc:///x/../shut", "doc:///x/%2e%2e/shut",
    "doc:///./shut", "doc:///x%2F..%2Fshut", "doc:///x\\..\\shut", "DOC:///shut", "doc:///.\t./shut", "doc:///shut#x",
    "toolgate://probe/doc:///shut", "toolgate://probe/doc:///shu%74", "TOOLGATE://probe/doc:///shut", "doc:///shut\0",
    "doc:////shut", "doc:///%2Fshut",
]  # fmt: skip


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("uri", SHUT)
async def test_a_forbidden_document_is_forbidden_on_every_road(gate: Inside, era: str, uri: str) -> None:
    known, before = await peer(gate, era), reached(gate)
    assert (await ask(known, "resources/read", {"uri": uri})).code == DENIED
    assert (await ask(known, "completion/complete", completion("resource", uri))).code == DENIED
    if era == "legacy":
        assert (await ask(known, "resources/subscribe", {"uri": uri})).code == DENIED
    else:
        listen = {"notifications": {"resourceSubscriptions": ["doc:///open", uri]}}
        assert (await ask(known, "subscriptions/listen", listen)).code == DENIED
    assert [each["params"] for each in got(gate.home / "probe")[before:] if "shut" in json.dumps(each)] == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_forbidden_prompt_is_forbidden_by_every_name(gate: Inside, era: str) -> None:
    known, before = await peer(gate, era), reached(gate)
    for name, codes in {
        "probe_shut": {DENIED}, "probe.shut": {DENIED}, "shut": UNKNOWN, "probe_shut\0": UNKNOWN, "PROBE_shut": UNKNOWN,
        "probe_\u0455hut": UNKNOWN, "probe_shut ": UNKNOWN, "x" * 20_000: UNKNOWN,
    }.items():  # fmt: skip
        assert (await ask(known, "prompts/get", {"name": name})).code in codes
        assert (await ask(known, "completion/complete", completion("prompt", name))).code in codes
    assert reached(gate) == before


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("agent", ["payer", "nobody"])
async def test_the_tools_that_find_tools_open_nothing(gate: Inside, era: str, agent: str) -> None:
    known, before = await peer(gate, era, agent), reached(gate)
    found = await known.call("tools_search", {"query": "hidden"})
    described = await known.call("tools_describe", {"names": ["probe_hidden", "probe.hidden"]})
    if agent == "nobody":
        assert b"probe_hidden" not in found.body
        assert described.result["structuredContent"]["tools"] == []
    for name in ("probe_hidden", "probe.hidden"):
        assert (await known.call("tools_call", {"name": name, "arguments": {}})).code == "denied"
        assert (await known.call(name)).code == "denied"
    for name in ("probe.resources/read", "probe.prompts/get", "tools_call", "probe.completion/complete"):
        asked = {"uri": "doc:///open", "name": "open"}
        assert (await known.call("tools_call", {"name": name, "arguments": asked})).code not in {"ok", "error"}
    assert reached(gate) == before


@pytest.mark.parametrize("era", ERAS)
async def test_a_kept_answer_is_read_by_its_owner_only(gate: Inside, era: str) -> None:
    found = re.search(r"res_[0-9a-f]+", (await (await peer(gate, era)).call("probe_long")).body.decode())
    assert found is not None
    for agent, code in {"payer": "ok", "payer2": "unknown", "nobody": "unknown"}.items():
        answer = await (await peer(gate, era, agent)).call("results_read", {"handle": found[0]})
        assert (answer.code == "ok") == (code == "ok"), agent
        assert ("xxxx" in answer.text) == (agent == "payer")


@pytest.mark.parametrize("agent", ["payer", "payer2", "nobody"])
async def test_a_virtual_endpoint_opens_by_its_exact_path_for_those_it_is_for(gate: Inside, agent: str) -> None:
    known = await peer(gate, agent=agent)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": dict(ENVELOPE)}})
    here = 200 if agent == "payer" else 404
    for path, status in {
        "/mcp/desk": here, "/mcp/desk/": here, "/mcp/none": 404, "/mcp/desk//": 404, "/mcp/desk/x": 404,
        "/mcp//desk": 404, "/mcp/..": 404, "/mcp/desk%2f": here, "/mcp;x": 404, "/-/../mcp": 404, "/mcp/DESK": 404,
    }.items():  # fmt: skip
        said = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "server/discover"}
        assert (await known.ask("POST", path, body.encode(), **said)).status == status, path


async def test_a_session_of_one_endpoint_is_none_of_another(gate: Inside) -> None:
    known = await peer(gate, "legacy")
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    assert (await known.ask("POST", "/mcp/desk", body, Mcp_Session_Id=known.session)).status == 404


ODD: list[Any] = [
    None, 0, True, 1.5, [], {}, [[[]]], {"type": []}, {"type": {}}, {"type": "ref/prompt", "name": []}, "", "\0",
    {"type": "ref/resource", "uri": {}}, "x" * 70_000, 10**3000,
]  # fmt: skip
PLACES = {
    "resources/read": ["uri"], "resources/subscribe": ["uri"], "resources/unsubscribe": ["uri"],
    "resources/list": ["cursor"], "prompts/list": ["cursor"], "logging/setLevel": ["level"],
    "prompts/get": ["name", "arguments", "inputResponses", "requestState"],
    "completion/complete": ["ref", "argument", "context"],
}  # fmt: skip
METAS = ["progressToken", "io.toolgate/run", "traceparent", *(f"io.modelcontextprotocol/{name}" for name in
         ("clientInfo", "clientCapabilities", "logLevel", "protocolVersion"))]  # fmt: skip


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd)[:20])
async def test_params_of_every_wrong_kind_get_an_answer_and_no_more(gate: Inside, era: str, odd: Any) -> None:
    known = await peer(gate, era)
    base = {"name": "probe_open", "uri": "doc:///open", "ref": {"type": "ref/prompt", "name": "probe_open"}}
    for method, names in PLACES.items():
        for name in names:
            answer = await ask(known, method, {**base, "argument": {"name": "a"}, name: odd})
            assert answer.status in {200, 400, 404, 431}, (method, name, answer.body[:200])
    for name in METAS:
        assert (await ask(known, "resources/read", {**base, "_meta": {name: odd}})).status in {200, 400, 431}, name


async def test_messages_of_a_session_of_every_wrong_kind_get_an_answer(gate: Inside) -> None:
    known = await peer(gate, "legacy")
    for odd in ODD:
        for message in (
            {"method": "notifications/cancelled", "params": {"requestId": odd}},
            {"method": "notifications/progress", "params": odd},
            {"id": odd, "result": {}},
            {"id": "ask-1", "result": odd},
            {"id": "ask-1", "error": odd},
            {"id": 1, "method": "initialize", "params": {"protocolVersion": odd}},
            {"id": 1, "method": "initialize",
             "params": {"protocolVersion": "2025-11-25", "capabilities": odd, "clientInfo": {"name": odd}}},
        ):  # fmt: skip
            answer = await known.post(json.dumps({"jsonrpc": "2.0", **message}).encode(), Mcp_Session_Id=known.session)
            assert answer.status in {200, 202, 400}, (message, answer.body[:200])


@pytest.mark.parametrize("last", ["x", "x.1", "x-.1", "x-W10=.1", "\xe9-\xe9.1", "." * 60_000, "x-IngiCg.99999999999"])
async def test_an_event_id_that_was_not_given_out_resumes_nothing(gate: Inside, last: str) -> None:
    known = await peer(gate, "legacy")
    said = {"Accept": "text/event-stream", "Mcp_Session_Id": known.session, "Last_Event_ID": last}
    assert (await known.ask("GET", "/mcp", None, **said)).status == 400


@pytest.mark.parametrize(("method", "name"), [("prompts/get", "probe_open"), ("resources/read", "doc:///open")])
async def test_what_is_named_in_the_header_is_what_is_named_in_the_body(gate: Inside, method: str, name: str) -> None:
    known, before = await peer(gate), reached(gate)
    recorded = len(await events(gate))
    wrong = [None, "", "doc:///shut", "probe_shut", name.upper(), name + ".", header(name + "\0"), "=?base64?!?="]
    for each in wrong:
        answer = await known.rpc(method, {"name": name, "uri": name}, Mcp_Name=each)
        assert answer.status == 400, each
    assert (await known.rpc(method, {"name": name, "uri": name}, Mcp_Name=name, Mcp_Method="ping")).status == 400
    assert reached(gate) == before
    assert [each.tool for each in (await events(gate))[recorded:]] == [method] * (len(wrong) + 1)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("params", [{}, {"uri": 1, "name": 1, "ref": 1}], ids=["nothing", "numbers"])
async def test_what_is_no_proper_request_is_on_record_once(gate: Inside, era: str, params: Any) -> None:
    known = await peer(gate, era)
    for method in ("resources/read", "prompts/get", "completion/complete"):
        before = len(await events(gate))
        answer = await known.rpc(method, params, Mcp_Name="x" if era == "modern" else None)
        assert answer.code in {-32602, -32020}
        assert [each.tool for each in (await events(gate))[before:]] == [method]


async def test_a_name_nobody_has_is_on_record_once(gate: Inside) -> None:
    for era in ERAS:
        known = await peer(gate, era)
        before = len(await events(gate))
        assert (await ask(known, "prompts/get", {"name": "none"})).code == -32602
        assert len(await events(gate)) == before + 1


async def _stream(known: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", known.port)
    said = known.headers(None, Accept="text/event-stream", Mcp_Session_Id=known.session)
    writer.write(known.head("GET", "/mcp", said.items()))
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_news_of_one_reach_nobody_else(gate: Inside) -> None:
    """Only who subscribed hears; the other hears of what it subscribed to itself, and that comes later."""
    one, other = await peer(gate, "legacy"), await peer(gate, "legacy", "payer2")
    (heard, first), (overheard, second) = await _stream(one), await _stream(other)
    async with asyncio.timeout(10):
        await one.rpc("resources/subscribe", {"uri": "doc:///t/one"})
        assert b"doc:///t/one" in await heard.readuntil(b"doc:///t/one")
        await other.rpc("resources/subscribe", {"uri": "doc:///t/other"})
        assert b"doc:///t/one" not in await overheard.readuntil(b"doc:///t/other")
    for known, writer in ((one, first), (other, second)):
        writer.close()
        assert (await known.ask("DELETE", "/mcp", Mcp_Session_Id=known.session)).status == 204


async def test_a_session_takes_a_bounded_number_of_subscriptions(gate: Inside) -> None:
    known = await peer(gate, "legacy")
    codes = [(await known.rpc("resources/subscribe", {"uri": f"doc:///{n}/{'x' * 8000}"})).code for n in range(40)]
    assert codes.count("ok") == 32
    assert set(codes[32:]) == {-32602}
