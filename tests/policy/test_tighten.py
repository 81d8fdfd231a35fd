"""Less access: what `allow:` lists alone permit, and Cedar that keeps an agent to what it used."""

import pytest

from gateway.policy import Bundle, PolicySource, allowing, keeping_to
from gateway.policy.outlook import Outlook
from gateway.policy.tighten import MOST_TERMS
from tests.policy.acme import AGENTS, LETTER, LIST, MAIL, PAY, PAYER, PAYMENT, PERMIT_ALL, TOOLS, ask, tool


def test_what_allow_lists_permit_is_told_from_what_other_policies_do() -> None:
    bundle = Bundle.load([PolicySource("all.cedar", PERMIT_ALL)], TOOLS, AGENTS)
    alone = allowing(bundle, {"payer": ["payments.p*"]})
    assert [one.name for one in TOOLS if alone.outlook(PAYER, one) is not Outlook.NEVER] == ["payments.pay"]


@pytest.mark.parametrize(("used", "paid", "listed"), [({"payments.pay"}, True, False), (set(), False, False)])
@pytest.mark.parametrize("whole", [True, False])
def test_an_agent_is_kept_to_what_it_used_of_a_server(used: set[str], paid: bool, listed: bool, whole: bool) -> None:
    forbid = keeping_to("payer", "payments", used, whole=whole, name="less")
    sources = [PolicySource("all.cedar", PERMIT_ALL), PolicySource("less.cedar", forbid)]
    bundle = Bundle.load(sources, TOOLS, AGENTS)
    assert ask(bundle, PAY, PAYMENT).allowed is paid
    assert ask(bundle, LIST, {}).allowed is listed
    assert ask(bundle, MAIL, LETTER).allowed is True
    assert "Ask the operator" in ask(bundle, LIST, {}).message


def test_more_tools_than_one_policy_can_name_are_not_held_back() -> None:
    names = {f"large.t{number}" for number in range(MOST_TERMS)}
    many = [tool(name, {"type": "object"}) for name in names]
    sources = [
        PolicySource("all.cedar", PERMIT_ALL),
        PolicySource("l", keeping_to("payer", "large", names, whole=True, name="less")),
    ]
    bundle = Bundle.load(sources, many, AGENTS)
    assert all(ask(bundle, one, {}).allowed for one in many)
    assert keeping_to("payer", "large", {*names, "large.more"}, whole=True, name="less") == ""
