"""`toolgate agents`: who is registered, who was seen, who tried."""

from pathlib import Path

from gateway.store.ports import AgentSighting
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
    assert text[4].split() == ["other", "registered", "never", "-", "0", "0", "-"]


def test_before_anybody_called_the_registered_are_listed(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    assert [row["agent"] for row in house.json("agents", "list")] == ["payer", "other"]
