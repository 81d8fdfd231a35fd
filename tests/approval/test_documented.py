"""What APPROVALS.md shows is so."""

import re
from pathlib import Path

import yaml

from gateway.approval.config import ApprovalsSection, PersonSection
from gateway.catalog.config import ToolRule
from gateway.model.facts import Approver
from gateway.policy.lint import check
from gateway.transport.approvals import ApprovalsApi
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate
from tests.pipeline.people import asked, is_done
from tests.transport.front import Front

TEXT = (Path(__file__).parents[2] / "gateway/approval/APPROVALS.md").read_text(encoding="utf-8")
POLICIES, CONFIG, DRAFTS = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)


async def test_the_policies_ask_two_leads_about_large_payments_and_nobody_about_small_ones() -> None:
    leads = [Approver(name, ("finance-leads",)) for name in ("bob", "carol")]
    gate = Gate(PERMIT_ALL, POLICIES, people=leads)
    assert is_done((await gate.run("payments_pay", {**PAYMENT, "amount": 499.99})).outcome)
    approval = await asked(gate, {**PAYMENT, "amount": 500})
    assert (await gate.approving.desk.find(approval)).quorum == 2
    await gate.approving.desk.approve("bob", approval)
    await gate.approving.desk.approve("carol", approval)
    assert is_done((await gate.run("payments_pay", {**PAYMENT, "amount": 500})).outcome)
    assert [problem.code for problem in check(gate.rules.current.bundle) if "pay." in problem.message] == []


def test_the_configuration_is_one() -> None:
    config = yaml.safe_load(CONFIG.replace("${secret:approvals_webhook}", "whsec_" + "a2tr" * 10))
    assert [PersonSection(**one).roles for one in config["people"].values()] == [["finance-leads"]]
    section = ApprovalsSection(**config["approvals"])
    assert section.model_copy(update={"webhook": None}) == ApprovalsSection()


def test_the_tools_that_make_drafts_are_configured_so() -> None:
    rules = {name: ToolRule(**rule) for name, rule in yaml.safe_load(DRAFTS)["tools"].items()}
    assert {rule.mode for rule in rules.values()} == {"draft"}


def test_every_path_of_the_api_is_there_and_told() -> None:
    front = Front()
    deeds = ApprovalsApi(front.gate.approving.desk, lambda bearer: None, front.gate.clock)._deeds  # type: ignore[arg-type,return-value]  # not called
    assert all(f"`{deed}`" in TEXT or f"/{deed}`" in TEXT for deed in deeds)
