"""A server that fails too much for what is expected of it is shown wherever an operator looks."""

import time
from pathlib import Path

from gateway.store.ports import EventFilter
from gateway.store.sqlite.store import SqliteStore
from tests.cli.house import House
from tests.live.probe_server import tool
from tests.live.running import Running

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
MORE = """agents: { payer: { allow: ["*"] } }
slo: { "*": { success: 0.99 } }
"""


def burning(house: House) -> str:
    give_up = time.monotonic() + 60
    while not (said := house.json("status")["servers"]["probe"]["slo"]["burning"]):
        assert time.monotonic() < give_up
        time.sleep(0.2)
    return str(said)


async def alarms(store: SqliteStore) -> int:
    return len([event async for event in store.events(EventFilter(call_id="slo probe"))])


def test_a_server_whose_answers_cannot_be_used_burns_its_budget_and_that_outlives_a_restart(tmp_path: Path) -> None:
    house = House.with_a_server(tmp_path, tool("say", annotations={"readOnlyHint": True}, outputSchema=SCHEMA))
    house.adds(MORE)
    gateway = Running(house.path).start()
    try:
        token = gateway.token("payer")
        for number in range(10):
            value = {"n": number} if number < 4 else {"n": "no number"}
            gateway.call(token, "probe_say", {"result": {"content": [], "structuredContent": value}})
        assert burning(house) == "page"
        text = "probe fails too much for its objective of 99 % (page): 6 of 10 calls in 1h"
        assert text in house.run("status").output
        checks = [each["message"] for each in house.json("doctor")["checks"] if each["name"] == "server probe"]
        assert any("fails too much for its objective" in each for each in checks)
        said = house.run("trace", "stats").output
        assert "probe did not fail 40.00 % of 10 calls, expected 99 %: 6000 % of what may fail is used up" in said
        gateway.stop()
        gateway.start()
        assert burning(house) == "page"
        assert house.json("status")["servers"]["probe"]["slo"]["1h"] == {"calls": 10, "failed": 6, "burn": 60.0}
        assert house.store(alarms) == 1
        assert house.run("verify").exit_code == 0
    finally:
        gateway.stop()
