"""What a refusal tells: steps used up, steps to wait for, steps to make first, shadow policies."""

from gateway.model.decision import Remedy
from gateway.model.facts import Facts, StepStatus
from gateway.model.tool import Effect
from tests.policy.acme import (
    CALL,
    LIST,
    NOW,
    NUMBER,
    PAY,
    PAYING,
    PAYMENT,
    PERMIT_ALL,
    PRECONDITION,
    RUN,
    STRING,
    ask,
    facts,
    forbidding,
    load,
    record,
    step,
    tool,
)


def test_a_single_use_step_of_a_permit_is_used_up_only_by_the_call_it_permits():
    text = (
        '@id("once") @prior("f: fraud.check by payment_id=payment_id in run use once")'
        f' permit (principal, {PAYING}, resource) when {{ context.prior has f && context.prior.f.status == "ok" }};'
    )
    other = f'@id("free") permit (principal, {PAYING}, resource) when {{ context.base.step == 0 }};'
    assert [query.name for query in ask(load(text), PAY, PAYMENT, facts(f=step())).consumes] == ["f"]
    unused = step(status=StepStatus.FAILED, output=None)
    assert ask(load(text, other), PAY, PAYMENT, facts(f=unused)).consumes == ()


def test_a_step_that_a_forbid_did_not_need_is_not_used_up_twice():
    bundle = load(PERMIT_ALL, PRECONDITION.replace("unless {", "when { context.input has amount } unless {"))
    free = {"payment_id": "p_17", "payee": "ACME"}
    assert ask(bundle, PAY, free, facts(fraud=step(consumed_by="call_0"))).consumes == ()


def test_what_a_permit_still_waits_for_is_told_on_a_default_deny():
    text = (
        '@id("p") @remedy("fraud.check") @prior("f: fraud.check by payment_id=payment_id in run")'
        f' permit (principal, {PAYING}, resource) when {{ context.prior has f && context.prior.f.status == "ok" }};'
    )
    missing = ask(load(text), PAY, PAYMENT)
    assert missing.policies == ()
    assert missing.remedies == (Remedy("fraud.check", {"payment_id": "p_17"}),)
    running = ask(load(text), PAY, PAYMENT, facts(f=step(call_id="c9", status=StepStatus.EXECUTING, output=None)))
    assert (running.waits_for, running.remedies) == ("c9", ())


def test_no_wait_where_another_rule_refuses_anyway():
    running = facts(fraud=step(status=StepStatus.EXECUTING, output=None))
    decision = ask(load(PERMIT_ALL, PRECONDITION, forbidding("true", PAYING)), PAY, PAYMENT, running)
    assert set(decision.policies) == {"no", "pay.requires-fraud-check"}
    assert decision.waits_for is None


def test_no_step_is_named_to_an_agent_that_no_policy_would_ever_allow():
    forbid = (
        '@id("p") @remedy("fraud.check") @prior("f: fraud.check by payment_id=payment_id in run")'
        'forbid (principal, action == Gateway::Action::"payments.pay", resource) unless { context.prior has f };'
    )
    decision = ask(load(forbid), PAY, PAYMENT)
    assert (decision.remedies, decision.policies) == ((), ("p",))
    assert decision.message.startswith("No policy allows agent")


def test_a_remedy_is_named_once_and_fills_in_nested_arguments():
    order = record("order", order=record("id", id=STRING, total=NUMBER))
    check = tool("shop.check", order)
    pay = tool("shop.pay", record("ref", ref=STRING, sum=record(total=NUMBER)), Effect.WRITE)
    text = (
        '@id("{0}") @prior("c: shop.check by order.id=ref in run") @remedy("shop.check")'
        ' forbid (principal, action == Gateway::Action::"shop.pay", resource) unless {{ context.prior has c &&'
        " context.input has sum.total && context.prior.c.input.order has total &&"
        " context.input.sum.total == context.prior.c.input.order.total }};"
    )
    bundle = load(PERMIT_ALL, text.format("one"), text.format("two"), tools=[check, pay])
    decision = ask(bundle, pay, {"ref": "o1", "sum": {"total": 9.5}})
    assert decision.policies == ("one", "two")
    assert decision.remedies == (Remedy("shop.check", {"order": {"id": "o1", "total": 9.5}}),)
    assert ask(bundle, pay, {"ref": "o1"}).remedies == (Remedy("shop.check", {"order": {"id": "o1"}}),)


def test_a_remedy_is_filled_in_from_its_own_step_only():
    annotations = '@prior("m: mail.send in run; f: fraud.check by payment_id=payment_id in run") @remedy("fraud.check")'
    decision = ask(load(PERMIT_ALL, forbidding("!(context.prior has m)", PAYING, annotations)), PAY, PAYMENT)
    assert decision.remedies == (Remedy("fraud.check", {"payment_id": "p_17"}),)


def test_a_remedy_without_a_prior_names_the_tool_alone():
    decision = ask(load(PERMIT_ALL, forbidding("true", PAYING, '@remedy("mail.send, fraud.check")')), PAY, PAYMENT)
    assert decision.remedies == (Remedy("mail.send", {}), Remedy("fraud.check", {}))


def test_messages_of_several_policies_are_told_once_each():
    texts = [forbidding("true", PAYING, '@message("Ask Bob.")').replace('"no"', f'"{n}"') for n in range(2)]
    assert ask(load(PERMIT_ALL, *texts), PAY, PAYMENT).message == "Ask Bob."


SHADOW = '@mode("shadow")'


def test_a_shadow_forbid_is_recorded_and_does_not_decide():
    bundle = load(PERMIT_ALL, forbidding("context.base.step == 0", CALL, SHADOW))
    decision = ask(bundle, LIST, {})
    assert (decision.allowed, decision.policies, decision.shadow) == (True, ("all",), ("no",))
    assert ask(bundle, LIST, {}, Facts(NOW, RUN, step=1)).shadow == ()


def test_a_shadow_permit_is_recorded_and_does_not_decide():
    bundle = load(PERMIT_ALL.replace("permit", f"{SHADOW} permit"))
    decision = ask(bundle, LIST, {})
    assert (decision.allowed, decision.policies, decision.shadow) == (False, (), ("all",))


def test_a_shadow_policy_that_fails_denies_only_in_the_shadow():
    condition = "context.input has limit && context.input.limit + 1 > 0 && false"
    bundle = load(PERMIT_ALL, forbidding(condition, 'action == Gateway::Action::"payments.list"', SHADOW))
    decision = ask(bundle, LIST, {"limit": 2**63 - 1})
    assert (decision.allowed, decision.errors, decision.shadow) == (True, (), ("no",))


def test_mode_enforce_is_the_default_said_aloud():
    assert not ask(load(PERMIT_ALL, forbidding("true", CALL, '@mode("enforce")')), LIST, {}).allowed
