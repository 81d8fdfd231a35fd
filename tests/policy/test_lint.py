"""What loads and is probably a mistake."""

import pytest

from gateway.policy import AgentEntity
from gateway.policy.lint import check
from tests.policy.acme import CALL, PERMIT_ALL, PRECONDITION, load


def found(*texts, **more):
    return [problem.code for problem in check(load(*texts, **more))]


@pytest.mark.parametrize(
    "text",
    [
        '@id("a") permit (principal, action, resource);',
        PERMIT_ALL,
        f'@id("a") permit (principal is Gateway::Agent, {CALL}, resource is Gateway::Tool);',
    ],
)
def test_a_permit_of_everything_is_pointed_at(text):
    assert "unconditional_permit" in found(text)


@pytest.mark.parametrize(
    "text",
    [
        '@id("a") forbid (principal, action, resource);',
        f'@id("a") permit (principal, {CALL}, resource) when {{ resource.readOnly }};',
        f'@id("a") permit (principal == Gateway::Agent::"payer", {CALL}, resource);',
        f'@id("a") permit (principal, {CALL}, resource in Gateway::Server::"fraud");',
        f'@id("a") permit (principal, {CALL}, resource in Gateway::ToolGroup::"outbound");',
        '@id("a") permit (principal, action == Gateway::Action::"see", resource);',
        PRECONDITION,
    ],
)
def test_a_policy_that_can_matter_is_not(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("scope", "fix"),
    [
        (f'principal == Gateway::Agent::"paye", {CALL}, resource', "did you mean 'payer'?"),
        (f'principal, {CALL}, resource == Gateway::Tool::"payments.pya"', "did you mean 'payments.pay'?"),
        (f'principal, {CALL}, resource in Gateway::Server::"fraudd"', "did you mean 'fraud'?"),
        (f'principal, {CALL}, resource in Gateway::ToolGroup::"zzz"', "correct the name"),
    ],
)
def test_a_name_of_nothing_is_pointed_at_with_a_suggestion(scope, fix):
    problems = check(load(f'@id("a")\npermit (\n{scope});'))
    assert [problem.code for problem in problems] == ["unknown_entity", "matches_nothing"]
    assert problems[0].line == 3
    assert fix in problems[0].fix


def test_a_name_in_a_condition_is_checked_too():
    text = f'@id("a") permit (principal, {CALL}, resource) when {{ resource == Gateway::Tool::"payments.pya" }};'
    assert found(text) == ["unknown_entity", "never_true"]


def test_a_condition_that_never_holds_is_pointed_at():
    for condition in ("false", "resource.readOnly && resource.destructive", "context.base.dryRun && !resource.pinned"):
        assert found(f'@id("a") forbid (principal, {CALL}, resource) when {{ {condition} }};') == ["never_true"]


def test_teams_and_roles_are_not_guessed_about():
    text = f'@id("a") permit (principal in Gateway::Team::"{{}}", {CALL}, resource);'
    assert found(text.format("finance")) == []
    assert found(text.format("unheard-of")) == ["matches_nothing"]
    assert found(text.format("ops"), agents=[AgentEntity("x", teams=("ops",))]) == []


@pytest.mark.parametrize(
    ("unless", "codes"), [("context.base.dryRun", ["approval_unheeded"]), ("context.base has approval", [])]
)
def test_an_approval_that_would_change_nothing_is_pointed_at(unless, codes):
    text = f'@id("a")\n@obligation("approval:leads")\nforbid (principal, {CALL}, resource) unless {{ {unless} }};'
    assert found(text) == codes
    assert [problem.line for problem in check(load(text))] == [2] * len(codes)
