"""A temporal clause of Dogwood is decided by what the ledger recorded."""

from gateway.model.outcome import Denied, Succeeded
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer

FORBID = """
@id("pay.requires-fraud-check") @remedy("fraud.check")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless temporal {
  formerly within 15m Action::"fraud.check"::response{
    input.payment_id: context.input.payment_id, input.amount: context.input.amount, output.result: "passed" }
};
"""


async def test_a_call_is_refused_until_the_step_its_temporal_clause_names_was_really_made() -> None:
    home = Gate(PERMIT_ALL, FORBID)
    home.servers["fraud"].calls += [
        answer({"result": "passed"}),
        answer({"result": "failed"}),
        answer({"result": "passed"}),
    ]
    denied = (await home.run("payments_pay")).outcome
    assert isinstance(denied, Denied)
    assert denied.decision.policies == ("pay.requires-fraud-check",)
    for arguments in ({**PAYMENT, "amount": 251}, {**PAYMENT, "amount": 252}, {**PAYMENT, "amount": 253.0}):
        assert isinstance((await home.run("fraud_check", arguments)).outcome, Succeeded)
    for amount, outcome in ((250, Denied), (251, Succeeded), (252, Denied), (253, Succeeded)):
        assert isinstance((await home.run("payments_pay", {**PAYMENT, "amount": amount})).outcome, outcome)
