"""Versions of a tool side by side: kept in gateway.lock, and what leads from one to the other."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.config import ToolRule
from gateway.catalog.lock import Lock, LockError, Pin
from gateway.catalog.versions import contracts, held_at, version_problems
from gateway.model.contract import Contract
from gateway.model.tool import anything
from tests.policy.acme import INTEGER, STRING, record

FIRST = {"name": "pay", "inputSchema": record("amount", amount=INTEGER), "outputSchema": record("ref", ref=STRING)}
SECOND = {"name": "pay", "inputSchema": record("sum", sum=INTEGER), "outputSchema": record("receipt", receipt=STRING)}
OLD = Pin.of(FIRST)
LOCK = Lock({"bank": {"pay": Pin.of(SECOND, version=2)}}).keeping("bank", "pay", OLD)
ADAPTER = {"arguments": {"rename": {"amount": "sum"}}, "result": {"rename": {"receipt": "ref"}}}
RULES = {"bank.pay": ToolRule.model_validate({"versions": {"1": ADAPTER}})}


def of(held: dict[str, dict[str, int]], rules: dict[str, ToolRule] | None = None) -> dict[str, dict[str, Contract]]:
    found = contracts(held, Catalog.pinned(LOCK, {}, {}), LOCK, RULES if rules is None else rules)
    return {agent: dict(by_tool) for agent, by_tool in found.items()}


def test_a_kept_version_is_written_beside_the_present_one_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    LOCK.write(path)
    assert list(json.loads(path.read_text("utf-8"))["kept"]["bank"]) == ["pay@1"]
    assert Lock.read(path) == LOCK
    assert LOCK.with_server("other", {}).kept == LOCK.kept
    LOCK.forgetting("bank", "pay", 1).write(path)
    assert "kept" not in json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("name", ["pay", "pay@2", "@1", "pay@one"])
def test_a_kept_version_stands_under_its_own_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "gateway.lock"
    LOCK.write(path)
    path.write_text(path.read_text("utf-8").replace('"pay@1"', json.dumps(name)), "utf-8")
    with pytest.raises(LockError, match="is not the name of a version"):
        Lock.read(path)


def test_a_kept_version_that_was_edited_by_hand_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    LOCK.write(path)
    path.write_text(path.read_text("utf-8").replace('"amount"', '"amounts"'), "utf-8")
    with pytest.raises(LockError, match="digest"):
        Lock.read(path)


def test_an_agent_is_spoken_with_in_the_version_it_is_held_at_and_others_are_not() -> None:
    found = of({"old": {"bank.pay": 1}, "new": {"bank.pay": 2}, "lost": {"bank.lost": 1, "bank_pay": 1}})
    assert list(found) == ["old"]
    contract = found["old"]["bank.pay"]
    assert (contract.version, contract.definition, contract.broken) == (1, FIRST, "")
    assert contract.breaks_input({"sum": 5})
    assert contract.arguments is not None
    assert contract.arguments({"amount": 5}) == {"sum": 5}
    assert contract.answer({"structuredContent": {"receipt": "r"}})["structuredContent"] == {"ref": "r"}


def test_agents_that_are_held_at_the_same_version_share_its_contract() -> None:
    found = of({"a": {"bank.pay": 1}, "b": {"bank.pay": 1}})
    assert found["a"]["bank.pay"] is found["b"]["bank.pay"]


def test_a_version_that_is_not_kept_cannot_be_spoken_and_says_why() -> None:
    assert "does not keep" in of({"old": {"bank.pay": 3}})["old"]["bank.pay"].broken


def test_a_version_whose_schema_is_refused_cannot_be_spoken() -> None:
    far = Pin.of({"name": "pay", "inputSchema": {"type": "object", "$ref": "https://example.com/schema"}}, version=5)
    lock = LOCK.keeping("bank", "pay", far)
    found = contracts({"old": {"bank.pay": 5}}, Catalog.pinned(lock, {}, {}), lock, versions(*[{}] * 5))
    assert "its schema is refused" in found["old"]["bank.pay"].broken


def versions(*rules: Any) -> dict[str, ToolRule]:
    return {"bank.*": ToolRule.model_validate({"versions": {str(n): rule for n, rule in enumerate(rules, 1)}})}


def test_who_is_named_is_held_at_a_version_before_who_is_of_a_team_and_that_at_the_latest() -> None:
    rules = versions({"agents": ["named"], "teams": ["slow"]}, {"teams": ["slow", "late"]}, {"teams": ["none"]})
    agents = {"named": ["slow"], "slow": ["slow"], "late": ["late", "other"], "free": ["other"]}
    held = held_at(agents, Catalog.pinned(LOCK, {}, {}), rules)
    assert held == {"named": {"bank.pay": 1}, "slow": {"bank.pay": 2}, "late": {"bank.pay": 2}}
    assert held_at(agents, Catalog.pinned(LOCK, {}, {}), {"bank.pay": ToolRule()}) == {}


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (versions({"agents": ["stranger"]}), "not under `agents:`"),
        (versions({"agents": ["known"]}, {"agents": ["known"]}), "two versions"),
    ],
)
def test_nobody_is_held_at_a_version_by_a_slip(rules: dict[str, ToolRule], why: str) -> None:
    [problem] = version_problems(["known"], Catalog.pinned(LOCK, {}, {}), rules)
    assert why in problem.message


def contract(**result: Any) -> Contract:
    rules = {"bank.pay": ToolRule.model_validate({"versions": {"1": {"result": result}}})}
    return of({"old": {"bank.pay": 1}}, rules=rules)["old"]["bank.pay"]


@pytest.mark.parametrize(
    ("adapter", "answer", "breach"),
    [
        ({"rename": {"receipt": "ref"}}, {"structuredContent": {"receipt": "r"}}, ""),
        ({"rename": {"receipt": "ref"}}, {"structuredContent": {"receipt": 5}}, "at /ref"),
        ({"rename": {"receipt": "ref"}}, {"structuredContent": {}}, "at /"),
        ({"rename": {"receipt": "ref"}}, {"structuredContent": [1]}, "not an object"),
        ({}, {"structuredContent": {"receipt": "r"}}, "at /"),
        ({}, {"content": []}, "not structured"),
        ({"rename": {"receipt": "ref"}}, {"content": [], "isError": True}, ""),
        ({"rename": {"receipt": "ref"}}, {"resultType": "input_required"}, ""),
    ],
)
def test_an_answer_that_does_not_become_one_of_the_older_version_is_known(
    adapter: dict[str, Any], answer: dict[str, Any], breach: str
) -> None:
    found = contract(**adapter).breach(answer)
    assert breach in found
    assert bool(found) is bool(breach)


def test_a_version_without_an_output_schema_takes_any_answer() -> None:
    plain = Contract(1, {"name": "pay"}, anything, anything)
    assert plain.breach({"content": []}) == ""
