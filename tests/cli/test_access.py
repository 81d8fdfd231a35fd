"""`toolgate access`: review and certify."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.cli.house import House
from tests.live.probe_server import tool
from tests.live.running import Running

EVER = ("--since", "2020-01-01")


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House.with_policies(tmp_path)
    house.calls()
    return house


def grants(house: House, payer: str, *, policies: str = "[]") -> None:
    """Let payer's `allow:` be this, and the policies these."""
    text = (house.path / "gateway.yaml").read_text(encoding="utf-8")
    text = re.sub(r"owner: finance@acme.example,( allow: \S+,)?", f"owner: finance@acme.example, allow: {payer},", text)
    house.configure(re.sub(r"policies: .*", f"policies: {policies}", text))


def test_a_review_shows_what_is_granted_and_used_and_the_list_that_would_have_done(house: House) -> None:
    grants(house, '["*"]')
    shown = house.run("access", "review", *EVER)
    assert shown.exit_code == 0, shown.output
    assert "never certified" in shown.output
    assert "payer (finance@acme.example)" in shown.output
    assert 'allow: ["fraud.check", "payments.pay"]' in shown.output
    assert "tried on 3 recorded call(s)" in shown.output
    data = house.json("access", "review", *EVER)
    payer = data["agents"]["payer"]
    assert payer["used"] == {"fraud.check": 1, "payments.pay": 1}
    assert payer["refused"] == {"payments.pay": 1}
    assert {"mail.send", "payments.settle", "payments.list"} < set(payer["unused"])
    assert payer["tighter"] == {"allow": ["fraud.check", "payments.pay"], "cedar": "", "left": [], "why_not": ""}
    assert data["agents"]["other"] == {
        "granted": {},
        "used": {},
        "unused": [],
        "refused": {"nowhere": 1},
        "unreviewed": [],
        "tighter": None,
    }


def test_what_is_proposed_leaves_an_agent_the_arguments_that_it_may_set(house: House) -> None:
    held = {"call": "payments.pay", "fields": ["payment_id", "payee", "amount"]}
    grants(house, f'["fraud.check", "mail.*", {json.dumps(held)}]')
    payer = house.json("access", "review", *EVER)["agents"]["payer"]
    assert payer["tighter"] == {"allow": ["fraud.check", held], "cedar": "", "left": [], "why_not": ""}


def test_what_is_proposed_can_be_written_down_as_it_stands_and_leaves_nothing_unused(house: House) -> None:
    before = house.json("access", "review", *EVER)
    cedar = "\n".join(each["tighter"]["cedar"] for each in before["agents"].values())
    (house.path / "policies" / "less.cedar").write_text(cedar, encoding="utf-8")
    assert house.run("policy", "check").exit_code == 0
    after = house.json("access", "review", *EVER)
    assert [each["unused"] for each in after["agents"].values()] == [[], []]
    assert [each["tighter"] for each in after["agents"].values()] == [None, None]
    assert house.json("simulate")["counts"]["newly_denied"] == 0
    shown = house.run("access", "review", *EVER, "--agent", "payer").output
    assert "2 granted, 0 of them unused" in shown
    assert "other" not in shown


def test_a_later_review_may_propose_more_beside_what_an_earlier_one_did(house: House) -> None:
    first = house.json("access", "review", *EVER)["agents"]["payer"]["tighter"]["cedar"]
    (house.path / "policies" / "less.cedar").write_text(first, encoding="utf-8")
    data = house.json("access", "review", "--since", "2099-01-01", "--agent", "payer")["agents"]["payer"]
    assert data["unused"] == ["fraud.check", "payments.pay"]
    assert '@id("access.review.payer.payments.2")' in data["tighter"]["cedar"]
    (house.path / "policies" / "more.cedar").write_text(data["tighter"]["cedar"], encoding="utf-8")
    assert (
        house.json("access", "review", "--since", "2099-01-01", "--agent", "payer")["agents"]["payer"]["granted"] == {}
    )


def test_a_certification_that_is_due_is_told_by_the_exit_code(house: House) -> None:
    grants(house, '["payments.pay"]')
    assert house.run("access", "review", "--due", "90d").exit_code == 3
    assert house.run("access", "certify").exit_code == 0
    assert house.run("access", "review", "--due", "90d").exit_code == 0
    assert house.run("access", "review", "--due", "2099-01-01").exit_code == 3
    grants(house, '["payments.p*","mail.send"]')
    assert house.run("access", "review", "--due", "90d").exit_code == 3
    assert house.run("access", "review", "--due", "soon").exit_code == 2


def test_the_cedar_that_is_proposed_and_what_is_left_is_shown(house: House) -> None:
    read = '@id("read") permit (principal, action == Gateway::Action::"read_resource", resource);'
    (house.path / "policies" / "read.cedar").write_text(read, encoding="utf-8")
    shown = house.run("access", "review", *EVER).output
    assert '    @id("access.review.payer.payments")' in shown
    assert "still granted then: fraud.resources/read" in shown


def test_calls_that_cannot_be_decided_again_are_counted(house: House) -> None:
    lock = (house.path / "gateway.lock").read_text(encoding="utf-8")
    (house.path / "gateway.lock").write_text(lock.replace('"fraud"', '"elsewhere"'), encoding="utf-8")
    grants(house, '["payments.*"]')
    shown = house.run("access", "review", *EVER).output
    assert "left out: 1 call(s), no tool of that name is pinned" in shown


def test_an_agent_that_is_not_there_is_refused(house: House) -> None:
    refused = house.run("access", "review", "--agent", "nobody")
    assert (refused.exit_code, "unknown_agent" in refused.output) == (1, True)


def test_what_an_agent_calls_a_tool_adds_no_line_to_its_review(house: House) -> None:
    house.more_calls(9, "nowhere\n  unused: nothing")
    shown = house.run("access", "review", *EVER).output
    assert "nowhere\\u000a  unused: nothing (1)" in shown


def test_a_certification_is_on_record_and_the_next_review_says_what_was_granted_since(house: House) -> None:
    grants(house, '["payments.pay"]')
    done = house.run("access", "certify", "--note", "quarterly")
    assert (done.exit_code, "certified 1 grant(s) of 2 agent(s)" in done.output) == (0, True)
    assert "the policies are the same since; nothing was granted since" in house.run("access", "review").output
    grants(house, '["payments.p*","mail.send"]')
    data = house.json("access", "review")
    assert data["certified"]["granted_since"] == {"payer": ["mail.send"]}
    assert data["certified"]["note"] == "quarterly"
    shown = house.run("access", "review").output
    assert "the policies have changed since; granted since: payer: mail.send" in shown
    again = house.json("access", "certify")
    assert again["granted"] == {"payer": ["mail.send", "payments.pay"], "other": []}
    assert house.json("access", "review")["certified"]["granted_since"] == {}
    assert house.run("verify").exit_code == 0


def test_only_whom_the_policies_let_may_certify(house: House) -> None:
    house.adds("people: { ann: { roles: [auditor] } }\n")
    refused = house.run("access", "certify", "--as", "ann")
    assert (refused.exit_code, "denied" in refused.output) == (3, True)
    assert house.json("access", "review")["certified"] is None


def test_a_tool_that_nobody_decided_about_is_named_and_nobodys(tmp_path: Path) -> None:
    house = House.with_a_server(tmp_path, tool("pay"))
    house.adds('agents: { payer: { allow: ["*"] } }\n')
    assert house.run("schema", "lock").exit_code == 0
    shown = house.run("access", "review").output
    assert "reviewed by nobody: 1 tool(s)" in shown
    assert "unreviewed: probe.pay" in shown
    house.offers(tool("pay"), tool("gift"))
    gateway = Running(house.path).start()
    try:
        give_up = time.monotonic() + 30
        while (data := house.json("access", "review"))["new"] != ["probe.gift"]:
            assert time.monotonic() < give_up, data
            time.sleep(0.1)
        assert "probe.gift" not in data["agents"]["payer"]["granted"]
        assert "new, and nobody may call them: probe.gift" in house.run("access", "review").output
    finally:
        gateway.stop()
