"""One server, two versions of its tool, an agent on each: at the same time, through a real gateway."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.catalog.lock import Lock, Pin
from tests.live.inside import Inside, call, code, inside
from tests.live.probe_server import ECHO, tool
from tests.live.raw import probe_section, received

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLD = tool("exact", {"words": {"type": "string"}}, annotations={"readOnlyHint": True})
LOCK = Lock({"probe": {str(each["name"]): Pin.of(each, version=2) for each in ECHO}})
CONFIG = """version: 1
server: { listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }
mcpServers:
%s
tools:
  probe.exact:
    versions:
      "1":
        agents: [old]
        arguments: { rename: { words: text }, default: { number: 1 } }
        result: { rename: { got.text: got.words }, drop: [got.number] }
      "3": { teams: [lost] }
agents:
  old:  { auth: { token: true, local: true }, allow: ["*"], teams: [lost] }
  new:  { auth: { token: true, local: true }, allow: ["*"] }
  lost: { auth: { token: true, local: true }, allow: ["*"], teams: [lost] }
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("versions")
    LOCK.keeping("probe", "exact", Pin.of(OLD)).write(home / "gateway.lock")
    async with inside(home, CONFIG % probe_section(home / "probe")) as running:
        yield running


async def exact(gate: Inside, agent: str) -> Any:
    async with gate.client("modern", agent) as client:
        return {each.name: each for each in (await client.list_tools()).tools}.get("probe_exact")


async def test_each_agent_lists_and_calls_its_own_version_while_the_server_speaks_one(gate: Inside) -> None:
    assert list((await exact(gate, "old")).input_schema["properties"]) == ["words"]
    assert list((await exact(gate, "new")).input_schema["properties"]) == ["text", "number"]
    async with gate.client("modern", "old") as old, gate.client("legacy", "new") as new:
        first = await call(old, "probe_exact", {"words": "hello"})
        second = await call(new, "probe_exact", {"text": "hello", "number": 2})
        wrong = await call(old, "probe_exact", {"text": "hello"})
    assert (code(first), first.structured_content) == ("ok", {"got": {"words": "hello"}})
    assert (code(second), second.structured_content) == ("ok", {"got": {"text": "hello", "number": 2}})
    assert code(wrong) == "invalid_arguments"
    sent = [json.loads(line)["params"]["arguments"] for line in received(gate.home / "probe")]
    assert sent == [{"text": "hello", "number": 1}, {"text": "hello", "number": 2}]


async def test_an_agent_that_cannot_be_spoken_with_is_refused_with_what_to_do(gate: Inside) -> None:
    assert await exact(gate, "lost") is None
    async with gate.client("modern", "lost") as client:
        refused = await call(client, "probe_exact", {})
    assert code(refused) == "tool_quarantined"
    assert "toolgate schema versions probe.exact" in str(refused.content)
