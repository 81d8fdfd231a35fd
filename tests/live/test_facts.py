"""A real gateway holds an agent at step 50 to what it found at step 5, whatever the agent remembers."""

from pathlib import Path

from tests.live.running import Running, environment, payments_alone, refusal

POLICY = """
@id("within-budget") @message("A payment stays within the budget that was found.")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless { context.facts has budget && context.input.amount.lessThanOrEqual(context.facts.budget) };
"""


RULES = """agents:
  payer: { allow: ["payments.*", "facts.*"] }
facts:
  names: { budget: { type: number } }
policies: [rules]
"""


def test_what_was_found_at_step_5_binds_step_50_also_after_a_crash(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(payments_alone(tmp_path, "effect: irreversible") + RULES, encoding="utf-8")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "facts.cedar").write_text(POLICY, encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    token = running.token("payer")
    budget = {"scope": "run", "name": "budget"}
    asked = {"payment_id": "p_1", "payee": "ACME", "amount": 250.01}
    for step in range(1, 50):
        tool, arguments = ("facts_put", {**budget, "value": 250}) if step == 5 else ("payments_history", {})
        assert not running.call(token, tool, arguments, run="job").get("isError")
    assert refusal(running.call(token, "payments_pay", asked, run="job"))["policies"] == ["within-budget"]
    running.kill()
    running.start()
    assert refusal(running.call(token, "payments_pay", asked, run="job"))["policies"] == ["within-budget"]
    assert refusal(running.call(token, "payments_pay", {**asked, "amount": 1}, run="another"))["code"] == "denied"
    changed = running.call(token, "facts_put", {**budget, "value": 9999}, run="job")
    assert changed["isError"]
    assert changed["structuredContent"]["conflict"]["held"]["value"] == 250
    assert not running.call(token, "payments_pay", {**asked, "amount": 250}, run="job").get("isError")
    assert "the chain holds" in running.command("verify").stdout
    assert running.stop() == 0
