"""`fields:` of an agent: what it may set of a tool's arguments, whatever their values."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.codec import dump, parse
from gateway.model.decision import Ruling
from gateway.model.facts import Approver
from gateway.model.identity import Child, Identity
from gateway.model.tool import Effect
from gateway.policy import (
    AgentEntity,
    Bundle,
    PolicySource,
    decide,
    decision_input,
    explain,
    field_problems,
    from_json,
    may_approve,
    to_json,
)
from gateway.policy.fields import fields_of, strays
from gateway.policy.given import Question
from tests.policy.acme import LIST, PAYER, PERMIT_ALL, STRING, facts, record, tool

LINE = {"type": "array", "items": record(price=STRING, sku=STRING)}
UPDATE = tool("crm.update", record("id", id=STRING, stage=STRING, owner=STRING, lines=LINE), Effect.WRITE)
MAY = {"crm.update": ["id", "stage", "lines.sku"]}
APPROVE = '@id("approve") permit (principal, action == Gateway::Action::"approve", resource);'
BUNDLE = Bundle.load(
    [PolicySource("all", PERMIT_ALL + APPROVE)],
    (UPDATE, LIST),
    (AgentEntity("payer", fields=MAY), AgentEntity("reader")),
)


@pytest.mark.parametrize(
    ("arguments", "beside"),
    [
        ({"id": "1", "stage": "won"}, []),
        ({"id": "1", "lines": [{"sku": "a"}, {"sku": "b"}]}, []),
        ({"id": "1", "owner": None}, ["owner"]),
        ({"id": "1", "undeclared": {"x": 1}}, ["undeclared"]),
        ({"lines": [{"sku": "a"}, {"sku": "b", "price": "0"}], "owner": "me"}, ["lines[1].price", "owner"]),
        ({"lines": []}, ["lines"]),
        ({"lines": [{}]}, ["lines[0]"]),
        ({"lines": "all"}, ["lines"]),
        ({}, []),
        ({f"f{number}": 1 for number in range(50)}, [f"f{number}" for number in range(10)]),
        ({"x" * 500: 1}, ["x" * 120]),
    ],
)
def test_what_is_set_beside_the_fields_is_told_by_its_path(arguments: dict[str, Any], beside: list[str]) -> None:
    assert strays(fields_of(MAY["crm.update"]), arguments) == beside


def test_a_field_that_is_named_as_a_whole_may_be_set_as_a_whole() -> None:
    assert fields_of(["contact.email", "contact", "contacts.x"]) == {"contact": {}, "contacts": {"x": {}}}


def test_a_call_that_sets_another_field_is_denied_with_its_path_and_nobody_can_approve_it() -> None:
    arguments = {"id": "1", "owner": "me"}
    given = decision_input(BUNDLE, PAYER, UPDATE, arguments, facts())
    decision = decide(BUNDLE, given)
    assert (decision.allowed, decision.ruling) == (False, Ruling.DENY)
    assert decision.message == (
        "This call of crm.update sets `owner`, and payer may set `id`, `stage`, `lines.sku` only. Leave the others out."
    )
    assert decide(BUNDLE, from_json(parse(dump(to_json(given))))) == decision
    assert explain(BUNDLE, given).decision == decision
    assert not may_approve(BUNDLE, Approver("bob"), Question(PAYER, UPDATE, arguments, facts())).allowed


def test_other_agents_and_tools_have_no_such_limit_and_children_and_delegates_do() -> None:
    reader = Identity("reader", "token", "t")
    child = Child("dg_1", "payer:x", "run_1", ("*",), 1)
    for who, allowed in (
        (reader, True),
        (PAYER, False),
        (replace(PAYER, child=child), False),
        (replace(reader, child=replace(child, above=(PAYER,))), False),
    ):
        for arguments in ({"id": "1", "stage": "a"}, {"id": "1", "owner": "b"}, {"id": "1", "stage": "a"}):
            decision = decide(BUNDLE, decision_input(BUNDLE, who, UPDATE, arguments, facts()))
            assert decision.allowed is (allowed or "owner" not in arguments)
    assert decide(BUNDLE, decision_input(BUNDLE, PAYER, LIST, {"limit": 1}, facts())).allowed


def test_a_slip_in_the_configuration_is_told() -> None:
    said = {"payer": {"crm.updaet": ["id"], "crm.update": ["id", "stagee", "lines.sku"]}, "reader": {}}
    found = [problem.message for problem in field_problems(said, [UPDATE])]
    assert found == ["'crm.updaet' is no pinned tool", "crm.update has no argument 'stagee'"]
