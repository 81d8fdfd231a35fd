"""Metrics and traces of a real gateway: what was counted by hand, for who holds the token; what a collector is told."""

import asyncio
import re
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.approval.test_messenger import Receiver
from tests.live.inside import inside
from tests.live.raw import Peer, probe_section, probes

TOKEN = "a-token-for-scrapers"
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def numbers(text: str) -> dict[str, float]:
    lines = [found for line in text.splitlines() if (found := SAMPLE.match(line))]
    return {f"{each[1]}{{{each[2] or ''}}}": float(each[3]) for each in lines}


async def test_what_happened_is_what_a_scraper_reads(tmp_path: Path) -> None:
    section = probe_section(tmp_path / "probe")
    async with inside(tmp_path, probes(section, more=f"metrics: {{ token: {TOKEN} }}")) as gate:
        payer, clerk = Peer(gate.url, gate.tokens["payer"]), Peer(gate.url, gate.tokens["clerk"])
        for _ in range(3):
            assert (await payer.call("probe_echo")).code == "ok"
        await payer.call("probe_fail")
        assert (await clerk.call("probe_act")).code == "denied"
        assert (await payer.call("no_such_tool")).code == "unknown_tool"
        assert (await Peer(gate.url, "tg_nobody").call("probe_echo")).status == 401
        scraper = Peer(gate.url, TOKEN)
        answer = await scraper.ask("GET", "/metrics")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        found = numbers(answer.body.decode())

        def ended(agent: str, tool: str, outcome: str, code: str = "") -> float:
            labels = f'agent="{agent}",tool="{tool}",outcome="{outcome}",code="{code}"'
            return found[f"toolgate_calls_total{{{labels}}}"]

        assert ended("payer", "probe.echo", "succeeded") == 3
        assert ended("payer", "probe.fail", "tool_error") == 1
        assert ended("clerk", "probe.act", "denied", "denied") == 1
        assert ended("payer", "", "refused", "unknown_tool") == 1
        assert ended("", "", "refused", "unauthenticated") == 1
        assert sum(value for name, value in found.items() if name.startswith("toolgate_calls_total")) == 7
        assert found['toolgate_call_duration_seconds_count{tool="probe.echo"}'] == 3
        assert found['toolgate_server_up{server="probe"}'] == 1
        assert found['toolgate_approvals_waiting{overdue="false"}'] == 0
        assert found["toolgate_ledger_writable{}"] == 1
        assert found["process_resident_memory_bytes{}"] > 1_000_000
        open_text = await scraper.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert open_text.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert open_text.body.endswith(b"# EOF\n")
        for stranger in ("", gate.tokens["payer"], TOKEN + "x"):
            refused = await Peer(gate.url, stranger).ask("GET", "/metrics")
            assert (refused.status, b"toolgate_calls" in refused.body) == (401, False)


async def test_nothing_is_there_unless_it_is_configured(tmp_path: Path) -> None:
    async with inside(tmp_path, probes(probe_section(tmp_path / "probe"))) as gate:
        assert (await Peer(gate.url, TOKEN).ask("GET", "/metrics")).status == 404


async def test_a_collector_is_told_of_a_call_in_the_trace_of_its_client(tmp_path: Path) -> None:
    collector = Receiver()
    listening = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    more = f'traces: {{ url: "http://127.0.0.1:{port}/v1/traces" }}'
    async with inside(tmp_path, probes(probe_section(tmp_path / "probe"), more=more)) as gate:
        async with asyncio.timeout(30):
            while not (tmp_path / ".toolgate" / "traces.seq").exists():
                await asyncio.sleep(0.01)
        traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert (await Peer(gate.url, gate.tokens["payer"]).call("probe_echo", {"a": "private"}, traced)).code == "ok"
        [(_, body), *_] = await collector.requests(1)
    [resource] = ExportTraceServiceRequest.FromString(body).resource_spans
    whole, attempt = resource.scope_spans[0].spans
    assert (whole.name, whole.trace_id.hex()) == ("tools/call probe.echo", "0af7651916cd43dd8448eb211c80319c")
    assert attempt.parent_span_id == whole.span_id
    assert b"private" not in body
    listening.close()
    await listening.wait_closed()
