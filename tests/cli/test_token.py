"""`toolgate token`: shown once, kept as a digest, taken away at once."""

import json
from pathlib import Path

import pytest

from gateway.store.ports import Event, EventFilter, EventKind
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def told_events(house: House) -> list[Event]:
    async def work(store: SqliteStore) -> list[Event]:
        return [event async for event in store.events(EventFilter()) if event.kind.startswith("token.")]

    return house.store(work)


def test_a_token_is_shown_once_and_only_its_digest_is_kept(house: House) -> None:
    made = house.run("token", "new", "payer")
    assert made.exit_code == 0
    token = made.output.splitlines()[0]
    assert token.startswith("tg_")
    assert "Shown once" in made.output
    secret = token.rsplit("_", 1)[1].encode()
    assert all(secret not in path.read_bytes() for path in house.path.iterdir() if path.is_file())
    [event] = told_events(house)
    assert (event.agent, json.loads(event.body)["what"]) == ("payer", "token issued")


def test_an_agent_has_one_token_until_it_is_rotated(house: House) -> None:
    first = house.json("token", "new", "payer")
    again = house.run("token", "new", "payer")
    assert (again.exit_code, "toolgate token rotate payer" in again.output) == (1, True)
    second = house.json("token", "rotate", "payer", "--overlap", "0s", "--expires", "12h")
    assert (second["agent"], second["token"] != first["token"]) == ("payer", True)
    assert second["expires_ms"] < first["expires_ms"]
    told = [(event.kind, json.loads(event.body)["tokens"]) for event in told_events(house)]
    assert told == [
        (EventKind.TOKEN_ISSUED, [first["id"]]),
        (EventKind.TOKEN_ISSUED, [second["id"]]),
        (EventKind.TOKEN_REVOKED, [first["id"]]),
    ]


def test_revoking_takes_every_token_away(house: House) -> None:
    made = house.json("token", "new", "payer")
    assert house.json("token", "revoke", "payer") == {"agent": "payer", "revoked": [made["id"]]}
    assert "payer has no live token" in house.run("token", "revoke", "payer").output
    assert house.json("token", "new", "payer")["id"] != made["id"]


def test_tokens_of_an_agent_that_is_gone_can_still_be_revoked(house: House) -> None:
    assert house.json("token", "revoke", "long-gone") == {"agent": "long-gone", "revoked": []}


@pytest.mark.parametrize("command", ["new", "rotate"])
def test_an_agent_that_is_not_there_gets_none(house: House, command: str) -> None:
    refused = house.run("token", command, "nobody")
    assert (refused.exit_code, "unknown_agent" in refused.output, "other, payer" in refused.output) == (1, True, True)
    assert house.json("token", command, "nobody")["error"] == "unknown_agent"


def test_an_agent_that_proves_itself_otherwise_gets_none(house: House) -> None:
    refused = house.run("token", "new", "other")
    assert (refused.exit_code, "no_tokens" in refused.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("new", "payer", "--expires", "soon"), 2),
        (("new", "payer", "--expires", "0d"), 1),
        (("rotate", "payer", "--overlap", "-5s"), 2),
        (("rotate", "payer", "--expires", "0s"), 1),
    ],
)
def test_a_duration_that_is_none_is_refused(house: House, arguments: tuple[str, ...], code: int) -> None:
    assert house.run("token", *arguments).exit_code == code
    assert told_events(house) == []


def test_a_store_that_cannot_be_opened_is_said_to_be(house: House) -> None:
    (house.path / "gateway.db").write_bytes(b"this is no database, and it is long enough to be looked at" * 20)
    refused = house.run("token", "new", "payer")
    assert (refused.exit_code, "store_unavailable" in refused.output) == (1, True)
    assert house.json("token", "new", "payer")["error"] == "store_unavailable"


def test_tokens_are_listed_by_whose_they_are_and_until_when_without_what_they_are(house: House) -> None:
    assert "none" in house.run("token", "list").output
    first = house.json("token", "new", "payer", "--expires", "1d")
    second = house.json("token", "rotate", "payer", "--overlap", "0s")
    [live] = house.json("token", "list")
    assert (live["agent"], live["id"], live["state"], live["ends_ms"]) == (
        "payer",
        second["id"],
        "live",
        second["expires_ms"],
    )
    states = {row["id"]: row["state"] for row in house.json("token", "list", "--all")}
    assert states == {first["id"]: "revoked", second["id"]: "live"}
    shown = house.run("token", "list", "--all").output
    assert (second["id"] in shown, second["token"] in shown) == (True, False)


def test_a_token_is_taken_away_where_the_configuration_does_not_load(house: House) -> None:
    made = house.json("token", "new", "payer")
    house.adds("odd: 1\n")
    ended = house.run("token", "revoke", "payer")
    assert (ended.exit_code, "revoked 1 token(s)" in ended.stdout) == (0, True)
    assert house.json("token", "list", "--all")[0] | {"made_ms": 0, "ends_ms": 0} == {
        "agent": "payer",
        "id": made["id"],
        "state": "revoked",
        "made_ms": 0,
        "ends_ms": 0,
    }
    assert house.run("token", "new", "payer").exit_code == 1
