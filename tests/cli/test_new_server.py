"""A server that is added to a gateway later: no wildcard opens it before a person has decided."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.lock import Lock, Pin
from gateway.cli.servers import pin_schemas
from gateway.store.ports import Event, EventFilter
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.live.probe_server import tool
from tests.live.running import Running, refusal

LATE = (tool("read"), tool("write"))
AGENTS = 'agents: { desk: { allow: ["*"] }, sales: { allow: ["late.*"] } }\n'


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House.with_a_server(tmp_path, tool("pay"))
    made.adds(AGENTS)
    return made


@contextmanager
def up(house: House) -> Iterator[Running]:
    running = Running(house.path).start()
    try:
        yield running
    finally:
        running.stop()


def adds_a_server(house: House, name: str = "late", tools: Sequence[Mapping[str, Any]] = LATE) -> None:
    text = (house.path / "gateway.yaml").read_text("utf-8")
    probe = text[text.index("  probe:") : text.index("agents:")]
    folder = house.path / name
    folder.mkdir()
    (folder / "tools.json").write_text(json.dumps(tools), "utf-8")
    late = probe.replace("  probe:", f"  {name}:").replace(f'PROBE_DIR: "{house.path}"', f'PROBE_DIR: "{folder}"')
    house.configure(text.replace(probe, probe + late))


def listed(running: Running, token: str) -> set[str]:
    answer = running.rpc("tools/list", token=token).json()
    return {each["name"] for each in answer["result"]["tools"] if each["name"].startswith(("probe", "late"))}


def until_listed(running: Running, token: str, names: set[str]) -> None:
    give_up = time.monotonic() + 30
    while (found := listed(running, token)) != names:
        assert time.monotonic() < give_up, found
        time.sleep(0.1)


def test_a_server_that_comes_later_is_open_to_whom_it_is_named_for_and_to_all_once_somebody_decided(
    house: House,
) -> None:
    with up(house) as running:
        tokens = {name: running.token(name) for name in ("desk", "sales")}
        until_listed(running, tokens["desk"], {"probe_pay"})
    adds_a_server(house)
    with up(house) as running:
        until_listed(running, tokens["sales"], {"late_read", "late_write"})
        assert listed(running, tokens["desk"]) == {"probe_pay"}
        refused = refusal(running.call(tokens["desk"], "late_read", {}))
        assert refused["code"] == "denied"
        status, doctor = house.run("status").output, house.run("doctor", "--offline").output
        for told in (status, doctor):
            assert "late is new: for agents whose `allow:` names it, until somebody decides" in told
            assert 'toolgate schema approve "late.*"' in told
            assert "open by a wildcard, every server there is, to: desk (allow.desk)" in told
        assert house.json("status")["servers"]["late"]["undecided"]
        assert house.run("schema", "approve", "late.read", "--yes").exit_code == 0
        until_listed(running, tokens["desk"], {"probe_pay", "late_read"})
        assert house.run("schema", "approve", "late.*", "--yes").exit_code == 0
        until_listed(running, tokens["desk"], {"probe_pay", "late_read", "late_write"})
        assert not house.json("status")["servers"]["late"]["undecided"]
    with up(house) as running:
        until_listed(running, tokens["desk"], {"probe_pay", "late_read", "late_write"})


def test_where_the_operator_says_so_a_wildcard_opens_what_comes_later(house: House) -> None:
    text = (house.path / "gateway.yaml").read_text("utf-8")
    house.configure(text.replace("server: {", "server: { new_servers: open,"))
    assert house.run("schema", "lock").exit_code == 0
    adds_a_server(house)
    with up(house) as running:
        until_listed(running, running.token("desk"), {"probe_pay", "late_read", "late_write"})
        assert " is new: " not in house.run("status").output


def pin_as_init_does(house: House) -> None:
    pin_schemas(house.path / "gateway.yaml")


def pin_as_a_command(house: House) -> None:
    assert house.run("schema", "lock").exit_code == 0


@pytest.mark.parametrize("pin", [pin_as_a_command, pin_as_init_does])
def test_a_person_who_pins_servers_by_a_command_has_decided(house: House, pin: Callable[[House], None]) -> None:
    pin(house)
    adds_a_server(house)
    assert "late is new" in house.run("doctor", "--offline").output
    assert "new, and only for agents whose `allow:` names it: late" in house.run("access", "review").output
    pin(house)
    assert "late is new" not in house.run("doctor", "--offline").output


def test_a_server_without_tools_is_approved_as_a_whole(house: House) -> None:
    pin_as_a_command(house)
    adds_a_server(house, tools=[])
    assert "late is new" in house.run("doctor", "--offline").output
    assert house.run("schema", "approve", "late.*", typed="n\n").exit_code == 1
    assert "late is new" in house.run("doctor", "--offline").output
    approved = house.run("schema", "approve", "late.*", typed="y\n")
    assert (approved.exit_code, "late is decided about" in approved.output) == (0, True)
    assert "late is new" not in house.run("doctor", "--offline").output

    async def events(store: SqliteStore) -> list[Event]:
        return [event async for event in store.events(EventFilter(tool="late.*"))]

    [told] = house.store(events)
    assert json.loads(told.body)["what"] == "server approved"


def test_what_is_approved_in_a_lock_of_before_servers_were_decided_about_shuts_no_server_that_it_knows(
    house: House,
) -> None:
    adds_a_server(house)
    pin_as_a_command(house)
    path = house.path / "gateway.lock"
    old = json.loads(path.read_bytes())
    del old["decided"]
    path.write_text(json.dumps(old), "utf-8")
    assert house.run("schema", "approve", "probe.pay", "--yes").exit_code == 0
    assert " is new: " not in house.run("doctor", "--offline").output


def test_whoever_approves_before_the_first_start_shuts_none_of_the_servers_that_are_there(house: House) -> None:
    adds_a_server(house)
    assert house.run("schema", "approve", "probe.pay", "--yes").exit_code == 0
    assert " is new: " not in house.run("doctor", "--offline").output


def test_a_gateway_begins_with_the_servers_it_is_given_also_those_that_answer_later(tmp_path: Path) -> None:
    path = tmp_path / "gateway.lock"
    pins = {"pay": Pin.of({"name": "pay"})}
    first = Lock.read(path).begun_with(["a", "b"]).with_server("a", pins)
    assert Lock().undecided(["a", "b"]) == []
    first.write(path)
    again = Lock.read(path).begun_with(["a", "b", "c"]).with_server("b", pins)
    assert again.undecided(["a", "b", "c"]) == ["c"]
    assert again.deciding(["c"]).undecided(["a", "b", "c"]) == []


def test_of_a_lock_of_before_there_were_decisions_what_it_knows_is_decided() -> None:
    old = Lock({"a": {"pay": Pin.of({"name": "pay"})}})
    assert old.undecided(["a", "b"]) == ["b"]
    assert old.begun_with(["a", "b"]).with_server("b", {}).undecided(["a", "b"]) == ["b"]
