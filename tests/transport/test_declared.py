"""What a client declares that it knows reaches servers, but for what is between it and the gateway."""

from typing import Any

import pytest

from gateway.transport.back import declared
from tests.transport.asking import LIST, asking_front
from tests.transport.peer import Peer

UI = {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}, "acme/x": {}}
OURS = {
    "io.modelcontextprotocol/oauth-client-credentials": {},
    "io.modelcontextprotocol/enterprise-managed-authorization": {},
}
TASKS = {"io.modelcontextprotocol/tasks": {}}
SAID: dict[str, Any] = {"extensions": {**UI, **OURS, **TASKS}, "experimental": {"acme": {"y": None}}, "odd": {}}
PASSED = {"extensions": UI, "experimental": {"acme": {"y": None}}}


@pytest.mark.parametrize("asks", [{}, {"elicitation": {}}])
async def test_a_server_is_told_in_either_era_what_its_client_knows(asks: dict[str, Any]) -> None:
    front = asking_front()
    modern, legacy = Peer(front), Peer(front)
    modern.capabilities = {**SAID, **asks}
    await modern.modern("tools/call", LIST).ended()
    await legacy.initialize(**SAID, **asks)
    await legacy.legacy("tools/call", LIST).ended()
    front.sessions._live.clear()  # as after a restart
    await legacy.legacy("tools/call", LIST).ended()
    backs = [call.back for call in front.gate.servers["payments"].asked]
    assert [(dict(back.capabilities), back.declares) for back in backs] == [(asks, PASSED)] * 3


@pytest.mark.parametrize(
    "said", [None, [], {}, {"extensions": None}, {"extensions": OURS}, {"experimental": {"x": "y" * 9000}}]
)
def test_what_is_out_of_shape_or_ours_or_large_is_not_passed_on(said: Any) -> None:
    assert declared(said) == {}


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", ""])
async def test_only_of_a_client_that_knows_tasks_is_it_expected_to_begin_them(version: str) -> None:
    peer = Peer(asking_front())
    if version:
        await peer.initialize(version, elicitation={})
    await (peer.legacy if version else peer.modern)("tools/call", LIST).ended()
    [call] = peer.front.gate.servers["payments"].asked
    assert call.back.begins_tasks is (version == "2025-11-25")
