"""Stage 5: what already happened, as facts."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.model.call import Call
from gateway.model.facts import Approver, PriorQuery, PriorScope, RunRef, Step, StepStatus
from gateway.model.identity import Identity
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.model.request import CallRequest, DryRun
from gateway.pipeline.stages.decide import Decide
from gateway.pipeline.stages.gather import Gather, lookup_for
from gateway.store.memory import MemoryStore
from gateway.store.ports import Recorded, StepLookup
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import JOIN, PAYMENT, PERMIT_ALL, PRECONDITION, Gate, answer, caller, request

PASSED = answer({"result": "passed"})
RUN = RunRef("run_1", "payer", "open")
WORKFLOW = {"payments.pay": ("payout", "payment_id"), "payments.list": ("payout", "limit")}


async def test_a_first_call_has_a_run_a_time_and_no_past() -> None:
    gate = Gate()
    call, outcome = await gate.after(Gather, request("payments_pay"))
    assert outcome is None
    assert call.bundle is gate.rules.current.bundle
    facts = call.facts
    assert (facts.now_ms, facts.step, facts.priors, facts.repeat_of) == (gate.clock.now_ms(), 0, {}, None)
    assert (facts.run.owner, facts.environment) == ("payer", "production")
    assert call.step_key == f"call:{facts.run.id}:{call.arguments_digest}:0"


async def test_an_agent_of_another_environment_is_decided_on_in_that_also_when_it_repeats_a_call_or_joins_a_run() -> (
    None
):
    staging = (
        '@id("staging") permit (principal, action, resource) when { context.base.env == Gateway::Environment::"ENV" };'
    )
    gate = Gate(staging.replace("ENV", "staging"))
    assert isinstance((await gate.run("payments_pay", run="r")).outcome, Denied)
    gate.rules.current = replace(gate.rules.current, environments={"payer": "staging"})
    first = await gate.run("payments_pay", run="r", idempotency_key="k")
    again = await gate.run("payments_pay", run="r", idempotency_key="k")
    assert isinstance(again.outcome, Succeeded)
    assert again.outcome.replayed_from == first.call.id
    assert again.call.facts.environment == "staging"
    assert isinstance((await gate.run("payments_pay", agent="other")).outcome, Denied)
    joins = JOIN.replace("when {", 'when { context.base.env == Gateway::Environment::"staging" &&')
    gate = Gate(PERMIT_ALL, joins)
    run = (await gate.run("payments_pay")).call.facts.run.id
    assert isinstance((await gate.run("payments_list", {}, agent="other", run=run)).outcome, Failed)
    gate.rules.current = replace(gate.rules.current, environments={"other": "staging"})
    assert isinstance((await gate.run("payments_list", {}, agent="other", run=run)).outcome, Succeeded)


async def test_a_read_without_a_key_keeps_no_step_apart() -> None:
    call, _ = await Gate().after(Gather, request("payments_list", {}))
    assert call.step_key is None


async def test_the_latest_matching_step_becomes_a_fact() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls += [PASSED, PASSED]
    await gate.run("fraud_check")
    checked = await gate.run("fraud_check")
    await gate.run("fraud_check", {**PAYMENT, "payment_id": "p_other"})
    call, _ = await gate.after(Gather, request("payments_pay"))
    step = call.facts.priors["fraud"]
    assert (step.call_id, step.status, step.output) == (checked.call.id, StepStatus.SUCCEEDED, {"result": "passed"})
    assert call.facts.step == 3


async def test_a_precondition_that_nothing_matches_is_absent_from_the_facts() -> None:
    call, _ = await Gate(PERMIT_ALL, PRECONDITION).after(Gather, request("payments_pay"))
    assert call.facts.priors == {}


async def test_a_precondition_whose_argument_this_call_leaves_out_is_not_looked_up() -> None:
    by_amount = PRECONDITION.replace("payment_id=payment_id", "amount=amount")
    gate = Gate(PERMIT_ALL, by_amount)
    gate.servers["fraud"].calls.append(PASSED)
    await gate.run("fraud_check")
    without = {"payment_id": "p_17", "payee": "ACME"}
    call, _ = await gate.after(Gather, request("payments_pay", without))
    assert call.facts.priors == {}


async def test_a_workflow_key_names_the_run_whoever_holds_the_conversation() -> None:
    gate = Gate(keys=WORKFLOW)
    one, _ = await gate.after(Gather, request("payments_pay", caller=caller(session="a")))
    two, _ = await gate.after(Gather, request("payments_pay", caller=caller(session="b")))
    other, _ = await gate.after(Gather, request("payments_pay", {**PAYMENT, "payment_id": "p_18"}))
    assert one.facts.run.source == "key"
    assert one.facts.run.id == two.facts.run.id != other.facts.run.id


async def test_a_call_that_leaves_the_workflow_key_out_belongs_to_its_conversation() -> None:
    call, _ = await Gate(keys=WORKFLOW).after(Gather, request("payments_list", {}))
    assert call.facts.run.source == "open"


async def test_a_repeat_is_decided_on_the_facts_of_the_original() -> None:
    gate = Gate(PERMIT_ALL, PRECONDITION)
    gate.servers["fraud"].calls.append(PASSED)
    await gate.run("fraud_check")
    paid = await gate.run("payments_pay")
    await gate.clock.sleep(20 * 60)
    call, _ = await gate.after(Gather, request("payments_pay"))
    assert call.facts == replace(paid.call.facts, run=call.facts.run, repeat_of=paid.call.id)
    assert call.facts.priors["fraud"].consumed_by is None  # as it was when the original was decided


class Overtaken(MemoryStore):
    """One that lets another call pass after the first look of a call at its past."""

    overtaking: Callable[[], Awaitable[object]] | None = None

    async def recorded(self, agent: str, tool: str, step_key: str) -> Recorded | None:
        found = await super().recorded(agent, tool, step_key)
        await self._looked()
        return found

    async def steps(self, lookups: Sequence[StepLookup]) -> list[Step | None]:
        found = await super().steps(lookups)
        await self._looked()
        return found

    async def _looked(self) -> None:
        overtaking, self.overtaking = self.overtaking, None
        if overtaking is not None:
            await overtaking()


async def test_a_call_whose_twin_uses_up_its_precondition_meanwhile_repeats_it() -> None:
    clock = FakeClock()
    store = Overtaken(clock)
    gate = Gate(PERMIT_ALL, PRECONDITION, store=store, clock=clock)
    gate.servers["fraud"].calls.append(PASSED)
    await gate.run("fraud_check", run="job")
    store.overtaking = lambda: gate.run("payments_pay", run="job", idempotency_key="k")
    ended = await gate.run("payments_pay", run="job", idempotency_key="k")
    assert isinstance(ended.outcome, Succeeded)
    assert ended.outcome.replayed_from is not None
    assert len(gate.servers["payments"].asked) == 1


async def test_the_same_key_with_other_arguments_is_no_repeat() -> None:
    gate = Gate()
    await gate.run("payments_pay", idempotency_key="k")
    call, _ = await gate.after(Gather, request("payments_pay", {**PAYMENT, "amount": 1}, idempotency_key="k"))
    assert (call.facts.repeat_of, call.step_key) == (None, "key:k")


async def test_a_call_that_failed_is_no_past_to_repeat() -> None:
    gate = Gate()
    gate.servers["payments"].calls.append(answer(isError=True))
    await gate.run("payments_pay", idempotency_key="k")
    call, _ = await gate.after(Gather, request("payments_pay", idempotency_key="k"))
    assert call.facts.repeat_of is None


def query(scope: PriorScope, *bindings: tuple[str, str], within_ms: int | None = None) -> PriorQuery:
    return PriorQuery("p", "fraud.check", bindings, scope, within_ms)


@pytest.mark.parametrize(
    ("scope", "owner"),
    [
        (PriorScope.RUN, "run_1"),
        (PriorScope.SESSION, "s_1"),
        (PriorScope.AGENT, "payer"),
        (PriorScope.USER, "alice"),
    ],
)
async def test_every_scope_looks_among_the_steps_of_its_own_owner(scope: PriorScope, owner: str) -> None:
    call = await Gate().before(Decide, request("payments_pay", caller=caller(session="s_1")))
    alice = call.decided_again()
    user = type(call)(call.id, call.request, call.received_ms)
    user.identity = Identity("payer", "jwt", "jwt:1", on_behalf_of="alice")
    user.arguments = call.arguments
    lookup = lookup_for(query(scope, within_ms=60_000), user, RUN, 100_000)
    assert lookup is not None
    assert (lookup.owner, lookup.since_ms, lookup.values) == (owner, 40_000, ())
    assert alice.identity.on_behalf_of is None


@pytest.mark.parametrize("scope", [PriorScope.SESSION, PriorScope.USER])
async def test_a_scope_that_this_call_has_not_finds_nothing(scope: PriorScope) -> None:
    call = await Gate().before(Decide, request("payments_pay"))
    assert lookup_for(query(scope), call, RUN, 0) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("deep.id", 7),
        ("deep.none", None),
        ("deep.id.more", None),
        ("deep", None),
        ("list", None),
        ("flag", False),
        ("empty", ""),
        ("nowhere", None),
    ],
)
async def test_a_binding_takes_only_a_scalar_that_is_there(path: str, value: Any) -> None:
    sent = {**PAYMENT, "deep": {"id": 7, "none": None}, "list": [1], "flag": False, "empty": ""}
    call = await Gate().before(Decide, request("payments_pay", sent))
    lookup = lookup_for(query(PriorScope.RUN, ("theirs", path)), call, RUN, 0)
    assert (None if lookup is None else lookup.values) == (None if value is None else (("theirs", value),))


@pytest.mark.parametrize(("tool", "arguments"), [("payments_list", {}), ("payments_pay", PAYMENT)])
async def test_the_facts_are_the_same_whether_or_not_there_is_something_to_wait_for(
    tool: str, arguments: dict[str, Any]
) -> None:
    gate = Gate()
    await gate.run("payments_list", {})
    at_once = await gate.before(Gather, request(tool, arguments))
    gather = next(stage for stage in gate.stages if isinstance(stage, Gather))
    assert gather(at_once) is None
    waited = await gate.before(Gather, request(tool, arguments))
    gate.rules.current = replace(gate.rules.current, people={"ann": Approver("ann", (), ())})
    taken = gather(waited)
    assert isinstance(taken, Coroutine)
    await taken
    assert all(at_once.has(name) is waited.has(name) for name in Call.__annotations__)
    assert at_once.facts == waited.facts
    assert (at_once.facts.step, at_once.step_key, at_once.bill) == (1, waited.step_key, waited.bill)


@pytest.mark.parametrize(
    "asked",
    [
        request("payments_list", {}, run="other"),
        request("payments_list", {}, idempotency_key="k"),
        request("payments_list", {}, attempt="second"),
        request("payments_list", {}, dry_run=DryRun()),
        request("payments_pay", idempotency_key="k"),
        request("payments_pay"),
    ],
)
async def test_what_has_to_be_looked_up_is(asked: CallRequest) -> None:
    gate = Gate()
    await gate.run("payments_pay")
    call = await gate.before(Gather, asked)
    taken = next(stage for stage in gate.stages if isinstance(stage, Gather))(call)
    assert isinstance(taken, Coroutine)
    await taken
