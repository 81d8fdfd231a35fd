"""`toolgate policy`: check, test, explain, show."""

import json
from pathlib import Path

import pytest

from tests.cli.house import House
from tests.pipeline.gate import PERMIT_ALL, PRECONDITION

BAD = '@id("bad") permit (principal, action == Gateway::Action::"no.such", resource);'
READER = (
    '@id("reads") permit (principal == Gateway::Agent::"other", action == Gateway::Action::"payments.list", resource);'
)
APPROVAL = """
@id("lead") @obligation("approval:finance-leads")
forbid (principal, action == Gateway::Action::"payments.pay", resource) unless { context.base has approval };
"""
CASES = """
cases:
  - it: lets a payment through after its check
    agent: payer
    call: payments.pay
    arguments: { payment_id: p_1, payee: ACME, amount: 5 }
    expect: needs_precondition
  - it: lets anybody list
    agent: payer
    call: payments.list
    arguments: {}
    expect: allow
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def test_good_policies_are_ok_and_suspicious_ones_are_pointed_at(house: House) -> None:
    checked = house.run("policy", "check")
    assert (checked.exit_code, "3 policies: ok" in checked.output) == (0, True)
    data = house.json("policy", "check")
    assert (data["ok"], isinstance(data["warnings"], list)) == (True, True)


def test_an_irreversible_tool_that_nothing_guards_is_refused(house: House) -> None:
    text = (house.path / "gateway.yaml").read_text().replace(", accept_irreversible: true", "")
    (house.path / "gateway.yaml").write_text(text)
    refused = house.run("policy", "check")
    assert (refused.exit_code, "accept_irreversible" in refused.output) == (1, True)
    data = house.json("policy", "check")
    assert (data["ok"], "irreversible_unguarded" in data["errors"][0]) == (False, True)


def test_a_bad_policy_is_told_by_its_place(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path, BAD)
    refused = house.run("policy", "check")
    assert (refused.exit_code, "policy_error" in refused.output, "1.cedar:1:" in refused.output) == (1, True, True)
    problems = house.json("policy", "check")["problems"]
    assert (problems[0]["line"], problems[0]["file"].endswith("1.cedar")) == (1, True)


def test_policies_over_tools_that_nobody_pinned_say_how_to_pin_them(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    (tmp_path / "gateway.lock").unlink()
    assert "toolgate schema lock" in house.run("policy", "check").output


def test_a_server_of_which_nothing_is_pinned_is_not_passed_over_as_ok(house: House) -> None:
    assert "not_pinned" not in str(house.json("policy", "check")["warnings"])
    text = (house.path / "gateway.yaml").read_text()
    house.configure(text.replace("mcpServers:\n", "mcpServers:\n  bank: { command: sh }\n"))
    checked = house.run("policy", "check")
    assert (checked.exit_code, "no tool of bank is pinned yet" in checked.output) == (0, True)
    assert "not_pinned" in house.json("policy", "check")["warnings"][-1]


@pytest.mark.parametrize("arguments", [("check",), ("show",), ("matrix",), ("explain", "call_1")])
def test_a_lock_that_was_edited_by_hand_is_refused(house: House, arguments: tuple[str, ...]) -> None:
    lock = house.path / "gateway.lock"
    lock.write_text(lock.read_text(encoding="utf-8").replace("payee", "payer"), encoding="utf-8")
    refused = house.run("policy", *arguments)
    assert (refused.exit_code, "gateway.lock" in refused.output) == (1, True)
    assert house.json("policy", *arguments)["error"] == "lock"


def test_cases_are_decided_and_compared(house: House) -> None:
    cases = house.path / "cases.yaml"
    cases.write_text(CASES, encoding="utf-8")
    passed = house.run("policy", "test", str(cases))
    assert (passed.exit_code, "2 passed, 0 failed" in passed.output) == (0, True), passed.output
    cases.write_text(CASES.replace("expect: allow", "expect: deny"), encoding="utf-8")
    failed = house.run("policy", "test", str(cases))
    assert (failed.exit_code, "lets anybody list" in failed.output, "1 passed, 1 failed" in failed.output) == (
        1,
        True,
        True,
    )
    data = json.loads(house.run("policy", "test", str(cases), "--json").output)
    assert [each["case"] for each in data] == ["lets a payment through after its check", "lets anybody list"]


def test_cases_that_cannot_be_read_are_refused(house: House) -> None:
    assert house.run("policy", "test", str(house.path / "none.yaml")).exit_code == 2
    (house.path / "cases.yaml").write_text("cases: [{it: 7}]", encoding="utf-8")
    refused = house.run("policy", "test", str(house.path / "cases.yaml"))
    assert (refused.exit_code, "cases" in refused.output) == (1, True)


def test_a_denied_call_is_explained_by_the_condition_that_fails_and_what_would_help(house: House) -> None:
    ids = house.calls()
    explained = house.run("policy", "explain", ids["denied"])
    assert explained.exit_code == 3
    assert "NEEDS PRECONDITION  pay.requires-fraud-check" in explained.output
    assert "does not hold: context.prior has fraud" in explained.output
    assert "would be allowed after: fraud.check" in explained.output
    data = house.json("policy", "explain", ids["denied"])
    assert (data["allowed"], data["remedies"][0]["tool"]) == (False, "fraud.check")
    assert (data["outcome"], data["obligations"]) == ("needs_precondition", [])


def test_a_call_that_waits_for_a_person_is_explained_by_whose_approval_would_do(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path, PERMIT_ALL, APPROVAL)
    ids = house.calls()
    explained = house.run("policy", "explain", ids["paid"])
    assert explained.exit_code == 3
    assert explained.output.startswith("NEEDS APPROVAL  lead")
    assert "does not hold: context.base has approval" in explained.output
    assert "would be allowed with: approval finance-leads" in explained.output
    data = house.json("policy", "explain", ids["paid"])
    assert (data["allowed"], data["outcome"]) == (False, "needs_approval")
    assert data["obligations"] == ["approval:finance-leads"]
    assert house.json("policy", "matrix")["payer"]["payments.pay"] == "needs_approval"


def test_an_allowed_call_is_explained_too(house: House) -> None:
    ids = house.calls()
    explained = house.run("policy", "explain", ids["paid"])
    assert (explained.exit_code, explained.output.startswith("ALLOW  all")) == (0, True)


def test_a_call_is_explained_by_the_policies_as_they_are_now(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    ids = house.calls()
    (tmp_path / "policies" / "1.cedar").write_text(READER, encoding="utf-8")
    explained = house.run("policy", "explain", ids["check"])
    assert (explained.exit_code, "no policy allows it" in explained.output) == (3, True)


@pytest.mark.parametrize("call", ["call_none", "nowhere", ""])
def test_a_call_that_was_never_decided_has_nothing_to_explain(house: House, call: str) -> None:
    ids = house.calls()
    refused = house.run("policy", "explain", ids.get(call, call))
    assert (refused.exit_code, "unknown_call" in refused.output) == (1, True)


def test_the_policies_in_force_are_shown_as_cedar(house: House) -> None:
    shown = house.run("policy", "show").output
    assert PERMIT_ALL in shown
    assert all(line in shown for line in PRECONDITION.strip().splitlines())
    data = house.json("policy", "show")
    assert (data["digest"].startswith("sha256:"), len(data["sources"])) == (True, 3)


def test_the_matrix_says_who_may_call_what(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path, READER)
    rows = house.run("policy", "matrix").output.splitlines()
    assert rows[0].split() == ["TOOL", "PAYER", "OTHER"]
    found = house.json("policy", "matrix")
    assert (found["other"]["payments.list"], found["payer"]["payments.list"]) == ("always", "never")


def test_an_agent_of_another_environment_may_use_nothing_of_a_server_that_belongs_to_one(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path, PERMIT_ALL)
    text = (tmp_path / "gateway.yaml").read_text(encoding="utf-8")
    text = text.replace("payments: { command: sh }", "payments: { command: sh, about: { environment: production } }")
    house.configure(text.replace("other: { auth", "other: { environment: staging, auth"))
    found = house.json("policy", "matrix")
    assert (found["payer"]["payments.list"], found["other"]["payments.list"]) == ("always", "never")
    assert (found["payer"]["fraud.check"], found["other"]["fraud.check"]) == ("always", "always")
    assert 'principal == Gateway::Agent::"other"' in house.run("policy", "show").output
    house.configure(text.replace("other: { auth", 'other: { environment: "sta ging", auth'))
    assert house.run("policy", "check").exit_code == 1
