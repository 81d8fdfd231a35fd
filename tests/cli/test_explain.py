"""`toolgate explain`: what a person may write. What a running gateway says to it is in tests/live."""

import json
from pathlib import Path

import pytest

from gateway.cli.explain import _arguments, _types
from tests.cli.house import House
from tests.pipeline.gate import PAYMENT


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def test_a_gateway_that_is_not_up_decides_nothing(house: House) -> None:
    refused = house.run("explain", "payer", "payments.pay", "payment_id=p_17")
    assert (refused.exit_code, "toolgate up" in refused.output) == (1, True)
    assert house.json("explain", "payer", "payments.pay")["error"] == "not_up"


def test_nothing_is_asked_for_an_agent_that_is_none(house: House) -> None:
    refused = house.run("explain", "nobody", "payments.pay")
    assert (refused.exit_code, "no agent is called 'nobody'" in refused.output) == (1, True)
    assert house.json("explain", "nobody", "payments.pay")["error"] == "unknown_agent"


@pytest.mark.parametrize(
    "written",
    [["payment_id"], ["=p_17"], ["--arguments", "{"], ["--arguments", "[1]"], ["--arguments", '{"a":1,"a":2}']],
)
def test_what_are_no_arguments_is_said_before_anything_is_asked(house: House, written: list[str]) -> None:
    refused = house.run("explain", "payer", "payments.pay", *written)
    assert (refused.exit_code, "arguments" in refused.output) == (2, True)


def test_values_are_read_as_the_pinned_schema_wants_them(house: House) -> None:
    types = _types(house.path / "gateway.lock", "payments.pay")
    values = ["payment_id=17", "payee=true", "amount=250", "note=a b=c", "more=[1]"]
    read = {"payment_id": "17", "payee": "true", "amount": 250, "note": "a b=c", "more": [1]}
    assert _arguments("", values, types) == read
    assert _arguments(json.dumps(PAYMENT), ["amount=1.5"], types) == {**PAYMENT, "amount": 1.5}
    assert _types(house.path / "gateway.lock", "nowhere.pay") == {}
    (house.path / "gateway.lock").write_text("{", encoding="utf-8")
    refused = house.run("explain", "payer", "payments.pay")
    assert (refused.exit_code, "lock" in refused.output) == (1, True)
