"""Reports of what models used up: each span counts once, as far as they are remembered."""

from gateway.budget.telemetry import ModelUsage
from gateway.ledger.costs import REPORTS
from gateway.model.identity import Identity
from gateway.pipeline.usage import UsageReports
from tests.pipeline.gate import Gate

PAYER = Identity("payer", "token", "t")


def reports(gate: Gate, remembered: int) -> UsageReports:
    return UsageReports(gate.store, gate.rules, gate.clock, gate.redactor.record, remembered=remembered)


def usage(*spans: str) -> list[ModelUsage]:
    return [ModelUsage(span, "m", 1, 1) for span in spans]


async def test_spans_are_told_apart_from_the_latest_only() -> None:
    taking = reports(Gate(), remembered=2)
    assert [await taking.take(PAYER, usage(span)) for span in "aabca"] == [1, 0, 1, 1, 1]


async def test_after_a_restart_only_reports_are_read_whatever_a_call_is_named() -> None:
    gate = Gate()
    await reports(gate, remembered=9).take(PAYER, usage("a", "b"))
    await gate.run(REPORTS, {})  # no tool, and on record under that name
    assert [event.tool for event in await gate.events()].count(REPORTS) == 2
    assert await reports(gate, remembered=9).take(PAYER, usage("a", "b", "c")) == 1
