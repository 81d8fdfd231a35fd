"""`toolgate evidence`: what is shown to somebody who has neither the gateway nor its ledger."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import build
from tests.cli.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    (tmp_path / "home").mkdir()
    return House.with_policies(tmp_path / "home")


def elsewhere(*arguments: str | Path) -> tuple[int, str]:
    """Run a command that knows of no gateway."""
    done = CliRunner().invoke(build(), [str(each) for each in arguments])
    return done.exit_code, done.output


def key_of(house: House, tmp_path: Path) -> Path:
    key = tmp_path / "jwks.json"
    key.write_text(house.run("evidence", "key").output)
    return key


def test_a_bundle_verifies_where_there_is_only_the_key(house: House, tmp_path: Path) -> None:
    ids = house.calls()
    file = tmp_path / "paid.jsonl"
    made = house.run("evidence", "export", str(file), "--call", ids["paid"])
    assert (made.exit_code, "evidence verify" in made.output) == (0, True)
    assert file.stat().st_mode & 0o777 == 0o600
    key = key_of(house, tmp_path)
    code, output = elsewhere("evidence", "verify", file, "--key", key)
    assert (code, "it holds" in output, "2 call.claimed" in output) == (0, True, True)
    assert f"asked for: call_id {ids['paid']}\n" in output
    proof = json.loads(elsewhere("evidence", "verify", file, "--key", key, "--json")[1])
    assert (proof["ok"], proof["events"]) == (True, {"call.claimed": 2, "call.finished": 2})
    register = json.loads(file.read_text().splitlines()[2])["register"]
    assert register["agents"]["payer"]["owner"] == "finance@acme.example"
    assert "digest" not in file.read_text().splitlines()[2]


def test_a_run_with_a_token_issued_shows_the_register_without_secrets(house: House, tmp_path: Path) -> None:
    house.calls()
    issued = house.json("token", "new", "payer")
    run = house.json("trace", "list", "--agent", "payer")[0]["run"]
    file = tmp_path / "run.jsonl"
    assert house.run("evidence", "export", str(file), "--run", run).exit_code == 0
    text = file.read_text()
    [credential] = json.loads(text.splitlines()[2])["register"]["credentials"]
    assert credential["agent"] == "payer"
    assert issued["token"] not in text
    assert elsewhere("evidence", "verify", file, "--key", key_of(house, tmp_path))[0] == 0


def test_a_changed_bundle_is_refused_with_the_line(house: House, tmp_path: Path) -> None:
    ids = house.calls()
    file = tmp_path / "paid.jsonl"
    house.run("evidence", "export", str(file), "--call", ids["paid"])
    file.write_text(file.read_text().replace("ACME", "EVIL", 1))
    key = key_of(house, tmp_path)
    code, output = elsewhere("evidence", "verify", file, "--key", key)
    assert (code, "no_proof: line " in output) == (1, True)
    data = json.loads(elsewhere("evidence", "verify", file, "--key", key, "--json")[1])
    assert data["ok"] is False


def test_a_ledger_that_does_not_hold_gets_no_signature(house: House, tmp_path: Path) -> None:
    ids = house.calls()
    file = tmp_path / "paid.jsonl"
    assert house.run("evidence", "export", str(file), "--call", ids["paid"]).exit_code == 0
    database = sqlite3.connect(house.path / "gateway.db")
    database.execute("DELETE FROM events WHERE seq > 8")  # cut off, and sealed anew as if that were all
    database.execute("UPDATE chain_head SET seq = 8, hash = (SELECT hash FROM events WHERE seq = 8)")
    database.commit()
    database.close()
    again = house.run("evidence", "export", str(tmp_path / "again"), "--call", ids["check"])
    assert (again.exit_code, "ledger_tampered" in again.output, (tmp_path / "again").exists()) == (1, True, False)
    assert house.json("verify")["ok"] is False  # nor was the end that is left signed


def test_all_times_of_the_question_are_told(house: House, tmp_path: Path) -> None:
    house.calls()
    file = tmp_path / "since.jsonl"
    asked = ("--since", "2001-02-03T04:05", "--until", "2999-01-01", "--tool", "payments.*")
    assert house.run("evidence", "export", str(file), *asked).exit_code == 0
    output = elsewhere("evidence", "verify", file, "--key", key_of(house, tmp_path))[1]
    assert "asked for: tool payments.*, since 2001-02-03 04:05:00 UTC, until 2999-01-01 00:00:00 UTC\n" in output


def test_what_is_not_there_is_said(house: House, tmp_path: Path) -> None:
    ids = house.calls()
    file = tmp_path / "none.jsonl"
    nothing = house.run("evidence", "export", str(file), "--call", "call_none")
    assert (nothing.exit_code, "nothing" in nothing.output, file.exists()) == (1, True, False)
    file.write_text("mine")
    taken = house.run("evidence", "export", str(file), "--call", ids["paid"])
    assert (taken.exit_code, "unwritable" in taken.output, file.read_text()) == (2, True, "mine")
    key = key_of(house, tmp_path)
    assert elsewhere("evidence", "verify", tmp_path / "gone", "--key", key)[0] == 2
    assert elsewhere("evidence", "verify", file, "--key", tmp_path / "gone")[0] == 2
    (tmp_path / "bad.json").write_text("{")
    assert elsewhere("evidence", "verify", file, "--key", tmp_path / "bad.json")[0] == 2
    assert elsewhere("evidence", "verify", file, "--key", key)[0] == 1


def test_a_ledger_in_memory_has_nothing_to_show(house: House, tmp_path: Path) -> None:
    text = (house.path / "gateway.yaml").read_text().replace("sqlite:///gateway.db", "memory:")
    house.configure(text)
    refused = house.run("evidence", "export", str(tmp_path / "x"), "--since", "1d")
    assert (refused.exit_code, "no_ledger" in refused.output) == (1, True)


def test_a_key_that_others_can_read_signs_nothing(house: House, tmp_path: Path) -> None:
    ids = house.calls()
    house.run("evidence", "key")
    (house.path / ".toolgate" / "signing.key").chmod(0o644)
    for command in (["key"], ["export", str(tmp_path / "x"), "--call", ids["paid"]]):
        refused = house.run("evidence", *command)
        assert (refused.exit_code, "chmod 600" in refused.output) == (1, True)
