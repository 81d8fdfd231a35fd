"""Which calls are the same step."""

from dataclasses import replace

import pytest

from gateway.codec import digest
from gateway.ledger.keys import StepKey, next_step, sent_key, step_key
from gateway.model.clock import SystemClock
from gateway.model.facts import RunRef, StepStatus
from gateway.model.tool import Effect
from gateway.store.memory import MemoryStore
from gateway.store.ports import ClaimVerdict, Ending, Intent
from tests.ledger.making import IDENTITY, asked, tool

ARGUMENTS = {"payment_id": "p-7", "amount": 250, "to": {"iban": "x"}}
KEYED = tool(idempotency_key=("payment_id", "to.iban"))


def key_of(tool_=None, explicit=None, arguments=ARGUMENTS, run="run_1"):
    return step_key(tool_ or tool(), run, arguments, digest(arguments), explicit)


def test_a_read_without_a_key_has_none() -> None:
    assert key_of(tool(Effect.READ)) is None
    assert key_of(tool(Effect.READ), explicit="k") == "key:k"


def test_an_effect_without_a_key_is_told_apart_by_run_and_arguments() -> None:
    assert key_of() == f"call:run_1:{digest(ARGUMENTS)}:0"
    assert key_of(run="run_2") != key_of()
    assert key_of(arguments={"amount": 1}) != key_of()


def test_a_configured_key_takes_only_the_arguments_it_names() -> None:
    assert key_of(KEYED) == key_of(KEYED, arguments={**ARGUMENTS, "amount": 9})
    assert key_of(KEYED) != key_of(KEYED, arguments={**ARGUMENTS, "payment_id": "p-8"})
    assert key_of(KEYED) != key_of(KEYED, arguments={**ARGUMENTS, "to": {"iban": "y"}})
    assert key_of(KEYED, arguments={**ARGUMENTS, "to": "text"}) == key_of(KEYED, arguments={"payment_id": "p-7"})
    assert key_of(KEYED, run="run_2") == key_of(KEYED)


def test_an_agent_cannot_weaken_a_configured_key() -> None:
    assert key_of(KEYED, explicit="mine") == key_of(KEYED)


def test_an_agents_key_never_meets_a_computed_one() -> None:
    computed = key_of(KEYED)
    assert computed is not None
    assert key_of(explicit=computed) != computed
    assert key_of(explicit=str(key_of())) != key_of()


def test_a_long_key_is_kept_as_its_digest() -> None:
    long = key_of(explicit="x" * 100_000)
    assert long is not None
    assert len(long) < 100
    assert long != key_of(explicit="x" * 100_001)
    assert key_of(explicit="") == "key:"


class Steps:
    """A ledger, and one agent that makes the same call again and again."""

    def __init__(self, tool_=None, explicit=None, user=None) -> None:
        self.ledger = MemoryStore(SystemClock())
        self.tool = tool_ or tool()
        self.call = asked(arguments=ARGUMENTS, key=explicit)
        self.call.identity = replace(IDENTITY, on_behalf_of=user)
        self.call.tool = self.tool
        self.call.arguments = ARGUMENTS
        self.call.arguments_digest = digest(ARGUMENTS)
        self.run = RunRef("run_1", "billing", "meta")
        self.made = 0
        self.lookups = 0

    async def next(self) -> StepKey:
        return await next_step(self, self.run, self.call)  # type: ignore[arg-type]  # only `recorded`

    async def recorded(self, *key: str):
        self.lookups += 1
        return await self.ledger.recorded(*key)

    async def make(self, status: StepStatus | None = StepStatus.SUCCEEDED, *, delivered: bool = True) -> str:
        step = await self.next()
        call_id = f"c{self.made}"
        self.made += 1
        made = Intent(call_id, 1, "run_1", "", "billing", "", self.tool.name, digest(ARGUMENTS), step.key, {})
        assert (await self.ledger.claim(made)).verdict is ClaimVerdict.CLAIMED
        if status is not None:
            await self.ledger.finish(Ending(call_id, 2, status, {}))
        if delivered:
            await self.ledger.deliver(call_id, self.run.attempt)
        return call_id


async def test_of_a_step_that_is_known_to_be_new_the_ledger_is_not_asked_unless_its_key_is_of_no_run() -> None:
    for steps, asked_for in ((Steps(), 0), (Steps(explicit="k"), 1)):
        step = await next_step(steps, steps.run, steps.call, lambda run_id, step: True)  # type: ignore[arg-type]
        assert (step.repeats, steps.lookups) == (None, asked_for)


def test_no_two_tools_and_no_two_agents_send_a_server_the_same_key() -> None:
    pay, refund = tool(idempotent=True), replace(tool(idempotent=True), name="payments.refund")
    keys = {sent_key(each, agent, "key:mine") for each in (pay, refund) for agent in ("billing", "other")}
    assert len(keys) == 4
    assert None not in keys
    assert sent_key(tool(), "billing", "key:mine") is sent_key(pay, "billing", None) is None


def test_what_the_operator_says_names_one_effect_has_one_key_whichever_agent_asks() -> None:
    pay = tool(idempotent=True, idempotency_key=("payment_id",))
    assert sent_key(pay, "billing", "args:1") == sent_key(pay, "other", "args:1")
    assert sent_key(pay, "billing", "args:1") != sent_key(replace(pay, name="payments.refund"), "billing", "args:1")


async def test_a_first_call_repeats_nothing() -> None:
    assert await Steps().next() == StepKey(key_of(), None)
    assert await Steps(tool(Effect.READ)).next() == StepKey(None)


@pytest.mark.parametrize(
    ("status", "delivered"),
    [
        (None, False),
        (StepStatus.SUCCEEDED, False),
        (StepStatus.UNKNOWN, False),
        (StepStatus.UNKNOWN, True),
    ],
)
async def test_an_identical_call_is_the_same_step_until_its_answer_arrived(
    status: StepStatus | None, delivered: bool
) -> None:
    steps = Steps()
    made = await steps.make(status, delivered=delivered)
    step = await steps.next()
    assert step.key == key_of()
    assert step.repeats is not None
    assert step.repeats.call_id == made


async def test_after_its_answer_arrived_an_identical_call_is_a_new_one() -> None:
    steps = Steps()
    for number in range(12):
        assert (await steps.next()).key == f"call:run_1:{digest(ARGUMENTS)}:{number}"
        await steps.make()
    await steps.make(delivered=False)
    step = await steps.next()
    assert step.key == f"call:run_1:{digest(ARGUMENTS)}:12"
    assert step.repeats is not None


async def test_in_a_run_that_is_begun_anew_the_nth_identical_call_is_the_nth_recorded_one() -> None:
    steps = Steps()
    made = [await steps.make() for _ in range(3)]
    steps.run = replace(steps.run, attempt=2)
    for call_id in made:
        for _ in range(2):  # as often as its answer does not arrive
            step = await steps.next()
            assert step.repeats is not None
            assert step.repeats.call_id == call_id
        await steps.ledger.deliver(call_id, 2)
    assert await steps.next() == StepKey(key_of().replace(":0", ":3"), None)


async def test_where_a_call_is_made_once_in_a_run_it_is_never_a_new_one() -> None:
    steps = Steps(replace(tool(), once_per_run=True))
    made = await steps.make()
    for _ in range(3):
        step = await steps.next()
        assert step.repeats is not None
        assert step.repeats.call_id == made


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_failed_call_is_tried_again_under_its_key(delivered: bool) -> None:
    steps = Steps()
    await steps.make()
    await steps.make(StepStatus.FAILED, delivered=delivered)
    step = await steps.next()
    assert step.key == f"call:run_1:{digest(ARGUMENTS)}:1"
    await steps.make()
    assert (await steps.next()).key == f"call:run_1:{digest(ARGUMENTS)}:2"


async def test_the_thousandth_identical_call_is_found_in_a_few_looks() -> None:
    steps = Steps()
    for _ in range(1000):
        await steps.make()
    steps.lookups = 0
    assert (await steps.next()).key == f"call:run_1:{digest(ARGUMENTS)}:1000"
    assert steps.lookups <= 22


@pytest.mark.parametrize(("tool_", "explicit"), [(None, "mine"), (KEYED, None), (tool(Effect.READ), "mine")])
async def test_a_key_stands_for_one_step_for_ever(tool_, explicit) -> None:
    steps = Steps(tool_, explicit)
    made = await steps.make(delivered=True)
    step = await steps.next()
    assert step.key == key_of(tool_, explicit)
    assert step.repeats is not None
    assert step.repeats.call_id == made


async def test_the_same_key_of_two_users_of_one_agent_is_two_steps() -> None:
    keys = {(await Steps(explicit="mine", user=user).next()).key for user in ("ann", "bob", None)}
    assert len(keys) == 3
