"""What is declared of answers, through the door: a real server that writes down what it is asked."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.store.ports import EventFilter
from tests.live.inside import Inside, call, code, inside
from tests.live.raw import probe_section, probes, received

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECLARED = """
tools:
  probe.exact: { cache: 60s }
  probe.wait_read: { deadline: 0.3, fallback: [{ tool: probe.exact, arguments: { rename: { page: number } } }] }
  probe.echo: { incomplete: { more: [got.next], required: [got.rows] } }
"workflows":  # quoted: `inside` adds agents before an unquoted one
  closing:
    key: account
    rules: [{ call: probe.act, require: [{ call: probe.echo, within: 1h }] }]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("cache")
    async with inside(home, probes(probe_section(home / "probe"), more=DECLARED)) as up:
        yield up


def asked(gate: Inside) -> int:
    return len(received(gate.home / "probe"))


async def test_the_second_call_is_not_sent_another_principals_is_and_a_write_ends_it(gate: Inside) -> None:
    read: dict[str, Any] = {"text": "a", "number": 1}
    async with gate.client("modern") as payer, gate.client("legacy", "payer2") as other:
        first = await call(payer, "probe_exact", read)
        before = asked(gate)
        gate.clock.ms += 7000
        again = await call(payer, "probe_exact", dict(reversed(read.items())))
        assert (code(again), again.structured_content) == ("ok", first.structured_content)
        assert asked(gate) == before
        told = (again.meta or {})["io.toolgate/cached"]
        assert told["ageMs"] == 7000
        events = [json.loads(e.body) async for e in gate.gateway.store.events(EventFilter(tool="probe.exact"))]
        assert [event.get("source") for event in events] == [None, {"call": told["call"], "age_ms": 7000}]

        assert "io.toolgate/cached" not in ((await call(other, "probe_exact", read)).meta or {})
        assert asked(gate) == before + 1
        assert code(await call(other, "probe_odd", {})) == "ok"
        assert "io.toolgate/cached" not in ((await call(payer, "probe_exact", read)).meta or {})
        assert asked(gate) == before + 3


async def test_what_depends_on_a_truncated_page_is_denied_until_everything_was_read(gate: Inside) -> None:
    account = {"account": "a1"}
    async with gate.client("modern") as payer:
        page = await call(payer, "probe_echo", {**account, "rows": [1], "next": "page 2"})
        assert (code(page), (page.meta or {})["io.toolgate/labels"]) == ("ok", ["incomplete"])
        denied = await call(payer, "probe_act", account)
        assert code(denied) == "denied"
        refusal = (denied.meta or {})["io.toolgate/refusal"]
        assert "an answer labelled incomplete does not count" in refusal["message"]
        assert refusal["remedies"][0]["tool"] == "probe_echo"
        whole = await call(payer, "probe_echo", {**account, "rows": [1, 2], "next": None})
        assert "io.toolgate/labels" not in (whole.meta or {})
        assert code(await call(payer, "probe_act", account)) == "ok"


async def test_another_tool_answers_for_one_that_hangs_and_it_is_said_and_recorded(gate: Inside) -> None:
    async with gate.client("modern") as payer:
        answered = await call(payer, "probe_wait_read", {"page": 7})
    meta = answered.meta or {}
    assert (code(answered), answered.structured_content) == ("ok", {"got": {"number": 7}})
    assert meta["io.toolgate/fallback"] == {"tool": "probe.exact", "because": "timeout"}
    assert meta["io.toolgate/labels"] == ["fallback"]
    [event] = [json.loads(e.body) async for e in gate.gateway.store.events(EventFilter(tool="probe.wait_read"))]
    assert event["source"] == {"fallback": "probe.exact", "because": "timeout"}
    assert [attempt["code"] for attempt in event["attempts"]] == ["timeout", "ok"]
