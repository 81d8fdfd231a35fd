"""`toolgate verify`: does the chain hold."""

import sqlite3
from pathlib import Path

import pytest

from gateway.store.retention import Removal
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


def test_a_ledger_that_is_not_the_one_written_last_is_gone_on_with_once_an_operator_says_why(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    house.calls()
    assert house.run("verify", "--accept", "the first").exit_code == 0  # from here on there is a signed head
    (tmp_path / "gateway.db").unlink()
    refused = house.run("verify")
    assert (refused.exit_code, "ledger_tampered" in refused.output, "--accept" in refused.output) == (1, True, True)
    accepted = house.run("verify", "--accept", "the disk was lost")
    assert (accepted.exit_code, "on record" in accepted.output) == (0, True)
    assert house.json("verify") == {"ok": True, "events": 2, "removed": 0}


@pytest.mark.parametrize("why", ["", " \t"])
def test_a_blank_reason_accepts_nothing(tmp_path: Path, why: str) -> None:
    house = House.with_policies(tmp_path)
    house.calls()
    before = house.json("verify")
    refused = house.run("verify", "--accept", why)
    assert (refused.exit_code, "--accept WHY" in refused.output) == (2, True)
    assert house.json("verify") == before


def test_a_chain_that_does_not_hold_cannot_be_accepted(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    house.calls()
    database = sqlite3.connect(tmp_path / "gateway.db")
    database.execute("UPDATE events SET agent = 'nobody' WHERE seq = 3")
    database.commit()
    database.close()
    assert house.run("verify", "--accept", "never mind").exit_code == 1
    assert house.json("verify")["seq"] == 3


def test_a_key_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    house.calls()
    house.run("verify")
    (tmp_path / ".toolgate" / "signing.key").chmod(0o644)
    refused = house.run("verify")
    assert (refused.exit_code, "private_file" in refused.output, "chmod 600" in refused.output) == (1, True, True)


def test_bodies_that_retention_removed_are_told_of(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    ids = house.calls()
    later = Removal(before_ms=2**62, at_ms=2**62, after_seq=0)
    removed = house.store(lambda store: store.remove_bodies(later))
    assert removed.bodies == 6
    verified = house.run("verify")
    assert (verified.exit_code, "removed by retention: the bodies of 6 events" in verified.output) == (0, True)
    assert house.json("trace", "show", ids["paid"])["message"] == "removed by retention"
    assert [step["outcome"] for step in house.json("trace", "replay", house.json("trace", "list")[0]["run"])] == [
        "denied",
        "succeeded",
        "succeeded",
    ]
    replayed = house.run("replay")
    assert (replayed.exit_code, "removed" in replayed.output) == (1, True)  # nothing could be replayed
