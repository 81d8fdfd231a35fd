"""A server of a thousand tools behind the gateway, used by clients that know nothing of large catalogs."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp.types import CallToolResult

from examples.payments.agent import over_http
from gateway.store.ports import EventFilter
from tests.fixtures.thousand_server import ROWS, names
from tests.live.inside import Inside, call, code, inside
from tests.live.running import ROOT
from tests.pipeline.gate import RUN_TOOLS

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOORS = ["modern", "legacy", "stdio-modern", "stdio-legacy"]
LIMIT = 8000
CONFIG = f"""version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
  office: {{ command: "${{PYTHON:-python3}}", args: ["{ROOT}/tests/fixtures/thousand_server.py"] }}
tools:
  office.whole_journal: {{ result_limit: {LIMIT} }}
  office.pay: {{ effect: irreversible, idempotency_key: [ref] }}
agents:
  clerk:   {{ owner: o@acme.example, auth: {{ token: true, local: true }}, allow: ["office.*", "run.*"] }}
  printer:
    owner: o@acme.example
    auth: {{ token: true, local: true }}
    allow: ["office.print_form_*", "office.whole_journal"]
workflows:
  payments:
    key: ref
    rules:
      - call: office.pay
        require: [{{ call: office.check_payment, same: [ref], where: {{ ok: true }}, within: 1h }}]
endpoints:
  forms: {{ tools: ["office.print_form_*"], list_limit: 2 }}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("office")
    async with inside(home, CONFIG) as running:
        async with asyncio.timeout(60):
            while "office" not in running.gateway.lock.servers:  # a busy machine takes long to start it
                await asyncio.sleep(0.05)
        yield running


def text(result: CallToolResult) -> str:
    return " ".join(getattr(block, "text", "") for block in result.content)


async def recorded(office: Inside, tool: str, agent: str = "clerk") -> list[dict[str, Any]]:
    events = [e async for e in office.gateway.store.events(EventFilter(tool=tool, limit=100_000)) if e.agent == agent]
    return [json.loads(event.body) for event in events if "arguments" in json.loads(event.body)]


@pytest.mark.parametrize("door", DOORS)
async def test_a_thousand_tools_are_searched_described_and_called_and_none_is_listed(office: Inside, door: str) -> None:
    async with office.client(door, "clerk") as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == [
            "results_read",
            *RUN_TOOLS,
            "tools_call",
            "tools_describe",
            "tools_search",
        ]
        assert sum(len(tool.model_dump_json()) for tool in listed) < 10_000
        found = await call(client, "tools_search", {"query": "approve an overdue invoice"})
        assert found.structured_content is not None
        assert found.structured_content["tools"][0]["name"] == "office_approve_overdue_invoice"
        assert found.structured_content["of"] == len(names()) + 3
        described = await call(client, "tools_describe", {"names": ["office_pay"]})
        assert described.structured_content is not None
        assert described.structured_content["tools"][0]["inputSchema"]["required"] == ["ref"]

        ref = f"r-{door}"
        pay = {"name": "office_pay", "arguments": {"ref": ref}}
        refused = await call(client, "tools_call", pay)
        assert code(refused) == "denied"
        assert f'tools_call {{"name":"office_check_payment","arguments":{{"ref":"{ref}"}}}}' in text(refused)
        [step] = (refused.meta or {})["io.toolgate/refusal"]["remedies"]
        assert code(await call(client, step["tool"], step["arguments"])) == "ok"
        paid = await call(client, "tools_call", pay)
        assert (code(paid), text(paid)) == ("ok", f"paid {ref}")
        again = await call(client, "office_pay", {"ref": ref})  # by its own name too, and still only once
        assert "io.toolgate/replayed-from" in (again.meta or {})
    rows = [row for row in await recorded(office, "office.pay") if row["arguments"] == {"ref": ref}]
    assert [(row.get("via"), row["tool"]["name"]) for row in rows] == [
        ("tools.call", "office.pay"),
        ("tools.call", "office.pay"),
        (None, "office.pay"),
    ]
    assert not [row for row in await recorded(office, "tools.call") if row["arguments"].get("name") == "office_pay"]


@pytest.mark.parametrize("door", DOORS[:2])
async def test_an_agent_finds_and_calls_only_its_own(office: Inside, door: str) -> None:
    async with office.client(door, "printer") as client:
        assert "tools_search" not in {tool.name for tool in (await client.list_tools()).tools}
        found = await call(client, "tools_search", {"query": "pay approve invoice print form journal", "limit": 50})
        assert found.structured_content is not None
        seen = {each["name"] for each in found.structured_content["tools"]}
        assert "office_print_form_0" in seen
        assert not {name for name in seen if "form" not in name and "journal" not in name}
        described = await call(client, "tools_describe", {"names": ["office_pay"]})
        assert (described.structured_content or {})["missing"] == ["office_pay"]
        assert code(await call(client, "tools_call", {"name": "office_pay", "arguments": {"ref": "x"}})) == "denied"
        printed = await call(client, "tools_call", {"name": "office_print_form_0", "arguments": {"ref": "f"}})
        assert (code(printed), text(printed)) == ("ok", "done with f")


@pytest.mark.parametrize("door", DOORS)
async def test_a_client_that_checks_schemas_takes_a_cut_answer_and_reads_on_in_it(office: Inside, door: str) -> None:
    async with office.client(door, "printer") as client:
        await client.list_tools()
        cut = await call(client, "office_whole_journal", {})
        assert not cut.is_error
        assert len(cut.model_dump_json()) < LIMIT
        note = (cut.structured_content or {})["io.toolgate/cut"]
        whole, offset = text(cut)[: note["next"]], note["next"]
        while offset is not None:
            piece = await call(client, note["tool"], {"handle": note["handle"], "offset": offset})
            assert piece.structured_content is not None
            whole += piece.structured_content["text"]
            offset = piece.structured_content["next"]
        assert len(json.loads(whole)["rows"]) == ROWS
    async with office.client(door, "clerk") as other:
        assert code(await call(other, "results_read", {"handle": note["handle"]})) == "invalid_arguments"
    [row, *_] = await recorded(office, "office.whole_journal", "printer")
    assert "row 1999" in json.dumps(row["result"])


async def test_a_handle_is_good_for_an_hour(office: Inside) -> None:
    async with office.client("modern", "printer") as client:
        cut = await call(client, "office_whole_journal", {})
        handle = (cut.structured_content or {})["io.toolgate/cut"]["handle"]
        office.clock.ms += 3600 * 1000
        gone = await call(client, "results_read", {"handle": handle})
        assert "kept for an hour" in text(gone)


async def test_an_endpoint_may_have_a_limit_of_its_own(office: Inside) -> None:
    async with over_http(f"{office.url}/forms", office.tokens["printer"]) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {
            "tools_call",
            "tools_describe",
            "tools_search",
        }
