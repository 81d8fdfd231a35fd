"""An unchanged OpenTelemetry exporter reports to a real gateway what an agent's models used up."""

import asyncio
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.live.inside import call, code, inside
from tests.live.running import PAYMENTS

BUDGET = "budgets: { org: { model_tokens: 100000 } }\n"
CHECK = {"payment_id": "p_1", "payee": "ACME", "amount": 250.0}


def think(endpoint: str, token: str, tokens: int) -> None:
    """Report calls of a model, with a span around them that says the same again."""
    headers = {"Authorization": f"Bearer {token}"}
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", headers=headers, compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("agent")
    with tracer.start_as_current_span("invoke_agent payer") as whole:
        whole.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": tokens})
        for _ in range(2):
            with tracer.start_as_current_span("chat m-1") as chat:
                chat.set_attributes({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": tokens // 2})
    provider.shutdown()


async def test_tokens_of_models_end_an_agents_budget(tmp_path: Path) -> None:
    async with inside(tmp_path, PAYMENTS + BUDGET) as running, running.client("modern") as client:
        report = running.url.removesuffix("/mcp"), running.tokens["payer"]
        await asyncio.to_thread(think, *report, 90_000)
        assert code(await call(client, "fraud_check", CHECK)) == "ok"
        await asyncio.to_thread(think, *report, 10_000)
        refused = await call(client, "fraud_check", {**CHECK, "payment_id": "p_2"})
        assert code(refused) == "budget_exceeded"
        [stands] = await running.gateway.store.budget_counters()
        assert stands.spent == 100_000 * 1_000_000
        await running.gateway.store.verify()
