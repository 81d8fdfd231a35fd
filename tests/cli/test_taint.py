"""`toolgate runs taint` and `clear-taint`: what follows a run, and whose word ends that."""

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.store.ports import Event, EventFilter, EventKind
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.fixtures.clock import CountingIds
from tests.pipeline.gate import PERMIT_ALL
from tests.pipeline.test_tainting import NOTHING_LEAVES, gate_under


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path, PERMIT_ALL, NOTHING_LEAVES)


def read(house: House) -> str:
    """Have the payer read something untrusted; return the run."""

    async def work(store: SqliteStore) -> str:
        durable: Any = store
        ended = await gate_under(NOTHING_LEAVES, store=durable, ids=CountingIds()).run("payments_list", {}, run="one")
        return str(ended.call.facts.run.id)

    return house.store(work)


def test_what_follows_a_run_and_its_agent_is_shown(house: House) -> None:
    run = read(house)
    shown = house.run("runs", "taint", run).output.splitlines()
    assert [line.split()[0] for line in shown] == ["LABEL", "from:payments", "untrusted"]
    found = house.json("runs", "taint", run)
    assert found["run"].keys() == found["principal"].keys() == {"untrusted", "from:payments"}


def test_a_person_takes_responsibility_for_it_on_record(house: House) -> None:
    run = read(house)
    cleared = house.run("runs", "clear-taint", run, "--why", "read it myself")
    assert (cleared.exit_code, "within a second" in cleared.output) == (0, True)
    assert "nothing" in house.run("runs", "taint", run).output

    async def last(store: SqliteStore) -> Event:
        return [event async for event in store.events(EventFilter(run_id=run))][-1]

    event = house.store(last)
    body = json.loads(event.body)
    assert (event.kind, body["by"], body["why"]) == (
        EventKind.TAINT_CLEARED,
        f"os:{getpass.getuser()}",
        "read it myself",
    )
    again = house.run("runs", "clear-taint", run, "--why", "twice")
    assert (again.exit_code, "not_tainted" in again.output) == (1, True)


@pytest.mark.parametrize("command", [["taint", "run_9"], ["clear-taint", "run_9", "--why", "x"]])
def test_a_run_that_is_not_there_is_named(house: House, command: list[str]) -> None:
    refused = house.run("runs", *command)
    assert (refused.exit_code, "run_9" in refused.output) == (1, True)


def test_nobody_takes_responsibility_without_a_reason(house: House) -> None:
    assert house.run("runs", "clear-taint", "run_1").exit_code == 2
