"""`toolgate autonomy`: what agents have earned is shown, and a person accepts it."""

from pathlib import Path

import pytest

from tests.cli.house import House
from tests.cli.test_approvals import CONFIG, asked, called
from tests.pipeline.gate import PAYMENT, PERMIT_ALL
from tests.pipeline.people import ASK, LEADS, is_done


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House.with_policies(tmp_path, PERMIT_ALL, ASK, LEADS)
    house.adds(CONFIG.replace("wait_s: 0", "wait_s: 0, autonomy: { least: 1, most: 5, lasts: 7d }"))
    return house


def test_what_was_earned_is_shown_and_counts_once_a_person_accepts_it(house: House) -> None:
    assert "people were asked about nothing" in house.run("autonomy", "review").output
    approval = asked(house)
    assert "nothing is proposed: fewer than 1 calls" not in house.run("autonomy", "review").output
    assert house.run("approvals", "approve", approval, "--as", "bob").exit_code == 0
    assert (
        "nothing is proposed: fewer than 1 calls were approved and carried out"
        in house.run("autonomy", "review").output
    )
    early = house.run("autonomy", "accept", "payer", "payments.pay", "--as", "bob", "--json")
    assert (early.exit_code, "not_earned" in early.output) == (1, True)
    assert is_done(called(house, PAYMENT, 2))
    shown = house.run("autonomy", "review").output
    assert "payer payments.pay: asked" in shown
    assert "1 approved, 0 overridden; 1 carried out, 0 failed or taken back: 0.0%" in shown
    assert "proposed: 5 calls in 7d, amount <= 250 without asking" in shown
    [told] = house.json("autonomy", "review")
    assert told["proposal"] == {"most": 5, "lasts": "7d", "where": ["amount <= 250"]}
    stranger = house.run("autonomy", "accept", "payer", "payments.pay", "--as", "dan")
    assert stranger.exit_code == 3
    assert house.run("autonomy", "accept", "payer", "payments.pay", "--as", "bob", "--within", "soon").exit_code == 2
    accepted = house.json("autonomy", "accept", "payer", "payments.pay", "--as", "bob", "--within", "1d")
    assert (accepted["agent"], accepted["most"], accepted["earned"]["approved"]) == ("payer", 5, 1)
    assert is_done(called(house, {**PAYMENT, "payment_id": "p_18"}, 3))
    asked(house, {**PAYMENT, "payment_id": "p_19", "amount": 251}, 4)
    assert (
        f"payer payments.pay: standing approval {accepted['id']}, used 1 of 5" in house.run("autonomy", "review").output
    )
