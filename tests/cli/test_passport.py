"""`toolgate runs passport`: issue one, and check one, with the public key alone or against the ledger too."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.passports import PASSPORT
from gateway.ledger.signing import SigningKey
from gateway.store.ports import EventFilter, EventKind
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House.with_policies(tmp_path)
    house.calls()
    house.adds("budgets: { org: { calls: 100/day }, runs: { calls: 9 } }\n")
    return house


def run_of(house: House) -> str:
    return str(house.json("runs", "list", "--owner", "payer")[0]["run"])


def issued(house: House, *more: str) -> str:
    """Issue a passport into a file; return the file."""
    path = house.path / "passport.jwt"
    path.write_text(house.run("runs", "passport", run_of(house), *more).output, encoding="utf-8")
    return str(path)


def keys(house: House) -> str:
    path = house.path / "jwks.json"
    path.write_text(json.dumps(SigningKey.load(house.path / ".toolgate").jwks()), encoding="utf-8")
    return str(path)


def test_a_runs_passport_says_what_its_owner_may_use_what_is_left_and_what_was_done(house: House) -> None:
    told = house.json("runs", "passport", run_of(house), "--ttl", "1h", "--audience", "payments")
    path = house.path / "passport.jwt"
    path.write_text(told["passport"], encoding="utf-8")
    claims = house.json("runs", "passport", "verify", str(path))["claims"]
    assert (claims["sub"], claims["owner"], claims["run"]) == ("payer", "finance@acme.example", run_of(house))
    assert (claims["aud"], claims["jti"], claims["exp"] - claims["iat"]) == ("payments", told["id"], 3600)
    assert "payments.pay" in claims["scopes"]
    assert not [name for name in claims["scopes"] if name.startswith(("run.", "tools."))]
    assert claims["budgets"] == [{"of": "org", "unit": "calls", "per": "day", "limit": "100", "left": "100"}]
    done = [(step["tool"], step["outcome"]) for step in claims["steps"]["last"]]
    assert done == [("payments.pay", "denied"), ("fraud.check", "succeeded"), ("payments.pay", "succeeded")]
    assert claims["steps"]["count"] == 3
    assert all(step["arguments"].startswith("sha256:") for step in claims["steps"]["last"])


def test_a_passport_commits_to_the_ledger_as_it_was_and_is_itself_on_record(house: House) -> None:
    async def events(store: SqliteStore) -> list[Any]:
        return [event async for event in store.events(EventFilter())]

    before = house.store(events)[-1]
    file = issued(house)
    claims = house.json("runs", "passport", "verify", file)["claims"]
    assert claims["ledger"] == {"seq": before.seq, "hash": before.hash}
    told = house.store(events)[-1]
    body = json.loads(told.body)
    assert (told.kind, told.run_id, body["deed"]) == (EventKind.ADMIN, run_of(house), "passport issued")
    assert body["id"] == claims["jti"]
    assert body["by"].startswith("os:")


def test_a_passport_is_checked_with_the_public_key_alone(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file, jwks = issued(house), keys(house)
    elsewhere = House(tmp_path_factory.mktemp("elsewhere"))  # no configuration, no ledger, no key
    found = elsewhere.run("runs", "passport", "verify", file, "--keys", jwks)
    assert found.exit_code == 0
    assert found.output.startswith(f"the passport holds: payer in run {run_of(house)}, until ")
    piped = elsewhere.run("runs", "passport", "verify", "-", "--keys", jwks, typed=Path(file).read_text("utf-8"))
    assert piped.exit_code == 0
    assert list(elsewhere.path.iterdir()) == []
    here = house.run("runs", "passport", "verify", file)
    assert "and so it is here" in here.output


def test_an_altered_passport_is_refused_and_so_is_one_of_another_gateway(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = issued(house)
    head, body, signature = Path(file).read_text("utf-8").strip().split(".")
    (house.path / "altered").write_text(f"{head}.{body[:-2]}AA.{signature}", encoding="utf-8")
    altered = house.run("runs", "passport", "verify", str(house.path / "altered"))
    assert (altered.exit_code, "not_valid: the passport does not hold" in altered.output) == (1, True)
    other = House.with_policies(tmp_path_factory.mktemp("other"))
    assert other.json("runs", "passport", "verify", file)["error"] == "not_valid"


def test_a_passport_of_another_ledger_under_the_same_key_is_told_from_ours(house: House) -> None:
    claims = house.json("runs", "passport", "verify", issued(house))["claims"]
    for head in ({"seq": claims["ledger"]["seq"], "hash": "0" * 64}, {"seq": 10_000, "hash": claims["ledger"]["hash"]}):
        forged = SigningKey.load(house.path / ".toolgate").sign({**claims, "ledger": head}, PASSPORT)
        (house.path / "forged").write_text(forged, encoding="utf-8")
        assert house.json("runs", "passport", "verify", str(house.path / "forged"))["error"] == "other_ledger"


def test_a_childs_passport_says_who_acts(house: House) -> None:
    claims = house.json("runs", "passport", "verify", issued(house))["claims"]
    child = SigningKey.load(house.path / ".toolgate").sign({**claims, "act": {"sub": "payer:reader"}}, PASSPORT)
    (house.path / "child").write_text(child, encoding="utf-8")
    assert "acting: payer:reader" in house.run("runs", "passport", "verify", str(house.path / "child")).output


def test_what_cannot_be_done_is_said(house: House, tmp_path: Path) -> None:
    run, file = run_of(house), issued(house)
    assert house.json("runs", "passport", "run_none")["error"] == "invalid_arguments"
    assert house.run("runs", "passport", "verify").exit_code == 2
    assert house.run("runs", "passport", run, file).exit_code == 2
    assert house.json("runs", "passport", "verify", str(tmp_path / "none"))["error"] == "file"
    for text in ("", "[]", "{}", '{"keys": 1}'):
        (tmp_path / "keys").write_text(text, encoding="utf-8")
        found = house.json("runs", "passport", "verify", file, "--keys", str(tmp_path / "keys"))
        assert found["error"] == "keys"
    assert house.json("runs", "passport", run, "--as", "eve")["error"] == "unknown_person"
    (tmp_path / ".toolgate" / "signing.key").chmod(0o644)
    assert house.json("runs", "passport", run)["error"] == "private_file"
    (tmp_path / ".toolgate" / "signing.key").chmod(0o600)
    house.configure((tmp_path / "gateway.yaml").read_text(encoding="utf-8").replace("  payer:", "  third:"))
    assert "no longer registered" in house.json("runs", "passport", run)["message"]
