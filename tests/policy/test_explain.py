"""An explanation names the condition that settled each policy, as it was written."""

import pytest

from gateway.model.identity import Identity
from gateway.model.operation import operation
from gateway.policy import Verdict, decision_input, explain
from tests.policy.acme import CALL, LIST, MINUTE, NOW, PAY, PAYER, PAYMENT, PERMIT_ALL, PRECONDITION, facts, load, step


def explained(bundle, called=PAY, arguments=PAYMENT, known=None, who=PAYER):
    return explain(bundle, decision_input(bundle, who, called, arguments, known or facts()))


def verdict_of(text, name="x"):
    found = explained(load(PERMIT_ALL, text))
    return next(verdict for verdict in found.verdicts if verdict.policy == name)


@pytest.mark.parametrize(
    ("found", "condition"),
    [
        ({}, "context.prior has fraud"),
        ({"fraud": step(consumed_by="c")}, "!context.prior.fraud.consumed"),
        ({"fraud": step(output={"result": "failed"})}, 'context.prior.fraud.output.result == "passed"'),
        (
            {"fraud": step(arguments={**PAYMENT, "amount": 1})},
            "context.prior.fraud.input.amount == context.input.amount",
        ),
        (
            {"fraud": step(at_ms=NOW - 22 * MINUTE)},
            'context.base.now.durationSince(context.prior.fraud.at) <= duration("15m")',
        ),
    ],
)
def test_a_refusal_names_the_first_condition_that_failed(found, condition):
    explanation = explained(load(PERMIT_ALL, PRECONDITION), known=facts(**found))
    first = explanation.verdicts[0]
    assert (first.policy, first.effect, first.applies) == ("pay.requires-fraud-check", "forbid", True)
    assert (first.condition, first.met) == (condition, False)
    assert explanation.decision.policies == (first.policy,)


def test_the_values_that_were_compared_are_shown():
    stale = facts(fraud=step(at_ms=NOW - 22 * MINUTE))
    assert explained(load(PERMIT_ALL, PRECONDITION), known=stale).verdicts[0].seen == (
        ("context.base.now", "2026-01-01T00:00:00.000Z"),
        ("context.prior.fraud.at", "2025-12-31T23:38:00.000Z"),
    )
    foreign = explained(load(PERMIT_ALL, PRECONDITION), known=facts(fraud=step(agent="reader")))
    assert foreign.verdicts[0].seen == (("context.prior.fraud.by", 'Gateway::Agent::"reader"'),)


def test_an_allowed_call_is_explained_by_its_permits_first():
    explanation = explained(load(PRECONDITION, PERMIT_ALL), known=facts(fraud=step()))
    assert explanation.decision.allowed
    assert explanation.verdicts[0] == Verdict("all", "permit", applies=True, condition="", met=True)
    assert explanation.verdicts[1].applies is False


def test_a_default_deny_says_why_each_permit_fell_short():
    text = f'@id("x") permit (principal, {CALL}, resource) when {{ resource.readOnly && context.base.step > 3 }};'
    explanation = explained(load(text))
    assert explanation.decision.policies == ()
    assert explanation.verdicts == (Verdict("x", "permit", applies=False, condition="resource.readOnly", met=False),)
    [read] = explained(load(text), LIST, {}).verdicts
    assert (read.condition, read.met, read.seen) == ("context.base.step > 3", False, (("context.base.step", "0"),))


@pytest.mark.parametrize(
    ("clauses", "applies", "condition", "met"),
    [
        ("when { resource.destructive }", True, "resource.destructive", True),
        (
            "when { resource.destructive && context.base.step == 0 }",
            True,
            "resource.destructive && context.base.step == 0",
            True,
        ),
        ("unless { resource.destructive }", False, "resource.destructive", True),
        ("unless { resource.readOnly }", True, "resource.readOnly", False),
        ("when { resource.destructive } unless { context.base.dryRun }", True, "context.base.dryRun", False),
        ("when { resource.readOnly } unless { context.base.dryRun }", False, "resource.readOnly", False),
        ("when { resource.readOnly || context.base.dryRun }", False, "resource.readOnly || context.base.dryRun", False),
        (
            "when { if resource.readOnly then true else false && true }",
            False,
            "if resource.readOnly then true else false && true",
            False,
        ),
        ("when { (resource.readOnly || false) && true }", False, "(resource.readOnly || false)", False),
        (
            "when { resource.destructive // yes && no\n && resource.readOnly // note\n }",
            False,
            "resource.readOnly",
            False,
        ),
        (
            "when { [resource.readOnly && true].contains(true) }",
            False,
            "[resource.readOnly && true].contains(true)",
            False,
        ),
    ],
)
def test_conditions_are_cut_where_cedar_cuts_them(clauses, applies, condition, met):
    verdict = verdict_of(f'@id("x") forbid (principal, {CALL}, resource) {clauses};')
    assert (verdict.applies, verdict.condition, verdict.met) == (applies, condition, met)


def test_a_condition_that_cannot_be_evaluated_counts_as_unmet():
    condition = "context.base.step + 1 + 9223372036854775807 > context.base.step"
    explanation = explained(load(PERMIT_ALL, f'@id("x") forbid (principal, {CALL}, resource) when {{ {condition} }};'))
    assert explanation.decision.errors
    assert [verdict.applies for verdict in explanation.verdicts if verdict.policy == "x"] == [False]


def test_what_is_not_known_is_explained_by_the_decision_alone():
    stranger = explained(load(PERMIT_ALL), who=Identity("stranger", "token", "t"))
    assert (stranger.verdicts, stranger.decision.errors) == ((), ("unknown principal",))
    unjudged = explained(load(PERMIT_ALL, PRECONDITION), arguments={**PAYMENT, "amount": 1e-9})
    assert (unjudged.verdicts, unjudged.decision.errors) == ((), ("cannot be judged: input.amount",))


def test_shadow_policies_are_not_part_of_the_reason():
    text = f'@id("x") @mode("shadow") forbid (principal, {CALL}, resource);'
    assert [verdict.policy for verdict in explained(load(PERMIT_ALL, text)).verdicts] == ["all"]


def test_values_that_are_sets_are_shown_as_json():
    verdict = verdict_of(
        f'@id("x") forbid (principal, {CALL}, resource) when {{ context.base.taint.contains("web") }};'
    )
    assert verdict.seen == (("context.base.taint", "[]"),)


def test_a_request_that_is_no_tool_call_is_explained():
    public = '@id("public") permit (principal, action == Gateway::Action::"read_resource", resource)'
    bundle = load(
        f'{public} when {{ context.base.env == Gateway::Environment::"test" && resource.uri like "file:*" }};'
    )
    [verdict] = explained(bundle, operation("files", "resources/read"), {"uri": "file:///a"}).verdicts
    assert (verdict.policy, verdict.applies, verdict.met) == ("public", False, False)
    assert verdict.condition == 'context.base.env == Gateway::Environment::"test"'
    assert verdict.seen == (("context.base.env", 'Gateway::Environment::"production"'),)
