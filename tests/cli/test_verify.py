"""`toolgate verify`: does the chain hold."""

import sqlite3
from pathlib import Path

from tests.cli.house import House


def test_an_untouched_ledger_holds(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    house.calls()
    verified = house.run("verify")
    assert (verified.exit_code, "the chain holds" in verified.output) == (0, True)
    data = house.json("verify")
    assert (data["ok"], data["events"] > 4) == (True, True)


def test_a_changed_row_is_named_with_what_it_was(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    ids = house.calls()
    database = sqlite3.connect(tmp_path / "gateway.db")
    triggers = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    for name in triggers:
        database.execute(f"DROP TRIGGER {name}")
    changed = database.execute("UPDATE events SET agent = 'nobody' WHERE call_id = ?", (ids["denied"],)).rowcount
    database.commit()
    database.close()
    assert changed == 1
    verified = house.run("verify")
    assert (verified.exit_code, "ledger_tampered" in verified.output, ids["denied"] in verified.output) == (
        1,
        True,
        True,
    )
    data = house.json("verify")
    assert (data["ok"], data["seq"] > 0) == (False, True)
