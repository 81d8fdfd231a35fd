"""`toolgate approvals`: people see all of what they are asked, and their answer is recorded under their name."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app import policy_trial
from gateway.catalog.lock import Lock
from gateway.cli.loaded import load_now
from gateway.home import Home
from gateway.model.clock import SystemClock
from gateway.model.outcome import Succeeded, Waiting
from gateway.rulebook import build_rules, read_policies
from gateway.store.ports import EventFilter
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.fixtures.clock import CountingIds
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate
from tests.pipeline.people import ASK, LEADS, PEOPLE

CONFIG = """
people:
  bob: { roles: [leads] }
  carol: { roles: [leads] }
  dan: {}
approvals: { expires: 30d, use_within: 30d, wait_s: 0 }
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House.with_policies(tmp_path, PERMIT_ALL, ASK, LEADS)
    house.adds(CONFIG)
    return house


def called(house: House, arguments: dict[str, Any], number: int = 1) -> Any:
    """Make a call in the house, as a gateway on it would; return its outcome."""

    async def work(store: SqliteStore) -> Any:
        durable: Any = store
        clock: Any = SystemClock()
        ids = CountingIds()
        for _ in range(1000 * number):
            ids.new("skipped")
        gate = Gate(PERMIT_ALL, store=durable, clock=clock, ids=ids, people=PEOPLE)
        gate.pauses.take([], clock.monotonic())
        loaded = load_now(house.path / "gateway.yaml")
        home = Home(house.path)
        lock = Lock.read(home.lock)
        written = read_policies(loaded.config, home, lock, policy_trial(home))
        gate.rules.current = build_rules(loaded.config, written, lock, {})
        return (await gate.run("payments_pay", arguments)).outcome

    return house.store(work)


def asked(house: House, arguments: dict[str, Any] = PAYMENT, number: int = 1) -> str:
    outcome = called(house, arguments, number)
    assert isinstance(outcome, Waiting), outcome
    return outcome.approval


def test_what_waits_is_listed_shown_whole_and_approved(house: House) -> None:
    assert "nothing" in house.run("approvals", "list").output
    long = "x" * 5000
    approval = asked(house, {**PAYMENT, "payee": long})
    listed = house.run("approvals", "list").output
    assert approval in listed
    assert "payments.pay" in listed
    [row] = house.json("approvals", "list")
    assert (row["id"], row["state"], row["agent"], row["who"]) == (approval, "pending", "payer", ["leads"])
    shown = house.run("approvals", "show", approval).output
    assert long in shown
    assert "Payments are looked at first." in shown
    done = house.run("approvals", "approve", approval, "--as", "bob", "--reason", "looked at it")
    assert done.exit_code == 0
    assert house.json("approvals", "show", approval)["votes"][0]["why"] == "looked at it"
    assert isinstance(called(house, {**PAYMENT, "payee": long}, 2), Succeeded)
    assert house.run("approvals", "list").output.strip() == "nothing"
    assert house.json("approvals", "list", "--all")[0]["state"] == "used"
    assert house.run("verify").exit_code == 0


def test_a_list_that_is_not_all_says_so_and_goes_on_behind_its_last(house: House) -> None:
    older, newer = asked(house, number=1), asked(house, {**PAYMENT, "amount": 1}, 2)
    whole = house.run("approvals", "list", "--limit", "2")
    assert (older in whole.stdout, whole.stderr) == (True, "")
    for form in ((), ("--json",)):
        cut = house.run("approvals", "list", "--limit", "1", *form)
        assert (newer in cut.stdout, older in cut.stdout) == (True, False)
        assert f"go on behind them with: --before {newer}" in cut.stderr.replace("\n", " ")
    [rest] = house.json("approvals", "list", "--before", newer)
    assert rest["id"] == older
    assert house.json("approvals", "list", "--before", older) == []
    nowhere = house.run("approvals", "list", "--before", "apr_none")
    assert (nowhere.exit_code, "unknown_approval" in nowhere.stderr) == (1, True)


def test_standing_approvals_and_grants_of_access_are_listed_apart_however_many_there_are_of_the_others(
    house: House,
) -> None:
    (house.path / "policies" / "9.cedar").write_text(
        '@id("granted") permit (principal, action, resource) when { context.base has grant };'
    )
    grants = {
        "standing": ("approvals", "standing", "grant", "--agent", "payer", "--tool"),
        "access": ("access", "grant", "payer"),
    }
    lists = {"standing": ("approvals", "standing", "list"), "access": ("access", "grants")}
    made: dict[str, list[str]] = {"standing": [], "access": []}
    for kind in ("standing", "access", "standing", "access"):
        for_two = ("payments.pay", "--count", "2", "--within", "8h", "--as", "bob")
        made[kind].append(house.json(*grants[kind], *for_two)["id"])
    for kind, command in lists.items():
        older, newer = made[kind]
        cut = house.run(*command, "--limit", "1", "--json")
        assert [each["id"] for each in json.loads(cut.stdout)] == [newer]
        assert f"--before {newer}" in cut.stderr.replace("\n", " ")
        assert [each["id"] for each in house.json(*command, "--before", newer)] == [older]


def test_nothing_in_the_arguments_hides_or_turns_what_they_say(house: House) -> None:
    approval = asked(house, {**PAYMENT, "payee": "ACME\u202eemca\u200b\u3164\ufe0f\U000e0041 \\u202e"})
    shown = house.run("approvals", "show", approval).output
    assert '"payee": "ACME\\u202eemca\\u200b\\u3164\\ufe0f\\U000e0041 \\\\u202e"' in shown
    keys = [line.strip().split('"')[1] for line in shown.splitlines() if line.startswith('    "')]
    assert keys == sorted(PAYMENT)
    as_json = house.run("approvals", "show", approval, "--json").output
    assert as_json.isascii()
    assert json.loads(as_json)["arguments"]["payee"].endswith("\\u202e")


@pytest.mark.parametrize(
    ("who", "code", "exit_code"), [("dan", "may_not_approve", 3), ("mallory", "unknown_person", 3)]
)
def test_who_may_not_is_refused(house: House, who: str, code: str, exit_code: int) -> None:
    approval = asked(house)
    refused = house.run("approvals", "approve", approval, "--as", who, "--json")
    assert (refused.exit_code, json.loads(refused.output)["error"]) == (exit_code, code)
    assert house.json("approvals", "show", approval)["state"] == "pending"


def test_nobody_decides_without_saying_who_they_are(house: House) -> None:
    assert house.run("approvals", "approve", asked(house)).exit_code == 2


def test_a_refusal_is_told_to_the_agent(house: House) -> None:
    approval = asked(house)
    assert house.run("approvals", "deny", approval, "--as", "bob", "--reason", "wrong account").exit_code == 0
    outcome = called(house, PAYMENT, 2)
    assert "bob was asked and denied this call: wrong account" in outcome.decision.message
    again = house.run("approvals", "approve", approval, "--as", "carol")
    assert again.exit_code == 1
    assert "approval_over" in again.output
    assert "toolgate approvals list" in again.output


def test_a_consent_can_be_taken_back(house: House) -> None:
    approval = asked(house)
    house.run("approvals", "approve", approval, "--as", "bob")
    assert house.json("approvals", "withdraw", approval, "--as", "bob")["state"] == "pending"
    assert asked(house, number=2) == approval


def test_arguments_are_edited_as_text_or_from_a_file(house: House) -> None:
    approval = asked(house)
    less = {**PAYMENT, "amount": 100}
    file = house.path / "less.json"
    file.write_text(json.dumps(less), encoding="utf-8")
    for wrong in ("[1]", "{", f"@{house.path}/nothing.json"):
        assert house.run("approvals", "edit", approval, "--arguments", wrong, "--as", "bob").exit_code == 2
    edited = house.json("approvals", "edit", approval, "--arguments", f"@{file}", "--as", "bob")
    assert (edited["state"], edited["arguments"], edited["edited_from"]) == ("approved", less, approval)
    assert house.json("approvals", "show", approval)["edited_to"] == edited["id"]
    assert isinstance(called(house, less, 2), Succeeded)


def test_standing_approvals_are_granted_listed_used_and_revoked(house: House) -> None:
    grant = ("approvals", "standing", "grant", "--agent", "payer", "--tool", "payments.*", "--count", "2")
    made = house.json(*grant, "--within", "8h", "--where", "amount <= 100", "--as", "bob")
    assert (made["state"], made["most"], made["where"][0]["op"]) == ("approved", 2, "<=")
    assert isinstance(called(house, {**PAYMENT, "amount": 5}), Succeeded)
    listed = house.run("approvals", "standing", "list").output
    assert "1 of 2" in listed
    assert house.run("approvals", "show", made["id"]).exit_code == 0
    assert house.json("approvals", "standing", "revoke", made["id"], "--as", "carol")["state"] == "revoked"
    assert house.run("approvals", "standing", "list").output.strip() == "nothing"
    refused = house.run(*grant, "--within", "8h", "--as", "dan")
    assert refused.exit_code == 3


def test_every_deed_is_on_record_with_who_did_it(house: House) -> None:
    approval = asked(house)
    house.run("approvals", "approve", approval, "--as", "bob")

    async def work(store: SqliteStore) -> list[str]:
        return [event.body async for event in store.events(EventFilter(call_id=approval))]

    _, voted = house.store(work)
    assert (json.loads(voted)["votes"][0]["by"], json.loads(voted)["votes"][0]["channel"]) == ("bob", "local-cli")


def test_people_have_tokens_as_agents_do(house: House) -> None:
    made = house.json("token", "new", "person:bob")
    assert made["token"].startswith("tg_")
    assert house.json("token", "revoke", "person:bob")["revoked"] == [made["id"]]
    unknown = house.run("token", "new", "person:mallory")
    assert unknown.exit_code == 1
    assert "unknown_person" in unknown.output


def test_a_draft_is_told_from_a_call_that_waits(house: House) -> None:
    config = (house.path / "gateway.yaml").read_text(encoding="utf-8")
    house.configure(config.replace("payments.pay: {", "payments.pay: { mode: draft,"))
    draft = asked(house)
    assert "payments.pay (draft)" in house.run("approvals", "list").output
    assert house.json("approvals", "show", draft)["draft"] is True


def test_one_of_the_people_is_said_to_answer(house: House) -> None:
    approval = asked(house)
    assert house.json("approvals", "assign", approval, "--to", "carol", "--as", "bob")["assigned"] == "carol"
    assert "carol" in house.run("approvals", "list").output
    assert house.run("approvals", "assign", approval, "--to", "dan", "--as", "bob").exit_code == 3


def test_a_reviewer_sees_beside_each_call_who_approved_what_it_used(house: House) -> None:
    approval = asked(house)
    house.run("approvals", "approve", approval, "--as", "bob")
    assert isinstance(called(house, PAYMENT, 2), Succeeded)
    asked(house, {**PAYMENT, "payment_id": "p_18"}, 3)
    found = house.json("trace", "list", "--tool", "payments.*")
    assert [(line["outcome"], line["approved_by"]) for line in found] == [
        ("waiting", []),
        ("succeeded", ["bob"]),
        ("waiting", []),
    ]
    assert "bob" in house.run("trace", "list").output.splitlines()[2]
    assert house.json("trace", "list", "--person", "bob") == [found[1]]
    exported = house.run("trace", "export", "--person", "bob", "--outcome", "succeeded").output.splitlines()
    assert [json.loads(line)["call_id"] for line in exported] == [found[1]["call"]]
    assert "approved_by    bob" in house.run("trace", "show", found[1]["call"]).output
