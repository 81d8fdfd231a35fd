"""`toolgate doctor` on how agents prove who they are: tokens that end, tokens of nobody, issuers without keys."""

import json
from pathlib import Path

import pytest

from tests.cli.house import House
from tests.identity.doubles import Signer

AGENT = "version: 1\nagents: { payer: { auth: { token: true, jwt: { issuer: acme, audience: us, subject: p, "
CONFIG = f"{AGENT}jwks_file: keys.json }} }} }} }}\npeople: {{ bob: {{}} }}\n"


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.configure(CONFIG)
    return house


def found(house: House, *arguments: str) -> list[tuple[str, str, str]]:
    return [
        ("warning" if each["warning"] else "ok" if each["ok"] else "wrong", each["message"], each["fix"])
        for each in house.json("doctor", *arguments)["checks"]
        if each["name"] in {"tokens", "ledger", "issuer acme"}
    ]


def test_before_there_is_a_ledger_there_is_nothing_to_say_of_tokens_and_none_is_made(house: House) -> None:
    assert found(house, "--offline") == []
    assert not (house.path / "gateway.db").exists()


def test_tokens_that_end_soon_or_are_of_nobody_are_named_with_what_to_do(house: House) -> None:
    assert house.run("token", "new", "payer", "--expires", "3d").exit_code == 0
    assert house.run("token", "new", "person:bob").exit_code == 0
    fix = "toolgate token rotate payer"
    assert found(house, "--offline") == [("warning", "the token of 'payer' expires within 7 days", fix)]
    house.configure("version: 1\n")
    told = found(house, "--offline")
    assert [fix for _, _, fix in told] == ["toolgate token revoke payer", "toolgate token revoke person:bob"]
    assert house.run("doctor", "--offline").exit_code == 0


def test_a_ledger_that_cannot_be_read_is_told_as_what_it_is(house: House) -> None:
    (house.path / "gateway.db").write_bytes(b"no database" * 1000)
    [(mark, message, fix)] = found(house, "--offline")
    assert (mark, fix) == ("wrong", "toolgate verify")
    assert message


def test_an_issuer_whose_keys_cannot_be_read_is_told_before_its_first_agent_comes(house: House) -> None:
    [(mark, message, _)] = found(house)
    assert mark == "wrong"
    assert "keys.json" in message
    (house.path / "keys.json").write_text(json.dumps({"keys": [Signer().jwk]}), encoding="utf-8")
    assert found(house) == [("ok", "its keys can be read (1)", "")]
