"""`toolgate facts`: what agents keep."""

from pathlib import Path
from typing import Any

import pytest

from gateway.facts.config import FactsSection
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.pipeline.gate import Gate


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def keep(house: House) -> None:
    async def work(store: SqliteStore) -> None:
        durable: Any = store
        gate = Gate(store=durable, facts=FactsSection())
        seen = await gate.run("payments_list", {})
        asked = {"scope": "agent", "name": "budget", "value": 100, "proof": {"call": seen.call.id}}
        await gate.run("facts_put", asked)
        await gate.run("facts_put", {"scope": "run", "name": "note", "value": "x" * 100, "ttl_s": 366 * 86_400})

    house.store(work)


def test_facts_are_listed_with_who_put_them_and_what_proves_them(house: House) -> None:
    assert "no facts" in house.run("facts").output
    keep(house)
    of_agent, of_run = house.json("facts")
    assert (of_agent["owner"], of_agent["name"], of_agent["value"], of_agent["until"]) == ("payer", "budget", 100, None)
    assert of_agent["proof"]["tool"] == "payments.list"
    assert (of_run["scope"], of_run["value"], of_run["version"]) == ("run", "x" * 100, 1)
    shown = house.run("facts").output
    assert "(not verified)" in shown
    assert "x" * 61 not in shown


def test_a_list_that_may_not_be_all_says_so(house: House) -> None:
    keep(house)
    assert "there may be others: --limit 10" in house.run("facts", "--limit", "1").stderr
    assert house.run("facts").stderr == ""


def test_facts_are_narrowed_by_scope_and_owner(house: House) -> None:
    keep(house)
    assert [row["name"] for row in house.json("facts", "--scope", "agent")] == ["budget"]
    assert house.json("facts", "--owner", "nobody") == []
    assert house.run("facts", "--scope", "galaxy").exit_code == 2
