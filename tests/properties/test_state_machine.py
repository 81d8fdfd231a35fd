"""Whatever agents, servers, disks and power supplies do: no effect without a claim, and one key has one effect."""

import asyncio
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.model.outcome import Succeeded
from gateway.model.request import CallRequest
from tests.pipeline.gate import PAYMENT, request
from tests.properties.world import MODES, World

AGENTS = st.sampled_from(["payer", "payer", "other"])
RUNS = st.sampled_from([None, None, "august"])
KEYS = st.sampled_from([None, None, None, "k1", "k2"])
PAYMENTS = st.sampled_from([{**PAYMENT, "payment_id": f"p_{number}", "to": "a"} for number in range(2)])
TOOLS = st.sampled_from(["fraud_check", "payments_pay", "payments_settle", "mail_send"])
CALLS = st.builds(
    lambda tool, arguments, agent, run, key: request(tool, arguments, agent, run=run, idempotency_key=key),
    TOOLS,
    PAYMENTS,
    AGENTS,
    RUNS,
    KEYS,
)
STEPS = st.integers(0, 45)
SERVER = st.lists(st.sampled_from(MODES), max_size=4)
FAULTS = st.tuples(
    st.sampled_from(["claim", "finish", "record", "recorded", "steps", "open_run", "count_steps"]),
    st.sampled_from(["before", "after"]),
).filter(lambda fault: fault != ("claim", "after"))  # a claim that raises was not written: the stores promise it


class Calls(RuleBasedStateMachine):
    """Agents call, leave and repeat themselves; servers lose answers; disks fail; the gateway crashes and starts."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.world = World()

    def do(self, work: Any) -> None:
        self.loop.run(work)
        self.world.modes.clear()
        self.world.life.fault = None

    @rule(call=CALLS, modes=SERVER)
    def one_call(self, call: CallRequest, modes: list[str]) -> None:
        self.world.modes += modes
        self.do(self.world.run(call))

    @rule(arguments=PAYMENTS, run=RUNS, key=KEYS, modes=SERVER)
    def a_payment_with_its_check(self, arguments: Any, run: str | None, key: str | None, modes: list[str]) -> None:
        self.do(self.world.run(request("fraud_check", arguments, run=run)))
        self.world.modes += modes
        self.do(self.world.run(request("payments_pay", arguments, run=run, idempotency_key=key)))

    @rule(call=CALLS, others=st.lists(CALLS, max_size=2), twins=st.integers(1, 3), modes=SERVER)
    def several_at_once(self, call: CallRequest, others: list[CallRequest], twins: int, modes: list[str]) -> None:
        self.world.modes += modes
        self.do(self.world.run(*[call] * twins, *others))

    @rule(arguments=PAYMENTS, modes=SERVER)
    def payments_that_race_for_one_check(self, arguments: Any, modes: list[str]) -> None:
        self.do(self.world.run(request("fraud_check", arguments)))
        self.world.modes += modes
        keys = [None, "k1", "k2", "k3"]
        self.do(self.world.run(*(request("payments_pay", arguments, idempotency_key=key) for key in keys)))

    @rule(call=CALLS, steps=STEPS, modes=SERVER)
    def a_caller_that_leaves(self, call: CallRequest, steps: int, modes: list[str]) -> None:
        self.world.modes += modes
        self.do(self.world.run_and_leave(call, steps))

    @rule(call=CALLS, fault=FAULTS, modes=SERVER)
    def a_store_that_fails(self, call: CallRequest, fault: tuple[str, str], modes: list[str]) -> None:
        self.world.modes += modes
        self.world.life.fault = fault
        self.do(self.world.run(call))

    @rule(calls=st.lists(CALLS, max_size=2), steps=STEPS, modes=SERVER)
    def a_crash(self, calls: list[CallRequest], steps: int, modes: list[str]) -> None:
        self.world.modes += modes
        self.do(self.world.run_and_crash(calls, steps))
        self.world.begin()
        self.do(self.world.recover())

    @rule()
    def answers_arrive(self) -> None:
        for end in self.world.ended:
            if isinstance(end.outcome, Succeeded):
                call_id = end.outcome.replayed_from or end.call.id
                self.loop.run(self.world.store.deliver(call_id))
                self.world.delivered.add(call_id)

    @rule(minutes=st.sampled_from([1, 20]))
    def time_passes(self, minutes: int) -> None:
        self.loop.run(self.world.clock.sleep(60.0 * minutes))

    @invariant()
    def every_promise_is_kept(self) -> None:
        self.loop.run(self.world.check())

    def teardown(self) -> None:
        try:
            self.loop.run(self.world.recover())
            self.loop.run(self.world.check())
        finally:
            self.loop.close()


TestCalls = Calls.TestCase
TestCalls.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
