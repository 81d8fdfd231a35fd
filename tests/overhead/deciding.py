"""What it takes to know who calls and to decide, call by call: the part of governing that every call waits for."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.model.call import Call
from gateway.pipeline.stages.decide import Decide
from gateway.pipeline.stages.gather import Gather
from gateway.pipeline.stages.identify import Identify
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, request, through

__all__ = ["Waits", "print_deciding", "waits_of"]

_WARM: Final = 50
_COUNTED: Final = (Identify, Gather, Decide)
_TOOLS: Final = {"a read": "payments_list", "an effect that needs a check": "payments_pay"}


@dataclass(frozen=True, slots=True)
class Waits:
    """What calls took to be identified, and in all to be identified and decided: microseconds of CPU, one a call."""

    identity: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)


async def waits_of(tool: str, calls: int) -> Waits:
    """Decide calls of a tool, each with arguments of its own; time what identifies, finds the past, and decides."""
    gate = Gate(PERMIT_ALL, PRECONDITION)
    found = Waits()
    for number in range(_WARM + calls):
        payment = {} if tool == "payments_list" else {**PAYMENT, "payment_id": f"p_{number}"}
        if payment:
            gate.servers["fraud"].calls.append(answer({"result": "passed"}))
            await gate.run("fraud_check", payment)
        identity, both = await _waited(gate, Call(gate.ids.new("call"), request(tool, payment), gate.clock.now_ms()))
        if number >= _WARM:
            found.identity.append(identity)
            found.both.append(both)
    return found


async def _waited(gate: Gate, call: Call) -> tuple[float, float]:
    took = dict.fromkeys(_COUNTED, 0.0)
    for stage in gate.stages:
        began = time.thread_time()
        outcome = await through(stage, call)
        if type(stage) in took:
            took[type(stage)] = (time.thread_time() - began) * 1e6
        if outcome is not None:
            raise SystemExit(f"{call.request.name} ended in {type(stage).__name__}: {outcome}")
        if isinstance(stage, Decide):
            break
    return took[Identify], sum(took.values())


def print_deciding(calls: int = 2000) -> None:
    """Print the median and the 99th percentile of what identity and policy take of a call."""
    print(f"\n| {calls} calls, store in memory | identity p50 CPU µs | p99 | identity and policy p50 | p99 |")
    print("|---|--:|--:|--:|--:|")
    for name, tool in _TOOLS.items():
        waits = asyncio.run(waits_of(tool, calls))
        cells = [f"{_percentile(times, n):.0f}" for times in (waits.identity, waits.both) for n in (50, 99)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _percentile(times: Sequence[float], n: int) -> float:
    return statistics.quantiles(times, n=100)[n - 1]
