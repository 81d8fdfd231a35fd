"""`toolgate schema`: what is pinned, what has drifted, a person's approval."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.config import ToolRule
from gateway.catalog.lock import Lock
from gateway.catalog.shapes import ENOUGH
from gateway.model.tool import Effect
from gateway.store.ports import Event, EventFilter
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.live.probe_server import tool
from tests.pipeline.gate import Gate, answer

PAY = tool("pay", {"amount": {"type": "integer"}})
LIST = tool("list", annotations={"readOnlyHint": True})
DRIFTED = {**PAY, "inputSchema": {**PAY["inputSchema"], "required": ["amount"]}, "description": "Pay at once."}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_a_server(tmp_path, PAY, LIST)


def locked(house: House) -> dict[str, Any]:
    return dict(Lock.read(house.path / "gateway.lock").servers.get("probe", {}))


def test_servers_nobody_has_seen_are_pinned(house: House) -> None:
    assert "pinned 2 tool(s)" in house.run("schema", "lock").output
    assert (locked(house)["pay"].effect, locked(house)["list"].effect) == (Effect.WRITE, Effect.READ)
    assert house.json("schema", "lock") == {"pinned": 0, "drift": {}}


def test_a_check_changes_nothing_and_fails_on_any_drift(house: House) -> None:
    house.run("schema", "lock")
    same = house.run("schema", "lock", "--check")
    assert (same.exit_code, same.output) == (0, "gateway.lock: no drift\n")
    before = (house.path / "gateway.lock").read_bytes()
    house.offers(DRIFTED, tool("new"))
    drifted = house.run("schema", "lock", "--check", "--json")
    assert drifted.exit_code == 1
    found = json.loads(drifted.output)["drift"]
    assert set(found) == {"probe.pay", "probe.new", "probe.list"}
    assert (found["probe.list"], found["probe.pay"].startswith("breaking")) == ("vanished", True)
    assert (house.path / "gateway.lock").read_bytes() == before


def test_a_difference_is_shown_gravest_first(house: House) -> None:
    house.run("schema", "lock")
    assert house.run("schema", "diff").output == "no drift\n"
    house.offers(DRIFTED, LIST, tool("new"))
    shown = house.run("schema", "diff").output.splitlines()
    assert shown[0] == "probe.pay"
    assert shown[1].startswith("  breaking /inputSchema/required")
    assert any(line.startswith("  text /description") for line in shown)
    assert house.json("schema", "diff", "probe.new") == {"probe.new": ["new: nobody has approved it yet"]}
    assert house.json("schema", "diff", "probe.list") == {}


def test_an_approved_tool_is_a_new_version_and_on_record(house: House) -> None:
    house.run("schema", "lock")
    house.offers(DRIFTED, LIST)
    approved = house.run("schema", "approve", "probe.pay", typed="y\n")
    assert (approved.exit_code, "probe.pay is version 2 now" in approved.output) == (0, True)
    assert (locked(house)["pay"].version, locked(house)["pay"].definition["description"]) == (2, "Pay at once.")

    async def events(store: SqliteStore) -> list[Event]:
        return [event async for event in store.events(EventFilter(tool="probe.pay"))]

    [event] = house.store(events)
    assert json.loads(event.body)["digest"] == locked(house)["pay"].digest


def test_a_new_tool_of_a_known_server_waits_for_approval(house: House) -> None:
    house.run("schema", "lock")
    house.offers(PAY, LIST, tool("new"))
    assert house.json("schema", "lock")["pinned"] == 0
    assert house.run("schema", "approve", "probe.new", "--yes").exit_code == 0
    assert locked(house)["new"].version == 1


def test_approving_what_has_not_changed_says_so(house: House) -> None:
    house.run("schema", "lock")
    assert "nothing has changed" in house.run("schema", "approve", "probe.pay", "--yes").output


def test_hints_are_shown_and_count_once_a_person_accepted_them_and_the_version_stays(house: House) -> None:
    house.run("schema", "lock")
    assert not any(pin.reviewed for pin in locked(house).values())
    approved = house.run("schema", "approve", "probe.*", "--yes")
    assert 'its hints: {"readOnlyHint": true}' in approved.output
    assert {name: (pin.reviewed, pin.version) for name, pin in locked(house).items()} == {
        "pay": (True, 1),
        "list": (True, 1),
    }


def test_a_person_may_decline(house: House) -> None:
    house.run("schema", "lock")
    house.offers(DRIFTED, LIST)
    assert house.run("schema", "approve", "probe.pay", typed="n\n").exit_code == 1
    assert locked(house)["pay"].version == 1


def test_a_hostile_definition_cannot_be_approved(house: House) -> None:
    house.run("schema", "lock")
    house.offers({**PAY, "description": "Pay.\u202egnihtyna"}, LIST)
    refused = house.run("schema", "approve", "probe.pay", "--yes")
    assert (refused.exit_code, "hostile" in refused.output) == (1, True)
    assert locked(house)["pay"].version == 1


def test_a_tool_nobody_offers_cannot_be_approved(house: House) -> None:
    refused = house.run("schema", "approve", "probe.none", "--yes")
    assert (refused.exit_code, "unknown_tool" in refused.output) == (1, True)


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.configure('version: 1\nmcpServers: { gone: { command: "true" } }\n')
    refused = house.run("schema", "diff")
    assert (refused.exit_code, "gone" in refused.output, "unavailable" in refused.output) == (1, True, True)


def test_a_lock_that_was_edited_by_hand_is_refused(house: House) -> None:
    (house.path / "gateway.lock").write_text("{}", encoding="utf-8")
    refused = house.run("schema", "lock", "--check")
    assert (refused.exit_code, "version control" in refused.output) == (1, True)


NEWER = tool("pay", {"sum": {"type": "integer"}})
ADAPTED = """tools:
  probe.pay: { versions: { "1": { agents: [payer], arguments: { rename: { amount: sum } } } } }
"""


def held(house: House) -> None:
    """Have agent payer held at version 1 of a tool that went on to version 2."""
    house.run("schema", "lock")
    house.offers(NEWER, LIST)
    assert house.run("schema", "approve", "probe.pay", "--yes", "--keep").exit_code == 0
    house.adds(f"agents: {{ payer: {{}} }}\n{ADAPTED}")


def test_a_version_is_kept_beside_the_present_one_for_agents_that_are_held_at_it(house: House) -> None:
    held(house)
    shown = house.json("schema", "versions", "probe.pay")
    assert [(one["tool"], one["version"], one["present"], one["agents"]) for one in shown["versions"]] == [
        ("probe.pay", 2, True, []),
        ("probe.pay", 1, False, ["payer"]),
    ]
    assert shown["refused"] == {}
    rows = [" ".join(line.split()[:2]) for line in house.run("schema", "versions").output.splitlines()]
    assert rows == ["TOOL IS", "probe.list@1 present", "probe.pay@2 present", "probe.pay@1 kept"]
    assert house.run("schema", "lock", "--check").exit_code == 0


def test_a_version_that_is_not_kept_fails_the_check(house: House) -> None:
    held(house)
    assert house.run("schema", "forget", "probe.pay@1").exit_code == 0
    assert "does not keep that version" in house.json("schema", "versions")["refused"]["payer: probe.pay@1"]
    assert "refused: payer: probe.pay@1" in house.run("schema", "versions").output
    drift = json.loads(house.run("schema", "lock", "--check", "--json").output)["drift"]
    assert list(drift) == ["probe.pay@1"]
    gone = house.run("schema", "forget", "probe.pay@1")
    assert (gone.exit_code, "keeps no" in gone.output) == (1, True)
    assert house.run("schema", "forget", "nonsense").exit_code == 1


def test_what_is_approved_without_need_keeps_nothing(house: House) -> None:
    house.run("schema", "lock")
    house.run("schema", "approve", "probe.pay", "--yes", "--keep")
    assert Lock.read(house.path / "gateway.lock").kept == {}
    assert house.run("schema", "versions", "probe.nothing").output == "gateway.lock pins nothing\n"


def test_what_answers_are_like_and_what_drifted_is_shown_and_accepted(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    assert "no answers are watched" in house.run("schema", "shapes").output
    assert house.run("schema", "shapes", "payments.list").exit_code == 1
    text = (tmp_path / "gateway.yaml").read_text(encoding="utf-8")
    house.configure(text.replace("tools:\n", 'tools:\n  "*": { shape: watch }\n'))
    assert "payments.list: not learnt yet" in house.run("schema", "shapes").output
    assert "fraud.check" not in house.run("schema", "shapes").output  # it has an output schema

    async def work(store: SqliteStore) -> str:
        durable: Any = store
        gate = Gate(store=durable, tools={"payments.list": ToolRule.model_validate({"shape": "watch"})})
        gate.servers["payments"].calls += [answer({"total": 1, "next": "x"})] * ENOUGH + [answer({"total": "1"})]
        watch = asyncio.ensure_future(gate.shaping.watch())
        ended = [await gate.run("payments_list", {}) for _ in range(ENOUGH + 1)]
        async with asyncio.timeout(30):
            while len([1 async for _ in store.events(EventFilter(call_id="shape.payments.list"))]) < 2:
                await asyncio.sleep(0.02)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        return ended[-1].call.id

    call = house.store(work)
    shown = house.run("schema", "shapes", "payments.list").output
    assert "  /total: number\n" in shown
    assert f"first in {call}: /next is missing; /total is string, was number" in shown
    data = house.json("schema", "shapes")
    assert data["payments.list"]["shape"]["always"] == ["/next", "/total"]
    assert [drift["call"] for drift in data["payments.list"]["drifts"]] == [call]
    assert data["mail.send"] == {"shape": None, "drifts": []}
    assert house.run("schema", "shapes", "--accept").exit_code == 2
    assert house.run("schema", "shapes", "payments.list", "--accept").exit_code == 0
    assert house.json("schema", "shapes", "payments.list") == {"payments.list": {"shape": None, "drifts": []}}
    assert house.run("verify").exit_code == 0
