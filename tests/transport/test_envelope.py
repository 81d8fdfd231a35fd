import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS, InboundLadderRejection, classify_inbound_request
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from gateway.transport.envelope import HANDSHAKE_VERSIONS, MODERN_VERSIONS, STATUS, check_envelope
from gateway.transport.said import CAPABILITIES, CLIENT, VERSION
from gateway.transport.wire import RpcError, RpcRequest

METHODS = ("tools/call", "tools/list", "prompts/get", "resources/read", "own/one")
VERSIONS = ("2026-07-28", "2025-11-25", "2030-01-01")
SPELLED = tuple(f"=?base64?{base64.b64encode(name.encode()).decode()}?=" for name in ("pay", "ö"))
NAMES = ("pay", "ö", "", "=?base64?=", "=?base64??=", "=?base64?cGF5", *SPELLED)
HEADER_NAMES = (*NAMES, "=?base64?cGF5=?=", "=?base64?cG F5?=", "=?base64?/w==?=", "=?base64?cGF=?=")
ODD = (None, 7, True, [], {}, "pay")

metas = st.dictionaries(
    st.sampled_from([VERSION, CAPABILITIES, CLIENT, "own"]), st.sampled_from([*VERSIONS, None, 7, {}]), max_size=4
)
enveloped = st.builds(lambda version: {VERSION: version, CAPABILITIES: {}}, st.sampled_from(VERSIONS))
params = st.fixed_dictionaries(
    {},
    optional={
        "_meta": st.one_of(enveloped, metas, st.sampled_from(ODD)),
        "name": st.sampled_from([*NAMES, *ODD]),
        "uri": st.sampled_from([*NAMES, *ODD]),
    },
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "mcp-protocol-version": st.sampled_from(VERSIONS),
        "mcp-method": st.sampled_from(METHODS),
        "mcp-name": st.sampled_from(HEADER_NAMES),
    },
)


def ours(method: str, params: dict[str, Any], headers: dict[str, str]) -> tuple[int, str, Any] | None:
    try:
        check_envelope(RpcRequest(method, params, 1, {}), headers)
    except RpcError as error:
        return error.code, error.message, error.data
    return None


@settings(max_examples=300)
@given(st.sampled_from(METHODS), params, headers, st.booleans())
def test_requests_are_judged_in_the_words_of_the_sdk(
    method: str, params: dict[str, Any], headers: dict[str, str], agreed: bool
) -> None:
    if agreed:  # else few get as far as the names
        headers = {"mcp-protocol-version": "2026-07-28", **headers, "mcp-method": method}
        params = {"_meta": {VERSION: headers["mcp-protocol-version"], CAPABILITIES: {}}, **params}
    verdict = classify_inbound_request({"method": method, "params": params}, headers=headers)
    theirs = (verdict.code, verdict.message, verdict.data) if isinstance(verdict, InboundLadderRejection) else None
    assert ours(method, params, headers) == theirs


def test_a_name_that_is_spelled_in_what_no_base64_is_names_nothing() -> None:
    said = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "=?base64?ö?="}
    params = {"name": "pay", "_meta": {VERSION: "2026-07-28", CAPABILITIES: {}}}
    with pytest.raises(ValueError, match="ASCII"):  # the SDK's own reading of it ends so
        classify_inbound_request({"method": "tools/call", "params": params}, headers=said)
    refused = ours("tools/call", params, said)
    assert refused is not None
    assert refused[0] == -32020


def test_versions_and_status_codes_are_those_of_the_sdk() -> None:
    assert HANDSHAKE_VERSIONS == HANDSHAKE_PROTOCOL_VERSIONS
    assert MODERN_VERSIONS == MODERN_PROTOCOL_VERSIONS
    assert STATUS == ERROR_CODE_HTTP_STATUS
