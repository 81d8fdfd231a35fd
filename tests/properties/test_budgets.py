"""Whatever servers, callers and power supplies do: what is spent is never more than the budget."""

import asyncio
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from gateway.budget.budgets import Budgets, Told
from gateway.model.limit import MILLION
from gateway.model.request import CallRequest
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, request
from tests.properties.world import MODES, EffectServer, World

LIMIT = 1000
AMOUNTS = st.lists(st.sampled_from([0, 1, 100, 249.99, 250, 1000, 1001]), min_size=1, max_size=50)
SERVER = st.lists(st.sampled_from(MODES), max_size=20)
SCOPES = st.sampled_from(["org", "agent:payer", "tool:payments.*", "run"])


class Spending(World):
    """A world whose payments are charged to one budget."""

    def __init__(self, scope: str) -> None:
        self.budgets = Budgets(Told({scope: {"usd": f"{LIMIT}/day"}}, prices={"payments.pay": {"usd": "amount"}}))
        self.payments = 0
        super().__init__()

    def begin(self) -> None:
        super().begin()
        store: Any = self.life
        servers = {name: EffectServer(self, self.life) for name in ("fraud", "payments", "mail")}
        shared = {"store": store, "clock": self.clock, "ids": self.ids, "servers": servers}
        self.gate = Gate(PERMIT_ALL, budgets=self.budgets, **shared)

    def payment(self, amount: float) -> CallRequest:
        self.payments += 1
        return request("payments_pay", {**PAYMENT, "payment_id": f"p_{self.payments}", "amount": amount}, run="job")

    async def check(self) -> None:
        await super().check()
        spent = sum(Decimal(str(call.arguments["amount"])) for call in self.effects)
        [used] = [counter.used for counter in await self.store.budget_counters()] or [0]
        assert spent * MILLION <= used <= LIMIT * MILLION, "more was spent than there is"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCOPES, AMOUNTS, SERVER, st.integers(0, 60), AMOUNTS)
def test_calls_at_once_and_a_crash_among_them_never_spend_more_than_there_is(
    scope: str, amounts: list[float], modes: list[str], steps: int, later: list[float]
) -> None:
    async def run() -> None:
        world = Spending(scope)
        world.modes += modes
        await world.run_and_crash([world.payment(amount) for amount in amounts], steps)
        world.begin()
        await world.recover()
        await world.check()
        await world.run(*(world.payment(amount) for amount in later))
        await world.check()

    asyncio.run(run())


async def test_all_of_a_budget_can_be_spent() -> None:
    world = Spending("org")
    await world.run(*(world.payment(250) for _ in range(50)))
    assert sum(call.arguments["amount"] for call in world.effects) == LIMIT
