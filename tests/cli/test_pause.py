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


def test_what_is_not_stopped_cannot_go_on(house: House) -> None:
    refused = house.run("unpause", "all")
    assert (refused.exit_code, "not_paused" in refused.output) == (1, True)


@pytest.mark.parametrize("command", ["pause", "unpause"])
def test_what_names_nothing_is_refused_with_what_does(house: House, command: str) -> None:
    refused = house.run(command, "everything")
    assert (refused.exit_code, "agent:NAME" in refused.output) == (1, True)
