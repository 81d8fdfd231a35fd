"""What people may do to runs, agents, servers, tools and the gateway, and who people are to policies."""

from collections.abc import Mapping

import pytest

from gateway.model.facts import Approver, Facts, RunRef
from gateway.model.identity import Identity
from gateway.model.operation import READ_RESOURCE, operation
from gateway.policy import (
    AgentEntity,
    Bundle,
    LoadOptions,
    Outlook,
    ServerEntity,
    approved,
    decide,
    decision_input,
    from_json,
    may,
    may_approve,
    may_do,
    on_environment,
    on_run,
    on_scope,
    to_json,
)
from gateway.policy.given import Question, deed_input
from gateway.policy.lint import check
from tests.policy.acme import AGENTS, CALL, LIST, NOW, PAYER, PERMIT_ALL, RUN, TOOLS, ask, facts, load, record, tool

ANN = Approver("ann", roles=("operators",), teams=("finance",))
BOB = Approver("bob")
FACTS = Facts(NOW, RUN, environment="production")
PEOPLE = LoadOptions(people={"ann": ANN, "ann@acme.example": ANN, "finance@acme.example": ANN})


def policy(action: str, condition: str = "true") -> str:
    on = f'action == Gateway::Action::"{action}"'
    return f'@id("p") permit (principal in Gateway::Role::"operators", {on}, resource) when {{ {condition} }};'


@pytest.mark.parametrize("action", ["settle", "resume", "rollback", "pause"])
def test_who_may_do_something_to_a_run_is_for_policies_to_say(action: str) -> None:
    condition = 'resource is Gateway::Run && resource.owner == Gateway::Agent::"payer" && resource.status == "open"'
    bundle = load(policy(action, condition))
    assert may_do(bundle, ANN, action, [on_run(bundle, RUN)], FACTS).allowed
    other = RunRef("run_2", "reader/eve", "open")
    assert not may_do(bundle, ANN, action, [on_run(bundle, other)], FACTS).allowed
    refused = may_do(bundle, BOB, action, [on_run(bundle, RUN)], FACTS)
    assert refused.message.startswith("No policy allows person bob to make this request")
    assert not may_do(load(PERMIT_ALL), ANN, action, [on_run(bundle, RUN)], FACTS).allowed


def test_policies_reach_the_teams_of_the_agent_that_owns_a_run() -> None:
    bundle = load(policy("settle", 'resource.owner in Gateway::Team::"finance"'))
    assert may_do(bundle, ANN, "settle", [on_run(bundle, RUN)], FACTS).allowed
    assert not may_do(bundle, ANN, "settle", [on_run(bundle, RunRef("r", "reader", "open"))], FACTS).allowed
    assert not may_do(bundle, ANN, "settle", [on_run(bundle, RunRef("r", "gone", "open"))], FACTS).allowed


@pytest.mark.parametrize(
    ("scope", "condition", "allowed"),
    [
        ("agent:payer", 'resource in Gateway::Team::"finance"', True),
        ("agent:reader", 'resource in Gateway::Team::"finance"', False),
        ("agent:nobody", 'resource == Gateway::Agent::"nobody"', True),
        ("team:finance", 'resource == Gateway::Team::"finance"', True),
        ("server:payments", 'resource == Gateway::Server::"payments" && resource.trust == 60', True),
        ("tool:payments.pay", 'resource in Gateway::Server::"payments"', True),
        ("tool:payments.*", 'resource in Gateway::Server::"payments"', True),
        ("tool:*", 'resource in Gateway::Server::"payments"', False),
        ("tool:gone.*", "true", False),
        ("all", 'resource == Gateway::Environment::"production"', True),
        ("all", 'resource == Gateway::Environment::"staging"', False),
    ],
)
def test_who_may_stop_what_is_for_policies_to_say_tool_by_tool(scope: str, condition: str, allowed: bool) -> None:
    guarded = condition
    if ".trust" in condition:
        guarded = f"resource is Gateway::Server && {condition}"
    bundle = load(policy("pause", guarded), options=LoadOptions(servers=(ServerEntity("payments", 60),)))
    assert may_do(bundle, ANN, "pause", on_scope(bundle, scope, "production"), FACTS).allowed is allowed


def test_who_may_change_the_gateway_is_for_policies_to_say() -> None:
    bundle = load(policy("admin", 'context.base.env == Gateway::Environment::"staging"'))
    staging = Facts(NOW, RUN, environment="staging")
    assert may_do(bundle, ANN, "admin", [on_environment("staging")], staging).allowed
    assert not may_do(bundle, ANN, "admin", [on_environment("production")], FACTS).allowed


def test_a_deed_is_decided_alike_from_its_record() -> None:
    bundle = load(policy("pause", 'context.base.now > datetime("2020-01-01")'))
    given = deed_input(bundle, ANN, "pause", on_run(bundle, RUN), FACTS)
    assert decide(bundle, from_json(to_json(given))) == decide(bundle, given)


def asking(condition: str, who: Identity = PAYER, options: LoadOptions = PEOPLE) -> bool:
    bundle = load(f'@id("p") permit (principal, {CALL}, resource) when {{ {condition} }};', options=options)
    return ask(bundle, LIST, {}, who=who).allowed


@pytest.mark.parametrize("user", ["ann", "ann@acme.example"])
def test_the_user_an_agent_acts_for_is_in_the_teams_and_roles_of_that_person(user: str) -> None:
    acting = Identity("payer", "jwt", "j", on_behalf_of=user)
    delegated = "context.base has delegator && context.base.delegator in Gateway::{}"
    assert asking(delegated.format('Team::"finance"'), acting)
    assert asking(delegated.format('Role::"operators"'), acting)
    assert not asking(delegated.format('Team::"other"'), acting)
    assert not asking(delegated.format('Team::"finance"'), Identity("payer", "jwt", "j", on_behalf_of="eve"))
    assert not asking(delegated.format('Team::"finance"'), acting, LoadOptions())


def test_the_owner_of_an_agent_is_in_the_teams_and_roles_of_that_person() -> None:
    assert asking('principal.owner in Gateway::Role::"operators"')
    assert not asking('principal.owner in Gateway::Role::"operators"', Identity("reader", "token", "t"))


def test_people_are_known_where_documents_are_read_too() -> None:
    acting = Identity("payer", "jwt", "j", on_behalf_of="ann")
    rule = '@id("p") permit (principal, action == Gateway::Action::"read_resource", resource) when { %s };'
    bundle = load(
        rule % 'context.base has delegator && context.base.delegator in Gateway::Team::"finance"', options=PEOPLE
    )
    read = operation("docs", READ_RESOURCE)
    for who, allowed in ((acting, True), (Identity("payer", "jwt", "j", on_behalf_of="eve"), False)):
        given = decision_input(bundle, who, read, {"uri": "file:///a"}, facts())
        assert decide(bundle, given).allowed is allowed
        assert may(bundle, who, READ_RESOURCE, "docs", "file:///a") is Outlook.CONDITIONAL


def test_a_person_who_is_an_agents_owner_or_user_may_also_approve() -> None:
    wants = (
        f'@id("no") @obligation("approval:x") forbid (principal, {CALL}, resource) unless {{ context.base has approval '
        '&& context.base.approval.by in Gateway::Role::"operators" };'
    )
    bundle = load(PERMIT_ALL, wants, policy("approve"), options=PEOPLE)
    acting = Identity("payer", "jwt", "j", on_behalf_of="ann")
    given = decision_input(bundle, acting, LIST, {}, facts())
    assert approved(bundle, given, [ANN]).allowed
    assert may_approve(bundle, ANN, Question(acting, LIST, {}, facts())).allowed


def test_a_group_named_below_another_is_in_it() -> None:
    grouped = tool("a.b", record(), groups=("money/outgoing/wire",))
    for name, allowed in (("money", True), ("money/outgoing", True), ("money/outgoing/wire", True), ("wire", False)):
        rule = f'@id("p") permit (principal, {CALL}, resource in Gateway::ToolGroup::"{name}");'
        bundle = load(rule, tools=[*TOOLS, grouped])
        assert ask(bundle, grouped, {}).allowed is allowed
        assert [one.code for one in check(bundle) if one.code == "unknown_entity"] == (
            [] if allowed else ["unknown_entity"]
        )


def test_an_agent_is_attested_where_the_operator_says_so() -> None:
    attested: Mapping[bool, Bundle] = {
        value: load('@id("p") permit (principal, ' + CALL + ", resource) when { principal.attested };",
                    agents=(*AGENTS[1:], AgentEntity("payer", attested=value)))
        for value in (True, False)
    }  # fmt: skip
    assert ask(attested[True], LIST, {}).allowed
    assert not ask(attested[False], LIST, {}).allowed
