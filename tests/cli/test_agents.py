"""`toolgate agents`: who is registered, who was seen, who tried."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.model.clock import SystemClock
from gateway.store.delegations import Delegation, DelegationEnd
from gateway.store.sightings import AgentSighting
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House


def test_registered_agents_and_strangers_are_listed(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)

    async def work(store: SqliteStore) -> None:
        await store.saw_agents(
            [
                AgentSighting("payer", True, 1_800_000_000_000, "claude", "2.0", 3, 1, (("payments.pay", 3),)),
                AgentSighting("unknown", False, 1_800_000_001_000, refused=7),
                AgentSighting("retired", True, 1_700_000_000_000),
            ]
        )

    house.store(work)
    rows = {row["agent"]: row for row in house.json("agents", "list")}
    assert list(rows) == ["unknown", "payer", "retired", "other"]
    assert [rows[name]["status"] for name in rows] == ["UNKNOWN", "registered", "no longer registered", "registered"]
    assert (rows["payer"]["client"], rows["payer"]["tools"]) == ("claude 2.0", {"payments.pay": 3})
    assert (rows["other"]["last_seen"], rows["payer"]["last_seen"]) == ("never", "2027-01-15T08:00:00+00:00")
    text = house.run("agents", "list").output.splitlines()
    assert "payments.pay (3)" in text[2]
    assert text[4].split() == ["other", "registered", "never", "-", "0", "0", "0", "-"]


def test_before_anybody_called_the_registered_are_listed(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    assert [row["agent"] for row in house.json("agents", "list")] == ["payer", "other"]


def family(house: House, **more: Any) -> None:
    """Put a child of payer on record, one of that, and a third as told by `more`."""
    now = SystemClock().now_ms()
    reader = Delegation(
        id="tg_reader",
        digest="d" * 64,
        agent="payer",
        name="payer:reader",
        parent="",
        method="local",
        root="local:payer",
        issuer="",
        on_behalf_of="",
        run_id="run_1",
        scopes=("fraud.*", "mail.send"),
        claims=(),
        actors=("payer",),
        depth=1,
        created_ms=now,
        expires_ms=now + 3_600_000,
    )
    last = replace(reader, id="tg_last", name="payer:reader:last", parent="tg_reader", scopes=("fraud.check",), depth=2)
    third = replace(reader, id="tg_third", name="payer:third", **more)

    async def work(store: SqliteStore) -> None:
        for each in (reader, third, last):
            await store.put_delegation(each)

    house.store(work)


def standing(house: House) -> dict[str, str]:
    return {child["name"]: child["standing"] for agent in house.json("agents", "tree") for child in agent["children"]}


def test_the_tree_shows_who_stands_under_whom_with_what_and_until_when(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    family(house)
    payer, other = house.json("agents", "tree")
    assert (payer["agent"], payer["owner"], other["children"]) == ("payer", "finance@acme.example", [])
    assert [(each["name"], each["parent"]) for each in payer["children"]] == [
        ("payer:reader", ""),
        ("payer:reader:last", "tg_reader"),
        ("payer:third", ""),
    ]
    assert payer["children"][0]["scopes"] == ["fraud.*", "mail.send"]
    text = house.run("agents", "tree").output.splitlines()
    assert text[0] == "payer (finance@acme.example)"
    assert text[1].startswith("  payer:reader  tg_reader  fraud.*, mail.send  run_1  until ")
    assert text[2].startswith("    payer:reader:last  tg_last  fraud.check")
    assert text[4] == "other"
    assert {row["agent"]: row["children"] for row in house.json("agents", "list")} == {"payer": 3, "other": 0}


def test_the_tree_says_what_ended_a_child(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    family(house, method="token", root="tg_gone")
    assert standing(house)["payer:third"] == "the credential tg_gone of payer is not accepted any more"
    assert "REFUSED: the credential tg_gone" in house.run("agents", "tree").output
    house.configure((tmp_path / "gateway.yaml").read_text(encoding="utf-8").replace("  payer:", "  third:"))
    assert all(each.endswith("agent 'payer' is not configured any more") for each in standing(house).values())
    assert [agent["agent"] for agent in house.json("agents", "tree")] == ["third", "other", "payer"]


def test_the_tree_forgets_a_child_whose_time_is_over(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    family(house, expires_ms=SystemClock().now_ms() - 1)
    assert set(standing(house)) == {"payer:reader", "payer:reader:last"}


def test_revoking_a_child_ends_it_and_all_under_it_on_record(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    family(house)
    assert house.json("agents", "revoke", "tg_reader", "--reason", "done") == {"revoked": ["tg_reader"]}
    assert standing(house) == {
        "payer:reader": "payer:reader (tg_reader) was withdrawn",
        "payer:reader:last": "payer:reader (tg_reader) was withdrawn",
        "payer:third": "live",
    }

    async def work(store: SqliteStore) -> list[DelegationEnd]:
        changes = await store.delegation_changes(0, 9)
        return [change.what for change in changes if isinstance(change.what, DelegationEnd)]

    [end] = house.store(work)
    assert (end.id, end.run_id, end.reason) == ("tg_reader", "run_1", "done")
    assert end.by.startswith("os:")
    again = house.run("agents", "revoke", "tg_reader")
    assert again.exit_code == 1
    assert "agents tree" in again.output


def test_revoking_an_agents_children_ends_them_all_and_none_is_no_mistake(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    family(house)
    assert house.json("agents", "revoke", "payer") == {"revoked": ["tg_reader", "tg_third"]}
    assert "live" not in standing(house).values()
    assert house.run("agents", "revoke", "payer").output == "ended 0 and all under them: -\n"
