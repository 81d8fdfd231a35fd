"""`toolgate pause` and `unpause`: the operator's kill switch."""

import json
from pathlib import Path

import pytest

from tests.cli.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def test_what_is_stopped_is_listed_until_it_goes_on(house: House) -> None:
    assert "nothing" in house.run("pause").output
    stopped = house.run("pause", "tool:payments.*", "--reason", "audit")
    assert (stopped.exit_code, "toolgate unpause tool:payments.*" in stopped.output) == (0, True)
    [row] = house.json("pause")
    assert (row["scope"], row["reason"], row["by"].startswith("os:")) == ("tool:payments.*", "audit", True)
    assert "audit" in house.run("pause").output
    assert house.run("unpause", "tool:payments.*").exit_code == 0
    assert house.json("pause") == []
    assert json.loads(house.run("verify", "--json").output) == {"ok": True, "events": 2, "removed": 0}


def test_what_is_stopped_and_goes_on_is_told_to_programs(house: House) -> None:
    stopped = house.json("pause", "agent:payr")
    assert (stopped["scope"], stopped["doubt"]) == (
        "agent:payr",
        "no agent is called 'payr'; did you mean agent:payer?",
    )
    assert house.json("unpause", "agent:payr")["scope"] == "agent:payr"
    assert house.json("unpause", "agent:payr")["error"] == "not_paused"
    assert house.json("pause", "everything")["error"] == "scope_unknown"


def test_what_is_not_stopped_cannot_go_on(house: House) -> None:
    refused = house.run("unpause", "all")
    assert (refused.exit_code, "not_paused" in refused.output) == (1, True)


@pytest.mark.parametrize("command", ["pause", "unpause"])
def test_what_names_nothing_is_refused_with_what_does(house: House, command: str) -> None:
    refused = house.run(command, "everything")
    assert (refused.exit_code, "agent:NAME" in refused.output) == (1, True)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("agent:payr", "did you mean agent:payer?"),
        ("server:payment", "did you mean server:payments?"),
        ("tool:payments_pay", "did you mean tool:payments.pay?"),
        ("team:treasury", "no team is called 'treasury'"),
        ("run:my-job", "toolgate runs list"),
    ],
)
def test_a_stop_that_stops_nothing_there_is_says_so(house: House, slip: str, meant: str) -> None:
    stopped = house.run("pause", slip)
    assert (stopped.exit_code, "nothing there is now is stopped" in stopped.stderr) == (0, True)
    assert meant in stopped.stderr
    assert [row["scope"] for row in house.json("pause")] == [slip]


@pytest.mark.parametrize("scope", ["all", "agent:payer", "agent:payer:reader", "tool:payments.*", "tool:run.start"])
def test_a_stop_of_something_there_is_has_no_doubts(house: House, scope: str) -> None:
    assert house.run("pause", scope).stderr == ""


def test_what_goes_on_is_stopped_and_looked_at_where_the_configuration_does_not_load(house: House) -> None:
    made = house.calls()
    text = (house.path / "gateway.yaml").read_text(encoding="utf-8")
    house.configure(text.replace("command: sh }", 'command: sh, env: { KEY: "${NO_SUCH_VARIABLE}" } }', 1) + "odd: 1\n")
    stopped = house.run("pause", "all")
    assert (stopped.exit_code, "warning: " in stopped.stderr, "unknown_key" in stopped.stderr) == (0, True, True)
    assert [row["scope"] for row in house.json("pause")] == ["all"]
    assert made["paid"] in house.run("trace", "list").stdout
    assert house.run("verify").exit_code == 0
    assert house.run("unpause", "all").exit_code == 0
    for refused in (("pause", "all", "--as", "bob"), ("token", "new", "payer"), ("policy", "show")):
        assert house.run(*refused).exit_code == 1  # what policies decide, or rests on the rest of the file
    house.configure("server: [\n")
    assert house.run("pause", "all").exit_code == 1
