"""The precondition matrix (POLICY.md §2), as policies written in Cedar and as a workflow block."""

import json

import pytest

from gateway.codec import dump, parse
from gateway.model.decision import Remedy
from gateway.model.facts import PriorQuery, PriorScope, StepStatus
from gateway.policy import (
    Bundle,
    PolicySource,
    WorkflowSection,
    compile_workflows,
    decide,
    decision_input,
    from_json,
    to_json,
)
from tests.policy.acme import (
    AGENTS,
    CHECK,
    MINUTE,
    NOW,
    PAY,
    PAYER,
    PAYMENT,
    PERMIT_ALL,
    PRECONDITION,
    TOOLS,
    ask,
    facts,
    load,
    step,
)

WORKFLOW = WorkflowSection.model_validate(
    {
        "key": "payment_id",
        "rules": [
            {
                "call": "payments.pay",
                "require": [
                    {
                        "call": "fraud.check",
                        "same": ["payment_id", "payee", "amount"],
                        "where": {"result": "passed"},
                        "within": "15m",
                        "once": True,
                    }
                ],
            }
        ],
    }
)
WRITTEN = load(PERMIT_ALL, PRECONDITION)
COMPILED = Bundle.load(
    [PolicySource("all", PERMIT_ALL), *compile_workflows({"pay-invoice": WORKFLOW}, TOOLS)], TOOLS, AGENTS
)
BUNDLES = pytest.mark.parametrize(
    ("bundle", "name", "rule"),
    [
        (WRITTEN, "fraud", "pay.requires-fraud-check"),
        (COMPILED, "pay_invoice_payments_pay_fraud_check", "workflow.pay-invoice.payments.pay.fraud.check"),
    ],
    ids=["cedar", "workflow"],
)

REFUSED = {
    "failed": step(output={"result": "failed"}),
    "error": step(status=StepStatus.FAILED, output=None),
    "outcome unknown": step(status=StepStatus.UNKNOWN, output=None),
    "still running": step(status=StepStatus.EXECUTING, output=None),
    "one millisecond over 15 minutes": step(at_ms=NOW - 15 * MINUTE - 1),
    "in the future": step(at_ms=NOW + 1),
    "another amount": step(arguments={**PAYMENT, "amount": 250.01}),
    "no amount": step(arguments={"payment_id": "p_17", "payee": "ACME"}),
    "another payee": step(arguments={**PAYMENT, "payee": "Mallory"}),
    "another agent's": step(agent="reader"),
    "consumed": step(consumed_by="call_0"),
}


@BUNDLES
def test_pay_is_denied_without_a_check_and_told_the_missing_call(bundle, name, rule):
    decision = ask(bundle, PAY, PAYMENT)
    assert not decision.allowed
    assert decision.policies == (rule,)
    assert decision.remedies == (Remedy("fraud.check", PAYMENT),)
    assert "fraud.check" in decision.message
    assert decision.bundle == bundle.digest


@BUNDLES
@pytest.mark.parametrize("case", REFUSED)
def test_pay_is_denied_on_a_check_that_is(bundle, name, rule, case):
    decision = ask(bundle, PAY, PAYMENT, facts(**{name: REFUSED[case]}))
    assert not decision.allowed
    assert decision.policies == (rule,)
    assert decision.consumes == ()


@BUNDLES
@pytest.mark.parametrize("age", [0, 1, 15 * MINUTE])
def test_pay_is_allowed_on_a_check_of_up_to_exactly_15_minutes_and_consumes_it(bundle, name, rule, age):
    decision = ask(bundle, PAY, PAYMENT, facts(**{name: step(at_ms=NOW - age)}))
    assert decision.allowed
    assert decision.policies == ("all",)
    bindings = (("payment_id", "payment_id"),)
    assert decision.consumes == (PriorQuery(name, "fraud.check", bindings, PriorScope.RUN, None, once=True),)


@BUNDLES
@pytest.mark.parametrize("paid", [250, 250.0, json.loads("250.00"), json.loads("2.5e2")])
def test_equal_amounts_written_differently_are_equal(bundle, name, rule, paid):
    assert ask(bundle, PAY, {**PAYMENT, "amount": paid}, facts(**{name: step()})).allowed


@BUNDLES
def test_a_check_in_flight_is_waited_for_instead_of_repeated(bundle, name, rule):
    running = step(call_id="call_9", status=StepStatus.EXECUTING, output=None)
    decision = ask(bundle, PAY, PAYMENT, facts(**{name: running}))
    assert decision.waits_for == "call_9"
    assert decision.remedies == ()
    assert "fraud.check #call_9 is still running" in decision.message


@BUNDLES
@pytest.mark.parametrize("found", [[], [step()], [step(output={"result": "failed"})]])
def test_a_recorded_decision_replays_to_the_same_decision(bundle, name, rule, found):
    given = decision_input(bundle, PAYER, PAY, PAYMENT, facts(**dict(zip([name], found, strict=False))))
    replayed = from_json(parse(dump(to_json(given))))
    fresh = Bundle.load(bundle.sources, TOOLS, AGENTS)
    assert fresh.digest == bundle.digest
    assert decide(fresh, replayed) == decide(bundle, given)


def test_the_gateway_is_told_which_steps_to_look_up_and_to_keep():
    query = PriorQuery("fraud", "fraud.check", (("payment_id", "payment_id"),), PriorScope.RUN, None, once=True)
    assert WRITTEN.priors_for("payments.pay") == (query,)
    assert WRITTEN.priors_for("fraud.check") == ()
    assert WRITTEN.prior_sources == {"fraud.check"}
    assert WRITTEN.prior_indexes == {("fraud.check", ("payment_id",))}


def test_a_check_needs_no_check():
    assert ask(WRITTEN, CHECK, PAYMENT).allowed


def test_a_remedy_lacks_what_the_refused_call_lacked():
    decision = ask(WRITTEN, PAY, {"payment_id": "p_17", "payee": "ACME"})
    assert decision.remedies == (Remedy("fraud.check", {"payment_id": "p_17", "payee": "ACME"}),)


def test_a_step_whose_record_lacks_what_a_policy_reads_is_refused_by_name():
    old = step(arguments={"payment_id": "p_17", "amount": 250})
    decision = ask(WRITTEN, PAY, PAYMENT, facts(fraud=old))
    assert not decision.allowed
    assert decision.errors == ("cannot be judged: prior.fraud.input.payee",)
