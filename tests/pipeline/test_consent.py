"""Whose a draft is: of whoever made it, also where several work for the same agent."""

from dataclasses import replace

import pytest

from gateway.approval.values import Bound
from gateway.model.identity import Child, Identity
from gateway.pipeline.consent import is_drafts
from tests.approval.test_approvals import an_office
from tests.pipeline.gate import Gate

PAYER = Identity("payer", "token", "tok_1")
READER = Child("tg_1", "payer:reader", "run_1", ("payments.*",), 1)


@pytest.mark.parametrize(
    ("by", "is_its"),
    [
        (replace(PAYER, child=READER), True),
        (replace(PAYER, child=replace(READER, id="tg_2")), False),
        (PAYER, False),
        (replace(PAYER, agent="other"), True),
        (replace(PAYER, agent="other", child=READER), True),
    ],
    ids=["who made it", "its sibling", "its agent", "an executor", "who works for an executor"],
)
async def test_a_draft_is_whose_it_was_made_by_and_its_executors(by: Identity, is_its: bool) -> None:
    bound = Bound("payer", "", "payments.pay", "sha256:t", "sha256:a", "sha256:b", "run_1", "tg_1")
    draft, _ = await an_office().ask(bound, {"draft": True}, "run_1")
    tool = Gate().rules.current.catalog.find("payments.pay")
    assert tool is not None
    assert is_drafts(draft, by, replace(tool, executors=("other",))) is is_its
