"""`--as`: what people do on the command line is decided by policies, and on record under their name."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.store.ports import Event, EventFilter, EventKind
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.pipeline.gate import PERMIT_ALL

PEOPLE = """
people:
  ann: { roles: [operators] }
  bob: {}
"""
MAY = """
@id("operators") permit (
  principal in Gateway::Role::"operators",
  action in [
    Gateway::Action::"settle", Gateway::Action::"resume", Gateway::Action::"rollback", Gateway::Action::"pause",
    Gateway::Action::"admin"
  ],
  resource
);
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House.with_policies(tmp_path, PERMIT_ALL, MAY)
    house.adds(PEOPLE)
    house.calls()
    return house


def admin(house: House) -> list[dict[str, Any]]:
    async def work(store: SqliteStore) -> list[Event]:
        events = [event async for event in store.events(EventFilter())]
        return [event for event in events if event.kind is EventKind.ADMIN or event.kind.startswith("token.")]

    return [{"run": event.run_id, **json.loads(event.body)} for event in house.store(work)]


def run_of(house: House) -> str:
    return str(house.json("runs", "list")[0]["run"])


@pytest.mark.parametrize("command", [("pause", "all"), ("pause", "agent:payer"), ("pause", "tool:payments.*")])
def test_a_person_stops_what_policies_let_them_stop(house: House, command: tuple[str, ...]) -> None:
    refused = house.run(*command, "--as", "bob")
    assert (refused.exit_code, "No policy allows person bob" in refused.output) == (3, True)
    assert house.json("pause") == []
    told = admin(house)[-1]
    assert (told["what"], told["by"]) == ("pause refused", "bob")
    assert house.run(*command, "--as", "ann").exit_code == 0
    assert house.json("pause")[0]["by"] == "ann"
    assert house.run("unpause", command[1], "--as", "bob").exit_code == 3
    assert house.run("unpause", command[1], "--as", "ann").exit_code == 0


@pytest.mark.parametrize(
    ("command", "action"),
    [
        (("runs", "pause"), "pause"),
        (("runs", "unpause"), "pause"),
        (("runs", "cancel"), "pause"),
        (("runs", "resume"), "resume"),
        (("runs", "rollback"), "rollback"),
        (("runs", "clear-taint", "--why", "x"), "settle"),
        (("pause", "run"), "pause"),
    ],
)
def test_what_is_done_to_a_run_in_a_persons_name_is_decided(
    house: House, command: tuple[str, ...], action: str
) -> None:
    run = run_of(house)
    named = (command[0], f"run:{run}") if command == ("pause", "run") else (*command, run)
    refused = house.run(*named, "--as", "bob")
    assert (refused.exit_code, "denied" in refused.output) == (3, True)
    told = admin(house)[-1]
    assert (told["run"], told["what"], told["by"]) == (run, f"{action} refused", "bob")
    assert house.run(*named, "--as", "ann").exit_code in {0, 1}  # not refused: there may be nothing to do


def test_a_run_is_settled_by_who_may_settle_it(house: House) -> None:
    call = house.json("runs", "show", run_of(house))[0]["call"]
    refused = house.run("runs", "settle", call, "failed", "--as", "bob")
    assert (refused.exit_code, "No policy allows person bob" in refused.output) == (3, True)
    permitted = house.run("runs", "settle", call, "failed", "--as", "ann")
    assert (permitted.exit_code, "not in doubt" in permitted.output) == (1, True)


@pytest.mark.parametrize("command", [("new",), ("rotate",), ("revoke",)])
def test_tokens_are_made_and_ended_by_who_may_change_the_gateway(house: House, command: tuple[str, ...]) -> None:
    refused = house.run("token", *command, "payer", "--as", "bob")
    assert (refused.exit_code, "denied" in refused.output) == (3, True)
    house.run("token", *command, "payer", "--as", "ann")
    assert [told["by"] for told in admin(house)] == ["bob", "ann"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("pause", "all", "--as", "eve"), "nobody is called"),
        (("runs", "pause", "run_9", "--as", "ann"), "there is no run"),
        (("runs", "settle", "call_9", "failed", "--as", "ann"), "there is no run"),
    ],
)
def test_who_or_what_is_not_there_is_named(house: House, command: tuple[str, ...], says: str) -> None:
    refused = house.run(*command)
    assert (refused.exit_code in {1, 3}, says in refused.output) == (True, True)


def test_without_a_name_it_is_the_operator_of_this_machine(house: House) -> None:
    assert house.run("pause", "all").exit_code == 0
    assert house.json("pause")[0]["by"].startswith("os:")
