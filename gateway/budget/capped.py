"""How many calls the policies themselves allow: `@max_calls` of the permits that let a call through (POLICY.md §3)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gateway.budget.budgets import key_of
from gateway.model.bill import Bill, Charge
from gateway.model.call import Call
from gateway.model.limit import CALLS, EVER, MILLION, Limit, window_from

__all__ = ["MAX_CALLS", "capped"]

MAX_CALLS: Final = "max_calls"


def capped(call: Call) -> Bill:
    """Return what a decided call is charged: its budgets, and what each permit that allows it allows at the most.

    Counted are an agent's calls of a tool, in its run or in a window of time; of several limits of one window the least
    holds. Raising a limit keeps the count.
    """
    if not call.decision.obligations:
        return call.bill
    texts = [value for kind, value in call.decision.obligations if kind == MAX_CALLS]
    if not texts:
        return call.bill
    now = call.facts.now_ms
    return replace(call.bill, at_ms=now, charges=(*call.bill.charges, *_charges(call, texts, now)))


def _charges(call: Call, texts: list[str], now_ms: int) -> Iterator[Charge]:
    least: dict[str, int] = {}
    for text in texts:
        number, _, per = text.partition("/")
        least[per] = min(int(number) * MILLION, least.get(per, int(number) * MILLION))
    for per, most in least.items():
        window = EVER if per == "run" else window_from(per)
        whose = f"policy:{call.tool.name} by {call.identity.agent}"
        key = key_of(f"{whose} in {call.facts.run.id}" if per == "run" else whose, Limit(CALLS, most, window))
        yield Charge(key, CALLS, window.start_ms(now_ms), window.since_ms(now_ms), most, MILLION, MILLION)
