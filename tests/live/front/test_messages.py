"""JSON, JSON-RPC and MCP that are broken on purpose; arguments and names that try something."""

import json
from typing import Any

import pytest

from tests.live.front.attack import SECRET, header, peer
from tests.live.inside import Inside
from tests.live.raw import ERAS, received

pytestmark = pytest.mark.asyncio(loop_scope="module")


CALL = '{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"probe_echo","arguments":{}{}}}}}'
META = (
    ',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
)
BROKEN = {
    "nothing": b"",
    "no JSON": b"hello",
    "half": b'{"jsonrpc":"2.0","id":1',
    "bottomless": CALL.format('{"a":' * 5000 + "1" + "}" * 5000, META).encode(),
    "bottomless lists": b"[" * 200_000,
    "NaN": CALL.format('{"a":NaN}', META).encode(),
    "Infinity": CALL.format('{"a":-Infinity}', META).encode(),
    "a float out of range": CALL.format('{"a":1e999}', META).encode(),
    "an integer of 5000 digits": CALL.format('{"a":' + "9" * 5000 + "}", META).encode(),
    "a lone surrogate": CALL.format(r'{"a":"\ud800"}', META).encode(),
    "a lone surrogate as key": CALL.format(r'{"\udfff":1}', META).encode(),
    "a surrogate in UTF-8": CALL.format('{"a":"?"}', META).encode().replace(b"?", b"\xed\xa0\x80"),
    "UTF-16": CALL.format("{}", META).encode("utf-16"),
    "UTF-16 without mark": CALL.format("{}", META).encode("utf-16-le"),
    "a byte order mark": CALL.format("{}", META).encode("utf-8-sig"),
    "broken UTF-8": CALL.format('{"a":"?"}', META).encode().replace(b"?", b"\xff"),
    "overlong UTF-8": CALL.format('{"a":"?"}', META).encode().replace(b"?", b"\xc0\xaf"),
    "a duplicate key": CALL.format('{"a":1,"a":2}', META).encode(),
    "a duplicate key in disguise": CALL.format(r'{"a":1,"\u0061":2}', META).encode(),
    "duplicate params": CALL.format("{}", META).encode()[:-1] + b',"params":{"name":"probe_act"}}',
    "a duplicate name": CALL.format("{}", META + ',"name":"probe_act"').encode(),
    "a batch": b"[" + CALL.format("{}", META).encode() + b"]",
    "an empty batch": b"[]",
    "a text": b'"tools/call"',
    "null": b"null",
    "two requests": CALL.format("{}", META).encode() * 2,
    "a comment": CALL.format("{/**/}", META).encode(),
    "a control character": CALL.format('{"a":"\x00"}', META).encode(),
    "no version": b'{"id":1,"method":"tools/list","params":{}}',
    "version 1": b'{"jsonrpc":"1.0","id":1,"method":"tools/list","params":{}}',
    "params that are a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}',
    "an id that is null": b'{"jsonrpc":"2.0","id":null,"method":"tools/list","params":{}}',
    "an id that is true": b'{"jsonrpc":"2.0","id":true,"method":"tools/list","params":{}}',
    "an id that is a list": b'{"jsonrpc":"2.0","id":[1],"method":"tools/list","params":{}}',
    "a method that is a number": b'{"jsonrpc":"2.0","id":1,"method":7,"params":{}}',
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_what_is_not_one_unambiguous_request_is_refused(gate: Inside, era: str, body: bytes) -> None:
    known = await peer(gate, era)
    before = len(received(gate.home / "probe"))
    said = {"Mcp_Session_Id": known.session} if era == "legacy" else {"MCP_Protocol_Version": "2026-07-28"}
    answer = await known.post(body, **said)
    assert answer.status == 400
    assert answer.error["code"] in {-32700, -32600}
    assert len(received(gate.home / "probe")) == before


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("number", [2**53, 2**53 + 1, 2**63, 2**64 + 1, -(2**70) - 1, 10**100 + 1, 123456789012345678])
async def test_a_huge_integer_arrives_exactly(gate: Inside, era: str, number: int) -> None:
    known = await peer(gate, era)
    answer = await known.call("probe_echo", {"number": number})
    assert answer.code == "ok"
    assert answer.result["structuredContent"]["got"] == {"number": number}
    assert f'"number":{number}' in received(gate.home / "probe")[-1]


@pytest.mark.parametrize("era", ERAS)
async def test_keys_that_differ_only_in_case_or_folding_are_other_keys(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    for name in ("Text", "TEXT", "te\u200bxt", "te\u017ft", "text ", "text\u0000", "ｔｅｘｔ"):
        answer = await known.call("probe_exact", {"text": "a", name: "b"})
        assert answer.code == "invalid_arguments", name
    both = {"stra\u00dfe": 1, "strasse": 2, "STRASSE": 3, "e\u0301": 4, "\u00e9": 5}
    assert (await known.call("probe_echo", both)).result["structuredContent"]["got"] == both


async def test_headers_that_say_otherwise_than_the_body_are_refused(gate: Inside) -> None:
    known = await peer(gate)
    for changes in (
        {"Mcp_Name": "probe_echo"},
        {"Mcp_Name": None},
        {"Mcp_Name": "PROBE_ACT"},
        {"Mcp_Method": "tools/list"},
        {"Mcp_Method": None},
        {"Mcp_Method": "tools/call, tools/list"},
    ):
        answer = await known.call("probe_act", {"a": 1}, **changes)
        assert (answer.status, answer.code) == (400, -32020), changes
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    for name in ("Mcp-Name", "Mcp-Method", "MCP-Protocol-Version", "Mcp-Session-Id"):
        twice = [*known.headers(body).items(), (name, "a"), (name, "b")]
        assert (await known.send(known.head("POST", "/mcp", twice) + body)).status == 400


async def test_no_protocol_version_is_a_way_round(gate: Inside) -> None:
    """Whatever version a client claims: what its agent may not call, it cannot call."""
    clerk = await peer(gate, "modern", "clerk")
    session = await peer(gate, "legacy", "clerk")
    for version in ("1999-01-01", "2024-11-05", "2025-06-18", "2026-07-28", "9999-12-31", "", "2026-07-28, 2025-11-25"):
        modern = await clerk.call("probe_act", {"v": version}, MCP_Protocol_Version=version)
        legacy = await session.call("probe_act", {"v": version}, MCP_Protocol_Version=version)
        for answer in (modern, legacy):
            assert answer.status >= 400 or answer.code == "denied", (version, answer)
    assert not [line for line in received(gate.home / "probe") if '"v"' in line]


async def test_a_version_nobody_speaks_is_answered_with_those_there_are(gate: Inside) -> None:
    known = await peer(gate)
    said = {"io.modelcontextprotocol/protocolVersion": "1999-01-01"}
    answer = await known.call("probe_echo", {}, said, MCP_Protocol_Version="1999-01-01")
    assert (answer.status, answer.error["code"]) == (400, -32022)
    assert "2026-07-28" in answer.error["data"]["supported"]
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}}
    assert (await known.post(json.dumps(body).encode())).result["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "method",
    ["resources/read", "resources/list", "prompts/get", "completion/complete", "logging/setLevel",
     "sampling/createMessage", "tasks/get", "tools/Call", "tools/call ", "TOOLS/CALL",
     "rpc.discover", "__init__", "", "x" * 10_000],
)  # fmt: skip
async def test_other_methods_are_no_way_round(gate: Inside, era: str, method: str) -> None:
    known = await peer(gate, era)
    named = None if era == "legacy" else method.strip() or None
    params = {"name": "probe_act", "arguments": {}, "uri": "file:///etc/passwd"}
    answer = await known.rpc(method, params, Mcp_Method=named)
    assert "error" in answer.json
    assert answer.status in {200, 400, 404, 431}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"unknown": 1},
        {"text": 1},
        {"number": "1"},
        {"number": 1.5},
        {"number": True},
        {"text": "a", "__proto__": {"admin": True}},
        {"constructor": {"prototype": {"admin": True}}},
        {"text": ["a"]},
        {"text": {"$ref": "#"}},
        {"": 1},
    ],
    ids=str,
)
async def test_arguments_that_break_the_schema_are_not_passed_on(
    gate: Inside, era: str, arguments: dict[str, Any]
) -> None:
    known = await peer(gate, era)
    before = len(received(gate.home / "probe"))
    answer = await known.call("probe_exact", arguments)
    assert (answer.status, answer.code) == (200, "invalid_arguments")
    assert "probe_exact" in answer.text
    assert len(received(gate.home / "probe")) == before


@pytest.mark.parametrize("era", ERAS)
async def test_params_of_another_shape_are_refused(gate: Inside, era: str) -> None:
    known = await peer(gate, era)
    for params in (
        {"name": 7},
        {"name": None},
        {"name": ["probe_echo"]},
        {},
        {"name": "probe_echo", "arguments": [1]},
        {"name": "probe_echo", "arguments": "x"},
        {"name": "probe_echo", "_meta": {"io.toolgate/run": 7}},
        {"name": "probe_echo", "_meta": {"io.toolgate/run": "a b\n"}},
        {"name": "probe_echo", "_meta": {"io.toolgate/idempotency-key": "x" * 300}},
    ):
        answer = await known.rpc("tools/call", params)
        assert answer.error["code"] in {-32602, -32020}, params


NAMES = {
    "upper case": "PROBE_ECHO",
    "mixed case": "Probe.Echo",
    "NUL": "probe_echo\0",
    "a homoglyph": "prob\u0435_echo",
    "a path": "../probe_echo",
    "a dotted path": "probe/../probe.act",
    "a space": " probe_echo",
    "zero width": "probe_echo\u200b",
    "bidi": "\u202eohce_eborp",
    "fullwidth": "ｐｒｏｂｅ_echo",
    "a wildcard": "probe.*",
    "a template": "${secret:probe_key}",
    "another server": "other.echo",
    "the server alone": "probe",
    "nothing": "",
    "100 kB": "a" * 100_000,
    "a terminal's escape": "\x1b[31mprobe_echo\x1b[0m",
    "a second line": "probe_echo\r\n2026-01-01 INFO forged",
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_only_a_tools_exact_name_names_it(gate: Inside, era: str, name: str) -> None:
    known = await peer(gate, era)
    answer = await known.call(name, {}, Mcp_Name=header(name) if era == "modern" else None)
    if answer.status in {400, 431}:  # a header that long is refused before anybody reads the name
        assert len(name) > 10_000
        return
    assert answer.code == "unknown_tool"
    assert len(answer.text) < 400
    assert answer.text.isprintable()
    assert SECRET not in answer.text
