"""`toolgate replay`, `toolgate simulate` and `toolgate trace replay`."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.store.chain import GENESIS, seal
from gateway.store.sqlite.sharing import whole
from tests.cli.house import House

STRICT = '@id("none") forbid (principal, action == Gateway::Action::"fraud.check", resource);'


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def run_of(house: House, call: str) -> str:
    return str(house.json("trace", "show", call)["run"])


def test_every_decision_on_record_is_made_again(house: House) -> None:
    house.calls()
    done = house.run("replay")
    assert (done.exit_code, done.output) == (0, "3 of 3 decisions are equal, byte for byte\n")
    assert house.json("replay")["counts"] == {
        "equal": 3,
        "reworded": 0,
        "differs": 0,
        "redacted": 0,
        "removed": 0,
        "no_bundle": 0,
    }


def test_a_run_or_a_call_is_replayed_alone(house: House) -> None:
    ids = house.calls()
    assert house.json("replay", ids["paid"])["counts"]["equal"] == 1
    assert house.json("replay", run_of(house, ids["paid"]))["counts"]["equal"] == 3
    assert house.json("replay", "--tool", "payments.*", "--since", "2027-01-15")["counts"]["equal"] == 2


def test_what_nobody_decided_cannot_be_replayed(house: House) -> None:
    refused = house.run("replay", "call_none")
    assert (refused.exit_code, "unknown_call" in refused.output) == (1, True)
    assert house.run("replay", house.calls()["nowhere"]).exit_code == 1


def test_a_ledger_without_calls_replays(house: House) -> None:
    assert house.run("replay").output == "0 of 0 decisions are equal, byte for byte\n"


def forge(path: Path, old: str, new: str) -> None:
    """Change bodies and seal the chain again, as somebody with the file and the code could."""
    with closing(sqlite3.connect(path)) as db, db:
        tip = GENESIS
        body = whole("events")
        rows = db.execute(f"SELECT seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, {body} FROM events")
        for seq, *header, body in rows.fetchall():
            body = body.replace(old, new)
            sealed = seal(tip, (seq, *header), body.encode())
            told = (body, tip, sealed, seq)
            db.execute("UPDATE events SET body = ?, shared = NULL, prev_hash = ?, hash = ? WHERE seq = ?", told)
            tip = sealed


def test_a_decision_that_comes_out_otherwise_is_shown_and_fails(house: House) -> None:
    ids = house.calls()
    forge(house.path / "gateway.db", '"ruling":"allow"', '"ruling":"deny"')
    done = house.run("replay")
    assert done.exit_code == 1
    assert f"differs    {ids['check']}" in done.output
    assert "1 of 3" in done.output
    assert [call["call"] for call in house.json("replay")["calls"]] == [ids["check"], ids["paid"]]


def test_a_simulation_lists_what_other_policies_would_have_decided(house: House) -> None:
    ids = house.calls()
    stricter = house.path / "stricter"
    stricter.mkdir()
    (stricter / "1.cedar").write_text('@id("all") permit (principal, action, resource);' + STRICT, encoding="utf-8")
    done = house.run("simulate", "--policies", str(stricter))
    assert done.exit_code == 3
    data = house.json("simulate", "--policies", str(stricter))
    assert data["counts"] == {"same": 1, "newly_allowed": 1, "newly_waiting": 0, "newly_denied": 1}
    assert [(call["call"], call["change"]) for call in data["calls"]] == [
        (ids["denied"], "newly_allowed"),
        (ids["check"], "newly_denied"),
    ]
    assert data["calls"][1]["after"] == {
        "outcome": "denied",
        "policies": ["none"],
        "message": "Policy none forbids this call of fraud.check.",
    }
    assert "denied (pay.requires-fraud-check)  allowed (all)" in done.output
    assert "1 newly denied" in done.output
    assert house.run("replay").exit_code == 0  # nothing was written


def test_the_policies_as_they_are_change_nothing(house: House) -> None:
    house.calls()
    done = house.run("simulate", "--since", "2027-01-15")
    assert (done.exit_code, done.output) == (
        0,
        "3 decided calls: 3 same, 0 newly allowed, 0 newly waiting, 0 newly denied\n",
    )


def test_policies_that_do_not_load_simulate_nothing(house: House) -> None:
    bad = house.path / "bad.cedar"
    bad.write_text("permit (", encoding="utf-8")
    refused = house.run("simulate", "--policies", str(bad))
    assert (refused.exit_code, "policy_error" in refused.output) == (1, True)


def test_a_run_is_stepped_through_call_by_call(house: House) -> None:
    ids = house.calls()
    run = run_of(house, ids["paid"])
    steps = house.json("trace", "replay", run)
    assert [step["call"] for step in steps] == [ids["denied"], ids["check"], ids["paid"]]
    paid = steps[2]
    assert paid["identity"]["agent"] == "payer"
    assert paid["arguments"]["payment_id"] == "p_17"
    assert paid["facts"]["priors"]["fraud"]["call_id"] == ids["check"]
    assert paid["decision"]["policies"] == ["all"]
    assert paid["attempts"][0]["n"] == 1
    assert paid["answer"]["result"]["structuredContent"] == {"receipt": "r_1"}
    text = house.run("trace", "replay", run, "--from", "2").output
    assert "[1/3]" not in text
    assert "[2/3] fraud.check succeeded" in text
    assert "decided    allow by all; bundle sha256:" in text
    assert json.dumps(paid["attempts"][0]) in text


def test_stepping_waits_for_enter_and_ends_with_q(house: House) -> None:
    run = run_of(house, house.calls()["paid"])
    assert "[3/3]" in house.run("trace", "replay", run, "--wait", typed="\n\n").output
    stopped = house.run("trace", "replay", run, "--wait", typed="\nq\n").output
    assert "[2/3]" in stopped
    assert "[3/3]" not in stopped


def test_a_run_nobody_made_cannot_be_stepped_through(house: House) -> None:
    refused = house.run("trace", "replay", "run_none")
    assert (refused.exit_code, "unknown_run" in refused.output) == (1, True)
